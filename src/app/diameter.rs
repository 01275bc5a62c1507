//! Diameter (RFC 6733): a header whose command and flags fit, and a first attribute.
//!
//! Names of users are not kept; product and firmware are those of the capabilities exchange.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{No, Proof, Short};

pub(super) struct Diameter;

const HEADER_BYTES: u32 = 20;
const MESSAGE_BYTES_MAX: u32 = 0xffff;
const ATTRIBUTES_MAX: usize = 32;
const ORIGIN_HOST: u32 = 264;
const ORIGIN_REALM: u32 = 296;
const PRODUCT_NAME: u32 = 269;
const FIRMWARE_REVISION: u32 = 267;

impl Protocol for Diameter {
    fn name(&self) -> &'static str {
        "diameter"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Sctp)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let mut r = Reader::new(opening.side(info.server.unwrap_or(Side::Resp)));
        if r.skip(20).is_none() {
            return Described::Partly;
        }
        let (mut product, mut version) = (None, None);
        for _ in 0..ATTRIBUTES_MAX {
            let Some((code, value)) = attribute(&mut r) else { break };
            match (code, value) {
                (ORIGIN_HOST, host) => info.detail("origin_host", host),
                (ORIGIN_REALM, realm) => info.detail("origin_realm", realm),
                (PRODUCT_NAME, name) => product = Some(name),
                (FIRMWARE_REVISION, [a, b, c, d]) => version = Some(u32::from_be_bytes([*a, *b, *c, *d]).to_string()),
                _ => {}
            }
        }
        if let Some(product) = product {
            info.product(product, version.as_ref().map(String::as_bytes));
        }
        Described::Whole
    }
}

fn attribute<'a>(r: &mut Reader<'a>) -> Option<(u32, &'a [u8])> {
    let (code, flags, length) = (r.u32()?, r.u8()?, usize::try_from(r.u24()?).ok()?);
    let header = if flags & 0x80 != 0 { 12 } else { 8 };
    r.skip(header - 8)?;
    let value = r.take(length.checked_sub(header)?)?;
    r.skip(length.wrapping_neg() & 3)?;
    Some((code, value))
}

/// Section 3: version 1, length in fours, flags R P E T and four zero bits, command, application, two identifiers.
fn judge(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    if r.u8()? != 1 {
        return Some(No);
    }
    let length = r.u24()?;
    if length & 3 != 0 || !(HEADER_BYTES + 8..=MESSAGE_BYTES_MAX).contains(&length) {
        return Some(No);
    }
    let flags = r.u8()?;
    // The base protocol's commands, and those of the 3GPP and credit control applications.
    let command = r.u24()?;
    if flags & 0x0f != 0
        || !matches!(command, 257 | 258 | 265 | 268 | 271 | 272 | 274 | 275 | 280 | 282 | 283..=288 | 300..=324 | 8_388_608..=8_388_740)
    {
        return Some(No);
    }
    r.skip(12)?;
    // The first attribute: flags V M P, and a length within the message.
    let (code, flags, size) = (r.u32()?, r.u8()?, r.u24()?);
    let fits = code != 0 && code < 0x1_0000 && flags & 0x1f == 0 && (8..=length - HEADER_BYTES).contains(&size);
    let role = if bytes.get(4)? & 0x80 != 0 { Role::Client } else { Role::Server };
    Some(Proof(role).only_if(fits))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    fn capabilities(request: bool) -> Vec<u8> {
        let mut attributes = b"\0\0\x01\x08\x40\0\0\x13hss.example\0".to_vec();
        attributes.extend(b"\0\0\x01\x0d\0\0\0\x13freeDiamete\0");
        let mut message = vec![1, 0, 0, 20 + attributes.len() as u8, if request { 0x80 } else { 0 }, 0, 1, 1];
        message.extend(b"\0\0\0\0\0\0\0\x01\0\0\0\x02");
        message.extend(attributes);
        message
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("diameter", &capabilities(true), &capabilities(false), Some(Side::Resp)),
            Example::new("diameter", Transport::Sctp, &capabilities(true), b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn another_version_flag_or_command_is_not_diameter() {
        let other = |at: usize, with: u8| {
            let mut bytes = capabilities(true);
            bytes[at] = with;
            bytes
        };
        refuses(
            &Diameter,
            Transport::Tcp,
            &[
                (&other(0, 2), b""),
                (&other(3, 61), b""),
                (&other(4, 0x81), b""),
                (&other(7, 99), b""),
                (&other(24, 0x01), b""),
                (&capabilities(true), b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
        assert_eq!(ask(&Diameter, Transport::Tcp, &capabilities(true)[..20], b""), Probe::Unsure);
    }

    #[test]
    fn the_peer_says_who_and_what_it_is() {
        let info = examples()[0].described(&Diameter);
        assert_eq!((info.get("origin_host"), info.product.as_deref()), (Some("hss.example"), Some("freeDiamete")));
    }
}
