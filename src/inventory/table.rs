//! The inventory: one owner, fed by observations in their order, asked by everyone on the fact side.
//!
//! Each table inside has its own bound and policy (see its file). Live flows: at most [`LIVE_MAX`], twice what the
//! packet side holds; beyond it a flow is judged by its own facts only, and counted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hashbrown::HashMap;

use super::advert::Introductions;
use super::arrival::Arrivals;
use super::change::{Change, What};
use super::closed::ClosedPorts;
use super::config::InventoryConfig;
use super::contradiction::{Contradiction, Contradictions};
use super::discovery::{Live, Standing};
use super::expectation::Expectations;
use super::fan_in::FanIn;
use super::group::GroupQueries;
use super::group_member::GroupMembers;
use super::host_key::KeyHolders;
use super::identity::{At, Identity, Turn};
use super::import::Imported;
use super::listed::{Coverage, Listing};
use super::location::Locations;
use super::names::Heard;
use super::outside::{Outside, OutsideHome};
use super::peer::{PeerEdge, Peers};
use super::ports::Ports;
use super::service::{RowKey, Service, Services};
use super::storage::Storage;
use super::syn_proxy::SynProxies;
use super::transfer::{Announcer, Transfer, Transfers};
use super::unasked::Unasked;
use super::vm::{Name, NameSource, Vm};
use crate::counters;
use crate::model::{
    AppProto, Fact, FlowFact, FlowRef, Mac, Observation, Segment, ServiceClass, ServiceKey, Timestamp, Transport, VmId,
};
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
    pub(super) introductions: Introductions,
    pub(super) key_holders: KeyHolders,
    pub(super) ports: Ports,
    pub(super) storage: Storage,
    pub(super) services: Services,
    pub(super) transfers: Transfers,
    pub(super) peers: Peers,
    pub(super) closed: ClosedPorts,
    pub(super) contradictions: Contradictions,
    pub(super) proxies: SynProxies,
    pub(super) groups: GroupQueries,
    pub(super) members: GroupMembers,
    pub(super) expectations: Expectations,
    pub(super) fan_in: FanIn,
    pub(super) unasked: Unasked,
    pub(super) outside: OutsideHome,
    /// By flow id; looked up, never walked.
    pub(super) live: HashMap<u64, Live, foldhash::fast::RandomState>,
    pub(super) counters: FlowCounters,
    pub(super) turns: Vec<Turn>,
    pub(super) arrivals: Arrivals,
    now: Timestamp,
    saved: Timestamp,
}

