//! TCP connection state as a passive observer can know it (RFC 9293; RFC 5961 for resets).
//!
//! Sequence numbers are believed only inside the window that the other side offered, so that a forged RST or FIN
//! does not end a connection here that lives on there. Two consecutive segments outside it are a hole of the mirror,
//! not a forgery: the third is believed. Fixed size; nothing to bound.

use super::FlowCounters;
use super::record::{Both, State};
use crate::decode::Tcp;
use crate::model::Side;

/// What one side has sent and acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// One past the highest sequence number sent.
    next: u32,
    /// Highest acknowledgement sent.
    ack: u32,
    /// As last sent, unscaled.
    window: u16,
    marks: u8,
    /// Window scale (RFC 7323) with its own "known" bit; consecutive segments out of window in the high nibble.
    scale: u8,
}

const SEEN: u8 = 1;
const ACKED: u8 = 2;
const FIN: u8 = 4;
const RST: u8 = 8;
const SCALE_KNOWN: u8 = 16;
/// `isn` is this side's, seen or acknowledged.
const ISN_KNOWN: u8 = 32;

/// RFC 7323 section 2.3; assumed where the SYN was not seen.
const SCALE_MAX: u8 = 14;
/// Smallest window believed in: mirrors reorder the two directions, so the last window seen may be stale.
const WINDOW_MIN: i32 = 65_535;
/// Consecutive segments out of window that are forgeries; one more is a hole of the mirror.
const STRIKES_MAX: u8 = 2;
/// Beyond this distance sequence numbers cannot be compared (RFC 7323 section 5.5).
const COMPARABLE: i32 = 1 << 30;
/// A SYN inside a connection that was silent for this long is a new connection whose predecessor's end was lost; one
/// that is not is a blind reset attempt (RFC 5961 section 4).
const SILENT_NS: i64 = 10_000_000_000;

impl Peer {
    fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    fn window(&self) -> i32 {
        let scale = if self.has(SCALE_KNOWN) { (self.scale & 0x0f).min(SCALE_MAX) } else { SCALE_MAX };
        (i32::from(self.window) << scale).max(WINDOW_MIN)
    }

    fn strikes(&self) -> u8 {
        self.scale >> 4
    }

    fn strike(&mut self, count: u8) {
        self.scale = self.scale & 0x0f | count << 4;
    }
}

/// Signed distance from `b` to `a`.
fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

/// Both sides of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Handshake {
    peers: Both<Peer>,
    /// Initial sequence number of `orig`, 0 where the opening was not seen.
    isn: u32,
}

/// What one segment meant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Verdict {
    /// The responder proved that it accepts.
    pub answered: bool,
    pub refused: bool,
    /// The payload lies where its receiver would take it.
    pub usable: bool,
    /// Bytes of its own side stepped over by this segment.
    pub missed: u32,
    /// Bytes of the other side that it acknowledges and that were never seen.
    pub unseen: u32,
    /// Payload bytes that had been stepped over, or sent, before.
    pub late: u32,
}

impl Handshake {
    pub(super) fn flip(&mut self) {
        self.peers.flip();
    }

    /// Is this the first segment of another connection on the same addresses and ports?
    pub(super) fn begins_another(&self, state: State, side: Side, tcp: &Tcp<'_>, silent_ns: i64) -> bool {
        if !tcp.flags.syn() || tcp.flags.rst() {
            return false;
        }
        let over = matches!(state, State::Finished | State::Reset);
        if tcp.flags.ack() {
            // The other side's acceptance proves that there is a new connection, unless it is the one we know.
            let known = self.acks_opening(side.other(), tcp.ack);
            !known && (over || matches!(state, State::Established | State::HalfClosed))
        } else {
            let repeated = side == Side::Orig && self.peers.orig.has(ISN_KNOWN) && tcp.seq == self.isn;
            !repeated && (over || state != State::Opening && silent_ns >= SILENT_NS)
        }
    }

