//! Which VM an endpoint is: every rule and its quiet twin.

use super::super::InventoryConfig;
use super::super::scene::{End, Scene, station};
use crate::model::{ClaimKind, FlowFact, Opening, Transport};

const SERVER: End = ("10.0.0.9", 80, 9);

fn asks() -> ClaimKind {
    ClaimKind::Asks { target: "10.0.0.254".parse().unwrap() }
}

/// A flow from this address and MAC to the server.
fn speaks(scene: &mut Scene, ip: &'static str, mac: u8) {
    scene.handshake((ip, 40_000, mac), SERVER);
}

#[test]
fn one_mac_with_several_addresses_and_dual_stack_is_one_vm() {
    let mut scene = Scene::new();
    for ip in ["10.0.0.5", "10.0.0.6", "fd00::5", "fe80::5"] {
        speaks(&mut scene, ip, 5);
    }
    let vm = scene.inventory.vm(scene.vm("10.0.0.5")).unwrap();
    assert_eq!(vm.nics.len(), 1);
    assert_eq!(vm.ips().map(|ip| ip.to_string()).collect::<Vec<_>>(), ["10.0.0.5", "10.0.0.6", "fd00::5", "fe80::5"]);
    assert_eq!((vm.hypervisor(), vm.router, scene.inventory.vms().count()), (Some("kvm"), false, 2));
}

/// Over a wireless link a bridge gives its hosts' frames its own MAC, and both sides show.
#[test]
fn a_bridge_that_repeats_what_its_hosts_say_has_none_of_their_addresses() {
    let mut scene = Scene::new();
    for _ in 0..20 {
        for (ip, mac) in [("10.0.0.5", 5), ("10.0.0.6", 6)] {
            scene.claim(ip, mac, asks());
            scene.echo(ip, 7, asks());
            speaks(&mut scene, ip, mac);
            speaks(&mut scene, ip, 7);
            // An equal claim of the owner's is not told again within a minute.
            scene.now_s += 30;
            scene.echo(ip, 7, ClaimKind::Answers);
        }
    }
    for (ip, mac) in [("10.0.0.5", 5), ("10.0.0.6", 6)] {
        let vm = scene.inventory.vm(scene.vm(ip)).unwrap();
        assert_eq!(vm.nics.iter().map(|nic| nic.mac).collect::<Vec<_>>(), [station(mac)], "{ip}");
    }
    assert_ne!(scene.vm("10.0.0.5"), scene.vm("10.0.0.6"));
}

#[test]
fn who_announces_an_address_or_claims_it_unprompted_has_it() {
    let takes: [fn(&mut Scene); 3] = [
        |scene| scene.echo("10.0.0.5", 7, ClaimKind::Announces),
        |scene| scene.claim("10.0.0.5", 7, asks()),
        // It had the address before: no bridge's word.
        |scene| {
            scene.claim("10.0.0.5", 7, asks());
            scene.claim("10.0.0.5", 5, asks());
            scene.echo("10.0.0.5", 7, asks());
        },
    ];
    for take in takes {
        let mut scene = Scene::new();
        scene.claim("10.0.0.5", 5, asks());
        take(&mut scene);
        let vm = scene.inventory.vm(scene.vm("10.0.0.5")).unwrap();
        assert_eq!(vm.nics.iter().map(|nic| nic.mac).collect::<Vec<_>>(), [station(7)]);
    }
}

#[test]
fn the_same_address_in_two_segments_is_two_vms() {
    let mut scene = Scene::new();
    for (segment, mac) in [("vlan:10", 5), ("vlan:20", 6)] {
        let flow = scene.flow_in(segment, Transport::Tcp, ("10.0.0.5", 40_000, mac), SERVER);
        scene.tell(&flow, FlowFact::Attempt(Opening::Syn));
    }
    assert_eq!(scene.inventory.find("10.0.0.5").len(), 2);
}

#[test]
fn a_trunked_mac_is_one_vm_and_a_mac_of_two_overlays_is_two() {
    for (segments, vms) in [(["vlan:10", "vlan:20"], 1), (["vxlan:1", "vxlan:2"], 2)] {
        let mut scene = Scene::new();
        for (segment, ip) in segments.into_iter().zip(["10.0.0.5", "10.0.1.5"]) {
            let flow = scene.flow_in(segment, Transport::Tcp, (ip, 40_000, 5), SERVER);
            scene.tell(&flow, FlowFact::Attempt(Opening::Syn));
        }
        assert_eq!(scene.inventory.vms().count(), vms, "{segments:?}");
        assert_eq!(scene.inventory.vms().map(|vm| vm.nics.len()).sum::<usize>(), 2);
    }
}

