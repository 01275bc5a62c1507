//! Who a VM is, for `why`: by whose word its addresses and names are its own, and where it is.
//!
//! At most [`ADDRESSES_EXPLAINED_MAX`] addresses and [`NEIGHBOURS_EXPLAINED_MAX`] neighbours are listed.

use super::Brain;
use crate::detect::Line;
use crate::inventory::Introduced;
use crate::model::VmId;

const ADDRESSES_EXPLAINED_MAX: usize = 8;
/// Uplinks of one host.
const NEIGHBOURS_EXPLAINED_MAX: usize = 4;

impl Brain {
    /// By whose word its addresses and names are its own and since when, and where it is.
    pub(super) fn who(&self, vm: VmId) -> Vec<Line> {
        let mut lines = Vec::new();
        let Some(known) = self.inventory.vm(vm) else { return lines };
        for binding in self.inventory.bindings(known).iter().take(ADDRESSES_EXPLAINED_MAX) {
            let mac = binding.mac.map_or(String::new(), |mac| format!(" with MAC {mac}"));
            let trust = binding.source.trust();
            let last = binding.last_seen;
            let value = format!("{}{mac}, by {} (trust {trust} of 10), last seen {last}", binding.ip, binding.source);
            lines.push(Line { label: "address", value });
        }
        for name in &known.names {
            let heard = self.inventory.heard(vm, name);
            let when = heard.map_or(String::new(), |heard| format!(", heard {} to {}", heard.first, heard.last));
            let value = format!("{}, by {} (trust {} of 10){when}", name.text, name.source, name.source.trust());
            lines.push(Line { label: "name", value });
        }
        if let Some(stay) = self.inventory.whereabouts(vm).and_then(|known| known.stays.last()) {
            let called =
                self.inventory.host_name(known).map_or(String::new(), |said| format!(", {}", introduced(said)));
            lines.push(Line { label: "host", value: format!("{} since {}{called}", stay.place(), stay.since) });
        }
        for said in self.inventory.neighbours(known).iter().take(NEIGHBOURS_EXPLAINED_MAX) {
            lines.push(Line { label: "uplink", value: introduced(said) });
        }
        lines
    }
}

/// `esx-07, port vmnic2, by LLDP, heard … to …`.
fn introduced(said: &Introduced) -> String {
    let name = if said.system.is_empty() { &said.chassis } else { &said.system };
    let port = if said.port.is_empty() { String::new() } else { format!(", port {}", said.port) };
    format!("{name}{port}, by {}, heard {} to {}", said.by, said.first, said.last)
}
