//! Failovers: the standby takes the shared address and serves what the other served; the clients go on as before.

use std::net::Ipv4Addr;

use super::Behaviour;
use crate::site::event::{Id, Tag, What};
use crate::site::truth::{Done, Truth};
use crate::site::world::{Group, Manner, World};
use crate::site::{Micros, Rng};

/// A shared address of two, of which one has it; its clients talk to whoever has it.
#[derive(Clone)]
pub struct Shared {
    pub ip: Ipv4Addr,
    pub pair: [Id; 2],
    pub clients: Group,
    pub manner: Manner,
    /// How often each client talks to it.
    pub every: Micros,
    /// When it goes to the other, first to last.
    pub failovers: Vec<Micros>,
    pub rng: Rng,
    holder: usize,
    announced: bool,
    /// Of the world's flips, those that were followed.
    followed: usize,
}

impl Shared {
    pub fn new(
        ip: Ipv4Addr,
        pair: [Id; 2],
        clients: Group,
        manner: Manner,
        every: Micros,
        failovers: Vec<Micros>,
        rng: Rng,
    ) -> Self {
        Shared { ip, pair, clients, manner, every, failovers, rng, holder: 0, announced: false, followed: 0 }
    }
}

impl Behaviour for Shared {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        if self.failovers.first().is_some_and(|at| *at <= now) {
            self.failovers.remove(0);
            self.holder = 1 - self.holder;
            self.announced = false;
        }
        if world.flips.get(self.followed).is_some_and(|at| *at <= now) {
            self.followed += 1;
            self.holder = 1 - self.holder;
            self.announced = false;
        }
        if !self.announced {
            self.announced = true;
            let (cause, to) = (world.cause(Tag::Benign), self.pair[self.holder]);
            world.tell(now, cause, What::Take { vm: to, ip: self.ip });
            world.truth.push(Truth::action(now, to, Done::BenignAction, cause.id, "failover"));
        }
        let clients = world.members(self.clients);
        let count = clients.len().max(1);
        if let Some(client) = self.rng.pick(clients).copied() {
            let to = self.pair[self.holder];
            world.talk_to(now + 1, Default::default(), client, to, Some(self.ip), self.manner);
        }
        Some(now + (self.every as f64 / count as f64 * (0.5 + self.rng.unit())) as Micros)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
