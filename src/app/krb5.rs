//! Kerberos 5 (RFC 4120) with a KDC: AS and TGS exchanges and KRB-ERROR, over UDP, or over TCP after a length.
//!
//! Read are protocol version, message type, realm and error code; tickets and names are not kept.

use super::ber;
use super::reader::Reader;
use super::reading::{Reading, probe_sides};
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Krb5;

const AS_REQ: u8 = 10;
const AS_REP: u8 = 11;
const TGS_REQ: u8 = 12;
const TGS_REP: u8 = 13;
const ERROR: u8 = 30;
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 2;
const GENERAL_STRING: u8 = 0x1b;
/// A ticket with a large authorisation (PAC) has been seen at 64 KiB; RFC 4120 sets no bound.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

impl Protocol for Krb5 {
    fn name(&self) -> &'static str {
        "krb5"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first & 0xe0 == 0x60
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        probe_sides(opening, |bytes| read(bytes, opening.transport))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        if let Some(request) = message(opening.side(server.other()), opening.transport) {
            info.detail("message", name(request.kind));
            info.detail("realm", request.realm.unwrap_or_default());
        }
        let Some(answer) = message(opening.side(server), opening.transport) else { return Described::Partly };
        info.detail("answer", name(answer.kind));
        if let Some(realm) = answer.realm {
            info.detail("realm", realm);
        }
        if let Some(error) = answer.error {
            info.detail("error", error.to_string());
        }
        Described::Whole
    }
}

/// RFC 4120 section 7.2.2: over TCP each message has its length before it, the high bit reserved.
fn unframed(bytes: &[u8], transport: Transport) -> Option<(Reader<'_>, usize)> {
    let mut r = Reader::new(bytes);
    let length = if transport == Transport::Tcp { r.u32()? as usize } else { bytes.len() };
    Some((r, length))
}

fn read(bytes: &[u8], transport: Transport) -> Option<Reading> {
    // Lengths of a megabyte and more need no second look.
    if transport == Transport::Tcp && (*bytes.first()? != 0 || bytes.get(1).is_some_and(|b| *b > 0x10)) {
        return Some(Reading::No);
    }
    let (mut r, framed) = unframed(bytes, transport)?;
    let rest = r.rest().len();
    let Some((tag, length)) = ber::header(&mut r)? else { return Some(Reading::No) };
    let kind = tag & 0x1f;
    if tag & 0xe0 != 0x60
        || !matches!(kind, AS_REQ..=TGS_REP | ERROR)
        || !(24..=MESSAGE_BYTES_MAX).contains(&framed)
        || rest - r.rest().len() + length != framed
    {
        return Some(Reading::No);
    }
    let Some((SEQUENCE, _)) = ber::header(&mut r)? else { return Some(Reading::No) };
    // pvno and msg-type are [1], [2] in requests and [0], [1] in answers.
    let request = matches!(kind, AS_REQ | TGS_REQ);
    let first = if request { 0xa1 } else { 0xa0 };
    let expected = [first, 3, 2, 1, 5, first + 1, 3, 2, 1, kind];
    if r.take(expected.len())? != expected {
        return Some(Reading::No);
    }
    Some(if request { Reading::Client } else { Reading::Server })
}

/// What is told of the first message, as far as it is there.
struct Message<'a> {
    kind: u8,
    realm: Option<&'a [u8]>,
    error: Option<u8>,
}

fn message(bytes: &[u8], transport: Transport) -> Option<Message<'_>> {
    read(bytes, transport).filter(|reading| *reading != Reading::No)?;
    let (mut r, _) = unframed(bytes, transport)?;
    let (tag, _) = ber::header(&mut r)??;
    let kind = tag & 0x1f;
    let sequence = ber::open(&mut r, SEQUENCE)?;
    let mut error = None;
    let realm = match kind {
        AS_REQ | TGS_REQ => body(sequence).and_then(|fields| ber::find(fields, 0xa2)),
        ERROR => {
            let code = ber::find(sequence, 0xa6).and_then(|field| ber::find(Reader::new(field), INTEGER));
            error = code.and_then(|bytes| bytes.last().copied());
            ber::find(sequence, 0xa9)
        }
        _ => ber::find(sequence, 0xa3),
    };
    Some(Message { kind, realm: realm.and_then(|field| ber::find(Reader::new(field), GENERAL_STRING)), error })
}

