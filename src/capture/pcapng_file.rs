//! The block-structured capture format (draft-ietf-opsawg-pcapng): sections, each with its byte order and its
//! interfaces, each of those with link type, clock resolution and snap length.
//! At most [`INTERFACES_MAX`] interfaces a section; packets of further ones are counted and discarded. A block that
//! contradicts itself is counted and the next good one searched for, within 512 KiB.

use crate::model::{AppInfo, LinkType, Timestamp};

use super::CaptureCounters;
use super::batch::FRAME_BYTES_MAX;
use super::fields::Fields;
use super::file::{Fault, Head};
use super::input::Input;

/// A virtual switch of a large host has some hundreds of ports.
const INTERFACES_MAX: usize = 4_096;
/// A frame of the longest kind with its header, options and a long comment.
const WINDOWED_BLOCK_BYTES_MAX: u32 = (FRAME_BYTES_MAX + (64 << 10) + 64) as u32;
/// Longer blocks are stepped over up to here (Wireshark's own limit); beyond it a length is not believed.
const BLOCK_BYTES_MAX: u32 = 16 << 20;
const SEARCH_BYTES: usize = 512 << 10;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// Block types that a search may stop at: all standard ones (name resolution, statistics, journal, secrets…).
const KNOWN_TYPES: [u32; 11] = [SECTION_HEADER, 1, 2, 3, 4, 5, 6, 9, 10, 0xbad, 0x4000_0bad];

const OPTION_NAME: u16 = 2;
const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_TIME_OFFSET: u16 = 14;

pub(super) struct PcapngFile {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Interfaces of earlier sections: those of this one are numbered after them.
    earlier: u32,
    /// This section's major version is not 1: what its blocks mean is not known (section 4.1).
    foreign: bool,
    /// For packets without a time of their own.
    last_time: Timestamp,
}

struct Interface {
    link: LinkType,
    /// As declared; 0 is unlimited.
    snaplen: u32,
    resolution: Resolution,
    offset_s: i64,
    name: Option<String>,
}

/// Time units in a second.
#[derive(Clone, Copy)]
enum Resolution {
    PowerOfTen(u8),
    PowerOfTwo(u8),
}

/// Type and length of the block that the window begins with.
struct Block {
    kind: u32,
    len: u32,
}

/// A packet block's own fields, whichever of the three kinds it is.
struct Packet {
    interface: u32,
    time: Option<u64>,
    captured: u32,
    wire: u32,
    header: usize,
}

impl PcapngFile {
    /// `None` where the file does not begin with a section header.
    pub fn open(input: &mut Input) -> Result<Option<Self>, Fault> {
        input.need(12)?;
        if input.bytes().first_chunk() != Some(&SECTION_HEADER.to_le_bytes()) {
            return Ok(None);
        }
        Ok(Some(PcapngFile {
            big_endian: false,
            interfaces: Vec::new(),
            earlier: 0,
            foreign: false,
            last_time: Timestamp::ZERO,
        }))
    }

    /// The next packet, wholly in the window and not consumed.
    pub fn next(&mut self, input: &mut Input, counters: &mut CaptureCounters) -> Result<Option<Head>, Fault> {
        loop {
            if !input.need(12)? {
                return if input.bytes().is_empty() { Ok(None) } else { Err(Fault::Cut) };
            }
            let Some(block) = self.block(input.bytes()) else {
                counters.malformed += 1;
                if self.resume(input, counters)? { continue } else { return Ok(None) }
            };
            if block.len > WINDOWED_BLOCK_BYTES_MAX {
                if matches!(block.kind, ENHANCED_PACKET | SIMPLE_PACKET | OBSOLETE_PACKET) {
                    counters.oversize += 1;
                }
                if input.skip(block.len.into())? { continue } else { return Err(Fault::Cut) }
            }
            if !input.need(block.len as usize)? {
                return Err(Fault::Cut);
            }
            let Some(body) = self.body(input.bytes(), &block) else {
                counters.malformed += 1;
                if self.resume(input, counters)? { continue } else { return Ok(None) }
            };
            let head = match block.kind {
                SECTION_HEADER => {
                    self.earlier = self.earlier.saturating_add(self.interfaces.len() as u32);
                    self.interfaces.clear();
                    let mut fields = Fields::new(body, self.big_endian);
                    self.foreign = fields.u32().and(fields.u16()) != Some(1);
                    None
                }
                INTERFACE_DESCRIPTION => {
                    match Interface::read(Fields::new(body, self.big_endian)) {
                        Some(interface) if self.interfaces.len() < INTERFACES_MAX => self.interfaces.push(interface),
                        Some(_) => {} // its packets will be counted
                        None => counters.malformed += 1,
                    }
                    None
                }
                kind => self.packet(kind, body, counters),
            };
            match head {
                Some(head) => {
                    self.last_time = head.time;
                    return Ok(Some(Head { record_len: block.len.into(), ..head }));
                }
                None => input.consume(block.len as usize),
            }
        }
    }

