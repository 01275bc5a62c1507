//! The inventory: one owner, fed by observations in their order, asked by everyone on the fact side.
//!
//! Each table inside has its own bound and policy (see its file). Live flows: at most [`LIVE_MAX`], twice what the
//! packet side holds; beyond it a flow is judged by its own facts only, and counted.

use std::net::IpAddr;

use hashbrown::HashMap;

use super::change::{Change, What};
use super::closed::ClosedPorts;
use super::config::InventoryConfig;
use super::discovery::Live;
use super::expectation::Expectations;
use super::fan_in::FanIn;
use super::group::GroupQueries;
use super::identity::{At, Identity, Turn};
use super::import::Imported;
use super::location::Locations;
use super::outside::{Outside, OutsideHome};
use super::peer::{PeerEdge, Peers};
use super::service::{Service, Services};
use super::syn_proxy::SynProxies;
use super::vm::Vm;
use crate::counters;
use crate::model::{Fact, FlowFact, FlowRef, Mac, Observation, ServiceKey, Timestamp, Transport, VmId};
use crate::store::{Batch, Store, StoreError};

pub(super) const LIVE_MAX: usize = 524_288;
/// `last_seen` and counters are written at most this often.
const SAVE_EVERY_S: f64 = 60.0;

counters! {
    pub(super) struct FlowCounters {
        live_refused => "inventory.flow.refused",
        attached => "inventory.flow.attached",
    }
}

#[derive(Debug)]
pub struct Inventory {
    pub(super) identity: Identity,
    pub(super) locations: Locations,
    pub(super) services: Services,
    pub(super) peers: Peers,
    pub(super) closed: ClosedPorts,
    pub(super) proxies: SynProxies,
    pub(super) groups: GroupQueries,
    pub(super) expectations: Expectations,
    pub(super) fan_in: FanIn,
    pub(super) outside: OutsideHome,
    /// By flow id; looked up, never walked.
    pub(super) live: HashMap<u64, Live, foldhash::fast::RandomState>,
    pub(super) counters: FlowCounters,
    pub(super) turns: Vec<Turn>,
    now: Timestamp,
    saved: Timestamp,
}

impl Inventory {
    pub fn new(config: InventoryConfig) -> Self {
        Inventory {
            identity: Identity::new(&config),
            locations: Locations::new(),
            services: Services::new(&config),
            peers: Peers::new(&config),
            closed: ClosedPorts::new(),
            proxies: SynProxies::new(),
            groups: GroupQueries::default(),
            expectations: Expectations::default(),
            fan_in: FanIn::default(),
            outside: OutsideHome::default(),
            live: HashMap::default(),
            counters: FlowCounters::default(),
            turns: Vec::new(),
            now: Timestamp::ZERO,
            saved: Timestamp::ZERO,
        }
    }

    /// A changed configuration: where home is from now on. The bounds of the tables take effect at the next start.
    pub fn configure(&mut self, config: &InventoryConfig) {
        self.identity.configure(config);
    }

    /// Takes in one observation and appends what it changed, in a fixed order: VMs, then services, then peers.
    pub fn observe(&mut self, obs: &Observation, out: &mut Vec<Change>) {
        self.now = self.now.max(obs.time);
        let at = At { time: obs.time, frame: if obs.order.packet { obs.order.frame } else { 0 } };
        match &obs.fact {
            Fact::Flow(flow, fact) => {
                self.flow(flow, fact, at, out);
                if *fact == FlowFact::Answer {
                    self.latency(flow, at.time);
                }
            }
            Fact::Claim(claim) => {
                self.identity.claim(claim, at, &mut self.turns);
                self.settle(None, at, out);
                self.announced(claim, at.time);
            }
            Fact::Sighted(sightings) => self.sighted(sightings, at.time),
            Fact::Tick => {
                self.groups.expire(at.time);
                self.moves(at, out);
                out.push(Change { time: at.time, frame: at.frame, flow: None, what: What::Tick });
            }
            Fact::Counters(_) | Fact::Source(_) | Fact::OneWayTunnels(_) => {}
        }
    }

