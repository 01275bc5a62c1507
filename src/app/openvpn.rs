//! OpenVPN: each side of the control channel names its session, and the answer repeats the other's.
//!
//! With tls-crypt the repetition is encrypted: then it stays unproved, and null.

use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};

pub(super) struct Openvpn;

/// Operation 1–11 in the upper five bits, key in the lower three.
const CLIENT_RESETS: [u8; 3] = [1, 7, 10];
const SERVER_RESETS: [u8; 2] = [2, 8];

impl Protocol for Openvpn {
    fn name(&self) -> &'static str {
        "openvpn"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first & 7 == 0 && first <= 0x58
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let [(first, asked), (_, answered)] = opening.sides();
        match (control(opening.transport, asked), control(opening.transport, answered)) {
            (Some(None), _) | (_, Some(None)) => Probe::NotForUs,
            (Some(Some(one)), Some(Some(two))) => {
                let server = match (one.operation, two.operation) {
                    (c, _) if CLIENT_RESETS.contains(&c) => Some(first.other()),
                    (_, c) if CLIENT_RESETS.contains(&c) => Some(first),
                    (s, _) if SERVER_RESETS.contains(&s) => Some(first),
                    (_, s) if SERVER_RESETS.contains(&s) => Some(first.other()),
                    _ => None,
                };
                if one.repeats(&two) || two.repeats(&one) {
                    Probe::Certain(server)
                } else if opening.transport == Transport::Udp || !(one.whole && two.whole) {
                    Probe::Unsure
                } else {
                    Probe::NotForUs
                }
            }
            _ => Probe::Unsure,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        // With tls-auth, a digest stands between session and acknowledgements.
        let server = info.server.and_then(|s| control(opening.transport, opening.side(s)).flatten());
        if let Some(reset) = server.filter(|s| SERVER_RESETS.contains(&s.operation)) {
            info.detail("control", if reset.rest.first() == Some(&1) { "plain" } else { "tls-auth" });
        }
        Described::Whole
    }
}

struct Control<'a> {
    operation: u8,
    session: &'a [u8],
    rest: &'a [u8],
    /// Over TCP: all of the message is there.
    whole: bool,
}

impl Control<'_> {
    fn repeats(&self, other: &Control<'_>) -> bool {
        self.rest.windows(8).take(80).any(|w| w == other.session)
    }
}

/// Over TCP a length comes before. `Some(None)`: not OpenVPN's control channel; `None`: too short to tell.
fn control(transport: Transport, bytes: &[u8]) -> Option<Option<Control<'_>>> {
    let mut r = Reader::new(bytes);
    let mut length = 0;
    if transport == Transport::Tcp {
        if bytes.first().is_some_and(|high| *high > 6) {
            return Some(None);
        }
        length = usize::from(r.u16()?);
        if !(14..=1600).contains(&length) {
            return Some(None);
        }
    }
    let first = r.u8()?;
    let operation = first >> 3;
    // A session begins with key 0; data messages (6 and 9) carry no session.
    if first & 7 != 0 || !matches!(operation, 1 | 2 | 4 | 5 | 7 | 8 | 10 | 11) {
        return Some(None);
    }
    let session = r.take(8)?;
    let zeros = session.iter().filter(|b| **b == 0).count();
    // A random number: one that is mostly zeros would be found anywhere.
    let whole = bytes.len() >= length + 2;
    Some((zeros < 4).then_some(Control { operation, session, rest: r.rest(), whole }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const HELLO: &[u8] = b"\x38CLIENT-1\0\0\0\0\0";
    const ANSWER: &[u8] = b"\x40SERVER-2\x01\0\0\0\0CLIENT-1\0\0\0\0";

    fn framed(bytes: &[u8]) -> Vec<u8> {
        [&[0, bytes.len() as u8], bytes].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("openvpn", HELLO, ANSWER, Some(Side::Resp)),
            Example::tcp("openvpn", &framed(HELLO), &framed(ANSWER), Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_hello_alone_proves_nothing() {
        assert_eq!(ask(&Openvpn, Transport::Udp, HELLO, b""), Probe::Unsure);
        assert_eq!(ask(&Openvpn, Transport::Tcp, &framed(HELLO), b""), Probe::Unsure);
        // Encrypted, or another session's.
        assert_eq!(ask(&Openvpn, Transport::Udp, HELLO, &[0x40; 60]), Probe::Unsure);
    }

    #[test]
    fn another_operation_or_session_is_not_openvpn() {
        refuses(
            &Openvpn,
            Transport::Tcp,
            &[
                (&framed(HELLO), &framed(b"\x40SERVER-2\x01\0\0\0\0CLIENT-9\0\0\0\0")),
                (b"\x00\x0e\x39", b""),
                (b"8=FIX.4.4\x01", b""),
                (&framed(b"\x38\0\0\0\0\0\0\x01\x02\0\0\0\0\0"), b""),
            ],
        );
        refuses(&Openvpn, Transport::Udp, &[(b"\x30CLIENT-1\0\0\0\0\0", b"")]);
    }
}
