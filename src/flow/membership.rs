//! Group membership: who says that it listens to which multicast group, in IGMP (v1 to v3; RFC 1112, 2236, 3376) and
//! MLD (v1, v2; RFC 2710, 3810) reports.
//!
//! At most [`RECORDS_MAX`] groups of one report are read; the others are counted. A report that is cut or forged by a
//! router's side of the network (its TTL is not 1) is counted and says nothing.

use std::net::IpAddr;

use super::Head;
use crate::counters;
use crate::decode::{Datagram, Icmp, Payload};
use crate::model::Membership;

/// IP protocol number.
const IGMP: u8 = 2;
/// Groups of one report: hosts are in some ten; a full Ethernet frame could hold 180.
const RECORDS_MAX: usize = 64;

counters! {
    pub struct MembershipCounters {
        told => "membership.told",
        short => "membership.discard.short",
        routed => "membership.discard.ttl",
        records => "membership.discard.records",
    }
}

/// Tells what a report says; anything else than a report is nothing.
pub fn reports(
    head: &Head,
    datagram: &Datagram<'_>,
    counters: &mut MembershipCounters,
    mut tell: impl FnMut(Membership),
) {
    let report = match &datagram.payload {
        Payload::Other(IGMP, bytes) => igmp(bytes),
        Payload::Icmp(Icmp { v6: true, kind, body, .. }) => mld(*kind, body),
        _ => return,
    };
    let Some(report) = report else { return };
    if datagram.ttl != 1 {
        counters.routed += 1;
        return;
    }
    // A switch that reports for others has no address (RFC 4541 section 2.1.1): who listens is not known.
    if datagram.src.is_unspecified() {
        return;
    }
    let mut say = |group: IpAddr, joined| {
        if group.is_multicast() && !is_solicited_node(group) {
            counters.told += 1;
            tell(Membership { segment: head.segment, member: datagram.src, group, joined });
        }
    };
    match report {
        Report::Of(Some(group), joined) => say(group, joined),
        Report::Of(None, _) => counters.short += 1,
        Report::Records { count, mut bytes, group_bytes } => {
            counters.records += count.saturating_sub(RECORDS_MAX) as u64;
            for _ in 0..count.min(RECORDS_MAX) {
                let Some((kind, sources, group, rest)) = record(bytes, group_bytes) else {
                    counters.short += 1;
                    return;
                };
                bytes = rest;
                match (kind, sources) {
                    // To include no source is to leave.
                    (1 | 3, 0) => say(group, false),
                    (1..=5, _) => say(group, true),
                    _ => {} // blocks some sources: it stays
                }
            }
        }
    }
}

enum Report<'a> {
    /// One group, joined or left; `None` where it was cut off.
    Of(Option<IpAddr>, bool),
    Records {
        count: usize,
        bytes: &'a [u8],
        group_bytes: usize,
    },
}

fn igmp(bytes: &[u8]) -> Option<Report<'_>> {
    let group = || address(bytes.get(4..8)?);
    match bytes.first()? {
        0x12 | 0x16 => Some(Report::Of(group(), true)),
        0x17 => Some(Report::Of(group(), false)),
        0x22 => Some(records(bytes.get(6..).unwrap_or_default(), 4)),
        _ => None,
    }
}

/// `body` begins after the checksum.
fn mld(kind: u8, body: &[u8]) -> Option<Report<'_>> {
    let group = || address(body.get(4..20)?);
    match kind {
        131 => Some(Report::Of(group(), true)),
        132 => Some(Report::Of(group(), false)),
        143 => Some(records(body.get(2..).unwrap_or_default(), 16)),
        _ => None,
    }
}

fn records(bytes: &[u8], group_bytes: usize) -> Report<'_> {
    match bytes.split_first_chunk::<2>() {
        Some((count, bytes)) => Report::Records { count: u16::from_be_bytes(*count).into(), bytes, group_bytes },
        None => Report::Of(None, true),
    }
}

