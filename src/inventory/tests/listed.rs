//! Imported inventories: whom a row names, what a second import changes, and what is never merged.

use super::super::scene::Scene;
use super::super::{Coverage, Imported, Inventory, InventoryConfig};
use super::memory::everything;
use crate::model::{ClaimKind, VmId};
use crate::store::{Batch, MemoryStore, Store};

fn speaks(scene: &mut Scene, ip: &'static str, mac: u8) -> VmId {
    scene.send((ip, 40_000, mac), ("10.0.0.250", 9, 0));
    scene.vm(ip)
}

fn listed(scene: &Scene) -> Vec<(String, Coverage)> {
    scene.inventory.listed().map(|(vm, coverage)| (vm.label(), coverage)).collect()
}

fn coverage(scene: &Scene, name: &str) -> Coverage {
    listed(scene).into_iter().find(|(label, _)| label == name).unwrap().1
}

#[test]
fn importing_twice_changes_nothing() {
    let mut scene = Scene::new();
    speaks(&mut scene, "10.0.0.5", 5);
    let text = "name,uuid,macs,ips,tags,host\nweb,u-1,52:54:00:00:00:05,,pci,kvm7\ndb,u-2,52:54:00:00:00:06,10.0.0.6,,\nold,,,10.8.8.8,,\n";
    let ids = scene.import("v.csv", text);
    let once = (everything(&scene.inventory), listed(&scene));
    scene.told();
    assert_eq!(scene.import("v.csv", text), ids);
    assert_eq!((everything(&scene.inventory), listed(&scene)), once);
    assert!(scene.told().is_empty());
}

#[test]
fn a_source_replaces_what_it_said_and_nothing_of_others() {
    let mut scene = Scene::new();
    let id = speaks(&mut scene, "10.0.0.5", 5);
    scene.import("a.csv", "name,macs,tags\nweb,52:54:00:00:00:05,pci\ngone,52:54:00:00:00:77,\n");
    scene.import("b.csv", "macs,tags,host\n52:54:00:00:00:05,dmz,kvm7\n");
    let vm = |scene: &Scene| scene.inventory.vm(id).unwrap().clone();
    assert_eq!((vm(&scene).tags.join(" "), vm(&scene).label()), ("pci dmz".to_owned(), "web".to_owned()));
    assert_eq!(scene.inventory.listing(id).sources, ["a.csv", "b.csv"]);
    scene.import("a.csv", "name\nother\n");
    assert_eq!((vm(&scene).tags.join(" "), vm(&scene).label()), ("dmz".to_owned(), "10.0.0.5".to_owned()));
    assert_eq!((scene.inventory.listing(id).sources, scene.inventory.listing(id).host), (vec!["b.csv"], Some("kvm7")));
    assert!(scene.inventory.find("gone").is_empty(), "an unseen VM goes with its last row");
    assert_eq!(scene.inventory.find("other").len(), 1);
    scene.import("b.csv", "macs\n");
    assert!(!vm(&scene).is_listed() && vm(&scene).seen, "a seen VM stays");
}

#[test]
fn an_unseen_vm_keeps_its_id_when_its_row_changes() {
    let mut scene = Scene::new();
    let before = scene.import("v.csv", "name,uuid,macs\ndb1,u-1,52:54:00:00:00:05\n");
    let after = scene.import("v.csv", "name,uuid,macs\ndb2,u-1,52:54:00:00:00:06\n");
    assert_eq!(before, after);
    assert_eq!(scene.inventory.unseen().count(), 1);
    assert!(scene.inventory.find("db1").is_empty());
}

#[test]
fn a_card_that_moved_between_two_rows_merges_nobody() {
    let mut scene = Scene::new();
    let (a, b) = (speaks(&mut scene, "10.0.0.5", 5), speaks(&mut scene, "10.0.0.6", 6));
    scene.import("v.csv", "uuid,name,macs\nu-a,a,52:54:00:00:00:05\nu-b,b,52:54:00:00:00:06\n");
    scene.import("v.csv", "uuid,name,macs\nu-a,a,52:54:00:00:00:05 52:54:00:00:00:06\nu-b,b,\n");
    assert!(scene.inventory.vm(a).is_some_and(|vm| vm.id == a) && scene.inventory.vm(b).is_some_and(|vm| vm.id == b));
}

