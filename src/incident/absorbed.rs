//! Absorbed services: what a finding that joined the incident of an unknown VM was about. The incident names its VM
//! only, and a service under it is no more approved than one with an incident of its own.
//!
//! At most [`ABSORBED_MAX`]; beyond it none is remembered any more, and that is counted: such a service shows as
//! observed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::grouping::{self, SERVICE_DETECTORS};
use crate::model::{Finding, IncidentId, ServiceKey, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

const ABSORBED_MAX: usize = 65_536;

static ABSORBED: Kind = Kind { tag: 0x31, name: "absorbed service", version: 1 };

#[derive(Clone, Debug, Default)]
pub(super) struct Absorbed {
    services: BTreeMap<ServiceKey, Place>,
    dirty: BTreeSet<ServiceKey>,
    pub refused: u64,
}

/// Where the finding went, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    incident: IncidentId,
    detector: String,
}

impl Absorbed {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut absorbed = Absorbed::default();
        for (id, body) in store.scan(&ABSORBED)? {
            absorbed.services.insert(ABSORBED.read(&id)?, ABSORBED.read(&body)?);
        }
        Ok(absorbed)
    }

    pub fn save(&mut self, batch: &mut Batch) {
        for key in std::mem::take(&mut self.dirty) {
            let Ok(id) = postcard::to_stdvec(&key) else { continue };
            match self.services.get(&key) {
                Some(into) => batch.put(&ABSORBED, &id, into),
                None => batch.delete(&ABSORBED, &id),
            }
        }
    }

    /// Remembers the service that a finding is about, where it is its VM's own.
    pub fn add(&mut self, finding: &Finding, incident: IncidentId) {
        let (signature_id, vm, Some((transport, port))) = grouping::of_finding(finding) else { return };
        let key = ServiceKey { vm, transport, port };
        let into = Place { incident, detector: finding.detector.name.to_owned() };
        if !SERVICE_DETECTORS.contains(&signature_id) || self.services.get(&key) == Some(&into) {
            return;
        }
        if self.services.len() >= ABSORBED_MAX && !self.services.contains_key(&key) {
            self.refused += 1;
            return;
        }
        self.services.insert(key, into);
        self.dirty.insert(key);
    }

    /// The incident that took the latest finding about this service, and that finding's detector.
    pub fn get(&self, service: &ServiceKey) -> Option<(IncidentId, &str)> {
        self.services.get(service).map(|into| (into.incident, into.detector.as_str()))
    }

    pub fn forget(&mut self, incident: IncidentId) {
        self.take(|_, into| into.incident == incident);
    }

    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        for (key, into) in self.take(|key, _| key.vm == gone) {
            let key = ServiceKey { vm: kept, ..key };
            self.dirty.insert(key);
            self.services.entry(key).or_insert(into);
        }
    }

    fn take(&mut self, of: impl Fn(&ServiceKey, &Place) -> bool) -> Vec<(ServiceKey, Place)> {
        let taken: Vec<_> = self.services.extract_if(.., |key, into| of(key, into)).collect();
        self.dirty.extend(taken.iter().map(|(key, _)| *key));
        taken
    }
}
