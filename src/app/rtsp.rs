//! RTSP 1.0 and 2.0 (RFC 2326, RFC 7826): a request line with the sequence header, and the answer.
//!
//! Of the opening only the first heads are read; [`rtsp_media`](super::rtsp_media) reads on for the media that are set up.
//! Addresses with credentials are not kept.

use super::evidence::{Evidence, Role, weigh};
use super::line::{Lines, find};
use super::reading::begins;
use super::{Described, Follow, Opening, Probe, Protocol, rtsp_media};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Rtsp;

const METHODS: [&[u8]; 9] = [
    b"OPTIONS",
    b"DESCRIBE",
    b"ANNOUNCE",
    b"SETUP",
    b"RECORD",
    b"PLAY",
    b"GET_PARAMETER",
    b"SET_PARAMETER",
    b"TEARDOWN",
];
const LINE_BYTES_MAX: usize = 1024;

impl Protocol for Rtsp {
    fn name(&self) -> &'static str {
        "rtsp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| {
            if bytes.starts_with(b"R") && !bytes.starts_with(b"RE") { status(bytes) } else { request(bytes) }
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        let request = opening.side(server.other());
        info.detail("method", request.split(|b| *b == b' ').next().unwrap_or_default());
        if let Some(agent) = field(request, "user-agent:") {
            info.detail("user_agent", agent);
        }
        let answer = opening.side(server);
        if let Some(status) = Lines::new(answer).next().and_then(|l| l.get(9..12)) {
            info.detail("status", status);
        }
        if let Some(text) = field(answer, "server:") {
            info.detail("server", text);
            let mut parts = text.split(|b| *b == b'/');
            let product = parts.next().unwrap_or_default();
            info.product(product, parts.next().and_then(|v| v.split(|b| *b == b' ').next()));
        }
        if find(answer, "\r\n\r\n").is_some() { Described::Whole } else { Described::Partly }
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        Some(Box::<rtsp_media::Sessions>::default())
    }
}

fn request(bytes: &[u8]) -> Evidence {
    let word = bytes.split(|b| *b == b' ').next().unwrap_or_default();
    if word.len() == bytes.len() {
        return Short.only_if(METHODS.iter().any(|m| m.starts_with(word)));
    }
    if !METHODS.contains(&word) {
        return No;
    }
    let mut lines = Lines::new(bytes);
    match lines.next() {
        Some(line) => Hint(Role::Client).only_if(line.ends_with(b" RTSP/1.0") || line.ends_with(b" RTSP/2.0")),
        None => Short.only_if(bytes.len() < LINE_BYTES_MAX && bytes.iter().all(|b| *b >= b' ' || *b == b'\r')),
    }
}

/// `RTSP/1.0 NNN `.
fn status(bytes: &[u8]) -> Evidence {
    match begins(bytes, b"RTSP/") {
        None => Short,
        Some(false) => No,
        Some(true) => match bytes.get(5..) {
            Some([b'1' | b'2', b'.', b'0', b' ', b'1'..=b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'\r', ..]) => {
                Hint(Role::Server)
            }
            short => Short.only_if(short.is_none_or(|s| s.len() < 8)),
        },
    }
}

fn field<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let line = Lines::new(bytes).skip(1).take_while(|l| !l.is_empty()).find(|l| find(l, name) == Some(0))?;
    line.get(name.len()..).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const ASKED: &[u8] = b"DESCRIBE rtsp://joe:sesame@cam/1 RTSP/1.0\r\nCSeq: 2\r\nUser-Agent: Lavf60.16\r\n\r\n";
    const TOLD: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nServer: GStreamer RTSP server/1.22\r\n\r\n";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("rtsp", ASKED, TOLD, Some(Side::Resp))]
    }

    #[test]
    fn the_server_names_its_product_and_no_credentials_are_kept() {
        let info = examples()[0].described(&Rtsp);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("GStreamer RTSP server"), Some("1.22")));
        assert_eq!((info.get("method"), info.get("status")), (Some("DESCRIBE"), Some("200")));
        assert!(!format!("{info:?}").contains("sesame"));
    }

    #[test]
    fn its_neighbours_and_one_side_alone_are_no_proof() {
        assert_eq!(ask(&Rtsp, Transport::Tcp, ASKED, b""), Probe::Unsure);
        assert_eq!(ask(&Rtsp, Transport::Tcp, ASKED, b"HTTP/1.1 400\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Rtsp, Transport::Tcp, b"OPTIONS / HTTP/1.1\r\n", b""), Probe::NotForUs);
        assert_eq!(ask(&Rtsp, Transport::Tcp, b"OPTIONS sip:a@b SIP/2.0\r\n", b""), Probe::NotForUs);
        assert_eq!(ask(&Rtsp, Transport::Tcp, b"", b"RTSP/1.0 x\r\n\r\n\r\n"), Probe::NotForUs);
    }
}
