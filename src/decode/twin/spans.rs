//! Bytes of one TCP connection that were handed on in the last moments, and which observation points have shown them
//! since: what one point shows as a large frame another shows as the segments that a card made of it (TSO, GRO), and
//! either may come out of order, with holes, or sent again.
//! At most [`SPANS`] spans a connection, neighbours joined; beyond it the oldest gives way, those first that two points
//! have shown. Its copies then stay, which is counted.

use super::WINDOW_NS;

/// A transfer at full speed has two for each [`JOINED_MS`] of the window: shown by one point, and shown by two.
pub(super) const SPANS: usize = 16;
/// Neighbours that came within this time are one.
const JOINED_MS: u32 = 10;
const WINDOW_MS: u32 = (WINDOW_NS / 1_000_000) as u32;
/// Each span is passed at most twice; more steps than this are none of a real segment.
const STEPS_MAX: usize = 2 * SPANS + 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    /// No span where it is `start`.
    end: u32,
    began_ms: u32,
    last_ms: u32,
    /// The points that have shown it, a bit each.
    shown: u8,
    ttl: u8,
    up: bool,
    /// Its receiver had acknowledged it, or asked for it, when it came.
    again: bool,
}

/// In place of a point: a copy on the other side of a router.
pub(super) const ACROSS: u8 = 0x80;

/// A segment that a point shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub start: u32,
    pub end: u32,
    pub up: bool,
    /// The point's bit.
    pub bit: u8,
    pub now_ms: u32,
    pub ttl: u8,
    /// Its copy on the other side of a router has come.
    pub across: bool,
    /// Only what had this TTL is it.
    pub of_ttl: Option<u8>,
    /// How far the point had seen it acknowledged.
    pub acked: Option<u32>,
    /// The point had seen it asked for.
    pub asked: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spans {
    spans: [Span; SPANS],
    /// Only so many of them are looked at: most connections have two or three.
    used: u8,
    /// When the last one came.
    newest_ms: u32,
}

/// Signed distance from `b` to `a`.
pub(super) fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

/// Of two ends the nearer one.
fn nearer(a: u32, b: u32) -> u32 {
    if ahead(a, b) < 0 { a } else { b }
}

impl Wanted {
    /// Was the byte at `at` sent again, and up to where is that so?
    fn again(&self, at: u32) -> (bool, u32) {
        match self.acked {
            _ if self.asked => (true, self.end),
            Some(acked) if ahead(acked, at) > 0 => (true, nearer(acked, self.end)),
            _ => (false, self.end),
        }
    }
}

impl Span {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn lives(&self, now_ms: u32) -> bool {
        !self.is_empty() && (now_ms.wrapping_sub(self.last_ms) as i32).unsigned_abs() <= WINDOW_MS
    }

    /// May it be what another point has shown of the byte of which `again` is told?
    fn serves(&self, wanted: &Wanted, again: bool) -> bool {
        self.lives(wanted.now_ms)
            && self.up == wanted.up
            && self.shown & wanted.bit == 0
            && (self.again || !again)
            && wanted.of_ttl.is_none_or(|ttl| ttl == self.ttl)
    }

    /// Does it go on where the other ends, or end where it goes on?
    fn joins(&self, other: &Span) -> bool {
        let alike = |s: &Span| (s.shown, s.ttl, s.up, s.again);
        let near = |a: u32, b: u32| (a.wrapping_sub(b) as i32).unsigned_abs() <= JOINED_MS;
        !self.is_empty()
            && (self.end == other.start || other.end == self.start)
            && alike(self) == alike(other)
            && near(self.began_ms, other.last_ms)
            && near(other.began_ms, self.last_ms)
    }
}

impl Spans {
    /// What of `wanted` begins at `at`: the oldest span that serves, or none, and up to where.
    fn step(&self, wanted: &Wanted, at: u32) -> (Option<usize>, u32) {
        let (again, mut until) = wanted.again(at);
        let mut best: Option<(usize, &Span)> = None;
        for (place, span) in self.used().iter().enumerate() {
            if !span.serves(wanted, again) {
                continue;
            }
            if ahead(span.start, at) > 0 {
                if best.is_none() {
                    until = nearer(span.start, until);
                }
            } else if ahead(span.end, at) > 0 {
                let older = best.is_none_or(|(_, known)| (ahead(span.began_ms, known.began_ms)) < 0);
                if older {
                    best = Some((place, span));
                }
            }
        }
        match best {
            Some((place, span)) => (Some(place), nearer(span.end, wanted.again(at).1)),
            None => (None, until),
        }
    }

