//! Moves: where VMs are, from what the mirror locations showed in each packet second to the change that is told.
//! The bounds are those of [`Locations`](super::location::Locations).

use super::change::{Change, What};
use super::identity::At;
use super::location::{Found, Whereabouts};
use super::rival::Row;
use super::station;
use super::table::Inventory;
use crate::model::{Claim, ClaimKind, FlowRef, Location, Mac, Segment, Sighting, Timestamp, Transport, VmId};

impl Inventory {
    /// Where a VM was and is; `None` where no frame of it came with a hint at a host.
    pub fn whereabouts(&self, vm: VmId) -> Option<&Whereabouts> {
        self.locations.get(self.resolve(vm))
    }

    pub(super) fn sighted(&mut self, sightings: &[Sighting], now: Timestamp) {
        let mut rows: Vec<(VmId, Row)> = Vec::new();
        for seen in sightings {
            self.locations.hear(seen.location, now);
            if let Some(vm) = self.vm_of(seen.from, seen.segment) {
                let receiver = self.vm_of(seen.to, seen.segment);
                let local = receiver.is_some_and(|to| self.locations.settled(to, now) == Some(seen.location));
                rows.push((vm, Row { to: seen.to, location: seen.location, frames: seen.frames, local }));
            }
        }
        // Stable: of one VM, the first copy stays first.
        rows.sort_by_key(|(vm, _)| *vm);
        for rows in rows.chunk_by(|a, b| a.0 == b.0) {
            if let Some((vm, _)) = rows.first() {
                let rows: Vec<Row> = rows.iter().map(|(_, row)| *row).collect();
                self.locations.second(*vm, &rows, now);
                self.show_host(*vm);
            }
        }
    }

    /// RARP, gratuitous ARP or an unsolicited advertisement came from there.
    pub(super) fn announced(&mut self, claim: &Claim, now: Timestamp) {
        if claim.kind == ClaimKind::Announces
            && let Some(there) = Location::of(claim.host_hint, claim.path)
            && let Some(vm) = self.vm_of(claim.mac, claim.segment)
        {
            // RARP claims no address, and hypervisors send it for a VM that has moved.
            self.locations.announced(vm, there, claim.ip.is_none(), now);
        }
    }

    /// A connection was answered: latency is one of the things that a move changes.
    pub(super) fn latency(&mut self, flow: &FlowRef, now: Timestamp) {
        // Without a MAC of its own the SYN was not seen.
        if flow.transport == Transport::Tcp
            && Location::of(flow.resp.host_hint, flow.resp.path).is_some()
            && flow.orig.mac.is_some()
            && let Some(vm) = self.identity.holder(flow.segment, flow.resp.ip)
        {
            self.locations.answered(vm, now.since_ns(flow.first_seen).unsigned_abs());
        }
    }

    pub(super) fn moves(&mut self, at: At, out: &mut Vec<Change>) {
        let mut tell = |what| out.push(Change { time: at.time, frame: at.frame, flow: None, what });
        for (vm, found) in self.locations.tick(at.time) {
            self.show_host(vm);
            match found {
                Found::Moved { from, to } => {
                    let before = self.before_move(vm, to.since);
                    self.locations.compare(vm, before);
                    tell(What::VmMoved { vm, from: Box::new(from), to: Box::new(to) });
                }
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
        for vm in self.locations.due(at.time) {
            let Some((before, from, to)) = self.locations.take_before(vm) else { continue };
            let lines = self.differs(vm, &before, &from, &to, at.time);
            let text = if lines.is_empty() { "nothing differs".to_owned() } else { lines.join("; ") };
            let text = format!("an hour after its move from {} to {}: {text}", from.location, to.location);
            self.locations.differs(vm, lines);
            tell(What::VmChanged { vm, text });
        }
    }

    /// The VM whose own interface this MAC is. Routers forward what others sent, and a virtual MAC changes its host
    /// at every failover.
    fn vm_of(&self, mac: Mac, segment: Segment) -> Option<VmId> {
        let station = self.identity.stations.get(&(mac, segment))?;
        station.vm.filter(|_| !station.is_router() && !station::is_virtual_router(mac))
    }

    fn show_host(&mut self, vm: VmId) {
        let here = self.locations.get(vm).and_then(Whereabouts::here).and_then(|place| place.host);
        if self.identity.vms.get(&vm).is_some_and(|known| known.host_hint != here)
            && let Some(vm) = self.identity.vms.change(&vm)
        {
            vm.host_hint = here;
        }
    }
}
