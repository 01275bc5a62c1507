//! XDMCP (X11R6): a display asks a manager for a session. Version, operation and the datagram's own length.
//!
//! Willing and Unwilling prove it; the other messages are too short to, alone.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof};

pub(super) struct Xdmcp;

const WILLING: u16 = 5;

impl Protocol for Xdmcp {
    fn name(&self) -> &'static str {
        "xdmcp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == 0
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(No))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let said = info.server.map(|side| opening.side(side)).unwrap_or_default();
        let mut r = Reader::new(said);
        if r.u16() == Some(1)
            && r.u16() == Some(WILLING)
            && r.skip(2).is_some()
            && let (Some(_), Some(host)) = (text(&mut r), text(&mut r))
        {
            info.detail("host", host);
            return Described::Whole;
        }
        Described::Partly
    }
}

fn text<'a>(r: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = usize::from(r.u16()?);
    r.take(length)
}

fn judge(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    if r.u16()? != 1 {
        return None;
    }
    let operation = r.u16()?;
    if usize::from(r.u16()?) != r.rest().len() || r.is_empty() {
        return None;
    }
    match operation {
        // Names of ways to authenticate, each with its length.
        1..=3 => {
            let names = r.u8()?;
            for _ in 0..names {
                text(&mut r)?;
            }
            r.is_empty().then_some(Hint(Role::Client))
        }
        // Willing: the way chosen, host, status. Unwilling: host, status.
        WILLING | 6 => {
            let strings = if operation == WILLING { 3 } else { 2 };
            for _ in 0..strings {
                if text(&mut r)?.iter().any(|b| *b < 0x20) {
                    return None;
                }
            }
            r.is_empty().then_some(Proof(Role::Server))
        }
        7 | 10 | 13 => Some(Hint(Role::Client)),
        8 | 9 | 11 | 12 | 14 => Some(Hint(Role::Server)),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const QUERY: &[u8] = b"\0\x01\0\x02\0\x01\0";
    const ANSWER: &[u8] = b"\0\x01\0\x05\0\x11\0\0\0\x05wks-9\0\x06Linux ";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("xdmcp", QUERY, ANSWER, Some(Side::Resp)),
            Example::udp(
                "xdmcp",
                b"\0\x01\0\x0d\0\x06\0\x01\0\0\0\x07",
                b"\0\x01\0\x0e\0\x05\x01\0\0\0\x07",
                Some(Side::Resp),
            ),
        ]
    }

    #[test]
    fn a_query_alone_proves_nothing() {
        assert_eq!(ask(&Xdmcp, Transport::Udp, QUERY, b""), Probe::Unsure);
    }

    #[test]
    fn another_length_version_or_operation_is_not_xdmcp() {
        refuses(
            &Xdmcp,
            Transport::Udp,
            &[
                (b"\0\x01\0\x02\0\x02\0", b""),
                (b"\0\x02\0\x02\0\x01\0", b""),
                (b"\0\x01\0\x0f\0\x01\0", b""),
                (QUERY, QUERY),
                (QUERY, &ANSWER[..20]),
            ],
        );
    }

    #[test]
    fn the_managers_host_is_told() {
        assert_eq!(examples()[0].described(&Xdmcp).get("host"), Some("wks-9"));
    }
}
