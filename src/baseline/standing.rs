//! Where a service stands among what its VM and the likes of it do: the first that a client ever served, one that no
//! other member of its role serves, or one that no other VM serves at all. Nothing is kept; at most [`MEMBERS_ASKED`]
//! members and [`VMS_ASKED`] VMs are asked.

use std::ops::Bound;

use super::collection::Baselines;
use super::profile::{LearnedService, Port};
use super::watched::hours;
use crate::model::{ServiceKey, Timestamp, VmId};

/// With fewer members one odd service is a fifth of the role and more.
const OUTLIER_MEMBERS_MIN: usize = 5;
const MEMBERS_ASKED: usize = 1_024;
const VMS_ASKED: usize = 4_096;
/// Used less often it is no service yet.
const LONE_USES_MIN: u64 = 3;

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
        if !self.roles().is_ripe(service.vm) || !role.has_job() || members < OUTLIER_MEMBERS_MIN || passing {
            return None;
        }
        let serves = |vm: &VmId| self.profile(*vm).is_some_and(|p| p.services.contains_key(&port));
        let others = role.members.iter().filter(|vm| **vm != service.vm);
        (!others.take(MEMBERS_ASKED).any(serves)).then_some(members)
    }

    /// Was it there in its VM's first day, or came while an incident was open, and is used since; did nothing recognise
    /// it, and does no other VM serve the port? Only of a VM that was watched for a day.
    pub fn is_lone(&self, service: &ServiceKey, now: Timestamp) -> bool {
        let Some(profile) = self.profile(service.vm) else { return false };
        let port: Port = (service.transport, service.port);
        let lasting = |learned: &LearnedService| {
            learned.provisional && !learned.weak && learned.uses >= LONE_USES_MIN && learned.identity.is_empty()
        };
        let watched_h = hours(profile.born_ns, self.site.watched.at(now));
        if watched_h < self.config().observe_h_min
            || profile.is_ephemeral(service.port)
            || !profile.services.get(&port).is_some_and(lasting)
        {
            return false;
        }
        let others = self.profiles().filter(|(vm, _)| *vm != service.vm).take(VMS_ASKED);
        !others.map(|(_, other)| other).any(|other| other.services.get(&port).is_some_and(|l| !l.weak))
    }
}
