//! Services of a class: senders to groups, their members, and gossip. Each with its quiet twin.

use super::super::Client;
use super::super::Sight;
use super::super::scene::{End, Scene};
use crate::model::{
    Fact, FlowFact, FlowTotals, Membership, Opening, Outcome, Record, RecordFormat, Segment, ServiceClass, Side,
    Transport,
};

const FEED: End = ("239.1.1.1", 30_001, 0);
const SSDP: End = ("239.255.255.250", 1_900, 0);

fn membership(scene: &mut Scene, member: &str, joined: bool) {
    let (member, group) = (member.parse().unwrap(), FEED.0.parse().unwrap());
    scene.fact(Fact::Membership(Membership { segment: Segment::UNTAGGED, member, group, joined }));
}

fn members(scene: &Scene, shown: &str) -> (Vec<String>, usize) {
    let row = scene.row(shown);
    let groups = scene.inventory.groups(row);
    (groups.iter().map(ToString::to_string).collect(), scene.inventory.members(row, &groups))
}

#[test]
fn a_feed_is_a_service_of_its_groups_port_and_its_members_are_counted() {
    let mut scene = Scene::new();
    for (from, packets) in [(45_000, 400), (45_001, 10)] {
        let feed = scene.send(("10.0.0.9", from, 9), FEED);
        scene.end(&feed, packets, 0);
    }
    let backup = scene.send(("10.0.0.9", 45_002, 9), ("239.1.1.2", 30_001, 0));
    scene.end(&backup, 400, 0);
    for (member, joined) in [("10.0.0.5", true), ("10.0.0.6", true), ("10.0.0.7", true), ("10.0.0.7", false)] {
        membership(&mut scene, member, joined);
    }
    assert_eq!(scene.rows(), ["10.0.0.9 udp/30001"]);
    let row = scene.row("10.0.0.9 udp/30001");
    assert_eq!((row.class, row.flows, row.bytes_to_client), (ServiceClass::Multicast, 3, 81_000));
    assert_eq!(row.evidence, "sent on and on to a group in frame 2");
    assert_eq!(members(&scene, "10.0.0.9 udp/30001"), (vec!["239.1.1.1".to_owned(), "239.1.1.2".to_owned()], 2));
}

#[test]
fn a_few_datagrams_to_a_group_are_a_query_and_no_service() {
    let mut scene = Scene::new();
    for _ in 0..2 {
        let query = scene.send(("10.0.0.9", 45_000, 9), FEED);
        scene.end(&query, 4, 0);
        scene.now_s += 600;
    }
    // Nor are many, where the payload says that they ask, or an answer does.
    let asks = scene.send(("10.0.0.9", 45_001, 9), SSDP);
    scene.app(&asks, "ssdp", Some(Side::Resp));
    scene.end(&asks, 400, 0);
    let unknown = scene.send(("10.0.0.9", 45_002, 9), FEED);
    scene.exchange(("10.0.0.5", FEED.1, 5), ("10.0.0.9", 45_002, 9));
    scene.end(&unknown, 400, 0);
    assert_eq!(scene.rows(), ["10.0.0.5 udp/30001"]);
    assert_eq!(scene.row("10.0.0.5 udp/30001").class, ServiceClass::Unicast);
}

#[test]
fn slow_beacons_count_together() {
    let mut scene = Scene::new();
    for _ in 0..10 {
        assert!(scene.rows().is_empty());
        let beacon = scene.send(("10.0.0.9", 17_500, 9), ("10.0.0.255", 17_500, 0));
        scene.now_s += 30;
        scene.end(&beacon, 1, 0);
    }
    assert_eq!(scene.row("10.0.0.9 udp/17500").class, ServiceClass::Broadcast);
}

#[test]
fn announcements_from_any_port_are_one_service_on_the_groups() {
    let mut scene = Scene::new();
    for from in [1_900, 50_001, 50_002] {
        let notify = scene.send(("10.0.0.9", from, 9), SSDP);
        scene.app(&notify, "ssdp", Some(Side::Orig));
        scene.app(&notify, "ssdp", Some(Side::Orig));
        scene.end(&notify, 3, 0);
    }
    assert_eq!(scene.rows(), ["10.0.0.9 udp/1900"]);
    assert_eq!(scene.row("10.0.0.9 udp/1900").flows, 3);
}

#[test]
fn a_feed_that_only_a_flow_record_tells_of_is_less_certain() {
    let mut scene = Scene::new();
    for orig_packets in [9, 400] {
        assert!(scene.rows().is_empty());
        let feed = scene.flow(Transport::Udp, ("10.0.0.9", 45_000, 9), FEED);
        let totals = FlowTotals { orig_packets, last_seen: scene.time(), ..FlowTotals::default() };
        let (format, exporter) = (RecordFormat::NetFlow, "10.9.9.9".parse().unwrap());
        let record = Record { format, exporter, outcome: Outcome::OneWay, totals, sampling: 1 };
        scene.tell(&feed, FlowFact::Record(Box::new(record)));
    }
    let row = scene.row("10.0.0.9 udp/30001");
    assert_eq!((row.class, row.basis.level, row.basis.sight), (ServiceClass::Multicast, 2, Sight::Record));
}

#[test]
fn a_routers_hello_is_a_service_and_a_membership_report_is_not() {
    let mut scene = Scene::new();
    for (number, group) in [(112, "224.0.0.18"), (103, "224.0.0.13"), (2, "224.0.0.22")] {
        let hello = scene.flow(Transport::Ip(number), ("10.0.0.9", 0, 9), (group, 0, 0));
        scene.tell(&hello, FlowFact::Attempt(Opening::Datagram));
        scene.end(&hello, 1, 0);
    }
    assert_eq!(scene.rows(), ["10.0.0.9 ip/103/0", "10.0.0.9 ip/112/0"]);
    assert!(!scene.inventory.joins_known_group(scene.row("10.0.0.9 ip/112/0")));
    // The router that takes over sends to a group that is known.
    let hello = scene.flow(Transport::Ip(112), ("10.0.0.8", 0, 8), ("224.0.0.18", 0, 0));
    scene.tell(&hello, FlowFact::Attempt(Opening::Datagram));
    scene.end(&hello, 1, 0);
    assert!(scene.inventory.joins_known_group(scene.row("10.0.0.8 ip/112/0")));
}

#[test]
fn nodes_that_connect_to_each_other_are_symmetric_and_a_tier_of_servers_is_not() {
    let mut scene = Scene::new();
    let ip = |n: u8| ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"][usize::from(n)];
    let pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)];
    for (a, b) in pairs.into_iter().chain(pairs) {
        scene.handshake((ip(a), 40_000 + u16::from(b), a + 1), (ip(b), 7_000, b + 1));
    }
    // Each of the first three uses the fourth, which uses none of them.
    for a in 0..3 {
        scene.handshake((ip(a), 41_000, a + 1), (ip(3), 7_000, 4));
        scene.handshake((ip(a), 42_000, a + 1), (ip((a + 1) % 3), 5_432, (a + 1) % 3 + 1));
    }
    for n in 0..3 {
        assert_eq!(scene.row(&format!("{} tcp/7000", ip(n))).class, ServiceClass::Symmetric, "{n}");
        assert_eq!(scene.row(&format!("{} tcp/5432", ip(n))).class, ServiceClass::Unicast, "{n}");
    }
    assert_eq!(scene.row("10.0.0.4 tcp/7000").class, ServiceClass::Unicast);
    assert!(scene.inventory.peers().all(|edge| edge.client != Client::External));
}
