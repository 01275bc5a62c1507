//! The floors of the house: which room may import which, how long a file may be, what hostile bytes may not reach.
//!
//! Standard library only, and its own test binary, so that it says what is wrong even when the crate does not build.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A room and the rooms it may import. `model` and `telemetry` are ground: everyone may.
const FLOORS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("telemetry", &["model"]),
    ("store", &["model", "telemetry"]),
    ("capture", &["model", "telemetry"]),
    ("decode", &["model", "telemetry"]),
    ("collector", &["model", "telemetry"]),
    ("flow", &["decode", "model", "telemetry"]),
    ("stream", &["decode", "model", "telemetry"]),
    ("app", &["stream", "model", "telemetry"]),
    ("recog", &["model", "telemetry"]),
    ("inventory", &["model", "telemetry", "store"]),
    ("baseline", &["inventory", "model", "telemetry", "store"]),
    ("detect", &["baseline", "inventory", "model", "telemetry", "store"]),
    ("incident", &["inventory", "model", "telemetry", "store"]),
    ("deliver", &["model", "telemetry", "store"]),
    ("brain", &["recog", "inventory", "baseline", "detect", "incident", "deliver", "model", "telemetry", "store"]),
    ("api", &["brain", "inventory", "baseline", "detect", "incident", "deliver", "model", "telemetry", "store"]),
    ("scenario", &["model"]),
];
/// Roof: may import everything; nobody but the listed may import them.
const ROOF: &[(&str, &[&str])] =
    &[("runtime", &["cli", "main"]), ("cli", &["main"]), ("config", &["cli", "runtime", "main"])];
const PACKET_SIDE: &[&str] = &["capture", "decode", "collector", "flow", "stream", "app"];
const LINES_MAX: usize = 600;
const BANNED_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "manager", "misc"];

