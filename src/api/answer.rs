//! The answers: what a [`Request`] is answered on a brain. Reads borrow, writes change and are saved by the caller.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::carry;
use super::request::{Request, SanctionRow};
use crate::baseline::{Port, Sanction, SanctionSource, parse_port};
use crate::brain::Brain;
use crate::deliver::incident_row;
use crate::incident::IncidentEvent;
use crate::inventory::{Imported, Service, Vm};
use crate::model::{AppProto, Incident, IncidentId, IncidentState, ServiceKey, Timestamp, VmId};

/// Faults of an imported file that are told.
const FAULTS_SHOWN_MAX: usize = 20;

/// A request on its way to the brain, and where its answer goes.
pub struct Asked {
    pub request: Request,
    pub reply: oneshot::Sender<Result<Value, String>>,
}

/// # Errors
/// Why it was refused: what, and the mend.
pub fn answer(brain: &mut Brain, request: Request) -> Result<Value, String> {
    match request {
        Request::Vms { vm } => {
            let wanted = wanted(brain, vm.as_deref())?;
            let (names, keys) = (brain.inventory.namesakes(), brain.inventory.shared_ssh_keys());
            let row = |vm: &Vm| {
                let own_keys = brain.inventory.keys(vm.id);
                let called = vm.names.iter().filter_map(|name| names.get(&name.text.to_lowercase()));
                let keyed = own_keys.iter().filter_map(|key| keys.get(key));
                let others = |vms: &mut dyn Iterator<Item = &VmId>| -> BTreeSet<VmId> {
                    vms.copied().filter(|id| *id != vm.id).collect()
                };
                let mut row = brain.vm_row(vm);
                row["same_name"] = json!(others(&mut called.flatten()));
                row["same_ssh_key"] = json!(others(&mut keyed.flatten()));
                row["keys"] = json!(own_keys);
                row
            };
            Ok(in_reading_order(brain, &wanted).into_iter().map(row).collect())
        }
        Request::Roles {} => Ok(brain.role_rows().into()),
        Request::VmsHistory { vm } => {
            let wanted = wanted(brain, vm.as_deref())?;
            Ok(in_reading_order(brain, &wanted).into_iter().flat_map(|v| brain.history_rows(v)).collect())
        }
        Request::Services { vm, only } => {
            let wanted = wanted(brain, vm.as_deref())?;
            let fits = |vm, state: &str| wanted.has(vm) && only.as_deref().is_none_or(|only| only == state);
            let order = |s: &Service| (place(brain, s.key.vm), s.segment, s.ip, s.key);
            let services = brain.inventory.services().filter(|s| fits(s.key.vm, brain.service_state(s)));
            let mut rows: Vec<_> = services.map(|s| (order(s), brain.service_row(s))).collect();
            let transfers = brain.inventory.transfers().filter(|t| fits(t.service.key.vm, brain.transfer_state(t)));
            rows.extend(transfers.map(|t| (order(&t.service), brain.transfer_row(&t))));
            rows.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(rows.into_iter().map(|(_, row)| row).collect())
        }
        Request::Peers { vm } => {
            let wanted = wanted(brain, vm.as_deref())?;
            let of = |client| matches!(client, crate::inventory::Client::Vm(vm) if wanted.has(vm));
            let edges = brain.inventory.peers().filter(|e| wanted.has(e.service.vm) || of(e.client));
            let mut edges: Vec<_> = edges.collect();
            let client = |client| match client {
                crate::inventory::Client::Vm(vm) => place(brain, vm),
                crate::inventory::Client::External => place(brain, VmId::default()),
            };
            edges.sort_by_key(|e| (place(brain, e.service.vm), e.service, client(e.client)));
            Ok(edges.into_iter().map(|e| brain.peer_row(e)).collect())
        }
        Request::Incidents { vm, only, min_severity, rank } => {
            let wanted = wanted(brain, vm.as_deref())?;
            let fits = |i: &&Incident| {
                wanted.has(i.vm)
                    && only.is_none_or(|state| i.state == state)
                    && min_severity.is_none_or(|least| i.severity >= least)
                    && rank.is_none_or(|rank| i.ranking.rank == rank)
            };
            Ok(brain.incidents.list().into_iter().filter(fits).map(incident_row).collect())
        }
        Request::IncidentsByDay {} => Ok(brain.incidents.calendar().map(|daily| json!(daily)).collect()),
        Request::Incident { id } => Ok(whole(incident(brain, &id)?)),
        Request::IncidentsExport {} => Ok(brain.incidents.list().into_iter().map(whole).collect()),
        Request::Ack { id, by, message } => handled(brain, &id, |all, id, now| all.ack(id, &by, &message, now)),
        Request::Resolve { id, by, message } => handled(brain, &id, |all, id, now| all.resolve(id, &by, &message, now)),
        Request::Comment { id, by, message } => handled(brain, &id, |all, id, now| all.comment(id, &by, &message, now)),
        Request::Why { vm, service } => {
            let vm = one(brain, &vm)?;
            let port = service.as_deref().map(parse_port).transpose()?;
            serde_json::to_value(brain.why(vm, port)).map_err(|e| e.to_string())
        }
        Request::SanctionList {} => Ok(brain.sanctions.list().map(|s| sanction_row(brain, s)).collect()),
        Request::SanctionAdd { vm, service, app, owner, reason, ticket, expires, by } => {
            let row = SanctionRow { line: 0, vm, service, app, owner, reason, ticket, expires };
            let sanction = sanction_of(brain, row)?;
            let shown = format!(
                "{} {}",
                brain.inventory.label(sanction.vm),
                sanction.service.map_or_else(String::new, port_text)
            );
            let closed = sanction_all(brain, vec![sanction], &by)?;
            Ok(json!({ "text": format!("{shown} is sanctioned{}", and_resolved(closed)) }))
        }
        Request::SanctionImport { name, rows, by } => {
            let mut faults = Vec::new();
            let mut sanctions = Vec::with_capacity(rows.len());
            for row in rows {
                let line = row.line;
                match sanction_of(brain, row) {
                    Ok(sanction) => sanctions.push(sanction),
                    Err(fault) => faults.push(format!("{name}:{line}: {fault}")),
                }
            }
            if !faults.is_empty() {
                let more = faults.len().saturating_sub(FAULTS_SHOWN_MAX);
                faults.truncate(FAULTS_SHOWN_MAX);
                if more > 0 {
                    faults.push(format!("and {more} more"));
                }
                return Err(faults.join("\n"));
            }
            let count = sanctions.len();
            let closed = sanction_all(brain, sanctions, &by)?;
            let services = if count == 1 { "1 service is".to_owned() } else { format!("{count} services are") };
            Ok(json!({ "text": format!("{services} sanctioned{}", and_resolved(closed)) }))
        }
        Request::SanctionRemove { vm, service, by: _ } => {
            let vm = one(brain, &vm)?;
            let removed = brain.sanctions.remove(vm, Some(parse_port(&service)?)).len();
            let label = brain.inventory.label(vm);
            match removed {
                0 => Err(format!("{label} {service} was not sanctioned; `eastwatch sanction list` shows what is")),
                _ => Ok(json!({ "text": format!("{label} {service} is no longer sanctioned") })),
            }
        }
        Request::BaselineStatus { vm } => {
            let wanted = wanted(brain, vm.as_deref())?;
            Ok(in_reading_order(brain, &wanted).into_iter().map(|v| brain.baseline_row(v)).collect())
        }
        Request::BaselineExport { format } => carry::export(brain, format.as_deref()),
        Request::BaselineImport { file, signature, keys, dry_run, by: _ } => {
            carry::import(brain, &file, signature.as_ref(), keys.as_ref(), dry_run)
        }
        Request::BaselineDiff { file, other } => carry::compare(brain, &file, other.as_ref()),
        Request::BaselineNews { from, to } => carry::news(brain, &from, &to),
        Request::BaselineReset { vm, by: _ } => {
            let vm = vm.as_deref().map(|text| one(brain, text)).transpose()?;
            let count = brain.baselines.reset(vm);
            brain.unfollow(vm);
            let whose = match vm {
                Some(vm) if count == 1 => format!("the baseline of {}; it learns", brain.inventory.label(vm)),
                _ => format!("the baselines of {count} VMs; they learn"),
            };
            Ok(json!({ "text": format!("forgot {whose} anew") }))
        }
        Request::InventoryList {} => Ok(inventory_rows(brain)),
        Request::InventoryImport { files, format, by: _ } => {
            let format = format.as_deref().map(str::parse).transpose()?;
            let sources = Imported::sources(&files, format).map_err(|e| e.to_string())?;
            let said = brain.import(&sources)?;
            let notes: Vec<&String> = sources.values().flat_map(|imported| &imported.notes).collect();
            Ok(json!({ "text": said, "notes": notes }))
        }
        Request::Status {} => Ok(brain.status()),
    }
}

