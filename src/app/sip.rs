//! SIP (RFC 3261) over UDP and TCP: a request or a status line of version 2.0, then a header.
//!
//! The description is of the opening; [`sdp`](super::sdp) reads on for the media that calls announce.

use super::line::{Lines, find, is_one_of};
use super::reading::{Reading, begins, probe_sides};
use super::{Described, Follow, Opening, Probe, Protocol, sdp};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Sip;

const METHODS: [&str; 14] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "OPTIONS",
    "PRACK",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "INFO",
    "REFER",
    "MESSAGE",
    "UPDATE",
];
/// A start line longer than this is not waited for.
const START_BYTES_MAX: usize = 1024;

impl Protocol for Sip {
    fn name(&self) -> &'static str {
        "sip"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first.is_ascii_alphabetic() || first.is_ascii_whitespace()
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        probe_sides(opening, read)
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        let (request, answer) = (opening.side(server.other()), opening.side(server));
        if let Some(line) = Lines::new(request).next() {
            info.detail("method", line.split(|b| *b == b' ').next().unwrap_or_default());
        }
        if let Some(agent) = field(request, &["User-Agent"]) {
            info.detail("user_agent", agent);
        }
        if let Some(agent) = field(answer, &["Server", "User-Agent"]) {
            info.detail("server", agent);
            let (agent, remark) = agent.split_at(agent.iter().position(|b| *b == b'(').unwrap_or(agent.len()));
            let agent = agent.trim_ascii();
            // "kamailio (5.6.3 (x86_64/linux))": the SER family tells its version in the remark.
            let remarked = remark.get(1..).filter(|r| r.first().is_some_and(u8::is_ascii_digit));
            let remarked = remarked.and_then(|r| r.split(|b| matches!(b, b' ' | b')')).next());
            let cut = agent
                .iter()
                .position(|b| *b == b'/')
                .or_else(|| agent.windows(2).position(|w| matches!(w, [b' ', b'0'..=b'9'])));
            match cut {
                Some(at) => {
                    let (product, version) = agent.split_at(at);
                    info.product(product, version.get(1..).unwrap_or_default().split(|b| *b == b' ').next());
                }
                None => info.product(agent, remarked),
            }
        }
        if let Some(status) = Lines::new(answer).next().and_then(|l| l.strip_prefix(b"SIP/2.0 ")) {
            info.detail("status", status.get(..3).unwrap_or(status));
        }
        if info.product.is_some() { Described::Whole } else { Described::Partly }
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        Some(Box::<sdp::Calls>::default())
    }
}

fn field<'a>(bytes: &'a [u8], names: &[&str]) -> Option<&'a [u8]> {
    Lines::new(bytes).skip(1).take_while(|l| !l.is_empty()).find_map(|line| {
        let (name, value) = line.split_at(line.iter().position(|b| *b == b':')?);
        is_one_of(name.trim_ascii(), names).then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })
}

fn read(bytes: &[u8]) -> Option<Reading> {
    // RFC 5626 keep-alives are empty lines; nothing else stands before a start line.
    let bytes = bytes.trim_ascii_start();
    let mut lines = Lines::new(bytes);
    if begins(bytes, b"SIP/2.0 ")? {
        let line = lines.next()?;
        let fits = matches!(line.get(8..), Some([b'1'..=b'6', b'0'..=b'9', b'0'..=b'9', b' ', ..]));
        return Some(if fits && header(lines.rest())? { Reading::Server } else { Reading::No });
    }
    let method = bytes.split(|b| *b == b' ').next().unwrap_or_default();
    if method.len() == bytes.len() {
        let may_be = METHODS.iter().any(|m| m.as_bytes().starts_with(method));
        return if may_be { None } else { Some(Reading::No) };
    }
    if !METHODS.iter().any(|m| m.as_bytes() == method) {
        return Some(Reading::No);
    }
    let target = bytes.get(method.len() + 1..).unwrap_or_default();
    let schemes = ["sip:", "sips:", "tel:"];
    let start = target.get(..target.len().min(4)).unwrap_or_default();
    if !schemes.iter().any(|s| s.as_bytes().get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start))) {
        return Some(Reading::No);
    }
    let Some(line) = lines.next() else {
        return if bytes.len() > START_BYTES_MAX { Some(Reading::No) } else { None };
    };
    Some(if line.ends_with(b" SIP/2.0") && header(lines.rest())? { Reading::Client } else { Reading::No })
}

