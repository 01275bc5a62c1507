//! What was learned and is no more: reset, retracted, left out of an import, or forgotten to make room. For whoever asks
//! what changed between two days.
//! At most [`ROWS_MAX`] rows; beyond it the oldest goes, and of the time before it no removal is told any more.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::collection::Baselines;
use super::diff::{DiffLine, DiffSign, serves, uses};
use super::document::Directory;
use super::profile::{Port, Profile};
use super::ripeness::Feature;
use crate::model::{Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

static ROW: Kind = Kind { tag: 0x27, name: "forgotten row", version: 1 };

/// Of some 40 bytes: the whole baselines of some hundred VMs.
const ROWS_MAX: usize = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    vm: VmId,
    what: What,
    /// When it was learned, and when it was no more.
    since: Timestamp,
    until: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    Vm,
    Serves(Port),
    Uses(VmId, Port),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Forgotten {
    /// By number, the oldest first.
    rows: BTreeMap<u64, Row>,
    dirty: BTreeSet<u64>,
    pub dropped: u64,
}

impl Forgotten {
    /// All of a VM's baseline.
    pub fn vm(&mut self, vm: VmId, profile: &Profile, until: Timestamp) {
        self.push(Row { vm, what: What::Vm, since: profile.first_seen, until });
        self.missing(vm, profile, &Profile::default(), until);
    }

    pub fn service(&mut self, vm: VmId, port: Port, since: Timestamp, until: Timestamp) {
        self.push(Row { vm, what: What::Serves(port), since, until });
    }

    /// What another profile of the same VM does not have.
    pub fn missing(&mut self, vm: VmId, old: &Profile, new: &Profile, until: Timestamp) {
        for (port, service) in old.services.iter().filter(|(port, _)| !new.services.contains_key(port)) {
            self.service(vm, *port, service.first_seen, until);
        }
        for ((server, port), peer) in old.peers.iter().filter(|(edge, _)| !new.peers.contains_key(edge)) {
            self.push(Row { vm, what: What::Uses(*server, *port), since: peer.first_seen, until });
        }
    }

    fn push(&mut self, row: Row) {
        let number = self.rows.last_key_value().map_or(0, |(number, _)| number.saturating_add(1));
        self.rows.insert(number, row);
        self.dirty.insert(number);
        if self.rows.len() > ROWS_MAX
            && let Some((oldest, _)) = self.rows.pop_first()
        {
            self.dirty.insert(oldest);
            self.dropped += 1;
        }
    }

    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut loaded = Forgotten::default();
        for (_, body) in store.scan(&ROW)? {
            let (number, row) = ROW.read::<(u64, Row)>(&body)?;
            loaded.rows.insert(number, row);
        }
        Ok(loaded)
    }

    pub fn save(&mut self, batch: &mut Batch) {
        for number in std::mem::take(&mut self.dirty) {
            match self.rows.get(&number) {
                Some(row) => batch.put(&ROW, &number.to_be_bytes(), &(number, row)),
                None => batch.delete(&ROW, &number.to_be_bytes()),
            }
        }
    }
}

impl Baselines {
    /// What was learned at `to` and not at `from`, and the reverse: VMs, services, edges, and what had ripened.
    pub fn between(&self, from: Timestamp, to: Timestamp, who: &dyn Directory) -> Vec<DiffLine> {
        let (before, after) = (self.at(from), self.at(to));
        let mut lines: Vec<DiffLine> = Vec::new();
        for (sign, has, lacks) in [(DiffSign::Removed, &before, &after), (DiffSign::Added, &after, &before)] {
            lines.extend(has.difference(lacks).map(|(vm, what)| DiffLine {
                sign,
                vm: *vm,
                name: who.name(*vm),
                what: what.clone(),
            }));
        }
        lines.sort_by(|a, b| (a.vm, a.sign, &a.what).cmp(&(b.vm, b.sign, &b.what)));
        lines
    }

    /// What was there at a time.
    fn at(&self, time: Timestamp) -> BTreeSet<(VmId, String)> {
        let mut there = BTreeSet::new();
        for (vm, profile) in self.profiles() {
            let mut put = |since: Timestamp, what: String| {
                if since <= time {
                    there.insert((vm, what));
                }
            };
            put(profile.first_seen, "VM".to_owned());
            for feature in [Feature::Services, Feature::Uses, Feature::Peers] {
                if let Some(since) = profile.track(feature).ripe_since {
                    put(since, format!("{feature}: ripe"));
                }
            }
            profile.services.iter().for_each(|(port, service)| put(service.first_seen, serves(*port)));
            profile.peers.iter().for_each(|((server, port), peer)| put(peer.first_seen, uses(*server, *port)));
        }
        for row in self.forgotten.rows.values().filter(|row| row.since <= time && time < row.until) {
            let what = match row.what {
                What::Vm => "VM".to_owned(),
                What::Serves(port) => serves(port),
                What::Uses(server, port) => uses(server, port),
            };
            there.insert((row.vm, what));
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Transport;
    use crate::store::MemoryStore;

    fn at(s: i64) -> Timestamp {
        Timestamp::ZERO.plus_s(s)
    }

    #[test]
    fn the_oldest_goes_where_all_is_full_and_what_is_saved_is_loaded() {
        let mut forgotten = Forgotten::default();
        for n in 0..ROWS_MAX as i64 + 10 {
            forgotten.service(VmId::default(), (Transport::Tcp, 80), at(n), at(n + 1));
        }
        assert_eq!((forgotten.rows.len(), forgotten.dropped), (ROWS_MAX, 10));
        let mut batch = Batch::default();
        forgotten.save(&mut batch);
        let loaded = Forgotten::load(&MemoryStore::of(&batch).expect("memory")).expect("a store");
        assert_eq!(loaded.rows, forgotten.rows);
    }
}
