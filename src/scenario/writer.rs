//! The scenario as a capture file: pcap in its four classic forms, or pcapng with each interface named.
//! Frames are written in order of time; those of one time in the order they were made.

use std::io;
use std::path::Path;

use super::{Captured, Scenario};

const SNAPLEN: u32 = 262_144;
const LINKTYPE_ETHERNET: u16 = 1;

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Pcap { nanoseconds: bool, big_endian: bool },
    Pcapng { big_endian: bool },
}

impl Format {
    /// Microseconds, little endian: what tcpdump writes on most machines.
    pub const PCAP: Format = Format::Pcap { nanoseconds: false, big_endian: false };
    /// What Wireshark writes on most machines.
    pub const PCAPNG: Format = Format::Pcapng { big_endian: false };
}

struct Words {
    big_endian: bool,
    out: Vec<u8>,
}

impl Scenario {
    /// The capture as bytes.
    pub fn encode(&self, format: Format) -> Vec<u8> {
        let mut frames: Vec<&Captured> = self.frames.iter().collect();
        frames.sort_by_key(|frame| frame.time);
        match format {
            Format::Pcap { nanoseconds, big_endian } => pcap(&frames, nanoseconds, big_endian),
            Format::Pcapng { big_endian } => pcapng(&frames, &self.interfaces, big_endian),
        }
    }

    /// # Errors
    /// The file cannot be written.
    pub fn write_pcap(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, self.encode(Format::PCAP))
    }

    /// # Errors
    /// The file cannot be written.
    pub fn write_pcapng(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, self.encode(Format::PCAPNG))
    }
}

fn pcap(frames: &[&Captured], nanoseconds: bool, big_endian: bool) -> Vec<u8> {
    let mut words = Words { big_endian, out: Vec::new() };
    words.u32(if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
    words.u16(2);
    words.u16(4);
    words.u32(0);
    words.u32(0);
    words.u32(SNAPLEN);
    words.u32(LINKTYPE_ETHERNET.into());
    for frame in frames {
        let fraction = (frame.time.ns() % 1_000_000_000) as u32;
        words.u32(frame.time.second() as u32);
        words.u32(if nanoseconds { fraction } else { fraction / 1_000 });
        words.u32(frame.bytes.len() as u32);
        words.u32(frame.wire_len as u32);
        words.out.extend(&frame.bytes);
    }
    words.out
}

fn pcapng(frames: &[&Captured], interfaces: &[String], big_endian: bool) -> Vec<u8> {
    let mut words = Words { big_endian, out: Vec::new() };
    words.block(0x0a0d_0d0a, |body| {
        body.u32(0x1a2b_3c4d);
        body.u16(1);
        body.u16(0);
        body.out.extend([0xff; 8]); // section length: not said
    });
    for name in interfaces {
        words.block(1, |body| {
            body.u16(LINKTYPE_ETHERNET);
            body.u16(0);
            body.u32(SNAPLEN);
            body.option(2, name.as_bytes());
            body.option(9, &[9]); // nanoseconds
            body.option(0, &[]);
        });
    }
    for frame in frames {
        words.block(6, |body| {
            let ns = frame.time.ns() as u64;
            body.u32(frame.interface as u32);
            body.u32((ns >> 32) as u32);
            body.u32(ns as u32);
            body.u32(frame.bytes.len() as u32);
            body.u32(frame.wire_len as u32);
            body.out.extend(&frame.bytes);
        });
    }
    words.out
}

impl Words {
    fn u16(&mut self, n: u16) {
        self.out.extend(if self.big_endian { n.to_be_bytes() } else { n.to_le_bytes() });
    }

    fn u32(&mut self, n: u32) {
        self.out.extend(if self.big_endian { n.to_be_bytes() } else { n.to_le_bytes() });
    }

    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.u16(code);
        self.u16(value.len() as u16);
        self.out.extend(value);
        self.pad();
    }

    fn block(&mut self, kind: u32, fill: impl FnOnce(&mut Words)) {
        let mut body = Words { big_endian: self.big_endian, out: Vec::new() };
        fill(&mut body);
        body.pad();
        let len = body.out.len() as u32 + 12;
        self.u32(kind);
        self.u32(len);
        self.out.extend(body.out);
        self.u32(len);
    }
}
