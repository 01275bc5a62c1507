//! Who serves: every evidence level and every exception of detection.md 3.3 and 3.4, with its quiet twin.

use super::super::scene::{End, Scene};
use super::super::{Client, InventoryConfig, Sight, What};
use crate::model::{
    AppProto, Expectation, FlowFact, FlowRef, Opening, RefusedBy, ServiceClass, Side, Timestamp, Transport,
};

const CLIENT: End = ("10.0.0.5", 40_000, 5);
const WEB: End = ("10.0.0.9", 80, 9);

#[test]
fn a_syn_ack_is_a_service_even_of_a_scan() {
    let mut scene = Scene::new();
    scene.handshake(CLIENT, WEB);
    assert_eq!(scene.told(), ["vm-new", "vm-new", "service-new 80 level 3", "peer-new 80"]);
    assert_eq!(scene.row("10.0.0.9 tcp/80").evidence, "SYN-ACK in frame 2");
}

#[test]
fn a_refused_or_unanswered_syn_is_none() {
    let mut scene = Scene::new();
    scene.refused(Transport::Tcp, CLIENT, WEB, RefusedBy::Reset);
    let flow = scene.flow(Transport::Tcp, CLIENT, ("10.0.0.10", 80, 0));
    scene.tell(&flow, FlowFact::Attempt(Opening::Syn));
    scene.end(&flow, 3, 0);
    assert!(scene.rows().is_empty());
    assert!(scene.inventory.find("10.0.0.10").is_empty(), "an address that never sent is no VM");
}

#[test]
fn payload_raises_the_evidence_and_the_next_flow_is_a_use() {
    let mut scene = Scene::new();
    let flow = scene.handshake(CLIENT, WEB);
    scene.told();
    scene.tell(&flow, FlowFact::ServerData);
    scene.app(&flow, "http", Some(Side::Resp));
    assert_eq!(scene.told(), ["service-raised 80 level 4", "service-app 80 http"]);
    scene.app(&flow, "http", Some(Side::Resp));
    scene.end(&flow, 3, 2);
    scene.handshake(("10.0.0.5", 40_001, 5), WEB);
    assert_eq!(scene.told(), ["service-used 80", "peer-used 80"]);
    let row = scene.row("10.0.0.9 tcp/80");
    assert_eq!((row.flows, row.clients, row.bytes_to_server, row.bytes_to_client), (2, 1, 300, 200));
    let edge = scene.inventory.peers().next().unwrap();
    assert_eq!((edge.flows, edge.bytes_to_server, edge.bytes_to_client), (2, 300, 200));
}

#[test]
fn a_one_way_mirror_proves_by_syn_ack_and_payload() {
    let mut scene = Scene::new();
    let flow = scene.opened(Transport::Tcp, Opening::SynAck, CLIENT, WEB);
    scene.tell(&flow, FlowFact::ServerData);
    let told = scene.told();
    assert!(told.contains(&"service-new 80 level 2".to_owned()), "{told:?}");
    assert!(told.contains(&"service-raised 80 level 3".to_owned()), "{told:?}");
}

#[test]
fn a_second_address_of_a_vm_is_a_row_and_no_new_service() {
    let mut scene = Scene::new();
    scene.handshake(CLIENT, WEB);
    scene.told();
    scene.handshake(CLIENT, ("10.0.0.10", 80, 9));
    assert_eq!(scene.told(), ["vm-changed: has the address 10.0.0.10", "service-used 80", "peer-used 80"]);
    assert_eq!(scene.rows(), ["10.0.0.10 tcp/80", "10.0.0.9 tcp/80"]);
}

#[test]
fn an_earlier_refusal_says_that_the_service_started_since() {
    let mut scene = Scene::new();
    scene.refused(Transport::Tcp, CLIENT, WEB, RefusedBy::Reset);
    scene.now_s += 60;
    scene.handshake(CLIENT, WEB);
    scene.handshake(CLIENT, ("10.0.0.9", 81, 9));
    let closed_at = |port| {
        scene.out.iter().find_map(|change| match change.what {
            What::ServiceNew { service, basis, .. } if service.port == port => Some(basis.closed_at),
            _ => None,
        })
    };
    assert_eq!(closed_at(80), Some(Some(Timestamp::from_parts(1_000, 0))));
    assert_eq!(closed_at(81), Some(None));
}

