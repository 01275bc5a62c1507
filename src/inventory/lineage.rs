//! Lineage: two VMs that turn out to be one, and VMs that are forgotten.
//!
//! At most [`ALIASES_MAX`] merges are remembered; beyond it nothing is merged any more, and that is counted.

use std::net::IpAddr;

use super::identity::{Identity, Turn};
use super::station::Station;
use super::tie::Binding;
use super::vm::Vm;
use crate::model::{Mac, Segment, Timestamp, VmId};

const ALIASES_MAX: usize = 65_536;
/// Between two searches for what may be forgotten: each looks at every VM.
const FORGET_EVERY_S: f64 = 60.0;
/// A sender that nobody answered may be forgotten after this silence.
const UNPROVED_S: f64 = 600.0;

impl Identity {
    /// Makes one VM of two. The elder id is kept; the other is its alias for ever (decisions B.8).
    pub(super) fn merge(&mut self, one: VmId, other: VmId, turns: &mut Vec<Turn>) -> VmId {
        let age = |id: VmId| self.vms.get(&id).map(|vm| (!vm.seen, vm.first_seen, id));
        let (Some(a), Some(b)) = (age(one), age(other)) else { return one };
        if one == other {
            return one;
        }
        if self.aliases.len() >= ALIASES_MAX {
            self.counters.merges_refused += 1;
            return one;
        }
        let (kept, gone) = if a <= b { (one, other) } else { (other, one) };
        let Some(lost) = self.vms.remove(&gone) else { return kept };
        for nic in &lost.nics {
            self.inherit(kept, gone, nic.mac, nic.segment, &nic.ips);
        }
        let dangling = |station: &Station| station.vm == Some(gone);
        for key in self.stations_where(lost.macs(), dangling) {
            if let Some(station) = self.stations.change(&key) {
                station.vm = Some(kept);
            }
        }
        let stale: Vec<VmId> = self.aliases.iter().filter(|(_, to)| **to == gone).map(|(from, _)| *from).collect();
        for alias in stale {
            self.aliases.put(alias, kept);
        }
        self.aliases.put(gone, kept);
        self.unite(kept, lost);
        self.relist(kept, gone);
        self.rename(kept, gone);
        self.counters.merged += 1;
        turns.push(Turn::Merged { kept, gone });
        kept
    }

    /// Forgets the VMs that nobody ever answered and that are silent, and the stations that are nobody's. Which of
    /// the two tables has room then, the caller must see for itself.
    pub(super) fn forget_unproved(&mut self, now: Timestamp, turns: &mut Vec<Turn>) {
        if now.since_s(self.forgot_at) < FORGET_EVERY_S {
            return;
        }
        self.forgot_at = now;
        let forgettable = |vm: &Vm| vm.seen && !vm.proved && now.since_s(vm.last_seen) > UNPROVED_S;
        let ids: Vec<VmId> = self.vms.iter().filter(|(_, vm)| forgettable(vm)).map(|(id, _)| *id).collect();
        for id in &ids {
            let Some(vm) = self.vms.remove(id) else { continue };
            self.forget_names(*id);
            for (ip, segment) in vm.nics.iter().flat_map(|nic| nic.ips.iter().map(|ip| (*ip, nic.segment))) {
                self.bindings.remove(&(ip, segment));
            }
        }
        let idle = |station: &Station| match station.vm {
            Some(vm) => !self.vms.contains(&vm),
            None => !station.is_router() && station.seen.iter().all(|seen| now.since_s(seen.last) > UNPROVED_S),
        };
        let stations: Vec<_> = self.stations.iter().filter(|(_, s)| idle(s)).map(|(key, _)| *key).collect();
        for key in &stations {
            self.stations.remove(key);
        }
        self.counters.vms_forgotten += ids.len() as u64;
        turns.extend(ids.iter().map(|id| Turn::Forgotten(*id)));
    }

    pub(super) fn stations_where(
        &self,
        macs: impl Iterator<Item = Mac>,
        wanted: impl Fn(&Station) -> bool,
    ) -> Vec<(Mac, Segment)> {
        macs.flat_map(|mac| self.stations.range((mac, Segment::UNTAGGED)..).take_while(move |((m, _), _)| *m == mac))
            .filter(|(_, station)| wanted(station))
            .map(|(key, _)| *key)
            .collect()
    }

    fn inherit(&mut self, kept: VmId, gone: VmId, mac: Option<Mac>, segment: Segment, ips: &[IpAddr]) {
        let mut carried = Vec::new();
        for ip in ips {
            if let Some(binding) = self.bindings.get_mut(&(*ip, segment)).filter(|b| b.vm == gone) {
                *binding = Binding { vm: kept, ..*binding };
                carried.push(*ip);
            }
        }
        if let Some(vm) = self.vms.change(&kept) {
            let own = vm.nics.iter().find(|nic| nic.mac == mac && nic.segment == segment);
            let mut all = own.map_or_else(Vec::new, |nic| nic.ips.clone());
            all.extend(carried);
            vm.set_nic(mac, segment, all);
        }
    }

    fn unite(&mut self, kept: VmId, lost: Vm) {
        for mac in &lost.declared.macs {
            self.declared_macs.insert(*mac, kept);
        }
        for ip in &lost.declared.ips {
            self.declared_ips.insert(*ip, kept);
        }
        let Some(vm) = self.vms.change(&kept) else { return };
        for name in &lost.names {
            vm.add_name(&name.text, name.source);
        }
        extend(&mut vm.tags, lost.tags);
        extend(&mut vm.declared.macs, lost.declared.macs);
        extend(&mut vm.declared.ips, lost.declared.ips);
        vm.uuid = vm.uuid.take().or(lost.uuid);
        vm.router |= lost.router;
        vm.proved |= lost.proved;
        if lost.seen {
            if !vm.seen || lost.first_seen < vm.first_seen {
                (vm.first_seen, vm.first_frame) = (lost.first_seen, lost.first_frame);
            }
            if !vm.seen || lost.last_seen > vm.last_seen {
                (vm.last_seen, vm.segment) = (lost.last_seen, lost.segment);
            }
            vm.host_hint = vm.host_hint.or(lost.host_hint);
            vm.seen = true;
        }
    }
}

/// Appends what is not there yet.
pub(super) fn extend<T: PartialEq>(list: &mut Vec<T>, more: Vec<T>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}
