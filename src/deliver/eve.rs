//! EVE: events as JSON lines with Suricata's names in Suricata's order, so that existing pipelines read them.
//!
//! One event is one line; what cannot be written is counted, told upwards and given up (`sink.rs`). Times inside an
//! event are in EVE's form too. Held against Suricata's own schema, which forbids names it does not know: `alert` and
//! `flow` pass once `eastwatch` is taken out; `incident`, `service`, `vm` and what is inside `stats` are ours alone. `eastwatch.schema` changes when a field changes its meaning or goes.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::community_id::community_id;
use super::sink::{EveError, Sink};
use crate::model::{
    AppInfo, AppProto, Finding, FlowEnd, FlowRef, FlowTotals, Incident, IncidentId, IncidentState, Timestamp, Transport,
};

crate::counters! {
    /// Events by outcome.
    pub struct EveCounters {
        written => "eve.written",
        lost => "eve.lost",
        errors => "eve.errors",
    }
}

const SCHEMA: u32 = 1;
/// `alert.gid` of detectors; signatures have 1, YARA matches 9002.
const DETECTOR_GID: u32 = 9001;
/// `alert.category` of detectors: the class of all that departs from what was learned or sanctioned.
const CATEGORY: &str = "Deviation From Baseline";

pub struct Eve {
    sink: Sink,
    line: Vec<u8>,
    counters: EveCounters,
}

impl Eve {
    pub fn new(sink: Sink) -> Self {
        Eve { sink, line: Vec::new(), counters: EveCounters::default() }
    }

    /// A detector found something.
    ///
    /// # Errors
    /// As every event: it, and what waited with it, could not be written.
    pub fn alert(&mut self, finding: &Finding, incident: Option<IncidentId>) -> Result<(), EveError> {
        let app = finding.service.as_ref().and_then(|(_, _, app)| app.as_ref());
        let mut event = begin(finding.time, "alert", finding.flow.as_ref(), app);
        let detector = finding.detector;
        event.insert(
            "alert".to_owned(),
            json!({
                "action": "allowed",
                "gid": DETECTOR_GID,
                "signature_id": detector.signature_id,
                "rev": 1,
                "signature": detector.signature,
                "category": CATEGORY,
                "severity": finding.severity.eve(),
                "metadata": {"mitre_technique_id": detector.techniques},
            }),
        );
        let mut ours = ours();
        ours.insert("detector".to_owned(), detector.name.into());
        ours.insert("severity".to_owned(), value(finding.severity));
        ours.insert("incident".to_owned(), value(incident));
        ours.insert("vm".to_owned(), value(finding.vm));
        ours.insert("vm_name".to_owned(), value(&finding.vm_name));
        ours.insert("service".to_owned(), service(finding.service.as_ref()));
        if let Some((vm, ip)) = &finding.peer {
            ours.insert("peer".to_owned(), json!({"vm": vm, "ip": ip}));
        }
        ours.insert("title".to_owned(), finding.title.as_str().into());
        ours.insert("reason".to_owned(), finding.reason.as_str().into());
        let mut evidence = Map::new();
        evidence.insert("frames".to_owned(), value(&finding.evidence.frames));
        if !finding.evidence.facts.is_empty() {
            let facts = finding.evidence.facts.iter().map(|(name, text)| (name.clone(), text.as_str().into()));
            evidence.insert("facts".to_owned(), Value::Object(facts.collect()));
        }
        ours.insert("evidence".to_owned(), evidence.into());
        ours.insert("capture_quality".to_owned(), value(finding.quality));
        self.write(event, ours)
    }

