//! Link headers: the capture's own (Ethernet, Linux cooked, PPP, loopback…) and the tags between Ethernet and IP.
//!
//! Each call peels one header; tags and label stacks count towards the 16 layers of [`Stack::deeper`].

use std::net::IpAddr;

use super::discard::Discard;
use super::locate::LAYERS_MAX;
use super::packet::Network;
use super::plausible;
use super::reader::Reader;
use super::{ip, wireless};
use crate::model::{LayerKind, LinkType, Mac, MirrorPath, PathKind, Segment};

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    Network(Network),
    Ethernet,
    /// 802.1Q, 802.1ad and their pre-standard relatives, after the type.
    Vlan,
    /// 802.1ah service instance tag, after the type.
    ProviderBackbone,
    Mpls,
    /// RFC 2516 session.
    Pppoe,
    Ppp,
    /// PPP or Cisco HDLC, told apart by the first octet (RFC 1547, RFC 1662).
    Hdlc,
    /// IEEE 802.2, the length field already taken.
    Llc,
    /// Cisco VN-Tag (802.1Qbh draft), after the type.
    VnTag,
    /// RFC 8300.
    Nsh,
    FabricPath,
    /// Cisco metadata (TrustSec), after the type.
    Metadata,
    Cooked,
    Cooked2,
    Loopback,
    /// IPv4 or IPv6 by the version field.
    RawIp,
    Nflog,
    Radiotap,
    Wireless,
}

/// What was found on the way in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stack {
    pub segment: Segment,
    pub src_mac: Option<Mac>,
    pub dst_mac: Option<Mac>,
    pub host_hint: Option<IpAddr>,
    pub path: MirrorPath,
    /// The `[[mirror]]` tables whose tunnel was met, a bit each.
    pub mirrors: u64,
    /// Bytes that were on the wire after those that are here.
    pub cut: u32,
    /// See [`Located::late`](super::packet::Located::late).
    pub late: bool,
    /// 802.1p priority of the latest tag since the latest Ethernet header.
    pub pcp: u8,
    layers: u8,
}

impl Stack {
    pub fn new(cut: u32) -> Self {
        Stack { cut, ..Stack::default() }
    }

    /// Enters one more tag or tunnel.
    pub fn deeper(&mut self) -> Result<(), Discard> {
        self.layers += 1;
        if self.layers > LAYERS_MAX { Err(Discard::TooDeep) } else { Ok(()) }
    }

    /// Leaves the mirror's transport: tags and tunnels around it are not where the VMs live.
    pub fn leave(&mut self, path: MirrorPath) {
        self.segment = Segment::UNTAGGED;
        self.came_by(path);
    }

    /// Of paths within paths the outermost is kept.
    pub fn came_by(&mut self, path: MirrorPath) {
        if self.path.kind == PathKind::Wire {
            let source = self.path.source;
            self.path = path;
            self.path.source = source;
        }
    }

    fn tenant(&mut self, kind: LayerKind, id: u32) {
        self.segment = self.segment.with(kind, id);
    }

    /// Keeps the `length` bytes that a header announced; what follows is padding.
    fn trim<'a>(&mut self, bytes: &'a [u8], length: u16) -> &'a [u8] {
        match bytes.get(..usize::from(length)) {
            Some(whole) => {
                self.cut = 0;
                whole
            }
            None => bytes,
        }
    }
}

/// Is this a link type whose frames can be read at all?
pub fn reads(link: LinkType) -> bool {
    link == LinkType::UPPER_PDU || from_link_type(link).is_ok()
}

pub(super) fn from_link_type(link: LinkType) -> Result<Header, Discard> {
    Ok(match link {
        LinkType::ETHERNET => Header::Ethernet,
        LinkType::NULL | LinkType::LOOP => Header::Loopback,
        LinkType::PPP => Header::Ppp,
        // 104: Cisco HDLC.
        LinkType::PPP_HDLC | LinkType(104) => Header::Hdlc,
        LinkType::PPPOE => Header::Pppoe,
        // 12 and 14: what some systems wrote for DLT_RAW before the registry.
        LinkType::RAW | LinkType(12) | LinkType(14) => Header::RawIp,
        LinkType(105) => Header::Wireless,
        LinkType::LINUX_SLL => Header::Cooked,
        LinkType(127) => Header::Radiotap,
        LinkType::IPV4 => Header::Network(Network::Ipv4),
        LinkType::IPV6 => Header::Network(Network::Ipv6),
        LinkType(239) => Header::Nflog,
        LinkType::LINUX_SLL2 => Header::Cooked2,
        _ => return Err(Discard::LinkType),
    })
}

