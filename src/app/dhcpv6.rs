//! DHCPv6 (RFC 8415): who serves, and which address it gave to which MAC.
//!
//! One datagram at a time, its options to the last byte; at most 32 of one message are read. Leases inside a relayed
//! answer are read where the relay unwraps them for the client, not before.

use std::net::{IpAddr, Ipv6Addr};

use super::client_id;
use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Ends, Follow, FollowOut, Lease, Opening, Probe, Protocol};
use crate::model::{AppInfo, Mac, Side, Transport};
use Evidence::{No, Proof};

pub(super) struct Dhcpv6;

const OPTIONS_MAX: usize = 32;
const REPLY: u8 = 7;

impl Protocol for Dhcpv6 {
    fn name(&self) -> &'static str {
        "dhcpv6"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        matches!(first, 1..=13)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes).unwrap_or(No))
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        Some(Box::new(Leases))
    }
}

fn judge(bytes: &[u8]) -> Option<Evidence> {
    let role = match bytes.first()? {
        1 | 3..=6 | 8 | 9 | 11 | 12 => Role::Client,
        2 | 7 | 10 | 13 => Role::Server,
        _ => return None,
    };
    // A relayed message has hops, link and peer address before its options (RFC 8415 section 9).
    let relayed = matches!(bytes.first()?, 12 | 13);
    let mut r = Reader::new(bytes.get(if relayed { 34 } else { 4 }..)?);
    let (mut known, mut count) = (false, 0);
    while !r.is_empty() {
        let (code, value) = option(&mut r)?;
        count += 1;
        if count > OPTIONS_MAX || !matches!(code, 1..=150) {
            return None;
        }
        known |= match code {
            // A DUID of one of the four types identifies client or server; a relay message, or a requested-options list.
            1 | 2 => matches!(value, [0, 1..=4, _, _, ..]),
            9 => relayed && value.len() >= 4,
            _ => false,
        };
    }
    // RFC 8415 lets only an information request go without an identifier, and then it proves too little.
    known.then_some(Proof(role))
}

fn option<'a>(r: &mut Reader<'a>) -> Option<(u16, &'a [u8])> {
    let (code, length) = (r.u16()?, r.u16()?);
    Some((code, r.take(usize::from(length))?))
}

fn options(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut r = Reader::new(bytes);
    std::iter::from_fn(move || option(&mut r)).take(OPTIONS_MAX)
}

struct Leases;

impl Follow for Leases {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        let [REPLY, _, _, _, body @ ..] = bytes else { return };
        let find = |wanted| options(body).find(|(code, _)| *code == wanted).map(|(_, value)| value);
        let Some(duid) = find(1) else { return };
        let client = if side == Side::Orig { flow.resp.0 } else { flow.orig.0 };
        // A clone has its original's DUID, MAC and all; a link-local address is made on the interface itself.
        let Some(mac) = interface_mac(client).or_else(|| duid_mac(duid)) else { return };
        let client_id = client_id::of_duid(duid);
        // FQDN (RFC 4704): flags, then labels.
        let name = find(39).and_then(|value| labels(value.get(1..)?));
        // IA_NA: id, T1, T2, then options, of which 5 is an address with its lifetimes.
        let given = options(body).filter(|(code, _)| *code == 3).filter_map(|(_, value)| value.get(12..));
        for (_, address) in given.flat_map(|inner| options(inner).filter(|(code, _)| *code == 5)) {
            let mut r = Reader::new(address);
            // A valid lifetime of 0 takes the address back.
            if let (Some(address), Some(_preferred), Some(1..)) = (r.array::<16>(), r.u32(), r.u32()) {
                let ip = IpAddr::V6(Ipv6Addr::from(address));
                out.leased.push(Lease { mac, ip, name: name.clone(), client_id: client_id.clone() });
            }
        }
    }
}

/// The MAC in a link-local address (RFC 4291, appendix A).
fn interface_mac(ip: IpAddr) -> Option<Mac> {
    let IpAddr::V6(ip) = ip else { return None };
    match ip.octets() {
        [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, 0xff, 0xfe, d, e, f] => Some(Mac([a ^ 2, b, c, d, e, f])),
        _ => None,
    }
    .filter(|mac| mac.is_unicast())
}

/// The link-layer address in a DUID-LLT or DUID-LL of Ethernet (RFC 8415 section 11).
fn duid_mac(duid: &[u8]) -> Option<Mac> {
    let address = match duid {
        [0, 1, 0, 1, _, _, _, _, address @ ..] | [0, 3, 0, 1, address @ ..] => address,
        _ => return None,
    };
    address.try_into().ok().map(Mac).filter(|mac| mac.is_unicast())
}

fn labels(wire: &[u8]) -> Option<String> {
    let mut r = Reader::new(wire);
    let mut name = Vec::new();
    while let Some(length @ 1..=63) = r.u8() {
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend_from_slice(r.take(usize::from(length))?);
    }
    (!name.is_empty()).then(|| AppInfo::clean(&name))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, ends, followed};
    use super::*;

    const CLIENT_ID: &[u8] = &[0, 1, 0, 10, 0, 3, 0, 1, 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc];

    fn reply(valid: u8) -> Vec<u8> {
        let mut bytes = vec![7, 0x12, 0x34, 0x56];
        bytes.extend(CLIENT_ID);
        bytes.extend([0, 2, 0, 10, 0, 3, 0, 1, 0x52, 0x54, 0, 1, 1, 1]);
        bytes.extend([0, 3, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24]);
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 60, 0, 0, 0, valid]);
        bytes
    }

    pub(crate) fn examples() -> Vec<Example> {
        let solicit = [&[1, 0x12, 0x34, 0x56], CLIENT_ID, &[0, 6, 0, 2, 0, 23]].concat();
        vec![
            Example::udp("dhcpv6", &solicit, b"", Some(Side::Resp)),
            Example::udp("dhcpv6", &reply(120), b"", Some(Side::Orig)),
        ]
    }

    #[test]
    fn a_reply_is_a_lease() {
        let bytes = reply(120);
        let out = followed(&Dhcpv6, &ends(Transport::Udp, 547), &[(Side::Resp, &bytes)]);
        let [Lease { mac, ip, name: None, client_id }] = out.leased.as_slice() else { panic!("{:?}", out.leased) };
        assert_eq!((mac.to_string().as_str(), ip.to_string().as_str()), ("52:54:00:aa:bb:cc", "fd00::9"));
        assert_eq!(client_id.as_deref(), Some("duid:00030001525400aabbcc"));
    }

    #[test]
    fn a_clone_with_the_duid_of_its_original_is_known_by_its_own_interface() {
        let bytes = reply(120);
        let mut ends = ends(Transport::Udp, 547);
        ends.orig.0 = "fe80::5054:ff:fe00:77".parse().unwrap();
        let out = followed(&Dhcpv6, &ends, &[(Side::Resp, &bytes)]);
        assert_eq!(out.leased[0].mac.to_string(), "52:54:00:00:00:77");
    }

    #[test]
    fn a_reply_that_ends_the_lifetime_is_none() {
        let bytes = reply(0);
        assert!(followed(&Dhcpv6, &ends(Transport::Udp, 547), &[(Side::Resp, &bytes)]).leased.is_empty());
    }

    #[test]
    fn an_option_past_the_end_is_not_dhcpv6() {
        let mut bytes = reply(120);
        bytes.pop();
        assert_eq!(ask(&Dhcpv6, Transport::Udp, &bytes, b""), Probe::NotForUs);
        assert_eq!(ask(&Dhcpv6, Transport::Udp, &[1, 2, 3, 4], b""), Probe::NotForUs);
    }
}
