//! Who is who while addresses change hands: leases, clones, clusters, teams, containers, and a long mixed script.

use std::net::IpAddr;

use super::super::scene::{End, Scene, station};
use crate::model::{ClaimKind, ServiceKey, Transport, VmId};

const CLIENT: End = ("10.0.0.8", 40_000, 8);

fn lease(name: &str) -> ClaimKind {
    ClaimKind::Leased { server: "10.0.0.1".parse().unwrap(), name: Some(name.to_owned()), client_id: None }
}

fn asks() -> ClaimKind {
    ClaimKind::Asks { target: "10.0.0.254".parse().unwrap() }
}

fn tcp(vm: VmId, port: u16) -> ServiceKey {
    ServiceKey { vm, transport: Transport::Tcp, port }
}

fn vm_news(scene: &mut Scene) -> Vec<String> {
    let mut told = scene.told();
    told.retain(|text| text.starts_with("vm-") || text == "merged");
    told
}

#[test]
fn another_lease_of_the_same_client_is_the_same_vm() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, lease("web-03"));
    let id = scene.vm("10.0.0.5");
    scene.now_s += 3_600;
    scene.claim("10.0.0.105", 5, lease("web-03"));
    assert_eq!(scene.vm("10.0.0.105"), id);
    assert_eq!(scene.inventory.vms().count(), 1);
}

#[test]
fn an_address_that_dhcp_gives_to_another_takes_no_service_along() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, lease("web-03"));
    let flow = scene.handshake(CLIENT, ("10.0.0.5", 80, 5));
    scene.app(&flow, "http", Some(crate::model::Side::Resp));
    let old = scene.vm("10.0.0.5");
    scene.now_s += 3_600;
    scene.claim("10.0.0.5", 6, lease("db-01"));
    let new = scene.vm("10.0.0.5");
    assert_ne!(old, new);
    assert_eq!(scene.inventory.services_of(new).count(), 0);
    scene.told();
    let flow = scene.handshake(CLIENT, ("10.0.0.5", 80, 6));
    scene.app(&flow, "ssh", Some(crate::model::Side::Resp));
    let told = scene.told();
    assert!(told.iter().any(|text| text == "service-new 80 level 3"), "{told:?}");
    assert!(!scene.inventory.taken_over(&tcp(new, 80)), "it is no cluster's address");
}

#[test]
fn a_clone_with_its_own_mac_is_another_vm_of_the_same_name() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, lease("web"));
    scene.claim("10.0.0.6", 6, lease("web"));
    assert_ne!(scene.vm("10.0.0.5"), scene.vm("10.0.0.6"));
    assert_eq!(scene.inventory.find("web").len(), 2);
}

#[test]
fn a_snapshot_that_is_reverted_is_the_same_vm_by_its_old_address() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, lease("web"));
    let id = scene.vm("10.0.0.5");
    scene.now_s += 3_600;
    scene.claim("10.0.0.105", 5, lease("web"));
    scene.now_s += 3_600;
    scene.told();
    scene.claim("10.0.0.5", 5, lease("web"));
    assert_eq!((scene.vm("10.0.0.5"), vm_news(&mut scene)), (id, vec![]));
}

/// Two members with an address of their own, and a third that goes to and fro between them.
fn cluster(announce: impl Fn(&mut Scene, u8)) -> (Scene, [VmId; 2]) {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, asks());
    scene.claim("10.0.0.6", 6, asks());
    announce(&mut scene, 5);
    scene.handshake(CLIENT, ("10.0.0.50", 80, 5));
    let members = [scene.vm("10.0.0.5"), scene.vm("10.0.0.6")];
    (scene, members)
}

#[test]
fn an_announced_address_goes_to_and_fro_and_only_its_first_coming_is_told() {
    let announce = |scene: &mut Scene, mac| scene.claim("10.0.0.50", mac, ClaimKind::Announces);
    let (mut scene, [a, b]) = cluster(announce);
    scene.told();
    for round in 0..6 {
        scene.now_s += 30;
        let (mac, now) = if round % 2 == 0 { (6, b) } else { (5, a) };
        announce(&mut scene, mac);
        scene.handshake(CLIENT, ("10.0.0.50", 80, mac));
        assert_eq!(scene.vm("10.0.0.50"), now, "round {round}");
        assert!(scene.inventory.taken_over(&tcp(now, 80)), "round {round}");
    }
    assert_eq!(vm_news(&mut scene), ["vm-changed: has the address 10.0.0.50"]);
    assert_eq!(scene.inventory.vms().count(), 3, "two members and the client: no merge");
}

#[test]
fn who_takes_a_vms_only_address_takes_no_service_over() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, asks());
    scene.handshake(CLIENT, ("10.0.0.5", 80, 5));
    scene.claim("10.0.0.66", 66, asks());
    scene.claim("10.0.0.5", 66, ClaimKind::Announces);
    scene.handshake(CLIENT, ("10.0.0.5", 80, 66));
    assert!(!scene.inventory.taken_over(&tcp(scene.vm("10.0.0.66"), 80)));
}

