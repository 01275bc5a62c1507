//! IP fragments joined to datagrams (RFC 791 3.2, RFC 8200 4.5).
//!
//! Bounded by datagrams, by bytes and by pieces a datagram. A full table forgets its oldest datagrams and counts
//! them; a datagram in too many pieces is forgotten whole. Where IPv4 fragments overlap, the receiver's system decides
//! whose bytes count ([`HostOs`]); an IPv6 datagram with an overlap is forgotten (RFC 5722), copies excepted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use foldhash::quality::FixedState;
use hashbrown::HashMap;

use super::config::DecodeConfig;
use super::discard::{DecodeCounters, Discard};
use super::host_os::{HostOs, HostOsTable};
use super::ip::{Fragment, Ip};
use crate::model::{Segment, Timestamp};

/// RFC 791 leaves 15 s to choose, Linux takes 30; RFC 8200 fixes 60 for IPv6.
const TIMEOUT_V4_S: i64 = 30;
const TIMEOUT_V6_S: i64 = 60;
/// 64 KiB over a path of the smallest MTU that IPv4 allows (68, RFC 791 3.2).
const PIECES_MAX: usize = 1366;
const DATAGRAM_MAX: u32 = 65_535;
/// What one entry costs beside its bytes: two maps, two vectors.
const ENTRY_OVERHEAD: usize = 256;
/// A piece besides its bytes: its entry and the allocator's.
const PIECE_OVERHEAD: usize = size_of::<Piece>() + 16;

/// Unfinished datagrams of one shard.
#[derive(Debug)]
pub(super) struct Reassembly {
    /// By arrival of their first fragment, so that the oldest is the first.
    entries: BTreeMap<u64, Entry>,
    by_key: HashMap<Key, u64, FixedState>,
    next: u64,
    bytes: usize,
    datagrams_max: usize,
    bytes_max: usize,
    hosts: HostOsTable,
    whole: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    segment: Segment,
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// IPv4 only: the fragments of an IPv6 datagram may name different next headers (RFC 8200 4.5).
    protocol: u8,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    started: Timestamp,
    /// Headers and protocol of the fragment at offset 0.
    first: Option<(Vec<u8>, u8)>,
    next_at: Option<u32>,
    /// Sorted by offset, without overlap: of each fragment what counts of it.
    pieces: Vec<Piece>,
    /// Bytes in `pieces`.
    held: u32,
    /// Length of the datagram's payload, known from its last fragment.
    end: Option<u32>,
    /// The receiver's; `None` where an overlap ends the datagram.
    os: Option<HostOs>,
}

#[derive(Debug)]
struct Piece {
    start: u32,
    bytes: Box<[u8]>,
}

impl Piece {
    fn range(&self) -> Range<u32> {
        self.start..self.start + self.bytes.len() as u32
    }

    /// The part of it within `range`, unless there is none.
    fn part(&self, range: Range<u32>) -> Option<Piece> {
        let own = self.range();
        let (start, end) = (range.start.max(own.start), range.end.min(own.end));
        let bytes = self.bytes.get((start - own.start) as usize..end.checked_sub(own.start)? as usize)?;
        (!bytes.is_empty()).then(|| Piece { start, bytes: bytes.into() })
    }
}

impl Reassembly {
    pub fn new(config: &DecodeConfig) -> Self {
        Reassembly {
            entries: BTreeMap::new(),
            by_key: HashMap::with_hasher(FixedState::with_seed(0x6672_6167)),
            next: 0,
            bytes: 0,
            datagrams_max: config.fragmented_datagrams_max.max(1),
            bytes_max: config.fragment_bytes_max.max(DATAGRAM_MAX as usize * 2),
            hosts: config.hosts(),
            whole: Vec::new(),
        }
    }

    /// The datagram that was completed last, header first.
    pub fn whole(&self) -> &[u8] {
        &self.whole
    }

    /// Hands out the datagram that was completed last, in exchange for a buffer.
    pub fn swap_whole(&mut self, buffer: &mut Vec<u8>) {
        std::mem::swap(&mut self.whole, buffer);
    }

