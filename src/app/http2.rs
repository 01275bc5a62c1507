//! HTTP/2 in the clear (RFC 9113), by prior knowledge: a connection preface, answered by a SETTINGS frame.
//!
//! Header blocks are not decompressed. gRPC is told by its content type, which both spellings of HPACK carry whole.

use super::evidence::{Evidence, Role, weigh};
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Http2;

/// Section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A setting takes 6 bytes; about ten are known, and servers reserve one or two (RFC 8701).
const SETTINGS_BYTES_MAX: u8 = 6 * 20;
/// `application/grpc` as it is, and in the Huffman code of RFC 7541 appendix B.
const GRPC: [&[u8]; 2] = [b"application/grpc", b"\x1d\x75\xd0\x62\x0d\x26\x3d\x4c\x4d\x65\x64"];

impl Protocol for Http2 {
    fn name(&self) -> &'static str {
        "http2"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [b'P', ..] => Proof(Role::Client).if_begins(bytes, PREFACE),
            _ => settings(bytes),
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        for said in [opening.side(Side::Orig), opening.side(Side::Resp)] {
            if GRPC.iter().any(|name| said.windows(name.len()).any(|w| w == *name)) {
                info.detail("application", "grpc");
                return Described::Whole;
            }
        }
        Described::Partly
    }
}

/// The server's preface: a SETTINGS frame, type 4, without flags, on stream 0 (sections 3.4 and 6.5).
fn settings(bytes: &[u8]) -> Evidence {
    const FRAME: [u8; 6] = [4, 0, 0, 0, 0, 0];
    match bytes {
        [0] | [0, 0] => Short,
        [0, 0, length, frame @ ..] if length.is_multiple_of(6) && *length <= SETTINGS_BYTES_MAX => {
            Hint(Role::Server).if_begins(frame, &FRAME)
        }
        _ => No,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;

    const SERVER: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\0\0\x04\x01\0\0\0\0";

    fn client() -> Vec<u8> {
        [PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("http2", &client(), SERVER, Some(Side::Resp)),
            Example::tcp("http2", PREFACE, b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_content_type_tells_grpc() {
        let mut client = client();
        assert_eq!(Example::tcp("", &client, SERVER, Some(Side::Resp)).described(&Http2).get("application"), None);
        client.extend_from_slice(b"\0\0\x0d\x01\x04\0\0\0\x01\x5f\x8b\x1d\x75\xd0\x62\x0d\x26\x3d\x4c\x4d\x65\x64");
        let info = Example::tcp("", &client, SERVER, Some(Side::Resp)).described(&Http2);
        assert_eq!(info.get("application"), Some("grpc"));
    }

    #[test]
    fn a_preface_that_another_protocol_answers_or_another_version_is_not_http2() {
        assert_eq!(ask(&Http2, Transport::Tcp, PREFACE, b"HTTP/1.1 400 Bad Request\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Http2, Transport::Tcp, b"PRI * HTTP/3.0\r\n\r\n", b""), Probe::NotForUs);
        assert_eq!(ask(&Http2, Transport::Tcp, b"PRIVMSG #a :hello\r\n", b""), Probe::NotForUs);
    }

    #[test]
    fn a_servers_settings_alone_prove_nothing() {
        assert_eq!(ask(&Http2, Transport::Tcp, b"", SERVER), Probe::Unsure);
        assert_eq!(ask(&Http2, Transport::Tcp, b"", b"\0\0\x05\x04\0\0\0\0\0"), Probe::NotForUs);
    }
}
