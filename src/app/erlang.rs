//! Erlang: the port mapper daemon (EPMD) and the distribution protocol between nodes, as RabbitMQ, CouchDB and
//! ejabberd speak them. Node names are told; cookies are only ever answered by digests and are not kept.

use super::evidence::{Evidence, Role, weigh};
use super::line::find;
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Epmd;
pub(super) struct Distribution;

/// Names of nodes are atoms.
const NAME_BYTES_MAX: u16 = 255;
const EPMD_PORT: [u8; 4] = [0, 0, 0x11, 0x11];

impl Protocol for Epmd {
    fn name(&self) -> &'static str {
        "epmd"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            // Register a node, ask for one's port, ask for all.
            [0, 14..=255, b'x', ..] | [0, 2..=255, b'z', ..] | [0, 1, b'n', ..] => Hint(Role::Client),
            // Node found: a kind of node, a protocol, versions. Not found: a result only.
            [b'w', 0, _, _, b'H' | b'M', 0, 0, ..] => Hint(Role::Server),
            [b'w', 1..=255] | [b'y' | b'v', 0 | 1, _, _, ..] => Hint(Role::Server),
            // All of them: the daemon's port, then lines.
            [a, b, c, d, ..] if [*a, *b, *c, *d] == EPMD_PORT => {
                Hint(Role::Server).only_if(bytes.get(4..9).is_none_or(|text| text == b"name "))
            }
            [0] | [0, 1..=255] => Short.only_if(bytes.len() < 3),
            [0, 0, ..] if bytes.len() < 4 => Short.only_if(EPMD_PORT.starts_with(bytes)),
            [b'w', 0, ..] if bytes.len() < 7 => Short,
            [b'w'] | [b'y' | b'v', ..] if bytes.len() < 4 => Short,
            _ => No,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let said = opening.side(info.server.unwrap_or(Side::Resp));
        // "name rabbit at port 25672\n", or a found node's name after its length.
        if let Some(at) = find(said, "name ") {
            let name = said.get(at + 5..).unwrap_or_default().split(|b| *b == b' ').next();
            info.detail("node", name.unwrap_or_default());
        } else if let [b'w', 0, rest @ ..] = said {
            let mut r = Reader::new(rest);
            if r.skip(8).is_some()
                && let Some(length) = r.u16()
                && let Some(name) = r.take(usize::from(length))
            {
                info.detail("node", name);
            }
        }
        Described::Whole
    }
}

impl Protocol for Distribution {
    fn name(&self) -> &'static str {
        "erlang"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match name(bytes) {
            Some(Some(_)) => Hint(Role::Client),
            _ if [&b"\0\x03sok"[..], b"\0\x05snok", b"\0\x06salive", b"\0\x0fsok_simultaneous"]
                .iter()
                .any(|s| bytes.starts_with(s)) =>
            {
                Hint(Role::Server)
            }
            Some(None) => No,
            None => Short,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        for (side, detail) in [(Side::Resp, "node"), (Side::Orig, "peer_node")] {
            let mut said = opening.side(side);
            said = said.strip_prefix(b"\0\x03sok").unwrap_or(said);
            if let Some(Some(name)) = name(said) {
                info.detail(detail, name);
            }
        }
        Described::Whole
    }
}

/// The name of a node, of versions 5 ('n') and 6 ('N') of the handshake. `Some(None)`: none; `None`: too short.
fn name(bytes: &[u8]) -> Option<Option<&[u8]>> {
    if bytes.first().is_some_and(|high| *high > 1) {
        return Some(None);
    }
    let mut r = Reader::new(bytes);
    let length = r.u16()?;
    if !(3..=NAME_BYTES_MAX + 15).contains(&length) {
        return Some(None);
    }
    let before = match (r.u8()?, length) {
        (b'n', 11..) => {
            // The version; the node's challenge has the same tag, its own four octets before the name.
            if r.u16()? != 5 {
                return Some(None);
            }
            r.skip(4)?;
            7
        }
        (b'N', 18..) => {
            r.skip(12)?;
            if r.u16()?.checked_add(15) != Some(length) {
                return Some(None);
            }
            15
        }
        // An answer, which `probe` knows.
        (b's', _) if bytes.len() < 5 => return None,
        _ => return Some(None),
    };
    let name = r.take(usize::from(length) - before)?;
    let valid = name.contains(&b'@') && name.iter().all(|b| b.is_ascii_graphic());
    Some(valid.then_some(name))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const FIND: &[u8] = b"\0\x07zrabbit";
    const FOUND: &[u8] = b"w\0\x64\x48\x4d\0\0\x06\0\x05\0\x06rabbit\0\0";
    const HELLO: &[u8] = b"\0\x19N\0\0\0\x0d\x07\xdf\x7f\xbd\x65\x43\x21\x00\0\x0ar@mq-1.lab";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("epmd", FIND, FOUND, Some(Side::Resp)),
            Example::tcp("epmd", b"\0\x01n", b"\0\0\x11\x11name rabbit at port 25672\n", Some(Side::Resp)),
            Example::tcp("erlang", HELLO, b"\0\x03sok", Some(Side::Resp)),
        ]
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        assert_eq!(ask(&Epmd, Transport::Tcp, FIND, b""), Probe::Unsure);
        assert_eq!(ask(&Epmd, Transport::Tcp, b"", FOUND), Probe::Unsure);
        assert_eq!(ask(&Distribution, Transport::Tcp, HELLO, b""), Probe::Unsure);
    }

    #[test]
    fn another_request_or_answer_is_not_erlang() {
        refuses(
            &Epmd,
            Transport::Tcp,
            &[
                (b"\0\x07qrabbit", b""),
                (FIND, b"w\0\x64\x48\x4e\0\0\x06\0\x05"),
                (FIND, b"HTTP/1.1 400\r\n"),
                (FIND, FIND),
            ],
        );
        refuses(
            &Distribution,
            Transport::Tcp,
            &[
                (b"\0\x19N\0\0\0\x0d\x07\xdf\x7f\xbd\x65\x43\x21\x00\0\x0arxmq-1.lab", b""),
                (b"\0\x19N\0\0\0\x0d\x07\xdf\x7f\xbd\x65\x43\x21\x00\0\x0br@mq-1.lab", b""),
                (HELLO, b"\0\x03sno"),
                (HELLO, HELLO),
            ],
        );
    }

    #[test]
    fn nodes_are_told() {
        assert_eq!(examples()[0].described(&Epmd).get("node"), Some("rabbit"));
        assert_eq!(examples()[1].described(&Epmd).get("node"), Some("rabbit"));
        assert_eq!(examples()[2].described(&Distribution).get("peer_node"), Some("r@mq-1.lab"));
    }
}
