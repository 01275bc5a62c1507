//! IEEE 802.11 data frames, as monitor captures and CAPWAP carry them: only far enough to reach LLC.
//! Encrypted, fragmented and aggregated frames are not opened.

use super::discard::Discard;
use super::reader::Reader;
use crate::model::Mac;

pub(super) struct DataFrame<'a> {
    pub src: Mac,
    pub dst: Mac,
    /// From the LLC header on.
    pub payload: &'a [u8],
}

/// IEEE 802.11-2020 9.3.2.1.
pub(super) fn data_frame(mut reader: Reader<'_>) -> Result<DataFrame<'_>, Discard> {
    let [kind, flags, _, _] = reader.array().ok_or(Discard::Short)?;
    // Cisco access points swap the octets of frame control and sequence control within CAPWAP (RFC 5416 does not
    // say so). The version in the low bits is always 0, and swapped it is "to or from the distribution system".
    let swapped = kind & 0x03 != 0;
    let (kind, flags) = if swapped { (flags, kind) } else { (kind, flags) };
    let mut address = || reader.array::<6>().map(Mac).ok_or(Discard::Short);
    let (first, second, third) = (address()?, address()?, address()?);
    let [sequence0, sequence1] = reader.array().ok_or(Discard::Short)?;
    let (to_ds, from_ds) = (flags & 1 != 0, flags & 2 != 0);
    let fourth = if to_ds && from_ds { Some(reader.array().map(Mac).ok_or(Discard::Short)?) } else { None };
    // Only data frames with a body, in clear, whole.
    let fragment_number = if swapped { sequence1 } else { sequence0 } & 0x0f;
    let fragmented = flags & 0x04 != 0 || fragment_number != 0;
    if kind & 0x0f != 0x08 || kind & 0x40 != 0 || flags & 0x40 != 0 || fragmented {
        return Err(Discard::NotIp);
    }
    if kind & 0x80 != 0 {
        // Quality of service control; bit 7 marks an aggregate of several frames.
        let [low, _] = reader.array().ok_or(Discard::Short)?;
        if low & 0x80 != 0 {
            return Err(Discard::NotIp);
        }
    }
    let (dst, src) = match (to_ds, from_ds) {
        (false, false) => (first, second),
        (false, true) => (first, third),
        (true, false) => (third, second),
        (true, true) => (third, fourth.unwrap_or(second)),
    };
    Ok(DataFrame { src, dst, payload: reader.rest() })
}
