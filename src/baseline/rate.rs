//! Rates of novelty: how often a VM, or all VMs of a role together, learned something new after their first day; what
//! was met on the first day was there before. Of the last 28 watched days. At most [`POOLED_MAX`] members are asked.

use super::collection::Baselines;
use super::novelty::{self, WINDOW_D};
use super::profile::Profile;
use super::ripeness::Feature;
use crate::model::{RoleId, ServiceKey, Timestamp, VmId};

const POOLED_MAX: usize = 256;
const NS_PER_H: f64 = 3.6e12;
const NS_PER_DAY: i64 = 86_400_000_000_000;
/// What is assumed before anything is measured, new services a VM-day, and how many VM-days that weighs
/// (detection.md 9).
const PRIOR_PER_DAY: f64 = 0.05;
const PRIOR_DAYS: f64 = 10.0;

/// Novelties in so many VM-days.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NoveltyRate {
    pub events: u64,
    pub vm_days: f64,
    pub vms: u64,
}

impl NoveltyRate {
    pub fn per_day(&self) -> f64 {
        if self.vm_days > 0.0 { self.events as f64 / self.vm_days } else { 0.0 }
    }

    /// Upper 95 % bound a VM-day; `None` where not a minute was measured.
    pub fn upper(&self) -> Option<f64> {
        (self.vm_days > 0.0).then(|| novelty::rate_upper(self.events, self.vm_days))
    }

    /// The probability that a VM-day brings one at least: posterior predictive of a Poisson rate with a gamma prior.
    /// Never 0 nor 1.
    pub fn chance(&self) -> f64 {
        let (shape, exposure) = (PRIOR_PER_DAY * PRIOR_DAYS + self.events as f64, PRIOR_DAYS + self.vm_days);
        1.0 - (exposure / (exposure + 1.0)).powf(shape)
    }

    pub fn add(&mut self, other: NoveltyRate) {
        self.events += other.events;
        self.vm_days += other.vm_days;
        self.vms += other.vms;
    }
}

impl Baselines {
    /// Of all VMs of a VM's role, or of the VM alone where it has none.
    pub fn novelty(&self, vm: VmId, feature: Feature, now: Timestamp) -> NoveltyRate {
        match self.roles().of(vm) {
            Some((id, _)) => self.role_novelty(id, feature, now),
            None => self.own_novelty(vm, feature, now),
        }
    }

    pub fn role_novelty(&self, role: RoleId, feature: Feature, now: Timestamp) -> NoveltyRate {
        let mut sum = NoveltyRate::default();
        let members = self.roles().iter().find(|(id, _)| *id == role).map(|(_, role)| &role.members);
        for vm in members.into_iter().flatten().take(POOLED_MAX) {
            sum.add(self.own_novelty(*vm, feature, now));
        }
        sum
    }

    pub fn own_novelty(&self, vm: VmId, feature: Feature, now: Timestamp) -> NoveltyRate {
        let Some(profile) = self.profile(vm) else { return NoveltyRate::default() };
        let discovery_ns = (self.config.observe_h_min.max(0.0) * NS_PER_H) as i64;
        let (from_ns, until_ns) = (profile.born_ns.saturating_add(discovery_ns), self.watched_until(profile, now));
        // Novelties are kept by day: the first whole day after its discovery is where counting begins.
        let began_ns = (from_ns.div_euclid(NS_PER_DAY) + 1).saturating_mul(NS_PER_DAY);
        let vm_days = until_ns.saturating_sub(began_ns) as f64 / NS_PER_DAY as f64;
        let events = profile.track(feature).days.after(from_ns, until_ns);
        NoveltyRate { events, vm_days: vm_days.clamp(0.0, WINDOW_D as f64), vms: 1 }
    }

    /// The same with its first day, as an upper bound where there is nothing else: all that it learned.
    pub fn discovery(&self, vm: VmId, feature: Feature, now: Timestamp) -> NoveltyRate {
        let Some(profile) = self.profile(vm) else { return NoveltyRate::default() };
        let vm_days = self.watched_until(profile, now).saturating_sub(profile.born_ns) as f64 / NS_PER_DAY as f64;
        NoveltyRate { events: profile.track(feature).days.whole, vm_days, vms: 1 }
    }

    /// Who is gone shows nothing new: a day after its last flow it counts no longer.
    fn watched_until(&self, profile: &Profile, now: Timestamp) -> i64 {
        self.watched_ns(now).min(profile.seen_ns.saturating_add(NS_PER_DAY))
    }

    /// The probability that today brings this key to this VM: that of any new key, times the share of its role that
    /// serves it (of a role of n, a key that none serves has half a VM in n + 1).
    pub fn chance_of(&self, service: &ServiceKey, now: Timestamp) -> f64 {
        let chance = self.novelty(service.vm, Feature::Services, now).chance();
        let port = (service.transport, service.port);
        match (self.roles().share_serving(service.vm, port), self.roles().of(service.vm)) {
            (Some(share), Some((_, role))) => {
                let members = role.members.len() as f64;
                chance * (share * members + 0.5) / (members + 1.0)
            }
            _ => chance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prior_is_one_in_twenty_days_and_evidence_moves_it() {
        let rate = |events, vm_days| NoveltyRate { events, vm_days, vms: 1 };
        assert!((rate(0, 0.0).chance() - 0.0465).abs() < 0.001);
        assert!(rate(0, 300.0).chance() < 0.002);
        assert!((0.6..0.7).contains(&rate(100, 90.0).chance()));
        assert_eq!(rate(0, 0.0).upper(), None);
        assert!((rate(0, 30.0).upper().unwrap_or_default() - 0.1).abs() < 0.001);
    }
}
