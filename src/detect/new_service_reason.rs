//! How a `new-service` finding argues its case: what aggravates it, how severe that makes it, and why, in the
//! baseline's numbers.

use std::net::IpAddr;

use super::day0::Case;
use super::new_service::{Candidate, DETECTOR};
use super::{Seen, World, count, frames, remote_access, surprise};
use crate::baseline::{Feature, Hours};
use crate::inventory::{Change, Sight};
use crate::model::{Evidence, Finding, FlowRef, ServiceClass, ServiceKey, Severity, Timestamp, Transport};

/// A refusal up to a week old proves that the service started since; older ones prove little (detection.md 3.5).
const STARTED_WITHIN_S: f64 = 7.0 * 86_400.0;

/// What speaks against a new service, each worth the +2 of detection.md 3.5.
struct Aggravations {
    /// Its port refused a connection in the week before.
    started: Option<Timestamp>,
    remote_access: bool,
    /// The application contradicts the port.
    mismatch: bool,
    /// Its first client is a VM that had never spoken to it.
    stranger: bool,
    /// The VM had only ever been a client.
    first_service: bool,
}

pub fn argue(
    key: &ServiceKey,
    seen: &Seen<'_>,
    candidate: &Candidate,
    told: Option<(Timestamp, u64)>,
    change: &Change,
    world: &World<'_>,
) -> Finding {
    let aggravations = Aggravations::of(key, seen, candidate, world);
    let severity = match candidate.day0.filter(|_| !world.judges_services(key.vm, change.time)) {
        Some(case) => case.severity(),
        None => aggravations.severity(seen),
    };
    let mut finding = world.finding(&DETECTOR, severity, change, key.vm);
    let app = seen.app.map(|a| a.proto.clone());
    finding.service = Some((key.transport, key.port, app));
    finding.flow = change.flow.or(candidate.flow);
    // An hour into a new network whoever administers it reaches every desktop for the first time.
    if matches!(candidate.day0, Some(Case::FirstAccess | Case::Screen)) && !world.judges_services(key.vm, change.time) {
        finding.fold = Some(format!("first {}", seen.app.map_or("access", |app| app.proto.as_str())));
    }
    let group = group(seen, finding.flow.as_ref());
    finding.peer = candidate.client.filter(|_| group.is_none());
    let speaks = seen.app.map(|a| format!(" ({})", a.proto)).unwrap_or_default();
    let does = does(group);
    finding.title = format!("{} {does} {}/{}{speaks}", finding.vm_label, key.transport, key.port);
    finding.reason = reason(&finding.vm_label, key, seen, candidate, told, &aggravations, change, world);
    finding.evidence =
        Evidence { frames: frames(finding.flow.as_ref(), &[candidate.first_frame, change.frame]), facts: facts(seen) };
    let Aggravations { started, remote_access, mismatch, .. } = aggravations;
    let measured = surprise::of_service(key, [started.is_some(), remote_access, mismatch], change.time, world);
    finding.surprise = measured.surprise;
    finding.evidence.facts.push(("surprise".to_owned(), measured.to_string()));
    finding
}

impl Aggravations {
    fn of(key: &ServiceKey, seen: &Seen<'_>, candidate: &Candidate, world: &World<'_>) -> Self {
        let app = seen.app.map(|a| a.proto.as_str());
        let profile = world.baselines.profile(key.vm);
        Aggravations {
            started: seen.basis.closed_at.filter(|at| candidate.since.since_s(*at) <= STARTED_WITHIN_S),
            remote_access: remote_access::is_remote_access(key.transport, key.port, app),
            mismatch: app.is_some_and(|app| remote_access::mismatch(key.transport, key.port, app)),
            stranger: candidate.client.and_then(|c| c.0).is_some_and(|vm| !world.baselines.has_spoken(vm, key)),
            first_service: profile.is_some_and(|p| p.services.is_empty()),
        }
    }

    /// High by default: one new listener is what the probe exists for. Critical where two things speak against it,
    /// one of them that it was started or gives control. What was there before the capture is a remark.
    fn severity(&self, seen: &Seen<'_>) -> Severity {
        let against = [self.started.is_some(), self.remote_access, self.mismatch, self.stranger, self.first_service];
        let against = against.into_iter().filter(|b| *b).count();
        match seen.class {
            // What no packet showed from its beginning is a remark.
            _ if seen.basis.sight != Sight::Whole => Severity::Low,
            // It only sends to a group: nothing listens that one could connect to.
            ServiceClass::Multicast | ServiceClass::Broadcast => Severity::Low,
            ServiceClass::Symmetric => Severity::Medium,
            ServiceClass::Unicast if against >= 2 && (self.started.is_some() || self.remote_access) => {
                Severity::Critical
            }
            ServiceClass::Unicast => Severity::High,
        }
    }
}

