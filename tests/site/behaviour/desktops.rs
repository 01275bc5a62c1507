//! A desktop pool that is recomposed every morning: all of it new cards and addresses, the same names, and everybody
//! logs on within half an hour.

use super::Behaviour;
use crate::site::event::{Id, Os, Tag};
use crate::site::truth::{Done, Truth};
use crate::site::world::{Manner, World};
use crate::site::{DAY, MINUTE, Micros, Rng, SECOND};

#[derive(Clone)]
pub struct Pool {
    pub size: usize,
    pub rng: Rng,
    present: Vec<Id>,
}

impl Pool {
    pub fn new(size: usize, rng: Rng) -> Self {
        Pool { size, rng, present: Vec::new() }
    }
}

impl Behaviour for Pool {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        for id in std::mem::take(&mut self.present) {
            let ip = world.machine(id).ip;
            world.stop(now, Default::default(), id);
            world.release(ip);
        }
        let cause = world.cause(Tag::Benign);
        world.truth.push(Truth::action(now, 0, Done::BenignAction, cause.id, "desktop-pool"));
        let (dhcp, dns, dc) = (world.of("dhcp"), world.of("dns"), world.of("dc"));
        let (files, https, config) = (world.of("files"), world.of("mail"), world.of("config"));
        for n in 0..self.size {
            let at = now + self.rng.between(0, 30 * MINUTE);
            let ip = world.lease();
            let id = world.boot(at, cause, format!("vdi-{n:03}"), "desktop", Os::Windows, ip);
            self.present.push(id);
            if let Some(server) = dhcp.first() {
                world.tell(at + SECOND, cause, super::super::event::What::Lease { vm: id, server: *server, ip });
            }
            let steps: [(&[Id], Manner); 6] = [
                (&dns, Manner::udp(53, "dns")),
                (&dc, Manner::tcp(88, "krb5").carrying(1_400, 1_500)),
                (&dc, Manner::tcp(389, "ldap").carrying(900, 6_000)),
                (&dc, Manner::tcp(445, "smb").carrying(4_000, 60_000)),
                (&files, Manner::tcp(445, "smb").carrying(9_000, 900_000).lasting(60_000)),
                (&https, Manner::tcp(443, "tls").carrying(2_000, 90_000)),
            ];
            for (step, (servers, manner)) in steps.into_iter().enumerate() {
                if let Some(server) = self.rng.pick(servers) {
                    world.talk(at + (2 + step as i64) * SECOND, cause, id, *server, manner);
                }
            }
            // The desktop broker asks its agent: the service that each has.
            if let Some(broker) = config.first() {
                for after in [20 * SECOND, 10 * MINUTE, 40 * MINUTE] {
                    world.talk(at + after, cause, *broker, id, Manner::tcp(5_985, "http"));
                }
            }
        }
        Some(now + DAY)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
