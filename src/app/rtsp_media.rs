//! The media that RTSP sessions announce: the ports that a server's answers agree to in `Transport` (RFC 2326 section
//! 12.39, RFC 7826 section 18.54), until TEARDOWN.
//!
//! Held: one unfinished line a direction and [`MEDIA_MAX`] ports; beyond them the oldest is forgotten, so that it ends
//! by its time to live only. Believed are only ports of the two ends of the connection, towards each other.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::line::LineCarry;
use super::{Ends, Follow, FollowOut};
use crate::model::{AppProto, Expectation, Side, Transport};

/// A camera streams for as long as its session is kept alive, and goes silent between: a day, the longest there is.
const SESSION_TTL_S: u32 = 86_400;
/// As after SIP's BYE: what was under way.
const AFTER_TEARDOWN_TTL_S: u32 = 30;
/// Two ports at both ends of picture, sound, and two more.
const MEDIA_MAX: usize = 16;
/// RTP takes what the system hands out (RFC 3551 section 8 names 5004): an announcement cannot speak of a well-known
/// service's port.
const PORT_MIN: u16 = 1_024;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    orig: Reading,
    resp: Reading,
    media: ArrayVec<Medium, MEDIA_MAX>,
    /// Media come in this connection: nothing is announced, and lines are no longer to be looked for.
    interleaved: bool,
}

/// One direction's messages.
#[derive(Debug, Default)]
struct Reading {
    lines: LineCarry,
    /// Inside the head of an answer that agrees.
    agreed: bool,
}

/// Where media come to, and from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Medium {
    to: IpAddr,
    from: IpAddr,
    port: u16,
    app: &'static str,
}

impl Follow for Sessions {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        // Who answers is the server of this exchange: either end may ask.
        let (server, client, Reading { lines, agreed }) = match side {
            Side::Orig => (flow.orig.0, flow.resp.0, &mut self.orig),
            Side::Resp => (flow.resp.0, flow.orig.0, &mut self.resp),
        };
        let (media, interleaved) = (&mut self.media, &mut self.interleaved);
        lines.feed(bytes, |line| match line {
            [] => *agreed = false,
            [b'R', b'T', b'S', b'P', b'/', b'1' | b'2', b'.', b'0', b' ', b'2', ..] => *agreed = true,
            [b'T', b'E', b'A', b'R', b'D', b'O', b'W', b'N', b' ', ..] => {
                for medium in media.drain(..) {
                    out.expect.push(medium.expected(AFTER_TEARDOWN_TTL_S));
                }
            }
            _ if *agreed => match transport(line) {
                Some(Carried::Here) => *interleaved = true,
                Some(Carried::By(parameters)) => announce(media, parameters, server, client, out),
                None => {}
            },
            _ => {}
        });
    }

    fn gap(&mut self, side: Side) {
        match side {
            Side::Orig => self.orig = Reading::default(),
            Side::Resp => self.resp = Reading::default(),
        }
    }

    fn done(&self) -> bool {
        self.interleaved
    }
}

enum Carried<'a> {
    Here,
    /// Parameters of a transport by datagrams, to one receiver.
    By(&'a str),
}

/// `Transport: RTP/AVP;unicast;client_port=4588-4589;server_port=6256-6257`.
fn transport(line: &[u8]) -> Option<Carried<'_>> {
    let text = std::str::from_utf8(line).ok()?;
    let (name, value) = text.split_once(':')?;
    if !name.trim().eq_ignore_ascii_case("transport") {
        return None;
    }
    // An answer has one; what follows a comma is another.
    let (profile, parameters) = value.split(',').next()?.split_once(';')?;
    let profile = profile.trim().to_ascii_uppercase();
    if !profile.starts_with("RTP/") {
        return None;
    }
    if profile.ends_with("/TCP") {
        return Some(Carried::Here);
    }
    // A group's sender is a service of its own, whoever announced it.
    let to_group = parameters.split(';').any(|p| p.trim().eq_ignore_ascii_case("multicast"));
    (!to_group).then_some(Carried::By(parameters))
}

