//! NDMP, the backup of file servers: the server tells that one is connected, the client opens.
//!
//! Unmeasured, so both sides must be seen.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Short};

pub(super) struct Ndmp;

const NOTIFY_CONNECTED: u32 = 0x502;
const CONNECT_OPEN: u32 = 0x900;
const CONFIG_GET_SERVER_INFO: u32 = 0x108;

impl Protocol for Ndmp {
    fn name(&self) -> &'static str {
        "ndmp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(Short))
    }
}

/// A record mark as in ONC RPC, then sequence, time, kind, message, the sequence answered, an error.
fn judge(bytes: &[u8]) -> Option<Evidence> {
    if bytes.first() != Some(&0x80) {
        return Some(No);
    }
    let mut r = Reader::new(bytes);
    let mark = r.u32()?;
    if !(0x8000_0018..0x8001_0000).contains(&mark) {
        return Some(No);
    }
    let _sequence = r.u32()?;
    r.skip(4)?;
    let (kind, message, answers, error) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
    Some(match (kind, message) {
        (0, NOTIFY_CONNECTED) => {
            Hint(Role::Server).only_if(answers == 0 && error == 0 && r.u32()? <= 2 && (1..=4).contains(&r.u32()?))
        }
        (0, CONNECT_OPEN | CONFIG_GET_SERVER_INFO) => Hint(Role::Client).only_if(answers == 0 && error == 0),
        (1, CONNECT_OPEN | CONFIG_GET_SERVER_INFO) => Hint(Role::Server).only_if(error <= 0x22),
        _ => No,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const CONNECTED: &[u8] =
        b"\x80\0\0\x24\0\0\0\x01\x65\0\0\0\0\0\0\0\0\0\x05\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0";
    const OPEN: &[u8] = b"\x80\0\0\x1c\0\0\0\x01\x65\0\0\x01\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\x04";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("ndmp", OPEN, CONNECTED, Some(Side::Resp)).server_first()]
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        assert_eq!(ask(&Ndmp, Transport::Tcp, b"", CONNECTED), Probe::Unsure);
    }

    #[test]
    fn rpc_and_another_message_are_not_ndmp() {
        refuses(
            &Ndmp,
            Transport::Tcp,
            &[
                (b"\x80\0\0\x28\0\0\0\x01\0\0\0\0\0\0\0\x02\0\x01\x86\xa0\0\0\0\x02\0\0\0\0", b""),
                (OPEN, OPEN),
                (b"\x00\0\0\x1c", b""),
            ],
        );
    }
}
