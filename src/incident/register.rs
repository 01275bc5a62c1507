//! The register of incidents: findings come in, incidents open and grow.
//!
//! At most `incidents_max`. When full, the oldest resolved are forgotten; where none is resolved, the oldest of the
//! least severe. Both are counted. Growth is told when it means something: a higher severity, something that was
//! not in it before, or three times the findings; the rest is counted in silence.

use std::collections::{BTreeMap, BTreeSet};

use super::absorbed::Absorbed;
use super::budget::{AlertsConfig, Budget, Daily, Standing};
use super::grouping::{self, Group, NEW_PEER, NEW_VM, SERVICE_DETECTORS};
use super::{IncidentConfig, IncidentCounters, IncidentEvent, Joined};
use crate::model::{
    Finding, Incident, IncidentId, IncidentState, Rank, Ranking, Sample, ServiceKey, Severity, TimelineEntry,
    Timestamp, VmId,
};
use crate::store::{Batch, Kind, Store, StoreError};

static INCIDENT: Kind = Kind { tag: 0x30, name: "incident", version: 3 };

const OURSELVES: &str = "eastwatch";
const DAY_S: i64 = 86_400;
/// Findings of one kind are one incident until they pause for half a day; those that only inform until they pause for a
/// week: a pool that is recomposed every morning is one.
const FOLD_S: i64 = 43_200;
const FOLD_INFO_S: i64 = 7 * DAY_S;
/// Old age is looked for once an hour of packet time.
const TICK_S: i64 = 3_600;

#[derive(Clone, Debug, Default)]
pub struct Incidents {
    pub(super) config: IncidentConfig,
    pub(super) all: BTreeMap<IncidentId, Incident>,
    /// The latest incident of each group, in any state.
    pub(super) groups: BTreeMap<Group, IncidentId>,
    pub(super) dirty: BTreeSet<IncidentId>,
    pub(super) counters: IncidentCounters,
    absorbed: Absorbed,
    budget: Budget,
    ticked: Timestamp,
}

impl Incidents {
    pub fn new(config: IncidentConfig) -> Self {
        Incidents { config, ..Incidents::default() }
    }

    pub fn load(store: &dyn Store, config: IncidentConfig, alerts: AlertsConfig) -> Result<Self, StoreError> {
        let budget = Budget::load(store, alerts)?;
        let mut loaded = Incidents { absorbed: Absorbed::load(store)?, budget, ..Incidents::new(config) };
        for (_, body) in store.scan(&INCIDENT)? {
            let incident: Incident = INCIDENT.read(&body)?;
            loaded.all.insert(incident.id, incident);
        }
        loaded.regroup();
        Ok(loaded)
    }

    /// Writes what changed since the last call.
    pub fn save(&mut self, batch: &mut Batch) {
        self.absorbed.save(batch);
        self.budget.save(batch);
        for id in std::mem::take(&mut self.dirty) {
            let key = id.raw().to_be_bytes();
            match self.all.get(&id) {
                Some(incident) => batch.put(&INCIDENT, &key, incident),
                None => batch.delete(&INCIDENT, &key),
            }
        }
    }

    /// Puts a finding into the incident it belongs to, opening one where there is none. One that only informs is told
    /// and nobody has to act on it: it has no incident of its own, or two hundred moves on a maintenance day would be as
    /// many. Where it is folded with its likes, one incident tells of them all.
    pub fn take(&mut self, finding: &Finding, out: &mut Vec<IncidentEvent>) -> Option<Joined> {
        if finding.severity == Severity::Info && finding.fold.is_none() && !finding.always {
            self.counters.informed += 1;
            return None;
        }
        let group = grouping::of_finding(finding);
        // Whoever reaches an unknown VM belongs to its story: one newcomer is one incident, not one for each client.
        let reached = finding.peer.and_then(|(vm, _)| vm).filter(|_| finding.detector.signature_id == NEW_PEER);
        let absorbing = self.newcomer(finding.vm).or_else(|| reached.and_then(|vm| self.newcomer(vm)));
        let absorbing = absorbing.filter(|id| finding.fold.is_none() && self.takes_in(*id, finding));
        if let Some(id) = absorbing {
            self.absorbed.add(group, id, finding.detector.name);
        }
        let joined = match absorbing.or_else(|| self.groups.get(&group).copied()) {
            Some(id) if self.accepts(id, finding.time) => self.join(id, finding, out),
            _ => self.open(group, finding, out),
        };
        if finding.fold.is_some() {
            let service = finding.service.as_ref().map(|service| (service.0, service.1));
            let own = (finding.detector.signature_id, finding.vm, service);
            self.absorbed.add(own, joined.incident, finding.detector.name);
        }
        Some(joined)
    }

