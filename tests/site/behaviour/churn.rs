//! Churn: machines move between hosts, change their addresses, take over those of others, and a virtual address goes
//! to and fro. Nothing of it is a new machine or a new service.

use std::net::Ipv4Addr;

use super::Behaviour;
use crate::site::event::{Id, Tag, What};
use crate::site::truth::{Done, Truth};
use crate::site::world::{Group, Manner, World};
use crate::site::{Micros, Rng, SECOND};

#[derive(Clone)]
pub struct Churn {
    pub among: Group,
    /// One thing happens this often.
    pub every: Micros,
    pub until: Micros,
    /// A shared address and the two that may have it.
    pub shared: Option<(Ipv4Addr, [Id; 2], Manner)>,
    pub rng: Rng,
    turn: usize,
}

impl Churn {
    pub fn new(among: Group, every: Micros, until: Micros, rng: Rng) -> Self {
        Churn { among, every, until, shared: None, rng, turn: 0 }
    }
}

impl Behaviour for Churn {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        if now >= self.until {
            return None;
        }
        let cause = world.cause(Tag::Benign);
        let members = world.members(self.among).to_vec();
        let id = self.rng.pick(&members).copied()?;
        self.turn += 1;
        match self.turn % 4 {
            0 => {
                let host = 1 + self.rng.below(usize::from(world.hosts)) as u16;
                if host != world.machine(id).host {
                    world.moved(now, cause, id, host);
                    world.truth.push(Truth::action(now, id, Done::Move, cause.id, "move"));
                }
            }
            // A lease ran out: the address that was free for longest, most often another's before.
            1 | 2 => {
                let (old, new) = (world.machine(id).ip, world.lease());
                world.release(old);
                world.address(id, new);
                if let Some(server) = world.of("dhcp").first().copied() {
                    world.tell(now, cause, What::Lease { vm: id, server, ip: new });
                }
                world.truth.push(Truth::action(now, id, Done::BenignAction, cause.id, "address"));
            }
            _ => {
                if let Some((ip, pair, manner)) = self.shared {
                    let to = pair[self.turn / 4 % 2];
                    world.tell(now, cause, What::Take { vm: to, ip });
                    for (n, client) in members.iter().take(5).enumerate() {
                        world.talk_to(now + (2 + n as i64) * SECOND, cause, *client, to, Some(ip), manner);
                    }
                    world.truth.push(Truth::action(now, to, Done::BenignAction, cause.id, "vrrp"));
                }
            }
        }
        Some(now + (self.every as f64 * (0.5 + self.rng.unit())) as Micros)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
