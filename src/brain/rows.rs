//! What is known, as the JSON rows of docs/reference.md: queries, EVE and the summary of `read` show the same.

use serde_json::{Map, Value, json};

use super::Brain;
use crate::baseline::{Baselines, Feature};
use crate::inventory::{AddressBinding, Client, Coverage, Inventory, PeerEdge, Service, Stay, Transfer, Vm};
use crate::model::{Timestamp, VmId};

/// So many unseen VMs are named where only their number is asked.
const COVERAGE_NAMED_MAX: usize = 5;

impl Brain {
    pub fn vm_row(&self, vm: &Vm) -> Value {
        let mut row = vm_row(vm, &self.inventory, &self.baselines, self.now());
        row["bindings"] = self.inventory.bindings(vm).iter().map(binding_row).collect();
        row["host_name"] = self.inventory.host_name(vm).map(|said| said.system.as_str()).into();
        row
    }

    pub fn service_row(&self, service: &Service) -> Value {
        let mut row = service_row(service, &self.inventory);
        row["state"] = self.service_state(service).into();
        row["announced_by"] = Value::Null;
        row
    }

    /// An announced port among the services. It was not judged by itself: its state is that of who announced it.
    pub fn transfer_row(&self, transfer: &Transfer) -> Value {
        let mut row = service_row(&transfer.service, &self.inventory);
        row["state"] = self.transfer_state(transfer).into();
        row["announced_by"] = transfer.announced_by.to_string().into();
        row
    }

    pub fn transfer_state(&self, transfer: &Transfer) -> &'static str {
        self.inventory.announcer(transfer).map_or("observed", |service| self.service_state(service))
    }

    /// One of `observed`, `learned`, `sanctioned`, `unsanctioned`, `gone`: what a person should know first.
    pub fn service_state(&self, service: &Service) -> &'static str {
        let app = service.app.as_ref().map(|a| &a.proto);
        match self.incidents.concern(&service.key) {
            Some("service-gone") => "gone",
            _ if self.detectors.is_gone(service.key.vm) => "gone",
            _ if self.sanctions.covers(&service.key, app, self.now()).is_some() => "sanctioned",
            Some(_) => "unsanctioned",
            None if self.baselines.is_learned(&service.key) && self.ripe(service.key.vm, Feature::Services) => {
                "learned"
            }
            None => "observed",
        }
    }

    pub fn peer_row(&self, edge: &PeerEdge) -> Value {
        let key = edge.service;
        let served = self.inventory.service(&key).next();
        let client = match edge.client {
            Client::Vm(vm) => Some(vm),
            Client::External => None,
        };
        let state = match client {
            Some(vm) if self.incidents.concerns_peer(vm, &key) => "unsanctioned",
            Some(vm) if self.baselines.is_learned_peer(vm, &key) && self.ripe(vm, Feature::Peers) => "learned",
            _ => "observed",
        };
        json!({
            "client": client.map_or("external".to_owned(), |vm| vm.to_string()),
            "client_name": client.and_then(|vm| self.shown_name(vm)),
            "vm": key.vm,
            "vm_name": self.shown_name(key.vm),
            "segment": served.map(|s| s.segment),
            "ip": served.map(|s| s.ip),
            "proto": key.transport.to_string(),
            "port": key.port,
            "app_proto": served.and_then(|s| s.app.as_ref()).map(|a| a.proto.as_str().to_owned()),
            "state": state,
            "first_seen": edge.first_seen,
            "last_seen": edge.last_seen,
            "flows": edge.flows,
            "bytes_to_server": edge.bytes_to_server,
            "bytes_to_client": edge.bytes_to_client,
        })
    }

    /// Where a VM was and when, which addresses and which names it had, each oldest first.
    pub fn history_rows(&self, vm: &Vm) -> Vec<Value> {
        let mut rows = self.stay_rows(vm);
        rows.extend(self.inventory.past_bindings(vm).iter().map(|binding| {
            json!({
                "vm": vm.id,
                "vm_name": vm.name,
                "kind": "address",
                "address": binding.ip,
                "mac": binding.mac,
                "segment": binding.segment,
                "source": binding.source,
                "since": binding.first_seen,
                "until": binding.last_seen,
                "current": binding.current,
            })
        }));
        rows.extend(vm.names.iter().map(|name| {
            let heard = self.inventory.heard(vm.id, name);
            json!({
                "vm": vm.id,
                "vm_name": vm.name,
                "kind": "name",
                "name": name.text,
                "source": name.source,
                "since": heard.map(|heard| heard.first),
                "until": heard.map(|heard| heard.last),
            })
        }));
        rows
    }

    fn stay_rows(&self, vm: &Vm) -> Vec<Value> {
        let Some(known) = self.inventory.whereabouts(vm.id) else { return Vec::new() };
        let last = known.stays.len().saturating_sub(1);
        let row = |(at, stay): (usize, &Stay)| {
            let doubled = known.doubled.as_ref().filter(|_| at == last);
            json!({
                "vm": vm.id,
                "vm_name": vm.name,
                "kind": "host",
                "host": stay.location.host,
                "location": stay.place().to_string(),
                "since": stay.since,
                "until": stay.until,
                "certain": known.is_certain(stay),
                "announced": stay.announced,
                "frames": stay.frames,
                "latency_ms": stay.latency_ms().map(rounded),
                "differs": stay.differs,
                "volume_by_peer": stay.volumes.iter().map(|volume| json!({
                    "peer": volume.peer, "before_bytes_per_h": volume.before, "after_bytes_per_h": volume.after,
                })).collect::<Vec<_>>(),
                "storage": stay.storage,
                "also": doubled.map(|doubled| json!({
                    "location": doubled.also.to_string(), "seen": doubled.seen, "duplicate_mac": doubled.duplicate,
                })),
            })
        };
        known.stays.iter().enumerate().map(row).collect()
    }

    /// The listed VMs: how many of them the mirror shows, and some that it does not.
    pub fn coverage(&self) -> Value {
        let mut counts = [0u64; 3];
        let (mut half, mut unseen) = (Vec::new(), Vec::new());
        for (vm, coverage) in self.inventory.listed() {
            let (count, labels) = match coverage {
                Coverage::Seen => (0, None),
                Coverage::HalfSeen => (1, Some(&mut half)),
                Coverage::Unseen => (2, Some(&mut unseen)),
            };
            counts[count] += 1;
            if let Some(labels) = labels.filter(|labels| labels.len() < COVERAGE_NAMED_MAX) {
                labels.push(vm.label());
            }
        }
        let [seen, half_seen, not_seen] = counts;
        json!({ "seen": seen, "half_seen": half_seen, "unseen": not_seen, "half_seen_vms": half, "unseen_vms": unseen })
    }

    /// A VM as inventories list it.
    pub fn listed_row(&self, vm: &Vm, coverage: Coverage) -> Value {
        let listing = self.inventory.listing(vm.id);
        json!({
            "name": vm.name,
            "vm": self.inventory.seen_as(vm),
            "macs": vm.declared.macs,
            "ips": vm.declared.ips,
            "tags": vm.tags,
            "coverage": coverage,
            "uuid": vm.uuid,
            "host": listing.host,
            "cluster": listing.cluster,
            "sources": listing.sources,
        })
    }

    fn ripe(&self, vm: VmId, feature: Feature) -> bool {
        self.baselines.ripeness(vm, feature, self.now()).phase == crate::baseline::Phase::Ripe
    }

    pub(super) fn shown_name(&self, vm: VmId) -> Option<String> {
        self.inventory.vm(vm).and_then(|vm| vm.name.clone())
    }
}

