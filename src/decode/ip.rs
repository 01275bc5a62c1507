//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers, their options and extension headers.
//!
//! At most 16 extension headers are walked; a longer chain is discarded. A length of zero means "what is there":
//! cards that segment for the kernel (TSO, BIG TCP) leave it so on the mirrored copy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::discard::Discard;
use super::packet::Network;
use super::reader::Reader;

/// More than any stack sends; RFC 8200 section 4.1 names eight at most.
const EXTENSIONS_MAX: usize = 16;
const IPV6_HEADER: usize = 40;

pub(super) mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IP_IN_IP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION: u8 = 60;
    pub const L2TP: u8 = 115;
    pub const SCTP: u8 = 132;
    pub const MPLS: u8 = 137;
    pub const ETHERNET: u8 = 143;
}

/// One IP packet or fragment, its extension headers behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub tos: u8,
    /// What follows: the transport, or for a fragment what its fragment header names.
    pub protocol: u8,
    /// On the wire, header included.
    pub len: u32,
    /// What was captured after the headers, link padding trimmed.
    pub payload: &'a [u8],
    /// Length of the payload on the wire.
    pub payload_len: u32,
    /// Set unless the packet is whole; an IPv6 atomic fragment (RFC 6946) is whole.
    pub fragment: Option<Fragment>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment {
    /// Length of the headers that a reassembled datagram starts with.
    pub header_len: u32,
    /// IPv6: where in them the type of what follows is named, which is "fragment" until it is whole.
    pub next_at: Option<u32>,
    pub id: u32,
    /// In bytes, of this fragment's payload in the datagram's.
    pub offset: u32,
    pub more: bool,
}

impl Ip<'_> {
    /// Bytes of the payload that were on the wire and are not here.
    pub fn cut(&self) -> u32 {
        self.payload_len.saturating_sub(self.payload.len() as u32)
    }
}

/// Reads an IP header at the start of `bytes`; `cut` bytes more were on the wire.
#[inline(always)]
pub(super) fn read(network: Network, bytes: &[u8], cut: u32) -> Result<Ip<'_>, Discard> {
    match network {
        Network::Ipv4 => ipv4(bytes, cut),
        Network::Ipv6 => ipv6(bytes, cut),
        Network::Arp | Network::Rarp | Network::Lldp | Network::Cdp => Err(Discard::NotIp),
    }
}

/// Does [`read`] take it? Without reading all of it, for what most tunnels carry.
#[inline(always)]
pub(super) fn readable(network: Network, bytes: &[u8], cut: u32) -> bool {
    let (Network::Ipv4, Some(&[first, _, l1, l0, _, _, _, _, _, number, ..])) = (network, bytes.first_chunk::<20>())
    else {
        return read(network, bytes, cut).is_ok();
    };
    if number == protocol::AUTHENTICATION {
        return read(network, bytes, cut).is_ok();
    }
    let announced = u16::from_be_bytes([l1, l0]);
    if first == 0x45 {
        return announced == 0 || announced >= 20;
    }
    let (packet, len) = trim(bytes, u32::from(announced), cut);
    let header_len = usize::from(first & 0x0f) * 4;
    first >> 4 == 4 && header_len >= 20 && len >= header_len as u32 && packet.len() >= header_len
}

/// IPv4 or IPv6, as the first four bits say.
pub(super) fn version(bytes: &[u8]) -> Option<Network> {
    match bytes.first()? >> 4 {
        4 => Some(Network::Ipv4),
        6 => Some(Network::Ipv6),
        _ => None,
    }
}

#[inline(always)]
fn ipv4(bytes: &[u8], cut: u32) -> Result<Ip<'_>, Discard> {
    let head: &[u8; 20] = bytes.first_chunk().ok_or(Discard::Short)?;
    let [first, tos, l1, l0, i1, i0, f1, f0, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *head;
    if first >> 4 != 4 {
        return Err(Discard::IpVersion);
    }
    let header_len = usize::from(first & 0x0f) * 4;
    if header_len < 20 {
        return Err(Discard::IpHeader);
    }
    let (packet, len) = trim(bytes, u32::from(u16::from_be_bytes([l1, l0])), cut);
    let payload_len = len.checked_sub(header_len as u32).ok_or(Discard::IpLength)?;
    let payload = packet.get(header_len..).ok_or(Discard::Short)?;
    let flags = u16::from_be_bytes([f1, f0]);
    let fragment = (flags & 0x3fff != 0).then(|| Fragment {
        header_len: header_len as u32,
        next_at: None,
        id: u32::from(u16::from_be_bytes([i1, i0])),
        offset: u32::from(flags & 0x1fff) * 8,
        more: flags & 0x2000 != 0,
    });
    let ip = Ip {
        src: IpAddr::V4(Ipv4Addr::new(s0, s1, s2, s3)),
        dst: IpAddr::V4(Ipv4Addr::new(d0, d1, d2, d3)),
        ttl,
        tos,
        protocol,
        len,
        payload,
        payload_len,
        fragment,
    };
    if protocol == protocol::AUTHENTICATION && fragment.is_none() { extensions(ip, header_len) } else { Ok(ip) }
}

