//! The ledger: a store in memory that also notes when each incident was stored, and as what.
//! Held: everything that was stored.

use std::collections::BTreeMap;

use eastwatch::model::{Incident, IncidentId, Rank};
use eastwatch::store::{Batch, Change, MemoryStore, Store, StoreError};

use super::Micros;

/// The kind of record that an incident is (`incident/register.rs`).
const INCIDENT_TAG: u8 = 0x30;

#[derive(Clone, Default)]
pub struct Ledger {
    pub store: MemoryStore,
    pub incidents: BTreeMap<IncidentId, Entry>,
}

#[derive(Clone, Debug)]
pub struct Entry {
    /// As it was stored last.
    pub incident: Incident,
    /// Packet time at which it was first stored.
    pub stored: Micros,
    /// When it was first stored as a page.
    pub paged: Option<Micros>,
}

impl Ledger {
    /// # Errors
    /// A record that cannot be kept or read.
    pub fn apply(&mut self, batch: &Batch, now: Micros) -> Result<(), StoreError> {
        for change in &batch.changes {
            if let Change::Put { kind, body, .. } = change
                && kind.tag == INCIDENT_TAG
            {
                let incident: Incident = kind.read(body)?;
                let paged = (incident.ranking.rank == Rank::Page).then_some(now);
                match self.incidents.get_mut(&incident.id) {
                    Some(entry) => {
                        entry.paged = entry.paged.or(paged);
                        entry.incident = incident;
                    }
                    None => {
                        self.incidents.insert(incident.id, Entry { incident, stored: now, paged });
                    }
                }
            }
        }
        self.store.apply(batch)
    }

    /// Stored first in this time.
    pub fn between(&self, from: Micros, to: Micros) -> impl Iterator<Item = &Entry> {
        self.incidents.values().filter(move |entry| entry.stored >= from && entry.stored < to)
    }
}
