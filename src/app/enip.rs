//! EtherNet/IP (CIP, ODVA volume 2): a command and its answer with the same sender context, or an identity.
//!
//! A request alone proves nothing. What a device says of itself (ListIdentity) names vendor, product and revision.

use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};

pub(super) struct Enip;

const LIST_IDENTITY: u16 = 0x63;
const REGISTER_SESSION: u16 = 0x65;

impl Protocol for Enip {
    fn name(&self) -> &'static str {
        "enip"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    fn datagram_begins(&self, first: u8) -> bool {
        matches!(first, 0x04 | 0x63..=0x66 | 0x6f | 0x70)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let [(first, asked), (_, answered)] = opening.sides();
        for (side, bytes) in [(first, asked), (first.other(), answered)] {
            if opening.transport == Transport::Udp && identity(bytes).is_some() {
                return Probe::Certain(Some(side));
            }
        }
        match (header(asked), header(answered)) {
            (Some(None), _) | (_, Some(None)) => Probe::NotForUs,
            (Some(Some(asked)), Some(Some(answered))) => {
                let session = asked.command != REGISTER_SESSION || (asked.session == 0 && answered.session != 0);
                let fits = asked.command == answered.command && asked.context == answered.context && session;
                if fits && !opening.midstream {
                    Probe::Certain(Some(first.other()))
                } else if fits {
                    Probe::Certain(None)
                } else {
                    Probe::NotForUs
                }
            }
            _ => Probe::Unsure,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(identity) = info.server.and_then(|side| identity(opening.side(side))) else {
            return Described::Partly;
        };
        info.product(identity.name, Some(format!("{}.{}", identity.revision[0], identity.revision[1]).as_bytes()));
        info.detail("vendor", identity.vendor.to_string());
        Described::Whole
    }
}

struct Header {
    command: u16,
    session: u32,
    context: [u8; 8],
}

/// 24 octets, little-endian. `Some(None)`: not EtherNet/IP; `None`: too short to tell.
fn header(bytes: &[u8]) -> Option<Option<Header>> {
    let mut r = Reader::new(bytes);
    if !r.rest().first().is_none_or(|low| matches!(low, 0x04 | 0x63..=0x66 | 0x6f | 0x70)) {
        return Some(None);
    }
    let command = r.u16_le()?;
    if !matches!(command, 0x04 | LIST_IDENTITY | 0x64 | REGISTER_SESSION | 0x66 | 0x6f | 0x70) {
        return Some(None);
    }
    let length = r.u16_le()?;
    if command == REGISTER_SESSION && length != 4 || length > 0x1000 {
        return Some(None);
    }
    let session = r.u32_le()?;
    let status = r.u32_le()?;
    if !matches!(status, 0..=3 | 0x64 | 0x65 | 0x69) {
        return Some(None);
    }
    let context = r.array()?;
    if r.u32()? != 0 {
        return Some(None);
    }
    Some(Some(Header { command, session, context }))
}

struct Identity<'a> {
    vendor: u16,
    revision: [u8; 2],
    name: &'a [u8],
}

/// Octets of an identity before its name and behind it: version, socket address, what it is, the name's length; state.
const IDENTITY_OCTETS: usize = 2 + 16 + 14 + 1 + 1;

/// The answer to ListIdentity: one item of kind 0x0c, with the socket address and what the device is, whose lengths
/// fill the message exactly.
fn identity(bytes: &[u8]) -> Option<Identity<'_>> {
    if header(bytes)??.command != LIST_IDENTITY {
        return None;
    }
    let mut r = Reader::new(bytes);
    r.skip(2)?;
    let whole = usize::from(r.u16_le()?) + 24 == bytes.len();
    r.skip(20)?;
    let (items, kind, length, version) = (r.u16_le()?, r.u16_le()?, r.u16_le()?, r.u16_le()?);
    if !whole || items != 1 || kind != 0x0c || version != 1 || usize::from(length) + 30 != bytes.len() {
        return None;
    }
    r.skip(16)?;
    let vendor = r.u16_le()?;
    r.skip(4)?;
    let revision = r.array()?;
    r.skip(6)?;
    let name_bytes = usize::from(r.u8()?);
    let name = r.take(name_bytes)?;
    if usize::from(length) != IDENTITY_OCTETS + name_bytes {
        return None;
    }
    name.iter().all(|b| (0x20..0x7f).contains(b)).then_some(Identity { vendor, revision, name })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const REGISTER: &[u8] = b"\x65\0\x04\0\0\0\0\0\0\0\0\0ctx-0001\0\0\0\0\x01\0\0\0";
    const REGISTERED: &[u8] = b"\x65\0\x04\0\x09\0\0\0\0\0\0\0ctx-0001\0\0\0\0\x01\0\0\0";
    const WHO: &[u8] = b"\x63\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    fn here() -> Vec<u8> {
        let mut bytes = WHO.to_vec();
        bytes[2] = 51;
        bytes.extend(b"\x01\0\x0c\0\x2d\0\x01\0");
        bytes.extend([0; 16]);
        bytes.extend(b"\x01\0\x0e\0\x36\0\x14\x0b\0\0\0\0\0\0\x0b1756-L61/B \x03");
        bytes
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("enip", REGISTER, REGISTERED, Some(Side::Resp)),
            Example::udp("enip", WHO, &here(), Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_request_alone_proves_nothing() {
        assert_eq!(ask(&Enip, Transport::Tcp, REGISTER, b""), Probe::Unsure);
        assert_eq!(ask(&Enip, Transport::Udp, WHO, b""), Probe::Unsure);
    }

    #[test]
    fn another_command_context_or_status_is_not_enip() {
        let other = |at: usize, with: u8| {
            let mut bytes = REGISTERED.to_vec();
            bytes[at] = with;
            bytes
        };
        refuses(
            &Enip,
            Transport::Tcp,
            &[
                (REGISTER, &other(0, 0x6f)),
                (REGISTER, &other(12, b'x')),
                (REGISTER, &other(4, 0)),
                (&other(8, 0x44), b""),
                (&other(20, 1), b""),
                (b"\x05\0", b""),
            ],
        );
    }

    #[test]
    fn an_identity_alone_is_known_by_its_lengths() {
        let whole = here();
        assert_eq!(ask(&Enip, Transport::Udp, b"", &whole), Probe::Certain(Some(Side::Resp)));
        for at in [2, 24, 26, 28, 30, 62] {
            let mut near = whole.clone();
            near[at] ^= 2;
            assert_eq!(ask(&Enip, Transport::Udp, b"", &near), Probe::Unsure, "byte {at}");
        }
        assert_eq!(ask(&Enip, Transport::Udp, b"", &[whole.as_slice(), b"x"].concat()), Probe::Unsure);
    }

    #[test]
    fn a_device_says_what_it_is() {
        let info = examples()[1].described(&Enip);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("1756-L61/B"), Some("20.11")));
    }
}
