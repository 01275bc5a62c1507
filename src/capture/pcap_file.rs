//! The classic capture format (draft-ietf-opsawg-pcap): one link type, one clock resolution, records end to end.
//! A record of more than its file's snap length, or 256 KiB, is counted and discarded. Records carry no mark, so
//! after a broken one the next is searched for: two plausible headers in a row, within 512 KiB.

use crate::model::{LinkType, Timestamp};

use super::CaptureCounters;
use super::batch::FRAME_BYTES_MAX;
use super::fields::Fields;
use super::file::{Fault, Head};
use super::input::Input;

const FILE_HEADER_BYTES: usize = 24;
/// Far enough to see a whole record of the longest kind and the header after it.
const SEARCH_BYTES: usize = 2 * FRAME_BYTES_MAX;
/// A searched-for record lies this near in time to the last good one; files that jump further are not resumed.
const SEARCH_SECONDS_MAX: u32 = 7 * 86_400;
/// A record that its file's own snap length allows but that is beyond ours is stepped over, up to libpcap's
/// largest limit of any link type (USB and D-Bus captures).
const STEP_OVER_BYTES_MAX: u32 = 128 << 20;

pub(super) struct PcapFile {
    big_endian: bool,
    /// Nanoseconds in one unit of the fraction field: 1 or 1,000.
    fraction_ns: u32,
    record_header: usize,
    /// As declared; 0 is unlimited.
    snaplen: u32,
    link: LinkType,
    lengths: Lengths,
    last_seconds: Option<u32>,
}

/// Which of the two lengths comes first. libpcap before 2.3 of the format wrote the wire length first, and 2.3
/// either way.
#[derive(Clone, Copy)]
enum Lengths {
    CapturedFirst,
    WireFirst,
    SmallerIsCaptured,
}

/// One record's header.
struct Record {
    seconds: u32,
    fraction: u32,
    captured: u32,
    wire: u32,
}

impl PcapFile {
    /// Reads the file header; `None` where the magic is another format's.
    pub fn open(input: &mut Input) -> Result<Option<Self>, Fault> {
        input.need(FILE_HEADER_BYTES)?;
        let Some(&magic) = input.bytes().first_chunk::<4>() else { return Ok(None) };
        let (big_endian, magic) = match u32::from_le_bytes(magic) {
            swapped @ (0xd4c3_b2a1 | 0x4d3c_b2a1 | 0x34cd_b2a1) => (true, swapped.swap_bytes()),
            other => (false, other),
        };
        let (fraction_ns, record_header) = match magic {
            0xa1b2_c3d4 => (1_000, 16),
            0xa1b2_3c4d => (1, 16),
            // Kuznetzov's patched libpcap: interface index, protocol and packet type follow each record header.
            0xa1b2_cd34 => (1_000, 24),
            _ => return Ok(None),
        };
        let mut fields = Fields::new(input.bytes(), big_endian);
        let header = (|| {
            fields.take(4)?;
            let version = (fields.u16()?, fields.u16()?);
            fields.take(8)?; // time zone and accuracy: always written as 0
            Some((version, fields.u32()?, fields.u32()?))
        })();
        let Some((version, snaplen, network)) = header else { return Err(Fault::Cut) };
        input.consume(FILE_HEADER_BYTES);
        let lengths = match version {
            (2, 0..=2) => Lengths::WireFirst,
            (2, 3) => Lengths::SmallerIsCaptured,
            _ => Lengths::CapturedFirst,
        };
        let link = link_of_file(network);
        Ok(Some(PcapFile { big_endian, fraction_ns, record_header, snaplen, link, lengths, last_seconds: None }))
    }

    /// The next record, wholly in the window and not consumed.
    pub fn next(&mut self, input: &mut Input, counters: &mut CaptureCounters) -> Result<Option<Head>, Fault> {
        loop {
            if !input.need(self.record_header)? {
                return if input.bytes().is_empty() { Ok(None) } else { Err(Fault::Cut) };
            }
            let Some(record) = self.record(input.bytes()) else { return Err(Fault::Cut) };
            if record.captured > self.longest() {
                counters.oversize += 1;
                if !self.resume(&record, input, counters)? {
                    return Ok(None);
                }
                continue;
            }
            let len = record.captured as usize;
            if !input.need(self.record_header + len)? {
                return Err(Fault::Cut);
            }
            self.last_seconds = Some(record.seconds);
            let time =
                Timestamp::from_parts(record.seconds.into(), u64::from(record.fraction) * u64::from(self.fraction_ns));
            return Ok(Some(Head {
                time,
                start: self.record_header,
                len,
                wire_len: record.wire,
                link: self.link,
                interface: 0,
                record_len: (self.record_header + len) as u64,
            }));
        }
    }

