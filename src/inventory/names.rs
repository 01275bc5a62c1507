//! Names that VMs go by: who says so, and when it was first and last heard. A heard name is untrusted: it is shown
//! where nothing better is known, and never makes two VMs one.
//!
//! A VM takes at most one new name from each source in [`NEW_EVERY_S`], as many in all as `vm.rs` lists; what is
//! beyond that is refused and counted.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::identity::{At, Identity, Turn};
use super::service::Service;
use super::table::Inventory;
use super::vm::{NameSource, Vm};
use crate::model::{HeardName, NameBy, Segment, Timestamp, VmId};
use crate::store::Kind;

pub(super) static HEARD: Kind = Kind { tag: 0x1a, name: "heard name", version: 1 };

/// A machine is renamed by a person; faster than this only a program does it.
const NEW_EVERY_S: f64 = 60.0;

/// A rename takes a restart, and after it the old name is gone; logons of others come and go by the minute.
const RENAMED_S: f64 = 3_600.0;

/// When a VM was heard to go by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Whose name, who says so, and the name.
pub(super) type NameKey = (VmId, NameSource, String);

impl Inventory {
    /// The keys that a VM's servers prove themselves with, as `ssh SHA256:…` and `tls SHA-1`: a clone has its
    /// original's.
    pub fn keys(&self, vm: VmId) -> Vec<String> {
        let keys: BTreeSet<String> = self.services_of(vm).filter_map(key_of).collect();
        keys.into_iter().collect()
    }

    /// Does a VM go by the name of another that fell silent before it came? A desktop that is composed anew each morning
    /// does, and a VM that was installed again.
    pub fn takes_a_name_over(&self, vm: VmId) -> bool {
        let Some((vm, name)) = self.vm(vm).and_then(|vm| Some((vm, vm.name.as_ref()?))) else { return false };
        self.vms()
            .any(|other| other.id != vm.id && other.name.as_ref() == Some(name) && other.last_seen <= vm.first_seen)
    }

    /// The SSH host keys that more than one VM has, and their VMs. (A certificate may be many servers' by intent.)
    pub fn shared_ssh_keys(&self) -> BTreeMap<String, Vec<VmId>> {
        let mut by_key: BTreeMap<String, Vec<VmId>> = BTreeMap::new();
        // In order of VM.
        for service in self.services() {
            let Some(key) = key_of(service).filter(|key| key.starts_with("ssh ")) else { continue };
            let holders = by_key.entry(key).or_default();
            if holders.last() != Some(&service.key.vm) {
                holders.push(service.key.vm);
            }
        }
        by_key.retain(|_, holders| holders.len() > 1);
        by_key
    }
}

fn key_of(service: &Service) -> Option<String> {
    let app = service.app.as_ref()?;
    match app.get("host_key") {
        Some(key) => Some(format!("ssh {key}")),
        None => app.get("fingerprint").map(|certificate| format!("tls {certificate}")),
    }
}

impl From<NameBy> for NameSource {
    fn from(by: NameBy) -> Self {
        match by {
            NameBy::Mdns => NameSource::Mdns,
            NameBy::Nbns => NameSource::Nbns,
            NameBy::Llmnr => NameSource::Llmnr,
            NameBy::Ntlm => NameSource::Workstation,
        }
    }
}

impl Identity {
    /// What the host at this address calls itself. Nothing where nobody is known there.
    pub(super) fn name_heard(&mut self, segment: Segment, heard: &HeardName, at: At, turns: &mut Vec<Turn>) {
        let Some(vm) = self.holder(segment, heard.ip) else { return };
        let source = heard.by.into();
        if source == NameSource::Workstation && self.speaks_for_others(vm, &heard.name, at) {
            self.counters.names_refused += 1;
            return;
        }
        self.name(vm, source, &heard.name, at, turns);
    }

    /// Workstations log on through a router, a NAT or a proxy: one after another, by many names. A machine has one.
    fn speaks_for_others(&self, vm: VmId, name: &str, at: At) -> bool {
        let of_source = self.heard_names.range((vm, NameSource::Workstation, String::new())..);
        let mut lately = of_source
            .take_while(|((id, by, _), _)| (*id, *by) == (vm, NameSource::Workstation))
            .filter(|(_, heard)| at.time.since_s(heard.last) <= RENAMED_S);
        self.vms.get(&vm).is_some_and(|vm| vm.router)
            || lately.any(|((_, _, other), _)| !other.eq_ignore_ascii_case(name))
    }

    /// A VM goes by this name, says this source.
    pub(super) fn name(&mut self, id: VmId, source: NameSource, text: &str, at: At, turns: &mut Vec<Turn>) {
        let key = (id, source, text.to_owned());
        if let Some(heard) = self.heard_names.touch(&key) {
            heard.last = heard.last.max(at.time);
            return;
        }
        let same = |vm: &Vm| vm.names.iter().any(|n| n.source == source && n.text == text);
        if self.vms.get(&id).is_some_and(same) {
            self.heard_names.put(key, Heard { first: at.time, last: at.time });
            return;
        }
        let of_source = self.heard_names.range((id, source, String::new())..);
        let newest = of_source.take_while(|((vm, by, _), _)| (*vm, *by) == (id, source)).map(|(_, h)| h.first).max();
        if newest.is_some_and(|newest| at.time.since_s(newest) < NEW_EVERY_S) {
            self.counters.names_refused += 1;
            return;
        }
        if !self.vms.get(&id).is_some_and(|vm| vm.takes_name(text, source)) {
            self.counters.names_refused += 1;
            return;
        }
        let Some(vm) = self.vms.change(&id) else { return };
        if vm.add_name(text, source) {
            self.heard_names.put(key, Heard { first: at.time, last: at.time });
            turns.push(Turn::Changed(id, format!("calls itself {text} ({source})")));
            self.forget_names(id);
        }
    }

    /// `gone` is `kept` from now on, which has taken its names.
    pub(super) fn rename(&mut self, kept: VmId, gone: VmId) {
        for key in self.names_of(gone) {
            let Some(heard) = self.heard_names.remove(&key) else { continue };
            let key = (kept, key.1, key.2);
            let before = self.heard_names.get(&key).copied().unwrap_or(heard);
            let both = Heard { first: heard.first.min(before.first), last: heard.last.max(before.last) };
            self.heard_names.put(key, both);
        }
        self.forget_names(kept);
    }

    /// Forgets the times of names that the VM no longer lists.
    pub(super) fn forget_names(&mut self, id: VmId) {
        for key in self.names_of(id) {
            let listed = |vm: &Vm| vm.names.iter().any(|n| n.source == key.1 && n.text == key.2);
            if !self.vms.get(&id).is_some_and(listed) {
                self.heard_names.remove(&key);
            }
        }
    }

    /// The names, in lower case, that more than one VM goes by, and by whom.
    pub(super) fn namesakes(&self) -> BTreeMap<String, Vec<VmId>> {
        let mut by_name: BTreeMap<String, Vec<VmId>> = BTreeMap::new();
        for (id, vm) in self.vms.iter() {
            for name in &vm.names {
                let holders = by_name.entry(name.text.to_lowercase()).or_default();
                if holders.last() != Some(id) {
                    holders.push(*id);
                }
            }
        }
        by_name.retain(|_, holders| holders.len() > 1);
        by_name
    }

    fn names_of(&self, id: VmId) -> Vec<NameKey> {
        let from = (id, NameSource::LEAST, String::new());
        self.heard_names.range(from..).take_while(|((vm, ..), _)| *vm == id).map(|(key, _)| key.clone()).collect()
    }
}