#[test]
fn an_address_with_a_virtual_mac_is_one_party_whoever_is_master() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, asks());
    scene.claim("10.0.0.6", 6, asks());
    for mac in ["00:00:5e:00:01:0a", "00:00:0c:07:ac:01", "00:00:0c:9f:f0:01"] {
        let claim = crate::model::Claim {
            segment: Default::default(),
            mac: mac.parse().unwrap(),
            ip: Some("10.0.0.254".parse().unwrap()),
            kind: ClaimKind::Announces,
            host_hint: None,
            path: Default::default(),
            echo: false,
        };
        scene.fact(crate::model::Fact::Claim(claim.clone()));
        scene.told();
        scene.now_s += 100;
        scene.fact(crate::model::Fact::Claim(claim));
        assert_eq!(vm_news(&mut scene), [""; 0], "{mac}");
    }
}

#[test]
fn a_team_of_interfaces_that_takes_turns_with_one_address_becomes_one_vm() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, asks());
    let id = scene.vm("10.0.0.5");
    for _ in 0..6 {
        for mac in [6, 5] {
            scene.now_s += 5;
            scene.claim("10.0.0.5", mac, asks());
        }
    }
    assert_eq!((scene.vm("10.0.0.5"), scene.inventory.vms().count()), (id, 1));
    assert_eq!(scene.inventory.vm(id).unwrap().macs().count(), 2);
}

#[test]
fn a_vm_that_takes_turns_with_anothers_only_address_stays_apart() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, asks());
    scene.claim("10.0.0.66", 66, asks());
    for _ in 0..6 {
        for mac in [66, 5] {
            scene.now_s += 5;
            scene.claim("10.0.0.5", mac, ClaimKind::Announces);
        }
    }
    assert_eq!(scene.inventory.vms().count(), 2);
    assert_ne!(scene.vm("10.0.0.5"), scene.vm("10.0.0.66"));
}

#[test]
fn containers_behind_one_mac_that_answers_for_them_are_one_host_of_many() {
    let mut scene = Scene::new();
    for n in 5..25u8 {
        let ip: &'static str = format!("10.0.0.{n}").leak();
        scene.claim(ip, 5, ClaimKind::Answers);
        scene.handshake((ip, 40_000, 5), ("10.0.0.99", 80, 99));
    }
    let vm = scene.inventory.vm(scene.vm("10.0.0.5")).unwrap();
    assert_eq!((vm.kind(), vm.ips().count()), ("host-of-many", 20));
    assert_eq!(scene.inventory.vms().count(), 2);
}

#[test]
fn a_binding_says_by_whose_word_it_is() {
    let mut scene = Scene::new();
    scene.send(("10.0.0.5", 1, 5), ("10.0.0.9", 9, 0));
    let sources = |scene: &Scene| {
        let vm = scene.inventory.vm(scene.vm("10.0.0.5")).unwrap();
        scene.inventory.bindings(vm).iter().map(|b| (b.ip.to_string(), b.source.trust())).collect::<Vec<_>>()
    };
    assert_eq!(sources(&scene), [("10.0.0.5".to_owned(), 2)]);
    scene.claim("10.0.0.5", 5, lease("web"));
    scene.claim("10.0.0.5", 5, asks());
    assert_eq!(sources(&scene), [("10.0.0.5".to_owned(), 8)], "ARP does not outrank the lease");
}

/// One VM of the script.
struct Machine {
    mac: u8,
    ip: IpAddr,
    id: Option<VmId>,
}

#[test]
fn identity_holds_in_500_events_of_churn_without_arp_or_dhcp() {
    let mut scene = Scene::new();
    let mut random = 42u64;
    let mut pick = move |n: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % n
    };
    let mut free: Vec<IpAddr> = (1..=150).map(|n| IpAddr::from([10, 0, 1, n])).collect();
    let mut next_mac = 1u8;
    let mut spawn = |free: &mut Vec<IpAddr>| {
        next_mac += 1;
        Machine { mac: next_mac, ip: free.remove(0), id: None }
    };
    let mut machines: Vec<Machine> = (0..60).map(|_| spawn(&mut free)).collect();
    let (mut asked, mut held) = (0, 0);
    for event in 0..500 {
        scene.now_s += 5;
        let at = pick(machines.len());
        match pick(10) {
            // Another address; a server that gives the longest free one first, or the latest.
            0..=3 => {
                let ip = if pick(4) == 0 { free.pop().unwrap() } else { free.remove(0) };
                let old = std::mem::replace(&mut machines[at].ip, ip);
                free.push(old);
            }
            // A clone, and a VM that goes: its address is free.
            4 if machines.len() < 100 && event < 400 => machines.push(spawn(&mut free)),
            5 if machines.len() > 40 => free.push(machines.swap_remove(at).ip),
            // Reverts, reboots and moves leave MAC and address.
            _ => {}
        }
        // Everyone speaks now and then, the one of the event at once; a mirror beyond the router shows some twice.
        let mut speakers: Vec<usize> = (0..5).map(|_| pick(machines.len())).collect();
        speakers.push(at.min(machines.len() - 1));
        for speaker in speakers {
            let machine = &mut machines[speaker];
            let ip: &'static str = machine.ip.to_string().leak();
            scene.handshake((ip, 40_000, machine.mac), ("10.0.2.9", 80, 250));
            if pick(3) == 0 {
                scene.handshake((ip, 40_000, 251), ("10.0.2.9", 80, 250));
            }
            let found = scene.inventory.find(&station(machine.mac).unwrap().to_string());
            let by_ip = scene.inventory.find(ip);
            asked += 1;
            if found.len() == 1 && by_ip == found && machine.id.is_none_or(|id| id == found[0]) {
                held += 1;
                machine.id = Some(found[0]);
            }
        }
    }
    assert!(held * 100 >= asked * 95, "{held} of {asked}");
}
