//! `doctor` on a mirror that shows the traffic badly.

use std::process::Command;

use super::lab::{Lab, until};

fn doctor(lab: &Lab) -> String {
    lab.ask(&["doctor", "--format", "json"]).stdout
}

#[test]
fn a_mirror_of_one_direction_is_told_and_one_of_both_is_not() {
    let Some(lab) = Lab::new("one-way") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    // What a mirror of `ingress` alone would show.
    let mut probe = lab.watch(&["-i", "span0", "-i", "span1", "--filter", "src host 10.77.0.1 or net 10.77.1.0/24"]);
    b.does("http 8000");
    for _ in 0..4 {
        a.does("get 10.77.0.2 8000");
        a.does("get 10.77.1.2 8000");
    }
    let one_way = "of 4 TCP conversations 4 are seen in one direction only";
    assert!(until(6, || doctor(&lab).contains(one_way)), "{}", doctor(&lab));
    let said = doctor(&lab);
    assert!(said.contains("mirror span0") && said.contains("mirror both directions"), "{said}");
    assert!(!said.contains("mirror span1"), "both directions are seen there: {said}");
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}

#[test]
fn a_kernel_that_answers_on_the_mirror_is_told_with_the_rule_that_stops_it() {
    let Some(lab) = Lab::new("answers") else { return };
    let mut a = lab.agent("a");
    let addressed =
        Command::new("ip").args(["-n", &lab.namespace("m"), "addr", "add", "10.77.0.9/24", "dev", "span0"]).status();
    assert!(addressed.unwrap().success());
    let mut probe = lab.watch(&["-i", "span0", "-i", "span1"]);
    for _ in 0..12 {
        assert!(a.tries("talk 10.77.0.9 9").contains("Refused"), "the kernel did not answer: this proves nothing");
    }
    // Resets at least: the bridge, in the same namespace, may be whom the questions go to.
    let own = "packets are this machine's own (10.77.0.9)";
    assert!(until(6, || doctor(&lab).contains(own)), "{}", doctor(&lab));
    let said = doctor(&lab);
    assert!(said.contains("answered the mirror with 12 resets and ICMP errors (10.77.0.9)"), "{said}");
    assert!(said.contains("iifname \\\"span0\\\" drop") && said.contains("not host 10.77.0.9"), "{said}");
    assert!(!said.contains("mirror span1"), "{said}");
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}
