//! HTTP/1.0 and HTTP/1.1 (RFC 9112): a request line or a status line, then a header.
//!
//! Only the heads inside the opening are read. A head longer than that keeps what was read of it.

use super::http_application::Exchange;
use super::line::{Lines, find};
use super::ntlm::Logon;
use super::reading::{Reading, begins, probe_sides};
use super::{Described, Follow, OPENING_BYTES_MAX, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Http;

/// Longest method in use is `SSTP_DUPLEX_POST`, 16.
const METHOD_BYTES_MAX: usize = 24;

impl Protocol for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        probe_sides(opening, |bytes| if bytes.starts_with(b"HTTP/") { status(bytes) } else { request(bytes) })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        let request = Head::read(opening.side(server.other()));
        if let Some(line) = request.first {
            info.detail("method", line.split(|b| *b == b' ').next().unwrap_or_default());
        }
        for (name, value) in &request.fields {
            match name {
                Field::Host => info.detail("host", value),
                Field::UserAgent => info.detail("user_agent", value),
                Field::Upgrade => info.detail("upgrade", value),
                Field::Server => {}
            }
        }
        let response = Head::final_response(opening.side(server));
        if let Some(line) = response.first.filter(|line| line.starts_with(b"HTTP/1.")) {
            info.detail("status", line.split(|b| *b == b' ').nth(1).unwrap_or_default());
        }
        for (name, value) in &response.fields {
            if *name == Field::Server {
                let (product, version) = product(value);
                info.product(product, version);
                info.detail("server", value);
            }
        }
        let exchange = Exchange {
            request: request.first.unwrap_or_default(),
            status: response.first.unwrap_or_default(),
            answered: response.fields_text,
            body: response.rest,
        };
        if let Some(application) = exchange.application() {
            info.detail("application", application.name);
            if !application.product.is_empty() {
                info.product(application.product, application.version);
            }
        }
        let full = opening.side(server).len() >= OPENING_BYTES_MAX;
        if response.whole || full { Described::Whole } else { Described::Partly }
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        Some(Box::new(Logon::default()))
    }
}

/// `METHOD target HTTP/1.x`, then a header field or the empty line. Without the version (HTTP/0.9) it is no proof.
fn request(bytes: &[u8]) -> Option<Reading> {
    let method = bytes.iter().take(METHOD_BYTES_MAX + 1).position(|b| !matches!(b, b'A'..=b'Z' | b'-' | b'_'));
    let Some(method) = method else {
        return if bytes.len() > METHOD_BYTES_MAX { Some(Reading::No) } else { None };
    };
    if method < 3 || bytes.get(method) != Some(&b' ') {
        return Some(Reading::No);
    }
    // A target holds no control characters: binary data that begins with capitals is refused here.
    let mut lines = Lines::new(bytes);
    let Some(line) = lines.next() else {
        let text = bytes.iter().all(|b| *b >= b' ' || matches!(b, b'\t' | b'\r'));
        return if text { None } else { Some(Reading::No) };
    };
    if !line.ends_with(b" HTTP/1.1") && !line.ends_with(b" HTTP/1.0") {
        // `GET /` of HTTP/0.9: the answer may still tell. Any other protocol's line does not.
        let other =
            line.rsplit(|b| *b == b' ').next().is_some_and(|last| last.contains(&b'/') && !last.starts_with(b"/"));
        return if other || !line.starts_with(b"GET /") { Some(Reading::No) } else { None };
    }
    field(lines.rest()).map(|header| if header { Reading::Client } else { Reading::No })
}

/// `HTTP/1.x NNN`, then the reason or the end of the line.
fn status(bytes: &[u8]) -> Option<Reading> {
    if !begins(bytes, b"HTTP/1.")? {
        return Some(Reading::No);
    }
    let line = Lines::new(bytes).next();
    let valid = match line.unwrap_or(bytes).get(7..)? {
        [b'0' | b'1', b' ', b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => true,
        [b'0' | b'1', b' ', b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', ..] => true,
        short if line.is_none() && short.len() < 6 => return None,
        _ => false,
    };
    line.or(Some(bytes).filter(|b| !valid || b.len() > 512))?;
    Some(if valid { Reading::Server } else { Reading::No })
}

/// Is this the start of a header field, or the empty line that ends a head?
fn field(bytes: &[u8]) -> Option<bool> {
    let end = bytes.iter().take(64).position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')));
    match end.map(|end| (end, bytes.get(end))) {
        Some((0, Some(b'\r' | b'\n'))) => Some(true),
        Some((1.., Some(b':'))) => Some(true),
        Some(_) => Some(false),
        None if bytes.len() >= 64 => Some(false),
        None => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Host,
    UserAgent,
    Server,
    Upgrade,
}

const FIELDS: [(&str, Field); 4] =
    [("host", Field::Host), ("user-agent", Field::UserAgent), ("server", Field::Server), ("upgrade", Field::Upgrade)];

/// The start line and the fields of interest of one head.
#[derive(Default)]
struct Head<'a> {
    first: Option<&'a [u8]>,
    fields: arrayvec::ArrayVec<(Field, &'a [u8]), 8>,
    /// What follows the start line.
    fields_text: &'a [u8],
    /// The empty line was reached.
    whole: bool,
    rest: &'a [u8],
}

impl<'a> Head<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let mut lines = Lines::new(bytes);
        let mut head = Head { first: lines.next(), ..Head::default() };
        head.fields_text = lines.rest();
        for line in lines.by_ref() {
            if line.is_empty() {
                head.whole = true;
                break;
            }
            let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
            let (name, value) = line.split_at(colon);
            if let Some((_, known)) = FIELDS.iter().find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes())) {
                let _ = head.fields.try_push((*known, value.get(1..).unwrap_or_default().trim_ascii()));
            }
        }
        head.rest = lines.rest();
        head
    }

    /// The head after interim ones such as 100 Continue (RFC 9110 section 15.2); 101 ends HTTP and is final.
    fn final_response(mut bytes: &'a [u8]) -> Self {
        loop {
            let head = Head::read(bytes);
            let interim = head.first.is_some_and(|l| find(l, " 1") == Some(8) && find(l, " 101") != Some(8));
            if !interim || !head.whole {
                return Head { whole: head.whole && !interim, ..head };
            }
            bytes = head.rest;
        }
    }
}

