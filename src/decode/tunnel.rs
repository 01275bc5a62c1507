//! Tunnels directly over IP: IP-in-IP, GRE with all it carries, ERSPAN, L2TPv3, MPLS and Ethernet.
//!
//! A header that does not hold to its specification, or that carries nothing plausible, is no tunnel: the packet
//! then stays what its outer header says.

use super::ip::{Ip, protocol};
use super::link::{self, Header};
use super::packet::Network;
use super::plausible;
use super::reader::Reader;
use super::{ip, udp_tunnel};
use crate::model::{LayerKind, MirrorPath, PathKind};

/// What a tunnel carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inner<'a> {
    pub header: Header,
    pub bytes: &'a [u8],
    /// The tenant id that the tunnel header names. None for mirror paths, and for ids that each receiver chooses
    /// for itself (GTP-U, L2TP, PPTP): those differ by direction and would tear flows apart.
    pub layer: Option<(LayerKind, u32)>,
    /// Set where the tunnel is a mirror's by its kind.
    pub path: Option<MirrorPath>,
    /// GRE's sequence number (RFC 2890 2.2).
    pub number: Option<u32>,
}

impl<'a> Inner<'a> {
    pub fn new(header: Header, bytes: &'a [u8]) -> Self {
        Inner { header, bytes, layer: None, path: None, number: None }
    }

    pub fn within(self, kind: LayerKind, id: u32) -> Self {
        Inner { layer: Some((kind, id)), ..self }
    }

    pub fn by(self, path: MirrorPath) -> Self {
        Inner { path: Some(path), ..self }
    }

    pub fn numbered(self, number: Option<u32>) -> Self {
        Inner { number, ..self }
    }

    #[inline]
    pub fn plausible(self, cut: u32) -> Option<Self> {
        plausible::inner(self.header, self.bytes, cut).then_some(self)
    }
}

/// Whether fragments of this protocol are joined before the shard is chosen: they may hide a tunnel.
pub(super) fn may_carry(number: u8) -> bool {
    use protocol::{ETHERNET, GRE, IP_IN_IP, IPV6, L2TP, MPLS, UDP};
    matches!(number, IP_IN_IP | UDP | IPV6 | GRE | L2TP | MPLS | ETHERNET)
}

/// What `ip` carries, where it is a tunnel.
#[inline(always)]
pub(super) fn open<'a>(ip: &Ip<'a>) -> Option<Inner<'a>> {
    match ip.protocol {
        protocol::TCP => None,
        protocol::UDP => udp_tunnel::open(ip.payload, ip.cut()),
        other => by_protocol(other, ip.payload, ip.cut()),
    }
}

/// What an IP protocol number announces.
pub(super) fn by_protocol(number: u8, payload: &[u8], cut: u32) -> Option<Inner<'_>> {
    match number {
        protocol::IP_IN_IP => Inner::new(Header::Network(Network::Ipv4), payload).plausible(cut),
        protocol::IPV6 => Inner::new(Header::Network(Network::Ipv6), payload).plausible(cut),
        protocol::GRE => gre(payload, cut),
        protocol::MPLS => Inner::new(Header::Mpls, payload).plausible(cut),
        protocol::L2TP => l2tp3_data(payload, cut),
        protocol::ETHERNET => Inner::new(Header::Ethernet, payload.get(2..)?).plausible(cut),
        _ => None,
    }
}

/// GRE (RFC 2784, RFC 2890, routing of RFC 1701), NVGRE (RFC 7637), ERSPAN, and PPTP's version 1 (RFC 2637).
pub(super) fn gre(bytes: &[u8], cut: u32) -> Option<Inner<'_>> {
    let mut reader = Reader::new(bytes);
    let flags = reader.be16()?;
    let mut kind = reader.be16()?;
    let (checksum, routing, key, sequence) =
        (flags & 0x8000 != 0, flags & 0x4000 != 0, flags & 0x2000 != 0, flags & 0x1000 != 0);
    if checksum || routing {
        reader.skip(4)?;
    }
    let key = if key { Some(reader.be32()?) } else { None };
    let number = if sequence { Some(reader.be32()?) } else { None };
    match flags & 0x7 {
        0 => {}
        1 => {
            if flags & 0x0080 != 0 {
                reader.skip(4)?;
            }
            return if kind == 0x880b { Inner::new(Header::Ppp, reader.rest()).plausible(cut) } else { None };
        }
        _ => return None,
    }
    if routing {
        // Source route entries, each at least four bytes; an empty one ends the list.
        loop {
            let [_, _, _offset, length] = reader.array()?;
            if length == 0 {
                break;
            }
            reader.skip(usize::from(length))?;
        }
    }
    if kind == 0x8909 {
        // Cisco metadata: within GRE the real type comes first, then version, words, and as many words.
        kind = reader.be16()?;
        let [_version, words] = reader.array()?;
        reader.skip(usize::from(words) * 4)?;
    }
    match kind {
        0x88be => return erspan2(reader.rest(), sequence, cut).map(|inner| inner.numbered(number)),
        0x22eb => return erspan3(reader.rest(), cut).map(|inner| inner.numbered(number)),
        // WCCP puts a redirect header of four bytes before the packet in its version 2.
        0x883e => {
            if ip::version(reader.rest()) != Some(Network::Ipv4) {
                reader.skip(4)?;
            }
            return Inner::new(Header::Network(Network::Ipv4), reader.rest()).plausible(cut);
        }
        _ => {}
    }
    let inner = Inner::new(link::from_ethertype(kind).ok()?, reader.rest()).plausible(cut)?.numbered(number);
    Some(match key {
        Some(key) => inner.within(LayerKind::Gre, key),
        None => inner,
    })
}

