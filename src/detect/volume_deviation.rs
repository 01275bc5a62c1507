//! `volume-deviation`: a VM sent far more in an hour than it, and its likes, usually do, most of it to one receiver
//! (detection.md 4.3, D7). Judged at the end of each watched hour. What is spread over many is load; what goes where
//! much went before is a backup; what half of the role does is a rollout; what comes at its hour of the week is a job;
//! a slow rise raises what is usual.
//!
//! When it was told is remembered for `told_max` VMs; the longest untouched is forgotten, and counted.

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::{Detect, Verdict, World, frames};
use crate::baseline::{By, Current, Hours, Mode, Receiver, Usual, z_among};
use crate::inventory::{Change, What};
use crate::model::{Detector, DetectorId, Evidence, Finding, ServiceKey, Severity, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

pub static DETECTOR: Detector = Detector {
    signature_id: 16,
    name: "volume-deviation",
    signature: "A VM sent far more than it usually does in an hour",
    techniques: &["T1041", "T1048", "T1030"],
};

static TOLD: Kind = Kind { tag: 0x4c, name: "volume-deviation memory", version: 1 };

/// Members of a role that are compared with: bounds a look at a farm of thousands.
const LIKES_MAX: usize = 256;
const LIKES_MIN: usize = 2;
/// A backup's whole copy is up to so many times what it sends on other days.
const BULK_TIMES: u64 = 64;
/// From the 28 days, the hours of the week in which a VM with working hours is active.
const WORKING_HOURS_MAX: usize = 84;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// Robust z of ln(1 + bytes) against the same hours of the week (before two are known: of the day), and against
    /// the role.
    pub z_min: f64,
    /// Times what 99 of 100 hours do not exceed, and what this time of the week had at most.
    pub times_min: u64,
    pub bytes_min: u64,
    /// Hours that must be known.
    pub hours_min: usize,
    /// A VM that goes on is told again at most this often.
    pub again_s: i64,
    pub told_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            z_min: 6.0,
            times_min: 10,
            bytes_min: 100_000_000,
            hours_min: 24,
            again_s: 86_400,
            told_max: 8_192,
        }
    }
}

pub struct VolumeDeviation {
    config: Config,
    told: Memory<VmId, Timestamp>,
    /// VMs whose hour, judged last, must not become usual.
    barred: Vec<VmId>,
}

/// What deviates.
struct Deviation<'a> {
    usual: Usual,
    z: f64,
    to: &'a Receiver,
    /// The VM has learned edges with the receiver, or sent it much before.
    acquainted: bool,
}

impl VolumeDeviation {
    pub fn new(config: Config) -> Self {
        let told = Memory::new(&TOLD, config.told_max);
        VolumeDeviation { config, told, barred: Vec::new() }
    }

    fn deviation<'a>(&self, vm: VmId, hour: &'a Current, world: &World<'_>) -> Option<Deviation<'a>> {
        let volumes = &world.baselines.volumes;
        let usual = volumes.usual(vm).filter(|usual| usual.hours >= self.config.hours_min)?;
        let floor = usual.p99.max(usual.same_hours).saturating_mul(self.config.times_min);
        let z = usual.z(hour.sent);
        if hour.sent < floor.max(self.config.bytes_min) || z < self.config.z_min || self.is_rollout(vm, hour, world) {
            return None;
        }
        let to = hour.most().filter(|to| to.bytes.saturating_mul(2) >= hour.sent)?;
        let before = volumes.got_before(vm, to);
        let is_backup = |most: &u64| *most >= self.config.bytes_min && to.bytes <= most.saturating_mul(BULK_TIMES);
        let acquainted = before.is_some() || to.vm.is_some_and(|peer| world.baselines.are_acquainted(vm, peer));
        // In the first week the first weekly job of everyone is still to come: it goes to whom the VM knows.
        if before.as_ref().is_some_and(is_backup) || (acquainted && !usual.has_week()) {
            return None;
        }
        Some(Deviation { usual, z, to, acquainted })
    }

