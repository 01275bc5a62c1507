//! Exported rules against a simulated site: each format is read back and asked about every flow that was learned, which
//! must pass, and about every service that an intruder started, which must be closed to everyone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use eastwatch::baseline::{RuleFormat, Rules};
use eastwatch::inventory::{Client, Service};
use eastwatch::model::{ServiceClass, ServiceKey, Transport, VmId};

use crate::site::behaviour::intruder::Intruder;
use crate::site::experiment::plants::{is_started, key, places};
use crate::site::run::Run;
use crate::site::sizes::Size;
use crate::site::topology::{Plan, site};
use crate::site::{HOUR, MINUTE, Micros, Rng};

const LEARNED: Micros = 30 * HOUR;
const END: Micros = 33 * HOUR;
const PLANTS: usize = 16;

/// One rule as a firewall has it: from whom (`None`: anyone) to which addresses and port.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pass {
    from: Option<BTreeSet<IpAddr>>,
    to: BTreeSet<IpAddr>,
    port: (Transport, u16),
}

#[derive(Debug, Default)]
struct Firewall(Vec<Pass>);

impl Firewall {
    fn passes(&self, from: IpAddr, to: IpAddr, port: (Transport, u16)) -> bool {
        self.0.iter().any(|rule| {
            rule.port == port && rule.to.contains(&to) && rule.from.as_ref().is_none_or(|list| list.contains(&from))
        })
    }

    fn opens(&self, to: IpAddr, port: (Transport, u16)) -> bool {
        self.0.iter().any(|rule| rule.port == port && rule.to.contains(&to))
    }
}

/// The VMs that a format names by a label, not by address.
type Labels = BTreeMap<String, BTreeSet<IpAddr>>;

fn addresses(list: &str) -> BTreeSet<IpAddr> {
    list.split([',', ' ']).filter(|text| !text.is_empty()).map(|text| text.parse().expect("an address")).collect()
}

fn port(transport: &str, port: &str) -> (Transport, u16) {
    (transport.to_lowercase().parse().expect("a transport"), port.parse().expect("a port"))
}

/// Between braces after a word: `saddr { 10.0.0.1, 10.0.0.2 }`.
fn set(line: &str, word: &str) -> Option<BTreeSet<IpAddr>> {
    let (_, rest) = line.split_once(&format!("{word} {{ "))?;
    Some(addresses(rest.split_once(" }").expect("a closed set").0))
}

fn nftables(text: &str) -> Firewall {
    assert!(text.contains("policy drop;"));
    let rules = text.lines().filter(|line| line.contains(" dport "));
    Firewall(
        rules
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let at = words.iter().position(|word| *word == "dport").expect("a port");
                let to = set(line, "daddr").expect("a destination");
                Pass { from: set(line, "saddr"), to, port: port(words[at - 1], words[at + 1]) }
            })
            .collect(),
    )
}

/// The first row that fits decides; those that drop stand last.
fn nsx(text: &str) -> Firewall {
    let mut rules = Vec::new();
    let mut dropping = false;
    for row in csv::Reader::from_reader(text.as_bytes()).records() {
        let row = row.expect("CSV");
        if &row[6] == "DROP" {
            dropping = true;
            assert_eq!(&row[3], "ANY");
            continue;
        }
        assert!(!dropping && &row[6] == "ALLOW", "{row:?}");
        let Some((transport, number)) = row[3].split_once('/') else { continue };
        let from = (&row[1] != "ANY").then(|| addresses(&row[1]));
        rules.push(Pass { from, to: addresses(&row[2]), port: port(transport, number) });
    }
    assert!(dropping);
    Firewall(rules)
}

fn kubernetes(text: &str, labels: &Labels) -> Firewall {
    let mut rules = Vec::new();
    for policy in text.split("---\n").skip(1) {
        let value = |line: &str| line.split_once(": ").map(|(_, value)| value.trim_matches('"').to_owned());
        let to = policy.lines().find(|line| line.contains("vm.kubevirt.io/name")).and_then(value).expect("a label");
        let (mut from, mut transport) = (BTreeSet::new(), String::new());
        for line in policy.lines() {
            match line.trim_start_matches([' ', '-']).split_once(':') {
                Some(("cidr", _)) => drop(from.insert(value(line).expect("a block"))),
                Some(("protocol", _)) => transport = value(line).expect("a protocol"),
                Some(("port", _)) => {
                    let anyone = from.contains("0.0.0.0/0");
                    let blocks = std::mem::take(&mut from);
                    let from = (!anyone).then(|| blocks.iter().map(|block| host(block)).collect());
                    rules.push(Pass { from, to: labels[&to].clone(), port: port(&transport, &value(line).unwrap()) });
                }
                _ => {}
            }
        }
    }
    Firewall(rules)
}

