//! One flow: who, since when, how much, in what state. About 200 bytes, what it remembers (`S`) included.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::tcp::Handshake;
use super::wheel::Lane;
use super::{Head, Timeouts};
use crate::decode::Datagram;
use crate::model::{
    Endpoint, FlowEnd, FlowKey, FlowRef, FlowTotals, Mac, Mark, MirrorPath, Opening, Segment, Side, Timestamp,
    Transport, stable_hash,
};

/// One value for each direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Both<T> {
    pub orig: T,
    pub resp: T,
}

impl<T> Both<T> {
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Orig => &self.orig,
            Side::Resp => &self.resp,
        }
    }

    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Orig => &mut self.orig,
            Side::Resp => &mut self.resp,
        }
    }

    pub fn flip(&mut self) {
        std::mem::swap(&mut self.orig, &mut self.resp);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The slot is not in use.
    Free,
    /// SYN or INIT, unanswered.
    Opening,
    /// SYN-ACK or INIT-ACK came.
    Accepted,
    Established,
    HalfClosed,
    Finished,
    Reset,
    /// Datagrams without a reply.
    Asking,
    /// Datagrams, and a reply.
    Answered,
}

/// Which timeout applies; a change of it re-arms the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    HalfOpen,
    OneWay,
    Established,
    HalfClosed,
    Closed,
    Unanswered,
    Datagram,
    Icmp,
}

impl Class {
    pub fn timeout_s(self, timeouts: &Timeouts) -> i64 {
        i64::from(match self {
            Class::HalfOpen => timeouts.half_open_s,
            Class::OneWay => timeouts.one_way_s,
            Class::Established => timeouts.established_s,
            Class::HalfClosed => timeouts.half_closed_s,
            Class::Closed => timeouts.closed_s,
            Class::Unanswered => timeouts.datagram_unanswered_s,
            Class::Datagram => timeouts.datagram_s,
            Class::Icmp => timeouts.icmp_s,
        })
    }

    pub fn lane(self) -> Lane {
        match self {
            Class::Established | Class::HalfClosed | Class::Datagram => Lane::Settled,
            _ => Lane::Tentative,
        }
    }
}

/// Running totals are told at most this often.
pub(super) const PROGRESS_S: i64 = 60;

/// How the packets of a flow came here.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    hints: Both<Hint>,
    /// As the flow's own, by who sent it.
    missed: Both<u32>,
    /// At least one packet was a sample: what is missing proves nothing.
    sampled: bool,
}

/// Where the latest packet of a direction was mirrored, and what it asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Hint {
    host: Option<IpAddr>,
    path: MirrorPath,
    mark: Mark,
}

pub struct Flow<S> {
    pub(super) key: FlowKey,
    pub(super) packets: Both<u64>,
    bytes: Both<u64>,
    first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    pub(super) first_frame: u64,
    /// Boxed: only flows of a mirror that comes through a tunnel, by a second source, or by samples, have it, and those
    /// whose packets ask for more than best effort.
    way: Option<Box<Way>>,
    macs: Both<Mac>,
    pub(super) tcp: Handshake,
    /// Bytes stepped over and not seen since; stops at 4 GiB.
    pub(super) missed: u32,
    /// Minutes after `first_seen` that were told, rounded up; stops after 45 days.
    reported_min: u16,
    /// Counts the connections that followed each other on one key; wraps, the first frame tells them apart anyway.
    pub(super) generation: u8,
    pub(super) state: State,
    opening: Opening,
    pub(super) orig_is_low: bool,
    /// `Answer` was told.
    pub(super) answered: bool,
    pub(super) refused: bool,
    /// TCP and SCTP: who sent payload. `ServerData` was told when the responder did.
    pub(super) sent_data: Both<bool>,
    pub(super) last_by: Side,
    /// Packets came since the totals were told.
    pub(super) changed: bool,
    /// What the owner of the table remembers of it.
    pub memory: S,
}

