//! A mirror that shows everything twice changes nothing of what is known: each kind of twin over each scenario. And
//! what only looks like a twin (retransmissions, retries, RTP) is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eastwatch::model::{Mac, Side};
use eastwatch::scenario::{Format, Scenario, Tunnel, Twin, payload};

use super::harness::{Folder, eastwatch, learned_from};
use super::scenarios;

pub(super) const KINDS: [Twin; 7] = [
    Twin::Same,
    Twin::Routed,
    Twin::PriorityTagged,
    Twin::Erspan { session: 77, host: [192, 0, 2, 9] },
    Twin::ChecksumLeft,
    Twin::Segmented(536),
    Twin::Cut(96),
];

/// What a reading came to.
#[derive(Debug, PartialEq)]
pub(super) struct Known {
    pub vms: Vec<String>,
    pub services: Vec<String>,
    /// Flows by ends: how many, packets and bytes.
    pub flows: BTreeMap<String, (u64, u64, u64)>,
    pub removed: u64,
    /// Share of what the mirror lost, as the probe says it.
    loss: f64,
}

pub(super) fn read(folder: &Folder, scenario: &Scenario) -> Known {
    let (capture, eve, state) = (folder.file("in.pcapng"), folder.file("eve.json"), folder.file("state"));
    std::fs::write(&capture, scenario.encode(Format::PCAPNG)).unwrap();
    known(&[capture], &eve, &state)
}

fn read_as(folder: &Folder, config: &str, scenario: &Scenario) -> Known {
    let capture = folder.file("in.pcapng");
    std::fs::write(&capture, scenario.encode(Format::PCAPNG)).unwrap();
    std::fs::write(folder.file("config.toml"), config).unwrap();
    known(&[capture, "--config".into(), folder.file("config.toml")], &folder.file("eve.json"), &folder.file("state"))
}

fn known(captures: &[PathBuf], eve: &Path, state: &Path) -> Known {
    let _ = std::fs::remove_file(eve);
    let mut args: Vec<String> =
        ["read", "--fresh", "--flows", "--no-progress", "--home", "0.0.0.0/0,::/0"].map(str::to_owned).to_vec();
    args.extend(["--state".to_owned(), state.display().to_string(), "--eve".to_owned(), eve.display().to_string()]);
    args.extend(captures.iter().map(|capture| capture.display().to_string()));
    let ran = eastwatch(args);
    assert!(ran.status == 0 || ran.status == 1, "{}", ran.stderr);
    let (mut flows, mut removed, mut loss) = (BTreeMap::new(), 0, 0.0);
    for line in std::fs::read_to_string(eve).unwrap().lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let n = |pointer: &str| event.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(0);
        match event["event_type"].as_str() {
            Some("flow") => {
                let ends = format!(
                    "{} {}:{} {}:{} {}",
                    event["proto"],
                    event["src_ip"],
                    event["src_port"],
                    event["dest_ip"],
                    event["dest_port"],
                    event["app_proto"]
                );
                let sum: &mut (u64, u64, u64) = flows.entry(ends).or_default();
                sum.0 += 1;
                sum.1 += n("/flow/pkts_toserver") + n("/flow/pkts_toclient");
                sum.2 += n("/flow/bytes_toserver") + n("/flow/bytes_toclient");
            }
            Some("stats") => {
                removed = n("/stats/twin/removed");
                loss = event["eastwatch"]["capture_quality"]["loss"].as_f64().unwrap();
            }
            _ => {}
        }
    }
    let listed = |query: &str, keys: &[&str]| {
        let rows = learned_from(state, &[query]);
        let mut listed: Vec<String> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| keys.iter().map(|k| row[k].to_string()).collect::<Vec<_>>().join(" "))
            .collect();
        listed.sort();
        listed
    };
    let vms = listed("vms", &["macs", "ips", "segment", "name"]);
    let services = listed("services", &["ip", "proto", "port", "app_proto", "product", "clients"]);
    Known { vms, services, flows, removed, loss }
}

