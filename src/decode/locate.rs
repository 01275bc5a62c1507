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
use super::{arp, icmp, overlay, tunnel, udp_tunnel};
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
            LinkType::ETHERNET => match overlay::open(frame).filter(|_| !self.outside) {
                Some((src, dst, inner)) => {
                    self.marks.note(Network::Ipv4, frame.get(overlay::ETHERNET..).unwrap_or_default());
                    self.enter(src, dst, 0, &inner)?;
                    Ok((inner.header, inner.bytes))
                }
                None => Ok((Header::Ethernet, frame)),
            },
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
            // An overlay's hosts choose any source port, L2TP's among them.
            let served = tunnel.is_some_and(|inner| inner.layer.is_none())
                && ip.protocol == protocol::UDP
                && udp_tunnel::is_l2tp(ip.payload);
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
            self.enter(ip.src, ip.dst, ip.cut(), &inner)?;
            (header, bytes) = (inner.header, inner.bytes);
        }
    }

    /// Passes from a tunnel's outer packet, of which the payload's last `cut` bytes are not here, to what it carries.
    #[inline(always)]
    fn enter(&mut self, src: IpAddr, dst: IpAddr, cut: u32, inner: &Inner<'_>) -> Result<(), Discard> {
        self.counters.work.tunnels += 1;
        let stack = &mut self.stack;
        stack.deeper()?;
        stack.cut = cut;
        stack.host_hint.get_or_insert(src);
        // The outer MACs are those of hosts and routers, never of the VM inside.
        (stack.src_mac, stack.dst_mac) = (None, None);
        let part = self.mirrors.tunnel(src, dst, inner.layer.unwrap_or_default(), stack);
        if inner.path.is_some() || part == Some(Part::Path) {
            self.leave(inner, src);
        } else if let Some((kind, id)) = inner.layer {
            // What the operator has decided needs no word.
            if part.is_none() {
                let watched = self.ends.count(kind, src, dst);
                self.counters.work.unwatched += u64::from(!watched);
            }
            let id = if part == Some(Part::Vsid) { id & !0xff } else { id };
            stack.segment = stack.segment.with(kind, id);
        }
        Ok(())
    }

    /// Leaves a tunnel that is path: by its kind, or because somebody says so.
    #[inline(never)]
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
mod tests;
