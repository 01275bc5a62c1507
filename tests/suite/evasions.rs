//! The rest of other people's captures of evasions, by what their tests ask for; and evasions of our own, from the frames
//! to what the command says of the service.

use std::net::Ipv4Addr;

use eastwatch::decode::HostOs;
use eastwatch::scenario::Scenario;
use serde_json::Value;

use super::harness::{Folder, corpus, eastwatch, learned_from};
use super::reassembly::{Counts, Row};

const fn row(capture: &'static str, holds: &'static [&'static str], why: &'static str) -> Row {
    Row { capture, os: HostOs::Bsd, holds, lacks: &[], conflict: false, why }
}

/// What the alert of each test looks for is in the stream.
pub const STREAMS: &[Row] = &[
    Row {
        lacks: &["XY"],
        ..row(
            "suricata-verify/tcp-urgp-04-2byte-XY/tcp-urgent-2byte-XY.pcap",
            &["GET /malicXious HTTP/1.1\r\n", "You've accessed the path: /malicXious"],
            "tcp-urgp-04: of two bytes the second is urgent; the server's answer shows what it read",
        )
    },
    row("suricata-verify/alert-testmyids-midstream/input.pcap", &["uid=0(root)"], "alert-testmyids-midstream"),
    row("suricata-verify/_shared/009e406f3f-krb5-frag.pcap", &["user01", "krbtgt"], "krb5-request-frag-log"),
    row(
        "suricata-verify/_shared/71b803ddd9-input.pcap",
        &["\u{54}\u{b8}\u{f7}\u{73}"],
        "pcap-file-delete-non-alerts-only-stream-alerts, streamsize-keyword-03: the server's random of TLS",
    ),
    row("suricata-verify/_shared/5119613b1d-input.pcap", &["EICAR"], "streamsize-keyword, streamsize-keyword-02"),
    row("suricata-verify/_shared/2985eff075-smb2.pcap", &["\u{fe}SMB"], "stream-depth-reached-event"),
    row(
        "suricata-verify/_shared/473eb7e933-simple_http_download.onesided.nosyn.pcap",
        &["GET /i/94/"],
        "stream-async-6063-cli-03: one direction, begun in the middle",
    ),
    row(
        "suricata-verify/_shared/b02d987bc4-http-request-header-async-srv.pcap",
        &["HTTP/1.1 200 OK\r\n", "Connection: ", "Date: "],
        "stream-async-6063-srv-01, -02: the answers only",
    ),
    row(
        "suricata-verify/tcp-async-01/input.pcap",
        &["C6 OK ID completed\r\n* 21 EXISTS\r\n* 6 RECENT"],
        "tcp-async-01: across the bounds of segments",
    ),
    row("suricata-verify/_shared/545018cfba-input.pcap", &["GET%00 /images.gif HTTP/1.1\r\n"], "iponly-midstream-01"),
    row(
        "suricata-verify/tcp-rst-unacked-stream-03-gap/input.pcap",
        &["Please [4 bytes missing]Me In!"],
        "tcp-rst-unacked-stream-03: what lies behind a hole is read at the end",
    ),
    row("suricata-verify/tcp-rst-unacked-stream-04-gap-ips/input.pcap", &["Me In"], "tcp-rst-unacked-stream-04"),
    row(
        "suricata-verify/_shared/14b9e17653-input.pcap",
        &["User-Agent: Mozilla"],
        "tcp-rst-unacked-stream-07 and -08: never acknowledged",
    ),
    row(
        "suricata-verify/tls/tls-client-hello-frag-01/dump_mtu300.pcap",
        &["www.google.com"],
        "tls-client-hello-frag-01",
    ),
    row(
        "suricata-verify/_shared/ec7912f6b5-tfo.pcap",
        &["GET //index.php?page=../../../etc/passwd"],
        "tcp-fastopen-01",
    ),
    row("suricata-verify/tcp-fastopen-03/tfo.pcap", &["GET //index.php?page=../../../etc/passwd"], "tcp-fastopen-03"),
    row("suricata-verify/tcp-fastopen-07/tcp_fastopen_segmentation.pcap", &["d2d3"], "tcp-fastopen-07"),
    row(
        "suricata-verify/http-gap-simple-frames/input.pcap",
        &["\r\nAAAAAAAAAAAAAA[14 bytes missing]AAAA", "Hello People"],
        "http-gap-simple-frames",
    ),
    row(
        "suricata-verify/smb2-frames-gap-payload-logging/smb2-peter-minus-p191.pcap",
        &["Om[2896 bytes missing]hksr"],
        "smb2-frames-gap-payload-logging",
    ),
    row("suricata-verify/websocket-control-frag/input.pcap", &["HTTP/1.1 101 "], "websocket-control-frag"),
    Row {
        lacks: &["missing"],
        ..row("pcap/reassembly/zeek-missing-syn.pcap", &["GET /", "HTTP/1."], "the SYN-ACK is the first that is seen")
    },
    Row {
        lacks: &["missing"],
        ..row(
            "pcap/reassembly/zeek-rst-inject-rae.pcap",
            &["\u{d7}\u{ee}[", "-xz\u{ca}"],
            "resets to the SYN and in the middle: what is sent before and after is one stream",
        )
    },
    row("pcap/reassembly/zeek-ssh.client-side-half-duplex.pcap", &["SSH-2.0-"], "one direction only"),
];

pub const FRAGMENTS: &[Counts] = &[
    (
        "suricata-verify/defrag/bug-6887-defrag-ipv4-tcp-syn/frag-ip-tcp-syn.pcap",
        &[("decode.fragment.reassembled", 1), ("decode.fragments", 3)],
        "a SYN in three fragments, without a link",
    ),
    (
        "suricata-verify/defrag/bug-6887-defrag-ppp-ipv4-tcp-syn/frag-ppp-ip-tcp-syn.pcap",
        &[("decode.fragment.reassembled", 1), ("decode.fragments", 3)],
        "a SYN in three fragments, over PPP",
    ),
    (
        "suricata-verify/ipv6-evasion/ipv6-malformed-fragments-12/frag-12.pcap",
        &[],
        "many fragment headers, all of whole packets",
    ),
    ("suricata-verify/_shared/ed79f3bd73-covert_send6.pcap", &[], "ipv6-covert-dstopts: hidden in options, whole"),
    (
        "suricata-verify/ipv6-evasion/ipv6-dos-with-ext-headers-5/denial6-5.pcap",
        &[],
        "ipv6-dos-with-ext-headers-5: many headers and no fragment",
    ),
];

/// A capture and an application that is among what is served in it.
const APPS: &[(&str, &str)] = &[
    ("suricata-verify/tcp-urgp-04-2byte-XY/tcp-urgent-2byte-XY.pcap", "http"),
    ("suricata-verify/_shared/0ee0995d83-with_evasion_linux.pcap", "http"),
    ("suricata-verify/_shared/009e406f3f-krb5-frag.pcap", "krb5"),
    ("suricata-verify/_shared/71b803ddd9-input.pcap", "tls"),
    ("suricata-verify/tls/tls-client-hello-frag-01/dump_mtu300.pcap", "tls"),
    ("suricata-verify/smb-eicar-overlap/input.pcap", "smb"),
    ("suricata-verify/_shared/ec7912f6b5-tfo.pcap", "http"),
    ("suricata-verify/http-gap-simple-frames/input.pcap", "http"),
    ("suricata-verify/dnp3/dnp3-too-long-reassembly-response/input.pcap", "dnp3"),
    ("pcap/reassembly/quantumins-qi_internet_SYNACK_curl_jsonip.pcap", "http"),
    ("pcap/reassembly/zeek-missing-syn.pcap", "http"),
];

#[test]
fn applications_are_recognised_behind_evasions() {
    let Some(corpus) = corpus() else {
        eprintln!("the corpus is not beside this checkout: nothing was read");
        return;
    };
    let mut wrong = Vec::new();
    for (capture, app) in APPS {
        let folder = Folder::new("evasion");
        let state = folder.file("state");
        let args = ["read", "--home", "0.0.0.0/0,::/0", "--state"].map(str::to_owned);
        let ran = eastwatch(
            args.into_iter().chain([state.display().to_string(), corpus.join(capture).display().to_string()]),
        );
        assert_eq!(ran.status, 0, "{capture}: {}", ran.stderr);
        let services = learned_from(&state, &["services"]);
        if !services.as_array().unwrap().iter().any(|row| row["app_proto"] == *app) {
            wrong.push(format!("{capture}: no {app} in {services}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const SYN: u8 = 2;
const ACK: u8 = 16;
const URG: u8 = 32;

/// A client at 10.0.0.8 and an SSH server at 10.0.0.9, port 2222, frame by frame.
struct Wire {
    scenario: Scenario,
    /// Both ends offer timestamps.
    stamped: bool,
}

impl Wire {
    fn open(stamped: bool) -> Wire {
        let mut wire = Wire { scenario: Scenario::new(1), stamped };
        wire.say(true, 99, SYN, 0, (1_000, 0), b"");
        wire.say(false, 499, SYN | ACK, 0, (5_000, 1_000), b"");
        wire.client(500, 5_000);
        wire
    }

    fn client(&mut self, ack: u32, echo: u32) {
        assert!(ack >= 500);
        self.acknowledging(true, 100, ack, ACK, 0, (1_001, echo), b"");
    }

    fn server(&mut self, seq: u32, value: u32, bytes: &[u8]) {
        self.say(false, seq, ACK, 0, (value, 1_001), bytes);
    }

    fn say(&mut self, from_client: bool, seq: u32, flags: u8, urgent: u16, stamps: (u32, u32), bytes: &[u8]) {
        let ack = if flags & ACK == 0 { 0 } else { 100 };
        self.acknowledging(from_client, seq, ack, flags, urgent, stamps, bytes);
    }

    #[allow(clippy::too_many_arguments)]
    fn acknowledging(
        &mut self,
        from_client: bool,
        seq: u32,
        ack: u32,
        flags: u8,
        urgent: u16,
        (value, echo): (u32, u32),
        bytes: &[u8],
    ) {
        let (client, server) = (([0x52, 0x54, 0, 0, 0, 8], 8, 40_000u16), ([0x52, 0x54, 0, 0, 0, 9], 9, 2_222u16));
        let (src, dst) = if from_client { (client, server) } else { (server, client) };
        let options = match self.stamped {
            true => [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat(),
            false => Vec::new(),
        };
        let header = 20 + options.len();
        let mut tcp = [src.2.to_be_bytes(), dst.2.to_be_bytes()].concat();
        tcp.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
        tcp.extend([(header as u8 / 4) << 4, flags, 0xfa, 0xf0, 0, 0]);
        tcp.extend(urgent.to_be_bytes());
        tcp.extend(&options);
        tcp.extend(bytes);
        let mut frame = [&dst.0[..], &src.0[..], &[8, 0, 0x45, 0]].concat();
        frame.extend((20 + tcp.len() as u16).to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(Ipv4Addr::new(10, 0, 0, src.1).octets());
        frame.extend(Ipv4Addr::new(10, 0, 0, dst.1).octets());
        frame.extend(tcp);
        let now = self.scenario.wait_ms(1).now();
        self.scenario.frame(now, frame);
    }

    /// What is said of the service, and why.
    fn read(self, config: &str) -> (Value, String) {
        let folder = Folder::new("wire");
        let (file, state, settings) = (folder.file("wire.pcap"), folder.file("state"), folder.file("eastwatch.toml"));
        self.scenario.write_pcap(&file).unwrap();
        std::fs::write(&settings, config).unwrap();
        let [file, state_arg, settings] = [&file, &state, &settings].map(|path| path.display().to_string());
        let ran = eastwatch(["read", "--config", &settings, "--state", &state_arg, &file]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let services = learned_from(&state, &["services"]);
        let service = services.as_array().unwrap().iter().find(|row| row["port"] == 2_222).cloned();
        let why = eastwatch(["why", "10.0.0.9", "tcp/2222", "--quiet", "--state", &state_arg]);
        let whole = eastwatch(["why", "10.0.0.8", "--quiet", "--state", &state_arg]);
        (service.unwrap_or_default(), why.stdout + &whole.stdout)
    }
}

const DIFFER: &str = "copies with different bytes were seen in 1 flow, last ";

#[test]
fn a_banner_with_an_urgent_byte_inside_is_read_as_its_application_reads_it() {
    for (config, product) in [("", "OpenSSH"), ("[decode]\nurgent = \"inline\"\n", "OpenXSSH")] {
        let mut wire = Wire::open(true);
        let banner = b"SSH-2.0-OpenXSSH_9.2p1\r\n";
        wire.say(false, 500, ACK | URG, 13, (5_001, 1_001), banner);
        wire.client(500 + banner.len() as u32, 5_001);
        let (service, why) = wire.read(config);
        assert_eq!((&service["app_proto"], &service["product"]), (&"ssh".into(), &product.into()), "{service}");
        assert!(!why.contains(DIFFER), "{why}");
    }
}

#[test]
fn a_banner_that_its_client_discards_by_the_timestamp_is_not_read_and_why_tells_of_it() {
    for (stamped, product) in [(true, "OpenSSH"), (false, "dropbear")] {
        let mut wire = Wire::open(stamped);
        wire.server(500, 5_001, b"SSH-2.0-");
        wire.server(508, 4_000, b"dropbear_2022.83\r\n");
        wire.server(508, 5_002, b"OpenSSH_9.2p1 Deb\n");
        wire.client(526, 5_001);
        let (service, why) = wire.read("");
        assert_eq!((&service["app_proto"], &service["product"]), (&"ssh".into(), &product.into()), "{service}");
        assert_eq!(why.matches(DIFFER).count(), 2, "the server's service, and the client: {why}");
        assert!(why.contains(", frame ") && why.contains("bytes of the server"), "{why}");
    }
}

#[test]
fn a_banner_that_the_mirror_shows_out_of_order_is_read_and_there_is_nothing_to_tell() {
    let mut wire = Wire::open(true);
    wire.client(526, 5_001);
    wire.server(508, 5_002, b"OpenSSH_9.2p1 Deb\n");
    wire.server(500, 5_001, b"SSH-2.0-");
    wire.server(500, 5_001, b"SSH-2.0-");
    let (service, why) = wire.read("");
    assert_eq!((&service["app_proto"], &service["product"]), (&"ssh".into(), &"OpenSSH".into()), "{service}");
    assert!(!why.contains("copies differ"), "{why}");
}
