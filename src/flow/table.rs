//! The flow table of one shard: finds or makes the flow of a packet, tells its steps, forgets it in time.
//!
//! At most `flows_max` flows. At the bound the longest silent of a few candidates is forgotten, taken from those due
//! first among the unanswered, half-open and ended, else among the others; it is told as evicted and counted.
//! Time-outs happen at ticks only. Nothing follows the order of the hash table.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::record::{Flow, PROGRESS_S, State};
use super::wheel::{Lane, Wheel};
use super::{FlowCounters, Head, Timeouts};
use crate::decode::{Datagram, Icmp, Payload, Quoted, SctpChunk};
use crate::model::{FlowEnd, FlowFact, FlowKey, Opening, RefusedBy, Side, Timestamp, Transport};

/// A reply to a datagram that comes later than this does not prove a service (detection.md 3.3).
const REPLY_NS_MAX: i64 = 10_000_000_000;
/// Candidates for eviction. More would come closer to the longest silent, at a cache miss each.
const CANDIDATES: usize = 4;

/// Takes each fact with the flow it is about; at `End` it must also take what the flow remembers.
pub type Tell<'a, S> = dyn FnMut(&mut Flow<S>, FlowFact) + 'a;

/// Where a packet was put.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// For [`FlowTable::flow_mut`], until the next packet or tick.
    pub slot: u32,
    /// Who sent it.
    pub side: Side,
    /// Its payload lies where the receiver would take it (always true outside TCP).
    pub usable: bool,
}

pub struct FlowTable<S> {
    index: HashTable<u32>,
    hasher: FixedState,
    flows: Vec<Flow<S>>,
    free: Vec<u32>,
    wheel: Wheel,
    due: Vec<u32>,
    flows_max: usize,
    timeouts: Timeouts,
    pub counters: FlowCounters,
}

/// The ports and what they belong to; `None` for what is not a flow of its own: ARP, neighbour discovery, and ICMP
/// errors, which are about another flow.
fn addressing(payload: &Payload<'_>) -> Option<(Transport, u16, u16)> {
    match payload {
        Payload::Tcp(tcp) => Some((Transport::Tcp, tcp.src_port, tcp.dst_port)),
        Payload::Udp(udp) => Some((Transport::Udp, udp.src_port, udp.dst_port)),
        Payload::Sctp(sctp) => Some((Transport::Sctp, sctp.src_port, sctp.dst_port)),
        Payload::Icmp(icmp) if icmp.quoted.is_some() || icmp.nd.is_some() => None,
        Payload::Icmp(icmp) if icmp.v6 => Some((Transport::Icmp6, 0, 0)),
        Payload::Icmp(_) => Some((Transport::Icmp, 0, 0)),
        Payload::Other(number, _) => Some((Transport::Ip(*number), 0, 0)),
        Payload::Arp(_) | Payload::Advert(_) => None,
    }
}

fn opening(payload: &Payload<'_>) -> Opening {
    match payload {
        Payload::Tcp(tcp) if tcp.flags.rst() || !tcp.flags.syn() => Opening::Midstream,
        Payload::Tcp(tcp) if tcp.flags.ack() => Opening::SynAck,
        Payload::Tcp(_) => Opening::Syn,
        Payload::Sctp(sctp) => match sctp.first {
            SctpChunk::Init => Opening::Syn,
            SctpChunk::InitAck => Opening::SynAck,
            _ => Opening::Midstream,
        },
        _ => Opening::Datagram,
    }
}

/// Is this an answer to a request? For ICMP only the replies are (RFC 792, RFC 950, RFC 4443).
fn replies(payload: &Payload<'_>) -> bool {
    match payload {
        Payload::Icmp(Icmp { v6: false, kind, .. }) => matches!(kind, 0 | 14 | 16 | 18),
        Payload::Icmp(Icmp { v6: true, kind, .. }) => *kind == 129,
        _ => true,
    }
}

impl<S: Default> FlowTable<S> {
    /// `seed` places keys in the hash table; no output depends on it.
    pub fn new(flows_max: usize, timeouts: Timeouts, seed: u64) -> Self {
        FlowTable {
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            flows: Vec::new(),
            free: Vec::new(),
            wheel: Wheel::new(),
            due: Vec::new(),
            flows_max: flows_max.clamp(1, (u32::MAX - 1) as usize),
            timeouts,
            counters: FlowCounters::default(),
        }
    }

