//! Location: on which host a VM is, told by the mirror locations that show its frames.
//!
//! The sender's host shows every frame of a VM, the receiver's host only those to its own VMs. So a VM is where
//! frames are seen that no other location shows, and has moved when such frames come from elsewhere and none from
//! where it was. Interfaces are weaker witnesses (see `interfaces.rs`). At most one record a VM, [`STAYS_MAX`] stays each (the oldest is forgotten), [`RIVALS_MAX`] places
//! in question each (further ones wait, counted). Of [`LOCATIONS_MAX`] locations it is known when they were heard.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::after_move::{AFTER_S, Before, Differs, Hourly};
use super::interfaces::{Interfaces, is_interface};
use super::marks::Marks;
use super::records::Records;
use super::rival::{self, Announced, Rival, Row};
use crate::counters;
use crate::model::{Location, Mark, Timestamp, Transport, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

const STAYS_MAX: usize = 32;
const RIVALS_MAX: usize = 4;
const COMPANIONS_MAX: usize = 8;
/// A copy that another interface lost shows a frame alone, too.
const ALONE_MIN: u8 = 5;
const PLACES_MAX: usize = RIVALS_MAX + COMPANIONS_MAX;
const LOCATIONS_MAX: usize = 4_096;

/// Until then the first location is a guess, and another one corrects it.
const PROBATION_S: f64 = 10.0;
/// An unannounced move back within this time was none: two senders take turns.
const BACK_S: f64 = 60.0;
/// So many windows in which both places show frames of their own, within [`BACK_S`].
const CONFLICTS: usize = 3;
/// For so long a VM that sends from two places is not followed.
const UNPLACED_S: f64 = 600.0;
/// A location that shows nothing at all any more may be blind rather than empty.
const SILENT_S: f64 = 2.0;

static WHEREABOUTS: Kind = Kind { tag: 0x1b, name: "whereabouts", version: 2 };

counters! {
    pub(super) struct LocationCounters {
        moves => "inventory.vm.moved",
        corrected => "inventory.location.corrected",
        conflicts => "inventory.location.conflicts",
        refused => "inventory.location.refused",
        marks_refused => "inventory.location.marks_refused",
    }
}

/// A time on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    pub location: Location,
    pub since: Timestamp,
    /// Its last frame there.
    pub until: Timestamp,
    /// It announced itself when it came (RARP, gratuitous ARP, unsolicited neighbour advertisement).
    pub announced: bool,
    /// Frames of it that the location showed.
    pub frames: u64,
    /// Connections that it answered, and the sum of the times from SYN to SYN-ACK.
    pub(super) answers: u64,
    pub(super) answer_ns: u64,
    /// Where only the mirrored port tells hosts apart.
    pub port: Option<u32>,
    /// What differs from the stay before, told an hour after the move; `None` until then.
    pub differs: Option<Vec<String>>,
    /// Volume by peer before the move and in the hour after it.
    pub volumes: Vec<Hourly>,
    /// What it stored on in that hour, and when it left.
    pub storage: Vec<String>,
}

/// Where a VM was, and what is odd about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// Oldest first; the last is where it is.
    pub stays: Vec<Stay>,
    /// Frames with its MAC come from this location and another one by turns.
    pub doubled: Option<Doubled>,
    probation: Timestamp,
    /// What its last move is to be compared with.
    pub(super) before: Option<Box<Before>>,
    /// What its frames of this stay ask for, by service.
    pub(super) marks: Marks,
    #[serde(skip)]
    rivals: Vec<Rival>,
    /// Locations that showed twins of its frames during this stay: receivers' hosts.
    #[serde(skip)]
    companions: Vec<Location>,
    /// In so many seconds the interface where it is showed frames of it alone: it is no lesser mirror of what another
    /// one shows whole. Stops at 255.
    alone: u8,
    #[serde(skip)]
    conflicts: Vec<Timestamp>,
    /// When an announcement of it was seen last, and where first.
    #[serde(skip)]
    announcement: Option<(Timestamp, Location)>,
}

