//! Redis (RESP2 and RESP3), and what speaks it.
//!
//! The first request and the first reply are judged; the version is looked for in the answers to INFO and HELLO.
//! Keys, values and AUTH are not kept.

use super::evidence::{Evidence, Role, after, weigh};
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Redis;

/// Of the commands that open a connection or make up most of its traffic; others wait for the server's answer.
const COMMANDS: &[&[u8]] = &[
    b"PING",
    b"HELLO",
    b"AUTH",
    b"INFO",
    b"SELECT",
    b"CLIENT",
    b"CONFIG",
    b"COMMAND",
    b"GET",
    b"SET",
    b"SETEX",
    b"SETNX",
    b"MGET",
    b"MSET",
    b"DEL",
    b"EXISTS",
    b"EXPIRE",
    b"TTL",
    b"KEYS",
    b"SCAN",
    b"INCR",
    b"DECR",
    b"HGET",
    b"HSET",
    b"HGETALL",
    b"LPUSH",
    b"RPUSH",
    b"LPOP",
    b"RPOP",
    b"BLPOP",
    b"BRPOP",
    b"LRANGE",
    b"SADD",
    b"SMEMBERS",
    b"ZADD",
    b"ZRANGE",
    b"EVAL",
    b"EVALSHA",
    b"SUBSCRIBE",
    b"PSUBSCRIBE",
    b"PUBLISH",
    b"MULTI",
    b"EXEC",
    b"SLAVEOF",
    b"REPLICAOF",
    b"REPLCONF",
    b"PSYNC",
    b"CLUSTER",
    b"SENTINEL",
    b"MODULE",
    b"FLUSHALL",
    b"SAVE",
    b"XADD",
    b"XREAD",
    b"TYPE",
    b"QUIT",
    b"ECHO",
    b"DBSIZE",
];

/// Errors that no other server's line begins with.
const ERRORS: &[&[u8]] = &[
    b"-NOAUTH ",
    b"-WRONGPASS ",
    b"-DENIED Redis",
    b"-ERR unknown command",
    b"-LOADING Redis",
    b"-MISCONF Redis",
    b"-NOPERM ",
];

impl Protocol for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [b'*', rest @ ..] => request(rest),
            [b'+' | b'-' | b':' | b'$' | b'%' | b'_', ..] => reply(bytes),
            // Inline: a word and the end of the line, as health checks send it.
            [b'P' | b'p' | b'I' | b'i' | b'Q' | b'q', ..] => inline(bytes),
            _ => No,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(side) = info.server else { return Described::Whole };
        let said = opening.side(side);
        // Valkey keeps `redis_version` for old clients: its own name comes first.
        let valkey = after(said, b"valkey_version:").map(|v| ("Valkey", v));
        let redis = || after(said, b"\nredis_version:").map(|v| ("Redis", v));
        let hello = || after(said, b"$7\r\nversion\r\n$").and_then(|v| after(v, b"\r\n")).map(|v| ("Redis", v));
        if let Some((product, text)) = valkey.or_else(redis).or_else(hello) {
            let end = text.iter().position(|b| !b.is_ascii_digit() && *b != b'.').unwrap_or(text.len());
            info.product(product, text.get(..end));
            return Described::Whole;
        }
        Described::Partly
    }
}

/// A number of at most nine digits and the end of the line; `None` where it is none, `Some(None)` where it is cut.
fn number(bytes: &[u8]) -> Option<Option<(usize, &[u8])>> {
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let (text, rest) = bytes.split_at_checked(digits)?;
    match rest {
        [] | [b'\r'] => (digits <= 9).then_some(None),
        [b'\r', b'\n', rest @ ..] if (1..=9).contains(&digits) => {
            Some(Some((std::str::from_utf8(text).ok()?.parse().ok()?, rest)))
        }
        _ => None,
    }
}

