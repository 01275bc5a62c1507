//! Two probes that share a folder of baselines: what moves between them is judged by what the other learned, and what
//! boots among the moves is told.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use eastwatch::baseline::{Feature, Sheet};
use eastwatch::brain::{Asked, Brain, BrainConfig, Folder as Shared, Put};
use eastwatch::model::{Fact, Handover, Incident, Mac, Observation, Order, ServiceKey, Transport, VmId};
use eastwatch::runtime::Shelf;
use eastwatch::store::MemoryStore;

use super::harness::{Folder, eastwatch};
use crate::site::event::{Event, Id, Machine, Os, Outcome, Tag, Talk, What};
use crate::site::observe::Observer;
use crate::site::{HOUR, MINUTE, Micros, Rng, SECOND, packet_time};

/// Of the large scenario: with four each, a thousand services.
const VMS: u32 = 250;
/// Of the others.
const FEW: u32 = 24;
const PORTS: [(u16, &str); 4] = [(443, "tls"), (22, "ssh"), (9_100, "http"), (5_432, "pgsql")];
/// Each service is used once in so long.
const EVERY: Micros = 2 * HOUR;
const LEARNED: Micros = 32 * HOUR;
const MOVES: usize = 200;
const MOVE_EVERY: Micros = 3 * MINUTE;

fn shared(name: &str) -> Folder {
    let folder = Folder::new(name);
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
    folder
}

/// One probe: what it sees is what its own host's virtual switch carries.
struct Probe {
    brain: Brain,
    observer: Observer,
    host: u16,
}

impl Probe {
    fn new(host: u16, folder: Option<&Path>) -> Self {
        let mut brain = Brain::load(Box::new(MemoryStore::new()), BrainConfig::default()).unwrap();
        if let Some(folder) = folder {
            brain.follow(Box::new(Shelf::new(folder)));
        }
        Probe { brain, observer: Observer::new(false, false), host }
    }

    fn take(&mut self, event: &Event, hosts: &[u16]) {
        let here = |id: Id| hosts[id as usize] == self.host;
        let seen = match &event.what {
            What::Boot(machine) => here(machine.id),
            What::Talk(talk) => here(talk.client) || here(talk.server),
            What::Move { vm, .. } => here(*vm),
            _ => unreachable!("there is nothing else in this scenario"),
        };
        let brain = &mut self.brain;
        match (seen, &event.what) {
            (true, _) => self.observer.take(event, &mut |observation| brain.observe(observation)),
            (false, What::Talk(_)) => {}
            // It must know where they are, and sees nothing of it.
            (false, _) => {
                self.observer.until(event.at, &mut |observation| brain.observe(observation));
                self.observer.take(event, &mut |_| {});
            }
        }
    }

    fn until(&mut self, end: Micros) {
        let brain = &mut self.brain;
        self.observer.until(end, &mut |observation| brain.observe(observation));
    }

    fn incidents(&self) -> Vec<&Incident> {
        self.brain.incidents.list()
    }
}

fn mac(id: Id) -> Mac {
    let [_, b, c, d] = id.to_be_bytes();
    Mac([0x52, 0x54, 0x00, b, c, d])
}

fn vm(id: Id) -> VmId {
    VmId::derive(&[b"mac", &mac(id).0], 0)
}

fn machine(id: Id, host: u16) -> Machine {
    let [_, _, c, d] = (id + 1).to_be_bytes();
    let ip = Ipv4Addr::new(10, 0, c, d);
    Machine { id, name: format!("n{id}"), role: String::new(), mac: mac(id), ip, host, os: Os::Linux }
}

