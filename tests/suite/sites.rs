//! Simulated sites: the two renderers of one scenario agree, its lines can be read back, and a small share of what
//! `make scenarios` measures holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use eastwatch::baseline::{BaselineConfig, Mode};
use eastwatch::brain::{Brain, BrainConfig};
use eastwatch::capture::Files;
use eastwatch::inventory::Client;
use eastwatch::model::{Mac, VmId};
use eastwatch::runtime::shard::ShardLimits;
use eastwatch::runtime::{Plan as RunPlan, mailbox, run};
use eastwatch::store::MemoryStore;

use super::harness::Folder;
use crate::site::behaviour::intruder::{Intruder, Plant};
use crate::site::event::Event;
use crate::site::experiment::{Extent, measure, rows};
use crate::site::observe::Observer;
use crate::site::packets::Packets;
use crate::site::sizes::Size;
use crate::site::topology::{Plan, site};
use crate::site::truth::Truth;
use crate::site::world::Site;
use crate::site::{HOUR, MINUTE, Micros, Rng};

const LEARNED: Micros = 4 * HOUR;
const END: Micros = 6 * HOUR;

/// Six hours of a small site; three new services in the fifth.
fn scenario() -> (Vec<Event>, Site) {
    let mut site = site(Plan { size: Size::S, seed: 5, changes: true });
    let (apps, webs) = (site.world.of("app"), site.world.of("web"));
    for (nth, plant) in [Plant::Shell, Plant::Telnet, Plant::Vnc].into_iter().enumerate() {
        let at = LEARNED + (10 + nth as i64) * MINUTE;
        let rng = Rng::new(9, nth as u64);
        site.add(at, Intruder::new(plant, webs[nth % webs.len()], [apps[0], apps[1]], 2, 10 * MINUTE, rng));
    }
    let mut events = Vec::new();
    while let Some(event) = site.event(END) {
        events.push(event);
    }
    (events, site)
}

fn config(mode: Mode) -> BrainConfig {
    BrainConfig { baseline: BaselineConfig { mode, ..BaselineConfig::default() }, ..BrainConfig::default() }
}

fn brain() -> Brain {
    Brain::load(Box::new(MemoryStore::new()), config(Mode::Learn)).unwrap()
}

/// The fact side fed with observations.
fn observed(events: &[Event]) -> Brain {
    let (mut brain, mut observer) = (brain(), Observer::new(false, true));
    for event in events {
        if event.at >= LEARNED && brain.baselines.mode() == Mode::Learn {
            brain.reconfigure(config(Mode::Enforce));
        }
        observer.take(event, &mut |observation| brain.observe(observation));
    }
    observer.until(Micros::MAX, &mut |observation| brain.observe(observation));
    brain
}

