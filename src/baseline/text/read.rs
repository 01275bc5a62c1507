//! Reads a document from TOML or JSON: every key known, every row believable, or all that is wrong, by place.
//! Numbers are as the writer's; a document that could not have been written is refused whole.

use std::collections::BTreeMap;

use super::node::{Faults, Fields, Kind, Node, of_json, of_toml};
use super::{FEATURES, TEXT_BYTES_MAX};
use crate::baseline::document::{Document, FORMAT, PeerDocument, ServiceDocument, TrackDocument, VERSION, VmDocument};
use crate::baseline::identity::{Aspect, Identity};
use crate::baseline::novelty::{Days, WINDOW_D};
use crate::baseline::profile::{LearnedPeer, LearnedService, Port};
use crate::baseline::sanction::parse_port;
use crate::baseline::volume::{DAY, DAYS_MAX, VolumeBulk, VolumeDay};
use crate::model::{NS_PER_S, Timestamp, VmId};

impl Document {
    /// `name` is what faults call the text.
    ///
    /// # Errors
    /// A line for each fault, in order of place.
    pub fn parse(name: &str, text: &str) -> Result<Document, Vec<String>> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(vec![format!("{name}: larger than {} MiB: not a baseline", TEXT_BYTES_MAX >> 20)]);
        }
        let is_json = text.trim_start().starts_with('{');
        let mut faults = Faults::new(name, if is_json { "" } else { text });
        let root = if is_json {
            let value = serde_json::from_str(text)
                .map_err(|e| vec![format!("{name}:{}:{}: not JSON: {e}", e.line(), e.column())])?;
            of_json(value)
        } else {
            of_toml(text, &mut faults)
        };
        // Of what is no TOML the rest would only be told twice.
        let document = if faults.is_empty() { document(root, &mut faults) } else { None };
        match (document, faults.lines()) {
            (Some(document), faults) if faults.is_empty() => Ok(document),
            (_, faults) => Err(faults),
        }
    }
}

fn document(root: Node, faults: &mut Faults<'_>) -> Option<Document> {
    let mut fields = Fields::of(root, "the document", faults);
    let at = fields.place_of("format");
    match fields.text("format") {
        Some((_, format)) if format == FORMAT => {}
        _ => {
            fields.wrong(&at, &format!("this is no exported baseline: it begins with `format = \"{FORMAT}\"`"));
            return None;
        }
    }
    let (at, version) = fields.whole("version").unwrap_or((at, 0));
    if version != VERSION {
        let mend = if version > VERSION { "use a newer eastwatch" } else { "export it again with this eastwatch" };
        fields.wrong(&at, &format!("it is of schema version {version}, this eastwatch reads {VERSION}: {mend}"));
        return None;
    }
    fields.text("by");
    let exported = fields.parsed("exported", str::parse::<Timestamp>);
    let exported = fields.need("exported", exported);
    let watched = fields.whole("watched");
    let watched_s = fields.need("watched", watched).unwrap_or_default();
    let mut vms: Vec<VmDocument> = Vec::new();
    let mut seen: BTreeMap<VmId, usize> = BTreeMap::new();
    let clock = Clock { exported: exported.unwrap_or(Timestamp::MAX), watched_s };
    for node in fields.list("vm") {
        let at = node.at.clone();
        let Some(page) = vm(node, &clock, fields.faults) else { continue };
        let line = fields.faults.line(&at);
        if let Some(before) = seen.insert(page.vm, line) {
            fields.wrong(&at, &format!("{} stands twice, first in line {before}", page.shown()));
        }
        vms.push(page);
    }
    fields.end();
    Some(Document { exported: exported?, watched_s, vms })
}

/// Against which times are believed.
struct Clock {
    exported: Timestamp,
    watched_s: i64,
}

