//! The alert budget: which incidents are pages, notices or lines of the digest (detection.md 4.7). It ranks; it never
//! holds an incident back.
//!
//! The page threshold starts where the rate that is assumed of a site of its size keeps to the budget; of few VMs that is
//! zero, as it is for notices. From there both go to where measured rates prove that no more than the budget comes on
//! ordinary days: the lower 95 % bound of the incidents that stood alone in the last [`WINDOW_D`] watched days, without
//! the noisiest tenth (two at least). They move once a watched day, by a factor of two in probability at most (ln 2
//! nats). So a day of fake novelty moves nothing.
//! State is [`WINDOW_D`] days of at most 202 scores each; days of the calendar are kept for [`CALENDAR_D`].

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Deserializer, Serialize};

use crate::model::{Rank, RankedBy, Ranking, Severity, Surprise, Timestamp};
use crate::store::{Batch, Kind, Store, StoreError};

static BUDGET: Kind = Kind { tag: 0x32, name: "alert budget", version: 1 };

/// Four weeks: each weekday counts alike.
const WINDOW_D: usize = 28;
const CALENDAR_D: usize = 90;
const DAY_S: i64 = 86_400;
const DAY_NS: i64 = DAY_S * 1_000_000_000;
/// Days left out of the rates: one bad day must not blunt the days after it.
const TRIMMED_D_MIN: usize = 2;
/// ln 2.
const STEP_NATS: f64 = std::f64::consts::LN_2;
/// Notices are read once a day by whoever has time: ten for each page.
const NOTICES_A_PAGE: f64 = 10.0;
/// A small site is given the budget of so many VMs: one page a week by default. Less would make the second incident of
/// a month a matter of statistics.
const VMS_MIN: u64 = 72;
/// More is no budget.
const PER_1000_MAX: f64 = 1e6;
/// New services that are assumed of a VM-day before anything is measured, and how many days of every VM that weighs
/// (detection.md 9).
const ASSUMED_PER_VM_DAY: f64 = 0.05;
const ASSUMED_DAYS: f64 = 10.0;
/// Counting goes through all VMs.
const COUNT_EVERY_NS: i64 = 60 * 1_000_000_000;
/// The bucket of what is a page whatever its surprise.
const MANDATORY: u16 = u16::MAX;

/// The `[alerts]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsConfig {
    /// Pages a day that an operator of 1,000 VMs wants at most on ordinary days.
    #[serde(deserialize_with = "budget")]
    pub per_1000_vms_per_day: f64,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        AlertsConfig { per_1000_vms_per_day: 2.0 }
    }
}

fn budget<'de, D: Deserializer<'de>>(number: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(number)?;
    match (0.0..=PER_1000_MAX).contains(&number) {
        true => Ok(number),
        false => Err(serde::de::Error::custom(format!("{number} is not a number of incidents from 0 to 1000000"))),
    }
}

/// Pages a day that a site of so many VMs may have.
pub fn pages_per_day(config: &AlertsConfig, vms: u64) -> f64 {
    config.per_1000_vms_per_day * vms.max(VMS_MIN) as f64 / 1_000.0
}

pub fn notices_per_day(config: &AlertsConfig, vms: u64) -> f64 {
    pages_per_day(config, vms) * NOTICES_A_PAGE
}

/// Where the page threshold starts. Zero, unless what is assumed proves that more than the budget comes; then where a
/// surprise that means what it says keeps to it: what an ordinary VM-day brings with a probability of p comes p times in
/// a VM-day at most. 6.2 nats by default for 72 VMs and more.
fn prior(config: &AlertsConfig, vms: u64) -> Surprise {
    let pages = pages_per_day(config, vms);
    let assumed = rate_lower((ASSUMED_PER_VM_DAY * ASSUMED_DAYS * vms as f64) as u64) / ASSUMED_DAYS;
    match assumed > pages {
        true if pages > 0.0 => Surprise::from_nats((vms as f64 / pages).ln()),
        true => Surprise::MAX,
        false => Surprise::ZERO,
    }
}

/// One day of the calendar (UTC): how its incidents were ranked, reopened ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daily {
    pub day: Timestamp,
    pub page: u64,
    pub notice: u64,
    pub digest: u64,
    /// Got worse and rose in rank.
    pub raised: u64,
    /// Lines of the digest by detector.
    pub digest_by_detector: BTreeMap<String, u64>,
}

