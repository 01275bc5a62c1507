//! `eastwatch doctor`: permissions, interfaces, clock, store and sources: what is wrong and the mend.

mod mirror;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::api::{self, Request};
use crate::brain::Brain;
use crate::capture::{Live, addresses};
use crate::config::Config;
use crate::model::Timestamp;
use crate::runtime::Shelf;
use crate::store::{self, Options};

use super::args::{DoctorArgs, Global};
use super::output::{Column, column, print, text};
use super::place::state_of_query;
use super::{Failure, settings};

/// More dropped than this share of packets is worth a word.
const LOSS_SHARE: f64 = 0.001;
/// Frames cut by more than stray ones.
const CUT_PERCENT: f64 = 1.0;
/// As `service-gone` and `blind` have them.
const LOST_PERCENT: f64 = 2.0;
const ONE_WAY_PERCENT: f64 = 20.0;

pub fn run(global: &Global, args: &DoctorArgs) -> Result<(), Failure> {
    const COLUMNS: &[Column] = &[
        column("CHECK", |r| text(r, "check")),
        column("STATUS", |r| text(r, "status")),
        column("FOUND", |r| text(r, "found")),
        column("MEND", |r| text(r, "mend")),
    ];
    let mut rows = Vec::new();
    let config = match settings::loaded(global) {
        Ok(loaded) => {
            let file = global.config.as_ref().map_or("defaults".to_owned(), |p| p.display().to_string());
            rows.push(row("configuration", Ok(file)));
            loaded.config
        }
        Err(failure) => {
            rows.push(row("configuration", Err((failure.text, "see the lines above".to_owned()))));
            Config::default()
        }
    };
    rows.extend(apps(&config));
    rows.extend(config.baseline.follow.as_deref().map(|dir| row("follow", Shelf::check(dir))));
    state(global, &config, &mut rows);
    for name in &args.interface {
        rows.push(interface(name, &config));
    }
    let wrong = rows.iter().filter(|r| r["status"] != "ok").count();
    print(&Value::Array(rows), COLUMNS, args.format, global.color, "")?;
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::run("1 check needs attention")),
        n => Err(Failure::run(format!("{n} checks need attention"))),
    }
}

/// The user's applications, and Recog's files: what of them cannot be used.
fn apps(config: &Config) -> Option<Value> {
    if config.apps == Default::default() {
        return None;
    }
    let mend = "`eastwatch config check` names each".to_owned();
    Some(row(
        "apps",
        match settings::apps(config, false) {
            Err(failure) => Err((failure.text, "see the lines above".to_owned())),
            Ok(apps) => {
                let defined =
                    (!apps.definitions.is_empty()).then(|| format!("{} applications", apps.definitions.len()));
                let recog = apps.recog.as_ref().map(|recog| recog.told());
                let found = defined.into_iter().chain(recog).collect::<Vec<_>>().join("; ");
                match apps.recog.is_some_and(|recog| !recog.faults().is_empty()) {
                    true => Err((found, mend)),
                    false => Ok(found),
                }
            }
        },
    ))
}

type Found = Result<String, (String, String)>;

fn row(check: &str, found: Found) -> Value {
    match found {
        Ok(found) => json!({ "check": check, "status": "ok", "found": found, "mend": null }),
        Err((found, mend)) => json!({ "check": check, "status": "attention", "found": found, "mend": mend }),
    }
}

/// The running probe's own figures, else the store.
fn state(global: &Global, config: &Config, rows: &mut Vec<Value>) {
    let dir = state_of_query(global, config);
    if let Some(answer) = api::ask(&api::socket_path(&dir), &Request::Status {}) {
        match answer {
            Ok(status) => {
                rows.push(row("probe", Ok(format!("running on {}", dir.display()))));
                figures(&status, true, rows);
            }
            Err(error) => rows.push(row("probe", Err((error, "run doctor as the probe's user".to_owned())))),
        }
        return;
    }
    rows.push(row("probe", Ok(format!("none runs on {}", dir.display()))));
    if !dir.is_dir() {
        rows.push(row("state", Ok(format!("{} does not exist yet", dir.display()))));
        return;
    }
    let opened = store::open(&dir, Options::default())
        .and_then(|(store, recovery)| Brain::load(Box::new(store), config.brain()).map(|brain| (brain, recovery)));
    match opened {
        Ok((mut brain, recovery)) => {
            let found = match recovery {
                None => Ok(format!("{} is sound", dir.display())),
                Some(recovery) => Err((recovery.to_string(), "see docs/store.md".to_owned())),
            };
            rows.push(row("state", found));
            figures(&brain.status(), false, rows);
            if let Some(store) = brain.take_store() {
                let _ = store.close();
            }
        }
        Err(error) => rows.push(row("state", Err((error.to_string(), "see docs/store.md".to_owned())))),
    }
}

