//! Apache ZooKeeper: the session's ConnectRequest and its answer, and the four-letter words of operators.
//!
//! Session ids and their passwords are not kept.

use super::evidence::{Evidence, Role, after, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Zookeeper;

const WORDS: &[&[u8]] =
    &[b"ruok", b"srvr", b"stat", b"mntr", b"conf", b"cons", b"dump", b"envi", b"isro", b"wchs", b"wchc", b"wchp"];
/// How the answers to them begin; none is another protocol's greeting.
const ANSWERS: &[&[u8]] = &[b"imok", b"Zookeeper version: ", b"zk_version\t", b"clientPort=", b"Environment:\n"];
/// Sessions time out within minutes; a day is the widest any setting goes.
const TIMEOUT_MS_MAX: u32 = 86_400_000;

impl Protocol for Zookeeper {
    fn name(&self) -> &'static str {
        "zookeeper"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [0, ..] => session(bytes).unwrap_or(Short),
            _ => words(bytes),
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(said) = info.server.map(|side| opening.side(side)) else { return Described::Whole };
        let version = after(said, b"Zookeeper version: ").or_else(|| after(said, b"zk_version\t"));
        // "3.8.0-5a02a05eddb59aee6ac762f7ea82e92a68eb9c0f, built on …"
        let version = version.and_then(|v| v.split(|b| !b.is_ascii_digit() && *b != b'.').next());
        info.product("ZooKeeper", version);
        Described::Whole
    }
}

/// A request: length, protocol version 0, last transaction, timeout, session, password of 16 bytes, and (since 3.4)
/// whether read-only. An answer has no transaction.
fn session(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let role = match r.u32()? {
        44 | 45 => Role::Client,
        36 | 37 => Role::Server,
        _ => return Some(No),
    };
    if r.u32()? != 0 {
        return Some(No);
    }
    if role == Role::Client {
        r.u64()?;
    }
    let (timeout, _session, password_bytes) = (r.u32()?, r.u64()?, r.u32()?);
    Some(Hint(role).only_if(timeout <= TIMEOUT_MS_MAX && password_bytes == 16))
}

fn words(bytes: &[u8]) -> Evidence {
    let asked = bytes.trim_ascii_end();
    if WORDS.contains(&asked) {
        return Hint(Role::Client);
    }
    let mut may_be = WORDS.iter().any(|w| w.starts_with(bytes));
    for answer in ANSWERS {
        match Hint(Role::Server).if_begins(bytes, answer) {
            No => {}
            Short => may_be = true,
            said => return said,
        }
    }
    Short.only_if(may_be)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    fn request() -> Vec<u8> {
        let head = b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0\0\0\0\0\0\0\0\x10";
        [head.as_slice(), &[0; 17]].concat()
    }

    fn answer() -> Vec<u8> {
        let head = b"\0\0\0\x25\0\0\0\0\0\0\x75\x30\x01\0\x01\x02\x03\x04\0\x05\0\0\0\x10";
        [head.as_slice(), &[7; 16], &[0]].concat()
    }

    const SRVR: &[u8] = b"Zookeeper version: 3.8.0-5a02a05e, built on 2022-02-25 08:49 UTC\n";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("zookeeper", &request(), &answer(), Some(Side::Resp)),
            Example::tcp("zookeeper", b"srvr\n", SRVR, Some(Side::Resp)),
            Example::tcp("zookeeper", b"ruok", b"imok", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_answer_to_srvr_tells_the_version() {
        assert_eq!(examples()[1].described(&Zookeeper).version.as_deref(), Some("3.8.0"));
        assert_eq!(examples()[0].described(&Zookeeper).product.as_deref(), Some("ZooKeeper"));
    }

    #[test]
    fn either_side_alone_or_with_another_is_no_proof() {
        assert_eq!(ask(&Zookeeper, Transport::Tcp, &request(), b""), Probe::Unsure);
        assert_eq!(ask(&Zookeeper, Transport::Tcp, b"stat\n", b""), Probe::Unsure);
        assert_eq!(ask(&Zookeeper, Transport::Tcp, b"stat\n", b"STAT pid 1\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Zookeeper, Transport::Tcp, b"stats\r\n", b""), Probe::NotForUs);
        let mut longer = request();
        longer[31] = 17;
        assert_eq!(ask(&Zookeeper, Transport::Tcp, &longer, &answer()), Probe::NotForUs);
    }
}