/// The VMs a question is about: all of them, or those that a text names.
struct Wanted(Option<Vec<VmId>>);

impl Wanted {
    fn has(&self, vm: VmId) -> bool {
        self.0.as_ref().is_none_or(|list| list.contains(&vm))
    }
}

/// Where a VM stands in a list: the named by name, then the others by address.
fn place(brain: &Brain, vm: VmId) -> (bool, Option<String>, Option<IpAddr>, VmId) {
    let known = brain.inventory.vm(vm);
    let name = known.and_then(|vm| vm.name.clone());
    (name.is_none(), name, known.and_then(|vm| vm.ips().min()), vm)
}

fn in_reading_order<'a>(brain: &'a Brain, wanted: &Wanted) -> Vec<&'a Vm> {
    let mut vms: Vec<&Vm> = brain.inventory.vms().filter(|vm| wanted.has(vm.id)).collect();
    vms.sort_by_key(|vm| place(brain, vm.id));
    vms
}

fn wanted(brain: &Brain, text: Option<&str>) -> Result<Wanted, String> {
    let Some(text) = text else { return Ok(Wanted(None)) };
    match brain.inventory.find(text) {
        none if none.is_empty() => Err(unknown_vm(text)),
        found => Ok(Wanted(Some(found))),
    }
}

