//! SSDP (UPnP device architecture 1.1): HTTP's form in datagrams, to search and to announce.
//!
//! An announcement goes to a group, and its sender serves nothing by it.

use super::evidence::{Evidence, Role, weigh};
use super::line::{Lines, argument, find, word};
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{No, Proof};

pub(super) struct Ssdp;

const LINES_MAX: usize = 24;

impl Protocol for Ssdp {
    fn name(&self) -> &'static str {
        "ssdp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        matches!(first, b'M' | b'N' | b'H')
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| {
            if bytes.starts_with(b"M-SEARCH * HTTP/1.") {
                Proof(Role::Client)
            } else if bytes.starts_with(b"NOTIFY * HTTP/1.") {
                Proof(Role::Peer).only_if(header(bytes, "NTS").is_some())
            } else if bytes.starts_with(b"HTTP/1.") {
                Proof(Role::Server).only_if(header(bytes, "ST").is_some() && header(bytes, "USN").is_some())
            } else {
                No
            }
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        for (_, bytes) in opening.sides() {
            // "OS/version UPnP/1.1 product/version".
            if let Some(server) = header(bytes, "SERVER") {
                info.detail("server", server);
                if let Some(at) = find(server, "UPnP/")
                    && let Some(product) = server.get(at..).and_then(|rest| rest.split(|b| *b == b' ').nth(1))
                {
                    let mut parts = product.splitn(2, |b| *b == b'/');
                    info.product(parts.next().unwrap_or_default(), parts.next());
                }
                return Described::Whole;
            }
        }
        Described::Partly
    }
}

fn header<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let named = |line: &&[u8]| word(line).strip_suffix(b":").is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()));
    let tight = |line: &&[u8]| {
        line.split_at_checked(name.len())
            .is_some_and(|(n, rest)| n.eq_ignore_ascii_case(name.as_bytes()) && rest.first() == Some(&b':'))
    };
    let line = Lines::new(bytes).skip(1).take(LINES_MAX).find(|line| named(line) || tight(line))?;
    Some(if named(&line) { argument(line) } else { line.get(name.len() + 1..)?.trim_ascii() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, refuses};
    use super::*;
    use crate::model::Side;

    const SEARCH: &[u8] =
        b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nST: ssdp:all\r\n\r\n";
    const FOUND: &[u8] =
        b"HTTP/1.1 200 OK\r\nST:upnp:rootdevice\r\nUSN:uuid:1\r\nSERVER: Linux/5.10 UPnP/1.1 MiniDLNA/1.3.0\r\n\r\n";
    const ALIVE: &[u8] = b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nNTS: ssdp:alive\r\n\r\n";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::udp("ssdp", SEARCH, FOUND, Some(Side::Resp)), Example::udp("ssdp", ALIVE, b"", None)]
    }

    #[test]
    fn http_and_sip_in_datagrams_are_not_ssdp() {
        refuses(
            &Ssdp,
            Transport::Udp,
            &[
                (b"GET / HTTP/1.1\r\n\r\n", b""),
                (b"", b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"),
                (b"NOTIFY sip:a@b SIP/2.0\r\nNTS: x\r\n\r\n", b""),
                (b"NOTIFY * HTTP/1.1\r\nHOST: a\r\n\r\n", b""),
            ],
        );
    }

    #[test]
    fn the_device_software_is_told() {
        let info = examples()[0].described(&Ssdp);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("MiniDLNA"), Some("1.3.0")));
    }
}
