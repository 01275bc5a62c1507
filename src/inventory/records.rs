//! Records that know which of them must be written: what changed is due at once, what only went on (`last_seen`,
//! counters) at most once a minute.
//!
//! The bound is its owner's. Deterministic: found by hash, but told and written in order of key. The hash is seeded
//! anew in every process, so that addresses cannot be chosen to meet.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::ops::RangeBounds;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{Batch, Kind, Store, StoreError};

#[derive(Clone, Debug)]
pub(super) struct Records<K, V> {
    kind: &'static Kind,
    rows: HashMap<K, Row<V>, RandomState>,
    /// The keys of `rows`.
    order: BTreeSet<K>,
    /// To write or, where no longer present, to delete.
    changed: BTreeSet<K>,
    /// To write when the minute is over.
    touched: Vec<K>,
}

#[derive(Clone, Debug)]
struct Row<V> {
    value: V,
    touched: bool,
}

impl<K, V> Records<K, V>
where
    K: Ord + Hash + Clone + Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    pub fn new(kind: &'static Kind) -> Self {
        Records {
            kind,
            rows: HashMap::default(),
            order: BTreeSet::new(),
            changed: BTreeSet::new(),
            touched: Vec::new(),
        }
    }

    pub fn load(kind: &'static Kind, store: &dyn Store) -> Result<Self, StoreError> {
        Self::load_with(kind, store, |_, _| {})
    }

    /// `fill` puts into a value what its record leaves to the key.
    pub fn load_with(kind: &'static Kind, store: &dyn Store, fill: impl Fn(&K, &mut V)) -> Result<Self, StoreError> {
        let mut records = Records::new(kind);
        for (id, body) in store.scan(kind)? {
            let (key, mut value): (K, V) = (kind.read(&id)?, kind.read(&body)?);
            fill(&key, &mut value);
            records.order.insert(key.clone());
            records.rows.insert(key, Row { value, touched: false });
        }
        Ok(records)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|row| &row.value)
    }

    pub fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    /// To alter something that must survive a crash.
    pub fn change(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        self.changed.insert(key.clone());
        Some(&mut row.value)
    }

    /// To alter what may lag behind by a minute.
    pub fn touch(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        if !row.touched {
            row.touched = true;
            self.touched.push(key.clone());
        }
        Some(&mut row.value)
    }

    pub fn put(&mut self, key: K, value: V) {
        self.changed.insert(key.clone());
        self.order.insert(key.clone());
        self.rows.insert(key, Row { value, touched: false });
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let row = self.rows.remove(key)?;
        self.order.remove(key);
        self.changed.insert(key.clone());
        Some(row.value)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.order.iter().filter_map(|key| Some((key, self.get(key)?)))
    }

    pub fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.order.range(range).filter_map(|key| Some((key, self.get(key)?)))
    }

    /// Writes what changed; with `all` also what was only touched.
    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        if all {
            self.changed.extend(self.touched.drain(..));
        }
        for key in std::mem::take(&mut self.changed) {
            let Ok(id) = postcard::to_stdvec(&key) else { continue };
            match self.rows.get_mut(&key) {
                Some(row) => {
                    // The flag goes down only when its entry in `touched` is gone too, lest the list grow.
                    row.touched &= !all;
                    batch.put(self.kind, &id, &row.value);
                }
                None => batch.delete(self.kind, &id),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    static NUMBER: Kind = Kind { tag: 0x10, name: "number", version: 1 };

    fn saved(records: &mut Records<u8, u32>, store: &mut MemoryStore, all: bool) -> usize {
        let mut batch = Batch::default();
        records.save(&mut batch, all);
        store.apply(&batch).unwrap();
        batch.changes.len()
    }

    #[test]
    fn a_change_is_written_once_and_a_touch_only_with_the_rest() {
        let (mut records, mut store) = (Records::new(&NUMBER), MemoryStore::default());
        records.put(1, 10);
        assert_eq!(saved(&mut records, &mut store, false), 1);
        *records.touch(&1).unwrap() = 11;
        assert_eq!(saved(&mut records, &mut store, false), 0);
        *records.touch(&1).unwrap() = 12;
        assert_eq!(saved(&mut records, &mut store, true), 1);
        assert_eq!(saved(&mut records, &mut store, true), 0);
        assert_eq!(Records::<u8, u32>::load(&NUMBER, &store).unwrap().get(&1), Some(&12));
    }

    #[test]
    fn what_is_removed_is_deleted() {
        let (mut records, mut store) = (Records::new(&NUMBER), MemoryStore::default());
        records.put(1, 10);
        saved(&mut records, &mut store, false);
        records.remove(&1);
        saved(&mut records, &mut store, false);
        assert_eq!(Records::<u8, u32>::load(&NUMBER, &store).unwrap().len(), 0);
    }
}
