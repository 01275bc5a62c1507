//! A profile: what one VM has been seen to offer and to use, and the tallies that ripen it.
//! At most `services_max` services and `peers_max` edges; what does not fit is not learned, and counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::ripeness::{Feature, Ripeness, Tally, hours};
use super::{BaselineConfig, BaselineCounters};
use crate::model::{Timestamp, Transport, VmId};

/// A service of a VM that is understood: transport and port.
pub type Port = (Transport, u16);

/// The poisoning horizon: what was learned in a VM's first day stays provisional (detection.md 4.6).
const PROVISIONAL_H: f64 = 24.0;
/// Source ports are remembered in 64 buckets of 1,024 ports.
const BUCKET_BITS: u32 = 10;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Answered flows that it served or made.
    pub flows: u64,
    /// Reading of the probe's watched clock when it was first seen.
    pub(crate) born_ns: i64,
    pub(crate) offered: Track,
    pub(crate) used: Track,
    /// Bit per 1,024 ports that it used as a client.
    pub(crate) source_ports: u64,
    #[serde(skip)]
    pub services: BTreeMap<Port, LearnedService>,
    /// What it uses as a client: (server, port).
    #[serde(skip)]
    pub peers: BTreeMap<(VmId, Port), LearnedPeer>,
}

/// How one feature of a profile ripens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Track {
    /// Watched clock when the last novelty was learned.
    pub novelty_ns: i64,
    pub ripe_since: Option<Timestamp>,
    /// Items seen exactly once; counted again from the items at load.
    #[serde(skip)]
    pub once: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearnedService {
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Answered flows.
    pub uses: u64,
    /// Learned in the VM's first day and not used since: what was there before us may be the attacker's.
    pub provisional: bool,
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
}

impl Profile {
    pub(crate) fn new(now: Timestamp, watched_ns: i64) -> Self {
        let track = Track { novelty_ns: watched_ns, ..Track::default() };
        Profile {
            first_seen: now,
            last_seen: now,
            born_ns: watched_ns,
            offered: track.clone(),
            used: track,
            ..Profile::default()
        }
    }

    pub(crate) fn ripeness(&self, feature: Feature, watched_ns: i64, config: &BaselineConfig) -> Ripeness {
        let track = self.track(feature);
        let tally = Tally {
            observed_h: hours(self.born_ns, watched_ns),
            quiet_h: hours(track.novelty_ns, watched_ns),
            flows: self.flows,
            once: track.once,
        };
        Ripeness::of(tally, track.ripe_since, config)
    }

    /// Writes down what has become ripe by now: from here on it stays ripe. True where something has.
    pub(crate) fn latch(&mut self, now: Timestamp, watched_ns: i64, config: &BaselineConfig) -> bool {
        let mut latched = false;
        for feature in [Feature::Services, Feature::Peers] {
            if self.track(feature).ripe_since.is_none() && self.ripeness(feature, watched_ns, config).is_ripe() {
                self.track_mut(feature).ripe_since = Some(now);
                latched = true;
            }
        }
        latched
    }

    /// One answered flow of this VM, on either side.
    pub(crate) fn flow(&mut self, now: Timestamp) {
        self.flows = self.flows.saturating_add(1);
        self.last_seen = self.last_seen.max(now);
    }

    /// Learns or counts one use of a service. `insert` is false where nothing new may be learned.
    pub(crate) fn serve(
        &mut self,
        port: Port,
        moment: Moment,
        weak: bool,
        insert: bool,
        config: &BaselineConfig,
        counters: &mut BaselineCounters,
    ) -> bool {
        let young = hours(self.born_ns, moment.watched_ns) < PROVISIONAL_H;
        if let Some(known) = self.services.get_mut(&port) {
            if known.weak {
                self.offered.novelty_ns = moment.watched_ns;
                known.weak = false;
            } else if known.uses == 1 {
                self.offered.once = self.offered.once.saturating_sub(1);
            }
            known.uses = known.uses.saturating_add(1);
            known.last_seen = known.last_seen.max(moment.now);
            known.provisional &= young;
            return true;
        }
        if !insert {
            return false;
        }
        if self.services.len() >= config.services_max {
            counters.services_refused += 1;
            return false;
        }
        let (first_seen, last_seen) = (moment.now, moment.now);
        let learned =
            LearnedService { first_seen, last_seen, uses: 1, provisional: young, weak, identity: Identity::default() };
        self.services.insert(port, learned);
        if !weak {
            self.offered.once += 1;
            self.offered.novelty_ns = moment.watched_ns;
        }
        true
    }

