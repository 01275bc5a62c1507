//! memcached: text and binary protocol over TCP, and text behind the frame header over UDP.
//!
//! The first line or header of each side is judged, and both sides must fit. Keys and values are not kept.

use super::evidence::{Evidence, Role, weigh};
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Memcached;

/// The longest key is 250 bytes; a line has a command and a few numbers besides.
const LINE_BYTES_MAX: usize = 320;

const REQUESTS: &[&[u8]] = &[
    b"get",
    b"gets",
    b"gat",
    b"gats",
    b"set",
    b"add",
    b"replace",
    b"append",
    b"prepend",
    b"cas",
    b"delete",
    b"incr",
    b"decr",
    b"touch",
    b"stats",
    b"version",
    b"verbosity",
    b"flush_all",
    b"mg",
    b"ms",
    b"md",
    b"mn",
    b"lru_crawler",
];
const REPLIES: &[&[u8]] = &[
    b"VALUE",
    b"STAT",
    b"END",
    b"STORED",
    b"NOT_STORED",
    b"EXISTS",
    b"NOT_FOUND",
    b"DELETED",
    b"TOUCHED",
    b"VERSION",
    b"ERROR",
    b"CLIENT_ERROR",
    b"SERVER_ERROR",
    b"OK",
    b"RESET",
    b"HD",
    b"EN",
    b"VA",
    b"MN",
];

impl Protocol for Memcached {
    fn name(&self) -> &'static str {
        "memcached"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        // A first answer repeats the operation and the opaque value of the request.
        if let ([0x80, asked, ..], [0x81, answered, ..]) = (opening.orig, opening.resp)
            && (asked != answered
                || opaque(opening.orig).zip(opaque(opening.resp)).is_some_and(|(asked, said)| asked != said))
        {
            return Probe::NotForUs;
        }
        weigh(opening, |bytes| match (opening.transport, bytes) {
            (Transport::Udp, _) => match framed(bytes).map(text) {
                None | Some(Short) => No,
                Some(said) => said,
            },
            (_, [0x80, rest @ ..]) => binary(rest, Role::Client),
            (_, [0x81, rest @ ..]) => binary(rest, Role::Server),
            _ => text(bytes),
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(side) = info.server else { return Described::Whole };
        let said = opening.side(side);
        for mark in [b"VERSION ".as_slice(), b"STAT version "] {
            if let Some(at) = said.windows(mark.len()).position(|w| w == mark)
                && let Some(version) = said.get(at + mark.len()..)
                && let Some(end) = version.iter().position(|b| *b == b'\r')
            {
                info.product("memcached", version.get(..end));
                return Described::Whole;
            }
        }
        Described::Partly
    }
}

/// Request id, sequence, number of datagrams, two zero bytes.
fn framed(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [_, _, sequence_high, sequence_low, total_high, total_low, 0, 0, text @ ..] => {
            let sequence = u16::from_be_bytes([*sequence_high, *sequence_low]);
            (sequence < u16::from_be_bytes([*total_high, *total_low])).then_some(text)
        }
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Evidence {
    if !bytes.first().is_some_and(u8::is_ascii_alphabetic) {
        return No;
    }
    let end = bytes.iter().take(LINE_BYTES_MAX).position(|b| *b == b'\n');
    let word_end = bytes.iter().position(|b| matches!(b, b' ' | b'\r' | b'\n')).unwrap_or(bytes.len());
    let word = bytes.get(..word_end).unwrap_or(bytes);
    let among =
        |list: &[&[u8]]| list.iter().any(|w| if word_end == bytes.len() { w.starts_with(word) } else { *w == word });
    let role = match (among(REQUESTS), among(REPLIES)) {
        (true, _) => Role::Client,
        (_, true) => Role::Server,
        _ => return No,
    };
    match end.and_then(|end| bytes.get(..end)) {
        Some(line) if line.iter().any(|b| !(0x20..0x7f).contains(b) && *b != b'\r') => No,
        Some(line) if role == Role::Server && !is_reply(line) => No,
        // Statistics begin with the process id; nobody else says so.
        Some(line) if line.starts_with(b"STAT pid ") => Proof(Role::Server),
        Some(_) => Hint(role),
        None => Short.only_if(bytes.len() < LINE_BYTES_MAX),
    }
}

/// What may follow a reply's word (protocol.txt): mostly nothing; a size after `VA`, flags of one letter after `HD`.
fn is_reply(line: &[u8]) -> bool {
    let mut words = line.trim_ascii_end().split(|b| *b == b' ');
    let word = words.next().unwrap_or_default();
    match word {
        b"VALUE" | b"STAT" | b"VERSION" | b"CLIENT_ERROR" | b"SERVER_ERROR" => words.next().is_some(),
        b"VA" => words.next().is_some_and(|size| !size.is_empty() && size.iter().all(u8::is_ascii_digit)),
        b"HD" => words.all(|flag| flag.first().is_some_and(|letter| b"bcfhklOstWXZ".contains(letter))),
        _ => words.next().is_none(),
    }
}

fn opaque(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(12..16)
}

/// After the magic: operation, key length, extras length, data type 0, status or bucket, body length.
fn binary(rest: &[u8], role: Role) -> Evidence {
    match rest {
        [operation, key_high, key_low, extras, 0, _, _, a, b, c, d, _, ..] => {
            let (key, body) = (u16::from_be_bytes([*key_high, *key_low]), u32::from_be_bytes([*a, *b, *c, *d]));
            let fits = *operation <= 0x48 && *extras <= 20 && key <= 250 && body >= u32::from(key) + u32::from(*extras);
            Hint(role).only_if(fits && body <= 0x0800_0000)
        }
        [_, _, _, _, data_type, ..] if *data_type != 0 => No,
        [operation, ..] if *operation > 0x48 => No,
        _ => Short,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    pub(crate) fn examples() -> Vec<Example> {
        let header = |magic: u8| {
            let mut bytes = vec![magic, 0x0b];
            bytes.resize(24, 0);
            bytes
        };
        vec![
            Example::tcp("memcached", b"get session:9\r\n", b"END\r\n", Some(Side::Resp)),
            Example::tcp("memcached", b"version\r\n", b"VERSION 1.6.18\r\n", Some(Side::Resp)),
            Example::tcp("memcached", &header(0x80), &header(0x81), Some(Side::Resp)),
            Example::udp(
                "memcached",
                b"\0\x01\0\0\0\x01\0\0stats\r\n",
                b"\0\x01\0\0\0\x01\0\0STAT pid 7\r\n",
                Some(Side::Resp),
            ),
        ]
    }

    #[test]
    fn the_version_is_told() {
        let info = examples()[1].described(&Memcached);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("memcached"), Some("1.6.18")));
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        assert_eq!(ask(&Memcached, Transport::Tcp, b"get session:9\r\n", b""), Probe::Unsure);
        assert_eq!(ask(&Memcached, Transport::Tcp, b"", b"END\r\n"), Probe::Unsure);
    }

    #[test]
    fn a_word_that_only_begins_alike_is_not_memcached() {
        assert_eq!(ask(&Memcached, Transport::Tcp, b"getting started\r\n", b""), Probe::NotForUs);
        assert_eq!(ask(&Memcached, Transport::Tcp, b"GET / HTTP/1.1\r\n", b""), Probe::NotForUs);
        assert_eq!(ask(&Memcached, Transport::Tcp, b"get x\r\n", b"550 no such file\r\n"), Probe::NotForUs);
    }
}
