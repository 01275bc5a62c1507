//! What decoding yields. Slices point into the captured frame or into a reassembly buffer; nothing is copied.

use std::net::{IpAddr, Ipv4Addr};

use crate::model::{AdvertBy, Mac, MirrorPath, Segment, Transport};

/// A network-layer packet found inside a frame, before fragments are joined.
#[derive(Clone, Copy, Debug)]
pub struct Located<'a> {
    /// From the first byte of the network header (IP, or the ARP/RARP packet) to the end of what was captured,
    /// link padding included.
    pub bytes: &'a [u8],
    pub network: Network,
    pub segment: Segment,
    /// MACs of the innermost link header, where there is one.
    pub src_mac: Option<Mac>,
    pub dst_mac: Option<Mac>,
    /// Outermost tunnel's sender: who mirrored or encapsulated it.
    pub host_hint: Option<IpAddr>,
    /// What carried the copy.
    pub path: MirrorPath,
    /// Addresses of the innermost network header (for ARP: sender and target; none of LLDP and CDP), for the shard
    /// choice.
    pub src: IpAddr,
    pub dst: IpAddr,
    /// The two addresses that choose the shard. Those of the quoted packet for an ICMP error; twice the sender's
    /// for ARP, ND, multicast and broadcast.
    pub shard_pair: (IpAddr, IpAddr),
    /// Bytes the frame had on the wire that were not captured.
    pub cut: u32,
    /// Its mirror numbered it lower than a copy that came before.
    pub late: bool,
    /// 802.1p priority of the innermost tag; 0 without one.
    pub pcp: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Ipv4,
    Ipv6,
    Arp,
    Rarp,
    /// From the first TLV on.
    Lldp,
    /// From the version on.
    Cdp,
}

/// In place of the addresses of what has none.
pub(super) const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A whole (reassembled) network packet with its transport header read.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4's TOS, IPv6's traffic class.
    pub tos: u8,
    /// Length of the IP packet on the wire, header included (of all fragments together).
    pub ip_len: u32,
    pub payload: Payload<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    Tcp(Tcp<'a>),
    Udp(Udp<'a>),
    Sctp(Sctp<'a>),
    Icmp(Icmp<'a>),
    Arp(Arp),
    Advert(Advert<'a>),
    /// Any other IP protocol, with its number.
    Other(u8, &'a [u8]),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    pub fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }
    pub fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }
    pub fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }
    pub fn psh(self) -> bool {
        self.0 & 0x08 != 0
    }
    pub fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }
    pub fn urg(self) -> bool {
        self.0 & 0x20 != 0
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    pub src_port: u16,
    pub dst_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: TcpFlags,
    pub window: u16,
    /// Means something where `flags.urg()` only.
    pub urgent: u16,
    pub options: &'a [u8],
    /// What was captured of the payload.
    pub payload: &'a [u8],
    /// Payload length on the wire; larger than `payload` where the frame was cut.
    pub payload_len: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    pub src_port: u16,
    pub dst_port: u16,
    pub payload: &'a [u8],
    pub payload_len: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Sctp<'a> {
    pub src_port: u16,
    pub dst_port: u16,
    pub verification_tag: u32,
    /// The first chunk's kind (RFC 9260 section 3.2).
    pub first: SctpChunk,
    /// User data of the first DATA chunk, where there is one.
    pub payload: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SctpChunk {
    Data,
    Init,
    InitAck,
    Abort,
    Shutdown,
    ShutdownComplete,
    Other(u8),
}

/// ICMP and ICMPv6 (`v6` tells which); flows of it have the echo identifier as neither port.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<'a> {
    pub v6: bool,
    pub kind: u8,
    pub code: u8,
    /// Set for destination unreachable, time exceeded and other errors.
    pub quoted: Option<Quoted>,
    pub nd: Option<Nd>,
    pub body: &'a [u8],
}

/// The packet that an ICMP error quotes (RFC 792; RFC 4443 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub transport: Transport,
    pub src_port: u16,
    pub dst_port: u16,
}

/// Neighbour discovery (RFC 4861).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nd {
    Solicit { target: IpAddr, source_mac: Option<Mac> },
    Advertise { target: IpAddr, target_mac: Option<Mac>, solicited: bool, router: bool },
    RouterAdvertise { source_mac: Option<Mac> },
    RouterSolicit,
}

/// ARP and RARP (RFC 826, RFC 903), Ethernet and IPv4 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    pub operation: u16,
    pub sender_mac: Mac,
    pub sender_ip: IpAddr,
    pub target_mac: Mac,
    pub target_ip: IpAddr,
}

/// What a station says of itself to its neighbour on the link, in LLDP or CDP. Text is as on the wire: untrusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert<'a> {
    pub by: AdvertBy,
    pub chassis: StationId<'a>,
    pub port: StationId<'a>,
    pub port_description: &'a [u8],
    pub system: &'a [u8],
    /// Where it is managed.
    pub address: Option<IpAddr>,
    /// It goes: what it said before no longer holds.
    pub goodbye: bool,
}

/// How a chassis or a port is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StationId<'a> {
    Mac(Mac),
    Address(IpAddr),
    Text(&'a [u8]),
}
