//! Cassandra's native protocol (CQL), versions 3 to 5: OPTIONS or STARTUP, and what a node answers to it; and what
//! nodes of version 4 on say to each other first, proved by its magic number and checksum.
//!
//! Read is the first frame of each side. Credentials and queries are not kept.

use super::evidence::{Evidence, Role, after, weigh};
use super::reader::Reader;
use super::reading::begins;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Cassandra;

const STARTUP: u8 = 1;
const OPTIONS: u8 = 5;
/// Nodes among themselves (`HandshakeProtocol` of Cassandra 4): the number that begins, and what their checksums begin
/// with.
const INTERNODE: [u8; 4] = [0xca, 0x55, 0x2d, 0xfa];
const INTERNODE_CRC_SEED: [u8; 4] = [0xfa, 0x2d, 0x55, 0xca];
/// Messaging versions: 10 is Cassandra 3's, 12 that of 4.0.
const INTERNODE_VERSIONS: std::ops::RangeInclusive<u8> = 10..=40;
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
        weigh(opening, |bytes| first_message(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        if let Some([_, asked, ..]) = opening.side(server.other()).strip_prefix(&INTERNODE).and_then(|f| f.get(1..)) {
            info.detail("internode", asked.to_string());
            return Described::Whole;
        }
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

fn first_message(bytes: &[u8]) -> Option<Evidence> {
    match bytes.first()? {
        0xca => initiated(bytes),
        0 => accepted(bytes),
        _ => frame(bytes),
    }
}

/// The magic number, flags (the highest, lowest and wanted version, and how it is framed), the sender's address and
/// port, the checksum.
fn initiated(bytes: &[u8]) -> Option<Evidence> {
    if !begins(bytes, &INTERNODE)? {
        return Some(No);
    }
    let mut r = Reader::new(bytes);
    r.skip(INTERNODE.len())?;
    let (highest, lowest, _wanted, _framing) = (r.u8()?, r.u8()?, r.u8()?, r.u8()?);
    let length = r.u8()?;
    if ![6, 18].contains(&length) || !INTERNODE_VERSIONS.contains(&lowest) || highest < lowest {
        return Some(No);
    }
    r.skip(usize::from(length))?;
    Some(Proof(Role::Client).only_if(r.u32()? == internode_crc(bytes.get(..9 + usize::from(length))?)))
}

/// Two versions of four octets each, then the checksum.
fn accepted(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let versions = [r.u32()?, r.u32()?];
    let fit = versions.iter().all(|v| u8::try_from(*v).is_ok_and(|v| INTERNODE_VERSIONS.contains(&v)));
    if !fit {
        return Some(No);
    }
    Some(Hint(Role::Server).only_if(r.u32()? == internode_crc(bytes.get(..8)?)))
}

fn internode_crc(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&INTERNODE_CRC_SEED);
    crc.update(bytes);
    crc.finalize()
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

    /// From 10.0.0.2 and its port 7000.
    fn initiate() -> Vec<u8> {
        let head = b"\xca\x55\x2d\xfa\x0c\x0a\x0c\x11\x06\x0a\0\0\x02\x1b\x58";
        [head.as_slice(), &internode_crc(head).to_be_bytes()].concat()
    }

    fn accept() -> Vec<u8> {
        let head = b"\0\0\0\x0c\0\0\0\x0c";
        [head.as_slice(), &internode_crc(head).to_be_bytes()].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("cassandra", &initiate(), b"", Some(Side::Resp)),
            Example::tcp("cassandra", &initiate(), &accept(), Some(Side::Resp)),
            Example::tcp("cassandra", STARTUP_V4, READY_V4, Some(Side::Resp)),
            Example::tcp("cassandra", OPTIONS_V4, b"\x84\0\0\0\x06\0\0\0\x02\0\0", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_versions_are_told() {
        let info = examples()[2].described(&Cassandra);
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

    #[test]
    fn nodes_among_themselves_are_known_by_their_checksum_only() {
        assert_eq!(examples()[1].described(&Cassandra).get("internode"), Some("12"));
        for at in [3, 4, 8, 10, initiate().len() - 1] {
            let mut near = initiate();
            near[at] ^= 0x40;
            assert_eq!(ask(&Cassandra, Transport::Tcp, &near, b""), Probe::NotForUs, "byte {at}");
        }
        assert_eq!(ask(&Cassandra, Transport::Tcp, &initiate(), b"\0\0\0\x0c\0\0\0\x0cabcd"), Probe::NotForUs);
        assert_eq!(ask(&Cassandra, Transport::Tcp, &initiate(), b"HTTP/1.1 400"), Probe::NotForUs);
        assert_eq!(ask(&Cassandra, Transport::Tcp, b"", &accept()), Probe::Unsure);
        assert_eq!(ask(&Cassandra, Transport::Tcp, &initiate()[..18], b""), Probe::Unsure);
    }
}
