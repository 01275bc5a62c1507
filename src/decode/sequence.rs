//! Sequence numbers that mirrors give their copies (GRE, RFC 2890 2.2; ERSPAN II and III count by session): a number
//! that never comes is a copy that was lost on the way.
//!
//! A number may come late by [`WINDOW`] and is then reordered, not lost. A leap beyond that counts when the next number
//! follows it: forward by at most [`LEAP_MAX`] it is loss, else the sender began anew. Where the numbers before a leap
//! come again after all, two senders counted, and nothing was lost.
//!
//! At most [`PATHS_MAX`] mirror paths; of further ones the numbers are not read, counted, until one was silent for
//! [`FORGET_S`].

use std::net::IpAddr;

use crate::model::{MirrorPath, PathKind, Timestamp};

/// Sessions of a few racks of switches; 200 bytes each.
const PATHS_MAX: usize = 1_024;
/// Places that one path may be kept in.
const WAYS: usize = 4;
/// Ten milliseconds of 10 Gbit/s in full frames: more than the paths of one switch fabric differ by. A power of two, so
/// that the window's places run on where numbers wrap.
const WINDOW: u32 = 1_024;
const WORDS: usize = WINDOW as usize / 64;
/// Half a second of 10 Gbit/s in full frames lost in one piece. Beyond, a new start is likelier.
const LEAP_MAX: u32 = 65_536;
const FORGET_S: i64 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    source: u16,
    sender: IpAddr,
    kind: PathKind,
    id: u32,
    /// The engines of one switch count apart.
    hardware: u8,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    key: Key,
    /// The number after the highest so far.
    next: u32,
    /// A bit for each of the last [`WINDOW`] numbers that came.
    came: [u64; WORDS],
    /// What must follow for a leap to count.
    landed: Option<u32>,
    /// Gaps that the last leap made.
    leapt: u32,
    second: i64,
}

/// Of one mirror source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequenced {
    /// Numbered copies.
    pub copies: u64,
    /// Numbers that never came.
    pub gaps: u64,
}

#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// Empty until a mirror numbers.
    paths: Vec<Option<Path>>,
    /// By number of the source.
    sources: Vec<Sequenced>,
    pub unread: u64,
}

/// What a number meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// So many before it are missing.
    On(u32),
    Late,
    /// Another copy of it had come, or a leap that nothing confirms yet.
    Nothing,
    /// So many gaps were none.
    Anew(u32),
}

impl Sequences {
    /// One copy from `sender` by `path`; does it come after one that was made later?
    pub fn see(&mut self, sender: IpAddr, path: MirrorPath, number: u32, time: Timestamp) -> bool {
        let MirrorPath { source, kind, id, .. } = path;
        let key = Key { source, sender, kind, id, hardware: path.hardware() };
        let Some(path) = self.path(key, number, time.second()) else {
            self.unread += 1;
            return false;
        };
        path.second = time.second();
        let step = path.step(number);
        let at = usize::from(source);
        if self.sources.len() <= at {
            self.sources.resize(at + 1, Sequenced::default());
        }
        let Some(sums) = self.sources.get_mut(at) else { return false };
        sums.copies += u64::from(step != Step::Nothing);
        match step {
            Step::On(missing) => sums.gaps += u64::from(missing),
            Step::Late => sums.gaps = sums.gaps.saturating_sub(1),
            Step::Anew(none) => sums.gaps = sums.gaps.saturating_sub(u64::from(none)),
            Step::Nothing => {}
        }
        step == Step::Late
    }

    pub fn of(&self, source: u16) -> Sequenced {
        self.sources.get(usize::from(source)).copied().unwrap_or_default()
    }

