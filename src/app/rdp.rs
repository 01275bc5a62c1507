//! RDP (MS-RDPBCGR 2.2.1): TPKT and an X.224 connection request with a cookie or a security negotiation.
//!
//! A bare X.224 request is S7, MMS or H.323 as well: then the MCS Connect-Initial after it is waited for.

use super::line::find;
use super::reader::Reader;
use super::reading::{Reading, probe_sides};
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Rdp;

const REQUEST: u8 = 0xe0;
const CONFIRM: u8 = 0xd0;
/// T.123 TPKT version 3; a request is 11 bytes at least, and a cookie keeps it small.
const TPKT_BYTES_MAX: usize = 512;
/// X.224 Data, then the BER tag of MCS Connect-Initial (T.125).
const CONNECT_INITIAL: [u8; 5] = [2, 0xf0, 0x80, 0x7f, 0x65];

impl Protocol for Rdp {
    fn name(&self) -> &'static str {
        "rdp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        probe_sides(opening, read)
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        let Some(message) = message(opening.side(server)).flatten() else { return Described::Partly };
        match negotiation(message.rest) {
            Some((2, protocol)) => info.detail("security", security(protocol)),
            Some((3, _)) => info.detail("security", "refused"),
            _ => info.detail("security", "rdp"),
        }
        Described::Whole
    }
}

struct Message<'a> {
    kind: u8,
    /// After the fixed X.224 header: cookie and negotiation.
    rest: &'a [u8],
    after: &'a [u8],
}

/// `Some(None)`: not X.224 over TPKT. `None`: cut short.
fn message(bytes: &[u8]) -> Option<Option<Message<'_>>> {
    let mut r = Reader::new(bytes);
    if r.u8()? != 3 || r.u8()? != 0 {
        return Some(None);
    }
    let length = usize::from(r.u16()?);
    if !(11..=TPKT_BYTES_MAX).contains(&length) {
        return Some(None);
    }
    let indicator = usize::from(r.u8()?);
    let kind = r.u8()?;
    // The length indicator leaves out itself and the TPKT header.
    if indicator + 5 != length || !matches!(kind, REQUEST | CONFIRM) {
        return Some(None);
    }
    r.skip(5)?;
    let rest = r.take(length - 11)?;
    Some(Some(Message { kind, rest, after: r.rest() }))
}

fn read(bytes: &[u8]) -> Option<Reading> {
    let Some(message) = message(bytes)? else { return Some(Reading::No) };
    let negotiated = negotiation(message.rest);
    if message.kind == CONFIRM {
        return match negotiated {
            Some((2 | 3, _)) => Some(Reading::Server),
            // A server that does not negotiate: the client's side must tell.
            _ if message.rest.is_empty() => Some(Reading::Fits),
            _ => Some(Reading::No),
        };
    }
    let cookie = message.rest.starts_with(b"Cookie: mstshash=") || message.rest.starts_with(b"Cookie: msts=");
    if cookie || matches!(negotiated, Some((1, _))) {
        return Some(Reading::Client);
    }
    if !message.rest.is_empty() {
        return Some(Reading::No);
    }
    let mut r = Reader::new(message.after);
    if r.u8()? != 3 {
        return Some(Reading::No);
    }
    r.skip(3)?;
    let initial = r.take(CONNECT_INITIAL.len())? == CONNECT_INITIAL;
    // T.124 conference of Microsoft's client: "Duca" (MS-RDPBCGR 2.2.1.3).
    let duca = find(r.rest(), "Duca").is_some();
    match (initial, duca) {
        (true, true) => Some(Reading::Client),
        (true, false) if r.rest().len() < 256 => None,
        _ => Some(Reading::No),
    }
}

/// Kind (1 request, 2 response, 3 failure) and protocols of the negotiation that ends the message.
fn negotiation(rest: &[u8]) -> Option<(u8, u32)> {
    let rest = match find(rest, "\r\n") {
        Some(at) if rest.starts_with(b"Cookie:") => rest.get(at + 2..)?,
        _ => rest,
    };
    let mut r = Reader::new(rest);
    let (kind, _flags, length, value) = (r.u8()?, r.u8()?, r.u16_le()?, r.u32_le()?);
    let fits = matches!(kind, 1..=3) && length == 8 && value <= 0x1f;
    // Only a correlation of 36 bytes may follow (2.2.1.1.2).
    (fits && matches!(r.rest().len(), 0 | 36)).then_some((kind, value))
}

/// RDP_NEG_RSP selectedProtocol (2.2.1.2.1).
fn security(protocol: u32) -> &'static str {
    match protocol {
        0 => "rdp",
        1 => "tls",
        2 => "nla",
        4 => "rdstls",
        8 => "nla-ex",
        16 => "aad",
        _ => "other",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, probed, tcp};

    pub(in crate::app) const REQUEST: &[u8] =
        b"\x03\x00\x00\x29\x24\xe0\x00\x00\x00\x00\x00Cookie: mstshash=bob\r\n\x01\x00\x08\x00\x03\x00\x00\x00";
    pub(in crate::app) const CONFIRM: &[u8] =
        b"\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00\x02\x1f\x08\x00\x02\x00\x00\x00";
    const BARE: &[u8] = b"\x03\x00\x00\x0b\x06\xe0\x00\x00\x00\x00\x00";

    #[test]
    fn a_cookie_or_a_negotiation_is_a_proof() {
        assert_eq!(REQUEST.len(), 0x29);
        assert_eq!(probed(&Rdp, tcp(REQUEST, b"")), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Rdp, tcp(b"", CONFIRM)), Probe::Certain(Some(Side::Resp)));
        let (info, whole) = described(&Rdp, tcp(REQUEST, CONFIRM));
        assert_eq!((info.get("security"), whole), (Some("nla"), Described::Whole));
        assert!(!format!("{info:?}").contains("bob"));
    }

    #[test]
    fn a_bare_request_waits_for_the_conference() {
        assert_eq!(probed(&Rdp, tcp(BARE, b"")), Probe::Unsure);
        let with = |conference: &[u8]| [BARE, b"\x03\x00\x01\x9c\x02\xf0\x80\x7f\x65\x82", conference].concat();
        assert_eq!(probed(&Rdp, tcp(&with(b"....Duca...."), b"")), Probe::Certain(Some(Side::Resp)));
        let s7 = [BARE, b"\x03\x00\x00\x19\x02\xf0\x80\x32\x01\x00\x00\x00"].concat();
        assert_eq!(probed(&Rdp, tcp(&s7, b"")), Probe::NotForUs);
    }

    #[test]
    fn near_misses_are_not_rdp() {
        // S7: the request names its TSAPs.
        let s7 = b"\x03\x00\x00\x16\x11\xe0\x00\x00\x00\x01\x00\xc1\x02\x01\x00\xc2\x02\x01\x02\xc0\x01\x0a";
        let mut long = REQUEST.to_vec();
        long[3] = 0x2b;
        for near in [&s7[..], &long, b"\x03\x00\x00\x07ABC", b"\x03\x01\x00\x0b\x06\xe0"] {
            assert_eq!(probed(&Rdp, tcp(near, b"")), Probe::NotForUs, "{}", near.escape_ascii());
        }
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Rdp, tcp(REQUEST, CONFIRM));
    }
}
