//! Surprise of a finding: -ln of the probability that an ordinary day brings it, and what aggravates it
//! (detection.md 3.5). Detectors that measure none have that of their severity.
//!
//! The probability is the predictive one of a new key of the VM's role, not its upper bound: a VM that was watched for
//! a day is not held to be restless.

use std::fmt;

use super::World;
use crate::baseline::{Feature, NoveltyRate};
use crate::model::{ServiceKey, Surprise, Timestamp, VmId};

/// Started, remote access, an application that contradicts its port: each.
const AGGRAVATED_NATS: f64 = 2.0;
/// Half of its role serves it.
const USUAL_FOR_ROLE_NATS: f64 = -3.0;
/// The VM that used it first has an open incident of its own: the next step of a path.
pub const IN_TROUBLE_NATS: f64 = 3.0;

/// With the numbers it came from.
pub(super) struct Measured {
    pub surprise: Surprise,
    chance: f64,
    rate: NoveltyRate,
    adjusted_nats: f64,
}

/// A service of `key`; `against` says what aggravates it.
pub(super) fn of_service(key: &ServiceKey, against: [bool; 3], now: Timestamp, world: &World<'_>) -> Measured {
    let usual = world.baselines.roles().share_serving(key.vm, (key.transport, key.port)).is_some_and(|s| s >= 0.5);
    let aggravated_nats = AGGRAVATED_NATS * against.into_iter().filter(|b| *b).count() as f64;
    let adjusted_nats = aggravated_nats + if usual { USUAL_FOR_ROLE_NATS } else { 0.0 };
    let rate = world.baselines.novelty(key.vm, Feature::Services, now);
    Measured::new(world.baselines.chance_of(key, now), rate, adjusted_nats)
}

/// A peer that a client reached for the first time, by remote access or otherwise.
pub(super) fn of_peer(client: VmId, admin: bool, now: Timestamp, world: &World<'_>) -> Measured {
    let rate = world.baselines.novelty(client, Feature::Peers, now);
    Measured::new(rate.chance(), rate, if admin { AGGRAVATED_NATS } else { 0.0 })
}

impl Measured {
    fn new(chance: f64, rate: NoveltyRate, adjusted_nats: f64) -> Self {
        let surprise = Surprise::from_nats(adjusted_nats - chance.max(1e-9).ln());
        Measured { surprise, chance, rate, adjusted_nats }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoveltyRate { events, vm_days, vms } = self.rate;
        write!(f, "{}: {:.2} % a day, from {events} new in {vm_days:.0} VM-days", self.surprise, 100.0 * self.chance)?;
        if vms > 1 {
            write!(f, " of {vms} VMs")?;
        }
        match self.adjusted_nats {
            0.0 => Ok(()),
            nats => write!(f, "; {nats:+.0} for what speaks for or against it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::{Lab, key, vm};
    use super::*;
    use crate::baseline::Mode;

    fn of(lab: &Lab, port: u16, against: [bool; 3]) -> f64 {
        of_service(&key(1, port), against, lab.now, &lab.world()).surprise.nats()
    }

    #[test]
    fn the_longer_nothing_new_came_the_more_a_new_service_surprises() {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        let fresh = of(&lab, 8_080, [false; 3]);
        assert!((2.9..3.3).contains(&fresh), "{fresh}");
        for _ in 0..20 {
            lab.ripen(vm(1));
        }
        let settled = of(&lab, 8_080, [false; 3]);
        assert!(settled > fresh + 0.5, "{settled}");
        assert!((of(&lab, 8_080, [true, true, false]) - settled - 4.0).abs() < 0.01);
    }

    #[test]
    fn what_new_ones_come_every_day_surprises_little() {
        let mut lab = Lab::new(Mode::Auto);
        for port in 0..60 {
            lab.ripen(vm(1));
            lab.serve(key(1, 10_000 + port), 2);
        }
        assert!(of(&lab, 8_080, [false; 3]) < 1.0);
    }
}
