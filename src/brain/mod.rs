//! The brain: the fact side composed. It observes, judges, learns, keeps incidents, and says what must be saved and
//! told. Sync, one owner, packet time only; `read`, `watch`, a query without a probe and a test use the same one.
//!
//! Judging comes before learning, and what raised a finding is not learned.

mod baseline_rows;
mod blind;
mod calibration;
mod copies;
mod discovery;
mod events;
mod follow;
mod held;
mod known;
mod meter;
mod mirrors;
mod rows;
mod sight;
mod totals;
mod trouble;
mod watched;
mod who;

pub use calibration::Calibrated;
pub use events::Teller;
pub use follow::{Asked, Folder, Put};
pub use held::Capture;
pub use known::Facts;
pub use totals::{Opened, Totals};

use std::collections::BTreeMap;

use crate::baseline::{BaselineConfig, Baselines, Lesson, Port, Sanction, SanctionSource, Sanctions};
use crate::detect::{self, Code, DetectConfig, Detectors, Explanation, Reason, Verdict, World};
use crate::incident::{AlertsConfig, IncidentConfig, IncidentEvent, Incidents};
use crate::inventory::{Change, Imported, Inventory, InventoryConfig, What};
use crate::model::{
    CaptureQuality, Fact, FlowFact, FlowRef, FlowTotals, Observation, ServiceKey, Timestamp, Transport, VmId,
};
use crate::recog::Recog;
use crate::store::{Batch, Shed, Store, StoreError};

use blind::{Blind, Cause, Notice};
use calibration::{Calibration, budget_line};
use follow::Follow;
use held::Held;
use meter::Meter;
use sight::Sight;
use trouble::Trouble;
use watched::Watched;

/// State is saved at least this often, in packet seconds; what an incident changed is saved at once.
const SAVE_EVERY_S: i64 = 60;
/// EVE `stats` interval in packet seconds.
const STATS_EVERY_S: i64 = 10;
/// Pasts of VMs, 1.4 KB each, in one batch: all that changed in an hour are written within it.
const VOLUMES_SAVED_MAX: usize = 4_096;

/// Where the store did not say more: the disk is full before any batch met its end.
const DISK_FULL: &str = "no room is left on it: free some space there";

/// What the fact side is configured by.
#[derive(Clone, Debug, Default)]
pub struct BrainConfig {
    pub inventory: InventoryConfig,
    pub baseline: BaselineConfig,
    pub detect: DetectConfig,
    pub incidents: IncidentConfig,
    pub alerts: AlertsConfig,
    /// EVE `flow` records are wanted.
    pub flows: bool,
}

pub struct Brain {
    pub inventory: Inventory,
    pub baselines: Baselines,
    pub sanctions: Sanctions,
    pub incidents: Incidents,
    detectors: Detectors,
    held: Held,
    teller: Teller,
    totals: Totals,
    blind: Blind,
    meter: Meter,
    sight: Sight,
    trouble: Trouble,
    watched: Watched,
    calibration: Option<Calibration>,
    follow: Follow,
    store: Option<Box<dyn Store>>,
    config: BrainConfig,
    /// The user's Recog files.
    recog: Option<Recog>,
    now: Timestamp,
    saved_at: Timestamp,
    stats_at: i64,
    urgent: bool,
    ended: bool,
    begun: Option<Timestamp>,
    changes: Vec<Change>,
}

impl Brain {
    /// Takes up what the store holds.
    ///
    /// # Errors
    /// A record that cannot be read, or a store that cannot be reached.
    pub fn load(store: Box<dyn Store>, config: BrainConfig) -> Result<Self, StoreError> {
        let held = Held::load(store.as_ref())?;
        let incidents = Incidents::load(store.as_ref(), config.incidents.clone(), config.alerts.clone())?;
        Ok(Brain {
            inventory: Inventory::load(store.as_ref(), config.inventory.clone())?,
            baselines: Baselines::load(store.as_ref(), config.baseline.clone())?,
            sanctions: Sanctions::load(store.as_ref())?,
            trouble: Trouble::of(incidents.list().into_iter()),
            incidents,
            detectors: Detectors::load(store.as_ref(), &config.detect)?,
            teller: Teller::silent(),
            totals: Totals::default(),
            blind: Blind::default(),
            meter: Meter::default(),
            sight: Sight::default(),
            watched: Watched::default(),
            calibration: None,
            follow: Follow::default(),
            now: held.now(),
            saved_at: held.now(),
            stats_at: 0,
            held,
            store: Some(store),
            config,
            recog: None,
            urgent: false,
            ended: false,
            begun: None,
            changes: Vec::new(),
        })
    }

