//! Volumes: the bytes that each VM sent and received in each hour of the last 28 days, on a log scale of one byte an
//! hour and direction, and where the many bytes of the hour under way go to (detection.md 4.1, 4.3).
//!
//! At most `vms_max` VMs of some 1.5 KiB; who comes beyond is not measured, and counted. Hours without any packet were
//! not watched: they are no zeros.

mod history;
mod page;
mod records;

pub use history::{By, Usual, z_among};
pub use page::{DAY, DAYS_MAX, VolumeBulk, VolumeDay};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::profile::Port;
use crate::model::{FlowRef, Timestamp, VmId, stable_hash};
use history::{HOURS, History, UNKNOWN, Watch, code};

const HOUR_S: i64 = 3_600;
/// Receivers of an hour that are counted apart: one that got more than a fifth of it is among them (Misra and Gries).
const RECEIVERS_MAX: usize = 4;
/// Receivers of much that a VM is known by; the one longest unused makes room.
const BULK_MAX: usize = 8;
/// From so much in an hour on a receiver is remembered.
const BULK_BYTES: u64 = 10_000_000;

#[derive(Clone, Debug, Default)]
pub struct Volumes {
    /// The hour under way, in hours since the epoch.
    hour: Option<i64>,
    watch: Watch,
    past: BTreeMap<VmId, Volume>,
    now: BTreeMap<VmId, Current>,
    dirty: BTreeSet<VmId>,
    dirty_now: BTreeSet<VmId>,
    dirty_watch: bool,
    vms_max: usize,
    refused: u64,
}

/// What is remembered of one VM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Volume {
    history: History,
    bulk: Vec<Bulk>,
}

/// Who was sent much before: by the code of the most that it ever got in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bulk {
    to: u64,
    most: u8,
    last: i64,
}

/// The hour under way of one VM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Current {
    pub sent: u64,
    pub received: u64,
    receivers: Vec<Receiver>,
}

/// Who got bytes in the hour under way: at least so many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receiver {
    pub vm: Option<VmId>,
    pub ip: IpAddr,
    /// Of the flow that carried most of it: the port asked, whether the sender serves it, and its first frame.
    pub port: Port,
    pub serves: bool,
    pub frame: u64,
    pub bytes: u64,
}

impl Volumes {
    pub(super) fn new(vms_max: usize) -> Self {
        Volumes { vms_max, ..Volumes::default() }
    }

    pub(super) fn configure(&mut self, vms_max: usize) {
        self.vms_max = vms_max;
    }

    /// IP bytes that a flow carried since it was last counted, from `orig` and from `resp`, and the VMs at its ends.
    pub fn flow(&mut self, flow: &FlowRef, bytes: [u64; 2], vms: [Option<VmId>; 2], now: Timestamp) {
        self.begin(now);
        let ([up, down], [client, server]) = (bytes, vms);
        let port = (flow.transport, flow.resp.port);
        let to = |vm, ip, serves, bytes| Receiver { vm, ip, port, serves, frame: flow.first_frame, bytes };
        if let Some(client) = client {
            self.count(client, down, to(server, flow.resp.ip, false, up));
        }
        if let Some(server) = server.filter(|vm| client != Some(*vm)) {
            self.count(server, up, to(client, flow.orig.ip, true, down));
        }
    }

    /// The hour under way where it is over at `now`.
    pub fn over(&self, now: Timestamp) -> Option<i64> {
        self.hour.filter(|hour| now.second().div_euclid(HOUR_S) > *hour)
    }

    /// VMs that sent at least so much in the hour under way.
    pub fn large(&self, bytes: u64) -> impl Iterator<Item = (VmId, &Current)> {
        self.now.iter().filter(move |(_, current)| current.sent >= bytes).map(|(vm, current)| (*vm, current))
    }

    /// What a VM sent in the hour under way.
    pub fn sent_now(&self, vm: VmId) -> u64 {
        self.now.get(&vm).map_or(0, |current| current.sent)
    }

    /// What it usually sends in this hour; `None` where it is not known at all.
    pub fn usual(&self, vm: VmId) -> Option<Usual> {
        Some(self.past.get(&vm)?.history.usual(self.hour?, &self.watch))
    }

    /// The most that this receiver ever got from the VM in an hour, where it is remembered.
    pub fn got_before(&self, vm: VmId, to: &Receiver) -> Option<u64> {
        let bulk = self.past.get(&vm)?.bulk.iter().find(|bulk| bulk.to == to.id())?;
        Some(history::bytes(bulk.most))
    }

