//! Ripeness: whether enough was seen of a VM for its next novelty to mean something (detection.md 4.2): time watched,
//! flows answered, Good–Turing's missing mass, and how long nothing new came. Once ripe stays ripe: an approved change
//! must not open a window in which nothing is judged.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::BaselineConfig;
use super::novelty;
use crate::model::Timestamp;

/// A full local week: what hour-of-week features ask for.
const WEEK_H: f64 = 168.0;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feature {
    /// Services offered.
    Services,
    /// Services used, by (transport, port), whoever serves them.
    Uses,
    /// Services used, by (server, transport, port).
    Peers,
    /// Hours of the week in which it is active.
    Hours,
    /// Bytes an hour.
    Volumes,
}

impl Feature {
    pub const ALL: [Feature; 5] = [Feature::Services, Feature::Uses, Feature::Peers, Feature::Hours, Feature::Volumes];

    /// Asks for a week of calendar instead of flows.
    fn by_calendar(self) -> bool {
        matches!(self, Feature::Hours | Feature::Volumes)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Feature::Services => "services",
            Feature::Uses => "uses",
            Feature::Peers => "peers",
            Feature::Hours => "hours",
            Feature::Volumes => "volumes",
        })
    }
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
    /// Items seen, seen exactly once (f1) and twice (f2).
    pub items: u64,
    pub once: u64,
    pub twice: u64,
    /// Novelties of the last 28 watched days.
    pub recent: u64,
}

/// The rule's verdict with its numbers; `Display` says what it waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Ripeness {
    pub phase: Phase,
    /// The least satisfied share of the conditions, 0..=1; 1 where ripe.
    pub value: f64,
    pub tally: Tally,
    /// Hours still to be watched, and flows still to be answered, if nothing new comes.
    pub wait_h: f64,
    pub wait_flows: u64,
    /// Hours of watching after which it is ripe at the latest, whatever the flows, if nothing new comes.
    pub latest_h: f64,
    /// Ripe by the role it has and not by its own evidence.
    pub by_role: bool,
}

impl Ripeness {
    /// Of services and peers; `since` is when it became ripe before, which holds for good.
    pub fn of(tally: Tally, since: Option<Timestamp>, config: &BaselineConfig) -> Self {
        if since.is_some() {
            return Ripeness::ripe(tally);
        }
        // No novelty in a quiet time W: the 95 % upper bound of the rate is 3 / W (Hanley 1983).
        let quiet_h_min = 3.0 * 24.0 / config.novelty_per_day_max.max(1e-3);
        let flows_for_mass = (tally.once as f64 / config.missing_mass_max.max(1e-6)).ceil() as u64;
        let flows_need = config.flows_min.max(flows_for_mass);
        let quiet = share(tally.quiet_h, quiet_h_min);
        let by_evidence =
            share(tally.observed_h, config.observe_h_min).min(quiet).min(share(tally.flows as f64, flows_need as f64));
        // Who is hardly used gives few flows; a week without anything new bounds the rate by itself.
        let latest_h_min = 24.0 * config.ripe_d_max;
        let by_patience = share(tally.observed_h, latest_h_min).min(quiet);
        let value = by_evidence.max(if by_patience >= 1.0 { 1.0 } else { 0.0 });
        if value >= 1.0 {
            return Ripeness::ripe(tally);
        }
        let quiet_left_h = quiet_h_min - tally.quiet_h;
        Ripeness {
            phase: Phase::Learning,
            value,
            tally,
            wait_h: (config.observe_h_min - tally.observed_h).max(quiet_left_h).max(0.0),
            wait_flows: flows_need.saturating_sub(tally.flows),
            latest_h: (latest_h_min - tally.observed_h).max(quiet_left_h).max(0.0),
            by_role: false,
        }
    }

    /// Of hours and volumes: a full week.
    pub fn by_calendar(tally: Tally) -> Self {
        let value = share(tally.observed_h, WEEK_H);
        if value >= 1.0 {
            return Ripeness::ripe(tally);
        }
        let wait_h = WEEK_H - tally.observed_h;
        Ripeness { phase: Phase::Learning, value, tally, wait_h, wait_flows: 0, latest_h: wait_h, by_role: false }
    }

