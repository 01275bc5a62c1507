//! ICMP (RFC 792), ICMPv6 (RFC 4443) and neighbour discovery (RFC 4861): the quoted packet of errors, and the
//! bindings that neighbours announce.

use std::net::{IpAddr, Ipv6Addr};

use super::discard::Discard;
use super::ip::{self, Ip, protocol};
use super::packet::{Icmp, Nd, Network, Payload, Quoted};
use super::reader::Reader;
use crate::model::{Mac, Transport};

/// Options of one neighbour discovery message that are looked at; senders put two or three.
const ND_OPTIONS_MAX: usize = 16;

pub(super) fn read<'a>(ip: &Ip<'a>) -> Result<Payload<'a>, Discard> {
    let v6 = ip.protocol == protocol::ICMPV6;
    let mut reader = Reader::new(ip.payload);
    let [kind, code, _, _] = reader.array().ok_or(Discard::Short)?;
    let body = reader.rest();
    let quoted = if is_error(v6, kind) { quote(v6, body) } else { None };
    // RFC 4861 section 6.1 and 7.1: a hop limit below 255 comes from another link and must not be believed.
    let nd = if v6 && ip.ttl == 255 && code == 0 { neighbour(kind, body) } else { None };
    Ok(Payload::Icmp(Icmp { v6, kind, code, quoted, nd, body }))
}

/// The two addresses that choose the shard of an ICMP message: those of the packet an error quotes, twice the
/// sender's for neighbour discovery, otherwise its own.
pub(super) fn shard_pair(ip: &Ip<'_>) -> (IpAddr, IpAddr) {
    let v6 = ip.protocol == protocol::ICMPV6;
    let own = (ip.src, ip.dst);
    let Some(([kind, ..], body)) = ip.payload.split_first_chunk::<4>() else { return own };
    if v6 && (133..=137).contains(kind) {
        return (ip.src, ip.src);
    }
    if !is_error(v6, *kind) {
        return own;
    }
    quoted_ip(v6, body).map_or(own, |quoted| (quoted.src, quoted.dst))
}

fn is_error(v6: bool, kind: u8) -> bool {
    if v6 { (1..=4).contains(&kind) } else { matches!(kind, 3 | 4 | 5 | 11 | 12) }
}

/// The quoted packet; always cut, so its length says nothing about what is there.
fn quoted_ip(v6: bool, body: &[u8]) -> Option<Ip<'_>> {
    let network = if v6 { Network::Ipv6 } else { Network::Ipv4 };
    ip::read(network, body.get(4..)?, 0).ok()
}

fn quote(v6: bool, body: &[u8]) -> Option<Quoted> {
    let quoted = quoted_ip(v6, body)?;
    let transport = transport(quoted.protocol);
    let later_fragment = quoted.fragment.is_some_and(|fragment| fragment.offset > 0);
    let ports = match transport {
        Transport::Tcp | Transport::Udp | Transport::Sctp if !later_fragment => {
            let mut reader = Reader::new(quoted.payload);
            (reader.be16()?, reader.be16()?)
        }
        _ => (0, 0),
    };
    Some(Quoted { src: quoted.src, dst: quoted.dst, transport, src_port: ports.0, dst_port: ports.1 })
}

fn transport(number: u8) -> Transport {
    match number {
        protocol::TCP => Transport::Tcp,
        protocol::UDP => Transport::Udp,
        protocol::SCTP => Transport::Sctp,
        protocol::ICMP => Transport::Icmp,
        protocol::ICMPV6 => Transport::Icmp6,
        other => Transport::Ip(other),
    }
}

fn neighbour(kind: u8, body: &[u8]) -> Option<Nd> {
    const SOURCE_LINK: u8 = 1;
    const TARGET_LINK: u8 = 2;
    let mut reader = Reader::new(body);
    match kind {
        133 => Some(Nd::RouterSolicit),
        134 => {
            reader.skip(12)?;
            Some(Nd::RouterAdvertise { source_mac: link_address(reader, SOURCE_LINK) })
        }
        135 => {
            reader.skip(4)?;
            let target = IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?));
            Some(Nd::Solicit { target, source_mac: link_address(reader, SOURCE_LINK) })
        }
        136 => {
            let flags = reader.be32()?;
            let target = IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?));
            let (router, solicited) = (flags & 0x8000_0000 != 0, flags & 0x4000_0000 != 0);
            Some(Nd::Advertise { target, target_mac: link_address(reader, TARGET_LINK), solicited, router })
        }
        _ => None,
    }
}