#[test]
fn hosts_behind_a_router_are_known_by_address() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.1", 1, asks());
    for ip in ["10.0.1.5", "10.0.2.7", "10.0.1.6", "10.0.1.5"] {
        speaks(&mut scene, ip, 1);
    }
    let router = scene.inventory.vm(scene.vm("10.0.0.1")).unwrap();
    assert!(router.router);
    assert_eq!(router.ips().count(), 1);
    assert_eq!(scene.inventory.vms().count(), 5, "the router, three hosts behind it, the server");
    assert_ne!(scene.vm("10.0.1.5"), scene.vm("10.0.1.6"));
}

#[test]
fn when_a_mac_turns_out_to_be_a_routers_the_hosts_behind_it_part_and_it_keeps_its_id() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.1", 1, asks());
    let id = scene.vm("10.0.0.1");
    let web = scene.handshake(SERVER_CLIENT, ("10.0.0.77", 443, 1));
    scene.end(&web, 5, 5);
    assert_eq!(scene.vm("10.0.0.77"), id, "so far it may be a second address of the same host");
    scene.told();
    speaks(&mut scene, "10.0.2.7", 1);
    let told = scene.told();
    for expected in [
        "vm-changed: forwards for other hosts with the MAC 52:54:00:00:00:01",
        "service-retracted 443",
        "service-new 443 level 3",
    ] {
        assert!(told.iter().any(|t| t == expected), "{expected} in {told:?}");
    }
    let behind = scene.vm("10.0.0.77");
    assert_ne!(behind, id);
    assert_eq!(scene.vm("10.0.0.1"), id);
    assert_eq!(scene.row("10.0.0.77 tcp/443").key.vm, behind);
    assert!(scene.inventory.peers().any(|edge| edge.service.vm == behind && edge.flows == 1));
    assert!(scene.inventory.peers().all(|edge| edge.service.vm != id));
}

const SERVER_CLIENT: End = ("10.0.0.8", 40_000, 8);

#[test]
fn a_router_advertisement_or_a_vrrp_mac_says_router_at_once() {
    let mut scene = Scene::new();
    scene.claim("fe80::1", 1, ClaimKind::Routes);
    speaks(&mut scene, "10.0.0.5", 1);
    speaks(&mut scene, "10.0.0.6", 1);
    assert_ne!(scene.vm("10.0.0.5"), scene.vm("10.0.0.6"));
    assert!(scene.inventory.vm(scene.vm("fe80::1")).unwrap().router);
}

#[test]
fn a_relayed_copy_of_a_known_hosts_packet_is_that_host() {
    // A mirror of both sides of a router shows each packet twice, the second time with the router's MAC.
    let mut scene = Scene::new();
    speaks(&mut scene, "10.0.0.5", 5);
    speaks(&mut scene, "10.0.0.5", 1);
    assert_eq!(scene.inventory.vms().count(), 2);
    assert!(scene.count("inventory.address.relayed") > 0);
}

#[test]
fn an_address_that_another_mac_uses_later_belongs_to_another_vm() {
    let mut scene = Scene::new();
    speaks(&mut scene, "10.0.0.5", 5);
    let old = scene.vm("10.0.0.5");
    scene.now_s += 3_600;
    speaks(&mut scene, "10.0.0.5", 6);
    let new = scene.vm("10.0.0.5");
    assert_ne!(old, new);
    assert_eq!(scene.inventory.vm(old).unwrap().ips().count(), 0);
    assert_eq!(scene.inventory.resolve(old), old, "it is archived, not merged");
}

#[test]
fn an_announced_takeover_needs_no_silence() {
    let mut scene = Scene::new();
    speaks(&mut scene, "10.0.0.5", 5);
    let old = scene.vm("10.0.0.5");
    scene.claim("10.0.0.5", 6, ClaimKind::Announces);
    assert_ne!(scene.vm("10.0.0.5"), old);
    // The old owner still is who it is: its MAC says so.
    scene.told();
    speaks(&mut scene, "10.0.0.5", 5);
    assert!(scene.told().iter().all(|t| !t.starts_with("vm-")), "no flapping is told");
}

