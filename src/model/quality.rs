//! How well the probe saw what a finding rests on, and what each mirror source and each pair of hosts shows.
//!
//! Pure data; the bounds are where it is summed.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::segment::Segment;

/// Shares in 0..=1: packets lost before us, flows of which one direction was seen, frames seen twice, frames of which
/// the end is missing, and frames that came out of order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaptureQuality {
    pub loss: f64,
    pub one_way: f64,
    pub duplicates: f64,
    pub truncated: f64,
    pub reordered: f64,
}

impl CaptureQuality {
    /// More lost or seen from one side than this: what was not seen proves nothing.
    pub fn is_worse(&self, loss_max: f64, one_way_max: f64) -> bool {
        self.loss > loss_max || self.one_way > one_way_max
    }
}

/// Frames of one mirror source as the dispatcher saw them, cumulative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceQuality {
    /// Numbered from 0 within one run, as in [`MirrorPath`](super::MirrorPath).
    pub number: u16,
    /// Empty where there is none to tell it under: a file.
    pub name: String,
    pub frames: u64,
    /// As on the wire.
    pub bytes: u64,
    /// Another copy of it had been seen.
    pub twins: u64,
    /// Cut by a snap length.
    pub truncated: u64,
    /// Older than the frame before it, or numbered lower by its mirror.
    pub reordered: u64,
    /// Copies that the mirror numbers (GRE, ERSPAN).
    pub sequenced: u64,
    /// Numbers that never came: copies lost on the way. Goes down where one comes late.
    pub sequence_gaps: u64,
}

impl SourceQuality {
    /// Adds the counts of another of the same name.
    pub fn add(&mut self, other: &SourceQuality) {
        for (sum, more) in [
            (&mut self.frames, other.frames),
            (&mut self.bytes, other.bytes),
            (&mut self.twins, other.twins),
            (&mut self.truncated, other.truncated),
            (&mut self.reordered, other.reordered),
            (&mut self.sequenced, other.sequenced),
            (&mut self.sequence_gaps, other.sequence_gaps),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// What the mirror showed of the packets between two hosts, twins included, since it was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub segment: Segment,
    /// The lower address first; twice the sender's where it spoke to all.
    pub ends: (IpAddr, IpAddr),
    pub frames: u32,
    pub twins: u32,
    pub truncated: u32,
    pub reordered: u32,
}
