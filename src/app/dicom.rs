//! DICOM (PS3.8): an association asked or accepted between two application entities.
//!
//! The names of the entities are told; patients' data come later and are not looked at.

use super::evidence::{Evidence, Role, weigh};
use super::line::find;
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Dicom;

/// An association with every presentation context stays well below this.
const PDU_BYTES_MAX: u32 = 0x2_0000;

impl Protocol for Dicom {
    fn name(&self) -> &'static str {
        "dicom"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        for side in [server, server.other()] {
            if let Some((called, calling)) = entities(opening.side(side)) {
                info.detail("called", called);
                info.detail("calling", calling);
                break;
            }
        }
        // Section D.3.3.2.3: the implementation's version name, item 0x55 behind the class's, 0x52.
        let said = opening.side(server);
        let items = said.get(74..).unwrap_or_default();
        if let Some(at) = find(items, "R\0")
            && let Some([b'U', 0, _, length, name @ ..]) =
                items.get(at + 3).and_then(|class| items.get(at + 4 + usize::from(*class)..))
            && let Some(name) = name.get(..usize::from(*length))
        {
            info.detail("implementation", name);
        }
        if said.is_empty() { Described::Partly } else { Described::Whole }
    }
}

fn judge(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let kind = r.u8()?;
    if !(1..=7).contains(&kind) || r.u8()? != 0 {
        return Some(No);
    }
    let length = r.u32()?;
    match (kind, length) {
        // Section 9.3.2: version 1, two names of sixteen, thirty-two zero octets, the application context.
        (1 | 2, 74..=PDU_BYTES_MAX) => {
            if r.u16()? & 1 != 1 || r.u16()? != 0 {
                return Some(No);
            }
            let names = r.take(32)?;
            // In an answer the names are only repeated, and need not be.
            if kind == 1 && !names.iter().all(|b| (0x20..0x7f).contains(b)) {
                return Some(No);
            }
            r.skip(32)?;
            let role = if kind == 1 { Role::Client } else { Role::Server };
            let (item, _, name) = (r.u8()?, r.u8()?, r.u16()?);
            Some(Proof(role).only_if(item == 0x10 && (5..=64).contains(&name) && r.take(5)? == b"1.2.8"))
        }
        // Refused or aborted: four octets.
        (3 | 7, 4) => Some(Hint(Role::Server)),
        _ => Some(No),
    }
}

fn entities(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut r = Reader::new(bytes);
    if r.u8()? != 1 {
        return None;
    }
    r.skip(9)?;
    Some((r.take(16)?.trim_ascii(), r.take(16)?.trim_ascii()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    fn associate(kind: u8) -> Vec<u8> {
        let mut body = b"\0\x01\0\0PACS            CT-SCANNER      ".to_vec();
        body.extend([0; 32]);
        body.extend(b"\x10\0\0\x151.2.840.10008.3.1.1.1");
        body.extend(b"R\0\0\x051.2.3U\0\0\x08DCMTK366");
        [&[kind, 0, 0, 0, 0, body.len() as u8], &body[..]].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("dicom", &associate(1), &associate(2), Some(Side::Resp)),
            Example::tcp("dicom", &associate(1), b"\x03\0\0\0\0\x04\0\x01\x01\x07", Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_refusal_alone_proves_nothing() {
        assert_eq!(ask(&Dicom, Transport::Tcp, b"", b"\x03\0\0\0\0\x04\0\x01\x01\x07"), Probe::Unsure);
    }

    #[test]
    fn another_version_name_or_context_is_not_dicom() {
        let other = |at: usize, with: u8| {
            let mut bytes = associate(1);
            bytes[at] = with;
            bytes
        };
        refuses(
            &Dicom,
            Transport::Tcp,
            &[
                (&other(7, 2), b""),
                (&other(12, 1), b""),
                (&other(74, 0x20), b""),
                (&other(78, b'2'), b""),
                (b"\x01\x01", b""),
                (&associate(1), b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
    }

    #[test]
    fn entities_and_software_are_told() {
        let info = examples()[0].described(&Dicom);
        let told = (info.get("called"), info.get("calling"), info.get("implementation"));
        assert_eq!(told, (Some("PACS"), Some("CT-SCANNER"), Some("DCMTK366")));
    }
}
