//! A VM: one virtual machine or physical host inside home, known by an identity graph, never by address alone.
//!
//! At most [`NICS_MAX`] interfaces and [`NAMES_MAX`] names are listed; further ones are not.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::home;
use crate::model::{Mac, Segment, Timestamp, VmId};

/// A trunked VM with more interfaces is still one VM; the rest is not listed.
pub(super) const NICS_MAX: usize = 256;
const NAMES_MAX: usize = 8;
/// More IPv4 addresses than this on one interface are seldom one machine's own.
const MANY_V4: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    pub id: VmId,
    /// The most trusted of `names`.
    pub name: Option<String>,
    pub names: Vec<Name>,
    pub nics: Vec<Nic>,
    /// Where it was seen last.
    pub segment: Segment,
    pub tags: Vec<String>,
    /// As the inventory file has it.
    pub uuid: Option<String>,
    /// What an inventory file ties to it, seen or not.
    pub declared: Declared,
    /// Outer sender of the mirror copies of its frames: a hint at its host, never identity.
    pub host_hint: Option<IpAddr>,
    /// Its MAC forwards for other hosts, which are known by address.
    pub router: bool,
    /// It took part in a conversation that was answered, or ARP, ND or DHCP named it. A spoofed sender never did.
    pub proved: bool,
    /// It came from a host that we do not see: its connections were under way in its first seconds, or a hypervisor
    /// announced it.
    pub arrived: bool,
    /// False while only an inventory file knows it.
    pub seen: bool,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Frame that showed it first; 0 where it is only in the inventory file.
    pub first_frame: u64,
}

/// A name and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    pub text: String,
    pub source: NameSource,
}

/// Who says a name. New ones go last: records hold their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
#[serde(rename_all = "lowercase")]
pub enum NameSource {
    Dhcp,
    Inventory,
    /// The computer name in a server's NTLM challenge.
    Ntlm,
    Mdns,
    Nbns,
    Llmnr,
    /// What its interface says to its neighbour on the link.
    Lldp,
    Cdp,
    /// The workstation name that it logs on with: its client's word alone.
    Workstation,
}

impl NameSource {
    pub(super) const LEAST: NameSource = NameSource::Dhcp;

    /// More is better (detection.md 6.1). A server cannot say another's name to its clients for long, a lease went
    /// through a server; anyone may shout anything to a group.
    pub fn trust(self) -> u8 {
        match self {
            NameSource::Inventory => 10,
            NameSource::Dhcp => 8,
            NameSource::Lldp => 6,
            NameSource::Ntlm | NameSource::Cdp => 5,
            NameSource::Mdns => 4,
            NameSource::Nbns | NameSource::Workstation => 3,
            NameSource::Llmnr => 2,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            NameSource::Inventory => "inventory",
            NameSource::Dhcp => "DHCP",
            NameSource::Ntlm => "NTLM",
            NameSource::Mdns => "mDNS",
            NameSource::Nbns => "NBNS",
            NameSource::Llmnr => "LLMNR",
            NameSource::Lldp => "LLDP",
            NameSource::Cdp => "CDP",
            NameSource::Workstation => "NTLM logon",
        }
    }
}

impl fmt::Display for NameSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One interface. `mac` is `None` where only addresses are known (behind a router, or a link without MACs).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    pub mac: Option<Mac>,
    pub segment: Segment,
    /// In order of appearance; an address that went to another MAC is no longer here.
    pub ips: Vec<IpAddr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    pub macs: Vec<Mac>,
    pub ips: Vec<IpAddr>,
}

impl Vm {
    /// What a person calls it: its name, else its address, else its MAC, else its id.
    pub fn label(&self) -> String {
        self.name
            .clone()
            .or_else(|| self.address().map(|ip| ip.to_string()))
            .or_else(|| self.macs().next().or(self.declared.macs.first().copied()).map(|mac| mac.to_string()))
            .unwrap_or_else(|| self.id.to_string())
    }

    /// Its first routable address, IPv4 before IPv6; else any.
    pub fn address(&self) -> Option<IpAddr> {
        let rank = |ip: &IpAddr| (home::is_link_local(*ip), ip.is_ipv6());
        self.ips().min_by_key(rank).or(self.declared.ips.first().copied())
    }