/// The start of a header field: a name, then a colon.
fn header(bytes: &[u8]) -> Option<bool> {
    let end = bytes.iter().take(40).position(|b| !(b.is_ascii_alphabetic() || *b == b'-'));
    match end {
        Some(end) => Some(end > 0 && matches!(bytes.get(end), Some(b':' | b' ' | b'\t'))),
        None if bytes.len() >= 40 => Some(false),
        None => None,
    }
}

/// Is this line the start of a request that ends calls?
pub(super) fn is_bye(line: &[u8]) -> bool {
    line.starts_with(b"BYE ") && find(line, " SIP/2.0").is_some()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, probed, tcp, udp};

    pub(in crate::app) const INVITE: &[u8] = b"INVITE sip:200@10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060\r\n\
        User-Agent: Linphone/3.6.1\r\nContent-Type: application/sdp\r\n\r\n\
        v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 7078 RTP/AVP 0 8\r\n";
    pub(in crate::app) const RINGING: &[u8] =
        b"SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 10.0.0.1:5060\r\nServer: Asterisk PBX 18.10.0\r\n\r\n";

    #[test]
    fn a_start_line_with_a_header_is_a_proof() {
        assert_eq!(probed(&Sip, udp(INVITE, b"")), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Sip, udp(b"", RINGING)), Probe::Certain(Some(Side::Resp)));
        assert_eq!(
            probed(&Sip, tcp(b"\r\n\r\nOPTIONS sip:a@b SIP/2.0\r\nVia: x\r\n", b"")),
            Probe::Certain(Some(Side::Resp))
        );
    }

    #[test]
    fn near_misses_are_not_sip() {
        for near in [
            &b"OPTIONS * HTTP/1.1\r\nHost: a\r\n"[..],
            b"OPTIONS rtsp://a RTSP/1.0\r\nCSeq: 1\r\n",
            b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n",
            b"INVITE sip:a@b SIP/2.0\r\n\x00\x01",
            b"SIP/2.0 OK\r\nVia: x\r\n",
            b"MESSAGES",
        ] {
            assert_eq!(probed(&Sip, tcp(near, b"")), Probe::NotForUs, "{}", near.escape_ascii());
        }
    }

    #[test]
    fn the_server_names_its_product() {
        let (info, whole) = described(&Sip, udp(INVITE, RINGING));
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("Asterisk PBX"), Some("18.10.0")));
        assert_eq!((info.get("method"), info.get("user_agent")), (Some("INVITE"), Some("Linphone/3.6.1")));
        assert_eq!(whole, Described::Whole);
    }

    #[test]
    fn a_version_in_the_remark_is_the_products_and_a_system_there_is_not() {
        let answer = |server: &str| format!("SIP/2.0 200 OK\r\nServer: {server}\r\n\r\n");
        let read = |server: &str| {
            let (info, _) = described(&Sip, udp(INVITE, answer(server).as_bytes()));
            (info.product.unwrap_or_default(), info.version.unwrap_or_default())
        };
        assert_eq!(read("kamailio (5.6.3 (x86_64/linux))"), ("kamailio".into(), "5.6.3".into()));
        assert_eq!(read("Proxy (Linux 6.1)"), ("Proxy".into(), String::new()));
        assert_eq!(read("Asterisk PBX 18.10.0 (20 calls)"), ("Asterisk PBX".into(), "18.10.0".into()));
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Sip, tcp(INVITE, RINGING));
    }
}
