//! IP fragments joined to datagrams (RFC 791 3.2, RFC 8200 4.5).
//!
//! Bounded by datagrams, by bytes and by pieces a datagram. A full table forgets its oldest datagrams and counts
//! them; a datagram in too many pieces is forgotten whole. What came first stays when fragments overlap (as on
//! Linux and Solaris targets of old; current stacks drop such datagrams), and each overlap is counted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::quality::FixedState;
use hashbrown::HashMap;

use super::config::DecodeConfig;
use super::discard::{DecodeCounters, Discard};
use super::ip::{Fragment, Ip};
use crate::model::{Segment, Timestamp};

/// RFC 791 leaves 15 s to choose, Linux takes 30; RFC 8200 fixes 60 for IPv6.
const TIMEOUT_V4_S: i64 = 30;
const TIMEOUT_V6_S: i64 = 60;
/// 64 KiB over a path of the smallest MTU that IPv4 hosts must take (576) make 119.
const PIECES_MAX: usize = 256;
const DATAGRAM_MAX: u32 = 65_535;
/// What one entry costs beside its bytes: two maps, two vectors.
const ENTRY_OVERHEAD: usize = 256;
const PIECE_OVERHEAD: usize = size_of::<Piece>();

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
    /// Payload bytes in order of arrival; `pieces` says where they belong.
    data: Vec<u8>,
    /// Sorted by offset, without overlap.
    pieces: Vec<Piece>,
    /// Length of the datagram's payload, known from its last fragment.
    end: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    len: u32,
    at: usize,
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
                // A flood is forgotten at once; of a misfit only the fragment.
                if reason == Discard::FragmentFlood {
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
        let entry =
            Entry { key, started: time, first: None, next_at: None, data: Vec::new(), pieces: Vec::new(), end: None };
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
        ENTRY_OVERHEAD + header + self.data.len() + self.pieces.len() * PIECE_OVERHEAD
    }

    fn is_complete(&self) -> bool {
        let covered: u32 = self.pieces.iter().map(|piece| piece.len).sum();
        self.first.is_some() && self.end == Some(covered)
    }

    fn keep(
        &mut self,
        bytes: &[u8],
        ip: &Ip<'_>,
        fragment: &Fragment,
        counters: &mut DecodeCounters,
    ) -> Result<(), Discard> {
        let (start, end) = (fragment.offset, fragment.offset + ip.payload.len() as u32);
        let known = self.pieces.last().map_or(0, |last| last.start + last.len);
        let fits = match (self.end, fragment.more) {
            (Some(total), true) => end <= total,
            (Some(total), false) => end == total,
            (None, true) => true,
            (None, false) => known <= end,
        };
        if !fits {
            return Err(Discard::FragmentMisfit);
        }
        self.count_overlap(start, end, ip.payload, counters);
        self.fill_gaps(start, end, ip.payload)?;
        if !fragment.more {
            self.end = Some(end);
        }
        if start == 0 && self.first.is_none() {
            self.first = bytes.get(..fragment.header_len as usize).map(|header| (header.to_vec(), ip.protocol));
            self.next_at = fragment.next_at;
        }
        Ok(())
    }

    fn count_overlap(&self, start: u32, end: u32, payload: &[u8], counters: &mut DecodeCounters) {
        let mut touched = self.pieces.iter().filter(|p| p.start < end && start < p.start + p.len).peekable();
        let Some(first) = touched.peek() else { return };
        let copy = first.start <= start && end <= first.start + first.len && {
            let at = first.at + (start - first.start) as usize;
            self.data.get(at..at + payload.len()) == Some(payload)
        };
        if copy {
            counters.work.duplicate += 1;
        } else {
            counters.work.overlap += 1;
        }
    }

    /// Adds those bytes of `start..end` that were not there before.
    fn fill_gaps(&mut self, start: u32, end: u32, payload: &[u8]) -> Result<(), Discard> {
        let mut from = start;
        let mut index = self.pieces.partition_point(|p| p.start + p.len <= start);
        while from < end {
            let next = self.pieces.get(index).copied();
            let gap_end = next.map_or(end, |p| p.start.min(end));
            if from < gap_end {
                let bytes = payload.get((from - start) as usize..(gap_end - start) as usize).unwrap_or_default();
                let piece = Piece { start: from, len: gap_end - from, at: self.data.len() };
                index = self.insert(index, piece)?;
                self.data.extend_from_slice(bytes);
            }
            from = next.map_or(end, |p| p.start + p.len);
            index += 1;
        }
        Ok(())
    }

    /// Puts `piece` before position `index`, or appends it to its predecessor where the bytes adjoin, as they do
    /// when fragments come in order; yields the position after it.
    fn insert(&mut self, index: usize, piece: Piece) -> Result<usize, Discard> {
        if let Some(before) = index.checked_sub(1).and_then(|i| self.pieces.get_mut(i))
            && before.start + before.len == piece.start
            && before.at + before.len as usize == piece.at
        {
            before.len += piece.len;
            return Ok(index);
        }
        if self.pieces.len() >= PIECES_MAX {
            return Err(Discard::FragmentFlood);
        }
        self.pieces.insert(index, piece);
        Ok(index + 1)
    }

    /// The datagram as if it had never been fragmented: no fragment fields, lengths of the whole.
    fn join(self, whole: &mut Vec<u8>) -> Result<(), Discard> {
        let Some((header, protocol)) = self.first else { return Err(Discard::FragmentMisfit) };
        let payload_len: u32 = self.pieces.iter().map(|piece| piece.len).sum();
        let total = payload_len + header.len() as u32;
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
            whole.extend_from_slice(self.data.get(piece.at..piece.at + piece.len as usize).unwrap_or_default());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_frames::{NOW, fragment, joined};
    use super::super::{Datagram, Decoder, Network, Payload};
    use super::*;

    /// Protocol 253 is for experiments (RFC 3692): nothing reads its payload.
    const OTHER: u8 = 253;

    fn decoder() -> Decoder {
        Decoder::new(&DecodeConfig::default())
    }

    fn feed(decoder: &mut Decoder, packet: &[u8], time: Timestamp) -> Result<Option<(Vec<u8>, u32)>, Discard> {
        let network = if packet[0] >> 4 == 4 { Network::Ipv4 } else { Network::Ipv6 };
        let datagram = decoder.datagram(network, packet, 0, Segment::UNTAGGED, time)?;
        Ok(datagram.map(|Datagram { payload, ip_len, .. }| match payload {
            Payload::Other(_, bytes) => (bytes.to_vec(), ip_len),
            other => panic!("{other:?}"),
        }))
    }

    /// 32 bytes in four fragments.
    fn four() -> (Vec<u8>, Vec<Vec<u8>>) {
        let data: Vec<u8> = (0..32).collect();
        let pieces = (0u16..4).map(|i| fragment(OTHER, 1, i * 8, i < 3, &data[usize::from(i) * 8..][..8])).collect();
        (data, pieces)
    }

    #[test]
    fn fragments_in_any_order_make_the_datagram() {
        let (data, pieces) = four();
        for order in 0..24usize {
            let mut left: Vec<usize> = (0..4).collect();
            let mut decoder = decoder();
            let mut whole = None;
            for radix in (1..=4).rev() {
                assert_eq!(whole, None);
                let pick = left.remove(order % 24 / [1, 1, 2, 6][radix - 1] % radix);
                whole = feed(&mut decoder, &pieces[pick], NOW).unwrap();
            }
            assert_eq!(whole, Some((data.clone(), 52)), "order {order}");
            assert_eq!((decoder.counters.work.fragments, decoder.counters.work.reassembled), (4, 1));
        }
    }

    #[test]
    fn a_missing_fragment_makes_nothing_and_expires() {
        let (_, pieces) = four();
        let mut decoder = decoder();
        for piece in [&pieces[0], &pieces[1], &pieces[3]] {
            assert_eq!(feed(&mut decoder, piece, NOW), Ok(None));
        }
        decoder.tick(NOW.plus_s(29));
        assert_eq!(decoder.counters.work.expired, 0);
        decoder.tick(NOW.plus_s(30));
        assert_eq!(decoder.counters.work.expired, 1);
        assert_eq!(feed(&mut decoder, &pieces[2], NOW.plus_s(31)), Ok(None));
    }

    #[test]
    fn copies_are_counted_and_change_nothing() {
        let (data, pieces) = four();
        let mut decoder = decoder();
        for piece in [&pieces[0], &pieces[0], &pieces[2], &pieces[2], &pieces[1]] {
            assert_eq!(feed(&mut decoder, piece, NOW), Ok(None));
        }
        assert_eq!(feed(&mut decoder, &pieces[3], NOW), Ok(Some((data, 52))));
        assert_eq!((decoder.counters.work.duplicate, decoder.counters.work.overlap), (2, 0));
    }

    #[test]
    fn what_came_first_stays_when_fragments_overlap() {
        let (mut data, pieces) = four();
        let mut decoder = decoder();
        feed(&mut decoder, &pieces[1], NOW).unwrap();
        assert_eq!(feed(&mut decoder, &fragment(OTHER, 1, 0, true, &[0xee; 24]), NOW), Ok(None));
        data[..8].fill(0xee);
        data[16..24].fill(0xee);
        assert_eq!(feed(&mut decoder, &pieces[3], NOW), Ok(Some((data, 52))));
        assert_eq!((decoder.counters.work.duplicate, decoder.counters.work.overlap), (0, 1));
    }

    #[test]
    fn a_teardrop_is_refused() {
        let mut decoder = decoder();
        // The last fragment ends before the first one does (CVE-1999-0015).
        assert_eq!(feed(&mut decoder, &fragment(OTHER, 1, 0, true, &[0; 40]), NOW), Ok(None));
        assert_eq!(feed(&mut decoder, &fragment(OTHER, 1, 24, false, &[0; 4]), NOW), Err(Discard::FragmentMisfit));
        // Two ends.
        assert_eq!(feed(&mut decoder, &fragment(OTHER, 2, 80, false, &[0; 8]), NOW), Ok(None));
        assert_eq!(feed(&mut decoder, &fragment(OTHER, 2, 96, false, &[0; 8]), NOW), Err(Discard::FragmentMisfit));
        assert_eq!(feed(&mut decoder, &fragment(OTHER, 2, 88, true, &[0; 8]), NOW), Err(Discard::FragmentMisfit));
        // Not a multiple of eight, and empty.
        assert_eq!(feed(&mut decoder, &fragment(OTHER, 3, 0, true, &[0; 9]), NOW), Err(Discard::FragmentMisfit));
        assert_eq!(feed(&mut decoder, &fragment(OTHER, 3, 8, true, &[]), NOW), Err(Discard::FragmentMisfit));
        assert_eq!(decoder.counters.discards.fragment_misfit, 5);
    }

    #[test]
    fn a_ping_of_death_is_refused_and_the_largest_datagram_is_not() {
        let mut decoder = decoder();
        let death = fragment(OTHER, 1, 65_528, false, &[0; 8]);
        assert_eq!(feed(&mut decoder, &death, NOW), Err(Discard::FragmentOversize));
        let whole: Vec<u8> = (0..65_515u32).map(|i| i as u8).collect();
        let mut last = Ok(None);
        for (i, piece) in whole.chunks(1480).enumerate() {
            last = feed(&mut decoder, &fragment(OTHER, 2, i as u16 * 1480, i < 44, piece), NOW);
        }
        assert_eq!(last, Ok(Some((whole, 65_535))));
    }

    #[test]
    fn small_fragments_in_order_are_joined_and_a_scattered_flood_is_forgotten() {
        let mut decoder = decoder();
        let mut last = Ok(None);
        for i in 0..1000 {
            last = feed(&mut decoder, &fragment(OTHER, 1, i * 8, i < 999, &[i as u8; 8]), NOW);
        }
        assert_eq!(last.map(|whole| whole.map(|(bytes, _)| bytes.len())), Ok(Some(8000)));
        let flood = (0..1000).filter_map(|i| feed(&mut decoder, &fragment(OTHER, 2, i * 16, true, &[0; 8]), NOW).err());
        assert_eq!(flood.collect::<Vec<_>>(), [Discard::FragmentFlood; 3]);
    }

    #[test]
    fn a_full_table_forgets_its_oldest_datagram() {
        let config = DecodeConfig { fragmented_datagrams_max: 2, ..DecodeConfig::default() };
        let mut decoder = Decoder::new(&config);
        for id in 1..=3 {
            feed(&mut decoder, &fragment(OTHER, id, 0, true, &[0; 8]), NOW).unwrap();
        }
        assert_eq!(decoder.counters.work.evicted, 1);
        for (id, expected) in [(3, Some(36)), (2, Some(36)), (1, None)] {
            let last = feed(&mut decoder, &fragment(OTHER, id, 8, false, &[0; 8]), NOW).unwrap();
            assert_eq!(last.map(|(_, ip_len)| ip_len), expected, "datagram {id}");
        }
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut decoder = decoder();
        for id in 0..200 {
            feed(&mut decoder, &fragment(OTHER, id, 0, true, &[0; 8192]), NOW).unwrap();
        }
        assert!(decoder.counters.work.evicted >= 200 - 512 * 1024 / 8192);
    }

    #[test]
    fn other_segments_ids_and_protocols_are_other_datagrams() {
        let (_, pieces) = four();
        let mut decoder = decoder();
        for piece in &pieces[..3] {
            feed(&mut decoder, piece, NOW).unwrap();
        }
        let tenant = Segment::UNTAGGED.with(crate::model::LayerKind::Vlan, 9);
        let elsewhere = decoder.datagram(Network::Ipv4, &pieces[3], 0, tenant, NOW);
        assert!(matches!(elsewhere, Ok(None)));
        assert_eq!(feed(&mut decoder, &fragment(OTHER, 2, 24, false, &[0; 8]), NOW), Ok(None));
        assert_eq!(feed(&mut decoder, &fragment(254, 1, 24, false, &[0; 8]), NOW), Ok(None));
    }

    #[test]
    fn ipv6_fragments_are_joined_behind_their_extension_headers() {
        let piece = |offset: u16, more: u16, bytes: &[u8]| {
            let flags = (offset | more).to_be_bytes();
            let hop_by_hop = [44, 0, 1, 4, 0, 0, 0, 0];
            let rest = joined(&[&hop_by_hop, &[OTHER, 0], &flags, &[0, 0, 0, 5], bytes]);
            super::super::test_frames::ipv6(0, &rest)
        };
        let mut decoder = decoder();
        assert_eq!(feed(&mut decoder, &piece(8, 0, b"tail"), NOW), Ok(None));
        assert_eq!(feed(&mut decoder, &piece(0, 1, b"the head"), NOW), Ok(Some((b"the headtail".to_vec(), 60))));
    }

    #[test]
    fn a_fragment_that_the_capture_cut_is_read_if_first_and_refused_if_not() {
        let mut decoder = decoder();
        let cut = |offset| fragment(OTHER, 1, offset, true, &[0; 64])[..40].to_vec();
        let datagram =
            decoder.datagram(Network::Ipv4, &cut(0), 44, Segment::UNTAGGED, NOW).map(|d| d.map(|d| d.ip_len));
        assert_eq!(datagram, Ok(Some(84)));
        assert_eq!(feed(&mut decoder, &cut(64), NOW), Err(Discard::FragmentCut));
    }
}
