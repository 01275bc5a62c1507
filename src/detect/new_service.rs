//! `new-service`: a service outside the VM's baseline that no one sanctioned (detection.md 3.4, 3.5).
//! Judged: VMs that are ripe (auto) or all (enforce); before ripeness only the day-0 list. What is not proved well
//! enough yet waits in a table of `pending_max`; the longest untouched is forgotten, and counted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::day0::{self, Case, Exposed};
use super::familiar::{self, Familiar};
use super::memory::Memory;
use super::outlier::Outliers;
use super::{Detect, Seen, Verdict, World, new_service_reason, remote_access};
use crate::baseline::Mode;
use crate::inventory::{Change, Sight, What};
use crate::model::{
    AppInfo, AppProto, Detector, DetectorId, Finding, FlowRef, ServiceKey, Timestamp, Transport, VmId, app_names,
};
use crate::store::{Batch, Kind, Store, StoreError};

pub static DETECTOR: Detector = Detector {
    signature_id: 2,
    name: "new-service",
    signature: "A service outside the VM's baseline that no one sanctioned",
    techniques: &["T1571", "T1133", "T1219", "T1505.003", "T1090.001"],
};

static PENDING: Kind = Kind { tag: 0x28, name: "new-service candidate", version: 3 };

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
/// What goes from like to like is told where nobody joined in for a day: updates go round in hours.
const COMPANY_S: f64 = 86_400.0;
/// Candidates whose payload is waited for at once, some milliseconds each; beyond it they are told without.
const UNREAD_MAX: usize = 1_024;

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
    /// When the server's payload was first seen, of a candidate that waits for what it says.
    spoken: Option<Timestamp>,
    /// It is one more of something known, and is learned with its next use.
    accepted: bool,
}

pub struct NewService {
    config: Config,
    pending: Memory<ServiceKey, Candidate>,
    /// Where the polling goes on at the next tick.
    cursor: Option<ServiceKey>,
    exposed: Exposed,
    outliers: Outliers,
    /// Candidates that have spoken and whose payload is waited for, until the next change.
    unread: BTreeSet<ServiceKey>,
}

impl NewService {
    pub fn new(config: Config) -> Self {
        let pending = Memory::new(&PENDING, config.pending_max);
        let (exposed, outliers) = (Exposed::new(config.pending_max), Outliers::new(config.pending_max));
        NewService { config, pending, cursor: None, exposed, outliers, unread: BTreeSet::new() }
    }

    fn meet(
        &mut self,
        key: &ServiceKey,
        used: bool,
        change: &Change,
        world: &World<'_>,
        out: &mut Vec<Finding>,
    ) -> Verdict {
        let mut case = day0::case(key, change, world, &self.config.day0);
        let seen = world.known.service(key);
        // Its first proof by payload says something else than its likes speak on the port.
        let odd = seen.as_ref().and_then(|s| s.app).is_some_and(|app| world.baselines.contradicts_role(key, app));
        let unproved = world.baselines.service(key).is_some_and(|learned| learned.identity.is_empty());
        if world.baselines.is_learned(key) && case.is_none() && !(odd && unproved) {
            return Verdict::Learn;
        }
        // It came with an address of a cluster, or its likes all serve it.
        if world.known.taken_over(key) || (world.is_usual(key) && case.is_none() && !odd) {
            self.pending.remove(key);
            return Verdict::Learn;
        }
        let judged = world.judges_services(key.vm, change.time);
        if world.sanctioned(key, change.time) {
            self.pending.remove(key);
            // On a judged VM an approval is not knowledge: when it expires, the service is a finding again.
            return if judged { Verdict::Withhold } else { Verdict::Learn };
        }
        if case == Some(Case::FirstAccess) && self.looks_familiar(key, change, world) == Familiar::Known {
            case = None;
        }
        if !judged && case.is_none() && !self.told_day0(key, world) {
            self.pending.remove(key);
            return Verdict::Learn;
        }
        // One more of those that send to a group says nothing: a standby router, another printer.
        if seen.is_some_and(|seen| seen.joins_known_group) {
            self.pending.remove(key);
            return Verdict::Learn;
        }
        match self.pending.touch(key, change.time) {
            Some(candidate) => candidate.uses += u64::from(used),
            None => self.pending.insert(*key, Candidate::of(change), change.time),
        }
        if case.is_none() && self.is_accepted(key, change, world) {
            return Verdict::Learn;
        }
        if let Some(candidate) = self.pending.touch(key, change.time).filter(|_| case.is_some()) {
            candidate.day0 = case;
        }
        self.decide(key, change, world, out);
        Verdict::Withhold
    }

