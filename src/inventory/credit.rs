//! Crediting a service with a flow: the row, its evidence, its clients and peer edges, and what is taken back.
//!
//! Nothing is kept here; the bounds are those of services and peers.

use std::fmt;
use std::net::IpAddr;

use super::change::{Basis, Change, Sight, What};
use super::clients::Clients;
use super::discovery::{Standing, tell};
use super::expectation::Announced;
use super::home;
use super::identity::{At, Party};
use super::peer::{Client, Use};
use super::service::{RowKey, Service, merge_app};
use super::table::Inventory;
use super::transfer::Transfer;
use super::vm::NameSource;
use crate::model::{
    AppInfo, AppProto, FlowRef, RecordFormat, ServiceClass, ServiceKey, Side, Stack, Transport, VmId, stable_hash,
};

/// Why an end of a flow is taken for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub side: Side,
    /// Evidence level; see [`Basis`].
    pub level: u8,
    pub class: ServiceClass,
    pub sight: Sight,
    pub how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    SynAck,
    SynAckAlone,
    Payload,
    Reply,
    GroupReply,
    GroupSend(AppProto),
    /// Goes on sending to a group what no parser knows.
    GroupStream,
    MidApp(AppProto),
    MidRemotes,
    /// A flow record of this exporter.
    Record(RecordFormat, IpAddr),
}

impl Proof {
    pub fn new(side: Side, level: u8, how: How) -> Self {
        Proof { side, level, class: ServiceClass::Unicast, sight: Sight::Whole, how }
    }

    /// The payload of a conversation whose beginning was not seen proved the side.
    pub fn midstream(side: Side, app: &AppProto) -> Self {
        Proof { sight: Sight::Midstream, ..Proof::new(side, 1, How::MidApp(app.clone())) }
    }

    /// Sending to the group at the other end proved it.
    pub fn group(flow: &FlowRef, side: Side, how: How) -> Self {
        let class = home::group_class(flow.end(side.other()).ip).unwrap_or(ServiceClass::Broadcast);
        Proof { class, ..Proof::new(side, 3, how) }
    }

    /// The service's port. Of a sender to a group it is the group's, for its own may be any (market data, RTP, SSDP);
    /// a privileged one of its own (DHCP's 67) is where it is asked, too.
    pub fn port(&self, flow: &FlowRef) -> u16 {
        let own = flow.end(self.side).port;
        match self.class {
            ServiceClass::Multicast | ServiceClass::Broadcast if own >= 1_024 => flow.end(self.side.other()).port,
            _ => own,
        }
    }

    fn row(&self, flow: &FlowRef, vm: VmId) -> RowKey {
        let key = ServiceKey { vm, transport: flow.transport, port: self.port(flow) };
        RowKey { key, segment: flow.segment, ip: flow.end(self.side).ip }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::SynAck => f.write_str("SYN-ACK"),
            How::SynAckAlone => f.write_str("SYN-ACK (its SYN was not seen)"),
            How::Payload => f.write_str("payload of the server"),
            How::Reply => f.write_str("reply"),
            How::GroupReply => f.write_str("reply to a group query"),
            How::GroupSend(app) => write!(f, "{app} sent to a group"),
            How::GroupStream => f.write_str("sent on and on to a group"),
            How::MidApp(app) => write!(f, "{app} in mid-connection"),
            How::Record(format, exporter) => write!(f, "{format} record of {exporter}"),
            How::MidRemotes => write!(f, "{} remote endpoints in mid-connection", super::fan_in::REMOTES),
        }
    }
}

/// UDP ports on which one answer is as good as two clients (detection.md 3.3): the infrastructure of a network.
const WELL_KNOWN_UDP: &[u16] = &[
    53, 67, 69, 88, 111, 123, 137, 138, 161, 162, 389, 443, 464, 500, 514, 520, 547, 623, 636, 853, 1194, 1645, 1646,
    1701, 1812, 1813, 2049, 3389, 3478, 4500, 4789, 5060, 5246, 5247, 5353, 5355, 51820,
];
/// With so many each end talks both ways: gossip. Two, for the smallest cluster that can vote has three nodes.
const GOSSIP_PARTNERS: usize = 2;

