//! What is one more of something known, and what only looks like it.
#![cfg(test)]

use super::super::world::{Lab, app, key, vm};
use crate::baseline::Mode;
use crate::inventory::{Basis, What};
use crate::model::{AppInfo, Finding, ServiceKey};

const LSA: &str = "12345778-1234-abcd-ef00-0123456789ab";
const TASKS: &str = "86d35949-83c9-4044-b424-db363231fd0c";

fn ripe() -> Lab {
    let mut lab = Lab::new(Mode::Auto);
    lab.ripen(vm(1));
    lab
}

fn shows(lab: &mut Lab, service: ServiceKey, client: u8, info: AppInfo) -> Vec<Finding> {
    let change = lab.change(What::ServiceApp { service, before: None, now: Box::new(info) }, client);
    lab.judge(&change)
}

/// The server's first bytes; what they are is not read yet.
fn speaks(lab: &mut Lab, service: ServiceKey, client: u8) -> Vec<Finding> {
    let basis = Basis { level: 4, ..lab.known.rows[&service].basis };
    let change = lab.change(What::ServiceRaised { service, basis }, client);
    lab.judge(&change)
}

fn rpc(interface: &str) -> AppInfo {
    let mut info = AppInfo::new("dcerpc", None);
    info.detail("interfaces", interface);
    info
}

/// VM 1 is ripe and offers LSA on tcp/49664.
fn controller() -> Lab {
    let mut lab = Lab::new(Mode::Auto);
    lab.serve(key(1, 49_664), 2);
    lab.learn_app(key(1, 49_664), rpc(LSA));
    lab.ripen(vm(1));
    lab
}

#[test]
fn a_known_interface_on_another_port_after_a_restart_is_quiet_and_learned() {
    let mut lab = controller();
    assert_eq!(lab.opens(key(1, 49_670), 3, 9), []);
    assert_eq!(speaks(&mut lab, key(1, 49_670), 9), [], "its payload is waited for");
    assert_eq!(shows(&mut lab, key(1, 49_670), 9, rpc(LSA)), []);
    assert_eq!(lab.uses(key(1, 49_670), 8), []);
    assert!(lab.baselines.is_learned(&key(1, 49_670)));
}

#[test]
fn an_interface_that_was_never_offered_speaks_and_so_does_a_known_one_below_the_dynamic_ports() {
    for (port, interface) in [(49_670, TASKS), (4_444, LSA)] {
        let mut lab = controller();
        let mut found = lab.opens(key(1, port), 3, 9);
        found.extend(speaks(&mut lab, key(1, port), 9));
        found.extend(shows(&mut lab, key(1, port), 9, rpc(interface)));
        assert!(!found.is_empty(), "{port} {interface}");
        assert!(!lab.baselines.is_learned(&key(1, port)));
    }
}

#[test]
fn what_says_nothing_on_a_dynamic_port_of_a_controller_speaks_within_a_second() {
    let mut lab = controller();
    lab.opens(key(1, 49_670), 3, 9);
    assert_eq!(speaks(&mut lab, key(1, 49_670), 9), []);
    let found = lab.after_s(1).see(What::Tick);
    assert_eq!(found.iter().map(|f| (f.vm, f.flow.is_some())).collect::<Vec<_>>(), [(vm(1), true)]);
    assert!(found[0].reason.contains("no known protocol was recognised"), "{}", found[0].reason);
}

/// VMs 1 to 6 are one ripe role; `serving` serve tcp/3389 as RDP to VM 20.
fn servers(serving: &[u8]) -> Lab {
    let mut lab = Lab::new(Mode::Auto);
    lab.seat_together(&[1, 2, 3, 4, 5, 6, 7, 8], serving, 3_389);
    for n in serving {
        lab.learn_app(key(*n, 3_389), AppInfo::new("rdp", None));
        lab.knows(vm(20), key(*n, 3_389));
    }
    lab
}

/// What is told when `client` comes to VM 8 by tcp/3389, which speaks `proto`.
fn comes(lab: &mut Lab, client: u8, proto: Option<&'static str>) -> Vec<Finding> {
    let service = key(8, 3_389);
    let mut found = lab.opens(service, 3, client);
    found.extend(speaks(lab, service, client));
    if let Some(proto) = proto {
        found.extend(shows(lab, service, client, AppInfo::new(proto, None)));
    }
    found.extend(lab.after_s(1).see(What::Tick));
    found.retain(|finding| finding.vm == vm(8) && finding.detector.name == "new-service");
    found
}

#[test]
fn an_administrator_of_three_of_a_role_comes_to_the_fourth_in_silence() {
    let mut lab = servers(&[1, 2, 3]);
    assert_eq!(comes(&mut lab, 20, Some("rdp")), []);
    assert_eq!(lab.uses(key(8, 3_389), 21), [], "it is known now, whoever uses it");
    assert!(lab.baselines.is_learned(&key(8, 3_389)));
}

