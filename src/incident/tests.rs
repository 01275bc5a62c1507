//! The life of incidents.
#![cfg(test)]

use std::net::IpAddr;

use super::*;
use crate::model::{
    AppProto, CaptureQuality, Detector, Evidence, Finding, ServiceKey, Severity, Surprise, Timestamp, Transport, VmId,
};
use crate::store::{Batch, MemoryStore, Store};

static VM_NEW: Detector = Detector { signature_id: 1, name: "new-vm", signature: "", techniques: &["T1578.002"] };
static SERVICE: Detector = Detector { signature_id: 2, name: "new-service", signature: "", techniques: &["T1571"] };
static PEER: Detector = Detector { signature_id: 5, name: "new-peer", signature: "", techniques: &["T1021"] };

pub(super) fn vm(n: u8) -> VmId {
    VmId::derive(&[&[n]], 0)
}

fn key(n: u8, port: u16) -> ServiceKey {
    ServiceKey { vm: vm(n), transport: Transport::Tcp, port }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_parts(1_767_225_600, 0).plus_s(second)
}

pub(super) fn finding(detector: &'static Detector, n: u8, port: u16, second: i64) -> Finding {
    Finding {
        fold: None,
        surprise: Surprise::of(Severity::High),
        always: false,
        detector,
        severity: Severity::High,
        time: at(second),
        vm: vm(n),
        vm_label: format!("10.0.0.{n}"),
        vm_name: None,
        service: (port != 0).then_some((Transport::Tcp, port, None)),
        peer: Some((None, IpAddr::from([10, 0, 0, 200]))),
        flow: None,
        title: format!("{} {port}", detector.name),
        reason: "because".to_owned(),
        evidence: Evidence { frames: vec![7], facts: Vec::new() },
        quality: CaptureQuality::default(),
    }
}

pub(super) fn take(incidents: &mut Incidents, finding: &Finding) -> (Joined, Vec<IncidentEvent>) {
    let mut out = Vec::new();
    let joined = incidents.take(finding, &mut out).unwrap();
    (joined, out)
}

pub(super) fn incidents() -> Incidents {
    Incidents::new(IncidentConfig::default())
}

#[test]
fn a_finding_opens_one_and_its_like_joins_it() {
    let mut incidents = incidents();
    let (first, events) = take(&mut incidents, &finding(&SERVICE, 1, 4_444, 0));
    assert!(first.opened);
    assert!(matches!(&events[..], [IncidentEvent::Opened(i)] if i.ip == Some(IpAddr::from([10, 0, 0, 1]))));
    let (again, events) = take(&mut incidents, &finding(&SERVICE, 1, 4_444, 1));
    assert_eq!((again.incident, again.opened, events.len()), (first.incident, false, 0), "told in silence");
    assert_eq!(incidents.get(first.incident).map(|i| i.findings), Some(2));
}

#[test]
fn an_arrival_that_is_reached_stays_at_info_and_what_is_worse_has_its_own() {
    let mut incidents = incidents();
    let arrival = Finding {
        severity: Severity::Info,
        fold: Some("arrivals".to_owned()),
        surprise: Surprise::of(Severity::Info),
        ..finding(&VM_NEW, 1, 0, 0)
    };
    let id = take(&mut incidents, &arrival).0.incident;
    for (severity, own) in [(Severity::Low, false), (Severity::Medium, true)] {
        let reached = Finding {
            severity,
            peer: Some((Some(vm(1)), IpAddr::from([10, 0, 0, 1]))),
            surprise: Surprise::of(severity),
            ..finding(&PEER, 9, 443, 10)
        };
        assert_eq!(take(&mut incidents, &reached).0.incident != id, own, "{severity}");
    }
    let known = incidents.get(id).expect("open");
    assert_eq!((known.severity, known.findings), (Severity::Info, 2));
}

#[test]
fn another_service_vm_or_detector_opens_another() {
    let mut incidents = incidents();
    for other in
        [finding(&SERVICE, 1, 1, 0), finding(&SERVICE, 1, 2, 0), finding(&SERVICE, 2, 1, 0), finding(&PEER, 1, 1, 0)]
    {
        assert!(take(&mut incidents, &other).0.opened);
    }
    assert_eq!(incidents.list().len(), 4);
}

#[test]
fn growth_is_told_at_three_times_the_findings() {
    let mut incidents = incidents();
    let told =
        (0..30).filter(|s| !take(&mut incidents, &finding(&SERVICE, 1, 4_444, *s)).1.is_empty()).collect::<Vec<_>>();
    assert_eq!(told, vec![0, 2, 8, 26]);
    let incident = incidents.list()[0];
    assert_eq!(incident.state, IncidentState::Growing);
    assert_eq!(incident.samples.len(), crate::model::Incident::SAMPLES_MAX);
}

