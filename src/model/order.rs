//! The place of an observation in the one global order: what makes one worker and eight give the same bytes.

use serde::{Deserialize, Serialize};

/// Sorted by frame, then ticks before the packet that caused them, then shard, then ordinal within the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order {
    /// Frame number over the whole input, from 1; of a tick, the frame that made time pass.
    pub frame: u64,
    /// False for what a tick caused, true for what the packet itself caused.
    pub packet: bool,
    pub shard: u16,
    pub ordinal: u32,
}

impl Order {
    /// The tick that precedes `frame`: nothing of `frame` itself sorts before it.
    pub fn tick(frame: u64) -> Self {
        Order { frame, packet: false, shard: 0, ordinal: 0 }
    }

    /// Everything up to and including `frame`.
    pub fn end_of(frame: u64) -> Self {
        Order { frame, packet: true, shard: u16::MAX, ordinal: u32::MAX }
    }
}
