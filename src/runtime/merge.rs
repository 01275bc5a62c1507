//! The merge: observations of all streams in one order, released as far as every stream has been heard.
//!
//! Bounded by the channels before it: streams are flushed together, so none can run further ahead of the slowest
//! than the dispatcher may run ahead of a worker.

use std::collections::VecDeque;

use crate::model::{Observation, Order};

/// Observations of one stream, in order, and how far it has come.
#[derive(Debug)]
pub struct Report {
    pub stream: usize,
    pub observations: Vec<Observation>,
    pub watermark: Order,
}

pub struct Merge {
    streams: Vec<(VecDeque<Observation>, Order)>,
}

impl Merge {
    pub fn new(streams: usize) -> Self {
        Merge { streams: (0..streams).map(|_| (VecDeque::new(), Order::default())).collect() }
    }

    /// Takes a report and gives `brain` all that may now be released, in order.
    pub fn take(&mut self, report: Report, mut brain: impl FnMut(Observation)) {
        if let Some((queue, watermark)) = self.streams.get_mut(report.stream) {
            queue.extend(report.observations);
            *watermark = (*watermark).max(report.watermark);
        }
        let safe = self.streams.iter().map(|(_, w)| *w).min().unwrap_or_default();
        while let Some(next) = self.pop_up_to(safe) {
            brain(next);
        }
    }

    /// What is left when every stream has ended.
    pub fn drain(&mut self, mut brain: impl FnMut(Observation)) {
        while let Some(next) = self.pop_up_to(Order::end_of(u64::MAX)) {
            brain(next);
        }
    }

    fn pop_up_to(&mut self, safe: Order) -> Option<Observation> {
        let (queue, _) = self
            .streams
            .iter_mut()
            .filter(|(queue, _)| queue.front().is_some_and(|o| o.order <= safe))
            .min_by_key(|(queue, _)| queue.front().map(|o| o.order))?;
        queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fact, Timestamp};

    fn observation(frame: u64, shard: u16) -> Observation {
        let order = Order { frame, packet: true, shard, ordinal: 0 };
        Observation { order, time: Timestamp::ZERO, fact: Fact::Tick }
    }

    fn report(stream: usize, frames: &[u64], up_to: u64) -> Report {
        let observations = frames.iter().map(|f| observation(*f, stream as u16)).collect();
        Report { stream, observations, watermark: Order::end_of(up_to) }
    }

    #[test]
    fn nothing_is_released_before_the_slowest_stream_has_passed_it() {
        let mut merge = Merge::new(2);
        let mut seen = Vec::new();
        merge.take(report(0, &[1, 5], 6), |o| seen.push(o.order.frame));
        assert!(seen.is_empty());
        merge.take(report(1, &[2, 3], 4), |o| seen.push(o.order.frame));
        assert_eq!(seen, [1, 2, 3]);
        merge.drain(|o| seen.push(o.order.frame));
        assert_eq!(seen, [1, 2, 3, 5]);
    }

    #[test]
    fn equal_frames_come_in_order_of_shard() {
        let mut merge = Merge::new(2);
        let mut seen = Vec::new();
        merge.take(report(1, &[1], 9), |o| seen.push(o.order.shard));
        merge.take(report(0, &[1], 9), |o| seen.push(o.order.shard));
        assert_eq!(seen, [0, 1]);
    }
}