#[test]
fn a_new_vm_absorbs_its_services_and_takes_their_severity() {
    let mut incidents = incidents();
    let mut newcomer = finding(&VM_NEW, 1, 0, 0);
    newcomer.severity = Severity::Medium;
    let (first, _) = take(&mut incidents, &newcomer);
    let (second, events) = take(&mut incidents, &finding(&SERVICE, 1, 22, 1));
    assert_eq!(second.incident, first.incident);
    assert_eq!(events.len(), 1);
    let incident = incidents.get(first.incident).expect("it is there");
    assert_eq!((incident.severity, incident.state), (Severity::High, IncidentState::Growing));
    assert_eq!(incident.techniques, vec!["T1578.002", "T1571"]);
    assert!(take(&mut incidents, &finding(&SERVICE, 2, 22, 1)).0.opened, "another VM's is its own");
    incidents.resolve(first.incident, "ann", "known now", at(2)).expect("it is open");
    assert!(take(&mut incidents, &finding(&SERVICE, 1, 23, 3)).0.opened, "a resolved one absorbs nothing");
}

#[test]
fn an_absorbed_service_is_of_concern_until_the_incident_is_resolved_and_another_is_not() {
    let mut incidents = incidents();
    let id = take(&mut incidents, &finding(&VM_NEW, 1, 0, 0)).0.incident;
    take(&mut incidents, &finding(&SERVICE, 1, 22, 1));
    take(&mut incidents, &finding(&PEER, 1, 53, 1));
    assert_eq!([53, 54].map(|port| incidents.concerns_peer(vm(1), &key(2, port))), [true, false]);
    let (absorbed, other) = (key(1, 22), key(1, 23));
    assert_eq!((incidents.concern(&absorbed), incidents.concern(&other)), (Some("new-service"), None));
    let (mut batch, mut store) = (Batch::default(), MemoryStore::default());
    incidents.save(&mut batch);
    store.apply(&batch).unwrap();
    let mut loaded = Incidents::load(&store, IncidentConfig::default(), AlertsConfig::default()).unwrap();
    assert_eq!(loaded.concern(&absorbed), Some("new-service"));
    loaded.merge(key(7, 22).vm, absorbed.vm);
    assert_eq!((loaded.concern(&absorbed), loaded.concern(&key(7, 22))), (None, Some("new-service")));
    incidents.resolve(id, "ann", "known now", at(2)).expect("it is open");
    assert_eq!(incidents.concern(&absorbed), None);
}

#[test]
fn an_acknowledged_one_stays_so_until_it_gets_worse() {
    let mut incidents = incidents();
    let id = take(&mut incidents, &finding(&SERVICE, 1, 22, 0)).0.incident;
    let event = incidents.ack(id, "ann", "on it", at(1)).expect("it is open");
    assert!(matches!(event, IncidentEvent::Changed { from: IncidentState::Open, .. }));
    for second in 2..9 {
        take(&mut incidents, &finding(&SERVICE, 1, 22, second));
    }
    assert_eq!(incidents.get(id).map(|i| i.state), Some(IncidentState::Acknowledged));
    let mut worse = finding(&SERVICE, 1, 22, 10);
    worse.severity = Severity::Critical;
    assert_eq!(take(&mut incidents, &worse).1.len(), 1);
    assert_eq!(incidents.get(id).map(|i| i.state), Some(IncidentState::Growing));
}

#[test]
fn a_resolved_one_is_opened_again_within_a_month_and_replaced_later() {
    let mut incidents = incidents();
    let id = take(&mut incidents, &finding(&SERVICE, 1, 22, 0)).0.incident;
    incidents.resolve(id, "ann", "done", at(1)).expect("it is open");
    let (again, events) = take(&mut incidents, &finding(&SERVICE, 1, 22, 86_400));
    assert_eq!((again.incident, again.opened), (id, true));
    assert!(
        matches!(&events[..], [IncidentEvent::Changed { from: IncidentState::Resolved, incident }] if incident.state == IncidentState::Open)
    );
    let what: Vec<&str> = incidents.get(id).expect("there").timeline.iter().map(|e| e.what.as_str()).collect();
    assert_eq!(what, vec!["opened", "resolved", "reopened"]);
    incidents.resolve(id, "ann", "done", at(86_401)).expect("it is open");
    let later = take(&mut incidents, &finding(&SERVICE, 1, 22, 86_401 + 30 * 86_400)).0;
    assert_ne!(later.incident, id);
}

#[test]
fn wrong_steps_are_refused_with_who_and_when() {
    let mut incidents = incidents();
    let id = take(&mut incidents, &finding(&SERVICE, 1, 22, 0)).0.incident;
    incidents.resolve(id, "ann", "", at(60)).expect("it is open");
    assert!(incidents.ack(id, "bob", "", at(2)).unwrap_err().contains("by ann at 2026-01-01 00:01:00"));
    assert!(incidents.resolve(id, "bob", "", at(2)).is_err());
    assert!(incidents.comment(id, "bob", "  ", at(2)).is_err());
    assert!(incidents.comment(id, "bob", "was a test\u{1b}[2J", at(2)).is_ok());
    assert!(!incidents.get(id).expect("there").timeline[2].text.contains('\u{1b}'));
    let unknown = crate::model::IncidentId::derive(&[b"none"], 0);
    assert!(incidents.ack(unknown, "bob", "", at(2)).unwrap_err().contains("no incident"));
}

