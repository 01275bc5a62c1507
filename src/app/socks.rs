//! SOCKS 4 and 5 (RFC 1928): the client's greeting, an answer that fits it, and for 5 the request after it.
//!
//! Both sides are needed: the bytes are few.

use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Socks;

/// A user id or host name of SOCKS 4 is not waited for beyond this.
const TEXT_BYTES_MAX: usize = 255;

impl Protocol for Socks {
    fn name(&self) -> &'static str {
        "socks"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        if opening.midstream || opening.first == Side::Resp {
            return Probe::NotForUs;
        }
        match socks(opening.orig, opening.resp) {
            None => Probe::Unsure,
            Some(None) => Probe::NotForUs,
            Some(Some(_)) => Probe::Certain(Some(Side::Resp)),
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        if let Some(Some(session)) = socks(opening.orig, opening.resp) {
            info.detail("version", session.version);
            info.detail("auth", session.auth);
            info.detail("command", session.command);
        }
        Described::Whole
    }
}

struct Session {
    version: &'static str,
    auth: &'static str,
    command: &'static str,
}

/// `None`: too short to tell, `Some(None)`: not SOCKS.
fn socks(client: &[u8], server: &[u8]) -> Option<Option<Session>> {
    match client.first()? {
        5 => version5(client, server),
        4 => version4(client, server),
        _ => Some(None),
    }
}

fn version5(client: &[u8], server: &[u8]) -> Option<Option<Session>> {
    let mut r = Reader::new(client);
    r.skip(1)?;
    let count = usize::from(r.u8()?);
    // IANA has assigned ten methods; a client offers a few, each once.
    if !(1..=10).contains(&count) {
        return Some(None);
    }
    let methods = r.take(count)?;
    if methods.iter().any(|m| !matches!(m, 0..=9 | 0x80..=0xfe)) {
        return Some(None);
    }
    let mut answer = Reader::new(server);
    if answer.u8()? != 5 {
        return Some(None);
    }
    let chosen = answer.u8()?;
    if !methods.contains(&chosen) {
        return Some(None);
    }
    // RFC 1929: user and password, then the server's version and status.
    if chosen == 2 {
        if r.u8()? != 1 {
            return Some(None);
        }
        for _ in 0..2 {
            let length = r.u8()?;
            r.skip(usize::from(length))?;
        }
        if answer.u8()? != 1 {
            return Some(None);
        }
    } else if chosen != 0 {
        return Some(None);
    }
    let (version, command, reserved, kind) = (r.u8()?, r.u8()?, r.u8()?, r.u8()?);
    let auth = if chosen == 2 { "password" } else { "none" };
    Some(match (version, command, reserved, kind) {
        (5, 1..=3, 0, 1 | 3 | 4) => Some(Session { version: "5", auth, command: self::command(command) }),
        _ => None,
    })
}

fn version4(client: &[u8], server: &[u8]) -> Option<Option<Session>> {
    let mut r = Reader::new(client);
    r.skip(1)?;
    let command = r.u8()?;
    if !matches!(command, 1 | 2) {
        return Some(None);
    }
    let (port, address) = (r.u16()?, r.u32()?);
    if port == 0 || address == 0 {
        return Some(None);
    }
    // SOCKS 4A: 0.0.0.x asks for a host name after the user id.
    for _ in 0..if address < 256 { 2 } else { 1 } {
        let Some(text) = r.until(0) else {
            return if r.rest().len() > TEXT_BYTES_MAX { Some(None) } else { None };
        };
        if text.len() > TEXT_BYTES_MAX || text.iter().any(|b| !b.is_ascii_graphic()) {
            return Some(None);
        }
    }
    let mut answer = Reader::new(server);
    if answer.u8()? != 0 || !matches!(answer.u8()?, 90..=93) {
        return Some(None);
    }
    answer.skip(6)?;
    Some(Some(Session { version: "4", auth: "none", command: self::command(command) }))
}

fn command(number: u8) -> &'static str {
    match number {
        1 => "connect",
        2 => "bind",
        _ => "udp-associate",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, midstream, probed, tcp};

    pub(in crate::app) const CLIENT: &[u8] = b"\x05\x02\x00\x02\x05\x01\x00\x03\x0bexample.com\x01\xbb";
    pub(in crate::app) const SERVER: &[u8] = b"\x05\x00\x05\x00\x00\x01\x0a\x00\x00\x02\x04\x38";
    const CLIENT4: &[u8] = b"\x04\x01\x00\x50\x42\x66\x07\x63bob\x00";
    const SERVER4: &[u8] = b"\x00\x5a\x00\x50\x42\x66\x07\x63";

    #[test]
    fn a_greeting_a_choice_and_a_request_are_a_proof() {
        assert_eq!(probed(&Socks, tcp(CLIENT, SERVER)), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Socks, tcp(CLIENT4, SERVER4)), Probe::Certain(Some(Side::Resp)));
        let (info, whole) = described(&Socks, tcp(CLIENT, SERVER));
        assert_eq!((info.get("version"), info.get("command"), whole), (Some("5"), Some("connect"), Described::Whole));
    }

    #[test]
    fn with_a_password_the_request_after_it_is_read_and_no_secret_kept() {
        let client = b"\x05\x01\x02\x01\x03bob\x07hunter2\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50";
        let (info, _) = described(&Socks, tcp(client, b"\x05\x02\x01\x00"));
        assert_eq!(info.get("auth"), Some("password"));
        assert!(!format!("{info:?}").contains("hunter2"));
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        assert_eq!(probed(&Socks, tcp(CLIENT, b"")), Probe::Unsure);
        assert_eq!(probed(&Socks, tcp(CLIENT4, b"")), Probe::Unsure);
        assert_eq!(probed(&Socks, tcp(b"", SERVER)), Probe::NotForUs);
        assert_eq!(probed(&Socks, midstream(CLIENT, SERVER)), Probe::NotForUs);
    }

    #[test]
    fn near_misses_are_not_socks() {
        let dcerpc = b"\x05\x00\x0b\x03\x10\x00\x00\x00\x48\x00";
        assert_eq!(probed(&Socks, tcp(dcerpc, b"")), Probe::NotForUs);
        assert_eq!(probed(&Socks, tcp(CLIENT, b"\x05\x01")), Probe::NotForUs);
        assert_eq!(probed(&Socks, tcp(CLIENT, b"HTTP/1.1 400 Bad\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Socks, tcp(CLIENT4, b"\x00\x01\x00\x00\x00\x00\x00\x00")), Probe::NotForUs);
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Socks, tcp(CLIENT, SERVER));
        exam::every_cut(&Socks, tcp(CLIENT4, SERVER4));
    }
}
