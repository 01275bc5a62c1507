//! GTP-C: the control plane of mobile packet cores (TS 29.060, TS 29.274). GTP-U is a tunnel, peeled in `decode`.
//!
//! Unmeasured: version 2 is proved by information elements that fill the message, version 1 by a request and its
//! answer; neither by one side alone.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No};

pub(super) struct GtpC;

const ELEMENTS_MAX: usize = 64;

impl Protocol for GtpC {
    fn name(&self) -> &'static str {
        "gtp_c"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        matches!(first >> 5, 1 | 2)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).map_or(No, Hint))
    }
}

fn judge(bytes: &[u8]) -> Option<Role> {
    let mut r = Reader::new(bytes);
    let (flags, kind, length) = (r.u8()?, r.u8()?, usize::from(r.u16()?));
    // Requests have even numbers in version 1 and odd or even ones in version 2; answers follow them by one.
    match (flags >> 5, kind) {
        // Version 1 with a sequence number; create, update and delete of contexts.
        (1, 16 | 18 | 20) if flags & 0x12 == 0x12 && length + 8 == bytes.len() => Some(Role::Client),
        (1, 17 | 19 | 21) if flags & 0x12 == 0x12 && length + 8 == bytes.len() => Some(Role::Server),
        (2, 1 | 2 | 32..=39) if flags & 0x07 == 0 && length + 4 == bytes.len() => {
            r.skip(if flags & 0x08 != 0 { 8 } else { 4 })?;
            for _ in 0..ELEMENTS_MAX {
                if r.is_empty() {
                    let asks = matches!(kind, 1 | 32 | 34 | 36 | 38);
                    return Some(if asks { Role::Client } else { Role::Server });
                }
                let _kind = r.u8()?;
                let length = usize::from(r.u16()?);
                // Four spare bits, then the instance.
                if r.u8()? & 0xf0 != 0 {
                    return None;
                }
                r.skip(length)?;
            }
            None
        }
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const ECHO: &[u8] = b"\x40\x01\0\x09\0\0\x07\0\x03\0\x01\0\x0a";
    const ECHOED: &[u8] = b"\x40\x02\0\x09\0\0\x07\0\x03\0\x01\0\x0b";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::udp("gtp_c", ECHO, ECHOED, Some(Side::Resp))]
    }

    #[test]
    fn a_request_alone_proves_nothing() {
        assert_eq!(ask(&GtpC, Transport::Udp, ECHO, b""), Probe::Unsure);
    }

    #[test]
    fn elements_that_do_not_fit_are_not_gtp() {
        refuses(
            &GtpC,
            Transport::Udp,
            &[
                (&ECHO[..12], b""),
                (b"\x40\x01\0\x09\0\0\x07\0\x03\0\x02\0\x0a", b""),
                (b"\x40\x63\0\x09\0\0\x07\0\x03\0\x01\0\x0a", b""),
                (ECHO, ECHO),
            ],
        );
    }
}
