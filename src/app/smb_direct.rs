//! SMB Direct over iWARP (MS-SMBD, RFC 5044, RFC 5040): MPA's start-up, then the negotiation in an RDMA message.
//!
//! Over RoCE or InfiniBand a mirror does not show it. Nothing behind the negotiation is read.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Short};

pub(super) struct SmbDirect;

/// RFC 5044 section 7.1.1.
const REQUEST: &[u8] = b"MPA ID Req Frame";
const REPLY: &[u8] = b"MPA ID Rep Frame";
const PRIVATE_BYTES_MAX: u16 = 512;
/// Untagged, last segment, DDP version 1; RDMAP version 1, Send or its kinds (RFC 5040 section 4.2).
const UNTAGGED: u8 = 0x41;
const SENDS: [u8; 4] = [0x43, 0x44, 0x45, 0x46];

impl Protocol for SmbDirect {
    fn name(&self) -> &'static str {
        "smb-direct"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match Hint(Role::Client).if_begins(bytes, REQUEST) {
            Hint(role) => negotiation(bytes, role).unwrap_or(Short),
            No => match Hint(Role::Server).if_begins(bytes, REPLY) {
                Hint(role) => negotiation(bytes, role).unwrap_or(Short),
                other => other,
            },
            other => other,
        })
    }
}

/// Behind the start-up frame: a framed untagged message whose payload begins with versions 1.0 to 1.0 in little
/// endian (MS-SMBD 2.2.1 and 2.2.2; of 20 bytes by the client, of 32 by the server).
fn negotiation(bytes: &[u8], role: Role) -> Option<Evidence> {
    const VERSIONS: [u8; 4] = [0, 1, 0, 1];
    let mut r = Reader::new(bytes);
    r.skip(REQUEST.len())?;
    let (flags, revision, private_bytes) = (r.u8()?, r.u8()?, r.u16()?);
    if flags & 0x1f != 0 && revision == 1 || !matches!(revision, 1 | 2) || private_bytes > PRIVATE_BYTES_MAX {
        return Some(No);
    }
    r.skip(usize::from(private_bytes))?;
    let length = r.u16()?;
    // A marker may stand first (section 4.3): a connection with markers is not read.
    if !matches!((role, length), (Role::Client, 38) | (Role::Server, 50)) || r.u8()? != UNTAGGED {
        return Some(No);
    }
    if !SENDS.contains(&r.u8()?) {
        return Some(No);
    }
    // Reserved, queue, message sequence, offset.
    r.skip(16)?;
    Some(Hint(role).only_if(r.array()? == VERSIONS))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    fn talk(key: &[u8], payload_bytes: usize) -> Vec<u8> {
        let message = [b"\x41\x43".as_slice(), &[0; 16], b"\0\x01\0\x01", &vec![9; payload_bytes - 4]].concat();
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        [key, b"\x40\x01\0\0", &length, &message].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("smb-direct", &talk(REQUEST, 20), &talk(REPLY, 32), Some(Side::Resp))]
    }

    #[test]
    fn another_upper_layer_of_rdma_is_not_smb_direct() {
        let mut other = talk(REQUEST, 20);
        other[40] = 2;
        assert_eq!(ask(&SmbDirect, Transport::Tcp, &other, &talk(REPLY, 32)), Probe::NotForUs);
        assert_eq!(ask(&SmbDirect, Transport::Tcp, &talk(REQUEST, 24), &talk(REPLY, 32)), Probe::NotForUs);
    }

    #[test]
    fn one_side_alone_or_with_another_is_no_proof() {
        assert_eq!(ask(&SmbDirect, Transport::Tcp, &talk(REQUEST, 20), b""), Probe::Unsure);
        assert_eq!(ask(&SmbDirect, Transport::Tcp, b"", &talk(REPLY, 32)), Probe::Unsure);
        assert_eq!(ask(&SmbDirect, Transport::Tcp, &talk(REQUEST, 20), b"HTTP/1.1 400"), Probe::NotForUs);
    }
}