    /// The path's place; where it has none yet a free one, or that of the one silent longest.
    fn path(&mut self, key: Key, number: u32, second: i64) -> Option<&mut Path> {
        if self.paths.is_empty() {
            self.paths.resize(PATHS_MAX, None);
        }
        let bits = match key.sender {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 ^ (v6.to_bits() as u64).rotate_left(17),
        };
        let session = u64::from(key.id) << 32 | u64::from(key.source) << 16 | u64::from(key.hardware) << 8;
        let place = (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ session ^ key.kind as u64)
            .wrapping_mul(0xa076_1d64_78bd_642f)
            >> 32;
        let first = place as usize % (PATHS_MAX / WAYS) * WAYS;
        let ways = self.paths.get_mut(first..first + WAYS)?;
        let found = ways.iter().position(|way| way.as_ref().is_some_and(|path| path.key == key));
        let at = found.or_else(|| {
            let age = |way: &Option<Path>| way.as_ref().map_or(i64::MAX, |path| second.saturating_sub(path.second));
            let (at, oldest) = ways.iter().map(age).enumerate().max_by_key(|(at, age)| (*age, usize::MAX - at))?;
            (oldest >= FORGET_S).then_some(at)
        })?;
        let way = ways.get_mut(at)?;
        if found.is_none() {
            *way = Some(Path { key, next: number, came: [u64::MAX; WORDS], landed: None, leapt: 0, second });
        }
        way.as_mut()
    }
}

impl Path {
    fn step(&mut self, number: u32) -> Step {
        let (ahead, behind) = (number.wrapping_sub(self.next), self.next.wrapping_sub(number));
        if ahead < WINDOW {
            self.skip(ahead);
            self.come(number);
            self.landed = None;
            return Step::On(ahead);
        }
        if behind <= WINDOW {
            return if self.come(number) { Step::Late } else { Step::Nothing };
        }
        if self.landed != Some(number) {
            self.landed = Some(number.wrapping_add(1));
            return Step::Nothing;
        }
        self.landed = None;
        // The number before this one came too: it is what landed.
        let missing = ahead.wrapping_sub(1);
        let step = if missing <= LEAP_MAX {
            self.came = [0; WORDS];
            self.leapt = missing;
            Step::On(missing)
        } else {
            self.came = [u64::MAX; WORDS];
            Step::Anew(std::mem::take(&mut self.leapt))
        };
        self.come(number.wrapping_sub(1));
        self.next = number;
        self.come(number);
        step
    }

    /// The next `count` numbers, less than [`WINDOW`], are missing.
    fn skip(&mut self, count: u32) {
        let mut left = count;
        while left > 0 {
            let bit = self.next % 64;
            let many = left.min(64 - bit);
            if let Some(word) = self.came.get_mut(self.next as usize / 64 % WORDS) {
                *word &= !(u64::MAX >> (64 - many) << bit);
            }
            self.next = self.next.wrapping_add(many);
            left -= many;
        }
    }