/// Why a VM cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubled {
    pub also: Location,
    pub seen: Timestamp,
    /// Both places show frames to receivers that are not there: two senders have the MAC. Otherwise it may be a host
    /// whose own port is not mirrored.
    pub duplicate: bool,
}

/// What a tick found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Moved { from: Box<Stay>, to: Box<Stay> },
    Doubled(Location, Doubled),
}

#[derive(Debug)]
pub(super) struct Locations {
    all: Records<VmId, Whereabouts>,
    /// VMs with rivals.
    asked: BTreeSet<VmId>,
    /// VMs that moved within the hour.
    compared: BTreeSet<VmId>,
    /// When each location last showed anything.
    heard: BTreeMap<Location, Timestamp>,
    pub interfaces: Interfaces,
    pub counters: LocationCounters,
}

impl Locations {
    pub fn new() -> Self {
        Locations::of(Records::new(&WHEREABOUTS))
    }

    pub fn of(all: Records<VmId, Whereabouts>) -> Self {
        Locations {
            all,
            asked: BTreeSet::new(),
            compared: BTreeSet::new(),
            heard: BTreeMap::new(),
            interfaces: Interfaces::default(),
            counters: LocationCounters::default(),
        }
    }

    pub fn get(&self, vm: VmId) -> Option<&Whereabouts> {
        self.all.get(&vm)
    }

    /// Where it is, once that is more than a guess.
    pub fn settled(&self, vm: VmId, now: Timestamp) -> Option<Location> {
        self.all.get(&vm).filter(|known| known.is_settled(now)).and_then(Whereabouts::here)
    }

    pub fn hear(&mut self, location: Location, now: Timestamp) {
        if self.heard.len() < LOCATIONS_MAX || self.heard.contains_key(&location) {
            self.heard.insert(location, now);
        }
    }

    /// Takes what the locations showed of one VM in one packet second, in order of their first frame.
    pub fn second(&mut self, vm: VmId, rows: &[Row], now: Timestamp) {
        let Some(known) = self.all.touch(&vm) else {
            let Some(location) = rival::most(rows) else { return };
            let stay = Stay::new(location, now, now, false);
            self.all.put(vm, Whereabouts { stays: vec![stay], probation: now, ..Whereabouts::default() });
            return;
        };
        let Some(stay) = known.stays.last() else { return };
        let (here, until) = (stay.location, stay.until);
        if rows.iter().all(|row| is_interface(row.location) != is_interface(here)) {
            // An interface says less than a host; it counts where no host shows the VM any more.
            if is_interface(here) || now.since_s(until) >= UNPLACED_S {
                if let Some(location) = rival::most(rows) {
                    known.place(location, now);
                }
                self.all.change(&vm);
            }
            return;
        }
        if is_interface(here) {
            let others = |to| rows.iter().any(|row| row.to == to && row.location != here);
            let alone = rows.iter().any(|row| row.location == here && !others(row.to));
            known.alone = known.alone.saturating_add(u8::from(alone));
        }
        let Some(stay) = known.stays.last_mut() else { return };
        for row in rows.iter().filter(|row| row.location == here) {
            stay.until = now;
            stay.frames = stay.frames.saturating_add(u64::from(row.frames));
        }
        if rows.iter().all(|row| row.location == here) && known.rivals.is_empty() || known.is_unplaced(now) {
            return;
        }
        let places = rival::others(rows, here);
        // One MAC from more places than that in one second is a flood of forged copies.
        self.counters.refused += places.len().saturating_sub(PLACES_MAX) as u64;
        for place in places.into_iter().take(PLACES_MAX) {
            if !known.rivals.iter().any(|rival| rival.location == place) {
                if rival::pairs(rows, place, here).any(|pair| pair.there > pair.here) {
                    self.counters.refused += u64::from(!known.ask(place, Announced::No, now));
                } else if !known.companions.contains(&place) && known.companions.len() < COMPANIONS_MAX {
                    known.companions.push(place);
                }
            }
        }
        for rival in &mut known.rivals {
            rival.second(rival::pairs(rows, rival.location, here));
        }
        if !known.rivals.is_empty() {
            self.asked.insert(vm);
        }
    }

