//! Several captures as one stream in time order. The file whose next frame is the oldest gives it; equal times go
//! in the order of the command line, then of the file. Within a file its own order holds, even where time steps back.
//! At most [`FILES_OPEN_MAX`] files are open at once: one is opened when the merge reaches its first frame, so any
//! number that follow one another may be given; a file that would be one too many is told and left out.
//! At most [`SOURCES_MAX`] mirror sources (a file, or an interface in it); further ones share the last, counted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::{Path, PathBuf};

use crate::model::{LinkType, Timestamp};

use super::batch::{Batch, SourceId};
use super::error::CaptureError;
use super::file::Reader;
use super::filter::{Filter, Verdict};
use super::input::Input;
use super::{CaptureCounters, Filled, Progress, Source};

/// Each costs a descriptor (1,024 by default) and a window of 128 KiB.
const FILES_OPEN_MAX: usize = 256;
/// Files kept open from the first look on; of more, each is opened again at its turn.
const FILES_HELD_MAX: usize = 16;
const FILES_MAX: usize = 65_536;
const SOURCES_MAX: usize = 4_096;
/// Link types remembered for [`Source::link_types_seen`].
const LINKS_MAX: usize = 256;
/// Frames looked at in one fill that all fail the filter, before the caller may look around.
const FILTERED_RUN_MAX: usize = 65_536;

pub struct Files {
    files: Vec<Entry>,
    /// Time of its next frame, and place on the command line, of every file that has one.
    heads: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// The file whose frame was delivered last: its next one is not looked at before the next fill, because a pipe
    /// may make us wait for it.
    stepping: Option<usize>,
    open: usize,
    filter: Option<Filter>,
    names: Vec<String>,
    /// Of the same sources: the name that the file gives its interface, and what each was captured at.
    given: Vec<Option<String>>,
    interfaces: Vec<Option<String>>,
    links: BTreeMap<LinkType, SourceId>,
    faults: Vec<CaptureError>,
    told: bool,
    contents: Vec<Content>,
    counters: CaptureCounters,
    bytes_done: u64,
    bytes_total: Option<u64>,
}

struct Entry {
    path: PathBuf,
    state: State,
    /// The source given to each interface of the file.
    sources: BTreeMap<u32, SourceId>,
    /// Interface, source and link type of its last frame: nearly always those of the next.
    last: Option<(u32, SourceId, LinkType)>,
}

enum State {
    /// Looked at and closed again, its turn is still to come.
    Closed,
    Open(Box<Reader>),
    Done,
}

/// A capture that came to its end, known by its content: BLAKE3 and length of it as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub path: PathBuf,
    pub digest: [u8; 32],
    pub bytes: u64,
}

impl Files {
    /// Looks at every file's header and first frame. `-` is standard input.
    ///
    /// # Errors
    /// A file that cannot be opened or is no capture; a filter that libpcap cannot compile. Nothing was read then.
    pub fn open(paths: &[PathBuf], filter: Option<&str>) -> Result<Self, CaptureError> {
        if paths.len() > FILES_MAX {
            let what = format!("{} files are more than {FILES_MAX}", paths.len());
            return Err(CaptureError::new("the command line", what, "read them in several runs"));
        }
        if paths.iter().filter(|path| *path == Path::new("-")).count() > 1 {
            return Err(CaptureError::new("standard input", "is named twice", "give `-` once"));
        }
        let mut files = Files::none(filter.map(Filter::new).transpose()?);
        for path in paths {
            files.look_at(path)?;
        }
        Ok(files)
    }

    /// A capture that is already in memory, under a name for messages.
    ///
    /// # Errors
    /// It is empty or no capture.
    pub fn in_memory(name: &str, bytes: Vec<u8>) -> Result<Self, CaptureError> {
        let mut files = Files::none(None);
        let size = bytes.len() as u64;
        let input = Input::new(name.to_owned(), Box::new(std::io::Cursor::new(bytes)), false)?;
        files.add(Path::new(name), Box::new(Reader::new(input)?), Some(size), true);
        Ok(files)
    }

    /// One capture that comes by itself and need not end: there is no file to open or to know again.
    pub(super) fn of(reader: Reader) -> Self {
        let mut files = Files::none(None);
        let name = reader.input().name().to_owned();
        files.add(Path::new(&name), Box::new(reader), None, true);
        files
    }

    /// Is part of the next record here, and the rest not?
    pub(super) fn inside_record(&self) -> bool {
        self.files.iter().filter_map(Entry::reader).any(Reader::holds_more)
    }

    fn none(filter: Option<Filter>) -> Self {
        Files {
            files: Vec::new(),
            heads: BinaryHeap::new(),
            stepping: None,
            open: 0,
            filter,
            names: Vec::new(),
            given: Vec::new(),
            interfaces: Vec::new(),
            links: BTreeMap::new(),
            faults: Vec::new(),
            told: false,
            contents: Vec::new(),
            counters: CaptureCounters::default(),
            bytes_done: 0,
            bytes_total: Some(0),
        }
    }

