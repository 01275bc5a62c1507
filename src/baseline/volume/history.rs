//! One VM's hours: two codes an hour in a ring of 28 days, and what is usual in them by order statistics, which one
//! bad hour does not move. A gap longer than the ring begins it anew.

use serde::{Deserialize, Serialize};

/// 28 days.
pub(super) const HOURS: usize = 672;
const WEEK: i64 = 168;
/// Five steps an octave: 15 % apart, up to 2 PB an hour.
const STEPS: f64 = 5.0;
const MOST: u8 = 254;
/// The hour was not watched, or is not to be learned from.
pub(super) const UNKNOWN: u8 = 255;
/// A day of codes is allocated at a time.
const DAY: usize = 24;
/// 1.4826 MAD is the standard deviation of a normal distribution; below a factor of 1.4 nothing is told apart.
const MAD_SIGMA: f64 = 1.4826;
const SIGMA_MIN: f64 = 0.35;
/// Where day turns to night the hours beside are of two kinds: that must not hide what is larger than both.
const SIGMA_MAX: f64 = 0.7;
/// Same hours of the week that say more than all hours do.
const NEIGHBOURS_MIN: usize = 6;
/// A job starts up to so many hours off.
const JOB_DRIFT_H: i64 = 2;
/// Less is idle chatter: names, time, a heartbeat.
const ACTIVE_BYTES: u64 = 100_000;

/// Bytes on the log scale, to the nearest step: within 7 %.
pub(super) fn code(bytes: u64) -> u8 {
    ((bytes as f64 + 1.0).log2() * STEPS).round().clamp(0.0, f64::from(MOST)) as u8
}

/// The bytes that a code stands for.
pub(super) fn bytes(code: u8) -> u64 {
    ((f64::from(code) / STEPS).exp2() - 1.0).round() as u64
}

/// Which hours were watched at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Watch {
    /// One past the last hour that is written down.
    end: i64,
    bits: Vec<u64>,
}

impl Default for Watch {
    fn default() -> Self {
        Watch { end: i64::MIN, bits: vec![0; HOURS.div_ceil(64)] }
    }
}

impl Watch {
    pub fn mark(&mut self, hour: i64) {
        let skipped = self.end.max(hour.saturating_sub(HOURS as i64))..hour;
        for hour in skipped {
            self.set(hour, false);
        }
        self.set(hour, true);
        self.end = hour.saturating_add(1);
    }

    pub fn has(&self, hour: i64) -> bool {
        let (word, bit) = place(hour);
        hour < self.end && hour >= self.end - HOURS as i64 && self.bits.get(word).is_some_and(|w| w & bit != 0)
    }

    fn set(&mut self, hour: i64, on: bool) {
        let (at, bit) = place(hour);
        if let Some(word) = self.bits.get_mut(at) {
            *word = if on { *word | bit } else { *word & !bit };
        }
    }
}

fn place(hour: i64) -> (usize, u64) {
    let at = hour.rem_euclid(HOURS as i64) as usize;
    (at / 64, 1 << (at % 64))
}

/// Codes of bytes sent and received, one pair an hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The hour of the first code, and one past that of the last.
    base: i64,
    end: i64,
    codes: Vec<[u8; 2]>,
}

/// The hours that an hour is compared with: as alike as enough are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// The same hour of the week, give or take one.
    Week,
    /// The same hour of the day, give or take one.
    Day,
    #[default]
    All,
}

/// What a VM usually sends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usual {
    /// Hours that are known.
    pub hours: usize,
    /// Which of them it is compared with.
    pub by: By,
    /// Median, and robust standard deviation, of ln(1 + bytes).
    median: f64,
    sigma: f64,
    /// Bytes that 99 of 100 hours do not exceed.
    pub p99: u64,
    /// The most at this time of the week, give or take two hours.
    pub same_hours: u64,
    /// Hours of the week in which it was ever active, and whether this is one of them.
    pub active: usize,
    pub active_now: bool,
}

impl Usual {
    /// Robust z of a volume.
    pub fn z(&self, bytes: u64) -> f64 {
        ((bytes as f64 + 1.0).ln() - self.median) / self.sigma.clamp(SIGMA_MIN, SIGMA_MAX)
    }

    pub fn has_week(&self) -> bool {
        self.hours >= WEEK as usize
    }

    /// What the typical hour has.
    pub fn median(&self) -> u64 {
        (self.median.exp() - 1.0).max(0.0).round() as u64
    }
}

