//! L2TP (RFC 2661) and L2TPv3 over UDP (RFC 3931): the control connection. Sessions are peeled in `decode`.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof};

pub(super) struct L2tp;

impl Protocol for L2tp {
    fn name(&self) -> &'static str {
        "l2tp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == 0xc8
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(No))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        if let Some((_, [_, version, ..])) = opening.sides().iter().find(|(_, bytes)| !bytes.is_empty()) {
            info.detail("version", (version & 0x0f).to_string());
        }
        Described::Whole
    }
}

/// RFC 2661 section 3.1: a control message has the length and sequence bits; the first pair is its type (section 4.4).
fn judge(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    if r.u8()? != 0xc8 || !matches!(r.u8()?, 2 | 3) || usize::from(r.u16()?) != bytes.len() {
        return None;
    }
    r.skip(8)?;
    if r.is_empty() {
        // An acknowledgement without content.
        return Some(Hint(Role::Peer));
    }
    let (flags, vendor, kind) = (r.u16()?, r.u16()?, r.u16()?);
    if flags & 0x3fff != 8 || flags & 0x8000 == 0 || (vendor, kind) != (0, 0) {
        return None;
    }
    match r.u16()? {
        1 | 3 => Some(Proof(Role::Client)),
        2 => Some(Proof(Role::Server)),
        4 | 6..=12 | 14..=20 => Some(Proof(Role::Peer)),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const START: &[u8] = b"\xc8\x02\0\x1c\0\0\0\0\0\0\0\0\x80\x08\0\0\0\0\0\x01\x80\x08\0\0\0\x02\x01\0";
    const REPLY: &[u8] = b"\xc8\x02\0\x14\0\x05\0\0\0\0\0\x01\x80\x08\0\0\0\0\0\x02";
    const EMPTY: &[u8] = b"\xc8\x02\0\x0c\0\x05\0\0\0\x01\0\x01";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::udp("l2tp", START, REPLY, Some(Side::Resp)), Example::udp("l2tp", START, EMPTY, Some(Side::Resp))]
    }

    #[test]
    fn an_acknowledgement_alone_proves_nothing() {
        assert_eq!(ask(&L2tp, Transport::Udp, EMPTY, b""), Probe::Unsure);
    }

    #[test]
    fn another_length_version_or_first_pair_is_not_l2tp() {
        refuses(
            &L2tp,
            Transport::Udp,
            &[
                (&START[..27], b""),
                (b"\xc8\x04\0\x0c\0\x05\0\0\0\x01\0\x01", b""),
                (b"\xc8\x02\0\x14\0\x05\0\0\0\0\0\x01\x80\x08\0\0\0\x02\0\x02", b""),
                (b"\xc8\x02\0\x14\0\x05\0\0\0\0\0\x01\x80\x08\0\0\0\0\0\x63", b""),
            ],
        );
    }
}
