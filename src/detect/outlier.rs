//! Role outliers: a service that a member of a ripe role learned provisionally and that no other member serves. What
//! was planted before the probe came, or while it learned, stands out here. Looked at in turn, [`LOOKED_AT`] VMs a
//! tick; told once for each service, of which `told_max` are remembered (the longest untouched is forgotten, counted).

use super::memory::Memory;
use super::new_service::DETECTOR;
use super::{World, frames};
use crate::baseline::Mode;
use crate::inventory::{Change, Sight};
use crate::model::{Evidence, Finding, ServiceClass, ServiceKey, Severity, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

static TOLD: Kind = Kind { tag: 0x51, name: "role outlier told", version: 1 };

/// Some 50 µs a tick; ten thousand VMs are seen once in five minutes.
const LOOKED_AT: usize = 32;

pub struct Outliers {
    told: Memory<ServiceKey, Timestamp>,
    cursor: Option<VmId>,
}

impl Outliers {
    pub fn new(told_max: usize) -> Self {
        Outliers { told: Memory::new(&TOLD, told_max), cursor: None }
    }

    /// At a tick.
    pub fn look(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) {
        if world.mode() != Mode::Auto {
            return;
        }
        let next = world.baselines.profiles_after(self.cursor, LOOKED_AT);
        self.cursor = if next.len() < LOOKED_AT { None } else { next.last().copied() };
        for vm in next {
            if !world.baselines.roles().is_ripe(vm) {
                continue;
            }
            let ports: Vec<_> = world.baselines.profile(vm).map_or(Vec::new(), |p| p.firm_services().collect());
            for (transport, port) in ports {
                self.judge(&ServiceKey { vm, transport, port }, change, world, out);
            }
        }
    }

    fn judge(&mut self, key: &ServiceKey, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) {
        let Some(members) = world.baselines.outlier_of(key).filter(|_| self.told.get(key).is_none()) else { return };
        let Some(seen) = world.known.service(key) else { return };
        let answered = seen.basis.level >= 4 || seen.app.is_some();
        let shared = seen.class != ServiceClass::Unicast || seen.joins_known_group || world.known.taken_over(key);
        if !answered || shared || seen.basis.sight == Sight::Record || world.sanctioned(key, change.time) {
            return;
        }
        self.told.insert(*key, change.time, change.time);
        let label = world.baselines.roles().of(key.vm).map(|(_, role)| role.label()).unwrap_or_default();
        let mut finding = world.finding(&DETECTOR, Severity::Medium, change, key.vm);
        let port = format!("{}/{}", key.transport, key.port);
        let app = seen.app.map(|app| app.proto.clone());
        let speaks = app.as_ref().map(|app| format!(" ({app})")).unwrap_or_default();
        finding.title = format!("{port}{speaks} of {} is an outlier of its role", finding.vm_label);
        finding.reason = format!(
            "{} serves {port}{speaks}; none of the other {} VMs of its role {label} does; it was there when the VM was \
             first learned, since {}, {} so far",
            finding.vm_label,
            members.saturating_sub(1),
            seen.first_seen.short(),
            super::count(seen.flows, "flow"),
        );
        finding.service = Some((key.transport, key.port, app));
        finding.evidence = Evidence { frames: frames(None, &[change.frame]), facts: Vec::new() };
        out.push(finding);
    }

    pub fn forget(&mut self, vm: VmId) {
        self.told.forget(|key| key.vm == vm);
    }

    pub fn save(&mut self, batch: &mut Batch) {
        self.told.save(batch);
    }

    pub fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.told.load(store)
    }

    pub fn evicted(&self) -> u64 {
        self.told.evicted()
    }
}

#[cfg(test)]
#[path = "outlier_tests.rs"]
mod tests;
