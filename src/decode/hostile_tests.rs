//! What must hold for any bytes, and for many tenants at once.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::test_frames::*;
use super::{DecodeConfig, Decoder, Locator, Payload};
use crate::model::{Carrier, LinkType, Segment};

const LINKS: [u16; 19] = [0, 1, 9, 12, 14, 50, 51, 101, 104, 105, 108, 113, 127, 228, 229, 239, 252, 276, 4000];

/// Both halves over one frame; what they yield does not matter, that they come back does.
fn run(link: u16, frame: &[u8], cut: u32) {
    let config = DecodeConfig::default();
    let mut locator = Locator::new(config.clone());
    let Ok(Some(located)) = locator.locate(LinkType(link), frame, frame.len() as u32 + cut, NOW) else { return };
    assert!(Locator::shard(&located) < super::SHARDS);
    let mut decoder = Decoder::new(&config);
    if let Ok(Some(datagram)) = decoder.datagram(located.network, located.bytes, located.cut, located.segment, NOW)
        && let Payload::Tcp(tcp) = datagram.payload
    {
        assert!(tcp.payload.len() as u32 <= tcp.payload_len);
    }
}

fn frames() -> Vec<Vec<u8>> {
    let vxlan = vxlan(5001, &vm_frame());
    let gre = joined(&[&[0xb0, 0, 0x65, 0x58, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], &vm_frame()]);
    let geneve = joined(&[&[2, 0, 0x65, 0x58, 0, 0, 7, 0], &[0; 8], &vxlan]);
    vec![
        vm_frame(),
        tagged(&[1, 2, 3], 0x0800, &vm_packet()),
        udp_frame(1, 4789, &vxlan),
        udp_frame(1, 6081, &geneve),
        udp_frame(3544, 3544, &joined(&[&[0, 1, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0], &vm_packet6()])),
        udp_frame(2152, 2152, &joined(&[&[0x34, 255, 0, 60, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 0, 0], &vm_packet()])),
        ethernet(0x0800, &ipv4(47, &gre)),
        ethernet(0x86dd, &ipv6(0, &joined(&[&[44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 1], &[9; 64]]))),
        ethernet(0x8847, &joined(&[&[0, 1, 1, 64], &vm_frame()])),
        ethernet(0x8864, &joined(&[&[0x11, 0, 0, 1, 0, 42, 0, 0x21], &vm_packet()])),
        ethernet(0x0806, &joined(&[&[0, 1, 8, 0, 6, 4, 0, 1], &[1; 20]])),
        ethernet(0x0800, &ipv4(1, &joined(&[&[3, 1, 0, 0, 0, 0, 0, 0], &vm_packet()]))),
        ethernet(0x0800, &ipv4(132, &[0; 64])),
    ]
}

#[test]
fn every_frame_may_end_anywhere() {
    for frame in frames() {
        for length in 0..frame.len() {
            run(1, &frame[..length], 0);
            run(1, &frame[..length], (frame.len() - length) as u32);
        }
    }
}

#[test]
fn every_byte_may_be_anything() {
    for frame in frames() {
        for at in 0..frame.len() {
            for value in [0, 1, 4, 0x0f, 0x45, 0x7f, 0x80, 0xff] {
                let mut bad = frame.clone();
                bad[at] = value;
                run(1, &bad, 0);
            }
        }
    }
}

#[test]
fn what_came_to_a_listener_may_end_anywhere_and_be_anything() {
    let geneve = joined(&[&[1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 1, 0, 0], &vm_frame()]);
    for (carrier, datagram) in [
        (Carrier::Vxlan, vxlan(5001, &vm_frame())),
        (Carrier::Geneve, geneve),
        (Carrier::Gre, joined(&[&[0x20, 0, 0x65, 0x58, 0, 0, 0, 9], &vm_frame()])),
        (Carrier::Tzsp, joined(&[&[1, 0, 0, 1, 10, 1, 5, 1], &vm_frame()])),
    ] {
        let received = joined(&[&carrier.tags([10, 0, 0, 1].into()), &datagram]);
        for at in 0..received.len() {
            run(252, &received[..at], 0);
            for value in [0, 1, 0x45, 0x7f, 0x80, 0xff] {
                let mut bad = received.clone();
                bad[at] = value;
                run(252, &bad, 0);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0u32..100) {
        for link in LINKS {
            run(link, &bytes, cut);
        }
    }

    #[test]
    fn arbitrary_payload_on_a_tunnel_port_never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        port in proptest::sample::select(vec![4789u16, 4790, 6081, 2152, 3544, 37008, 1701, 4754, 5247, 6080, 6635]),
    ) {
        run(1, &udp_frame(50000, port, &bytes), 0);
        run(1, &ethernet(0x0800, &ipv4(47, &bytes)), 0);
        run(1, &ethernet(0x0800, &ipv4(115, &bytes)), 0);
    }

    #[test]
    fn random_datagrams_stay_udp(bytes in proptest::collection::vec(any::<u8>(), 8..200), port in 10_000u16..30_000) {
        prop_assert_eq!(see(&udp_frame(50000, port, &bytes)), from_host());
    }

    #[test]
    fn one_flow_in_a_thousand_segments_never_merges(base in 1u32..1_000_000) {
        let mut locator = Locator::new(DecodeConfig::default());
        let mut keys: BTreeSet<(Segment, (IpAddr, IpAddr))> = BTreeSet::new();
        let mut shards = BTreeSet::new();
        for vni in base..base + 1000 {
            let frame = udp_frame(50000, 4789, &vxlan(vni, &vm_frame()));
            let located = locator.locate(LinkType::ETHERNET, &frame, frame.len() as u32, NOW).unwrap().unwrap();
            keys.insert((located.segment, located.shard_pair));
            shards.insert(Locator::shard(&located));
        }
        prop_assert_eq!(keys.len(), 1000);
        // And they spread: with 1,000 keys an empty shard has odds of one in 7,000 each.
        prop_assert!(shards.len() >= 60);
    }

    #[test]
    fn both_directions_meet_in_one_shard(a in any::<u32>(), b in any::<u32>(), vlan in 1u16..4095) {
        // Neither multicast nor broadcast, which go by the sender alone.
        let (a, b) = ((a & 0x7fff_ffff).to_be_bytes(), (b & 0x7fff_ffff).to_be_bytes());
        let shard = |src: [u8; 4], dst: [u8; 4]| {
            let mut packet = vm_packet();
            packet[12..16].copy_from_slice(&src);
            packet[16..20].copy_from_slice(&dst);
            let frame = tagged(&[vlan], 0x0800, &packet);
            let mut locator = Locator::new(DecodeConfig::default());
            let located = locator.locate(LinkType::ETHERNET, &frame, frame.len() as u32, NOW).unwrap().unwrap();
            Locator::shard(&located)
        };
        prop_assert_eq!(shard(a, b), shard(b, a));
    }
}
