//! Scenario: captures written on purpose, for tests, the demo and examples. Hosts talk as real ones do (ARP, full
//! handshakes, right sequence numbers and checksums), at times that the writer chooses.
//!
//! Deterministic: the same calls with the same seed give the same bytes. Bound: all frames are held in memory until
//! written, so a scenario is as long as memory allows; there is no other limit.
//!
//! ```
//! use eastwatch::model::Side;
//! use eastwatch::scenario::{Scenario, payload};
//!
//! let mut s = Scenario::new(7);
//! let client = s.vm("app-01", "52:54:00:00:00:02", "10.0.0.12");
//! let web = s.vm("web-01", "52:54:00:00:00:01", "10.0.0.11").on_vlan(10);
//! s.arp(&client, &web);
//! s.tcp(&client, &web, 80)
//!     .handshake()
//!     .send(Side::Orig, payload::http_get("web-01", "/"))
//!     .send(Side::Resp, payload::http_ok("nginx/1.24.0", "hello"))
//!     .close();
//! let capture: Vec<u8> = s.encode(eastwatch::scenario::Format::PCAP);
//! ```

pub mod export;
mod frame;
pub mod payload;
mod shared_services;
mod tcp;
mod tunnel;
mod twin;
mod udp;
mod writer;

pub use tcp::TcpTalk;
pub use tunnel::{Tunnel, sender};
pub use twin::Twin;
pub use udp::UdpTalk;
pub use writer::Format;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{Mac, Timestamp};

/// 2026-01-01T00:00:00Z.
const START_S: u64 = 1_767_225_600;

/// One network interface of a virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    pub name: String,
    pub mac: Mac,
    pub ip: IpAddr,
    /// 802.1Q tag that its frames carry on the mirror.
    pub vlan: Option<u16>,
}

impl Vm {
    #[must_use]
    pub fn on_vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    /// The same NIC by another of its addresses.
    ///
    /// # Panics
    /// `ip` is no address.
    #[must_use]
    pub fn by(&self, ip: &str) -> Self {
        Vm { ip: parse(ip), ..self.clone() }
    }
}

/// A capture in the making.
#[derive(Clone)]
pub struct Scenario {
    frames: Vec<Captured>,
    clock: Timestamp,
    /// The interface that the next frames come by, in `interfaces`.
    interface: usize,
    interfaces: Vec<String>,
    random: u64,
    next_port: BTreeMap<IpAddr, u16>,
    ip_ids: BTreeMap<IpAddr, u16>,
}

#[derive(Clone)]
struct Captured {
    time: Timestamp,
    interface: usize,
    bytes: Vec<u8>,
    /// Bytes it had on the wire.
    wire_len: usize,
}

impl Scenario {
    /// Starts at 2026-01-01T00:00:00Z.
    pub fn new(seed: u64) -> Self {
        Scenario {
            frames: Vec::new(),
            clock: Timestamp::from_parts(START_S, 0),
            interface: 0,
            interfaces: vec!["mirror0".to_owned()],
            random: seed ^ 0x9e37_79b9_7f4a_7c15,
            next_port: BTreeMap::new(),
            ip_ids: BTreeMap::new(),
        }
    }

    /// A host with one NIC.
    ///
    /// # Panics
    /// `mac` or `ip` is none: a scenario is written by hand.
    pub fn vm(&mut self, name: &str, mac: &str, ip: &str) -> Vm {
        Vm { name: name.to_owned(), mac: parse(mac), ip: parse(ip), vlan: None }
    }

    /// What follows begins at this time.
    pub fn at(&mut self, time: Timestamp) -> &mut Self {
        self.clock = time;
        self
    }

    pub fn wait_s(&mut self, seconds: i64) -> &mut Self {
        self.clock = self.clock.plus_s(seconds);
        self
    }

    pub fn wait_ms(&mut self, milliseconds: i64) -> &mut Self {
        self.clock = self.clock.plus_ms(milliseconds);
        self
    }

    pub fn now(&self) -> Timestamp {
        self.clock
    }

    /// What follows comes by this interface (told apart in pcapng only).
    pub fn via(&mut self, interface: &str) -> &mut Self {
        self.interface = match self.interfaces.iter().position(|name| name == interface) {
            Some(at) => at,
            None => {
                // The default name stands only where it was used.
                if self.frames.is_empty() {
                    self.interfaces.clear();
                }
                self.interfaces.push(interface.to_owned());
                self.interfaces.len() - 1
            }
        };
        self
    }

    /// A TCP connection from `client` to `port` of `server`; nothing is sent before its first verb.
    pub fn tcp(&mut self, client: &Vm, server: &Vm, port: u16) -> TcpTalk<'_> {
        TcpTalk::new(self, client, server, port)
    }

    /// UDP datagrams between an ephemeral port of `client` and `port` of `server`.
    pub fn udp(&mut self, client: &Vm, server: &Vm, port: u16) -> UdpTalk<'_> {
        let from = self.ephemeral(client.ip);
        UdpTalk::new(self, client, from, server, port)
    }

    /// UDP from a chosen source port (NTP and DHCP have their own).
    pub fn udp_from(&mut self, client: &Vm, from: u16, server: &Vm, port: u16) -> UdpTalk<'_> {
        UdpTalk::new(self, client, from, server, port)
    }

    /// Any frame, as it is.
    pub fn frame(&mut self, time: Timestamp, bytes: Vec<u8>) -> &mut Self {
        let wire_len = bytes.len();
        self.cut_frame(time, bytes, wire_len)
    }

    /// The beginning of a frame that had `wire_len` bytes.
    pub fn cut_frame(&mut self, time: Timestamp, bytes: Vec<u8>, wire_len: usize) -> &mut Self {
        self.frames.push(Captured { time, interface: self.interface, bytes, wire_len });
        self
    }

    /// A frame once more, byte for byte, `milliseconds` after the last: sent again. `back` 0 is the last frame.
    pub fn again_ms(&mut self, back: usize, milliseconds: i64) -> &mut Self {
        if let Some((last, sent)) = self.frames.last().zip(self.frames.iter().rev().nth(back)) {
            let again = Captured { time: last.time.plus_ms(milliseconds), bytes: sent.bytes.clone(), ..*sent };
            self.frames.push(again);
        }
        self
    }

    /// Interfaces that frames came by: with several only pcapng tells them apart.
    pub fn interface_count(&self) -> usize {
        self.interfaces.len()
    }

    pub fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// A number below `bound` (1 at least), from the seed: xorshift64*.
    pub fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound.max(1)
    }

    /// The next ephemeral port of a host (IANA's range, as Windows has it; Linux begins lower).
    fn ephemeral(&mut self, ip: IpAddr) -> u16 {
        let port = self.next_port.entry(ip).or_insert(49_152);
        let now = *port;
        *port = if now == u16::MAX { 49_152 } else { now + 1 };
        now
    }

    fn ip_id(&mut self, ip: IpAddr) -> u16 {
        let id = self.ip_ids.entry(ip).or_insert(1);
        *id = id.wrapping_add(1);
        *id
    }
}

/// Time on the wire and in the peer between two frames of a conversation: 100–400 µs, as on one host or rack.
fn hop_ns(scenario: &mut Scenario) -> i64 {
    100_000 + scenario.random(300_000) as i64
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> T {
    match text.parse() {
        Ok(value) => value,
        Err(why) => panic!("`{text}`: {why}"),
    }
}

#[cfg(test)]
mod tests;
