//! Scenarios of what the mirror itself does to the office's traffic: two ends, sessions, tags, tenants.

use eastwatch::model::Timestamp;
use eastwatch::scenario::{Scenario, Tunnel, Vm, sender};

use super::scenarios::{Office, Parts, learned_with};

/// The hosts that VMs run on, and the mirror's receiver.
struct Hosts {
    all: [Vm; 2],
    probe: Vm,
}

fn hosts(s: &mut Scenario) -> Hosts {
    let mut host = |n: u8| s.vm("host", &format!("02:00:00:00:01:{n:02x}"), &format!("192.0.2.{n}"));
    Hosts { all: [host(1), host(2)], probe: host(9) }
}

fn office() -> Parts {
    learned_with(|_, _, _| {}, |_, _| {})
}

/// Changes what the mirror makes of each frame of all parts; `copies` knows the hosts and whether web-01 sent it.
fn mirrored(mut parts: Parts, copies: impl Fn(&Hosts, Timestamp, bool, &[u8]) -> Vec<Option<Vec<u8>>>) -> Parts {
    for (_, scenario) in &mut parts {
        let hosts = hosts(scenario);
        let web = Office::new(scenario).web.mac;
        scenario.mirrored(|time, frame| {
            copies(&hosts, time, sender(frame) == Some(web), frame).into_iter().flatten().collect()
        });
    }
    parts
}

/// As a cloud mirrors: each VM's interface has a session, with a random VNI of its own.
pub fn both_ends() -> Parts {
    mirrored(office(), |hosts, _, _, frame| {
        let [a, b] = &hosts.all;
        let copy = |from, vni| Tunnel::Vxlan { vni, port: 4789 }.wrap(from, &hosts.probe, frame);
        vec![copy(a, 7_340_112), copy(b, 11_906_335)]
    })
}

/// Learned by one ERSPAN session; in the hour after it is another, from another host.
pub fn other_session() -> Parts {
    let start = Scenario::new(1).now();
    mirrored(office(), move |hosts, time, _, frame| {
        let [a, b] = &hosts.all;
        let (from, session) = if time < start.plus_s(30 * 3_600) { (a, 1) } else { (b, 77) };
        vec![Tunnel::ErspanTwo { session, port: 4 }.wrap(from, &hosts.probe, frame)]
    })
}

/// The copy of what web-01 sends has its port group's tag, of what it receives it has none.
pub fn tagged_one_way() -> Parts {
    mirrored(office(), |hosts, _, from_web, frame| {
        let [host, _] = &hosts.all;
        vec![if from_web { Tunnel::Tags(vec![10]).wrap(host, host, frame) } else { Some(frame.to_vec()) }]
    })
}

/// Two tenants with the same addresses and MACs, to the last sequence number.
pub fn two_tenants() -> Parts {
    mirrored(office(), |hosts, _, from_web, frame| {
        let [a, b] = &hosts.all;
        let (from, to) = if from_web { (a, b) } else { (b, a) };
        [5_001, 5_002].map(|vni| Tunnel::Vxlan { vni, port: 4789 }.wrap(from, to, frame)).into()
    })
}

/// Both hosts mirror what their VMs send and receive; from the hour after on web-01 is on the first one, too.
pub fn moved_to_another_host() -> Parts {
    let moved = Scenario::new(1).now().plus_s(30 * 3_600);
    two_hosts(move |time| usize::from(time < moved))
}

/// The same without the move: all that web-01 and the others say to each other is mirrored twice.
pub fn stays_on_its_host() -> Parts {
    two_hosts(|_| 1)
}

/// The others are on the first host. The copy of the sender's host comes first.
fn two_hosts(web_is_on: impl Fn(Timestamp) -> usize) -> Parts {
    let web = Office::new(&mut Scenario::new(1)).web.mac;
    mirrored(office(), |hosts, time, from_web, frame| {
        let group = frame.first().is_some_and(|octet| octet & 1 == 1);
        let to_web = frame.starts_with(&web.0);
        let there = web_is_on(time);
        let mut seen_by = match (from_web, to_web || group) {
            (true, _) => vec![there, 0],
            (false, true) => vec![0, there],
            (false, false) => vec![0],
        };
        seen_by.dedup();
        let copy =
            |host: usize| Tunnel::ErspanTwo { session: 1, port: 4 }.wrap(hosts.all.get(host)?, &hosts.probe, frame);
        seen_by.into_iter().map(copy).collect()
    })
}