impl Inventory {
    pub fn new(config: InventoryConfig) -> Self {
        Inventory {
            identity: Identity::new(&config),
            locations: Locations::new(),
            introductions: Introductions::new(),
            key_holders: KeyHolders::default(),
            ports: Ports::new(),
            storage: Storage::new(),
            services: Services::new(&config),
            transfers: Transfers::new(),
            peers: Peers::new(&config),
            closed: ClosedPorts::new(),
            contradictions: Contradictions::new(),
            proxies: SynProxies::new(),
            groups: GroupQueries::default(),
            members: GroupMembers::new(),
            expectations: Expectations::default(),
            fan_in: FanIn::default(),
            unasked: Unasked::default(),
            outside: OutsideHome::default(),
            live: HashMap::default(),
            counters: FlowCounters::default(),
            turns: Vec::new(),
            arrivals: Arrivals::default(),
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
        if self.arrivals.begun == Timestamp::ZERO {
            self.arrivals.begun = obs.time;
        }
        let at = At { time: obs.time, frame: if obs.order.packet { obs.order.frame } else { 0 } };
        match &obs.fact {
            Fact::Flow(flow, fact) => {
                self.flow(flow, fact, at, out);
                match fact {
                    FlowFact::Answer => self.latency(flow, at.time),
                    FlowFact::App(app) => self.stores(flow, app, at.time),
                    FlowFact::Progress(totals) | FlowFact::End(_, totals) => self.marked(flow, totals),
                    _ => {}
                }
            }
            Fact::Claim(claim) => {
                self.identity.claim(claim, at, &mut self.turns);
                self.settle(None, at, out);
                self.announced(claim, at.time);
                self.heralded(claim, at.time);
            }
            Fact::Membership(said) if said.joined => {
                self.members.joined(said.segment, said.group, said.member, at.time);
            }
            Fact::Membership(said) => self.members.left(said.segment, said.group, said.member),
            Fact::Name(segment, heard) => {
                self.identity.name_heard(*segment, heard, at, &mut self.turns);
                self.settle(None, at, out);
            }
            Fact::Advert(said) => {
                self.introduced(said, at);
                self.settle(None, at, out);
            }
            Fact::Interfaces(interfaces) => self.locations.interfaces.told(interfaces),
            Fact::Sighted(sightings) => self.sighted(sightings, at.time),
            Fact::Tick => {
                self.groups.expire(at.time);
                self.moves(at, out);
                out.push(Change { time: at.time, frame: at.frame, flow: None, what: What::Tick });
            }
            Fact::Counters(_)
            | Fact::Awaited(_)
            | Fact::Source(_)
            | Fact::Quality(_)
            | Fact::Shown(_)
            | Fact::OneWayTunnels(_)
            | Fact::Handover(_) => {}
        }
    }

    /// # Errors
    /// More VMs would be listed than are kept.
    pub fn has_room(&self, sources: &BTreeMap<String, Imported>) -> Result<(), String> {
        self.identity.has_room(sources.iter().map(|(source, imported)| (source.as_str(), imported.vms.len())))
    }

    /// Takes in what a source lists now, in place of what it listed before. Returns the VM of each row; what it changed
    /// (merges) is appended to `out`.
    ///
    /// # Errors
    /// More VMs than are kept; nothing is changed then.
    pub fn import(
        &mut self,
        source: &str,
        imported: &Imported,
        now: Timestamp,
        out: &mut Vec<Change>,
    ) -> Result<Vec<VmId>, String> {
        let ids = self.identity.list(source, &imported.vms, now, &mut self.turns)?;
        self.settle(None, At { time: now, frame: 0 }, out);
        Ok(ids)
    }

    /// Every VM that an inventory lists, in order of id, and how much of it was seen.
    pub fn listed(&self) -> impl Iterator<Item = (&Vm, Coverage)> {
        let vms = self.identity.vms.iter().map(|(_, vm)| vm);
        vms.filter(|vm| vm.is_listed()).map(|vm| (vm, self.identity.coverage(vm)))
    }

    /// The VM that a listed one was seen as: itself, or whoever has its address without being tied to it.
    pub fn seen_as(&self, vm: &Vm) -> Option<VmId> {
        if vm.seen { Some(vm.id) } else { self.identity.holder_of_listed(vm) }
    }

    /// What inventories say of a VM besides what [`Vm`] has.
    pub fn listing(&self, vm: VmId) -> Listing<'_> {
        self.identity.lists.listing(self.resolve(vm))
    }

    /// The VM that this id means since merges.
    pub fn resolve(&self, id: VmId) -> VmId {
        self.identity.resolve(id)
    }

    pub fn vm(&self, id: VmId) -> Option<&Vm> {
        self.identity.vms.get(&self.resolve(id))
    }

    /// The VM that has this address now.
    pub fn holder(&self, segment: Segment, ip: IpAddr) -> Option<VmId> {
        self.identity.holder(segment, ip).map(|id| self.resolve(id))
    }

