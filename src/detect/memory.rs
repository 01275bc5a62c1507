//! What a detector remembers between changes: a bounded table that survives restarts.
//! Beyond `max` the sixteenth part that was touched longest ago is forgotten, and counted. A forgotten entry costs
//! one repeated finding, which its incident absorbs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::Timestamp;
use crate::store::{Batch, Kind, Store, StoreError};

pub struct Memory<K, V> {
    kind: &'static Kind,
    max: usize,
    all: BTreeMap<K, (Timestamp, V)>,
    dirty: BTreeSet<K>,
    evicted: u64,
}

impl<K: Ord + Clone + Serialize + DeserializeOwned, V: Serialize + DeserializeOwned> Memory<K, V> {
    pub fn new(kind: &'static Kind, max: usize) -> Self {
        Memory { kind, max: max.max(1), all: BTreeMap::new(), dirty: BTreeSet::new(), evicted: 0 }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.all.get(key).map(|(_, value)| value)
    }

    /// The entry, to be changed; it counts as touched now and as changed.
    pub fn touch(&mut self, key: &K, now: Timestamp) -> Option<&mut V> {
        let (touched, value) = self.all.get_mut(key)?;
        *touched = now;
        self.dirty.insert(key.clone());
        Some(value)
    }

    pub fn insert(&mut self, key: K, value: V, now: Timestamp) {
        if self.all.len() >= self.max && !self.all.contains_key(&key) {
            self.make_room();
        }
        self.dirty.insert(key.clone());
        self.all.insert(key, (now, value));
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (_, value) = self.all.remove(key)?;
        self.dirty.insert(key.clone());
        Some(value)
    }

    /// Forgets every entry that `of` names.
    pub fn forget(&mut self, of: impl Fn(&K) -> bool) {
        let keys: Vec<K> = self.all.keys().filter(|key| of(key)).cloned().collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// At most `n` keys that follow `key`, in order; from the beginning without one.
    pub fn after(&self, key: Option<&K>, n: usize) -> Vec<K> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.all.range((from, Bound::Unbounded)).take(n).map(|(key, _)| key.clone()).collect()
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.all.keys()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    pub fn save(&mut self, batch: &mut Batch) {
        for key in std::mem::take(&mut self.dirty) {
            // Keys are plain ids and numbers, which always serialise.
            let Ok(id) = postcard::to_stdvec(&key) else { continue };
            match self.all.get(&key) {
                Some((touched, value)) => batch.put(self.kind, &id, &(key, touched, value)),
                None => batch.delete(self.kind, &id),
            }
        }
    }

    pub fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        for (_, body) in store.scan(self.kind)? {
            let (key, touched, value) = self.kind.read(&body)?;
            self.all.insert(key, (touched, value));
        }
        Ok(())
    }

    fn make_room(&mut self) {
        let mut oldest: Vec<(Timestamp, K)> = self.all.iter().map(|(k, (t, _))| (*t, k.clone())).collect();
        oldest.sort_unstable();
        oldest.truncate((self.max / 16).max(1));
        for (_, key) in oldest {
            self.remove(&key);
            self.evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static KIND: Kind = Kind { tag: 0x2f, name: "test", version: 1 };

    #[test]
    fn a_full_table_forgets_what_was_touched_longest_ago() {
        let mut memory: Memory<u32, u32> = Memory::new(&KIND, 32);
        for n in 0..32 {
            memory.insert(n, n, Timestamp::ZERO.plus_s(i64::from(n)));
        }
        memory.touch(&0, Timestamp::ZERO.plus_s(100));
        memory.insert(99, 99, Timestamp::ZERO.plus_s(101));
        assert_eq!((memory.len(), memory.evicted()), (31, 2));
        assert!(memory.get(&0).is_some());
        assert!(memory.get(&1).is_none());
    }
}
