//! RFB, the protocol of VNC (RFC 6143): the server's version, then the client's.
//!
//! Who greets first serves, even where the server made the connection (a listening viewer).

use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Rfb;

const VERSION_BYTES: usize = 12;

impl Protocol for Rfb {
    fn name(&self) -> &'static str {
        "rfb"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        match (version(opening.orig), version(opening.resp)) {
            (Some(Some(_)), Some(Some(_))) => Probe::Certain(Some(opening.first)),
            // Whatever it was asked, this server speaks RFB.
            (_, Some(Some(_))) if !opening.midstream => Probe::Certain(Some(Side::Resp)),
            (Some(None), _) | (_, Some(None)) => Probe::NotForUs,
            _ => Probe::Unsure,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        let mut r = Reader::new(opening.side(server));
        if let Some(Some(version)) = version(r.rest()) {
            info.detail("version", version);
        }
        let Some(Some(client)) = version(opening.side(server.other())) else { return Described::Partly };
        info.detail("client_version", client);
        let types = if client == b"003.003" {
            // Section 7.1.2: before 3.7 the server decides, in four bytes.
            r.skip(VERSION_BYTES).and_then(|()| r.take(4)).and_then(|four| four.get(3..))
        } else {
            r.skip(VERSION_BYTES).and_then(|()| r.u8()).and_then(|count| r.take(usize::from(count)))
        };
        let Some(types) = types else { return Described::Partly };
        let names: Vec<String> = types.iter().take(16).map(|t| security(*t)).collect();
        info.detail("security", names.join(","));
        Described::Whole
    }
}

/// `RFB ddd.ddd\n`. `None`: too short to tell, `Some(None)`: something else.
fn version(bytes: &[u8]) -> Option<Option<&[u8]>> {
    for (at, byte) in bytes.iter().take(VERSION_BYTES).enumerate() {
        let fits = match at {
            0..4 => b"RFB ".get(at) == Some(byte),
            7 => *byte == b'.',
            11 => *byte == b'\n',
            _ => byte.is_ascii_digit(),
        };
        if !fits {
            return Some(None);
        }
    }
    bytes.get(4..VERSION_BYTES).map(|v| v.get(..7))
}

/// Section 7.1.2 and the registry.
fn security(kind: u8) -> String {
    match kind {
        0 => "invalid".to_owned(),
        1 => "none".to_owned(),
        2 => "vnc".to_owned(),
        16 => "tight".to_owned(),
        18 => "tls".to_owned(),
        19 => "vencrypt".to_owned(),
        30 => "apple".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, probed, tcp};

    pub(in crate::app) const SERVER: &[u8] = b"RFB 003.008\n\x02\x01\x02";
    pub(in crate::app) const CLIENT: &[u8] = b"RFB 003.008\n\x02";

    #[test]
    fn the_servers_version_is_a_proof() {
        assert_eq!(probed(&Rfb, tcp(b"", b"RFB 003.889\n")), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Rfb, tcp(b"GET / HTTP/1.1", b"RFB 003.008\n")), Probe::Certain(Some(Side::Resp)));
        assert_eq!(probed(&Rfb, tcp(CLIENT, SERVER).served_first()), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn a_server_that_connects_to_a_listening_viewer_still_serves() {
        assert_eq!(probed(&Rfb, tcp(SERVER, CLIENT)), Probe::Certain(Some(Side::Orig)));
    }

    #[test]
    fn near_misses_are_not_rfb() {
        assert_eq!(probed(&Rfb, tcp(b"RFB 003.008\n", b"")), Probe::Unsure);
        for near in [&b"RFB 003-008\n"[..], b"RFC 6143", b"RFB 003.008 "] {
            assert_eq!(probed(&Rfb, tcp(b"", near)), Probe::NotForUs, "{}", near.escape_ascii());
        }
        assert_eq!(probed(&Rfb, tcp(b"RFB 003.008\n", b"HTTP/1.1 400 Bad\r\n")), Probe::NotForUs);
    }

    #[test]
    fn an_open_desktop_shows_in_the_security_types() {
        let (info, whole) = described(&Rfb, tcp(CLIENT, SERVER).served_first());
        assert_eq!(
            (info.get("version"), info.get("security"), whole),
            (Some("003.008"), Some("none,vnc"), Described::Whole)
        );
        let (info, _) = described(&Rfb, tcp(b"RFB 003.003\n", b"RFB 003.008\n\x00\x00\x00\x02").served_first());
        assert_eq!(info.get("security"), Some("vnc"));
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Rfb, tcp(CLIENT, SERVER).served_first());
    }
}
