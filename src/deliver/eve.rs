//! EVE JSON lines, Suricata's names wherever Suricata has one.
//!
//! Lines are buffered and flushed together; a line that cannot be written is counted and the first reason kept.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::community_id;
use crate::model::{
    AppProto, CaptureQuality, DetectorId, Finding, FlowEnd, FlowRef, FlowTotals, Incident, IncidentId, IncidentState,
    Severity, Side, Timestamp,
};

const SCHEMA: u8 = 1;
/// Suricata's generator id for its own rules is 1; detectors have this one.
const DETECTOR_GID: u16 = 9001;
const CATEGORY: &str = "Deviation From Baseline";
const PROBE_CATEGORY: &str = "Loss of Visibility";
/// Longer than any line, so that one is buffered whole or refused whole: a disk that fills cuts none in two.
const BUFFER_BYTES: usize = 256 << 10;

/// Where lines go.
pub struct Eve {
    sink: Sink,
    pub written: u64,
    pub failed: u64,
    trouble: Option<String>,
}

enum Sink {
    File(PathBuf, BufWriter<File>),
    Stdout,
    Memory(Vec<u8>),
}

/// One event, its fields in the order in which they are written.
pub struct Event(Map<String, Value>);

impl Eve {
    /// Appends to a file; `-` is standard output.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, String> {
        let sink = if path == Path::new("-") { Sink::Stdout } else { Sink::File(path.to_owned(), append(path)?) };
        Ok(Eve { sink, written: 0, failed: 0, trouble: None })
    }

    pub fn memory() -> Self {
        Eve { sink: Sink::Memory(Vec::new()), written: 0, failed: 0, trouble: None }
    }

    /// What was written to memory.
    pub fn bytes(&self) -> &[u8] {
        match &self.sink {
            Sink::Memory(bytes) => bytes,
            _ => &[],
        }
    }

    /// Lines of one batch stay together in the buffer; what a full disk refuses waits there while it has room.
    pub fn write(&mut self, event: Event) {
        let mut line = Value::Object(event.0).to_string();
        line.push('\n');
        let done = match &mut self.sink {
            Sink::File(_, file) => file.write_all(line.as_bytes()),
            Sink::Stdout => io::stdout().lock().write_all(line.as_bytes()),
            Sink::Memory(bytes) => bytes.write_all(line.as_bytes()),
        };
        match done {
            Ok(()) => self.written += 1,
            Err(error) => self.fail(&error),
        }
    }

    pub fn flush(&mut self) {
        let done = match &mut self.sink {
            Sink::File(_, file) => file.flush(),
            Sink::Stdout => io::stdout().lock().flush(),
            Sink::Memory(_) => Ok(()),
        };
        if let Err(error) = done {
            self.fail(&error);
        }
    }

    /// After log rotation: the same path, opened anew. The old file keeps what was written.
    pub fn reopen(&mut self) {
        self.flush();
        if let Sink::File(path, file) = &mut self.sink {
            match append(path) {
                Ok(new) => *file = new,
                Err(text) => self.trouble = Some(text),
            }
        }
    }

    /// Why lines were lost, since the last time it was asked.
    pub fn take_trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    fn fail(&mut self, error: &io::Error) {
        self.failed += 1;
        let place = match &self.sink {
            Sink::File(path, _) => path.display().to_string(),
            _ => "standard output".to_owned(),
        };
        self.trouble.get_or_insert_with(|| format!("{place}: {error}: EVE events are lost"));
    }
}

fn append(path: &Path) -> Result<BufWriter<File>, String> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map(|file| BufWriter::with_capacity(BUFFER_BYTES, file))
        .map_err(|e| format!("{}: cannot write EVE events there: {e}", path.display()))
}

impl Event {
    fn new(time: Timestamp, kind: &str, flow: Option<&FlowRef>) -> Self {
        let mut event = Event(Map::new());
        event.set("timestamp", time.eve());
        if let Some(flow) = flow {
            event.set("flow_id", flow.id);
        }
        event.set("event_type", kind);
        if let Some(flow) = flow {
            let vlans = flow.segment.vlans();
            if !vlans.is_empty() {
                event.set("vlan", vlans);
            }
            event.set("src_ip", flow.orig.ip.to_string());
            event.set("src_port", flow.orig.port);
            event.set("dest_ip", flow.resp.ip.to_string());
            event.set("dest_port", flow.resp.port);
            event.set("proto", flow.transport.eve());
            if let Some(id) = community_id(flow) {
                event.set("community_id", id);
            }
        }
        event
    }

