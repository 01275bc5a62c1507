//! Java's own wire protocols: RMI (JRMP) and the debugger's JDWP.
//!
//! An open JDWP port runs any code for whoever connects, so both sides of its handshake must be seen.

use super::evidence::{Evidence, Role, weigh};
use super::reading::begins;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Rmi;
pub(super) struct Jdwp;

const HANDSHAKE: &[u8] = b"JDWP-Handshake";

impl Protocol for Rmi {
    fn name(&self) -> &'static str {
        "java-rmi"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            // Version 1 or 2, then stream, single operation or multiplex.
            [b'J', b'R', b'M', b'I', 0, 1 | 2, 0x4b..=0x4d, ..] => Proof(Role::Client),
            [b'J', b'R', b'M', b'I', 0, 1 | 2] | [b'J', b'R', b'M', b'I', 0] | [b'J', b'R', b'M', b'I'] => Short,
            [b'J', b'R', b'M'] | [b'J', b'R'] | [b'J'] => Short,
            // Acknowledged, with the client's address as text; not supported; or a single operation's result.
            [0x4e, 0, 2..=45, address, ..] => {
                Hint(Role::Server).only_if(address.is_ascii_hexdigit() || address.is_ascii_alphabetic())
            }
            [0x4e, 0, 2..=45] | [0x4e, 0] | [0x4e] => Short,
            [0x4f | 0x51, ..] => Hint(Role::Server),
            _ => No,
        })
    }
}

impl Protocol for Jdwp {
    fn name(&self) -> &'static str {
        "jdwp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        match weigh(opening, |bytes| match begins(bytes, HANDSHAKE) {
            Some(true) => Hint(Role::Peer),
            Some(false) => No,
            None => Short,
        }) {
            // The debugger begins; the virtual machine repeats it.
            Probe::Certain(_) => Probe::Certain(Some(opening.first.other())),
            other => other,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const CALL: &[u8] = b"JRMI\0\x02\x4b";
    const ACK: &[u8] = b"\x4e\0\x0910.0.0.99\0\0\xd2\x10";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("java-rmi", CALL, ACK, Some(Side::Resp)),
            Example::tcp("jdwp", HANDSHAKE, HANDSHAKE, Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_debuggers_handshake_alone_opens_nothing() {
        assert_eq!(ask(&Jdwp, Transport::Tcp, HANDSHAKE, b""), Probe::Unsure);
        refuses(&Jdwp, Transport::Tcp, &[(HANDSHAKE, b"HTTP/1.1 400"), (b"JDWP-Handshook", b""), (b"JRMI", b"")]);
    }

    #[test]
    fn another_version_or_answer_is_not_rmi() {
        refuses(
            &Rmi,
            Transport::Tcp,
            &[(b"JRMI\0\x03", b""), (b"JRMI\0\x02\x4a", b""), (CALL, b"HTTP/1.1 400 Bad Request\r\n"), (b"JRMX", b"")],
        );
        assert_eq!(ask(&Rmi, Transport::Tcp, b"", ACK), Probe::Unsure);
    }
}