/// Session and number of an ERSPAN copy of which the frame within is of no known kind: it came, nothing was lost.
#[cold]
pub(super) fn erspan_number(gre: &[u8]) -> Option<(MirrorPath, u32)> {
    let mut reader = Reader::new(gre);
    let (flags, kind, number) = (reader.be16()?, reader.be16()?, reader.be32()?);
    let (version, session) = (reader.be16()? >> 12, reader.be16()?);
    let path = MirrorPath::new(PathKind::Erspan, u32::from(session & 0x03ff));
    match (flags, kind, version) {
        (0x1000, 0x88be, 1) => Some((path, number)),
        (0x1000, 0x22eb, 2) => {
            reader.skip(6)?;
            let last = reader.be16()?;
            Some((path.by_engine((last >> 4) as u8 & 0x3f, last & 8 != 0), number))
        }
        _ => None,
    }
}

/// ERSPAN types I and II (draft-foschiano-erspan 4.1, 4.2). Type I has no header at all, and no sequence number.
fn erspan2(bytes: &[u8], sequence: bool, cut: u32) -> Option<Inner<'_>> {
    let mut path = MirrorPath::new(PathKind::Erspan, 0);
    if !sequence {
        return Inner::new(Header::Ethernet, bytes).plausible(cut).map(|inner| inner.by(path));
    }
    let mut reader = Reader::new(bytes);
    let (version_vlan, trunk, index) = (reader.be16()?, reader.be16()?, reader.be32()?);
    if version_vlan >> 12 != 1 {
        return None;
    }
    (path.id, path.port) = (u32::from(trunk & 0x03ff), index & 0x000f_ffff);
    let inner = mirrored(reader.rest())?.by(path);
    // "En" 2: the frame came with an 802.1Q tag. Most switches leave it in this header only, some in the frame too.
    let tag = version_vlan & 0x0fff;
    let moved_tag = (trunk >> 11) & 3 == 2 && tag != 0 && outer_tag(inner.bytes) != Some(tag);
    Some(if moved_tag { inner.within(LayerKind::Vlan, u32::from(tag)) } else { inner })
}

/// VLAN id of the first tag of an Ethernet frame.
fn outer_tag(frame: &[u8]) -> Option<u16> {
    let mut reader = Reader::new(frame);
    reader.skip(12)?;
    matches!(reader.be16()?, 0x8100 | 0x88a8).then_some(reader.be16()? & 0x0fff)
}

/// ERSPAN type III (draft-foschiano-erspan 4.3): 12 bytes, and a platform header of 8 where the O bit is set, or where
/// a Catalyst says frame type 7 (as its captures show).
fn erspan3(bytes: &[u8], cut: u32) -> Option<Inner<'_>> {
    let mut reader = Reader::new(bytes);
    let (version, session) = (reader.be16()?, reader.be16()?);
    reader.skip(6)?;
    let last = reader.be16()?;
    if version >> 12 != 2 {
        return None;
    }
    let mut path = MirrorPath::new(PathKind::Erspan, u32::from(session & 0x03ff));
    path = path.by_engine((last >> 4) as u8 & 0x3f, last & 8 != 0);
    let frame_type = (last >> 10) & 0x1f;
    if last & 1 != 0 || frame_type == 7 {
        path.port = platform_port(reader.be32()?, reader.be32()?);
    }
    let inner = match frame_type {
        2 => Inner::new(Header::Network(ip::version(reader.rest())?), reader.rest()).plausible(cut)?,
        _ => mirrored(reader.rest())?,
    };
    Some(inner.by(path))
}

/// A frame behind a header that only a mirror writes: it may be any, for a port shows broken ones, too.
fn mirrored(frame: &[u8]) -> Option<Inner<'_>> {
    (frame.len() >= 14).then(|| Inner::new(Header::Ethernet, frame))
}

/// Where each platform of the draft's list puts the port's index; the rest of the header is time and place.
fn platform_port(first: u32, second: u32) -> u32 {
    match first >> 26 {
        1 => second,
        3 => first & 0x3fff,
        // With the switch's own number before it.
        5 | 6 => first & 0x03ff_ffff,
        0 | 7 => first & 0x000f_ffff,
        _ => 0,
    }
}

/// L2TPv3 data (RFC 3931 4.1): session, a cookie of 0, 4 or 8 bytes and a sublayer header of 0 or 4, both agreed
/// out of our sight, so they are found by what follows. Session 0 is control.
pub(super) fn l2tp3_data(bytes: &[u8], cut: u32) -> Option<Inner<'_>> {
    let mut reader = Reader::new(bytes);
    if reader.be32()? == 0 {
        return None;
    }
    [0, 4, 8, 12]
        .into_iter()
        .filter_map(|skipped| reader.rest().get(skipped..))
        .find(|frame| plausible::ethernet(frame, cut))
        .map(|frame| Inner::new(Header::Ethernet, frame))
}
