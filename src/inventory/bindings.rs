//! Bindings: which addresses and names are a VM's, by whose word, how far that is trusted, and since it was last heard.
//!
//! As many as the VM's interfaces, stations and names, each bounded in its own file.

use std::net::IpAddr;

use super::identity::Identity;
use super::service::RowKey;
use super::station::Source;
use super::table::Inventory;
use super::vm::Vm;
use crate::model::{Mac, Segment, ServiceKey, Timestamp, VmId};

/// One address of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressBinding {
    pub ip: IpAddr,
    pub segment: Segment,
    pub mac: Option<Mac>,
    pub source: Source,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// It is the VM's now.
    pub current: bool,
}

impl Inventory {
    /// In order of interface and appearance.
    pub fn bindings(&self, vm: &Vm) -> Vec<AddressBinding> {
        let of_nic = |nic: &super::vm::Nic| {
            let station = nic.mac.and_then(|mac| self.identity.stations.get(&(mac, nic.segment)));
            let binding = |ip: &IpAddr| {
                let seen = station.and_then(|station| station.seen(*ip));
                AddressBinding {
                    ip: *ip,
                    segment: nic.segment,
                    mac: nic.mac,
                    source: seen.map_or(Source::Frames, |seen| seen.source),
                    first_seen: seen.map_or(vm.first_seen, |seen| seen.first),
                    last_seen: seen.map_or(vm.last_seen, |seen| seen.last),
                    current: true,
                }
            };
            nic.ips.iter().map(binding).collect::<Vec<_>>()
        };
        vm.nics.iter().flat_map(of_nic).collect()
    }

    /// Those too that it had and has no more, as far as its stations remember; by the time they came.
    pub fn past_bindings(&self, vm: &Vm) -> Vec<AddressBinding> {
        let mut all = self.bindings(vm);
        for nic in &vm.nics {
            let Some(mac) = nic.mac else { continue };
            let Some(station) = self.identity.stations.get(&(mac, nic.segment)) else { continue };
            all.extend(station.seen.iter().filter(|seen| seen.home && !nic.ips.contains(&seen.ip)).map(|seen| {
                AddressBinding {
                    ip: seen.ip,
                    segment: nic.segment,
                    mac: nic.mac,
                    source: seen.source,
                    first_seen: seen.first,
                    last_seen: seen.last,
                    current: false,
                }
            }));
        }
        all.sort_by_key(|binding| (binding.first_seen, binding.segment, binding.ip));
        all
    }

    /// Did this service come with an address that wanders between the members of a cluster (keepalived, CARP and the
    /// like, by announcement)? Then the member that had the address before served the same on it. Both have an
    /// address of their own besides: who takes a VM's only address takes its place, which is another matter.
    pub fn taken_over(&self, service: &ServiceKey) -> bool {
        self.service(service).any(|row| {
            let bound = self.identity.bindings.get(&(row.ip, row.segment)).filter(|bound| bound.vm == service.vm);
            bound.and_then(|bound| bound.before).is_some_and(|before| {
                let before = self.resolve(before);
                let its = RowKey { key: ServiceKey { vm: before, ..*service }, segment: row.segment, ip: row.ip };
                self.services.rows.contains(&its)
                    && [before, service.vm].iter().all(|vm| self.identity.has_besides(*vm, row.ip))
            })
        })
    }
}

impl Identity {
    pub(super) fn has_besides(&self, vm: VmId, ip: IpAddr) -> bool {
        let others = |vm: &Vm| vm.ips().any(|own| own != ip && own.is_ipv4() == ip.is_ipv4());
        self.vms.get(&vm).is_some_and(others)
    }
}
