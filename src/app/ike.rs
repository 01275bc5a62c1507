//! IKE, versions 1 and 2 (RFC 2408 ISAKMP, RFC 7296): the header and a payload chain that fills the datagram exactly.
//!
//! On 4500 and wherever NAT is traversed, four zero bytes stand before it (RFC 3948 section 2.2).

use super::reader::Reader;
use super::reading::{Reading, probe_sides};
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};

pub(super) struct Ike;

const HEADER_BYTES: usize = 28;
const NOTIFICATION: u8 = 11;
/// Most payloads of one message; a proposal of an old gateway has a dozen vendor ids.
const PAYLOADS_MAX: usize = 64;

impl Protocol for Ike {
    fn name(&self) -> &'static str {
        "ike"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        probe_sides(opening, |bytes| Some(Header::read(bytes).map_or(Reading::No, |h| h.reading())))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        for (_, bytes) in opening.sides() {
            if let Some(header) = Header::read(bytes) {
                info.detail("version", if header.version == 0x20 { "2.0" } else { "1.0" });
                info.detail("exchange", exchange(header.exchange));
                return Described::Whole;
            }
        }
        Described::Whole
    }
}

struct Header {
    version: u8,
    exchange: u8,
    flags: u8,
    /// The responder's SPI (cookie) is still zero: the first message.
    first: bool,
    /// An answer to a message that was none.
    refusal: bool,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.strip_prefix(&[0; 4]).filter(|rest| !rest.starts_with(&[0; 4])).unwrap_or(bytes);
        let mut r = Reader::new(bytes);
        let (initiator, responder) = (r.u64()?, r.u64()?);
        let next = r.u8()?;
        let (version, exchange, flags) = (r.u8()?, r.u8()?, r.u8()?);
        let (message, length) = (r.u32()?, r.u32()?);
        let first = responder == 0;
        let fits = match version {
            // 1.0: identity protection, base, authentication only, aggressive, informational, quick, new group.
            0x10 => matches!(exchange, 1..=5 | 32 | 33) && flags & !7 == 0 && (!first || message == 0 || exchange == 5),
            // 2.0: SA_INIT, AUTH, CREATE_CHILD_SA, INFORMATIONAL; only SA_INIT has no responder yet.
            0x20 => {
                let initial = exchange == 34;
                matches!(exchange, 34..=37) && flags & !0x38 == 0 && (!first || (initial && message == 0))
            }
            _ => false,
        };
        let encrypted = version == 0x10 && flags & 1 != 0;
        // Windows refuses what it cannot read with a notification that has no cookies at all.
        let refusal = initiator == 0 && first && version == 0x10 && exchange == 5 && next == NOTIFICATION;
        if (initiator == 0 && !refusal) || !fits || length as usize != bytes.len() || bytes.len() <= HEADER_BYTES {
            return None;
        }
        let chained = if encrypted { !first && r.rest().len().is_multiple_of(4) } else { chain(next, version, r) };
        chained.then_some(Header { version, exchange, flags, first, refusal })
    }

    fn reading(&self) -> Reading {
        match (self.version, self.first) {
            _ if self.refusal => Reading::Server,
            // R: the responder asks for a cookie or another group, and keeps no SPI yet (RFC 7296 sections 1.2, 2.6).
            (0x20, true) if self.flags & 0x20 != 0 => Reading::Server,
            // Nobody else than the initiator writes before the responder has an SPI.
            (_, true) => Reading::Client,
            // RFC 7296 section 3.1: I is set by the original initiator.
            (0x20, false) if self.flags & 0x08 != 0 => Reading::Client,
            (0x20, false) => Reading::Server,
            _ => Reading::Either,
        }
    }
}

/// Do the payloads' lengths lead to the end of the message exactly? (RFC 7296 section 3.2.)
fn chain(mut kind: u8, version: u8, mut r: Reader<'_>) -> bool {
    for _ in 0..PAYLOADS_MAX {
        // 1: SA (1) to NAT-OA (21) and the drafts' 128 to 132; 2: SA (33) to EAP and the fragments (53).
        let known = match version {
            0x10 => matches!(kind, 1..=21 | 128..=132),
            _ => matches!(kind, 33..=54),
        };
        let Some(next) = r.u8() else { return false };
        let (Some(_), Some(length)) = (r.u8(), r.u16()) else { return false };
        let Some(body) = usize::from(length).checked_sub(4) else { return false };
        if !known || r.skip(body).is_none() {
            return false;
        }
        // SK and SKF (46, 53) name the first payload inside them, and are the last outside.
        if next == 0 || matches!((version, kind), (0x20, 46 | 53)) {
            return r.is_empty();
        }
        kind = next;
    }
    false
}

