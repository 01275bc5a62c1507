//! ARP and RARP packets (RFC 826, RFC 903) for Ethernet and IPv4.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{ArpPacketSlice, EtherType};

use super::discard::Discard;
use super::packet::Arp;
use crate::model::Mac;

/// Reads one packet; what follows it is padding.
pub(super) fn read(bytes: &[u8]) -> Result<Arp, Discard> {
    let packet = ArpPacketSlice::from_slice(bytes).map_err(|_| Discard::Short)?;
    // Hardware type 1 (Ethernet), or 6 as some IEEE 802 bridges say.
    if !matches!(packet.hw_addr_type().0, 1 | 6) || packet.proto_addr_type() != EtherType::IPV4 {
        return Err(Discard::Arp);
    }
    let binding = |mac: &[u8], ip: &[u8]| {
        let (mac, ip): ([u8; 6], [u8; 4]) = (mac.try_into().ok()?, ip.try_into().ok()?);
        Some((Mac(mac), IpAddr::V4(Ipv4Addr::from(ip))))
    };
    let sender = binding(packet.sender_hw_addr(), packet.sender_protocol_addr()).ok_or(Discard::Arp)?;
    let target = binding(packet.target_hw_addr(), packet.target_protocol_addr()).ok_or(Discard::Arp)?;
    Ok(Arp {
        operation: packet.operation().0,
        sender_mac: sender.0,
        sender_ip: sender.1,
        target_mac: target.0,
        target_ip: target.1,
    })
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
