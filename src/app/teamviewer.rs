//! TeamViewer's own protocol (port 5938): each message begins 0x17 0x24, a command, a length.
//!
//! Unmeasured, so both sides must be seen, with commands that are known.

use super::evidence::{Evidence, Role, weigh};
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Short};

pub(super) struct Teamviewer;

impl Protocol for Teamviewer {
    fn name(&self) -> &'static str {
        "teamviewer"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        match weigh(opening, |bytes| match bytes {
            // Commands 0x0a to 0x40 are seen; the length is little-endian and below 64 KiB.
            [0x17, 0x24, 0x0a..=0x40, low, high, 0, ..] if (*low, *high) != (0, 0) => Hint(Role::Peer),
            [0x17, 0x24, 0x0a..=0x40, _, _, _, ..] => No,
            [0x17, 0x24, 0x0a..=0x40, ..] | [0x17, 0x24] | [0x17] => Short,
            _ => No,
        }) {
            Probe::Certain(_) if !opening.midstream => Probe::Certain(Some(opening.first.other())),
            other => other,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const HELLO: &[u8] = b"\x17\x24\x0a\x20\0\0\x01\x02\x03";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("teamviewer", HELLO, b"\x17\x24\x0b\x20\0\0\x04", Some(Side::Resp))]
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        assert_eq!(ask(&Teamviewer, Transport::Tcp, HELLO, b""), Probe::Unsure);
    }

    #[test]
    fn tls_data_and_other_commands_are_not_teamviewer() {
        refuses(
            &Teamviewer,
            Transport::Tcp,
            &[(b"\x17\x03\x03\0\x20", b""), (b"\x17\x24\x99", b""), (HELLO, b"\x17\x03\x03\0\x20")],
        );
    }
}
