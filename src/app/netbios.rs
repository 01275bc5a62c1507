//! NetBIOS over UDP: the name service (RFC 1002 section 4.2) and the datagram service (section 4.4).
//!
//! One header and one encoded name are read; a message whose name is not in NetBIOS's half-byte encoding is not ours.
//! The session service (TCP 139) is only SMB's transport: see `smb`.

use super::evidence::{Evidence, Role, weigh};
use super::own_names::OwnNames;
use super::reader::Reader;
use super::{Follow, Opening, Probe, Protocol};
use crate::model::{NameBy, Transport};
use Evidence::{No, Proof};

pub(super) struct Netbios;

impl Protocol for Netbios {
    fn name(&self) -> &'static str {
        "netbios"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| name_service(bytes).or_else(|| datagram(bytes)).unwrap_or(No))
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        Some(Box::new(OwnNames::new(NameBy::Nbns)))
    }
}

pub(super) fn name_service(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let (_id, flags) = (r.u16()?, r.u16()?);
    let (questions, answers, _authorities, additional) = (r.u16()?, r.u16()?, r.u16()?, r.u16()?);
    let response = flags & 0x8000 != 0;
    let opcode = flags >> 11 & 0xf;
    // Query, registration, release, WACK, refresh (8, and 9 as some send it), multi-homed registration.
    if !matches!(opcode, 0 | 5..=9 | 15) || questions > 1 || answers > 1 || additional > 1 {
        return None;
    }
    if response == (questions == 1) || !encoded_name(&mut r)? {
        return None;
    }
    let (kind, class) = (r.u16()?, r.u16()?);
    // NULL, NB, NBSTAT, or A and NS in a redirect; class IN.
    (matches!(kind, 0x0a | 0x20 | 0x21 | 1 | 2) && class == 1).then_some(Proof(if response {
        Role::Server
    } else {
        Role::Client
    }))
}

/// Datagrams go between equal names; the port of the sender's own service stands in the header.
fn datagram(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    let (kind, flags) = (r.u8()?, r.u8()?);
    if !matches!(kind, 0x10..=0x12) || flags & 0xf0 != 0 {
        return None;
    }
    let (_id, _ip, _port, length, _offset) = (r.u16()?, r.u32()?, r.u16()?, r.u16()?, r.u16()?);
    let fits = usize::from(length) >= 68 && encoded_name(&mut r)? && encoded_name(&mut r)?;
    fits.then_some(Proof(Role::Peer))
}

/// Steps over a name. False: it is none of NetBIOS's.
fn encoded_name(r: &mut Reader<'_>) -> Option<bool> {
    if r.u8()? != 32 {
        return Some(false);
    }
    if !r.take(32)?.iter().all(is_letter) {
        return Some(false);
    }
    let scope = r.until(0)?;
    Some(scope.len() <= 222)
}

/// The letters of a name: sixteen bytes written as 32 letters A to P (RFC 1001 section 14.1), perhaps with a scope
/// behind.
pub(super) fn encoded_letters<'a>(r: &mut Reader<'a>) -> Option<&'a [u8]> {
    if r.u8()? != 32 {
        return None;
    }
    let letters = r.take(32).filter(|letters| letters.iter().all(is_letter))?;
    r.until(0)?;
    Some(letters)
}

fn is_letter(byte: &u8) -> bool {
    matches!(byte, b'A'..=b'P')
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const NAME: &[u8] = b"\x20FDFCFGDBCACACACACACACACACACACAAA\x00";

    fn query() -> Vec<u8> {
        [b"\x80\x01\x01\x10\x00\x01\x00\x00\x00\x00\x00\x00".as_slice(), NAME, b"\x00\x20\x00\x01"].concat()
    }

    fn reply() -> Vec<u8> {
        let tail = b"\x00\x20\x00\x01\x00\x00\x01\x2c\x00\x06\x00\x00\x0a\x00\x00\x05";
        [b"\x80\x01\x85\x00\x00\x00\x00\x01\x00\x00\x00\x00".as_slice(), NAME, tail].concat()
    }

    fn browse() -> Vec<u8> {
        let head = b"\x11\x02\x80\x0a\x0a\x00\x00\x05\x00\x8a\x00\xbb\x00\x00";
        [head.as_slice(), NAME, NAME, b"\xffSMB%\x00\x00\x00\x00"].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("netbios", &query(), &reply(), Some(Side::Resp)),
            Example::udp("netbios", &query(), b"", Some(Side::Resp)),
            Example::udp("netbios", &reply(), b"", Some(Side::Orig)),
            Example::udp("netbios", &browse(), b"", None),
        ]
    }

    #[test]
    fn a_dns_name_in_the_same_header_is_not_netbios() {
        let dns = b"\x80\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x03com\x00\x00\x01\x00\x01";
        assert_eq!(ask(&Netbios, Transport::Udp, dns, b""), Probe::NotForUs);
    }

    #[test]
    fn a_letter_beyond_p_is_not_netbios() {
        let mut bytes = query();
        bytes[14] = b'Q';
        assert_eq!(ask(&Netbios, Transport::Udp, &bytes, b""), Probe::NotForUs);
    }
}
