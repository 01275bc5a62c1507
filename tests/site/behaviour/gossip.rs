//! Gossip: every member talks to random others on one port, both ways over time (Serf, Consul, Cassandra, etcd).

use super::Behaviour;
use crate::site::world::{Cause, Group, Manner, World};
use crate::site::{Micros, Rng};

#[derive(Clone)]
pub struct Gossip {
    pub among: Group,
    pub manners: Vec<Manner>,
    /// How often each member speaks.
    pub every: Micros,
    pub rng: Rng,
}

impl Behaviour for Gossip {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        let members = world.members(self.among);
        let count = members.len().max(1);
        let pair = (self.rng.pick(members).copied(), self.rng.pick(members).copied());
        if let (Some(from), Some(to)) = pair
            && let Some(manner) = self.rng.pick(&self.manners).copied()
        {
            world.talk(now, Cause::default(), from, to, manner);
        }
        Some(now + (self.every as f64 / count as f64 * (0.5 + self.rng.unit())) as Micros)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
