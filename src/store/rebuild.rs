//! Rebuilding a damaged store from the export and the journal. All records are in memory once while it runs.
//! The damaged store is set aside, never deleted, and only once the new one is complete beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::batch::OWN_TAG;
use super::census::{self, Census};
use super::open::{look, newest_folder, outside, remove_folder};
use super::opened::Parts;
use super::recovery::Recovery;
use super::sled::{SledFile, Trouble, Write, guarded};
use super::witness::Witnesses;
use super::{Options, StoreError, export, files, journal, record};

/// Makes a new store of what the export and the journal hold (or, without an export, of what sled still shows),
/// sets the damaged one aside and puts the new one in its place. Until it is complete nothing is moved.
pub(super) fn rebuild(
    state: &Path,
    options: Options,
    witnesses: &Witnesses,
    damaged: Option<PathBuf>,
    mut damage: Vec<String>,
) -> Result<(Parts, Option<Recovery>), StoreError> {
    let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let export = export::read(state, |key, bytes| drop(records.insert(key.to_vec(), bytes.to_vec())))?;
    let mut claimed = witnesses.export_census().cloned();
    let mut whole = export.as_ref().is_some_and(|e| e.whole);
    match &export {
        Some(found) if !found.whole => {
            damage.push("export.ewx is damaged too: what could be read of it was used".to_owned())
        }
        Some(_) => {}
        None => damage.push("export.ewx is missing".to_owned()),
    }
    if !whole && let Some(folder) = damaged.clone() {
        let found = salvage(folder, options.deadline);
        damage.push(format!("{} sound records were taken from the damaged store itself", found.len()));
        records.extend(found);
    }
    let store = claimed.as_ref().map(|c| c.store).or_else(|| witnesses.said().first().map(|(_, id, _)| *id));
    let store = store.unwrap_or_else(|| Census::of_new_store().store);
    let from = claimed.as_ref().map_or(0, |c| c.generation);
    if witnesses.journal.as_ref().is_some_and(|j| j.store == store) {
        journal::read(state, |generation, writes: Vec<Write>| {
            if generation <= from {
                return;
            }
            for (key, bytes) in writes {
                match bytes {
                    Some(bytes) if key == census::KEY => claimed = Census::from_record(&bytes).or(claimed.take()),
                    Some(bytes) if record::read(&key, &bytes).is_ok() => drop(records.insert(key, bytes)),
                    Some(_) => {}
                    None => drop(records.remove(&key)),
                }
            }
        })?;
    } else {
        whole = false;
        damage.push("the journal is missing or another state's".to_owned());
    }
    whole &= witnesses.journal.as_ref().is_some_and(|j| !j.torn);

    let mut census = Census { store, ..Census::default() };
    records.retain(|key, _| key.first() != Some(&OWN_TAG));
    records.iter().for_each(|(key, bytes)| census.add(key, bytes));
    let known_generation = witnesses.known_generation(store).max(claimed.as_ref().map_or(0, |c| c.generation));
    // The census of the last journal entry describes the records at that point: equal digests prove them complete.
    let proved = claimed.as_ref().is_some_and(|c| c.generation >= known_generation && c.same_records(&census));
    let reached = claimed.as_ref().map_or(0, |c| c.generation);
    if let Some(claimed) = &claimed {
        census.names_from(claimed);
    }
    census.generation = known_generation + 1;

    let (number, folder) = build(state, witnesses, &records, &census)?;
    let set_aside = set_aside(state)?;
    files::rename(&state.join("store.new"), &state.join("store"))?;
    let (db, census) = look(&folder, options.deadline).map_err(|t| outside(t, state))?;
    let known = match (&claimed, witnesses.meta()) {
        (Some(claimed), Some(meta)) if claimed.generation < meta.generation => meta.records.clone(),
        (Some(claimed), _) => claimed.counts(),
        (None, meta) => meta.map(|m| m.records.clone()).unwrap_or_default(),
    };
    let recovery = Recovery {
        damage,
        rebuilt: true,
        set_aside,
        restored: census.counts(),
        known,
        generation: reached,
        known_generation,
        may_have_lost: !(whole && proved),
    };
    Ok((Parts { state: state.into(), db, census, number, folder_bytes: 0, journal: None }, Some(recovery)))
}

/// Every record that sled still shows and whose own checksum holds; none where it panics or hangs.
fn salvage(folder: PathBuf, deadline: Duration) -> Vec<(Vec<u8>, Vec<u8>)> {
    let found = guarded(deadline, move || {
        let mut found = Vec::new();
        // An error midway leaves what was seen before it.
        let _ = SledFile::open(&folder)?.each(b"", |key, bytes| {
            if key.first() != Some(&OWN_TAG) && record::read(key, bytes).is_ok() {
                found.push((key.to_vec(), bytes.to_vec()));
            }
        });
        Ok(found)
    });
    found.unwrap_or_default()
}

/// Writes a complete store under `store.new/NUMBER` and closes it; returns where it will lie once it is renamed.
pub(super) fn build(
    state: &Path,
    witnesses: &Witnesses,
    records: &BTreeMap<Vec<u8>, Vec<u8>>,
    census: &Census,
) -> Result<(u64, PathBuf), StoreError> {
    let used = newest_folder(&state.join("store"))?.map_or(0, |(n, _)| n).max(witnesses.meta().map_or(0, |m| m.folder));
    let number = used + 1;
    let new = state.join("store.new");
    files::private_dir(&new)?;
    let built = (|| {
        let db = SledFile::open(&new.join(number.to_string()))?;
        let mut chunk: Vec<Write> = Vec::new();
        for (key, bytes) in records {
            chunk.push((key.clone(), Some(bytes.clone())));
            if chunk.len() == CHUNK {
                db.commit(&chunk)?;
                chunk.clear();
            }
        }
        // The census last: a store without it was not finished.
        chunk.push((census::KEY.to_vec(), Some(census.to_record().map_err(Trouble::Outside)?)));
        db.commit(&chunk)
    })();
    built.map_err(|t| {
        let _ = remove_folder(&new);
        outside(t, state)
    })?;
    Ok((number, state.join("store").join(number.to_string())))
}

/// Records in one sled batch of a rebuild or rewrite.
pub(super) const CHUNK: usize = 1000;

fn set_aside(state: &Path) -> Result<Option<PathBuf>, StoreError> {
    let store = state.join("store");
    if !store.exists() {
        return Ok(None);
    }
    let aside = (1u32..).map(|n| state.join(format!("store.damaged-{n}"))).find(|path| !path.exists());
    let aside = aside.unwrap_or_else(|| state.join("store.damaged"));
    files::rename(&store, &aside)?;
    Ok(Some(aside))
}
