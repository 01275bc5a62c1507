//! TLS 1.0–1.3 and SSL 2 and 3 hellos: a ClientHello or a ServerHello is the proof.
//!
//! Read are the handshake messages inside the opening (at most 8 KiB a direction); a certificate chain that does not
//! fit loses its later certificates, never the description of the hello.

use super::reader::Reader;
use super::reading::{Reading, probe_sides};
use super::tls_hello::{ClientHello, ServerHello};
use super::{Described, OPENING_BYTES_MAX, Opening, Probe, Protocol, ja3, ja4, tls_certificate};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Tls;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_HELLO_DONE: u8 = 14;

impl Protocol for Tls {
    fn name(&self) -> &'static str {
        "tls"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        probe_sides(opening, hello)
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        let mut settled = false;
        let client = opening.side(server.other());
        let flight = Flight::read(client);
        for (kind, body) in flight.messages() {
            if let Some(hello) = ClientHello::read(body).filter(|_| kind == CLIENT_HELLO) {
                describe_client(&hello, info);
            }
        }
        if client.first().is_some_and(|b| b & 0x80 != 0) {
            info.detail("hello", "SSLv2");
        }
        let answer = opening.side(server);
        let flight = Flight::read(answer);
        for (kind, body) in flight.messages() {
            match kind {
                SERVER_HELLO => {
                    if let Some(hello) = ServerHello::read(body) {
                        settled |= hello.version() >= 0x0304;
                        describe_server(&hello, info);
                    }
                }
                CERTIFICATE => tls_certificate::describe(body, info),
                SERVER_HELLO_DONE => settled = true,
                _ => {}
            }
        }
        settled |= flight.ended || answer.len() >= OPENING_BYTES_MAX;
        if settled { Described::Whole } else { Described::Partly }
    }
}

fn describe_client(hello: &ClientHello<'_>, info: &mut AppInfo) {
    if let Some(sni) = hello.sni {
        info.detail("sni", sni);
    }
    if !hello.alpn.is_empty() {
        info.detail("alpn_offered", hello.alpn.join(&b','));
    }
    info.detail("ja3", ja3::client(hello));
    info.detail("ja4", ja4::client(hello, 't'));
}

fn describe_server(hello: &ServerHello<'_>, info: &mut AppInfo) {
    info.detail("version", version_name(hello.version()));
    match tls_parser::TlsCipherSuite::from_id(hello.cipher) {
        Some(suite) => info.detail("cipher", suite.name),
        None => info.detail("cipher", format!("{:#06x}", hello.cipher)),
    }
    if let Some(alpn) = hello.alpn {
        info.detail("alpn", alpn);
    }
    if !hello.retry {
        info.detail("ja3s", ja3::server(hello));
    }
}

/// Suricata's names.
fn version_name(version: u16) -> String {
    match version {
        0x0002 => "SSLv2".to_owned(),
        0x0300 => "SSLv3".to_owned(),
        0x0301 => "TLSv1".to_owned(),
        0x0302 => "TLS 1.1".to_owned(),
        0x0303 => "TLS 1.2".to_owned(),
        0x0304 => "TLS 1.3".to_owned(),
        other => format!("{other:#06x}"),
    }
}

