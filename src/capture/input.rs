//! Input: the bytes of one capture, decompressed as they are read, seen through a window that moves forward.
//! At most [`WINDOW_BYTES_MAX`] are held, whatever the file's size; zstd may add its own window of 128 MiB at most.
//! A compressed file that grows more than [`RATIO_MAX`]-fold is a bomb: reading it ends in an error.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::error::CaptureError;

/// One read's worth; grows up to [`WINDOW_BYTES_MAX`] where a record needs it.
const WINDOW_BYTES: usize = 128 << 10;
pub(super) const WINDOW_BYTES_MAX: usize = 1 << 20;
/// deflate cannot exceed 1,032; captures of equal packets were seen near 200; zstd on zeros passes 30,000.
const RATIO_MAX: u64 = 1_100;
/// The ratio is tested from this size of output on: a small file harms nobody.
const RATIO_FROM_BYTES: u64 = 64 << 20;
/// 2^27 is what `zstd --ultra -22` and `--long` write and what the zstd tool itself accepts unasked.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub(super) struct Input {
    name: String,
    source: Decoder,
    window: Vec<u8>,
    /// `window[start..end]` is what was decoded and not yet consumed.
    start: usize,
    end: usize,
    /// Decoded bytes before `start`.
    offset: u64,
    ended: bool,
    /// Not a regular file: it cannot be read twice, and a read may wait for its writer.
    stream: bool,
}

enum Decoder {
    Plain(Raw),
    Gzip(Box<MultiGzDecoder<BufReader<Raw>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Raw>>>),
}

/// The bytes as stored: counted and digested as they come, so that a capture is read only once.
struct Raw {
    from: Box<dyn Read + Send>,
    /// First bytes, looked at for the magic and given again.
    head: Vec<u8>,
    read: u64,
    digest: Box<blake3::Hasher>,
}

