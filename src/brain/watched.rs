//! Live mirror sources under watch: silent for longer than usual, or losing more than they may. Asked once a second of
//! wall time, which moves packet time where no packet does; never in `read`. As many entries as sources.

use std::collections::BTreeMap;

use super::sight::share;
use crate::model::{SourceCounts, Timestamp};

/// No source is called silent before this; ARP alone is heard more often on a live network.
const SILENT_S_MIN: f64 = 30.0;
/// A source that was once silent for long is given so many times as long.
const SILENT_TIMES: f64 = 3.0;
/// Nobody waits longer for word of a dead mirror.
const SILENT_S_MAX: f64 = 900.0;
/// Of the packets of a minute, with at least so many.
const LOSS_MAX: f64 = 0.02;
const PACKETS_MIN: u64 = 1_000;
const MINUTE_S: f64 = 60.0;
/// Time counts as silence only as fast as it passes: a state of last week, or the first packet of all, moves it at once.
const STEP_S_MAX: f64 = 5.0;

#[derive(Debug, Default)]
pub struct Watched(BTreeMap<String, Source>);

#[derive(Debug, Default)]
struct Source {
    packets: u64,
    /// When it was last asked.
    asked: Timestamp,
    /// Since its packets last grew.
    silent_s: f64,
    /// Longest time between two packets, as far as it is seen once a second; fades by a tenth an hour.
    gap_s: f64,
    faded: Timestamp,
    minute: Option<(Timestamp, u64, u64)>,
    lossy: bool,
}

/// What is wrong with a source; each with its reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wrong {
    pub silent: Option<String>,
    pub lossy: Option<String>,
}

impl Watched {
    pub fn see(&mut self, counts: &SourceCounts, now: Timestamp) -> Wrong {
        let source = self.0.entry(counts.name.clone()).or_default();
        let silent = source.silence(counts.packets, now);
        Wrong { silent, lossy: source.loss(counts, now) }
    }
}

impl Source {
    fn silence(&mut self, packets: u64, now: Timestamp) -> Option<String> {
        self.silent_s += now.since_s(self.asked).clamp(0.0, STEP_S_MAX);
        self.asked = now;
        let silent_s = self.silent_s;
        let limit_s = (self.gap_s * SILENT_TIMES).clamp(SILENT_S_MIN, SILENT_S_MAX);
        if packets > self.packets {
            if now.since_s(self.faded) >= 3_600.0 {
                self.gap_s *= 0.9;
                self.faded = now;
            }
            self.gap_s = self.gap_s.max(silent_s.min(limit_s));
            (self.packets, self.silent_s) = (packets, 0.0);
            return None;
        }
        (silent_s > limit_s).then(|| {
            format!("no packet for {silent_s:.0} s; at most {:.0} s passed between two before", self.gap_s.max(1.0))
        })
    }

    fn loss(&mut self, counts: &SourceCounts, now: Timestamp) -> Option<String> {
        let dropped = counts.kernel_drops.saturating_add(counts.interface_drops);
        let (since, packets_then, dropped_then) = *self.minute.get_or_insert((now, counts.packets, dropped));
        let (packets, lost) = (counts.packets.saturating_sub(packets_then), dropped.saturating_sub(dropped_then));
        if now.since_s(since) >= MINUTE_S {
            self.minute = Some((now, counts.packets, dropped));
            self.lossy = packets.saturating_add(lost) >= PACKETS_MIN && share(lost, packets + lost) > LOSS_MAX;
        }
        self.lossy.then(|| "more than 2 % of its packets of a minute were dropped on the way to eastwatch".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_parts(1_767_225_600, 0).plus_s(s)
    }

    fn counts(packets: u64, kernel_drops: u64) -> SourceCounts {
        SourceCounts { name: "span0".to_owned(), packets, kernel_drops, ..SourceCounts::default() }
    }

    #[test]
    fn a_source_silent_for_longer_than_it_ever_was_is_told() {
        let mut watched = Watched::default();
        for s in 0..100 {
            assert_eq!(watched.see(&counts(s as u64 + 1, 0), at(s)), Wrong::default());
        }
        assert!((100..130).all(|s| watched.see(&counts(100, 0), at(s)).silent.is_none()));
        assert!(watched.see(&counts(100, 0), at(130)).silent.is_some());
        assert_eq!(watched.see(&counts(101, 0), at(140)).silent, None);
    }

    #[test]
    fn the_first_packet_and_a_state_of_last_week_are_no_silence() {
        let mut watched = Watched::default();
        for now in [Timestamp::ZERO, at(0), at(604_800), at(604_801)] {
            assert_eq!(watched.see(&counts(0, 0), now), Wrong::default());
        }
    }

    #[test]
    fn one_that_is_often_silent_is_given_more_time() {
        let mut watched = Watched::default();
        for s in 0..=475 {
            assert_eq!(watched.see(&counts(s as u64 / 25 + 1, 0), at(s)).silent, None);
        }
        assert!((476..=550).all(|s| watched.see(&counts(20, 0), at(s)).silent.is_none()));
        assert!(watched.see(&counts(20, 0), at(551)).silent.is_some());
    }

    #[test]
    fn a_minute_of_three_percent_lost_is_told_and_one_of_one_percent_is_not() {
        for (drops, told) in [(300, true), (100, false)] {
            let mut watched = Watched::default();
            watched.see(&counts(1, 0), at(0));
            let wrong = watched.see(&counts(9_900, drops), at(60));
            assert_eq!(wrong.lossy.is_some(), told, "{drops}");
        }
    }
}