    /// Every input that ended early so far, with its reason.
    pub fn faults(&self) -> &[CaptureError] {
        &self.faults
    }

    /// What was read; complete after [`Filled::End`]. An input that failed to be read is not among them.
    pub fn contents(&self) -> &[Content] {
        &self.contents
    }

    fn look_at(&mut self, path: &Path) -> Result<(), CaptureError> {
        let reader = Box::new(Reader::open(path)?);
        let stream = reader.input().is_stream();
        let size = if stream { None } else { std::fs::metadata(path).ok().map(|m| m.len()) };
        self.add(path, reader, size, stream || self.open < FILES_HELD_MAX);
        Ok(())
    }

    /// Looks at the first frame; `hold` keeps the reader open until its turn (what cannot be opened again must be).
    fn add(&mut self, path: &Path, mut reader: Box<Reader>, size: Option<u64>, hold: bool) {
        let at = self.files.len();
        self.bytes_total = self.bytes_total.zip(size).map(|(sum, size)| sum.saturating_add(size));
        self.files.push(Entry { path: path.to_owned(), state: State::Done, sources: BTreeMap::new(), last: None });
        let first = if reader.advance() { reader.head().map(|(head, _)| head.time) } else { None };
        let Some(first) = first else {
            self.close(at, reader);
            return;
        };
        self.heads.push(Reverse((first, at)));
        let state = if hold {
            self.open += 1;
            State::Open(reader)
        } else {
            State::Closed
        };
        if let Some(entry) = self.files.get_mut(at) {
            entry.state = state;
        }
    }

    /// The reader of a file whose turn has come, standing at its next frame.
    fn take_reader(&mut self, at: usize) -> Option<Box<Reader>> {
        let entry = self.files.get_mut(at)?;
        match std::mem::replace(&mut entry.state, State::Done) {
            State::Open(reader) => Some(reader),
            State::Done => None,
            State::Closed => {
                let opened = if self.open >= FILES_OPEN_MAX {
                    let what = format!("was left out: it is one of more than {FILES_OPEN_MAX} that overlap in time");
                    Err(CaptureError::new(entry.path.display().to_string(), what, "join some first with mergecap"))
                } else {
                    Reader::open(&entry.path).map(Box::new)
                };
                match opened {
                    Ok(mut reader) => {
                        self.open += 1;
                        if reader.advance() {
                            return Some(reader);
                        }
                        self.open -= 1;
                        self.close(at, reader);
                    }
                    Err(error) => self.fault(error),
                }
                None
            }
        }
    }

    fn keep(&mut self, at: usize, reader: Box<Reader>) {
        if let Some(entry) = self.files.get_mut(at) {
            entry.state = State::Open(reader);
        }
    }

    /// A file came to its end, or to its fault.
    fn close(&mut self, at: usize, mut reader: Box<Reader>) {
        if let Some(fault) = reader.take_fault() {
            self.fault(fault);
        }
        self.counters.add(&reader.counters);
        self.bytes_done = self.bytes_done.saturating_add(reader.input().raw_read());
        if let Some(entry) = self.files.get_mut(at) {
            entry.state = State::Done;
            if let Ok((digest, bytes)) = reader.input_mut().digest() {
                self.contents.push(Content { path: entry.path.clone(), digest, bytes });
            }
        }
    }

    fn fault(&mut self, error: CaptureError) {
        self.counters.faults += 1;
        self.faults.push(error);
    }

    /// Steps one file to its next frame and gives it its place among the others.
    fn step(&mut self, at: usize) {
        let Some(mut reader) = self.take_reader(at) else { return };
        if reader.advance()
            && let Some((head, _)) = reader.head()
        {
            self.heads.push(Reverse((head.time, at)));
            self.keep(at, reader);
        } else {
            self.open -= 1;
            self.close(at, reader);
        }
    }

    /// Delivers frames of one file while they are the oldest and have room.
    fn deliver(&mut self, at: usize, reader: &mut Reader, batch: &mut Batch) -> Turn {
        let mut dropped = 0;
        loop {
            let Some((head, bytes)) = reader.head() else { return Turn::Ended };
            if let Some(Reverse(next)) = self.heads.peek()
                && (head.time, at) > *next
            {
                return Turn::Passed(head.time);
            }
            if !batch.has_room(head.len) {
                return Turn::Full(head.time);
            }
            let verdict = self.filter.as_mut().map_or(Verdict::Pass, |f| f.verdict(head.link, bytes));
            match verdict {
                Verdict::Pass => {
                    let known = self.files.get(at).and_then(|e| e.last);
                    let source = match known {
                        Some((interface, source, link)) if interface == head.interface && link == head.link => source,
                        _ => self.source(at, reader, head.interface, head.link),
                    };
                    batch.push(head.time, head.wire_len, head.link, source, bytes);
                    self.counters.frames += 1;
                    self.counters.bytes += u64::from(head.wire_len.max(head.len as u32));
                }
                Verdict::Drop => self.counters.filtered += 1,
                Verdict::CannotSay => self.counters.unfilterable += 1,
            }
            dropped += usize::from(verdict != Verdict::Pass);
            if (reader.may_wait() && !batch.is_empty()) || dropped >= FILTERED_RUN_MAX {
                return Turn::Waiting;
            }
            if !reader.advance() {
                return Turn::Ended;
            }
        }
    }