impl Input {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    /// Missing, unreadable, a directory, or empty.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        if path == Path::new("-") {
            return Self::new("standard input".to_owned(), Box::new(io::stdin()), true);
        }
        let name = path.display().to_string();
        let (file, meta) = open_file(path)?;
        Self::new(name, Box::new(file), !meta.is_file())
    }

    pub fn new(name: String, from: Box<dyn Read + Send>, stream: bool) -> Result<Self, CaptureError> {
        let mut raw = Raw { from, head: Vec::new(), read: 0, digest: Box::default() };
        raw.look(4).map_err(|e| CaptureError::unreadable(&name, &e))?;
        let head = raw.head.clone();
        let source = match head.as_slice() {
            [] => return Err(CaptureError::new(name, "is empty", "capture again, or leave it out")),
            [a, b, ..] if [*a, *b] == GZIP_MAGIC => {
                Decoder::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(WINDOW_BYTES, raw))))
            }
            // A frame, or a skippable frame as pzstd and seekable archives begin with (RFC 8878 section 3.1).
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(WINDOW_BYTES, raw))
                    .map_err(|e| CaptureError::unreadable(&name, &e))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|e| CaptureError::unreadable(&name, &e))?;
                Decoder::Zstd(Box::new(decoder))
            }
            _ => Decoder::Plain(raw),
        };
        Ok(Self::of(name, source, stream))
    }

    /// A stream that need not end, as it is: the sender of a compressed one could ask for 128 MiB.
    pub fn endless(name: String, from: Box<dyn Read + Send>) -> Self {
        Self::of(name, Decoder::Plain(Raw { from, head: Vec::new(), read: 0, digest: Box::default() }), true)
    }

    fn of(name: String, source: Decoder, stream: bool) -> Self {
        Input { name, source, window: Vec::new(), start: 0, end: 0, offset: 0, ended: false, stream }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_stream(&self) -> bool {
        self.stream
    }

    pub fn is_compressed(&self) -> bool {
        !matches!(self.source, Decoder::Plain(_))
    }

    /// Offset of the window in the decoded bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes as stored, read so far.
    pub fn raw_read(&self) -> u64 {
        self.raw().read
    }

    /// BLAKE3 of all stored bytes and their number. What nobody wanted of a file (what follows a cut record, or a
    /// last gzip member) is read here; of a stream only what came, for its writer may never end.
    ///
    /// # Errors
    /// From the system: then its content is not known.
    pub fn digest(&mut self) -> io::Result<([u8; 32], u64)> {
        let stream = self.stream;
        let raw = match &mut self.source {
            Decoder::Plain(raw) => raw,
            Decoder::Gzip(decoder) => decoder.get_mut().get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut().get_mut(),
        };
        if !stream {
            io::copy(raw, &mut io::sink())?;
        }
        Ok((*raw.digest.finalize().as_bytes(), raw.read))
    }

    /// What is in the window, without reading.
    pub fn bytes(&self) -> &[u8] {
        self.window.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads until the window holds `len` bytes; false where the input ends before.
    ///
    /// # Errors
    /// From the system or the decompressor. What was decoded before stays in the window.
    #[inline]
    pub fn need(&mut self, len: usize) -> io::Result<bool> {
        if self.end - self.start >= len { Ok(true) } else { self.refill(len.min(WINDOW_BYTES_MAX)) }
    }

    fn refill(&mut self, len: usize) -> io::Result<bool> {
        self.window.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.window.len() < len.max(WINDOW_BYTES) {
            self.window.resize(len.max(WINDOW_BYTES), 0);
        }
        while self.end < len && !self.ended {
            let free = self.window.get_mut(self.end..).unwrap_or_default();
            match self.source.read(free) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            let decoded = self.offset + self.end as u64;
            if self.is_compressed() && decoded > RATIO_FROM_BYTES && decoded / self.raw_read().max(1) > RATIO_MAX {
                self.ended = true;
                return Err(io::Error::other(format!("it grows more than {RATIO_MAX}-fold: a decompression bomb")));
            }
        }
        Ok(self.end >= len)
    }

    /// Moves the window forward by at most what it holds.
    #[inline]
    pub fn consume(&mut self, len: usize) {
        let step = len.min(self.end - self.start);
        self.start += step;
        self.offset += step as u64;
    }

    /// Moves forward by `len`, reading as needed; false where the input ends before.
    pub fn skip(&mut self, len: u64) -> io::Result<bool> {
        let mut left = len;
        loop {
            let step = left.min((self.end - self.start) as u64);
            self.consume(step as usize);
            left -= step;
            if left == 0 {
                return Ok(true);
            }
            if !self.need(1)? {
                return Ok(false);
            }
        }
    }

    fn raw(&self) -> &Raw {
        match &self.source {
            Decoder::Plain(raw) => raw,
            Decoder::Gzip(decoder) => decoder.get_ref().get_ref(),
            Decoder::Zstd(decoder) => decoder.get_ref().get_ref(),
        }
    }
}

impl Decoder {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(raw) => raw.read(into),
            Decoder::Gzip(decoder) => decoder.read(into),
            Decoder::Zstd(decoder) => decoder.read(into),
        }
    }
}

impl Raw {
    /// Reads the first `len` bytes (fewer where there are not so many) into `head`, to be read again.
    fn look(&mut self, len: u64) -> io::Result<()> {
        self.from.by_ref().take(len).read_to_end(&mut self.head).map(drop)
    }
}

