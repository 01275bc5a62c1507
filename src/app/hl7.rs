//! HL7 version 2 over MLLP: a message header between a start block and what follows. Nothing of it is kept.

use super::evidence::{Evidence, Role, weigh};
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{No, Proof, Short};

pub(super) struct Hl7;

const START: [u8; 4] = [0x0b, b'M', b'S', b'H'];

impl Protocol for Hl7 {
    fn name(&self) -> &'static str {
        "hl7"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let probe = weigh(opening, |bytes| {
            if !bytes.iter().zip(START).all(|(b, s)| *b == s) {
                return No;
            }
            // The field separator, then the four encoding characters and the separator again (section 2.14.9).
            match bytes.get(4..) {
                Some([field, encoding @ ..]) if encoding.len() >= 4 => {
                    let punctuation = encoding.iter().take(4).all(|b| b.is_ascii_punctuation() || b == field);
                    Proof(Role::Peer)
                        .only_if(field.is_ascii_punctuation() && punctuation && encoding.first() != Some(field))
                }
                _ => Short,
            }
        });
        match probe {
            // Who sends first is served by who acknowledges.
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

    const ADMIT: &[u8] = b"\x0bMSH|^~\\&|ADT|H|LAB|H|20240101||ADT^A01|1|P|2.5\r\x1c\r";
    const ACK: &[u8] = b"\x0bMSH|^~\\&|LAB|H|ADT|H|20240101||ACK|1|P|2.5\rMSA|AA|1\r\x1c\r";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("hl7", ADMIT, ACK, Some(Side::Resp))]
    }

    #[test]
    fn other_blocks_and_letters_are_not_hl7() {
        refuses(
            &Hl7,
            Transport::Tcp,
            &[
                (b"\x0bMSA|^~\\&|", b""),
                (b"MSH|^~\\&|", b""),
                (b"\x0bMSHabcdef", b""),
                (ADMIT, b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
        assert_eq!(ask(&Hl7, Transport::Tcp, b"\x0bMSH|^", b""), Probe::Unsure);
    }
}
