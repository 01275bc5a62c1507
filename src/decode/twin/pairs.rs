//! Routers that the mirror shows from both sides: pairs of segments (or one segment, where one port sees both sides)
//! that have shown [`TWINS_MIN`] packets with one hop less behind one router's MACs, or always so many hops less where
//! more routers lie between. Only between those is a packet in another segment, or at the same port, a twin: equal
//! packets of equal tenants show no hop less.
//!
//! At most [`SETS`] × [`WAYS`] pairs, of one side at most [`PARTNERS`] known by it; the one that has shown least gives way to a new one unless it is known for
//! sure. A pair that finds no place is counted, and its copies stay.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::print::mix;
use super::ring::Entry;
use super::segments;
use crate::decode::packet::{Located, Network};
use crate::model::{Mac, Segment};

/// decisions.md B.14.
pub(super) const TWINS_MIN: u32 = 32;
/// Together 1,024 pairs, 80 KiB: a site's routers have some hundred segments, of which few speak to each other.
const SETS: usize = 256;
const WAYS: usize = 4;
/// Routers in a row: more than lie between two segments of a site.
const HOPS_MAX: u8 = 8;
/// Segments that one leg of a router leads to.
const PARTNERS: usize = 8;

/// One side of the router: a segment, and the router's MAC there.
type Side = (Segment, Mac);

#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    /// The lower side first, so that both directions are one.
    sides: Option<(Side, Side)>,
    hops: u8,
    twins: u32,
}

pub(super) struct Pairs {
    pairs: Vec<[Pair; WAYS]>,
    /// Of each side of a known pair the other ones, and how many hops away.
    partners: HashMap<Side, [Option<(Segment, u8)>; PARTNERS], FixedState>,
    /// Some pair is known for sure. It never turns back.
    pub known: bool,
    pub full: u64,
}

impl Pairs {
    pub fn new() -> Self {
        let partners = HashMap::with_hasher(FixedState::default());
        Pairs { pairs: vec![[Pair::default(); WAYS]; SETS], partners, known: false, full: 0 }
    }

    /// The segments where a packet may show, too, on the other side of a known router; whether it is before the router
    /// here, and the TTL it has there.
    pub fn beyond(&self, located: &Located<'_>, ttl: u8) -> impl Iterator<Item = (Segment, bool, u8)> + use<> {
        let of = |mac: Option<Mac>| mac.and_then(|mac| self.partners.get(&(located.segment, mac))).copied();
        let before = of(located.dst_mac).unwrap_or_default();
        let behind = of(located.src_mac).unwrap_or_default();
        let there = before.into_iter().flatten().map(move |(segment, hops)| (segment, true, ttl.saturating_sub(hops)));
        there.chain(behind.into_iter().flatten().map(move |(segment, hops)| (segment, false, ttl.saturating_add(hops))))
    }

    /// The packet and the one before it are the same but for some hops: counts it, once for each packet however many
    /// points show it, and tells whether that is known of this pair.
    pub fn note(&mut self, entry: &mut Entry, located: &Located<'_>, ttl: u8) -> bool {
        let here = (located.segment, located.src_mac, located.dst_mac);
        let there = (entry.segment, entry.src_mac, entry.dst_mac);
        let (before, after) = if entry.print.ttl > ttl { (there, here) } else { (here, there) };
        let (Some(into), Some(out_of)) = (before.2, after.1) else { return false };
        // What a router sent on has other addresses on its link, and none is sent to a group.
        let hops = entry.print.ttl.abs_diff(ttl);
        let routed = (1..=HOPS_MAX).contains(&hops) && into.is_unicast() && before.1 != Some(out_of);
        if !routed {
            return false;
        }
        let (a, b) = ((before.0, into), (after.0, out_of));
        let sides = if a <= b { (a, b) } else { (b, a) };
        let hash = hash(&sides);
        let bit = 1 << (hash.wrapping_add(u64::from(hops)) % 64);
        let first = entry.noted & bit == 0;
        entry.noted |= bit;
        self.count(sides, hash, hops, first)
    }

