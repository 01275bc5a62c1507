//! What the events look like, by the contract's examples.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Eve, Sink};
use crate::model::*;

static NEW_SERVICE: Detector =
    Detector { signature_id: 2, name: "new-service", signature: "EASTWATCH new service", techniques: &["T1571"] };

fn time() -> Timestamp {
    Timestamp::from_parts(1_767_225_600, 0)
}

fn flow(transport: Transport) -> FlowRef {
    let end = |last, port| Endpoint { ip: IpAddr::from([10, 0, 0, last]), port, mac: None, host_hint: None };
    FlowRef {
        id: 0x1f_ffff_ffff_ffff,
        segment: Segment::UNTAGGED.with(LayerKind::Vlan, 10),
        transport,
        orig: end(9, 40000),
        resp: end(5, 4444),
        first_seen: time(),
        first_frame: 1042,
    }
}

fn finding(flow: Option<FlowRef>) -> Finding {
    Finding {
        detector: &NEW_SERVICE,
        severity: Severity::High,
        time: time(),
        vm: VmId::derive(&[b"db1"], 0),
        vm_label: "db1".to_owned(),
        vm_name: Some("db1".to_owned()),
        service: Some((Transport::Tcp, 4444, None)),
        peer: None,
        flow,
        title: "db1 serves tcp/4444".to_owned(),
        reason: "first service on tcp/4444 after 41 learned flows".to_owned(),
        evidence: Evidence { frames: vec![1042, 1043], facts: vec![("answer".to_owned(), "SYN-ACK".to_owned())] },
        quality: CaptureQuality::default(),
    }
}