fn talk(client: Id, server: Id, (port, app): (u16, &'static str), rng: &mut Rng) -> What {
    What::Talk(Talk {
        client,
        server,
        to: None,
        transport: Transport::Tcp,
        from: 32_768 + rng.below(28_000) as u16,
        port,
        app,
        up: 600,
        down: 4_000,
        ms: 200,
        outcome: Outcome::Answered,
        maps: None,
    })
}

/// VMs with a thousand services between them, on two hosts; from `LEARNED` on they move between them, and among the moves
/// one boots that nobody knows.
fn scenario(vms: u32, moves: usize) -> (Vec<Event>, Micros) {
    let mut rng = Rng::new(7, 1);
    let mut events: Vec<(Micros, What)> = Vec::new();
    let end = LEARNED + (moves as Micros + 40) * MOVE_EVERY;
    for id in 0..vms {
        events.push((rng.between(0, 2 * SECOND), What::Boot(Box::new(machine(id, 1 + (id % 2) as u16)))));
        for (nth, service) in PORTS.into_iter().enumerate() {
            // Its clients begin on its own host.
            let client = (id + 2 * (1 + nth as u32)) % vms;
            // All is used in the first minutes: whoever serves later has been a client until then.
            let mut at = 10 * SECOND + rng.between(0, 20 * MINUTE);
            while at < end {
                events.push((at, talk(client, id, service, &mut rng)));
                at += EVERY / 2 + rng.between(0, EVERY);
            }
        }
    }
    let mut host: Vec<u16> = (0..vms).map(|id| 1 + (id % 2) as u16).collect();
    for nth in 0..moves {
        let id = rng.below(vms as usize);
        host[id] = 3 - host[id];
        let at = LEARNED + (nth as Micros + 1) * MOVE_EVERY;
        events.push((at, What::Move { vm: id as Id, host: host[id] }));
        // Its clients do not wait.
        let (server, which) = (id as Id, nth % PORTS.len());
        let client = (server + 2 * (1 + which as u32)) % vms;
        events.push((at + SECOND, talk(client, server, PORTS[which], &mut rng)));
    }
    let boots = LEARNED + (moves as Micros / 2) * MOVE_EVERY + MINUTE;
    events.push((boots, What::Boot(Box::new(machine(vms, 2)))));
    events.push((boots + MINUTE, talk(11, vms, (4_444, ""), &mut rng)));
    events.push((boots + 2 * MINUTE, talk(13, vms, (22, "ssh"), &mut rng)));
    events.sort_by_key(|(at, _)| *at);
    let events = events.into_iter().map(|(at, what)| Event { at, cause: 0, tag: Tag::Benign, what }).collect();
    (events, end)
}

/// Both probes at the end, and where each VM is then.
fn watched(vms: u32, moves: usize, folder: Option<&Path>) -> ([Probe; 2], Vec<u16>, Micros) {
    let (events, end) = scenario(vms, moves);
    let mut probes = [Probe::new(1, folder), Probe::new(2, folder)];
    let mut hosts: Vec<u16> = (0..vms).map(|id| 1 + (id % 2) as u16).chain([2]).collect();
    for event in &events {
        if let What::Move { vm, host } = event.what {
            hosts[vm as usize] = host;
        }
        probes.iter_mut().for_each(|probe| probe.take(event, &hosts));
    }
    probes.iter_mut().for_each(|probe| probe.until(end));
    (probes, hosts, end)
}

fn told(probes: &[Probe]) -> Vec<String> {
    probes.iter().flat_map(Probe::incidents).map(|i| format!("{} {} {}", i.severity, i.detector, i.title)).collect()
}

#[test]
fn of_200_moves_between_two_probes_nothing_is_told_no_baseline_is_lost_and_a_rogue_is_told() {
    let folder = shared("follow");
    let (probes, hosts, end) = watched(VMS, MOVES, Some(folder.path()));
    let now = packet_time(end);
    // What reaches it is told, too.
    let address = machine(VMS, 2).ip.to_string();
    let of_rogue = |incident: &&Incident| incident.vm == vm(VMS) || incident.title.ends_with(&address);
    let others: Vec<String> = probes
        .iter()
        .flat_map(Probe::incidents)
        .filter(|incident| !of_rogue(incident))
        .map(|i| format!("{} {} {} {}", i.severity, i.detector, i.title, i.reason))
        .collect();
    assert!(others.is_empty(), "{} incidents: {others:#?}", others.len());
    assert!(probes.iter().flat_map(Probe::incidents).any(|i| i.vm == vm(VMS)), "the rogue was not told");
    for id in 0..VMS {
        let home = &probes[usize::from(hosts[id as usize]) - 1].brain.baselines;
        for (port, _) in PORTS {
            let key = ServiceKey { vm: vm(id), transport: Transport::Tcp, port };
            assert!(home.is_learned(&key), "n{id} lost tcp/{port}");
        }
        assert!(home.judges(vm(id), Feature::Services, now), "n{id} is not ripe where it is");
        assert_eq!(home.profile(vm(id)).unwrap().services.len(), PORTS.len(), "n{id}");
    }
    // One file for each, and none is left half written.
    let names: Vec<String> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.len() >= VMS as usize && names.iter().all(|name| name.ends_with(".toml")), "{names:?}");
}

