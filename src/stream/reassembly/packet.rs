//! One TCP segment as it was captured: acknowledgement, timestamps, urgent pointer and bytes, in the order in which its
//! receiver looks at them.
//!
//! Nothing is kept here: bounds are those of what it calls.

use super::{Budget, Piece, Reassembly, StreamCounters, TcpSegment};
use crate::decode::Tcp;
use crate::model::{Side, Timestamp};

impl Reassembly {
    /// Takes a segment of `side` that lies in its receiver's window, and hands on what is in order now.
    pub fn packet(
        &mut self,
        side: Side,
        tcp: &Tcp<'_>,
        now: Timestamp,
        budget: &mut Budget,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        self.now = now;
        let syn = tcp.flags.syn();
        let seq = tcp.seq.wrapping_add(u32::from(syn));
        let segment = TcpSegment { seq, len: tcp.payload_len, bytes: tcp.payload };
        let stamps = tcp.timestamps();
        if syn {
            self.begin(side, seq);
            if let (true, Some((value, echo))) = (tcp.flags.ack(), stamps) {
                // Only who was offered timestamps answers with one (RFC 7323 section 3.2): from here on both look.
                self.direction(side).has_stamp(value, now);
                self.direction(side.other()).has_stamp(echo, now);
                self.stamped = true;
            }
        }
        let stale = !syn && stamps.is_some_and(|(value, _)| self.direction(side).is_stale(value, now));
        if stale && !tcp.flags.rst() {
            if segment.len > 0 {
                self.doubt(side, segment, budget, counters);
                self.believe(side, budget, counters);
                self.drain(side, false, budget, counters, sink);
            }
            return;
        }
        // What it answers comes before it.
        if tcp.flags.ack() {
            self.acknowledged(side.other(), tcp.ack, now, budget, counters, sink);
            let newest = self.direction(side.other()).acked == Some(tcp.ack);
            if let (true, true, Some((_, echo))) = (self.stamped, newest, stamps) {
                self.direction(side.other()).has_stamp(echo, now);
            }
        }
        if let Some((value, _)) = stamps {
            self.direction(side).stamp(value, seq, now);
        }
        self.note_urgent(side, tcp, counters);
        if segment.len > 0 {
            self.compare_stale(side, segment, counters);
            self.segment(side, segment, now, budget, counters, sink);
        }
        for side in [Side::Orig, Side::Resp] {
            self.forget_passed(side, budget);
        }
    }
}
