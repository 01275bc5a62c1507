//! Moves where the capture interface alone tells hosts apart, and what looks like one and is a tap, a bond, or two
//! mirrors of one switch.

use super::moves::{Site, at, everyone, mac, site_of_200};
use crate::model::{CaptureInterface, Fact, Interface, Location, Mac, Segment, Sighting};

fn eth(host: u8) -> Location {
    Location::by(Interface::new(&format!("eth{host}")).unwrap())
}

/// As the packet side tells them: source 1 is `eth1`.
fn interfaces(site: &mut Site, shares: bool) {
    let name = |host: u8| eth(host).interface.map(|name| CaptureInterface { name, shares });
    site.scene.fact(Fact::Interfaces((0..=4).map(|host| name(host).filter(|_| host > 0)).collect()));
    site.told();
}

/// VMs 1 and 2 on host 1, 3 and 4 on host 2, an interface for each, and a gateway.
fn four(shares: bool) -> Site {
    let mut site = Site::new(&[1, 1, 2, 2]);
    site.locate = eth;
    interfaces(&mut site, shares);
    site.seconds(70, everyone);
    assert_eq!(site.told(), [""; 0]);
    site
}

#[test]
fn a_vm_that_shows_at_another_interface_alone_has_moved() {
    let mut site = four(true);
    site.hosts[1] = 2;
    site.seconds(5, everyone);
    assert_eq!(site.told(), [""; 0], "six seconds are not over");
    site.seconds(4, everyone);
    assert_eq!(site.told(), ["vm-moved interface eth1 interface eth2"]);
    assert_eq!(site.stays(1), ["interface eth1", "interface eth2"]);
    site.seconds(60, everyone);
    assert_eq!(site.told(), [""; 0]);
}

#[test]
fn an_announced_move_is_believed_sooner() {
    for rarp in [true, false] {
        let mut site = four(true);
        site.hosts[1] = 2;
        site.announces(1, rarp);
        site.sends(1, 0, 1);
        site.second();
        site.seconds(2, |_| {});
        assert_eq!(site.told(), ["vm-moved interface eth1 interface eth2"], "RARP {rarp}");
    }
}

#[test]
fn interfaces_that_share_no_copy_are_not_hosts() {
    let mut site = four(false);
    site.hosts[1] = 2;
    site.announces(1, true);
    site.seconds(300, everyone);
    assert_eq!(site.told(), [""; 0]);
}

#[test]
fn a_bond_that_spreads_flows_over_two_interfaces_moves_no_one() {
    let mut site = Site::new(&[1, 1, 2, 2]);
    site.locate = eth;
    interfaces(&mut site, true);
    for round in 0..40u8 {
        // Each connection goes by one of them, each VM has one to the gateway and one to another VM at a time.
        site.seconds(15, |site| {
            for vm in 1..=4 {
                site.copy(vm, mac(0), 1 + (vm as u8 + round) % 2, 5);
                let other = u8::from(vm < 4);
                site.copy(vm, mac(1 + vm % 4), 1 + (vm as u8 + other + round) % 2, 5);
            }
        });
    }
    assert_eq!(site.told(), [""; 0]);
}

#[test]
fn two_mirrors_of_one_switch_do_not_flap() {
    // The first shows the uplink only, the second every port.
    let mut site = Site::new(&[1, 1]);
    site.locate = eth;
    interfaces(&mut site, true);
    let talk = |site: &mut Site, uplink: bool| {
        for (vm, peer) in [(1, 2), (2, 1)] {
            if uplink {
                site.copy(vm, mac(0), 1, 3);
                site.copy(vm, mac(0), 2, 3);
            } else {
                site.copy(vm, mac(peer), 2, 3);
            }
        }
    };
    for _ in 0..10 {
        site.seconds(30, |site| talk(site, true));
        site.seconds(120, |site| talk(site, false));
    }
    assert_eq!(site.told(), [""; 0]);
    assert_eq!(site.stays(1), ["interface eth2"], "where all of it shows");
}

#[test]
fn a_host_tells_more_than_an_interface_and_the_change_is_no_move() {
    let mut site = four(true);
    site.locate = at;
    site.seconds(30, |site| {
        everyone(site);
        let seen: Vec<Sighting> = site.sightings.iter().map(|s| Sighting { location: eth(1), ..*s }).collect();
        site.sightings.extend(seen);
    });
    assert_eq!((site.told(), site.stays(1)), (vec![], vec!["interface eth1".to_owned(), "10.9.9.1".to_owned()]));
    // No host shows it for ten minutes: then the interface counts again.
    site.locate = eth;
    site.seconds(500, everyone);
    assert_eq!(site.stays(1).len(), 2);
    site.seconds(200, everyone);
    assert_eq!((site.told(), site.stays(1).len()), (vec![], 3));
}

#[test]
fn forged_senders_at_many_interfaces_are_bounded() {
    let mut site = four(true);
    site.seconds(60, |site| {
        everyone(site);
        for host in 2..200 {
            let (from, to) = (mac(1), Mac([2, 0, 0, 0, 0, host]));
            site.sightings.push(Sighting {
                from,
                to,
                segment: Segment::UNTAGGED,
                location: eth(host),
                port: 0,
                frames: 9,
            });
        }
    });
    assert!(site.scene.count("inventory.location.refused") > 0);
    assert_eq!(site.told(), [""; 0]);
}

#[test]
fn four_interfaces_that_show_200_vms_for_an_hour_have_no_move_and_with_200_moves_two_hundred() {
    let (mut site, mut busy) = site_of_200();
    site.locate = eth;
    interfaces(&mut site, true);
    site.seconds(1_800, &mut busy);
    assert_eq!(site.told(), [""; 0]);
    for vm in 1..=200 {
        let (from, to) = (site.hosts[vm], site.hosts[vm] % 4 + 1);
        site.hosts[vm] = to;
        if vm % 2 == 0 {
            site.announces(vm, vm % 4 == 0);
        }
        site.seconds(17, &mut busy);
        assert_eq!(site.told(), [format!("vm-moved {} {}", eth(from), eth(to))], "VM {vm}");
    }
    assert_eq!(site.scene.count("inventory.vm.moved"), 200);
}