impl Inventory {
    /// Credits the service that the proof is of, unless another flow announced this one.
    pub(super) fn credit(&mut self, flow: &FlowRef, proof: Proof, at: At, out: &mut Vec<Change>) {
        let Party::Vm(vm) = self.place(flow, proof.side, at, out) else { return };
        let row = proof.row(flow, vm);
        let announced = self.expectations.meet(flow, proof.side);
        // Who already serves there serves: an announcement may not hide it.
        let known = self.services.rows.contains(&row);
        if let Some(announced) = announced.as_ref().filter(|a| !a.serves && !known) {
            self.counters.attached += 1;
            let live = self.remember(flow);
            live.standing = Standing::Announced(announced.app.clone());
            live.row = announced.parent;
            // Datagrams of a transfer may come from either end first: no end of theirs listens.
            if flow.transport == Transport::Tcp {
                self.list_transfer(flow, row, &proof, announced, at, out);
            }
            if let Some(asked) = announced.asked.filter(|asked| asked.id != flow.id) {
                self.answered_elsewhere(&asked, at, out);
            }
            return;
        }
        let side = proof.side;
        self.credit_unannounced(flow, proof, at, out);
        if let Some(announced) = announced
            && self.services.rows.get(&row).is_some_and(|service| service.app.is_none())
        {
            // A portmapper or endpoint mapper named it: that is payload too.
            let mut app = named(announced.app, side);
            if let Some(interface) = announced.interface {
                app.detail("interfaces", interface);
            }
            self.describe(flow, row, &app, at, out);
        }
    }

    fn list_transfer(
        &mut self,
        flow: &FlowRef,
        row: RowKey,
        proof: &Proof,
        announced: &Announced,
        at: At,
        out: &mut Vec<Change>,
    ) {
        let client = self.party(flow, proof.side.other(), at, out);
        let mut service = self.proved(self.current(row), proof, at);
        service.evidence.push_str(&format!(", announced by {}", announced.by));
        service.app = Some(named(announced.app.clone(), proof.side));
        service.flows = 1;
        add_client(&mut service, client, flow.end(proof.side.other()).ip);
        self.transfers.add(Transfer { service, announced_by: announced.by });
    }

    /// The transfer that this request announced was answered: the port that was asked serves (RFC 1350 section 4).
    fn answered_elsewhere(&mut self, asked: &FlowRef, at: At, out: &mut Vec<Change>) {
        let Party::Vm(vm) = self.place(asked, Side::Resp, at, out) else { return };
        let row = row_of(asked, Side::Resp, vm);
        self.credit_unannounced(asked, Proof::new(Side::Resp, 2, How::Reply), at, out);
        if let Some(app) = self.live.get(&asked.id).and_then(|live| live.app.clone()) {
            self.describe(asked, row, &app, at, out);
        }
    }

    pub(super) fn credit_unannounced(&mut self, flow: &FlowRef, proof: Proof, at: At, out: &mut Vec<Change>) {
        let Party::Vm(vm) = self.place(flow, proof.side, at, out) else { return };
        self.identity.prove(vm);
        let row = proof.row(flow, vm);
        let (client, client_ip) = (self.party(flow, proof.side.other(), at, out), flow.end(proof.side.other()).ip);
        // Whom the client's address belongs to may show that the server is another VM, too.
        let row = self.current(row);
        let told = self.services.level(&row.key);
        if !self.services.rows.contains(&row) && !self.add_row(row, &proof, at) {
            return;
        }
        let level = self.count(row, &proof, client, client_ip, at);
        if proof.class != ServiceClass::Unicast {
            self.members.sent(&row, client_ip, at.time);
        }
        let basis = self.services.rows.get(&row).map(|service| service.basis).unwrap_or_default();
        if told == 0 {
            let (segment, ip, class) = (row.segment, row.ip, proof.class);
            tell(out, at, flow, What::ServiceNew { service: row.key, segment, ip, class, basis });
        } else {
            let client_vm = match client {
                Party::Vm(vm) => Some(vm),
                _ => None,
            };
            tell(out, at, flow, What::ServiceUsed { service: row.key, client: client_ip, client_vm });
            if level > told {
                tell(out, at, flow, What::ServiceRaised { service: row.key, basis });
            }
        }
        self.credit_peer(flow, row, client, at, out);
        self.judge_gossip(row, client, flow.end(proof.side.other()).ip);
        let live = self.remember(flow);
        live.row = Some(row);
        live.answered = true;
        if let Some(app) = live.app.take() {
            // Between two ends whose beginning was not seen the payload adds no proof that one was asked.
            self.raise(flow, row, if proof.sight == Sight::Whole { 4 } else { proof.level }, at, out);
            self.describe(flow, row, &app, at, out);
        }
        if proof.how == How::SynAck && told == 0 {
            for taken in self.proxies.answered(row, at.time) {
                self.take_back(flow, taken, at, out);
            }
        }
    }

