//! Opening a state directory: take the lock, look at everything, and believe sled only where what lies outside it
//! agrees. A store that is *damaged* is set aside, rebuilt from the export and the journal, and told.
//!
//! A full disk, a missing permission, a lock and a newer format are never damage: nothing is set aside for them.
//! Looking takes at most `deadline`; a rebuild holds all records in memory once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::batch::{Migration, OWN_TAG};
use super::census::{self, Census};
use super::files::{self, trouble};
use super::journal::Journal;
use super::lock::Lock;
use super::meta::{self, Meta};
use super::opened::{Opened, OpenedReadOnly, Parts};
use super::recovery::Recovery;
use super::reserve::Reserve;
use super::sled::{SledFile, Trouble, Write, guarded};
use super::{StoreError, export, journal, record};

/// How to open; `Options::default()` is what `read` and `watch` want.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Longest that sled may take to open and show all its records: 200,000 take about half a second.
    pub deadline: Duration,
    /// How long to wait for another holder of the state. Zero for a probe, 5 s for a query.
    pub lock_wait: Duration,
    /// Size of the reserve laid down for a full disk. Zero lays none.
    pub reserve_bytes: u64,
    /// Every room's steps from older records to today's.
    pub migrations: &'static [Migration],
}

impl Default for Options {
    fn default() -> Self {
        Options {
            deadline: Duration::from_secs(30),
            lock_wait: Duration::ZERO,
            reserve_bytes: 4 << 20,
            migrations: &[],
        }
    }
}

