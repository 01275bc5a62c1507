//! DNS (RFC 1035) over UDP and TCP, and its two siblings with the same messages: mDNS (RFC 6762) and LLMNR (RFC 4795).
//!
//! At most 64 questions and one record of a message are read; nothing of a query is kept.
//! The message proves the family; among the three, which share every byte of their format, the port tells the name.

use super::evidence::{Evidence, Role, weigh};
use super::netbios;
use super::own_names::OwnNames;
use super::reader::Reader;
use super::{Follow, Opening, Probe, Protocol};
use crate::model::{NameBy, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Dns(Family);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Unicast,
    Multicast,
    LinkLocal,
}

impl Dns {
    pub(super) const DNS: Dns = Dns(Family::Unicast);
    pub(super) const MDNS: Dns = Dns(Family::Multicast);
    pub(super) const LLMNR: Dns = Dns(Family::LinkLocal);
}

const MDNS_PORT: u16 = 5353;
const LLMNR_PORT: u16 = 5355;
/// Service discovery asks for many names at once; a unicast query has one question.
const MDNS_QUESTIONS_MAX: u16 = 64;

impl Protocol for Dns {
    fn name(&self) -> &'static str {
        match self.0 {
            Family::Unicast => "dns",
            Family::Multicast => "mdns",
            Family::LinkLocal => "llmnr",
        }
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp || transport == Transport::Tcp && self.0 != Family::Multicast
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        let by = match self.0 {
            Family::Unicast => return None,
            Family::Multicast => NameBy::Mdns,
            Family::LinkLocal => NameBy::Llmnr,
        };
        Some(Box::new(OwnNames::new(by)))
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let family = match (opening.orig_port, opening.resp_port) {
            (MDNS_PORT, _) | (_, MDNS_PORT) if opening.transport == Transport::Udp => Family::Multicast,
            (LLMNR_PORT, _) | (_, LLMNR_PORT) => Family::LinkLocal,
            _ => Family::Unicast,
        };
        if family != self.0 {
            return Probe::NotForUs;
        }
        let multicast = family == Family::Multicast;
        match opening.transport {
            Transport::Tcp => weigh(opening, framed),
            // NetBIOS names are DNS messages to all but their encoding, and their own protocol.
            _ => weigh(opening, |bytes| match message(bytes, bytes.len(), multicast) {
                Proof(_) | Hint(_) if netbios::name_service(bytes).is_some() => No,
                // A datagram does not grow.
                Short => No,
                other => other,
            }),
        }
    }
}

/// A message behind its two-byte length (RFC 1035 section 4.2.2).
fn framed(bytes: &[u8]) -> Evidence {
    let mut r = Reader::new(bytes);
    let Some(length) = r.u16() else { return Short };
    // The root's question is the shortest: 12 + 1 + 4.
    if length < 17 {
        return No;
    }
    let body = r.rest();
    let whole = body.get(..usize::from(length));
    match message(whole.unwrap_or(body), usize::from(length), false) {
        Short if whole.is_some() => No,
        // Scanners send a DNS query to every open port: over TCP a server has to answer in kind.
        Proof(Role::Client) => Hint(Role::Client),
        // The answer's first record is still to come.
        Hint(_) if whole.is_none() => Short,
        Hint(_) => No,
        other => other,
    }
}

