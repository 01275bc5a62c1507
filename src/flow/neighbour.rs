//! Address claims: which MAC says that it has which address, in ARP, RARP and neighbour discovery.
//!
//! An equal claim is told again after [`REPEAT_S`] of packet time. At most [`REMEMBERED`] claims a shard are held
//! back that way, in a table where a newer one displaces an older: at the bound claims repeat, none is lost. Of
//! [`SAID`] addresses it is known who said last that it has them; of others an echo is told as any claim.

use std::hash::{BuildHasher, Hash};
use std::mem::discriminant;
use std::net::IpAddr;

use foldhash::fast::FixedState;

use super::Head;
use crate::counters;
use crate::decode::{Arp, Nd};
use crate::model::{Claim, ClaimKind, Mac, Timestamp};

/// Hosts repeat who-has every second while nobody answers; once a minute is enough to know that they still do.
const REPEAT_S: i64 = 60;
/// Slots; a power of two. Hosts of one shard × neighbours they talk to, for some thousand VMs in all.
const REMEMBERED: usize = 1024;

/// Slots; a power of two. It matters for a moment only.
const SAID: usize = 256;
/// A bridge that rewrites MACs (over a wireless link, where one station may have only one) repeats at once what its
/// hosts say.
const ECHO_NS: i64 = 100_000_000;

counters! {
    pub struct ClaimCounters {
        told => "claim.told",
        repeated => "claim.repeated",
        /// Sender MAC that can name no interface.
        bad_mac => "claim.discard.mac",
        bad_operation => "claim.discard.operation",
        /// Neighbour discovery with a hop limit below 255 came through a router: forged (RFC 4861 section 6.1).
        routed => "claim.discard.hop_limit",
        solicit => "claim.discard.router_solicit",
    }
}

/// The claims told lately.
pub struct Claims {
    hasher: FixedState,
    /// What is claimed about, what is claimed, and when it was told.
    told: Vec<(u64, u64, Timestamp)>,
    /// Which address, the MAC that said last that it has it, and when; an echo is none.
    said: Vec<(u64, Mac, Timestamp)>,
    pub counters: ClaimCounters,
}

impl Claims {
    pub fn new() -> Self {
        // The seed is fixed: which claims displace each other is visible in the output.
        Claims {
            hasher: FixedState::with_seed(0x6561_7374),
            told: vec![(0, 0, Timestamp::ZERO); REMEMBERED],
            said: vec![(0, Mac::default(), Timestamp::ZERO); SAID],
            counters: ClaimCounters::default(),
        }
    }

    /// What an ARP or RARP packet claims, unless it was told lately.
    pub fn arp(&mut self, head: &Head, arp: &Arp) -> Option<Claim> {
        let sender = usable(arp.sender_ip);
        let gratuitous = sender == Some(arp.target_ip);
        let (ip, kind) = match arp.operation {
            1 if gratuitous => (sender, ClaimKind::Announces),
            // With a zero sender this is a probe (RFC 5227 section 2.1.1): `ip` is None.
            1 => (sender, ClaimKind::Asks { target: arp.target_ip }),
            2 if gratuitous || head.dst_mac.is_some_and(Mac::is_group) => (sender, ClaimKind::Announces),
            2 => (sender, ClaimKind::Answers),
            // RARP: hypervisors broadcast it for a VM that has moved.
            3 | 4 => (sender, ClaimKind::Announces),
            _ => {
                self.counters.bad_operation += 1;
                return None;
            }
        };
        self.claim(head, Some(arp.sender_mac), ip, kind)
    }

    /// What a neighbour discovery message claims, unless it was told lately. `src` and `hop_limit` are of its packet.
    pub fn nd(&mut self, head: &Head, src: IpAddr, hop_limit: u8, nd: &Nd) -> Option<Claim> {
        if hop_limit != 255 {
            self.counters.routed += 1;
            return None;
        }
        match *nd {
            Nd::Solicit { target, source_mac } => {
                self.claim(head, source_mac.or(head.src_mac), usable(src), ClaimKind::Asks { target })
            }
            Nd::Advertise { target, target_mac, solicited, .. } => {
                let kind = if solicited { ClaimKind::Answers } else { ClaimKind::Announces };
                self.claim(head, target_mac.or(head.src_mac), usable(target), kind)
            }
            Nd::RouterAdvertise { source_mac } => {
                self.claim(head, source_mac.or(head.src_mac), usable(src), ClaimKind::Routes)
            }
            Nd::RouterSolicit => {
                self.counters.solicit += 1;
                None
            }
        }
    }

