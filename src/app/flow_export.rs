//! Flow records on their way to a collector: NetFlow v5 and v9 (RFC 3954), IPFIX (RFC 7011), sFlow v5.
//!
//! One way, so one datagram must prove it: counts, lengths and sets fill it exactly.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{No, Proof};

pub(super) struct FlowExport {
    name: &'static str,
    fits: fn(&[u8]) -> Option<()>,
}

impl FlowExport {
    pub(super) const NETFLOW: FlowExport = FlowExport { name: "netflow", fits: netflow };
    pub(super) const IPFIX: FlowExport = FlowExport { name: "ipfix", fits: ipfix };
    pub(super) const SFLOW: FlowExport = FlowExport { name: "sflow", fits: sflow };
}

const SETS_MAX: usize = 64;
const SAMPLES_MAX: u32 = 64;

impl Protocol for FlowExport {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == 0
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| (self.fits)(bytes).map_or(No, |()| Proof(Role::Client)))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let sent = opening.sides().into_iter().find(|(_, bytes)| (self.fits)(bytes).is_some());
        // Two octets of version, or sFlow's four.
        if let Some((_, [a, b, c, d, ..])) = sent {
            let version = if self.name == "sflow" { [*c, *d] } else { [*a, *b] };
            info.detail("version", u16::from_be_bytes(version).to_string());
        }
        Described::Whole
    }
}

fn netflow(bytes: &[u8]) -> Option<()> {
    let mut r = Reader::new(bytes);
    let (version, count) = (r.u16()?, usize::from(r.u16()?));
    match version {
        5 => ((1..=30).contains(&count) && bytes.len() == 24 + 48 * count).then_some(()),
        9 if count > 0 => {
            r.skip(16)?;
            sets(r, 0, 1)
        }
        _ => None,
    }
}

fn ipfix(bytes: &[u8]) -> Option<()> {
    let mut r = Reader::new(bytes);
    if r.u16()? != 10 || usize::from(r.u16()?) != bytes.len() {
        return None;
    }
    r.skip(12)?;
    sets(r, 2, 3)
}

/// At least one set; each a template, an options template or data of template 256 and up, to the last octet.
fn sets(mut r: Reader<'_>, template: u16, options: u16) -> Option<()> {
    for _ in 0..SETS_MAX {
        let (id, length) = (r.u16()?, usize::from(r.u16()?));
        let body = r.take(length.checked_sub(4)?)?;
        if id == template && !templates(body) || id != template && id != options && id < 256 || body.is_empty() {
            return None;
        }
        if r.is_empty() {
            return Some(());
        }
    }
    Some(())
}

/// The first template: its number, then fields of four octets that are there.
fn templates(body: &[u8]) -> bool {
    let mut r = Reader::new(body);
    let (Some(id), Some(fields)) = (r.u16(), r.u16()) else { return false };
    // A withdrawal has no fields.
    id >= 256 && r.rest().len() >= 4 * usize::from(fields)
}

/// Version 5, the agent's address, sub-agent, sequence, uptime, then samples with their lengths.
fn sflow(bytes: &[u8]) -> Option<()> {
    let mut r = Reader::new(bytes);
    if r.u32()? != 5 {
        return None;
    }
    match r.u32()? {
        1 => r.skip(4)?,
        2 => r.skip(16)?,
        _ => return None,
    }
    r.skip(12)?;
    let samples = r.u32()?;
    if !(1..=SAMPLES_MAX).contains(&samples) {
        return None;
    }
    for _ in 0..samples {
        // The enterprise, 0 for the standard's own four kinds, then the kind.
        let (kind, length) = (r.u32()?, r.u32()?);
        if kind >> 12 == 0 && !(1..=5).contains(&kind) || length & 3 != 0 {
            return None;
        }
        r.skip(usize::try_from(length).ok()?)?;
    }
    r.is_empty().then_some(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, refuses};
    use super::*;
    use crate::model::Side;

    fn v5(count: u8) -> Vec<u8> {
        let mut bytes = vec![0, 5, 0, count];
        bytes.resize(24 + 48 * usize::from(count), 0x11);
        bytes
    }

    const V9: &[u8] =
        b"\0\x09\0\x01\0\0\0\x01\x65\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x10\x01\0\0\x02\0\x08\0\x04\0\x0c\0\x04";
    const IPFIX: &[u8] = b"\0\x0a\0\x1c\x65\0\0\0\0\0\0\x01\0\0\0\0\x01\0\0\x0c\x0a\0\0\x01\x0a\0\0\x02";
    const SFLOW: &[u8] =
        b"\0\0\0\x05\0\0\0\x01\x0a\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0\x04\0\0\0\x07";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("netflow", &v5(2), b"", Some(Side::Resp)),
            Example::udp("netflow", V9, b"", Some(Side::Resp)),
            Example::udp("ipfix", IPFIX, b"", Some(Side::Resp)),
            Example::udp("sflow", SFLOW, b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn lengths_and_sets_that_do_not_fit_are_no_flow_export() {
        let mut set = V9.to_vec();
        set[21] = 9;
        let mut kind = SFLOW.to_vec();
        kind[31] = 9;
        let near: &[(&[u8], &[u8])] = &[
            (&v5(2)[..119], b""),
            (b"\0\x05\0\0", b""),
            (&V9[..35], b""),
            (&set, b""),
            (&IPFIX[..27], b""),
            (&SFLOW[..39], b""),
            (&kind, b""),
            (b"\0\x07\0\x01", b""),
        ];
        for protocol in [&FlowExport::NETFLOW, &FlowExport::IPFIX, &FlowExport::SFLOW] {
            refuses(protocol, Transport::Udp, near);
        }
    }

    #[test]
    fn the_version_is_told() {
        let told: Vec<_> = [(0, &FlowExport::NETFLOW), (1, &FlowExport::NETFLOW), (3, &FlowExport::SFLOW)]
            .iter()
            .map(|(at, protocol)| examples()[*at].described(*protocol).get("version").unwrap_or_default().to_owned())
            .collect();
        assert_eq!(told, ["5", "9", "5"]);
    }
}
