//! Pairing: exporters tell a conversation as two records, one for each direction; here they meet, and it is decided who
//! asked and whether the other answered (detection.md 3.3, with what a record tells).
//!
//! Bound: [`WAITING_MAX`] records wait for their other half, each at most [`WAIT_S`] seconds of packet time. At either
//! bound it is told as one direction only.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::half::{ACK, Counts, Half, RST, SYN};
use crate::model::{
    Endpoint, FlowKey, FlowRef, FlowTotals, Outcome, Record, RecordFormat, Segment, Side, Timestamp, Transport,
    stable_hash,
};

/// 16 MiB, and twice as many places in the queue.
const WAITING_MAX: usize = 65_536;
/// Both directions end, or reach the exporter's active timeout, together; exporters flush at least once a minute.
const WAIT_S: i64 = 90;
/// Linux's ephemeral ports begin here, all others' higher.
const EPHEMERAL_FROM: u16 = 32_768;
const PRIVILEGED_TO: u16 = 1_024;
/// Without flags: a refused connection has one packet in each direction, one that was accepted at least three.
const CONVERSATION_PACKETS: u64 = 3;

/// What one exporter sent, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub exporter: IpAddr,
    pub format: RecordFormat,
    pub frame: u64,
    pub now: Timestamp,
}

type Key = (IpAddr, FlowKey);

#[derive(Debug)]
struct Waiting {
    half: Half,
    origin: Origin,
    src_is_low: bool,
    ticket: u64,
}

#[derive(Debug, Default)]
pub(super) struct Pairing {
    /// Looked up, never walked.
    waiting: HashMap<Key, Waiting>,
    /// In order of coming; a ticket that is no longer the key's was paired meanwhile.
    queue: VecDeque<(Timestamp, u64, Key)>,
    tickets: u64,
    pub paired: u64,
    pub one_way: u64,
    pub evicted: u64,
}

/// Told of a whole conversation.
pub(super) type Tell<'t> = &'t mut dyn FnMut(FlowRef, Record);

impl Pairing {
    pub fn add(&mut self, mut half: Half, origin: Origin, tell: Tell<'_>) {
        if let Some(back) = half.back.take() {
            self.paired += 1;
            let answer = Half { counts: back, ..Half::default() };
            let outcome = outcome_of(&half, &answer, true);
            tell(flow_of(&half, &answer, &origin), record_of(&half, &answer, outcome, &origin));
            return;
        }
        let (src_port, dst_port) = half.ports();
        let (flow, src_is_low) =
            FlowKey::new(half.segment(), half.transport(), (half.src, src_port), (half.dst, dst_port));
        let key = (origin.exporter, flow);
        match self.waiting.get_mut(&key) {
            // More of the same direction: the exporter's active timeout cut it.
            Some(waiting) if waiting.src_is_low == src_is_low => return waiting.half.counts.add(&half.counts),
            Some(_) => {
                if let Some(earlier) = self.waiting.remove(&key) {
                    self.paired += 1;
                    pair(&earlier, &half, &origin, tell);
                }
                return;
            }
            None => {}
        }
        if self.waiting.len() >= WAITING_MAX {
            self.evicted += 1;
            while !self.give_up_first(tell) {}
        }
        self.tickets += 1;
        self.queue.push_back((origin.now, self.tickets, key));
        self.waiting.insert(key, Waiting { half, origin, src_is_low, ticket: self.tickets });
        if self.queue.len() > 2 * WAITING_MAX {
            let waiting = &self.waiting;
            self.queue.retain(|(_, ticket, key)| waiting.get(key).is_some_and(|w| w.ticket == *ticket));
        }
    }

    /// Packet time has reached `now`.
    pub fn expire(&mut self, now: Timestamp, tell: Tell<'_>) {
        while self.queue.front().is_some_and(|(since, ..)| now.second() - since.second() >= WAIT_S) {
            self.give_up_first(tell);
        }
    }

    pub fn finish(&mut self, tell: Tell<'_>) {
        while !self.queue.is_empty() {
            self.give_up_first(tell);
        }
    }

    /// Takes the first from the queue. True where it was still waiting; it is told as one direction.
    fn give_up_first(&mut self, tell: Tell<'_>) -> bool {
        let Some((_, ticket, key)) = self.queue.pop_front() else { return true };
        if self.waiting.get(&key).is_none_or(|waiting| waiting.ticket != ticket) {
            return false;
        }
        if let Some(Waiting { half, origin, .. }) = self.waiting.remove(&key) {
            self.one_way += 1;
            let nothing = Half::default();
            tell(flow_of(&half, &nothing, &origin), record_of(&half, &nothing, Outcome::OneWay, &origin));
        }
        true
    }
}

fn pair(earlier: &Waiting, later: &Half, origin: &Origin, tell: Tell<'_>) {
    let client = asked(&earlier.half, later);
    // Where nothing tells, the one that came first stands first; it is not taken for the client.
    let swap = client == Some(Side::Resp);
    let (orig, resp) = if swap { (later, &earlier.half) } else { (&earlier.half, later) };
    let outcome = outcome_of(orig, resp, client.is_some());
    tell(flow_of(orig, resp, origin), record_of(orig, resp, outcome, origin));
}

