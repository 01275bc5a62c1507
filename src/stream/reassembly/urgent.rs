//! The byte that an urgent pointer names: applications read it apart from the stream, unless they ask for it in line.
//!
//! At most [`POINTERS_MAX`] pointers of a direction wait for their byte; beyond that the oldest is displaced and counted.
//! Linux keeps one at a time, and hands on the former byte in line where its application had not come so far: when it
//! reads cannot be seen, so here each byte is left out.

use super::{Direction, Piece, Reassembly, StreamCounters, TcpSegment, ahead};
use crate::decode::Tcp;
use crate::model::Side;

/// Hosts keep one.
pub(super) const POINTERS_MAX: usize = 8;

impl Reassembly {
    /// Notes which byte this segment of `side` calls urgent: the one before the pointer, as all systems have it (RFC 6093
    /// section 3.1).
    pub(super) fn note_urgent(&mut self, side: Side, tcp: &Tcp<'_>, counters: &mut StreamCounters) {
        let direction = self.direction(side);
        if !tcp.flags.urg() || direction.inline {
            return;
        }
        let offset = match (tcp.urgent.checked_sub(1), direction.os.is_linux()) {
            // Linux believes a pointer to what is still to come, and takes one of zero for the segment's first byte.
            (offset, true) => offset.unwrap_or(0),
            // BSD takes out only what the segment itself holds.
            (Some(offset), false) if u32::from(offset) < tcp.payload_len + u32::from(tcp.flags.syn()) => offset,
            _ => return,
        };
        let at = tcp.seq.wrapping_add(u32::from(offset));
        let next = direction.next.unwrap_or(at);
        direction.urgent.retain(|earlier| ahead(*earlier, next) >= 0);
        if ahead(at, next) < 0 || direction.urgent.contains(&at) {
            return;
        }
        if direction.urgent.len() >= POINTERS_MAX {
            direction.urgent.remove(0);
            counters.urgent_forgotten += 1;
        }
        direction.urgent.push(at);
    }
}

impl Direction {
    /// Gives out what was captured of a part, without its urgent bytes.
    pub(super) fn hand_on(
        &mut self,
        side: Side,
        part: TcpSegment<'_>,
        counters: &mut StreamCounters,
        sink: &mut impl FnMut(Side, Piece<'_>),
    ) {
        let mut rest = part;
        while !self.urgent.is_empty() {
            let within = self.urgent.iter().map(|at| at.wrapping_sub(rest.seq)).filter(|offset| *offset < rest.len);
            let Some(offset) = within.min() else { break };
            let before = rest.until(offset).bytes;
            if !before.is_empty() {
                sink(side, Piece::Data(before));
            }
            counters.urgent += u64::from((offset as usize) < rest.bytes.len());
            rest = rest.from(offset + 1);
        }
        if !rest.bytes.is_empty() {
            sink(side, Piece::Data(rest.bytes));
        }
        if !self.urgent.is_empty() {
            self.urgent.retain(|at| ahead(*at, part.end()) >= 0);
        }
    }
}
