//! The store while it is in use: batches in, exports now and then, and what happens when the disk is full.
//!
//! A full disk: `apply` returns `Full`, nothing flushed is lost, the reserve is given up, and [`Shed`] says how much
//! of the rest the runtime should stop writing. Each further `Full`, and less room than
//! incidents may need, sheds one level more; `recover_room` ends it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::batch::{Change, OWN_TAG};
use super::census::{self, Census};
use super::journal::Journal;
use super::lock::Lock;
use super::meta::Meta;
use super::open::{Options, look, outside, remove_folder};
use super::rebuild::CHUNK;
use super::reserve::Reserve;
use super::sled::{SledFile, Trouble, Write};
use super::{Batch, Kind, Store, StoreError, export, files, record};

crate::counters! {
    /// What the store did and could not do.
    pub struct StoreCounters {
        batches => "store.batches",
        puts => "store.puts",
        deletes => "store.deletes",
        exports => "store.exports",
        exports_failed => "store.exports_failed",
        journal_failed => "store.journal_failed",
        full => "store.full",
        rewrites => "store.rewrites",
    }
}

/// What to stop writing while the disk is full; each level includes those before it. Incidents and outbox never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shed {
    #[default]
    Nothing,
    History,
    Evidence,
    Eve,
}

/// What opening found, before it becomes an [`Opened`].
pub(super) struct Parts {
    pub state: PathBuf,
    pub db: SledFile,
    pub census: Census,
    pub number: u64,
    pub folder_bytes: u64,
    /// `None` where the guards have to be written anew.
    pub journal: Option<Journal>,
}

/// The state of one probe, held under its lock until it is dropped.
pub struct Opened {
    state: PathBuf,
    /// `None` between a failed flush and the next try.
    db: Option<SledFile>,
    census: Census,
    number: u64,
    folder_bytes: u64,
    journal: Journal,
    /// Journal bytes at which the next export is due.
    export_at: u64,
    reserve: Reserve,
    shed: Shed,
    options: Options,
    counters: StoreCounters,
    _lock: Lock,
}

/// An export costs one write of all live records; below this much journal it is not worth it.
const JOURNAL_BYTES_MIN: u64 = 4 << 20;
/// sled lays out 3 to 4 times the live bytes when it is healthy; beyond this it is garbage.
const SIZE_FACTOR_MAX: u64 = 4;
/// A folder below this is never worth rewriting.
const SIZE_BYTES_MIN: u64 = 8 << 20;

/// Room below which the disk counts as full although no batch has met its end yet: what sled needs to write at all.
const ROOM_BYTES_MIN: u64 = 1 << 20;

impl Opened {
    pub(super) fn new(parts: Parts, lock: Lock, reserve: Reserve, options: Options) -> Self {
        let Parts { state, db, census, number, folder_bytes, journal } = parts;
        let anew = journal.is_none();
        let journal = journal.unwrap_or_else(|| Journal::closed(&state));
        let (db, counters, shed) = (Some(db), StoreCounters::default(), Shed::Nothing);
        let mut opened = Opened {
            state,
            db,
            census,
            number,
            folder_bytes,
            journal,
            export_at: 0,
            reserve,
            shed,
            options,
            counters,
            _lock: lock,
        };
        opened.export_at = JOURNAL_BYTES_MIN.max(opened.census.bytes);
        if anew && opened.export().is_err() {
            opened.press();
        }
        let _ = opened.rewrite_if_large();
        if opened.reserve.lay().is_err() {
            opened.press();
        }
        opened
    }

    /// Writes the export, `meta.json` and an empty journal. Done by itself as the journal grows, and by `close`.
    ///
    /// # Errors
    /// `Full` and the like: the export before it stays, and the journal goes on.
    pub fn export(&mut self) -> Result<(), StoreError> {
        let exported = self.write_guards();
        match &exported {
            Ok(()) => self.counters.exports += 1,
            Err(_) => self.counters.exports_failed += 1,
        }
        self.export_at = self.journal.bytes + JOURNAL_BYTES_MIN.max(self.census.bytes);
        exported
    }

