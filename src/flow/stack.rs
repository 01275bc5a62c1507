//! Which family of TCP/IP stacks answers at an endpoint, by its SYN-ACKs: the order in which it writes the options that
//! the client asked for, and the power of two that its TTL began at, as p0f compares them. Window, MSS and scale are
//! left out: they differ by path, by load and by version.
//!
//! An answer is told once for each family and endpoint, when two connections have shown it: one odd SYN-ACK is no
//! stack. [`SLOTS`] endpoints by hash, each in the place of another that hashes to the same; who comes back is told anew.

use std::net::IpAddr;

use crate::decode::Tcp;
use crate::model::{Segment, Stack, stable_hash};

/// Of 24 bytes; 64 shards have some 130,000.
const SLOTS: usize = 2_048;
const CONNECTIONS: u8 = 2;

const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;

/// The family, where the client asked for what tells them apart: window scale and selective acknowledgements. Linux
/// writes the second first, the others the first.
pub fn stack_of(tcp: &Tcp<'_>, ttl: u8) -> Option<Stack> {
    let (mut options, mut scale_at, mut sack_at) = (tcp.options, None, None);
    for place in 0u8..40 {
        options = match options {
            [] | [0, ..] => break,
            [1, rest @ ..] => rest,
            [kind, length, ..] => {
                match *kind {
                    WINDOW_SCALE => scale_at = scale_at.or(Some(place)),
                    SACK_PERMITTED => sack_at = sack_at.or(Some(place)),
                    _ => {}
                }
                // At least kind and length themselves (RFC 9293 section 3.1).
                options.get(usize::from(*length).max(2)..)?
            }
            _ => break,
        };
    }
    let (scale_at, sack_at) = (scale_at?, sack_at?);
    Some(match ttl {
        129.. => Stack::Device,
        _ if sack_at < scale_at => Stack::Linux,
        65.. => Stack::Windows,
        _ => Stack::Bsd,
    })
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// Of the endpoint; 0 where there is none.
    key: u64,
    /// The connection that was counted last: a SYN-ACK that was sent again is the same.
    last: u64,
    /// Connections, and whether it was told, by family.
    seen: [u8; 4],
}

/// What the endpoints of one shard have shown.
#[derive(Default)]
pub struct Stacks {
    slots: Vec<Slot>,
    /// Endpoints that took the place of another.
    pub displaced: u64,
}

impl Stacks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the SYN-ACK of a connection (named by its first frame); true where its family is to be told now.
    pub fn shows(&mut self, segment: Segment, (ip, port): (IpAddr, u16), connection: u64, stack: Stack) -> bool {
        let address = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let mut layers = [0u8; 5 * Segment::DEPTH_MAX];
        for (into, layer) in layers.chunks_mut(5).zip(segment.layers()) {
            let [d, c, b, a] = layer.id.to_be_bytes();
            into.copy_from_slice(&[layer.kind as u8, d, c, b, a]);
        }
        let key = stable_hash(&[&layers, &address, &port.to_be_bytes()]).max(1);
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, Slot::default());
        }
        let Some(slot) = self.slots.get_mut(key as usize % SLOTS) else { return false };
        if slot.key != key {
            self.displaced += u64::from(slot.key != 0);
            *slot = Slot { key, ..Slot::default() };
        }
        if slot.last == connection {
            return false;
        }
        slot.last = connection;
        let Some(seen) = slot.seen.get_mut(stack as usize) else { return false };
        let told = *seen >= CONNECTIONS;
        *seen = seen.saturating_add(1).min(CONNECTIONS);
        !told && *seen == CONNECTIONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::TcpFlags;

    fn of(ttl: u8, options: &[u8]) -> Option<Stack> {
        let tcp = Tcp {
            src_port: 80,
            dst_port: 1,
            seq: 0,
            ack: 1,
            flags: TcpFlags(0x12),
            window: 64_240,
            urgent: 0,
            options,
            payload: &[],
            payload_len: 0,
        };
        stack_of(&tcp, ttl)
    }

    /// mss, sok, ts, nop, ws.
    const LINUX: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1, 1, 3, 3, 7];
    /// mss, nop, ws, nop, nop, sok.
    const WINDOWS: [u8; 12] = [2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];

    #[test]
    fn families_are_told_by_the_order_of_options_and_the_ttl_behind_some_routers() {
        assert_eq!(of(64, &LINUX), Some(Stack::Linux));
        assert_eq!(of(61, &LINUX), Some(Stack::Linux), "three routers on");
        assert_eq!(of(128, &WINDOWS), Some(Stack::Windows));
        assert_eq!(of(64, &WINDOWS), Some(Stack::Bsd));
        assert_eq!(of(255, &WINDOWS), Some(Stack::Device));
    }

    #[test]
    fn another_mss_another_scale_and_no_timestamps_are_the_same_family() {
        let mut other = LINUX;
        (other[2], other[3], other[19]) = (0x21, 0x04, 9);
        assert_eq!(of(64, &other), Some(Stack::Linux));
        assert_eq!(of(64, &[2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7]), Some(Stack::Linux));
    }

    #[test]
    fn what_the_client_did_not_ask_for_tells_nothing() {
        assert_eq!(of(64, &[2, 4, 5, 0xb4]), None);
        assert_eq!(of(64, &[2, 4, 5, 0xb4, 1, 1, 4, 2]), None);
        assert_eq!(of(64, &[]), None);
    }

    #[test]
    fn hostile_options_end() {
        for options in [&[3][..], &[3, 0, 4, 0], &[8, 255, 1], &[2, 1, 2, 1], &[1; 60], &[3, 1, 4, 1, 3, 1]] {
            let _ = of(64, options);
        }
    }

    #[test]
    fn two_connections_tell_a_stack_once_and_a_repetition_tells_nothing() {
        let mut stacks = Stacks::new();
        let mut shows =
            |connection, stack| stacks.shows(Segment::UNTAGGED, (IpAddr::from([10, 0, 0, 1]), 80), connection, stack);
        assert!(!shows(1, Stack::Linux) && !shows(1, Stack::Linux));
        assert!(shows(2, Stack::Linux) && !shows(3, Stack::Linux));
        assert!(!shows(4, Stack::Windows) && !shows(5, Stack::Linux));
        assert!(shows(6, Stack::Windows) && !shows(7, Stack::Windows) && !shows(8, Stack::Linux));
    }

    #[test]
    fn endpoints_are_bounded_and_one_that_was_displaced_is_told_anew() {
        let mut stacks = Stacks::new();
        for connection in 0..2 {
            for port in 0..10_000 {
                stacks.shows(Segment::UNTAGGED, (IpAddr::from([10, 0, 0, 1]), port), connection + 1, Stack::Linux);
            }
        }
        assert!(stacks.displaced > 10_000 && stacks.slots.len() == SLOTS);
    }
}
