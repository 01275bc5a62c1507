//! Sight: how well the mirror showed each VM and each source lately. Its TCP flows tell of bytes that were acknowledged
//! but never seen, and of flows of which one direction was never seen; its frames of copies, cut and reordered ones, of
//! numbers that the mirror skipped, and of what kernel and interface dropped.
//!
//! Two windows of [`WINDOW_S`] packet seconds, the present one and the one before. At most [`VMS_MAX`] VMs, of more
//! only the whole is known; at most [`SOURCES_MAX`] sources, of more nothing is kept apart.

use std::collections::BTreeMap;

use super::meter::Added;
use crate::model::{CaptureQuality, FlowRef, FlowTotals, SourceCounts, SourceQuality, Timestamp, VmId};

/// A service that fails is judged after a minute; a mirror that was bad for a while is trusted again soon after.
const WINDOW_S: i64 = 600;
const VMS_MAX: usize = 65_536;
/// As many as a run may have.
const SOURCES_MAX: usize = 1_024;
/// With less the shares of a VM say nothing, and those of its sources count, or of the whole.
const FLOWS_MIN: u64 = 20;
const BYTES_MIN: u64 = 100_000;
const FRAMES_MIN: u64 = 200;
/// With less a source is not called lossy by its connections.
const SOURCE_BYTES_MIN: u64 = 1_000_000;
/// Beyond these a VM counts as half seen, as `service-gone` has them.
const LOSS_MAX: f64 = 0.02;
const ONE_WAY_MAX: f64 = 0.2;

/// Flows and bytes are TCP's.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    flows: u64,
    one_way: u64,
    bytes: u64,
    missed: u64,
    frames: u64,
    twins: u64,
    truncated: u64,
    reordered: u64,
    /// Of a source: copies with a number, numbers that never came, and packets dropped before us.
    sequenced: u64,
    gaps: u64,
    dropped: u64,
    /// Of a VM: which sources showed it, a bit for each; the last for all from there on.
    sources: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// The number of the window that `now` counts.
    number: i64,
    now: Counts,
    before: Counts,
}

/// Of one mirror source.
#[derive(Debug, Default)]
struct Source {
    name: String,
    window: Window,
    /// Since the start.
    total: Counts,
    /// As last told.
    seen: SourceQuality,
    dropped: u64,
}

/// TCP flows of one mirror source since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceFlows {
    pub flows: u64,
    pub one_way: u64,
    pub bytes: u64,
    pub missed: u64,
}

#[derive(Debug, Default)]
pub struct Sight {
    whole: Window,
    vms: BTreeMap<VmId, Window>,
    sources: BTreeMap<u16, Source>,
}

impl Sight {
    /// What a TCP flow carried since it was last counted; `vms` are its ends.
    pub fn flow(&mut self, flow: &FlowRef, totals: &FlowTotals, added: &Added, vms: [Option<VmId>; 2], now: Timestamp) {
        let [orig, resp] = added.sides.map(|(bytes, missed)| Counts { bytes, missed, ..Counts::default() });
        let sources = match (flow.orig.path.source, flow.resp.path.source) {
            // A side that was never seen came by no source.
            (_, resp) if totals.orig_packets == 0 => [resp, resp],
            (orig, _) if totals.resp_packets == 0 => [orig, orig],
            (orig, resp) => [orig, resp],
        };
        let flows = Counts {
            flows: u64::from(added.ended),
            one_way: u64::from(added.ended && totals.one_way),
            sources: sources.into_iter().fold(0, |bits, source| bits | bit(source)),
            ..Counts::default()
        };
        let both = flows.and(orig).and(resp);
        let number = number(now);
        self.whole.add(both, number);
        match sources {
            [one, other] if one == other => self.by_source(one, both, number),
            [one, other] => {
                self.by_source(one, flows.and(orig), number);
                self.by_source(other, flows.and(resp), number);
            }
        }
        self.by_vms(vms, both, number);
    }

    /// Frames between two hosts, which are these VMs.
    pub fn shown(&mut self, shown: &crate::model::Shown, vms: [Option<VmId>; 2], now: Timestamp) {
        let added = Counts {
            frames: shown.frames.into(),
            twins: shown.twins.into(),
            truncated: shown.truncated.into(),
            reordered: shown.reordered.into(),
            ..Counts::default()
        };
        self.by_vms(vms, added, number(now));
    }

