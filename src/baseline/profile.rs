//! A profile: what one VM has been seen to offer and to use, and the tallies that ripen it.
//! At most `services_max` services and `peers_max` edges; what does not fit is not learned, and counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::novelty::Days;
use super::ripeness::{Feature, Ripeness, Tally};
use super::watched::hours;
use super::{BaselineConfig, BaselineCounters};
use crate::model::{Timestamp, Transport, VmId};

/// A service of a VM that is understood: transport and port.
pub type Port = (Transport, u16);

/// The poisoning horizon: what was learned in a VM's first day, or while an incident of its was open, is provisional
/// (detection.md 4.6). It becomes firm when it is still used this long after; nothing is promoted before.
const PROVISIONAL_H: f64 = 24.0;
const FIRM_AFTER_H: f64 = 7.0 * 24.0;
/// In the VM's own ephemeral range a listener used less often is no habit (test runners, FTP and RPC data).
const EPHEMERAL_USES_MIN: u64 = 8;
/// Source ports are remembered in 64 buckets of 1,024 ports.
const BUCKET_BITS: u32 = 10;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Answered flows that it served or made.
    pub flows: u64,
    /// Readings of the probe's watched clock when it was first and last seen.
    pub(crate) born_ns: i64,
    pub(crate) seen_ns: i64,
    pub(crate) offered: Track,
    pub(crate) uses: Track,
    pub(crate) peered: Track,
    /// New keys that it learned unattended since it is ripe: of which watched day, and how many.
    pub(crate) entered: (i64, u32),
    /// Bit per 1,024 ports that it used as a client.
    pub(crate) source_ports: u64,
    #[serde(skip)]
    pub services: BTreeMap<Port, LearnedService>,
    /// What it uses as a client: (server, port).
    #[serde(skip)]
    pub peers: BTreeMap<(VmId, Port), LearnedPeer>,
    /// Uses by port, whoever serves it: the peers summed up.
    #[serde(skip)]
    pub(crate) ports: BTreeMap<Port, u64>,
}

/// How one feature of a profile ripens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Track {
    /// Watched clock when the last novelty was learned.
    pub novelty_ns: i64,
    pub ripe_since: Option<Timestamp>,
    /// Novelties by day.
    pub days: Days,
    /// Items that count, seen exactly once and twice; counted again from the items at load.
    #[serde(skip)]
    pub items: u64,
    #[serde(skip)]
    pub once: u64,
    #[serde(skip)]
    pub twice: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearnedService {
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Answered flows.
    pub uses: u64,
    /// What was there before us, or came while an incident was open, may be the attacker's: until it is firm.
    pub provisional: bool,
    /// Reading of the watched clock when it was learned.
    pub learned_ns: i64,
    /// Only a SYN-ACK or a lone datagram was seen: an idle listener that a scan touched. Not counted as a novelty.
    pub weak: bool,
    pub identity: Identity,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearnedPeer {
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub uses: u64,
    pub provisional: bool,
    pub learned_ns: i64,
}

/// How something new may enter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Entry {
    #[default]
    Refused,
    /// It has to become firm.
    Provisional,
    Free,
}

impl Track {
    fn new(watched_ns: i64) -> Self {
        Track { novelty_ns: watched_ns, ..Track::default() }
    }

    /// An item that counts for the first time.
    fn novelty(&mut self, uses: u64, watched_ns: i64) {
        self.novelty_ns = watched_ns;
        self.days.add(watched_ns);
        self.items += 1;
        self.tell(uses);
    }

    /// An item was used `uses` times until now, and once more.
    fn again(&mut self, uses: u64) {
        match uses {
            1 => self.once = self.once.saturating_sub(1),
            2 => self.twice = self.twice.saturating_sub(1),
            _ => return,
        }
        self.tell(uses + 1);
    }

    fn tell(&mut self, uses: u64) {
        match uses {
            1 => self.once += 1,
            2 => self.twice += 1,
            _ => {}
        }
    }

    fn recount(&mut self, uses: impl Iterator<Item = u64>) {
        (self.items, self.once, self.twice) = (0, 0, 0);
        for uses in uses {
            self.items += 1;
            self.tell(uses);
        }
    }

    fn unite(&mut self, other: &Track) {
        self.novelty_ns = self.novelty_ns.max(other.novelty_ns);
        self.ripe_since = match (self.ripe_since, other.ripe_since) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.days.unite(&other.days);
    }
}

