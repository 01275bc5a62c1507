//! What runs over TPKT (RFC 1006) beside RDP: S7comm and S7comm-plus of Siemens controllers, H.225 call signalling.
//!
//! Judged is the first data message of each side, after at most one connection request or confirmation.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Follow, Opening, Probe, Protocol, h323_media};
use crate::model::Transport;
use Evidence::{No, Proof, Short};

pub(super) struct OverTpkt {
    name: &'static str,
    data: fn(&[u8]) -> Evidence,
    /// Does COTP (X.224 class 0) lie between?
    cotp: bool,
}

impl OverTpkt {
    pub(super) const S7COMM: OverTpkt = OverTpkt { name: "s7comm", data: s7comm, cotp: true };
    pub(super) const S7COMM_PLUS: OverTpkt = OverTpkt { name: "s7commplus", data: s7comm_plus, cotp: true };
    pub(super) const H323: OverTpkt = OverTpkt { name: "h323", data: h225, cotp: false };
}

impl Protocol for OverTpkt {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| self.judge(bytes).unwrap_or(Short))
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        if self.cotp { None } else { Some(Box::<h323_media::Calls>::default()) }
    }
}

impl OverTpkt {
    fn judge(&self, bytes: &[u8]) -> Option<Evidence> {
        let mut r = Reader::new(bytes);
        for _ in 0..2 {
            if r.u8()? != 3 || r.u8()? != 0 {
                return Some(No);
            }
            let length = usize::from(r.u16()?);
            // Decided before the whole message is there.
            match (self.cotp, r.rest()) {
                (_, [] | [_]) if length >= 7 => return None,
                (false, [8, 1..=2, ..]) if length >= 9 => {}
                // Connection request and confirmation, whose length indicator leaves out itself and TPKT's header.
                (true, [indicator, 0xe0 | 0xd0, ..]) if usize::from(*indicator) + 5 == length => {
                    r.take(length - 4)?;
                    continue;
                }
                (true, [2, 0xf0, ..]) if length >= 7 => {}
                _ => return Some(No),
            }
            let skipped = if self.cotp { 3 } else { 0 };
            r.skip(skipped)?;
            // A long message need not be there to its end.
            let message = r.take(length.checked_sub(4 + skipped)?.min(r.rest().len().max(512)))?;
            return Some((self.data)(message));
        }
        Some(No)
    }
}

/// 0x32, kind of message, two reserved zero octets, reference, lengths of parameters and data.
fn s7comm(message: &[u8]) -> Evidence {
    match message {
        [0x32, 1, 0, 0, _, _, _, _, _, _, ..] => Proof(Role::Client),
        [0x32, 2 | 3, 0, 0, _, _, _, _, _, _, ..] => Proof(Role::Server),
        // User data: parameter head 00 01 12, then length 4, method 0x11 asked or 0x12 answered.
        [0x32, 7, 0, 0, _, _, _, _, _, _, 0, 1, 0x12, _, 0x11, ..] => Proof(Role::Client),
        [0x32, 7, 0, 0, _, _, _, _, _, _, 0, 1, 0x12, _, 0x12, ..] => Proof(Role::Server),
        _ => No,
    }
}

/// 0x72, protocol version 1..=3, length; in version 1 and 2 an operation code and a zero word follow.
fn s7comm_plus(message: &[u8]) -> Evidence {
    let Some((operation, zeros)) = (match message {
        [0x72, 1 | 2, _, _, operation, zeros @ ..] => Some((*operation, zeros)),
        _ => None,
    }) else {
        return No;
    };
    match (operation, zeros) {
        (0x31, [0, 0, ..]) => Proof(Role::Client),
        (0x32, [0, 0, ..]) => Proof(Role::Server),
        _ => No,
    }
}