    /// Do its likes send as much in this hour?
    fn is_rollout(&self, vm: VmId, hour: &Current, world: &World<'_>) -> bool {
        let Some((_, role)) = world.baselines.roles().of(vm).filter(|_| world.baselines.roles().is_ripe(vm)) else {
            return false;
        };
        let others = role.members.iter().filter(|other| **other != vm).take(LIKES_MAX);
        let sent: Vec<u64> = others.map(|other| world.baselines.volumes.sent_now(*other)).collect();
        sent.len() >= LIKES_MIN && z_among(hour.sent, sent.into_iter()) < self.config.z_min
    }

    fn argue(&self, vm: VmId, hour: &Current, is: &Deviation<'_>, change: &Change, world: &World<'_>) -> Finding {
        let severity = if is.acquainted { Severity::Low } else { Severity::Medium };
        let mut finding = world.finding(&DETECTOR, severity, change, vm);
        let to = world.client_label((is.to.vm, is.to.ip));
        let label = &finding.vm_label;
        finding.title = format!("{label} sent {} in an hour, most of it to {to}", size(hour.sent));
        let compared = match is.usual.by {
            By::Week => "the same hours of the weeks before",
            By::Day => "the same hours of the days before",
            By::All => "all its hours",
        };
        let timing = match is.usual.has_week() && is.usual.active <= WORKING_HOURS_MAX && !is.usual.active_now {
            true => {
                format!("; it was never active at this hour of the week, and is so in {} of 168 hours", is.usual.active)
            }
            false => String::new(),
        };
        let stranger = match is.acquainted {
            true => String::new(),
            false => format!("; nothing of note had gone to {to} before"),
        };
        finding.reason = format!(
            "{label} sent {} in the last hour, at least {} of it to {to}; 99 of 100 of its hours in {} have at most {}, and \
             {compared} {} in the middle (z {:.1}){stranger}{timing}",
            size(hour.sent),
            size(is.to.bytes),
            Hours(is.usual.hours as f64),
            size(is.usual.p99),
            size(is.usual.median()),
            is.z,
        );
        finding.peer = Some((is.to.vm, is.to.ip));
        let (transport, port) = is.to.port;
        let server = if is.to.serves { Some(vm) } else { is.to.vm };
        let app = server.and_then(|vm| world.app(&ServiceKey { vm, transport, port }));
        let by = app.map(|app| format!(" ({app})")).unwrap_or_default();
        finding.evidence = Evidence {
            frames: frames(None, &[is.to.frame]),
            facts: vec![
                ("bytes sent".to_owned(), hour.sent.to_string()),
                ("bytes received".to_owned(), hour.received.to_string()),
                ("port".to_owned(), format!("{transport}/{port}{by}")),
            ],
        };
        finding
    }
}

impl Detect for VolumeDeviation {
    fn detector(&self) -> DetectorId {
        &DETECTOR
    }

    fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> Verdict {
        let What::Tick = &change.what else { return Verdict::Learn };
        self.barred.clear();
        if world.mode() == Mode::Learn || world.baselines.volumes.over(change.time).is_none() {
            return Verdict::Learn;
        }
        for (vm, hour) in world.baselines.volumes.large(self.config.bytes_min) {
            if world.sanctions.covers_vm(vm, change.time).is_some() {
                continue;
            }
            let Some(deviation) = self.deviation(vm, hour, world) else { continue };
            self.barred.push(vm);
            let again = |at: &Timestamp| change.time.since_s(*at) >= self.config.again_s as f64;
            if self.told.get(&vm).is_none_or(again) {
                self.told.insert(vm, change.time, change.time);
                out.push(self.argue(vm, hour, &deviation, change, world));
            }
        }
        Verdict::Learn
    }

    fn barred(&self) -> &[VmId] {
        &self.barred
    }

    fn merged(&mut self, _kept: VmId, gone: VmId) {
        self.told.remove(&gone);
    }

    fn save(&mut self, batch: &mut Batch) {
        self.told.save(batch);
    }

    fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.told.load(store)
    }

    fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        out.push(("detect.volume-deviation.evicted", self.told.evicted()));
    }
}

/// Decimal units, as `vms` and `services` have them.
fn size(bytes: u64) -> String {
    let scaled = |unit: f64| bytes as f64 / unit;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", scaled(1e3)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", scaled(1e6)),
        _ => format!("{:.1} GB", scaled(1e9)),
    }
}
