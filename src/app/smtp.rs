//! SMTP and LMTP (RFC 5321, RFC 2033): the server's 220 with the word SMTP, or with a client that says EHLO to it.
//!
//! Read is the opening; what follows STARTTLS is encrypted.

use super::greeting::{describe_product, greeting, reply, says};
use super::line::{Lines, find, is_one_of, word};
use super::{Described, OPENING_BYTES_MAX, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Smtp;

const COMMANDS: [&str; 5] = ["EHLO", "HELO", "LHLO", "MAIL", "STARTTLS"];
const PRODUCTS: [&str; 16] = [
    "Postfix",
    "Exim",
    "Sendmail",
    "OpenSMTPD",
    "Microsoft ESMTP MAIL Service",
    "Microsoft Exchange",
    "qmail",
    "Haraka",
    "hMailServer",
    "MailEnable",
    "MDaemon",
    "Courier",
    "Zimbra",
    "Kerio Connect",
    "Lotus Domino",
    "Dovecot",
];

impl Protocol for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let greeting = match greeting(opening, b"220", &COMMANDS) {
            Ok(greeting) => greeting,
            Err(Probe::Unsure) if sends_mail(opening.orig) => return Probe::Certain(Some(Side::Resp)),
            Err(probe) => return probe,
        };
        let welcome = || greeting.answers().map_while(reply).filter(|(code, _)| *code == b"220").map(|(_, text)| text);
        if welcome().any(|text| says(text, "smtp") || says(text, "lmtp")) {
            return Probe::Certain(Some(greeting.server));
        }
        if welcome().next().is_none() || welcome().any(|text| says(text, "ftp")) {
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
        if let Some((_, text)) = Lines::new(answer).next().and_then(reply) {
            info.detail("banner", text);
            describe_product(text, &PRODUCTS, info);
        }
        let offered = Lines::new(answer).filter_map(reply).any(|(code, text)| code == b"250" && text == b"STARTTLS");
        let mut past_hello = false;
        let mut used = false;
        for line in Lines::new(opening.side(server.other())).take(8) {
            used |= is_one_of(word(line), &["STARTTLS"]);
            past_hello |= is_one_of(word(line), &["MAIL", "AUTH", "QUIT", "STARTTLS", "RSET"]);
        }
        if used || offered {
            info.detail("starttls", if used { "used" } else { "offered" });
        }
        if past_hello || answer.len() >= OPENING_BYTES_MAX { Described::Whole } else { Described::Partly }
    }
}

/// Where the mirror shows the client only: a greeting and an envelope together are a proof.
fn sends_mail(client: &[u8]) -> bool {
    let mut lines = Lines::new(client).take(8);
    lines.next().is_some_and(|l| is_one_of(word(l), &["EHLO", "HELO"]))
        && lines.any(|l| find(l, "MAIL FROM:<") == Some(0))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, probed, tcp};

    pub(in crate::app) const SERVER: &[u8] =
        b"220 mx.lab ESMTP Postfix (Debian/GNU)\r\n250-mx.lab\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n250 8BITMIME\r\n220 2.0.0 Ready to start TLS\r\n";
    pub(in crate::app) const CLIENT: &[u8] = b"EHLO app-01.lab\r\nSTARTTLS\r\n";

    #[test]
    fn the_word_smtp_in_the_greeting_is_a_proof() {
        assert_eq!(probed(&Smtp, tcp(b"", b"220 mx ESMTP\r\n")), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn a_bare_greeting_waits_for_the_client() {
        let bare = b"220 mail.lab.example ready\r\n";
        assert_eq!(probed(&Smtp, tcp(b"", bare)), Probe::Unsure);
        assert_eq!(probed(&Smtp, tcp(b"HELO a\r\n", bare)), Probe::Certain(Some(Side::Resp)));
        assert_ne!(probed(&Smtp, tcp(b"USER bob\r\n", bare)), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn near_misses_are_not_smtp() {
        assert_eq!(probed(&Smtp, tcp(b"EHLO a\r\n", b"220 (vsFTPd 3.0.3)\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Smtp, tcp(b"", b"2200 items ESMTP\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Smtp, tcp(b"EHLO a\r\n", b"HTTP/1.1 400 Bad\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Smtp, tcp(b"\x16\x03\x01\x02", b"")), Probe::NotForUs);
        assert_eq!(probed(&Smtp, tcp(b"EHLO a\r\n", b"")), Probe::Unsure);
    }

    #[test]
    fn a_client_seen_alone_is_known_by_its_envelope() {
        let client = b"ehlo app-01\r\nmail FROM:<a@lab.example> size=5\r\n";
        assert_eq!(probed(&Smtp, tcp(client, b"")), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Smtp, tcp(b"EHLO a\r\nSTARTTLS\r\n", b"")), Probe::Unsure);
    }

    #[test]
    fn product_and_starttls_are_described() {
        let (info, whole) = described(&Smtp, tcp(CLIENT, SERVER));
        assert_eq!((info.product.as_deref(), info.get("starttls")), (Some("Postfix"), Some("used")));
        assert_eq!(whole, Described::Whole);
        let (info, _) = described(&Smtp, tcp(b"EHLO a\r\nMAIL FROM:<a@b>\r\n", SERVER));
        assert_eq!(info.get("starttls"), Some("offered"));
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Smtp, tcp(CLIENT, SERVER).served_first());
    }
}
