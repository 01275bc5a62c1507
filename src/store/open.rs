//! Opening a state directory: take the lock, look at everything, and believe sled only where what lies outside it
//! agrees. A store that is *damaged* is set aside, rebuilt from the export and the journal, and told.
//!
//! A full disk, a missing permission, a lock and a newer format are never damage: nothing is set aside for them.
//! Looking takes at most `deadline`; a rebuild holds all records in memory once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::batch::Migration;
use super::census::{self, Census};
use super::files::{self, trouble};
use super::journal::Journal;
use super::lock::Lock;
use super::opened::{Opened, OpenedReadOnly, Parts};
use super::rebuild::{build, rebuild};
use super::recovery::Recovery;
use super::reserve::Reserve;
use super::sled::{SledFile, Trouble, guarded};
use super::witness::Witnesses;
use super::{StoreError, record};

/// The `[store]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The state directory; unset: ./eastwatch-state for `read`, /var/lib/eastwatch for `watch`.
    pub dir: Option<PathBuf>,
}

/// How to open; `Options::default()` is what `read` and `watch` want.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Longest that sled may take to open and show all its records: 200,000 take about half a second.
    pub deadline: Duration,
    /// How long to wait for another holder of the state. Zero for a probe, 5 s for a query.
    pub lock_wait: Duration,
    /// Size of the reserve laid down for a full disk. Zero lays none.
    pub reserve_bytes: u64,
    /// Who opens it to write; noted, so that `--fresh` never empties a probe's state. `None`: a query.
    pub made_by: Option<MadeBy>,
    /// Every room's steps from older records to today's.
    pub migrations: &'static [Migration],
}

impl Default for Options {
    fn default() -> Self {
        Options {
            deadline: Duration::from_secs(30),
            lock_wait: Duration::ZERO,
            reserve_bytes: 4 << 20,
            made_by: None,
            migrations: &[],
        }
    }
}

/// Whose state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeBy {
    Read,
    Watch,
}

/// Names the command that keeps its state here.
const MADE_BY: &str = "made-by";

/// Empties a state that `read` made. A folder that is none, or a probe's, is left as it is.
///
/// # Errors
/// `Locked`, or `Unreachable`: it is not `read`'s to empty.
pub fn clear(state: &Path) -> Result<(), StoreError> {
    let refused = |why: &str| StoreError::Unreachable(format!("{}: {why}", state.display()));
    if !state.exists() {
        return Ok(());
    }
    let lock = Lock::take(state, Duration::ZERO)?;
    match std::fs::read_to_string(state.join(MADE_BY)).as_deref().map(str::trim) {
        Ok("read") => {}
        Ok(_) => {
            return Err(refused("is a probe's state; --fresh empties only what `read` made: name another --state"));
        }
        Err(_) => {
            let foreign = std::fs::read_dir(state).map_err(|e| refused(&e.to_string()))?;
            let mut names = foreign.flatten().map(|e| e.file_name());
            return match names.find(|name| name != "lock") {
                None => Ok(()),
                Some(_) => Err(refused("holds other things than a state of `read`; name another --state")),
            };
        }
    }
    let entries = std::fs::read_dir(state).map_err(|e| refused(&e.to_string()))?;
    for entry in entries.flatten().filter(|e| e.file_name() != "lock") {
        let path = entry.path();
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(|e| refused(&format!("cannot be emptied: {e}")))?;
    }
    drop(lock);
    Ok(())
}

/// Opens the state in `state`, making it where there is none. The second value tells what was damaged and mended.
///
/// # Errors
/// `Locked` (by whom), `Full`, `Newer`, `Unreachable` (permissions, not a directory): nothing was changed then.
pub fn open(state: &Path, options: Options) -> Result<(Opened, Option<Recovery>), StoreError> {
    files::private_dir(state)?;
    let lock = Lock::take(state, options.lock_wait)?;
    if let Some(by) = options.made_by {
        let name = if by == MadeBy::Watch { "watch\n" } else { "read\n" };
        // The note of who made it first stays: a probe's state stays a probe's when `read` adds to it.
        let path = state.join(MADE_BY);
        if !path.exists() {
            files::replace(&path, |out| out.write_all(name.as_bytes()))?;
        }
    }
    let reserve = Reserve::new(state, options.reserve_bytes);
    let (parts, recovery) = match open_locked(state, options) {
        Err(StoreError::Full(_)) if reserve.release() => open_locked(state, options)?,
        other => other?,
    };
    Ok((Opened::new(parts, lock, reserve, options), recovery))
}

/// Opens an existing state to be queried while no probe runs. The same checks, the same mending, no changes after.
///
/// # Errors
/// As [`open`]; `Unreachable` where there is no state.
pub fn open_read_only(state: &Path, options: Options) -> Result<(OpenedReadOnly, Option<Recovery>), StoreError> {
    let known = ["store", "meta.json", "export.ewx", "journal"];
    if !known.iter().any(|name| state.join(name).exists()) {
        return Err(StoreError::Unreachable(format!(
            "there is no state in {}: run `eastwatch read` or `watch` first, or name it with --state",
            state.display()
        )));
    }
    let (opened, recovery) = open(state, options)?;
    Ok((OpenedReadOnly::new(opened), recovery))
}