#[test]
fn without_macs_a_vm_is_its_segment_and_address() {
    let mut scene = Scene::everywhere();
    scene.handshake(("192.0.2.1", 40_000, 0), ("192.0.2.2", 80, 0));
    scene.send(("192.0.2.1", 40_001, 0), ("192.0.2.3", 9, 0));
    assert_eq!(scene.inventory.vms().count(), 2, "192.0.2.3 never sent anything");
    assert_eq!(scene.rows(), ["192.0.2.2 tcp/80"]);
}

#[test]
fn a_tie_unites_what_was_known_by_address_with_its_mac_and_the_elder_id_stays() {
    let mut scene = Scene::new();
    scene.handshake(SERVER_CLIENT, ("10.0.0.5", 80, 0));
    let elder = scene.vm("10.0.0.5");
    scene.now_s += 10;
    speaks(&mut scene, "10.0.0.6", 5);
    let younger = scene.vm("10.0.0.6");
    scene.told();
    scene.claim("10.0.0.5", 5, ClaimKind::Answers);
    assert_eq!(scene.told(), ["merged"]);
    assert_eq!((scene.vm("10.0.0.5"), scene.vm("10.0.0.6")), (elder, elder));
    assert_eq!(scene.inventory.resolve(younger), elder);
    assert_eq!(scene.inventory.find(&younger.to_string()), [elder]);
    assert!(scene.inventory.vm(younger).unwrap().macs().eq(station(5)));
    assert!(scene.inventory.peers().all(|edge| edge.client != super::super::Client::Vm(younger)));
}

#[test]
fn a_claim_to_an_address_that_a_router_forwards_for_merges_nothing() {
    // ARP spoofing of a routed host must not make the attacker one with its victim.
    let mut scene = Scene::new();
    scene.claim("fe80::1", 1, ClaimKind::Routes);
    speaks(&mut scene, "10.0.2.7", 1);
    speaks(&mut scene, "10.0.0.66", 66);
    let (victim, attacker) = (scene.vm("10.0.2.7"), scene.vm("10.0.0.66"));
    scene.claim("10.0.2.7", 66, ClaimKind::Announces);
    assert_eq!((scene.vm("10.0.2.7"), scene.vm("10.0.0.66")), (victim, attacker));
    assert_eq!(scene.count("inventory.vm.merge_refused"), 1);
}

#[test]
fn a_tied_public_address_is_home_and_one_behind_a_router_is_not() {
    let mut scene = Scene::new();
    scene.claim("203.0.113.5", 5, asks());
    scene.claim("10.0.0.1", 1, asks());
    speaks(&mut scene, "198.51.100.1", 1);
    speaks(&mut scene, "198.51.200.2", 1);
    assert_eq!(scene.inventory.find("203.0.113.5").len(), 1);
    assert!(scene.inventory.find("198.51.100.1").is_empty());
    assert!(scene.inventory.vm(scene.vm("10.0.0.1")).unwrap().router);
}

#[test]
fn under_a_list_of_networks_a_tie_makes_nothing_home() {
    let config = InventoryConfig { home: "10.0.0.0/8".parse().unwrap(), ..InventoryConfig::default() };
    let mut scene = Scene::with(config);
    scene.claim("203.0.113.5", 5, asks());
    assert_eq!(scene.inventory.vms().count(), 0);
}

#[test]
fn a_lease_names_a_vm_and_an_inventory_renames_it() {
    let mut scene = Scene::new();
    let server = "10.0.0.1".parse().unwrap();
    scene.claim("10.0.0.5", 5, ClaimKind::Leased { server, name: Some("web-03".to_owned()), client_id: None });
    let id = scene.vm("10.0.0.5");
    assert_eq!(scene.inventory.label(id), "web-03");
    let named = scene.import("v.csv", "name,macs,tags,sanctioned\nfront,52:54:00:00:00:05,pci,tcp/80\n");
    assert_eq!(named, [id]);
    assert_eq!(
        (scene.inventory.label(id).as_str(), scene.inventory.find("FRONT"), scene.inventory.find("web-03")),
        ("front", vec![id], vec![id])
    );
}

