//! Live migrations: now and then a machine runs on another host.

use super::Behaviour;
use crate::site::event::{Os, Tag};
use crate::site::truth::{Done, Truth};
use crate::site::world::World;
use crate::site::{Micros, Rng};

#[derive(Clone)]
pub struct Moves {
    pub every: Micros,
    pub rng: Rng,
}

impl Behaviour for Moves {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        let id = self.rng.below(world.machines.len()) as u32;
        let host = 1 + self.rng.below(usize::from(world.hosts)) as u16;
        let machine = world.machine(id);
        if world.is_alive(id) && machine.os != Os::Outside && machine.host != 0 && machine.host != host {
            let cause = world.cause(Tag::Benign);
            world.moved(now, cause, id, host);
            world.truth.push(Truth::action(now, id, Done::Move, cause.id, "move"));
        }
        Some(now + (self.every as f64 * (0.5 + self.rng.unit())) as Micros)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