/// What an EtherType announces (IEEE 802 Numbers).
#[inline]
pub(super) fn from_ethertype(ethertype: u16) -> Result<Header, Discard> {
    Ok(match ethertype {
        0x0800 => Header::Network(Network::Ipv4),
        0x86dd => Header::Network(Network::Ipv6),
        0x0806 => Header::Network(Network::Arp),
        0x8035 => Header::Network(Network::Rarp),
        0x88cc => Header::Network(Network::Lldp),
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => Header::Vlan,
        0x8847 | 0x8848 => Header::Mpls,
        0x8864 => Header::Pppoe,
        0x88e7 => Header::ProviderBackbone,
        0x8926 => Header::VnTag,
        0x894f => Header::Nsh,
        0x8903 => Header::FabricPath,
        0x8909 => Header::Metadata,
        0x6558 => Header::Ethernet,
        0x880b => Header::Ppp,
        // Jumbo frames of LLC (draft-ietf-isis-ext-eth).
        0x8870 => Header::Llc,
        _ => return Err(Discard::NotIp),
    })
}

/// Peels one header that is neither IP nor ARP.
#[inline(always)]
pub(super) fn peel<'a>(header: Header, bytes: &'a [u8], stack: &mut Stack) -> Result<(Header, &'a [u8]), Discard> {
    let mut reader = Reader::new(bytes);
    if header == Header::Ethernet {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t1, t0] = reader.array().ok_or(Discard::Short)?;
        stack.dst_mac = Some(Mac([d0, d1, d2, d3, d4, d5]));
        stack.src_mac = Some(Mac([s0, s1, s2, s3, s4, s5]));
        stack.pcp = 0;
        return type_or_length(u16::from_be_bytes([t1, t0]), reader, stack);
    }
    peel_other(header, reader, stack)
}

#[inline(never)]
fn peel_other<'a>(header: Header, mut reader: Reader<'a>, stack: &mut Stack) -> Result<(Header, &'a [u8]), Discard> {
    let short = Discard::Short;
    match header {
        Header::Vlan => {
            stack.deeper()?;
            let [tag, ethertype] = be16_pair(&mut reader).ok_or(short)?;
            stack.pcp = (tag >> 13) as u8;
            // VLAN 0 is a priority tag (802.1Q 9.6): the frame belongs to no VLAN.
            if tag & 0x0fff != 0 {
                stack.tenant(LayerKind::Vlan, u32::from(tag & 0x0fff));
            }
            type_or_length(ethertype, reader, stack)
        }
        Header::ProviderBackbone => {
            stack.deeper()?;
            let service = reader.be32().ok_or(short)? & 0x00ff_ffff;
            stack.tenant(LayerKind::Pbb, service);
            Ok((Header::Ethernet, reader.rest()))
        }
        Header::Mpls => {
            stack.deeper()?;
            mpls(reader)
        }
        Header::Pppoe => {
            stack.deeper()?;
            let [kind, code, s1, s0, l1, l0] = reader.array().ok_or(short)?;
            if kind != 0x11 || code != 0 {
                return Err(Discard::NotIp);
            }
            stack.tenant(LayerKind::Pppoe, u32::from(u16::from_be_bytes([s1, s0])));
            Ok((Header::Ppp, stack.trim(reader.rest(), u16::from_be_bytes([l1, l0]))))
        }
        Header::Ppp => ppp(reader),
        Header::Hdlc => {
            let whole = reader;
            match reader.array().ok_or(short)? {
                [0x0f | 0x8f, _, t1, t0] => Ok((from_ethertype(u16::from_be_bytes([t1, t0]))?, reader.rest())),
                _ => Ok((Header::Ppp, whole.rest())),
            }
        }
        Header::Llc => llc(reader),
        Header::VnTag => {
            stack.deeper()?;
            reader.skip(4).ok_or(short)?;
            let ethertype = reader.be16().ok_or(short)?;
            type_or_length(ethertype, reader, stack)
        }
        Header::Nsh => {
            stack.deeper()?;
            nsh(reader)
        }
        Header::FabricPath => {
            stack.deeper()?;
            reader.skip(2).ok_or(short)?;
            Ok((Header::Ethernet, reader.rest()))
        }
        Header::Metadata => {
            stack.deeper()?;
            let [_version, words] = reader.array().ok_or(short)?;
            reader.skip(usize::from(words.max(1)) * 4).ok_or(short)?;
            let ethertype = reader.be16().ok_or(short)?;
            type_or_length(ethertype, reader, stack)
        }
        Header::Cooked => {
            let [_packet, hardware, length] = be16_triple(&mut reader).ok_or(short)?;
            let address: [u8; 8] = reader.array().ok_or(short)?;
            let protocol = reader.be16().ok_or(short)?;
            cooked(hardware, length, address, protocol, reader, stack)
        }
        Header::Cooked2 => {
            let protocol = reader.be16().ok_or(short)?;
            reader.skip(6).ok_or(short)?;
            let hardware = reader.be16().ok_or(short)?;
            let [_packet, length] = reader.array().ok_or(short)?;
            let address: [u8; 8] = reader.array().ok_or(short)?;
            cooked(hardware, u16::from(length), address, protocol, reader, stack)
        }
        Header::Loopback => {
            let family: [u8; 4] = reader.array().ok_or(short)?;
            let family = u32::from_be_bytes(family).min(u32::from_le_bytes(family));
            // AF_INET6 is 10 on Linux, 24 on NetBSD and OpenBSD, 26 on illumos, 28 on FreeBSD, 30 on macOS.
            match family {
                2 => Ok((Header::Network(Network::Ipv4), reader.rest())),
                10 | 23 | 24 | 26 | 28 | 30 => Ok((Header::Network(Network::Ipv6), reader.rest())),
                _ => Err(Discard::NotIp),
            }
        }
        Header::RawIp => {
            let network = ip::version(reader.rest()).ok_or(Discard::IpVersion)?;
            Ok((Header::Network(network), reader.rest()))
        }
        Header::Nflog => nflog(reader, stack),
        Header::Radiotap => {
            let [_version, _pad, l0, l1] = reader.array().ok_or(short)?;
            let header_len = usize::from(u16::from_le_bytes([l0, l1]));
            reader.skip(header_len.checked_sub(4).ok_or(short)?).ok_or(short)?;
            Ok((Header::Wireless, reader.rest()))
        }
        Header::Wireless => {
            let frame = wireless::data_frame(reader)?;
            (stack.src_mac, stack.dst_mac) = (Some(frame.src), Some(frame.dst));
            Ok((Header::Llc, frame.payload))
        }
        Header::Ethernet | Header::Network(_) => Err(Discard::NotIp),
    }
}

