//! Roles as the baselines form them: a farm of web servers, its clients, and who else claims to belong.
#![cfg(test)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Who;
use crate::baseline::{BaselineConfig, Baselines, Feature, Lesson};
use crate::inventory::{Basis, Change, Sight, What};
use crate::model::{Segment, ServiceClass, ServiceKey, Timestamp, Transport, VmId};
use crate::store::{Batch, MemoryStore, Store};

fn vm(n: u8) -> VmId {
    VmId::derive(&[&[n]], 0)
}

fn key(n: u8, port: u16) -> ServiceKey {
    ServiceKey { vm: vm(n), transport: Transport::Tcp, port }
}

#[derive(Default)]
struct Names(BTreeMap<VmId, String>);

impl Who for Names {
    fn name(&self, vm: VmId) -> Option<String> {
        self.0.get(&vm).cloned()
    }

    fn tags(&self, _vm: VmId) -> Vec<String> {
        Vec::new()
    }
}

struct Site {
    baselines: Baselines,
    names: Names,
    now: Timestamp,
}

impl Site {
    /// VMs 1 to 5 serve 80 and 9100 and use 5432 of VM 20, for `hours`; VM 20 serves nothing else, VM 30 uses them.
    fn farm(hours: u32, named: bool) -> Site {
        let baselines = Baselines::new(BaselineConfig::default());
        let mut site = Site { baselines, names: Names::default(), now: Timestamp::from_parts(1_767_225_600, 0) };
        for n in 1..=5 {
            if named {
                site.names.0.insert(vm(n), format!("web-{n:03}"));
            }
        }
        for hour in 0..hours {
            for n in 1..=5 {
                for port in [80, 9_100] {
                    site.serve(n, port, hour == 0);
                }
                site.reach(n, 20, 5_432);
                site.reach(30, n, 80);
            }
            site.serve(20, 5_432, hour == 0);
            site.pass_s(3_600);
        }
        site
    }

    fn learn(&mut self, what: What) {
        let change = Change { time: self.now, frame: 1, flow: None, what };
        self.baselines.greet(&change, &self.names);
        self.baselines.learn(&change, Lesson::Free);
    }

    fn serve(&mut self, n: u8, port: u16, first: bool) {
        let (service, segment, ip) = (key(n, port), Segment::UNTAGGED, IpAddr::from([10, 0, 0, n]));
        let basis = Basis { level: 4, closed_at: None, sight: Sight::Whole };
        self.learn(match first {
            true => What::ServiceNew { service, segment, ip, class: ServiceClass::Unicast, basis },
            false => What::ServiceUsed { service, client: ip, client_vm: None },
        });
    }

    fn reach(&mut self, client: u8, server: u8, port: u16) {
        self.learn(What::PeerUsed { client: vm(client), server: vm(server), service: key(server, port) });
    }

    /// Time with its ticks: a round begins and ends within.
    fn pass_s(&mut self, seconds: i64) {
        for _ in 0..2 {
            self.now = self.now.plus_s(seconds / 2);
            self.learn(What::Tick);
            self.baselines.tick(&self.names, self.now);
        }
    }

    fn role_of(&self, n: u8) -> Option<String> {
        self.baselines.roles().of(vm(n)).map(|(_, role)| role.label())
    }
}

#[test]
fn those_with_one_job_share_a_role_and_others_do_not() {
    let site = Site::farm(30, true);
    assert_eq!(site.role_of(1).as_deref(), Some("web-#"));
    assert!(
        (1..=5).all(|n| site.baselines.roles().of(vm(n)).map(|(id, _)| id)
            == site.baselines.roles().of(vm(1)).map(|(id, _)| id))
    );
    assert_eq!((site.role_of(20), site.role_of(30)), (None, None));
    assert_eq!(Site::farm(30, false).role_of(1).as_deref(), Some("tcp/80+tcp/9100"));
}

#[test]
fn a_clone_has_its_roles_baseline_at_once_and_nothing_more() {
    let mut site = Site::farm(30, true);
    site.names.0.insert(vm(6), "web-006".to_owned());
    site.learn(What::VmNew { vm: vm(6) });
    site.serve(6, 80, true);
    assert!(site.baselines.judges(vm(6), Feature::Services, site.now));
    assert!(site.baselines.is_usual(&key(6, 80)) && site.baselines.is_usual(&key(6, 9_100)));
    assert!(!site.baselines.is_usual(&key(6, 4_444)));
    // Whom it may use is not its role's to give.
    assert!(!site.baselines.judges(vm(6), Feature::Peers, site.now));
    assert!(!site.baselines.is_learned_peer(vm(6), &key(20, 5_432)));
}

