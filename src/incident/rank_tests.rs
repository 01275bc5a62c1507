//! How incidents come by their rank, and what the alert budget learns from them.
#![cfg(test)]

use super::tests::{at, finding, incidents, take, vm};
use super::*;
use crate::model::{Detector, Finding, Rank, RankedBy, Severity, Surprise};

static SERVICE: Detector = Detector { signature_id: 2, name: "new-service", signature: "", techniques: &[] };
static PEER: Detector = Detector { signature_id: 5, name: "new-peer", signature: "", techniques: &[] };

const DAY_S: i64 = 86_400;
const DAY_NS: i64 = DAY_S * 1_000_000_000;

fn of(severity: Severity, n: u8, port: u16, second: i64) -> Finding {
    Finding { severity, surprise: Surprise::of(severity), ..finding(&SERVICE, n, port, second) }
}

fn rank(incidents: &Incidents, joined: Joined) -> Rank {
    incidents.get(joined.incident).map(|i| i.ranking.rank).expect("it is there")
}

fn counted(incidents: &Incidents) -> u64 {
    incidents.calendar().map(|day| day.page + day.notice + day.digest).sum()
}

#[test]
fn an_incident_is_ranked_when_it_opens_and_again_when_it_gets_worse() {
    let mut incidents = incidents();
    let (opened, _) = take(&mut incidents, &of(Severity::Low, 1, 80, 0));
    assert_eq!(rank(&incidents, opened), Rank::Notice);
    let (same, events) = take(&mut incidents, &of(Severity::Low, 1, 80, 1));
    assert_eq!((rank(&incidents, same), events.len()), (Rank::Notice, 0));
    let (worse, events) = take(&mut incidents, &of(Severity::High, 1, 80, 2));
    assert_eq!((rank(&incidents, worse), events.len()), (Rank::Page, 1));
    let (better, _) = take(&mut incidents, &of(Severity::Low, 1, 80, 3));
    assert_eq!(rank(&incidents, better), Rank::Page, "it does not sink");
    assert_eq!(incidents.calendar().map(|day| (day.notice, day.page, day.raised)).collect::<Vec<_>>(), [(1, 0, 1)]);
}

#[test]
fn the_always_report_list_is_a_page_and_is_told_though_its_severity_is_low() {
    let mut incidents = incidents();
    let (first, _) = take(&mut incidents, &of(Severity::Low, 1, 23, 0));
    let listed = Finding { always: true, ..of(Severity::Low, 1, 23, 1) };
    let (joined, events) = take(&mut incidents, &listed);
    assert_eq!((joined.incident, events.len()), (first.incident, 1));
    let ranking = incidents.get(joined.incident).expect("it is there").ranking;
    assert_eq!((ranking.rank, ranking.by), (Rank::Page, RankedBy::AlwaysReport));
}

#[test]
fn pages_notices_and_lines_of_the_digest_are_all_the_incidents_there_were() {
    let mut incidents = incidents();
    let mut opened = 0;
    for n in 0..200u16 {
        // A remark alone has no incident.
        let severity = Severity::ALL[1 + usize::from(n) % 4];
        opened += u64::from(take(&mut incidents, &of(severity, 1, n + 1, i64::from(n) * 7_200)).0.opened);
    }
    let id = incidents.list()[0].id;
    incidents.resolve(id, "ann", "done", at(0)).expect("it is open");
    opened += u64::from(take(&mut incidents, &of(Severity::Low, 1, 1, 60)).0.opened);
    let mut report = Vec::new();
    incidents.report(&mut report);
    let of = |name: &str| report.iter().filter(|(n, _)| n.starts_with(name)).map(|(_, v)| v).sum::<u64>();
    assert_eq!((opened, counted(&incidents)), (201, 201));
    assert_eq!(of("incident.rank.") - of("incident.rank.raised"), 201);
}

/// `days` with twenty high incidents each: of one VM, or each of a VM of its own.
fn flood(days: i64, one_vm: bool) -> Incidents {
    let mut incidents = incidents();
    for day in 0..days {
        for n in 0..20u8 {
            let (vm, port) = if one_vm { (1, n) } else { (n + 1, 0) };
            let port = 1_000 + u16::from(port) + 100 * u16::try_from(day).expect("few days");
            let (joined, _) = take(&mut incidents, &of(Severity::High, vm, port, day * DAY_S + i64::from(n)));
            if !one_vm {
                incidents.resolve(joined.incident, "ann", "a change of ours", at(day * DAY_S)).expect("it is open");
            }
        }
        incidents.watch((day + 1) * DAY_NS, || 200);
    }
    incidents
}

#[test]
fn a_flood_inside_an_open_incident_does_not_move_the_threshold_and_one_of_incidents_of_their_own_does() {
    assert_eq!(flood(20, true).standing().page, Surprise::ZERO);
    let moved = flood(20, false).standing();
    assert!(moved.page > Surprise::of(Severity::High), "{moved:?}");
    assert_eq!((moved.vms, moved.pages_per_day), (200, 0.4));
}

#[test]
fn after_a_day_of_fake_novelty_the_attack_is_a_page_at_the_same_infection() {
    // From 10.0.0.2 on each VM infects the next: a new service of the victim that the last one used first.
    let pages = |quiet: i64, noise: u8| {
        let mut incidents = incidents();
        (1..=quiet).for_each(|day| incidents.watch(day * DAY_NS, || 200));
        for n in 0..noise {
            take(&mut incidents, &of(Severity::High, 100 + n, 9_000, quiet * DAY_S + i64::from(n)));
        }
        incidents.watch((quiet + 1) * DAY_NS, || 200);
        let infected = (2..10u8).map(|n| {
            let peer = Some((Some(vm(n - 1)), std::net::IpAddr::from([10, 0, 0, n - 1])));
            let step = Finding {
                peer,
                surprise: Surprise::from_nats(0.5),
                ..of(Severity::High, n, 4_444, (quiet + 1) * DAY_S)
            };
            let (joined, _) = take(&mut incidents, &step);
            rank(&incidents, joined)
        });
        infected.collect::<Vec<_>>()
    };
    for quiet in [0, 1, 5, 12] {
        assert_eq!(pages(quiet, 150), pages(quiet, 0), "after {quiet} quiet days");
    }
    assert_eq!(pages(12, 0), [Rank::Page; 8]);
    assert_eq!(pages(1, 0), [Rank::Notice; 8], "the threshold has not come down yet");
}

#[test]
fn remarks_of_one_vm_count_once_a_day() {
    let mut incidents = incidents();
    for day in 0..20 {
        for n in 0..200u16 {
            let low = Finding {
                severity: Severity::Low,
                surprise: Surprise::of(Severity::Low),
                ..finding(&PEER, 1, n + 1, day * DAY_S + i64::from(n))
            };
            take(&mut incidents, &low);
        }
        incidents.watch((day + 1) * DAY_NS, || 100);
    }
    assert_eq!(incidents.standing().notice, Surprise::ZERO);
}