/// The whole pipeline fed with packets.
fn captured(events: &[Event]) -> Brain {
    let (folder, mut packets) = (Folder::new("site"), Packets::new(5));
    let mut brain = brain();
    for (part, mode) in [Mode::Learn, Mode::Enforce].into_iter().enumerate() {
        events.iter().filter(|event| (event.at >= LEARNED) == (part == 1)).for_each(|event| packets.take(event));
        let file = folder.file("site.pcap");
        packets.cut().write_pcap(&file).unwrap();
        brain.reconfigure(config(mode));
        let mut source = Files::open(&[file], None).unwrap();
        let (decode, limits) = (Default::default(), ShardLimits::default());
        let plan = RunPlan {
            workers: 1,
            decode,
            limits,
            definitions: Default::default(),
            seed: 1,
            full_ends: true,
            disk_full: Default::default(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        brain = run(&plan, &mut source, brain, mailbox(), &stop, |_, _, _| None).unwrap().brain;
    }
    brain
}

/// What is known and what was told, a line each.
fn summary(brain: &Brain) -> BTreeSet<String> {
    let macs: BTreeMap<VmId, Mac> =
        brain.inventory.vms().filter_map(|vm| vm.macs().next().map(|mac| (vm.id, mac))).collect();
    let name = |vm: VmId| macs.get(&brain.inventory.resolve(vm)).map_or_else(|| vm.to_string(), ToString::to_string);
    let vms = brain.inventory.vms().map(|vm| {
        let ips: BTreeSet<_> = vm.ips().collect();
        format!("vm {} {ips:?} router {}", name(vm.id), vm.router)
    });
    let services = brain.inventory.services().map(|service| {
        let app = service.app.as_ref().map_or("-", |app| app.proto.as_str());
        let (key, flows) = (service.key, service.flows);
        format!("service {} {} {}/{} {app} {flows} flows", name(key.vm), service.ip, key.transport, key.port)
    });
    let edges = brain.inventory.peers().map(|edge| {
        let client = match edge.client {
            Client::Vm(vm) => name(vm),
            Client::External => "external".to_owned(),
        };
        let key = edge.service;
        format!("edge {client} {} {}/{} {}", name(key.vm), key.transport, key.port, edge.flows)
    });
    let incidents = brain.incidents.list().into_iter().map(|incident| {
        let service = incident.service.as_ref().map(|(transport, port, app)| (*transport, *port, app.clone()));
        format!("incident {} {} {service:?} {}", incident.detector, name(incident.vm), incident.severity)
    });
    let incidents: Vec<String> = incidents.collect();
    vms.chain(services).chain(edges).chain(incidents).collect()
}

#[test]
fn observations_and_packets_of_one_scenario_tell_the_same() {
    let (events, _) = scenario();
    let (a, b) = (summary(&observed(&events)), summary(&captured(&events)));
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>().join("\n");
    assert!(a == b, "only as observations:\n{}\nonly as packets:\n{}", only(&a, &b), only(&b, &a));
    assert!(a.len() > 150, "{} lines are no site", a.len());
    for what in ["vm ", "service ", "edge ", "incident new-service ", "incident new-peer "] {
        assert!(a.iter().any(|line| line.starts_with(what)), "no {what}in it");
    }
}

#[test]
fn events_and_truth_can_be_read_from_their_lines() {
    let (events, site) = scenario();
    for event in &events {
        assert_eq!(Event::read(&event.write()).as_ref(), Ok(event));
    }
    assert!(site.world.truth.iter().any(|truth| truth.kind == "telnet"));
    for truth in &site.world.truth {
        assert_eq!(Truth::read(&truth.write()).as_ref(), Ok(truth));
    }
    assert!(Event::read(r#"{"t":0,"kind":"dance"}"#).is_err());
    assert!(Event::read(r#"{"t":0,"kind":"talk","client":1}"#).is_err());
}

#[test]
fn a_seed_gives_the_same_events_and_another_gives_others() {
    let lines = |seed| {
        let mut site = site(Plan { size: Size::S, seed, changes: true });
        std::iter::from_fn(move || site.event(HOUR)).map(|event| event.write()).collect::<Vec<_>>()
    };
    assert_eq!(lines(1), lines(1));
    assert_ne!(lines(1), lines(2));
}

/// A small share of `make scenarios`: what holds now and may not be lost.
#[test]
fn what_the_figures_of_small_sites_hold_they_go_on_holding() {
    // Before the patch day, which the experiments would meet.
    let extent = Extent { days: 7, changes: true };
    let mut all = measure(Size::S, 1, extent, &|_| {});
    all.merge(measure(Size::S, 2, extent, &|_| {}));
    let held = [
        "new service on a ripe VM reported",
        "largest delay from the qualifying packet to the store, s",
        "stated ripeness bound held",
        "churn: false new-vm",
        "churn: false new-service",
        "churn: identity right",
        "approved rollout to 30: new-service incidents",
        "shell after a day of noise reported",
        "failovers: new-vm and new-service incidents",
        "snapshot reverts: new-vm and new-service incidents",
    ];
    let lines = rows::lines(&all);
    let (table, _) = rows::print(&all);
    for what in held {
        let of: Vec<_> = lines.iter().filter(|line| line.what == what).collect();
        assert!(of.iter().any(|line| line.verdict == "met"), "{what}: nothing was measured\n{table}");
        assert!(of.iter().all(|line| line.verdict != "MISSED"), "{what}\n{table}\n{:#?}", all.examples);
    }
}
