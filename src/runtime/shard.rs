//! One virtual shard of the packet side: flow table, reassembly, application recognition, address claims.
//!
//! There are [`SHARDS`] of them whatever the number of workers, and every limit is per shard, so that nothing depends
//! on that number. What happens at each limit is told by the room that has it; each is counted.

mod listeners;

use listeners::{Listeners, Remembered};

use std::sync::Arc;

use crate::app::{AppCounters, Definitions};
use crate::counters;
use crate::decode::{Datagram, HostOsTable, Icmp, Payload};
pub use crate::flow::Head;
use crate::flow::{
    AdvertCounters, Adverts, ClaimCounters, FlowCounters, FlowTable, MembershipCounters, Stacks, Timeouts, reports,
    stack_of,
};
use crate::model::{Fact, FlowFact, Observation, Order, Side, Timestamp};
use crate::stream::StreamCounters;

/// Virtual shards (decision B.2), as decoding distributes them.
pub const SHARDS: usize = crate::decode::SHARDS as usize;

/// Limits of one shard.
#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    pub flows_max: usize,
    /// Out-of-order TCP bytes held back.
    pub reassembly_bytes_max: usize,
    /// First bytes of flows that are being recognised.
    pub opening_bytes_max: usize,
    pub timeouts: Timeouts,
}

impl Default for ShardLimits {
    /// 262,144 flows (50 MiB), 32 MiB held back and 32 MiB of openings over all shards.
    fn default() -> Self {
        ShardLimits {
            flows_max: (1 << 18) / SHARDS,
            reassembly_bytes_max: (32 << 20) / SHARDS,
            opening_bytes_max: (32 << 20) / SHARDS,
            timeouts: Timeouts::default(),
        }
    }
}

counters! {
    struct ShardCounters {
        packets => "shard.packets",
        icmp_errors => "shard.icmp_errors",
        /// Facts about flows, by weight for the brain.
        observations => "shard.observations",
        /// Endpoints whose TCP/IP stack was forgotten for that of another.
        stacks_displaced => "shard.stacks.displaced",
    }
}

/// What one or several shards counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    shard: ShardCounters,
    flow: FlowCounters,
    app: AppCounters,
    stream: StreamCounters,
    claims: ClaimCounters,
    memberships: MembershipCounters,
    adverts: AdvertCounters,
}

impl Counted {
    pub fn add(&mut self, other: &Counted) {
        self.shard.add(&other.shard);
        self.flow.add(&other.flow);
        self.app.add(&other.app);
        self.stream.add(&other.stream);
        self.claims.add(&other.claims);
        self.memberships.add(&other.memberships);
        self.adverts.add(&other.adverts);
    }

    /// Zeros left out.
    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        self.shard.report(out);
        self.flow.report(out);
        self.app.report(out);
        self.stream.report(out);
        self.claims.report(out);
        self.memberships.report(out);
        self.adverts.report(out);
    }
}

/// Gives observations their place in the global order.
struct Teller<'a> {
    order: Order,
    time: Timestamp,
    out: &'a mut Vec<Observation>,
}

impl Teller<'_> {
    fn tell(&mut self, fact: Fact) {
        self.out.push(Observation { order: self.order, time: self.time, fact });
        self.order.ordinal = self.order.ordinal.saturating_add(1);
    }
}

pub struct Shard {
    flows: FlowTable<Remembered>,
    listeners: Listeners,
    /// Place of the next observation.
    order: Order,
    counters: ShardCounters,
    memberships: MembershipCounters,
    adverts: Adverts,
    stacks: Stacks,
}

impl Shard {
    /// `index` is below [`SHARDS`]; `seed` places keys in hash tables only.
    pub fn new(index: u16, limits: &ShardLimits, hosts: HostOsTable, seed: u64) -> Self {
        Shard {
            flows: FlowTable::new(limits.flows_max, limits.timeouts, seed),
            listeners: Listeners::new(limits, hosts),
            order: Order { shard: index, ..Order::default() },
            counters: ShardCounters::default(),
            memberships: MembershipCounters::default(),
            adverts: Adverts::new(),
            stacks: Stacks::new(),
        }
    }

    /// Looks for what the user defined, in flows that begin from now on.
    pub fn define(&mut self, definitions: &Arc<Definitions>) {
        self.listeners.definitions = Some(Arc::clone(definitions)).filter(|all| !all.is_empty());
    }

