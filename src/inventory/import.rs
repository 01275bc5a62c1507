//! Inventory files: what an operator or a hypervisor's export says about VMs. TOML (`[[vm]]` tables) or CSV (a
//! header row; lists separated by `;` or spaces), with name, uuid, macs, ips, tags and sanctioned services.
//!
//! At most [`FAULTS_MAX`] faults are told of one file; the file is then refused as a whole, so that a half-read
//! inventory never looks like a whole one. What two rows both claim is the first's, and told.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::model::{Mac, Transport};

const FAULTS_MAX: usize = 20;
const COLUMNS: &[&str] = &["name", "uuid", "macs", "ips", "tags", "sanctioned"];
/// Nearer than this (Damerau–Levenshtein) a word was probably meant.
const MEANT_DISTANCE_MAX: usize = 2;

/// A whole inventory file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub vms: Vec<ImportedVm>,
    /// What is odd but no fault: duplicates. One line each, with file and line.
    pub notes: Vec<String>,
}

/// One row of an inventory file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedVm {
    /// Line in the file, from 1.
    pub line: usize,
    pub name: Option<String>,
    pub uuid: Option<String>,
    pub macs: Vec<Mac>,
    pub ips: Vec<IpAddr>,
    pub tags: Vec<String>,
    /// Services that the file approves.
    pub sanctioned: Vec<(Transport, u16)>,
}

/// Why a file could not be taken in: one line for each fault, `FILE:LINE: what was expected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError(pub Vec<String>);

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ImportError {}

impl Imported {
    /// Reads a file; `.csv` is CSV, anything else TOML.
    pub fn read(path: &Path) -> Result<Imported, ImportError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| ImportError(vec![format!("{file}: the inventory cannot be read: {e}")]))?;
        Imported::parse(&file, &text)
    }

    /// Reads the text of a file of this name.
    pub fn parse(file: &str, text: &str) -> Result<Imported, ImportError> {
        match Path::new(file).extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")) {
            true => Imported::from_csv(file, text),
            false => Imported::from_toml(file, text),
        }
    }

    pub fn from_csv(file: &str, text: &str) -> Result<Imported, ImportError> {
        let mut rows = Rows::new(file);
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
        let header = match reader.headers() {
            Ok(header) => header.clone(),
            Err(e) => return Err(ImportError(vec![format!("{file}:1: {e}")])),
        };
        let header_line = header.position().map_or(1, |p| p.line() as usize);
        for column in header.iter().filter(|column| !COLUMNS.contains(column)) {
            rows.fault(header_line, unknown("column", column, COLUMNS));
        }
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(e) => {
                    let line = e.position().map_or(header_line, |p| p.line() as usize);
                    let found = match e.kind() {
                        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                            format!("expected {expected_len} fields as in the header, found {len}")
                        }
                        _ => e.to_string(),
                    };
                    rows.fault(line, found);
                    continue;
                }
            };
            let line = record.position().map_or(header_line, |p| p.line() as usize);
            let mut row = ImportedVm { line, ..ImportedVm::default() };
            for (column, cell) in header.iter().zip(record.iter()) {
                let whole = matches!(column, "name" | "uuid");
                let items = cell.split(|c: char| !whole && (c == ';' || c.is_whitespace()));
                for item in items.map(str::trim).filter(|item| !item.is_empty()) {
                    rows.set(&mut row, column, line, item);
                }
            }
            rows.push(row);
        }
        rows.finish()
    }

    pub fn from_toml(file: &str, text: &str) -> Result<Imported, ImportError> {
        let mut rows = Rows::new(file);
        let line_of = |offset: usize| text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1);
        let document = match DeTable::parse(text) {
            Ok(document) => document.into_inner(),
            Err(e) => {
                let line = line_of(e.span().map_or(0, |span| span.start));
                return Err(ImportError(vec![format!("{file}:{line}: {}", e.message())]));
            }
        };
        for (key, value) in &document {
            let line = line_of(key.span().start);
            let DeValue::Array(tables) = value.get_ref() else {
                rows.fault(line, unknown("key", key.get_ref(), &["[[vm]]"]));
                continue;
            };
            if key.get_ref() != "vm" {
                rows.fault(line, unknown("table", &format!("[[{}]]", key.get_ref()), &["[[vm]]"]));
                continue;
            }
            for table in tables {
                let line = line_of(table.span().start);
                let DeValue::Table(fields) = table.get_ref() else {
                    rows.fault(line, "expected a table `[[vm]]`".to_owned());
                    continue;
                };
                let mut row = ImportedVm { line, ..ImportedVm::default() };
                for (field, value) in fields {
                    let (name, line) = (field.get_ref().as_ref(), line_of(value.span().start));
                    if !COLUMNS.contains(&name) {
                        rows.fault(line_of(field.span().start), unknown("key", name, COLUMNS));
                        continue;
                    }
                    let list = !matches!(name, "name" | "uuid");
                    match value.get_ref() {
                        DeValue::Array(items) if list => {
                            for item in items {
                                match item.get_ref() {
                                    DeValue::String(text) => rows.set(&mut row, name, line_of(item.span().start), text),
                                    _ => rows
                                        .fault(line_of(item.span().start), format!("`{name}` holds texts in quotes")),
                                }
                            }
                        }
                        DeValue::String(text) => rows.set(&mut row, name, line, text),
                        _ if list => rows.fault(line, format!("`{name}` is a list of texts like {name} = [\"…\"]")),
                        _ => rows.fault(line, format!("`{name}` is a text in quotes")),
                    }
                }
                rows.push(row);
            }
        }
        rows.finish()
    }
}

