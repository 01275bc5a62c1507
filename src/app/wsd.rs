//! WS-Discovery (OASIS 1.1, and its draft of 2005 that Windows speaks): SOAP in a datagram, with the action's name.

use super::evidence::{Evidence, Role, weigh};
use super::line::find;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{No, Proof};

pub(super) struct Wsd;

/// The action stands in the header, after the namespaces.
const LOOKED_AT_BYTES_MAX: usize = 1500;
const ACTIONS: &[(&str, Role)] = &[
    ("/discovery/ProbeMatches", Role::Server),
    ("/discovery/ResolveMatches", Role::Server),
    ("/discovery/Probe", Role::Client),
    ("/discovery/Resolve", Role::Client),
    ("/discovery/Hello", Role::Peer),
    ("/discovery/Bye", Role::Peer),
];

impl Protocol for Wsd {
    fn name(&self) -> &'static str {
        "wsd"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        matches!(first, b'<' | 0xef)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| {
            let xml = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            if xml.first() != Some(&b'<') {
                return No;
            }
            let head = xml.get(..LOOKED_AT_BYTES_MAX).unwrap_or(xml);
            match ACTIONS.iter().find(|(action, _)| find(head, action).is_some()) {
                Some((_, role)) => Proof(*role).only_if(find(head, "soap-envelope").is_some()),
                None => No,
            }
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, refuses};
    use super::*;
    use crate::model::Side;

    fn envelope(action: &str) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Header>\
             <a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/{action}</a:Action></s:Header></s:Envelope>"
        )
        .into_bytes()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("wsd", &envelope("Probe"), &envelope("ProbeMatches"), Some(Side::Resp)),
            Example::udp("wsd", &envelope("Hello"), b"", None),
        ]
    }

    #[test]
    fn other_markup_is_not_ws_discovery() {
        refuses(
            &Wsd,
            Transport::Udp,
            &[
                (&envelope("Transfer"), b""),
                (b"<34>Oct 11 22:14:15 host su: /discovery/Probe", b""),
                (b"/discovery/Probe soap-envelope", b""),
            ],
        );
    }
}
