//! The effective configuration, each value with where it came from.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// Where a value came from; a later one of these wins over an earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// File and line.
    File(String, usize),
    Environment(&'static str),
    CommandLine(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(file, line) => write!(f, "{file}:{line}"),
            Origin::Environment(name) => write!(f, "environment: {name}"),
            Origin::CommandLine(option) => write!(f, "command line: {option}"),
        }
    }
}

/// Column at which origins stand, unless the value is longer.
const ORIGIN_COLUMN: usize = 44;

pub(super) fn show(sections: &[(&str, Value)], origins: &BTreeMap<String, Origin>) -> String {
    let mut out = String::new();
    for (name, value) in sections {
        match value {
            Value::Array(tables) => {
                for (at, entries) in tables.iter().enumerate() {
                    out.push_str(&format!("\n[[{name}]]\n"));
                    values(&format!("{name}.{at}"), entries, origins, &mut out);
                }
            }
            section => table(name, section, origins, &mut out),
        }
    }
    out.trim_start().to_owned()
}

/// Dotted key, value and origin of each value; `null` where it is not set.
pub(super) fn rows(sections: &[(&str, Value)], origins: &BTreeMap<String, Origin>) -> Vec<(String, Value, Origin)> {
    fn below(path: &str, value: &Value, origins: &BTreeMap<String, Origin>, out: &mut Vec<(String, Value, Origin)>) {
        match value {
            Value::Array(tables) if is_list(value) => {
                let numbered = tables.iter().enumerate();
                numbered.for_each(|(at, table)| below(&format!("{path}.{at}"), table, origins, out));
            }
            Value::Object(entries) => {
                entries.iter().for_each(|(key, value)| below(&format!("{path}.{key}"), value, origins, out));
            }
            value => out.push((path.to_owned(), value.clone(), origin(path, origins))),
        }
    }
    let mut out = Vec::new();
    sections.iter().for_each(|(name, value)| below(name, value, origins, &mut out));
    out
}

fn origin(path: &str, origins: &BTreeMap<String, Origin>) -> Origin {
    origins.get(path).cloned().unwrap_or(Origin::Default)
}

/// One section; its values before its own tables, as TOML wants it.
fn table(path: &str, value: &Value, origins: &BTreeMap<String, Origin>, out: &mut String) {
    let Value::Object(entries) = value else { return };
    if entries.is_empty() || entries.values().any(|value| !value.is_object()) {
        out.push_str(&format!("\n[{path}]\n"));
    }
    values(path, value, origins, out);
    for (key, value) in entries.iter().filter(|(_, value)| value.is_object()) {
        table(&format!("{path}.{key}"), value, origins, out);
    }
}

/// The values of one table, those of tables within it left out.
fn values(path: &str, value: &Value, origins: &BTreeMap<String, Origin>, out: &mut String) {
    let Value::Object(entries) = value else { return };
    for (key, value) in entries.iter().filter(|(_, value)| !value.is_object()) {
        let from = origin(&format!("{path}.{key}"), origins);
        match toml(value) {
            Some(value) => {
                let line = format!("{key} = {value}");
                out.push_str(&format!("{line:<ORIGIN_COLUMN$} # {from}\n"));
            }
            None => out.push_str(&format!("{:<ORIGIN_COLUMN$} # {from}\n", format!("# {key} is not set"))),
        }
    }
}

/// Is this a list of tables, and no value?
fn is_list(value: &Value) -> bool {
    value.as_array().is_some_and(|entries| entries.iter().all(Value::is_object) && !entries.is_empty())
}

/// A value as TOML writes it; `None` for what is not set.
fn toml(value: &Value) -> Option<String> {
    toml::Value::try_from(value).ok().map(|value| value.to_string())
}
