//! collectd's network plugin: parts of type and length, the host's name first, that fill the datagram.
//!
//! One way, so one datagram must prove it. Encrypted ones prove nothing.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Proof};

pub(super) struct Collectd;

const PARTS_MAX: usize = 256;
const ENCRYPTED: u16 = 0x0210;
const SIGNED: u16 = 0x0200;

impl Protocol for Collectd {
    fn name(&self) -> &'static str {
        "collectd"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        matches!(first, 0 | 2)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(No))
    }
}

fn judge(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let mut parts = 0;
    while !r.is_empty() && parts < PARTS_MAX {
        let (kind, length) = (r.u16()?, usize::from(r.u16()?));
        let body = r.take(length.checked_sub(4)?)?;
        let fits = match kind {
            // Host, plugin and type, with their instances, and a notification's text.
            0 | 2..=5 | 0x0100 => {
                let (end, text) = body.split_last()?;
                *end == 0 && text.iter().all(|b| (0x20..0x7f).contains(b)) && (kind != 0 || !text.is_empty())
            }
            // Time and interval, in seconds or in 2^-30 of one; severity.
            1 | 7..=9 | 0x0101 => body.len() == 8,
            // Values: how many, then a kind and eight octets each.
            6 => {
                matches!(body, [high, low, values @ ..] if values.len() == 9 * usize::from(u16::from_be_bytes([*high, *low])))
            }
            SIGNED => body.len() > 32,
            ENCRYPTED => return Some(Hint(Role::Client)).filter(|_| parts == 0 && r.is_empty() && body.len() > 42),
            _ => false,
        };
        if !fits || (parts == 0 && !matches!(kind, 0 | SIGNED)) {
            return None;
        }
        parts += 1;
    }
    (parts >= 3).then_some(Proof(Role::Client))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const LOAD: &[u8] =
        b"\0\0\0\x09db-7\0\0\x08\0\x0c\x15\x80\0\0\0\0\0\0\0\x02\0\x08cpu\0\0\x06\0\x0f\0\x01\x01\0\0\0\0\0\0\xf0\x3f";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::udp("collectd", LOAD, b"", Some(Side::Resp))]
    }

    #[test]
    fn an_encrypted_datagram_proves_nothing() {
        let mut encrypted = vec![0x02, 0x10, 0, 64];
        encrypted.resize(64, 0xaa);
        assert_eq!(ask(&Collectd, Transport::Udp, &encrypted, b""), Probe::Unsure);
    }

    #[test]
    fn parts_that_do_not_fit_are_not_collectd() {
        refuses(
            &Collectd,
            Transport::Udp,
            &[
                (&LOAD[..LOAD.len() - 1], b""),
                (&LOAD[..9], b""),
                (b"\0\0\0\x09db\x017\0", b""),
                (b"\0\x08\0\x0c\x15\x80\0\0\0\0\0\0", b""),
            ],
        );
    }
}
