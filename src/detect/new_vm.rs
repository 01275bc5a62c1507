//! `new-vm`: a VM never seen or inventoried before. Enforce: every unknown VM, one incident that absorbs its
//! services. Auto: only where the set of VMs is itself ripe, and low; before that every VM is new.

use serde::{Deserialize, Serialize};

use super::{Detect, Verdict, World, frames};
use crate::baseline::Mode;
use crate::inventory::{Change, What};
use crate::model::{Detector, DetectorId, Evidence, Finding, Severity};

pub static DETECTOR: Detector = Detector {
    signature_id: 1,
    name: "new-vm",
    signature: "A VM never seen or inventoried before",
    techniques: &["T1578.002", "T1564.006"],
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { enabled: true }
    }
}

pub struct NewVm;

impl NewVm {
    pub fn new(_config: Config) -> Self {
        NewVm
    }
}

impl Detect for NewVm {
    fn detector(&self) -> DetectorId {
        &DETECTOR
    }

    fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> Verdict {
        let What::VmNew { vm } = change.what else { return Verdict::Learn };
        let expected =
            world.baselines.known(vm) || world.known.listed(vm) || world.sanctions.covers_vm(vm, change.time).is_some();
        let site = world.baselines.site_ripeness(change.time);
        let (severity, verdict) = match world.mode() {
            _ if expected => return Verdict::Learn,
            Mode::Learn => return Verdict::Learn,
            Mode::Enforce => (Severity::Medium, Verdict::Withhold),
            Mode::Auto if !site.is_ripe() => return Verdict::Learn,
            // It learns from here on, or it would never be judged; what it learns in its first day is provisional.
            Mode::Auto => (Severity::Low, Verdict::Learn),
        };
        let mut finding = world.finding(&DETECTOR, severity, change, vm);
        finding.title = format!("{} is a new VM", finding.vm_label);
        finding.reason = format!(
            "{} is in no inventory and was never seen before; {} VMs were known, none new in {}",
            finding.vm_label,
            world.baselines.profiles().count(),
            crate::baseline::Hours(site.tally.quiet_h),
        );
        finding.evidence = Evidence { frames: frames(change.flow.as_ref(), &[change.frame]), facts: Vec::new() };
        out.push(finding);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::{Lab, vm};
    use super::*;

    #[test]
    fn in_enforce_an_unknown_vm_is_a_finding_and_is_not_learned() {
        let mut lab = Lab::new(Mode::Enforce);
        let found = lab.see(What::VmNew { vm: vm(9) });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].detector.name, "new-vm");
        assert!(!lab.baselines.known(vm(9)));
    }

    #[test]
    fn an_inventoried_or_sanctioned_vm_is_not() {
        let mut lab = Lab::new(Mode::Enforce);
        lab.known.listed.insert(vm(9));
        lab.sanction(vm(8), None);
        assert!(lab.see(What::VmNew { vm: vm(9) }).is_empty());
        assert!(lab.see(What::VmNew { vm: vm(8) }).is_empty());
    }

    #[test]
    fn in_auto_it_is_one_only_where_the_site_is_ripe() {
        let mut lab = Lab::new(Mode::Auto);
        assert!(lab.see(What::VmNew { vm: vm(9) }).is_empty());
        lab.ripen(vm(1));
        let found = lab.see(What::VmNew { vm: vm(10) });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Low);
        assert!(lab.baselines.known(vm(10)), "it learns from now on");
    }
}
