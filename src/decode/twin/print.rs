//! The print of a packet: what two mirrored copies of it have in common, whatever was done to each on its way.
//! Fixed size: the headers as one number, the beginning of a datagram as another, and the first [`OPENING_BYTES`] bytes
//! behind the headers as they are.
//!
//! Left out are TOS and TTL (routers write them), and every checksum: the IP header's follows the TTL, the transport's
//! may be left to the card on one copy, and says nothing that the bytes do not. Link padding is no part of a packet.

use crate::decode::packet::{Located, Network};

/// Behind the transport header: TCP options, then payload. An RTP header, a DNS id, a QUIC connection id and number
/// all lie within; a snap length of 96 still leaves the ten that follow TCP's timestamps.
pub(super) const OPENING_BYTES: usize = 32;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Reserved (IANA): the transport header of a later fragment is elsewhere.
const FRAGMENT: u8 = 255;
/// IPv6 extension headers (RFC 8200 section 4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Print {
    /// Network and transport header.
    pub key: u64,
    /// Of a datagram: its first 16 bytes. Those of one length between two ports may have equal headers, and these tell
    /// them apart (RTP's sequence number, QUIC's packet number, ESP's, ICMP's).
    pub begun: u64,
    /// It is cut before their end.
    pub short: bool,
    pub opening: [u8; OPENING_BYTES],
    /// Bytes of `opening` that were captured.
    pub opening_len: u8,
    pub ttl: u8,
    /// An IPv4 packet whose sender numbered it: a retransmission has another number.
    pub numbered: bool,
}

/// What the transport header says of a TCP segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Segment {
    /// Of both directions alike.
    pub flow: u64,
    /// Which of the two it is.
    pub up: bool,
    pub seq: u32,
    pub ack: u32,
    pub has_ack: bool,
    /// SYN, FIN or RST.
    pub controls: bool,
    pub payload_len: u32,
}

impl Segment {
    /// Of a connection in this tenant segment: equal tenants have equal connections.
    pub fn within(self, segment_hash: u64) -> Self {
        Segment { flow: self.flow ^ segment_hash, ..self }
    }
}

/// The print, and for TCP what its header says. `None` for what is too short to be told from anything else.
#[inline]
pub(super) fn print(located: &Located<'_>) -> Option<(Print, Option<Segment>)> {
    match located.network {
        Network::Ipv4 => ipv4(located),
        Network::Ipv6 => ipv6(located),
        Network::Arp | Network::Rarp => {
            let (head, rest) = located.bytes.split_first_chunk::<8>()?;
            Some((Print::default().over(mix(0x0806, u64::from_be_bytes(*head)), rest.get(..20)?), None))
        }
        // Bridges keep them on their link, and saying one twice changes nothing.
        Network::Lldp | Network::Cdp => None,
    }
}

#[inline]
fn ipv4(located: &Located<'_>) -> Option<(Print, Option<Segment>)> {
    let head: &[u8; 20] = located.bytes.first_chunk()?;
    let [first, _, l1, l0, i1, i0, f1, f0, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *head;
    let announced = u16::from_be_bytes([l1, l0]);
    let ends = u64::from_be_bytes([s0, s1, s2, s3, d0, d1, d2, d3]);
    let key = mix(ends, u64::from_be_bytes([l1, l0, i1, i0, f1, f0, protocol, 4]));
    let header_len = usize::from(first & 0x0f) * 4;
    let (body, body_len) = trim(located, header_len, usize::from(announced))?;
    let fragment = u16::from_be_bytes([f1, f0]) & 0x1fff != 0;
    let print = Print { ttl, numbered: (i1, i0) != (0, 0), ..Print::default() };
    let (low, high) = if ends.rotate_left(32) < ends { (ends.rotate_left(32), false) } else { (ends, true) };
    Some(print.transport(key, if fragment { FRAGMENT } else { protocol }, body, body_len, (low, high)))
}

fn ipv6(located: &Located<'_>) -> Option<(Print, Option<Segment>)> {
    let head: &[u8; 40] = located.bytes.first_chunk()?;
    let ([_, _, _, _, l1, l0, next, ttl], addresses) = head.split_first_chunk()?;
    let (src, dst) = addresses.split_first_chunk::<16>()?;
    let (src, dst) = (u128::from_be_bytes(*src), u128::from_be_bytes(*dst.first_chunk()?));
    let [a, b] = [src, dst].map(|address| mix((address >> 64) as u64, address as u64));
    let key = mix(mix(a, b.rotate_left(23)), u64::from_be_bytes([*l1, *l0, *next, 6, 0, 0, 0, 0]));
    let announced = match u16::from_be_bytes([*l1, *l0]) {
        0 => 0,
        len => usize::from(len) + 40,
    };
    let (body, body_len) = trim(located, 40, announced)?;
    let print = Print { ttl: *ttl, ..Print::default() };
    Some(print.transport(key, *next, body, body_len, (a.wrapping_add(b), a < b)))
}

/// What follows the network header, link padding left out, and its length on the wire. A length of zero means what is
/// there (TSO).
#[inline]
fn trim<'a>(located: &Located<'a>, header_len: usize, announced: usize) -> Option<(&'a [u8], usize)> {
    let whole = located.bytes.len().saturating_add(located.cut as usize);
    let len = if announced == 0 { whole } else { announced };
    let packet = located.bytes.get(..len).unwrap_or(located.bytes);
    Some((packet.get(header_len..)?, len.saturating_sub(header_len)))
}

