//! Zabbix: "ZBXD" before every message of agents, proxies and servers.
//!
//! Who speaks first asks, except that an old server asks an agent in plain text and only the answer has the header.

use super::evidence::{Evidence, Role, weigh};
use super::line::find;
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, Proof, Short};

pub(super) struct Zabbix;

/// A passive check's key.
const KEY_BYTES_MAX: usize = 255;

impl Protocol for Zabbix {
    fn name(&self) -> &'static str {
        "zabbix"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let probe = weigh(opening, |bytes| match bytes {
            // Protocol, compressed, large; then a length of eight octets, little-endian, below a gigabyte.
            [b'Z', b'B', b'X', b'D', 1..=7, _, _, _, length_high, _, _, _, _, ..] => {
                Proof(Role::Peer).only_if(*length_high < 0x40)
            }
            [b'Z', b'B', b'X', b'D', rest @ ..] => {
                Short.only_if(rest.first().is_none_or(|flags| (1..=7).contains(flags)))
            }
            [b'Z', b'B', b'X'] | [b'Z', b'B'] | [b'Z'] => Short,
            _ => Hint(Role::Client).only_if(bytes.len() <= KEY_BYTES_MAX && key(bytes)),
        });
        let [(first, asked), _] = opening.sides();
        match probe {
            Probe::Certain(_) if opening.midstream => Probe::Certain(None),
            // Whoever speaks first asks; a message in one direction only is a server's only behind a key.
            Probe::Certain(_) if asked.starts_with(b"ZBXD") || key(asked) => Probe::Certain(Some(first.other())),
            other => other,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let client = info.server.unwrap_or(Side::Resp).other();
        let mut r = Reader::new(opening.side(client));
        let body = match r.skip(13) {
            Some(()) => r.rest(),
            None => &[],
        };
        // `{"request":"active checks", …}`; the key of a passive check is no request.
        if let Some(at) = find(body.get(..64).unwrap_or(body), "\"request\"")
            && let Some(value) = body.get(at..).and_then(|rest| rest.split(|b| *b == b'"').nth(3))
        {
            info.detail("request", value);
        }
        Described::Whole
    }
}

/// `agent.ping`, `system.cpu.load[all,avg1]`: letters, then a dot.
fn key(bytes: &[u8]) -> bool {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    text.first().is_some_and(u8::is_ascii_lowercase) && text.iter().all(|b| (0x20..0x7f).contains(b))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    fn message(text: &[u8]) -> Vec<u8> {
        [b"ZBXD\x01", &(text.len() as u64).to_le_bytes()[..], text].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp(
                "zabbix",
                &message(b"{\"request\":\"active checks\",\"host\":\"db-7\"}"),
                &message(b"{\"response\":\"success\",\"data\":[]}"),
                Some(Side::Resp),
            ),
            Example::tcp("zabbix", b"agent.ping\n", &message(b"1"), Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_key_alone_proves_nothing() {
        assert_eq!(ask(&Zabbix, Transport::Tcp, b"agent.ping\n", b""), Probe::Unsure);
    }

    #[test]
    fn another_flag_or_answer_is_not_zabbix() {
        refuses(
            &Zabbix,
            Transport::Tcp,
            &[
                (b"ZBXD\x09\x01", b""),
                (b"ZBXC", b""),
                (&message(b"1"), b"HTTP/1.1 400 Bad Request\r\n"),
                (b"GET / HTTP/1.1\r\n", b""),
            ],
        );
    }

    #[test]
    fn the_request_is_told() {
        assert_eq!(examples()[0].described(&Zabbix).get("request"), Some("active checks"));
    }
}
