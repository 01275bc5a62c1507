//! What the bytes of one side are, for protocols in which either side alone is a proof.
//!
//! Readers return `None` while the bytes so far fit and end: with `?` on a [`Reader`](super::reader::Reader) that
//! comes by itself. They look at a bounded number of bytes of an opening that is itself bounded.

use super::{Opening, Probe};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A message that only a client sends.
    Client,
    /// A message that only a server sends.
    Server,
    /// The protocol, by whichever end.
    Either,
    /// Not this protocol.
    No,
}

/// Asks both sides, the first sender first. One proof is enough; without one, a side that is something else
/// decides against it.
pub(super) fn probe_sides(opening: &Opening<'_>, read: impl Fn(&[u8]) -> Option<Reading>) -> Probe {
    let mut declined = false;
    for (side, bytes) in opening.sides() {
        if bytes.is_empty() {
            continue;
        }
        match read(bytes) {
            Some(Reading::Client) => return Probe::Certain(Some(side.other())),
            Some(Reading::Server) => return Probe::Certain(Some(side)),
            Some(Reading::Either) => return Probe::Certain(None),
            Some(Reading::No) => declined = true,
            None => {}
        }
    }
    if declined { Probe::NotForUs } else { Probe::Unsure }
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
