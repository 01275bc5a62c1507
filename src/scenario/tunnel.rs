//! Frames inside others: tags and shims on the link, tunnels between hosts, and the transports of mirrors.
//! Bound: one frame in, one frame out; a nest is made by wrapping again.

use std::net::IpAddr;

use crate::model::{Mac, Timestamp};

use super::frame::{self, Path};
use super::{Captured, Scenario, Vm};

/// How a frame is carried. Those that carry IP only take the frame's packet and leave its MACs behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// VLAN ids, outermost first; the first by 802.1ad where there are several.
    Tags(Vec<u16>),
    /// Labels, top first, then the packet.
    Mpls(Vec<u32>),
    /// A pseudo-wire with control word (RFC 4448).
    MplsEthernet(Vec<u32>),
    Pppoe(u16),
    VnTag,
    /// RFC 8300, MD type 2 with one context header, around the whole frame.
    Nsh,
    /// The packet behind LLC and SNAP (RFC 1042).
    Snap,
    Vxlan {
        vni: u32,
        port: u16,
    },
    /// The packet, named by its header's "next protocol".
    VxlanGpe(u32),
    /// With options of so many words of four bytes.
    Geneve {
        vni: u32,
        option_words: u8,
    },
    /// The packet behind GRE (RFC 2784, 2890).
    Gre {
        key: Option<u32>,
        checksum: bool,
        sequence: bool,
    },
    /// Subnet (24 bits) and flow (RFC 7637).
    Nvgre {
        vsid: u32,
        flow: u8,
    },
    /// Type I: GRE and nothing else.
    ErspanOne,
    ErspanTwo {
        session: u16,
        port: u32,
    },
    /// With a platform header where there is a port.
    ErspanThree {
        session: u16,
        port: Option<u16>,
        egress: bool,
    },
    Tzsp,
    /// The packet behind GTP-U, with so many extension headers.
    Gtp {
        teid: u32,
        extensions: u8,
    },
    /// IPv4 or IPv6 in IPv4 or IPv6, as the frame and the hosts are.
    Ip,
    /// The IPv6 packet, with authentication and origin indication.
    Teredo,
}

impl Tunnel {
    /// `frame` as `from` sends it to `to`; `None` where this carries no such frame (ARP in a tunnel for IP).
    pub fn wrap(&self, from: &Vm, to: &Vm, frame: &[u8]) -> Option<Vec<u8>> {
        let (macs, ethertype, packet) = opened(frame)?;
        let over_ip = |protocol, body: &[u8]| Some(frame::ip(&path(from, to), protocol, body));
        let over_udp = |port, body: &[u8]| Some(frame::udp(&path(from, to), 50_000, port, body));
        let on_link = |ethertype: u16, rest: &[&[u8]]| Some([macs, &ethertype.to_be_bytes(), &rest.concat()].concat());
        let kind = ethertype.to_be_bytes();
        let is_ip = ethertype != ARP;
        match self {
            Tunnel::Tags(ids) => {
                let mut out = macs.to_vec();
                for (at, id) in ids.iter().enumerate() {
                    out.extend(if at == 0 && ids.len() > 1 { [0x88, 0xa8] } else { [0x81, 0] });
                    out.extend(id.to_be_bytes());
                }
                out.extend(kind);
                out.extend(packet);
                Some(out)
            }
            Tunnel::Mpls(labels) if is_ip => on_link(0x8847, &[&stack(labels), packet]),
            Tunnel::MplsEthernet(labels) => on_link(0x8847, &[&stack(labels), &[0; 4], frame]),
            Tunnel::Pppoe(session) if is_ip => {
                let protocol: u16 = if ethertype == 0x86dd { 0x57 } else { 0x21 };
                let length = (packet.len() as u16 + 2).to_be_bytes();
                on_link(0x8864, &[&[0x11, 0], &session.to_be_bytes(), &length, &protocol.to_be_bytes(), packet])
            }
            Tunnel::VnTag => on_link(0x8926, &[&[0x80, 1, 0, 2], &kind, packet]),
            Tunnel::Nsh => on_link(0x894f, &[&[0x0f, 0xc4, 2, 3, 0, 0, 1, 255, 0, 1, 2, 4, 0xca, 0xfe, 0, 0], frame]),
            Tunnel::Snap => {
                let body = [&[0xaa, 0xaa, 3, 0, 0, 0][..], &kind, packet].concat();
                on_link(body.len() as u16, &[&body])
            }
            Tunnel::Vxlan { vni, port } => over_udp(*port, &[&[8, 0, 0, 0], &(vni << 8).to_be_bytes(), frame].concat()),
            Tunnel::VxlanGpe(vni) if is_ip => {
                let next = if ethertype == 0x86dd { 2 } else { 1 };
                over_udp(4790, &[&[0x0c, 0, 0, next], &(vni << 8).to_be_bytes(), packet].concat())
            }
            Tunnel::Geneve { vni, option_words: words } => {
                let mut option = vec![0; usize::from(*words) * 4];
                if let Some(header) = option.first_chunk_mut::<4>() {
                    // Class "experimental", with all the words but its own header's.
                    *header = [0xff, 0xff, 1, words - 1];
                }
                over_udp(6081, &[&[*words, 0, 0x65, 0x58], &(vni << 8).to_be_bytes()[..], &option, frame].concat())
            }
            Tunnel::Gre { key, checksum, sequence } if is_ip => {
                let flags =
                    (u16::from(*checksum) << 15) | (u16::from(key.is_some()) << 13) | (u16::from(*sequence) << 12);
                let mut body = [flags.to_be_bytes(), kind].concat();
                body.extend(if *checksum { &[0; 4][..] } else { &[] });
                body.extend(key.map(u32::to_be_bytes).iter().flatten());
                body.extend(if *sequence { &[0, 0, 0, 9][..] } else { &[] });
                body.extend(packet);
                over_ip(47, &body)
            }
            Tunnel::Nvgre { vsid, flow } => {
                over_ip(47, &[&[0x20, 0, 0x65, 0x58], &(vsid << 8 | u32::from(*flow)).to_be_bytes(), frame].concat())
            }
            Tunnel::ErspanOne => over_ip(47, &[&[0, 0, 0x88, 0xbe], frame].concat()),
            Tunnel::ErspanTwo { session, port } => {
                let header = [[0x10, 0], session.to_be_bytes()].concat();
                over_ip(47, &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1], &header[..], &port.to_be_bytes(), frame].concat())
            }
            Tunnel::ErspanThree { session, port, egress } => {
                let last = u16::from(*egress) << 3 | u16::from(port.is_some());
                let mut body = vec![0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0];
                body.extend(session.to_be_bytes());
                body.extend([0, 0, 0, 7, 0, 0]);
                body.extend(last.to_be_bytes());
                if let Some(port) = port {
                    // Platform 5: switch and port in the first word, seconds in the second.
                    body.extend([0x14, 0]);
                    body.extend(port.to_be_bytes());
                    body.extend([0; 4]);
                }
                body.extend(frame);
                over_ip(47, &body)
            }
            // A sensor's address among the tags.
            Tunnel::Tzsp => over_udp(37_008, &[&[1, 0, 0, 1, 60, 6, 2, 0, 0, 0, 0, 1, 1][..], frame].concat()),
            Tunnel::Gtp { teid, extensions } if is_ip => {
                let mut options = Vec::new();
                if *extensions > 0 {
                    // Sequence number and N-PDU number, unused; PDU session containers, one naming the next.
                    options.extend([0, 0, 0, 0x85]);
                    for left in (0..*extensions).rev() {
                        options.extend([1, 0x10, 9, if left == 0 { 0 } else { 0x85 }]);
                    }
                }
                let length = ((options.len() + packet.len()) as u16).to_be_bytes();
                let flags = if *extensions > 0 { 0x34 } else { 0x30 };
                over_udp(2152, &[&[flags, 255], &length[..], &teid.to_be_bytes(), &options, packet].concat())
            }
            Tunnel::Ip if is_ip => over_ip(if ethertype == 0x86dd { 41 } else { 4 }, packet),
            Tunnel::Teredo if ethertype == 0x86dd => {
                let authentication = [0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0];
                let origin = [0, 0, 0xea, 0x60, 0x3f, 0xff, 0xfd, 0xfe];
                over_udp(3544, &[&authentication[..], &origin, packet].concat())
            }
            _ => None,
        }
    }
}

