//! How well the probe saw what a finding rests on, and what each mirror source shows.

use serde::{Deserialize, Serialize};

/// Shares in 0..=1: packets lost before us, flows of which one direction was seen, frames seen twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaptureQuality {
    pub loss: f64,
    pub one_way: f64,
    pub duplicates: f64,
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
    pub name: String,
    pub frames: u64,
    /// Another copy of it had been seen.
    pub twins: u64,
    /// Cut by a snap length.
    pub truncated: u64,
    /// Older than the frame before it.
    pub reordered: u64,
}
