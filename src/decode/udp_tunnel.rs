//! Tunnels over UDP: VXLAN, VXLAN-GPE, GENEVE, GTP-U, Teredo, TZSP, L2TP, CAPWAP, MPLS, GRE and GUE.
//!
//! VXLAN and Teredo are also recognised on other ports, but only where everything in them fits; whatever does not
//! hold stays a UDP datagram.

use super::ip::{self, protocol};
use super::link::{self, Header};
use super::packet::Network;
use super::plausible;
use super::reader::Reader;
use super::tunnel::{self, Inner};
use crate::model::{Carrier, LayerKind, MirrorPath, PathKind};

/// What a UDP datagram carries, where it is a tunnel. `udp` starts at the UDP header.
#[inline]
pub(super) fn open(udp: &[u8], cut: u32) -> Option<Inner<'_>> {
    let (&[s1, s0, d1, d0, _, _, _, _], payload) = udp.split_first_chunk()?;
    let (src, dst) = (u16::from_be_bytes([s1, s0]), u16::from_be_bytes([d1, d0]));
    let inner = match dst {
        // 8472: Linux before the assignment, and Flannel's default.
        4789 | 8472 => vxlan(payload, cut),
        4790 => vxlan_gpe(payload, cut),
        6081 => geneve(payload, cut),
        2152 => gtp(payload, cut),
        37008 => tzsp(payload, cut),
        1701 => l2tp(payload, cut),
        4754 => tunnel::gre(payload, cut),
        5247 => capwap(payload, cut),
        6080 => gue(payload, cut),
        6635 => Inner::new(Header::Mpls, payload).plausible(cut),
        _ => None,
    };
    if inner.is_some() {
        return inner;
    }
    match src {
        1701 => return l2tp(payload, cut),
        2152 => return gtp(payload, cut),
        5247 => return capwap(payload, cut),
        _ => {}
    }
    match payload.first()? {
        0x08 => vxlan_elsewhere(payload, cut),
        0x60..=0x6f => teredo(payload, cut, src == 3544 || dst == 3544),
        0x00 if src == 3544 || dst == 3544 => teredo(payload, cut, true),
        _ => None,
    }
}

/// What a datagram carries that came to a listener: the listener says which tunnel it is, whatever the port.
pub(super) fn received(carrier: Carrier, datagram: &[u8], cut: u32) -> Option<Inner<'_>> {
    match carrier {
        Carrier::Vxlan => vxlan(datagram, cut).or_else(|| vxlan_gpe(datagram, cut)),
        Carrier::Geneve => geneve(datagram, cut),
        Carrier::Gre => tunnel::gre(datagram, cut),
        Carrier::Tzsp => tzsp(datagram, cut),
        Carrier::Cflow | Carrier::Sflow => None,
    }
}

/// Is this datagram, which is a tunnel, L2TP? Its ends are servers that someone runs, not a mirror's or an overlay's.
pub(super) fn is_l2tp(udp: &[u8]) -> bool {
    const L2TP: [u8; 2] = 1701u16.to_be_bytes();
    udp.first_chunk().is_some_and(|&[s1, s0, d1, d0]| [s1, s0] == L2TP || [d1, d0] == L2TP)
}

/// RFC 7348: only the I flag, reserved fields zero; or with the group policy extension (flag G, group id).
#[inline(always)]
pub(super) fn vxlan(payload: &[u8], cut: u32) -> Option<Inner<'_>> {
    let (&[flags, a, b, c, v2, v1, v0, reserved], frame) = payload.split_first_chunk()?;
    let plain = [flags, a, b, c] == [0x08, 0, 0, 0];
    let group_policy = flags == 0x88 && a & 0xb7 == 0;
    let vni = u32::from_be_bytes([0, v2, v1, v0]);
    (reserved == 0 && (plain || group_policy) && plausible::ethernet(frame, cut))
        .then(|| Inner::new(Header::Ethernet, frame).within(LayerKind::Vxlan, vni))
}

