//! Which protocols may begin with a byte: who is asked about a new stream or a datagram.
//!
//! Made once, from the roster itself: of streams by asking every protocol about every first byte, of datagrams (of
//! which a byte alone is none) by [`Protocol::datagram_begins`]. At most [`ROSTER_MAX`] protocols, held when compiled.

use std::sync::LazyLock;

use super::{Opening, Probe, Protocol, ROSTER};
use crate::model::{Side, Transport};

/// Words of a [`Set`]: as large as what a flow keeps of a recognised protocol, so more would cost every flow memory.
const WORDS: usize = 4;
const WORD_BITS: usize = 64;
/// Bits of a [`Set`].
const ROSTER_MAX: usize = WORDS * WORD_BITS;
const _: () = assert!(ROSTER.len() <= ROSTER_MAX, "a set of protocols has a bit for each");

/// Ports by which a protocol of the roster tells itself from its sister: LLMNR's, and any other.
const PORTS_ASKED: [u16; 2] = [0, 5355];

/// A set of protocols of the roster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set([u64; WORDS]);

impl Set {
    pub(super) fn is_empty(self) -> bool {
        self.0 == [0; WORDS]
    }

    pub(super) fn and(self, other: Set) -> Set {
        let mut both = self;
        for (word, other) in both.0.iter_mut().zip(other.0) {
            *word &= other;
        }
        both
    }

    pub(super) fn without(self, i: usize) -> Set {
        let mut rest = self;
        if let Some(word) = rest.0.get_mut(i / WORD_BITS) {
            *word &= !(1 << (i % WORD_BITS));
        }
        rest
    }

    /// Its protocols and their places in the roster, in the roster's order.
    pub(super) fn protocols(self) -> impl Iterator<Item = (usize, &'static dyn Protocol)> {
        self.0.into_iter().zip((0..).step_by(WORD_BITS)).flat_map(|(mut rest, base)| {
            std::iter::from_fn(move || {
                let i = (rest != 0).then(|| usize::try_from(rest.trailing_zeros()).ok().map(|bit| base + bit))??;
                rest &= rest.wrapping_sub(1);
                ROSTER.get(i).map(|p| (i, *p))
            })
        })
    }

    fn with(mut self, i: usize) -> Set {
        if let Some(word) = self.0.get_mut(i / WORD_BITS) {
            *word |= 1 << (i % WORD_BITS);
        }
        self
    }

    /// Those of the roster for which it holds.
    fn of(holds: impl Fn(&dyn Protocol) -> bool) -> Set {
        ROSTER.iter().enumerate().filter(|(_, p)| holds(**p)).fold(Set::default(), |set, (i, _)| set.with(i))
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
    fn a_set_has_a_place_for_each_and_keeps_their_order() {
        let all = Set::of(|_| true);
        let places: Vec<usize> = all.protocols().map(|(i, _)| i).collect();
        assert_eq!(places, (0..ROSTER.len()).collect::<Vec<_>>());
        for i in [0, 63, 64, 127, ROSTER.len() - 1] {
            assert_eq!(all.without(i).protocols().count(), ROSTER.len() - 1);
            let one = Set::default().with(i);
            assert_eq!(one.and(all), one);
            assert!(one.and(all.without(i)).is_empty() && !one.is_empty());
        }
        assert_eq!(Set::default().with(ROSTER_MAX), Set::default());
        // Beyond its places there is no protocol to find.
        assert_eq!(Set([u64::MAX; WORDS]).protocols().count(), ROSTER.len());
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
