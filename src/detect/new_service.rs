//! `new-service`: a service outside the VM's baseline that no one sanctioned (detection.md 3.4, 3.5).
//! Judged: VMs that are ripe (auto) or all (enforce); before ripeness only the day-0 list. What is not proved well
//! enough yet waits in a table of `pending_max`; the longest untouched is forgotten, and counted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::day0::{self, Case, Exposed};
use super::memory::Memory;
use super::outlier::Outliers;
use super::{Detect, Seen, Verdict, World, new_service_reason, remote_access};
use crate::baseline::Mode;
use crate::inventory::{Change, Sight, What};
use crate::model::{
    AppProto, Detector, DetectorId, Finding, FlowRef, ServiceKey, Timestamp, Transport, VmId, app_names,
};
use crate::store::{Batch, Kind, Store, StoreError};

pub static DETECTOR: Detector = Detector {
    signature_id: 2,
    name: "new-service",
    signature: "A service outside the VM's baseline that no one sanctioned",
    techniques: &["T1571", "T1133", "T1219", "T1505.003", "T1090.001"],
};

static PENDING: Kind = Kind { tag: 0x28, name: "new-service candidate", version: 2 };

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// Told again at most this often while the service is used on.
    pub again_s: i64,
    /// In the VM's own ephemeral range a service must live this long, carry this much, or be used twice.
    pub ephemeral_life_s: i64,
    pub ephemeral_bytes: u64,
    /// Candidates and told services remembered.
    pub pending_max: usize,
    /// Applications that are a finding from the first minute, ripe or not, once the payload proved them: login
    /// in clear text that nobody starts today. One, so that a first hour in an old network stays readable.
    #[serde(deserialize_with = "app_names")]
    pub day0: Vec<AppProto>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            again_s: 3_600,
            ephemeral_life_s: 60,
            ephemeral_bytes: 64 * 1024,
            pending_max: 16_384,
            day0: vec![AppProto::new("telnet")],
        }
    }
}

/// Candidates looked at again at each tick, in turn: bounds a tick to some 20 µs however many wait.
const POLLED_A_TICK: usize = 128;
/// A handshake without payload is some 124 to 256 bytes of IP in all; what carried more was spoken to, answered or not.
const HANDSHAKE_BYTES: u64 = 256;

/// A service that is neither learned nor sanctioned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub since: Timestamp,
    pub first_frame: u64,
    pub flow: Option<FlowRef>,
    pub client: Option<(Option<VmId>, IpAddr)>,
    pub uses: u64,
    /// When it was last told, with how many uses and which application; `None` while it waits for evidence.
    told: Option<(Timestamp, u64, Option<AppProto>)>,
    /// It is on the day-0 list.
    pub day0: Option<Case>,
}

pub struct NewService {
    config: Config,
    pending: Memory<ServiceKey, Candidate>,
    /// Where the polling goes on at the next tick.
    cursor: Option<ServiceKey>,
    exposed: Exposed,
    outliers: Outliers,
}

impl NewService {
    pub fn new(config: Config) -> Self {
        let pending = Memory::new(&PENDING, config.pending_max);
        let (exposed, outliers) = (Exposed::new(config.pending_max), Outliers::new(config.pending_max));
        NewService { config, pending, cursor: None, exposed, outliers }
    }

