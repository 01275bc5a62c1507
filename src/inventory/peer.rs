//! Peer edges: who reached which service, successfully.
//!
//! At most `peers_max` edges and `peers_per_vm_max` to one server; at either bound a new edge is refused and counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::InventoryConfig;
use super::records::Records;
use crate::counters;
use crate::model::{ServiceKey, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

static PEER: Kind = Kind { tag: 0x14, name: "peer edge", version: 1 };

/// Clients looked at for gossip, once a flow: clusters whose nodes all know each other are smaller.
const MUTUAL_AMONG: usize = 256;

counters! {
    pub(super) struct PeerCounters {
        refused => "inventory.peer.refused",
        refused_vm => "inventory.peer.refused.vm_full",
    }
}

/// Who uses a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    Vm(VmId),
    /// Any address outside home: the zone `external`.
    External,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerEdge {
    /// Server VM, transport and port.
    pub service: ServiceKey,
    pub client: Client,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Flows that the service answered.
    pub flows: u64,
    pub bytes_to_server: u64,
    pub bytes_to_client: u64,
}

/// In order of server, transport, port, then client.
pub(super) type EdgeKey = (ServiceKey, Client);

/// What became of one use of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    First,
    Again,
    /// No room: it cannot be said whether it was the first.
    Untold,
}

#[derive(Debug)]
pub(super) struct Peers {
    pub edges: Records<EdgeKey, PeerEdge>,
    per_vm: BTreeMap<VmId, usize>,
    edges_max: usize,
    per_vm_max: usize,
    pub counters: PeerCounters,
}

impl Peers {
    pub fn new(config: &InventoryConfig) -> Self {
        Peers {
            edges: Records::new(&PEER),
            per_vm: BTreeMap::new(),
            edges_max: config.peers_max,
            per_vm_max: config.peers_per_vm_max,
            counters: PeerCounters::default(),
        }
    }

    pub fn load(store: &dyn Store, config: &InventoryConfig) -> Result<Self, StoreError> {
        let mut peers = Peers { edges: Records::load(&PEER, store)?, ..Peers::new(config) };
        for ((service, _), _) in peers.edges.iter() {
            *peers.per_vm.entry(service.vm).or_default() += 1;
        }
        Ok(peers)
    }

    /// One flow of this client was answered by the service.
    pub fn used(&mut self, service: ServiceKey, client: Client, now: Timestamp) -> Use {
        let key = (service, client);
        if let Some(edge) = self.edges.touch(&key) {
            edge.flows += 1;
            edge.last_seen = now;
            return Use::Again;
        }
        let of_vm = self.per_vm.entry(service.vm).or_default();
        if *of_vm >= self.per_vm_max {
            self.counters.refused_vm += 1;
            return Use::Untold;
        }
        if self.edges.len() >= self.edges_max {
            self.counters.refused += 1;
            return Use::Untold;
        }
        *of_vm += 1;
        let (first_seen, last_seen) = (now, now);
        let edge =
            PeerEdge { service, client, first_seen, last_seen, flows: 1, bytes_to_server: 0, bytes_to_client: 0 };
        self.edges.put(key, edge);
        Use::First
    }

    pub fn add_bytes(&mut self, key: &EdgeKey, to_server: u64, to_client: u64, now: Timestamp) {
        if let Some(edge) = self.edges.touch(key) {
            edge.bytes_to_server += to_server;
            edge.bytes_to_client += to_client;
            edge.last_seen = edge.last_seen.max(now);
        }
    }

    /// The service was none: nobody reached it.
    pub fn forget(&mut self, service: &ServiceKey) {
        self.rename(|key| key.0 == *service, |_| None);
    }

    /// These clients (sorted) were spoofed senders, as far as can be told.
    pub fn forget_clients(&mut self, gone: &[VmId]) {
        self.rename(|(_, client)| matches!(client, Client::Vm(vm) if gone.binary_search(vm).is_ok()), |_| None);
    }

