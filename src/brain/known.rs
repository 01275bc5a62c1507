//! The inventory as detectors may ask it.

use super::blind::Blind;
use super::sight::Sight;
use super::totals::Totals;
use crate::baseline::Directory;
use crate::baseline::Who;
use crate::detect::{Known, Seen};
use crate::inventory::{Inventory, Service, Sight as Seeing, Vm};
use std::net::IpAddr;

use crate::model::{CaptureQuality, Segment, ServiceKey, Timestamp, VmId};

pub struct Facts<'a> {
    pub inventory: &'a Inventory,
    pub sight: &'a Sight,
    pub blind: &'a Blind,
    pub totals: &'a Totals,
    pub now: Timestamp,
}

impl Known for Facts<'_> {
    fn label(&self, vm: VmId) -> String {
        self.inventory.label(vm)
    }

    fn name(&self, vm: VmId) -> Option<String> {
        self.inventory.vm(vm)?.name.clone()
    }

    fn listed(&self, vm: VmId) -> bool {
        self.inventory.vm(vm).is_some_and(|vm| vm.declared != Default::default())
    }

    fn takes_a_name_over(&self, vm: VmId) -> bool {
        self.inventory.takes_a_name_over(vm)
    }

    fn holder(&self, segment: Segment, ip: IpAddr) -> Option<VmId> {
        self.inventory.holder(segment, ip)
    }

    fn arrived(&self, vm: VmId) -> bool {
        // A gratuitous ARP alone is not enough: a guest that boots sends one too.
        let underway = |row: &Service| row.basis.sight == Seeing::Midstream;
        self.inventory.vm(vm).is_some_and(|vm| vm.arrived) || self.inventory.services_of(vm).any(underway)
    }

    /// The server is on the link of its segment, and the client is on none of those links: it came through a router.
    fn is_elsewhere(&self, service: &ServiceKey, client: IpAddr) -> bool {
        let on_link = |vm: &Vm, segment| vm.nics.iter().any(|nic| nic.mac.is_some() && nic.segment == segment);
        let Some(server) = self.inventory.vm(service.vm) else { return false };
        let mut links =
            self.inventory.service(service).map(|row| row.segment).filter(|s| on_link(server, *s)).peekable();
        links.peek().is_some()
            && links.all(|segment| {
                let vm = self.inventory.holder(segment, client).and_then(|vm| self.inventory.vm(vm));
                vm.is_none_or(|vm| !on_link(vm, segment))
            })
    }

    fn quality(&self, vm: VmId) -> Option<CaptureQuality> {
        Some(self.sight.of(vm, self.now))
    }

    fn blind_until(&self) -> Option<Timestamp> {
        self.blind.until(self.now)
    }

    fn taken_over(&self, service: &ServiceKey) -> bool {
        self.inventory.taken_over(service)
    }

    /// The rows of a service on several addresses taken together: the best evidence, the first and last times.
    fn service(&self, service: &ServiceKey) -> Option<Seen<'_>> {
        let mut rows = self.inventory.service(service);
        let first = rows.next()?;
        let mut seen = Seen {
            basis: first.basis,
            class: first.class,
            joins_known_group: self.inventory.joins_known_group(first),
            app: first.app.as_ref(),
            first_seen: first.first_seen,
            last_seen: first.last_seen,
            clients: first.clients,
            flows: first.flows,
            bytes: first.bytes_to_server.saturating_add(first.bytes_to_client),
        };
        for row in rows {
            if row.basis.level > seen.basis.level {
                seen.basis = row.basis;
            }
            seen.joins_known_group &= self.inventory.joins_known_group(row);
            seen.app = seen.app.or(row.app.as_ref());
            seen.first_seen = seen.first_seen.min(row.first_seen);
            seen.last_seen = seen.last_seen.max(row.last_seen);
            seen.clients = seen.clients.max(row.clients);
            seen.flows = seen.flows.saturating_add(row.flows);
            seen.bytes = seen.bytes.saturating_add(row.bytes_to_server).saturating_add(row.bytes_to_client);
        }
        Some(seen)
    }
}

impl Who for Inventory {
    fn name(&self, vm: VmId) -> Option<String> {
        self.vm(vm)?.name.clone()
    }

    fn tags(&self, vm: VmId) -> Vec<String> {
        self.vm(vm).map_or(Vec::new(), |vm| vm.tags.clone())
    }
}

impl Directory for Inventory {
    fn name(&self, vm: VmId) -> Option<String> {
        self.vm(vm)?.name.clone()
    }

    fn is_known(&self, vm: VmId) -> bool {
        self.vm(vm).is_some()
    }

    fn called(&self, name: &str) -> Vec<VmId> {
        self.find(name)
    }
}
