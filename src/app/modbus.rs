//! Modbus/TCP: a request and its answer under one transaction number.
//!
//! Looked at are the first [`FRAMES_MAX`] frames of each side. Either side alone proves nothing: a frame is a few
//! small numbers.

use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Modbus;

/// A master seldom has more requests under way.
const FRAMES_MAX: usize = 4;

impl Protocol for Modbus {
    fn name(&self) -> &'static str {
        "modbus"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let [(first, asked), (_, answered)] = opening.sides();
        let (Some(asked), Some(answered)) = (frames(asked), frames(answered)) else { return Probe::NotForUs };
        for (frame, answer) in asked.iter().flatten().flat_map(|f| answered.iter().flatten().map(move |a| (f, a))) {
            if frame.transaction == answer.transaction
                && frame.unit == answer.unit
                && frame.function & 0x7f == answer.function & 0x7f
            {
                return match (frame.answers(), answer.answers()) {
                    (Some(true), Some(true)) | (Some(false), Some(false)) => Probe::NotForUs,
                    (Some(true), _) | (_, Some(false)) => Probe::Certain(Some(first)),
                    (Some(false), _) | (_, Some(true)) => Probe::Certain(Some(first.other())),
                    // Writes of one value are echoed: who spoke first asked.
                    (None, None) => Probe::Certain((!opening.midstream).then_some(first.other())),
                };
            }
        }
        match (asked.iter().flatten().count(), answered.iter().flatten().count()) {
            (1.., 1..) if !opening.midstream => Probe::NotForUs,
            (FRAMES_MAX.., FRAMES_MAX..) => Probe::NotForUs,
            _ => Probe::Unsure,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        if let Some([Some(frame), ..]) = frames(opening.side(server)) {
            info.detail("unit", frame.unit.to_string());
            info.detail("function", (frame.function & 0x7f).to_string());
        }
        Described::Whole
    }
}

#[derive(Clone, Copy)]
struct Frame<'a> {
    transaction: u16,
    unit: u8,
    function: u8,
    data: &'a [u8],
}

impl Frame<'_> {
    /// Is it an answer? `None` where requests look the same.
    fn answers(&self) -> Option<bool> {
        match (self.function, self.data) {
            (0x80.., _) => Some(true),
            (1..=4, [count, values @ ..]) if usize::from(*count) == values.len() && values.len() != 3 => Some(true),
            (1..=4, [_, _, _, _]) => Some(false),
            (15 | 16, [_, _, _, _]) => Some(true),
            (15 | 16, [_, _, _, _, count, values @ ..]) => (usize::from(*count) == values.len()).then_some(false),
            _ => None,
        }
    }
}

/// The finished frames at the front; `None` when the bytes are no Modbus. The specification's MBAP header:
/// transaction, protocol 0, length of unit, function and data (at most 254), unit.
fn frames(bytes: &[u8]) -> Option<[Option<Frame<'_>>; FRAMES_MAX]> {
    let mut found = [None; FRAMES_MAX];
    let mut r = Reader::new(bytes);
    for slot in &mut found {
        let Some(transaction) = r.u16() else { break };
        // Decided byte by byte, so that others need not wait.
        match r.rest() {
            [0, 0, 0, 3..=254, ..] | [0, 0, 0] | [0, 0] | [0] | [] => {}
            _ => return None,
        }
        let (Some(_), Some(length)) = (r.u16(), r.u16()) else { break };
        let (Some(unit), Some(function)) = (r.u8(), r.u8()) else { break };
        // Public function codes end at 43; an exception sets the high bit and has one code.
        match (function, length) {
            (1..=8 | 11 | 12 | 15..=17 | 20..=24 | 43, _) | (0x81..=0xab, 3) => {}
            _ => return None,
        }
        let Some(data) = r.take(usize::from(length).saturating_sub(2)) else { break };
        *slot = Some(Frame { transaction, unit, function, data });
    }
    Some(found)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const READ: &[u8] = b"\0\x07\0\0\0\x06\x01\x03\0\x10\0\x02";
    const VALUES: &[u8] = b"\0\x07\0\0\0\x07\x01\x03\x04\0\x2a\0\x2b";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("modbus", READ, VALUES, Some(Side::Resp)),
            Example::tcp("modbus", READ, b"\0\x07\0\0\0\x03\x01\x83\x02", Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_request_or_an_answer_alone_proves_nothing() {
        assert_eq!(ask(&Modbus, Transport::Tcp, READ, b""), Probe::Unsure);
        assert_eq!(ask(&Modbus, Transport::Tcp, b"", VALUES), Probe::Unsure);
    }

    #[test]
    fn another_transaction_unit_or_protocol_is_not_modbus() {
        refuses(
            &Modbus,
            Transport::Tcp,
            &[
                (READ, b"\0\x08\0\0\0\x07\x01\x03\x04\0\x2a\0\x2b"),
                (READ, b"\0\x07\0\0\0\x07\x02\x03\x04\0\x2a\0\x2b"),
                (READ, READ),
                (READ, b"HTTP/1.1 400 Bad Request\r\n"),
                (b"\0\x07\0\x01\0\x06\x01\x03\0\x10\0\x02", b""),
                (b"\0\x07\0\0\0\x06\x01\x63\0\x10\0\x02", b""),
            ],
        );
    }

    #[test]
    fn the_unit_is_told() {
        let info = examples()[0].described(&Modbus);
        assert_eq!((info.get("unit"), info.get("function")), (Some("1"), Some("3")));
    }
}
