//! Information elements: which fields of a NetFlow v9 or IPFIX record say something about a conversation. Their numbers
//! are IANA's (NetFlow v9's are the first of them); those of enterprises are VMware's for tenants of its overlay.
//!
//! Bound: a number longer than eight bytes, or an address of another length than it has, says nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::half::{ACK, Counts, FIN, Half, PSH, RST, SYN};
use super::netflow5::ago;
use crate::model::{LayerKind, Mac};

/// RFC 5103: the way back of a conversation, under the numbers of the way there.
const REVERSE: u32 = 29_305;
const VMWARE: u32 = 6_876;
const SECOND_NS: i64 = 1_000_000_000;
/// Seconds from 1900 (NTP, RFC 7011 section 6.1.9) to 1970.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;
/// A flow cannot be told before it ends nor years after it began: such a time is a clock that was never set.
const AGO_MAX_NS: i64 = 7 * 86_400 * SECOND_NS;

/// When the exporter sent the datagram, by its own clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Export {
    pub unix_s: u32,
    /// NetFlow v9 only.
    pub uptime_ms: Option<u32>,
}

/// A record while its fields are read.
#[derive(Debug)]
pub(super) struct Reading {
    half: Half,
    export: Export,
    /// What a later field may overrule: outer addresses by a tenant's.
    tenant: Half,
    flags_counted: Option<u8>,
    /// Exporter's uptime at the first and last packet, where only a later field says when it was started.
    began: Option<u32>,
    ended: Option<u32>,
    started_ms: Option<u64>,
    turned: bool,
}

impl Reading {
    pub fn new(export: Export, sampling: u32) -> Self {
        Reading {
            half: Half { sampling, ..Half::default() },
            export,
            tenant: Half::default(),
            flags_counted: None,
            began: None,
            ended: None,
            started_ms: None,
            turned: false,
        }
    }

    pub fn field(&mut self, enterprise: u32, element: u16, bytes: &[u8]) {
        match enterprise {
            0 => self.standard(element, bytes),
            REVERSE => {
                let back = self.half.back.get_or_insert_default();
                count(back, element, bytes);
            }
            VMWARE => self.tenant(element, bytes),
            _ => {}
        }
    }

    fn standard(&mut self, element: u16, bytes: &[u8]) {
        let half = &mut self.half;
        match element {
            1 | 2 | 6 | 85 | 86 => count(&mut half.counts, element, bytes),
            4 => half.protocol = number(bytes) as u8,
            7 | 180 | 182 => half.src_port = number(bytes) as u16,
            11 | 181 | 183 => half.dst_port = number(bytes) as u16,
            8 | 27 => set_address(&mut half.src, bytes),
            12 | 28 => set_address(&mut half.dst, bytes),
            21 => self.ended = Some(number(bytes) as u32),
            22 => self.began = Some(number(bytes) as u32),
            34 | 50 | 305 => half.sampling = (number(bytes) as u32).max(1),
            56 => half.src_mac = mac(bytes).or(half.src_mac),
            58 | 243 => half.vlan = number(bytes) as u16,
            150..=157 => self.time(element, bytes),
            160 => self.started_ms = Some(number(bytes)),
            158 | 159 => {
                let ago = i64::try_from(number(bytes)).unwrap_or(i64::MAX).saturating_mul(1_000);
                self.ago(element == 158, ago);
            }
            // Counts of segments by flag, as Open vSwitch tells them.
            218..=222 => {
                let flag = [SYN, FIN, RST, PSH, ACK].get(usize::from(element - 218)).copied().unwrap_or(0);
                let seen = if number(bytes) > 0 { flag } else { 0 };
                *self.flags_counted.get_or_insert(0) |= seen;
            }
            231 => half.counts.bytes = half.counts.bytes.max(number(bytes)),
            298 => half.counts.packets = half.counts.packets.max(Some(number(bytes))),
            232 => half.back.get_or_insert_default().bytes = number(bytes),
            299 => half.back.get_or_insert_default().packets = Some(number(bytes)),
            // biflowDirection 2: the source of the record is who answered.
            239 => self.turned = number(bytes) == 2,
            351 => half.overlay = overlay(bytes).or(half.overlay),
            _ => {}
        }
    }

    /// The flow inside the overlay's packets.
    fn tenant(&mut self, element: u16, bytes: &[u8]) {
        let tenant = &mut self.tenant;
        match element {
            880 => tenant.protocol = number(bytes) as u8,
            881 | 883 => set_address(&mut tenant.src, bytes),
            882 | 884 => set_address(&mut tenant.dst, bytes),
            886 => tenant.src_port = number(bytes) as u16,
            887 => tenant.dst_port = number(bytes) as u16,
            _ => {}
        }
    }