    /// The VM announced itself there. Of the copies of one announcement the first tells where it was sent.
    pub fn announced(&mut self, vm: VmId, there: Location, rarp: bool, now: Timestamp) {
        let Some(known) = self.all.touch(&vm) else { return };
        let is_copy = known.announcement.is_some_and(|(time, first)| first != there && now.since_s(time) <= 1.0);
        if is_copy || known.is_unplaced(now) {
            return;
        }
        known.announcement = Some((now, there));
        if known.here().is_some_and(|here| here != there && is_interface(here) == is_interface(there)) {
            let how = if rarp { Announced::Rarp } else { Announced::Gratuitous };
            self.counters.refused += u64::from(!known.ask(there, how, now));
            self.asked.insert(vm);
        }
    }

    /// A packet second has passed: decides what can be decided, in order of VM.
    pub fn tick(&mut self, now: Timestamp) -> Vec<(VmId, Found)> {
        let mut found = Vec::new();
        if self.heard.len() >= LOCATIONS_MAX {
            self.heard.retain(|_, heard| now.since_s(*heard) < BACK_S);
        }
        for vm in std::mem::take(&mut self.asked) {
            let Some(known) = self.all.touch(&vm) else { continue };
            let Some(here) = known.here() else { continue };
            let blind = self.heard.get(&here).is_none_or(|heard| now.since_s(*heard) >= SILENT_S);
            let conflicts = known.conflicts.len();
            let interfaces = &mut self.interfaces;
            let news = known.decide(vm, here, blind, interfaces, now);
            self.counters.conflicts += known.conflicts.len().saturating_sub(conflicts) as u64;
            if !known.rivals.is_empty() {
                self.asked.insert(vm);
            }
            if matches!(news, Some(Found::Moved { .. })) {
                self.counters.moves += 1;
            } else if known.here() != Some(here) {
                self.counters.corrected += 1;
            }
            if news.is_some() || known.here() != Some(here) {
                self.all.change(&vm);
            }
            found.extend(news.map(|news| (vm, news)));
        }
        found
    }

    /// Where it is, of all VMs that are settled: how many are at each place.
    pub fn settled_at(&self, now: Timestamp) -> BTreeMap<Location, usize> {
        let mut places = BTreeMap::new();
        for here in self.all.iter().filter(|(_, known)| known.is_settled(now)).filter_map(|(_, known)| known.here()) {
            *places.entry(here).or_default() += 1;
        }
        places
    }

    /// It is behind another port of the same switch.
    pub fn moved_port(&mut self, vm: VmId, from: u32, to: &Stay) -> Option<(Stay, Stay)> {
        let known = self.all.change(&vm)?;
        let last = known.stays.last_mut()?;
        last.port = Some(from);
        let from = last.clone();
        let to = Stay { port: Some(to.location.port), location: from.location, ..to.clone() };
        if known.stays.len() >= STAYS_MAX {
            known.stays.remove(0);
        }
        known.stays.push(to.clone());
        self.counters.moves += 1;
        Some((from, to))
    }

    /// A connection was answered by the VM so long after its SYN.
    pub fn answered(&mut self, vm: VmId, after_ns: u64) {
        if let Some(stay) = self.all.touch(&vm).and_then(|known| known.stays.last_mut()) {
            stay.answers += 1;
            stay.answer_ns = stay.answer_ns.saturating_add(after_ns);
        }
    }

    /// The VM is compared with this an hour after it.
    pub fn compare(&mut self, vm: VmId, before: Before) {
        if let Some(known) = self.all.change(&vm) {
            known.marks = Marks::default();
            known.before = Some(Box::new(before));
            self.compared.insert(vm);
        }
    }

    /// VMs whose comparison is due, in order.
    pub fn due(&self, now: Timestamp) -> Vec<VmId> {
        let is_due = |vm: &&VmId| {
            let before = self.all.get(vm).and_then(|known| known.before.as_ref());
            before.is_none_or(|before| now.since_s(before.moved) >= AFTER_S)
        };
        self.compared.iter().filter(is_due).copied().collect()
    }