    /// Reads one segment: the state after it, and what it meant.
    pub(super) fn segment(
        &mut self,
        state: State,
        side: Side,
        tcp: &Tcp<'_>,
        counters: &mut FlowCounters,
    ) -> (State, Verdict) {
        if tcp.flags.rst() {
            return self.reset(state, side, tcp, counters);
        }
        if tcp.flags.syn() {
            return self.syn(state, side, tcp, counters);
        }
        let mut verdict = Verdict::default();
        let base = self.awaited(side);
        let window = self.peers.of(side.other()).window();
        let me = self.peers.of_mut(side);
        let outside = base.is_some_and(|b| !(-window..=window).contains(&ahead(tcp.seq, b)));
        if outside && me.strikes() < STRIKES_MAX {
            me.strike(me.strikes() + 1);
            counters.out_of_window += 1;
            return (state, verdict);
        }
        me.strike(0);
        verdict.usable = true;

        let end = tcp.seq.wrapping_add(tcp.payload_len).wrapping_add(u32::from(tcp.flags.fin()));
        if me.has(SEEN) {
            verdict.missed = u32::try_from(ahead(tcp.seq, me.next)).unwrap_or(0);
            let forged_reset = state == State::Reset && me.has(RST) && tcp.payload_len > 0;
            if ahead(end, me.next) > 0 {
                me.next = end;
            } else if tcp.payload_len > 0 {
                verdict.late = tcp.payload_len;
                counters.retransmitted += 1;
            }
            if forged_reset && verdict.late == 0 {
                me.marks &= !RST;
                counters.reset_disowned += 1;
                return (State::Established, self.acknowledge(side, tcp, verdict));
            }
        } else {
            me.next = end;
            me.marks |= SEEN;
        }
        if tcp.flags.fin() {
            me.marks |= FIN;
        }
        let accepts = tcp.flags.ack() && self.acks_opening(side.other(), tcp.ack);
        let verdict = self.acknowledge(side, tcp, verdict);
        self.next_state(state, side, tcp, accepts, verdict)
    }

    fn next_state(
        &self,
        state: State,
        side: Side,
        tcp: &Tcp<'_>,
        accepts: bool,
        mut verdict: Verdict,
    ) -> (State, Verdict) {
        let state = match (state, side) {
            // The SYN-ACK was lost by the mirror, but its sender goes on as if it had been sent.
            (State::Opening, Side::Resp) if accepts => {
                verdict.answered = true;
                State::Established
            }
            (State::Opening | State::Accepted, Side::Orig) if tcp.flags.ack() => State::Established,
            (state, _) => state,
        };
        let finished = self.peers.orig.has(FIN) && self.peers.resp.has(FIN);
        let state = match state {
            State::Established | State::HalfClosed if finished => State::Finished,
            State::Established if tcp.flags.fin() => State::HalfClosed,
            state => state,
        };
        (state, verdict)
    }

    fn syn(&mut self, state: State, side: Side, tcp: &Tcp<'_>, counters: &mut FlowCounters) -> (State, Verdict) {
        let mut verdict = Verdict { usable: true, ..Verdict::default() };
        let ack = tcp.flags.ack();
        let first_of_all = !self.peers.orig.has(SEEN) && !self.peers.resp.has(SEEN);
        if ack && first_of_all {
            // SYN-ACK first: its sender is `resp`, and it tells the initial sequence number of `orig`.
            self.isn = tcp.ack.wrapping_sub(1);
            self.peers.orig.next = tcp.ack;
            self.peers.orig.marks |= ISN_KNOWN;
        }
        let known = ack && self.acks_opening(side.other(), tcp.ack);
        let takes = match (state, side) {
            (State::Opening, Side::Orig) => true,
            (State::Opening, Side::Resp) => !ack || known,
            // A forged RST may have come before the true answer.
            (State::Reset, Side::Resp) => known,
            // In mid-connection for us only: the mirror lost or delayed the handshake.
            (State::Established, Side::Resp) => known && !self.peers.resp.has(SEEN),
            _ => false,
        };
        if !takes {
            let counter = match (ack, side == Side::Orig && tcp.seq == self.isn) {
                (true, _) if known => &mut counters.syn_repeated,
                (true, _) => &mut counters.answer_mismatched,
                (false, true) => &mut counters.syn_repeated,
                (false, false) => &mut counters.syn_inside,
            };
            *counter += 1;
            return (state, Verdict::default());
        }
        let me = self.peers.of_mut(side);
        if me.has(SEEN) {
            counters.syn_repeated += 1;
        }
        me.next = tcp.seq.wrapping_add(1).wrapping_add(tcp.payload_len);
        me.marks |= SEEN;
        me.window = tcp.window;
        if let Some(scale) = window_scale(tcp.options) {
            me.scale = me.scale & 0xf0 | scale.min(SCALE_MAX);
        }
        me.marks |= SCALE_KNOWN;
        if side == Side::Orig && !ack {
            self.isn = tcp.seq;
            self.peers.orig.marks |= ISN_KNOWN;
        }
        if ack {
            verdict = self.acknowledge(side, tcp, verdict);
        }
        verdict.answered = ack && side == Side::Resp;
        let state = match state {
            State::Opening | State::Reset if verdict.answered => State::Accepted,
            state => state,
        };
        (state, verdict)
    }

