//! Firebird and InterBase: a client that connects to a database and a server that accepts one of its versions.
//!
//! Unmeasured, so both sides must be seen. File and user names are not kept.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Firebird;

const CONNECT: u32 = 1;
const ATTACH: u32 = 19;
const ACCEPT: u32 = 3;
const REJECT: u32 = 4;
const ACCEPT_DATA: u32 = 94;
const CONDITIONAL_ACCEPT: u32 = 98;
/// Since version 11, the high bit marks Firebird's own numbers.
const FIREBIRD: u32 = 0x8000;

impl Protocol for Firebird {
    fn name(&self) -> &'static str {
        "firebird"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let mut r = Reader::new(opening.side(info.server.unwrap_or(Side::Resp)));
        if let (Some(_), Some(version)) = (r.u32(), r.u32()) {
            info.detail("protocol", (version & 0x7fff).to_string());
        }
        Described::Whole
    }
}

fn judge(bytes: &[u8]) -> Option<Evidence> {
    if bytes.first() != Some(&0) {
        return Some(No);
    }
    let mut r = Reader::new(bytes);
    Some(match r.u32()? {
        CONNECT => {
            let (operation, version, _architecture) = (r.u32()?, r.u32()?, r.u32()?);
            let name = r.u32()?;
            Hint(Role::Client).only_if(operation == ATTACH && matches!(version, 2 | 3) && name <= 1024)
        }
        ACCEPT | ACCEPT_DATA | CONDITIONAL_ACCEPT => {
            let (version, _architecture, kind) = (r.u32()?, r.u32()?, r.u32()?);
            let own = version & 0xffff;
            let known = matches!(version >> 16, 0 | 0xffff)
                && (own & FIREBIRD != 0 && (10..32).contains(&(own & 0x7fff)) || own == 10);
            Hint(Role::Server).only_if(known && kind & 0xff <= 5)
        }
        REJECT => Hint(Role::Server),
        _ => No,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const OPEN: &[u8] = b"\0\0\0\x01\0\0\0\x13\0\0\0\x03\0\0\0\x24\0\0\0\x08/db/a.fb\0\0\0\x01";
    const ACCEPTED: &[u8] = b"\0\0\0\x5e\xff\xff\x80\x0d\0\0\0\x24\0\0\0\x05";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("firebird", OPEN, ACCEPTED, Some(Side::Resp))]
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        assert_eq!(ask(&Firebird, Transport::Tcp, OPEN, b""), Probe::Unsure);
        assert_eq!(ask(&Firebird, Transport::Tcp, b"", ACCEPTED), Probe::Unsure);
    }

    #[test]
    fn another_operation_or_version_is_not_firebird() {
        refuses(
            &Firebird,
            Transport::Tcp,
            &[
                (b"\0\0\0\x01\0\0\0\x14\0\0\0\x03\0\0\0\x24\0\0\0\x08", b""),
                (OPEN, b"\0\0\0\x5e\0\0\0\x63\0\0\0\x24\0\0\0\x05"),
                (OPEN, OPEN),
                (b"\0\0\0\x02", b""),
            ],
        );
    }

    #[test]
    fn the_protocols_version_is_told() {
        assert_eq!(examples()[0].described(&Firebird).get("protocol"), Some("13"));
    }
}
