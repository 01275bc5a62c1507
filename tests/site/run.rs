//! A run: a site, its observer and the fact side, taken on together through packet time. It can be forked: the copy
//! takes up what the store holds, as after a restart of the probe, and may be given other behaviours.

use std::collections::BTreeMap;

use eastwatch::baseline::{Feature, Ripeness};
use eastwatch::brain::{Brain, BrainConfig};
use eastwatch::inventory::InventoryConfig;
use eastwatch::model::{Segment, VmId};

use super::event::{Id, Os};
use super::ledger::Ledger;
use super::observe::Observer;
use super::world::Site;
use super::{HOUR, Micros, moment, packet_time};

pub struct Run {
    pub site: Site,
    pub observer: Observer,
    pub brain: Brain,
    pub ledger: Ledger,
    pub now: Micros,
    /// Save at once what an incident changed, as the probe does; else every [`SELDOM`], at half the cost.
    pub at_once: bool,
    saved: Micros,
}

/// A quiet month is saved this often: of its incidents it only matters that they were there.
const SELDOM: Micros = 6 * HOUR;

impl Run {
    pub fn new(site: Site, hints: bool) -> Self {
        let ledger = Ledger::default();
        let brain = load(&ledger);
        Run { site, observer: Observer::new(hints, false), brain, ledger, now: 0, at_once: false, saved: 0 }
    }

    /// Goes on to `end`.
    pub fn to(&mut self, end: Micros) {
        let Run { site, observer, brain, ledger, now, at_once, saved } = self;
        let mut tell = |observation| {
            brain.observe(observation);
            if brain.save_urgent() && (*at_once || moment(brain.now()) >= *saved + SELDOM) {
                let at = moment(brain.now());
                *saved = at;
                ledger.apply(&brain.changes(), at).expect("memory keeps everything");
            }
        };
        while let Some(event) = site.event(end) {
            observer.take(&event, &mut tell);
        }
        observer.until(end, &mut tell);
        *now = end;
    }

    /// Everything that is known now is stored.
    pub fn save(&mut self) {
        let at = moment(self.brain.now());
        self.ledger.apply(&self.brain.changes(), at).expect("memory keeps everything");
    }

    /// A copy that goes on from here by itself.
    pub fn fork(&mut self) -> Run {
        let at = moment(self.brain.now());
        self.save();
        let ledger = self.ledger.clone();
        let brain = load(&ledger);
        let (site, observer) = (self.site.clone(), self.observer.clone());
        Run { site, observer, brain, ledger, now: self.now, at_once: true, saved: at }
    }

    /// The VM that a machine is taken for: by its MAC.
    pub fn vms(&self) -> BTreeMap<VmId, Id> {
        let by_mac: BTreeMap<_, _> = self
            .site
            .world
            .machines
            .iter()
            .filter(|machine| machine.os != Os::Outside)
            .map(|machine| (machine.mac, machine.id))
            .collect();
        let vms = self.brain.inventory.vms();
        vms.filter_map(|vm| vm.macs().find_map(|mac| by_mac.get(&mac)).map(|id| (vm.id, *id))).collect()
    }

    pub fn vm_of(&self, id: Id) -> Option<VmId> {
        let mac = self.site.world.machine(id).mac;
        self.brain.inventory.vms().find(|vm| vm.macs().any(|own| own == mac)).map(|vm| vm.id)
    }

    pub fn ripeness(&self, vm: VmId) -> Ripeness {
        self.brain.baselines.ripeness(vm, Feature::Services, packet_time(self.now))
    }

    /// Is the machine known under its present address?
    pub fn is_placed(&self, id: Id) -> bool {
        let machine = self.site.world.machine(id);
        let holder = self.brain.inventory.holder(Segment::UNTAGGED, machine.ip.into());
        let Some(vm) = holder.and_then(|vm| self.brain.inventory.vm(vm)) else { return false };
        let mut macs = vm.macs();
        macs.next() == Some(machine.mac) && macs.next().is_none()
    }
}

fn load(ledger: &Ledger) -> Brain {
    let config = BrainConfig { inventory: InventoryConfig::default(), ..BrainConfig::default() };
    Brain::load(Box::new(ledger.store.clone()), config).expect("what was written can be read")
}
