//! The world of a scenario: its machines, the groups they belong to, and everything that goes on, in order of time.
//! Held: the machines that ever were, and the events that are told but not yet due.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;

use eastwatch::model::Mac;

use super::behaviour::Behaviour;
use super::event::{Event, Id, Machine, Os, Outcome, Tag, Talk, What};
use super::truth::Truth;
use super::{Micros, Rng};

/// A set of machines that behave alike or are used alike; a clone joins those of its model.
pub type Group = usize;

#[derive(Clone)]
pub struct World {
    pub machines: Vec<Machine>,
    alive: Vec<bool>,
    groups: Vec<Vec<Id>>,
    named: BTreeMap<String, Group>,
    pub hosts: u16,
    pub rng: Rng,
    pub truth: Vec<Truth>,
    /// Further failovers of every shared address, first to last.
    pub flips: Vec<Micros>,
    /// Addresses that DHCP gives out, the longest free first.
    pool: std::collections::VecDeque<Ipv4Addr>,
    next_ip: u32,
    next_mac: u32,
    next_cause: u32,
    next_name: BTreeMap<String, u32>,
    due: BinaryHeap<Reverse<Due>>,
    told: u64,
}

#[derive(Clone)]
struct Due {
    at: Micros,
    nth: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.nth == other.nth
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.nth).cmp(&(other.at, other.nth))
    }
}

/// How a conversation goes; who takes part is said with it.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub transport: eastwatch::model::Transport,
    pub port: u16,
    pub app: &'static str,
    pub up: u32,
    pub down: u32,
    pub ms: u32,
    pub outcome: Outcome,
}

impl Manner {
    pub fn tcp(port: u16, app: &'static str) -> Self {
        let transport = eastwatch::model::Transport::Tcp;
        Manner { transport, port, app, up: 600, down: 4_000, ms: 300, outcome: Outcome::Answered }
    }

    pub fn udp(port: u16, app: &'static str) -> Self {
        let transport = eastwatch::model::Transport::Udp;
        Manner { transport, port, app, up: 60, down: 180, ms: 5, outcome: Outcome::Answered }
    }

    pub fn lasting(self, ms: u32) -> Self {
        Manner { ms, ..self }
    }

    pub fn carrying(self, up: u32, down: u32) -> Self {
        Manner { up, down, ..self }
    }

    pub fn ending(self, outcome: Outcome) -> Self {
        Manner { outcome, ..self }
    }
}

/// To what an event belongs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cause {
    pub id: u32,
    pub tag: Tag,
}

impl World {
    pub fn new(seed: u64, hosts: u16) -> Self {
        World {
            machines: Vec::new(),
            alive: Vec::new(),
            groups: Vec::new(),
            named: BTreeMap::new(),
            hosts,
            rng: Rng::new(seed, 1),
            truth: Vec::new(),
            flips: Vec::new(),
            pool: std::collections::VecDeque::new(),
            next_ip: 0,
            next_mac: 1,
            next_cause: 1,
            next_name: BTreeMap::new(),
            due: BinaryHeap::new(),
            told: 0,
        }
    }

    /// The group of this name; empty where there was none.
    pub fn group(&mut self, name: &str) -> Group {
        if let Some(group) = self.named.get(name) {
            return *group;
        }
        self.groups.push(Vec::new());
        self.named.insert(name.to_owned(), self.groups.len() - 1);
        self.groups.len() - 1
    }

    pub fn members(&self, group: Group) -> &[Id] {
        &self.groups[group]
    }

    pub fn of(&mut self, name: &str) -> Vec<Id> {
        let group = self.group(name);
        self.groups[group].clone()
    }

    pub fn join(&mut self, id: Id, group: &str) {
        let group = self.group(group);
        if !self.groups[group].contains(&id) {
            self.groups[group].push(id);
        }
    }

    pub fn leave(&mut self, id: Id, group: Group) {
        self.groups[group].retain(|member| *member != id);
    }

    pub fn machine(&self, id: Id) -> &Machine {
        &self.machines[id as usize]
    }

    pub fn is_alive(&self, id: Id) -> bool {
        self.alive[id as usize]
    }

    /// The next number of a cause.
    pub fn cause(&mut self, tag: Tag) -> Cause {
        self.next_cause += 1;
        Cause { id: self.next_cause, tag }
    }

    /// A number in the order in which names of this stem were given.
    pub fn number(&mut self, stem: &str) -> u32 {
        let next = self.next_name.entry(stem.to_owned()).or_insert(0);
        *next += 1;
        *next
    }

    pub fn free_ip(&mut self) -> Ipv4Addr {
        loop {
            self.next_ip += 1;
            let [_, b, c, d] = self.next_ip.to_be_bytes();
            // .0 and .255 may be a network's own; 10.0.0.1 is the gateway's.
            if d != 0 && d != 255 && (c, d) != (0, 1) {
                return Ipv4Addr::new(10, b, c, d);
            }
        }
    }