#[test]
fn who_administers_none_of_them_two_that_serve_another_application_and_none_at_all_speak() {
    let told = |serving: &[u8], client, proto| !comes(&mut servers(serving), client, proto).is_empty();
    assert!(told(&[1, 2, 3], 21, Some("rdp")), "a client of none");
    assert!(told(&[1, 2], 20, Some("rdp")), "two are no custom");
    assert!(told(&[1, 2, 3], 20, Some("ssh")), "not what the others speak");
    assert!(told(&[1, 2, 3], 20, None), "nothing that can be read");
}

#[test]
fn another_application_on_a_port_that_all_of_the_role_serve_speaks() {
    for (proto, told) in [("http", 0), ("ssh", 1)] {
        let mut lab = Lab::new(Mode::Auto);
        lab.seat_together(&[1, 2, 3, 4, 5], &[1, 2, 3, 4], 9_100);
        (1..=4).for_each(|n| lab.learn_app(key(n, 9_100), AppInfo::new("http", None)));
        let mut found = lab.opens(key(5, 9_100), 3, 9);
        found.extend(shows(&mut lab, key(5, 9_100), 9, AppInfo::new(proto, None)));
        assert_eq!(found.len(), told, "{proto}: {found:?}");
    }
}

#[test]
fn the_same_opaque_port_on_members_of_a_role_within_minutes_is_a_worm_and_each_speaks() {
    let mut lab = Lab::new(Mode::Auto);
    lab.seat_together(&[1, 2, 3, 4, 5, 6], &[], 9_100);
    for n in 1..=6 {
        // From one victim to the next, on the port of Delivery Optimization for once.
        let found = lab.after_s(60).opens(key(n, 7_680), 3, n + 1);
        assert_eq!(found, []);
        let mut found = speaks(&mut lab, key(n, 7_680), n + 1);
        found.extend(lab.after_s(1).see(What::Tick));
        found.retain(|finding| finding.detector.name == "new-service");
        assert_eq!(found.len(), 1, "victim {n}");
    }
}

fn shares(lab: &mut Lab, n: u8, from: u8) -> Vec<Finding> {
    let service = key(n, 7_680);
    let mut found = lab.opens(service, 3, from);
    found.extend(speaks(lab, service, from));
    found.extend(shows(lab, service, from, app("msdo", "", "")));
    found
}

#[test]
fn updates_handed_from_like_to_like_are_quiet_once_there_are_two() {
    let mut lab = ripe();
    lab.ripen(vm(2));
    assert_eq!(shares(&mut lab, 1, 2), []);
    assert_eq!(shares(lab.after_s(600), 2, 1), []);
    assert_eq!(lab.uses(key(1, 7_680), 2), []);
    assert_eq!(lab.uses(key(2, 7_680), 1), []);
    assert!(lab.baselines.is_learned(&key(1, 7_680)) && lab.baselines.is_learned(&key(2, 7_680)));
    for _ in 0..30 {
        assert_eq!(lab.after_s(3_600).see(What::Tick), []);
    }
}

#[test]
fn who_hands_out_updates_alone_for_a_day_speaks() {
    let mut lab = ripe();
    assert_eq!(shares(&mut lab, 1, 2), []);
    assert_eq!(lab.after_s(80_000).see(What::Tick), []);
    let found = lab.after_s(6_500).see(What::Tick);
    assert_eq!(found.iter().map(|f| f.title.as_str()).collect::<Vec<_>>(), ["vm01 answers on tcp/7680 (msdo)"]);
}

#[test]
fn half_of_a_role_that_is_two_excuse_no_remote_access_and_other_services_they_do() {
    for (port, proto, told) in [(3_389, "rdp", true), (8_090, "http", false)] {
        let mut lab = Lab::new(Mode::Auto);
        lab.seat_together(&[1, 2, 3, 4], &[1, 2], port);
        [1, 2].iter().for_each(|n| lab.learn_app(key(*n, port), AppInfo::new(proto, None)));
        let mut found = lab.opens(key(4, port), 3, 9);
        found.extend(speaks(&mut lab, key(4, port), 9));
        found.extend(shows(&mut lab, key(4, port), 9, AppInfo::new(proto, None)));
        assert_eq!(!found.is_empty(), told, "{port}: {found:?}");
    }
}

#[test]
fn members_that_lived_for_hours_do_not_make_what_the_others_serve_unusual() {
    for (lives, told) in [(60, true), (4, false)] {
        let mut lab = Lab::new(Mode::Auto);
        lab.seat_together(&[1, 2, 3, 4, 5], &[1, 2, 3], 8_090);
        // Six more come, which nobody asks for tcp/8090; they go after a while, or stay.
        for half_hour in 0..60 {
            for n in 10..=15 {
                let alive = half_hour < lives;
                (80..=85).filter(|_| alive).for_each(|port| lab.serve(key(n, port), 1));
            }
            lab.after_s(1_800);
            lab.see(What::Tick);
            lab.baselines.tick(&lab.known, lab.now);
        }
        let members = lab.baselines.roles().of(vm(4)).map_or(0, |(_, role)| role.members.len());
        assert_eq!(members, 11);
        assert_eq!(!lab.opens(key(4, 8_090), 4, 9).is_empty(), told, "{lives} half hours");
    }
}
