//! Detectors: judgements on what changed in the inventory, against the baseline and the sanctions. One file each,
//! with its tunables at the top and two lines here. None knows what a packet is, and none asks the time.

mod day0;
mod familiar;
mod gone;
mod memory;
mod new_peer;
mod new_service;
mod new_service_reason;
mod new_vm;
mod outlier;
mod peering;
mod remote_access;
mod role_flip;
mod service_gone;
mod service_replaced;
mod surprise;
mod verdict;
mod vm_moved;
mod volume_deviation;
mod why;

#[cfg(test)]
mod volume_deviation_tests;
#[cfg(test)]
mod world;

pub use surprise::IN_TROUBLE_NATS;
pub use verdict::{Code, Reason};
pub use why::{Explanation, Line, why};

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use crate::baseline::{Baselines, Feature, Mode, Sanctions};
use crate::inventory::{Basis, Change, What};
use crate::model::{
    AppInfo, AppProto, CaptureQuality, DetectorId, Evidence, Finding, FlowRef, Segment, ServiceClass, ServiceKey,
    Severity, Surprise, Timestamp, VmId,
};
use crate::store::{Batch, Store, StoreError};

/// For so long the services of an arrived VM are observed and not judged.
const ARRIVED_H: f64 = 24.0;

/// Declares the roster: `[detect.NAME]` tables, the list of ids, and how each is made.
macro_rules! roster {
    ($($file:ident => $detector:ident),* $(,)?) => {
        /// The `[detect]` section: a table for each detector, by its name.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct DetectConfig { $(pub $file: $file::Config),* }

        /// Every detector there is, in the order in which they judge.
        pub static DETECTORS: &[DetectorId] = &[$(&$file::DETECTOR),*];

        fn enlist(config: &DetectConfig) -> Vec<Box<dyn Detect>> {
            let mut roster: Vec<Box<dyn Detect>> = Vec::new();
            $(if config.$file.enabled { roster.push(Box::new($file::$detector::new(config.$file.clone()))); })*
            roster
        }
    };
}

roster! {
    new_vm => NewVm,
    new_service => NewService,
    service_replaced => ServiceReplaced,
    service_gone => ServiceGone,
    // Before `new-peer`, which leaves to it what it told.
    role_flip => RoleFlip,
    new_peer => NewPeer,
    vm_moved => VmMoved,
    volume_deviation => VolumeDeviation,
}

/// One detector. It sees every change once, in order, before the baseline learns from it.
pub trait Detect: Send {
    fn detector(&self) -> DetectorId;

    /// Judges one change and says whether it may be learned from.
    fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> Verdict;

    /// VMs whose hour, judged at the last tick, must not become usual.
    fn barred(&self) -> &[VmId] {
        &[]
    }

    /// `gone` is an alias of `kept` from now on. A merge raises nothing.
    fn merged(&mut self, _kept: VmId, _gone: VmId) {}

    /// What became of whole VMs since it was asked last: events that are no findings.
    fn vm_events(&mut self) -> Vec<(VmId, &'static str)> {
        Vec::new()
    }

    /// Has the VM fallen silent with all that it serves?
    fn is_gone(&self, _vm: VmId) -> bool {
        false
    }

    fn save(&mut self, _batch: &mut Batch) {}

    fn load(&mut self, _store: &dyn Store) -> Result<(), StoreError> {
        Ok(())
    }