    fn time(&mut self, element: u16, bytes: &[u8]) {
        let value = number(bytes);
        let since_export = match element {
            150 | 151 => (value as i64).saturating_sub(i64::from(self.export.unix_s)).saturating_mul(SECOND_NS),
            152 | 153 => {
                let export_ms = i64::from(self.export.unix_s) * 1_000;
                (value as i64).saturating_sub(export_ms).saturating_mul(1_000_000)
            }
            // Seconds since 1900 and a binary fraction, for microseconds and nanoseconds alike.
            _ => {
                let seconds = (value >> 32) as i64 - NTP_TO_UNIX_S - i64::from(self.export.unix_s);
                let fraction = ((value & 0xffff_ffff) * 1_000_000_000) >> 32;
                seconds.saturating_mul(SECOND_NS).saturating_add(fraction as i64)
            }
        };
        self.ago(element.is_multiple_of(2), since_export.saturating_neg());
    }

    fn ago(&mut self, first: bool, ago: i64) {
        let half = &mut self.half;
        if first {
            half.first_ago = plausible(ago);
            half.first_clock = (i64::from(self.export.unix_s) * SECOND_NS).checked_sub(ago);
        } else {
            half.last_ago = plausible(ago);
        }
    }

    /// The record, all of its fields read.
    pub fn finish(mut self) -> Half {
        let [first, last] =
            [self.began, self.ended].map(|then| match (then?, self.export.uptime_ms, self.started_ms) {
                (then, Some(uptime), _) => plausible(ago(uptime, then)),
                (then, None, Some(started)) => {
                    let then_ms = started.saturating_add(u64::from(then)) as i64;
                    plausible((i64::from(self.export.unix_s) * 1_000).saturating_sub(then_ms).saturating_mul(1_000_000))
                }
                (_, None, None) => None,
            });
        let half = &mut self.half;
        half.first_ago = half.first_ago.or(first);
        half.first_clock = half.first_clock.or(self.began.map(|ms| i64::from(ms) * 1_000_000));
        half.last_ago = half.last_ago.or(last);
        half.counts.flags = half.counts.flags.or(self.flags_counted);
        // An answer of nothing is none.
        half.back = half.back.filter(|back| back.packets.unwrap_or(back.bytes) > 0);
        if self.tenant.has_addresses() {
            (half.src, half.dst, half.protocol) = (self.tenant.src, self.tenant.dst, self.tenant.protocol);
            (half.src_port, half.dst_port) = (self.tenant.src_port, self.tenant.dst_port);
            // The outer frame's MAC and tag are the host's.
            (half.src_mac, half.vlan) = (None, 0);
        } else {
            // Of a flow that is not inside the overlay the identifier says nothing about its ends.
            half.overlay = half.overlay.filter(|_| half.protocol != 17 || half.dst_port != 4_789);
        }
        if self.turned {
            std::mem::swap(&mut half.src, &mut half.dst);
            std::mem::swap(&mut half.src_port, &mut half.dst_port);
            half.src_mac = None;
            if let Some(back) = &mut half.back {
                std::mem::swap(back, &mut half.counts);
            }
        }
        self.half
    }
}

/// Does this field hold the address of a sender?
pub(super) fn names_sender(enterprise: u32, element: u16) -> bool {
    matches!((enterprise, element), (0, 8 | 27) | (VMWARE, 881 | 883))
}

fn count(counts: &mut Counts, element: u16, bytes: &[u8]) {
    match element {
        // Deltas, or totals since the flow began; both stand for what this record tells.
        1 | 85 => counts.bytes = counts.bytes.max(number(bytes)),
        2 | 86 => counts.packets = counts.packets.max(Some(number(bytes))),
        // One byte, or two with the upper flags before it (RFC 7125).
        6 => counts.flags = Some(number(bytes) as u8),
        _ => {}
    }
}

/// Big endian, of one to eight bytes (RFC 7011 section 6.2: exporters may shorten); 0 for anything else.
pub(super) fn number(bytes: &[u8]) -> u64 {
    match bytes.len() {
        1..=8 => bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        _ => 0,
    }
}

fn set_address(place: &mut IpAddr, bytes: &[u8]) {
    let address = match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|a| IpAddr::V4(Ipv4Addr::from(*a))),
        16 => bytes.first_chunk::<16>().map(|a| IpAddr::V6(Ipv6Addr::from(*a))),
        _ => None,
    };
    // A template may hold the fields of both families, one of them empty.
    if let Some(address) = address.filter(|a| !a.is_unspecified()) {
        *place = address;
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    let mac = Mac(*bytes.first_chunk::<6>().filter(|_| bytes.len() == 6)?);
    (mac != Mac::ZERO && mac.is_unicast()).then_some(mac)
}

/// layer2SegmentId: the kind of overlay in the first byte, its identifier in the last three.
fn overlay(bytes: &[u8]) -> Option<(LayerKind, u32)> {
    let value = number(bytes);
    let id = (value & 0x00ff_ffff) as u32;
    match value >> 56 {
        _ if id == 0 => None,
        1 => Some((LayerKind::Vxlan, id)),
        2 => Some((LayerKind::Gre, id)),
        _ => None,
    }
}

/// Nanoseconds ago, where that can be.
pub(super) fn plausible(ago: i64) -> Option<i64> {
    (0..=AGO_MAX_NS).contains(&ago).then_some(ago)
}
