//! `new-vm`: a VM never seen or inventoried before. Enforce: every unknown VM as soon as it acts, one incident that
//! absorbs its services; members of a farm, by name and service, are one incident and low. Auto: only where the set of VMs is itself ripe, and low or less; VMs of one kind are one incident. What
//! kind it is shows with its first service, or within [`WAIT_S`]: its name, its role, connections that were under way.
//! At most `waiting_max` wait; the longest untouched is forgotten untold, and counted.

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::{Detect, Verdict, World, frames};
use crate::baseline::{Mode, stem};
use crate::inventory::{Change, What};
use crate::model::{Detector, DetectorId, Evidence, Finding, FlowRef, Severity, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

pub static DETECTOR: Detector = Detector {
    signature_id: 1,
    name: "new-vm",
    signature: "A VM never seen or inventoried before",
    techniques: &["T1578.002", "T1564.006"],
};

static WAITING: Kind = Kind { tag: 0x2f, name: "new VM that waits", version: 1 };

/// A guest that boots asks for its lease and tells its name in this time; an arrival resumes its connections.
const WAIT_S: i64 = 10;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    pub waiting_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { enabled: true, waiting_max: 16_384 }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Newcomer {
    since: Timestamp,
    frame: u64,
    flow: Option<FlowRef>,
    /// VMs known before it, and hours without a new one.
    known: u64,
    quiet_h: f64,
}

pub struct NewVm {
    waiting: Memory<VmId, Newcomer>,
}

/// What kind of newcomer it is.
enum Kin {
    /// It goes by the name of a VM that fell silent: recomposed, reinstalled.
    Returned(String),
    /// Its connections were under way: it came from a host that we do not see.
    Arrived,
    /// It is one more of a role, by label.
    Clone(String),
    /// It counts itself to others by its name: `desk-#`.
    Named(String),
    Stranger,
}

impl NewVm {
    pub fn new(config: Config) -> Self {
        NewVm { waiting: Memory::new(&WAITING, config.waiting_max) }
    }

    fn meet(&mut self, vm: VmId, change: &Change, world: &World<'_>) -> Verdict {
        let expected =
            world.baselines.known(vm) || world.known.listed(vm) || world.sanctions.covers_vm(vm, change.time).is_some();
        let site = world.baselines.site_ripeness(change.time);
        if expected || world.mode() == Mode::Learn || (world.mode() == Mode::Auto && !site.is_ripe()) {
            return Verdict::Learn;
        }
        let newcomer = Newcomer {
            since: change.time,
            frame: change.frame,
            flow: change.flow,
            known: world.baselines.count() as u64,
            quiet_h: site.tally.quiet_h,
        };
        self.waiting.insert(vm, newcomer, change.time);
        if world.mode() == Mode::Enforce {
            return Verdict::Withhold;
        }
        // It learns from here on, or it would never be judged; what it learns in its first day is provisional.
        Verdict::Learn
    }

    fn tell_due(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) {
        let due = |newcomer: &Newcomer| change.time >= newcomer.since.plus_s(WAIT_S);
        for vm in self.waiting.after(None, usize::MAX) {
            if self.waiting.get(&vm).is_some_and(due) {
                self.tell_now(vm, change, world, out);
            }
        }
    }

    /// It serves, or is used: what it is shows now, and whatever else is told of it comes after.
    fn tell_now(&mut self, vm: VmId, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) {
        let Some(newcomer) = self.waiting.remove(&vm) else { return };
        if !world.known.listed(vm) && world.sanctions.covers_vm(vm, change.time).is_none() {
            let kin = kin(vm, world);
            // Where nothing is learned any more a name or open connections excuse nobody; a farm's next member is one
            // that is called like the others and serves what they serve.
            let excused = world.mode() != Mode::Enforce || matches!(kin, Kin::Clone(_));
            out.push(tell(vm, &newcomer, excused.then_some(kin), change, world));
        }
    }
}

fn kin(vm: VmId, world: &World<'_>) -> Kin {
    let name = world.known.name(vm);
    if let Some(name) = name.as_ref().filter(|_| world.known.takes_a_name_over(vm)) {
        return Kin::Returned(stem(name).unwrap_or_else(|| name.clone()));
    }
    if world.known.arrived(vm) {
        return Kin::Arrived;
    }
    if let Some((_, role)) = world.baselines.roles().of(vm) {
        return Kin::Clone(role.label());
    }
    name.as_deref().and_then(stem).map_or(Kin::Stranger, Kin::Named)
}

fn tell(vm: VmId, newcomer: &Newcomer, kin: Option<Kin>, change: &Change, world: &World<'_>) -> Finding {
    let severity = match kin {
        None => Severity::Medium,
        Some(Kin::Returned(_) | Kin::Arrived) => Severity::Info,
        Some(_) => Severity::Low,
    };
    let mut finding = world.finding(&DETECTOR, severity, change, vm);
    finding.flow = newcomer.flow;
    let label = &finding.vm_label;
    let (title, why) = match &kin {
        Some(Kin::Returned(_)) => (
            format!("{label} has come back with another MAC"),
            "it goes by the name of a VM that is silent now".to_owned(),
        ),
        Some(Kin::Arrived) => (
            format!("{label} has arrived from another host"),
            "its connections were under way when it was first seen".to_owned(),
        ),
        Some(Kin::Clone(role)) => {
            (format!("{label} is a new VM of the role {role}"), format!("it serves what {role} serve"))
        }
        Some(Kin::Named(_) | Kin::Stranger) | None => {
            (format!("{label} is a new VM"), "it is in no inventory and was never seen before".to_owned())
        }
    };
    finding.title = title;
    finding.reason = format!(
        "{label}: {why}; {} VMs were known, none new in {}",
        newcomer.known,
        crate::baseline::Hours(newcomer.quiet_h),
    );
    finding.fold = match kin {
        Some(Kin::Returned(name)) => Some(format!("{name} (come back)")),
        Some(Kin::Arrived) => Some("arrivals".to_owned()),
        Some(Kin::Clone(role) | Kin::Named(role)) => Some(role),
        // Of an autoscaled farm without names, too, one incident tells; what one of them does besides has its own.
        Some(Kin::Stranger) => Some("newcomers".to_owned()),
        None => None,
    };
    finding.evidence = Evidence { frames: frames(newcomer.flow.as_ref(), &[newcomer.frame]), facts: Vec::new() };
    finding
}

impl Detect for NewVm {
    fn detector(&self) -> DetectorId {
        &DETECTOR
    }

    fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> Verdict {
        let before = out.len();
        match change.what {
            What::VmNew { vm } => return self.meet(vm, change, world),
            What::Tick => self.tell_due(change, world, out),
            What::ServiceNew { service, .. } => self.tell_now(service.vm, change, world, out),
            What::PeerNew { client, service, .. } => {
                self.tell_now(service.vm, change, world, out);
                if world.mode() == Mode::Enforce {
                    // It acts: nothing else is told of it before.
                    self.tell_now(client, change, world, out);
                }
            }
            _ => {}
        }
        if world.mode() == Mode::Enforce && out.len() > before { Verdict::Withhold } else { Verdict::Learn }
    }

    fn merged(&mut self, _kept: VmId, gone: VmId) {
        self.waiting.remove(&gone);
    }

    fn save(&mut self, batch: &mut Batch) {
        self.waiting.save(batch);
    }

    fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.waiting.load(store)
    }

    fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        out.push(("detect.new-vm.evicted", self.waiting.evicted()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::{Lab, key, vm};
    use super::*;

    /// What is told of a newcomer on a ripe site once it has shown what it is.
    fn told(prepare: impl Fn(&mut Lab)) -> Vec<Finding> {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        assert!(lab.see(What::VmNew { vm: vm(10) }).is_empty(), "it waits for what it is");
        prepare(&mut lab);
        lab.after_s(WAIT_S - 1);
        assert!(lab.see(What::Tick).is_empty());
        lab.after_s(1);
        let found = lab.see(What::Tick);
        lab.after_s(1);
        assert!(lab.see(What::Tick).is_empty(), "once");
        assert!(lab.baselines.known(vm(10)), "it learns from the first");
        found
    }

    #[test]
    fn in_enforce_an_unknown_vm_is_a_finding_within_ten_seconds_and_is_not_learned() {
        let mut lab = Lab::new(Mode::Enforce);
        assert!(lab.see(What::VmNew { vm: vm(9) }).is_empty());
        let found = lab.after_s(WAIT_S).see(What::Tick);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].detector.name, found[0].severity), ("new-vm", Severity::Medium));
        assert!(!lab.baselines.known(vm(9)));
    }

    #[test]
    fn in_enforce_it_is_one_at_once_where_it_serves_or_uses_anything() {
        for reaches in [true, false] {
            let mut lab = Lab::new(Mode::Enforce);
            lab.see(What::VmNew { vm: vm(9) });
            let found = if reaches { lab.reach(vm(9), key(50, 53)) } else { lab.opens(key(9, 80), 3, 8) };
            let first = found.first().map(|f| (f.detector.name, f.severity, f.vm));
            assert_eq!(first, Some(("new-vm", Severity::Medium, vm(9))), "{found:?}");
        }
    }

    #[test]
    fn in_enforce_the_next_of_a_farm_by_name_and_service_is_low_and_folded_and_by_its_name_alone_it_is_not() {
        let mut lab = Lab::new(Mode::Auto);
        for n in 1..=5 {
            lab.known.names.insert(vm(n), format!("web-{n:03}"));
        }
        lab.seat_together(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], 9_100);
        lab.set_mode(Mode::Enforce);
        let mut told = |n: u8, port: u16| {
            lab.known.names.insert(vm(n), format!("web-{n:03}"));
            lab.see(What::VmNew { vm: vm(n) });
            let opens = lab.opens(key(n, port), 4, 9);
            opens.iter().map(|f| (f.detector.name, f.severity, f.fold.clone())).collect::<Vec<_>>()
        };
        assert_eq!(told(20, 80), [("new-vm", Severity::Low, Some("web-#".to_owned()))]);
        let rogue = told(21, 4_444);
        assert_eq!(rogue[0], ("new-vm", Severity::Medium, None));
        assert_eq!(rogue[1].0, "new-service");
    }

    #[test]
    fn an_inventoried_or_sanctioned_vm_is_not() {
        let mut lab = Lab::new(Mode::Enforce);
        lab.known.listed.insert(vm(9));
        lab.sanction(vm(8), None);
        assert!(lab.see(What::VmNew { vm: vm(9) }).is_empty());
        assert!(lab.see(What::VmNew { vm: vm(8) }).is_empty());
        assert!(lab.after_s(WAIT_S).see(What::Tick).is_empty());
        assert!(
            told(|lab| {
                lab.known.listed.insert(vm(10));
            })
            .is_empty(),
            "listed while it waited"
        );
    }

    #[test]
    fn in_auto_it_is_one_only_where_the_site_is_ripe() {
        let mut lab = Lab::new(Mode::Auto);
        lab.see(What::VmNew { vm: vm(9) });
        lab.after_s(60);
        assert!(lab.see(What::Tick).is_empty());
    }

    #[test]
    fn a_stranger_is_low_and_one_of_a_kind_is_folded_with_its_kind() {
        let stranger = &told(|lab| drop(lab.known.names.insert(vm(10), "fileserver".to_owned())))[0];
        assert_eq!((stranger.severity, stranger.fold.as_deref()), (Severity::Low, Some("newcomers")));
        let named = &told(|lab| drop(lab.known.names.insert(vm(10), "desk-017".to_owned())))[0];
        assert_eq!((named.severity, named.fold.as_deref()), (Severity::Low, Some("desk-#")));
    }

    #[test]
    fn who_comes_back_or_arrives_with_its_connections_is_info() {
        let back = &told(|lab| {
            lab.known.names.insert(vm(10), "desk-017".to_owned());
            lab.known.taking_over.insert(vm(10));
        })[0];
        assert_eq!((back.severity, back.fold.as_deref()), (Severity::Info, Some("desk-# (come back)")));
        let arrived = &told(|lab| {
            lab.known.arrived.insert(vm(10));
        })[0];
        assert_eq!((arrived.severity, arrived.fold.as_deref()), (Severity::Info, Some("arrivals")));
    }
}