fn announce(
    media: &mut ArrayVec<Medium, MEDIA_MAX>,
    parameters: &str,
    server: IpAddr,
    client: IpAddr,
    out: &mut FollowOut,
) {
    let named = || parameters.split(';').filter_map(|p| p.trim().split_once('='));
    // A third host's media are not these ends' to announce.
    let elsewhere = |(name, value): (&str, &str)| match Name::of(name) {
        Name::Source => value.parse() != Ok(server),
        Name::Destination => value.parse() != Ok(client),
        _ => false,
    };
    if named().any(elsewhere) {
        return;
    }
    for (name, value) in named() {
        let (to, from, ports) = match Name::of(name) {
            Name::ClientPort => (client, server, pair(value)),
            Name::ServerPort => (server, client, pair(value)),
            Name::DestAddr => (client, server, addresses(value, client)),
            Name::SrcAddr => (server, client, addresses(value, server)),
            _ => continue,
        };
        for (port, app) in ports.into_iter().zip(["rtp", "rtcp"]) {
            let Some(port) = port.filter(|port| *port >= PORT_MIN) else { continue };
            let medium = Medium { to, from, port, app };
            if !media.contains(&medium) {
                if media.is_full() {
                    media.remove(0);
                }
                media.push(medium);
            }
            out.expect.push(medium.expected(SESSION_TTL_S));
        }
    }
}

impl Medium {
    fn expected(self, ttl_s: u32) -> Expectation {
        Expectation {
            client: Some(self.from),
            server: self.to,
            transport: Transport::Udp,
            port: self.port,
            ttl_s,
            app: AppProto::new(self.app),
            interface: None,
            serves: false,
        }
    }
}

#[derive(Clone, Copy)]
enum Name {
    ClientPort,
    ServerPort,
    DestAddr,
    SrcAddr,
    Source,
    Destination,
    Other,
}

impl Name {
    fn of(text: &str) -> Name {
        const NAMES: [(&str, Name); 6] = [
            ("client_port", Name::ClientPort),
            ("server_port", Name::ServerPort),
            ("dest_addr", Name::DestAddr),
            ("src_addr", Name::SrcAddr),
            ("source", Name::Source),
            ("destination", Name::Destination),
        ];
        NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map_or(Name::Other, |(_, name)| *name)
    }
}

/// `4588-4589`, or RTP's alone.
fn pair(value: &str) -> [Option<u16>; 2] {
    let (rtp, rtcp) = value.split_once('-').map_or((value, None), |(rtp, rtcp)| (rtp, Some(rtcp)));
    [rtp.trim().parse().ok(), rtcp.and_then(|port| port.trim().parse().ok())]
}

/// `"10.0.0.9:8000"/"10.0.0.9:8001"` (version 2.0), the address left out where it is the connection's.
fn addresses(value: &str, of: IpAddr) -> [Option<u16>; 2] {
    let mut ports = value.split('/').map(|one| {
        let (host, port) = one.trim().trim_matches('"').rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        port.parse().ok().filter(|_| host.is_empty() || host.parse() == Ok(of))
    });
    [ports.next().flatten(), ports.next().flatten()]
}

#[cfg(test)]
mod tests {
    use super::super::rtsp::Rtsp;
    use super::super::{AppCounters, AppState};
    use super::*;

    const CAMERA: [u8; 4] = [10, 0, 0, 5];
    const VIEWER: [u8; 4] = [10, 0, 0, 9];
    const SETUP: &[u8] =
        b"SETUP rtsp://cam/1 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast;client_port=7000-7001\r\n\r\n";

    fn flow() -> Ends {
        Ends { orig: (VIEWER.into(), 40_000), resp: (CAMERA.into(), 554), transport: Transport::Tcp }
    }

    fn agreed(transport: &str) -> Vec<u8> {
        format!("RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 12;timeout=60\r\nTransport: {transport}\r\n\r\n").into_bytes()
    }

    /// `from > to:port app ttl`.
    fn told(sessions: &mut Sessions, side: Side, bytes: &[u8]) -> Vec<String> {
        let mut out = FollowOut::default();
        sessions.data(side, bytes, &flow(), &mut out);
        let shown = |e: &Expectation| format!("{} > {}:{} {} {}", e.client.unwrap(), e.server, e.port, e.app, e.ttl_s);
        out.expect.iter().map(shown).collect()
    }

