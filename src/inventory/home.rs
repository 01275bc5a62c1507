//! Home: the networks in which VMs live. An address outside it is a zone, never a VM.
//!
//! At most as many networks as the operator wrote; tested in order.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeSeq};

use crate::model::{NetSet, ServiceClass};

/// `auto`, or a list of networks. Written in TOML as `home = "auto"` or `home = ["10.0.0.0/8", "fd00::/8"]`,
/// on the command line as `auto` or `10.0.0.0/8,fd00::/8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Home {
    /// The private ranges, and every address that ARP, ND, DHCP or an inventory ties to a MAC that is not a router's.
    #[default]
    Auto,
    /// These networks and nothing else.
    Only(NetSet),
}

impl Home {
    /// Is this address home by its network alone? (Under [`Home::Auto`] a tie may make others home.)
    pub fn covers(&self, ip: IpAddr) -> bool {
        match self {
            _ if names_no_host(ip) => false,
            Home::Auto => is_private(ip),
            Home::Only(nets) => nets.contains(ip),
        }
    }

    /// May a tie to a MAC make an address home that [`Home::covers`] does not?
    pub(super) fn follows_ties(&self) -> bool {
        matches!(self, Home::Auto)
    }
}

/// The unspecified address, multicast and limited broadcast: no host has it.
pub(super) fn names_no_host(ip: IpAddr) -> bool {
    ip.is_unspecified() || group_class(ip).is_some()
}

/// The class of a service that is proved by sending to this address, where it is a group.
pub(super) fn group_class(ip: IpAddr) -> Option<ServiceClass> {
    match ip {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(ServiceClass::Broadcast),
        _ if ip.is_multicast() => Some(ServiceClass::Multicast),
        _ => None,
    }
}

/// The last address of a /24: most often a subnet's own broadcast address (RFC 919), though the prefix is not
/// known here; the caller asks whether any host ever sent from it.
pub(super) fn may_be_broadcast(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4) if v4.octets()[3] == 255)
}

/// fe80::/10 and 169.254/16: never routed, so they say nothing of a router.
pub(super) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// RFC 1918, RFC 6598, RFC 4193 and link-local.
fn is_private(ip: IpAddr) -> bool {
    is_link_local(ip)
        || match ip {
            IpAddr::V4(v4) => v4.is_private() || is_shared(v4),
            IpAddr::V6(v6) => is_unique_local(v6),
        }
}

fn is_shared(v4: Ipv4Addr) -> bool {
    matches!(v4.octets(), [100, 64..=127, ..])
}

fn is_unique_local(v6: Ipv6Addr) -> bool {
    v6.octets()[0] & 0xfe == 0xfc
}

impl FromStr for Home {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "auto" => Ok(Home::Auto),
            list => list.split(',').map(network).collect::<Result<_, _>>().map(|nets| Home::Only(NetSet(nets))),
        }
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{text}` is not a network like 10.0.0.0/8 or fd00::/8, nor `auto`"))
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Home::Auto => f.write_str("auto"),
            Home::Only(NetSet(nets)) => {
                let texts: Vec<_> = nets.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(","))
            }
        }
    }
}

impl Serialize for Home {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Home::Auto => s.serialize_str("auto"),
            Home::Only(NetSet(nets)) => {
                let mut list = s.serialize_seq(Some(nets.len()))?;
                for net in nets {
                    list.serialize_element(&net.to_string())?;
                }
                list.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Home {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(HomeVisitor)
    }
}

/// One network of the list: read by itself, so that an error points at it and not at the list.
struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct NetworkVisitor;
        impl de::Visitor<'_> for NetworkVisitor {
            type Value = Network;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a network like 10.0.0.0/8")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Network, E> {
                network(text).map(Network).map_err(E::custom)
            }
        }
        d.deserialize_str(NetworkVisitor)
    }
}

struct HomeVisitor;

impl<'de> de::Visitor<'de> for HomeVisitor {
    type Value = Home;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"auto\" or a list of networks like [\"10.0.0.0/8\"]")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Home, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Home, A::Error> {
        let mut nets = Vec::new();
        while let Some(Network(net)) = list.next_element()? {
            nets.push(net);
        }
        Ok(Home::Only(NetSet(nets)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(home: &str, ip: &str) -> bool {
        home.parse::<Home>().unwrap().covers(ip.parse().unwrap())
    }

    #[test]
    fn auto_is_the_private_ranges() {
        for ip in ["10.1.2.3", "172.31.0.1", "192.168.0.9", "100.64.0.1", "169.254.1.1", "fd00::1", "fe80::1"] {
            assert!(covers("auto", ip), "{ip}");
        }
    }

    #[test]
    fn auto_is_neither_the_internet_nor_loopback_nor_a_group() {
        for ip in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1", "127.0.0.1", "::1", "224.0.0.251", "0.0.0.0"]
        {
            assert!(!covers("auto", ip), "{ip}");
        }
    }

    #[test]
    fn a_list_is_only_that_and_loopback_counts_when_it_is_covered() {
        assert!(covers("0.0.0.0/0,::/0", "127.0.0.1") && covers("0.0.0.0/0,::/0", "8.8.8.8"));
        assert!(!covers("192.168.1.0/24", "10.0.0.1"));
        for never in ["255.255.255.255", "224.0.0.1", "ff02::1", "0.0.0.0", "::"] {
            assert!(!covers("0.0.0.0/0,::/0", never), "{never}");
        }
    }

    #[test]
    fn a_bad_network_says_what_was_expected() {
        let wrong = toml::from_str::<std::collections::BTreeMap<String, Home>>("home = [\"10.0.0.0/33\"]");
        let text = wrong.unwrap_err().to_string();
        assert!(text.contains("`10.0.0.0/33` is not a network like 10.0.0.0/8"), "{text}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["auto", "10.0.0.0/8,fd00::/8", "10.0.0.5/32"] {
            assert_eq!(text.parse::<Home>().unwrap().to_string(), text);
        }
    }
}
