//! STUN and TURN (RFC 8489, RFC 8656): the magic cookie and a length that fits prove a message.
//!
//! Both ends of an ICE check ask: then neither serves.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{No, Proof, Short};

pub(super) struct Stun;

const COOKIE: u32 = 0x2112_a442;
const SOFTWARE: u16 = 0x8022;
const ATTRIBUTES_MAX: usize = 24;

impl Protocol for Stun {
    fn name(&self) -> &'static str {
        "stun"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first & 0xc0 == 0
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let short = if opening.transport == Transport::Udp { No } else { Short };
        weigh(opening, |bytes| match message(opening.transport, bytes) {
            None => short,
            Some(None) => No,
            // RFC 8489 section 5: two class bits among those of the method.
            Some(Some((kind, _))) => Proof(match kind & 0x0110 {
                0x0000 => Role::Client,
                0x0010 => Role::Peer,
                _ => Role::Server,
            }),
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        for (side, bytes) in opening.sides() {
            let Some(Some((kind, attributes))) = message(opening.transport, bytes) else { continue };
            // Allocate, refresh, send, data, permissions and channels are TURN's.
            if matches!(kind & 0x3eef, 3 | 4 | 6..=9) {
                info.detail("usage", "turn");
            }
            if info.server == Some(side)
                && let Some(software) = software(attributes)
            {
                let mut words = software.splitn(2, |b| matches!(b, b'-' | b'/' | b' '));
                info.product(words.next().unwrap_or_default(), words.next().filter(|v| !v.is_empty()));
                return Described::Whole;
            }
        }
        Described::Partly
    }
}

/// Type and attributes. `Some(None)`: not STUN; `None`: too short to tell.
fn message(transport: Transport, bytes: &[u8]) -> Option<Option<(u16, &[u8])>> {
    let mut r = Reader::new(bytes);
    let first = r.u8()?;
    if first & 0xc0 != 0 {
        return Some(None);
    }
    let kind = u16::from_be_bytes([first, r.u8()?]);
    let length = r.u16()?;
    let attributes = usize::from(length);
    if length & 3 != 0 || (transport == Transport::Udp && attributes + 20 != bytes.len()) {
        return Some(None);
    }
    if r.u32()? != COOKIE {
        return Some(None);
    }
    r.skip(12)?;
    let rest = r.rest();
    Some(Some((kind, rest.get(..attributes).unwrap_or(rest))))
}

fn software(attributes: &[u8]) -> Option<&[u8]> {
    let mut r = Reader::new(attributes);
    for _ in 0..ATTRIBUTES_MAX {
        let (kind, length) = (r.u16()?, usize::from(r.u16()?));
        let value = r.take(length)?;
        if kind == SOFTWARE {
            return Some(value);
        }
        r.skip(length.wrapping_neg() & 3)?;
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const ASK: &[u8] = b"\0\x01\0\0\x21\x12\xa4\x42transaction!";
    const ANSWER: &[u8] =
        b"\x01\x01\0\x20\x21\x12\xa4\x42transaction!\0\x20\0\x08\0\x01\xa1\x47\xe1\x12\xa6\x43\x80\x22\0\x0dCoturn-4.6.1 \0\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("stun", ASK, ANSWER, Some(Side::Resp)),
            Example::tcp("stun", ASK, ANSWER, Some(Side::Resp)),
            Example::udp("stun", ASK, ASK, None),
        ]
    }

    #[test]
    fn another_cookie_or_length_is_not_stun() {
        refuses(
            &Stun,
            Transport::Udp,
            &[
                (b"\0\x01\0\0\x21\x12\xa4\x43transaction!", b""),
                (b"\0\x01\0\x04\x21\x12\xa4\x42transaction!", b""),
                (b"\x40\x01\0\0\x21\x12\xa4\x42transaction!", b""),
                (ASK, b"nothing of the kind"),
            ],
        );
        assert_eq!(ask(&Stun, Transport::Tcp, &ASK[..7], b""), Probe::Unsure);
    }

    #[test]
    fn the_servers_software_is_told() {
        let info = examples()[0].described(&Stun);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("Coturn"), Some("4.6.1")));
        assert_eq!(info.get("usage"), None);
    }
}
