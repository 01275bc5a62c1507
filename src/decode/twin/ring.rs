//! The packets of the last moments, found by their print: a ring in order of arrival, and two indexes of it, one by
//! print and segment, one by print alone (kept once several segments were seen, of a sample until a router is known).
//! At most [`PACKETS`] packets, of one hash at most [`WAYS`]; the oldest gives way, which is counted where its window
//! had not passed.
//!
//! The ring is as large as the traffic of [`WINDOW_NS`] needs, because what is touched once in a long round is never
//! in the cache. An index has a tag beside each number, seven of them in one cache line: a packet that is no copy
//! costs one line and what it writes.

use super::print::Print;
use super::{Place, WINDOW_NS, segments};
use crate::decode::packet::Located;
use crate::model::{Mac, Segment};

/// 50 ms of 1.3 million packets a second; 14 MiB with its indexes where so many come.
pub(super) const PACKETS: usize = 1 << 16;
/// What a ring begins with, and shrinks to: 200 KiB.
const PACKETS_MIN: usize = 1 << 10;
/// More packets of one print are a flood (`floods.rs`). With half as many sets as packets, fewer than one in a thousand
/// finds no place when the ring is full.
const WAYS: usize = 7;
/// Before a router is known, one print in so many is looked for in other segments.
const ACROSS_SAMPLE: u64 = 8;
/// A broadcast flooded to many mirrored hosts has more; those further copies are taken for copies.
const SIGHTS_MAX: usize = 6;

/// One point's sight of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    /// 0: no sight.
    pub point: u16,
    /// Before a router and after it are two sights.
    pub ttl: u8,
    /// This point has shown the same twice.
    pub doubled: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub print: Print,
    pub time: i64,
    /// When a router had passed it on, as last shown; 0 before that.
    pub behind: i64,
    /// The clock when it came: the running maximum of times.
    pub came: i64,
    /// Bytes handed on before it.
    pub bytes_before: u64,
    pub place: Option<Place>,
    pub segment: Segment,
    pub sights: [Sight; SIGHTS_MAX],
    pub src_mac: Option<Mac>,
    pub dst_mac: Option<Mac>,
    pub cut: u32,
    /// Its point had seen it acknowledged, or asked for, when it came.
    pub again: bool,
    /// The routers that it was counted for, a bit each by hash.
    pub noted: u64,
    /// It was taken back: what came behind a router counts in its place.
    pub gone: bool,
}

impl Entry {
    pub fn new(print: Print, located: &Located<'_>, point: u16) -> Self {
        let mut sights = [Sight::default(); SIGHTS_MAX];
        if let Some(first) = sights.first_mut() {
            *first = Sight { point, ttl: print.ttl, doubled: false };
        }
        Entry {
            print,
            segment: located.segment,
            sights,
            src_mac: located.src_mac,
            dst_mac: located.dst_mac,
            cut: located.cut,
            ..Entry::default()
        }
    }

    /// Has another point shown it before and behind a router, as many hops apart as it now shows here?
    pub fn passed(&self, point: u16, ttl: u8) -> bool {
        let of = |mine: bool| self.sights.iter().filter(move |s| s.point != 0 && (s.point == point) == mine);
        of(true).filter(|mine| mine.ttl > ttl).any(|mine| {
            of(false).any(|a| of(false).any(|b| a.point == b.point && a.ttl > b.ttl && a.ttl - b.ttl == mine.ttl - ttl))
        })
    }

    /// At the bound it is taken for a copy: so many points rarely show what was sent twice.
    pub fn seen_by(&mut self, point: u16, ttl: u8) {
        if let Some(free) = self.sights.iter_mut().find(|sight| sight.point == 0) {
            *free = Sight { point, ttl, doubled: false };
        }
    }
}

pub(super) struct Ring {
    /// A power of two.
    entries: Vec<Entry>,
    by_segment: Index,
    by_print: Index,
    /// The first segment; `None` before it.
    segment: Option<Segment>,
    several_segments: bool,
    /// Copies come that are too short to tell datagrams apart by their beginning. It never turns back.
    short: bool,
    /// Packets so far; wraps. The number of the newest.
    pub count: u32,
    /// The newest so many are there.
    live: u32,
    pub overrun: u64,
}

impl Ring {
    pub fn new() -> Self {
        Ring {
            entries: vec![Entry::default(); PACKETS_MIN],
            by_segment: Index::new(PACKETS_MIN),
            by_print: Index::new(PACKETS_MIN),
            segment: None,
            several_segments: false,
            short: false,
            count: 0,
            live: 0,
            overrun: 0,
        }
    }