    /// Takes one packet; what it proves is added to `out`.
    pub fn datagram(&mut self, head: &Head, datagram: &Datagram<'_>, out: &mut Vec<Observation>) {
        self.counters.packets += 1;
        let before = out.len();
        let (flows, listeners) = (&mut self.flows, &mut self.listeners);
        let mut teller = teller(&mut self.order, head.frame, true, head.time, out);
        match &datagram.payload {
            Payload::Arp(arp) => {
                if let Some(claim) = listeners.claims.arp(head, arp) {
                    teller.tell(Fact::Claim(claim));
                }
            }
            Payload::Advert(advert) => {
                if let Some(said) = self.adverts.hear(head, advert) {
                    teller.tell(Fact::Advert(Box::new(said)));
                }
            }
            Payload::Icmp(Icmp { nd: Some(nd), .. }) => {
                if let Some(claim) = listeners.claims.nd(head, datagram.src, datagram.ttl, nd) {
                    teller.tell(Fact::Claim(claim));
                }
            }
            Payload::Icmp(icmp @ Icmp { quoted: Some(quoted), .. }) => {
                self.counters.icmp_errors += 1;
                // "Fragmentation needed" (RFC 1191) is advice, not a refusal.
                let refuses = if icmp.v6 { icmp.kind == 1 } else { icmp.kind == 3 && icmp.code != 4 };
                if refuses {
                    flows.unreachable(head, quoted, icmp.code, &mut |flow, fact| {
                        teller.tell(Fact::Flow(flow.reference(), fact));
                    });
                }
            }
            _ => {
                reports(head, datagram, &mut self.memberships, |joined| teller.tell(Fact::Membership(joined)));
                let seen = flows.packet(head, datagram, &mut |flow, fact| listeners.told(flow, fact, &mut teller));
                if let (Payload::Tcp(tcp), Some(seen)) = (&datagram.payload, &seen)
                    && tcp.flags.syn()
                    && tcp.flags.ack()
                    && seen.side == Side::Resp
                    && let Some(stack) = stack_of(tcp, datagram.ttl)
                    && let Some(flow) = flows.flow_mut(seen.slot)
                    && self.stacks.shows(flow.segment(), flow.end(Side::Resp), flow.first_frame(), stack)
                {
                    teller.tell(Fact::Flow(flow.reference(), FlowFact::Stack(stack)));
                }
                // Of a sampled stream no two segments follow each other: there is nothing to reassemble.
                let whole = !(head.taken.sampled() && matches!(datagram.payload, Payload::Tcp(_)));
                if let Some(seen) = seen.filter(|_| whole) {
                    listeners.payload(flows, seen, datagram, &mut teller);
                }
            }
        }
        self.order = teller.order;
        self.counters.observations += (out.len() - before) as u64;
    }

    /// Packet time has reached `now`, before frame `frame`: time-outs happen here and nowhere else.
    pub fn tick(&mut self, frame: u64, now: Timestamp, out: &mut Vec<Observation>) {
        let before = out.len();
        let (flows, listeners) = (&mut self.flows, &mut self.listeners);
        let mut teller = teller(&mut self.order, frame, false, now, out);
        listeners.give_up_holes(flows, Some(now), &mut teller);
        flows.tick(now, &mut |flow, fact| listeners.told(flow, fact, &mut teller));
        self.order = teller.order;
        self.counters.observations += (out.len() - before) as u64;
    }

    /// The input is over after everything before `frame`: ends all flows in the order in which they began.
    pub fn finish(&mut self, frame: u64, now: Timestamp, out: &mut Vec<Observation>) {
        let before = out.len();
        let (flows, listeners) = (&mut self.flows, &mut self.listeners);
        let mut teller = teller(&mut self.order, frame, false, now, out);
        // What waits for a hole to be filled, or for an acknowledgement, waits in vain.
        listeners.give_up_holes(flows, None, &mut teller);
        flows.finish(&mut |flow, fact| listeners.told(flow, fact, &mut teller));
        self.order = teller.order;
        self.counters.observations += (out.len() - before) as u64;
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counted {
        Counted {
            shard: ShardCounters { stacks_displaced: self.stacks.displaced, ..self.counters },
            flow: self.flows.counters,
            app: self.listeners.app_counters,
            stream: self.listeners.stream_counters,
            claims: self.listeners.claims.counters,
            memberships: self.memberships,
            adverts: self.adverts.counters,
        }
    }

    /// Present sizes: flows alive, flows that listen, bytes of openings, bytes held back.
    pub fn sizes(&self) -> [(&'static str, u64); 4] {
        [
            ("flow.table.size", self.flows.len() as u64),
            ("app.listening.size", self.listeners.count as u64),
            ("app.opening.bytes", self.listeners.opening_bytes as u64),
            ("stream.held.bytes", self.listeners.held_back.used() as u64),
        ]
    }
}

/// Ordinals count on within one frame and begin anew with the next.
fn teller<'a>(
    last: &mut Order,
    frame: u64,
    packet: bool,
    time: Timestamp,
    out: &'a mut Vec<Observation>,
) -> Teller<'a> {
    if (last.frame, last.packet) != (frame, packet) {
        *last = Order { frame, packet, shard: last.shard, ordinal: 0 };
    }
    Teller { order: *last, time, out }
}

#[cfg(test)]
mod tests;
