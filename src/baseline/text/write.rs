//! Writes a document: JSON as a value, TOML with a line for each service and each edge.
//! As long as what was learned; nothing is cut.

use serde_json::{Map, Value, json};

use super::FEATURES;
use crate::baseline::document::{Document, FORMAT, PeerDocument, ServiceDocument, TrackDocument, VERSION, VmDocument};
use crate::baseline::identity::{Aspect, Identity};
use crate::baseline::volume::{VolumeBulk, VolumeDay};
use crate::model::{NS_PER_S, Timestamp};

const HEADER: &str = "\
# What eastwatch learned. Read it, edit it, keep it in git; `eastwatch baseline import FILE` takes it, and says what
# changes. Times are UTC; `uses` above 8 is the power of two below; what has no `silent_since` was used in the last
# week. `learned`, `born`, `last_new` and `watched` are seconds that the probe had watched. `sent` and `received` are two
# hexadecimal digits an hour, 5 log2(bytes + 1), or -- where the hour was not watched.
";

impl Document {
    pub fn to_json(&self) -> Value {
        let mut out = head(self);
        out.insert("vm".to_owned(), self.vms.iter().map(vm).collect());
        Value::Object(out)
    }

    pub fn to_toml(&self) -> String {
        let mut out = HEADER.to_owned();
        for (key, value) in head(self) {
            out.push_str(&format!("{key} = {}\n", inline(&value)));
        }
        for page in &self.vms {
            out.push_str("\n[[vm]]\n");
            let Value::Object(fields) = vm(page) else { continue };
            for (key, value) in fields {
                match &value {
                    Value::Array(rows) if rows.iter().any(Value::is_object) => {
                        out.push_str(&format!("{key} = [\n"));
                        rows.iter().for_each(|row| out.push_str(&format!("    {},\n", inline(row))));
                        out.push_str("]\n");
                    }
                    value => out.push_str(&format!("{key} = {}\n", inline(value))),
                }
            }
        }
        out
    }
}

fn head(document: &Document) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("format".to_owned(), FORMAT.into());
    out.insert("version".to_owned(), VERSION.into());
    out.insert("by".to_owned(), concat!("eastwatch ", env!("CARGO_PKG_VERSION")).into());
    out.insert("exported".to_owned(), time(document.exported));
    out.insert("watched".to_owned(), document.watched_s.into());
    out
}

fn vm(page: &VmDocument) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    if let Some(name) = &page.name {
        put("name", name.as_str().into());
    }
    put("id", page.vm.to_string().into());
    if let Some(role) = &page.role {
        put("role", role.as_str().into());
    }
    put("first_seen", time(page.first_seen));
    if let Some(silent) = page.silent_since {
        put("silent_since", time(silent));
    }
    put("flows", page.flows.into());
    put("serves", page.services.iter().map(service).collect());
    put("uses", page.peers.iter().map(peer).collect());
    if !page.volumes.is_empty() {
        put("volumes", page.volumes.iter().map(volume).collect());
    }
    if !page.bulk.is_empty() {
        put("bulk", page.bulk.iter().map(bulk).collect());
    }
    let mut evidence = Map::new();
    evidence.insert("born".to_owned(), page.born_s.into());
    evidence.insert("source_ports".to_owned(), format!("{:016x}", page.source_ports).into());
    for (name, track) in FEATURES.iter().zip(&page.tracks) {
        evidence.insert((*name).to_owned(), ripening(track));
    }
    put("evidence", Value::Object(evidence));
    Value::Object(out)
}

fn ripening(track: &TrackDocument) -> Value {
    let mut out = Map::new();
    if let Some(ripe) = track.ripe_since {
        out.insert("ripe_since".to_owned(), time(ripe));
    }
    let (day, counts) = track.days.parts();
    // Days without any news at the end say nothing.
    let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    out.insert("last_new".to_owned(), track.novelty_s.into());
    out.insert("new_in_all".to_owned(), track.days.whole.into());
    out.insert("day".to_owned(), day.into());
    out.insert("new_by_day".to_owned(), json!(counts.get(..used).unwrap_or_default()));
    Value::Object(out)
}

