//! Several captures as one stream in time order. The file whose next frame is the oldest gives it; equal times go
//! in the order of the command line, then of the file. Within a file its own order holds, even where time steps back.
//! At most [`FILES_OPEN_MAX`] files are open at once: one is opened when the merge reaches its first frame, so any
//! number that follow one another may be given; a file that would be one too many is told and left out.
//! At most [`SOURCES_MAX`] mirror sources (a file, or an interface in it); further ones share the last, counted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::path::{Path, PathBuf};

use crate::model::{LinkType, Timestamp};

use super::batch::{Batch, SourceId};
use super::error::CaptureError;
use super::file::Reader;
use super::filter::{Filter, Verdict};
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
    links: BTreeSet<LinkType>,
    faults: Vec<CaptureError>,
    told: bool,
    stream_digests: Vec<[u8; 32]>,
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
        let mut files = Files {
            files: Vec::with_capacity(paths.len()),
            heads: BinaryHeap::new(),
            stepping: None,
            open: 0,
            filter: filter.map(Filter::new).transpose()?,
            names: Vec::new(),
            links: BTreeSet::new(),
            faults: Vec::new(),
            told: false,
            stream_digests: Vec::new(),
            counters: CaptureCounters::default(),
            bytes_done: 0,
            bytes_total: Some(0),
        };
        for path in paths {
            files.look_at(path)?;
        }
        Ok(files)
    }

    /// Every input that ended early so far, with its reason.
    pub fn faults(&self) -> &[CaptureError] {
        &self.faults
    }

    /// SHA-256 of what came by standard input and pipes, as stored; complete after [`Filled::End`].
    pub fn stream_digests(&self) -> &[[u8; 32]] {
        &self.stream_digests
    }

    fn look_at(&mut self, path: &Path) -> Result<(), CaptureError> {
        let mut reader = Box::new(Reader::open(path)?);
        let at = self.files.len();
        let stream = reader.input().is_stream();
        let size = if stream { None } else { std::fs::metadata(path).ok().map(|m| m.len()) };
        self.bytes_total = self.bytes_total.zip(size).map(|(sum, size)| sum.saturating_add(size));
        self.files.push(Entry { path: path.to_owned(), state: State::Done, sources: BTreeMap::new(), last: None });
        let first = if reader.advance() { reader.head().map(|(head, _)| head.time) } else { None };
        let Some(first) = first else {
            self.close(at, reader);
            return Ok(());
        };
        self.heads.push(Reverse((first, at)));
        let state = if stream || self.open < FILES_HELD_MAX {
            self.open += 1;
            State::Open(reader)
        } else {
            State::Closed
        };
        if let Some(entry) = self.files.get_mut(at) {
            entry.state = state;
        }
        Ok(())
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
        self.stream_digests.extend(reader.input().stream_digest());
        if let Some(entry) = self.files.get_mut(at) {
            entry.state = State::Done;
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
        if self.links.len() < LINKS_MAX {
            self.links.insert(link);
        }
        let Some(entry) = self.files.get_mut(at) else { return SourceId(0) };
        let source = match entry.sources.get(&interface) {
            Some(source) => *source,
            None if self.names.len() < SOURCES_MAX => {
                let source = SourceId(self.names.len() as u16);
                self.names.push(reader.source_name(interface));
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

    fn link_types_seen(&self) -> Vec<LinkType> {
        self.links.iter().copied().collect()
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
mod tests {
    use super::*;

    /// A folder of its own for each test, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("eastwatch-merge-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        /// Writes a capture of one-byte frames.
        fn capture(&self, name: &str, frames: &[(u32, u8)]) -> PathBuf {
            let mut out = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
            for (seconds, byte) in frames {
                out.extend([*seconds, 0, 1, 1].map(u32::to_le_bytes).concat());
                out.push(*byte);
            }
            self.write(name, &out)
        }

        fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// The frames' bytes with their sources' file names, and the error that came before the end.
    fn read(files: &mut Files) -> (Vec<(u8, String)>, Option<String>) {
        let (mut seen, mut error) = (Vec::new(), None);
        let mut batch = Batch::new();
        loop {
            match files.fill(&mut batch) {
                Ok(Filled::Frames | Filled::Idle) => {
                    for frame in &batch.frames {
                        let name = files.source_name(frame.source).rsplit('/').next().unwrap_or_default();
                        seen.push((*batch.get(frame).first().unwrap(), name.to_owned()));
                    }
                }
                Ok(Filled::End) => return (seen, error),
                Err(e) => error = Some(e.to_string()),
            }
        }
    }

    fn bytes(seen: &[(u8, String)]) -> Vec<u8> {
        seen.iter().map(|(byte, _)| *byte).collect()
    }

    #[test]
    fn files_are_one_stream_in_time_order_and_ties_go_by_place() {
        let folder = Folder::new("order");
        let paths = [
            folder.capture("late", &[(5, 3), (5, 4), (9, 7)]),
            folder.capture("early", &[(1, 1), (5, 5), (8, 6)]),
            folder.capture("back", &[(3, 2), (2, 20)]),
        ];
        let mut files = Files::open(&paths, None).unwrap();
        let (seen, error) = read(&mut files);
        assert_eq!((bytes(&seen), error), (vec![1, 2, 20, 3, 4, 5, 6, 7], None));
        assert_eq!(seen.first().map(|(_, name)| name.as_str()), Some("early"));
        assert_eq!(seen.last().map(|(_, name)| name.as_str()), Some("late"));
        let progress = files.progress();
        assert_eq!((Some(progress.bytes_read), progress.frames), (progress.bytes_total, 8));
    }

    #[test]
    fn a_thousand_files_in_a_row_need_few_open_at_once() {
        let folder = Folder::new("many");
        let paths: Vec<_> = (0..1_000).map(|i| folder.capture(&format!("{i}"), &[(1_000 - i, 7)])).collect();
        let mut files = Files::open(&paths, None).unwrap();
        assert!(files.open <= FILES_HELD_MAX);
        let (seen, error) = read(&mut files);
        assert_eq!((seen.len(), error, files.open), (1_000, None, 0));
        assert_eq!(seen.first().map(|(_, name)| name.as_str()), Some("999"));
    }

    #[test]
    fn a_file_too_many_at_one_time_is_told_and_the_others_read() {
        let folder = Folder::new("overlap");
        let paths: Vec<_> = (0..=FILES_OPEN_MAX).map(|i| folder.capture(&format!("{i}"), &[(1, 7), (9, 7)])).collect();
        let (seen, error) = read(&mut Files::open(&paths, None).unwrap());
        assert_eq!(seen.len(), 2 * FILES_OPEN_MAX);
        assert!(error.is_some_and(|e| e.contains("overlap in time")));
    }

    #[test]
    fn a_cut_file_is_told_after_all_that_could_be_read() {
        let folder = Folder::new("cut");
        let whole = folder.capture("whole", &[(1, 1), (9, 4)]);
        let mut cut = std::fs::read(folder.capture("cut", &[(2, 2), (3, 3), (4, 9)])).unwrap();
        cut.pop();
        let cut = folder.write("cut", &cut);
        let mut files = Files::open(&[whole, cut], None).unwrap();
        let (seen, error) = read(&mut files);
        assert_eq!(bytes(&seen), [1, 2, 3, 4]);
        let error = error.unwrap();
        assert!(error.contains("cut at byte 58: the file is cut short"), "{error}");
        assert_eq!(files.faults().len(), 1);
    }

    #[test]
    fn compressed_files_are_known_by_their_bytes_and_by_their_digest() {
        let folder = Folder::new("compressed");
        let plain = std::fs::read(folder.capture("plain", &[(1, 1), (2, 2)])).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gz, &plain).unwrap();
        let gz = folder.write("no-suffix", &gz.finish().unwrap());
        let zst = folder.write("other", &zstd::encode_all(&plain[..], 1).unwrap());
        for path in [&gz, &zst] {
            let (seen, error) = read(&mut Files::open(std::slice::from_ref(path), None).unwrap());
            assert_eq!((bytes(&seen), error), (vec![1, 2], None));
        }
        let digests = [&gz, &zst, &gz].map(|path| super::super::digest(path).unwrap().unwrap());
        assert!(digests.first() == digests.last() && digests.first() != digests.get(1));
    }

    #[test]
    fn a_compressed_file_cut_short_keeps_what_was_decoded() {
        let folder = Folder::new("half");
        // A byte that compresses badly, so that half of the stored bytes are about half of the frames.
        let frames: Vec<_> = (0..100_000u32).map(|i| (i / 100, (i.wrapping_mul(2_654_435_761) >> 13) as u8)).collect();
        let plain = std::fs::read(folder.capture("plain", &frames)).unwrap();
        let mut stored = zstd::encode_all(&plain[..], 1).unwrap();
        stored.truncate(stored.len() / 2);
        let (seen, error) = read(&mut Files::open(&[folder.write("half", &stored)], None).unwrap());
        assert!((10_000..90_000).contains(&seen.len()), "{}", seen.len());
        assert!(error.is_some_and(|e| e.contains("cut short")));
    }

    #[test]
    fn what_cannot_be_opened_is_one_line_before_anything_is_read() {
        let folder = Folder::new("refused");
        let good = folder.capture("good", &[(1, 1)]);
        let empty = folder.write("empty", b"");
        for (path, says) in [
            (folder.0.clone(), "is a directory"),
            (folder.0.join("missing"), "no such file"),
            (empty, "is empty"),
            (folder.write("text", b"hello, world, this is text"), "is not a capture"),
        ] {
            let error = Files::open(&[good.clone(), path], None).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(says) && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn frames_that_fail_the_filter_are_counted_and_left_out() {
        let folder = Folder::new("filter");
        let path = folder.capture("one", &[(1, 1), (2, 2)]);
        let mut files = Files::open(std::slice::from_ref(&path), Some("greater 2")).unwrap();
        assert_eq!(read(&mut files), (vec![], None));
        let mut report = Vec::new();
        files.counters(&mut report);
        assert_eq!(report, [("capture.filtered", 2)]);
        assert!(Files::open(&[path], Some("greater than")).is_err());
    }
}
