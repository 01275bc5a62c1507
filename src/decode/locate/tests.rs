//! What the first half of decoding yields, frame by frame.

use super::*;
use crate::decode::test_frames::*;

fn pair(frame: &[u8]) -> (IpAddr, IpAddr) {
    let mut locator = Locator::new(DecodeConfig::default());
    locator.locate(LinkType::ETHERNET, frame, frame.len() as u32, NOW).unwrap().unwrap().shard_pair
}

#[test]
fn a_unicast_packet_goes_by_both_addresses() {
    assert_eq!(pair(&vm_frame()), (VM_A.into(), VM_B.into()));
}

#[test]
fn arp_goes_by_its_sender() {
    let arp = joined(&[&[0, 1, 8, 0, 6, 4, 0, 1], &[2, 0, 0, 0, 0, 1], &VM_A, &[0; 6], &VM_B, &[0; 18]]);
    assert_eq!(pair(&ethernet(0x0806, &arp)), (VM_A.into(), VM_A.into()));
    assert_eq!(see(&ethernet(0x0806, &arp[..20])), Err(Discard::Short));
}

#[test]
fn multicast_and_broadcast_go_by_their_sender() {
    for dst in [[224, 0, 0, 251], [255, 255, 255, 255]] {
        let mut frame = udp_frame(5353, 5353, b"query");
        frame[30..34].copy_from_slice(&dst);
        assert_eq!(pair(&frame), (HOST_A.into(), HOST_A.into()), "{dst:?}");
    }
    let mut subnet = udp_frame(138, 138, b"browse");
    subnet[..6].fill(0xff);
    assert_eq!(pair(&subnet), (HOST_A.into(), HOST_A.into()));
}

#[test]
fn tcp_to_a_group_mac_goes_by_both_addresses() {
    // Load balancers answer for one address with a group MAC: its flow must not be torn apart.
    let mut frame = vm_frame();
    frame[..6].copy_from_slice(&[0x03, 0xbf, 10, 0, 0, 2]);
    assert_eq!(pair(&frame), (VM_A.into(), VM_B.into()));
}

#[test]
fn an_icmp_error_goes_where_the_flow_it_quotes_lives() {
    let error = joined(&[&[3, 3, 0, 0, 0, 0, 0, 0], &vm_packet()]);
    assert_eq!(pair(&ethernet(0x0800, &ipv4(1, &error))), (VM_A.into(), VM_B.into()));
    let echo = joined(&[&[8, 0, 0, 0, 0, 0, 0, 0], &vm_packet()]);
    assert_eq!(pair(&ethernet(0x0800, &ipv4(1, &echo))), (HOST_A.into(), HOST_B.into()));
}

#[test]
fn neighbour_discovery_goes_by_its_sender() {
    let advertisement = joined(&[&[136, 0, 0, 0, 0x60, 0, 0, 0], &[0x20; 16]]);
    let sender = IpAddr::from([0x20; 16]);
    assert_eq!(pair(&ethernet(0x86dd, &ipv6(58, &advertisement))), (sender, sender));
}

/// Feeds frames to one locator; what the last one yields.
fn last(frames: &[Vec<u8>]) -> Option<Seen> {
    let mut locator = Locator::new(DecodeConfig::default());
    let mut seen = None;
    for frame in frames {
        assert!(seen.is_none(), "yielded before the last frame");
        seen =
            locator.locate(LinkType::ETHERNET, frame, frame.len() as u32, NOW).unwrap().map(|located| located.into());
    }
    seen
}

fn halves(protocol: u8, id: u16, payload: &[u8]) -> [Vec<u8>; 2] {
    let (head, tail) = payload.split_at(48);
    [fragment(protocol, id, 0, true, head), fragment(protocol, id, 48, false, tail)]
}

#[test]
fn a_fragmented_tunnel_is_seen_through_in_either_order() {
    let tunnel = udp(50000, 4789, &vxlan(5001, &vm_frame()));
    let frames = halves(17, 1, &tunnel).map(|packet| ethernet(0x0800, &packet));
    assert_eq!(last(&frames), from_vm("vxlan:5001").ok());
    let [first, second] = frames;
    assert_eq!(last(&[second, first]), from_vm("vxlan:5001").ok());
}

#[test]
fn fragmented_udp_that_is_no_tunnel_comes_out_whole() {
    let datagram = udp(50000, 2049, &[7; 100]);
    let frames = halves(17, 1, &datagram).map(|packet| ethernet(0x0800, &packet));
    assert_eq!(last(&frames), from_host().ok());
}