fn one(tell: impl FnOnce(&mut Eve)) -> (String, Value) {
    let mut eve = Eve::new(Sink::memory());
    tell(&mut eve);
    let text = eve.sink().text();
    assert_eq!(text.lines().count(), 1, "{text}");
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(event["timestamp"], "2026-01-01T00:00:00.000000+0000");
    assert_eq!(event["eastwatch"]["schema"], 1);
    assert_eq!(eve.counters().written, 1);
    (text, event)
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn an_alert_is_what_the_contract_shows_in_suricatas_order() {
    let incident = IncidentId::derive(&[b"x"], 0);
    let (_, event) = one(|eve| eve.alert(&finding(Some(flow(Transport::Tcp))), Some(incident)).unwrap());
    let order = [
        "timestamp",
        "flow_id",
        "event_type",
        "src_ip",
        "src_port",
        "dest_ip",
        "dest_port",
        "proto",
        "vlan",
        "community_id",
        "alert",
        "eastwatch",
    ];
    assert_eq!(keys(&event), order);
    assert_eq!(event["flow_id"], 0x1f_ffff_ffff_ffff_u64);
    assert_eq!((&event["proto"], &event["vlan"]), (&json!("TCP"), &json!([10])));
    assert_eq!(
        event["alert"],
        json!({"action": "allowed", "gid": 9001, "signature_id": 2, "rev": 1, "signature": "EASTWATCH new service",
               "category": "Deviation From Baseline", "severity": 1, "metadata": {"mitre_technique_id": ["T1571"]}})
    );
    let ours = &event["eastwatch"];
    assert_eq!(ours["service"], json!({"proto": "tcp", "port": 4444, "app_proto": null}));
    assert_eq!(ours["incident"], incident.to_string());
    assert_eq!(ours["evidence"]["frames"], json!([1042, 1043]));
    assert_eq!(ours["capture_quality"], json!({"loss": 0.0, "one_way": 0.0, "duplicates": 0.0}));
    for key in ["detector", "severity", "vm", "vm_name", "reason"] {
        assert!(ours[key].is_string(), "{key}");
    }
}

#[test]
fn an_alert_without_a_flow_has_no_addresses() {
    let (text, event) = one(|eve| eve.alert(&finding(None), None).unwrap());
    assert_eq!(keys(&event), ["timestamp", "event_type", "alert", "eastwatch"], "{text}");
}

#[test]
fn an_icmp_flow_has_neither_ports_nor_a_community_id() {
    let (text, event) = one(|eve| eve.alert(&finding(Some(flow(Transport::Icmp))), None).unwrap());
    assert!(event.get("src_port").is_none() && event.get("community_id").is_none(), "{text}");
    assert_eq!(event["proto"], "ICMP");
}

#[test]
fn a_flow_has_suricatas_names() {
    let totals = FlowTotals {
        orig_packets: 5,
        resp_packets: 4,
        orig_bytes: 338,
        resp_bytes: 272,
        last_seen: time().plus_s(2),
        missed_bytes: 7,
    };
    let app = AppInfo::new("http", None);
    let (_, event) =
        one(|eve| eve.flow(time(), &flow(Transport::Tcp), &totals, FlowEnd::Shutdown, Some(&app)).unwrap());
    assert_eq!(event["app_proto"], "http");
    assert_eq!(
        event["flow"],
        json!({"pkts_toserver": 5, "pkts_toclient": 4, "bytes_toserver": 338, "bytes_toclient": 272,
               "start": "2026-01-01T00:00:00.000000+0000", "end": "2026-01-01T00:00:02.000000+0000", "age": 2,
               "state": "established", "reason": "shutdown"})
    );
    assert_eq!(event["eastwatch"], json!({"schema": 1, "end": "shutdown", "missed_bytes": 7}));
}

#[test]
fn counters_are_nested_at_their_dots_whatever_their_order() {
    let counters =
        [("decode.discard.short", 3), ("flow", 1), ("flow.evicted", 2), ("decode.packets", 9), ("decode.discard", 4)];
    let (text, event) = one(|eve| eve.stats(time(), &counters).unwrap());
    assert_eq!(event["stats"]["decode"]["packets"], 9, "{text}");
    assert_eq!(event["stats"]["decode"]["discard"], 4);
    assert_eq!(event["stats"]["decode"]["discard.short"], 3);
    assert_eq!((&event["stats"]["flow"], &event["stats"]["flow.evicted"]), (&json!(1), &json!(2)));
    let mut reversed = counters;
    reversed.reverse();
    assert_eq!(one(|eve| eve.stats(time(), &reversed).unwrap()).0, text);
}

#[test]
fn services_vms_and_incidents_stand_under_their_own_name() {
    let fields: Map<String, Value> = Map::from_iter([("change".to_owned(), "new".into())]);
    let (_, event) = one(|eve| eve.service(time(), Some(&flow(Transport::Udp)), fields.clone()).unwrap());
    assert_eq!((&event["event_type"], &event["service"]["change"]), (&json!("service"), &json!("new")));
    let (_, event) = one(|eve| eve.vm(time(), fields).unwrap());
    assert_eq!((&event["event_type"], &event["vm"]["change"]), (&json!("vm"), &json!("new")));

    let incident = Incident {
        id: IncidentId::derive(&[b"x"], 0),
        state: IncidentState::Growing,
        severity: Severity::High,
        detector: "new-service".to_owned(),
        signature_id: 2,
        techniques: vec![],
        title: "t".to_owned(),
        reason: "line one\nline two \u{1b}[31m".to_owned(),
        vm: VmId::derive(&[b"db1"], 0),
        vm_name: None,
        ip: None,
        segment: Segment::UNTAGGED,
        service: None,
        first_seen: time(),
        last_seen: time(),
        findings: 2,
        samples: vec![],
        timeline: vec![],
        timeline_dropped: 0,
    };
    // A line break and an escape in a text stay inside the one line.
    let (text, event) = one(|eve| eve.incident(time(), &incident, Some(IncidentState::Open)).unwrap());
    assert!(!text.contains('\u{1b}'));
    assert_eq!(event["incident"]["previous_state"], "open");
    assert_eq!((&event["incident"]["state"], &event["incident"]["findings"]), (&json!("growing"), &json!(2)));
}

#[test]
fn lost_events_are_counted_as_lost_not_as_written() {
    let mut eve = Eve::new(Sink::open(std::path::Path::new("/dev/full")).unwrap());
    eve.stats(time(), &[]).unwrap();
    assert!(eve.flush().is_err());
    let counters = eve.counters();
    assert_eq!((counters.written, counters.lost, counters.errors), (0, 1, 1));
}
