//! Does this look like what a tunnel would carry? Tunnels are recognised by content as much as by port, so that
//! random UDP stays UDP.

use super::discard::Discard;
use super::ip::{self, Ip};
use super::link::{self, Header, Stack};
use super::packet::Network;

/// EtherTypes that mirrors carry beside IP: link layer control of switches and hosts.
const CONTROL: &[u16] = &[
    0x0842, 0x2000, 0x22f0, 0x8137, 0x8808, 0x8809, 0x8863, 0x888e, 0x8892, 0x8899, 0x88a2, 0x88b5, 0x88ca, 0x88cc,
    0x88e5, 0x88f5, 0x88f7, 0x8902, 0x8906, 0x890d, 0x8914, 0x9000,
];

/// Smallest Ethernet frame without checksum: a shorter packet in it is padded.
const FRAME_MIN: usize = 60;

/// Can what starts here be followed to IP, ARP, or a frame of some known kind?
#[inline]
pub(super) fn inner(header: Header, bytes: &[u8], cut: u32) -> bool {
    match header {
        Header::Ethernet => ethernet(bytes, cut),
        Header::Network(network) => packet(network, bytes, cut),
        other => {
            let mut scratch = Stack::new(cut);
            follow(other, bytes, &mut scratch)
        }
    }
}

/// An Ethernet frame with a source that can send and a type that is known; IP inside must be readable.
#[inline]
pub(super) fn ethernet(bytes: &[u8], cut: u32) -> bool {
    let Some((ethertype, payload)) = addressed(bytes) else { return false };
    match link::from_ethertype(ethertype) {
        Ok(Header::Network(network)) => packet(network, payload, cut),
        Ok(_) => true,
        Err(_) => CONTROL.contains(&ethertype) || logical_link(ethertype, payload, cut),
    }
}

/// As [`ethernet`], for a port that says nothing: at most one tag, then ARP or an IP packet of exactly the right
/// length, IPv4 with a right checksum (which encapsulating hosts compute before the tunnel header is put on).
pub(super) fn ethernet_beyond_doubt(bytes: &[u8], cut: u32) -> bool {
    let Some((mut ethertype, mut payload)) = addressed(bytes) else { return false };
    if let (0x8100, Some((&[_, _, t1, t0], rest))) = (ethertype, payload.split_first_chunk()) {
        (ethertype, payload) = (u16::from_be_bytes([t1, t0]), rest);
    }
    let Ok(Header::Network(network)) = link::from_ethertype(ethertype) else { return false };
    if matches!(network, Network::Arp | Network::Rarp) {
        return packet(network, payload, cut);
    }
    let Ok(ip) = ip::read(network, payload, cut) else { return false };
    exact(&ip, payload, cut, bytes.len() <= FRAME_MIN) && (network == Network::Ipv6 || checksum_holds(payload))
}

/// An IPv6 packet of exactly the right length.
pub(super) fn whole_ipv6(bytes: &[u8], cut: u32) -> Option<Ip<'_>> {
    ip::read(Network::Ipv6, bytes, cut).ok().filter(|ip| exact(ip, bytes, cut, false))
}

fn exact(ip: &Ip<'_>, bytes: &[u8], cut: u32, padded: bool) -> bool {
    let there = (bytes.len() as u32).saturating_add(cut);
    ip.len == there || (padded && ip.len < there)
}

#[inline]
fn packet(network: Network, bytes: &[u8], cut: u32) -> bool {
    match network {
        // Hardware type Ethernet, protocol type IPv4, their lengths (RFC 826).
        Network::Arp | Network::Rarp => bytes.starts_with(&[0, 1, 8, 0, 6, 4]),
        _ => ip::readable(network, bytes, cut),
    }
}

/// The type field and what follows, of a frame that one interface can have sent to somebody.
#[inline]
fn addressed(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (&[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t1, t0], payload) = bytes.split_first_chunk()?;
    let some = |high: [u8; 4], low: [u8; 2]| u32::from_ne_bytes(high) != 0 || low != [0; 2];
    let sent_by_one = s0 & 1 == 0 && some([s0, s1, s2, s3], [s4, s5]);
    (sent_by_one && some([d0, d1, d2, d3], [d4, d5])).then_some((u16::from_be_bytes([t1, t0]), payload))
}

/// 802.3 with LLC: a length that fits, and a service access point pair that exists.
fn logical_link(length: u16, payload: &[u8], cut: u32) -> bool {
    let fits = (3..=1500).contains(&length) && u32::from(length) <= (payload.len() as u32).saturating_add(cut);
    fits && matches!(payload, [0xaa, 0xaa, 3, ..] | [0x42, 0x42, 3, ..] | [0xfe, 0xfe, 3, ..] | [0xe0, 0xe0, 3, ..])
}

fn follow(header: Header, bytes: &[u8], scratch: &mut Stack) -> bool {
    let mut at: Result<(Header, &[u8]), Discard> = Ok((header, bytes));
    while let Ok((header, bytes)) = at {
        match header {
            Header::Ethernet => return ethernet(bytes, scratch.cut),
            Header::Network(network) => return packet(network, bytes, scratch.cut),
            other => at = link::peel(other, bytes, scratch),
        }
    }
    false
}

fn checksum_holds(bytes: &[u8]) -> bool {
    let header_len = bytes.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let Some(header) = bytes.get(..header_len) else { return false };
    let sum: u32 = header.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}
