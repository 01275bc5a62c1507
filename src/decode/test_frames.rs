//! Frames for this room's tests, made byte by byte around one packet between two VMs.

use std::net::IpAddr;

use etherparse::PacketBuilder;

use super::packet::Located;
use super::{DecodeConfig, Discard, Locator};
use crate::model::{LinkType, Timestamp};

pub(super) const VM_A: [u8; 4] = [10, 0, 0, 1];
pub(super) const VM_B: [u8; 4] = [10, 0, 0, 2];
pub(super) const HOST_A: [u8; 4] = [192, 0, 2, 1];
pub(super) const HOST_B: [u8; 4] = [192, 0, 2, 2];
pub(super) const NOW: Timestamp = Timestamp::ZERO;

const MAC_A: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xa];
const MAC_B: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xb];

/// A SYN from VM A to VM B's port 443, from the Ethernet header on.
pub(super) fn vm_frame() -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2(MAC_A, MAC_B).ipv4(VM_A, VM_B, 64).tcp(40000, 443, 1, 1024).syn();
    builder.write(&mut bytes, b"").unwrap();
    bytes
}

/// The same from the IPv4 header on.
pub(super) fn vm_packet() -> Vec<u8> {
    vm_frame().split_off(14)
}

/// ICMPv6 echo between two VMs, from the IPv6 header on.
pub(super) fn vm_packet6() -> Vec<u8> {
    let mut bytes = Vec::new();
    let (src, dst) = ([0xfd; 16], [0xfc; 16]);
    PacketBuilder::ipv6(src, dst, 64).icmpv6_echo_request(1, 1).write(&mut bytes, b"ping").unwrap();
    bytes
}

pub(super) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A frame between the two hosts.
pub(super) fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    joined(&[&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], &ethertype.to_be_bytes(), payload])
}

/// An IPv4 packet from host A to host B, not fragmented, checksum left to the card.
pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    fragment(protocol, 7, 0, false, payload)
}

/// A piece of an IPv4 datagram from host A to host B; `offset` in bytes.
pub(super) fn fragment(protocol: u8, id: u16, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let flags = (offset / 8) | if more { 0x2000 } else { 0 };
    let [l1, l0] = total.to_be_bytes();
    let [i1, i0] = id.to_be_bytes();
    let [f1, f0] = flags.to_be_bytes();
    joined(&[&[0x45, 0, l1, l0, i1, i0, f1, f0, 64, protocol, 0, 0], &HOST_A, &HOST_B, payload])
}

/// An IPv6 packet between two hosts.
pub(super) fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let [l1, l0] = (payload.len() as u16).to_be_bytes();
    joined(&[&[0x60, 0, 0, 0, l1, l0, next, 64], &[0x20; 16], &[0x21; 16], payload])
}

pub(super) fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    joined(&[&src.to_be_bytes(), &dst.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload])
}

/// A UDP datagram between the hosts, from the Ethernet header on.
pub(super) fn udp_frame(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    ethernet(0x0800, &ipv4(17, &udp(src, dst, payload)))
}

pub(super) fn vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    joined(&[&[8, 0, 0, 0], &(vni << 8).to_be_bytes(), frame])
}

/// `inner` (from its EtherType's payload on) behind VLAN tags, outermost first.
pub(super) fn tagged(ids: &[u16], ethertype: u16, inner: &[u8]) -> Vec<u8> {
    let (mut kind, mut bytes) = (ethertype, inner.to_vec());
    for id in ids.iter().rev() {
        bytes = joined(&[&id.to_be_bytes(), &kind.to_be_bytes(), &bytes]);
        kind = 0x8100;
    }
    ethernet(kind, &bytes)
}

/// What a test asks of a located packet: segment, sender, and who encapsulated it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub segment: String,
    pub src: IpAddr,
    pub host: Option<IpAddr>,
    pub src_mac: bool,
}

impl From<Located<'_>> for Seen {
    fn from(located: Located<'_>) -> Self {
        let segment = located.segment.to_string();
        Seen { segment, src: located.src, host: located.host_hint, src_mac: located.src_mac.is_some() }
    }
}

/// Locates one frame with a fresh locator.
pub(super) fn see_link(link: u16, frame: &[u8]) -> Result<Seen, Discard> {
    let mut locator = Locator::new(DecodeConfig::default());
    let located = locator.locate(LinkType(link), frame, frame.len() as u32, NOW)?;
    Ok(located.expect("a whole packet").into())
}

pub(super) fn see(frame: &[u8]) -> Result<Seen, Discard> {
    see_link(1, frame)
}

/// The VM's packet in `segment`, encapsulated by host A.
pub(super) fn from_vm(segment: &str) -> Result<Seen, Discard> {
    let host = Some(IpAddr::from(HOST_A));
    Ok(Seen { segment: segment.to_owned(), src: IpAddr::from(VM_A), host, src_mac: true })
}

/// The same where the tunnel carries IP without Ethernet.
pub(super) fn from_vm_without_mac(segment: &str) -> Result<Seen, Discard> {
    from_vm(segment).map(|seen| Seen { src_mac: false, ..seen })
}

/// The VM's packet where no tunnel names a host.
pub(super) fn from_vm_here(segment: &str) -> Result<Seen, Discard> {
    from_vm(segment).map(|seen| Seen { host: None, ..seen })
}

/// Nothing was opened: the outer packet between the hosts.
pub(super) fn from_host() -> Result<Seen, Discard> {
    Ok(Seen { segment: "-".to_owned(), src: IpAddr::from(HOST_A), host: None, src_mac: true })
}
