//! The store keeper: applies batches on a thread of its own, so that a slow disk never stops the brain.
//!
//! One batch is under way and one waits; while both places are taken nothing more is handed over, and what changed
//! meanwhile stays marked in its room. On a full disk the kinds that explain (`shed`) are left out, counted, and
//! what must not be lost is tried again from the reserve.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use crate::store::{Batch, Change, Store, StoreError};

/// What became of the batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The first error that is not cured.
    pub trouble: Option<StoreError>,
    /// Records left out because the disk was full.
    pub shed: u64,
}

pub struct Keeper {
    batches: SyncSender<Batch>,
    states: Receiver<Kept>,
    state: Kept,
    waiting: Option<Batch>,
    thread: JoinHandle<(Box<dyn Store>, Kept)>,
}

impl Keeper {
    /// `essential` tells the kinds that are kept when the disk is full: incidents and the outbox.
    pub fn start(store: Box<dyn Store>, essential: fn(u8) -> bool) -> std::io::Result<Self> {
        let (batches, incoming) = sync_channel::<Batch>(1);
        let (told, states) = sync_channel(16);
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            let mut store = store;
            let mut kept = Kept::default();
            while let Ok(batch) = incoming.recv() {
                keep(store.as_mut(), &batch, essential, &mut kept);
                // Full: an older state waits to be read, a newer one follows.
                let _ = told.try_send(kept.clone());
            }
            (store, kept)
        })?;
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

fn keep(store: &mut dyn Store, batch: &Batch, essential: fn(u8) -> bool, kept: &mut Kept) {
    if matches!(kept.trouble, Some(StoreError::Full(_))) {
        store.recover_room();
    }
    match store.apply(batch) {
        Ok(()) => kept.trouble = None,
        Err(StoreError::Full(text)) => {
            let (must, may): (Vec<Change>, Vec<Change>) =
                batch.changes.iter().cloned().partition(|change| essential(change.kind().tag));
            kept.shed += may.len() as u64;
            kept.trouble = Some(StoreError::Full(text));
            if !must.is_empty()
                && let Err(error) = store.apply(&Batch { changes: must })
            {
                kept.trouble = Some(error);
            }
        }
        Err(error) => kept.trouble = Some(error),
    }
}