    /// The VM of this interface.
    pub fn of_station(&self, mac: Mac, segment: Segment) -> Option<VmId> {
        let vm = self.identity.stations.get(&(mac, segment))?.vm?;
        Some(self.resolve(vm))
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

    /// Of a service, or (`None`) of a VM as a client: flows of which copies of some bytes differed.
    pub fn contradiction(&self, vm: VmId, service: Option<(Transport, u16)>) -> Option<&Contradiction> {
        self.contradictions.of(self.resolve(vm), service)
    }

    /// Those of a VM, as a client first, then by service.
    pub fn contradictions(&self, vm: VmId) -> impl Iterator<Item = (Option<(Transport, u16)>, &Contradiction)> {
        self.contradictions.of_vm(self.resolve(vm))
    }

    /// The rows of one service: one for each address that serves it.
    pub fn service(&self, key: &ServiceKey) -> impl Iterator<Item = &Service> {
        self.services.of(ServiceKey { vm: self.resolve(key.vm), ..*key })
    }

    /// The rows of one VM.
    pub fn services_of(&self, vm: VmId) -> impl Iterator<Item = &Service> {
        self.services.of_vm(self.resolve(vm))
    }

    /// The groups that a row sends to, in order.
    pub fn groups(&self, service: &Service) -> Vec<IpAddr> {
        self.members.groups(&service.row_key()).collect()
    }

    /// How many others listen to these groups, as they reported or answered.
    pub fn members(&self, service: &Service, groups: &[IpAddr]) -> usize {
        self.members.members(service.segment, groups, service.ip)
    }

    /// Is a row only one more sender to groups that others of its segment sent to before?
    pub fn joins_known_group(&self, service: &Service) -> bool {
        matches!(service.class, ServiceClass::Multicast | ServiceClass::Broadcast)
            && self.members.known_before(&service.row_key())
    }

    /// What another flow announced this one as, while it lasts.
    pub fn announced_as(&self, flow: &FlowRef) -> Option<&AppProto> {
        match &self.live.get(&flow.id)?.standing {
            Standing::Announced(app) => Some(app),
            _ => None,
        }
    }

    /// Ports that another flow announced, under the VMs that have their addresses now; in order of segment, address,
    /// port.
    pub fn transfers(&self) -> impl Iterator<Item = Transfer> {
        self.transfers.iter().cloned().map(|mut transfer| {
            transfer.service.key = self.current(transfer.service.row_key()).key;
            transfer
        })
    }

    /// The service that announced a port, where it is one.
    pub fn announcer(&self, transfer: &Transfer) -> Option<&Service> {
        let Announcer { ip, transport, port } = transfer.announced_by;
        let segment = transfer.service.segment;
        let key = ServiceKey { vm: self.identity.holder(segment, ip)?, transport, port };
        self.services.rows.get(&RowKey { key, segment, ip })
    }

    /// Every edge, in order of server, transport, port, client.
    pub fn peers(&self) -> impl Iterator<Item = &PeerEdge> {
        self.peers.edges.iter().map(|(_, edge)| edge)
    }

    /// VMs by id, prefix of an id, name (any case), address or MAC; in order of id. What an inventory calls a VM and
    /// what one has comes before what one calls itself or is only listed with, so that nobody takes a name away.
    pub fn find(&self, text: &str) -> Vec<VmId> {
        let text = text.trim();
        if let Ok(id) = text.parse::<VmId>() {
            return self.vm(id).map(|vm| vm.id).into_iter().collect();
        }
        let (ip, mac) = (text.parse::<IpAddr>().ok(), text.parse::<Mac>().ok());
        // `vm-` alone would be everyone.
        let prefix = Some(text).filter(|t| t.starts_with("vm-") && t.len() > 3);
        let called = |vm: &Vm, listed| {
            vm.names.iter().any(|n| (n.source == NameSource::Inventory) == listed && n.text.eq_ignore_ascii_case(text))
        };
        let surely = |vm: &Vm| {
            called(vm, true)
                || ip.is_some_and(|ip| vm.ips().any(|own| own == ip))
                || mac.is_some_and(|mac| vm.macs().any(|own| own == mac))
                || prefix.is_some_and(|prefix| vm.id.to_string().starts_with(prefix))
        };
        let perhaps = |vm: &Vm| {
            called(vm, false)
                || ip.is_some_and(|ip| vm.declared.ips.contains(&ip))
                || mac.is_some_and(|mac| vm.declared.macs.contains(&mac))
        };
        let all = || self.identity.vms.iter().map(|(_, vm)| vm);
        let found: Vec<VmId> = all().filter(|vm| surely(vm)).map(|vm| vm.id).collect();
        if found.is_empty() { all().filter(|vm| perhaps(vm)).map(|vm| vm.id).collect() } else { found }
    }

    /// When a VM was first and last heard to go by one of its names; `None` for what an inventory says.
    pub fn heard(&self, vm: VmId, name: &Name) -> Option<Heard> {
        self.identity.heard_names.get(&(self.resolve(vm), name.source, name.text.clone())).copied()
    }

    /// The names, in lower case, that more than one VM goes by, and their VMs.
    pub fn namesakes(&self) -> BTreeMap<String, Vec<VmId>> {
        self.identity.namesakes()
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
        let services = Services::load(store, &config)?;
        let identity = Identity::load(store, &config)?;
        let begun = identity.vms.iter().map(|(_, vm)| vm).filter(|vm| vm.seen).map(|vm| vm.first_seen).min();
        Ok(Inventory {
            identity,
            arrivals: Arrivals::since(begun.unwrap_or_default()),
            key_holders: KeyHolders::of_services(services.rows.iter().map(|(_, service)| service)),
            locations: Locations::load(store)?,
            ports: Ports::load(store)?,
            introductions: Introductions::load(store)?,
            storage: Storage::load(store)?,
            services,
            transfers: Transfers::load(store)?,
            peers: Peers::load(store, &config)?,
            closed: ClosedPorts::load(store)?,
            contradictions: Contradictions::load(store)?,
            proxies: SynProxies::load(store)?,
            members: GroupMembers::load(store)?,
            outside: OutsideHome::load(store)?,
            ..Inventory::new(config)
        })
    }

    /// Table sizes, evictions and refusals.
    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        let sizes = [
            ("inventory.vms", self.identity.vms.len()),
            ("inventory.stations", self.identity.stations.len()),
            ("inventory.adverts", self.introductions.len()),
            ("inventory.client_ids", self.identity.clients.len()),
            ("inventory.keys", self.key_holders.len()),
            ("inventory.services", self.services.rows.len()),
            ("inventory.transfers", self.transfers.len()),
            ("inventory.peers", self.peers.edges.len()),
            ("inventory.closed_addresses", self.closed.len()),
            ("inventory.contradictions", self.contradictions.len()),
            ("inventory.live_flows", self.live.len()),
        ];
        out.extend(sizes.into_iter().chain(self.members.sizes()).map(|(name, size)| (name, size as u64)));
        self.members.counters.report(out);
        self.identity.counters.report(out);
        self.locations.counters.report(out);
        self.introductions.counters.report(out);
        self.key_holders.counters.report(out);
        self.storage.counters.report(out);
        self.services.counters.report(out);
        self.transfers.counters.report(out);
        self.peers.counters.report(out);
        self.closed.counters.report(out);
        self.contradictions.counters.report(out);
        self.proxies.counters.report(out);
        self.groups.counters.report(out);
        self.expectations.counters.report(out);
        self.fan_in.counters.report(out);
        self.unasked.counters.report(out);
        self.counters.report(out);
    }

