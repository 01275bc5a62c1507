//! A simulator: would the rules let this flow pass? Over what was learned every answer must be yes, over what nobody
//! sanctioned no. It looks at one flow at a time, by addresses, as a firewall does.

use std::net::IpAddr;

use super::super::collection::Baselines;
use super::super::profile::Port;
use super::Rules;
use crate::inventory::{Client, Inventory, Service};
use crate::model::ServiceClass;

/// How the rules fared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// Learned flows, between addresses, and those of them that the rules would stop.
    pub learned: usize,
    pub stopped: Vec<String>,
    /// Unsanctioned services at an address, and those that the rules would let some client reach.
    pub unsanctioned: usize,
    pub reachable: Vec<String>,
}

impl Rules {
    /// May `from` open a flow to this service?
    pub fn allows(&self, from: IpAddr, to: IpAddr, port: Port) -> bool {
        self.each().any(|(vm, allow)| {
            allow.port == port && vm.ips.contains(&to) && (allow.outside || allow.from.contains(&from))
        })
    }

    /// Every edge that was learned with its service, and every service that `unsanctioned` names.
    pub fn simulate(
        &self,
        baselines: &Baselines,
        inventory: &Inventory,
        unsanctioned: &dyn Fn(&Service) -> bool,
    ) -> Simulated {
        let mut out = Simulated::default();
        for edge in inventory.peers() {
            let (key, port) = (edge.service, (edge.service.transport, edge.service.port));
            let Client::Vm(client) = edge.client else { continue };
            if !baselines.is_learned(&key) || !baselines.is_learned_peer(client, &key) {
                continue;
            }
            let Some(client) = inventory.vm(client) else { continue };
            let unicast = |row: &&Service| matches!(row.class, ServiceClass::Unicast | ServiceClass::Symmetric);
            let rows = inventory.service(&key).filter(unicast);
            for (to, from) in rows.flat_map(|row| client.ips().map(move |ip| (row.ip, ip))) {
                if from.is_ipv6() != to.is_ipv6() {
                    continue;
                }
                out.learned += 1;
                if !self.allows(from, to, port) {
                    out.stopped.push(format!("{from} to {to} {}/{}", port.0, port.1));
                }
            }
        }
        let everyone: Vec<IpAddr> = inventory.vms().flat_map(|vm| vm.ips()).collect();
        for row in inventory.services().filter(|row| unsanctioned(row)) {
            let port = (row.key.transport, row.key.port);
            out.unsanctioned += 1;
            if everyone.iter().any(|from| self.allows(*from, row.ip, port)) {
                out.reachable.push(format!("{} {}/{}", row.ip, port.0, port.1));
            }
        }
        out
    }
}