    /// Keeps one fragment of the packet that starts with `bytes`. True when it completes its datagram, which then is [`Reassembly::whole`].
    pub fn push(
        &mut self,
        segment: Segment,
        bytes: &[u8],
        ip: &Ip<'_>,
        time: Timestamp,
        counters: &mut DecodeCounters,
    ) -> Result<bool, Discard> {
        let Some(fragment) = &ip.fragment else { return Err(Discard::FragmentMisfit) };
        counters.work.fragments += 1;
        if ip.cut() > 0 {
            return Err(Discard::FragmentCut);
        }
        let len = ip.payload.len() as u32;
        if fragment.offset + len + fragment.header_len > DATAGRAM_MAX {
            return Err(Discard::FragmentOversize);
        }
        if len == 0 || (fragment.more && !len.is_multiple_of(8)) {
            return Err(Discard::FragmentMisfit);
        }
        let protocol = if fragment.next_at.is_some() { 0 } else { ip.protocol };
        let key = Key { segment, src: ip.src, dst: ip.dst, id: fragment.id, protocol };
        self.make_room(key, ip.payload.len(), counters);
        let number = match self.by_key.get(&key) {
            Some(number) => *number,
            None => self.open(key, time),
        };
        let Some(entry) = self.entries.get_mut(&number) else { return Ok(false) };
        let before = entry.cost();
        let kept = entry.keep(bytes, ip, fragment, counters);
        let (after, complete) = (entry.cost(), entry.is_complete());
        self.bytes = (self.bytes + after).saturating_sub(before);
        match kept {
            Ok(()) if complete => {}
            Ok(()) => return Ok(false),
            Err(reason) => {
                // Of a misfit only the fragment is lost. An overlap leaves no tombstone for later fragments of the
                // same datagram, though RFC 5722 asks for one: stacks keep none, and the sender could hide behind it.
                if matches!(reason, Discard::FragmentFlood | Discard::FragmentOverlap) {
                    self.forget(number);
                }
                return Err(reason);
            }
        }
        match self.forget(number) {
            Some(entry) => entry.join(&mut self.whole)?,
            None => return Ok(false),
        }
        counters.work.reassembled += 1;
        Ok(true)
    }

    /// Forgets what has waited too long at `now`.
    pub fn expire(&mut self, now: Timestamp, counters: &mut DecodeCounters) {
        let Reassembly { entries, by_key, bytes, .. } = self;
        entries.retain(|_, entry| {
            let timeout = if entry.key.src.is_ipv4() { TIMEOUT_V4_S } else { TIMEOUT_V6_S };
            let keep = now < entry.started.plus_s(timeout);
            if !keep {
                by_key.remove(&entry.key);
                *bytes = bytes.saturating_sub(entry.cost());
                counters.work.expired += 1;
            }
            keep
        });
    }

    fn open(&mut self, key: Key, time: Timestamp) -> u64 {
        let number = self.next;
        self.next += 1;
        let os = Some(self.hosts.of(key.dst)).filter(|os| key.dst.is_ipv4() && !os.drops_overlaps());
        let entry =
            Entry { key, started: time, first: None, next_at: None, pieces: Vec::new(), held: 0, end: None, os };
        self.bytes += entry.cost();
        self.entries.insert(number, entry);
        self.by_key.insert(key, number);
        number
    }

    fn forget(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.by_key.remove(&entry.key);
        self.bytes = self.bytes.saturating_sub(entry.cost());
        Some(entry)
    }

    /// Evicts the oldest datagrams until `more` bytes fit.
    fn make_room(&mut self, key: Key, more: usize, counters: &mut DecodeCounters) {
        let full = |table: &Self| {
            let one_more = table.entries.len() >= table.datagrams_max && !table.by_key.contains_key(&key);
            one_more || table.bytes + more + ENTRY_OVERHEAD + PIECE_OVERHEAD > table.bytes_max
        };
        while full(self) {
            let Some(oldest) = self.entries.first_key_value().map(|(number, _)| *number) else { break };
            self.forget(oldest);
            counters.work.evicted += 1;
        }
    }
}

impl Entry {
    fn cost(&self) -> usize {
        let header = self.first.as_ref().map_or(0, |(header, _)| header.len());
        ENTRY_OVERHEAD + header + self.held as usize + self.pieces.len() * PIECE_OVERHEAD
    }

    fn is_complete(&self) -> bool {
        self.first.is_some() && self.end == Some(self.held)
    }