/// Rows on the way in, with what is wrong or odd about them.
struct Rows<'a> {
    file: &'a str,
    imported: Imported,
    faults: Vec<String>,
    /// What a row claimed, and its line.
    claimed: BTreeMap<String, usize>,
}

impl<'a> Rows<'a> {
    fn new(file: &'a str) -> Self {
        Rows { file, imported: Imported::default(), faults: Vec::new(), claimed: BTreeMap::new() }
    }

    fn fault(&mut self, line: usize, text: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(format!("{}:{line}: {text}", self.file));
        }
    }

    fn set(&mut self, row: &mut ImportedVm, column: &str, line: usize, text: &str) {
        let text = text.trim();
        let fault = match column {
            "name" => {
                self.once(line, format!("the name `{text}`"));
                row.name = Some(text.to_owned()).filter(|t| !t.is_empty());
                None
            }
            "uuid" => {
                row.uuid = Some(text.to_ascii_lowercase()).filter(|t| !t.is_empty());
                None
            }
            "tags" => {
                row.tags.push(text.to_owned());
                None
            }
            "macs" => match text.parse::<Mac>() {
                Ok(mac) if !mac.is_unicast() => Some(format!("`{mac}` is no interface's own address")),
                Ok(mac) => {
                    if self.once(line, format!("the MAC {mac}")) {
                        row.macs.push(mac);
                    }
                    None
                }
                Err(expected) => Some(expected),
            },
            "ips" => match text.parse::<IpAddr>() {
                Ok(ip) if super::home::names_no_host(ip) => Some(format!("`{ip}` is no host's own address")),
                Ok(ip) => {
                    if self.once(line, format!("the address {ip}")) {
                        row.ips.push(ip);
                    }
                    None
                }
                Err(_) => Some(format!("`{text}` is not an address like 10.0.0.5 or fd00::5")),
            },
            "sanctioned" => match service(text) {
                Ok(service) => {
                    row.sanctioned.push(service);
                    None
                }
                Err(expected) => Some(expected),
            },
            _ => None,
        };
        if let Some(text) = fault {
            self.fault(line, text);
        }
    }

    /// False, and noted, where an earlier row has it.
    fn once(&mut self, line: usize, what: String) -> bool {
        match self.claimed.get(&what) {
            Some(first) => {
                let note = format!("{}:{line}: {what} is already in line {first}, which keeps it", self.file);
                self.imported.notes.push(note);
                false
            }
            None => {
                self.claimed.insert(what, line);
                true
            }
        }
    }

    fn push(&mut self, row: ImportedVm) {
        if row.macs.is_empty() && row.ips.is_empty() && row.uuid.is_none() && row.name.is_none() {
            self.fault(row.line, "a VM needs at least a name, a uuid, a MAC or an address".to_owned());
        } else {
            self.imported.vms.push(row);
        }
    }

    fn finish(self) -> Result<Imported, ImportError> {
        if self.faults.is_empty() { Ok(self.imported) } else { Err(ImportError(self.faults)) }
    }
}

