//! What makes a new service a finding, and what does not.
#![cfg(test)]

use super::super::world::{Lab, app, key, vm};
use super::*;
use crate::baseline::{BaselineConfig, Baselines};
use crate::inventory::{Basis, Sight};
use crate::model::Severity;

fn ripe() -> Lab {
    let mut lab = Lab::new(Mode::Auto);
    lab.ripen(vm(1));
    lab
}

fn proves(lab: &mut Lab, key: ServiceKey, proto: &'static str) -> Vec<Finding> {
    lab.see(What::ServiceApp { service: key, before: None, now: Box::new(app(proto, "", "")) })
}

#[test]
fn a_shell_port_on_a_ripe_vm_is_a_finding_at_its_first_answer() {
    let mut lab = ripe();
    let found = lab.opens(key(1, 4_444), 4, 9);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].detector.name, found[0].severity), ("new-service", Severity::High));
    let reason = &found[0].reason;
    assert!(reason.contains("vm01 answers on tcp/4444 for the first time"), "{reason}");
    assert!(reason.contains("60 flows to 1 learned service in 30 h before"), "{reason}");
    assert!(!lab.baselines.is_learned(&key(1, 4_444)));
}

#[test]
fn the_same_port_while_the_vm_learns_is_not_and_is_learned() {
    let mut lab = Lab::new(Mode::Auto);
    lab.serve(key(1, 443), 40);
    assert!(lab.opens(key(1, 4_444), 4, 9).is_empty());
    assert!(lab.baselines.is_learned(&key(1, 4_444)));
    assert!(lab.uses(key(1, 4_444), 9).is_empty());
}

#[test]
fn a_learned_service_is_not() {
    let mut lab = ripe();
    for _ in 0..10 {
        assert!(lab.uses(key(1, 443), 9).is_empty());
    }
}

#[test]
fn a_handshake_waits_for_payload_and_a_scan_of_handshakes_never_speaks() {
    let mut lab = ripe();
    assert!(lab.opens(key(1, 8_081), 3, 9).is_empty());
    for _ in 0..5 {
        assert!(lab.after_s(60).uses(key(1, 8_081), 9).is_empty());
    }
    assert!(!lab.baselines.is_learned(&key(1, 8_081)));
    lab.known.rows.get_mut(&key(1, 8_081)).expect("a row").basis.level = 4;
    assert_eq!(lab.see(What::Tick).len(), 1, "the answer came without a change of its own");
}

#[test]
fn a_back_door_that_never_answers_speaks_once_it_carried_bytes() {
    let mut lab = ripe();
    lab.opens(key(1, 8_081), 3, 9);
    assert!(lab.see(What::Tick).is_empty());
    lab.known.rows.get_mut(&key(1, 8_081)).expect("a row").bytes = 2_000;
    assert_eq!(lab.see(What::Tick).len(), 1);
}

#[test]
fn remote_access_speaks_at_its_handshake_and_is_critical_from_a_stranger() {
    let mut lab = ripe();
    let found = lab.opens(key(1, 22), 3, 9);
    assert_eq!(found[0].severity, Severity::High);
    // A second VM, whose first client is a VM that never spoke to it.
    lab.ripen(vm(2));
    let basis = Basis { level: 2, closed_at: None, sight: Sight::Whole };
    assert!(lab.opens_with(key(2, 22), basis, 9).is_empty());
    lab.reach(vm(9), key(2, 22));
    lab.known.rows.get_mut(&key(2, 22)).expect("a row").basis.level = 3;
    let found = lab.see(What::Tick);
    assert_eq!(found[0].severity, Severity::Critical);
    assert!(found[0].reason.contains("its first client vm09 had never spoken to it"), "{}", found[0].reason);
}

#[test]
fn a_refusal_within_a_week_tells_that_it_was_started_and_an_older_one_does_not() {
    let mut lab = ripe();
    let closed =
        |lab: &Lab, days: i64| Basis { level: 4, closed_at: Some(lab.now.plus_s(-days * 86_400)), sight: Sight::Whole };
    let basis = closed(&lab, 6);
    assert!(lab.opens_with(key(1, 4_444), basis, 9)[0].reason.contains("it was started"));
    let basis = closed(&lab, 8);
    assert!(lab.opens_with(key(1, 4_445), basis, 9)[0].reason.contains("observed first"));
}

