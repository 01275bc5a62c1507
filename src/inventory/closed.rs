//! Closed ports: when an address refused a connection, so that a service that starts later is told from one that
//! was there before anyone asked (detection.md 3.1).
//!
//! At most [`PORTS_MAX`] ports an address, the one refused longest ago making room, so that a scan of one host cannot wash away
//! another's; at most [`ADDRESSES_MAX`] addresses, the quarter that was refused longest ago making room.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::records::Records;
use crate::counters;
use crate::model::{RefusedBy, Segment, Timestamp, Transport};
use crate::store::{Batch, Kind, Store, StoreError};

const PORTS_MAX: usize = 256;
const ADDRESSES_MAX: usize = 16_384;

static CLOSED: Kind = Kind { tag: 0x15, name: "closed ports", version: 1 };

counters! {
    pub(super) struct ClosedCounters {
        ports_forgotten => "inventory.closed.port_forgotten",
        addresses_forgotten => "inventory.closed.address_forgotten",
    }
}

#[derive(Debug)]
pub(super) struct ClosedPorts {
    by_address: Records<(IpAddr, Segment), Address>,
    addresses_max: usize,
    pub counters: ClosedCounters,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Address {
    /// In order of transport and port.
    ports: Vec<(Transport, u16, Timestamp)>,
    last: Timestamp,
}

impl Address {
    /// Where a port is, or would be.
    fn find(&self, transport: Transport, port: u16) -> Result<usize, usize> {
        self.ports.binary_search_by_key(&(transport, port), |(t, p, _)| (*t, *p))
    }
}

impl ClosedPorts {
    pub fn new() -> Self {
        let by_address = Records::new(&CLOSED);
        ClosedPorts { by_address, addresses_max: ADDRESSES_MAX, counters: ClosedCounters::default() }
    }

    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(ClosedPorts { by_address: Records::load(&CLOSED, store)?, ..ClosedPorts::new() })
    }

    /// Remembers that a port was closed.
    pub fn refused(&mut self, segment: Segment, ip: IpAddr, transport: Transport, port: u16, now: Timestamp) {
        let key = (ip, segment);
        if !self.by_address.contains(&key) {
            if self.by_address.len() >= self.addresses_max {
                self.forget_quarter();
            }
            self.by_address.put(key, Address::default());
        }
        let place = self.by_address.get(&key).map(|address| address.find(transport, port));
        match place {
            // A later refusal only moves the time: that may lag by a minute.
            Some(Ok(at)) => {
                let Some(address) = self.by_address.touch(&key) else { return };
                address.last = now;
                if let Some(known) = address.ports.get_mut(at) {
                    known.2 = now;
                }
            }
            Some(Err(_)) => {
                let Some(address) = self.by_address.change(&key) else { return };
                address.last = now;
                if address.ports.len() >= PORTS_MAX
                    && let Some((oldest, _)) = address.ports.iter().enumerate().min_by_key(|(_, port)| port.2)
                {
                    address.ports.remove(oldest);
                    self.counters.ports_forgotten += 1;
                }
                let at = address.find(transport, port).unwrap_or_else(|at| at);
                address.ports.insert(at, (transport, port, now));
            }
            None => {}
        }
    }

    pub fn closed_at(&self, segment: Segment, ip: IpAddr, transport: Transport, port: u16) -> Option<Timestamp> {
        let address = self.by_address.get(&(ip, segment))?;
        let at = address.find(transport, port).ok()?;
        address.ports.get(at).map(|(_, _, time)| *time)
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.by_address.save(batch, all);
    }

    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    fn forget_quarter(&mut self) {
        let mut by_age: Vec<_> = self.by_address.iter().map(|(key, address)| (address.last, *key)).collect();
        by_age.sort_unstable();
        for (_, key) in by_age.iter().take(self.addresses_max.div_ceil(4)) {
            self.by_address.remove(key);
            self.counters.addresses_forgotten += 1;
        }
    }
}

/// Does this refusal say that the port is closed, rather than that the host or the way to it is not there?
pub(super) fn says_closed(by: RefusedBy, ip: IpAddr) -> bool {
    match (by, ip) {
        (RefusedBy::Reset, _) => true,
        // Port unreachable: RFC 792 code 3, RFC 4443 code 4.
        (RefusedBy::Unreachable(code), IpAddr::V4(_)) => code == 3,
        (RefusedBy::Unreachable(code), IpAddr::V6(_)) => code == 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Segment = Segment::UNTAGGED;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn second(s: u64) -> Timestamp {
        Timestamp::from_parts(s, 0)
    }

    #[test]
    fn the_last_refusal_is_remembered() {
        let mut closed = ClosedPorts::new();
        closed.refused(HERE, ip(1), Transport::Tcp, 22, second(5));
        closed.refused(HERE, ip(1), Transport::Tcp, 22, second(9));
        assert_eq!(closed.closed_at(HERE, ip(1), Transport::Tcp, 22), Some(second(9)));
        assert_eq!(closed.closed_at(HERE, ip(1), Transport::Udp, 22), None);
        assert_eq!(closed.closed_at(HERE, ip(2), Transport::Tcp, 22), None);
    }

    #[test]
    fn a_scan_of_every_port_of_one_host_leaves_the_others_alone() {
        let mut closed = ClosedPorts::new();
        closed.refused(HERE, ip(1), Transport::Tcp, 22, second(1));
        for port in 0..=u16::MAX {
            closed.refused(HERE, ip(2), Transport::Tcp, port, second(2));
        }
        assert_eq!(closed.closed_at(HERE, ip(1), Transport::Tcp, 22), Some(second(1)));
        assert_eq!(closed.closed_at(HERE, ip(2), Transport::Tcp, u16::MAX), Some(second(2)));
        assert_eq!(closed.closed_at(HERE, ip(2), Transport::Tcp, 0), None);
        assert_eq!(closed.counters.ports_forgotten, 65_536 - PORTS_MAX as u64);
    }

    #[test]
    fn the_addresses_refused_longest_ago_make_room() {
        let mut closed = ClosedPorts { addresses_max: 4, ..ClosedPorts::new() };
        for last in 1..=5 {
            closed.refused(HERE, ip(last), Transport::Tcp, 22, second(u64::from(last)));
        }
        assert_eq!(closed.closed_at(HERE, ip(1), Transport::Tcp, 22), None);
        assert_eq!(closed.closed_at(HERE, ip(2), Transport::Tcp, 22), Some(second(2)));
        assert_eq!((closed.len(), closed.counters.addresses_forgotten), (4, 1));
    }

    #[test]
    fn only_port_unreachable_says_closed() {
        assert!(says_closed(RefusedBy::Reset, ip(1)));
        assert!(says_closed(RefusedBy::Unreachable(3), ip(1)));
        assert!(!says_closed(RefusedBy::Unreachable(1), ip(1)));
        assert!(says_closed(RefusedBy::Unreachable(4), "fd00::1".parse().unwrap()));
    }
}
