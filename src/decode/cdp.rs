//! CDP, the Cisco Discovery Protocol, versions 1 and 2: what a switch or a virtual switch of its family says of itself.
//!
//! At most [`TLVS_MAX`] TLVs and [`ADDRESSES_MAX`] addresses of one are read; a frame with more TLVs, with one beyond its end, or
//! without a device is discarded. The checksum is not verified (see `mod.rs`), and makers disagree on it.

use std::net::IpAddr;

use super::discard::Discard;
use super::packet::{Advert, StationId};
use super::reader::Reader;
use crate::model::AdvertBy;

/// Some thirty kinds are known, each once.
const TLVS_MAX: usize = 64;
const ADDRESSES_MAX: u32 = 16;

/// Reads one packet, from its version on. Of a frame that the capture cut (`cut` bytes are missing) what is whole is
/// taken.
pub(super) fn read(bytes: &[u8], cut: u32) -> Result<Advert<'_>, Discard> {
    let mut r = Reader::new(bytes);
    let [version, life, _, _] = r.array().ok_or(Discard::Short)?;
    if !matches!(version, 1 | 2) {
        return Err(Discard::Cdp);
    }
    let (mut device, mut port, mut address): (&[u8], &[u8], _) = (&[], &[], None);
    for count in 0.. {
        if r.rest().is_empty() {
            break;
        }
        if count == TLVS_MAX {
            return Err(Discard::Cdp);
        }
        let mut ahead = r;
        let (Some(kind), Some(length)) = (ahead.be16(), ahead.be16()) else {
            // Less than a head: padding of a frame without a length field, or what the capture cut.
            break;
        };
        // Of the whole TLV, its head included.
        let length = usize::from(length).checked_sub(4).ok_or(Discard::Cdp)?;
        let Some(value) = ahead.take(length) else {
            if cut > 0 {
                break;
            }
            return Err(Discard::Short);
        };
        r = ahead;
        match kind {
            0x0001 => device = value,
            0x0003 => port = value,
            // Its own addresses; those it is managed by are better.
            0x0002 => address = address.or_else(|| addresses(value)),
            0x0016 => address = addresses(value).or(address),
            _ => {}
        }
    }
    if device.is_empty() {
        return Err(if cut > 0 { Discard::Short } else { Discard::Cdp });
    }
    Ok(Advert {
        by: AdvertBy::Cdp,
        chassis: StationId::Text(device),
        port: StationId::Text(port),
        port_description: &[],
        system: device,
        address,
        goodbye: life == 0,
    })
}

/// The first IP address of a list: count, then protocol and address, each with its kind and length.
fn addresses(value: &[u8]) -> Option<IpAddr> {
    let mut r = Reader::new(value);
    for _ in 0..r.be32()?.min(ADDRESSES_MAX) {
        let [_kind, length] = r.array()?;
        let protocol = r.take(usize::from(length))?;
        let length = r.be16()?;
        let address = r.take(usize::from(length))?;
        let ip = match protocol {
            // NLPID of IP.
            [0xcc] => <[u8; 4]>::try_from(address).ok().map(IpAddr::from),
            // IEEE 802.2 with SNAP and the EtherType of IPv6.
            [0xaa, 0xaa, 0x03, 0, 0, 0, 0x86, 0xdd] => <[u8; 16]>::try_from(address).ok().map(IpAddr::from),
            _ => None,
        };
        if ip.is_some() {
            return ip;
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn tlv(kind: u16, value: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes(), &(value.len() as u16 + 4).to_be_bytes(), value].concat()
    }

    pub(crate) fn switch() -> Vec<u8> {
        [
            vec![2, 180, 0, 0],
            tlv(1, b"sw1.example"),
            tlv(2, &[0, 0, 0, 1, 1, 1, 0xcc, 0, 4, 10, 9, 9, 254]),
            tlv(3, b"GigabitEthernet0/7"),
            tlv(5, b"IOS"),
        ]
        .concat()
    }

    #[test]
    fn a_switch_names_itself_its_port_and_its_address() {
        let bytes = switch();
        let advert = read(&bytes, 0).unwrap();
        assert_eq!((advert.system, advert.port), (&b"sw1.example"[..], StationId::Text(b"GigabitEthernet0/7")));
        assert_eq!(advert.address, Some(IpAddr::from([10, 9, 9, 254])));
    }

    #[test]
    fn an_ipv6_address_and_a_list_that_lies_about_its_length_are_read_safely() {
        let protocol = [2, 8, 0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd, 0, 16];
        let list = [&[0, 0, 0, 1][..], &protocol, &[0xfd; 16]].concat();
        assert_eq!(addresses(&list), Some(IpAddr::from([0xfd; 16])));
        for length in 0..list.len() {
            assert_eq!(addresses(&list[..length]), None, "{length}");
        }
        assert_eq!(addresses(&[0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]), None);
    }

    #[test]
    fn every_cut_of_a_packet_is_a_counted_discard_or_less_of_the_same() {
        let whole = switch();
        for length in 0..whole.len() {
            for cut in [0, 9] {
                if let Ok(advert) = read(&whole[..length], cut) {
                    assert_eq!(advert.system, b"sw1.example", "{length}");
                }
            }
        }
    }

    #[test]
    fn another_version_a_length_below_the_head_too_many_and_no_device_are_refused() {
        for wrong in [
            vec![3, 180, 0, 0],
            vec![2, 180, 0, 0, 0, 1, 0, 3],
            [vec![2, 180, 0, 0], tlv(3, b"Gi0/7")].concat(),
            [switch(), tlv(0x99, b"").repeat(TLVS_MAX)].concat(),
        ] {
            assert_eq!(read(&wrong, 0), Err(Discard::Cdp), "{wrong:x?}");
        }
    }
}
