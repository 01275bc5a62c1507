//! The one condition that decides whether something is an incident: a reason code from a closed list, what was
//! measured, the threshold it is held against, and the next event that would change the verdict.

use serde::Serialize;

use super::{Seen, World, familiar};
use crate::baseline::{Feature, Hours, Mode};
use crate::inventory::Sight;
use crate::model::{Incident, ServiceKey, Timestamp, VmId};

/// Why something is, or is not, an incident. Scripts hold on to these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// An incident is open.
    IncidentOpen,
    /// A person or an inventory approved it.
    Sanctioned,
    /// It is part of the VM's baseline.
    Learned,
    /// At least half of the VMs of its role serve it.
    UsualForRole,
    /// It is a dynamic port of RPC, of interfaces that the VM offered on others.
    KnownInterface,
    /// It hands content to its likes, and waits for company.
    Sharing,
    /// It came with an address of a cluster.
    TakenOver,
    /// It only sends to a group that others sent to before.
    JoinsGroup,
    /// Another service announced the port; it is judged as part of that one.
    Announced,
    /// Mode `learn` judges nothing.
    ModeLearn,
    /// The VM is not ripe.
    Learning,
    /// No packet ever showed it.
    NeverSeen,
    /// Too weak a proof for a finding.
    WeakEvidence,
    /// It lies in the VM's own ephemeral range and has not lasted.
    Ephemeral,
    /// A handshake was seen, and no payload from the server.
    NoPayload,
    /// Everything the VM serves is learned or approved.
    AllKnown,
    /// Neither learned nor approved: its next use is judged.
    NextUse,
}

/// The verdict, in words and in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub code: Code,
    #[serde(skip)]
    pub text: String,
    pub measured: Option<String>,
    pub threshold: Option<String>,
    /// What would change the verdict.
    pub next: String,
}

impl Reason {
    pub fn new(code: Code, text: impl Into<String>, next: impl Into<String>) -> Self {
        Reason { code, text: text.into(), measured: None, threshold: None, next: next.into() }
    }

    fn held(mut self, measured: impl Into<String>, threshold: impl Into<String>) -> Self {
        (self.measured, self.threshold) = (Some(measured.into()), Some(threshold.into()));
        self
    }
}

/// The first condition that decides.
pub(super) fn reason(
    world: &World<'_>,
    vm: VmId,
    service: Option<&ServiceKey>,
    open: &[&Incident],
    now: Timestamp,
) -> Reason {
    if let Some(incident) = open.first() {
        let text = format!("an incident is open: {}", incident.title);
        return Reason::new(Code::IncidentOpen, text, "a person resolves it, or sanctions what it is about")
            .held(incident.severity.to_string(), "info");
    }
    let Some(key) = service else { return whole(world, vm, now) };
    let Some(seen) = world.known.service(key) else {
        let text = "no incident: no such service was ever seen";
        return Reason::new(Code::NeverSeen, text, "its first answered connection").held("0 answers", "1 answer");
    };
    known(world, key, &seen, now).unwrap_or_else(|| waiting(world, key, &seen, now))
}

fn whole(world: &World<'_>, vm: VmId, now: Timestamp) -> Reason {
    match world.baselines.judges(vm, Feature::Services, now) {
        true => Reason::new(
            Code::AllKnown,
            "no incident: everything it serves is learned or sanctioned",
            "a service that is neither",
        ),
        false if world.mode() == Mode::Learn => mode_learn(),
        false => learning(world, vm, "no incident: it still learns", now),
    }
}

