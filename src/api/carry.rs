//! Answers about the baseline as a text: written, taken, compared.
//! A text is refused whole, with every fault by line; what is taken is saved as one batch by the caller.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::request::TextFile;
use crate::baseline::{self, DiffLine, DiffSign, Document, RuleFormat, Rules, Signers};
use crate::brain::Brain;
use crate::model::Timestamp;

const SIGNERS_BYTES_MAX: u64 = 64 << 10;

pub fn export(brain: &Brain, format: Option<&str>) -> Result<Value, String> {
    let document = || brain.baselines.export(brain.now(), &brain.inventory);
    match format {
        None | Some("json") => Ok(document().to_json()),
        Some("toml") => Ok(json!({ "text": document().to_toml() })),
        Some(other) => rules(brain, other.parse()?),
    }
}

/// The rules, and how they fare over what was learned and over what nobody sanctioned.
fn rules(brain: &Brain, format: RuleFormat) -> Result<Value, String> {
    let rules = Rules::of(&brain.baselines, &brain.inventory);
    let unsanctioned = |row: &crate::inventory::Service| brain.service_state(row) == "unsanctioned";
    let fared = rules.simulate(&brain.baselines, &brain.inventory, &unsanctioned);
    let mut notes = rules.notes.clone();
    notes.push(format!(
        "simulated: {} of {} learned flows pass, {} of {} unsanctioned services are closed",
        fared.learned - fared.stopped.len(),
        fared.learned,
        fared.unsanctioned - fared.reachable.len(),
        fared.unsanctioned
    ));
    notes.extend(fared.stopped.iter().take(FAULTS_SHOWN_MAX).map(|flow| format!("would be stopped: {flow}")));
    notes.extend(fared.reachable.iter().take(FAULTS_SHOWN_MAX).map(|at| format!("would be open: {at}")));
    Ok(json!({ "text": rules.write(format), "notes": notes }))
}

pub fn import(
    brain: &mut Brain,
    file: &TextFile,
    signature: Option<&TextFile>,
    keys: Option<&TextFile>,
    dry_run: bool,
) -> Result<Value, String> {
    let signers = brain.baselines.config().signers.clone().map(|path| signers(&path)).transpose()?;
    let asked = keys.map(|keys| Signers::parse(&keys.name, &keys.text)).transpose()?;
    let mut signed_by = Value::Null;
    for signers in signers.iter().chain(&asked) {
        let signature = signature.ok_or_else(|| {
            format!("{}: it is not signed: there is neither {0}.minisig nor {0}.sig; nothing is changed", file.name)
        })?;
        let who = signers.verify(file.text.as_bytes(), &signature.text);
        signed_by = who.map_err(|why| format!("{}: {why}; nothing is changed", signature.name))?.into();
    }
    let (document, now) = (read(file)?, brain.now());
    let Brain { baselines, inventory, .. } = brain;
    let lines = match dry_run {
        true => baselines.preview(&document, now, &*inventory),
        false => baselines.import(&document, now, &*inventory),
    };
    let lines = lines.map_err(|faults| {
        let told = faults.iter().take(FAULTS_SHOWN_MAX).map(|fault| match fault.line {
            0 => format!("{}: {}", file.name, fault.text),
            line => format!("{}:{line}: {}", file.name, fault.text),
        });
        told.collect::<Vec<_>>().join("\n")
    })?;
    let changes: Vec<Value> = lines.iter().map(row).collect();
    Ok(json!({ "changes": changes, "signed_by": signed_by }))
}

const FAULTS_SHOWN_MAX: usize = 20;

pub fn compare(brain: &Brain, file: &TextFile, other: Option<&TextFile>) -> Result<Value, String> {
    let before = read(file)?;
    let after = match other {
        Some(other) => read(other)?,
        None => brain.baselines.export(brain.now(), &brain.inventory),
    };
    Ok(baseline::diff(&before, &after).iter().map(row).collect())
}

pub fn news(brain: &Brain, from: &str, to: &str) -> Result<Value, String> {
    let (from, to) = (day(from)?, day(to)?);
    if to < from {
        return Err(format!("--to {to} is before --from {from}"));
    }
    Ok(brain.baselines.between(from, to, &brain.inventory).iter().map(row).collect())
}

/// A date, or a time.
fn day(text: &str) -> Result<Timestamp, String> {
    let full = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    full.parse().map_err(|_| format!("`{text}` is not a day or time: 2027-01-01 or 2027-01-01T00:00:00Z"))
}

fn read(file: &TextFile) -> Result<Document, String> {
    Document::parse(&file.name, &file.text).map_err(|faults| faults.join("\n"))
}

fn signers(path: &Path) -> Result<Signers, String> {
    let shown = path.display();
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| format!("[baseline] signers = \"{shown}\": {e}"))?;
    file.take(SIGNERS_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|e| format!("[baseline] signers = \"{shown}\": {e}"))?;
    Signers::parse(&shown.to_string(), &text)
}

fn row(line: &DiffLine) -> Value {
    json!({
        "change": if line.sign == DiffSign::Added { "+" } else { "-" },
        "vm": line.vm,
        "vm_name": line.name,
        "what": line.what,
    })
}
