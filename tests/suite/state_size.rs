//! What a site of 1,000 VMs with 10,000 services takes in the store, and that it loads. No time is asserted: how long the
//! load took is printed, and docs/performance.md has the figures.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use eastwatch::brain::{Brain, BrainConfig};
use eastwatch::model::{Mac, Transport};
use eastwatch::store::{Change, MadeBy, MemoryStore, Options, Store, open};

use super::harness::Folder;
use crate::site::event::{Event, Id, Machine, Os, Outcome, Tag, Talk, What};
use crate::site::observe::Observer;
use crate::site::{DAY, HOUR, MINUTE, Micros, Rng, SECOND};

const VMS: u32 = 1_000;
const SERVICES_EACH: u16 = 10;
/// Of each service; some are used by many more.
const CLIENTS: u32 = 3;
/// As long as the longest memory.
const DAYS: i64 = 28;
/// A day's work is done in so long: each second that passes costs the test some.
const WITHIN: Micros = 20 * MINUTE;
/// Around each record: magic, schema, length, checksum, and the tag in its key.
const AROUND: usize = 15;
/// Records that are one a service.
const SERVICE_TAGS: [u8; 2] = [0x13, 0x22];

const VM_BYTES_MAX: usize = 16 << 10;
const SERVICE_BYTES_MAX: usize = 200;
/// What the mark of its stack adds to a learned service; the simulator shows none.
const STACK_BYTES: usize = 8;

fn machine(id: Id) -> Machine {
    let [_, b, c, d] = (id + 256).to_be_bytes();
    let mac = Mac([0x52, 0x54, 0x00, b, c, d]);
    let host = 1 + (id % 40) as u16;
    Machine {
        id,
        name: format!("n{id}"),
        role: String::new(),
        mac,
        ip: Ipv4Addr::new(10, b, c, d),
        host,
        os: Os::Linux,
    }
}

fn talk(client: Id, server: Id, nth: u16, rng: &mut Rng) -> What {
    const APPS: [&str; 5] = ["tls", "http", "ssh", "pgsql", ""];
    What::Talk(Talk {
        client,
        server,
        to: None,
        transport: Transport::Tcp,
        from: 32_768 + rng.below(28_000) as u16,
        port: 8_000 + nth,
        app: APPS[usize::from(nth) % APPS.len()],
        up: 600,
        down: 40_000,
        ms: 200,
        outcome: Outcome::Answered,
        maps: None,
    })
}

/// All is used twice on the first two days, then each VM is heard of once a day.
fn site() -> Brain {
    let mut rng = Rng::new(3, 1);
    let mut events: Vec<(Micros, What)> = Vec::new();
    for id in 0..VMS {
        events.push((rng.between(0, SECOND), What::Boot(Box::new(machine(id)))));
        for nth in 0..SERVICES_EACH {
            // One service in ten is everybody's.
            let clients = if nth == 0 && id % 10 == 0 { CLIENTS * 20 } else { CLIENTS };
            for client in (1..=clients).map(|far| (id + far * 7) % VMS) {
                for day in 0..2 {
                    events.push((day * DAY + rng.between(HOUR, HOUR + WITHIN), talk(client, id, nth, &mut rng)));
                }
            }
        }
        for day in 2..DAYS {
            events.push((day * DAY + rng.between(HOUR, HOUR + WITHIN), talk((id + 7) % VMS, id, 0, &mut rng)));
        }
    }
    events.sort_by_key(|(at, _)| *at);
    let mut brain = Brain::load(Box::new(MemoryStore::new()), BrainConfig::default()).unwrap();
    let mut observer = Observer::new(true, false);
    for (at, what) in events {
        let event = Event { at, cause: 0, tag: Tag::Benign, what };
        observer.take(&event, &mut |observation| brain.observe(observation));
    }
    observer.until(DAYS * DAY, &mut |observation| brain.observe(observation));
    brain.finish();
    brain
}

#[test]
fn a_thousand_vms_with_ten_thousand_services_stay_within_16_kib_and_200_bytes_and_load() {
    let mut brain = site();
    let services = brain.inventory.services().count();
    assert_eq!((brain.inventory.vms().count(), services), (VMS as usize, usize::from(SERVICES_EACH) * VMS as usize));
    let batch = brain.changes();
    let mut by_kind: BTreeMap<u8, (&str, usize, usize)> = BTreeMap::new();
    for change in &batch.changes {
        if let Change::Put { kind, id, body } = change {
            let (_, count, bytes) = by_kind.entry(kind.tag).or_insert((kind.name, 0, 0));
            *count += 1;
            *bytes += id.len() + body.len() + AROUND;
        }
    }
    let all: usize = by_kind.values().map(|(.., bytes)| bytes).sum();
    let of_services: usize = SERVICE_TAGS.iter().filter_map(|tag| by_kind.get(tag)).map(|(.., bytes)| bytes).sum();
    println!("{} bytes a VM, of them {} a service", all / VMS as usize, of_services / services);
    for (name, count, bytes) in by_kind.values() {
        println!("{name}: {count} records, {} bytes each", bytes / count);
    }
    assert!(all / (VMS as usize) <= VM_BYTES_MAX, "{} bytes a VM", all / VMS as usize);
    assert!(of_services / services + STACK_BYTES <= SERVICE_BYTES_MAX, "{} bytes a service", of_services / services);

    let folder = Folder::new("state-size");
    let options = || Options { made_by: Some(MadeBy::Read), ..Options::default() };
    let (mut store, _) = open(folder.path(), options()).unwrap();
    store.apply(&batch).unwrap();
    store.close().unwrap();
    let began = Instant::now();
    let (store, told) = open(folder.path(), options()).unwrap();
    let opened: Duration = began.elapsed();
    let loaded = Brain::load(Box::new(store), BrainConfig::default()).unwrap();
    println!("opened and verified in {opened:?}, loaded after {:?}", began.elapsed());
    assert!(told.is_none());
    assert_eq!(loaded.inventory.services().count(), services);
    assert_eq!(loaded.baselines.count(), brain.baselines.count());
}
