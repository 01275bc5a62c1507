//! LDAP (RFC 4511) over TCP, and connectionless LDAP over UDP: one message whose operation is read to its fields.
//!
//! Bind names and passwords are never kept, only the kind of authentication.

use super::ber;
use super::ntlm::Logon;
use super::reader::Reader;
use super::reading::{Reading, probe_sides};
use super::{Described, Follow, OPENING_BYTES_MAX, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Ldap;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const SEARCH_REQUEST: u8 = 0x63;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const EXTENDED_REQUEST: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;
const STARTTLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

impl Protocol for Ldap {
    fn name(&self) -> &'static str {
        "ldap"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == 0x30
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        probe_sides(opening, read)
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        let client = opening.side(server.other());
        let mut r = Reader::new(client);
        for (tag, mut operation) in std::iter::from_fn(|| operation(&mut r)).take(8) {
            match tag {
                BIND_REQUEST => {
                    if let Some((version, kind)) = bind(&mut operation) {
                        info.detail("version", version.to_string());
                        info.detail("auth", kind);
                    }
                }
                EXTENDED_REQUEST if ber::find(operation, 0x80) == Some(STARTTLS) => info.detail("starttls", "used"),
                _ => {}
            }
        }
        let known = info.get("auth").is_some() || info.get("starttls").is_some();
        let full = client.len() >= OPENING_BYTES_MAX || opening.transport == Transport::Udp;
        if known || full { Described::Whole } else { Described::Partly }
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        Some(Box::new(Logon::default()))
    }
}

/// The next whole message's operation: its tag and content.
fn operation<'a>(r: &mut Reader<'a>) -> Option<(u8, Reader<'a>)> {
    let (tag, content) = ber::element(r)?;
    if tag != SEQUENCE {
        return None;
    }
    let mut message = Reader::new(content);
    ber::element(&mut message).filter(|(tag, _)| *tag == INTEGER)?;
    ber::element(&mut message).map(|(tag, content)| (tag, Reader::new(content)))
}

/// Version and kind of authentication; SASL with its mechanism.
fn bind(r: &mut Reader<'_>) -> Option<(u8, Vec<u8>)> {
    let version = *ber::element(r)?.1.first()?;
    let (_, name) = ber::element(r)?;
    let (kind, credentials) = ber::element(r)?;
    let kind = match kind {
        0x80 if name.is_empty() && credentials.is_empty() => b"anonymous".to_vec(),
        0x80 => b"simple".to_vec(),
        0xa3 => {
            let mechanism = ber::find(Reader::new(credentials), OCTETS).unwrap_or_default();
            [&b"sasl "[..], mechanism].concat()
        }
        // Microsoft's sicily (MS-ADTS 5.1.1.1.3).
        _ => b"sicily".to_vec(),
    };
    Some((version, kind))
}

fn read(bytes: &[u8]) -> Option<Reading> {
    let mut r = Reader::new(bytes);
    // The header shows after one byte that most other protocols are not this.
    if r.u8()? != SEQUENCE {
        return Some(Reading::No);
    }
    let mut r = Reader::new(bytes);
    let Some((_, length)) = ber::header(&mut r)? else { return Some(Reading::No) };
    // messageID: 0 to 2^31-1 (section 4.1.1.1).
    let (id, id_bytes) = (r.u8()?, r.u8()?);
    if !(8..=1 << 24).contains(&length) || id != INTEGER || !matches!(id_bytes, 1..=4) {
        return Some(Reading::No);
    }
    if r.take(usize::from(id_bytes))?.first().is_some_and(|b| b & 0x80 != 0) {
        return Some(Reading::No);
    }
    let Some((tag, _)) = ber::header(&mut r)? else { return Some(Reading::No) };
    let valid = match tag {
        BIND_REQUEST => bind_request(&mut r),
        SEARCH_REQUEST => search_request(&mut r),
        EXTENDED_REQUEST => extended_request(&mut r),
        BIND_RESPONSE | SEARCH_DONE | EXTENDED_RESPONSE => result(&mut r),
        SEARCH_ENTRY => entry(&mut r),
        // Unbind, modify to compare, abandon, search reference and intermediate responses: too few bytes to prove.
        0x42 | 0x66..=0x6f | 0x4a | 0x50 | 0x73 | 0x79 => return Some(Reading::Fits),
        _ => Some(false),
    }?;
    Some(match (valid, tag) {
        (false, _) => Reading::No,
        (true, BIND_REQUEST | SEARCH_REQUEST | EXTENDED_REQUEST) => Reading::Client,
        (true, _) => Reading::Server,
    })
}

