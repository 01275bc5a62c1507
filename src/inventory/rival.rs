//! A rival: a location where a VM may be now, because it shows frames of it that the known one does not show.
//!
//! At most [`PAIRS_MAX`] receivers are compared; further ones are left out, for the first tell enough.

use std::collections::BTreeMap;

use crate::model::{Location, Mac, Timestamp};

const PAIRS_MAX: usize = 16;
/// Frames that only the new location showed, and for how long, before it is believed (detection.md 6.3: three, and
/// two seconds; packet seconds end up to one later).
const FRAMES_MIN: u32 = 3;
const CONFIRM_S: f64 = 3.0;
/// The same after a RARP, gratuitous ARP or unsolicited advertisement from there: one frame is enough.
const ANNOUNCED_S: f64 = 2.0;
/// Where every receiver is on the new host, the frames may be those of a sender that no location mirrors.
const ALL_LOCAL_S: f64 = 8.0;
/// Between interfaces, which are weaker witnesses.
const INTERFACE_S: f64 = 6.0;
/// Where the VM still shows at the old place too, the question is asked anew after this: a move is noticed within 10 s.
const WINDOW_S: f64 = 9.0;

/// A location where the VM may be now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rival {
    pub location: Location,
    pub since: Timestamp,
    pub announced: Announced,
    pairs: Vec<Pair>,
}

/// Ascending by what it proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Announced {
    No,
    /// Gratuitous ARP or an unsolicited advertisement: failover sends them too.
    Gratuitous,
    /// What hypervisors broadcast for a VM that has moved.
    Rarp,
}

/// Frames to one receiver since the question came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub to: Mac,
    pub there: u32,
    pub here: u32,
    /// The receiver is on the rival's host, or on the host where the VM was.
    local_there: bool,
    local_here: bool,
}

/// One VM's frames to one receiver by one location, in a packet second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub to: Mac,
    pub location: Location,
    pub frames: u32,
    /// The receiver is known to be there.
    pub local: bool,
}

impl Rival {
    pub fn new(location: Location, announced: Announced, since: Timestamp) -> Self {
        Rival { location, since, announced, pairs: Vec::new() }
    }

    /// Takes in one more second. What the VM sent from the old place in the second of the move says nothing of the
    /// time after it.
    pub fn second(&mut self, pairs: impl Iterator<Item = Pair>) {
        let begins = self.pairs.is_empty();
        for pair in pairs.filter(|pair| !begins || pair.there > 0) {
            self.add(pair);
        }
    }

    fn add(&mut self, pair: Pair) {
        if let Some(known) = self.pairs.iter_mut().find(|known| known.to == pair.to) {
            known.there = known.there.saturating_add(pair.there);
            known.here = known.here.saturating_add(pair.here);
        } else if self.pairs.len() < PAIRS_MAX {
            self.pairs.push(pair);
        }
    }

    /// Frames that only this place showed, and frames that only the old one did.
    pub fn exclusive(&self) -> (u32, u32) {
        let sum = |of: fn(&Pair) -> u32| self.pairs.iter().map(of).fold(0, u32::saturating_add);
        (sum(|pair| pair.there.saturating_sub(pair.here)), sum(|pair| pair.here.saturating_sub(pair.there)))
    }

    fn totals(&self) -> (u64, u64) {
        self.pairs
            .iter()
            .fold((0, 0), |(there, here), pair| (there + u64::from(pair.there), here + u64::from(pair.here)))
    }

    /// It shows what the old place does not, and hardly anything the other way round. A fifth is what a bad mirror
    /// loses.
    fn dominates(&self) -> bool {
        let ((there, here), (all_there, all_here)) = (self.exclusive(), self.totals());
        there >= here.saturating_mul(5) && all_there.saturating_mul(4) >= all_here.saturating_mul(5)
    }

    /// Is every receiver of what only this place showed there too?
    pub fn is_all_local(&self) -> bool {
        self.pairs.iter().all(|pair| pair.local_there || pair.there <= pair.here)
    }

