//! Behaviour as data: each folder of `tests/cases` is a scenario (or `input.pcap`), what a user does with it, and the
//! alerts and incidents that come of it. `EASTWATCH_BLESS=1` writes the expectations anew; read them as a diff.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::harness::{Folder, Ran, eastwatch, learned_from};
use super::scenarios;
use eastwatch::scenario::Format;

/// `case.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows, as a sentence.
    #[allow(dead_code)]
    about: String,
    /// One of `scenarios.rs`; without it the folder holds `input.pcap`, a part of its own named `input`.
    scenario: Option<String>,
    /// Without any: each part read by itself, in order.
    #[serde(default)]
    step: Vec<Step>,
    /// `ADDRESS PROTO/PORT APPLICATION STATE` of every service known in the end; `*` stands for all announced ports.
    /// A class other than unicast follows, with the groups and the number of their members.
    services: Option<Vec<String>>,
    /// `CLIENT > ADDRESS PROTO/PORT` of every edge known in the end.
    peers: Option<Vec<String>>,
    /// How many VMs are known in the end.
    vms: Option<usize>,
    /// `ADDRESS LOCATION` of every stay that `vms --history` tells of in the end, by VM, oldest first.
    stays: Option<Vec<String>>,
}

/// One command of a user's.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// Parts to read in one run.
    #[serde(default)]
    read: Vec<String>,
    /// More options of `read`; `{case}` is the case's folder.
    #[serde(default)]
    args: Vec<String>,
    /// Any other command; `{incident}` is the id of the latest incident.
    #[serde(default)]
    run: Vec<String>,
}

