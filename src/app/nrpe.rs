//! NRPE, Nagios' remote plugin executor, versions 2 to 4, where it is not wrapped in TLS.
//!
//! Version 2 is proved by the checksum of its packet of fixed size; later ones by a query and its answer.

use super::evidence::{Evidence, Role, weigh};
use super::line::find;
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Nrpe;

/// Ten octets of header, 1,024 of text, two of padding.
const V2_BYTES: usize = 1036;
const TEXT_BYTES_MAX: u32 = 0x1_0000;

impl Protocol for Nrpe {
    fn name(&self) -> &'static str {
        "nrpe"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        // `_NRPE_CHECK` is answered with "NRPE v3.2.1".
        let said = opening.side(info.server.unwrap_or(Side::Resp));
        let head = said.get(..64).unwrap_or(said);
        if let Some(at) = find(head, "NRPE v")
            && let Some(version) = head.get(at + 6..)
        {
            let digits = version.split(|b| !b.is_ascii_digit() && *b != b'.').next().unwrap_or_default();
            info.product("NRPE", Some(digits).filter(|d| !d.is_empty()));
        }
        if said.len() < 16 { Described::Partly } else { Described::Whole }
    }
}

fn judge(bytes: &[u8]) -> Option<Evidence> {
    if bytes.first() != Some(&0) {
        return Some(No);
    }
    let mut r = Reader::new(bytes);
    let version = r.u16()?;
    if !(2..=4).contains(&version) {
        return Some(No);
    }
    let role = match r.u16()? {
        1 => Role::Client,
        2 => Role::Server,
        _ => return Some(No),
    };
    let checksum = r.u32()?;
    // A plugin's result: 0 to 3, whatever in a query.
    if r.u16()? > 3 && role == Role::Server {
        return Some(No);
    }
    if version == 2 {
        // Printable text from the first octet on, so that most others need not wait for the whole.
        if r.u8().is_some_and(|b| b != 0 && !(0x20..0x7f).contains(&b)) {
            return Some(No);
        }
        let mut r = Reader::new(bytes);
        let packet = r.take(V2_BYTES)?;
        let right = packet.get(8..).is_some_and(|rest| {
            let mut crc = crc32fast::Hasher::new();
            for part in [packet.get(..4).unwrap_or_default(), &[0; 4], rest] {
                crc.update(part);
            }
            crc.finalize() == checksum
        });
        return Some(Proof(role).only_if(right));
    }
    let alignment = r.u16()?;
    let length = r.u32()?;
    Some(Hint(role).only_if(alignment == 0 && (1..=TEXT_BYTES_MAX).contains(&length)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    fn v2(kind: u8, text: &[u8]) -> Vec<u8> {
        let mut packet = vec![0, 2, 0, kind, 0, 0, 0, 0, 0, 0];
        packet.extend(text);
        packet.resize(V2_BYTES, 0);
        let crc = crc32fast::hash(&packet);
        packet[4..8].copy_from_slice(&crc.to_be_bytes());
        packet
    }

    const V4: &[u8] = b"\0\x04\0\x01\x12\x34\x56\x78\0\0\0\0\0\0\0\x0c_NRPE_CHECK\0";
    const V4_ANSWER: &[u8] = b"\0\x04\0\x02\x12\x34\x56\x79\0\0\0\0\0\0\0\x0cNRPE v4.1.0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("nrpe", &v2(1, b"_NRPE_CHECK"), &v2(2, b"NRPE v2.15"), Some(Side::Resp)),
            Example::tcp("nrpe", V4, V4_ANSWER, Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_later_query_alone_proves_nothing() {
        assert_eq!(ask(&Nrpe, Transport::Tcp, V4, b""), Probe::Unsure);
    }

    #[test]
    fn a_wrong_checksum_or_kind_is_not_nrpe() {
        let mut wrong = v2(1, b"check_load");
        wrong[5] ^= 1;
        refuses(
            &Nrpe,
            Transport::Tcp,
            &[
                (&wrong, b""),
                (b"\0\x02\0\x03", b""),
                (b"\0\x05\0\x01", b""),
                (V4, V4),
                (b"\0\x04\0\x01\x12\x34\x56\x78\0\0\0\x01\0\0\0\x0c", b""),
            ],
        );
    }

    #[test]
    fn the_version_is_told() {
        let info = examples()[1].described(&Nrpe);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("NRPE"), Some("4.1.0")));
    }
}
