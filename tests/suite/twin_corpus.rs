//! Captures of others, mirrored twice, are known as once: the inventory is the same, flows and bytes within 0.1 %.
//!
//! A few small captures, a kind of twin each, so that it takes seconds; `EASTWATCH_TWINS=all` takes every capture of
//! the corpus with every kind of twin (`make twins`), any other value those whose
//! path contains it, or one of several between commas.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use eastwatch::capture::{Batch, Files, Filled, Source};
use eastwatch::model::LinkType;
use eastwatch::scenario::{Scenario, Twin};

use super::harness::{Folder, corpus};
use super::twins::{KINDS, Known, read};

/// Small ones, so that it takes seconds.
const CAPTURES: usize = 28;
const BYTES_MAX: u64 = 200_000;
const THREADS: usize = 2;

#[test]
fn captures_of_others_mirrored_twice_are_known_as_once() {
    let Some(corpus) = corpus() else {
        eprintln!("no corpus beside the checkout: captures of others were not fed twice");
        return;
    };
    let part = std::env::var("EASTWATCH_TWINS").ok();
    let all = part.is_some();
    let mut captures = Vec::new();
    match &part {
        Some(part) => {
            find(&corpus, u64::MAX, &mut captures);
            let wanted = |path: &str| part.split(',').any(|part| part == "all" || path.contains(part));
            captures.retain(|path| wanted(&path.to_string_lossy()));
        }
        None => find(&corpus.join("pcap"), BYTES_MAX, &mut captures),
    }
    captures.sort();
    let step = if all { 1 } else { (captures.len() / CAPTURES).max(1) };
    let mut wanted: Vec<(&PathBuf, Vec<Twin>)> = Vec::new();
    for (capture, kind) in captures.iter().step_by(step).zip(KINDS.into_iter().cycle()) {
        wanted.push((capture, if all { KINDS.to_vec() } else { vec![kind] }));
    }
    let (next, compared) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let differing = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let folder = Folder::new("twin-corpus");
                while let Some((capture, kinds)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Some(scenario) = ethernet(capture) else { continue };
                    let once = read(&folder, &scenario);
                    for kind in kinds {
                        let twice = read(&folder, scenario.clone().twins(*kind));
                        compared.fetch_add(1, Ordering::Relaxed);
                        if let Some(what) = difference(&once, &twice) {
                            let name = capture.strip_prefix(&corpus).unwrap_or(capture).display();
                            differing.lock().unwrap().push(format!("{name} {kind:?}: {what}"));
                        }
                    }
                }
            });
        }
    });
    let mut differing = differing.into_inner().unwrap();
    differing.sort();
    let compared = compared.into_inner();
    println!("twins: {compared} readings of twice what was read once, of {} captures", wanted.len());
    assert!(differing.is_empty(), "{} of {compared} differ:\n{}", differing.len(), differing.join("\n"));
    assert!(compared * 2 > wanted.len(), "only {compared} were compared");
}

/// What is known otherwise when everything was read twice.
fn difference(once: &Known, twice: &Known) -> Option<String> {
    let sum =
        |known: &Known| known.flows.values().fold((0, 0), |(flows, bytes), sums| (flows + sums.0, bytes + sums.2));
    let ((flows, bytes), (flows_then, bytes_then)) = (sum(once), sum(twice));
    let other = |once: &[String], twice: &[String]| -> Vec<String> {
        let gone = once.iter().filter(|row| !twice.contains(row)).map(|row| format!("-{row}"));
        gone.chain(twice.iter().filter(|row| !once.contains(row)).map(|row| format!("+{row}"))).collect()
    };
    let mut said = other(&once.vms, &twice.vms);
    said.extend(other(&once.services, &twice.services));
    if flows.abs_diff(flows_then) * 1_000 > flows {
        said.push(format!("{flows} and then {flows_then} flows"));
    }
    if bytes.abs_diff(bytes_then) * 1_000 > bytes {
        said.push(format!("{bytes} and then {bytes_then} bytes"));
    }
    if said.is_empty() {
        return None;
    }
    let ends: BTreeSet<_> = once.flows.keys().chain(twice.flows.keys()).collect();
    let other = ends.into_iter().filter(|ends| once.flows.get(*ends) != twice.flows.get(*ends));
    said.extend(other.take(3).map(|ends| format!("{ends} {:?} {:?}", once.flows.get(ends), twice.flows.get(ends))));
    Some(said.join(", "))
}

/// The frames of a capture of Ethernet.
fn ethernet(capture: &Path) -> Option<Scenario> {
    let mut files = Files::open(&[capture.to_owned()], None).ok()?;
    let (mut batch, mut s) = (Batch::new(), Scenario::new(5));
    loop {
        let filled = files.fill(&mut batch);
        for frame in &batch.frames {
            if frame.link != LinkType::ETHERNET {
                return None;
            }
            s.cut_frame(frame.time, batch.get(frame).to_vec(), frame.wire_len as usize);
        }
        if !matches!(filled, Ok(Filled::Frames | Filled::Idle)) {
            return Some(s);
        }
    }
}

fn find(folder: &Path, bytes_max: u64, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let capture = path.extension().is_some_and(|e| e == "pcap" || e == "pcapng" || e == "cap");
        match path.is_dir() {
            true => find(&path, bytes_max, found),
            false if capture && std::fs::metadata(&path).is_ok_and(|m| m.len() < bytes_max) => found.push(path),
            false => {}
        }
    }
}
