//! A station: one MAC in one segment, the addresses it sends from, and whether it forwards for others.
//!
//! At most [`SEEN_MAX`] addresses a station. A station that is no router forgets the longest silent untied one; of
//! a router only its own addresses are kept, and beyond the limit it gets no more.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::home;
use crate::model::{LayerKind, Mac, Segment, Timestamp, VmId};

pub(super) const SEEN_MAX: usize = 64;
/// Addresses used within this time count as used side by side: longer than any pause of a forwarding router in
/// service, shorter than the pause of a host between two DHCP leases of different networks.
const SIDE_BY_SIDE_S: i64 = 600;
/// More IPv4 addresses than this, tied by nothing, are not one host's own.
const UNTIED_V4_MAX: usize = 8;
/// A host with privacy extensions (RFC 8981) holds up to eight temporary addresses in each prefix.
const UNTIED_V6_MAX: usize = 32;
/// A host may have a global and a unique local prefix; a third says that it forwards.
const UNTIED_V6_PREFIXES_MAX: usize = 2;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Station {
    /// Whose interface it is; `None` until one of its addresses is home.
    pub vm: Option<VmId>,
    pub routes: Routes,
    pub seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Routes {
    #[default]
    No,
    /// Judged by the addresses behind it.
    Seems,
    /// It said so: router advertisement, or a MAC reserved for virtual routers.
    Says,
}

/// What ties an address to a MAC, in order of trust (detection.md 6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// It sends from it; so does whoever forwards for another.
    #[default]
    Frames,
    /// The address itself carries the MAC.
    Eui64,
    /// ARP or neighbour discovery.
    Neighbour,
    Dhcp,
    Inventory,
}

impl Source {
    /// 0–10, as names have it too.
    pub fn trust(self) -> u8 {
        match self {
            Source::Frames => 2,
            Source::Eui64 => 3,
            Source::Neighbour => 6,
            Source::Dhcp => 8,
            Source::Inventory => 10,
        }
    }
}

/// An address that a station used or claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub ip: IpAddr,
    /// The most trusted that says that it is the station's own.
    pub source: Source,
    pub home: bool,
    pub first: Timestamp,
    pub last: Timestamp,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Frames => "its frames",
            Source::Eui64 => "its own form",
            Source::Neighbour => "ARP or ND",
            Source::Dhcp => "DHCP",
            Source::Inventory => "the inventory",
        })
    }
}

impl Seen {
    pub fn is_tied(&self) -> bool {
        self.source > Source::Frames
    }
}

impl Station {
    pub fn is_router(&self) -> bool {
        self.routes != Routes::No
    }

    pub fn seen(&self, ip: IpAddr) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.ip == ip)
    }

    /// Would it be a router if it also sent from `ip`, to which nothing ties it?
    ///
    /// Two IPv4 networks side by side, a private and a public address side by side, or too many of either family.
    /// A wrong yes costs little (its addresses become VMs of their own); a wrong no would merge other hosts into it.
    pub fn would_route(&self, ip: IpAddr, is_home: bool, now: Timestamp) -> bool {
        if home::is_link_local(ip) {
            return false;
        }
        let others = || {
            self.seen.iter().filter(move |seen| {
                seen.ip.is_ipv4() == ip.is_ipv4()
                    && !home::is_link_local(seen.ip)
                    && now.since_s(seen.last) <= SIDE_BY_SIDE_S as f64
            })
        };
        let untied = || others().filter(|seen| !seen.is_tied());
        match ip {
            IpAddr::V4(_) => {
                others().any(|seen| network(seen.ip) != network(ip) || seen.home != is_home)
                    || untied().count() >= UNTIED_V4_MAX
            }
            IpAddr::V6(_) => {
                let mut prefixes: Vec<_> = untied().map(|seen| network(seen.ip)).chain([network(ip)]).collect();
                prefixes.sort_unstable();
                prefixes.dedup();
                prefixes.len() > UNTIED_V6_PREFIXES_MAX || untied().count() >= UNTIED_V6_MAX
            }
        }
    }

    /// Remembers an address; at the limit the longest silent untied one makes room. False: no room.
    pub fn remember(&mut self, seen: Seen) -> bool {
        if self.seen.len() >= SEEN_MAX {
            let silent = self.seen.iter().enumerate().filter(|(_, s)| !s.is_tied()).min_by_key(|(_, s)| s.last);
            match silent.map(|(at, _)| at) {
                Some(at) => drop(self.seen.remove(at)),
                None => return false,
            }
        }
        self.seen.push(seen);
        true
    }
}

/// MACs that only virtual routers have: VRRP and CARP (RFC 9568), HSRP, HSRPv2, GLBP.
pub(super) fn is_virtual_router(mac: Mac) -> bool {
    matches!(
        mac.0,
        [0x00, 0x00, 0x5e, 0x00, 0x01 | 0x02, _]
            | [0x00, 0x00, 0x0c, 0x07, 0xac, _]
            | [0x00, 0x00, 0x0c, 0x9f, 0xf0..=0xff, _]
            | [0x00, 0x07, 0xb4, 0x00, _, _]
    )
}

