//! What other devices' flow records prove, and how packets prove more.

use super::super::scene::{End, Scene, address};
use super::super::{Basis, Sight};
use crate::model::{FlowFact, FlowTotals, Outcome, Record, RecordFormat, Transport};

const CLIENT: End = ("10.0.0.5", 40_000, 5);
const WEB: End = ("10.0.0.9", 80, 9);
const EXPORTER: &str = "192.0.2.1";

/// One record of six packets each way; of one way only, none came back.
fn recorded(scene: &mut Scene, transport: Transport, outcome: Outcome) {
    let flow = scene.flow(transport, CLIENT, WEB);
    let resp_packets = if outcome == Outcome::OneWay { 0 } else { 6 };
    let last_seen = flow.first_seen;
    let totals = FlowTotals {
        orig_packets: 6,
        resp_packets,
        orig_bytes: 600,
        resp_bytes: 900,
        last_seen,
        ..FlowTotals::default()
    };
    let (format, exporter) = (RecordFormat::Ipfix, address(EXPORTER));
    let record = Record { format, exporter, outcome, totals, sampling: 1 };
    scene.tell(&flow, FlowFact::Record(Box::new(record)));
}

#[test]
fn an_answered_record_is_vms_a_service_and_a_peer_of_little_certainty() {
    let mut scene = Scene::new();
    recorded(&mut scene, Transport::Tcp, Outcome::Answered);
    assert_eq!(scene.told(), ["vm-new", "vm-new", "service-new 80 level 2", "peer-new 80"]);
    let row = scene.row("10.0.0.9 tcp/80");
    assert_eq!(row.basis, Basis { level: 2, closed_at: None, sight: Sight::Record });
    assert_eq!(row.evidence, "IPFIX record of 192.0.2.1 in frame 1");
    assert_eq!((row.flows, row.bytes_to_server, row.bytes_to_client, row.confidence()), (1, 600, 900, 0.75));
    recorded(&mut scene, Transport::Tcp, Outcome::Answered);
    assert_eq!(scene.told(), ["service-used 80", "peer-used 80"]);
    assert_eq!(scene.row("10.0.0.9 tcp/80").basis.level, 2, "more records are not more proof");
}

#[test]
fn a_record_that_does_not_tell_who_serves_shows_the_vms_only() {
    for outcome in [Outcome::Unclear, Outcome::Refused] {
        let mut scene = Scene::new();
        recorded(&mut scene, Transport::Tcp, outcome);
        assert_eq!(scene.told(), ["vm-new", "vm-new"], "{outcome:?}");
        assert!(scene.rows().is_empty());
    }
    let mut scene = Scene::new();
    recorded(&mut scene, Transport::Udp, Outcome::OneWay);
    assert_eq!(scene.told(), ["vm-new"], "who was asked never sent anything");
}

#[test]
fn a_record_on_a_well_known_datagram_port_is_no_better_than_another() {
    let mut scene = Scene::new();
    let flow = scene.flow(Transport::Udp, CLIENT, ("10.0.0.9", 53, 9));
    let totals = FlowTotals { orig_packets: 1, resp_packets: 1, ..FlowTotals::default() };
    let (format, exporter) = (RecordFormat::NetFlow, address(EXPORTER));
    let record = Record { format, exporter, outcome: Outcome::Answered, totals, sampling: 1 };
    scene.tell(&flow, FlowFact::Record(Box::new(record)));
    assert_eq!(scene.row("10.0.0.9 udp/53").basis.level, 2);
}

#[test]
fn packets_prove_more_than_records_and_records_take_nothing_away() {
    let mut scene = Scene::new();
    recorded(&mut scene, Transport::Tcp, Outcome::Answered);
    scene.told();
    scene.handshake(CLIENT, WEB);
    assert!(scene.told().contains(&"service-raised 80 level 3".to_owned()));
    recorded(&mut scene, Transport::Tcp, Outcome::Answered);
    let basis = scene.row("10.0.0.9 tcp/80").basis;
    assert_eq!((basis.level, basis.sight), (3, Sight::Whole));
}
