//! VMs in trouble: those with an unresolved incident of medium severity or more. What such a VM does for the first
//! time is learned provisionally only. As many entries as there are unresolved incidents.

use std::collections::{BTreeMap, BTreeSet};

use crate::incident::IncidentEvent;
use crate::model::{Incident, IncidentId, IncidentState, Severity, VmId};

#[derive(Debug, Default)]
pub struct Trouble {
    by_vm: BTreeMap<VmId, BTreeSet<IncidentId>>,
}

impl Trouble {
    pub fn of<'a>(incidents: impl Iterator<Item = &'a Incident>) -> Self {
        let mut trouble = Trouble::default();
        incidents.for_each(|incident| trouble.take(incident));
        trouble
    }

    pub fn happened(&mut self, event: &IncidentEvent) {
        match event {
            IncidentEvent::Opened(incident) | IncidentEvent::Changed { incident, .. } => self.take(incident),
        }
    }

    pub fn has(&self, vm: VmId) -> bool {
        self.by_vm.contains_key(&vm)
    }

    fn take(&mut self, incident: &Incident) {
        if incident.state != IncidentState::Resolved && incident.severity >= Severity::Medium {
            self.by_vm.entry(incident.vm).or_default().insert(incident.id);
        } else if let Some(ids) = self.by_vm.get_mut(&incident.vm) {
            ids.remove(&incident.id);
            if ids.is_empty() {
                self.by_vm.remove(&incident.vm);
            }
        }
    }
}
