//! Calibration: the rates of a network before anything is enforced, by role and for the site, and the alerts a day that
//! they imply (detection.md 11.7). Fed only where `baseline calibrate` asks for it.
//!
//! At most [`CONTACTS_MAX`] first contacts are told apart, and as many served ports; beyond that none is counted, which
//! is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use super::Brain;
use crate::baseline::{Feature, NoveltyRate, Port};
use crate::incident::{Standing, notices_per_day, pages_per_day, rate_lower};
use crate::inventory::{Change, What};
use crate::model::{Fact, FlowFact, FlowRef, RoleId, Timestamp, VmId};

const CONTACTS_MAX: usize = 262_144;
/// Who is served on a port and uses the same port within a day has changed its role, as a worm makes its victims do.
const ROLE_CHANGE_S: f64 = 86_400.0;
const NS_PER_DAY: f64 = 8.64e13;
/// A VM-day, where a first day is all there is: what detection assumes before anything is measured (detection.md 9).
const ASSUMED_SERVICES: f64 = 0.05;
const ASSUMED_PEERS: f64 = 2.0;

#[derive(Default)]
pub struct Calibration {
    contacts: BTreeSet<(VmId, IpAddr, Port)>,
    served: BTreeMap<(VmId, Port), Timestamp>,
    by_vm: BTreeMap<VmId, Counts>,
    refused: u64,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    first_contacts: u64,
    failed: u64,
    role_changes: u64,
}

/// Counts and rate a VM-day (a day, for new VMs) with both 95 % bounds; `null` where nothing was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rate {
    pub events: u64,
    pub per_day: Option<f64>,
    pub lower: Option<f64>,
    pub upper: Option<f64>,
}

/// One role; `None` for the VMs without one, and for the site.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    pub role: Option<String>,
    pub vms: u64,
    pub vm_days: f64,
    pub new_services: Rate,
    pub new_peers: Rate,
    pub role_changes: Rate,
    pub first_contacts: u64,
    pub failed_share: Option<f64>,
    /// Good–Turing: the probability that the next flow shows a service that was never seen.
    pub missing_mass: f64,
    /// VMs whose services are ripe, and hours after which all are, if nothing new comes.
    pub ripe: u64,
    pub all_ripe_in_h: f64,
}

/// Alerts a day.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Implied {
    pub page: f64,
    pub notice: f64,
    pub digest: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Calibrated {
    pub watched_h: f64,
    /// No VM was watched beyond its first day: all that it did is discovery, and the rates are too high. What they imply
    /// is assumed then, not measured.
    pub first_day_only: bool,
    pub site: Row,
    pub new_vms: Rate,
    pub roles: Vec<Row>,
    pub per_1000_vms_per_day: f64,
    pub pages_per_day: f64,
    pub notices_per_day: f64,
    /// By severity alone, as it begins: from the rates, and from their upper bounds (of discovery: a ceiling).
    pub at_first: Implied,
    pub at_first_upper: Implied,
    /// Once the thresholds have followed the rates.
    pub settled: Implied,
    /// First contacts that were not counted because there were too many.
    pub contacts_refused: u64,
}

impl Calibration {
    /// Was the first contact of a client with a port answered? The first word on it counts.
    fn flow(&mut self, flow: &FlowRef, failed: bool, client: Option<VmId>) {
        let Some(client) = client else { return };
        if flow.resp.ip.is_multicast() {
            return;
        }
        let contact = (client, flow.resp.ip, (flow.transport, flow.resp.port));
        if self.contacts.contains(&contact) {
            return;
        }
        if self.contacts.len() >= CONTACTS_MAX {
            self.refused += 1;
            return;
        }
        self.contacts.insert(contact);
        let counts = self.by_vm.entry(client).or_default();
        counts.first_contacts += 1;
        counts.failed += u64::from(failed);
    }

    pub fn change(&mut self, change: &Change) {
        let What::PeerNew { client, service, .. } = &change.what else { return };
        let port = (service.transport, service.port);
        let turned = self.served.get(&(*client, port)).is_some_and(|at| change.time.since_s(*at) <= ROLE_CHANGE_S);
        self.by_vm.entry(*client).or_default().role_changes += u64::from(turned);
        if self.served.len() < CONTACTS_MAX {
            self.served.insert((service.vm, port), change.time);
        }
    }
}

impl Brain {
    /// Counts from now on what [`Brain::calibrated`] tells.
    pub fn calibrate(&mut self) {
        self.calibration = Some(Calibration::default());
    }

    /// What a fact says of first contacts.
    pub(super) fn sample(&mut self, fact: &Fact) {
        let Brain { calibration: Some(calibration), inventory, .. } = self else { return };
        let (flow, failed) = match fact {
            Fact::Flow(flow, FlowFact::Answer) => (flow, false),
            Fact::Flow(flow, FlowFact::Refused(_)) => (flow, true),
            Fact::Flow(flow, FlowFact::End(_, totals)) if totals.resp_packets == 0 && !totals.one_way => (flow, true),
            _ => return,
        };
        calibration.flow(flow, failed, inventory.holder(flow.segment, flow.orig.ip));
    }

