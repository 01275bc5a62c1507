//! NNTP (RFC 3977): a server that may or may not be posted to greets, and the client's command is news.

use super::greeting::{describe_product, greeting};
use super::line::Lines;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};

pub(super) struct Nntp;

const COMMANDS: &[&str] = &[
    "CAPABILITIES",
    "MODE",
    "GROUP",
    "LISTGROUP",
    "LIST",
    "ARTICLE",
    "HEAD",
    "BODY",
    "STAT",
    "NEXT",
    "LAST",
    "POST",
    "IHAVE",
    "CHECK",
    "TAKETHIS",
    "XOVER",
    "OVER",
    "XHDR",
    "HDR",
    "NEWGROUPS",
    "NEWNEWS",
    "DATE",
    "AUTHINFO",
    "STARTTLS",
    "SLAVE",
];
const PRODUCTS: &[&str] =
    &["INN", "InterNetNews", "Cyrus NNTP", "Leafnode", "NNTPCache", "Diablo", "DNEWS", "NNTP Service"];

impl Protocol for Nntp {
    fn name(&self) -> &'static str {
        "usenet"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let said = match greeting(opening, b"20", COMMANDS) {
            Ok(said) => said,
            Err(probe) => return probe,
        };
        if !matches!(said.answer, [b'2', b'0', b'0' | b'1', b' ', ..]) {
            return Probe::NotForUs;
        }
        match said.commands(COMMANDS) {
            Ok(()) => Probe::Certain(Some(said.server)),
            Err(probe) => probe,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(opening.first);
        if let Some(banner) = Lines::new(opening.side(server)).next().and_then(|line| line.get(4..)) {
            info.detail("banner", banner);
            describe_product(banner, PRODUCTS, info);
        }
        Described::Whole
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const SERVER: &[u8] = b"200 news.lab.example InterNetNews NNRP server INN 2.5.4 ready (posting ok)\r\n";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("usenet", b"MODE READER\r\n", SERVER, Some(Side::Resp)).server_first()]
    }

    #[test]
    fn a_greeting_alone_proves_nothing() {
        assert_eq!(ask(&Nntp, Transport::Tcp, b"", SERVER), Probe::Unsure);
    }

    #[test]
    fn other_greetings_and_commands_are_not_news() {
        refuses(
            &Nntp,
            Transport::Tcp,
            &[
                (b"", b"220 ready\r\n"),
                (b"", b"205 closing\r\n"),
                (b"\x16\x03\x01", b"200 hello\r\n"),
                (b"GET / HTTP/1.1\r\n", b""),
            ],
        );
    }

    #[test]
    fn the_software_is_told() {
        assert_eq!(examples()[0].described(&Nntp).product.as_deref(), Some("INN"));
    }
}
