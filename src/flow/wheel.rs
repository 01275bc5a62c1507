//! The expiry wheel: which flows to look at in which packet second.
//!
//! Two lanes of [`SPAN`] one-second buckets; each flow stands in exactly one bucket. A visit further away than the
//! span is made at the span's end and then put off again, so a packet never moves its flow.
//! Bound: one [`Link`] a flow slot, made when the slot is first used.

/// Buckets a lane. One `u64` says which are occupied.
const SPAN: i64 = 64;
/// No slot.
const NONE: u32 = u32::MAX;
/// In no bucket.
const NOWHERE: u8 = u8::MAX;

/// What a full table may forget first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Unanswered, half-open, one-way or ended.
    Tentative = 0,
    /// Both sides are in conversation.
    Settled = 1,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    head: u32,
    tail: u32,
}

#[derive(Debug)]
pub(super) struct Wheel {
    now_s: Option<i64>,
    buckets: [Bucket; 2 * SPAN as usize],
    occupied: [u64; 2],
    links: Vec<Link>,
    /// By slot: lane × 64 + bucket.
    places: Vec<u8>,
}

impl Wheel {
    /// Bytes a flow costs here.
    #[cfg(test)]
    pub(super) const LINK_BYTES: usize = size_of::<Link>() + 1;