    /// Is the next record (or its end) in the window, so that [`PcapFile::next`] will not wait?
    pub fn is_buffered(&self, window: &[u8]) -> bool {
        self.record(window)
            .is_some_and(|r| r.captured <= self.longest() && window.len() >= self.record_header + r.captured as usize)
    }

    fn record(&self, bytes: &[u8]) -> Option<Record> {
        let mut fields = Fields::new(bytes.get(..self.record_header)?, self.big_endian);
        let (seconds, fraction, first, second) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        let (captured, wire) = match self.lengths {
            Lengths::CapturedFirst => (first, second),
            Lengths::WireFirst => (second, first),
            Lengths::SmallerIsCaptured => (first.min(second), first.max(second)),
        };
        Some(Record { seconds, fraction, captured, wire })
    }

    /// The longest record taken as one.
    fn longest(&self) -> u32 {
        self.declared().min(FRAME_BYTES_MAX as u32)
    }

    /// The snap length as the file has it.
    fn declared(&self) -> u32 {
        if self.snaplen == 0 { u32::MAX } else { self.snaplen }
    }

    /// Steps over a record that is too long: to where it says the next one is, if one is there, else to the nearest
    /// place where two records follow one another. False where the file ends before either.
    fn resume(&self, broken: &Record, input: &mut Input, counters: &mut CaptureCounters) -> Result<bool, Fault> {
        let complete = input.need(SEARCH_BYTES)?;
        let window = input.bytes();
        let claimed = self.record_header.saturating_add(broken.captured as usize);
        let found = if self.starts_record(window, claimed) {
            Some(claimed)
        } else {
            (self.record_header..window.len().min(FRAME_BYTES_MAX)).find(|&at| self.starts_record(window, at))
        };
        if let Some(at) = found {
            counters.resync_bytes += at as u64;
            input.consume(at);
            return Ok(true);
        }
        if complete && broken.captured <= self.declared().min(STEP_OVER_BYTES_MAX) {
            counters.resync_bytes += claimed as u64;
            return if input.skip(claimed as u64)? { Ok(true) } else { Err(Fault::Cut) };
        }
        if complete {
            return Err(Fault::Lost);
        }
        counters.resync_bytes += window.len() as u64;
        Ok(false)
    }

    /// Does a record begin at `at`, and another one (or the end of the file) right after it?
    fn starts_record(&self, window: &[u8], at: usize) -> bool {
        let Some(rest) = window.get(at..) else { return false };
        let Some(record) = self.record(rest).filter(|r| self.is_plausible(r)) else { return false };
        let Some(after) = rest.get(self.record_header + record.captured as usize..) else { return false };
        after.is_empty() || self.record(after).is_some_and(|next| self.is_plausible(&next))
    }

    fn is_plausible(&self, record: &Record) -> bool {
        (1..=self.longest()).contains(&record.captured)
            && (record.captured..=FRAME_BYTES_MAX as u32).contains(&record.wire)
            && u64::from(record.fraction) * u64::from(self.fraction_ns) < 1_000_000_000
            && self.last_seconds.is_none_or(|last| last.abs_diff(record.seconds) <= SEARCH_SECONDS_MAX)
    }
}