    /// Marks it, which is `next` or one of the window; had it not come before?
    fn come(&mut self, number: u32) -> bool {
        let mark = 1 << (number % 64);
        let Some(word) = self.came.get_mut(number as usize / 64 % WORDS) else { return false };
        let new = number == self.next || *word & mark == 0;
        *word |= mark;
        if number == self.next {
            self.next = number.wrapping_add(1);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn session(id: u32) -> MirrorPath {
        MirrorPath::new(PathKind::Erspan, id)
    }

    /// What numbers in this order come to: copies, gaps, and how many came late.
    fn of(numbers: impl IntoIterator<Item = u32>) -> (u64, u64, u64) {
        let (mut sequences, mut late) = (Sequences::default(), 0);
        for number in numbers {
            late += u64::from(sequences.see(SENDER, session(7), number, Timestamp::ZERO));
        }
        let Sequenced { copies, gaps } = sequences.of(0);
        (copies, gaps, late)
    }

    #[test]
    fn numbers_that_never_come_are_gaps_and_the_first_number_is_any() {
        assert_eq!(of(500..600), (100, 0, 0));
        assert_eq!(of((500..600).filter(|n| *n != 510 && *n / 10 != 55)), (89, 11, 0));
    }

    #[test]
    fn what_comes_late_is_reordered_and_not_lost() {
        assert_eq!(of([1, 2, 4, 3, 5, 7, 8, 6]), (8, 0, 2));
        // As late as the window is wide, and one later.
        let late = |by: u32| (0..1).chain(2..2 + by).chain([1]);
        assert_eq!(of(late(WINDOW - 1)), (1_025, 0, 1));
        assert_eq!(of(late(WINDOW)), (1_025, 1, 0));
    }

    #[test]
    fn numbers_wrap_without_a_gap_and_are_lost_across_it() {
        let wrap = |lost: &'static [u32]| (0..400u32).map(|n| n.wrapping_sub(200)).filter(move |n| !lost.contains(n));
        assert_eq!(of(wrap(&[])), (400, 0, 0));
        assert_eq!(of(wrap(&[u32::MAX, 0, 1])), (397, 3, 0));
        assert_eq!(of([u32::MAX, 1, 0, 2]), (4, 0, 1));
    }

    #[test]
    fn a_burst_is_lost_and_a_new_start_is_not() {
        assert_eq!(of((0..100).chain(5_100..5_200)), (199, 5_000, 0));
        assert_eq!(of((0..100).chain(1 << 20..(1 << 20) + 100)), (199, 0, 0));
        // The switch starts again at nought.
        assert_eq!(of((50_000..50_100).chain(0..100)), (199, 0, 0));
    }

    #[test]
    fn a_number_that_nothing_follows_is_no_loss() {
        assert_eq!(of((0..50).chain([40_000]).chain(50..100)), (100, 0, 0));
    }

    #[test]
    fn a_mirror_that_writes_one_number_on_all_or_doubles_loses_nothing() {
        assert_eq!(of([1; 500]), (1, 0, 0));
        assert_eq!(of((0..100).flat_map(|n| [n, n])), (100, 0, 0));
    }

    #[test]
    fn two_that_count_under_one_name_lose_nothing_for_long() {
        for apart in [100, 700, 5_000, 1 << 20] {
            let by_turns = (0..10_000u32).flat_map(|n| [n, n + apart]);
            let (_, gaps, _) = of(by_turns);
            assert!(gaps <= u64::from(apart.min(WINDOW)), "{apart}: {gaps}");
            let by_runs = (0..200u32).flat_map(|run| (0..50).map(move |n| n + run / 2 * 50 + run % 2 * apart));
            let (_, gaps, _) = of(by_runs);
            assert!(gaps <= u64::from(apart.min(LEAP_MAX)), "{apart}: {gaps}");
        }
    }

    #[test]
    fn one_percent_lost_and_some_reordered_is_measured() {
        let mut random = 7u64;
        let mut kept: Vec<u32> = (0..100_000)
            .filter(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                random >> 33 >= (1 << 31) / 100
            })
            .collect();
        kept.chunks_mut(17).for_each(<[u32]>::reverse);
        let (copies, gaps, late) = of(kept.iter().copied());
        let share = gaps as f64 / (gaps + copies) as f64;
        assert!((share - 0.01).abs() <= 0.002, "{share}");
        assert!(late > 90_000, "{late}");
    }

    #[test]
    fn sessions_engines_and_sources_count_apart() {
        let mut sequences = Sequences::default();
        let mut other = session(7);
        other.source = 3;
        for n in 0..10 {
            for (path, number) in [(session(7), n), (session(8), 100 * n), (session(7).by_engine(4, true), 9 * n)] {
                sequences.see(SENDER, path, number, Timestamp::ZERO);
            }
            sequences.see(SENDER, other, n, Timestamp::ZERO);
        }
        assert_eq!(sequences.of(0), Sequenced { copies: 30, gaps: 9 * 99 + 9 * 8 });
        assert_eq!(sequences.of(3), Sequenced { copies: 10, gaps: 0 });
        assert_eq!(sequences.of(9), Sequenced::default());
    }

    #[test]
    fn a_flood_of_sessions_leaves_the_known_ones_and_is_counted_and_forgotten() {
        let mut sequences = Sequences::default();
        let (now, later) = (Timestamp::ZERO, Timestamp::ZERO.plus_s(FORGET_S));
        sequences.see(SENDER, session(1), 1, now);
        for id in 0..10_000 {
            let sender = IpAddr::from([10, 0, (id >> 8) as u8, id as u8]);
            sequences.see(sender, session(id), 1, now);
        }
        assert_eq!(sequences.paths.iter().flatten().count(), PATHS_MAX);
        assert_eq!(sequences.unread, 10_001 - PATHS_MAX as u64);
        let before = sequences.of(0).gaps;
        sequences.see(SENDER, session(1), 4, now);
        assert_eq!(sequences.of(0).gaps, before + 2);
        let unread = sequences.unread;
        sequences.see(IpAddr::from([10, 1, 1, 1]), session(9), 1, later);
        assert_eq!(sequences.unread, unread);
    }
}
