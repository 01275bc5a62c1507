//! Each encapsulation, from a capture to what a user sees: one service in its segment, both directions joined, with
//! the options that occur.

use std::path::Path;

use eastwatch::model::Side;
use eastwatch::scenario::{Scenario, Tunnel, Vm, payload, sender};
use serde_json::Value;

use super::harness::{Folder, eastwatch, learned_from};

/// A page fetched over IPv4 and one over IPv6, and the hosts that the VMs run on.
struct Site {
    scenario: Scenario,
    /// Client's, server's, the mirror's receiver; over IPv4 and over IPv6.
    hosts: [Vm; 3],
    hosts6: [Vm; 3],
    client: Vm,
}

fn site() -> Site {
    let mut s = Scenario::new(11);
    let client = s.vm("app-01", "52:54:00:00:00:0c", "10.0.0.12");
    let server = s.vm("web-01", "52:54:00:00:00:0b", "10.0.0.11");
    let hosts = [1, 2, 9].map(|n| s.vm("host", &format!("02:00:00:00:00:0{n}"), &format!("192.0.2.{n}")));
    let hosts6 =
        hosts.clone().map(|host| host.by(&format!("2001:db8::{}", host.ip.to_string().rsplit('.').next().unwrap())));
    s.arp(&client, &server);
    for (client, server) in [(client.clone(), server.clone()), (client.by("fd00::12"), server.by("fd00::11"))] {
        s.tcp(&client, &server, 80)
            .handshake()
            .send(Side::Orig, payload::http_get("web-01", "/"))
            .send(Side::Resp, payload::http_ok("nginx/1.24.0", &"hello ".repeat(200)))
            .close();
        s.wait_s(1);
    }
    Site { scenario: s, hosts, hosts6, client }
}

impl Site {
    /// The hosts carry the VMs' frames to each other.
    fn overlay(mut self, tunnels: &[Tunnel], over6: bool) -> Scenario {
        let [a, b, _] = if over6 { self.hosts6 } else { self.hosts };
        self.scenario.mirrored(|_, frame| {
            let from_client = sender(frame) == Some(self.client.mac);
            let (from, to) = if from_client { (&a, &b) } else { (&b, &a) };
            tunnels.iter().try_fold(frame.to_vec(), |frame, tunnel| tunnel.wrap(from, to, &frame)).into_iter().collect()
        });
        self.scenario
    }
}

/// Ip, segment and application of each service that a probe knows after this capture.
fn services(scenario: &Scenario, config: Option<&str>) -> Vec<[String; 3]> {
    let work = Folder::new("encapsulation");
    scenario.write_pcap(work.file("in.pcap")).unwrap();
    let state = work.file("state");
    let mut args = vec!["read".to_owned(), "-q".to_owned(), "--state".to_owned(), written(&state)];
    if let Some(text) = config {
        std::fs::write(work.file("eastwatch.toml"), text).unwrap();
        args.extend(["--config".to_owned(), written(&work.file("eastwatch.toml"))]);
    }
    args.push(written(&work.file("in.pcap")));
    let ran = eastwatch(args);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let rows = learned_from(&state, &["services"]);
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let mut list: Vec<[String; 3]> =
        rows.as_array().unwrap().iter().map(|row| ["ip", "segment", "app_proto"].map(|key| text(row, key))).collect();
    list.sort();
    list
}

fn written(path: &Path) -> String {
    path.display().to_string()
}

fn web(ip: &str, segment: &str) -> [String; 3] {
    [ip.to_owned(), segment.to_owned(), "http".to_owned()]
}

const FOUR: &str = "10.0.0.11";
const SIX: &str = "fd00::11";

