//! The media that SIP calls announce: SDP's `c=` and `m=` lines (RFC 8866), until BYE.
//!
//! Held: one unfinished line a direction and [`MEDIA_MAX`] announced ports; beyond them the oldest is forgotten, so
//! that it ends by its time to live only.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::line::LineCarry;
use super::sip::is_bye;
use super::{Ends, Follow, FollowOut};
use crate::model::{AppProto, Expectation, Side, Transport};

/// RFC 4028: a session without refresh lasts 1800 s by default.
const CALL_TTL_S: u32 = 1800;
/// detection.md 3.4: until BYE and 30 s after.
const AFTER_BYE_TTL_S: u32 = 30;
/// Audio, video and application of both ends, and a transfer.
const MEDIA_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Calls {
    orig: Reading,
    resp: Reading,
    media: ArrayVec<(IpAddr, u16), MEDIA_MAX>,
}

/// One direction's messages.
#[derive(Debug, Default)]
struct Reading {
    lines: LineCarry,
    /// Inside a session description: the address of `c=` so far, and a port that still waits for its own.
    description: Option<Description>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Description {
    address: Option<IpAddr>,
    port: Option<u16>,
}

impl Follow for Calls {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        let reading = match side {
            Side::Orig => &mut self.orig,
            Side::Resp => &mut self.resp,
        };
        if flow.transport == Transport::Udp {
            *reading = Reading::default();
        }
        let (media, description) = (&mut self.media, &mut reading.description);
        reading.lines.feed(bytes, |line| {
            if is_bye(line) {
                for (address, port) in media.drain(..) {
                    out.expect.extend(expectations(address, port, AFTER_BYE_TTL_S));
                }
            }
            if let Some((address, port)) = step(description, line) {
                announce(media, address, port, out);
            }
        });
        if let Some((address, port)) = description.as_mut().and_then(Description::take) {
            announce(media, address, port, out);
        }
    }

    fn gap(&mut self, side: Side) {
        match side {
            Side::Orig => self.orig = Reading::default(),
            Side::Resp => self.resp = Reading::default(),
        }
    }
}

/// Takes one line; returns the media that it completes. A media section's own `c=` outranks the session's.
fn step(description: &mut Option<Description>, line: &[u8]) -> Option<(IpAddr, u16)> {
    if line == b"v=0" {
        *description = Some(Description::default());
        return None;
    }
    let open = description.as_mut()?;
    match line {
        [b'c', b'=', rest @ ..] => {
            if let Some(address) = connection(rest) {
                open.address = Some(address);
            }
            None
        }
        [b'm', b'=', rest @ ..] => {
            let before = open.take();
            open.port = media_port(rest);
            before
        }
        [b'a'..=b'z', b'=', ..] => None,
        _ => {
            let last = open.take();
            *description = None;
            last
        }
    }
}

impl Description {
    fn take(&mut self) -> Option<(IpAddr, u16)> {
        self.address.zip(self.port.take())
    }
}

fn announce(media: &mut ArrayVec<(IpAddr, u16), MEDIA_MAX>, address: IpAddr, port: u16, out: &mut FollowOut) {
    if !media.contains(&(address, port)) {
        if media.is_full() {
            media.remove(0);
        }
        media.push((address, port));
    }
    out.expect.extend(expectations(address, port, CALL_TTL_S));
}

/// The announced port, and RTCP's above it (RFC 3550 section 11). Any client: media may come from elsewhere than
/// signalling.
fn expectations(server: IpAddr, port: u16, ttl_s: u32) -> impl Iterator<Item = Expectation> {
    [(Some(port), "rtp"), (port.checked_add(1), "rtcp")].into_iter().filter_map(move |(port, app)| {
        Some(Expectation {
            client: None,
            server,
            transport: Transport::Udp,
            port: port?,
            ttl_s,
            app: AppProto::new(app),
            interface: None,
            serves: false,
        })
    })
}

/// `IN IP4 10.0.0.1`, a multicast time to live after a slash. 0.0.0.0 puts a call on hold.
fn connection(text: &[u8]) -> Option<IpAddr> {
    let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
    if words.next() != Some("IN") || !matches!(words.next(), Some("IP4" | "IP6")) {
        return None;
    }
    words.next()?.split('/').next()?.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified())
}

/// `audio 7078 RTP/AVP 0`: port 0 refuses the medium (RFC 3264 section 6).
fn media_port(text: &[u8]) -> Option<u16> {
    let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace().skip(1);
    let port = words.next()?.split('/').next()?.parse().ok().filter(|port| *port != 0)?;
    words.next()?.contains("RTP/").then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::sip::tests::INVITE;

    fn flow(transport: Transport) -> Ends {
        Ends { orig: (IpAddr::from([10, 0, 0, 1]), 5060), resp: (IpAddr::from([10, 0, 0, 2]), 5060), transport }
    }

    fn told(calls: &mut Calls, bytes: &[u8], transport: Transport) -> Vec<(IpAddr, u16, u32)> {
        let mut out = FollowOut::default();
        calls.data(Side::Orig, bytes, &flow(transport), &mut out);
        out.expect.iter().filter(|e| e.app.as_str() == "rtp").map(|e| (e.server, e.port, e.ttl_s)).collect()
    }

    #[test]
    fn the_announced_port_is_expected_and_bye_ends_it() {
        let mut calls = Calls::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(told(&mut calls, INVITE, Transport::Udp), vec![(address, 7078, 1800)]);
        let bye = b"BYE sip:200@10.0.0.2 SIP/2.0\r\nVia: x\r\n\r\n";
        assert_eq!(told(&mut calls, bye, Transport::Udp), vec![(address, 7078, 30)]);
        assert_eq!(told(&mut calls, bye, Transport::Udp), vec![]);
    }

    #[test]
    fn over_tcp_a_description_in_pieces_is_one() {
        let mut calls = Calls::default();
        let (head, tail) = INVITE.split_at(INVITE.len() - 10);
        assert_eq!(told(&mut calls, head, Transport::Tcp), vec![]);
        assert_eq!(told(&mut calls, tail, Transport::Tcp), vec![(IpAddr::from([10, 0, 0, 1]), 7078, 1800)]);
    }

    #[test]
    fn a_mediums_own_address_outranks_the_sessions() {
        let text = b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 10.0.0.7\r\nm=video 0 RTP/AVP 31\r\nm=image 5000 udptl t38\r\n";
        assert_eq!(told(&mut Calls::default(), text, Transport::Udp), vec![(IpAddr::from([10, 0, 0, 7]), 4000, 1800)]);
    }

    #[test]
    fn ordinary_lines_announce_nothing() {
        assert_eq!(
            told(&mut Calls::default(), b"m=audio 4000 RTP/AVP 0\r\nc=IN IP4 10.0.0.1\r\n", Transport::Udp),
            vec![]
        );
    }

    #[test]
    fn a_flood_of_media_is_bounded() {
        let mut calls = Calls::default();
        for port in 1000..2000 {
            told(
                &mut calls,
                format!("v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio {port} RTP/AVP 0\r\n").as_bytes(),
                Transport::Udp,
            );
        }
        assert_eq!(calls.media.len(), MEDIA_MAX);
    }
}
