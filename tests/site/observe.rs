//! Events as the packet side would tell them: the observations of each flow, in the order and with the timing of
//! `runtime::shard`, without the packets. A second of packet time ends with its sightings and a tick.
//!
//! What is left out: retransmissions, loss, twins, conversations that began before the record.
//! Held: the flows alive, and the steps of each that are still to come.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr};

use eastwatch::model::{
    AppInfo, AppProto, Claim, ClaimKind, Endpoint, Expectation, Fact, FlowEnd, FlowFact, FlowRef, FlowTotals, Location,
    Mac, MirrorPath, Observation, Opening, Order, PathKind, RefusedBy, Segment, Side, Sighting, Transport, stable_hash,
};

use super::event::{APPS, Event, Id, Machine, Os, Outcome, Talk, What};
use super::{MINUTE, Micros, SECOND, packet_time};
use super::{packets, payloads};

/// Between two packets of a conversation.
pub const HOP: Micros = 250;
/// After FIN in both directions, after the last datagram, after an unanswered SYN and datagram (`flow::Timeouts`).
const CLOSED: Micros = 10 * SECOND;
const DATAGRAM: Micros = 60 * SECOND;
const HALF_OPEN: Micros = 33 * SECOND;
const UNANSWERED: Micros = 30 * SECOND;
/// An endpoint mapper's answer holds this long.
const MAPPED_S: u32 = 86_400;

#[derive(Clone)]
pub struct Observer {
    machines: Vec<Option<Machine>>,
    flows: Vec<Flow>,
    free: Vec<u32>,
    due: BinaryHeap<Reverse<(Micros, u64, u32, Step)>>,
    steps: u64,
    flow_ids: u64,
    frame: u64,
    second: Micros,
    /// Of this second, in order of their first.
    sightings: Vec<(Mac, Mac, u16, u32)>,
    infos: BTreeMap<&'static str, AppInfo>,
    /// Hosts are told by the mirror (each is a mirror session of its own).
    hints: bool,
    /// Only what the packet writer can write, too: its twin in packets must prove the same.
    as_packets: bool,
    pub talks: u64,
}

#[derive(Clone, Copy)]
struct Flow {
    talk: Talk,
    began: Micros,
    frame: u64,
    id: u64,
    ips: [Ipv4Addr; 2],
    macs: [Mac; 2],
    hosts: [u16; 2],
    heard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Attempt,
    Answer,
    App,
    Data,
    Refused,
    Expect,
    Leased,
    Progress,
    End,
}

impl Observer {
    pub fn new(hints: bool, as_packets: bool) -> Self {
        let infos = APPS.iter().map(|app| (*app, AppInfo::new(app, Some(Side::Resp)))).collect();
        Observer {
            machines: Vec::new(),
            flows: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            steps: 0,
            flow_ids: 0,
            frame: 0,
            second: Micros::MIN,
            sightings: Vec::new(),
            infos,
            hints,
            as_packets,
            talks: 0,
        }
    }

    /// Takes an event; what it and what came before it show up to its time goes to `tell`.
    pub fn take(&mut self, event: &Event, tell: &mut impl FnMut(Observation)) {
        self.until(event.at, tell);
        match &event.what {
            What::Boot(machine) => {
                let at = machine.id as usize;
                if self.machines.len() <= at {
                    self.machines.resize(at + 1, None);
                }
                self.machines[at] = Some((**machine).clone());
                if machine.os != Os::Outside {
                    self.claim(event.at, machine.id, Some(machine.ip), ClaimKind::Announces, tell);
                }
            }
            What::Talk(talk) => self.begin(event.at, *talk),
            What::Lease { vm, server, ip } => {
                if let Some(Some(machine)) = self.machines.get_mut(*vm as usize)
                    && machine.ip != *ip
                {
                    // It announces an address before it sends from it (RFC 5227 section 2.3).
                    machine.ip = *ip;
                    self.claim(event.at, *vm, Some(*ip), ClaimKind::Announces, tell);
                }
                let talk = Talk {
                    client: *vm,
                    server: *server,
                    to: None,
                    transport: Transport::Udp,
                    from: 68,
                    port: 67,
                    app: "dhcp",
                    up: 300,
                    down: 300,
                    ms: 1,
                    outcome: Outcome::Answered,
                    maps: None,
                };
                self.begin(event.at, talk);
            }
            What::Take { vm, ip } => self.claim(event.at, *vm, Some(*ip), ClaimKind::Announces, tell),
            What::Move { vm, host } => {
                if let Some(Some(machine)) = self.machines.get_mut(*vm as usize) {
                    machine.host = *host;
                }
                self.claim(event.at, *vm, None, ClaimKind::Announces, tell);
            }
            What::Announce { vm } => {
                let ip = self.machine(*vm).map(|machine| machine.ip);
                self.claim(event.at, *vm, ip, ClaimKind::Announces, tell);
            }
            What::Stop { .. } => {}
        }
    }