    /// Flows alive.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The flow in a slot, while it lives.
    pub fn flow_mut(&mut self, slot: u32) -> Option<&mut Flow<S>> {
        self.flows.get_mut(slot as usize).filter(|f| f.state != State::Free)
    }

    /// Takes one packet. `None` for what is not part of a flow.
    pub fn packet(&mut self, head: &Head, datagram: &Datagram<'_>, tell: &mut Tell<'_, S>) -> Option<Seen> {
        let (transport, src_port, dst_port) = addressing(&datagram.payload)?;
        let (key, src_is_low) =
            FlowKey::new(head.segment, transport, (datagram.src, src_port), (datagram.dst, dst_port));
        let mut found = self.find(&key);
        let mut generation = 0;
        if let Some(flow) = found.and_then(|slot| self.flows.get(slot as usize)) {
            let side = if src_is_low == flow.orig_is_low { Side::Orig } else { Side::Resp };
            if begins_another(flow, side, datagram, head.time) {
                generation = flow.generation.wrapping_add(1);
                self.counters.reused += 1;
                let ending = flow.ending();
                if let Some(slot) = found.take() {
                    self.end(slot, ending, tell);
                }
            }
        }
        let (slot, fresh) = match found {
            Some(slot) => (slot, false),
            None => (self.insert(key, head, opening(&datagram.payload), src_is_low, generation, tell), true),
        };
        let flow = self.flows.get_mut(slot as usize)?;
        let side = if src_is_low == flow.orig_is_low { Side::Orig } else { Side::Resp };
        let class_before = flow.classify();
        let asked_last = (flow.last_by, head.time.since_ns(flow.last_seen));
        flow.count(side, head, datagram);
        if fresh {
            tell(flow, FlowFact::Attempt(flow.opening()));
        }
        let usable = advance(flow, side, datagram, asked_last, &mut self.counters, tell);
        let class = flow.classify();
        if fresh || class != class_before {
            let at_s = visit_s(flow, &self.timeouts, head.time);
            self.wheel.arm(slot, class.lane(), at_s, head.time.second());
        }
        Some(Seen { slot, side, usable })
    }

    /// An ICMP "destination unreachable" with this code came for the quoted packet.
    pub fn unreachable(&mut self, head: &Head, quoted: &Quoted, code: u8, tell: &mut Tell<'_, S>) {
        let (key, src_is_low) =
            FlowKey::new(head.segment, quoted.transport, (quoted.src, quoted.src_port), (quoted.dst, quoted.dst_port));
        let slot = self.find(&key);
        let asked = slot
            .and_then(|slot| self.flows.get_mut(slot as usize))
            .filter(|f| src_is_low == f.orig_is_low && matches!(f.state, State::Opening | State::Asking));
        match asked {
            Some(flow) if !flow.refused => {
                flow.refused = true;
                tell(flow, FlowFact::Refused(RefusedBy::Unreachable(code)));
            }
            Some(_) => {}
            None => self.counters.error_without_flow += 1,
        }
    }

    /// Turns a flow round because its payload proved that the first sender serves.
    pub fn flip(&mut self, slot: u32, tell: &mut Tell<'_, S>) {
        let Some(flow) = self.flows.get_mut(slot as usize) else { return };
        flow.flip();
        self.counters.flipped += 1;
        // What was told of the former responder was told of a client: tell again what is known of the server.
        flow.answered = false;
        if flow.opening() == Opening::Datagram {
            if flow.packets.orig > 0 && flow.packets.resp > 0 {
                flow.answered = true;
                tell(flow, FlowFact::Answer);
            } else if flow.packets.resp > 0 {
                // It answers something that was not seen; anybody can send an answer that nobody asked for.
                tell(flow, FlowFact::ServerData);
            }
        } else if flow.sent_data.resp {
            tell(flow, FlowFact::ServerData);
        }
    }

