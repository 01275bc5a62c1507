//! NetBox: what its API answers on virtual-machines, interfaces (of VMs) and ip-addresses, each alone or together in
//! one source; entries of one VM meet by its id. Also the readers of JSON lists that OpenStack's shares.
//!
//! An answer that says that there are more pages is read, and told.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::rows::{Field, Rows};

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
    next: Option<String>,
}

/// A virtual machine, an interface or an address, by what it has.
#[derive(Deserialize)]
struct Entry {
    id: Option<u64>,
    name: Option<String>,
    /// Of an interface.
    virtual_machine: Option<Named>,
    mac_address: Option<String>,
    mac_addresses: Option<Vec<MacAddress>>,
    /// Of an address.
    address: Option<String>,
    assigned_object: Option<Assigned>,
    /// Of a VM.
    primary_ip4: Option<Address>,
    primary_ip6: Option<Address>,
    cluster: Option<Named>,
    device: Option<Named>,
    tags: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct Named {
    id: Option<u64>,
    name: Option<String>,
}

/// Since NetBox 4.2 an interface has several, one of them also in `mac_address`.
#[derive(Deserialize)]
struct MacAddress {
    mac_address: String,
}

#[derive(Deserialize)]
struct Address {
    address: String,
}

#[derive(Deserialize)]
struct Assigned {
    virtual_machine: Option<Named>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a tag as a text or an object with a `name`")]
enum Tag {
    Text(String),
    Object { name: String },
}

pub(super) fn read(rows: &mut Rows<'_>) {
    const EXPECTED: &str = "NetBox's answer, an object with `results`, or an array";
    let entries = if rows.text().trim_start().starts_with('[') {
        whole::<Vec<&RawValue>>(rows, EXPECTED)
    } else {
        whole::<Page<'_>>(rows, EXPECTED).map(|page| {
            if page.next.is_some() {
                rows.note(0, "this is one page of several: ask with ?limit=0 for all");
            }
            page.results
        })
    };
    each(rows, &entries.unwrap_or_default(), entry);
}

fn entry(rows: &mut Rows<'_>, at: usize, raw: &str, entry: Entry) {
    // An address of a physical device is no VM's.
    let of = match (&entry.virtual_machine, &entry.address) {
        (Some(vm), _) => Some((vm.id, vm.name.as_deref())),
        (None, Some(_)) => entry
            .assigned_object
            .as_ref()
            .and_then(|o| o.virtual_machine.as_ref())
            .map(|vm| (vm.id, vm.name.as_deref())),
        (None, None) => Some((entry.id, entry.name.as_deref())),
    };
    let Some((id, name)) = of else { return };
    let key = match (id, name) {
        (Some(id), _) => format!("id {id}"),
        (None, Some(name)) => format!("name {name}"),
        (None, None) => {
            return rows.fault(
                at,
                "an entry without `id` and `name`: expected a virtual machine, an interface of one, or an address"
                    .to_owned(),
            );
        }
    };
    let Some(row) = rows.of_key(key, at) else { return };
    let place = |text: &str| at + raw.find(text).unwrap_or(0);
    if let Some(name) = name.filter(|_| !rows.has(row, Field::Name)) {
        rows.set(row, Field::Name, place(name), name);
    }
    let macs = entry.mac_addresses.iter().flatten().map(|m| &m.mac_address).chain(&entry.mac_address);
    for mac in macs.filter(|mac| !mac.is_empty()) {
        rows.set_listed_mac(row, place(mac), mac);
    }
    let primary = [&entry.primary_ip4, &entry.primary_ip6].into_iter().flatten().map(|ip| &ip.address);
    for ip in primary.chain(&entry.address) {
        rows.set_listed_ip(row, place(ip), ip);
    }
    for (field, named) in [(Field::Cluster, &entry.cluster), (Field::Host, &entry.device)] {
        if let Some(name) = named.as_ref().and_then(|named| named.name.as_deref()) {
            rows.set(row, field, place(name), name);
        }
    }
    // An interface's tags are not its VM's.
    if entry.virtual_machine.is_none() && entry.address.is_none() {
        for tag in entry.tags.iter().flatten() {
            let (Tag::Text(name) | Tag::Object { name }) = tag;
            rows.set(row, Field::Tag, place(name), name);
        }
    }
}

/// The whole text as JSON of this shape, or a fault where it is none. Its depth is bounded by serde_json (128).
pub(super) fn whole<'t, T: Deserialize<'t>>(rows: &mut Rows<'t>, expected: &str) -> Option<T> {
    let text = rows.text();
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(e) => {
            rows.fault(offset(text, &e), format!("expected {expected}: {}", bare(&e)));
            None
        }
    }
}