/// `Apache/2.4.57 (Debian) PHP/8` is Apache, 2.4.57; `Microsoft-HTTPAPI/2.0` likewise; `nginx` has no version.
fn product(server: &[u8]) -> (&[u8], Option<&[u8]>) {
    let named = server.split(|b| *b == b'(').next().unwrap_or(server).trim_ascii();
    let Some(slash) = named.iter().position(|b| *b == b'/') else { return (named, None) };
    let (product, version) = named.split_at(slash);
    let version = version.get(1..).unwrap_or_default().split(|b| matches!(b, b' ' | b',' | b';')).next();
    (product, version)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, probed, tcp};

    pub(in crate::app) const REQUEST: &[u8] =
        b"GET /index.html?token=secret HTTP/1.1\r\nHost: web-03.lab\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
    pub(in crate::app) const RESPONSE: &[u8] =
        b"HTTP/1.1 200 OK\r\nServer: Apache/2.4.57 (Debian)\r\nContent-Length: 2\r\n\r\nok";

    #[test]
    fn a_request_with_a_header_is_a_proof_and_names_the_server_side() {
        assert_eq!(probed(&Http, tcp(REQUEST, b"")), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Http, tcp(b"", RESPONSE)), Probe::Certain(Some(Side::Resp)));
        assert_eq!(
            probed(&Http, tcp(b"RPC_IN_DATA /rpc HTTP/1.1\r\nHost: x\r\n\r\n", b"")),
            Probe::Certain(Some(Side::Resp))
        );
    }

    #[test]
    fn what_only_looks_like_http_is_not() {
        for near in [
            &b"OPTIONS rtsp://cam/1 RTSP/1.0\r\nCSeq: 1\r\n"[..],
            b"OPTIONS sip:100@10.0.0.1 SIP/2.0\r\nVia: x\r\n",
            b"GET / HTTP/1.1\r\n\x00\x01\x02",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GETX\x00\x01",
            b"get / HTTP/1.1\r\nHost: x\r\n",
            b"USER root\r\n",
        ] {
            assert_eq!(probed(&Http, tcp(near, b"")), Probe::NotForUs, "{}", near.escape_ascii());
        }
        assert_eq!(probed(&Http, tcp(b"", b"HTTP/2 200\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Http, tcp(b"", b"HTTP/1.1 OK\r\n")), Probe::NotForUs);
    }

    #[test]
    fn a_request_that_is_answered_by_another_protocol_makes_no_web_server() {
        assert_eq!(probed(&Http, tcp(REQUEST, b"SSH-2.0-OpenSSH_9.2p1\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Http, tcp(b"\x16\x03", RESPONSE)), Probe::Certain(Some(Side::Resp)));
        // Mid-connection, the answer's beginning was not seen.
        assert_eq!(probed(&Http, exam::midstream(REQUEST, b"</html>")), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn http_0_9_is_proved_by_the_answer_only() {
        assert_eq!(probed(&Http, tcp(b"GET /\r\n", b"")), Probe::Unsure);
        assert_eq!(probed(&Http, tcp(b"GET /\r\n", b"hello")), Probe::NotForUs);
        assert_eq!(probed(&Http, tcp(b"GET /\r\n", b"HTTP/1.1 400 Bad Request\r\n")), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn the_server_names_its_product_and_no_query_is_kept() {
        let (info, whole) = described(&Http, tcp(REQUEST, RESPONSE));
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("Apache"), Some("2.4.57")));
        assert_eq!(
            (info.get("host"), info.get("method"), info.get("status")),
            (Some("web-03.lab"), Some("GET"), Some("200"))
        );
        assert_eq!(whole, Described::Whole);
        assert!(!format!("{info:?}").contains("secret"));
    }

    #[test]
    fn an_interim_answer_is_passed_over_and_an_upgrade_is_noted() {
        let (info, _) = described(
            &Http,
            tcp(REQUEST, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nServer: nginx\r\n\r\n"),
        );
        assert_eq!((info.product.as_deref(), info.get("status")), (Some("nginx"), Some("201")));
        let ws = b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
        let (info, whole) = described(&Http, tcp(ws, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"));
        assert_eq!(
            (info.get("upgrade"), info.get("status"), whole),
            (Some("websocket"), Some("101"), Described::Whole)
        );
        let (info, _) = described(&Http, tcp(REQUEST, b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 2.7.1\r\n\r\n"));
        assert_eq!((info.get("application"), info.product.as_deref()), (Some("influxdb"), Some("InfluxDB")));
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Http, tcp(REQUEST, RESPONSE));
    }
}
