//! What listens to payload: reassembly and recognition of the flows of one shard.
//!
//! Openings (the first bytes of flows that are being recognised) share one budget: when it is spent, the flow that
//! has held its opening for the longest time gives up, so that unrecognisable streams kept open on purpose cannot
//! keep newer flows from being recognised. A flow that nothing listens to any longer costs nothing here.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Head, ShardLimits, Teller};
use crate::app::{AppCounters, AppState, Definitions, Ends, Heard, Lease};
use crate::decode::{Datagram, HostOsTable, Payload, Tcp};
use crate::flow::{Claims, Flow, FlowTable, Seen};
use crate::model::{ClaimKind, Fact, FlowFact, Opening, Side, Timestamp};
use crate::stream::{Budget, Piece, Reassembly, StreamCounters, TcpSegment};

/// Stale tickets a queue may carry before it is swept.
pub(super) const QUEUE_SLACK: usize = 64;

/// What is remembered of a flow besides its state.
#[derive(Default)]
pub(super) enum Remembered {
    /// No payload yet.
    #[default]
    Silent,
    Listening(Box<Listening>),
    /// Recognised, or nothing recognises it; for a moment a second copy of what was read would still be noticed. The
    /// flag as `Listening::flipped`.
    Watched(Box<Reassembly>, bool),
    /// Recognised, or nothing recognises it: payload is only counted.
    Done,
}

pub(super) struct Listening {
    pub(super) app: AppState,
    /// TCP only.
    pub(super) reassembly: Option<Reassembly>,
    /// The flow was turned round after `app` and `reassembly` had begun: their sides are the former ones.
    pub(super) flipped: bool,
    /// Bytes of openings charged for it.
    pub(super) charged: usize,
    /// It stands in the queue of flows that hold out-of-order bytes.
    pub(super) waiting: bool,
}

impl Listening {
    /// Begins with this packet of `side`.
    fn new(app: AppState, flow: &Flow<Remembered>, side: Side, payload: &Payload<'_>, hosts: &HostOsTable) -> Self {
        let reassembly = match payload {
            Payload::Tcp(tcp) => {
                let os = |side| hosts.of(flow.end(side).0);
                let mut reassembly = Reassembly::new(os(Side::Orig), os(Side::Resp), hosts.urgent);
                reassembly.begin(side, tcp.seq.wrapping_add(u32::from(tcp.flags.syn())));
                if let Some(next) = flow.next_seq(side.other()) {
                    reassembly.begin(side.other(), next);
                }
                Some(reassembly)
            }
            _ => None,
        };
        Listening { app, reassembly, flipped: false, charged: 0, waiting: false }
    }

    /// The flow's ends as `app` knows them.
    pub(super) fn ends(&self, flow: &Flow<Remembered>) -> Ends {
        Ends { orig: flow.end(self.own(Side::Orig)), resp: flow.end(self.own(Side::Resp)), transport: flow.transport() }
    }

    /// A side of the flow as `app` and `reassembly` call it, and the other way round.
    fn own(&self, side: Side) -> Side {
        if self.flipped { side.other() } else { side }
    }
}

/// Names a flow in a queue: the slot may be another flow's by the time it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) slot: u32,
    pub(super) first_frame: u64,
}

/// Everything but the flow table, so that both can be borrowed at once.
pub(super) struct Listeners {
    pub(super) held_back: Budget,
    pub(super) opening_bytes: usize,
    opening_bytes_max: usize,
    /// Flows that listen.
    pub(super) count: usize,
    /// Flows that listen, in the order in which they began to; some may be gone.
    pub(super) oldest: VecDeque<Ticket>,
    /// Flows that hold out-of-order bytes.
    pub(super) waiting: Vec<Ticket>,
    pub(super) app_counters: AppCounters,
    pub(super) stream_counters: StreamCounters,
    pub(super) claims: Claims,
    /// The user's applications, where there are any.
    pub(super) definitions: Option<Arc<Definitions>>,
    hosts: HostOsTable,
}

impl Listeners {
    pub(super) fn new(limits: &ShardLimits, hosts: HostOsTable) -> Self {
        Listeners {
            held_back: Budget::new(limits.reassembly_bytes_max),
            opening_bytes: 0,
            opening_bytes_max: limits.opening_bytes_max,
            count: 0,
            oldest: VecDeque::new(),
            waiting: Vec::new(),
            app_counters: AppCounters::default(),
            stream_counters: StreamCounters::default(),
            claims: Claims::new(),
            definitions: None,
            hosts,
        }
    }