    /// Have other points shown all of it, and this one not yet?
    pub fn cover(&self, wanted: &Wanted) -> bool {
        let mut at = wanted.start;
        for _ in 0..STEPS_MAX {
            let (place, until) = self.step(wanted, at);
            if place.is_none() {
                return false;
            }
            at = until;
            if ahead(at, wanted.end) >= 0 {
                return true;
            }
        }
        false
    }

    /// The point has shown it; `new` where it was handed on. Returns how many others were forgotten for it too early.
    pub fn settle(&mut self, wanted: &Wanted, new: bool) -> u64 {
        let (mut at, mut forgotten) = (wanted.start, 0);
        for _ in 0..STEPS_MAX {
            if ahead(at, wanted.end) >= 0 {
                break;
            }
            let (place, until) = self.step(wanted, at);
            match place {
                Some(place) => forgotten += self.show(place, (at, until), wanted),
                None if new => {
                    let Wanted { now_ms, bit, ttl, up, across, .. } = *wanted;
                    let bit = if across { bit | ACROSS } else { bit };
                    let again = wanted.again(at).0;
                    let span =
                        Span { start: at, end: until, began_ms: now_ms, last_ms: now_ms, shown: bit, ttl, up, again };
                    forgotten += self.put(span, now_ms);
                }
                None => {}
            }
            at = until;
        }
        forgotten
    }

    /// A part of a span was shown by one point more.
    fn show(&mut self, place: usize, (from, to): (u32, u32), wanted: &Wanted) -> u64 {
        let Some(slot) = self.spans.get_mut(place) else { return 0 };
        let span = std::mem::take(slot);
        let shown = Span { start: from, end: to, shown: span.shown | wanted.bit, ..span };
        let parts = [Span { end: from, ..span }, Span { start: to, ..span }, shown];
        parts.into_iter().filter(|part| !part.is_empty()).map(|part| self.put(part, wanted.now_ms)).sum()
    }

    fn put(&mut self, span: Span, now_ms: u32) -> u64 {
        if ahead(now_ms, self.newest_ms).unsigned_abs() > WINDOW_MS {
            self.used = 0;
        }
        self.newest_ms = now_ms;
        if let Some(neighbour) = self.used_mut().iter_mut().find(|known| known.joins(&span)) {
            match neighbour.end == span.start {
                true => neighbour.end = span.end,
                false => neighbour.start = span.start,
            }
            neighbour.began_ms = nearer(neighbour.began_ms, span.began_ms);
            if ahead(span.last_ms, neighbour.last_ms) > 0 {
                neighbour.last_ms = span.last_ms;
            }
            return 0;
        }
        if let Some(free) = self.used_mut().iter_mut().find(|known| !known.lives(now_ms)) {
            *free = span;
            return 0;
        }
        if let Some(free) = self.spans.get_mut(usize::from(self.used)) {
            *free = span;
            self.used += 1;
            return 0;
        }
        let worth = |span: &Span| (span.shown.count_ones() < 2, ahead(span.last_ms, now_ms));
        let Some(slot) = self.spans.iter_mut().min_by_key(|span| worth(span)) else { return 0 };
        u64::from(std::mem::replace(slot, span).shown.count_ones() < 2)
    }

    fn used(&self) -> &[Span] {
        self.spans.get(..usize::from(self.used)).unwrap_or(&self.spans)
    }

    fn used_mut(&mut self) -> &mut [Span] {
        let used = usize::from(self.used).min(SPANS);
        self.spans.get_mut(..used).unwrap_or_default()
    }

