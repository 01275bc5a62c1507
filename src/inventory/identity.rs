//! Identity: which VM an endpoint is. A VM is its MACs; addresses are attributes. Behind a router, and where a link
//! has no MACs, a VM is its (segment, address).
//!
//! At most `vms_max` VMs and twice as many stations. At the bound those that were never answered and are silent are
//! forgotten (a flood of spoofed senders leaves nothing else); where that frees nothing, new ones are refused.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::client_id::{CLIENT, ClientKey, DhcpClient};
use super::config::InventoryConfig;
use super::holders::Holders;
use super::home::{self, Home};
use super::listed::Lists;
use super::names::{HEARD, Heard, NameKey};
use super::records::Records;
use super::station::{self, Routes, SEEN_MAX, Seen, Source, Station};
use super::tie::Binding;
use super::vm::{NameSource, Vm};
use crate::counters;
use crate::model::{Claim, ClaimKind, Mac, Segment, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

/// While its owner was heard within this time, another MAC that sends from an address relays it: in a mirror of
/// both sides of a router every packet is seen twice. A new owner by DHCP comes later than this or announces itself.
const RELAYED_S: f64 = 60.0;
/// What is told of a VM that the inventory declared before its first packet.
const EXPECTED_CAME: &str = "is in the inventory and was seen for the first time";

static VM: Kind = Kind { tag: 0x10, name: "vm", version: 2 };
static STATION: Kind = Kind { tag: 0x11, name: "station", version: 2 };
static ALIAS: Kind = Kind { tag: 0x12, name: "vm alias", version: 1 };

counters! {
    pub(super) struct IdentityCounters {
        vms_refused => "inventory.vm.refused",
        vms_forgotten => "inventory.vm.forgotten",
        stations_refused => "inventory.station.refused",
        addresses_refused => "inventory.address.refused",
        relayed => "inventory.address.relayed",
        routers => "inventory.router.recognised",
        merged => "inventory.vm.merged",
        merges_refused => "inventory.vm.merge_refused",
        split => "inventory.vm.split",
        names_refused => "inventory.name.refused",
        clients_refused => "inventory.client_id.refused",
        clients_shared => "inventory.client_id.shared",
        interfaces_changed => "inventory.interface.changed",
    }
}

/// When and in which frame something was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub time: Timestamp,
    pub frame: u64,
}

/// Who an end of a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Vm(VmId),
    /// An address outside home.
    Outside,
    /// A group, the unspecified address: no host at all.
    Nobody,
}

/// What a sighting changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    New(VmId),
    Changed(VmId, String),
    Merged {
        kept: VmId,
        gone: VmId,
    },
    /// An address that was taken for `from`'s own turned out to lie behind it.
    Split {
        segment: Segment,
        ip: IpAddr,
        from: VmId,
        to: VmId,
    },
    /// Never answered and long silent: dropped to make room.
    Forgotten(VmId),
}

#[derive(Debug)]
pub(super) struct Identity {
    pub home: Home,
    pub(super) vms_max: usize,
    pub(super) vms: Records<VmId, Vm>,
    pub(super) aliases: Records<VmId, VmId>,
    pub(super) stations: Records<(Mac, Segment), Station>,
    /// Who has an address now, and by which MAC. Made anew from the interfaces at load.
    pub(super) bindings: Holders,
    pub(super) declared_macs: BTreeMap<Mac, VmId>,
    pub(super) declared_ips: BTreeMap<IpAddr, VmId>,
    pub(super) lists: Lists,
    pub(super) heard_names: Records<NameKey, Heard>,
    pub(super) clients: Records<ClientKey, DhcpClient>,
    pub(super) forgot_at: Timestamp,
    pub counters: IdentityCounters,
}

/// One end of a flow or a claim, as it was seen to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub segment: Segment,
    pub ip: IpAddr,
    pub mac: Option<Mac>,
    pub host_hint: Option<IpAddr>,
}

impl Identity {
    pub fn new(config: &InventoryConfig) -> Self {
        Identity {
            home: config.home.clone(),
            vms_max: config.vms_max,
            vms: Records::new(&VM),
            aliases: Records::new(&ALIAS),
            stations: Records::new(&STATION),
            bindings: Holders::default(),
            declared_macs: BTreeMap::new(),
            declared_ips: BTreeMap::new(),
            lists: Lists::default(),
            heard_names: Records::new(&HEARD),
            clients: Records::new(&CLIENT),
            forgot_at: Timestamp::ZERO,
            counters: IdentityCounters::default(),
        }
    }

