//! QUIC (RFC 9000, RFC 9369): an Initial packet of a known version in a datagram of at least 1200 bytes.
//!
//! Only the invariant header is read: Initials are encrypted under public keys, and opening them is a later issue.

use super::reader::Reader;
use super::reading::{Reading, probe_sides};
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};

pub(super) struct Quic;

/// RFC 9000 section 14.1: a datagram with an Initial is padded to this.
const DATAGRAM_BYTES_MIN: usize = 1200;
const CONNECTION_ID_BYTES_MAX: usize = 20;

impl Protocol for Quic {
    fn name(&self) -> &'static str {
        "quic"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first & 0xc0 == 0xc0
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let probe =
            probe_sides(opening, |bytes| Some(if initial(bytes).is_some() { Reading::Either } else { Reading::No }));
        if probe != Probe::Certain(None) {
            return probe;
        }
        // Section 7.2: the client writes first, and to a connection id of at least eight bytes of its choice.
        let first = opening.side(opening.first);
        let by_client = initial(first).is_some_and(|i| i.destination_bytes >= 8);
        Probe::Certain(by_client.then(|| opening.first.other()))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        if let Some(initial) = opening.sides().into_iter().find_map(|(_, bytes)| initial(bytes)) {
            info.detail("version", version(initial.version));
        }
        Described::Whole
    }
}

struct Initial {
    version: u32,
    destination_bytes: usize,
}

fn initial(bytes: &[u8]) -> Option<Initial> {
    if bytes.len() < DATAGRAM_BYTES_MIN {
        return None;
    }
    let mut r = Reader::new(bytes);
    let first = r.u8()?;
    let number = r.u32()?;
    // Long header and fixed bit; the type's two bits were renumbered in version 2 (RFC 9369 section 3.2).
    let kind = match number {
        1 | 0xff00_001b..=0xff00_0022 => 0xc0,
        0x6b33_43cf => 0xd0,
        _ => return None,
    };
    if first & 0xf0 != kind {
        return None;
    }
    let destination_bytes = usize::from(r.u8()?);
    r.skip(destination_bytes)?;
    let source_bytes = usize::from(r.u8()?);
    r.skip(source_bytes)?;
    let token = varint(&mut r)?;
    r.skip(token)?;
    let length = varint(&mut r)?;
    // Packet number, then at least the sample that header protection needs (RFC 9001 section 5.4.2).
    let fits =
        destination_bytes.max(source_bytes) <= CONNECTION_ID_BYTES_MAX && (20..=r.rest().len()).contains(&length);
    fits.then_some(Initial { version: number, destination_bytes })
}

/// Section 16: the two high bits give the length.
fn varint(r: &mut Reader<'_>) -> Option<usize> {
    let first = r.u8()?;
    let more = (1usize << (first >> 6)) - 1;
    let value = r.take(more)?.iter().fold(u64::from(first & 0x3f), |n, b| n << 8 | u64::from(*b));
    usize::try_from(value).ok()
}

fn version(number: u32) -> String {
    match number {
        1 => "1".to_owned(),
        0x6b33_43cf => "2".to_owned(),
        draft => format!("draft-{}", draft & 0xff),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{described, probed, udp};
    use crate::model::Side;

    pub(in crate::app) fn initial(version: u32) -> Vec<u8> {
        let mut out = vec![0xc3];
        out.extend(version.to_be_bytes());
        out.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x9e]);
        out.resize(1200, 0x5a);
        out
    }

    #[test]
    fn the_clients_initial_is_a_proof() {
        assert_eq!(probed(&Quic, udp(&initial(1), b"")), Probe::Certain(Some(Side::Resp)));
        assert_eq!(described(&Quic, udp(&initial(0xff00_001d), b"")).0.get("version"), Some("draft-29"));
    }

    #[test]
    fn a_servers_initial_seen_alone_does_not_make_a_client_of_it() {
        let mut answer = vec![0xc1, 0, 0, 0, 1, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x44, 0x9e];
        answer.resize(1200, 0x5a);
        assert_eq!(probed(&Quic, udp(&answer, b"")), Probe::Certain(None));
    }

    #[test]
    fn near_misses_are_not_quic() {
        let short = initial(1)[..1199].to_vec();
        let handshake = [&[0xe3][..], &initial(1)[1..]].concat();
        let mut long_id = initial(1);
        long_id[5] = 21;
        let mut lying = initial(1);
        lying[16] = 0x7f;
        for near in [short, handshake, initial(2), long_id, lying] {
            assert_eq!(probed(&Quic, udp(&near, b"")), Probe::NotForUs);
        }
    }
}
