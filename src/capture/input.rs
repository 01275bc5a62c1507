//! Input: the bytes of one capture, decompressed as they are read, seen through a window that moves forward.
//! At most [`WINDOW_BYTES_MAX`] are held, whatever the file's size; zstd may add its own window of 128 MiB at most.
//! A compressed file that grows more than [`RATIO_MAX`]-fold is a bomb: reading it ends in an error.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

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

/// The bytes as stored: counted, and digested where there will be no second chance.
struct Raw {
    from: Box<dyn Read + Send>,
    /// First bytes, looked at for the magic and given again.
    head: Vec<u8>,
    read: u64,
    digest: Option<Sha256>,
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
        let mut raw = Raw { from, head: Vec::new(), read: 0, digest: stream.then(Sha256::new) };
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

    /// A stream that need not end, so that nobody asks for its digest; and as it is, because each sender of a compressed
    /// one could ask for 128 MiB.
    pub fn endless(name: String, from: Box<dyn Read + Send>) -> Self {
        Self::of(name, Decoder::Plain(Raw { from, head: Vec::new(), read: 0, digest: None }), true)
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

    /// SHA-256 of the stored bytes read so far, for a stream.
    pub fn stream_digest(&self) -> Option<[u8; 32]> {
        self.raw().digest.clone().map(|d| d.finalize().into())
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
        if let (Some(digest), Some(bytes)) = (&mut self.digest, into.get(..read)) {
            digest.update(bytes);
        }
        Ok(read)
    }
}

/// SHA-256 of a capture's bytes as stored, to know it again by content. `None` for what cannot be read twice:
/// standard input and pipes (for those see [`Files::stream_digests`](super::Files::stream_digests)).
///
/// # Errors
/// Missing, unreadable, or a directory.
pub fn digest(path: &Path) -> Result<Option<[u8; 32]>, CaptureError> {
    if path == Path::new("-") {
        return Ok(None);
    }
    // Asked before it is opened: a pipe opened and closed again would break for its writer.
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
        return Ok(None);
    }
    let (mut file, _) = open_file(path)?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; WINDOW_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(Some(digest.finalize().into())),
            Ok(read) => digest.update(chunk.get(..read).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(CaptureError::unreadable(&path.display().to_string(), &e)),
        }
    }
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
    fn a_stream_is_digested_as_stored() {
        let stored = gzip(b"hello");
        let mut input = input(stored.clone());
        assert!(!input.skip(u64::MAX).unwrap());
        assert_eq!(input.stream_digest(), Some(Sha256::digest(&stored).into()));
    }
}
