//! Absorbed findings: what the findings were about that joined the incident of an unknown VM. That incident names its
//! VM only, and a service or a peer edge under it is no more approved than one with an incident of its own.
//!
//! At most [`ABSORBED_MAX`]; beyond it none is remembered any more, and that is counted: it then shows as observed.

use std::collections::{BTreeMap, BTreeSet};

use super::grouping::Group;
use crate::model::{IncidentId, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

const ABSORBED_MAX: usize = 65_536;

static ABSORBED: Kind = Kind { tag: 0x31, name: "absorbed finding", version: 1 };

#[derive(Clone, Debug, Default)]
pub(super) struct Absorbed {
    /// The incident that took the latest finding of a group, and the finding's detector.
    groups: BTreeMap<Group, (IncidentId, String)>,
    dirty: BTreeSet<Group>,
    pub refused: u64,
}

impl Absorbed {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut absorbed = Absorbed::default();
        for (id, body) in store.scan(&ABSORBED)? {
            absorbed.groups.insert(ABSORBED.read(&id)?, ABSORBED.read(&body)?);
        }
        Ok(absorbed)
    }

    pub fn save(&mut self, batch: &mut Batch) {
        for group in std::mem::take(&mut self.dirty) {
            // Plain ids and numbers, which always serialise.
            let Ok(id) = postcard::to_stdvec(&group) else { continue };
            match self.groups.get(&group) {
                Some(absorbed) => batch.put(&ABSORBED, &id, absorbed),
                None => batch.delete(&ABSORBED, &id),
            }
        }
    }

    pub fn add(&mut self, group: Group, incident: IncidentId, detector: &str) {
        if self.groups.get(&group).is_some_and(|(known, _)| *known == incident) {
            return;
        }
        if self.groups.len() >= ABSORBED_MAX && !self.groups.contains_key(&group) {
            self.refused += 1;
            return;
        }
        self.groups.insert(group, (incident, detector.to_owned()));
        self.dirty.insert(group);
    }

    pub fn get(&self, group: &Group) -> Option<(IncidentId, &str)> {
        self.groups.get(group).map(|(incident, detector)| (*incident, detector.as_str()))
    }

    pub fn forget(&mut self, incident: IncidentId) {
        self.take(|_, taken_by| taken_by == incident);
    }

    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        for ((detector, _, port), absorbed) in self.take(|group, _| group.1 == gone) {
            let group = (detector, kept, port);
            self.dirty.insert(group);
            self.groups.entry(group).or_insert(absorbed);
        }
    }

    fn take(&mut self, of: impl Fn(&Group, IncidentId) -> bool) -> Vec<(Group, (IncidentId, String))> {
        let taken: Vec<_> = self.groups.extract_if(.., |group, (incident, _)| of(group, *incident)).collect();
        self.dirty.extend(taken.iter().map(|(group, _)| *group));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Transport;

    #[test]
    fn a_flood_of_findings_is_bounded() {
        let mut absorbed = Absorbed::default();
        let (vm, incident) = (VmId::derive(&[b"1"], 0), IncidentId::derive(&[b"1"], 0));
        for detector in 0..2 {
            for port in 0..=u16::MAX {
                absorbed.add((detector, vm, Some((Transport::Tcp, port))), incident, "new-service");
            }
        }
        assert_eq!((absorbed.groups.len(), absorbed.refused), (ABSORBED_MAX, 65_536));
        absorbed.forget(incident);
        assert!(absorbed.groups.is_empty());
    }
}