/// Without `state`, which needs more than the inventory.
pub fn service_row(service: &Service, inventory: &Inventory) -> Value {
    let app = service.app.as_ref();
    let groups = inventory.groups(service);
    let members = (!groups.is_empty()).then(|| inventory.members(service, &groups));
    let details: Map<String, Value> =
        app.map_or(Map::new(), |a| a.details.iter().map(|(n, v)| (n.to_string(), v.clone().into())).collect());
    json!({
        "vm": service.key.vm,
        "vm_name": inventory.vm(service.key.vm).and_then(|vm| vm.name.clone()),
        "segment": service.segment,
        "ip": service.ip,
        "proto": service.key.transport.to_string(),
        "port": service.key.port,
        "app_proto": app.map(|a| a.proto.as_str().to_owned()),
        "app_confidence": app.map(|a| rounded(a.proto.confidence())),
        "product": app.and_then(|a| a.product.clone()),
        "version": app.and_then(|a| a.version.clone()),
        "state": "observed",
        "class": service.class,
        "groups": groups,
        "members": members,
        "first_seen": service.first_seen,
        "last_seen": service.last_seen,
        "clients": service.clients,
        "flows": service.flows,
        "bytes_to_server": service.bytes_to_server,
        "bytes_to_client": service.bytes_to_client,
        "evidence": service.evidence,
        "level": service.basis.level,
        "confidence": rounded(service.confidence()),
        "started": service.basis.closed_at,
        "details": details,
    })
}

pub fn vm_row(vm: &Vm, inventory: &Inventory, baselines: &Baselines, now: Timestamp) -> Value {
    let listing = inventory.listing(vm.id);
    let ripeness = baselines.ripeness(vm.id, Feature::Services, now);
    json!({
        "vm": vm.id,
        "vm_name": vm.name,
        "nics": vm.nics.iter().map(|nic| json!({ "mac": nic.mac, "segment": nic.segment, "ips": nic.ips })).collect::<Vec<_>>(),
        "segment": vm.segment,
        "hypervisor": vm.hypervisor().or(listing.hypervisor),
        "host_hint": vm.host_hint,
        "first_seen": vm.first_seen,
        "last_seen": vm.last_seen,
        "baseline": { "phase": ripeness.phase, "ripeness": rounded(ripeness.value) },
        "role": baselines.roles().of(vm.id).map(|(_, role)| role.label()),
        "tags": vm.tags,
        "router": vm.router,
        "kind": vm.kind(),
        "uuid": vm.uuid,
        "host": listing.host,
        "cluster": listing.cluster,
        "names": vm.names.iter().map(|name| {
            let heard = inventory.heard(vm.id, name);
            json!({ "name": name.text, "source": name.source, "first_seen": heard.map(|h| h.first), "last_seen": heard.map(|h| h.last) })
        }).collect::<Vec<_>>(),
    })
}

/// By whose word an address is the VM's.
fn binding_row(binding: &AddressBinding) -> Value {
    json!({
        "ip": binding.ip,
        "mac": binding.mac,
        "segment": binding.segment,
        "source": binding.source,
        "trust": binding.source.trust(),
        "first_seen": binding.first_seen,
        "last_seen": binding.last_seen,
    })
}

/// Three digits are all that a share of evidence is worth.
pub(super) fn rounded(share: f64) -> f64 {
    (share * 1000.0).round() / 1000.0
}
