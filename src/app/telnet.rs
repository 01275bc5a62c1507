//! Telnet (RFC 854): option negotiation by IAC from both ends, or two commands in a row from one.
//!
//! A session without negotiation is plain text and stays unknown. What the server says before the client types anything
//! is its banner, of which 256 bytes are kept.

use super::{Described, OPENING_BYTES_MAX, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Telnet;

const IAC: u8 = 0xff;

impl Protocol for Telnet {
    fn name(&self) -> &'static str {
        "telnet"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let mut total = 0;
        let mut both = true;
        let mut enough = false;
        for (_, bytes) in opening.sides() {
            let Some(commands) = negotiations(bytes) else { return Probe::NotForUs };
            total += commands;
            both &= commands > 0;
            enough |= commands >= 2;
        }
        // In mid-connection one side's bytes may be anything that happens to begin like this.
        if both && total >= 2 || enough && !opening.midstream { Probe::Certain(server(opening)) } else { Probe::Unsure }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server.filter(|_| !opening.midstream) else { return Described::Whole };
        // What is typed may be a password, and the server may echo it.
        if !text(opening.side(server.other())).is_empty() {
            return Described::Whole;
        }
        let said = opening.side(server);
        info.detail("banner", text(said).trim_ascii());
        if said.len() >= OPENING_BYTES_MAX { Described::Whole } else { Described::Partly }
    }
}

/// The bytes that are no command: as many as are kept of a text, and one more.
fn text(bytes: &[u8]) -> Vec<u8> {
    const TEXT_BYTES: usize = 257;
    let mut out = Vec::new();
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        if out.len() >= TEXT_BYTES {
            break;
        }
        rest = match (first, after) {
            (&IAC, [0xfb..=0xfe, _, after @ ..]) => after,
            // A subnegotiation, to IAC SE.
            (&IAC, [0xfa, after @ ..]) => {
                let end = after.windows(2).position(|w| w == [IAC, 0xf0]);
                end.and_then(|at| after.get(at + 2..)).unwrap_or_default()
            }
            (&IAC, [_, after @ ..]) => after,
            (&IAC, []) => &[],
            (0, _) => after,
            (byte, _) => {
                out.push(*byte);
                after
            }
        };
    }
    out
}

/// Negotiations at the very start, two at most; `None` where it starts otherwise.
fn negotiations(mut bytes: &[u8]) -> Option<u8> {
    let mut count = 0;
    while count < 2 {
        match bytes {
            // WILL, WONT, DO, DONT with an assigned option (IANA telnet options: 0–49, 138–141, 255).
            [IAC, 0xfb..=0xfe, 0..=49 | 138..=141 | 255, rest @ ..] => {
                count += 1;
                bytes = rest;
            }
            [] | [IAC] | [IAC, 0xfb..=0xfe] => return Some(count),
            _ if count == 0 => return None,
            _ => return Some(count),
        }
    }
    Some(count)
}

/// The responder; in mid-connection the end that offers to echo (RFC 857), which a server does.
fn server(opening: &Opening<'_>) -> Option<Side> {
    if !opening.midstream {
        return Some(Side::Resp);
    }
    let echoes = |side| opening.side(side).windows(3).take(64).any(|w| w == [IAC, 0xfb, 1]);
    match (echoes(Side::Orig), echoes(Side::Resp)) {
        (true, false) => Some(Side::Orig),
        (false, true) => Some(Side::Resp),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, midstream, probed, tcp};

    pub(in crate::app) const SERVER: &[u8] = b"\xff\xfd\x18\xff\xfd\x20\xff\xfb\x01\r\nlogin: ";
    pub(in crate::app) const CLIENT: &[u8] = b"\xff\xfb\x18\xff\xfc\x20";

    #[test]
    fn negotiation_is_a_proof() {
        assert_eq!(probed(&Telnet, tcp(b"", SERVER)), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Telnet, tcp(b"\xff\xfb\x18", b"\xff\xfd\x18hi")), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Telnet, midstream(SERVER, CLIENT)), Probe::Certain(Some(Side::Orig)));
    }

    #[test]
    fn near_misses_are_not_telnet() {
        for near in [&b"\xff\xd8\xff\xe0"[..], b"\xff\xfeh\0i\0", b"\xff\xfb\x90\x44", b"login: "] {
            assert_eq!(probed(&Telnet, tcp(b"", near)), Probe::NotForUs, "{}", near.escape_ascii());
        }
        assert_eq!(probed(&Telnet, tcp(b"", b"\xff\xfb\x01login: ")), Probe::Unsure);
        assert_eq!(probed(&Telnet, tcp(b"GET / HTTP/1.1\r\n", SERVER)), Probe::NotForUs);
        assert_eq!(probed(&Telnet, midstream(b"", SERVER)), Probe::Unsure);
    }

    #[test]
    fn the_banner_is_what_comes_before_anything_is_typed() {
        let described = |client: &[u8], server: &[u8]| {
            let mut info = AppInfo::new("telnet", Some(Side::Resp));
            let end = exam::described(&Telnet, tcp(client, server).served_first());
            info.details = end.0.details;
            (info.get("banner").map(str::to_owned), end.1)
        };
        assert_eq!(described(CLIENT, SERVER), (Some("login:".to_owned()), Described::Partly));
        let typed = [CLIENT, b"\xff\xfa\x18\0vt100\xff\xf0root\r\n"].concat();
        assert_eq!(described(&typed, b"\xff\xfd\x18\xff\xfb\x01login: root\r\nPassword: "), (None, Described::Whole));
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Telnet, tcp(CLIENT, SERVER).served_first());
    }
}
