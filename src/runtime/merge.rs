//! The merge: observations of all streams in one order, released as far as every stream has been heard.
//!
//! Bounded by the channels before it: streams are flushed together, so none can run further ahead of the slowest
//! than the dispatcher may run ahead of a worker.

use std::collections::VecDeque;
use std::vec::IntoIter;

use crate::model::{Observation, Order};

/// Observations of one stream, in order, and how far it has come.
#[derive(Debug)]
pub struct Report {
    pub stream: usize,
    pub observations: Vec<Observation>,
    pub watermark: Order,
}

pub struct Merge {
    streams: Vec<Stream>,
}

/// What came of one stream and was not released yet: reports as they came, none of them empty.
#[derive(Default)]
struct Stream {
    reports: VecDeque<IntoIter<Observation>>,
    watermark: Order,
}

impl Stream {
    fn next_order(&self) -> Option<Order> {
        self.reports.front().and_then(|report| report.as_slice().first()).map(|o| o.order)
    }

    fn pop(&mut self) -> Option<Observation> {
        let report = self.reports.front_mut()?;
        let next = report.next();
        if report.as_slice().is_empty() {
            self.reports.pop_front();
        }
        next
    }
}

impl Merge {
    pub fn new(streams: usize) -> Self {
        Merge { streams: (0..streams).map(|_| Stream::default()).collect() }
    }

    /// Takes a report and gives `brain` all that may now be released, in order.
    pub fn take(&mut self, report: Report, mut brain: impl FnMut(Observation)) {
        if let Some(stream) = self.streams.get_mut(report.stream) {
            stream.watermark = stream.watermark.max(report.watermark);
            if !report.observations.is_empty() {
                stream.reports.push_back(report.observations.into_iter());
            }
        }
        let safe = self.streams.iter().map(|stream| stream.watermark).min().unwrap_or_default();
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
        let first = self.streams.iter_mut().filter(|stream| stream.next_order().is_some_and(|next| next <= safe));
        first.min_by_key(|stream| stream.next_order())?.pop()
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
