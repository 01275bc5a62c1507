//! What every network has: ARP and neighbour discovery, DHCP, DNS, NTP and ping, a whole exchange a verb.
//! Each moves the scenario's clock past its end (conversations do not, so that several may overlap).
//! Bound: one exchange a call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{Mac, Side, Timestamp};

use super::frame::{self, Path, octets};
use super::{Scenario, Vm, hop_ns, payload};

impl Scenario {
    /// `asker` asks for the MAC of `target`, which answers: ARP, or neighbour discovery for IPv6.
    pub fn arp(&mut self, asker: &Vm, target: &Vm) -> &mut Self {
        self.who_has(asker, target.ip);
        let answered = self.later();
        let bytes = match target.ip {
            IpAddr::V4(_) => frame::arp(target, 2, asker.mac, asker.ip, asker.mac),
            IpAddr::V6(_) => {
                // Solicited, override; target link-layer address (RFC 4861 sections 4.4, 4.6.1).
                let rest = [&[0x60, 0, 0, 0][..], &octets(target.ip), &[2, 1], &target.mac.0].concat();
                self.icmp_bytes(target, asker.mac, asker.ip, 136, &rest)
            }
        };
        self.frame(answered, bytes).wait_ms(1)
    }

    /// `asker` asks for an address, and nobody answers.
    pub fn who_has(&mut self, asker: &Vm, ip: IpAddr) -> &mut Self {
        let bytes = match ip {
            IpAddr::V4(_) => frame::arp(asker, 1, Mac::ZERO, ip, Mac::BROADCAST),
            IpAddr::V6(ip) => {
                let [.., a, b, c] = ip.octets();
                let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
                let rest = [&[0; 4][..], &ip.octets(), &[1, 1], &asker.mac.0].concat();
                self.icmp_bytes(asker, Mac([0x33, 0x33, 0xff, a, b, c]), group.into(), 135, &rest)
            }
        };
        self.frame(self.clock, bytes)
    }

    /// Echo and its reply.
    pub fn ping(&mut self, client: &Vm, server: &Vm) -> &mut Self {
        let rest = [&[0x12, 0x34, 0, 1][..], &[0x61; 48]].concat();
        let (ask, answer) = if client.ip.is_ipv6() { (128, 129) } else { (8, 0) };
        let bytes = self.icmp_bytes(client, server.mac, server.ip, ask, &rest);
        self.frame(self.clock, bytes);
        let answered = self.later();
        let bytes = self.icmp_bytes(server, client.mac, client.ip, answer, &rest);
        self.frame(answered, bytes).wait_ms(1)
    }

    /// Discover, offer, request, acknowledgement: `client` gets its own address from `server` (IPv4).
    pub fn dhcp(&mut self, client: &Vm, server: &Vm) -> &mut Self {
        let transaction = self.random(1 << 32) as u32;
        let nowhere = Vm { ip: Ipv4Addr::UNSPECIFIED.into(), ..client.clone() };
        let everyone =
            Vm { mac: Mac::BROADCAST, ip: Ipv4Addr::BROADCAST.into(), name: String::new(), vlan: client.vlan };
        let message = |kind| payload::dhcp(kind, transaction, client, server);
        let mut talk = self.udp_from(&nowhere, 68, &everyone, 67);
        talk.send(Side::Orig, message(payload::Dhcp::Discover))
            .wait_ms(2)
            .send(Side::Orig, message(payload::Dhcp::Request));
        let start = self.clock;
        for (kind, after_ms) in [(payload::Dhcp::Offer, 1), (payload::Dhcp::Acknowledge, 4)] {
            self.clock = start.plus_ms(after_ms);
            self.udp_from(server, 67, client, 68).send(Side::Orig, message(kind));
        }
        self.at(start).wait_ms(6)
    }

    /// An A question for `name`, answered with `ip`.
    pub fn dns(&mut self, client: &Vm, server: &Vm, name: &str, ip: Ipv4Addr) -> &mut Self {
        let id = self.random(1 << 16) as u16;
        let (question, answer) = payload::dns(id, name, ip);
        self.udp(client, server, 53).send(Side::Orig, question).send(Side::Resp, answer);
        self.wait_ms(1)
    }

    /// One NTPv4 poll, from port 123 to port 123.
    pub fn ntp(&mut self, client: &Vm, server: &Vm) -> &mut Self {
        let now = self.clock;
        self.udp_from(client, 123, server, 123)
            .send(Side::Orig, payload::ntp(3, now))
            .send(Side::Resp, payload::ntp(4, now));
        self.wait_ms(1)
    }

    /// One datagram of any IP protocol, with the TTL that it demands on its own network.
    pub fn ip(&mut self, src: &Vm, dst: &Vm, protocol: u8, body: &[u8]) -> &mut Self {
        let ip_id = self.ip_id(src.ip);
        let bytes = frame::ip(&Path { src, dst_mac: dst.mac, dst_ip: dst.ip, ip_id }, protocol, body);
        self.frame(self.clock, bytes)
    }

    fn icmp_bytes(&mut self, src: &Vm, dst_mac: Mac, dst_ip: IpAddr, kind: u8, rest: &[u8]) -> Vec<u8> {
        let ip_id = self.ip_id(src.ip);
        frame::icmp(&Path { src, dst_mac, dst_ip, ip_id }, kind, 0, rest)
    }

    fn later(&mut self) -> Timestamp {
        let hop = hop_ns(self);
        Timestamp::from_ns(self.clock.ns().saturating_add(hop))
    }
}