/// VXLAN on a port that nobody assigned to it.
fn vxlan_elsewhere(payload: &[u8], cut: u32) -> Option<Inner<'_>> {
    let (&[8, 0, 0, 0, v2, v1, v0, 0], frame) = payload.split_first_chunk()? else { return None };
    let vni = u32::from_be_bytes([0, v2, v1, v0]);
    plausible::ethernet_beyond_doubt(frame, cut)
        .then(|| Inner::new(Header::Ethernet, frame).within(LayerKind::Vxlan, vni))
}

/// draft-ietf-nvo3-vxlan-gpe: the P flag says that the fourth octet names what follows.
fn vxlan_gpe(payload: &[u8], cut: u32) -> Option<Inner<'_>> {
    let (&[flags, _, _, next, v2, v1, v0, _], rest) = payload.split_first_chunk()?;
    // Version 0, the I flag set.
    if flags & 0x30 != 0 || flags & 0x08 == 0 {
        return None;
    }
    let header = if flags & 0x04 != 0 { link::from_nsh_protocol(next).ok()? } else { Header::Ethernet };
    let vni = u32::from_be_bytes([0, v2, v1, v0]);
    Inner::new(header, rest).plausible(cut).map(|inner| inner.within(LayerKind::Vxlan, vni))
}

/// RFC 8926; options are skipped, whatever they are.
fn geneve(payload: &[u8], cut: u32) -> Option<Inner<'_>> {
    let (&[version_length, flags, t1, t0, v2, v1, v0, reserved], rest) = payload.split_first_chunk()?;
    if version_length >> 6 != 0 || flags & 0x3f != 0 || reserved != 0 {
        return None;
    }
    let bytes = rest.get(usize::from(version_length & 0x3f) * 4..)?;
    let header = link::from_ethertype(u16::from_be_bytes([t1, t0])).ok()?;
    let vni = u32::from_be_bytes([0, v2, v1, v0]);
    Inner::new(header, bytes).plausible(cut).map(|inner| inner.within(LayerKind::Geneve, vni))
}

/// GTP-U version 1, G-PDU (3GPP TS 29.281 5.1, 5.2).
fn gtp(payload: &[u8], cut: u32) -> Option<Inner<'_>> {
    const EXTENSIONS_MAX: usize = 16;
    let mut reader = Reader::new(payload);
    let [flags, kind] = reader.array()?;
    let length = reader.be16()?;
    reader.skip(4)?;
    if flags >> 4 != 3 || kind != 255 || u32::from(length) > (reader.rest().len() as u32).saturating_add(cut) {
        return None;
    }
    if flags & 0x07 != 0 {
        let [_, _, _, mut next] = reader.array()?;
        for _ in 0..EXTENSIONS_MAX {
            if flags & 0x04 == 0 || next == 0 {
                break;
            }
            // Length in words of four bytes, with this octet and the next type at the end.
            let content = usize::from(reader.u8()?).checked_mul(4)?.checked_sub(2)?;
            reader.skip(content)?;
            next = reader.u8()?;
        }
    }
    let network = ip::version(reader.rest())?;
    Inner::new(Header::Network(network), reader.rest()).plausible(cut)
}

