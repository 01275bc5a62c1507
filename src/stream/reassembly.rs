//! Reassembly of one TCP connection.
//!
//! Bound: [`HELD_BYTES_MAX`] bytes held back, each piece charged with [`PIECE_OVERHEAD`] so that tiny ones are not
//! free, and the shard's budget; besides, the last [`TAIL_BYTES`] delivered of each direction. At the bound the lowest
//! hole becomes a gap and what lay behind it is delivered. Sequence numbers are compared as signed distances, so the
//! stream may wrap. What a whole segment says besides its bytes is read in `packet.rs`, `stale.rs` and `urgent.rs`.

use super::policy::later_segment_counts;
use super::{Budget, HELD_BYTES_MAX, HOLE_S_MAX, StreamCounters};
use crate::decode::{HostOs, Urgent};
use crate::model::{Side, Timestamp};

mod packet;
mod stale;
mod urgent;

use stale::Recent;

/// Charge for a piece besides its bytes: its entry and the allocator's.
const PIECE_OVERHEAD: usize = 64;

/// The largest window that TCP can offer (RFC 7323 section 2.3). Nothing further ahead is kept, so that of any two
/// pieces it is certain which comes first.
const WINDOW_MAX: i32 = 1 << 30;

/// No segment is longer (it is an IP packet's payload), but distances must stay comparable whatever is passed in.
const LEN_MAX: u32 = 1 << 20;

/// Delivered bytes that a later copy is compared with: a forged answer that won the race is short or ends otherwise.
const TAIL_BYTES: usize = 128;

/// Charge for a connection that is only watched: its tails and their bookkeeping.
const WATCH_COST: usize = 2 * TAIL_BYTES + 4 * PIECE_OVERHEAD;

/// What comes out, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Data(&'a [u8]),
    /// So many bytes are missing here.
    Gap(u32),
}

/// The payload of one segment, or a part of it.
#[derive(Clone, Copy, Debug)]
pub struct TcpSegment<'a> {
    /// Sequence number of its first byte.
    pub seq: u32,
    /// Length on the wire.
    pub len: u32,
    /// What was captured of it.
    pub bytes: &'a [u8],
}

#[derive(Debug)]
struct Held {
    seq: u32,
    /// Length on the wire; more than `bytes` where the frame was cut.
    len: u32,
    bytes: Box<[u8]>,
}

impl From<TcpSegment<'_>> for Held {
    fn from(segment: TcpSegment<'_>) -> Self {
        Held { seq: segment.seq, len: segment.len, bytes: segment.bytes.into() }
    }
}

impl Held {
    fn segment(&self) -> TcpSegment<'_> {
        TcpSegment { seq: self.seq, len: self.len, bytes: &self.bytes }
    }

    fn cost(&self) -> usize {
        self.bytes.len() + PIECE_OVERHEAD
    }
}

#[derive(Debug, Default)]
struct Direction {
    /// Sequence number of the next byte to deliver.
    next: Option<u32>,
    /// Sorted, without overlaps, all beyond `next`.
    held: Vec<Held>,
    /// When something was last delivered, or first held.
    since: Timestamp,
    /// Highest acknowledgement of this side's bytes; `None` while none is seen, and nothing waits for one.
    acked: Option<u32>,
    /// The last bytes delivered: they end at `next`.
    tail: Vec<u8>,
    /// The receiver's.
    os: HostOs,
    /// The receiver's newest timestamp; `None` while nothing is judged by it.
    recent: Option<Recent>,
    /// Segments older than that, in order of arrival, and when the first of them came.
    stale: Vec<Held>,
    stale_since: Timestamp,
    /// Bytes to come, or held, that are read apart.
    urgent: Vec<u32>,
    inline: bool,
}

/// Both directions of one connection.
#[derive(Debug, Default)]
pub struct Reassembly {
    orig: Direction,
    resp: Direction,
    cost: usize,
    now: Timestamp,
    /// The ends agreed on timestamps.
    stamped: bool,
    conflict: Conflict,
}