impl Profile {
    pub(crate) fn new(now: Timestamp, watched_ns: i64) -> Self {
        let track = Track::new(watched_ns);
        Profile {
            first_seen: now,
            last_seen: now,
            born_ns: watched_ns,
            seen_ns: watched_ns,
            offered: track.clone(),
            uses: track.clone(),
            peered: track,
            ..Profile::default()
        }
    }

    pub(crate) fn ripeness(&self, feature: Feature, watched_ns: i64, config: &BaselineConfig) -> Ripeness {
        let track = self.track(feature);
        let tally = Tally {
            observed_h: hours(self.born_ns, watched_ns),
            quiet_h: hours(track.novelty_ns, watched_ns),
            flows: self.flows,
            items: track.items,
            once: track.once,
            twice: track.twice,
            recent: track.days.recent(watched_ns),
        };
        Ripeness::of_feature(feature, tally, track.ripe_since, config)
    }

    /// Writes down what has become ripe by now: from here on it stays ripe. True where something has.
    pub(crate) fn latch(&mut self, now: Timestamp, watched_ns: i64, config: &BaselineConfig) -> bool {
        let mut latched = false;
        for feature in [Feature::Services, Feature::Uses, Feature::Peers] {
            if self.track(feature).ripe_since.is_none() && self.ripeness(feature, watched_ns, config).is_ripe() {
                self.track_mut(feature).ripe_since = Some(now);
                latched = true;
            }
        }
        latched
    }

    /// Reading of the probe's watched clock when it was first seen.
    pub fn born_watched_ns(&self) -> i64 {
        self.born_ns
    }

    /// One answered flow of this VM, on either side.
    pub(crate) fn flow(&mut self, moment: Moment) {
        self.flows = self.flows.saturating_add(1);
        self.last_seen = self.last_seen.max(moment.now);
        self.seen_ns = self.seen_ns.max(moment.watched_ns);
    }

