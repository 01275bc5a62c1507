//! The packets of the last moments, found by their print: a ring in order of arrival, and the newest packet of each
//! of [`BUCKETS`] hashes with a chain to the older ones.
//! At most [`PACKETS`] packets; the oldest gives way, which is counted where its window had not passed. Of a chain
//! [`CHAIN_MAX`] packets are looked at.

use arrayvec::ArrayVec;

use super::print::Print;
use super::{Place, WINDOW_NS};
use crate::decode::packet::Located;
use crate::model::{Mac, Segment};

/// 50 ms of 1.3 million packets a second; 9 MiB where so many come, and no more is touched than is used.
pub(super) const PACKETS: usize = 1 << 16;
const BUCKETS: usize = 1 << 17;
/// Whoever sends many packets of one print gains that the later of them are counted more than once.
const CHAIN_MAX: usize = 16;
/// A broadcast flooded to many mirrored hosts has more; those further copies are taken for copies.
const SIGHTS_MAX: usize = 6;

/// One point's sight of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub point: u16,
    /// Before a router and after it are two sights.
    pub ttl: u8,
    /// This point has shown the same twice.
    pub doubled: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub print: Print,
    pub segment: Segment,
    pub time: i64,
    pub sights: ArrayVec<Sight, SIGHTS_MAX>,
    pub src_mac: Option<Mac>,
    pub cut: u32,
    /// Its point had seen it acknowledged, or asked for, when it came.
    pub again: bool,
    pub place: Option<Place>,
    /// Bytes handed on before it.
    pub bytes_before: u64,
    number: u32,
    older: u32,
}

pub(super) struct Ring {
    entries: Vec<Entry>,
    newest: Box<[u32]>,
    /// Packets so far; wraps.
    pub count: u32,
    pub overrun: u64,
}

impl Entry {
    pub fn new(print: Print, located: &Located<'_>, time: i64, point: u16, again: bool, bytes_before: u64) -> Self {
        Entry {
            print,
            segment: located.segment,
            time,
            sights: ArrayVec::from_iter([Sight { point, ttl: print.ttl, doubled: false }]),
            src_mac: located.src_mac,
            cut: located.cut,
            again,
            place: None,
            bytes_before,
            number: 0,
            older: 0,
        }
    }
}

impl Ring {
    pub fn new() -> Self {
        let newest = vec![0; BUCKETS].into_boxed_slice();
        Ring { entries: Vec::with_capacity(PACKETS), newest, count: 0, overrun: 0 }
    }

    pub fn push(&mut self, mut entry: Entry) {
        self.count = self.count.wrapping_add(1);
        let Some(newest) = self.newest.get_mut(bucket(&entry.print)) else { return };
        entry.number = self.count;
        entry.older = std::mem::replace(newest, self.count);
        let at = self.count as usize % PACKETS;
        match self.entries.get_mut(at) {
            Some(oldest) => {
                self.overrun += u64::from(entry.time - oldest.time <= WINDOW_NS);
                *oldest = entry;
            }
            // The first place is left empty in the first round, so that a number is always found at its place.
            None => {
                if self.entries.is_empty() {
                    self.entries.push(entry.clone());
                }
                self.entries.push(entry);
            }
        }
    }

    pub fn last_mut(&mut self) -> Option<&mut Entry> {
        self.entries.get_mut(self.count as usize % PACKETS)
    }

    /// Shows the packets of this print in this segment within the window, the newest first, until `wanted` takes one.
    #[inline]
    pub fn find(
        &mut self,
        print: &Print,
        segment: &Segment,
        time: i64,
        mut wanted: impl FnMut(&mut Entry) -> bool,
    ) -> Option<&mut Entry> {
        let mut number = *self.newest.get(bucket(print))?;
        for _ in 0..CHAIN_MAX {
            let at = number as usize % PACKETS;
            let entry = self.entries.get_mut(at).filter(|e| e.number == number)?;
            // What came before it is older still, but for a little disorder: each step of a chain is a cache miss.
            if time - entry.time > 2 * WINDOW_NS {
                return None;
            }
            let near = (time - entry.time).abs() <= WINDOW_NS;
            let same = near && entry.print.key == print.key && entry.segment == *segment;
            if same && entry.print.same_opening(print) && wanted(entry) {
                return self.entries.get_mut(at);
            }
            number = entry.older;
        }
        None
    }
}

fn bucket(print: &Print) -> usize {
    (print.key >> 40) as usize % BUCKETS
}
