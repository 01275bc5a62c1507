//! `eastwatch baseline calibrate`: captures in, rates and the alerts a day that they imply out. It learns in memory and
//! leaves every state as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::brain::{Brain, Calibrated};
use crate::capture::Files;
use crate::config::Loaded;
use crate::runtime::{Plan, mailbox, run as run_pipeline};
use crate::store::MemoryStore;

use super::args::{CalibrateArgs, Format, Global, RunArgs};
use super::output::{Column, column, print, table, text, write_out};
use super::{Failure, read, settings, signals};

pub fn run(global: &Global, mut loaded: Loaded, args: CalibrateArgs) -> Result<(), Failure> {
    let CalibrateArgs { files, format, home, inventory, filter, workers, no_progress } = args;
    let mode = Some("learn".to_owned());
    let run = RunArgs { home, inventory, filter, workers, no_progress, mode, ..RunArgs::default() };
    settings::overlay(&mut loaded, &run)?;
    let workers = settings::workers(&run)?;
    let apps = settings::apps(&loaded.config, false)?;
    let mut source = Files::open(&files, run.filter.as_deref()).map_err(Failure::run)?;
    let mut brain = Brain::load(Box::new(MemoryStore::new()), loaded.config.brain()).map_err(Failure::run)?;
    settings::name_by(global, &mut brain, &apps.definitions, apps.recog);
    read::take_inventory(&mut brain, &loaded)?;
    brain.calibrate();
    let plan = Plan {
        workers,
        decode: loaded.config.decode(),
        limits: settings::shard_limits(&loaded.config),
        definitions: apps.definitions,
        seed: read::READ_SEED,
        full_ends: true,
        disk_full: Default::default(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    signals::stop_on_interrupt(&stop)?;
    let bar = read::bar(global, &run, crate::capture::Source::progress(&source).bytes_total);
    let outcome = run_pipeline(&plan, &mut source, brain, mailbox(), &stop, |source, intake, _| {
        read::draw(&bar, source, intake);
        None
    })
    .map_err(Failure::run)?;
    bar.finish_and_clear();
    let calibrated = outcome.brain.calibrated();
    let whole = serde_json::to_value(&calibrated).map_err(|e| Failure::run(e.to_string()))?;
    match format {
        Format::Table => write_out(&told(&calibrated, &whole, global))?,
        Format::Json => print(&whole, &[], format, global.color, "")?,
        Format::Csv => print(&rows(&whole), COLUMNS, format, global.color, "")?,
    }
    if let Some(fault) = outcome.faults.first() {
        return Err(Failure::run(fault));
    }
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::run("interrupted; the rates are those of what was read"));
    }
    Ok(())
}

const COLUMNS: &[Column] = &[
    column("ROLE", |r| text(r, "role")),
    column("VMS", |r| text(r, "vms")),
    column("VM-DAYS", |r| number(r, "vm_days", 1)),
    column("NEW SERVICES", |r| rate(r, "new_services")),
    column("NEW PEERS", |r| rate(r, "new_peers")),
    column("ROLE CHANGES", |r| rate(r, "role_changes")),
    column("FAILED", |r| percent(r, "failed_share")),
    column("MISSING", |r| percent(r, "missing_mass")),
    column("RIPE", |r| {
        let left_h = r.get("all_ripe_in_h").and_then(Value::as_f64).unwrap_or(0.0);
        let when = if left_h > 0.0 { format!(", all in {left_h:.0} h") } else { String::new() };
        format!("{} of {}{when}", text(r, "ripe"), text(r, "vms"))
    }),
];

/// The roles, then the site.
fn rows(whole: &Value) -> Value {
    let mut rows: Vec<Value> = whole["roles"].as_array().cloned().unwrap_or_default();
    for row in rows.iter_mut().filter(|row| row["role"].is_null()) {
        row["role"] = "(none)".into();
    }
    let mut site = whole["site"].clone();
    site["role"] = "the site".into();
    rows.push(site);
    rows.into()
}

fn told(calibrated: &Calibrated, whole: &Value, global: &Global) -> String {
    let Calibrated { watched_h, site, pages_per_day, notices_per_day, per_1000_vms_per_day, .. } = calibrated;
    let rows = rows(whole);
    let mut out = table(rows.as_array().map_or(&[], Vec::as_slice), COLUMNS, global.color);
    out.push_str(&format!(
        "\n{watched_h:.1} h watched, {} VMs; rates are a VM-day, with the upper 95 % bound; new VMs: {} a day\n",
        site.vms,
        rate(whole, "new_vms"),
    ));
    if calibrated.first_day_only {
        out.push_str(
            "No VM was watched beyond its first day: all that it did is discovery, and these rates are far too high.\n\
             What is implied is assumed; a capture of three days and more tells what is usual.\n",
        );
    }
    out.push_str(&format!(
        "\nbudget: {per_1000_vms_per_day} a day for 1,000 VMs, so {pages_per_day:.2} pages and {notices_per_day:.2} notices a day here\n"
    ));
    let assumed = if calibrated.first_day_only { " (assumed)" } else { "" };
    let implied = [
        ("implied at first", &calibrated.at_first),
        ("  at most (95 %)", &calibrated.at_first_upper),
        ("implied in time", &calibrated.settled),
    ];
    // Of a first day the ceiling says nothing.
    let shown = implied.into_iter().enumerate().filter(|(at, _)| *at != 1 || !calibrated.first_day_only);
    for (_, (label, implied)) in shown {
        out.push_str(&format!(
            "{label:<17} {:.2} pages, {:.2} notices, {:.2} lines of the digest a day{assumed}\n",
            implied.page, implied.notice, implied.digest
        ));
    }
    if calibrated.contacts_refused > 0 {
        out.push_str(&format!("{} first contacts were too many to tell apart\n", calibrated.contacts_refused));
    }
    out
}

fn number(row: &Value, key: &str, digits: usize) -> String {
    row.get(key).and_then(Value::as_f64).map_or("-".to_owned(), |n| format!("{n:.digits$}"))
}

fn rate(row: &Value, key: &str) -> String {
    let rate = row.get(key).unwrap_or(&Value::Null);
    match rate["per_day"].is_null() {
        true => "-".to_owned(),
        false => format!("{} (≤ {})", number(rate, "per_day", 3), number(rate, "upper", 3)),
    }
}

fn percent(row: &Value, key: &str) -> String {
    row.get(key).and_then(Value::as_f64).map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}
