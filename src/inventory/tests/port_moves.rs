//! Moves between the ports of one physical switch, and ports of a virtual switch, which change at every start of a VM.

use std::net::IpAddr;

use super::moves::{Site, mac};
use crate::model::{Location, PathKind, Segment, Sighting};

fn switch(_: u8) -> Location {
    Location { host: Some(IpAddr::from([10, 9, 9, 9])), kind: PathKind::Erspan, id: 1, port: 0, interface: None }
}

/// Frames to the gateway (0) show at the sender's port, those to another VM at its port too.
fn sends(site: &mut Site, from: usize, to: usize) {
    let mut ports = vec![site.hosts[from]];
    if to != 0 && site.hosts[to] != site.hosts[from] {
        ports.push(site.hosts[to]);
    }
    for port in ports {
        let (from, to, port) = (mac(from), mac(to), port.into());
        site.sightings.push(Sighting { from, to, segment: Segment::UNTAGGED, location: switch(0), port, frames: 4 });
    }
}

fn everyone(site: &mut Site) {
    for vm in 1..site.hosts.len() {
        sends(site, vm, 0);
        sends(site, vm, 1 + vm % (site.hosts.len() - 1));
    }
}

fn settled(ports: &[u8]) -> Site {
    let mut site = Site::new(ports);
    site.seconds(20, everyone);
    assert_eq!(site.told(), [""; 0]);
    site
}

#[test]
fn a_vm_behind_another_port_where_other_vms_are_has_moved() {
    let mut site = settled(&[4, 4, 4, 9, 9]);
    site.hosts[1] = 9;
    site.seconds(10, everyone);
    assert_eq!(site.told(), ["vm-moved 10.9.9.9 erspan:1 port 4 10.9.9.9 erspan:1 port 9"]);
    site.seconds(60, everyone);
    assert_eq!(site.told(), [""; 0]);
    assert_eq!(site.stays(1).len(), 2);
    site.hosts[1] = 4;
    site.seconds(10, everyone);
    assert_eq!(site.told(), ["vm-moved 10.9.9.9 erspan:1 port 9 10.9.9.9 erspan:1 port 4"], "and back");
}

#[test]
fn a_vm_that_starts_again_on_another_port_of_its_own_has_not() {
    let mut site = settled(&[4, 5, 6, 7]);
    for port in [14, 24, 34] {
        site.hosts[1] = port;
        site.seconds(100, everyone);
    }
    assert_eq!((site.told(), site.stays(1).len()), (vec![], 1));
}

#[test]
fn a_port_that_another_vm_had_before_is_not_shared() {
    let mut site = settled(&[4, 5, 6, 7]);
    // Both start again, and get each other's port one after the other.
    (site.hosts[1], site.hosts[2]) = (5, 14);
    site.seconds(100, everyone);
    assert_eq!(site.told(), [""; 0]);
}
