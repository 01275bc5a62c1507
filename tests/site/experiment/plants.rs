//! What an intruder starts: new services on machines that learned for a while, and services that were there before.

use std::collections::BTreeSet;

use eastwatch::model::{ServiceKey, Transport, VmId};

use super::measured::{Measured, Sample};
use super::quiet::told;
use super::rows::Row;
use crate::site::behaviour::intruder::{Intruder, Plant};
use crate::site::event::{Id, Os};
use crate::site::run::Run;
use crate::site::truth::{Done, Truth};
use crate::site::{DAY, HOUR, MINUTE, Micros, Rng, moment, packet_time};

/// At most so many new services at once: more would change the site that they are measured in.
const PLANTS_MAX: usize = 40;
/// Time in which they are started, and time after it in which they are reported.
const WITHIN: Micros = 2 * HOUR;
const AFTER: Micros = 2 * HOUR;
/// Planted services are to be reported by then.
const REPORTED: Micros = 8 * DAY;

/// Machines for plants, each once, and the two that use what is planted.
pub fn places(run: &Run, count: usize, rng: &mut Rng) -> Vec<(Plant, Id, [Id; 2])> {
    let world = &run.site.world;
    let settled = |id: &Id| {
        let machine = world.machine(*id);
        machine.os != Os::Outside && world.is_alive(*id) && machine.role != "runner"
    };
    let mut all: Vec<Id> = (0..world.machines.len() as Id).filter(settled).collect();
    let clients = all.clone();
    for n in (1..all.len()).rev() {
        all.swap(n, rng.below(n + 1));
    }
    let mut plants = Plant::ALL.iter().cycle();
    let mut out = Vec::new();
    for on in all.into_iter().take(count) {
        let (Some(plant), role) = (plants.next().copied(), &world.machine(on).role) else { break };
        // Where it belongs, it is no news.
        let at_home = (plant == Plant::Rdp && ["win", "dc", "files"].contains(&role.as_str()))
            || (plant == Plant::Database && role == "db");
        let mut client = || clients[rng.below(clients.len())];
        let (first, mut second) = (client(), client());
        while second == first || second == on {
            second = client();
        }
        if !at_home && first != on {
            out.push((plant, on, [first, second]));
        }
    }
    out
}

/// New services of every kind, on machines that learned until now.
pub fn new_services(run: &mut Run, phase: &'static str, out: &mut Measured, mut rng: Rng) {
    let mut run = run.fork();
    let from = run.now;
    let count = (out.size().vms() / 3).clamp(8, PLANTS_MAX);
    let places = places(&run, count, &mut rng);
    for (nth, (plant, on, clients)) in places.into_iter().enumerate() {
        let at = from + MINUTE + rng.between(0, WITHIN);
        let rng = Rng::new(nth as u64, rng.next());
        run.site.add(at, Intruder::new(plant, on, clients, 3, 20 * MINUTE, rng));
    }
    let ripe: BTreeSet<VmId> = run.vms().into_keys().filter(|vm| run.ripeness(*vm).is_ripe()).collect();
    run.to(from + WITHIN + AFTER);
    let ([mut hits, mut of], [mut unripe_hits, mut unripe]) = ([0, 0], [0, 0]);
    let mut worst: Option<f64> = None;
    let truths: Vec<Truth> = run.site.world.truth.iter().filter(|t| is_started(t, from)).cloned().collect();
    for truth in truths {
        let Some(vm) = run.vm_of(truth.dst) else { continue };
        let report = reported(&run, vm, &truth);
        if ripe.contains(&vm) {
            (hits, of) = (hits + u64::from(report.is_some()), of + 1);
            match report {
                Some(at) => worst = Some(worst.unwrap_or(0.0).max(delay_s(&truth, at))),
                None => out.example(Row::Recall, phase, missed(&run, &truth)),
            }
            if let Some(at) = report
                && delay_s(&truth, at) > 1.0
            {
                out.example(Row::Delay, phase, format!("{:.1} s: {}", delay_s(&truth, at), missed(&run, &truth)));
            }
        } else {
            (unripe_hits, unripe) = (unripe_hits + u64::from(report.is_some()), unripe + 1);
        }
    }
    out.add(Row::Recall, phase, Sample::Share(hits, of));
    out.add(Row::RecallUnripe, phase, Sample::Share(unripe_hits, unripe));
    if let Some(worst) = worst {
        out.add(Row::Delay, phase, Sample::Most(worst));
    }
}

