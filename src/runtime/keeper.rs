//! The store keeper: applies batches on a thread of its own, so that a slow disk never stops the brain.
//!
//! One batch is under way and one waits; while both places are taken nothing more is handed over, and what changed
//! meanwhile stays marked in its room. On a full disk `read` ends; `watch` holds back what explains, in memory, at most
//! [`HELD_BYTES_MAX`], and writes it when there is room again. Beyond the bound history is lost first, then evidence,
//! each counted; incidents and what people decided never.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::store::{Batch, Change, Shed, Store, StoreError};

/// How often the disk is looked at when no batch comes: soon enough for the reserve to meet a disk that fills.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What may wait for room: the records of about 20,000 VMs.
const HELD_BYTES_MAX: usize = 16 << 20;
/// Held records are written in steps of this size: sled wants eight times as much room for each.
const STEP_BYTES: usize = 256 << 10;

/// What became of the batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The first error that is not cured.
    pub trouble: Option<StoreError>,
    /// What is not written now because the disk is full.
    pub level: Shed,
    /// Records not written at their time because the disk was full.
    pub shed: u64,
    /// Of those: records given up because too much waited.
    pub lost: u64,
}

/// What a full disk means for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// `read`: the run ends with what is kept.
    End,
    /// `watch`: less is kept, and the run goes on.
    Shed,
}

/// From which level on a kind (by its tag) is held back; `None`: never.
pub type ShedAt = fn(u8) -> Option<Shed>;

pub struct Keeper {
    batches: SyncSender<Batch>,
    states: Receiver<Kept>,
    state: Kept,
    waiting: Option<Batch>,
    thread: JoinHandle<(Box<dyn Store>, Kept)>,
}

impl Keeper {
    pub fn start(store: Box<dyn Store>, on_full: OnFull, shed_at: ShedAt) -> std::io::Result<Self> {
        let (batches, incoming) = sync_channel::<Batch>(1);
        let (told, states) = sync_channel(16);
        let work = move || {
            let mut desk = Desk { store, on_full, shed_at, held: BTreeMap::new(), bytes: 0, kept: Kept::default() };
            loop {
                match incoming.recv_timeout(LOOK_EVERY) {
                    Ok(batch) => desk.keep(batch),
                    Err(RecvTimeoutError::Timeout) => desk.look(),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                // Full: an older state waits to be read, a newer one follows within a second.
                let _ = told.try_send(desk.kept.clone());
            }
            desk.last();
            (desk.store, desk.kept)
        };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(work)?;
        Ok(Keeper { batches, states, state: Kept::default(), waiting: None, thread })
    }

    /// Whether a batch may be handed over now.
    pub fn ready(&mut self) -> bool {
        if let Some(batch) = self.waiting.take() {
            self.offer(batch);
        }
        self.waiting.is_none()
    }

    pub fn offer(&mut self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        match self.batches.try_send(batch) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(batch)) => self.waiting = Some(batch),
        }
    }

    pub fn state(&mut self) -> &Kept {
        while let Ok(state) = self.states.try_recv() {
            self.state = state;
        }
        &self.state
    }

    /// Applies what waits and `last`, then gives the store back.
    pub fn finish(self, last: Batch) -> Option<(Box<dyn Store>, Kept)> {
        for batch in self.waiting.into_iter().chain([last]) {
            if !batch.is_empty() {
                let _ = self.batches.send(batch);
            }
        }
        drop(self.batches);
        self.thread.join().ok()
    }
}

/// The keeper's own thread: the store, and what waits for room.
struct Desk {
    store: Box<dyn Store>,
    on_full: OnFull,
    shed_at: ShedAt,
    /// The latest change of each record that is not written yet, by kind and id.
    held: BTreeMap<(u8, Vec<u8>), Change>,
    bytes: usize,
    kept: Kept,
}

impl Desk {
    fn keep(&mut self, batch: Batch) {
        // The usual way: all of it, atomically.
        if self.held.is_empty() && self.level() == Shed::Nothing {
            match self.store.apply(&batch) {
                Ok(()) => {
                    self.kept.trouble = None;
                    self.kept.level = self.store.shed();
                    return;
                }
                Err(error) => self.kept.trouble = Some(error),
            }
        }
        let keys: Vec<(u8, Vec<u8>)> = batch.changes.iter().map(key).collect();
        for change in batch.changes {
            self.hold(change);
        }
        self.write();
        self.kept.shed += keys.iter().filter(|key| self.held.contains_key(*key)).count() as u64;
        self.bound();
    }