fn one(brain: &Brain, text: &str) -> Result<VmId, String> {
    match brain.inventory.find(text).as_slice() {
        [] => Err(unknown_vm(text)),
        [vm] => Ok(*vm),
        several => {
            let ids: Vec<String> = several.iter().take(5).map(VmId::to_string).collect();
            Err(format!("`{text}` names {} VMs ({}); give the id", several.len(), ids.join(", ")))
        }
    }
}

fn unknown_vm(text: &str) -> String {
    format!("no VM is called `{text}`; `eastwatch vms` lists ids, names and addresses")
}

fn incident<'a>(brain: &'a Brain, id: &str) -> Result<&'a Incident, String> {
    let parsed: IncidentId = id.parse().map_err(|_| {
        format!("`{id}` is no incident id: inc- and 12 hex digits, as `eastwatch incidents` lists them")
    })?;
    brain.incidents.get(parsed).ok_or_else(|| format!("there is no incident {id}; `eastwatch incidents` lists them"))
}

fn handled(
    brain: &mut Brain,
    id: &str,
    step: impl FnOnce(&mut crate::incident::Incidents, IncidentId, Timestamp) -> Result<IncidentEvent, String>,
) -> Result<Value, String> {
    let (id, now) = (incident(brain, id)?.id, brain.now());
    let event = step(&mut brain.incidents, id, now)?;
    let row = whole(event.incident());
    tell(brain, vec![event]);
    Ok(row)
}

/// Tells what a person's word changed; how many incidents that resolved.
fn tell(brain: &mut Brain, events: Vec<IncidentEvent>) -> usize {
    let now = brain.now();
    let resolved = events.iter().filter(|e| e.incident().state == IncidentState::Resolved).count();
    for event in &events {
        brain.teller().incident(now, event);
    }
    brain.teller().flush();
    resolved
}

/// The incident with its findings and its timeline.
fn whole(incident: &Incident) -> Value {
    let mut row = incident_row(incident);
    row["samples"] = json!(incident.samples);
    row["timeline"] = json!(incident.timeline);
    row["timeline_dropped"] = incident.timeline_dropped.into();
    row
}

