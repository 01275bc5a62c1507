//! Twins: a second copy of every frame, as mirrors make them: by another interface, up to 45 ms later, in order.
//! Bound: a frame that the change does not apply to (a tag where there is none to add to, a segment that fits) is
//! copied as it is.

use crate::model::{Mac, Timestamp};

use super::frame::{checksum, put};
use super::{Captured, Scenario};

/// What differs between the two copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    Same,
    /// Behind a router: other MACs, TTL one less, the header's checksum anew.
    Routed,
    /// With an 802.1Q tag that says priority only (VLAN 0).
    PriorityTagged,
    /// With a VLAN tag of its own.
    Tagged(u16),
    /// In an ERSPAN II session, from this host's address.
    Erspan {
        session: u16,
        host: [u8; 4],
    },
    /// TCP's and UDP's checksum left to the card.
    ChecksumLeft,
    /// A large TCP segment in several of at most so many bytes, as TSO and GRO differ on the two sides of a card.
    Segmented(usize),
    /// Only so many bytes of the frame.
    Cut(usize),
}

const ROUTER_MACS: [Mac; 2] = [Mac([0, 0x1b, 0x21, 0, 0, 1]), Mac([0, 0x1b, 0x21, 0, 0, 2])];
const DELAY_NS_MAX: u64 = 45_000_000;

impl Scenario {
    /// Puts a router between two VMs: each frame so far between these MACs is seen in its sender's VLAN, and 50 µs later
    /// behind the router in the receiver's, by the same interface. With `hops` 0 it is two tenants' equal frames.
    pub fn routed_between(&mut self, a: (Mac, u16), b: (Mac, u16), hops: u8) -> &mut Self {
        self.routed(a, b, hops, None)
    }

    /// As [`Self::routed_between`] with one hop, and the TCP segments of at most `size` bytes behind the router, or
    /// before it: a card segments what goes out, or joins what comes in.
    pub fn routed_in_pieces(&mut self, a: (Mac, u16), b: (Mac, u16), size: usize, before: bool) -> &mut Self {
        self.routed(a, b, 1, Some((size, before)))
    }

    fn routed(
        &mut self,
        (a, a_vlan): (Mac, u16),
        (b, b_vlan): (Mac, u16),
        hops: u8,
        pieces: Option<(usize, bool)>,
    ) -> &mut Self {
        let frames = std::mem::take(&mut self.frames);
        for frame in frames {
            let Some((&to, &from)) = macs(&frame.bytes) else { continue };
            let (before, after) = match (Mac(from), Mac(to)) {
                ends if ends == (a, b) => (a_vlan, b_vlan),
                ends if ends == (b, a) => (b_vlan, a_vlan),
                _ => {
                    self.frames.push(frame);
                    continue;
                }
            };
            let sides = if before == a_vlan { ROUTER_MACS } else { [ROUTER_MACS[1], ROUTER_MACS[0]] };
            let (mut near, mut far) = (frame.clone(), frame);
            far.time = Timestamp::from_ns(far.time.ns().saturating_add(50_000));
            for _ in 0..hops {
                route(&mut far.bytes);
                put_mac(&mut near.bytes, 0, sides[0]);
                put_mac(&mut far.bytes, 0, Mac(to));
                put_mac(&mut far.bytes, 6, sides[1]);
            }
            for (copy, vlan) in [(&mut near, before), (&mut far, after)] {
                tag(&mut copy.bytes, vlan);
                copy.wire_len += 4;
            }
            for (copy, is_near) in [(near, true), (far, false)] {
                match pieces {
                    Some((size, before)) if before == is_near => {
                        let cut = Twin::Segmented(size).copies(&copy).into_iter();
                        self.frames.extend(cut.map(|(bytes, wire_len)| Captured { bytes, wire_len, ..copy }));
                    }
                    _ => self.frames.push(copy),
                }
            }
        }
        self
    }

    /// Adds a twin of every frame so far, by interface `mirror1`.
    pub fn twins(&mut self, how: Twin) -> &mut Self {
        self.copied(how, "mirror1")
    }