#[test]
fn what_began_before_the_capture_is_a_remark() {
    let mut lab = ripe();
    let basis = Basis { level: 1, closed_at: None, sight: Sight::Midstream };
    assert!(lab.opens_with(key(1, 9_000), basis, 9).is_empty());
    assert_eq!(proves(&mut lab, key(1, 9_000), "http")[0].severity, Severity::Low);
}

#[test]
fn what_only_a_flow_record_tells_is_a_remark_and_says_so() {
    let mut lab = ripe();
    let basis = Basis { level: 2, closed_at: None, sight: Sight::Record };
    let found = lab.opens_with(key(1, 9_000), basis, 9);
    assert_eq!((found.len(), found[0].severity), (1, Severity::Low));
    assert!(found[0].reason.contains("only a flow record tells of it"), "{}", found[0].reason);
    // As packets the same evidence is not enough; as a record it is not on a client's port.
    let basis = Basis { level: 2, closed_at: None, sight: Sight::Whole };
    assert!(lab.opens_with(key(1, 9_001), basis, 9).is_empty());
    let basis = Basis { level: 2, closed_at: None, sight: Sight::Record };
    assert!(lab.opens_with(key(1, 40_100), basis, 9).is_empty());
}

#[test]
fn a_whole_exchange_after_the_remark_is_judged_in_full_and_more_of_the_middle_is_not() {
    let mut lab = ripe();
    let basis = |level, sight| Basis { level, closed_at: None, sight };
    let service = key(1, 9_000);
    lab.opens_with(service, basis(1, Sight::Midstream), 9);
    assert_eq!(proves(&mut lab, service, "http").len(), 1);
    assert!(lab.uses(service, 9).is_empty(), "the middle of another conversation");
    let found = lab.see(What::ServiceRaised { service, basis: basis(4, Sight::Whole) });
    assert_eq!(found.iter().map(|f| f.severity).collect::<Vec<_>>(), [Severity::High]);
    assert!(lab.uses(service, 9).is_empty(), "it is told once");
}

#[test]
fn the_own_ephemeral_range_waits_for_a_second_use() {
    let mut lab = ripe();
    // ripen() used source port 40000.
    assert!(lab.opens(key(1, 40_100), 4, 9).is_empty());
    assert_eq!(lab.uses(key(1, 40_100), 9).len(), 1);
}

#[test]
fn a_service_that_is_used_on_is_told_again_after_an_hour_and_not_before() {
    let mut lab = ripe();
    assert_eq!(lab.opens(key(1, 4_444), 4, 9).len(), 1);
    for _ in 0..50 {
        assert!(lab.after_s(60).uses(key(1, 4_444), 9).is_empty());
    }
    assert_eq!(lab.after_s(600).uses(key(1, 4_444), 9).len(), 1);
}

#[test]
fn the_application_proved_later_is_told_at_once() {
    let mut lab = ripe();
    lab.opens(key(1, 4_444), 4, 9);
    let found = proves(&mut lab, key(1, 4_444), "ssh");
    assert!(found[0].reason.contains("ssh is not what tcp/4444 is for"), "{}", found[0].reason);
    assert!(proves(&mut lab, key(1, 4_444), "ssh").is_empty());
}

#[test]
fn telnet_is_a_finding_from_the_first_minute_and_ssh_is_not() {
    let mut lab = Lab::new(Mode::Auto);
    lab.opens(key(1, 22), 4, 9);
    lab.opens(key(1, 23), 4, 9);
    assert!(proves(&mut lab, key(1, 22), "ssh").is_empty());
    assert_eq!(proves(&mut lab, key(1, 23), "telnet").len(), 1);
    assert!(lab.baselines.is_learned(&key(1, 22)));
    assert!(!lab.baselines.is_learned(&key(1, 23)), "what raised a finding is not learned from");
    assert!(lab.uses(key(1, 23), 9).is_empty());
    assert!(!lab.baselines.is_learned(&key(1, 23)));
}

#[test]
fn the_day0_list_is_always_reported_and_the_rest_says_how_much_it_surprises() {
    let mut lab = Lab::new(Mode::Auto);
    lab.opens(key(1, 23), 4, 9);
    assert!(proves(&mut lab, key(1, 23), "telnet").iter().all(|found| found.always));
    lab.ripen(vm(1));
    let found = lab.opens(key(1, 8_080), 4, 9);
    assert_eq!(found.len(), 1);
    assert!(!found[0].always && found[0].surprise.nats() > 2.5, "{:?}", found[0].surprise);
    assert!(found[0].evidence.facts.iter().any(|(name, told)| name == "surprise" && told.contains("VM-days")));
}

