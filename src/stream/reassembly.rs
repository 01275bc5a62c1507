//! Reassembly of one TCP connection.
//!
//! Bound: [`HELD_BYTES_MAX`] bytes held back, each piece charged with [`PIECE_OVERHEAD`] so that tiny ones are not
//! free, and the shard's budget. At the bound the lowest hole becomes a gap and what lay behind it is delivered.
//! Sequence numbers are compared as signed distances, so the stream may wrap.

use super::{Budget, HELD_BYTES_MAX, HOLE_S_MAX, StreamCounters};
use crate::model::{Side, Timestamp};

/// Charge for a piece besides its bytes: its entry and the allocator's.
const PIECE_OVERHEAD: usize = 64;

/// No segment is longer (it is an IP packet's payload), but distances must stay comparable whatever is passed in.
const LEN_MAX: u32 = 1 << 20;

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

impl Held {
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
    /// When the lowest hole was first seen.
    since: Timestamp,
}

/// Both directions of one connection.
#[derive(Debug, Default)]
pub struct Reassembly {
    orig: Direction,
    resp: Direction,
    cost: usize,
}

impl<'a> TcpSegment<'a> {
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
fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

impl Reassembly {
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
        let mut part = segment.until(LEN_MAX);
        let next = *self.direction(side).next.get_or_insert(part.seq);
        let behind = ahead(next, part.seq);
        if behind > 0 {
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
            let distance = ahead(part.seq, next);
            if distance <= 0 {
                // Jumped or delivered up to here; after a jump part of it may lie behind.
                part = part.from(distance.unsigned_abs());
                let room = direction.held.first().map_or(part.len, |h| h.seq.wrapping_sub(part.seq));
                let now_due = part.until(room);
                direction.next = Some(next.wrapping_add(now_due.len));
                deliver(side, now_due, counters, sink);
                part = part.from(now_due.len);
                if part.len > 0 {
                    // What reaches into held bytes came second: compared, and only its own bytes kept.
                    part = self.beyond_first(side, part, counters);
                }
                self.drain(side, budget, counters, sink);
            } else if self.hold(side, part, now, budget, counters) {
                return;
            } else {
                let direction = self.direction(side);
                let lowest = direction
                    .held
                    .first()
                    .map_or(part.seq, |h| if ahead(h.seq, part.seq) < 0 { h.seq } else { part.seq });
                self.jump(side, lowest, budget, counters, sink);
            }
        }
    }

    /// The receiver of `side`'s bytes has acknowledged up to `ack`: holes before it will not be filled.
    pub fn acknowledged(
        &mut self,
        side: Side,
        ack: u32,
        budget: &mut Budget,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        while let Some(first) = self.direction(side).held.first().map(|h| h.seq) {
            if ahead(ack, first) < 0 {
                return;
            }
            counters.gaps_acked += 1;
            self.jump(side, first, budget, counters, sink);
        }
    }

    /// Packet time has reached `now`: holes older than [`HOLE_S_MAX`] are given up.
    pub fn tick(
        &mut self,
        now: Timestamp,
        budget: &mut Budget,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        for side in [Side::Orig, Side::Resp] {
            let direction = self.direction(side);
            let Some(first) = direction.held.first().map(|h| h.seq) else { continue };
            if direction.since.plus_s(HOLE_S_MAX) <= now {
                direction.since = now;
                counters.gaps_aged += 1;
                self.jump(side, first, budget, counters, sink);
            }
        }
    }

    /// Frees what is held back.
    pub fn discard(&mut self, budget: &mut Budget, counters: &mut StreamCounters) {
        for side in [Side::Orig, Side::Resp] {
            let held = std::mem::take(&mut self.direction(side).held);
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

    /// The rest of a part that begins where the first held piece begins: what lies beyond that piece.
    fn beyond_first<'a>(&mut self, side: Side, part: TcpSegment<'a>, counters: &mut StreamCounters) -> TcpSegment<'a> {
        match self.direction(side).held.first() {
            Some(first) => {
                compare(part.bytes, &first.bytes, counters);
                part.from(first.len)
            }
            None => part,
        }
    }