    /// Packet time has reached `now`: ends what was silent too long, tells the totals of what goes on.
    pub fn tick(&mut self, now: Timestamp, tell: &mut Tell<'_, S>) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(now.second(), &mut due);
        for slot in due.drain(..) {
            let Some(flow) = self.flows.get_mut(slot as usize) else { continue };
            if flow.last_seen.plus_s(flow.classify().timeout_s(&self.timeouts)) <= now {
                let ending = flow.ending();
                self.end(slot, ending, tell);
                continue;
            }
            if flow.progress_due(now) {
                tell(flow, FlowFact::Progress(flow.totals()));
            }
            let (lane, at_s) = (flow.classify().lane(), visit_s(flow, &self.timeouts, now));
            self.wheel.arm(slot, lane, at_s, now.second());
        }
        self.due = due;
    }

    /// The input is over: ends every flow, in the order in which they began.
    pub fn finish(&mut self, tell: &mut Tell<'_, S>) {
        let mut alive: Vec<(u64, u32)> = self.index.iter().copied().map(|slot| (0, slot)).collect();
        for (frame, slot) in &mut alive {
            *frame = self.flows.get(*slot as usize).map_or(0, |f| f.first_frame);
        }
        alive.sort_unstable();
        for (_, slot) in alive {
            let ending = match self.flows.get(slot as usize).map(Flow::ending) {
                Some(FlowEnd::Timeout) | None => FlowEnd::Shutdown,
                Some(over) => over,
            };
            self.end(slot, ending, tell);
        }
    }

    fn find(&self, key: &FlowKey) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |slot| self.flows.get(*slot as usize).is_some_and(|f| f.key == *key)).copied()
    }

    fn insert(
        &mut self,
        key: FlowKey,
        head: &Head,
        opening: Opening,
        src_is_low: bool,
        generation: u8,
        tell: &mut Tell<'_, S>,
    ) -> u32 {
        if self.index.len() >= self.flows_max {
            self.evict(tell);
        }
        // The sender of a SYN-ACK was asked: it is the responder.
        let orig_is_low = src_is_low != (opening == Opening::SynAck);
        let mut flow = Flow::new(key, head, opening, orig_is_low, S::default());
        flow.generation = generation;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.flows.len() as u32,
        };
        match self.flows.get_mut(slot as usize) {
            Some(place) => *place = flow,
            None => self.flows.push(flow),
        }
        let (flows, hasher) = (&self.flows, &self.hasher);
        self.index.insert_unique(hasher.hash_one(key), slot, |slot| {
            flows.get(*slot as usize).map_or(0, |f| hasher.hash_one(f.key))
        });
        self.counters.opened += 1;
        slot
    }

    fn evict(&mut self, tell: &mut Tell<'_, S>) {
        let longest_silent = |lane| {
            let silent_since = |slot: &u32| self.flows.get(*slot as usize).map_or(Timestamp::MAX, |f| f.last_seen);
            self.wheel.earliest(lane, CANDIDATES).min_by_key(silent_since)
        };
        if let Some(slot) = longest_silent(Lane::Tentative) {
            self.counters.evicted_tentative += 1;
            self.end(slot, FlowEnd::Evicted, tell);
        } else if let Some(slot) = longest_silent(Lane::Settled) {
            self.counters.evicted_settled += 1;
            self.end(slot, FlowEnd::Evicted, tell);
        }
    }

    fn end(&mut self, slot: u32, ending: FlowEnd, tell: &mut Tell<'_, S>) {
        self.wheel.disarm(slot);
        let Some(flow) = self.flows.get_mut(slot as usize).filter(|f| f.state != State::Free) else { return };
        match ending {
            FlowEnd::Finished => self.counters.ended_finished += 1,
            FlowEnd::Reset => self.counters.ended_reset += 1,
            FlowEnd::Timeout => self.counters.ended_timeout += 1,
            FlowEnd::Shutdown => self.counters.ended_shutdown += 1,
            FlowEnd::Evicted => {}
        }
        self.counters.one_way += u64::from(flow.is_one_way());
        tell(flow, FlowFact::End(ending, flow.totals()));
        let hash = self.hasher.hash_one(flow.key);
        flow.state = State::Free;
        flow.memory = S::default();
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == slot) {
            entry.remove();
            self.free.push(slot);
        }
    }
}