    pub fn take_before(&mut self, vm: VmId) -> Option<(Before, Stay, Stay)> {
        self.compared.remove(&vm);
        let known = self.all.change(&vm)?;
        let before = *known.before.take()?;
        match known.stays.as_slice() {
            [.., from, to] => Some((before, from.clone(), to.clone())),
            _ => None,
        }
    }

    /// What the hour after its last move showed.
    pub fn differs(&mut self, vm: VmId, differs: &Differs) {
        if let Some(stay) = self.all.change(&vm).and_then(|known| known.stays.last_mut()) {
            let Differs { lines, volumes, storage, .. } = differs.clone();
            (stay.differs, stay.volumes, stay.storage) = (Some(lines), volumes, storage);
        }
    }

    /// Its frames of this service asked for that.
    pub fn marked(&mut self, vm: VmId, service: (Transport, u16), serves: bool, mark: Mark) {
        if let Some(known) = self.all.touch(&vm) {
            self.counters.marks_refused += u64::from(!known.marks.add(service, serves, mark));
        }
    }

    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        if let Some(known) = self.all.remove(&gone).filter(|_| !self.all.contains(&kept)) {
            self.all.put(kept, known);
        }
    }

    pub fn forget(&mut self, vm: VmId) {
        self.all.remove(&vm);
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.all.save(batch, all);
    }

    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut locations = Locations::of(Records::load(&WHEREABOUTS, store)?);
        let compared = locations.all.iter().filter(|(_, known)| known.before.is_some()).map(|(vm, _)| *vm);
        locations.compared = compared.collect();
        Ok(locations)
    }
}

impl Stay {
    /// With the port, where only that tells hosts apart.
    pub fn place(&self) -> Location {
        self.location.at_port(self.port.unwrap_or(0))
    }

    pub(crate) fn new(location: Location, since: Timestamp, until: Timestamp, announced: bool) -> Self {
        Stay {
            location,
            since,
            until,
            announced,
            port: None,
            frames: 0,
            answers: 0,
            answer_ns: 0,
            differs: None,
            volumes: Vec::new(),
            storage: Vec::new(),
        }
    }
}

impl Whereabouts {
    /// Where it is, or was when it began to send from two places.
    pub fn here(&self) -> Option<Location> {
        self.stays.last().map(|stay| stay.location)
    }

    fn is_settled(&self, now: Timestamp) -> bool {
        now.since_s(self.probation) >= PROBATION_S && !self.is_unplaced(now)
    }

    /// Was it there for sure? A first place, or one that came in place of a host, is a guess until it has held; a move
    /// is believed on evidence.
    pub fn is_certain(&self, stay: &Stay) -> bool {
        let guess_s = if is_interface(stay.location) { BACK_S } else { PROBATION_S };
        stay.since != self.probation || stay.until.since_s(stay.since) >= guess_s
    }

    pub fn is_unplaced(&self, now: Timestamp) -> bool {
        self.doubled.is_some_and(|doubled| now.since_s(doubled.seen) < UNPLACED_S)
    }

    /// Another interface shows all of it: where it is was never known, or cannot be.
    fn correct(&mut self, location: Location, now: Timestamp) {
        if let Some(last) = self.stays.last_mut() {
            (last.location, last.until) = (location, now);
        }
        self.rivals.clear();
        self.companions.clear();
        self.alone = 0;
    }

    /// It shows where another kind of location tells more, or all that is left: no move, and its place is a guess again.
    fn place(&mut self, location: Location, now: Timestamp) {
        if self.stays.len() >= STAYS_MAX {
            self.stays.remove(0);
        }
        self.stays.push(Stay::new(location, now, now, false));
        (self.probation, self.before) = (now, None);
        self.rivals.clear();
        self.companions.clear();
        self.alone = 0;
    }

    /// False: too many places are in question already.
    fn ask(&mut self, place: Location, announced: Announced, now: Timestamp) -> bool {
        if let Some(rival) = self.rivals.iter_mut().find(|rival| rival.location == place) {
            rival.announced = rival.announced.max(announced);
            return true;
        }
        if self.rivals.len() >= RIVALS_MAX {
            return false;
        }
        self.rivals.push(Rival::new(place, announced, now));
        true
    }