    /// A claim of any kind (a lease, say), unless it was told lately.
    pub fn claim(&mut self, head: &Head, mac: Option<Mac>, ip: Option<IpAddr>, kind: ClaimKind) -> Option<Claim> {
        let Some(mac) = mac.filter(|m| m.is_unicast()) else {
            self.counters.bad_mac += 1;
            return None;
        };
        let echo = ip.is_some_and(|ip| self.echoes(head, mac, ip));
        let target = match &kind {
            ClaimKind::Asks { target } => Some(*target),
            _ => None,
        };
        // A question is repeated when the same MAC asks for the same target, anything else when the same address is
        // claimed: then another MAC is a change.
        let who = if target.is_some() { None } else { ip };
        let about = self.hash((head.segment, discriminant(&kind), who.is_none().then_some(mac), who, target));
        // A move of the VM changes only where its announcement comes from.
        let host = if kind == ClaimKind::Announces { Some((head.host_hint, head.path)) } else { None };
        let lease = match &kind {
            ClaimKind::Leased { server, name, client_id } => Some((*server, name.as_deref(), client_id.as_deref())),
            _ => None,
        };
        let content = self.hash((mac, ip, host, lease, echo));
        let place = self.told.get_mut(about as usize % REMEMBERED)?;
        if place.0 == about && place.1 == content && head.time < place.2.plus_s(REPEAT_S) {
            self.counters.repeated += 1;
            return None;
        }
        *place = (about, content, head.time);
        self.counters.told += 1;
        Some(Claim { segment: head.segment, mac, ip, kind, host_hint: head.host_hint, path: head.path, echo })
    }

    /// Has another MAC just said that it has this address?
    fn echoes(&mut self, head: &Head, mac: Mac, ip: IpAddr) -> bool {
        let about = self.hash((head.segment, ip));
        let Some(place) = self.said.get_mut(about as usize % SAID) else { return false };
        let echo = place.0 == about && place.1 != mac && head.time.since_ns(place.2) <= ECHO_NS;
        if !echo {
            *place = (about, mac, head.time);
        }
        echo
    }

    fn hash(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }
}

impl Default for Claims {
    fn default() -> Self {
        Claims::new()
    }
}

