//! The quiet run: nothing but what a site does by itself. How fast it ripens, and what is told without cause.

use std::collections::{BTreeMap, BTreeSet};

use eastwatch::model::VmId;

use super::measured::{Measured, Sample};
use super::rows::Row;
use crate::site::event::Id;
use crate::site::run::Run;
use crate::site::{DAY, HOUR, Micros, moment};

const QUIET: &str = "quiet";
/// A bound is tested on VMs that lived so long after they became ripe.
const TESTED: Micros = 3 * DAY;

/// Looks at every VM once an hour.
#[derive(Default)]
pub struct Watch {
    /// When a VM was first seen ripe, and the novelties a day that were promised then.
    ripe: BTreeMap<VmId, (Micros, f64)>,
    /// VMs that were there in the first hour.
    first: BTreeSet<VmId>,
    ripe_hours: u64,
    vm_hours: u64,
    /// Ripe of those that were there in the first hour and still are.
    after_day: Option<(u64, u64)>,
    after_week: Option<(u64, u64)>,
}

impl Watch {
    pub fn go(&mut self, run: &mut Run, end: Micros) {
        while run.now < end {
            let next = ((run.now / HOUR + 1) * HOUR).min(end);
            run.to(next);
            if next % HOUR == 0 {
                self.look(run);
            }
        }
    }

    fn look(&mut self, run: &Run) {
        let vms = run.vms();
        if run.now == HOUR {
            self.first = vms.keys().copied().collect();
        }
        for (vm, machine) in &vms {
            if !run.site.world.is_alive(*machine) {
                continue;
            }
            self.vm_hours += 1;
            let ripeness = run.ripeness(*vm);
            if ripeness.is_ripe() {
                self.ripe_hours += 1;
                self.ripe.entry(*vm).or_insert((run.now, ripeness.novelty_per_day()));
            }
        }
        let count = |watch: &Watch| {
            let of = vms.iter().filter(|(vm, id)| watch.first.contains(vm) && run.site.world.is_alive(**id));
            let of: Vec<&VmId> = of.map(|(vm, _)| vm).collect();
            (of.iter().filter(|vm| watch.ripe.contains_key(vm)).count() as u64, of.len() as u64)
        };
        // The machines were switched on within the first seconds: an hour later each was there for a day.
        if run.now == DAY + HOUR {
            self.after_day = Some(count(self));
        }
        if run.now == 7 * DAY + HOUR {
            self.after_week = Some(count(self));
        }
    }

    pub fn judge(&self, run: &mut Run, out: &mut Measured) {
        run.save();
        let run = &*run;
        out.talks += run.observer.talks;
        for (row, counted) in [(Row::RipeDay, self.after_day), (Row::RipeWeek, self.after_week)] {
            if let Some((ripe, of)) = counted {
                out.add(row, QUIET, Sample::Share(ripe, of));
            }
        }
        let vms = run.vms();
        let days = self.vm_hours as f64 / 24.0;
        let (mut services, mut pages, mut peers, mut newcomers) = (0, 0, 0, 0);
        for entry in run.ledger.incidents.values() {
            let incident = &entry.incident;
            let machine = vms.get(&run.brain.inventory.resolve(incident.vm)).copied();
            match incident.detector.as_str() {
                "new-service" => {
                    services += 1;
                    out.example(Row::FalseServices, QUIET, told(run, machine, incident, entry.stored));
                }
                "new-peer" => peers += 1,
                "new-vm" => newcomers += 1,
                _ => {}
            }
            if entry.paged.is_some() {
                pages += 1;
                out.example(Row::Pages, QUIET, told(run, machine, incident, entry.stored));
            }
        }
        out.add(Row::FalseServices, QUIET, Sample::Rate(services, self.ripe_hours as f64 / 24.0));
        out.add(Row::Pages, QUIET, Sample::Rate(pages, days / 1_000.0));
        out.add(Row::NewPeers, QUIET, Sample::Rate(peers, days));
        out.add(Row::NewVms, QUIET, Sample::Rate(newcomers, days / 1_000.0));
        self.bounds(run, &vms, out);
    }

    /// Did each VM show as few new services after it was ripe as was promised then?
    fn bounds(&self, run: &Run, vms: &BTreeMap<VmId, Id>, out: &mut Measured) {
        let (mut held, mut of) = (0, 0);
        for (vm, (since, bound)) in &self.ripe {
            let lived = run.now - since;
            if lived < TESTED || !vms.get(vm).is_some_and(|id| run.site.world.is_alive(*id)) {
                continue;
            }
            let keys = run.brain.inventory.services_of(*vm).filter(|row| moment(row.first_seen) > *since);
            let keys: BTreeSet<_> = keys.map(|row| (row.key.transport, row.key.port)).collect();
            of += 1;
            held += u64::from(keys.len() as f64 <= bound * lived as f64 / DAY as f64);
        }
        out.add(Row::Bound, QUIET, Sample::Share(held, of));
    }
}

/// An incident in a few words: role, port, when.
pub fn told(run: &Run, machine: Option<Id>, incident: &eastwatch::model::Incident, stored: Micros) -> String {
    let name = machine.map_or("?", |id| run.site.world.machine(id).name.as_str());
    let day = moment(incident.first_seen).min(stored) as f64 / DAY as f64;
    format!("{} {} on {name}, day {day:.2}: {}", incident.severity, incident.detector, incident.title)
}
