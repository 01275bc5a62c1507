//! A batch of record changes. Each room declares its own kinds; there is no central list.
//! An id has at most 1 KiB and tag 0 is the store's own: a batch that breaks either is refused whole.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// A kind of record. `tag` is the key prefix and must be unique; `version` is the schema of the body.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub tag: u8,
    pub name: &'static str,
    pub version: u16,
}

/// Keys that begin with it are the store's own bookkeeping.
pub(super) const OWN_TAG: u8 = 0;
/// Ids are addresses, hashes and names; far above any of them, far below what a page of the tree holds.
const ID_BYTES_MAX: usize = 1024;

impl Kind {
    pub(super) fn key(&self, id: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + id.len());
        key.push(self.tag);
        key.extend_from_slice(id);
        key
    }

    /// Reads a body of this kind.
    pub fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, StoreError> {
        postcard::from_bytes(body)
            .map_err(|e| StoreError::Malformed(format!("a {} record cannot be read: {e}", self.name)))
    }
}

/// One step from an older schema of a kind to the next. The room that raises a kind's `version` declares it;
/// `runtime` hands all of them to `open`. Steps are chained until the body has the version the kind asks for.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    pub tag: u8,
    /// Reads a body of this version and writes one of `from + 1`.
    pub from: u16,
    pub step: fn(&[u8]) -> Result<Vec<u8>, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put { kind: &'static Kind, id: Vec<u8>, body: Vec<u8> },
    Delete { kind: &'static Kind, id: Vec<u8> },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub changes: Vec<Change>,
}

impl Change {
    pub fn kind(&self) -> &'static Kind {
        match self {
            Change::Put { kind, .. } | Change::Delete { kind, .. } => kind,
        }
    }
}

impl Batch {
    pub fn put<T: Serialize>(&mut self, kind: &'static Kind, id: &[u8], value: &T) {
        // Serialising our own plain data into a vector cannot fail; if it ever does, the record is left as it was.
        if let Ok(body) = postcard::to_stdvec(value) {
            self.changes.push(Change::Put { kind, id: id.to_vec(), body });
        }
    }

    pub fn delete(&mut self, kind: &'static Kind, id: &[u8]) {
        self.changes.push(Change::Delete { kind, id: id.to_vec() });
    }

    /// The change that wins for each key, in order of key: of several to one record in a batch, the last.
    pub(super) fn folded(&self) -> Result<BTreeMap<Vec<u8>, &Change>, StoreError> {
        let mut folded = BTreeMap::new();
        for change in &self.changes {
            let (Change::Put { kind, id, .. } | Change::Delete { kind, id }) = change;
            if kind.tag == OWN_TAG || id.len() > ID_BYTES_MAX {
                return Err(StoreError::Malformed(format!(
                    "a {} record cannot be kept: tag 0 is the store's own, and an id has at most {ID_BYTES_MAX} bytes",
                    kind.name
                )));
            }
            folded.insert(kind.key(id), change);
        }
        Ok(folded)
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