/// The second in which the wheel must look at this flow again.
fn visit_s<S>(flow: &Flow<S>, timeouts: &Timeouts, now: Timestamp) -> i64 {
    let deadline = flow.last_seen.plus_s(flow.classify().timeout_s(timeouts));
    // Rounded up: at the tick of this second the deadline has passed.
    let deadline_s = deadline.second() + i64::from(deadline.ns() % 1_000_000_000 != 0);
    deadline_s.min(now.second() + PROGRESS_S)
}

fn begins_another<S>(flow: &Flow<S>, side: Side, datagram: &Datagram<'_>, now: Timestamp) -> bool {
    let over = matches!(flow.state, State::Finished | State::Reset);
    match &datagram.payload {
        Payload::Tcp(tcp) => flow.tcp.begins_another(flow.state, side, tcp, now.since_ns(flow.last_seen)),
        Payload::Sctp(sctp) => over && matches!(sctp.first, SctpChunk::Init | SctpChunk::InitAck),
        _ => false,
    }
}

/// Takes the flow one packet further and tells what that proved; whether the payload is usable.
fn advance<S>(
    flow: &mut Flow<S>,
    side: Side,
    datagram: &Datagram<'_>,
    (last_by, silent_ns): (Side, i64),
    counters: &mut FlowCounters,
    tell: &mut Tell<'_, S>,
) -> bool {
    let (mut answered, mut refused, mut usable, mut data) = (false, false, true, false);
    match &datagram.payload {
        Payload::Tcp(tcp) => {
            let (state, verdict) = flow.tcp.segment(flow.state, side, tcp, counters);
            flow.state = state;
            // Late bytes fill what was stepped over, as far as something was; else they were sent twice.
            flow.miss(side, verdict.missed, verdict.unseen, verdict.late);
            (answered, refused, usable) = (verdict.answered, verdict.refused, verdict.usable);
            data = usable && tcp.payload_len > 0;
        }
        Payload::Sctp(sctp) => {
            (flow.state, answered, refused) = associate(flow.state, side, sctp.first);
            data = !sctp.payload.is_empty();
        }
        other => {
            if side == Side::Resp && !flow.answered && last_by == Side::Orig && replies(other) {
                answered = silent_ns <= REPLY_NS_MAX;
                counters.answered_late += u64::from(!answered);
            }
            if answered {
                flow.state = State::Answered;
            }
        }
    }
    if answered && !flow.answered {
        flow.answered = true;
        tell(flow, FlowFact::Answer);
    }
    if refused && !flow.refused {
        flow.refused = true;
        tell(flow, FlowFact::Refused(RefusedBy::Reset));
    }
    let first_data = data && !*flow.sent_data.of(side);
    *flow.sent_data.of_mut(side) |= data;
    if first_data && side == Side::Resp {
        tell(flow, FlowFact::ServerData);
    }
    usable
}

/// One SCTP packet by its first chunk (RFC 9260): the state after it, answered, refused.
fn associate(state: State, side: Side, chunk: SctpChunk) -> (State, bool, bool) {
    match (state, side, chunk) {
        (State::Opening, Side::Resp, SctpChunk::InitAck) => (State::Accepted, true, false),
        (State::Opening, Side::Resp, SctpChunk::Abort) => (State::Reset, false, true),
        (State::Finished, ..) => (State::Finished, false, false),
        (_, _, SctpChunk::Abort) => (State::Reset, false, false),
        (State::Reset, ..) => (State::Reset, false, false),
        (_, _, SctpChunk::ShutdownComplete) => (State::Finished, false, false),
        (State::Established, _, SctpChunk::Shutdown) => (State::HalfClosed, false, false),
        // The INIT-ACK was lost by the mirror: nobody sends anything else from there before it.
        (State::Opening, Side::Resp, SctpChunk::Data | SctpChunk::Other(_)) => (State::Established, true, false),
        (State::Opening | State::Accepted, Side::Orig, SctpChunk::Data | SctpChunk::Other(_)) => {
            (State::Established, false, false)
        }
        (state, ..) => (state, false, false),
    }
}

#[cfg(test)]
mod tests;
