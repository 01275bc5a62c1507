//! Oracle's TNS: a CONNECT packet with its connect descriptor, and the listener's answer.
//!
//! The descriptor is read inside the opening; user and program names in it are not kept.

use super::evidence::{Evidence, Role, weigh};
use super::line::find;
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Oracle;

const CONNECT: u8 = 1;
/// Accept, refuse, redirect, resend.
const ANSWERS: [u8; 4] = [2, 4, 5, 11];

impl Protocol for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| packet(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        let descriptor = opening.side(server.other());
        for (name, key) in [("service", "SERVICE_NAME="), ("sid", "(SID=")] {
            if let Some(at) = find(descriptor, key) {
                let value = descriptor.get(at + key.len()..).unwrap_or_default();
                info.detail(name, value.split(|b| *b == b')').next().unwrap_or_default());
            }
        }
        // A refusal tells the listener's version: (VSNNUM=318767104) is 19.0.0.0.0, a byte and four nibbles.
        let Some(at) = find(opening.side(server), "(VSNNUM=") else { return Described::Partly };
        let number = opening.side(server).get(at + 8..).and_then(|n| n.split(|b| *b == b')').next());
        if let Some(number) = number.and_then(|n| std::str::from_utf8(n).ok()).and_then(|n| n.parse::<u32>().ok()) {
            let version = format!("{}.{}", number >> 24, number >> 20 & 15);
            info.product("Oracle", Some(version.as_bytes()));
        }
        Described::Whole
    }
}

/// Length, checksum 0, type, flags, header checksum 0.
fn packet(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let length = usize::from(r.u16()?);
    if length < 8 || r.u16()? != 0 {
        return Some(No);
    }
    let kind = r.u8()?;
    if kind != CONNECT && !ANSWERS.contains(&kind) {
        return Some(No);
    }
    let (_flags, checksum) = (r.u8()?, r.u16()?);
    if checksum != 0 {
        return Some(No);
    }
    if kind != CONNECT {
        return Some(Hint(Role::Server).only_if(length <= 8192));
    }
    // Version 300 to 400 (8 to 23), and the lowest that the client can do.
    let (version, lowest) = (r.u16()?, r.u16()?);
    if !(300..=400).contains(&version) || !(300..=version).contains(&lowest) {
        return Some(No);
    }
    // A long descriptor follows in the next packet (the packet then ends with its header).
    let described = find(r.rest(), "(CONNECT_DATA=").is_some() || find(r.rest(), "(DESCRIPTION=").is_some();
    Some(if described { Proof(Role::Client) } else { Short.only_if(bytes.len() < length + 1024) })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    fn connect(descriptor: &[u8]) -> Vec<u8> {
        let length = u16::try_from(58 + descriptor.len()).unwrap().to_be_bytes();
        let head = b"\0\0\x01\0\0\0\x01\x3b\x01\x2c\x0c\x41\x20\0\xff\xff\x4f\x98\0\0\0\x01";
        [&length, head.as_slice(), &[0; 34], descriptor].concat()
    }

    const REFUSED: &[u8] = b"\0\x41\0\0\x04\0\0\0\x22\0\0\x35(DESCRIPTION=(TMP=)(VSNNUM=318767104)(ERR=12514))";

    pub(crate) fn examples() -> Vec<Example> {
        let asked = connect(b"(DESCRIPTION=(CONNECT_DATA=(SERVICE_NAME=ORCL)(CID=(USER=joe))))");
        vec![
            Example::tcp("oracle", &asked, REFUSED, Some(Side::Resp)),
            Example::tcp("oracle", &asked, b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_service_and_the_listeners_version_are_told_and_no_user() {
        let info = examples()[0].described(&Oracle);
        assert_eq!((info.get("service"), info.version.as_deref()), (Some("ORCL"), Some("19.0")));
        assert!(!format!("{info:?}").contains("joe"));
    }

    #[test]
    fn an_answer_alone_another_version_or_another_answer_is_no_proof() {
        assert_eq!(ask(&Oracle, Transport::Tcp, b"", REFUSED), Probe::Unsure);
        let mut other = connect(b"(CONNECT_DATA=)");
        assert_eq!(ask(&Oracle, Transport::Tcp, &other, b"HTTP/1.1 400\r\n"), Probe::NotForUs);
        other[8] = 7;
        assert_eq!(ask(&Oracle, Transport::Tcp, &other, b""), Probe::NotForUs);
        assert_eq!(ask(&Oracle, Transport::Tcp, &[connect(&[0; 8]), vec![0; 1100]].concat(), b""), Probe::NotForUs);
    }
}