    fn count(&mut self, sides: (Side, Side), hash: u64, hops: u8, first: bool) -> bool {
        let Some(set) = self.pairs.get_mut((hash >> 32) as usize % SETS) else { return false };
        let known = set.iter().position(|pair| pair.sides == Some(sides) && pair.hops == hops);
        let least = || {
            let unsure = set.iter().enumerate().filter(|(_, pair)| pair.twins < TWINS_MIN);
            unsure.min_by_key(|(_, pair)| pair.twins).map(|(at, _)| at)
        };
        let Some(pair) = known.or_else(least).and_then(|at| set.get_mut(at)) else {
            self.full += 1;
            return false;
        };
        if pair.sides != Some(sides) || pair.hops != hops {
            self.full += u64::from(pair.twins > 0);
            *pair = Pair { sides: Some(sides), hops, twins: 0 };
        }
        // The one that makes it sure still stays.
        let sure = pair.twins >= TWINS_MIN;
        pair.twins = pair.twins.saturating_add(u32::from(first));
        let twins = pair.twins;
        self.known |= twins >= TWINS_MIN;
        if first && twins == TWINS_MIN {
            self.join(sides, hops);
        }
        sure
    }

    /// The pair is known from now on; those of one segment need no word of their partner.
    fn join(&mut self, (a, b): (Side, Side), hops: u8) {
        for (side, other) in [(a, b.0), (b, a.0)] {
            let partners = self.partners.entry(side).or_default();
            if a.0 != b.0
                && let Some(free) = partners.iter_mut().find(|partner| partner.is_none())
            {
                *free = Some((other, hops));
            }
        }
    }
}

fn hash(((s, m), (t, n)): &(Side, Side)) -> u64 {
    let mac = |Mac([a, b, c, d, e, f]): &Mac| u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]);
    mix(mac(m), mac(n)) ^ segments::hash(s) ^ segments::hash(t).rotate_left(31)
}

/// Does the copy on this side of the router count, and not the one on the other? All packets of a flow, in both
/// directions, count in one segment: that of the lower port, where more often than not its server lives; of equal
/// ports and of none, the lower segment. Either copy is whole; this says only where it is listed.
pub(super) fn counts_here(located: &Located<'_>, before: bool, other: &Segment) -> bool {
    match ports(located) {
        Some((src, dst)) if src != dst => before == (src < dst),
        _ => located.segment < *other,
    }
}

/// Of TCP, UDP and SCTP.
fn ports(located: &Located<'_>) -> Option<(u16, u16)> {
    let bytes = located.bytes;
    let (protocol, at) = match located.network {
        Network::Ipv4 => {
            let head: &[u8; 20] = bytes.first_chunk()?;
            let [first, _, _, _, _, _, f1, f0, _, protocol, ..] = *head;
            let whole = u16::from_be_bytes([f1, f0]) & 0x3fff == 0;
            (Some(protocol).filter(|_| whole)?, usize::from(first & 0x0f) * 4)
        }
        Network::Ipv6 => (*bytes.get(6)?, 40),
        Network::Arp | Network::Rarp | Network::Lldp | Network::Cdp => return None,
    };
    let &[s1, s0, d1, d0] = bytes.get(at..)?.first_chunk()?;
    matches!(protocol, 6 | 17 | 132).then(|| (u16::from_be_bytes([s1, s0]), u16::from_be_bytes([d1, d0])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LayerKind;

    fn side(vlan: u32, mac: u8) -> Side {
        (Segment::UNTAGGED.with(LayerKind::Vlan, vlan), Mac([0, 0, 0, 0, 0, mac]))
    }

    fn count(pairs: &mut Pairs, a: Side, b: Side, hops: u8) -> bool {
        let sides = if a <= b { (a, b) } else { (b, a) };
        pairs.count(sides, hash(&sides), hops, true)
    }

    #[test]
    fn a_pair_is_known_after_thirty_two_in_either_direction() {
        let mut pairs = Pairs::new();
        let counted: Vec<bool> = (0..40)
            .map(|n| match n % 2 {
                0 => count(&mut pairs, side(10, 1), side(20, 2), 1),
                _ => count(&mut pairs, side(20, 2), side(10, 1), 1),
            })
            .collect();
        assert!(counted[..32].iter().all(|known| !known) && counted[32..].iter().all(|known| *known));
        assert!(!count(&mut pairs, side(10, 1), side(20, 3), 1), "another router");
        assert!(!count(&mut pairs, side(10, 1), side(30, 2), 1), "another segment");
        assert!(!count(&mut pairs, side(10, 1), side(20, 2), 2), "another number of hops");
    }

    #[test]
    fn a_flood_of_pairs_is_counted_and_takes_none_that_is_known() {
        let mut pairs = Pairs::new();
        for _ in 0..=TWINS_MIN {
            count(&mut pairs, side(10, 1), side(20, 2), 1);
        }
        for n in 0..10_000 {
            count(&mut pairs, side(n, 9), side(n + 1, 9), 1);
        }
        assert!(pairs.full > 8_000);
        assert!(count(&mut pairs, side(10, 1), side(20, 2), 1));
    }
}
