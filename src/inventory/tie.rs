//! Ties: an address that becomes a VM's own, and who had it before.
//!
//! As many bindings as the interfaces of all VMs list addresses.

use std::net::IpAddr;

use super::identity::{At, Identity, Turn};
use super::station::Seen;
use crate::model::{Claim, ClaimKind, Mac, Segment, Timestamp, VmId};

/// Two MACs of one maker that claim one address by turns so often, and no other: a team of interfaces. The members of
/// a cluster have each an address of their own besides, and so has a VM that forges ARP.
const TEAM_TURNS: u8 = 4;
/// A router that forwarded for an address within this time contradicts a MAC's claim to have it.
const FORWARDED_S: f64 = 600.0;

#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    pub vm: VmId,
    pub mac: Option<Mac>,
    /// When a router was last seen to forward for it.
    pub forwarded: Timestamp,
    /// Who had it before, in this run.
    pub before: Option<VmId>,
    /// How often in a row it went back to who had it before, while the other was still using it.
    pub turns: u8,
}

impl Binding {
    pub fn new(vm: VmId, mac: Option<Mac>) -> Self {
        Binding { vm, mac, forwarded: Timestamp::ZERO, before: None, turns: 0 }
    }

    pub fn is(&self, vm: VmId, mac: Option<Mac>) -> bool {
        self.vm == vm && self.mac == mac
    }
}

impl Identity {
    /// Ties a home address of a station to the station's VM.
    pub(super) fn bind(
        &mut self,
        key: (Mac, Segment),
        ip: IpAddr,
        was_seen: bool,
        at: At,
        turns: &mut Vec<Turn>,
    ) -> Option<VmId> {
        let (mac, segment) = key;
        let bound = self.bindings.get(&(ip, segment)).copied();
        if bound.is_some_and(|b| b.mac.is_none() && at.time.since_s(b.forwarded) <= FORWARDED_S) {
            // A wrong merge is for ever. Whoever claims what a router forwards for is told apart from it.
            self.counters.merges_refused += 1;
            return self.stations.get(&key)?.vm;
        }
        let known_by_address = bound.filter(|b| b.mac.is_none()).map(|b| b.vm);
        let (vm, news) = match (self.stations.get(&key)?.vm, known_by_address) {
            (Some(vm), Some(other)) if vm != other => (self.merge(vm, other, turns), None),
            // An address that goes to and fro between the members of a cluster is no news.
            (Some(vm), _) => (vm, (!was_seen).then(|| format!("has the address {ip}"))),
            (None, Some(other)) => (other, Some(format!("has the MAC {mac}"))),
            (None, None) => match self.declared_macs.get(&mac).copied() {
                Some(id) => (self.first_seen(id, at, turns), None),
                None => (self.mint(&[b"mac", &mac.0], at, turns)?, None),
            },
        };
        let before = bound.filter(|b| !b.is(vm, Some(mac)));
        let (from, taken) = match bound {
            Some(b) if b.vm == vm => (b.before, b.turns),
            Some(b) if b.before == Some(vm) && b.mac.is_some_and(|owner| self.is_live(owner, segment, ip, at)) => {
                (Some(b.vm), b.turns.saturating_add(1))
            }
            other => (other.map(|b| b.vm), 0),
        };
        let vm = match bound.filter(|_| taken >= TEAM_TURNS) {
            Some(b) if self.is_team(vm, mac, &b, ip) => self.merge(vm, b.vm, turns),
            _ => vm,
        };
        self.bindings.insert((ip, segment), Binding { before: from, turns: taken, ..Binding::new(vm, Some(mac)) });
        let mut is_router = false;
        if let Some(station) = self.stations.change(&key) {
            station.vm = Some(vm);
            is_router = station.is_router();
        }
        if is_router && let Some(vm) = self.vms.change(&vm) {
            vm.router = true;
        }
        if let Some(before) = before {
            self.refresh(self.resolve(before.vm), before.mac, segment, None);
        }
        self.refresh(vm, Some(mac), segment, None);
        if let Some(text) = news {
            turns.push(Turn::Changed(vm, text));
        }
        Some(vm)
    }

    /// Is it a bridge's word for a host behind it? It says at once what the owner has said, and never had the address.
    /// Whoever takes one over announces it, or comes when its owner is silent.
    pub(super) fn is_relayed(&self, claim: &Claim, ip: IpAddr) -> bool {
        let seen = |mac: Mac| self.stations.get(&(mac, claim.segment)).and_then(|station| station.seen(ip));
        let owner = self.bindings.get(&(ip, claim.segment)).and_then(|bound| bound.mac);
        claim.echo
            && matches!(claim.kind, ClaimKind::Asks { .. } | ClaimKind::Answers)
            && seen(claim.mac).is_none()
            && owner.filter(|owner| *owner != claim.mac).and_then(seen).is_some_and(Seen::is_tied)
    }

    /// Lists the addresses that are bound to one interface of a VM now.
    pub(super) fn refresh(&mut self, id: VmId, mac: Option<Mac>, segment: Segment, added: Option<IpAddr>) {
        let Some(vm) = self.vms.get(&id) else { return };
        let listed = vm.nics.iter().filter(|nic| nic.mac == mac && nic.segment == segment).flat_map(|nic| &nic.ips);
        let station = mac.and_then(|mac| self.stations.get(&(mac, segment)));
        let mut ips: Vec<IpAddr> = listed.copied().collect();
        for ip in station.iter().flat_map(|station| station.seen.iter().map(|seen| seen.ip)).chain(added) {
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        ips.retain(|ip| self.bindings.get(&(*ip, segment)).is_some_and(|b| b.is(id, mac)));
        if let Some(vm) = self.vms.change(&id) {
            vm.set_nic(mac, segment, ips);
        }
    }

    fn is_team(&self, vm: VmId, mac: Mac, other: &Binding, ip: IpAddr) -> bool {
        other.mac.is_some_and(|owner| owner.0.first_chunk::<3>() == mac.0.first_chunk::<3>())
            && !self.has_besides(vm, ip)
            && !self.has_besides(other.vm, ip)
    }
}
