//! Where VMs are: sites of mirrored hosts in which VMs talk, move, are cloned, and are not mirrored.

use std::net::IpAddr;

use super::super::scene::{Scene, station};
use crate::model::{Claim, ClaimKind, Fact, Location, Mac, MirrorPath, PathKind, Segment, Sighting};

/// Frames of one second and where they are seen: by the sender's host, then by the receiver's, if it is another.
pub(super) struct Site {
    pub scene: Scene,
    /// What a frame on a host is seen by.
    pub locate: fn(u8) -> Location,
    /// The host of each station by the last octet of its MAC; 0: no host mirrors it.
    pub hosts: Vec<u8>,
    pub sightings: Vec<Sighting>,
    /// One frame in so many is lost by each mirror; 0: none.
    loss: u64,
    random: u64,
}

pub(super) fn at(host: u8) -> Location {
    Location { host: Some(IpAddr::from([10, 9, 9, host])), kind: PathKind::Wire, id: 0, port: 0, interface: None }
}

pub(super) fn mac(n: usize) -> Mac {
    Mac([0x52, 0x54, 0, 0, (n >> 8) as u8, n as u8])
}

impl Site {
    /// VMs 1, 2, 3 … on these hosts.
    pub fn new(hosts: &[u8]) -> Self {
        let mut scene = Scene::new();
        for n in 1..=hosts.len() {
            let ip = Some(IpAddr::from([10, 0, (n >> 8) as u8, n as u8]));
            let kind = ClaimKind::Asks { target: IpAddr::from([10, 0, 99, 99]) };
            scene.fact(Fact::Claim(Claim {
                segment: Segment::UNTAGGED,
                mac: mac(n),
                ip,
                kind,
                host_hint: None,
                path: Default::default(),
                echo: false,
            }));
        }
        let hosts = [0].into_iter().chain(hosts.iter().copied()).collect();
        let mut site = Site { scene, locate: at, hosts, sightings: Vec::new(), loss: 0, random: 7 };
        site.told();
        site
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        one_in != 0 && (self.random >> 33).is_multiple_of(one_in)
    }

    pub fn copy(&mut self, from: usize, to: Mac, host: u8, frames: u32) {
        let lost = (0..frames).filter(|_| self.chance(self.loss)).count() as u32;
        if host != 0 && frames > lost {
            let sighting = Sighting {
                from: mac(from),
                to,
                segment: Segment::UNTAGGED,
                location: (self.locate)(host),
                port: 0,
                frames: frames - lost,
            };
            self.sightings.push(sighting);
        }
    }

    /// Frames from one to the other; 0 is the gateway, which no host mirrors.
    pub fn sends(&mut self, from: usize, to: usize, frames: u32) {
        let (source, target) = (self.hosts[from], self.hosts[to]);
        self.copy(from, mac(to), source, frames);
        if target != source {
            self.copy(from, mac(to), target, frames);
        }
    }

    pub fn talk(&mut self, a: usize, b: usize, frames: u32) {
        self.sends(a, b, frames);
        self.sends(b, a, frames);
    }

    /// Every host shows what is sent to all.
    pub fn announces(&mut self, from: usize, rarp: bool) {
        let ip = (!rarp).then(|| IpAddr::from([10, 0, (from >> 8) as u8, from as u8]));
        let mut hosts = self.hosts.clone();
        hosts.retain(|host| *host != 0);
        hosts.sort_by_key(|host| (*host != self.hosts[from], *host));
        hosts.dedup();
        for host in hosts {
            self.copy(from, Mac::BROADCAST, host, 1);
            let host_hint = (self.locate)(host).host;
            let mut path = MirrorPath::default();
            path.source = host.into();
            let kind = ClaimKind::Announces;
            let claim = Claim { segment: Segment::UNTAGGED, mac: mac(from), ip, kind, host_hint, path, echo: false };
            self.scene.fact(Fact::Claim(claim));
        }
    }

    /// The packet second ends.
    pub fn second(&mut self) {
        let sightings = std::mem::take(&mut self.sightings);
        if !sightings.is_empty() {
            self.scene.fact(Fact::Sighted(Box::new(sightings)));
        }
        self.scene.now_s += 1;
        self.scene.fact(Fact::Tick);
    }

    pub fn seconds(&mut self, n: usize, mut each: impl FnMut(&mut Self)) {
        for _ in 0..n {
            each(self);
            self.second();
        }
    }

