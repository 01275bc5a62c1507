//! Peering: how usual an edge from a client to a service is, by what others do (detection.md 4.4, D8). A role grants its
//! members ordinary edges; the edges by which one takes over a machine it grants only to those it knows for a day.
//! Unbounded in nothing: at most [`LIKES_MAX`] VMs are looked at.

use super::{World, familiar};
use crate::model::{ServiceKey, Timestamp, VmId};

const LIKES_MAX: usize = 256;
const LIKES_MIN: usize = 2;
/// In its first day a VM has no rights by its role (detection.md 4.4, poisoning).
const NEWCOMER_S: f64 = 86_400.0;
/// Clients that make a learned service popular.
pub(super) const POPULAR_CLIENTS: u64 = 8;

/// Who reaches so many of a role by remote access reaches the next, too: jump hosts, the management of configurations.
const HABIT_MIN: usize = 3;
/// Or so large a part of it: one in twenty.
const HABIT_PART: usize = 20;

/// An ordinary client of a service that many use, that half of its likes use, or whose likes it uses; of a port of RPC,
/// where it uses others of that server; of what likes hand to each other, anyone.
pub(super) fn is_ordinary(world: &World<'_>, client: VmId, service: &ServiceKey) -> bool {
    let popular = world.baselines.is_learned(service)
        && world.known.service(service).is_some_and(|seen| seen.clients >= POPULAR_CLIENTS);
    let app = world.known.service(service).and_then(|seen| seen.app);
    let interface = app.is_some_and(|app| world.baselines.is_known_interface(service, app));
    popular
        || app.is_some_and(familiar::is_sharing)
        || (interface && world.baselines.has_spoken(client, service))
        || world.baselines.is_kin(client, service)
        || share_of_likes(world, client, |like| world.baselines.is_learned_peer(like, service)) >= 0.5
}

/// Remote access that half of the client's role have to this server or another of its role; or that the client has to
/// some others of the server's role already, [`HABIT_MIN`] at least and one in [`HABIT_PART`].
pub(super) fn is_granted(world: &World<'_>, client: VmId, service: &ServiceKey, now: Timestamp) -> bool {
    let newcomer = world.baselines.profile(client).is_none_or(|p| now.since_s(p.first_seen) < NEWCOMER_S);
    if newcomer || world.baselines.roles().is_provisional(client) {
        return false;
    }
    let members = world.baselines.roles().of(service.vm).map_or(0, |(_, role)| role.members.len());
    let enough = HABIT_MIN.max(members / HABIT_PART);
    if world.baselines.reaches_likes(client, service, enough) >= enough {
        return true;
    }
    let reaches = |like| world.baselines.is_learned_peer(like, service) || world.baselines.is_kin(like, service);
    share_of_likes(world, client, reaches) >= 0.5
}

/// The share of a VM's likes; 0 where its role is not ripe.
fn share_of_likes(world: &World<'_>, vm: VmId, is: impl Fn(VmId) -> bool) -> f64 {
    let roles = world.baselines.roles();
    let Some((_, role)) = roles.of(vm).filter(|_| roles.is_ripe(vm)) else { return 0.0 };
    let likes: Vec<VmId> = role.members.iter().copied().filter(|like| *like != vm).take(LIKES_MAX).collect();
    if likes.len() < LIKES_MIN {
        return 0.0;
    }
    likes.iter().filter(|like| is(**like)).count() as f64 / likes.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::world::{Lab, key, vm};
    use crate::baseline::Mode;

    /// VMs 2, 3 and 4 are one ripe role, and reach `port` of VM 50; VM 1 is ripe and of no role.
    fn lab(port: u16) -> Lab {
        let mut lab = Lab::new(Mode::Auto);
        lab.serve(key(50, port), 40);
        lab.ripen(vm(1));
        lab.seat_together(&[2, 3, 4], &[2, 3, 4], 9_100);
        for _ in 0..60 {
            lab.after_s(1_800);
            (2..=4).for_each(|n| lab.knows(vm(n), key(99, 5_432)));
            [3, 4].iter().for_each(|n| lab.knows(vm(*n), key(50, port)));
        }
        lab
    }

    #[test]
    fn one_more_client_of_what_eight_use_is_quiet_and_remote_access_is_not() {
        for (port, told) in [(8_080, 0), (22, 1)] {
            let mut lab = lab(port);
            lab.known.set_clients(key(50, port), 8);
            assert_eq!(lab.reach(vm(1), key(50, port)).len(), told, "{port}");
        }
        let mut few = lab(8_080);
        few.known.set_clients(key(50, 8_080), 7);
        assert_eq!(few.reach(vm(1), key(50, 8_080)).len(), 1);
    }

    #[test]
    fn who_administers_three_of_a_role_reaches_the_fourth_and_who_administers_two_is_told() {
        for (known, told) in [(3, 0), (2, 1)] {
            let mut lab = Lab::new(Mode::Auto);
            lab.ripen(vm(20));
            lab.seat_together(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], 22);
            (1..=known).for_each(|n| lab.knows(vm(20), key(n, 22)));
            lab.ripen(vm(20));
            assert_eq!(lab.reach(vm(20), key(5, 22)).len(), told, "{known}");
        }
    }

    #[test]
    fn what_half_of_its_likes_use_is_quiet_also_by_remote_access() {
        for port in [8_080, 22] {
            assert_eq!(lab(port).reach(vm(2), key(50, port)), [], "{port}");
            assert_eq!(lab(port).reach(vm(1), key(50, port)).len(), 1, "{port}: of no role");
        }
    }
}