    fn decide(
        &mut self,
        vm: VmId,
        here: Location,
        blind: bool,
        interfaces: &mut Interfaces,
        now: Timestamp,
    ) -> Option<Found> {
        let stay = self.stays.last()?.clone();
        let in_conflict = self.rivals.iter().find(|rival| rival.conflicts(now)).map(|r| (r.location, r.is_duplicate()));
        self.rivals.retain(|rival| rival.is_open(now) && !rival.conflicts(now));
        if let Some((also, duplicate)) = in_conflict {
            self.conflicts.retain(|time| now.since_s(*time) <= BACK_S);
            self.conflicts.push(now);
            if self.conflicts.len() >= CONFLICTS && is_interface(also) {
                self.conflicts.clear();
                interfaces.split(vm, here, also, now);
            } else if self.conflicts.len() >= CONFLICTS {
                return self.unplace(here, also, duplicate, now);
            }
        }
        // A receiver's host waits while a better place is in question: one that announced the VM, or that shows frames
        // to receivers elsewhere too.
        let better = |rival: &Rival, other: &Rival| {
            other.announced > rival.announced
                || rival.is_all_local() && !other.is_all_local() && other.announced == rival.announced
        };
        let waits = |rival: &Rival| {
            let unannounced = rival.announced == Announced::No;
            let fresh = now.since_s(rival.since) < BACK_S;
            unannounced && fresh && blind && self.companions.contains(&rival.location)
                || unannounced && rival.is_all_local() && self.rivals.iter().any(|other| better(rival, other))
        };
        let ready = self.rivals.iter().filter(|rival| rival.is_confirmed(now) && !waits(rival));
        // A receiver's host shows as many frames as the sender's where it has all the receivers.
        let rank = |rival: &&Rival| {
            let is_new = !self.companions.contains(&rival.location);
            (rival.announced, !rival.is_all_local(), is_new, rival.exclusive().0)
        };
        let next = ready.max_by_key(rank)?;
        if is_interface(here) {
            let apart = interfaces.tell_hosts_apart(here, next.location, now);
            let alone = self.alone >= ALONE_MIN;
            if !apart || !next.took_over(alone, now) {
                if !apart || !alone {
                    self.correct(next.location, now);
                }
                return None;
            }
        }
        let (location, since, announced) = (next.location, next.since, next.announced != Announced::No);
        let next = Stay::new(location, since, now, announced);
        self.rivals.clear();
        self.companions.clear();
        self.alone = 0;
        let probation_s = if is_interface(here) { BACK_S } else { PROBATION_S };
        let guessed = since.since_s(self.probation) < probation_s;
        let lately = !announced && !stay.announced && self.stays.len() > 1 && since.since_s(stay.since) < BACK_S;
        let back = self.stays.iter().rev().nth(1).is_some_and(|before| before.location == location);
        if lately && back {
            self.stays.pop();
            return self.unplace(location, here, true, now);
        }
        if !announced && guessed || lately {
            // Not a second move: the place was not known well enough.
            if let Some(last) = self.stays.last_mut() {
                (last.location, last.until) = (location, now);
            }
            return None;
        }
        if self.stays.len() >= STAYS_MAX {
            self.stays.remove(0);
        }
        self.stays.push(next.clone());
        Some(Found::Moved { from: Box::new(stay), to: Box::new(next) })
    }

    /// Told once for each other place.
    fn unplace(&mut self, here: Location, also: Location, duplicate: bool, now: Timestamp) -> Option<Found> {
        let known = self.doubled.is_some_and(|before| before.also == also && before.duplicate == duplicate);
        let doubled = Doubled { also, seen: now, duplicate };
        self.doubled = Some(doubled);
        self.probation = now.plus_s(UNPLACED_S as i64);
        self.before = None;
        self.rivals.clear();
        self.conflicts.clear();
        (!known).then_some(Found::Doubled(here, doubled))
    }
}