/// What the mirrors of two kinds of hosts carry, with what must not be taken for twins.
fn office() -> Scenario {
    let mut s = Scenario::new(11);
    let web = s.vm("web-01", "52:54:00:00:00:01", "10.0.0.11");
    let app = s.vm("app-01", "52:54:00:00:00:02", "10.0.0.12");
    let dns = s.vm("dns-01", "52:54:00:00:00:03", "10.0.0.2");
    let (web6, app6) = (web.by("fd00::11"), app.by("fd00::12"));
    s.arp(&app, &web);
    for (client, server) in [(&app, &web), (&app6, &web6)] {
        for n in 0..10 {
            s.wait_ms(200)
                .tcp(client, server, 80)
                .handshake()
                .send(Side::Orig, payload::http_get("web-01", "/"))
                .send(Side::Resp, payload::http_ok("nginx/1.24.0", &"x".repeat(n * 3_000)))
                .close();
        }
        // A tail loss probe 3 ms later, byte for byte, as IPv6 and unnumbered IPv4 send it.
        let mut talk = s.wait_s(1).tcp(client, server, 81);
        talk.handshake().send(Side::Orig, "ping\n").send(Side::Resp, "pong\n");
        s.again_ms(1, 3);
        s.wait_s(1);
    }
    // Thirty equal datagrams in 30 ms.
    let at = s.now();
    s.udp_from(&app, 40_054, &web, 9).send(Side::Orig, "once more");
    for _ in 1..30 {
        s.again_ms(0, 1);
    }
    s.at(at.plus_ms(200));
    // A resolver that asks again after 20 ms, and a phone that speaks.
    let at = s.now();
    s.udp_from(&app, 40_053, &dns, 53)
        .send(Side::Orig, b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02db\x00\x00\x01\x00\x01");
    s.again_ms(0, 20);
    s.at(at.plus_ms(100));
    let mut talk = s.udp_from(&app, 40_000, &web, 40_002);
    for n in 0..200u16 {
        let rtp =
            [&[0x80, 0][..], &n.to_be_bytes(), &(u32::from(n) * 160).to_be_bytes(), &[7; 4], &[0xff; 160]].concat();
        talk.send(Side::Orig, rtp).wait_ms(20);
    }
    s
}

fn same(what: &str, once: &Known, twice: &Known) {
    assert_eq!(once.vms, twice.vms, "{what}: VMs");
    assert_eq!(once.services, twice.services, "{what}: services");
    let differ: Vec<_> = once
        .flows
        .iter()
        .filter(|(ends, sums)| twice.flows.get(*ends) != Some(sums))
        .map(|(ends, sums)| (ends, sums, twice.flows.get(ends)))
        .chain(twice.flows.iter().filter(|(ends, _)| !once.flows.contains_key(*ends)).map(|(e, s)| (e, s, None)))
        .collect();
    assert!(differ.is_empty(), "{what}: {} of {} flows: {differ:#?}", differ.len(), once.flows.len());
    assert!(twice.removed > 0, "{what}: nothing was removed");
}

#[test]
fn an_office_mirrored_twice_is_one_office() {
    let folder = Folder::new("twins");
    let once = read(&folder, &office());
    assert!(once.removed == 0 && once.flows.len() > 20, "{once:?}");
    for kind in KINDS {
        let mut s = office();
        s.twins(kind);
        let twice = read(&folder, &s);
        same(&format!("{kind:?}"), &once, &twice);
    }
}

#[test]
fn the_copy_that_shows_more_is_the_one_that_counts() {
    let folder = Folder::new("twins-better");
    let once = read(&folder, &office());
    for kind in [Twin::Routed, Twin::Cut(96)] {
        let mut s = office();
        s.twins_before(kind);
        same(&format!("{kind:?} first"), &once, &read(&folder, &s));
    }
}

#[test]
fn what_a_capture_cut_before_the_inner_header_is_known_by_the_outer_one() {
    let folder = Folder::new("twins-stubs");
    let tunnelled = || {
        let mut s = office();
        let (a, b) = (s.vm("h1", "02:00:00:00:09:01", "192.0.2.1"), s.vm("h2", "02:00:00:00:09:02", "192.0.2.2"));
        s.mirrored(|_, frame| Tunnel::Vxlan { vni: 7, port: 4_789 }.wrap(&a, &b, frame).into_iter().collect());
        s
    };
    let once = read(&folder, &tunnelled());
    assert!(once.services.iter().all(|row| !row.contains("192.0.2.")), "{:?}", once.services);
    let (mut then, mut before) = (tunnelled(), tunnelled());
    same("cut", &once, &read(&folder, then.twins(Twin::Cut(96))));
    same("cut first", &once, &read(&folder, before.twins_before(Twin::Cut(96))));
}

#[test]
fn segments_and_then_the_frame_they_became_are_counted_once() {
    let folder = Folder::new("twins-merged");
    let once = read(&folder, &office());
    let mut s = office();
    s.twins_before(Twin::Segmented(536));
    let twice = read(&folder, &s);
    assert_eq!((&once.vms, &once.services), (&twice.vms, &twice.services));
    for (ends, (flows, _, bytes)) in &once.flows {
        let (flows_then, _, bytes_then) = twice.flows[ends];
        // 52 bytes of headers more for each 536.
        assert_eq!(*flows, flows_then, "{ends}");
        assert!((*bytes..=bytes + bytes / 10).contains(&bytes_then), "{ends}: {bytes} and {bytes_then}");
    }
}

#[test]
fn a_mirror_that_loses_one_percent_says_so() {
    let folder = Folder::new("loss");
    for (per_mille, expected) in [(10, 0.01), (0, 0.0)] {
        let mut s = Scenario::new(3);
        let client = s.vm("app-01", "52:54:00:00:00:02", "10.0.0.12");
        let server = s.vm("web-01", "52:54:00:00:00:01", "10.0.0.11");
        for _ in 0..20 {
            s.wait_s(10).tcp(&client, &server, 80).handshake().send(Side::Resp, vec![b'x'; 1_000_000]).close();
        }
        s.lose(per_mille);
        let known = read(&folder, &s);
        assert!((known.loss - expected).abs() <= 0.002, "{per_mille} ‰: {}", known.loss);
    }
}

#[test]
fn a_mirror_that_doubles_everything_is_found_out() {
    let folder = Folder::new("twins-doubled");
    let once = read(&folder, &office());
    let mut s = office();
    s.doubled();
    let twice = read(&folder, &s);
    assert_eq!((&once.vms, &once.services), (&twice.vms, &twice.services));
    // What came before the mirror was found out stays.
    let packets = |known: &Known| known.flows.values().map(|(_, packets, _)| packets).sum::<u64>();
    assert!(twice.removed > packets(&once) / 2, "{} of {}", twice.removed, packets(&once));
}

#[test]
fn every_scenario_mirrored_twice_is_known_as_once() {
    let folder = Folder::new("twin-cases");
    // What comes by two interfaces has twins already.
    let single = |write: &scenarios::Write| write().iter().all(|(_, scenario)| scenario.interface_count() == 1);
    let all = scenarios::ALL.iter().filter(|(_, write)| single(write));
    for ((name, write), kind) in all.zip(KINDS.into_iter().cycle()) {
        let reading = |change: &dyn Fn(&mut Scenario)| {
            let mut captures = Vec::new();
            for (part, mut scenario) in write() {
                change(&mut scenario);
                captures.push(folder.file(part));
                std::fs::write(folder.file(part), scenario.encode(Format::PCAPNG)).unwrap();
            }
            known(&captures, &folder.file("eve.json"), &folder.file("state"))
        };
        let once = reading(&|_| {});
        // Copies that two sessions made already would be one point's in a session around both.
        let kind = if once.removed > 0 && matches!(kind, Twin::Erspan { .. }) { Twin::Same } else { kind };
        let twice = reading(&|scenario| {
            scenario.twins(kind);
        });
        same(&format!("{name} {kind:?}"), &once, &twice);
    }
}

#[test]
fn a_tag_on_one_copy_only_is_one_segment_where_the_configuration_says_so() {
    let folder = Folder::new("twins-tagged");
    let config = "[[mirror]]\nsame_vlan = [[0, 10]]\n";
    let once = read_as(&folder, config, &office());
    let mut s = office();
    s.twins(Twin::Tagged(10));
    same("tagged", &once, &read_as(&folder, config, &s));
    // Without that word two VLANs are two segments, whatever they carry.
    let apart = read_as(&folder, "", &s);
    assert_eq!((apart.removed, apart.services.len()), (0, once.services.len() * 2));
    assert!(once.flows.iter().all(|(ends, (flows, ..))| apart.flows[ends].0 == flows * 2));
}

/// Eighty connections between two VMs whose frames show in VLAN 10 and in VLAN 20.
fn across(hops: u8) -> (Scenario, Scenario) {
    let (plain, mut routed) = (eighty(), eighty());
    routed.routed_between((mac(2), 10), (mac(1), 20), hops);
    (plain, routed)
}

fn mac(last: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, last])
}

