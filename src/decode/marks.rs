//! Marks of the outer packets that a frame was found in, of fragments that wait for others, too: by them a copy that
//! the capture cut before the inner header is known as a copy. A mark is of the network header without what routers
//! write, and of the [`BEHIND`] bytes behind it.
//! At most [`MARKS_MAX`] of a frame, the outermost; a copy cut deeper within stays.

use super::locate::Locator;
use super::packet::Network;

const MARKS_MAX: usize = 4;
/// Ports and length of a datagram, and the tunnel's header.
const BEHIND: usize = 16;
const UDP: u8 = 17;

#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Are any asked for?
    pub wanted: bool,
    marks: [u64; MARKS_MAX],
    len: usize,
}

impl Marks {
    pub fn clear(&mut self) {
        self.len = 0;
    }

    #[inline]
    pub fn note(&mut self, network: Network, packet: &[u8]) {
        if self.wanted {
            self.keep(network, packet);
        }
    }

    fn keep(&mut self, network: Network, packet: &[u8]) {
        let Some(mark) = mark(network, packet) else { return };
        if let Some(place) = self.marks.get_mut(self.len) {
            *place = mark;
            self.len += 1;
        }
    }

    pub fn all(&self) -> &[u64] {
        self.marks.get(..self.len).unwrap_or_default()
    }
}

impl Locator {
    /// Whether the outer packets of the next frames are to be marked.
    pub fn want_marks(&mut self, wanted: bool) {
        self.marks.wanted = wanted;
    }

    /// The outer packets that the last frame showed, by their marks.
    pub fn marks(&self) -> &[u64] {
        self.marks.all()
    }
}

/// Of a packet; none of what is no IP or ends before the bytes that are looked at.
pub(super) fn mark(network: Network, packet: &[u8]) -> Option<u64> {
    let (hash, protocol, behind) = match network {
        Network::Ipv4 => {
            let head: &[u8; 20] = packet.first_chunk()?;
            let [first, _, l1, l0, i1, i0, f1, f0, _, protocol, _, _, ends @ ..] = *head;
            let numbers = u64::from_be_bytes([l1, l0, i1, i0, f1, f0, protocol, 4]);
            let later = u16::from_be_bytes([f1, f0]) & 0x1fff != 0;
            let hash = mix(u64::from_be_bytes(ends), numbers);
            (hash, if later { 0 } else { protocol }, packet.get(usize::from(first & 0x0f) * 4..)?)
        }
        Network::Ipv6 => {
            let (&[_, _, _, _, l1, l0, next, _], rest) = packet.split_first_chunk()?;
            let (ends, behind) = rest.split_first_chunk::<32>()?;
            let length = u64::from_be_bytes([l1, l0, next, 6, 0, 0, 0, 0]);
            let words = ends.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word));
            (words.fold(length, mix), next, behind)
        }
        Network::Arp | Network::Rarp | Network::Lldp | Network::Cdp => return None,
    };
    let &[a, b, c, d, e, f, mut g, mut h, rest @ ..] = behind.first_chunk::<BEHIND>()?;
    if protocol == UDP {
        // The checksum may be left to the card.
        (g, h) = (0, 0);
    }
    Some(mix(mix(hash, u64::from_be_bytes([a, b, c, d, e, f, g, h])), u64::from_be_bytes(rest)) | 1)
}

fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::test_frames::udp_frame;

    #[test]
    fn a_mark_is_the_same_whatever_a_router_or_a_card_wrote_and_wherever_the_capture_cut() {
        let packet = udp_frame(50_000, 4_789, &[8; 60])[14..].to_vec();
        let whole = mark(Network::Ipv4, &packet);
        assert!(whole.is_some());
        let mut other = packet[..44].to_vec();
        // TOS, TTL, both checksums.
        for at in [1, 8, 10, 11, 26, 27] {
            other[at] ^= 0x5a;
        }
        assert_eq!(mark(Network::Ipv4, &other), whole);
        other[4] ^= 1;
        assert_ne!(mark(Network::Ipv4, &other), whole, "the sender's number");
        assert_eq!(mark(Network::Ipv4, &packet[..35]), None, "too short to tell");
    }
}