/// A message of this length, of which these bytes are there. `Short` where they end before the questions do.
fn message(bytes: &[u8], length: usize, multicast: bool) -> Evidence {
    let mut r = Reader::new(bytes);
    let (Some(_id), Some(flags)) = (r.u16(), r.u16()) else { return Short };
    let response = flags & 0x8000 != 0;
    let opcode = flags >> 11 & 0xf;
    let (truncated, reserved, rcode) = (flags & 0x0200 != 0, flags & 0x0040 != 0, flags & 0xf);
    // Opcodes: query, inverse query, status, notify, update. Response codes: RFC 6895 up to 11.
    if reserved || !matches!(opcode, 0..=2 | 4 | 5) || rcode > 11 {
        return No;
    }
    let (Some(questions), Some(answers), Some(authorities), Some(additional)) = (r.u16(), r.u16(), r.u16(), r.u16())
    else {
        return Short;
    };
    let records = u32::from(answers) + u32::from(authorities) + u32::from(additional);
    let plausible = if multicast {
        opcode == 0 && questions <= MDNS_QUESTIONS_MAX && u32::from(questions) + records > 0
    } else if response {
        questions == 1 || questions == 0 && records == 0 && rcode != 0
    } else {
        // An IXFR query brings a SOA along (RFC 1995); an update and a notify bring records.
        let bare = answers == 0 && authorities <= 1 && additional <= 3;
        questions == 1 && rcode == 0 && !truncated && flags & 0x0480 == 0 && (bare || opcode == 5)
            || questions == 1 && opcode == 4 && rcode == 0 && answers <= 1
    };
    if !plausible {
        return No;
    }
    let role = if response { Role::Server } else { Role::Client };
    if questions == 0 && records == 0 {
        // "Format error" and nothing else: twelve bytes that any protocol might send.
        return Hint(role).only_if(r.is_empty());
    }
    for i in 0..questions {
        match question(&mut r, i == 0, multicast) {
            Some(true) => {}
            Some(false) => return No,
            None => return Short,
        }
    }
    if records == 0 {
        return Proof(role).only_if(r.is_empty());
    }
    // The data of a large answer lies beyond the opening: its length must only fit.
    let missing = length.saturating_sub(bytes.len());
    match record(&mut r, missing, multicast) {
        Some(true) => Proof(role),
        Some(false) => No,
        // The capture cut it, or the rest is still to come; the question was whole.
        None if response && questions > 0 => Hint(role),
        None => Short,
    }
}

fn question(r: &mut Reader<'_>, first: bool, multicast: bool) -> Option<bool> {
    if !name(r, !first)? {
        return Some(false);
    }
    let (kind, class) = (r.u16()?, r.u16()?);
    // mDNS asks for a unicast answer with the top bit of the class (RFC 6762 section 5.4).
    let class = if multicast { class & 0x7fff } else { class };
    Some(is_type(kind) && matches!(class, 1 | 3 | 4 | 254 | 255))
}

fn record(r: &mut Reader<'_>, missing: usize, multicast: bool) -> Option<bool> {
    if !name(r, true)? {
        return Some(false);
    }
    let (kind, class, _ttl, length) = (r.u16()?, r.u16()?, r.u32()?, r.u16()?);
    let class = if multicast { class & 0x7fff } else { class };
    // OPT keeps the sender's buffer size where the class would be (RFC 6891).
    if !is_type(kind) || kind != 41 && !matches!(class, 1 | 3 | 4 | 254 | 255) {
        return Some(false);
    }
    (usize::from(length) <= r.rest().len() + missing).then_some(true)
}

/// Types that IANA has assigned, in their ranges; but 32 (NIMLOC, never used) is a NetBIOS name's.
fn is_type(kind: u16) -> bool {
    matches!(kind, 1..=31 | 33..=66 | 99..=109 | 128 | 249..=262 | 32768..=32769)
}

