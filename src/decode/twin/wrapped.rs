//! Frames whose capture was cut before the inner header of a tunnel, or before the end of a fragment: what they show is
//! an outer packet, by which they are known as copies of what another point shows whole ([`Marks`](crate::decode)).
//! The marks of the last [`KEPT`] outer packets of the window; a mark that was given up leaves its copies.

use super::WINDOW_NS;

/// 50 ms of 160,000 tunnelled packets a second; 320 KiB.
const KEPT: usize = 1 << 13;
/// Equal outer packets of a window that are looked at: a sender that numbers none of them.
const STEPS_MAX: usize = 32;
const POINTS: usize = 4;
const WINDOW_MS: u32 = (WINDOW_NS / 1_000_000) as u32;

#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    mark: u64,
    ms: u32,
    /// The one before it of the same place, by number.
    before: u32,
    /// Points that have shown it cut; 0: none.
    points: [u16; POINTS],
    /// Its number in the ring, where it came cut and was handed on; 0: it came whole.
    cut: u32,
}

pub(super) struct Wrapped {
    kept: Vec<Kept>,
    newest: Vec<u32>,
    /// Begins at 1; wraps.
    count: u32,
    /// Something came cut. It never turns back.
    pub some_cut: bool,
}

impl Wrapped {
    pub fn new() -> Self {
        Wrapped { kept: Vec::new(), newest: Vec::new(), count: 0, some_cut: false }
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Has another point shown whole what `point` shows cut?
    pub fn whole(&mut self, mark: u64, point: u16, time: i64) -> bool {
        let fits = |kept: &Kept| kept.cut == 0 && !kept.points.contains(&point);
        let Some(kept) = self.oldest(mark, time, fits) else { return false };
        if let Some(free) = kept.points.iter_mut().find(|point| **point == 0) {
            *free = point;
        }
        true
    }

    /// What came whole: the number in the ring of what had come cut and was handed on.
    pub fn came_whole(&mut self, mark: u64, time: i64) -> Option<u32> {
        let cut = match self.some_cut {
            true => self.oldest(mark, time, |kept| kept.cut != 0).map(|kept| std::mem::take(&mut kept.cut)),
            false => None,
        };
        // What had come cut stands for it, too.
        if cut.is_none() {
            self.keep(mark, time, 0, 0);
        }
        cut
    }

    /// What came cut and was handed on.
    pub fn came_cut(&mut self, mark: u64, point: u16, time: i64, number: u32) {
        self.some_cut = true;
        self.keep(mark, time, point, number.max(1));
    }

    fn keep(&mut self, mark: u64, time: i64, point: u16, cut: u32) {
        if self.kept.is_empty() {
            (self.kept, self.newest) = (vec![Kept::default(); KEPT], vec![0; KEPT]);
        }
        self.count = self.count.wrapping_add(1).max(1);
        let Some(newest) = self.newest.get_mut(place(mark)) else { return };
        let before = std::mem::replace(newest, self.count);
        let mut points = [0; POINTS];
        if let Some(first) = points.first_mut() {
            *first = point;
        }
        if let Some(slot) = self.kept.get_mut(self.count as usize % KEPT) {
            *slot = Kept { mark, ms: (time / 1_000_000) as u32, before, points, cut };
        }
    }

    fn oldest(&mut self, mark: u64, time: i64, fits: impl Fn(&Kept) -> bool) -> Option<&mut Kept> {
        let now = (time / 1_000_000) as u32;
        let mut number = *self.newest.get(place(mark))?;
        let mut found = None;
        for _ in 0..STEPS_MAX {
            if number == 0 || self.count.wrapping_sub(number) as usize >= KEPT {
                break;
            }
            let Some(kept) = self.kept.get(number as usize % KEPT) else { break };
            if (now.wrapping_sub(kept.ms) as i32).unsigned_abs() > WINDOW_MS {
                break;
            }
            if kept.mark == mark && fits(kept) {
                found = Some(number);
            }
            number = kept.before;
        }
        self.kept.get_mut(found? as usize % KEPT)
    }
}

fn place(mark: u64) -> usize {
    (mark >> 32) as usize % KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn each_whole_one_has_one_cut_copy_from_each_point() {
        let mut wrapped = Wrapped::new();
        assert!(!wrapped.whole(7, 2, 0), "nothing was shown");
        assert_eq!((wrapped.came_whole(7, 0), wrapped.came_whole(7, MS)), (None, None));
        let seen: Vec<bool> = [2, 2, 2, 3, 3, 3].iter().map(|point| wrapped.whole(7, *point, 10 * MS)).collect();
        assert_eq!(seen, [true, true, false, true, true, false]);
        assert!(!wrapped.whole(9, 2, 10 * MS), "another mark");
        assert_eq!(wrapped.came_whole(11, 0), None);
        assert!(!wrapped.whole(11, 2, 60 * MS), "the window has passed");
    }

    #[test]
    fn what_came_cut_before_is_taken_back_once() {
        let mut wrapped = Wrapped::new();
        wrapped.came_cut(7, 2, 0, 41);
        assert_eq!(wrapped.came_whole(7, MS), Some(41));
        assert_eq!(wrapped.came_whole(7, MS), None);
        assert!(wrapped.whole(7, 3, MS), "a third point's copy of it");
    }

    #[test]
    fn a_flood_of_marks_gives_up_the_oldest() {
        let mut wrapped = Wrapped::new();
        for n in 0..=KEPT as u64 {
            assert_eq!(wrapped.came_whole(n << 32 | n, 0), None);
        }
        assert!(!wrapped.whole(0, 1, 0));
        assert!((1..=KEPT as u64).all(|n| wrapped.whole(n << 32 | n, 1, 0)));
    }
}
