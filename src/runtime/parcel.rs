//! What the dispatcher hands to a worker: located packets and the steps of time between them, in global order.
//!
//! At most [`Parcel::PACKETS_MAX`] packets or [`Parcel::BYTES_MAX`] bytes (one packet more at most); a full one is
//! sent on. Buffers come back empty and are used again.

use crate::decode::{Located, Network};
use crate::flow::Head;
use crate::model::{Order, Timestamp};

#[derive(Debug, Default)]
pub struct Parcel {
    bytes: Vec<u8>,
    pub entries: Vec<Entry>,
    /// Everything up to here is in this parcel or went before.
    pub watermark: Order,
}

#[derive(Debug)]
pub enum Entry {
    Packet {
        head: Head,
        network: Network,
        shard: u16,
        start: u32,
        len: u32,
        cut: u32,
    },
    /// A packet that was taken back: it counts elsewhere.
    Gone,
    /// A packet second passed before `frame`; with `stats`, counters are due.
    Tick {
        frame: u64,
        now: Timestamp,
        stats: bool,
    },
    /// The input ended after `frame`.
    Finish {
        frame: u64,
        now: Timestamp,
    },
}

impl Parcel {
    pub const PACKETS_MAX: usize = 512;
    pub const BYTES_MAX: usize = 512 * 1024;

    pub fn push(&mut self, head: Head, located: &Located<'_>, shard: u16) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(located.bytes);
        self.entries.push(Entry::Packet {
            head,
            network: located.network,
            shard,
            start,
            len: located.bytes.len() as u32,
            cut: located.cut,
        });
    }

    /// Puts a better copy of a packet in its place; its number and time stay.
    pub fn replace(&mut self, entry: u32, better: Head, located: &Located<'_>, other_shard: u16) {
        let at = self.bytes.len() as u32;
        if let Some(Entry::Packet { head, shard, start, len, cut, .. }) = self.entries.get_mut(entry as usize)
            && *shard == other_shard
        {
            *head = Head { frame: head.frame, time: head.time, ..better };
            (*start, *len, *cut) = (at, located.bytes.len() as u32, located.cut);
            self.bytes.extend_from_slice(located.bytes);
        }
    }

    /// Takes a packet back.
    pub fn take_back(&mut self, entry: u32) {
        if let Some(packet @ Entry::Packet { .. }) = self.entries.get_mut(entry as usize) {
            *packet = Entry::Gone;
        }
    }

    pub fn bytes(&self, start: u32, len: u32) -> &[u8] {
        self.bytes.get(start as usize..(start as usize).saturating_add(len as usize)).unwrap_or_default()
    }

    pub fn is_full(&self) -> bool {
        self.entries.len() >= Self::PACKETS_MAX || self.bytes.len() >= Self::BYTES_MAX
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}
