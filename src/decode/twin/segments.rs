//! Segments, and which points show them: only where two points show one segment, or a router one that is known, may a
//! packet have twins that are worth looking for in every packet. The others are looked at in samples.
//! At most [`SEGMENTS_MAX`]; all further ones are one together, which is looked at always.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::print::mix;
use crate::model::Segment;

/// Tenants of a large site, some VLANs each; 64 bytes a segment.
const SEGMENTS_MAX: usize = 16_384;
/// The last ones by hash: packets of some segments come by turns.
const CACHED: usize = 64;
/// Of what one point alone shows so many packets of each [`SAMPLE_EVERY`] are looked at: one in 16.
pub(super) const SAMPLE: u32 = 512;
pub(super) const SAMPLE_EVERY: u32 = 8_192;

#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Of the segment; 0 of none.
    pub hash: u64,
    /// The first point that showed it.
    point: u16,
    /// Others show it, too.
    pub several: bool,
    /// A router's two sides show in it.
    pub routed: bool,
    frames: u32,
}

pub(super) struct Segments {
    index: HashMap<Segment, u16, FixedState>,
    shown: Vec<Shown>,
    cache: [Option<(Segment, u16)>; CACHED],
    /// Some segment is looked at always. It never turns back.
    pub some_always: bool,
}

impl Shown {
    fn new(hash: u64) -> Self {
        Shown { hash, point: 0, several: false, routed: false, frames: 0 }
    }

    /// Is every packet looked at? Once true it stays.
    pub fn always(&self) -> bool {
        self.several || self.routed
    }
}

impl Segments {
    pub fn new() -> Self {
        let beyond = Shown { several: true, ..Shown::new(0) };
        Segments {
            index: HashMap::with_hasher(FixedState::default()),
            shown: vec![beyond],
            cache: [None; CACHED],
            some_always: false,
        }
    }

    /// `point` shows one packet of this segment: what is known of it, and whether the packet is one to look at.
    #[inline]
    pub fn show(&mut self, segment: &Segment, point: u16) -> (Shown, bool) {
        let at = self.place(segment);
        let Some(shown) = self.shown.get_mut(usize::from(at)) else { return (Shown::new(0), true) };
        if shown.point != point && !shown.several {
            shown.several = shown.point != 0;
            shown.point = point;
            self.some_always |= shown.several;
        }
        shown.frames = shown.frames.wrapping_add(1);
        let mut told = *shown;
        if at == BEYOND {
            self.some_always = true;
            told.hash = hash(segment);
        }
        (told, told.always() || told.frames % SAMPLE_EVERY <= SAMPLE)
    }

    pub fn routed(&mut self, segment: &Segment) {
        let at = self.place(segment);
        if let Some(shown) = self.shown.get_mut(usize::from(at)) {
            shown.routed = true;
        }
        self.some_always = true;
    }

    #[inline]
    fn place(&mut self, segment: &Segment) -> u16 {
        let slot = segment.innermost() as usize % CACHED;
        match self.cache.get(slot) {
            Some(Some((known, at))) if known == segment => *at,
            _ => self.look_up(segment, slot),
        }
    }

    #[cold]
    fn look_up(&mut self, segment: &Segment, slot: usize) -> u16 {
        let known = self.index.get(segment).copied();
        let at = known.unwrap_or_else(|| self.begin(segment));
        if let Some(cached) = self.cache.get_mut(slot) {
            *cached = Some((*segment, at));
        }
        at
    }

    fn begin(&mut self, segment: &Segment) -> u16 {
        if self.shown.len() > SEGMENTS_MAX {
            return BEYOND;
        }
        let at = self.shown.len() as u16;
        self.shown.push(Shown::new(hash(segment)));
        self.index.insert(*segment, at);
        at
    }
}

/// The place of all segments beyond the bound.
const BEYOND: u16 = 0;

pub(super) fn hash(segment: &Segment) -> u64 {
    segment.layers().fold(0, |hash, layer| mix(hash, u64::from(layer.kind as u8) << 32 | u64::from(layer.id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LayerKind;

    fn vni(id: u32) -> Segment {
        Segment::UNTAGGED.with(LayerKind::Vxlan, id)
    }

    #[test]
    fn what_one_point_shows_is_looked_at_in_samples_and_what_two_show_always() {
        let mut segments = Segments::new();
        let looked = (0..2 * SAMPLE_EVERY).filter(|_| segments.show(&vni(1), 1).1).count() as u32;
        assert!((2 * SAMPLE..=2 * SAMPLE + 2).contains(&looked), "{looked}");
        assert!(!segments.some_always);
        (0..SAMPLE_EVERY).for_each(|n| assert!(segments.show(&vni(1), 1 + n as u16 % 2).1 || n == 0));
        assert!(segments.some_always);
        (0..SAMPLE).for_each(|_| assert!(segments.show(&vni(2), 1).1));
        assert!(!segments.show(&vni(2), 1).1, "another segment is still one point's");
    }

    #[test]
    fn a_segment_beyond_the_bound_is_looked_at_always_by_its_own_hash() {
        let mut segments = Segments::new();
        (0..SEGMENTS_MAX as u32).for_each(|id| assert!(segments.show(&vni(id), 1).1));
        let (one, other) = (segments.show(&vni(70_000), 1), segments.show(&vni(70_001), 1));
        assert!(one.1 && one.0.hash != other.0.hash);
        assert!((0..2 * SAMPLE_EVERY).all(|_| segments.show(&vni(70_000), 1).1));
    }
}