fn figures(status: &Value, running: bool, rows: &mut Vec<Value>) {
    let number = |key: &str| status.get(key).and_then(Value::as_u64).unwrap_or(0);
    rows.push(row("inventory", Ok(format!("{} VMs, {} services", number("vms"), number("services")))));
    rows.extend(coverage(status));
    rows.push(clock(&text(status, "time"), running));
    for source in status.get("sources").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        rows.push(drops(source));
    }
    if running {
        let own = addresses();
        for survey in status.get("surveys").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
            rows.extend(mirror::faults(survey, &own));
        }
    }
    for awaited in status.get("awaited_templates").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        let [exporter, template, sets] = ["exporter", "template", "sets"].map(|key| text(awaited, key));
        let found = format!("flow records came before template {template} and were dropped (sets: {sets})");
        let mend = "exporters repeat it every few minutes: let this one do so (template refresh)".to_owned();
        rows.push(row(&format!("exporter {exporter}"), Err((found, mend))));
    }
    for tunnel in status.get("one_way_tunnels").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        let found = format!("{}: a mirror's own tunnel?", text(tunnel, "found"));
        rows.push(row("tunnels", Err((found, format!("decide by {}", text(tunnel, "mend"))))));
    }
    rows.extend(followed(status));
    if running {
        quality(status, rows);
    }
    let outside = status.get("outside_home").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    rows.push(if outside.is_empty() {
        row("home", Ok("no busy address lies outside home".to_owned()))
    } else {
        let list: Vec<String> =
            outside.iter().take(5).map(|o| format!("{} ({} flows)", text(o, "ip"), text(o, "flows"))).collect();
        let found = format!("busy outside home: {}", list.join(", "));
        noted("home", found, "where these are VMs: [networks] home, or --home")
    });
}

/// What the running probe makes of the folder that it shares with others.
fn followed(status: &Value) -> Option<Value> {
    let follow = status.get("follow").filter(|follow| follow.is_object())?;
    let number = |key: &str| follow.get(key).and_then(Value::as_u64).unwrap_or(0);
    let found = format!(
        "{}: {} taken, {} written, {} refused, {} failed",
        text(follow, "dir"),
        number("taken"),
        number("written"),
        number("refused"),
        number("failed")
    );
    let told = |key: &str| follow.get(key).and_then(Value::as_str);
    let trouble = told("trouble").or(told("fault").filter(|_| number("refused") > 0));
    Some(match trouble {
        Some(trouble) => {
            let mend = "see what lies there; its probes, and nobody else, may write to it".to_owned();
            row("shared baselines", Err((format!("{found}; {trouble}"), mend)))
        }
        None => row("shared baselines", Ok(found)),
    })
}

/// Which VMs of the inventory the mirror shows. Some are always off; none seen is another network's inventory.
fn coverage(status: &Value) -> Option<Value> {
    let listed = status.get("inventory")?;
    let number = |key: &str| listed.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (seen, half, unseen) = (number("seen"), number("half_seen"), number("unseen"));
    let all = seen + half + unseen;
    if all == 0 {
        return None;
    }
    let named = |count: u64, key: &str| {
        let names: Vec<&str> = listed.get(key)?.as_array()?.iter().filter_map(Value::as_str).collect();
        let more = if count as usize > names.len() { ", …" } else { "" };
        (count > 0).then(|| format!(" ({}{more})", names.join(", ")))
    };
    let found = format!(
        "of {all} VMs {seen} are seen, {half} half seen{}, {unseen} unseen{}",
        named(half, "half_seen_vms").unwrap_or_default(),
        named(unseen, "unseen_vms").unwrap_or_default()
    );
    let packets = status.get("vms").and_then(Value::as_u64).unwrap_or(0) > 0;
    Some(match (seen + half == 0 && packets, half + unseen) {
        (true, _) => row(
            "coverage",
            Err((found, "is it the inventory of the mirrored network? see docs/reference.md".to_owned())),
        ),
        (false, 0) => row("coverage", Ok(found)),
        (false, _) => noted("coverage", found, "those that run: mirror every port of theirs, and those of their hosts"),
    })
}

