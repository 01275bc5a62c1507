//! What `doctor` says of a mirror by the survey of its packets, each with the mend. One row for each fault that was
//! found, at most seven a source; a mirror without one has no row here.

use std::net::IpAddr;

use serde_json::Value;

use super::{row, text};

/// Fewer conversations prove nothing about a mirror.
const CONVERSATIONS_MIN: u64 = 3;
/// Below 9 Mbit/s nobody needs to leave a conversation out.
const ELEPHANT_BYTES_MIN: u64 = 64 << 20;
const ELEPHANT_SHARE: f64 = 0.5;
/// A broadcast now and then is no traffic of the probe's own.
const OWN_PACKETS_MIN: u64 = 10;

/// `own`: this machine's addresses with their interfaces.
pub(super) fn faults(survey: &Value, own: &[(String, IpAddr)]) -> Vec<Value> {
    let number = |key: &str| survey.get(key).and_then(Value::as_u64).unwrap_or(0);
    let name = text(survey, "name");
    let interface = !name.contains(':');
    let filter = |expression: &str| match interface {
        true => format!("--filter '{expression}'"),
        false => format!("leave it out at the mirror: {expression} (--filter does not reach UDP listeners)"),
    };
    let mut rows = Vec::new();
    let mut fault = |found: String, mend: String| rows.push(row(&format!("mirror {name}"), Err((found, mend))));

    let (conversations, one_way, split) = (number("conversations"), number("one_way"), number("split_tags"));
    if conversations >= CONVERSATIONS_MIN && one_way * 2 > conversations {
        let found = format!("of {conversations} TCP conversations {one_way} are seen in one direction only");
        fault(found, "mirror both directions of each port (ingress and egress, tx and rx)".to_owned());
    }
    if split >= CONVERSATIONS_MIN && split * 2 > conversations {
        let found = format!("{split} conversations have a VLAN tag in one direction and none in the other");
        let mend = "mirror both directions at the same place: at the VMs' ports, or at the trunk".to_owned();
        fault(found, mend);
    }
    if number("merged") > 0 {
        let found = format!("{} of {} packets are larger than any MTU: merged", number("merged"), number("packets"));
        let mend = match interface {
            true => format!("ethtool -K {name} gro off lro off; and tso off gso off where the packets are sent"),
            false => "ethtool -K IFACE gro off lro off tso off gso off where the mirror is made".to_owned(),
        };
        fault(found, mend);
    }
    if number("looped") > 0 {
        let found = format!("{} packets lie in the same tunnel twice: the mirror is mirrored again", number("looped"));
        fault(found, "leave the port that the tunnel leaves by out of the mirror".to_owned());
    }
    let address = text(survey, "own_address");
    if number("own") >= OWN_PACKETS_MIN {
        let found = format!("{} packets are this machine's own ({address})", number("own"));
        fault(found, filter(&format!("not host {address}")));
    }
    // An address that only ends a tunnel is not spoken to by those whose packets are in it.
    let addressed = own.iter().find(|(device, at)| *device == name && at.to_string() == address);
    if number("answers") > 0 || addressed.is_some() {
        let found = match (number("answers"), addressed) {
            (0, _) => format!("the interface has the address {address} and is spoken to: its kernel may answer"),
            (n, _) => format!("this machine's kernel answered the mirror with {n} resets and ICMP errors ({address})"),
        };
        fault(found, silence(&name, interface));
    }
    let (bytes, largest) = (number("bytes"), number("largest_bytes"));
    let share = largest as f64 / bytes.max(1) as f64;
    if let Some([one, other, port]) = survey.get("largest").and_then(Value::as_array).map(Vec::as_slice)
        && bytes >= ELEPHANT_BYTES_MIN
        && share >= ELEPHANT_SHARE
    {
        let (one, other) = (one.as_str().unwrap_or_default(), other.as_str().unwrap_or_default());
        let found = format!("{:.0} % of the bytes are between {one} and {other}, port {port}", share * 100.0);
        let mend = filter(&format!("not (host {one} and host {other} and port {port})"));
        fault(found, format!("where it is storage or backup: {mend}"));
    }
    rows
}

/// What arrives is captured before the kernel's input is asked.
fn silence(name: &str, interface: bool) -> String {
    if !interface {
        return "leave the probe's own port out of the mirror".to_owned();
    }
    format!(
        "nft 'add table inet eastwatch; add chain inet eastwatch input {{ type filter hook input priority -10; }}; \
         add rule inet eastwatch input iifname \"{name}\" drop'"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(survey: Value) -> String {
        let own = [("mgmt0".to_owned(), IpAddr::from([10, 0, 0, 99])), ("span1".to_owned(), [10, 0, 1, 99].into())];
        faults(&survey, &own).iter().map(|row| format!("{}: {}\n", text(row, "found"), text(row, "mend"))).collect()
    }

    #[test]
    fn a_sound_mirror_has_no_row() {
        let sound = json!({"name": "span0", "packets": 9_000, "bytes": 90 << 20, "conversations": 90, "one_way": 2,
            "largest": ["10.0.0.1", "10.0.0.2", 2049], "largest_bytes": 10 << 20, "own": 1, "own_address": "10.0.0.99"});
        assert_eq!(told(sound), "");
        assert_eq!(told(json!({"name": "span0", "conversations": 2, "one_way": 2})), "", "two prove nothing");
    }

    #[test]
    fn each_fault_is_told_with_its_mend() {
        let one_way = told(json!({"name": "span0", "conversations": 9, "one_way": 9}));
        assert!(one_way.contains("9 are seen in one direction only: mirror both directions"), "{one_way}");
        let tags = told(json!({"name": "span0", "conversations": 9, "split_tags": 9}));
        assert!(tags.contains("a VLAN tag in one direction"), "{tags}");
        let merged = told(json!({"name": "span0", "packets": 10, "merged": 3}));
        assert!(merged.contains("ethtool -K span0 gro off lro off"), "{merged}");
        let looped = told(json!({"name": "vxlan:4789", "looped": 3}));
        assert!(looped.contains("the mirror is mirrored again"), "{looped}");
        let own = told(json!({"name": "span0", "own": 50, "own_address": "10.0.0.99"}));
        assert!(own.contains("--filter 'not host 10.0.0.99'"), "{own}");
    }

    #[test]
    fn a_kernel_that_answers_is_told_with_the_rule_that_stops_it() {
        let rule = "add rule inet eastwatch input iifname \"span0\" drop";
        let answers = told(json!({"name": "span0", "answers": 3, "own_address": "10.0.0.99"}));
        assert!(answers.contains("3 resets and ICMP errors (10.0.0.99)") && answers.contains(rule), "{answers}");
        let addressed = told(json!({"name": "span1", "own": 1, "own_address": "10.0.1.99"}));
        assert!(addressed.contains("has the address 10.0.1.99"), "{addressed}");
        assert_eq!(told(json!({"name": "span1"})), "", "nobody speaks to it");
    }

    #[test]
    fn an_elephant_is_told_with_the_filter_that_leaves_it_out() {
        let largest = json!(["10.0.0.1", "10.0.0.2", 2049]);
        let told = told(json!({"name": "span0", "bytes": 100 << 20, "largest": largest, "largest_bytes": 80 << 20}));
        assert!(told.contains("80 % of the bytes"), "{told}");
        assert!(told.contains("--filter 'not (host 10.0.0.1 and host 10.0.0.2 and port 2049)'"), "{told}");
    }
}
