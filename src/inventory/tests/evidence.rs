//! Evidence of who is who besides MAC and address: client ids, keys, adverts, logons; and NAT, which has all of it twice.

use std::net::IpAddr;

use super::super::scene::{End, Scene, station};
use super::super::{Inventory, InventoryConfig, NameSource};
use crate::model::{
    AdvertBy, AppInfo, ClaimKind, Fact, FlowFact, HeardName, LinkAdvert, Location, NameBy, Opening, PathKind, Segment,
    Side, Transport, VmId,
};
use crate::store::{Batch, MemoryStore, Store};

const CLIENT: End = ("10.0.0.8", 40_000, 8);

fn lease(name: Option<&str>, id: &str) -> ClaimKind {
    let server = "10.0.0.1".parse().unwrap();
    ClaimKind::Leased { server, name: name.map(str::to_owned), client_id: Some(id.to_owned()) }
}

fn asks() -> ClaimKind {
    ClaimKind::Asks { target: "10.0.0.254".parse().unwrap() }
}

fn vm_news(scene: &mut Scene) -> Vec<String> {
    let mut told = scene.told();
    told.retain(|text| text.starts_with("vm-") || text == "merged");
    told
}

fn of_mac(scene: &Scene, mac: u8) -> VmId {
    scene.vm(&station(mac).unwrap().to_string())
}

fn reloaded(scene: &mut Scene) {
    let (mut batch, mut store) = (Batch::default(), MemoryStore::default());
    scene.inventory.save_all(&mut batch);
    store.apply(&batch).unwrap();
    scene.inventory = Inventory::load(&store, InventoryConfig::default()).unwrap();
}

#[test]
fn a_vm_whose_interface_is_exchanged_stays_by_its_client_id_and_no_new_vm_is_told() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, lease(Some("web-03"), "duid:1"));
    scene.handshake(CLIENT, ("10.0.0.5", 80, 5));
    let id = scene.vm("10.0.0.5");
    scene.now_s += 100;
    reloaded(&mut scene);
    scene.told();
    scene.claim("10.0.0.5", 6, lease(Some("web-03"), "duid:1"));
    assert_eq!(scene.vm("10.0.0.5"), id);
    assert_eq!(of_mac(&scene, 6), id);
    let told = vm_news(&mut scene);
    assert!(told.iter().all(|text| text.starts_with("vm-changed")), "{told:?}");
    assert!(told.iter().any(|text| text.ends_with("by its DHCP client id")), "{told:?}");
    assert_eq!(scene.inventory.services_of(id).count(), 1, "its service is its own still");
}

#[test]
fn what_the_new_interface_said_before_its_lease_is_of_the_same_vm() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, lease(Some("web-03"), "duid:1"));
    let id = scene.vm("10.0.0.5");
    scene.now_s += 100;
    scene.claim("fe80::6", 6, asks());
    assert_ne!(of_mac(&scene, 6), id);
    scene.now_s += 3;
    scene.claim("10.0.0.5", 6, lease(Some("web-03"), "duid:1"));
    assert_eq!((of_mac(&scene, 6), scene.vm("10.0.0.5"), scene.vm("fe80::6")), (id, id, id));
}

#[test]
fn clones_that_live_at_once_with_one_client_id_stay_two_for_ever() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, lease(Some("web"), "duid:1"));
    scene.now_s += 10;
    scene.claim("10.0.0.6", 6, lease(Some("web"), "duid:1"));
    let (a, b) = (scene.vm("10.0.0.5"), scene.vm("10.0.0.6"));
    assert_ne!(a, b);
    let told = vm_news(&mut scene);
    assert!(told.iter().any(|text| text.contains("has the DHCP client id of web too")), "{told:?}");
    // Neither silence nor the same address makes them one later.
    scene.now_s += 7_200;
    scene.claim("10.0.0.6", 7, lease(Some("web"), "duid:1"));
    assert_ne!(of_mac(&scene, 7), b);
    assert_eq!((scene.inventory.vms().count(), scene.count("inventory.client_id.shared")), (3, 1));
}