/// Scores of one watched day, in tenths of a nat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Day {
    pages: BTreeMap<u16, u32>,
    notices: BTreeMap<u16, u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    page: Surprise,
    notice: Surprise,
    /// Reading of the watched clock when the present day began.
    since_ns: i64,
    vms: u64,
    today: Day,
    /// Newest last.
    window: VecDeque<Day>,
    calendar: VecDeque<Daily>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Budget {
    config: AlertsConfig,
    state: State,
    dirty: bool,
    /// When VMs were counted last, by the watched clock.
    counted_ns: Option<i64>,
}

/// What the budget is at present, for `why` and `calibrate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    pub vms: u64,
    pub pages_per_day: f64,
    /// Measured on ordinary days, at the present threshold.
    pub measured_per_day: f64,
    pub days: usize,
    pub page: Surprise,
    pub notice: Surprise,
}

impl Budget {
    pub fn load(store: &dyn Store, config: AlertsConfig) -> Result<Self, StoreError> {
        let mut budget = Budget { config, ..Budget::default() };
        for (_, body) in store.scan(&BUDGET)? {
            budget.state = BUDGET.read(&body)?;
        }
        Ok(budget)
    }

    pub fn save(&mut self, batch: &mut Batch) {
        if std::mem::take(&mut self.dirty) {
            batch.put(&BUDGET, &[0], &self.state);
        }
    }

    /// Another budget: what is allowed changes at once, the thresholds follow with the days.
    pub fn configure(&mut self, config: AlertsConfig) {
        self.config = config;
    }

    pub fn rank(&self, severity: Severity, always: bool, surprise: Surprise) -> Ranking {
        let State { page, notice, .. } = self.state;
        let (rank, by, threshold) = match severity {
            _ if always => (Rank::Page, RankedBy::AlwaysReport, Surprise::ZERO),
            Severity::Critical => (Rank::Page, RankedBy::Critical, Surprise::ZERO),
            Severity::High if surprise >= page => (Rank::Page, RankedBy::AboveThreshold, page),
            Severity::High => (Rank::Notice, RankedBy::BelowThreshold, page),
            Severity::Medium | Severity::Low if surprise >= notice => (Rank::Notice, RankedBy::AboveThreshold, notice),
            Severity::Medium | Severity::Low => (Rank::Digest, RankedBy::BelowThreshold, notice),
            Severity::Info => (Rank::Digest, RankedBy::Info, Surprise::ZERO),
        };
        Ranking { rank, by, surprise, threshold }
    }

    /// An incident opened, or opened again. What did not stand alone says nothing about ordinary days.
    pub fn opened(&mut self, ranking: &Ranking, severity: Severity, alone: bool, detector: &str, now: Timestamp) {
        self.dirty = true;
        let daily = self.daily(now);
        match ranking.rank {
            Rank::Page => daily.page += 1,
            Rank::Notice => daily.notice += 1,
            Rank::Digest => {
                daily.digest += 1;
                *daily.digest_by_detector.entry(detector.to_owned()).or_insert(0) += 1;
            }
        }
        if !alone {
            return;
        }
        let today = &mut self.state.today;
        let (scores, bucket) = match (ranking.by, severity) {
            (RankedBy::AlwaysReport | RankedBy::Critical, _) => (&mut today.pages, MANDATORY),
            (_, Severity::High) => (&mut today.pages, bucket(ranking.surprise)),
            (_, Severity::Medium | Severity::Low) => (&mut today.notices, bucket(ranking.surprise)),
            _ => return,
        };
        let count = scores.entry(bucket).or_insert(0);
        *count = count.saturating_add(1);
    }

    pub fn raised(&mut self, now: Timestamp) {
        self.dirty = true;
        self.daily(now).raised += 1;
    }

