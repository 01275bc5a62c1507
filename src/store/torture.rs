//! What is done to a store that must not lose anything: damage in 100 ways, kill -9, a full disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Batch, Kind, Opened, Options, Recovery, Store, StoreError, open, open_read_only};

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

#[test]
fn lost_and_swapped_files_are_told_and_what_is_left_is_used() {
    let folder = Folder::new();
    let template = folder.path().join("template");
    let mut store = quick(&template).unwrap().0;
    store.apply(&batch(0)).unwrap();
    store.export().unwrap();
    let early = folder.path().join("early");
    copy(&template, &early);
    drop(store);
    let (store, expected) = filled(&template);
    let killed = folder.path().join("killed");
    copy(&template, &killed);
    drop(store);
    let other = folder.path().join("other");
    filled(&other).0.close().unwrap();

    type Hurt<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>, bool, bool);
    let remove = |name: &'static str| move |s: &Path| fs::remove_file(s.join(name)).unwrap();
    let swap = |from: &'static str, name: &'static str| {
        let from = folder.path().join(from);
        move |s: &Path| fs::copy(from.join(name), s.join(name)).map(|_| ()).unwrap()
    };
    let break_db = |s: &Path| change(&database(s), |bytes| bytes.truncate(bytes.len() / 3));
    // What is done, and whether the store is rebuilt, and whether records may be missing then.
    let hurts: Vec<Hurt> = vec![
        ("meta gone", Box::new(remove("meta.json")), false, false),
        ("export gone", Box::new(remove("export.ewx")), false, false),
        ("journal gone", Box::new(remove("journal")), false, false),
        ("meta flipped", Box::new(|s| change(&s.join("meta.json"), |b| b[20] ^= 1)), false, false),
        ("export cut", Box::new(|s| change(&s.join("export.ewx"), |b| b.truncate(b.len() / 2))), false, false),
        ("export flipped", Box::new(|s| change(&s.join("export.ewx"), |b| b[5000] ^= 1)), false, false),
        ("another's meta", Box::new(swap("other", "meta.json")), false, false),
        ("another's export", Box::new(swap("other", "export.ewx")), false, false),
        ("an old export", Box::new(swap("early", "export.ewx")), false, false),
        ("store gone", Box::new(|s| fs::remove_dir_all(s.join("store")).unwrap()), true, false),
        ("database gone", Box::new(|s| fs::remove_file(database(s)).unwrap()), true, false),
        (
            "store and meta gone",
            Box::new(|s| {
                fs::remove_dir_all(s.join("store")).unwrap();
                fs::remove_file(s.join("meta.json")).unwrap();
            }),
            true,
            false,
        ),
        (
            "another's store",
            Box::new(|s| {
                fs::remove_dir_all(s.join("store")).unwrap();
                copy(&folder.path().join("other/store"), &s.join("store"));
            }),
            true,
            false,
        ),
        (
            "store and journal",
            Box::new(|s| {
                break_db(s);
                fs::remove_file(s.join("journal")).unwrap();
            }),
            true,
            true,
        ),
        (
            "store and journal's end",
            Box::new(|s| {
                break_db(s);
                change(&s.join("journal"), |b| b.truncate(b.len() - 3));
            }),
            true,
            true,
        ),
        (
            "store and half the export",
            Box::new(|s| {
                break_db(s);
                change(&s.join("export.ewx"), |b| b.truncate(b.len() / 2));
            }),
            true,
            true,
        ),
        (
            "store, and an old export",
            Box::new(|s| {
                break_db(s);
                fs::copy(early.join("export.ewx"), s.join("export.ewx")).unwrap();
            }),
            true,
            true,
        ),
        (
            "store, and no export",
            Box::new(|s| {
                break_db(s);
                fs::remove_file(s.join("export.ewx")).unwrap();
            }),
            true,
            true,
        ),
    ];
    for (what, hurt, rebuilt, lost) in hurts {
        let state = folder.path().join("hurt");
        copy(&killed, &state);
        hurt(&state);
        let told = holds(&state, &expected, what).unwrap_or_else(|| panic!("{what}: not told"));
        assert_eq!((told.rebuilt, told.may_have_lost), (rebuilt, lost), "{what}: {told}");
        fs::remove_dir_all(&state).unwrap();
    }
    // The quiet twin: nothing hurt, nothing told.
    assert_eq!(holds(&killed, &expected, "nothing"), None);
}

#[test]
fn what_is_not_damage_sets_nothing_aside() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = quick(&file).map(|_| ()).unwrap_err();
    assert!(matches!(&error, StoreError::Unreachable(text) if text.contains("is a file, not a directory")), "{error}");

    let state = folder.path().join("state");
    let (held, _) = filled(&state);
    assert!(matches!(quick(&state).map(|_| ()), Err(StoreError::Locked(_))));
    held.close().unwrap();
    change(&state.join("meta.json"), |bytes| {
        let text = String::from_utf8_lossy(bytes).replace("\"format\":1", "\"format\":9");
        let open = text.rsplit_once(",\"crc32\"").unwrap().0.to_owned();
        *bytes = format!("{open},\"crc32\":\"{:08x}\"}}\n", crc32fast::hash(open.as_bytes())).into_bytes();
    });
    let error = quick(&state).map(|_| ()).unwrap_err();
    assert!(matches!(&error, StoreError::Newer(_)), "{error}");
    let aside = fs::read_dir(&state).unwrap().flatten().any(|e| e.file_name().to_string_lossy().contains("damaged"));
    assert!(!aside);
    assert!(open_read_only(&folder.path().join("nowhere"), Options::default()).is_err());
    assert!(!folder.path().join("nowhere").exists(), "a query makes no state");
}

#[test]
fn a_store_grown_far_beyond_its_records_is_rewritten_and_loses_nothing() {
    let folder = Folder::new();
    let state = folder.path().join("state");
    let mut store = quick(&state).unwrap().0;
    for keep in [true, false] {
        for n in 0..400u32 {
            let mut batch = Batch::default();
            for id in (n * 20..n * 20 + 20).map(u32::to_be_bytes) {
                match keep || n == 0 {
                    true => batch.put(&VMS, &id, &format!("{n}{}", "y".repeat(3000))),
                    false => batch.delete(&VMS, &id),
                }
            }
            store.apply(&batch).unwrap();
        }
    }
    let (before, live) = store.bytes();
    let records = all(&store);
    assert!(before > 8 << 20 && before > 4 * live, "{before} bytes on disk for {live}");
    store.close().unwrap();
    let (store, told) = quick(&state).unwrap();
    assert_eq!(told, None);
    assert!(all(&store) == records);
    assert!(store.bytes().0 < before / 2, "{before} bytes before, {} after", store.bytes().0);
    assert!(!state.join("store.old").exists() && !state.join("store.new").exists());
}

#[test]
fn a_state_is_private_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let state = folder.path().join("state");
    filled(&state).0.close().unwrap();
    let mut files = vec![state];
    while let Some(path) = files.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.ends_with("store/1") {
            assert_eq!(mode, 0o700, "sled's own files are closed in by their folder");
            continue;
        }
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        if path.is_dir() {
            files.extend(fs::read_dir(&path).unwrap().flatten().map(|e| e.path()));
        }
    }
}
