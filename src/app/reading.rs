//! What the bytes of one side are, for protocols in which either side alone is a proof.
//!
//! Readers return `None` while the bytes so far fit and end: with `?` on a [`Reader`](super::reader::Reader) that
//! comes by itself. They look at a bounded number of bytes of an opening that is itself bounded.

use super::{Opening, Probe};
use crate::model::Transport;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A message that only a client sends.
    Client,
    /// A message that only a server sends.
    Server,
    /// The protocol, by whichever end.
    Either,
    /// May belong to it and proves nothing.
    Fits,
    /// Not this protocol.
    No,
}

/// Asks both sides, the first sender first. A server's message is a proof. A client's is one unless the other end
/// answers something else: a scanner that says GET to every port makes no web servers. (In mid-connection, and where
/// each datagram stands alone, the other end's bytes need not begin a message.)
pub(super) fn probe_sides(opening: &Opening<'_>, read: impl Fn(&[u8]) -> Option<Reading>) -> Probe {
    let mut declined = false;
    let mut proof = None;
    for (side, bytes) in opening.sides() {
        if bytes.is_empty() {
            continue;
        }
        match read(bytes) {
            Some(Reading::Server) => return Probe::Certain(Some(side)),
            Some(Reading::Client) => proof = proof.or(Some(Probe::Certain(Some(side.other())))),
            Some(Reading::Either) => proof = proof.or(Some(Probe::Certain(None))),
            Some(Reading::No) => declined = true,
            Some(Reading::Fits) | None => {}
        }
    }
    let contradicted = declined && opening.transport == Transport::Tcp && !opening.midstream;
    match proof {
        Some(proof) if !contradicted => proof,
        _ if declined => Probe::NotForUs,
        _ => Probe::Unsure,
    }
}

/// Does `bytes` begin with `prefix`? `None` while it is too short to tell.
pub(super) fn begins(bytes: &[u8], prefix: &[u8]) -> Option<bool> {
    if bytes.len() >= prefix.len() {
        Some(bytes.starts_with(prefix))
    } else if prefix.starts_with(bytes) {
        None
    } else {
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_undecided_only_while_it_still_fits() {
        assert_eq!(begins(b"SS", b"SSH-"), None);
        assert_eq!(begins(b"SSH-2", b"SSH-"), Some(true));
        assert_eq!(begins(b"SX", b"SSH-"), Some(false));
    }
}
