//! OpenFlow: a switch and its controller say hello with one version octet, then the controller asks for features.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Openflow;

const HELLO: u8 = 0;

impl Protocol for Openflow {
    fn name(&self) -> &'static str {
        "openflow"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        match weigh(opening, |bytes| judge(bytes).unwrap_or(Short)) {
            // Controllers listen; both ends greet alike.
            Probe::Certain(_) if !opening.midstream => Probe::Certain(Some(Side::Resp)),
            other => other,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        // The lower of both is spoken; 1 is OpenFlow 1.0, and 4 is 1.3.
        if let (Some(one), Some(two)) = (opening.orig.first(), opening.resp.first()) {
            info.detail("version", format!("1.{}", one.min(two).saturating_sub(1)));
        }
        Described::Whole
    }
}

/// Version, kind 0, length, transaction; since 1.3 elements follow, of which one, the bitmap of versions, is defined.
fn judge(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    if !(1..=6).contains(&r.u8()?) || r.u8()? != HELLO {
        return Some(No);
    }
    let length = r.u16()?;
    if length & 7 != 0 || !(8..=64).contains(&length) {
        return Some(No);
    }
    r.skip(4)?;
    if length > 8 && (r.u16()? != 1 || !(8..=length - 8).contains(&r.u16()?)) {
        return Some(No);
    }
    Some(Hint(Role::Peer))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const SWITCH: &[u8] = b"\x04\0\0\x10\0\0\0\x01\0\x01\0\x08\0\0\0\x10";
    const CONTROLLER: &[u8] = b"\x04\0\0\x08\0\0\0\x02\x04\x05\0\x08\0\0\0\x03";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("openflow", SWITCH, CONTROLLER, Some(Side::Resp))]
    }

    #[test]
    fn one_hello_alone_proves_nothing() {
        assert_eq!(ask(&Openflow, Transport::Tcp, SWITCH, b""), Probe::Unsure);
    }

    #[test]
    fn another_kind_length_or_element_is_not_openflow() {
        refuses(
            &Openflow,
            Transport::Tcp,
            &[
                (b"\x04\x02\0\x08\0\0\0\x01", b""),
                (b"\x04\0\0\x09\0\0\0\x01", b""),
                (b"\x04\0\0\x10\0\0\0\x01\0\x02\0\x08", b""),
                (b"\x07\0\0\x08", b""),
                (SWITCH, b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
    }

    #[test]
    fn the_version_is_told() {
        assert_eq!(examples()[0].described(&Openflow).get("version"), Some("1.3"));
    }
}