    /// Tells all that shows before `end`.
    pub fn until(&mut self, end: Micros, tell: &mut impl FnMut(Observation)) {
        while let Some(Reverse((at, _, slot, step))) = self.due.peek().copied()
            && at < end
        {
            self.due.pop();
            self.step(at, slot, step, tell);
        }
    }

    fn machine(&self, id: Id) -> Option<&Machine> {
        self.machines.get(id as usize)?.as_ref()
    }

    fn plan(&mut self, at: Micros, slot: u32, step: Step) {
        self.steps += 1;
        self.due.push(Reverse((at, self.steps, slot, step)));
    }

    fn begin(&mut self, at: Micros, talk: Talk) {
        let (Some(client), Some(server)) = (self.machine(talk.client), self.machine(talk.server)) else { return };
        let flow = Flow {
            talk,
            began: at,
            frame: 0,
            id: 0,
            ips: [client.ip, talk.to.unwrap_or(server.ip)],
            macs: [client.mac, server.mac],
            hosts: [client.host, server.host],
            heard: false,
        };
        self.talks += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.flows[slot as usize] = flow;
                slot
            }
            None => {
                self.flows.push(flow);
                self.flows.len() as u32 - 1
            }
        };
        let lasts = Micros::from(talk.ms) * 1_000;
        let tcp = talk.transport == Transport::Tcp;
        let told = !talk.app.is_empty() && (!self.as_packets || packets::writes(talk.app));
        self.plan(at, slot, Step::Attempt);
        match (talk.outcome, tcp) {
            (Outcome::Unanswered, true) => self.plan(at + HALF_OPEN, slot, Step::End),
            (Outcome::Unanswered, false) => self.plan(at + UNANSWERED, slot, Step::End),
            (Outcome::Refused, _) => {
                self.plan(at + HOP, slot, Step::Refused);
                self.plan(at + HOP + CLOSED, slot, Step::End);
            }
            (Outcome::Answered, true) => {
                self.plan(at + HOP, slot, Step::Answer);
                if talk.down > 0 {
                    self.plan(at + 4 * HOP, slot, Step::Data);
                }
                if told {
                    self.plan(at + 4 * HOP, slot, Step::App);
                }
                if talk.maps.is_some() && told {
                    self.plan(at + 6 * HOP, slot, Step::Expect);
                }
                for after in (MINUTE..lasts).step_by(MINUTE as usize) {
                    self.plan(at + after, slot, Step::Progress);
                }
                self.plan(at + lasts.max(10 * HOP) + CLOSED, slot, Step::End);
            }
            (Outcome::Answered, false) => {
                self.plan(at + HOP, slot, Step::Answer);
                if told {
                    self.plan(at + HOP, slot, Step::App);
                }
                if talk.app == "dhcp" {
                    self.plan(at + HOP, slot, Step::Leased);
                }
                self.plan(at + lasts.max(HOP) + DATAGRAM, slot, Step::End);
            }
        }
    }

    fn step(&mut self, at: Micros, slot: u32, step: Step, tell: &mut impl FnMut(Observation)) {
        let by_tick = matches!(step, Step::End | Step::Progress);
        self.pass(at, tell);
        self.frame += u64::from(!by_tick);
        let flow = self.flows[slot as usize];
        match step {
            Step::Attempt => {
                self.flow_ids += 1;
                let id = (stable_hash(&[&self.flow_ids.to_le_bytes()]) & ((1 << 53) - 1)).max(1);
                let here = &mut self.flows[slot as usize];
                (here.id, here.frame) = (id, self.frame);
                self.sight(&flow, Side::Orig);
            }
            Step::Answer | Step::Refused => {
                self.flows[slot as usize].heard = true;
                self.sight(&flow, Side::Resp);
            }
            _ => {}
        }
        let flow = self.flows[slot as usize];
        let opening = if flow.talk.transport == Transport::Tcp { Opening::Syn } else { Opening::Datagram };
        let fact = match step {
            Step::Attempt => FlowFact::Attempt(opening),
            Step::Answer => FlowFact::Answer,
            Step::Data => FlowFact::ServerData,
            Step::Refused => FlowFact::Refused(RefusedBy::Reset),
            Step::App => {
                let Some(mut info) = self.infos.get(flow.talk.app).cloned() else { return };
                if flow.talk.app == "dcerpc" {
                    info.detail("interfaces", if flow.talk.port == 135 { payloads::MAPPER } else { payloads::LSA });
                }
                FlowFact::App(Box::new(info))
            }
            Step::Expect => FlowFact::Expect(Box::new(Expectation {
                client: None,
                server: flow.ips[1].into(),
                transport: Transport::Tcp,
                port: flow.talk.maps.unwrap_or_default(),
                ttl_s: MAPPED_S,
                app: AppProto::new("dcerpc"),
                interface: Some(payloads::LSA.to_owned()),
                serves: true,
            })),
            Step::Leased => {
                let name = self.machine(flow.talk.client).map(|machine| machine.name.clone());
                let kind = ClaimKind::Leased { server: flow.ips[1].into(), name, client_id: None };
                return self.claim(at, flow.talk.client, Some(flow.ips[0]), kind, tell);
            }
            Step::Progress => FlowFact::Progress(flow.totals(at)),
            Step::End => FlowFact::End(flow.ending(), flow.totals(at)),
        };
        self.tell(at, !by_tick, Fact::Flow(flow.reference(self.hints), fact), tell);
        if step == Step::End {
            self.free.push(slot);
        }
    }

    /// Frames of one side, at its own host and at the receiver's.
    fn sight(&mut self, flow: &Flow, side: Side) {
        if !self.hints {
            return;
        }
        let (from, to) = if side == Side::Orig { (0, 1) } else { (1, 0) };
        for host in [flow.hosts[from], flow.hosts[to]] {
            if host != 0 {
                let seen = (flow.macs[from], flow.macs[to], host);
                match self.sightings.iter_mut().find(|(from, to, host, _)| (*from, *to, *host) == seen) {
                    Some((.., frames)) => *frames += 3,
                    None => self.sightings.push((seen.0, seen.1, seen.2, 3)),
                }
            }
            if flow.hosts[from] == flow.hosts[to] {
                break;
            }
        }
    }

    fn claim(&mut self, at: Micros, id: Id, ip: Option<Ipv4Addr>, kind: ClaimKind, tell: &mut impl FnMut(Observation)) {
        self.pass(at, tell);
        let Some(machine) = self.machine(id) else { return };
        let (mac, (host_hint, path)) = (machine.mac, hint(machine.host, self.hints));
        // A lease is about the client and comes from the server: its mirror path hints at nothing.
        let (host_hint, path) = match kind {
            ClaimKind::Leased { .. } => (None, MirrorPath::default()),
            _ => (host_hint, path),
        };
        let claim =
            Claim { segment: Segment::UNTAGGED, mac, ip: ip.map(IpAddr::V4), kind, host_hint, path, echo: false };
        self.frame += 1;
        self.tell(at, true, Fact::Claim(claim), tell);
    }

    /// Ends the packet seconds before `at`.
    fn pass(&mut self, at: Micros, tell: &mut impl FnMut(Observation)) {
        let second = at.div_euclid(SECOND);
        if second <= self.second {
            return;
        }
        if self.second != Micros::MIN {
            // In silence time goes on by the wall clock, as the probe's does: by one second at least.
            let next = (self.second + 1) * SECOND;
            let first = if self.as_packets { at } else { next.min(at) };
            if !self.sightings.is_empty() {
                let seen = std::mem::take(&mut self.sightings).into_iter().map(|(from, to, host, frames)| Sighting {
                    from,
                    to,
                    segment: Segment::UNTAGGED,
                    location: location(host),
                    frames,
                    port: 0,
                });
                let seen = seen.collect();
                self.tell(first, false, Fact::Sighted(Box::new(seen)), tell);
            }
            self.tell(first, false, Fact::Tick, tell);
            if first < at {
                self.tell(at, false, Fact::Tick, tell);
            }
        }
        self.second = second;
    }

    fn tell(&mut self, at: Micros, packet: bool, fact: Fact, tell: &mut impl FnMut(Observation)) {
        let order = Order { frame: self.frame, packet, shard: 0, ordinal: 0 };
        tell(Observation { order, time: packet_time(at), fact });
    }
}