#[test]
fn a_service_that_refuses_is_told_and_a_port_that_never_was_one_is_not() {
    let mut scene = Scene::new();
    scene.handshake(CLIENT, WEB);
    scene.told();
    scene.refused(Transport::Tcp, CLIENT, WEB, RefusedBy::Reset);
    scene.refused(Transport::Tcp, CLIENT, ("10.0.0.9", 81, 9), RefusedBy::Reset);
    scene.refused(Transport::Udp, CLIENT, ("10.0.0.44", 53, 0), RefusedBy::Unreachable(1));
    assert_eq!(scene.told(), ["service-refused 80"]);
}

#[test]
fn in_mid_connection_only_the_payload_or_three_remotes_prove_a_server() {
    let mut scene = Scene::new();
    for port in [40_001, 40_002, 40_003] {
        assert!(scene.rows().is_empty());
        let flow = scene.midstream(("10.0.0.5", port, 5), WEB);
        scene.tell(&flow, FlowFact::ServerData);
        scene.end(&flow, 4, 4);
    }
    let row = scene.row("10.0.0.9 tcp/80");
    assert_eq!((row.basis.level, row.basis.sight), (1, Sight::Midstream));
    // The payload proves it at once, also where the server sent first.
    let flow = scene.midstream(("10.0.0.7", 22, 7), CLIENT);
    scene.app(&flow, "ssh", Some(Side::Orig));
    assert_eq!(scene.row("10.0.0.7 tcp/22").evidence, "ssh in mid-connection in frame 11");
}

#[test]
fn an_ack_scan_proves_nothing() {
    let mut scene = Scene::new();
    for port in 1..100 {
        let flow = scene.midstream(("10.0.0.5", 50_000 + port, 5), WEB);
        scene.end(&flow, 1, 1);
    }
    assert!(scene.rows().is_empty());
}

#[test]
fn a_datagram_reply_is_a_row_that_qualifies_with_a_protocol_or_a_second_client() {
    let mut scene = Scene::new();
    let flow = scene.exchange(CLIENT, ("10.0.0.9", 9_999, 9));
    assert_eq!(scene.row("10.0.0.9 udp/9999").basis.level, 2);
    scene.exchange(("10.0.0.6", 40_000, 6), ("10.0.0.9", 9_999, 9));
    assert_eq!(scene.row("10.0.0.9 udp/9999").basis.level, 3);
    scene.app(&flow, "snmp", None);
    assert_eq!(scene.row("10.0.0.9 udp/9999").basis.level, 4);
    scene.exchange(CLIENT, ("10.0.0.9", 161, 9));
    assert_eq!(scene.row("10.0.0.9 udp/161").basis.level, 3);
    let told: Vec<_> = scene.told().into_iter().filter(|t| t.contains("raised")).collect();
    assert_eq!(told, ["service-raised 9999 level 3", "service-raised 9999 level 4"]);
}

#[test]
fn a_datagram_that_nobody_answers_is_no_service_whatever_it_asks() {
    let mut scene = Scene::new();
    let flow = scene.send(CLIENT, ("10.0.0.9", 53, 0));
    scene.app(&flow, "dns", Some(Side::Resp));
    assert!(scene.rows().is_empty());
    scene.answered(flow, ("10.0.0.9", 53, 9));
    let row = scene.row("10.0.0.9 udp/53");
    assert_eq!((row.basis.level, row.app.as_ref().map(|app| app.proto.as_str())), (4, Some("dns")));
}

#[test]
fn between_equal_ports_the_payload_says_who_serves() {
    // The capture begins with the server's packet: the client then looks like the one that answers.
    let mut scene = Scene::new();
    let mut flow = scene.exchange(("10.0.0.9", 123, 9), ("10.0.0.5", 123, 5));
    assert_eq!(scene.rows(), ["10.0.0.5 udp/123"]);
    std::mem::swap(&mut flow.orig, &mut flow.resp);
    scene.app(&flow, "ntp", Some(Side::Resp));
    assert_eq!(scene.rows(), ["10.0.0.9 udp/123"]);
    assert_eq!(scene.told().iter().filter(|t| t.starts_with("service-retracted")).count(), 1);
    assert!(scene.inventory.peers().all(|edge| edge.service.vm == scene.vm("10.0.0.9")));
    scene.end(&flow, 3, 2);
    assert_eq!(scene.row("10.0.0.9 udp/123").bytes_to_server, 300);
}

