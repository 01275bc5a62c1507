//! Test only: openings that each recogniser must own, and what must hold of all of them together.

use std::net::IpAddr;

use proptest::prelude::*;

use super::{AppCounters, AppState, Ends, FollowOut, OPENING_BYTES_MAX, Opening, Probe, Protocol, ROSTER};
use crate::model::{AppInfo, Side, Transport};

/// One conversation's first bytes, and who must recognise them.
pub(super) struct Example {
    pub app: &'static str,
    pub server: Option<Side>,
    pub transport: Transport,
    pub orig: Vec<u8>,
    pub resp: Vec<u8>,
    pub first: Side,
    pub resp_port: u16,
    /// How the originator's datagram before began.
    pub before: [[u8; 12]; 2],
}

impl Example {
    pub fn new(app: &'static str, transport: Transport, orig: &[u8], resp: &[u8], server: Option<Side>) -> Self {
        let first = if orig.is_empty() { Side::Resp } else { Side::Orig };
        Example {
            app,
            server,
            transport,
            orig: orig.to_vec(),
            resp: resp.to_vec(),
            first,
            resp_port: 40001,
            before: Default::default(),
        }
    }

    pub fn tcp(app: &'static str, orig: &[u8], resp: &[u8], server: Option<Side>) -> Self {
        Example::new(app, Transport::Tcp, orig, resp, server)
    }

    pub fn udp(app: &'static str, orig: &[u8], resp: &[u8], server: Option<Side>) -> Self {
        Example::new(app, Transport::Udp, orig, resp, server)
    }

    pub fn port(mut self, resp_port: u16) -> Self {
        self.resp_port = resp_port;
        self
    }

    pub fn after(mut self, orig: &[u8; 12]) -> Self {
        self.before = [*orig, [0; 12]];
        self
    }

    pub fn server_first(mut self) -> Self {
        self.first = Side::Resp;
        self
    }

    pub fn opening(&self) -> Opening<'_> {
        Opening {
            transport: self.transport,
            orig: &self.orig,
            resp: &self.resp,
            orig_port: 40000,
            resp_port: self.resp_port,
            before: self.before,
            midstream: false,
            first: self.first,
        }
    }

    /// What the protocol describes of it.
    pub fn described(&self, protocol: &dyn Protocol) -> AppInfo {
        let mut info = AppInfo::new(protocol.name(), self.server);
        protocol.describe(&self.opening(), &mut info);
        info
    }
}

/// Asks one recogniser about an opening on ports that say nothing.
pub(super) fn ask(protocol: &dyn Protocol, transport: Transport, orig: &[u8], resp: &[u8]) -> Probe {
    protocol.probe(&Example::new("", transport, orig, resp, None).opening())
}

pub(super) fn ask_ports(protocol: &dyn Protocol, transport: Transport, orig: &[u8], resp: &[u8], port: u16) -> Probe {
    protocol.probe(&Example::new("", transport, orig, resp, None).port(port).opening())
}

/// Each of these is none of this protocol's.
pub(super) fn refuses(protocol: &dyn Protocol, transport: Transport, near_misses: &[(&[u8], &[u8])]) {
    for (orig, resp) in near_misses {
        let probe = ask(protocol, transport, orig, resp);
        assert_eq!(probe, Probe::NotForUs, "{} of {} / {}", protocol.name(), orig.escape_ascii(), resp.escape_ascii());
    }
}

/// A client at 10.0.0.9 and a server at 10.0.0.5.
pub(super) fn ends(transport: Transport, resp_port: u16) -> Ends {
    Ends { orig: (IpAddr::from([10, 0, 0, 9]), 40000), resp: (IpAddr::from([10, 0, 0, 5]), resp_port), transport }
}

/// Feeds a follower whole messages and gathers what it learned.
pub(super) fn followed(protocol: &dyn Protocol, ends: &Ends, said: &[(Side, &[u8])]) -> FollowOut {
    let mut out = FollowOut::default();
    let mut follow = protocol.follow().expect("a follower");
    for (side, bytes) in said {
        follow.data(*side, bytes, ends, &mut out);
    }
    out
}

