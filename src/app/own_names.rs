//! Names that hosts say of themselves: in mDNS (RFC 6762) and LLMNR (RFC 4795) answers, and in NetBIOS registrations
//! and answers (RFC 1002). A name counts only where the address it is for is the sender's own.
//!
//! One datagram at a time, at most [`RECORDS_MAX`] records of it. A name is told once a flow, and again when another
//! came between.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netbios::encoded_letters;
use super::reader::Reader;
use super::{Ends, Follow, FollowOut};
use crate::model::{HeardName, NameBy, Side};

const RECORDS_MAX: u32 = 64;
const QUESTIONS_MAX: u16 = 64;
/// Compression pointers that one name may follow.
const JUMPS_MAX: u8 = 16;
const NAME_BYTES_MAX: usize = 253;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_NB: u16 = 0x20;

/// Tells the names of one protocol's datagrams.
pub(super) struct OwnNames {
    by: NameBy,
    told: Option<Vec<u8>>,
}

impl OwnNames {
    pub fn new(by: NameBy) -> Self {
        OwnNames { by, told: None }
    }
}

impl Follow for OwnNames {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        let (sender, _) = match side {
            Side::Orig => flow.orig,
            Side::Resp => flow.resp,
        };
        let found = match self.by {
            NameBy::Nbns => registered(bytes, sender),
            NameBy::Mdns | NameBy::Llmnr => answered(bytes, sender),
            // See `ntlm`.
            NameBy::Ntlm => None,
        };
        let Some(name) = found.filter(|name| !name.is_empty() && self.told.as_ref() != Some(name)) else { return };
        out.names.push(HeardName { ip: sender, by: self.by, name: crate::model::AppInfo::clean(&name) });
        self.told = Some(name);
    }
}

/// The name that an answer gives to the sender's own address, without mDNS's `.local`.
fn answered(message: &[u8], sender: IpAddr) -> Option<Vec<u8>> {
    let mut r = Reader::new(message);
    let (_id, flags, questions) = (r.u16()?, r.u16()?, r.u16()?);
    if flags & 0x8000 == 0 || flags & 0xf != 0 || questions > QUESTIONS_MAX {
        return None;
    }
    let records = u32::from(r.u16()?) + u32::from(r.u16()?) + u32::from(r.u16()?);
    for _ in 0..questions {
        skip_name(&mut r)?;
        r.skip(4)?;
    }
    for _ in 0..records.min(RECORDS_MAX) {
        let mut owner = r;
        skip_name(&mut r)?;
        let (kind, _class, ttl, length) = (r.u16()?, r.u16()?, r.u32()?, r.u16()?);
        let data = r.take(usize::from(length))?;
        let address = match (kind, data.len()) {
            (TYPE_A, 4) => data.first_chunk::<4>().map(|a| IpAddr::V4(Ipv4Addr::from(*a))),
            (TYPE_AAAA, 16) => data.first_chunk::<16>().map(|a| IpAddr::V6(Ipv6Addr::from(*a))),
            _ => None,
        };
        // A time of zero takes the name back (RFC 6762 section 10.1).
        if address == Some(sender) && ttl > 0 {
            let mut name = name(message, &mut owner)?;
            if name.ends_with(b".local") {
                name.truncate(name.len() - b".local".len());
            }
            return Some(name);
        }
    }
    None
}

/// Steps over a name; a compression pointer ends it.
fn skip_name(r: &mut Reader<'_>) -> Option<()> {
    loop {
        match r.u8()? {
            0 => return Some(()),
            size @ 1..=63 => r.skip(usize::from(size))?,
            0xc0..=0xff => return r.skip(1),
            _ => return None,
        }
    }
}

/// A name from the reader on, its compression undone.
fn name<'a>(message: &'a [u8], r: &mut Reader<'a>) -> Option<Vec<u8>> {
    let (mut text, mut jumps) = (Vec::new(), 0);
    let mut elsewhere: Option<Reader<'a>> = None;
    loop {
        let from = elsewhere.as_mut().unwrap_or(r);
        match from.u8()? {
            0 => return Some(text),
            size @ 1..=63 => {
                let label = from.take(usize::from(size))?;
                if text.len() + label.len() + 1 > NAME_BYTES_MAX {
                    return None;
                }
                if !text.is_empty() {
                    text.push(b'.');
                }
                text.extend_from_slice(label);
            }
            high @ 0xc0..=0xff => {
                jumps += 1;
                let at = usize::from(high & 0x3f) << 8 | usize::from(from.u8()?);
                if jumps > JUMPS_MAX {
                    return None;
                }
                elsewhere = Some(Reader::new(message.get(at..)?));
            }
            _ => return None,
        }
    }
}