    /// Table sizes and evictions, for `stats`.
    fn report(&self, _out: &mut Vec<(&'static str, u64)>) {}
}

/// May the baseline learn from the change? What raised a finding, or waits for more evidence, may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Learn,
    Withhold,
}

/// What the inventory tells detectors. It shows the state after the change that is judged.
pub trait Known {
    /// The VM's name, else its address.
    fn label(&self, vm: VmId) -> String;
    fn name(&self, vm: VmId) -> Option<String>;
    /// Was it in an imported inventory?
    fn listed(&self, vm: VmId) -> bool;
    /// Did it come with an address that wanders between the members of a cluster, from one that served the same?
    fn taken_over(&self, service: &ServiceKey) -> bool;
    /// A service over all its addresses and segments; `None` where it is not known.
    fn service(&self, service: &ServiceKey) -> Option<Seen<'_>>;
    /// Does it go by the name of another VM that fell silent before it came?
    fn takes_a_name_over(&self, _vm: VmId) -> bool {
        false
    }
    /// The VM that has this address.
    fn holder(&self, segment: Segment, ip: IpAddr) -> Option<VmId>;
    /// Were its connections under way when it was first seen, or did a hypervisor announce it (RARP)?
    fn arrived(&self, _vm: VmId) -> bool {
        false
    }
    /// Does this client of a service live in another segment than it, behind a router?
    fn is_elsewhere(&self, _service: &ServiceKey, _client: IpAddr) -> bool {
        false
    }
    /// How well the mirror shows this VM; `None` where only the whole is known.
    fn quality(&self, _vm: VmId) -> Option<CaptureQuality> {
        None
    }
    /// When eastwatch was last blind: a mirror source was silent, gone, or beyond its bounds.
    fn blind_until(&self) -> Option<Timestamp> {
        None
    }
}

/// A service as the inventory knows it, its rows of several addresses taken together.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The best evidence of all rows.
    pub basis: Basis,
    pub class: ServiceClass,
    /// It sends only to groups that others of its segment sent to before it.
    pub joins_known_group: bool,
    pub app: Option<&'a AppInfo>,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Distinct clients.
    pub clients: u64,
    /// Answered flows, and IP bytes in both directions.
    pub flows: u64,
    pub bytes: u64,
}

/// Everything a judgement rests on.
#[derive(Clone, Copy)]
pub struct World<'a> {
    pub known: &'a dyn Known,
    pub baselines: &'a Baselines,
    pub sanctions: &'a Sanctions,
    /// Of the whole.
    pub quality: CaptureQuality,
}

/// The detectors that are switched on.
pub struct Detectors {
    roster: Vec<Box<dyn Detect>>,
    findings: u64,
}

impl Detectors {
    pub fn new(config: &DetectConfig) -> Self {
        Detectors { roster: enlist(config), findings: 0 }
    }

    pub fn load(store: &dyn Store, config: &DetectConfig) -> Result<Self, StoreError> {
        let mut detectors = Detectors::new(config);
        for detector in &mut detectors.roster {
            detector.load(store)?;
        }
        Ok(detectors)
    }

    /// Every detector's judgement of one change, in order of the roster. Withheld by one is withheld.
    pub fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> Verdict {
        if let What::Merged { kept, gone } = &change.what {
            self.roster.iter_mut().for_each(|detector| detector.merged(*kept, *gone));
            return Verdict::Learn;
        }
        let before = out.len();
        let mut verdict = Verdict::Learn;
        for detector in &mut self.roster {
            if detector.judge(change, world, out) == Verdict::Withhold {
                verdict = Verdict::Withhold;
            }
        }
        self.findings += out.len().saturating_sub(before) as u64;
        verdict
    }

    /// VMs whose hour, judged at the last tick, must not become usual.
    pub fn barred(&self) -> Vec<VmId> {
        self.roster.iter().flat_map(|detector| detector.barred().iter().copied()).collect()
    }

    /// What became of whole VMs since this was asked last.
    pub fn vm_events(&mut self) -> Vec<(VmId, &'static str)> {
        self.roster.iter_mut().flat_map(|detector| detector.vm_events()).collect()
    }

    pub fn is_gone(&self, vm: VmId) -> bool {
        self.roster.iter().any(|detector| detector.is_gone(vm))
    }

    pub fn save(&mut self, batch: &mut Batch) {
        self.roster.iter_mut().for_each(|detector| detector.save(batch));
    }

    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        if self.findings > 0 {
            out.push(("detect.findings", self.findings));
        }
        self.roster.iter().for_each(|detector| detector.report(out));
    }
}