/// Teredo (RFC 4380 5.1.1): authentication and origin indications, then IPv6 that fills the datagram. On other
/// ports one end must have an address that Teredo makes.
fn teredo(payload: &[u8], cut: u32, known_port: bool) -> Option<Inner<'_>> {
    let mut reader = Reader::new(payload);
    if reader.rest().starts_with(&[0, 1]) {
        reader.skip(2)?;
        let [identifier, value] = reader.array()?;
        reader.skip(usize::from(identifier) + usize::from(value) + 9)?;
    }
    if reader.rest().starts_with(&[0, 0]) {
        reader.skip(8)?;
    }
    let ip = plausible::whole_ipv6(reader.rest(), cut)?;
    let made_by_teredo = [ip.src, ip.dst].iter().any(|address| match address {
        std::net::IpAddr::V6(v6) => v6.segments().starts_with(&[0x2001, 0]),
        std::net::IpAddr::V4(_) => false,
    });
    let carried = matches!(ip.protocol, protocol::TCP | protocol::UDP | protocol::ICMPV6 | protocol::NO_NEXT);
    (known_port || (made_by_teredo && carried)).then(|| Inner::new(Header::Network(Network::Ipv6), reader.rest()))
}

/// TZSP, the mirror protocol of RouterOS and access points: version 1, tags up to tag 1, then Ethernet or 802.11.
fn tzsp(payload: &[u8], cut: u32) -> Option<Inner<'_>> {
    const TAGS_MAX: usize = 64;
    let mut reader = Reader::new(payload);
    let [1, 0 | 1] = reader.array()? else { return None };
    let header = match reader.be16()? {
        1 => Header::Ethernet,
        18 => Header::Wireless,
        _ => return None,
    };
    for _ in 0..TAGS_MAX {
        match reader.u8()? {
            0 => {}
            1 => {
                let inner = Inner::new(header, reader.rest()).plausible(cut)?;
                return Some(inner.by(MirrorPath::new(PathKind::Tzsp, 0)));
            }
            _ => {
                let length = reader.u8()?;
                reader.skip(usize::from(length))?;
            }
        }
    }
    None
}

/// L2TPv2 data with PPP (RFC 2661 3.1), or L2TPv3 over UDP (RFC 3931 4.1.2). Control messages stay UDP.
fn l2tp(payload: &[u8], cut: u32) -> Option<Inner<'_>> {
    let mut reader = Reader::new(payload);
    let flags = reader.be16()?;
    match (flags & 0x8000, flags & 0x000f) {
        (0, 2) => {
            if flags & 0x4000 != 0 {
                reader.skip(2)?;
            }
            reader.skip(4)?;
            if flags & 0x0800 != 0 {
                reader.skip(4)?;
            }
            if flags & 0x0200 != 0 {
                let padding = reader.be16()?;
                reader.skip(usize::from(padding))?;
            }
            Inner::new(Header::Ppp, reader.rest()).plausible(cut)
        }
        (0, 3) => {
            reader.skip(2)?;
            tunnel::l2tp3_data(reader.rest(), cut)
        }
        _ => None,
    }
}

/// CAPWAP data (RFC 5415 4.3) that is neither encrypted nor fragmented: an 802.3 or an 802.11 frame (T bit).
fn capwap(payload: &[u8], cut: u32) -> Option<Inner<'_>> {
    let &[preamble, length, kind, flags, ..] = payload.first_chunk::<8>()?;
    // No fragment (F), no keep-alive (K); preamble 0 is clear text.
    if preamble != 0 || flags & 0x88 != 0 {
        return None;
    }
    let rest = payload.get(usize::from(length >> 3) * 4..)?;
    if kind & 0x01 != 0 {
        return Inner::new(Header::Wireless, rest).plausible(cut);
    }
    Inner::new(Header::Ethernet, rest).plausible(cut)
}

/// GUE (draft-ietf-intarea-gue): version 0 names an IP protocol, version 1 is IP itself.
fn gue(payload: &[u8], cut: u32) -> Option<Inner<'_>> {
    if let Some(network) = ip::version(payload) {
        return Inner::new(Header::Network(network), payload).plausible(cut);
    }
    let (&[first, number, _, _], rest) = payload.split_first_chunk()?;
    // The C bit marks control messages; the length of the options is in words of four bytes.
    if first & 0xe0 != 0 {
        return None;
    }
    tunnel::by_protocol(number, rest.get(usize::from(first & 0x1f) * 4..)?, cut)
}
