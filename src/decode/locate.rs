//! The first half of decoding, in the dispatcher: link, tag and tunnel headers are peeled until the packet that a
//! VM sent or received is found, with its segment, its outer sender, the path its copy came by and the addresses that
//! choose its shard.
//!
//! At most 16 tags and tunnels; a deeper nest is a counted discard. Fragments of protocols that may hide a tunnel
//! (UDP among them) are joined here, because only the whole datagram shows what is inside; all others are joined
//! on the worker.

use std::net::{IpAddr, Ipv4Addr};

use super::config::DecodeConfig;
use super::discard::{DecodeCounters, Discard};
use super::fragment::Reassembly;
use super::ip::{self, Ip, protocol};
use super::link::{self, Header, Stack};
use super::marks::Marks;
use super::mirror::{Mirrors, Part};
use super::packet::{Located, NO_ADDRESS, Network};
use super::sequence::{Sequenced, Sequences};
use super::tunnel::Inner;
use super::tunnel_ends::TunnelEnds;
use super::{arp, icmp, tunnel, udp_tunnel};
use crate::model::{Carrier, LayerKind, LinkType, Mac, MirrorPath, OneWayTunnel, PathKind, Timestamp};

/// Virtual shards, whatever the number of workers (a power of two).
pub const SHARDS: u16 = 64;
/// Tags, label stacks and tunnels around one packet.
pub const LAYERS_MAX: u8 = 16;

/// One owner: the dispatcher.
#[derive(Debug)]
pub struct Locator {
    mirrors: Mirrors,
    ends: TunnelEnds,
    sequences: Sequences,
    /// Where frames come from now.
    source: u16,
    fragments: Reassembly,
    /// Packet second of the last expiry of fragments.
    second: i64,
    outer: Vec<u8>,
    inner: Vec<u8>,
    /// The last packet came out of a tunnel whose ends are services.
    served: bool,
    pub(super) marks: Marks,
    pub counters: DecodeCounters,
}

impl Locator {
    pub fn new(config: DecodeConfig) -> Self {
        // One locator stands before 64 shards: it may keep as many datagrams as eight of them.
        let limits = DecodeConfig {
            fragmented_datagrams_max: config.fragmented_datagrams_max.saturating_mul(8),
            fragment_bytes_max: config.fragment_bytes_max.saturating_mul(8),
            ..DecodeConfig::default()
        };
        Locator {
            mirrors: Mirrors::new(config.mirrors),
            ends: TunnelEnds::new(),
            sequences: Sequences::default(),
            source: 0,
            fragments: Reassembly::new(&limits),
            second: 0,
            outer: Vec::new(),
            inner: Vec::new(),
            served: false,
            marks: Marks::default(),
            counters: DecodeCounters::default(),
        }
    }

    /// The next frames come from this mirror source: its number within the run, and its name, which `[[mirror]]`
    /// may ask for.
    pub fn arrive(&mut self, number: u16, name: &str) {
        self.source = number;
        self.mirrors.arrive(number, name);
    }

    /// Tunnels taken for segments that go one way into one address, most frames first.
    pub fn one_way_tunnels(&mut self) -> Vec<OneWayTunnel> {
        self.ends.one_way()
    }

    /// What the numbers of a source's copies tell.
    pub fn sequenced(&self, source: u16) -> Sequenced {
        self.sequences.of(source)
    }

