//! DHCP client ids: what a client calls itself to its servers outlives its interface. A machine whose interface was
//! exchanged stays the VM that it was; clones of one image, which have one id too, stay apart.
//!
//! A new MAC takes a VM over only where all of this holds: its lease has the VM's id and does not contradict its host
//! name; the VM's MAC is silent, for [`GONE_S`] where the server gave the new MAC the same address again and for
//! [`LONG_GONE_S`] where it did not; and the new MAC belongs to nobody who was there before. Two MACs alive at once
//! make an id nobody's own for ever. Where the old MAC comes back nevertheless, the new one is parted from it.
//!
//! At most twice as many ids as VMs; beyond it new ones are refused and counted.

use serde::{Deserialize, Serialize};

use super::identity::{At, Identity, Turn};
use super::station::Station;
use super::tie::Binding;
use crate::model::{Claim, ClaimKind, LayerKind, Mac, Segment, Timestamp, VmId};
use crate::store::Kind;

use std::net::IpAddr;

/// Longer than any pause of a VM that runs: it answers ARP, asks for its gateway, keeps its connections.
const GONE_S: f64 = 60.0;
/// With less to go by: nobody boots a clone of a VM that has been off for so long without its going through a template.
const LONG_GONE_S: f64 = 600.0;
/// What a VM says before its lease (neighbour discovery, of IPv6) makes it known this much earlier.
const BOOT_S: f64 = 120.0;

pub(super) static CLIENT: Kind = Kind { tag: 0x1d, name: "dhcp client", version: 1 };

/// The overlay networks that a client lives in (two are two tenants), and its id.
pub(super) type ClientKey = (String, String);

/// Who had a lease under an id last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DhcpClient {
    mac: Mac,
    ip: IpAddr,
    name: Option<String>,
    last: Timestamp,
    /// The MAC that the present one replaced.
    before: Option<Mac>,
    /// Two MACs had it at once: it says nothing.
    shared: bool,
}

impl Identity {
    /// A MAC that another one replaced asks for a lease again: both are there, so they are two.
    pub(super) fn returns(&mut self, claim: &Claim, at: At, turns: &mut Vec<Turn>) {
        let Some((key, _)) = client_of(claim) else { return };
        let Some(client) = self.clients.get(&key).filter(|client| client.before == Some(claim.mac)).cloned() else {
            return;
        };
        if !self.silent(client.mac, at, GONE_S) {
            self.share(&key);
            self.part(claim.mac, client.mac, at, turns);
        }
    }

    /// The VM that a lease's client was with another MAC. A MAC that is nobody's yet becomes its interface at once.
    pub(super) fn known_client(&mut self, claim: &Claim, at: At, turns: &mut Vec<Turn>) -> Option<VmId> {
        let (key, name) = client_of(claim)?;
        let client = self.clients.get(&key).filter(|client| client.mac != claim.mac && !client.shared)?.clone();
        if !self.silent(client.mac, at, GONE_S) {
            return None; // told apart once it has a VM of its own
        }
        let contradicts = matches!((&client.name, &name), (Some(was), Some(is)) if !was.eq_ignore_ascii_case(is));
        let same_address = claim.ip == Some(client.ip);
        let agrees =
            same_address || client.name.is_some() && name.is_some() && self.silent(client.mac, at, LONG_GONE_S);
        if contradicts || !agrees {
            return None;
        }
        let vm = self.vm_of(client.mac)?;
        if self.declared_macs.get(&claim.mac).is_some_and(|declared| *declared != vm) {
            return None;
        }
        let new = (claim.mac, claim.segment);
        if !self.admit(new, at, turns) {
            return None;
        }
        let station = self.stations.change(&new)?;
        if station.is_router() {
            return None;
        }
        match station.vm {
            None => station.vm = Some(vm),
            Some(other) if other == vm => {}
            // Whoever was there before is somebody else, whatever it calls itself now.
            Some(other) => {
                let young = |vm: &super::vm::Vm| at.time.since_s(vm.first_seen) <= BOOT_S && !vm.is_listed();
                self.vms.get(&other).filter(|vm| young(vm))?;
            }
        }
        Some(vm)
    }