fn bind_request(r: &mut Reader<'_>) -> Option<bool> {
    if r.u8()? != INTEGER || r.u8()? != 1 || !matches!(r.u8()?, 1..=3) {
        return Some(false);
    }
    let Some((OCTETS, length)) = ber::header(r)? else { return Some(false) };
    r.skip(length)?;
    Some(matches!(r.u8()?, 0x80 | 0xa3 | 0x89..=0x8b))
}

fn search_request(r: &mut Reader<'_>) -> Option<bool> {
    let Some((OCTETS, length)) = ber::header(r)? else { return Some(false) };
    r.skip(length)?;
    for highest in [2, 3] {
        if r.u8()? != ENUMERATED || r.u8()? != 1 || r.u8()? > highest {
            return Some(false);
        }
    }
    // sizeLimit and timeLimit, then typesOnly.
    for _ in 0..2 {
        let [tag, length] = [r.u8()?, r.u8()?];
        if tag != INTEGER || !matches!(length, 1..=5) {
            return Some(false);
        }
        r.skip(usize::from(length))?;
    }
    Some(r.u8()? == 1 && r.u8()? == 1)
}

/// requestName: an object identifier in digits and dots.
fn extended_request(r: &mut Reader<'_>) -> Option<bool> {
    let Some((0x80, length)) = ber::header(r)? else { return Some(false) };
    let name = r.take(length.min(64))?;
    Some(length >= 5 && name.contains(&b'.') && name.iter().all(|b| b.is_ascii_digit() || *b == b'.'))
}

/// LDAPResult (section 4.1.9).
fn result(r: &mut Reader<'_>) -> Option<bool> {
    // 0–123 and 4096 are assigned; one byte is what servers send.
    if r.u8()? != ENUMERATED || r.u8()? != 1 || r.u8()? > 123 {
        return Some(false);
    }
    let Some((OCTETS, length)) = ber::header(r)? else { return Some(false) };
    r.skip(length)?;
    Some(r.u8()? == OCTETS)
}

/// SearchResultEntry: a name, then attributes.
fn entry(r: &mut Reader<'_>) -> Option<bool> {
    let Some((OCTETS, length)) = ber::header(r)? else { return Some(false) };
    r.skip(length)?;
    let Some((SEQUENCE, length)) = ber::header(r)? else { return Some(false) };
    if length == 0 {
        return Some(true);
    }
    let Some((SEQUENCE, _)) = ber::header(r)? else { return Some(false) };
    Some(r.u8()? == OCTETS)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, probed, tcp, udp};

    pub(in crate::app) const BIND: &[u8] = b"\x30\x1c\x02\x01\x01\x60\x17\x02\x01\x03\x04\x0bcn=app,o=la\x80\x05pa5s!";
    pub(in crate::app) const BOUND: &[u8] = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00";

    pub(in crate::app) fn rootdse() -> Vec<u8> {
        b"\x30\x25\x02\x01\x07\x63\x20\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectclass\x30\x00"
            .to_vec()
    }

    #[test]
    fn one_message_of_either_side_is_a_proof() {
        assert_eq!(probed(&Ldap, tcp(BIND, b"")), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Ldap, tcp(b"", BOUND)), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Ldap, udp(&rootdse(), b"")), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn near_misses_are_not_ldap() {
        // SNMPv1, a certificate, an operation of no such number, a bind of version 9.
        let snmp = b"\x30\x26\x02\x01\x00\x04\x06public\xa0\x19\x02\x01\x01";
        let certificate = b"\x30\x82\x03\x00\x30\x82\x02\x00\xa0\x03\x02\x01\x02";
        let unassigned = b"\x30\x0c\x02\x01\x01\x7d\x07\x0a\x01\x00\x04\x00\x04\x00";
        let bind9 = b"\x30\x1c\x02\x01\x01\x60\x17\x02\x01\x09\x04\x0bcn=app,o=la";
        for near in [&snmp[..], certificate, unassigned, bind9, b"0123456789"] {
            assert_eq!(probed(&Ldap, tcp(near, b"")), Probe::NotForUs, "{}", near.escape_ascii());
        }
    }

    #[test]
    fn the_kind_of_bind_is_described_and_no_secret_is() {
        let (info, whole) = described(&Ldap, tcp(BIND, BOUND));
        assert_eq!((info.get("auth"), info.get("version"), whole), (Some("simple"), Some("3"), Described::Whole));
        assert!(!format!("{info:?}").contains("pa5s"));
        let anonymous = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00";
        assert_eq!(described(&Ldap, tcp(anonymous, b"")).0.get("auth"), Some("anonymous"));
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Ldap, tcp(BIND, BOUND));
    }
}
