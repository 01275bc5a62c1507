//! sFlow version 5 (sflow.org, "sFlow Version 5", 2004): the headers of sampled packets. They are packets, only cut and
//! few: decoding takes them as such, marked as samples. Counters and other records are passed over.
//!
//! Bound: the samples and records that the datagram holds, each as long as it says; what contradicts itself ends it.

use std::net::IpAddr;

use super::reader::Reader;
use crate::counters;
use crate::model::LinkType;

counters! {
    /// What became of sFlow datagrams.
    pub struct SflowCounters {
        datagrams => "collector.sflow.datagrams",
        samples => "collector.sflow.samples",
        /// Samples of interface counters.
        counters => "collector.sflow.counters",
        /// Samples and records of kinds that are not read.
        other => "collector.sflow.other",
        malformed => "collector.sflow.discard.malformed",
    }
}

/// The beginning of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    pub link: LinkType,
    pub bytes: &'a [u8],
    /// Without the bytes (a frame check sequence) that the agent stripped.
    pub wire_len: u32,
    /// One packet in so many was taken.
    pub rate: u32,
}

/// The samples of one datagram, one after another.
#[derive(Debug)]
pub struct Samples<'a> {
    rest: Reader<'a>,
    left: u32,
    /// Of the sample that is being read.
    records: Reader<'a>,
    records_left: u32,
    rate: u32,
    pub counters: SflowCounters,
}

impl<'a> Samples<'a> {
    pub fn new(datagram: &'a [u8]) -> Self {
        let counters = SflowCounters { datagrams: 1, ..SflowCounters::default() };
        let empty = Reader::new(&[]);
        let mut samples = Samples { rest: empty, left: 0, records: empty, records_left: 0, rate: 1, counters };
        match header(datagram) {
            Some((rest, left)) => (samples.rest, samples.left) = (rest, left),
            None => samples.counters.malformed += 1,
        }
        samples
    }

    /// `None`: the datagram contradicts itself. `Some(None)`: it has no more.
    fn step(&mut self) -> Option<Option<Sample<'a>>> {
        loop {
            while self.records_left > 0 {
                self.records_left -= 1;
                let (format, mut body) = block(&mut self.records)?;
                // Enterprise 0, format 1: a raw packet header.
                match format {
                    1 => {
                        let sample = raw(&mut body, self.rate)?;
                        if let Some(sample) = sample {
                            self.counters.samples += 1;
                            return Some(Some(sample));
                        }
                        self.counters.other += 1;
                    }
                    _ => self.counters.other += 1,
                }
            }
            if self.left == 0 {
                return Some(None);
            }
            self.left -= 1;
            let (format, mut body) = block(&mut self.rest)?;
            // Flow samples are 1, expanded 3; counter samples are 2, expanded 4.
            let (before_rate, before_records) = match format {
                1 => (8, 16),
                3 => (12, 24),
                2 | 4 => {
                    self.counters.counters += 1;
                    continue;
                }
                _ => {
                    self.counters.other += 1;
                    continue;
                }
            };
            body.skip(before_rate)?;
            self.rate = body.be32()?.max(1);
            body.skip(before_records)?;
            self.records_left = body.be32()?;
            self.records = body;
        }
    }
}

impl<'a> Iterator for Samples<'a> {
    type Item = Sample<'a>;

    fn next(&mut self) -> Option<Sample<'a>> {
        match self.step() {
            Some(sample) => sample,
            None => {
                self.counters.malformed += 1;
                (self.left, self.records_left) = (0, 0);
                None
            }
        }
    }
}

/// Version, agent and clocks; where the samples begin and how many there are.
fn header(datagram: &[u8]) -> Option<(Reader<'_>, u32)> {
    let mut reader = Reader::new(datagram);
    if reader.be32()? != 5 {
        return None;
    }
    agent(&mut reader)?;
    reader.skip(12)?; // sub-agent, sequence, uptime
    let samples = reader.be32()?;
    Some((reader, samples))
}

fn agent(reader: &mut Reader<'_>) -> Option<IpAddr> {
    match reader.be32()? {
        1 => reader.array::<4>().map(IpAddr::from),
        2 => reader.array::<16>().map(IpAddr::from),
        _ => None,
    }
}

/// Format (with the enterprise in its upper 20 bits) and the bytes that belong to it.
fn block<'a>(reader: &mut Reader<'a>) -> Option<(u32, Reader<'a>)> {
    let format = reader.be32()?;
    let length = reader.be32()?;
    Some((format, Reader::new(reader.take(length as usize)?)))
}

/// `Some(None)`: of a link that is not read here.
fn raw<'a>(body: &mut Reader<'a>, rate: u32) -> Option<Option<Sample<'a>>> {
    let protocol = body.be32()?;
    let (frame_length, stripped, header_length) = (body.be32()?, body.be32()?, body.be32()?);
    let bytes = body.take(header_length as usize)?;
    let link = match protocol {
        1 => LinkType::ETHERNET,
        11 => LinkType::IPV4,
        12 => LinkType::IPV6,
        _ => return Some(None),
    };
    let wire_len = frame_length.saturating_sub(stripped).max(bytes.len() as u32);
    Some(Some(Sample { link, bytes, wire_len, rate }))
}
