//! LLDP (IEEE 802.1AB-2016): what a station says of itself to whoever is at the other end of its link.
//!
//! At most [`TLVS_MAX`] TLVs of one frame are read; a frame with more is discarded, as is one that lacks chassis, port
//! and time to live in this order (clause 8.2) or has a TLV beyond its end.

use std::net::IpAddr;

use super::discard::Discard;
use super::packet::{Advert, StationId};
use super::reader::Reader;
use crate::model::{AdvertBy, Mac};

/// Nine kinds are standard; organisations add their own, a dozen or two of a busy switch.
const TLVS_MAX: usize = 64;

/// Reads one LLDPDU. Of a frame that the capture cut (`cut` bytes are missing) what is whole is taken.
pub(super) fn read(bytes: &[u8], cut: u32) -> Result<Advert<'_>, Discard> {
    let mut r = Reader::new(bytes);
    let chassis = expected(&mut r, 1)?;
    let port = expected(&mut r, 2)?;
    let life = expected(&mut r, 3)?.first_chunk::<2>().ok_or(Discard::Lldp)?;
    let mut advert = Advert {
        by: AdvertBy::Lldp,
        chassis: chassis_id(chassis).ok_or(Discard::Lldp)?,
        port: port_id(port).ok_or(Discard::Lldp)?,
        port_description: &[],
        system: &[],
        address: None,
        goodbye: *life == [0, 0],
    };
    for _ in 0..TLVS_MAX {
        let (kind, value) = match tlv(&mut r) {
            Some((0, _)) => return Ok(advert),
            Some(tlv) => tlv,
            // The end marker is mandatory, but its absence hurts nobody.
            None if r.rest().is_empty() || cut > 0 => return Ok(advert),
            None => return Err(Discard::Short),
        };
        match kind {
            1..=3 => return Err(Discard::Lldp),
            4 => advert.port_description = value,
            5 => advert.system = value,
            8 => advert.address = advert.address.or_else(|| management(value)),
            _ => {}
        }
    }
    Err(Discard::Lldp)
}

fn expected<'a>(r: &mut Reader<'a>, wanted: u8) -> Result<&'a [u8], Discard> {
    match tlv(r) {
        Some((kind, value)) if kind == wanted => Ok(value),
        Some(_) => Err(Discard::Lldp),
        None => Err(Discard::Short),
    }
}

/// Seven bits of kind, nine of length (clause 8.4). Takes nothing where it is not whole.
fn tlv<'a>(r: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let mut ahead = *r;
    let head = ahead.be16()?;
    let value = ahead.take(usize::from(head & 0x01ff))?;
    *r = ahead;
    Some(((head >> 9) as u8, value))
}

/// Clause 8.5.2: subtype 4 is a MAC, 5 a network address.
fn chassis_id(value: &[u8]) -> Option<StationId<'_>> {
    id(value, 4, 5)
}

/// Clause 8.5.3: subtype 3 is a MAC, 4 a network address.
fn port_id(value: &[u8]) -> Option<StationId<'_>> {
    id(value, 3, 4)
}

fn id(value: &[u8], mac: u8, address: u8) -> Option<StationId<'_>> {
    let (subtype, id) = value.split_first()?;
    if id.is_empty() {
        return None;
    }
    Some(match <[u8; 6]>::try_from(id) {
        Ok(own) if *subtype == mac => StationId::Mac(Mac(own)),
        _ => match network_address(id).filter(|_| *subtype == address) {
            Some(ip) => StationId::Address(ip),
            None => StationId::Text(id),
        },
    })
}

