//! Names heard on the wire: which is shown, when they were heard, and that they make nobody one.

use super::super::scene::Scene;
use super::super::{Inventory, InventoryConfig, NameSource};
use crate::model::{AppInfo, ClaimKind, Fact, FlowFact, HeardName, NameBy, Segment, Side, VmId};
use crate::store::{Batch, MemoryStore, Store};

fn speaks(scene: &mut Scene, ip: &'static str, mac: u8) -> VmId {
    scene.send((ip, 40_000, mac), ("10.0.0.250", 9, 0));
    scene.vm(ip)
}

fn says(scene: &mut Scene, ip: &str, by: NameBy, name: &str) {
    let heard = HeardName { ip: ip.parse().unwrap(), by, name: name.to_owned() };
    scene.fact(Fact::Name(Segment::UNTAGGED, Box::new(heard)));
}

#[test]
fn the_most_trusted_name_is_shown_and_all_are_kept() {
    let mut scene = Scene::new();
    let id = speaks(&mut scene, "10.0.0.5", 5);
    says(&mut scene, "10.0.0.5", NameBy::Mdns, "web01");
    says(&mut scene, "10.0.0.5", NameBy::Llmnr, "WEB-LLMNR");
    assert_eq!(scene.inventory.label(id), "web01");
    let server = "10.0.0.1".parse().unwrap();
    scene.claim("10.0.0.5", 5, ClaimKind::Leased { server, name: Some("web-lease".to_owned()), client_id: None });
    assert_eq!(scene.inventory.label(id), "web-lease");
    scene.import("v.csv", "name,macs\nfront,52:54:00:00:00:05\n");
    assert_eq!((scene.inventory.label(id).as_str(), scene.inventory.vm(id).unwrap().names.len()), ("front", 4));
}

#[test]
fn a_server_is_named_by_its_ntlm_challenge() {
    let mut scene = Scene::new();
    let flow = scene.handshake(("10.0.0.5", 40_000, 5), ("10.0.0.9", 445, 9));
    scene.tell(&flow, FlowFact::ServerData);
    let mut app = AppInfo::new("smb", Some(Side::Resp));
    app.detail("computer", "FILES01");
    scene.tell(&flow, FlowFact::App(Box::new(app)));
    assert_eq!(scene.inventory.label(scene.vm("10.0.0.9")), "FILES01");
    assert_eq!(scene.inventory.label(scene.vm("10.0.0.5")), "10.0.0.5", "the client said nothing");
}

#[test]
fn two_vms_with_one_ssh_key_are_told_and_stay_two() {
    let mut scene = Scene::new();
    for (ip, mac) in [("10.0.0.8", 8), ("10.0.0.9", 9)] {
        let flow = scene.handshake(("10.0.0.5", 40_000, 5), (ip, 22, mac));
        scene.tell(&flow, FlowFact::ServerData);
        let mut app = AppInfo::new("ssh", Some(Side::Resp));
        app.detail("host_key", "SHA256:abc");
        scene.tell(&flow, FlowFact::App(Box::new(app)));
    }
    let (a, b) = (scene.vm("10.0.0.8"), scene.vm("10.0.0.9"));
    assert_ne!(a, b);
    assert_eq!(scene.inventory.keys(a), ["ssh SHA256:abc"]);
    let mut both = vec![a, b];
    both.sort();
    assert_eq!(scene.inventory.shared_ssh_keys().into_values().collect::<Vec<_>>(), [both]);
}

#[test]
fn two_vms_of_one_name_stay_two_and_are_told() {
    let mut scene = Scene::new();
    let (a, b) = (speaks(&mut scene, "10.0.0.5", 5), speaks(&mut scene, "10.0.0.6", 6));
    scene.import("v.csv", "name,macs\ndb1,52:54:00:00:00:05\n");
    says(&mut scene, "10.0.0.6", NameBy::Mdns, "DB1");
    assert_ne!(scene.inventory.resolve(a), scene.inventory.resolve(b));
    let mut both = vec![a, b];
    both.sort();
    assert_eq!(scene.inventory.namesakes().into_iter().collect::<Vec<_>>(), [("db1".to_owned(), both)]);
    assert_eq!(scene.inventory.find("db1"), [a], "nobody takes an inventory's name away");
}

#[test]
fn a_name_for_an_address_that_nobody_has_names_nobody() {
    let mut scene = Scene::new();
    says(&mut scene, "10.0.0.5", NameBy::Mdns, "ghost");
    assert_eq!(scene.inventory.vms().count(), 0);
}

#[test]
fn a_host_that_renames_itself_without_end_is_told_once_a_minute() {
    let mut scene = Scene::new();
    let id = speaks(&mut scene, "10.0.0.5", 5);
    for i in 0..600 {
        scene.now_s += 1;
        says(&mut scene, "10.0.0.5", NameBy::Mdns, &format!("host-{i}"));
    }
    assert_eq!(scene.inventory.vm(id).unwrap().names.len(), 8);
    assert_eq!(scene.count("inventory.name.refused"), 590);
}

#[test]
fn the_times_of_a_name_go_on_and_survive_a_restart_and_a_merge() {
    let mut scene = Scene::new();
    let (a, b) = (speaks(&mut scene, "10.0.0.5", 5), speaks(&mut scene, "10.1.0.6", 6));
    says(&mut scene, "10.1.0.6", NameBy::Nbns, "WEB01");
    let first = scene.time();
    scene.now_s += 500;
    says(&mut scene, "10.1.0.6", NameBy::Nbns, "WEB01");
    let heard = |inventory: &Inventory, id| {
        let name = inventory.vm(id).unwrap().names.iter().find(|n| n.source == NameSource::Nbns).cloned().unwrap();
        inventory.heard(id, &name).map(|heard| (heard.first, heard.last))
    };
    assert_eq!(heard(&scene.inventory, b), Some((first, scene.time())));
    scene.import("v.csv", "macs\n52:54:00:00:00:05 52:54:00:00:00:06\n");
    assert_eq!(scene.inventory.resolve(b), scene.inventory.resolve(a));
    assert_eq!(heard(&scene.inventory, a), Some((first, scene.time())));
    let (mut batch, mut store) = (Batch::default(), MemoryStore::default());
    scene.inventory.save_all(&mut batch);
    store.apply(&batch).unwrap();
    let loaded = Inventory::load(&store, InventoryConfig::default()).unwrap();
    assert_eq!(heard(&loaded, a), Some((first, scene.time())));
}