/// Steps over a name. A compression pointer ends it; the first name of a message has nothing to point at.
fn name(r: &mut Reader<'_>, may_point: bool) -> Option<bool> {
    let mut length = 1;
    loop {
        let size = r.u8()?;
        match size {
            0 => return Some(true),
            1..=63 => {
                let label = r.take(usize::from(size))?;
                length += usize::from(size) + 1;
                // Control characters are legal in DNS and absent from it in practice.
                if length > 255 || label.iter().any(|b| *b < 0x20 || *b == 0x7f) {
                    return Some(false);
                }
            }
            0xc0..=0xff if may_point => return r.skip(1).map(|()| true),
            _ => return Some(false),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, ask_ports};
    use super::*;
    use crate::model::Side;

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01";
    const REPLY: &[u8] =
        b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01\
        \xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x5d\xb8\xd8\x22";
    const MDNS_ANSWER: &[u8] = b"\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00\x05_http\x04_tcp\x05local\x00\
        \x00\x0c\x80\x01\x00\x00\x11\x94\x00\x07\x04web1\xc0\x0c";

    fn tcp(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u16).to_be_bytes(), message].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("dns", QUERY, REPLY, Some(Side::Resp)),
            Example::udp("dns", QUERY, b"", Some(Side::Resp)),
            Example::udp("dns", REPLY, b"", Some(Side::Orig)),
            Example::tcp("dns", &tcp(QUERY), &tcp(REPLY), Some(Side::Resp)),
            Example::tcp("dns", b"", &tcp(REPLY), Some(Side::Resp)),
            Example::udp("mdns", MDNS_ANSWER, b"", Some(Side::Orig)).port(5353),
            Example::udp("llmnr", QUERY, b"", Some(Side::Resp)).port(5355),
        ]
    }

    #[test]
    fn the_port_alone_is_not_dns() {
        let http = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
        assert_eq!(ask_ports(&Dns::DNS, Transport::Tcp, http, b"", 53), Probe::NotForUs);
        assert_eq!(ask_ports(&Dns::DNS, Transport::Udp, &[0; 40], b"", 53), Probe::NotForUs);
    }

    #[test]
    fn an_answer_larger_than_the_opening_is_known_by_its_head() {
        let mut large = tcp(&[&REPLY[..REPLY.len() - 6], &[0xff, 0xbc], &[0; 100]].concat());
        large[..2].copy_from_slice(&[0xff, 0xeb]);
        assert_eq!(ask(&Dns::DNS, Transport::Tcp, b"", &large), Probe::Certain(Some(Side::Resp)));
        large[..2].copy_from_slice(&[0x40, 0]);
        assert_ne!(ask(&Dns::DNS, Transport::Tcp, b"", &large), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn a_scanners_query_over_tcp_proves_nothing_without_an_answer() {
        assert_eq!(ask(&Dns::DNS, Transport::Tcp, &tcp(QUERY), b""), Probe::Unsure);
        assert_eq!(ask(&Dns::DNS, Transport::Tcp, &tcp(QUERY), b"SSH-2.0-x\r\n"), Probe::NotForUs);
    }

    #[test]
    fn a_query_with_bytes_behind_it_is_not_dns() {
        let longer = [QUERY, b"extra"].concat();
        assert_eq!(ask(&Dns::DNS, Transport::Udp, &longer, b""), Probe::NotForUs);
    }

    #[test]
    fn a_reserved_bit_or_an_unknown_class_is_not_dns() {
        for (at, value) in [(3, 0x40), (2, 0x79), (QUERY.len() - 1, 9)] {
            let mut bytes = QUERY.to_vec();
            bytes[at] = value;
            assert_eq!(ask(&Dns::DNS, Transport::Udp, &bytes, b""), Probe::NotForUs, "byte {at}");
        }
    }

    #[test]
    fn a_netbios_query_whose_name_is_damaged_is_not_dns_either() {
        let name = b"\x91\x52\x01\x10\0\x01\0\0\0\0\0\0\x20FHEPFCELEHFCEPFFFACACACACACACABS\0\0\x20\0\x01";
        assert_eq!(ask_ports(&Dns::DNS, Transport::Udp, name, b"", 137), Probe::NotForUs);
    }

    #[test]
    fn a_cut_answer_alone_waits_and_its_query_decides() {
        let cut = &REPLY[..REPLY.len() - 6];
        assert_eq!(ask(&Dns::DNS, Transport::Udp, b"", cut), Probe::Unsure);
        assert_eq!(ask(&Dns::DNS, Transport::Udp, QUERY, cut), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn a_format_error_without_a_question_needs_its_query() {
        let error = b"\x12\x34\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00";
        assert_eq!(ask(&Dns::DNS, Transport::Udp, b"", error), Probe::Unsure);
        assert_eq!(ask(&Dns::DNS, Transport::Udp, QUERY, error), Probe::Certain(Some(Side::Resp)));
    }
}