impl Print {
    /// `ends`: the addresses in either order alike, and which order it was.
    #[inline]
    fn transport(
        self,
        key: u64,
        protocol: u8,
        body: &[u8],
        body_len: usize,
        ends: (u64, bool),
    ) -> (Self, Option<Segment>) {
        match (protocol, body) {
            (TCP, [p0, p1, p2, p3, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, w1, w0, _, _, u1, u0, rest @ ..]) => {
                let ports = u32::from_be_bytes([*p0, *p1, *p2, *p3]);
                let seq = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
                let ack = u32::from_be_bytes([*a0, *a1, *a2, *a3]);
                // Equal addresses leave the order to the ports.
                let swapped = ports.rotate_left(16);
                let (pair, up) = if ends.1 { (ports, true) } else { (swapped, false) };
                let segment = Segment {
                    flow: mix(ends.0, u64::from(pair)),
                    up,
                    seq,
                    ack,
                    has_ack: flags & 0x10 != 0,
                    controls: flags & 0x07 != 0,
                    payload_len: body_len.saturating_sub(usize::from(offset >> 4) * 4) as u32,
                };
                let numbers = mix(key, u64::from(seq) << 32 | u64::from(ack));
                let marks = u64::from_be_bytes([*offset, *flags, *w1, *w0, *u1, *u0, 0, TCP]);
                (self.over(mix(numbers, u64::from(ports) << 16 ^ marks), rest), Some(segment))
            }
            (UDP, [p0, p1, p2, p3, l1, l0, _, _, rest @ ..]) => {
                let ends = mix(key, u64::from_be_bytes([*p0, *p1, *p2, *p3, *l1, *l0, 0, UDP]));
                (self.begun(rest, body_len > body.len()).over(ends, rest), None)
            }
            (HOP_BY_HOP | ROUTING | DESTINATION, _) => {
                let mut print = self.begun(body, body_len > body.len()).over(key, body);
                // What options hide lies behind them: whole copies are told apart by their end.
                match body.get(..body_len).and_then(|body| body.last_chunk()) {
                    Some(end) => print.begun = mix(print.begun, u64::from_be_bytes(*end)),
                    None => print.short = body_len > body.len(),
                }
                (print, None)
            }
            _ => (self.begun(body, body_len > body.len()).over(key, body), None),
        }
    }

    #[inline]
    fn begun(mut self, rest: &[u8], cut: bool) -> Self {
        match rest.first_chunk::<16>() {
            Some(&[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]) => {
                let (high, low) = ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]);
                self.begun = mix(u64::from_be_bytes(high), u64::from_be_bytes(low));
            }
            None => self.short = cut,
        }
        self
    }

    #[inline]
    fn over(mut self, key: u64, rest: &[u8]) -> Self {
        self.key = key;
        let opening = rest.get(..OPENING_BYTES).unwrap_or(rest);
        for (to, from) in self.opening.iter_mut().zip(opening) {
            *to = *from;
        }
        self.opening_len = opening.len() as u8;
        self
    }

    /// The bytes behind the headers are the same, as far as both copies show them.
    #[inline]
    pub fn same_opening(&self, other: &Print) -> bool {
        let len = usize::from(self.opening_len.min(other.opening_len));
        self.opening.get(..len) == other.opening.get(..len)
    }
}

/// Multiply and fold 128 bits into 64. Whoever finds two packets of one key has gained nothing: the bytes are compared.
#[inline]
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    (product as u64) ^ ((product >> 64) as u64)
}
