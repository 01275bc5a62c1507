//! AMQP 0-9-1 and 1.0 (OASIS, ISO 19464): the protocol header, and what the broker says to it.
//!
//! Read are the header and the broker's first frame; of its properties the product and version.

use super::evidence::{Evidence, Role, after, opener, weigh_sides};
use super::reader::Reader;
use super::reading::begins;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Amqp;

impl Protocol for Amqp {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        // A 1.0 broker answers with a header of its own.
        weigh_sides(opening, |side, bytes| match bytes {
            [b'A', ..] => match version(bytes) {
                Some(Some(_)) => Hint(opener(side)),
                Some(None) => No,
                None => Short,
            },
            [1, ..] => start(bytes),
            _ => No,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        if let Some(Some(version)) = version(opening.side(server.other())) {
            info.detail("version", version);
        }
        let said = opening.side(server);
        let Some(product) = property(said, b"\x07product") else { return Described::Partly };
        info.product(product, property(said, b"\x07version"));
        Described::Whole
    }
}

/// `AMQP`, then a zero and 0-9-1, or the layer (none, TLS, SASL) and 1.0.0. `None`: too short, `Some(None)`: no header.
fn version(bytes: &[u8]) -> Option<Option<&'static str>> {
    if !begins(bytes, b"AMQP")? {
        return Some(None);
    }
    match bytes.get(4..).unwrap_or_default() {
        [0, 0, 9, 1, ..] => Some(Some("0-9-1")),
        [0 | 2 | 3, 1, 0, 0, ..] => Some(Some("1.0")),
        [] | [0] | [0, 0] | [0, 0, 9] | [0 | 2 | 3, 1] | [0 | 2 | 3, 1, 0] | [2 | 3] => None,
        _ => Some(None),
    }
}

/// A method frame on channel 0: connection.start, version 0-9.
fn start(bytes: &[u8]) -> Evidence {
    const METHOD: [u8; 6] = [0, 10, 0, 10, 0, 9];
    match bytes {
        [1, 0, 0, 0, _, _, _, method @ ..] => Hint(Role::Server).if_begins(method, &METHOD),
        _ => Short.only_if([1, 0, 0, 0].starts_with(bytes.get(..4).unwrap_or(bytes))),
    }
}

/// The text of a property: 0-9-1 spells it `S` and four bytes of length, 1.0 as a short string (0xa1).
fn property<'a>(bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut r = Reader::new(after(bytes, name)?);
    let length = match r.u8()? {
        b'S' => r.u32()?,
        0xa1 => u32::from(r.u8()?),
        _ => return None,
    };
    r.take(usize::try_from(length).ok()?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const HEADER: &[u8] = b"AMQP\0\0\x09\x01";
    const START: &[u8] = b"\x01\0\0\0\0\0\x42\0\x0a\0\x0a\0\x09\0\0\0\x2f\x07productS\0\0\0\x08RabbitMQ\x07versionS\0\0\0\x063.10.8\0\0\0\x05PLAIN\xce";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("amqp", HEADER, START, Some(Side::Resp)),
            Example::tcp("amqp", b"AMQP\x03\x01\0\0", b"AMQP\x03\x01\0\0\0\0\0\x10", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_broker_names_itself() {
        let info = examples()[0].described(&Amqp);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("RabbitMQ"), Some("3.10.8")));
        assert_eq!(info.get("version"), Some("0-9-1"));
        assert_eq!(examples()[1].described(&Amqp).get("version"), Some("1.0"));
    }

    #[test]
    fn a_header_alone_or_answered_by_another_is_no_proof() {
        assert_eq!(ask(&Amqp, Transport::Tcp, HEADER, b""), Probe::Unsure);
        assert_eq!(ask(&Amqp, Transport::Tcp, HEADER, b"HTTP/1.1 400\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Amqp, Transport::Tcp, b"AMQP is a protocol", b""), Probe::NotForUs);
        assert_eq!(ask(&Amqp, Transport::Tcp, HEADER, b"\x01\0\0\0\0\0\x42\0\x0a\0\x0b\0\0"), Probe::NotForUs);
    }
}