/// Does the address carry this MAC in its interface identifier (RFC 4291, appendix A)?
pub(super) fn is_eui64_of(ip: IpAddr, mac: Mac) -> bool {
    let [a, b, c, d, e, f] = mac.0;
    matches!(ip, IpAddr::V6(v6) if v6.octets().ends_with(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]))
}

/// May the same MAC in two segments be one trunked VM? Two overlay networks are two tenants, whose clones may carry
/// equal MACs; two VLANs of one overlay are a trunk.
pub(super) fn one_tenant(a: &Segment, b: &Segment) -> bool {
    let overlay = |s: &Segment| s.layers().filter(|l| l.kind != LayerKind::Vlan).collect::<Vec<_>>();
    let (a, b) = (overlay(a), overlay(b));
    a == b || a.is_empty() || b.is_empty()
}

/// The /24 or /64 of an address: what two addresses of one link most often share.
fn network(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(v4) => u64::from(u32::from(v4) >> 8),
        IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000;

    fn station(ips: &[(&str, bool)]) -> Station {
        let seen = |(ip, tied): &(&str, bool)| {
            let ip: IpAddr = ip.parse().unwrap();
            Seen {
                ip,
                source: if *tied { Source::Neighbour } else { Source::Frames },
                home: home::Home::Auto.covers(ip),
                first: Timestamp::ZERO,
                last: Timestamp::from_parts(NOW as u64, 0),
            }
        };
        Station { vm: None, routes: Routes::No, seen: ips.iter().map(seen).collect() }
    }

    fn routes(ips: &[(&str, bool)], ip: &str, later_s: i64) -> bool {
        let ip: IpAddr = ip.parse().unwrap();
        let now = Timestamp::from_parts((NOW + later_s) as u64, 0);
        station(ips).would_route(ip, home::Home::Auto.covers(ip), now)
    }

    #[test]
    fn two_networks_side_by_side_are_a_router() {
        assert!(routes(&[("10.0.1.5", false)], "10.0.2.7", 1));
        assert!(routes(&[("10.0.1.1", true)], "10.0.2.7", 1));
        assert!(routes(&[("10.0.1.1", true)], "8.8.8.8", 1));
        assert!(routes(&[("8.8.8.8", false)], "10.0.1.5", 1));
    }

    #[test]
    fn a_second_address_of_the_same_network_or_of_another_time_is_not() {
        assert!(!routes(&[("10.0.1.5", false)], "10.0.1.6", 1));
        assert!(!routes(&[("10.0.1.5", false)], "10.0.2.7", SIDE_BY_SIDE_S + 1));
        assert!(!routes(&[], "10.0.2.7", 1));
        assert!(!routes(&[("169.254.3.4", false)], "10.0.2.7", 1));
    }

    #[test]
    fn dual_stack_with_a_global_and_a_local_prefix_is_one_host() {
        let own = [("10.0.0.5", false), ("fe80::5", false), ("fd00::5", false)];
        assert!(!routes(&own, "2001:db8::5", 1));
        assert!(!routes(&own, "fd00::abcd", 1));
        assert!(routes(&[("fd00::5", false), ("fd00:0:0:1::5", false)], "fd00:0:0:2::5", 1));
    }

    #[test]
    fn nine_addresses_that_nothing_ties_are_a_router_and_nine_tied_ones_are_not() {
        let texts: Vec<String> = (1..=8).map(|i| format!("10.0.1.{i}")).collect();
        let ips = |tied| texts.iter().map(|t| (t.as_str(), tied)).collect::<Vec<_>>();
        assert!(routes(&ips(false), "10.0.1.9", 1));
        assert!(!routes(&ips(true), "10.0.1.9", 1));
        assert!(!routes(ips(false).split_last().unwrap().1, "10.0.1.9", 1));
    }

    #[test]
    fn virtual_router_macs_and_eui64_are_recognised() {
        assert!(is_virtual_router("00:00:5e:00:01:0a".parse().unwrap()));
        assert!(!is_virtual_router("00:00:5e:90:01:0a".parse().unwrap()));
        let mac = "52:54:00:12:34:56".parse().unwrap();
        assert!(is_eui64_of("2001:db8::5054:ff:fe12:3456".parse().unwrap(), mac));
        assert!(!is_eui64_of("2001:db8::5054:ff:fe12:3457".parse().unwrap(), mac));
    }

    #[test]
    fn two_vlans_may_be_a_trunk_but_two_overlays_are_two_tenants() {
        let segment = |text: &str| text.parse::<Segment>().unwrap();
        assert!(one_tenant(&segment("vlan:10"), &segment("vlan:20")));
        assert!(one_tenant(&segment("vxlan:1/vlan:10"), &segment("vxlan:1/vlan:20")));
        assert!(!one_tenant(&segment("vxlan:1"), &segment("vxlan:2")));
    }
}