/// Of values on the log scale: median and robust standard deviation, in ln.
pub(crate) fn robust(codes: &mut [u8]) -> (f64, f64) {
    let ln = |code: f64| code * std::f64::consts::LN_2 / STEPS;
    let median = middle(codes);
    let mut off: Vec<u8> = codes.iter().map(|c| (f64::from(*c) - median).abs().round() as u8).collect();
    (ln(median), ln(middle(&mut off)) * MAD_SIGMA)
}

/// How far a volume lies above those of others in the same hour, as a robust z.
pub fn z_among(bytes: u64, others: impl Iterator<Item = u64>) -> f64 {
    let mut codes: Vec<u8> = others.map(code).collect();
    let (median, sigma) = robust(&mut codes);
    ((bytes as f64 + 1.0).ln() - median) / sigma.max(SIGMA_MIN)
}

fn middle(codes: &mut [u8]) -> f64 {
    codes.sort_unstable();
    let at = |index: usize| f64::from(codes.get(index).copied().unwrap_or(0));
    match codes.len() {
        0 => 0.0,
        n if n % 2 == 1 => at(n / 2),
        n => (at(n / 2 - 1) + at(n / 2)) / 2.0,
    }
}

impl History {
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// The codes that stand here for an hour.
    pub(super) fn written(&self, hour: i64) -> Option<[u8; 2]> {
        (hour < self.end).then(|| self.of(hour, &Watch::default())).flatten()
    }

    /// Appends an hour as it is; the first known one begins.
    pub(super) fn write(&mut self, hour: i64, codes: [u8; 2]) {
        if !self.codes.is_empty() {
            self.put(codes);
        } else if codes != [UNKNOWN; 2] {
            (self.base, self.end) = (hour, hour);
            self.put(codes);
        }
    }

    /// Writes the hour down; hours since the last were silent where they were watched.
    pub(super) fn push(&mut self, hour: i64, codes: [u8; 2], watch: &Watch) {
        if self.codes.is_empty() || hour >= self.end.saturating_add(HOURS as i64) {
            *self = History { base: hour, end: hour, codes: std::mem::take(&mut self.codes) };
            self.codes.clear();
        }
        while self.end < hour {
            let silent = if watch.has(self.end) { 0 } else { UNKNOWN };
            self.put([silent; 2]);
        }
        if self.end == hour {
            self.put(codes);
        }
    }

    fn put(&mut self, codes: [u8; 2]) {
        if self.codes.len() < HOURS {
            if self.codes.len() == self.codes.capacity() {
                self.codes.reserve_exact(DAY);
            }
            self.codes.push(codes);
        } else if let Some(old) =
            self.codes.get_mut(self.end.saturating_sub(self.base).rem_euclid(HOURS as i64) as usize)
        {
            *old = codes;
        }
        self.end += 1;
    }

    fn of(&self, hour: i64, watch: &Watch) -> Option<[u8; 2]> {
        if self.codes.is_empty() || hour < self.base || hour < self.end.saturating_sub(HOURS as i64) {
            return None;
        }
        if hour >= self.end {
            return watch.has(hour).then_some([0; 2]);
        }
        let at = hour.saturating_sub(self.base).rem_euclid(HOURS as i64) as usize;
        self.codes.get(at).copied()
    }

    fn sent(&self, hour: i64, watch: &Watch) -> Option<u8> {
        self.of(hour, watch).map(|[sent, _]| sent).filter(|sent| *sent != UNKNOWN)
    }

    /// What is usual in `hour`, by the hours before it.
    pub(super) fn usual(&self, hour: i64, watch: &Watch) -> Usual {
        let mut all: Vec<u8> =
            (hour.saturating_sub(HOURS as i64)..hour).filter_map(|hour| self.sent(hour, watch)).collect();
        let near = |drift: i64| {
            let weeks = (1..=4).map(move |week| hour - week * WEEK);
            weeks.flat_map(move |same| same - drift..=same + drift).filter_map(|hour| self.sent(hour, watch))
        };
        let mut of_week: Vec<u8> = near(1).collect();
        let days = (1..=28).flat_map(|day| hour - day * 24 - 1..=hour - day * 24 + 1);
        let mut of_day: Vec<u8> = days.filter_map(|hour| self.sent(hour, watch)).collect();
        let by = match (of_week.len() >= NEIGHBOURS_MIN, of_day.len() >= NEIGHBOURS_MIN) {
            (true, _) if all.len() >= WEEK as usize => By::Week,
            (_, true) => By::Day,
            _ => By::All,
        };
        let (median, sigma) = robust(match by {
            By::Week => &mut of_week,
            By::Day => &mut of_day,
            By::All => &mut all,
        });
        all.sort_unstable();
        let rank = (all.len() as f64 * 0.99).ceil() as usize;
        let p99 = all.get(rank.saturating_sub(1)).copied().map_or(0, bytes);
        let active = |of: i64| {
            (1..=4).any(|week| self.sent(of - week * WEEK, watch).is_some_and(|sent| bytes(sent) >= ACTIVE_BYTES))
        };
        Usual {
            hours: all.len(),
            by,
            median,
            sigma,
            p99,
            same_hours: near(JOB_DRIFT_H).max().map_or(0, bytes),
            active: (0..WEEK).filter(|ahead| active(hour + ahead)).count(),
            active_now: active(hour),
        }
    }