    /// As [`Self::twins`], but what differs comes first and the frame itself is its twin.
    pub fn twins_before(&mut self, how: Twin) -> &mut Self {
        let whole = self.frames.len();
        self.copied(Twin::Same, "mirror1");
        let copies = self.frames.split_off(whole);
        for original in std::mem::take(&mut self.frames) {
            let changed = how.copies(&original).into_iter();
            self.frames.extend(changed.map(|(bytes, wire_len)| Captured { bytes, wire_len, ..original }));
        }
        self.frames.extend(copies);
        self
    }

    /// Adds a twin of every frame so far by the interface it came by: a mirror that shows everything twice.
    pub fn doubled(&mut self) -> &mut Self {
        let interface = self.interfaces.get(self.interface).cloned().unwrap_or_default();
        self.copied(Twin::Same, &interface)
    }

    /// Keeps a frame with a chance of `per_mille` not at all: what a mirror loses.
    pub fn lose(&mut self, per_mille: u64) -> &mut Self {
        let frames = std::mem::take(&mut self.frames);
        for frame in frames {
            if self.random(1_000) >= per_mille {
                self.frames.push(frame);
            }
        }
        self
    }

    fn copied(&mut self, how: Twin, interface: &str) -> &mut Self {
        let came_by = self.interface;
        self.via(interface);
        self.frames.sort_by_key(|frame| frame.time);
        let mut copies = Vec::new();
        let mut last = Timestamp::ZERO;
        for at in 0..self.frames.len() {
            let delay = 1_000 + self.random(DELAY_NS_MAX) as i64;
            let Some(original) = self.frames.get(at) else { continue };
            let time = last.max(Timestamp::from_ns(original.time.ns().saturating_add(delay)));
            last = time;
            for (bytes, wire_len) in how.copies(original) {
                copies.push(Captured { time, interface: self.interface, bytes, wire_len });
            }
        }
        self.frames.extend(copies);
        self.interface = came_by;
        self
    }
}

impl Twin {
    fn copies(self, original: &Captured) -> Vec<(Vec<u8>, usize)> {
        let Captured { bytes, wire_len, .. } = original;
        let mut copy = bytes.clone();
        let beyond = wire_len.saturating_sub(bytes.len());
        match self {
            Twin::Same => {}
            Twin::Routed => route(&mut copy),
            Twin::Tagged(vlan) => tag(&mut copy, vlan),
            Twin::PriorityTagged => drop(copy.splice(12..12, [0x81, 0, 0xa0, 0])),
            Twin::Erspan { session, host } => copy = erspan(session, host, bytes, beyond),
            Twin::ChecksumLeft => leave_checksum(&mut copy),
            Twin::Segmented(size) => return segments(bytes, size).unwrap_or_else(|| vec![(copy, *wire_len)]),
            Twin::Cut(len) => {
                copy.truncate(len);
                return vec![(copy, *wire_len)];
            }
        }
        let wire_len = copy.len() + beyond;
        vec![(copy, wire_len)]
    }
}

/// Where the network header begins, and its EtherType; VLAN tags are passed over.
fn network(frame: &[u8]) -> Option<(usize, u16)> {
    let mut at = 12;
    loop {
        let kind = u16::from_be_bytes(*frame.get(at..)?.first_chunk()?);
        at += 2;
        match kind {
            0x8100 | 0x88a8 => at += 2,
            _ => return Some((at, kind)),
        }
    }
}

fn route(frame: &mut [u8]) {
    let Some((at, kind)) = network(frame) else { return };
    // Only unicast is routed.
    let unicast = frame.first().is_some_and(|first| first & 1 == 0);
    let hop_limit = match kind {
        0x0800 => at + 8,
        0x86dd => at + 7,
        _ => return,
    };
    match frame.get_mut(hop_limit) {
        Some(ttl) if unicast && *ttl > 1 => *ttl -= 1,
        _ => return,
    }
    let [to, from] = ROUTER_MACS;
    put_mac(frame, 0, to);
    put_mac(frame, 6, from);
    if kind == 0x0800 {
        mend(frame, at);
    }
}

/// Receiver's and sender's.
fn macs(frame: &[u8]) -> Option<(&[u8; 6], &[u8; 6])> {
    let (to, rest) = frame.split_first_chunk()?;
    Some((to, rest.first_chunk()?))
}

