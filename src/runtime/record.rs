//! Recording a live run: the packets as they were analysed, and the steps that the wall clock made in silence, as
//! pcapng. A step is an empty packet on an interface of link type [`CLOCK_LINK`], a baseline that came from another probe
//! is a packet with a text; `read` takes them as such again, so a recorded run replays to the same events.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::capture::{Batch, CaptureError, Filled, Progress, Source, SourceId};
use crate::model::{Handover, LinkType, SourceCounts, Timestamp};

/// LINKTYPE_USER0: private use, which no interface of the kernel has.
pub const CLOCK_LINK: LinkType = LinkType(147);
/// What comes from this probe itself, and not by a mirror.
pub const OWN_SOURCE: SourceId = SourceId(u16::MAX);
const CLOCK_NAME: &str = "eastwatch-clock";

/// A pcapng file being written; nanosecond times.
pub struct Recorder {
    path: PathBuf,
    out: BufWriter<File>,
    /// (source, link type) of each interface description, by place.
    interfaces: Vec<(SourceId, LinkType)>,
    trouble: Option<io::Error>,
}

impl Recorder {
    /// `follows`: baselines are handed over in this run, and stand in the recording.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path, follows: bool) -> Result<Self, String> {
        let told = |e: io::Error| format!("{}: cannot record there: {e}", path.display());
        let file = File::create(path).map_err(told)?;
        let mut recorder =
            Recorder { path: path.to_owned(), out: BufWriter::new(file), interfaces: Vec::new(), trouble: None };
        // Section header: byte order, version 1.0, length unknown.
        let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]);
        body.extend([0xff; 8]);
        recorder.block(0x0a0d_0d0a, &body);
        recorder.interface(OWN_SOURCE, CLOCK_LINK, CLOCK_NAME);
        if follows {
            let word = Handover::Recorded.to_bytes();
            recorder.packet(0, Timestamp::ZERO, &word, word.len() as u32);
        }
        recorder.take_trouble()?;
        Ok(recorder)
    }

    fn step(&mut self, time: Timestamp) {
        self.packet(0, time, &[], 0);
    }

    fn frames(&mut self, batch: &Batch, source: &dyn Source) {
        for frame in &batch.frames {
            let known = self.interfaces.iter().position(|i| *i == (frame.source, frame.link));
            let id =
                known.unwrap_or_else(|| self.interface(frame.source, frame.link, source.source_name(frame.source)));
            self.packet(id, frame.time, batch.get(frame), frame.wire_len);
        }
    }

    fn interface(&mut self, source: SourceId, link: LinkType, name: &str) -> usize {
        let mut body = link.0.to_le_bytes().to_vec();
        body.extend([0; 6]);
        option(&mut body, 2, name.as_bytes());
        // if_tsresol: nanoseconds.
        option(&mut body, 9, &[9]);
        body.extend([0; 4]);
        self.block(1, &body);
        self.interfaces.push((source, link));
        self.interfaces.len() - 1
    }

    fn packet(&mut self, interface: usize, time: Timestamp, bytes: &[u8], wire_len: u32) {
        let ns = time.ns().unsigned_abs();
        let mut body = (interface as u32).to_le_bytes().to_vec();
        body.extend(((ns >> 32) as u32).to_le_bytes());
        body.extend((ns as u32).to_le_bytes());
        body.extend((bytes.len() as u32).to_le_bytes());
        body.extend(wire_len.to_le_bytes());
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        self.block(6, &body);
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let len = (body.len() as u32 + 12).to_le_bytes();
        for part in [&kind.to_le_bytes()[..], &len, body, &len] {
            if let Err(error) = self.out.write_all(part) {
                self.trouble.get_or_insert(error);
            }
        }
    }

    fn take_trouble(&mut self) -> Result<(), String> {
        if let Err(error) = self.out.flush() {
            self.trouble.get_or_insert(error);
        }
        match self.trouble.take() {
            Some(error) => Err(format!("{}: the recording is not complete: {error}", self.path.display())),
            None => Ok(()),
        }
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A source, recorded on the way.
pub struct Recording<S> {
    inner: S,
    recorder: Option<Recorder>,
}

impl<S: Source> Recording<S> {
    pub fn new(inner: S, recorder: Option<Recorder>) -> Self {
        Recording { inner, recorder }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// What could not be written.
    pub fn finish(mut self) -> Result<(), String> {
        self.recorder.as_mut().map_or(Ok(()), Recorder::take_trouble)
    }
}

impl<S: Source> Source for Recording<S> {
    fn fill(&mut self, batch: &mut Batch) -> Result<Filled, CaptureError> {
        let filled = self.inner.fill(batch)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.frames(batch, &self.inner);
        }
        Ok(filled)
    }

    fn stepped(&mut self, time: Timestamp) {
        self.inner.stepped(time);
        if let Some(recorder) = &mut self.recorder {
            recorder.step(time);
        }
    }

    fn counters(&self, out: &mut Vec<(&'static str, u64)>) {
        self.inner.counters(out);
    }

    fn progress(&self) -> Progress {
        self.inner.progress()
    }

    fn source_name(&self, id: SourceId) -> &str {
        self.inner.source_name(id)
    }

    fn interface(&self, id: SourceId) -> Option<&str> {
        self.inner.interface(id)
    }

    fn link_types_seen(&self) -> Vec<(LinkType, SourceId)> {
        self.inner.link_types_seen()
    }

    fn losses(&mut self) -> Vec<SourceCounts> {
        self.inner.losses()
    }
}
