//! How long the probe itself has watched: packet time without its absences.
//! A step of packet time longer than an hour counts as one hour: the mirror or the probe may have been off,
//! and time in which nothing could be seen must not ripen anything.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

const NS_PER_H: f64 = 3.6e12;
pub(crate) const STEP_MAX_NS: i64 = 3_600_000_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watched {
    total_ns: i64,
    last: Timestamp,
}

impl Watched {
    /// Watched nanoseconds at `now`.
    pub fn at(&self, now: Timestamp) -> i64 {
        let step = if self.last == Timestamp::ZERO { 0 } else { now.since_ns(self.last).clamp(0, STEP_MAX_NS) };
        self.total_ns.saturating_add(step)
    }

    /// The reading at the last packet.
    pub fn read(&self) -> i64 {
        self.total_ns
    }

    /// The newest packet time.
    pub fn last(&self) -> Timestamp {
        self.last
    }

    pub fn advance(&mut self, now: Timestamp) {
        self.total_ns = self.at(now);
        self.last = self.last.max(now);
    }
}

/// Hours between two readings of [`Watched`].
pub(crate) fn hours(from_ns: i64, to_ns: i64) -> f64 {
    to_ns.saturating_sub(from_ns).max(0) as f64 / NS_PER_H
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_absence_is_not_observation() {
        let mut watched = Watched::default();
        let start = Timestamp::from_parts(1_000_000, 0);
        watched.advance(start);
        watched.advance(start.plus_s(1_800));
        watched.advance(start.plus_s(1_800 + 3 * 86_400));
        assert!((hours(0, watched.at(start.plus_s(1_800 + 3 * 86_400))) - 1.5).abs() < 1e-9);
        // Time never runs back.
        assert_eq!(watched.at(start), watched.at(start.plus_s(1_800 + 3 * 86_400)));
    }
}
