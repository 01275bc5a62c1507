//! Volumes as records of the store: one for the hours watched, one a VM's past, one a VM's hour under way.
//! Of the past at most as many a batch as the caller gives room for; the others follow with the next.

use super::history::Watch;
use super::{Current, Volume, Volumes};
use crate::model::VmId;
use crate::store::{Batch, Kind, Store, StoreError};

static WATCHED: Kind = Kind { tag: 0x48, name: "hours watched", version: 1 };
static PAST: Kind = Kind { tag: 0x49, name: "hourly volumes", version: 1 };
static HOUR: Kind = Kind { tag: 0x4a, name: "volume of the hour", version: 1 };

impl Volumes {
    pub(in crate::baseline) fn load(store: &dyn Store, vms_max: usize) -> Result<Self, StoreError> {
        let mut loaded = Volumes::new(vms_max);
        for (_, body) in store.scan(&WATCHED)? {
            (loaded.hour, loaded.watch) = WATCHED.read::<(Option<i64>, Watch)>(&body)?;
        }
        for (_, body) in store.scan(&PAST)? {
            let (vm, past) = PAST.read::<(VmId, Volume)>(&body)?;
            loaded.past.insert(vm, past);
        }
        for (_, body) in store.scan(&HOUR)? {
            let (vm, current) = HOUR.read::<(VmId, Current)>(&body)?;
            loaded.now.insert(vm, current);
        }
        Ok(loaded)
    }

    /// Writes what changed since the last call, of the past at most `past_max` VMs.
    pub fn save(&mut self, batch: &mut Batch, past_max: usize) {
        if std::mem::take(&mut self.dirty_watch) {
            batch.put(&WATCHED, b"watched", &(self.hour, &self.watch));
        }
        for vm in std::mem::take(&mut self.dirty_now) {
            let key = vm.raw().to_be_bytes();
            match self.now.get(&vm) {
                Some(current) => batch.put(&HOUR, &key, &(vm, current)),
                None => batch.delete(&HOUR, &key),
            }
        }
        for _ in 0..past_max {
            let Some(vm) = self.dirty.pop_first() else { break };
            let key = vm.raw().to_be_bytes();
            match self.past.get(&vm) {
                Some(past) => batch.put(&PAST, &key, &(vm, past)),
                None => batch.delete(&PAST, &key),
            }
        }
    }
}