    /// The service is another VM's.
    pub fn reassign(&mut self, service: &ServiceKey, to: VmId) {
        let edges = self.of(*service).copied().collect();
        self.move_edges(edges, |(service, client)| {
            (client != Client::Vm(to)).then_some((ServiceKey { vm: to, ..service }, client))
        });
    }

    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        let kept_of = |vm: VmId| if vm == gone { kept } else { vm };
        self.rename(
            |(service, client)| service.vm == gone || *client == Client::Vm(gone),
            |(service, client)| {
                let client = match client {
                    Client::Vm(vm) => Client::Vm(kept_of(vm)),
                    Client::External => Client::External,
                };
                let service = ServiceKey { vm: kept_of(service.vm), ..service };
                // An edge of a VM to itself says nothing.
                (client != Client::Vm(service.vm)).then_some((service, client))
            },
        );
    }

    /// The clients of a service, of its first [`MUTUAL_AMONG`], that serve its VM in turn on the same port.
    pub fn mutual(&self, service: ServiceKey) -> impl Iterator<Item = VmId> {
        self.of(service).take(MUTUAL_AMONG).filter_map(move |(_, client)| {
            let Client::Vm(vm) = *client else { return None };
            self.edges.contains(&(ServiceKey { vm, ..service }, Client::Vm(service.vm))).then_some(vm)
        })
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.edges.save(batch, all);
    }

    fn of(&self, service: ServiceKey) -> impl Iterator<Item = &EdgeKey> {
        let from = (service, Client::Vm(VmId::default()));
        self.edges.range(from..).take_while(move |((other, _), _)| *other == service).map(|(key, _)| key)
    }

    /// Looks at every edge: only for the rare case that a VM became another.
    fn rename(&mut self, wanted: impl Fn(&EdgeKey) -> bool, to: impl Fn(EdgeKey) -> Option<EdgeKey>) {
        let edges = self.edges.iter().map(|(key, _)| *key).filter(wanted).collect();
        self.move_edges(edges, to);
    }

    fn move_edges(&mut self, edges: Vec<EdgeKey>, to: impl Fn(EdgeKey) -> Option<EdgeKey>) {
        for key in edges {
            let Some(mut edge) = self.edges.remove(&key) else { continue };
            if let Some(of_vm) = self.per_vm.get_mut(&key.0.vm) {
                *of_vm -= 1;
            }
            let Some(key) = to(key) else { continue };
            (edge.service, edge.client) = key;
            match self.edges.change(&key) {
                Some(own) => {
                    own.first_seen = own.first_seen.min(edge.first_seen);
                    own.last_seen = own.last_seen.max(edge.last_seen);
                    own.flows += edge.flows;
                    own.bytes_to_server += edge.bytes_to_server;
                    own.bytes_to_client += edge.bytes_to_client;
                }
                None => {
                    *self.per_vm.entry(key.0.vm).or_default() += 1;
                    self.edges.put(key, edge);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Transport;

    fn vm(n: u8) -> VmId {
        VmId::derive(&[&[n]], 0)
    }

    fn service(n: u8, port: u16) -> ServiceKey {
        ServiceKey { vm: vm(n), transport: Transport::Tcp, port }
    }

    #[test]
    fn an_edge_is_new_once() {
        let mut peers = Peers::new(&InventoryConfig::default());
        assert_eq!(peers.used(service(1, 80), Client::External, Timestamp::ZERO), Use::First);
        assert_eq!(peers.used(service(1, 80), Client::External, Timestamp::ZERO), Use::Again);
        assert_eq!(peers.used(service(1, 81), Client::External, Timestamp::ZERO), Use::First);
    }

    #[test]
    fn a_full_table_refuses_and_counts() {
        let config = InventoryConfig { peers_max: 3, peers_per_vm_max: 2, ..InventoryConfig::default() };
        let mut peers = Peers::new(&config);
        let uses: Vec<Use> = [(1, 2), (1, 3), (1, 4), (2, 3), (3, 4), (1, 2)]
            .into_iter()
            .map(|(server, client)| peers.used(service(server, 80), Client::Vm(vm(client)), Timestamp::ZERO))
            .collect();
        assert_eq!(uses, [Use::First, Use::First, Use::Untold, Use::First, Use::Untold, Use::Again]);
        assert_eq!((peers.counters.refused_vm, peers.counters.refused), (1, 1));
    }

    #[test]
    fn a_merge_unites_edges_and_drops_those_to_itself() {
        let mut peers = Peers::new(&InventoryConfig::default());
        for (server, client) in [(1, 3), (2, 3), (1, 2), (4, 2)] {
            peers.used(service(server, 80), Client::Vm(vm(client)), Timestamp::ZERO);
        }
        peers.merge(vm(1), vm(2));
        let mut found: Vec<_> = peers.edges.iter().map(|(key, edge)| (*key, edge.flows)).collect();
        let mut expected = vec![((service(1, 80), Client::Vm(vm(3))), 2), ((service(4, 80), Client::Vm(vm(1))), 1)];
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
}
