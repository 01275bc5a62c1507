//! Packets for tests: a client, a server, and what they send each other, already decoded.

use std::net::IpAddr;

use super::Head;
use crate::decode::{Datagram, Icmp, Payload, Quoted, Sctp, SctpChunk, Tcp, TcpFlags, Udp};
use crate::model::{Mac, Segment, Timestamp, Transport};

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

pub(crate) const CLIENT_MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
pub(crate) const SERVER_MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);

pub(crate) fn client() -> IpAddr {
    IpAddr::from([10, 0, 0, 1])
}

pub(crate) fn server() -> IpAddr {
    IpAddr::from([10, 0, 0, 2])
}

/// `ms` milliseconds after the beginning.
pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_parts(1_700_000_000, ms * 1_000_000)
}

pub(crate) fn head(frame: u64, ms: u64, from_client: bool) -> Head {
    let (src, dst) = if from_client { (CLIENT_MAC, SERVER_MAC) } else { (SERVER_MAC, CLIENT_MAC) };
    Head {
        frame,
        time: at(ms),
        segment: Segment::UNTAGGED,
        src_mac: Some(src),
        dst_mac: Some(dst),
        host_hint: None,
        taken: Default::default(),
        path: Default::default(),
    }
}

fn datagram<'a>(from_client: bool, payload: Payload<'a>, len: usize) -> Datagram<'a> {
    let (src, dst) = if from_client { (client(), server()) } else { (server(), client()) };
    Datagram { src, dst, ttl: 64, tos: 0, ip_len: len as u32, payload }
}

/// From port 40000 to 80, or back.
pub(crate) fn tcp(from_client: bool, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Datagram<'_> {
    let (src_port, dst_port) = if from_client { (40000, 80) } else { (80, 40000) };
    let tcp = Tcp {
        src_port,
        dst_port,
        seq,
        ack,
        flags: TcpFlags(flags),
        window: 64240,
        urgent: 0,
        options: &[],
        payload,
        payload_len: payload.len() as u32,
    };
    datagram(from_client, Payload::Tcp(tcp), 40 + payload.len())
}

/// From port 40000 to 53, or back.
pub(crate) fn udp(from_client: bool, payload: &[u8]) -> Datagram<'_> {
    let (src_port, dst_port) = if from_client { (40000, 53) } else { (53, 40000) };
    let udp = Udp { src_port, dst_port, payload, payload_len: payload.len() as u32 };
    datagram(from_client, Payload::Udp(udp), 28 + payload.len())
}

pub(crate) fn sctp(from_client: bool, first: SctpChunk, payload: &[u8]) -> Datagram<'_> {
    let (src_port, dst_port) = if from_client { (40000, 38412) } else { (38412, 40000) };
    let sctp = Sctp { src_port, dst_port, verification_tag: 1, first, payload };
    datagram(from_client, Payload::Sctp(sctp), 32 + payload.len())
}

pub(crate) fn icmp(from_client: bool, kind: u8, code: u8, quoted: Option<Quoted>) -> Datagram<'static> {
    datagram(from_client, Payload::Icmp(Icmp { v6: false, kind, code, quoted, nd: None, body: &[] }), 56)
}

/// What an ICMP error quotes of a packet from the client's port 40000.
pub(crate) fn quoted(transport: Transport, dst_port: u16) -> Quoted {
    Quoted { src: client(), dst: server(), transport, src_port: 40000, dst_port }
}