fn all() -> Vec<Example> {
    let mut all = Vec::new();
    all.extend(super::smb::tests::examples());
    all.extend(super::dcerpc::tests::examples());
    all.extend(super::dns::tests::examples());
    all.extend(super::netbios::tests::examples());
    all.extend(super::dhcp::tests::examples());
    all.extend(super::dhcpv6::tests::examples());
    all.extend(super::snmp::tests::examples());
    all.extend(super::tftp::tests::examples());
    all.extend(super::ntp::tests::examples());
    all.extend(super::rpc::tests::examples());
    all.extend(super::mysql::tests::examples());
    all.extend(super::pgsql::tests::examples());
    all.extend(super::tds::tests::examples());
    all.extend(super::mongodb::tests::examples());
    all.extend(super::redis::tests::examples());
    all.extend(super::memcached::tests::examples());
    all.extend(super::syslog::tests::examples());
    all.extend(super::http2::tests::examples());
    all.extend(super::kafka::tests::examples());
    all.extend(super::amqp::tests::examples());
    all.extend(super::mqtt::tests::examples());
    all.extend(super::nats::tests::examples());
    all.extend(super::zookeeper::tests::examples());
    all.extend(super::cassandra::tests::examples());
    all.extend(super::clickhouse::tests::examples());
    all.extend(super::oracle::tests::examples());
    all.extend(super::drda::tests::examples());
    all.extend(super::iscsi::tests::examples());
    all.extend(super::nbd::tests::examples());
    all.extend(super::ceph::tests::examples());
    all.extend(super::rsync::tests::examples());
    all.extend(super::smb_direct::tests::examples());
    all.extend(super::rtmp::tests::examples());
    all.extend(super::rtsp::tests::examples());
    all.extend(super::jabber::tests::examples());
    all.extend(super::irc::tests::examples());
    all.extend(super::mining::tests::examples());
    all.extend(super::git::tests::examples());
    all.extend(super::svn::tests::examples());
    all.extend(super::lpd::tests::examples());
    all.extend(super::bitcoin::tests::examples());
    all.extend(super::bittorrent::tests::examples());
    all.extend(super::msdo::tests::examples());
    // infrastructure, industry, remote, voice
    all.extend(super::modbus::tests::examples());
    all.extend(super::dnp3::tests::examples());
    all.extend(super::iec104::tests::examples());
    all.extend(super::tpkt::tests::examples());
    all.extend(super::enip::tests::examples());
    all.extend(super::bacnet::tests::examples());
    all.extend(super::rmcp::tests::examples());
    all.extend(super::radius::tests::examples());
    all.extend(super::tacacs::tests::examples());
    all.extend(super::openvpn::tests::examples());
    all.extend(super::wireguard::tests::examples());
    all.extend(super::l2tp::tests::examples());
    all.extend(super::stun::tests::examples());
    all.extend(super::mgcp::tests::examples());
    all.extend(super::coap::tests::examples());
    all.extend(super::ssdp::tests::examples());
    all.extend(super::wsd::tests::examples());
    all.extend(super::flow_export::tests::examples());
    all.extend(super::collectd::tests::examples());
    all.extend(super::gtp::tests::examples());
    all.extend(super::diameter::tests::examples());
    all.extend(super::xdmcp::tests::examples());
    all.extend(super::slp::tests::examples());
    all.extend(super::rtcp::tests::examples());
    all.extend(super::rtp::tests::examples());
    all.extend(super::bgp::tests::examples());
    all.extend(super::ldp::tests::examples());
    all.extend(super::nntp::tests::examples());
    all.extend(super::banner::tests::examples());
    all.extend(super::whois::tests::examples());
    all.extend(super::zabbix::tests::examples());
    all.extend(super::nrpe::tests::examples());
    all.extend(super::ajp::tests::examples());
    all.extend(super::java::tests::examples());
    all.extend(super::erlang::tests::examples());
    all.extend(super::afp::tests::examples());
    all.extend(super::ndmp::tests::examples());
    all.extend(super::dicom::tests::examples());
    all.extend(super::hl7::tests::examples());
    all.extend(super::firebird::tests::examples());
    all.extend(super::smpp::tests::examples());
    all.extend(super::x11::tests::examples());
    all.extend(super::spice::tests::examples());
    all.extend(super::rsh::tests::examples());
    all.extend(super::citrix::tests::examples());
    all.extend(super::sap::tests::examples());
    all.extend(super::notes::tests::examples());
    all.extend(super::teamviewer::tests::examples());
    all.extend(super::rdpudp::tests::examples());
    all.extend(super::openflow::tests::examples());
    all.extend(super::fastcgi::tests::examples());
    all.extend(super::pptp::tests::examples());
    all.extend(super::opcua::tests::examples());
    all.extend(super::alicloud::tests::examples());
    all.extend(super::shell::tests::examples());
    all
}

