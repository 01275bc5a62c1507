//! Floods: more packets of one print within a window than the ring finds. They are told apart by number only: so many
//! were handed on, and so many of those each point has shown; what it shows beyond is new.
//! At most [`FLOODS`] at a time by hash; one that finds no place is counted, and its copies stay.

use super::WINDOW_NS;
use super::print::Print;
use super::ring::Entry;
use super::views::Seen;
use crate::model::Segment;

/// 100 KiB. Nobody sends many equal packets by accident, but for probes and duplicate acknowledgements.
const FLOODS: usize = 256;
/// As of a packet's sights.
const POINTS: usize = 6;
const WINDOW_MS: i64 = WINDOW_NS / 1_000_000;
/// Handed on in each millisecond: a window and a little disorder.
const SLOTS: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Flood {
    print: Print,
    segment: Segment,
    /// The newest millisecond.
    ms: i64,
    handed_on: u64,
    by_ms: [u32; SLOTS],
    /// How many of those handed on each point has shown.
    shown: [(Seen, u64); POINTS],
}

#[derive(Default)]
pub(super) struct Floods {
    floods: Vec<Option<Flood>>,
    /// There was one. It never turns back.
    some: bool,
    pub full: u64,
}

impl Floods {
    /// Takes a packet if it belongs to a flood: is it new?
    #[inline]
    pub fn take(&mut self, print: &Print, segment: &Segment, from: Seen, time: i64) -> Option<bool> {
        if !self.some {
            return None;
        }
        let ms = time / 1_000_000;
        let slot = self.floods.get_mut(place(print))?;
        let flood = slot.as_mut().filter(|flood| flood.print.key == print.key && flood.segment == *segment)?;
        if ms - flood.ms > WINDOW_MS {
            *slot = None;
            return None;
        }
        flood.print.same_opening(print).then(|| flood.count(from, ms))
    }

    /// One begins with these, the oldest first.
    pub fn begin(&mut self, entries: &[Entry], from: impl Fn(u16) -> Seen) {
        let Some(last) = entries.last() else { return };
        if self.floods.is_empty() {
            self.floods.resize(FLOODS, None);
        }
        self.some = true;
        let ms = last.time / 1_000_000;
        let Some(slot) = self.floods.get_mut(place(&last.print)) else { return };
        if slot.as_ref().is_some_and(|other| ms - other.ms <= WINDOW_MS) {
            self.full += 1;
            return;
        }
        let (print, segment) = (last.print, last.segment);
        let none = (Seen::default(), 0);
        let mut flood = Flood { print, segment, ms, handed_on: 0, by_ms: [0; SLOTS], shown: [none; POINTS] };
        for entry in entries {
            flood.hand_on((entry.time / 1_000_000).clamp(ms - WINDOW_MS, ms));
            for sight in entry.sights.iter().filter(|sight| sight.point != 0) {
                if let Some((_, shown)) = flood.of(from(sight.point)) {
                    *shown += 1;
                }
            }
        }
        *slot = Some(flood);
    }
}

fn place(print: &Print) -> usize {
    ((print.key ^ print.begun) >> 32) as usize % FLOODS
}

impl Flood {
    fn count(&mut self, from: Seen, ms: i64) -> bool {
        while self.ms < ms {
            self.ms += 1;
            if let Some(slot) = self.by_ms.get_mut(self.ms as usize % SLOTS) {
                *slot = 0;
            }
        }
        let recent = (self.ms - WINDOW_MS..=self.ms).filter_map(|ms| self.by_ms.get(ms as usize % SLOTS));
        let before = self.handed_on.saturating_sub(recent.map(|n| u64::from(*n)).sum());
        let handed_on = self.handed_on;
        // So many points rarely show what was sent twice.
        let Some((_, shown)) = self.of(from) else { return false };
        *shown = (*shown).max(before) + 1;
        let new = *shown > handed_on;
        if new {
            self.hand_on(self.ms);
        }
        new
    }

    fn hand_on(&mut self, ms: i64) {
        self.handed_on += 1;
        if let Some(slot) = self.by_ms.get_mut(ms as usize % SLOTS) {
            *slot += 1;
        }
    }

    fn of(&mut self, from: Seen) -> Option<&mut (Seen, u64)> {
        let at = self.shown.iter().position(|(seen, _)| *seen == from || seen.point == 0)?;
        let found = self.shown.get_mut(at)?;
        found.0 = from;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(point: u16) -> Seen {
        Seen { point, side: 0 }
    }

    fn begun(points: &[u16]) -> Floods {
        let mut entry = Entry::default();
        for (sight, point) in entry.sights.iter_mut().zip(points) {
            sight.point = *point;
        }
        let mut floods = Floods::default();
        floods.begin(&[entry; 8], from);
        floods
    }

    #[test]
    fn what_a_point_shows_beyond_what_was_handed_on_is_new() {
        let mut floods = begun(&[1]);
        let mut new = |point| floods.take(&Print::default(), &Segment::UNTAGGED, from(point), 1_000_000).unwrap();
        assert_eq!([new(1), new(1)], [true; 2], "sent again");
        assert!((0..10).all(|_| !new(2)), "the second point's copies of ten");
        assert_eq!([new(2), new(1), new(1), new(2)], [true, false, true, false]);
    }

    #[test]
    fn what_was_handed_on_before_the_window_has_no_copies_any_more() {
        let mut floods = begun(&[1]);
        let mut new = |point, ms: i64| floods.take(&Print::default(), &Segment::UNTAGGED, from(point), ms * 1_000_000);
        assert_eq!(new(1, 40), Some(true));
        assert_eq!([new(2, 60), new(2, 60)], [Some(false), Some(true)], "eight are too old, one is not");
        assert_eq!(new(2, 111), None, "it is over");
        assert_eq!(new(2, 111), None);
    }

    #[test]
    fn another_print_segment_or_slot_is_another_flood() {
        let mut floods = begun(&[1]);
        let other = Segment::UNTAGGED.with(crate::model::LayerKind::Vlan, 3);
        assert_eq!(floods.take(&Print::default(), &other, from(1), 0), None);
        let print = Print { key: 7, ..Print::default() };
        assert_eq!(floods.take(&print, &Segment::UNTAGGED, from(1), 0), None);
        floods.begin(&[Entry { print, ..Entry::default() }; 8], from);
        assert_eq!(floods.full, 1);
    }
}