/// An address that one interface may have.
fn usable(ip: IpAddr) -> Option<IpAddr> {
    Some(ip).filter(|ip| !ip.is_unspecified() && !ip.is_multicast() && *ip != IpAddr::from([255; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LayerKind, Segment};

    const A: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    const B: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);

    fn head(second: u64, dst: Mac) -> Head {
        Head {
            frame: second + 1,
            time: Timestamp::from_parts(1_000_000 + second, 0),
            segment: Segment::UNTAGGED,
            src_mac: Some(A),
            dst_mac: Some(dst),
            host_hint: None,
            taken: Default::default(),
            path: Default::default(),
        }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn arp(operation: u16, sender_mac: Mac, sender: IpAddr, target: IpAddr) -> Arp {
        Arp { operation, sender_mac, sender_ip: sender, target_mac: Mac::ZERO, target_ip: target }
    }

    #[test]
    fn the_kinds_of_arp_are_told_apart() {
        let mut claims = Claims::new();
        let zero = IpAddr::from([0, 0, 0, 0]);
        let mut kind = |h: &Head, a: Arp| claims.arp(h, &a).map(|c| (c.ip, c.kind));
        let asks = ClaimKind::Asks { target: ip(9) };
        let all = head(0, Mac::BROADCAST);
        assert_eq!(kind(&all, arp(1, A, ip(1), ip(9))), Some((Some(ip(1)), asks.clone())));
        assert_eq!(kind(&all, arp(1, B, zero, ip(9))), Some((None, asks)));
        assert_eq!(kind(&all, arp(1, A, ip(1), ip(1))), Some((Some(ip(1)), ClaimKind::Announces)));
        assert_eq!(kind(&head(0, B), arp(2, A, ip(2), ip(3))), Some((Some(ip(2)), ClaimKind::Answers)));
        assert_eq!(kind(&all, arp(2, A, ip(4), ip(3))), Some((Some(ip(4)), ClaimKind::Announces)));
        assert_eq!(kind(&all, arp(3, A, zero, zero)), Some((None, ClaimKind::Announces)));
        assert_eq!(kind(&all, arp(77, A, ip(1), ip(2))), None);
        assert_eq!(kind(&all, arp(1, Mac::BROADCAST, ip(1), ip(2))), None);
    }

    #[test]
    fn an_equal_claim_is_told_again_only_after_a_minute() {
        let mut claims = Claims::new();
        let told: Vec<bool> =
            [0, 1, 30, 59, 60, 61].map(|s| claims.arp(&head(s, B), &arp(2, A, ip(1), ip(2))).is_some()).into();
        assert_eq!(told, [true, false, false, false, true, false]);
        assert_eq!((claims.counters.told, claims.counters.repeated), (2, 4));
    }

    #[test]
    fn what_another_mac_says_at_once_is_an_echo_though_the_owners_word_is_not_told_again() {
        let mut claims = Claims::new();
        let mut said = |second: u64, ms: i64, mac: Mac| {
            let mut at = head(second, B);
            at.time = at.time.plus_ms(ms);
            claims.arp(&at, &arp(2, mac, ip(1), ip(2))).map(|claim| claim.echo)
        };
        assert_eq!([said(0, 0, A), said(0, 1, B)], [Some(false), Some(true)]);
        assert_eq!([said(1, 0, A), said(30, 0, A)], [Some(false), None]);
        assert_eq!(said(30, 100, B), Some(true));
        assert_eq!(said(31, 0, B), Some(false), "the owner is silent");
        assert_eq!(said(31, 1, A), Some(true), "and now the other one was first");
    }

    #[test]
    fn two_macs_that_take_turns_are_told_each_time() {
        let mut claims = Claims::new();
        for (second, mac) in [(0, A), (1, B), (2, A), (3, B)] {
            assert!(claims.arp(&head(second, Mac::BROADCAST), &arp(2, mac, ip(1), ip(2))).is_some());
        }
    }

    #[test]
    fn a_sweep_is_told_target_by_target() {
        let mut claims = Claims::new();
        let told = (1..=254).filter(|n| claims.arp(&head(0, Mac::BROADCAST), &arp(1, A, ip(1), ip(*n))).is_some());
        assert_eq!(told.count(), 254);
    }

    #[test]
    fn the_same_claim_in_another_segment_is_another_claim() {
        let mut claims = Claims::new();
        let mut there = head(0, B);
        assert!(claims.arp(&there, &arp(2, A, ip(1), ip(2))).is_some());
        there.segment = there.segment.with(LayerKind::Vlan, 7);
        assert!(claims.arp(&there, &arp(2, A, ip(1), ip(2))).is_some());
    }

    #[test]
    fn neighbour_discovery_through_a_router_claims_nothing() {
        let mut claims = Claims::new();
        let (link_local, target): (IpAddr, IpAddr) =
            ([0xfe80, 0, 0, 0, 0, 0, 0, 1].into(), [0xfe80, 0, 0, 0, 0, 0, 0, 2].into());
        let advertise = Nd::Advertise { target, target_mac: Some(B), solicited: true, router: false };
        assert_eq!(claims.nd(&head(0, A), link_local, 254, &advertise), None);
        let claim = claims.nd(&head(0, A), link_local, 255, &advertise);
        assert_eq!(claim.map(|c| (c.mac, c.ip, c.kind)), Some((B, Some(target), ClaimKind::Answers)));
        let routes = claims.nd(&head(0, A), link_local, 255, &Nd::RouterAdvertise { source_mac: None });
        assert_eq!(routes.map(|c| (c.mac, c.ip, c.kind)), Some((A, Some(link_local), ClaimKind::Routes)));
        let unspecified = IpAddr::from([0u16; 8]);
        let dad = claims.nd(&head(0, A), unspecified, 255, &Nd::Solicit { target, source_mac: None });
        assert_eq!(dad.map(|c| (c.ip, c.kind)), Some((None, ClaimKind::Asks { target })));
    }
}
