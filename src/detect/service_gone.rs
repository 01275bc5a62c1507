//! `service-gone`: a learned, regularly used service that refuses its clients, or answers them with silence, for
//! longer than its usual interval. Never concluded from a window the mirror did not show, nor from clients' silence.
//! Failing services are remembered up to `failing_max`; the longest untouched is forgotten, and counted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::gone::{self, Gone, Whole};
use super::memory::Memory;
use super::{Detect, Verdict, World, frames};
use crate::baseline::Feature;
use crate::inventory::{Change, What};
use crate::model::{Detector, DetectorId, Evidence, Finding, ServiceKey, Severity, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

pub static DETECTOR: Detector = Detector {
    signature_id: 4,
    name: "service-gone",
    signature: "A learned service stopped answering",
    techniques: &["T1489"],
};

static FAILING: Kind = Kind { tag: 0x2a, name: "failing service", version: 1 };

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// Answered flows that make a service regularly used.
    pub uses_min: u64,
    /// Failed attempts in a row; three, as TCP clients try again after a lost packet.
    pub failures_min: u64,
    /// Silence of at least this long, and of `intervals` usual ones: a restart takes less than a minute.
    pub gone_s_min: f64,
    pub intervals: f64,
    /// Above this share of lost packets or one-sided flows silence proves nothing.
    pub loss_max: f64,
    pub one_way_max: f64,
    pub failing_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            uses_min: 30,
            failures_min: 3,
            gone_s_min: 60.0,
            intervals: 3.0,
            loss_max: 0.02,
            one_way_max: 0.2,
            failing_max: 8_192,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Failing {
    since: Timestamp,
    first_frame: u64,
    failures: u64,
    last_client: IpAddr,
    told: bool,
}

pub struct ServiceGone {
    config: Config,
    failing: Memory<ServiceKey, Failing>,
    gone: Gone,
}

impl ServiceGone {
    pub fn new(config: Config) -> Self {
        let failing = Memory::new(&FAILING, config.failing_max);
        let gone = Gone::new(config.failing_max);
        ServiceGone { config, failing, gone }
    }

    /// It answers, or uses others, again.
    fn seen(&mut self, vm: VmId) {
        if self.gone.back(vm) {
            self.failing.forget(|key| key.vm == vm);
        }
    }

    fn refused(
        &mut self,
        key: &ServiceKey,
        client: IpAddr,
        change: &Change,
        world: &World<'_>,
        out: &mut Vec<Finding>,
    ) {
        let Some(learned) = world.baselines.service(key) else { return };
        let regular = learned.uses >= self.config.uses_min;
        if !regular || self.gone.has(key.vm) || !world.baselines.judges(key.vm, Feature::Services, change.time) {
            return;
        }
        let quality = world.quality_of(key.vm);
        let blind_until = world.known.blind_until();
        let blind = blind_until.is_some_and(|until| until >= self.failing.get(key).map_or(change.time, |f| f.since));
        if blind || quality.is_worse(self.config.loss_max, self.config.one_way_max) {
            // What failed so far may have been answered out of our sight.
            self.failing.remove(key);
            return;
        }
        if self.failing.get(key).is_none() {
            let (since, first_frame) = (change.time, change.frame);
            let fresh = Failing { since, first_frame, failures: 0, last_client: client, told: false };
            self.failing.insert(*key, fresh, change.time);
        }
        let Some(failing) = self.failing.touch(key, change.time) else { return };
        failing.failures = failing.failures.saturating_add(1);
        failing.last_client = client;
        let usual_s = learned.last_seen.since_s(learned.first_seen) / learned.uses.saturating_sub(1).max(1) as f64;
        let silent_s = change.time.since_s(learned.last_seen);
        let gone_s = self.config.gone_s_min.max(self.config.intervals * usual_s);
        if failing.told || failing.failures < self.config.failures_min || silent_s < gone_s {
            return;
        }
        let since = failing.since;
        let held_s = silent_s - gone_s;
        match gone::whole(key, since, held_s, &self.config, |other| self.failing.get(other).is_some(), change, world) {
            Whole::Gone => return self.gone.tell(key.vm, change.time),
            Whole::Unsure => return,
            Whole::Alive => {}
        }
        let Some(failing) = self.failing.touch(key, change.time) else { return };
        failing.told = true;
        if world.sanctioned(key, change.time) {
            return;
        }
        let failing = failing.clone();
        let mut finding = world.finding(&DETECTOR, Severity::Low, change, key.vm);
        let port = format!("{}/{}", key.transport, key.port);
        finding.title = format!("{port} of {} stopped answering", finding.vm_label);
        finding.reason = format!(
            "{port} of {} answered {} flows, one in {usual_s:.0} s, until {}; {} attempts since {} failed, the last from {client}",
            finding.vm_label,
            learned.uses,
            learned.last_seen.short(),
            failing.failures,
            failing.since.short(),
        );
        finding.service = Some((key.transport, key.port, world.app(key)));
        finding.peer = Some((None, client));
        finding.evidence = Evidence {
            frames: frames(change.flow.as_ref(), &[failing.first_frame, change.frame]),
            facts: vec![("failed attempts".to_owned(), failing.failures.to_string())],
        };
        out.push(finding);
    }
}

impl Detect for ServiceGone {
    fn detector(&self) -> DetectorId {
        &DETECTOR
    }

    fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> Verdict {
        match &change.what {
            What::ServiceRefused { service, client } => self.refused(service, *client, change, world, out),
            What::ServiceUsed { service, .. } => {
                self.failing.remove(service);
                self.seen(service.vm);
            }
            What::ServiceNew { service, .. } => self.seen(service.vm),
            What::PeerNew { client, .. } | What::PeerUsed { client, .. } => self.seen(*client),
            _ => {}
        }
        // A refusal is not learned from in any case, and an answer always is.
        Verdict::Learn
    }

    fn merged(&mut self, _kept: VmId, gone: VmId) {
        self.failing.forget(|key| key.vm == gone);
        self.gone.forget(gone);
    }

    fn vm_events(&mut self) -> Vec<(VmId, &'static str)> {
        self.gone.events()
    }

    fn is_gone(&self, vm: VmId) -> bool {
        self.gone.has(vm)
    }

    fn save(&mut self, batch: &mut Batch) {
        self.failing.save(batch);
        self.gone.save(batch);
    }

    fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.gone.load(store)?;
        self.failing.load(store)
    }

    fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        out.push(("detect.service-gone.failing", self.failing.len() as u64));
        out.push(("detect.service-gone.evicted", self.failing.evicted()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::{Lab, key, vm};
    use super::*;
    use crate::baseline::Mode;
    use crate::model::CaptureQuality;

    fn refusals(lab: &mut Lab, n: u64) -> Vec<Finding> {
        let client = IpAddr::from([10, 0, 0, 9]);
        let refused = || What::ServiceRefused { service: key(1, 443), client };
        // The VM itself goes on.
        let hour = |lab: &mut Lab| {
            lab.after_s(3_600);
            let found = lab.see(refused());
            lab.reach(vm(1), key(99, 5_432));
            found
        };
        (0..n).flat_map(|_| hour(lab)).collect()
    }

    #[test]
    fn a_service_that_refuses_three_clients_beyond_its_interval_is_gone_and_told_once() {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        let found = refusals(&mut lab, 8);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Low);
        assert!(found[0].reason.contains("failed"), "{}", found[0].reason);
    }

    #[test]
    fn two_refusals_or_an_answer_between_are_not() {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        assert!(refusals(&mut lab, 2).is_empty());
        lab.uses(key(1, 443), 9);
        assert!(refusals(&mut lab, 2).is_empty());
    }

    #[test]
    fn a_vm_that_no_one_calls_is_only_silent() {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        assert!(lab.after_s(86_400).see(What::Tick).is_empty());
    }

    #[test]
    fn nothing_is_concluded_through_a_blind_window() {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        lab.quality.loss = 0.1;
        assert!(refusals(&mut lab, 8).is_empty());
    }

    #[test]
    fn what_failed_while_a_source_was_silent_does_not_count_afterwards() {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        assert!(refusals(&mut lab, 2).is_empty());
        // Silent until now: the two may have been answered.
        lab.known.blind_until = Some(lab.now);
        assert!(refusals(&mut lab, 2).is_empty());
        assert_eq!(refusals(&mut lab, 2).len(), 1);
    }

    #[test]
    fn a_vm_that_is_half_seen_is_not_judged_by_the_quality_of_the_others() {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        lab.known.quality = Some(CaptureQuality { one_way: 0.9, ..CaptureQuality::default() });
        assert!(refusals(&mut lab, 8).is_empty());
    }
}
