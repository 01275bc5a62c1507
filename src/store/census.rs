//! The census: how many records of each kind there must be, and a digest of them all. Kept as the store's own
//! record inside the same sled batch as every change, so that whatever sled loses in silence is missed here.
//! One entry for each kind tag, so at most 255.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::batch::OWN_TAG;
use super::{StoreError, record};
use crate::model::stable_hash;

/// Key of the census record: its absence is the missing sentinel.
pub(super) const KEY: &[u8] = b"\0census";
const VERSION: u16 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Census {
    /// Tells this store's files from another's; chosen once, when the store is made.
    pub store: u64,
    /// Batches applied since the store was made.
    pub generation: u64,
    pub kinds: BTreeMap<u8, KindCount>,
    /// Keys and records in bytes, this record left out.
    pub bytes: u64,
    /// Sum of the hashes of all records, so that it can be kept up to date one change at a time.
    pub digest: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KindCount {
    pub name: String,
    pub count: u64,
}

impl Census {
    pub fn of_new_store() -> Self {
        // RandomState is std's only source of randomness; the value never reaches an output that must repeat.
        let store = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "store");
        Census { store, ..Census::default() }
    }

    pub fn add(&mut self, key: &[u8], record: &[u8]) {
        self.bytes = self.bytes.wrapping_add((key.len() + record.len()) as u64);
        self.digest = self.digest.wrapping_add(stable_hash(&[key, record]));
        let kind = self.kinds.entry(key.first().copied().unwrap_or(OWN_TAG)).or_default();
        kind.count = kind.count.wrapping_add(1);
    }

    pub fn remove(&mut self, key: &[u8], record: &[u8]) {
        self.bytes = self.bytes.wrapping_sub((key.len() + record.len()) as u64);
        self.digest = self.digest.wrapping_sub(stable_hash(&[key, record]));
        let kind = self.kinds.entry(key.first().copied().unwrap_or(OWN_TAG)).or_default();
        kind.count = kind.count.wrapping_sub(1);
    }

    pub fn name(&mut self, tag: u8, name: &str) {
        let kind = self.kinds.entry(tag).or_default();
        if kind.name != name {
            name.clone_into(&mut kind.name);
        }
    }

    /// Takes the names that `other` knows; counting records alone does not tell them.
    pub fn names_from(&mut self, other: &Census) {
        for (tag, kind) in &other.kinds {
            self.name(*tag, &kind.name);
        }
    }

    /// Records by the name of their kind, kinds without any left out.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (tag, kind) in self.kinds.iter().filter(|(_, k)| k.count > 0) {
            let name = if kind.name.is_empty() { format!("kind-{tag}") } else { kind.name.clone() };
            *counts.entry(name).or_insert(0) += kind.count;
        }
        counts
    }

    /// Do these two hold the same records, whatever they call them?
    pub fn same_records(&self, other: &Census) -> bool {
        self.digest == other.digest && self.bytes == other.bytes && self.counts_by_tag() == other.counts_by_tag()
    }

    fn counts_by_tag(&self) -> Vec<(u8, u64)> {
        self.kinds.iter().filter(|(_, k)| k.count > 0).map(|(tag, k)| (*tag, k.count)).collect()
    }

    pub fn to_record(&self) -> Result<Vec<u8>, StoreError> {
        let body = postcard::to_stdvec(self).map_err(|e| StoreError::Malformed(format!("census: {e}")))?;
        record::write(KEY, VERSION, &body)
    }

    /// `None` where it is not a census of a version we know.
    pub fn from_record(bytes: &[u8]) -> Option<Self> {
        match record::read(KEY, bytes) {
            Ok((VERSION, body)) => postcard::from_bytes(body).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_changes_does_not_matter_but_the_values_do() {
        let (mut a, mut b, mut c) = (Census::default(), Census::default(), Census::default());
        a.add(b"\x01x", b"1");
        a.add(b"\x01y", b"2");
        b.add(b"\x01y", b"2");
        b.add(b"\x01x", b"1");
        c.add(b"\x01x", b"2");
        c.add(b"\x01y", b"1");
        assert!(a.same_records(&b));
        assert!(!a.same_records(&c), "values that changed places are noticed");
        a.remove(b"\x01x", b"1");
        assert!(!a.same_records(&b));
    }

    #[test]
    fn a_census_is_read_back() {
        let mut census = Census::of_new_store();
        census.add(b"\x01x", b"1");
        census.name(1, "vm");
        assert_eq!(Census::from_record(&census.to_record().unwrap()), Some(census.clone()));
        assert_eq!(census.counts().get("vm"), Some(&1));
    }
}