#[test]
fn a_clone_whose_original_comes_back_is_parted_from_it() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, lease(Some("web"), "duid:1"));
    let original = scene.vm("10.0.0.5");
    scene.now_s += 100;
    scene.claim("10.0.0.5", 6, lease(Some("web"), "duid:1"));
    assert_eq!(of_mac(&scene, 6), original, "it may as well be its new interface");
    scene.now_s += 20;
    scene.told();
    scene.claim("10.0.0.7", 5, lease(Some("web"), "duid:1"));
    let told = vm_news(&mut scene);
    assert!(told.contains(&"vm-new".to_owned()), "{told:?}");
    assert_eq!(scene.vm("10.0.0.7"), original);
    let clone = of_mac(&scene, 6);
    assert_ne!(clone, original);
    assert_eq!(scene.vm("10.0.0.5"), clone);
    assert!(scene.inventory.vm(original).unwrap().macs().eq(station(5)));
}

#[test]
fn another_host_name_a_machine_that_was_there_and_another_tenant_take_nothing_over() {
    let original = |scene: &mut Scene| {
        scene.claim_in("vxlan:1", "10.0.0.5", 5, lease(Some("web"), "duid:1"));
        scene.vm("10.0.0.5")
    };
    let mut renamed = Scene::new();
    let id = original(&mut renamed);
    renamed.now_s += 7_200;
    renamed.claim_in("vxlan:1", "10.0.0.5", 6, lease(Some("db"), "duid:1"));
    assert_ne!(of_mac(&renamed, 6), id);

    let mut old = Scene::new();
    let id = original(&mut old);
    old.claim_in("vxlan:1", "10.0.0.66", 66, asks());
    old.now_s += 7_200;
    old.claim_in("vxlan:1", "10.0.0.5", 66, lease(Some("web"), "duid:1"));
    assert_ne!(of_mac(&old, 66), id, "it borrows the id");

    let mut tenant = Scene::new();
    let id = original(&mut tenant);
    tenant.now_s += 7_200;
    tenant.claim_in("vxlan:2", "10.0.0.5", 6, lease(Some("web"), "duid:1"));
    assert_ne!(of_mac(&tenant, 6), id);
}

#[test]
fn another_address_needs_the_same_name_and_a_long_silence() {
    for (name, silent_s, same) in [(Some("web"), 700, true), (Some("web"), 100, false), (None, 7_200, false)] {
        let mut scene = Scene::new();
        scene.claim("10.0.0.5", 5, lease(name, "duid:1"));
        let id = scene.vm("10.0.0.5");
        scene.now_s += silent_s;
        scene.claim("10.0.0.105", 6, lease(name, "duid:1"));
        assert_eq!(scene.vm("10.0.0.105") == id, same, "{name:?} {silent_s}");
    }
}

#[test]
fn client_ids_are_bounded() {
    let mut scene = Scene::with(InventoryConfig { vms_max: 4, ..InventoryConfig::default() });
    for i in 0..50 {
        scene.now_s += 1;
        scene.claim("10.0.0.5", 5, lease(None, &format!("id:{i}")));
    }
    assert_eq!((scene.count("inventory.client_ids"), scene.count("inventory.client_id.refused")), (8, 42));
}

/// A server that shows this key, seen with this MAC (0: none).
fn shows(scene: &mut Scene, ip: &'static str, mac: u8, detail: &[(&'static str, &str)]) {
    let proto = if detail[0].0 == "host_key" { "ssh" } else { "tls" };
    let flow = scene.handshake(("192.168.9.9", 40_000, 0), (ip, 22, mac));
    scene.tell(&flow, FlowFact::ServerData);
    let mut app = AppInfo::new(proto, Some(Side::Resp));
    for (name, value) in detail {
        app.detail(name, value);
    }
    scene.tell(&flow, FlowFact::App(Box::new(app)));
}

const SSH: &[(&str, &str)] = &[("host_key", "SHA256:abc")];
const SELF_SIGNED: &[(&str, &str)] = &[("fingerprint", "3f"), ("self_signed", "yes")];
const BOUGHT: &[(&str, &str)] = &[("fingerprint", "3f"), ("self_signed", "no")];

#[test]
fn without_macs_a_servers_own_key_carries_it_to_its_next_address_and_over_a_restart() {
    for (key, follows) in [(SSH, true), (SELF_SIGNED, true), (BOUGHT, false)] {
        let mut scene = Scene::new();
        shows(&mut scene, "10.0.0.5", 0, key);
        let id = scene.vm("10.0.0.5");
        scene.now_s += 300;
        reloaded(&mut scene);
        scene.told();
        shows(&mut scene, "10.0.0.105", 0, key);
        assert_eq!(scene.vm("10.0.0.105") == id, follows, "{key:?}");
        if follows {
            let told = vm_news(&mut scene);
            assert!(told.iter().any(|text| text.contains("10.0.0.105 now, where it was at 10.0.0.5")), "{told:?}");
            // The address is free for another.
            scene.now_s += 300;
            shows(&mut scene, "10.0.0.5", 0, &[("host_key", "SHA256:def")]);
            assert_ne!(scene.vm("10.0.0.5"), id);
        }
    }
}

