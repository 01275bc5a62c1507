//! Kubernetes: a NetworkPolicy (networking.k8s.io/v1) for each VM, chosen by the label that KubeVirt gives its pods.
//! A policy is of ingress only and names TCP, UDP and SCTP; what has no ports stands in a comment.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Allow, Rules, VmRules, label};

pub fn write(rules: &Rules) -> String {
    let mut out = String::from(
        "# Allow rules from what eastwatch learned. For review: eastwatch never enforces.\n\
         # Check: kubectl apply --dry-run=client -f FILE\n",
    );
    for vm in &rules.vms {
        out.push_str("---\n");
        for allow in vm.allows.iter().filter(|allow| !allow.has_ports()) {
            let _ = writeln!(out, "# {} has no port: no rule of this kind stands for it", allow.port.0);
        }
        yaml(&policy(vm), 0, &mut out);
    }
    out
}

pub(super) fn policy(vm: &VmRules) -> Value {
    let name = label(&vm.name);
    let rules: Vec<Value> = vm.allows.iter().filter(|allow| allow.has_ports()).map(ingress).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        // The id keeps two VMs of one name apart.
        "metadata": { "name": format!("eastwatch-{name}-{}", label(&vm.vm.to_string())) },
        "spec": {
            "podSelector": { "matchLabels": { "vm.kubevirt.io/name": name } },
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    })
}

fn ingress(allow: &Allow) -> Value {
    let block = |cidr: String| json!({ "ipBlock": { "cidr": cidr } });
    let from: Vec<Value> = match allow.outside {
        true => vec![block("0.0.0.0/0".to_owned()), block("::/0".to_owned())],
        false => allow.from.iter().map(|ip| block(format!("{ip}/{}", if ip.is_ipv6() { 128 } else { 32 }))).collect(),
    };
    let ports = json!([{ "protocol": allow.port.0.eve(), "port": allow.port.1 }]);
    json!({ "from": from, "ports": ports })
}

/// Block style; texts in quotes, as JSON has them, which YAML reads too.
fn yaml(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let _ = write!(out, "{pad}{key}:");
                below(value, depth, out);
            }
        }
        Value::Array(list) => {
            for value in list {
                let _ = write!(out, "{pad}-");
                below(value, depth, out);
            }
        }
        plain => {
            let _ = writeln!(out, "{pad}{plain}");
        }
    }
}

fn below(value: &Value, depth: usize, out: &mut String) {
    let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty);
    if empty || !(value.is_array() || value.is_object()) {
        let _ = writeln!(out, " {value}");
    } else {
        out.push('\n');
        yaml(value, depth + 1, out);
    }
}