    /// An incident changed state; `before` is `None` where it was opened.
    ///
    /// # Errors
    /// As [`Eve::alert`].
    pub fn incident(
        &mut self,
        time: Timestamp,
        incident: &Incident,
        before: Option<IncidentState>,
    ) -> Result<(), EveError> {
        let mut event = begin(time, "incident", None, None);
        event.insert(
            "incident".to_owned(),
            json!({
                "id": incident.id,
                "state": incident.state,
                "previous_state": before,
                "severity": incident.severity,
                "detector": incident.detector,
                "signature_id": incident.signature_id,
                "mitre_technique_id": incident.techniques,
                "title": incident.title,
                "reason": incident.reason,
                "vm": incident.vm,
                "vm_name": incident.vm_name,
                "ip": incident.ip,
                "segment": incident.segment,
                "service": service(incident.service.as_ref()),
                "first_seen": incident.first_seen.eve(),
                "last_seen": incident.last_seen.eve(),
                "findings": incident.findings,
            }),
        );
        self.write(event, ours())
    }

    /// A service was discovered, changed or went away; `fields` stand under `service`.
    ///
    /// # Errors
    /// As [`Eve::alert`].
    pub fn service(
        &mut self,
        time: Timestamp,
        flow: Option<&FlowRef>,
        fields: Map<String, Value>,
    ) -> Result<(), EveError> {
        let mut event = begin(time, "service", flow, None);
        event.insert("service".to_owned(), fields.into());
        self.write(event, ours())
    }

    /// A VM was discovered, changed, moved or went away; `fields` stand under `vm`.
    ///
    /// # Errors
    /// As [`Eve::alert`].
    pub fn vm(&mut self, time: Timestamp, fields: Map<String, Value>) -> Result<(), EveError> {
        let mut event = begin(time, "vm", None, None);
        event.insert("vm".to_owned(), fields.into());
        self.write(event, ours())
    }

    /// A flow ended. `time` is when that was noticed; the flow's own times stand inside, as Suricata has them.
    ///
    /// # Errors
    /// As [`Eve::alert`].
    pub fn flow(
        &mut self,
        time: Timestamp,
        flow: &FlowRef,
        totals: &FlowTotals,
        end: FlowEnd,
        app: Option<&AppInfo>,
    ) -> Result<(), EveError> {
        let mut event = begin(time, "flow", Some(flow), app.map(|a| &a.proto));
        // Suricata's words; ours, which say more, stand under `eastwatch`.
        let state = match end {
            FlowEnd::Finished | FlowEnd::Reset => "closed",
            _ if totals.resp_packets > 0 => "established",
            _ => "new",
        };
        let reason = match end {
            FlowEnd::Finished | FlowEnd::Reset | FlowEnd::Timeout => "timeout",
            FlowEnd::Evicted => "forced",
            FlowEnd::Shutdown => "shutdown",
        };
        event.insert(
            "flow".to_owned(),
            json!({
                "pkts_toserver": totals.orig_packets,
                "pkts_toclient": totals.resp_packets,
                "bytes_toserver": totals.orig_bytes,
                "bytes_toclient": totals.resp_bytes,
                "start": flow.first_seen.eve(),
                "end": totals.last_seen.eve(),
                "age": (totals.last_seen.second() - flow.first_seen.second()).max(0),
                "state": state,
                "reason": reason,
            }),
        );
        let mut ours = ours();
        ours.insert("end".to_owned(), format!("{end:?}").to_lowercase().into());
        ours.insert("missed_bytes".to_owned(), totals.missed_bytes.into());
        self.write(event, ours)
    }

    /// Counters by their dotted names, nested at the dots.
    ///
    /// # Errors
    /// As [`Eve::alert`].
    pub fn stats(&mut self, time: Timestamp, counters: &[(&str, u64)]) -> Result<(), EveError> {
        let mut sorted = counters.to_vec();
        sorted.sort_unstable();
        let mut stats = Map::new();
        for (name, count) in sorted {
            nest(&mut stats, name, count);
        }
        let mut event = begin(time, "stats", None, None);
        event.insert("stats".to_owned(), stats.into());
        self.write(event, ours())
    }

    /// Writes what waits; call it at ticks and at the end.
    ///
    /// # Errors
    /// As [`Eve::alert`].
    pub fn flush(&mut self) -> Result<(), EveError> {
        let flushed = self.sink.flush();
        self.note(flushed)
    }