/// `tcp/80`.
fn service(text: &str) -> Result<(Transport, u16), String> {
    const NAMES: &[&str] = &["tcp", "udp", "sctp"];
    let bad = |hint: String| format!("`{text}` is not a service like tcp/80{hint}");
    let (name, port) = text.split_once('/').ok_or_else(|| bad(String::new()))?;
    if !NAMES.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(
            bad(meant(name, NAMES).map_or_else(String::new, |near| format!(": did you mean `{near}/{port}`?"))),
        );
    }
    match (name.parse(), port.parse()) {
        (Ok(transport), Ok(port)) => Ok((transport, port)),
        _ => Err(bad(": the port is a number up to 65535".to_owned())),
    }
}

fn unknown(what: &str, found: &str, known: &[&str]) -> String {
    match meant(found, known) {
        Some(near) => format!("unknown {what} `{found}`: did you mean `{near}`?"),
        None => format!("unknown {what} `{found}`: expected {}", known.join(", ")),
    }
}

fn meant<'k>(found: &str, known: &[&'k str]) -> Option<&'k str> {
    let found = found.to_ascii_lowercase();
    let near = known.iter().map(|word| (strsim::damerau_levenshtein(&found, word), *word)).min()?;
    Some(near.1).filter(|_| near.0 <= MEANT_DISTANCE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(result: Result<Imported, ImportError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn toml_and_csv_say_the_same() {
        let toml = "[[vm]]\nname = \"db1\"\nmacs = [\"52:54:00:00:00:01\"]\nips = [\"10.0.0.5\", \"fd00::5\"]\n\
                    tags = [\"pci\"]\nsanctioned = [\"tcp/5432\", \"udp/161\"]\nuuid = \"4C4C-1\"\n";
        let csv = "name,macs,ips,tags,sanctioned,uuid\n\
                   db1, 52-54-00-00-00-01 , 10.0.0.5;fd00::5,pci,tcp/5432 udp/161,4c4c-1\n";
        let toml = Imported::from_toml("vms.toml", toml).unwrap();
        let mut csv = Imported::from_csv("vms.csv", csv).unwrap();
        csv.vms[0].line = toml.vms[0].line;
        assert_eq!(toml, csv);
        assert_eq!(toml.vms[0].sanctioned, [(Transport::Tcp, 5432), (Transport::Udp, 161)]);
        assert_eq!(toml.vms[0].uuid.as_deref(), Some("4c4c-1"));
    }

    #[test]
    fn a_broken_row_names_its_line_and_the_nearest_word() {
        let toml = "[[vm]]\nname = \"a\"\n\n[[vm]]\nname = \"b\"\nmac = [\"52:54:00:00:00:01\"]\n\
                    sanctioned = [\"tpc/80\"]\nips = [\"10.0.0.256\"]\n";
        assert_eq!(
            faults(Imported::from_toml("vms.toml", toml)),
            "vms.toml:8: `10.0.0.256` is not an address like 10.0.0.5 or fd00::5\n\
             vms.toml:6: unknown key `mac`: did you mean `macs`?\n\
             vms.toml:7: `tpc/80` is not a service like tcp/80: did you mean `tcp/80`?"
        );
        let csv = "name,mac\na,52:54:00:00:00:01\nb\n";
        assert_eq!(
            faults(Imported::from_csv("vms.csv", csv)),
            "vms.csv:1: unknown column `mac`: did you mean `macs`?\nvms.csv:3: expected 2 fields as in the header, found 1"
        );
    }

    #[test]
    fn broken_toml_names_its_line() {
        assert!(faults(Imported::from_toml("vms.toml", "[[vm]]\nname = \n")).starts_with("vms.toml:2: "));
        assert!(faults(Imported::from_toml("v.toml", "[[vms]]\nname = \"a\"\n")).contains("did you mean `[[vm]]`?"));
    }

    #[test]
    fn duplicates_are_told_and_the_first_keeps_them() {
        let csv = "name,macs\na,52:54:00:00:00:01\nb,52:54:00:00:00:01;52:54:00:00:00:02\n";
        let imported = Imported::from_csv("vms.csv", csv).unwrap();
        assert_eq!(imported.notes, ["vms.csv:3: the MAC 52:54:00:00:00:01 is already in line 2, which keeps it"]);
        assert_eq!(imported.vms[1].macs, ["52:54:00:00:00:02".parse().unwrap()]);
    }

    #[test]
    fn a_row_that_names_nothing_is_a_fault() {
        assert!(faults(Imported::from_csv("v.csv", "name,tags\n,pci\n")).starts_with("v.csv:2: a VM needs"));
        assert!(faults(Imported::read(Path::new("/nonexistent/vms.toml"))).contains("cannot be read"));
    }
}