impl World<'_> {
    fn mode(&self) -> Mode {
        self.baselines.mode()
    }

    fn app(&self, service: &ServiceKey) -> Option<AppProto> {
        Some(self.known.service(service)?.app?.proto.clone())
    }

    fn sanctioned(&self, service: &ServiceKey, now: Timestamp) -> bool {
        self.sanctions.covers(service, self.app(service).as_ref(), now).is_some()
    }

    /// Is it no news on this VM, because its likes serve the same? By remote access three of them have to: in a role of
    /// four, two are half.
    fn is_usual(&self, service: &ServiceKey) -> bool {
        let remote = || {
            let app = self.app(service);
            remote_access::is_remote_access(service.transport, service.port, app.as_ref().map(|app| app.as_str()))
        };
        self.baselines.is_usual(service) && (self.baselines.is_served_by_likes(service) || !remote())
    }

    /// Is this service new to a VM that is judged, and approved by no one? Then `new-service` tells its story.
    fn is_unsanctioned(&self, service: &ServiceKey, now: Timestamp) -> bool {
        !self.baselines.is_learned(service)
            && !self.is_usual(service)
            && self.judges_services(service.vm, now)
            && !self.sanctioned(service, now)
    }

    /// The same for a service that this client uses: one more of something known is not judged as new.
    fn is_news(&self, client: VmId, service: &ServiceKey, now: Timestamp) -> bool {
        let familiar = || {
            self.known.service(service).is_some_and(|seen| {
                seen.app.is_some_and(familiar::is_sharing)
                    || familiar::look(service, &seen, Some(client), self) == familiar::Familiar::Known
            })
        };
        self.is_unsanctioned(service, now) && !familiar()
    }

    /// Is a service of this VM judged? One that arrived from a host that we do not see brings what it served there:
    /// its role alone does not judge it in its first day.
    fn judges_services(&self, vm: VmId, now: Timestamp) -> bool {
        self.baselines.judges(vm, Feature::Services, now) && !self.observes(vm, now)
    }

    /// Has it arrived, less than a day ago, with no ripe baseline of its own (watched or imported)?
    fn observes(&self, vm: VmId, now: Timestamp) -> bool {
        let ripeness = self.baselines.ripeness(vm, Feature::Services, now);
        let young = ripeness.tally.observed_h < ARRIVED_H;
        self.mode() == Mode::Auto && ripeness.by_role && young && self.known.arrived(vm)
    }

    /// Has it arrived from a host that we do not see, less than a day ago, and brought no ripe baseline along? Who uses
    /// it used it there.
    fn is_settling(&self, vm: VmId, now: Timestamp) -> bool {
        let ripeness = self.baselines.ripeness(vm, Feature::Services, now);
        let own = ripeness.is_ripe() && !ripeness.by_role;
        self.mode() == Mode::Auto && !own && ripeness.tally.observed_h < ARRIVED_H && self.known.arrived(vm)
    }

    /// How well the mirror shows a VM.
    fn quality_of(&self, vm: VmId) -> CaptureQuality {
        self.known.quality(vm).unwrap_or(self.quality)
    }

    /// A finding with what every one has; title, reason and evidence are the detector's.
    fn finding(&self, detector: DetectorId, severity: Severity, change: &Change, vm: VmId) -> Finding {
        Finding {
            detector,
            severity,
            time: change.time,
            vm,
            vm_label: self.known.label(vm),
            vm_name: self.known.name(vm),
            service: None,
            peer: None,
            flow: change.flow,
            title: String::new(),
            reason: String::new(),
            evidence: Evidence::default(),
            quality: self.quality_of(vm),
            fold: None,
            surprise: Surprise::of(severity),
            always: false,
        }
    }

    /// A client as a person calls it: its name, else its address.
    fn client_label(&self, client: (Option<VmId>, IpAddr)) -> String {
        client.0.map_or_else(|| client.1.to_string(), |vm| self.known.label(vm))
    }
}

/// Frame numbers for evidence: where it was seen first and where it was decided, ascending, without 0 (a tick).
fn frames(flow: Option<&FlowRef>, more: &[u64]) -> Vec<u64> {
    let mut frames: Vec<u64> = flow.map(|f| f.first_frame).into_iter().chain(more.iter().copied()).collect();
    frames.retain(|frame| *frame != 0);
    frames.sort_unstable();
    frames.dedup();
    frames
}

/// `1 flow`, `2 flows`.
fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
