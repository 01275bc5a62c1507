//! Arrivals: a VM that turns up later with connections under way, or with a hypervisor's RARP, has come from a host that
//! we do not see. A gratuitous ARP alone says nothing: a guest that boots sends one too.
//!
//! RARPs of MACs that are no VM yet are remembered for [`FRESH_S`], at most [`HERALDS_MAX`]; further ones are not.

use std::collections::BTreeMap;

use super::table::Inventory;
use crate::model::{Claim, ClaimKind, FlowRef, Mac, Segment, Timestamp, VmId};

/// What a VM shows in its first seconds tells whether it arrived or booted.
const FRESH_S: f64 = 10.0;
const HERALDS_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// When this state's first packet was: what was there then has not arrived.
    pub begun: Timestamp,
    heralds: BTreeMap<(Mac, Segment), Timestamp>,
}

impl Arrivals {
    pub fn since(begun: Timestamp) -> Self {
        Arrivals { begun, ..Arrivals::default() }
    }
}

impl Inventory {
    /// A connection was picked up in its middle: either end may have brought it.
    pub(super) fn underway(&mut self, flow: &FlowRef, now: Timestamp) {
        for ip in [flow.orig.ip, flow.resp.ip] {
            if let Some(vm) = self.holder(flow.segment, ip) {
                self.arrives(vm, now);
            }
        }
    }

    /// What hypervisors broadcast for a VM that has moved; it claims no address.
    pub(super) fn heralded(&mut self, claim: &Claim, now: Timestamp) {
        if claim.kind != ClaimKind::Announces || claim.ip.is_some() || !claim.mac.is_unicast() {
            return;
        }
        let key = (claim.mac, claim.segment);
        if let Some(vm) = self.identity.stations.get(&key).and_then(|station| station.vm) {
            self.arrives(vm, now);
            return;
        }
        let heralds = &mut self.arrivals.heralds;
        if heralds.len() >= HERALDS_MAX {
            heralds.retain(|_, at| now.since_s(*at) <= FRESH_S);
        }
        if heralds.len() < HERALDS_MAX {
            heralds.insert(key, now);
        }
    }

    /// A VM is seen for the first time: was it announced a moment before?
    pub(super) fn was_heralded(&mut self, vm: VmId, now: Timestamp) {
        let Some(known) = self.identity.vms.get(&vm) else { return };
        let keys: Vec<(Mac, Segment)> =
            known.nics.iter().filter_map(|nic| nic.mac.map(|mac| (mac, nic.segment))).collect();
        let heralded =
            |key: &(Mac, Segment)| self.arrivals.heralds.get(key).is_some_and(|at| now.since_s(*at) <= FRESH_S);
        if keys.iter().any(heralded) {
            self.arrives(vm, now);
        }
    }

    fn arrives(&mut self, vm: VmId, now: Timestamp) {
        let begun = self.arrivals.begun;
        let fresh = |first: Timestamp| now.since_s(first) <= FRESH_S && first.since_s(begun) > FRESH_S;
        if self.identity.vms.get(&vm).is_some_and(|known| !known.arrived && fresh(known.first_seen))
            && let Some(known) = self.identity.vms.change(&vm)
        {
            known.arrived = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use crate::model::{Claim, ClaimKind, Fact, FlowFact, Opening, Transport};

    fn arrived(scene: &Scene, ip: &str) -> bool {
        let found = scene.inventory.find(ip);
        scene.inventory.vm(found[0]).is_some_and(|vm| vm.arrived)
    }

    /// A state in which others were long before.
    fn later() -> Scene {
        let mut scene = Scene::new();
        let old = scene.flow(Transport::Tcp, ("10.0.0.1", 40_000, 1), ("10.0.0.2", 443, 2));
        scene.tell(&old, FlowFact::Attempt(Opening::Midstream));
        scene.tell(&old, FlowFact::Answer);
        scene.now_s += 3_600;
        scene
    }

    #[test]
    fn a_client_whose_connection_was_under_way_has_arrived_and_those_of_the_beginning_have_not() {
        let mut scene = later();
        let flow = scene.flow(Transport::Tcp, ("10.0.0.3", 40_000, 3), ("10.0.0.2", 443, 2));
        scene.tell(&flow, FlowFact::Attempt(Opening::Midstream));
        assert!(arrived(&scene, "10.0.0.3"));
        assert!(!arrived(&scene, "10.0.0.1"));
    }

    #[test]
    fn one_that_opens_its_connections_has_booted_whatever_is_under_way_later() {
        let mut scene = later();
        let flow = scene.flow(Transport::Tcp, ("10.0.0.3", 40_000, 3), ("10.0.0.2", 443, 2));
        scene.tell(&flow, FlowFact::Attempt(Opening::Syn));
        scene.now_s += 60;
        let flow = scene.flow(Transport::Tcp, ("10.0.0.3", 40_001, 3), ("10.0.0.2", 443, 2));
        scene.tell(&flow, FlowFact::Attempt(Opening::Midstream));
        assert!(!arrived(&scene, "10.0.0.3"));
    }

    #[test]
    fn a_rarp_is_an_arrival_and_a_gratuitous_arp_is_a_boot() {
        for (ip, expected) in [(None, true), (Some("10.0.0.3"), false)] {
            let mut scene = later();
            let claim = Claim {
                kind: ClaimKind::Announces,
                mac: "52:54:00:00:00:03".parse().unwrap(),
                ip: ip.map(|ip| ip.parse().unwrap()),
                segment: "-".parse().unwrap(),
                host_hint: None,
                path: Default::default(),
                echo: false,
            };
            scene.fact(Fact::Claim(claim));
            let mut flow = scene.flow(Transport::Tcp, ("10.0.0.3", 40_000, 3), ("10.0.0.2", 443, 2));
            flow.orig.mac = Some("52:54:00:00:00:03".parse().unwrap());
            scene.tell(&flow, FlowFact::Attempt(Opening::Syn));
            assert_eq!(arrived(&scene, "10.0.0.3"), expected, "{ip:?}");
        }
    }
}