    pub(super) fn new() -> Self {
        Wheel {
            now_s: None,
            buckets: [Bucket { head: NONE, tail: NONE }; 2 * SPAN as usize],
            occupied: [0; 2],
            links: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Visit this slot in second `at_s`, or at the end of the span when that is sooner; `now_s` is the current second.
    pub(super) fn arm(&mut self, slot: u32, lane: Lane, at_s: i64, now_s: i64) {
        self.disarm(slot);
        let base = *self.now_s.get_or_insert(now_s);
        let second = at_s.clamp(base.saturating_add(1), base.saturating_add(SPAN - 1));
        let place = (lane as u8) << 6 | second.rem_euclid(SPAN) as u8;
        while self.links.len() <= slot as usize {
            self.links.push(Link { prev: NONE, next: NONE });
            self.places.push(NOWHERE);
        }
        let Some(bucket) = self.buckets.get_mut(usize::from(place)) else { return };
        let before = std::mem::replace(&mut bucket.tail, slot);
        if before == NONE {
            bucket.head = slot;
        } else if let Some(link) = self.links.get_mut(before as usize) {
            link.next = slot;
        }
        if let Some(link) = self.links.get_mut(slot as usize) {
            *link = Link { prev: before, next: NONE };
        }
        if let Some(known) = self.places.get_mut(slot as usize) {
            *known = place;
        }
        self.mark(place, true);
    }

    pub(super) fn disarm(&mut self, slot: u32) {
        let Some(&Link { prev, next }) = self.links.get(slot as usize) else { return };
        let Some(place) = self.places.get_mut(slot as usize).map(|p| std::mem::replace(p, NOWHERE)) else { return };
        let Some(bucket) = self.buckets.get_mut(usize::from(place)) else { return };
        if bucket.head == slot {
            bucket.head = next;
        }
        if bucket.tail == slot {
            bucket.tail = prev;
        }
        let empty = bucket.head == NONE;
        if let Some(link) = self.links.get_mut(prev as usize) {
            link.next = next;
        }
        if let Some(link) = self.links.get_mut(next as usize) {
            link.prev = prev;
        }
        if empty {
            self.mark(place, false);
        }
    }

    /// Moves to `now_s` and takes out every slot whose second has come, the earliest first.
    pub(super) fn advance(&mut self, now_s: i64, due: &mut Vec<u32>) {
        let base = *self.now_s.get_or_insert(now_s);
        if now_s <= base {
            return;
        }
        self.now_s = Some(now_s);
        if self.occupied == [0; 2] {
            return;
        }
        // After a long silence every bucket is due once.
        for second in base + 1..=now_s.min(base + SPAN) {
            for lane in [Lane::Tentative, Lane::Settled] {
                let place = (lane as usize) << 6 | second.rem_euclid(SPAN) as usize;
                while let Some(slot) = self.buckets.get(place).map(|b| b.head).filter(|s| *s != NONE) {
                    self.disarm(slot);
                    due.push(slot);
                }
            }
        }
    }

    /// Up to `count` slots of a lane's earliest bucket, the longest there first.
    pub(super) fn earliest(&self, lane: Lane, count: usize) -> impl Iterator<Item = u32> + '_ {
        let occupied = self.occupied.get(lane as usize).copied().unwrap_or(0);
        let from = (self.now_s.unwrap_or(0) + 1).rem_euclid(SPAN) as u32;
        let bucket = (occupied.rotate_right(from).trailing_zeros() + from) % SPAN as u32;
        let head = match occupied {
            0 => NONE,
            _ => self.buckets.get((lane as usize) << 6 | bucket as usize).map_or(NONE, |b| b.head),
        };
        std::iter::successors(Some(head).filter(|s| *s != NONE), |slot| {
            self.links.get(*slot as usize).map(|l| l.next).filter(|s| *s != NONE)
        })
        .take(count)
    }

    fn mark(&mut self, place: u8, occupied: bool) {
        if let Some(bits) = self.occupied.get_mut(usize::from(place >> 6)) {
            let bit = 1u64 << (place & 63);
            *bits = if occupied { *bits | bit } else { *bits & !bit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel, now_s: i64) -> Vec<u32> {
        let mut out = Vec::new();
        wheel.advance(now_s, &mut out);
        out
    }

    #[test]
    fn slots_come_in_the_order_of_their_seconds_then_of_arming() {
        let mut wheel = Wheel::new();
        for (slot, at) in [(0, 105), (1, 103), (2, 105), (3, 103), (4, 104)] {
            wheel.arm(slot, Lane::Tentative, at, 100);
        }
        assert_eq!(due(&mut wheel, 102), Vec::<u32>::new());
        assert_eq!(due(&mut wheel, 103), vec![1, 3]);
        assert_eq!(due(&mut wheel, 110), vec![4, 0, 2]);
    }

    #[test]
    fn a_far_visit_comes_at_the_end_of_the_span() {
        let mut wheel = Wheel::new();
        wheel.arm(7, Lane::Settled, 100_000, 1000);
        assert_eq!(due(&mut wheel, 1062), Vec::<u32>::new());
        assert_eq!(due(&mut wheel, 1063), vec![7]);
    }

    #[test]
    fn a_disarmed_slot_does_not_come() {
        let mut wheel = Wheel::new();
        for slot in 0..5 {
            wheel.arm(slot, Lane::Tentative, 10, 1);
        }
        for slot in [0, 2, 4] {
            wheel.disarm(slot);
            wheel.disarm(slot);
        }
        assert_eq!(due(&mut wheel, 20), vec![1, 3]);
        assert_eq!(wheel.occupied, [0, 0]);
    }

    #[test]
    fn a_long_silence_empties_every_bucket_once() {
        let mut wheel = Wheel::new();
        for slot in 0..200 {
            wheel.arm(slot, Lane::Settled, 1 + i64::from(slot), 0);
        }
        let mut all = due(&mut wheel, 1_000_000);
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn the_earliest_bucket_is_found_across_the_wrap() {
        let mut wheel = Wheel::new();
        wheel.arm(1, Lane::Tentative, 130, 126);
        wheel.arm(2, Lane::Tentative, 127, 126);
        wheel.arm(3, Lane::Settled, 128, 126);
        assert_eq!(wheel.earliest(Lane::Tentative, 4).collect::<Vec<_>>(), vec![2]);
        wheel.disarm(2);
        assert_eq!(wheel.earliest(Lane::Tentative, 4).collect::<Vec<_>>(), vec![1]);
        assert_eq!(wheel.earliest(Lane::Settled, 4).collect::<Vec<_>>(), vec![3]);
    }
}
