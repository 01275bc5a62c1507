//! Where the TCP segments begin that lately showed beside a router: behind it the same bytes may come in other pieces.
//! By connection and sequence number, [`HEADS`] by hash; a newer one takes the place, and what it was the head of is
//! then known by its bytes only.

use super::print::Segment;

/// 50 ms of 2 Gbit/s in frames of 1,500 bytes: 96 KiB each 4,096.
const HEADS: usize = 1 << 13;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    flow: u64,
    seq: u32,
    pub end: u32,
    up: bool,
    /// In the ring.
    pub number: u32,
}

#[derive(Default)]
pub(super) struct Heads(Vec<Head>);

impl Heads {
    pub fn keep(&mut self, segment: &Segment, number: u32) {
        if self.0.is_empty() {
            self.0.resize(HEADS, Head::default());
        }
        let Segment { flow, seq, up, payload_len, .. } = *segment;
        if let Some(slot) = self.0.get_mut(place(flow, seq)) {
            *slot = Head { flow, seq, end: seq.wrapping_add(payload_len), up, number };
        }
    }

    /// What began at `seq` of this connection and direction.
    pub fn at(&self, segment: &Segment, seq: u32) -> Option<Head> {
        let head = self.0.get(place(segment.flow, seq))?;
        (head.flow == segment.flow && head.seq == seq && head.up == segment.up).then_some(*head)
    }
}

fn place(flow: u64, seq: u32) -> usize {
    let hash = (flow ^ u64::from(seq)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 40) as usize % HEADS
}