    /// The source of a file's interface, minted when its first frame comes.
    fn source(&mut self, at: usize, reader: &Reader, interface: u32, link: LinkType) -> SourceId {
        let source = self.source_of(at, reader, interface, link);
        if self.links.len() < LINKS_MAX {
            self.links.entry(link).or_insert(source);
        }
        source
    }

    fn source_of(&mut self, at: usize, reader: &Reader, interface: u32, link: LinkType) -> SourceId {
        let Some(entry) = self.files.get_mut(at) else { return SourceId(0) };
        let source = match entry.sources.get(&interface) {
            Some(source) => *source,
            None if self.names.len() < SOURCES_MAX => {
                let source = SourceId(self.names.len() as u16);
                self.names.push(reader.source_name(interface));
                self.given.push(reader.interface(interface).map(str::to_owned));
                self.interfaces.push(reader.interface_name(interface));
                entry.sources.insert(interface, source);
                source
            }
            None => {
                self.counters.sources_full += 1;
                return SourceId((SOURCES_MAX - 1) as u16);
            }
        };
        entry.last = Some((interface, source, link));
        source
    }
}

/// Why a file stopped giving frames; with the time of its next one, where that is known.
enum Turn {
    Passed(Timestamp),
    Full(Timestamp),
    /// Its next frame is not to be looked at before the next fill.
    Waiting,
    Ended,
}

impl Source for Files {
    fn fill(&mut self, batch: &mut Batch) -> Result<Filled, CaptureError> {
        batch.clear();
        if let Some(at) = self.stepping.take() {
            self.step(at);
        }
        while let Some(Reverse((_, at))) = self.heads.pop() {
            let Some(mut reader) = self.take_reader(at) else { continue };
            match self.deliver(at, &mut reader, batch) {
                Turn::Passed(time) => {
                    self.heads.push(Reverse((time, at)));
                    self.keep(at, reader);
                    continue;
                }
                Turn::Full(time) => {
                    self.heads.push(Reverse((time, at)));
                    self.keep(at, reader);
                }
                Turn::Waiting => {
                    self.stepping = Some(at);
                    self.keep(at, reader);
                }
                Turn::Ended => {
                    self.open -= 1;
                    self.close(at, reader);
                    continue;
                }
            }
            return Ok(if batch.is_empty() { Filled::Idle } else { Filled::Frames });
        }
        if !batch.is_empty() {
            return Ok(Filled::Frames);
        }
        if let Some(filter) = &mut self.filter {
            let refusals = filter.take_refusals();
            self.counters.faults += refusals.len() as u64;
            self.faults.extend(refusals);
        }
        // All that could be read was delivered; now the run may fail, once.
        match self.faults.split_first() {
            Some((first, rest)) if !self.told => {
                self.told = true;
                let mut error = first.clone();
                if !rest.is_empty() {
                    error.what = format!("{} (and {} more inputs ended early)", error.what, rest.len());
                }
                Err(error)
            }
            _ => Ok(Filled::End),
        }
    }

    fn counters(&self, out: &mut Vec<(&'static str, u64)>) {
        let mut sum = self.counters;
        for reader in self.files.iter().filter_map(Entry::reader) {
            sum.add(&reader.counters);
        }
        sum.report(out);
    }

    fn progress(&self) -> Progress {
        let open: u64 = self.files.iter().filter_map(Entry::reader).map(|r| r.input().raw_read()).sum();
        Progress {
            bytes_read: self.bytes_done.saturating_add(open),
            bytes_total: self.bytes_total,
            frames: self.counters.frames,
        }
    }

    fn source_name(&self, id: SourceId) -> &str {
        self.names.get(usize::from(id.0)).map_or("?", String::as_str)
    }

    fn replays(&self) -> bool {
        true
    }

    fn told_as(&self, id: SourceId) -> Option<&str> {
        self.given.get(usize::from(id.0))?.as_deref()
    }

    fn interface(&self, id: SourceId) -> Option<&str> {
        self.interfaces.get(usize::from(id.0))?.as_deref()
    }

    fn link_types_seen(&self) -> Vec<(LinkType, SourceId)> {
        self.links.iter().map(|(link, source)| (*link, *source)).collect()
    }
}

impl Entry {
    fn reader(&self) -> Option<&Reader> {
        match &self.state {
            State::Open(reader) => Some(reader),
            State::Closed | State::Done => None,
        }
    }
}

#[cfg(test)]
mod tests;
