//! DNP3 (IEEE 1815): link frames, proved by their header's checksum.
//!
//! The first frame of each side is judged.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{No, Proof, Short};

pub(super) struct Dnp3;

impl Protocol for Dnp3 {
    fn name(&self) -> &'static str {
        "dnp3"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == 0x05
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [0x05, 0x64, 5..=255, control, _, _, _, _, _, _, ..] => {
                // DIR: set by the master.
                let role = if control & 0x80 != 0 { Role::Client } else { Role::Server };
                Proof(role).only_if(header(bytes).is_some())
            }
            [0x05, 0x64, 5..=255, ..] | [0x05, 0x64] | [0x05] if bytes.len() < 10 => Short,
            _ => No,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        if let Some((to, from)) = header(opening.side(server)) {
            info.detail("outstation", from.to_string());
            info.detail("master", to.to_string());
        } else if let Some((to, from)) = header(opening.side(server.other())) {
            info.detail("outstation", to.to_string());
            info.detail("master", from.to_string());
        }
        Described::Whole
    }
}

/// Destination and source, of a header whose checksum is right.
fn header(bytes: &[u8]) -> Option<(u16, u16)> {
    let mut r = Reader::new(bytes);
    let header = r.take(8)?;
    let checksum = r.u16_le()?;
    let mut r = Reader::new(header);
    r.skip(4)?;
    let ends = (r.u16_le()?, r.u16_le()?);
    (crc(header) == checksum).then_some(ends)
}

/// CRC-16/DNP: 0x3D65 reflected, inverted at the end (IEEE 1815 section 9).
fn crc(bytes: &[u8]) -> u16 {
    let step = |crc: u16| if crc & 1 != 0 { crc >> 1 ^ 0xa6bc } else { crc >> 1 };
    !bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ u16::from(*byte), |crc, _| step(crc)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    fn frame(control: u8, to: u8, from: u8) -> Vec<u8> {
        let mut frame = vec![0x05, 0x64, 0x05, control, to, 0, from, 0];
        frame.extend(crc(&frame).to_le_bytes());
        frame
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("dnp3", &frame(0xc9, 10, 1), &frame(0x0b, 1, 10), Some(Side::Resp)),
            Example::udp("dnp3", &frame(0xc0, 10, 1), b"", Some(Side::Resp)),
            Example::tcp("dnp3", &frame(0x44, 1, 10), b"", Some(Side::Orig)),
        ]
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        // The catalogue's check value of CRC-16/DNP.
        assert_eq!(crc(b"123456789"), 0xea82);
    }

    #[test]
    fn a_wrong_checksum_or_start_is_not_dnp3() {
        let mut wrong = frame(0xc9, 10, 1);
        wrong[9] ^= 1;
        refuses(&Dnp3, Transport::Tcp, &[(&wrong, b""), (b"\x05\x65", b""), (&frame(0xc9, 10, 1), b"SSH-2.0-x\r\n")]);
        assert_eq!(ask(&Dnp3, Transport::Tcp, b"\x05\x64\x05\xc9", b""), Probe::Unsure);
        assert_eq!(ask(&Dnp3, Transport::Udp, &wrong, b""), Probe::NotForUs);
    }

    #[test]
    fn master_and_outstation_are_told() {
        let info = examples()[0].described(&Dnp3);
        assert_eq!((info.get("outstation"), info.get("master")), (Some("10"), Some("1")));
    }
}
