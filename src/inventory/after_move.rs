//! After a move: what differs from before it, told an hour later, when an hour of volume can be compared.
//!
//! Of one VM at most [`EDGES_MAX`] peer edges are compared, those with most bytes first, and [`SHOWN_MAX`] of a kind
//! are named; the rest is counted. Of
//! the volume by peer [`HOURLY_MAX`] are kept. A VM that moves again within the hour is compared from then on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::location::Stay;
use super::marks::Marks;
use super::peer::{Client, PeerEdge};
use super::table::Inventory;
use crate::model::{Segment, ServiceKey, Timestamp, VmId};

/// When what differs is told.
pub(super) const AFTER_S: f64 = 3_600.0;
const EDGES_MAX: usize = 64;
const SHOWN_MAX: usize = 5;
const HOURLY_MAX: usize = 16;
/// A volume that is this many times what it was, or that part of it, differs.
const FACTOR: f64 = 4.0;
/// Bytes in an hour below which a volume is not compared: a handful of connections.
const VOLUME_MIN: f64 = 1_000_000.0;
/// Connections answered before a latency is one.
const ANSWERS_MIN: u64 = 10;
/// An edge used at least so often in an hour is missed when it is not used any more.
const REGULAR_PER_H: f64 = 1.0;

/// The VM as it was when it moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    pub moved: Timestamp,
    segment: Segment,
    edges: Vec<Edge>,
    marks: Marks,
    storage: Vec<String>,
}

/// Bytes an hour between the VM and one peer, before its move and in the hour after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hourly {
    /// `tcp/2049 of nas (nfs)`, `tcp/443 for web-01`.
    pub peer: String,
    pub before: u64,
    pub after: u64,
}

/// What differs an hour after a move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differs {
    /// One for people each; none where nothing does.
    pub lines: Vec<String>,
    /// Those of them that a person should look at: the VM is in another segment, or external clients reach a service
    /// of it that they did not reach before.
    pub exposed: Vec<String>,
    /// Most bytes first.
    pub volumes: Vec<Hourly>,
    /// Storage that it asked for since, by name.
    pub storage: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Edge {
    service: ServiceKey,
    client: Client,
    first_seen: Timestamp,
    flows: u64,
    bytes: u64,
}

impl Inventory {
    /// What a VM that moves now is compared with.
    pub(super) fn before_move(&self, vm: VmId, moved: Timestamp) -> Before {
        let mut edges: Vec<Edge> = self.edges_of(vm).map(Edge::of).collect();
        edges.sort_by_key(|edge| std::cmp::Reverse(edge.bytes));
        edges.truncate(EDGES_MAX);
        let segment = self.vm(vm).map_or(Segment::UNTAGGED, |vm| vm.segment);
        let marks = self.whereabouts(vm).map(|known| known.marks.clone()).unwrap_or_default();
        let storage = self.storage_since(vm, Timestamp::ZERO).map(|target| self.target_name(target)).collect();
        Before { moved, segment, edges, marks, storage }
    }

    /// What differs now, one line each; empty where nothing does.
    pub(super) fn differs(&self, vm: VmId, before: &Before, from: &Stay, to: &Stay, now: Timestamp) -> Differs {
        let mut found = Differs::default();
        if let Some(segment) = self.vm(vm).map(|vm| vm.segment).filter(|segment| *segment != before.segment) {
            found.exposed.push(format!("its segment is {segment}, it was {}", before.segment));
        }
        self.exposure_differs(vm, before.moved, &mut found);
        found.lines.extend(found.exposed.iter().cloned());
        self.services_differ(vm, before.moved, &mut found.lines);
        self.peers_differ(vm, before, now, &mut found);
        let lines = &mut found.lines;
        found.storage = self.storage_since(vm, before.moved).map(|target| self.target_name(target)).collect();
        let is_new = |name: &&String| !before.storage.contains(name);
        list("new storage: ", found.storage.iter().filter(is_new).cloned().collect(), lines);
        if let Some(known) = self.whereabouts(vm) {
            list("marks: ", known.marks.differ(&before.marks), lines);
        }
        if let (Some(was), Some(is)) = (from.latency_ms(), to.latency_ms())
            && (is >= 2.0 * was || was >= 2.0 * is)
        {
            lines.push(format!("it answers a SYN after {is:.2} ms, before after {was:.2} ms"));
        }
        let (was, is) = (from.frames_per_minute(), to.frames_per_minute());
        if was >= FACTOR * is && was >= 60.0 {
            lines.push(format!("the mirror shows {is:.0} frames a minute of it, before {was:.0}"));
        }
        found
    }

    /// Whom the VM serves since the move and did not serve before, where that crosses a border.
    fn exposure_differs(&self, vm: VmId, moved: Timestamp, found: &mut Differs) {
        let segment = self.vm(vm).map(|vm| vm.segment);
        let mut others = Vec::new();
        for edge in self.edges_of(vm).filter(|edge| edge.service.vm == vm && edge.first_seen >= moved) {
            let port = format!("{}/{}", edge.service.transport, edge.service.port);
            match edge.client {
                Client::External => found.exposed.push(format!("external clients reach {port}")),
                Client::Vm(client) => {
                    let from = self.vm(client).map(|vm| vm.segment).filter(|from| Some(*from) != segment);
                    others.extend(from.map(|from| format!("{port} for {from}")));
                }
            }
        }
        others.sort();
        others.dedup();
        list("reached from other segments: ", others, &mut found.lines);
    }