#[test]
fn a_fragmented_tunnel_within_a_fragmented_tunnel_is_seen_through() {
    let inner = udp(50000, 4789, &vxlan(2, &vm_frame()));
    let mut frames = Vec::new();
    for (id, half) in halves(17, 9, &inner).iter().enumerate() {
        let outer = udp(50000, 4789, &vxlan(1, &ethernet(0x0800, half)));
        frames.extend(halves(17, id as u16, &outer).map(|packet| ethernet(0x0800, &packet)));
    }
    assert_eq!(last(&frames), from_vm("vxlan:1/vxlan:2").ok());
}

#[test]
fn fragments_of_tcp_are_left_to_the_worker() {
    let [first, second] = halves(6, 1, &[0; 64]).map(|packet| ethernet(0x0800, &packet));
    assert_eq!(see(&first), from_host());
    assert_eq!(see(&second), from_host());
    assert_eq!(pair(&second), (HOST_A.into(), HOST_B.into()));
}

#[test]
fn outer_fragments_expire_by_packet_time() {
    let mut locator = Locator::new(DecodeConfig::default());
    let [first, _] = halves(17, 1, &[0; 100]).map(|packet| ethernet(0x0800, &packet));
    let length = first.len() as u32;
    for (second, expired) in [(0, 0), (29, 0), (30, 1)] {
        assert!(locator.locate(LinkType::ETHERNET, &first, length, NOW.plus_s(second)).unwrap().is_none());
        assert_eq!(locator.counters.work.expired, expired, "after {second} s");
    }
}

#[test]
fn what_a_mirror_cut_is_known_to_be_missing() {
    let mut cut_inner = vm_frame();
    cut_inner[17] = 200; // Total length.
    let frame = udp_frame(50000, 4789, &vxlan(1, &cut_inner));
    let mut locator = Locator::new(DecodeConfig::default());
    let located = locator.locate(LinkType::ETHERNET, &frame, frame.len() as u32 + 10, NOW).unwrap().unwrap();
    // The outer length is complete, so the ten bytes more were padding.
    assert_eq!((located.cut, located.bytes.len()), (0, 40));
}

#[test]
fn around_an_l2tp_packet_is_the_datagram_of_its_ends_and_around_another_tunnels_nothing() {
    let l2tp = udp_frame(1701, 1701, &joined(&[&[0, 3, 0, 0, 0, 0, 0, 5], &vm_frame()]));
    let vxlan = udp_frame(50000, 4789, &vxlan(1, &vm_frame()));
    let around = |frame: &[u8]| -> (Option<Seen>, Option<Seen>) {
        let mut locator = Locator::new(DecodeConfig::default());
        let length = frame.len() as u32;
        let inside = locator.locate(LinkType::ETHERNET, frame, length, NOW).unwrap().map(Seen::from);
        (inside, locator.around(LinkType::ETHERNET, frame, length, NOW).map(Seen::from))
    };
    assert_eq!(around(&l2tp), (from_vm("-").ok(), from_host().ok()));
    assert_eq!(around(&vxlan), (from_vm("vxlan:1").ok(), None));
    // Source ports of an overlay are hashes.
    let hashed = udp(1701, 4789, &crate::decode::test_frames::vxlan(1, &vm_frame()));
    let behind_tag = tagged(&[9], 0x0800, &ipv4(17, &hashed));
    assert_eq!(around(&behind_tag), (from_vm("vlan:9/vxlan:1").ok(), None));
    assert_eq!(around(&udp_frame(1701, 1701, b"no tunnel")), (from_host().ok(), None));
    // As a mirror sends it: the ends live in the mirror's tenant.
    let mirrored = udp_frame(50000, 4789, &crate::decode::test_frames::vxlan(7, &l2tp));
    let (_, outside) = around(&mirrored);
    assert!(outside.is_some_and(|seen| seen.segment == "vxlan:7"));
}

#[test]
fn a_fragmented_tunnel_has_nothing_around_it() {
    let tunnel = udp(1701, 1701, &joined(&[&[0, 3, 0, 0, 0, 0, 0, 5], &vm_frame()]));
    let mut locator = Locator::new(DecodeConfig::default());
    for half in halves(17, 1, &tunnel).map(|packet| ethernet(0x0800, &packet)) {
        let length = half.len() as u32;
        locator.locate(LinkType::ETHERNET, &half, length, NOW).unwrap();
        assert!(locator.around(LinkType::ETHERNET, &half, length, NOW).is_none());
    }
}

#[test]
fn shards_are_fixed_for_ever() {
    let frame = tagged(&[10], 0x0800, &vm_packet());
    let mut locator = Locator::new(DecodeConfig::default());
    let located = locator.locate(LinkType::ETHERNET, &frame, frame.len() as u32, NOW).unwrap().unwrap();
    assert_eq!(Locator::shard(&located), 11);
}