impl Read for Raw {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = if self.head.is_empty() {
            self.from.read(into)?
        } else {
            let read = self.head.as_slice().read(into)?;
            self.head.drain(..read);
            read
        };
        self.read += read as u64;
        self.digest.update(into.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Bytes of a capture as stored; `None` for what cannot be read twice: standard input and pipes.
///
/// # Errors
/// Missing, unreadable, or a directory.
pub fn stored_bytes(path: &Path) -> Result<Option<u64>, CaptureError> {
    // Asked before it is opened: a pipe opened and closed again would break for its writer.
    let once = std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
    if once || path == Path::new("-") {
        return Ok(None);
    }
    open_file(path).map(|(_, meta)| Some(meta.len()))
}

/// BLAKE3 of a file as stored, to know it again by content before it is analysed
/// (else see [`Files::contents`](super::Files::contents)).
///
/// # Errors
/// Missing, unreadable, or a directory.
pub fn digest(path: &Path) -> Result<[u8; 32], CaptureError> {
    let (file, _) = open_file(path)?;
    let mut raw = Raw { from: Box::new(file), head: Vec::new(), read: 0, digest: Box::default() };
    io::copy(&mut raw, &mut io::sink()).map_err(|e| CaptureError::unreadable(&path.display().to_string(), &e))?;
    Ok(*raw.digest.finalize().as_bytes())
}

/// Opens without waiting for anything but a pipe's writer; a directory is refused here, for it opens but never reads.
fn open_file(path: &Path) -> Result<(File, std::fs::Metadata), CaptureError> {
    let unreadable = |e: io::Error| CaptureError::unreadable(&path.display().to_string(), &e);
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if meta.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    Ok((file, meta))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn input(bytes: Vec<u8>) -> Input {
        Input::new("test".to_owned(), Box::new(io::Cursor::new(bytes)), true).unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_window_moves_over_records_longer_than_one_read() {
        let bytes: Vec<u8> = (0..600_000u32).map(|i| i as u8).collect();
        let mut input = input(bytes.clone());
        assert!(input.need(10).unwrap());
        input.consume(7);
        assert!(input.need(400_000).unwrap());
        assert_eq!(input.bytes().get(..400_000), bytes.get(7..400_007));
        assert!(input.skip(599_990).unwrap());
        assert!(!input.need(4).unwrap());
        assert_eq!((input.bytes().len(), input.offset()), (3, 599_997));
    }

    #[test]
    fn members_and_frames_in_a_row_are_one_stream() {
        let two_members = [gzip(b"left "), gzip(b"right")].concat();
        let two_frames =
            [zstd::encode_all(&b"left "[..], 3).unwrap(), zstd::encode_all(&b"right"[..], 3).unwrap()].concat();
        for bytes in [two_members, two_frames] {
            let mut input = input(bytes);
            assert!(input.need(10).unwrap());
            assert_eq!(input.bytes(), b"left right");
        }
    }

    #[test]
    fn a_bomb_ends_in_an_error() {
        let bomb = zstd::encode_all(io::repeat(0).take(256 << 20), 3).unwrap();
        assert!(input(bomb).skip(u64::MAX).unwrap_err().to_string().contains("bomb"));
    }

    #[test]
    fn a_large_file_of_ordinary_ratio_does_not() {
        let mut piece = vec![0u8; 64 << 10];
        piece.iter_mut().enumerate().for_each(|(i, b)| *b = (i.wrapping_mul(2_654_435_761) >> 7) as u8);
        let plain = piece.repeat(1_100);
        assert!(!input(gzip(&plain)).skip(u64::MAX).unwrap());
    }

    #[test]
    fn it_is_digested_as_stored() {
        let stored = gzip(b"hello");
        let expected = (*blake3::hash(&stored).as_bytes(), stored.len() as u64);
        let mut stream = input(stored.clone());
        assert!(!stream.skip(u64::MAX).unwrap());
        assert_eq!(stream.digest().unwrap(), expected);
    }

    #[test]
    fn a_file_is_digested_whole_even_where_nobody_read_on() {
        let stored = [gzip(&[7; 300_000]), b"what follows the last member".to_vec()].concat();
        let expected = (*blake3::hash(&stored).as_bytes(), stored.len() as u64);
        let from = Box::new(io::Cursor::new(stored));
        let mut file = Input::new("test".to_owned(), from, false).unwrap();
        assert!(file.need(4).unwrap());
        assert_eq!(file.digest().unwrap(), expected);
    }
}