    /// Returns what was forgotten for it, within its window, if that was of the same print: the first of a flood.
    #[inline]
    pub fn push(&mut self, entry: Entry, segment_hash: u64, across: bool) -> Option<Entry> {
        self.make_room(entry.time);
        let key = self.key(&entry.print);
        if !self.several_segments {
            self.several_segments = *self.segment.get_or_insert(entry.segment) != entry.segment;
        }
        self.count = self.count.wrapping_add(1);
        self.live += 1;
        let displaced = self.by_segment.insert(key ^ segment_hash, self.count, self.live);
        let mut flooded = None;
        if let Some(oldest) = displaced.and_then(|number| self.get(number))
            && entry.time - oldest.time <= WINDOW_NS
        {
            let same = oldest.segment == entry.segment && oldest.is_near(&entry.print, entry.time);
            match same {
                true => flooded = Some(*oldest),
                false => self.overrun += 1,
            }
        }
        if self.several_segments && sampled(&entry.print, across) {
            // Equal tenants displace each other here, which loses nothing but the sight of a router between them.
            self.by_print.insert(key, self.count, self.live);
        }
        if let Some(place) = self.get_mut(self.count) {
            *place = entry;
        }
        flooded
    }

    /// The packet of this number, if it is still there.
    pub fn numbered(&mut self, number: u32) -> Option<&mut Entry> {
        if self.count.wrapping_sub(number) < self.live { self.get_mut(number) } else { None }
    }

    pub fn last_mut(&mut self) -> Option<&mut Entry> {
        let number = Some(self.count).filter(|_| self.live > 0)?;
        self.get_mut(number)
    }

    /// Shows the packets of this print in this segment within the window, the oldest first, until `wanted` takes one:
    /// copies of what was sent again come in its order, and the newest may be wanted by the next.
    #[inline]
    pub fn find(
        &mut self,
        print: &Print,
        segment: (&Segment, u64),
        time: i64,
        mut wanted: impl FnMut(&mut Entry) -> bool,
    ) -> Option<&mut Entry> {
        if print.short && !self.short {
            self.shorten();
        }
        let mut hits = self.by_segment.hits(self.key(print) ^ segment.1);
        while let Some(number) = self.by_segment.oldest(&mut hits, self.count, self.live) {
            let same = |entry: &&mut Entry| entry.is_near(print, time) && entry.segment == *segment.0;
            if self.get_mut(number).filter(same).is_some_and(&mut wanted) {
                return self.get_mut(number);
            }
        }
        None
    }

    /// The same of packets in another segment, of a sample unless `across`.
    #[inline]
    pub fn elsewhere(
        &mut self,
        print: &Print,
        segment: &Segment,
        time: i64,
        across: bool,
        mut wanted: impl FnMut(&mut Entry) -> bool,
    ) -> Option<&mut Entry> {
        if !self.several_segments || !sampled(print, across) {
            return None;
        }
        let mut hits = self.by_print.hits(self.key(print));
        while let Some(number) = self.by_print.oldest(&mut hits, self.count, self.live) {
            let other = |entry: &&mut Entry| entry.is_near(print, time) && entry.segment != *segment && !entry.gone;
            if self.get_mut(number).filter(other).is_some_and(&mut wanted) {
                return self.get_mut(number);
            }
        }
        None
    }

    fn get(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number as usize & (self.entries.len() - 1))
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Entry> {
        let at = number as usize & (self.entries.len() - 1);
        self.entries.get_mut(at)
    }

    /// Forgets what is too old to have a twin, but for a little disorder, and grows or gives up the oldest.
    #[inline]
    fn make_room(&mut self, time: i64) {
        while self.live > 0 {
            let oldest = self.count.wrapping_sub(self.live - 1);
            let Some(entry) = self.get(oldest).filter(|entry| time - entry.time > 2 * WINDOW_NS) else { break };
            debug_assert!(entry.time < time);
            self.live -= 1;
        }
        let (live, size) = (self.live as usize, self.entries.len());
        if live == size {
            if size < PACKETS {
                self.resize(size * 4);
            } else {
                let oldest = self.get(self.count.wrapping_add(1));
                self.overrun += u64::from(oldest.is_some_and(|oldest| time - oldest.time <= WINDOW_NS));
                self.live -= 1;
            }
        } else if self.count as usize & (size - 1) == 0 && size > PACKETS_MIN && live < size / 8 {
            self.resize(size / 4);
        }
    }

    /// What the indexes go by: with the beginning of datagrams, unless some copies do not show it.
    #[inline]
    fn key(&self, print: &Print) -> u64 {
        if self.short { print.key } else { print.key ^ print.begun }
    }

    #[cold]
    fn shorten(&mut self) {
        self.short = true;
        self.resize(self.entries.len());
    }

    #[cold]
    fn resize(&mut self, size: usize) {
        let mut entries = vec![Entry::default(); size];
        let (mut by_segment, mut by_print) = (Index::new(size), Index::new(size));
        for live in 1..=self.live {
            let number = self.count.wrapping_sub(self.live - live);
            let Some((entry, place)) = self.get(number).zip(entries.get_mut(number as usize & (size - 1))) else {
                continue;
            };
            *place = *entry;
            let key = self.key(&entry.print);
            by_segment.insert(key ^ segments::hash(&entry.segment), number, live);
            by_print.insert(key, number, live);
        }
        (self.entries, self.by_segment, self.by_print) = (entries, by_segment, by_print);
    }
}

impl Entry {
    #[inline]
    fn is_near(&self, print: &Print, time: i64) -> bool {
        ((time - self.time).abs() <= WINDOW_NS || (time - self.behind).abs() <= WINDOW_NS)
            && self.print.key == print.key
            && self.print.same_opening(print)
    }
}

