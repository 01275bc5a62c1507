//! TDS ([MS-TDS]), the protocol of Microsoft SQL Server and Sybase.
//!
//! Only the first packet of each side is read; a login's user and password are not kept.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Tds;

const HEADER_BYTES: u16 = 8;
/// Version, encryption, instance, thread, MARS, trace, federation, nonce.
const OPTIONS_MAX: usize = 9;

impl Protocol for Tds {
    fn name(&self) -> &'static str {
        "mssql-tds"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(
            opening,
            |bytes| if opening.midstream { request(bytes).unwrap_or_else(|| judge(bytes)) } else { judge(bytes) },
        )
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(side) = info.server else { return Described::Whole };
        let mut r = Reader::new(opening.side(side));
        if packet(&mut r).is_none() {
            return Described::Partly;
        }
        let Some(version) = version(r.rest()) else {
            let whole = r.rest().len() >= 32 || !matches!(r.rest(), [] | [0, ..]);
            return if whole { Described::Whole } else { Described::Partly };
        };
        let [major, minor, high, low, ..] = version;
        let build = u16::from_be_bytes([high, low]);
        info.product("Microsoft SQL Server", Some(format!("{major}.{minor}.{build}").as_bytes()));
        Described::Whole
    }
}

/// What tells a request in mid-connection: the packet's header, and ten bytes of a header or text.
const REQUEST_BYTES_MIN: usize = 18;

struct Packet {
    kind: u8,
    length: u16,
}

/// Type, status, length, process, packet number, and a window that is always 0.
fn packet(r: &mut Reader<'_>) -> Option<Packet> {
    let [kind, _status, high, low, _, _, _, _window] = r.array()?;
    Some(Packet { kind, length: u16::from_be_bytes([high, low]) })
}

fn judge(bytes: &[u8]) -> Evidence {
    let plausible = match bytes {
        [] => true,
        [0x12 | 0x10 | 0x04, rest @ ..] => match rest {
            [0 | 1, _, _, _, _, _, 0, ..] => true,
            [_, _, _, _, _, _, _, ..] => false,
            [0 | 1, ..] | [] => true,
            _ => false,
        },
        _ => false,
    };
    if !plausible {
        return No;
    }
    let mut r = Reader::new(bytes);
    let Some(packet) = packet(&mut r) else { return Short };
    if !(HEADER_BYTES + 1..=32_767).contains(&packet.length) {
        return No;
    }
    let body = r.rest();
    match packet.kind {
        0x12 => options(body, packet.length - HEADER_BYTES, Role::Client),
        0x10 => login(body, packet.length - HEADER_BYTES),
        _ => match body.first() {
            None => Short,
            // The answer to a prelogin has its options; to a login: acknowledgement, error, information, change.
            Some(0) => options(body, packet.length - HEADER_BYTES, Role::Server),
            Some(0xad | 0xaa | 0xab | 0xe3) => Hint(Role::Server),
            Some(_) => No,
        },
    }
}

/// In mid-connection: a batch or a procedure call, and the tokens of its answer. `None` where it is another packet.
fn request(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    if matches!(bytes, [1 | 3, ..]) && bytes.len() < REQUEST_BYTES_MIN {
        return Some(Short);
    }
    let packet = packet(&mut r)?;
    let [kind, 0..=0x1f, _, _, _, _, _, 0, body @ ..] = bytes else { return None };
    if packet.length <= HEADER_BYTES {
        return None;
    }
    // Since 7.2 a transaction descriptor stands first (section 2.2.5.3); before, text in UTF-16 right away.
    let wide = |text: &[u8]| text.len() >= 8 && text.iter().take(8).skip(1).step_by(2).all(|b| *b == 0);
    let request = match (kind, body) {
        (1 | 3, [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, ..]) => true,
        (1, text) => wide(text) && text.first().is_some_and(u8::is_ascii_graphic),
        (3, [1..=128, 0, name @ ..]) => wide(name),
        _ => false,
    };
    if request {
        return Some(Proof(Role::Client));
    }
    // Return status, metadata, row, order, error, information, change, done and its kin.
    let answer = matches!((kind, body.first()?), (4, 0x79 | 0x81 | 0xa9..=0xac | 0xd1 | 0xd2 | 0xe3 | 0xfd..=0xff));
    answer.then_some(Hint(Role::Server))
}