    /// Does an inventory list it?
    pub fn is_listed(&self) -> bool {
        self.declared != Declared::default()
            || self.uuid.is_some()
            || self.names.iter().any(|name| name.source == NameSource::Inventory)
    }

    /// Every address it has now.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.nics.iter().flat_map(|nic| nic.ips.iter().copied())
    }

    pub fn macs(&self) -> impl Iterator<Item = Mac> + '_ {
        self.nics.iter().filter_map(|nic| nic.mac)
    }

    /// `router`, `host-of-many` (containers or nested VMs behind its one MAC), or `vm`.
    pub fn kind(&self) -> &'static str {
        let is_many = |nic: &Nic| nic.ips.iter().filter(|ip| ip.is_ipv4()).count() > MANY_V4;
        match self.router {
            true => "router",
            false if self.nics.iter().any(is_many) => "host-of-many",
            false => "vm",
        }
    }

    /// The hypervisor or cloud that its MAC's maker prefix names, e.g. `kvm`.
    pub fn hypervisor(&self) -> Option<&'static str> {
        self.macs().chain(self.declared.macs.iter().copied()).find_map(hypervisor)
    }

    /// Adds a name. True when it is new.
    pub(super) fn add_name(&mut self, text: &str, source: NameSource) -> bool {
        if text.is_empty() || !self.takes_name(text, source) {
            return false;
        }
        if self.names.len() >= NAMES_MAX
            && let Some(least) = self.least_name()
        {
            self.names.remove(least);
        }
        self.names.push(Name { text: text.to_owned(), source });
        self.name_best();
        true
    }

    /// Is the name new, and is there room for it? What a VM calls itself may change all day: the oldest of the least
    /// trusted makes room, but never for a less trusted one, and what an inventory says never.
    pub(super) fn takes_name(&self, text: &str, source: NameSource) -> bool {
        let known = self.names.iter().any(|n| n.text == text && n.source == source);
        let least = || self.least_name().and_then(|at| self.names.get(at)).map(|n| n.source.trust());
        !known && (self.names.len() < NAMES_MAX || least().is_some_and(|least| least <= source.trust()))
    }

    fn least_name(&self) -> Option<usize> {
        let heard = self.names.iter().enumerate().filter(|(_, n)| n.source != NameSource::Inventory);
        heard.min_by_key(|(_, n)| n.source.trust()).map(|(at, _)| at)
    }

    /// Takes back the names that inventories gave.
    pub(super) fn drop_listed_names(&mut self) {
        self.names.retain(|name| name.source != NameSource::Inventory);
        self.name_best();
    }

    /// The latest of the most trusted source: max_by_key returns the last of equals.
    fn name_best(&mut self) {
        self.name = self.names.iter().max_by_key(|n| n.source.trust()).map(|n| n.text.clone());
    }

    /// Sets the addresses of one interface; an interface without MAC and address is dropped.
    pub(super) fn set_nic(&mut self, mac: Option<Mac>, segment: Segment, ips: Vec<IpAddr>) {
        match self.nics.iter().position(|n| n.mac == mac && n.segment == segment) {
            Some(at) if mac.is_none() && ips.is_empty() => drop(self.nics.remove(at)),
            Some(at) => {
                if let Some(nic) = self.nics.get_mut(at) {
                    nic.ips = ips;
                }
            }
            None if mac.is_none() && ips.is_empty() => {}
            None if self.nics.len() < NICS_MAX => self.nics.push(Nic { mac, segment, ips }),
            None => {}
        }
    }
}

