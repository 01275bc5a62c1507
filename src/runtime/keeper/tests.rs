//! The keeper on a disk that fills and empties. The disk is a number of records; nothing here touches a file.

use std::sync::{Arc, Mutex};

use super::*;
use crate::store::{Kind, MemoryStore};

static HISTORY: Kind = Kind { tag: 0x14, name: "history", version: 1 };
static EVIDENCE: Kind = Kind { tag: 0x10, name: "evidence", version: 1 };
static INCIDENT: Kind = Kind { tag: 0x30, name: "incident", version: 1 };

fn shed_at(tag: u8) -> Option<Shed> {
    match tag {
        0x14 => Some(Shed::History),
        0x10 => Some(Shed::Evidence),
        _ => None,
    }
}

/// A store whose disk has room for `room` more records a batch.
struct Disk {
    inner: MemoryStore,
    room: Arc<Mutex<usize>>,
    shed: Shed,
}

impl Store for Disk {
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.changes.len() > *self.room.lock().unwrap() {
            self.shed = match self.shed {
                Shed::Nothing => Shed::History,
                Shed::History => Shed::Evidence,
                _ => Shed::Eve,
            };
            return Err(StoreError::Full("full".to_owned()));
        }
        self.inner.apply(batch)
    }

    fn scan(&self, kind: &Kind) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.inner.scan(kind)
    }

    fn get(&self, kind: &Kind, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(kind, id)
    }

    fn shed(&self) -> Shed {
        self.shed
    }

    fn look_for_room(&mut self) {
        if *self.room.lock().unwrap() > 100 {
            self.shed = Shed::Nothing;
        }
    }
}

fn desk(on_full: OnFull, room: usize) -> (Desk, Arc<Mutex<usize>>) {
    let room = Arc::new(Mutex::new(room));
    let store = Box::new(Disk { inner: MemoryStore::default(), room: Arc::clone(&room), shed: Shed::Nothing });
    (Desk { store, on_full, shed_at, held: BTreeMap::new(), bytes: 0, kept: Kept::default() }, room)
}

fn batch() -> Batch {
    let mut batch = Batch::default();
    for kind in [&HISTORY, &EVIDENCE, &INCIDENT] {
        batch.put(kind, b"one", &1u8);
    }
    batch
}

fn there(desk: &Desk) -> [usize; 3] {
    [&HISTORY, &EVIDENCE, &INCIDENT].map(|kind| desk.store.scan(kind).unwrap().len())
}

#[test]
fn history_goes_first_and_comes_back_with_the_room() {
    let (mut desk, room) = desk(OnFull::Shed, 2);
    desk.keep(batch());
    assert_eq!(there(&desk), [0, 1, 1]);
    assert_eq!((desk.kept.level, desk.kept.shed), (Shed::History, 1));
    *room.lock().unwrap() = 1_000;
    desk.look();
    assert_eq!(there(&desk), [1, 1, 1]);
    assert_eq!((desk.kept.level, &desk.kept.trouble, desk.kept.lost), (Shed::Nothing, &None, 0));
}

#[test]
fn an_incident_is_kept_where_only_one_record_fits_and_waits_where_none_does() {
    let (mut desk, room) = desk(OnFull::Shed, 1);
    desk.keep(batch());
    assert_eq!((there(&desk), desk.kept.shed), ([0, 0, 1], 2));
    *room.lock().unwrap() = 0;
    let mut second = Batch::default();
    second.put(&INCIDENT, b"two", &2u8);
    desk.keep(second);
    assert_eq!(there(&desk), [0, 0, 1]);
    *room.lock().unwrap() = 1;
    desk.look();
    assert_eq!(there(&desk), [0, 0, 2], "nothing came by, the room was found by looking");
}

#[test]
fn nothing_is_shed_while_there_is_room() {
    let (mut desk, _room) = desk(OnFull::Shed, 1_000);
    desk.keep(batch());
    assert_eq!((there(&desk), desk.kept.clone()), ([1, 1, 1], Kept::default()));
}

#[test]
fn a_read_that_fills_the_disk_keeps_its_incidents_and_says_full() {
    let (mut desk, _room) = desk(OnFull::End, 1);
    desk.keep(batch());
    desk.last();
    assert_eq!(there(&desk), [0, 0, 1]);
    assert!(matches!(desk.kept.trouble, Some(StoreError::Full(_))), "{:?}", desk.kept);
}

#[test]
fn what_waits_is_bounded_and_history_is_given_up_before_evidence() {
    let (mut desk, _room) = desk(OnFull::Shed, 0);
    let mut large = Batch::default();
    for id in 0..40u8 {
        let kind = if id % 2 == 0 { &HISTORY } else { &EVIDENCE };
        large.put(kind, &[id], &vec![0u8; 512 << 10]);
    }
    desk.keep(large);
    assert!(desk.bytes <= HELD_BYTES_MAX && desk.kept.lost > 0, "{} bytes", desk.bytes);
    let evidence = desk.held.keys().filter(|(tag, _)| *tag == EVIDENCE.tag).count();
    assert_eq!(evidence, 20, "evidence went while there was history");
}
