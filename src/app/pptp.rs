//! PPTP (RFC 2637): the control connection, proved by its magic cookie. Host name and vendor are told.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{No, Proof, Short};

pub(super) struct Pptp;

const COOKIE: u32 = 0x1a2b_3c4d;
const START_BYTES: u16 = 156;

impl Protocol for Pptp {
    fn name(&self) -> &'static str {
        "pptp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let said = opening.side(info.server.unwrap_or(Side::Resp));
        let text = |bytes: &'_ [u8]| bytes.split(|b| *b == 0).next().map(<[u8]>::to_vec).unwrap_or_default();
        let (Some(host), Some(vendor)) = (said.get(28..92), said.get(92..156)) else { return Described::Partly };
        info.detail("host", text(host));
        info.product(text(vendor), None);
        Described::Whole
    }
}

/// Length, message 1 (control), cookie, kind: start, stop, echo and calls.
fn judge(bytes: &[u8]) -> Option<Evidence> {
    if bytes.first() != Some(&0) {
        return Some(No);
    }
    let mut r = Reader::new(bytes);
    let length = r.u16()?;
    if !(16..=220).contains(&length) || r.u16()? != 1 || r.u32()? != COOKIE {
        return Some(No);
    }
    Some(match r.u16()? {
        1 => Proof(Role::Client).only_if(length == START_BYTES),
        2 => Proof(Role::Server).only_if(length == START_BYTES),
        3 | 5 | 7 | 12 => Proof(Role::Peer),
        4 | 6 | 8 | 13..=15 => Proof(Role::Peer),
        _ => No,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    fn start(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0, 156, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, kind];
        bytes.resize(28, 0);
        bytes.extend(b"vpn-1");
        bytes.resize(92, 0);
        bytes.extend(b"Microsoft");
        bytes.resize(156, 0);
        bytes
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("pptp", &start(1), &start(2), Some(Side::Resp))]
    }

    #[test]
    fn another_cookie_length_or_kind_is_not_pptp() {
        refuses(
            &Pptp,
            Transport::Tcp,
            &[
                (b"\0\x9c\0\x01\x1a\x2b\x3c\x4e", b""),
                (b"\0\x9b\0\x01\x1a\x2b\x3c\x4d\0\x01", b""),
                (b"\0\x9c\0\x01\x1a\x2b\x3c\x4d\0\x63", b""),
                (&start(1), b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
        assert_eq!(ask(&Pptp, Transport::Tcp, b"\0\x9c\0\x01\x1a\x2b", b""), Probe::Unsure);
    }

    #[test]
    fn host_and_vendor_are_told() {
        let info = examples()[0].described(&Pptp);
        assert_eq!((info.get("host"), info.product.as_deref()), (Some("vpn-1"), Some("Microsoft")));
    }
}
