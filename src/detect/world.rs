//! A small world for the detectors' tests: VMs, services and time, judged and then learned from as the brain does.
//! Unbounded: it lives as long as one test.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{DetectConfig, Detectors, Known, Seen, Verdict, World};
use crate::baseline::{BaselineConfig, Baselines, Lesson, Mode, Port, Sanction, SanctionSource, Sanctions, Who};
use crate::inventory::{Basis, Change, Sight, What};
use crate::model::{
    AppInfo, CaptureQuality, Endpoint, Finding, FlowRef, Segment, ServiceClass, ServiceKey, Timestamp, Transport, VmId,
};

pub fn vm(n: u8) -> VmId {
    VmId::derive(&[&[n]], 0)
}

pub fn key(n: u8, port: u16) -> ServiceKey {
    ServiceKey { vm: vm(n), transport: Transport::Tcp, port }
}

pub fn app(proto: &'static str, product: &str, version: &str) -> AppInfo {
    let mut app = AppInfo::new(proto, None);
    app.product(product, Some(version.as_bytes()));
    app
}

pub struct Row {
    pub basis: Basis,
    pub app: Option<AppInfo>,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub clients: u64,
    pub flows: u64,
    pub bytes: u64,
}

#[derive(Default)]
pub struct FakeInventory {
    pub listed: BTreeSet<VmId>,
    pub names: BTreeMap<VmId, String>,
    pub taking_over: BTreeSet<VmId>,
    pub arrived: BTreeSet<VmId>,
    pub taken_over: BTreeSet<ServiceKey>,
    pub rows: BTreeMap<ServiceKey, Row>,
    /// Clients of another segment.
    pub elsewhere: BTreeSet<IpAddr>,
    pub quality: Option<CaptureQuality>,
    pub blind_until: Option<Timestamp>,
    /// Services that only join a known group.
    pub joining: BTreeSet<ServiceKey>,
}

impl FakeInventory {
    pub fn set_app(&mut self, key: ServiceKey, app: AppInfo) {
        self.rows.get_mut(&key).expect("a service").app = Some(app);
    }

    pub fn set_clients(&mut self, key: ServiceKey, clients: u64) {
        self.rows.get_mut(&key).expect("a service").clients = clients;
    }

    fn see(&mut self, change: &Change) {
        match &change.what {
            What::ServiceNew { service, basis, .. } => {
                let (first_seen, last_seen) = (change.time, change.time);
                let row = Row { basis: *basis, app: None, first_seen, last_seen, clients: 1, flows: 1, bytes: 112 };
                self.rows.insert(*service, row);
            }
            What::ServiceUsed { service, .. } => {
                if let Some(row) = self.rows.get_mut(service) {
                    row.flows += 1;
                    row.last_seen = change.time;
                }
            }
            What::ServiceRaised { service, basis } => {
                if let Some(row) = self.rows.get_mut(service) {
                    row.basis = *basis;
                }
            }
            What::ServiceApp { service, now, .. } => self.set_app(*service, (**now).clone()),
            _ => {}
        }
    }
}

impl Who for FakeInventory {
    fn name(&self, vm: VmId) -> Option<String> {
        self.names.get(&vm).cloned()
    }

    fn tags(&self, _vm: VmId) -> Vec<String> {
        Vec::new()
    }
}

impl Known for FakeInventory {
    fn label(&self, id: VmId) -> String {
        (0..=255).find(|n| vm(*n) == id).map_or_else(|| id.to_string(), |n| format!("vm{n:02}"))
    }

    fn name(&self, id: VmId) -> Option<String> {
        Some(self.names.get(&id).cloned().unwrap_or_else(|| self.label(id)))
    }

    fn takes_a_name_over(&self, vm: VmId) -> bool {
        self.taking_over.contains(&vm)
    }

    /// Addresses are numbered as VMs are.
    fn holder(&self, _segment: Segment, ip: IpAddr) -> Option<VmId> {
        match ip {
            IpAddr::V4(ip) => Some(vm(ip.octets()[3])),
            IpAddr::V6(_) => None,
        }
    }

    fn arrived(&self, vm: VmId) -> bool {
        self.arrived.contains(&vm)
    }

    fn is_elsewhere(&self, _service: &ServiceKey, client: IpAddr) -> bool {
        self.elsewhere.contains(&client)
    }

