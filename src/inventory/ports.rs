//! Ports: where a physical switch mirrors the ports that hosts are connected to, ERSPAN's port tells hosts apart that
//! have one sender and one session. On a virtual switch each VM has a port of its own, another one after each start;
//! so a change of port is a move only where other VMs are behind both the old port and the new one.
//!
//! The rules and bounds are those of [`Locations`], of which this is a second instance with ports, and stored as that
//! one is: who moves while the probe is restarted has moved.

use super::location::{Found, Locations, Stay};
use super::moves::Seen;
use super::records::Records;
use super::rival::Row;
use crate::model::{Location, PathKind, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

static BEHIND: Kind = Kind { tag: 0x2c, name: "port whereabouts", version: 1 };

#[derive(Debug)]
pub(super) struct Ports(Locations);

impl Ports {
    pub fn new() -> Self {
        Ports(Locations::of(Records::new(&BEHIND)))
    }

    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Ports(Locations::of(Records::load(&BEHIND, store)?)))
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.0.save(batch, all);
    }

    /// Takes what one VM's location showed of it in one packet second.
    pub fn second(&mut self, vm: VmId, here: Location, rows: &[Seen], now: Timestamp) {
        let told = rows.iter().filter(|seen| seen.row.location == here && here.kind == PathKind::Erspan);
        let rows: Vec<Row> = told.filter(|seen| seen.port != 0).map(|seen| self.row(seen, now)).collect();
        if rows.is_empty() {
            return;
        }
        for row in &rows {
            self.0.hear(row.location, now);
        }
        self.0.second(vm, &rows, now);
    }

    fn row(&self, seen: &Seen, now: Timestamp) -> Row {
        let location = seen.row.location.at_port(seen.port);
        let local = seen.receiver.is_some_and(|to| self.0.settled(to, now) == Some(location));
        Row { location, local, ..seen.row }
    }

    pub fn announced(&mut self, vm: VmId, there: Location, port: u32, rarp: bool, now: Timestamp) {
        if port != 0 && there.kind == PathKind::Erspan {
            self.0.announced(vm, there.at_port(port), rarp, now);
        }
    }

    /// Who is behind another port of the same switch now, and which it was.
    pub fn tick(&mut self, now: Timestamp) -> Vec<(VmId, u32, Stay)> {
        let mut moved = Vec::new();
        for (vm, found) in self.0.tick(now) {
            if let Found::Moved { from, to } = found
                && from.location.at_port(0) == to.location.at_port(0)
            {
                moved.push((vm, from.location, *to));
            }
        }
        if moved.is_empty() {
            return Vec::new();
        }
        let others = self.0.settled_at(now);
        // The one that moved counts at its new port.
        let shared = |at: &Location, own: usize| others.get(at).is_some_and(|vms| *vms > own);
        moved.retain(|(_, from, to)| shared(from, 0) && shared(&to.location, 1));
        moved.into_iter().map(|(vm, from, to)| (vm, from.port, to)).collect()
    }

    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        self.0.merge(kept, gone);
    }

    pub fn forget(&mut self, vm: VmId) {
        self.0.forget(vm);
    }
}
