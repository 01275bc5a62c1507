//! One flow record as an exporter sends it, whatever the version: most tell one direction of a conversation, some both.
//! Bound: a record is read where it lies; only numbers and addresses are taken out of it.

use std::net::{IpAddr, Ipv4Addr};

use crate::model::{LayerKind, Mac, Segment, Transport};

/// FIN, SYN, RST and ACK as in the TCP header.
pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// `None` where the exporter does not tell them.
    pub packets: Option<u64>,
    pub bytes: u64,
    /// Union of the TCP flags; `None` where the exporter does not tell them.
    pub flags: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Half {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub src_port: u16,
    pub dst_port: u16,
    pub protocol: u8,
    pub counts: Counts,
    /// The way back, where one record tells both (RFC 5103; ASA): the source is then the initiator.
    pub back: Option<Counts>,
    /// When its first packet came, in nanoseconds of whatever clock the exporter tells times in.
    pub first_clock: Option<i64>,
    /// Nanoseconds before the export at which its first and last packet came.
    pub first_ago: Option<i64>,
    pub last_ago: Option<i64>,
    pub src_mac: Option<Mac>,
    pub vlan: u16,
    /// The overlay's network identifier and what kind of overlay it is.
    pub overlay: Option<(LayerKind, u32)>,
    pub sampling: u32,
}

impl Default for Half {
    fn default() -> Self {
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Half {
            src: nobody,
            dst: nobody,
            src_port: 0,
            dst_port: 0,
            protocol: 0,
            counts: Counts::default(),
            back: None,
            first_clock: None,
            first_ago: None,
            last_ago: None,
            src_mac: None,
            vlan: 0,
            overlay: None,
            sampling: 1,
        }
    }
}

impl Half {
    /// Is it about a conversation between two hosts at all? Others are statistics of the exporter.
    pub fn has_addresses(&self) -> bool {
        !self.src.is_unspecified() && !self.dst.is_unspecified()
    }

    pub fn transport(&self) -> Transport {
        match self.protocol {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            132 => Transport::Sctp,
            1 => Transport::Icmp,
            58 => Transport::Icmp6,
            other => Transport::Ip(other),
        }
    }

    /// Ports; 0 where the protocol has none (exporters put ICMP's type and code there).
    pub fn ports(&self) -> (u16, u16) {
        match self.protocol {
            6 | 17 | 132 => (self.src_port, self.dst_port),
            _ => (0, 0),
        }
    }

    pub fn segment(&self) -> Segment {
        let outer = match self.overlay {
            Some((kind, id)) => Segment::UNTAGGED.with(kind, id),
            None => Segment::UNTAGGED,
        };
        match self.vlan & 0x0fff {
            0 => outer,
            id => outer.with(LayerKind::Vlan, u32::from(id)),
        }
    }
}

impl Counts {
    pub fn add(&mut self, more: &Counts) {
        self.packets = match (self.packets, more.packets) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.flags = match (self.flags, more.flags) {
            (Some(a), Some(b)) => Some(a | b),
            (a, b) => a.or(b),
        };
    }

    /// A record of nothing: some exporters send one for a direction in which nothing went.
    pub fn is_empty(&self) -> bool {
        self.packets == Some(0)
    }

    pub fn has(&self, flags: u8) -> bool {
        self.flags.is_some_and(|own| own & flags == flags)
    }
}
