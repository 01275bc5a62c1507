//! What `--listen` names: which mirror, flow export or capture stream is awaited, on which address and port.
//! Bound: one text; what cannot be listened on is told with the form that can.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::Carrier;

/// `KIND:[ADDR:]PORT`. Without an address a UDP listener takes all of this machine's, IPv4 and IPv6, and `pcap`
/// loopback only: it has no way to tell who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    pub kind: ListenKind,
    /// `None`: all addresses.
    pub ip: Option<IpAddr>,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenKind {
    Vxlan,
    Geneve,
    Gre,
    Tzsp,
    /// Capture files over TCP.
    Pcap,
    NetFlow,
    Ipfix,
    Sflow,
}

impl ListenKind {
    const NAMED: [(ListenKind, &'static str); 8] = [
        (ListenKind::Vxlan, "vxlan"),
        (ListenKind::Geneve, "geneve"),
        (ListenKind::Gre, "gre"),
        (ListenKind::Tzsp, "tzsp"),
        (ListenKind::Pcap, "pcap"),
        (ListenKind::NetFlow, "netflow"),
        (ListenKind::Ipfix, "ipfix"),
        (ListenKind::Sflow, "sflow"),
    ];

    fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(kind, _)| *kind == self).map_or("?", |(_, name)| name)
    }

    /// `None`: it is no datagram.
    pub(super) fn carrier(self) -> Option<Carrier> {
        Some(match self {
            ListenKind::Vxlan => Carrier::Vxlan,
            ListenKind::Geneve => Carrier::Geneve,
            ListenKind::Gre => Carrier::Gre,
            ListenKind::Tzsp => Carrier::Tzsp,
            ListenKind::NetFlow | ListenKind::Ipfix => Carrier::Cflow,
            ListenKind::Sflow => Carrier::Sflow,
            ListenKind::Pcap => return None,
        })
    }
}

impl Listen {
    /// Where to bind; `None` where every address is meant.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, place) = text.split_once(':').unwrap_or((text, ""));
        let Some((kind, _)) = ListenKind::NAMED.iter().find(|(_, known)| *known == name) else {
            let near = ListenKind::NAMED.iter().map(|(_, known)| (strsim::damerau_levenshtein(name, known), *known));
            let hint = match near.min() {
                Some((distance, known)) if distance <= 2 => format!("did you mean `{known}`?"),
                _ => "there are vxlan, geneve, gre, tzsp, pcap, netflow, ipfix and sflow".to_owned(),
            };
            return Err(format!("`{name}` cannot be listened for; {hint}"));
        };
        let (ip, port) = match place.rsplit_once(':') {
            None => (None, place),
            Some((address, port)) => {
                let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
                let ip = bare.parse::<IpAddr>().map_err(|_| format!("`{address}` in `{text}` is not an address"))?;
                (Some(ip), port)
            }
        };
        let port = match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("`{text}` names no port; write {name}:PORT or {name}:ADDRESS:PORT")),
        };
        let ip = if *kind == ListenKind::Pcap { ip.or(Some(Ipv4Addr::LOCALHOST.into())) } else { ip };
        // Every address of both families is what naming none means.
        Ok(Listen { kind: *kind, ip: ip.filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unspecified())), port })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            None => write!(f, "{}:{}", self.kind.name(), self.port),
            Some(ip) => write!(f, "{}:{}", self.kind.name(), SocketAddr::new(ip, self.port)),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Listen>().map_or_else(|e| e, |listen| listen.to_string())
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["vxlan:4789", "geneve:10.0.0.1:6081", "ipfix:[fd00::1]:4739", "sflow:6343", "gre:0.0.0.0:4754"] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("vxlan:[::]:4789"), "vxlan:4789", "both families are the default");
    }

    #[test]
    fn a_capture_stream_is_awaited_on_loopback_unless_an_address_is_named() {
        assert_eq!(shown("pcap:4444"), "pcap:127.0.0.1:4444");
        assert_eq!(shown("pcap:10.0.0.1:4444"), "pcap:10.0.0.1:4444");
    }

    #[test]
    fn what_cannot_be_listened_for_is_told_with_the_mend() {
        assert!(shown("vxlam:4789").ends_with("did you mean `vxlan`?"));
        assert!(shown("http:80").contains("there are vxlan"));
        assert!(shown("vxlan").ends_with("write vxlan:PORT or vxlan:ADDRESS:PORT"));
        assert!(shown("vxlan:0").contains("names no port") && shown("vxlan:70000").contains("names no port"));
        assert!(shown("vxlan:host:4789").contains("`host` in"));
    }
}
