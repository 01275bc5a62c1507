//! The ends of tunnels that are taken for segments: who sends, and who only receives. Hosts of an overlay do both;
//! a mirror's receiver never answers.
//!
//! At most [`ENDS_MAX`] ends, each in the one place that its address has; an end whose place is taken is not watched,
//! and its frames are counted. So what is said of a watched end is said of all its frames since the first.

use std::net::IpAddr;

use crate::model::{LayerKind, OneWayTunnel};

/// Ten racks of hosts; a mirror has one receiver or a few.
const ENDS_MAX: usize = 512;
/// Frames into one address before a word is said: an overlay answers its first hundred within a second.
const FRAMES_MIN: u64 = 1_000;
/// Receivers told at once.
const TOLD_MAX: usize = 8;

#[derive(Clone, Copy, Debug)]
struct End {
    address: IpAddr,
    kind: LayerKind,
    sent: u64,
    received: u64,
    /// Of what it received.
    sender: Option<IpAddr>,
    several: bool,
}

#[derive(Debug)]
pub(super) struct TunnelEnds {
    ends: Vec<Option<End>>,
    /// The pair that came last in each direction; its further frames are not yet counted.
    last: [Option<Pair>; 2],
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    kind: LayerKind,
    src: IpAddr,
    dst: IpAddr,
    frames: u64,
    watched: bool,
}

impl TunnelEnds {
    pub fn new() -> Self {
        TunnelEnds { ends: vec![None; ENDS_MAX], last: [None; 2] }
    }

    /// One frame in a tunnel of this kind. False where one of its ends is not watched.
    #[inline]
    pub fn count(&mut self, kind: LayerKind, src: IpAddr, dst: IpAddr) -> bool {
        match self.last.get_mut(way(src, dst)) {
            Some(Some(pair)) if same(pair.src, src) && same(pair.dst, dst) && pair.kind == kind => {
                pair.frames += 1;
                pair.watched
            }
            _ => self.begin(kind, src, dst),
        }
    }

    fn begin(&mut self, kind: LayerKind, src: IpAddr, dst: IpAddr) -> bool {
        let way = way(src, dst);
        if let Some(pair) = self.last.get(way).copied().flatten() {
            self.add(pair);
        }
        let pair = Pair { kind, src, dst, frames: 1, watched: true };
        // Its ends take their places in the order in which they came.
        let watched = self.add(Pair { frames: 0, ..pair });
        if let Some(last) = self.last.get_mut(way) {
            *last = Some(Pair { watched, ..pair });
        }
        watched
    }

    fn add(&mut self, Pair { kind, src, dst, frames, .. }: Pair) -> bool {
        let sends = self.end(kind, src).map(|end| end.sent += frames);
        let receives = self.end(kind, dst).map(|end| {
            end.received += frames;
            end.several |= *end.sender.get_or_insert(src) != src;
        });
        sends.is_some() && receives.is_some()
    }

    /// Who received much and never sent, most frames first.
    pub fn one_way(&mut self) -> Vec<OneWayTunnel> {
        for pair in std::mem::take(&mut self.last).into_iter().flatten() {
            self.add(pair);
        }
        let silent = self.ends.iter().flatten().filter(|end| end.sent == 0 && end.received >= FRAMES_MIN);
        let mut told: Vec<OneWayTunnel> = silent
            .filter_map(|end| {
                let End { kind, sender, several, address: receiver, received: frames, .. } = *end;
                sender.map(|sender| OneWayTunnel { kind, sender, several, receiver, frames })
            })
            .collect();
        told.sort_by_key(|tunnel| (std::cmp::Reverse(tunnel.frames), tunnel.receiver, tunnel.kind));
        told.truncate(TOLD_MAX);
        told
    }

    #[inline]
    fn end(&mut self, kind: LayerKind, address: IpAddr) -> Option<&mut End> {
        let bits = match address {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 ^ (v6.to_bits() as u64).rotate_left(17),
        };
        let place = (bits ^ (kind as u64) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let slot = self.ends.get_mut(place as usize % ENDS_MAX)?;
        let end = slot.get_or_insert(End { address, kind, sent: 0, received: 0, sender: None, several: false });
        (end.address == address && end.kind == kind).then_some(end)
    }
}

/// IPv4 by words: a derived comparison goes by octets.
#[inline]
fn same(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}

/// The two directions of a pair differ in it.
#[inline]
fn way(src: IpAddr, dst: IpAddr) -> usize {
    usize::from(match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => src.to_bits() < dst.to_bits(),
        _ => src < dst,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u32) -> IpAddr {
        IpAddr::from((0x0a09_0000 + n).to_be_bytes())
    }

    #[test]
    fn a_thousand_frames_into_a_silent_address_look_like_a_mirror() {
        let mut ends = TunnelEnds::new();
        for n in 0..1_000 {
            assert!(ends.count(LayerKind::Vxlan, host(1 + n % 2), host(9)));
        }
        let told = ends.one_way();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].to_string(), "1000 vxlan frames from 10.9.0.1 and others into 10.9.0.9, none back");
        assert_eq!(told[0].mend(), "[[mirror]] with outer_dst = \"10.9.0.9\" and vni = \"path\" (or \"segment\")");
    }

    #[test]
    fn a_few_less_or_one_answer_do_not() {
        let mut ends = TunnelEnds::new();
        (0..999).for_each(|_| assert!(ends.count(LayerKind::Vxlan, host(1), host(9))));
        assert_eq!(ends.one_way(), []);
        assert!(ends.count(LayerKind::Vxlan, host(9), host(1)));
        (0..2_000).for_each(|_| assert!(ends.count(LayerKind::Vxlan, host(1), host(9))));
        assert_eq!(ends.one_way(), []);
    }

    #[test]
    fn an_overlay_of_more_hosts_than_places_is_no_mirror() {
        let (mut ends, mut unwatched) = (TunnelEnds::new(), 0);
        for round in 1..20u32 {
            for n in 0..1_000 {
                unwatched += u64::from(!ends.count(LayerKind::Vxlan, host(n), host((n + round) % 1_000)));
            }
        }
        assert_eq!(ends.one_way(), []);
        assert!(unwatched > 0);
    }
}