    pub fn is_confirmed(&self, now: Timestamp) -> bool {
        let age_s = now.since_s(self.since);
        let ((there, here), (all_there, all_here)) = (self.exclusive(), self.totals());
        let needed_s = match self.announced {
            Announced::No if self.is_all_local() => ALL_LOCAL_S,
            Announced::No => CONFIRM_S,
            _ => ANNOUNCED_S,
        };
        let frames_min = if self.announced == Announced::No { FRAMES_MIN } else { 1 };
        // All receivers are on the old host, which shows a copy of every frame: then the announcement decides.
        let equal = self.announced == Announced::Rarp
            && age_s >= ALL_LOCAL_S / 2.0
            && here == 0
            && all_there >= u64::from(FRAMES_MIN)
            && all_there.saturating_mul(10) >= all_here.saturating_mul(9);
        age_s >= needed_s && there >= frames_min && self.dominates() || equal
    }

    /// Between interfaces: did the old one show frames `alone`, and was there time for one to come back? RARP says it
    /// as well.
    pub fn took_over(&self, alone: bool, now: Timestamp) -> bool {
        let waited = self.announced != Announced::No || now.since_s(self.since) >= INTERFACE_S;
        self.announced == Announced::Rarp || alone && waited
    }

    /// Both places show frames of their own, each to receivers that the other shows nothing for.
    pub fn conflicts(&self, now: Timestamp) -> bool {
        let only = |a: fn(&Pair) -> u32, b: fn(&Pair) -> u32| {
            self.pairs.iter().filter(|pair| b(pair) == 0).map(a).fold(0, u32::saturating_add) >= FRAMES_MIN
        };
        now.since_s(self.since) >= CONFIRM_S && only(|p| p.there, |p| p.here) && only(|p| p.here, |p| p.there)
    }

    pub fn is_duplicate(&self) -> bool {
        self.pairs.iter().any(|pair| pair.here == 0 && !pair.local_there)
            && self.pairs.iter().any(|pair| pair.there == 0 && !pair.local_here)
    }

    /// Is the question still open? Late copies of the old place close it, and so does time where both show frames.
    pub fn is_open(&self, now: Timestamp) -> bool {
        let age_s = now.since_s(self.since);
        let ((there, here), (_, all_here)) = (self.exclusive(), self.totals());
        if self.announced != Announced::No && age_s < WINDOW_S {
            return true;
        }
        there > 0
            && !(age_s >= CONFIRM_S && u64::from(here) * 5 > u64::from(there))
            && (age_s <= WINDOW_S || all_here == 0)
    }
}

/// The location with the most frames; of equals the one whose copy came first.
pub(super) fn most(rows: &[Row]) -> Option<Location> {
    let mut frames: BTreeMap<Location, u64> = BTreeMap::new();
    for row in rows {
        *frames.entry(row.location).or_default() += u64::from(row.frames);
    }
    rows.iter().rev().map(|row| row.location).max_by_key(|place| frames.get(place).copied())
}

/// The other locations, those that show most first.
pub(super) fn others(rows: &[Row], here: Location) -> Vec<Location> {
    let mut frames: BTreeMap<Location, u64> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.location != here) {
        *frames.entry(row.location).or_default() += u64::from(row.frames);
    }
    let mut places: Vec<(Location, u64)> = frames.into_iter().collect();
    places.sort_by_key(|(_, frames)| std::cmp::Reverse(*frames));
    places.into_iter().map(|(place, _)| place).collect()
}

/// A second's frames by receiver, seen from one place and from the other.
pub(super) fn pairs(rows: &[Row], there: Location, here: Location) -> impl Iterator<Item = Pair> {
    let mut pairs: BTreeMap<Mac, Pair> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.location == there || row.location == here) {
        let none = Pair { to: row.to, there: 0, here: 0, local_there: false, local_here: false };
        let pair = pairs.entry(row.to).or_insert(none);
        let (frames, local) = match row.location == there {
            true => (&mut pair.there, &mut pair.local_there),
            false => (&mut pair.here, &mut pair.local_here),
        };
        *frames = frames.saturating_add(row.frames);
        *local |= row.local;
    }
    pairs.into_values()
}
