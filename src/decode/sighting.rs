//! Sightings: which MAC's frames each mirror location showed in this packet second, before twins are removed.
//!
//! Where frames come as they are, the interface is the location, if there are several that show such frames.
//!
//! At most [`SIGHTINGS_MAX`] pairs of MACs and their locations a second; beyond it the frames of further ones are
//! counted and not told, which delays the notice of a move and causes none. At most [`INTERFACES_MAX`] names of interfaces; further ones are none.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::packet::{Located, Network};
use crate::counters;
use crate::model::{CaptureInterface, Direction, Interface, Location, Mac, MirrorPath, PathKind, Segment, Sighting};

/// A thousand VMs that talk to ten others each, with both ends mirrored; 96 bytes each.
const SIGHTINGS_MAX: usize = 20_480;
const INTERFACES_MAX: usize = 64;
/// Copies that an interface shared with others before it is said to. One may be chance.
const SHARED_MIN: u32 = 4;
/// Of a power of two, for the place is a product's highest bits.
const RECENT_BITS: u32 = 8;

counters! {
    pub struct SightingCounters {
        refused => "location.sighting.refused",
    }
}

/// Costs nothing where the mirror comes without a tunnel and by one interface.
#[derive(Debug)]
pub struct Sightings {
    index: HashTable<u32>,
    hasher: FixedState,
    /// In order of their first frame.
    seen: Vec<Sighting>,
    /// By number.
    sources: Vec<Origin>,
    /// Several interfaces showed frames as they are.
    several: bool,
    /// Since this second.
    begins: bool,
    /// What is to be told of the interfaces changed.
    news: bool,
    /// Nearly every frame is of a pair that was just seen.
    recent: [Recent; 1 << RECENT_BITS],
    pub counters: SightingCounters,
}

/// A sighting of this second, in words, and its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Recent {
    from: u64,
    to: u64,
    segment: Segment,
    host: Host,
    kind: PathKind,
    id: u32,
    port: u32,
    at: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Host {
    #[default]
    None,
    V4(u32),
    V6(Ipv6Addr),
    /// By the number of its source.
    Interface(u16),
}

/// A mirror source.
#[derive(Clone, Copy, Debug, Default)]
struct Origin {
    name: Option<Interface>,
    /// It showed frames as they are.
    plain: bool,
    shared: u32,
}

impl Default for Sightings {
    fn default() -> Self {
        Sightings {
            index: HashTable::new(),
            // The seed is fixed: nothing depends on the order of the table, and what it holds lives for a second.
            hasher: FixedState::with_seed(0x6561_7374),
            seen: Vec::new(),
            sources: Vec::new(),
            several: false,
            begins: false,
            news: false,
            recent: [Recent::default(); 1 << RECENT_BITS],
            counters: SightingCounters::default(),
        }
    }
}

impl Sightings {
    /// A mirror source with this number gives its first frame; `name` where it is an interface.
    pub fn arrive(&mut self, source: u16, name: Option<Interface>) {
        let at = usize::from(source);
        let known = |name: &Interface| self.sources.iter().any(|origin| origin.name.as_ref() == Some(name));
        let room = self.sources.iter().filter(|origin| origin.name.is_some()).count() < INTERFACES_MAX;
        let name = name.filter(|name| room || known(name));
        if self.sources.len() <= at {
            self.sources.resize(at + 1, Origin::default());
        }
        if let Some(origin) = self.sources.get_mut(at) {
            origin.name = name;
        }
    }

