//! `volume-deviation`: what speaks, and what of ordinary life must not. Three weeks of hours a test.
#![cfg(test)]

use super::world::{Lab, key, vm};
use crate::baseline::Mode;
use crate::model::{Endpoint, Finding, FlowRef, Segment, Severity, Timestamp, Transport, VmId};

const MB: u64 = 1_000_000;
const GB: u64 = 1_000 * MB;

/// VM 1 from Thursday, midnight.
struct Life {
    lab: Lab,
    hour: i64,
    /// Whom it sends to: 98 is its backup server, 99 its database; both are learned edges.
    noise: u64,
}

impl Life {
    fn new() -> Self {
        let mut lab = Lab::new(Mode::Auto);
        lab.serve(key(1, 443), 1);
        lab.knows(vm(1), key(98, 873));
        lab.knows(vm(1), key(99, 5_432));
        Life { lab, hour: 0, noise: 7 }
    }

    fn sends(&mut self, from: u8, to: u8, bytes: u64) {
        let end = |last, port| Endpoint {
            ip: [10, 0, 0, last].into(),
            port,
            mac: None,
            host_hint: None,
            path: Default::default(),
        };
        let flow = FlowRef {
            id: u64::from(to),
            segment: Segment::UNTAGGED,
            transport: Transport::Tcp,
            orig: end(from, 40_000),
            resp: end(to, 443),
            first_seen: self.lab.now,
            first_frame: 7,
        };
        // 200 and above are outside.
        let peer: Option<VmId> = (to < 200).then(|| vm(to));
        self.lab.baselines.volumes.flow(&flow, [bytes, bytes / 50], [Some(vm(from)), peer], self.lab.now);
    }

    /// An ordinary hour's bytes: 2 to 8 MB by day, a tenth by night, one hour in a hundred twice as much.
    fn ordinary(&mut self) -> u64 {
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = self.noise >> 33;
        let bytes = 2 * MB + random % (6 * MB);
        let burst = if random.is_multiple_of(97) { 2 } else { 1 };
        let day = (8..20).contains(&(self.hour % 24));
        if day { bytes * burst } else { bytes / 10 * burst }
    }

    /// The hour ends: what was found, and learned as the brain does.
    fn end(&mut self) -> Vec<Finding> {
        self.hour += 1;
        self.lab.now = Timestamp::from_parts(1_767_225_600, 0).plus_s(self.hour * 3_600 + 1);
        let found = self.lab.see(crate::inventory::What::Tick);
        let barred = self.lab.detectors.barred();
        self.lab.baselines.roll(self.lab.now, &barred);
        found
    }

    fn hours(&mut self, count: i64, mut more: impl FnMut(&mut Life, i64)) -> Vec<Finding> {
        let mut found = Vec::new();
        for _ in 0..count {
            let bytes = self.ordinary();
            self.sends(1, 99, bytes);
            let hour = self.hour;
            more(self, hour);
            found.extend(self.end());
        }
        found
    }
}

#[test]
fn ten_times_the_most_of_its_hours_to_a_stranger_speaks_once_and_again_the_next_day() {
    let mut life = Life::new();
    assert!(life.hours(15 * 24, |_, _| ()).is_empty());
    let found = life.hours(6, |life, _| life.sends(1, 250, 300 * MB));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].detector.name, found[0].severity), ("volume-deviation", Severity::Medium));
    for told in ["in the last hour", "10.0.0.250", "99 of 100", "the same hours of the weeks before"] {
        assert!(found[0].reason.contains(told), "{told}: {}", found[0].reason);
    }
    let found = life.hours(30, |life, _| life.sends(1, 250, 300 * MB));
    assert_eq!(found.len(), 1, "it did not become usual: {found:?}");
}

#[test]
fn the_same_to_whom_it_knows_is_low_and_in_the_first_week_not_judged() {
    let mut life = Life::new();
    life.hours(10 * 24, |_, _| ());
    let found = life.hours(1, |life, _| life.sends(1, 99, 300 * MB));
    assert_eq!(found.iter().map(|f| f.severity).collect::<Vec<_>>(), [Severity::Low]);
    let mut young = Life::new();
    young.hours(3 * 24, |_, _| ());
    assert!(young.hours(1, |life, _| life.sends(1, 98, 300 * MB)).is_empty());
    assert_eq!(young.hours(1, |life, _| life.sends(1, 250, 10 * GB)).len(), 1);
}

