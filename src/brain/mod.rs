//! The brain: the fact side composed. It observes, judges, learns, keeps incidents, and says what must be saved and
//! told. Sync, one owner, packet time only; `read`, `watch`, a query without a probe and a test use the same one.
//!
//! Judging comes before learning, and what raised a finding is not learned.

mod events;
mod held;
mod known;
mod totals;

pub use events::Teller;
pub use held::Capture;
pub use known::Facts;
pub use totals::{Opened, Totals};

use crate::baseline::{BaselineConfig, Baselines, Sanctions};
use crate::detect::{DetectConfig, Detectors, Verdict, World};
use crate::incident::Incidents;
use crate::inventory::{Change, Inventory, InventoryConfig, What};
use crate::model::{CaptureQuality, Fact, FlowFact, Observation, SourceCounts, Timestamp};
use crate::store::{Batch, Store, StoreError};

use held::Held;

/// State is saved at least this often, in packet seconds; what an incident changed is saved at once.
const SAVE_EVERY_S: i64 = 60;
/// EVE `stats` interval in packet seconds.
const STATS_EVERY_S: i64 = 10;

/// What the fact side is configured by.
#[derive(Clone, Debug, Default)]
pub struct BrainConfig {
    pub inventory: InventoryConfig,
    pub baseline: BaselineConfig,
    pub detect: DetectConfig,
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
    store: Option<Box<dyn Store>>,
    config: BrainConfig,
    now: Timestamp,
    saved_at: Timestamp,
    stats_at: i64,
    urgent: bool,
    changes: Vec<Change>,
}

impl Brain {
    /// Takes up what the store holds.
    ///
    /// # Errors
    /// A record that cannot be read, or a store that cannot be reached.
    pub fn load(store: Box<dyn Store>, config: BrainConfig) -> Result<Self, StoreError> {
        let held = Held::load(store.as_ref())?;
        Ok(Brain {
            inventory: Inventory::load(store.as_ref(), config.inventory.clone())?,
            baselines: Baselines::load(store.as_ref(), config.baseline.clone())?,
            sanctions: Sanctions::load(store.as_ref())?,
            incidents: Incidents::load(store.as_ref())?,
            detectors: Detectors::load(store.as_ref(), &config.detect)?,
            teller: Teller::silent(),
            totals: Totals::default(),
            now: held.now(),
            saved_at: held.now(),
            stats_at: 0,
            held,
            store: Some(store),
            config,
            urgent: false,
            changes: Vec::new(),
        })
    }

    /// Newest packet time that the state knows.
    pub fn now(&self) -> Timestamp {
        self.now
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

    /// A changed configuration, without forgetting anything.
    pub fn reconfigure(&mut self, config: BrainConfig) {
        self.inventory.configure(config.inventory.clone());
        self.baselines.configure(config.baseline.clone());
        self.detectors.configure(&config.detect);
        self.config = config;
    }

    /// Captures this state already holds, by content.
    pub fn held(&self) -> &[Capture] {
        self.held.captures()
    }

    pub fn hold(&mut self, capture: Capture) {
        self.held.add(capture);
    }

    pub fn observe(&mut self, observation: Observation) {
        self.now = self.now.max(observation.time);
        match &observation.fact {
            Fact::Counters(added) => return self.totals.count(added),
            Fact::Source(counts) => return self.totals.source(counts),
            Fact::Flow(flow, FlowFact::End(how, totals)) if self.config.flows => {
                self.teller.flow(self.now, flow, *how, totals);
            }
            Fact::Flow(flow, FlowFact::App(info)) if self.config.flows => self.teller.flow_app(flow.id, &info.proto),
            _ => {}
        }
        let mut changes = std::mem::take(&mut self.changes);
        self.inventory.observe(&observation, &mut changes);
        for change in changes.drain(..) {
            self.judge(&change);
        }
        self.changes = changes;
        if matches!(observation.fact, Fact::Tick) {
            self.tick();
        }
    }

    fn judge(&mut self, change: &Change) {
        let mut findings = Vec::new();
        let facts = Facts { inventory: &self.inventory };
        let world = World {
            known: &facts,
            baselines: &self.baselines,
            sanctions: &self.sanctions,
            quality: self.totals.quality(),
        };
        let verdict = self.detectors.judge(change, &world, &mut findings);
        self.sanctions.count(change);
        self.totals.change(&change.what);
        self.teller.change(change, &self.inventory);
        let barred = !findings.is_empty() || verdict == Verdict::Withhold || self.under_incident(change);
        for finding in findings {
            let (incident, events) = self.incidents.take(&finding, self.inventory.place(finding.vm));
            self.teller.alert(&finding, incident);
            for event in events {
                self.totals.incident(&event);
                self.teller.incident(self.now, &event);
            }
            self.urgent = true;
        }
        if let What::Merged { kept, gone } = change.what {
            self.baselines.merge(kept, gone);
            self.sanctions.merge(kept, gone);
            self.incidents.merge(kept, gone);
        } else {
            self.baselines.learn(change, barred);
        }
    }

    /// Is this change part of what an unresolved incident is about? Then it must not become normal by itself.
    fn under_incident(&self, change: &Change) -> bool {
        match &change.what {
            What::ServiceNew { service, .. } | What::ServiceUsed { service, .. } | What::ServiceApp { service, .. } => {
                self.incidents.covers(service)
            }
            What::PeerNew { service, .. } | What::PeerUsed { service, .. } => self.incidents.covers(service),
            _ => false,
        }
    }

    fn tick(&mut self) {
        for event in self.incidents.tick(self.now) {
            self.totals.incident(&event);
            self.teller.incident(self.now, &event);
            self.urgent = true;
        }
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
        self.teller.stats(self.now, &self.totals, &own);
    }

    /// The input ended: the last `stats`.
    pub fn finish(&mut self) {
        self.stats();
        self.teller.flush();
    }

    /// Is it time to save?
    pub fn save_due(&self) -> bool {
        self.urgent || self.now.since_ns(self.saved_at) >= SAVE_EVERY_S * 1_000_000_000
    }

    /// Everything that must be written, as one batch: state and incidents are atomic together.
    pub fn changes(&mut self) -> Batch {
        let mut batch = Batch::default();
        self.inventory.save(&mut batch);
        self.baselines.save(&mut batch);
        self.sanctions.save(&mut batch);
        self.incidents.save(&mut batch);
        self.detectors.save(&mut batch);
        if !batch.is_empty() {
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

    /// Kinds that are kept even when the disk is full.
    pub fn essential(tag: u8) -> bool {
        (0x30..=0x3f).contains(&tag)
    }

    /// How the mirror sources are (live only).
    pub fn sources(&mut self, counts: Vec<SourceCounts>) {
        counts.iter().for_each(|c| self.totals.source(c));
    }

    pub fn quality(&self) -> CaptureQuality {
        self.totals.quality()
    }
}