/// Two copies of some bytes that differ.
#[derive(Debug, Default)]
enum Conflict {
    #[default]
    None,
    /// Of this side's bytes.
    Seen(Side),
    Told,
}

impl<'a> TcpSegment<'a> {
    /// One past its last byte.
    fn end(self) -> u32 {
        self.seq.wrapping_add(self.len)
    }

    /// The part of it from `first` to before `last`, unless there is none.
    fn part(self, first: u32, last: u32) -> Option<TcpSegment<'a>> {
        let from = u32::try_from(ahead(first, self.seq)).unwrap_or(0);
        let to = u32::try_from(ahead(last, self.seq)).unwrap_or(0).min(self.len);
        (from < to).then(|| self.until(to).from(from))
    }

    /// Do bytes at the same place differ, as far as both were captured?
    fn differs(self, other: TcpSegment<'_>) -> bool {
        match (self.part(other.seq, other.end()), other.part(self.seq, self.end())) {
            (Some(own), Some(others)) => own.bytes.iter().zip(others.bytes).any(|(a, b)| a != b),
            _ => false,
        }
    }

    /// The part from `offset` on.
    fn from(self, offset: u32) -> TcpSegment<'a> {
        let offset = offset.min(self.len);
        TcpSegment {
            seq: self.seq.wrapping_add(offset),
            len: self.len - offset,
            bytes: self.bytes.get(offset as usize..).unwrap_or_default(),
        }
    }

    /// The first `len` bytes.
    fn until(self, len: u32) -> TcpSegment<'a> {
        let len = len.min(self.len);
        TcpSegment { seq: self.seq, len, bytes: self.bytes.get(..len as usize).unwrap_or(self.bytes) }
    }
}

/// Signed distance from `b` to `a`.
pub(super) fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

impl Direction {
    /// Has the receiver acknowledged up to `end`, as far as it can be seen?
    fn accepts(&self, end: u32) -> bool {
        self.acked.is_none_or(|acked| ahead(acked, end) >= 0)
    }

    /// Delivered bytes that a second copy can be compared with.
    fn delivered(&self) -> Option<TcpSegment<'_>> {
        let len = self.tail.len() as u32;
        self.next.map(|next| TcpSegment { seq: next.wrapping_sub(len), len, bytes: &self.tail })
    }

    /// Is it another copy, with other bytes, of what was delivered?
    fn contradicts(&self, segment: TcpSegment<'_>) -> bool {
        // A keep-alive repeats the last byte as it likes (RFC 9293 section 3.8.4).
        let keep_alive = segment.len == 1 && self.next == Some(segment.end());
        !keep_alive && self.delivered().is_some_and(|delivered| delivered.differs(segment))
    }

    /// Hands on what was captured of a part, and a gap for what was not.
    fn deliver(
        &mut self,
        side: Side,
        part: TcpSegment<'_>,
        now: Timestamp,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        self.next = Some(part.end());
        self.since = now;
        if !part.bytes.is_empty() {
            let new = part.bytes.get(part.bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
            let old = (self.tail.len() + new.len()).saturating_sub(TAIL_BYTES);
            self.tail.drain(..old);
            self.tail.extend_from_slice(new);
            self.hand_on(side, part, counters, sink);
        }
        let missing = part.len.saturating_sub(part.bytes.len() as u32);
        if missing > 0 {
            counters.gaps_cut += 1;
            self.miss(side, missing, counters, sink);
        }
    }

    fn miss(
        &mut self,
        side: Side,
        missing: u32,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        self.tail.clear();
        counters.gap_bytes += u64::from(missing);
        sink(side, Piece::Gap(missing));
    }
}