    /// The watched clock went on; once a watched day the thresholds follow what was measured.
    pub fn watch(&mut self, watched_ns: i64, vms: impl FnOnce() -> u64) {
        // Until a day was measured the size of the site is all that is known.
        let measured = !self.state.window.is_empty();
        let counted = |at: i64| (0..COUNT_EVERY_NS).contains(&watched_ns.saturating_sub(at));
        let mut vms_now = self.state.vms;
        if self.is_over(watched_ns) || !(measured || self.counted_ns.is_some_and(counted)) {
            vms_now = vms();
            self.counted_ns = Some(watched_ns);
            let page = prior(&self.config, vms_now);
            if !measured && (self.state.vms, self.state.page) != (vms_now, page) {
                (self.state.vms, self.state.page, self.dirty) = (vms_now, page, true);
            }
        }
        let gone = watched_ns.saturating_sub(self.state.since_ns);
        if gone < 0 {
            // What was learned was forgotten, and the watched clock began anew.
            self.state.since_ns = watched_ns;
        }
        if gone < DAY_NS {
            return;
        }
        self.state.since_ns = if gone < 2 * DAY_NS { self.state.since_ns + DAY_NS } else { watched_ns };
        self.state.vms = vms_now;
        self.turn();
    }

    /// Is the present watched day over?
    fn is_over(&self, watched_ns: i64) -> bool {
        watched_ns.saturating_sub(self.state.since_ns) >= DAY_NS
    }

    fn turn(&mut self) {
        self.dirty = true;
        let today = std::mem::take(&mut self.state.today);
        self.state.window.push_back(today);
        while self.state.window.len() > WINDOW_D {
            self.state.window.pop_front();
        }
        let (pages, notices) =
            (pages_per_day(&self.config, self.state.vms), notices_per_day(&self.config, self.state.vms));
        let page = target(&self.state.window, |day| &day.pages, pages);
        let notice = target(&self.state.window, |day| &day.notices, notices);
        self.state.page = step(self.state.page, page);
        self.state.notice = step(self.state.notice, notice);
    }

    /// Newest last.
    pub fn calendar(&self) -> impl Iterator<Item = &Daily> {
        self.state.calendar.iter()
    }

    pub fn standing(&self) -> Standing {
        let State { page, notice, vms, .. } = self.state;
        let (count, days) = usual(&self.state.window, |day| &day.pages, bucket(page));
        let measured_per_day = count as f64 / days.max(1) as f64;
        Standing { vms, pages_per_day: pages_per_day(&self.config, vms), measured_per_day, days, page, notice }
    }

    /// Time may be late by a packet: it counts for the newest day then.
    fn daily(&mut self, now: Timestamp) -> &mut Daily {
        let second = now.second().div_euclid(DAY_S).saturating_mul(DAY_S);
        let day = Timestamp::from_parts(u64::try_from(second).unwrap_or(0), 0);
        let calendar = &mut self.state.calendar;
        if calendar.back().is_none_or(|last| last.day < day) {
            calendar.push_back(Daily { day, ..Daily::default() });
        }
        while calendar.len() > CALENDAR_D {
            calendar.pop_front();
        }
        let newest = calendar.len().saturating_sub(1);
        &mut calendar[newest]
    }
}

fn bucket(surprise: Surprise) -> u16 {
    (surprise.nats() * 10.0).floor() as u16
}

/// At most a factor of two in probability.
fn step(from: Surprise, to: Surprise) -> Surprise {
    to.clamp(from.plus_nats(-STEP_NATS), from.plus_nats(STEP_NATS))
}

/// How many of at least so much surprise came on ordinary days, and how many days those are.
fn usual(window: &VecDeque<Day>, of: impl Fn(&Day) -> &BTreeMap<u16, u32>, least: u16) -> (u64, usize) {
    let trimmed = window.len().div_ceil(10).max(TRIMMED_D_MIN);
    let days = window.len().saturating_sub(trimmed);
    let count = |day: &Day| of(day).range(least..).map(|(_, n)| u64::from(*n)).sum();
    let mut counts: Vec<u64> = window.iter().map(count).collect();
    counts.sort_unstable();
    (counts.iter().take(days).sum(), days)
}

/// The lowest threshold at which it is not proved that more than the budget comes.
fn target(window: &VecDeque<Day>, of: impl Fn(&Day) -> &BTreeMap<u16, u32>, per_day: f64) -> Surprise {
    let scores = window.iter().flat_map(|day| of(day).keys()).filter(|score| **score != MANDATORY);
    let mut scores: Vec<u16> = scores.map(|score| score + 1).collect();
    scores.push(0);
    scores.sort_unstable();
    scores.dedup();
    for least in &scores {
        let (count, days) = usual(window, &of, *least);
        if rate_lower(count) <= per_day * days as f64 {
            return Surprise::from_nats(f64::from(*least) / 10.0);
        }
    }
    // What is a page whatever the budget spends it all: the rest has to be rarer than anything measured.
    Surprise::from_nats(scores.last().map_or(0.0, |least| f64::from(*least) / 10.0))
}