    /// Newest packet time that the state knows.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Seconds from the first packet of this run to the newest; `None` before there was one.
    pub fn span_s(&self) -> Option<f64> {
        self.begun.map(|begun| self.now.since_s(begun))
    }

    /// Of the rows there are, those first seen in this run: what was taken back or forgotten since is not among them.
    pub fn new_vms(&self) -> usize {
        self.inventory.vms().filter(|vm| self.is_new(vm.first_seen)).count()
    }

    pub fn new_services(&self) -> usize {
        self.inventory.services().filter(|service| self.is_new(service.first_seen)).count()
    }

    fn is_new(&self, first_seen: Timestamp) -> bool {
        self.begun.is_some_and(|begun| first_seen >= begun)
    }

    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    pub fn config(&self) -> &BrainConfig {
        &self.config
    }

    /// Where EVE events go from now on.
    pub fn tell(&mut self, teller: Teller) {
        self.teller = teller;
    }

    pub fn teller(&mut self) -> &mut Teller {
        &mut self.teller
    }

    /// What programs are called besides what our parsers read: the digests of the user's definitions, and Recog files.
    pub fn name_by(&mut self, definitions: Vec<String>, recog: Option<Recog>) {
        self.baselines.define(definitions);
        self.recog = recog;
    }

    /// A changed configuration, without forgetting anything. Detectors keep what waits in them; `[detect]` takes
    /// effect at the next start.
    pub fn reconfigure(&mut self, config: BrainConfig) {
        self.inventory.configure(&config.inventory);
        self.baselines.configure(config.baseline.clone());
        self.incidents.configure(config.incidents.clone(), config.alerts.clone());
        self.config = config;
    }

    /// Captures this state already holds, by content.
    pub fn held(&self) -> &[Capture] {
        self.held.captures()
    }

    pub fn hold(&mut self, capture: Capture) {
        self.held.add(capture);
    }

    pub fn observe(&mut self, mut observation: Observation) {
        self.now = self.now.max(observation.time);
        if let (Some(recog), Fact::Flow(_, FlowFact::App(info))) = (&mut self.recog, &mut observation.fact) {
            recog.fill(info, self.now);
        }
        if let Fact::Handover(handover) = &observation.fact {
            return self.handed_over(handover);
        }
        self.begun.get_or_insert(observation.time);
        match &observation.fact {
            Fact::Claim(claim) => self.announced(claim),
            Fact::Counters(added) => return self.totals.count(added),
            Fact::Awaited(awaited) => return self.totals.awaited.clone_from(awaited),
            Fact::Source(counts) => return self.totals.source(counts),
            Fact::OneWayTunnels(tunnels) => return self.totals.one_way_tunnels.clone_from(tunnels),
            Fact::Quality(sources) => return self.seen(sources),
            Fact::Shown(shown) => return self.shown(shown),
            Fact::Flow(flow, FlowFact::Progress(totals)) => self.look(flow, totals, false),
            Fact::Flow(flow, FlowFact::End(how, totals)) => {
                self.totals.flow(flow, totals);
                self.look(flow, totals, true);
                if self.config.flows {
                    let announced = self.inventory.announced_as(flow);
                    self.teller.flow(self.now, flow, announced, *how, totals);
                }
            }
            Fact::Flow(flow, FlowFact::App(info)) if self.config.flows => self.teller.flow_app(flow.id, &info.proto),
            Fact::Flow(flow, FlowFact::Conflict(side)) if self.config.flows => {
                self.teller.flow_conflict(flow.id, *side)
            }
            _ => {}
        }
        let mut changes = std::mem::take(&mut self.changes);
        self.inventory.observe(&observation, &mut changes);
        for change in changes.drain(..) {
            self.hear(change);
        }
        self.changes = changes;
        self.sample(&observation.fact);
        if matches!(observation.fact, Fact::Tick) {
            self.tick();
        }
    }

    /// How much the ends of a flow sent, and how well they are seen.
    fn look(&mut self, flow: &FlowRef, totals: &FlowTotals, ended: bool) {
        let Some(added) = self.meter.added(flow, totals, ended) else { return };
        let vms = [&flow.orig, &flow.resp].map(|end| self.inventory.holder(flow.segment, end.ip));
        if flow.transport == Transport::Tcp {
            self.sight.flow(flow, totals, &added, vms, self.now);
        }
        self.baselines.volumes.flow(flow, added.lately, vms, self.now);
    }

