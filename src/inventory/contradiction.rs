//! Contradictions: connections of which two copies of some bytes differed, by the service or the client they are about.
//!
//! Someone showed a reader other bytes than the receiver, or answered in its stead; it proves nothing against either end,
//! so it is kept for who asks why. At most [`ROWS_MAX`] rows; at the bound the quarter that was seen longest ago makes
//! room and is counted. What is told of an address stays with the VM that had it then.

use serde::{Deserialize, Serialize};

use super::records::Records;
use crate::counters;
use crate::model::{Side, Timestamp, Transport, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

const ROWS_MAX: usize = 4096;

static CONTRADICTION: Kind = Kind { tag: 0x40, name: "contradiction", version: 1 };

counters! {
    pub(super) struct ContradictionCounters {
        forgotten => "inventory.contradiction.forgotten",
    }
}

/// A VM's service, or (`None`) the VM as a client.
type Key = (VmId, Option<(Transport, u16)>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contradiction {
    /// Flows in which copies differed.
    pub flows: u64,
    /// Of the latest: when, in which frame (0: at a tick), and whose bytes.
    pub last: Timestamp,
    pub frame: u64,
    pub side: Side,
}

#[derive(Debug)]
pub(super) struct Contradictions {
    rows: Records<Key, Contradiction>,
    rows_max: usize,
    pub counters: ContradictionCounters,
}

impl Contradictions {
    pub fn new() -> Self {
        let rows = Records::new(&CONTRADICTION);
        Contradictions { rows, rows_max: ROWS_MAX, counters: ContradictionCounters::default() }
    }

    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Contradictions { rows: Records::load(&CONTRADICTION, store)?, ..Contradictions::new() })
    }

    /// One more flow in which copies of this side's bytes differed.
    pub fn add(&mut self, vm: VmId, service: Option<(Transport, u16)>, side: Side, frame: u64, now: Timestamp) {
        let key = (vm, service);
        match self.rows.touch(&key) {
            Some(row) => *row = Contradiction { flows: row.flows + 1, last: now, frame, side },
            None => {
                if self.rows.len() >= self.rows_max {
                    self.forget_quarter();
                }
                self.rows.put(key, Contradiction { flows: 1, last: now, frame, side });
            }
        }
    }

    pub fn of(&self, vm: VmId, service: Option<(Transport, u16)>) -> Option<&Contradiction> {
        self.rows.get(&(vm, service))
    }

    /// Those of a VM, as a client first, then by service.
    pub fn of_vm(&self, vm: VmId) -> impl Iterator<Item = (Option<(Transport, u16)>, &Contradiction)> {
        self.rows.range((vm, None)..).take_while(move |(key, _)| key.0 == vm).map(|(key, row)| (key.1, row))
    }

    /// Everything of `gone` becomes `kept`'s.
    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        for service in self.services(gone) {
            let Some(theirs) = self.rows.remove(&(gone, service)) else { continue };
            match self.rows.change(&(kept, service)) {
                Some(own) => {
                    let flows = own.flows + theirs.flows;
                    if theirs.last > own.last {
                        *own = theirs;
                    }
                    own.flows = flows;
                }
                None => self.rows.put((kept, service), theirs),
            }
        }
    }

    pub fn forget(&mut self, vm: VmId) {
        for service in self.services(vm) {
            self.rows.remove(&(vm, service));
        }
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.rows.save(batch, all);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    fn services(&self, vm: VmId) -> Vec<Option<(Transport, u16)>> {
        self.of_vm(vm).map(|(service, _)| service).collect()
    }

    fn forget_quarter(&mut self) {
        let mut by_age: Vec<_> = self.rows.iter().map(|(key, row)| (row.last, *key)).collect();
        by_age.sort_unstable();
        for (_, key) in by_age.iter().take(self.rows_max.div_ceil(4)) {
            self.rows.remove(key);
            self.counters.forgotten += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{End, Scene};
    use super::*;
    use crate::model::FlowFact;

    const CLIENT: End = ("10.0.0.8", 40_000, 8);
    const SERVER: End = ("10.0.0.9", 80, 9);

    fn vm(n: u64) -> VmId {
        VmId::derive(&[], n)
    }

    #[test]
    fn a_service_and_its_client_both_remember_and_others_do_not() {
        let mut scene = Scene::new();
        for _ in 0..2 {
            let flow = scene.handshake(CLIENT, SERVER);
            scene.now_s += 1;
            scene.tell(&flow, FlowFact::Conflict(Side::Resp));
        }
        scene.handshake(CLIENT, ("10.0.0.9", 81, 9));
        let (client, server) = (scene.vm("10.0.0.8"), scene.vm("10.0.0.9"));
        let told = |vm| scene.inventory.contradictions(vm).map(|(s, c)| (s, c.flows, c.side)).collect::<Vec<_>>();
        assert_eq!(told(server), [(Some((Transport::Tcp, 80)), 2, Side::Resp)]);
        assert_eq!(told(client), [(None, 2, Side::Resp)]);
        let row = scene.inventory.contradiction(server, Some((Transport::Tcp, 80))).unwrap();
        assert_eq!((row.last, row.frame > 0), (scene.time(), true));
    }

    #[test]
    fn the_longest_ago_make_room() {
        let mut rows = Contradictions { rows_max: 8, ..Contradictions::new() };
        let at = |second| Timestamp::from_parts(second, 0);
        for n in 0..9 {
            rows.add(vm(1), Some((Transport::Tcp, n)), Side::Orig, 1, at(u64::from(n)));
        }
        assert_eq!((rows.len(), rows.counters.forgotten), (7, 2));
        assert!(rows.of(vm(1), Some((Transport::Tcp, 1))).is_none());
        assert!(rows.of(vm(1), Some((Transport::Tcp, 2))).is_some());
    }

    #[test]
    fn two_vms_that_turn_out_to_be_one_have_the_sum() {
        let mut rows = Contradictions::new();
        let at = |second| Timestamp::from_parts(second, 0);
        let http = Some((Transport::Tcp, 80));
        rows.add(vm(1), http, Side::Orig, 5, at(5));
        rows.add(vm(2), http, Side::Resp, 9, at(9));
        rows.add(vm(2), None, Side::Resp, 9, at(9));
        rows.merge(vm(1), vm(2));
        let expected = Contradiction { flows: 2, last: at(9), frame: 9, side: Side::Resp };
        assert_eq!((rows.of(vm(1), http), rows.len()), (Some(&expected), 2));
        rows.forget(vm(1));
        assert_eq!(rows.len(), 0);
    }
}