#[test]
fn what_others_proved_is_not_taken_back() {
    let mut scene = Scene::new();
    scene.exchange(("10.0.0.6", 40_000, 6), ("10.0.0.5", 123, 5));
    let flow = scene.exchange(("10.0.0.9", 123, 9), ("10.0.0.5", 123, 5));
    scene.app(&flow, "ntp", Some(Side::Orig));
    assert_eq!(scene.rows(), ["10.0.0.5 udp/123", "10.0.0.9 udp/123"]);
}

#[test]
fn an_answer_to_a_group_query_makes_the_answerer_a_server_and_never_the_asker() {
    for (group, port) in [("239.255.255.250", 1900), ("255.255.255.255", 67), ("ff02::1:3", 5355), ("10.0.0.255", 137)]
    {
        let mut scene = Scene::new();
        let (asker, answerer) = match group.contains(':') {
            true => (("fe80::5", 50_000, 5), ("fe80::9", port, 9)),
            false => (("10.0.0.5", 50_000, 5), ("10.0.0.9", port, 9)),
        };
        scene.send(asker, (group, port, 0));
        // The asker goes on with the answerer: its own datagrams are then the "reply" of the flow.
        scene.exchange(answerer, asker);
        assert_eq!(scene.rows(), [format!("{} udp/{port}", answerer.0)], "{group}");
        assert!(scene.inventory.peers().any(|edge| edge.client == Client::Vm(scene.vm(asker.0))));
    }
}

#[test]
fn an_answer_from_another_port_makes_neither_a_server() {
    let mut scene = Scene::new();
    scene.send(("10.0.0.5", 50_000, 5), ("239.255.255.250", 1900, 0));
    scene.exchange(("10.0.0.9", 60_000, 9), ("10.0.0.5", 50_000, 5));
    assert!(scene.rows().is_empty());
    // Twin: without a query it is an ordinary request and reply.
    scene.exchange(("10.0.0.9", 60_000, 9), ("10.0.0.5", 50_001, 5));
    assert_eq!(scene.rows(), ["10.0.0.5 udp/50001"]);
}

#[test]
fn sending_to_a_group_serves_only_where_the_payload_says_so() {
    let mut scene = Scene::new();
    let offer = scene.send(("10.0.0.1", 67, 1), ("255.255.255.255", 68, 0));
    assert!(scene.rows().is_empty());
    scene.app(&offer, "dhcp", Some(Side::Orig));
    let discover = scene.send(("10.0.0.5", 68, 5), ("255.255.255.255", 67, 0));
    scene.app(&discover, "dhcp", Some(Side::Resp));
    assert_eq!(scene.rows(), ["10.0.0.1 udp/67"]);
    assert_eq!(scene.row("10.0.0.1 udp/67").class, ServiceClass::Broadcast);
    // A unicast reply makes it an ordinary service.
    scene.exchange(("10.0.0.5", 68, 5), ("10.0.0.1", 67, 1));
    assert_eq!(scene.rows(), ["10.0.0.1 udp/67"]);
    assert_eq!(scene.row("10.0.0.1 udp/67").class, ServiceClass::Unicast);
}

#[test]
fn nodes_that_all_serve_each_other_are_symmetric_and_a_busy_server_is_not() {
    let mut scene = Scene::new();
    let nodes: [End; 4] =
        [("10.0.0.1", 7_946, 1), ("10.0.0.2", 7_946, 2), ("10.0.0.3", 7_946, 3), ("10.0.0.4", 7_946, 4)];
    for round in 0..2 {
        for a in nodes {
            for b in nodes.into_iter().filter(|b| b.0 != a.0) {
                scene.now_s += round;
                scene.exchange(a, b);
            }
        }
    }
    for client in [5, 6, 7, 8] {
        scene.exchange(
            (["10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8"][client - 5], 40_000, client as u8),
            ("10.0.0.9", 53, 9),
        );
    }
    assert!(nodes.iter().all(|n| scene.row(&format!("{} udp/7946", n.0)).class == ServiceClass::Symmetric));
    assert_eq!(scene.row("10.0.0.9 udp/53").class, ServiceClass::Unicast);
}

fn expectation(client: Option<&str>, server: &str, port: u16, serves: bool) -> Expectation {
    Expectation {
        client: client.map(|ip| ip.parse().unwrap()),
        server: server.parse().unwrap(),
        transport: Transport::Tcp,
        port,
        ttl_s: 60,
        app: AppProto::new(if serves { "dcerpc" } else { "ftp-data" }),
        interface: serves.then(|| "12345778-1234-abcd-ef00-0123456789ab".to_owned()),
        serves,
    }
}

