//! SLP, the service location protocol (RFC 2608, RFC 2165): ESXi, printers and old Novell services answer it.
//!
//! A header with its own length and a language tag proves it.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{No, Proof, Short};

pub(super) struct Slp;

impl Protocol for Slp {
    fn name(&self) -> &'static str {
        "service_location_protocol"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    fn datagram_begins(&self, first: u8) -> bool {
        matches!(first, 1 | 2)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let datagram = opening.transport == Transport::Udp;
        weigh(opening, |bytes| {
            let length = datagram.then_some(bytes.len());
            match bytes.first() {
                Some(1) => v1(bytes, length),
                Some(2) => v2(bytes, length),
                _ => Some(No),
            }
            .unwrap_or(if datagram { No } else { Short })
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        if let Some(version) = opening.sides().iter().find_map(|(_, bytes)| bytes.first()) {
            info.detail("version", version.to_string());
        }
        Described::Whole
    }
}

/// RFC 2608 section 8: version, function, length, flags, offset of an extension, transaction, language tag.
fn v2(bytes: &[u8], datagram: Option<usize>) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    r.skip(1)?;
    let function = r.u8()?;
    if !(1..=11).contains(&function) {
        return Some(No);
    }
    let length = usize::try_from(r.u24()?).ok()?;
    if !(16..=0xffff).contains(&length) || datagram.is_some_and(|d| d != length) {
        return Some(No);
    }
    if r.u16()? & 0x1fff != 0 {
        return Some(No);
    }
    r.skip(5)?;
    let tag_bytes = usize::from(r.u16()?);
    if !(2..=16).contains(&tag_bytes) {
        return Some(No);
    }
    let tag = r.take(tag_bytes)?;
    Some(Proof(role(function)).only_if(tag.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')))
}

/// RFC 2165 section 4: version, function, length, flags, dialect 0, two letters of language, character set.
fn v1(bytes: &[u8], datagram: Option<usize>) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    r.skip(1)?;
    let function = r.u8()?;
    if !(1..=10).contains(&function) {
        return Some(No);
    }
    let length = usize::from(r.u16()?);
    if length < 12 || datagram.is_some_and(|d| d != length) {
        return Some(No);
    }
    let (flags, dialect) = (r.u8()?, r.u8()?);
    let language: [u8; 2] = r.array()?;
    let characters = r.u16()?;
    let fits = flags & 0x07 == 0 && dialect == 0 && language.iter().all(u8::is_ascii_alphabetic) && characters < 2000;
    Some(Proof(role(function)).only_if(fits))
}

fn role(function: u8) -> Role {
    match function {
        1 | 3 | 4 | 6 | 9 => Role::Client,
        // Adverts are also sent unasked, to the group.
        8 | 11 => Role::Peer,
        _ => Role::Server,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const ASK: &[u8] = b"\x02\x01\0\0\x24\x20\0\0\0\0\x12\x34\0\x02en\0\0\0\x07service\0\x07DEFAULT";
    const ANSWER: &[u8] = b"\x02\x02\0\0\x14\0\0\0\0\0\x12\x34\0\x02en\0\0\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("service_location_protocol", ASK, ANSWER, Some(Side::Resp)),
            Example::tcp("service_location_protocol", ASK, ANSWER, Some(Side::Resp)),
            Example::udp(
                "service_location_protocol",
                b"\x01\x01\0\x10\0\0en\0\x03\0\x07\0\0\0\0",
                b"",
                Some(Side::Resp),
            ),
        ]
    }

    #[test]
    fn another_length_flag_or_language_is_not_slp() {
        let other = |at: usize, with: u8| {
            let mut bytes = ASK.to_vec();
            bytes[at] = with;
            bytes
        };
        refuses(
            &Slp,
            Transport::Udp,
            &[
                (&other(4, 0x25), b""),
                (&other(1, 12), b""),
                (&other(6, 1), b""),
                (&other(14, 0), b""),
                (&ASK[..14], b""),
                (b"\x03\x01\0\0\x24", b""),
            ],
        );
        assert_eq!(ask(&Slp, Transport::Tcp, &ASK[..8], b""), Probe::Unsure);
    }
}