/// The mirror session of a host.
fn hint(host: u16, hints: bool) -> (Option<IpAddr>, MirrorPath) {
    match host {
        0 => (None, MirrorPath::default()),
        _ if !hints => (None, MirrorPath::default()),
        host => (Some(host_address(host)), MirrorPath::new(PathKind::Erspan, u32::from(host))),
    }
}

pub fn host_address(host: u16) -> IpAddr {
    let [high, low] = host.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, high.max(low)))
}

fn location(host: u16) -> Location {
    Location { host: Some(host_address(host)), kind: PathKind::Erspan, id: u32::from(host), port: 0, interface: None }
}

impl Flow {
    fn reference(&self, hints: bool) -> FlowRef {
        let end = |n: usize, port: u16, sent: bool| {
            let (host_hint, path) = if sent { hint(self.hosts[n], hints) } else { (None, MirrorPath::default()) };
            Endpoint { ip: self.ips[n].into(), port, mac: Some(self.macs[n]).filter(|_| sent), host_hint, path }
        };
        FlowRef {
            id: self.id,
            segment: Segment::UNTAGGED,
            transport: self.talk.transport,
            orig: end(0, self.talk.from, true),
            resp: end(1, self.talk.port, self.heard),
            first_seen: packet_time(self.began),
            first_frame: self.frame,
        }
    }

