//! The frame that nearly all of an overlay's frames are, opened at once: Ethernet, IPv4 without options, UDP to a port of
//! VXLAN, each whole and none a fragment. Of every other frame it says nothing; that one is peeled header by header, with
//! the same outcome, only slower.

use std::net::IpAddr;

use super::ip::protocol;
use super::tunnel::Inner;
use super::udp_tunnel;

pub(super) const ETHERNET: usize = 14;
/// Ethernet, IPv4 and UDP.
const HEADERS: usize = ETHERNET + 20 + 8;

/// Sender and receiver of the tunnel, and what it carries. What follows the length that the IP header tells is link
/// padding; UDP's own length is as little asked for as elsewhere.
#[inline(always)]
pub(super) fn open(frame: &[u8]) -> Option<(IpAddr, IpAddr, Inner<'_>)> {
    let head: &[u8; HEADERS] = frame.first_chunk()?;
    let [
        ..,
        t1,
        t0,
        version,
        _,
        l1,
        l0,
        _,
        _,
        f1,
        f0,
        _,
        number,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
        _,
        _,
        p1,
        p0,
        _,
        _,
        _,
        _,
    ] = *head;
    let whole = u16::from_be_bytes([f1, f0]) & 0x3fff == 0;
    let to_vxlan = matches!(u16::from_be_bytes([p1, p0]), 4789 | 8472);
    if number != protocol::UDP || !to_vxlan || [t1, t0, version] != [8, 0, 0x45] || !whole {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([l1, l0]));
    let inner = udp_tunnel::vxlan(frame.get(HEADERS..ETHERNET + len)?, 0)?;
    Some((IpAddr::from([s0, s1, s2, s3]), IpAddr::from([d0, d1, d2, d3]), inner))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::ip;
    use crate::decode::packet::Network;
    use crate::decode::test_frames::*;
    use crate::decode::tunnel;

    /// Header by header.
    fn peeled(frame: &[u8]) -> Option<(IpAddr, IpAddr, Inner<'_>)> {
        let [8, 0] = frame.get(12..14)? else { return None };
        let ip = ip::read(Network::Ipv4, frame.get(14..)?, 0).ok().filter(|ip| ip.fragment.is_none())?;
        (ip.protocol == protocol::UDP && ip.cut() == 0).then_some(())?;
        tunnel::open(&ip).map(|inner| (ip.src, ip.dst, inner))
    }

    fn told(found: Option<(IpAddr, IpAddr, Inner<'_>)>) -> Option<String> {
        found.map(|found| format!("{found:?}"))
    }

    fn frames() -> Vec<Vec<u8>> {
        let arp = joined(&[&[0, 1, 8, 0, 6, 4, 0, 1], &[2; 20]]);
        vec![
            udp_frame(50_000, 4789, &vxlan(5001, &vm_frame())),
            udp_frame(1701, 8472, &vxlan(7, &tagged(&[10], 0x0800, &vm_packet()))),
            udp_frame(50_000, 4789, &joined(&[&[0x88, 8, 0, 9, 0, 0, 7, 0], &ethernet(0x86dd, &vm_packet6())])),
            joined(&[&udp_frame(50_000, 4789, &vxlan(1, &ethernet(0x0806, &arp))), &[0; 12]]),
        ]
    }

    #[test]
    fn what_an_overlay_sends_is_opened_at_once() {
        for frame in frames() {
            assert!(open(&frame).is_some());
            assert_eq!(told(open(&frame)), told(peeled(&frame)));
        }
    }

    #[test]
    fn fragments_cut_frames_and_other_ports_are_not() {
        let frame = frames().swap_remove(0);
        let with = |at: usize, byte: u8| {
            let mut other = frame.clone();
            other[at] = byte;
            open(&other).is_none()
        };
        assert!(with(20, 0x20) && with(36, 0x13) && with(14, 0x46) && with(23, 6) && with(42, 0x18) && with(17, 255));
        assert!((0..frame.len()).all(|end| open(&frame[..end]).is_none()));
    }

    proptest! {
        /// It says what peeling says, or nothing.
        #[test]
        fn no_frame_is_read_otherwise(n in 0usize..4, flips in prop::collection::vec((0usize..110, any::<u8>()), 0..4)) {
            let mut frame = frames().swap_remove(n);
            for (at, byte) in flips {
                let at = at % frame.len();
                frame[at] = byte;
            }
            if let Some(found) = open(&frame) {
                prop_assert_eq!(told(Some(found)), told(peeled(&frame)));
            }
        }
    }
}