    #[test]
    fn the_ports_that_the_server_agrees_to_are_expected_and_teardown_ends_them() {
        let mut sessions = Sessions::default();
        // What the client asks for is not agreed yet.
        assert_eq!(told(&mut sessions, Side::Orig, SETUP), [""; 0]);
        let answer = agreed("RTP/AVP/UDP;unicast;client_port=7000-7001;server_port=6256-6257;ssrc=A1");
        assert_eq!(
            told(&mut sessions, Side::Resp, &answer),
            [
                "10.0.0.5 > 10.0.0.9:7000 rtp 86400",
                "10.0.0.5 > 10.0.0.9:7001 rtcp 86400",
                "10.0.0.9 > 10.0.0.5:6256 rtp 86400",
                "10.0.0.9 > 10.0.0.5:6257 rtcp 86400",
            ]
        );
        let teardown = b"TEARDOWN rtsp://cam/1 RTSP/1.0\r\nCSeq: 9\r\n\r\n";
        let ended = told(&mut sessions, Side::Orig, teardown);
        assert!(ended.len() == 4 && ended.iter().all(|e| e.ends_with(" 30")), "{ended:?}");
        assert_eq!(told(&mut sessions, Side::Orig, teardown), [""; 0]);
    }

    #[test]
    fn version_2_writes_addresses() {
        let mut sessions = Sessions::default();
        let answer = b"RTSP/2.0 200 OK\r\nTransport: RTP/AVP;unicast;dest_addr=\":7000\"/\":7001\";src_addr=\"10.0.0.5:6256\"/\"10.0.0.7:6257\"\r\n\r\n";
        let ports = told(&mut sessions, Side::Resp, answer);
        assert_eq!(ports.len(), 3, "the fourth is a third host's: {ports:?}");
    }

    #[test]
    fn an_answer_in_pieces_is_one() {
        let answer = agreed("RTP/AVP;unicast;client_port=7000-7001");
        let mut sessions = Sessions::default();
        let told: Vec<String> = answer.chunks(1).flat_map(|byte| told(&mut sessions, Side::Resp, byte)).collect();
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn refusals_groups_third_hosts_and_well_known_ports_announce_nothing() {
        for quiet in [
            agreed("RTP/AVP;multicast;destination=239.1.1.1;port=5000-5001;client_port=7000-7001"),
            agreed("RTP/AVP;unicast;source=10.0.0.77;client_port=7000-7001"),
            agreed("RTP/AVP;unicast;destination=10.0.0.77;client_port=7000-7001"),
            agreed("RTP/AVP;unicast;server_port=53-123"),
            agreed("RTP/AVP;unicast;server_port=x-70000"),
            agreed("MP2T/H2221/UDP;unicast;client_port=7000-7001"),
            b"RTSP/1.0 461 Unsupported transport\r\nTransport: RTP/AVP;unicast;client_port=7000-7001\r\n\r\n".to_vec(),
            b"RTSP/1.0 200 OK\r\n\r\nTransport: RTP/AVP;unicast;client_port=7000-7001\r\n".to_vec(),
            SETUP.to_vec(),
        ] {
            let mut sessions = Sessions::default();
            assert_eq!(told(&mut sessions, Side::Resp, &quiet), [""; 0], "{}", quiet.escape_ascii());
            assert!(!sessions.done());
        }
    }

    #[test]
    fn media_inside_the_connection_end_the_reading() {
        let mut sessions = Sessions::default();
        assert_eq!(told(&mut sessions, Side::Resp, &agreed("RTP/AVP/TCP;unicast;interleaved=0-1")), [""; 0]);
        assert!(sessions.done());
    }

    #[test]
    fn a_flood_of_sessions_is_bounded() {
        let mut sessions = Sessions::default();
        for port in (2_000..4_000).step_by(2) {
            told(&mut sessions, Side::Resp, &agreed(&format!("RTP/AVP;unicast;client_port={port}-{}", port + 1)));
        }
        assert_eq!(sessions.media.len(), MEDIA_MAX);
    }

    #[test]
    fn what_is_agreed_long_after_recognition_is_still_read() {
        let (mut state, mut counters) = (AppState::new(Transport::Tcp, false), AppCounters::default());
        let mut tell = |side, bytes: &[u8]| state.data(side, bytes, &flow(), &mut counters).follow.expect.len();
        assert!(super::super::Protocol::follow(&Rtsp).is_some());
        assert_eq!(tell(Side::Orig, b"OPTIONS rtsp://cam/1 RTSP/1.0\r\nCSeq: 1\r\n\r\n"), 0);
        assert_eq!(tell(Side::Resp, b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: SETUP\r\n\r\n"), 0);
        assert_eq!(tell(Side::Orig, SETUP), 0);
        assert_eq!(tell(Side::Resp, &agreed("RTP/AVP;unicast;client_port=7000-7001;server_port=6256-6257")), 4);
    }
}