#[inline]
fn ipv6(bytes: &[u8], cut: u32) -> Result<Ip<'_>, Discard> {
    let head: &[u8; IPV6_HEADER] = bytes.first_chunk().ok_or(Discard::Short)?;
    let ([first, second, _, _, l1, l0, next, hops], addresses) = head.split_first_chunk().ok_or(Discard::Short)?;
    if first >> 4 != 6 {
        return Err(Discard::IpVersion);
    }
    let (src, dst) = addresses.split_first_chunk::<16>().ok_or(Discard::Short)?;
    let dst = dst.first_chunk::<16>().ok_or(Discard::Short)?;
    let announced = match u32::from(u16::from_be_bytes([*l1, *l0])) {
        // An empty packet really is empty, whatever the link padded it with.
        0 if *next != protocol::NO_NEXT => 0,
        payload => payload + IPV6_HEADER as u32,
    };
    let (packet, len) = trim(bytes, announced, cut);
    let payload = packet.get(IPV6_HEADER..).ok_or(Discard::Short)?;
    let ip = Ip {
        src: IpAddr::V6(Ipv6Addr::from(*src)),
        dst: IpAddr::V6(Ipv6Addr::from(*dst)),
        ttl: *hops,
        tos: first << 4 | second >> 4,
        protocol: *next,
        len,
        payload,
        payload_len: len.saturating_sub(IPV6_HEADER as u32),
        fragment: None,
    };
    if is_extension(ip.protocol) { extensions(ip, IPV6_HEADER) } else { Ok(ip) }
}

/// The packet without link padding, and its length on the wire.
#[inline(always)]
fn trim(bytes: &[u8], announced: u32, cut: u32) -> (&[u8], u32) {
    let len = if announced == 0 { (bytes.len() as u32).saturating_add(cut) } else { announced };
    (bytes.get(..len as usize).unwrap_or(bytes), len)
}

