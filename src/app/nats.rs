//! NATS: the server's INFO line greets, the client answers with CONNECT.
//!
//! Of INFO (JSON) the version is told; credentials of CONNECT are not kept.

use super::evidence::{Evidence, Role, after, weigh};
use super::line::Lines;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Nats;

/// Every server puts its id among the first fields.
const SERVER_ID_WITHIN_BYTES: usize = 512;

impl Protocol for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [b'I' | b'i', ..] => info_line(bytes),
            [b'C' | b'c', ..] => Hint(Role::Client).if_begins(&upper(bytes), b"CONNECT {"),
            [b'P' | b'p', ..] => Hint(Role::Client).if_begins(&upper(bytes), b"PING\r\n"),
            _ => No,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(said) = info.server.map(|side| opening.side(side)) else { return Described::Whole };
        let version = after(said, b"\"version\":\"").and_then(|v| v.split(|b| *b == b'"').next());
        info.product("nats-server", version);
        if Lines::new(said).next().is_some() { Described::Whole } else { Described::Partly }
    }
}

/// The first letters in capitals: the protocol's words are of any case.
fn upper(bytes: &[u8]) -> arrayvec::ArrayVec<u8, 10> {
    bytes.iter().take(10).map(u8::to_ascii_uppercase).collect()
}

fn info_line(bytes: &[u8]) -> Evidence {
    let begun = Hint(Role::Server).if_begins(&upper(bytes), b"INFO {");
    if begun != Hint(Role::Server) {
        return begun;
    }
    let line = Lines::new(bytes).next();
    let head = bytes.get(..SERVER_ID_WITHIN_BYTES).unwrap_or(bytes);
    match after(head, b"\"server_id\":") {
        Some(_) => begun,
        None => Short.only_if(line.is_none() && head.len() < SERVER_ID_WITHIN_BYTES),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const INFO: &[u8] = b"INFO {\"server_id\":\"NDX\",\"server_name\":\"a\",\"version\":\"2.9.10\",\"proto\":1}\r\n";
    const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"sesame\"}\r\nPING\r\n";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("nats", CONNECT, INFO, Some(Side::Resp)).server_first()]
    }

    #[test]
    fn the_server_tells_its_version_and_no_password_is_kept() {
        let info = examples()[0].described(&Nats);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("nats-server"), Some("2.9.10")));
        assert!(!format!("{info:?}").contains("sesame"));
    }

    #[test]
    fn other_lines_that_begin_so_are_not_nats() {
        assert_eq!(ask(&Nats, Transport::Tcp, b"", INFO), Probe::Unsure);
        assert_eq!(ask(&Nats, Transport::Tcp, b"INFO\r\n", b""), Probe::NotForUs);
        assert_eq!(ask(&Nats, Transport::Tcp, b"", b"INFO {\"a\":1}\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Nats, Transport::Tcp, b"CONNECT web-03:443 HTTP/1.1\r\n", b""), Probe::NotForUs);
        assert_eq!(ask(&Nats, Transport::Tcp, CONNECT, b"HTTP/1.1 400\r\n"), Probe::NotForUs);
    }
}