#[test]
fn without_a_shared_folder_arrivals_are_told() {
    let (probes, ..) = watched(FEW, 12, None);
    assert!(told(&probes).iter().any(|text| text.contains("of arrivals")), "{:?}", told(&probes));
}

#[test]
fn the_same_run_with_the_same_folder_is_the_same_again() {
    let run = || {
        let folder = shared("follow-again");
        let (probes, ..) = watched(FEW, 10, Some(folder.path()));
        let export = |probe: &Probe| probe.brain.baselines.export(probe.brain.now(), &probe.brain.inventory).to_toml();
        (export(&probes[0]), export(&probes[1]), told(&probes))
    };
    assert_eq!(run(), run());
}

#[test]
fn read_writes_the_folder_and_doctor_says_when_it_cannot_be_used() {
    let work = Folder::new("follow-doctor");
    let shared = shared("follow-shared");
    let (config, state) = (work.file("eastwatch.toml"), work.file("state"));
    std::fs::write(&config, format!("[baseline]\nfollow = \"{}\"\n", shared.path().display())).unwrap();
    let run = |args: &[&str]| {
        let options =
            ["--config", &config.display().to_string(), "--state", &state.display().to_string()].map(str::to_owned);
        eastwatch(args.iter().map(|arg| (*arg).to_owned()).chain(options))
    };
    let capture = work.file("learn.pcap");
    super::scenarios::shell_port().swap_remove(0).1.write_pcap(&capture).unwrap();
    assert_eq!(run(&["read", "-q", &capture.display().to_string()]).status, 0);
    let files = || std::fs::read_dir(shared.path()).unwrap().count();
    assert!(files() >= 3, "{}", files());
    let row = || {
        let rows: serde_json::Value = serde_json::from_str(&run(&["doctor", "--format", "json"]).stdout).unwrap();
        rows.as_array().unwrap().iter().find(|row| row["check"] == "follow").cloned().unwrap()
    };
    assert_eq!((row()["status"].as_str(), files() >= 3), (Some("ok"), true), "{}", row());
    std::fs::set_permissions(shared.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(row()["found"].as_str().unwrap().contains("writable by everyone"), "{}", row());
    std::fs::remove_dir_all(shared.path()).unwrap();
    assert_eq!(row()["status"], "attention");
}

/// A folder whose answers come later, as those of `watch` do.
struct Later(std::path::PathBuf);

impl Shared for Later {
    fn ask(&mut self, _: VmId) -> Asked {
        Asked::Later
    }

    fn put(&mut self, _: VmId, _: &Sheet) -> Put {
        Put::Done
    }

    fn remove(&mut self, _: VmId) {}

    fn dir(&self) -> &Path {
        &self.0
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

/// A probe with a ripe site of its own, to which VM 1 of another comes.
struct Arrival {
    probe: Probe,
    sheet: String,
    at: Micros,
    rng: Rng,
}

impl Arrival {
    fn new() -> Self {
        let folder = shared("follow-later");
        let ([_, mut there], ..) = watched(FEW, 0, Some(folder.path()));
        there.brain.finish();
        let sheet = std::fs::read_to_string(folder.file(&format!("{}.toml", vm(1)))).unwrap();
        let ([mut here, _], ..) = watched(FEW, 0, None);
        here.brain.follow(Box::new(Later("/nowhere".into())));
        let at = LEARNED + 41 * MOVE_EVERY;
        Arrival { probe: here, sheet, at, rng: Rng::new(1, 1) }
    }

    /// It moves here, and at once uses are made of what it serves, among it something new.
    fn comes(&mut self) {
        let hosts = vec![1; FEW as usize + 1];
        let mut tell = |at: Micros, what: What| {
            self.probe.take(&Event { at, cause: 0, tag: Tag::Benign, what }, &hosts);
        };
        tell(self.at, What::Move { vm: 1, host: 1 });
        for (nth, service) in PORTS.into_iter().chain([(4_444, "")]).enumerate() {
            tell(self.at + nth as Micros * 10_000, talk(0, 1, service, &mut self.rng));
        }
        self.probe.until(self.at + 200_000);
    }

    fn answer(&mut self, handover: Handover) {
        let order = Order { frame: u64::MAX / 2, packet: true, shard: 0, ordinal: 0 };
        let time = self.probe.brain.now();
        self.probe.brain.observe(Observation { order, time, fact: Fact::Handover(Box::new(handover)) });
    }

    fn told(&self) -> BTreeMap<String, usize> {
        let mut told = BTreeMap::new();
        for incident in self.probe.incidents().iter().filter(|incident| incident.vm == vm(1)) {
            *told.entry(incident.detector.to_string()).or_insert(0) += 1;
        }
        told
    }
}

#[test]
fn what_happens_before_the_answer_is_judged_by_it_and_a_back_door_is_told_at_once() {
    let mut arrival = Arrival::new();
    arrival.comes();
    assert!(arrival.told().is_empty() && !arrival.probe.brain.baselines.known(vm(1)), "it is held");
    let sheet = arrival.sheet.clone();
    arrival.answer(Handover::Page(vm(1), Some(sheet)));
    assert_eq!(arrival.told(), BTreeMap::from([("new-service".to_owned(), 1)]));
    let learned = |port| ServiceKey { vm: vm(1), transport: Transport::Tcp, port };
    assert!(arrival.probe.brain.baselines.is_learned(&learned(5_432)));
    assert!(!arrival.probe.brain.baselines.is_learned(&learned(4_444)));
}

#[test]
fn an_answer_that_does_not_come_holds_nothing_for_longer_than_a_second_or_two() {
    let mut arrival = Arrival::new();
    arrival.comes();
    assert!(!arrival.probe.brain.baselines.known(vm(1)));
    let hosts = vec![1; FEW as usize + 1];
    // The next seconds of others.
    for second in 1..4 {
        let what = talk(0, 2, PORTS[0], &mut arrival.rng);
        arrival.probe.take(&Event { at: arrival.at + second * SECOND, cause: 0, tag: Tag::Benign, what }, &hosts);
        arrival.probe.until(arrival.at + second * SECOND + SECOND / 2);
    }
    assert!(arrival.probe.brain.baselines.known(vm(1)), "it was judged as any that comes");
}

#[test]
fn a_file_that_is_no_baseline_of_its_vm_is_refused_and_counted_and_the_run_goes_on() {
    let arrival = Arrival::new();
    let sheet = arrival.sheet.clone();
    for text in [
        "",
        "not TOML [[[",
        "format = \"other\"\n",
        &sheet.replace("version = 2", "version = 9"),
        &sheet.replace(&vm(1).to_string(), &vm(2).to_string()),
        &sheet.replace("[[vm]]", "[[vm"),
        &sheet.replace("learned = ", "learned = 99999999"),
        &format!("{sheet}{}", &sheet[sheet.find("[[vm]]").unwrap()..].replace(&vm(1).to_string(), "vm-000000000001")),
    ] {
        let mut arrival = Arrival { probe: clone(&arrival), sheet: sheet.clone(), at: arrival.at, rng: Rng::new(1, 1) };
        arrival.comes();
        arrival.answer(Handover::Page(vm(1), Some(text.to_owned())));
        let follow = &arrival.probe.brain.status()["follow"];
        assert_eq!((follow["refused"].as_u64(), follow["taken"].as_u64()), (Some(1), Some(0)), "{text}");
        assert!(follow["fault"].as_str().is_some_and(|fault| fault.contains("vm-")), "{follow}");
        assert!(arrival.probe.brain.baselines.known(vm(1)));
    }
}

/// The same probe again, from what it would have saved.
fn clone(arrival: &Arrival) -> Probe {
    let probe = &arrival.probe;
    let mut brain = Brain::load(Box::new(MemoryStore::new()), BrainConfig::default()).unwrap();
    let document = probe.brain.baselines.export(probe.brain.now(), &probe.brain.inventory);
    let now = probe.brain.now();
    brain.baselines.import(&document, now, &brain.inventory).unwrap();
    brain.follow(Box::new(Later("/nowhere".into())));
    Probe { brain, observer: probe.observer.clone(), host: probe.host }
}