/// Two interfaces, each the mirror of a host, and no tunnel: web-01 and dns-01 are on the second host, the others on the
/// first; from the hour after on web-01 is there, too.
pub fn moved_to_another_interface() -> Parts {
    let moved = Scenario::new(1).now().plus_s(30 * 3_600);
    two_interfaces(move |time| if time < moved { ETH2 } else { ETH1 })
}

/// The same without the move.
pub fn stays_at_its_interface() -> Parts {
    two_interfaces(|_| ETH2)
}

const ETH1: &str = "eth1";
const ETH2: &str = "eth2";

/// The copy of the sender's host comes first. What goes to all is shown by both.
fn two_interfaces(web_is_at: impl Fn(Timestamp) -> &'static str) -> Parts {
    let office = Office::new(&mut Scenario::new(1));
    let mut parts = super::scenarios::learned_with(|_, _, _| {}, |_, _| {});
    for (_, scenario) in &mut parts {
        scenario.mirrored_by(|time, frame| {
            let at = |mac: &[u8]| match mac {
                mac if mac == office.web.mac.0 => web_is_at(time),
                mac if mac == office.dns.mac.0 => ETH2,
                _ => ETH1,
            };
            let (to, from) = (&frame[..6], at(&frame[6..12]));
            let group = to.first().is_some_and(|octet| octet & 1 == 1);
            let other = if from == ETH1 { ETH2 } else { ETH1 };
            let mut seen_by = vec![from, if group { other } else { at(to) }];
            seen_by.dedup();
            seen_by.into_iter().map(|interface| (interface, frame.to_vec())).collect()
        });
    }
    parts
}

/// A switch that mirrors the ports its hosts are connected to. Behind the first are web-01 and a backup VM, dns-01 is
/// behind the second, the others behind the third; from the hour after on web-01 is behind the second, too. What VMs
/// of one host say to each other passes no port.
pub fn moved_to_another_port() -> Parts {
    let moved = Scenario::new(1).now().plus_s(30 * 3_600);
    behind_ports(move |time| usize::from(time >= moved), |port| Tunnel::ErspanTwo { session: 1, port })
}

/// The same without the move: what passes two ports is mirrored twice.
pub fn stays_behind_its_port() -> Parts {
    behind_ports(|_| 0, |port| Tunnel::ErspanTwo { session: 1, port })
}

/// Each port is mirrored in a session of its own.
pub fn moved_to_another_session() -> Parts {
    let moved = Scenario::new(1).now().plus_s(30 * 3_600);
    let session = |port: u32| Tunnel::ErspanTwo { session: port as u16, port };
    behind_ports(move |time| usize::from(time >= moved), session)
}

pub fn stays_in_its_session() -> Parts {
    behind_ports(|_| 0, |port| Tunnel::ErspanTwo { session: port as u16, port })
}

const PORTS: [u32; 3] = [9, 4, 7];

fn behind_ports(web_is_behind: impl Fn(Timestamp) -> usize, tunnel: impl Fn(u32) -> Tunnel) -> Parts {
    fn backup(s: &mut Scenario) -> Vm {
        s.vm("bkp-01", "52:54:00:00:00:14", "10.0.0.20")
    }
    let hour = |s: &mut Scenario, office: &Office| {
        let backup = backup(s);
        s.arp(&backup, &office.dns).wait_s(1).dns(&backup, &office.dns, "app-01.dc.example", [10, 0, 0, 12].into());
        for _ in 0..5 {
            s.wait_s(2).dns(&backup, &office.dns, "web-01.dc.example", [10, 0, 0, 11].into());
        }
    };
    let mut parts = learned_with(
        |s, office, at| {
            s.at(at.plus_s(2_400));
            hour(s, office);
        },
        hour,
    );
    let (office, backup) = (Office::new(&mut Scenario::new(1)), backup(&mut Scenario::new(1)));
    for (_, scenario) in &mut parts {
        let hosts = hosts(scenario);
        scenario.mirrored(|time, frame| {
            let behind = |mac: &[u8]| match mac {
                mac if mac == office.web.mac.0 => web_is_behind(time),
                mac if mac == backup.mac.0 => 0,
                mac if mac == office.dns.mac.0 => 1,
                _ => 2,
            };
            let from = behind(&frame[6..12]);
            let group = frame.first().is_some_and(|octet| octet & 1 == 1);
            let mut ports = vec![from];
            ports.extend((0..PORTS.len()).filter(|port| *port != from && (group || *port == behind(&frame[..6]))));
            // Of two ports or none: what goes to all leaves the sender's host.
            if ports.len() == 1 {
                return Vec::new();
            }
            let copy = |port: &usize| tunnel(PORTS[*port]).wrap(&hosts.all[0], &hosts.probe, frame);
            ports.iter().filter_map(copy).collect()
        });
    }
    parts
}
