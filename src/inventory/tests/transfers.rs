//! Announced transfers: listed among the services, judged and learned as nothing, bounded.

use super::super::scene::{End, Scene};
use super::super::{Inventory, InventoryConfig};
use crate::model::{AppProto, Expectation, FlowFact, FlowRef, Side, Transport};
use crate::store::{Batch, MemoryStore, Store};

const CLIENT: End = ("10.0.0.5", 40_000, 5);
const FTP: End = ("10.0.0.9", 21, 9);

fn announce(scene: &mut Scene, control: &FlowRef, client: &str, server: &str, port: u16) {
    let (client, server) = (client.parse().ok(), server.parse().unwrap());
    let app = AppProto::new("ftp-data");
    let transport = Transport::Tcp;
    let expected = Expectation { client, server, transport, port, ttl_s: 60, app, interface: None, serves: false };
    scene.expect(control, expected);
}

/// A passive transfer of 3 packets there and 9 back.
fn passive(scene: &mut Scene, control: &FlowRef, port: u16) {
    announce(scene, control, "10.0.0.5", "10.0.0.9", port);
    let data = scene.handshake(("10.0.0.5", 40_001, 5), ("10.0.0.9", port, 9));
    scene.tell(&data, FlowFact::ServerData);
    scene.end(&data, 3, 9);
}

fn listed(scene: &Scene) -> Vec<String> {
    let shown = |t: super::super::Transfer| {
        let service = t.service;
        let vm = scene.inventory.label(service.key.vm);
        let app = service.app.map(|app| app.proto.to_string());
        format!("{vm} tcp/{} {} by {}", service.key.port, app.unwrap_or_default(), t.announced_by)
    };
    scene.inventory.transfers().map(shown).collect()
}

#[test]
fn a_passive_transfer_is_listed_and_told_as_nothing() {
    let mut scene = Scene::new();
    let control = scene.handshake(CLIENT, FTP);
    scene.told();
    passive(&mut scene, &control, 50_123);
    assert!(scene.told().is_empty());
    assert_eq!(scene.rows(), ["10.0.0.9 tcp/21"]);
    assert_eq!(scene.inventory.peers().count(), 1);
    assert_eq!(listed(&scene), ["10.0.0.9 tcp/50123 ftp-data by 10.0.0.9 tcp/21"]);
    let transfer = scene.inventory.transfers().next().unwrap();
    assert_eq!(scene.inventory.announcer(&transfer).map(|parent| parent.key.port), Some(21));
    let row = transfer.service;
    assert_eq!((row.flows, row.clients, row.bytes_to_server, row.bytes_to_client), (1, 1, 300, 900));
    assert_eq!(row.evidence, "SYN-ACK in frame 5, announced by 10.0.0.9 tcp/21");
}

#[test]
fn an_active_transfer_is_listed_at_the_client_that_listens() {
    let mut scene = Scene::new();
    let control = scene.handshake(CLIENT, FTP);
    announce(&mut scene, &control, "10.0.0.9", "10.0.0.5", 50_001);
    let data = scene.handshake(("10.0.0.9", 20, 9), ("10.0.0.5", 50_001, 5));
    scene.end(&data, 9, 3);
    assert_eq!(listed(&scene), ["10.0.0.5 tcp/50001 ftp-data by 10.0.0.9 tcp/21"]);
    let row = scene.inventory.transfers().next().unwrap().service;
    assert_eq!((row.bytes_to_server, row.bytes_to_client), (900, 300));
    assert_eq!(scene.row("10.0.0.9 tcp/21").bytes_to_client, 900);
}

#[test]
fn what_was_announced_and_never_used_or_speaks_another_protocol_is_not_listed() {
    let mut scene = Scene::new();
    let control = scene.handshake(CLIENT, FTP);
    announce(&mut scene, &control, "10.0.0.5", "10.0.0.9", 5_001);
    announce(&mut scene, &control, "10.0.0.5", "10.0.0.9", 5_002);
    let shell = scene.handshake(CLIENT, ("10.0.0.9", 5_002, 9));
    scene.tell(&shell, FlowFact::ServerData);
    scene.app(&shell, "ssh", Some(Side::Resp));
    assert!(listed(&scene).is_empty());
    assert_eq!(scene.rows(), ["10.0.0.9 tcp/21", "10.0.0.9 tcp/5002"]);
}

#[test]
fn who_listens_on_after_the_transfer_is_a_service_and_no_transfer() {
    let mut scene = Scene::new();
    let control = scene.handshake(CLIENT, FTP);
    passive(&mut scene, &control, 50_123);
    scene.handshake(("10.0.0.5", 40_002, 5), ("10.0.0.9", 50_123, 9));
    assert!(listed(&scene).is_empty());
    assert_eq!(scene.rows(), ["10.0.0.9 tcp/21", "10.0.0.9 tcp/50123"]);
}

#[test]
fn a_port_announced_again_is_one_row() {
    let mut scene = Scene::new();
    let control = scene.handshake(CLIENT, FTP);
    passive(&mut scene, &control, 50_123);
    passive(&mut scene, &control, 50_123);
    let rows: Vec<_> = scene.inventory.transfers().collect();
    assert_eq!(rows.iter().map(|t| (t.service.flows, t.service.bytes_to_client)).collect::<Vec<_>>(), [(2, 1_800)]);
}

#[test]
fn a_busy_server_keeps_its_last_transfers_and_leaves_anothers_alone() {
    let mut scene = Scene::new();
    let control = scene.handshake(CLIENT, FTP);
    announce(&mut scene, &control, "10.0.0.9", "10.0.0.5", 50_001);
    scene.handshake(("10.0.0.9", 20, 9), ("10.0.0.5", 50_001, 5));
    for port in 0..1_000 {
        scene.now_s += 1;
        passive(&mut scene, &control, 51_000 + port);
    }
    let rows = listed(&scene);
    assert_eq!((rows.len(), rows.last().unwrap().as_str()), (17, "10.0.0.9 tcp/51999 ftp-data by 10.0.0.9 tcp/21"));
    assert!(rows[0].starts_with("10.0.0.5 tcp/50001"));
    assert_eq!(scene.count("inventory.transfer.forgotten"), 1_000 - 16);
}

#[test]
fn transfers_survive_a_restart() {
    let mut scene = Scene::new();
    let control = scene.handshake(CLIENT, FTP);
    passive(&mut scene, &control, 50_123);
    let (mut batch, mut store) = (Batch::default(), MemoryStore::default());
    scene.inventory.save_all(&mut batch);
    store.apply(&batch).unwrap();
    let loaded = Inventory::load(&store, InventoryConfig::default()).unwrap();
    assert!(loaded.transfers().eq(scene.inventory.transfers()) && loaded.transfers().count() == 1);
}