    /// A finding of a detector, and the incident it belongs to; one that only informs has none.
    pub fn alert(finding: &Finding, incident: Option<IncidentId>) -> Self {
        let mut event = Event::new(finding.time, "alert", finding.flow.as_ref());
        let app = finding.service.as_ref().and_then(|(_, _, app)| app.as_ref());
        if let Some(app) = app {
            event.set("app_proto", app.as_str());
        }
        let detector = finding.detector;
        event.set(
            "alert",
            json!({
                "action": "allowed",
                "gid": DETECTOR_GID,
                "signature_id": detector.signature_id,
                "rev": 1,
                "signature": detector.signature,
                "category": CATEGORY,
                "severity": finding.severity.eve(),
                "metadata": { "mitre_technique_id": detector.techniques },
            }),
        );
        event.set(
            "eastwatch",
            json!({
                "schema": SCHEMA,
                "detector": detector.name,
                "incident": incident.map(|id| id.to_string()),
                "severity": finding.severity.to_string(),
                "vm": finding.vm.to_string(),
                "vm_name": finding.vm_name,
                "segment": finding.flow.map(|f| f.segment.to_string()),
                "service": finding.service.as_ref().map(|(transport, port, app)| json!({
                    "proto": transport.to_string(), "port": port, "app_proto": app.as_ref().map(AppProto::as_str),
                })),
                "title": finding.title,
                "reason": finding.reason,
                "evidence": {
                    "frames": finding.evidence.frames,
                    "facts": finding.evidence.facts.iter()
                        .map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect::<Map<_, _>>(),
                },
                "capture_quality": quality(finding.quality),
            }),
        );
        event
    }

    /// An alert about the probe itself, which no VM caused: `state` is open when it begins, resolved when it ends.
    #[allow(clippy::too_many_arguments)]
    pub fn probe_alert(
        time: Timestamp,
        detector: DetectorId,
        state: IncidentState,
        severity: Severity,
        cause: &str,
        title: &str,
        reason: &str,
        seen: CaptureQuality,
    ) -> Self {
        let mut event = Event::new(time, "alert", None);
        event.set(
            "alert",
            json!({
                "action": "allowed",
                "gid": DETECTOR_GID,
                "signature_id": detector.signature_id,
                "rev": 1,
                "signature": detector.signature,
                "category": PROBE_CATEGORY,
                "severity": severity.eve(),
                "metadata": { "mitre_technique_id": detector.techniques },
            }),
        );
        event.set(
            "eastwatch",
            json!({
                "schema": SCHEMA,
                "detector": detector.name,
                "incident": null,
                "severity": severity.to_string(),
                "vm": null,
                "vm_name": null,
                "segment": null,
                "service": null,
                "cause": cause,
                "state": state.to_string(),
                "title": title,
                "reason": reason,
                "evidence": { "frames": [], "facts": {} },
                "capture_quality": quality(seen),
            }),
        );
        event
    }

    /// An incident changed state; `from` is none when it was opened.
    pub fn incident(time: Timestamp, row: Value, from: Option<IncidentState>) -> Self {
        let mut event = Event::new(time, "incident", None);
        event.set("eastwatch", json!({ "schema": SCHEMA, "from": from.map(|s| s.to_string()), "incident": row }));
        event
    }

    /// A service or a VM was discovered or changed: `kind` is the event type, `row` the row that queries show.
    pub fn discovery(time: Timestamp, kind: &'static str, change: &str, row: Value, flow: Option<&FlowRef>) -> Self {
        let mut event = Event::new(time, kind, flow);
        event.set("eastwatch", json!({ "schema": SCHEMA, "change": change, kind: row }));
        event
    }

    /// A flow ended; `conflict` is the side of which two differing copies of some bytes were seen.
    pub fn flow(
        time: Timestamp,
        flow: &FlowRef,
        app: Option<&AppProto>,
        conflict: Option<Side>,
        how: FlowEnd,
        totals: &FlowTotals,
    ) -> Self {
        let mut event = Event::new(time, "flow", Some(flow));
        if let Some(app) = app {
            event.set("app_proto", app.as_str());
        }
        let state = match how {
            FlowEnd::Finished | FlowEnd::Reset => "closed",
            FlowEnd::Timeout | FlowEnd::Evicted | FlowEnd::Shutdown if totals.resp_packets > 0 => "established",
            _ => "new",
        };
        let reason = match how {
            FlowEnd::Finished | FlowEnd::Reset | FlowEnd::Timeout => "timeout",
            FlowEnd::Evicted => "forced",
            FlowEnd::Shutdown => "shutdown",
        };
        event.set(
            "flow",
            json!({
                "pkts_toserver": totals.orig_packets,
                "pkts_toclient": totals.resp_packets,
                "bytes_toserver": totals.orig_bytes,
                "bytes_toclient": totals.resp_bytes,
                "start": flow.first_seen.eve(),
                "end": totals.last_seen.eve(),
                "age": totals.last_seen.since_ns(flow.first_seen).max(0) / 1_000_000_000,
                "state": state,
                "reason": reason,
                "alerted": false,
            }),
        );
        let mut own = json!({
            "schema": SCHEMA,
            "segment": flow.segment.to_string(),
            "end": format!("{how:?}").to_lowercase(),
            "missed_bytes": totals.missed_bytes,
        });
        if let Some(side) = conflict {
            own["conflict"] = if side == Side::Orig { "toserver" } else { "toclient" }.into();
        }
        event.set("eastwatch", own);
        event
    }