    /// Is the next block in the window, so that [`PcapngFile::next`] will not wait for it?
    pub fn is_buffered(&self, window: &[u8]) -> bool {
        let mut fields = Fields::new(window, self.big_endian);
        fields.take(4).and_then(|_| fields.u32()).is_some_and(|len| window.len() >= len as usize)
    }

    /// The name of an interface of the current section, for people.
    pub fn interface_name(&self, interface: u32) -> String {
        self.given_name(interface).map_or_else(|| format!("#{interface}"), str::to_owned)
    }

    /// The same, but an interface without a name is counted from its own section on.
    pub fn name_in_section(&self, interface: u32) -> String {
        let here = interface.saturating_sub(self.earlier);
        self.given_name(interface).map_or_else(|| format!("#{here}"), str::to_owned)
    }

    /// As the file names it.
    pub fn given_name(&self, interface: u32) -> Option<&str> {
        let here = interface.saturating_sub(self.earlier);
        self.interfaces.get(here as usize)?.name.as_deref()
    }

    /// Reads type and length; a section header also sets the byte order. `None` where they cannot be true.
    fn block(&mut self, bytes: &[u8]) -> Option<Block> {
        let mut fields = Fields::new(bytes, self.big_endian);
        let kind = fields.u32()?;
        if kind == SECTION_HEADER {
            let magic = bytes.get(8..)?.first_chunk::<4>()?;
            self.big_endian = match u32::from_be_bytes(*magic) {
                0x1a2b_3c4d => true,
                0x4d3c_2b1a => false,
                _ => return None,
            };
            fields = Fields::new(bytes.get(4..)?, self.big_endian);
        }
        let len = fields.u32()?;
        let least = if kind == SECTION_HEADER { 28 } else { 12 };
        (len % 4 == 0 && (least..=BLOCK_BYTES_MAX).contains(&len)).then_some(Block { kind, len })
    }

