//! Observation points: where copies are made. Each capture source, outer sender and mirror path (ERSPAN session and
//! port, direction, RSPAN VLAN…) is one.
//! At most [`POINTS_MAX`]; all further ones are one together, whose copies are told apart by nothing and stay.

use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::model::MirrorPath;

/// Hosts of a large site, each a sender; or its mirrored ports.
const POINTS_MAX: usize = 4_096;
/// The last ones by hash: packets of some hosts come by turns.
const CACHED: usize = 64;
/// The doubling ratio is that of so many packets (decisions.md B.14).
const RECENT: usize = 4_096;
/// Before so many nothing is concluded from it.
const RECENT_MIN: u32 = 256;
const WORDS: usize = RECENT / 64;
/// The id of all points beyond the bound.
const BEYOND: u16 = u16::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub source: u16,
    pub sender: Option<IpAddr>,
    pub path: MirrorPath,
}

/// One point: of its last packets, which were copies of one that it had shown before.
pub(super) struct Point {
    copies: [u64; WORDS],
    at: u32,
    packets: u32,
    count: u32,
    /// More than nine of ten packets come twice: the mirror does it.
    pub doubling: bool,
}

pub(super) struct Points {
    ids: HashMap<Key, u16, FixedState>,
    points: Vec<Point>,
    cache: [Option<(Key, u16)>; CACHED],
    /// Packets of points beyond the bound.
    pub full: u64,
}

impl Points {
    pub fn new() -> Self {
        let ids = HashMap::with_hasher(FixedState::default());
        Points { ids, points: Vec::new(), cache: [None; CACHED], full: 0 }
    }

    /// Are there more than one?
    #[inline]
    pub fn several(&self) -> bool {
        self.points.len() > 1
    }

    /// Ids begin at 1.
    #[inline]
    pub fn id(&mut self, key: Key) -> u16 {
        let at = key.spread() % CACHED;
        match self.cache.get(at) {
            Some(Some((known, id))) if *known == key => *id,
            _ => self.look_up(key, at),
        }
    }

    #[cold]
    fn look_up(&mut self, key: Key, at: usize) -> u16 {
        let known = self.ids.get(&key).copied();
        let Some(id) = known.or_else(|| self.begin(key)) else {
            self.full += 1;
            return BEYOND;
        };
        if let Some(cached) = self.cache.get_mut(at) {
            *cached = Some((key, id));
        }
        id
    }

    fn begin(&mut self, key: Key) -> Option<u16> {
        if self.points.len() >= POINTS_MAX {
            return None;
        }
        self.points.push(Point { copies: [0; WORDS], at: 0, packets: 0, count: 0, doubling: false });
        let id = self.points.len() as u16;
        self.ids.insert(key, id);
        Some(id)
    }

    #[inline]
    pub fn get(&self, id: u16) -> Option<&Point> {
        self.points.get(usize::from(id).checked_sub(1)?)
    }

    pub fn get_mut(&mut self, id: u16) -> Option<&mut Point> {
        self.points.get_mut(usize::from(id).checked_sub(1)?)
    }
}

impl Key {
    /// Where the cache looks: neighbouring addresses, sessions and ports lie apart.
    #[inline]
    fn spread(&self) -> usize {
        let sender = match self.sender {
            None => 0,
            Some(IpAddr::V4(v4)) => v4.to_bits(),
            Some(IpAddr::V6(v6)) => v6.to_bits() as u32,
        };
        let path = self.path.id.wrapping_mul(7) ^ self.path.port.wrapping_mul(11);
        let direction = self.path.direction() as u32;
        (sender ^ path).wrapping_add(u32::from(self.source)).wrapping_add(direction << 3) as usize
    }
}

impl Point {
    /// Was the packet a copy of one that this point had shown? Tells whether it doubles.
    #[inline]
    pub fn note(&mut self, copy: bool) -> bool {
        let bit = 1u64 << (self.at % 64);
        if let Some(word) = self.copies.get_mut(self.at as usize / 64) {
            self.count -= u32::from(*word & bit != 0 && self.packets as usize == RECENT);
            *word = if copy { *word | bit } else { *word & !bit };
            self.count += u32::from(copy);
        }
        self.at = (self.at + 1) % RECENT as u32;
        self.packets = (self.packets + 1).min(RECENT as u32);
        self.doubling = self.packets >= RECENT_MIN && u64::from(self.count) * 2 * 10 > u64::from(self.packets) * 9;
        self.doubling
    }
}
