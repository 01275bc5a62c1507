//! Novelties on purpose: a machine that begins to reach one more server a day, long before it is used (frog boiling);
//! and a day of harmless novelties everywhere, meant to exhaust whoever reads them (noise).

use eastwatch::model::Transport;

use super::Behaviour;
use crate::site::event::{Id, Tag};
use crate::site::truth::Truth;
use crate::site::world::{Cause, Manner, World};
use crate::site::{Micros, Rng, SECOND};

/// One more service each time, a new port of the machine, each used a few times afterwards.
#[derive(Clone)]
pub struct Frog {
    pub on: Id,
    pub client: Id,
    pub every: Micros,
    pub left: usize,
    pub port: u16,
}

impl Behaviour for Frog {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        let cause = world.cause(Tag::Hostile);
        let manner = Manner::tcp(self.port, "http");
        let truth = Truth::service(now, self.client, self.on, (Transport::Tcp, self.port), cause.id, "frog");
        world.truth.push(truth);
        for n in 0..4 {
            world.talk(now + n * 600 * SECOND, cause, self.client, self.on, manner);
        }
        self.port += 1;
        self.left = self.left.saturating_sub(1);
        (self.left > 0).then_some(now + self.every)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}

/// New services on machines picked at random, one after the other.
#[derive(Clone)]
pub struct Noise {
    pub on: Vec<Id>,
    pub client: Id,
    pub every: Micros,
    pub until: Micros,
    pub rng: Rng,
    pub cause: Option<Cause>,
}

impl Behaviour for Noise {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        let cause = *self.cause.get_or_insert_with(|| world.cause(Tag::Hostile));
        if let Some(id) = self.rng.pick(&self.on).copied() {
            let port = 1_024 + self.rng.below(28_000) as u16;
            world.truth.push(Truth::service(now, self.client, id, (Transport::Tcp, port), cause.id, "noise"));
            world.talk(now, cause, self.client, id, Manner::tcp(port, "http"));
        }
        (now < self.until).then_some(now + (self.every as f64 * (0.5 + self.rng.unit())) as Micros)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
