//! Apache Kafka's protocol: a request with a known header, and the answer that carries its correlation id.
//!
//! Client ids name the software and are told; nothing else of a message is read.

use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Kafka;

/// Keys are given out up from 0; 92 of them by Kafka 4.
const API_KEY_MAX: u16 = 100;
/// No request has seen more versions than Fetch, 18.
const API_VERSION_MAX: u16 = 30;
/// `socket.request.max.bytes` is 100 MiB.
const MESSAGE_BYTES_MAX: u32 = 100 << 20;
const CLIENT_ID_BYTES_MAX: u16 = 128;

impl Protocol for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    /// Neither side is a proof by itself: the one is few bits, the other fewer.
    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let client = opening.first;
        let request = match Request::read(opening.side(client)) {
            Some(Some(request)) => request,
            Some(None) => return Probe::NotForUs,
            None => return Probe::Unsure,
        };
        let mut answer = Reader::new(opening.side(client.other()));
        match (answer.u32(), answer.u32()) {
            (Some(size), _) if !(4..=MESSAGE_BYTES_MAX).contains(&size) => Probe::NotForUs,
            (Some(_), Some(correlation)) if correlation == request.correlation => Probe::Certain(Some(client.other())),
            (Some(_), Some(_)) => Probe::NotForUs,
            _ => Probe::Unsure,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let client = info.server.map_or(Side::Orig, Side::other);
        if let Some(Some(request)) = Request::read(opening.side(client)) {
            info.detail("client_id", request.client_id);
        }
        Described::Whole
    }
}

struct Request<'a> {
    correlation: u32,
    client_id: &'a [u8],
}

impl<'a> Request<'a> {
    /// Size, API key, its version, correlation id, client id. `None`: too short to tell, `Some(None)`: another thing.
    fn read(bytes: &'a [u8]) -> Option<Option<Self>> {
        let mut r = Reader::new(bytes);
        if *bytes.first()? > 6 {
            return Some(None);
        }
        let size = r.u32()?;
        if !(10..=MESSAGE_BYTES_MAX).contains(&size) {
            return Some(None);
        }
        if r.u16()? > API_KEY_MAX {
            return Some(None);
        }
        if r.u16()? > API_VERSION_MAX {
            return Some(None);
        }
        let correlation = r.u32()?;
        // A nullable string; one that is there has letters.
        let client_id = match r.u16()? {
            0xffff => &[],
            length if (1..=CLIENT_ID_BYTES_MAX).contains(&length) && u32::from(length) + 10 <= size => {
                let given = r.rest().get(..usize::from(length)).unwrap_or(r.rest());
                if !given.iter().all(u8::is_ascii_graphic) {
                    return Some(None);
                }
                r.take(usize::from(length))?
            }
            _ => return Some(None),
        };
        Some(Some(Request { correlation, client_id }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;

    /// ApiVersions, as every client begins.
    const REQUEST: &[u8] = b"\0\0\0\x14\0\x12\0\x03\0\0\0\x07\0\x08consumer\0\0";
    const ANSWER: &[u8] = b"\0\0\0\x0c\0\0\0\x07\0\0\x01\0\0\0\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("kafka", REQUEST, ANSWER, Some(Side::Resp))]
    }

    #[test]
    fn the_client_is_named() {
        assert_eq!(examples()[0].described(&Kafka).get("client_id"), Some("consumer"));
    }

    #[test]
    fn either_side_alone_is_no_proof() {
        assert_eq!(ask(&Kafka, Transport::Tcp, REQUEST, b""), Probe::Unsure);
        assert_eq!(ask(&Kafka, Transport::Tcp, b"", ANSWER), Probe::NotForUs);
    }

    #[test]
    fn another_correlation_or_an_unknown_request_is_not_kafka() {
        assert_eq!(ask(&Kafka, Transport::Tcp, REQUEST, b"\0\0\0\x0c\0\0\0\x08\0\0"), Probe::NotForUs);
        assert_eq!(ask(&Kafka, Transport::Tcp, REQUEST, b"HTTP/1.1 400 Bad"), Probe::NotForUs);
        assert_eq!(
            ask(&Kafka, Transport::Tcp, b"\0\0\0\x14\0\x92\0\x03\0\0\0\x07\0\x08consumer", b""),
            Probe::NotForUs
        );
        // ZooKeeper's greeting: the string would be empty.
        assert_eq!(
            ask(&Kafka, Transport::Tcp, b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30", b""),
            Probe::NotForUs
        );
    }
}
