//! Ceph's messenger, versions 1 and 2: the banner that both ends send.
//!
//! Nothing behind the banner is read.

use super::evidence::{Evidence, opener, weigh_sides};
use super::reading::begins;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Ceph;

impl Protocol for Ceph {
    fn name(&self) -> &'static str {
        "ceph"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh_sides(opening, |side, bytes| match banner(bytes) {
            Some(Some(_)) => Hint(opener(side)),
            Some(None) => No,
            None => Short,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        if let Some(Some(version)) = banner(opening.side(Side::Resp)) {
            info.detail("messenger", version);
        }
        Described::Whole
    }
}

/// Version 2: the line, and the length of the features (two words) in little endian. Version 1: nine bytes.
fn banner(bytes: &[u8]) -> Option<Option<&'static str>> {
    if begins(bytes, b"ceph v027") == Some(true) {
        return Some(Some("1"));
    }
    if b"ceph v027".starts_with(bytes) {
        return None;
    }
    Some(begins(bytes, b"ceph v2\n\x10\0")?.then_some("2"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;

    const V2: &[u8] = b"ceph v2\n\x10\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("ceph", V2, V2, Some(Side::Resp)),
            Example::tcp("ceph", b"ceph v027\0\0\0\0", b"ceph v027\0\0\0\0", Some(Side::Resp)).server_first(),
        ]
    }

    #[test]
    fn the_messengers_version_is_told() {
        assert_eq!(examples()[0].described(&Ceph).get("messenger"), Some("2"));
        assert_eq!(examples()[1].described(&Ceph).get("messenger"), Some("1"));
    }

    #[test]
    fn one_banner_alone_or_another_is_no_proof() {
        assert_eq!(ask(&Ceph, Transport::Tcp, V2, b""), Probe::Unsure);
        assert_eq!(ask(&Ceph, Transport::Tcp, V2, b"HTTP/1.1 400"), Probe::NotForUs);
        assert_eq!(ask(&Ceph, Transport::Tcp, b"ceph is a file system", b""), Probe::NotForUs);
    }
}