#[test]
fn a_declared_vm_is_unseen_until_it_sends_and_is_then_no_new_vm() {
    let mut scene = Scene::new();
    let text = "uuid,name,macs,ips\nu-1,db1,52:54:00:00:00:05,\nu-2,db2,,10.0.0.6\nu-3,db3,,10.9.9.9\n";
    let ids = scene.import("v.csv", text);
    assert_eq!((scene.inventory.vms().count(), scene.inventory.unseen().count()), (0, 3));
    scene.told();
    scene.send(("10.0.0.5", 40_000, 5), ("10.0.0.9", 9, 0));
    scene.send(("10.0.0.6", 40_000, 6), ("10.0.0.9", 9, 0));
    scene.claim("10.0.0.6", 6, asks());
    let told = scene.told();
    assert_eq!(told.iter().filter(|t| *t == "vm-new").count(), 1, "{told:?}");
    assert_eq!(scene.vm("10.0.0.5"), ids[0]);
    assert_eq!(scene.inventory.unseen().map(|vm| vm.label()).collect::<Vec<_>>(), ["db3"]);
}

#[test]
fn two_vms_that_an_inventory_calls_one_become_one() {
    let mut scene = Scene::new();
    speaks(&mut scene, "10.0.0.5", 5);
    let elder = scene.vm("10.0.0.5");
    scene.now_s += 1;
    scene.handshake(SERVER_CLIENT, ("10.1.0.5", 22, 6));
    scene.import("v.csv", "name,macs\ndb1,52:54:00:00:00:06 52:54:00:00:00:05\n");
    assert_eq!(scene.vm("10.1.0.5"), elder);
    assert_eq!(scene.row("10.1.0.5 tcp/22").key.vm, elder);
    assert_eq!(scene.inventory.vm(elder).unwrap().nics.len(), 2);
}

#[test]
fn a_flood_of_spoofed_senders_leaves_room_for_vms() {
    let config = InventoryConfig { vms_max: 50, ..InventoryConfig::default() };
    let mut scene = Scene::with(config);
    speaks(&mut scene, "10.0.0.5", 5);
    scene.claim("10.0.0.5", 5, asks());
    let ips: Vec<&'static str> = (0..200u8).map(|i| &*format!("10.7.{i}.1").leak()).collect();
    for ip in &ips {
        scene.send((ip, 1, 0), ("10.0.0.9", 9, 0));
    }
    assert_eq!(scene.inventory.vms().count(), 50);
    assert!(scene.count("inventory.vm.refused") > 0);
    scene.now_s += 700;
    scene.send(("10.0.0.77", 1, 77), ("10.0.0.9", 9, 0));
    assert_eq!(scene.inventory.find("10.0.0.77").len(), 1);
    assert_eq!(scene.inventory.find("10.0.0.5").len(), 1, "who was answered or tied is not forgotten");
}

#[test]
fn room_among_stations_is_no_room_among_vms() {
    let mut scene = Scene::with(InventoryConfig { vms_max: 2, ..InventoryConfig::default() });
    for (ip, mac) in [("10.0.0.5", 5), ("10.0.0.6", 6)] {
        speaks(&mut scene, ip, mac);
        scene.claim(ip, mac, asks());
    }
    // Four stations are the bound; these two are nobody's and may be forgotten.
    for (ip, mac) in [("198.51.100.1", 7), ("198.51.100.2", 8)] {
        scene.send((ip, 1, mac), ("10.0.0.5", 9, 0));
    }
    scene.now_s += 700;
    scene.send(("10.0.0.77", 1, 77), ("10.0.0.5", 9, 0));
    assert_eq!(scene.inventory.vms().count(), 2);
    assert!(scene.count("inventory.vm.refused") > 0);
}

#[test]
fn find_takes_ids_prefixes_names_addresses_and_macs() {
    let mut scene = Scene::new();
    speaks(&mut scene, "10.0.0.5", 5);
    let id = scene.vm("10.0.0.5");
    let text = id.to_string();
    for query in [&text, &text[..8], "10.0.0.5", "52:54:00:00:00:05", " 5254.0000.0005 "] {
        assert_eq!(scene.inventory.find(query), [id], "{query}");
    }
    for query in ["vm-", "", "10.0.0.6", "52:54:00:00:00:06", "web"] {
        assert!(scene.inventory.find(query).is_empty(), "{query}");
    }
}