/// IANA address family, then the address.
fn network_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.split_first()? {
        (1, v4) => <[u8; 4]>::try_from(v4).ok().map(IpAddr::from),
        (2, v6) => <[u8; 16]>::try_from(v6).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Clause 8.5.9: the length of family and address, both, then what does not matter here.
fn management(value: &[u8]) -> Option<IpAddr> {
    let (length, rest) = value.split_first()?;
    network_address(rest.get(..usize::from(*length))?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        let head = u16::from(kind) << 9 | value.len() as u16;
        [&head.to_be_bytes(), value].concat()
    }

    /// What a hypervisor host says on its uplink.
    pub(crate) fn host() -> Vec<u8> {
        [
            tlv(1, &[4, 0x3c, 0xfd, 0xfe, 0, 0, 7]),
            tlv(2, b"\x05vmnic2"),
            tlv(3, &[0, 120]),
            tlv(4, b"port 2 on dvSwitch"),
            tlv(5, b"esx-07.example"),
            tlv(7, &[0, 4, 0, 4]),
            tlv(8, &[5, 1, 10, 9, 9, 1, 2, 0, 0, 0, 1, 0]),
            tlv(127, &[0, 0x12, 0x0f, 1, 3]),
            tlv(0, &[]),
        ]
        .concat()
    }

    #[test]
    fn a_host_names_itself_its_port_and_its_address() {
        let mut bytes = host();
        bytes.extend([0; 20]); // link padding
        let advert = read(&bytes, 0).unwrap();
        assert_eq!(advert.chassis, StationId::Mac(Mac([0x3c, 0xfd, 0xfe, 0, 0, 7])));
        assert_eq!((advert.port, advert.port_description), (StationId::Text(b"vmnic2"), &b"port 2 on dvSwitch"[..]));
        assert_eq!((advert.system, advert.address), (&b"esx-07.example"[..], Some(IpAddr::from([10, 9, 9, 1]))));
        assert!(!advert.goodbye);
    }

    #[test]
    fn a_time_to_live_of_zero_is_a_goodbye() {
        let bytes = [tlv(1, b"\x07x"), tlv(2, b"\x07y"), tlv(3, &[0, 0]), tlv(0, &[])].concat();
        assert!(read(&bytes, 0).unwrap().goodbye);
    }

    #[test]
    fn every_cut_of_a_frame_is_a_counted_discard_or_less_of_the_same() {
        let whole = host();
        for length in 0..whole.len() {
            let bytes = &whole[..length];
            assert!(matches!(read(bytes, 0), Ok(_) | Err(Discard::Short)), "{length}");
            if let Ok(advert) = read(bytes, 9) {
                assert!(advert.system.is_empty() || advert.system == b"esx-07.example", "{length}");
            }
        }
    }

    #[test]
    fn tlvs_out_of_order_twice_or_without_end_are_refused() {
        let [chassis, port, life] = [tlv(1, b"\x07x"), tlv(2, b"\x07y"), tlv(3, &[0, 9])];
        for wrong in [
            [port.clone(), chassis.clone(), life.clone()].concat(),
            [chassis.clone(), port.clone(), tlv(5, b"name")].concat(),
            [chassis.clone(), port.clone(), life.clone(), chassis.clone()].concat(),
            [tlv(1, b"\x07"), port.clone(), life.clone()].concat(),
            [chassis.clone(), port.clone(), tlv(3, &[9])].concat(),
            [chassis.clone(), port.clone(), life.clone(), tlv(127, b"many").repeat(TLVS_MAX)].concat(),
        ] {
            assert_eq!(read(&wrong, 0), Err(Discard::Lldp), "{wrong:x?}");
        }
    }

    #[test]
    fn addresses_of_a_wrong_length_are_none() {
        for value in [&[5, 1, 10, 9, 9][..], &[4, 1, 10, 9, 9], &[255, 1], &[0], &[], &[17, 2, 0xfd]] {
            assert_eq!(management(value), None, "{value:?}");
        }
        assert_eq!(chassis_id(&[5, 1, 10, 9]), Some(StationId::Text(&[1, 10, 9])));
        assert_eq!(chassis_id(&[5, 1, 10, 0, 0, 1]), Some(StationId::Address(IpAddr::from([10, 0, 0, 1]))));
    }
}