#[test]
fn every_encapsulation_shows_the_vms_inside() {
    let gre = |key, checksum, sequence| Tunnel::Gre { key, checksum, sequence };
    let vxlan = |vni| Tunnel::Vxlan { vni, port: 4789 };
    let erspan3 = |port, egress| Tunnel::ErspanThree { session: 3, port, egress };
    let mut wrong = Vec::new();
    let cases = [
        (vec![Tunnel::Tags(vec![10])], "vlan:10"),
        (vec![Tunnel::Tags(vec![100, 200])], "vlan:100.200"),
        (vec![Tunnel::Tags(vec![1, 2, 3, 4])], "vlan:1.2.3.4"),
        (vec![Tunnel::Mpls(vec![16, 17, 18])], "-"),
        (vec![Tunnel::MplsEthernet(vec![16])], "-"),
        (vec![Tunnel::Pppoe(9)], "pppoe:9"),
        (vec![Tunnel::VnTag], "-"),
        (vec![Tunnel::Nsh], "-"),
        (vec![Tunnel::Snap], "-"),
        (vec![vxlan(5001)], "vxlan:5001"),
        (vec![Tunnel::Vxlan { vni: 7, port: 8472 }], "vxlan:7"),
        (vec![Tunnel::Vxlan { vni: 7, port: 41_000 }], "vxlan:7"),
        (vec![Tunnel::VxlanGpe(9)], "vxlan:9"),
        (vec![Tunnel::Geneve { vni: 7, option_words: 0 }], "geneve:7"),
        (vec![Tunnel::Geneve { vni: 7, option_words: 8 }], "geneve:7"),
        (vec![Tunnel::Geneve { vni: 7, option_words: 63 }], "geneve:7"),
        (vec![gre(None, false, false)], "-"),
        (vec![gre(Some(31), false, false)], "gre:0x1f"),
        (vec![gre(Some(31), true, true)], "gre:0x1f"),
        (vec![gre(None, true, false)], "-"),
        (vec![Tunnel::Nvgre { vsid: 5001, flow: 4 }], "gre:0x138904"),
        (vec![Tunnel::ErspanOne], "-"),
        (vec![Tunnel::ErspanTwo { session: 77, port: 12 }], "-"),
        (vec![erspan3(None, false)], "-"),
        (vec![erspan3(Some(12), true)], "-"),
        (vec![Tunnel::Tzsp], "-"),
        (vec![Tunnel::Gtp { teid: 9, extensions: 0 }], "-"),
        (vec![Tunnel::Gtp { teid: 9, extensions: 3 }], "-"),
        (vec![Tunnel::Ip], "-"),
        // A cloud gateway: GENEVE around what the customer's own VXLAN carries.
        (vec![vxlan(5), Tunnel::Geneve { vni: 1, option_words: 8 }], "geneve:1/vxlan:5"),
        // A switch mirrors the underlay by ERSPAN: the session is path, the tenant is not.
        (vec![Tunnel::Tags(vec![10]), vxlan(5001), Tunnel::ErspanTwo { session: 1, port: 0 }], "vxlan:5001/vlan:10"),
        (vec![vxlan(5001), Tunnel::Tags(vec![50]), Tunnel::Tzsp], "vlan:50/vxlan:5001"),
        (vec![Tunnel::Nsh, Tunnel::VnTag, Tunnel::MplsEthernet(vec![16])], "-"),
    ];
    for (n, (tunnels, segment)) in cases.into_iter().enumerate() {
        // Every other one between hosts that speak IPv6.
        let over6 = n % 2 == 1;
        let found = services(&site().overlay(&tunnels, over6), None);
        if found != [web(FOUR, segment), web(SIX, segment)] {
            wrong.push(format!("{tunnels:?}, IPv6 outside: {over6}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn teredo_shows_the_ipv6_inside() {
    assert_eq!(services(&site().overlay(&[Tunnel::Teredo], false), None), [web(SIX, "-")]);
}

#[test]
fn nvgre_flow_ids_tear_no_flow_apart_where_the_operator_names_them() {
    let site = site();
    let ([a, b, _], client) = (site.hosts, site.client);
    let mut scenario = site.scenario;
    scenario.mirrored(|_, frame| {
        let from_client = sender(frame) == Some(client.mac);
        let (from, to, flow) = if from_client { (&a, &b, 0x11) } else { (&b, &a, 0xee) };
        Tunnel::Nvgre { vsid: 5001, flow }.wrap(from, to, frame).into_iter().collect()
    });
    let told = services(&scenario, Some("[[mirror]]\ngre_key = \"vsid\"\n"));
    assert_eq!(told, [web(FOUR, "gre:0x138900"), web(SIX, "gre:0x138900")]);
}

#[test]
fn frames_beyond_any_mtu_are_read() {
    // Segmentation offload: up to 64 KiB in one frame, with the length in IP's header or with none (BIG TCP).
    for (bytes, no_length) in [(8_900, false), (60_000, false), (60_000, true)] {
        let mut s = Scenario::new(1);
        let client = s.vm("app-01", "52:54:00:00:00:0c", "10.0.0.12");
        let server = s.vm("web-01", "52:54:00:00:00:0b", "10.0.0.11");
        s.tcp(&client, &server, 80)
            .handshake()
            .send(Side::Orig, payload::http_get("web-01", "/"))
            .whole(Side::Resp, payload::http_ok("nginx/1.24.0", &"x".repeat(bytes)))
            .close();
        s.mirrored(|_, frame| {
            let mut frame = frame.to_vec();
            if no_length && frame.len() > 2_000 {
                frame[16..18].fill(0);
            }
            vec![frame]
        });
        assert_eq!(services(&s, None), [web(FOUR, "-")], "{bytes} bytes, no length: {no_length}");
    }
}

#[test]
fn a_mirrors_own_tunnel_is_told_and_an_overlay_is_not() {
    let many = |one_way: bool| {
        let Site { mut scenario, hosts: [a, b, probe], client, .. } = site();
        let server = scenario.vm("web-01", "52:54:00:00:00:0b", "10.0.0.11");
        for _ in 0..140 {
            scenario.wait_s(1);
            scenario.tcp(&client, &server, 80).handshake().send(Side::Orig, payload::http_get("web-01", "/")).close();
        }
        scenario.mirrored(|_, frame| {
            let (from, to) = if sender(frame) == Some(client.mac) { (&a, &b) } else { (&b, &a) };
            let to = if one_way { &probe } else { to };
            Tunnel::Vxlan { vni: 5001, port: 4789 }.wrap(from, to, frame).into_iter().collect()
        });
        scenario
    };
    let summary = |scenario: &Scenario, config: &str| {
        let work = Folder::new("one-way");
        scenario.write_pcap(work.file("in.pcap")).unwrap();
        std::fs::write(work.file("eastwatch.toml"), config).unwrap();
        let [config, state, file] = ["eastwatch.toml", "state", "in.pcap"].map(|name| written(&work.file(name)));
        let ran = eastwatch(["read", "--config", &config, "--state", &state, &file]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        ran.stdout.lines().find(|line| line.starts_with("one way")).map(str::to_owned)
    };
    let told = summary(&many(true), "").expect("it is told");
    assert!(told.contains("vxlan frames from 192.0.2.1 and others into 192.0.2.9, none back"), "{told}");
    assert!(told.contains("[[mirror]] with outer_dst = \"192.0.2.9\" and vni = \"path\""), "{told}");
    assert_eq!(summary(&many(true), "[[mirror]]\nouter_dst = \"192.0.2.9\"\nvni = \"path\"\n"), None);
    assert_eq!(summary(&many(false), ""), None);
}