    /// Opens the file anew (SIGHUP, after logrotate).
    ///
    /// # Errors
    /// The file cannot be opened; the one before stays in use.
    pub fn reopen(&mut self) -> Result<(), EveError> {
        let reopened = self.sink.reopen();
        self.note(reopened)
    }

    pub fn counters(&self) -> EveCounters {
        self.counters
    }

    pub fn sink(&self) -> &Sink {
        &self.sink
    }

    fn write(&mut self, mut event: Map<String, Value>, ours: Map<String, Value>) -> Result<(), EveError> {
        event.insert("eastwatch".to_owned(), ours.into());
        self.line.clear();
        if let Err(e) = serde_json::to_writer(&mut self.line, &event) {
            return self
                .note(Err(EveError::Failed { lost: 1, text: format!("an event cannot be written as JSON: {e}") }));
        }
        self.counters.written += 1;
        let written = self.sink.line(&self.line);
        self.note(written)
    }

    fn note(&mut self, result: Result<(), EveError>) -> Result<(), EveError> {
        if let Err(error) = &result {
            self.counters.errors += 1;
            self.counters.lost += error.lost();
            self.counters.written = self.counters.written.saturating_sub(error.lost());
        }
        result
    }
}

/// What every event begins with, in Suricata's order.
fn begin(time: Timestamp, event_type: &str, flow: Option<&FlowRef>, app: Option<&AppProto>) -> Map<String, Value> {
    let mut event = Map::new();
    event.insert("timestamp".to_owned(), time.eve().into());
    if let Some(flow) = flow {
        event.insert("flow_id".to_owned(), flow.id.into());
    }
    event.insert("event_type".to_owned(), event_type.into());
    let Some(flow) = flow else { return event };
    // Ports only where the transport has them; nor can the type of an ICMP flow be told here, on which its
    // Community ID depends: none is better than one that matches nobody else's.
    let ports = matches!(flow.transport, Transport::Tcp | Transport::Udp | Transport::Sctp);
    event.insert("src_ip".to_owned(), value(flow.orig.ip));
    if ports {
        event.insert("src_port".to_owned(), flow.orig.port.into());
    }
    event.insert("dest_ip".to_owned(), value(flow.resp.ip));
    if ports {
        event.insert("dest_port".to_owned(), flow.resp.port.into());
    }
    event.insert("proto".to_owned(), flow.transport.eve().into());
    let vlans = flow.segment.vlans();
    if !vlans.is_empty() {
        event.insert("vlan".to_owned(), value(vlans));
    }
    if ports || matches!(flow.transport, Transport::Ip(_)) {
        let ends = ((flow.orig.ip, flow.orig.port), (flow.resp.ip, flow.resp.port));
        event.insert("community_id".to_owned(), community_id(ends.0, ends.1, flow.transport).into());
    }
    if let Some(app) = app {
        event.insert("app_proto".to_owned(), app.as_str().into());
    }
    event
}

fn ours() -> Map<String, Value> {
    Map::from_iter([("schema".to_owned(), Value::from(SCHEMA))])
}

fn service(service: Option<&(Transport, u16, Option<AppProto>)>) -> Value {
    service.map_or(
        Value::Null,
        |(transport, port, app)| json!({"proto": transport.to_string(), "port": port, "app_proto": app}),
    )
}

/// Plain data of ours as JSON; it cannot fail, and `null` would show if it did.
fn value(data: impl Serialize) -> Value {
    serde_json::to_value(data).unwrap_or_default()
}

/// `decode.discard.short` becomes `{"decode": {"discard": {"short": n}}}`. A name that is a counter and a group at
/// once keeps its dots from there on.
fn nest(into: &mut Map<String, Value>, name: &str, count: u64) {
    if let Some((group, rest)) = name.split_once('.')
        && let Value::Object(inner) = into.entry(group).or_insert_with(|| Map::new().into())
    {
        return nest(inner, rest, count);
    }
    into.insert(name.to_owned(), count.into());
}
