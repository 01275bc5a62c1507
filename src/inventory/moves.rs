//! Moves: where VMs are, from what the mirror locations showed in each packet second to the change that is told.
//! The bounds are those of [`Locations`](super::location::Locations).

use super::change::{Change, What};
use super::identity::At;
use super::interfaces::is_interface;
use super::location::{Found, Stay, Whereabouts};
use super::rival::Row;
use super::station;
use super::table::Inventory;
use crate::model::{Claim, ClaimKind, FlowRef, FlowTotals, Mac, Segment, Sighting, Timestamp, Transport, VmId};

/// Frames of a VM as they were sighted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub row: Row,
    pub port: u32,
    pub receiver: Option<VmId>,
}

impl Inventory {
    /// Where a VM was and is; `None` where no frame of it came with a hint at a host.
    pub fn whereabouts(&self, vm: VmId) -> Option<&Whereabouts> {
        self.locations.get(self.resolve(vm))
    }

    pub(super) fn sighted(&mut self, sightings: &[Sighting], now: Timestamp) {
        let mut rows: Vec<(VmId, Seen)> = Vec::new();
        for seen in sightings {
            self.locations.hear(seen.location, now);
            if let Some(vm) = self.vm_of(seen.from, seen.segment) {
                let receiver = self.vm_of(seen.to, seen.segment);
                let local = receiver.is_some_and(|to| self.locations.settled(to, now) == Some(seen.location));
                let row = Row { to: seen.to, location: seen.location, frames: seen.frames, local };
                rows.push((vm, Seen { row, port: seen.port, receiver }));
            }
        }
        // Stable: of one VM, the first copy stays first.
        rows.sort_by_key(|(vm, _)| *vm);
        for rows in rows.chunk_by(|a, b| a.0 == b.0) {
            let Some((vm, _)) = rows.first() else { continue };
            // Where a host shows a VM, an interface that shows it too tells nothing more.
            let by_host = rows.iter().any(|(_, seen)| !is_interface(seen.row.location));
            let told = rows.iter().map(|(_, seen)| *seen).filter(|seen| !by_host || !is_interface(seen.row.location));
            let seen: Vec<Seen> = told.collect();
            let rows: Vec<Row> = seen.iter().map(|seen| seen.row).collect();
            self.locations.second(*vm, &rows, now);
            if let Some(here) = self.locations.get(*vm).and_then(Whereabouts::here) {
                self.ports.second(*vm, here, &seen, now);
            }
            self.show_host(*vm);
        }
    }

    /// RARP, gratuitous ARP or an unsolicited advertisement came from there.
    pub(super) fn announced(&mut self, claim: &Claim, now: Timestamp) {
        if claim.kind == ClaimKind::Announces
            && let Some(there) = self.locations.interfaces.location(claim.host_hint, claim.path)
            && let Some(vm) = self.vm_of(claim.mac, claim.segment)
        {
            // RARP claims no address, and hypervisors send it for a VM that has moved.
            self.locations.announced(vm, there, claim.ip.is_none(), now);
            self.ports.announced(vm, there, claim.path.port, claim.ip.is_none(), now);
        }
    }

    /// A connection was answered: latency is one of the things that a move changes.
    pub(super) fn latency(&mut self, flow: &FlowRef, now: Timestamp) {
        // Without a MAC of its own the SYN was not seen.
        if flow.transport == Transport::Tcp
            && self.locations.interfaces.location(flow.resp.host_hint, flow.resp.path).is_some()
            && flow.orig.mac.is_some()
            && let Some(vm) = self.identity.holder(flow.segment, flow.resp.ip)
        {
            self.locations.answered(vm, now.since_ns(flow.first_seen).unsigned_abs());
        }
    }

    /// Totals of a flow came: what its ends ask for is one of the things that a move changes.
    pub(super) fn marked(&mut self, flow: &FlowRef, totals: &FlowTotals) {
        if !self.serves(flow, &flow.resp) {
            return;
        }
        let service = (flow.transport, flow.resp.port);
        let sides = [
            (flow.orig.ip, totals.orig_packets, totals.orig_mark, false),
            (flow.resp.ip, totals.resp_packets, totals.resp_mark, true),
        ];
        for (ip, packets, mark, serves) in sides {
            if packets > 0
                && let Some(vm) = self.holder(flow.segment, ip)
            {
                self.locations.marked(vm, service, serves, mark);
            }
        }
    }

    pub(super) fn moves(&mut self, at: At, out: &mut Vec<Change>) {
        let mut tell = |what| out.push(Change { time: at.time, frame: at.frame, flow: None, what });
        for (vm, found) in self.locations.tick(at.time) {
            self.show_host(vm);
            match found {
                Found::Moved { from, to } => tell(self.moved(vm, *from, *to)),
                Found::Doubled(here, doubled) => {
                    let says = if doubled.duplicate {
                        "duplicate MAC: two senders take turns"
                    } else {
                        "sends from two hosts, as one does whose own port is not mirrored"
                    };
                    tell(What::VmChanged { vm, text: format!("{says} ({here} and {})", doubled.also) });
                }
            }
        }
        for (vm, from, to) in self.ports.tick(at.time) {
            if let Some((from, to)) = self.locations.moved_port(vm, from, &to) {
                tell(self.moved(vm, from, to));
            }
        }
        for vm in self.locations.due(at.time) {
            let Some((before, from, to)) = self.locations.take_before(vm) else { continue };
            let differs = self.differs(vm, &before, &from, &to, at.time);
            self.locations.differs(vm, &differs);
            tell(What::VmCompared { vm, from: Box::new(from), to: Box::new(to), differs: Box::new(differs) });
        }
    }

    fn moved(&mut self, vm: VmId, from: Stay, to: Stay) -> What {
        let before = self.before_move(vm, to.since);
        let facts = before.facts(self, vm);
        self.locations.compare(vm, before);
        What::VmMoved { vm, from: Box::new(from), to: Box::new(to), before: facts }
    }

    /// The VM whose own interface this MAC is. Routers forward what others sent, and a virtual MAC changes its host
    /// at every failover.
    fn vm_of(&self, mac: Mac, segment: Segment) -> Option<VmId> {
        let station = self.identity.stations.get(&(mac, segment))?;
        station.vm.filter(|_| !station.is_router() && !station::is_virtual_router(mac))
    }

    fn show_host(&mut self, vm: VmId) {
        let Some(place) = self.locations.get(vm).and_then(Whereabouts::here) else { return };
        let here = place.host;
        if self.identity.vms.get(&vm).is_some_and(|known| known.host_hint != here)
            && let Some(vm) = self.identity.vms.change(&vm)
        {
            vm.host_hint = here;
        }
    }
}
