//! DRDA, the protocol of Db2 and Derby (The Open Group): EXCSAT and its reply.
//!
//! Read are the server's class and release; user names and passwords come later and are not read.

use super::evidence::{Evidence, Role, after, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Drda;

/// Code points: exchange server attributes, and its reply.
const EXCSAT: u16 = 0x1041;
const EXCSATRD: u16 = 0x1443;
/// Of the reply: the server's class name and product release level.
const SRVCLSNM: [u8; 2] = [0x11, 0x47];
const SRVRLSLV: [u8; 2] = [0x11, 0x5a];

impl Protocol for Drda {
    fn name(&self) -> &'static str {
        "drda"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| structure(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(said) = info.server.map(|side| opening.side(side)) else { return Described::Whole };
        let Some(class) = parameter(said, SRVCLSNM) else { return Described::Partly };
        if class.starts_with("QDB2") {
            // "SQL11055" is 11.05.
            let release = parameter(said, SRVRLSLV).unwrap_or_default();
            let digits = release.strip_prefix("SQL").and_then(|d| Some((d.get(..2)?, d.get(2..4)?)));
            let version = digits.map(|(major, minor)| format!("{}.{minor}", major.trim_start_matches('0')));
            info.product("Db2", version.as_ref().map(String::as_bytes));
        } else {
            // Derby: "CSS10140/10.14.2.0 - (1828579)".
            let release = parameter(said, SRVRLSLV).unwrap_or_default();
            let version = release.split('/').nth(1).and_then(|v| v.split(' ').next());
            info.product(class, version.map(str::as_bytes));
        }
        Described::Whole
    }
}

/// A data stream structure (length, 0xd0, format, correlation) around one object (length, code point).
fn structure(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let outer = r.u16()?;
    if outer < 10 || r.u8()? != 0xd0 {
        return Some(No);
    }
    // Type: request, reply or object; chained or not.
    if !matches!(r.u8()? & 0x0f, 1..=3) {
        return Some(No);
    }
    let (_correlation, inner, point) = (r.u16()?, r.u16()?, r.u16()?);
    Some(match point {
        EXCSAT => Hint(Role::Client).only_if(inner + 6 == outer),
        EXCSATRD => Hint(Role::Server).only_if(inner + 6 == outer),
        _ => No,
    })
}

/// A parameter's text: its length stands before its code point. It is EBCDIC (code page 500), of Derby UTF-8.
fn parameter(bytes: &[u8], point: [u8; 2]) -> Option<String> {
    let at = bytes.windows(2).position(|w| w == point)?;
    let length = Reader::new(bytes.get(at.checked_sub(2)?..at)?).u16()?;
    let text = after(bytes, &point)?.get(..usize::from(length).checked_sub(4)?)?;
    Some(text.iter().map(|b| letter(*b)).collect())
}

fn letter(byte: u8) -> char {
    char::from(match byte {
        0xc1..=0xc9 => byte - 0xc1 + b'A',
        0xd1..=0xd9 => byte - 0xd1 + b'J',
        0xe2..=0xe9 => byte - 0xe2 + b'S',
        0x81..=0x89 => byte - 0x81 + b'a',
        0x91..=0x99 => byte - 0x91 + b'j',
        0xa2..=0xa9 => byte - 0xa2 + b's',
        0xf0..=0xf9 => byte - 0xf0 + b'0',
        // Point and slash of EBCDIC are letters of ASCII that no name here has in their case.
        0x4b => b'.',
        0x61 => b'/',
        0x40 => b' ',
        0x20..0x7f => byte,
        _ => b' ',
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const REQUEST: &[u8] = b"\0\x12\xd0\x41\0\x01\0\x0c\x10\x41\0\x08\x11\x5e\x84\x82\x82\xf2";
    const REPLY: &[u8] = b"\0\x1e\xd0\x43\0\x01\0\x18\x14\x43\0\x08\x11\x47\xd8\xc4\xc2\xf2\0\x0c\x11\x5a\xe2\xd8\xd3\xf1\xf1\xf0\xf5\xf5";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("drda", REQUEST, REPLY, Some(Side::Resp))]
    }

    #[test]
    fn db2_tells_its_release() {
        let info = examples()[0].described(&Drda);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("Db2"), Some("11.05")));
    }

    #[test]
    fn one_side_alone_other_lengths_and_code_points_are_no_proof() {
        assert_eq!(ask(&Drda, Transport::Tcp, REQUEST, b""), Probe::Unsure);
        assert_eq!(ask(&Drda, Transport::Tcp, REQUEST, b"HTTP/1.1 400"), Probe::NotForUs);
        assert_eq!(ask(&Drda, Transport::Tcp, b"\0\x12\xd0\x41\0\x01\0\x0d\x10\x41", b""), Probe::NotForUs);
        assert_eq!(ask(&Drda, Transport::Tcp, b"\0\x12\xd0\x41\0\x01\0\x0c\x10\x42", b""), Probe::NotForUs);
    }
}
