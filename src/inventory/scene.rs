//! What the tests of this room are told with: hand-made observations.

use std::net::IpAddr;

use super::{Change, Imported, Inventory, InventoryConfig, Service, What};
use crate::model::{
    AppInfo, Claim, ClaimKind, Endpoint, Expectation, Fact, FlowEnd, FlowFact, FlowRef, FlowTotals, Mac, Observation,
    Opening, Order, RefusedBy, Side, Timestamp, Transport, VmId,
};

/// An inventory, a clock and a frame counter.
pub struct Scene {
    pub inventory: Inventory,
    pub out: Vec<Change>,
    pub now_s: u64,
    frame: u64,
    flows: u64,
}

/// One end: address, port, last octet of its MAC (0: none).
pub type End = (&'static str, u16, u8);

impl Scene {
    pub fn new() -> Self {
        Scene::with(InventoryConfig::default())
    }

    /// Everything is home.
    pub fn everywhere() -> Self {
        Scene::with(InventoryConfig { home: "0.0.0.0/0,::/0".parse().unwrap(), ..InventoryConfig::default() })
    }

    pub fn with(config: InventoryConfig) -> Self {
        Scene { inventory: Inventory::new(config), out: Vec::new(), now_s: 1_000, frame: 0, flows: 0 }
    }

    /// Imports the text of a file, which is its source too.
    pub fn import(&mut self, file: &str, text: &str) -> Vec<VmId> {
        let imported = Imported::parse(&[(file, text)], None).unwrap();
        let now = self.time();
        self.inventory.import(file, &imported, now, &mut self.out).unwrap()
    }

    pub fn flow(&mut self, transport: Transport, orig: End, resp: End) -> FlowRef {
        self.flow_in("-", transport, orig, resp)
    }

    /// The responder's MAC is not known before it answers.
    pub fn flow_in(&mut self, segment: &str, transport: Transport, orig: End, resp: End) -> FlowRef {
        self.flows += 1;
        let end = |(ip, port, mac): End| Endpoint {
            ip: address(ip),
            port,
            mac: station(mac),
            host_hint: None,
            path: Default::default(),
        };
        FlowRef {
            id: self.flows,
            segment: segment.parse().unwrap(),
            transport,
            orig: end(orig),
            resp: Endpoint { mac: None, ..end(resp) },
            first_seen: self.time(),
            first_frame: self.frame + 1,
        }
    }

    pub fn time(&self) -> Timestamp {
        Timestamp::from_parts(self.now_s, 0)
    }

    pub fn fact(&mut self, fact: Fact) {
        self.frame += 1;
        let order = Order { frame: self.frame, packet: true, shard: 0, ordinal: 0 };
        let obs = Observation { order, time: self.time(), fact };
        self.inventory.observe(&obs, &mut self.out);
    }

    pub fn tell(&mut self, flow: &FlowRef, fact: FlowFact) {
        self.fact(Fact::Flow(*flow, fact));
    }

    /// SYN and SYN-ACK.
    pub fn handshake(&mut self, orig: End, resp: End) -> FlowRef {
        self.opened(Transport::Tcp, Opening::Syn, orig, resp)
    }

    /// A datagram and its reply.
    pub fn exchange(&mut self, orig: End, resp: End) -> FlowRef {
        self.opened(Transport::Udp, Opening::Datagram, orig, resp)
    }

    pub fn opened(&mut self, transport: Transport, opening: Opening, orig: End, resp: End) -> FlowRef {
        let flow = self.flow(transport, orig, resp);
        self.tell(&flow, FlowFact::Attempt(opening));
        self.answered(flow, resp)
    }

    pub fn answered(&mut self, mut flow: FlowRef, resp: End) -> FlowRef {
        flow.resp.mac = station(resp.2);
        self.tell(&flow, FlowFact::Answer);
        flow
    }

    /// A datagram that nobody answers.
    pub fn send(&mut self, orig: End, resp: End) -> FlowRef {
        let flow = self.flow(Transport::Udp, orig, resp);
        self.tell(&flow, FlowFact::Attempt(Opening::Datagram));
        flow
    }

    pub fn midstream(&mut self, orig: End, resp: End) -> FlowRef {
        let mut flow = self.flow(Transport::Tcp, orig, resp);
        self.tell(&flow, FlowFact::Attempt(Opening::Midstream));
        flow.resp.mac = station(resp.2);
        flow
    }

    pub fn refused(&mut self, transport: Transport, orig: End, resp: End, by: RefusedBy) {
        let opening = if transport == Transport::Udp { Opening::Datagram } else { Opening::Syn };
        let mut flow = self.flow(transport, orig, resp);
        self.tell(&flow, FlowFact::Attempt(opening));
        if by == RefusedBy::Reset {
            flow.resp.mac = station(resp.2);
        }
        self.tell(&flow, FlowFact::Refused(by));
    }

    pub fn app(&mut self, flow: &FlowRef, proto: &'static str, server: Option<Side>) {
        self.tell(flow, FlowFact::App(Box::new(AppInfo::new(proto, server))));
    }

    pub fn expect(&mut self, flow: &FlowRef, expected: Expectation) {
        self.tell(flow, FlowFact::Expect(Box::new(expected)));
    }

    /// Ends a flow after so many packets of 100 bytes each way.
    pub fn end(&mut self, flow: &FlowRef, orig_packets: u64, resp_packets: u64) {
        let (orig_bytes, resp_bytes, last_seen) = (orig_packets * 100, resp_packets * 100, self.time());
        let totals =
            FlowTotals { orig_packets, resp_packets, orig_bytes, resp_bytes, last_seen, ..FlowTotals::default() };
        self.tell(flow, FlowFact::End(FlowEnd::Finished, totals));
    }

    pub fn claim(&mut self, ip: &str, mac: u8, kind: ClaimKind) {
        self.claim_in("-", ip, mac, kind);
    }

    /// What another MAC had said a moment before.
    pub fn echo(&mut self, ip: &str, mac: u8, kind: ClaimKind) {
        self.claims("-", ip, mac, kind, true);
    }

    pub fn claim_in(&mut self, segment: &str, ip: &str, mac: u8, kind: ClaimKind) {
        self.claims(segment, ip, mac, kind, false);
    }

    fn claims(&mut self, segment: &str, ip: &str, mac: u8, kind: ClaimKind, echo: bool) {
        let mac = station(mac).unwrap();
        let claim = Claim {
            segment: segment.parse().unwrap(),
            mac,
            ip: ip.parse().ok(),
            kind,
            host_hint: None,
            path: Default::default(),
            echo,
        };
        self.fact(Fact::Claim(claim));
    }

    /// `tcp/80` of every row, with the address.
    pub fn rows(&self) -> Vec<String> {
        let shown = |s: &Service| format!("{} {}/{}", s.ip, s.key.transport, s.key.port);
        let mut rows: Vec<String> = self.inventory.services().map(shown).collect();
        rows.sort();
        rows
    }

    pub fn row(&self, shown: &str) -> &Service {
        let is = |s: &&Service| format!("{} {}/{}", s.ip, s.key.transport, s.key.port) == shown;
        self.inventory.services().find(is).unwrap_or_else(|| panic!("no row {shown} among {:?}", self.rows()))
    }

    /// The one VM with this address.
    pub fn vm(&self, ip: &str) -> VmId {
        let found = self.inventory.find(ip);
        assert_eq!(found.len(), 1, "{ip}: {found:?}");
        found[0]
    }

    /// What was told since the last call, by name.
    pub fn told(&mut self) -> Vec<String> {
        let name = |change: Change| match change.what {
            What::VmNew { .. } => "vm-new".to_owned(),
            What::VmChanged { text, .. } => format!("vm-changed: {text}"),
            What::VmMoved { from, to, .. } => format!("vm-moved {} {}", from.place(), to.place()),
            What::VmCompared { differs, .. } => format!("vm-compared: {}", differs.lines.join("; ")),
            What::ServiceNew { service, basis, .. } => format!("service-new {} level {}", service.port, basis.level),
            What::ServiceRaised { service, basis } => format!("service-raised {} level {}", service.port, basis.level),
            What::ServiceRetracted { service } => format!("service-retracted {}", service.port),
            What::ServiceUsed { service, .. } => format!("service-used {}", service.port),
            What::ServiceStack { service, stack } => format!("service-stack {} {stack}", service.port),
            What::ServiceApp { service, now, .. } => format!("service-app {} {}", service.port, now.proto),
            What::ServiceRefused { service, .. } => format!("service-refused {}", service.port),
            What::PeerNew { service, .. } => format!("peer-new {}", service.port),
            What::PeerUsed { service, .. } => format!("peer-used {}", service.port),
            What::Merged { .. } => "merged".to_owned(),
            What::Tick => "tick".to_owned(),
        };
        std::mem::take(&mut self.out).into_iter().map(name).collect()
    }

    pub fn count(&self, name: &str) -> u64 {
        let mut report = Vec::new();
        self.inventory.report(&mut report);
        report.iter().find(|(n, _)| *n == name).map_or(0, |(_, value)| *value)
    }
}

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn station(last: u8) -> Option<Mac> {
    (last != 0).then_some(Mac([0x52, 0x54, 0, 0, 0, last]))
}