    fn looks_familiar(&self, key: &ServiceKey, change: &Change, world: &World<'_>) -> Familiar {
        let candidate = self.pending.get(key);
        let named = candidate.and_then(|candidate| candidate.client?.0);
        let of_change = match &change.what {
            What::ServiceUsed { client_vm, .. } => *client_vm,
            _ => None,
        };
        // The change that proves a service knows its client by address only.
        let flow = change.flow.or_else(|| candidate.and_then(|candidate| candidate.flow));
        let by_address = || flow.and_then(|flow| world.known.holder(flow.segment, flow.orig.ip));
        let client = of_change.or(named).or_else(by_address);
        world.known.service(key).map_or(Familiar::No, |seen| familiar::look(key, &seen, client, world))
    }

    /// Is it one more of something known? Once it was, it stays so for other clients until it is learned, unless its
    /// payload says otherwise.
    fn is_accepted(&mut self, key: &ServiceKey, change: &Change, world: &World<'_>) -> bool {
        let Some(candidate) = self.pending.get(key).filter(|c| c.told.is_none()) else { return false };
        let app = world.known.service(key).and_then(|seen| seen.app);
        let accepted = match app {
            Some(app) if familiar::is_sharing(app) => self.has_company(key, app, world),
            Some(app) if candidate.accepted => !world.baselines.contradicts_role(key, app),
            None if candidate.accepted => true,
            _ => self.looks_familiar(key, change, world) == Familiar::Known,
        };
        if accepted {
            self.unread.remove(key);
        }
        if let Some(candidate) = self.pending.touch(key, change.time).filter(|c| c.accepted != accepted) {
            candidate.accepted = accepted;
        }
        accepted
    }

    /// Does another VM hand out content in the same way, learned or as new as this one?
    fn has_company(&self, key: &ServiceKey, app: &AppInfo, world: &World<'_>) -> bool {
        let alike = |other: &ServiceKey| {
            other.vm != key.vm
                && (other.transport, other.port) == (key.transport, key.port)
                && world.known.service(other).and_then(|seen| seen.app).is_some_and(|other| other.proto == app.proto)
        };
        self.pending.keys().any(alike) || world.baselines.is_served_elsewhere(key, app)
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
            None if !self.qualifies(key, &seen, candidate, change.time, world) => false,
            None if self.awaits(key, &seen, change, world) => return self.await_payload(key, &seen, change.time),
            None => true,
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
        let shell = candidate.day0 == Some(Case::Shell);
        finding.always = shell || app.as_ref().is_some_and(|app| self.config.day0.contains(app));
        out.push(finding);
        self.unread.remove(key);
        if let Some(candidate) = self.pending.touch(key, change.time) {
            // A remark about what began before the capture counts as told without its application: a whole exchange
            // is judged anew.
            candidate.told = Some((change.time, candidate.uses, app.filter(|_| seen.basis.sight == Sight::Whole)));
        }
    }

    /// May what is still to come explain it? Its payload, for a moment; of what goes from like to like the next of them.
    fn awaits(&self, key: &ServiceKey, seen: &Seen<'_>, change: &Change, world: &World<'_>) -> bool {
        let Some(candidate) = self.pending.get(key).filter(|c| c.day0.is_none()) else { return false };
        if seen.app.is_some_and(familiar::is_sharing) {
            return change.time.since_s(candidate.since) < COMPANY_S;
        }
        if self.looks_familiar(key, change, world) != Familiar::Perhaps {
            return false;
        }
        let spoken = candidate.spoken.unwrap_or(change.time);
        seen.basis.level < 4 || change.time.since_ns(spoken) < familiar::PATIENCE_NS
    }

    /// The server has spoken: from here on its payload is waited for. Where too many are, nothing is.
    fn await_payload(&mut self, key: &ServiceKey, seen: &Seen<'_>, now: Timestamp) {
        if seen.basis.level < 4 || seen.app.is_some() {
            return;
        }
        if let Some(candidate) = self.pending.touch(key, now).filter(|c| c.spoken.is_none()) {
            candidate.spoken = Some(now);
        }
        if self.unread.len() < UNREAD_MAX {
            self.unread.insert(*key);
        }
    }

    /// Whose payload was waited for long enough.
    fn give_up_waiting(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) {
        let over = |key: &&ServiceKey| {
            let spoken = self.pending.get(key).and_then(|candidate| candidate.spoken);
            spoken.is_none_or(|at| change.time.since_ns(at) >= familiar::PATIENCE_NS)
        };
        let keys: Vec<ServiceKey> = self.unread.iter().filter(over).copied().collect();
        // Whatever happened just now is no evidence of theirs.
        let passed = Change { time: change.time, frame: 0, flow: None, what: What::Tick };
        for key in keys {
            self.unread.remove(&key);
            if self.pending.get(&key).is_some_and(|c| c.told.is_none() && !c.accepted) {
                self.decide(&key, &passed, world, out);
            }
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
            if !waiting || self.is_accepted(&key, change, world) && !world.baselines.is_learned(&key) {
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
        if !self.unread.is_empty() {
            self.give_up_waiting(change, world, out);
        }
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
            spoken: None,
            accepted: false,
        }
    }
}

#[cfg(test)]
#[path = "new_service_tests.rs"]
mod tests;
