//! OPC UA over TCP (part 6, section 7.1): hello and acknowledge with their own lengths.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{No, Proof, Short};

pub(super) struct OpcUa;

/// The endpoint's address is at most 4,096 octets.
const HELLO_BYTES_MAX: u32 = 32 + 4096;

impl Protocol for OpcUa {
    fn name(&self) -> &'static str {
        "opc-ua"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let mut r = Reader::new(opening.side(info.server.unwrap_or(Side::Resp).other()));
        if r.skip(28).is_some()
            && let Some(length) = r.u32_le().and_then(|l| usize::try_from(l).ok())
            && let Some(endpoint) = r.take(length)
        {
            // Paths may be names of sessions; what is in front of a question mark is enough.
            info.detail("endpoint", endpoint.split(|b| *b == b'?').next().unwrap_or_default());
        }
        Described::Whole
    }
}

fn judge(bytes: &[u8]) -> Option<Evidence> {
    let known = [&b"HELF"[..], b"ACKF", b"ERRF", b"RHEF"];
    if !known.iter().any(|k| bytes.iter().zip(*k).all(|(b, k)| b == k)) {
        return Some(No);
    }
    let mut r = Reader::new(bytes);
    let kind = r.take(4)?;
    let length = r.u32_le()?;
    match (kind, length) {
        (b"HELF", 32..=HELLO_BYTES_MAX) => {
            // Version, sizes of buffers (at least 8,192), of messages, their number, then the endpoint.
            let (version, receive, send) = (r.u32_le()?, r.u32_le()?, r.u32_le()?);
            r.skip(8)?;
            let endpoint = r.u32_le()?;
            let fits = version < 16 && receive >= 8192 && send >= 8192 && matches!(endpoint, u32::MAX | 0..=4096);
            Some(Proof(Role::Client).only_if(fits))
        }
        (b"ACKF", 28) => Some(Proof(Role::Server).only_if(r.u32_le()? < 16 && r.u32_le()? >= 8192)),
        // An error: its code has the severity in the upper bits.
        (b"ERRF", 16..=HELLO_BYTES_MAX) => Some(Proof(Role::Server).only_if(r.u32_le()? & 0xc000_0000 == 0x8000_0000)),
        // A server behind a firewall calls its client.
        (b"RHEF", 16..=HELLO_BYTES_MAX) => {
            let name = r.u32_le()?;
            Some(Proof(Role::Server).only_if(name <= 4096))
        }
        _ => Some(No),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const HELLO: &[u8] = b"HELF\x34\0\0\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\x14\0\0\0opc.tcp://plc-9:4840";
    const ACK: &[u8] = b"ACKF\x1c\0\0\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("opc-ua", HELLO, ACK, Some(Side::Resp))]
    }

    #[test]
    fn another_word_length_or_size_is_not_opc_ua() {
        refuses(
            &OpcUa,
            Transport::Tcp,
            &[
                (b"HELP\r\n", b""),
                (b"HELF\x01\0\0\0", b""),
                (b"HELF\x34\0\0\0\0\0\0\0\0\x01\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\x14\0\0\0", b""),
                (HELLO, b"ACKF\x1d\0\0\0"),
                (HELLO, b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
        assert_eq!(ask(&OpcUa, Transport::Tcp, b"HELF\x34\0", b""), Probe::Unsure);
    }

    #[test]
    fn the_endpoint_is_told() {
        assert_eq!(examples()[0].described(&OpcUa).get("endpoint"), Some("opc.tcp://plc-9:4840"));
    }
}
