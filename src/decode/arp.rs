//! ARP and RARP packets (RFC 826, RFC 903) for Ethernet and IPv4.

use std::net::{IpAddr, Ipv4Addr};

use super::discard::Discard;
use super::packet::Arp;
use super::reader::Reader;
use crate::model::Mac;

/// Reads one packet; what follows it is padding.
pub(super) fn read(bytes: &[u8]) -> Result<Arp, Discard> {
    let mut reader = Reader::new(bytes);
    // Hardware type 1 (Ethernet), or 6 as some IEEE 802 bridges say; protocol type IPv4.
    let [0, 1 | 6, 8, 0, 6, 4, o1, o0] = reader.array().ok_or(Discard::Short)? else { return Err(Discard::Arp) };
    let mut binding = || {
        let mac: [u8; 6] = reader.array()?;
        let ip: [u8; 4] = reader.array()?;
        Some((Mac(mac), IpAddr::V4(Ipv4Addr::from(ip))))
    };
    let (sender_mac, sender_ip) = binding().ok_or(Discard::Short)?;
    let (target_mac, target_ip) = binding().ok_or(Discard::Short)?;
    Ok(Arp { operation: u16::from_be_bytes([o1, o0]), sender_mac, sender_ip, target_mac, target_ip })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who_has() -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1];
        bytes.extend([0x52, 0x54, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        bytes
    }

    #[test]
    fn a_request_names_sender_and_target() {
        let arp = read(&who_has()).unwrap();
        assert_eq!((arp.operation, arp.sender_mac), (1, Mac([0x52, 0x54, 0, 0, 0, 1])));
        assert_eq!((arp.sender_ip, arp.target_ip), (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])));
    }

    #[test]
    fn arp_of_another_link_or_a_cut_one_is_refused() {
        let mut infiniband = who_has();
        infiniband[1] = 32;
        assert_eq!(read(&infiniband), Err(Discard::Arp));
        assert_eq!(read(&who_has()[..27]), Err(Discard::Short));
    }
}