fn open_locked(state: &Path, options: Options) -> Result<(Parts, Option<Recovery>), StoreError> {
    finish_interrupted(state)?;
    let witnesses = Witnesses::read(state)?;
    let store = state.join("store");
    let Some((number, folder)) = newest_folder(&store)? else {
        if !store.exists() && witnesses.none() {
            let census = Census::of_new_store();
            let (number, folder) = build(state, &witnesses, &BTreeMap::new(), &census)?;
            files::rename(&state.join("store.new"), &store)?;
            let (db, census) = look(&folder, options.deadline).map_err(|t| outside(t, state))?;
            return Ok((Parts { state: state.into(), db, census, number, folder_bytes: 0, journal: None }, None));
        }
        return rebuild(state, options, &witnesses, None, vec!["the store is missing".to_owned()]);
    };
    let damage = match look(&folder, options.deadline) {
        Ok((db, census)) => match witnesses.judge(&census) {
            Ok(notes) => {
                let journal = witnesses.journal_in_step(&census).filter(|_| notes.is_empty());
                let journal = journal.map(|bytes| Journal::resume(state, bytes)).transpose()?;
                let recovery = (!notes.is_empty()).then(|| Recovery {
                    damage: notes,
                    restored: census.counts(),
                    known: census.counts(),
                    generation: census.generation,
                    known_generation: census.generation,
                    ..Recovery::default()
                });
                let folder_bytes = witnesses.meta().map_or(0, |m| m.folder_bytes);
                return Ok((Parts { state: state.into(), db, census, number, folder_bytes, journal }, recovery));
            }
            Err(damage) => damage,
        },
        // A disk that filled up while sled was opening explains whatever it did.
        Err(Trouble::Damaged(damage)) => {
            SledFile::has_room(&folder, 0).map_err(|t| outside(t, state))?;
            damage
        }
        Err(other) => return Err(outside(other, state)),
    };
    rebuild(state, options, &witnesses, Some(folder), vec![damage])
}

/// A rewrite or a rebuild that was cut off leaves `store.old` without `store`, or a half-made `store.new`.
fn finish_interrupted(state: &Path) -> Result<(), StoreError> {
    let (store, old) = (state.join("store"), state.join("store.old"));
    if old.exists() && !store.exists() {
        files::rename(&old, &store)?;
    }
    for left in ["store.new", "store.old"] {
        remove_folder(&state.join(left))?;
    }
    for left in ["meta.tmp", "export.tmp", "journal.tmp"] {
        let _ = fs::remove_file(state.join(left));
    }
    Ok(())
}

pub(super) fn remove_folder(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(trouble("remove", path, &e)),
        _ => Ok(()),
    }
}

/// Each store lives in a numbered folder that is never used twice: a thread that was given up at the deadline may
/// still write to its path, and must not find a younger store there.
pub(super) fn newest_folder(store: &Path) -> Result<Option<(u64, PathBuf)>, StoreError> {
    let entries = match fs::read_dir(store) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(trouble("read", store, &e)),
    };
    Ok(entries.flatten().filter_map(|e| Some((e.file_name().to_str()?.parse::<u64>().ok()?, e.path()))).max())
}

/// Opens a folder and counts all it holds, under the guard. `Damaged` says in which way it is.
pub(super) fn look(folder: &Path, deadline: Duration) -> Result<(SledFile, Census), Trouble> {
    let folder = folder.to_path_buf();
    guarded(deadline, move || {
        // A handle that was just dropped holds sled's lock a little longer, on sled's own threads.
        let mut waited = Duration::ZERO;
        let db = loop {
            match SledFile::open(&folder) {
                Err(Trouble::Busy) if waited < deadline / 2 => {
                    std::thread::sleep(Duration::from_millis(10));
                    waited += Duration::from_millis(10);
                }
                other => break other?,
            }
        };
        let (mut counted, mut claimed, mut bad) = (Census::default(), None, 0u64);
        let mut first_bad = "";
        db.each(b"", |key, bytes| match record::read(key, bytes) {
            Err(why) => {
                bad += 1;
                first_bad = why;
            }
            Ok(_) if key == census::KEY => claimed = Census::from_record(bytes),
            Ok(_) => counted.add(key, bytes),
        })?;
        if bad > 0 {
            return Err(Trouble::Damaged(format!("{bad} records are bad ({first_bad})")));
        }
        let claimed = claimed.ok_or_else(|| Trouble::Damaged("the sentinel inside the store is missing".to_owned()))?;
        if !claimed.same_records(&counted) {
            let (all, there) = (total(&claimed), total(&counted));
            return Err(Trouble::Damaged(format!(
                "of {all} records {there} are there, or some are older than they were"
            )));
        }
        Ok((db, claimed))
    })
}

fn total(census: &Census) -> u64 {
    census.kinds.values().map(|k| k.count).sum()
}

pub(super) fn outside(trouble: Trouble, state: &Path) -> StoreError {
    match trouble {
        Trouble::Outside(error) => error,
        Trouble::Busy => {
            StoreError::Locked(format!("the store in {} is still being closed: try again", state.display()))
        }
        Trouble::Damaged(text) => StoreError::Unreachable(format!(
            "the store in {} failed while it was in use ({text}): start eastwatch again, it will be checked and rebuilt",
            state.display()
        )),
    }
}
