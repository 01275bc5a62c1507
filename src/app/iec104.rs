//! IEC 60870-5-104: telecontrol over TCP. The start of data transfer proves it, or two data frames in a row.
//!
//! At most [`FRAMES_MAX`] frames of each side are looked at.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{No, Proof, Short};

pub(super) struct Iec104;

const FRAMES_MAX: usize = 8;

impl Protocol for Iec104 {
    fn name(&self) -> &'static str {
        "iec60870"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(Short))
    }
}

/// Section 5: 0x68, length 4..=253, four control octets, and in an I frame an ASDU.
fn judge(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let (mut data, mut role) = (0, Role::Peer);
    for _ in 0..FRAMES_MAX {
        if r.u8()? != 0x68 {
            return Some(No);
        }
        let length = r.u8()?;
        if !(4..=253).contains(&length) {
            return Some(No);
        }
        let control = r.u8()?;
        match (control & 3, length) {
            // S: only an acknowledgement.
            (1, 4) => {
                let rest = r.take(3)?;
                if control != 1 || rest.get(1).is_some_and(|low| low & 1 != 0) {
                    return Some(No);
                }
            }
            // U: STARTDT, STOPDT and TESTFR, asked or confirmed.
            (3, 4) => {
                let role = match control {
                    0x07 | 0x13 => Role::Client,
                    0x0b | 0x23 => Role::Server,
                    0x43 | 0x83 => Role::Peer,
                    _ => return Some(No),
                };
                return Some(Proof(role).only_if(r.take(3)? == [0, 0, 0]));
            }
            (0 | 2, 10..) => {
                if r.take(3)?.get(1).is_some_and(|low| low & 1 != 0) {
                    return Some(No);
                }
                match asdu_role(r.rest().first_chunk()?) {
                    None => return Some(No),
                    Some(Role::Peer) => {}
                    Some(told) => role = told,
                }
                r.skip(usize::from(length) - 4)?;
                data += 1;
                if data == 2 {
                    return Some(Proof(role));
                }
            }
            _ => return Some(No),
        }
    }
    Some(No)
}

/// Type, number of objects, cause: monitored values come from the controlled station, commands from the
/// controlling one, their confirmations back. `None` is no ASDU.
fn asdu_role([kind, objects, cause]: &[u8; 3]) -> Option<Role> {
    let cause = cause & 0x3f;
    if objects & 0x7f == 0 || cause == 0 || cause > 47 {
        return None;
    }
    match (kind, cause) {
        (1..=40 | 70, _) => Some(Role::Server),
        (45..=69 | 100..=113, 6 | 8) => Some(Role::Client),
        (45..=69 | 100..=113, 7 | 9 | 10) => Some(Role::Server),
        (45..=69 | 100..=127, _) => Some(Role::Peer),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const START: &[u8] = b"\x68\x04\x07\0\0\0";
    /// A general interrogation, and its two first answers.
    const ASK: &[u8] = b"\x68\x0e\0\0\0\0\x64\x01\x06\0\x01\0\0\0\0\x14";
    const VALUES: &[u8] =
        b"\x68\x0e\0\0\x02\0\x64\x01\x07\0\x01\0\0\0\0\x14\x68\x0e\x02\0\x02\0\x01\x01\x14\0\x01\0\x01\0\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("iec60870", START, b"\x68\x04\x0b\0\0\0", Some(Side::Resp)),
            Example::tcp("iec60870", ASK, VALUES, Some(Side::Resp)),
        ]
    }

    #[test]
    fn one_data_frame_alone_proves_nothing() {
        assert_eq!(ask(&Iec104, Transport::Tcp, ASK, b""), Probe::Unsure);
    }

    #[test]
    fn an_h_and_something_else_is_not_iec_104() {
        refuses(
            &Iec104,
            Transport::Tcp,
            &[
                (b"hello\r\n", b""),
                (b"\x68\x04\x07\0\0\x01", b""),
                (b"\x68\x03\x07", b""),
                (b"\x68\x0e\0\0\0\0\x64\x00\x06\0\x01\0\0\0\0\x14", b""),
                (START, b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
    }
}
