//! What a state holds besides the rooms' records: which captures it read, and its newest packet time.
//!
//! At most [`CAPTURES_MAX`] captures are remembered; beyond that the oldest is forgotten, and reading it again
//! counts its flows again.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::store::{Batch, Kind, Store, StoreError};

const CAPTURES_MAX: usize = 10_000;

static CLOCK: Kind = Kind { tag: 0x01, name: "clock", version: 1 };
static CAPTURE: Kind = Kind { tag: 0x02, name: "capture", version: 1 };

/// One capture file that was analysed into this state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// BLAKE3 of the file as stored.
    pub digest: [u8; 32],
    /// Its length as stored: a file of another length is another file, known without reading it.
    pub bytes: u64,
    pub name: String,
    /// Newest packet time of the run that read it.
    pub read_to: Timestamp,
}

#[derive(Debug, Default)]
pub struct Held {
    captures: Vec<Capture>,
    now: Timestamp,
    dirty: Vec<usize>,
    forgotten: Vec<[u8; 32]>,
}

impl Held {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let now = match store.get(&CLOCK, &[])? {
            Some(body) => CLOCK.read(&body)?,
            None => Timestamp::ZERO,
        };
        let mut captures: Vec<Capture> =
            store.scan(&CAPTURE)?.iter().map(|(_, body)| CAPTURE.read(body)).collect::<Result<_, _>>()?;
        captures.sort_by(|a, b| (a.read_to, &a.name).cmp(&(b.read_to, &b.name)));
        Ok(Held { captures, now, ..Held::default() })
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub fn captures(&self) -> &[Capture] {
        &self.captures
    }

    pub fn add(&mut self, capture: Capture) {
        if self.captures.len() == CAPTURES_MAX {
            self.forgotten.push(self.captures.remove(0).digest);
            self.dirty.iter_mut().for_each(|i| *i = i.saturating_sub(1));
        }
        self.dirty.push(self.captures.len());
        self.captures.push(capture);
    }

    pub fn has_new(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub fn save(&mut self, batch: &mut Batch, now: Timestamp) {
        if now > self.now {
            self.now = now;
            batch.put(&CLOCK, &[], &now);
        }
        for digest in self.forgotten.drain(..) {
            batch.delete(&CAPTURE, &digest);
        }
        for capture in self.dirty.drain(..).filter_map(|i| self.captures.get(i)) {
            batch.put(&CAPTURE, &capture.digest, capture);
        }
    }
}
