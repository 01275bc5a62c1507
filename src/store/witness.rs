//! The witnesses: what lies outside sled and tells what it must hold. Three files, read once at open.
//! A store is believed only when none of them knows more than it does; a witness that is wrong is written anew.

use std::path::Path;

use super::census::Census;
use super::meta::{self, Meta};
use super::{StoreError, export, journal};

/// What lies outside sled and tells what it must hold.
pub(super) struct Witnesses {
    pub meta: meta::Found,
    pub export: Option<export::Found>,
    pub journal: Option<journal::Found>,
}

impl Witnesses {
    pub fn read(state: &Path) -> Result<Self, StoreError> {
        Ok(Witnesses {
            meta: Meta::read(state)?,
            export: export::read(state, |_, _| {})?,
            journal: journal::read(state, |_, _| {})?,
        })
    }

    pub fn none(&self) -> bool {
        self.meta == meta::Found::Missing && self.export.is_none() && self.journal.is_none()
    }

    pub fn meta(&self) -> Option<&Meta> {
        match &self.meta {
            meta::Found::Meta(meta) => Some(meta),
            _ => None,
        }
    }

    pub fn export_census(&self) -> Option<&Census> {
        self.export.as_ref().and_then(|e| e.census.as_ref())
    }

    /// Name, store id and last generation of each witness that can be read.
    pub fn said(&self) -> Vec<(&'static str, u64, u64)> {
        let meta = self.meta().and_then(|m| Some(("meta.json", m.store_id()?, m.generation)));
        let export = self.export_census().map(|c| ("export.ewx", c.store, c.generation));
        let journal = self.journal.as_ref().map(|j| ("journal", j.store, j.last));
        [meta, export, journal].into_iter().flatten().collect()
    }

    pub fn known_generation(&self, store: u64) -> u64 {
        self.said().iter().filter(|(_, id, _)| *id == store).map(|(_, _, g)| *g).max().unwrap_or(0)
    }

    /// Is a store that is sound in itself the one that was left? `Ok` with what else has to be mended, or the damage.
    pub fn judge(&self, census: &Census) -> Result<Vec<String>, String> {
        if self.none() && census.generation == 0 {
            return Ok(Vec::new()); // made, and cut off before anything was written beside it
        }
        let said = self.said();
        let strangers: Vec<&'static str> =
            said.iter().filter(|(_, id, _)| *id != census.store).map(|(name, _, _)| *name).collect();
        if strangers.len() >= 2 && strangers.len() == said.len() {
            return Err(format!("the store is another state's than {}", strangers.join(" and ")));
        }
        let known = self.known_generation(census.store);
        if known > census.generation {
            return Err(format!("the store ends at batch {}, but {known} were applied", census.generation));
        }
        let mut notes: Vec<String> = strangers.iter().map(|name| format!("{name} is another state's")).collect();
        match &self.meta {
            meta::Found::Meta(meta) if meta.store_id() == Some(census.store) => {
                if meta.generation == census.generation && !meta.agrees(census) {
                    return Err("the store does not hold the records that meta.json counted".to_owned());
                }
            }
            meta::Found::Meta(_) => {}
            meta::Found::Missing => notes.push("meta.json is missing".to_owned()),
            meta::Found::Bad => notes.push("meta.json fails its checksum".to_owned()),
        }
        match &self.export {
            None => notes.push("export.ewx is missing".to_owned()),
            Some(export) if !export.whole => notes.push("export.ewx is damaged".to_owned()),
            Some(_) => {
                let (export, base) = (self.export_census(), self.journal.as_ref().map(|j| j.base));
                let base = base.max(self.meta().map(|m| m.generation));
                if export.is_some_and(|c| c.store == census.store && Some(c.generation) < base) {
                    notes.push("export.ewx is older than it was".to_owned());
                }
            }
        }
        // A torn end of it is what a power cut leaves; the store is sound, so nothing is lost with it.
        if self.journal.is_none() {
            notes.push("the journal is missing or unreadable".to_owned());
        }
        Ok(notes)
    }

    /// Bytes of the journal where it may simply be continued.
    pub fn journal_in_step(&self, census: &Census) -> Option<u64> {
        let journal = self.journal.as_ref()?;
        let export = self.export_census()?;
        let in_step = journal.store == census.store
            && journal.last == census.generation
            && journal.base <= export.generation
            && !journal.torn
            && export.store == census.store;
        in_step.then_some(journal.bytes)
    }
}