    pub fn configure(&mut self, config: &InventoryConfig) {
        self.home = config.home.clone();
    }

    /// The VM that sent from this endpoint; it is minted where it is new and home.
    pub fn place(&mut self, sender: Sender, at: At, turns: &mut Vec<Turn>) -> Party {
        if home::names_no_host(sender.ip) {
            return Party::Nobody;
        }
        let found = match sender.mac.filter(|mac| mac.is_unicast()) {
            Some(mac) => self.by_mac(mac, sender, Source::Frames, at, turns),
            None => self.by_address(sender, at, turns),
        };
        match found {
            Some(id) => {
                self.heard(id, sender, at);
                Party::Vm(id)
            }
            None => Party::Outside,
        }
    }

    /// Who has this address now, without a sighting.
    pub fn holder(&self, segment: Segment, ip: IpAddr) -> Option<VmId> {
        self.bindings.get(&(ip, segment)).map(|b| b.vm)
    }

    /// Takes in what ARP, ND or DHCP says.
    pub fn claim(&mut self, claim: &Claim, at: At, turns: &mut Vec<Turn>) {
        if !claim.mac.is_unicast() {
            return;
        }
        let key = (claim.mac, claim.segment);
        if claim.kind == ClaimKind::Routes && self.admit(key, at, turns) {
            self.routes(key, Routes::Says, at, turns);
        }
        // A probe with no sender address (RFC 5227, DAD) claims nothing yet.
        let Some(ip) = claim.ip.filter(|ip| !home::names_no_host(*ip)) else { return };
        let sender = Sender { segment: claim.segment, ip, mac: Some(claim.mac), host_hint: claim.host_hint };
        let source = if matches!(claim.kind, ClaimKind::Leased { .. }) { Source::Dhcp } else { Source::Neighbour };
        if self.is_relayed(claim, ip) {
            self.counters.relayed += 1;
            return;
        }
        self.returns(claim, at, turns);
        let known = self.known_client(claim, at, turns);
        let Some(id) = self.by_mac(claim.mac, sender, source, at, turns) else { return };
        let id = self.lease(claim, known, id, at, turns);
        self.heard(id, sender, at);
        self.prove(id);
        if let ClaimKind::Leased { name: Some(name), .. } = &claim.kind {
            self.name(id, NameSource::Dhcp, name, at, turns);
        }
    }

    /// This VM was answered, or tied to its address: no spoofed sender.
    pub fn prove(&mut self, id: VmId) {
        if self.vms.get(&id).is_some_and(|vm| !vm.proved)
            && let Some(vm) = self.vms.change(&id)
        {
            vm.proved = true;
        }
    }

    pub fn resolve(&self, id: VmId) -> VmId {
        self.aliases.get(&id).copied().unwrap_or(id)
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.vms.save(batch, all);
        self.stations.save(batch, all);
        self.aliases.save(batch, all);
        self.lists.save(batch, all);
        self.heard_names.save(batch, all);
        self.clients.save(batch, all);
    }

    pub fn load(store: &dyn Store, config: &InventoryConfig) -> Result<Self, StoreError> {
        let mut identity = Identity::new(config);
        identity.vms = Records::load(&VM, store)?;
        identity.stations = Records::load(&STATION, store)?;
        identity.aliases = Records::load(&ALIAS, store)?;
        identity.lists = Lists::load(store)?;
        identity.heard_names = Records::load(&HEARD, store)?;
        identity.clients = Records::load(&CLIENT, store)?;
        for (id, vm) in identity.vms.iter() {
            for nic in &vm.nics {
                let binding = Binding::new(*id, nic.mac);
                nic.ips.iter().for_each(|ip| identity.bindings.insert((*ip, nic.segment), binding));
            }
            identity.declared_macs.extend(vm.declared.macs.iter().map(|mac| (*mac, *id)));
            identity.declared_ips.extend(vm.declared.ips.iter().map(|ip| (*ip, *id)));
        }
        Ok(identity)
    }