/// RFC 4861 4.6: type, length in words of eight bytes, value. A length of zero ends the packet.
fn link_address(mut reader: Reader<'_>, wanted: u8) -> Option<Mac> {
    for _ in 0..ND_OPTIONS_MAX {
        let [kind, words] = reader.array()?;
        let value = reader.take((usize::from(words) * 8).checked_sub(2)?)?;
        if kind == wanted {
            return value.first_chunk::<6>().map(|mac| Mac(*mac));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(protocol: u8, ttl: u8, payload: &[u8]) -> Ip<'_> {
        let (src, dst) = if protocol == protocol::ICMP {
            (IpAddr::from([10, 0, 0, 254]), IpAddr::from([10, 0, 0, 1]))
        } else {
            (IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]), IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1]))
        };
        let payload_len = payload.len() as u32;
        Ip { src, dst, ttl, tos: 0, protocol, len: payload_len + 20, payload, payload_len, fragment: None }
    }

    fn icmp<'a>(ip: &Ip<'a>) -> Icmp<'a> {
        match read(ip) {
            Ok(Payload::Icmp(icmp)) => icmp,
            other => panic!("{other:?}"),
        }
    }

    fn unreachable(kind: u8) -> Vec<u8> {
        let mut bytes = vec![kind, 3, 0, 0, 0, 0, 0, 0];
        bytes.extend([0x45, 0, 0x05, 0xdc, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0x9c, 0x40, 0, 53, 5, 0xc8, 0, 0]);
        bytes
    }

    #[test]
    fn an_error_quotes_the_packet_that_caused_it_and_goes_to_its_shard() {
        let bytes = unreachable(3);
        let ip = message(protocol::ICMP, 64, &bytes);
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let quoted = Quoted { src: a, dst: b, transport: Transport::Udp, src_port: 40000, dst_port: 53 };
        assert_eq!(icmp(&ip).quoted, Some(quoted));
        assert_eq!(shard_pair(&ip), (a, b));
    }

    #[test]
    fn an_echo_quotes_nothing() {
        let bytes = unreachable(8);
        let ip = message(protocol::ICMP, 64, &bytes);
        assert_eq!(icmp(&ip).quoted, None);
        assert_eq!(shard_pair(&ip), (ip.src, ip.dst));
    }

    #[test]
    fn a_quoted_extension_header_is_walked() {
        let mut bytes = vec![1, 4, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 16, 60, 64];
        bytes.extend([0xfd; 16]);
        bytes.extend([0xfc; 16]);
        bytes.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend([0, 22, 0x9c, 0x40, 0, 0, 0, 0]);
        let quoted = icmp(&message(protocol::ICMPV6, 64, &bytes)).quoted.unwrap();
        assert_eq!((quoted.transport, quoted.src_port, quoted.dst_port), (Transport::Tcp, 22, 40000));
    }

    fn advertisement() -> Vec<u8> {
        let mut bytes = vec![136, 0, 0, 0, 0xe0, 0, 0, 0];
        bytes.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        bytes.extend([14, 1, 0, 0, 0, 0, 0, 0]); // nonce
        bytes.extend([2, 1, 0x52, 0x54, 0, 0, 0, 9]);
        bytes
    }

    #[test]
    fn an_advertisement_binds_its_target() {
        let bytes = advertisement();
        let nd = icmp(&message(protocol::ICMPV6, 255, &bytes)).nd;
        let target = IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 9]);
        let target_mac = Some(Mac([0x52, 0x54, 0, 0, 0, 9]));
        assert_eq!(nd, Some(Nd::Advertise { target, target_mac, solicited: true, router: true }));
    }

    #[test]
    fn an_advertisement_from_another_link_is_not_believed() {
        let bytes = advertisement();
        assert_eq!(icmp(&message(protocol::ICMPV6, 254, &bytes)).nd, None);
    }

    #[test]
    fn an_option_of_length_zero_ends_the_options() {
        let mut bytes = advertisement();
        bytes[25] = 0;
        let nd = icmp(&message(protocol::ICMPV6, 255, &bytes)).nd;
        assert!(matches!(nd, Some(Nd::Advertise { target_mac: None, .. })));
    }
}
