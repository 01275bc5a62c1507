//! Quality of a mirror, as `stats` and findings tell it: what is put in on purpose (losses, copies, cut frames, order)
//! is measured of each source and each VM, and of no other.

use std::collections::BTreeMap;

use eastwatch::model::Side;
use eastwatch::scenario::{Format, Scenario, Tunnel, Twin, Vm};
use serde_json::Value;

use super::harness::{Folder, eastwatch};

/// What was told: the last `stats`, and the alerts.
struct Told {
    stats: Value,
    alerts: Vec<Value>,
}

impl Told {
    /// Of each source, by the interface that it is.
    fn sources(&self) -> BTreeMap<String, Value> {
        let rows = self.stats["eastwatch"]["sources"].as_array().unwrap();
        rows.iter().map(|row| (row["name"].as_str().unwrap().to_owned(), row.clone())).collect()
    }
}

fn read(folder: &Folder, scenario: &Scenario) -> Told {
    let (capture, eve, state) = (folder.file("in.pcapng"), folder.file("eve.json"), folder.file("state"));
    std::fs::write(&capture, scenario.encode(Format::PCAPNG)).unwrap();
    let _ = std::fs::remove_file(&eve);
    let path = |path: &std::path::Path| path.display().to_string();
    let ran = eastwatch(
        ["read", "--fresh", "--no-progress", "--state", &path(&state), "--eve", &path(&eve), &path(&capture)]
            .map(str::to_owned),
    );
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let text = std::fs::read_to_string(eve).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &'static str| events.iter().filter(move |event| event["event_type"] == kind);
    Told { stats: of("stats").next_back().unwrap().clone(), alerts: of("alert").cloned().collect() }
}

fn share(row: &Value, key: &str) -> f64 {
    row["capture_quality"][key].as_f64().unwrap_or_else(|| panic!("no {key} in {row}"))
}

fn pair(s: &mut Scenario, n: u8) -> [Vm; 2] {
    [1, 2].map(|k| s.vm(&format!("vm-{n}{k}"), &format!("52:54:00:00:{n:02x}:{k:02x}"), &format!("10.0.{n}.{k}")))
}

/// Twenty connections that carry a megabyte each, five seconds apart.
fn downloads(s: &mut Scenario, [client, server]: &[Vm; 2]) {
    for _ in 0..20 {
        s.wait_s(5).tcp(client, server, 80).handshake().send(Side::Resp, vec![b'x'; 1_000_000]).close();
    }
}

#[test]
fn one_percent_lost_is_measured_of_the_source_that_loses_and_of_no_other() {
    let folder = Folder::new("source-loss");
    let mut s = Scenario::new(3);
    let (lossy, sound) = (pair(&mut s, 1), pair(&mut s, 2));
    let start = s.now();
    s.via("lossy");
    downloads(&mut s, &lossy);
    s.lose(10).at(start).via("sound");
    downloads(&mut s, &sound);
    let sources = read(&folder, &s).sources();
    assert_eq!(sources.len(), 2, "{sources:?}");
    let loss = share(&sources["lossy"], "loss");
    assert!((loss - 0.01).abs() <= 0.002, "{loss}");
    assert_eq!(share(&sources["sound"], "loss"), 0.0);
    for row in sources.values() {
        assert_eq!((row["tcp_flows"].as_u64(), row["tcp_one_way"].as_u64()), (Some(20), Some(0)), "{row}");
        assert!(row["tcp_bytes"].as_u64() > Some(19_000_000), "{row}");
    }
}

