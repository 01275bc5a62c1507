//! A baseline as a document: exported to review, to sign, to carry to another probe, and imported again.
//! Watched time is written as durations, so that it means the same on a probe with another clock.

use serde::{Deserialize, Serialize};

use super::collection::Baselines;
use super::diff::{DiffLine, diff};
use super::profile::{LearnedPeer, LearnedService, Port, Profile, Track};
use crate::model::{Timestamp, VmId};

const FORMAT: &str = "eastwatch-baseline";
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub format: String,
    pub version: u32,
    pub exported: Timestamp,
    pub vms: Vec<VmDocument>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmDocument {
    pub vm: VmId,
    /// For the reader; an import goes by `vm`.
    pub name: Option<String>,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub flows: u64,
    /// Nanoseconds watched since it was first seen, and since the last novelty in what it offers and uses.
    pub observed_ns: i64,
    pub services_quiet_ns: i64,
    pub peers_quiet_ns: i64,
    pub services_ripe_since: Option<Timestamp>,
    pub peers_ripe_since: Option<Timestamp>,
    /// Bit per 1,024 source ports used as a client.
    pub source_ports: u64,
    pub services: Vec<ServiceDocument>,
    pub peers: Vec<PeerDocument>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceDocument {
    pub port: Port,
    pub learned: LearnedService,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerDocument {
    pub server: VmId,
    pub port: Port,
    pub learned: LearnedPeer,
}

impl Baselines {
    /// Everything learned, in order of id. `name` names a VM for the reader.
    pub fn export(&self, now: Timestamp, name: &dyn Fn(VmId) -> Option<String>) -> Document {
        let watched_ns = self.site.watched.at(now);
        let vms = self.profiles.iter().map(|(vm, p)| VmDocument::of(*vm, name(*vm), p, watched_ns)).collect();
        Document { format: FORMAT.to_owned(), version: VERSION, exported: now, vms }
    }

    /// What [`Baselines::import`] would change.
    pub fn preview(&self, document: &Document, replace: bool, now: Timestamp) -> Result<Vec<DiffLine>, String> {
        self.clone().import(document, replace, now)
    }

    /// Takes the document's VMs over, in place of what was learned of them; with `replace`, VMs that it does not
    /// name are forgotten too. Returns what changed. An error changes nothing.
    pub fn import(&mut self, document: &Document, replace: bool, now: Timestamp) -> Result<Vec<DiffLine>, String> {
        self.check(document)?;
        let before = self.export(now, &|_| None);
        let watched_ns = self.site.watched.at(now);
        if replace {
            self.reset_profiles();
        }
        for vm in &document.vms {
            if let Some(old) = self.profiles.remove(&vm.vm) {
                self.soil(vm.vm, &old);
            }
            let profile = vm.profile(watched_ns);
            self.soil(vm.vm, &profile);
            self.profiles.insert(vm.vm, profile);
        }
        Ok(diff(&before, &self.export(now, &|_| None)))
    }

    fn check(&self, document: &Document) -> Result<(), String> {
        if document.format != FORMAT {
            return Err(format!("this is no exported baseline: `format` is `{}`, not `{FORMAT}`", document.format));
        }
        if document.version > VERSION {
            return Err(format!(
                "the document has version {}, this eastwatch reads up to {VERSION}: use the newer one",
                document.version
            ));
        }
        let config = &self.config;
        if document.vms.len() > config.vms_max {
            return Err(format!("{} VMs are more than baseline.vms_max = {}", document.vms.len(), config.vms_max));
        }
        let full = |v: &&VmDocument| v.services.len() > config.services_max || v.peers.len() > config.peers_max;
        match document.vms.iter().find(full) {
            Some(v) => Err(format!("{} has more services or peers than baseline.services_max, peers_max allow", v.vm)),
            None => Ok(()),
        }
    }

    fn reset_profiles(&mut self) {
        for (vm, profile) in std::mem::take(&mut self.profiles) {
            self.soil(vm, &profile);
        }
    }
}

impl VmDocument {
    fn of(vm: VmId, name: Option<String>, p: &Profile, watched_ns: i64) -> Self {
        let services = p.services.iter().map(|(port, s)| ServiceDocument { port: *port, learned: s.clone() });
        let peers =
            p.peers.iter().map(|((server, port), e)| PeerDocument { server: *server, port: *port, learned: e.clone() });
        VmDocument {
            vm,
            name,
            first_seen: p.first_seen,
            last_seen: p.last_seen,
            flows: p.flows,
            observed_ns: watched_ns.saturating_sub(p.born_ns),
            services_quiet_ns: watched_ns.saturating_sub(p.offered.novelty_ns),
            peers_quiet_ns: watched_ns.saturating_sub(p.peered.novelty_ns),
            services_ripe_since: p.offered.ripe_since,
            peers_ripe_since: p.peered.ripe_since,
            source_ports: p.source_ports,
            services: services.collect(),
            peers: peers.collect(),
        }
    }

    fn profile(&self, watched_ns: i64) -> Profile {
        let track = |quiet_ns: i64, ripe_since| Track {
            novelty_ns: watched_ns.saturating_sub(quiet_ns.max(0)),
            ripe_since,
            ..Track::default()
        };
        let mut profile = Profile {
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            flows: self.flows,
            born_ns: watched_ns.saturating_sub(self.observed_ns.max(0)),
            offered: track(self.services_quiet_ns, self.services_ripe_since),
            uses: track(self.peers_quiet_ns, self.peers_ripe_since),
            peered: track(self.peers_quiet_ns, self.peers_ripe_since),
            seen_ns: watched_ns,
            entered: (0, 0),
            ports: Default::default(),
            source_ports: self.source_ports,
            services: self.services.iter().map(|s| (s.port, s.learned.clone())).collect(),
            peers: self.peers.iter().map(|p| ((p.server, p.port), p.learned.clone())).collect(),
        };
        profile.recount();
        profile
    }
}
