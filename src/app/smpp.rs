//! SMPP 3.4 and 5.0: a bind with its strings, and the answer. Passwords and messages are not kept.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Smpp;

const HEADER_BYTES: u32 = 16;
const MESSAGE_BYTES_MAX: u32 = 0x1_0000;
const RESPONSE: u32 = 0x8000_0000;

impl Protocol for Smpp {
    fn name(&self) -> &'static str {
        "smpp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let mut r = Reader::new(opening.side(info.server.unwrap_or(Side::Resp)));
        let bound =
            r.skip(4).is_some() && r.u32().is_some_and(|c| matches!(c & !RESPONSE, 1 | 2 | 9)) && r.skip(8).is_some();
        if bound && let Some(system) = r.until(0) {
            info.detail("system_id", system);
        }
        Described::Whole
    }
}

fn judge(bytes: &[u8]) -> Option<Evidence> {
    if bytes.first() != Some(&0) {
        return Some(No);
    }
    let mut r = Reader::new(bytes);
    let length = r.u32()?;
    if !(HEADER_BYTES..MESSAGE_BYTES_MAX).contains(&length) {
        return Some(No);
    }
    let (command, status, sequence) = (r.u32()?, r.u32()?, r.u32()?);
    if sequence == 0 || sequence > 0x7fff_ffff || (command & RESPONSE == 0 && status != 0) || status > 0x4ff {
        return Some(No);
    }
    match command {
        // Bind as receiver, transmitter or both: system, password, kind of system, then the version and addressing.
        1 | 2 | 9 => {
            let mut body = Reader::new(r.take(usize::try_from(length - HEADER_BYTES).ok()?)?);
            let mut fits = true;
            for bytes_max in [16, 9, 13] {
                let text = body.until(0);
                fits &= text.is_some_and(|t| t.len() < bytes_max && t.iter().all(|b| (0x20..0x7f).contains(b)));
            }
            let version = matches!(body.u8(), Some(0x00 | 0x33 | 0x34 | 0x50));
            Some(
                Proof(Role::Client)
                    .only_if(fits && version && body.skip(2).is_some() && body.rest().last() == Some(&0)),
            )
        }
        0x15 if length == HEADER_BYTES => Some(Hint(Role::Peer)),
        4 | 0x103 | 0x21 if length > HEADER_BYTES => Some(Hint(Role::Client)),
        // Deliveries go from the centre to the client.
        5 | 0x0b if length > HEADER_BYTES => Some(Hint(Role::Server)),
        RESPONSE..=0x8000_0103 => Some(Hint(Role::Server)),
        _ => Some(No),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const BIND: &[u8] = b"\0\0\0\x23\0\0\0\x09\0\0\0\0\0\0\0\x01client\0secret\0\0\x34\0\0\0";
    const BOUND: &[u8] = b"\0\0\0\x15\x80\0\0\x09\0\0\0\0\0\0\0\x01SMSC\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("smpp", BIND, BOUND, Some(Side::Resp))]
    }

    #[test]
    fn an_answer_alone_proves_nothing() {
        assert_eq!(ask(&Smpp, Transport::Tcp, b"", BOUND), Probe::Unsure);
    }

    #[test]
    fn another_status_version_or_string_is_not_smpp() {
        let other = |at: usize, with: u8| {
            let mut bytes = BIND.to_vec();
            bytes[at] = with;
            bytes
        };
        refuses(
            &Smpp,
            Transport::Tcp,
            &[
                (&other(11, 1), b""),
                (&other(15, 0), b""),
                (&other(17, 1), b""),
                (&other(30, 0x99), b""),
                (&other(3, 0x0f), b""),
                (BIND, b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
    }

    #[test]
    fn the_centres_name_is_told_and_no_password() {
        let info = examples()[0].described(&Smpp);
        assert_eq!(info.details.len(), 1);
        assert_eq!(info.get("system_id"), Some("SMSC"));
    }
}
