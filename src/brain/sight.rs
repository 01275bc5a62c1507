//! Sight: how well the mirror showed each VM lately, from its TCP flows: bytes that were acknowledged but never seen,
//! and flows of which one direction was never seen.
//!
//! Two windows of [`WINDOW_S`] packet seconds, the present one and the one before. At most [`VMS_MAX`] VMs, of more
//! only the whole is known.

use std::collections::BTreeMap;

use super::meter::Added;
use crate::model::{CaptureQuality, Timestamp, VmId};

/// A service that fails is judged after a minute; a mirror that was bad for a while is trusted again soon after.
const WINDOW_S: i64 = 600;
const VMS_MAX: usize = 65_536;
/// With less the shares of a VM say nothing, and those of the whole count.
const FLOWS_MIN: u64 = 20;
const BYTES_MIN: u64 = 100_000;
/// Beyond these a VM counts as half seen, as `service-gone` has them.
const LOSS_MAX: f64 = 0.02;
const ONE_WAY_MAX: f64 = 0.2;

/// Of TCP.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    flows: u64,
    one_way: u64,
    bytes: u64,
    missed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// The number of the window that `now` counts.
    number: i64,
    now: Counts,
    before: Counts,
}

#[derive(Debug, Default)]
pub struct Sight {
    whole: Window,
    vms: BTreeMap<VmId, Window>,
}

impl Sight {
    /// What a TCP flow carried since it was last counted; `vms` are its ends.
    pub fn flow(&mut self, added: &Added, vms: [Option<VmId>; 2], now: Timestamp) {
        let added = Counts {
            flows: u64::from(added.ended),
            one_way: u64::from(added.one_way),
            bytes: added.orig_bytes.saturating_add(added.resp_bytes),
            missed: added.missed_bytes,
        };
        let number = now.second().div_euclid(WINDOW_S);
        self.whole.add(added, number);
        let [one, other] = vms;
        for vm in one.into_iter().chain(other.filter(|vm| Some(*vm) != one)) {
            if self.vms.len() >= VMS_MAX && !self.vms.contains_key(&vm) {
                self.vms.retain(|_, window| window.number + 1 >= number);
            }
            if self.vms.len() < VMS_MAX || self.vms.contains_key(&vm) {
                self.vms.entry(vm).or_default().add(added, number);
            }
        }
    }

    /// Loss and one-way share of a VM in the last ten to twenty minutes; of the whole where it had too little traffic.
    pub fn of(&self, vm: VmId, now: Timestamp) -> CaptureQuality {
        let number = now.second().div_euclid(WINDOW_S);
        let whole = self.whole.counts(number);
        let own = self.vms.get(&vm).map(|window| window.counts(number)).unwrap_or_default();
        let loss = if own.bytes + own.missed >= BYTES_MIN { own } else { whole };
        let sides = if own.flows >= FLOWS_MIN { own } else { whole };
        CaptureQuality {
            loss: share(loss.missed, loss.missed.saturating_add(loss.bytes)),
            one_way: share(sides.one_way, sides.flows),
            duplicates: 0.0,
        }
    }

    /// VMs with traffic enough to tell, of which much is not seen, the worst first, at most `count`.
    pub fn half_seen(&self, now: Timestamp, count: usize) -> Vec<(VmId, CaptureQuality)> {
        let mut worst: Vec<_> = self
            .vms
            .keys()
            .map(|vm| (*vm, self.of(*vm, now)))
            .filter(|(vm, quality)| quality.is_worse(LOSS_MAX, ONE_WAY_MAX) && self.tells(*vm, now))
            .collect();
        worst.sort_by(|(_, a), (_, b)| (b.loss + b.one_way).total_cmp(&(a.loss + a.one_way)));
        worst.truncate(count);
        worst
    }

    /// The share of one-way connections where it is beyond its bound.
    pub fn mostly_one_way(&self, now: Timestamp) -> Option<f64> {
        let counts = self.whole.counts(now.second().div_euclid(WINDOW_S));
        let share = share(counts.one_way, counts.flows);
        (counts.flows >= FLOWS_MIN && share > ONE_WAY_MAX).then_some(share)
    }

    fn tells(&self, vm: VmId, now: Timestamp) -> bool {
        let counts = self.vms.get(&vm).map(|window| window.counts(now.second().div_euclid(WINDOW_S)));
        counts.is_some_and(|own| own.flows >= FLOWS_MIN || own.bytes + own.missed >= BYTES_MIN)
    }
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
    fn and(self, other: Counts) -> Counts {
        Counts {
            flows: self.flows.saturating_add(other.flows),
            one_way: self.one_way.saturating_add(other.one_way),
            bytes: self.bytes.saturating_add(other.bytes),
            missed: self.missed.saturating_add(other.missed),
        }
    }
}

pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(n: u8) -> VmId {
        VmId::derive(&[&[n]], 0)
    }

    #[test]
    fn a_vm_whose_mirror_loses_is_told_from_one_whose_does_not() {
        let mut sight = Sight::default();
        let now = Timestamp::ZERO.plus_s(60);
        for (n, missed_bytes) in [(1, 10_000), (2, 0)] {
            let added = Added { orig_bytes: 190_000, missed_bytes, ended: true, ..Added::default() };
            sight.flow(&added, [Some(vm(n)), None], now);
        }
        assert_eq!(sight.of(vm(1), now).loss, 0.05);
        assert_eq!(sight.of(vm(2), now).loss, 0.0);
        // The third had no traffic of its own.
        assert_eq!(sight.of(vm(3), now).loss, 0.025641025641025640);
        assert_eq!(sight.half_seen(now, 5).iter().map(|(vm, _)| *vm).collect::<Vec<_>>(), [vm(1)]);
    }

    #[test]
    fn a_bad_hour_is_forgotten() {
        let mut sight = Sight::default();
        let at = |s| Timestamp::ZERO.plus_s(s);
        for (s, ended) in [(60, false), (120, false), (130, true)] {
            let added = Added { orig_bytes: 99_000, missed_bytes: 1_000, ended, ..Added::default() };
            sight.flow(&added, [None, None], at(s));
        }
        assert_eq!((sight.whole.counts(0).bytes, sight.whole.counts(0).flows), (3 * 99_000, 1));
        assert_eq!(sight.of(vm(1), at(700)).loss, 0.01);
        assert_eq!(sight.of(vm(1), at(1_300)).loss, 0.0);
    }
}