    /// A fact from the flow table on its way out.
    pub(super) fn told(&mut self, flow: &mut Flow<Remembered>, fact: FlowFact, teller: &mut Teller<'_>) {
        let end = matches!(fact, FlowFact::End(..));
        if end
            && let Remembered::Listening(listening) = &mut flow.memory
            && let Some(mut app) = listening.app.last_word()
        {
            app.server = app.server.map(|side| listening.own(side));
            teller.tell(Fact::Flow(flow.reference(), FlowFact::App(Box::new(app))));
        }
        teller.tell(Fact::Flow(flow.reference(), fact));
        if end {
            match std::mem::take(&mut flow.memory) {
                Remembered::Listening(listening) => self.free(listening),
                Remembered::Watched(mut reassembly, _) => {
                    reassembly.discard(&mut self.held_back, &mut self.stream_counters);
                }
                Remembered::Silent | Remembered::Done => {}
            }
        }
    }

    /// Payload goes to reassembly and recognition while anything listens.
    pub(super) fn payload(
        &mut self,
        flows: &mut FlowTable<Remembered>,
        seen: Seen,
        datagram: &Datagram<'_>,
        teller: &mut Teller<'_>,
    ) {
        let Some(flow) = flows.flow_mut(seen.slot) else { return };
        let ticket = Ticket { slot: seen.slot, first_frame: flow.first_frame() };
        let mut listening = match std::mem::replace(&mut flow.memory, Remembered::Done) {
            Remembered::Done => return,
            Remembered::Watched(mut reassembly, flipped) => {
                if let Payload::Tcp(tcp) = &datagram.payload
                    && seen.usable
                    && tcp.payload_len > 0
                {
                    let side = if flipped { seen.side.other() } else { seen.side };
                    reassembly.watch(side, segment(tcp), &mut self.stream_counters);
                    tell_conflict(flow, &mut reassembly, flipped, teller);
                }
                flow.memory = Remembered::Watched(reassembly, flipped);
                return;
            }
            Remembered::Listening(listening) => listening,
            Remembered::Silent if !worth_listening(seen, &datagram.payload) => {
                flow.memory = Remembered::Silent;
                return;
            }
            Remembered::Silent => {
                let mut app = AppState::new(flow.transport(), flow.opening() == Opening::Midstream);
                if let Some(definitions) = &self.definitions {
                    app = app.with(definitions, flow.end(Side::Resp).1);
                }
                if !app.listening() {
                    return;
                }
                self.count += 1;
                Box::new(Listening::new(app, flow, seen.side, &datagram.payload, &self.hosts))
            }
        };
        let ends = listening.ends(flow);
        let side = listening.own(seen.side);
        let mut heard = Heard::default();
        match &datagram.payload {
            Payload::Tcp(tcp) if seen.usable => self.tcp(&mut listening, side, tcp, &ends, teller.time, &mut heard),
            Payload::Udp(udp) => add(&mut heard, listening.app.data(side, udp.payload, &ends, &mut self.app_counters)),
            Payload::Sctp(sctp) => {
                add(&mut heard, listening.app.data(side, sctp.payload, &ends, &mut self.app_counters));
            }
            _ => {}
        }
        self.put_back(flows, ticket, listening, heard, teller);
    }

