//! What is told from the first hour, and what an ordinary first hour is full of.
#![cfg(test)]

use super::super::world::{Lab, app, key, vm};
use crate::baseline::Mode;
use crate::inventory::What;
use crate::model::{Finding, ServiceKey, Severity};

fn proves(lab: &mut Lab, key: ServiceKey, proto: &'static str) -> Vec<Finding> {
    lab.see(What::ServiceApp { service: key, before: None, now: Box::new(app(proto, "x", "1")) })
}

/// VM 1 used another's service for so many half hours, and served nothing.
fn client_for(half_hours: usize) -> Lab {
    let mut lab = Lab::new(Mode::Auto);
    for _ in 0..half_hours {
        lab.after_s(1_800);
        lab.reach(vm(1), key(99, 5_432));
    }
    lab
}

#[test]
fn a_shell_is_high_from_the_first_minute_and_told_once() {
    let mut lab = Lab::new(Mode::Auto);
    assert!(lab.opens(key(1, 4_444), 4, 9).is_empty());
    let found = proves(&mut lab, key(1, 4_444), "shell");
    assert_eq!(found.iter().map(|f| f.severity).collect::<Vec<_>>(), [Severity::High]);
    assert!(found[0].reason.contains("interactive shell"), "{}", found[0].reason);
    assert!(!lab.baselines.is_learned(&key(1, 4_444)));
    assert!(lab.uses(key(1, 4_444), 9).is_empty());
    assert!(!lab.baselines.is_learned(&key(1, 4_444)));
}

#[test]
fn first_remote_access_of_a_client_is_told_after_an_hour_and_not_before() {
    let mut lab = client_for(4);
    lab.opens(key(1, 22), 4, 9);
    let found = proves(&mut lab, key(1, 22), "ssh");
    assert_eq!(found.iter().map(|f| f.severity).collect::<Vec<_>>(), [Severity::Medium]);
    let mut early = client_for(2);
    early.opens(key(1, 22), 4, 9);
    assert!(proves(&mut early, key(1, 22), "ssh").is_empty());
}

#[test]
fn remote_access_of_a_vm_that_served_before_is_not_told() {
    let mut lab = client_for(4);
    lab.serve(key(1, 80), 3);
    lab.opens(key(1, 22), 4, 9);
    assert!(proves(&mut lab, key(1, 22), "ssh").is_empty());
    assert!(lab.baselines.is_learned(&key(1, 22)));
}

#[test]
fn a_first_web_server_of_a_client_is_not_on_the_list() {
    let mut lab = client_for(4);
    lab.opens(key(1, 80), 4, 9);
    assert!(proves(&mut lab, key(1, 80), "http").is_empty());
}

#[test]
fn a_database_in_clear_text_is_told_once_another_segment_uses_it() {
    let mut lab = Lab::new(Mode::Auto);
    lab.opens(key(1, 6_379), 4, 9);
    assert!(proves(&mut lab, key(1, 6_379), "redis").is_empty());
    assert!(lab.uses(key(1, 6_379), 9).is_empty(), "its own segment");
    lab.known.elsewhere.insert([10, 0, 0, 8].into());
    let found = lab.uses(key(1, 6_379), 8);
    assert_eq!(found.iter().map(|f| f.severity).collect::<Vec<_>>(), [Severity::Medium]);
    assert!(found[0].title.contains("serves redis in clear text"), "{}", found[0].title);
    assert!(lab.uses(key(1, 6_379), 8).is_empty());
}

#[test]
fn what_is_encrypted_or_no_database_is_not_exposed() {
    for (port, proto) in [(6_379, "tls"), (80, "http"), (3_306, "mysql"), (22, "ssh")] {
        let mut lab = Lab::new(Mode::Auto);
        lab.known.elsewhere.insert([10, 0, 0, 9].into());
        lab.opens(key(1, port), 4, 9);
        assert!(proves(&mut lab, key(1, port), proto).is_empty(), "{proto}");
    }
}

#[test]
fn neither_learn_nor_a_sanction_hears_of_it() {
    let mut lab = Lab::new(Mode::Learn);
    lab.opens(key(1, 4_444), 4, 9);
    assert!(proves(&mut lab, key(1, 4_444), "shell").is_empty());
    let mut lab = Lab::new(Mode::Auto);
    lab.sanction(vm(1), Some((crate::model::Transport::Tcp, 4_444)));
    lab.opens(key(1, 4_444), 4, 9);
    assert!(proves(&mut lab, key(1, 4_444), "shell").is_empty());
}

#[test]
fn a_screen_is_told_from_the_first_minute_whatever_else_the_vm_serves_and_all_are_one_incident() {
    let mut lab = Lab::new(Mode::Auto);
    for n in [1, 2] {
        lab.serve(key(n, 80), 3);
        lab.opens(key(n, 5_900), 4, 9);
        let found = proves(&mut lab, key(n, 5_900), "rfb");
        let told: Vec<_> = found.iter().map(|f| (f.severity, f.fold.as_deref())).collect();
        assert_eq!(told, [(Severity::Medium, Some("first rfb"))]);
    }
    lab.opens(key(3, 3_389), 4, 9);
    assert!(proves(&mut lab, key(3, 3_389), "rdp").is_empty(), "its own login, encrypted");
}

#[test]
fn a_shell_and_a_login_in_clear_text_are_pages_whatever_was_spent_and_a_screen_is_ranked() {
    for (port, proto, always) in [(4_444, "shell", true), (23, "telnet", true), (5_900, "rfb", false)] {
        let mut lab = Lab::new(Mode::Auto);
        lab.opens(key(1, port), 4, 9);
        assert_eq!(proves(&mut lab, key(1, port), proto).iter().map(|f| f.always).collect::<Vec<_>>(), [always]);
    }
}
