//! A rollout: a new agent begins to serve on many machines within an hour, and the monitoring asks it. Approved or not,
//! as its tag says.

use eastwatch::model::Transport;

use super::Behaviour;
use crate::site::event::{Id, Tag};
use crate::site::truth::Truth;
use crate::site::world::{Cause, Manner, World};
use crate::site::{MINUTE, Micros, Rng};

#[derive(Clone)]
pub struct Rollout {
    pub to: Vec<Id>,
    pub port: u16,
    pub within: Micros,
    pub until: Micros,
    pub tag: Tag,
    pub rng: Rng,
    started: Option<Cause>,
    turn: usize,
}

impl Rollout {
    pub fn new(to: Vec<Id>, port: u16, within: Micros, until: Micros, tag: Tag, rng: Rng) -> Self {
        Rollout { to, port, within, until, tag, rng, started: None, turn: 0 }
    }
}

impl Behaviour for Rollout {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        if now >= self.until || self.to.is_empty() {
            return None;
        }
        let poller = world.of("monitor").first().copied()?;
        let manner = Manner::tcp(self.port, "http");
        let Some(cause) = self.started else {
            let cause = world.cause(self.tag);
            self.started = Some(cause);
            for id in &self.to {
                let at = now + self.rng.between(0, self.within);
                world.talk(at, cause, poller, *id, manner);
                world.truth.push(Truth::service(at, poller, *id, (Transport::Tcp, self.port), cause.id, "rollout"));
            }
            return Some(now + self.within);
        };
        self.turn = (self.turn + 1) % self.to.len();
        world.talk(now, cause, poller, self.to[self.turn], manner);
        Some(now + 5 * MINUTE / self.to.len() as i64)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
