//! Volumes as a page of a document: whole days, an hour a code, so that a day that is over is the same line in every
//! export; and who was sent much. At most 28 days and [`BULK_MAX`] receivers.

use super::history::{HOURS, History, UNKNOWN, bytes, code};
use super::{BULK_MAX, Bulk, HOUR_S, Volumes};
use crate::model::{Timestamp, VmId};

pub const DAYS_MAX: usize = HOURS / DAY;
pub const DAY: usize = 24;
/// What was sent to so lately needs no date.
const LATELY_D: i64 = 7;

/// One day (since the epoch, UTC): codes of bytes sent and received, an hour each; `None` where the hour is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeDay {
    pub day: i64,
    pub sent: [Option<u8>; DAY],
    pub received: [Option<u8>; DAY],
}

/// Who was sent much, and the most in an hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeBulk {
    /// A VM's number, or a digest of an address.
    pub to: u64,
    pub most: u64,
    /// The last day, where that is not lately.
    pub silent_since: Option<i64>,
}

impl VolumeDay {
    /// The bytes that 99 of 100 hours do not exceed, to a power of four: what a reader calls another volume.
    pub fn usual(days: &[VolumeDay]) -> Option<u64> {
        let mut codes: Vec<u8> = days.iter().flat_map(|day| day.sent).flatten().collect();
        codes.sort_unstable();
        let rank = (codes.len() as f64 * 0.99).ceil() as usize;
        let most = bytes(*codes.get(rank.checked_sub(1)?)?).max(1);
        Some(1 << (most.ilog2().next_multiple_of(2)))
    }
}

impl VolumeBulk {
    /// As far as that can be told from its number.
    pub fn label(&self) -> String {
        match self.to >> 48 {
            0 => format!("vm-{:012x}", self.to),
            _ => format!("address {:016x}", self.to),
        }
    }
}

impl Volumes {
    /// What is known of a VM's days that were over at `now`.
    pub(in crate::baseline) fn page(&self, vm: VmId, now: Timestamp) -> (Vec<VolumeDay>, Vec<VolumeBulk>) {
        let Some(past) = self.past.get(&vm) else { return Default::default() };
        let today = now.second().div_euclid(HOUR_S).div_euclid(DAY as i64);
        let day = |day: i64| {
            let mut page = VolumeDay { day, ..VolumeDay::default() };
            for (hour, (sent, received)) in (day * DAY as i64..).zip(page.sent.iter_mut().zip(&mut page.received)) {
                let codes = past.history.written(hour).unwrap_or([UNKNOWN; 2]).map(|c| (c != UNKNOWN).then_some(c));
                (*sent, *received) = (codes[0], codes[1]);
            }
            page
        };
        let known = |page: &VolumeDay| page.sent.iter().chain(&page.received).any(Option::is_some);
        let days = (today - DAYS_MAX as i64..today).map(day).filter(known).collect();
        let mut bulk: Vec<VolumeBulk> = past
            .bulk
            .iter()
            .map(|bulk| {
                let day = bulk.last.div_euclid(DAY as i64);
                let silent_since = (today - day > LATELY_D).then_some(day);
                VolumeBulk { to: bulk.to, most: bytes(bulk.most), silent_since }
            })
            .collect();
        bulk.sort_unstable_by_key(|bulk| bulk.to);
        (days, bulk)
    }

