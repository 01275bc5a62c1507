//! The same input and the same starting state give the same events, byte for byte, whatever `--workers` is and
//! however the input is cut into files.

use std::path::{Path, PathBuf};

use super::datacentre;
use super::harness::{Folder, copy_folder, corpus, eastwatch};

/// Captures of the corpus that are compared: the largest of them, where tables fill and workers differ most.
const CORPUS_CAPTURES: usize = 14;

/// EVE bytes and summary of a read.
fn read(folder: &Folder, state: &str, args: &[&str], files: &[&Path]) -> (Vec<u8>, String) {
    let eve = folder.file("eve.json");
    let _ = std::fs::remove_file(&eve);
    let mut all = vec!["read".to_owned(), "--flows".to_owned(), "--no-progress".to_owned()];
    all.extend(["--state".to_owned(), folder.file(state).display().to_string()]);
    all.extend(["--eve".to_owned(), eve.display().to_string()]);
    all.extend(args.iter().map(|a| (*a).to_owned()));
    all.extend(files.iter().map(|f| f.display().to_string()));
    let ran = eastwatch(all);
    // 1: a cut capture; what was readable is analysed all the same.
    assert!(ran.status == 0 || ran.status == 1, "{files:?}: {}", ran.stderr);
    (std::fs::read(&eve).unwrap_or_default(), ran.stdout)
}

#[test]
fn workers_do_not_change_a_byte_of_the_data_centre() {
    let folder = Folder::new("workers");
    datacentre::write(folder.path()).unwrap();
    let (learn, after) = (folder.file("learn.pcap"), folder.file("incident.pcap"));
    let inventory = folder.file("inventory.toml").display().to_string();
    let one = read(&folder, "1", &["--inventory", &inventory], &[&learn, &after]);
    assert!(text(&one.0).contains("\"signature_id\":2"), "the shell is found");
    for workers in ["1", "2", "4", "7"] {
        let state = format!("w{workers}");
        let other = read(&folder, &state, &["--inventory", &inventory, "--workers", workers], &[&learn, &after]);
        assert_same(&one.0, &other.0, &format!("--workers {workers}"));
        assert_eq!(one.1, other.1, "--workers {workers}: the summary");
    }
}

#[test]
fn the_same_starting_state_gives_the_same_bytes_and_another_does_not() {
    let folder = Folder::new("starting");
    datacentre::write(folder.path()).unwrap();
    let (learn, after) = (folder.file("learn.pcap"), folder.file("incident.pcap"));
    read(&folder, "a", &[], &[&learn]);
    copy_folder(&folder.file("a"), &folder.file("b"));
    let first = read(&folder, "a", &[], &[&after]);
    let second = read(&folder, "b", &["--workers", "3"], &[&after]);
    assert_same(&first.0, &second.0, "from a copy of the state");
    let unlearned = read(&folder, "c", &[], &[&after]);
    assert_ne!(first.0, unlearned.0, "a state that learned nothing judges nothing");
    let fresh = read(&folder, "a", &["--fresh"], &[&after]);
    assert_same(&unlearned.0, &fresh.0, "--fresh is an empty state");
}

#[test]
fn fresh_touches_no_other_state() {
    let folder = Folder::new("fresh");
    datacentre::write(folder.path()).unwrap();
    let after = folder.file("incident.pcap");
    read(&folder, "mine", &[], &[&after]);
    copy_folder(&folder.file("mine"), &folder.file("kept"));
    read(&folder, "other", &["--fresh"], &[&after]);
    let again = read(&folder, "mine", &[], &[&after]);
    assert!(again.0.is_empty(), "what is held is not read again");
    std::fs::create_dir_all(folder.file("strange")).unwrap();
    std::fs::write(folder.file("strange").join("notes.txt"), "mine").unwrap();
    read(&folder, "strange", &["--fresh"], &[&after]);
    assert!(folder.file("strange").join("notes.txt").exists(), "--fresh deletes no stranger's file");
}

#[test]
fn several_files_are_one_stream_in_time_order_however_they_are_named() {
    let folder = Folder::new("files");
    datacentre::write(folder.path()).unwrap();
    let whole = folder.file("incident.pcap");
    let (a, b, c) = (folder.file("a.pcap"), folder.file("b.pcap"), folder.file("c.pcap"));
    split(&whole, &[&a, &b, &c]);
    let one = read(&folder, "whole", &[], &[&whole]);
    assert!(one.0.len() > 10_000);
    for (state, order) in [("abc", [&a, &b, &c]), ("cab", [&c, &a, &b])] {
        let several = read(&folder, state, &[], &order.map(PathBuf::as_path));
        assert_same(&one.0, &several.0, state);
    }
}

#[test]
fn workers_do_not_change_a_byte_of_real_captures() {
    let Some(corpus) = corpus() else {
        eprintln!("no corpus beside the checkout: real captures were not compared");
        return;
    };
    let folder = Folder::new("real");
    let mut captures = captures(&corpus.join("pcap"));
    captures.sort_by_key(|p| (std::cmp::Reverse(std::fs::metadata(p).map_or(0, |m| m.len())), p.clone()));
    assert!(captures.len() > CORPUS_CAPTURES, "the corpus is not where it was: {}", captures.len());
    let mut told = 0;
    for capture in captures.iter().take(CORPUS_CAPTURES) {
        let args = |workers| ["--fresh", "--home", "0.0.0.0/0,::/0", "--workers", workers];
        let one = read(&folder, "state", &args("1"), &[capture]);
        told += one.0.len();
        for workers in ["2", "4"] {
            let other = read(&folder, "state", &args(workers), &[capture]);
            assert_same(&one.0, &other.0, &format!("{} --workers {workers}", capture.display()));
            assert_eq!(one.1, other.1, "{}: the summary", capture.display());
        }
    }
    assert!(told > 1_000_000, "the captures told next to nothing: {told} bytes");
}

/// Deals the records of a classic pcap out to several, those of one time together: between files only time orders.
fn split(whole: &Path, parts: &[&Path]) {
    let bytes = std::fs::read(whole).unwrap();
    let (header, mut rest) = bytes.split_at(24);
    let mut out = vec![header.to_vec(); parts.len()];
    let (mut last, mut at) = (Vec::new(), 0);
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (record, after) = rest.split_at(16 + length);
        if record[..8] != last[..] {
            (last, at) = (record[..8].to_vec(), (at + 1) % parts.len());
        }
        out[at].extend(record);
        rest = after;
    }
    for (part, bytes) in parts.iter().zip(out) {
        std::fs::write(part, bytes).unwrap();
    }
}

fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(captures(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Equal bytes, or the first line that differs.
fn assert_same(one: &[u8], other: &[u8], what: &str) {
    if one == other {
        return;
    }
    let (one, other) = (text(one), text(other));
    let differ = one.lines().zip(other.lines()).enumerate().find(|(_, (a, b))| a != b);
    match differ {
        Some((n, (a, b))) => panic!("{what}: line {}:\n{a}\n{b}", n + 1),
        None => panic!("{what}: {} lines, then {}", one.lines().count(), other.lines().count()),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