    /// The larger of both in every hour.
    pub(super) fn unite(&mut self, other: &History, watch: &Watch) {
        let mut united = History::default();
        let begin = match (self.codes.is_empty(), other.codes.is_empty()) {
            (_, true) => return,
            (true, false) => other.base,
            (false, false) => self.base.min(other.base),
        };
        let end = self.end.max(other.end);
        for hour in begin.max(end.saturating_sub(HOURS as i64))..end {
            let both = [self.of(hour, watch), other.of(hour, watch)];
            let known =
                |at: usize| both.iter().flatten().filter_map(move |c| c.get(at).copied()).filter(|c| *c != UNKNOWN);
            let codes = [0, 1].map(|at| known(at).max().unwrap_or(UNKNOWN));
            united.push(hour, codes, watch);
        }
        *self = united;
    }

    #[cfg(test)]
    pub(super) fn bytes_held(&self) -> usize {
        self.codes.capacity() * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(hours: i64, of: impl Fn(i64) -> u64) -> (History, Watch) {
        let (mut history, mut watch) = (History::default(), Watch::default());
        for hour in 0..hours {
            history.push(hour, [code(of(hour)), 0], &watch);
            watch.mark(hour);
        }
        (history, watch)
    }

    #[test]
    fn the_scale_is_within_eight_percent() {
        for value in [0, 1, 999, 1 << 20, 123_456_789, 1 << 45] {
            let read = bytes(code(value));
            assert!((read as f64 - value as f64).abs() <= value as f64 * 0.08, "{value} {read}");
        }
        assert_eq!(code(u64::MAX), MOST);
    }

    #[test]
    fn a_nightly_job_is_usual_in_its_hour_and_unusual_at_noon() {
        let (history, watch) = learned(28 * 24, |hour| if hour % 24 == 2 { 50_000_000_000 } else { 1_000_000 });
        let night = history.usual(28 * 24 + 2, &watch);
        assert!(night.by == By::Week && night.same_hours > 45_000_000_000);
        let noon = history.usual(28 * 24 + 12, &watch);
        assert!(noon.z(500_000_000) > 6.0 && noon.same_hours < 2_000_000);
        assert!(noon.p99 > 45_000_000_000, "one hour in 24 is within 99 of 100");
    }

    #[test]
    fn a_weekly_job_is_known_by_its_hour_alone_even_where_it_drifts() {
        let (history, watch) = learned(14 * 24, |hour| if hour % 168 == 50 { 1 << 40 } else { 1_000 });
        for off in [-2, 0, 2] {
            assert!(history.usual(14 * 24 + 50 + off, &watch).same_hours >= 1 << 39, "{off}");
        }
        assert!(history.usual(14 * 24 + 60, &watch).same_hours < 2_000);
    }

    #[test]
    fn hours_of_the_week_without_activity_are_known() {
        let office = |hour: i64| (8..18).contains(&(hour % 24)) && hour % 168 < 120;
        let (history, watch) = learned(28 * 24, |hour| if office(hour) { 5_000_000 } else { 2_000 });
        let night = history.usual(28 * 24 + 3, &watch);
        assert_eq!((night.active, night.active_now), (50, false));
        assert!(history.usual(28 * 24 + 10, &watch).active_now);
    }

    #[test]
    fn silence_is_written_down_lazily_and_a_long_gap_begins_anew() {
        let (mut history, mut watch) = learned(24, |_| 1_000);
        (24..48).for_each(|hour| watch.mark(hour));
        assert_eq!(history.usual(48, &watch).hours, 48);
        history.push(5_000, [10, 10], &watch);
        assert_eq!((history.usual(5_001, &watch).hours, history.codes.len()), (1, 1));
    }
}