/// The group that a service of its class sends to.
fn group(seen: &Seen<'_>, flow: Option<&FlowRef>) -> Option<IpAddr> {
    let sends = matches!(seen.class, ServiceClass::Multicast | ServiceClass::Broadcast);
    // A flow that was turned round has the group as its first end.
    flow.filter(|_| sends).map(|flow| if flow.orig.ip.is_multicast() { flow.orig.ip } else { flow.resp.ip })
}

fn does(group: Option<IpAddr>) -> String {
    group.map_or("answers on".to_owned(), |group| format!("sends to {group} on"))
}

#[allow(clippy::too_many_arguments)]
fn reason(
    label: &str,
    key: &ServiceKey,
    seen: &Seen<'_>,
    candidate: &Candidate,
    told: Option<(Timestamp, u64)>,
    against: &Aggravations,
    change: &Change,
    world: &World<'_>,
) -> String {
    let now = change.time;
    let port = format!("{}/{}", key.transport, key.port);
    let group = group(seen, change.flow.as_ref().or(candidate.flow.as_ref()));
    let does = does(group);
    let mut parts = vec![match told {
        None => format!("{label} {does} {port} for the first time"),
        Some((at, uses)) if uses > 0 => {
            format!("{label} still {does} {port}: {} since {}", count(uses, "more flow"), at.short())
        }
        Some((at, _)) => format!("{port} of {label}, told at {}, is recognised now", at.short()),
    }];
    parts.push(match world.baselines.profile(key.vm) {
        Some(p) => {
            let uses = p.services.values().map(|s| s.uses).sum();
            let watched_h = world.baselines.ripeness(key.vm, Feature::Services, now).tally.observed_h;
            let (flows, services) = (count(uses, "flow"), count(p.services.len() as u64, "learned service"));
            if uses == 0 {
                format!("it served nothing in {} before, with {} as a client", Hours(watched_h), count(p.flows, "flow"))
            } else {
                format!("{flows} to {services} in {} before", Hours(watched_h))
            }
        }
        None => "nothing was learned of this VM".to_owned(),
    });
    match (against.started, seen.basis.sight) {
        (Some(at), _) => parts.push(format!("it was started: a connection was refused at {}", at.short())),
        (None, Sight::Midstream) => {
            parts.push("its connection began before the capture, so it may have been there before".to_owned())
        }
        (None, Sight::Record) => {
            parts.push("only a flow record tells of it: no packet of it was seen here".to_owned());
        }
        (None, Sight::Whole) if group.is_some() => {
            parts.push("nobody else of its segment had sent to that group".to_owned());
        }
        (None, Sight::Whole) => parts.push("observed first: no earlier refusal tells when it was started".to_owned()),
    }
    if let Some(app) = seen.app {
        let product =
            app.product.as_ref().map(|p| format!(" ({p}{})", version(app.version.as_deref()))).unwrap_or_default();
        let likely = if app.proto.is_measured() { "" } else { "what looks like " };
        parts.push(format!("it speaks {likely}{}{product}", app.proto));
        if against.mismatch {
            parts.push(format!("{} is not what {port} is for", app.proto));
        }
    } else if matches!(key.transport, Transport::Tcp | Transport::Sctp) {
        parts.push("no known protocol was recognised".to_owned());
    }
    if let Some(case) = candidate.day0 {
        parts.push(case.text().to_owned());
    }
    if let Some(client) = candidate.client.filter(|_| group.is_none()) {
        let who = world.client_label(client);
        parts.push(match client.0 {
            Some(_) if against.stranger => format!("its first client {who} had never spoken to it"),
            _ => format!("its first client was {who}"),
        });
    }
    if let Some(sanction) = world.sanctions.expired(key, now) {
        let until = sanction.expires.map(|t| t.short()).unwrap_or_default();
        parts.push(format!("the sanction of {} expired at {until}", sanction.owner));
    }
    parts.join("; ")
}

fn version(version: Option<&str>) -> String {
    version.map(|v| format!(" {v}")).unwrap_or_default()
}

fn facts(seen: &Seen<'_>) -> Vec<(String, String)> {
    let mut facts = vec![
        ("evidence level".to_owned(), format!("{} of 4", seen.basis.level)),
        ("flows".to_owned(), seen.flows.to_string()),
        ("clients".to_owned(), seen.clients.to_string()),
        ("class".to_owned(), seen.class.to_string()),
    ];
    if let Some(at) = seen.basis.closed_at {
        facts.push(("refused before".to_owned(), at.to_string()));
    }
    match seen.basis.sight {
        Sight::Whole => {}
        Sight::Midstream => facts.push(("began before the capture".to_owned(), "yes".to_owned())),
        Sight::Record => facts.push(("known by a flow record only".to_owned(), "yes".to_owned())),
    }
    facts
}