#[test]
fn a_sanction_resolves_what_is_open_on_it_and_nothing_else() {
    let mut incidents = incidents();
    for open in [
        finding(&SERVICE, 1, 22, 0),
        finding(&SERVICE, 1, 23, 0),
        finding(&PEER, 1, 22, 0),
        finding(&SERVICE, 2, 22, 0),
    ] {
        take(&mut incidents, &open);
    }
    let mut out = Vec::new();
    incidents.sanctioned(
        vm(1),
        Some((Transport::Tcp, 22)),
        Some(&AppProto::new("ssh")),
        "ann",
        "planned",
        at(5),
        &mut out,
    );
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].incident().state, out[0].incident().signature_id), (IncidentState::Resolved, 2));
    out.clear();
    incidents.sanctioned(vm(1), None, None, "ann", "all of it", at(6), &mut out);
    assert_eq!(out.len(), 2);
}

#[test]
fn low_ones_end_by_themselves_and_high_ones_never() {
    let mut incidents = incidents();
    let mut low = finding(&PEER, 1, 22, 0);
    low.severity = Severity::Low;
    let low = take(&mut incidents, &low).0.incident;
    let high = take(&mut incidents, &finding(&SERVICE, 1, 22, 0)).0.incident;
    let mut out = Vec::new();
    incidents.tick(at(29 * 86_400), &mut out);
    assert!(out.is_empty());
    incidents.tick(at(30 * 86_400), &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].incident().id, low);
    incidents.tick(at(121 * 86_400), &mut out);
    assert!(incidents.get(low).is_none());
    assert_eq!(incidents.get(high).map(|i| i.state), Some(IncidentState::Open));
}

#[test]
fn a_full_register_forgets_the_resolved_then_the_least_severe() {
    let mut incidents = Incidents::new(IncidentConfig { incidents_max: 3, ..IncidentConfig::default() });
    let resolved = take(&mut incidents, &finding(&SERVICE, 1, 1, 0)).0.incident;
    incidents.resolve(resolved, "ann", "", at(0)).expect("it is open");
    let mut low = finding(&SERVICE, 1, 2, 0);
    low.severity = Severity::Low;
    let low = take(&mut incidents, &low).0.incident;
    for port in 3..6 {
        take(&mut incidents, &finding(&SERVICE, 1, port, 1));
    }
    assert!(incidents.get(resolved).is_none() && incidents.get(low).is_none());
    assert_eq!((incidents.list().len(), incidents.counters.forgotten, incidents.counters.lost), (3, 1, 1));
}

#[test]
fn a_long_timeline_keeps_its_beginning_and_its_end() {
    let mut incidents = incidents();
    let id = take(&mut incidents, &finding(&SERVICE, 1, 22, 0)).0.incident;
    for n in 0..150 {
        incidents.comment(id, "ann", &format!("note {n}"), at(n)).expect("it is there");
    }
    let incident = incidents.get(id).expect("there");
    assert_eq!((incident.timeline.len(), incident.timeline_dropped), (crate::model::Incident::TIMELINE_MAX, 51));
    assert_eq!((incident.timeline[0].what.as_str(), incident.timeline[99].text.as_str()), ("opened", "note 149"));
}

#[test]
fn ids_depend_on_the_finding_only() {
    let (mut one, mut two) = (incidents(), incidents());
    take(&mut two, &finding(&SERVICE, 9, 9, 0));
    let first = take(&mut one, &finding(&SERVICE, 1, 22, 5)).0;
    assert_eq!(first, take(&mut two, &finding(&SERVICE, 1, 22, 5)).0);
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let mut incidents = incidents();
    let id = take(&mut incidents, &finding(&SERVICE, 1, 22, 0)).0.incident;
    take(&mut incidents, &finding(&VM_NEW, 2, 0, 1));
    incidents.ack(id, "ann", "on it", at(2)).expect("it is open");
    incidents.merge(vm(3), vm(1));
    let mut batch = Batch::default();
    incidents.save(&mut batch);
    let loaded =
        Incidents::load(&MemoryStore::of(&batch).expect("memory"), IncidentConfig::default(), AlertsConfig::default())
            .expect("a store");
    assert_eq!(loaded.all, incidents.all);
    assert_eq!(loaded.groups, incidents.groups);
    assert_eq!(loaded.of_vm(vm(3)).len(), 1);
    let mut batch = Batch::default();
    incidents.save(&mut batch);
    assert!(batch.is_empty());
}
