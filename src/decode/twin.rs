//! Twins: copies of one packet that the mirror made more than once (both ports of a switch, two hosts, before and
//! after a router) are counted once (decisions.md B.14). A twin has equal bytes from the network header on and comes
//! from another observation point within [`WINDOW_NS`]; each packet has one twin from each point. A twin in another
//! segment has one hop less or more, and lies behind a router that [`pairs`] knows.
//!
//! What is sent again stays: a retransmission comes from a point that has shown the packet already. Within one point
//! copies are removed only while more than nine of ten packets come twice, or where a router lies between them.
//!
//! Bound: the tables of [`ring`], [`floods`], [`views`], [`wrapped`], [`pairs`], [`points`] and [`segments`]. At the
//! bound copies stay, counted.
//! What one point alone shows of a segment is looked at in samples, until it doubles or shows a router.

mod across;
mod floods;
mod heads;
mod pairs;
mod points;
mod print;
mod ring;
mod segments;
mod spans;
#[cfg(test)]
mod tests;
mod views;
mod wrapped;

use floods::Floods;
use heads::Heads;
use pairs::Pairs;
use points::{Key, Points};
use print::{Print, print};
use ring::{Entry, Ring};
use segments::{Segments, Shown};
use views::{Seen, Standing, Views};
use wrapped::Wrapped;

use super::packet::{Located, Network};
use super::{marks, tunnel};
use crate::model::{Mac, Timestamp};

/// Longer than the copies of one packet lie apart on any mirror, shorter than a retransmission over a long way
/// (200 ms); between VMs those come within 1–10 ms, and are known by what the point has shown before.
pub const WINDOW_NS: i64 = 50_000_000;
/// Before a second point is known, so many outer packets are marked all the same: it may be about to come.
const MARKS_FIRST: u32 = 1_024;
/// Bytes of packets that may be replaced by a better copy.
const BETTER_BYTES_MAX: u64 = 32 << 20;

crate::counters! {
    /// Copies, and what was taken for none.
    pub struct TwinCounters {
        removed => "twin.removed",
        /// Of those removed: the same point or another segment, before and after a router.
        routed => "twin.routed",
        /// Of those removed: a mirror that doubles everything.
        doubled => "twin.doubled",
        /// Of those removed: segments of a frame (or a frame of segments) that another point had shown.
        segmented => "twin.segmented",
        /// Of those removed: among more equal packets than are told apart.
        flooded => "twin.flooded",
        /// Of those removed: cut before the inner header, known by the outer one.
        cut => "twin.cut",
        /// Copies that showed more than the first one, which they replaced.
        better => "twin.better",
        /// Kept: what was seen before had not been acknowledged, nor asked for, and this had; or the other way round.
        again => "twin.retransmitted",
        /// Packets forgotten before their window had passed, because the table was full.
        full => "twin.full",
        /// Connections forgotten before their window had passed.
        connections_full => "twin.connections_full",
        /// Parts of connections forgotten before their window had passed.
        spans_full => "twin.spans_full",
        /// Floods that found no place.
        floods_full => "twin.floods_full",
        /// Pairs of segments with a router between them that found no place.
        pairs_full => "twin.pairs_full",
        /// Packets of observation points beyond the bound.
        points_full => "twin.points_full",
    }
}

/// Where the dispatcher put a packet, so that a better copy can take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub flight: u64,
    pub lane: u16,
    pub entry: u32,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it on; with `true`, tell its [`Place`].
    First(bool),
    /// Another copy was handed on.
    Twin,
    /// A copy that shows less was put there: this one takes its place.
    Better(Place),
    /// A copy in a segment where it does not count was put there: take it back. Hand this one on and tell its place.
    Instead(Place),
}

/// How far the packets have come; see [`Twins::may_replace`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    packets: u32,
    bytes: u64,
    time: Timestamp,
}

/// When a packet was captured, and the clock then: the running maximum of packet times.
#[derive(Clone, Copy, Debug)]
struct When {
    time: i64,
    now: i64,
}