#[inline]
fn is_extension(number: u8) -> bool {
    use protocol::{AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(number, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION | AUTHENTICATION)
}

/// Walks the chain of extension headers up to the transport or a fragment header.
fn extensions(mut ip: Ip<'_>, header_len: usize) -> Result<Ip<'_>, Discard> {
    let v6 = ip.src.is_ipv6();
    let mut next_at = 6;
    let mut position = header_len;
    for _ in 0..EXTENSIONS_MAX {
        if !(if v6 { is_extension(ip.protocol) } else { ip.protocol == protocol::AUTHENTICATION }) {
            return Ok(ip);
        }
        let mut reader = Reader::new(ip.payload);
        let [next, length] = reader.array().ok_or(Discard::Short)?;
        let size = match ip.protocol {
            protocol::FRAGMENT => 8,
            // RFC 4302: in words of four bytes, minus two.
            protocol::AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        let after = ip.payload.get(size..).ok_or(Discard::Short)?;
        if ip.protocol == protocol::FRAGMENT {
            let flags = reader.be16().ok_or(Discard::Short)?;
            let id = reader.be32().ok_or(Discard::Short)?;
            let (offset, more) = (u32::from(flags & 0xfff8), flags & 1 != 0);
            if offset != 0 || more {
                let (header_len, next_at) = (position as u32, Some(next_at as u32));
                ip.fragment = Some(Fragment { header_len, next_at, id, offset, more });
            }
        }
        next_at = position;
        position += size;
        ip.protocol = next;
        ip.payload = after;
        ip.payload_len = ip.payload_len.saturating_sub(size as u32);
        if ip.fragment.is_some() {
            return Ok(ip);
        }
    }
    if is_extension(ip.protocol) { Err(Discard::Extensions) } else { Ok(ip) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(total: u16, flags: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(flags.to_be_bytes());
        bytes.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend(rest);
        bytes
    }

    fn v6(next: u8, payload_len: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(payload_len.to_be_bytes());
        bytes.extend([next, 64]);
        bytes.extend([0xfd; 32]);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn padding_is_trimmed_and_a_cut_packet_keeps_its_length() {
        let padded = v4(24, 0, &[1, 2, 3, 4, 0, 0, 0]);
        let ip = ipv4(&padded, 0).unwrap();
        assert_eq!((ip.payload, ip.payload_len, ip.cut()), (&[1u8, 2, 3, 4][..], 4, 0));
        let short = v4(1500, 0, &[1, 2, 3, 4]);
        let ip = ipv4(&short, 1476).unwrap();
        assert_eq!((ip.payload.len(), ip.payload_len, ip.len, ip.cut()), (4, 1480, 1500, 1476));
    }

    #[test]
    fn a_length_of_zero_means_what_is_there() {
        let ip = v4(0, 0, &[7; 100]);
        assert_eq!(ipv4(&ip, 70_000).map(|ip| (ip.payload.len(), ip.payload_len)), Ok((100, 70_100)));
        let jumbo = v6(6, 0, &[7; 100]);
        assert_eq!(ipv6(&jumbo, 0).map(|ip| ip.payload_len), Ok(100));
        let bubble = v6(protocol::NO_NEXT, 0, &[0; 6]);
        assert_eq!(ipv6(&bubble, 0).map(|ip| ip.payload_len), Ok(0));
    }

    #[test]
    fn headers_that_contradict_themselves_are_refused() {
        let mut bytes = v4(28, 0, &[0; 8]);
        bytes[0] = 0x44;
        assert_eq!(ipv4(&bytes, 0).err(), Some(Discard::IpHeader));
        bytes[0] = 0x65;
        assert_eq!(ipv4(&bytes, 0).err(), Some(Discard::IpVersion));
        assert_eq!(ipv4(&v4(12, 0, &[0; 8]), 0).err(), Some(Discard::IpLength));
        bytes[0] = 0x4f;
        assert_eq!(ipv4(&bytes, 0).err(), Some(Discard::IpLength));
        assert_eq!(ipv4(&[0x45; 19], 0).err(), Some(Discard::Short));
    }

    #[test]
    fn extension_headers_are_walked_to_the_transport() {
        let mut rest = vec![43, 0, 1, 4, 0, 0, 0, 0]; // hop-by-hop
        rest.extend([51, 0, 0, 0, 0, 0, 0, 0]); // routing
        rest.extend([60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // authentication, three words
        rest.extend([17, 0, 1, 4, 0, 0, 0, 0]); // destination options
        rest.extend([0xab; 8]);
        let packet = v6(0, rest.len() as u16, &rest);
        let ip = ipv6(&packet, 0).unwrap();
        assert_eq!((ip.protocol, ip.payload, ip.payload_len), (17, &[0xab; 8][..], 8));
    }

    #[test]
    fn an_endless_chain_of_extensions_is_refused() {
        let chain = |count: usize| {
            let mut rest = [60, 0, 1, 4, 0, 0, 0, 0].repeat(count);
            rest.extend([17, 0, 1, 4, 0, 0, 0, 0]);
            v6(60, rest.len() as u16, &rest)
        };
        assert_eq!(ipv6(&chain(15), 0).map(|ip| ip.protocol), Ok(17));
        assert_eq!(ipv6(&chain(16), 0).err(), Some(Discard::Extensions));
    }

    #[test]
    fn an_atomic_fragment_is_whole_and_others_are_not() {
        let fragment = |flags: u16| {
            let mut rest = vec![17, 0];
            rest.extend(flags.to_be_bytes());
            rest.extend([0, 0, 0, 9]);
            rest.extend([1; 8]);
            v6(44, 16, &rest)
        };
        assert!(ipv6(&fragment(0), 0).unwrap().fragment.is_none());
        let bytes = fragment(0x0101 & !0x6);
        let found = ipv6(&bytes, 0).unwrap().fragment.unwrap();
        assert_eq!((found.id, found.offset, found.more, found.next_at, found.header_len), (9, 256, true, Some(6), 40));
        let dont_fragment = v4(28, 0x4000, &[0; 8]);
        assert!(ipv4(&dont_fragment, 0).unwrap().fragment.is_none());
        let bytes = v4(28, 0x2001, &[0; 8]);
        let found = ipv4(&bytes, 0).unwrap().fragment.unwrap();
        assert_eq!((found.id, found.offset, found.more), (0x1234, 8, true));
    }

    proptest::proptest! {
        #[test]
        fn readable_is_what_can_be_read(
            first in 0x40u8..0x70,
            total in 0u16..60,
            number in proptest::sample::select(vec![6u8, 17, 51, 44, 0]),
            rest in proptest::collection::vec(0u8.., 0..50),
            cut in 0u32..40,
        ) {
            let mut bytes = v4(total, 0, &rest);
            (bytes[0], bytes[9]) = (first, number);
            bytes.truncate(rest.len() + 10);
            for network in [Network::Ipv4, Network::Ipv6] {
                proptest::prop_assert_eq!(readable(network, &bytes, cut), read(network, &bytes, cut).is_ok());
            }
        }
    }
}
