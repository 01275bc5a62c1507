//! The second half of decoding, on the worker: inner fragments are joined and the transport header is read.
//!
//! Fragments are bounded as `fragment.rs` says; whatever cannot be read is a counted discard.

use super::config::DecodeConfig;
use super::discard::{DecodeCounters, Discard};
use super::fragment::Reassembly;
use super::ip::{self, Ip, protocol};
use super::packet::{Advert, Datagram, NO_ADDRESS, Network, Payload};
use super::{arp, cdp, icmp, lldp, transport};
use crate::model::{Segment, Timestamp};

/// One per virtual shard.
#[derive(Debug)]
pub struct Decoder {
    fragments: Reassembly,
    pub counters: DecodeCounters,
}

impl Decoder {
    pub fn new(config: &DecodeConfig) -> Self {
        Decoder { fragments: Reassembly::new(config), counters: DecodeCounters::default() }
    }

    /// Reads what [`Located`](super::Located) found: `bytes` from the network header on, of which `cut` bytes more
    /// were on the wire. `Ok(None)`: an incomplete fragment was kept.
    pub fn datagram<'a>(
        &'a mut self,
        network: Network,
        bytes: &'a [u8],
        cut: u32,
        segment: Segment,
        time: Timestamp,
    ) -> Result<Option<Datagram<'a>>, Discard> {
        let Decoder { fragments, counters } = self;
        let outcome = match network {
            Network::Arp | Network::Rarp => address_resolution(bytes).map(Some),
            Network::Lldp => lldp::read(bytes, cut).map(|advert| Some(introduction(advert, bytes))),
            Network::Cdp => cdp::read(bytes, cut).map(|advert| Some(introduction(advert, bytes))),
            Network::Ipv4 | Network::Ipv6 => packet(network, bytes, cut, (segment, time), fragments, counters),
        };
        match outcome {
            Ok(Some(_)) => counters.work.datagrams += 1,
            Ok(None) => {}
            Err(reason) => counters.discard(reason),
        }
        outcome
    }

    /// Forgets fragments that have waited too long. Call at every tick.
    pub fn tick(&mut self, now: Timestamp) {
        self.fragments.expire(now, &mut self.counters);
    }
}

#[inline(always)]
fn packet<'a>(
    network: Network,
    bytes: &'a [u8],
    cut: u32,
    (segment, time): (Segment, Timestamp),
    fragments: &'a mut Reassembly,
    counters: &mut DecodeCounters,
) -> Result<Option<Datagram<'a>>, Discard> {
    let ip = ip::read(network, bytes, cut)?;
    let Some(fragment) = &ip.fragment else { return transport(&ip).map(Some) };
    // A first fragment that the capture cut can never be joined, but it tells who asked whom.
    if fragment.offset == 0 && ip.cut() > 0 {
        return transport(&ip).map(Some);
    }
    if !fragments.push(segment, bytes, &ip, time, counters)? {
        return Ok(None);
    }
    let ip = ip::read(network, fragments.whole(), 0)?;
    // Fragments of fragments: no host makes them.
    if ip.fragment.is_some() { Err(Discard::TooDeep) } else { transport(&ip).map(Some) }
}

#[inline(always)]
fn transport<'a>(ip: &Ip<'a>) -> Result<Datagram<'a>, Discard> {
    let payload = match ip.protocol {
        protocol::TCP => transport::tcp(ip)?,
        protocol::UDP => transport::udp(ip)?,
        protocol::SCTP => transport::sctp(ip)?,
        // ICMP over IPv6 and the other way round have no meaning (RFC 4443 section 2.1).
        protocol::ICMP if ip.src.is_ipv4() => icmp::read(ip)?,
        protocol::ICMPV6 if ip.src.is_ipv6() => icmp::read(ip)?,
        other => Payload::Other(other, ip.payload),
    };
    Ok(Datagram { src: ip.src, dst: ip.dst, ttl: ip.ttl, tos: ip.tos, ip_len: ip.len, payload })
}

fn introduction<'a>(advert: Advert<'a>, bytes: &[u8]) -> Datagram<'a> {
    let (src, dst, payload) = (NO_ADDRESS, NO_ADDRESS, Payload::Advert(advert));
    Datagram { src, dst, ttl: 0, tos: 0, ip_len: bytes.len() as u32, payload }
}

fn address_resolution(bytes: &[u8]) -> Result<Datagram<'_>, Discard> {
    /// Of the packet itself, without link padding.
    const LEN: u32 = 28;
    let arp = arp::read(bytes)?;
    Ok(Datagram { src: arp.sender_ip, dst: arp.target_ip, ttl: 0, tos: 0, ip_len: LEN, payload: Payload::Arp(arp) })
}