    /// Puts the hour that is over into the past; what was sent in it by `barred` is not learned. The caller asks once a
    /// packet second, after it was judged.
    pub(super) fn roll(&mut self, now: Timestamp, barred: &[VmId]) {
        let Some(hour) = self.over(now) else { return self.begin(now) };
        for (vm, current) in std::mem::take(&mut self.now) {
            self.dirty_now.insert(vm);
            self.dirty.insert(vm);
            let past = self.past.entry(vm).or_default();
            let sent = match barred.contains(&vm) {
                true => UNKNOWN,
                false => {
                    past.remember(&current, hour);
                    code(current.sent)
                }
            };
            past.history.push(hour, [sent, code(current.received)], &self.watch);
        }
        self.watch.mark(hour);
        let next = now.second().div_euclid(HOUR_S);
        self.hour = Some(next);
        self.dirty_watch = true;
        // Once a day: who was silent for as long as the past reaches is forgotten.
        if next.div_euclid(24) != hour.div_euclid(24) {
            let silent = |volume: &Volume| volume.history.end() + (HOURS as i64) < next;
            let gone: Vec<VmId> = self.past.iter().filter(|(_, v)| silent(v)).map(|(vm, _)| *vm).collect();
            gone.into_iter().for_each(|vm| self.forget(vm));
        }
    }

    pub(super) fn forget(&mut self, vm: VmId) {
        if self.past.remove(&vm).is_some() {
            self.dirty.insert(vm);
        }
        if self.now.remove(&vm).is_some() {
            self.dirty_now.insert(vm);
        }
    }

    /// `gone` is an alias of `kept` from now on.
    pub(super) fn merge(&mut self, kept: VmId, gone: VmId) {
        let (past, now) = (self.past.remove(&gone), self.now.remove(&gone));
        if let Some(theirs) = past {
            let mine = self.past.entry(kept).or_default();
            mine.history.unite(&theirs.history, &self.watch);
            theirs.bulk.into_iter().for_each(|bulk| mine.remember_one(bulk));
        }
        if let Some(theirs) = now {
            let mine = self.now.entry(kept).or_default();
            mine.sent = mine.sent.saturating_add(theirs.sent);
            mine.received = mine.received.saturating_add(theirs.received);
            theirs.receivers.into_iter().for_each(|to| mine.send(to));
        }
        self.dirty.extend([kept, gone]);
        self.dirty_now.extend([kept, gone]);
    }

    pub(super) fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        out.push(("baseline.volumes", self.past.len() as u64));
        if self.refused > 0 {
            out.push(("baseline.refused.volumes", self.refused));
        }
    }

    fn begin(&mut self, now: Timestamp) {
        if self.hour.is_none() {
            self.hour = Some(now.second().div_euclid(HOUR_S));
            self.dirty_watch = true;
        }
    }

    fn count(&mut self, vm: VmId, received: u64, to: Receiver) {
        if received == 0 && to.bytes == 0 {
            return;
        }
        let known = self.now.contains_key(&vm) || self.past.contains_key(&vm);
        if !known && self.past.len().saturating_add(self.now.len()) >= self.vms_max.saturating_mul(2) {
            self.refused += 1;
            return;
        }
        let current = self.now.entry(vm).or_default();
        current.received = current.received.saturating_add(received);
        current.sent = current.sent.saturating_add(to.bytes);
        current.send(to);
        self.dirty_now.insert(vm);
    }
}

impl Current {
    /// Who got most of it.
    pub fn most(&self) -> Option<&Receiver> {
        self.receivers.iter().max_by_key(|to| to.bytes)
    }

    fn send(&mut self, to: Receiver) {
        if to.bytes == 0 {
            return;
        }
        if let Some(known) = self.receivers.iter_mut().find(|known| known.id() == to.id()) {
            let total = known.bytes.saturating_add(to.bytes);
            if to.bytes > known.bytes {
                *known = to;
            }
            known.bytes = total;
        } else if self.receivers.len() < RECEIVERS_MAX {
            self.receivers.push(to);
        } else {
            let less = self.receivers.iter().map(|known| known.bytes).fold(to.bytes, u64::min);
            self.receivers.iter_mut().for_each(|known| known.bytes -= less);
            self.receivers.retain(|known| known.bytes > 0);
            if to.bytes > less {
                self.receivers.push(Receiver { bytes: to.bytes - less, ..to });
            }
        }
    }
}

