//! WireGuard: messages of four kinds, each with three zero octets after its number and a length of its own.
//!
//! A handshake with an empty second checksum proves it, or its answer with the same index, or data in both directions.

use super::evidence::{Evidence, Role, weigh};
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Proof};

pub(super) struct Wireguard;

const INITIATION_BYTES: usize = 148;
const RESPONSE_BYTES: usize = 92;
const COOKIE_BYTES: usize = 64;

impl Protocol for Wireguard {
    fn name(&self) -> &'static str {
        "wireguard"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        (1..=4).contains(&first)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match (bytes, bytes.len()) {
            ([1, 0, 0, 0, ..], INITIATION_BYTES) => handshake(bytes, Role::Client),
            ([2, 0, 0, 0, ..], RESPONSE_BYTES) => handshake(bytes, Role::Server),
            ([3, 0, 0, 0, ..], COOKIE_BYTES) => Hint(Role::Server),
            // Receiver, then a counter that does not reach 2^32 in a session's first datagrams.
            ([4, 0, 0, 0, a, b, c, d, _, _, _, _, 0, 0, 0, 0, ..], 32..) => {
                Hint(Role::Peer).only_if(bytes.len() % 16 == 0 && [a, b, c, d].iter().filter(|b| ***b == 0).count() < 2)
            }
            _ => No,
        })
    }
}

/// The second checksum is sixteen zeros unless the responder is under load.
fn handshake(bytes: &[u8], role: Role) -> Evidence {
    let calm = bytes.rchunks(16).next().is_some_and(|mac2| mac2.iter().all(|b| *b == 0));
    if calm { Proof(role) } else { Hint(role) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    fn message(kind: u8, bytes: usize, mac2: u8) -> Vec<u8> {
        let mut message = vec![0x5a; bytes];
        message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        message[bytes - 16..].fill(mac2);
        message
    }

    fn data() -> Vec<u8> {
        let mut data = message(4, 96, 0x77);
        data[8..16].copy_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0]);
        data
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("wireguard", &message(1, 148, 0), &message(2, 92, 0), Some(Side::Resp)),
            Example::udp("wireguard", &message(1, 148, 7), &message(3, 64, 7), Some(Side::Resp)),
            Example::udp("wireguard", &data(), &data(), None),
        ]
    }

    #[test]
    fn data_one_way_and_a_handshake_under_load_prove_nothing_alone() {
        assert_eq!(ask(&Wireguard, Transport::Udp, &data(), b""), Probe::Unsure);
        assert_eq!(ask(&Wireguard, Transport::Udp, &message(1, 148, 7), b""), Probe::Unsure);
    }

    #[test]
    fn another_length_is_not_wireguard() {
        refuses(
            &Wireguard,
            Transport::Udp,
            &[
                (&message(1, 147, 0), b""),
                (&message(2, 148, 0), b""),
                (&data()[..95], b""),
                (b"\x01\0\0\x01", b""),
                (&message(1, 148, 0), b"HTTP/1.1"),
            ],
        );
    }
}
