//! The media that H.323 calls announce: the transport addresses in fast start and in H.245 that H.225 carries
//! (ITU-T H.323 8.1.7, 8.2.1; H.245 `UnicastAddress`), and the address of an H.245 connection, until ReleaseComplete.
//!
//! No PER is decoded. Aligned PER (X.691 16.6, 10.5.7) puts an address of four or sixteen octets and the two of its port
//! side by side at whole octets, and believed is only what begins with the very address of who sends it: its own ports,
//! for the other end. Six octets that look so by chance announce a port that nobody uses. H.245 in a connection of its
//! own is not read.
//!
//! Held: the head of a message, what an address may have begun with, and [`MEDIA_MAX`] ports; beyond them the oldest is
//! forgotten, so that it ends by its time to live only.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::{Ends, Follow, FollowOut};
use crate::model::{AppProto, Expectation, Side, Transport};

/// Calls are not refreshed: a day, the longest there is.
const CALL_TTL_S: u32 = 86_400;
/// As after SIP's BYE: what was under way.
const AFTER_RELEASE_TTL_S: u32 = 30;
/// H.245 is opened at once.
const CONTROL_TTL_S: u32 = 60;
/// RTP and RTCP of sound, picture and data, of both ends, and the H.245 connections.
const MEDIA_MAX: usize = 16;
/// RTP takes what the system hands out: an announcement cannot speak of a well-known service's port.
const PORT_MIN: u16 = 1_024;
/// An IPv6 address and a port, but for the last octet.
const CARRY_BYTES: usize = 17;
/// TPKT's four octets, then protocol discriminator, call reference of at most two octets behind its length, message.
const HEAD_BYTES: usize = 9;
/// Q.931's RELEASE COMPLETE, which is H.323's only end of a call.
const RELEASE_COMPLETE: u8 = 0x5a;

#[derive(Debug, Default)]
pub(super) struct Calls {
    orig: Reading,
    resp: Reading,
    media: ArrayVec<Medium, MEDIA_MAX>,
}

/// One direction.
#[derive(Debug, Default)]
struct Reading {
    carry: ArrayVec<u8, CARRY_BYTES>,
    head: ArrayVec<u8, HEAD_BYTES>,
    /// Octets of a message behind its head.
    left: usize,
    /// Where messages begin is no longer known.
    lost: bool,
}

/// Who receives at which port, and who sends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Medium {
    to: IpAddr,
    from: IpAddr,
    port: u16,
}

impl Follow for Calls {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        let (own, other, reading) = match side {
            Side::Orig => (flow.orig, flow.resp, &mut self.orig),
            Side::Resp => (flow.resp, flow.orig, &mut self.resp),
        };
        let (media, signalling) = (&mut self.media, own.1);
        reading.addresses(own.0, bytes, |port| {
            let medium = Medium { to: own.0, from: other.0, port };
            if port < PORT_MIN || port == signalling || media.contains(&medium) {
                return;
            }
            if media.is_full() {
                media.remove(0);
            }
            media.push(medium);
            out.expect.extend([medium.expected(CALL_TTL_S), medium.control()]);
        });
        if reading.released(bytes) {
            for medium in media.drain(..) {
                out.expect.push(medium.expected(AFTER_RELEASE_TTL_S));
            }
        }
    }

    fn gap(&mut self, side: Side) {
        let reading = match side {
            Side::Orig => &mut self.orig,
            Side::Resp => &mut self.resp,
        };
        *reading = Reading { lost: true, ..Reading::default() };
    }
}

impl Reading {
    /// Tells the ports that stand behind this address.
    fn addresses(&mut self, own: IpAddr, bytes: &[u8], mut tell: impl FnMut(u16)) {
        let (v4, v6);
        let address: &[u8] = match own {
            IpAddr::V4(ip) => {
                v4 = ip.octets();
                &v4
            }
            IpAddr::V6(ip) => {
                v6 = ip.octets();
                &v6
            }
        };
        let len = address.len() + 2;
        let mut look = |all: &[u8]| {
            for window in all.windows(len) {
                if let Some([high, low]) = window.strip_prefix(address) {
                    tell(u16::from_be_bytes([*high, *low]));
                }
            }
        };
        // Across the two: as much of what came before as may begin an address, and what completes it.
        let before = self.carry.get(self.carry.len().saturating_sub(len - 1)..).unwrap_or_default();
        let seam: ArrayVec<u8, { 2 * CARRY_BYTES }> =
            before.iter().chain(bytes.iter().take(len - 1)).copied().collect();
        look(&seam);
        if bytes.len() >= len {
            look(bytes);
        }
        for byte in bytes.iter().skip(bytes.len().saturating_sub(CARRY_BYTES)) {
            if self.carry.is_full() {
                self.carry.remove(0);
            }
            self.carry.push(*byte);
        }
    }

    /// Does a message that ends the call begin here?
    fn released(&mut self, bytes: &[u8]) -> bool {
        let (mut rest, mut released) = (bytes, false);
        while !self.lost {
            let passed = self.left.min(rest.len());
            self.left -= passed;
            let Some((byte, after)) = rest.get(passed..).and_then(<[u8]>::split_first) else { break };
            rest = after;
            self.head.push(*byte);
            let &[3, 0, high, low, ref message @ ..] = self.head.as_slice() else {
                self.lost = self.head.len() >= 4;
                continue;
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if self.head.is_full() || self.head.len() >= length {
                let kind = match message {
                    [8, reference, call @ ..] => call.get(usize::from(*reference)),
                    _ => None,
                };
                released |= kind == Some(&RELEASE_COMPLETE);
                self.left = length.saturating_sub(self.head.len());
                self.head.clear();
            }
        }
        released
    }
}

impl Medium {
    /// RTP has even ports, RTCP the next odd ones (RFC 3550 section 11).
    fn expected(self, ttl_s: u32) -> Expectation {
        let app = AppProto::new(if self.port.is_multiple_of(2) { "rtp" } else { "rtcp" });
        self.by(Transport::Udp, app, ttl_s)
    }

