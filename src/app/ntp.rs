//! NTP (RFC 5905) and its control (RFC 9327) and private messages; SNTP is the same on the wire.
//!
//! One datagram is read, nothing of it is kept but the server's stratum.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof};

pub(super) struct Ntp;

impl Protocol for Ntp {
    fn name(&self) -> &'static str {
        "ntp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first & 7 != 0 || first >> 3 & 7 == 1
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, judge)
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        match opening.side(server) {
            [first, stratum, ..] if matches!(first & 7, 4 | 5) => {
                info.detail("stratum", stratum.to_string());
                Described::Whole
            }
            [] => Described::Partly,
            _ => Described::Whole,
        }
    }
}

fn judge(bytes: &[u8]) -> Evidence {
    let Some(first) = bytes.first() else { return No };
    let version = first >> 3 & 7;
    match (version, first & 7) {
        (1..=4, mode @ 1..=5) => time(bytes, mode),
        // Version 1 had no mode: the answer tells.
        (1, 0) if bytes.len() == 48 => Hint(Role::Client),
        (1..=4, 6) => control(bytes),
        (1..=4, 7) => private(bytes),
        _ => No,
    }
}

fn time(bytes: &[u8], mode: u8) -> Evidence {
    let [_, stratum, poll, precision, body @ ..] = bytes else { return No };
    // 48 bytes, then a MAC (key id and digest: 4, 20, 24, 36) or extension fields in fours (RFC 5905 section 7.3).
    let sized = bytes.len() >= 48 && bytes.len().is_multiple_of(4) && bytes.len() <= 1024;
    // Poll: 2 to the power of 0 to 17 seconds. Precision: a fraction of a second, or 0 where none is told.
    let plausible = *stratum <= 16 && *poll <= 17 && matches!(precision, 0 | 0xe0..=0xff);
    let (delay, rest) = (body.first_chunk::<4>(), body.get(4..));
    let dispersion = rest.and_then(|r| r.first_chunk::<4>());
    // Root delay and dispersion are 16.16 seconds: above 16 s a clock is not synchronised.
    let small = |field: Option<&[u8; 4]>| field.is_some_and(|f| matches!(f, [0, 0..=16, ..]));
    let negative = matches!(delay, Some([0xff, 0xff, ..]));
    if !sized || !plausible || !(small(delay) || negative) || !small(dispersion) {
        return No;
    }
    let transmit = bytes.get(40..).and_then(|b| Reader::new(b).u64());
    let blank = bytes.get(1..48).is_some_and(|b| b.iter().all(|x| *x == 0));
    match mode {
        // SNTP clients may send one byte and 47 zeros: a server must answer before that is NTP.
        3 if blank || bytes.len() > 120 => Hint(Role::Client),
        3 => Proof(Role::Client),
        4 | 5 if transmit == Some(0) => Hint(Role::Server),
        4 | 5 => Proof(Role::Server),
        _ => Hint(Role::Peer),
    }
}

/// Mode 6: header of 12 bytes, then as much data as its count says, padded to four (RFC 9327 section 2).
fn control(bytes: &[u8]) -> Evidence {
    let [_, operation, _, _, _, _, _, _, 0, 0, high, low, data @ ..] = bytes else { return No };
    let count = usize::from(u16::from_be_bytes([*high, *low]));
    let padded = count.next_multiple_of(4);
    // An authenticator may follow.
    let fits = data.len() >= count && data.len() <= padded + 24 && (1..=12).contains(&(operation & 0x1f));
    let role = if operation & 0x80 != 0 { Role::Server } else { Role::Client };
    Hint(role).only_if(fits)
}

/// Mode 7 (ntpdc; monlist is request 42): eight bytes, then items of one size.
fn private(bytes: &[u8]) -> Evidence {
    let [first, _sequence, implementation, request, error_items, items, reserved_size, size, data @ ..] = bytes else {
        return No;
    };
    let items = usize::from(u16::from_be_bytes([error_items & 0x0f, *items]));
    let size = usize::from(u16::from_be_bytes([reserved_size & 0x0f, *size]));
    // Implementations: universal, and the two XNTPDs.
    let fits = matches!(implementation, 0 | 2 | 3) && *request <= 46 && reserved_size & 0xf0 == 0;
    let length_fits = if first & 0x80 != 0 { data.len() == items * size } else { data.len() >= items * size };
    let role = if first & 0x80 != 0 { Role::Server } else { Role::Client };
    Hint(role).only_if(fits && length_fits && data.len() <= 512)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    fn packet(first: u8, stratum: u8, transmit: u8) -> Vec<u8> {
        let mut bytes = vec![first, stratum, 6, 0xec, 0, 0, 0x0b, 0x20, 0, 0, 0x1a, 0x01];
        bytes.extend([10, 0, 0, 1]);
        bytes.extend([0xe3; 24]);
        bytes.extend([transmit; 8]);
        bytes
    }

    fn blank(first: u8) -> Vec<u8> {
        let mut bytes = vec![0; 48];
        bytes[0] = first;
        bytes
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("ntp", &packet(0x23, 3, 0xe3), &packet(0x24, 2, 0xe3), Some(Side::Resp)),
            Example::udp("ntp", &blank(0x1b), &packet(0x1c, 2, 0xe3), Some(Side::Resp)),
            Example::udp("ntp", b"\x16\x02\x00\x01\0\0\0\0\0\0\0\0", &control_answer(), Some(Side::Resp)),
            Example::udp("ntp", &packet(0x21, 3, 0xe3), &packet(0x22, 2, 0xe3), None),
        ]
    }

    fn control_answer() -> Vec<u8> {
        let text = b"version=\"ntpd 4.2.8\"";
        [&[0x16, 0x82, 0, 1, 6, 0x15, 0, 0, 0, 0, 0, text.len() as u8][..], text].concat()
    }

    #[test]
    fn a_servers_stratum_is_told() {
        let info = examples()[0].described(&Ntp);
        assert_eq!(info.get("stratum"), Some("2"));
    }

    #[test]
    fn one_byte_and_zeros_alone_prove_nothing() {
        assert_eq!(ask(&Ntp, Transport::Udp, &blank(0x1b), b""), Probe::Unsure);
        assert_eq!(ask(&Ntp, Transport::Udp, &blank(0x1b), &[0x41; 48]), Probe::NotForUs);
    }

    #[test]
    fn forty_seven_bytes_or_stratum_seventeen_is_not_ntp() {
        let good = packet(0x23, 3, 0xe3);
        assert_eq!(ask(&Ntp, Transport::Udp, &good[..47], b""), Probe::NotForUs);
        assert_eq!(ask(&Ntp, Transport::Udp, &packet(0x23, 17, 0xe3), b""), Probe::NotForUs);
        assert_eq!(ask(&Ntp, Transport::Udp, &good, b""), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn text_with_the_same_first_byte_is_not_ntp() {
        let text = [b"#".as_slice(), &[b'a'; 47]].concat();
        assert_eq!(ask(&Ntp, Transport::Udp, &text, b""), Probe::NotForUs);
    }
}