    /// What lies between a block's length and its repetition at the end; `None` where the two differ.
    fn body<'a>(&self, bytes: &'a [u8], block: &Block) -> Option<&'a [u8]> {
        let mut fields = Fields::new(bytes.get(8..)?, self.big_endian);
        let body = fields.take((block.len as usize).checked_sub(12)?)?;
        (fields.u32()? == block.len).then_some(body)
    }

    /// Reads a packet block's body; `None` (counted, but for blocks that hold no packet) where there is none to give.
    fn packet(&self, kind: u32, body: &[u8], counters: &mut CaptureCounters) -> Option<Head> {
        let mut fields = Fields::new(body, self.big_endian);
        let packet = match kind {
            ENHANCED_PACKET => Packet::enhanced(&mut fields),
            OBSOLETE_PACKET => Packet::obsolete(&mut fields),
            SIMPLE_PACKET => Packet::simple(&mut fields, self.interfaces.first().map_or(0, |i| i.snaplen)),
            _ => return None,
        };
        if self.foreign {
            counters.foreign_version += 1;
            return None;
        }
        let Some(packet) = packet else {
            counters.malformed += 1;
            return None;
        };
        let Some(interface) = self.interfaces.get(packet.interface as usize) else {
            counters.no_interface += 1;
            return None;
        };
        let longest = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen }.min(FRAME_BYTES_MAX as u32);
        if packet.captured > longest {
            counters.oversize += 1;
            return None;
        }
        if fields.take(packet.captured as usize).is_none() {
            counters.malformed += 1;
            return None;
        }
        Some(Head {
            time: packet.time.map_or(self.last_time, |units| interface.time(units)),
            start: 8 + packet.header,
            len: packet.captured as usize,
            wire_len: packet.wire,
            link: interface.link,
            interface: self.earlier.saturating_add(packet.interface),
            record_len: 0,
        })
    }

    /// Searches for the next block that is whole; false where the file ends before.
    fn resume(&mut self, input: &mut Input, counters: &mut CaptureCounters) -> Result<bool, Fault> {
        let complete = input.need(SEARCH_BYTES)?;
        let order = self.big_endian;
        let mut found = None;
        for at in (4..input.bytes().len()).step_by(4) {
            let Some(rest) = input.bytes().get(at..) else { break };
            if let Some(block) = self.block(rest)
                && KNOWN_TYPES.contains(&block.kind)
                && self.body(rest, &block).is_some()
            {
                found = Some(at);
                break;
            }
            self.big_endian = order; // a false section header may have changed it
        }
        match found {
            Some(at) => {
                counters.resync_bytes += at as u64;
                input.consume(at);
                Ok(true)
            }
            None if complete => Err(Fault::Lost),
            None => {
                counters.resync_bytes += input.bytes().len() as u64;
                Ok(false)
            }
        }
    }
}

impl Packet {
    fn enhanced(fields: &mut Fields) -> Option<Self> {
        let interface = fields.u32()?;
        let time = u64::from(fields.u32()?) << 32 | u64::from(fields.u32()?);
        Some(Packet { interface, time: Some(time), captured: fields.u32()?, wire: fields.u32()?, header: 20 })
    }

    fn obsolete(fields: &mut Fields) -> Option<Self> {
        let interface = u32::from(fields.u16()?);
        fields.u16()?; // drops between this packet and the one before
        let time = u64::from(fields.u32()?) << 32 | u64::from(fields.u32()?);
        Some(Packet { interface, time: Some(time), captured: fields.u32()?, wire: fields.u32()?, header: 20 })
    }

    /// Neither time nor captured length are written; the latter is the smaller of wire length and snap length.
    fn simple(fields: &mut Fields, snaplen: u32) -> Option<Self> {
        let wire = fields.u32()?;
        let captured = if snaplen == 0 { wire } else { wire.min(snaplen) };
        Some(Packet { interface: 0, time: None, captured, wire, header: 4 })
    }
}

impl Interface {
    fn read(mut fields: Fields) -> Option<Self> {
        let link = LinkType(fields.u16()?);
        fields.u16()?; // reserved
        let mut interface =
            Interface { link, snaplen: fields.u32()?, resolution: Resolution::PowerOfTen(6), offset_s: 0, name: None };
        // A broken option ends the list; what stood before it holds.
        while let (Some(code), Some(len)) = (fields.u16(), fields.u16()) {
            let order = fields;
            let Some(value) = fields.take(usize::from(len)) else { break };
            fields.take(usize::from(len.wrapping_neg() % 4));
            match (code, value) {
                (0, _) => break,
                (OPTION_NAME, name) => interface.name = Some(AppInfo::clean(name)).filter(|n| !n.is_empty()),
                (OPTION_TIME_RESOLUTION, &[power, ..]) if power & 0x80 != 0 => {
                    interface.resolution = Resolution::PowerOfTwo(power & 0x7f);
                }
                (OPTION_TIME_RESOLUTION, &[power, ..]) => interface.resolution = Resolution::PowerOfTen(power),
                (OPTION_TIME_OFFSET, _) => interface.offset_s = { order }.i64().filter(|_| len == 8).unwrap_or(0),
                _ => {}
            }
        }
        Some(interface)
    }