#[test]
fn every_case_tells_what_it_is_expected_to_tell() {
    let bless = std::env::var_os("EASTWATCH_BLESS").is_some();
    let only = std::env::var("EASTWATCH_CASE").unwrap_or_default();
    let mut faults = Vec::new();
    let all = folders();
    assert!(all.len() >= 18, "cases are missing: {all:?}");
    for folder in all.iter().filter(|f| name(f).contains(&only)) {
        let told = told(folder);
        let file = folder.join("expected.jsonl");
        if bless {
            std::fs::write(&file, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if told != expected {
            faults.push(format!("{}:\nexpected\n{expected}told\n{told}", name(folder)));
        }
        // Blessing must not turn a twin around.
        if name(folder).ends_with("-quiet") && !expected.is_empty() {
            faults.push(format!("{}: a quiet twin tells something", name(folder)));
        }
        if let Some(detector) = name(folder).strip_suffix("-speaks")
            && !expected.lines().any(|l| l.contains("\"alert\"") && l.contains(&format!("\"{detector}\"")))
        {
            faults.push(format!("{}: nothing from {detector}", name(folder)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_scenario_has_a_case() {
    let used: Vec<String> = folders().iter().filter_map(|f| case(f).scenario).collect();
    for (name, _) in scenarios::ALL {
        assert!(used.iter().any(|u| u == name), "no case uses the scenario `{name}`");
    }
}

/// Runs a case; its events of interest, one a line.
fn told(folder: &Path) -> String {
    let case = case(folder);
    let work = Folder::new(&name(folder));
    let parts = parts(folder, &case, &work);
    let steps = match case.step.is_empty() {
        true => parts.iter().map(|part| Step { read: vec![part.clone()], ..Step::default() }).collect(),
        false => case.step,
    };
    let (mut out, mut latest, mut read) = (String::new(), String::new(), 0);
    for step in &steps {
        let ran = run(step, folder, &work, &latest);
        assert_eq!(ran.status, 0, "{}: {step:?}: {}", name(folder), ran.stderr);
        // A read that had nothing new to read makes no file.
        let events = std::fs::read_to_string(work.file("eve.json")).unwrap_or_default();
        let _ = std::fs::remove_file(work.file("eve.json"));
        read += u64::from(!step.read.is_empty());
        for line in events.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            if event["event_type"] == "incident" {
                latest = event["eastwatch"]["incident"]["id"].as_str().unwrap().to_owned();
            }
            if let Some(reduced) = reduced(read, &event) {
                let _ = writeln!(out, "{reduced}");
            }
        }
    }
    if let Some(expected) = case.services {
        assert_eq!(services(&work), expected, "{}: services", name(folder));
    }
    if let Some(expected) = case.peers {
        assert_eq!(peers(&work), expected, "{}: peers", name(folder));
    }
    if let Some(expected) = case.vms {
        let known = learned_from(&work.file("state"), &["vms"]);
        assert_eq!(known.as_array().map(Vec::len), Some(expected), "{}: VMs", name(folder));
    }
    if let Some(expected) = case.stays {
        assert_eq!(stays(&work), expected, "{}: stays", name(folder));
    }
    out
}

fn stays(work: &Folder) -> Vec<String> {
    let (rows, vms) =
        (learned_from(&work.file("state"), &["vms", "--history"]), learned_from(&work.file("state"), &["vms"]));
    let stays = rows.as_array().unwrap().iter().filter(|row| row["kind"] == "host");
    let stay = |row: &Value| format!("{} {}", address(&vms, &row["vm"]), row["location"].as_str().unwrap());
    stays.map(stay).collect()
}

/// The first address of a VM; what is none stays as it is.
fn address(vms: &Value, vm: &Value) -> String {
    let known = vms.as_array().unwrap().iter().find(|row| row["vm"] == *vm);
    known.map_or(vm.as_str().unwrap().to_owned(), |row| row["nics"][0]["ips"][0].as_str().unwrap().to_owned())
}

fn run(step: &Step, folder: &Path, work: &Folder, latest: &str) -> Ran {
    let state = work.file("state").display().to_string();
    if step.read.is_empty() {
        let words = step.run.iter().map(|w| w.replace("{incident}", latest));
        return eastwatch(words.chain(["--state".to_owned(), state]));
    }
    let mut args = vec!["read".to_owned(), "--state".to_owned(), state];
    args.extend(["--eve".to_owned(), work.file("eve.json").display().to_string()]);
    args.extend(step.args.iter().map(|a| a.replace("{case}", &folder.display().to_string())));
    args.extend(step.read.iter().map(|part| work.file(&format!("{part}.pcap")).display().to_string()));
    eastwatch(args)
}

/// Writes the parts of a case's input, and names them in order.
fn parts(folder: &Path, case: &Case, work: &Folder) -> Vec<String> {
    let Some(wanted) = &case.scenario else {
        std::fs::copy(folder.join("input.pcap"), work.file("input.pcap")).unwrap();
        return vec!["input".to_owned()];
    };
    let written = scenarios::ALL.iter().find(|(name, _)| name == wanted);
    let (_, write) = written.unwrap_or_else(|| panic!("{}: no scenario `{wanted}`", name(folder)));
    let mut names = Vec::new();
    for (part, scenario) in write() {
        let format = if scenario.interface_count() > 1 { Format::PCAPNG } else { Format::PCAP };
        std::fs::write(work.file(&format!("{part}.pcap")), scenario.encode(format)).unwrap();
        names.push(part.to_owned());
    }
    names
}

/// What a person would compare: no ids, which only say that something is the same.
fn reduced(read: u64, event: &Value) -> Option<Value> {
    let own = &event["eastwatch"];
    match event["event_type"].as_str()? {
        "alert" => Some(json!({
            "read": read, "event": "alert", "time": event["timestamp"], "detector": own["detector"],
            "severity": own["severity"], "sid": event["alert"]["signature_id"], "vm": own["vm_name"],
            "service": own["service"], "src_ip": event["src_ip"], "dest_ip": event["dest_ip"],
            "reason": own["reason"], "frames": own["evidence"]["frames"],
        })),
        "incident" => {
            let incident = &own["incident"];
            Some(json!({
                "read": read, "event": "incident", "from": own["from"], "state": incident["state"],
                "severity": incident["severity"], "detector": incident["detector"], "title": incident["title"],
                "findings": incident["findings"],
            }))
        }
        _ => None,
    }
}

fn services(work: &Folder) -> Vec<String> {
    let rows = learned_from(&work.file("state"), &["services"]);
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let list = rows.as_array().unwrap().iter().map(|r| {
        let port = if r["announced_by"].is_null() { r["port"].to_string() } else { "*".to_owned() };
        let port = format!("{}/{port}", text(r, "proto"));
        let mut shown = vec![text(r, "ip"), port, text(r, "app_proto"), text(r, "state")];
        if r["class"] != "unicast" {
            shown.push(text(r, "class"));
            shown.extend(r["groups"].as_array().unwrap().iter().map(|g| g.as_str().unwrap().to_owned()));
            shown.extend(r["members"].as_u64().map(|n| n.to_string()));
        }
        shown.join(" ")
    });
    let mut list: Vec<String> = list.collect();
    list.sort();
    // One line for all the ports that a service announced.
    list.dedup_by(|a, b| a == b && a.contains("/* "));
    list
}

fn peers(work: &Folder) -> Vec<String> {
    let (rows, vms) = (learned_from(&work.file("state"), &["peers"]), learned_from(&work.file("state"), &["vms"]));
    let edge = |r: &Value| {
        let (ip, proto) = (r["ip"].as_str().unwrap_or("-"), r["proto"].as_str().unwrap_or("-"));
        format!("{} > {ip} {proto}/{}", address(&vms, &r["client"]), r["port"])
    };
    let mut list: Vec<String> = rows.as_array().unwrap().iter().map(edge).collect();
    list.sort();
    list
}

fn case(folder: &Path) -> Case {
    let text = std::fs::read_to_string(folder.join("case.toml")).unwrap();
    toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", name(folder)))
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

fn folders() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(all).unwrap().map(|e| e.unwrap().path()).filter(|p| p.join("case.toml").exists()).collect();
    found.sort();
    found
}
