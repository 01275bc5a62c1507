//! TACACS+ (RFC 8907): both sides of one session, numbered 1 and 2. Bodies are encrypted and not looked at.

use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;

pub(super) struct Tacacs;

impl Protocol for Tacacs {
    fn name(&self) -> &'static str {
        "tacacs_plus"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let [(first, asked), (_, answered)] = opening.sides();
        match (header(asked), header(answered)) {
            (Some(None), _) | (_, Some(None)) => Probe::NotForUs,
            (Some(Some(asked)), Some(Some(answered))) => {
                let same = asked.session == answered.session && asked.kind == answered.kind;
                match (asked.sequence, answered.sequence) {
                    (1, 2) if same => Probe::Certain(Some(first.other())),
                    _ => Probe::NotForUs,
                }
            }
            _ => Probe::Unsure,
        }
    }
}

struct Header {
    kind: u8,
    sequence: u8,
    session: u32,
}

/// Section 4.1. `Some(None)`: not TACACS+; `None`: too short to tell.
fn header(bytes: &[u8]) -> Option<Option<Header>> {
    let mut r = Reader::new(bytes);
    if !matches!(r.u8()?, 0xc0 | 0xc1) {
        return Some(None);
    }
    let kind = r.u8()?;
    if !(1..=3).contains(&kind) {
        return Some(None);
    }
    let sequence = r.u8()?;
    // Unencrypted, and single connection.
    let flags = r.u8()?;
    if !matches!(sequence, 1 | 2) || flags & !0x05 != 0 {
        return Some(None);
    }
    let session = r.u32()?;
    let length = r.u32()?;
    if !(5..=0xffff).contains(&length) {
        return Some(None);
    }
    Some(Some(Header { kind, sequence, session }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const START: &[u8] = b"\xc0\x01\x01\0\xde\xad\xbe\xef\0\0\0\x1a..........................";
    const REPLY: &[u8] = b"\xc0\x01\x02\0\xde\xad\xbe\xef\0\0\0\x10................";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("tacacs_plus", START, REPLY, Some(Side::Resp))]
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        assert_eq!(ask(&Tacacs, Transport::Tcp, START, b""), Probe::Unsure);
        assert_eq!(ask(&Tacacs, Transport::Tcp, b"", REPLY), Probe::Unsure);
    }

    #[test]
    fn another_session_number_or_kind_is_not_tacacs() {
        refuses(
            &Tacacs,
            Transport::Tcp,
            &[
                (START, b"\xc0\x01\x02\0\xde\xad\xbe\xee\0\0\0\x10"),
                (START, b"\xc0\x02\x02\0\xde\xad\xbe\xef\0\0\0\x10"),
                (START, START),
                (b"\xc0\x07", b""),
                (b"\xc0\x01\x01\xf0", b""),
            ],
        );
    }
}