    fn meet(
        &mut self,
        key: &ServiceKey,
        used: bool,
        change: &Change,
        world: &World<'_>,
        out: &mut Vec<Finding>,
    ) -> Verdict {
        let case = day0::case(key, change, world, &self.config.day0);
        if world.baselines.is_learned(key) && case.is_none() {
            return Verdict::Learn;
        }
        // It came with an address of a cluster, or its likes all serve it, or RPC gave out one more port.
        let usual = || world.baselines.is_usual(key) || world.is_another_endpoint(key);
        if world.known.taken_over(key) || (case.is_none() && usual()) {
            self.pending.remove(key);
            return Verdict::Learn;
        }
        let judged = world.judges_services(key.vm, change.time);
        if world.sanctioned(key, change.time) {
            self.pending.remove(key);
            // On a judged VM an approval is not knowledge: when it expires, the service is a finding again.
            return if judged { Verdict::Withhold } else { Verdict::Learn };
        }
        if !judged && case.is_none() && !self.told_day0(key, world) {
            self.pending.remove(key);
            return Verdict::Learn;
        }
        // One more of those that send to a group says nothing: a standby router, another printer.
        if world.known.service(key).is_some_and(|seen| seen.joins_known_group) {
            self.pending.remove(key);
            return Verdict::Learn;
        }
        match self.pending.touch(key, change.time) {
            Some(candidate) => candidate.uses += u64::from(used),
            None => self.pending.insert(*key, Candidate::of(change), change.time),
        }
        if let Some(candidate) = self.pending.touch(key, change.time).filter(|_| case.is_some()) {
            candidate.day0 = case;
        }
        self.decide(key, change, world, out);
        Verdict::Withhold
    }

    /// Was it told by the day-0 list? Then it stays unlearned though its VM is not ripe.
    fn told_day0(&self, key: &ServiceKey, world: &World<'_>) -> bool {
        world.mode() == Mode::Auto && self.pending.get(key).is_some_and(|c| c.told.is_some() && c.day0.is_some())
    }

    /// Tells a candidate that has enough evidence, or has more to tell than before.
    fn decide(&mut self, key: &ServiceKey, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) {
        let (Some(seen), Some(candidate)) = (world.known.service(key), self.pending.get(key)) else { return };
        let app = seen.app.map(|a| a.proto.clone());
        let due = match &candidate.told {
            None => self.qualifies(key, &seen, candidate, change.time, world),
            Some((at, uses, told_app)) => {
                let again = change.time.since_s(*at) >= self.config.again_s as f64 && candidate.uses > *uses;
                let whole = seen.basis.level >= 3 && seen.basis.sight == Sight::Whole;
                again || (app.is_some() && told_app.is_none() && whole)
            }
        };
        if !due {
            return;
        }
        let told_uses = candidate.told.as_ref().map(|(at, uses, _)| (*at, candidate.uses.saturating_sub(*uses)));
        let mut finding = new_service_reason::argue(key, &seen, candidate, told_uses, change, world);
        finding.always = app.as_ref().is_some_and(|app| self.config.day0.contains(app));
        out.push(finding);
        if let Some(candidate) = self.pending.touch(key, change.time) {
            // A remark about what began before the capture counts as told without its application: a whole exchange
            // is judged anew.
            candidate.told = Some((change.time, candidate.uses, app.filter(|_| seen.basis.sight == Sight::Whole)));
        }
    }

    /// Is this proof enough to speak? One answered connection is (one use is enough for a back door); remote
    /// access at its handshake; only the VM's own ephemeral range waits for life, bytes or a second use.
    fn qualifies(
        &self,
        key: &ServiceKey,
        seen: &Seen<'_>,
        candidate: &Candidate,
        now: Timestamp,
        world: &World<'_>,
    ) -> bool {
        let app = seen.app.map(|a| a.proto.as_str());
        let ephemeral = world.baselines.profile(key.vm).is_some_and(|p| p.is_ephemeral(key.port));
        if seen.basis.level < 3 {
            return match seen.basis.sight {
                Sight::Whole => false,
                // Began before the capture: only the payload's word, and then only as a remark.
                Sight::Midstream => app.is_some(),
                // Another device's word, a remark too.
                Sight::Record => !ephemeral || candidate.uses >= 2,
            };
        }
        if candidate.day0.is_some() || remote_access::is_remote_access(key.transport, key.port, app) {
            return true;
        }
        // A handshake alone is what a SYN scan leaves of an idle listener; silent back doors carry more bytes.
        let handshakes = matches!(key.transport, Transport::Tcp | Transport::Sctp);
        let spoken = !handshakes
            || seen.basis.level >= 4
            || app.is_some()
            || seen.bytes > HANDSHAKE_BYTES.saturating_mul(seen.flows.max(1));
        if !ephemeral {
            return spoken;
        }
        let life_s = seen.last_seen.since_s(candidate.since).min(now.since_s(candidate.since));
        let lasting = life_s >= self.config.ephemeral_life_s as f64
            || seen.bytes >= self.config.ephemeral_bytes
            || candidate.uses >= 2;
        spoken && lasting
    }