#[test]
fn rooms_import_only_what_their_floor_allows() {
    let mut faults = Vec::new();
    for file in sources() {
        let room = file.room();
        for (number, line) in file.code() {
            for import in imports(line) {
                if import == room || !is_room(&import) {
                    continue;
                }
                let allowed = match FLOORS.iter().find(|(name, _)| *name == room) {
                    Some((_, allowed)) => allowed.contains(&import.as_str()),
                    None => {
                        ROOF.iter().find(|(name, _)| *name == import).is_none_or(|(_, by)| by.contains(&room.as_str()))
                    }
                };
                if !allowed {
                    faults.push(format!("{}:{number}: `{room}` may not import `{import}`", file.shown));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_stay_below_the_wall() {
    let long: Vec<_> = sources().into_iter().filter(|f| f.text.lines().count() > LINES_MAX).map(|f| f.shown).collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:?}");
}

#[test]
fn every_file_opens_with_a_definition() {
    let bare: Vec<_> = sources().into_iter().filter(|f| !f.text.starts_with("//! ")).map(|f| f.shown).collect();
    assert!(bare.is_empty(), "no `//!` opening: {bare:?}");
}

#[test]
fn no_file_is_named_for_nothing() {
    let vague: Vec<_> = sources()
        .into_iter()
        .filter(|f| f.path.iter().any(|p| BANNED_NAMES.contains(&p.to_string_lossy().trim_end_matches(".rs"))))
        .map(|f| f.shown)
        .collect();
    assert!(vague.is_empty(), "say what it is: {vague:?}");
}

#[test]
fn the_packet_side_cannot_panic_on_bytes() {
    let mut faults = Vec::new();
    for file in sources()
        .into_iter()
        .filter(|f| PACKET_SIDE.contains(&f.room().as_str()) || f.shown.ends_with("runtime/shard.rs"))
    {
        for (number, line) in file.code() {
            for word in [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!("] {
                if line.contains(word) {
                    faults.push(format!("{}:{number}: `{word}` on the packet side", file.shown));
                }
            }
            if indexes(line) {
                faults.push(format!("{}:{number}: unchecked indexing: {}", file.shown, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_the_edge_looks_at_a_clock_and_only_config_at_the_environment() {
    let mut faults = Vec::new();
    for file in sources() {
        let room = file.room();
        let edge = ["runtime", "cli", "main"].contains(&room.as_str());
        for (number, line) in file.code() {
            let clock =
                ["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now"].iter().any(|w| line.contains(w));
            if clock && !edge && !["api", "store", "capture"].contains(&room.as_str()) {
                faults.push(format!("{}:{number}: packet time is an argument; only the edge has a clock", file.shown));
            }
            if line.contains("env::var") && room != "config" {
                faults.push(format!("{}:{number}: only config.rs reads the environment", file.shown));
            }
            if line.contains("Mutex") && !edge && room != "api" {
                faults.push(format!("{}:{number}: no lock in the rooms: state has one owner", file.shown));
            }
            let names_sled = line.match_indices("sled::").any(|(at, _)| !line[..at].ends_with("super::"));
            if names_sled && !file.shown.ends_with("store/sled.rs") {
                faults.push(format!("{}:{number}: only store/sled.rs names sled", file.shown));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_detector_has_a_case_and_a_quiet_twin() {
    let roster = fs::read_to_string(root().join("src/detect/mod.rs")).unwrap();
    let detectors: Vec<_> = roster
        .lines()
        .filter_map(|l| l.trim().strip_prefix("mod ").or_else(|| l.trim().strip_prefix("pub mod ")))
        .map(|m| m.trim_end_matches(';').to_owned())
        .filter(|m| {
            fs::read_to_string(root().join(format!("src/detect/{m}.rs"))).is_ok_and(|t| t.contains("signature_id:"))
        })
        .collect();
    assert!(detectors.len() >= 5, "found only {detectors:?}");
    for detector in detectors {
        let name = detector.replace('_', "-");
        for twin in ["speaks", "quiet"] {
            let case = root().join(format!("tests/cases/{name}-{twin}/case.toml"));
            assert!(case.exists(), "{name} has no {twin} case: {}", case.display());
        }
    }
}

/// Two kinds of one tag would read each other's records.
#[test]
fn every_kind_of_record_has_a_tag_of_its_own() {
    let files = sources();
    let mut by_tag: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.tests_only) {
        // At the left margin: those of tests are inside their module.
        for line in file.text.lines().filter(|line| line.starts_with("static ") || line.starts_with("pub static ")) {
            if let Some((_, rest)) = line.split_once("Kind { tag: ")
                && let Some((tag, _)) = rest.split_once(',')
            {
                by_tag.entry(tag).or_default().push(format!("{}: {line}", file.shown));
            }
        }
    }
    assert!(by_tag.len() > 10, "found only {by_tag:?}");
    let twice: Vec<_> = by_tag.values().filter(|kinds| kinds.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}

#[test]
fn the_lock_file_holds_one_tls_and_no_foreign_c() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(text) = line.strip_prefix("name = ") {
            name = text.trim_matches('"');
        } else if let Some(text) = line.strip_prefix("version = ").filter(|_| !name.is_empty()) {
            versions.entry(name).or_default().push(text.trim_matches('"'));
        }
    }
    for forbidden in ["aws-lc-sys", "openssl-sys", "native-tls", "cmake", "bindgen"] {
        assert!(!versions.contains_key(forbidden), "{forbidden} needs what a fresh machine does not have");
    }
    for single in ["tokio", "rustls", "hyper", "serde", "clap", "regex-automata", "etherparse", "aho-corasick"] {
        let found = versions.get(single).map_or(0, Vec::len);
        assert!(found <= 1, "{single} is in the tree {found} times: {:?}", versions.get(single));
    }
}

#[test]
fn every_direct_dependency_says_why() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if inside && line.contains('=') && !line.trim_start().starts_with('#') {
            assert!(line.contains(" # "), "no reason: {line}");
        }
    }
}

struct Source {
    path: PathBuf,
    shown: String,
    text: String,
    /// Declared under `#[cfg(test)]` by its parent: never in a build that ships.
    tests_only: bool,
}

impl Source {
    /// First folder below `src`, or the file's own name at the top.
    fn room(&self) -> String {
        let first = self.path.iter().next().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        first.trim_end_matches(".rs").to_owned()
    }

    /// Lines outside comments and test modules, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests_only = self.tests_only;
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        let opens = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{');
        let tests_at = lines.windows(2).position(opens).unwrap_or(usize::MAX);
        self.text
            .lines()
            .enumerate()
            .take_while(move |(i, _)| !tests_only && *i < tests_at)
            .map(|(i, l)| (i + 1, l.split("//").next().unwrap_or("")))
            .filter(|(_, l)| !l.trim().is_empty())
    }
}

/// Files of the modules that `text` declares under `#[cfg(test)]`, seen from the folder `beside`.
fn test_modules(text: &str, beside: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if let (true, Some(name)) = (marked, line.strip_prefix("mod ").and_then(|l| l.strip_suffix(';'))) {
            found.push(beside.join(format!("{name}.rs")));
            found.push(beside.join(name));
        }
        if let (true, Some(path)) = (marked, line.strip_prefix("#[path = \"")) {
            found.push(beside.join(path.trim_end_matches("\"]")));
            continue;
        }
        marked = line.starts_with("#[cfg(") && line.contains("test");
    }
    found
}

fn imports(line: &str) -> Vec<String> {
    line.match_indices("crate::")
        .map(|(at, found)| line[at + found.len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

fn is_room(name: &str) -> bool {
    FLOORS.iter().any(|(n, _)| *n == name) || ROOF.iter().any(|(n, _)| *n == name)
}

/// `name[…]` or `)[…]` in an expression: a slice index that may be out of bounds. Attributes, types, array
/// literals, macros and constant indices into arrays of known length (`x.0[0]`) are not.
fn indexes(line: &str) -> bool {
    let bytes = line.as_bytes();
    (1..bytes.len()).any(|i| {
        let before = bytes[i - 1];
        bytes[i] == b'['
            && (before.is_ascii_alphanumeric() || before == b'_' || before == b')' || before == b']')
            && !line[..i].ends_with("mut")
            && !line[..i].ends_with("dyn")
            && line[i + 1..].split(']').next().is_some_and(|inside| inside.parse::<usize>().is_err())
            && !line[..i].trim_start().starts_with('#')
    })
}

fn sources() -> Vec<Source> {
    let base = root().join("src");
    let mut found = Vec::new();
    let mut folders = vec![base.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let inner = path.strip_prefix(&base).unwrap().to_path_buf();
                let text = fs::read_to_string(&path).unwrap();
                let shown = format!("src/{}", inner.display());
                found.push(Source { shown, path: inner, text, tests_only: false });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let test_only: Vec<PathBuf> = found
        .iter()
        .flat_map(|file| {
            let folder = file.path.parent().unwrap_or(Path::new(""));
            let stem = file.path.file_stem().unwrap_or_default();
            let own =
                if ["mod", "lib", "main"].iter().any(|name| stem == *name) { folder.into() } else { folder.join(stem) };
            let mut modules = test_modules(&file.text, &own);
            modules.extend(test_modules(&file.text, folder).into_iter().filter(|p| p.extension().is_some()));
            modules
        })
        .collect();
    for file in &mut found {
        file.tests_only = test_only.iter().any(|t| file.path.starts_with(t));
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
