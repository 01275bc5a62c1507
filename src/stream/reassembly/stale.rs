//! Segments that their receiver discards because their timestamp is older than what it has (PAWS, RFC 7323 section 5):
//! with one, bytes could be shown to us that the receiver never takes.
//!
//! What the receiver has is told by itself, in the timestamps that it echoes, and between two of these by the segments
//! that it must have taken (section 4.3). Only of connections whose SYN-ACK agreed on timestamps; resets are exempt.
//! A mirror may show segments in another order than they came, so a stale one is kept: if it is acknowledged and no other
//! copy was seen, it is taken after all. At most [`STALE_MAX`] are kept of a direction, for [`HOLE_S_MAX`] seconds and as
//! far as there is room in what a flow may hold back; what is not is counted.

use super::{Budget, StreamCounters, TcpSegment};
use super::{Direction, HELD_BYTES_MAX, HOLE_S_MAX, Held, LEN_MAX, PIECE_OVERHEAD, Reassembly, WINDOW_MAX, ahead};
use crate::model::{Side, Timestamp};

/// A burst that was shown late as a whole is about a window of ten segments (RFC 6928).
pub(super) const STALE_MAX: usize = 10;

/// A timestamp says nothing after so long a silence (RFC 7323 section 5.5): 24 days.
const OUTDATED_S: f64 = 24.0 * 86_400.0;

/// `TS.Recent` of a receiver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    value: u32,
    at: Timestamp,
}

impl Direction {
    /// Would the receiver discard a segment with this timestamp?
    pub(super) fn is_stale(&self, value: u32, now: Timestamp) -> bool {
        // Linux lets pass what is one older (TCP_PAWS_WINDOW). Zero is what some hosts send before they have a clock.
        let slack = i32::from(self.os.is_linux());
        self.recent.is_some_and(|recent| {
            recent.value != 0 && ahead(recent.value, value) > slack && now.since_s(recent.at) <= OUTDATED_S
        })
    }

    /// The receiver takes a segment with this timestamp: what is in order becomes its newest.
    pub(super) fn stamp(&mut self, value: u32, seq: u32, now: Timestamp) {
        let Some(recent) = self.recent else { return };
        let in_order = self.acked.is_some_and(|acked| ahead(acked, seq) >= 0);
        if in_order && (ahead(value, recent.value) >= 0 || now.since_s(recent.at) > OUTDATED_S) {
            self.recent = Some(Recent { value, at: now });
        }
    }

    /// The receiver says which timestamp it has.
    pub(super) fn has_stamp(&mut self, value: u32, now: Timestamp) {
        self.recent = Some(Recent { value, at: now });
    }
}

impl Reassembly {
    /// Keeps a segment that its receiver discards, as far as we know, until its acknowledgement says otherwise.
    pub(super) fn doubt(
        &mut self,
        side: Side,
        segment: TcpSegment<'_>,
        budget: &mut Budget,
        counters: &mut StreamCounters,
    ) {
        counters.stale += 1;
        let now = self.now;
        let mut part = segment.until(LEN_MAX);
        self.watch(side, part, counters);
        let direction = self.direction(side);
        let differs = [&direction.held, &direction.stale].into_iter().flatten().any(|h| h.segment().differs(part));
        let next = direction.next.unwrap_or(part.seq);
        part = part.from(u32::try_from(ahead(next, part.seq)).unwrap_or(0));
        let full = direction.stale.len() >= STALE_MAX;
        if differs {
            self.conflict(side, counters);
        }
        // Half of all numbers ahead is as far behind.
        if part.len == 0 || !(0..=WINDOW_MAX).contains(&ahead(part.seq, next)) {
            return;
        }
        let cost = part.bytes.len() + PIECE_OVERHEAD;
        if full || self.cost + cost > HELD_BYTES_MAX || budget.used + cost > budget.max {
            counters.stale_refused += 1;
            return;
        }
        self.cost += cost;
        budget.used += cost;
        let direction = self.direction(side);
        if direction.stale.is_empty() {
            direction.stale_since = now;
        }
        direction.stale.push(Held::from(part));
    }

    /// Compares a segment with the stale ones at its place: of two copies one may be there to mislead.
    pub(super) fn compare_stale(&mut self, side: Side, segment: TcpSegment<'_>, counters: &mut StreamCounters) {
        if self.direction(side).stale.iter().any(|h| h.segment().differs(segment)) {
            self.conflict(side, counters);
        }
    }

    /// Takes the stale bytes that were acknowledged and of which there is no other copy.
    pub(super) fn believe(&mut self, side: Side, budget: &mut Budget, counters: &mut StreamCounters) {
        let now = self.now;
        let direction = self.direction(side);
        let (Some(next), Some(acked)) = (direction.next, direction.acked) else { return };
        if direction.stale.is_empty() {
            return;
        }
        let (due, rest): (Vec<Held>, Vec<Held>) = std::mem::take(&mut direction.stale)
            .into_iter()
            .partition(|piece| ahead(acked, piece.segment().end()) >= 0);
        direction.stale = rest;
        for piece in due {
            self.cost = self.cost.saturating_sub(piece.cost());
            budget.give_back(piece.cost());
            let direction = self.direction(side);
            for hole in holes(&direction.held, piece.segment(), next) {
                let cost = hole.cost();
                if self.cost + cost > HELD_BYTES_MAX || budget.used + cost > budget.max {
                    counters.stale_refused += 1;
                    continue;
                }
                counters.stale_believed += 1;
                self.cost += cost;
                budget.used += cost;
                let direction = self.direction(side);
                if direction.held.is_empty() {
                    direction.since = now;
                }
                let place = direction.held.partition_point(|h| ahead(h.seq, hole.seq) < 0);
                direction.held.insert(place, hole);
            }
        }
    }

    /// Frees the stale bytes whose place was taken by others.
    pub(super) fn forget_passed(&mut self, side: Side, budget: &mut Budget) {
        let direction = self.direction(side);
        let Some(next) = direction.next else { return };
        self.free_stale(side, budget, |piece| ahead(piece.segment().end(), next) > 0);
    }

    /// Frees the stale bytes that were not acknowledged in time.
    pub(super) fn forget_aged(&mut self, side: Side, budget: &mut Budget) {
        let now = self.now;
        if self.direction(side).stale_since.plus_s(HOLE_S_MAX) <= now {
            self.free_stale(side, budget, |_| false);
        }
    }

    fn free_stale(&mut self, side: Side, budget: &mut Budget, keeps: impl Fn(&Held) -> bool) {
        let direction = self.direction(side);
        if direction.stale.is_empty() {
            return;
        }
        let mut freed = 0;
        direction.stale.retain(|piece| {
            let kept = keeps(piece);
            freed += if kept { 0 } else { piece.cost() };
            kept
        });
        self.cost = self.cost.saturating_sub(freed);
        budget.give_back(freed);
    }
}

/// The parts of a segment, from `next` on, that nothing held covers.
fn holes(held: &[Held], segment: TcpSegment<'_>, next: u32) -> Vec<Held> {
    let mut holes = Vec::new();
    let mut at = next;
    for other in held.iter().map(Held::segment) {
        if ahead(other.seq, segment.end()) >= 0 {
            break;
        }
        if ahead(other.end(), at) > 0 {
            holes.extend(segment.part(at, other.seq).map(Held::from));
            at = other.end();
        }
    }
    holes.extend(segment.part(at, segment.end()).map(Held::from));
    holes
}