    fn facts(&self) -> Facts<'_> {
        let Brain { inventory, sight, blind, totals, now, .. } = self;
        Facts { inventory, sight, blind, totals, now: *now }
    }

    fn judge(&mut self, change: &Change) {
        let watched_h = self.baselines.watched_h();
        self.judge_and_learn(change);
        self.summarise(watched_h);
    }

    fn judge_and_learn(&mut self, change: &Change) {
        let mut findings = Vec::new();
        self.baselines.greet(change, &self.inventory);
        let Brain { inventory, sight, blind, totals, baselines, sanctions, detectors, .. } = self;
        let facts = Facts { inventory, sight, blind, totals, now: self.now };
        let world = World { known: &facts, baselines, sanctions, quality: totals.quality() };
        let verdict = detectors.judge(change, &world, &mut findings);
        self.teller.change(change, &self.inventory, &self.baselines);
        for (vm, text) in self.detectors.vm_events() {
            self.teller.vm(change, text, vm, &self.inventory, &self.baselines);
        }
        let mut events = Vec::new();
        for finding in &mut findings {
            // Who is used first by a VM in trouble may be the next.
            if finding.peer.and_then(|(vm, _)| vm).is_some_and(|vm| self.trouble.has(vm)) {
                finding.surprise = finding.surprise.plus_nats(detect::IN_TROUBLE_NATS);
            }
            let joined = self.incidents.take(finding, &mut events);
            self.teller.alert(finding, joined.map(|joined| joined.incident));
            self.totals.finding(joined);
        }
        // What an unresolved incident is about must not become normal by itself either.
        let lesson = match change.subject() {
            _ if verdict == Verdict::Withhold || self.under_incident(change) => Lesson::Barred,
            Some(vm) if self.trouble.has(vm) => Lesson::Cautious,
            _ => Lesson::Free,
        };
        self.baselines.learn(change, lesson);
        if let Some(calibration) = &mut self.calibration {
            calibration.change(change);
        }
        self.sanctions.count(change);
        if let What::Merged { kept, gone } = change.what {
            self.sanctions.merge(kept, gone);
            self.incidents.merge(kept, gone);
        }
        self.happened(&events);
    }

    fn under_incident(&self, change: &Change) -> bool {
        match &change.what {
            What::ServiceNew { service, .. }
            | What::ServiceRaised { service, .. }
            | What::ServiceUsed { service, .. }
            | What::ServiceApp { service, .. }
            | What::ServiceStack { service, .. } => self.incidents.concern(service).is_some(),
            What::PeerNew { client, service, .. } | What::PeerUsed { client, service, .. } => {
                self.incidents.concern(service).is_some() || self.incidents.concerns_peer(*client, service)
            }
            _ => false,
        }
    }

    /// Counts and tells what became of incidents.
    fn happened(&mut self, events: &[IncidentEvent]) {
        for event in events {
            self.totals.incident(event);
            self.trouble.happened(event);
            self.teller.incident(self.now, event);
            self.urgent = true;
        }
    }

    fn tick(&mut self) {
        self.baselines.tick(&self.inventory, self.now);
        self.baselines.roll(self.now, &self.detectors.barred());
        let mut events = Vec::new();
        self.incidents.tick(self.now, &mut events);
        let Brain { incidents, inventory, baselines, now, .. } = self;
        incidents.watch(baselines.watched_ns(*now), || inventory.vms().count() as u64);
        self.happened(&events);
        self.follow_on(false);
        if self.now.second() >= self.stats_at {
            self.stats_at = self.now.second().saturating_add(STATS_EVERY_S);
            self.stats();
        }
    }

    fn stats(&mut self) {
        let mut own = Vec::new();
        self.inventory.report(&mut own);
        self.baselines.report(&mut own);
        self.detectors.report(&mut own);
        self.incidents.report(&mut own);
        self.meter.report(&mut own);
        self.follow.report(&mut own);
        if let Some(recog) = &self.recog {
            recog.report(&mut own);
        }
        let mirrors = [self.source_rows(), self.half_seen()];
        self.teller.stats(self.now, &self.totals, mirrors, &own);
    }

    /// Why something is, or is not, an incident.
    pub fn why(&self, vm: VmId, port: Option<Port>) -> Explanation {
        let facts = self.facts();
        let quality = self.totals.quality();
        let world = World { known: &facts, baselines: &self.baselines, sanctions: &self.sanctions, quality };
        let mut told = detect::why(&world, vm, port, &self.incidents.of_vm(vm), self.now);
        let key = port.map(|(transport, port)| ServiceKey { vm: self.inventory.resolve(vm), transport, port });
        if let Some(transfer) = self.inventory.transfers().find(|transfer| Some(transfer.service.key) == key) {
            // No detector knows of it.
            let by = transfer.announced_by;
            for line in told.lines.iter_mut().filter(|line| line.label == "seen") {
                line.value.clone_from(&transfer.service.evidence);
            }
            if told.lines.iter().all(|line| line.label != "incident") {
                told.verdict =
                    format!("no incident of its own: {by} announced the port, and it is judged as part of that");
                told.reason = Reason::new(Code::Announced, "", format!("a finding about {by}"));
            }
        }
        told.lines.push(budget_line(&self.incidents.standing()));
        told.lines.extend(copies::lines(&self.inventory, vm, port));
        told.lines.extend(self.who(vm));
        told
    }

    /// Takes inventories, each in place of what its source listed before: names and tags for the inventory, approvals
    /// for the sanctions. Says what it did.
    ///
    /// # Errors
    /// More VMs or approvals than there is room for; nothing of any source is taken then.
    pub fn import(&mut self, sources: &BTreeMap<String, Imported>) -> Result<String, String> {
        let vms = sources.values().flat_map(|imported| &imported.vms);
        let (vms, approvals) = (vms.clone().count(), vms.map(|vm| vm.sanctioned.len()).sum());
        self.inventory.has_room(sources)?;
        let replaced =
            |s: &&Sanction| matches!(&s.source, SanctionSource::Inventory(name) if sources.contains_key(name));
        let replaced = self.sanctions.list().filter(replaced).count();
        self.sanctions.has_room(usize::saturating_sub(approvals, replaced))?;
        let mut count = 0;
        for (name, imported) in sources {
            count += self.import_one(name, imported)?;
        }
        let plural = |n: usize, noun: &str| if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") };
        let from = match sources.len() {
            1 => sources.keys().cloned().collect(),
            n => format!("{n} sources"),
        };
        Ok(format!("{} and {} taken from {from}", plural(vms, "VM"), plural(count, "sanctioned service")))
    }

    fn import_one(&mut self, name: &str, imported: &Imported) -> Result<usize, String> {
        let mut changes = Vec::new();
        let vms = self.inventory.import(name, imported, self.now, &mut changes)?;
        for change in changes {
            self.judge(&change);
        }
        let source = SanctionSource::Inventory(name.to_owned());
        let approve = |vm: VmId, service: Port| Sanction {
            vm,
            service: Some(service),
            app: None,
            owner: name.to_owned(),
            reason: "listed in the inventory".to_owned(),
            ticket: None,
            expires: None,
            added: self.now,
            source: source.clone(),
            hits: 0,
            last_hit: None,
        };
        let ports = || {
            let rows = vms.iter().zip(&imported.vms);
            rows.flat_map(|(vm, row)| row.sanctioned.iter().map(|port| (*vm, *port)))
        };
        let sanctions: Vec<Sanction> = ports().map(|(vm, port)| approve(vm, port)).collect();
        let count = self.sanctions.import(&source, sanctions)?;
        let mut events = Vec::new();
        for (vm, port) in ports() {
            let text = format!("listed in {name}");
            self.incidents.sanctioned(vm, Some(port), None, "inventory", &text, self.now, &mut events);
        }
        self.happened(&events);
        Ok(count)
    }

    /// The probe in a few numbers.
    pub fn status(&self) -> serde_json::Value {
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "time": self.now,
            "mode": self.baselines.mode(),
            "vms": self.inventory.vms().count(),
            "services": self.inventory.services().count(),
            "captures_held": self.held.captures().len(),
            "incidents_opened": self.totals.opened.count,
            "counters": self.totals.counters(),
            "sources": self.source_rows(),
            "surveys": self.totals.surveys(),
            "quality": crate::deliver::quality(self.quality()),
            "half_seen": self.half_seen(),
            "inventory": self.coverage(),
            "follow": self.follow_status(),
            "one_way_tunnels": self.totals.one_way_tunnels.iter().map(|tunnel| serde_json::json!({
                "found": tunnel.to_string(), "mend": tunnel.mend(),
            })).collect::<Vec<_>>(),
            "awaited_templates": self.totals.awaited.iter().map(|a| serde_json::json!({
                "exporter": a.exporter, "template": a.template, "sets": a.sets,
            })).collect::<Vec<_>>(),
            "outside_home": self.inventory.outside().iter().map(|o| serde_json::json!({
                "ip": o.ip, "segment": o.segment, "flows": o.flows, "bytes": o.bytes,
            })).collect::<Vec<_>>(),
        })
    }

    /// How the disk is. On a full one less is kept, at last only alerts and incidents are told, and that is said
    /// once when it begins and once when it ends. `why` is the store's own word, where it has one.
    pub fn disk(&mut self, level: Shed, shed: u64, lost: u64, why: Option<&str>) {
        self.totals.shed = (shed, lost);
        let notice = match level {
            Shed::Nothing => self.blind.sees(&Cause::Disk, self.now),
            _ => self.blind.onset(Cause::Disk, why.unwrap_or(DISK_FULL), self.now),
        };
        self.notice(notice);
        self.teller.shedding(level >= Shed::Eve);
    }

    /// Tells that eastwatch became blind in some way, or sees again.
    fn notice(&mut self, notice: Option<Notice>) {
        let Some(notice) = notice else { return };
        match notice.resolved {
            false => tracing::error!("blind: {}: {}", notice.title, notice.reason),
            true => tracing::warn!("blind: {}: {}", notice.title, notice.reason),
        }
        self.teller.blind(&notice, self.totals.quality());
        self.teller.flush();
    }

    /// The input ended: the last `stats`.
    pub fn finish(&mut self) {
        self.ended = true;
        self.follow_on(true);
        self.stats();
        self.teller.flush();
    }

    /// Is it time to save?
    pub fn save_due(&self) -> bool {
        self.urgent || self.now.since_ns(self.saved_at) >= SAVE_EVERY_S * 1_000_000_000
    }

    /// An incident changed: what is known must be saved whatever the time.
    pub fn save_urgent(&self) -> bool {
        self.urgent
    }

    /// Everything that must be written, as one batch: state and incidents are atomic together.
    pub fn changes(&mut self) -> Batch {
        let mut batch = Batch::default();
        if self.ended {
            self.inventory.save_all(&mut batch)
        } else {
            self.inventory.save(&mut batch)
        }
        self.baselines.save(&mut batch);
        self.baselines.volumes.save(&mut batch, if self.ended { usize::MAX } else { VOLUMES_SAVED_MAX });
        self.sanctions.save(&mut batch);
        self.incidents.save(&mut batch);
        self.detectors.save(&mut batch);
        if !batch.is_empty() || self.held.has_new() {
            self.held.save(&mut batch, self.now);
        }
        self.saved_at = self.now;
        self.urgent = false;
        batch
    }

    /// Writes what changed and waits for it.
    ///
    /// # Errors
    /// The store could not keep it.
    pub fn save(&mut self) -> Result<(), StoreError> {
        let batch = self.changes();
        match &mut self.store {
            Some(store) if !batch.is_empty() => store.apply(&batch),
            _ => Ok(()),
        }
    }

    /// The store, for whoever applies the batches in the meantime.
    pub fn take_store(&mut self) -> Option<Box<dyn Store>> {
        self.store.take()
    }

    pub fn return_store(&mut self, store: Box<dyn Store>) {
        self.store = Some(store);
    }

    /// From which level of a full disk on a kind of record is held back; `None`: never. Incidents, what people
    /// approved or listed, the clock and the captures held are small and cannot be learned again.
    pub fn shed_at(tag: u8) -> Option<Shed> {
        match tag {
            0x00..=0x0f | 0x18 | 0x24 | 0x30..=0x3f => None,
            // VMs, stations, aliases, services, and what is normal for them.
            0x10..=0x13 | 0x20..=0x22 => Some(Shed::Evidence),
            _ => Some(Shed::History),
        }
    }

    pub fn quality(&self) -> CaptureQuality {
        self.totals.quality()
    }

    /// Does an unresolved incident concern this service?
    pub fn concerned(&self, service: &ServiceKey) -> bool {
        self.incidents.concern(service).is_some()
    }
}