/// The start of a hello, as far as its fixed fields and their lengths agree.
fn hello(bytes: &[u8]) -> Option<Reading> {
    let mut r = Reader::new(bytes);
    let first = r.u8()?;
    if first & 0x80 != 0 {
        return ssl2_hello(bytes);
    }
    if first == ALERT {
        // Refusing the hello in the clear: version, two bytes, warning or fatal.
        let fits = r.u8()? == 3 && r.u8()? <= 4 && r.u16()? == 2 && matches!(r.u8()?, 1 | 2);
        return Some(if fits { Reading::Fits } else { Reading::No });
    }
    if first != HANDSHAKE || r.u8()? != 3 || r.u8()? > 4 {
        return Some(Reading::No);
    }
    let record = usize::from(r.u16()?);
    // RFC 5246 section 6.2.3: 2^14 bytes and at most 2048 of expansion; a hello is longer than 41.
    if !(42..=16384 + 2048).contains(&record) {
        return Some(Reading::No);
    }
    let kind = r.u8()?;
    if !matches!(kind, CLIENT_HELLO | SERVER_HELLO) {
        return Some(Reading::No);
    }
    let length = r.u24()? as usize;
    let (major, minor) = (r.u8()?, r.u8()?);
    // 0x7fxx: the ServerHello of TLS 1.3 drafts.
    let version_fits = (major == 3 && minor <= 4) || (major == 0x7f && kind == SERVER_HELLO);
    if !(38..=1 << 16).contains(&length) || !version_fits {
        return Some(Reading::No);
    }
    r.skip(32)?;
    let session = usize::from(r.u8()?);
    if session > 32 {
        return Some(Reading::No);
    }
    r.skip(session)?;
    if kind == SERVER_HELLO {
        r.skip(2)?;
        // Compression: null, DEFLATE (RFC 3749) or LZS (RFC 3943).
        return Some(if matches!(r.u8()?, 0 | 1 | 64) { Reading::Server } else { Reading::No });
    }
    let ciphers = usize::from(r.u16()?);
    let fits = ciphers >= 2 && ciphers % 2 == 0 && ciphers + session + 37 <= length;
    Some(if fits { Reading::Client } else { Reading::No })
}

/// SSL 2 framing (RFC 5246 appendix E.2): every length must add up to the record's.
fn ssl2_hello(bytes: &[u8]) -> Option<Reading> {
    let mut r = Reader::new(bytes);
    let record = usize::from(r.u16()? & 0x7fff);
    match r.u8()? {
        1 => {
            let version = r.u16()?;
            let (ciphers, session, challenge) = (usize::from(r.u16()?), usize::from(r.u16()?), usize::from(r.u16()?));
            let fits = matches!(version, 0x0002 | 0x0300..=0x0303)
                && ciphers > 0
                && ciphers % 3 == 0
                && matches!(session, 0 | 16)
                && (16..=32).contains(&challenge)
                && record == 9 + ciphers + session + challenge;
            Some(if fits { Reading::Client } else { Reading::No })
        }
        4 => {
            let (hit, kind, version) = (r.u8()?, r.u8()?, r.u16()?);
            let (certificate, ciphers, connection) =
                (usize::from(r.u16()?), usize::from(r.u16()?), usize::from(r.u16()?));
            let fits = hit <= 1
                && kind <= 1
                && version == 0x0002
                && ciphers % 3 == 0
                && connection == 16
                && record == 11 + certificate + ciphers + connection;
            Some(if fits { Reading::Server } else { Reading::No })
        }
        _ => Some(Reading::No),
    }
}

/// The clear handshake bytes of one direction, records taken off.
struct Flight {
    bytes: Vec<u8>,
    /// Encrypted records follow.
    ended: bool,
}

impl Flight {
    fn read(bytes: &[u8]) -> Flight {
        let mut flight = Flight { bytes: Vec::new(), ended: false };
        let mut r = Reader::new(bytes);
        while let (Some(kind), Some(_version), Some(length)) = (r.u8(), r.u16(), r.u16()) {
            let fragment = r.take(usize::from(length).min(r.rest().len())).unwrap_or_default();
            match kind {
                HANDSHAKE => flight.bytes.extend_from_slice(fragment),
                // A TLS 1.3 server that asks to try again sends this in the clear (RFC 8446 appendix D.4).
                CHANGE_CIPHER_SPEC | ALERT => flight.ended = true,
                _ => {
                    flight.ended = true;
                    break;
                }
            }
        }
        flight
    }