    /// What the frames of a source look like, since the start.
    pub fn source(&mut self, seen: &SourceQuality, now: Timestamp) {
        let Some(source) = self.of_source(seen.number) else { return };
        let before = std::mem::replace(&mut source.seen, seen.clone());
        seen.name.clone_into(&mut source.name);
        let added = Counts {
            frames: seen.frames.saturating_sub(before.frames),
            twins: seen.twins.saturating_sub(before.twins),
            truncated: seen.truncated.saturating_sub(before.truncated),
            reordered: seen.reordered.saturating_sub(before.reordered),
            sequenced: seen.sequenced.saturating_sub(before.sequenced),
            gaps: seen.sequence_gaps.saturating_sub(before.sequence_gaps),
            ..Counts::default()
        };
        source.window.add(added, number(now));
    }

    /// What kernel and interface dropped of a live source, since the start.
    pub fn dropped(&mut self, counts: &SourceCounts, now: Timestamp) {
        let Some(source) = self.sources.values_mut().find(|source| source.name == counts.name) else { return };
        let dropped = counts.kernel_drops.saturating_add(counts.interface_drops);
        let added = Counts { dropped: dropped.saturating_sub(source.dropped), ..Counts::default() };
        source.dropped = dropped;
        source.window.add(added, number(now));
    }

    fn by_vms(&mut self, vms: [Option<VmId>; 2], added: Counts, number: i64) {
        let [one, other] = vms;
        for vm in one.into_iter().chain(other.filter(|vm| Some(*vm) != one)) {
            if let Some(window) = self.vms.get_mut(&vm) {
                window.add(added, number);
                continue;
            }
            if self.vms.len() >= VMS_MAX {
                self.vms.retain(|_, window| window.number + 1 >= number);
            }
            if self.vms.len() < VMS_MAX {
                self.vms.entry(vm).or_default().add(added, number);
            }
        }
    }

    fn by_source(&mut self, source: u16, added: Counts, number: i64) {
        if let Some(source) = self.of_source(source) {
            source.window.add(added, number);
            source.total = source.total.and(added);
        }
    }

    fn of_source(&mut self, number: u16) -> Option<&mut Source> {
        let room = self.sources.len() < SOURCES_MAX || self.sources.contains_key(&number);
        room.then(|| self.sources.entry(number).or_default())
    }

    /// Shares of a VM in the last ten to twenty minutes; where it had too little traffic those of the sources that
    /// showed it, and of the whole. Loss is the largest of what its connections missed, what its sources' mirrors
    /// skipped, and what was dropped of those.
    pub fn of(&self, vm: VmId, now: Timestamp) -> CaptureQuality {
        let number = number(now);
        let whole = self.whole.counts(number);
        let own = self.vms.get(&vm).map(|window| window.counts(number)).unwrap_or_default();
        let showed = |source: u16| own.sources == 0 || own.sources & bit(source) != 0;
        let sources = self.sources.iter().filter(|(source, _)| showed(**source));
        let sources = sources.fold(Counts::default(), |sum, (_, source)| sum.and(source.window.counts(number)));
        let loss = if own.bytes + own.missed >= BYTES_MIN { own } else { whole };
        let sides = if own.flows >= FLOWS_MIN { own } else { whole };
        let frames = if own.frames >= FRAMES_MIN { own } else { sources };
        CaptureQuality {
            loss: loss.missing().max(sources.skipped()),
            one_way: share(sides.one_way, sides.flows),
            ..frames.shown()
        }
    }

    /// Shares of a mirror source in the last ten to twenty minutes.
    pub fn of_mirror(&self, name: &str, now: Timestamp) -> CaptureQuality {
        let counts = self.mirror(name, now);
        CaptureQuality {
            loss: counts.missing().max(counts.skipped()),
            one_way: share(counts.one_way, counts.flows),
            ..counts.shown()
        }
    }

    pub fn flows_of(&self, name: &str) -> SourceFlows {
        let named = self.sources.values().filter(|source| source.name == name);
        let Counts { flows, one_way, bytes, missed, .. } = named.fold(Counts::default(), |sum, s| sum.and(s.total));
        SourceFlows { flows, one_way, bytes, missed }
    }

    /// Why a mirror source counts as lossy by its connections.
    pub fn lossy(&self, name: &str, now: Timestamp) -> Option<String> {
        let counts = self.mirror(name, now);
        let enough = counts.flows >= FLOWS_MIN && counts.bytes.saturating_add(counts.missed) >= SOURCE_BYTES_MIN;
        let share = counts.missing();
        (enough && share > LOSS_MAX)
            .then(|| format!("{:.1} % of its TCP bytes were acknowledged but never seen", share * 100.0))
    }