    /// Applies what identity found out to services and peers, and tells it.
    pub(super) fn settle(&mut self, flow: Option<&FlowRef>, at: At, out: &mut Vec<Change>) {
        if self.turns.is_empty() {
            return;
        }
        let mut tell = |what| out.push(Change { time: at.time, frame: at.frame, flow: flow.copied(), what });
        let (mut forgotten, mut new) = (Vec::new(), Vec::new());
        for turn in std::mem::take(&mut self.turns) {
            match turn {
                Turn::New(vm) => {
                    tell(What::VmNew { vm });
                    new.push(vm);
                }
                Turn::Changed(vm, text) => tell(What::VmChanged { vm: self.identity.resolve(vm), text }),
                Turn::Merged { kept, gone } => {
                    self.services.merge(kept, gone);
                    self.peers.merge(kept, gone);
                    self.locations.merge(kept, gone);
                    self.contradictions.merge(kept, gone);
                    self.ports.merge(kept, gone);
                    self.storage.merge(kept, gone);
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
                    self.contradictions.forget(vm);
                    self.ports.forget(vm);
                    self.storage.forget(vm);
                    forgotten.push(vm);
                }
            }
        }
        for vm in new {
            self.was_heralded(vm, at.time);
        }
        if !forgotten.is_empty() {
            forgotten.sort_unstable();
            self.peers.forget_clients(&forgotten);
        }
    }

    fn write(&mut self, batch: &mut Batch, all: bool) {
        self.identity.save(batch, all);
        self.locations.save(batch, all);
        self.ports.save(batch, all);
        self.introductions.save(batch, all);
        self.storage.save(batch, all);
        self.services.save(batch, all);
        self.transfers.save(batch, all);
        self.peers.save(batch, all);
        self.closed.save(batch, all);
        self.contradictions.save(batch, all);
        self.proxies.save(batch, all);
        self.members.save(batch, all);
        self.outside.save(batch, all);
    }
}