/// By a name that eastwatch knows, or by the one that this service shows: the user's own applications have names too.
fn application(brain: &Brain, vm: VmId, (transport, port): Port, text: &str) -> Result<AppProto, String> {
    AppProto::named(text).or_else(|why| {
        let key = ServiceKey { vm, transport, port };
        let mut shown = brain.inventory.service(&key).filter_map(|row| row.app.as_ref());
        shown.find(|app| app.proto.as_str() == text).map(|app| app.proto.clone()).ok_or(why)
    })
}

fn sanction_of(brain: &Brain, row: SanctionRow) -> Result<Sanction, String> {
    let added = brain.now();
    let (vm, port) = (one(brain, &row.vm)?, parse_port(&row.service)?);
    Ok(Sanction {
        vm,
        service: Some(port),
        app: row.app.as_deref().map(|text| application(brain, vm, port, text)).transpose()?,
        owner: row.owner,
        reason: row.reason,
        ticket: row.ticket,
        expires: row.expires.as_deref().map(|text| expiry(text, added)).transpose()?,
        added,
        source: SanctionSource::Person,
        hits: 0,
        last_hit: None,
    })
}

/// Adds all of them, or none where there is no room; how many incidents that resolved.
fn sanction_all(brain: &mut Brain, sanctions: Vec<Sanction>, by: &str) -> Result<usize, String> {
    let before = brain.sanctions.clone();
    let mut resolved = Vec::new();
    for sanction in &sanctions {
        if let Err(full) = brain.sanctions.add(sanction.clone()) {
            brain.sanctions = before;
            return Err(full);
        }
    }
    for Sanction { vm, service, app, reason, added, .. } in &sanctions {
        brain.incidents.sanctioned(*vm, *service, app.as_ref(), by, reason, *added, &mut resolved);
    }
    Ok(tell(brain, resolved))
}

fn and_resolved(incidents: usize) -> String {
    match incidents {
        0 => String::new(),
        1 => "; 1 incident resolved".to_owned(),
        n => format!("; {n} incidents resolved"),
    }
}

fn sanction_row(brain: &Brain, sanction: &Sanction) -> Value {
    json!({
        "vm": sanction.vm,
        "vm_name": brain.inventory.vm(sanction.vm).and_then(|vm| vm.name.clone()),
        "service": sanction.service.map_or("any".to_owned(), port_text),
        "app": sanction.app,
        "owner": sanction.owner,
        "reason": sanction.reason,
        "ticket": sanction.ticket,
        "expires": sanction.expires,
        "added": sanction.added,
        "source": sanction.source,
        "hits": sanction.hits,
        "last_hit": sanction.last_hit,
    })
}

fn port_text((transport, port): Port) -> String {
    format!("{transport}/{port}")
}

/// The seen first, by name, then the others.
fn inventory_rows(brain: &Brain) -> Value {
    let mut listed: Vec<_> = brain.inventory.listed().collect();
    listed.sort_by_key(|(vm, _)| (!vm.seen, place(brain, vm.id)));
    listed.into_iter().map(|(vm, coverage)| brain.listed_row(vm, coverage)).collect()
}

/// `90d`, `12h`, `2w`, or a date, or a time.
fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let bad = || format!("`{text}` is not a time: 90d, 12h, 2w, 2027-01-01 or 2027-01-01T00:00:00Z");
    let seconds = |unit: char| match unit {
        'h' => Some(3_600),
        'd' => Some(86_400),
        'w' => Some(604_800),
        _ => None,
    };
    if let Some(unit) = text.chars().last().and_then(seconds) {
        let count = text.get(..text.len() - 1).and_then(|n| n.parse::<u32>().ok());
        if let Some(count) = count {
            return Ok(now.plus_s(i64::from(count) * unit));
        }
    }
    let full = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    full.parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_are_durations_dates_or_times() {
        let now = Timestamp::from_parts(1_767_225_600, 0);
        assert_eq!(expiry("2d", now), Ok(now.plus_s(172_800)));
        assert_eq!(expiry("2026-01-02", now), Ok(now.plus_s(86_400)));
        assert_eq!(expiry("2026-01-02T00:00:00Z", now), Ok(now.plus_s(86_400)));
        assert!(expiry("tomorrow", now).is_err() && expiry("d", now).is_err());
    }
}
