//! RTMP (Adobe): the handshake of fixed size, then the client's `connect`.
//!
//! Read is the client's first chunk behind the handshake; stream names are not kept.

use super::evidence::{Evidence, Role, after, weigh_sides};
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Short};

pub(super) struct Rtmp;

/// C0 is the version, C1 and C2 are this long each (section 5.2).
const HANDSHAKE_BYTES: usize = 1536;
/// The header of a chunk has at most 3 + 11 + 4 bytes (section 5.3.1).
const CHUNK_HEADER_BYTES_MAX: usize = 18;
const VERSION: u8 = 3;

impl Protocol for Rtmp {
    fn name(&self) -> &'static str {
        "rtmp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh_sides(opening, |side, bytes| match bytes {
            [VERSION, rest @ ..] if side == opening.first => connects(rest),
            // Version, and two blocks: the server's own and the client's come back.
            [VERSION, rest @ ..] => {
                if rest.len() >= 2 * HANDSHAKE_BYTES {
                    Hint(Role::Server)
                } else {
                    Short
                }
            }
            _ => No,
        })
    }
}

/// Behind C1 and C2, the string `connect` of AMF0 (section 7.2.1.1).
fn connects(rest: &[u8]) -> Evidence {
    const CONNECT: &[u8] = b"\x02\0\x07connect";
    // The time of C1 is followed by zeros, or by a version of the Flash player: 9 to 32, then three bytes.
    if rest.get(4).is_some_and(|b| *b > 128) {
        return No;
    }
    let Some(command) = rest.get(2 * HANDSHAKE_BYTES..) else { return Short };
    // Some set the chunk size first.
    let head = command.get(..2 * CHUNK_HEADER_BYTES_MAX + CONNECT.len()).unwrap_or(command);
    match after(head, CONNECT) {
        Some(_) => Hint(Role::Client),
        None => Short.only_if(head.len() < 2 * CHUNK_HEADER_BYTES_MAX + CONNECT.len()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    fn handshake() -> Vec<u8> {
        [b"\x03\0\0\0\0\0\0\0\0".as_slice(), &[0x5a; 2 * HANDSHAKE_BYTES - 8]].concat()
    }

    fn client(command: &[u8]) -> Vec<u8> {
        [handshake().as_slice(), b"\x03\0\0\0\0\0\x89\x14\0\0\0\0\x02\0\x07", command, &[0; 60]].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("rtmp", &client(b"connect"), &handshake(), Some(Side::Resp))]
    }

    #[test]
    fn another_command_or_answer_and_one_side_alone_are_no_proof() {
        assert_eq!(ask(&Rtmp, Transport::Tcp, &client(b"publish"), &handshake()), Probe::NotForUs);
        assert_eq!(ask(&Rtmp, Transport::Tcp, &client(b"connect"), b""), Probe::Unsure);
        assert_eq!(ask(&Rtmp, Transport::Tcp, &client(b"connect"), b"HTTP/1.1 400"), Probe::NotForUs);
        // RDP's first byte too.
        assert_eq!(ask(&Rtmp, Transport::Tcp, b"\x03\0\0\x13\x0e\xe0", b""), Probe::NotForUs);
    }
}