    pub fn told(&mut self) -> Vec<String> {
        let mut told = self.scene.told();
        told.retain(|text| text != "tick");
        told
    }

    pub fn stays(&self, n: usize) -> Vec<String> {
        let vm = self.scene.inventory.find(&mac(n).to_string())[0];
        let known = self.scene.inventory.whereabouts(vm);
        known.map_or(Vec::new(), |known| known.stays.iter().map(|stay| stay.location.to_string()).collect())
    }
}

/// VMs 1 and 2 on host 1, 3 and 4 on host 2, and a gateway: everyone talks to it and to one other VM.
fn four() -> Site {
    let mut site = Site::new(&[1, 1, 2, 2]);
    site.seconds(20, everyone);
    assert_eq!(site.told(), [""; 0]);
    site
}

pub(super) fn everyone(site: &mut Site) {
    for vm in 1..=4 {
        site.talk(vm, 0, 2);
    }
    site.talk(1, 3, 5);
    site.talk(2, 4, 5);
}

#[test]
fn a_vm_that_shows_elsewhere_and_no_more_where_it_was_has_moved() {
    let mut site = four();
    site.hosts[1] = 2;
    site.seconds(2, everyone);
    assert_eq!(site.told(), [""; 0], "three seconds are not over");
    site.seconds(5, everyone);
    assert_eq!(site.told(), ["vm-moved 10.9.9.1 10.9.9.2"]);
    assert_eq!(site.stays(1), ["10.9.9.1", "10.9.9.2"]);
    site.seconds(60, everyone);
    assert_eq!(site.told(), [""; 0]);
}

#[test]
fn an_announced_move_is_believed_sooner_and_after_one_frame() {
    for rarp in [true, false] {
        let mut site = four();
        site.hosts[1] = 2;
        site.announces(1, rarp);
        site.sends(1, 0, 1);
        site.second();
        site.seconds(2, |_| {});
        assert_eq!(site.told(), ["vm-moved 10.9.9.1 10.9.9.2"], "RARP {rarp}");
    }
}

#[test]
fn an_announcement_from_where_it_is_moves_nothing() {
    let mut site = four();
    site.seconds(30, |site| {
        site.announces(1, false);
        everyone(site);
    });
    assert_eq!(site.told(), [""; 0]);
}

#[test]
fn a_vm_whose_receivers_are_all_on_the_old_host_is_told_by_its_rarp() {
    let mut site = Site::new(&[1, 1, 2, 2]);
    let talk = |site: &mut Site| {
        site.talk(1, 2, 3);
        site.talk(2, 0, 3);
        site.talk(3, 4, 3);
    };
    site.seconds(20, talk);
    site.hosts[1] = 2;
    site.announces(1, true);
    site.seconds(9, talk);
    assert_eq!(site.told(), ["vm-moved 10.9.9.1 10.9.9.2"]);
}

#[test]
fn a_vm_that_only_talks_to_the_other_host_has_not_moved() {
    let mut site = four();
    site.seconds(120, |site| site.talk(1, 3, 5));
    assert_eq!(site.told(), [""; 0]);
}

#[test]
fn copies_that_come_a_second_later_are_no_move() {
    let mut site = four();
    for _ in 0..60 {
        // The receiver's mirror is ahead: its copies are counted in the second before.
        site.copy(1, mac(3), 2, 60);
        site.second();
        site.copy(1, mac(3), 1, 60);
        site.second();
    }
    assert_eq!(site.told(), [""; 0]);
}

#[test]
fn a_location_that_goes_blind_moves_no_one_to_the_receivers_hosts() {
    let mut site = four();
    site.seconds(40, |site| {
        everyone(site);
        site.sightings.retain(|sighting| sighting.location != at(1));
    });
    assert_eq!(site.told(), [""; 0]);
}

#[test]
fn a_host_that_no_location_mirrors_is_not_followed() {
    // The gateway and a physical server talk to VMs of either host by turns.
    let mut site = Site::new(&[1, 1, 2, 2, 0]);
    for _ in 0..30 {
        site.seconds(5, |site| {
            everyone(site);
            site.talk(5, 1, 4);
            site.talk(5, 3, 4);
        });
        site.seconds(4, |site| site.talk(5, 4, 4));
        site.seconds(4, |site| site.talk(5, 1, 4));
    }
    let told = site.told();
    assert!(told.iter().all(|text| text.contains("own port is not mirrored")) && told.len() <= 2, "{told:?}");
}

