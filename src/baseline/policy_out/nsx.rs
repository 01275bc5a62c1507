//! NSX: the columns of its distributed firewall's rule table (Name, Sources, Destinations, Services, Context Profiles,
//! Applied To, Action), as CSV with several addresses in one field separated by commas.
//! A row for each service, then one that drops the rest for the VMs that are named.

use super::{Allow, Rules, plain};

pub const COLUMNS: [&str; 8] =
    ["Name", "Sources", "Destinations", "Services", "Context Profiles", "Applied To", "Action", "Notes"];

pub fn write(rules: &Rules) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // A buffer in memory takes every record of one length.
    let _ = writer.write_record(COLUMNS);
    for (vm, allow) in rules.each() {
        let list =
            |ips: &[std::net::IpAddr]| [Allow::of_family(ips, false), Allow::of_family(ips, true)].concat().join(",");
        let sources = if allow.outside { "ANY".to_owned() } else { list(&allow.from) };
        let (transport, port) = allow.port;
        let service = if allow.has_ports() { format!("{}/{port}", transport.eve()) } else { transport.eve() };
        let name = plain(&format!("{} {service}", vm.name));
        let note = allow.about(vm);
        let row = [&name, &sources, &list(&vm.ips), &service, "ANY", &plain(&vm.name), "ALLOW", &note];
        let _ = writer.write_record(row);
    }
    for vm in &rules.vms {
        let to = [Allow::of_family(&vm.ips, false), Allow::of_family(&vm.ips, true)].concat().join(",");
        let name = plain(&format!("{} rest", vm.name));
        let _ = writer.write_record([&name, "ANY", &to, "ANY", "ANY", &plain(&vm.name), "DROP", "not learned"]);
    }
    writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}