impl Scenario {
    /// What the mirror makes of the frames so far: those that `copies` gives stand in the place of each, a
    /// microsecond apart.
    pub fn mirrored(&mut self, mut copies: impl FnMut(Timestamp, &[u8]) -> Vec<Vec<u8>>) -> &mut Self {
        let made = std::mem::take(&mut self.frames);
        self.frames = made
            .iter()
            .flat_map(|Captured { time, interface, bytes, .. }| {
                let copies = copies(*time, bytes);
                let at = |n: i64| Timestamp::from_ns(time.ns().saturating_add(1_000 * n));
                let copy = |(n, bytes): (i64, Vec<u8>)| Captured {
                    time: at(n),
                    interface: *interface,
                    wire_len: bytes.len(),
                    bytes,
                };
                (0..).zip(copies).map(copy).collect::<Vec<_>>()
            })
            .collect();
        self
    }

    /// The same by several interfaces: each copy comes by the one named.
    pub fn mirrored_by(
        &mut self,
        mut copies: impl FnMut(Timestamp, &[u8]) -> Vec<(&'static str, Vec<u8>)>,
    ) -> &mut Self {
        for Captured { time, bytes, .. } in std::mem::take(&mut self.frames) {
            for (n, (interface, copy)) in (0..).zip(copies(time, &bytes)) {
                self.via(interface).frame(Timestamp::from_ns(time.ns().saturating_add(1_000 * n)), copy);
            }
        }
        self
    }
}

/// Who sent this frame.
pub fn sender(frame: &[u8]) -> Option<Mac> {
    frame.get(6..12)?.try_into().ok().map(Mac)
}

const ARP: u16 = 0x0806;

/// MACs, type and packet of an untagged frame; the packet without padding, where it says how long it is.
fn opened(frame: &[u8]) -> Option<(&[u8], u16, &[u8])> {
    let (macs, rest) = frame.split_at_checked(12)?;
    let (kind, packet) = rest.split_first_chunk::<2>()?;
    let ethertype = u16::from_be_bytes(*kind);
    let length = match (ethertype, packet) {
        (0x0800, [_, _, l1, l0, ..]) => usize::from(u16::from_be_bytes([*l1, *l0])),
        (0x86dd, [_, _, _, _, l1, l0, ..]) => usize::from(u16::from_be_bytes([*l1, *l0])) + 40,
        _ => packet.len(),
    };
    Some((macs, ethertype, packet.get(..length).unwrap_or(packet)))
}

fn path<'a>(from: &'a Vm, to: &Vm) -> Path<'a> {
    let dst_ip: IpAddr = to.ip;
    Path { src: from, dst_mac: to.mac, dst_ip, ip_id: 0 }
}

/// A label stack with the bottom bit on its last entry, and a time to live.
fn stack(labels: &[u32]) -> Vec<u8> {
    let last = labels.len().saturating_sub(1);
    let entry = |(at, label): (usize, &u32)| (label << 12 | u32::from(at == last) << 8 | 64).to_be_bytes();
    labels.iter().enumerate().flat_map(entry).collect()
}
