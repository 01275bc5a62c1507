//! Whatever is observed, in whatever order: the tables agree with each other, and a restart changes nothing.

use proptest::prelude::*;

use super::super::scene::{End, Scene, station};
use super::super::{Client, Imported, Inventory, InventoryConfig};
use crate::model::{
    AppInfo, AppProto, ClaimKind, Expectation, FlowEnd, FlowFact, FlowTotals, Opening, RefusedBy, Side, Transport,
};
use crate::store::MemoryStore;
use crate::store::{Batch, Store};

const IPS: [&str; 8] =
    ["10.0.0.1", "10.0.0.2", "10.0.1.3", "10.9.9.4", "198.51.100.5", "239.1.1.1", "fe80::6", "fd00::7"];
const PORTS: [u16; 5] = [21, 53, 137, 40_000, 40_001];
const SEGMENTS: [&str; 3] = ["-", "vlan:10", "vxlan:7"];

/// Small numbers that pick everything about one step.
type Step = (u8, u8, u8, u8, u8, u8, u8);

fn pick<T: Copy>(from: &[T], number: u8) -> T {
    from[usize::from(number) % from.len()]
}

fn act(scene: &mut Scene, (what, who, whom, ports, macs, kind, time): Step) {
    scene.now_s += u64::from(time) * u64::from(time % 7);
    let orig: End = (pick(&IPS, who), pick(&PORTS, ports), macs % 5);
    let resp: End = (pick(&IPS, whom), pick(&PORTS, ports / 16), macs / 16 % 5);
    let transport = pick(&[Transport::Tcp, Transport::Udp, Transport::Icmp], kind);
    let opening = match transport {
        Transport::Tcp => pick(&[Opening::Syn, Opening::SynAck, Opening::Midstream], kind / 4),
        _ => Opening::Datagram,
    };
    let (ip, mac) = (pick(&IPS, who), macs % 4 + 1);
    match what % 8 {
        0 => {
            let server = "10.0.0.1".parse().unwrap();
            let kinds = [
                ClaimKind::Answers,
                ClaimKind::Announces,
                ClaimKind::Routes,
                ClaimKind::Leased { server, name: Some(format!("host-{mac}")), client_id: None },
            ];
            scene.claim_in(pick(&SEGMENTS, kind), ip, mac, kinds[usize::from(kind / 4) % 4].clone());
        }
        1 if kind % 8 == 0 => {
            let text =
                format!("name,macs,ips\nvm-{who},{} {},{ip}\n", station(mac).unwrap(), station(mac + 1).unwrap());
            let source = pick(&["v.csv", "w.csv"], who);
            if let Ok(imported) = Imported::parse(&[(source, &text)], None) {
                let now = scene.time();
                let _ = scene.inventory.import(source, &imported, now, &mut scene.out);
            }
        }
        _ => {
            let mut flow = scene.flow_in(pick(&SEGMENTS, kind / 8), transport, orig, resp);
            scene.tell(&flow, FlowFact::Attempt(opening));
            flow.resp.mac = station(resp.2);
            if what & 8 != 0 {
                scene.tell(&flow, FlowFact::Answer);
            } else if what & 16 != 0 {
                scene.tell(&flow, FlowFact::Refused(RefusedBy::Reset));
            }
            if what & 32 != 0 {
                scene.tell(&flow, FlowFact::ServerData);
            }
            if kind & 64 != 0 {
                std::mem::swap(&mut flow.orig, &mut flow.resp); // as the packet side turns a flow round
            }
            if what & 64 != 0 {
                let side = pick(&[Some(Side::Orig), Some(Side::Resp), None], kind / 2);
                scene.tell(&flow, FlowFact::App(Box::new(AppInfo::new(pick(&["ftp", "dns", "ntp"], kind), side))));
            }
            if what & 128 != 0 {
                let (client, server, port) = (Some(flow.orig.ip), flow.resp.ip, pick(&[0, 40_000, 40_001], kind));
                let (app, serves, ttl_s) = (AppProto::new("ftp-data"), kind & 1 == 1, 60);
                scene.expect(
                    &flow,
                    Expectation { client, server, transport, port, ttl_s, app, interface: None, serves },
                );
            }
            let (orig_packets, resp_packets) = (u64::from(kind % 4), u64::from(what / 8 % 4));
            let totals =
                FlowTotals { orig_packets, resp_packets, orig_bytes: 10, resp_bytes: 20, ..Default::default() };
            scene.tell(&flow, FlowFact::End(FlowEnd::Finished, totals));
        }
    }
}

