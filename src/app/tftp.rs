//! TFTP (RFC 1350, options RFC 2347): the request proves it; the transfer comes from another port of the server.
//!
//! One expectation pair a request; the file's name is not kept.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Ends, Follow, FollowOut, Opening, Probe, Protocol};
use crate::model::{AppProto, Expectation, Side, Transport};
use Evidence::{Hint, No, Proof};

pub(super) struct Tftp;

/// A server answers within its first retransmission, a few seconds; the transfer's flow then lives by itself.
const TRANSFER_TTL_S: u32 = 30;
/// RFC 2347 bounds a request to one datagram of 512 bytes.
const REQUEST_BYTES_MAX: usize = 512;

impl Protocol for Tftp {
    fn name(&self) -> &'static str {
        "tftp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == 0
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [0, 1 | 2, names @ ..] => Proof(Role::Client).only_if(request(names)),
            // A server that answers from its own port: data, acknowledgement, error, options.
            [0, 3 | 4, 0, _, ..] | [0, 5, 0, 0..=8, ..] | [0, 6, _, ..] => Hint(Role::Server),
            _ => No,
        })
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        Some(Box::new(Transfers))
    }
}

/// File name, mode, then pairs of options, each ending in a zero byte, to the last byte.
fn request(names: &[u8]) -> bool {
    let mut r = Reader::new(names);
    let (Some(file), Some(mode)) = (r.until(0), r.until(0)) else { return false };
    let known = [b"octet".as_slice(), b"netascii", b"mail"].iter().any(|m| m.eq_ignore_ascii_case(mode));
    let named = !file.is_empty() && file.iter().all(|b| *b >= 0x20 && *b != 0x7f);
    known && named && names.len() <= REQUEST_BYTES_MAX && names.last() == Some(&0)
}

/// Announces the transfer of each request.
struct Transfers;

impl Follow for Transfers {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        let [0, 1 | 2, names @ ..] = bytes else { return };
        if !request(names) {
            return;
        }
        let (client, server) = match side {
            Side::Orig => (flow.orig, flow.resp),
            Side::Resp => (flow.resp, flow.orig),
        };
        let opens = |from, to, port| Expectation {
            client: Some(from),
            server: to,
            transport: Transport::Udp,
            port,
            ttl_s: TRANSFER_TTL_S,
            app: AppProto::new("tftp"),
            interface: None,
            serves: false,
        };
        // The server opens the transfer, from a port of its choice to the client's (RFC 1350 section 4). Where that
        // first datagram is missed, the client seems to open it, to a port that nothing announced: 0 is any.
        out.expect.push(opens(server.0, client.0, client.1));
        out.expect.push(opens(client.0, server.0, 0));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, ends, followed};
    use super::*;

    const READ: &[u8] = b"\0\x01pxelinux.0\0octet\0tsize\x000\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("tftp", READ, b"", Some(Side::Resp)),
            Example::udp("tftp", b"\0\x02startup-config\0NETASCII\0", b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_request_announces_the_servers_transfer_to_the_client() {
        let out = followed(&Tftp, &ends(Transport::Udp, 69), &[(Side::Orig, READ)]);
        let [transfer, reverse] = out.expect.as_slice() else { panic!("{:?}", out.expect) };
        assert_eq!((transfer.server.to_string().as_str(), transfer.port), ("10.0.0.9", 40000));
        assert_eq!((reverse.server.to_string().as_str(), reverse.port, reverse.serves), ("10.0.0.5", 0, false));
    }

    #[test]
    fn an_acknowledgement_announces_nothing() {
        let out = followed(&Tftp, &ends(Transport::Udp, 69), &[(Side::Resp, b"\0\x04\0\x01")]);
        assert!(out.expect.is_empty());
    }

    #[test]
    fn another_mode_or_no_end_is_not_tftp() {
        assert_eq!(ask(&Tftp, Transport::Udp, b"\0\x01file\0binary\0", b""), Probe::NotForUs);
        assert_eq!(ask(&Tftp, Transport::Udp, b"\0\x01file\0octet", b""), Probe::NotForUs);
        assert_eq!(ask(&Tftp, Transport::Udp, b"\0\x01fi\x01le\0octet\0", b""), Probe::NotForUs);
    }

    #[test]
    fn a_block_of_data_alone_proves_nothing() {
        assert_eq!(ask(&Tftp, Transport::Udp, b"", b"\0\x03\0\x01data"), Probe::Unsure);
    }
}
