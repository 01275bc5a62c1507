//! Rows on the way in, with what is wrong or odd about them: every format fills these.
//!
//! At most [`VMS_MAX`] VMs with [`MACS_MAX`], [`IPS_MAX`] and [`TAGS_MAX`] each, texts of [`TEXT_BYTES_MAX`]; more is
//! a fault. At most [`TOLD_MAX`] faults and as many notes are told, and how many more there were.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::home;
use super::{ImportError, Imported, ImportedVm};
use crate::model::{AppInfo, Mac, Transport};

pub(super) const VMS_MAX: usize = 100_000;
const MACS_MAX: usize = 256;
const IPS_MAX: usize = 1024;
const TAGS_MAX: usize = 64;
/// A DNS name's bound (RFC 1035 section 2.3.4).
const TEXT_BYTES_MAX: usize = 253;
const TOLD_MAX: usize = 20;
/// Nearer than this (Damerau–Levenshtein) a word was probably meant.
const MEANT_DISTANCE_MAX: usize = 2;

/// What may be said of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Uuid,
    Mac,
    Ip,
    Tag,
    Sanctioned,
    Host,
    Cluster,
    Hypervisor,
}

#[derive(Debug, Default)]
pub(super) struct Rows<'t> {
    file: &'t str,
    text: &'t str,
    /// Offsets of the text's line ends.
    line_ends: Vec<usize>,
    rows: Vec<Row>,
    /// Rows that later lines or files add to.
    keys: BTreeMap<String, usize>,
    /// What a row claimed, whose it is, and where.
    claimed: BTreeMap<String, (usize, String)>,
    faults: Told,
    notes: Told,
}

#[derive(Debug)]
struct Row {
    vm: ImportedVm,
    place: String,
}

/// The first lines of many.
#[derive(Debug, Default)]
struct Told {
    lines: Vec<String>,
    more: usize,
}

impl Told {
    fn add(&mut self, line: String) {
        if self.lines.len() < TOLD_MAX { self.lines.push(line) } else { self.more += 1 }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("and {} more", self.more));
        }
        self.lines
    }
}

impl<'t> Rows<'t> {
    /// Goes on with another file of the source.
    pub fn open(&mut self, file: &'t str, text: &'t str) {
        (self.file, self.text) = (file, text);
        self.line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
    }