    fn totals(&self, now: Micros) -> FlowTotals {
        let lasts = (Micros::from(self.talk.ms) * 1_000).max(1);
        let part = ((now - self.began) as f64 / lasts as f64).min(1.0);
        let packets = |bytes: u32| 4 + (f64::from(bytes) / 1_448.0 * part) as u64;
        let bytes = |bytes: u32, packets: u64| (f64::from(bytes) * part) as u64 + 40 * packets;
        let Talk { up, down, outcome, transport, .. } = self.talk;
        let (orig_packets, resp_packets) = match (outcome, transport) {
            (Outcome::Unanswered, Transport::Tcp) => (3, 0),
            (Outcome::Unanswered, _) => (1, 0),
            (Outcome::Refused, _) => (1, 1),
            (Outcome::Answered, Transport::Tcp) => (packets(up), packets(down)),
            (Outcome::Answered, _) => (1, 1),
        };
        FlowTotals {
            orig_packets,
            resp_packets,
            orig_bytes: bytes(if outcome == Outcome::Refused { 0 } else { up }, orig_packets),
            resp_bytes: if resp_packets == 0 { 0 } else { bytes(down, resp_packets) },
            last_seen: packet_time(now.min(self.began + lasts)),
            missed_bytes: 0,
            missed_of_orig: 0,
            one_way: false,
            ..FlowTotals::default()
        }
    }

    fn ending(&self) -> FlowEnd {
        match (self.talk.transport, self.talk.outcome) {
            (Transport::Tcp, Outcome::Answered) => FlowEnd::Finished,
            (Transport::Tcp, Outcome::Refused) => FlowEnd::Reset,
            _ => FlowEnd::Timeout,
        }
    }
}
