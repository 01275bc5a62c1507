//! LDP (RFC 5036): label distribution between routers; hellos in datagrams, sessions over TCP.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{No, Proof, Short};

pub(super) struct Ldp;

impl Protocol for Ldp {
    fn name(&self) -> &'static str {
        "ldp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == 0
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let datagram = opening.transport == Transport::Udp;
        weigh(opening, |bytes| judge(bytes, datagram).unwrap_or(if datagram { No } else { Short }))
    }
}

/// Section 3.1: version 1, length, router, label space; then a message (section 3.5) within that length.
fn judge(bytes: &[u8], datagram: bool) -> Option<Evidence> {
    if bytes.first() != Some(&0) {
        return Some(No);
    }
    let mut r = Reader::new(bytes);
    if r.u16()? != 1 {
        return Some(No);
    }
    let length = r.u16()?;
    if !(14..=4096).contains(&length) || (datagram && usize::from(length) != r.rest().len()) {
        return Some(No);
    }
    let router = r.u32()?;
    let space = r.u16()?;
    if router == 0 || space != 0 {
        return Some(No);
    }
    let (kind, size) = (r.u16()?, r.u16()?);
    let known = match kind {
        0x0100 => datagram,
        0x0001 | 0x0200 | 0x0201 | 0x0300 | 0x0301 | 0x0400..=0x0404 => !datagram,
        _ => false,
    };
    if !known || size < 4 || size > length - 10 {
        return Some(No);
    }
    if kind == 0x0201 {
        return Some(Proof(Role::Peer).only_if(size == 4));
    }
    r.skip(4)?;
    // The first parameter, by message: hello, session, status, and otherwise addresses or classes.
    let expected: &[u16] = match kind {
        0x0100 => &[0x0400],
        0x0200 => &[0x0500],
        0x0001 => &[0x0300],
        _ => &[0x0100, 0x0101],
    };
    Some(Proof(Role::Peer).only_if(expected.contains(&(r.u16()? & 0x3fff))))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, refuses};
    use super::*;

    const HELLO: &[u8] =
        b"\0\x01\0\x1e\x0a\0\0\x01\0\0\x01\0\0\x14\0\0\0\x01\x04\0\0\x04\0\x0f\0\0\x04\x01\0\x04\x0a\0\0\x01";
    const INIT: &[u8] =
        b"\0\x01\0\x20\x0a\0\0\x01\0\0\x02\0\0\x16\0\0\0\x02\x05\0\0\x0e\0\x01\0\xb4\0\0\0\0\x0a\0\0\x02\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::udp("ldp", HELLO, b"", None), Example::tcp("ldp", INIT, INIT, None)]
    }

    #[test]
    fn another_length_router_or_parameter_is_not_ldp() {
        refuses(
            &Ldp,
            Transport::Udp,
            &[
                (&HELLO[..33], b""),
                (INIT, b""),
                (b"\0\x01\0\x02\0\x01\0", b""),
                (
                    b"\0\x01\0\x1e\0\0\0\0\0\0\x01\0\0\x14\0\0\0\x01\x04\0\0\x04\0\x0f\0\0\x04\x01\0\x04\x0a\0\0\x01",
                    b"",
                ),
            ],
        );
        refuses(&Ldp, Transport::Tcp, &[(HELLO, b""), (INIT, b"HTTP/1.1 400 Bad\r\n")]);
    }
}