#[test]
fn two_senders_with_one_mac_are_noted_and_do_not_flap() {
    let mut site = four();
    site.seconds(120, |site| {
        everyone(site);
        // The clone of VM 1, on host 2, with a receiver of its own behind it.
        site.copy(1, mac(77), 2, 3);
    });
    assert_eq!(site.told(), ["vm-changed: duplicate MAC: two senders take turns (10.9.9.1 and 10.9.9.2)"]);
    // By turns of seconds.
    let mut site = four();
    for _ in 0..20 {
        site.seconds(5, |site| site.talk(1, 0, 3));
        site.hosts[1] = 2;
        site.seconds(5, |site| site.talk(1, 0, 3));
        site.hosts[1] = 1;
    }
    let told = site.told();
    assert!(told.len() <= 2 && told.last().unwrap().contains("duplicate MAC"), "{told:?}");
}

#[test]
fn a_virtual_router_address_that_changes_hosts_is_no_move() {
    let mut site = four();
    let vrrp: Mac = "00:00:5e:00:01:0a".parse().unwrap();
    for host in [1, 1, 1, 2, 2, 2, 1, 1, 1] {
        site.seconds(10, |site| {
            site.sightings.push(Sighting {
                from: vrrp,
                to: mac(0),
                segment: Segment::UNTAGGED,
                location: at(host),
                port: 0,
                frames: 5,
            });
        });
    }
    assert_eq!(site.told(), [""; 0]);
}

#[test]
fn stays_are_bounded_and_survive_a_restart() {
    use crate::store::{Batch, MemoryStore, Store};
    let mut site = four();
    for round in 0..40u8 {
        site.hosts[1] = 2 - round % 2;
        site.announces(1, true);
        site.seconds(100, |site| site.talk(1, 0, 1));
    }
    assert_eq!(site.told().len(), 40);
    assert_eq!(site.stays(1).len(), 32);
    let (mut store, mut batch) = (MemoryStore::default(), Batch::default());
    site.scene.inventory.save_all(&mut batch);
    store.apply(&batch).unwrap();
    let stays = site.stays(1);
    site.scene.inventory = super::super::Inventory::load(&store, Default::default()).unwrap();
    assert_eq!(site.stays(1), stays);
    assert_eq!(site.scene.inventory.vm(site.scene.vm("10.0.0.1")).unwrap().host_hint, at(1).host);
}

/// 200 VMs on four hosts, every frame mirrored by both its hosts, one frame in fifty lost by each.
pub(super) fn site_of_200() -> (Site, impl FnMut(&mut Site)) {
    let hosts: Vec<u8> = (0..200).map(|n| 1 + n % 4).collect();
    let mut site = Site::new(&hosts);
    site.loss = 50;
    let busy = |site: &mut Site| {
        for vm in 1..=200 {
            for peer in [0, 1 + (vm + 17) % 200, 1 + (vm + 34) % 200, 1 + (vm * 7) % 200] {
                if peer != vm && site.chance(4) {
                    site.talk(vm, peer, 1 + (vm as u32 % 5));
                }
            }
        }
    };
    (site, busy)
}

#[test]
fn an_hour_in_which_both_hosts_mirror_every_frame_of_200_vms_has_no_move() {
    let (mut site, busy) = site_of_200();
    site.seconds(3_600, busy);
    assert_eq!(site.told(), [""; 0]);
}

#[test]
fn two_hundred_moves_in_that_hour_are_two_hundred_each_once_and_soon() {
    let (mut site, mut busy) = site_of_200();
    site.seconds(20, &mut busy);
    let mut moved = 0;
    for vm in 1..=200 {
        let (from, to) = (site.hosts[vm], site.hosts[vm] % 4 + 1);
        site.hosts[vm] = to;
        if vm % 2 == 0 {
            site.announces(vm, vm % 4 == 0);
        }
        site.seconds(10, &mut busy);
        let told = site.told();
        assert_eq!(told, [format!("vm-moved {} {}", at(from), at(to))], "VM {vm}");
        moved += told.len();
        site.seconds(7, &mut busy);
    }
    assert_eq!((moved, site.scene.count("inventory.vm.moved"), site.told()), (200, 200, vec![]));
    assert!(station(1).is_some() && site.stays(1).len() == 2);
}
