//! The first half of decoding, in the dispatcher: link, tag and tunnel headers are peeled until the packet that a
//! VM sent or received is found, with its segment, its outer sender and the addresses that choose its shard.
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
use super::packet::{Located, Network};
use super::{arp, icmp, tunnel};
use crate::model::{LayerKind, LinkType, Mac, Timestamp};

/// Virtual shards, whatever the number of workers (a power of two).
pub const SHARDS: u16 = 64;
/// Tags, label stacks and tunnels around one packet.
pub const LAYERS_MAX: u8 = 16;

/// One owner: the dispatcher.
#[derive(Debug)]
pub struct Locator {
    config: DecodeConfig,
    fragments: Reassembly,
    /// Packet second of the last expiry of fragments.
    second: i64,
    outer: Vec<u8>,
    inner: Vec<u8>,
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
            fragments: Reassembly::new(&limits),
            config,
            second: 0,
            outer: Vec::new(),
            inner: Vec::new(),
            counters: DecodeCounters::default(),
        }
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
        let Locator { config, fragments, outer, inner, counters, .. } = self;
        let cut = wire_len.saturating_sub(frame.len() as u32);
        let mut peeler = Peeler { config, fragments, counters, time, stack: Stack::new(cut) };
        let outcome = peeler.follow(link, frame, outer, inner);
        if let Err(reason) = outcome {
            counters.discard(reason);
        }
        outcome
    }

    /// 0..64, from the segment and the unordered pair of addresses, so that both directions, their fragments and
    /// the ICMP errors about them meet. Fixed for ever: the order of output follows it.
    #[inline]
    pub fn shard(located: &Located<'_>) -> u16 {
        let (a, b) = located.shard_pair;
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let mut hash = 0x9e37_79b9_7f4a_7c15;
        for layer in located.segment.layers() {
            hash = fold(hash ^ (u64::from(layer.kind as u8) << 32 | u64::from(layer.id)));
        }
        hash = with_address(with_address(hash, low), high);
        (hash >> 58) as u16 % SHARDS
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

/// Where peeling stopped.
enum Step<'a> {
    Found(Located<'a>),
    /// A fragment was kept.
    Held,
    /// A fragment completed a datagram, which is in the reassembly's buffer.
    Whole(Network),
}

struct Peeler<'t> {
    config: &'t DecodeConfig,
    fragments: &'t mut Reassembly,
    counters: &'t mut DecodeCounters,
    time: Timestamp,
    stack: Stack,
}

impl Peeler<'_> {
    /// From the frame to the packet, through at most two reassembled datagrams (a fragmented tunnel within another).
    fn follow<'a>(
        &mut self,
        link: LinkType,
        frame: &'a [u8],
        outer: &'a mut Vec<u8>,
        inner: &'a mut Vec<u8>,
    ) -> Result<Option<Located<'a>>, Discard> {
        let network = match self.peel(link::from_link_type(link)?, frame)? {
            Step::Found(located) => return Ok(Some(located)),
            Step::Held => return Ok(None),
            Step::Whole(network) => network,
        };
        self.fragments.swap_whole(outer);
        self.stack.cut = 0;
        let network = match self.peel(Header::Network(network), outer)? {
            Step::Found(located) => return Ok(Some(located)),
            Step::Held => return Ok(None),
            Step::Whole(network) => network,
        };
        self.fragments.swap_whole(inner);
        self.stack.cut = 0;
        match self.peel(Header::Network(network), inner)? {
            Step::Found(located) => Ok(Some(located)),
            Step::Held => Ok(None),
            Step::Whole(_) => Err(Discard::TooDeep),
        }
    }

    #[inline]
    fn peel<'a>(&mut self, mut header: Header, mut bytes: &'a [u8]) -> Result<Step<'a>, Discard> {
        loop {
            let Header::Network(network) = header else {
                (header, bytes) = link::peel(header, bytes, &mut self.stack)?;
                continue;
            };
            if matches!(network, Network::Arp | Network::Rarp) {
                let arp = arp::read(bytes)?;
                let pair = (arp.sender_ip, arp.sender_ip);
                return Ok(Step::Found(self.found(network, bytes, (arp.sender_ip, arp.target_ip), pair)));
            }
            let ip = ip::read(network, bytes, self.stack.cut)?;
            let mut later_fragment = false;
            if let Some(fragment) = &ip.fragment {
                later_fragment = fragment.offset > 0;
                // What the capture cut can never be joined; it is treated as what it shows.
                if tunnel::may_carry(ip.protocol) && ip.cut() == 0 {
                    let whole = self.fragments.push(self.stack.segment, &ip, fragment, self.time, self.counters)?;
                    return Ok(if whole { Step::Whole(network) } else { Step::Held });
                }
            }
            let tunnel = if later_fragment { None } else { tunnel::open(&ip) };
            let Some(inner) = tunnel else {
                let pair = self.shard_pair(&ip);
                return Ok(Step::Found(self.found(network, bytes, (ip.src, ip.dst), pair)));
            };
            self.enter(&ip, inner.layer)?;
            (header, bytes) = (inner.header, inner.bytes);
        }
    }

    /// Passes from a tunnel's outer packet to what it carries.
    fn enter(&mut self, ip: &Ip<'_>, layer: Option<(LayerKind, u32)>) -> Result<(), Discard> {
        self.counters.work.tunnels += 1;
        let stack = &mut self.stack;
        stack.deeper()?;
        stack.cut = ip.cut();
        stack.host_hint.get_or_insert(ip.src);
        // The outer MACs are those of hosts and routers, never of the VM inside.
        (stack.src_mac, stack.dst_mac) = (None, None);
        if let Some((kind, id)) = layer {
            let overlay = matches!(kind, LayerKind::Vxlan | LayerKind::Geneve);
            if !(overlay && self.config.path_vnis.contains(&id)) {
                stack.segment = stack.segment.with(kind, id);
            }
        }
        Ok(())
    }

    #[inline]
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

    #[inline]
    fn found<'a>(
        &self,
        network: Network,
        bytes: &'a [u8],
        (src, dst): (IpAddr, IpAddr),
        shard_pair: (IpAddr, IpAddr),
    ) -> Located<'a> {
        let Stack { segment, src_mac, dst_mac, host_hint, cut, .. } = self.stack;
        Located { bytes, network, segment, src_mac, dst_mac, host_hint, src, dst, shard_pair, cut }
    }
}