    /// Takes in an inventory file. Returns each row's VM with the services that the file sanctions, for the
    /// baseline; what it changed (merges, names) is appended to `out`.
    pub fn import(
        &mut self,
        imported: &Imported,
        now: Timestamp,
        out: &mut Vec<Change>,
    ) -> Vec<(VmId, Vec<(Transport, u16)>)> {
        let mut sanctioned = Vec::new();
        for row in &imported.vms {
            let id = self.identity.declare(row, now, &mut self.turns);
            sanctioned.push((id, row.sanctioned.clone()));
        }
        self.settle(None, At { time: now, frame: 0 }, out);
        for (id, _) in &mut sanctioned {
            *id = self.resolve(*id); // a later row may have merged it
        }
        sanctioned
    }

    /// The VM that this id means since merges.
    pub fn resolve(&self, id: VmId) -> VmId {
        self.identity.resolve(id)
    }

    pub fn vm(&self, id: VmId) -> Option<&Vm> {
        self.identity.vms.get(&self.resolve(id))
    }

    /// Every VM that was seen, in order of id.
    pub fn vms(&self) -> impl Iterator<Item = &Vm> {
        self.identity.vms.iter().map(|(_, vm)| vm).filter(|vm| vm.seen)
    }

    /// Every VM that the inventory file declares and no packet ever showed, in order of id.
    pub fn unseen(&self) -> impl Iterator<Item = &Vm> {
        self.identity.vms.iter().map(|(_, vm)| vm).filter(|vm| !vm.seen)
    }

