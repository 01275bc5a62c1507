//! Why something is, or is not, an incident: every condition that a judgement rests on, with its numbers.

use serde::Serialize;

use super::verdict::{self, Reason};
use super::{World, count, remote_access};
use crate::baseline::{Feature, Hours, Mode, Port, Ripeness};
use crate::inventory::Sight;
use crate::model::{Incident, IncidentState, ServiceKey, Timestamp, VmId};

/// The answer of `eastwatch why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub vm: VmId,
    /// `web-02 tcp/4444`, or the VM alone.
    pub subject: String,
    /// One sentence.
    pub verdict: String,
    /// The same as a code of a closed list, with what was measured.
    pub reason: Reason,
    /// What it rests on, in order of weight.
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub label: &'static str,
    pub value: String,
}

/// Explains a VM, or one service of it. `incidents` are those of this VM, in any state.
pub fn why(world: &World<'_>, vm: VmId, port: Option<Port>, incidents: &[&Incident], now: Timestamp) -> Explanation {
    let concerns = |i: &&&Incident| {
        port.is_none_or(|(t, p)| i.service.as_ref().is_some_and(|s| (s.0, s.1) == (t, p)) || i.detector == "new-vm")
    };
    let open: Vec<&Incident> =
        incidents.iter().filter(concerns).filter(|i| i.state != IncidentState::Resolved).copied().collect();
    let resolved = incidents.iter().filter(concerns).filter(|i| i.state == IncidentState::Resolved).count();
    let label = world.known.label(vm);
    let service = port.map(|(transport, port)| ServiceKey { vm, transport, port });
    let mut lines = Vec::new();
    let mut say = |label, value: String| lines.push(Line { label, value });

    for incident in &open {
        say("incident", format!("{} {} {}: {}", incident.id, incident.state, incident.severity, incident.reason));
        say("rank", format!("{} ({})", incident.ranking, incident.id));
    }
    if resolved > 0 {
        say("resolved before", count(resolved as u64, "incident"));
    }
    if let Some(key) = &service {
        say("learned", learned(world, key));
        say("sanctioned", sanctioned(world, key, now));
        for (label, value) in evidence(world, key) {
            say(label, value);
        }
    }
    say("mode", mode(world.mode()).to_owned());
    let ripeness = world.baselines.ripeness(vm, Feature::Services, now);
    let tally = ripeness.tally;
    say("services phase", phase(&ripeness));
    let peers = world.baselines.ripeness(vm, Feature::Peers, now);
    say("peers phase", phase(&peers));
    say("observed", format!("{} with {}", Hours(tally.observed_h), count(tally.flows, "answered flow")));
    say(
        "novelty",
        format!(
            "none for {} (at most {:.1} a day with 95 % confidence); {} seen once, missing mass {:.1} %, about {:.0} \
             still unseen",
            Hours(tally.quiet_h),
            ripeness.novelty_per_day(),
            count(tally.once, "service"),
            100.0 * ripeness.missing_mass(),
            ripeness.unseen(),
        ),
    );
    if let Some(profile) = world.baselines.profile(vm) {
        let names: Vec<String> = profile.services.keys().take(20).map(|(t, p)| format!("{t}/{p}")).collect();
        let more = profile.services.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        say("learned services", if names.is_empty() { "none".to_owned() } else { names.join(", ") + &more });
        say("learned peers", profile.peers.len().to_string());
    } else {
        say("baseline", "nothing was learned of this VM".to_owned());
    }
    say("role", role(world, vm));
    let reason = verdict::reason(world, vm, service.as_ref(), &open, now);
    let subject = port.map_or(label.clone(), |(t, p)| format!("{label} {t}/{p}"));
    Explanation { vm, subject, verdict: reason.text.clone(), reason, lines }
}

fn learned(world: &World<'_>, key: &ServiceKey) -> String {
    match world.baselines.service(key) {
        None => "no".to_owned(),
        Some(s) => format!(
            "yes, {} since {}{}",
            count(s.uses, "flow"),
            s.first_seen.short(),
            if s.provisional { ", provisional (of its first day, or while an incident was open)" } else { "" }
        ),
    }
}

fn role(world: &World<'_>, vm: VmId) -> String {
    match world.baselines.roles().of(vm) {
        None => "none: no other VM does the same".to_owned(),
        Some((id, role)) => format!(
            "{} ({id}) with {}{}",
            role.label(),
            count(role.members.len().saturating_sub(1) as u64, "other VM"),
            if role.ripe_since.is_some() { ", ripe" } else { "" }
        ),
    }
}

fn sanctioned(world: &World<'_>, key: &ServiceKey, now: Timestamp) -> String {
    let app = world.app(key);
    match (world.sanctions.covers(key, app.as_ref(), now), world.sanctions.expired(key, now)) {
        (Some(s), _) => {
            let ticket = s.ticket.as_ref().map(|t| format!(" ({t})")).unwrap_or_default();
            let until = s.expires.map(|t| format!(", until {}", t.short())).unwrap_or_default();
            format!("yes, by {}: {}{ticket}{until}", s.owner, s.reason)
        }
        (None, Some(s)) => format!("no longer: {}'s expired", s.owner),
        (None, None) => "no".to_owned(),
    }
}

