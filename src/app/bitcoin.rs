//! Bitcoin's peer protocol: the `version` message with which both ends begin.
//!
//! Read is the first message; the software's name is told, addresses in it are not kept.

use super::evidence::{Evidence, opener, weigh_sides};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No};

pub(super) struct Bitcoin;

/// The networks' magic: main, test 3 and 4, signet, regression test.
const NETWORKS: [([u8; 4], &str); 5] = [
    ([0xf9, 0xbe, 0xb4, 0xd9], "main"),
    ([0x0b, 0x11, 0x09, 0x07], "testnet3"),
    ([0x1c, 0x16, 0x3f, 0x28], "testnet4"),
    ([0x0a, 0x03, 0xcf, 0x40], "signet"),
    ([0xfa, 0xbf, 0xb5, 0xda], "regtest"),
];
const COMMAND: &[u8] = b"version\0\0\0\0\0";
/// Version, services, time, two addresses of 26 bytes, nonce: what stands before the software's name.
const BEFORE_AGENT_BYTES: usize = 4 + 8 + 8 + 26 + 26 + 8;

impl Protocol for Bitcoin {
    fn name(&self) -> &'static str {
        "bitcoin"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh_sides(opening, |side, bytes| {
            let magic = bytes.get(..4).unwrap_or(bytes);
            if !NETWORKS.iter().any(|(network, _)| network.starts_with(magic)) {
                return No;
            }
            Hint(opener(side)).if_begins(bytes.get(4..).unwrap_or_default(), COMMAND)
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let said = opening.side(info.server.unwrap_or(Side::Resp));
        let network = NETWORKS.iter().find(|(magic, _)| said.starts_with(magic));
        info.detail("network", network.map_or("", |(_, name)| name));
        // "/Satoshi:25.0.0/", behind its length.
        let mut r = Reader::new(said);
        let agent = r
            .skip(24 + BEFORE_AGENT_BYTES)
            .and_then(|()| r.u8())
            .filter(|length| *length < 0xfd)
            .and_then(|length| r.take(usize::from(length)));
        let Some(agent) = agent else { return Described::Partly };
        let mut words = agent.split(|b| matches!(b, b'/' | b':')).filter(|w| !w.is_empty());
        info.product(words.next().unwrap_or_default(), words.next());
        Described::Whole
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;

    fn version(magic: &[u8]) -> Vec<u8> {
        [magic, COMMAND, b"\x66\0\0\0\xaa\xbb\xcc\xdd", &[0; BEFORE_AGENT_BYTES], b"\x10/Satoshi:25.0.0/\0\0\0\0\x01"]
            .concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        let message = version(&NETWORKS[0].0);
        vec![Example::tcp("bitcoin", &message, &message, Some(Side::Resp))]
    }

    #[test]
    fn the_software_and_network_are_told() {
        let info = examples()[0].described(&Bitcoin);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("Satoshi"), Some("25.0.0")));
        assert_eq!(info.get("network"), Some("main"));
    }

    #[test]
    fn another_magic_another_command_and_one_side_alone_are_no_proof() {
        let message = version(&NETWORKS[0].0);
        assert_eq!(ask(&Bitcoin, Transport::Tcp, &message, b""), Probe::Unsure);
        assert_eq!(ask(&Bitcoin, Transport::Tcp, &version(b"\xf9\xbe\xb4\xda"), b""), Probe::NotForUs);
        assert_eq!(ask(&Bitcoin, Transport::Tcp, b"\xf9\xbe\xb4\xd9verack\0\0\0\0\0\0", b""), Probe::NotForUs);
        assert_eq!(ask(&Bitcoin, Transport::Tcp, &message, b"HTTP/1.1 400"), Probe::NotForUs);
    }
}
