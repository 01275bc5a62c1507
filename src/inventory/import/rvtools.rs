//! vCenter as RVTools exports it to CSV: vInfo (one line a VM) and vNetwork (one line a network card), in one source or
//! each alone. Lines of one VM meet by `VM UUID`, without that by `VM` within the source.
//!
//! Columns that are not needed are not looked at; templates and replication placeholders are no VMs.

use super::delimited;
use super::rows::{Field, Rows};

const NAME: &[&str] = &["VM"];
const UUID: &[&str] = &["VM UUID"];
const MACS: &[&str] = &["Mac Address"];
/// vInfo has one address, vNetwork those of a card.
const IPS: &[&str] = &["Primary IP Address", "IPv4 Address", "IPv6 Address"];
const NEEDED: &[&str] =
    &["VM UUID", "Mac Address", "IPv4 Address", "Primary IP Address", "Powerstate", "Cluster", "Host"];

/// May this be the header row?
pub(super) fn is(line: &str) -> bool {
    let has = |wanted: &[&str]| delimited::header(line).any(|c| wanted.iter().any(|w| c.eq_ignore_ascii_case(w)));
    has(NAME) && has(NEEDED)
}

pub(super) fn read(rows: &mut Rows<'_>) {
    let mut named = false;
    let check = |_: &mut Rows<'_>, _, column: &str| named |= column.eq_ignore_ascii_case("VM");
    let mut unnamed = None;
    delimited::read(rows, check, |rows, line| {
        let yes = |column: &str| line.get(&[column]).is_some_and(|(_, cell)| cell.eq_ignore_ascii_case("true"));
        if yes("Template") || yes("SRM Placeholder") {
            return;
        }
        let Some((name_at, name)) = line.get(NAME) else {
            unnamed.get_or_insert(line.offset);
            return;
        };
        let uuid = line.get(UUID);
        let key =
            uuid.map_or_else(|| format!("name {name}"), |(_, uuid)| format!("uuid {}", uuid.to_ascii_lowercase()));
        let Some(row) = rows.of_key(key, line.offset) else { return };
        if !rows.has(row, Field::Name) {
            rows.set(row, Field::Name, name_at, name);
        }
        if let Some((at, uuid)) = uuid {
            rows.set(row, Field::Uuid, at, uuid);
        }
        for (column, field) in [("Host", Field::Host), ("Cluster", Field::Cluster)] {
            if let Some((at, cell)) = line.get(&[column]) {
                rows.set(row, field, at, cell);
            }
        }
        if let Some((at, mac)) = line.get(MACS) {
            rows.set_listed_mac(row, at, mac);
        }
        for column in IPS {
            let Some((at, cell)) = line.get(&[column]) else { continue };
            let items = cell.split(|c: char| matches!(c, ';' | ',') || c.is_whitespace());
            items.filter(|item| !item.is_empty()).for_each(|item| rows.set_listed_ip(row, at, item));
        }
        rows.set(row, Field::Hypervisor, line.offset, "vmware");
    });
    match unnamed {
        _ if !named => rows.fault(0, "no column `VM`: expected RVTools' vInfo or vNetwork as CSV".to_owned()),
        Some(at) => rows.fault(at, "the column `VM` is empty: every line names its VM".to_owned()),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::import::{Format, Imported};
    use super::super::tests::{faults, read};

    const NETWORK: &str = "\"VM\";\"Powerstate\";\"Template\";\"NIC label\";\"Mac Address\";\"IPv4 Address\";\"IPv6 Address\";\"Cluster\";\"Host\";\"VM UUID\"\n\
        \"web\";\"poweredOn\";\"False\";\"Network adapter 1\";\"00:50:56:00:00:01\";\"10.0.0.5, 10.0.0.6\";\"fe80::1\";\"c1\";\"esx1\";\"4211-A\"\n\
        \"web\";\"poweredOn\";\"False\";\"Network adapter 2\";\"00:50:56:00:00:02\";\"\";\"\";\"c1\";\"esx1\";\"4211-A\"\n\
        \"golden\";\"poweredOff\";\"True\";\"Network adapter 1\";\"00:50:56:00:00:09\";\"\";\"\";\"c1\";\"esx1\";\"4211-B\"\n";

    #[test]
    fn the_cards_of_one_vm_are_one_vm_and_a_template_is_none() {
        let imported = read("vNetwork.csv", NETWORK);
        let [vm] = imported.vms.as_slice() else { panic!("{imported:?}") };
        assert_eq!((vm.name.as_deref(), vm.macs.len(), vm.ips.len()), (Some("web"), 2, 2));
        assert_eq!(
            (vm.cluster.as_deref(), vm.host.as_deref(), vm.uuid.as_deref()),
            (Some("c1"), Some("esx1"), Some("4211-a"))
        );
        assert!(imported.notes.is_empty(), "{:?}", imported.notes);
    }

    #[test]
    fn two_vms_of_one_name_are_two_where_their_uuids_differ() {
        let text = "VM,VM UUID,Host\nweb,a,esx1\nweb,b,esx2\n";
        let imported = read("vInfo.csv", text);
        assert_eq!((imported.vms.len(), imported.notes.len()), (2, 1));
    }

    #[test]
    fn faults_name_their_line_and_column() {
        let bad = faults("n.csv", &NETWORK.replace("00:50:56:00:00:02", "n/a"));
        assert_eq!(bad, "n.csv:3:48: `n/a` is not a MAC address like 52:54:00:aa:bb:cc");
        let told = Imported::parse(&[("n.csv", "Name,Mac Address\n")], Some(Format::Rvtools)).unwrap_err().to_string();
        assert!(told.starts_with("n.csv:1:1: no column `VM`"), "{told}");
    }
}
