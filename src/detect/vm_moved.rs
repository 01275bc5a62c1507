//! `vm-moved`: a VM changed host. Informative, once a move: the VM keeps id and baseline, and nothing is withheld from
//! learning. What differs after it can be told only when time has passed: an hour later the inventory tells it, and it
//! is a finding of its own (low) only where the VM is exposed to whom it was not: it came into another segment, or
//! external clients reach it for the first time.

use serde::{Deserialize, Serialize};

use super::{Detect, Verdict, World, count, frames};
use crate::baseline::Feature;
use crate::inventory::{Change, Differs, Stay, What};
use crate::model::{Detector, DetectorId, Evidence, Finding, Severity};

pub static DETECTOR: Detector = Detector {
    signature_id: 15,
    name: "vm-moved",
    signature: "A VM changed host",
    // A move is no attack. Who moves VMs on purpose uses the management plane, which no mirror shows.
    techniques: &[],
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

pub struct VmMoved;

impl VmMoved {
    pub fn new(_config: Config) -> Self {
        VmMoved
    }
}

impl Detect for VmMoved {
    fn detector(&self) -> DetectorId {
        &DETECTOR
    }

    fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> Verdict {
        let (vm, from, to, before) = match &change.what {
            What::VmMoved { vm, from, to, before } => (vm, from, to, before),
            What::VmCompared { vm, from, to, differs } => {
                // Before its services are known nothing says that this is not how they always were.
                if !differs.exposed.is_empty() && world.baselines.judges(*vm, Feature::Services, change.time) {
                    let mut finding = world.finding(&DETECTOR, Severity::Low, change, *vm);
                    exposed(&mut finding, from, to, differs);
                    out.push(finding);
                }
                return Verdict::Learn;
            }
            _ => return Verdict::Learn,
        };
        let mut finding = world.finding(&DETECTOR, Severity::Info, change, *vm);
        let label = &finding.vm_label;
        finding.title = format!("{label} moved from {} to {}", from.place(), to.place());
        let how =
            if to.announced { "it announced itself there" } else { "no frame of it is seen at the old one alone" };
        finding.reason = format!(
            "its frames come from {}, not from {} any more, where it was for {}; {how}",
            to.place(),
            from.place(),
            crate::baseline::Hours(to.since.since_s(from.since) / 3_600.0),
        );
        finding.evidence =
            Evidence { frames: frames(change.flow.as_ref(), &[change.frame]), facts: facts(from, to, before) };
        out.push(finding);
        Verdict::Learn
    }
}

fn exposed(finding: &mut Finding, from: &Stay, to: &Stay, differs: &Differs) {
    let label = &finding.vm_label;
    finding.title = format!("{label} is exposed otherwise since it moved to {}", to.place());
    finding.reason =
        format!("in the hour since it moved from {} to {}: {}", from.place(), to.place(), differs.exposed.join("; "));
    finding.evidence.facts = vec![
        ("from".to_owned(), from.place().to_string()),
        ("to".to_owned(), to.place().to_string()),
        ("came".to_owned(), to.since.to_string()),
        ("differs".to_owned(), differs.lines.join("; ")),
    ];
}

fn facts(from: &Stay, to: &Stay, before: &[(String, String)]) -> Vec<(String, String)> {
    let mut facts = vec![
        ("from".to_owned(), from.place().to_string()),
        ("to".to_owned(), to.place().to_string()),
        ("left".to_owned(), from.until.to_string()),
        ("came".to_owned(), to.since.to_string()),
        ("announced".to_owned(), to.announced.to_string()),
        ("before".to_owned(), count(from.frames, "frame")),
    ];
    if let Some(ms) = from.latency_ms() {
        facts.push(("answered a SYN after".to_owned(), format!("{ms:.2} ms")));
    }
    facts.extend(before.iter().cloned());
    facts.push(("what differs".to_owned(), "told an hour later, and by `eastwatch vms --history`".to_owned()));
    facts
}

#[cfg(test)]
mod tests {
    use super::super::world::{Lab, vm};
    use super::*;
    use crate::baseline::Mode;
    use crate::inventory::Stay;
    use crate::model::{Location, PathKind};

    fn moved(lab: &Lab, announced: bool) -> What {
        let at = |host: u8| Location {
            host: Some([10, 9, 9, host].into()),
            kind: PathKind::Wire,
            id: 0,
            port: 0,
            interface: None,
        };
        let came = lab.now.plus_s(-5);
        let from = Stay::new(at(1), came.plus_s(-7_200), came, false);
        let before = vec![("segment".to_owned(), "vlan:10".to_owned())];
        let to = Box::new(Stay::new(at(2), came, lab.now, announced));
        What::VmMoved { vm: vm(1), from: Box::new(from), to, before }
    }

    fn compared(lab: &Lab, exposed: &[&str]) -> What {
        let What::VmMoved { vm, from, to, .. } = moved(lab, true) else { unreachable!() };
        let exposed: Vec<String> = exposed.iter().map(|line| (*line).to_owned()).collect();
        let lines = exposed.iter().cloned().chain(["new peers: tcp/80 of vm02".to_owned()]).collect();
        What::VmCompared { vm, from, to, differs: Box::new(Differs { lines, exposed, ..Differs::default() }) }
    }

    #[test]
    fn a_ripe_vm_that_external_clients_reach_since_its_move_is_a_low_finding() {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        let what = compared(&lab, &["external clients reach tcp/22"]);
        let found = lab.see(what);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].detector.name, found[0].severity), ("vm-moved", Severity::Low));
        assert!(found[0].reason.ends_with("10.9.9.2: external clients reach tcp/22"), "{}", found[0].reason);
    }

    #[test]
    fn other_peers_alone_and_a_vm_that_is_still_learned_are_not() {
        let mut lab = Lab::new(Mode::Auto);
        let what = compared(&lab, &["external clients reach tcp/22"]);
        assert!(lab.see(what).is_empty(), "not ripe");
        lab.ripen(vm(1));
        let what = compared(&lab, &[]);
        assert!(lab.see(what).is_empty());
    }

    #[test]
    fn a_move_is_told_whatever_the_mode_and_informs_only() {
        for mode in [Mode::Auto, Mode::Learn, Mode::Enforce] {
            let mut lab = Lab::new(mode);
            let what = moved(&lab, true);
            let found = lab.see(what);
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].detector.name, found[0].severity), ("vm-moved", Severity::Info));
            assert_eq!(found[0].title, "vm01 moved from 10.9.9.1 to 10.9.9.2");
            assert!(
                found[0].reason.ends_with("where it was for 2 h; it announced itself there"),
                "{}",
                found[0].reason
            );
        }
    }

    #[test]
    fn a_change_that_is_no_move_is_not() {
        let mut lab = Lab::new(Mode::Enforce);
        assert!(lab.see(What::VmChanged { vm: vm(1), text: "has the address 10.0.0.7".to_owned() }).is_empty());
    }
}