/// One owner: the dispatcher.
pub struct Twins {
    points: Points,
    ring: Ring,
    floods: Floods,
    views: Views,
    wrapped: Wrapped,
    pairs: Pairs,
    heads: Heads,
    /// What is to be taken back besides what the verdict says, and up to which byte.
    taken_back: Vec<Place>,
    taken_end: u32,
    segments: Segments,
    /// The clock when something came cut and was handed on.
    last_cut: i64,
    bytes: u64,
    /// The packet taken last was a copy of another point's.
    copied: bool,
    /// Packets in which copies were looked for. Not told: it follows how the input is cut into files.
    examined: u64,
    pub counters: TwinCounters,
}

impl Twins {
    pub fn new() -> Self {
        Twins {
            points: Points::new(),
            ring: Ring::new(),
            floods: Floods::default(),
            views: Views::new(),
            wrapped: Wrapped::new(),
            pairs: Pairs::new(),
            heads: Heads::default(),
            taken_back: Vec::new(),
            taken_end: 0,
            segments: Segments::new(),
            last_cut: i64::MIN / 2,
            bytes: 0,
            copied: false,
            examined: 0,
            counters: TwinCounters::default(),
        }
    }

    /// Takes one packet of a mirror source, captured at `time`; `now` is the running maximum of times, its own
    /// included.
    #[inline]
    pub fn take(&mut self, source: u16, time: Timestamp, now: Timestamp, located: &Located<'_>) -> Verdict {
        let point = self.points.id(Key { source, sender: located.host_hint, path: located.path });
        self.copied = false;
        let (shown, look) = self.segments.show(&located.segment, point);
        let when = When { time: time.ns(), now: now.ns() };
        if located.cut > 0
            && self.wants_marks()
            && let Some(mark) = mark_of_cut(located)
        {
            return self.examine_cut(mark, point, shown, when, located);
        }
        if !look && !self.points.get(point).is_some_and(|point| point.doubling) {
            return Verdict::First(false);
        }
        self.examine(point, shown, when, located, false)
    }

    /// What may be a tunnel or a fragment, cut before its end, and nothing but its outer header.
    #[inline(never)]
    fn examine_cut(&mut self, mark: u64, point: u16, shown: Shown, when: When, located: &Located<'_>) -> Verdict {
        if self.wrapped.whole(mark, point, when.time) {
            self.counters.removed += 1;
            self.counters.cut += 1;
            self.copied = true;
            return Verdict::Twin;
        }
        let before = self.ring.count;
        let verdict = self.examine(point, shown, when, located, true);
        if self.ring.count == before || !matches!(verdict, Verdict::First(_)) {
            return verdict;
        }
        self.wrapped.came_cut(mark, point, when.time, before.wrapping_add(1));
        self.last_cut = when.now;
        Verdict::First(true)
    }

    /// Are the marks of outer packets wanted? Where one point alone shows packets they have no use.
    pub fn wants_marks(&self) -> bool {
        self.points.several() || self.wrapped.count() < MARKS_FIRST
    }

    /// An outer packet came whole, by its mark: what had come cut and was handed on is to be taken back.
    pub fn came_whole(&mut self, mark: u64, time: Timestamp, now: Timestamp) -> Option<Place> {
        let number = self.wrapped.came_whole(mark, time.ns())?;
        let bytes = self.bytes;
        let entry = self.ring.numbered(number)?;
        let place = entry.still(now.ns(), bytes)?;
        (entry.place, entry.gone) = (None, true);
        self.counters.removed += 1;
        self.counters.cut += 1;
        Some(place)
    }

    /// Was the packet taken last a copy of what another observation point had shown?
    #[inline]
    pub fn of_another_point(&self) -> bool {
        self.copied
    }

