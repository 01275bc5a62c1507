//! Storage targets: what VMs asked storage servers for. An iSCSI target, an NFS export or an SMB share, by the client's
//! own word in a conversation whose protocol was proved.
//!
//! At most [`TARGETS_MAX`] a VM; beyond it the one asked for longest ago is forgotten, counted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::records::Records;
use super::table::Inventory;
use crate::counters;
use crate::model::{AppInfo, FlowRef, Side, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

const TARGETS_MAX: usize = 16;

static STORAGE: Kind = Kind { tag: 0x41, name: "storage", version: 1 };

counters! {
    pub(super) struct StorageCounters {
        forgotten => "inventory.storage.forgotten",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    kind: TargetKind,
    server: IpAddr,
    server_vm: Option<VmId>,
    name: String,
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum TargetKind {
    Iscsi,
    Nfs,
    Smb,
}

impl TargetKind {
    /// The detail that names the target, and what it is. The text was escaped where it was read.
    fn of(app: &AppInfo) -> Option<(Self, &str)> {
        Some(match app.proto.as_str() {
            "iscsi" => (TargetKind::Iscsi, app.get("target")?),
            "smb" => (TargetKind::Smb, app.get("share")?),
            "nfs" | "rpc" => (TargetKind::Nfs, app.get("export")?),
            _ => return None,
        })
    }
}

#[derive(Debug)]
pub(super) struct Storage {
    all: Records<VmId, Vec<Target>>,
    pub counters: StorageCounters,
}

impl Storage {
    pub fn new() -> Self {
        Storage { all: Records::new(&STORAGE), counters: StorageCounters::default() }
    }

    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Storage { all: Records::load(&STORAGE, store)?, ..Storage::new() })
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.all.save(batch, all);
    }

    fn of(&self, vm: VmId) -> &[Target] {
        self.all.get(&vm).map_or(&[], Vec::as_slice)
    }

    fn used(&mut self, vm: VmId, target: Target) {
        if !self.all.contains(&vm) {
            self.all.put(vm, Vec::new());
        }
        let same = |t: &Target| (t.kind, t.server) == (target.kind, target.server) && t.name == target.name;
        if let Some(at) = self.of(vm).iter().position(same) {
            if let Some(known) = self.all.touch(&vm).and_then(|targets| targets.get_mut(at)) {
                known.last_seen = target.last_seen;
            }
            return;
        }
        let Some(targets) = self.all.change(&vm) else { return };
        if targets.len() >= TARGETS_MAX
            && let Some((oldest, _)) = targets.iter().enumerate().min_by_key(|(_, t)| t.last_seen)
        {
            targets.remove(oldest);
            self.counters.forgotten += 1;
        }
        targets.push(target);
    }

    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        for target in self.all.remove(&gone).unwrap_or_default() {
            self.used(kept, target);
        }
    }

    pub fn forget(&mut self, vm: VmId) {
        self.all.remove(&vm);
    }
}

impl Inventory {
    /// The payload of a flow told more: perhaps what its client stores on.
    pub(super) fn stores(&mut self, flow: &FlowRef, app: &AppInfo, now: Timestamp) {
        let Some((kind, name)) = TargetKind::of(app) else { return };
        let server = flow.end(app.server.unwrap_or(Side::Resp)).ip;
        let client = flow.end(app.server.unwrap_or(Side::Resp).other()).ip;
        let Some(vm) = self.identity.holder(flow.segment, client).map(|id| self.resolve(id)) else { return };
        let server_vm = self.holder(flow.segment, server);
        let name = name.to_owned();
        self.storage.used(vm, Target { kind, server, server_vm, name, first_seen: now, last_seen: now });
    }

    /// What a VM asked storage servers for, in order of the first time, since then.
    pub(super) fn storage_since(&self, vm: VmId, since: Timestamp) -> impl Iterator<Item = &Target> {
        self.storage.of(vm).iter().filter(move |target| target.last_seen >= since)
    }

    /// `iscsi iqn.2001-04.lab:disk1 of san-01`, `nfs /export/home of nas`, `smb backup of 10.0.0.9`.
    pub(super) fn target_name(&self, target: &Target) -> String {
        let server = target.server_vm.map_or_else(|| target.server.to_string(), |vm| self.label(vm));
        let kind = match target.kind {
            TargetKind::Iscsi => "iscsi",
            TargetKind::Nfs => "nfs",
            TargetKind::Smb => "smb",
        };
        format!("{kind} {} of {server}", target.name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;
    use crate::model::FlowFact;

    const CLIENT: (&str, u16, u8) = ("10.0.0.1", 40_000, 1);

    fn ask(scene: &mut Scene, proto: &'static str, detail: &'static str, name: &str) {
        let flow = scene.handshake(CLIENT, ("10.0.0.9", 2_049, 9));
        let mut app = AppInfo::new(proto, Some(Side::Resp));
        app.detail(detail, name);
        scene.tell(&flow, FlowFact::App(Box::new(app)));
    }

    fn targets(scene: &Scene) -> Vec<String> {
        let vm = scene.vm("10.0.0.1");
        let inventory = &scene.inventory;
        inventory.storage_since(vm, Timestamp::ZERO).map(|target| inventory.target_name(target)).collect()
    }

    #[test]
    fn a_client_has_the_targets_that_it_asked_for() {
        let mut scene = Scene::new();
        ask(&mut scene, "iscsi", "target", "iqn.2001-04.lab:disk1");
        ask(&mut scene, "nfs", "export", "/export/home");
        ask(&mut scene, "nfs", "export", "/export/home");
        ask(&mut scene, "smb", "dialect", "SMB 3.1.1");
        ask(&mut scene, "http", "share", "no storage");
        assert_eq!(targets(&scene), ["iscsi iqn.2001-04.lab:disk1 of 10.0.0.9", "nfs /export/home of 10.0.0.9"]);
    }

    #[test]
    fn targets_are_bounded_and_survive_a_restart() {
        use crate::store::{Batch, MemoryStore, Store};
        let mut scene = Scene::new();
        for n in 0..40 {
            scene.now_s += 1;
            ask(&mut scene, "smb", "share", &format!("share{n}"));
        }
        assert_eq!((targets(&scene).len(), scene.count("inventory.storage.forgotten")), (TARGETS_MAX, 24));
        let (mut store, mut batch) = (MemoryStore::default(), Batch::default());
        scene.inventory.save_all(&mut batch);
        store.apply(&batch).unwrap();
        let before = targets(&scene);
        scene.inventory = Inventory::load(&store, Default::default()).unwrap();
        assert_eq!(targets(&scene), before);
        assert!(before[15].contains("share39"));
    }
}
