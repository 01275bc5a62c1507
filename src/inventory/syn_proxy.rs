//! SYN proxies and tarpits: addresses that answer a SYN on every port. Of those only payload proves a service.
//!
//! At most [`ADDRESSES_MAX`] addresses are watched; when they are full those whose minute is over make room, else
//! an address is not watched, and that is counted. As many are held; beyond it one is judged anew each time.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::records::Records;
use super::service::RowKey;
use crate::counters;
use crate::model::{Segment, Timestamp};
use crate::store::{Batch, Kind, Store, StoreError};

/// More new ports than this within the window, none with payload, are no host's own (detection.md 3.3).
const PORTS_MAX: usize = 20;
const WINDOW_S: f64 = 60.0;
/// A proxy that is scanned is told again; one that is gone is believed again after a day.
const HELD_S: i64 = 86_400;
const ADDRESSES_MAX: usize = 4_096;

static PROXY: Kind = Kind { tag: 0x16, name: "syn proxy", version: 1 };

counters! {
    pub(super) struct SynProxyCounters {
        recognised => "inventory.syn_proxy.recognised",
        unheld => "inventory.syn_proxy.unheld",
        unwatched => "inventory.syn_proxy.unwatched",
    }
}

#[derive(Debug)]
pub(super) struct SynProxies {
    /// Until when an address is taken for one.
    known: Records<(IpAddr, Segment), Until>,
    /// New services that have shown no payload yet, by address.
    watched: BTreeMap<(IpAddr, Segment), Vec<(RowKey, Timestamp)>>,
    pub counters: SynProxyCounters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Until(Timestamp);

impl SynProxies {
    pub fn new() -> Self {
        SynProxies { known: Records::new(&PROXY), watched: BTreeMap::new(), counters: SynProxyCounters::default() }
    }

    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(SynProxies { known: Records::load(&PROXY, store)?, ..SynProxies::new() })
    }

    /// Is payload needed to believe a service of this address?
    pub fn is_known(&mut self, segment: Segment, ip: IpAddr, now: Timestamp) -> bool {
        let key = (ip, segment);
        match self.known.get(&key) {
            Some(until) if until.0 >= now => true,
            Some(_) => {
                self.known.remove(&key);
                false
            }
            None => false,
        }
    }

    /// A new service without payload. Returns those to take back when this is one too many.
    pub fn answered(&mut self, row: RowKey, now: Timestamp) -> Vec<RowKey> {
        let key = (row.ip, row.segment);
        if !self.watched.contains_key(&key) && self.watched.len() >= ADDRESSES_MAX {
            self.watched.retain(|_, rows| rows.last().is_some_and(|(_, at)| now.since_s(*at) <= WINDOW_S));
            if self.watched.len() >= ADDRESSES_MAX {
                self.counters.unwatched += 1;
                return Vec::new();
            }
        }
        let rows = self.watched.entry(key).or_default();
        rows.retain(|(_, at)| now.since_s(*at) <= WINDOW_S);
        rows.push((row, now));
        if rows.len() <= PORTS_MAX {
            return Vec::new();
        }
        self.counters.recognised += 1;
        if self.known.len() < ADDRESSES_MAX {
            self.known.put(key, Until(now.plus_s(HELD_S)));
        } else {
            self.counters.unheld += 1;
        }
        self.watched.remove(&key).unwrap_or_default().into_iter().map(|(row, _)| row).collect()
    }

    /// The service has shown payload: it is one.
    pub fn has_payload(&mut self, row: &RowKey) {
        if let Some(rows) = self.watched.get_mut(&(row.ip, row.segment)) {
            rows.retain(|(other, _)| other != row);
        }
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.known.save(batch, all);
    }
}
