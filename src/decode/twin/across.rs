//! Twins on the other side of a router, in another segment: the same packet, or the same bytes in other pieces. All
//! packets of a flow count in one segment, so what was handed on in the other is taken back while that is possible;
//! where it is not, the copy is left out.
//! At most [`PIECES_MAX`] pieces are taken back for one frame.

use super::pairs::counts_here;
use super::print::{Print, Segment};
use super::spans::{Wanted, ahead};
use super::views::Standing;
use super::{Twins, Verdict, When, segments};
use crate::decode::packet::Located;

/// Segments that became one frame behind a router: 64 KiB in those of 1,448 bytes.
const PIECES_MAX: usize = 48;

impl Twins {
    /// Is the packet the twin of one in another segment, behind a router?
    #[inline]
    pub(super) fn across(
        &mut self,
        point: u16,
        when: When,
        print: &Print,
        standing: Standing,
        located: &Located<'_>,
    ) -> Option<Verdict> {
        let pairs = &mut self.pairs;
        let entry = self.ring.elsewhere(print, &located.segment, when.time, pairs.known, |entry| {
            let shown = entry.sights.iter().any(|sight| sight.point == point && sight.ttl == print.ttl);
            let again = !print.numbered && entry.again != standing.again;
            !shown && !again && pairs.note(entry, located, print.ttl)
        })?;
        entry.seen_by(point, print.ttl);
        self.counters.routed += 1;
        for segment in [&entry.segment, &located.segment] {
            self.segments.routed(segment);
        }
        let place = entry
            .still(when.now, self.bytes)
            .filter(|_| counts_here(located, print.ttl > entry.print.ttl, &entry.segment));
        Some(match place {
            Some(place) => {
                (entry.place, entry.gone) = (None, true);
                Verdict::Instead(place)
            }
            None => Verdict::Twin,
        })
    }

    /// Has the other side of a router shown the bytes of this segment, cut otherwise?
    pub(super) fn in_pieces(
        &mut self,
        segment: &Segment,
        standing: &Standing,
        when: When,
        ttl: u8,
        located: &Located<'_>,
    ) -> Option<Verdict> {
        let (flow, here) = standing.wanted.as_ref()?;
        for (there, before, ttl) in self.pairs.beyond(located, ttl) {
            let beyond = segment.within(segments::hash(&there));
            let Some(wanted) = self.views.beyond(&beyond, here, ttl) else { continue };
            self.counters.routed += 1;
            self.counters.segmented += 1;
            if counts_here(located, before, &there) && self.take_back(&beyond, when) {
                // The other pieces of what was taken back count, too.
                self.views.shown(&beyond, &Wanted { end: self.taken_end, ..wanted });
                self.views.taken(*flow, here, self.taken_end);
                let last = self.taken_back.pop();
                self.counters.removed += self.taken_back.len() as u64;
                return last.map(Verdict::Instead);
            }
            self.views.shown(&beyond, &wanted);
            return Some(Verdict::Twin);
        }
        None
    }

    /// Takes back what showed the same bytes: one packet, or as many as there are in it. False: some of it has gone.
    fn take_back(&mut self, beyond: &Segment, when: When) -> bool {
        let (mut seq, end) = (beyond.seq, beyond.seq.wrapping_add(beyond.payload_len));
        let mut numbers = [0; PIECES_MAX];
        let mut count = 0;
        for slot in &mut numbers {
            if ahead(seq, end) >= 0 {
                break;
            }
            let Some(head) = self.heads.at(beyond, seq) else { return false };
            let bytes = self.bytes;
            if self.ring.numbered(head.number).and_then(|entry| entry.still(when.now, bytes)).is_none() {
                return false;
            }
            *slot = head.number;
            count += 1;
            seq = head.end;
        }
        self.taken_end = seq;
        for number in numbers.iter().take(count) {
            if let Some(entry) = self.ring.numbered(*number) {
                self.taken_back.extend(entry.place.take());
                entry.gone = true;
            }
        }
        ahead(seq, end) >= 0
    }
}
