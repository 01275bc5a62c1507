//! nftables: a table `inet eastwatch` with one chain on the forward hook that drops what no rule allows.
//! `nft -c -f` accepts it; a rule for each service and address family.

use std::fmt::Write as _;

use super::{Allow, Rules};
use crate::model::Transport;

pub fn write(rules: &Rules) -> String {
    let mut out = String::from(
        "# Allow rules from what eastwatch learned. For review: eastwatch never enforces. Check: nft -c -f FILE\n\
         table inet eastwatch {\n\tchain learned {\n\t\ttype filter hook forward priority filter; policy drop;\n\
         \t\tct state established,related accept\n",
    );
    for (vm, allow) in rules.each() {
        for (v6, family) in [(false, "ip"), (true, "ip6")] {
            let (to, from) = (Allow::of_family(&vm.ips, v6), Allow::of_family(&allow.from, v6));
            if to.is_empty() || (from.is_empty() && !allow.outside) {
                continue;
            }
            out.push_str("\t\t");
            if !allow.outside {
                let _ = write!(out, "{family} saddr {{ {} }} ", from.join(", "));
            }
            let service = match allow.port {
                (transport @ (Transport::Tcp | Transport::Udp | Transport::Sctp), port) => {
                    format!("{transport} dport {port}")
                }
                (Transport::Icmp, _) => "meta l4proto icmp".to_owned(),
                (Transport::Icmp6, _) => "meta l4proto ipv6-icmp".to_owned(),
                (Transport::Ip(number), _) => format!("meta l4proto {number}"),
            };
            let _ = writeln!(
                out,
                "{family} daddr {{ {} }} {service} accept comment \"{}\"",
                to.join(", "),
                allow.about(vm)
            );
        }
    }
    out.push_str("\t}\n}\n");
    out
}