    /// Finds the network packet in a captured frame of `wire_len` bytes on the wire. `Ok(None)`: a fragment that
    /// may hide a tunnel was kept until its datagram is whole; the frame that completes it yields it.
    pub fn locate<'a>(
        &'a mut self,
        link: LinkType,
        frame: &'a [u8],
        wire_len: u32,
        time: Timestamp,
    ) -> Result<Option<Located<'a>>, Discard> {
        self.counters.work.frames += 1;
        if self.second != time.second() {
            self.second = time.second();
            self.fragments.expire(time, &mut self.counters);
        }
        let Locator { mirrors, ends, sequences, fragments, outer, inner, served, marks, counters, .. } = self;
        marks.clear();
        let cut = wire_len.saturating_sub(frame.len() as u32);
        let mut stack = Stack::new(cut);
        stack.path.source = self.source;
        let outside = false;
        let mut peeler =
            Peeler { mirrors, ends, sequences, fragments, marks, counters, time, stack, served: false, outside };
        let followed = peeler.follow(link, frame, outer, inner);
        *served = peeler.served;
        match followed {
            Ok(Some(place)) => Ok(Some(peeler.located(place))),
            Ok(None) => Ok(None),
            Err(reason) => {
                peeler.counters.discard(reason);
                Err(reason)
            }
        }
    }

    /// The tunnel around the packet that this frame yielded last, where the tunnel's ends serve it (L2TP): they are
    /// hosts of someone's network, unlike the ends of a mirror or an overlay. None for all others, and for one that
    /// came in fragments.
    #[inline]
    pub fn around<'a>(
        &'a mut self,
        link: LinkType,
        frame: &'a [u8],
        wire_len: u32,
        time: Timestamp,
    ) -> Option<Located<'a>> {
        if !self.served {
            return None;
        }
        self.served = false;
        self.outside(link, frame, wire_len, time)
    }

    #[cold]
    fn outside<'a>(
        &'a mut self,
        link: LinkType,
        frame: &'a [u8],
        wire_len: u32,
        time: Timestamp,
    ) -> Option<Located<'a>> {
        let Locator { mirrors, ends, sequences, fragments, .. } = self;
        let mut stack = Stack::new(wire_len.saturating_sub(frame.len() as u32));
        stack.path.source = self.source;
        // The frame was counted when it was located.
        let (counters, marks) = (&mut DecodeCounters::default(), &mut Marks::default());
        let (served, outside) = (false, true);
        let mut peeler = Peeler { mirrors, ends, sequences, fragments, marks, counters, time, stack, served, outside };
        let (header, bytes) = peeler.first(link, frame).ok()?;
        match peeler.peel(header, bytes) {
            Ok(Step::Found(place)) if peeler.served => Some(peeler.located(place)),
            _ => None,
        }
    }

    /// 0..64, from the segment and the unordered pair of addresses, so that both directions, their fragments and
    /// the ICMP errors about them meet. Fixed for ever: the order of output follows it.
    #[inline]
    pub fn shard(located: &Located<'_>) -> u16 {
        (Self::hash(located) >> 58) as u16 % SHARDS
    }

    /// Of the segment and the unordered pair of addresses.
    #[inline]
    pub(super) fn hash(located: &Located<'_>) -> u64 {
        let (a, b) = located.shard_pair;
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let mut hash = 0x9e37_79b9_7f4a_7c15;
        for layer in located.segment.layers() {
            hash = fold(hash ^ (u64::from(layer.kind as u8) << 32 | u64::from(layer.id)));
        }
        with_address(with_address(hash, low), high)
    }
}

/// Multiply and fold 128 bits into 64, as wyhash does: every bit of the input reaches the high bits.
#[inline]
fn fold(word: u64) -> u64 {
    let product = u128::from(word) * 0xa076_1d64_78bd_642f;
    (product as u64) ^ ((product >> 64) as u64)
}

#[inline]
fn with_address(hash: u64, address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => fold(hash.rotate_left(17) ^ u64::from(v4.to_bits())),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            fold(fold(hash.rotate_left(29) ^ (bits >> 64) as u64).rotate_left(17) ^ bits as u64)
        }
    }
}

/// The packet, and the addresses in its header.
struct Place<'a> {
    network: Network,
    bytes: &'a [u8],
    src: IpAddr,
    dst: IpAddr,
    shard_pair: (IpAddr, IpAddr),
}

/// Where peeling stopped.
enum Step<'a> {
    Found(Place<'a>),
    /// A fragment was kept.
    Held,
    /// A fragment completed a datagram, which is in the reassembly's buffer.
    Whole(Network),
}

struct Peeler<'t> {
    mirrors: &'t Mirrors,
    ends: &'t mut TunnelEnds,
    sequences: &'t mut Sequences,
    fragments: &'t mut Reassembly,
    marks: &'t mut Marks,
    counters: &'t mut DecodeCounters,
    time: Timestamp,
    stack: Stack,
    served: bool,
    /// Stop before a tunnel whose ends are services, and join no fragments.
    outside: bool,
}