/// Maker prefixes of virtual interfaces (detection.md 6.2), longest first where they overlap.
const PREFIXES: &[(&[u8], &str)] = &[
    (&[0x00, 0x50, 0x56], "vmware"),
    (&[0x00, 0x0c, 0x29], "vmware"),
    (&[0x00, 0x05, 0x69], "vmware"),
    (&[0x00, 0x1c, 0x14], "vmware"),
    (&[0x52, 0x54, 0x00], "kvm"),
    (&[0xbc, 0x24, 0x11], "proxmox"),
    (&[0x00, 0x15, 0x5d], "hyper-v"),
    (&[0x00, 0x16, 0x3e], "xen"),
    (&[0x08, 0x00, 0x27], "virtualbox"),
    (&[0x50, 0x6b, 0x8d], "nutanix"),
    (&[0xfa, 0x16, 0x3e], "openstack"),
    (&[0x00, 0x1c, 0x42], "parallels"),
    (&[0x58, 0x9c, 0xfc], "bhyve"),
    (&[0x42, 0x01, 0x0a], "gce"),
    (&[0x00, 0x0d, 0x3a], "azure"),
    (&[0x00, 0x22, 0x48], "azure"),
    (&[0x60, 0x45, 0xbd], "azure"),
    (&[0x7c, 0x1e, 0x52], "azure"),
    (&[0x00, 0x1a, 0x4a], "ovirt"),
    (&[0x56, 0x6f], "ovirt"),
    (&[0x02, 0x42], "docker"),
];

fn hypervisor(mac: Mac) -> Option<&'static str> {
    PREFIXES.iter().find(|(prefix, _)| mac.0.starts_with(prefix)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(macs: &[&str], ips: &[&str]) -> Vm {
        let mut vm = Vm::default();
        for mac in macs {
            let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            vm.set_nic(Some(mac.parse().unwrap()), Segment::UNTAGGED, ips);
        }
        vm
    }

    #[test]
    fn the_hypervisor_is_read_from_the_makers_prefix() {
        assert_eq!(vm(&["52:54:00:01:02:03"], &[]).hypervisor(), Some("kvm"));
        assert_eq!(vm(&["02:42:ac:11:00:02"], &[]).hypervisor(), Some("docker"));
        assert_eq!(vm(&["3c:22:fb:01:02:03"], &[]).hypervisor(), None);
    }

    #[test]
    fn a_label_prefers_the_routable_address() {
        let found = vm(&["52:54:00:01:02:03"], &["fe80::1", "fd00::5", "10.0.0.5"]);
        assert_eq!(found.label(), "10.0.0.5");
        assert_eq!(vm(&["52:54:00:01:02:03"], &["fe80::1", "fd00::5"]).label(), "fd00::5");
        assert_eq!(vm(&["52:54:00:01:02:03"], &[]).label(), "52:54:00:01:02:03");
    }

    #[test]
    fn an_inventory_name_outranks_what_a_client_calls_itself() {
        let mut found = vm(&[], &["10.0.0.5"]);
        assert!(found.add_name("laptop", NameSource::Dhcp));
        assert!(found.add_name("db1", NameSource::Inventory));
        assert!(found.add_name("kali", NameSource::Dhcp));
        assert!(!found.add_name("kali", NameSource::Dhcp));
        assert_eq!(found.label(), "db1");
    }

    #[test]
    fn the_most_trusted_name_is_shown_whatever_came_last() {
        let mut found = vm(&[], &["10.0.0.5"]);
        use NameSource::{Dhcp, Inventory, Llmnr, Mdns, Nbns, Ntlm};
        for (source, shown) in [
            (Llmnr, "Llmnr"),
            (Nbns, "Nbns"),
            (Mdns, "Mdns"),
            (Llmnr, "Mdns"),
            (Ntlm, "Ntlm"),
            (Dhcp, "Dhcp"),
            (Inventory, "Inventory"),
            (Dhcp, "Inventory"),
        ] {
            found.add_name(&format!("{source:?}"), source);
            assert_eq!(found.label(), shown);
        }
    }

    #[test]
    fn a_less_trusted_name_makes_no_better_one_go() {
        let mut found = vm(&[], &[]);
        for i in 0..NAMES_MAX {
            found.add_name(&format!("host-{i}"), NameSource::Dhcp);
        }
        assert!(!found.add_name("kali", NameSource::Llmnr));
        assert_eq!(found.names.len(), NAMES_MAX);
    }

    #[test]
    fn a_client_that_renames_itself_all_day_keeps_few_names() {
        let mut found = vm(&[], &[]);
        for i in 0..100 {
            found.add_name(&format!("host-{i}"), NameSource::Dhcp);
        }
        assert_eq!((found.names.len(), found.label().as_str()), (NAMES_MAX, "host-99"));
    }
}