#[inline]
fn sampled(print: &Print, all: bool) -> bool {
    all || print.key.is_multiple_of(ACROSS_SAMPLE)
}

/// Numbers of packets, found by hash. A cache line for each set.
struct Index(Vec<Set>);

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Set {
    tags: [u32; WAYS],
    numbers: [u32; WAYS],
    /// Where the next number goes: onto the oldest.
    next: u32,
}

/// Places of a set that may be meant, a bit each.
struct Hits {
    set: usize,
    places: u32,
}

impl Index {
    fn new(packets: usize) -> Self {
        Index(vec![Set::default(); packets / 2])
    }

    fn set(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.0.len() - 1)
    }

    #[inline]
    fn hits(&self, hash: u64) -> Hits {
        let set = self.set(hash);
        let mut places = 0;
        if let Some(Set { tags, .. }) = self.0.get(set) {
            for (at, tag) in tags.iter().enumerate() {
                places |= u32::from(*tag == hash as u32) << at;
            }
        }
        Hits { set, places }
    }

    /// The oldest of them that is still there.
    #[inline]
    fn oldest(&self, hits: &mut Hits, newest: u32, live: u32) -> Option<u32> {
        let mut best: Option<(u32, u32, u32)> = None;
        let mut places = hits.places;
        while places != 0 {
            let at = places.trailing_zeros();
            places &= places - 1;
            let number = *self.0.get(hits.set)?.numbers.get(at as usize)?;
            let age = newest.wrapping_sub(number);
            if age < live && best.is_none_or(|(most, ..)| age > most) {
                best = Some((age, number, at));
            }
        }
        let (_, number, at) = best?;
        hits.places &= !(1 << at);
        Some(number)
    }

    /// Takes the place of the oldest, whose number it returns if it is still there. `number` is the newest.
    #[inline]
    fn insert(&mut self, hash: u64, number: u32, live: u32) -> Option<u32> {
        let set = self.set(hash);
        let Set { tags, numbers, next } = self.0.get_mut(set)?;
        let at = *next as usize;
        *next = if at + 1 < WAYS { *next + 1 } else { 0 };
        *tags.get_mut(at)? = hash as u32;
        let oldest = std::mem::replace(numbers.get_mut(at)?, number);
        // 0 is nobody's, and once in four billion packets somebody's.
        (oldest != 0 && number.wrapping_sub(oldest) < live).then_some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: u64, time: i64) -> Entry {
        Entry { print: Print { key, ..Print::default() }, time, ..Entry::default() }
    }

    fn spread(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn finds(ring: &mut Ring, key: u64, time: i64) -> bool {
        ring.find(&Print { key, ..Print::default() }, (&Segment::UNTAGGED, 0), time, |_| true).is_some()
    }

    #[test]
    fn a_ring_grows_with_its_traffic_and_shrinks_behind_it() {
        let mut ring = Ring::new();
        let mut time = 0;
        for n in 0..20_000u64 {
            time += 1_000;
            ring.push(entry(spread(n), time), 0, true);
        }
        assert_eq!((ring.entries.len(), ring.overrun), (PACKETS, 0));
        assert!((0..20_000u64).all(|n| finds(&mut ring, spread(n), time)));
        for n in 20_000..200_000u64 {
            time += 1_000_000;
            ring.push(entry(spread(n), time), 0, true);
        }
        assert_eq!((ring.entries.len(), ring.overrun), (PACKETS_MIN, 0));
        for n in 0..40 {
            assert!(finds(&mut ring, spread(199_999 - n), time));
        }
        assert!(!finds(&mut ring, spread(199_900), time));
    }

    #[test]
    fn numbers_that_wrap_are_found_as_any_others() {
        let mut ring = Ring { count: u32::MAX - 1_500, ..Ring::new() };
        for n in 0..5_000u64 {
            ring.push(entry(spread(n), n as i64), 0, true);
        }
        assert!((0..5_000u64).all(|n| finds(&mut ring, spread(n), 5_000)));
        assert_eq!(ring.overrun, 0);
    }

    #[test]
    fn nearly_all_packets_of_a_full_ring_have_a_place_in_its_index() {
        let mut ring = Ring::new();
        for n in 0..PACKETS as u64 {
            ring.push(entry(spread(n).rotate_left(17) ^ spread(n * n), 0), 0, true);
        }
        assert!(ring.overrun < PACKETS as u64 / 1_000, "{}", ring.overrun);
    }

    #[test]
    fn of_eight_packets_of_one_print_the_oldest_is_handed_out() {
        let mut ring = Ring::new();
        let flooded: Vec<_> = (0..8).map(|time| ring.push(entry(7, time), 0, true).map(|first| first.time)).collect();
        assert_eq!((flooded[..7].iter().flatten().count(), flooded[7], ring.overrun), (0, Some(0), 0));
        let mut seen = Vec::new();
        let print = Print { key: 7, ..Print::default() };
        ring.find(&print, (&Segment::UNTAGGED, 0), 8, |entry| {
            seen.push(entry.time);
            false
        });
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
    }
}
