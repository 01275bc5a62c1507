//! What survives a restart, what is written, and what an observation costs.

use super::super::scene::{End, Scene};
use super::super::{Inventory, InventoryConfig, Outside, PeerEdge, Service, Vm};
use crate::model::{AppInfo, ClaimKind, Fact, FlowFact, RefusedBy, Side, Transport, VmId};
use crate::store::MemoryStore;
use crate::store::{Batch, Store};

const CLIENT: End = ("10.0.0.5", 40_000, 5);
const WEB: End = ("10.0.0.9", 80, 9);

/// A bit of everything.
fn lived() -> Scene {
    let mut scene = Scene::new();
    scene.claim("fe80::1", 1, ClaimKind::Routes);
    for port in 1..60 {
        let flow = scene.handshake((["10.0.0.5", "10.3.0.6", "198.51.100.1"][port % 3], 40_000, 1), WEB);
        scene.tell(&flow, FlowFact::ServerData);
        let mut app = AppInfo::new("http", Some(Side::Resp));
        app.product("nginx", Some(b"1.25"));
        scene.tell(&flow, FlowFact::App(Box::new(app)));
        scene.end(&flow, 3, 3);
    }
    scene.handshake(("10.0.0.8", 1, 8), ("10.0.0.20", 81, 0));
    scene.now_s += 1;
    scene.handshake(("10.0.0.8", 1, 8), ("10.0.0.21", 82, 21));
    scene.claim("10.0.0.20", 21, ClaimKind::Answers);
    scene.refused(Transport::Tcp, CLIENT, ("10.0.0.9", 22, 9), RefusedBy::Reset);
    let text = "name,uuid,macs,ips,tags\nweb,u-1,52:54:00:00:00:09,,front\nspare,,,10.8.8.8,\n";
    scene.import("v.csv", text);
    scene
}

fn save_all(inventory: &mut Inventory, store: &mut MemoryStore) -> usize {
    let mut batch = Batch::default();
    inventory.save_all(&mut batch);
    store.apply(&batch).unwrap();
    batch.changes.len()
}

pub(super) type Everything = (Vec<Vm>, Vec<Vm>, Vec<Service>, Vec<PeerEdge>, Vec<Outside>);

pub(super) fn everything(inventory: &Inventory) -> Everything {
    (
        inventory.vms().cloned().collect(),
        inventory.unseen().cloned().collect(),
        inventory.services().cloned().collect(),
        inventory.peers().cloned().collect(),
        inventory.outside(),
    )
}

#[test]
fn what_is_saved_is_loaded_and_goes_on_the_same() {
    let (mut scene, mut store) = (lived(), MemoryStore::default());
    save_all(&mut scene.inventory, &mut store);
    let loaded = Inventory::load(&store, InventoryConfig::default()).unwrap();
    assert_eq!(everything(&loaded), everything(&scene.inventory));
    assert!(scene.inventory.services().count() > 2 && scene.inventory.peers().count() > 2);
    let aliases =
        |inventory: &Inventory| inventory.identity.aliases.iter().map(|(a, b)| (*a, *b)).collect::<Vec<(VmId, VmId)>>();
    assert_eq!(aliases(&loaded), aliases(&scene.inventory));
    assert_eq!(aliases(&loaded).len(), 1);
    // Routers, closed ports and names are remembered too: the same observations change the same things.
    let mut twin = lived();
    twin.inventory = loaded;
    let go_on = |scene: &mut Scene| {
        scene.told();
        scene.now_s += 100;
        scene.handshake(("10.5.0.1", 1, 1), ("10.0.0.9", 22, 9));
        scene.handshake(("10.0.0.66", 1, 66), ("10.8.8.8", 80, 1));
        std::mem::take(&mut scene.out)
    };
    assert_eq!(go_on(&mut twin), go_on(&mut scene));
}

#[test]
fn only_what_changed_is_written_and_a_use_at_most_once_a_minute() {
    let mut scene = Scene::new();
    let saved = |scene: &mut Scene| {
        let mut batch = Batch::default();
        scene.inventory.save(&mut batch);
        batch.changes.len()
    };
    scene.handshake(CLIENT, WEB);
    assert!(saved(&mut scene) > 0);
    scene.now_s += 30;
    scene.handshake(CLIENT, WEB);
    assert_eq!(saved(&mut scene), 0, "a use of what is known");
    scene.handshake(CLIENT, ("10.0.0.9", 81, 9));
    assert!(saved(&mut scene) > 0, "a new service");
    scene.now_s += 31;
    scene.fact(Fact::Tick);
    assert!(saved(&mut scene) > 0, "the minute is over");
    assert_eq!(saved(&mut scene), 0);
}

#[test]
fn a_merge_leaves_no_record_behind() {
    let (mut scene, mut store) = (Scene::new(), MemoryStore::default());
    scene.handshake(CLIENT, ("10.0.0.20", 81, 0));
    scene.now_s += 1;
    scene.handshake(CLIENT, ("10.0.0.21", 82, 21));
    save_all(&mut scene.inventory, &mut store);
    scene.claim("10.0.0.20", 21, ClaimKind::Answers);
    save_all(&mut scene.inventory, &mut store);
    let loaded = Inventory::load(&store, InventoryConfig::default()).unwrap();
    assert_eq!(everything(&loaded), everything(&scene.inventory));
    assert_eq!((loaded.vms().count(), loaded.services().count()), (2, 2));
}

#[test]
fn the_same_observations_give_the_same_changes() {
    let (a, b) = (lived(), lived());
    assert_eq!(a.out, b.out);
    assert_eq!(everything(&a.inventory), everything(&b.inventory));
}