#[test]
fn an_announced_transfer_belongs_to_its_parent_once() {
    let mut scene = Scene::new();
    let control = scene.handshake(CLIENT, ("10.0.0.9", 21, 9));
    scene.expect(&control, expectation(Some("10.0.0.5"), "10.0.0.9", 50_123, false));
    let data = scene.handshake(("10.0.0.5", 40_001, 5), ("10.0.0.9", 50_123, 9));
    scene.end(&data, 10, 100);
    assert_eq!(scene.rows(), ["10.0.0.9 tcp/21"]);
    assert_eq!(scene.row("10.0.0.9 tcp/21").bytes_to_client, 10_000);
    // A second connection was not announced: who listens on after the transfer serves.
    scene.handshake(("10.0.0.5", 40_002, 5), ("10.0.0.9", 50_123, 9));
    assert_eq!(scene.rows(), ["10.0.0.9 tcp/21", "10.0.0.9 tcp/50123"]);
}

#[test]
fn an_announcement_hides_neither_another_client_nor_another_protocol_nor_a_late_flow() {
    let mut scene = Scene::new();
    let control = scene.handshake(CLIENT, ("10.0.0.9", 21, 9));
    for port in [5_001, 5_002, 5_003] {
        scene.expect(&control, expectation(Some("10.0.0.5"), "10.0.0.9", port, false));
    }
    scene.handshake(("10.0.0.6", 40_000, 6), ("10.0.0.9", 5_001, 9));
    let shell = scene.handshake(CLIENT, ("10.0.0.9", 5_002, 9));
    scene.tell(&shell, FlowFact::ServerData);
    scene.app(&shell, "ssh", Some(Side::Resp));
    scene.now_s += 61;
    scene.handshake(CLIENT, ("10.0.0.9", 5_003, 9));
    assert_eq!(scene.rows(), ["10.0.0.9 tcp/21", "10.0.0.9 tcp/5001", "10.0.0.9 tcp/5002", "10.0.0.9 tcp/5003"]);
}

#[test]
fn a_mapped_port_is_a_service_of_its_own_with_the_application_that_was_announced() {
    let mut scene = Scene::new();
    let mapper = scene.handshake(CLIENT, ("10.0.0.9", 135, 9));
    scene.expect(&mapper, expectation(None, "10.0.0.9", 49_155, true));
    assert_eq!(scene.rows(), ["10.0.0.9 tcp/135"], "an announcement alone is no service");
    scene.handshake(("10.0.0.6", 40_000, 6), ("10.0.0.9", 49_155, 9));
    let app = scene.row("10.0.0.9 tcp/49155").app.clone().expect("it was named");
    assert_eq!(app.proto.as_str(), "dcerpc");
    assert_eq!(app.get("interfaces"), Some("12345778-1234-abcd-ef00-0123456789ab"));
}

#[test]
fn a_tftp_transfer_from_any_port_belongs_to_the_request() {
    let mut scene = Scene::new();
    let request = scene.send(CLIENT, ("10.0.0.9", 69, 0));
    let tftp = Expectation {
        transport: Transport::Udp,
        app: AppProto::new("tftp"),
        ..expectation(Some("10.0.0.5"), "10.0.0.9", 0, false)
    };
    scene.expect(&request, tftp);
    scene.exchange(("10.0.0.9", 50_777, 9), CLIENT);
    assert_eq!(scene.rows(), ["10.0.0.9 udp/69"], "the port that was asked serves, the transfer's is none");
    scene.exchange(CLIENT, ("10.0.0.9", 161, 9));
    assert_eq!(
        scene.rows(),
        ["10.0.0.9 udp/161", "10.0.0.9 udp/69"],
        "a port below 1024 is none that the system hands out"
    );
}

#[test]
fn an_address_that_answers_on_every_port_must_show_payload() {
    let mut scene = Scene::new();
    let real = scene.handshake(CLIENT, ("10.0.0.9", 22, 9));
    scene.tell(&real, FlowFact::ServerData);
    for port in 1_000..1_021 {
        scene.handshake(CLIENT, ("10.0.0.9", port, 9));
    }
    assert_eq!(scene.rows(), ["10.0.0.9 tcp/22"]);
    assert_eq!(scene.told().iter().filter(|t| t.starts_with("service-retracted")).count(), 21);
    assert_eq!(scene.inventory.peers().count(), 1);
    let flow = scene.handshake(CLIENT, ("10.0.0.9", 2_000, 9));
    assert_eq!(scene.rows(), ["10.0.0.9 tcp/22"]);
    scene.tell(&flow, FlowFact::ServerData);
    assert_eq!(scene.rows(), ["10.0.0.9 tcp/2000", "10.0.0.9 tcp/22"]);
}