    fn tcp(
        &mut self,
        listening: &mut Listening,
        side: Side,
        tcp: &Tcp<'_>,
        ends: &Ends,
        now: Timestamp,
        heard: &mut Heard,
    ) {
        let Listening { app, reassembly: Some(reassembly), .. } = listening else { return };
        let Listeners { held_back, app_counters, stream_counters, .. } = self;
        let mut sink = |side, piece: Piece<'_>| match piece {
            Piece::Data(bytes) => add(heard, app.data(side, bytes, ends, app_counters)),
            Piece::Gap(_) => app.gap(side, app_counters),
        };
        reassembly.packet(side, tcp, now, held_back, stream_counters, &mut sink);
    }

    /// Holes that have been open for too long become gaps, and what was watched for long enough is forgotten. `now` is
    /// `None` at the end of the input: nothing waits any longer.
    pub(super) fn give_up_holes(
        &mut self,
        flows: &mut FlowTable<Remembered>,
        now: Option<Timestamp>,
        teller: &mut Teller<'_>,
    ) {
        let waiting = std::mem::take(&mut self.waiting);
        for ticket in waiting {
            let Some(flow) = alive(flows, ticket) else { continue };
            let mut listening = match std::mem::replace(&mut flow.memory, Remembered::Done) {
                Remembered::Listening(listening) => listening,
                Remembered::Watched(mut reassembly, flipped) => {
                    if now.is_none_or(|now| reassembly.watched(now)) {
                        reassembly.discard(&mut self.held_back, &mut self.stream_counters);
                    } else {
                        flow.memory = Remembered::Watched(reassembly, flipped);
                        self.waiting.push(ticket);
                    }
                    continue;
                }
                other => {
                    flow.memory = other;
                    continue;
                }
            };
            let ends = listening.ends(flow);
            let mut heard = Heard::default();
            let Listening { app, reassembly, waiting, .. } = &mut *listening;
            *waiting = false;
            if let Some(reassembly) = reassembly {
                let Listeners { held_back, app_counters, stream_counters, .. } = self;
                let mut sink = |side, piece: Piece<'_>| match piece {
                    Piece::Data(bytes) => add(&mut heard, app.data(side, bytes, &ends, app_counters)),
                    Piece::Gap(_) => app.gap(side, app_counters),
                };
                match now {
                    Some(now) => reassembly.tick(now, held_back, stream_counters, &mut sink),
                    None => reassembly.finish(held_back, stream_counters, &mut sink),
                }
            }
            self.put_back(flows, ticket, listening, heard, teller);
        }
    }

    /// Tells what was heard, charges what is held, and keeps the listener while it listens.
    fn put_back(
        &mut self,
        flows: &mut FlowTable<Remembered>,
        ticket: Ticket,
        mut listening: Box<Listening>,
        heard: Heard,
        teller: &mut Teller<'_>,
    ) {
        self.heard(flows, ticket.slot, &mut listening, heard, teller);
        if let Some(flow) = flows.flow_mut(ticket.slot)
            && let Some(reassembly) = &mut listening.reassembly
        {
            tell_conflict(flow, reassembly, listening.flipped, teller);
        }
        let held = listening.app.held();
        let begins = held > 0 && listening.charged == 0;
        self.opening_bytes = (self.opening_bytes + held).saturating_sub(listening.charged);
        listening.charged = held;
        if !listening.app.listening() {
            self.watch(flows, ticket, listening, teller.time);
            return;
        }
        if !listening.waiting && listening.reassembly.as_ref().is_some_and(Reassembly::holds) {
            listening.waiting = true;
            self.waiting.push(ticket);
        }
        if let Some(flow) = flows.flow_mut(ticket.slot) {
            flow.memory = Remembered::Listening(listening);
        }
        if begins {
            self.oldest.push_back(ticket);
            if self.oldest.len() > 2 * self.count + QUEUE_SLACK {
                self.oldest.retain(|t| listens(flows, *t, |l| l.charged > 0));
            }
        }
        while self.opening_bytes > self.opening_bytes_max && self.oldest_gives_up(flows) {}
        // Every flow that waits holds at least a piece's overhead; the rest of a long queue is stale.
        if self.waiting.len() > self.held_back.used() / 32 + QUEUE_SLACK {
            self.waiting.retain(|t| {
                alive(flows, *t).is_some_and(|flow| match &flow.memory {
                    Remembered::Listening(listening) => listening.waiting,
                    Remembered::Watched(..) => true,
                    Remembered::Silent | Remembered::Done => false,
                })
            });
        }
    }

    /// What has told all it can is freed; of a TCP connection the last bytes are kept for a moment.
    fn watch(
        &mut self,
        flows: &mut FlowTable<Remembered>,
        ticket: Ticket,
        mut listening: Box<Listening>,
        now: Timestamp,
    ) {
        let reassembly = listening.reassembly.take();
        let (flipped, waiting) = (listening.flipped, listening.waiting);
        self.free(listening);
        let Some(mut reassembly) = reassembly else { return };
        if reassembly.only_watch(now, &mut self.held_back, &mut self.stream_counters)
            && let Some(flow) = flows.flow_mut(ticket.slot)
        {
            flow.memory = Remembered::Watched(Box::new(reassembly), flipped);
            if !waiting {
                self.waiting.push(ticket);
            }
        }
    }

    pub(super) fn heard(
        &mut self,
        flows: &mut FlowTable<Remembered>,
        slot: u32,
        listening: &mut Listening,
        heard: Heard,
        teller: &mut Teller<'_>,
    ) {
        if let Some(mut app) = heard.app {
            app.server = app.server.map(|side| listening.own(side));
            let opening = flows.flow_mut(slot).map(|f| f.opening());
            if app.server == Some(Side::Orig) && matches!(opening, Some(Opening::Midstream | Opening::Datagram)) {
                flows.flip(slot, &mut |flow, fact| teller.tell(Fact::Flow(flow.reference(), fact)));
                listening.flipped = !listening.flipped;
                app.server = Some(Side::Resp);
            }
            if let Some(flow) = flows.flow_mut(slot) {
                teller.tell(Fact::Flow(flow.reference(), FlowFact::App(Box::new(app))));
            }
        }
        let Some(flow) = flows.flow_mut(slot) else { return };
        for expectation in heard.follow.expect {
            teller.tell(Fact::Flow(flow.reference(), FlowFact::Expect(Box::new(expectation))));
        }
        for name in heard.follow.names {
            teller.tell(Fact::Name(flow.segment(), Box::new(name)));
        }
        // The lease is about the client: the mirror's sender is the server's host and hints at nothing.
        let about = Head {
            frame: teller.order.frame,
            time: teller.time,
            segment: flow.segment(),
            src_mac: None,
            dst_mac: None,
            host_hint: None,
            taken: Default::default(),
            path: Default::default(),
        };
        let (server, _) = flow.end(Side::Resp);
        for Lease { mac, ip, name, client_id } in heard.follow.leased {
            let kind = ClaimKind::Leased { server, name, client_id };
            if let Some(claim) = self.claims.claim(&about, Some(mac), Some(ip), kind) {
                teller.tell(Fact::Claim(claim));
            }
        }
    }

    /// The flow that has held an opening for the longest time stops being recognised. False when none holds one.
    fn oldest_gives_up(&mut self, flows: &mut FlowTable<Remembered>) -> bool {
        while let Some(ticket) = self.oldest.pop_front() {
            let Some(flow) = alive(flows, ticket) else { continue };
            match std::mem::replace(&mut flow.memory, Remembered::Done) {
                Remembered::Listening(mut listening) if listening.charged > 0 => {
                    listening.app.give_up(&mut self.app_counters);
                    self.free(listening);
                    return true;
                }
                other => flow.memory = other,
            }
        }
        false
    }

    fn free(&mut self, mut listening: Box<Listening>) {
        self.count = self.count.saturating_sub(1);
        self.opening_bytes = self.opening_bytes.saturating_sub(listening.charged);
        if let Some(reassembly) = listening.reassembly.as_mut() {
            reassembly.discard(&mut self.held_back, &mut self.stream_counters);
        }
    }
}

