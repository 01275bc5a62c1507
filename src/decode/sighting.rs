//! Sightings: which MAC's frames each mirror location showed in this packet second, before twins are removed.
//!
//! At most [`SIGHTINGS_MAX`] pairs of MACs and their locations a second; beyond it the frames of further ones are
//! counted and not told, which delays the notice of a move and causes none.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::packet::Located;
use crate::counters;
use crate::model::{Direction, Location, Mac, MirrorPath, PathKind, Sighting};

/// A thousand VMs that talk to ten others each, with both ends mirrored; 64 bytes each.
const SIGHTINGS_MAX: usize = 20_480;
const RECENT: usize = 256;

counters! {
    pub struct SightingCounters {
        refused => "location.sighting.refused",
    }
}

/// Costs nothing where the mirror comes without a tunnel.
#[derive(Debug)]
pub struct Sightings {
    index: HashTable<u32>,
    hasher: FixedState,
    /// In order of their first frame.
    seen: Vec<Sighting>,
    /// Where the last ones are, by MACs: nearly every frame is of a pair that was just seen.
    recent: [u16; RECENT],
    pub counters: SightingCounters,
}

impl Default for Sightings {
    fn default() -> Self {
        Sightings {
            index: HashTable::new(),
            // The seed is fixed: nothing depends on the order of the table, and what it holds lives for a second.
            hasher: FixedState::with_seed(0x6561_7374),
            seen: Vec::new(),
            recent: [0; RECENT],
            counters: SightingCounters::default(),
        }
    }
}

impl Sightings {
    /// Counts one frame.
    #[inline]
    pub fn see(&mut self, located: &Located<'_>) {
        let (host, MirrorPath { kind, id, .. }) = (located.host_hint, located.path);
        if (host.is_none() && kind == PathKind::Wire) || located.path.direction() == Direction::Egress {
            return; // no location, or the receiver's port
        }
        let (Some(from), Some(to)) = (located.src_mac.filter(|mac| mac.is_unicast()), located.dst_mac) else { return };
        let ([.., f1, f0], [.., t1, t0]) = (from.0, to.0);
        let recent = usize::from(f0 ^ f1.rotate_left(3) ^ t0.rotate_left(5) ^ t1.rotate_left(1)) % RECENT;
        let at = self.recent.get(recent).map_or(0, |at| usize::from(*at));
        if let Some(seen) = self.seen.get_mut(at)
            && (seen.from, seen.to) == (from, to)
            && seen.segment == located.segment
            && (seen.location.kind, seen.location.id) == (kind, id)
            && seen.location.host == host
        {
            seen.frames = seen.frames.saturating_add(1);
            return;
        }
        let Some(location) = Location::of(host, located.path) else { return };
        let at = self.look_up(Sighting { from, to, segment: located.segment, location, frames: 1 });
        if let (Some(recent), Some(at)) = (self.recent.get_mut(recent), at) {
            *recent = at as u16;
        }
    }

    /// Counts it, and tells where.
    #[inline(never)]
    fn look_up(&mut self, one: Sighting) -> Option<u32> {
        let hash = hash(&self.hasher, &one);
        let found = self.index.find(hash, |at| self.seen.get(*at as usize).is_some_and(|seen| same(seen, &one)));
        let found = found.copied();
        if let Some(seen) = found.and_then(|at| self.seen.get_mut(at as usize)) {
            seen.frames = seen.frames.saturating_add(1);
            found
        } else if self.seen.len() < SIGHTINGS_MAX {
            let at = self.seen.len() as u32;
            self.seen.push(one);
            let (seen, hasher) = (&self.seen, &self.hasher);
            let rehash = |at: &u32| seen.get(*at as usize).map_or(0, |seen| self::hash(hasher, seen));
            self.index.insert_unique(hash, at, rehash);
            Some(at)
        } else {
            self.counters.refused += 1;
            None
        }
    }

    /// What the second showed; the next one begins.
    pub fn take(&mut self) -> Option<Box<Vec<Sighting>>> {
        if self.seen.is_empty() {
            return None;
        }
        self.index.clear();
        Some(Box::new(std::mem::take(&mut self.seen)))
    }
}

fn same(a: &Sighting, b: &Sighting) -> bool {
    (a.from, a.to, a.location, a.segment) == (b.from, b.to, b.location, b.segment)
}

/// MACs in one word each.
fn hash(hasher: &FixedState, sighting: &Sighting) -> u64 {
    let word = |Mac([a, b, c, d, e, f]): Mac| u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    hasher.hash_one((word(sighting.from), word(sighting.to), sighting.location, sighting.segment))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::packet::Network;
    use super::*;
    use crate::model::Segment;

    fn located(from: u8, to: u8, host: Option<u8>) -> Located<'static> {
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let mac = |last| Some(Mac([0x52, 0x54, 0, 0, 0, last]));
        Located {
            bytes: &[],
            network: Network::Ipv4,
            segment: Segment::UNTAGGED,
            src_mac: mac(from),
            dst_mac: mac(to),
            host_hint: host.map(ip),
            src: ip(from),
            dst: ip(to),
            shard_pair: (ip(from), ip(to)),
            path: Default::default(),
            cut: 0,
        }
    }

    #[test]
    fn frames_are_summed_by_pair_and_location_and_each_second_begins_anew() {
        let mut sightings = Sightings::default();
        for (from, to, host) in [(1, 2, 100), (1, 2, 101), (1, 2, 100), (2, 1, 100), (1, 3, 100)] {
            sightings.see(&located(from, to, Some(host)));
        }
        let told = sightings.take().unwrap();
        let frames: Vec<_> = told.iter().map(|s| (s.from.0[5], s.to.0[5], s.location.to_string(), s.frames)).collect();
        let at = |host: u8| format!("10.0.0.{host}");
        assert_eq!(frames, [(1, 2, at(100), 2), (1, 2, at(101), 1), (2, 1, at(100), 1), (1, 3, at(100), 1)]);
        assert_eq!(sightings.take(), None);
        sightings.see(&located(1, 2, Some(100)));
        assert_eq!(sightings.take().unwrap().len(), 1);
    }

    #[test]
    fn a_mirror_without_a_tunnel_shows_no_location() {
        let mut sightings = Sightings::default();
        sightings.see(&located(1, 2, None));
        assert_eq!(sightings.take(), None);
    }

    #[test]
    fn a_flood_of_made_up_macs_fills_the_table_and_is_counted() {
        let mut sightings = Sightings::default();
        for n in 0..=SIGHTINGS_MAX as u32 + 5 {
            let [_, a, b, c] = n.to_be_bytes();
            let flood = Located { src_mac: Some(Mac([0x52, 0x54, 1, a, b, c])), ..located(1, 2, Some(100)) };
            sightings.see(&flood);
        }
        assert_eq!((sightings.counters.refused, sightings.take().unwrap().len()), (6, SIGHTINGS_MAX));
    }
}
