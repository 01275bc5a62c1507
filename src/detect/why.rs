//! Why something is, or is not, an incident: every condition that a judgement rests on, with its numbers.

use serde::Serialize;

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
            "none for {} (at most {:.1} a day with 95 % confidence); {} seen once, missing mass {:.1} %",
            Hours(tally.quiet_h),
            ripeness.novelty_per_day(),
            count(tally.once, "service"),
            100.0 * ripeness.missing_mass()
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
    let verdict = verdict(world, vm, service.as_ref(), &open, now);
    let subject = port.map_or(label.clone(), |(t, p)| format!("{label} {t}/{p}"));
    Explanation { vm, subject, verdict, lines }
}

/// The first condition that decides.
fn verdict(world: &World<'_>, vm: VmId, service: Option<&ServiceKey>, open: &[&Incident], now: Timestamp) -> String {
    if let Some(incident) = open.first() {
        return format!("an incident is open: {}", incident.title);
    }
    let Some(key) = service else {
        return match world.baselines.judges(vm, Feature::Services, now) {
            true => "no incident: everything it serves is learned or sanctioned".to_owned(),
            false if world.mode() == Mode::Learn => "no incident: mode learn judges nothing".to_owned(),
            false => format!("no incident: it still learns, {}", world.baselines.ripeness(vm, Feature::Services, now)),
        };
    };
    let Some(seen) = world.known.service(key) else {
        return "no incident: no such service was ever seen".to_owned();
    };
    if world.sanctioned(key, now) {
        "no incident: it is sanctioned".to_owned()
    } else if world.baselines.is_learned(key) {
        "no incident: it is part of the baseline".to_owned()
    } else if !world.baselines.judges(vm, Feature::Services, now) {
        format!("no incident: the VM still learns, {}", world.baselines.ripeness(vm, Feature::Services, now))
    } else if seen.basis.level < 3 {
        format!("no incident yet: the evidence is level {} of 4, a finding takes 3", seen.basis.level)
    } else if world.baselines.profile(vm).is_some_and(|p| p.is_ephemeral(key.port)) {
        "no incident yet: the port lies in the VM's own ephemeral range, it waits for a second use".to_owned()
    } else if seen.basis.level < 4 {
        "no incident yet: a handshake was seen, it waits for payload".to_owned()
    } else {
        "no incident open: it is neither learned nor sanctioned, its next use is judged".to_owned()
    }
}

fn learned(world: &World<'_>, key: &ServiceKey) -> String {
    match world.baselines.service(key) {
        None => "no".to_owned(),
        Some(s) => format!(
            "yes, {} since {}{}",
            count(s.uses, "flow"),
            s.first_seen.short(),
            if s.provisional { ", provisional (first day of the VM)" } else { "" }
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
    use super::super::world::{Lab, key, vm};
    use super::*;
    use crate::model::Transport;

    fn verdict_of(lab: &Lab, port: u16) -> String {
        why(&lab.world(), vm(1), Some((Transport::Tcp, port)), &[], lab.now).verdict
    }

    #[test]
    fn each_reason_for_silence_is_named() {
        let mut lab = Lab::new(Mode::Auto);
        lab.serve(key(1, 443), 3);
        assert!(verdict_of(&lab, 443).contains("part of the baseline"));
        assert!(verdict_of(&lab, 81).contains("ever seen"));
        let whole = why(&lab.world(), vm(1), None, &[], lab.now);
        assert!(whole.verdict.contains("waits for 22 h more and 27 flows"), "{}", whole.verdict);
        lab.ripen(vm(1));
        lab.opens(key(1, 8_081), 3, 9);
        assert!(verdict_of(&lab, 8_081).contains("waits for payload"));
        lab.sanction(vm(1), Some((Transport::Tcp, 8_081)));
        assert!(verdict_of(&lab, 8_081).contains("sanctioned"));
    }
}