    /// Keeps the bytes of a part that are not held yet. False, and nothing kept, where there is no room.
    fn hold(
        &mut self,
        side: Side,
        mut part: TcpSegment<'_>,
        now: Timestamp,
        budget: &mut Budget,
        counters: &mut StreamCounters,
    ) -> bool {
        // Enough for the part in one piece. Filling several holes makes more pieces, at most one more than are held.
        let worst = part.bytes.len() + PIECE_OVERHEAD;
        if self.cost + worst > HELD_BYTES_MAX {
            counters.gaps_flow_full += 1;
            return false;
        }
        if budget.used + worst > budget.max {
            counters.gaps_shard_full += 1;
            return false;
        }
        counters.out_of_order += 1;
        let mut added = 0;
        let direction = self.direction(side);
        if direction.held.is_empty() {
            direction.since = now;
        }
        let mut at = direction.held.partition_point(|h| ahead(h.seq.wrapping_add(h.len), part.seq) <= 0);
        while part.len > 0 {
            let own = match direction.held.get(at) {
                Some(held) if ahead(held.seq, part.seq) <= 0 => {
                    counters.overlaps += 1;
                    let inside = part.seq.wrapping_sub(held.seq);
                    compare(part.bytes, held.bytes.get(inside as usize..).unwrap_or_default(), counters);
                    part = part.from(held.len - inside);
                    at += 1;
                    continue;
                }
                Some(held) => part.until(held.seq.wrapping_sub(part.seq)),
                None => part,
            };
            let piece = Held { seq: own.seq, len: own.len, bytes: own.bytes.into() };
            added += piece.cost();
            direction.held.insert(at, piece);
            part = part.from(own.len);
            at += 1;
        }
        self.cost += added;
        budget.used += added;
        true
    }

    /// Gives up the bytes before `to`, then delivers what is in order.
    fn jump(
        &mut self,
        side: Side,
        to: u32,
        budget: &mut Budget,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        let direction = self.direction(side);
        if let Some(missing) = direction.next.and_then(|next| u32::try_from(ahead(to, next)).ok()).filter(|m| *m > 0) {
            direction.next = Some(to);
            counters.gap_bytes += u64::from(missing);
            sink(side, Piece::Gap(missing));
        }
        self.drain(side, budget, counters, sink);
    }

    fn drain(
        &mut self,
        side: Side,
        budget: &mut Budget,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        let direction = match side {
            Side::Orig => &mut self.orig,
            Side::Resp => &mut self.resp,
        };
        let Some(mut next) = direction.next else { return };
        let ready = direction
            .held
            .iter()
            .scan(next, |at, held| {
                let fits = held.seq == *at;
                *at = held.seq.wrapping_add(held.len);
                fits.then_some(())
            })
            .count();
        for held in direction.held.drain(..ready) {
            next = held.seq.wrapping_add(held.len);
            self.cost = self.cost.saturating_sub(held.cost());
            budget.give_back(held.cost());
            deliver(side, TcpSegment { seq: held.seq, len: held.len, bytes: &held.bytes }, counters, sink);
        }
        direction.next = Some(next);
    }
}

/// Counts bytes at the same place that differ.
fn compare(late: &[u8], held: &[u8], counters: &mut StreamCounters) {
    counters.conflicts += u64::from(late.iter().zip(held).any(|(a, b)| a != b));
}

/// Hands on what was captured of a part, and a gap for what was not.
fn deliver(side: Side, part: TcpSegment<'_>, counters: &mut StreamCounters, sink: &mut impl FnMut(Side, Piece<'_>)) {
    if !part.bytes.is_empty() {
        sink(side, Piece::Data(part.bytes));
    }
    let missing = part.len.saturating_sub(part.bytes.len() as u32);
    if missing > 0 {
        counters.gaps_cut += 1;
        counters.gap_bytes += u64::from(missing);
        sink(side, Piece::Gap(missing));
    }
}

#[cfg(test)]
mod tests;