    /// Kind and body of each whole message.
    fn messages(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut r = Reader::new(&self.bytes);
        std::iter::from_fn(move || {
            let (kind, length) = (r.u8()?, r.u24()?);
            r.take(length as usize).map(|body| (kind, body))
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, probed, tcp};
    use crate::app::tls_hello::tests::{client_hello_body, server_hello_body};

    pub(in crate::app) fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = body.len() as u32;
        let mut message = vec![kind];
        message.extend(length.to_be_bytes().iter().skip(1));
        message.extend(body);
        let mut out = vec![HANDSHAKE, 3, 1];
        out.extend((message.len() as u16).to_be_bytes());
        out.extend(message);
        out
    }

    pub(in crate::app) fn client() -> Vec<u8> {
        record(CLIENT_HELLO, &client_hello_body())
    }

    pub(in crate::app) fn server() -> Vec<u8> {
        let mut flight = record(SERVER_HELLO, &server_hello_body());
        flight.extend(record(CERTIFICATE, &tls_certificate::tests::certificate_body()));
        flight.extend(record(SERVER_HELLO_DONE, &[]));
        flight
    }

    #[test]
    fn either_hello_is_a_proof_and_tells_who_serves() {
        assert_eq!(probed(&Tls, tcp(&client(), b"")), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Tls, tcp(b"", &server())), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Tls, tcp(&server(), b"")), Probe::Certain(Some(Side::Orig)));
    }

    #[test]
    fn a_refused_hello_is_still_tls_but_an_answer_of_another_kind_is_not() {
        let alert = b"\x15\x03\x03\x00\x02\x02\x28";
        assert_eq!(probed(&Tls, tcp(&client(), alert)), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Tls, tcp(&client(), b"SSH-2.0-x\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Tls, tcp(b"", alert)), Probe::Unsure);
    }

    #[test]
    fn an_ssl2_hello_must_add_up() {
        let mut hello = vec![0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 16];
        hello.extend([0u8; 37]);
        assert_eq!(probed(&Tls, tcp(&hello, b"")), Probe::Certain(Some(Side::Resp)));
        hello[1] = 0x2f;
        assert_eq!(probed(&Tls, tcp(&hello, b"")), Probe::NotForUs);
    }

    #[test]
    fn near_misses_are_not_tls() {
        let mut bad_version = client();
        bad_version[1] = 4;
        let mut odd_ciphers = client();
        let at = 5 + 4 + 2 + 32 + 1 + 1;
        odd_ciphers[at] |= 1;
        let application_data = [&[23, 3, 3, 0, 64][..], &[0xaa; 64]].concat();
        for near in [&bad_version[..], &odd_ciphers, &application_data, b"\x16\x03\x01 plain text, not a hello"] {
            assert_eq!(probed(&Tls, tcp(near, b"")), Probe::NotForUs, "{}", near.escape_ascii());
        }
    }

    #[test]
    fn the_handshake_is_described() {
        let (info, whole) = described(&Tls, tcp(&client(), &server()));
        assert_eq!(info.get("sni"), Some("web-03.lab"));
        assert_eq!(info.get("version"), Some("TLS 1.2"));
        assert_eq!(info.get("cipher"), Some("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"));
        assert_eq!(info.get("subject"), Some("CN=web-03.lab"));
        assert_eq!(whole, Described::Whole);
        let (_, part) = described(&Tls, tcp(&client(), b""));
        assert_eq!(part, Described::Partly);
    }

    #[test]
    fn a_message_over_two_records_is_put_together() {
        let body = client_hello_body();
        let whole = record(CLIENT_HELLO, &body);
        let message = &whole[5..];
        let (one, two) = message.split_at(100);
        let mut split = vec![HANDSHAKE, 3, 1, 0, 100];
        split.extend(one);
        split.extend([HANDSHAKE, 3, 1]);
        split.extend((two.len() as u16).to_be_bytes());
        split.extend(two);
        let (info, _) = described(&Tls, tcp(&split, b""));
        assert_eq!(info.get("sni"), Some("web-03.lab"));
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Tls, tcp(&client(), &server()));
    }
}
