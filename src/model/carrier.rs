//! A datagram that a listener received, as batches and capture files hold it: LINKTYPE_WIRESHARK_UPPER_PDU, that is
//! a list of tags (who sent it, which protocol it is) and then the payload of the UDP datagram. Wireshark opens a
//! recording of them as it is.
//!
//! Bound: [`TAGS_MAX`] tags are read; what has more, or names another protocol, is not one of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;

/// What a listener takes its datagrams for, under Wireshark's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Vxlan,
    Geneve,
    /// GRE in UDP (RFC 8086).
    Gre,
    Tzsp,
    /// NetFlow and IPFIX.
    Cflow,
    Sflow,
}

/// Wireshark writes at most a dozen.
const TAGS_MAX: usize = 16;
// wsutil/exported_pdu_tlvs.h
const END: u16 = 0;
const DISSECTOR_NAME: u16 = 12;
const IPV4_SRC: u16 = 20;
const IPV6_SRC: u16 = 22;

impl Carrier {
    const NAMED: [(Carrier, &'static [u8; 8]); 6] = [
        (Carrier::Vxlan, b"vxlan\0\0\0"),
        (Carrier::Geneve, b"geneve\0\0"),
        (Carrier::Gre, b"gre\0\0\0\0\0"),
        (Carrier::Tzsp, b"tzsp\0\0\0\0"),
        (Carrier::Cflow, b"cflow\0\0\0"),
        (Carrier::Sflow, b"sflow\0\0\0"),
    ];
    /// Length of the longest [`Carrier::tags`].
    pub const TAGS_BYTES_MAX: usize = 36;

    /// The tags that stand before a datagram from `sender`.
    pub fn tags(self, sender: IpAddr) -> ArrayVec<u8, { Carrier::TAGS_BYTES_MAX }> {
        let mut bytes = ArrayVec::new();
        let name = Self::NAMED.iter().find(|(carrier, _)| *carrier == self).map_or(&[0; 8], |(_, name)| *name);
        bytes.extend(DISSECTOR_NAME.to_be_bytes().into_iter().chain([0, 8]).chain(*name));
        match sender {
            IpAddr::V4(v4) => bytes.extend(IPV4_SRC.to_be_bytes().into_iter().chain([0, 4]).chain(v4.octets())),
            IpAddr::V6(v6) => bytes.extend(IPV6_SRC.to_be_bytes().into_iter().chain([0, 16]).chain(v6.octets())),
        }
        bytes.extend([0; 4]);
        bytes
    }

    /// The protocol, the sender and the datagram; `None` where the tags do not tell them.
    pub fn read(frame: &[u8]) -> Option<(Carrier, IpAddr, &[u8])> {
        let (mut carrier, mut sender, mut rest) = (None, None, frame);
        for _ in 0..TAGS_MAX {
            let (&[t1, t0, l1, l0], after) = rest.split_first_chunk()?;
            let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes([l1, l0])))?;
            rest = after;
            match u16::from_be_bytes([t1, t0]) {
                END => return Some((carrier?, sender?, rest)),
                DISSECTOR_NAME => carrier = Carrier::named(value),
                IPV4_SRC => sender = value.first_chunk::<4>().map(|a| IpAddr::V4(Ipv4Addr::from(*a))),
                IPV6_SRC => sender = value.first_chunk::<16>().map(|a| IpAddr::V6(Ipv6Addr::from(*a))),
                _ => {}
            }
        }
        None
    }

    fn named(value: &[u8]) -> Option<Carrier> {
        // Padded with NUL to a multiple of four, or not.
        let bare = |name: &[u8]| name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let named = |name: &[u8; 8]| name.get(..bare(name)) == value.get(..bare(value));
        Self::NAMED.iter().find(|(_, name)| named(name)).map(|(carrier, _)| *carrier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (carrier, _) in Carrier::NAMED {
            for sender in ["10.0.0.1", "fd00::1"] {
                let sender: IpAddr = sender.parse().unwrap();
                let mut frame = carrier.tags(sender).to_vec();
                frame.extend(b"datagram");
                assert_eq!(Carrier::read(&frame), Some((carrier, sender, &b"datagram"[..])));
                for cut in 0..frame.len() - 8 {
                    assert_eq!(Carrier::read(&frame[..cut]), None, "{cut}");
                }
            }
        }
    }

    #[test]
    fn another_protocol_or_no_sender_is_none_of_ours() {
        assert_eq!(Carrier::read(b"\0\x0c\0\x04http\0\x14\0\x04\x0a\0\0\x01\0\0\0\0GET"), None);
        assert_eq!(Carrier::read(b"\0\x0c\0\x08vxlan\0\0\0\0\0\0\0x"), None);
        assert_eq!(Carrier::read(&[0, 99, 0, 0].repeat(17)), None);
    }
}
