//! Capture: where packets come from. A [`Source`] fills a [`Batch`] (one buffer, reused) with frames, their times
//! and the mirror source each came by: [`Files`] reads captures as one stream in time order, [`Mirrors`] takes what
//! comes by interfaces, UDP listeners and capture streams, and never sends.
//!
//! Bound: a batch holds at most 256 frames and 1 MiB; a frame at most 256 KiB; a file's window at most 1 MiB.
//! At the bound: a fuller batch waits for the next fill; a longer record is counted and discarded.

mod batch;
mod clock;
mod datagrams;
mod error;
mod fields;
mod file;
mod filter;
mod hold_back;
mod input;
mod listen;
mod live;
mod merge;
mod mirrors;
mod pcap_file;
mod pcapng_file;
mod streams;

pub use batch::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX, Batch, FRAME_BYTES_MAX, Frame, SourceId};
pub use error::CaptureError;
pub use filter::Filter;
pub use hold_back::HoldBack;
pub use input::{digest, stored_bytes};
pub use listen::{Listen, ListenKind};
pub use live::{Live, LiveConfig, addresses};
pub use merge::{Content, Files};
pub use mirrors::Mirrors;

use crate::model::{LinkType, SourceCounts, Timestamp};

/// What one call of [`Source::fill`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The batch holds at least one frame.
    Frames,
    /// Nothing for now: a live source was silent for its read timeout, or a long run of frames failed the filter.
    Idle,
    /// Nothing will come any more.
    End,
}

/// How far a source got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes as stored (before decompression) that were read so far.
    pub bytes_read: u64,
    /// Bytes there are to read; `None` where that is unknown (a pipe, an interface).
    pub bytes_total: Option<u64>,
    /// Frames delivered.
    pub frames: u64,
}

/// Anything that frames come from.
pub trait Source: Send {
    /// Clears `batch` and fills it.
    ///
    /// # Errors
    /// An input ended early (a cut file, an interface that went away). Nothing that could be read is withheld: the
    /// frames before were delivered by earlier calls. The source may be asked again: it goes on with what is left.
    fn fill(&mut self, batch: &mut Batch) -> Result<Filled, CaptureError>;

    /// Counters that depend on the input only, under their dotted names.
    fn counters(&self, out: &mut Vec<(&'static str, u64)>);

    fn progress(&self) -> Progress;

    /// The file (and interface in it) or the interface; `?` for an id this source never gave.
    fn source_name(&self, id: SourceId) -> &str;

    /// Under which name its quality is told; a file has none, for what is told of its content may not depend on where it
    /// lies, but its interfaces have.
    fn told_as(&self, id: SourceId) -> Option<&str> {
        Some(self.source_name(id))
    }

    /// The name of the interface that was captured at, where it is known: `eth1`, whatever file it stands in.
    fn interface(&self, _id: SourceId) -> Option<&str> {
        None
    }

    /// Link types of the frames so far, in order of number, each with the first source that showed it.
    fn link_types_seen(&self) -> Vec<(LinkType, SourceId)>;

    /// May a frame be a recording's own (a step of the clock, a baseline that was handed over)? What a stranger sends may
    /// not.
    fn replays(&self) -> bool {
        false
    }

    /// Time moved to `time` without a packet: a recording notes it.
    fn stepped(&mut self, _time: Timestamp) {}

    /// Per mirror source: frames, and what the kernel and the interface dropped. Empty for files, which lose nothing.
    fn losses(&mut self) -> Vec<SourceCounts> {
        Vec::new()
    }
}

crate::counters! {
    /// What became of what the sources held.
    pub struct CaptureCounters {
        frames => "capture.frames",
        bytes => "capture.bytes",
        /// Records longer than their file's snap length, or than [`FRAME_BYTES_MAX`].
        oversize => "capture.discard.oversize",
        /// Records and blocks that contradict themselves (lengths, trailers).
        malformed => "capture.discard.malformed",
        /// Bytes passed over to find the next record after a broken one.
        resync_bytes => "capture.discard.resync_bytes",
        /// Packets naming an interface that their section never described, or one beyond the bound.
        no_interface => "capture.discard.no_interface",
        /// Packets of pcapng sections of a major version other than 1.
        foreign_version => "capture.discard.foreign_version",
        /// Frames that the filter left out.
        filtered => "capture.filtered",
        /// Frames of a link type that the filter cannot be compiled for.
        unfilterable => "capture.discard.unfilterable",
        /// Frames whose mirror source is beyond the table of sources and shares its last entry.
        sources_full => "capture.sources_full",
        /// Inputs that ended early.
        faults => "capture.faults",
    }
}
