//! RTP (RFC 3550) that nothing announced: two datagrams of one source in a row.
//!
//! A header alone is two fixed bits. So the next must have the same source and payload type, the following sequence
//! number and a later time; and the other side, where it speaks, must look like RTP as well.

use super::opening::BEFORE_BYTES;
use super::{Opening, Probe, Protocol};
use crate::model::{Side, Transport};

pub(super) struct Rtp;

/// Ten seconds of 90 kHz: packets in a row are not further apart.
const TIME_STEP_MAX: u32 = 900_000;

impl Protocol for Rtp {
    fn name(&self) -> &'static str {
        "rtp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first >> 6 == 2
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let mut proved = false;
        for side in [Side::Orig, Side::Resp] {
            let datagram = opening.side(side);
            if datagram.is_empty() {
                continue;
            }
            let Some(header) = datagram.first_chunk().and_then(Header::of) else { return Probe::NotForUs };
            proved |= Header::of(opening.before(side)).is_some_and(|before| header.follows(&before));
        }
        if proved { Probe::Certain(None) } else { Probe::Unsure }
    }
}

struct Header {
    payload: u8,
    sequence: u16,
    time: u32,
    source: u32,
}

impl Header {
    /// Section 5.1. Types 64 to 95 would be RTCP's in the same stream (RFC 5761 section 4).
    fn of(bytes: &[u8; BEFORE_BYTES]) -> Option<Header> {
        let [first, kind, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = *bytes;
        let payload = kind & 0x7f;
        let source = u32::from_be_bytes([i0, i1, i2, i3]);
        // A source is a random number.
        let fits = first >> 6 == 2 && !(64..=95).contains(&payload) && source > 0xffff;
        fits.then_some(Header {
            payload,
            sequence: u16::from_be_bytes([s0, s1]),
            time: u32::from_be_bytes([t0, t1, t2, t3]),
            source,
        })
    }

    fn follows(&self, before: &Header) -> bool {
        self.source == before.source
            && self.payload == before.payload
            && self.sequence == before.sequence.wrapping_add(1)
            && (1..=TIME_STEP_MAX).contains(&self.time.wrapping_sub(before.time))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::Example;
    use super::*;

    fn packet(sequence: u8, time: u8, source: u8) -> [u8; 12] {
        [0x80, 0, 0x12, sequence, 0, 0, 0x40, time, 0xde, 0xad, 0xbe, source]
    }

    pub(crate) fn examples() -> Vec<Example> {
        let latest = [&packet(8, 160, 1)[..], &[0xd5; 160]].concat();
        vec![Example::udp("rtp", &latest, b"", None).after(&packet(7, 0, 1))]
    }

    fn asked(before: [u8; 12], latest: [u8; 12], other: &[u8]) -> Probe {
        Rtp.probe(&Example::udp("rtp", &latest, other, None).after(&before).opening())
    }

    #[test]
    fn one_packet_or_two_that_do_not_follow_prove_nothing() {
        assert_eq!(asked([0; 12], packet(8, 160, 1), b""), Probe::Unsure);
        for latest in [packet(9, 160, 1), packet(8, 160, 2), packet(8, 0, 1), packet(7, 0, 1)] {
            assert_eq!(asked(packet(7, 0, 1), latest, b""), Probe::Unsure, "{latest:?}");
        }
    }

    #[test]
    fn another_version_a_report_or_a_strange_answer_is_not_rtp() {
        let mut report = packet(8, 160, 1);
        report[1] = 200;
        let mut version = packet(8, 160, 1);
        version[0] = 0x40;
        assert_eq!(asked(packet(7, 0, 1), report, b""), Probe::NotForUs);
        assert_eq!(asked(packet(7, 0, 1), version, b""), Probe::NotForUs);
        assert_eq!(asked(packet(7, 0, 1), packet(8, 160, 1), b"what is this?"), Probe::NotForUs);
    }
}
