//! IRC (RFC 1459, RFC 2812): the client's registration, and the server's first message.
//!
//! Read are the first lines; nicknames, passwords and talk are not kept.

use super::evidence::{Evidence, Role, weigh};
use super::line::{Lines, is_one_of, word};
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Irc;

const REGISTRATION: [&str; 5] = ["NICK", "USER", "PASS", "CAP", "SERVER"];
const SERVER_WORDS: [&str; 4] = ["NOTICE", "PING", "ERROR", "CAP"];
/// RFC 1459 section 2.3; tags of IRCv3 are not sent before registration.
const LINE_BYTES_MAX: usize = 512;

impl Protocol for Irc {
    fn name(&self) -> &'static str {
        "irc"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [b':', ..] => prefixed(bytes),
            _ => bare(bytes),
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(said) = info.server.map(|side| opening.side(side)) else { return Described::Whole };
        // RPL_MYINFO: `:server 004 nick server ngircd-26.1 …` (RFC 2812 section 5.1).
        for line in Lines::new(said) {
            let mut words = line.split(|b| *b == b' ');
            if words.nth(1) != Some(b"004") {
                continue;
            }
            let software = words.nth(2).unwrap_or_default();
            let version = software.windows(2).position(|w| matches!(w, [b'-', b'0'..=b'9']));
            let (product, version) = software.split_at(version.unwrap_or(software.len()));
            info.product(product, version.get(1..).filter(|v| !v.is_empty()));
            return Described::Whole;
        }
        Described::Partly
    }
}

/// `:server 001 …`, `:server NOTICE …`: a message of the server's, who names itself.
fn prefixed(bytes: &[u8]) -> Evidence {
    let Some(line) = first_line(bytes) else { return Short.only_if(plausible(bytes)) };
    let mut words = line.split(|b| *b == b' ');
    let (prefix, command) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let numeric = command.len() == 3 && command.iter().all(u8::is_ascii_digit);
    Hint(Role::Server).only_if(prefix.len() > 1 && plausible(line) && (numeric || is_one_of(command, &SERVER_WORDS)))
}

fn bare(bytes: &[u8]) -> Evidence {
    let head = word(bytes);
    let Some(line) = first_line(bytes) else {
        let words = REGISTRATION.iter().chain(&SERVER_WORDS);
        let begun =
            |w: &str| w.as_bytes().iter().zip(head).all(|(a, b)| a.eq_ignore_ascii_case(b)) && w.len() >= head.len();
        return Short.only_if(plausible(bytes) && words.into_iter().any(|w| begun(w)));
    };
    let argument = line.get(head.len()..).unwrap_or_default();
    let of_server = is_one_of(head, &["NOTICE", "PING", "ERROR"]);
    let of_client = is_one_of(word(line), &REGISTRATION);
    match (of_server, of_client) {
        // "NOTICE AUTH :*** Looking up your hostname", "PING :cookie", "ERROR :Closing link".
        (true, _) => Hint(Role::Server).only_if(plausible(line) && argument.contains(&b':')),
        (_, true) => Hint(Role::Client).only_if(plausible(line) && argument.len() > 1),
        _ => No,
    }
}

fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    Lines::new(bytes).next()
}

/// Text in some character set, within the length of a line.
fn plausible(line: &[u8]) -> bool {
    line.len() <= LINE_BYTES_MAX && line.iter().all(|b| *b >= b' ' && *b != 0x7f || matches!(b, b'\r' | 1..=3))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const CLIENT: &[u8] = b"NICK joe\r\nUSER joe 0 * :Joe\r\n";
    const SERVER: &[u8] =
        b":irc.lab 001 joe :Welcome\r\n:irc.lab 004 joe irc.lab ngircd-26.1 abBcCFiIoqrRswx abehiIklmMnoOPqQrRstvVz\r\n";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("irc", CLIENT, SERVER, Some(Side::Resp)),
            Example::tcp("irc", b"CAP LS 302\r\n", b"NOTICE AUTH :*** Looking up your hostname\r\n", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_server_tells_its_software() {
        let info = examples()[0].described(&Irc);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("ngircd"), Some("26.1")));
    }

    #[test]
    fn a_registration_that_another_protocol_answers_is_not_irc() {
        assert_eq!(ask(&Irc, Transport::Tcp, b"USER joe\r\n", b""), Probe::Unsure);
        assert_eq!(ask(&Irc, Transport::Tcp, b"USER joe\r\n", b"220 ready\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Irc, Transport::Tcp, b"USER joe\r\n", b"+OK ready\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Irc, Transport::Tcp, CLIENT, b"HTTP/1.1 400 Bad Request\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Irc, Transport::Tcp, b"", b":1 is a Redis integer\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Irc, Transport::Tcp, b"PING\r\n", b"+PONG\r\n"), Probe::NotForUs);
    }
}
