//! Microsoft's Delivery Optimization between peers (no public specification; read from Wireshark's dissector, whose name
//! it has): how Windows machines hand updates to each other, a relative of BitTorrent.
//!
//! Both ends begin with a handshake of 75 bytes, which only together are a proof. Who opened the connection asks.

use super::evidence::{Evidence, opener, weigh_sides};
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, Short};

pub(super) struct MsDo;

const NAME: &[u8] = b"\x0eSwarm protocol";
/// Behind the name: the size of the content, its hash (SHA-256), the peer's id (a GUID and four bytes).
const HANDSHAKE_BYTES: usize = NAME.len() + 8 + 32 + 16 + 4;

impl Protocol for MsDo {
    fn name(&self) -> &'static str {
        "msdo"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh_sides(opening, |side, bytes| match Hint(opener(side)).if_begins(bytes, NAME) {
            Hint(_) if bytes.len() < HANDSHAKE_BYTES => Short,
            said => said,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    fn handshake(peer: u8) -> Vec<u8> {
        [NAME, &4_096u64.to_be_bytes(), &[0x5a; 32], &[peer; 16], &[0, 0, 0, peer]].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("msdo", &handshake(1), &handshake(2), Some(Side::Resp))]
    }

    #[test]
    fn one_handshake_alone_a_short_one_and_another_answer_are_no_proof() {
        assert_eq!(ask(&MsDo, Transport::Tcp, &handshake(1), b""), Probe::Unsure);
        assert_eq!(ask(&MsDo, Transport::Tcp, &handshake(1), &handshake(2)[..60]), Probe::Unsure);
        assert_eq!(ask(&MsDo, Transport::Tcp, &handshake(1), b"HTTP/1.1 400"), Probe::NotForUs);
        assert_eq!(ask(&MsDo, Transport::Tcp, b"\x0eSwarm protocols and more", b""), Probe::Unsure);
        assert_eq!(ask(&MsDo, Transport::Tcp, b"\x0eswarm protocol", b""), Probe::NotForUs);
    }
}
