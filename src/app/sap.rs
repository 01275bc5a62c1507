//! SAP's network interface layer: SAProuter, the DIAG protocol of SAP GUI, the RFC gateway.
//!
//! Unmeasured (after published descriptions), so both sides must be seen. Routes and passwords in them are not kept.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Sap;

const MESSAGE_BYTES_MAX: u32 = 0x10_0000;
/// What a GUI sends first: no request yet, state 10, no sender.
const DISPATCHER: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0x0a, 0, 0, 0];
const GATEWAY_BYTES: u32 = 64;

impl Protocol for Sap {
    fn name(&self) -> &'static str {
        "sap"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        match weigh(opening, |bytes| judge(bytes).map_or(Short, |said| said.map_or(No, |(_, role)| Hint(role)))) {
            // The gateway repeats the client's form.
            Probe::Certain(None) if !opening.midstream => Probe::Certain(Some(opening.first.other())),
            other => other,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let layer = opening.sides().iter().find_map(|(_, bytes)| judge(bytes).flatten());
        if let Some((layer, _)) = layer {
            info.detail("layer", layer);
        }
        Described::Whole
    }
}

/// A length of four octets, then what each layer begins with. `Some(None)`: none of them.
fn judge(bytes: &[u8]) -> Option<Option<(&'static str, Role)>> {
    if bytes.first() != Some(&0) {
        return Some(None);
    }
    let mut r = Reader::new(bytes);
    let length = r.u32()?;
    if !(8..MESSAGE_BYTES_MAX).contains(&length) {
        return Some(None);
    }
    // Looked at as far as it is there, so that other protocols need not wait.
    let body = r.rest();
    let said = |text: &[u8]| body.iter().zip(text).all(|(b, t)| b == t);
    for (text, role) in [
        (&b"NI_ROUTE\0"[..], Role::Client),
        (b"NI_PING\0", Role::Client),
        (b"NI_PONG\0", Role::Server),
        (b"NI_RTERR\0", Role::Server),
    ] {
        if said(text) {
            return (body.len() >= text.len()).then_some(Some(("router", role)));
        }
    }
    if length >= 200 && said(&DISPATCHER) {
        return (body.len() >= DISPATCHER.len()).then_some(Some(("diag", Role::Client)));
    }
    // A dispatcher's answer to a GUI: mode 0, then communication flags and item headers of DIAG.
    if length >= 16 && matches!(body, [0, 0..=0x11, 0, 0, 0, 0, 0, 0, 0x10 | 0x12, ..]) {
        return Some(Some(("diag", Role::Server)));
    }
    // The gateway: version, kind of request, an address, the service's name.
    if length == GATEWAY_BYTES && matches!(body, [2 | 6] | [2 | 6, 3 | 9, ..]) {
        let mut r = Reader::new(body);
        r.skip(10)?;
        return Some((r.take(5)? == b"sapgw").then_some(("rfc", Role::Peer)));
    }
    if body.len() < 9 && length >= 16 && matches!(body, [] | [0, ..]) {
        return None;
    }
    Some(None)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const ROUTE: &[u8] = b"\0\0\0\x20NI_ROUTE\0\x02\x27\x02\0\0\0\0\0\x09\0\0\0sapserv";
    const PONG: &[u8] = b"\0\0\0\x08NI_PONG\0";

    fn gateway() -> Vec<u8> {
        let mut bytes = b"\0\0\0\x40\x02\x03\x0a\0\0\x01\0\0\0\0sapgw00\0\0\x001100".to_vec();
        bytes.resize(68, 0);
        bytes
    }

    fn gui() -> Vec<u8> {
        let mut bytes = vec![0, 0, 1, 0];
        bytes.extend(DISPATCHER);
        bytes.resize(260, 0);
        bytes
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("sap", ROUTE, PONG, Some(Side::Resp)),
            Example::tcp("sap", &gateway(), &gateway(), Some(Side::Resp)),
            Example::tcp("sap", &gui(), b"\0\0\0\x14\0\x11\0\0\0\0\0\0\x10\x04\x02\0\x04abcdefg", Some(Side::Resp)),
        ]
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        assert_eq!(ask(&Sap, Transport::Tcp, ROUTE, b""), Probe::Unsure);
        assert_eq!(ask(&Sap, Transport::Tcp, &gui(), b""), Probe::Unsure);
        assert_eq!(ask(&Sap, Transport::Tcp, &gateway(), b""), Probe::Unsure);
    }

    #[test]
    fn other_words_behind_a_length_are_not_sap() {
        refuses(
            &Sap,
            Transport::Tcp,
            &[
                (b"\0\0\0\x20NI_ROUTF\0", b""),
                (b"\0\0\0\x40\x02\x03\x0a\0\0\x01\0\0\0\0httpd\0\0\0", b""),
                (b"\0\0\0\x04NI", b""),
                (ROUTE, ROUTE),
                (ROUTE, b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
    }
}