    /// Services that say something about what this VM does: proved by more than a lone handshake, and no passing
    /// listeners of its own ephemeral range.
    pub fn firm_services(&self) -> impl Iterator<Item = Port> + '_ {
        self.services.iter().filter(|(port, s)| self.counts(**port, s)).map(|(port, _)| *port)
    }

    /// Ports it uses as a client, whoever serves them.
    pub fn uses(&self) -> impl Iterator<Item = Port> + '_ {
        self.ports.keys().copied()
    }

    /// Was it ever a client of this port?
    pub fn uses_port(&self, port: Port) -> bool {
        self.ports.contains_key(&port)
    }

    fn counts(&self, port: Port, service: &LearnedService) -> bool {
        !service.weak && (service.uses >= EPHEMERAL_USES_MIN || !self.is_ephemeral(port.1))
    }

    /// May one more new key enter by itself? Before the VM is ripe all may: a domain controller learns its forty
    /// services on its first day, provisionally.
    fn enters(&mut self, feature: Feature, moment: Moment, config: &BaselineConfig) -> bool {
        if self.track(feature).ripe_since.is_none() {
            return true;
        }
        let day = moment.watched_ns.div_euclid(86_400_000_000_000);
        if self.entered.0 != day {
            self.entered = (day, 0);
        }
        self.entered.1 = self.entered.1.saturating_add(1);
        self.entered.1 <= config.new_keys_per_day
    }

    /// Learns or counts one use of a service.
    pub(crate) fn serve(
        &mut self,
        port: Port,
        moment: Moment,
        weak: bool,
        entry: Entry,
        config: &BaselineConfig,
        counters: &mut BaselineCounters,
    ) -> bool {
        let ephemeral = self.is_ephemeral(port.1);
        if let Some(known) = self.services.get_mut(&port) {
            let counted = !known.weak && (known.uses >= EPHEMERAL_USES_MIN || !ephemeral);
            known.weak = false;
            known.uses = known.uses.saturating_add(1);
            known.last_seen = known.last_seen.max(moment.now);
            known.provisional &= hours(known.learned_ns, moment.watched_ns) < FIRM_AFTER_H;
            let counts = known.uses >= EPHEMERAL_USES_MIN || !ephemeral;
            match (counted, counts) {
                (true, _) => self.offered.again(known.uses - 1),
                (false, true) => self.offered.novelty(known.uses, moment.watched_ns),
                (false, false) => {}
            }
            return true;
        }
        if entry == Entry::Refused {
            return false;
        }
        if self.services.len() >= config.services_max {
            counters.services_refused += 1;
            return false;
        }
        if !self.enters(Feature::Services, moment, config) {
            counters.limited += 1;
            return false;
        }
        let young = hours(self.born_ns, moment.watched_ns) < PROVISIONAL_H;
        let learned = LearnedService {
            first_seen: moment.now,
            last_seen: moment.now,
            uses: 1,
            provisional: young || entry == Entry::Provisional,
            weak,
            learned_ns: moment.watched_ns,
            identity: Identity::default(),
        };
        self.services.insert(port, learned);
        if !weak && !ephemeral {
            self.offered.novelty(1, moment.watched_ns);
        }
        true
    }

    /// The payload proved a service that until now a lone handshake stood for: now it is a novelty.
    pub(crate) fn strengthen(&mut self, port: Port, moment: Moment) -> bool {
        let ephemeral = self.is_ephemeral(port.1);
        let Some(known) = self.services.get_mut(&port).filter(|s| s.weak) else { return false };
        known.weak = false;
        if known.uses >= EPHEMERAL_USES_MIN || !ephemeral {
            self.offered.novelty(known.uses, moment.watched_ns);
        }
        true
    }

    /// Learns or counts one use of another VM's service. `kin`: it uses the same of that server's likes already, so
    /// nothing new in kind.
    pub(crate) fn reach(
        &mut self,
        edge: (VmId, Port),
        moment: Moment,
        kin: bool,
        entry: Entry,
        config: &BaselineConfig,
        counters: &mut BaselineCounters,
    ) -> bool {
        if let Some(known) = self.peers.get_mut(&edge) {
            self.peered.again(known.uses);
            known.uses = known.uses.saturating_add(1);
            known.last_seen = known.last_seen.max(moment.now);
            known.provisional &= hours(known.learned_ns, moment.watched_ns) < FIRM_AFTER_H;
            self.count_port(edge.1, moment);
            return true;
        }
        if entry == Entry::Refused {
            return false;
        }
        if self.peers.len() >= config.peers_max {
            counters.peers_refused += 1;
            return false;
        }
        if !kin && !self.enters(Feature::Peers, moment, config) {
            counters.limited += 1;
            return false;
        }
        let young = hours(self.born_ns, moment.watched_ns) < PROVISIONAL_H;
        let learned = LearnedPeer {
            first_seen: moment.now,
            last_seen: moment.now,
            uses: 1,
            provisional: young || entry == Entry::Provisional,
            learned_ns: moment.watched_ns,
        };
        self.peers.insert(edge, learned);
        self.peered.novelty(1, moment.watched_ns);
        self.count_port(edge.1, moment);
        true
    }

    fn count_port(&mut self, port: Port, moment: Moment) {
        let uses = self.ports.entry(port).or_default();
        *uses = uses.saturating_add(1);
        match *uses {
            1 => self.uses.novelty(1, moment.watched_ns),
            more => self.uses.again(more - 1),
        }
    }

    /// Remembers a source port that this VM used as a client.
    pub(crate) fn sourced(&mut self, port: u16) {
        self.source_ports |= 1 << (port >> BUCKET_BITS);
    }

    /// Does this port lie where this very VM takes its ephemeral ports from? Buckets it was seen to use, and small
    /// gaps between them; never a fixed range, because 1433, 3389 and 4444 lie in the classic one.
    pub fn is_ephemeral(&self, port: u16) -> bool {
        let bucket = u32::from(port >> BUCKET_BITS);
        if bucket == 0 {
            return false;
        }
        let near = |from: u32, to: u32| (from..=to.min(63)).any(|b| self.source_ports & (1 << b) != 0);
        let below = near(bucket.saturating_sub(2).max(1), bucket - 1);
        near(bucket, bucket) || (below && near(bucket + 1, bucket + 2))
    }

    /// Counts again what is derived from the items.
    pub(crate) fn recount(&mut self) {
        self.ports.clear();
        for ((_, port), peer) in &self.peers {
            let uses = self.ports.entry(*port).or_default();
            *uses = uses.saturating_add(peer.uses);
        }
        let counted: Vec<u64> =
            self.services.iter().filter(|(port, s)| self.counts(**port, s)).map(|(_, s)| s.uses).collect();
        self.offered.recount(counted.into_iter());
        self.uses.recount(self.ports.values().copied());
        self.peered.recount(self.peers.values().map(|p| p.uses));
    }

    /// Becomes the union of both; marks of provisional learning are kept (decisions B.8).
    pub(crate) fn unite(&mut self, other: Profile, config: &BaselineConfig, counters: &mut BaselineCounters) {
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.flows = self.flows.saturating_add(other.flows);
        self.born_ns = self.born_ns.min(other.born_ns);
        self.source_ports |= other.source_ports;
        self.seen_ns = self.seen_ns.max(other.seen_ns);
        self.offered.unite(&other.offered);
        self.uses.unite(&other.uses);
        self.peered.unite(&other.peered);
        for (port, theirs) in other.services {
            if let Some(mine) = self.services.get_mut(&port) {
                mine.first_seen = mine.first_seen.min(theirs.first_seen);
                mine.last_seen = mine.last_seen.max(theirs.last_seen);
                mine.uses = mine.uses.saturating_add(theirs.uses);
                mine.provisional |= theirs.provisional;
                mine.weak &= theirs.weak;
                mine.identity.unite(theirs.identity);
            } else if self.services.len() < config.services_max {
                self.services.insert(port, theirs);
            } else {
                counters.services_refused += 1;
            }
        }
        for (edge, theirs) in other.peers {
            self.adopt_peer(edge, theirs, config, counters);
        }
        self.recount();
    }

    /// Takes over an edge; united with one that is there.
    pub(crate) fn adopt_peer(
        &mut self,
        edge: (VmId, Port),
        theirs: LearnedPeer,
        config: &BaselineConfig,
        counters: &mut BaselineCounters,
    ) {
        if let Some(mine) = self.peers.get_mut(&edge) {
            mine.first_seen = mine.first_seen.min(theirs.first_seen);
            mine.last_seen = mine.last_seen.max(theirs.last_seen);
            mine.uses = mine.uses.saturating_add(theirs.uses);
            mine.provisional |= theirs.provisional;
        } else if self.peers.len() < config.peers_max {
            self.peers.insert(edge, theirs);
        } else {
            counters.peers_refused += 1;
        }
    }

    pub(crate) fn track(&self, feature: Feature) -> &Track {
        match feature {
            Feature::Services | Feature::Hours | Feature::Volumes => &self.offered,
            Feature::Uses => &self.uses,
            Feature::Peers => &self.peered,
        }
    }

    fn track_mut(&mut self, feature: Feature) -> &mut Track {
        match feature {
            Feature::Services | Feature::Hours | Feature::Volumes => &mut self.offered,
            Feature::Uses => &mut self.uses,
            Feature::Peers => &mut self.peered,
        }
    }
}