#[test]
fn a_name_alone_or_one_service_alone_is_no_membership() {
    let mut site = Site::farm(30, true);
    site.names.0.insert(vm(6), "web-006".to_owned());
    site.learn(What::VmNew { vm: vm(6) });
    site.serve(6, 4_444, true);
    assert_eq!(site.role_of(6), None, "it calls itself web and serves something else");
    site.learn(What::VmNew { vm: vm(7) });
    site.serve(7, 80, true);
    assert_eq!(site.role_of(7), None, "many things serve 80");
    site.reach(7, 20, 5_432);
    site.serve(7, 9_100, true);
    assert_eq!(site.role_of(7).as_deref(), Some("web-#"), "three of three tokens are the role's");
}

#[test]
fn before_the_farm_is_ripe_nobody_inherits() {
    let mut site = Site::farm(5, true);
    site.names.0.insert(vm(6), "web-006".to_owned());
    site.learn(What::VmNew { vm: vm(6) });
    site.serve(6, 80, true);
    assert!(!site.baselines.judges(vm(6), Feature::Services, site.now));
}

#[test]
fn a_member_that_changes_its_job_leaves_after_a_day() {
    let mut site = Site::farm(30, false);
    // It is retired as a web server and becomes five other things.
    for port in [80, 9_100] {
        site.learn(What::ServiceRetracted { service: key(1, port) });
    }
    for port in [21, 25, 110, 143, 993] {
        site.serve(1, port, true);
        site.serve(1, port, false);
    }
    site.baselines.configure(BaselineConfig { new_keys_per_day: 99, ..BaselineConfig::default() });
    for port in [21, 25, 110, 143, 993] {
        site.serve(1, port, true);
    }
    for _ in 0..20 {
        site.pass_s(3_600);
    }
    assert!(site.role_of(1).is_some(), "not yet");
    for _ in 0..8 {
        site.pass_s(3_600);
    }
    assert_eq!(site.role_of(1), None);
}

#[test]
fn roles_are_kept_over_a_restart() {
    let mut site = Site::farm(30, true);
    let mut store = MemoryStore::default();
    let mut batch = Batch::default();
    site.baselines.save(&mut batch);
    store.apply(&batch).unwrap();
    let loaded = Baselines::load(&store, BaselineConfig::default()).unwrap();
    assert!(loaded.is_usual(&key(1, 80)));
    assert_eq!(loaded.roles().iter().count(), site.baselines.roles().iter().count());
    let of = |b: &Baselines| b.roles().of(vm(3)).map(|(id, role)| (id, role.members.len()));
    assert_eq!(of(&loaded), of(&site.baselines));
}

#[test]
fn what_every_server_offers_makes_no_role() {
    let mut site = Site::farm(0, false);
    // Nine servers, each with its own job, an exporter and sshd.
    for hour in 0..30 {
        for n in 1..=9 {
            for port in [22, 9_100, 10_000 + u16::from(n)] {
                site.serve(n, port, hour == 0);
            }
        }
        site.pass_s(3_600);
    }
    assert!((1..=9).all(|n| site.role_of(n).is_none()), "{:?}", site.role_of(1));
}

#[test]
fn a_newcomer_that_showed_a_part_of_what_two_serve_sits_with_them_and_one_that_serves_more_does_not() {
    let mut site = Site::farm(0, false);
    let hour = |site: &mut Site, first: bool| {
        for n in 1..=2 {
            (80..=83).for_each(|port| site.serve(n, port, first));
            site.reach(n, 20, 5_432);
        }
    };
    for n in 0..30 {
        hour(&mut site, n == 0);
        site.pass_s(3_600);
    }
    for n in 0..3 {
        hour(&mut site, false);
        for (vm, ports) in [(6, [80, 81]), (7, [80, 4_444])] {
            ports.iter().for_each(|port| site.serve(vm, *port, n == 0));
            site.reach(vm, 20, 5_432);
        }
        site.pass_s(3_600);
    }
    assert!(site.role_of(1).is_some());
    assert_eq!(site.role_of(6), site.role_of(1));
    assert_eq!(site.role_of(7), None);
}