fn eighty() -> Scenario {
    let mut s = Scenario::new(7);
    let client = s.vm("app-01", "52:54:00:00:00:02", "10.1.0.12");
    let server = s.vm("web-01", "52:54:00:00:00:01", "10.2.0.11");
    for n in 0..80 {
        s.wait_ms(500)
            .tcp(&client, &server, 80)
            .handshake()
            .send(Side::Orig, payload::http_get("web-01", "/"))
            .send(Side::Resp, payload::http_ok("nginx/1.24.0", &"x".repeat(n * 100)))
            .close();
    }
    s
}

/// What the last forty connections came to, which the router was known before.
fn last_forty(known: &Known) -> Vec<(u64, u64, u64)> {
    known.flows.values().rev().take(40).copied().collect()
}

#[test]
fn behind_two_routers_and_more_it_is_one_flow_still() {
    let folder = Folder::new("twins-hops");
    for hops in [2, 5] {
        let (plain, routed) = across(hops);
        assert_eq!(last_forty(&read(&folder, &plain)), last_forty(&read(&folder, &routed)), "{hops}");
    }
    // Farther than routers of a site lie apart.
    let (plain, far) = across(9);
    let (once, twice) = (read(&folder, &plain), read(&folder, &far));
    assert!(once.flows.iter().all(|(ends, (flows, ..))| twice.flows[ends].0 == flows * 2));
}