/// Sound as far as can be told, with what to do where it is not.
fn noted(check: &str, found: String, mend: &str) -> Value {
    json!({ "check": check, "status": "ok", "found": found, "mend": mend })
}

/// A probe's newest packet time lies near now; a state whose time lies ahead holds every packet for late.
fn clock(newest: &str, running: bool) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_parts(now.as_secs(), 0);
    let Ok(newest) = newest.parse::<Timestamp>() else { return row("clock", Ok("no packet yet".to_owned())) };
    let ahead_s = newest.since_s(now);
    if ahead_s > 5.0 {
        let found = format!("the newest packet is {ahead_s:.0} s ahead of this machine's clock");
        return row("clock", Err((found, "check NTP here and on the mirror source".to_owned())));
    }
    if running && ahead_s < -60.0 {
        let found = format!("nothing was analysed for {:.0} s", -ahead_s);
        return row("clock", Err((found, "is the mirror session up?".to_owned())));
    }
    row("clock", Ok(format!("newest packet {}", newest.short())))
}

/// One source: what it gave, what was lost on the way, and how its connections are seen lately.
fn drops(source: &Value) -> Value {
    let number = |key: &str| source.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (packets, kernel, interface) = (number("packets"), number("kernel_drops"), number("interface_drops"));
    let lately = |key: &str| percent(source.get("capture_quality").unwrap_or(&Value::Null), key);
    let mut found = format!(
        "{packets} packets, {kernel} dropped by the kernel, {interface} by the interface, {:.1} % seen twice, {:.1} % cut, \
         {:.1} % out of order",
        lately("duplicates"),
        lately("truncated"),
        lately("reordered"),
    );
    let (sequenced, gaps) = (number("sequenced"), number("sequence_gaps"));
    if sequenced > 0 {
        found += &format!(", {gaps} of {} numbered copies never came", sequenced + gaps);
    }
    if number("tcp_flows") > 0 {
        let (missed, bytes) = (number("tcp_missed_bytes"), number("tcp_bytes"));
        let missing = missed as f64 * 100.0 / (bytes + missed).max(1) as f64;
        found += &format!(
            ", {missing:.2} % of TCP bytes never seen, {} of {} connections from one side",
            number("tcp_one_way"),
            number("tcp_flows")
        );
    }
    let share = (kernel + interface) as f64 / (packets + kernel + interface).max(1) as f64;
    let gone = source.get("gone").and_then(Value::as_bool) == Some(true);
    let mend = if gone {
        found += "; it went away";
        "bring it back and start the probe again"
    } else if share > LOSS_SHARE {
        "raise [capture] buffer_mib (of a listener: net.core.rmem_max too), or --workers"
    } else if gaps as f64 / (sequenced + gaps).max(1) as f64 > LOSS_SHARE {
        "copies are lost between the switch and eastwatch: mirror fewer ports, or give the tunnel more bandwidth and a \
         larger MTU"
    } else if lately("loss") > LOST_PERCENT {
        "the mirror drops packets: mirror fewer ports by it, or give it more bandwidth"
    } else if lately("one_way") > ONE_WAY_PERCENT {
        "mirror both directions of every port"
    } else if lately("truncated") > CUT_PERCENT {
        "raise the mirror's snap length, and [capture] snaplen"
    } else {
        return row(&format!("source {}", text(source, "name")), Ok(found));
    };
    row(&format!("source {}", text(source, "name")), Err((found, mend.to_owned())))
}

fn percent(shares: &Value, key: &str) -> f64 {
    shares.get(key).and_then(Value::as_f64).unwrap_or(0.0) * 100.0
}