    /// Without a batch: is there still room, or is there room again?
    fn look(&mut self) {
        if self.on_full == OnFull::Shed {
            self.store.look_for_room();
            self.kept.level = self.level();
            if !self.held.is_empty() {
                self.write();
            } else if self.kept.level == Shed::Nothing && matches!(self.kept.trouble, Some(StoreError::Full(_))) {
                self.kept.trouble = None;
            }
        }
    }

    /// The end: everything is tried once more, then at least what must not be lost.
    fn last(&mut self) {
        if self.held.is_empty() {
            return;
        }
        match self.step(|_| true) {
            Ok(()) if self.on_full == OnFull::Shed => self.kept.trouble = None,
            Ok(()) => {}
            Err(_) => self.write(),
        }
        if let (Some(left), None) = (self.held.len().checked_sub(1), &self.kept.trouble) {
            self.kept.trouble = Some(StoreError::Full(format!("the disk is full: {} records are not saved", left + 1)));
        }
    }

    /// `read` writes everything or ends; only what fails makes it choose.
    fn level(&self) -> Shed {
        match (self.on_full, &self.kept.trouble) {
            (OnFull::End, None) => Shed::Nothing,
            (OnFull::End, Some(_)) => Shed::Eve,
            (OnFull::Shed, _) => self.store.shed(),
        }
    }

    /// Writes what the level allows; where even that finds no room, less.
    fn write(&mut self) {
        if self.on_full == OnFull::Shed {
            self.store.look_for_room();
        }
        loop {
            let level = self.level();
            let shed_at = self.shed_at;
            match self.step(|tag| shed_at(tag).is_none_or(|at| level < at)) {
                Ok(()) => {
                    if self.held.is_empty() && level == Shed::Nothing {
                        self.kept.trouble = None;
                    }
                    break;
                }
                Err(error) => {
                    let full = matches!(error, StoreError::Full(_));
                    self.kept.trouble = Some(error);
                    if !full || self.level() == level {
                        break;
                    }
                }
            }
        }
        self.kept.level = self.level();
    }

    /// Writes the held records that `may` be, in steps: what must not be lost goes first.
    fn step(&mut self, may: impl Fn(u8) -> bool) -> Result<(), StoreError> {
        let shed_at = self.shed_at;
        let mut keys: Vec<(u8, Vec<u8>)> = self.held.keys().filter(|(tag, _)| may(*tag)).cloned().collect();
        // `None` first, then evidence, then history.
        keys.sort_by_key(|(tag, _)| match shed_at(*tag) {
            None => 0,
            Some(Shed::Nothing | Shed::History) => 2,
            Some(Shed::Evidence | Shed::Eve) => 1,
        });
        let mut keys = keys.as_slice();
        while !keys.is_empty() {
            let mut bytes = 0;
            let many = keys
                .iter()
                .take_while(|key| {
                    let fits = bytes < STEP_BYTES;
                    bytes += self.held.get(*key).map_or(0, size);
                    fits
                })
                .count();
            let (now, later) = keys.split_at(many.max(1).min(keys.len()));
            let changes = now.iter().filter_map(|key| self.held.get(key).cloned()).collect();
            self.store.apply(&Batch { changes })?;
            for key in now {
                self.release(key);
            }
            keys = later;
        }
        Ok(())
    }

    fn hold(&mut self, change: Change) {
        let key = key(&change);
        self.release(&key);
        self.bytes += size(&change);
        self.held.insert(key, change);
    }

    fn release(&mut self, key: &(u8, Vec<u8>)) {
        if let Some(change) = self.held.remove(key) {
            self.bytes -= size(&change);
        }
    }

    fn bound(&mut self) {
        let shed_at = self.shed_at;
        for level in [Shed::History, Shed::Evidence] {
            while self.bytes > HELD_BYTES_MAX {
                let Some(key) = self.held.keys().find(|(tag, _)| shed_at(*tag) == Some(level)).cloned() else { break };
                self.release(&key);
                self.kept.lost += 1;
            }
        }
    }
}

fn key(change: &Change) -> (u8, Vec<u8>) {
    let (Change::Put { kind, id, .. } | Change::Delete { kind, id }) = change;
    (kind.tag, id.clone())
}

fn size(change: &Change) -> usize {
    match change {
        Change::Put { id, body, .. } => id.len() + body.len(),
        Change::Delete { id, .. } => id.len(),
    }
}

#[cfg(test)]
mod tests;