#[test]
fn of_two_taps_with_a_direction_each_the_one_that_loses_is_told() {
    let folder = Folder::new("taps");
    let mut s = Scenario::new(4);
    let vms = pair(&mut s, 1);
    let mut whole = Scenario::new(4);
    downloads(&mut whole, &vms);
    let (mut random, mut kept) = (7u64, Vec::new());
    let server = vms[1].mac;
    whole.mirrored(|time, frame| {
        kept.push((time, frame.to_vec()));
        Vec::new()
    });
    for (time, frame) in kept {
        let by_server = eastwatch::scenario::sender(&frame) == Some(server);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if !by_server {
            s.via("up").frame(time, frame);
        } else if random >> 33 >= (1 << 31) / 100 {
            s.via("down").frame(time, frame);
        }
    }
    let sources = read(&folder, &s).sources();
    let loss = share(&sources["down"], "loss");
    assert!((loss - 0.01).abs() <= 0.002, "{loss}");
    assert_eq!(share(&sources["up"], "loss"), 0.0, "{}", sources["up"]);
    assert_eq!((share(&sources["up"], "one_way"), share(&sources["down"], "one_way")), (0.0, 0.0));
}

#[test]
fn connections_of_one_side_are_told_of_the_source_that_shows_them() {
    let folder = Folder::new("one-side");
    let mut s = Scenario::new(5);
    let (half, sound) = (pair(&mut s, 1), pair(&mut s, 2));
    let start = s.now();
    s.via("half");
    downloads(&mut s, &half);
    let server = half[1].mac;
    s.mirrored(|_, frame| {
        let shown = eastwatch::scenario::sender(frame) == Some(server);
        if shown { vec![frame.to_vec()] } else { Vec::new() }
    });
    s.at(start).via("sound");
    downloads(&mut s, &sound);
    let told = read(&folder, &s);
    let sources = told.sources();
    assert_eq!((share(&sources["half"], "one_way"), share(&sources["sound"], "one_way")), (1.0, 0.0));
    assert_eq!(
        (sources["half"]["tcp_one_way"].as_u64(), sources["sound"]["tcp_one_way"].as_u64()),
        (Some(20), Some(0))
    );
    // And of the VMs: those two, and no others.
    let rows = told.stats["eastwatch"]["half_seen"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["vm_name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("10.0.1.")), "{names:?}");
}

/// Each frame in an ERSPAN II session from a host, with a number that counts on; about one in a hundred numbers is lost
/// where `loses`, and of each seven that follow each other the order is turned round where `turns`.
fn session(s: &mut Scenario, host: u8, loses: bool, turns: bool) -> u64 {
    let [from, to] = [host, 9].map(|n| s.vm("host", &format!("02:00:00:00:01:{n:02x}"), &format!("192.0.2.{n}")));
    let (mut frames, mut random, mut number) = (Vec::new(), 11u64, u32::MAX - 500);
    s.mirrored(|time, frame| {
        let mut copy = Tunnel::ErspanTwo { session: 7, port: 4 }.wrap(&from, &to, frame).unwrap();
        number = number.wrapping_add(1);
        // Ethernet, IPv4 and the first half of GRE's header stand before it.
        copy[38..42].copy_from_slice(&number.to_be_bytes());
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if !loses || random >> 33 >= (1 << 31) / 100 {
            frames.push((time, copy));
        }
        Vec::new()
    });
    let mut copies: Vec<_> = frames.iter().map(|(_, copy)| copy.clone()).collect();
    if turns {
        // Before the first number there is none that could be late.
        copies[1..].chunks_mut(7).for_each(<[Vec<u8>]>::reverse);
    }
    for ((time, _), copy) in frames.iter().zip(copies) {
        s.frame(*time, copy);
    }
    frames.len() as u64
}

#[test]
fn copies_that_never_came_are_measured_by_their_numbers_and_late_ones_are_not_lost() {
    let folder = Folder::new("sequence");
    for (loses, turns) in [(true, false), (true, true), (false, true), (false, false)] {
        let mut s = Scenario::new(6);
        let vms = pair(&mut s, 1);
        s.via("span");
        downloads(&mut s, &vms);
        let copies = session(&mut s, 1, loses, turns);
        let sources = read(&folder, &s).sources();
        let row = &sources["span"];
        let gaps = row["sequence_gaps"].as_u64().unwrap();
        assert_eq!(row["sequenced"].as_u64(), Some(copies), "{row}");
        let loss = gaps as f64 / (gaps + copies) as f64;
        let expected = if loses { 0.01 } else { 0.0 };
        assert!((loss - expected).abs() <= 0.002, "{loses} {turns}: {loss}");
        assert!((share(row, "loss") - expected).abs() <= 0.002 || turns, "{loses} {turns}: {row}");
        let reordered = share(row, "reordered");
        assert!(if turns { reordered > 0.8 } else { reordered == 0.0 }, "{loses} {turns}: {reordered}");
    }
}

#[test]
fn what_a_mirror_cannot_read_was_not_lost() {
    let folder = Folder::new("sequence-unknown");
    let mut s = Scenario::new(7);
    let vms = pair(&mut s, 1);
    s.via("span");
    for n in 0..200u16 {
        s.wait_ms(100).tcp(&vms[0], &vms[1], 80).handshake().send(Side::Orig, "GET").close();
        if n % 10 == 0 {
            // A protocol of the maker's own.
            let time = s.now();
            s.frame(time, [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x99, 0xfe][..], &[7; 60]].concat());
        }
    }
    let copies = session(&mut s, 1, false, false);
    let sources = read(&folder, &s).sources();
    let row = &sources["span"];
    assert_eq!((row["sequenced"].as_u64(), row["sequence_gaps"].as_u64()), (Some(copies), Some(0)), "{row}");
}

#[test]
fn a_finding_says_how_its_own_vm_was_shown() {
    let folder = Folder::new("vm-quality");
    let mut s = Scenario::new(8);
    let all = [pair(&mut s, 1), pair(&mut s, 2), pair(&mut s, 3)];
    let [doubled, cut, sound] = &all;
    let start = s.now();
    // One pair is shown twice, one is cut, one is shown well; all by the same source.
    downloads(&mut s, doubled);
    s.twins(Twin::Same);
    let mut others = Scenario::new(9);
    others.at(start);
    downloads(&mut others, cut);
    let mut frames = Vec::new();
    others.mirrored(|time, frame| {
        frames.push((time, frame.to_vec()));
        Vec::new()
    });
    for (time, mut frame) in frames {
        let wire_len = frame.len();
        frame.truncate(200);
        s.cut_frame(time, frame, wire_len);
    }
    s.at(start);
    downloads(&mut s, sound);
    s.wait_s(60);
    for [client, server] in &all {
        s.wait_s(1)
            .tcp(client, server, 23)
            .handshake()
            .send(Side::Resp, [255, 253, 24, 255, 253, 32, 255, 253, 35, 255, 253, 39])
            .send(Side::Orig, [255, 251, 24, 255, 252, 32, 255, 252, 35, 255, 252, 39])
            .send(Side::Resp, b"\r\nlogin: ")
            .send(Side::Orig, b"root\r\n")
            .send(Side::Resp, b"Password: ")
            .close();
    }
    let told = read(&folder, &s);
    let of = |n: u8| {
        let ip = format!("10.0.{n}.2");
        let mut alerts = told.alerts.iter();
        let alert = alerts.find(|alert| alert["dest_ip"] == ip.as_str() && alert["dest_port"] == 23);
        let alert = alert.unwrap_or_else(|| panic!("no finding on {ip}: {:?}", told.alerts));
        ["duplicates", "truncated"].map(|key| share(&alert["eastwatch"], key))
    };
    let [duplicates, truncated] = of(1);
    assert!((duplicates - 0.5).abs() < 0.01 && truncated == 0.0, "{duplicates} {truncated}");
    let [duplicates, truncated] = of(2);
    assert!(duplicates == 0.0 && truncated > 0.5, "{duplicates} {truncated}");
    assert_eq!(of(3), [0.0, 0.0]);
}