impl Peeler<'_> {
    /// From the frame to the packet, through at most two reassembled datagrams (a fragmented tunnel within another).
    #[inline(always)]
    fn follow<'a>(
        &mut self,
        link: LinkType,
        frame: &'a [u8],
        outer: &'a mut Vec<u8>,
        inner: &'a mut Vec<u8>,
    ) -> Result<Option<Place<'a>>, Discard> {
        let (header, bytes) = self.first(link, frame)?;
        let network = match self.peel(header, bytes)? {
            Step::Found(place) => return Ok(Some(place)),
            Step::Held => return Ok(None),
            Step::Whole(network) => network,
        };
        self.fragments.swap_whole(outer);
        self.stack.cut = 0;
        self.follow_whole(network, outer, inner)
    }

    /// What the frame begins with.
    #[inline(always)]
    fn first<'a>(&mut self, link: LinkType, frame: &'a [u8]) -> Result<(Header, &'a [u8]), Discard> {
        match link {
            LinkType::UPPER_PDU => self.received(frame),
            _ => Ok((link::from_link_type(link)?, frame)),
        }
    }

    /// A datagram that a listener received. The tunnel ends there: its sender and its ids are the mirror path.
    fn received<'a>(&mut self, frame: &'a [u8]) -> Result<(Header, &'a [u8]), Discard> {
        let (carrier, sender, datagram) = Carrier::read(frame).ok_or(Discard::LinkType)?;
        let inner = udp_tunnel::received(carrier, datagram, self.stack.cut).ok_or(Discard::NoTunnel)?;
        self.counters.work.tunnels += 1;
        self.stack.deeper()?;
        self.stack.host_hint = Some(sender);
        self.leave(&inner, sender);
        Ok((inner.header, inner.bytes))
    }

    /// On from a reassembled datagram, through at most one more.
    #[cold]
    fn follow_whole<'a>(
        &mut self,
        network: Network,
        outer: &'a [u8],
        inner: &'a mut Vec<u8>,
    ) -> Result<Option<Place<'a>>, Discard> {
        let network = match self.peel(Header::Network(network), outer)? {
            Step::Found(place) => return Ok(Some(place)),
            Step::Held => return Ok(None),
            Step::Whole(network) => network,
        };
        self.fragments.swap_whole(inner);
        self.stack.cut = 0;
        match self.peel(Header::Network(network), inner)? {
            Step::Found(place) => Ok(Some(place)),
            Step::Held => Ok(None),
            Step::Whole(_) => Err(Discard::TooDeep),
        }
    }

    #[inline(always)]
    fn peel<'a>(&mut self, mut header: Header, mut bytes: &'a [u8]) -> Result<Step<'a>, Discard> {
        loop {
            let Header::Network(network) = header else {
                (header, bytes) = link::peel(header, bytes, &mut self.stack)?;
                continue;
            };
            if matches!(network, Network::Arp | Network::Rarp) {
                let arp = arp::read(bytes)?;
                let pair = (arp.sender_ip, arp.sender_ip);
                return Ok(Step::Found(Place {
                    network,
                    bytes,
                    src: arp.sender_ip,
                    dst: arp.target_ip,
                    shard_pair: pair,
                }));
            }
            if matches!(network, Network::Lldp | Network::Cdp) {
                // One link has few; a worker reads them.
                let (src, dst) = (NO_ADDRESS, NO_ADDRESS);
                return Ok(Step::Found(Place { network, bytes, src, dst, shard_pair: (src, dst) }));
            }
            let ip = ip::read(network, bytes, self.stack.cut)?;
            let mut later_fragment = false;
            if let Some(fragment) = &ip.fragment {
                later_fragment = fragment.offset > 0;
                // What the capture cut can never be joined; it is treated as what it shows.
                if tunnel::may_carry(ip.protocol) && ip.cut() == 0 && !self.outside {
                    self.marks.note(network, bytes);
                    let whole = self.fragments.push(self.stack.segment, bytes, &ip, self.time, self.counters)?;
                    return Ok(if whole { Step::Whole(network) } else { Step::Held });
                }
            }
            let tunnel = if later_fragment { None } else { tunnel::open(&ip) };
            let served = tunnel.is_some() && ip.protocol == protocol::UDP && udp_tunnel::is_l2tp(ip.payload);
            self.served |= served;
            let Some(inner) = tunnel.filter(|_| !(served && self.outside)) else {
                if ip.protocol == protocol::GRE
                    && !later_fragment
                    && let Some((path, number)) = tunnel::erspan_number(ip.payload)
                {
                    self.number(ip.src, path, Some(number));
                }
                let shard_pair = self.shard_pair(&ip);
                return Ok(Step::Found(Place { network, bytes, src: ip.src, dst: ip.dst, shard_pair }));
            };
            self.marks.note(network, bytes);
            self.enter(&ip, &inner)?;
            (header, bytes) = (inner.header, inner.bytes);
        }
    }

    /// Passes from a tunnel's outer packet to what it carries.
    fn enter(&mut self, ip: &Ip<'_>, inner: &Inner<'_>) -> Result<(), Discard> {
        self.counters.work.tunnels += 1;
        let stack = &mut self.stack;
        stack.deeper()?;
        stack.cut = ip.cut();
        stack.host_hint.get_or_insert(ip.src);
        // The outer MACs are those of hosts and routers, never of the VM inside.
        (stack.src_mac, stack.dst_mac) = (None, None);
        let part = self.mirrors.tunnel(ip.src, ip.dst, inner.layer.unwrap_or_default(), stack);
        if inner.path.is_some() || part == Some(Part::Path) {
            self.leave(inner, ip.src);
        } else if let Some((kind, id)) = inner.layer {
            // What the operator has decided needs no word.
            if part.is_none() {
                let watched = self.ends.count(kind, ip.src, ip.dst);
                self.counters.work.unwatched += u64::from(!watched);
            }
            let id = if part == Some(Part::Vsid) { id & !0xff } else { id };
            stack.segment = stack.segment.with(kind, id);
        }
        Ok(())
    }

    /// Leaves a tunnel that is path: by its kind, or because somebody says so.
    fn leave(&mut self, inner: &Inner<'_>, sender: IpAddr) {
        let (kind, id) = inner.layer.unwrap_or_default();
        let named = match kind {
            LayerKind::Vxlan => PathKind::Vxlan,
            LayerKind::Geneve => PathKind::Geneve,
            _ => PathKind::Gre,
        };
        let path = inner.path.unwrap_or(MirrorPath::new(named, id));
        self.number(sender, path, inner.number);
        self.stack.leave(path);
        // The VM's own tag, which ERSPAN moved into its header.
        if kind == LayerKind::Vlan {
            self.stack.segment = self.stack.segment.with(kind, id);
        }
    }

    /// Of paths within paths the outermost one's numbers tell what came here.
    fn number(&mut self, sender: IpAddr, mut path: MirrorPath, number: Option<u32>) {
        if let Some(number) = number.filter(|_| self.stack.path.kind == PathKind::Wire && !self.outside) {
            path.source = self.stack.path.source;
            self.stack.late = self.sequences.see(sender, path, number, self.time);
            self.counters.work.unsequenced = self.sequences.unread;
        }
    }

    #[inline(always)]
    fn shard_pair(&self, ip: &Ip<'_>) -> (IpAddr, IpAddr) {
        // Of fragments only the first shows the transport, so all go by their own addresses.
        let (src, dst) = match ip.protocol {
            protocol::ICMP | protocol::ICMPV6 if ip.fragment.is_none() => icmp::shard_pair(ip),
            _ => (ip.src, ip.dst),
        };
        let to_all = match dst {
            IpAddr::V4(v4) => v4.is_multicast() || v4 == Ipv4Addr::BROADCAST,
            IpAddr::V6(v6) => v6.is_multicast(),
        };
        // A subnet's broadcast address shows only in the MAC.
        let to_subnet = ip.protocol == protocol::UDP && self.stack.dst_mac == Some(Mac::BROADCAST);
        if to_all || to_subnet { (src, src) } else { (src, dst) }
    }

    #[inline(always)]
    fn located<'a>(&mut self, place: Place<'a>) -> Located<'a> {
        if self.mirrors.finishes() {
            self.mirrors.finish(&mut self.stack);
        }
        let Place { network, bytes, src, dst, shard_pair } = place;
        let Stack { segment, src_mac, dst_mac, host_hint, path, cut, late, pcp, .. } = self.stack;
        Located { bytes, network, segment, src_mac, dst_mac, host_hint, path, src, dst, shard_pair, cut, late, pcp }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_frames::*;
    use super::*;

    fn pair(frame: &[u8]) -> (IpAddr, IpAddr) {
        let mut locator = Locator::new(DecodeConfig::default());
        locator.locate(LinkType::ETHERNET, frame, frame.len() as u32, NOW).unwrap().unwrap().shard_pair
    }

    #[test]
    fn a_unicast_packet_goes_by_both_addresses() {
        assert_eq!(pair(&vm_frame()), (VM_A.into(), VM_B.into()));
    }

    #[test]
    fn arp_goes_by_its_sender() {
        let arp = joined(&[&[0, 1, 8, 0, 6, 4, 0, 1], &[2, 0, 0, 0, 0, 1], &VM_A, &[0; 6], &VM_B, &[0; 18]]);
        assert_eq!(pair(&ethernet(0x0806, &arp)), (VM_A.into(), VM_A.into()));
        assert_eq!(see(&ethernet(0x0806, &arp[..20])), Err(Discard::Short));
    }

    #[test]
    fn multicast_and_broadcast_go_by_their_sender() {
        for dst in [[224, 0, 0, 251], [255, 255, 255, 255]] {
            let mut frame = udp_frame(5353, 5353, b"query");
            frame[30..34].copy_from_slice(&dst);
            assert_eq!(pair(&frame), (HOST_A.into(), HOST_A.into()), "{dst:?}");
        }
        let mut subnet = udp_frame(138, 138, b"browse");
        subnet[..6].fill(0xff);
        assert_eq!(pair(&subnet), (HOST_A.into(), HOST_A.into()));
    }

    #[test]
    fn tcp_to_a_group_mac_goes_by_both_addresses() {
        // Load balancers answer for one address with a group MAC: its flow must not be torn apart.
        let mut frame = vm_frame();
        frame[..6].copy_from_slice(&[0x03, 0xbf, 10, 0, 0, 2]);
        assert_eq!(pair(&frame), (VM_A.into(), VM_B.into()));
    }

    #[test]
    fn an_icmp_error_goes_where_the_flow_it_quotes_lives() {
        let error = joined(&[&[3, 3, 0, 0, 0, 0, 0, 0], &vm_packet()]);
        assert_eq!(pair(&ethernet(0x0800, &ipv4(1, &error))), (VM_A.into(), VM_B.into()));
        let echo = joined(&[&[8, 0, 0, 0, 0, 0, 0, 0], &vm_packet()]);
        assert_eq!(pair(&ethernet(0x0800, &ipv4(1, &echo))), (HOST_A.into(), HOST_B.into()));
    }

    #[test]
    fn neighbour_discovery_goes_by_its_sender() {
        let advertisement = joined(&[&[136, 0, 0, 0, 0x60, 0, 0, 0], &[0x20; 16]]);
        let sender = IpAddr::from([0x20; 16]);
        assert_eq!(pair(&ethernet(0x86dd, &ipv6(58, &advertisement))), (sender, sender));
    }

    /// Feeds frames to one locator; what the last one yields.
    fn last(frames: &[Vec<u8>]) -> Option<Seen> {
        let mut locator = Locator::new(DecodeConfig::default());
        let mut seen = None;
        for frame in frames {
            assert!(seen.is_none(), "yielded before the last frame");
            seen = locator
                .locate(LinkType::ETHERNET, frame, frame.len() as u32, NOW)
                .unwrap()
                .map(|located| located.into());
        }
        seen
    }

    fn halves(protocol: u8, id: u16, payload: &[u8]) -> [Vec<u8>; 2] {
        let (head, tail) = payload.split_at(48);
        [fragment(protocol, id, 0, true, head), fragment(protocol, id, 48, false, tail)]
    }

    #[test]
    fn a_fragmented_tunnel_is_seen_through_in_either_order() {
        let tunnel = udp(50000, 4789, &vxlan(5001, &vm_frame()));
        let frames = halves(17, 1, &tunnel).map(|packet| ethernet(0x0800, &packet));
        assert_eq!(last(&frames), from_vm("vxlan:5001").ok());
        let [first, second] = frames;
        assert_eq!(last(&[second, first]), from_vm("vxlan:5001").ok());
    }

    #[test]
    fn fragmented_udp_that_is_no_tunnel_comes_out_whole() {
        let datagram = udp(50000, 2049, &[7; 100]);
        let frames = halves(17, 1, &datagram).map(|packet| ethernet(0x0800, &packet));
        assert_eq!(last(&frames), from_host().ok());
    }

    #[test]
    fn a_fragmented_tunnel_within_a_fragmented_tunnel_is_seen_through() {
        let inner = udp(50000, 4789, &vxlan(2, &vm_frame()));
        let mut frames = Vec::new();
        for (id, half) in halves(17, 9, &inner).iter().enumerate() {
            let outer = udp(50000, 4789, &vxlan(1, &ethernet(0x0800, half)));
            frames.extend(halves(17, id as u16, &outer).map(|packet| ethernet(0x0800, &packet)));
        }
        assert_eq!(last(&frames), from_vm("vxlan:1/vxlan:2").ok());
    }

    #[test]
    fn fragments_of_tcp_are_left_to_the_worker() {
        let [first, second] = halves(6, 1, &[0; 64]).map(|packet| ethernet(0x0800, &packet));
        assert_eq!(see(&first), from_host());
        assert_eq!(see(&second), from_host());
        assert_eq!(pair(&second), (HOST_A.into(), HOST_B.into()));
    }

    #[test]
    fn outer_fragments_expire_by_packet_time() {
        let mut locator = Locator::new(DecodeConfig::default());
        let [first, _] = halves(17, 1, &[0; 100]).map(|packet| ethernet(0x0800, &packet));
        let length = first.len() as u32;
        for (second, expired) in [(0, 0), (29, 0), (30, 1)] {
            assert!(locator.locate(LinkType::ETHERNET, &first, length, NOW.plus_s(second)).unwrap().is_none());
            assert_eq!(locator.counters.work.expired, expired, "after {second} s");
        }
    }

    #[test]
    fn what_a_mirror_cut_is_known_to_be_missing() {
        let mut cut_inner = vm_frame();
        cut_inner[17] = 200; // Total length.
        let frame = udp_frame(50000, 4789, &vxlan(1, &cut_inner));
        let mut locator = Locator::new(DecodeConfig::default());
        let located = locator.locate(LinkType::ETHERNET, &frame, frame.len() as u32 + 10, NOW).unwrap().unwrap();
        // The outer length is complete, so the ten bytes more were padding.
        assert_eq!((located.cut, located.bytes.len()), (0, 40));
    }

    #[test]
    fn around_an_l2tp_packet_is_the_datagram_of_its_ends_and_around_another_tunnels_nothing() {
        let l2tp = udp_frame(1701, 1701, &joined(&[&[0, 3, 0, 0, 0, 0, 0, 5], &vm_frame()]));
        let vxlan = udp_frame(50000, 4789, &vxlan(1, &vm_frame()));
        let around = |frame: &[u8]| -> (Option<Seen>, Option<Seen>) {
            let mut locator = Locator::new(DecodeConfig::default());
            let length = frame.len() as u32;
            let inside = locator.locate(LinkType::ETHERNET, frame, length, NOW).unwrap().map(Seen::from);
            (inside, locator.around(LinkType::ETHERNET, frame, length, NOW).map(Seen::from))
        };
        assert_eq!(around(&l2tp), (from_vm("-").ok(), from_host().ok()));
        assert_eq!(around(&vxlan), (from_vm("vxlan:1").ok(), None));
        assert_eq!(around(&udp_frame(1701, 1701, b"no tunnel")), (from_host().ok(), None));
        // As a mirror sends it: the ends live in the mirror's tenant.
        let mirrored = udp_frame(50000, 4789, &super::super::test_frames::vxlan(7, &l2tp));
        let (_, outside) = around(&mirrored);
        assert!(outside.is_some_and(|seen| seen.segment == "vxlan:7"));
    }

    #[test]
    fn a_fragmented_tunnel_has_nothing_around_it() {
        let tunnel = udp(1701, 1701, &joined(&[&[0, 3, 0, 0, 0, 0, 0, 5], &vm_frame()]));
        let mut locator = Locator::new(DecodeConfig::default());
        for half in halves(17, 1, &tunnel).map(|packet| ethernet(0x0800, &packet)) {
            let length = half.len() as u32;
            locator.locate(LinkType::ETHERNET, &half, length, NOW).unwrap();
            assert!(locator.around(LinkType::ETHERNET, &half, length, NOW).is_none());
        }
    }

    #[test]
    fn shards_are_fixed_for_ever() {
        let frame = tagged(&[10], 0x0800, &vm_packet());
        let mut locator = Locator::new(DecodeConfig::default());
        let located = locator.locate(LinkType::ETHERNET, &frame, frame.len() as u32, NOW).unwrap().unwrap();
        assert_eq!(Locator::shard(&located), 11);
    }
}