    pub fn calibrated(&self) -> Calibrated {
        let watched_ns = self.baselines.watched_ns(self.now);
        let mut by_role: BTreeMap<Option<RoleId>, Vec<VmId>> = BTreeMap::new();
        let roles: BTreeMap<RoleId, String> = self.baselines.roles().iter().map(|(id, r)| (id, r.label())).collect();
        for (vm, _) in self.baselines.profiles() {
            let role = self.baselines.roles().of(vm).map(|(id, _)| id).filter(|id| roles.contains_key(id));
            by_role.entry(role).or_default().push(vm);
        }
        let all: Vec<VmId> = self.baselines.profiles().map(|(vm, _)| vm).collect();
        let past_first = |vm: &VmId| self.baselines.own_novelty(*vm, Feature::Services, self.now).vm_days > 0.0;
        let first_day_only = !all.iter().any(past_first);
        let mut rows: Vec<Row> = by_role
            .iter()
            .map(|(role, vms)| Row {
                role: role.and_then(|id| roles.get(&id).cloned()),
                ..self.row(vms, first_day_only)
            })
            .collect();
        // Roles by name, then the VMs without one.
        rows.sort_by(|a, b| (a.role.is_none(), &a.role).cmp(&(b.role.is_none(), &b.role)));
        let site = self.row(&all, first_day_only);
        let new_vms = self.new_vm_rate(watched_ns, first_day_only);
        let alerts = &self.config.alerts;
        let (pages, notices) = (pages_per_day(alerts, site.vms), notices_per_day(alerts, site.vms));
        let vms = site.vms as f64;
        let implied = |of: fn(&Rate) -> Option<f64>| Implied {
            page: of(&site.new_services).unwrap_or(0.0) * vms,
            notice: of(&site.new_peers).unwrap_or(0.0) * vms + of(&new_vms).unwrap_or(0.0),
            digest: 0.0,
        };
        let at_first = match first_day_only {
            false => implied(|rate| rate.per_day),
            true => Implied { page: ASSUMED_SERVICES * vms, notice: ASSUMED_PEERS * vms, digest: 0.0 },
        };
        let page = at_first.page.min(pages);
        let settled = Implied {
            page,
            notice: at_first.notice.min(notices) + at_first.page - page,
            digest: (at_first.notice - notices).max(0.0),
        };
        Calibrated {
            watched_h: watched_ns as f64 / NS_PER_DAY * 24.0,
            first_day_only,
            at_first_upper: implied(|rate| rate.upper),
            at_first,
            settled,
            site,
            new_vms,
            roles: rows,
            per_1000_vms_per_day: alerts.per_1000_vms_per_day,
            pages_per_day: pages,
            notices_per_day: notices,
            contacts_refused: self.calibration.as_ref().map_or(0, |c| c.refused),
        }
    }

    fn row(&self, vms: &[VmId], first_day_only: bool) -> Row {
        let (mut services, mut peers, mut counts) = (NoveltyRate::default(), NoveltyRate::default(), Counts::default());
        let (mut once, mut flows, mut all_days) = (0, 0, 0.0);
        let mut row = Row { vms: vms.len() as u64, ..Row::default() };
        for vm in vms {
            let of = |feature| match first_day_only {
                true => self.baselines.discovery(*vm, feature, self.now),
                false => self.baselines.own_novelty(*vm, feature, self.now),
            };
            services.add(of(Feature::Services));
            peers.add(of(Feature::Peers));
            all_days += self.baselines.discovery(*vm, Feature::Services, self.now).vm_days;
            let ripeness = self.baselines.ripeness(*vm, Feature::Services, self.now);
            once += ripeness.tally.once;
            flows += ripeness.tally.flows;
            row.ripe += u64::from(ripeness.is_ripe());
            row.all_ripe_in_h = row.all_ripe_in_h.max(ripeness.latest_h);
            if let Some(of) = self.calibration.as_ref().and_then(|c| c.by_vm.get(vm)) {
                counts.first_contacts += of.first_contacts;
                counts.failed += of.failed;
                counts.role_changes += of.role_changes;
            }
        }
        row.vm_days = services.vm_days;
        row.new_services = rate(services.events, services.vm_days);
        row.new_peers = rate(peers.events, peers.vm_days);
        // The first day counts: who is served and then serves on is as rare on it as on any other.
        row.role_changes = rate(counts.role_changes, all_days);
        row.first_contacts = counts.first_contacts;
        row.failed_share =
            (counts.first_contacts > 0).then(|| rounded(counts.failed as f64 / counts.first_contacts as f64));
        row.missing_mass = if flows == 0 { 1.0 } else { rounded((once as f64 / flows as f64).min(1.0)) };
        row
    }

    /// New VMs a day, once the first day has shown those that were there.
    fn new_vm_rate(&self, watched_ns: i64, first_day_only: bool) -> Rate {
        let discovery_d = if first_day_only { 0.0 } else { self.baselines.config().observe_h_min / 24.0 };
        let born_d = |vm| self.baselines.profile(vm).map_or(0.0, |p| p.born_watched_ns() as f64 / NS_PER_DAY);
        let events = self.baselines.profiles().filter(|(vm, _)| born_d(*vm) > discovery_d).count() as u64;
        rate(events, watched_ns as f64 / NS_PER_DAY - discovery_d)
    }
}

fn rate(events: u64, days: f64) -> Rate {
    if days <= 0.0 {
        return Rate { events, ..Rate::default() };
    }
    let upper = NoveltyRate { events, vm_days: days, vms: 0 }.upper();
    let per_day = events as f64 / days;
    Rate {
        events,
        per_day: Some(rounded(per_day)),
        lower: Some(rounded(rate_lower(events) / days)),
        upper: upper.map(rounded),
    }
}

fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

/// The alert budget in a line of `why`.
pub(super) fn budget_line(standing: &Standing) -> crate::detect::Line {
    let Standing { vms, pages_per_day, measured_per_day, days, page, notice } = standing;
    let measured = match days {
        0 => "not measured yet".to_owned(),
        days => format!("{measured_per_day:.2} a day on {days} ordinary days"),
    };
    crate::detect::Line {
        label: "alert budget",
        value: format!(
            "{pages_per_day:.2} pages a day for {vms} VMs, {measured}; thresholds {page} for a page, {notice} for a notice"
        ),
    }
}
