//! RTCP (RFC 3550 section 6): a compound that begins with a report and whose lengths fill the datagram.
//!
//! A lone report without content is short: both ends must send one. Media themselves are named by what announced them.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Proof};

pub(super) struct Rtcp;

const PACKETS_MAX: usize = 16;
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;

impl Protocol for Rtcp {
    fn name(&self) -> &'static str {
        "rtcp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first >> 6 == 2
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(No))
    }
}

fn judge(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let (mut reporter, mut second) = (None, None);
    for at in 0..PACKETS_MAX {
        if r.is_empty() {
            break;
        }
        let (first, kind, words) = (r.u8()?, r.u8()?, usize::from(r.u16()?));
        // Version 2; padding only in the last packet, so not here; 192–223 are RTCP's (RFC 5761).
        if first >> 6 != 2 || !(192..=213).contains(&kind) || words == 0 {
            return None;
        }
        let body = r.take(4 * words)?;
        let source = body.first_chunk::<4>()?;
        if at == 0 {
            // Each block of a report has six words, the sender's part another five.
            let blocks = usize::from(first & 0x1f);
            let fixed = match kind {
                SENDER_REPORT => 6,
                RECEIVER_REPORT => 1,
                _ => return None,
            };
            if words < fixed + 6 * blocks || *source == [0; 4] {
                return None;
            }
            reporter = Some(*source);
        } else if at == 1 {
            second = Some((kind, *source));
        }
    }
    match second {
        // The same source describes itself, or says goodbye.
        Some((SOURCE_DESCRIPTION | GOODBYE, source)) => Some(Proof(Role::Peer).only_if(Some(source) == reporter)),
        _ => Some(Hint(Role::Peer)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const REPORT: &[u8] = b"\x80\xc9\0\x01\x12\x34\x56\x78";
    const DESCRIBED: &[u8] = b"\x80\xc9\0\x01\x12\x34\x56\x78\x81\xca\0\x03\x12\x34\x56\x78\x01\x03a@b\0\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("rtcp", DESCRIBED, b"", None),
            Example::udp("rtcp", REPORT, b"\x80\xc9\0\x01\x9a\xbc\xde\xf0", None),
        ]
    }

    #[test]
    fn a_bare_report_one_way_proves_nothing() {
        assert_eq!(ask(&Rtcp, Transport::Udp, REPORT, b""), Probe::Unsure);
    }

    #[test]
    fn media_and_lengths_that_do_not_fit_are_not_rtcp() {
        refuses(
            &Rtcp,
            Transport::Udp,
            &[
                (&DESCRIBED[..23], b""),
                (b"\x80\x00\0\x01\0\0\0\xa0\x12\x34\x56\x78", b""),
                (b"\x40\xc9\0\x01\x12\x34\x56\x78", b""),
                (b"\x81\xc9\0\x01\x12\x34\x56\x78", b""),
                (b"\x80\xc9\0\x01\x12\x34\x56\x78\x81\xca\0\x03\x12\x34\x56\x79\x01\x03a@b\0\0\0", b""),
            ],
        );
    }
}
