//! Telling: EVE events in the order in which things happened.
//!
//! Application names of flows under way are kept for `flow` records only when those are wanted, at most
//! [`FLOWS_MAX`]; beyond that a record says none.

use std::collections::BTreeMap;

use serde_json::Value;

use super::blind::{BLIND, Notice};
use super::rows::{service_row, vm_row};
use super::totals::Totals;
use crate::baseline::Baselines;
use crate::deliver::{Eve, Event, incident_row};
use crate::incident::IncidentEvent;
use crate::inventory::{Change, Inventory, What};
use crate::model::{
    AppProto, CaptureQuality, Finding, FlowEnd, FlowRef, FlowTotals, IncidentId, IncidentState, ServiceKey, Side,
    Timestamp, VmId,
};

const FLOWS_MAX: usize = 262_144;

/// What the record of a flow says besides its totals.
#[derive(Default)]
struct Told {
    app: Option<AppProto>,
    conflict: Option<Side>,
}

#[derive(Default)]
pub struct Teller {
    eve: Option<Eve>,
    flows: BTreeMap<u64, Told>,
    /// Lines held back while the disk is full, counted.
    pub shed: u64,
    shedding: bool,
}

impl Teller {
    pub fn silent() -> Self {
        Teller::default()
    }

    pub fn new(eve: Option<Eve>) -> Self {
        Teller { eve, ..Teller::default() }
    }

    pub fn eve(&mut self) -> Option<&mut Eve> {
        self.eve.as_mut()
    }

    /// On a full disk only alerts and incidents are written.
    pub fn shedding(&mut self, on: bool) {
        self.shedding = on;
    }

    pub fn alert(&mut self, finding: &Finding, incident: Option<IncidentId>) {
        if let Some(eve) = &mut self.eve {
            eve.write(Event::alert(finding, incident));
        }
    }

    /// eastwatch itself sees or keeps less than it should; never held back.
    pub fn blind(&mut self, notice: &Notice, quality: CaptureQuality) {
        if let Some(eve) = &mut self.eve {
            let state = if notice.resolved { IncidentState::Resolved } else { IncidentState::Open };
            let (title, reason) = (&notice.title, &notice.reason);
            eve.write(Event::probe_alert(
                notice.time,
                &BLIND,
                state,
                notice.severity,
                notice.cause,
                title,
                reason,
                quality,
            ));
        }
    }

    /// The discovery summary: of no single VM, and no alert.
    pub(super) fn summary(&mut self, time: Timestamp, counts: serde_json::Value) {
        self.write(Event::discovery(time, "vm", "discovery", counts, None));
    }

    pub fn incident(&mut self, time: Timestamp, event: &IncidentEvent) {
        let from = match event {
            IncidentEvent::Opened(_) => None,
            IncidentEvent::Changed { from, .. } => Some(*from),
        };
        if let Some(eve) = &mut self.eve {
            eve.write(Event::incident(time, incident_row(event.incident()), from));
        }
    }

    /// A discovery, where the change is one.
    pub fn change(&mut self, change: &Change, inventory: &Inventory, baselines: &Baselines) {
        if self.eve.is_none() {
            return;
        }
        match &change.what {
            What::VmNew { vm } => self.vm(change, "new", *vm, inventory, baselines),
            What::VmChanged { vm, text } => self.vm(change, text, *vm, inventory, baselines),
            What::VmMoved { vm, from, to, .. } => {
                let text = format!("moved from {} to {}", from.place(), to.place());
                self.vm(change, &text, *vm, inventory, baselines);
            }
            What::VmCompared { vm, from, to, differs } => {
                let text = match differs.lines.is_empty() {
                    true => "nothing differs".to_owned(),
                    false => differs.lines.join("; "),
                };
                let text = format!("an hour after its move from {} to {}: {text}", from.place(), to.place());
                self.vm(change, &text, *vm, inventory, baselines);
            }
            What::Merged { kept, .. } => self.vm(change, "merged", *kept, inventory, baselines),
            What::ServiceNew { service, .. } => self.service(change, "new", service, inventory),
            What::ServiceApp { service, before: None, .. } => self.service(change, "recognised", service, inventory),
            What::ServiceApp { service, before: Some(_), .. } => self.service(change, "changed", service, inventory),
            What::ServiceRetracted { service } => self.service(change, "retracted", service, inventory),
            _ => {}
        }
    }

    pub fn vm(&mut self, change: &Change, text: &str, vm: VmId, inventory: &Inventory, baselines: &Baselines) {
        if let Some(vm) = inventory.vm(vm) {
            let row = vm_row(vm, inventory, baselines, change.time);
            self.write(Event::discovery(change.time, "vm", text, row, None));
        }
    }

    fn service(&mut self, change: &Change, text: &str, key: &ServiceKey, inventory: &Inventory) {
        let wanted = change.flow.map(|flow| flow.resp.ip);
        let mut rows = inventory.service(key).peekable();
        let first = rows.peek().copied();
        if let Some(service) = rows.find(|row| Some(row.ip) == wanted).or(first) {
            let row = service_row(service, inventory);
            self.write(Event::discovery(change.time, "service", text, row, change.flow.as_ref()));
        }
    }

    pub fn flow_app(&mut self, id: u64, app: &AppProto) {
        if let Some(told) = self.of_flow(id) {
            told.app = Some(app.clone());
        }
    }

    pub fn flow_conflict(&mut self, id: u64, side: Side) {
        if let Some(told) = self.of_flow(id) {
            told.conflict = Some(side);
        }
    }

    fn of_flow(&mut self, id: u64) -> Option<&mut Told> {
        let room = self.flows.len() < FLOWS_MAX || self.flows.contains_key(&id);
        room.then(|| self.flows.entry(id).or_default())
    }

    /// What its own payload did not prove, another flow may have announced.
    pub fn flow(
        &mut self,
        time: Timestamp,
        flow: &FlowRef,
        announced: Option<&AppProto>,
        how: FlowEnd,
        totals: &FlowTotals,
    ) {
        let Told { app, conflict } = self.flows.remove(&flow.id).unwrap_or_default();
        self.write(Event::flow(time, flow, app.as_ref().or(announced), conflict, how, totals));
    }

    /// `mirrors`: its sources and the VMs that they show badly.
    pub fn stats(&mut self, time: Timestamp, totals: &Totals, mirrors: [Vec<Value>; 2], own: &[(&'static str, u64)]) {
        if self.eve.is_none() {
            return;
        }
        let mut all: BTreeMap<&str, u64> = totals.counters().iter().map(|(n, v)| (*n, *v)).collect();
        for (name, value) in own {
            *all.entry(name).or_insert(0) += value;
        }
        let failed = self.eve.as_ref().map_or(0, |eve| eve.failed);
        let (records, lost) = totals.shed;
        for (name, value) in
            [("eve.shed", self.shed), ("eve.failed", failed), ("store.shed", records), ("store.lost", lost)]
        {
            if value > 0 {
                all.insert(name, value);
            }
        }
        self.write(Event::stats(time, all.into_iter(), mirrors, totals.quality()));
    }

    fn write(&mut self, event: Event) {
        if self.shedding {
            self.shed += 1;
        } else if let Some(eve) = &mut self.eve {
            eve.write(event);
        }
    }

    pub fn reopen(&mut self) {
        if let Some(eve) = &mut self.eve {
            eve.reopen();
        }
    }

    pub fn flush(&mut self) {
        if let Some(eve) = &mut self.eve {
            eve.flush();
        }
    }
}
