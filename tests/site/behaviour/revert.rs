//! A snapshot revert: a machine is silent for two minutes, announces itself, and goes on as before.

use super::Behaviour;
use crate::site::event::{Os, Tag, What};
use crate::site::truth::{Done, Truth};
use crate::site::world::World;
use crate::site::{Micros, Rng};

#[derive(Clone)]
pub struct Reverts {
    pub every: Micros,
    pub rng: Rng,
}

impl Behaviour for Reverts {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        let id = self.rng.below(world.machines.len()) as u32;
        if world.is_alive(id) && world.machine(id).os != Os::Outside {
            let cause = world.cause(Tag::Benign);
            world.tell(now, cause, What::Announce { vm: id });
            world.truth.push(Truth::action(now, id, Done::BenignAction, cause.id, "revert"));
        }
        Some(now + (self.every as f64 * (0.5 + self.rng.unit())) as Micros)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