    pub fn free_mac(&mut self) -> Mac {
        self.next_mac += 1;
        let [_, b, c, d] = self.next_mac.to_be_bytes();
        Mac([0x52, 0x54, 0x00, b, c, d])
    }

    /// An address of the DHCP pool, the one that was free for longest.
    pub fn lease(&mut self) -> Ipv4Addr {
        self.pool.pop_front().unwrap_or_else(|| self.free_ip())
    }

    pub fn release(&mut self, ip: Ipv4Addr) {
        self.pool.push_back(ip);
    }

    pub fn boot(&mut self, at: Micros, cause: Cause, name: String, role: &str, os: Os, ip: Ipv4Addr) -> Id {
        let mac = self.free_mac();
        let host = 1 + self.rng.below(usize::from(self.hosts)) as u16;
        self.introduce(at, cause, Machine { id: 0, name, role: role.to_owned(), mac, ip, host, os })
    }

    pub fn introduce(&mut self, at: Micros, cause: Cause, mut machine: Machine) -> Id {
        machine.id = self.machines.len() as Id;
        let id = machine.id;
        self.machines.push(machine.clone());
        self.alive.push(true);
        self.tell(at, cause, What::Boot(Box::new(machine)));
        id
    }

    /// It is gone; its address may be given to another.
    pub fn stop(&mut self, at: Micros, cause: Cause, id: Id) {
        self.alive[id as usize] = false;
        for group in &mut self.groups {
            group.retain(|member| *member != id);
        }
        self.tell(at, cause, What::Stop { vm: id });
    }

    pub fn address(&mut self, id: Id, ip: Ipv4Addr) {
        self.machines[id as usize].ip = ip;
    }

    pub fn moved(&mut self, at: Micros, cause: Cause, id: Id, host: u16) {
        self.machines[id as usize].host = host;
        self.tell(at, cause, What::Move { vm: id, host });
    }

    /// One conversation; nothing where one of them is gone.
    pub fn talk(&mut self, at: Micros, cause: Cause, client: Id, server: Id, manner: Manner) {
        self.talk_to(at, cause, client, server, None, manner);
    }

    pub fn talk_to(&mut self, at: Micros, cause: Cause, client: Id, server: Id, to: Option<Ipv4Addr>, manner: Manner) {
        self.converse(at, cause, client, server, to, manner, None);
    }

    /// The endpoint mapper is asked, and names `port`.
    pub fn map_port(&mut self, at: Micros, cause: Cause, client: Id, server: Id, port: u16) {
        self.converse(at, cause, client, server, None, Manner::tcp(135, "dcerpc"), Some(port));
    }

    #[allow(clippy::too_many_arguments)]
    fn converse(
        &mut self,
        at: Micros,
        cause: Cause,
        client: Id,
        server: Id,
        to: Option<Ipv4Addr>,
        manner: Manner,
        maps: Option<u16>,
    ) {
        if client == server || !self.is_alive(client) || !self.is_alive(server) {
            return;
        }
        let Manner { transport, port, app, up, down, ms, outcome } = manner;
        let from = match (app, self.machine(client).os) {
            ("ntp", _) => 123,
            (_, Os::Windows) => 49_152 + self.rng.below(16_384) as u16,
            _ => 32_768 + self.rng.below(28_232) as u16,
        };
        let talk = Talk { client, server, to, transport, from, port, app, up, down, ms, outcome, maps };
        self.tell(at, cause, What::Talk(talk));
    }

    pub fn tell(&mut self, at: Micros, cause: Cause, what: What) {
        self.told += 1;
        let event = Event { at, cause: cause.id, tag: cause.tag, what };
        self.due.push(Reverse(Due { at, nth: self.told, event }));
    }
}

/// A world with its behaviours: the events of a scenario, in order of time.
#[derive(Clone)]
pub struct Site {
    pub world: World,
    behaviours: Vec<Box<dyn Behaviour>>,
    /// When each acts next.
    next: BinaryHeap<Reverse<(Micros, usize)>>,
}

impl Site {
    pub fn new(world: World) -> Self {
        Site { world, behaviours: Vec::new(), next: BinaryHeap::new() }
    }

    /// It acts first at `at`.
    pub fn add(&mut self, at: Micros, behaviour: impl Behaviour + 'static) {
        self.next.push(Reverse((at, self.behaviours.len())));
        self.behaviours.push(Box::new(behaviour));
    }

    /// The next event before `end`.
    pub fn event(&mut self, end: Micros) -> Option<Event> {
        loop {
            let acts = self.next.peek().map(|Reverse((at, _))| *at).unwrap_or(Micros::MAX);
            let due = self.world.due.peek().map(|Reverse(due)| due.at).unwrap_or(Micros::MAX);
            if acts.min(due) >= end {
                return None;
            }
            if due < acts {
                return self.world.due.pop().map(|Reverse(due)| due.event);
            }
            let Reverse((at, index)) = self.next.pop()?;
            if let Some(again) = self.behaviours[index].act(at, &mut self.world) {
                self.next.push(Reverse((again.max(at + 1), index)));
            }
        }
    }
}