    #[inline(never)]
    fn examine(&mut self, point: u16, shown: Shown, when: When, located: &Located<'_>, cut: bool) -> Verdict {
        let Some((print, segment)) = print(located) else { return Verdict::First(false) };
        self.examined += 1;
        let from = Seen { point, side: if shown.routed { side(located) } else { 0 } };
        let standing = match segment {
            Some(segment) => self.views.take(&segment.within(shown.hash), from, when.time, print.ttl),
            None => Standing::default(),
        };
        self.counters.connections_full += u64::from(standing.displaced);
        // What shows an outer header only looks like a flood, and is to be taken back one by one.
        if !cut && let Some(verdict) = self.flood(&print, from, when, &standing, located) {
            return verdict;
        }
        let routed = self.counters.routed;
        let (double, twin) = self.relate(point, shown, when, &print, standing, located);
        self.copied = twin.is_some() && self.counters.routed == routed;
        let mut doubles = false;
        if let Some(point) = self.points.get_mut(point) {
            doubles = point.note(double);
        }
        let mut verdict = twin.or_else(|| self.across(point, when, &print, standing, located));
        if let (None, false, Some(segment)) = (verdict, standing.covered, segment)
            && shown.routed
            && segment.payload_len > 0
        {
            verdict = self.in_pieces(&segment, &standing, when, print.ttl, located);
        }
        self.counters.removed += u64::from(verdict.is_some());
        if verdict.is_none() && double && doubles {
            self.counters.removed += 1;
            self.counters.doubled += 1;
            return Verdict::Twin;
        }
        let covered = verdict.is_none() && standing.covered;
        let new = !covered && verdict.is_none_or(|verdict| matches!(verdict, Verdict::Instead(_)));
        self.views.settle(&standing, new);
        if covered || new {
            // A segment of another point's frame is remembered, too: a router or a third point may show it again.
            let mut entry = Entry::new(print, located, point);
            (entry.time, entry.came, entry.again, entry.bytes_before) =
                (when.time, when.now, standing.again, self.bytes);
            if let Some(first) = self.ring.push(entry, shown.hash, self.pairs.known).filter(|_| !cut) {
                self.begin_flood(first, entry, shown.hash, from);
            }
            if let Some(segment) = segment.filter(|segment| new && shown.routed && segment.payload_len > 0) {
                self.heads.keep(&segment.within(shown.hash), self.ring.count);
            }
        }
        if covered {
            self.counters.removed += 1;
            self.counters.segmented += 1;
            return Verdict::Twin;
        }
        if new {
            self.bytes += located.bytes.len() as u64;
            verdict.get_or_insert(Verdict::First(shown.always()));
        }
        verdict.unwrap_or(Verdict::First(false))
    }

    /// One of more equal packets than the ring tells apart. Where a mirror doubles, number tells nothing.
    #[inline]
    fn flood(
        &mut self,
        print: &Print,
        from: Seen,
        when: When,
        standing: &Standing,
        located: &Located<'_>,
    ) -> Option<Verdict> {
        if self.points.get(from.point).is_some_and(|point| point.doubling) {
            return None;
        }
        let new = self.floods.take(print, &located.segment, from, when.time)?;
        self.views.settle(standing, new);
        if new {
            self.bytes += located.bytes.len() as u64;
            return Some(Verdict::First(false));
        }
        self.copied = true;
        self.counters.removed += 1;
        self.counters.flooded += 1;
        Some(Verdict::Twin)
    }

    #[cold]
    fn begin_flood(&mut self, first: Entry, last: Entry, segment_hash: u64, from: Seen) {
        let mut entries = vec![first];
        self.ring.find(&last.print, (&last.segment, segment_hash), last.time, |entry| {
            entries.push(*entry);
            false
        });
        let side = |point| Seen { point, side: if point == from.point { from.side } else { 0 } };
        self.floods.begin(&entries, side);
    }

