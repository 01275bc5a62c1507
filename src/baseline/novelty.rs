//! How often something new comes: the estimators that ripeness rests on (detection.md 4.2). Pure arithmetic on counts.

use serde::{Deserialize, Serialize};

/// Days of the sliding window: four whole weeks, so that each weekday counts alike.
pub const WINDOW_D: usize = 28;
const NS_PER_DAY: i64 = 86_400_000_000_000;

/// Novelties of each of the last [`WINDOW_D`] watched days, and of all time. 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    /// Number of the newest day.
    day: i64,
    /// Days back from the newest, the newest first; a day with more counts as 255.
    counts: Vec<u8>,
    pub whole: u64,
}

impl Default for Days {
    fn default() -> Self {
        Days { day: 0, counts: vec![0], whole: 0 }
    }
}

impl Days {
    /// One novelty at a reading of the watched clock.
    pub fn add(&mut self, watched_ns: i64) {
        let passed = watched_ns.div_euclid(NS_PER_DAY) - self.day;
        if passed > 0 {
            let fresh = usize::try_from(passed).unwrap_or(WINDOW_D).min(WINDOW_D);
            self.counts.splice(0..0, std::iter::repeat_n(0, fresh));
            self.counts.truncate(WINDOW_D);
            self.day += passed;
        }
        if let Some(today) = self.counts.first_mut() {
            *today = today.saturating_add(1);
        }
        self.whole = self.whole.saturating_add(1);
    }

    /// Novelties in the window that ends at a reading.
    pub fn recent(&self, watched_ns: i64) -> u64 {
        let passed = (watched_ns.div_euclid(NS_PER_DAY) - self.day).max(0);
        let left = WINDOW_D.saturating_sub(usize::try_from(passed).unwrap_or(WINDOW_D));
        self.counts.iter().take(left).map(|count| u64::from(*count)).sum()
    }

    /// Novelties in the window of the days that began after one reading, until another.
    pub fn after(&self, from_ns: i64, watched_ns: i64) -> u64 {
        let (first, now) = (from_ns.div_euclid(NS_PER_DAY) + 1, watched_ns.div_euclid(NS_PER_DAY));
        let first = first.max(now - WINDOW_D as i64 + 1);
        let dated = (0..).map(|back| self.day - back).zip(&self.counts);
        dated.take_while(|(day, _)| *day >= first).map(|(_, count)| u64::from(*count)).sum()
    }

    /// Number of the newest day, and the counts from there back.
    pub fn parts(&self) -> (i64, &[u8]) {
        (self.day, &self.counts)
    }

    /// From their parts, as another watched clock counts days: `shift_ns` later.
    pub fn of_parts(day: i64, mut counts: Vec<u8>, whole: u64, shift_ns: i64) -> Self {
        counts.truncate(WINDOW_D);
        if counts.is_empty() {
            counts.push(0);
        }
        let day = day.saturating_mul(NS_PER_DAY).saturating_add(shift_ns).div_euclid(NS_PER_DAY);
        Days { day, counts, whole }
    }

    pub fn unite(&mut self, other: &Days) {
        let newest = self.day.max(other.day);
        let at = |days: &Days, back: i64| {
            usize::try_from(back - (newest - days.day)).ok().and_then(|i| days.counts.get(i).copied()).unwrap_or(0)
        };
        let counts =
            (0..WINDOW_D as i64).map(|back| at(self, back).saturating_add(at(other, back))).collect::<Vec<u8>>();
        *self = Days { day: newest, counts, whole: self.whole.saturating_add(other.whole) };
    }
}

/// Good–Turing: the probability that the next of `n` observations shows something unseen, when `once` items were seen
/// exactly once. 1 where nothing was seen.
pub fn missing_mass(once: u64, n: u64) -> f64 {
    if n == 0 { 1.0 } else { (once as f64 / n as f64).min(1.0) }
}

/// Chao1, bias-corrected: how many items are still unseen, from those seen once and twice (Chao 1984).
pub fn unseen(once: u64, twice: u64) -> f64 {
    (once * once.saturating_sub(1)) as f64 / (2.0 * (twice as f64 + 1.0))
}

/// Upper 95 % bound of a Poisson rate after `events` in `exposure`: χ²(0.95, 2k + 2) / 2 over the exposure. With no
/// event that is the rule of three.
pub fn rate_upper(events: u64, exposure: f64) -> f64 {
    chi2_upper_half(events) / exposure.max(1.0 / 1_440.0)
}

/// χ²(0.95, 2k + 2) / 2, exact to three digits for few events (tables), by Wilson and Hilferty's cube beyond.
fn chi2_upper_half(events: u64) -> f64 {
    const FEW: [f64; 6] = [2.996, 4.744, 6.296, 7.754, 9.154, 10.513];
    const Z95: f64 = 1.644_853_6;
    if let Some(exact) = usize::try_from(events).ok().and_then(|k| FEW.get(k)) {
        return *exact;
    }
    let freedom = 2.0 * events as f64 + 2.0;
    let ninth = 2.0 / (9.0 * freedom);
    freedom * (1.0 - ninth + Z95 * ninth.sqrt()).powi(3) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_three_is_its_first_value_and_the_bound_grows_smoothly() {
        assert!((rate_upper(0, 30.0) - 0.0999).abs() < 1e-3);
        assert!((chi2_upper_half(5) - 10.513).abs() < 1e-9);
        // The exact value for 6 is 11.842, for 20 it is 29.062.
        assert!((chi2_upper_half(6) - 11.842).abs() < 0.01);
        assert!((chi2_upper_half(20) - 29.062).abs() < 0.01);
    }

    #[test]
    fn nothing_seen_is_all_missing_and_singletons_foretell_more() {
        assert_eq!(missing_mass(0, 0), 1.0);
        assert_eq!(missing_mass(2, 40), 0.05);
        assert_eq!(unseen(0, 5), 0.0);
        assert_eq!(unseen(1, 0), 0.0);
        assert_eq!(unseen(6, 2), 5.0);
    }

    #[test]
    fn the_window_forgets_and_the_whole_does_not() {
        let mut days = Days::default();
        let day = |n: i64| n * NS_PER_DAY + 5;
        days.add(day(0));
        days.add(day(0));
        days.add(day(10));
        assert_eq!((days.recent(day(10)), days.whole), (3, 3));
        assert_eq!(days.recent(day(28)), 1);
        assert_eq!(days.recent(day(60)), 0);
        days.add(day(10_000));
        assert_eq!((days.recent(day(10_000)), days.whole), (1, 4));
        assert!(days.counts.len() <= WINDOW_D);
    }

    #[test]
    fn united_windows_count_both_by_day() {
        let day = |n: i64| n * NS_PER_DAY;
        let (mut a, mut b) = (Days::default(), Days::default());
        a.add(day(3));
        b.add(day(20));
        b.add(day(20));
        a.unite(&b);
        assert_eq!((a.recent(day(20)), a.whole), (3, 3));
        assert_eq!(a.recent(day(32)), 2);
    }
}
