//! What inventories list: the rows of each source, and the VM that each row was given. A source is imported as a
//! whole; importing it again replaces what it said before.
//!
//! At most `vms_max` rows over all sources; a source that would exceed it is refused. Two VMs that inventories tell
//! apart by uuid are never merged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::identity::{Identity, Turn};
use super::import::ImportedVm;
use super::lineage::extend;
use super::records::Records;
use super::vm::{Declared, NameSource, Vm};
use crate::model::{Mac, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

static LISTED: Kind = Kind { tag: 0x18, name: "inventory row", version: 1 };

/// How much of a listed VM the mirror shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// It was seen, with every interface that the inventory lists or by its address.
    Seen,
    /// Some of its interfaces were seen, others never.
    HalfSeen,
    Unseen,
}

/// What all sources together say of one VM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing<'a> {
    /// In order of name.
    pub sources: Vec<&'a str>,
    pub host: Option<&'a str>,
    pub cluster: Option<&'a str>,
    pub hypervisor: Option<&'a str>,
}

/// One row as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    row: ImportedVm,
    vm: VmId,
}

/// Source and place in it.
type RowKey = (String, u32);

#[derive(Debug)]
pub(super) struct Lists {
    rows: Records<RowKey, Listed>,
    /// Made anew from the rows at load.
    of: BTreeMap<VmId, BTreeSet<RowKey>>,
}

impl Default for Lists {
    fn default() -> Self {
        Lists { rows: Records::new(&LISTED), of: BTreeMap::new() }
    }
}

impl Lists {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut lists = Lists { rows: Records::load(&LISTED, store)?, of: BTreeMap::new() };
        for (key, listed) in lists.rows.iter() {
            lists.of.entry(listed.vm).or_default().insert(key.clone());
        }
        Ok(lists)
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.rows.save(batch, all);
    }

    pub fn listing(&self, vm: VmId) -> Listing<'_> {
        let mut listing = Listing::default();
        for (key, row) in self.of(vm) {
            if listing.sources.last() != Some(&key.0.as_str()) {
                listing.sources.push(&key.0);
            }
            listing.host = listing.host.or(row.host.as_deref());
            listing.cluster = listing.cluster.or(row.cluster.as_deref());
            listing.hypervisor = listing.hypervisor.or(row.hypervisor.as_deref());
        }
        listing
    }

    /// The rows of a VM, in order of source and place.
    fn of(&self, vm: VmId) -> impl Iterator<Item = (&RowKey, &ImportedVm)> {
        let keys = self.of.get(&vm).into_iter().flatten();
        keys.filter_map(|key| self.rows.get(key).map(|listed| (key, &listed.row)))
    }

    fn of_source(&self, source: &str) -> impl Iterator<Item = (&RowKey, &Listed)> {
        self.rows.range((source.to_owned(), 0)..).take_while(move |((other, _), _)| other == source)
    }

    fn put(&mut self, key: RowKey, listed: Listed) {
        self.of.entry(listed.vm).or_default().insert(key.clone());
        self.rows.put(key, listed);
    }

    fn remove(&mut self, key: &RowKey) -> Option<Listed> {
        let listed = self.rows.remove(key)?;
        if let Some(keys) = self.of.get_mut(&listed.vm) {
            keys.remove(key);
            if keys.is_empty() {
                self.of.remove(&listed.vm);
            }
        }
        Some(listed)
    }
}

/// Which VM has which uuid, by what the sources said last.
#[derive(Debug, Default)]
struct Uuids {
    whose: BTreeMap<String, VmId>,
    of: BTreeMap<VmId, String>,
}

impl Uuids {
    fn tie(&mut self, uuid: &str, vm: VmId) {
        self.whose.insert(uuid.to_owned(), vm);
        self.of.insert(vm, uuid.to_owned());
    }
}