    pub fn file(&self) -> &'t str {
        self.file
    }

    pub fn text(&self) -> &'t str {
        self.text
    }

    /// A new VM, found at this offset of the text. `None`, and told, where there are too many.
    pub fn begin(&mut self, offset: usize) -> Option<usize> {
        if self.rows.len() >= VMS_MAX {
            if self.rows.len() == VMS_MAX && self.faults.lines.is_empty() {
                self.fault(offset, format!("more than {VMS_MAX} VMs: split it into several sources"));
            }
            return None;
        }
        self.rows.push(Row { vm: ImportedVm::default(), place: self.place(offset) });
        Some(self.rows.len() - 1)
    }

    /// The VM that has this key in this source; a new one where none has.
    pub fn of_key(&mut self, key: String, offset: usize) -> Option<usize> {
        if let Some(row) = self.keys.get(&key) {
            return Some(*row);
        }
        let row = self.begin(offset)?;
        self.keys.insert(key, row);
        Some(row)
    }

    pub fn fault(&mut self, offset: usize, text: String) {
        let place = self.place(offset);
        self.faults.add(format!("{place}: {}", one_line(&text)));
    }

    pub fn note(&mut self, offset: usize, text: &str) {
        let place = self.place(offset);
        self.notes.add(format!("{place}: {text}"));
    }

    /// Says one thing of a VM; `offset` is where it stands.
    pub fn set(&mut self, row: usize, field: Field, offset: usize, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if let Err(told) = self.try_set(row, field, offset, text) {
            self.fault(offset, told);
        }
    }

    /// As [`Rows::set`], for an address that an export lists: with its prefix length, and whatever it is of.
    pub fn set_listed_ip(&mut self, row: usize, offset: usize, text: &str) {
        let address = match text.split_once('/') {
            Some((address, prefix)) if prefix.parse::<u8>().is_ok_and(|p| p <= 128) => address,
            _ => text,
        };
        match address.trim().parse::<IpAddr>() {
            // Every host has those, and they name none.
            Ok(ip) if home::names_no_host(ip) || ip.is_loopback() || home::is_link_local(ip) => {}
            _ => self.set(row, Field::Ip, offset, address),
        }
    }

    /// As [`Rows::set`], for a MAC that an export lists: a port without one has zeros.
    pub fn set_listed_mac(&mut self, row: usize, offset: usize, text: &str) {
        if text.trim().parse::<Mac>() != Ok(Mac::ZERO) {
            self.set(row, Field::Mac, offset, text);
        }
    }

    pub fn has(&self, row: usize, field: Field) -> bool {
        self.rows.get(row).is_some_and(|row| match field {
            Field::Name => row.vm.name.is_some(),
            Field::Uuid => row.vm.uuid.is_some(),
            _ => false,
        })
    }

    pub fn finish(mut self) -> Result<Imported, ImportError> {
        let nothing =
            |vm: &ImportedVm| vm.macs.is_empty() && vm.ips.is_empty() && vm.uuid.is_none() && vm.name.is_none();
        for row in self.rows.iter().filter(|row| nothing(&row.vm)) {
            self.faults.add(format!("{}: a VM needs at least a name, a uuid, a MAC or an address", row.place));
        }
        if self.faults.lines.is_empty() {
            Ok(Imported { vms: self.rows.into_iter().map(|row| row.vm).collect(), notes: self.notes.finish() })
        } else {
            Err(ImportError(self.faults.finish()))
        }
    }

    fn try_set(&mut self, row: usize, field: Field, offset: usize, text: &str) -> Result<(), String> {
        match field {
            Field::Mac => {
                let mac: Mac = text
                    .parse()
                    .map_err(|_| format!("`{}` is not a MAC address like 52:54:00:aa:bb:cc", shown(text)))?;
                if !mac.is_unicast() {
                    return Err(format!("`{mac}` is no interface's own address"));
                }
                if self.once(row, offset, format!("the MAC {mac}"))
                    && let Some(Row { vm, .. }) = self.rows.get_mut(row)
                {
                    add(&mut vm.macs, mac, MACS_MAX, "MACs")?;
                }
                return Ok(());
            }
            Field::Ip => {
                let ip: IpAddr = text
                    .parse()
                    .map_err(|_| format!("`{}` is not an address like 10.0.0.5 or fd00::5", shown(text)))?;
                if home::names_no_host(ip) {
                    return Err(format!("`{ip}` is no host's own address"));
                }
                if self.once(row, offset, format!("the address {ip}"))
                    && let Some(Row { vm, .. }) = self.rows.get_mut(row)
                {
                    add(&mut vm.ips, ip, IPS_MAX, "addresses")?;
                }
                return Ok(());
            }
            _ => {}
        }
        let service = if field == Field::Sanctioned { Some(service(text)?) } else { None };
        let text = AppInfo::clean(text.as_bytes());
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("`{}` is longer than {TEXT_BYTES_MAX} bytes", shown(&text)));
        }
        if field == Field::Name {
            self.once(row, offset, format!("the name `{text}`"));
        }
        let Some(Row { vm, .. }) = self.rows.get_mut(row) else { return Ok(()) };
        match field {
            Field::Name => vm.name = Some(text),
            Field::Uuid => vm.uuid = Some(text.to_ascii_lowercase()),
            Field::Host => vm.host = Some(text),
            Field::Cluster => vm.cluster = Some(text),
            Field::Hypervisor => vm.hypervisor = Some(text),
            Field::Tag => add(&mut vm.tags, text, TAGS_MAX, "tags")?,
            Field::Sanctioned => vm.sanctioned.extend(service.filter(|s| !vm.sanctioned.contains(s))),
            Field::Mac | Field::Ip => {}
        }
        Ok(())
    }

    /// False, and noted, where an earlier VM has it.
    fn once(&mut self, row: usize, offset: usize, what: String) -> bool {
        match self.claimed.get(&what) {
            Some((owner, _)) if *owner == row => true,
            Some((_, first)) => {
                let note = format!("{what} is already at {first}, which keeps it");
                self.note(offset, &note);
                false
            }
            None => {
                let place = self.place(offset);
                self.claimed.insert(what, (row, place));
                true
            }
        }
    }

    /// `FILE:LINE:COLUMN`, both from 1; a column is a character.
    fn place(&self, offset: usize) -> String {
        let line = self.line_ends.partition_point(|end| *end < offset);
        let start = line.checked_sub(1).and_then(|before| self.line_ends.get(before)).map_or(0, |end| end + 1);
        // A line may be the whole file: what stands in it is not counted twice for ten thousand faults.
        let column = match self.text.get(start..offset) {
            Some(before) if before.len() <= 4096 => before.chars().count(),
            _ => offset.saturating_sub(start),
        };
        format!("{}:{}:{}", self.file, line + 1, column + 1)
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T, max: usize, what: &str) -> Result<(), String> {
    if list.contains(&item) {
        return Ok(());
    }
    if list.len() >= max {
        return Err(format!("more than {max} {what} of one VM"));
    }
    list.push(item);
    Ok(())
}