    fn reset(&mut self, state: State, side: Side, tcp: &Tcp<'_>, counters: &mut FlowCounters) -> (State, Verdict) {
        let valid = if state == State::Opening && side == Side::Resp {
            // RFC 9293 section 3.10.7.3: in SYN-SENT only a reset that acknowledges the SYN counts.
            tcp.flags.ack() && self.acks_opening(Side::Orig, tcp.ack)
        } else {
            let window = self.peers.of(side.other()).window();
            let me = self.peers.of(side);
            self.awaited(side).is_none_or(|base| (0..=window).contains(&ahead(tcp.seq, base)))
                || (me.has(SEEN) && tcp.seq == me.next)
        };
        if !valid {
            counters.reset_out_of_window += 1;
            return (state, Verdict::default());
        }
        self.peers.of_mut(side).marks |= RST;
        let verdict = Verdict { refused: state == State::Opening && side == Side::Resp, ..Verdict::default() };
        (if state == State::Finished { State::Finished } else { State::Reset }, verdict)
    }

    /// Takes over acknowledgement and window; what is acknowledged but was not seen is missed.
    fn acknowledge(&mut self, side: Side, tcp: &Tcp<'_>, mut verdict: Verdict) -> Verdict {
        if !tcp.flags.ack() {
            return verdict;
        }
        let other = self.peers.of_mut(side.other());
        if other.has(SEEN) {
            let unseen = ahead(tcp.ack, other.next);
            if unseen > 0 && unseen < COMPARABLE {
                verdict.unseen = unseen.unsigned_abs();
                other.next = tcp.ack;
            }
        }
        let me = self.peers.of_mut(side);
        if !me.has(ACKED) || ahead(tcp.ack, me.ack) >= 0 {
            me.ack = tcp.ack;
            me.window = tcp.window;
            me.marks |= ACKED;
        }
        verdict
    }

    /// The sequence number that the receiver of `side`'s segments waits for, as far as anything tells it.
    fn awaited(&self, side: Side) -> Option<u32> {
        let (me, other) = (self.peers.of(side), self.peers.of(side.other()));
        if other.has(ACKED) { Some(other.ack) } else { me.has(SEEN).then_some(me.next) }
    }

    /// Does `ack` acknowledge the opening of `side` (its SYN, or SYN with data) and nothing it never sent?
    fn acks_opening(&self, side: Side, ack: u32) -> bool {
        let peer = self.peers.of(side);
        if side == Side::Orig && peer.has(ISN_KNOWN) {
            let sent = peer.next.wrapping_sub(self.isn);
            (1..=sent).contains(&ack.wrapping_sub(self.isn)) && sent <= COMPARABLE.unsigned_abs()
        } else {
            peer.has(SEEN) && ack == peer.next
        }
    }

    /// Sequence number of the next byte of `side`, where the handshake told it.
    pub(super) fn next(&self, side: Side) -> Option<u32> {
        let peer = self.peers.of(side);
        (peer.has(SEEN) || peer.has(ISN_KNOWN)).then_some(peer.next)
    }
}

/// The window scale option of a SYN (RFC 7323 section 2.2).
fn window_scale(mut options: &[u8]) -> Option<u8> {
    loop {
        options = match options {
            [3, 3, scale, ..] => return Some(*scale),
            [1, rest @ ..] => rest,
            [0, ..] | [] => return None,
            [_, length, ..] if *length >= 2 => options.get(usize::from(*length)..)?,
            _ => return None,
        };
    }
}
