//! An intruder's service: something begins to listen on a machine that was known, or listens there from the first
//! hour, and is used now and then from there on.

use eastwatch::model::Transport;

use super::Behaviour;
use crate::site::event::{Id, Os, Tag};
use crate::site::truth::Truth;
use crate::site::world::{Cause, Manner, World};
use crate::site::{MINUTE, Micros, Rng, SECOND};

/// What is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plant {
    /// A shell on any port (`nc -l -e`), outside the ephemeral range.
    Shell,
    /// The same, of which nobody can read a word.
    Implant,
    Ssh,
    Rdp,
    Vnc,
    Telnet,
    /// Unknown datagrams, asked by two.
    UdpImplant,
    /// A shell in the range from which the machine itself takes its ports.
    EphemeralShell,
    /// A database's port, opened to the network.
    Database,
}

impl Plant {
    pub const ALL: [Plant; 9] = [
        Plant::Shell,
        Plant::Implant,
        Plant::Ssh,
        Plant::Rdp,
        Plant::Vnc,
        Plant::Telnet,
        Plant::UdpImplant,
        Plant::EphemeralShell,
        Plant::Database,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Plant::Shell => "nc shell",
            Plant::Implant => "opaque shell",
            Plant::Ssh => "ssh",
            Plant::Rdp => "rdp",
            Plant::Vnc => "vnc",
            Plant::Telnet => "telnet",
            Plant::UdpImplant => "udp implant",
            Plant::EphemeralShell => "ephemeral shell",
            Plant::Database => "database",
        }
    }

    fn manner(self, os: Os, rng: &mut Rng) -> Manner {
        let shell = |port| Manner::tcp(port, "").carrying(120, 900).lasting(5_000);
        match self {
            Plant::Shell => Manner { app: "shell", ..shell(1_024 + rng.below(28_000) as u16) },
            Plant::Implant => shell(1_024 + rng.below(28_000) as u16),
            // Where ssh is at home already it takes another port, as a second daemon does.
            Plant::Ssh => Manner::tcp(2_222 + rng.below(500) as u16, "ssh").lasting(5_000),
            Plant::Rdp => Manner::tcp(3_389, "rdp").lasting(5_000),
            Plant::Vnc => Manner::tcp(5_900 + rng.below(9) as u16, "rfb").lasting(5_000),
            Plant::Telnet => Manner::tcp(23, "telnet").lasting(5_000),
            Plant::UdpImplant => Manner::udp(2_000 + rng.below(20_000) as u16, "").carrying(300, 300),
            Plant::EphemeralShell if os == Os::Windows => shell(50_000 + rng.below(15_000) as u16),
            Plant::EphemeralShell => shell(33_000 + rng.below(27_000) as u16),
            Plant::Database => Manner::tcp(5_432, "pgsql"),
        }
    }
}

#[derive(Clone)]
pub struct Intruder {
    pub plant: Plant,
    pub on: Id,
    pub clients: [Id; 2],
    /// Uses after the first, and their distance.
    pub uses: usize,
    pub apart: Micros,
    pub rng: Rng,
    used: usize,
    manner: Option<(Cause, Manner)>,
}

impl Intruder {
    pub fn new(plant: Plant, on: Id, clients: [Id; 2], uses: usize, apart: Micros, rng: Rng) -> Self {
        Intruder { plant, on, clients, uses, apart, rng, used: 0, manner: None }
    }
}

impl Behaviour for Intruder {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        let os = world.machine(self.on).os;
        let first = self.manner.is_none();
        let (cause, manner) = match self.manner {
            Some(known) => known,
            None => (world.cause(Tag::Hostile), self.plant.manner(os, &mut self.rng)),
        };
        self.manner = Some((cause, manner));
        let client = self.clients[self.used % 2];
        world.talk(now, cause, client, self.on, manner);
        if first {
            // The packet that qualifies it: the answer with payload; of a lone datagram and in the machine's own
            // range the second use.
            let second = now + self.apart.min(MINUTE);
            let twice = matches!(self.plant, Plant::UdpImplant | Plant::EphemeralShell);
            let at = if twice { second } else { now };
            let service = (manner.transport, manner.port);
            let truth = Truth::service(at, client, self.on, service, cause.id, self.plant.name());
            debug_assert!(matches!(service.0, Transport::Tcp | Transport::Udp));
            world.truth.push(truth);
            self.used = 1;
            return (self.uses > 0).then_some(second);
        }
        self.used += 1;
        let again = now + (self.apart as f64 * (0.5 + self.rng.unit())) as Micros + SECOND;
        (self.used <= self.uses).then_some(again)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