impl<S> Flow<S> {
    pub(super) fn new(key: FlowKey, head: &Head, opening: Opening, orig_is_low: bool, memory: S) -> Self {
        Flow {
            key,
            packets: Both::default(),
            bytes: Both::default(),
            first_seen: head.time,
            last_seen: head.time,
            first_frame: head.frame,
            way: None,
            macs: Both::default(),
            tcp: Handshake::default(),
            missed: 0,
            reported_min: 0,
            generation: 0,
            state: match opening {
                Opening::Syn | Opening::SynAck => State::Opening,
                Opening::Midstream => State::Established,
                Opening::Datagram => State::Asking,
            },
            opening,
            orig_is_low,
            answered: false,
            refused: false,
            sent_data: Both::default(),
            last_by: Side::Orig,
            changed: false,
            memory,
        }
    }

    pub fn transport(&self) -> Transport {
        self.key.transport
    }

    pub fn segment(&self) -> Segment {
        self.key.segment
    }

    pub fn opening(&self) -> Opening {
        self.opening
    }

    /// The frame that began it: with its slot, names the flow while it lives.
    pub fn first_frame(&self) -> u64 {
        self.first_frame
    }

    /// Address and port of one side.
    pub fn end(&self, side: Side) -> (IpAddr, u16) {
        if (side == Side::Orig) == self.orig_is_low { self.key.low } else { self.key.high }
    }

    /// Sequence number of this side's next byte, as far as the packets so far tell it (TCP).
    pub fn next_seq(&self, side: Side) -> Option<u32> {
        self.tcp.next(side)
    }

    pub fn reference(&self) -> FlowRef {
        let endpoint = |side| {
            let (ip, port) = self.end(side);
            let hint = self.way.as_ref().map(|way| *way.hints.of(side)).unwrap_or_default();
            Endpoint {
                ip,
                port,
                mac: Some(*self.macs.of(side)).filter(|m| *m != Mac::ZERO),
                host_hint: hint.host,
                path: hint.path,
            }
        };
        FlowRef {
            id: self.id(),
            segment: self.key.segment,
            transport: self.key.transport,
            orig: endpoint(Side::Orig),
            resp: endpoint(Side::Resp),
            first_seen: self.first_seen,
            first_frame: self.first_frame,
        }
    }

    pub fn totals(&self) -> FlowTotals {
        FlowTotals {
            orig_packets: self.packets.orig,
            resp_packets: self.packets.resp,
            orig_bytes: self.bytes.orig,
            resp_bytes: self.bytes.resp,
            last_seen: self.last_seen,
            missed_bytes: if self.sampled() { 0 } else { u64::from(self.missed) },
            missed_of_orig: self.way.as_ref().filter(|way| !way.sampled).map_or(0, |way| u64::from(way.missed.orig)),
            one_way: self.is_one_way(),
            orig_mark: self.way.as_ref().map(|way| way.hints.orig.mark).unwrap_or_default(),
            resp_mark: self.way.as_ref().map(|way| way.hints.resp.mark).unwrap_or_default(),
        }
    }

    /// In mid-connection (or answered before its SYN), and one direction was never seen.
    pub(super) fn is_one_way(&self) -> bool {
        let unheard = !self.sampled() && (self.packets.orig == 0 || self.packets.resp == 0);
        unheard && matches!(self.opening, Opening::Midstream | Opening::SynAck)
    }

    /// Is what was not seen of it no loss?
    pub(super) fn sampled(&self) -> bool {
        self.way.as_ref().is_some_and(|way| way.sampled)
    }

    /// Turns the flow round: `orig` becomes `resp`. The id stays.
    pub(super) fn flip(&mut self) {
        self.orig_is_low = !self.orig_is_low;
        self.packets.flip();
        self.bytes.flip();
        self.macs.flip();
        self.sent_data.flip();
        self.tcp.flip();
        if let Some(way) = self.way.as_mut() {
            way.hints.flip();
            way.missed.flip();
        }
        self.last_by = self.last_by.other();
    }

    /// Counts what was not seen: of this side's own bytes, of the other's, and what came late of this one's.
    pub(super) fn miss(&mut self, side: Side, own: u32, other: u32, late: u32) {
        self.missed = self.missed.saturating_add(own).saturating_add(other).saturating_sub(late);
        if let Some(way) = self.way.as_mut() {
            let mine = way.missed.of_mut(side);
            *mine = mine.saturating_add(own).saturating_sub(late);
            let theirs = way.missed.of_mut(side.other());
            *theirs = theirs.saturating_add(other);
        }
    }