#[test]
fn each_example_is_recognised_by_its_protocol_and_no_other() {
    for (i, example) in all().iter().enumerate() {
        for protocol in ROSTER.iter().filter(|p| p.runs_over(example.transport)) {
            let probe = protocol.probe(&example.opening());
            if protocol.name() == example.app {
                assert_eq!(probe, Probe::Certain(example.server), "example {i} of {}", example.app);
            } else {
                assert!(
                    !matches!(probe, Probe::Certain(_)),
                    "example {i} of {} taken by {}",
                    example.app,
                    protocol.name()
                );
            }
        }
    }
}

/// What was never measured takes both sides, or a check of its own: those with a star in docs/protocols.md.
#[test]
fn an_unmeasured_protocol_is_not_named_by_one_side_alone() {
    let table = include_str!("../../docs/protocols.md");
    let (mut asked, mut alone) = (0, Vec::new());
    for example in all().iter().filter(|e| !AppInfo::new(e.app, None).proto.is_measured()) {
        let row = table.lines().find(|line| line.starts_with(&format!("| `{}` |", example.app))).unwrap();
        if row.contains("unmeasured*") {
            continue;
        }
        let protocols = ROSTER.iter().filter(|p| p.name() == example.app && p.runs_over(example.transport));
        for protocol in protocols {
            for (orig, resp) in [(&example.orig[..], &b""[..]), (b"", &example.resp)] {
                let probe = ask_ports(*protocol, example.transport, orig, resp, example.resp_port);
                asked += 1;
                if matches!(probe, Probe::Certain(_)) {
                    alone.push(example.app);
                }
            }
        }
    }
    assert!(asked > 20 && alone.is_empty(), "{asked} asked, by one side alone: {alone:?}");
}

#[test]
fn an_example_in_pieces_ends_the_same_as_in_one() {
    for example in all().iter().filter(|e| e.transport == Transport::Tcp) {
        let ends = Ends { resp: (IpAddr::from([10, 0, 0, 5]), example.resp_port), ..ends(Transport::Tcp, 0) };
        let mut state = AppState::new(Transport::Tcp, false);
        let mut app = None;
        let mut counters = AppCounters::default();
        for (side, bytes) in example.opening().sides() {
            for byte in bytes.chunks(1) {
                app = state.data(side, byte, &ends, &mut counters).app.or(app);
            }
        }
        let app = app.unwrap_or_else(|| panic!("{} in pieces is not recognised", example.app));
        assert_eq!((app.proto.as_str(), app.server), (example.app, example.server));
    }
}

#[test]
fn an_example_of_datagrams_is_shown_to_its_protocol() {
    for example in all().iter().filter(|e| e.transport == Transport::Udp) {
        let ends = Ends { resp: (IpAddr::from([10, 0, 0, 5]), example.resp_port), ..ends(Transport::Udp, 0) };
        let mut state = AppState::new(Transport::Udp, false);
        let mut heard = |side, bytes: &[u8]| state.data(side, bytes, &ends, &mut AppCounters::default()).app;
        if example.before != <[[u8; 12]; 2]>::default() {
            heard(Side::Orig, &example.before[0]);
        }
        let app = example.opening().sides().into_iter().filter_map(|(side, bytes)| heard(side, bytes)).last();
        assert_eq!(app.map(|a| a.proto.to_string()), Some(example.app.to_owned()));
    }
}

#[test]
fn an_example_cut_anywhere_is_no_other_protocol() {
    for example in all() {
        for cut in 0..example.orig.len().max(example.resp.len()) {
            let mut opening = example.opening();
            opening.orig = opening.orig.get(..cut).unwrap_or(opening.orig);
            opening.resp = opening.resp.get(..cut).unwrap_or(opening.resp);
            for protocol in ROSTER.iter().filter(|p| p.runs_over(example.transport)) {
                let probe = protocol.probe(&opening);
                let other = protocol.name() != example.app && matches!(probe, Probe::Certain(_));
                assert!(!other, "{} cut to {cut} taken by {}", example.app, protocol.name());
                protocol.describe(&opening, &mut AppInfo::new(protocol.name(), None));
            }
        }
    }
}