/// Its kind, its number of sources, its group, and what follows it.
fn record(bytes: &[u8], group_bytes: usize) -> Option<(u8, usize, IpAddr, &[u8])> {
    let ([kind, words, high, low], rest) = bytes.split_first_chunk::<4>()?;
    let sources = usize::from(u16::from_be_bytes([*high, *low]));
    let (group, rest) = rest.split_at_checked(group_bytes)?;
    Some((*kind, sources, address(group)?, rest.get(sources * group_bytes + usize::from(*words) * 4..)?))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

/// ff02::1:ff00:0/104: every host is in that of its own address (RFC 4291 section 2.7.1).
fn is_solicited_node(group: IpAddr) -> bool {
    matches!(group, IpAddr::V6(v6) if matches!(v6.segments(), [0xff02, 0, 0, 0, 0, 1, 0xff00..=0xffff, _]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Segment, Timestamp};

    fn told(src: &str, ttl: u8, payload: Payload<'_>) -> (Vec<(String, bool)>, MembershipCounters) {
        let head = Head {
            time: Timestamp::ZERO,
            frame: 1,
            segment: Segment::UNTAGGED,
            src_mac: None,
            dst_mac: None,
            host_hint: None,
            path: Default::default(),
            taken: Default::default(),
        };
        let (src, dst) = (src.parse().unwrap(), "224.0.0.22".parse().unwrap());
        let datagram = Datagram { src, dst, ttl, tos: 0, ip_len: 0, payload };
        let (mut out, mut counters) = (Vec::new(), MembershipCounters::default());
        reports(&head, &datagram, &mut counters, |m| out.push((m.group.to_string(), m.joined)));
        (out, counters)
    }

    fn igmp_told(bytes: &[u8]) -> Vec<(String, bool)> {
        told("10.0.0.5", 1, Payload::Other(IGMP, bytes)).0
    }

    fn said(group: &str, joined: bool) -> Vec<(String, bool)> {
        vec![(group.to_owned(), joined)]
    }

    #[test]
    fn every_version_joins_and_leaves() {
        assert_eq!(igmp_told(&[0x12, 0, 0, 0, 239, 1, 1, 1]), said("239.1.1.1", true));
        assert_eq!(igmp_told(&[0x16, 0, 0, 0, 239, 1, 1, 1]), said("239.1.1.1", true));
        assert_eq!(igmp_told(&[0x17, 0, 0, 0, 239, 1, 1, 1]), said("239.1.1.1", false));
        let v3 = [
            &[0x22, 0, 0, 0, 0, 0, 0, 3][..],         // records that follow
            &[4, 0, 0, 0, 239, 1, 1, 1],              // excludes nothing: joins
            &[6, 0, 0, 1, 239, 1, 1, 2, 10, 0, 0, 9], // blocks a source
            &[3, 1, 0, 0, 239, 1, 1, 3, 0, 0, 0, 0],
        ] // includes nothing, with auxiliary data: leaves
        .concat();
        assert_eq!(igmp_told(&v3), [said("239.1.1.1", true), said("239.1.1.3", false)].concat());
        let group = |n: u8| [&[0xff, 0x15][..], &[0; 13], &[n]].concat();
        for (kind, joined) in [(131, true), (132, false)] {
            let body = [&[0; 4][..], &group(7)].concat();
            let mld = Icmp { v6: true, kind, code: 0, quoted: None, nd: None, body: &body };
            assert_eq!(told("fe80::5", 1, Payload::Icmp(mld)).0, said("ff15::7", joined));
        }
        let body = [&[0, 0, 0, 1, 2, 0, 0, 0][..], &group(8)].concat();
        let mld = Icmp { v6: true, kind: 143, code: 0, quoted: None, nd: None, body: &body };
        assert_eq!(told("fe80::5", 1, Payload::Icmp(mld)).0, said("ff15::8", true));
    }

    #[test]
    fn queries_routed_and_cut_reports_say_nothing() {
        assert!(igmp_told(&[0x11, 0, 0, 0, 0, 0, 0, 0]).is_empty());
        let report = [0x16, 0, 0, 0, 239, 1, 1, 1];
        assert_eq!(told("10.0.0.5", 64, Payload::Other(IGMP, &report)).1.routed, 1);
        assert!(told("0.0.0.0", 1, Payload::Other(IGMP, &report)).0.is_empty());
        let v3 = [0x22, 0, 0, 0, 0, 0, 0xff, 0xff, 4, 0, 0xff, 0xff, 239, 1, 1, 1];
        for length in 0..v3.len() {
            let (none, counters) = told("10.0.0.5", 1, Payload::Other(IGMP, &v3[..length]));
            assert!(none.is_empty() && (length == 0 || counters.short == 1), "{length}");
        }
        // Its own address's group says nothing, nor does one that is none.
        assert!(igmp_told(&[0x16, 0, 0, 0, 10, 1, 1, 1]).is_empty());
        assert!(is_solicited_node("ff02::1:ff12:3456".parse().unwrap()));
        assert!(!is_solicited_node("ff02::fb".parse().unwrap()));
    }
}