#[test]
fn a_hundred_megabytes_is_the_least_and_a_day_must_be_known() {
    let mut life = Life::new();
    life.hours(14 * 24, |_, _| ());
    assert!(life.hours(1, |life, _| life.sends(1, 250, 85 * MB)).is_empty());
    let mut fresh = Life::new();
    fresh.hours(20, |_, _| ());
    assert!(fresh.hours(1, |life, _| life.sends(1, 250, 5 * GB)).is_empty());
}

#[test]
fn nightly_and_weekly_backups_with_their_whole_copies_are_quiet() {
    let mut life = Life::new();
    let backups = |life: &mut Life, hour: i64| {
        match hour % 168 {
            // The whole copy starts at another minute each week, and so in another hour.
            at if at == 50 + hour / 168 % 2 => life.sends(1, 98, 200 * GB),
            at if at % 24 == 2 => life.sends(1, 98, 5 * GB),
            _ => {}
        }
    };
    assert_eq!(life.hours(28 * 24, backups), []);
}

#[test]
fn log_rotation_and_a_slow_rise_are_quiet() {
    let mut life = Life::new();
    assert_eq!(
        life.hours(28 * 24, |life, hour| {
            if hour % 24 == 0 {
                life.sends(1, 97, 300 * MB);
            }
            // From 1 MB to some 200 MB an hour, in four weeks.
            let rise = (MB as f64 * 1.008_f64.powi(hour as i32)) as u64;
            life.sends(1, 96, rise);
        }),
        []
    );
}

#[test]
fn a_patch_day_is_load_spread_over_many_clients() {
    let mut life = Life::new();
    life.hours(20 * 24, |_, _| ());
    let patches = |life: &mut Life, _| (100..180).for_each(|client| life.sends(1, client, 50 * MB));
    assert_eq!(life.hours(3, patches), []);
}

#[test]
fn what_all_of_a_role_do_in_the_hour_is_a_rollout_and_what_one_does_is_not() {
    for alone in [false, true] {
        let mut life = Life::new();
        life.lab.seat_together(&[1, 2, 3, 4], &[1, 2, 3, 4], 9_100);
        assert!(life.lab.baselines.roles().is_ripe(vm(1)));
        life.hour = 30;
        life.hours(10 * 24, |life, _| (2..=4).for_each(|n| life.sends(n, 99, 3 * MB)));
        let found = life.hours(1, |life, _| {
            (1..=4).filter(|n| !alone || *n == 1).for_each(|n| life.sends(n, 250, 400 * MB));
        });
        assert_eq!(found.len(), usize::from(alone), "{found:?}");
    }
}

#[test]
fn an_hour_of_the_week_in_which_it_never_worked_is_said() {
    let mut life = Life::new();
    life.hours(14 * 24, |_, _| ());
    let mut office = Life::new();
    for _ in 0..14 * 24 {
        if (8..18).contains(&(office.hour % 24)) {
            let bytes = office.ordinary();
            office.sends(1, 99, bytes);
        }
        office.end();
    }
    office.sends(1, 250, 500 * MB);
    let found = office.end();
    assert!(found[0].reason.contains("never active at this hour of the week"), "{}", found[0].reason);
}

/// The measure: 200 VMs for four weeks with ordinary hours, nightly and weekly jobs at hours of their own, a release
/// day. At most 0.0004 a VM-day would be 2 findings.
#[test]
fn four_weeks_of_two_hundred_vms_raise_nothing() {
    let mut life = Life::new();
    for n in 1..=200u8 {
        life.lab.serve(key(n, 443), 1);
        [96, 98, 99].iter().for_each(|to| life.lab.knows(vm(n), key(*to, 443)));
    }
    let mut found = 0;
    for hour in 0..28 * 24i64 {
        for n in 1..=195u8 {
            let own = i64::from(n);
            let bytes = life.ordinary() * (1 + u64::from(n) % 7);
            life.sends(n, 99, bytes);
            if hour % 24 == own % 24 {
                life.sends(n, 98, u64::from(n) * 40 * MB);
            }
            if hour % 168 == own % 168 {
                life.sends(n, 98, u64::from(n) * 2 * GB);
            }
            // Someone moves a large file to whom it knows, twice a month.
            if hour % 336 == own * 3 % 336 {
                life.sends(n, 96, 60 * MB);
            }
        }
        found += life.end().len();
    }
    assert!(found <= 2, "{found} findings in {} VM-days", 195 * 28);
}
