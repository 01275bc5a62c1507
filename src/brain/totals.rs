//! Sums of a run: counters of every room, what is new, incidents by severity, and how well the mirror showed it.

use std::collections::BTreeMap;

use super::sight::share;
use crate::incident::{IncidentEvent, Joined};
use crate::model::{
    AwaitedTemplate, CaptureQuality, FlowRef, FlowTotals, Incident, IncidentState, OneWayTunnel, Severity,
    SourceCounts, SourceQuality, SourceSurvey, Transport,
};

/// Incidents shown in a summary; more are counted.
const OPENED_SHOWN_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub struct Totals {
    counters: BTreeMap<&'static str, u64>,
    sources: BTreeMap<String, SourceCounts>,
    /// Tunnels that look like a mirror's own and are taken for segments.
    pub one_way_tunnels: Vec<OneWayTunnel>,
    /// What their frames look like; sources of a file have only this.
    seen: BTreeMap<u16, SourceQuality>,
    pub opened: Opened,
    pub findings: u64,
    /// Flow records that wait for a template.
    pub awaited: Vec<AwaitedTemplate>,
    /// TCP flows that ended: how many, their bytes, and the bytes that were acknowledged but never seen.
    tcp: Tcp,
    /// Records held back because the disk was full, and those of them that were given up.
    pub shed: (u64, u64),
}

#[derive(Debug, Default)]
struct Tcp {
    flows: u64,
    bytes: u64,
    missed_bytes: u64,
}

/// Incidents opened (or reopened) during this run.
#[derive(Debug, Default)]
pub struct Opened {
    pub count: u64,
    pub worst: Option<Severity>,
    pub shown: Vec<Incident>,
}

impl Totals {
    pub fn count(&mut self, added: &[(&'static str, u64)]) {
        for (name, value) in added {
            *self.counters.entry(name).or_insert(0) += value;
        }
    }

    pub fn counters(&self) -> &BTreeMap<&'static str, u64> {
        &self.counters
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    pub fn source(&mut self, counts: &SourceCounts) {
        self.sources.insert(counts.name.clone(), counts.clone());
    }

    pub fn seen(&mut self, sources: &[SourceQuality]) {
        for source in sources {
            self.seen.insert(source.number, source.clone());
        }
    }

    /// What the live sources look like to `doctor`.
    pub fn surveys(&self) -> Vec<&SourceSurvey> {
        self.sources.values().filter_map(|source| source.survey.as_ref()).collect()
    }

    pub fn finding(&mut self, joined: Option<Joined>) {
        self.findings += 1;
        if joined.is_some_and(|joined| joined.opened) {
            self.opened.count += 1;
        }
    }

    /// Keeps the latest form of what was opened in this run.
    pub fn incident(&mut self, event: &IncidentEvent) {
        let incident = event.incident();
        let known = self.opened.shown.iter_mut().find(|i| i.id == incident.id);
        let reopened = matches!(event, IncidentEvent::Changed { from: IncidentState::Resolved, .. });
        if known.is_none() && !reopened && !matches!(event, IncidentEvent::Opened(_)) {
            return;
        }
        self.opened.worst = self.opened.worst.max(Some(incident.severity));
        match known {
            Some(known) => *known = incident.clone(),
            None => {
                if self.opened.shown.len() < OPENED_SHOWN_MAX {
                    self.opened.shown.push(incident.clone());
                }
            }
        }
    }

    /// A flow ended.
    pub fn flow(&mut self, flow: &FlowRef, totals: &FlowTotals) {
        if flow.transport == Transport::Tcp {
            self.tcp.flows += 1;
            self.tcp.bytes = self.tcp.bytes.saturating_add(totals.orig_bytes).saturating_add(totals.resp_bytes);
            self.tcp.missed_bytes = self.tcp.missed_bytes.saturating_add(totals.missed_bytes);
        }
    }

    /// Loss: the largest of the packets that the kernel or the interface dropped, the numbers that mirrors skipped and
    /// the TCP bytes that were acknowledged but never seen. One-way: TCP flows of which only one direction was seen.
    pub fn quality(&self) -> CaptureQuality {
        let missed = self.tcp.missed_bytes;
        let (lost, packets) = self
            .sources
            .values()
            .fold((0u64, 0u64), |(lost, seen), s| (lost + s.kernel_drops + s.interface_drops, seen + s.packets));
        let sum = |of: fn(&SourceQuality) -> u64| self.seen.values().map(of).fold(0, u64::saturating_add);
        let (frames, gaps) = (sum(|s| s.frames), sum(|s| s.sequence_gaps));
        let losses = [
            share(missed, missed.saturating_add(self.tcp.bytes)),
            share(lost, lost + packets),
            share(gaps, gaps.saturating_add(sum(|s| s.sequenced))),
        ];
        CaptureQuality {
            loss: losses.into_iter().fold(0.0, f64::max),
            one_way: share(self.counter("flow.one_way").min(self.tcp.flows), self.tcp.flows),
            duplicates: share(sum(|s| s.twins), frames),
            truncated: share(sum(|s| s.truncated), frames),
            reordered: share(sum(|s| s.reordered), frames),
        }
    }

    pub fn live(&self) -> &BTreeMap<String, SourceCounts> {
        &self.sources
    }

    /// By name: streams that come and go may share one.
    pub fn frames(&self) -> BTreeMap<&str, SourceQuality> {
        let mut named: BTreeMap<&str, SourceQuality> = BTreeMap::new();
        for source in self.seen.values() {
            named.entry(&source.name).and_modify(|sum| sum.add(source)).or_insert_with(|| source.clone());
        }
        named
    }
}
