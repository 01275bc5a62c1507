//! What is done to a store that must not lose anything: damage in 100 ways, kill -9, a full disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Batch, Kind, Opened, Options, Recovery, Store, StoreError, open};

/// A folder of its own for one test, removed with it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("eastwatch-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

static VMS: Kind = Kind { tag: 1, name: "vm", version: 1 };
static PEERS: Kind = Kind { tag: 2, name: "peer", version: 1 };

type Records = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

/// A few thousand records; the first part exported, the rest only in sled and the journal. Not closed.
fn filled(state: &Path) -> (Opened, Records) {
    let mut store = quick(state).unwrap().0;
    for n in 0..60u32 {
        store.apply(&batch(n)).unwrap();
        if n == 40 {
            store.export().unwrap();
        }
    }
    let records = all(&store);
    assert!(records.len() > 2500, "{}", records.len());
    (store, records)
}

/// 50 records, some over older ones, and a few removals.
fn batch(n: u32) -> Batch {
    let mut batch = Batch::default();
    for i in 0..50u32 {
        let kind = if i % 3 == 0 { &VMS } else { &PEERS };
        let id = (n * 45 + i).to_be_bytes();
        batch.put(kind, &id, &format!("{n}/{i} {}", "x".repeat((n * i % 200) as usize)));
    }
    batch.delete(&PEERS, &(n * 40 + 1).to_be_bytes());
    batch
}

fn all(store: &dyn Store) -> Records {
    let mut records = Records::new();
    for kind in [&VMS, &PEERS] {
        records.extend(store.scan(kind).unwrap().into_iter().map(|(id, body)| ((kind.tag, id), body)));
    }
    records
}

fn quick(state: &Path) -> Result<(Opened, Option<Recovery>), StoreError> {
    open(state, Options { deadline: Duration::from_secs(10), reserve_bytes: 64 << 10, ..Options::default() })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).map(|_| ()).unwrap()
        }
    }
}

/// xorshift64: the same damage in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn database(state: &Path) -> PathBuf {
    state.join("store/1/db")
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn flip(bytes: &mut [u8], dice: &mut Dice) {
    let bit = dice.below(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// The promise: all intact, or told, with true counts, and complete wherever it says so.
fn holds(state: &Path, expected: &Records, what: &str) -> Option<Recovery> {
    let (store, recovery) = quick(state).unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = all(&store);
    let counts: u64 = store.counts().values().sum();
    assert_eq!(counts, found.len() as u64, "{what}");
    match &recovery {
        None => assert!(found == *expected, "{what}: {} of {} records and nothing told", found.len(), expected.len()),
        Some(told) => {
            assert_eq!(told.restored, store.counts(), "{what}");
            assert!(!told.damage.is_empty() && !told.to_string().is_empty(), "{what}");
            assert!(!found.is_empty(), "{what}: started empty: {told}");
            assert!(told.may_have_lost || found == *expected, "{what}: {told}");
        }
    }
    // What was mended is whole again: opening once more tells nothing.
    drop(store);
    let (again, told) = quick(state).unwrap();
    assert!(told.is_none(), "{what}: told twice: {}", told.map(|t| t.to_string()).unwrap_or_default());
    assert!(all(&again) == found, "{what}");
    recovery
}

#[test]
fn a_store_damaged_in_a_hundred_ways_is_intact_or_told_and_restored() {
    let folder = Folder::new();
    let template = folder.path().join("template");
    let (store, expected) = filled(&template);
    // As kill -9 leaves it: every batch flushed, nothing closed.
    let killed = folder.path().join("killed");
    copy(&template, &killed);
    store.close().unwrap();
    let mut dice = Dice(42);
    let mut rebuilt = 0;
    for n in 0..100 {
        let from = if n % 2 == 0 { &template } else { &killed };
        let state = folder.path().join("damaged");
        copy(from, &state);
        let what = format!("damage {n}");
        change(&database(&state), |bytes| match n / 25 {
            0 => bytes.truncate(bytes.len() * n / 25),
            1 => flip(bytes, &mut dice),
            2 => (0..20).for_each(|_| flip(bytes, &mut dice)),
            _ => {
                let at = dice.below(bytes.len());
                let end = (at + 4096).min(bytes.len());
                bytes[at..end].fill(0);
            }
        });
        if let Some(told) = holds(&state, &expected, &what) {
            rebuilt += u32::from(told.rebuilt);
            // Only the database was hurt; export and journal hold everything.
            assert!(!told.may_have_lost, "{what}: {told}");
            assert!(!told.rebuilt || told.set_aside.is_some_and(|path| path.exists()), "{what}");
        }
        fs::remove_dir_all(&state).unwrap();
    }
    assert!(rebuilt >= 40, "the damage was too light to prove anything: {rebuilt}");
}