    /// Every row, in order of VM, transport, port, segment, address.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.rows.iter().map(|(_, service)| service)
    }

    /// The rows of one service: one for each address that serves it.
    pub fn service(&self, key: &ServiceKey) -> impl Iterator<Item = &Service> {
        self.services.of(ServiceKey { vm: self.resolve(key.vm), ..*key })
    }

    /// The rows of one VM.
    pub fn services_of(&self, vm: VmId) -> impl Iterator<Item = &Service> {
        self.services.of_vm(self.resolve(vm))
    }

    /// Every edge, in order of server, transport, port, client.
    pub fn peers(&self) -> impl Iterator<Item = &PeerEdge> {
        self.peers.edges.iter().map(|(_, edge)| edge)
    }

    /// VMs by id, prefix of an id, name (any case), address or MAC; in order of id.
    pub fn find(&self, text: &str) -> Vec<VmId> {
        let text = text.trim();
        if let Ok(id) = text.parse::<VmId>() {
            return self.vm(id).map(|vm| vm.id).into_iter().collect();
        }
        let (ip, mac) = (text.parse::<IpAddr>().ok(), text.parse::<Mac>().ok());
        // `vm-` alone would be everyone.
        let prefix = Some(text).filter(|t| t.starts_with("vm-") && t.len() > 3);
        let named = |vm: &Vm| {
            vm.names.iter().any(|name| name.text.eq_ignore_ascii_case(text))
                || ip.is_some_and(|ip| vm.ips().chain(vm.declared.ips.iter().copied()).any(|own| own == ip))
                || mac.is_some_and(|mac| vm.macs().chain(vm.declared.macs.iter().copied()).any(|own| own == mac))
                || prefix.is_some_and(|prefix| vm.id.to_string().starts_with(prefix))
        };
        self.identity.vms.iter().filter(|(_, vm)| named(vm)).map(|(id, _)| *id).collect()
    }

    /// What a person calls it: its name, else its address, else its MAC.
    pub fn label(&self, id: VmId) -> String {
        self.vm(id).map_or_else(|| id.to_string(), Vm::label)
    }

    /// Busy addresses outside home, busiest first, at most ten.
    pub fn outside(&self) -> Vec<Outside> {
        self.outside.busiest()
    }

    /// Adds to the batch what changed, and once a minute of packet time what only went on.
    pub fn save(&mut self, batch: &mut Batch) {
        let all = self.now.since_s(self.saved) >= SAVE_EVERY_S;
        if all {
            self.saved = self.now;
        }
        self.write(batch, all);
    }

    /// Adds to the batch all that is not written yet: for the end of a run.
    pub fn save_all(&mut self, batch: &mut Batch) {
        self.write(batch, true);
    }

    pub fn load(store: &dyn Store, config: InventoryConfig) -> Result<Self, StoreError> {
        Ok(Inventory {
            identity: Identity::load(store, &config)?,
            locations: Locations::load(store)?,
            services: Services::load(store, &config)?,
            peers: Peers::load(store, &config)?,
            closed: ClosedPorts::load(store)?,
            proxies: SynProxies::load(store)?,
            outside: OutsideHome::load(store)?,
            ..Inventory::new(config)
        })
    }

    /// Table sizes, evictions and refusals.
    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        let sizes = [
            ("inventory.vms", self.identity.vms.len()),
            ("inventory.stations", self.identity.stations.len()),
            ("inventory.services", self.services.rows.len()),
            ("inventory.peers", self.peers.edges.len()),
            ("inventory.closed_addresses", self.closed.len()),
            ("inventory.live_flows", self.live.len()),
        ];
        out.extend(sizes.map(|(name, size)| (name, size as u64)));
        self.identity.counters.report(out);
        self.locations.counters.report(out);
        self.services.counters.report(out);
        self.peers.counters.report(out);
        self.closed.counters.report(out);
        self.proxies.counters.report(out);
        self.groups.counters.report(out);
        self.expectations.counters.report(out);
        self.fan_in.counters.report(out);
        self.counters.report(out);
    }

    /// Applies what identity found out to services and peers, and tells it.
    pub(super) fn settle(&mut self, flow: Option<&FlowRef>, at: At, out: &mut Vec<Change>) {
        if self.turns.is_empty() {
            return;
        }
        let mut tell = |what| out.push(Change { time: at.time, frame: at.frame, flow: flow.copied(), what });
        let mut forgotten = Vec::new();
        for turn in std::mem::take(&mut self.turns) {
            match turn {
                Turn::New(vm) => tell(What::VmNew { vm }),
                Turn::Changed(vm, text) => tell(What::VmChanged { vm: self.identity.resolve(vm), text }),
                Turn::Merged { kept, gone } => {
                    self.services.merge(kept, gone);
                    self.peers.merge(kept, gone);
                    self.locations.merge(kept, gone);
                    tell(What::Merged { kept, gone });
                }
                Turn::Split { segment, ip, from, to } => {
                    for old in self.services.split(segment, ip, from, to) {
                        let new = ServiceKey { vm: to, ..old };
                        if self.services.of(old).next().is_none() {
                            self.peers.reassign(&old, to);
                            tell(What::ServiceRetracted { service: old });
                        }
                        if let Some(row) = self.services.of(new).next() {
                            let (class, basis) = (row.class, row.basis);
                            tell(What::ServiceNew { service: new, segment, ip, class, basis });
                        }
                    }
                }
                Turn::Forgotten(vm) => {
                    self.locations.forget(vm);
                    forgotten.push(vm);
                }
            }
        }
        if !forgotten.is_empty() {
            forgotten.sort_unstable();
            self.peers.forget_clients(&forgotten);
        }
    }

    fn write(&mut self, batch: &mut Batch, all: bool) {
        self.identity.save(batch, all);
        self.locations.save(batch, all);
        self.services.save(batch, all);
        self.peers.save(batch, all);
        self.closed.save(batch, all);
        self.proxies.save(batch, all);
        self.outside.save(batch, all);
    }
}
