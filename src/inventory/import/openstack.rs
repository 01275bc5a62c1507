//! OpenStack: `openstack server list -f json`, with or without `--long`, of one project or of all.
//!
//! The list has no MACs: a VM is found by its addresses. `Networks` is a text in older clients (`net=10.0.0.5, fd00::5;
//! other=…`) and a map of lists in newer ones.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::netbox::{each, whole};
use super::rows::{Field, Rows};

#[derive(Deserialize)]
struct Server {
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Networks")]
    networks: Option<Networks>,
    #[serde(rename = "Host")]
    host: Option<String>,
    #[serde(rename = "Availability Zone")]
    zone: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected `Networks` as a text or as a map of lists")]
enum Networks {
    Text(String),
    Map(BTreeMap<String, Vec<String>>),
}

/// Does this JSON text list servers?
pub(super) fn is(text: &str) -> bool {
    // The first entry has the columns of all; only its keys are written with capitals.
    let head: String = text.chars().take(4096).collect();
    ["\"ID\"", "\"Networks\""].iter().any(|key| head.contains(key))
}

pub(super) fn read(rows: &mut Rows<'_>) {
    let Some(servers) = whole::<Vec<&RawValue>>(rows, "an array of servers as `openstack server list -f json` prints")
    else {
        return;
    };
    each(rows, &servers, |rows, at, raw, server: Server| {
        let Some(row) = rows.begin(at) else { return };
        let place = |text: &str| at + raw.find(text).unwrap_or(0);
        let texts = [
            (Field::Name, &server.name),
            (Field::Uuid, &server.id),
            (Field::Host, &server.host),
            (Field::Cluster, &server.zone),
        ];
        for (field, text) in texts {
            if let Some(text) = text.as_deref().filter(|text| *text != "None") {
                rows.set(row, field, place(text), text);
            }
        }
        let addresses: Vec<&str> = match &server.networks {
            Some(Networks::Map(networks)) => networks.values().flatten().map(String::as_str).collect(),
            Some(Networks::Text(text)) => text
                .split(';')
                .filter_map(|network| network.split_once('='))
                .flat_map(|(_, list)| list.split(','))
                .map(str::trim)
                .filter(|address| !address.is_empty())
                .collect(),
            None => Vec::new(),
        };
        for address in addresses {
            rows.set_listed_ip(row, place(address), address);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, read};

    #[test]
    fn networks_are_a_text_or_a_map() {
        let text =
            r#"[{"ID": "a1", "Name": "web", "Status": "ACTIVE", "Networks": "net=10.0.0.5, fd00::5; dmz=10.9.0.5"}]"#;
        let map = r#"[{"ID": "a1", "Name": "web", "Networks": {"dmz": ["10.9.0.5"], "net": ["10.0.0.5", "fd00::5"]}, "Host": "c7", "Availability Zone": "nova", "Power State": 1}]"#;
        let (text, map) = (read("s.json", text), read("s.json", map));
        let sorted = |ips: &[std::net::IpAddr]| {
            let mut ips = ips.to_vec();
            ips.sort();
            ips
        };
        assert_eq!(sorted(&text.vms[0].ips), sorted(&map.vms[0].ips));
        assert_eq!((map.vms[0].ips.len(), map.vms[0].uuid.as_deref()), (3, Some("a1")));
        assert_eq!((map.vms[0].host.as_deref(), map.vms[0].cluster.as_deref()), (Some("c7"), Some("nova")));
    }

    #[test]
    fn a_server_without_a_network_is_still_one() {
        assert_eq!(read("s.json", r#"[{"ID": "a1", "Name": "web", "Networks": {}}]"#).vms.len(), 1);
    }

    #[test]
    fn faults_name_their_line_and_column() {
        let two = "[\n {\"ID\": \"a\", \"Name\": \"x\", \"Networks\": \"n=10.0.0.5\"},\n {\"ID\": \"b\", \"Name\": \"y\", \"Networks\": \"n=10.0.0\"}\n]";
        assert_eq!(faults("s.json", two), "s.json:3:42: `10.0.0` is not an address like 10.0.0.5 or fd00::5");
        let kind = "[{\"ID\": \"a\",\n\"Networks\": 5}]";
        assert!(faults("s.json", kind).contains("`Networks` as a text or as a map"), "{}", faults("s.json", kind));
        assert!(faults("s.json", "[{\"ID\": \"a\"").starts_with("s.json:1:"));
    }
}
