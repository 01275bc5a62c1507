//! How the mirror shows the network, composed: what flows, frames and sources tell, what is blind, and the rows of it in
//! `stats` and the status. Rows of at most [`SOURCES_SHOWN_MAX`] sources and [`HALF_SEEN_SHOWN_MAX`] VMs; of more the
//! sums alone.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Brain;
use super::blind::Cause;
use crate::deliver::quality;
use crate::model::{CaptureQuality, Shown, SourceCounts, SourceQuality, VmId};

/// As many as are surveyed. Interfaces in the files of a `read` may be more.
const SOURCES_SHOWN_MAX: usize = 64;
/// VMs that are badly seen.
const HALF_SEEN_SHOWN_MAX: usize = 20;

impl Brain {
    /// What the frames of the sources look like.
    pub(super) fn seen(&mut self, sources: &[SourceQuality]) {
        self.totals.seen(sources);
        for source in sources {
            self.sight.source(source, self.now);
        }
    }

    /// What was shown of pairs of hosts.
    pub(super) fn shown(&mut self, pairs: &[Shown]) {
        for shown in pairs {
            let (one, other) = shown.ends;
            let vms = [one, other].map(|ip| self.inventory.holder(shown.segment, ip));
            self.sight.shown(shown, vms, self.now);
        }
    }

    /// How the mirror sources are (live only).
    pub fn sources(&mut self, counts: Vec<SourceCounts>) {
        let gaps: BTreeMap<String, u64> =
            self.totals.frames().into_iter().map(|(name, seen)| (name.to_owned(), seen.sequence_gaps)).collect();
        for source in &counts {
            self.totals.source(source);
            self.sight.dropped(source, self.now);
            let name = || source.name.clone();
            let cause = Cause::Source(name());
            let notice = match source.gone {
                true => self.blind.onset(cause, "it went away: nothing is seen from it", self.now),
                false => self.blind.sees(&cause, self.now),
            };
            self.notice(notice);
            // What the mirror skipped was dropped before the interface.
            let skipped = gaps.get(&source.name).copied().unwrap_or_default();
            let interface_drops = source.interface_drops.saturating_add(skipped);
            let wrong = self.watched.see(&SourceCounts { interface_drops, survey: None, ..source.clone() }, self.now);
            self.blind_by(Cause::Silent(name()), wrong.silent.filter(|_| !source.gone));
            let lossy = wrong.lossy.or_else(|| self.sight.lossy(&source.name, self.now));
            self.blind_by(Cause::Lossy(name()), lossy);
            let one_way = self.sight.one_way_of(&source.name, self.now);
            self.blind_by(Cause::SourceOneWay(name()), one_way.map(connections));
        }
        let one_way = self.sight.mostly_one_way(self.now);
        self.blind_by(Cause::OneWay, one_way.map(connections));
    }

    /// `why` it is so, or that it is not.
    fn blind_by(&mut self, cause: Cause, why: Option<String>) {
        let notice = match why {
            Some(why) => self.blind.onset(cause, &why, self.now),
            None => self.blind.sees(&cause, self.now),
        };
        self.notice(notice);
    }

    /// The live sources; the interfaces that the files of a `read` name.
    pub(super) fn source_rows(&self) -> Vec<Value> {
        let (live, frames) = (self.totals.live(), self.totals.frames());
        if live.is_empty() {
            let counts = |s: &SourceQuality| {
                let (name, packets, bytes) = (s.name.clone(), s.frames, s.bytes);
                SourceCounts { name, packets, bytes, ..SourceCounts::default() }
            };
            let named = frames.values().filter(|seen| !seen.name.is_empty()).take(SOURCES_SHOWN_MAX);
            return named.map(|seen| self.source_row(&counts(seen), Some(seen))).collect();
        }
        live.values().map(|counts| self.source_row(counts, frames.get(counts.name.as_str()))).collect()
    }

    fn source_row(&self, source: &SourceCounts, seen: Option<&SourceQuality>) -> Value {
        let seen = seen.cloned().unwrap_or_default();
        let tcp = self.sight.flows_of(&source.name);
        json!({
            "name": source.name,
            "packets": source.packets,
            "bytes": source.bytes,
            "kernel_drops": source.kernel_drops,
            "interface_drops": source.interface_drops,
            "twins": seen.twins,
            "truncated": seen.truncated,
            "reordered": seen.reordered,
            "sequenced": seen.sequenced,
            "sequence_gaps": seen.sequence_gaps,
            "tcp_flows": tcp.flows,
            "tcp_one_way": tcp.one_way,
            "tcp_bytes": tcp.bytes,
            "tcp_missed_bytes": tcp.missed,
            "gone": source.gone,
            "capture_quality": quality(self.sight.of_mirror(&source.name, self.now)),
        })
    }

    /// VMs that the mirror shows badly.
    pub(super) fn half_seen(&self) -> Vec<Value> {
        let worst = self.sight.half_seen(self.now, HALF_SEEN_SHOWN_MAX);
        let row = |(vm, seen): (VmId, CaptureQuality)| json!({ "vm": vm, "vm_name": self.inventory.label(vm), "capture_quality": quality(seen) });
        worst.into_iter().map(row).collect()
    }
}

fn connections(share: f64) -> String {
    format!("{:.0} % of the TCP connections", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brain::{BrainConfig, Teller};
    use crate::deliver::Eve;
    use crate::detect::Known;
    use crate::model::{Fact, Observation, Order, Timestamp};
    use crate::store::MemoryStore;

    /// A minute in which a mirror gave ten thousand numbered copies and skipped so many numbers.
    fn after_a_minute(gaps: u64) -> Brain {
        let mut brain = Brain::load(Box::new(MemoryStore::new()), BrainConfig::default()).unwrap();
        brain.tell(Teller::new(Some(Eve::memory())));
        for (second, frames, sequence_gaps) in [(0, 1_000, 0), (60, 11_000, gaps)] {
            let name = "span0".to_owned();
            let seen = SourceQuality { name, frames, sequenced: frames, sequence_gaps, ..SourceQuality::default() };
            let time = Timestamp::from_parts(1_767_225_600, 0).plus_s(second);
            let fact = Fact::Quality(Box::new(vec![seen]));
            brain.observe(Observation { order: Order::default(), time, fact });
            brain.sources(vec![SourceCounts { name: "span0".to_owned(), packets: frames, ..SourceCounts::default() }]);
        }
        brain
    }

    fn told(brain: &mut Brain) -> String {
        brain.teller().eve().map(|eve| String::from_utf8_lossy(eve.bytes()).into_owned()).unwrap_or_default()
    }

    #[test]
    fn copies_lost_on_the_way_blind_and_of_that_time_nothing_is_concluded() {
        let mut brain = after_a_minute(500);
        let said = told(&mut brain);
        assert!(said.contains("span0 loses packets") && said.contains(r#""cause":"loss""#), "{said}");
        assert_eq!(brain.facts().blind_until(), Some(brain.now()));
        let row = brain.source_rows().pop().unwrap();
        assert_eq!((row["sequence_gaps"].as_u64(), row["capture_quality"]["loss"].as_f64()), (Some(500), Some(0.0435)));
    }

    #[test]
    fn half_a_percent_lost_is_shown_and_blinds_nobody() {
        let mut brain = after_a_minute(50);
        assert_eq!(told(&mut brain), "");
        assert_eq!(brain.facts().blind_until(), None);
        assert_eq!(brain.source_rows().pop().unwrap()["capture_quality"]["loss"].as_f64(), Some(0.0045));
    }
}
