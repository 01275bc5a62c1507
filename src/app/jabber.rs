//! XMPP (RFC 6120): the stream headers of both sides, of clients, servers and components.
//!
//! Read are the first tags; addresses other than the domain are not kept.

use super::evidence::{Evidence, Role, after, opener, weigh_sides};
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Jabber;

/// XML declaration and stream header, namespaces and all.
const HEADER_BYTES_MAX: usize = 1024;

impl Protocol for Jabber {
    fn name(&self) -> &'static str {
        "jabber"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh_sides(opening, |side, bytes| header(bytes, opener(side)))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        let (client, answer) = (opening.side(server.other()), opening.side(server));
        for quote in [b'\'', b'"'] {
            if let Some(domain) = after(client, &[b" to=".as_slice(), &[quote]].concat()) {
                info.detail("domain", domain.split(|b| *b == quote).next().unwrap_or_default());
            }
        }
        if after(client, b"<starttls").is_some() {
            info.detail("starttls", "used");
        }
        if after(answer, b"</stream:features>").is_some() { Described::Whole } else { Described::Partly }
    }
}

/// Perhaps a declaration, then `<stream:stream` with the namespace of what is spoken.
fn header(bytes: &[u8], role: Role) -> Evidence {
    let head = bytes.get(..HEADER_BYTES_MAX).unwrap_or(bytes);
    let text = head.trim_ascii_start();
    if !text.iter().take(256).all(|b| *b >= b' ' || b.is_ascii_whitespace()) {
        return No;
    }
    let tag = match Hint(role).if_begins(text, b"<?xml ") {
        Hint(_) => match after(text, b"?>") {
            Some(rest) => rest.trim_ascii_start(),
            None => return Short.only_if(text.len() < 128),
        },
        No => text,
        other => return other,
    };
    let begun = Hint(role).if_begins(tag, b"<stream:stream");
    if begun != Hint(role) {
        return begun;
    }
    match tag.iter().position(|b| *b == b'>') {
        Some(end) => Hint(role).only_if(after(tag.get(..end).unwrap_or(tag), b"jabber:").is_some()),
        None => Short.only_if(bytes.len() < HEADER_BYTES_MAX),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const CLIENT: &[u8] = b"<?xml version='1.0'?><stream:stream to='chat.lab' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
    const SERVER: &[u8] = b"<?xml version='1.0'?><stream:stream id='a' from='chat.lab' xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'><stream:features/>";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("jabber", CLIENT, SERVER, Some(Side::Resp))]
    }

    #[test]
    fn the_domain_is_told() {
        assert_eq!(examples()[0].described(&Jabber).get("domain"), Some("chat.lab"));
    }

    #[test]
    fn other_xml_and_one_side_alone_are_no_proof() {
        assert_eq!(ask(&Jabber, Transport::Tcp, CLIENT, b""), Probe::Unsure);
        assert_eq!(ask(&Jabber, Transport::Tcp, CLIENT, b"HTTP/1.1 400\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Jabber, Transport::Tcp, b"<?xml version='1.0'?><soap:Envelope>", b""), Probe::NotForUs);
        assert_eq!(ask(&Jabber, Transport::Tcp, b"<stream:stream xmlns='other'>", b""), Probe::NotForUs);
    }
}