impl Reassembly {
    /// Between hosts of these systems.
    pub fn new(orig: HostOs, resp: HostOs, urgent: Urgent) -> Self {
        let mut reassembly = Reassembly::default();
        (reassembly.orig.inline, reassembly.resp.inline) = (urgent == Urgent::Inline, urgent == Urgent::Inline);
        // Of the bytes of `orig` it is `resp` that decides, and the other way round.
        (reassembly.orig.os, reassembly.resp.os) = (resp, orig);
        reassembly
    }

    /// The next byte of this side has this sequence number. Without it the first segment begins the stream.
    pub fn begin(&mut self, side: Side, next: u32) {
        self.direction(side).next.get_or_insert(next);
    }

    /// Is something held back?
    pub fn holds(&self) -> bool {
        self.cost > 0
    }

    /// Takes one segment and hands on what is in order.
    pub fn segment(
        &mut self,
        side: Side,
        segment: TcpSegment<'_>,
        now: Timestamp,
        budget: &mut Budget,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        self.now = now;
        let mut part = segment.until(LEN_MAX);
        let next = *self.direction(side).next.get_or_insert(part.seq);
        let behind = ahead(next, part.seq);
        if behind < -WINDOW_MAX {
            counters.out_of_window += 1;
            return;
        }
        if behind > 0 {
            self.watch(side, part, counters);
            if behind.unsigned_abs() >= part.len {
                counters.retransmitted += 1;
                return;
            }
            counters.overlaps += 1;
            part = part.from(behind.unsigned_abs());
        }
        while part.len > 0 {
            let direction = self.direction(side);
            let next = direction.next.unwrap_or(part.seq);
            // After a jump part of it may lie behind.
            part = part.from(u32::try_from(ahead(next, part.seq)).unwrap_or(0));
            let in_order = part.seq == next;
            let apart = direction.held.first().is_none_or(|first| ahead(first.seq, part.end()) >= 0);
            let due = in_order && apart && direction.accepts(part.end());
            // Enough for the part in one piece. Filling several holes makes more, at most one more than are held.
            let worst = part.bytes.len() + PIECE_OVERHEAD;
            let flow_full = self.cost + worst > HELD_BYTES_MAX;
            if !due && !flow_full && budget.used + worst <= budget.max {
                self.hold(side, part, budget, counters);
                return self.drain(side, false, budget, counters, sink);
            }
            let direction = self.direction(side);
            let first = direction.held.first().map(|first| first.seq);
            if in_order {
                counters.unacknowledged += u64::from(!due);
                let room = first.map_or(part.len, |first| first.wrapping_sub(part.seq));
                direction.deliver(side, part.until(room), now, counters, sink);
                part = part.from(room);
                self.drain(side, !due, budget, counters, sink);
            } else {
                let lowest = first.filter(|first| ahead(*first, part.seq) < 0).unwrap_or(part.seq);
                match (lowest == next, flow_full) {
                    (true, _) => counters.unacknowledged += 1,
                    (false, true) => counters.gaps_flow_full += 1,
                    (false, false) => counters.gaps_shard_full += 1,
                }
                self.jump(side, lowest, budget, counters, sink);
            }
        }
    }

    /// The receiver of `side`'s bytes has acknowledged up to `ack`: they are delivered, and holes before it will not be
    /// filled.
    pub fn acknowledged(
        &mut self,
        side: Side,
        ack: u32,
        now: Timestamp,
        budget: &mut Budget,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        self.now = now;
        let direction = self.direction(side);
        if direction.acked.is_none_or(|acked| ahead(ack, acked) > 0) {
            direction.acked = Some(ack);
        }
        self.believe(side, budget, counters);
        loop {
            self.drain(side, false, budget, counters, sink);
            let direction = self.direction(side);
            let Some(first) = direction.held.first().map(|first| first.seq) else { return };
            if direction.next == Some(first) || ahead(ack, first) < 0 {
                return;
            }
            counters.gaps_acked += 1;
            self.skip(side, first, counters, sink);
            if self.direction(side).next != Some(first) {
                return;
            }
        }
    }

