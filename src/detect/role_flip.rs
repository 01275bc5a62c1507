//! `role-flip`: a server begins to act as a client on its own service port: it serves SMB, never used anyone's, and now
//! opens it on others. The mark of a worm, whose victims become its sources (detection.md 2.1, D3). That a mere client
//! begins to serve is `new-service`, which says so.
//!
//! Quiet where both sides are usual on a port: gossip, clusters whose role uses it, and ports of which many servers are
//! clients, too. Told edges are remembered up to `told_max`; the longest untouched is forgotten, and counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::{Detect, Verdict, World, count, familiar, frames, remote_access};
use crate::baseline::{Feature, Hours, Port};
use crate::inventory::{Change, What};
use crate::model::{Detector, DetectorId, Evidence, Finding, ServiceClass, ServiceKey, Severity, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

pub static DETECTOR: Detector = Detector {
    signature_id: 6,
    name: "role-flip",
    signature: "A server began to act as a client on its own service port",
    techniques: &["T1021", "T1210"],
};

static TOLD: Kind = Kind { tag: 0x4b, name: "role-flip memory", version: 1 };

/// How many serve a port and use it, too, is counted at most once an hour for each of so many ports.
const COUNTED_S: i64 = 3_600;
const PORTS_MAX: usize = 256;
/// Servers of HTTP and TLS call each other by what people deploy, and of what is not recognised nobody knows: there it
/// takes more servers that never did.
const WEB: &[&str] = &["http", "http2", "websocket", "tls", "quic"];
const WEB_SHARE_MAX: f64 = 0.1;
/// Services by which servers ask others of their kind: forwarders, relays, strata, replicas.
const RELAYED: &[&str] = &["dns", "ntp", "dhcp", "dhcpv6", "smtp", "ldap", "krb5", "syslog"];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// Quiet where the share of a port's other servers that use it, too, may be larger: (both + 1) / (servers + 2).
    pub share_max: f64,
    /// An edge that is used on is told again at most this often.
    pub again_s: i64,
    pub told_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { enabled: true, share_max: 0.34, again_s: 86_400, told_max: 8_192 }
    }
}

pub struct RoleFlip {
    config: Config,
    told: Memory<(VmId, ServiceKey), Timestamp>,
    /// Servers of a port, and those of them that use it; forgotten as a whole when full.
    counted: BTreeMap<Port, (Timestamp, Both)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Both {
    servers: u32,
    both: u32,
}

impl RoleFlip {
    pub fn new(config: Config) -> Self {
        let told = Memory::new(&TOLD, config.told_max);
        RoleFlip { config, told, counted: BTreeMap::new() }
    }

    fn is_usual(&mut self, vm: VmId, service: &ServiceKey, world: &World<'_>, now: Timestamp) -> bool {
        let port = (service.transport, service.port);
        let own = ServiceKey { vm, ..*service };
        let symmetric = [&own, service]
            .into_iter()
            .any(|key| world.known.service(key).is_some_and(|seen| seen.class != ServiceClass::Unicast));
        let roles = world.baselines.roles();
        // One compromised member must not make it usual for the others.
        let likes = roles.of(vm).map_or(0, |(_, role)| role.members.len());
        let by_role = roles.share_using(vm, port).is_some_and(|share| share >= 0.25 && share * likes as f64 >= 2.0);
        let app = world.app(&own).or_else(|| world.app(service));
        let is = |list: &[&str]| app.as_ref().is_some_and(|app| list.contains(&app.as_str()));
        let sharing = world.known.service(service).and_then(|seen| seen.app).is_some_and(familiar::is_sharing);
        if symmetric || by_role || sharing || is(RELAYED) {
            return true;
        }
        let Both { servers, both } = self.count(vm, port, world, now);
        let admin = remote_access::is_remote_access(port.0, port.1, app.as_ref().map(|app| app.as_str()));
        let share_max = if is(WEB) || (app.is_none() && !admin) {
            WEB_SHARE_MAX.min(self.config.share_max)
        } else {
            self.config.share_max
        };
        f64::from(both + 1) / f64::from(servers + 2) > share_max
    }

    /// The servers of a port without `vm` itself, which only serves.
    fn count(&mut self, vm: VmId, port: Port, world: &World<'_>, now: Timestamp) -> Both {
        let known = self.counted.get(&port).filter(|(at, _)| now < at.plus_s(COUNTED_S)).map(|(_, both)| *both);
        let both = known.unwrap_or_else(|| {
            let mut both = Both::default();
            let servers = world.baselines.profiles().filter(|(_, p)| p.services.get(&port).is_some_and(|s| !s.weak));
            for (_, profile) in servers {
                both.servers = both.servers.saturating_add(1);
                both.both = both.both.saturating_add(u32::from(profile.uses_port(port)));
            }
            if self.counted.len() >= PORTS_MAX {
                self.counted.clear();
            }
            self.counted.insert(port, (now, both));
            both
        });
        let itself = world.baselines.profile(vm).is_some_and(|p| p.services.contains_key(&port));
        Both { servers: both.servers.saturating_sub(u32::from(itself)), ..both }
    }
}

impl Detect for RoleFlip {
    fn detector(&self) -> DetectorId {
        &DETECTOR
    }

    fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> Verdict {
        let (What::PeerNew { client, service, .. } | What::PeerUsed { client, service, .. }) = &change.what else {
            return Verdict::Learn;
        };
        let (vm, now, port) = (*client, change.time, (service.transport, service.port));
        let Some(profile) = world.baselines.profile(vm) else { return Verdict::Learn };
        let Some(own) = profile.services.get(&port).filter(|own| !own.weak) else { return Verdict::Learn };
        if vm == service.vm || profile.uses_port(port) || !world.baselines.judges(vm, Feature::Uses, now) {
            return Verdict::Learn;
        }
        let sanctioned = world.sanctioned(service, now) || world.sanctions.covers_vm(vm, now).is_some();
        if sanctioned || world.is_unsanctioned(service, now) || self.is_usual(vm, service, world, now) {
            return Verdict::Learn;
        }
        let edge = (vm, *service);
        if self.told.get(&edge).is_some_and(|at| now.since_s(*at) < self.config.again_s as f64) {
            return Verdict::Withhold;
        }
        self.told.insert(edge, now, now);

        let app = world.app(service);
        let mut finding = world.finding(&DETECTOR, Severity::Medium, change, vm);
        let server = world.known.label(service.vm);
        let shown = format!("{}/{}", service.transport, service.port);
        let Both { servers, both } = self.count(vm, port, world, now);
        let watched_h = world.baselines.ripeness(vm, Feature::Uses, now).tally.observed_h;
        finding.title = format!("{} serves {shown} and now uses it, at {server}", finding.vm_label);
        let admin = remote_access::is_remote_access(service.transport, service.port, app.as_ref().map(|a| a.as_str()));
        finding.reason = format!(
            "{} served {shown} in {} and had never been a client of it in {}; now it opened it at {server}; {both} of {} \
             of the port are clients of it, too{}",
            finding.vm_label,
            count(own.uses, "flow"),
            Hours(watched_h),
            count(u64::from(servers), "other server"),
            if admin { "; it gives control of the machine" } else { "" },
        );
        finding.service = Some((service.transport, service.port, app));
        let ip = match &change.what {
            What::PeerNew { server_ip, .. } => Some(*server_ip),
            _ => change.flow.as_ref().map(|flow| flow.resp.ip),
        };
        finding.peer = ip.map(|ip| (Some(service.vm), ip));
        finding.evidence = Evidence { frames: frames(change.flow.as_ref(), &[change.frame]), facts: Vec::new() };
        out.push(finding);
        Verdict::Withhold
    }

    fn merged(&mut self, _kept: VmId, gone: VmId) {
        self.told.forget(|(client, service)| *client == gone || service.vm == gone);
    }

    fn save(&mut self, batch: &mut Batch) {
        self.told.save(batch);
    }

    fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.told.load(store)
    }

    fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        out.push(("detect.role-flip.evicted", self.told.evicted()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::{Lab, app, key, vm};
    use super::*;
    use crate::baseline::Mode;

    /// VMs 1, 2 and 3 are ripe and serve 445; none is a client of it.
    fn lab() -> Lab {
        let mut lab = Lab::new(Mode::Auto);
        (1..=3).for_each(|n| lab.serve(key(n, 445), 40));
        for _ in 0..60 {
            lab.after_s(1_800);
            (1..=3).for_each(|n| lab.knows(vm(n), key(99, 5_432)));
        }
        lab
    }

    fn flips(found: &[Finding]) -> usize {
        found.iter().filter(|f| f.detector.name == "role-flip").count()
    }

    #[test]
    fn a_file_server_that_opens_smb_on_another_is_one_finding_and_no_new_peer_besides() {
        let mut lab = lab();
        let found = lab.reach(vm(1), key(2, 445));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].detector.name, found[0].severity), ("role-flip", Severity::Medium));
        assert!(found[0].reason.contains("had never been a client of it"), "{}", found[0].reason);
        assert!(!lab.baselines.is_learned_peer(vm(1), &key(2, 445)));
        assert_eq!(flips(&lab.reach(vm(1), key(2, 445))), 0, "told once");
        assert_eq!(flips(&lab.reach(vm(1), key(3, 445))), 1, "the next victim");
    }

    #[test]
    fn a_client_of_a_port_that_it_does_not_serve_flips_nothing() {
        let mut lab = lab();
        lab.shows(key(9, 22));
        assert_eq!(flips(&lab.reach(vm(1), key(9, 22))), 0);
    }

    #[test]
    fn where_servers_are_clients_of_the_port_it_is_usual() {
        let mut lab = lab();
        for n in 11..=14 {
            lab.serve(key(n, 445), 3);
            lab.knows(vm(n), key(2, 445));
        }
        assert_eq!(flips(&lab.reach(vm(1), key(2, 445))), 0);
    }

    #[test]
    fn a_forwarder_and_one_of_few_web_servers_are_usual() {
        for proto in ["dns", "http"] {
            let mut lab = lab();
            lab.known.set_app(key(1, 445), app(proto, "", ""));
            assert_eq!(flips(&lab.reach(vm(1), key(2, 445))), 0, "{proto}");
        }
    }

    #[test]
    fn one_that_still_learns_is_not_judged() {
        let mut lab = lab();
        lab.serve(key(50, 445), 3);
        assert_eq!(flips(&lab.reach(vm(50), key(2, 445))), 0);
    }
}