    /// Remembers a lease's client, and makes its two VMs one where [`Self::known_client`] knew it. Returns the VM that
    /// has the lease.
    pub(super) fn lease(
        &mut self,
        claim: &Claim,
        known: Option<VmId>,
        vm: VmId,
        at: At,
        turns: &mut Vec<Turn>,
    ) -> VmId {
        let (Some((key, name)), Some(ip)) = (client_of(claim), claim.ip) else { return vm };
        let Some(client) = self.clients.get(&key).cloned() else {
            if self.clients.len() >= 2 * self.vms_max {
                self.counters.clients_refused += 1;
            } else {
                let new = DhcpClient { mac: claim.mac, ip, name, last: at.time, before: None, shared: false };
                self.clients.put(key, new);
            }
            return vm;
        };
        if client.shared {
            return vm;
        }
        if client.mac == claim.mac {
            let same = client.ip == ip && client.name == name;
            let known = if same { self.clients.touch(&key) } else { self.clients.change(&key) };
            if let Some(known) = known {
                (known.ip, known.name, known.last) = (ip, name.or(client.name), at.time);
            }
            return vm;
        }
        if known.is_none() && !self.silent(client.mac, at, GONE_S) {
            self.share(&key);
            let text = match self.vm_of(client.mac).filter(|other| *other != vm).and_then(|other| self.vms.get(&other))
            {
                Some(other) => {
                    format!("has the DHCP client id of {} too: a clone, or another interface of it", other.label())
                }
                None => return vm,
            };
            turns.push(Turn::Changed(vm, text));
            return vm;
        }
        let before = known.is_some().then_some(client.mac);
        self.clients.put(
            key,
            DhcpClient { mac: claim.mac, ip, name: name.or(client.name), last: at.time, before, shared: false },
        );
        let Some(known) = known else { return vm };
        self.counters.interfaces_changed += 1;
        let kept = self.merge(self.resolve(known), vm, turns);
        let text = format!("has the MAC {} in place of {}, by its DHCP client id", claim.mac, client.mac);
        turns.push(Turn::Changed(kept, text));
        kept
    }

    /// What goes by a MAC of a VM becomes a VM of its own. The part with the other MAC keeps the id, and what served: it
    /// is most of the history, and the other begins anew.
    fn part(&mut self, stays: Mac, goes: Mac, at: At, turns: &mut Vec<Turn>) {
        let Some(from) = self.vm_of(stays) else { return };
        let going = self.stations_where([goes].into_iter(), |station: &Station| station.vm == Some(from));
        if going.is_empty() {
            return;
        }
        let Some(to) = self.mint(&[b"mac", &goes.0], at, turns) else { return };
        self.counters.split += 1;
        self.prove(to);
        for (mac, segment) in going {
            if let Some(station) = self.stations.change(&(mac, segment)) {
                station.vm = Some(to);
            }
            let of_nic = |nic: &&super::vm::Nic| nic.mac == Some(mac) && nic.segment == segment;
            let ips = self.vms.get(&from).and_then(|vm| vm.nics.iter().find(of_nic)).map(|nic| nic.ips.clone());
            for ip in ips.unwrap_or_default() {
                if self.bindings.get(&(ip, segment)).is_some_and(|bound| bound.is(from, Some(mac))) {
                    self.bindings.insert((ip, segment), Binding::new(to, Some(mac)));
                }
            }
            if let Some(vm) = self.vms.change(&from) {
                vm.nics.retain(|nic| !of_nic(&nic));
            }
            self.refresh(to, Some(mac), segment, None);
        }
        turns.push(Turn::Changed(from, format!("is back with the MAC {stays}; {goes} is another VM")));
    }

    fn share(&mut self, key: &ClientKey) {
        if let Some(client) = self.clients.change(key) {
            client.shared = true;
            self.counters.clients_shared += 1;
        }
    }

    fn vm_of(&self, mac: Mac) -> Option<VmId> {
        let from = (mac, Segment::UNTAGGED);
        let of_mac = self.stations.range(from..).take_while(|((other, _), _)| *other == mac);
        of_mac.filter(|(_, station)| !station.is_router()).find_map(|(_, station)| station.vm)
    }

    /// Has nothing come from this MAC for so long?
    fn silent(&self, mac: Mac, at: At, for_s: f64) -> bool {
        let from = (mac, Segment::UNTAGGED);
        let of_mac = self.stations.range(from..).take_while(|((other, _), _)| *other == mac);
        of_mac.flat_map(|(_, station)| &station.seen).all(|seen| at.time.since_s(seen.last) > for_s)
    }
}

/// Under what a lease's client is known, and its host name.
fn client_of(claim: &Claim) -> Option<(ClientKey, Option<String>)> {
    let ClaimKind::Leased { client_id: Some(id), name, .. } = &claim.kind else { return None };
    let mut tenant = String::new();
    for layer in claim.segment.layers().filter(|layer| layer.kind != LayerKind::Vlan) {
        tenant.push_str(&format!("{}:{}/", layer.kind as u8, layer.id));
    }
    Some(((tenant, id.clone()), name.clone()))
}