    fn listed(&self, vm: VmId) -> bool {
        self.listed.contains(&vm)
    }

    fn quality(&self, _vm: VmId) -> Option<CaptureQuality> {
        self.quality
    }

    fn blind_until(&self) -> Option<Timestamp> {
        self.blind_until
    }

    fn taken_over(&self, service: &ServiceKey) -> bool {
        self.taken_over.contains(service)
    }

    fn service(&self, service: &ServiceKey) -> Option<Seen<'_>> {
        self.rows.get(service).map(|row| Seen {
            basis: row.basis,
            class: ServiceClass::Unicast,
            joins_known_group: self.joining.contains(service),
            app: row.app.as_ref(),
            first_seen: row.first_seen,
            last_seen: row.last_seen,
            clients: row.clients,
            flows: row.flows,
            bytes: row.bytes,
        })
    }
}

pub struct Lab {
    pub baselines: Baselines,
    pub sanctions: Sanctions,
    pub known: FakeInventory,
    pub quality: CaptureQuality,
    pub detectors: Detectors,
    pub now: Timestamp,
    frame: u64,
}

impl Lab {
    pub fn new(mode: Mode) -> Self {
        Lab {
            baselines: Baselines::new(BaselineConfig { mode, ..BaselineConfig::default() }),
            sanctions: Sanctions::new(),
            known: FakeInventory::default(),
            quality: CaptureQuality::default(),
            detectors: Detectors::new(&DetectConfig::default()),
            now: Timestamp::from_parts(1_767_225_600, 0),
            frame: 0,
        }
    }

