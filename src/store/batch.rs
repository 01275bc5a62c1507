//! A batch of record changes. Each room declares its own kinds; there is no central list.

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

impl Kind {
    /// Reads a body of this kind.
    pub fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, StoreError> {
        postcard::from_bytes(body)
            .map_err(|e| StoreError::Malformed(format!("a {} record cannot be read: {e}", self.name)))
    }
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

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