impl Identity {
    /// Is there room for so many rows of these sources, in place of what they have now?
    pub(super) fn has_room<'a>(&self, sources: impl Iterator<Item = (&'a str, usize)>) -> Result<(), String> {
        let mut total = self.lists.rows.len();
        for (source, rows) in sources {
            total = total - self.lists.of_source(source).count() + rows;
        }
        match total > self.vms_max {
            true => Err(format!("{total} VMs would be listed, {} are kept: raise [networks] vms_max", self.vms_max)),
            false => Ok(()),
        }
    }

    /// Takes in all rows of a source, in place of those that it had. Returns each row's VM.
    ///
    /// # Errors
    /// Too many rows; nothing is changed then.
    pub(super) fn list(
        &mut self,
        source: &str,
        rows: &[ImportedVm],
        now: Timestamp,
        turns: &mut Vec<Turn>,
    ) -> Result<Vec<VmId>, String> {
        self.has_room(std::iter::once((source, rows.len())))?;
        let old: Vec<RowKey> = self.lists.of_source(source).map(|(key, _)| key.clone()).collect();
        let mut uuids = Uuids::default();
        for (id, vm) in self.vms.iter() {
            vm.uuid.iter().for_each(|uuid| uuids.tie(uuid, *id));
        }
        // What the source said before says nothing any more about who is who.
        let before: BTreeSet<VmId> = old.iter().filter_map(|key| self.lists.remove(key)).map(|l| l.vm).collect();
        before.iter().for_each(|id| self.describe(*id));
        let still: BTreeSet<&str> = rows.iter().filter_map(|row| row.uuid.as_deref()).collect();
        uuids
            .of
            .retain(|id, uuid| still.contains(uuid.as_str()) || self.vms.get(id).is_some_and(|vm| vm.uuid.is_some()));
        let mut ids = Vec::with_capacity(rows.len());
        for (place, row) in (0u32..).zip(rows) {
            let id = self.who_is(row, &uuids, &before, now, turns);
            if let Some(uuid) = &row.uuid {
                uuids.tie(uuid, id);
            }
            self.lists.put((source.to_owned(), place), Listed { row: row.clone(), vm: id });
            self.describe(id);
            ids.push(id);
        }
        for id in before {
            if self.vms.get(&id).is_some_and(|vm| !vm.seen) && !self.lists.of.contains_key(&id) {
                self.vms.remove(&id);
            }
        }
        // A later row may have merged an earlier one's VM.
        Ok(ids.into_iter().map(|id| self.resolve(id)).collect())
    }

    /// `gone` is `kept` from now on.
    pub(super) fn relist(&mut self, kept: VmId, gone: VmId) {
        for key in self.lists.of.remove(&gone).unwrap_or_default() {
            if let Some(listed) = self.lists.rows.change(&key) {
                listed.vm = kept;
            }
            self.lists.of.entry(kept).or_default().insert(key);
        }
    }

    pub(super) fn coverage(&self, vm: &Vm) -> Coverage {
        let shown =
            vm.declared.macs.iter().filter(|mac| !self.stations_where([**mac].into_iter(), |_| true).is_empty());
        match (vm.seen, shown.count()) {
            (_, some) if some > 0 && some < vm.declared.macs.len() => Coverage::HalfSeen,
            (false, 0) if self.holder_of_listed(vm).is_some() => Coverage::Seen,
            (false, _) => Coverage::Unseen,
            (true, _) => Coverage::Seen,
        }
    }

    /// A VM that is listed by this address alone is the one that ARP, ND or DHCP ties to it.
    pub(super) fn expected_at(&mut self, ip: IpAddr, vm: VmId, turns: &mut Vec<Turn>) -> VmId {
        let Some(expected) = self.declared_ips.get(&ip).copied().filter(|id| *id != vm) else { return vm };
        let by_address = |vm: &Vm| !vm.seen && vm.declared.macs.is_empty();
        if !self.vms.get(&expected).is_some_and(by_address) || self.vms.get(&vm).is_some_and(Vm::is_listed) {
            return vm;
        }
        self.merge(vm, expected, turns)
    }

    /// Who has the address of a VM that is listed by addresses alone.
    pub(super) fn holder_of_listed(&self, vm: &Vm) -> Option<VmId> {
        let mut ips = vm.declared.ips.iter().filter(|_| vm.declared.macs.is_empty());
        ips.find_map(|ip| self.holders(*ip).next()).map(|(holder, _)| holder)
    }

    fn holders(&self, ip: IpAddr) -> impl Iterator<Item = (VmId, Option<Mac>)> {
        self.bindings.of(ip).map(|b| (b.vm, b.mac))
    }

    /// The VM that a row is about: the one with its uuid, its MACs, or its addresses; a new one where nobody has them.
    fn who_is(
        &mut self,
        row: &ImportedVm,
        uuids: &Uuids,
        before: &BTreeSet<VmId>,
        now: Timestamp,
        turns: &mut Vec<Turn>,
    ) -> VmId {
        let mut found: Vec<VmId> = row.uuid.iter().filter_map(|uuid| uuids.whose.get(uuid)).copied().collect();
        for mac in &row.macs {
            let stations = self.stations_where([*mac].into_iter(), |_| true);
            found.extend(stations.iter().filter_map(|key| self.stations.get(key)?.vm));
            found.extend(self.declared_macs.get(mac));
        }
        for ip in &row.ips {
            // Whoever has the address with another MAC than the row's has taken it over: addresses age in inventories.
            let fits = |mac: Option<Mac>| row.macs.is_empty() || mac.is_none_or(|mac| row.macs.contains(&mac));
            let mut holders = self.holders(*ip);
            // The same address in two segments is two tenants': then it names nobody.
            let (holder, another) = (holders.next(), holders.next().is_some());
            found.extend(holder.filter(|(_, mac)| !another && fits(*mac)).map(|(vm, _)| vm));
            let by_address = |id: &&VmId| self.vms.get(id).is_some_and(|vm| vm.declared.macs.is_empty());
            let unheld = row.macs.is_empty() && holder.is_none();
            found.extend(self.declared_ips.get(ip).filter(|id| unheld || by_address(id)));
        }
        let mut id = None;
        for other in found {
            let other = self.resolve(other);
            if !self.vms.contains(&other) {
                continue;
            }
            if let (Some(its), Some(rows)) = (uuids.of.get(&other), &row.uuid)
                && its != rows
            {
                self.counters.merges_refused += u64::from(id.is_some());
                continue;
            }
            id = Some(id.map_or(other, |one| self.merge(one, other, turns)));
        }
        id.unwrap_or_else(|| self.expect(row, before, now))
    }

    /// A VM that only an inventory knows. One that was known like this before keeps its id.
    fn expect(&mut self, row: &ImportedVm, before: &BTreeSet<VmId>, now: Timestamp) -> VmId {
        let text;
        let evidence: [&[u8]; 2] = match (&row.uuid, row.macs.first(), row.ips.first()) {
            (Some(uuid), ..) => [b"uuid", uuid.as_bytes()],
            (None, Some(mac), _) => [b"mac", &mac.0],
            (None, None, Some(ip)) => {
                text = ip.to_string();
                [b"ip", text.as_bytes()]
            }
            (None, None, None) => [b"name", row.name.as_deref().unwrap_or_default().as_bytes()],
        };
        let same = VmId::derive(&evidence, 0);
        let left = |vm: &Vm| !vm.seen && !self.lists.of.contains_key(&vm.id);
        if before.contains(&same) && self.vms.get(&same).is_some_and(left) {
            return same;
        }
        let id = self.free_id(&evidence);
        self.vms.put(id, Vm { id, first_seen: now, last_seen: now, proved: true, ..Vm::default() });
        id
    }

    /// Gives a VM what its rows say, and nothing else of what inventories say.
    fn describe(&mut self, id: VmId) {
        let Some(vm) = self.vms.change(&id) else { return };
        // What two VMs are listed with is the first one's.
        for mac in &vm.declared.macs {
            if self.declared_macs.get(mac) == Some(&id) {
                self.declared_macs.remove(mac);
            }
        }
        for ip in &vm.declared.ips {
            if self.declared_ips.get(ip) == Some(&id) {
                self.declared_ips.remove(ip);
            }
        }
        vm.declared = Declared::default();
        (vm.uuid, vm.tags) = (None, Vec::new());
        vm.drop_listed_names();
        for (_, row) in self.lists.of(id) {
            for mac in &row.macs {
                self.declared_macs.entry(*mac).or_insert(id);
            }
            for ip in &row.ips {
                self.declared_ips.entry(*ip).or_insert(id);
            }
            if let Some(name) = &row.name {
                vm.add_name(name, NameSource::Inventory);
            }
            vm.proved = true;
            vm.uuid = vm.uuid.take().or(row.uuid.clone());
            extend(&mut vm.tags, row.tags.clone());
            extend(&mut vm.declared.macs, row.macs.clone());
            extend(&mut vm.declared.ips, row.ips.clone());
        }
        self.forget_names(id);
    }
}