    /// Packet time has reached `now`: what has waited for [`HOLE_S_MAX`] waits no longer.
    pub fn tick(
        &mut self,
        now: Timestamp,
        budget: &mut Budget,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        self.now = now;
        for side in [Side::Orig, Side::Resp] {
            self.forget_aged(side, budget);
            let direction = self.direction(side);
            let Some(first) = direction.held.first().map(|h| h.seq) else { continue };
            if direction.since.plus_s(HOLE_S_MAX) <= now {
                if direction.next == Some(first) {
                    // The mirror has lost sight of the receiver: nothing waits for it until it is seen again.
                    (direction.acked, direction.recent) = (None, None);
                    counters.unacknowledged += 1;
                } else {
                    counters.gaps_aged += 1;
                }
                self.jump(side, first, budget, counters, sink);
            }
        }
    }

    /// Nothing more will come: what is held is handed on, its holes as gaps.
    pub fn finish(
        &mut self,
        budget: &mut Budget,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        for side in [Side::Orig, Side::Resp] {
            while let Some(first) = self.direction(side).held.first().map(|held| held.seq) {
                match self.direction(side).next == Some(first) {
                    true => counters.unacknowledged += 1,
                    false => counters.gaps_aged += 1,
                }
                self.jump(side, first, budget, counters, sink);
                if self.direction(side).held.first().map(|held| held.seq) == Some(first) {
                    break;
                }
            }
        }
    }

    /// Compares a segment with what was delivered.
    pub fn watch(&mut self, side: Side, segment: TcpSegment<'_>, counters: &mut StreamCounters) {
        if self.direction(side).contradicts(segment.until(LEN_MAX)) {
            self.conflict(side, counters);
        }
    }

    /// From here on it is only watched. False where there is nothing to compare with, or no room to keep it.
    pub fn only_watch(&mut self, now: Timestamp, budget: &mut Budget, counters: &mut StreamCounters) -> bool {
        self.discard(budget, counters);
        let known = !(self.orig.tail.is_empty() && self.resp.tail.is_empty());
        if !known || matches!(self.conflict, Conflict::Told) || budget.used + WATCH_COST > budget.max {
            return false;
        }
        self.now = now;
        self.cost = WATCH_COST;
        budget.used += WATCH_COST;
        true
    }

    /// Has it been watched for long enough?
    pub fn watched(&self, now: Timestamp) -> bool {
        self.now.plus_s(HOLE_S_MAX) <= now
    }

    /// Whose bytes came in two copies that differ: told once.
    pub fn take_conflict(&mut self) -> Option<Side> {
        let Conflict::Seen(side) = self.conflict else { return None };
        self.conflict = Conflict::Told;
        Some(side)
    }

    /// Frees what is held back.
    pub fn discard(&mut self, budget: &mut Budget, counters: &mut StreamCounters) {
        for side in [Side::Orig, Side::Resp] {
            let direction = self.direction(side);
            direction.stale = Vec::new();
            let held = std::mem::take(&mut direction.held);
            counters.discarded_bytes += held.iter().map(|h| h.bytes.len() as u64).sum::<u64>();
        }
        budget.give_back(std::mem::take(&mut self.cost));
    }