    /// Counts one frame.
    #[inline]
    pub fn see(&mut self, located: &Located<'_>) {
        if matches!(located.network, Network::Lldp | Network::Cdp) {
            return; // no host passes them on, so they tell no receiver's host
        }
        if located.path.direction() == Direction::Egress {
            return; // the receiver's port
        }
        let MirrorPath { kind, id, source, .. } = located.path;
        let host = match located.host_hint {
            Some(IpAddr::V4(host)) => Host::V4(host.to_bits()),
            Some(IpAddr::V6(host)) => Host::V6(host),
            None if kind != PathKind::Wire => Host::None,
            None if self.is_location(source) => Host::Interface(source),
            None => return,
        };
        let (Some(from), Some(to)) = (located.src_mac.filter(|mac| mac.is_unicast()), located.dst_mac) else { return };
        // What goes to all is copied at every port.
        let port = if to.is_unicast() { located.path.port } else { 0 };
        let segment = located.segment;
        let mut this = Recent { from: word(from), to: word(to), segment, host, kind, id, port, at: 0 };
        let place = (this.from ^ this.to.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - RECENT_BITS);
        let Some(recent) = self.recent.get_mut(place as usize) else { return };
        this.at = recent.at;
        if *recent == this
            && let Some(seen) = self.seen.get_mut(this.at as usize)
        {
            seen.frames = seen.frames.saturating_add(1);
            return;
        }
        let interface = || self.sources.get(usize::from(source)).and_then(|origin| origin.name).map(Location::by);
        let Some(location) = Location::of(located.host_hint, located.path).or_else(interface) else { return };
        if let Some(at) = self.look_up(Sighting { from, to, segment, location, port, frames: 1 })
            && let Some(recent) = self.recent.get_mut(place as usize)
        {
            *recent = Recent { at, ..this };
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

    /// The frame seen last was a copy of what another observation point had shown.
    pub fn shared(&mut self, located: &Located<'_>) {
        let plain = Location::of(located.host_hint, located.path).is_none();
        if let Some(origin) = self.sources.get_mut(usize::from(located.path.source)).filter(|_| plain) {
            origin.shared = origin.shared.saturating_add(1);
            self.news |= origin.shared == SHARED_MIN;
        }
    }

    /// It shows a frame as it is: is it one of several interfaces that do?
    fn is_location(&mut self, source: u16) -> bool {
        let Some(origin) = self.sources.get_mut(usize::from(source)) else { return false };
        let Some(name) = origin.name else { return false };
        if !origin.plain {
            origin.plain = true;
            self.news = true;
            let several = self.sources.iter().any(|origin| origin.plain && origin.name.is_some_and(|n| n != name));
            // What the first one showed of this second is lost, and would be missed.
            self.begins |= several && !self.several;
            self.several = several;
        }
        self.several && !self.begins
    }

    /// The interfaces by number of their source, where that changed and there are several.
    pub fn interfaces(&mut self) -> Option<Vec<Option<CaptureInterface>>> {
        let news = std::mem::take(&mut self.news) && self.several;
        let shown = |origin: &Origin| {
            let name = origin.name.filter(|_| origin.plain)?;
            Some(CaptureInterface { name, shares: origin.shared >= SHARED_MIN })
        };
        news.then(|| self.sources.iter().map(shown).collect())
    }

    /// What the second showed; the next one begins.
    pub fn take(&mut self) -> Option<Box<Vec<Sighting>>> {
        self.begins = false;
        if self.seen.is_empty() {
            return None;
        }
        self.index.clear();
        self.recent.fill(Recent::default());
        Some(Box::new(std::mem::take(&mut self.seen)))
    }
}

fn same(a: &Sighting, b: &Sighting) -> bool {
    (a.from, a.to, a.location, a.port, a.segment) == (b.from, b.to, b.location, b.port, b.segment)
}

/// Of four octets and two, for six are not loaded at once.
#[inline]
fn word(Mac([a, b, c, d, e, f]): Mac) -> u64 {
    u64::from(u32::from_le_bytes([a, b, c, d])) << 16 | u64::from(u16::from_le_bytes([e, f]))
}

/// MACs in one word each.
fn hash(hasher: &FixedState, sighting: &Sighting) -> u64 {
    hasher.hash_one((word(sighting.from), word(sighting.to), sighting.location, sighting.port, sighting.segment))
}

#[cfg(test)]
mod tests {
    use super::*;
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
            late: false,
            pcp: 0,
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

    fn plain(source: u16) -> Located<'static> {
        let mut frame = located(1, 2, None);
        frame.path.source = source;
        frame
    }

    #[test]
    fn one_interface_is_no_location_and_several_are() {
        let mut sightings = Sightings::default();
        sightings.arrive(0, Interface::new("eth1"));
        sightings.arrive(1, Interface::new("eth2"));
        // Another file of the same capture, and a source that is no interface.
        sightings.arrive(2, Interface::new("eth1"));
        sightings.arrive(3, None);
        for source in [0, 2, 3] {
            sightings.see(&plain(source));
        }
        assert_eq!((sightings.take(), sightings.interfaces()), (None, None));
        sightings.see(&plain(1));
        assert_eq!(sightings.take(), None, "half a second tells one of them only");
        for source in [1, 0, 3] {
            sightings.see(&plain(source));
        }
        let told = sightings.take().unwrap();
        let shown: Vec<String> = told.iter().map(|seen| seen.location.to_string()).collect();
        assert_eq!(shown, ["interface eth2", "interface eth1"]);
        assert_eq!(sightings.interfaces().unwrap().iter().flatten().count(), 3);
        assert_eq!(sightings.interfaces(), None, "told once");
    }

    #[test]
    fn interfaces_that_carry_tunnels_alone_are_none_and_copies_tell_which_share() {
        let mut sightings = Sightings::default();
        sightings.arrive(0, Interface::new("eth1"));
        sightings.arrive(1, Interface::new("erspan0"));
        sightings.see(&plain(0));
        let mut tunnelled = located(1, 2, Some(100));
        tunnelled.path.source = 1;
        sightings.see(&tunnelled);
        assert_eq!(sightings.interfaces(), None);
        sightings.see(&plain(1));
        for _ in 0..SHARED_MIN {
            sightings.shared(&plain(1));
        }
        let shares: Vec<_> = sightings.interfaces().unwrap().iter().flatten().map(|i| i.shares).collect();
        assert_eq!(shares, [false, true]);
    }

    #[test]
    fn a_file_with_very_many_interfaces_has_no_more_names() {
        let mut sightings = Sightings::default();
        for n in 0..1_000 {
            sightings.arrive(n, Interface::new(&format!("eth{n}")));
            sightings.see(&plain(n));
        }
        assert_eq!(sightings.interfaces().unwrap().iter().flatten().count(), INTERFACES_MAX);
    }
}