/// `*N`, then for each word `$length`, the word.
fn request(bytes: &[u8]) -> Evidence {
    let (count, rest) = match number(bytes) {
        None => return No,
        Some(None) => return Short,
        Some(Some(found)) => found,
    };
    let length = match rest {
        [] => return Short,
        [b'$', length @ ..] if count > 0 => length,
        // An array of integers or of arrays: only a server sends those.
        [b':' | b'*' | b'+', ..] => return Hint(Role::Server),
        _ => return if count == 0 { Hint(Role::Server) } else { No },
    };
    match number(length) {
        None => No,
        Some(None) => Short,
        Some(Some((size, rest))) => match rest.split_at_checked(size) {
            Some((word, [] | [b'\r', ..])) => {
                if COMMANDS.iter().any(|c| c.eq_ignore_ascii_case(word)) {
                    Proof(Role::Client)
                } else if !word.is_empty() && size <= 20 && word.iter().all(|b| b.is_ascii_alphabetic() || *b == b'.') {
                    Hint(Role::Client)
                } else {
                    // Keys, say: an answer in mid-connection.
                    Hint(Role::Server)
                }
            }
            Some(_) => No,
            None => Short,
        },
    }
}

fn reply(bytes: &[u8]) -> Evidence {
    if ERRORS.iter().any(|e| bytes.starts_with(e)) {
        return Proof(Role::Server);
    }
    match bytes {
        [b'+' | b'-', line @ ..] => match line.iter().position(|b| *b == b'\r') {
            // POP3 says `+OK` too, but no POP3 client asks in RESP.
            Some(end) => Hint(Role::Server).only_if(line.iter().take(end).all(|b| (0x20..0x7f).contains(b))),
            None => Short.only_if(line.len() < 256),
        },
        [b':' | b'$', b'-', rest @ ..] | [b':' | b'$' | b'%', rest @ ..] => match number(rest) {
            Some(Some(_)) => Hint(Role::Server),
            Some(None) => Short,
            None => No,
        },
        [b'_'] | [b'_', b'\r'] => Short,
        [b'_', b'\r', b'\n', ..] => Hint(Role::Server),
        _ => No,
    }
}

fn inline(bytes: &[u8]) -> Evidence {
    for word in [b"PING".as_slice(), b"INFO", b"QUIT"] {
        let head = bytes.get(..word.len()).unwrap_or(bytes);
        if word.get(..head.len()).is_some_and(|w| w.eq_ignore_ascii_case(head)) {
            return match bytes.get(word.len()..) {
                Some([b'\r' | b'\n', ..]) => Hint(Role::Client),
                None | Some([]) => Short,
                Some(_) => No,
            };
        }
    }
    No
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

    pub(crate) fn examples() -> Vec<Example> {
        let info = b"$60\r\n# Server\r\nredis_version:7.0.11\r\nredis_mode:standalone\r\n";
        vec![
            Example::tcp("redis", PING, b"+PONG\r\n", Some(Side::Resp)),
            Example::tcp("redis", b"*1\r\n$4\r\ninfo\r\n", info, Some(Side::Resp)),
            Example::tcp("redis", b"INFO\r\n", info, Some(Side::Resp)),
            Example::tcp("redis", b"", b"-NOAUTH Authentication required.\r\n", Some(Side::Resp)),
        ]
    }

    #[test]
    fn info_and_hello_tell_the_version() {
        let info = examples()[1].described(&Redis);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("Redis"), Some("7.0.11")));
        let hello = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n";
        let info = Example::tcp("", PING, hello, Some(Side::Resp)).described(&Redis);
        assert_eq!(info.version.as_deref(), Some("7.2.4"));
        let valkey = b"$60\r\n# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\n";
        let info = Example::tcp("", PING, valkey, Some(Side::Resp)).described(&Redis);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("Valkey"), Some("8.0.1")));
    }

    #[test]
    fn imap_and_pop3_greetings_are_not_redis() {
        assert_eq!(ask(&Redis, Transport::Tcp, b"", b"* OK IMAP4rev1 ready\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Redis, Transport::Tcp, b"", b"+OK POP3 ready\r\n"), Probe::Unsure);
        assert_eq!(ask(&Redis, Transport::Tcp, b"USER joe\r\n", b"+OK POP3 ready\r\n"), Probe::NotForUs);
    }

    #[test]
    fn an_unknown_word_needs_its_answer() {
        let words = b"*1\r\n$5\r\nHAPPY\r\n";
        assert_eq!(ask(&Redis, Transport::Tcp, words, b""), Probe::Unsure);
        assert_eq!(ask(&Redis, Transport::Tcp, words, b"HTTP/1.1 400\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Redis, Transport::Tcp, words, b"-ERR no\r\n"), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn http_on_its_port_is_not_redis() {
        assert_eq!(ask(&Redis, Transport::Tcp, b"POST / HTTP/1.1\r\n", b""), Probe::NotForUs);
    }
}