#[test]
fn twenty_open_ports_are_believed_and_so_are_more_in_time() {
    let mut scene = Scene::new();
    for port in 1_000..1_020 {
        scene.handshake(CLIENT, ("10.0.0.9", port, 9));
    }
    scene.now_s += 61;
    for port in 2_000..2_020 {
        scene.handshake(CLIENT, ("10.0.0.9", port, 9));
    }
    assert_eq!(scene.rows().len(), 40);
}

#[test]
fn clients_from_outside_are_one_zone_and_services_outside_are_none() {
    let mut scene = Scene::new();
    scene.claim("10.0.0.1", 1, crate::model::ClaimKind::Routes);
    let flow = scene.handshake(("198.51.100.7", 40_000, 1), WEB);
    scene.end(&flow, 5, 5);
    scene.handshake(("203.0.113.7", 40_000, 1), WEB);
    let flow = scene.handshake(CLIENT, ("198.51.100.8", 443, 1));
    scene.end(&flow, 3, 9);
    assert_eq!(scene.rows(), ["10.0.0.9 tcp/80"]);
    assert_eq!(scene.row("10.0.0.9 tcp/80").clients, 2);
    let edges: Vec<_> = scene.inventory.peers().map(|edge| (edge.client, edge.flows)).collect();
    assert_eq!(edges, [(Client::External, 2)]);
    let outside: Vec<_> = scene.inventory.outside().iter().map(|o| (o.ip.to_string(), o.packets)).collect();
    assert_eq!(outside, [("198.51.100.8".to_owned(), 9), ("198.51.100.7".to_owned(), 5)]);
}

#[test]
fn a_vm_that_opens_every_port_fills_its_own_table_only() {
    let config = InventoryConfig { services_per_vm_max: 10, ..InventoryConfig::default() };
    let mut scene = Scene::with(config);
    for port in 1..=30 {
        let flow = scene.handshake(CLIENT, ("10.0.0.9", port, 9));
        scene.tell(&flow, FlowFact::ServerData);
    }
    scene.handshake(CLIENT, ("10.0.0.10", 80, 10));
    assert_eq!(scene.rows().len(), 11);
    assert!(scene.count("inventory.service.refused.vm_full") >= 20);
}

#[test]
fn nothing_is_kept_of_flows_that_ended() {
    let mut scene = Scene::new();
    for port in 1..100 {
        let flow = scene.handshake(("10.0.0.5", port, 5), WEB);
        scene.end(&flow, 2, 2);
        let flow = scene.exchange(("10.0.0.5", port, 5), ("10.0.0.9", 53, 9));
        scene.end(&flow, 2, 2);
    }
    assert_eq!(scene.count("inventory.live_flows"), 0);
}

#[test]
fn what_a_client_says_names_the_service_only_when_the_server_speaks() {
    let mut scene = Scene::new();
    let probe = scene.handshake(CLIENT, WEB);
    scene.app(&probe, "smb", Some(Side::Resp));
    assert_eq!((scene.row("10.0.0.9 tcp/80").app.as_ref(), scene.row("10.0.0.9 tcp/80").basis.level), (None, 3));
    let spoken = scene.handshake(("10.0.0.5", 40_001, 5), WEB);
    scene.app(&spoken, "http", Some(Side::Resp));
    scene.tell(&spoken, FlowFact::ServerData);
    let row = scene.row("10.0.0.9 tcp/80");
    assert_eq!((row.app.as_ref().map(|app| app.proto.as_str()), row.basis.level), (Some("http"), 4));
}

const DNS: End = ("10.0.0.9", 53, 9);

/// A DNS answer that nobody was seen to ask for.
fn unasked(scene: &mut Scene, client: End) -> FlowRef {
    let flow = scene.flow(Transport::Udp, client, DNS);
    scene.tell(&flow, FlowFact::ServerData);
    scene.app(&flow, "dns", Some(Side::Resp));
    flow
}

#[test]
fn one_answer_that_nobody_asked_for_or_a_burst_of_them_is_no_service() {
    let mut scene = Scene::new();
    for port in [40_000, 40_001, 40_002] {
        let flow = unasked(&mut scene, ("10.0.0.5", port, 5));
        scene.end(&flow, 0, 9);
    }
    assert!(scene.rows().is_empty());
}

