//! What operations do to a site that has learned: clones, pools, churn, rollouts, failovers, reverts, patch days; and
//! two ways to wear out whoever reads the alerts.

use std::collections::BTreeSet;

use eastwatch::baseline::{Sanction, SanctionSource};
use eastwatch::model::{Severity, Transport};

use super::measured::{Measured, Sample};
use super::plants::{incidents, is_started, places, reported};
use super::rows::Row;
use crate::site::behaviour::autoscale::Autoscale;
use crate::site::behaviour::churn::Churn;
use crate::site::behaviour::desktops::Pool;
use crate::site::behaviour::intruder::{Intruder, Plant};
use crate::site::behaviour::novelties::{Frog, Noise};
use crate::site::behaviour::patch::PatchDay;
use crate::site::behaviour::revert::Reverts;
use crate::site::behaviour::rollout::Rollout;
use crate::site::event::{Id, Os, Tag};
use crate::site::observe::host_address;
use crate::site::run::Run;
use crate::site::sizes::Size;
use crate::site::truth::Truth;
use crate::site::{DAY, HOUR, MINUTE, Micros, Rng, SECOND, packet_time};

/// The phase that all rows of this file are of.
type Phase = &'static str;
const NEWS: [&str; 2] = ["new-vm", "new-service"];

/// All of them, each from where the run stands.
pub fn all(run: &mut Run, after: Phase, out: &mut Measured, mut rng: Rng) {
    let size = out.size();
    autoscale(run, after, out);
    if size > Size::S {
        pool(run, after, out, rng.next());
    }
    churn(run, after, out, rng.next());
    rollout(run, after, out, true, rng.next());
    rollout(run, after, out, false, rng.next());
    noise(run, after, out, rng.next());
    if size < Size::L {
        frog(run, after, out);
    }
    failovers(run, after, out);
    reverts(run, after, out, rng.next());
    patch(run, after, out, rng.next());
}

/// Counts what is told of machines that came after `before`.
fn about_newcomers(run: &Run, from: Micros, before: usize) -> (Vec<String>, Vec<String>, u64) {
    let vms = run.vms();
    let (mut news, mut other, mut loud) = (Vec::new(), Vec::new(), 0);
    for entry in run.ledger.between(from, Micros::MAX) {
        let machine = vms.get(&run.brain.inventory.resolve(entry.incident.vm)).copied();
        let text = super::quiet::told(run, machine, &entry.incident, entry.stored);
        let is_new = machine.is_some_and(|id| id as usize >= before && run.site.world.machine(id).role != "runner");
        // Where it went is told of every VM that is moved.
        if !is_new || entry.incident.detector == "vm-moved" {
            continue;
        }
        if entry.incident.detector == "new-vm" {
            loud += u64::from(entry.incident.severity > Severity::Info);
            news.push(text);
        } else {
            other.push(text);
        }
    }
    (news, other, loud)
}

fn note(out: &mut Measured, after: Phase, row: Row, texts: Vec<String>) {
    out.add(row, after, Sample::Rate(texts.len() as u64, 1.0));
    for text in texts {
        out.example(row, after, text);
    }
}

fn autoscale(run: &mut Run, after: Phase, out: &mut Measured) {
    let mut run = run.fork();
    let (from, before) = (run.now, run.site.world.machines.len());
    let groups = ["web", "linux", "all", "servers"];
    run.site.add(from + MINUTE, Autoscale::new(100, "web", &groups, 2 * SECOND, None));
    run.to(from + DAY);
    let (news, other, _) = about_newcomers(&run, from, before);
    note(out, after, Row::AutoscaleVms, news);
    note(out, after, Row::AutoscaleOther, other);
}

fn pool(run: &mut Run, after: Phase, out: &mut Measured, seed: u64) {
    let mut run = run.fork();
    let before = run.site.world.machines.len();
    run.site.add(run.now + 7 * HOUR, Pool::new(500, Rng::new(seed, 1)));
    // Its first morning, on which it is set up, is news.
    run.to(run.now + DAY);
    let from = run.now;
    run.to(from + 3 * DAY);
    let (news, other, loud) = about_newcomers(&run, from, before);
    let beyond = (news.len() as u64).saturating_sub(1).max(loud);
    out.add(Row::PoolVms, after, Sample::Rate(beyond, 1.0));
    for text in news {
        out.example(Row::PoolVms, after, text);
    }
    note(out, after, Row::PoolOther, other);
}