/// The fields of req-body [4].
fn body(mut sequence: Reader<'_>) -> Option<Reader<'_>> {
    loop {
        let mut here = sequence;
        if let Some(mut content) = ber::open(&mut here, 0xa4) {
            return ber::open(&mut content, SEQUENCE);
        }
        ber::element(&mut sequence)?;
    }
}

fn name(kind: u8) -> &'static str {
    match kind {
        AS_REQ => "as-req",
        AS_REP => "as-rep",
        TGS_REQ => "tgs-req",
        TGS_REP => "tgs-rep",
        _ => "error",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, probed, tcp, udp};

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, content.len() as u8][..], &content].concat()
    }

    fn integer(value: u8) -> Vec<u8> {
        vec![2, 1, value]
    }

    pub(in crate::app) fn as_req() -> Vec<u8> {
        let realm = der(0xa2, &[&der(GENERAL_STRING, &[b"LAB.EXAMPLE"])]);
        let body = der(SEQUENCE, &[&der(0xa0, &[&[3, 5, 0, 0, 0, 0, 0]]), &realm]);
        let fields = [der(0xa1, &[&integer(5)]), der(0xa2, &[&integer(AS_REQ)]), der(0xa4, &[&body])].concat();
        der(0x6a, &[&der(SEQUENCE, &[&fields])])
    }

    pub(in crate::app) fn error() -> Vec<u8> {
        let fields = [
            der(0xa0, &[&integer(5)]),
            der(0xa1, &[&integer(ERROR)]),
            der(0xa6, &[&integer(25)]),
            der(0xa9, &[&der(GENERAL_STRING, &[b"LAB.EXAMPLE"])]),
        ];
        der(0x7e, &[&der(SEQUENCE, &[&fields.concat()])])
    }

    pub(in crate::app) fn over_tcp(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u32).to_be_bytes()[..], message].concat()
    }

    #[test]
    fn a_request_or_an_answer_is_a_proof() {
        let proved = Probe::Certain(Some(Side::Resp));
        assert_eq!(probed(&Krb5, udp(&as_req(), b"")), proved);
        assert_eq!(probed(&Krb5, tcp(&over_tcp(&as_req()), b"")), proved);
        assert_eq!(probed(&Krb5, udp(b"", &error())), proved);
    }

    #[test]
    fn near_misses_are_not_kerberos() {
        let mut version4 = as_req();
        version4[8] = 4;
        let mut short = over_tcp(&as_req());
        short[3] += 1;
        assert_eq!(probed(&Krb5, udp(&version4, b"")), Probe::NotForUs);
        assert_eq!(probed(&Krb5, tcp(&short, b"")), Probe::NotForUs);
        // SMB over TCP has a length before it too, and LDAP is BER too.
        assert_eq!(probed(&Krb5, tcp(b"\x00\x00\x00\x54\xffSMB\x72\x00", b"")), Probe::NotForUs);
        assert_eq!(probed(&Krb5, udp(b"\x60\x0c\x02\x01\x03\x04\x00\x80\x00", b"")), Probe::NotForUs);
        assert_eq!(probed(&Krb5, tcp(&as_req(), b"")), Probe::NotForUs);
    }

    #[test]
    fn realm_and_error_are_described() {
        let (info, whole) = described(&Krb5, udp(&as_req(), &error()));
        assert_eq!((info.get("realm"), info.get("message")), (Some("LAB.EXAMPLE"), Some("as-req")));
        assert_eq!((info.get("answer"), info.get("error"), whole), (Some("error"), Some("25"), Described::Whole));
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Krb5, tcp(&over_tcp(&as_req()), &over_tcp(&error())));
    }
}
