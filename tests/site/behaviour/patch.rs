//! A patch day: every Windows machine fetches its updates, shares them with others of its kind (delivery optimisation,
//! tcp/7680), and starts anew, with other dynamic RPC ports.

use super::Behaviour;
use crate::site::event::{Id, Tag, What};
use crate::site::truth::{Done, Truth};
use crate::site::world::{Group, Manner, World};
use crate::site::{HOUR, MINUTE, Micros, Rng, SECOND};

#[derive(Clone)]
pub struct PatchDay {
    pub of: Group,
    pub rng: Rng,
}

impl Behaviour for PatchDay {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        let cause = world.cause(Tag::Benign);
        world.truth.push(Truth::action(now, 0, Done::BenignAction, cause.id, "patch-day"));
        let (members, updates): (Vec<Id>, _) = (world.members(self.of).to_vec(), world.of("repo"));
        for id in &members {
            let at = now + self.rng.between(0, HOUR);
            if let Some(server) = self.rng.pick(&updates) {
                world.talk(at, cause, *id, *server, Manner::tcp(8_530, "http").carrying(4_000, 900_000));
            }
            for n in 0..3 {
                if let Some(peer) = self.rng.pick(&members) {
                    let at = at + (1 + n) * 10 * MINUTE + self.rng.between(0, 5 * MINUTE);
                    world.talk(at, cause, *id, *peer, Manner::tcp(7_680, "msdo").carrying(3_000, 700_000));
                }
            }
            world.tell(at + 90 * MINUTE + self.rng.between(0, 60 * SECOND), cause, What::Announce { vm: *id });
        }
        Some(now + 28 * 24 * HOUR)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
