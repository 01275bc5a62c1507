//! `baseline export`, `import`, `diff`: what was learned as a text, out and in.
//! Files are read here, at most 64 MiB each; what they mean is judged where the baseline is.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::api::{Request, TextFile};
use crate::config::Config;

use super::args::Global;
use super::output::{text, write_out};
use super::place::ask;
use super::query::read_text;
use super::{Failure, user_name};

pub fn export(global: &Global, config: &Config, output: Option<&Path>, format: String) -> Result<(), Failure> {
    let is_json = format == "json";
    let said = ask(global, config, Request::BaselineExport { format: Some(format) })?;
    let content = match is_json {
        true => serde_json::to_string_pretty(&said).map_err(|e| Failure::run(e.to_string()))? + "\n",
        false => text(&said, "text"),
    };
    for note in said.get("notes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !global.quiet {
            eprintln!("eastwatch: {note}");
        }
    }
    match output {
        Some(file) => std::fs::write(file, content).map_err(|e| Failure::run(format!("{}: {e}", file.display()))),
        None => Ok(write_out(&content)?),
    }
}

pub fn import(
    global: &Global,
    config: &Config,
    file: &Path,
    dry_run: bool,
    verify: Option<&Path>,
) -> Result<Value, Failure> {
    let beside = |ending: &str| PathBuf::from(format!("{}.{ending}", file.display()));
    let signature = [beside("minisig"), beside("sig")].into_iter().find(|path| path.is_file());
    let request = Request::BaselineImport {
        file: contents(file)?,
        signature: signature.as_deref().map(contents).transpose()?,
        keys: verify.map(contents).transpose()?,
        dry_run,
        by: user_name(),
    };
    let mut said = ask(global, config, request)?;
    if let (Some(by), false) = (said.get("signed_by").and_then(Value::as_str), global.quiet) {
        eprintln!("eastwatch: {}: signed by {by}", file.display());
    }
    Ok(said.get_mut("changes").map(Value::take).unwrap_or_default())
}

pub fn compare(
    global: &Global,
    config: &Config,
    file: Option<&Path>,
    other: Option<&Path>,
    from: Option<String>,
    to: Option<String>,
) -> Result<Value, Failure> {
    let request = match (file, from) {
        (Some(file), _) => Request::BaselineDiff { file: contents(file)?, other: other.map(contents).transpose()? },
        (None, Some(from)) => Request::BaselineNews { from, to: to.unwrap_or_else(|| "9999-12-30".to_owned()) },
        (None, None) => return Err(Failure::usage("compare with what? FILE, or --from DATE")),
    };
    ask(global, config, request)
}

fn contents(path: &Path) -> Result<TextFile, Failure> {
    Ok(TextFile { name: path.display().to_string(), text: read_text(path)? })
}
