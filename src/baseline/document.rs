//! A baseline as a document: exported to review, to sign, to carry to another probe, and imported again.
//! Numbers that change with every flow are rounded and what was used lately has no date, so that two exports without
//! news between them are the same text but for their header. At most `vms_max` VMs; a document with more is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::collection::Baselines;
use super::diff::{DiffLine, diff};
use super::novelty::Days;
use super::profile::{LearnedPeer, LearnedService, Port, Profile, Track};
use super::volume::{VolumeBulk, VolumeDay};
use crate::model::{NS_PER_S, Timestamp, VmId};

pub const FORMAT: &str = "eastwatch-baseline";
/// 2 is the first of the readable form.
pub const VERSION: i64 = 2;
/// Counts up to here are exact: what was seen once, twice, or more often than a passing listener. Beyond, the power
/// of two below.
const EXACT_MAX: u64 = 8;
/// What was used so lately needs no date.
const LATELY_S: i64 = 7 * 86_400;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    pub exported: Timestamp,
    /// Reading of the watched clock at the export, to which every other reading is compared.
    pub watched_s: i64,
    /// In order of name, then id.
    pub vms: Vec<VmDocument>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct VmDocument {
    pub vm: VmId,
    /// Name and role are for the reader; an import goes by `vm`.
    pub name: Option<String>,
    pub role: Option<String>,
    pub first_seen: Timestamp,
    /// When it was last seen, where that is not lately.
    pub silent_since: Option<Timestamp>,
    pub flows: u64,
    /// Reading of the watched clock when it was first seen.
    pub born_s: i64,
    /// Bit per 1,024 source ports used as a client.
    pub source_ports: u64,
    /// Services offered, services used by port, services used by server and port.
    pub tracks: [TrackDocument; 3],
    pub services: Vec<ServiceDocument>,
    pub peers: Vec<PeerDocument>,
    /// Whole days, oldest first, and who was sent much, in order of number.
    pub volumes: Vec<VolumeDay>,
    pub bulk: Vec<VolumeBulk>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrackDocument {
    pub novelty_s: i64,
    pub ripe_since: Option<Timestamp>,
    pub days: Days,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServiceDocument {
    pub port: Port,
    pub learned: LearnedService,
    pub silent_since: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PeerDocument {
    pub server: VmId,
    pub name: Option<String>,
    pub port: Port,
    pub learned: LearnedPeer,
    pub silent_since: Option<Timestamp>,
    /// Where it stands in the file, for faults; 0 where it is of no file.
    pub line: usize,
}

/// What a probe knows of VMs, to tell an edit that went wrong.
pub trait Directory {
    fn name(&self, vm: VmId) -> Option<String>;
    fn is_known(&self, vm: VmId) -> bool;
    /// VMs that go by a name.
    fn called(&self, name: &str) -> Vec<VmId>;
}

impl Baselines {
    /// Everything learned.
    pub fn export(&self, now: Timestamp, who: &dyn Directory) -> Document {
        let mut vms: Vec<VmDocument> =
            self.profiles.iter().map(|(vm, profile)| self.page(*vm, profile, now, who)).collect();
        vms.sort_by(|a, b| (a.name.is_none(), &a.name, a.vm).cmp(&(b.name.is_none(), &b.name, b.vm)));
        Document { exported: now, watched_s: self.site.watched.at(now) / NS_PER_S, vms }
    }

    /// What was learned of one VM, as a document of its own.
    pub fn export_one(&self, vm: VmId, now: Timestamp, who: &dyn Directory) -> Option<Document> {
        let page = self.page(vm, self.profiles.get(&vm)?, now, who);
        Some(Document { exported: now, watched_s: self.site.watched.at(now) / NS_PER_S, vms: vec![page] })
    }

    fn page(&self, vm: VmId, profile: &Profile, now: Timestamp, who: &dyn Directory) -> VmDocument {
        let role = self.roles.of(vm).map(|(_, role)| role.label());
        let mut page = VmDocument::of(vm, who, role, profile, now);
        (page.volumes, page.bulk) = self.volumes.page(vm, now);
        page
    }

    /// What [`Baselines::import`] would change.
    pub fn preview(
        &self,
        document: &Document,
        now: Timestamp,
        who: &dyn Directory,
    ) -> Result<Vec<DiffLine>, Vec<Fault>> {
        self.clone().import(document, now, who)
    }

    /// Takes the document's VMs over, in place of what was learned of them. Returns what changed.
    ///
    /// # Errors
    /// All that is wrong with it; nothing is changed then.
    pub fn import(
        &mut self,
        document: &Document,
        now: Timestamp,
        who: &dyn Directory,
    ) -> Result<Vec<DiffLine>, Vec<Fault>> {
        self.check(document, who)?;
        let before = self.export(now, who);
        for vm in &document.vms {
            self.carry(vm, document.watched_s, document.exported, now);
        }
        Ok(diff(&before, &self.export(now, who)))
    }

    /// Takes one VM over. The caller has checked the document.
    pub(crate) fn carry(&mut self, page: &VmDocument, watched_s: i64, exported: Timestamp, now: Timestamp) {
        let profile = page.profile(watched_s, exported, self.site.watched.at(now));
        if let Some(old) = self.profiles.remove(&page.vm) {
            self.soil(page.vm, &old);
            self.forgotten.missing(page.vm, &old, &profile, now);
        }
        self.soil(page.vm, &profile);
        self.profiles.insert(page.vm, profile);
        self.volumes.take_page(page.vm, &page.volumes, &page.bulk, now, false);
    }

    fn check(&self, document: &Document, who: &dyn Directory) -> Result<(), Vec<Fault>> {
        let config = &self.config;
        let mut faults = Vec::new();
        let own: BTreeSet<VmId> = document.vms.iter().map(|v| v.vm).collect();
        let added = own.iter().filter(|vm| !self.profiles.contains_key(vm)).count();
        if self.profiles.len() + added > config.vms_max {
            faults.push(Fault {
                line: 0,
                text: format!(
                    "{} VMs and the {} that are learned are more than baseline.vms_max = {}",
                    added,
                    self.profiles.len(),
                    config.vms_max
                ),
            });
        }
        let mut names: BTreeMap<&str, VmId> = BTreeMap::new();
        for vm in &document.vms {
            if let Some(name) = &vm.name {
                names.insert(name, vm.vm);
            }
            if vm.services.len() > config.services_max || vm.peers.len() > config.peers_max {
                let text =
                    format!("{} has more rows than baseline.services_max or baseline.peers_max allow", vm.shown());
                faults.push(Fault { line: 0, text });
            }
        }
        for peer in document.vms.iter().flat_map(|v| &v.peers) {
            let Some(name) = peer.name.as_deref().filter(|_| !own.contains(&peer.server)) else { continue };
            if who.is_known(peer.server) {
                continue;
            }
            let other = names.get(name).copied().or_else(|| who.called(name).into_iter().next());
            if let Some(other) = other {
                let text = format!("no VM has the id {}, and `{name}` is {other}: which is meant?", peer.server);
                faults.push(Fault { line: peer.line, text });
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// What is wrong with a document that reads well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// 0 where it is about the whole.
    pub line: usize,
    pub text: String,
}

impl VmDocument {
    fn of(vm: VmId, who: &dyn Directory, role: Option<String>, p: &Profile, now: Timestamp) -> Self {
        let silent = |last: Timestamp| (now.since_s(last) > LATELY_S as f64).then(|| to_second(last));
        let services = p.services.iter().map(|(port, s)| ServiceDocument {
            port: *port,
            silent_since: silent(s.last_seen),
            learned: LearnedService {
                first_seen: to_second(s.first_seen),
                last_seen: Timestamp::ZERO,
                uses: rounded(s.uses),
                learned_ns: to_whole_second(s.learned_ns),
                ..s.clone()
            },
        });
        let peers = p.peers.iter().map(|((server, port), e)| PeerDocument {
            server: *server,
            name: who.name(*server),
            port: *port,
            silent_since: silent(e.last_seen),
            learned: LearnedPeer {
                first_seen: to_second(e.first_seen),
                last_seen: Timestamp::ZERO,
                uses: rounded(e.uses),
                learned_ns: to_whole_second(e.learned_ns),
                ..e.clone()
            },
            line: 0,
        });
        let track = |t: &Track| TrackDocument {
            novelty_s: t.novelty_ns.div_euclid(NS_PER_S),
            ripe_since: t.ripe_since.map(to_second),
            days: t.days.clone(),
        };
        VmDocument {
            vm,
            name: who.name(vm),
            role,
            first_seen: to_second(p.first_seen),
            silent_since: silent(p.last_seen),
            flows: rounded(p.flows),
            born_s: p.born_ns.div_euclid(NS_PER_S),
            source_ports: p.source_ports,
            tracks: [track(&p.offered), track(&p.uses), track(&p.peered)],
            services: services.collect(),
            peers: peers.collect(),
            volumes: Vec::new(),
            bulk: Vec::new(),
        }
    }

    /// As a profile of a probe whose watched clock reads `watched_ns` now.
    pub(super) fn profile(&self, watched_s: i64, exported: Timestamp, watched_ns: i64) -> Profile {
        let shift_ns = watched_ns.saturating_sub(watched_s.saturating_mul(NS_PER_S));
        let reading = |s: i64| s.saturating_mul(NS_PER_S).saturating_add(shift_ns).min(watched_ns);
        let track = |t: &TrackDocument| {
            let (day, counts) = t.days.parts();
            Track {
                novelty_ns: reading(t.novelty_s),
                ripe_since: t.ripe_since,
                days: Days::of_parts(day, counts.to_vec(), t.days.whole, shift_ns),
                ..Track::default()
            }
        };
        let [offered, uses, peered] = &self.tracks;
        let last = |silent: Option<Timestamp>| silent.unwrap_or(exported);
        let service = |s: &ServiceDocument| LearnedService {
            last_seen: last(s.silent_since),
            learned_ns: s.learned.learned_ns.saturating_add(shift_ns).min(watched_ns),
            ..s.learned.clone()
        };
        let peer = |p: &PeerDocument| LearnedPeer {
            last_seen: last(p.silent_since),
            learned_ns: p.learned.learned_ns.saturating_add(shift_ns).min(watched_ns),
            ..p.learned.clone()
        };
        let mut profile = Profile {
            first_seen: self.first_seen,
            last_seen: last(self.silent_since),
            flows: self.flows,
            born_ns: reading(self.born_s),
            seen_ns: watched_ns,
            offered: track(offered),
            uses: track(uses),
            peered: track(peered),
            source_ports: self.source_ports,
            services: self.services.iter().map(|s| (s.port, service(s))).collect(),
            peers: self.peers.iter().map(|p| ((p.server, p.port), peer(p))).collect(),
            ..Profile::default()
        };
        profile.recount();
        profile
    }

    pub(crate) fn shown(&self) -> String {
        self.name.as_ref().map_or_else(|| self.vm.to_string(), |name| format!("{name} ({})", self.vm))
    }
}

fn rounded(count: u64) -> u64 {
    if count <= EXACT_MAX { count } else { 1 << count.ilog2() }
}

fn to_second(time: Timestamp) -> Timestamp {
    Timestamp::from_ns(time.second().saturating_mul(NS_PER_S))
}

fn to_whole_second(ns: i64) -> i64 {
    ns.div_euclid(NS_PER_S).saturating_mul(NS_PER_S)
}
