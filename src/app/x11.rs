//! X11: the client's setup and the display's answer, in the client's byte order. The cookie is not kept.
//!
//! The display serves. Its vendor and release are told.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct X11;

const AUTHORIZATION_BYTES_MAX: u16 = 256;

impl Protocol for X11 {
    fn name(&self) -> &'static str {
        "x11"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| {
            match bytes.first() {
                Some(b'B' | b'l') => setup(bytes),
                Some(0..=2) => answer(bytes),
                _ => Some(No),
            }
            .unwrap_or(Short)
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        let big = opening.side(server.other()).first() == Some(&b'B');
        let said = opening.side(server);
        match said.first() {
            Some(1) => {}
            _ => {
                info.detail("setup", "refused");
                return Described::Whole;
            }
        }
        let read = || {
            let mut r = Reader::new(said);
            r.skip(8)?;
            let release = if big { r.u32()? } else { r.u32_le()? };
            r.skip(12)?;
            let length = if big { r.u16()? } else { r.u16_le()? };
            r.skip(14)?;
            Some((release, r.take(usize::from(length))?))
        };
        let Some((release, vendor)) = read() else { return Described::Partly };
        // X.Org 1.20.13 is 12013000; since 21.1, 21.1.7 is 12101007.
        let parts = [release / 10_000_000, release / 100_000 % 100, release / 1000 % 100, release % 1000];
        let version = match parts {
            [_, major @ 21..=u32::MAX, minor, patch] => format!("{major}.{minor}.{patch}"),
            [major, minor, patch, _] => format!("{major}.{minor}.{patch}"),
        };
        info.product(vendor, (release >= 10_000_000).then_some(version.as_bytes()));
        Described::Whole
    }
}

/// Byte order, unused, version 11.0, lengths of authorization name and data, unused; then those, padded.
fn setup(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let big = r.u8()? == b'B';
    r.skip(1)?;
    let word = |r: &mut Reader<'_>| if big { r.u16() } else { r.u16_le() };
    if word(&mut r)? != 11 || word(&mut r)? != 0 {
        return Some(No);
    }
    let (name, data) = (word(&mut r)?, word(&mut r)?);
    if name > AUTHORIZATION_BYTES_MAX || data > AUTHORIZATION_BYTES_MAX {
        return Some(No);
    }
    r.skip(2)?;
    let name = r.take(usize::from(name))?;
    Some(Hint(Role::Client).only_if(name.iter().all(|b| b.is_ascii_graphic())))
}

/// Failed 0, success 1, authenticate 2; then version 11.0 in either order (authenticate has none).
fn answer(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let status = r.u8()?;
    r.skip(1)?;
    match (status, r.u32()?) {
        (0 | 1, 0x0b00_0000 | 0x000b_0000) => Some(Hint(Role::Server)),
        (2, 0) => Some(Hint(Role::Server)),
        _ => Some(No),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const SETUP: &[u8] = b"l\0\x0b\0\0\0\0\0\0\0\0\0";

    fn success() -> Vec<u8> {
        let mut bytes = b"\x01\0\x0b\0\0\0\x10\0".to_vec();
        bytes.extend(12_101_004u32.to_le_bytes());
        bytes.extend([0; 12]);
        bytes.extend([20, 0]);
        bytes.extend([0; 14]);
        bytes.extend(b"The X.Org Foundation");
        bytes
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("x11", SETUP, &success(), Some(Side::Resp)),
            Example::tcp(
                "x11",
                b"B\0\0\x0b\0\0\0\x12\0\x10\0\0MIT-MAGIC-COOKIE-1\0\0",
                b"\0\x08\0\x0b\0\0\0\x02No entry",
                Some(Side::Resp),
            ),
        ]
    }

    #[test]
    fn a_setup_alone_proves_nothing() {
        assert_eq!(ask(&X11, Transport::Tcp, SETUP, b""), Probe::Unsure);
    }

    #[test]
    fn another_version_or_answer_is_not_x11() {
        refuses(
            &X11,
            Transport::Tcp,
            &[
                (b"l\0\x0c\0\0\0", b""),
                (b"BEGIN\r\n", b""),
                (b"l\0\0\x0b\0\0", b""),
                (SETUP, b"\x01\0\x0c\0\0\0\x10\0"),
                (SETUP, b"HTTP/1.1 400 Bad Request\r\n"),
                (SETUP, SETUP),
            ],
        );
    }

    #[test]
    fn vendor_and_release_are_told() {
        let info = examples()[0].described(&X11);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("The X.Org Foundation"), Some("21.1.4")));
        assert_eq!(examples()[1].described(&X11).get("setup"), Some("refused"));
    }
}