/// Services that are there from `after` on, before anything is ripe; reported within eight days?
pub fn planted(run: &mut Run, phase: &'static str, after: Micros, out: &mut Measured, mut rng: Rng) {
    run.at_once = true;
    run.to(MINUTE / 2);
    let (kinds, count) = ([Plant::Implant, Plant::Telnet, Plant::Vnc, Plant::Shell], 8);
    let places = places(run, count, &mut rng);
    for (nth, (_, on, clients)) in places.into_iter().enumerate() {
        let plant = kinds[nth % kinds.len()];
        let rng = Rng::new(nth as u64, rng.next());
        // It is used every few hours: a back door is not what a service is.
        run.site.add(after + rng.clone().between(0, HOUR), Intruder::new(plant, on, clients, 40, 4 * HOUR, rng));
    }
    run.to(REPORTED);
    let (mut hits, mut of) = (0, 0);
    let truths: Vec<Truth> = run.site.world.truth.iter().filter(|t| is_started(t, 0)).cloned().collect();
    for truth in truths {
        let Some(vm) = run.vm_of(truth.dst) else { continue };
        let report = reported(run, vm, &truth);
        (hits, of) = (hits + u64::from(report.is_some()), of + 1);
        if report.is_none() {
            out.example(Row::Planted, phase, missed(run, &truth));
        }
    }
    out.add(Row::Planted, phase, Sample::Share(hits, of));
}

pub fn is_started(truth: &Truth, from: Micros) -> bool {
    truth.event == Done::ServiceStart && truth.at() >= from
}

pub fn key(vm: VmId, truth: &Truth) -> Option<ServiceKey> {
    let transport: Transport = truth.transport.as_deref()?.parse().ok()?;
    Some(ServiceKey { vm, transport, port: truth.port? })
}

/// When an incident about this service was stored: its own; or one that took it in, whose time is not known then.
pub fn reported(run: &Run, vm: VmId, truth: &Truth) -> Option<Micros> {
    let key = key(vm, truth)?;
    let own = run.ledger.incidents.values().filter(|entry| {
        let incident = &entry.incident;
        let service = incident.service.as_ref().map(|(transport, port, _)| (*transport, *port));
        run.brain.inventory.resolve(incident.vm) == vm
            && service == Some((key.transport, key.port))
            && incident.detector != "new-peer"
    });
    let absorbed = || run.brain.incidents.concern(&key).map(|_| truth.at());
    own.map(|entry| entry.stored).min().or_else(absorbed)
}

fn delay_s(truth: &Truth, stored: Micros) -> f64 {
    // The answer follows within a few hops; what is told earlier than the truth says is no delay.
    (stored - truth.at()).max(0) as f64 / 1e6
}

fn missed(run: &Run, truth: &Truth) -> String {
    let name = &run.site.world.machine(truth.dst).name;
    let port = truth.port.unwrap_or_default();
    format!("{} on {name} port {port}, day {:.2}", truth.kind, truth.at() as f64 / DAY as f64)
}

/// What happened since `from` that is of this detector, in words.
pub fn incidents(run: &Run, from: Micros, detector: &str) -> Vec<String> {
    let vms = run.vms();
    let entries = run.ledger.between(from, Micros::MAX).filter(|entry| entry.incident.detector == detector);
    entries
        .map(|entry| {
            let machine = vms.get(&run.brain.inventory.resolve(entry.incident.vm)).copied();
            told(run, machine, &entry.incident, moment(packet_time(entry.stored)))
        })
        .collect()
}