/// Packet time, and the watched clock's reading at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub now: Timestamp,
    pub watched_ns: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_ephemeral_range_is_where_it_was_seen() {
        let mut profile = Profile::default();
        for port in (32_768..61_000).step_by(2_048) {
            profile.sourced(port);
        }
        assert!(profile.is_ephemeral(40_000));
        assert!(profile.is_ephemeral(33_900), "a small gap between used buckets");
        for port in [22, 443, 1_433, 3_389, 4_444, 65_000] {
            assert!(!profile.is_ephemeral(port), "{port}");
        }
    }

    #[test]
    fn a_full_profile_refuses_and_counts() {
        let config = BaselineConfig { services_max: 2, peers_max: 1, ..BaselineConfig::default() };
        let (mut profile, mut counters) = (Profile::default(), BaselineCounters::default());
        let moment = Moment { now: Timestamp::ZERO, watched_ns: 0 };
        for port in 1..=5 {
            profile.serve((Transport::Tcp, port), moment, false, Entry::Free, &config, &mut counters);
            let edge = (VmId::default(), (Transport::Tcp, port));
            profile.reach(edge, moment, false, Entry::Free, &config, &mut counters);
        }
        assert_eq!((profile.services.len(), profile.peers.len()), (2, 1));
        assert_eq!((counters.services_refused, counters.peers_refused), (3, 4));
    }

    #[test]
    fn a_service_seen_twice_is_no_longer_a_singleton() {
        let (config, mut counters) = (BaselineConfig::default(), BaselineCounters::default());
        let mut profile = Profile::default();
        let moment = Moment { now: Timestamp::ZERO, watched_ns: 0 };
        profile.serve((Transport::Tcp, 80), moment, false, Entry::Free, &config, &mut counters);
        assert_eq!(profile.offered.once, 1);
        profile.serve((Transport::Tcp, 80), moment, false, Entry::Free, &config, &mut counters);
        assert_eq!(profile.offered.once, 0);
        // A SYN scan's idle listeners do not hold a VM back from ripening, unless a payload proves them.
        profile.serve((Transport::Tcp, 81), moment, true, Entry::Free, &config, &mut counters);
        assert_eq!(profile.offered.once, 0);
        profile.strengthen((Transport::Tcp, 81), moment);
        assert_eq!(profile.offered.once, 1);
    }
}