    /// Records by the name of their kind.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.census.counts()
    }

    /// Batches applied since the state was made.
    pub fn generation(&self) -> u64 {
        self.census.generation
    }

    /// Bytes on disk of the store's folder, and of its live records.
    pub fn bytes(&self) -> (u64, u64) {
        (files::size(&self.folder()), self.census.bytes)
    }

    pub fn counters(&self) -> StoreCounters {
        self.counters
    }

    /// What must not be written now because the disk is full.
    pub fn shed(&self) -> Shed {
        self.shed
    }

    /// Tries to lay the reserve down again, and to export where the journal had to be closed; after both all writing
    /// may go on. Call it every few seconds while something is shed.
    pub fn recover_room(&mut self) -> Shed {
        if self.shed > Shed::Nothing && self.reserve.lay().is_ok() && self.revive().is_ok() {
            // The export may need more room than the reserve has; then what is shed stays shed.
            if self.journal.is_open() || self.export().is_ok() {
                self.shed = Shed::Nothing;
            }
        }
        self.shed
    }

    /// Exports what was applied since the last export, gives room back, and frees the lock.
    ///
    /// # Errors
    /// As [`Opened::export`]; what was applied is durable all the same.
    pub fn close(mut self) -> Result<(), StoreError> {
        if self.db.is_none() {
            self.revive()?;
        }
        if self.counters.batches > 0 || !self.journal.is_open() {
            self.export()?;
        }
        self.rewrite_if_large()
    }

    /// There is no room: give up the reserve and shed one level more.
    fn press(&mut self) {
        self.counters.full += 1;
        self.reserve.release();
        self.shed = match self.shed {
            Shed::Nothing => Shed::History,
            Shed::History => Shed::Evidence,
            Shed::Evidence | Shed::Eve => Shed::Eve,
        };
    }

    fn folder(&self) -> PathBuf {
        self.state.join("store").join(self.number.to_string())
    }

    fn db(&self) -> Result<&SledFile, StoreError> {
        self.db.as_ref().filter(|db| db.is_usable()).ok_or_else(|| {
            StoreError::Unreachable(format!("the store in {} is closed after an earlier error", self.state.display()))
        })
    }

    fn write_guards(&mut self) -> Result<(), StoreError> {
        export::write(&self.state, self.db()?).map_err(|t| outside(t, &self.state))?;
        Meta::new(&self.census, self.number, self.folder_bytes).write(&self.state)?;
        self.journal = Journal::begin(&self.state, self.census.store, self.census.generation)?;
        Ok(())
    }

    /// Opens the folder again after an error outside the store. The batch that failed may be there whole, or not.
    fn revive(&mut self) -> Result<(), StoreError> {
        if self.db.as_ref().is_some_and(SledFile::is_usable) {
            return Ok(());
        }
        self.db = None;
        let (db, census) = look(&self.folder(), self.options.deadline).map_err(|t| outside(t, &self.state))?;
        if census.generation < self.census.generation {
            return Err(outside(
                Trouble::Damaged("it came back without batches it had flushed".to_owned()),
                &self.state,
            ));
        }
        self.db = Some(db);
        self.census = census;
        Ok(())
    }

    /// The batch as bytes, and the census after it.
    fn prepare(&self, batch: &Batch) -> Result<(Vec<Write>, Census), StoreError> {
        let db = self.db()?;
        let mut census = self.census.clone();
        census.generation += 1;
        let mut writes = Vec::with_capacity(batch.changes.len() + 1);
        for (key, change) in batch.folded()? {
            let before = db.get(&key).map_err(|t| outside(t, &self.state))?;
            let after = match change {
                Change::Put { kind, body, .. } => {
                    census.name(kind.tag, kind.name);
                    Some(record::write(&key, kind.version, body)?)
                }
                Change::Delete { .. } => None,
            };
            if let Some(before) = &before {
                census.remove(&key, before);
            }
            if let Some(after) = &after {
                census.add(&key, after);
            }
            writes.push((key, after));
        }
        writes.push((census::KEY.to_vec(), Some(census.to_record()?)));
        Ok((writes, census))
    }

    fn apply_once(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.revive()?;
        let (writes, census) = self.prepare(batch)?;
        let bytes = writes.iter().map(|(key, after)| key.len() + after.as_ref().map_or(0, Vec::len)).sum();
        SledFile::has_room(&self.folder(), bytes).map_err(|t| outside(t, &self.state))?;
        self.db()?.commit(&writes).map_err(|t| outside(t, &self.state))?;
        self.census = census;
        self.counters.batches += 1;
        for (_, after) in writes.iter().filter(|(key, _)| key.first() != Some(&OWN_TAG)) {
            if after.is_some() { self.counters.puts += 1 } else { self.counters.deletes += 1 }
        }
        // From here on the batch is durable: what fails below is counted, not an error of the batch.
        if self.journal.append(self.census.generation, &writes).is_err() {
            self.counters.journal_failed += 1;
            self.press();
        }
        if self.journal.bytes >= self.export_at {
            let _ = self.export();
        }
        Ok(())
    }

    /// Writes the live records into a new folder when sled has let the old one grow far beyond them: it never
    /// gives room back by itself.
    fn rewrite_if_large(&mut self) -> Result<(), StoreError> {
        let (size, live) = self.bytes();
        let large = size > SIZE_BYTES_MIN && size > SIZE_FACTOR_MAX * live && size > 2 * self.folder_bytes;
        if !large {
            return Ok(());
        }
        let (store, new, old) = (self.state.join("store"), self.state.join("store.new"), self.state.join("store.old"));
        remove_folder(&new)?;
        remove_folder(&old)?;
        files::private_dir(&new)?;
        let number = self.number + 1;
        if let Err(error) = self.copy_to(&new.join(number.to_string())) {
            let _ = remove_folder(&new);
            return Err(error);
        }
        self.db = None;
        files::rename(&store, &old)?;
        files::rename(&new, &store)?;
        self.number = number;
        self.revive()?;
        remove_folder(&old)?;
        self.folder_bytes = files::size(&self.folder());
        self.counters.rewrites += 1;
        self.export()
    }

    fn copy_to(&self, folder: &Path) -> Result<(), StoreError> {
        let copied = || -> Result<(), Trouble> {
            let to = SledFile::open(folder)?;
            let (mut chunk, mut result) = (Vec::new(), Ok(()));
            self.db().map_err(Trouble::Outside)?.each(b"", |key, bytes| {
                if key != census::KEY {
                    chunk.push((key.to_vec(), Some(bytes.to_vec())));
                }
                if chunk.len() == CHUNK && result.is_ok() {
                    result = to.commit(&chunk);
                    chunk.clear();
                }
            })?;
            result?;
            chunk.push((census::KEY.to_vec(), Some(self.census.to_record().map_err(Trouble::Outside)?)));
            to.commit(&chunk)
        };
        copied().map_err(|t| outside(t, &self.state))
    }
}

