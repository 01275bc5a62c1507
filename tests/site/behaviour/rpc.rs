//! Windows RPC: clients ask a domain controller's endpoint mapper (tcp/135) and go on to the dynamic port it names,
//! which is another one after each start.

use super::Behaviour;
use crate::site::world::{Group, Manner, World};
use crate::site::{Micros, Rng, SECOND};

#[derive(Clone)]
pub struct Rpc {
    pub clients: Group,
    pub servers: Group,
    pub every: Micros,
    /// When the servers start anew.
    pub starts: Vec<Micros>,
    pub rng: Rng,
    generation: u16,
}

impl Rpc {
    pub fn new(clients: Group, servers: Group, every: Micros, starts: Vec<Micros>, rng: Rng) -> Self {
        Rpc { clients, servers, every, starts, rng, generation: 0 }
    }
}

impl Behaviour for Rpc {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        if self.starts.first().is_some_and(|at| *at <= now) {
            self.starts.remove(0);
            self.generation += 1;
        }
        let (clients, servers) = (world.members(self.clients), world.members(self.servers));
        let count = clients.len().max(1);
        if let (Some(client), Some(server)) = (self.rng.pick(clients).copied(), self.rng.pick(servers).copied()) {
            let port = 49_664 + (server as u16 * 7 + self.generation * 13) % 60;
            world.map_port(now, Default::default(), client, server, port);
            world.talk(now + SECOND, Default::default(), client, server, Manner::tcp(port, "dcerpc"));
        }
        Some(now + (self.every as f64 / count as f64 * (0.5 + self.rng.unit())) as Micros)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
