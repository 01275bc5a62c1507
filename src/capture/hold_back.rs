//! Hold-back: frames of several live sources in one order of time. Rings are read one after another, and each hands
//! over what it holds up to 100 ms late; a reply must not come before its request for that.
//! Frames wait for [`HOLD_NS`] of capture time, or until all sources are silent. At most [`BATCHES_MAX`] batches and
//! [`BYTES_MAX`] bytes wait; at the bound the oldest frames go on early, counted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::batch::{Batch, Frame, SourceId};
use super::error::CaptureError;
use super::{Filled, Progress, Source};
use crate::model::{LinkType, SourceCounts, Timestamp};

/// 50 ms (decisions.md B.14) beyond the 100 ms for which the kernel may hold a block back.
const HOLD_NS: i64 = 150_000_000;
/// 150 ms of half a million packets a second.
const BATCHES_MAX: usize = 320;
/// 150 ms of 4 Gbit/s.
const BYTES_MAX: usize = 72 << 20;

/// A source whose frames come in order of time.
pub struct HoldBack<S> {
    inner: S,
    /// With one source there is nothing to order.
    several: bool,
    /// Next frame of each batch that waits: its time, the batch's number, and the frame's place.
    heads: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    waiting: Vec<Option<(u64, Batch)>>,
    spare: Vec<Batch>,
    batches: u64,
    bytes: usize,
    newest: Timestamp,
    /// What the inner source said last, where it must wait for what it gave before.
    after: Option<Result<Filled, CaptureError>>,
    early: u64,
}

impl<S: Source> HoldBack<S> {
    pub fn new(inner: S, several: bool) -> Self {
        HoldBack {
            inner,
            several,
            heads: BinaryHeap::new(),
            waiting: Vec::new(),
            spare: Vec::new(),
            batches: 0,
            bytes: 0,
            newest: Timestamp::ZERO,
            after: None,
            early: 0,
        }
    }

    fn take_in(&mut self, mut batch: Batch) {
        // Stable: frames of one source keep their order.
        batch.frames.sort_by_key(|frame| frame.time);
        if let (Some(first), Some(last)) = (batch.frames.first(), batch.frames.last()) {
            self.newest = self.newest.max(last.time);
            self.bytes += batch.bytes.len();
            self.heads.push(Reverse((first.time, self.batches, 0)));
            let place = self.waiting.iter().position(Option::is_none);
            let entry = Some((self.batches, batch));
            match place.and_then(|at| self.waiting.get_mut(at)) {
                Some(slot) => *slot = entry,
                None => self.waiting.push(entry),
            }
            self.batches += 1;
        } else {
            self.spare.push(batch);
        }
    }

    /// Moves the oldest frame on; false where it does not fit.
    fn release(&mut self, out: &mut Batch) -> bool {
        let Some(Reverse((_, number, at))) = self.heads.peek().copied() else { return false };
        let found = self.waiting.iter_mut().find(|w| w.as_ref().is_some_and(|(n, _)| *n == number));
        let Some(slot) = found else {
            self.heads.pop();
            return true;
        };
        let Some((_, batch)) = slot else { return false };
        let Some(frame) = batch.frames.get(at).copied() else { return false };
        let Frame { time, wire_len, link, source, .. } = frame;
        if !out.push(time, wire_len, link, source, batch.get(&frame)) {
            return false;
        }
        self.heads.pop();
        match batch.frames.get(at + 1) {
            Some(next) => self.heads.push(Reverse((next.time, number, at + 1))),
            None => {
                if let Some((_, mut batch)) = slot.take() {
                    self.bytes -= batch.bytes.len();
                    batch.clear();
                    self.spare.push(batch);
                }
            }
        }
        true
    }
}

