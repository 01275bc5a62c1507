//! The UDP transport of RDP (MS-RDPEUDP section 2.2): SYN and its answer, padded to the size of the path.
//!
//! Unmeasured, so the answer must acknowledge the number that the client began with.

use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::{Side, Transport};

pub(super) struct Rdpudp;

const SYN: u16 = 0x0001;
const ACK: u16 = 0x0004;
/// The units that both ends offer (section 3.1.5.1.1).
const PATH_BYTES: std::ops::RangeInclusive<u16> = 1132..=1232;

impl Protocol for Rdpudp {
    fn name(&self) -> &'static str {
        "rdpudp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let declines = |side: Side| !opening.side(side).is_empty() && syn(opening.side(side)).is_none();
        match (syn(opening.orig), syn(opening.resp)) {
            (Some((asked, None)), Some((_, Some(acknowledged)))) if asked == acknowledged => {
                Probe::Certain(Some(Side::Resp))
            }
            (Some((_, Some(acknowledged))), Some((asked, None))) if asked == acknowledged => {
                Probe::Certain(Some(Side::Orig))
            }
            _ if declines(Side::Orig) || declines(Side::Resp) => Probe::NotForUs,
            _ => Probe::Unsure,
        }
    }
}

/// The number that a SYN begins with, and the one it acknowledges.
fn syn(bytes: &[u8]) -> Option<(u32, Option<u32>)> {
    let mut r = Reader::new(bytes);
    let (acknowledged, _window, flags) = (r.u32()?, r.u16()?, r.u16()?);
    if flags & SYN == 0 || flags & !0x3e05 != 0 || bytes.len() < usize::from(*PATH_BYTES.start()) {
        return None;
    }
    let answers = flags & ACK != 0;
    let number = r.u32()?;
    let units = PATH_BYTES.contains(&r.u16()?) && PATH_BYTES.contains(&r.u16()?);
    (units && (answers || acknowledged == u32::MAX)).then_some((number, answers.then_some(acknowledged)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    fn padded(head: &[u8]) -> Vec<u8> {
        let mut bytes = head.to_vec();
        bytes.resize(1232, 0);
        bytes
    }

    fn asked() -> Vec<u8> {
        padded(b"\xff\xff\xff\xff\0\x40\0\x01\x12\x34\x56\x78\x04\xd0\x04\xd0")
    }

    pub(crate) fn examples() -> Vec<Example> {
        let answer = padded(b"\x12\x34\x56\x78\0\x40\0\x05\x9a\xbc\xde\xf0\x04\xd0\x04\xd0");
        vec![Example::udp("rdpudp", &asked(), &answer, Some(Side::Resp))]
    }

    #[test]
    fn a_syn_alone_or_another_number_proves_nothing() {
        assert_eq!(ask(&Rdpudp, Transport::Udp, &asked(), b""), Probe::Unsure);
        let other = padded(b"\x12\x34\x56\x79\0\x40\0\x05\x9a\xbc\xde\xf0\x04\xd0\x04\xd0");
        assert_eq!(ask(&Rdpudp, Transport::Udp, &asked(), &other), Probe::Unsure);
    }

    #[test]
    fn short_ones_and_other_flags_are_not_rdp() {
        refuses(
            &Rdpudp,
            Transport::Udp,
            &[
                (&asked()[..100], b""),
                (&padded(b"\xff\xff\xff\xff\0\x40\0\x41\x12\x34\x56\x78\x04\xd0\x04\xd0"), b""),
                (&padded(b"\xff\xff\xff\xff\0\x40\0\x01\x12\x34\x56\x78\x05\xdc\x04\xd0"), b""),
                (&asked(), b"\0"),
            ],
        );
    }
}