#[test]
fn a_large_frame_and_its_segments_behind_a_router_are_counted_once() {
    let folder = Folder::new("twins-pieces");
    let upload = || {
        let mut s = eighty();
        let client = s.vm("app-01", "52:54:00:00:00:02", "10.1.0.12");
        let server = s.vm("web-01", "52:54:00:00:00:01", "10.2.0.11");
        for n in 1..20 {
            let mut talk = s.wait_ms(500).tcp(&client, &server, 81);
            talk.handshake().whole(Side::Orig, vec![b'u'; n * 3_000]).send(Side::Resp, "taken\n").close();
        }
        // One that its sender sends again after 3 ms.
        s.wait_ms(500).tcp(&client, &server, 82).handshake().whole(Side::Orig, vec![b'u'; 9_000]);
        s.again_ms(1, 3);
        s
    };
    let once = read(&folder, &upload());
    for before in [false, true] {
        let mut s = upload();
        s.routed_in_pieces((mac(2), 10), (mac(1), 20), 1_448, before);
        let twice = read(&folder, &s);
        for (ends, (flows, packets, bytes)) in &once.flows {
            let (flows_then, packets_then, bytes_then) = twice.flows[ends];
            if ends.contains(":80 ") {
                continue;
            }
            assert_eq!(*flows, flows_then, "{before} {ends}");
            // 40 bytes of headers more for each 1,448.
            let most = if before { *bytes } else { bytes + 52 * packets_then };
            assert!((*bytes..=most).contains(&bytes_then), "{before} {ends}: {packets} {bytes}, {bytes_then}");
        }
    }
}

#[test]
fn both_sides_of_a_router_are_one_flow_once_the_router_is_known() {
    let folder = Folder::new("twins-routed");
    let (plain, routed) = across(1);
    let (once, twice) = (read(&folder, &plain), read(&folder, &routed));
    // The first connections show the router, and are two flows each; the last are one, whole, on the server's side.
    let ends: Vec<&String> = once.flows.keys().collect();
    assert_eq!(ends.len(), 80);
    let equal = ends.iter().filter(|ends| once.flows[**ends] == twice.flows[**ends]).count();
    assert!(equal > 30, "{equal}: {:#?}", twice.flows);
    let more = ends.iter().filter(|ends| twice.flows[**ends].0 > 2).count();
    assert_eq!(more, 0);
    // By any other port they meet, too: another mirror of the same.
    let mut both = routed.clone();
    both.twins(Twin::Same);
    let again = read(&folder, &both);
    let differ = ends.iter().filter(|ends| once.flows[**ends] != again.flows[**ends]).count();
    assert!(differ < 50, "{differ}: {:#?}", again.flows);
}

#[test]
fn equal_packets_of_two_tenants_are_two() {
    let folder = Folder::new("twins-tenants");
    let (plain, tenants) = across(0);
    let mut tenants = tenants;
    let (once, two) = (read(&folder, &plain), read(&folder, &tenants));
    let doubled = |known: &Known| {
        once.flows.iter().all(|(ends, (n, packets, bytes))| known.flows[ends] == (n * 2, packets * 2, bytes * 2))
    };
    assert!(doubled(&two) && two.removed == 0, "{} {:#?}", two.removed, two.flows);
    // Their twins are still their own.
    tenants.twins(Twin::Same);
    let mirrored = read(&folder, &tenants);
    assert!(doubled(&mirrored) && mirrored.removed > 0, "{:#?}", mirrored.flows);
}
