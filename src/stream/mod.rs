//! TCP streams: the bytes of each direction in order, or an explicit gap where bytes are missing.
//!
//! Where the receiver's acknowledgements are seen, bytes are handed on once it has acknowledged them, as Suricata does:
//! a segment that it never got (its TTL too low, its checksum wrong) can then be replaced by the one that it did get.
//! Held back are at most [`HELD_BYTES_MAX`] a flow, and what the shard's [`Budget`] gives; at either bound bytes in
//! order are handed on at once, and the oldest hole is given up: its bytes become a gap. Where two copies of a byte
//! differ the receiver's system decides which counts, and the difference is told: no benign sender makes one.
//!
//! What the receiver's application would not read is left out: a segment that is older by its timestamp than what the
//! receiver has (RFC 7323 section 5), unless it turns out to be the only one that can have been acknowledged; and the
//! byte that an urgent pointer names, where it is read apart.

mod policy;
mod reassembly;

pub use reassembly::{Piece, Reassembly, TcpSegment};

use crate::counters;

/// Most bytes held back for one flow (both directions), bookkeeping included: a receive window of usual size.
pub const HELD_BYTES_MAX: usize = 64 * 1024;
/// A hole that no segment has filled for this long stays one; a retransmission comes within 1 s (RFC 6298 section 2.1).
/// Bytes in order wait no longer for their acknowledgement, and connections are watched as long for a second copy.
pub const HOLE_S_MAX: i64 = 2;

/// Bytes that all flows of one shard may hold back.
#[derive(Debug)]
pub struct Budget {
    used: usize,
    max: usize,
}

impl Budget {
    pub fn new(max: usize) -> Self {
        Budget { used: 0, max }
    }

    pub fn used(&self) -> usize {
        self.used
    }

    fn give_back(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }
}

counters! {
    pub struct StreamCounters {
        out_of_order => "stream.out_of_order",
        retransmitted => "stream.retransmitted",
        overlaps => "stream.overlap",
        /// Overlapping bytes that differ: an attempt to show us other bytes than the receiver.
        conflicts => "stream.overlap_conflict",
        /// Bytes in order that could not wait for their acknowledgement: no room, or none came.
        unacknowledged => "stream.unacknowledged",
        /// Segments that the receiver discards by their timestamp.
        stale => "stream.stale",
        /// Of those, pieces that were taken all the same: acknowledged, and nothing else can have been meant.
        stale_believed => "stream.stale.acknowledged",
        /// Bytes that applications do not read in their place.
        urgent => "stream.urgent",
        gaps_acked => "stream.gap.acknowledged",
        gaps_aged => "stream.gap.aged",
        gaps_flow_full => "stream.gap.flow_full",
        gaps_shard_full => "stream.gap.shard_full",
        gaps_cut => "stream.gap.frame_cut",
        gap_bytes => "stream.gap.bytes",
        /// Held back when the flow ended or nobody listened any longer.
        discarded_bytes => "stream.discard.bytes",
        /// Segments further ahead than any window reaches: forged, or of another connection.
        out_of_window => "stream.discard.out_of_window",
        /// Of what was discarded by its timestamp, what there was no room to keep until it is acknowledged.
        stale_refused => "stream.discard.stale",
        /// Urgent pointers that more recent ones displaced before their byte came.
        urgent_forgotten => "stream.discard.urgent_pointer",
    }
}