/// It is explained.
fn known(world: &World<'_>, key: &ServiceKey, seen: &Seen<'_>, now: Timestamp) -> Option<Reason> {
    if world.sanctioned(key, now) {
        let app = world.app(key);
        let until = world.sanctions.covers(key, app.as_ref(), now).and_then(|s| s.expires);
        let next = until.map_or("the sanction is removed".to_owned(), |at| format!("the sanction expires at {at}"));
        return Some(Reason::new(Code::Sanctioned, "no incident: it is sanctioned", next));
    }
    if let Some(learned) = world.baselines.service(key) {
        let text = match learned.provisional {
            false => "no incident: it is part of the baseline",
            true => "no incident: it is part of the baseline, provisionally",
        };
        return Some(
            Reason::new(Code::Learned, text, "another application, product, host key or issuer on the port")
                .held(super::count(learned.uses, "use"), "1 use"),
        );
    }
    if world.is_usual(key) {
        let share = world.baselines.roles().share_serving(key.vm, (key.transport, key.port)).unwrap_or_default();
        let text = format!("no incident: {:.0} % of the VMs of its role serve it", share * 100.0);
        return Some(
            Reason::new(Code::UsualForRole, text, "less than half of its role serve it")
                .held(format!("{share:.2}"), "0.50"),
        );
    }
    if let Some(app) = seen.app.filter(|app| world.baselines.is_known_interface(key, app)) {
        let text = "no incident: it is a dynamic port of RPC, of interfaces that the VM offered on others before";
        let interfaces = app.get("interfaces").unwrap_or_default();
        return Some(
            Reason::new(Code::KnownInterface, text, "an interface that the VM never offered")
                .held(interfaces, "known interfaces"),
        );
    }
    if world.known.taken_over(key) {
        let text = "no incident: it came with an address of a cluster, from a VM that served the same";
        return Some(Reason::new(Code::TakenOver, text, "it is served on an address of the VM's own"));
    }
    if seen.joins_known_group {
        let text = "no incident: it only sends to a group that others of its segment sent to before";
        return Some(Reason::new(Code::JoinsGroup, text, "it sends to another group"));
    }
    None
}

/// It is not explained, and yet no incident.
fn waiting(world: &World<'_>, key: &ServiceKey, seen: &Seen<'_>, now: Timestamp) -> Reason {
    if world.mode() == Mode::Learn {
        return mode_learn();
    }
    if !world.baselines.judges(key.vm, Feature::Services, now) {
        return learning(world, key.vm, "no incident: the VM still learns", now);
    }
    if seen.app.is_some_and(familiar::is_sharing) {
        let text = "no incident yet: it hands content to its likes, which others have a day to do, too";
        let alone_s = now.since_s(seen.first_seen);
        return Reason::new(Code::Sharing, text, "a day without any other VM that does")
            .held(Hours(alone_s / 3_600.0).to_string(), "24 h");
    }
    let level = seen.basis.level;
    if level < 3 && seen.basis.sight == Sight::Whole {
        let text = format!("no incident yet: the evidence is level {level} of 4, a finding takes 3");
        return Reason::new(Code::WeakEvidence, text, "a handshake or an answer to another client")
            .held(level.to_string(), "3");
    }
    if world.baselines.profile(key.vm).is_some_and(|p| p.is_ephemeral(key.port)) {
        let text = "no incident yet: the port lies in the VM's own ephemeral range, it waits for a second use";
        return Reason::new(Code::Ephemeral, text, "a second use, 60 s of life or 64 KiB").held(
            format!("{}, {} bytes", super::count(seen.flows, "use"), seen.bytes),
            "2 uses, 60 s or 65536 bytes".to_owned(),
        );
    }
    if level < 4 {
        let text = "no incident yet: a handshake was seen, it waits for payload";
        return Reason::new(Code::NoPayload, text, "the first payload of the server").held(level.to_string(), "4");
    }
    let text = "no incident open: it is neither learned nor sanctioned, its next use is judged";
    Reason::new(Code::NextUse, text, "its next use")
}

fn mode_learn() -> Reason {
    Reason::new(Code::ModeLearn, "no incident: mode learn judges nothing", "mode auto or enforce")
}

fn learning(world: &World<'_>, vm: VmId, text: &str, now: Timestamp) -> Reason {
    let ripeness = world.baselines.ripeness(vm, Feature::Services, now);
    let next = format!("it is ripe: after {} more at the latest, if nothing new comes", Hours(ripeness.latest_h));
    Reason::new(Code::Learning, format!("{text}, {ripeness}"), next).held(format!("{:.2}", ripeness.value), "1.00")
}
