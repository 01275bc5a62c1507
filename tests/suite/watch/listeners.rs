//! `watch --listen`: the tunnels of mirrors, capture streams and flow exports over loopback. Needs no privilege.

use std::io::Write;
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use eastwatch::model::Side;
use eastwatch::scenario::export::{Moment, OneWay, ipfix, netflow5, netflow9, sflow};
use eastwatch::scenario::{Format, Scenario, payload};
use serde_json::Value;

use super::lab::{read, until};
use crate::suite::harness::{Folder, command, eastwatch, learned_from};

struct Listening {
    child: Child,
    folder: Folder,
}

impl Listening {
    fn new(name: &str, args: &[&str]) -> Self {
        let folder = Folder::new(name);
        let log = std::fs::File::create(folder.file("errors")).unwrap();
        let (eve, record) = (folder.file("eve.json"), folder.file("recording.pcapng"));
        let child = command()
            .args(["watch", "--verbose", "--home", "10.0.0.0/8", "--state"])
            .arg(folder.file("state"))
            .args(args)
            .arg("--eve")
            .arg(eve)
            .arg("--record")
            .arg(record)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut own = Listening { child, folder };
        let up = until(20, || own.log().contains("eastwatch: watching") || own.child.try_wait().unwrap().is_some());
        assert!(up && own.child.try_wait().unwrap().is_none(), "it did not start: {}", own.log());
        own
    }

    fn log(&self) -> String {
        read(&self.folder.file("errors"))
    }

    fn rows(&self, query: &str) -> Vec<Value> {
        learned_from(&self.folder.file("state"), &[query]).as_array().cloned().unwrap_or_default()
    }

    fn services(&self) -> Vec<String> {
        services(&self.rows("services"))
    }