#[test]
fn answers_that_nobody_asked_for_are_a_service_in_mid_connection_when_they_come_again() {
    let mut scene = Scene::new();
    unasked(&mut scene, CLIENT);
    scene.now_s += 1;
    unasked(&mut scene, ("10.0.0.5", 40_001, 5));
    let row = scene.row("10.0.0.9 udp/53");
    assert_eq!(
        (row.basis.level, row.basis.sight, row.app.as_ref().unwrap().proto.as_str()),
        (1, Sight::Midstream, "dns")
    );
    // Or in one flow, as an NTP server's to one client.
    let mut scene = Scene::new();
    let flow = unasked(&mut scene, CLIENT);
    scene.now_s += 1;
    scene.end(&flow, 0, 2);
    assert_eq!((scene.row("10.0.0.9 udp/53").basis.level, scene.row("10.0.0.9 udp/53").bytes_to_client), (1, 200));
}

#[test]
fn an_answer_of_which_the_request_comes_later_is_an_ordinary_service() {
    let mut scene = Scene::new();
    let flow = unasked(&mut scene, CLIENT);
    scene.answered(flow, DNS);
    let row = scene.row("10.0.0.9 udp/53");
    assert_eq!((row.basis.level, row.basis.sight, row.app.is_some()), (4, Sight::Whole, true));
    scene.told();
    // What is known needs no second answer: it is used.
    unasked(&mut scene, ("10.0.0.5", 40_001, 5));
    assert_eq!(scene.told(), ["service-used 53", "peer-used 53"]);
}

#[test]
fn a_whole_exchange_ends_what_the_middle_of_one_left_open() {
    let mut scene = Scene::new();
    let flow = unasked(&mut scene, CLIENT);
    scene.now_s += 1;
    scene.end(&flow, 0, 2);
    assert_eq!(scene.row("10.0.0.9 udp/53").basis.sight, Sight::Midstream);
    scene.told();
    scene.exchange(("10.0.0.6", 40_000, 6), DNS);
    let basis = scene.row("10.0.0.9 udp/53").basis;
    assert_eq!((basis.sight, basis.level), (Sight::Whole, 3));
    assert!(scene.told().contains(&"service-raised 53 level 3".to_owned()));
    let middle = scene.midstream(("10.0.0.7", 22, 7), CLIENT);
    scene.app(&middle, "ssh", Some(Side::Orig));
    scene.handshake(CLIENT, ("10.0.0.7", 22, 7));
    assert_eq!(scene.row("10.0.0.7 tcp/22").basis.sight, Sight::Whole);
}

#[test]
fn another_middle_of_a_conversation_does_not() {
    let mut scene = Scene::new();
    let flow = unasked(&mut scene, CLIENT);
    for client in [("10.0.0.5", 40_001, 5), ("10.0.0.6", 40_002, 6)] {
        scene.now_s += 1;
        unasked(&mut scene, client);
    }
    scene.end(&flow, 0, 2);
    assert_eq!(scene.row("10.0.0.9 udp/53").basis.sight, Sight::Midstream);
}

#[test]
fn who_has_no_address_yet_asks_by_broadcast_and_is_answered_at_the_address_it_gets() {
    let mut scene = Scene::new();
    scene.send(("0.0.0.0", 68, 5), ("255.255.255.255", 67, 0));
    scene.send(("10.0.0.1", 67, 1), ("10.0.0.5", 68, 0));
    assert_eq!(scene.rows(), ["10.0.0.1 udp/67"]);
    // From another port than the one that was asked it is no answer.
    scene.send(("10.0.0.2", 4_011, 2), ("10.0.0.5", 68, 0));
    assert_eq!(scene.rows(), ["10.0.0.1 udp/67"]);
}

#[test]
fn a_request_to_a_port_that_asked_a_group_makes_the_asker_a_server_when_it_answers() {
    let mut scene = Scene::new();
    scene.send(("10.0.0.9", 137, 9), ("10.0.0.255", 137, 0));
    let query = scene.send(CLIENT, ("10.0.0.9", 137, 0));
    scene.app(&query, "netbios", Some(Side::Resp));
    assert!(scene.rows().is_empty());
    scene.answered(query, ("10.0.0.9", 137, 9));
    assert_eq!(scene.rows(), ["10.0.0.9 udp/137"]);
}
