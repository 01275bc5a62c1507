//! UDP datagrams between two ends. Bound: one datagram a call, at most what IPv4 can say (65,507 bytes).

use crate::model::{Side, Timestamp};

use super::frame::{self, Path};
use super::{Scenario, Vm, hop_ns};

const DATAGRAM_BYTES_MAX: usize = 65_507;

pub struct UdpTalk<'s> {
    scenario: &'s mut Scenario,
    ends: [(Vm, u16); 2],
    clock: Timestamp,
}

impl<'s> UdpTalk<'s> {
    pub(super) fn new(scenario: &'s mut Scenario, client: &Vm, from: u16, server: &Vm, port: u16) -> Self {
        let clock = scenario.clock;
        UdpTalk { scenario, ends: [(client.clone(), from), (server.clone(), port)], clock }
    }

    pub fn send(&mut self, side: Side, bytes: impl AsRef<[u8]>) -> &mut Self {
        let [client, server] = &self.ends;
        let (src, dst) = match side {
            Side::Orig => (client, server),
            Side::Resp => (server, client),
        };
        let ip_id = self.scenario.ip_id(src.0.ip);
        let path = Path { src: &src.0, dst_mac: dst.0.mac, dst_ip: dst.0.ip, ip_id };
        let payload = bytes.as_ref();
        let payload = payload.get(..payload.len().min(DATAGRAM_BYTES_MAX)).unwrap_or_default();
        let bytes = frame::udp(&path, src.1, dst.1, payload);
        self.scenario.frame(self.clock, bytes);
        let hop = hop_ns(self.scenario);
        self.clock = Timestamp::from_ns(self.clock.ns().saturating_add(hop));
        self
    }

    pub fn wait_ms(&mut self, milliseconds: i64) -> &mut Self {
        self.clock = self.clock.plus_ms(milliseconds);
        self
    }
}
