//! What Alibaba Cloud's agent and its servers say to each other, as nDPI's capture shows it: a magic number and the length of
//! what follows, at both ends. The content is encrypted.
//!
//! Judged are the first eight bytes of each side; both must speak so.

use super::evidence::{Evidence, Role, opener, weigh_sides};
use super::reader::Reader;
use super::reading::begins;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Short};

pub(super) struct Alicloud;

const MAGIC: [u8; 4] = [0xce, 0xfa, 0xbe, 0xba];
/// The longest seen are some hundred bytes.
const LENGTH_MAX: u32 = 0x1_0000;

impl Protocol for Alicloud {
    fn name(&self) -> &'static str {
        "alicloud"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh_sides(opening, |side, bytes| judge(bytes, opener(side)).unwrap_or(Short))
    }
}

fn judge(bytes: &[u8], role: Role) -> Option<Evidence> {
    if !begins(bytes, &MAGIC)? {
        return Some(No);
    }
    let mut r = Reader::new(bytes);
    r.skip(MAGIC.len())?;
    let length = u32::from_le_bytes(*r.take(4)?.first_chunk()?);
    Some(Hint(role).only_if((1..=LENGTH_MAX).contains(&length)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const ASKED: &[u8] = b"\xce\xfa\xbe\xba\x80\0\0\0";
    const TOLD: &[u8] = b"\xce\xfa\xbe\xba\x30\0\0\0\x5a\x01";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("alicloud", ASKED, TOLD, Some(Side::Resp))]
    }

    #[test]
    fn one_side_alone_is_no_proof() {
        assert_eq!(ask(&Alicloud, Transport::Tcp, ASKED, b""), Probe::Unsure);
        assert_eq!(ask(&Alicloud, Transport::Tcp, b"", TOLD), Probe::Unsure);
        assert_eq!(ask(&Alicloud, Transport::Tcp, ASKED, b"\xce\xfa"), Probe::Unsure);
    }

    #[test]
    fn near_misses_are_refused() {
        refuses(
            &Alicloud,
            Transport::Tcp,
            &[
                (ASKED, b"HTTP/1.1 400 Bad Request\r\n"),
                (b"\xce\xfa\xbe\xbb\x80\0\0\0", b""),
                // A 32-bit Mach-O file and a Java class begin almost so.
                (b"\xce\xfa\xed\xfe\x07\0\0\0", b""),
                (b"\xca\xfe\xba\xbe\0\0\0\x34", b""),
                (b"\xce\xfa\xbe\xba\0\0\0\0", TOLD),
                (b"\xce\xfa\xbe\xba\0\0\0\x80", TOLD),
            ],
        );
    }
}