/// Each entry in its shape, with its offset and text; one of another shape is a fault.
pub(super) fn each<T: DeserializeOwned>(
    rows: &mut Rows<'_>,
    entries: &[&RawValue],
    mut take: impl FnMut(&mut Rows<'_>, usize, &str, T),
) {
    let begin = rows.text().as_ptr() as usize;
    for entry in entries {
        let raw = entry.get();
        // An entry is a slice of the text.
        let at = (raw.as_ptr() as usize).saturating_sub(begin);
        match serde_json::from_str::<T>(raw) {
            Ok(value) => take(rows, at, raw, value),
            Err(e) => rows.fault(at + offset(raw, &e), bare(&e)),
        }
    }
}

fn offset(text: &str, error: &serde_json::Error) -> usize {
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    (before + error.column().saturating_sub(1)).min(text.len())
}

/// The message without its own line and column, which are an entry's.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Imported;
    use super::super::tests::{faults, read};

    const MACHINES: &str = r#"{"count": 2, "next": null, "previous": null, "results": [
        {"id": 7, "url": "https://netbox/api/virtualization/virtual-machines/7/", "name": "web", "status": {"value": "active"},
         "cluster": {"id": 1, "name": "c1"}, "device": {"id": 3, "name": "kvm7"}, "tags": [{"id": 1, "name": "pci", "slug": "pci"}],
         "primary_ip4": {"id": 9, "address": "10.0.0.5/24"}, "primary_ip6": null, "vcpus": 4.0, "custom_fields": {}},
        {"id": 8, "name": "db", "cluster": {"id": 1, "name": "c1"}, "tags": []}]}"#;
    const INTERFACES: &str = r#"{"count": 2, "next": null, "results": [
        {"id": 70, "name": "eth0", "virtual_machine": {"id": 7, "name": "web"}, "mac_address": "52:54:00:00:00:01", "tags": [{"name": "uplink"}]},
        {"id": 80, "name": "eth0", "virtual_machine": {"id": 8, "name": "db"}, "mac_address": null,
         "mac_addresses": [{"id": 1, "mac_address": "52:54:00:00:00:02"}]}]}"#;
    const ADDRESSES: &str = r#"{"results": [
        {"id": 1, "address": "10.0.0.6/24", "assigned_object": {"id": 80, "name": "eth0", "virtual_machine": {"id": 8, "name": "db"}}},
        {"id": 2, "address": "10.0.0.1/24", "assigned_object": {"id": 5, "name": "ge0", "device": {"id": 4, "name": "sw"}}},
        {"id": 3, "address": "10.0.0.9/24", "assigned_object": null}]}"#;

    #[test]
    fn machines_interfaces_and_addresses_meet_by_the_id_of_the_vm() {
        let files = [("a.json", MACHINES), ("b.json", INTERFACES), ("c.json", ADDRESSES)];
        let imported = Imported::parse(&files, None).unwrap();
        let [web, db] = imported.vms.as_slice() else { panic!("{imported:?}") };
        assert_eq!(
            (web.name.as_deref(), web.macs.len(), web.ips.len(), web.tags.join(" ")),
            (Some("web"), 1, 1, "pci".to_owned())
        );
        assert_eq!((web.host.as_deref(), web.cluster.as_deref()), (Some("kvm7"), Some("c1")));
        assert_eq!((db.macs.len(), db.ips.as_slice()), (1, &["10.0.0.6".parse().unwrap()][..]));
    }

    #[test]
    fn interfaces_alone_name_their_vms() {
        let names: Vec<_> = read("i.json", INTERFACES).vms.into_iter().filter_map(|vm| vm.name).collect();
        assert_eq!(names, ["web", "db"]);
    }

    #[test]
    fn one_page_of_several_is_told() {
        let page = MACHINES.replace("\"next\": null", "\"next\": \"https://netbox/?offset=50\"");
        assert!(read("a.json", &page).notes[0].contains("?limit=0"));
    }

    #[test]
    fn faults_name_their_line_and_column() {
        let bad = faults("b.json", &INTERFACES.replace("52:54:00:00:00:02", "52:54"));
        assert!(bad.starts_with("b.json:4:") && bad.contains("`52:54` is not a MAC"), "{bad}");
        let kind = faults("a.json", &MACHINES.replace("\"name\": \"db\"", "\"name\": 5"));
        assert!(kind.starts_with("a.json:5:") && kind.contains("expected a string"), "{kind}");
        assert!(faults("a.json", "{\"detail\": \"Invalid token\"}").contains("`results`"));
    }
}
