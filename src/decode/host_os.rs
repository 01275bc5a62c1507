//! Which system a receiver runs, as far as it decides whose bytes count where fragments or segments overlap.
//!
//! Names as Suricata has them under `host-os-policy`; the rules are those of Novak, "Target-Based Fragmentation
//! Reassembly" (2005), and Novak and Sturges, "Target-Based TCP Stream Reassembly" (2007). Networks come from the
//! configuration, which bounds their number; the longest prefix decides, and what none covers has the default.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A family of systems that treat overlaps alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostOs {
    /// What came first counts.
    First,
    /// What came last counts.
    Last,
    /// Suricata's and Snort's default.
    #[default]
    Bsd,
    /// HP JetDirect.
    BsdRight,
    OldLinux,
    Linux,
    /// From 4.19 on: IPv4 datagrams with overlapping fragments are dropped as RFC 5722 drops those of IPv6.
    ModernLinux,
    OldSolaris,
    Solaris,
    Hpux10,
    Hpux11,
    Irix,
    Macos,
    Windows,
    Vista,
    Windows2k3,
}

/// What becomes of the byte that an urgent pointer names; names as Suricata has them under `stream.reassembly.urgent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Urgent {
    /// The application reads the stream without it: so all systems do unless it asks otherwise.
    #[default]
    Oob,
    /// It is read in its place (`SO_OOBINLINE`), as RFC 6093 wants it.
    Inline,
}

/// Receivers and their systems.
#[derive(Clone, Debug, Default)]
pub struct HostOsTable {
    default: HostOs,
    /// Every receiver's.
    pub urgent: Urgent,
    /// Longest prefix first.
    networks: Vec<(IpNet, HostOs)>,
}

impl HostOsTable {
    pub fn new(networks: &BTreeMap<HostOs, Vec<IpNet>>, default: HostOs) -> Self {
        let mut networks: Vec<(IpNet, HostOs)> =
            networks.iter().flat_map(|(os, nets)| nets.iter().map(|net| (*net, *os))).collect();
        networks.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        HostOsTable { default, urgent: Urgent::default(), networks }
    }

    /// The system of a receiver.
    pub fn of(&self, ip: IpAddr) -> HostOs {
        self.networks.iter().find(|(net, _)| net.contains(&ip)).map_or(self.default, |(_, os)| *os)
    }
}

impl HostOs {
    /// Does it drop an IPv4 datagram whose fragments overlap?
    pub(super) fn drops_overlaps(self) -> bool {
        self == HostOs::ModernLinux
    }

    pub fn is_linux(self) -> bool {
        matches!(self, HostOs::OldLinux | HostOs::Linux | HostOs::ModernLinux)
    }

    /// Do the bytes of a fragment that came later replace those of an earlier one where they overlap?
    pub(super) fn later_fragment_counts(self, later: &Range<u32>, earlier: &Range<u32>) -> bool {
        match self {
            HostOs::First | HostOs::OldSolaris | HostOs::Hpux11 | HostOs::Macos => false,
            HostOs::Last => true,
            HostOs::Bsd | HostOs::Hpux10 | HostOs::Irix => later.start < earlier.start,
            HostOs::BsdRight => later.start >= earlier.start,
            HostOs::OldLinux | HostOs::Linux | HostOs::ModernLinux => later.start <= earlier.start,
            HostOs::Windows | HostOs::Vista | HostOs::Windows2k3 => {
                later.start < earlier.start && later.end > earlier.end
            }
            HostOs::Solaris => later.start < earlier.start && later.end >= earlier.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_names_the_system_and_the_default_the_rest() {
        let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
        let networks = BTreeMap::from([
            (HostOs::Linux, nets(&["10.0.0.0/8", "fd00::/8"])),
            (HostOs::Windows, nets(&["10.1.0.0/16"])),
        ]);
        let table = HostOsTable::new(&networks, HostOs::First);
        for (ip, os) in [
            ("10.2.0.1", HostOs::Linux),
            ("10.1.0.1", HostOs::Windows),
            ("fd00::1", HostOs::Linux),
            ("192.0.2.1", HostOs::First),
        ] {
            assert_eq!(table.of(ip.parse().unwrap()), os, "{ip}");
        }
    }

    #[test]
    fn systems_have_suricatas_names() {
        let name = |os: HostOs| serde_json::to_value(os).unwrap();
        assert_eq!(name(HostOs::BsdRight), "bsd-right");
        assert_eq!(name(HostOs::Windows2k3), "windows2k3");
        assert_eq!(name(HostOs::Hpux10), "hpux10");
        assert_eq!(name(HostOs::Macos), "macos");
        assert_eq!(serde_json::to_value(Urgent::Oob).unwrap(), "oob");
    }
}
