//! A store that forgets: for tests, and for `read` without a state. As large as what is put into it.

use std::collections::BTreeMap;

use super::{Batch, Change, Kind, Store, StoreError};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryStore {
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// What one batch leaves in an empty store.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn of(batch: &Batch) -> Result<Self, StoreError> {
        let mut store = MemoryStore::new();
        store.apply(batch).map(|()| store)
    }
}

impl Store for MemoryStore {
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for (key, change) in batch.folded()? {
            match change {
                Change::Put { body, .. } => self.records.insert(key, body.clone()),
                Change::Delete { .. } => self.records.remove(&key),
            };
        }
        Ok(())
    }

    fn scan(&self, kind: &Kind) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        Ok(self
            .records
            .range(vec![kind.tag]..)
            .take_while(|(key, _)| key.first() == Some(&kind.tag))
            .map(|(key, body)| (key.iter().skip(1).copied().collect(), body.clone()))
            .collect())
    }

    fn get(&self, kind: &Kind, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.records.get(&kind.key(id)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static VMS: Kind = Kind { tag: 1, name: "vm", version: 1 };
    static PEERS: Kind = Kind { tag: 2, name: "peer", version: 1 };
    static OWN: Kind = Kind { tag: 0, name: "own", version: 1 };

    #[test]
    fn a_kind_is_scanned_alone_and_in_order() {
        let mut store = MemoryStore::new();
        let mut batch = Batch::default();
        batch.put(&VMS, b"b", &2u8);
        batch.put(&VMS, b"a", &1u8);
        batch.put(&PEERS, b"a", &3u8);
        batch.delete(&VMS, b"b");
        batch.put(&VMS, b"c", &4u8);
        store.apply(&batch).unwrap();
        assert_eq!(store.scan(&VMS).unwrap(), vec![(b"a".to_vec(), vec![1]), (b"c".to_vec(), vec![4])]);
        assert_eq!(store.get(&PEERS, b"a").unwrap(), Some(vec![3]));
        assert_eq!(store.get(&VMS, b"b").unwrap(), None);
    }

    #[test]
    fn the_stores_own_tag_is_refused_and_nothing_of_the_batch_is_kept() {
        let mut store = MemoryStore::new();
        let mut batch = Batch::default();
        batch.put(&VMS, b"a", &1u8);
        batch.put(&OWN, b"a", &1u8);
        assert!(store.apply(&batch).is_err());
        assert_eq!(store, MemoryStore::new());
    }
}
