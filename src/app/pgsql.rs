//! PostgreSQL's frontend/backend protocol 3 (and what speaks it).
//!
//! The opening is read up to the server's first `ReadyForQuery`; user, database and password are not kept.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Pgsql;

/// A start-up message is a few settings; the server itself refuses more than 10000 bytes.
const STARTUP_BYTES_MAX: u32 = 10_000;
const PARAMETERS_MAX: usize = 64;

impl Protocol for Pgsql {
    fn name(&self) -> &'static str {
        "pgsql"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            // A start-up length has two zero bytes in front; every message of a server begins with a letter.
            [0, ..] => client(bytes),
            _ => server(bytes),
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(side) = info.server else { return Described::Whole };
        let mut r = Reader::new(opening.side(side));
        // The answer to an encryption request is one letter: yes, and the rest is TLS; or no.
        match r.rest() {
            [b'S'] | [b'S', 0x16, ..] | [b'G', ..] => {
                info.detail("encryption", "accepted");
                return Described::Whole;
            }
            [b'N', rest @ ..] if !matches!(rest, [0, 0, _, _, ..]) => {
                info.detail("encryption", "refused");
                r = Reader::new(rest);
            }
            _ => {}
        }
        for _ in 0..PARAMETERS_MAX {
            let Some((kind, body)) = message(&mut r) else { return Described::Partly };
            match kind {
                b'S' => {
                    let mut pair = Reader::new(body);
                    if let (Some(b"server_version"), Some(value)) = (pair.until(0), pair.until(0)) {
                        // "15.4 (Debian 15.4-1.pgdg120+1)": the packager's own version is not the product's.
                        let version = value.split(|b| *b == b' ').next();
                        // The pooler's own console says "1.18.0/bouncer".
                        match version.and_then(|v| v.strip_suffix(b"/bouncer")) {
                            Some(version) => info.product("PgBouncer", Some(version)),
                            None => info.product("PostgreSQL", version),
                        }
                        return Described::Whole;
                    }
                }
                b'Z' | b'E' => return Described::Whole,
                _ => {}
            }
        }
        Described::Whole
    }
}

fn client(bytes: &[u8]) -> Evidence {
    let mut r = Reader::new(bytes);
    let Some(length) = r.u32() else {
        return Short.only_if(matches!(bytes, [0] | [0, 0] | [0, 0, 0..=39]));
    };
    if !(8..=STARTUP_BYTES_MAX).contains(&length) {
        return No;
    }
    let Some(code) = r.u32() else {
        return Short.only_if(matches!(r.rest(), [] | [0] | [0, 3, ..] | [4] | [4, 0xd2, ..]));
    };
    match code {
        // SSL, GSS encryption, cancel (a process and its key).
        80_877_103 | 80_877_104 => Proof(Role::Client).only_if(length == 8),
        80_877_102 => Proof(Role::Client).only_if((16..=268).contains(&length)),
        // Version 3.0 to 3.9: pairs of names and values; `user` is required and every client sends it first or soon.
        0x0003_0000..=0x0003_0009 => {
            let first = r.rest();
            match r.until(0) {
                Some(name) => Proof(Role::Client).only_if(name.len() >= 3 && name.iter().all(is_word)),
                None => Short.only_if(first.len() < 64 && first.iter().all(is_word)),
            }
        }
        _ => No,
    }
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.')
}

fn server(bytes: &[u8]) -> Evidence {
    match bytes {
        // The answer to an encryption request; TLS may follow.
        [b'S' | b'N' | b'G'] | [b'S', 0x16, ..] | [b'N', b'R' | b'E', ..] => Hint(Role::Server),
        // Authentication: length 8 and more, method 0 to 12.
        [b'R', 0, 0, 0, 8..=255, 0, 0, 0, 0..=12, ..] => Hint(Role::Server),
        // An error has fields: severity first, since 7.4.
        [b'E', 0, 0, _, _, b'S', ..] => Hint(Role::Server),
        [b'R' | b'E', rest @ ..] if rest.len() < 8 && rest.iter().take(2).all(|b| *b == 0) => Short,
        _ => No,
    }
}

/// One message: letter, length that counts itself, body.
fn message<'a>(r: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let kind = r.u8()?;
    let length = usize::try_from(r.u32()?).ok()?.checked_sub(4)?;
    Some((kind, r.take(length)?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const STARTUP: &[u8] = b"\0\0\0\x22\0\x03\0\0user\0app\0database\0orders\0\0";
    const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x16application_name\0\0\
        S\0\0\0\x32server_version\x0015.4 (Debian 15.4-1.pgdg120+1)\0Z\0\0\0\x05I";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("pgsql", STARTUP, WELCOME, Some(Side::Resp)),
            Example::tcp("pgsql", SSL_REQUEST, b"N", Some(Side::Resp)),
            Example::tcp("pgsql", SSL_REQUEST, b"S\x16\x03\x03\0\x50\x02", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_server_tells_its_version() {
        let info = examples()[0].described(&Pgsql);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("PostgreSQL"), Some("15.4")));
    }

    #[test]
    fn the_poolers_console_is_not_called_postgresql() {
        let console = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x22server_version\x001.18.0/bouncer\0Z\0\0\0\x05I";
        let info = Example::tcp("", STARTUP, console, Some(Side::Resp)).described(&Pgsql);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("PgBouncer"), Some("1.18.0")));
    }

    #[test]
    fn the_version_is_found_behind_a_refused_encryption() {
        let answer = [b"N", WELCOME].concat();
        let info = Example::tcp("", SSL_REQUEST, &answer, Some(Side::Resp)).described(&Pgsql);
        assert_eq!((info.version.as_deref(), info.get("encryption")), (Some("15.4"), Some("refused")));
    }

    #[test]
    fn a_length_followed_by_another_code_is_not_pgsql() {
        assert_eq!(ask(&Pgsql, Transport::Tcp, b"\0\0\0\x08\x04\xd2\x16\x31", b""), Probe::NotForUs);
        assert_eq!(ask(&Pgsql, Transport::Tcp, b"\0\0\0\x22\0\x02\0\0user\0", b""), Probe::NotForUs);
        assert_eq!(ask(&Pgsql, Transport::Tcp, b"\0\0\0\x22\0\x03\0\0\x01\x02\0", b""), Probe::NotForUs);
    }

    #[test]
    fn a_server_alone_proves_nothing() {
        assert_eq!(ask(&Pgsql, Transport::Tcp, b"", b"R\0\0\0\x08\0\0\0\0"), Probe::Unsure);
        assert_eq!(ask(&Pgsql, Transport::Tcp, b"GET / HTTP/1.1\r\n", b"R\0\0\0\x08\0\0\0\0"), Probe::NotForUs);
    }
}