/// What the mirror shows, as its TCP connections tell, and the VMs of which it shows little.
fn quality(status: &Value, rows: &mut Vec<Value>) {
    let Some(quality) = status.get("quality") else { return };
    let (loss, one_way) = (percent(quality, "loss"), percent(quality, "one_way"));
    let found = format!(
        "{loss:.2} % lost, {one_way:.1} % of connections from one side, {:.1} % seen twice, {:.1} % cut, {:.1} % out of \
         order",
        percent(quality, "duplicates"),
        percent(quality, "truncated"),
        percent(quality, "reordered"),
    );
    let mend = match (loss > LOST_PERCENT, one_way > ONE_WAY_PERCENT) {
        (_, true) => Some("mirror both directions of every port"),
        (true, false) => Some("the mirror drops packets: mirror fewer ports, or give it more bandwidth"),
        (false, false) => None,
    };
    rows.push(row(
        "mirror",
        match mend {
            Some(mend) => Err((found, mend.to_owned())),
            None => Ok(found),
        },
    ));
    let half = status.get("half_seen").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !half.is_empty() {
        let shown = half.iter().take(5).map(|vm| {
            let share = |key: &str| percent(vm.get("capture_quality").unwrap_or(&Value::Null), key);
            format!(
                "{} ({:.0} % lost, {:.0} % one-way, {:.0} % twice, {:.0} % cut, {:.0} % out of order)",
                text(vm, "vm_name"),
                share("loss"),
                share("one_way"),
                share("duplicates"),
                share("truncated"),
                share("reordered")
            )
        });
        let found = format!("half seen: {}", shown.collect::<Vec<_>>().join(", "));
        rows.push(row("VMs", Err((found, "are all of their ports mirrored, in both directions?".to_owned()))));
    }
}

/// Opens the interface as `watch` would, and closes it again.
fn interface(name: &str, config: &Config) -> Value {
    let check = format!("interface {name}");
    match Live::open(std::slice::from_ref(&name.to_owned()), None, &config.capture) {
        Ok(_) => row(&check, Ok("can be captured from".to_owned())),
        Err(error) => row(&check, Err((error.what, error.mend))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(more: Value) -> (String, String) {
        let mut source = json!({ "name": "span0", "packets": 10_000, "sequenced": 0, "tcp_flows": 100,
            "tcp_bytes": 990_000, "tcp_missed_bytes": 10_000, "tcp_one_way": 3, "capture_quality": { "loss": 0.01 } });
        for (key, value) in more.as_object().into_iter().flatten() {
            source[key] = value.clone();
        }
        let row = drops(&source);
        (text(&row, "found"), text(&row, "mend"))
    }

    #[test]
    fn a_source_is_told_with_all_that_is_known_of_it_and_a_sound_one_needs_no_mend() {
        let (found, mend) = told(json!({ "sequenced": 999, "sequence_gaps": 1 }));
        for part in
            ["10000 packets, 0 dropped", "1 of 1000 numbered copies never came", "1.00 % of TCP bytes never seen"]
        {
            assert!(found.contains(part), "{found}");
        }
        assert!(found.ends_with("3 of 100 connections from one side") && mend == "-", "{found}: {mend}");
        assert!(!told(json!({})).0.contains("numbered"), "a mirror that numbers nothing");
    }

    #[test]
    fn each_fault_of_a_source_names_its_mend() {
        for (fault, mend) in [
            (json!({ "gone": true }), "bring it back"),
            (json!({ "kernel_drops": 100 }), "[capture] buffer_mib"),
            (json!({ "sequenced": 9_900, "sequence_gaps": 100 }), "between the switch and eastwatch"),
            (json!({ "capture_quality": { "loss": 0.03 } }), "mirror fewer ports"),
            (json!({ "capture_quality": { "one_way": 0.3 } }), "mirror both directions"),
            (json!({ "capture_quality": { "truncated": 0.02 } }), "snap length"),
        ] {
            let (_, said) = told(fault.clone());
            assert!(said.contains(mend), "{fault}: {said}");
        }
    }

    #[test]
    fn vms_that_are_half_seen_are_told_with_each_share() {
        let mut rows = Vec::new();
        let shares = json!({ "loss": 0.05, "one_way": 0.0, "duplicates": 0.5, "truncated": 0.0, "reordered": 0.01 });
        let status =
            json!({ "quality": shares, "half_seen": [{ "vm": "vm-1", "vm_name": "db1", "capture_quality": shares }] });
        quality(&status, &mut rows);
        let found = text(&rows[1], "found");
        assert_eq!(found, "half seen: db1 (5 % lost, 0 % one-way, 50 % twice, 0 % cut, 1 % out of order)");
        assert!(rows.iter().all(|row| row["mend"].is_string()), "{rows:?}");
    }
}
