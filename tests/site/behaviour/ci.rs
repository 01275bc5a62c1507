//! Continuous integration: runners that live for a job, each a new machine with an address that others had before.

use super::Behaviour;
use crate::site::event::{Os, Tag};
use crate::site::world::{Manner, World};
use crate::site::{HOUR, MINUTE, Micros, Rng, SECOND};

#[derive(Clone)]
pub struct Runners {
    /// A job begins this often, on weekdays between 8 and 18 h; four times as seldom else.
    pub every: Micros,
    pub rng: Rng,
    /// Runners alive, and when each ends.
    alive: Vec<(Micros, u32)>,
    starts: Micros,
}

impl Runners {
    pub fn new(every: Micros, rng: Rng) -> Self {
        Runners { every, rng, alive: Vec::new(), starts: 0 }
    }

    fn start(&mut self, now: Micros, world: &mut World) {
        let cause = world.cause(Tag::Benign);
        let name = format!("runner-{:04}", world.number("runner"));
        let ip = world.lease();
        let id = world.boot(now, cause, name, "runner", Os::Linux, ip);
        let life = self.rng.between(8 * MINUTE, 40 * MINUTE);
        let (master, dns, repo) = (world.of("ci"), world.of("dns"), world.of("repo"));
        for at in (20 * SECOND..life).step_by(4 * MINUTE as usize) {
            let at = now + at + self.rng.between(0, 30 * SECOND);
            if let Some(dns) = self.rng.pick(&dns) {
                world.talk(at, cause, id, *dns, Manner::udp(53, "dns"));
            }
            if let Some(repo) = self.rng.pick(&repo) {
                world.talk(at + SECOND, cause, id, *repo, Manner::tcp(443, "tls").carrying(900, 400_000));
            }
            if let Some(master) = self.rng.pick(&master) {
                world.talk(at + 2 * SECOND, cause, id, *master, Manner::tcp(443, "tls"));
                world.talk(at + 3 * SECOND, cause, *master, id, Manner::tcp(22, "ssh").lasting(20_000));
            }
        }
        self.alive.push((now + life, id));
    }
}

impl Behaviour for Runners {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        let ended: Vec<u32> = self.alive.iter().filter(|(end, _)| *end <= now).map(|(_, id)| *id).collect();
        self.alive.retain(|(end, _)| *end > now);
        for id in ended {
            let ip = world.machine(id).ip;
            world.stop(now, Default::default(), id);
            world.release(ip);
        }
        if now >= self.starts {
            self.start(now, world);
            let busy = (8..18).contains(&(now / HOUR % 24)) && now / (24 * HOUR) % 7 < 5;
            let pause = if busy { self.every } else { 4 * self.every };
            self.starts = now + (pause as f64 * (0.5 + self.rng.unit())) as Micros;
        }
        let ends = self.alive.iter().map(|(end, _)| *end).min().unwrap_or(Micros::MAX);
        Some(self.starts.min(ends))
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