/// IEEE 802.3 3.2.6: up to 1,500 it is a length and LLC follows, from 0x600 a type.
#[inline(always)]
fn type_or_length<'a>(value: u16, reader: Reader<'a>, stack: &mut Stack) -> Result<(Header, &'a [u8]), Discard> {
    if value <= 1500 {
        return Ok((Header::Llc, stack.trim(reader.rest(), value)));
    }
    Ok((from_ethertype(value)?, reader.rest()))
}

/// RFC 1042 SNAP, and IP directly on LLC (SAP 0x06).
fn llc(mut reader: Reader<'_>) -> Result<(Header, &[u8]), Discard> {
    match reader.array().ok_or(Discard::Short)? {
        [0xaa, 0xaa, 0x03] => {
            let organisation: [u8; 3] = reader.array().ok_or(Discard::Short)?;
            let header = match (organisation, reader.be16().ok_or(Discard::Short)?) {
                ([0, 0, 0x0c], 0x2000) => Header::Network(Network::Cdp),
                // Any organisation: bridges and access points of many makers put EtherTypes under their own code.
                (_, ethertype) => from_ethertype(ethertype)?,
            };
            Ok((header, reader.rest()))
        }
        [0x06, 0x06, 0x03] => Ok((Header::Network(Network::Ipv4), reader.rest())),
        _ => Err(Discard::NotIp),
    }
}

/// RFC 1661 and 1662; the address, control and leading protocol octets may have been negotiated away.
fn ppp(mut reader: Reader<'_>) -> Result<(Header, &[u8]), Discard> {
    let mut first = reader.u8().ok_or(Discard::Short)?;
    if first == 0xff {
        reader.skip(1).ok_or(Discard::Short)?;
        first = reader.u8().ok_or(Discard::Short)?;
    }
    // The low bit marks the last octet of the protocol field.
    let protocol = match first & 1 {
        1 => u16::from(first),
        _ => u16::from_be_bytes([first, reader.u8().ok_or(Discard::Short)?]),
    };
    let header = match protocol {
        0x0021 => Header::Network(Network::Ipv4),
        0x0057 => Header::Network(Network::Ipv6),
        0x0281 | 0x0283 => Header::Mpls,
        _ => return Err(Discard::NotIp),
    };
    Ok((header, reader.rest()))
}