    /// Takes a page over: in place of what is known of its days, or (`unite`) the larger of both in each hour. What it
    /// says nothing of stays; between its end and now nothing was watched.
    pub(in crate::baseline) fn take_page(
        &mut self,
        vm: VmId,
        days: &[VolumeDay],
        bulk: &[VolumeBulk],
        now: Timestamp,
        unite: bool,
    ) {
        if days.is_empty() && bulk.is_empty() {
            return;
        }
        let known = self.past.contains_key(&vm) || self.now.contains_key(&vm);
        if !known && self.past.len() >= self.vms_max {
            self.refused += 1;
            return;
        }
        let hour = now.second().div_euclid(HOUR_S);
        let past = self.past.entry(vm).or_default();
        let theirs = |at: i64| -> [Option<u8>; 2] {
            let (day, hour) = (at.div_euclid(DAY as i64), at.rem_euclid(DAY as i64) as usize);
            let page = days.iter().find(|page| page.day == day);
            page.map_or([None; 2], |page| [&page.sent, &page.received].map(|codes| codes.get(hour).copied().flatten()))
        };
        let from = hour - HOURS as i64;
        let mut united = History::default();
        for at in from..hour.max(past.history.end()) {
            let own = past.history.written(at).unwrap_or([UNKNOWN; 2]).map(|c| (c != UNKNOWN).then_some(c));
            let codes = [0usize, 1].map(|side| {
                let (own, theirs) = (own.get(side).copied().flatten(), theirs(at).get(side).copied().flatten());
                let code = if unite { own.max(theirs) } else { theirs.or(own) };
                code.unwrap_or(UNKNOWN)
            });
            united.write(at, codes);
        }
        past.history = united;
        if !unite && !bulk.is_empty() {
            past.bulk.clear();
        }
        for row in bulk.iter().take(BULK_MAX) {
            let last = row.silent_since.map_or(hour - 1, |day| day * DAY as i64);
            past.remember_one(Bulk { to: row.to, most: code(row.most), last });
        }
        self.dirty.insert(vm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm() -> VmId {
        VmId::derive(&[b"1"], 0)
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp::ZERO.plus_s((490_000 + hour) * HOUR_S + 60)
    }

    fn day(day: i64, code: u8) -> VolumeDay {
        VolumeDay { day, sent: [Some(code); DAY], received: [None; DAY] }
    }

    fn bulk() -> Vec<VolumeBulk> {
        vec![VolumeBulk { to: 7, most: bytes(130), silent_since: None }]
    }

    const TODAY: i64 = 490_000 / 24;

    #[test]
    fn a_page_that_is_taken_is_the_page_again_and_is_the_same_an_hour_later() {
        let mut volumes = Volumes::new(10);
        let days = vec![day(TODAY - 3, 50), day(TODAY - 1, 60)];
        volumes.take_page(vm(), &days, &bulk(), at(0), false);
        assert_eq!(volumes.page(vm(), at(0)), (days.clone(), bulk()));
        assert_eq!(volumes.page(vm(), at(1)), (days, bulk()));
        assert_eq!(volumes.usual(vm()), None, "no hour is under way");
    }

    #[test]
    fn united_the_larger_stands_and_in_its_place_theirs() {
        for (unite, code) in [(true, 60), (false, 50)] {
            let mut volumes = Volumes::new(10);
            volumes.take_page(vm(), &[day(TODAY - 1, 60)], &[], at(0), false);
            volumes.take_page(vm(), &[day(TODAY - 1, 50)], &[], at(0), unite);
            assert_eq!(volumes.page(vm(), at(0)).0, [day(TODAY - 1, code)], "{unite}");
        }
    }

    #[test]
    fn hours_between_the_page_and_now_are_not_zeros() {
        let mut volumes = Volumes::new(10);
        for hour in 0..48 {
            volumes.watch.mark(490_000 - 48 + hour);
        }
        volumes.hour = Some(490_000);
        volumes.take_page(vm(), &[day(TODAY - 2, 50)], &[], at(0), false);
        assert_eq!(volumes.usual(vm()).expect("known").hours, 24);
    }

    #[test]
    fn a_usual_volume_is_told_to_a_power_of_four() {
        assert_eq!(VolumeDay::usual(&[]), None);
        assert_eq!(VolumeDay::usual(&[day(1, code(5_000))]), Some(4_096));
        assert_eq!(VolumeDay::usual(&[day(1, code(9_000))]), Some(16_384));
    }
}