fn churn(run: &mut Run, after: Phase, out: &mut Measured, seed: u64) {
    let mut run = run.fork();
    let (from, before) = (run.now, run.site.world.machines.len());
    let world = &mut run.site.world;
    // Those with an address of their own: not who is asked by address, nor the two that share one.
    let fixed = ["dhcp", "infra", "lb", "db"];
    let machines: Vec<Id> =
        world.machines.iter().filter(|m| m.os != Os::Outside && m.role != "runner").map(|m| m.id).collect();
    let moving: Vec<Id> = machines
        .into_iter()
        .filter(|id| world.is_alive(*id) && !fixed.contains(&world.machine(*id).role.as_str()))
        .take(500)
        .collect();
    for id in &moving {
        world.join(*id, "moving");
    }
    let group = world.group("moving");
    let pair = world.of("lb");
    let mut churn = Churn::new(group, 12 * HOUR / 1_000, from + 12 * HOUR, Rng::new(seed, 2));
    if let [first, second] = pair[..] {
        let ip = "10.0.0.4".parse().expect("an address");
        churn.shared = Some((ip, [first, second], crate::site::world::Manner::tcp(443, "tls")));
    }
    run.site.add(from + MINUTE, churn);
    run.to(from + 12 * HOUR + 30 * MINUTE);
    let vms = run.vms();
    let about = |detector: &str| -> Vec<String> {
        let entries = run.ledger.between(from, Micros::MAX).filter(|entry| entry.incident.detector == detector);
        entries
            .filter_map(|entry| {
                let machine = vms.get(&run.brain.inventory.resolve(entry.incident.vm)).copied();
                // A runner or a clone that came is new indeed.
                let is_new = machine.is_some_and(|id| id as usize >= before);
                (!is_new).then(|| super::quiet::told(&run, machine, &entry.incident, entry.stored))
            })
            .collect()
    };
    note(out, after, Row::ChurnVms, about("new-vm"));
    note(out, after, Row::ChurnServices, about("new-service"));
    let alive: Vec<Id> = moving.into_iter().filter(|id| run.site.world.is_alive(*id)).collect();
    let right = alive.iter().filter(|id| run.is_placed(**id)).count();
    for id in alive.iter().filter(|id| !run.is_placed(**id)) {
        let machine = run.site.world.machine(*id);
        out.example(Row::ChurnIdentity, after, format!("{} at {}", machine.name, machine.ip));
    }
    out.add(Row::ChurnIdentity, after, Sample::Share(right as u64, alive.len() as u64));
    if run.site.world.hosts > 1 {
        let there = |id: &&Id| {
            let here = run.vm_of(**id).and_then(|vm| run.brain.inventory.whereabouts(vm)?.stays.last().cloned());
            here.is_some_and(|stay| stay.location.host == Some(host_address(run.site.world.machine(**id).host)))
        };
        out.add(Row::ChurnPlaces, after, Sample::Share(alive.iter().filter(there).count() as u64, alive.len() as u64));
    }
}

fn rollout(run: &mut Run, after: Phase, out: &mut Measured, approved: bool, seed: u64) {
    let mut run = run.fork();
    let (from, port) = (run.now, 9_999);
    let to: Vec<Id> = run.site.world.of("linux").into_iter().rev().take(30).collect();
    let row = if approved { Row::Sanctioned } else { Row::Unsanctioned };
    if approved {
        let vms: Vec<_> = to.iter().filter_map(|id| run.vm_of(*id)).collect();
        for vm in vms {
            let sanction = Sanction {
                vm,
                service: Some((Transport::Tcp, port)),
                app: None,
                owner: "operations".to_owned(),
                reason: "new agent".to_owned(),
                ticket: None,
                expires: None,
                added: packet_time(from),
                source: SanctionSource::Person,
                hits: 0,
                last_hit: None,
            };
            run.brain.sanctions.add(sanction).expect("room");
        }
    }
    let tag = if approved { Tag::Approved } else { Tag::Benign };
    run.site.add(from + MINUTE, Rollout::new(to, port, HOUR, from + 6 * HOUR, tag, Rng::new(seed, 3)));
    run.to(from + 6 * HOUR);
    let told = incidents(&run, from, "new-service").into_iter().filter(|text| text.contains("9999")).collect();
    note(out, after, row, told);
}