    fn services_differ(&self, vm: VmId, moved: Timestamp, lines: &mut Vec<String>) {
        let new = self.services_of(vm).filter(|service| service.first_seen >= moved);
        let names: Vec<String> = new.map(|row| format!("{}/{}", row.key.transport, row.key.port)).collect();
        list("new services: ", names, lines);
    }

    fn peers_differ(&self, vm: VmId, before: &Before, now: Timestamp, found: &mut Differs) {
        let known: BTreeMap<_, _> = before.edges.iter().map(|edge| ((edge.service, edge.client), edge)).collect();
        let after_h = (now.since_s(before.moved) / 3_600.0).max(1.0 / 60.0);
        let (mut new, mut gone, mut volumes) = (Vec::new(), Vec::new(), Vec::new());
        for edge in self.edges_of(vm) {
            let name = self.edge_name(vm, edge);
            let Some(was) = known.get(&(edge.service, edge.client)) else {
                if edge.first_seen >= before.moved {
                    let after = (bytes(edge) as f64 / after_h) as u64;
                    found.volumes.push(Hourly { peer: name.clone(), before: 0, after });
                    new.push(name);
                }
                continue;
            };
            let before_h = before.moved.since_s(was.first_seen) / 3_600.0;
            if before_h < 1.0 {
                continue; // too short a time to have an hour's volume
            }
            let (flows, bytes) = (edge.flows.saturating_sub(was.flows), bytes(edge).saturating_sub(was.bytes));
            let (was_per_h, per_h) = (was.bytes as f64 / before_h, bytes as f64 / after_h);
            found.volumes.push(Hourly { peer: name.clone(), before: was_per_h as u64, after: per_h as u64 });
            if flows == 0 && bytes == 0 && was.flows as f64 / before_h >= REGULAR_PER_H {
                gone.push(name);
            } else if was_per_h.max(per_h) >= VOLUME_MIN && (per_h >= FACTOR * was_per_h || was_per_h >= FACTOR * per_h)
            {
                volumes.push(format!("{name} {:.1} MB an hour, before {:.1}", per_h / 1e6, was_per_h / 1e6));
            }
        }
        found.volumes.sort_by_key(|volume| std::cmp::Reverse(volume.before.max(volume.after)));
        found.volumes.truncate(HOURLY_MAX);
        let lines = &mut found.lines;
        list("new peers: ", new, lines);
        list("no longer: ", gone, lines);
        list("volume: ", volumes, lines);
    }

    /// Every edge in which the VM serves or asks.
    fn edges_of(&self, vm: VmId) -> impl Iterator<Item = &PeerEdge> {
        self.peers().filter(move |edge| edge.service.vm == vm || edge.client == Client::Vm(vm))
    }

    /// `tcp/2049 of nas (nfs)`, `tcp/443 for web-01`.
    fn edge_name(&self, vm: VmId, edge: &PeerEdge) -> String {
        let port = format!("{}/{}", edge.service.transport, edge.service.port);
        if edge.service.vm != vm {
            let app = self.service(&edge.service).find_map(|row| row.app.as_ref());
            let app = app.map_or(String::new(), |app| format!(" ({})", app.proto.as_str()));
            return format!("{port} of {}{app}", self.label(edge.service.vm));
        }
        match edge.client {
            Client::Vm(client) => format!("{port} for {}", self.label(client)),
            Client::External => format!("{port} for external clients"),
        }
    }
}

impl Before {
    /// For the alert, which comes before anything can differ.
    pub fn facts(&self, inventory: &Inventory, vm: VmId) -> Vec<(String, String)> {
        let mut facts = vec![("segment".to_owned(), self.segment.to_string())];
        let hours = |edge: &Edge| (self.moved.since_s(edge.first_seen) / 3_600.0).max(1.0);
        let peer = |edge: &PeerEdge| {
            let known = self.edges.iter().find(|e| (e.service, e.client) == (edge.service, edge.client))?;
            let mb = known.bytes as f64 / hours(known) / 1e6;
            Some((known.bytes, format!("{} {mb:.1} MB an hour", inventory.edge_name(vm, edge))))
        };
        let mut peers: Vec<(u64, String)> = inventory.edges_of(vm).filter_map(peer).collect();
        peers.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let peers: Vec<String> = peers.into_iter().map(|(_, name)| name).collect();
        for (name, values) in
            [("peers before", peers), ("storage before", self.storage.clone()), ("marks before", self.marks.usual())]
        {
            let mut lines = Vec::new();
            list("", values, &mut lines);
            facts.extend(lines.pop().map(|line| (name.to_owned(), line)));
        }
        facts
    }
}

impl Edge {
    fn of(edge: &PeerEdge) -> Self {
        let PeerEdge { service, client, first_seen, flows, .. } = *edge;
        Edge { service, client, first_seen, flows, bytes: bytes(edge) }
    }
}

impl Stay {
    /// Mean time from SYN to SYN-ACK as the probe saw it, where enough were seen.
    pub fn latency_ms(&self) -> Option<f64> {
        (self.answers >= ANSWERS_MIN).then(|| self.answer_ns as f64 / self.answers as f64 / 1e6)
    }

    fn frames_per_minute(&self) -> f64 {
        self.frames as f64 / (self.until.since_s(self.since) / 60.0).max(1.0)
    }
}

fn bytes(edge: &PeerEdge) -> u64 {
    edge.bytes_to_server.saturating_add(edge.bytes_to_client)
}

fn list(what: &str, mut names: Vec<String>, lines: &mut Vec<String>) {
    if names.is_empty() {
        return;
    }
    let more = names.len().saturating_sub(SHOWN_MAX);
    names.truncate(SHOWN_MAX);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    lines.push(format!("{what}{}", names.join(", ")));
}
