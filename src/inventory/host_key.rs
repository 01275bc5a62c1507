//! Server keys as identity: where no MAC is seen (a cloud's mirror, a routed one), the key that a server proves itself
//! with says who it is at a new address. SSH host keys, and certificates that their server signed itself.
//!
//! A VM that is known by its address alone is one with the VM that had its key before, where that one is known by its
//! address alone too, was silent before the new one came, and is since. A key that two show at once is a clone's, a
//! cluster's or a proxy's: it says nothing for ever. With MACs a key decides nothing: they do.
//!
//! At most [`KEYS_MAX`] keys; beyond it new ones are refused and counted. Made anew from the services at load.

use std::collections::BTreeMap;

use super::change::Change;
use super::identity::{At, Turn};
use super::service::{RowKey, Service};
use super::table::Inventory;
use super::vm::Vm;
use crate::counters;
use crate::model::{AppInfo, FlowRef, VmId};

/// A thousand VMs with sixty-four services that have one.
const KEYS_MAX: usize = 65_536;
/// What has been silent for so long is taken for gone. Until then the key decides nothing.
const APART_S: f64 = 60.0;

counters! {
    pub(super) struct KeyCounters {
        refused => "inventory.key.refused",
        shared => "inventory.key.shared",
        followed => "inventory.key.followed",
    }
}

#[derive(Debug, Default)]
pub(super) struct KeyHolders {
    of: BTreeMap<String, Holder>,
    pub counters: KeyCounters,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    vm: VmId,
    shared: bool,
    /// Showed it too, when the holder had spoken lately.
    rival: Option<VmId>,
}

impl KeyHolders {
    pub fn of_services<'a>(services: impl Iterator<Item = &'a Service>) -> Self {
        let mut holders = KeyHolders::default();
        for service in services {
            let Some(key) = service.app.as_ref().and_then(own_key) else { continue };
            match holders.of.get_mut(&key) {
                Some(holder) => holder.shared |= holder.vm != service.key.vm,
                None => holders.put(key, service.key.vm),
            }
        }
        holders
    }

    pub fn len(&self) -> usize {
        self.of.len()
    }

    fn share(&mut self, key: &str) {
        if let Some(holder) = self.of.get_mut(key) {
            holder.shared = true;
            self.counters.shared += 1;
        }
    }

    fn rival(&mut self, key: &str, vm: VmId) {
        if let Some(holder) = self.of.get_mut(key) {
            holder.rival = Some(vm);
        }
    }

    fn put(&mut self, key: String, vm: VmId) {
        if self.of.len() >= KEYS_MAX {
            self.counters.refused += 1;
        } else {
            self.of.insert(key, Holder { vm, shared: false, rival: None });
        }
    }
}

impl Inventory {
    /// A service showed this key. Where that tells who it is, its VM is one with who had the key before.
    pub(super) fn key_shown(&mut self, flow: &FlowRef, row: RowKey, app: &AppInfo, at: At, out: &mut Vec<Change>) {
        let Some(key) = own_key(app) else { return };
        let vm = self.resolve(row.key.vm);
        let Some(holder) = self.key_holders.of.get(&key).copied() else { return self.key_holders.put(key, vm) };
        let before = self.resolve(holder.vm);
        if before == vm || holder.shared {
            return;
        }
        let (Some(was), Some(is)) = (self.vm(before), self.vm(vm)) else { return self.key_holders.put(key, vm) };
        let silent = at.time.since_s(was.last_seen) > APART_S;
        let came_after = is.first_seen > was.last_seen;
        let third = holder.rival.is_some_and(|rival| self.resolve(rival) != vm);
        if third || !silent && !came_after {
            self.key_holders.share(&key);
            return;
        }
        if !silent {
            // The next connection will tell whether the old address still speaks.
            return self.key_holders.rival(&key, vm);
        }
        let by_address = |vm: &Vm| !vm.nics.is_empty() && vm.nics.iter().all(|nic| nic.mac.is_none());
        let here = |vm: &Vm| vm.nics.iter().all(|nic| nic.segment == row.segment);
        if !came_after || !by_address(was) || !by_address(is) || !here(was) || was.is_listed() && is.is_listed() {
            return;
        }
        let left: Vec<_> = was.ips().collect();
        let shown: Vec<String> = left.iter().map(ToString::to_string).collect();
        let text = format!("is at {} now, where it was at {}: it has the same key", row.ip, shown.join(" "));
        for ip in left {
            // Whoever sends from there next is somebody else.
            self.identity.bindings.remove(&(ip, row.segment));
        }
        self.identity.refresh(before, None, row.segment, None);
        let kept = self.identity.merge(before, vm, &mut self.turns);
        self.key_holders.counters.followed += 1;
        self.turns.push(Turn::Changed(kept, text));
        self.settle(Some(flow), at, out);
    }
}

/// The key of this application that is most likely one server's own.
fn own_key(app: &AppInfo) -> Option<String> {
    let signed = || app.get("fingerprint").filter(|_| app.get("self_signed") == Some("yes"));
    app.get("host_key").map(|key| format!("ssh {key}")).or_else(|| signed().map(|key| format!("tls {key}")))
}
