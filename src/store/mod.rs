//! Remembering across restarts. Rooms hand over records; only `sled.rs` knows what keeps them.
//!
//! A record is (kind, id) → body; the store adds magic, schema version, length and CRC-32. One [`Batch`] is
//! applied whole or not at all. `docs/store.md` has the format, what is done about damage, and the size budget.

mod batch;
mod census;
#[cfg(test)]
mod crash;
mod export;
mod files;
mod journal;
mod lock;
mod memory;
mod meta;
mod open;
mod opened;
mod rebuild;
mod record;
mod recovery;
mod reserve;
mod sled;
#[cfg(test)]
mod torture;
mod witness;

pub use batch::{Batch, Change, Kind, Migration};
pub use memory::MemoryStore;
pub use open::{MadeBy, Options, StoreConfig, clear, open, open_read_only};
pub use opened::{Opened, OpenedReadOnly, Shed, StoreCounters};
pub use recovery::Recovery;

use std::fmt;

/// An id and its body.
pub type Record = (Vec<u8>, Vec<u8>);

/// What the fact side may ask of a store. Sync; one owner.
pub trait Store: Send {
    /// Applies the whole batch durably, or nothing of it.
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError>;
    /// Every record of a kind in order of id, body without header. Bad records were dealt with at open.
    fn scan(&self, kind: &Kind) -> Result<Vec<Record>, StoreError>;
    fn get(&self, kind: &Kind, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// What must not be written now because the disk is full.
    fn shed(&self) -> Shed {
        Shed::Nothing
    }
    /// Looks at the disk: sheds more where room runs out, and nothing any more where there is room again.
    fn look_for_room(&mut self) {}
    /// Leaves everything in order for the next start.
    ///
    /// # Errors
    /// As [`Store::apply`]; what was applied is durable all the same.
    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Whose fault, and the mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The disk has no room left: nothing was lost, nothing more can be kept until space is freed.
    Full(String),
    /// Another process holds it (pid where known).
    Locked(String),
    /// No permission, or any other error of the file system.
    Unreachable(String),
    /// A record body could not be read as its kind.
    Malformed(String),
    /// Written by a newer eastwatch: nothing was touched.
    Newer(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Full(text)
            | StoreError::Locked(text)
            | StoreError::Unreachable(text)
            | StoreError::Malformed(text)
            | StoreError::Newer(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}