fn put_mac(frame: &mut [u8], at: usize, mac: Mac) {
    for (slot, byte) in frame.iter_mut().skip(at).zip(mac.0) {
        *slot = byte;
    }
}

fn tag(frame: &mut Vec<u8>, vlan: u16) {
    let [high, low] = vlan.to_be_bytes();
    let at = frame.len().min(12);
    frame.splice(at..at, [0x81, 0, high, low]);
}

/// The checksum of an IPv4 header.
fn mend(frame: &mut [u8], at: usize) {
    let len = frame.get(at).map_or(0, |first| usize::from(first & 0x0f) * 4);
    put(frame, at + 10, 0);
    let sum = checksum(frame.get(at..at + len).unwrap_or_default());
    put(frame, at + 10, sum);
}

/// Where TCP or UDP begins in an IPv4 frame, and which it is.
fn transport(frame: &[u8]) -> Option<(usize, usize, u8)> {
    let (at, kind) = network(frame)?;
    let fragment = u16::from_be_bytes(*frame.get(at + 6..)?.first_chunk()?) & 0x3fff;
    let header = usize::from(frame.get(at)? & 0x0f) * 4;
    (kind == 0x0800 && fragment == 0).then_some((at, at + header, *frame.get(at + 9)?))
}

fn leave_checksum(frame: &mut [u8]) {
    match transport(frame) {
        Some((_, at, 6)) => put(frame, at + 16, 0x5a5a),
        Some((_, at, 17)) => put(frame, at + 6, 0x5a5a),
        _ => {}
    }
}

/// GRE with a sequence number, ERSPAN II, and the frame.
fn erspan(session: u16, host: [u8; 4], inner: &[u8], beyond: usize) -> Vec<u8> {
    let len = 20 + 8 + 8 + inner.len() + beyond;
    let Ok(total) = u16::try_from(len) else { return inner.to_vec() };
    let mut out = [[0x02, 0, 0, 0, 9, 9], [0x02, 0, 0, 0, 9, 8]].concat();
    out.extend([8, 0, 0x45, 0]);
    out.extend(total.to_be_bytes());
    out.extend([0, 0, 0x40, 0, 64, 47, 0, 0]);
    out.extend(host);
    out.extend([192, 0, 2, 200]);
    mend(&mut out, 14);
    out.extend([0x10, 0, 0x88, 0xbe, 0, 0, 0, 1]);
    out.extend([0x10, 0]);
    out.extend((session & 0x03ff).to_be_bytes());
    out.extend([0; 4]);
    out.extend(inner);
    out
}

/// The pieces of a TCP segment; `None` where it fits into one.
fn segments(frame: &[u8], size: usize) -> Option<Vec<(Vec<u8>, usize)>> {
    let (ip, tcp, 6) = transport(frame)? else { return None };
    let total = usize::from(u16::from_be_bytes(*frame.get(ip + 2..)?.first_chunk()?));
    let payload_at = tcp + usize::from(frame.get(tcp + 12)? >> 4) * 4;
    let payload = frame.get(payload_at..ip + total).filter(|payload| payload.len() > size)?;
    let headers = frame.get(..payload_at)?;
    let seq = u32::from_be_bytes(*frame.get(tcp + 4..)?.first_chunk()?);
    let id = u16::from_be_bytes(*frame.get(ip + 4..)?.first_chunk()?);
    let pieces = payload.chunks(size).enumerate().map(|(n, piece)| {
        let mut out = headers.to_vec();
        let at = seq.wrapping_add((n * size) as u32).to_be_bytes();
        put(&mut out, tcp + 4, u16::from_be_bytes([at[0], at[1]]));
        put(&mut out, tcp + 6, u16::from_be_bytes([at[2], at[3]]));
        put(&mut out, ip + 2, (payload_at - ip + piece.len()) as u16);
        put(&mut out, ip + 4, id.wrapping_add(n as u16));
        mend(&mut out, ip);
        out.extend(piece);
        let len = out.len();
        (out, len)
    });
    Some(pieces.collect())
}
