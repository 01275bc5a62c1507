//! What is known of the captures: the tables that came with the corpus, and the one that recording writes.
//!
//! The tables are read whole (641 and 508 rows in the corpus).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Key;

pub struct Truth {
    /// In order of path.
    pub captures: Vec<Capture>,
}

#[derive(Default)]
pub struct Capture {
    /// As the truth names it.
    pub path: String,
    pub file: PathBuf,
    /// Services that count: SYN-ACK with or without its SYN, and UDP replies.
    pub services: BTreeSet<Key>,
    /// Services that the truth knows on weaker evidence: finding them is neither right nor wrong.
    pub weaker: BTreeSet<Key>,
    /// Application protocols; several where flows of one service carried several.
    pub apps: BTreeMap<Key, BTreeSet<String>>,
    /// Where it comes from: a repository, or server and client of a recording.
    pub origin: String,
    pub recorded: bool,
}

const COUNTED: &[&str] = &["synack", "synack-nosyn", "udp-reply"];

impl Truth {
    pub fn load(corpus: &Path, recorded: &Path) -> Result<Self, String> {
        let mut captures: BTreeMap<String, Capture> = BTreeMap::new();
        let services = rows(&corpus.join("truth/services.tsv"), &["path", "server_ip", "proto", "port", "basis"])?;
        for [path, ip, proto, port, basis] in fixed(&services) {
            let capture = captures.entry(path.clone()).or_default();
            let key = key(ip, proto, port)?;
            if COUNTED.contains(&basis.as_str()) {
                capture.services.insert(key);
            } else {
                capture.weaker.insert(key);
            }
        }
        let apps = rows(&corpus.join("truth/app_protocols.tsv"), &["path", "server_ip", "proto", "port", "app_proto"])?;
        for [path, ip, proto, port, app] in fixed(&apps) {
            let capture = captures.entry(path.clone()).or_default();
            capture.apps.entry(key(ip, proto, port)?).or_default().insert(app.clone());
        }
        let origins: BTreeMap<String, String> = rows(&corpus.join("MANIFEST.tsv"), &["path", "repo"])?
            .into_iter()
            .filter_map(|row| Some((row.first()?.clone(), row.get(1)?.clone())))
            .collect();
        for (path, capture) in &mut captures {
            capture.file = corpus.join(path);
            capture.origin = origins.get(path).cloned().unwrap_or_default();
        }
        if recorded.join("recorded.tsv").is_file() {
            add_recorded(recorded, &mut captures)?;
        }
        let captures = captures.into_iter().map(|(path, capture)| Capture { path, ..capture }).collect();
        Ok(Truth { captures })
    }
}

/// Recorded captures are for the applications: which services else answered there nobody noted.
fn add_recorded(folder: &Path, captures: &mut BTreeMap<String, Capture>) -> Result<(), String> {
    let columns = &["capture", "implementation", "server_ip", "proto", "port", "app_proto"];
    for row in rows(&folder.join("recorded.tsv"), columns)? {
        let [name, implementation, ip, proto, port, app] = row.as_slice() else { continue };
        let file = if name.ends_with(".pcap") { folder.join(name) } else { folder.join(format!("{name}.pcap")) };
        let capture = captures.entry(format!("recorded/{name}")).or_default();
        (capture.file, capture.recorded) = (file, true);
        capture.origin.clone_from(implementation);
        capture.apps.entry(key(ip, proto, port)?).or_default().insert(app.clone());
    }
    Ok(())
}

/// The named columns of a table with a header line.
pub fn rows(file: &Path, columns: &[&str]) -> Result<Vec<Vec<String>>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    table(&file.display().to_string(), &text, columns)
}

pub fn table(name: &str, text: &str, columns: &[&str]) -> Result<Vec<Vec<String>>, String> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let places: Vec<usize> = columns
        .iter()
        .map(|c| header.iter().position(|h| h == c).ok_or_else(|| format!("{name} has no column {c}")))
        .collect::<Result<_, _>>()?;
    Ok(lines
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            places.iter().map(|place| fields.get(*place).copied().unwrap_or_default().to_owned()).collect()
        })
        .collect())
}

fn fixed<const N: usize>(rows: &[Vec<String>]) -> impl Iterator<Item = &[String; N]> {
    rows.iter().filter_map(|row| row.as_slice().try_into().ok())
}

pub fn key(ip: &str, proto: &str, port: &str) -> Result<Key, String> {
    let address = ip.parse().map_err(|_| format!("`{ip}` is no address"))?;
    let number = port.parse().map_err(|_| format!("`{port}` is no port"))?;
    Ok((address, proto.to_owned(), number))
}
