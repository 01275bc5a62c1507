//! How well the probe saw what a finding rests on.

use serde::{Deserialize, Serialize};

/// Shares in 0..=1: packets lost before us, flows of which one direction was seen, frames seen twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaptureQuality {
    pub loss: f64,
    pub one_way: f64,
    pub duplicates: f64,
}
