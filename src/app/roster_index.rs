//! Which protocols may begin with a byte: who is asked about a new stream or a datagram.
//!
//! Made once, from the roster itself: of streams by asking every protocol about every first byte, of datagrams (of
//! which a byte alone is none) by [`Protocol::datagram_begins`]. At most [`ROSTER_MAX`] protocols, held when compiled.

use std::sync::LazyLock;

use super::{Opening, Probe, Protocol, ROSTER};
use crate::model::{Side, Transport};

/// Bits of a [`Set`].
const ROSTER_MAX: usize = 128;
const _: () = assert!(ROSTER.len() <= ROSTER_MAX, "a set of protocols is a u128");

/// Ports by which a protocol of the roster tells itself from its sister: LLMNR's, and any other.
const PORTS_ASKED: [u16; 2] = [0, 5355];

/// A set of protocols of the roster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(u128);

impl Set {
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn and(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }

    pub(super) fn without(self, i: usize) -> Set {
        Set(self.0 & !(1 << i))
    }

    /// Its protocols and their places in the roster, in the roster's order.
    pub(super) fn protocols(self) -> impl Iterator<Item = (usize, &'static dyn Protocol)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let i = usize::try_from(rest.trailing_zeros()).ok()?;
            rest &= rest.wrapping_sub(1);
            ROSTER.get(i).map(|p| (i, *p))
        })
    }

    /// Those of the roster for which it holds.
    fn of(holds: impl Fn(&dyn Protocol) -> bool) -> Set {
        Set(ROSTER.iter().enumerate().filter(|(_, p)| holds(**p)).fold(0, |set, (i, _)| set | 1 << i))
    }
}

pub(super) struct Index {
    tcp: Set,
    udp: Set,
    sctp: Set,
    /// By first byte; of streams one for either side, and again for those picked up in mid-connection.
    streams: [[Set; 256]; 4],
    datagrams: [Set; 256],
}

/// The index of the roster.
pub(super) fn index() -> &'static Index {
    static INDEX: LazyLock<Index> = LazyLock::new(Index::new);
    &INDEX
}

impl Index {
    fn new() -> Self {
        let tcp = |p: &dyn Protocol| p.runs_over(Transport::Tcp);
        let udp = |p: &dyn Protocol| p.runs_over(Transport::Udp);
        let bytes = |may: &dyn Fn(u8) -> Set| std::array::from_fn(|byte| may(u8::try_from(byte).unwrap_or_default()));
        let stream = |side, midstream| bytes(&|byte| Set::of(|p| tcp(p) && stream_begins(p, side, midstream, byte)));
        Index {
            tcp: Set::of(tcp),
            udp: Set::of(udp),
            sctp: Set::of(|p| p.runs_over(Transport::Sctp)),
            streams: [
                stream(Side::Orig, false),
                stream(Side::Resp, false),
                stream(Side::Orig, true),
                stream(Side::Resp, true),
            ],
            datagrams: bytes(&|byte| Set::of(|p| udp(p) && p.datagram_begins(byte))),
        }
    }

    /// All that run over a transport.
    pub(super) fn over(&self, transport: Transport) -> Set {
        match transport {
            Transport::Tcp => self.tcp,
            Transport::Udp => self.udp,
            Transport::Sctp => self.sctp,
            _ => Set::default(),
        }
    }

    /// Those that the first bytes of a stream may belong to, sent by the side that speaks first.
    pub(super) fn stream(&self, side: Side, midstream: bool, bytes: &[u8]) -> Set {
        let table = self.streams.get(side as usize + 2 * usize::from(midstream));
        table.zip(bytes.first()).and_then(|(table, first)| table.get(usize::from(*first))).copied().unwrap_or_default()
    }

    /// Those that a datagram may belong to.
    pub(super) fn datagram(&self, bytes: &[u8]) -> Set {
        bytes.first().and_then(|first| self.datagrams.get(usize::from(*first))).copied().unwrap_or_default()
    }
}

/// What is `NotForUs` after its first byte stays so.
fn stream_begins(protocol: &dyn Protocol, side: Side, midstream: bool, byte: u8) -> bool {
    let said = [byte];
    let (orig, resp): (&[u8], &[u8]) = if side == Side::Orig { (&said, &[]) } else { (&[], &said) };
    PORTS_ASKED.iter().any(|port| {
        let opening = Opening {
            transport: Transport::Tcp,
            orig,
            resp,
            orig_port: 0,
            resp_port: *port,
            midstream,
            first: side,
            before: Default::default(),
        };
        protocol.probe(&opening) != Probe::NotForUs
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(set: Set) -> Vec<&'static str> {
        set.protocols().map(|(_, p)| p.name()).collect()
    }

    #[test]
    fn a_first_byte_leaves_few_to_ask() {
        assert!(names(index().stream(Side::Orig, false, b"SSH-2.0-Go\r\n")).contains(&"ssh"));
        assert!(!names(index().stream(Side::Orig, false, b"SSH-2.0-Go\r\n")).contains(&"tls"));
        assert_eq!(names(index().over(Transport::Sctp)), ["diameter"]);
        assert_eq!(names(index().over(Transport::Icmp)), [""; 0]);
        // The mean over all first bytes is what a connection of unknown content costs.
        let asked: usize = (0..=255u8).map(|byte| names(index().stream(Side::Orig, false, &[byte])).len()).sum();
        assert!(asked <= 13 * 256, "{asked}");
    }

    #[test]
    fn protocols_that_go_by_their_port_are_indexed_for_it() {
        // A name query over TCP begins with its length.
        assert!(names(index().stream(Side::Orig, false, &[0])).contains(&"dns"));
        assert!(names(index().stream(Side::Orig, false, &[0])).contains(&"llmnr"));
    }

    #[test]
    fn a_datagram_is_shown_to_those_that_begin_so() {
        let asked = names(index().datagram(b"<34>Oct 11 22:14:15 web-03 su: x"));
        assert!(asked.contains(&"syslog") && !asked.contains(&"snmp") && !asked.contains(&"quic"), "{asked:?}");
    }
}