/// A day of harmless novelties, then the shell that matters.
fn noise(run: &mut Run, after: Phase, out: &mut Measured, seed: u64) {
    let mut run = run.fork();
    let (from, mut rng) = (run.now, Rng::new(seed, 4));
    let places = places(&run, 12, &mut rng);
    let Some((_, _, [client, _])) = places.first().copied() else { return };
    let on: Vec<Id> = places.iter().map(|(_, on, _)| *on).filter(|on| *on != client).collect();
    let noise = Noise { on: on.clone(), client, every: 2 * MINUTE, until: from + DAY, rng: rng.clone(), cause: None };
    run.site.add(from + MINUTE, noise);
    let shell_at = from + DAY + 10 * MINUTE;
    for (nth, id) in on.iter().take(4).enumerate() {
        let rng = Rng::new(seed, 100 + nth as u64);
        run.site.add(shell_at, Intruder::new(Plant::Implant, *id, [client, client], 3, 10 * MINUTE, rng));
    }
    run.to(shell_at + 2 * HOUR);
    let pages = run.ledger.incidents.values().filter(|entry| entry.paged.is_some_and(|at| at >= from && at < shell_at));
    out.add(Row::NoisePages, after, Sample::Rate(pages.count() as u64, 1.0));
    recall(&run, Row::AfterNoise, after, shell_at, out);
}

fn recall(run: &Run, row: Row, after: Phase, from: Micros, out: &mut Measured) {
    let (mut hits, mut of) = (0, 0);
    let truths: Vec<&Truth> = run.site.world.truth.iter().filter(|t| is_started(t, from)).collect();
    for truth in truths {
        let Some(vm) = run.vm_of(truth.dst).filter(|_| truth.kind != "noise") else { continue };
        let found = reported(run, vm, truth).is_some();
        (hits, of) = (hits + u64::from(found), of + 1);
        if !found {
            let name = &run.site.world.machine(truth.dst).name;
            out.example(row, after, format!("{} on {name} port {:?}", truth.kind, truth.port));
        }
    }
    out.add(row, after, Sample::Share(hits, of));
}

fn frog(run: &mut Run, after: Phase, out: &mut Measured) {
    let mut run = run.fork();
    let from = run.now;
    let ripe: BTreeSet<Id> =
        run.vms().into_iter().filter(|(vm, _)| run.ripeness(*vm).is_ripe()).map(|(_, id)| id).collect();
    let apps: Vec<Id> = run.site.world.of("app").into_iter().filter(|id| ripe.contains(id)).collect();
    let [on, client, ..] = apps[..] else { return };
    run.site.add(from + HOUR, Frog { on, client, every: DAY, left: 10, port: 7_001 });
    run.to(from + 10 * DAY + 2 * HOUR);
    recall(&run, Row::Frog, after, from, out);
}

fn failovers(run: &mut Run, after: Phase, out: &mut Measured) {
    let mut run = run.fork();
    let from = run.now;
    run.site.world.flips = (0..6).map(|n| from + HOUR + n * 30 * MINUTE).collect();
    run.to(from + 5 * HOUR);
    let shares = ["lb", "db"].map(|role| run.site.world.of(role)).concat();
    let names: Vec<String> = shares.iter().map(|id| format!("on {},", run.site.world.machine(*id).name)).collect();
    let told = NEWS.iter().flat_map(|detector| incidents(&run, from, detector));
    note(out, after, Row::Failover, told.filter(|text| names.iter().any(|name| text.contains(name))).collect());
}

fn reverts(run: &mut Run, after: Phase, out: &mut Measured, seed: u64) {
    let mut run = run.fork();
    let (from, before) = (run.now, run.site.world.machines.len());
    run.site.add(from + MINUTE, Reverts { every: 5 * MINUTE, rng: Rng::new(seed, 5) });
    run.to(from + 6 * HOUR);
    let vms = run.vms();
    let entries =
        run.ledger.between(from, Micros::MAX).filter(|entry| NEWS.contains(&entry.incident.detector.as_str()));
    let told = entries.filter_map(|entry| {
        let machine = vms.get(&run.brain.inventory.resolve(entry.incident.vm)).copied();
        let is_new = machine.is_some_and(|id| id as usize >= before);
        (!is_new).then(|| super::quiet::told(&run, machine, &entry.incident, entry.stored))
    });
    note(out, after, Row::Reverts, told.collect());
}

fn patch(run: &mut Run, after: Phase, out: &mut Measured, seed: u64) {
    let mut run = run.fork();
    let from = run.now;
    let windows = run.site.world.group("windows");
    let machines = run.site.world.members(windows).len();
    // A patch day of its own: without the one that all had, this would be the second.
    run.site.add(from + 2 * HOUR, PatchDay { of: windows, rng: Rng::new(seed, 6) });
    run.to(from + 8 * HOUR);
    let told = incidents(&run, from, "new-service");
    out.add(Row::Patch, after, Sample::Rate(told.len() as u64, machines as f64 / 100.0));
    for text in told {
        out.example(Row::Patch, after, text);
    }
    let pages = run.ledger.incidents.values().filter(|entry| entry.paged.is_some_and(|at| at >= from));
    out.add(Row::PatchPages, after, Sample::Rate(pages.count() as u64, 1.0));
}