/// The flow of a ticket, unless it is gone.
fn alive(flows: &mut FlowTable<Remembered>, ticket: Ticket) -> Option<&mut Flow<Remembered>> {
    flows.flow_mut(ticket.slot).filter(|f| f.first_frame() == ticket.first_frame)
}

/// Does the flow of a ticket still listen, in this way?
fn listens(flows: &mut FlowTable<Remembered>, ticket: Ticket, how: impl Fn(&Listening) -> bool) -> bool {
    alive(flows, ticket).is_some_and(|f| matches!(&f.memory, Remembered::Listening(l) if how(l)))
}

fn segment<'a>(tcp: &Tcp<'a>) -> TcpSegment<'a> {
    let seq = tcp.seq.wrapping_add(u32::from(tcp.flags.syn()));
    TcpSegment { seq, len: tcp.payload_len, bytes: tcp.payload }
}

/// Tells, once a flow, that two copies of some bytes differ.
fn tell_conflict(flow: &Flow<Remembered>, reassembly: &mut Reassembly, flipped: bool, teller: &mut Teller<'_>) {
    if let Some(side) = reassembly.take_conflict() {
        let side = if flipped { side.other() } else { side };
        teller.tell(Fact::Flow(flow.reference(), FlowFact::Conflict(side)));
    }
}

/// From here on the payload matters: the first of it, or the handshake that tells where it will begin.
fn worth_listening(seen: Seen, payload: &Payload<'_>) -> bool {
    match payload {
        Payload::Tcp(tcp) => {
            let accepted = tcp.flags.syn() && tcp.flags.ack() && seen.side == Side::Resp;
            seen.usable && (tcp.payload_len > 0 || accepted)
        }
        Payload::Udp(udp) => !udp.payload.is_empty(),
        Payload::Sctp(sctp) => !sctp.payload.is_empty(),
        _ => false,
    }
}

/// Adds what one more piece told.
fn add(heard: &mut Heard, more: Heard) {
    if more.app.is_some() {
        heard.app = more.app;
    }
    heard.follow.expect.extend(more.follow.expect);
    heard.follow.leased.extend(more.follow.leased);
    heard.follow.names.extend(more.follow.names);
}
