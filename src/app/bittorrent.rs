//! BitTorrent (BEP 3): the handshakes of two peers over TCP, and the distributed hash table (BEP 5) over UDP.
//!
//! Encrypted connections prove nothing and stay unnamed. Of the table, a datagram is judged by itself.

use super::evidence::{Evidence, Role, after, opener, weigh, weigh_sides};
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No};

pub(super) struct Bittorrent;
pub(super) struct BittorrentDht;

const HANDSHAKE: &[u8] = b"\x13BitTorrent protocol";
/// Where the peer's id begins: behind 8 reserved bytes and the torrent's hash.
const PEER_ID_AT: usize = HANDSHAKE.len() + 8 + 20;
/// BEP 20: two letters between dashes, four digits of version.
const CLIENTS: [([u8; 2], &str); 8] = [
    (*b"TR", "Transmission"),
    (*b"qB", "qBittorrent"),
    (*b"DE", "Deluge"),
    (*b"UT", "uTorrent"),
    (*b"LT", "libtorrent"),
    (*b"lt", "libTorrent"),
    (*b"AZ", "Azureus"),
    (*b"BT", "BitTorrent"),
];

impl Protocol for Bittorrent {
    fn name(&self) -> &'static str {
        "bittorrent"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh_sides(opening, |side, bytes| Hint(opener(side)).if_begins(bytes, HANDSHAKE))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let said = opening.side(info.server.unwrap_or(Side::Resp));
        let Some([b'-', a, b, version @ ..]) = said.get(PEER_ID_AT..PEER_ID_AT + 7) else { return Described::Partly };
        if let Some((_, name)) = CLIENTS.iter().find(|(code, _)| code == &[*a, *b]) {
            info.product(name, None);
            info.detail("client_version", version);
        }
        Described::Whole
    }
}

impl Protocol for BittorrentDht {
    fn name(&self) -> &'static str {
        "bittorrent-dht"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == b'd'
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, krpc)
    }
}

/// A dictionary whose keys are in order: a query's arguments or an answer's values with a node id of 20 bytes first,
/// the kind of message last (BEP 5).
fn krpc(bytes: &[u8]) -> Evidence {
    if !bytes.starts_with(b"d") || !bytes.ends_with(b"e") {
        return No;
    }
    let id = |mark: &[u8]| after(bytes, mark).is_some();
    if bytes.starts_with(b"d1:ad2:id20:") && id(b"1:y1:q") && id(b"1:q") {
        Hint(Role::Client)
    } else {
        // Before it may stand the address that the asker is seen with (BEP 42).
        Hint(Role::Server).only_if(id(b"1:rd2:id20:") && id(b"1:y1:r") || bytes.starts_with(b"d1:eli") && id(b"1:y1:e"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;

    fn handshake(peer: &[u8]) -> Vec<u8> {
        [HANDSHAKE, &[0; 8], &[0xa1; 20], peer].concat()
    }

    const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
    const PONG: &[u8] = b"d2:ip6:\x0a\0\0\x01\x1a\xe11:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp(
                "bittorrent",
                &handshake(b"-qB4500-abcdefghijkl"),
                &handshake(b"-TR3000-abcdefghijkl"),
                Some(Side::Resp),
            ),
            Example::udp("bittorrent-dht", PING, PONG, Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_answering_peer_is_named() {
        let info = examples()[0].described(&Bittorrent);
        assert_eq!((info.product.as_deref(), info.get("client_version")), (Some("Transmission"), Some("3000")));
    }

    #[test]
    fn a_handshake_without_its_answer_is_no_proof() {
        assert_eq!(ask(&Bittorrent, Transport::Tcp, &handshake(b""), b""), Probe::Unsure);
        assert_eq!(ask(&Bittorrent, Transport::Tcp, &handshake(b""), b"HTTP/1.1 400"), Probe::NotForUs);
        assert_eq!(ask(&Bittorrent, Transport::Tcp, b"\x13BitTorrent protocols", b""), Probe::Unsure);
        assert_eq!(ask(&Bittorrent, Transport::Tcp, b"\x13Bittorrent", b""), Probe::NotForUs);
    }

    #[test]
    fn a_query_alone_and_other_dictionaries_are_no_proof() {
        assert_eq!(ask(&BittorrentDht, Transport::Udp, PING, b""), Probe::Unsure);
        assert_eq!(ask(&BittorrentDht, Transport::Udp, b"d3:cow3:moo4:spam4:eggse", b""), Probe::NotForUs);
        assert_eq!(ask(&BittorrentDht, Transport::Udp, &PING[..40], b""), Probe::NotForUs);
    }
}
