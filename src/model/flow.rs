//! Flows: both directions of one conversation. `orig` sent the first packet, `resp` is the other (Zeek's words).

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::addr::Mac;
use super::mirror::MirrorPath;
use super::segment::Segment;
use super::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Orig,
    Resp,
}

impl Side {
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Orig => Side::Resp,
            Side::Resp => Side::Orig,
        }
    }
}

/// Transport protocol; for those without ports both ports are 0 (ICMP: orig type and code are not ports here).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    /// Any other IP protocol number.
    Ip(u8),
}

impl Transport {
    pub fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
            Transport::Sctp => 132,
            Transport::Icmp => 1,
            Transport::Icmp6 => 58,
            Transport::Ip(n) => n,
        }
    }

    /// As EVE's `proto`: `TCP`, `UDP`, `SCTP`, `ICMP`, `IPv6-ICMP`.
    pub fn eve(self) -> String {
        match self {
            Transport::Icmp6 => "IPv6-ICMP".to_owned(),
            Transport::Ip(n) => n.to_string(),
            other => other.to_string().to_uppercase(),
        }
    }
}

/// As our own JSON and the command line have it: `tcp`, `udp`, `sctp`, `icmp`, `icmp6`, `ip/47`.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transport::Tcp => f.write_str("tcp"),
            Transport::Udp => f.write_str("udp"),
            Transport::Sctp => f.write_str("sctp"),
            Transport::Icmp => f.write_str("icmp"),
            Transport::Icmp6 => f.write_str("icmp6"),
            Transport::Ip(n) => write!(f, "ip/{n}"),
        }
    }
}

impl std::str::FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Transport::Tcp),
            "udp" => Ok(Transport::Udp),
            "sctp" => Ok(Transport::Sctp),
            "icmp" => Ok(Transport::Icmp),
            "icmp6" | "ipv6-icmp" => Ok(Transport::Icmp6),
            other => other
                .strip_prefix("ip/")
                .and_then(|n| n.parse().ok())
                .map(Transport::Ip)
                .ok_or_else(|| format!("`{text}` is not a transport: tcp, udp, sctp, icmp, icmp6 or ip/NUMBER")),
        }
    }
}

/// Direction-free key of a flow: the smaller (address, port) first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    pub segment: Segment,
    pub low: (IpAddr, u16),
    pub high: (IpAddr, u16),
    pub transport: Transport,
}

impl FlowKey {
    /// The key, and whether the sender is its `low` end.
    pub fn new(segment: Segment, transport: Transport, src: (IpAddr, u16), dst: (IpAddr, u16)) -> (Self, bool) {
        let src_is_low = src <= dst;
        let (low, high) = if src_is_low { (src, dst) } else { (dst, src) };
        (FlowKey { segment, low, high, transport }, src_is_low)
    }
}

/// Once a packet: in words, not in the bytes and lengths that a derived one feeds. Two keys that differ only in what
/// is left out here (the kinds of a segment's layers, an IPv4 address against the IPv6 address of the same bits) meet
/// in one bucket and are told apart by `==`.
impl std::hash::Hash for FlowKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let ends = u64::from(self.low.1) << 16 | u64::from(self.high.1);
        state.write_u64(ends << 32 | u64::from(self.transport.number()));
        match (self.low.0, self.high.0) {
            (IpAddr::V4(low), IpAddr::V4(high)) => {
                state.write_u64(u64::from(low.to_bits()) << 32 | u64::from(high.to_bits()));
            }
            (low, high) => {
                for ip in [low, high] {
                    state.write_u128(match ip {
                        IpAddr::V4(v4) => u128::from(v4.to_bits()),
                        IpAddr::V6(v6) => v6.to_bits(),
                    });
                }
            }
        }
        for layer in self.segment.layers() {
            state.write_u32(layer.id);
        }
    }
}

/// One end of a flow as the wire showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub ip: IpAddr,
    pub port: u16,
    /// Source MAC of the frames this end sent; `None` until it sent one, or where the link has none.
    pub mac: Option<Mac>,
    /// Outer sender of the mirror copy of this end's frames: a hint at its host, never identity.
    pub host_hint: Option<IpAddr>,
    /// What carried that copy: the latest, as the hint is.
    pub path: MirrorPath,
}

/// A flow as observations name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRef {
    /// 53-bit hash of segment, 5-tuple, first frame and generation (EVE's `flow_id`).
    pub id: u64,
    pub segment: Segment,
    pub transport: Transport,
    pub orig: Endpoint,
    pub resp: Endpoint,
    pub first_seen: Timestamp,
    pub first_frame: u64,
}

impl FlowRef {
    pub fn end(&self, side: Side) -> &Endpoint {
        match side {
            Side::Orig => &self.orig,
            Side::Resp => &self.resp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_have_one_key() {
        let (a, b) = ((IpAddr::from([10, 0, 0, 1]), 40000), (IpAddr::from([10, 0, 0, 2]), 80));
        let (there, there_low) = FlowKey::new(Segment::UNTAGGED, Transport::Tcp, a, b);
        let (back, back_low) = FlowKey::new(Segment::UNTAGGED, Transport::Tcp, b, a);
        assert_eq!(there, back);
        assert!(there_low && !back_low);
    }
}