fn aws(text: &str, labels: &Labels) -> Firewall {
    let groups: Vec<serde_json::Value> = serde_json::from_str(text).expect("JSON");
    let mut rules = Vec::new();
    for group in groups {
        let to = &labels[group["GroupName"].as_str().unwrap().strip_prefix("eastwatch-").unwrap()];
        for permission in group["IpPermissions"].as_array().unwrap() {
            let transport = permission["IpProtocol"].as_str().unwrap();
            if !["tcp", "udp"].contains(&transport) {
                continue;
            }
            assert_eq!(permission["FromPort"], permission["ToPort"]);
            let ranges = |key: &str, cidr: &str| -> Vec<String> {
                let list = permission[key].as_array().cloned().unwrap_or_default();
                list.iter().map(|range| range[cidr].as_str().unwrap().to_owned()).collect()
            };
            let blocks = [ranges("IpRanges", "CidrIp"), ranges("Ipv6Ranges", "CidrIpv6")].concat();
            let anyone = blocks.iter().any(|block| block == "0.0.0.0/0");
            let from = (!anyone).then(|| blocks.iter().map(|block| host(block)).collect());
            let number = permission["FromPort"].to_string();
            rules.push(Pass { from, to: to.clone(), port: port(transport, &number) });
        }
    }
    Firewall(rules)
}

fn host(block: &str) -> IpAddr {
    let (ip, bits) = block.split_once('/').expect("a block");
    assert!(bits == "32" || bits == "128", "{block}");
    ip.parse().expect("an address")
}

/// As DNS has it, of a VM's name or id.
fn label(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    text.trim_matches('-').to_owned()
}

/// A site that learned, and then had intruders on VMs that were ripe.
fn run(seed: u64) -> (Run, BTreeSet<VmId>) {
    let mut run = Run::new(site(Plan { size: Size::S, seed, changes: true }), true);
    run.to(LEARNED);
    let ripe: BTreeSet<VmId> = run.vms().into_keys().filter(|vm| run.ripeness(*vm).is_ripe()).collect();
    let mut rng = Rng::new(seed, 99);
    for (nth, (plant, on, clients)) in places(&run, PLANTS, &mut rng).into_iter().enumerate() {
        let rng = Rng::new(nth as u64, rng.next());
        run.site.add(LEARNED + MINUTE * (1 + nth as i64), Intruder::new(plant, on, clients, 3, 20 * MINUTE, rng));
    }
    run.to(END);
    (run, ripe)
}

#[test]
fn every_format_lets_what_was_learned_pass_and_closes_what_intruders_started() {
    for seed in [5, 6] {
        let (run, ripe) = run(seed);
        let (baselines, inventory) = (&run.brain.baselines, &run.brain.inventory);
        let rules = Rules::of(baselines, inventory);
        let mut labels = Labels::new();
        for vm in inventory.vms() {
            labels.entry(label(&vm.name.clone().unwrap_or_else(|| vm.id.to_string()))).or_default().extend(vm.ips());
        }
        let write = |format| rules.write(format);
        let firewalls = [
            ("nftables", nftables(&write(RuleFormat::Nftables))),
            ("nsx-csv", nsx(&write(RuleFormat::NsxCsv))),
            ("k8s-networkpolicy", kubernetes(&write(RuleFormat::KubernetesNetworkPolicy), &labels)),
            ("aws-security-group", aws(&write(RuleFormat::AwsSecurityGroup), &labels)),
        ];

        let mut flows = BTreeSet::new();
        for edge in inventory.peers() {
            let (key, Client::Vm(client)) = (edge.service, edge.client) else { continue };
            let ports = matches!(key.transport, Transport::Tcp | Transport::Udp);
            if !ports || !baselines.is_learned(&key) || !baselines.is_learned_peer(client, &key) {
                continue;
            }
            let unicast = |row: &&Service| matches!(row.class, ServiceClass::Unicast | ServiceClass::Symmetric);
            for row in inventory.service(&key).filter(unicast) {
                let from = inventory.vm(client).into_iter().flat_map(|vm| vm.ips()).filter(|ip| ip.is_ipv4());
                flows.extend(from.map(|from| (from, row.ip, (key.transport, key.port))));
            }
        }
        assert!(flows.len() > 100, "{} learned flows", flows.len());
        let started: Vec<ServiceKey> = (run.site.world.truth.iter())
            .filter(|truth| is_started(truth, LEARNED))
            .filter_map(|truth| key(run.vm_of(truth.dst).filter(|vm| ripe.contains(vm))?, truth))
            .collect();
        assert!(started.len() >= 8, "{} services were started", started.len());

        for (format, firewall) in &firewalls {
            let stopped: Vec<_> = flows.iter().filter(|(from, to, port)| !firewall.passes(*from, *to, *port)).collect();
            assert!(
                stopped.is_empty(),
                "{format}, seed {seed}: {} of {} flows: {stopped:?}",
                stopped.len(),
                flows.len()
            );
            for key in &started {
                let at: Vec<IpAddr> = inventory.vm(key.vm).into_iter().flat_map(|vm| vm.ips()).collect();
                let open = at.iter().any(|ip| firewall.opens(*ip, (key.transport, key.port)));
                assert!(!open, "{format}, seed {seed}: {at:?} {}/{} is open", key.transport, key.port);
            }
        }
        // The four say the same.
        let said = |firewall: &Firewall| -> BTreeSet<String> {
            let to = |rule: &Pass| {
                rule.to.iter().map(|to| format!("{to} {:?} {:?}", rule.port, rule.from)).collect::<Vec<_>>()
            };
            firewall.0.iter().flat_map(to).collect()
        };
        assert!(said(&firewalls[0].1) == said(&firewalls[1].1) && said(&firewalls[2].1) == said(&firewalls[3].1));
        println!("seed {seed}: {} flows pass, {} services are closed, in 4 formats", flows.len(), started.len());
    }
}
