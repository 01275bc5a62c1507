//! RADIUS (RFC 2865, 2866, 5176): a code, the datagram's own length, and attributes that fill it exactly.
//!
//! User names and passwords are not kept. An answer without attributes needs its request.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Proof};

pub(super) struct Radius;

/// RFC 2865 section 3.
const DATAGRAM_BYTES_MAX: usize = 4096;

impl Protocol for Radius {
    fn name(&self) -> &'static str {
        "radius"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        (1..=45).contains(&first)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(No))
    }
}

fn judge(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let role = match r.u8()? {
        1 | 4 | 12 | 40 | 43 => Role::Client,
        2 | 3 | 5 | 11 | 41 | 42 | 44 | 45 => Role::Server,
        _ => return None,
    };
    r.skip(1)?;
    if usize::from(r.u16()?) != bytes.len() || bytes.len() > DATAGRAM_BYTES_MAX {
        return None;
    }
    r.skip(16)?;
    let (mut known, mut all) = (0, 0);
    while !r.is_empty() {
        let (kind, length) = (r.u8()?, r.u8()?);
        let value = r.take(usize::from(length).checked_sub(2)?)?;
        // Attributes of a fixed length that every request has one of: addresses, ports, types, accounting.
        let fits = match kind {
            0 => return None,
            4..=8 | 10 | 12 | 13 | 23 | 27..=29 | 40..=43 | 45..=49 | 61 => value.len() == 4,
            2 => value.len() % 16 == 0,
            80 => value.len() == 16,
            _ => !value.is_empty(),
        };
        if !fits {
            return None;
        }
        known += u32::from(matches!(kind, 1..=8 | 18 | 24..=34 | 40..=50 | 60 | 61 | 77 | 79 | 80 | 87));
        all += 1;
    }
    Some(match (known, all) {
        (2.., _) => Proof(role),
        (1, _) | (0, 0) => Hint(role),
        _ => No,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    fn packet(code: u8, attributes: &[u8]) -> Vec<u8> {
        let mut packet = vec![code, 7, 0, 20 + attributes.len() as u8];
        packet.extend([0xa5; 16]);
        packet.extend(attributes);
        packet
    }

    const WHO: &[u8] = b"\x01\x05bob\x04\x06\x0a\0\0\x01\x05\x06\0\0\0\x03";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("radius", &packet(1, WHO), &packet(3, b""), Some(Side::Resp)),
            Example::udp("radius", &packet(4, b"\x28\x06\0\0\0\x01\x2c\x0612ab"), b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn an_answer_alone_proves_nothing() {
        assert_eq!(ask(&Radius, Transport::Udp, b"", &packet(3, b"")), Probe::Unsure);
    }

    #[test]
    fn attributes_that_do_not_fit_are_not_radius() {
        refuses(
            &Radius,
            Transport::Udp,
            &[
                (&packet(1, b"\x01\x05bob\x04\x05\x0a\0\0"), b""),
                (&packet(1, b"\x01\x05bo"), b""),
                (&packet(1, b"\x01\x01"), b""),
                (&packet(9, WHO), b""),
                (&packet(1, WHO)[..36], b""),
                (&packet(1, WHO), b"\x09"),
            ],
        );
    }
}
