//! What the likes of a VM serve on a port, and to whom; and whether a port is one more of something that the VM serves
//! already. Nothing is kept; at most [`LIKES_ASKED`] members of a role and [`SERVERS_ASKED`] VMs are asked.

use super::collection::Baselines;
use super::identity::interfaces;
use super::profile::Port;
use super::watched::hours;
use crate::model::{AppInfo, ServiceKey, VmId};

const LIKES_ASKED: usize = 512;
const SERVERS_ASKED: usize = 4_096;
/// Fewer that serve the same say nothing: a worm that got into two is not usual yet.
const SERVING_MIN: usize = 3;
/// One that was there before is no role.
const OLD_MIN: usize = 2;
/// IANA's range of dynamic ports (RFC 6335), from which Windows takes those of RPC.
const DYNAMIC_MIN: u16 = 49_152;

impl Baselines {
    /// Do at least half of those of its role that lived for a day and are ripe serve the same? A farm that doubles, or that grows by
    /// day and shrinks by night, is full of members that nobody has asked for everything yet.
    pub fn is_usual_of_old(&self, service: &ServiceKey) -> bool {
        let (old, serving) = self.old_serving(service);
        old >= OLD_MIN && 2 * serving >= old
    }

    /// Those of its role that lived for a day and are ripe by themselves, whether the role is or not; and those of them
    /// that serve the same.
    fn old_serving(&self, service: &ServiceKey) -> (usize, usize) {
        let port: Port = (service.transport, service.port);
        let Some((_, role)) = self.roles().of(service.vm) else { return (0, 0) };
        let (mut old, mut serving) = (0, 0);
        for vm in role.members.iter().filter(|vm| **vm != service.vm).take(LIKES_ASKED) {
            let Some(profile) = self.profile(*vm) else { continue };
            let lived_h = hours(profile.born_ns, profile.seen_ns);
            if lived_h >= self.config().observe_h_min && profile.offered.ripe_since.is_some() {
                old += 1;
                serving += usize::from(profile.services.get(&port).is_some_and(|learned| !learned.weak));
            }
        }
        (old, serving)
    }

    /// Do three others at least of its ripe role serve the same, or all that lived for a day, and is this client of one of them a client already? So
    /// an administrator comes to the next machine of a kind for the first time, and a check to a clone. What was told is
    /// not learned, so neither the first victims of a worm nor its source make it so for the next.
    pub fn is_served_to(&self, client: VmId, service: &ServiceKey) -> bool {
        let by_old = || {
            let (old, serving) = self.old_serving(service);
            old >= OLD_MIN && serving == old
        };
        let by_role = || self.roles().is_ripe(service.vm) && self.is_served_by_likes(service);
        (by_role() || by_old()) && self.is_kin(client, service)
    }

    /// Do so many others of its role serve the same that it is a custom of theirs?
    pub fn is_served_by_likes(&self, service: &ServiceKey) -> bool {
        self.likes_serving(service).take(SERVING_MIN).count() >= SERVING_MIN
    }

    /// How many others of that server's role the client uses by the same port; counted up to `enough`.
    pub fn reaches_likes(&self, client: VmId, service: &ServiceKey, enough: usize) -> usize {
        let port: Port = (service.transport, service.port);
        let (Some(profile), Some((_, role))) = (self.profile(client), self.roles().of(service.vm)) else { return 0 };
        let others = role.members.iter().filter(|vm| **vm != service.vm).take(LIKES_ASKED);
        others.filter(|vm| profile.peers.contains_key(&(**vm, port))).take(enough).count()
    }

    /// Do the likes that serve this port speak something else on it, all of them whose payload is known?
    pub fn contradicts_role(&self, service: &ServiceKey, app: &AppInfo) -> bool {
        let mut known = self.likes_serving(service).filter_map(|learned| learned.identity.speaks(app)).peekable();
        known.peek().is_some() && !known.any(|same| same)
    }

    /// Do its likes that serve this port speak an application that was proved? Then a member that does not is not alike.
    pub fn role_speaks(&self, service: &ServiceKey) -> bool {
        self.likes_serving(service).any(|learned| learned.identity.applications().next().is_some())
    }

    /// Is it a dynamic port of RPC, all of whose interfaces this VM was seen to offer on other ports? A port of RPC is
    /// another one after each start (detection.md 3.4); the interface is what is offered.
    pub fn is_known_interface(&self, service: &ServiceKey, app: &AppInfo) -> bool {
        let Some(profile) = self.profile(service.vm) else { return false };
        let port: Port = (service.transport, service.port);
        let dynamic = service.port >= DYNAMIC_MIN || profile.is_ephemeral(service.port);
        let offers = |interface: &str| {
            profile.services.iter().any(|(other, learned)| *other != port && learned.identity.offers(interface))
        };
        let mut named = interfaces(app).peekable();
        dynamic && named.peek().is_some() && named.all(offers)
    }

    /// Does it serve interfaces of RPC, so that the port may be one more of them?
    pub fn serves_interfaces(&self, vm: VmId, port: u16) -> bool {
        self.profile(vm).is_some_and(|profile| {
            (port >= DYNAMIC_MIN || profile.is_ephemeral(port))
                && profile.services.values().any(|learned| learned.identity.applications().any(|app| app == "dcerpc"))
        })
    }

    /// Does any other VM serve the same application on the same port?
    pub fn is_served_elsewhere(&self, service: &ServiceKey, app: &AppInfo) -> bool {
        let port: Port = (service.transport, service.port);
        let others = self.profiles().filter(|(vm, _)| *vm != service.vm).take(SERVERS_ASKED);
        others.filter_map(|(_, profile)| profile.services.get(&port)).any(|l| l.identity.speaks(app) == Some(true))
    }

    fn likes_serving(&self, service: &ServiceKey) -> impl Iterator<Item = &super::LearnedService> {
        let port: Port = (service.transport, service.port);
        let own = service.vm;
        let members = self.roles().of(own).map(|(_, role)| role.members.iter()).into_iter().flatten();
        let likes = members.filter(move |vm| **vm != own).take(LIKES_ASKED);
        likes.filter_map(move |vm| self.profile(*vm)?.services.get(&port)).filter(|learned| !learned.weak)
    }
}