    /// The share of one-way connections of a mirror source, of several, where it is beyond its bound.
    pub fn one_way_of(&self, name: &str, now: Timestamp) -> Option<f64> {
        let several = self.sources.values().any(|source| source.name != name && source.total.flows > 0);
        self.mirror(name, now).mostly_one_way().filter(|_| several)
    }

    /// VMs with traffic enough to tell, of which much is not seen, the worst first, at most `count`.
    pub fn half_seen(&self, now: Timestamp, count: usize) -> Vec<(VmId, CaptureQuality)> {
        let number = number(now);
        let mut worst: Vec<_> = self
            .vms
            .iter()
            .filter(|(_, window)| window.counts(number).tells())
            .map(|(vm, _)| (*vm, self.of(*vm, now)))
            .filter(|(_, quality)| quality.is_worse(LOSS_MAX, ONE_WAY_MAX))
            .collect();
        worst.sort_by(|(_, a), (_, b)| (b.loss + b.one_way).total_cmp(&(a.loss + a.one_way)));
        worst.truncate(count);
        worst
    }

    /// The share of one-way connections where it is beyond its bound.
    pub fn mostly_one_way(&self, now: Timestamp) -> Option<f64> {
        self.whole.counts(number(now)).mostly_one_way()
    }

    fn mirror(&self, name: &str, now: Timestamp) -> Counts {
        let named = self.sources.values().filter(|source| source.name == name);
        named.fold(Counts::default(), |sum, source| sum.and(source.window.counts(number(now))))
    }
}

fn number(now: Timestamp) -> i64 {
    now.second().div_euclid(WINDOW_S)
}

fn bit(source: u16) -> u64 {
    1 << source.min(63)
}

impl Window {
    fn add(&mut self, added: Counts, number: i64) {
        if number > self.number {
            self.before = if number == self.number + 1 { self.now } else { Counts::default() };
            (self.now, self.number) = (Counts::default(), number);
        }
        self.now = self.now.and(added);
    }

    fn counts(&self, number: i64) -> Counts {
        match number - self.number {
            ..=0 => self.now.and(self.before),
            1 => self.now,
            _ => Counts::default(),
        }
    }
}

impl Counts {
    /// Is it enough for shares of its own?
    fn tells(&self) -> bool {
        self.flows >= FLOWS_MIN || self.bytes + self.missed >= BYTES_MIN
    }

    fn and(self, other: Counts) -> Counts {
        Counts {
            flows: self.flows.saturating_add(other.flows),
            one_way: self.one_way.saturating_add(other.one_way),
            bytes: self.bytes.saturating_add(other.bytes),
            missed: self.missed.saturating_add(other.missed),
            frames: self.frames.saturating_add(other.frames),
            twins: self.twins.saturating_add(other.twins),
            truncated: self.truncated.saturating_add(other.truncated),
            reordered: self.reordered.saturating_add(other.reordered),
            sequenced: self.sequenced.saturating_add(other.sequenced),
            gaps: self.gaps.saturating_add(other.gaps),
            dropped: self.dropped.saturating_add(other.dropped),
            sources: self.sources | other.sources,
        }
    }

    /// The share of TCP bytes that were acknowledged but never seen.
    fn missing(&self) -> f64 {
        share(self.missed, self.missed.saturating_add(self.bytes))
    }

    /// The share of copies lost on the way, by their numbers or by what was dropped here, whichever is larger: a copy
    /// dropped here is a gap too.
    fn skipped(&self) -> f64 {
        let gaps = share(self.gaps, self.gaps.saturating_add(self.sequenced));
        gaps.max(share(self.dropped, self.dropped.saturating_add(self.frames)))
    }

    fn shown(&self) -> CaptureQuality {
        let of_frames = |part| share(part, self.frames);
        let (duplicates, truncated) = (of_frames(self.twins), of_frames(self.truncated));
        CaptureQuality { duplicates, truncated, reordered: of_frames(self.reordered), ..CaptureQuality::default() }
    }

    fn mostly_one_way(&self) -> Option<f64> {
        let share = share(self.one_way, self.flows);
        (self.flows >= FLOWS_MIN && share > ONE_WAY_MAX).then_some(share)
    }
}

pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::super::meter::Meter;
    use super::*;
    use crate::model::{Endpoint, Segment, Shown, Transport};

    const VMS: [Option<VmId>; 2] = [None, None];

    fn flow(id: u64) -> FlowRef {
        let end =
            |port| Endpoint { ip: [10, 0, 0, 1].into(), port, mac: None, host_hint: None, path: Default::default() };
        let (orig, resp) = (end(40_000), end(80));
        let transport = Transport::Tcp;
        FlowRef { id, segment: Segment::UNTAGGED, transport, orig, resp, first_seen: Timestamp::ZERO, first_frame: id }
    }

    fn tell(
        sight: &mut Sight,
        meter: &mut Meter,
        flow: &FlowRef,
        totals: &FlowTotals,
        ended: bool,
        vms: [Option<VmId>; 2],
        now: Timestamp,
    ) {
        sight.flow(flow, totals, &meter.added(flow, totals, ended).expect("room"), vms, now);
    }

    fn vm(n: u8) -> VmId {
        VmId::derive(&[&[n]], 0)
    }

    #[test]
    fn a_vm_whose_mirror_loses_is_told_from_one_whose_does_not() {
        let (mut sight, mut meter) = <(Sight, Meter)>::default();
        let now = Timestamp::ZERO.plus_s(60);
        for (id, missed_bytes) in [(1, 10_000), (2, 0)] {
            let totals = FlowTotals { orig_bytes: 190_000, missed_bytes, ..FlowTotals::default() };
            tell(&mut sight, &mut meter, &flow(id), &totals, true, [Some(vm(id as u8)), None], now);
        }
        assert_eq!(sight.of(vm(1), now).loss, 0.05);
        assert_eq!(sight.of(vm(2), now).loss, 0.0);
        // The third had no traffic of its own.
        assert_eq!(sight.of(vm(3), now).loss, 0.025_641_025_641_025_64);
        assert_eq!(sight.half_seen(now, 5).iter().map(|(vm, _)| *vm).collect::<Vec<_>>(), [vm(1)]);
    }

    #[test]
    fn a_long_flow_counts_once_and_a_bad_hour_is_forgotten() {
        let (mut sight, mut meter) = <(Sight, Meter)>::default();
        let totals = |n: u64| FlowTotals { orig_bytes: n * 99_000, missed_bytes: n * 1_000, ..FlowTotals::default() };
        let at = |s| Timestamp::ZERO.plus_s(s);
        tell(&mut sight, &mut meter, &flow(1), &totals(1), false, VMS, at(60));
        tell(&mut sight, &mut meter, &flow(1), &totals(2), false, VMS, at(120));
        tell(&mut sight, &mut meter, &flow(1), &totals(3), true, VMS, at(130));
        assert_eq!(sight.whole.counts(0).bytes, 3 * 99_000);
        assert_eq!(sight.of(vm(1), at(700)).loss, 0.01);
        assert_eq!(sight.of(vm(1), at(1_300)).loss, 0.0);
    }
    fn seen(number: u16, frames: u64) -> SourceQuality {
        SourceQuality { number, name: format!("span{number}"), frames, ..SourceQuality::default() }
    }

    /// A flow of which `orig` was shown by one source and `resp` by another.
    fn by(id: u64, sources: [u16; 2]) -> FlowRef {
        let mut flow = flow(id);
        (flow.orig.path.source, flow.resp.path.source) = (sources[0], sources[1]);
        flow
    }

    #[test]
    fn what_one_source_loses_is_not_said_of_the_other_nor_of_its_vms() {
        let (mut sight, mut meter) = <(Sight, Meter)>::default();
        let now = Timestamp::ZERO.plus_s(60);
        for number in [0, 1] {
            sight.source(&seen(number, 10_000), now);
            for id in 0..FLOWS_MIN {
                let missed_bytes = if number == 1 { 10_000 } else { 0 };
                let (orig_packets, resp_packets) = (9, 9);
                let totals = FlowTotals {
                    orig_packets,
                    resp_packets,
                    orig_bytes: 190_000,
                    missed_bytes,
                    ..FlowTotals::default()
                };
                let flow = by(u64::from(number) * 100 + id, [number; 2]);
                tell(&mut sight, &mut meter, &flow, &totals, true, [Some(vm(number as u8)), None], now);
            }
        }
        assert_eq!((sight.of_mirror("span0", now).loss, sight.of_mirror("span1", now).loss), (0.0, 0.05));
        assert_eq!((sight.of(vm(0), now).loss, sight.of(vm(1), now).loss), (0.0, 0.05));
        assert!(sight.lossy("span0", now).is_none() && sight.lossy("span1", now).is_some());
        let flows = sight.flows_of("span1");
        assert_eq!((flows.flows, flows.bytes, flows.missed), (20, 3_800_000, 200_000));
    }

    #[test]
    fn two_sources_that_show_a_direction_each_have_the_loss_of_their_own() {
        let (mut sight, mut meter) = <(Sight, Meter)>::default();
        let now = Timestamp::ZERO.plus_s(60);
        let totals = FlowTotals {
            orig_packets: 9,
            resp_packets: 9,
            orig_bytes: 99_000,
            resp_bytes: 97_000,
            missed_bytes: 4_000,
            missed_of_orig: 1_000,
            ..FlowTotals::default()
        };
        for number in [0, 1] {
            sight.source(&seen(number, 10), now);
        }
        tell(&mut sight, &mut meter, &by(1, [0, 1]), &totals, true, VMS, now);
        assert_eq!((sight.of_mirror("span0", now).loss, sight.of_mirror("span1", now).loss), (0.01, 0.03));
    }

    #[test]
    fn a_source_of_one_direction_is_told_beside_a_sound_one_and_alone_the_whole_tells() {
        let (mut sight, mut meter) = <(Sight, Meter)>::default();
        let now = Timestamp::ZERO.plus_s(60);
        sight.source(&seen(1, 10), now);
        let one_way = FlowTotals { resp_packets: 9, resp_bytes: 100, one_way: true, ..FlowTotals::default() };
        for id in 0..FLOWS_MIN {
            // Its `orig` was never seen, so that no source is known for it.
            tell(&mut sight, &mut meter, &by(id, [0, 1]), &one_way, true, VMS, now);
        }
        assert_eq!((sight.one_way_of("span1", now), sight.mostly_one_way(now)), (None, Some(1.0)));
        sight.source(&seen(0, 10), now);
        let sound = FlowTotals { orig_packets: 9, resp_packets: 9, ..FlowTotals::default() };
        for id in 0..9 * FLOWS_MIN {
            tell(&mut sight, &mut meter, &by(1_000 + id, [0, 0]), &sound, true, VMS, now);
        }
        assert_eq!((sight.one_way_of("span0", now), sight.one_way_of("span1", now)), (None, Some(1.0)));
        assert_eq!(sight.mostly_one_way(now), None);
    }

    #[test]
    fn numbers_that_a_mirror_skipped_and_what_was_dropped_are_loss_of_its_vms() {
        let (mut sight, mut meter) = <(Sight, Meter)>::default();
        let at = |s| Timestamp::ZERO.plus_s(s);
        let numbered = |number, gaps| SourceQuality { sequenced: 970, sequence_gaps: gaps, ..seen(number, 970) };
        sight.source(&numbered(0, 30), at(10));
        sight.source(&numbered(1, 0), at(10));
        for number in [0, 1] {
            tell(
                &mut sight,
                &mut meter,
                &by(number.into(), [number; 2]),
                &FlowTotals::default(),
                true,
                [Some(vm(number as u8)), None],
                at(10),
            );
        }
        assert_eq!((sight.of(vm(0), at(10)).loss, sight.of(vm(1), at(10)).loss), (0.03, 0.0));
        let drops = SourceCounts { name: "span1".to_owned(), kernel_drops: 30, ..SourceCounts::default() };
        sight.dropped(&drops, at(11));
        sight.dropped(&drops, at(12));
        assert_eq!(sight.of(vm(1), at(12)).loss, 0.03);
        // Gaps that were filled late, and then forgotten.
        sight.source(&numbered(0, 10), at(600));
        assert_eq!(sight.of_mirror("span0", at(1_300)).loss, 0.0);
    }

    #[test]
    fn copies_of_a_vm_are_its_own_where_it_has_frames_enough_and_else_its_sources() {
        let mut sight = Sight::default();
        let now = Timestamp::ZERO.plus_s(60);
        let shown = |frames, twins, truncated, reordered| {
            let ends = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
            Shown { segment: Segment::UNTAGGED, ends, frames, twins, truncated, reordered }
        };
        sight.source(&SourceQuality { twins: 100, ..seen(0, 1_000) }, now);
        sight.shown(&shown(400, 200, 40, 4), [Some(vm(1)), Some(vm(2))], now);
        sight.shown(&shown(100, 0, 0, 0), [Some(vm(3)), None], now);
        for own in [vm(1), vm(2)] {
            let CaptureQuality { duplicates, truncated, reordered, .. } = sight.of(own, now);
            assert_eq!((duplicates, truncated, reordered), (0.5, 0.1, 0.01));
        }
        assert_eq!(sight.of(vm(3), now).duplicates, 0.1, "a hundred frames prove nothing");
    }
}
