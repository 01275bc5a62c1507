//! MGCP (RFC 3435): a verb, a transaction, an endpoint and the version in one line.
//!
//! Call agent and gateway command each other: who is commanded serves.

use super::evidence::{Evidence, Role, weigh};
use super::line::{Lines, is_one_of};
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Proof};

pub(super) struct Mgcp;

const VERBS: &[&str] = &["EPCF", "CRCX", "MDCX", "DLCX", "RQNT", "NTFY", "AUEP", "AUCX", "RSIP", "MESG"];

impl Protocol for Mgcp {
    fn name(&self) -> &'static str {
        "mgcp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first.is_ascii_alphanumeric()
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| {
            if !bytes.first().is_some_and(u8::is_ascii_alphanumeric) {
                return No;
            }
            let Some(line) = Lines::new(bytes).next() else { return No };
            let mut words = line.split(|b| *b == b' ').filter(|w| !w.is_empty());
            let (verb, transaction) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let numbered = (1..=9).contains(&transaction.len()) && transaction.iter().all(u8::is_ascii_digit);
            if is_one_of(verb, VERBS) {
                let versioned = words.nth(1) == Some(b"MGCP") && matches!(words.next(), Some([b'0'..=b'1', b'.', _]));
                return Proof(Role::Client).only_if(numbered && versioned);
            }
            Hint(Role::Server).only_if(verb.len() == 3 && verb.iter().all(u8::is_ascii_digit) && numbered)
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const AUDIT: &[u8] = b"AUEP 1200 aaln/1@rgw.lab.example MGCP 1.0\r\nF: A\r\n";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::udp("mgcp", AUDIT, b"200 1200 OK\r\n", Some(Side::Resp))]
    }

    #[test]
    fn an_answer_alone_proves_nothing() {
        assert_eq!(ask(&Mgcp, Transport::Udp, b"", b"200 1200 OK\r\n"), Probe::Unsure);
    }

    #[test]
    fn another_verb_version_or_answer_is_not_mgcp() {
        refuses(
            &Mgcp,
            Transport::Udp,
            &[
                (b"AUEX 1200 aaln/1@rgw MGCP 1.0\r\n", b""),
                (b"AUEP 1200 aaln/1@rgw SIP/2.0\r\n", b""),
                (b"AUEP twelve aaln/1@rgw MGCP 1.0\r\n", b""),
                (&AUDIT[..20], b""),
                (AUDIT, b"SIP/2.0 200 OK\r\n"),
            ],
        );
    }
}