    pub(crate) fn of_feature(
        feature: Feature,
        tally: Tally,
        since: Option<Timestamp>,
        config: &BaselineConfig,
    ) -> Self {
        if feature.by_calendar() { Ripeness::by_calendar(tally) } else { Ripeness::of(tally, since, config) }
    }

    fn ripe(tally: Tally) -> Self {
        Ripeness { phase: Phase::Ripe, value: 1.0, tally, wait_h: 0.0, wait_flows: 0, latest_h: 0.0, by_role: false }
    }

    /// Its own evidence does not suffice, its role's does.
    pub(crate) fn or_by_role(self, role_is_ripe: bool) -> Self {
        match self.phase {
            Phase::Learning if role_is_ripe => Ripeness { by_role: true, ..Ripeness::ripe(self.tally) },
            _ => self,
        }
    }

    pub fn is_ripe(&self) -> bool {
        self.phase == Phase::Ripe
    }

    /// Upper 95 % bound of novelties a day: of the last 28 days or of the quiet time since the last, whichever is more
    /// careful.
    pub fn novelty_per_day(&self) -> f64 {
        let days = (self.tally.observed_h / 24.0).min(novelty::WINDOW_D as f64);
        novelty::rate_upper(self.tally.recent, days)
    }

    /// Good–Turing: the probability that the next flow shows something unseen.
    pub fn missing_mass(&self) -> f64 {
        novelty::missing_mass(self.tally.once, self.tally.flows)
    }

    /// Chao1: how many items are still unseen.
    pub fn unseen(&self) -> f64 {
        novelty::unseen(self.tally.once, self.tally.twice)
    }
}

fn share(have: f64, need: f64) -> f64 {
    if need <= 0.0 { 1.0 } else { (have / need).clamp(0.0, 1.0) }
}

impl fmt::Display for Ripeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flows = if self.wait_flows == 1 { "flow" } else { "flows" };
        match (self.phase, self.wait_h > 0.0, self.wait_flows) {
            (Phase::Ripe, ..) if self.by_role => write!(f, "ripe by its role"),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(observed_h: f64, quiet_h: f64, flows: u64, once: u64) -> Ripeness {
        let tally = Tally { observed_h, quiet_h, flows, once, ..Tally::default() };
        Ripeness::of(tally, None, &BaselineConfig::default())
    }

    #[test]
    fn a_day_and_thirty_flows_are_ripe() {
        assert!(tally(22.0, 6.0, 30, 0).is_ripe());
    }

    #[test]
    fn one_flow_or_one_minute_less_is_not() {
        let short = tally(22.0, 6.0, 29, 0);
        assert!(!short.is_ripe());
        assert_eq!(short.to_string(), "waits for 1 flow");
        let early = tally(19.0, 6.0, 18, 0);
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
        let tally = Tally { observed_h: 100.0, quiet_h: 2.0, flows: 1_000, ..Tally::default() };
        assert!(Ripeness::of(tally, Some(Timestamp::ZERO), &BaselineConfig::default()).is_ripe());
    }

    #[test]
    fn who_is_hardly_used_is_ripe_after_a_quiet_week_at_the_latest() {
        let idle = tally(100.0, 90.0, 3, 2);
        assert!(!idle.is_ripe());
        assert_eq!(idle.latest_h, 68.0);
        assert!(tally(168.0, 150.0, 3, 2).is_ripe());
        let busy = tally(168.0, 1.0, 3, 2);
        assert!(!busy.is_ripe(), "something new came an hour ago");
        assert_eq!(busy.latest_h, 5.0);
    }

    #[test]
    fn hours_ask_for_a_whole_week() {
        let week = |observed_h| Ripeness::by_calendar(Tally { observed_h, ..Tally::default() });
        assert!(week(168.0).is_ripe());
        assert_eq!(week(84.0).value, 0.5);
        assert_eq!(week(84.0).to_string(), "waits for 3 d more");
    }

    #[test]
    fn a_ripe_role_ripens_its_member() {
        let member = tally(1.0, 1.0, 2, 2).or_by_role(true);
        assert!(member.is_ripe() && member.by_role);
        assert_eq!(member.to_string(), "ripe by its role");
        assert!(!tally(1.0, 1.0, 2, 2).or_by_role(false).is_ripe());
    }
}