#[test]
fn a_stale_address_in_a_row_merges_nobody_and_an_address_alone_names_its_holder() {
    let mut scene = Scene::new();
    let (a, b) = (speaks(&mut scene, "10.0.0.5", 5), speaks(&mut scene, "10.0.0.6", 6));
    scene.import("v.csv", "name,macs,ips\na,52:54:00:00:00:05,10.0.0.6\n");
    assert_eq!((scene.inventory.label(a), scene.inventory.label(b)), ("a".to_owned(), "10.0.0.6".to_owned()));
    let ids = scene.import("w.csv", "name,ips\nb,10.0.0.6\n");
    assert_eq!((ids[0], scene.inventory.label(b)), (b, "b".to_owned()));
}

#[test]
fn who_is_listed_by_address_alone_is_known_once_arp_ties_it() {
    let mut scene = Scene::new();
    scene.import("s.csv", "name,uuid,ips\ndb1,u-1,10.0.0.5\ndb2,u-2,10.0.0.6\n");
    assert_eq!(coverage(&scene, "db1"), Coverage::Unseen);
    // A router may have sent this for it: seen, but not yet known to be it.
    speaks(&mut scene, "10.0.0.5", 5);
    assert_eq!(coverage(&scene, "db1"), Coverage::Seen);
    assert_eq!(scene.inventory.label(scene.vm("10.0.0.5")), "10.0.0.5");
    scene.claim("10.0.0.5", 5, ClaimKind::Announces);
    assert_eq!(scene.inventory.label(scene.vm("10.0.0.5")), "db1");
    assert_eq!((coverage(&scene, "db1"), coverage(&scene, "db2")), (Coverage::Seen, Coverage::Unseen));
    // Whoever takes the address over is another.
    scene.now_s += 4_000;
    scene.claim("10.0.0.5", 9, ClaimKind::Announces);
    assert_eq!(scene.inventory.label(scene.vm("10.0.0.5")), "10.0.0.5");
}

#[test]
fn a_vm_with_one_silent_card_is_half_seen() {
    let mut scene = Scene::new();
    speaks(&mut scene, "10.0.0.5", 5);
    scene.import("v.csv", "name,macs\nhalf,52:54:00:00:00:05 52:54:00:00:00:06\nnone,52:54:00:00:00:07\n");
    assert_eq!((coverage(&scene, "half"), coverage(&scene, "none")), (Coverage::HalfSeen, Coverage::Unseen));
    speaks(&mut scene, "10.1.0.5", 6);
    assert_eq!(coverage(&scene, "half"), Coverage::Seen);
}

#[test]
fn too_many_rows_are_refused_before_anything_changes() {
    let mut scene = Scene::with(InventoryConfig { vms_max: 2, ..InventoryConfig::default() });
    scene.import("v.csv", "name\na\nb\n");
    let three = Imported::parse(&[("v.csv", "name\nc\nd\ne\n")], None).unwrap();
    let now = scene.time();
    let told = scene.inventory.import("v.csv", &three, now, &mut scene.out).unwrap_err();
    assert!(told.contains("vms_max"), "{told}");
    assert_eq!(scene.inventory.find("a").len(), 1);
    scene.import("v.csv", "name\nc\nd\n");
}

#[test]
fn what_is_listed_survives_a_restart_and_is_replaced_after_it() {
    let mut scene = Scene::new();
    let id = speaks(&mut scene, "10.0.0.5", 5);
    scene.import("v.csv", "name,macs,host\nweb,52:54:00:00:00:05,kvm7\nspare,52:54:00:00:00:06,\n");
    let (mut batch, mut store) = (Batch::default(), MemoryStore::default());
    scene.inventory.save_all(&mut batch);
    store.apply(&batch).unwrap();
    scene.inventory = Inventory::load(&store, InventoryConfig::default()).unwrap();
    assert_eq!((listed(&scene).len(), scene.inventory.listing(id).host), (2, Some("kvm7")));
    scene.import("v.csv", "name,macs\nfront,52:54:00:00:00:05\n");
    assert_eq!(
        (listed(&scene), scene.inventory.label(id)),
        (vec![("front".to_owned(), Coverage::Seen)], "front".to_owned())
    );
}
