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
