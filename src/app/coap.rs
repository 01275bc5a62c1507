//! CoAP (RFC 7252): a request and the answer that repeats its message or token. A header of four octets alone is no
//! proof, so one side never is.

use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::{Side, Transport};

pub(super) struct Coap;

const OPTIONS_MAX: usize = 32;

impl Protocol for Coap {
    fn name(&self) -> &'static str {
        "coap"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first >> 6 == 1 && first & 0x0f <= 8
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let [(first, one), (_, two)] = opening.sides();
        match (message(one), message(two)) {
            (None, _) if !one.is_empty() => Probe::NotForUs,
            (_, None) if !two.is_empty() => Probe::NotForUs,
            (Some(one), Some(two)) => pair(&one, &two, first.other()).or_else(|| pair(&two, &one, first)).map_or(
                // The next datagram may be the answer.
                Probe::Unsure,
                |server| Probe::Certain(Some(server)),
            ),
            _ => Probe::Unsure,
        }
    }
}

fn pair(asked: &Message<'_>, answered: &Message<'_>, server: Side) -> Option<Side> {
    let asks = matches!(asked.code, 1..=7) && asked.kind <= CONFIRMABLE_MAX;
    let answers = matches!(answered.code >> 5, 2 | 4 | 5);
    let same = match answered.kind {
        // Acknowledged at once, or separately and then by token.
        ACKNOWLEDGEMENT => answered.id == asked.id && answered.token == asked.token,
        _ => answered.token.len() >= 2 && answered.token == asked.token,
    };
    (asks && answers && same).then_some(server)
}

/// Confirmable 0, non-confirmable 1, acknowledgement 2, reset 3.
const CONFIRMABLE_MAX: u8 = 1;
const ACKNOWLEDGEMENT: u8 = 2;

struct Message<'a> {
    kind: u8,
    code: u8,
    id: u16,
    token: &'a [u8],
}

/// Section 3, read to the end: options by their lengths, then a payload behind 0xff.
fn message(bytes: &[u8]) -> Option<Message<'_>> {
    let mut r = Reader::new(bytes);
    let first = r.u8()?;
    let (version, kind, token) = (first >> 6, first >> 4 & 3, first & 0x0f);
    let code = r.u8()?;
    if version != 1 || token > 8 || !matches!(code >> 5, 0 | 2 | 4 | 5) {
        return None;
    }
    let id = r.u16()?;
    let token = r.take(usize::from(token))?;
    for _ in 0..OPTIONS_MAX {
        let Some(head) = r.u8() else { return Some(Message { kind, code, id, token }) };
        if head == 0xff {
            return (!r.is_empty()).then_some(Message { kind, code, id, token });
        }
        extended(&mut r, head >> 4)?;
        let length = extended(&mut r, head & 0x0f)?;
        r.skip(length)?;
    }
    None
}

/// Section 3.1: 13 and 14 have one and two more octets, 15 is reserved.
fn extended(r: &mut Reader<'_>, nibble: u8) -> Option<usize> {
    match nibble {
        0..=12 => Some(usize::from(nibble)),
        13 => r.u8().map(|more| usize::from(more) + 13),
        14 => r.u16().map(|more| usize::from(more) + 269),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const GET: &[u8] = b"\x42\x01\x7d\x34\xab\xcd\xbb.well-known\x04core";
    const CONTENT: &[u8] = b"\x62\x45\x7d\x34\xab\xcd\xc1\x28\xff</temp>";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::udp("coap", GET, CONTENT, Some(Side::Resp))]
    }

    #[test]
    fn one_side_alone_or_another_exchange_proves_nothing() {
        assert_eq!(ask(&Coap, Transport::Udp, GET, b""), Probe::Unsure);
        assert_eq!(ask(&Coap, Transport::Udp, b"", CONTENT), Probe::Unsure);
        assert_eq!(ask(&Coap, Transport::Udp, GET, b"\x62\x45\x7d\x35\xab\xcd\xc1\x28\xff</temp>"), Probe::Unsure);
    }

    #[test]
    fn options_that_do_not_fit_are_not_coap() {
        refuses(
            &Coap,
            Transport::Udp,
            &[
                (&GET[..14], b""),
                (b"\x49\x01\x7d\x34", b""),
                (b"\x42\x21\x7d\x34\xab\xcd", b""),
                (b"\x42\x01\x7d\x34\xab\xcd\xff", b""),
                (GET, b"\x02"),
            ],
        );
    }
}