fn vm(node: Node, clock: &Clock, faults: &mut Faults<'_>) -> Option<VmDocument> {
    let mut fields = Fields::of(node, "[[vm]]", faults);
    let id = fields.parsed("id", |text| text.parse::<VmId>().map_err(|_| format!("`{text}` is no id of a VM")));
    let id = fields.need("id", id);
    let name = fields.text("name").map(|(_, name)| name);
    if let Some(label) = name.clone().or_else(|| id.map(|id| id.to_string())) {
        fields.named(label);
    }
    let role = fields.text("role").map(|(_, role)| role);
    let (first_seen, silent_since) = times(&mut fields, "first_seen", clock);
    let flows = fields.whole("flows");
    let flows = fields.need("flows", flows).unwrap_or_default();
    let mut page = VmDocument {
        vm: id.unwrap_or_default(),
        name,
        role,
        first_seen,
        silent_since,
        flows: flows.max(0).unsigned_abs(),
        ..VmDocument::default()
    };
    let mut ports: BTreeMap<Port, usize> = BTreeMap::new();
    for node in fields.list("serves") {
        let at = node.at.clone();
        let Some(row) = service(node, &page, clock, fields.faults) else { continue };
        let line = fields.faults.line(&at);
        if let Some(before) = ports.insert(row.port, line) {
            let (transport, port) = row.port;
            fields.wrong(&at, &format!("{transport}/{port} is served twice, first in line {before}"));
        }
        page.services.push(row);
    }
    let mut edges: BTreeMap<(VmId, Port), usize> = BTreeMap::new();
    for node in fields.list("uses") {
        let at = node.at.clone();
        let Some(mut row) = peer(node, &page, clock, fields.faults) else { continue };
        row.line = fields.faults.line(&at);
        if let Some(before) = edges.insert((row.server, row.port), row.line) {
            let (transport, port) = row.port;
            fields.wrong(&at, &format!("{transport}/{port} of {} is used twice, first in line {before}", row.server));
        }
        page.peers.push(row);
    }
    for node in fields.list("volumes") {
        let at = node.at.clone();
        let Some(row) = volume(node, &page, clock, fields.faults) else { continue };
        if page.volumes.last().is_some_and(|before| before.day >= row.day) {
            fields.wrong(&at, "`volumes` are in order of their days, each once");
        } else if page.volumes.len() >= DAYS_MAX {
            fields.wrong(&at, &format!("`volumes` has at most {DAYS_MAX} days"));
        } else {
            page.volumes.push(row);
        }
    }
    for node in fields.list("bulk") {
        let at = node.at.clone();
        let Some(row) = bulk(node, &page, clock, fields.faults) else { continue };
        if page.bulk.last().is_some_and(|before| before.to >= row.to) {
            fields.wrong(&at, "`bulk` is in order of `to`, each once");
        } else {
            page.bulk.push(row);
        }
    }
    match fields.take("evidence") {
        Some(node) => evidence(node, &mut page, clock, fields.faults),
        None => {
            let at = fields.place();
            fields.wrong(&at, "`evidence` is missing");
        }
    }
    fields.end();
    id.map(|_| page)
}

/// When it began and, where it has ended, when.
fn times(fields: &mut Fields<'_, '_>, begin: &'static str, clock: &Clock) -> (Timestamp, Option<Timestamp>) {
    let from = fields.parsed(begin, str::parse::<Timestamp>);
    let at = from.as_ref().map_or(fields.place(), |(at, _)| at.clone());
    let from = fields.need(begin, from).unwrap_or_default();
    if from > clock.exported {
        fields.wrong(&at, &format!("`{begin}` is later than the export"));
    }
    let until = fields.parsed("silent_since", str::parse::<Timestamp>);
    if let Some((at, until)) = &until
        && (*until < from || *until > clock.exported)
    {
        fields.wrong(at, &format!("`silent_since` lies before `{begin}` or after the export"));
    }
    (from, until.map(|(_, until)| until))
}

