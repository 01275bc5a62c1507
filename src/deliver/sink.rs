//! Where lines go: a file, standard output, or memory for tests.
//!
//! At most 64 KiB wait to be written; then, or at `flush`, they are. Lines that cannot be written are given up and
//! counted by the caller, never kept: a full disk must not become full memory.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const WAITING_BYTES_MAX: usize = 64 << 10;

/// One line after the other, each whole.
#[derive(Debug)]
pub struct Sink {
    to: To,
    waiting: Vec<u8>,
    waiting_lines: u64,
    /// The last write ended inside a line: the next one begins with a line end, so that readers lose one line only.
    torn: bool,
    closed: bool,
}

#[derive(Debug)]
enum To {
    File(PathBuf, File),
    Stdout,
    Memory(Vec<u8>),
}

/// Why lines were lost, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EveError {
    /// The disk has no room left.
    Full { lost: u64, text: String },
    /// Nobody reads any more (a broken pipe). Everything after it is lost too.
    Closed { lost: u64 },
    /// Any other error of the file system.
    Failed { lost: u64, text: String },
}

impl EveError {
    pub fn lost(&self) -> u64 {
        match self {
            EveError::Full { lost, .. } | EveError::Closed { lost } | EveError::Failed { lost, .. } => *lost,
        }
    }
}

impl fmt::Display for EveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EveError::Full { text, .. } | EveError::Failed { text, .. } => f.write_str(text),
            EveError::Closed { .. } => f.write_str("the reader of the EVE events on standard output has gone"),
        }
    }
}

impl std::error::Error for EveError {}

impl Sink {
    /// Appends to `path`, or writes to standard output for `-`.
    ///
    /// # Errors
    /// The file cannot be opened: which, and why.
    pub fn open(path: &Path) -> Result<Self, EveError> {
        if path == Path::new("-") {
            return Ok(Sink::new(To::Stdout));
        }
        let file = append(path)?;
        Ok(Sink::new(To::File(path.to_path_buf(), file)))
    }

    /// Keeps everything in memory: for tests.
    pub fn memory() -> Self {
        Sink::new(To::Memory(Vec::new()))
    }

    fn new(to: To) -> Self {
        Sink { to, waiting: Vec::new(), waiting_lines: 0, torn: false, closed: false }
    }

    /// What a memory sink holds, the waiting lines included.
    pub fn text(&self) -> String {
        let To::Memory(bytes) = &self.to else { return String::new() };
        String::from_utf8_lossy(&[bytes.as_slice(), self.waiting.as_slice()].concat()).into_owned()
    }

    /// One line, without its end.
    ///
    /// # Errors
    /// This line and those that waited with it are lost.
    pub fn line(&mut self, line: &[u8]) -> Result<(), EveError> {
        if self.closed {
            return Err(EveError::Closed { lost: 1 });
        }
        self.waiting.extend_from_slice(line);
        self.waiting.push(b'\n');
        self.waiting_lines += 1;
        if self.waiting.len() >= WAITING_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// Lines from the first that was not written whole are lost.
    pub fn flush(&mut self) -> Result<(), EveError> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let lines = std::mem::take(&mut self.waiting_lines);
        if self.torn && !waiting.is_empty() {
            waiting.insert(0, b'\n');
        }
        let mut written = 0;
        let result = match &mut self.to {
            To::File(_, file) => write_counted(file, &waiting, &mut written),
            To::Stdout => write_counted(&mut io::stdout().lock(), &waiting, &mut written),
            To::Memory(bytes) => write_counted(bytes, &waiting, &mut written),
        };
        let done = waiting.get(..written).unwrap_or(&waiting);
        let ends = done.iter().filter(|b| **b == b'\n').count() as u64;
        let whole = ends.saturating_sub(u64::from(self.torn && !done.is_empty()));
        self.torn = done.last().map_or(self.torn, |last| *last != b'\n');
        let outcome = result.map_err(|e| self.explain(&e, lines.saturating_sub(whole)));
        // The buffer is kept for the next lines.
        waiting.clear();
        self.waiting = waiting;
        outcome
    }

    /// Opens the file again under its name, after logrotate has moved it away.
    ///
    /// # Errors
    /// As [`Sink::open`]; the file that was open before stays in use.
    pub fn reopen(&mut self) -> Result<(), EveError> {
        let flushed = self.flush();
        if let To::File(path, file) = &mut self.to {
            *file = append(path)?;
            self.torn = false;
        }
        flushed
    }

    fn explain(&mut self, error: &io::Error, lost: u64) -> EveError {
        let name = match &self.to {
            To::File(path, _) => path.display().to_string(),
            _ => "standard output".to_owned(),
        };
        match error.kind() {
            ErrorKind::BrokenPipe => {
                self.closed = true;
                EveError::Closed { lost }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => EveError::Full {
                lost,
                text: format!("cannot write EVE events to {name}: the disk is full: free some space there"),
            },
            _ => EveError::Failed { lost, text: format!("cannot write EVE events to {name}: {error}") },
        }
    }
}

fn append(path: &Path) -> Result<File, EveError> {
    // Group-readable, for a log shipper; what is known of every VM is nothing for everybody.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .map_err(|e| EveError::Failed { lost: 0, text: format!("cannot open {} for EVE events: {e}", path.display()) })
}

/// `write_all` that tells how far it came.
fn write_counted(to: &mut dyn Write, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
        match to.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => *written += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_loses_counted_lines_and_goes_on_after_it() {
        // /dev/full answers every write with ENOSPC.
        let mut sink = Sink::open(Path::new("/dev/full")).unwrap();
        sink.line(b"{}").unwrap();
        sink.line(b"{}").unwrap();
        assert!(matches!(sink.flush(), Err(EveError::Full { lost: 2, .. })));
        assert_eq!(sink.flush(), Ok(()), "nothing waits any more");
    }

    #[test]
    fn many_lines_without_a_reader_stay_bounded() {
        let mut sink = Sink::open(Path::new("/dev/full")).unwrap();
        let lost: u64 = (0..10_000).filter_map(|_| sink.line(&[b'x'; 100]).err()).map(|e| e.lost()).sum();
        assert!(sink.waiting.len() < WAITING_BYTES_MAX && lost > 9_000, "{lost}");
    }

    #[test]
    fn after_logrotate_a_new_file_is_written_and_the_old_one_is_whole() {
        let folder = std::env::temp_dir().join(format!("eastwatch-sink-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("eve.json");
        let mut sink = Sink::open(&path).unwrap();
        sink.line(b"1").unwrap();
        std::fs::rename(&path, folder.join("eve.json.1")).unwrap();
        sink.reopen().unwrap();
        sink.line(b"2").unwrap();
        sink.flush().unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("eve.json.1")).unwrap(), "1\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "2\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Sink::open(Path::new("/nowhere/eve.json")).unwrap_err();
        assert!(error.to_string().starts_with("cannot open /nowhere/eve.json for EVE events"), "{error}");
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let mut sink = Sink::memory();
        sink.torn = true;
        sink.line(b"{}").unwrap();
        sink.flush().unwrap();
        assert_eq!(sink.text(), "\n{}\n");
        assert!(!sink.torn);
    }
}
