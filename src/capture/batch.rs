//! A batch: frames in one buffer that is filled, handed on and filled again.
//! At most [`BATCH_FRAMES_MAX`] frames and [`BATCH_BYTES_MAX`] bytes; what does not fit waits for the next batch.

use crate::model::{LinkType, Timestamp};

/// Enough to spread the cost of handing a batch over a ring, few enough to stay in the second-level cache.
pub const BATCH_FRAMES_MAX: usize = 256;
/// Four frames of the longest kind.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// libpcap's own limit (MAXIMUM_SNAPLEN): a 64 KiB segment of a virtual NIC with offloads and its encapsulation
/// fits four times over, and nothing on a network is longer.
pub const FRAME_BYTES_MAX: usize = 262_144;

/// A mirror source, numbered by the [`Source`](super::Source) that gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u16);

/// One captured frame; its bytes lie in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub time: Timestamp,
    pub start: u32,
    /// Bytes captured.
    pub len: u32,
    /// Bytes the frame had on the wire; never less than `len`.
    pub wire_len: u32,
    pub link: LinkType,
    pub source: SourceId,
}

#[derive(Debug, Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    pub frames: Vec<Frame>,
}

impl Batch {
    pub fn new() -> Self {
        Batch { bytes: Vec::with_capacity(BATCH_BYTES_MAX), frames: Vec::with_capacity(BATCH_FRAMES_MAX) }
    }

    /// Forgets the frames and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Is there room for one more frame of `len` bytes?
    pub fn has_room(&self, len: usize) -> bool {
        self.frames.len() < BATCH_FRAMES_MAX && self.bytes.len().saturating_add(len) <= BATCH_BYTES_MAX
    }

    /// Copies one frame in; false (and unchanged) where it has no room.
    pub fn push(&mut self, time: Timestamp, wire_len: u32, link: LinkType, source: SourceId, bytes: &[u8]) -> bool {
        if !self.has_room(bytes.len()) {
            return false;
        }
        // Both fit: has_room bounds them by 1 MiB.
        let (start, len) = (self.bytes.len() as u32, bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
        self.frames.push(Frame { time, start, len, wire_len: wire_len.max(len), link, source });
        true
    }

    /// The bytes of one of its frames; empty for a frame of another batch that does not lie in this one.
    pub fn get(&self, frame: &Frame) -> &[u8] {
        let start = frame.start as usize;
        self.bytes.get(start..start.saturating_add(frame.len as usize)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(batch: &mut Batch, bytes: &[u8]) -> bool {
        batch.push(Timestamp::ZERO, 0, LinkType::ETHERNET, SourceId(0), bytes)
    }

    #[test]
    fn a_frame_reads_back_and_its_wire_length_covers_it() {
        let mut batch = Batch::new();
        assert!(push(&mut batch, b"first") && push(&mut batch, b"") && push(&mut batch, b"third"));
        let texts: Vec<_> = batch.frames.iter().map(|f| batch.get(f)).collect();
        assert_eq!(texts, [&b"first"[..], b"", b"third"]);
        assert_eq!(batch.frames.iter().map(|f| f.wire_len).collect::<Vec<_>>(), [5, 0, 5]);
    }

    #[test]
    fn frame_257_does_not_fit_nor_does_byte_1_mib_plus_one() {
        let mut batch = Batch::new();
        assert!((0..BATCH_FRAMES_MAX).all(|_| push(&mut batch, b"x")));
        assert!(!push(&mut batch, b"x"));
        batch.clear();
        let long = vec![0; FRAME_BYTES_MAX];
        assert!((0..4).all(|_| push(&mut batch, &long)));
        assert!(push(&mut batch, b"") && !push(&mut batch, b"x"));
    }
}
