//! Frames from the outside in: Ethernet, 802.1Q, ARP, IPv4 and IPv6, TCP and UDP, with right lengths and checksums.
//! Bound: a payload of one segment; longer ones are split by who calls.

use std::net::IpAddr;

use crate::model::Mac;

use super::Vm;

const ETHERTYPE_ARP: u16 = 0x0806;
const MINIMUM_FRAME: usize = 60;

/// From whom to whom, as the link and network headers say it.
pub(super) struct Path<'a> {
    pub src: &'a Vm,
    pub dst_mac: Mac,
    pub dst_ip: IpAddr,
    pub ip_id: u16,
}

pub(super) struct Segment<'a> {
    pub src_port: u16,
    pub dst_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub options: &'a [u8],
    pub payload: &'a [u8],
    pub ttl: u8,
}

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

pub(super) fn tcp(path: &Path, segment: &Segment) -> Vec<u8> {
    let header_words = 5 + segment.options.len().div_ceil(4);
    let mut out = Vec::with_capacity(header_words * 4 + segment.payload.len());
    out.extend(segment.src_port.to_be_bytes());
    out.extend(segment.dst_port.to_be_bytes());
    out.extend(segment.seq.to_be_bytes());
    out.extend(segment.ack.to_be_bytes());
    out.extend([(header_words as u8) << 4, segment.flags]);
    out.extend(64_240u16.to_be_bytes()); // window, as Linux opens it
    out.extend([0; 4]); // checksum, urgent
    out.extend(segment.options);
    out.resize(header_words * 4, 0);
    out.extend(segment.payload);
    set_checksum(path, 6, &mut out, 16);
    ip_with(path, 6, segment.ttl, &out)
}

pub(super) fn udp(path: &Path, src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + payload.len());
    out.extend(src_port.to_be_bytes());
    out.extend(dst_port.to_be_bytes());
    out.extend(((8 + payload.len()) as u16).to_be_bytes());
    out.extend([0; 2]);
    out.extend(payload);
    set_checksum(path, 17, &mut out, 6);
    ip(path, 17, &out)
}

/// ICMP and ICMPv6 alike: type, code, and what follows the checksum.
pub(super) fn icmp(path: &Path, kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut out = [&[kind, code, 0, 0], rest].concat();
    if path.src.ip.is_ipv6() {
        set_checksum(path, 58, &mut out, 2);
        return ip(path, 58, &out);
    }
    let sum = checksum(&out);
    put(&mut out, 2, sum);
    ip(path, 1, &out)
}

/// An ARP packet (RFC 826); `operation` 1 asks, 2 answers.
pub(super) fn arp(sender: &Vm, operation: u16, target_mac: Mac, target_ip: IpAddr, dst_mac: Mac) -> Vec<u8> {
    let mut out = vec![0, 1, 8, 0, 6, 4];
    out.extend(operation.to_be_bytes());
    out.extend(sender.mac.0);
    out.extend(octets(sender.ip));
    out.extend(target_mac.0);
    out.extend(octets(target_ip));
    ethernet(sender, dst_mac, ETHERTYPE_ARP, &out)
}

pub(super) fn ip(path: &Path, protocol: u8, body: &[u8]) -> Vec<u8> {
    ip_with(path, protocol, ttl(protocol), body)
}

fn ip_with(path: &Path, protocol: u8, ttl: u8, body: &[u8]) -> Vec<u8> {
    let (src, dst) = (octets(path.src.ip), octets(path.dst_ip));
    let mut out = Vec::with_capacity(40 + body.len());
    if path.src.ip.is_ipv6() {
        out.extend([0x60, 0, 0, 0]);
        out.extend((body.len() as u16).to_be_bytes());
        out.extend([protocol, ttl]);
    } else {
        out.extend([0x45, 0]);
        out.extend(((20 + body.len()) as u16).to_be_bytes());
        out.extend(path.ip_id.to_be_bytes());
        out.extend([0x40, 0, ttl, protocol, 0, 0]); // do not fragment
    }
    out.extend(src);
    out.extend(dst);
    if !path.src.ip.is_ipv6() {
        let sum = checksum(&out);
        put(&mut out, 10, sum);
    }
    out.extend(body);
    ethernet(path.src, path.dst_mac, if path.src.ip.is_ipv6() { 0x86dd } else { 0x0800 }, &out)
}

/// IGMP (RFC 3376 section 4) and PIM (RFC 7761 section 4.3) are not forwarded; neighbour discovery (RFC 4861 section
/// 7.1) and VRRP (RFC 5798 section 5.1.1.3) are only believed with 255.
fn ttl(protocol: u8) -> u8 {
    match protocol {
        2 | 103 => 1,
        58 | 112 => 255,
        _ => 64,
    }
}

fn ethernet(src: &Vm, dst: Mac, ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(18 + body.len());
    out.extend(dst.0);
    out.extend(src.mac.0);
    if let Some(vlan) = src.vlan {
        out.extend([0x81, 0]);
        out.extend(vlan.to_be_bytes());
    }
    out.extend(ethertype.to_be_bytes());
    out.extend(body);
    out.resize(out.len().max(MINIMUM_FRAME), 0);
    out
}

/// Over the pseudo-header too (RFC 9293 section 3.1; RFC 8200 section 8.1).
fn set_checksum(path: &Path, protocol: u8, body: &mut [u8], at: usize) {
    let length = (body.len() as u32).to_be_bytes();
    let pseudo = [&octets(path.src.ip)[..], &octets(path.dst_ip), &length, &[0, 0, 0, protocol], body].concat();
    // UDP writes an all-zero sum as all ones: zero means none (RFC 768). For TCP the two are equal.
    let sum = checksum(&pseudo);
    put(body, at, if sum == 0 { 0xffff } else { sum });
}

pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(slot) = bytes.get_mut(at..at + 2) {
        slot.copy_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
