//! MySQL and MariaDB (protocol version 10 of the client/server protocol). The server speaks first.
//!
//! Only the server's greeting, or its refusal of the client, is read; it fits one packet.

use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Mysql;

impl Protocol for Mysql {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        // A client that begins is none of MySQL's, unless the mirror mixed up the order of the first two packets.
        let mut probe = Probe::NotForUs;
        for (side, bytes) in [(Side::Resp, opening.resp), (Side::Orig, opening.orig)] {
            match greeting(bytes) {
                Greeting::Whole(_) | Greeting::Refusal if may_answer(opening.side(side.other())) => {
                    return Probe::Certain(Some(side));
                }
                Greeting::Short if may_answer(opening.side(side.other())) => probe = Probe::Unsure,
                _ => {}
            }
        }
        probe
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let said = info.server.map(|side| opening.side(side)).unwrap_or_default();
        if let (Greeting::Refusal, Some(text)) = (greeting(said), said.get(7..)) {
            info.detail("error", text);
        }
        if let Greeting::Whole(text) = greeting(said) {
            // MariaDB puts MySQL's 5.5.5 before its own version, for old replicas.
            let text = text.strip_prefix("5.5.5-").unwrap_or(text);
            match text.split_once("-MariaDB") {
                Some((version, _)) => info.product("MariaDB", Some(version.as_bytes())),
                None => info.product("MySQL", Some(text.as_bytes())),
            }
        }
        // HandshakeResponse41 or SSLRequest: four bytes of header, then the client's capabilities, of which 0x800 is TLS.
        let client = info.server.map(|side| opening.side(side.other())).unwrap_or_default();
        match client {
            [_, _, _, _, _, flags, ..] => info.detail("encryption", if flags & 8 != 0 { "accepted" } else { "none" }),
            _ if client.len() < 6 && matches!(greeting(said), Greeting::Whole(_)) => return Described::Partly,
            _ => {}
        }
        Described::Whole
    }
}

enum Greeting<'a> {
    Whole(&'a str),
    Refusal,
    Short,
    No,
}

fn greeting(bytes: &[u8]) -> Greeting<'_> {
    match bytes {
        [] | [_] | [_, 0] | [_, 0, 0] | [_, 0, 0, 0] => Greeting::Short,
        [length, 0, 0, 0, 10, rest @ ..] => handshake(usize::from(*length), rest),
        // "Too many connections", "Host is blocked", "Host is not allowed": little-endian 1040, 1129, 1130.
        [length, 0 | 1, 0, 0, 0xff, rest @ ..] => match rest {
            [] | [0x10 | 0x69 | 0x6a] => Greeting::Short,
            [0x10 | 0x69 | 0x6a, 4, text @ ..] => {
                let wanted = usize::from(*length).saturating_sub(3).min(8);
                let readable = text.iter().take(wanted).all(|b| (0x20..0x7f).contains(b));
                match (readable, text.len() >= wanted) {
                    (true, true) => Greeting::Refusal,
                    (true, false) => Greeting::Short,
                    _ => Greeting::No,
                }
            }
            _ => Greeting::No,
        },
        _ => Greeting::No,
    }
}

/// Version text, thread, eight bytes of salt, a zero, capabilities: a packet of 40 to 255 bytes.
fn handshake(length: usize, rest: &[u8]) -> Greeting<'_> {
    let mut r = Reader::new(rest);
    let Some(version) = r.until(0) else {
        let readable = rest.len() < 100 && rest.iter().all(|b| (0x20..0x7f).contains(b));
        return if readable && length >= 32 { Greeting::Short } else { Greeting::No };
    };
    let Ok(text) = std::str::from_utf8(version) else { return Greeting::No };
    // "8.0.33", "10.4.12-MariaDB", "5.1.73-log": a number and a dot.
    let numbered = text.split_once('.').is_some_and(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if !numbered || text.bytes().any(|b| !(0x20..0x7f).contains(&b)) || length < 1 + text.len() + 1 + 13 + 2 {
        return Greeting::No;
    }
    match (r.skip(12), r.u8()) {
        (Some(()), Some(0)) => Greeting::Whole(text),
        (Some(()), Some(_)) => Greeting::No,
        _ => Greeting::Short,
    }
}

/// Nothing yet, or a client's login: a small packet, the second of the connection.
fn may_answer(client: &[u8]) -> bool {
    matches!(client, [] | [_] | [_, _] | [_, _, 0 | 1] | [_, _, 0 | 1, 1, ..])
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;

    fn greet(version: &str) -> Vec<u8> {
        let mut body = vec![10];
        body.extend(version.as_bytes());
        body.extend([0, 7, 0, 0, 0]);
        body.extend(b"saltsalt\0");
        body.extend([0xff, 0xf7, 0x21, 2, 0, 0xff, 0x81, 21]);
        body.extend([0; 10]);
        body.extend(b"saltsaltsalt\0mysql_native_password\0");
        [&[body.len() as u8, 0, 0, 0][..], &body].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        let login = b"\x20\0\0\x01\x85\xa6\xff\x01\0\0\0\x01\x21";
        vec![
            Example::tcp("mysql", b"", &greet("8.0.33"), Some(Side::Resp)).server_first(),
            Example::tcp("mysql", login, &greet("5.5.5-10.11.6-MariaDB-0+deb12u1"), Some(Side::Resp)).server_first(),
            Example::tcp("mysql", b"", b"\x12\0\0\0\xff\x6a\x04Host is not ok", Some(Side::Resp)).server_first(),
        ]
    }

    #[test]
    fn the_greeting_tells_product_and_version() {
        let told = |i: usize| {
            let info = examples()[i].described(&Mysql);
            (info.product, info.version)
        };
        assert_eq!(told(0), (Some("MySQL".into()), Some("8.0.33".into())));
        assert_eq!(told(1), (Some("MariaDB".into()), Some("10.11.6".into())));
    }

    #[test]
    fn a_greeting_without_a_version_number_is_not_mysql() {
        assert_eq!(ask(&Mysql, Transport::Tcp, b"", &greet("hello")), Probe::NotForUs);
        let mut bytes = greet("8.0.33");
        bytes[4] = 11;
        assert_eq!(ask(&Mysql, Transport::Tcp, b"", &bytes), Probe::NotForUs);
    }

    #[test]
    fn a_client_alone_proves_nothing() {
        assert_eq!(ask(&Mysql, Transport::Tcp, b"\x20\0\0\x01\x85\xa6\xff\x01", b""), Probe::Unsure);
        assert_eq!(ask(&Mysql, Transport::Tcp, b"GET / HTTP/1.1\r\n", b""), Probe::NotForUs);
    }
}
