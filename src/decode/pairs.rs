//! How well the mirror showed the packets of each pair of hosts: frames, and of them twins, cut and reordered ones.
//!
//! Summed here and told at `stats`, because the brain hears of flows and never of packets. At most [`PAIRS_MAX`] pairs
//! in the time between; each has one of [`WAYS`] places, and the frames of a pair that finds them taken are counted and
//! not told: of those hosts the rest tells.

use super::locate::Locator;
use super::packet::Located;
use crate::counters;
use crate::model::Shown;

/// A thousand VMs that talk to ten others each; 80 bytes each.
const PAIRS_MAX: usize = 16_384;
/// A search never takes longer, whatever addresses somebody chooses.
const WAYS: usize = 4;

counters! {
    pub struct PairCounters {
        refused => "quality.pairs.refused",
    }
}

#[derive(Debug, Default)]
pub struct Pairs {
    places: Vec<Option<Shown>>,
    /// Where the latest frame's pair is: packets come in trains.
    last: usize,
    /// Places that are taken.
    taken: Vec<u16>,
    pub counters: PairCounters,
}

impl Pairs {
    /// One frame: another copy of it was seen, or it came out of order.
    pub fn see(&mut self, located: &Located<'_>, twin: bool, reordered: bool) {
        let (a, b) = located.shard_pair;
        let ends = if a <= b { (a, b) } else { (b, a) };
        let of = |place: &Option<Shown>| place.as_ref().is_some_and(|s| s.ends == ends && s.segment == located.segment);
        if !self.places.get(self.last).is_some_and(of) {
            let Some(at) = self.place(Locator::hash(located), of) else {
                self.counters.refused += 1;
                return;
            };
            self.last = at;
        }
        let Some(place) = self.places.get_mut(self.last) else { return };
        let segment = located.segment;
        let shown = place.get_or_insert_with(|| {
            self.taken.push(self.last as u16);
            Shown { segment, ends, frames: 0, twins: 0, truncated: 0, reordered: 0 }
        });
        for (count, more) in [
            (&mut shown.frames, true),
            (&mut shown.twins, twin),
            (&mut shown.truncated, located.cut > 0),
            (&mut shown.reordered, reordered),
        ] {
            *count = count.saturating_add(u32::from(more));
        }
    }

    /// The place that is the pair's already, else a free one.
    fn place(&mut self, hash: u64, of: impl Fn(&Option<Shown>) -> bool) -> Option<usize> {
        if self.places.is_empty() {
            self.places.resize(PAIRS_MAX, None);
        }
        // The low bits: the high ones choose the shard.
        let first = hash as usize % (PAIRS_MAX / WAYS) * WAYS;
        let ways = self.places.get(first..first + WAYS)?;
        let at = ways.iter().position(of).or_else(|| ways.iter().position(Option::is_none))?;
        Some(first + at)
    }

    /// What was shown since it was last told, in an order that follows from the addresses.
    pub fn take(&mut self) -> Option<Box<Vec<Shown>>> {
        if self.taken.is_empty() {
            return None;
        }
        self.taken.sort_unstable();
        let taken = self.taken.drain(..);
        Some(Box::new(taken.filter_map(|at| self.places.get_mut(usize::from(at))?.take()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::packet::Network;
    use super::*;
    use crate::model::Segment;

    fn located(from: u32, to: u32, cut: u32) -> Located<'static> {
        let ip = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        Located {
            bytes: &[],
            network: Network::Ipv4,
            segment: Segment::UNTAGGED,
            src_mac: None,
            dst_mac: None,
            host_hint: None,
            src: ip(from),
            dst: ip(to),
            shard_pair: (ip(from), ip(to)),
            path: Default::default(),
            cut,
            late: false,
            pcp: 0,
        }
    }

    #[test]
    fn both_directions_are_one_pair_and_each_telling_begins_anew() {
        let mut pairs = Pairs::default();
        pairs.see(&located(1, 2, 0), false, false);
        pairs.see(&located(2, 1, 9), true, false);
        pairs.see(&located(1, 3, 0), false, true);
        pairs.see(&located(1, 2, 0), true, false);
        let mut told = *pairs.take().unwrap();
        told.sort_by_key(|shown| shown.ends);
        let counts: Vec<_> = told.iter().map(|s| (s.frames, s.twins, s.truncated, s.reordered)).collect();
        assert_eq!(counts, [(3, 2, 1, 0), (1, 0, 0, 1)]);
        assert_eq!(pairs.take(), None);
        pairs.see(&located(1, 2, 0), false, false);
        assert_eq!(pairs.take().unwrap().len(), 1);
    }

    #[test]
    fn a_sweep_fills_the_table_and_is_counted_and_known_pairs_stay() {
        let mut pairs = Pairs::default();
        pairs.see(&located(1, 2, 0), false, false);
        for n in 0..100_000 {
            pairs.see(&located(9, 1_000 + n, 0), false, false);
        }
        pairs.see(&located(2, 1, 0), false, false);
        let told = pairs.take().unwrap();
        assert!(told.len() <= PAIRS_MAX);
        assert_eq!(told.iter().map(|s| u64::from(s.frames)).sum::<u64>() + pairs.counters.refused, 100_002);
        assert!(told.iter().any(|s| s.frames == 2 && s.ends == (located(1, 2, 0).src, located(1, 2, 0).dst)));
    }
}