/// What services and edges have alike: since, silent_since, uses, learned, provisional.
fn learned(fields: &mut Fields<'_, '_>, clock: &Clock) -> (LearnedPeer, Option<Timestamp>) {
    let (first_seen, silent) = times(fields, "since", clock);
    let uses = fields.whole("uses");
    if let Some((at, uses)) = &uses
        && *uses <= 0
    {
        fields.wrong(at, "`uses` is at least 1: what was never used was never learned; remove the row");
    }
    let uses = fields.need("uses", uses).unwrap_or(1).max(1).unsigned_abs();
    let reading = reading(fields, "learned", clock);
    let provisional = fields.flag("provisional");
    let learned_ns = reading.saturating_mul(NS_PER_S);
    (LearnedPeer { first_seen, last_seen: Timestamp::ZERO, uses, provisional, learned_ns }, silent)
}

/// Seconds on the watched clock, not after the export.
fn reading(fields: &mut Fields<'_, '_>, key: &'static str, clock: &Clock) -> i64 {
    let found = fields.whole(key);
    if let Some((at, s)) = &found
        && *s > clock.watched_s
    {
        fields.wrong(at, &format!("`{key}` is later than the document's `watched`"));
    }
    fields.need(key, found).unwrap_or_default()
}

fn service(node: Node, page: &VmDocument, clock: &Clock, faults: &mut Faults<'_>) -> Option<ServiceDocument> {
    let shown = page.shown();
    let mut fields = Fields::of(node, &format!("{shown} serves"), faults);
    let port = fields.parsed("port", parse_port);
    let port = fields.need("port", port);
    let mut marks = Vec::new();
    for aspect in Aspect::ALL {
        match fields.take(aspect.key()) {
            None => {}
            Some(Node { kind: Kind::List(list), .. }) => {
                list.into_iter().for_each(|node| marks.extend(mark(node, aspect, &shown, fields.faults)));
            }
            Some(node) => marks.extend(mark(node, aspect, &shown, fields.faults)),
        }
    }
    let (learned, silent_since) = learned(&mut fields, clock);
    let weak = fields.flag("weak");
    fields.end();
    let LearnedPeer { first_seen, last_seen, uses, provisional, learned_ns } = learned;
    let identity = Identity::of_rows(marks);
    let learned = LearnedService { first_seen, last_seen, uses, provisional, learned_ns, weak, identity };
    Some(ServiceDocument { port: port?, learned, silent_since })
}

fn mark(node: Node, aspect: Aspect, shown: &str, faults: &mut Faults<'_>) -> Option<(Aspect, String, String)> {
    let at = node.at.clone();
    let node = match node.kind {
        // A bare text is short for a table with nothing else.
        Kind::Text(text) => {
            let is = Node { at: at.clone(), kind: Kind::Text(text) };
            Node { at: at.clone(), kind: Kind::Table(BTreeMap::from([("is".to_owned(), (at, is))])) }
        }
        kind => Node { at, kind },
    };
    let mut fields = Fields::of(node, &format!("{shown} serves: `{}`", aspect.key()), faults);
    let is = fields.text("is");
    let is = fields.need("is", is);
    let of = fields.text("of").map(|(_, of)| of).unwrap_or_default();
    fields.end();
    Some((aspect, of, is?))
}

fn peer(node: Node, page: &VmDocument, clock: &Clock, faults: &mut Faults<'_>) -> Option<PeerDocument> {
    let mut fields = Fields::of(node, &format!("{} uses", page.shown()), faults);
    let port = fields.parsed("port", parse_port);
    let port = fields.need("port", port);
    let name = fields.text("name").map(|(_, name)| name);
    let server = fields.parsed("of", |text| text.parse::<VmId>().map_err(|_| format!("`{text}` is no id of a VM")));
    let server = fields.need("of", server);
    let (learned, silent_since) = learned(&mut fields, clock);
    fields.end();
    Some(PeerDocument { server: server?, name, port: port?, learned, silent_since, line: 0 })
}

fn volume(node: Node, page: &VmDocument, clock: &Clock, faults: &mut Faults<'_>) -> Option<VolumeDay> {
    let mut fields = Fields::of(node, &format!("{}: `volumes`", page.shown()), faults);
    let day = fields.parsed("day", |text| date(text, clock));
    let day = fields.need("day", day);
    let [sent, received] = ["sent", "received"].map(|key| {
        let found = fields.parsed(key, codes);
        fields.need(key, found)
    });
    fields.end();
    Some(VolumeDay { day: day?, sent: sent?, received: received? })
}