    fn direction(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Orig => &mut self.orig,
            Side::Resp => &mut self.resp,
        }
    }

    fn conflict(&mut self, side: Side, counters: &mut StreamCounters) {
        counters.conflicts += 1;
        if matches!(self.conflict, Conflict::None) {
            self.conflict = Conflict::Seen(side);
        }
    }

    /// Keeps a part until it is in order and acknowledged; where it overlaps others, of either what counts.
    fn hold(&mut self, side: Side, part: TcpSegment<'_>, budget: &mut Budget, counters: &mut StreamCounters) {
        let now = self.now;
        let direction = self.direction(side);
        if direction.held.is_empty() {
            direction.since = now;
        }
        let follows = direction.held.last().map(|last| last.segment().end()).or(direction.next);
        counters.out_of_order += u64::from(direction.next != Some(part.seq) && follows != Some(part.seq));
        let held = &mut direction.held;
        let from = held.partition_point(|h| ahead(h.segment().end(), part.seq) <= 0);
        let to = held.partition_point(|h| ahead(h.seq, part.end()) < 0);
        // Never more, as long as all that is held lies within one window.
        if from >= to {
            let piece = Held::from(part);
            let added = piece.cost();
            held.insert(from, piece);
            self.cost += added;
            budget.used += added;
            return;
        }
        counters.overlaps += 1;
        let os = direction.os;
        let touched: Vec<Held> = held.drain(from..to).collect();
        let differs = touched.iter().any(|h| part.differs(h.segment()));
        let before: usize = touched.iter().map(Held::cost).sum();
        let merged = merge(touched, part, os);
        let after: usize = merged.iter().map(Held::cost).sum();
        held.splice(from..from, merged);
        self.cost = (self.cost + after).saturating_sub(before);
        budget.used = (budget.used + after).saturating_sub(before);
        if differs {
            self.conflict(side, counters);
        }
    }

    /// Gives up the bytes before `to`, then delivers what is in order, acknowledged or not.
    fn jump(
        &mut self,
        side: Side,
        to: u32,
        budget: &mut Budget,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        self.skip(side, to, counters, sink);
        self.drain(side, true, budget, counters, sink);
    }

    /// Gives up the bytes before `to`.
    fn skip(&mut self, side: Side, to: u32, counters: &mut StreamCounters, sink: &mut impl FnMut(Side, Piece<'_>)) {
        let direction = self.direction(side);
        if let Some(missing) = direction.next.and_then(|next| u32::try_from(ahead(to, next)).ok()).filter(|m| *m > 0) {
            direction.next = Some(to);
            direction.miss(side, missing, counters, sink);
        }
    }

    /// Delivers what is in order and acknowledged, or `all` that is in order.
    fn drain(
        &mut self,
        side: Side,
        all: bool,
        budget: &mut Budget,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        let now = self.now;
        let direction = match side {
            Side::Orig => &mut self.orig,
            Side::Resp => &mut self.resp,
        };
        let Some(next) = direction.next else { return };
        let mut end = next;
        let due = |held: &&Held| {
            let fits = held.seq == end && (all || direction.accepts(held.segment().end()));
            end = held.segment().end();
            fits
        };
        let ready = direction.held.iter().take_while(due).count();
        if ready == 0 {
            return;
        }
        // Out of the direction while it delivers, and back: its allocation stays.
        let mut held = std::mem::take(&mut direction.held);
        for piece in held.drain(..ready) {
            self.cost = self.cost.saturating_sub(piece.cost());
            budget.give_back(piece.cost());
            direction.deliver(side, piece.segment(), now, counters, sink);
        }
        direction.held = held;
    }
}

/// What counts of `later` and of the pieces that it touches, in order.
fn merge(touched: Vec<Held>, later: TcpSegment<'_>, os: HostOs) -> Vec<Held> {
    let mut merged = Vec::with_capacity(touched.len() + 2);
    let mut at = later.seq;
    let mut rest = None;
    for held in touched {
        let earlier = held.segment();
        let end = earlier.end();
        if later_segment_counts(os, (later.seq, later.end()), (earlier.seq, end)) {
            merged.extend(earlier.part(earlier.seq, later.seq).map(Held::from));
            rest = earlier.part(later.end(), end).map(Held::from);
        } else {
            merged.extend(later.part(at, earlier.seq).map(Held::from));
            merged.push(held);
            at = end;
        }
    }
    merged.extend(later.part(at, later.end()).map(Held::from));
    merged.extend(rest);
    merged
}

#[cfg(test)]
mod tests;
