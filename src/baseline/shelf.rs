//! A store for tests: what batches put, in order of kind and id. Unbounded: it lives as long as one test.
#![cfg(test)]

use std::collections::BTreeMap;

use crate::store::{Batch, Change, Kind, Store, StoreError};

#[derive(Default)]
pub(crate) struct Shelf(BTreeMap<(u8, Vec<u8>), Vec<u8>>);

impl Shelf {
    pub fn of(batch: &Batch) -> Self {
        let mut shelf = Shelf::default();
        shelf.apply(batch).expect("memory takes everything");
        shelf
    }
}

impl Store for Shelf {
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for change in &batch.changes {
            match change {
                Change::Put { kind, id, body } => self.0.insert((kind.tag, id.clone()), body.clone()),
                Change::Delete { kind, id } => self.0.remove(&(kind.tag, id.clone())),
            };
        }
        Ok(())
    }

    fn scan(&self, kind: &Kind) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let of_kind = self.0.iter().filter(|((tag, _), _)| *tag == kind.tag);
        Ok(of_kind.map(|((_, id), body)| (id.clone(), body.clone())).collect())
    }

    fn get(&self, kind: &Kind, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(&(kind.tag, id.to_vec())).cloned())
    }
}
