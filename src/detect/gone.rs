//! A VM that is gone: everything that it regularly served fell silent together, and it uses nothing itself. That is one
//! `vm` event, and another when it comes back; never a `service-gone` for each of its services.
//! At most `gone_max` are remembered; the longest untouched is forgotten, and counted.

use super::World;
use super::memory::Memory;
use super::service_gone::Config;
use crate::baseline::LearnedService;
use crate::inventory::Change;
use crate::model::{ServiceKey, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

static GONE: Kind = Kind { tag: 0x52, name: "VM gone", version: 1 };

/// So long a service that fails waits for word of the others, which may be used seldom.
const HELD_S: f64 = 600.0;

/// What a failing service says of its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// Something else of it was seen since, or it never did anything else.
    Alive,
    Gone,
    Unsure,
}

/// `since` is when the service began to fail, `held_s` for how long it could have been told.
pub fn whole(
    key: &ServiceKey,
    since: Timestamp,
    held_s: f64,
    config: &Config,
    fails: impl Fn(&ServiceKey) -> bool,
    change: &Change,
    world: &World<'_>,
) -> Whole {
    let Some(profile) = world.baselines.profile(key.vm) else { return Whole::Alive };
    if profile.last_seen >= since {
        return Whole::Alive;
    }
    let silent = |first: Timestamp, last: Timestamp, uses: u64| {
        let usual_s = last.since_s(first) / uses.saturating_sub(1).max(1) as f64;
        change.time.since_s(last) >= config.gone_s_min.max(config.intervals * usual_s)
    };
    let regular = |service: &&LearnedService| service.uses >= config.uses_min;
    let others = profile
        .services
        .iter()
        .filter(|((transport, port), service)| (*transport, *port) != (key.transport, key.port) && regular(service));
    let (mut any, mut all) = (false, true);
    for ((transport, port), service) in others {
        let other = ServiceKey { vm: key.vm, transport: *transport, port: *port };
        any = true;
        all &= fails(&other) || silent(service.first_seen, service.last_seen, service.uses);
    }
    let used: u64 = profile.peers.values().map(|peer| peer.uses).sum();
    if used >= config.uses_min {
        let first = profile.peers.values().map(|peer| peer.first_seen).min().unwrap_or_default();
        let last = profile.peers.values().map(|peer| peer.last_seen).max().unwrap_or_default();
        any = true;
        all &= silent(first, last, used);
    }
    match (any, all) {
        (false, _) => Whole::Alive,
        (true, true) => Whole::Gone,
        (true, false) if held_s >= HELD_S => Whole::Alive,
        (true, false) => Whole::Unsure,
    }
}

pub struct Gone {
    since: Memory<VmId, Timestamp>,
    events: Vec<(VmId, &'static str)>,
}

impl Gone {
    pub fn new(gone_max: usize) -> Self {
        Gone { since: Memory::new(&GONE, gone_max), events: Vec::new() }
    }

    pub fn has(&self, vm: VmId) -> bool {
        self.since.get(&vm).is_some()
    }

    pub fn tell(&mut self, vm: VmId, now: Timestamp) {
        self.since.insert(vm, now, now);
        self.events.push((vm, "gone"));
    }

    /// True where it was gone.
    pub fn back(&mut self, vm: VmId) -> bool {
        let was = self.has(vm) && self.since.remove(&vm).is_some();
        if was {
            self.events.push((vm, "back"));
        }
        was
    }

    /// What is to be told, once.
    pub fn events(&mut self) -> Vec<(VmId, &'static str)> {
        std::mem::take(&mut self.events)
    }

    pub fn forget(&mut self, vm: VmId) {
        self.since.remove(&vm);
    }

    pub fn save(&mut self, batch: &mut Batch) {
        self.since.save(batch);
    }

    pub fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.since.load(store)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::world::{Lab, key, vm};
    use crate::baseline::Mode;
    use crate::inventory::What;
    use crate::model::Finding;

    fn refuses(lab: &mut Lab, port: u16) -> Vec<Finding> {
        lab.see(What::ServiceRefused { service: key(1, port), client: IpAddr::from([10, 0, 0, 9]) })
    }

    /// VM 1 serves 443 and 22 and uses another's 5432, all regularly.
    fn lab() -> Lab {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        lab.serve(key(1, 22), 40);
        lab
    }

    #[test]
    fn a_vm_whose_services_all_fail_is_gone_once_and_comes_back_once() {
        let mut lab = lab();
        let mut found = Vec::new();
        for _ in 0..6 {
            lab.after_s(3_600);
            found.extend(refuses(&mut lab, 443));
            found.extend(refuses(&mut lab, 22));
        }
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(lab.detectors.vm_events(), [(vm(1), "gone")]);
        assert!(lab.detectors.is_gone(vm(1)));
        lab.uses(key(1, 443), 9);
        assert_eq!(lab.detectors.vm_events(), [(vm(1), "back")]);
        assert!(!lab.detectors.is_gone(vm(1)));
    }

    #[test]
    fn a_vm_that_still_does_other_things_has_lost_one_service() {
        let mut lab = lab();
        let mut found = Vec::new();
        for _ in 0..6 {
            lab.after_s(3_600);
            found.extend(refuses(&mut lab, 443));
            lab.uses(key(1, 22), 9);
        }
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(lab.detectors.vm_events().is_empty());
    }

    #[test]
    fn through_a_blind_window_nothing_is_gone() {
        let mut lab = lab();
        lab.quality.loss = 0.1;
        for _ in 0..6 {
            lab.after_s(3_600);
            refuses(&mut lab, 443);
            refuses(&mut lab, 22);
        }
        assert!(lab.detectors.vm_events().is_empty());
    }
}
