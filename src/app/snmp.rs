//! SNMP v1, v2c (RFC 1901, RFC 3416) and v3 (RFC 3412).
//!
//! One datagram is read, down to the kind of its PDU. The community and the user name are secrets and not kept.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{No, Proof};

pub(super) struct Snmp;

impl Protocol for Snmp {
    fn name(&self) -> &'static str {
        "snmp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == SEQUENCE
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [0x30, ..] => message(bytes).map_or(No, |(role, _)| Proof(role)),
            _ => No,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let spoken = opening.sides().into_iter().find_map(|(_, bytes)| message(bytes));
        if let Some((_, version)) = spoken {
            info.detail("snmp_version", version);
        }
        let Some(server) = info.server else { return Described::Whole };
        if let Some(description) = system_description(opening.side(server)) {
            info.detail("sys_descr", description);
        }
        // The description comes with the answer.
        if opening.side(server).is_empty() { Described::Partly } else { Described::Whole }
    }
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;

/// Who sent it, and which version it speaks.
fn message(bytes: &[u8]) -> Option<(Role, &'static str)> {
    let mut outer = Reader::new(bytes);
    let mut r = Reader::new(value(&mut outer, SEQUENCE)?);
    if !outer.is_empty() {
        return None;
    }
    match value(&mut r, INTEGER)? {
        [0] => community(&mut r).map(|role| (role, "1")),
        [1] => community(&mut r).map(|role| (role, "2c")),
        [3] => version3(&mut r).map(|role| (role, "3")),
        _ => None,
    }
}

fn community(r: &mut Reader<'_>) -> Option<Role> {
    value(r, OCTETS)?;
    pdu(r)
}

/// Message id, size, flags, security model; security parameters; a scoped PDU, plain or encrypted.
fn version3(r: &mut Reader<'_>) -> Option<Role> {
    let mut global = Reader::new(value(r, SEQUENCE)?);
    let (_id, _size) = (value(&mut global, INTEGER)?, value(&mut global, INTEGER)?);
    let [flags] = value(&mut global, OCTETS)? else { return None };
    value(&mut global, INTEGER)?;
    value(r, OCTETS)?;
    let role = if flags & 2 != 0 {
        value(r, OCTETS)?;
        Role::Peer
    } else {
        let mut scoped = Reader::new(value(r, SEQUENCE)?);
        value(&mut scoped, OCTETS)?;
        value(&mut scoped, OCTETS)?;
        pdu(&mut scoped)?
    };
    // "Reportable" is set on what wants an answer, and only there (RFC 3412 section 6.4).
    Some(if flags & 4 != 0 { Role::Client } else { role })
}

fn pdu(r: &mut Reader<'_>) -> Option<Role> {
    let kind = *r.rest().first()?;
    let mut body = Reader::new(value(r, kind)?);
    if !r.is_empty() {
        return None;
    }
    let role = match kind {
        // Get, get-next, set, get-bulk, inform; and traps, whose receiver is who serves.
        0xa0 | 0xa1 | 0xa3 | 0xa5 | 0xa6 | 0xa7 => Role::Client,
        0xa4 => {
            // A v1 trap names its enterprise first.
            value(&mut body, 0x06)?;
            return Some(Role::Client);
        }
        0xa2 | 0xa8 => Role::Server,
        _ => return None,
    };
    // Request id, error status, error index, bindings.
    let numbers = (value(&mut body, INTEGER)?, value(&mut body, INTEGER)?, value(&mut body, INTEGER)?);
    (numbers.0.len() <= 5 && numbers.1.len() <= 4 && value(&mut body, SEQUENCE).is_some()).then_some(role)
}

/// One BER value with this tag and a definite length of at most two bytes: no datagram is longer.
fn value<'a>(r: &mut Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    if r.u8()? != tag {
        return None;
    }
    let length = match r.u8()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(r.u8()?),
        0x82 => usize::from(r.u16()?),
        // Some agents always write four.
        0x83 => usize::try_from(r.u24()?).ok()?,
        0x84 => usize::try_from(r.u32()?).ok()?,
        _ => return None,
    };
    r.take(length)
}

/// The value of sysDescr.0 (RFC 3418) in an answer.
fn system_description(bytes: &[u8]) -> Option<&[u8]> {
    const SYS_DESCR: &[u8] = &[0x06, 8, 0x2b, 6, 1, 2, 1, 1, 1, 0];
    let at = bytes.windows(SYS_DESCR.len()).position(|w| w == SYS_DESCR)?;
    value(&mut Reader::new(bytes.get(at + SYS_DESCR.len()..)?), OCTETS)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    fn ber(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        [&[tag, body.len() as u8][..], &body].concat()
    }

    fn v2(kind: u8, text: &[u8]) -> Vec<u8> {
        let oid = [0x06, 8, 0x2b, 6, 1, 2, 1, 1, 1, 0];
        let binding = ber(0x30, &[&ber(0x30, &[&oid, text])]);
        let pdu = ber(kind, &[&[2, 1, 7, 2, 1, 0, 2, 1, 0], &binding]);
        ber(0x30, &[&[2, 1, 1], &ber(4, &[b"s3cret"]), &pdu])
    }

    fn v3(flags: u8) -> Vec<u8> {
        let global = ber(0x30, &[&[2, 1, 9, 2, 2, 5, 0xdc, 4, 1, flags, 2, 1, 3]]);
        ber(0x30, &[&[2, 1, 3], &global, &ber(4, &[&[0x30, 0]]), &ber(4, &[&[0xee; 40]])])
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("snmp", &v2(0xa1, &[5, 0]), &v2(0xa2, &ber(4, &[b"Linux sw1"])), Some(Side::Resp)),
            Example::udp("snmp", &v2(0xa2, &[5, 0]), b"", Some(Side::Orig)),
            Example::udp("snmp", &v3(7), b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_description_is_told_and_the_community_is_not() {
        let info = examples()[0].described(&Snmp);
        assert_eq!(info.get("snmp_version"), Some("2c"));
        assert_eq!(info.get("sys_descr"), Some("Linux sw1"));
        assert!(!format!("{info:?}").contains("s3cret"));
    }

    #[test]
    fn another_ber_sequence_is_not_snmp() {
        let ldap = ber(0x30, &[&[2, 1, 1], &ber(0x60, &[&[2, 1, 3, 4, 0, 0x80, 0]])]);
        assert_eq!(ask(&Snmp, Transport::Udp, &ldap, b""), Probe::NotForUs);
        let unknown_pdu = v2(0xa9, &[5, 0]);
        assert_eq!(ask(&Snmp, Transport::Udp, &unknown_pdu, b""), Probe::NotForUs);
    }

    #[test]
    fn a_byte_behind_the_message_is_not_snmp() {
        let longer = [v2(0xa0, &[5, 0]), vec![0]].concat();
        assert_eq!(ask(&Snmp, Transport::Udp, &longer, b""), Probe::NotForUs);
    }
}