impl Store for Opened {
    fn shed(&self) -> Shed {
        self.shed
    }

    fn look_for_room(&mut self) {
        let left = |bytes| files::room(&self.state, bytes).is_ok();
        let reserve = self.reserve.bytes();
        match self.shed {
            // Something else filled the disk: the reserve is given up before incidents need it.
            Shed::Nothing if !left(ROOM_BYTES_MIN) => self.press(),
            Shed::Nothing => {}
            // What is left of the reserve belongs to incidents: evidence and EVE must not eat it.
            Shed::History if !left(reserve / 4 * 3) => self.press(),
            Shed::Evidence if !left(reserve / 2) => self.press(),
            _ => {
                self.recover_room();
            }
        }
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Opened::close(*self)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let applied = self.apply_once(batch);
        if let Err(StoreError::Full(_)) = &applied {
            self.press();
        }
        applied
    }

    fn scan(&self, kind: &Kind) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let mut found = Vec::new();
        let mut failed = Ok(());
        let migrations = self.options.migrations;
        let scanned = self.db()?.each(&[kind.tag], |key, bytes| {
            if failed.is_ok() {
                match record::read_as(kind, key, bytes, migrations) {
                    Ok(body) => found.push((key.iter().skip(1).copied().collect(), body)),
                    Err(error) => failed = Err(error),
                }
            }
        });
        scanned.map_err(|t| outside(t, &self.state))?;
        failed.map(|()| found)
    }

    fn get(&self, kind: &Kind, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let key = kind.key(id);
        let found = self.db()?.get(&key).map_err(|t| outside(t, &self.state))?;
        found.map(|bytes| record::read_as(kind, &key, &bytes, self.options.migrations)).transpose()
    }
}

/// A state that is only looked at. `apply` is refused.
pub struct OpenedReadOnly {
    opened: Opened,
}

impl OpenedReadOnly {
    pub(super) fn new(opened: Opened) -> Self {
        OpenedReadOnly { opened }
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.opened.counts()
    }

    pub fn generation(&self) -> u64 {
        self.opened.generation()
    }

    pub fn bytes(&self) -> (u64, u64) {
        self.opened.bytes()
    }
}

impl Store for OpenedReadOnly {
    fn apply(&mut self, _batch: &Batch) -> Result<(), StoreError> {
        Err(StoreError::Unreachable("the state was opened for reading only".to_owned()))
    }

    fn scan(&self, kind: &Kind) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.opened.scan(kind)
    }

    fn get(&self, kind: &Kind, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.opened.get(kind, id)
    }
}