    /// The payload proved a service that until now a lone handshake stood for: now it is a novelty.
    pub(crate) fn strengthen(&mut self, port: Port, moment: Moment) -> bool {
        let Some(known) = self.services.get_mut(&port).filter(|s| s.weak) else { return false };
        known.weak = false;
        self.offered.novelty_ns = moment.watched_ns;
        if known.uses == 1 {
            self.offered.once += 1;
        }
        true
    }

    /// Learns or counts one use of another VM's service.
    pub(crate) fn reach(
        &mut self,
        edge: (VmId, Port),
        moment: Moment,
        insert: bool,
        config: &BaselineConfig,
        counters: &mut BaselineCounters,
    ) -> bool {
        let young = hours(self.born_ns, moment.watched_ns) < PROVISIONAL_H;
        if let Some(known) = self.peers.get_mut(&edge) {
            if known.uses == 1 {
                self.used.once = self.used.once.saturating_sub(1);
            }
            known.uses = known.uses.saturating_add(1);
            known.last_seen = known.last_seen.max(moment.now);
            known.provisional &= young;
            return true;
        }
        if !insert {
            return false;
        }
        if self.peers.len() >= config.peers_max {
            counters.peers_refused += 1;
            return false;
        }
        let (first_seen, last_seen) = (moment.now, moment.now);
        self.peers.insert(edge, LearnedPeer { first_seen, last_seen, uses: 1, provisional: young });
        self.used.once += 1;
        self.used.novelty_ns = moment.watched_ns;
        true
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
        self.offered.once = self.services.values().filter(|s| s.uses == 1 && !s.weak).count() as u64;
        self.used.once = self.peers.values().filter(|p| p.uses == 1).count() as u64;
    }

    /// Becomes the union of both; marks of provisional learning are kept (decisions B.8).
    pub(crate) fn unite(&mut self, other: Profile, config: &BaselineConfig, counters: &mut BaselineCounters) {
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.flows = self.flows.saturating_add(other.flows);
        self.born_ns = self.born_ns.min(other.born_ns);
        self.source_ports |= other.source_ports;
        for (mine, theirs) in [(&mut self.offered, other.offered), (&mut self.used, other.used)] {
            mine.novelty_ns = mine.novelty_ns.max(theirs.novelty_ns);
            mine.ripe_since = match (mine.ripe_since, theirs.ripe_since) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
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
            Feature::Services => &self.offered,
            Feature::Peers => &self.used,
        }
    }

    fn track_mut(&mut self, feature: Feature) -> &mut Track {
        match feature {
            Feature::Services => &mut self.offered,
            Feature::Peers => &mut self.used,
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
            profile.serve((Transport::Tcp, port), moment, false, true, &config, &mut counters);
            profile.reach((VmId::default(), (Transport::Tcp, port)), moment, true, &config, &mut counters);
        }
        assert_eq!((profile.services.len(), profile.peers.len()), (2, 1));
        assert_eq!((counters.services_refused, counters.peers_refused), (3, 4));
    }

    #[test]
    fn a_service_seen_twice_is_no_longer_a_singleton() {
        let (config, mut counters) = (BaselineConfig::default(), BaselineCounters::default());
        let mut profile = Profile::default();
        let moment = Moment { now: Timestamp::ZERO, watched_ns: 0 };
        profile.serve((Transport::Tcp, 80), moment, false, true, &config, &mut counters);
        assert_eq!(profile.offered.once, 1);
        profile.serve((Transport::Tcp, 80), moment, false, true, &config, &mut counters);
        assert_eq!(profile.offered.once, 0);
        // A SYN scan's idle listeners do not hold a VM back from ripening, unless a payload proves them.
        profile.serve((Transport::Tcp, 81), moment, true, true, &config, &mut counters);
        assert_eq!(profile.offered.once, 0);
        profile.strengthen((Transport::Tcp, 81), moment);
        assert_eq!(profile.offered.once, 1);
    }
}