impl Receiver {
    fn id(&self) -> u64 {
        match (self.vm, self.ip) {
            (Some(vm), _) => vm.raw(),
            (None, IpAddr::V4(ip)) => stable_hash(&[b"receiver", &ip.octets()]),
            (None, IpAddr::V6(ip)) => stable_hash(&[b"receiver", &ip.octets()]),
        }
    }
}

impl Volume {
    fn remember(&mut self, current: &Current, hour: i64) {
        for to in current.receivers.iter().filter(|to| to.bytes >= BULK_BYTES) {
            self.remember_one(Bulk { to: to.id(), most: code(to.bytes), last: hour });
        }
    }

    fn remember_one(&mut self, bulk: Bulk) {
        if let Some(known) = self.bulk.iter_mut().find(|known| known.to == bulk.to) {
            *known = Bulk { most: known.most.max(bulk.most), last: known.last.max(bulk.last), ..bulk };
            return;
        }
        if self.bulk.len() >= BULK_MAX
            && let Some(oldest) = self.bulk.iter().enumerate().min_by_key(|(_, b)| b.last).map(|(at, _)| at)
        {
            self.bulk.swap_remove(oldest);
        }
        self.bulk.push(bulk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, Segment, Transport};

    fn vm(n: u8) -> VmId {
        VmId::derive(&[&[n]], 0)
    }

    fn flow(last: u8) -> FlowRef {
        let end = |last, port| Endpoint {
            ip: [10, 0, 0, last].into(),
            port,
            mac: None,
            host_hint: None,
            path: Default::default(),
        };
        FlowRef {
            id: u64::from(last),
            segment: Segment::UNTAGGED,
            transport: Transport::Tcp,
            orig: end(1, 40_000),
            resp: end(last, 443),
            first_seen: Timestamp::ZERO,
            first_frame: 7,
        }
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp::ZERO.plus_s((490_000 + hour) * HOUR_S + 60)
    }

    #[test]
    fn the_receiver_of_most_is_known_among_many() {
        let mut volumes = Volumes::new(10);
        for round in 0..100u64 {
            volumes.flow(&flow((round % 50) as u8 + 10), [1_000, 0], [Some(vm(1)), None], at(0));
            volumes.flow(&flow(9), [2_000, 0], [Some(vm(1)), None], at(0));
        }
        let (_, current) = volumes.large(1).next().expect("it sent");
        assert_eq!(current.sent, 300_000);
        let most = current.most().expect("somebody");
        assert_eq!(most.ip, IpAddr::from([10, 0, 0, 9]));
        assert!(most.bytes >= 140_000 && most.bytes <= 200_000, "{}", most.bytes);
    }

    #[test]
    fn a_vm_costs_at_most_two_bytes_an_hour_and_a_full_table_refuses() {
        let mut volumes = Volumes::new(1);
        for hour in 0..1_000 {
            volumes.flow(&flow(9), [1 << 30, 5], [Some(vm(1)), None], at(hour));
            volumes.roll(at(hour + 1), &[]);
        }
        assert_eq!(volumes.past[&vm(1)].history.bytes_held(), 1_344);
        for n in 2..20 {
            volumes.flow(&flow(n), [1, 1], [None, Some(vm(n))], at(1_000));
        }
        assert!(volumes.now.len() <= 2 && volumes.refused >= 16, "{}", volumes.refused);
    }

    #[test]
    fn hours_that_nobody_watched_are_no_zeros_and_barred_ones_are_not_learned() {
        let mut volumes = Volumes::new(10);
        let send = |volumes: &mut Volumes, hour, bytes| {
            volumes.flow(&flow(9), [bytes, 0], [Some(vm(1)), None], at(hour));
        };
        send(&mut volumes, 0, 1_000);
        volumes.roll(at(1), &[]);
        volumes.flow(&flow(8), [5, 0], [Some(vm(2)), None], at(1));
        // From the second hour on nothing is seen for ten hours.
        volumes.roll(at(12), &[]);
        send(&mut volumes, 12, 1 << 40);
        volumes.roll(at(13), &[vm(1)]);
        let usual = volumes.usual(vm(1)).expect("known");
        assert_eq!(usual.hours, 2, "one with bytes, one watched without");
        assert!(usual.p99 < 2_000);
    }
}