/// Who asked: `Orig` is `a`. By flags where they tell, else by order and ports, where these agree.
fn asked(a: &Half, b: &Half) -> Option<Side> {
    let only_asks = |counts: &Counts| counts.flags.is_some_and(|f| f & (SYN | ACK) == SYN);
    match (only_asks(&a.counts), only_asks(&b.counts)) {
        (true, false) => return Some(Side::Orig),
        (false, true) => return Some(Side::Resp),
        _ => {}
    }
    // Of a sampled flow the first packet seen is any packet.
    let by_order = a.first_clock.zip(b.first_clock).filter(|_| a.sampling.max(b.sampling) <= 1).and_then(|(a, b)| {
        match a.cmp(&b) {
            std::cmp::Ordering::Less => Some(Side::Orig),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Side::Resp),
        }
    });
    match (by_order, by_ports(a.ports().0, b.ports().0)) {
        (Some(order), Some(ports)) => (order == ports).then_some(order),
        (order, ports) => order.or(ports),
    }
}

/// Who asks, going by the port of each: a client's is ephemeral.
fn by_ports(a: u16, b: u16) -> Option<Side> {
    let lower = |limit: u16| match (a < limit, b < limit) {
        (true, false) => Some(Side::Resp),
        (false, true) => Some(Side::Orig),
        _ => None,
    };
    lower(PRIVILEGED_TO).or_else(|| lower(EPHEMERAL_FROM))
}

/// What two halves prove; `certain`: it is `orig` who asked.
fn outcome_of(orig: &Half, resp: &Half, certain: bool) -> Outcome {
    let (asks, answers) = (&orig.counts, &resp.counts);
    if !certain {
        return Outcome::Unclear;
    }
    match orig.transport() {
        Transport::Tcp if asks.flags.is_some() && answers.flags.is_some() => {
            if asks.has(SYN) && answers.has(SYN | ACK) {
                Outcome::Answered
            } else if asks.has(SYN) && answers.has(RST) && !answers.has(SYN) {
                Outcome::Refused
            } else {
                Outcome::Unclear // it began before this record
            }
        }
        // No flags: an exchange of several packets, or of bytes where only bytes are told.
        Transport::Tcp | Transport::Sctp => {
            let talked = match asks.packets.zip(answers.packets) {
                Some((asked, answered)) => asked.min(answered) >= CONVERSATION_PACKETS,
                None => asks.bytes.min(answers.bytes) > 0,
            };
            if talked { Outcome::Answered } else { Outcome::Unclear }
        }
        Transport::Udp => Outcome::Answered,
        _ => Outcome::Unclear,
    }
}

fn flow_of(orig: &Half, resp: &Half, origin: &Origin) -> FlowRef {
    let (orig_port, resp_port) = orig.ports();
    let (segment, transport) = (orig.segment(), orig.transport());
    let end = |ip, port, mac| Endpoint { ip, port, mac, host_hint: None, path: Default::default() };
    let longest_ago = orig.first_ago.max(resp.first_ago).unwrap_or(0);
    FlowRef {
        id: id_of(segment, transport, orig, origin),
        segment,
        transport,
        orig: end(orig.src, orig_port, orig.src_mac),
        resp: end(orig.dst, resp_port, resp.src_mac),
        first_seen: before(origin.now, longest_ago),
        first_frame: origin.frame,
    }
}

fn record_of(orig: &Half, resp: &Half, outcome: Outcome, origin: &Origin) -> Record {
    let last_ago = match (orig.last_ago, resp.last_ago) {
        (Some(a), Some(b)) => a.min(b),
        (a, b) => a.or(b).unwrap_or(0),
    };
    // A direction that was told had a packet at least.
    let sent = |counts: &Counts| counts.packets.unwrap_or(1);
    let alone = outcome == Outcome::OneWay;
    let totals = FlowTotals {
        orig_packets: sent(&orig.counts),
        resp_packets: if alone { 0 } else { sent(&resp.counts) },
        orig_bytes: orig.counts.bytes,
        resp_bytes: resp.counts.bytes,
        last_seen: before(origin.now, last_ago),
        ..FlowTotals::default()
    };
    let sampling = orig.sampling.max(resp.sampling);
    Record { format: origin.format, exporter: origin.exporter, outcome, totals, sampling }
}

fn before(now: Timestamp, ns: i64) -> Timestamp {
    Timestamp::from_ns(now.ns().saturating_sub(ns))
}

/// 53 bits, as a flow's; never 0.
fn id_of(segment: Segment, transport: Transport, orig: &Half, origin: &Origin) -> u64 {
    let text = format!("{segment} {transport} {} {} {}", orig.src, orig.dst, origin.exporter);
    let (a, b) = orig.ports();
    let hash = stable_hash(&[text.as_bytes(), &a.to_be_bytes(), &b.to_be_bytes(), &origin.frame.to_be_bytes()]);
    (hash & ((1 << 53) - 1)).max(1)
}
