//! `new-peer`: a VM whose use of others is ripe reached a service outside its learned peers. Low, and medium for
//! remote access, because clients change more than servers; a step more where the edge joins two parts of the network
//! that shared none in 28 days. Quiet for ordinary clients of what many, or half of their likes, use; towards names,
//! time and leases; towards what a VM brought along that has just arrived; and towards a service that is itself new
//! (`new-service` tells that story, client included).
//! Told edges are remembered up to `told_max`; the longest untouched is forgotten, and counted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::{Detect, Verdict, World, count, frames, peering, remote_access, role_flip, surprise};
use crate::baseline::{Feature, Hours};
use crate::inventory::{Change, What};
use crate::model::{Detector, DetectorId, Evidence, Finding, ServiceKey, Severity, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

pub static DETECTOR: Detector = Detector {
    signature_id: 5,
    name: "new-peer",
    signature: "A VM reached a service outside its learned peers",
    techniques: &["T1021", "T1570"],
};

static TOLD: Kind = Kind { tag: 0x2b, name: "new-peer memory", version: 1 };

/// Infrastructure that every VM may begin to use: proved by payload, never by port.
const INFRASTRUCTURE: &[&str] = &["dns", "ntp", "dhcp", "dhcpv6"];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// Clients that make a learned dns, ntp or dhcp server ubiquitous.
    pub ubiquitous_clients_min: u64,
    /// An edge that is used on is told again at most this often.
    pub again_s: i64,
    pub told_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { enabled: true, ubiquitous_clients_min: 8, again_s: 86_400, told_max: 32_768 }
    }
}

pub struct NewPeer {
    config: Config,
    told: Memory<(VmId, ServiceKey), Timestamp>,
}

impl NewPeer {
    pub fn new(config: Config) -> Self {
        let told = Memory::new(&TOLD, config.told_max);
        NewPeer { config, told }
    }

    fn is_ubiquitous(&self, service: &ServiceKey, world: &World<'_>) -> bool {
        let Some(seen) = world.known.service(service) else { return false };
        let infrastructure = seen.app.is_some_and(|a| INFRASTRUCTURE.contains(&a.proto.as_str()));
        infrastructure && seen.clients >= self.config.ubiquitous_clients_min && world.baselines.is_learned(service)
    }
}

impl Detect for NewPeer {
    fn detector(&self) -> DetectorId {
        &DETECTOR
    }

    fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> Verdict {
        let (client, service, server_ip) = match &change.what {
            What::PeerNew { client, service, server_ip, .. } => (*client, service, Some(*server_ip)),
            What::PeerUsed { client, service, .. } => (*client, service, change.flow.as_ref().map(|f| f.resp.ip)),
            _ => return Verdict::Learn,
        };
        let now = change.time;
        if world.baselines.is_learned_peer(client, service) || !world.baselines.judges(client, Feature::Peers, now) {
            return Verdict::Learn;
        }
        if world.sanctioned(service, now)
            || world.sanctions.covers_vm(client, now).is_some()
            || self.is_ubiquitous(service, world)
        {
            return Verdict::Learn;
        }
        let app = world.app(service);
        let admin = remote_access::is_remote_access(service.transport, service.port, app.as_ref().map(|a| a.as_str()));
        let usual = match admin {
            true => peering::is_granted(world, client, service, now),
            false => peering::is_ordinary(world, client, service) || world.is_settling(service.vm, now),
        };
        if usual && !world.is_news(client, service, now) {
            return Verdict::Learn;
        }
        let flipped = |f: &Finding| f.detector.signature_id == role_flip::DETECTOR.signature_id && f.vm == client;
        let edge = (client, *service);
        if out.last().is_some_and(flipped) {
            self.told.insert(edge, now, now);
            return Verdict::Withhold;
        }
        let told = self.told.get(&edge).is_some_and(|at| now.since_s(*at) < self.config.again_s as f64);
        if told || world.is_news(client, service, now) {
            return Verdict::Withhold;
        }
        self.told.insert(edge, now, now);

        let joins = world.baselines.joins_components(client, service.vm);
        let severity = match (admin, joins) {
            (false, false) => Severity::Low,
            (true, true) => Severity::High,
            _ => Severity::Medium,
        };
        let mut finding = world.finding(&DETECTOR, severity, change, client);
        let server = world.known.label(service.vm);
        let port = format!("{}/{}", service.transport, service.port);
        let peers = world.baselines.profile(client).map_or(0, |p| p.peers.len() as u64);
        let watched_h = world.baselines.ripeness(client, Feature::Peers, now).tally.observed_h;
        finding.title = format!("{} reached {port} of {server}", finding.vm_label);
        let before = if world.baselines.has_spoken(client, service) {
            format!("it used other services of {server} before")
        } else {
            format!("it had never spoken to {server}")
        };
        finding.reason = format!(
            "{} reached {port} of {server} for the first time; {} in {} before; {before}{}",
            finding.vm_label,
            count(peers, "learned peer edge"),
            Hours(watched_h),
            if joins { "; nothing joined its part of the network to the server's in 28 days" } else { "" },
        );
        finding.service = Some((service.transport, service.port, app));
        finding.peer = server_ip.map(|ip: IpAddr| (Some(service.vm), ip));
        finding.evidence = Evidence { frames: frames(change.flow.as_ref(), &[change.frame]), facts: Vec::new() };
        let measured = surprise::of_peer(client, admin, now, world);
        finding.surprise = measured.surprise;
        finding.evidence.facts.push(("surprise".to_owned(), measured.to_string()));
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
        out.push(("detect.new-peer.evicted", self.told.evicted()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::{Lab, app, key, vm};
    use super::*;
    use crate::baseline::Mode;

    fn reach(lab: &mut Lab, port: u16) -> Vec<Finding> {
        lab.reach(vm(1), key(2, port))
    }

    /// VM 1 is ripe as a client; VM 2 is ripe and serves 443 and 22.
    fn lab() -> Lab {
        let mut lab = Lab::new(Mode::Auto);
        lab.serve(key(2, 22), 40);
        lab.ripen(vm(2));
        lab.ripen(vm(1));
        lab
    }

    #[test]
    fn a_ripe_client_at_a_service_it_never_used_is_a_low_finding_told_once() {
        let mut lab = lab();
        let found = reach(&mut lab, 443);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].detector.name, found[0].severity), ("new-peer", Severity::Low));
        assert!(reach(&mut lab, 443).is_empty());
        assert!(!lab.baselines.is_learned_peer(vm(1), &key(2, 443)));
    }

    #[test]
    fn at_a_remote_access_port_it_is_medium() {
        assert_eq!(reach(&mut lab(), 22)[0].severity, Severity::Medium);
    }

    #[test]
    fn a_client_that_still_learns_is_not() {
        let mut lab = lab();
        assert!(lab.reach(vm(5), key(2, 443)).is_empty());
        assert!(lab.baselines.is_learned_peer(vm(5), &key(2, 443)));
    }

    #[test]
    fn a_dns_server_of_many_is_quiet_and_one_of_few_is_not() {
        let mut lab = lab();
        lab.known.set_app(key(2, 443), app("dns", "", ""));
        lab.known.set_clients(key(2, 443), 8);
        assert!(reach(&mut lab, 443).is_empty());
        let mut few = super::tests::lab();
        few.known.set_app(key(2, 443), app("dns", "", ""));
        few.known.set_clients(key(2, 443), 7);
        assert_eq!(reach(&mut few, 443).len(), 1);
    }

    #[test]
    fn what_an_arrived_vm_brought_along_may_be_reached_in_its_first_day_and_remote_access_is_told() {
        let mut lab = lab();
        lab.known.arrived.insert(vm(3));
        for port in [8_080, 22] {
            lab.shows(key(3, port));
        }
        assert!(lab.reach(vm(1), key(3, 8_080)).is_empty());
        assert_eq!(lab.reach(vm(1), key(3, 22))[0].severity, Severity::Medium);
        lab.shows(key(4, 8_080));
        assert_eq!(lab.reach(vm(1), key(4, 8_080)).len(), 1, "one that booted is another matter");
    }

    #[test]
    fn a_sanctioned_service_may_be_reached_by_anyone() {
        let mut lab = lab();
        lab.sanction(vm(2), Some((crate::model::Transport::Tcp, 443)));
        assert!(reach(&mut lab, 443).is_empty());
    }
}