/// Opens the state in `state`, making it where there is none. The second value tells what was damaged and mended.
///
/// # Errors
/// `Locked` (by whom), `Full`, `Newer`, `Unreachable` (permissions, not a directory): nothing was changed then.
pub fn open(state: &Path, options: Options) -> Result<(Opened, Option<Recovery>), StoreError> {
    files::private_dir(state)?;
    let lock = Lock::take(state, options.lock_wait)?;
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
fn newest_folder(store: &Path) -> Result<Option<(u64, PathBuf)>, StoreError> {
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

/// What lies outside sled and tells what it must hold.
struct Witnesses {
    meta: meta::Found,
    export: Option<export::Found>,
    journal: Option<journal::Found>,
}

impl Witnesses {
    fn read(state: &Path) -> Result<Self, StoreError> {
        Ok(Witnesses {
            meta: Meta::read(state)?,
            export: export::read(state, |_, _| {})?,
            journal: journal::read(state, |_, _| {})?,
        })
    }

    fn none(&self) -> bool {
        self.meta == meta::Found::Missing && self.export.is_none() && self.journal.is_none()
    }

    fn meta(&self) -> Option<&Meta> {
        match &self.meta {
            meta::Found::Meta(meta) => Some(meta),
            _ => None,
        }
    }

    fn export_census(&self) -> Option<&Census> {
        self.export.as_ref().and_then(|e| e.census.as_ref())
    }

    /// Name, store id and last generation of each witness that can be read.
    fn said(&self) -> Vec<(&'static str, u64, u64)> {
        let meta = self.meta().and_then(|m| Some(("meta.json", m.store_id()?, m.generation)));
        let export = self.export_census().map(|c| ("export.ewx", c.store, c.generation));
        let journal = self.journal.as_ref().map(|j| ("journal", j.store, j.last));
        [meta, export, journal].into_iter().flatten().collect()
    }

    fn known_generation(&self, store: u64) -> u64 {
        self.said().iter().filter(|(_, id, _)| *id == store).map(|(_, _, g)| *g).max().unwrap_or(0)
    }

    /// Is a store that is sound in itself the one that was left? `Ok` with what else has to be mended, or the damage.
    fn judge(&self, census: &Census) -> Result<Vec<String>, String> {
        if self.none() && census.generation == 0 {
            return Ok(Vec::new()); // made, and cut off before anything was written beside it
        }
        let said = self.said();
        let strangers: Vec<&'static str> =
            said.iter().filter(|(_, id, _)| *id != census.store).map(|(name, _, _)| *name).collect();
        if strangers.len() >= 2 && strangers.len() == said.len() {
            return Err(format!("the store is another state's than {}", strangers.join(" and ")));
        }
        let known = self.known_generation(census.store);
        if known > census.generation {
            return Err(format!("the store ends at batch {}, but {known} were applied", census.generation));
        }
        let mut notes: Vec<String> = strangers.iter().map(|name| format!("{name} is another state's")).collect();
        match &self.meta {
            meta::Found::Meta(meta) if meta.store_id() == Some(census.store) => {
                if meta.generation == census.generation && !meta.agrees(census) {
                    return Err("the store does not hold the records that meta.json counted".to_owned());
                }
            }
            meta::Found::Meta(_) => {}
            meta::Found::Missing => notes.push("meta.json is missing".to_owned()),
            meta::Found::Bad => notes.push("meta.json fails its checksum".to_owned()),
        }
        match &self.export {
            None => notes.push("export.ewx is missing".to_owned()),
            Some(export) if !export.whole => notes.push("export.ewx is damaged".to_owned()),
            Some(_) => {
                let (export, base) = (self.export_census(), self.journal.as_ref().map(|j| j.base));
                let base = base.max(self.meta().map(|m| m.generation));
                if export.is_some_and(|c| c.store == census.store && Some(c.generation) < base) {
                    notes.push("export.ewx is older than it was".to_owned());
                }
            }
        }
        match &self.journal {
            None => notes.push("the journal is missing or unreadable".to_owned()),
            // A torn end is what a power cut leaves; the store is sound, so nothing is lost with it.
            Some(_) => {}
        }
        Ok(notes)
    }

    /// Bytes of the journal where it may simply be continued.
    fn journal_in_step(&self, census: &Census) -> Option<u64> {
        let journal = self.journal.as_ref()?;
        let export = self.export_census()?;
        let in_step = journal.store == census.store
            && journal.last == census.generation
            && journal.base <= export.generation
            && !journal.torn
            && export.store == census.store;
        in_step.then_some(journal.bytes)
    }
}

/// Makes a new store of what the export and the journal hold (or, without an export, of what sled still shows),
/// sets the damaged one aside and puts the new one in its place. Until it is complete nothing is moved.
fn rebuild(
    state: &Path,
    options: Options,
    witnesses: &Witnesses,
    damaged: Option<PathBuf>,
    mut damage: Vec<String>,
) -> Result<(Parts, Option<Recovery>), StoreError> {
    let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let export = export::read(state, |key, bytes| drop(records.insert(key.to_vec(), bytes.to_vec())))?;
    let mut claimed = witnesses.export_census().cloned();
    let mut whole = export.as_ref().is_some_and(|e| e.whole);
    match &export {
        Some(found) if !found.whole => {
            damage.push("export.ewx is damaged too: what could be read of it was used".to_owned())
        }
        Some(_) => {}
        None => damage.push("export.ewx is missing".to_owned()),
    }
    if !whole && let Some(folder) = damaged.clone() {
        let found = salvage(folder, options.deadline);
        damage.push(format!("{} sound records were taken from the damaged store itself", found.len()));
        records.extend(found);
    }
    let store = claimed.as_ref().map(|c| c.store).or_else(|| witnesses.said().first().map(|(_, id, _)| *id));
    let store = store.unwrap_or_else(|| Census::of_new_store().store);
    let from = claimed.as_ref().map_or(0, |c| c.generation);
    if witnesses.journal.as_ref().is_some_and(|j| j.store == store) {
        journal::read(state, |generation, writes: Vec<Write>| {
            if generation <= from {
                return;
            }
            for (key, bytes) in writes {
                match bytes {
                    Some(bytes) if key == census::KEY => claimed = Census::from_record(&bytes).or(claimed.take()),
                    Some(bytes) if record::read(&key, &bytes).is_ok() => drop(records.insert(key, bytes)),
                    Some(_) => {}
                    None => drop(records.remove(&key)),
                }
            }
        })?;
    } else {
        whole = false;
        damage.push("the journal is missing or another state's".to_owned());
    }
    whole &= witnesses.journal.as_ref().is_some_and(|j| !j.torn);

    let mut census = Census { store, ..Census::default() };
    records.retain(|key, _| key.first() != Some(&OWN_TAG));
    records.iter().for_each(|(key, bytes)| census.add(key, bytes));
    let known_generation = witnesses.known_generation(store).max(claimed.as_ref().map_or(0, |c| c.generation));
    // The census of the last journal entry describes the records at that point: equal digests prove them complete.
    let proved = claimed.as_ref().is_some_and(|c| c.generation >= known_generation && c.same_records(&census));
    let reached = claimed.as_ref().map_or(0, |c| c.generation);
    if let Some(claimed) = &claimed {
        census.names_from(claimed);
    }
    census.generation = known_generation + 1;

    let (number, folder) = build(state, witnesses, &records, &census)?;
    let set_aside = set_aside(state)?;
    files::rename(&state.join("store.new"), &state.join("store"))?;
    let (db, census) = look(&folder, options.deadline).map_err(|t| outside(t, state))?;
    let known = match (&claimed, witnesses.meta()) {
        (Some(claimed), Some(meta)) if claimed.generation < meta.generation => meta.records.clone(),
        (Some(claimed), _) => claimed.counts(),
        (None, meta) => meta.map(|m| m.records.clone()).unwrap_or_default(),
    };
    let recovery = Recovery {
        damage,
        rebuilt: true,
        set_aside,
        restored: census.counts(),
        known,
        generation: reached,
        known_generation,
        may_have_lost: !(whole && proved),
    };
    Ok((Parts { state: state.into(), db, census, number, folder_bytes: 0, journal: None }, Some(recovery)))
}

/// Every record that sled still shows and whose own checksum holds; none where it panics or hangs.
fn salvage(folder: PathBuf, deadline: Duration) -> Vec<(Vec<u8>, Vec<u8>)> {
    let found = guarded(deadline, move || {
        let mut found = Vec::new();
        // An error midway leaves what was seen before it.
        let _ = SledFile::open(&folder)?.each(b"", |key, bytes| {
            if key.first() != Some(&OWN_TAG) && record::read(key, bytes).is_ok() {
                found.push((key.to_vec(), bytes.to_vec()));
            }
        });
        Ok(found)
    });
    found.unwrap_or_default()
}

/// Writes a complete store under `store.new/NUMBER` and closes it; returns where it will lie once it is renamed.
fn build(
    state: &Path,
    witnesses: &Witnesses,
    records: &BTreeMap<Vec<u8>, Vec<u8>>,
    census: &Census,
) -> Result<(u64, PathBuf), StoreError> {
    let used = newest_folder(&state.join("store"))?.map_or(0, |(n, _)| n).max(witnesses.meta().map_or(0, |m| m.folder));
    let number = used + 1;
    let new = state.join("store.new");
    files::private_dir(&new)?;
    let built = (|| {
        let db = SledFile::open(&new.join(number.to_string()))?;
        let mut chunk: Vec<Write> = Vec::new();
        for (key, bytes) in records {
            chunk.push((key.clone(), Some(bytes.clone())));
            if chunk.len() == CHUNK {
                db.commit(&chunk)?;
                chunk.clear();
            }
        }
        // The census last: a store without it was not finished.
        chunk.push((census::KEY.to_vec(), Some(census.to_record().map_err(Trouble::Outside)?)));
        db.commit(&chunk)
    })();
    built.map_err(|t| {
        let _ = remove_folder(&new);
        outside(t, state)
    })?;
    Ok((number, state.join("store").join(number.to_string())))
}

/// Records in one sled batch of a rebuild or rewrite.
pub(super) const CHUNK: usize = 1000;

fn set_aside(state: &Path) -> Result<Option<PathBuf>, StoreError> {
    let store = state.join("store");
    if !store.exists() {
        return Ok(None);
    }
    let aside = (1u32..).map(|n| state.join(format!("store.damaged-{n}"))).find(|path| !path.exists());
    let aside = aside.unwrap_or_else(|| state.join("store.damaged"));
    files::rename(&store, &aside)?;
    Ok(Some(aside))
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
