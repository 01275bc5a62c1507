//! BGP-4 (RFC 4271): sixteen octets of ones, a length and a kind. Either end may begin; neither serves by its bytes.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{No, Proof, Short};

pub(super) struct Bgp;

const MARKER: [u8; 16] = [0xff; 16];
const OPEN: u8 = 1;

impl Protocol for Bgp {
    fn name(&self) -> &'static str {
        "bgp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| {
            if !bytes.iter().zip(MARKER).all(|(b, m)| *b == m) {
                return No;
            }
            // RFC 8654 allows messages of 65,535 octets.
            let Some((length, kind)) = head(bytes) else { return Short };
            let fits = match kind {
                OPEN => length >= 29 && bytes.get(19).is_none_or(|version| *version == 4),
                2 => length >= 23,
                3 => length >= 21,
                4 => length == 19,
                5 => length >= 23,
                _ => false,
            };
            Proof(Role::Peer).only_if(fits)
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let [orig, resp] = [Side::Orig, Side::Resp].map(|side| open(opening.side(side)));
        if let Some((number, router)) = resp {
            info.detail("as", number.to_string());
            info.detail("router_id", std::net::Ipv4Addr::from(router).to_string());
        }
        if let Some((number, _)) = orig {
            info.detail("peer_as", number.to_string());
        }
        if orig.is_some() && resp.is_some() { Described::Whole } else { Described::Partly }
    }
}

fn head(bytes: &[u8]) -> Option<(u16, u8)> {
    let mut r = Reader::new(bytes);
    r.skip(16)?;
    Some((r.u16()?, r.u8()?))
}

/// Autonomous system (23456 stands for one of four octets) and router, of an OPEN.
fn open(bytes: &[u8]) -> Option<(u16, [u8; 4])> {
    let (_, OPEN) = head(bytes)? else { return None };
    let mut r = Reader::new(bytes);
    r.skip(20)?;
    let number = r.u16()?;
    r.skip(2)?;
    Some((number, r.array()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    fn message(rest: &[u8]) -> Vec<u8> {
        [&MARKER, rest].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        let open = |number: u8| message(&[0, 29, 1, 4, 0xfd, number, 0, 90, 10, 0, 0, number, 0]);
        vec![Example::tcp("bgp", &open(1), &open(2), None), Example::tcp("bgp", &message(&[0, 19, 4]), b"", None)]
    }

    #[test]
    fn ones_and_something_else_are_not_bgp() {
        refuses(
            &Bgp,
            Transport::Tcp,
            &[
                (&[0xff; 24], b""),
                (&message(&[0, 20, 4]), b""),
                (&message(&[0, 29, 1, 3]), b""),
                (b"\xff\xff\xff\xfe", b""),
            ],
        );
        assert_eq!(ask(&Bgp, Transport::Tcp, &MARKER, b""), Probe::Unsure);
    }

    #[test]
    fn both_systems_are_told() {
        let info = examples()[0].described(&Bgp);
        assert_eq!(
            (info.get("as"), info.get("peer_as"), info.get("router_id")),
            (Some("64770"), Some("64769"), Some("10.0.0.2"))
        );
    }
}
