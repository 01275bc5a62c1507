//! Observation points: where copies are made. Each capture source and outer sender is one.
//! At most [`POINTS_MAX`]; all further ones are one together, whose copies are told apart by nothing and stay.

use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Hosts of a large site, each a sender.
const POINTS_MAX: usize = 4_096;
/// The doubling ratio is that of so many packets (decisions.md B.14).
const RECENT: usize = 4_096;
/// Before so many nothing is concluded from it.
const RECENT_MIN: u32 = 256;
const WORDS: usize = RECENT / 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub source: u16,
    pub sender: Option<IpAddr>,
}

/// One point: of its last packets, which were copies of one that it had shown before.
pub(super) struct Point {
    copies: [u64; WORDS],
    at: u32,
    packets: u32,
    count: u32,
}

pub(super) struct Points {
    ids: HashMap<Key, u16, FixedState>,
    points: Vec<Point>,
    /// The last one, which is nearly always the next.
    last: Option<(Key, u16)>,
    /// Packets of points beyond the bound.
    pub full: u64,
}

impl Points {
    pub fn new() -> Self {
        Points { ids: HashMap::with_hasher(FixedState::default()), points: Vec::new(), last: None, full: 0 }
    }

    /// Ids begin at 1.
    #[inline]
    pub fn id(&mut self, key: Key) -> u16 {
        match self.last {
            Some((last, id)) if last == key => id,
            _ => self.look_up(key),
        }
    }

    fn look_up(&mut self, key: Key) -> u16 {
        let known = self.ids.get(&key).copied();
        let id = known.unwrap_or_else(|| {
            if self.points.len() < POINTS_MAX {
                self.points.push(Point { copies: [0; WORDS], at: 0, packets: 0, count: 0 });
                self.ids.insert(key, self.points.len() as u16);
            }
            self.points.len() as u16
        });
        self.full += u64::from(known.is_none() && self.ids.get(&key).is_none());
        self.last = Some((key, id));
        id
    }

    pub fn several(&self) -> bool {
        self.points.len() > 1
    }

    pub fn get_mut(&mut self, id: u16) -> Option<&mut Point> {
        self.points.get_mut(usize::from(id).checked_sub(1)?)
    }
}

impl Point {
    /// Was the packet a copy of one that this point had shown?
    #[inline]
    pub fn note(&mut self, copy: bool) {
        let bit = 1u64 << (self.at % 64);
        if let Some(word) = self.copies.get_mut(self.at as usize / 64) {
            self.count -= u32::from(*word & bit != 0 && self.packets as usize == RECENT);
            *word = if copy { *word | bit } else { *word & !bit };
            self.count += u32::from(copy);
        }
        self.at = (self.at + 1) % RECENT as u32;
        self.packets = (self.packets + 1).min(RECENT as u32);
    }

    /// More than nine of ten packets come twice: the mirror does it.
    #[inline]
    pub fn doubles(&self) -> bool {
        self.packets >= RECENT_MIN && u64::from(self.count) * 2 * 10 > u64::from(self.packets) * 9
    }
}