    fn keep(
        &mut self,
        bytes: &[u8],
        ip: &Ip<'_>,
        fragment: &Fragment,
        counters: &mut DecodeCounters,
    ) -> Result<(), Discard> {
        let (start, end) = (fragment.offset, fragment.offset + ip.payload.len() as u32);
        let known = self.pieces.last().map_or(0, |last| last.range().end);
        let fits = match (self.end, fragment.more) {
            (Some(total), true) => end <= total,
            (Some(total), false) => end == total,
            (None, true) => true,
            (None, false) => known <= end,
        };
        if !fits {
            return Err(Discard::FragmentMisfit);
        }
        self.lay(Piece { start, bytes: ip.payload.into() }, counters)?;
        if !fragment.more {
            self.end = Some(end);
        }
        if start == 0 && self.first.is_none() {
            self.first = bytes.get(..fragment.header_len as usize).map(|header| (header.to_vec(), ip.protocol));
            self.next_at = fragment.next_at;
        }
        Ok(())
    }

    /// Puts a fragment in its place; where it overlaps others, of either what counts at the receiver.
    fn lay(&mut self, later: Piece, counters: &mut DecodeCounters) -> Result<(), Discard> {
        let range = later.range();
        let from = self.pieces.partition_point(|piece| piece.range().end <= range.start);
        let to = self.pieces.partition_point(|piece| piece.start < range.end);
        let touched = self.pieces.get(from..to).unwrap_or_default();
        if touched.is_empty() {
            self.held += range.end - range.start;
            self.pieces.insert(from, later);
        } else if is_copy(touched, &later) {
            counters.work.duplicate += 1;
        } else {
            counters.work.overlap += 1;
            let os = self.os.ok_or(Discard::FragmentOverlap)?;
            let before: usize = touched.iter().map(|piece| piece.bytes.len()).sum();
            let merged = merge(touched, &later, os);
            let after: usize = merged.iter().map(|piece| piece.bytes.len()).sum();
            self.held = self.held + after as u32 - before as u32;
            self.pieces.splice(from..to, merged);
        }
        if self.pieces.len() > PIECES_MAX { Err(Discard::FragmentFlood) } else { Ok(()) }
    }

    /// The datagram as if it had never been fragmented: no fragment fields, lengths of the whole.
    fn join(self, whole: &mut Vec<u8>) -> Result<(), Discard> {
        let Some((header, protocol)) = self.first else { return Err(Discard::FragmentMisfit) };
        let total = self.held + header.len() as u32;
        if total > DATAGRAM_MAX {
            return Err(Discard::FragmentOversize);
        }
        whole.clear();
        whole.extend_from_slice(&header);
        let mut write = |at: usize, value: &[u8]| {
            if let Some(field) = whole.get_mut(at..at + value.len()) {
                field.copy_from_slice(value);
            }
        };
        match self.next_at {
            None => {
                write(2, &(total as u16).to_be_bytes());
                write(6, &[0, 0]);
            }
            Some(next_at) => {
                write(4, &(total.saturating_sub(40) as u16).to_be_bytes());
                write(next_at as usize, &[protocol]);
            }
        }
        for piece in &self.pieces {
            whole.extend_from_slice(&piece.bytes);
        }
        Ok(())
    }
}

/// Are all bytes of `later` there already, with the same values?
fn is_copy(touched: &[Piece], later: &Piece) -> bool {
    let mut at = later.start;
    for piece in touched {
        let Some(own) = piece.part(later.range()) else { continue };
        if own.start != at || later.part(own.range()).is_none_or(|part| part.bytes != own.bytes) {
            return false;
        }
        at = own.range().end;
    }
    at == later.range().end
}

/// What counts of `later` and of the pieces that it touches, in order.
fn merge(touched: &[Piece], later: &Piece, os: HostOs) -> Vec<Piece> {
    let Range { start, end } = later.range();
    let mut merged = Vec::with_capacity(touched.len() + 2);
    let mut at = start;
    let mut rest = None;
    for piece in touched {
        let own = piece.range();
        if os.later_fragment_counts(&(start..end), &own) {
            merged.extend(piece.part(own.start..start));
            rest = piece.part(end..own.end);
        } else {
            merged.extend(later.part(at..own.start));
            merged.extend(piece.part(own.clone()));
            at = own.end;
        }
    }
    merged.extend(later.part(at..end));
    merged.extend(rest);
    merged
}

#[cfg(test)]
mod tests;