    pub fn world(&self) -> World<'_> {
        World { known: &self.known, baselines: &self.baselines, sanctions: &self.sanctions, quality: self.quality }
    }

    pub fn set_mode(&mut self, mode: Mode) {
        self.baselines.configure(BaselineConfig { mode, ..self.baselines.config().clone() });
    }

    pub fn after_s(&mut self, seconds: i64) -> &mut Self {
        self.now = self.now.plus_s(seconds);
        self
    }

    /// One change from 10.0.0.9, as the brain treats it: judged, then learned from.
    pub fn see(&mut self, what: What) -> Vec<Finding> {
        let change = self.change(what, 9);
        self.judge(&change)
    }

    pub fn judge(&mut self, change: &Change) -> Vec<Finding> {
        self.known.see(change);
        self.baselines.greet(change, &self.known);
        let mut out = Vec::new();
        let world =
            World { known: &self.known, baselines: &self.baselines, sanctions: &self.sanctions, quality: self.quality };
        let verdict = self.detectors.judge(change, &world, &mut out);
        // Invariant 7: what raised a finding is withheld, where the change would teach anything of it.
        let teaches = !matches!(
            change.what,
            What::Tick
                | What::VmNew { .. }
                | What::VmMoved { .. }
                | What::VmCompared { .. }
                | What::ServiceRefused { .. }
        );
        assert!(out.is_empty() || verdict == Verdict::Withhold || !teaches, "{out:?}");
        self.baselines.learn(change, if verdict == Verdict::Withhold { Lesson::Barred } else { Lesson::Free });
        out
    }

    /// A new service, proved as `level` says, by client `client` (its VM and its address 10.0.0.`client`).
    pub fn opens(&mut self, key: ServiceKey, level: u8, client: u8) -> Vec<Finding> {
        let basis = Basis { level, closed_at: None, sight: Sight::Whole };
        self.opens_with(key, basis, client)
    }

    pub fn opens_with(&mut self, key: ServiceKey, basis: Basis, client: u8) -> Vec<Finding> {
        let ip = IpAddr::from([10, 0, 0, 1]);
        let what =
            What::ServiceNew { service: key, segment: Segment::UNTAGGED, ip, class: ServiceClass::Unicast, basis };
        let change = self.change(what, client);
        self.judge(&change)
    }

    /// The inventory knows it, and nobody judged it.
    pub fn shows(&mut self, key: ServiceKey) {
        let basis = Basis { level: 4, closed_at: None, sight: Sight::Whole };
        let (segment, ip) = (Segment::UNTAGGED, IpAddr::from([10, 0, 0, 1]));
        let what = What::ServiceNew { service: key, segment, ip, class: ServiceClass::Unicast, basis };
        let change = self.change(what, 9);
        self.known.see(&change);
    }

    /// The service used again by 10.0.0.`client`.
    pub fn uses(&mut self, key: ServiceKey, client: u8) -> Vec<Finding> {
        let what =
            What::ServiceUsed { service: key, client: IpAddr::from([10, 0, 0, client]), client_vm: Some(vm(client)) };
        let change = self.change(what, client);
        self.judge(&change)
    }

    pub fn reach(&mut self, client: VmId, key: ServiceKey) -> Vec<Finding> {
        let server_ip = IpAddr::from([10, 0, 0, 1]);
        self.see(What::PeerNew { client, server: key.vm, service: key, server_ip })
    }

    /// Learns `n` flows of a service without judging them.
    pub fn serve(&mut self, key: ServiceKey, n: u64) {
        for i in 0..n {
            let what = if i == 0 && !self.known.rows.contains_key(&key) {
                let basis = Basis { level: 4, closed_at: None, sight: Sight::Whole };
                let ip = IpAddr::from([10, 0, 0, 1]);
                What::ServiceNew { service: key, segment: Segment::UNTAGGED, ip, class: ServiceClass::Unicast, basis }
            } else {
                What::ServiceUsed { service: key, client: IpAddr::from([10, 0, 0, 9]), client_vm: None }
            };
            self.teach(what);
        }
    }

    pub fn learn_app(&mut self, key: ServiceKey, app: AppInfo) {
        self.teach(What::ServiceApp { service: key, before: None, now: Box::new(app) });
    }

    /// Thirty hours in which the VM serves tcp/443 to three and uses vm99's tcp/5432, twice an hour.
    pub fn ripen(&mut self, vm: VmId) {
        for _ in 0..60 {
            self.after_s(1_800);
            self.serve(ServiceKey { vm, transport: Transport::Tcp, port: 443 }, 1);
            let service = key(99, 5_432);
            self.teach(What::PeerUsed { client: vm, server: service.vm, service });
        }
        self.known.set_clients(ServiceKey { vm, transport: Transport::Tcp, port: 443 }, 3);
    }

    /// As a client it took its ports from here.
    pub fn uses_source_ports(&mut self, vm: VmId, from: u16) {
        for port in [from, from + 1_024] {
            let service = key(99, 5_432);
            let mut change = self.change(What::PeerUsed { client: vm, server: service.vm, service }, 9);
            if let Some(flow) = &mut change.flow {
                flow.orig.port = port;
            }
            self.baselines.learn(&change, Lesson::Free);
        }
    }

    /// Thirty hours in which `all` serve 80 to 85, and `most` another port too: one role.
    pub fn seat_together(&mut self, all: &[u8], most: &[u8], port: u16) {
        for _ in 0..60 {
            for n in all {
                (80..=85).for_each(|port| self.serve(key(*n, port), 1));
            }
            most.iter().for_each(|n| self.serve(key(*n, port), 1));
            self.after_s(1_800);
            self.teach(What::Tick);
            self.baselines.tick(&self.known, self.now);
        }
    }

    /// The edge is learned.
    pub fn knows(&mut self, client: VmId, service: ServiceKey) {
        self.teach(What::PeerUsed { client, server: service.vm, service });
    }

    pub fn sanction(&mut self, vm: VmId, service: Option<Port>) {
        let sanction = Sanction {
            vm,
            service,
            app: None,
            owner: "ops".to_owned(),
            reason: "planned".to_owned(),
            ticket: None,
            expires: None,
            added: self.now,
            source: SanctionSource::Person,
            hits: 0,
            last_hit: None,
        };
        self.sanctions.add(sanction).expect("room");
    }

    pub fn change(&mut self, what: What, client: u8) -> Change {
        self.frame += 1;
        let end = |last, port| Endpoint {
            ip: IpAddr::from([10, 0, 0, last]),
            port,
            mac: None,
            host_hint: None,
            path: Default::default(),
        };
        let flow = FlowRef {
            id: self.frame,
            segment: Segment::UNTAGGED,
            transport: Transport::Tcp,
            orig: end(client, 40_000),
            resp: end(1, 443),
            first_seen: self.now,
            first_frame: self.frame,
        };
        Change { time: self.now, frame: self.frame, flow: Some(flow), what }
    }

    fn teach(&mut self, what: What) {
        let change = self.change(what, 9);
        self.known.see(&change);
        self.baselines.learn(&change, Lesson::Free);
    }
}