#[test]
fn enforce_judges_a_vm_that_is_not_ripe_and_learn_judges_none() {
    let mut lab = Lab::new(Mode::Auto);
    lab.serve(key(1, 443), 1);
    lab.set_mode(Mode::Enforce);
    assert!(lab.uses(key(1, 443), 9).is_empty());
    assert_eq!(lab.opens(key(1, 8_081), 4, 9).len(), 1);
    let mut learning = Lab::new(Mode::Learn);
    learning.ripen(vm(1));
    assert!(learning.opens(key(1, 8_081), 4, 9).is_empty());
}

#[test]
fn an_expired_sanction_makes_it_a_finding_that_says_so() {
    let mut lab = ripe();
    lab.sanction(vm(1), Some((Transport::Tcp, 8_081)));
    let mut limited = lab.sanctions.list().next().expect("one").clone();
    limited.expires = Some(lab.now.plus_s(3_600));
    lab.sanctions.add(limited).expect("room");
    assert!(lab.opens(key(1, 8_081), 4, 9).is_empty());
    let found = lab.after_s(3_600).uses(key(1, 8_081), 9);
    assert!(found[0].reason.contains("the sanction of ops expired"), "{}", found[0].reason);
}

#[test]
fn a_candidate_survives_a_restart() {
    let mut lab = ripe();
    lab.opens(key(1, 8_081), 3, 9);
    let (mut before, mut batch) = (NewService::new(Config::default()), Batch::default());
    let world = lab.world();
    let change = Change {
        time: lab.now,
        frame: 7,
        flow: None,
        what: What::ServiceUsed { service: key(1, 8_081), client: IpAddr::from([10, 0, 0, 9]), client_vm: None },
    };
    before.judge(&change, &world, &mut Vec::new());
    before.save(&mut batch);
    let mut after = NewService::new(Config::default());
    after.load(&crate::store::MemoryStore::of(&batch).expect("memory")).expect("a store");
    assert_eq!(after.pending.get(&key(1, 8_081)), before.pending.get(&key(1, 8_081)));
    assert!(after.pending.get(&key(1, 8_081)).is_some());
}

proptest::proptest! {
    /// Whatever is sanctioned is never a finding of `new-service` or `new-peer`, in any mode and order.
    #[test]
    fn sanctioned_is_never_a_finding(steps in proptest::collection::vec((0u8..6, 1u8..4, 1u16..5, 0u8..5), 1..60), enforce: bool) {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        if enforce {
            lab.set_mode(Mode::Enforce);
        }
        for n in 1..4 {
            lab.sanction(vm(n), if n == 3 { None } else { Some((Transport::Tcp, 22)) });
        }
        for (step, n, port, level) in steps {
            let port = if port == 4 { 22 } else { port };
            let k = key(n, port);
            let found = match step {
                0 => lab.opens(k, level, 9),
                1 if lab.known.rows.contains_key(&k) => proves(&mut lab, k, "telnet"),
                2 => lab.uses(k, 9),
                3 => lab.reach(vm(9), k),
                4 => lab.after_s(3_700).see(What::Tick),
                _ => lab.see(What::VmNew { vm: vm(3) }),
            };
            let sanctioned = |f: &Finding| f.vm == vm(3) || f.service.as_ref().is_some_and(|s| s.1 == 22 && f.vm != vm(9));
            proptest::prop_assert!(!found.iter().any(sanctioned), "{found:?}");
        }
    }
}

#[test]
fn a_whole_baseline_forgotten_is_learned_again() {
    let mut lab = ripe();
    lab.opens(key(1, 4_444), 4, 9);
    lab.baselines = Baselines::new(BaselineConfig::default());
    assert!(lab.uses(key(1, 4_444), 9).is_empty());
    assert!(lab.baselines.is_learned(&key(1, 4_444)));
}

#[test]
fn one_more_sender_to_a_known_group_is_not_a_finding_and_is_learned() {
    let mut lab = ripe();
    lab.known.joining.insert(key(1, 5_353));
    assert!(lab.opens(key(1, 5_353), 4, 9).is_empty());
    assert!(lab.baselines.is_learned(&key(1, 5_353)));
}
