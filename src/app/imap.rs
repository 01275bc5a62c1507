//! IMAP4 (RFC 9051): the server's `* OK` or `* PREAUTH` with the word IMAP, or with a client that tags a command.
//!
//! Read is the opening; no user and no password is kept.

use super::greeting::{describe_product, greeting, says};
use super::line::{Lines, argument, is_one_of, word};
use super::{Described, OPENING_BYTES_MAX, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Imap;

const COMMANDS: [&str; 9] =
    ["CAPABILITY", "LOGIN", "AUTHENTICATE", "STARTTLS", "ID", "SELECT", "EXAMINE", "NAMESPACE", "LIST"];
const PRODUCTS: [&str; 9] = [
    "Dovecot",
    "Courier-IMAP",
    "Cyrus IMAP",
    "Microsoft Exchange",
    "UW IMAP",
    "hMailServer",
    "MDaemon",
    "MailEnable",
    "Zimbra",
];

impl Protocol for Imap {
    fn name(&self) -> &'static str {
        "imap"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        // No client command can be told by its first word, which is a tag of the client's choice.
        let greeting = match greeting(opening, b"* ", &[""]) {
            Ok(greeting) => greeting,
            Err(probe) => return probe,
        };
        let line = greeting.answers().next().unwrap_or_default();
        if !is_one_of(word(argument(line)), &["OK", "PREAUTH"]) {
            return Probe::NotForUs;
        }
        if says(line, "imap") {
            return Probe::Certain(Some(greeting.server));
        }
        if opening.midstream || opening.first != greeting.server {
            return Probe::NotForUs;
        }
        let mut lines = Lines::new(greeting.client);
        match lines.next() {
            Some(line) if is_one_of(word(argument(line)), &COMMANDS) => Probe::Certain(Some(greeting.server)),
            Some(_) => Probe::NotForUs,
            None if greeting.client.iter().all(|b| b.is_ascii_graphic() || matches!(b, b' ' | b'\r')) => Probe::Unsure,
            None => Probe::NotForUs,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        let answer = opening.side(server);
        if let Some(line) = Lines::new(answer).next() {
            let text = argument(argument(line));
            // The capabilities in brackets are for programs, what follows them is for people.
            let text = text.rsplit(|b| *b == b']').next().unwrap_or(text).trim_ascii();
            info.detail("banner", text);
            describe_product(text, &PRODUCTS, info);
        }
        let mut past_hello = false;
        for line in Lines::new(opening.side(server.other())).take(8) {
            let command = word(argument(line));
            if is_one_of(command, &["STARTTLS"]) {
                info.detail("starttls", "used");
            }
            past_hello |= !is_one_of(command, &["CAPABILITY", "ID", "NOOP"]);
        }
        if past_hello || answer.len() >= OPENING_BYTES_MAX { Described::Whole } else { Described::Partly }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, midstream, probed, tcp};

    pub(in crate::app) const SERVER: &[u8] =
        b"* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.\r\na1 OK Begin TLS\r\n";
    pub(in crate::app) const CLIENT: &[u8] = b"a1 STARTTLS\r\n";

    #[test]
    fn the_word_imap_or_a_tagged_command_is_a_proof() {
        let proved = Probe::Certain(Some(Side::Resp));
        assert_eq!(probed(&Imap, tcp(b"", SERVER)), proved);
        assert_eq!(probed(&Imap, tcp(b"A001 LOGIN bob hunter2\r\n", b"* OK ready\r\n").served_first()), proved);
    }

    #[test]
    fn near_misses_are_not_imap() {
        for near in [&b"* hello\r\n"[..], b"*1\r\n$4\r\n", b"* BAD IMAP\r\n", b"+OK IMAP\r\n"] {
            assert_eq!(probed(&Imap, tcp(b"", near)), Probe::NotForUs, "{}", near.escape_ascii());
        }
        assert_eq!(probed(&Imap, tcp(b"", b"* OK ready\r\n")), Probe::Unsure);
        assert_eq!(probed(&Imap, tcp(b"GET / HTTP/1.1\r\n", b"* OK ready\r\n").served_first()), Probe::NotForUs);
        assert_eq!(probed(&Imap, midstream(b"a LOGIN b c\r\n", b"* OK [UNSEEN 12]\r\n")), Probe::NotForUs);
    }

    #[test]
    fn product_and_starttls_are_described() {
        let (info, whole) = described(&Imap, tcp(CLIENT, SERVER).served_first());
        assert_eq!((info.product.as_deref(), info.get("starttls")), (Some("Dovecot"), Some("used")));
        assert_eq!((info.get("banner"), whole), (Some("Dovecot ready."), Described::Whole));
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Imap, tcp(CLIENT, SERVER).served_first());
    }
}
