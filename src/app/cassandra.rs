//! Cassandra's native protocol (CQL), versions 3 to 5: OPTIONS or STARTUP, and what a node answers to it.
//!
//! Read is the first frame of each side. Credentials and queries are not kept.

use super::evidence::{Evidence, Role, after, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Cassandra;

const STARTUP: u8 = 1;
const OPTIONS: u8 = 5;
/// A handful of short strings (specification, sections 4.1.1 and 4.2.4).
const BODY_BYTES_MAX: u32 = 4096;

impl Protocol for Cassandra {
    fn name(&self) -> &'static str {
        "cassandra"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| frame(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        if let Some(version) = opening.side(server.other()).first() {
            info.detail("version", version.to_string());
        }
        // STARTUP names the language's version, SUPPORTED those that the node knows, and some the node's release.
        let mut cql = Reader::new(after(opening.side(server.other()), b"CQL_VERSION").unwrap_or_default());
        let Some(version) = cql.u16().and_then(|length| cql.take(usize::from(length))) else {
            return Described::Partly;
        };
        info.detail("cql_version", version);
        Described::Whole
    }
}

/// Version and direction, flags, stream, operation, length, body (section 2).
fn frame(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let version = r.u8()?;
    if !matches!(version & 0x7f, 1..=5) {
        return Some(No);
    }
    // Compression, tracing, payload, warning, beta. Before version 3 a stream is one byte.
    if r.u8()? & !0x1f != 0 {
        return Some(No);
    }
    r.skip(if version & 0x7f < 3 { 1 } else { 2 })?;
    let operation = r.u8()?;
    let known =
        if version & 0x80 == 0 { matches!(operation, STARTUP | OPTIONS) } else { matches!(operation, 0 | 2 | 3 | 6) };
    if !known {
        return Some(No);
    }
    let length = r.u32()?;
    let body = r.rest();
    Some(match (version & 0x80 == 0, operation) {
        (_, OPTIONS) => Hint(Role::Client).only_if(length == 0),
        (true, _) if !(22..=BODY_BYTES_MAX).contains(&length) => No,
        (true, _) => match after(body, b"\0\x0bCQL_VERSION\0") {
            Some(_) => Proof(Role::Client),
            None => Short.only_if(body.len() < usize::try_from(length).ok()?),
        },
        // READY has no body.
        (false, 2) => Hint(Role::Server).only_if(length == 0),
        (false, _) => Hint(Role::Server).only_if(length <= BODY_BYTES_MAX),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const OPTIONS_V4: &[u8] = b"\x04\0\0\0\x05\0\0\0\0";
    const STARTUP_V4: &[u8] = b"\x04\0\0\x01\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.4.5";
    const READY_V4: &[u8] = b"\x84\0\0\x01\x02\0\0\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("cassandra", STARTUP_V4, READY_V4, Some(Side::Resp)),
            Example::tcp("cassandra", OPTIONS_V4, b"\x84\0\0\0\x06\0\0\0\x02\0\0", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_versions_are_told() {
        let info = examples()[0].described(&Cassandra);
        assert_eq!((info.get("version"), info.get("cql_version")), (Some("4"), Some("3.4.5")));
    }

    #[test]
    fn nine_bytes_of_a_client_are_no_proof_and_other_operations_none() {
        assert_eq!(ask(&Cassandra, Transport::Tcp, OPTIONS_V4, b""), Probe::Unsure);
        assert_eq!(ask(&Cassandra, Transport::Tcp, b"\x04\0\0\0\x07\0\0\0\0", b""), Probe::NotForUs);
        assert_eq!(ask(&Cassandra, Transport::Tcp, STARTUP_V4, b"HTTP/1.1 400"), Probe::NotForUs);
        // SOCKS 5 and 4 begin with the same byte.
        assert_eq!(ask(&Cassandra, Transport::Tcp, b"\x05\x01\0\x05\x01\0\x01\x0a\0", b""), Probe::NotForUs);
    }
}
