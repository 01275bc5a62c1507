//! MongoDB's wire protocol: OP_MSG, OP_QUERY with OP_REPLY, and compressed messages.
//!
//! The first message of each side is judged; the server's version is looked for in what it answered first.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Mongodb;

/// The server's own bound on a message.
const MESSAGE_BYTES_MAX: u32 = 48_000_000;

impl Protocol for Mongodb {
    fn name(&self) -> &'static str {
        "mongodb"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, judge)
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        info.product("MongoDB", info.version.clone().as_deref().map(str::as_bytes));
        let Some(side) = info.server else { return Described::Whole };
        let said = opening.side(side);
        // Only the answer to buildInfo has both; a stored document may have a version of its own.
        let built = field(said, b"\x02gitVersion\0").and_then(|_| field(said, b"\x02version\0"));
        if let Some(version) = built.and_then(|mut r| {
            let length = usize::try_from(r.u32_le()?).ok()?.checked_sub(1)?;
            r.take(length).filter(|v| v.len() <= 32 && v.first().is_some_and(u8::is_ascii_digit))
        }) {
            info.product("MongoDB", Some(version));
            return Described::Whole;
        }
        if let Some(wire) = field(said, b"\x10maxWireVersion\0").and_then(|mut r| r.u32_le()) {
            info.detail("wire_version", wire.to_string());
        }
        Described::Partly
    }
}

/// What stands behind a BSON element's type and name.
fn field<'a>(bytes: &'a [u8], name: &[u8]) -> Option<Reader<'a>> {
    let at = bytes.windows(name.len()).position(|w| w == name)?;
    bytes.get(at + name.len()..).map(Reader::new)
}

fn judge(bytes: &[u8]) -> Evidence {
    let mut r = Reader::new(bytes);
    let Some(length) = r.u32_le() else { return Short };
    if !(16..=MESSAGE_BYTES_MAX).contains(&length) {
        return No;
    }
    let (Some(_id), Some(answers), Some(operation)) = (r.u32_le(), r.u32_le(), r.u32_le()) else { return Short };
    // Some drivers write -1 for "no answer".
    let asks = matches!(answers, 0 | u32::MAX);
    let role = if asks { Role::Client } else { Role::Server };
    match operation {
        2013 => message(&mut r, length, role),
        // Flags, a name with a dot, numbers, a document: no other protocol has these behind 2004.
        2004 if asks => {
            let Some(flags) = r.u32_le() else { return Short };
            if flags & !0xff != 0 {
                return No;
            }
            let rest = r.rest();
            let Some(name) = r.until(0) else {
                return Short.only_if(rest.len() < 130 && rest.iter().all(u8::is_ascii_graphic));
            };
            let (Some(_skip), Some(_return)) = (r.u32_le(), r.u32_le()) else { return Short };
            if !name.contains(&b'.') || !name.iter().all(u8::is_ascii_graphic) {
                return No;
            }
            document(&mut r, length, Proof(Role::Client))
        }
        // Flags, cursor, position, number of documents.
        1 if !asks => match (r.u32_le(), r.skip(12)) {
            (Some(flags), Some(())) if flags & !0xf == 0 => match r.u32_le() {
                Some(0) => Hint(Role::Server),
                Some(_) => document(&mut r, length, Proof(Role::Server)),
                None => Short,
            },
            (Some(flags), None) if flags & !0xf == 0 => Short,
            (None, _) => Short,
            _ => No,
        },
        // Compressed: the operation inside, its size, and one of four compressors.
        2012 => match (r.u32_le(), r.u32_le(), r.u8()) {
            (Some(2013 | 2004 | 1), Some(size), Some(0..=3)) => Proof(role).only_if(size <= MESSAGE_BYTES_MAX),
            (Some(2013 | 2004 | 1) | None, _, None) => Short,
            _ => No,
        },
        _ => No,
    }
}

/// Flags (three are defined, checksum and more-to-come among the low ones), then sections: kind 0 is one document,
/// kind 1 a sequence of them.
fn message(r: &mut Reader<'_>, length: u32, role: Role) -> Evidence {
    let (Some(flags), Some(kind)) = (r.u32_le(), r.u8()) else { return Short };
    if flags & !0x0001_0003 != 0 {
        return No;
    }
    match kind {
        0 => document(r, length, Proof(role)),
        1 => match r.u32_le() {
            Some(size) => Proof(role).only_if(size > 4 && size < length),
            None => Short,
        },
        _ => No,
    }
}

/// A BSON document: its length, then a known element type, or the end.
fn document(r: &mut Reader<'_>, message: u32, then: Evidence) -> Evidence {
    match (r.u32_le(), r.u8()) {
        (Some(size), _) if size < 5 || size >= message => No,
        (Some(_), Some(0..=0x13 | 0x7f | 0xff)) => then,
        (Some(_), Some(_)) => No,
        _ => Short,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    fn op(operation: u32, answers: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + body.len() as u32).to_le_bytes().to_vec();
        bytes.extend(7u32.to_le_bytes());
        bytes.extend(answers.to_le_bytes());
        bytes.extend(operation.to_le_bytes());
        bytes.extend(body);
        bytes
    }

    fn bson(elements: &[u8]) -> Vec<u8> {
        [&(5 + elements.len() as u32).to_le_bytes(), elements, &[0]].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        let hello = bson(b"\x10hello\0\x01\0\0\0");
        let told = bson(b"\x02version\0\x06\0\0\x007.0.5\0\x02gitVersion\0\x02\0\0\0a\0");
        let query = [&[4, 0, 0, 0][..], b"admin.$cmd\0", &[0, 0, 0, 0, 1, 0, 0, 0], &hello].concat();
        let reply = [&[8, 0, 0, 0][..], &[0; 12], &[1, 0, 0, 0], &told].concat();
        vec![
            Example::tcp(
                "mongodb",
                &op(2013, 0, &[&[0; 5][..], &hello].concat()),
                &op(2013, 7, &[&[0; 5][..], &told].concat()),
                Some(Side::Resp),
            ),
            Example::tcp("mongodb", &op(2004, 0, &query), &op(1, 7, &reply), Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_server_tells_its_version_in_build_info_only() {
        let info = examples()[0].described(&Mongodb);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("MongoDB"), Some("7.0.5")));
    }

    #[test]
    fn a_hello_tells_the_wire_version_and_a_document_no_version() {
        let told = |elements: &[u8]| {
            let answer = op(2013, 7, &[&[0; 5][..], &bson(elements)].concat());
            Example::tcp("", &[], &answer, Some(Side::Resp)).described(&Mongodb)
        };
        assert_eq!(told(b"\x10maxWireVersion\0\x15\0\0\0").get("wire_version"), Some("21"));
        assert_eq!(told(b"\x02version\0\x04\0\0\x009.9\0").version, None);
    }

    #[test]
    fn an_unknown_operation_or_flag_is_not_mongodb() {
        assert_eq!(ask(&Mongodb, Transport::Tcp, &op(2014, 0, &[0; 20]), b""), Probe::NotForUs);
        assert_eq!(ask(&Mongodb, Transport::Tcp, &op(2013, 0, &[0xf0; 20]), b""), Probe::NotForUs);
    }

    #[test]
    fn a_document_longer_than_its_message_is_not_mongodb() {
        let mut bytes = examples()[0].orig.clone();
        bytes[21] = 0xff;
        assert_eq!(ask(&Mongodb, Transport::Tcp, &bytes, b""), Probe::NotForUs);
    }
}