/// Lower 95 % bound of a Poisson mean after `events`: χ²(0.05, 2k) / 2; exact for few, Wilson and Hilferty's cube beyond.
pub fn rate_lower(events: u64) -> f64 {
    const FEW: [f64; 6] = [0.0, 0.0513, 0.3554, 0.8177, 1.3663, 1.9701];
    const Z95: f64 = 1.644_853_6;
    if let Some(exact) = usize::try_from(events).ok().and_then(|k| FEW.get(k)) {
        return *exact;
    }
    let k = events as f64;
    k * (1.0 - 1.0 / (9.0 * k) - Z95 / (3.0 * k.sqrt())).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    const NOW: Timestamp = Timestamp::ZERO;

    /// At zero, as after some quiet weeks; one day is measured.
    fn budget(vms: u64) -> Budget {
        let window = VecDeque::from([Day::default()]);
        Budget { state: State { vms, window, ..State::default() }, ..Budget::default() }
    }

    /// One watched day with so many incidents of their own, high and of this surprise.
    fn day(budget: &mut Budget, highs: usize, nats: f64, alone: bool) {
        for _ in 0..highs {
            let ranking = budget.rank(Severity::High, false, Surprise::from_nats(nats));
            budget.opened(&ranking, Severity::High, alone, "new-service", NOW);
        }
        let vms = budget.state.vms;
        budget.watch(budget.state.since_ns + DAY_NS, || vms);
    }

    fn high(budget: &Budget, nats: f64) -> Rank {
        budget.rank(Severity::High, false, Surprise::from_nats(nats)).rank
    }

    #[test]
    fn where_the_threshold_is_zero_severity_alone_ranks() {
        let budget = budget(100);
        let ranks = Severity::ALL.map(|severity| budget.rank(severity, false, Surprise::ZERO).rank);
        assert_eq!(ranks, [Rank::Digest, Rank::Notice, Rank::Notice, Rank::Page, Rank::Page]);
    }

    /// At its first tick.
    fn fresh(pages: f64, vms: u64) -> Budget {
        let mut budget = Budget::default();
        budget.configure(AlertsConfig { per_1000_vms_per_day: pages });
        budget.watch(1, || vms);
        budget
    }

    #[test]
    fn before_anything_is_measured_a_page_has_to_be_as_rare_as_the_budget_unless_the_site_is_small() {
        let start = |pages, vms| fresh(pages, vms).state.page;
        assert!((start(2.0, 1_000).nats() - 6.2).abs() < 0.02 && start(2.0, 1_000) == start(2.0, 72));
        assert!((4.9..5.0).contains(&start(2.0, 20).nats()));
        assert_eq!(
            (start(2.0, 9), start(100.0, 1_000), start(0.0, 20)),
            (Surprise::ZERO, Surprise::ZERO, Surprise::MAX)
        );
        let budget = fresh(2.0, 1_000);
        // What one VM-day in twenty brings, and what one in a thousand does.
        assert_eq!((high(&budget, 3.0), high(&budget, 7.0)), (Rank::Notice, Rank::Page));
        assert_eq!(budget.rank(Severity::Critical, false, Surprise::ZERO).rank, Rank::Page);
        assert_eq!(budget.rank(Severity::Low, true, Surprise::ZERO).rank, Rank::Page);
    }

    #[test]
    fn the_first_days_of_a_site_as_restless_as_assumed_keep_to_the_budget() {
        // A thousand VMs with a new service each in twenty days: fifty incidents a day of 3 nats.
        let mut budget = fresh(2.0, 1_000);
        (0..28).for_each(|_| day(&mut budget, 50, 3.0, true));
        assert_eq!(budget.calendar().map(|day| day.page).sum::<u64>(), 0);
    }

    #[test]
    fn a_quiet_site_comes_down_to_severity_alone_by_a_factor_of_two_a_day() {
        let mut budget = fresh(2.0, 1_000);
        let mut days = 0;
        while budget.state.page > Surprise::ZERO {
            let before = budget.state.page.nats();
            day(&mut budget, 0, 0.0, true);
            assert!(before - budget.state.page.nats() < 0.695);
            days += 1;
        }
        assert_eq!(days, 9);
    }

    #[test]
    fn a_quiet_site_keeps_its_pages() {
        let mut budget = budget(1_000);
        for n in 0..100 {
            day(&mut budget, usize::from(n % 2 == 0) * 3, 3.0, true);
        }
        assert_eq!(budget.state.page, Surprise::ZERO, "1.5 a day is within 2 a day");
        assert_eq!(high(&budget, 0.1), Rank::Page);
    }

    #[test]
    fn a_noisy_site_comes_to_its_budget_and_the_rarest_stay_pages() {
        let mut budget = budget(1_000);
        let mut pages = 0;
        for n in 0..60 {
            if n == 40 {
                pages = budget.calendar().map(|d| d.page).sum();
            }
            // Twenty usual ones a day, and one rare one.
            for _ in 0..20 {
                let ranking = budget.rank(Severity::High, false, Surprise::from_nats(4.0));
                budget.opened(&ranking, Severity::High, true, "new-service", NOW);
            }
            day(&mut budget, 1, 9.0, true);
        }
        let later = budget.calendar().map(|d| d.page).sum::<u64>() - pages;
        assert_eq!(later, 20, "one a day: within two a day for 1,000 VMs");
        assert_eq!((high(&budget, 4.0), high(&budget, 9.0)), (Rank::Notice, Rank::Page));
    }

    #[test]
    fn the_threshold_moves_by_a_factor_of_two_a_day_at_most_both_ways() {
        let mut budget = budget(1_000);
        let mut moves = Vec::new();
        for n in 0..80 {
            let before = budget.state.page.nats();
            day(&mut budget, if n < 30 { 500 } else { 0 }, 8.0, true);
            moves.push(budget.state.page.nats() - before);
        }
        let most = moves.iter().fold(0.0f64, |most, by| most.max(by.abs()));
        assert!((0.69..=0.694).contains(&most), "{most}");
        assert!(moves.iter().any(|by| *by > 0.0) && moves.iter().any(|by| *by < 0.0), "it rises and it falls");
        assert_eq!(budget.state.page, Surprise::ZERO, "four quiet weeks later it is where it was");
    }

    #[test]
    fn it_moves_once_a_watched_day_whatever_the_steps_of_time() {
        let mut budget = budget(1_000);
        for _ in 0..5 {
            day(&mut budget, 100, 8.0, true);
        }
        let (page, days) = (budget.state.page, budget.state.window.len());
        for hour in 1..24 {
            budget.watch(budget.state.since_ns + hour * DAY_NS / 24, || 1_000);
        }
        assert_eq!((budget.state.page, budget.state.window.len()), (page, days));
        budget.watch(budget.state.since_ns + 40 * DAY_NS, || 1_000);
        assert_eq!(budget.state.window.len(), days + 1, "a leap is one day");
        budget.watch(0, || 1_000);
        assert_eq!(
            (budget.state.window.len(), budget.state.since_ns),
            (days + 1, 0),
            "a clock that began anew is none"
        );
    }

    #[test]
    fn what_happens_inside_an_open_incident_moves_nothing() {
        let mut budget = budget(1_000);
        for _ in 0..28 {
            day(&mut budget, 500, 3.0, false);
        }
        assert_eq!(budget.state.page, Surprise::ZERO);
        assert_eq!(high(&budget, 0.0), Rank::Page);
    }

    #[test]
    fn a_day_of_fake_novelty_before_the_attack_hides_nothing() {
        // Fourteen ordinary days, then a day of noise from VMs that had no incident, then the attack.
        let attack = [0.3, 1.0, 2.5, 5.0];
        let ranks = |noise: usize| {
            let mut budget = budget(200);
            for _ in 0..14 {
                day(&mut budget, 0, 0.0, true);
            }
            day(&mut budget, noise, 9.0, true);
            attack.map(|nats| high(&budget, nats))
        };
        assert_eq!(ranks(10_000), ranks(0));
        assert_eq!(ranks(0), [Rank::Page; 4]);
    }

    #[test]
    fn a_day_of_fake_novelty_on_a_fresh_site_hides_nothing_either() {
        for quiet in 0..4 {
            let mut budget = budget(50);
            for _ in 0..quiet {
                day(&mut budget, 0, 0.0, true);
            }
            day(&mut budget, 1_000, 9.0, true);
            assert_eq!(high(&budget, 0.0), Rank::Page, "after {quiet} quiet days");
        }
    }

    #[test]
    fn what_is_always_reported_and_what_is_critical_is_a_page_whatever_was_spent() {
        let mut budget = budget(1_000);
        for _ in 0..60 {
            day(&mut budget, 300, 15.0, true);
        }
        assert_eq!(high(&budget, 15.0), Rank::Notice);
        assert_eq!(budget.rank(Severity::Low, true, Surprise::ZERO).rank, Rank::Page);
        assert_eq!(budget.rank(Severity::Critical, false, Surprise::ZERO).rank, Rank::Page);
        assert_eq!(budget.rank(Severity::High, false, Surprise::MAX).rank, Rank::Page);
    }

    #[test]
    fn low_ones_are_notices_until_there_are_ten_times_the_budget() {
        let mut budget = budget(1_000);
        let low = |budget: &mut Budget, n: usize| {
            for _ in 0..n {
                let ranking = budget.rank(Severity::Low, false, Surprise::of(Severity::Low));
                budget.opened(&ranking, Severity::Low, true, "new-peer", NOW);
            }
            day(budget, 0, 0.0, true);
        };
        (0..20).for_each(|_| low(&mut budget, 19));
        assert_eq!(budget.rank(Severity::Low, false, Surprise::of(Severity::Low)).rank, Rank::Notice);
        (0..40).for_each(|_| low(&mut budget, 60));
        assert_eq!(budget.rank(Severity::Low, false, Surprise::of(Severity::Low)).rank, Rank::Digest);
        let Some(daily) = budget.calendar().last() else { panic!("a day") };
        assert_eq!(daily.page + daily.notice + daily.digest, 20 * 19 + 40 * 60, "nothing is lost");
        assert_eq!(daily.digest_by_detector.get("new-peer"), Some(&daily.digest));
    }

    #[test]
    fn a_small_site_has_a_page_a_week() {
        let config = AlertsConfig::default();
        assert!((pages_per_day(&config, 4) * 7.0 - 1.0).abs() < 0.01);
        assert!((pages_per_day(&config, 1_000) - 2.0).abs() < 1e-9);
        let mut budget = budget(4);
        for n in 0..28 {
            day(&mut budget, usize::from(n % 4 == 0), 3.0, true);
        }
        assert_eq!(budget.state.page, Surprise::ZERO, "seven in a month are no proof of more than one a week");
    }

    #[test]
    fn another_budget_takes_effect_with_the_days() {
        let mut budget = budget(1_000);
        (0..20).for_each(|_| day(&mut budget, 10, 3.0, true));
        assert_eq!(high(&budget, 3.0), Rank::Notice);
        budget.configure(AlertsConfig { per_1000_vms_per_day: 20.0 });
        (0..10).for_each(|_| day(&mut budget, 10, 3.0, true));
        assert_eq!((high(&budget, 3.0), budget.standing().pages_per_day), (Rank::Page, 20.0));
    }

    #[test]
    fn the_lower_bound_is_exact_for_few_and_close_beyond() {
        assert!((rate_lower(6) - 2.613).abs() < 0.01);
        assert!((rate_lower(100) - 84.14).abs() < 0.1);
        assert!((0..200).all(|k| rate_lower(k) <= k as f64 && rate_lower(k) <= rate_lower(k + 1)));
    }

    #[test]
    fn the_state_survives_and_the_calendar_is_bounded() {
        let mut budget = budget(1_000);
        for n in 0..200 {
            let ranking = budget.rank(Severity::High, false, Surprise::from_nats(3.0));
            let at = NOW.plus_s(n * DAY_S);
            budget.opened(&ranking, Severity::High, true, "new-service", at);
            day(&mut budget, 0, 0.0, true);
        }
        assert_eq!((budget.state.calendar.len(), budget.state.window.len()), (CALENDAR_D, WINDOW_D));
        let mut batch = Batch::default();
        budget.save(&mut batch);
        let store = MemoryStore::of(&batch).unwrap();
        assert_eq!(Budget::load(&store, AlertsConfig::default()).unwrap().state, budget.state);
        let mut batch = Batch::default();
        budget.save(&mut batch);
        assert!(batch.is_empty());
    }
}
