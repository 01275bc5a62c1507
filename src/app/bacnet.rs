//! BACnet/IP (ASHRAE 135 annex J): the virtual link header with the datagram's own length, a network header of
//! version 1, and an application message of a known kind.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{No, Proof};

pub(super) struct Bacnet;

impl Protocol for Bacnet {
    fn name(&self) -> &'static str {
        "bacnet"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == 0x81
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| role(bytes).map_or(No, Proof))
    }
}

fn role(bytes: &[u8]) -> Option<Role> {
    let mut r = Reader::new(bytes);
    if r.u8()? != 0x81 {
        return None;
    }
    let function = r.u8()?;
    if usize::from(r.u16()?) != bytes.len() {
        return None;
    }
    match function {
        // Forwarded: the first sender's address comes before the network header.
        0x04 => r.skip(6)?,
        0x09..=0x0b => {}
        // A broadcast table's result, and registration as a foreign device, stand for themselves.
        0x00 if bytes.len() == 6 => return Some(Role::Server),
        0x05 if bytes.len() == 6 => return Some(Role::Client),
        _ => return None,
    }
    if r.u8()? != 1 {
        return None;
    }
    let control = r.u8()?;
    for address in [0x20, 0x08] {
        if control & address != 0 {
            r.skip(2)?;
            let octets = usize::from(r.u8()?);
            r.skip(octets)?;
        }
    }
    if control & 0x20 != 0 {
        r.skip(1)?;
    }
    let (kind, next) = (r.u8()?, r.u8());
    if control & 0x80 != 0 {
        return (kind <= 0x13).then_some(Role::Peer);
    }
    match (kind >> 4, next?) {
        // Unconfirmed: who-is and who-has ask, i-am and i-have tell.
        (1, 7 | 8) => Some(Role::Client),
        (1, 0 | 1) => Some(Role::Server),
        (1, 2..=11) => Some(Role::Peer),
        (0, _) => Some(Role::Client),
        (2..=3 | 5..=7, _) => Some(Role::Server),
        (4, _) => Some(Role::Peer),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, refuses};
    use super::*;
    use crate::model::Side;

    const WHO_IS: &[u8] = b"\x81\x0b\0\x0c\x01\x20\xff\xff\0\xff\x10\x08";
    const READ: &[u8] = b"\x81\x0a\0\x11\x01\x04\x00\x05\x01\x0c\x0c\x02\x3f\xff\xff\x19\x4d";
    const VALUE: &[u8] = b"\x81\x0a\0\x0b\x01\x00\x30\x01\x0c\x0c\x02";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("bacnet", READ, VALUE, Some(Side::Resp)),
            Example::udp("bacnet", WHO_IS, b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn another_length_version_or_function_is_not_bacnet() {
        refuses(
            &Bacnet,
            Transport::Udp,
            &[
                (&WHO_IS[..11], b""),
                (b"\x81\x0b\0\x0c\x02\x20\xff\xff\0\xff\x10\x08", b""),
                (b"\x81\x2b\0\x0c\x01\x20\xff\xff\0\xff\x10\x08", b""),
                (b"\x81\x0b\0\x0c\x01\x20\xff\xff\0\xff\xf0\x08", b""),
                (READ, b"\x81\x0a\0"),
            ],
        );
    }
}