    /// The same may be an H.245 connection's address.
    fn control(self) -> Expectation {
        self.by(Transport::Tcp, AppProto::new("h323"), CONTROL_TTL_S)
    }

    fn by(self, transport: Transport, app: AppProto, ttl_s: u32) -> Expectation {
        let Medium { to, from, port } = self;
        Expectation { client: Some(from), server: to, transport, port, ttl_s, app, interface: None, serves: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: [u8; 4] = [10, 0, 0, 9];
    const CALLED: [u8; 4] = [10, 0, 0, 5];

    fn flow() -> Ends {
        Ends { orig: (CALLER.into(), 40_000), resp: (CALLED.into(), 1_720), transport: Transport::Tcp }
    }

    /// A message of H.225 with these octets in its user-user element.
    fn message(kind: u8, content: &[u8]) -> Vec<u8> {
        let element = [&[0x7e, (content.len() + 1) as u8 >> 7, content.len() as u8 + 1, 5], content].concat();
        let length = (9 + element.len()) as u16;
        [&[3, 0][..], &length.to_be_bytes(), &[8, 2, 0x12, 0x34, kind], &element].concat()
    }

    fn address(ip: [u8; 4], port: u16) -> Vec<u8> {
        [&[0x80, 0x11, 0][..], &ip, &port.to_be_bytes(), &[0x01]].concat()
    }

    /// `from > to:port transport app ttl`.
    fn told(calls: &mut Calls, side: Side, bytes: &[u8]) -> Vec<String> {
        let mut out = FollowOut::default();
        calls.data(side, bytes, &flow(), &mut out);
        let shown = |e: &Expectation| {
            format!("{} > {}:{} {} {} {}", e.client.unwrap(), e.server, e.port, e.transport, e.app, e.ttl_s)
        };
        out.expect.iter().map(shown).collect()
    }

    #[test]
    fn the_ports_of_fast_start_are_expected_and_release_complete_ends_them() {
        let mut calls = Calls::default();
        let setup = message(0x05, &[address(CALLER, 5_004), address(CALLER, 5_005)].concat());
        assert_eq!(
            told(&mut calls, Side::Orig, &setup),
            [
                "10.0.0.5 > 10.0.0.9:5004 udp rtp 86400",
                "10.0.0.5 > 10.0.0.9:5004 tcp h323 60",
                "10.0.0.5 > 10.0.0.9:5005 udp rtcp 86400",
                "10.0.0.5 > 10.0.0.9:5005 tcp h323 60",
            ]
        );
        assert_eq!(told(&mut calls, Side::Orig, &setup), [""; 0], "said again");
        assert_eq!(told(&mut calls, Side::Resp, &message(0x07, &address(CALLED, 6_000))).len(), 2);
        let ended = told(&mut calls, Side::Resp, &message(RELEASE_COMPLETE, b""));
        assert!(ended.len() == 3 && ended.iter().all(|e| e.ends_with(" 30")), "{ended:?}");
    }

    #[test]
    fn what_is_another_hosts_or_a_well_known_port_announces_nothing() {
        let mut calls = Calls::default();
        let content =
            [address(CALLED, 5_004), address([10, 0, 0, 77], 5_004), address(CALLER, 445), address(CALLER, 40_000)];
        assert_eq!(told(&mut calls, Side::Orig, &message(0x05, &content.concat())), [""; 0]);
        // Its own signalling port.
        assert_eq!(told(&mut calls, Side::Resp, &message(0x07, &address(CALLED, 1_720))), [""; 0]);
    }

    #[test]
    fn messages_in_pieces_are_read_as_whole_ones() {
        let all = [message(0x05, &address(CALLER, 5_004)), message(RELEASE_COMPLETE, b"")].concat();
        let whole = told(&mut Calls::default(), Side::Orig, &all);
        assert_eq!(whole.len(), 3);
        for size in 1..all.len() {
            let mut calls = Calls::default();
            let pieces: Vec<_> = all.chunks(size).flat_map(|piece| told(&mut calls, Side::Orig, piece)).collect();
            assert_eq!(pieces, whole, "{size}");
        }
    }

    #[test]
    fn a_flood_of_ports_is_bounded_and_a_gap_ends_nothing() {
        let mut calls = Calls::default();
        for port in 2_000..3_000 {
            told(&mut calls, Side::Orig, &message(0x62, &address(CALLER, port)));
        }
        assert_eq!(calls.media.len(), MEDIA_MAX);
        calls.gap(Side::Orig);
        assert_eq!(told(&mut calls, Side::Orig, &message(RELEASE_COMPLETE, b"")), [""; 0]);
        assert_eq!(told(&mut calls, Side::Resp, &message(RELEASE_COMPLETE, b"")).len(), MEDIA_MAX);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(pieces in proptest::collection::vec(proptest::collection::vec(0u8.., 0..40), 0..20)) {
            let mut calls = Calls::default();
            for piece in pieces {
                told(&mut calls, Side::Orig, &piece);
            }
        }
    }
}
