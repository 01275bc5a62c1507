//! Who holds each address: found by hash, for each packet's ends are asked for, and listed in order of address.
//! The bound is that of the addresses of VMs, which their owner keeps. The hash is seeded anew in every process, so that
//! addresses cannot be chosen to meet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::tie::Binding;
use crate::model::Segment;

type Key = (IpAddr, Segment);

#[derive(Clone, Debug, Default)]
pub(super) struct Holders {
    rows: HashMap<Key, Binding, RandomState>,
    /// The keys of `rows`.
    order: BTreeSet<Key>,
}

impl Holders {
    pub fn get(&self, key: &Key) -> Option<&Binding> {
        self.rows.get(key)
    }

    pub fn get_mut(&mut self, key: &Key) -> Option<&mut Binding> {
        self.rows.get_mut(key)
    }

    pub fn insert(&mut self, key: Key, binding: Binding) {
        if self.rows.insert(key, binding).is_none() {
            self.order.insert(key);
        }
    }

    pub fn remove(&mut self, key: &Key) {
        if self.rows.remove(key).is_some() {
            self.order.remove(key);
        }
    }

    /// Of one address in every segment, in order of segment.
    pub fn of(&self, ip: IpAddr) -> impl Iterator<Item = &Binding> {
        let all = self.order.range((ip, Segment::UNTAGGED)..).take_while(move |(other, _)| *other == ip);
        all.filter_map(|key| self.rows.get(key))
    }

    /// In order of address and segment.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Binding)> {
        self.order.iter().filter_map(|key| Some((key, self.rows.get(key)?)))
    }
}