    /// More evidence for a row; told when the service as a whole was never proved so well.
    pub(super) fn raise(&mut self, flow: &FlowRef, row: RowKey, level: u8, at: At, out: &mut Vec<Change>) {
        let row = self.current(row);
        if self.services.rows.get(&row).is_none_or(|service| service.basis.level >= level) {
            return;
        }
        let told = self.services.level(&row.key);
        let Some(service) = self.services.rows.change(&row) else { return };
        service.basis.prove(level);
        let basis = service.basis;
        if level > told {
            tell(out, at, flow, What::ServiceRaised { service: row.key, basis });
        }
    }

    /// A request and its answer were seen of a service that was known by its answers alone.
    pub(super) fn begun(&mut self, flow: &FlowRef, row: RowKey, at: At, out: &mut Vec<Change>) {
        let row = self.current(row);
        if let Some(service) = self.services.rows.change(&row) {
            service.basis.sight = Sight::Whole;
        }
        self.raise(flow, row, 4, at, out);
    }

    /// What the payload proved of a row's application.
    pub(super) fn describe(&mut self, flow: &FlowRef, row: RowKey, app: &AppInfo, at: At, out: &mut Vec<Change>) {
        let row = self.current(row);
        if let Some(name) = app.get("computer") {
            self.identity.name(row.key.vm, NameSource::Ntlm, name, at, &mut self.turns);
            self.settle(Some(flow), at, out);
        }
        let Some(service) = self.services.rows.get(&row) else { return };
        if let Some(now) = merge_app(service.app.as_ref(), app)
            && let Some(service) = self.services.rows.change(&row)
        {
            let before = service.app.replace(now.clone()).map(Box::new);
            tell(out, at, flow, What::ServiceApp { service: row.key, before, now: Box::new(now) });
        }
        self.key_shown(flow, row, app, at, out);
    }

    /// Which system's stack answers. A flow that another announced says nothing of the port it came to.
    pub(super) fn answers_as(&mut self, flow: &FlowRef, stack: Stack, at: At, out: &mut Vec<Change>) {
        let Some(live) = self.live.get(&flow.id).filter(|live| live.standing == Standing::Own) else { return };
        let Some(row) = live.row.map(|row| self.current(row)) else { return };
        if (row.ip, row.key.port) == (flow.resp.ip, flow.resp.port) {
            tell(out, at, flow, What::ServiceStack { service: row.key, stack });
        }
    }

    /// The wrong end was taken for the server; where nothing else proved it, it goes.
    pub(super) fn take_back_if_only_this(&mut self, flow: &FlowRef, row: RowKey, at: At, out: &mut Vec<Change>) {
        let row = self.current(row);
        if self.services.rows.get(&row).is_some_and(|service| service.flows <= 1 && service.app.is_none()) {
            self.take_back(flow, row, at, out);
        }
    }

    /// The row under its VM's present id: a merge or a split may have come between.
    pub(super) fn current(&self, row: RowKey) -> RowKey {
        if self.services.rows.contains(&row) {
            return row;
        }
        let holder = self.identity.holder(row.segment, row.ip).unwrap_or_else(|| self.resolve(row.key.vm));
        RowKey { key: ServiceKey { vm: holder, ..row.key }, ..row }
    }

    fn add_row(&mut self, row: RowKey, proof: &Proof, at: At) -> bool {
        self.transfers.replaced(row.segment, row.ip, row.key.transport, row.key.port);
        let service = self.proved(row, proof, at);
        self.services.add(service)
    }

    /// The row of a service, before any flow was counted.
    fn proved(&self, row: RowKey, proof: &Proof, at: At) -> Service {
        let RowKey { key, segment, ip } = row;
        let basis = Basis {
            level: proof.level,
            closed_at: self.closed.closed_at(segment, ip, key.transport, key.port),
            sight: proof.sight,
        };
        let evidence = match at.frame {
            0 => proof.how.to_string(),
            frame => format!("{} in frame {frame}", proof.how),
        };
        Service {
            key,
            segment,
            ip,
            class: proof.class,
            app: None,
            basis,
            evidence,
            first_seen: at.time,
            last_seen: at.time,
            clients: 0,
            flows: 0,
            bytes_to_server: 0,
            bytes_to_client: 0,
            distinct: Clients::default(),
        }
    }

