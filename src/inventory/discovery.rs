//! Service discovery: what each fact of a flow says about who serves (detection.md 3.3).
//!
//! A live flow is remembered from the first fact that matters later; its bound is in `table.rs`.

use std::net::{IpAddr, Ipv4Addr};

use super::change::{Change, Sight, What};
use super::credit::{How, Proof};
use super::group::Reply;
use super::home;
use super::identity::{At, Party, Sender};
use super::peer::Client;
use super::service::RowKey;
use super::table::{Inventory, LIVE_MAX};
use super::unasked::Unasked;
use crate::model::{
    AppInfo, AppProto, Endpoint, FlowFact, FlowRef, FlowTotals, Opening, Outcome, Record, RefusedBy, ServiceKey, Side,
    Transport,
};

/// What is remembered of a flow until it ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    /// `None`: a SYN, or a datagram. Of datagrams [`Opening::Midstream`] is said where the request was not seen.
    pub began: Option<Opening>,
    pub standing: Standing,
    /// The row that its bytes count for: the service it uses or, of an announced flow, the one that announced it.
    pub row: Option<RowKey>,
    pub client: Option<Client>,
    /// The responder has answered.
    pub answered: bool,
    /// Payload of the responder was seen (TCP, SCTP).
    pub spoken: bool,
    /// Proved before the answer came (UDP), or by the client's bytes alone (TCP, SCTP).
    pub app: Option<Box<AppInfo>>,
    /// Bytes counted until now.
    pub to_server: u64,
    pub to_client: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may prove a service.
    #[default]
    Own,
    /// Announced by another flow, as this application.
    Announced(AppProto),
    /// Neither end serves: an answer to a group query from some other port.
    Stray,
}

/// A mid-connection end that only sent a reset or a probe's answer proves nothing; a conversation has at least so
/// many packets in both directions.
const CONVERSATION_PACKETS: u64 = 2;
/// IP protocol number.
const IGMP: u8 = 2;

impl Inventory {
    pub(super) fn flow(&mut self, flow: &FlowRef, fact: &FlowFact, at: At, out: &mut Vec<Change>) {
        match fact {
            FlowFact::Attempt(opening) => self.attempt(flow, *opening, at, out),
            FlowFact::Answer => self.answer(flow, at, out),
            FlowFact::ServerData => self.server_data(flow, at, out),
            FlowFact::Refused(by) => self.refused(flow, *by, at, out),
            FlowFact::App(app) => self.app(flow, app, at, out),
            FlowFact::Expect(expected) => {
                let parent = self.live.get(&flow.id).and_then(|live| live.row);
                self.expectations.announce(flow, expected, parent, at.time);
            }
            FlowFact::Record(record) => self.recorded(flow, record, at, out),
            FlowFact::Stack(stack) => self.answers_as(flow, *stack, at, out),
            FlowFact::Conflict(side) => self.contradicted(flow, *side, at),
            FlowFact::Progress(totals) => self.totals(flow, totals, at, out),
            FlowFact::End(_, totals) => self.end(flow, totals, at, out),
        }
    }

    /// Says something of the path, nothing of who is there.
    fn contradicted(&mut self, flow: &FlowRef, side: Side, at: At) {
        let holder = |ip| self.identity.holder(flow.segment, ip);
        let (client, server) = (holder(flow.orig.ip), holder(flow.resp.ip));
        let service = Some((flow.transport, flow.resp.port));
        for (vm, service) in [(client, None), (server, service)] {
            if let Some(vm) = vm {
                self.contradictions.add(vm, service, side, at.frame, at.time);
            }
        }
    }

    fn end(&mut self, flow: &FlowRef, totals: &FlowTotals, at: At, out: &mut Vec<Change>) {
        self.totals(flow, totals, at, out);
        self.live.remove(&flow.id);
        self.count_outside(flow, totals);
    }

    /// The word of another device, for a conversation that was not seen here.
    fn recorded(&mut self, flow: &FlowRef, record: &Record, at: At, out: &mut Vec<Change>) {
        match record.outcome {
            Outcome::Answered => {
                let how = How::Record(record.format, record.exporter);
                let proof = Proof { sight: Sight::Record, ..Proof::new(Side::Resp, 2, how) };
                self.place(flow, Side::Orig, at, out);
                self.credit(flow, proof, at, out);
            }
            Outcome::Refused => self.refused(flow, RefusedBy::Reset, at, out),
            Outcome::OneWay | Outcome::Unclear => {
                let how = How::Record(record.format, record.exporter);
                self.group_stream(flow, &record.totals, how, at, out);
            }
        }
        self.end(flow, &record.totals, at, out);
    }

