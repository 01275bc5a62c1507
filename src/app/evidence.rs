//! What the bytes of one side say for or against a protocol, and how the two sides are weighed together.
//!
//! Nothing is held: both sides are judged anew whenever the opening grows.

use super::reading::begins;
use super::{Opening, Probe};
use crate::model::Side;

/// The part that the sender of some bytes plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
    /// The bytes do not tell, or both ends do the same.
    Peer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// These bytes alone prove the protocol.
    Proof(Role),
    /// They fit, but would fit other protocols too: the other side must answer in kind.
    Hint(Role),
    /// Too few bytes to say.
    Short,
    No,
}

use Evidence::{Hint, No, Proof, Short};

impl Evidence {
    /// `No` unless it holds: for checks in the middle of a reading.
    pub(super) fn only_if(self, holds: bool) -> Evidence {
        if holds { self } else { No }
    }

    /// Where the bytes begin with this; `Short` while they may.
    pub(super) fn if_begins(self, bytes: &[u8], prefix: &[u8]) -> Evidence {
        match begins(bytes, prefix) {
            Some(begun) => self.only_if(begun),
            None => Short,
        }
    }
}

/// The part of an end of a protocol in which both ends begin alike: who opened the connection is the client.
pub(super) fn opener(side: Side) -> Role {
    match side {
        Side::Orig => Role::Client,
        Side::Resp => Role::Server,
    }
}

/// What follows a mark in some bytes.
pub(super) fn after<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let at = bytes.windows(mark.len().max(1)).position(|w| w == mark)?;
    bytes.get(at + mark.len()..)
}

/// Judges each side that has spoken. One side that contradicts decides against; one proof, or a client's and a
/// server's hint from opposite sides, decides for.
pub(super) fn weigh(opening: &Opening<'_>, judge: impl Fn(&[u8]) -> Evidence) -> Probe {
    weigh_sides(opening, |_, bytes| judge(bytes))
}

/// The same, where what bytes mean depends on who sent them: both ends begin alike.
pub(super) fn weigh_sides(opening: &Opening<'_>, judge: impl Fn(Side, &[u8]) -> Evidence) -> Probe {
    let said = |side| match opening.side(side) {
        [] => None,
        bytes => Some(judge(side, bytes)),
    };
    match (said(Side::Orig), said(Side::Resp)) {
        (Some(No), _) | (_, Some(No)) => Probe::NotForUs,
        (Some(Proof(orig)), Some(Proof(resp))) => match (server(orig, Side::Orig), server(resp, Side::Resp)) {
            // Both ask, or both answer: gossip.
            (Some(a), Some(b)) if a != b => Probe::Certain(None),
            (a, b) => Probe::Certain(a.or(b)),
        },
        (Some(Proof(orig)), _) => Probe::Certain(server(orig, Side::Orig)),
        (_, Some(Proof(resp))) => Probe::Certain(server(resp, Side::Resp)),
        (Some(Hint(orig)), Some(Hint(resp))) => match (orig, resp) {
            (Role::Client, Role::Server) => Probe::Certain(Some(Side::Resp)),
            (Role::Server, Role::Client) => Probe::Certain(Some(Side::Orig)),
            (Role::Peer, Role::Peer) => Probe::Certain(None),
            _ => Probe::NotForUs,
        },
        (Some(Short), _) | (_, Some(Short)) | (Some(Hint(_)), None) | (None, Some(Hint(_))) | (None, None) => {
            Probe::Unsure
        }
    }
}

fn server(sender: Role, side: Side) -> Option<Side> {
    match sender {
        Role::Client => Some(side.other()),
        Role::Server => Some(side),
        Role::Peer => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Transport;

    fn weighed(orig: &[u8], resp: &[u8]) -> Probe {
        let opening = Opening {
            transport: Transport::Tcp,
            orig,
            resp,
            orig_port: 40000,
            resp_port: 40001,
            before: Default::default(),
            midstream: false,
            first: Side::Orig,
        };
        weigh(&opening, |bytes| match bytes {
            b"P" => Proof(Role::Client),
            b"c" => Hint(Role::Client),
            b"s" => Hint(Role::Server),
            b"?" => Short,
            _ => No,
        })
    }

    #[test]
    fn two_opposite_hints_prove() {
        assert_eq!(weighed(b"c", b"s"), Probe::Certain(Some(Side::Resp)));
        assert_eq!(weighed(b"s", b"c"), Probe::Certain(Some(Side::Orig)));
    }

    #[test]
    fn one_hint_or_two_equal_ones_do_not() {
        assert_eq!(weighed(b"c", b""), Probe::Unsure);
        assert_eq!(weighed(b"c", b"?"), Probe::Unsure);
        assert_eq!(weighed(b"c", b"c"), Probe::NotForUs);
    }

    #[test]
    fn a_proof_is_refuted_by_the_other_side() {
        assert_eq!(weighed(b"P", b"?"), Probe::Certain(Some(Side::Resp)));
        assert_eq!(weighed(b"P", b"x"), Probe::NotForUs);
    }
}
