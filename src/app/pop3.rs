//! POP3 (RFC 1939): the server's `+OK` with the word POP or an APOP stamp, or with a client that logs in to it.
//!
//! `+OK` alone is Redis's and others' too. Read is the opening; no user and no password is kept.

use super::greeting::{describe_product, greeting, says};
use super::line::{Lines, is_one_of, word};
use super::{Described, OPENING_BYTES_MAX, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Pop3;

const COMMANDS: [&str; 6] = ["USER", "APOP", "CAPA", "STLS", "AUTH", "UTF8"];
const PRODUCTS: [&str; 10] = [
    "Dovecot",
    "Courier",
    "Cyrus",
    "Microsoft Exchange",
    "qpopper",
    "Teapop",
    "Qpop",
    "MDaemon",
    "hMailServer",
    "MailEnable",
];

impl Protocol for Pop3 {
    fn name(&self) -> &'static str {
        "pop3"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let greeting = match greeting(opening, b"+OK", &COMMANDS) {
            Ok(greeting) => greeting,
            Err(probe) => return probe,
        };
        let line = greeting.answers().next().unwrap_or_default();
        if says(line, "pop3") || is_stamped(line) {
            return Probe::Certain(Some(greeting.server));
        }
        // Whoever was asked first answers `+OK`, but does not greet.
        if opening.midstream || opening.first != greeting.server {
            return Probe::NotForUs;
        }
        match greeting.commands(&COMMANDS) {
            Ok(()) => Probe::Certain(Some(greeting.server)),
            Err(probe) => probe,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        let answer = opening.side(server);
        if let Some(line) = Lines::new(answer).next().and_then(|l| l.strip_prefix(b"+OK")) {
            // The stamp differs each time and would make every connection another service.
            let text = line.split(|b| *b == b'<').next().unwrap_or_default().trim_ascii();
            info.detail("banner", text);
            describe_product(text, &PRODUCTS, info);
        }
        let mut past_hello = false;
        for line in Lines::new(opening.side(server.other())).take(8) {
            if is_one_of(word(line), &["STLS"]) {
                info.detail("starttls", "used");
            }
            past_hello |= !is_one_of(word(line), &["CAPA", "UTF8"]);
        }
        if past_hello || answer.len() >= OPENING_BYTES_MAX { Described::Whole } else { Described::Partly }
    }
}

/// RFC 1939 section 7: `<process.clock@host>` in the greeting.
fn is_stamped(line: &[u8]) -> bool {
    let Some(stamp) = line.split(|b| *b == b'<').nth(1).and_then(|s| s.split(|b| *b == b'>').next()) else {
        return false;
    };
    line.ends_with(b">") && stamp.contains(&b'@') && stamp.first().is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, midstream, probed, tcp};

    pub(in crate::app) const SERVER: &[u8] = b"+OK Dovecot (Debian) ready.\r\n+OK\r\n";
    pub(in crate::app) const CLIENT: &[u8] = b"USER bob\r\nPASS hunter2\r\n";

    #[test]
    fn a_greeting_and_a_login_are_a_proof() {
        assert_eq!(probed(&Pop3, tcp(CLIENT, SERVER).served_first()), Probe::Certain(Some(Side::Resp)));
        assert_eq!(
            probed(&Pop3, tcp(b"", b"+OK <1896.697170952@dbc.mtview.ca.us>\r\n")),
            Probe::Certain(Some(Side::Resp))
        );
        assert_eq!(probed(&Pop3, midstream(b"", b"+OK POP3 ready\r\n")), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn an_ok_from_something_else_is_not_pop3() {
        assert_eq!(probed(&Pop3, tcp(b"AUTH secret\r\n", b"+OK\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Pop3, tcp(b"*1\r\n$4\r\nPING\r\n", b"+OK\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Pop3, tcp(b"", b"+PONG\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Pop3, tcp(b"", b"+OK ready\r\n")), Probe::Unsure);
        assert_eq!(probed(&Pop3, midstream(b"RETR 1\r\n", b"+OK 120 octets\r\n")), Probe::NotForUs);
    }

    #[test]
    fn the_product_is_described_and_no_secret_is() {
        let (info, whole) = described(&Pop3, tcp(CLIENT, SERVER).served_first());
        assert_eq!((info.product.as_deref(), whole), (Some("Dovecot"), Described::Whole));
        assert!(!format!("{info:?}").contains("hunter2"));
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Pop3, tcp(CLIENT, SERVER).served_first());
    }
}
