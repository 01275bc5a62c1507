//! What was learned as allow rules of a firewall, for review: who may reach which service of which VM. eastwatch never
//! enforces; each format's own checker accepts what is written here.
//! A rule for each learned service, at most `services_max` a VM; none is cut.

mod aws;
mod kubernetes;
mod nftables;
mod nsx;
mod simulate;
#[cfg(test)]
mod tests;

pub use simulate::Simulated;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::collection::Baselines;
use super::profile::Port;
use crate::inventory::{Client, Inventory};
use crate::model::{ServiceClass, ServiceKey, Transport, VmId};

/// Every allow rule, in order of VM; what no rule allows is denied.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub vms: Vec<VmRules>,
    /// What a firewall of this kind cannot say, for the reader.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct VmRules {
    pub vm: VmId,
    pub name: String,
    pub ips: Vec<IpAddr>,
    pub allows: Vec<Allow>,
}

/// Clients that may reach one service.
#[derive(Clone, Debug)]
pub struct Allow {
    pub port: Port,
    /// The application that was proved, where one was.
    pub app: Option<String>,
    /// In its VM's first day, or while an incident was open: look twice.
    pub provisional: bool,
    /// Addresses of the VMs that were learned as clients.
    pub from: Vec<IpAddr>,
    /// Clients outside home use it: then every address may.
    pub outside: bool,
}

/// What rules are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleFormat {
    Nftables,
    NsxCsv,
    KubernetesNetworkPolicy,
    AwsSecurityGroup,
}

impl std::str::FromStr for RuleFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "nftables" => Ok(RuleFormat::Nftables),
            "nsx-csv" => Ok(RuleFormat::NsxCsv),
            "k8s-networkpolicy" => Ok(RuleFormat::KubernetesNetworkPolicy),
            "aws-security-group" => Ok(RuleFormat::AwsSecurityGroup),
            other => Err(format!(
                "`{other}` is no format of rules: nftables, nsx-csv, k8s-networkpolicy or aws-security-group"
            )),
        }
    }
}

impl Rules {
    /// Of every VM with a learned service that unicast clients reach.
    pub fn of(baselines: &Baselines, inventory: &Inventory) -> Self {
        let mut clients: BTreeMap<ServiceKey, Vec<VmId>> = BTreeMap::new();
        for (client, profile) in baselines.profiles() {
            for (vm, (transport, port)) in profile.peers.keys() {
                clients.entry(ServiceKey { vm: *vm, transport: *transport, port: *port }).or_default().push(client);
            }
        }
        let from_outside: Vec<ServiceKey> =
            inventory.peers().filter(|edge| edge.client == Client::External).map(|edge| edge.service).collect();
        let mut rules = Rules::default();
        let mut groups = 0;
        for (id, profile) in baselines.profiles() {
            let Some(vm) = inventory.vm(id) else { continue };
            let mut allows = Vec::new();
            for (port, learned) in &profile.services {
                let key = ServiceKey { vm: id, transport: port.0, port: port.1 };
                let to_group = |class| matches!(class, ServiceClass::Multicast | ServiceClass::Broadcast);
                if inventory.service(&key).any(|row| to_group(row.class)) {
                    groups += 1;
                    continue;
                }
                let of = |client: &VmId| inventory.vm(*client).map(|vm| vm.ips().collect::<Vec<_>>());
                let mut from: Vec<IpAddr> = clients.get(&key).into_iter().flatten().filter_map(of).flatten().collect();
                from.sort_unstable();
                from.dedup();
                allows.push(Allow {
                    port: *port,
                    app: learned.identity.applications().next().map(str::to_owned),
                    provisional: learned.provisional,
                    from,
                    outside: from_outside.contains(&key),
                });
            }
            let mut ips: Vec<IpAddr> = vm.ips().collect();
            ips.sort_unstable();
            ips.dedup();
            allows.retain(|allow| allow.outside || !allow.from.is_empty());
            if !allows.is_empty() && !ips.is_empty() {
                rules.vms.push(VmRules {
                    vm: id,
                    name: vm.name.clone().unwrap_or_else(|| id.to_string()),
                    ips,
                    allows,
                });
            }
        }
        if groups > 0 {
            let text = format!("{groups} services send to a multicast group or to everyone: no rule stands for them");
            rules.notes.push(text);
        }
        rules
    }

    pub fn write(&self, format: RuleFormat) -> String {
        match format {
            RuleFormat::Nftables => nftables::write(self),
            RuleFormat::NsxCsv => nsx::write(self),
            RuleFormat::KubernetesNetworkPolicy => kubernetes::write(self),
            RuleFormat::AwsSecurityGroup => aws::write(self),
        }
    }

    /// The allow rules, each with its VM.
    fn each(&self) -> impl Iterator<Item = (&VmRules, &Allow)> {
        self.vms.iter().flat_map(|vm| vm.allows.iter().map(move |allow| (vm, allow)))
    }
}

impl Allow {
    /// The addresses of one family.
    fn of_family(ips: &[IpAddr], v6: bool) -> Vec<String> {
        ips.iter().filter(|ip| ip.is_ipv6() == v6).map(IpAddr::to_string).collect()
    }

    /// What it is, in characters that every format takes: names come from the wire.
    fn about(&self, vm: &VmRules) -> String {
        let app = self.app.as_deref().unwrap_or("no known application");
        let doubt = if self.provisional { ", provisional" } else { "" };
        plain(&format!("{}: {app}{doubt}", vm.name))
    }

    /// Has it ports as TCP has?
    fn has_ports(&self) -> bool {
        matches!(self.port.0, Transport::Tcp | Transport::Udp | Transport::Sctp)
    }
}

/// Letters, digits and a few signs; at most 100.
fn plain(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || " ._-:,/()".contains(c);
    text.chars().map(|c| if fits(c) { c } else { '_' }).take(100).collect()
}

/// A name as DNS allows it (RFC 1123): what Kubernetes and AWS want of one.
fn label(text: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = text.chars().map(fits).take(50).collect();
    text.trim_matches('-').to_owned()
}
