//! The mirror sources of one `watch`: interfaces, UDP listeners and capture streams, read in turn as one source.
//! Frames of one turn go in order of time. [`SourceId`]s: the interfaces as named, the UDP listeners, then the clients
//! of capture streams as they come.
//!
//! Bound: [`LISTENERS_MAX`] listeners besides the interfaces. A turn ends when the batch is full; the next begins with
//! another source, so that a busy one starves no other.

use std::time::Duration;

use crate::model::{LinkType, SourceCounts};

use super::batch::{Batch, SourceId};
use super::datagrams::Datagrams;
use super::error::CaptureError;
use super::live::{Live, LiveConfig};
use super::streams::Streams;
use super::{CaptureCounters, Filled, Progress, Source};

const LISTENERS_MAX: usize = 64;
/// Source ids of each capture stream listener.
const STREAM_IDS: u16 = 64;
/// How long silence lasts before it is called idle: short enough for a stop to be felt as immediate, long enough for a
/// silent probe to cost nothing.
const IDLE_AFTER_US: u64 = 100_000;
/// libpcap cannot time out on a silent TPACKET_V3 ring, so an idle source looks again after a nap that doubles.
/// At 10 Gbit/s the longest nap fills a seventh of the default ring.
const NAPS_US: [u64; 6] = [250, 500, 1_000, 2_000, 4_000, 8_000];
/// A socket's buffer is 208 KiB where nobody raised the limit: 1.6 ms of 1 Gbit/s.
const NAP_OF_SOCKETS_US: u64 = 1_000;

pub struct Mirrors {
    live: Live,
    datagrams: Vec<Datagrams>,
    streams: Vec<Streams>,
    /// The source to be asked first.
    turn: usize,
    /// What broke while other sources gave frames; told at the next fill.
    fault: Option<CaptureError>,
    counters: CaptureCounters,
}

impl Mirrors {
    /// Opens every interface and every listener of the configuration.
    ///
    /// # Errors
    /// As [`Live::open`]; a port that cannot be listened on.
    pub fn open(interfaces: &[String], filter: Option<&str>, config: &LiveConfig) -> Result<Self, CaptureError> {
        if config.listen.len() > LISTENERS_MAX {
            let what = format!("{} listeners are more than {LISTENERS_MAX}", config.listen.len());
            return Err(CaptureError::new("--listen", what, "name fewer"));
        }
        let live = Live::open(interfaces, filter, config)?;
        let (mut datagrams, mut streams) = (Vec::new(), Vec::new());
        for listen in &config.listen {
            match listen.kind.carrier() {
                Some(carrier) => {
                    datagrams.push(Datagrams::open(listen, carrier, usize::from(config.buffer_mib) << 20)?);
                }
                None => streams.push(Streams::open(listen, filter)?),
            }
        }
        Ok(Mirrors { live, datagrams, streams, turn: 0, fault: None, counters: CaptureCounters::default() })
    }

    /// UDP listeners whose receive buffer is smaller than asked for, with the bytes that the kernel granted.
    pub fn small_buffers(&self, config: &LiveConfig) -> impl Iterator<Item = (&str, usize)> {
        // The kernel counts its own overhead in and answers with twice what it was asked for.
        let asked = usize::from(config.buffer_mib) << 20;
        self.datagrams.iter().filter(move |d| d.granted < asked).map(|d| (d.counts.name.as_str(), d.granted))
    }

    /// Takes what the sources hold.
    fn poll(&mut self, batch: &mut Batch) -> Result<(), CaptureError> {
        let (interfaces, sockets) = (self.live.len(), self.datagrams.len());
        let many = interfaces + sockets + self.streams.len();
        self.turn = self.turn.wrapping_add(1);
        for step in 0..many {
            let at = self.turn.wrapping_add(step) % many;
            if at < interfaces {
                self.live.drain(at, batch, &mut self.counters)?;
            } else if let Some(datagrams) = self.datagrams.get_mut(at - interfaces) {
                datagrams.drain(SourceId(at as u16), batch, &mut self.counters)?;
            } else if let Some(streams) = self.streams.get_mut(at - interfaces - sockets) {
                let first = first_of_stream(interfaces, sockets, at - interfaces - sockets);
                streams.drain(first, batch, &mut self.counters);
            }
        }
        if many > 1 {
            // Sources were read one after another; stable, so frames of one source keep their order.
            batch.frames.sort_by_key(|frame| frame.time);
        }
        Ok(())
    }
}

