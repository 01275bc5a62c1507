//! Rules in each format, over a model of two VMs with names that try to break out.

use std::net::IpAddr;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn rules() -> Rules {
    let allow = |port: Port, from: &[&str], outside| Allow {
        port,
        app: Some("tls".to_owned()),
        provisional: true,
        from: from.iter().map(|text| ip(text)).collect(),
        outside,
    };
    let web = VmRules {
        vm: VmId::derive(&[&[1]], 0),
        name: "web\"; drop\n,=cmd é".to_owned(),
        ips: vec![ip("10.0.0.1"), ip("fd00::1")],
        allows: vec![
            allow((Transport::Tcp, 443), &[], true),
            allow((Transport::Udp, 53), &["10.0.0.2", "fd00::2"], false),
            allow((Transport::Sctp, 38_412), &["10.0.0.2"], false),
            allow((Transport::Icmp, 0), &["10.0.0.2"], false),
            allow((Transport::Ip(47), 0), &["10.0.0.2"], false),
        ],
    };
    Rules { vms: vec![web], notes: Vec::new() }
}

#[test]
fn a_name_from_the_wire_cannot_break_out_of_any_format() {
    let nft = rules().write(RuleFormat::Nftables);
    assert!(nft.lines().all(|line| line.matches('"').count() % 2 == 0 && !line.contains("drop\n")), "{nft}");
    assert_eq!(nft.matches("comment \"web__ drop_,_cmd _").count(), 7, "{nft}");
    let csv = rules().write(RuleFormat::NsxCsv);
    let rows: Vec<csv::StringRecord> =
        csv::Reader::from_reader(csv.as_bytes()).records().collect::<Result<_, _>>().expect("CSV");
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().flat_map(|row| row.iter()).all(|field| !field.starts_with(['=', '+', '-', '@'])));
}

#[test]
fn the_simulator_allows_what_a_rule_names_and_nothing_else() {
    let rules = rules();
    let (web, friend, stranger) = (ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.9"));
    assert!(rules.allows(stranger, web, (Transport::Tcp, 443)), "it is open to all");
    assert!(rules.allows(friend, web, (Transport::Udp, 53)));
    assert!(!rules.allows(stranger, web, (Transport::Udp, 53)));
    assert!(!rules.allows(friend, web, (Transport::Tcp, 53)));
    assert!(!rules.allows(friend, stranger, (Transport::Tcp, 443)));
}

/// networking.k8s.io/v1, NetworkPolicy: the keys and types of its OpenAPI definition.
#[test]
fn a_network_policy_has_the_shape_that_kubernetes_documents() {
    let policy = kubernetes::policy(&rules().vms[0]);
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
    };
    assert_eq!(keys(&policy), ["apiVersion", "kind", "metadata", "spec"]);
    assert_eq!(keys(&policy["spec"]), ["podSelector", "policyTypes", "ingress"]);
    let name = policy["metadata"]["name"].as_str().expect("a name");
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(name.len() <= 253 && name.chars().all(fits) && !name.ends_with('-'), "{name}");
    let chosen = policy["spec"]["podSelector"]["matchLabels"]["vm.kubevirt.io/name"].as_str().expect("a label");
    assert!(chosen.len() <= 63 && chosen.chars().all(fits), "{chosen}");
    let ingress = policy["spec"]["ingress"].as_array().expect("rules");
    assert_eq!(ingress.len(), 3, "ICMP and GRE have no ports");
    for rule in ingress {
        assert_eq!(keys(rule), ["from", "ports"]);
        assert!(["TCP", "UDP", "SCTP"].contains(&rule["ports"][0]["protocol"].as_str().unwrap_or_default()));
        assert!((1..=65_535).contains(&rule["ports"][0]["port"].as_i64().unwrap_or_default()));
        for from in rule["from"].as_array().expect("clients") {
            assert!(from["ipBlock"]["cidr"].as_str().is_some_and(|c| c.parse::<ipnet::IpNet>().is_ok()), "{from}");
        }
    }
}

/// The API reference of EC2: IpPermission, IpRange, Ipv6Range.
#[test]
fn a_security_group_has_the_shape_that_ec2_documents() {
    let group = aws::group(&rules().vms[0]);
    let permissions = group["IpPermissions"].as_array().expect("permissions");
    assert_eq!(permissions.len(), 5);
    for permission in permissions {
        for key in permission.as_object().expect("an object").keys() {
            assert!(["IpProtocol", "FromPort", "ToPort", "IpRanges", "Ipv6Ranges"].contains(&key.as_str()), "{key}");
        }
        assert!(permission["FromPort"].is_i64() && permission["ToPort"].is_i64());
        for range in permission["IpRanges"].as_array().into_iter().flatten() {
            assert!(range["CidrIp"].as_str().is_some_and(|c| c.parse::<ipnet::Ipv4Net>().is_ok()), "{range}");
            assert!(range["Description"].as_str().is_some_and(|d| d.len() <= 255 && d.is_ascii()), "{range}");
        }
        for range in permission["Ipv6Ranges"].as_array().into_iter().flatten() {
            assert!(range["CidrIpv6"].as_str().is_some_and(|c| c.parse::<ipnet::Ipv6Net>().is_ok()), "{range}");
        }
    }
}