/// A label stack (RFC 3032), and what it carries by its first nibble (RFC 4928): IP, or a pseudo-wire with or
/// without control word (RFC 4448). Labels differ by direction, so they are no part of a segment.
fn mpls(mut reader: Reader<'_>) -> Result<(Header, &[u8]), Discard> {
    let mut bottom = false;
    for _ in 0..LAYERS_MAX {
        bottom = reader.be32().ok_or(Discard::Short)? & 0x100 != 0;
        if bottom {
            break;
        }
    }
    if !bottom {
        return Err(Discard::TooDeep);
    }
    let inner = reader.rest();
    if let Some(network) = ip::version(inner)
        && ip::read(network, inner, 0).is_ok()
    {
        return Ok((Header::Network(network), inner));
    }
    if plausible::ethernet(inner, 0) {
        return Ok((Header::Ethernet, inner));
    }
    match inner.split_at_checked(4) {
        Some(([0, ..], frame)) if plausible::ethernet(frame, 0) => Ok((Header::Ethernet, frame)),
        _ => Err(Discard::NotIp),
    }
}

/// RFC 8300: length in words of four bytes, next protocol in the fourth octet.
fn nsh(reader: Reader<'_>) -> Result<(Header, &[u8]), Discard> {
    let mut head = reader;
    let [version, length, _kind, next] = head.array().ok_or(Discard::Short)?;
    let words = usize::from(length & 0x3f);
    if version >> 6 != 0 || words < 2 {
        return Err(Discard::NotIp);
    }
    Ok((from_nsh_protocol(next)?, bytes_after(reader, words * 4)?))
}

/// The "next protocol" registry that NSH and VXLAN-GPE share.
pub(super) fn from_nsh_protocol(next: u8) -> Result<Header, Discard> {
    match next {
        1 => Ok(Header::Network(Network::Ipv4)),
        2 => Ok(Header::Network(Network::Ipv6)),
        3 => Ok(Header::Ethernet),
        4 => Ok(Header::Nsh),
        5 => Ok(Header::Mpls),
        _ => Err(Discard::NotIp),
    }
}

/// Linux cooked: no destination, and a source only where the device has Ethernet addresses.
fn cooked<'a>(
    hardware: u16,
    length: u16,
    [a, b, c, d, e, f, _, _]: [u8; 8],
    protocol: u16,
    reader: Reader<'a>,
    stack: &mut Stack,
) -> Result<(Header, &'a [u8]), Discard> {
    // ARPHRD_NETLINK: the protocol field is a netlink family.
    if hardware == 824 {
        return Err(Discard::NotIp);
    }
    stack.src_mac = Some(Mac([a, b, c, d, e, f])).filter(|mac| length == 6 && mac.is_unicast());
    match protocol {
        4 => Ok((Header::Llc, reader.rest())),
        _ => Ok((from_ethertype(protocol)?, reader.rest())),
    }
}

/// Linux NFLOG: type-length-value records in the order of the capturing host; the packet is record 9.
fn nflog<'a>(mut reader: Reader<'a>, stack: &mut Stack) -> Result<(Header, &'a [u8]), Discard> {
    const RECORDS_MAX: usize = 64;
    reader.skip(4).ok_or(Discard::Short)?;
    for _ in 0..RECORDS_MAX {
        let [l0, l1, t0, t1] = reader.array().ok_or(Discard::Short)?;
        let length = u16::from_le_bytes([l0, l1]);
        let value_len = length.checked_sub(4).ok_or(Discard::Short)?;
        if u16::from_le_bytes([t0, t1]) == 9 {
            return Ok((Header::RawIp, stack.trim(reader.rest(), value_len)));
        }
        reader.skip(usize::from(value_len).next_multiple_of(4)).ok_or(Discard::Short)?;
    }
    Err(Discard::NotIp)
}

fn be16_pair(reader: &mut Reader<'_>) -> Option<[u16; 2]> {
    Some([reader.be16()?, reader.be16()?])
}

fn be16_triple(reader: &mut Reader<'_>) -> Option<[u16; 3]> {
    Some([reader.be16()?, reader.be16()?, reader.be16()?])
}

fn bytes_after(mut reader: Reader<'_>, count: usize) -> Result<&[u8], Discard> {
    reader.skip(count).ok_or(Discard::Short)?;
    Ok(reader.rest())
}