    /// The change that proved the service knew its first client by address only; this one knows the VM.
    fn name_client(&mut self, service: &ServiceKey, ip: IpAddr, vm: Option<VmId>, now: Timestamp) {
        let nameless =
            self.pending.get(service).is_some_and(|c| c.client.is_none_or(|(vm, at)| vm.is_none() && at == ip));
        if nameless && let Some(candidate) = self.pending.touch(service, now) {
            candidate.client = Some((vm, ip));
        }
    }

    /// Evidence grows without a change (bytes, life): the candidates are looked at in turn.
    fn poll(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) {
        let keys = self.pending.after(self.cursor.as_ref(), POLLED_A_TICK);
        self.cursor = if keys.len() < POLLED_A_TICK { None } else { keys.last().copied() };
        for key in keys {
            let waiting = self.pending.get(&key).is_some_and(|c| c.told.is_none());
            if !waiting {
                continue;
            }
            if world.sanctioned(&key, change.time) || world.baselines.is_learned(&key) {
                self.pending.remove(&key);
            } else {
                self.decide(&key, change, world, out);
            }
        }
    }
}

impl Detect for NewService {
    fn detector(&self) -> DetectorId {
        &DETECTOR
    }

    fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> Verdict {
        let exposed = self.exposed.judge(change, world, out);
        let verdict = match &change.what {
            What::ServiceRetracted { service } => {
                self.pending.remove(service);
                Verdict::Learn
            }
            What::ServiceNew { service, .. }
            | What::ServiceRaised { service, .. }
            | What::ServiceApp { service, .. } => self.meet(service, false, change, world, out),
            What::ServiceUsed { service, client, client_vm } => {
                self.name_client(service, *client, *client_vm, change.time);
                self.meet(service, true, change, world, out)
            }
            What::PeerNew { client, service, .. } | What::PeerUsed { client, service, .. } => {
                if let Some(flow) = &change.flow {
                    self.name_client(service, flow.orig.ip, Some(*client), change.time);
                }
                Verdict::Learn
            }
            What::Tick => {
                self.poll(change, world, out);
                self.outliers.look(change, world, out);
                Verdict::Learn
            }
            _ => Verdict::Learn,
        };
        if exposed { Verdict::Withhold } else { verdict }
    }

    fn merged(&mut self, _kept: VmId, gone: VmId) {
        self.pending.forget(|key| key.vm == gone);
        self.exposed.forget(gone);
        self.outliers.forget(gone);
    }

    fn save(&mut self, batch: &mut Batch) {
        self.pending.save(batch);
        self.exposed.save(batch);
        self.outliers.save(batch);
    }

    fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.exposed.load(store)?;
        self.outliers.load(store)?;
        self.pending.load(store)
    }

    fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        out.push(("detect.new-service.pending", self.pending.len() as u64));
        let evicted = self.pending.evicted() + self.exposed.evicted() + self.outliers.evicted();
        out.push(("detect.new-service.evicted", evicted));
    }
}

impl Candidate {
    fn of(change: &Change) -> Self {
        let client = match &change.what {
            What::ServiceUsed { client, client_vm, .. } => Some((*client_vm, *client)),
            _ => change.flow.as_ref().map(|f| (None, f.orig.ip)),
        };
        Candidate {
            since: change.time,
            first_frame: change.frame,
            flow: change.flow,
            client,
            uses: 1,
            told: None,
            day0: None,
        }
    }
}

#[cfg(test)]
#[path = "new_service_tests.rs"]
mod tests;
