//! The rows of the printed table: what each counts, its target, and whether it must be met.

use super::measured::{Cell, Measured, Sample};
use crate::site::figures::{count_interval, quantile, share_interval};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    RipeDay,
    RipeWeek,
    FalseServices,
    Pages,
    Bound,
    NewPeers,
    NewVms,
    Recall,
    RecallUnripe,
    Delay,
    Planted,
    AutoscaleVms,
    AutoscaleOther,
    PoolVms,
    PoolOther,
    ChurnVms,
    ChurnServices,
    ChurnIdentity,
    ChurnPlaces,
    Sanctioned,
    Unsanctioned,
    AfterNoise,
    NoisePages,
    Frog,
    Failover,
    Reverts,
    Patch,
    PatchPages,
}

#[derive(Clone, Copy, Debug)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Only shown.
    None,
}

pub struct Spec {
    pub row: Row,
    pub what: &'static str,
    pub target: Target,
    /// A miss of it fails the run.
    pub must: bool,
}

const fn spec(row: Row, what: &'static str, target: Target, must: bool) -> Spec {
    Spec { row, what, target, must }
}

/// In the order of printing.
pub const SPECS: &[Spec] = &[
    spec(Row::Recall, "new service on a ripe VM reported", Target::AtLeast(0.99), true),
    spec(Row::RecallUnripe, "new service on a VM that still learns reported", Target::None, false),
    spec(Row::Delay, "largest delay from the qualifying packet to the store, s", Target::AtMost(1.0), true),
    spec(Row::Planted, "planted before or while learning reported", Target::AtLeast(1.0), true),
    spec(Row::FalseServices, "false new-service incidents per ripe VM-day", Target::AtMost(0.0006), true),
    spec(Row::Pages, "pages per 1,000 VMs and day", Target::AtMost(2.0), true),
    spec(Row::RipeDay, "VMs ripe after 24 h", Target::AtLeast(0.90), true),
    spec(Row::RipeWeek, "VMs ripe after 7 d", Target::AtLeast(0.99), true),
    spec(Row::Bound, "stated ripeness bound held", Target::AtLeast(0.95), true),
    spec(Row::NewPeers, "new-peer incidents per VM-day", Target::None, false),
    spec(Row::NewVms, "new-vm incidents per 1,000 VMs and day", Target::None, false),
    spec(Row::AutoscaleVms, "100 clones: new-vm incidents", Target::AtMost(1.0), true),
    spec(Row::AutoscaleOther, "100 clones: other incidents about them", Target::AtMost(0.0), true),
    spec(
        Row::PoolVms,
        "desktop pool of 500, 3 mornings: new-vm incidents above info, or beyond one",
        Target::AtMost(0.0),
        true,
    ),
    spec(Row::PoolOther, "desktop pool of 500: other incidents about them", Target::AtMost(0.0), true),
    spec(Row::ChurnVms, "churn: false new-vm", Target::AtMost(0.0), true),
    spec(Row::ChurnServices, "churn: false new-service", Target::AtMost(0.0), true),
    spec(Row::ChurnIdentity, "churn: identity right", Target::AtLeast(0.99), true),
    spec(Row::ChurnPlaces, "churn: host right", Target::AtLeast(0.99), false),
    spec(Row::Sanctioned, "approved rollout to 30: new-service incidents", Target::AtMost(0.0), true),
    spec(Row::Unsanctioned, "rollout to 30 that nobody approved: new-service incidents", Target::None, false),
    spec(Row::AfterNoise, "shell after a day of noise reported", Target::AtLeast(1.0), true),
    spec(Row::NoisePages, "pages during the day of noise", Target::None, false),
    spec(Row::Frog, "one new service a day, each reported", Target::AtLeast(1.0), false),
    spec(Row::Failover, "failovers: new-vm and new-service incidents", Target::AtMost(0.0), true),
    spec(Row::Reverts, "snapshot reverts: new-vm and new-service incidents", Target::AtMost(0.0), true),
    spec(Row::Patch, "patch day: new-service incidents per 100 machines", Target::None, false),
    spec(Row::PatchPages, "patch day: pages", Target::None, false),
];

/// A printed line.
pub struct Line {
    pub what: &'static str,
    pub size: &'static str,
    pub phase: &'static str,
    pub value: String,
    pub interval: String,
    /// Median, p90 and worst of the seeds.
    pub seeds: String,
    pub target: String,
    pub verdict: &'static str,
    pub failed: bool,
}