    /// Stops it, and reads what it recorded: the same events again.
    fn replays(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
        let (eve, state) = (self.folder.file("again.json"), self.folder.file("again"));
        let ran = eastwatch([
            "read",
            "--home",
            "10.0.0.0/8",
            "--quiet",
            "--state",
            &state.display().to_string(),
            "--eve",
            &eve.display().to_string(),
            &self.folder.file("recording.pcapng").display().to_string(),
        ]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        assert_eq!(services(learned_from(&state, &["services"]).as_array().unwrap()), self.services());
        let discoveries = |path| {
            let text = read(path);
            // What is not of the input: figures, and sources that went away.
            let input = |event: &Value| event["event_type"] != "stats" && event["eastwatch"]["detector"] != "blind";
            let all = super::lab::events(&text).into_iter().filter(input);
            all.map(|event| event.to_string()).collect::<Vec<_>>()
        };
        let (live, again) = (discoveries(&self.folder.file("eve.json")), discoveries(&eve));
        assert!(!live.is_empty());
        assert_eq!(live, again, "the recording tells another story");
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What stays the same whenever it was seen.
fn services(rows: &[Value]) -> Vec<String> {
    let fields = ["segment", "ip", "proto", "port", "app_proto", "product", "level"];
    rows.iter().map(|row| fields.map(|field| row[field].to_string()).join(" ")).collect()
}

/// Two VMs with a tag, one of them serving a page and names.
fn scenario() -> Scenario {
    let mut s = Scenario::new(3);
    let app = s.vm("app-01", "52:54:00:00:00:0c", "10.0.0.12").on_vlan(10);
    let web = s.vm("web-01", "52:54:00:00:00:0b", "10.0.0.11").on_vlan(10);
    s.arp(&app, &web).wait_ms(10);
    s.tcp(&app, &web, 80)
        .handshake()
        .send(Side::Orig, payload::http_get("web-01", "/"))
        .send(Side::Resp, payload::http_ok("nginx/1.24.0", &"hello ".repeat(300)))
        .close();
    s.dns(&app, &web, "web-01.dc.example", "10.0.0.11".parse().unwrap());
    s
}

/// The frames of a capture as [`Format::PCAP`] has them.
fn frames(scenario: &Scenario) -> Vec<Vec<u8>> {
    let capture = scenario.encode(Format::PCAP);
    let (mut rest, mut out) = (&capture[24..], Vec::new());
    while rest.len() >= 16 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        out.push(rest[16..16 + length].to_vec());
        rest = &rest[16 + length..];
    }
    out
}

fn expected(folder: &Folder) -> Vec<String> {
    let (capture, state) = (folder.file("plain.pcap"), folder.file("plain"));
    scenario().write_pcap(&capture).unwrap();
    let (capture, state_text) = (capture.display().to_string(), state.display().to_string());
    let ran = eastwatch(["read", "--quiet", "--home", "10.0.0.0/8", "--state", &state_text, &capture]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let expected = services(learned_from(&state, &["services"]).as_array().unwrap());
    assert_eq!(expected.len(), 2, "{expected:?}");
    expected
}

/// A port that nobody has, for the moment between this and its use.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn send(port: u16, datagrams: impl IntoIterator<Item = Vec<u8>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in datagrams {
        socket.send_to(&datagram, ("127.0.0.1", port)).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn every_mirror_tunnel_shows_what_the_plain_capture_shows() {
    let ports: [u16; 4] = std::array::from_fn(|_| free_port());
    // Each with an identifier of its mirror session, which is no part of the segment.
    let headers: [(&str, &[u8]); 4] = [
        ("vxlan", &[8, 0, 0, 0, 0, 0x13, 0x89, 0]),
        ("geneve", &[1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 1, 0, 0]),
        ("gre", &[0x20, 0, 0x65, 0x58, 0, 0, 0, 9]),
        ("tzsp", &[1, 0, 0, 1, 10, 1, 5, 1]),
    ];
    for ((kind, header), port) in headers.iter().zip(ports) {
        let probe = Listening::new(kind, &["--listen", &format!("{kind}:127.0.0.1:{port}")]);
        let expected = expected(&probe.folder);
        send(port, frames(&scenario()).into_iter().map(|frame| [*header, &frame].concat()));
        // What is no such tunnel is counted and no more.
        send(port, [b"nonsense".to_vec(), Vec::new()]);
        assert!(until(10, || probe.services() == expected), "{kind}: {:?}\n{expected:?}", probe.services());
        let vms = probe.rows("vms");
        assert!(vms.iter().all(|vm| vm["host_hint"] == "127.0.0.1" && vm["segment"] == "vlan:10"), "{kind}: {vms:?}");
        probe.replays();
    }
}

#[test]
fn a_capture_stream_shows_what_the_file_shows_and_garbage_is_hung_up_on() {
    let port = free_port();
    let probe = Listening::new("pcap-over-ip", &["--listen", &format!("pcap:{port}")]);
    let expected = expected(&probe.folder);
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    connect().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(until(5, || probe.log().contains("is not a capture: it begins with 47 45 54 20")), "{}", probe.log());
    // Two halves of a capture that does not end, cut inside a record.
    let capture = scenario().encode(Format::PCAPNG);
    let mut stream = connect();
    let (first, second) = capture.split_at(capture.len() / 2);
    stream.write_all(first).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    stream.write_all(second).unwrap();
    assert!(until(10, || probe.services() == expected), "{:?}\n{expected:?}", probe.services());
    drop(stream);
    let gone = |eve: &str| eve.matches("is gone").count();
    assert!(until(5, || gone(&read(&probe.folder.file("eve.json"))) == 1), "the end of a mirror is a blind probe");
    // At most eight at once.
    let crowd: Vec<TcpStream> = (0..9).map(|_| connect()).collect();
    assert!(until(5, || probe.log().contains("is turned away: 8 clients are connected already")), "{}", probe.log());
    drop(crowd);
    probe.replays();
}

#[test]
fn flow_records_show_vms_and_services_with_less_certainty() {
    let at = |unix_s| Moment { uptime_ms: 100_000, unix_s };
    let end = |host: u8, port: u16| (IpAddr::from([10, 0, 0, host]), port);
    let one_way = |src, dst, first_ms| OneWay {
        src,
        dst,
        protocol: 6,
        flags: 0x1b,
        packets: 6,
        bytes: 900,
        first_ms,
        last_ms: first_ms + 40,
    };
    let flows = [one_way(end(12, 49_152), end(11, 80), 90_000), one_way(end(11, 80), end(12, 49_152), 90_001)];
    let unix_s = 1_767_225_600;
    let exports = [
        ("netflow", vec![netflow5(at(unix_s), &flows)], "NetFlow record of 127.0.0.1"),
        // The directions apart, and the template after the first record of the first.
        (
            "netflow",
            vec![
                netflow9(at(unix_s), false, &flows[..1]),
                netflow9(at(unix_s), true, &flows[..1]),
                netflow9(at(unix_s), false, &flows[1..]),
            ],
            "NetFlow record of 127.0.0.1",
        ),
        ("ipfix", vec![ipfix(at(unix_s), true, &flows)], "IPFIX record of 127.0.0.1"),
    ];
    for (kind, datagrams, evidence) in exports {
        let port = free_port();
        let probe = Listening::new(kind, &["--listen", &format!("{kind}:127.0.0.1:{port}")]);
        send(port, datagrams);
        assert!(until(10, || !probe.services().is_empty()), "{kind}: {}", probe.log());
        let rows = probe.rows("services");
        assert_eq!(rows.len(), 1, "{rows:?}");
        let row = &rows[0];
        assert_eq!((row["ip"].as_str(), row["port"].as_u64()), (Some("10.0.0.11"), Some(80)));
        assert!(row["evidence"].as_str().unwrap().starts_with(evidence), "{row}");
        assert_eq!((row["level"].as_u64(), row["confidence"].as_f64()), (Some(2), Some(0.75)), "less than packets");
        assert_eq!((row["bytes_to_server"].as_u64(), row["bytes_to_client"].as_u64()), (Some(900), Some(900)));
        assert_eq!(probe.rows("vms").len(), 2);
        assert_eq!(probe.rows("peers").len(), 1);
        probe.replays();
    }
}

#[test]
fn doctor_names_the_template_that_records_wait_for() {
    let port = free_port();
    let probe = Listening::new("template", &["--listen", &format!("ipfix:127.0.0.1:{port}")]);
    let end = |host: u8, port: u16| (IpAddr::from([10, 0, 0, host]), port);
    let flow = OneWay {
        src: end(12, 49_152),
        dst: end(11, 80),
        protocol: 6,
        flags: 0x1b,
        packets: 6,
        bytes: 900,
        first_ms: 90_000,
        last_ms: 90_040,
    };
    let at = Moment { uptime_ms: 100_000, unix_s: 1_767_225_600 };
    let state = probe.folder.file("state").display().to_string();
    let waits = || {
        let doctor = eastwatch(["doctor", "--state", &state, "--format", "json"]);
        doctor.stdout.contains("flow records came before template 256 and were dropped (sets: 1)")
            && doctor.stdout.contains("exporter 127.0.0.1")
    };
    send(port, [ipfix(at, false, &[flow])]);
    assert!(until(6, waits), "{}", probe.log());
    send(port, [ipfix(at, true, &[])]);
    assert!(until(6, || !waits()), "{}", probe.log());
}

#[test]
fn sampled_headers_are_packets_without_a_claim_on_bytes() {
    let port = free_port();
    let probe = Listening::new("sflow", &["--listen", &format!("sflow:127.0.0.1:{port}")]);
    let frames = frames(&scenario());
    let headers: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    send(port, headers.chunks(4).map(|some| sflow(1_000, 128, some)));
    assert!(until(10, || probe.services().len() == 2), "{:?}", probe.services());
    let rows = probe.rows("services");
    assert!(rows.iter().all(|row| row["bytes_to_server"] == 0 && row["segment"] == "vlan:10"), "{rows:?}");
    probe.replays();
}

#[test]
fn a_listener_without_a_port_or_a_source_is_told() {
    let state = std::env::temp_dir().join("eastwatch-never-made").display().to_string();
    let nothing = eastwatch(["watch", "--state", &state]);
    assert!(nothing.status == 2 && nothing.stderr.contains("--listen KIND:PORT"), "{nothing:?}");
    let unknown = eastwatch(["watch", "--state", &state, "--listen", "vxlam:4789"]);
    assert!(unknown.status == 2 && unknown.stderr.contains("did you mean `vxlan`?"), "{unknown:?}");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = format!("vxlan:{}", taken.local_addr().unwrap());
    let ran = eastwatch(["watch", "--state", &state, "--listen", &listen]);
    assert!(ran.status == 1 && ran.stderr.contains("the port is taken"), "{ran:?}");
}
