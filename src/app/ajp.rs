//! AJP 1.3, between a web server and Tomcat: 0x1234 from the web server, "AB" from the container.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Ajp;

/// The packet size is at most 64 KiB; 8 KiB is usual.
const FORWARD_REQUEST: u8 = 2;

impl Protocol for Ajp {
    fn name(&self) -> &'static str {
        "ajp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| {
            match bytes.first() {
                Some(0x12) => request(bytes),
                Some(b'A') => response(bytes),
                _ => Some(No),
            }
            .unwrap_or(Short)
        })
    }
}

fn request(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    if r.u16()? != 0x1234 {
        return Some(No);
    }
    let length = r.u16()?;
    match (r.u8()?, length) {
        // The method's code, then the protocol as text.
        (FORWARD_REQUEST, 12..) => {
            if !(1..=28).contains(&r.u8()?) {
                return Some(No);
            }
            let text = usize::from(r.u16()?);
            Some(Proof(Role::Client).only_if(text == 8 && r.take(7)? == b"HTTP/1."))
        }
        // Ping, shutdown and CPing are one octet.
        (7 | 8 | 10, 1) => Some(Hint(Role::Client)),
        _ => Some(No),
    }
}

fn response(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    if r.u16()? != 0x4142 {
        return Some(No);
    }
    let length = r.u16()?;
    match (r.u8()?, length) {
        // Headers: a status.
        (4, 8..) => Some(Hint(Role::Server).only_if((100..600).contains(&r.u16()?))),
        (3, 4..) | (5, 2) | (6, 3) | (9, 1) => Some(Hint(Role::Server)),
        _ => Some(No),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const FORWARD: &[u8] = b"\x12\x34\0\x30\x02\x02\0\x08HTTP/1.1\0\0\x01/\0";
    const HEADERS: &[u8] = b"AB\0\x0b\x04\0\xc8\0\x02OK\0\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("ajp", FORWARD, HEADERS, Some(Side::Resp)),
            Example::tcp("ajp", b"\x12\x34\0\x01\x0a", b"AB\0\x01\x09", Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_ping_alone_proves_nothing() {
        assert_eq!(ask(&Ajp, Transport::Tcp, b"\x12\x34\0\x01\x0a", b""), Probe::Unsure);
        assert_eq!(ask(&Ajp, Transport::Tcp, b"", HEADERS), Probe::Unsure);
    }

    #[test]
    fn another_method_protocol_or_status_is_not_ajp() {
        refuses(
            &Ajp,
            Transport::Tcp,
            &[
                (b"\x12\x34\0\x30\x02\x77\0\x08HTTP/1.1", b""),
                (b"\x12\x34\0\x30\x02\x02\0\x08HTTQ/1.1", b""),
                (b"\x12\x34\0\x02\x0a", b""),
                (b"\x12\x35", b""),
                (FORWARD, b"ABORT\r\n"),
                (FORWARD, b"AB\0\x0b\x04\x03\xe8\0\x02OK"),
            ],
        );
    }
}