pub fn lines(measured: &Measured) -> Vec<Line> {
    let mut lines = Vec::new();
    for spec in SPECS {
        let cells = measured.samples.iter().filter(|((row, ..), _)| *row == spec.row);
        let mut cells: Vec<(&Cell, &Vec<Sample>)> = cells.collect();
        let known = ["before", "0 h", "4 h", "10 h", "3 d", "28 d"];
        let rank = |phase: &str| known.iter().position(|name| *name == phase).unwrap_or(known.len());
        cells.sort_by_key(|((_, size, phase), _)| (*size, rank(phase)));
        lines.extend(cells.into_iter().map(|((_, size, phase), samples)| line(spec, size.name(), phase, samples)));
    }
    lines
}

fn line(spec: &Spec, size: &'static str, phase: &'static str, samples: &[Sample]) -> Line {
    let high_is_bad = !matches!(spec.target, Target::AtLeast(_));
    let (mut hits, mut of, mut events, mut exposure, mut most) = (0, 0, 0, 0.0, f64::MIN);
    let mut each = Vec::new();
    for sample in samples {
        match *sample {
            Sample::Share(h, n) => {
                (hits, of) = (hits + h, of + n);
                if n > 0 {
                    each.push(h as f64 / n as f64);
                }
            }
            Sample::Rate(e, x) => {
                (events, exposure) = (events + e, exposure + x);
                each.push(e as f64 / x.max(1e-9));
            }
            Sample::Most(value) => {
                most = most.max(value);
                each.push(value);
            }
        }
    }
    let (figure, value, interval) = match samples.first() {
        Some(Sample::Share(..)) if of == 0 => (None, "none".to_owned(), String::new()),
        Some(Sample::Share(..)) => {
            let (low, high) = share_interval(hits, of);
            let share = hits as f64 / of as f64;
            (Some(share), format!("{share:.4} ({hits}/{of})"), format!("{low:.4}–{high:.4}"))
        }
        Some(Sample::Rate(..)) => {
            let exposure = exposure.max(1e-9);
            let (low, high) = count_interval(events);
            let rate = events as f64 / exposure;
            let interval = format!("{}–{}", short(low / exposure), short(high / exposure));
            (Some(rate), format!("{} ({events} in {exposure:.0})", short(rate)), interval)
        }
        Some(Sample::Most(_)) if most > f64::MIN => (Some(most), format!("{most:.3}"), String::new()),
        _ => (None, "none".to_owned(), String::new()),
    };
    let seeds = match (each.len(), high_is_bad) {
        (0, _) => String::new(),
        (_, true) => {
            let worst = each.iter().copied().fold(f64::MIN, f64::max);
            format!("{} / {} / {}", short(quantile(&each, 0.5)), short(quantile(&each, 0.9)), short(worst))
        }
        (_, false) => {
            let worst = each.iter().copied().fold(f64::MAX, f64::min);
            format!("{} / {} / {}", short(quantile(&each, 0.5)), short(quantile(&each, 0.1)), short(worst))
        }
    };
    let (target, met) = match spec.target {
        Target::AtLeast(least) => (format!("≥ {least}"), figure.map(|figure| figure >= least - 1e-12)),
        Target::AtMost(most) => (format!("≤ {most}"), figure.map(|figure| figure <= most + 1e-12)),
        Target::None => (String::new(), None),
    };
    let (verdict, failed) = match met {
        Some(true) => ("met", false),
        Some(false) if spec.must => ("MISSED", true),
        Some(false) => ("missed", false),
        None => ("", false),
    };
    Line { what: spec.what, size, phase, value, interval, seeds, target, verdict, failed }
}

fn short(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v.abs() >= 100.0 => format!("{v:.0}"),
        v if v.abs() >= 0.1 => format!("{v:.2}"),
        v => format!("{v:.5}"),
    }
}

/// The table, with its columns aligned.
pub fn print(measured: &Measured) -> (String, Vec<String>) {
    let lines = lines(measured);
    let head = ["what", "size", "learned", "value", "95 %", "seeds: median / p90 / worst", "target", "verdict"];
    let mut rows: Vec<[String; 8]> = vec![head.map(str::to_owned)];
    for line in &lines {
        let Line { what, size, phase, value, interval, seeds, target, verdict, .. } = line;
        rows.push([
            (*what).to_owned(),
            (*size).to_owned(),
            (*phase).to_owned(),
            value.clone(),
            interval.clone(),
            seeds.clone(),
            target.clone(),
            (*verdict).to_owned(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..8).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, w)| format!("{cell}{}", " ".repeat(w - cell.chars().count())))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    let failed = lines.iter().filter(|line| line.failed);
    (out, failed.map(|line| format!("{} ({}, {}): {}", line.what, line.size, line.phase, line.value)).collect())
}