fn agree(inventory: &Inventory) {
    let known = |id| inventory.identity.vms.contains(&id);
    for vm in inventory.vms() {
        for nic in &vm.nics {
            for ip in &nic.ips {
                let bound = inventory.identity.bindings.get(&(*ip, nic.segment)).unwrap();
                assert!(bound.is(vm.id, nic.mac), "{ip} of {} is bound to {bound:?}", vm.id);
            }
        }
    }
    for ((ip, segment), bound) in inventory.identity.bindings.iter() {
        let vm = inventory.identity.vms.get(&bound.vm).unwrap();
        let listed = vm.nics.iter().any(|n| n.segment == *segment && n.mac == bound.mac && n.ips.contains(ip));
        assert!(listed, "{ip} is bound to {bound:?} but not listed by it");
    }
    for (_, station) in inventory.identity.stations.iter() {
        assert!(station.vm.is_none_or(known), "{station:?}");
    }
    for service in inventory.services() {
        assert!(known(service.key.vm) && (1..=4).contains(&service.basis.level), "{service:?}");
    }
    for edge in inventory.peers() {
        assert!(known(edge.service.vm) && inventory.services.level(&edge.service) > 0, "{edge:?}");
        assert!(matches!(edge.client, Client::External) || edge.client != Client::Vm(edge.service.vm));
    }
    assert_eq!(inventory.live.len(), 0);
}

fn holds(steps: Vec<Step>, everywhere: bool, small: bool) {
    let mut config = InventoryConfig::default();
    if everywhere {
        config.home = "0.0.0.0/0,::/0".parse().unwrap();
    }
    if small {
        (config.vms_max, config.services_max, config.peers_max) = (4, 5, 3);
    }
    let (mut scene, mut store) = (Scene::with(config.clone()), MemoryStore::default());
    for step in steps {
        act(&mut scene, step);
        let mut batch = Batch::default();
        scene.inventory.save(&mut batch);
        store.apply(&batch).unwrap();
    }
    agree(&scene.inventory);
    let mut batch = Batch::default();
    scene.inventory.save_all(&mut batch);
    store.apply(&batch).unwrap();
    let loaded = Inventory::load(&store, config).unwrap();
    agree(&loaded);
    assert_eq!(super::memory::everything(&loaded), super::memory::everything(&scene.inventory));
    let binding = |inventory: &Inventory| {
        inventory.identity.bindings.iter().map(|(key, b)| (*key, b.vm, b.mac)).collect::<Vec<_>>()
    };
    assert_eq!(binding(&loaded), binding(&scene.inventory));
}

#[test]
fn no_service_outlives_its_vm() {
    let steps = [
        (0, 1, 0, 0, 36, 0, 0),
        (2, 8, 0, 0, 4, 0, 0),
        (1, 17, 24, 0, 80, 89, 0),
        (0, 0, 0, 0, 0, 27, 0),
        (1, 8, 0, 0, 19, 40, 0),
        (65, 24, 0, 0, 225, 181, 0),
    ];
    holds(steps.to_vec(), false, false);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_tables_agree_and_a_restart_changes_nothing(
        steps in proptest::collection::vec(any::<Step>(), 1..120),
        everywhere in any::<bool>(),
        small in any::<bool>(),
    ) {
        holds(steps, everywhere, small);
    }
}