/// Bytes that mean nothing, the same each time: text, numbers in either order, and noise.
fn something_else(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    match seed % 3 {
        0 => (0..96).map(|_| b"etaoin shrdlu\r\n"[usize::from(next() % 15)]).collect(),
        1 => (0..96).map(|i| if i % 4 == 3 { next() } else { 0 }).collect(),
        _ => (0..96).map(|_| next()).collect(),
    }
}

#[test]
fn the_first_bytes_of_an_example_followed_by_something_else_prove_nothing() {
    let mut fooled = std::collections::BTreeSet::new();
    for example in all() {
        for kept in 1..=3 {
            for seed in 1..=24 {
                let begun = |bytes: &[u8], side: u64| match bytes.get(..kept) {
                    Some(head) => [head, &something_else(seed + 3_000 * kept as u64 + 300 * side)].concat(),
                    None => bytes.to_vec(),
                };
                let (orig, resp) = (begun(&example.orig, 0), begun(&example.resp, 1));
                // Zeros may be just what follows.
                let same = |a: &[u8], b: &[u8]| !a.is_empty() && a.iter().zip(b).take(6).all(|(a, b)| a == b);
                if same(&example.orig, &orig) || same(&example.resp, &resp) {
                    continue;
                }
                for protocol in ROSTER.iter().filter(|p| p.runs_over(example.transport)) {
                    let probe = ask_ports(*protocol, example.transport, &orig, &resp, example.resp_port);
                    if let Probe::Certain(_) = probe {
                        fooled.insert((protocol.name(), example.app, kept, seed % 3));
                    }
                }
            }
        }
    }
    assert!(fooled.is_empty(), "recogniser, whose beginning, bytes kept, what follows: {fooled:?}");
}

#[test]
fn on_the_port_of_any_protocol_another_one_is_still_itself() {
    let all = all();
    // LLMNR is DNS's own format and told from it by its port (RFC 4795 section 2.1).
    let siblings = ["dns", "mdns", "llmnr"];
    let ports: std::collections::BTreeSet<u16> = all.iter().map(|e| e.resp_port).collect();
    for example in all.iter().filter(|e| !siblings.contains(&e.app)) {
        for port in &ports {
            for protocol in ROSTER.iter().filter(|p| p.runs_over(example.transport) && p.name() != example.app) {
                let probe = ask_ports(*protocol, example.transport, &example.orig, &example.resp, *port);
                assert!(!matches!(probe, Probe::Certain(_)), "{} for {} on {port}", protocol.name(), example.app);
            }
        }
    }
}

fn survives(transport: Transport, orig: &[u8], resp: &[u8]) {
    let ends = ends(transport, 40001);
    for first in [Side::Orig, Side::Resp] {
        let mut example = Example::new("", transport, orig, resp, None);
        example.first = first;
        for protocol in ROSTER.iter().filter(|p| p.runs_over(transport)) {
            let opening = example.opening();
            protocol.probe(&opening);
            protocol.describe(&opening, &mut AppInfo::new(protocol.name(), Some(Side::Resp)));
            if let Some(mut follow) = protocol.follow() {
                let mut out = FollowOut::default();
                for (side, bytes) in opening.sides() {
                    follow.data(side, bytes, &ends, &mut out);
                    follow.data(side, bytes, &ends, &mut out);
                }
                assert!(out.expect.len() + out.leased.len() <= OPENING_BYTES_MAX);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_bytes_never_panic(orig in prop::collection::vec(any::<u8>(), 0..600),
                                resp in prop::collection::vec(any::<u8>(), 0..600)) {
        survives(Transport::Tcp, &orig, &resp);
        survives(Transport::Udp, &orig, &resp);
    }

    #[test]
    fn a_damaged_example_never_panics(pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
                                      with in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let examples = all();
        let example = &examples[pick.index(examples.len())];
        let damage = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = with;
                bytes.truncate(cut.index(bytes.len()) + 1);
            }
            bytes
        };
        survives(example.transport, &damage(&example.orig), &damage(&example.resp));
        survives(example.transport, &damage(&example.orig), &example.resp);
    }
}
