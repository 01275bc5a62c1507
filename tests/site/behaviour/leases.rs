//! DHCP: each member of a group renews its lease every half lifetime; now and then it is given another address.

use super::Behaviour;
use crate::site::event::{Tag, What};
use crate::site::world::{Group, World};
use crate::site::{Micros, Rng};

#[derive(Clone)]
pub struct Leases {
    pub of: Group,
    pub every: Micros,
    /// The share of renewals that end with another address.
    pub renumbered: f64,
    pub rng: Rng,
    turn: usize,
}

impl Leases {
    pub fn new(of: Group, every: Micros, renumbered: f64, rng: Rng) -> Self {
        Leases { of, every, renumbered, rng, turn: 0 }
    }
}

impl Behaviour for Leases {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        let count = world.members(self.of).len().max(1);
        self.turn = (self.turn + 1) % count;
        if let (Some(vm), Some(server)) =
            (world.members(self.of).get(self.turn).copied(), world.of("dhcp").first().copied())
        {
            let cause = world.cause(Tag::Benign);
            if self.rng.chance(self.renumbered) {
                let (old, new) = (world.machine(vm).ip, world.lease());
                world.release(old);
                world.address(vm, new);
            }
            let ip = world.machine(vm).ip;
            world.tell(now, cause, What::Lease { vm, server, ip });
        }
        Some(now + (self.every as f64 / count as f64 * (0.5 + self.rng.unit())) as Micros)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