fn service(row: &ServiceDocument) -> Value {
    let mut out = Map::new();
    let learned = &row.learned;
    out.insert("port".to_owned(), format!("{}/{}", row.port.0, row.port.1).into());
    marks(&learned.identity, &mut out);
    out.insert("since".to_owned(), time(learned.first_seen));
    if let Some(silent) = row.silent_since {
        out.insert("silent_since".to_owned(), time(silent));
    }
    out.insert("uses".to_owned(), learned.uses.into());
    out.insert("learned".to_owned(), learned.learned_ns.div_euclid(NS_PER_S).into());
    for (key, flag) in [("provisional", learned.provisional), ("weak", learned.weak)] {
        if flag {
            out.insert(key.to_owned(), true.into());
        }
    }
    Value::Object(out)
}

/// `app = "ssh"`; of several values a list; with what it belongs to where that is not the application.
fn marks(identity: &Identity, out: &mut Map<String, Value>) {
    for aspect in Aspect::ALL {
        let mut values: Vec<Value> = identity
            .rows()
            .filter(|(of_aspect, ..)| *of_aspect == aspect)
            .map(|(_, of, value)| if of.is_empty() { value.into() } else { json!({ "is": value, "of": of }) })
            .collect();
        match values.len() {
            0 => {}
            1 => drop(out.insert(aspect.key().to_owned(), values.remove(0))),
            _ => drop(out.insert(aspect.key().to_owned(), values.into())),
        }
    }
}

fn peer(row: &PeerDocument) -> Value {
    let mut out = Map::new();
    let learned = &row.learned;
    out.insert("port".to_owned(), format!("{}/{}", row.port.0, row.port.1).into());
    if let Some(name) = &row.name {
        out.insert("name".to_owned(), name.as_str().into());
    }
    out.insert("of".to_owned(), row.server.to_string().into());
    out.insert("since".to_owned(), time(learned.first_seen));
    if let Some(silent) = row.silent_since {
        out.insert("silent_since".to_owned(), time(silent));
    }
    out.insert("uses".to_owned(), learned.uses.into());
    out.insert("learned".to_owned(), learned.learned_ns.div_euclid(NS_PER_S).into());
    if learned.provisional {
        out.insert("provisional".to_owned(), true.into());
    }
    Value::Object(out)
}

fn volume(row: &VolumeDay) -> Value {
    let mut out = Map::new();
    out.insert("day".to_owned(), date(row.day).into());
    for (key, codes) in [("sent", &row.sent), ("received", &row.received)] {
        let codes = codes.iter().map(|code| code.map_or("--".to_owned(), |code| format!("{code:02x}")));
        out.insert(key.to_owned(), codes.collect::<String>().into());
    }
    Value::Object(out)
}

fn bulk(row: &VolumeBulk) -> Value {
    let mut out = Map::new();
    out.insert("to".to_owned(), format!("{:016x}", row.to).into());
    out.insert("most".to_owned(), row.most.into());
    if let Some(day) = row.silent_since {
        out.insert("silent_since".to_owned(), date(day).into());
    }
    Value::Object(out)
}

/// `2026-01-05`, of days since the epoch.
fn date(day: i64) -> String {
    let text = Timestamp::ZERO.plus_s(day.saturating_mul(86_400)).to_string();
    text.get(..10).unwrap_or_default().to_owned()
}

fn time(time: Timestamp) -> Value {
    let text = time.to_string();
    text.strip_suffix(".000000Z").map_or(text.clone(), |second| format!("{second}Z")).into()
}

/// A value of TOML on one line.
fn inline(value: &Value) -> String {
    match value {
        // TOML's escapes are JSON's, but that DEL may not stand for itself.
        Value::String(text) => Value::from(text.as_str()).to_string().replace('\u{7f}', "\\u007F"),
        Value::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        plain => plain.to_string(),
    }
}