/// `tcp/80`.
fn service(text: &str) -> Result<(Transport, u16), String> {
    const NAMES: &[&str] = &["tcp", "udp", "sctp"];
    let bad = |hint: String| format!("`{}` is not a service like tcp/80{hint}", shown(text));
    let (name, port) = text.split_once('/').ok_or_else(|| bad(String::new()))?;
    if !NAMES.contains(&name.to_ascii_lowercase().as_str()) {
        let hint = meant(name, NAMES).map_or_else(String::new, |near| format!(": did you mean `{near}/{port}`?"));
        return Err(bad(hint));
    }
    match (name.parse(), port.parse()) {
        (Ok(transport), Ok(port)) => Ok((transport, port)),
        _ => Err(bad(": the port is a number up to 65535".to_owned())),
    }
}

/// A text of the file as an error may show it: escaped, and its beginning only.
pub(super) fn shown(text: &str) -> String {
    let end = text.char_indices().nth(60).map_or(text.len(), |(at, _)| at);
    let (begin, rest) = text.split_at(end);
    let dots = if rest.is_empty() { "" } else { "…" };
    AppInfo::clean(begin.as_bytes()) + dots
}

/// A reader's own message may quote the file: one line of it, nothing that steers a terminal.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.trim().chars().take(400) {
        match c {
            '\n' => line.push_str("; "),
            _ if AppInfo::steers(c) => line.extend(c.escape_default()),
            _ => line.push(c),
        }
    }
    line
}

pub(super) fn unknown(what: &str, found: &str, known: &[&str]) -> String {
    match meant(found, known) {
        Some(near) => format!("unknown {what} `{}`: did you mean `{near}`?", shown(found)),
        None => format!("unknown {what} `{}`: expected {}", shown(found), known.join(", ")),
    }
}

fn meant<'k>(found: &str, known: &[&'k str]) -> Option<&'k str> {
    if found.len() > TEXT_BYTES_MAX {
        return None;
    }
    let found = found.to_ascii_lowercase();
    let near = known.iter().map(|word| (strsim::damerau_levenshtein(&found, word), *word)).min()?;
    Some(near.1).filter(|_| near.0 <= MEANT_DISTANCE_MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, read};
    use super::*;

    #[test]
    fn duplicates_are_told_and_the_first_keeps_them() {
        let csv = "name,macs\na,52:54:00:00:00:01\nb,52:54:00:00:00:01;52:54:00:00:00:02\n";
        let imported = read("vms.csv", csv);
        assert_eq!(
            imported.notes,
            ["vms.csv:3:3: the MAC 52:54:00:00:00:01 is already at vms.csv:2:3, which keeps it"]
        );
        assert_eq!(imported.vms[1].macs, ["52:54:00:00:00:02".parse().unwrap()]);
    }

    #[test]
    fn a_row_that_names_nothing_is_a_fault() {
        assert!(faults("v.csv", "name,tags\n,pci\n").starts_with("v.csv:2:1: a VM needs"));
    }

    #[test]
    fn twenty_faults_are_told_and_the_rest_is_counted() {
        let csv = "name,ips\n".to_owned() + &"a,x\n".repeat(50);
        let told = faults("v.csv", &csv);
        assert_eq!(told.lines().count(), TOLD_MAX + 1);
        assert!(told.ends_with("and 30 more"), "{told}");
    }

    #[test]
    fn hostile_texts_are_escaped_and_bounded() {
        let imported = read("v.csv", "name\n\"a\u{1b}[31m\"\n");
        assert_eq!(imported.vms[0].name.as_deref(), Some("a\\u{1b}[31m"));
        assert!(faults("v.csv", &format!("name\n{}\n", "é".repeat(127))).contains("longer than 253 bytes"));
    }

    #[test]
    fn a_column_is_counted_in_characters() {
        assert!(faults("v.csv", "name,ips\nété,x\n").starts_with("v.csv:2:5: "));
    }
}