#[test]
fn a_key_at_two_addresses_at_once_or_with_macs_makes_nobody_one() {
    for mac in [0, 6] {
        let mut scene = Scene::new();
        shows(&mut scene, "10.0.0.5", mac, SSH);
        if mac == 0 {
            for ip in ["10.0.0.6", "10.0.0.5", "10.0.0.6"] {
                scene.now_s += 20;
                shows(&mut scene, ip, 0, SSH);
            }
            assert_eq!(scene.count("inventory.key.shared"), 1);
        }
        scene.now_s += 7_200;
        shows(&mut scene, "10.0.0.7", if mac == 0 { 0 } else { 7 }, SSH);
        let all = ["10.0.0.5", "10.0.0.7"].map(|ip| scene.vm(ip));
        assert_ne!(all[0], all[1], "{mac}");
    }
}

#[test]
fn an_address_that_changes_within_seconds_is_followed_once_the_old_one_is_silent() {
    let mut scene = Scene::new();
    shows(&mut scene, "10.0.0.5", 0, SSH);
    let id = scene.vm("10.0.0.5");
    scene.now_s += 10;
    shows(&mut scene, "10.0.0.105", 0, SSH);
    assert_ne!(scene.vm("10.0.0.105"), id, "as yet it may be a second machine");
    scene.now_s += 100;
    shows(&mut scene, "10.0.0.105", 0, SSH);
    assert_eq!(scene.vm("10.0.0.105"), id);
    // Of two that may have it, neither is the third.
    let mut scene = Scene::new();
    for (ip, later_s) in [("10.0.0.5", 10), ("10.0.0.6", 7_200), ("10.0.0.7", 0)] {
        shows(&mut scene, ip, 0, SSH);
        scene.now_s += later_s;
    }
    assert_eq!(scene.inventory.vms().count(), 4, "three servers and their client");
}

#[test]
fn keys_hold_identity_in_churn_without_macs_arp_or_dhcp() {
    let mut scene = Scene::new();
    let mut random = 7u64;
    let mut pick = move |n: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % n
    };
    let mut free: Vec<&'static str> = (0..150).map(|n| &*format!("10.0.1.{n}").leak()).collect();
    let mut machines: Vec<(&'static str, String, Option<VmId>)> =
        (0..60).map(|n| (free.remove(0), format!("SHA256:{n}"), None)).collect();
    let (mut asked, mut held) = (0, 0);
    for _ in 0..300 {
        scene.now_s += 200;
        // One gets another address, as a server of addresses hands them out: the longest free one.
        let at = pick(machines.len());
        let old = std::mem::replace(&mut machines[at].0, free.remove(0));
        free.push(old);
        for speaker in [at, pick(60), pick(60), pick(60), pick(60), pick(60)] {
            let (ip, key, id) = &mut machines[speaker];
            shows(&mut scene, ip, 0, &[("host_key", key)]);
            let now = scene.inventory.holder(Segment::UNTAGGED, ip.parse().unwrap());
            asked += 1;
            if id.is_none() || *id == now {
                held += 1;
                *id = now;
            }
        }
    }
    assert!(held * 100 >= asked * 95, "{held} of {asked}");
}

fn advert(mac: u8, by: AdvertBy, system: &str, address: Option<&str>, here: Option<Location>) -> Fact {
    Fact::Advert(Box::new(LinkAdvert {
        by,
        segment: Segment::UNTAGGED,
        mac: station(mac).unwrap(),
        location: here,
        system: system.to_owned(),
        chassis: "chassis".to_owned(),
        port: "vmnic2".to_owned(),
        port_description: String::new(),
        address: address.map(|ip| ip.parse().unwrap()),
        goodbye: false,
    }))
}