/// Q.931: discriminator 8, call reference of one or two octets whose high bit the called end sets, message, elements.
/// The user-user element (0x7e) with discriminator 5 is H.225's (section 7.2).
fn h225(message: &[u8]) -> Evidence {
    let read = || {
        let mut r = Reader::new(message);
        r.skip(1)?;
        let reference_octets = usize::from(r.u8()?);
        let flag = r.take(reference_octets)?.first()? & 0x80;
        if !matches!(r.u8()?, 0x01 | 0x02 | 0x03 | 0x05 | 0x07 | 0x0d | 0x5a | 0x62 | 0x6e | 0x7b | 0x7d) {
            return None;
        }
        loop {
            match r.u8()? {
                0x7e => {
                    r.skip(2)?;
                    return (r.u8()? == 5).then_some(flag);
                }
                0x80.. => {}
                _ => {
                    let length = usize::from(r.u8()?);
                    r.skip(length)?;
                }
            }
        }
    };
    match read() {
        Some(0) => Proof(Role::Client),
        Some(_) => Proof(Role::Server),
        None => No,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const CONNECT: &[u8] = b"\x03\0\0\x16\x11\xe0\0\0\0\x01\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02";
    const CONFIRM: &[u8] = b"\x03\0\0\x16\x11\xd0\0\x01\0\x06\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02";
    const SETUP: &[u8] = b"\x03\0\0\x19\x02\xf0\x80\x32\x01\0\0\x04\0\0\x08\0\0\xf0\0\0\x01\0\x01\x01\xe0";
    const ACK: &[u8] = b"\x03\0\0\x1b\x02\xf0\x80\x32\x03\0\0\x04\0\0\x08\0\0\0\0\xf0\0\0\x01\0\x01\0\xf0";
    /// Setup with bearer capability and the beginning of the user-user element.
    const CALL: &[u8] =
        b"\x03\0\0\x1a\x08\x02\x12\x34\x05\x04\x03\x88\x93\xa5\x7e\0\x09\x05\x20\x80\x06\0\x08\x91\x4a\0";
    const PROCEEDING: &[u8] = b"\x03\0\0\x15\x08\x02\x92\x34\x02\x7e\0\x09\x05\x21\x80\x06\0\x08\x91\x4a\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("s7comm", &[CONNECT, SETUP].concat(), &[CONFIRM, ACK].concat(), Some(Side::Resp)),
            Example::tcp("h323", CALL, PROCEEDING, Some(Side::Resp)),
            Example::tcp(
                "s7commplus",
                &[CONNECT, b"\x03\0\0\x11\x02\xf0\x80\x72\x01\0\xd8\x31\0\0\x04\xca\0"].concat(),
                &[CONFIRM, b"\x03\0\0\x11\x02\xf0\x80\x72\x01\0\xa8\x32\0\0\x04\xca\0"].concat(),
                Some(Side::Resp),
            ),
        ]
    }

    #[test]
    fn a_connection_request_alone_proves_nothing() {
        assert_eq!(ask(&OverTpkt::S7COMM, Transport::Tcp, CONNECT, CONFIRM), Probe::Unsure);
        assert_eq!(ask(&OverTpkt::H323, Transport::Tcp, CONNECT, b""), Probe::NotForUs);
    }

    #[test]
    fn other_data_over_tpkt_is_neither() {
        // RDP's MCS connect, and Q.931 without H.225.
        let mcs: &[u8] = b"\x03\0\0\x0c\x02\xf0\x80\x7f\x65\x82\x01\x94";
        let isdn: &[u8] = b"\x03\0\0\x0e\x08\x02\x12\x34\x05\x04\x03\x88\x93\xa5";
        for protocol in [&OverTpkt::S7COMM, &OverTpkt::S7COMM_PLUS, &OverTpkt::H323] {
            refuses(
                protocol,
                Transport::Tcp,
                &[(&[CONNECT, mcs].concat(), b""), (isdn, b""), (b"\x03\0\0\x04", b""), (b"\x03\x01", b"")],
            );
        }
    }
}
