//! SPICE, the console of QEMU and oVirt: "REDQ" and the version from both ends.
//!
//! The client's link alone proves nothing: the console must answer.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Spice;

const MAGIC: &[u8] = b"REDQ";
const LINK_BYTES_MAX: u32 = 4096;

impl Protocol for Spice {
    fn name(&self) -> &'static str {
        "spice"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        match weigh(opening, |bytes| judge(bytes).unwrap_or(Short)) {
            Probe::Certain(_) => Probe::Certain(Some(opening.first.other())),
            other => other,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        let mut r = Reader::new(opening.side(server));
        if let (Some(_), Some(major), Some(minor)) = (r.skip(4), r.u32_le(), r.u32_le()) {
            info.detail("version", format!("{major}.{minor}"));
        }
        // The client's link message: connection, then the kind of channel.
        let channel = opening.side(server.other()).get(20).copied();
        let names = [
            "",
            "main",
            "display",
            "inputs",
            "cursor",
            "playback",
            "record",
            "tunnel",
            "smartcard",
            "usbredir",
            "port",
            "webdav",
        ];
        if let Some(name) = channel.and_then(|c| names.get(usize::from(c))) {
            info.detail("channel", name);
        }
        Described::Whole
    }
}

fn judge(bytes: &[u8]) -> Option<Evidence> {
    if !bytes.iter().zip(MAGIC).all(|(b, m)| b == m) {
        return Some(No);
    }
    let mut r = Reader::new(bytes);
    r.skip(4)?;
    let (major, minor, size) = (r.u32_le()?, r.u32_le()?, r.u32_le()?);
    Some(Hint(Role::Peer).only_if((1..=3).contains(&major) && minor < 16 && size <= LINK_BYTES_MAX))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const LINK: &[u8] = b"REDQ\x02\0\0\0\x02\0\0\0\x16\0\0\0\0\0\0\0\x01\0";
    const REPLY: &[u8] = b"REDQ\x02\0\0\0\x02\0\0\0\xba\0\0\0\0\0\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("spice", LINK, REPLY, Some(Side::Resp))]
    }

    #[test]
    fn a_link_alone_proves_nothing() {
        assert_eq!(ask(&Spice, Transport::Tcp, LINK, b""), Probe::Unsure);
    }

    #[test]
    fn another_word_or_version_is_not_spice() {
        refuses(
            &Spice,
            Transport::Tcp,
            &[
                (b"REDIRECT\r\n", b""),
                (b"REDQ\x09\0\0\0\x02\0\0\0\x16\0\0\0", b""),
                (LINK, b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
    }

    #[test]
    fn version_and_channel_are_told() {
        let info = examples()[0].described(&Spice);
        assert_eq!((info.get("version"), info.get("channel")), (Some("2.2"), Some("main")));
    }
}