/// Prelogin: token, offset and length of each option, then 0xff; the first option is the version, and its six bytes
/// stand right behind the table.
fn options(body: &[u8], length: u16, role: Role) -> Evidence {
    let mut r = Reader::new(body);
    let mut count = 0u16;
    loop {
        let Some(token) = r.u8() else { return Short };
        if token == 0xff {
            break;
        }
        let (Some(offset), Some(size)) = (r.u16(), r.u16()) else { return Short };
        let first = count == 0;
        let inside = u32::from(offset) + u32::from(size) <= u32::from(length) && offset >= 6;
        if usize::from(count) >= OPTIONS_MAX || token > 8 || !inside || first != (token == 0) || first && size != 6 {
            return No;
        }
        count += 1;
    }
    Proof(role).only_if(count > 0)
}

/// Login7: its own length, then one of the versions of TDS 7.
fn login(body: &[u8], length: u16) -> Evidence {
    let mut r = Reader::new(body);
    let (Some(own), Some(version)) = (r.u32_le(), r.u32_le()) else { return Short };
    let known = matches!(
        version,
        0x7000_0000 | 0x7100_0000 | 0x7100_0001 | 0x7209_0002 | 0x730a_0003 | 0x730b_0003 | 0x7400_0004
            // Some clients write it the other way round.
            | 0x0000_0070 | 0x0000_0071 | 0x0100_0071 | 0x0200_0972 | 0x0300_0a73 | 0x0300_0b73 | 0x0400_0074
    );
    Proof(Role::Client).only_if(known && own >= u32::from(length))
}

/// The server's version: the first option of its prelogin.
fn version(body: &[u8]) -> Option<[u8; 6]> {
    let mut r = Reader::new(body);
    if r.u8()? != 0 {
        return None;
    }
    let offset = r.u16()?;
    Reader::new(body.get(usize::from(offset)..)?).array()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    fn prelogin(kind: u8, version: [u8; 6]) -> Vec<u8> {
        let mut body = vec![0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff];
        body.extend(version);
        body.push(2);
        [&[kind, 1, 0, 8 + body.len() as u8, 0, 0, 1, 0][..], &body].concat()
    }

    fn login7() -> Vec<u8> {
        let mut body = 94u32.to_le_bytes().to_vec();
        body.extend(0x7400_0004u32.to_le_bytes());
        body.resize(94, 0);
        [&[0x10, 1, 0, 102, 0, 0, 1, 0][..], &body].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp(
                "mssql-tds",
                &prelogin(0x12, [9, 0, 0, 0, 0, 0]),
                &prelogin(4, [15, 0, 0x07, 0xd0, 0, 0]),
                Some(Side::Resp),
            ),
            Example::tcp("mssql-tds", &login7(), b"\x04\x01\0\x20\0\x34\x01\0\xad\x14\0", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_server_tells_its_version() {
        let info = examples()[0].described(&Tds);
        assert_eq!(
            (info.product.as_deref(), info.version.as_deref()),
            (Some("Microsoft SQL Server"), Some("15.0.2000"))
        );
    }

    #[test]
    fn a_header_with_another_body_is_not_tds() {
        assert_eq!(ask(&Tds, Transport::Tcp, b"\x12\x01\0\x20\0\0\x01\0GET / HTTP", b""), Probe::NotForUs);
        assert_eq!(ask(&Tds, Transport::Tcp, b"\x10\x01\0\x20\0\0\x01\0aaaaaaaaaaaa", b""), Probe::NotForUs);
        assert_eq!(ask(&Tds, Transport::Tcp, b"\x12\x01\0\x20\0\0\x01\x07", b""), Probe::NotForUs);
    }

    #[test]
    fn a_batch_counts_only_in_mid_connection() {
        let batch = b"\x01\x01\0\x1c\0\0\x01\0C\0O\0M\0M\0I\0T\0 \0T\0R\0A\0";
        let mut example = Example::tcp("", batch, b"\x04\x01\0\x11\x01\x3a\x01\0\xfd\0\0\xd5\0\0\0\0\0", None);
        assert_eq!(Tds.probe(&example.opening()), Probe::NotForUs);
        let midstream = |example: &Example| Tds.probe(&Opening { midstream: true, ..example.opening() });
        assert_eq!(midstream(&example), Probe::Certain(Some(Side::Resp)));
        for cut in 1..batch.len() {
            assert_ne!(midstream(&Example::tcp("", &batch[..cut], b"", None)), Probe::NotForUs, "{cut}");
        }
        example.resp = b"HTTP/1.1 200 OK\r\n".to_vec();
        assert_eq!(midstream(&example), Probe::NotForUs);
    }

    #[test]
    fn a_login_answer_alone_proves_nothing() {
        assert_eq!(ask(&Tds, Transport::Tcp, b"", b"\x04\x01\0\x20\0\x34\x01\0\xad\x14\0"), Probe::Unsure);
    }
}