    /// Adds one packet to the totals.
    pub(super) fn count(&mut self, side: Side, head: &Head, datagram: &Datagram<'_>) {
        *self.packets.of_mut(side) += 1;
        if head.taken.sampled() {
            self.way.get_or_insert_default().sampled = true;
        } else {
            *self.bytes.of_mut(side) += u64::from(datagram.ip_len);
        }
        self.last_seen = head.time;
        self.last_by = side;
        self.changed = true;
        let mac = self.macs.of_mut(side);
        if *mac == Mac::ZERO {
            *mac = head.src_mac.filter(|m| m.is_unicast()).unwrap_or_default();
        }
        // The latest hint is the right one: a VM that moves takes its connections along.
        let mark = Mark::read(datagram.tos, head.taken.pcp());
        let asks = mark != Mark::default();
        if self.way.is_some() || head.host_hint.is_some() || head.path != MirrorPath::default() || asks {
            let hints = &mut self.way.get_or_insert_default().hints;
            *hints.of_mut(side) = Hint { host: head.host_hint, path: head.path, mark };
        }
    }

    /// The timeout that the present state asks for.
    pub(super) fn classify(&self) -> Class {
        let icmp = matches!(self.key.transport, Transport::Icmp | Transport::Icmp6);
        match self.state {
            State::Free | State::Finished | State::Reset => Class::Closed,
            State::Opening | State::Accepted => Class::HalfOpen,
            State::Established | State::HalfClosed if self.packets.orig == 0 || self.packets.resp == 0 => Class::OneWay,
            State::Established => Class::Established,
            State::HalfClosed => Class::HalfClosed,
            State::Asking | State::Answered if icmp => Class::Icmp,
            State::Asking => Class::Unanswered,
            State::Answered => Class::Datagram,
        }
    }

    /// How it ended, when it ends now.
    pub(super) fn ending(&self) -> FlowEnd {
        match self.state {
            State::Finished => FlowEnd::Finished,
            State::Reset => FlowEnd::Reset,
            _ => FlowEnd::Timeout,
        }
    }

    /// Is it time to tell the totals? Remembers that they were told.
    pub(super) fn progress_due(&mut self, now: Timestamp) -> bool {
        let age_s = now.since_ns(self.first_seen) / 1_000_000_000;
        let due = self.changed && age_s >= (i64::from(self.reported_min) + 1) * PROGRESS_S;
        if due {
            self.reported_min = u16::try_from((age_s + PROGRESS_S - 1) / PROGRESS_S).unwrap_or(u16::MAX - 1);
            self.changed = false;
        }
        due
    }

    /// 53 bits, so that JSON readers that keep numbers as doubles do not round it; never 0.
    fn id(&self) -> u64 {
        let mut segment = ArrayVec::<u8, { 5 * Segment::DEPTH_MAX }>::new();
        for layer in self.key.segment.layers() {
            segment.extend([layer.kind as u8].into_iter().chain(layer.id.to_be_bytes()));
        }
        let address = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let hash = stable_hash(&[
            &segment,
            &[self.key.transport.number()],
            &address(self.key.low.0),
            &self.key.low.1.to_be_bytes(),
            &address(self.key.high.0),
            &self.key.high.1.to_be_bytes(),
            &self.first_frame.to_be_bytes(),
            &[self.generation],
        ]);
        (hash & ((1 << 53) - 1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wheel::Wheel;
    use super::*;

    #[test]
    fn a_flow_costs_about_two_hundred_bytes() {
        // Two words of memory, as the shard's is; link and index entry (4 bytes and a control byte, at most 7/8 full).
        assert_eq!(size_of::<Flow<[usize; 2]>>(), 200);
        let bytes = size_of::<Flow<[usize; 2]>>() + Wheel::LINK_BYTES + 6;
        println!("bytes per flow: {bytes}");
        assert!(bytes <= 220, "{bytes}");
    }
}