/// The link type in a file header: the low 16 bits; above them lie the length of the frame check sequence and
/// reserved bits. Some systems wrote their own number for raw IP.
fn link_of_file(network: u32) -> LinkType {
    match network as u16 {
        12 | 14 => LinkType::RAW,
        other => LinkType(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::file::tests::{frames_of, input_of};

    fn file(magic: u32, big: bool, snaplen: u32, network: u32, records: &[(u32, u32, u32, u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let word = |n: u32, out: &mut Vec<u8>| {
            out.extend(if big { n.to_be_bytes() } else { n.to_le_bytes() });
        };
        word(magic, &mut out);
        out.extend(if big { [0, 2, 0, 4] } else { [2, 0, 4, 0] });
        [0, 0, snaplen, network].iter().for_each(|n| word(*n, &mut out));
        for (seconds, fraction, captured, wire, bytes) in records {
            [seconds, fraction, captured, wire].iter().for_each(|n| word(**n, &mut out));
            if magic == 0xa1b2_cd34 {
                out.extend([0; 8]);
            }
            out.extend_from_slice(bytes);
        }
        out
    }

    #[test]
    fn every_magic_in_both_byte_orders_gives_time_and_bytes() {
        for big in [false, true] {
            for (magic, ns) in [(0xa1b2_c3d4, 7_000), (0xa1b2_3c4d, 7), (0xa1b2_cd34, 7_000)] {
                let bytes = file(magic, big, 0, 1, &[(5, 7, 3, 9, b"abc"), (6, 0, 2, 2, b"de")]);
                let (frames, counters, fault) = frames_of(bytes);
                assert_eq!(fault, None);
                assert_eq!(counters, CaptureCounters::default());
                assert_eq!(
                    frames,
                    [
                        (5_000_000_000 + ns, 9, LinkType::ETHERNET, 0, b"abc".to_vec()),
                        (6_000_000_000, 2, LinkType::ETHERNET, 0, b"de".to_vec()),
                    ]
                );
            }
        }
    }

    #[test]
    fn check_sequence_bits_are_not_part_of_the_link_type() {
        let (frames, ..) = frames_of(file(0xa1b2_c3d4, false, 0, 0x3400_0065, &[(1, 0, 1, 1, b"x")]));
        assert_eq!(frames.first().map(|f| f.2), Some(LinkType::RAW));
    }

    #[test]
    fn a_record_beyond_the_snap_length_is_counted_and_the_next_one_read() {
        let long = [9u8; 80];
        let records: &[(u32, u32, u32, u32, &[u8])] =
            &[(1, 0, 3, 3, b"abc"), (2, 0, 80, 80, &long), (3, 0, 3, 3, b"def"), (4, 0, 3, 3, b"ghi")];
        let (frames, counters, fault) = frames_of(file(0xa1b2_c3d4, false, 64, 1, records));
        assert_eq!(frames.iter().map(|f| f.4.as_slice()).collect::<Vec<_>>(), [b"abc", b"def", b"ghi"]);
        assert_eq!((counters.oversize, counters.resync_bytes, fault), (1, 96, None));
        // One byte less is an ordinary record.
        let (frames, counters, _) = frames_of(file(0xa1b2_c3d4, false, 80, 1, records));
        assert_eq!((frames.len(), counters.oversize), (4, 0));
    }

    #[test]
    fn a_flipped_length_costs_one_record_not_the_file() {
        let payload = [7u8; 60];
        let records: Vec<_> = (0..50).map(|i| (100 + i, 0, 60, 60, &payload[..])).collect();
        let mut bytes = file(0xa1b2_c3d4, false, 65_535, 1, &records);
        if let Some(high) = bytes.get_mut(24 + 10 * 76 + 8 + 3) {
            *high = 0x80;
        }
        let (frames, counters, fault) = frames_of(bytes);
        assert_eq!((frames.len(), counters.oversize, fault), (49, 1, None));
    }

    #[test]
    fn a_record_longer_than_its_file_is_counted() {
        let (frames, counters, fault) =
            frames_of(file(0xa1b2_c3d4, false, 65_535, 1, &[(1, 0, 3, 3, b"abc"), (2, 0, 1 << 30, 3, b"def")]));
        assert_eq!((frames.len(), counters.oversize, fault), (1, 1, None));
    }

    #[test]
    fn a_cut_is_told_with_its_offset_and_keeps_what_came_before() {
        let bytes = file(0xa1b2_c3d4, false, 0, 1, &[(1, 0, 3, 3, b"abc"), (2, 0, 6, 6, b"de")]);
        let (frames, _, fault) = frames_of(bytes);
        assert_eq!(frames.len(), 1);
        let fault = fault.unwrap();
        assert!(fault.contains("byte 43") && fault.contains("cut"), "{fault}");
    }

    #[test]
    fn the_oldest_files_have_the_wire_length_first() {
        let mut bytes = file(0xa1b2_c3d4, true, 0, 1, &[(1, 0, 9, 3, b"abc")]);
        bytes.get_mut(6..8).unwrap().copy_from_slice(&[0, 1]);
        let (frames, _, fault) = frames_of(bytes);
        assert_eq!((frames.first().map(|f| (f.1, f.4.len())), fault), (Some((9, 3)), None));
    }

    #[test]
    fn another_magic_is_not_ours() {
        assert!(matches!(PcapFile::open(&mut input_of(vec![0; 64])), Ok(None)));
    }
}
