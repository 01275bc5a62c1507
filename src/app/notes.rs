//! NRPC, the protocol of Notes and Domino: the mark that nDPI and others describe in each side's first message.
//!
//! Unmeasured, so both sides must be seen. The server's name is told where its answer has it.

use super::evidence::{Evidence, Role, weigh};
use super::line::find;
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Nrpc;

impl Protocol for Nrpc {
    fn name(&self) -> &'static str {
        "lotusnotes"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let said = opening.side(info.server.unwrap_or(Side::Resp));
        // `CN=mail-1/O=Lab`.
        if let Some(at) = find(said, "CN=")
            && let Some(name) = said.get(at..)
        {
            info.detail("server_name", name.split(|b| !(0x20..0x7f).contains(b)).next().unwrap_or_default());
        }
        Described::Whole
    }
}

/// A length, little-endian, of what follows it; four octets; 2 asked or 3 answered; then the mark.
fn judge(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let (length, high) = (r.u16_le()?, r.u16_le()?);
    if length < 16 || high != 0 {
        return Some(No);
    }
    r.skip(4)?;
    let kind = r.u32_le()? & 0x00ff_ffff;
    let role = match kind {
        2 => Role::Client,
        3 => Role::Server,
        _ => return Some(No),
    };
    Some(Hint(role).only_if(r.u16()? == 0x020f))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const ASK: &[u8] = b"\x3a\0\0\0\x2f\0\0\0\x02\0\0\x40\x02\x0f\0\x01\0\x3d\x05\0";
    const ANSWER: &[u8] = b"\x7a\0\0\0\x2f\0\0\0\x03\0\0\x40\x02\x0f\0\x05\0\x3d\x05\0CN=mail-1/O=Lab\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("lotusnotes", ASK, ANSWER, Some(Side::Resp))]
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        assert_eq!(ask(&Nrpc, Transport::Tcp, ASK, b""), Probe::Unsure);
    }

    #[test]
    fn another_kind_or_mark_is_not_nrpc() {
        refuses(
            &Nrpc,
            Transport::Tcp,
            &[
                (b"\x3a\0\0\0\x2f\0\0\0\x04\0\0\x40\x02\x0f", b""),
                (b"\x3a\0\0\0\x2f\0\0\0\x02\0\0\x40\x02\x0e", b""),
                (b"\x3a\0\x01\0", b""),
                (ASK, ASK),
            ],
        );
    }

    #[test]
    fn the_servers_name_is_told() {
        assert_eq!(examples()[0].described(&Nrpc).get("server_name"), Some("CN=mail-1/O=Lab"));
    }
}
