//! Fan-in of connections that began before the capture: who is used by several remotes is the server.
//!
//! At most [`ENDS_MAX`] ends; at the bound the one noticed longest ago is forgotten and counted.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::counters;
use crate::model::{Segment, Timestamp, Transport};

/// Distinct remote endpoints that prove a server in mid-connection (detection.md 3.3, T1).
pub(super) const REMOTES: usize = 3;
const ENDS_MAX: usize = 16_384;
/// Remotes of different days prove nothing together: a client may reuse a port.
const WINDOW_S: f64 = 86_400.0;

counters! {
    pub(super) struct FanInCounters {
        forgotten => "inventory.midstream_end.forgotten",
    }
}

type End = (IpAddr, u16, Transport, Segment);

#[derive(Debug, Default)]
pub(super) struct FanIn {
    ends: BTreeMap<End, (Vec<(IpAddr, u16)>, Timestamp)>,
    order: VecDeque<End>,
    pub counters: FanInCounters,
}

impl FanIn {
    /// Adds a remote; true once there are [`REMOTES`] of them.
    pub fn add(&mut self, end: End, remote: (IpAddr, u16), now: Timestamp) -> bool {
        if !self.ends.contains_key(&end) {
            if self.order.len() >= ENDS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.ends.remove(&oldest);
                self.counters.forgotten += 1;
            }
            self.order.push_back(end);
        }
        let (remotes, since) = self.ends.entry(end).or_insert_with(|| (Vec::new(), now));
        if now.since_s(*since) > WINDOW_S {
            remotes.clear();
            *since = now;
        }
        if remotes.len() < REMOTES && !remotes.contains(&remote) {
            remotes.push(remote);
        }
        remotes.len() >= REMOTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(port: u16) -> End {
        (IpAddr::from([10, 0, 0, 1]), port, Transport::Tcp, Segment::UNTAGGED)
    }

    fn add(fan_in: &mut FanIn, remote_port: u16, at_s: u64) -> bool {
        fan_in.add(end(80), (IpAddr::from([10, 0, 0, 2]), remote_port), Timestamp::from_parts(at_s, 0))
    }

    #[test]
    fn the_third_remote_proves_a_server_and_the_same_one_again_does_not() {
        let mut fan_in = FanIn::default();
        let proved: Vec<bool> = [1, 2, 2, 1, 3].into_iter().map(|port| add(&mut fan_in, port, 1)).collect();
        assert_eq!(proved, [false, false, false, false, true]);
    }

    #[test]
    fn remotes_of_different_days_do_not_add_up() {
        let mut fan_in = FanIn::default();
        assert!(!add(&mut fan_in, 1, 1) && !add(&mut fan_in, 2, 1));
        assert!(!add(&mut fan_in, 3, 90_000));
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut fan_in = FanIn::default();
        for port in 0..20_000 {
            fan_in.add(end(port), (IpAddr::from([10, 0, 0, 2]), 1), Timestamp::ZERO);
        }
        assert_eq!((fan_in.ends.len(), fan_in.order.len()), (ENDS_MAX, ENDS_MAX));
    }
}