    /// Has this point shown the same before, and is the packet the twin of another in its segment?
    #[inline]
    fn relate(
        &mut self,
        point: u16,
        shown: Shown,
        when: When,
        print: &Print,
        standing: Standing,
        located: &Located<'_>,
    ) -> (bool, Option<Verdict>) {
        let mut double = false;
        let (mut routed, mut again) = (false, false);
        let Shown { hash, routed: known, .. } = shown;
        let (pairs, bytes) = (&mut self.pairs, self.bytes);
        let found = self.ring.find(print, (&located.segment, hash), when.time, |entry| {
            let mine = entry.sights.iter_mut().filter(|s| s.point == point);
            let mut shown = false;
            for sight in mine {
                if sight.ttl == print.ttl {
                    double |= !std::mem::replace(&mut sight.doubled, true);
                    return false;
                }
                shown = true;
            }
            // What its receiver had acknowledged, or asked for, was sent again: only another copy of that is its twin.
            if !print.numbered && entry.again != standing.again {
                again = true;
                return false;
            }
            // The same point and another TTL: a copy that a router passed on has other addresses on its link.
            routed = shown
                && (entry.passed(point, print.ttl)
                    || located.src_mac.zip(entry.src_mac).is_some_and(|(a, b)| a != b)
                        && pairs.note(entry, located, print.ttl));
            !shown || routed
        });
        let Some(entry) = found else {
            self.counters.again += u64::from(again);
            return (double, None);
        };
        self.counters.routed += u64::from(routed);
        if routed && !known {
            self.segments.routed(&located.segment);
        }
        entry.seen_by(point, print.ttl);
        if routed {
            entry.behind = when.time;
        }
        let nearer = located.cut == entry.cut && print.ttl > entry.print.ttl;
        if located.cut >= entry.cut && !nearer {
            return (double, Some(Verdict::Twin));
        }
        let Some(place) = entry.still(when.now, bytes) else {
            return (double, Some(Verdict::Twin));
        };
        (entry.cut, entry.print.ttl) = (located.cut, print.ttl);
        (entry.src_mac, entry.dst_mac) = (located.src_mac, located.dst_mac);
        if print.opening_len > entry.print.opening_len {
            (entry.print.opening, entry.print.opening_len) = (print.opening, print.opening_len);
        }
        self.counters.better += 1;
        (double, Some(Verdict::Better(place)))
    }

    /// What else is to be taken back for the packet taken last.
    pub fn taken_back(&mut self) -> Option<Place> {
        self.taken_back.pop()
    }

    /// Where the packet just taken was put.
    pub fn placed(&mut self, place: Place) {
        if let Some(entry) = self.ring.last_mut() {
            entry.place = Some(place);
        }
    }

    /// Packets up to now: `now` is the running maximum of their times.
    pub fn mark(&self, now: Timestamp) -> Mark {
        Mark { packets: self.ring.count, bytes: self.bytes, time: now }
    }

    /// May a packet before this mark still be replaced? It depends on packets only, never on who asks when.
    pub fn may_replace(&self, mark: &Mark, now: Timestamp) -> bool {
        (self.segments.some_always || now.ns().saturating_sub(self.last_cut) <= WINDOW_NS)
            && now.since_ns(mark.time) <= WINDOW_NS
            && self.bytes - mark.bytes <= BETTER_BYTES_MAX
            && (self.ring.count.wrapping_sub(mark.packets) as usize) < ring::PACKETS
    }

    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        let full = TwinCounters {
            full: self.ring.overrun,
            spans_full: self.views.full,
            floods_full: self.floods.full,
            pairs_full: self.pairs.full,
            points_full: self.points.full,
            ..self.counters
        };
        full.report(out);
    }
}

/// Which side of a router: both directions of a link have the same two addresses.
fn side(located: &Located<'_>) -> u16 {
    let number = |mac: Option<Mac>| {
        let Mac([a, b, c, d, e, f]) = mac.unwrap_or_default();
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    };
    let (src, dst) = (number(located.src_mac), number(located.dst_mac));
    let mixed = print::mix(src, 0).wrapping_add(print::mix(dst, 0));
    (mixed >> 48) as u16 | 1
}

/// The mark of a packet that the capture cut, where its kind may hide another packet, or is a fragment's.
fn mark_of_cut(located: &Located<'_>) -> Option<u64> {
    const FRAGMENT: u8 = 44;
    let hides = match located.network {
        Network::Ipv4 => {
            let [_, _, _, _, _, _, f1, f0, _, protocol, ..] = *located.bytes.first_chunk::<20>()?;
            tunnel::may_carry(protocol) || u16::from_be_bytes([f1, f0]) & 0x3fff != 0
        }
        Network::Ipv6 => matches!(*located.bytes.get(6)?, next if next == FRAGMENT || tunnel::may_carry(next)),
        Network::Arp | Network::Rarp | Network::Lldp | Network::Cdp => false,
    };
    if hides { marks::mark(located.network, located.bytes) } else { None }
}

impl Entry {
    /// Where it is, if it may still be replaced: what [`Twins::may_replace`] allows of every mark since.
    fn still(&self, now: i64, bytes: u64) -> Option<Place> {
        self.place.filter(|_| now - self.came <= WINDOW_NS && bytes - self.bytes_before <= BETTER_BYTES_MAX)
    }
}

impl Default for Twins {
    fn default() -> Self {
        Twins::new()
    }
}