impl<S: Source> Source for HoldBack<S> {
    fn fill(&mut self, out: &mut Batch) -> Result<Filled, CaptureError> {
        if !self.several {
            return self.inner.fill(out);
        }
        out.clear();
        loop {
            while let Some(Reverse((oldest, _, _))) = self.heads.peek().copied() {
                let full = self.heads.len() > BATCHES_MAX || self.bytes > BYTES_MAX;
                if !full && self.after.is_none() && self.newest.since_ns(oldest) < HOLD_NS {
                    break;
                }
                if !self.release(out) {
                    return Ok(Filled::Frames);
                }
                self.early += u64::from(full);
            }
            if !out.is_empty() {
                return Ok(Filled::Frames);
            }
            if let Some(after) = self.after.take() {
                return after;
            }
            let mut batch = self.spare.pop().unwrap_or_default();
            match self.inner.fill(&mut batch) {
                Ok(Filled::Frames) => self.take_in(batch),
                other => {
                    self.take_in(batch);
                    self.after = Some(other);
                }
            }
        }
    }

    fn counters(&self, out: &mut Vec<(&'static str, u64)>) {
        self.inner.counters(out);
        if self.early > 0 {
            out.push(("capture.hold_back_full", self.early));
        }
    }

    fn progress(&self) -> Progress {
        self.inner.progress()
    }

    fn source_name(&self, id: SourceId) -> &str {
        self.inner.source_name(id)
    }

    fn interface(&self, id: SourceId) -> Option<&str> {
        self.inner.interface(id)
    }

    fn link_types_seen(&self) -> Vec<(LinkType, SourceId)> {
        self.inner.link_types_seen()
    }

    fn stepped(&mut self, time: Timestamp) {
        self.inner.stepped(time);
    }

    fn losses(&mut self) -> Vec<SourceCounts> {
        self.inner.losses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives batches of frames at these milliseconds; an empty one is idle.
    struct Rings(Vec<Vec<i64>>);

    impl Source for Rings {
        fn fill(&mut self, batch: &mut Batch) -> Result<Filled, CaptureError> {
            batch.clear();
            if self.0.is_empty() {
                return Ok(Filled::End);
            }
            let times = self.0.remove(0);
            for ms in &times {
                batch.push(Timestamp::ZERO.plus_ms(*ms), 1, LinkType::ETHERNET, SourceId(0), b"x");
            }
            Ok(if times.is_empty() { Filled::Idle } else { Filled::Frames })
        }
        fn counters(&self, _: &mut Vec<(&'static str, u64)>) {}
        fn progress(&self) -> Progress {
            Progress::default()
        }
        fn source_name(&self, _: SourceId) -> &str {
            "ring"
        }
        fn link_types_seen(&self) -> Vec<(LinkType, SourceId)> {
            Vec::new()
        }
    }

    /// Milliseconds of the frames of each batch, `None` for idle.
    fn read(rings: &[&[i64]], several: bool) -> Vec<Option<Vec<i64>>> {
        let mut source = HoldBack::new(Rings(rings.iter().map(|ring| ring.to_vec()).collect()), several);
        let (mut batch, mut seen) = (Batch::new(), Vec::new());
        loop {
            match source.fill(&mut batch).unwrap() {
                Filled::End => return seen,
                Filled::Idle => seen.push(None),
                Filled::Frames => seen.push(Some(batch.frames.iter().map(|f| f.time.ns() / 1_000_000).collect())),
            }
        }
    }

    #[test]
    fn two_rings_read_one_after_another_come_in_order_of_time() {
        let seen = read(&[&[0, 40, 90], &[10, 50, 95], &[100, 300]], true);
        assert_eq!(seen, [Some(vec![0, 10, 40, 50, 90, 95, 100]), Some(vec![300])]);
    }

    #[test]
    fn silence_lets_all_go_and_is_told_after_it() {
        assert_eq!(read(&[&[0, 40], &[10], &[]], true), [Some(vec![0, 10, 40]), None]);
    }

    #[test]
    fn one_ring_is_not_held_back() {
        assert_eq!(read(&[&[0, 40], &[10]], false), [Some(vec![0, 40]), Some(vec![10])]);
    }
}
