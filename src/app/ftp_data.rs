//! FTP's announcements of data connections: PASV, EPSV, PORT and EPRT (RFC 959, RFC 2428).
//!
//! Held: one unfinished line of at most 512 bytes a direction. A longer line is passed over. `ftp-data` is never
//! probed: its bytes are a file.

use std::net::{IpAddr, Ipv4Addr};

use super::line::{LineCarry, argument, find, is_one_of, word};
use super::{Ends, Follow, FollowOut};
use crate::model::{AppProto, Expectation, Side, Transport};

/// detection.md 3.4: the data connection is opened at once; a minute bears a slow one.
const TTL_S: u32 = 60;

/// The control connection. In FTP the responder serves, so `resp` is the server.
#[derive(Debug, Default)]
pub(super) struct Control {
    orig: LineCarry,
    resp: LineCarry,
    encrypted: bool,
}

impl Follow for Control {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        match side {
            Side::Orig => self.orig.feed(bytes, |line| out.expect.extend(active(line, flow))),
            Side::Resp => self.resp.feed(bytes, |line| {
                self.encrypted |= line.starts_with(b"234");
                out.expect.extend(passive(line, flow));
            }),
        }
    }

    fn gap(&mut self, side: Side) {
        match side {
            Side::Orig => self.orig.forget(),
            Side::Resp => self.resp.forget(),
        }
    }

    /// 234 accepts AUTH TLS (RFC 4217 section 4): nothing more can be read.
    fn done(&self) -> bool {
        self.encrypted
    }
}

/// PORT and EPRT: the client listens and the server connects. Whatever address was given, only the client's own is
/// expected: a third one is the bounce attack (RFC 2577), a private one is NAT's.
fn active(line: &[u8], flow: &Ends) -> Option<Expectation> {
    let port = if is_one_of(word(line), &["PORT"]) {
        host_port(argument(line))?.1
    } else if is_one_of(word(line), &["EPRT"]) {
        // |1|132.235.1.2|6275|
        port_number(delimited(argument(line), 3)?)?
    } else {
        return None;
    };
    Some(expectation(flow.resp.0, flow.orig.0, port))
}

/// 227 and 229: the server listens, at its own address (RFC 2428 section 3). 227 may name another: clients differ in
/// whether they believe it, and believing it here would let a server excuse connections to anyone.
fn passive(line: &[u8], flow: &Ends) -> Option<Expectation> {
    let port = if line.starts_with(b"227") {
        let start = line.iter().skip(4).position(u8::is_ascii_digit)? + 4;
        host_port(line.get(start..)?)?.1
    } else if line.starts_with(b"229") {
        // 229 Entering Extended Passive Mode (|||6446|)
        let open = find(line, "(")?;
        port_number(delimited(line.get(open + 1..)?, 3)?)?
    } else {
        return None;
    };
    Some(expectation(flow.orig.0, flow.resp.0, port))
}

fn expectation(client: IpAddr, server: IpAddr, port: u16) -> Expectation {
    Expectation {
        client: Some(client),
        server,
        transport: Transport::Tcp,
        port,
        ttl_s: TTL_S,
        app: AppProto::new("ftp-data"),
        interface: None,
        serves: false,
    }
}

/// `h1,h2,h3,h4,p1,p2`.
fn host_port(text: &[u8]) -> Option<(Ipv4Addr, u16)> {
    let mut numbers = text.split(|b| *b == b',').map(|n| {
        let digits = n.split(|b| !b.is_ascii_digit()).next().unwrap_or_default();
        std::str::from_utf8(digits).ok()?.parse::<u8>().ok()
    });
    let mut next = || numbers.next().flatten();
    let host = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    let port = u16::from_be_bytes([next()?, next()?]);
    (port != 0).then_some((host, port))
}

/// Field `n` of a text whose first character is the delimiter.
fn delimited(text: &[u8], n: usize) -> Option<&[u8]> {
    let delimiter = *text.first()?;
    text.split(|b| *b == delimiter).nth(n)
}

fn port_number(digits: &[u8]) -> Option<u16> {
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Ends {
        Ends {
            orig: (IpAddr::from([10, 0, 0, 1]), 40_000),
            resp: (IpAddr::from([10, 0, 0, 2]), 21),
            transport: Transport::Tcp,
        }
    }

    fn told(side: Side, pieces: &[&[u8]]) -> Vec<(Option<IpAddr>, IpAddr, u16)> {
        let (mut control, mut out) = (Control::default(), FollowOut::default());
        for piece in pieces {
            control.data(side, piece, &flow(), &mut out);
        }
        out.expect.iter().map(|e| (e.client, e.server, e.port)).collect()
    }

    #[test]
    fn in_passive_mode_the_server_listens() {
        let expected = vec![(Some(flow().orig.0), flow().resp.0, 0x1234)];
        assert_eq!(told(Side::Resp, &[b"227 Entering Passive Mode (10,0,0,2,18,52).\r\n"]), expected);
        assert_eq!(told(Side::Resp, &[b"227 Entering Passive Mode 10,0,0,2,18,", b"52\r\n"]), expected);
        assert_eq!(told(Side::Resp, &[b"229 Entering Extended Passive Mode (|||4660|)\r\n"]), expected);
    }

    #[test]
    fn in_active_mode_the_client_listens() {
        let expected = vec![(Some(flow().resp.0), flow().orig.0, 0x1234)];
        assert_eq!(told(Side::Orig, &[b"PORT 10,0,0,1,18,52\r\n"]), expected);
        assert_eq!(told(Side::Orig, &[b"EPRT |2|fe80::1|4660|\r\n"]), expected);
    }

    #[test]
    fn a_third_address_is_never_expected() {
        assert_eq!(told(Side::Orig, &[b"PORT 10,0,0,99,18,52\r\n"]).first().map(|e| e.1), Some(flow().orig.0));
    }

    #[test]
    fn broken_announcements_say_nothing() {
        for line in [
            &b"PORT 1,2,3\r\n"[..],
            b"PORT 1,2,3,4,0,0\r\n",
            b"PORT 1,2,3,4,999,1\r\n",
            b"EPRT |1|x|99999|\r\n",
            b"PORT\r\n",
        ] {
            assert_eq!(told(Side::Orig, &[line]), vec![], "{}", line.escape_ascii());
        }
        for line in [&b"227 none\r\n"[..], b"227\r\n", b"229 (\r\n", b"229 (|||0|)\r\n"] {
            assert_eq!(told(Side::Resp, &[line]), vec![], "{}", line.escape_ascii());
        }
    }

    #[test]
    fn after_auth_tls_nothing_is_read() {
        let mut control = Control::default();
        control.data(Side::Resp, b"234 Proceed\r\n", &flow(), &mut FollowOut::default());
        assert!(control.done());
    }
}