    /// An incident about many VMs of one kind takes in only what is as harmless: what one of them does besides must not
    /// drown among its likes.
    fn takes_in(&self, id: IncidentId, finding: &Finding) -> bool {
        self.get(id).is_some_and(|i| i.fold.is_none() || finding.severity <= Severity::Low)
    }

    /// Ages incidents: quiet ones of low severity are resolved, resolved ones are forgotten in time.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<IncidentEvent>) {
        if now < self.ticked.plus_s(TICK_S) {
            return;
        }
        self.ticked = now;
        let old = |i: &Incident, days: i64| now >= last_moved(i).plus_s(days.saturating_mul(DAY_S));
        let quiet = |i: &&Incident| {
            i.state != IncidentState::Resolved && i.severity <= Severity::Low && old(i, self.config.quiet_low_d)
        };
        let settled: Vec<IncidentId> = self.all.values().filter(quiet).map(|i| i.id).collect();
        let text = format!("no finding for {} days", self.config.quiet_low_d);
        for id in settled {
            self.settle(id, OURSELVES, &text, now, out);
        }
        let gone = |i: &&Incident| i.state == IncidentState::Resolved && old(i, self.config.keep_resolved_d);
        let gone: Vec<IncidentId> = self.all.values().filter(gone).map(|i| i.id).collect();
        for id in gone {
            self.counters.forgotten += 1;
            self.forget(id);
        }
    }

    pub fn get(&self, id: IncidentId) -> Option<&Incident> {
        self.all.get(&id)
    }

    /// In order of opening.
    pub fn list(&self) -> Vec<&Incident> {
        let mut list: Vec<&Incident> = self.all.values().collect();
        list.sort_by_key(|i| (i.first_seen, i.id));
        list
    }

    /// Those of one VM, in any state, in order of opening: what `why` reads.
    pub fn of_vm(&self, vm: VmId) -> Vec<&Incident> {
        self.list().into_iter().filter(|i| i.vm == vm).collect()
    }

    pub fn configure(&mut self, config: IncidentConfig, alerts: AlertsConfig) {
        self.config = config;
        self.budget.configure(alerts);
    }

    /// How long the probe has watched; thresholds of the alert budget follow once a watched day.
    pub fn watch(&mut self, watched_ns: i64, vms: impl FnOnce() -> u64) {
        self.budget.watch(watched_ns, vms);
    }

    /// The alert budget, and what it has come to.
    pub fn standing(&self) -> Standing {
        self.budget.standing()
    }

    /// Ranks by day, oldest first.
    pub fn calendar(&self) -> impl Iterator<Item = &Daily> {
        self.budget.calendar()
    }

    /// The detector of an unresolved incident about this service, where there is one: its own, or its VM's that
    /// absorbed the finding.
    pub fn concern(&self, service: &ServiceKey) -> Option<&str> {
        let port = Some((service.transport, service.port));
        SERVICE_DETECTORS.iter().find_map(|signature_id| self.unresolved(&(*signature_id, service.vm, port)))
    }

    /// Is this edge of a client VM part of an unresolved incident?
    pub fn concerns_peer(&self, client: VmId, service: &ServiceKey) -> bool {
        self.unresolved(&(NEW_PEER, client, Some((service.transport, service.port)))).is_some()
    }

    /// The detector of a group's own unresolved incident, or of a finding of it that an unresolved one absorbed.
    fn unresolved(&self, group: &Group) -> Option<&str> {
        let open = |id| self.get(id).filter(|incident| incident.state != IncidentState::Resolved);
        let own = self.groups.get(group).and_then(|id| open(*id)).map(|incident| incident.detector.as_str());
        own.or_else(|| self.absorbed.get(group).and_then(|(id, detector)| open(id).map(|_| detector)))
    }

    /// `gone` is an alias of `kept` from now on. A merge raises nothing.
    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        self.absorbed.merge(kept, gone);
        for incident in self.all.values_mut().filter(|i| i.vm == gone) {
            incident.vm = kept;
            self.dirty.insert(incident.id);
        }
        self.regroup();
    }

    /// Sizes and counters, for `stats`.
    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        let unresolved = self.all.values().filter(|i| i.state != IncidentState::Resolved).count();
        out.push(("incident.kept", self.all.len() as u64));
        out.push(("incident.unresolved", unresolved as u64));
        out.push(("incident.absorbed.refused", self.absorbed.refused));
        self.counters.report(out);
    }

    /// The unresolved incident that this VM is there at all.
    fn newcomer(&self, vm: VmId) -> Option<IncidentId> {
        let group = (NEW_VM, vm, None);
        let id = self.groups.get(&group).copied().or_else(|| self.absorbed.get(&group).map(|(id, _)| id))?;
        self.get(id).is_some_and(|i| i.state != IncidentState::Resolved).then_some(id)
    }

    fn accepts(&self, id: IncidentId, now: Timestamp) -> bool {
        self.get(id).is_some_and(|i| {
            let pause_s = if i.severity == Severity::Info { FOLD_INFO_S } else { FOLD_S };
            if i.fold.is_some() && now >= i.last_seen.plus_s(pause_s) {
                return false;
            }
            i.state != IncidentState::Resolved || now < last_moved(i).plus_s(self.config.reopen_d.saturating_mul(DAY_S))
        })
    }

    fn open(&mut self, group: Group, finding: &Finding, out: &mut Vec<IncidentEvent>) -> Joined {
        while self.all.len() >= self.config.incidents_max.max(1) {
            self.make_room();
        }
        let id = self.mint(group, finding);
        let (ip, segment) = grouping::place(finding);
        let ranking = self.budget.rank(finding.severity, finding.always, finding.surprise);
        self.ranked(&ranking, finding.severity, self.stands_alone(finding, None), finding);
        let mut incident = Incident {
            id,
            state: IncidentState::Open,
            severity: finding.severity,
            ranking,
            detector: finding.detector.name.to_owned(),
            signature_id: finding.detector.signature_id,
            techniques: finding.detector.techniques.iter().map(|t| (*t).to_owned()).collect(),
            title: finding.title.clone(),
            reason: finding.reason.clone(),
            vm: finding.vm,
            vm_name: finding.vm_name.clone(),
            ip,
            segment,
            service: finding.service.clone(),
            fold: finding.fold.clone(),
            first_seen: finding.time,
            last_seen: finding.time,
            findings: 1,
            samples: vec![sample(finding)],
            timeline: Vec::new(),
            timeline_dropped: 0,
        };
        note(&mut incident, finding.time, OURSELVES, "opened", &finding.title);
        out.push(IncidentEvent::Opened(incident.clone()));
        self.all.insert(id, incident);
        self.groups.insert(group, id);
        self.dirty.insert(id);
        self.counters.opened += 1;
        Joined { incident: id, opened: true }
    }

    /// Counts a rank: that of an incident that opened, or opened again.
    fn ranked(&mut self, ranking: &Ranking, severity: Severity, alone: bool, finding: &Finding) {
        match ranking.rank {
            Rank::Page => self.counters.pages += 1,
            Rank::Notice => self.counters.notices += 1,
            Rank::Digest => self.counters.digest += 1,
        }
        self.budget.opened(ranking, severity, alone, finding.detector.name, finding.time);
    }

    /// Is nothing else wrong with the VMs of a finding? What happens inside an open incident, or to a VM in trouble, is
    /// no measure of ordinary days; nor is the second remark of a day about one VM.
    fn stands_alone(&self, finding: &Finding, but: Option<IncidentId>) -> bool {
        let peer = finding.peer.and_then(|(vm, _)| vm);
        let concerned = |i: &Incident| {
            Some(i.id) != but
                && (i.vm == finding.vm || Some(i.vm) == peer)
                && i.state != IncidentState::Resolved
                && (i.severity >= Severity::Medium || finding.time < i.last_seen.plus_s(DAY_S))
        };
        !self.all.values().any(concerned)
    }

    fn join(&mut self, id: IncidentId, finding: &Finding, out: &mut Vec<IncidentEvent>) -> Joined {
        // Only asked where it opens again: it looks at every incident.
        let resolved = self.get(id).is_some_and(|i| i.state == IncidentState::Resolved);
        let alone = resolved && self.stands_alone(finding, Some(id));
        let Some(incident) = self.all.get_mut(&id) else { return Joined { incident: id, opened: false } };
        self.dirty.insert(id);
        let from = incident.state;
        // Beyond the samples nothing counts as unknown: the thread of a VM that does everything stays readable.
        let unknown = incident.fold.is_none()
            && incident.samples.len() < Incident::SAMPLES_MAX
            && !incident.samples.iter().any(|s| s.detector == finding.detector.name && s.title == finding.title);
        // What one of many does besides is as harmless as it is itself (`takes_in`), and makes nothing worse of the others.
        let besides = incident.fold.is_some() && finding.fold.is_none();
        let severity = if besides { incident.severity } else { finding.severity.max(incident.severity) };
        let worse = severity > incident.severity;
        let surprise = finding.surprise.max(incident.ranking.surprise);
        let again = self.budget.rank(severity, finding.always, surprise);
        let raised = (worse || finding.always) && again.rank > incident.ranking.rank;
        if raised || from == IncidentState::Resolved {
            incident.ranking = again;
        }
        incident.findings = incident.findings.saturating_add(1);
        incident.last_seen = incident.last_seen.max(finding.time);
        incident.severity = severity;
        if incident.samples.len() < Incident::SAMPLES_MAX {
            incident.samples.push(sample(finding));
        }
        if let Some(fold) = incident.fold.as_ref().filter(|_| finding.fold.is_some()) {
            incident.title = format!("{} of {fold}: {}", incident.findings, finding.detector.signature);
        }
        // What is known of the service since: the application may be proved after the incident was opened.
        if let (Some((_, _, app @ None)), Some((_, _, proved))) = (&mut incident.service, &finding.service)
            && finding.detector.signature_id == incident.signature_id
        {
            *app = proved.clone();
        }
        for technique in finding.detector.techniques {
            if !incident.techniques.iter().any(|t| t == technique) {
                incident.techniques.push((*technique).to_owned());
            }
        }
        if from == IncidentState::Resolved {
            incident.state = IncidentState::Open;
            note(incident, finding.time, OURSELVES, "reopened", &finding.title);
            out.push(IncidentEvent::Changed { incident: incident.clone(), from });
            self.counters.reopened += 1;
            let severity = incident.severity;
            self.ranked(&again, severity, alone, finding);
            return Joined { incident: id, opened: true };
        }
        self.counters.joined += 1;
        if raised {
            self.counters.raised += 1;
            self.budget.raised(finding.time);
        }
        if worse || raised || unknown || is_power_of_three(incident.findings) {
            // An acknowledged incident stays so unless it got worse: someone is on it already.
            if from != IncidentState::Acknowledged || worse || raised {
                incident.state = IncidentState::Growing;
            }
            note(incident, finding.time, OURSELVES, "grew", &finding.title);
            out.push(IncidentEvent::Changed { incident: incident.clone(), from });
        }
        Joined { incident: id, opened: false }
    }

    /// Resolves one if it is not; the reason goes into its timeline.
    pub(super) fn settle(
        &mut self,
        id: IncidentId,
        by: &str,
        text: &str,
        now: Timestamp,
        out: &mut Vec<IncidentEvent>,
    ) {
        let Some(incident) = self.all.get_mut(&id).filter(|i| i.state != IncidentState::Resolved) else { return };
        let from = incident.state;
        incident.state = IncidentState::Resolved;
        note(incident, now, by, "resolved", text);
        self.dirty.insert(id);
        out.push(IncidentEvent::Changed { incident: incident.clone(), from });
    }

    /// Derived from the opening finding, so that the same input gives the same id; salted where one is taken.
    fn mint(&self, group: Group, finding: &Finding) -> IncidentId {
        let service = group.2.map_or(String::new(), |(transport, port)| format!("{transport}/{port}"));
        let (vm, time) = (finding.vm.raw().to_be_bytes(), finding.time.ns().to_be_bytes());
        let evidence: [&[u8]; 4] = [finding.detector.name.as_bytes(), &vm, service.as_bytes(), &time];
        let mut salt = 0;
        loop {
            let id = IncidentId::derive(&evidence, salt);
            if !self.all.contains_key(&id) {
                return id;
            }
            salt += 1;
        }
    }

    fn make_room(&mut self) {
        let resolved = |i: &&Incident| i.state == IncidentState::Resolved;
        let oldest = self.all.values().filter(resolved).min_by_key(|i| (i.last_seen, i.id)).map(|i| i.id);
        if let Some(id) = oldest {
            self.counters.forgotten += 1;
            self.forget(id);
        } else if let Some(id) = self.all.values().min_by_key(|i| (i.severity, i.last_seen, i.id)).map(|i| i.id) {
            self.counters.lost += 1;
            self.forget(id);
        }
    }

    fn forget(&mut self, id: IncidentId) {
        if let Some(incident) = self.all.remove(&id) {
            self.dirty.insert(id);
            self.absorbed.forget(id);
            let group = grouping::of_incident(&incident);
            if self.groups.get(&group) == Some(&id) {
                self.groups.remove(&group);
            }
        }
    }

    /// The latest incident of a group speaks for it; an unresolved one before any resolved one.
    fn regroup(&mut self) {
        let mut latest: BTreeMap<Group, (bool, Timestamp, IncidentId)> = BTreeMap::new();
        for incident in self.all.values() {
            let rank = (incident.state != IncidentState::Resolved, incident.last_seen, incident.id);
            let slot = latest.entry(grouping::of_incident(incident)).or_insert(rank);
            *slot = (*slot).max(rank);
        }
        self.groups = latest.into_iter().map(|(group, (.., id))| (group, id)).collect();
    }
}

pub(super) fn note(incident: &mut Incident, time: Timestamp, by: &str, what: &str, text: &str) {
    if incident.timeline.len() >= Incident::TIMELINE_MAX {
        // How it began and what came last are what a reader needs; the middle goes.
        incident.timeline.remove(1);
        incident.timeline_dropped = incident.timeline_dropped.saturating_add(1);
    }
    let (by, what, text) = (by.to_owned(), what.to_owned(), text.to_owned());
    incident.timeline.push(TimelineEntry { time, by, what, text });
}

/// The last finding or the last step in its timeline: ages run from here.
fn last_moved(incident: &Incident) -> Timestamp {
    incident.timeline.last().map_or(incident.last_seen, |entry| entry.time.max(incident.last_seen))
}

fn sample(finding: &Finding) -> Sample {
    Sample {
        time: finding.time,
        detector: finding.detector.name.to_owned(),
        severity: finding.severity,
        title: finding.title.clone(),
        reason: finding.reason.clone(),
        evidence: finding.evidence.clone(),
    }
}

fn is_power_of_three(n: u64) -> bool {
    std::iter::successors(Some(3u64), |p| p.checked_mul(3)).take_while(|p| *p <= n).any(|p| p == n)
}
