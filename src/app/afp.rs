//! AFP over DSI: a request and the answer that repeats its command and number. Neither alone is a proof.
//!
//! The server's name and kind are those of its status.

use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Afp;

const GET_STATUS: u8 = 3;
const DATA_BYTES_MAX: u32 = 0x0100_0000;

impl Protocol for Afp {
    fn name(&self) -> &'static str {
        "afp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        match (header(opening.orig), header(opening.resp)) {
            (Some(None), _) | (_, Some(None)) => Probe::NotForUs,
            (Some(Some(one)), Some(Some(two))) => {
                let same = one.command == two.command && one.number == two.number;
                match (one.answers, two.answers) {
                    (false, true) if same => Probe::Certain(Some(Side::Resp)),
                    (true, false) if same => Probe::Certain(Some(Side::Orig)),
                    _ => Probe::NotForUs,
                }
            }
            _ => Probe::Unsure,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let said = opening.side(info.server.unwrap_or(Side::Resp));
        match status(said) {
            Some((machine, name)) => {
                info.detail("machine", machine);
                info.detail("server_name", name);
                Described::Whole
            }
            None if header(said).flatten().is_some_and(|h| h.command == GET_STATUS) => Described::Partly,
            None => Described::Whole,
        }
    }
}

struct Header {
    answers: bool,
    command: u8,
    number: u16,
}

/// DSI's sixteen octets. `Some(None)`: not DSI; `None`: too short to tell.
fn header(bytes: &[u8]) -> Option<Option<Header>> {
    let mut r = Reader::new(bytes);
    let flags = r.u8()?;
    if flags > 1 {
        return Some(None);
    }
    let command = r.u8()?;
    if !matches!(command, 1..=6 | 8) {
        return Some(None);
    }
    let number = r.u16()?;
    // A write's offset, or an answer's error, which is negative and small.
    let offset = r.u32()?;
    if flags == 0 && command != 6 && offset != 0 || flags == 1 && offset != 0 && offset < 0xffff_0000 {
        return Some(None);
    }
    let length = r.u32()?;
    if length > DATA_BYTES_MAX || r.u32()? != 0 {
        return Some(None);
    }
    Some(Some(Header { answers: flags == 1, command, number }))
}

/// Offsets count from the data's first octet; machine and server names are counted strings.
fn status(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let GET_STATUS = header(bytes)??.command else { return None };
    let data = bytes.get(16..)?;
    let machine_at = usize::from(Reader::new(data).u16()?);
    let text = |at: usize| {
        let mut r = Reader::new(data.get(at..)?);
        let length = usize::from(r.u8()?);
        r.take(length)
    };
    Some((text(machine_at)?, text(10)?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const ASK: &[u8] = b"\0\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0\0";
    const ANSWER: &[u8] = b"\x01\x03\0\x01\0\0\0\0\0\0\0\x18\0\0\0\0\0\x10\0\0\0\0\0\0\0\x03\x05wks-9\x08Netatalk";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("afp", ASK, ANSWER, Some(Side::Resp))]
    }

    #[test]
    fn a_request_alone_proves_nothing() {
        assert_eq!(ask(&Afp, Transport::Tcp, ASK, b""), Probe::Unsure);
    }

    #[test]
    fn another_number_command_or_offset_is_not_afp() {
        refuses(
            &Afp,
            Transport::Tcp,
            &[
                (ASK, b"\x01\x03\0\x02\0\0\0\0\0\0\0\x18\0\0\0\0"),
                (ASK, b"\x01\x04\0\x01\0\0\0\0\0\0\0\x18\0\0\0\0"),
                (ASK, ASK),
                (b"\0\x03\0\x01\0\0\0\x01", b""),
                (b"\0\x09\0\x01", b""),
                (ASK, b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
    }

    #[test]
    fn the_servers_name_is_told() {
        let info = examples()[0].described(&Afp);
        assert_eq!((info.get("server_name"), info.get("machine")), (Some("wks-9"), Some("Netatalk")));
    }
}