    fn by_mac(&mut self, mac: Mac, sender: Sender, source: Source, at: At, turns: &mut Vec<Turn>) -> Option<VmId> {
        let Sender { segment, ip, .. } = sender;
        let key = (mac, segment);
        if let Some(station) = self.stations.touch(&key) {
            if let Some(seen) = station.seen.iter_mut().find(|seen| seen.ip == ip) {
                let silent = at.time.since_s(seen.last) > RELAYED_S;
                seen.last = at.time;
                let is_news = source > seen.source
                    // It may have been another's in the meantime.
                    || (silent || source > Source::Frames)
                        && seen.home
                        && self.bindings.get(&(ip, segment)).is_none_or(|b| b.mac != Some(mac));
                if !is_news {
                    return station.vm.filter(|_| seen.home);
                }
            }
        } else if !self.admit(key, at, turns) {
            return self.by_address(sender, at, turns);
        }
        let source = source.max(self.told_otherwise(key, ip));
        let tied = source > Source::Frames;
        let covered = self.home.covers(ip);
        let station = self.stations.get(&key)?;
        let is_router = station.is_router();
        let bound = self.bindings.get(&(ip, segment)).copied();
        if is_router && (!tied || bound.is_some_and(|b| b.mac != Some(mac)) || station.seen.len() >= SEEN_MAX) {
            // Behind it; or it answers ARP for another (proxy ARP), which makes the address no more its own.
            return self.by_address(sender, at, turns);
        }
        let was_seen = station.seen(ip).is_some();
        if !tied {
            match bound {
                // Known by address: only a tie may move it to a MAC, which may be a second router's.
                Some(Binding { vm, mac: None, .. }) => return Some(vm),
                Some(Binding { vm, mac: Some(owner), .. }) if owner != mac && self.is_live(owner, segment, ip, at) => {
                    if was_seen {
                        return station.vm;
                    }
                    self.counters.relayed += 1;
                    return Some(vm);
                }
                _ => {}
            }
            if !was_seen && station.would_route(ip, covered, at.time) {
                self.routes(key, Routes::Seems, at, turns);
                return self.by_address(sender, at, turns);
            }
        }
        let is_home = covered || (tied && !is_router && self.home.follows_ties());
        let station = self.stations.change(&key)?;
        match station.seen.iter_mut().find(|seen| seen.ip == ip) {
            Some(seen) => {
                *seen = Seen { source: source.max(seen.source), home: is_home, last: at.time, ..*seen };
            }
            None => {
                if !station.remember(Seen { ip, source, home: is_home, first: at.time, last: at.time }) {
                    self.counters.addresses_refused += 1;
                    return station.vm.filter(|_| is_home);
                }
            }
        }
        let vm = if is_home { self.bind(key, ip, was_seen, at, turns)? } else { return None };
        Some(if tied { self.expected_at(ip, vm, turns) } else { vm })
    }

    /// The VM that is known by this address, minted where it is home and new.
    fn by_address(&mut self, sender: Sender, at: At, turns: &mut Vec<Turn>) -> Option<VmId> {
        let Sender { segment, ip, .. } = sender;
        if let Some(binding) = self.bindings.get_mut(&(ip, segment)) {
            if sender.mac.is_some() {
                binding.forwarded = at.time;
            }
            return Some(binding.vm);
        }
        let declared = self.declared_ips.get(&ip).copied();
        let covered = self.home.covers(ip) || (declared.is_some() && self.home.follows_ties());
        if !covered {
            return None;
        }
        // A declared address names one VM; the same address in another segment is another tenant's.
        let free = declared.filter(|id| self.vms.get(id).is_some_and(|vm| !vm.ips().any(|other| other == ip)));
        let id = match free {
            Some(id) => self.first_seen(id, at, turns),
            None => self.mint(&[b"ip", segment.to_string().as_bytes(), ip.to_string().as_bytes()], at, turns)?,
        };
        let forwarded = if sender.mac.is_some() { at.time } else { Timestamp::ZERO };
        self.bindings.insert((ip, segment), Binding { forwarded, ..Binding::new(id, None) });
        self.refresh(id, None, segment, Some(ip));
        Some(id)
    }

    /// A station turned out to forward for others: what nothing ties to it is known by address from now on.
    /// The part with the MAC keeps the id.
    fn routes(&mut self, key: (Mac, Segment), routes: Routes, at: At, turns: &mut Vec<Turn>) {
        let (mac, segment) = key;
        let Some(station) = self.stations.change(&key) else { return };
        let was_router = station.is_router();
        if station.routes != Routes::Says {
            station.routes = routes;
        }
        if was_router {
            return;
        }
        self.counters.routers += 1;
        let (own, behind): (Vec<_>, Vec<_>) = station.seen.drain(..).partition(Seen::is_tied);
        station.seen = own;
        let Some(vm) = station.vm else { return };
        let behind: Vec<_> = behind
            .into_iter()
            .filter(|seen| self.bindings.get(&(seen.ip, segment)).is_some_and(|b| b.is(vm, Some(mac))))
            .map(|seen| seen.ip)
            .collect();
        for ip in &behind {
            self.bindings.remove(&(*ip, segment));
        }
        self.refresh(vm, Some(mac), segment, None);
        if let Some(vm) = self.vms.change(&vm) {
            vm.router = true;
        }
        turns.push(Turn::Changed(vm, format!("forwards for other hosts with the MAC {mac}")));
        for ip in behind {
            let sender = Sender { segment, ip, mac: None, host_hint: None };
            if let Some(to) = self.by_address(sender, at, turns).filter(|to| *to != vm) {
                self.counters.split += 1;
                self.prove(to); // it takes services along, and they are not forgotten
                turns.push(Turn::Split { segment, ip, from: vm, to });
            }
        }
    }

