//! Busy addresses outside home, for `doctor` and the summary: is a network missing from `home`?
//!
//! At most [`COUNTERS_MAX`] addresses, by Space-Saving (Metwally, Agrawal, El Abbadi 2005): at the bound a new
//! address takes the counters of the least busy one, so the busiest are always among them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::Segment;
use crate::store::{Batch, Kind, Store, StoreError};

/// With 128 counters any address with more than 1/128 of all flows is certainly held; ten are shown.
const COUNTERS_MAX: usize = 128;
const SHOWN: usize = 10;

static OUTSIDE: Kind = Kind { tag: 0x17, name: "outside home", version: 1 };

/// An address outside home and how busy it is (at most; see Space-Saving).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    pub ip: IpAddr,
    pub segment: Segment,
    pub flows: u64,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct OutsideHome {
    counters: Vec<Outside>,
    changed: bool,
}

impl OutsideHome {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let counters = match store.get(&OUTSIDE, b"all")? {
            Some(body) => OUTSIDE.read(&body)?,
            None => Vec::new(),
        };
        Ok(OutsideHome { counters, changed: false })
    }

    /// One flow of this address ended.
    pub fn add(&mut self, segment: Segment, ip: IpAddr, packets: u64, bytes: u64) {
        self.changed = true;
        let at = self.counters.iter().position(|c| c.ip == ip && c.segment == segment);
        let slot = match at {
            Some(at) => self.counters.get_mut(at),
            None if self.counters.len() < COUNTERS_MAX => {
                self.counters.push(Outside { ip, segment, flows: 0, packets: 0, bytes: 0 });
                self.counters.last_mut()
            }
            None => self.counters.iter_mut().min_by_key(|c| c.flows),
        };
        if let Some(slot) = slot {
            *slot = Outside {
                ip,
                segment,
                flows: slot.flows + 1,
                packets: slot.packets + packets,
                bytes: slot.bytes + bytes,
            };
        }
    }

    /// The ten busiest, busiest first.
    pub fn busiest(&self) -> Vec<Outside> {
        let mut all = self.counters.clone();
        all.sort_by_key(|c| (std::cmp::Reverse((c.flows, c.packets)), c.ip, c.segment));
        all.truncate(SHOWN);
        all
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        if all && std::mem::take(&mut self.changed) {
            batch.put(&OUTSIDE, b"all", &self.counters);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_are_shown_however_many_come_once() {
        let mut outside = OutsideHome::default();
        for i in 0..5_000u16 {
            let [a, b] = i.to_be_bytes();
            outside.add(Segment::UNTAGGED, IpAddr::from([203, 0, a, b]), 1, 60);
            if i % 10 == 0 {
                outside.add(Segment::UNTAGGED, IpAddr::from([8, 8, 8, 8]), 2, 200);
            }
        }
        let shown = outside.busiest();
        assert_eq!(shown.len(), SHOWN);
        assert_eq!(shown.first().map(|o| o.ip), Some(IpAddr::from([8, 8, 8, 8])));
        assert!(outside.counters.len() <= COUNTERS_MAX);
    }
}