#[test]
fn an_advert_names_the_vm_whose_interface_sent_it_below_a_lease_and_makes_none() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, asks());
    let id = scene.vm("10.0.0.5");
    scene.fact(advert(5, AdvertBy::Cdp, "sw", None, None));
    scene.fact(advert(5, AdvertBy::Lldp, "kvm-5", None, None));
    scene.fact(advert(9, AdvertBy::Lldp, "stranger", None, None));
    assert_eq!((scene.inventory.label(id).as_str(), scene.inventory.vms().count()), ("kvm-5", 1));
    let sources: Vec<_> = scene.inventory.vm(id).unwrap().names.iter().map(|name| name.source).collect();
    assert_eq!(sources, [NameSource::Cdp, NameSource::Lldp]);
    scene.claim("10.0.0.5", 5, lease(Some("web-03"), "duid:1"));
    assert_eq!(scene.inventory.label(id), "web-03");
    let vm = scene.inventory.vm(id).unwrap();
    assert_eq!(scene.inventory.introduces(vm).iter().map(|said| said.by).collect::<Vec<_>>(), [AdvertBy::Lldp]);
}

/// A VM that a host at 10.9.9.1 mirrors.
fn hosted() -> (Scene, VmId, Location) {
    let mut scene = Scene::new();
    let host: IpAddr = "10.9.9.1".parse().unwrap();
    let mut flow = scene.flow(Transport::Udp, ("10.0.0.5", 40_000, 5), ("10.0.0.9", 9, 0));
    flow.orig.host_hint = Some(host);
    scene.tell(&flow, FlowFact::Attempt(Opening::Datagram));
    let id = scene.vm("10.0.0.5");
    (scene, id, Location { host: Some(host), kind: PathKind::Erspan, id: 7, port: 0, interface: None })
}

#[test]
fn a_host_is_named_by_who_has_its_address_and_by_no_vm_and_not_where_two_disagree() {
    let (mut scene, id, here) = hosted();
    let named = |scene: &Scene| {
        let vm = scene.inventory.vm(id).unwrap();
        scene.inventory.host_name(vm).map(|said| said.system.clone())
    };
    scene.fact(advert(30, AdvertBy::Cdp, "sw1", Some("10.9.9.254"), Some(here)));
    assert_eq!(named(&scene), None, "a switch at the other end of the uplink is no host");
    scene.claim("10.0.0.66", 66, asks());
    scene.fact(advert(66, AdvertBy::Lldp, "liar", Some("10.9.9.1"), Some(here)));
    assert_eq!(named(&scene), None, "a VM cannot say who its host is");
    scene.fact(advert(31, AdvertBy::Lldp, "esx-07", Some("10.9.9.1"), Some(here)));
    assert_eq!(named(&scene).as_deref(), Some("esx-07"));
    reloaded(&mut scene);
    assert_eq!(named(&scene).as_deref(), Some("esx-07"));
    scene.fact(advert(32, AdvertBy::Lldp, "esx-08", Some("10.9.9.1"), Some(here)));
    assert_eq!(named(&scene), None);
    let Fact::Advert(mut goes) = advert(32, AdvertBy::Lldp, "esx-08", Some("10.9.9.1"), Some(here)) else { return };
    goes.goodbye = true;
    scene.fact(Fact::Advert(goes));
    assert_eq!(named(&scene).as_deref(), Some("esx-07"));
}

#[test]
fn adverts_are_bounded_and_the_long_silent_make_room() {
    let mut scene = Scene::new();
    let flood = |scene: &mut Scene, from: u32, many: u32| {
        for i in from..from + many {
            let Fact::Advert(mut said) = advert(1, AdvertBy::Lldp, "x", None, None) else { return };
            let [_, _, c, d] = i.to_be_bytes();
            said.mac.0 = [2, 0, 0, 0, c, d];
            scene.fact(Fact::Advert(said));
        }
    };
    flood(&mut scene, 0, 5_000);
    assert_eq!((scene.count("inventory.adverts"), scene.count("inventory.advert.refused")), (4_096, 904));
    scene.now_s += 4_000;
    flood(&mut scene, 5_000, 10);
    assert_eq!((scene.count("inventory.adverts"), scene.count("inventory.advert.forgotten")), (10, 4_096));
}

fn logs_on(scene: &mut Scene, ip: &str, name: &str) {
    let heard = HeardName { ip: ip.parse().unwrap(), by: NameBy::Ntlm, name: name.to_owned() };
    scene.fact(Fact::Name(Segment::UNTAGGED, Box::new(heard)));
}

#[test]
fn a_workstation_is_named_by_its_logons_below_all_but_llmnr() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.5", 5, asks());
    let id = scene.vm("10.0.0.5");
    logs_on(&mut scene, "10.0.0.5", "WS-17");
    assert_eq!(scene.inventory.label(id), "WS-17");
    scene.claim("10.0.0.5", 5, lease(Some("ws-17.lan"), "duid:1"));
    assert_eq!(scene.inventory.label(id), "ws-17.lan");
}