fn first_of_stream(interfaces: usize, sockets: usize, stream: usize) -> u16 {
    (interfaces + sockets) as u16 + stream as u16 * STREAM_IDS
}

impl Source for Mirrors {
    fn fill(&mut self, batch: &mut Batch) -> Result<Filled, CaptureError> {
        batch.clear();
        if let Some(error) = self.fault.take() {
            return Err(error);
        }
        let listening = self.datagrams.iter().any(|d| !d.counts.gone) || !self.streams.is_empty();
        if !listening && !self.live.lives() {
            return Ok(Filled::End);
        }
        let mut waited_us = 0;
        let longest = if self.datagrams.is_empty() { u64::MAX } else { NAP_OF_SOCKETS_US };
        let mut naps = NAPS_US.iter().copied();
        loop {
            match self.poll(batch) {
                Ok(()) if batch.is_empty() => {}
                Ok(()) => return Ok(Filled::Frames),
                // What the other sources gave is not lost: the broken one is silent from now on.
                Err(error) if batch.is_empty() => return Err(error),
                Err(error) => {
                    self.fault = Some(error);
                    return Ok(Filled::Frames);
                }
            }
            if waited_us >= IDLE_AFTER_US {
                return Ok(Filled::Idle);
            }
            let nap = naps.next().unwrap_or(8_000).min(longest);
            std::thread::sleep(Duration::from_micros(nap));
            waited_us += nap;
        }
    }

    fn counters(&self, out: &mut Vec<(&'static str, u64)>) {
        self.counters.report(out);
        self.streams.iter().for_each(|streams| streams.counters.report(out));
    }

    fn progress(&self) -> Progress {
        Progress { bytes_read: self.counters.bytes, bytes_total: None, frames: self.counters.frames }
    }

    fn source_name(&self, id: SourceId) -> &str {
        let (interfaces, sockets) = (self.live.len(), self.datagrams.len());
        let at = usize::from(id.0);
        if let Some(name) = self.live.name(at) {
            return name;
        }
        if let Some(datagrams) = at.checked_sub(interfaces).and_then(|at| self.datagrams.get(at)) {
            return &datagrams.counts.name;
        }
        let Some(of_streams) = at.checked_sub(interfaces + sockets) else { return "?" };
        let (stream, client) = (of_streams / usize::from(STREAM_IDS), of_streams % usize::from(STREAM_IDS));
        let client = self.streams.get(stream).and_then(|streams| streams.counts.get(client));
        client.map_or("?", |(_, counts)| counts.name.as_str())
    }

    fn interface(&self, id: SourceId) -> Option<&str> {
        self.live.name(usize::from(id.0))
    }

    fn link_types_seen(&self) -> Vec<(LinkType, SourceId)> {
        let first = SourceId(self.live.len() as u16);
        let mut links: Vec<_> = self.live.links().collect();
        links.extend(self.datagrams.first().map(|_| (LinkType::UPPER_PDU, first)));
        links.sort_unstable();
        links.dedup_by_key(|(link, _)| *link);
        links
    }

    fn losses(&mut self) -> Vec<SourceCounts> {
        self.datagrams.iter_mut().for_each(Datagrams::sample);
        let sockets = self.datagrams.iter().map(|d| d.counts.clone());
        let clients = self.streams.iter().flat_map(|s| s.counts.iter().map(|(_, counts)| counts.clone()));
        self.live.losses().chain(sockets).chain(clients).collect()
    }
}
