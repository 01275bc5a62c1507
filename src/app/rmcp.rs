//! RMCP (DMTF DSP0136): management controllers by ASF presence pings and by IPMI 1.5 and 2.0.
//!
//! One datagram proves it: the class header, then enterprise 4542 or a session header whose lengths and checksums fit.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{No, Proof};

pub(super) struct Rmcp;

impl Protocol for Rmcp {
    fn name(&self) -> &'static str {
        "rmcp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == 6
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [6, 0, _, 6, asf @ ..] => asf_role(asf).map_or(No, Proof),
            [6, 0, 0xff, 7, ipmi @ ..] => ipmi_role(ipmi).map_or(No, Proof),
            _ => No,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let message = opening.sides().iter().find_map(|(_, bytes)| bytes.get(3..5).filter(|m| m.len() == 2));
        info.detail(
            "message",
            match message {
                Some([7, 6]) => "ipmi-2.0",
                Some([7, _]) => "ipmi-1.5",
                _ => "asf",
            },
        );
        Described::Whole
    }
}

/// Enterprise 4542, kind, tag, a reserved octet, length of the data.
fn asf_role(asf: &[u8]) -> Option<Role> {
    let mut r = Reader::new(asf);
    if r.u32()? != 4542 {
        return None;
    }
    let kind = r.u8()?;
    r.skip(2)?;
    let length = usize::from(r.u8()?);
    match kind {
        0x80..=0x84 if length == r.rest().len() => Some(Role::Client),
        0x40..=0x44 if length == r.rest().len() => Some(Role::Server),
        _ => None,
    }
}

/// IPMI 2.0 specification, section 13.6.
fn ipmi_role(ipmi: &[u8]) -> Option<Role> {
    let mut r = Reader::new(ipmi);
    let authentication = r.u8()?;
    if authentication == 6 {
        let payload = r.u8()?;
        if payload & 0x3f == 2 {
            r.skip(6)?;
        }
        r.skip(8)?;
        let length = usize::from(r.u16_le()?);
        // With integrity, a trailer follows.
        if length == 0 || length > r.rest().len() || (payload & 0x40 == 0 && length != r.rest().len()) {
            return None;
        }
        return match payload & 0x3f {
            0x10 | 0x12 | 0x14 => Some(Role::Client),
            0x11 | 0x13 | 0x15 => Some(Role::Server),
            0 if payload & 0x80 == 0 => lan_role(r.rest()),
            // Encrypted: nothing more can be checked, so only within a session that was proved.
            _ => None,
        };
    }
    if !matches!(authentication, 0 | 1 | 2 | 4 | 5) {
        return None;
    }
    r.skip(8)?;
    if authentication != 0 {
        r.skip(16)?;
    }
    let length = usize::from(r.u8()?);
    let message = r.take(length)?;
    lan_role(message).filter(|_| r.rest().len() <= 1)
}

/// Responder, function and its unit, checksum: the three add up to nothing. An even function asks.
fn lan_role(message: &[u8]) -> Option<Role> {
    let [to, function, checksum, _, _, _, _, ..] = message else { return None };
    if to.wrapping_add(*function).wrapping_add(*checksum) != 0 {
        return None;
    }
    Some(if function >> 2 & 1 == 0 { Role::Client } else { Role::Server })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, refuses};
    use super::*;
    use crate::model::Side;

    const PING: &[u8] = b"\x06\0\xff\x06\0\0\x11\xbe\x80\0\0\0";
    const PONG: &[u8] = b"\x06\0\xff\x06\0\0\x11\xbe\x40\0\0\x10\0\0\x11\xbe\0\0\0\0\x81\0\0\0\0\0\0\0";
    /// Get channel authentication capabilities.
    const GET: &[u8] = b"\x06\0\xff\x07\0\0\0\0\0\0\0\0\0\x09\x20\x18\xc8\x81\0\x38\x0e\x04\x35";
    const OPEN: &[u8] = b"\x06\0\xff\x07\x06\x10\0\0\0\0\0\0\0\0\x04\0\0\0\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("rmcp", PING, PONG, Some(Side::Resp)),
            Example::udp("rmcp", GET, b"", Some(Side::Resp)),
            Example::udp("rmcp", OPEN, b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn another_enterprise_checksum_or_length_is_not_rmcp() {
        refuses(
            &Rmcp,
            Transport::Udp,
            &[
                (b"\x06\0\xff\x06\0\0\x11\xbf\x80\0\0\0", b""),
                (b"\x06\0\xff\x06\0\0\x11\xbe\x80\0\0\x01", b""),
                (b"\x06\0\xff\x07\0\0\0\0\0\0\0\0\0\x09\x20\x18\xc9\x81\0\x38\x0e\x04\x35", b""),
                (&OPEN[..19], b""),
                (b"\x06\0\xff\x08\0\0\x11\xbe", b""),
            ],
        );
    }

    #[test]
    fn the_kind_of_message_is_told() {
        let told: Vec<_> = examples().iter().map(|e| e.described(&Rmcp).get("message").map(str::to_owned)).collect();
        assert_eq!(told, [Some("asf".to_owned()), Some("ipmi-1.5".to_owned()), Some("ipmi-2.0".to_owned())]);
    }
}