    /// Makes sure that a station is there. False: no room.
    pub(super) fn admit(&mut self, key: (Mac, Segment), at: At, turns: &mut Vec<Turn>) -> bool {
        if self.stations.contains(&key) {
            return true;
        }
        if self.stations.len() >= 2 * self.vms_max {
            self.forget_unproved(at.time, turns);
        }
        if self.stations.len() >= 2 * self.vms_max {
            self.counters.stations_refused += 1;
            return false;
        }
        let (mac, segment) = key;
        let mut station = Station::default();
        if station::is_virtual_router(mac) {
            station.routes = Routes::Says;
        }
        // The same MAC in another segment: a router there routes here too; a trunked VM is one VM.
        let from = (mac, Segment::UNTAGGED);
        let siblings = self.stations.range(from..).take_while(|((other, _), _)| *other == mac);
        for ((_, elsewhere), sibling) in siblings.take(super::vm::NICS_MAX) {
            if sibling.is_router() && station.routes == Routes::No {
                station.routes = Routes::Seems;
            }
            if station.vm.is_none() && station::one_tenant(elsewhere, &segment) {
                station.vm = sibling.vm;
            }
        }
        if station.is_router() {
            station.vm = None;
        }
        self.stations.put(key, station);
        true
    }

    pub(super) fn is_live(&self, mac: Mac, segment: Segment, ip: IpAddr, at: At) -> bool {
        let owner = self.stations.get(&(mac, segment)).and_then(|station| station.seen(ip));
        owner.is_some_and(|seen| at.time.since_s(seen.last) <= RELAYED_S)
    }

    /// What else than a packet ties the address to the MAC.
    fn told_otherwise(&self, (mac, _): (Mac, Segment), ip: IpAddr) -> Source {
        if self.declared_ips.get(&ip).is_some_and(|id| self.declared_macs.get(&mac) == Some(id)) {
            Source::Inventory
        } else if station::is_eui64_of(ip, mac) {
            Source::Eui64
        } else {
            Source::Frames
        }
    }

    fn heard(&mut self, id: VmId, sender: Sender, at: At) {
        if let Some(vm) = self.vms.touch(&id) {
            vm.last_seen = vm.last_seen.max(at.time);
            vm.segment = sender.segment;
            // A guess; what the mirror locations show together is better (see `moves`).
            vm.host_hint = vm.host_hint.or(sender.host_hint);
        }
    }

    /// A VM of the inventory file is seen: known, so no new VM.
    pub(super) fn first_seen(&mut self, id: VmId, at: At, turns: &mut Vec<Turn>) -> VmId {
        if let Some(vm) = self.vms.change(&id).filter(|vm| !vm.seen) {
            (vm.seen, vm.first_seen, vm.last_seen, vm.first_frame) = (true, at.time, at.time, at.frame);
            turns.push(Turn::Changed(id, EXPECTED_CAME.to_owned()));
        }
        id
    }

    pub(super) fn mint(&mut self, evidence: &[&[u8]], at: At, turns: &mut Vec<Turn>) -> Option<VmId> {
        if self.vms.len() >= self.vms_max {
            self.forget_unproved(at.time, turns);
        }
        if self.vms.len() >= self.vms_max {
            self.counters.vms_refused += 1;
            return None;
        }
        let id = self.free_id(evidence);
        let vm = Vm { id, seen: true, first_seen: at.time, last_seen: at.time, first_frame: at.frame, ..Vm::default() };
        self.vms.put(id, vm);
        turns.push(Turn::New(id));
        Some(id)
    }

    pub(super) fn free_id(&self, evidence: &[&[u8]]) -> VmId {
        let mut salt = 0;
        loop {
            let id = VmId::derive(evidence, salt);
            if !self.vms.contains(&id) && !self.aliases.contains(&id) {
                return id;
            }
            salt += 1;
        }
    }
}
