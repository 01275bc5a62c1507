//! Twins: copies of one packet that the mirror made more than once (both ports of a switch, two hosts, before and
//! after a router) are counted once (decisions.md B.14). A twin has equal bytes from the network header on and comes
//! from another observation point within [`WINDOW_NS`]; each packet has one twin from each point.
//!
//! What is sent again stays: a retransmission comes from a point that has shown the packet already. Within one point
//! copies are removed only while more than nine of ten packets come twice, or where a router lies between them.
//!
//! Bound: the tables of [`ring`], [`views`] and [`points`]. At the bound copies stay, counted. One point alone is looked
//! at in samples, until it doubles.

mod points;
mod print;
mod ring;
#[cfg(test)]
mod tests;
mod views;

use points::{Key, Points};
use print::{Print, print};
use ring::{Entry, Ring, Sight};
use views::{Standing, Views};

use super::packet::Located;
use crate::model::Timestamp;

/// Longer than the copies of one packet lie apart on any mirror, shorter than a retransmission over a long way
/// (200 ms); between VMs those come within 1–10 ms, and are known by what the point has shown before.
pub const WINDOW_NS: i64 = 50_000_000;
/// Bytes of packets that may be replaced by a better copy.
const BETTER_BYTES_MAX: u64 = 32 << 20;
/// Of one point alone, so many packets of each [`SAMPLE_EVERY`] are looked at: one in 16, at a cost of 3 ns a packet.
const SAMPLE: u64 = 512;
const SAMPLE_EVERY: u64 = 8_192;

crate::counters! {
    /// Copies, and what was taken for none.
    pub struct TwinCounters {
        removed => "twin.removed",
        /// Of those removed: the same point, before and after a router.
        routed => "twin.routed",
        /// Of those removed: a mirror that doubles everything.
        doubled => "twin.doubled",
        /// Of those removed: segments of a frame (or a frame of segments) that another point had shown.
        segmented => "twin.segmented",
        /// Copies that showed more than the first one, which they replaced.
        better => "twin.better",
        /// Kept: what was seen before had not been acknowledged, nor asked for, and this had; or the other way round.
        again => "twin.retransmitted",
        /// Packets forgotten before their window had passed, because the table was full.
        full => "twin.full",
        /// Connections forgotten before their window had passed.
        connections_full => "twin.connections_full",
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
}

/// How far the packets have come; see [`Twins::may_replace`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    packets: u32,
    bytes: u64,
    time: Timestamp,
}

/// One owner: the dispatcher.
pub struct Twins {
    points: Points,
    ring: Ring,
    views: Views,
    frames: u64,
    bytes: u64,
    /// The packet taken last was a copy of another point's.
    copied: bool,
    /// The only point doubles.
    doubling: bool,
    /// Packets in which copies were looked for. Not told: it follows how the input is cut into files.
    examined: u64,
    pub counters: TwinCounters,
}

impl Twins {
    pub fn new() -> Self {
        Twins {
            points: Points::new(),
            ring: Ring::new(),
            views: Views::new(),
            frames: 0,
            bytes: 0,
            copied: false,
            doubling: false,
            examined: 0,
            counters: TwinCounters::default(),
        }
    }

    /// Takes one packet of a mirror source, captured at `time`.
    #[inline]
    pub fn take(&mut self, source: u16, time: Timestamp, located: &Located<'_>) -> Verdict {
        let point = self.points.id(Key { source, sender: located.host_hint });
        self.frames += 1;
        self.copied = false;
        if !self.points.several() && !self.doubling && self.frames % SAMPLE_EVERY > SAMPLE {
            return Verdict::First(false);
        }
        self.examine(point, time.ns(), located)
    }

    /// Was the packet taken last a copy of what another observation point had shown?
    #[inline]
    pub fn of_another_point(&self) -> bool {
        self.copied
    }

    fn examine(&mut self, point: u16, time: i64, located: &Located<'_>) -> Verdict {
        let Some((print, segment)) = print(located) else { return Verdict::First(false) };
        self.examined += 1;
        let several = self.points.several();
        let standing = match &segment {
            Some(segment) if several => self.views.take(segment, point, time),
            _ => Standing::default(),
        };
        self.counters.connections_full += u64::from(standing.displaced);
        let routed = self.counters.routed;
        let (double, twin) = self.relate(point, time, &print, standing, located);
        let mut doubles = false;
        if let Some(point) = self.points.get_mut(point) {
            point.note(double);
            doubles = point.doubles();
        }
        self.doubling = doubles && !several;
        match twin {
            Some(verdict) => {
                self.counters.removed += 1;
                self.copied = self.counters.routed == routed;
                verdict
            }
            None if double && doubles => {
                self.counters.removed += 1;
                self.counters.doubled += 1;
                Verdict::Twin
            }
            _ if standing.covered && !standing.again => {
                self.counters.removed += 1;
                self.counters.segmented += 1;
                Verdict::Twin
            }
            _ => {
                self.ring.push(Entry::new(print, located, time, point, standing.again, self.bytes));
                self.bytes += located.bytes.len() as u64;
                Verdict::First(several)
            }
        }
    }

    /// Has this point shown the same before, and is the packet the twin of another?
    fn relate(
        &mut self,
        point: u16,
        time: i64,
        print: &Print,
        standing: Standing,
        located: &Located<'_>,
    ) -> (bool, Option<Verdict>) {
        let mut double = false;
        let (mut routed, mut again) = (false, false);
        let found = self.ring.find(print, &located.segment, time, |entry| {
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
            routed = shown && located.src_mac.zip(entry.src_mac).is_some_and(|(a, b)| a != b);
            !shown || routed
        });
        let Some(entry) = found else {
            self.counters.again += u64::from(again);
            return (double, None);
        };
        self.counters.routed += u64::from(routed);
        // At the bound it is taken for a copy: so many points rarely show what was sent twice.
        let _ = entry.sights.try_push(Sight { point, ttl: print.ttl, doubled: false });
        let nearer = located.cut == entry.cut && print.ttl > entry.print.ttl;
        if located.cut >= entry.cut && !nearer {
            return (double, Some(Verdict::Twin));
        }
        let Some(place) = entry.place.filter(|_| self.bytes - entry.bytes_before <= BETTER_BYTES_MAX) else {
            return (double, Some(Verdict::Twin));
        };
        (entry.cut, entry.print.ttl, entry.src_mac) = (located.cut, print.ttl, located.src_mac);
        if print.opening_len > entry.print.opening_len {
            (entry.print.opening, entry.print.opening_len) = (print.opening, print.opening_len);
        }
        self.counters.better += 1;
        (double, Some(Verdict::Better(place)))
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
        self.points.several()
            && now.since_ns(mark.time) <= WINDOW_NS
            && self.bytes - mark.bytes <= BETTER_BYTES_MAX
            && (self.ring.count.wrapping_sub(mark.packets) as usize) < ring::PACKETS
    }

    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        let full = TwinCounters { full: self.ring.overrun, points_full: self.points.full, ..self.counters };
        full.report(out);
    }
}

impl Default for Twins {
    fn default() -> Self {
        Twins::new()
    }
}