    /// Counts one flow of a client; returns the row's evidence level after it.
    fn count(&mut self, row: RowKey, proof: &Proof, client: Party, ip: IpAddr, at: At) -> u8 {
        let Some(service) = self.services.rows.touch(&row) else { return 0 };
        service.flows += 1;
        service.last_seen = at.time;
        add_client(service, client, ip);
        let mut level = proof.level;
        if row.key.transport == Transport::Udp
            && level == 2
            && proof.sight != Sight::Record
            && (service.clients >= 2 || WELL_KNOWN_UDP.contains(&row.key.port))
        {
            level = 3;
        }
        let better = proof.class == ServiceClass::Unicast
            && matches!(service.class, ServiceClass::Multicast | ServiceClass::Broadcast);
        let better_seen = proof.sight < service.basis.sight;
        if (level > service.basis.level || better || better_seen)
            && let Some(service) = self.services.rows.change(&row)
        {
            service.basis.level = service.basis.level.max(level);
            service.basis.sight = service.basis.sight.min(proof.sight);
            if better {
                service.class = ServiceClass::Unicast;
            }
            return service.basis.level;
        }
        self.services.rows.get(&row).map_or(level, |service| service.basis.level)
    }

    /// A client that had no address yet when it was answered (DHCP) and has one now.
    pub(super) fn credit_late(&mut self, flow: &FlowRef, row: RowKey, client: Party, at: At, out: &mut Vec<Change>) {
        if let Some(service) = self.services.rows.touch(&row) {
            let ends = [&flow.orig, &flow.resp];
            let ip = ends.iter().find(|end| end.ip != row.ip).map_or(row.ip, |end| end.ip);
            add_client(service, client, ip);
        }
        self.credit_peer(flow, row, client, at, out);
    }

    fn credit_peer(&mut self, flow: &FlowRef, row: RowKey, client: Party, at: At, out: &mut Vec<Change>) {
        let (service, server) = (row.key, row.key.vm);
        let peer = match client {
            // A VM that talks to itself has no peer.
            Party::Vm(vm) if vm == server => return,
            Party::Vm(vm) => Client::Vm(vm),
            Party::Outside => Client::External,
            Party::Nobody => return,
        };
        let used = self.peers.used(service, peer, at.time);
        self.remember(flow).client = Some(peer);
        match (used, peer) {
            (Use::First, Client::Vm(client)) => {
                tell(out, at, flow, What::PeerNew { client, server, service, server_ip: row.ip });
            }
            (Use::Again, Client::Vm(client)) => tell(out, at, flow, What::PeerUsed { client, server, service }),
            _ => {}
        }
    }

    /// Client and server use each other on one port, as they do with several more: gossip. Not where the payload
    /// tells a server from its clients: of TLS it only tells who called.
    fn judge_gossip(&mut self, row: RowKey, client: Party, client_ip: IpAddr) {
        let Party::Vm(other) = client else { return };
        let back = RowKey { key: ServiceKey { vm: other, ..row.key }, segment: row.segment, ip: client_ip };
        if !self.peers.edges.contains(&(back.key, Client::Vm(row.key.vm))) {
            return; // as of most clients: nothing else is looked at
        }
        let gossips = |row: &RowKey| {
            self.services.rows.get(row).is_some_and(|service| {
                let sided = |app: &AppInfo| app.server.is_some() && app.proto.as_str() != "tls";
                !service.app.as_ref().is_some_and(sided)
                    && self.peers.mutual(row.key).take(GOSSIP_PARTNERS).count() == GOSSIP_PARTNERS
            })
        };
        if gossips(&row) && gossips(&back) {
            for end in [row, back] {
                if self.services.rows.get(&end).is_some_and(|service| service.class == ServiceClass::Unicast)
                    && let Some(service) = self.services.rows.change(&end)
                {
                    service.class = ServiceClass::Symmetric;
                }
            }
        }
    }

    fn take_back(&mut self, flow: &FlowRef, row: RowKey, at: At, out: &mut Vec<Change>) {
        if self.services.remove(&row).is_none() {
            return;
        }
        self.services.counters.retracted += 1;
        if self.services.of(row.key).next().is_none() {
            self.peers.forget(&row.key);
            tell(out, at, flow, What::ServiceRetracted { service: row.key });
        }
    }
}

fn add_client(service: &mut Service, client: Party, ip: IpAddr) {
    match client {
        Party::Vm(vm) => service.distinct.add(stable_hash(&[b"vm", &vm.raw().to_be_bytes()])),
        Party::Outside => service.distinct.add(stable_hash(&[b"ip", ip.to_string().as_bytes()])),
        Party::Nobody => {}
    }
    service.clients = service.distinct.count();
}

/// What an announcement says of an application.
fn named(proto: AppProto, server: Side) -> AppInfo {
    AppInfo { proto, server: Some(server), product: None, version: None, details: Vec::new() }
}

fn row_of(flow: &FlowRef, side: Side, vm: VmId) -> RowKey {
    let end = flow.end(side);
    let key = ServiceKey { vm, transport: flow.transport, port: end.port };
    RowKey { key, segment: flow.segment, ip: end.ip }
}