fn exchange(kind: u8) -> &'static str {
    match kind {
        1 => "base",
        2 => "main",
        3 => "authentication-only",
        4 => "aggressive",
        5 | 37 => "informational",
        32 => "quick",
        33 => "new-group",
        34 => "sa-init",
        35 => "auth",
        _ => "create-child-sa",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{described, probed, udp};
    use crate::model::Side;

    fn message(responder: u64, next: u8, version: u8, exchange: u8, flags: u8, payloads: &[u8]) -> Vec<u8> {
        let mut out = 0x1122_3344_5566_7788u64.to_be_bytes().to_vec();
        out.extend(responder.to_be_bytes());
        out.extend([next, version, exchange, flags, 0, 0, 0, 0]);
        out.extend(((HEADER_BYTES + payloads.len()) as u32).to_be_bytes());
        out.extend(payloads);
        out
    }

    pub(in crate::app) fn sa_init() -> Vec<u8> {
        message(0, 33, 0x20, 34, 0x08, &[40, 0, 0, 8, 1, 2, 3, 4, 0, 0, 0, 8, 9, 9, 9, 9])
    }

    #[test]
    fn the_first_message_is_a_proof_and_tells_the_initiator() {
        assert_eq!(probed(&Ike, udp(&sa_init(), b"")), Probe::Certain(Some(Side::Resp)));
        let natted = [&[0; 4][..], &sa_init()].concat();
        assert_eq!(probed(&Ike, udp(&natted, b"")), Probe::Certain(Some(Side::Resp)));
        let main = message(0, 1, 0x10, 2, 0, &[0, 0, 0, 8, 1, 2, 3, 4]);
        assert_eq!(probed(&Ike, udp(&main, b"")), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn a_later_message_tells_by_its_flags_or_not_at_all() {
        let answer = message(7, 46, 0x20, 35, 0x20, &[36, 0, 0, 8, 1, 2, 3, 4]);
        assert_eq!(probed(&Ike, udp(b"", &answer)), Probe::Certain(Some(Side::Resp)));
        let old = message(7, 4, 0x10, 2, 0, &[0, 0, 0, 8, 1, 2, 3, 4]);
        assert_eq!(probed(&Ike, udp(&old, b"")), Probe::Certain(None));
    }

    #[test]
    fn a_responder_that_keeps_no_spi_yet_is_the_server() {
        // A cookie request: N (41) with eight bytes.
        let cookie = message(0, 41, 0x20, 34, 0x20, &[0, 0, 0, 12, 0, 0, 0x40, 6, 1, 2, 3, 4]);
        assert_eq!(probed(&Ike, udp(b"", &cookie)), Probe::Certain(Some(Side::Resp)));
        let asking = message(0, 41, 0x20, 34, 0x08, &[0, 0, 0, 12, 0, 0, 0x40, 6, 1, 2, 3, 4]);
        assert_eq!(probed(&Ike, udp(b"", &asking)), Probe::Certain(Some(Side::Orig)));
    }

    #[test]
    fn a_refusal_without_cookies_is_told_by_the_server() {
        let mut refusal = message(0, NOTIFICATION, 0x10, 5, 0, &[0, 0, 0, 12, 0, 0, 0, 1, 1, 0, 0, 5]);
        refusal[..8].fill(0);
        assert_eq!(probed(&Ike, udp(b"", &refusal)), Probe::Certain(Some(Side::Resp)));
        refusal[16] = 1;
        assert_eq!(probed(&Ike, udp(b"", &refusal)), Probe::NotForUs);
    }

    #[test]
    fn near_misses_are_not_ike() {
        let mut long = sa_init();
        long.push(0);
        let mut lying = sa_init();
        lying[31] = 9;
        let no_spi = [&[0; 8][..], &sa_init()[8..]].concat();
        let unasked = message(0, 46, 0x20, 35, 0x08, &[36, 0, 0, 8, 1, 2, 3, 4]);
        for near in [&long, &lying, &no_spi, &unasked, &vec![0xff; 28], &message(0, 33, 0x30, 34, 8, &[0, 0, 0, 4])] {
            assert_eq!(probed(&Ike, udp(near, b"")), Probe::NotForUs, "{}", near.escape_ascii());
        }
    }

    #[test]
    fn version_and_exchange_are_described() {
        let (info, whole) = described(&Ike, udp(&sa_init(), b""));
        assert_eq!(
            (info.get("version"), info.get("exchange"), whole),
            (Some("2.0"), Some("sa-init"), Described::Whole)
        );
    }

    #[test]
    fn every_cut_is_no_ike() {
        let whole = sa_init();
        for end in 1..whole.len() {
            assert_eq!(probed(&Ike, udp(&whole[..end], b"")), Probe::NotForUs);
        }
    }
}
