//! Where a service stands among what its VM and the likes of it do: the first that a client ever served, or one that
//! no other member of its role serves. Nothing is kept; at most [`MEMBERS_ASKED`] members are asked.

use std::ops::Bound;

use super::collection::Baselines;
use super::profile::Port;
use super::watched::hours;
use crate::model::{ServiceKey, Timestamp, VmId};

/// With fewer members one odd service is a fifth of the role and more.
const OUTLIER_MEMBERS_MIN: usize = 5;
const MEMBERS_ASKED: usize = 1_024;

impl Baselines {
    /// Hours for which this VM was watched as a client that served nothing before this service; `None` where it was no
    /// client, or served before.
    pub fn client_only_h(&self, service: &ServiceKey, now: Timestamp) -> Option<f64> {
        let profile = self.profile(service.vm)?;
        let port = (service.transport, service.port);
        if profile.peers.is_empty() || profile.firm_services().any(|other| other != port) {
            return None;
        }
        let learned = profile.services.get(&port).map(|learned| learned.learned_ns);
        Some(hours(profile.born_ns, learned.unwrap_or_else(|| self.site.watched.at(now))))
    }

    /// Hours that the probe has watched so far.
    pub fn watched_h(&self) -> f64 {
        hours(0, self.site.watched.read())
    }

    /// At most `n` VMs that follow `vm`, in order; from the beginning without one.
    pub fn profiles_after(&self, vm: Option<VmId>, n: usize) -> Vec<VmId> {
        let from = vm.map_or(Bound::Unbounded, Bound::Excluded);
        self.profiles.range((from, Bound::Unbounded)).take(n).map(|(vm, _)| *vm).collect()
    }

    /// Is it provisional, of a member of a ripe role, and served by no other member? Of how many.
    pub fn outlier_of(&self, service: &ServiceKey) -> Option<usize> {
        let (_, role) = self.roles().of(service.vm)?;
        let port: Port = (service.transport, service.port);
        let profile = self.profile(service.vm)?;
        let learned = profile.services.get(&port).filter(|learned| learned.provisional && !learned.weak)?;
        let members = role.members.len();
        let passing = profile.is_ephemeral(service.port) || learned.uses == 0;
        if !self.roles().is_ripe(service.vm) || members < OUTLIER_MEMBERS_MIN || passing {
            return None;
        }
        let serves = |vm: &VmId| self.profile(*vm).is_some_and(|p| p.services.contains_key(&port));
        let others = role.members.iter().filter(|vm| **vm != service.vm);
        (!others.take(MEMBERS_ASKED).any(serves)).then_some(members)
    }
}