/// The unique name of a machine that its owner registers, refreshes, or answers for.
fn registered(message: &[u8], sender: IpAddr) -> Option<Vec<u8>> {
    let mut r = Reader::new(message);
    let (_id, flags) = (r.u16()?, r.u16()?);
    let (questions, answers, _authorities, additional) = (r.u16()?, r.u16()?, r.u16()?, r.u16()?);
    let response = flags & 0x8000 != 0;
    let letters = match (response, flags >> 11 & 0xf) {
        // A registration or refresh: the name in the question, its address behind it.
        (false, 5 | 8 | 9 | 15) if questions == 1 && additional == 1 => {
            let letters = encoded_letters(&mut r)?;
            r.skip(4)?;
            // The same name, most often as a pointer.
            match r.u8()? {
                0xc0..=0xff => r.skip(1)?,
                size => r.skip(usize::from(size) + 1)?,
            }
            letters
        }
        (true, 0) if questions == 0 && answers == 1 && flags & 0xf == 0 => encoded_letters(&mut r)?,
        _ => return None,
    };
    let (kind, _class, _ttl, length) = (r.u16()?, r.u16()?, r.u32()?, r.u16()?);
    if kind != TYPE_NB {
        return None;
    }
    let (entries, _) = r.take(usize::from(length))?.as_chunks::<6>();
    let own = entries.iter().any(|[flags, _, ip @ ..]| flags & 0x80 == 0 && sender == IpAddr::V4(Ipv4Addr::from(*ip)));
    let (pairs, _) = letters.as_chunks::<2>();
    let mut decoded = pairs.iter().map(|[high, low]| high.wrapping_sub(b'A') << 4 | (low.wrapping_sub(b'A') & 0xf));
    let text: Vec<u8> = decoded.by_ref().take(15).collect();
    // Suffixes: workstation and file server; others name domains, users and groups.
    (own && matches!(decoded.next(), Some(0x00 | 0x20))).then(|| text.trim_ascii_end().to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::dns::Dns;
    use super::super::examples::{ends, followed};
    use super::super::netbios::Netbios;
    use super::super::{Follow, Protocol};
    use super::*;
    use crate::model::Transport;

    /// Said by 10.0.0.5, which answers.
    fn heard(protocol: &dyn Protocol, datagrams: &[&[u8]]) -> Vec<String> {
        let said: Vec<_> = datagrams.iter().map(|d| (Side::Resp, *d)).collect();
        let out = followed(protocol, &ends(Transport::Udp, 5353), &said);
        out.names.into_iter().map(|heard| heard.name).collect()
    }

    fn answer(name: &[u8], ttl: u8, ip: [u8; 4]) -> Vec<u8> {
        let head = b"\0\0\x84\0\0\0\0\x01\0\0\0\0";
        [head.as_slice(), &[name.len() as u8], name, b"\x05local\0\0\x01\x80\x01\0\0\0", &[ttl], b"\0\x04", &ip]
            .concat()
    }

    fn registration(suffix: &[u8; 2], group: u8, ip: [u8; 4]) -> Vec<u8> {
        let head = b"\x80\x01\x29\x10\0\x01\0\0\0\0\0\x01\x20";
        // WEB01 and ten blanks.
        let name = [b"FHEFECDADB".as_slice(), &b"CA".repeat(10), suffix].concat();
        let tail = [b"\0\0\x20\0\x01\xc0\x0c\0\x20\0\x01\0\0\0\x3c\0\x06".as_slice(), &[group, 0], &ip].concat();
        [head.as_slice(), &name, &tail].concat()
    }

    #[test]
    fn an_answer_about_the_senders_own_address_names_it() {
        assert_eq!(heard(&Dns::MDNS, &[&answer(b"web01", 120, [10, 0, 0, 5])]), ["web01"]);
    }

    #[test]
    fn an_answer_about_another_or_a_goodbye_names_nobody() {
        let (other, goodbye) = (answer(b"web01", 120, [10, 0, 0, 6]), answer(b"web01", 0, [10, 0, 0, 5]));
        assert!(heard(&Dns::MDNS, &[&other, &goodbye]).is_empty());
    }

    #[test]
    fn a_registration_of_a_machine_names_it_and_that_of_a_group_or_user_does_not() {
        let own = [10, 0, 0, 5];
        assert_eq!(heard(&Netbios, &[&registration(b"AA", 0, own)]), ["WEB01"]);
        for other in
            [registration(b"AA", 0x80, own), registration(b"AD", 0, own), registration(b"AA", 0, [10, 0, 0, 6])]
        {
            assert!(heard(&Netbios, &[&other]).is_empty());
        }
    }

    #[test]
    fn a_name_is_told_once_and_again_after_another() {
        let (a, b) = (answer(b"a", 9, [10, 0, 0, 5]), answer(b"b", 9, [10, 0, 0, 5]));
        assert_eq!(heard(&Dns::MDNS, &[&a, &a, &b, &a]), ["a", "b", "a"]);
    }

    #[test]
    fn a_hostile_name_is_escaped_and_a_loop_of_pointers_ends() {
        assert_eq!(heard(&Dns::MDNS, &[&answer(b"a\x1b[2J", 9, [10, 0, 0, 5])]), ["a\\u{1b}[2J"]);
        let looped = b"\0\0\x84\0\0\0\0\x01\0\0\0\0\xc0\x0c\0\x01\0\x01\0\0\0\x09\0\x04\x0a\0\0\x05";
        assert!(heard(&Dns::MDNS, &[looped]).is_empty());
    }

    #[test]
    fn whatever_is_cut_names_nobody_wrongly() {
        let sender = IpAddr::from([10, 0, 0, 5]);
        for whole in [answer(b"web01", 120, [10, 0, 0, 5]), registration(b"AA", 0, [10, 0, 0, 5])] {
            for cut in 0..whole.len() {
                let cut = &whole[..cut];
                assert_eq!((answered(cut, sender), registered(cut, sender)), (None, None));
            }
        }
        assert!(!OwnNames::new(NameBy::Mdns).done());
    }
}