    /// A point's bit is another's from now on.
    pub fn forget(&mut self, bit: u8) {
        for span in self.used_mut() {
            span.shown &= !bit;
            if span.shown & !ACROSS == 0 {
                *span = Span::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u8 = 1;
    const TWO: u8 = 2;

    fn wanted(bit: u8, start: u32, end: u32, now_ms: u32) -> Wanted {
        Wanted { start, end, bit, now_ms, ..Wanted::default() }
    }

    /// Takes a segment as the table of connections does: is it a copy?
    fn take(spans: &mut Spans, wanted: Wanted) -> bool {
        let covered = spans.cover(&wanted);
        spans.settle(&wanted, !covered);
        covered
    }

    #[test]
    fn pieces_in_any_order_are_copies_of_a_frame_each_once() {
        let mut spans = Spans::default();
        assert!(!take(&mut spans, wanted(ONE, 1_000, 4_000, 0)));
        for start in [2_000, 1_000, 3_000] {
            assert!(take(&mut spans, wanted(TWO, start, start + 1_000, 5)), "{start}");
        }
        assert!(!take(&mut spans, wanted(TWO, 2_000, 3_000, 6)), "sent again");
        assert!(take(&mut spans, wanted(ONE, 2_000, 3_000, 7)), "and its copy");
        assert!(!take(&mut spans, wanted(ONE, 2_000, 3_000, 8)), "and once more");
    }

    #[test]
    fn holes_and_what_was_sent_again_hide_no_copies() {
        let mut spans = Spans::default();
        // Lost between, sent again in another cut, and late.
        for (start, end) in [(0, 1_000), (2_000, 3_000), (1_500, 2_500), (1_000, 1_500), (0, 3_000)] {
            assert!(!take(&mut spans, wanted(ONE, start, end, 0)), "{start}");
        }
        for start in (0..3_000).step_by(500) {
            assert!(take(&mut spans, wanted(TWO, start, start + 500, 20)), "{start}");
        }
        // Sent again once, and between 2,000 and 2,500 twice.
        assert!(take(&mut spans, wanted(TWO, 0, 3_000, 21)));
        assert!(take(&mut spans, wanted(TWO, 2_000, 2_500, 22)));
        assert!(!take(&mut spans, wanted(TWO, 2_000, 2_500, 23)));
    }

    #[test]
    fn a_segment_that_reaches_beyond_what_was_shown_or_comes_too_late_is_new() {
        let mut spans = Spans::default();
        take(&mut spans, wanted(ONE, 0, 1_000, 0));
        assert!(!take(&mut spans, wanted(TWO, 500, 1_500, 1)));
        assert!(take(&mut spans, wanted(ONE, 1_000, 1_500, 2)), "what it showed first");
        assert!(!take(&mut spans, wanted(TWO, 0, 500, 60)));
    }

    #[test]
    fn what_its_point_saw_acknowledged_is_no_copy_of_what_came_before() {
        let mut spans = Spans::default();
        take(&mut spans, wanted(ONE, 0, 2_000, 0));
        let again = Wanted { acked: Some(1_000), ..wanted(TWO, 0, 1_000, 1) };
        assert!(!take(&mut spans, again));
        assert!(take(&mut spans, Wanted { acked: Some(1_000), ..wanted(TWO, 1_000, 2_000, 1) }));
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut spans = Spans::default();
        take(&mut spans, wanted(ONE, u32::MAX - 999, 2_000, 0));
        for start in [u32::MAX - 999, 0, 1_000] {
            assert!(take(&mut spans, wanted(TWO, start, start.wrapping_add(1_000), 1)), "{start}");
        }
    }

    #[test]
    fn too_many_spans_are_counted_and_those_that_two_points_have_shown_go_first() {
        let mut spans = Spans::default();
        let mut forgotten = 0;
        for n in 0..SPANS as u32 {
            forgotten += spans.settle(&wanted(ONE, n * 1_000, n * 1_000 + 10, 0), true);
        }
        assert!(take(&mut spans, wanted(TWO, 3_000, 3_010, 1)));
        forgotten += spans.settle(&wanted(ONE, 90_000, 90_010, 1), true);
        assert_eq!(forgotten, 0);
        forgotten += spans.settle(&wanted(ONE, 91_000, 91_010, 1), true);
        assert_eq!(forgotten, 1);
        // Later there is room again.
        assert_eq!(spans.settle(&wanted(ONE, 92_000, 92_010, 100), true), 0);
        assert_eq!(spans.used, 1);
    }

    proptest::proptest! {
        /// Whatever comes, what one point shows for the first time by itself is kept.
        #[test]
        fn one_point_alone_has_no_copies(segments in proptest::collection::vec((0u32..5_000, 1u32..2_000, 0u32..200), 1..60)) {
            let mut spans = Spans::default();
            for (start, len, ms) in segments {
                proptest::prop_assert!(!take(&mut spans, wanted(ONE, start, start + len, ms)));
            }
        }
    }
}