#[test]
fn who_logs_on_by_many_names_is_named_by_the_first_and_a_router_by_none() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.20", 20, asks());
    for name in ["WS-1", "WS-2", "ws-1", "WS-3"] {
        scene.now_s += 100;
        logs_on(&mut scene, "10.0.0.20", name);
    }
    let nat = scene.inventory.vm(scene.vm("10.0.0.20")).unwrap();
    assert_eq!(nat.names.iter().filter(|name| !name.text.eq_ignore_ascii_case("WS-1")).count(), 0, "{:?}", nat.names);
    assert!(scene.count("inventory.name.refused") >= 2);
    scene.claim("fe80::1", 1, ClaimKind::Routes);
    scene.claim("10.0.0.1", 1, asks());
    logs_on(&mut scene, "10.0.0.1", "WS-9");
    assert!(scene.inventory.vm(scene.vm("10.0.0.1")).unwrap().names.is_empty());
}

/// Guests behind a NAT speak inside as themselves and outside as it; each packet is seen on both sides.
fn nat(scene: &mut Scene, (inside_mac, outside_mac): (u8, u8), (inside, outside): (&str, &str)) {
    scene.claim_in(outside, "10.0.0.20", outside_mac, asks());
    scene.claim_in(inside, "192.168.5.1", inside_mac, asks());
    for round in 0..20 {
        for (guest, mac) in [("192.168.5.11", 11), ("192.168.5.12", 12), ("192.168.5.13", 13)] {
            scene.now_s += 5;
            let server: End = ("10.0.0.99", 443, 99);
            // To its gateway's MAC inside, and from there on with the NAT's own address and MAC.
            let flow = scene.flow_in(inside, Transport::Tcp, (guest, 40_000 + round, mac), server);
            scene.tell(&flow, FlowFact::Attempt(Opening::Syn));
            scene.answered(flow, (server.0, server.1, inside_mac));
            let flow = scene.flow_in(outside, Transport::Tcp, ("10.0.0.20", 50_000 + round, outside_mac), server);
            scene.tell(&flow, FlowFact::Attempt(Opening::Syn));
            scene.answered(flow, server);
        }
    }
}

#[test]
fn a_nat_is_one_vm_outside_and_its_guests_stay_themselves() {
    for (macs, segments) in
        [((21, 20), ("vlan:5", "-")), ((20, 20), ("vlan:5", "vlan:10")), ((20, 20), ("vxlan:5", "vxlan:10"))]
    {
        let mut scene = Scene::new();
        nat(&mut scene, macs, segments);
        let told = vm_news(&mut scene);
        assert!(!told.contains(&"merged".to_owned()), "{macs:?} {segments:?}: {told:?}");
        let guests = ["192.168.5.11", "192.168.5.12", "192.168.5.13"].map(|ip| scene.vm(ip));
        let outside = scene.vm("10.0.0.20");
        for (at, guest) in guests.iter().enumerate() {
            assert!(guests[at + 1..].iter().all(|other| other != guest) && *guest != outside);
            let vm = scene.inventory.vm(*guest).unwrap();
            assert!(vm.macs().eq(station(11 + at as u8)), "{macs:?} {segments:?}");
            assert_eq!(vm.ips().count(), 1);
        }
        // Once it is known, no packet makes an address change hands.
        nat(&mut scene, macs, segments);
        assert_eq!(vm_news(&mut scene), [""; 0], "{macs:?} {segments:?}");
        assert_eq!(scene.vm("10.0.0.20"), outside);
    }
}

#[test]
fn an_address_says_by_whose_word_and_since_when_whatever_came_first() {
    let mut scene = Scene::new();
    scene.send(("10.0.0.5", 1, 5), ("10.0.0.9", 9, 0));
    scene.now_s += 5;
    scene.claim("10.0.0.5", 5, lease(Some("web"), "duid:1"));
    scene.claim("fe80::5054:ff:fe00:5", 5, asks());
    let vm = scene.inventory.vm(scene.vm("10.0.0.5")).unwrap();
    let bindings = scene.inventory.bindings(vm);
    let shown: Vec<_> = bindings.iter().map(|b| (b.source.trust(), b.last_seen == scene.time())).collect();
    assert_eq!(shown, [(8, true), (6, true)]);
    let heard = scene.inventory.heard(vm.id, &vm.names[0]).unwrap();
    assert_eq!((heard.first, heard.last), (scene.time(), scene.time()));
}
