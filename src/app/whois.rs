//! WHOIS (RFC 3912): one line asked, and a registry's text in answer. Neither alone is a proof.

use super::evidence::{Evidence, Role};
use super::line::{Lines, find};
use super::{Opening, Probe, Protocol};
use crate::model::{Side, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Whois;

const QUERY_BYTES_MAX: usize = 255;
/// Registries differ in what they say first; all say one of these within their first lines.
const SIGNS: &[&str] = &[
    "whois",
    "domain name:",
    "domain:",
    "netrange:",
    "inetnum:",
    "inet6num:",
    "aut-num:",
    "no match",
    "registr",
    "no entries found",
];
const ANSWER_BYTES_LOOKED_AT: usize = 1024;

impl Protocol for Whois {
    fn name(&self) -> &'static str {
        "whois-das"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        // The client asks, then the server answers: nobody greets.
        if opening.midstream || opening.first == Side::Resp {
            return Probe::NotForUs;
        }
        match (query(opening.orig), answer(opening.resp)) {
            (No, _) | (_, No) => Probe::NotForUs,
            (Hint(_), Hint(_)) => Probe::Certain(Some(Side::Resp)),
            _ => Probe::Unsure,
        }
    }
}

/// One line with a name, a network or a number that has a dot, a colon or AS in front.
fn query(bytes: &[u8]) -> Evidence {
    if bytes.len() > QUERY_BYTES_MAX
        || !bytes.iter().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'/' | b' ' | b'=' | b'_' | b'\r' | b'\n')
        })
    {
        return No;
    }
    let mut lines = Lines::new(bytes);
    match lines.next() {
        None => Short,
        Some(line) => {
            let last = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
            let named = last.iter().any(|b| matches!(b, b'.' | b':')) && last.len() > 3
                || last.get(..2).is_some_and(|a| a.eq_ignore_ascii_case(b"AS"))
                    && last.get(2..).is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit));
            Hint(Role::Client).only_if(lines.rest().is_empty() && named)
        }
    }
}

fn answer(bytes: &[u8]) -> Evidence {
    let head = bytes.get(..ANSWER_BYTES_LOOKED_AT).unwrap_or(bytes);
    if head.iter().any(|b| *b < 0x20 && !matches!(b, b'\r' | b'\n' | b'\t')) {
        return No;
    }
    match SIGNS.iter().any(|sign| find(head, sign).is_some()) {
        true => Hint(Role::Server),
        false => Short.only_if(bytes.len() < ANSWER_BYTES_LOOKED_AT),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("whois-das", b"lab.example\r\n", b"% IANA WHOIS server\r\n% for more\r\n", Some(Side::Resp)),
            Example::tcp("whois-das", b"AS64500\r\n", b"\r\naut-num: AS64500\r\n", Some(Side::Resp)),
        ]
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        assert_eq!(ask(&Whois, Transport::Tcp, b"lab.example\r\n", b""), Probe::Unsure);
        assert_eq!(ask(&Whois, Transport::Tcp, b"lab.example\r\n", b"echo: lab.example\r\n"), Probe::Unsure);
    }

    #[test]
    fn two_lines_or_a_greeting_are_not_whois() {
        refuses(
            &Whois,
            Transport::Tcp,
            &[
                (b"", b"% IANA WHOIS server\r\n"),
                (b"EHLO lab.example\r\nQUIT\r\n", b""),
                (b"PING\r\n", b""),
                (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"whois"),
                (b"lab.example\r\n", b"\x16\x03\x01"),
            ],
        );
    }
}
