//! iSCSI (RFC 7143): the login of an initiator, and the target's answer.
//!
//! Names of initiator and target are told; CHAP's secrets come later and are not read.

use super::evidence::{Evidence, Role, after, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Iscsi;

/// Login request, always immediate; login response (section 11.12 and 11.13).
const REQUEST: u8 = 0x43;
const RESPONSE: u8 = 0x23;
/// `MaxRecvDataSegmentLength` of the login phase (section 13.12).
const DATA_BYTES_MAX: u32 = 8192;

impl Protocol for Iscsi {
    fn name(&self) -> &'static str {
        "iscsi"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| login(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        let said = opening.side(server.other());
        for (name, key) in
            [("initiator", b"InitiatorName=".as_slice()), ("target", b"TargetName="), ("session", b"SessionType=")]
        {
            if let Some(value) = after(said, key).and_then(|v| v.split(|b| *b == 0).next()) {
                info.detail(name, value);
            }
        }
        Described::Whole
    }
}

/// The basic header segment of a login: operation, stage, versions 0, no additional header, length of the text.
fn login(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let operation = r.u8()?;
    if !matches!(operation, REQUEST | RESPONSE) {
        return Some(No);
    }
    // Transit and continue are not set together, two bits are reserved, and no stage 2 (section 11.12.3).
    let stage = r.u8()?;
    if stage & 0x30 != 0 || stage & 0xc0 == 0xc0 || stage & 0x0c == 0x08 || stage & 3 == 2 {
        return Some(No);
    }
    if r.u8()? != 0 || r.u8()? != 0 || r.u8()? != 0 {
        return Some(No);
    }
    if r.u24()? > DATA_BYTES_MAX {
        return Some(No);
    }
    if operation == RESPONSE {
        // Status class: success, redirection, and whose fault it was.
        r.skip(28)?;
        return Some(Hint(Role::Server).only_if(r.u8()? <= 3));
    }
    r.skip(40)?;
    // The first text of a connection names the initiator (section 6.3).
    const NAME: &[u8] = b"InitiatorName=";
    Some(match after(r.rest(), NAME) {
        Some(_) => Hint(Role::Client),
        None => Short.only_if(r.rest().len() < 1024 && r.rest().iter().all(|b| *b == 0 || (0x20..0x7f).contains(b))),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    fn request(text: &[u8]) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        [b"\x43\x81\0\0\0\0\0", [length].as_slice(), b"\0\x02\x3d\0\0\0", &[0; 34], text].concat()
    }

    fn response() -> Vec<u8> {
        [b"\x23\x81\0\0\0\0\0\0\0\x02\x3d\0\0\0\0\x01".as_slice(), &[0; 32]].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        let text =
            b"InitiatorName=iqn.1993-08.org.debian:01:ab\0SessionType=Normal\0TargetName=iqn.2001-04.lab:disk1\0\0";
        vec![Example::tcp("iscsi", &request(text), &response(), Some(Side::Resp))]
    }

    #[test]
    fn initiator_and_target_are_told() {
        let info = examples()[0].described(&Iscsi);
        assert_eq!((info.get("target"), info.get("session")), (Some("iqn.2001-04.lab:disk1"), Some("Normal")));
        assert_eq!(info.get("initiator"), Some("iqn.1993-08.org.debian:01:ab"));
    }

    #[test]
    fn capitals_that_begin_a_text_and_one_side_alone_are_no_proof() {
        assert_eq!(ask(&Iscsi, Transport::Tcp, b"CONNECT a:1 HTTP/1.1\r\n", b""), Probe::NotForUs);
        assert_eq!(ask(&Iscsi, Transport::Tcp, b"#!/bin/sh\n", b""), Probe::NotForUs);
        assert_eq!(ask(&Iscsi, Transport::Tcp, &examples()[0].orig, b""), Probe::Unsure);
        assert_eq!(ask(&Iscsi, Transport::Tcp, &examples()[0].orig, b"HTTP/1.1 400"), Probe::NotForUs);
        assert_eq!(ask(&Iscsi, Transport::Tcp, &request(b"\x01\x02\x03"), &response()), Probe::NotForUs);
    }
}
