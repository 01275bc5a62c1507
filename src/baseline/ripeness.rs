//! Ripeness: whether enough was seen of a VM for its next novelty to mean something (detection.md 4.2).
//! A first, honest rule: time watched, flows answered, Good–Turing's missing mass, and the rule of three on the
//! rate of novelty. Once ripe stays ripe: an approved change must not open a window in which nothing is judged.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::BaselineConfig;
use crate::model::Timestamp;

const NS_PER_H: f64 = 3.6e12;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Learning,
    Ripe,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Learning => "learning",
            Phase::Ripe => "ripe",
        })
    }
}

/// What a VM's ripeness is about: each feature ripens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Services offered.
    Services,
    /// Services used, by (server, transport, port).
    Peers,
}

/// The evidence behind a ripeness.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Watched time since it was first seen, in hours; the probe's own absence does not count.
    pub observed_h: f64,
    /// Watched hours since the last novelty was learned.
    pub quiet_h: f64,
    /// Answered flows (n).
    pub flows: u64,
    /// Items seen exactly once (f1).
    pub once: u64,
}

/// The rule's verdict with its numbers; `Display` says what it waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Ripeness {
    pub phase: Phase,
    /// The least satisfied share of the four conditions, 0..=1; 1 where ripe.
    pub value: f64,
    pub tally: Tally,
    /// Hours still to be watched, and flows still to be answered, if nothing new comes.
    pub wait_h: f64,
    pub wait_flows: u64,
}

impl Ripeness {
    /// Of a tally; `since` is when it became ripe before, which holds for good.
    pub fn of(tally: Tally, since: Option<Timestamp>, config: &BaselineConfig) -> Self {
        // 3 novelties or fewer in a quiet time W: the 95 % upper bound of the rate is 3 / W (Hanley 1983).
        let quiet_h_min = 3.0 * 24.0 / config.novelty_per_day_max.max(1e-3);
        let mass_max = config.missing_mass_max.max(1e-6);
        let flows_for_mass = (tally.once as f64 / mass_max).ceil() as u64;
        let flows_need = config.flows_min.max(flows_for_mass);
        if since.is_some() {
            return Ripeness { phase: Phase::Ripe, value: 1.0, tally, wait_h: 0.0, wait_flows: 0 };
        }
        let share = |have: f64, need: f64| if need <= 0.0 { 1.0 } else { (have / need).clamp(0.0, 1.0) };
        let value = share(tally.observed_h, config.observe_h_min)
            .min(share(tally.quiet_h, quiet_h_min))
            .min(share(tally.flows as f64, flows_need as f64));
        Ripeness {
            phase: if value >= 1.0 { Phase::Ripe } else { Phase::Learning },
            value,
            tally,
            wait_h: (config.observe_h_min - tally.observed_h).max(quiet_h_min - tally.quiet_h).max(0.0),
            wait_flows: flows_need.saturating_sub(tally.flows),
        }
    }

    pub fn is_ripe(&self) -> bool {
        self.phase == Phase::Ripe
    }

    /// Upper 95 % bound of novelties a day by the rule of three.
    pub fn novelty_per_day(&self) -> f64 {
        3.0 * 24.0 / self.tally.quiet_h.max(1.0 / 60.0)
    }

    /// Good–Turing: the probability that the next flow shows something unseen.
    pub fn missing_mass(&self) -> f64 {
        if self.tally.flows == 0 { 1.0 } else { (self.tally.once as f64 / self.tally.flows as f64).min(1.0) }
    }
}

impl fmt::Display for Ripeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flows = if self.wait_flows == 1 { "flow" } else { "flows" };
        match (self.phase, self.wait_h > 0.0, self.wait_flows) {
            (Phase::Ripe, ..) => write!(f, "ripe"),
            (_, true, 0) => write!(f, "waits for {} more", Hours(self.wait_h)),
            (_, true, n) => write!(f, "waits for {} more and {n} {flows}", Hours(self.wait_h)),
            (_, false, n) => write!(f, "waits for {n} {flows}"),
        }
    }
}

/// A duration for people: `45 min`, `3 h`, `41 d`; rounded up, so that nothing waits for `0 h`.
pub(crate) struct Hours(pub f64);

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1.0 {
            write!(f, "{} min", (self.0 * 60.0).ceil().max(1.0))
        } else if self.0 < 72.0 {
            write!(f, "{} h", self.0.ceil())
        } else {
            write!(f, "{} d", (self.0 / 24.0).floor())
        }
    }
}

/// How long the probe itself has watched: packet time without its absences.
/// A step of packet time longer than an hour counts as one hour: the mirror or the probe may have been off,
/// and time in which nothing could be seen must not ripen anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watched {
    total_ns: i64,
    last: Timestamp,
}

const STEP_MAX_NS: i64 = 3_600_000_000_000;

impl Watched {
    /// Watched nanoseconds at `now`.
    pub fn at(&self, now: Timestamp) -> i64 {
        let step = if self.last == Timestamp::ZERO { 0 } else { now.since_ns(self.last).clamp(0, STEP_MAX_NS) };
        self.total_ns.saturating_add(step)
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

    fn tally(observed_h: f64, quiet_h: f64, flows: u64, once: u64) -> Ripeness {
        Ripeness::of(Tally { observed_h, quiet_h, flows, once }, None, &BaselineConfig::default())
    }

    #[test]
    fn a_day_and_thirty_flows_are_ripe() {
        assert!(tally(24.0, 12.0, 30, 0).is_ripe());
    }

    #[test]
    fn one_flow_or_one_minute_less_is_not() {
        let short = tally(24.0, 12.0, 29, 0);
        assert!(!short.is_ripe());
        assert_eq!(short.to_string(), "waits for 1 flow");
        let early = tally(21.0, 12.0, 18, 0);
        assert_eq!(early.to_string(), "waits for 3 h more and 12 flows");
        assert!((early.value - 0.6).abs() < 1e-9);
    }

    #[test]
    fn a_service_seen_once_asks_for_twenty_flows_each() {
        assert!(!tally(48.0, 24.0, 50, 3).is_ripe());
        assert_eq!(tally(48.0, 24.0, 50, 3).wait_flows, 10);
        assert!(tally(48.0, 24.0, 60, 3).is_ripe());
    }

    #[test]
    fn a_recent_novelty_holds_ripeness_back_unless_it_was_ripe_before() {
        assert!(!tally(100.0, 2.0, 1_000, 0).is_ripe());
        let tally = Tally { observed_h: 100.0, quiet_h: 2.0, flows: 1_000, once: 0 };
        assert!(Ripeness::of(tally, Some(Timestamp::ZERO), &BaselineConfig::default()).is_ripe());
    }

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
