//! Which services stand out among a role, and which do not.
#![cfg(test)]

use super::super::world::{Lab, app, key, vm};
use crate::baseline::Mode;
use crate::inventory::What;
use crate::model::Finding;

const FARM: [u8; 6] = [1, 2, 3, 4, 5, 6];

/// Six alike for thirty hours; those of `odd` serve 8081 too from the first. What is told until two hours later.
fn farm(odd: &[u8]) -> (Lab, Vec<Finding>) {
    let mut lab = Lab::new(Mode::Auto);
    lab.seat_together(&FARM, odd, 8_081);
    let found = ticks(&mut lab);
    (lab, found)
}

fn ticks(lab: &mut Lab) -> Vec<Finding> {
    (0..4).flat_map(|_| lab.after_s(1_800).see(What::Tick)).collect()
}

#[test]
fn what_one_of_six_serves_from_the_beginning_is_told_once() {
    let (mut lab, found) = farm(&[3]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].vm, found[0].detector.name), (vm(3), "new-service"));
    assert!(found[0].reason.contains("none of the other 5 VMs of its role"), "{}", found[0].reason);
    assert!(ticks(&mut lab).is_empty(), "once");
}

#[test]
fn what_two_of_six_serve_is_no_outlier() {
    assert!(farm(&[3, 4]).1.is_empty());
}

#[test]
fn a_sanctioned_one_is_not_told() {
    let mut lab = Lab::new(Mode::Auto);
    lab.sanction(vm(3), Some((crate::model::Transport::Tcp, 8_081)));
    lab.seat_together(&FARM, &[3], 8_081);
    lab.learn_app(key(3, 8_081), app("http", "", ""));
    assert!(ticks(&mut lab).is_empty());
}

#[test]
fn one_in_its_own_ephemeral_range_is_not_told() {
    let mut lab = Lab::new(Mode::Auto);
    lab.uses_source_ports(vm(3), 8_000);
    lab.seat_together(&FARM, &[3], 8_081);
    assert!(ticks(&mut lab).is_empty());
}

#[test]
fn what_many_use_does_its_vms_job_and_remote_access_never_does() {
    for (proto, told) in [("http", 0), ("smb", 0), ("rfb", 1)] {
        let mut lab = Lab::new(Mode::Auto);
        lab.seat_together(&FARM, &[3], 8_081);
        lab.learn_app(key(3, 8_081), app(proto, "", ""));
        lab.known.set_app(key(3, 8_081), app(proto, "", ""));
        lab.known.set_clients(key(3, 8_081), 8);
        assert_eq!(ticks(&mut lab).len(), told, "{proto}");
    }
}

#[test]
fn vms_that_share_only_what_every_server_has_are_no_likes() {
    let mut lab = Lab::new(Mode::Auto);
    let all: Vec<u8> = (1..=20).collect();
    for half_hour in 0..60 {
        for n in &all {
            [22, 9_100, 9_102].iter().for_each(|port| lab.serve(key(*n, *port), 1));
            lab.known.set_clients(key(*n, 22), 3);
        }
        if half_hour > 5 {
            lab.serve(key(3, 5_432), 1);
        }
        lab.after_s(1_800);
        lab.baselines.tick(&lab.known, lab.now);
    }
    lab.learn_app(key(3, 5_432), app("pgsql", "", ""));
    lab.known.set_app(key(3, 5_432), app("pgsql", "", ""));
    let role = lab.baselines.roles().of(vm(3)).map(|(_, role)| (role.members.len() >= 5, role.has_job()));
    assert_eq!(role, Some((true, false)));
    assert_eq!(ticks(&mut lab), []);
}

/// A VM alone, watched for thirty hours, that served tcp/3110 from the first.
fn lone(uses: u64) -> Lab {
    let mut lab = Lab::new(Mode::Auto);
    lab.serve(key(1, 3_110), uses);
    lab.ripen(vm(1));
    lab
}

#[test]
fn what_nothing_recognises_and_no_other_vm_serves_is_told_once_and_folded() {
    let mut lab = lone(4);
    let found = ticks(&mut lab);
    let told: Vec<_> = found.iter().map(|f| (f.title.as_str(), f.fold.as_deref())).collect();
    assert_eq!(told, [("tcp/3110 of vm01 is like nothing else here", Some("unrecognised services"))]);
    assert!(ticks(&mut lab).is_empty(), "once");
}

#[test]
fn what_three_use_another_serves_the_payload_proved_or_was_used_twice_is_not_told() {
    let mut popular = lone(4);
    popular.known.set_clients(key(1, 3_110), 3);
    let mut shared = lone(4);
    shared.serve(key(2, 3_110), 1);
    shared.known.set_clients(key(2, 3_110), 3);
    let mut proved = lone(4);
    proved.learn_app(key(1, 3_110), app("http", "", ""));
    let mut passing = lone(2);
    for lab in [&mut popular, &mut shared, &mut proved, &mut passing] {
        assert_eq!(ticks(lab), []);
    }
}

#[test]
fn a_vm_of_the_first_hours_is_not_told_before_it_was_watched_for_a_day() {
    let mut lab = Lab::new(Mode::Auto);
    lab.serve(key(1, 3_110), 9);
    assert_eq!(ticks(&mut lab), []);
}