    /// Counters, `decode.discard.short` nested as `stats.decode.discard.short`.
    pub fn stats<'a>(
        time: Timestamp,
        counters: impl Iterator<Item = (&'a str, u64)>,
        [sources, half_seen]: [Vec<Value>; 2],
        seen: CaptureQuality,
    ) -> Self {
        let mut event = Event::new(time, "stats", None);
        let mut stats = Map::new();
        for (name, value) in counters {
            nest(&mut stats, name, value);
        }
        event.set("stats", Value::Object(stats));
        event.set(
            "eastwatch",
            json!({
                "schema": SCHEMA, "sources": sources, "half_seen": half_seen, "capture_quality": quality(seen),
            }),
        );
        event
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }
}

/// Loss and shares to four digits: what floating point adds beyond them is noise.
pub fn quality(quality: CaptureQuality) -> Value {
    let round = |share: f64| (share * 10_000.0).round() / 10_000.0;
    json!({
        "loss": round(quality.loss),
        "one_way": round(quality.one_way),
        "duplicates": round(quality.duplicates),
        "truncated": round(quality.truncated),
        "reordered": round(quality.reordered),
    })
}

/// A name that is both a counter and a prefix keeps its own value under `all`.
fn nest(into: &mut Map<String, Value>, name: &str, value: u64) {
    let Some((first, rest)) = name.split_once('.') else {
        match into.get_mut(name) {
            Some(Value::Object(inner)) => drop(inner.insert("all".to_owned(), value.into())),
            _ => drop(into.insert(name.to_owned(), value.into())),
        }
        return;
    };
    let inner = into.entry(first.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = json!({ "all": inner.clone() });
    }
    if let Value::Object(inner) = inner {
        nest(inner, rest, value);
    }
}

/// The incident as `incidents --format json` shows it.
pub fn incident_row(incident: &Incident) -> Value {
    json!({
        "id": incident.id,
        "state": incident.state,
        "severity": incident.severity,
        "rank": incident.ranking.rank,
        "ranked_by": incident.ranking.by,
        "surprise": incident.ranking.surprise.nats(),
        "threshold": incident.ranking.threshold.nats(),
        "detector": incident.detector,
        "title": incident.title,
        "reason": incident.reason,
        "vm": incident.vm,
        "vm_name": incident.vm_name,
        "segment": incident.segment,
        "ip": incident.ip,
        "service": incident.service.as_ref().map(|(transport, port, app)| json!({
            "proto": transport.to_string(), "port": port, "app_proto": app,
        })),
        "first_seen": incident.first_seen,
        "last_seen": incident.last_seen,
        "findings": incident.findings,
        "mitre": incident.techniques,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_nest_and_a_prefix_keeps_its_own_value() {
        let mut into = Map::new();
        for (name, value) in [("a.b", 1), ("a.b.c", 2), ("a.d", 3), ("a", 4)] {
            nest(&mut into, name, value);
        }
        assert_eq!(Value::Object(into).to_string(), r#"{"a":{"b":{"all":1,"c":2},"d":3,"all":4}}"#);
    }

    #[test]
    fn every_event_says_when_what_and_which_schema() {
        let mut eve = Eve::memory();
        eve.write(Event::stats(
            Timestamp::from_parts(1_767_225_600, 0),
            [("decode.discard.short", 2)].into_iter(),
            Default::default(),
            CaptureQuality::default(),
        ));
        let line = String::from_utf8_lossy(eve.bytes()).into_owned();
        assert!(line.starts_with(r#"{"timestamp":"2026-01-01T00:00:00.000000+0000","event_type":"stats""#), "{line}");
        assert!(line.contains(r#""eastwatch":{"schema":1"#) && line.ends_with("}\n"), "{line}");
        assert!(line.contains(r#""decode":{"discard":{"short":2}}"#), "{line}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_says_which() {
        let Err(text) = Eve::open(Path::new("/nowhere/eve.json")) else { panic!("opened") };
        assert!(text.starts_with("/nowhere/eve.json: "), "{text}");
    }
}
