//! AWS: for each VM a security group and its `IpPermissions`, each element as
//! `aws ec2 authorize-security-group-ingress --cli-input-json` takes it; the list alone is `--ip-permissions`'.
//! A permission for each service; AWS allows 60 rules a group unless its quota is raised.

use serde_json::{Value, json};

use super::{Allow, Rules, VmRules, label};
use crate::model::Transport;

pub fn write(rules: &Rules) -> String {
    let groups: Vec<Value> = rules.vms.iter().map(group).collect();
    serde_json::to_string_pretty(&groups).unwrap_or_default() + "\n"
}

pub(super) fn group(vm: &VmRules) -> Value {
    let permissions: Vec<Value> = vm.allows.iter().map(|allow| permission(vm, allow)).collect();
    json!({ "GroupName": format!("eastwatch-{}", label(&vm.name)), "IpPermissions": permissions })
}

fn permission(vm: &VmRules, allow: &Allow) -> Value {
    let about = allow.about(vm);
    let (protocol, from, to) = match allow.port {
        (Transport::Tcp, port) => ("tcp".to_owned(), i64::from(port), i64::from(port)),
        (Transport::Udp, port) => ("udp".to_owned(), i64::from(port), i64::from(port)),
        // Every type of ICMP.
        (Transport::Icmp, _) => ("icmp".to_owned(), -1, -1),
        (Transport::Icmp6, _) => ("icmpv6".to_owned(), -1, -1),
        (Transport::Sctp, _) => ("132".to_owned(), -1, -1),
        (Transport::Ip(number), _) => (number.to_string(), -1, -1),
    };
    let (v4, v6) = match allow.outside {
        true => (vec!["0.0.0.0".to_owned()], vec!["::".to_owned()]),
        false => (Allow::of_family(&allow.from, false), Allow::of_family(&allow.from, true)),
    };
    let bits = |whole: u8| if allow.outside { 0 } else { whole };
    let v4 = v4.iter().map(|ip| json!({ "CidrIp": format!("{ip}/{}", bits(32)), "Description": about }));
    let v6 = v6.iter().map(|ip| json!({ "CidrIpv6": format!("{ip}/{}", bits(128)), "Description": about }));
    let (v4, v6): (Vec<Value>, Vec<Value>) = (v4.collect(), v6.collect());
    let mut out = json!({ "IpProtocol": protocol, "FromPort": from, "ToPort": to });
    for (key, ranges) in [("IpRanges", v4), ("Ipv6Ranges", v6)] {
        if !ranges.is_empty() {
            out[key] = ranges.into();
        }
    }
    out
}