    /// Clamped to what a [`Timestamp`] can say: offsets may be negative, resolutions absurd.
    fn time(&self, units: u64) -> Timestamp {
        let ns = match self.resolution {
            // The two that nearly every writer uses, without a 128-bit division.
            Resolution::PowerOfTen(9) => i128::from(units),
            Resolution::PowerOfTen(6) => i128::from(units) * 1_000,
            Resolution::PowerOfTen(power @ 0..9) => i128::from(units) * 10_i128.pow(9 - u32::from(power)),
            Resolution::PowerOfTen(power) => {
                10_i128.checked_pow(u32::from(power) - 9).map_or(0, |divisor| i128::from(units) / divisor)
            }
            Resolution::PowerOfTwo(power) => (i128::from(units) * 1_000_000_000) >> power,
        };
        let ns = ns.saturating_add(i128::from(self.offset_s) * 1_000_000_000);
        Timestamp::from_ns(i64::try_from(ns.max(0)).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::file::tests::frames_of;

    /// Writes blocks in one byte order.
    struct Writer {
        big: bool,
        out: Vec<u8>,
    }

    impl Writer {
        fn new(big: bool) -> Self {
            let mut writer = Writer { big, out: Vec::new() };
            writer.section();
            writer
        }

        fn word(&self, n: u32) -> [u8; 4] {
            if self.big { n.to_be_bytes() } else { n.to_le_bytes() }
        }

        fn half(&self, n: u16) -> [u8; 2] {
            if self.big { n.to_be_bytes() } else { n.to_le_bytes() }
        }

        fn block(&mut self, kind: u32, body: &[u8]) {
            let pad = body.len().wrapping_neg() % 4;
            let len = self.word((12 + body.len() + pad) as u32);
            let kind = self.word(kind);
            self.out.extend([&kind[..], &len, body, &[0; 3][..pad], &len].concat());
        }

        fn section(&mut self) {
            let body = [&self.word(0x1a2b_3c4d)[..], &self.half(1), &self.half(0), &[0xff; 8]].concat();
            self.block(SECTION_HEADER, &body);
        }

        fn interface(&mut self, link: u16, snaplen: u32, options: &[(u16, &[u8])]) {
            let mut body = [&self.half(link)[..], &[0, 0], &self.word(snaplen)].concat();
            for (code, value) in options {
                body.extend(self.half(*code));
                body.extend(self.half(value.len() as u16));
                body.extend_from_slice(value);
                body.extend(&[0; 3][..value.len().wrapping_neg() % 4]);
            }
            self.block(INTERFACE_DESCRIPTION, &body);
        }

        fn packet(&mut self, interface: u32, time: u64, bytes: &[u8]) {
            let len = bytes.len() as u32;
            let words = [interface, (time >> 32) as u32, time as u32, len, len];
            let body = [words.map(|n| self.word(n)).concat(), bytes.to_vec()].concat();
            self.block(ENHANCED_PACKET, &body);
        }
    }

    #[test]
    fn interfaces_differ_in_link_type_clock_and_offset_in_both_byte_orders() {
        for big in [false, true] {
            let mut w = Writer::new(big);
            let offset = if big { (-2i64).to_be_bytes() } else { (-2i64).to_le_bytes() };
            w.interface(1, 0, &[(OPTION_NAME, b"eth0")]);
            w.interface(101, 0, &[(OPTION_TIME_RESOLUTION, &[9])]);
            w.interface(113, 0, &[(OPTION_TIME_RESOLUTION, &[0x80 | 10]), (OPTION_TIME_OFFSET, &offset)]);
            w.packet(0, 5_000_001, b"a");
            w.packet(1, 5_000_001, b"bb");
            w.packet(2, 5 * 1_024 + 512, b"ccc");
            w.packet(2, 1_024, b"before the epoch");
            let (frames, counters, fault) = frames_of(w.out);
            assert_eq!((counters, fault), (CaptureCounters::default(), None));
            let seen: Vec<_> = frames.iter().map(|f| (f.0, f.2.0, f.3, f.4.len())).collect();
            assert_eq!(
                seen,
                [(5_000_001_000, 1, 0, 1), (5_000_001, 101, 1, 2), (3_500_000_000, 113, 2, 3), (0, 113, 2, 16)]
            );
        }
    }

    #[test]
    fn a_new_section_brings_its_own_byte_order_and_interfaces() {
        let mut first = Writer::new(false);
        first.interface(1, 0, &[]);
        first.packet(0, 1, b"one");
        let mut second = Writer::new(true);
        second.packet(0, 2, b"nobody's");
        second.interface(101, 0, &[]);
        second.packet(0, 2, b"two");
        let (frames, counters, fault) = frames_of([first.out, second.out].concat());
        assert_eq!(frames.iter().map(|f| (f.2.0, f.3)).collect::<Vec<_>>(), [(1, 0), (101, 1)]);
        assert_eq!((counters.no_interface, fault), (1, None));
    }

    #[test]
    fn a_section_of_another_version_is_left_out_and_the_next_one_read() {
        let mut w = Writer::new(false);
        *w.out.get_mut(12).unwrap() = 2;
        w.interface(1, 0, &[]);
        w.packet(0, 1, b"who knows");
        w.section();
        w.interface(1, 0, &[]);
        w.packet(0, 2, b"known");
        let (frames, counters, fault) = frames_of(w.out);
        assert_eq!((frames.len(), counters.foreign_version, fault), (1, 1, None));
    }

    #[test]
    fn simple_and_obsolete_packets_are_read() {
        let mut w = Writer::new(false);
        w.interface(1, 4, &[]);
        w.block(SIMPLE_PACKET, &[&9u32.to_le_bytes()[..], b"cut4"].concat());
        let body =
            [&[0, 0, 7, 0][..], &0u32.to_le_bytes(), &3u32.to_le_bytes(), &2u32.to_le_bytes(), &2u32.to_le_bytes()];
        w.block(OBSOLETE_PACKET, &[body.concat(), b"ob".to_vec()].concat());
        let (frames, _, fault) = frames_of(w.out);
        assert_eq!(fault, None);
        assert_eq!(
            frames.iter().map(|f| (f.0, f.1, f.4.as_slice())).collect::<Vec<_>>(),
            [(0, 9, &b"cut4"[..]), (3_000, 2, b"ob")]
        );
    }

    #[test]
    fn a_broken_block_costs_itself_only() {
        let mut w = Writer::new(false);
        w.interface(1, 0, &[]);
        w.packet(0, 1, b"good");
        let broken_at = w.out.len();
        w.packet(0, 2, b"broken");
        w.packet(0, 3, b"good again");
        for (byte, value) in [(4, 0xff), (7, 0x80), (4, 1)] {
            let mut bytes = w.out.clone();
            *bytes.get_mut(broken_at + byte).unwrap() = value;
            let (frames, counters, fault) = frames_of(bytes);
            assert_eq!(frames.iter().map(|f| f.0).collect::<Vec<_>>(), [1_000, 3_000], "{byte} {value:x}");
            assert_eq!((counters.malformed, fault), (1, None));
        }
    }

    #[test]
    fn a_packet_beyond_its_interfaces_snap_length_is_counted_one_of_that_length_is_not() {
        let mut w = Writer::new(false);
        w.interface(1, 4, &[]);
        w.packet(0, 1, b"four");
        w.packet(0, 2, b"fives");
        let (frames, counters, fault) = frames_of(w.out);
        assert_eq!((frames.len(), counters.oversize, fault), (1, 1, None));
    }

    #[test]
    fn absurd_resolutions_clamp() {
        for (power, units, ns) in [(127, u64::MAX, 0), (0, u64::MAX, i64::MAX), (0xff, u64::MAX, 0), (12, 5_000, 5)] {
            let mut w = Writer::new(false);
            w.interface(1, 0, &[(OPTION_TIME_RESOLUTION, &[power])]);
            w.packet(0, units, b"x");
            assert_eq!(frames_of(w.out).0.first().map(|f| f.0), Some(ns), "{power}");
        }
    }
}