fn evidence(world: &World<'_>, key: &ServiceKey) -> Vec<(&'static str, String)> {
    let Some(seen) = world.known.service(key) else { return vec![("seen", "never".to_owned())] };
    let app = seen.app.map(|a| a.proto.as_str());
    let mut out = vec![
        (
            "seen",
            format!(
                "{} from {}, last {}",
                count(seen.flows, "flow"),
                count(seen.clients, "client"),
                seen.last_seen.short()
            ),
        ),
        (
            "evidence level",
            format!(
                "{} of 4{}",
                seen.basis.level,
                match seen.basis.sight {
                    Sight::Whole => "",
                    Sight::Midstream => ", began before the capture",
                    Sight::Record => ", by a flow record only",
                }
            ),
        ),
        ("application", app.unwrap_or("not recognised").to_owned()),
    ];
    if let Some(at) = seen.basis.closed_at {
        out.push(("started since", format!("a connection was refused at {}", at.short())));
    }
    if remote_access::is_remote_access(key.transport, key.port, app) {
        out.push(("remote access", "yes".to_owned()));
    }
    out
}

fn phase(ripeness: &Ripeness) -> String {
    match ripeness.is_ripe() {
        true => "ripe".to_owned(),
        false => format!("learning, ripeness {:.2}: {ripeness}", ripeness.value),
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Auto => "auto: a VM is judged once it is ripe",
        Mode::Learn => "learn: nothing is judged",
        Mode::Enforce => "enforce: everything is judged by what was learned, ripe or not",
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Code;
    use super::super::world::{Lab, key, vm};
    use super::*;
    use crate::model::Transport;

    fn reason_of(lab: &Lab, port: u16) -> Reason {
        why(&lab.world(), vm(1), Some((Transport::Tcp, port)), &[], lab.now).reason
    }

    #[test]
    fn each_reason_for_silence_has_its_code_and_says_what_would_change_it() {
        let mut lab = Lab::new(Mode::Auto);
        let mut reached = vec![Code::IncidentOpen, Code::Announced];
        let mut is = |reason: Reason, code: Code, text: &str| {
            assert_eq!(reason.code, code, "{}", reason.text);
            assert!(reason.text.contains(text) && !reason.next.is_empty(), "{}", reason.text);
            reached.push(code);
        };
        lab.serve(key(1, 443), 3);
        is(reason_of(&lab, 443), Code::Learned, "part of the baseline");
        is(reason_of(&lab, 81), Code::NeverSeen, "ever seen");
        let whole = |lab: &Lab| why(&lab.world(), vm(1), None, &[], lab.now).reason;
        is(whole(&lab), Code::Learning, "waits for 22 h more and 27 flows");
        assert!(whole(&lab).next.contains("after 7 d more at the latest"), "{}", whole(&lab).next);
        assert_eq!(whole(&lab).threshold.as_deref(), Some("1.00"));
        lab.ripen(vm(1));
        is(whole(&lab), Code::AllKnown, "learned or sanctioned");
        lab.opens(key(1, 8_081), 3, 9);
        is(reason_of(&lab, 8_081), Code::NoPayload, "waits for payload");
        lab.opens(key(1, 8_082), 2, 9);
        is(reason_of(&lab, 8_082), Code::WeakEvidence, "level 2 of 4");
        lab.opens(key(1, 8_083), 4, 9);
        is(reason_of(&lab, 8_083), Code::NextUse, "its next use is judged");
        lab.known.taken_over.insert(key(1, 8_083));
        is(reason_of(&lab, 8_083), Code::TakenOver, "cluster");
        lab.known.joining.insert(key(1, 8_082));
        is(reason_of(&lab, 8_082), Code::JoinsGroup, "group");
        lab.sanction(vm(1), Some((Transport::Tcp, 8_081)));
        is(reason_of(&lab, 8_081), Code::Sanctioned, "sanctioned");
        lab.uses_source_ports(vm(1), 40_000);
        lab.opens(key(1, 40_001), 4, 9);
        is(reason_of(&lab, 40_001), Code::Ephemeral, "ephemeral range");
        lab.shows(key(1, 7_680));
        lab.known.set_app(key(1, 7_680), crate::model::AppInfo::new("msdo", None));
        is(reason_of(&lab, 7_680), Code::Sharing, "to its likes");
        let mut rpc = crate::model::AppInfo::new("dcerpc", None);
        rpc.detail("interfaces", "12345778-1234-abcd-ef00-0123456789ab");
        lab.serve(key(1, 49_700), 1);
        lab.learn_app(key(1, 49_700), rpc.clone());
        lab.shows(key(1, 49_701));
        lab.known.set_app(key(1, 49_701), rpc);
        is(reason_of(&lab, 49_701), Code::KnownInterface, "offered on others");
        lab.seat_together(&[2, 3, 4, 5], &[2, 3, 4], 9_100);
        lab.shows(key(5, 9_100));
        let usual = why(&lab.world(), vm(5), Some((Transport::Tcp, 9_100)), &[], lab.now).reason;
        is(usual, Code::UsualForRole, "of its role");
        lab.set_mode(Mode::Learn);
        is(whole(&lab), Code::ModeLearn, "judges nothing");
        // An open incident and an announced port are the brain's to know: tests/suite/queries.rs.
        reached.sort_unstable();
        reached.dedup();
        assert_eq!(reached.len(), Code::NextUse as usize + 1, "every code: {reached:?}");
    }
}
