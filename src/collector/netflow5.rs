//! NetFlow version 5: a header of 24 bytes and records of 48, IPv4 only.
//! Bound: [`RECORDS_MAX`] records a datagram; one that claims more than it holds is given up whole.

use std::net::IpAddr;

use super::element::plausible;
use super::half::{Counts, Half};
use super::reader::Reader;

const RECORD_BYTES: usize = 48;
/// So the format says.
const RECORDS_MAX: usize = 30;
const MS_NS: i64 = 1_000_000;

/// Reads every record of a datagram, its version already taken. `None`: it contradicts itself.
pub(super) fn read(bytes: &[u8], each: &mut dyn FnMut(Half)) -> Option<()> {
    let mut reader = Reader::new(bytes);
    let count = reader.be16()?;
    let uptime_ms = reader.be32()?;
    reader.skip(14)?;
    // Two bits of mode, then the interval.
    let sampling = u32::from(reader.be16()? & 0x3fff).max(1);
    let held = reader.rest().len() / RECORD_BYTES;
    // More than there are is a datagram that lies; fewer is one with padding.
    if count == 0 || usize::from(count) > held.min(RECORDS_MAX) {
        return None;
    }
    for _ in 0..count {
        let record = reader.array::<RECORD_BYTES>()?;
        each(half(&record, uptime_ms, sampling)?);
    }
    Some(())
}

fn half(record: &[u8; RECORD_BYTES], uptime_ms: u32, sampling: u32) -> Option<Half> {
    let mut reader = Reader::new(record);
    let (src, dst) = (IpAddr::from(reader.array::<4>()?), IpAddr::from(reader.array::<4>()?));
    reader.skip(8)?;
    let (packets, bytes) = (reader.be32()?, reader.be32()?);
    let (first, last) = (reader.be32()?, reader.be32()?);
    let (src_port, dst_port) = (reader.be16()?, reader.be16()?);
    let [_, flags, protocol] = reader.array()?;
    let counts = Counts { packets: Some(packets.into()), bytes: bytes.into(), flags: Some(flags) };
    let (first_ago, last_ago) = (plausible(ago(uptime_ms, first)), plausible(ago(uptime_ms, last)));
    let first_clock = Some(i64::from(first) * MS_NS);
    let half = Half { src, dst, src_port, dst_port, protocol, counts, sampling, ..Half::default() };
    Some(Half { first_clock, first_ago, last_ago, ..half })
}

/// Nanoseconds from a reading of the exporter's millisecond clock to now; the clock wraps after 49 days.
pub(super) fn ago(uptime_ms: u32, then_ms: u32) -> i64 {
    i64::from(uptime_ms.wrapping_sub(then_ms) as i32) * MS_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_that_began_before_the_clock_wrapped_is_not_in_the_future() {
        assert_eq!(ago(5, u32::MAX - 4), 10 * MS_NS);
        assert_eq!(ago(1_000, 400), 600 * MS_NS);
    }
}