    fn attempt(&mut self, flow: &FlowRef, opening: Opening, at: At, out: &mut Vec<Change>) {
        self.place(flow, Side::Orig, at, out);
        match (flow.transport, opening) {
            (Transport::Tcp | Transport::Sctp, Opening::SynAck | Opening::Midstream) => {
                self.remember(flow).began = Some(opening);
                if opening == Opening::Midstream {
                    self.underway(flow, at.time);
                }
            }
            (Transport::Udp, _) => {
                let (orig, resp) = (&flow.orig, &flow.resp);
                if self.is_group(flow, resp) {
                    self.groups.asked(flow.segment, (orig.ip, orig.port), (resp.ip, resp.port), at.time);
                    return;
                }
                let asked = self.groups.reply(flow.segment, resp.ip, resp.port, orig.port, at.time);
                match asked.or_else(|| self.reply_to_nobody(flow, at)) {
                    Some(Reply::Serves) => {
                        if let Some(group) = self.groups.answered(flow.segment, resp.ip, resp.port) {
                            self.members.joined(flow.segment, group, orig.ip, at.time);
                        }
                        self.credit(flow, Proof::new(Side::Orig, 2, How::GroupReply), at, out);
                    }
                    Some(Reply::Stray) => self.remember(flow).standing = Standing::Stray,
                    None => {}
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, flow: &FlowRef, at: At, out: &mut Vec<Change>) {
        // After a turn round of the flow `orig` may be the group that was sent to: no host, and no client. Or it has
        // sent nothing: a DHCP offer goes to an address that nobody has yet. Only a link without MACs cannot tell.
        if flow.orig.mac.is_some() || flow.resp.mac.is_none() {
            self.place(flow, Side::Orig, at, out);
        }
        self.prove(flow, Side::Resp, at, out);
        let level = match flow.transport {
            Transport::Tcp | Transport::Sctp => match self.began(flow) {
                Opening::Syn => 3,
                Opening::SynAck => 2,
                Opening::Midstream | Opening::Datagram => 0,
            },
            Transport::Udp if !self.is_group(flow, &flow.orig) => 2,
            _ => 0,
        };
        if level == 0 && !matches!(flow.transport, Transport::Tcp | Transport::Udp | Transport::Sctp) {
            return;
        }
        let live = self.remember(flow);
        live.answered = true;
        if live.standing == Standing::Stray && live.app.as_ref().is_some_and(|app| app.server == Some(Side::Resp)) {
            // What came to the asker's port was no answer but a request of its own.
            live.standing = Standing::Own;
        }
        if flow.transport == Transport::Udp && live.began == Some(Opening::Midstream) {
            // Now a request and its answer were seen, too; where the payload had proved the side, that is all.
            live.began = None;
            match (live.row, live.app.take()) {
                (Some(row), _) => return self.begun(flow, row, at, out),
                (None, Some(app)) => return self.app_of_datagrams(flow, &app, at, out),
                (None, None) => {}
            }
        }
        let live = self.remember(flow);
        if level == 0 || live.row.is_some() || live.standing != Standing::Own {
            return;
        }
        let how = match (flow.transport, level) {
            (Transport::Udp, _) => How::Reply,
            (_, 3) => How::SynAck,
            _ => How::SynAckAlone,
        };
        if how == How::SynAck && self.proxies.is_known(flow.segment, flow.resp.ip, at.time) {
            return; // until it shows payload
        }
        self.credit(flow, Proof::new(Side::Resp, level, how), at, out);
    }

    fn server_data(&mut self, flow: &FlowRef, at: At, out: &mut Vec<Change>) {
        self.prove(flow, Side::Resp, at, out);
        let level = match self.began(flow) {
            Opening::Syn => 4,
            Opening::SynAck => 3,
            // Which end serves is not known: the app may prove it, or the number of its remotes.
            Opening::Midstream => return,
            Opening::Datagram => {
                let to_group = self.is_group(flow, &flow.orig);
                let live = self.remember(flow);
                if !to_group && live.row.is_none() && live.standing == Standing::Own {
                    live.began = Some(Opening::Midstream);
                }
                return;
            }
        };
        // The handshake was completed: the client is no spoofed sender.
        self.prove(flow, Side::Orig, at, out);
        match self.live.get(&flow.id).map(|live| (live.row, &live.standing)) {
            Some((Some(row), Standing::Own)) => {
                self.proxies.has_payload(&row);
                self.raise(flow, row, level, at, out);
            }
            Some((None, Standing::Own)) => {
                self.credit(flow, Proof::new(Side::Resp, level, How::Payload), at, out);
            }
            Some(_) => {}
            // The SYN-ACK was lost to the mirror.
            None => self.credit(flow, Proof::new(Side::Resp, 3, How::Payload), at, out),
        }
        let live = self.remember(flow);
        live.spoken = true;
        if let Some(app) = live.app.take() {
            self.app_of_handshake(flow, &app, at, out);
        }
    }

    fn refused(&mut self, flow: &FlowRef, by: RefusedBy, at: At, out: &mut Vec<Change>) {
        self.place(flow, Side::Orig, at, out);
        let Endpoint { ip, port, .. } = flow.resp;
        let refuser = match by {
            RefusedBy::Reset => self.place(flow, Side::Resp, at, out),
            // A router may have said so of an address that nobody has.
            RefusedBy::Unreachable(_) => self.party(flow, Side::Resp, at, out),
        };
        let Party::Vm(vm) = refuser else { return };
        if super::closed::says_closed(by, ip) {
            self.closed.refused(flow.segment, ip, flow.transport, port, at.time);
        }
        let service = ServiceKey { vm, transport: flow.transport, port };
        if self.services.rows.contains(&RowKey { key: service, segment: flow.segment, ip }) {
            tell(out, at, flow, What::ServiceRefused { service, client: flow.orig.ip });
        }
    }

    fn app(&mut self, flow: &FlowRef, app: &AppInfo, at: At, out: &mut Vec<Change>) {
        if !matches!(flow.transport, Transport::Tcp | Transport::Udp | Transport::Sctp) {
            return;
        }
        match self.began(flow) {
            // A handshake says who serves; the payload only what.
            Opening::Syn | Opening::SynAck => self.app_of_handshake(flow, app, at, out),
            Opening::Midstream => {
                if let Some(side) = app.server.filter(|side| self.believed(flow, *side, app, at)) {
                    self.prove_side(flow, Proof::midstream(side, &app.proto), app, at, out);
                }
            }
            Opening::Datagram => self.app_of_datagrams(flow, app, at, out),
        }
    }

    /// Is a conversation whose beginning was not seen enough for a service? A datagram that nobody asked for is not,
    /// until another one comes; then it waits with what it proved.
    fn believed(&mut self, flow: &FlowRef, side: Side, app: &AppInfo, at: At) -> bool {
        let server = flow.end(side);
        if flow.transport != Transport::Udp
            || self.live.get(&flow.id).is_some_and(|live| live.row.is_some())
            || self.serves(flow, server)
            || self.unasked.again((server.ip, server.port, flow.segment), at.time)
        {
            return true;
        }
        self.remember(flow).app = Some(Box::new(app.clone()));
        false
    }

    /// Is this end known to serve?
    pub(super) fn serves(&self, flow: &FlowRef, end: &Endpoint) -> bool {
        self.identity.holder(flow.segment, end.ip).is_some_and(|vm| {
            let key = ServiceKey { vm, transport: flow.transport, port: end.port };
            self.services.rows.contains(&RowKey { key, segment: flow.segment, ip: end.ip })
        })
    }

    fn app_of_handshake(&mut self, flow: &FlowRef, app: &AppInfo, at: At, out: &mut Vec<Change>) {
        let Some(live) = self.live.get_mut(&flow.id).filter(|live| live.answered) else { return };
        if !live.spoken {
            // What a client says proves nothing of the server: a scanner tries every protocol on every port.
            live.app = Some(Box::new(app.clone()));
            return;
        }
        if matches!(&live.standing, Standing::Announced(announced) if *announced != app.proto) {
            // Something else than what was announced: it serves on its own account.
            (live.standing, live.row) = (Standing::Own, None);
        }
        if live.standing != Standing::Own {
            return;
        }
        if live.row.is_none() {
            self.credit_unannounced(flow, Proof::new(Side::Resp, 4, How::Payload), at, out);
        }
        if let Some(row) = self.live.get(&flow.id).and_then(|live| live.row) {
            self.proxies.has_payload(&row);
            self.raise(flow, row, 4, at, out);
            self.describe(flow, row, app, at, out);
        }
    }

    fn app_of_datagrams(&mut self, flow: &FlowRef, app: &AppInfo, at: At, out: &mut Vec<Change>) {
        let Some(side) = app.server else {
            // The protocol does not tell the sides: the answer did, or will.
            match self.live.get(&flow.id).map(|live| (live.row, &live.standing)) {
                Some((Some(row), Standing::Own)) => {
                    self.raise(flow, row, 4, at, out);
                    self.describe(flow, row, app, at, out);
                }
                Some((_, Standing::Announced(_) | Standing::Stray)) => {}
                _ => self.remember(flow).app = Some(Box::new(app.clone())),
            }
            return;
        };
        let (server, client) = (flow.end(side), flow.end(side.other()));
        if self.is_group(flow, server) {
            // A query to a group: nobody in particular serves, however often it is asked.
            if !self.is_group(flow, client) && self.live.get(&flow.id).is_none_or(|live| live.row.is_none()) {
                self.remember(flow).standing = Standing::Stray;
            }
            return;
        }
        if self.is_group(flow, client) {
            self.groups.withdraw(flow.segment, server.ip, server.port);
            self.prove_side(flow, Proof::group(flow, side, How::GroupSend(app.proto.clone())), app, at, out);
        } else if side == Side::Orig || self.live.get(&flow.id).is_some_and(|live| live.answered || live.row.is_some())
        {
            self.prove_side(flow, Proof::new(side, 4, How::Reply), app, at, out);
        } else {
            self.remember(flow).app = Some(Box::new(app.clone()));
        }
    }

    /// The payload proved which end serves: the service is that end's, whatever was believed before.
    fn prove_side(&mut self, flow: &FlowRef, proof: Proof, app: &AppInfo, at: At, out: &mut Vec<Change>) {
        let (side, level) = (proof.side, proof.level);
        let server = flow.end(side);
        let held = self.live.get(&flow.id).map(|live| (live.row, live.standing.clone()));
        let mut announced = true;
        match held {
            Some((_, Standing::Announced(as_what))) if as_what == app.proto => return,
            Some((_, Standing::Announced(_) | Standing::Stray)) => {
                announced = false;
                let live = self.remember(flow);
                (live.standing, live.row) = (Standing::Own, None);
            }
            Some((Some(row), Standing::Own)) if (row.ip, row.key.port) != (server.ip, proof.port(flow)) => {
                self.take_back_if_only_this(flow, row, at, out);
                self.remember(flow).row = None;
            }
            _ => {}
        }
        match self.live.get(&flow.id).is_none_or(|live| live.row.is_none()) {
            true if announced => self.credit(flow, proof, at, out),
            true => self.credit_unannounced(flow, proof, at, out),
            false => {}
        }
        let Some(live) = self.live.get(&flow.id).filter(|live| live.standing == Standing::Own) else { return };
        if let Some(row) = live.row {
            self.raise(flow, row, level, at, out);
            self.describe(flow, row, app, at, out);
        }
    }

    fn totals(&mut self, flow: &FlowRef, totals: &FlowTotals, at: At, out: &mut Vec<Change>) {
        if totals.orig_packets > 0 {
            self.place(flow, Side::Orig, at, out);
        }
        if totals.resp_packets > 0 {
            self.place(flow, Side::Resp, at, out);
        } else if flow.transport == Transport::Udp && self.is_group(flow, &flow.resp) {
            // The socket that asked a group is still asking.
            self.groups.asks_on(flow.segment, flow.orig.ip, flow.orig.port, totals.last_seen);
        }
        self.unasked_again(flow, totals, at, out);
        self.group_stream(flow, totals, How::GroupStream, at, out);
        if totals.orig_packets.min(totals.resp_packets) >= CONVERSATION_PACKETS {
            self.prove(flow, Side::Orig, at, out);
            self.prove(flow, Side::Resp, at, out);
            if self.began(flow) == Opening::Midstream && self.live.get(&flow.id).is_some_and(|l| l.row.is_none()) {
                self.midstream(flow, at, out);
            }
        }
        let Some(live) = self.live.get_mut(&flow.id) else { return };
        let announced = matches!(live.standing, Standing::Announced(_)) && flow.transport == Transport::Tcp;
        if live.row.is_none() && !announced {
            return;
        }
        // The flow may have been turned round since: the row says which end is the server.
        let serves = |end: &Endpoint| {
            live.row.is_none_or(|row| end.ip == row.ip && (end.port == row.key.port || live.standing != Standing::Own))
        };
        let (to_server, to_client) = match serves(&flow.resp) {
            true => (totals.orig_bytes, totals.resp_bytes),
            false => (totals.resp_bytes, totals.orig_bytes),
        };
        let (more, back) = (to_server.saturating_sub(live.to_server), to_client.saturating_sub(live.to_client));
        (live.to_server, live.to_client) = (to_server, to_client);
        let client_side = if serves(&flow.resp) { Side::Orig } else { Side::Resp };
        let late = live.client.is_none() && flow.end(client_side).mac.is_none();
        let row = live.row;
        if announced {
            // Who announced a transfer may be the end that connects.
            let listener = if client_side == Side::Orig { (more, back) } else { (back, more) };
            self.transfers.count(flow, listener, totals.last_seen);
        }
        let Some(row) = row.map(|row| self.current(row)) else { return };
        if late && let found @ Party::Vm(_) = self.party(flow, client_side, at, out) {
            self.credit_late(flow, row, found, at, out);
        }
        let client = self.live.get(&flow.id).and_then(|live| live.client);
        if let Some(service) = self.services.rows.touch(&row) {
            service.bytes_to_server += more;
            service.bytes_to_client += back;
            service.last_seen = service.last_seen.max(totals.last_seen);
        }
        if let Some(client) = client {
            let client = match client {
                Client::Vm(vm) => Client::Vm(self.resolve(vm)),
                Client::External => client,
            };
            self.peers.add_bytes(&(row.key, client), more, back, totals.last_seen);
        }
    }

    /// What goes on to a group and is no query is a service, whatever it says: a feed, a picture, a router's hello.
    fn group_stream(&mut self, flow: &FlowRef, totals: &FlowTotals, how: How, at: At, out: &mut Vec<Change>) {
        let (side, sent) = match (totals.orig_packets, totals.resp_packets) {
            (sent, 0) => (Side::Orig, sent),
            (0, sent) => (Side::Resp, sent),
            _ => return,
        };
        let (sender, group) = (flow.end(side), flow.end(side.other()));
        if !self.is_group(flow, group)
            || self.live.get(&flow.id).is_some_and(|live| live.row.is_some() || live.standing != Standing::Own)
        {
            return;
        }
        let serves = match flow.transport {
            Transport::Udp => self.groups.goes_on(flow.segment, sender.ip, sender.port, sent),
            // Reports of who listens are no service.
            Transport::Ip(IGMP) => false,
            // VRRP, PIM, OSPF: protocols without ports greet, and do not ask.
            Transport::Ip(_) => true,
            _ => false,
        };
        if serves {
            let proof = match how {
                How::Record(..) => Proof { level: 2, sight: Sight::Record, ..Proof::group(flow, side, how) },
                _ => Proof::group(flow, side, how),
            };
            self.credit_unannounced(flow, proof, at, out);
        }
    }

    /// Several answers of one flow, which all came to the same end: its payload had proved the side.
    fn unasked_again(&mut self, flow: &FlowRef, totals: &FlowTotals, at: At, out: &mut Vec<Change>) {
        if flow.transport != Transport::Udp || !Unasked::apart(flow.first_seen, totals.last_seen) {
            return;
        }
        let Some(live) = self.live.get_mut(&flow.id) else { return };
        let side = live.app.as_ref().and_then(|app| app.server);
        let (Some(Opening::Midstream), None, Some(side)) = (live.began, live.row, side) else { return };
        let packets = if side == Side::Resp { totals.resp_packets } else { totals.orig_packets };
        if packets >= 2
            && let Some(app) = live.app.take()
        {
            self.prove_side(flow, Proof::midstream(side, &app.proto), &app, at, out);
        }
    }

    /// A conversation whose beginning was not seen: an end that several remotes use is the server.
    fn midstream(&mut self, flow: &FlowRef, at: At, out: &mut Vec<Change>) {
        for side in [Side::Resp, Side::Orig] {
            let (end, remote) = (flow.end(side), flow.end(side.other()));
            // Remote ports look ephemeral: a client's are above the server's.
            if end.port < remote.port
                && self.fan_in.add((end.ip, end.port, flow.transport, flow.segment), (remote.ip, remote.port), at.time)
            {
                let proof = Proof { sight: Sight::Midstream, ..Proof::new(side, 1, How::MidRemotes) };
                self.credit(flow, proof, at, out);
                return;
            }
        }
    }

    /// Who has no address yet asks with none (DHCP, RFC 2131 section 4.1) and is answered at the one it is given.
    fn reply_to_nobody(&self, flow: &FlowRef, at: At) -> Option<Reply> {
        let nobody = match flow.resp.ip {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => return None, // has its link-local address
        };
        let reply = self.groups.reply(flow.segment, nobody, flow.resp.port, flow.orig.port, at.time);
        reply.filter(|reply| *reply == Reply::Serves)
    }

    /// Is this end a group: multicast, broadcast, or a subnet's own broadcast address that nobody ever sent from?
    fn is_group(&self, flow: &FlowRef, end: &Endpoint) -> bool {
        home::group_class(end.ip).is_some()
            || (home::may_be_broadcast(end.ip)
                && end.mac.is_none()
                && self.identity.holder(flow.segment, end.ip).is_none())
    }

    /// How the flow began.
    fn began(&self, flow: &FlowRef) -> Opening {
        match flow.transport {
            Transport::Tcp | Transport::Sctp => {
                self.live.get(&flow.id).and_then(|live| live.began).unwrap_or(Opening::Syn)
            }
            Transport::Udp => self.live.get(&flow.id).and_then(|live| live.began).unwrap_or(Opening::Datagram),
            _ => Opening::Datagram,
        }
    }

    pub(super) fn remember(&mut self, flow: &FlowRef) -> &mut Live {
        if self.live.len() >= LIVE_MAX && !self.live.contains_key(&flow.id) {
            // The slot of id 0, which no flow has, takes what is not remembered; it is emptied each time.
            self.counters.live_refused += 1;
            let slot = self.live.entry(0).or_default();
            *slot = Live::default();
            return slot;
        }
        self.live.entry(flow.id).or_default()
    }

    /// Who the sender at this end is; it has sent frames, so it is there.
    pub(super) fn place(&mut self, flow: &FlowRef, side: Side, at: At, out: &mut Vec<Change>) -> Party {
        let end = flow.end(side);
        let sender = Sender { segment: flow.segment, ip: end.ip, mac: end.mac, host_hint: end.host_hint };
        let party = self.identity.place(sender, at, &mut self.turns);
        self.settle(Some(flow), at, out);
        party
    }

    /// Who this end is, where it is not certain that it ever sent anything.
    pub(super) fn party(&mut self, flow: &FlowRef, side: Side, at: At, out: &mut Vec<Change>) -> Party {
        let end = flow.end(side);
        if end.mac.is_some() {
            return self.place(flow, side, at, out);
        }
        match self.identity.holder(flow.segment, end.ip) {
            Some(vm) => Party::Vm(vm),
            None if home::names_no_host(end.ip) || self.identity.home.covers(end.ip) => Party::Nobody,
            None => Party::Outside,
        }
    }

    fn prove(&mut self, flow: &FlowRef, side: Side, at: At, out: &mut Vec<Change>) {
        if let Party::Vm(vm) = self.place(flow, side, at, out) {
            self.identity.prove(vm);
        }
    }

    fn count_outside(&mut self, flow: &FlowRef, totals: &FlowTotals) {
        let ends = [
            (&flow.orig, totals.orig_packets, totals.orig_bytes),
            (&flow.resp, totals.resp_packets, totals.resp_bytes),
        ];
        for (end, packets, bytes) in ends {
            // Only what sent something: a scan of the internet is not a network missing from home.
            if packets > 0
                && !home::names_no_host(end.ip)
                && !self.identity.home.covers(end.ip)
                && self.identity.holder(flow.segment, end.ip).is_none()
            {
                self.outside.add(flow.segment, end.ip, packets, bytes);
            }
        }
    }
}

pub(super) fn tell(out: &mut Vec<Change>, at: At, flow: &FlowRef, what: What) {
    out.push(Change { time: at.time, frame: at.frame, flow: Some(*flow), what });
}