fn bulk(node: Node, page: &VmDocument, clock: &Clock, faults: &mut Faults<'_>) -> Option<VolumeBulk> {
    let mut fields = Fields::of(node, &format!("{}: `bulk`", page.shown()), faults);
    let to = fields.parsed("to", |text| u64::from_str_radix(text, 16).map_err(|_| format!("`{text}` is no number")));
    let to = fields.need("to", to);
    let most = fields.whole("most");
    let most = fields.need("most", most).unwrap_or_default().max(0).unsigned_abs();
    let silent_since = fields.parsed("silent_since", |text| date(text, clock)).map(|(_, day)| day);
    fields.end();
    Some(VolumeBulk { to: to?, most, silent_since })
}

/// Days since the epoch; none is later than the export.
fn date(text: &str, clock: &Clock) -> Result<i64, String> {
    let bad = |_| format!("`{text}` is not a day like 2026-01-05");
    let time: Timestamp = format!("{text}T00:00:00Z").parse().map_err(bad)?;
    if time > clock.exported {
        return Err(format!("{text} is later than the export"));
    }
    Ok(time.second().div_euclid(86_400))
}

/// Two digits an hour.
fn codes(text: &str) -> Result<[Option<u8>; DAY], String> {
    let bad = || format!("`{text}` is not {DAY} times two hexadecimal digits or --");
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(bad()) };
    let mut out = [None; DAY];
    if pairs.len() != DAY {
        return Err(bad());
    }
    for (into, pair) in out.iter_mut().zip(pairs) {
        *into = match pair {
            b"--" => None,
            // The last is for what is not known.
            _ => match std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
                Some(code) if code < u8::MAX => Some(code),
                _ => return Err(bad()),
            },
        };
    }
    Ok(out)
}

fn evidence(node: Node, page: &mut VmDocument, clock: &Clock, faults: &mut Faults<'_>) {
    let mut fields = Fields::of(node, &format!("{}: `evidence`", page.shown()), faults);
    page.born_s = reading(&mut fields, "born", clock);
    let bits = |text: &str| u64::from_str_radix(text, 16).map_err(|_| format!("`{text}` is not 16 hex digits"));
    page.source_ports = fields.parsed("source_ports", bits).map(|(_, bits)| bits).unwrap_or_default();
    for (name, track) in FEATURES.iter().copied().zip(&mut page.tracks) {
        let Some(node) = fields.take(name) else {
            let at = fields.place();
            fields.wrong(&at, &format!("`{name}` is missing"));
            continue;
        };
        *track = ripening(node, &format!("{}: `{name}`", page.name.clone().unwrap_or_default()), clock, fields.faults);
    }
    fields.end();
}

fn ripening(node: Node, what: &str, clock: &Clock, faults: &mut Faults<'_>) -> TrackDocument {
    let mut fields = Fields::of(node, what, faults);
    let ripe = fields.parsed("ripe_since", str::parse::<Timestamp>);
    if let Some((at, since)) = &ripe
        && *since > clock.exported
    {
        fields.wrong(at, "`ripe_since` is later than the export");
    }
    let novelty_s = reading(&mut fields, "last_new", clock);
    let whole = fields.whole("new_in_all").map_or(0, |(_, n)| n.max(0).unsigned_abs());
    let day = fields.whole("day").map_or(0, |(_, n)| n);
    let mut counts = Vec::new();
    let at = fields.place_of("new_by_day");
    for node in fields.list("new_by_day") {
        match node.kind {
            Kind::Whole(count) if (0..=255).contains(&count) && counts.len() < WINDOW_D => {
                counts.push(u8::try_from(count).unwrap_or(u8::MAX));
            }
            _ => {
                fields.wrong(&at, &format!("`new_by_day` has at most {WINDOW_D} numbers from 0 to 255"));
                break;
            }
        }
    }
    fields.end();
    let ripe_since = ripe.map(|(_, since)| since);
    TrackDocument { novelty_s, ripe_since, days: Days::of_parts(day, counts, whole, 0) }
}
