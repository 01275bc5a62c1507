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
        ethernet(0x894f, &joined(&[&[0, 0x43, 2, 3, 0, 0, 1, 255, 1, 2, 3, 4], &vm_frame()])),
        ethernet(
            0x0800,
            &ipv4(47, &joined(&[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 9, 0x10, 1, 0, 0, 0, 9], &vm_frame()])),
        ),
        ethernet(
            0x0800,
            &ipv4(
                47,
                &joined(&[
                    &[
                        0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0x14, 0, 0, 3, 0, 0, 0,
                        0,
                    ],
                    &vm_frame(),
                ]),
            ),
        ),
        udp_frame(1, 37008, &joined(&[&[1, 0, 0, 1, 60, 2, 0, 0, 1], &vm_frame()])),
        ethernet(0x8864, &joined(&[&[0x11, 0, 0, 1, 0, 42, 0, 0x21], &vm_packet()])),
        ethernet(0x0806, &joined(&[&[0, 1, 8, 0, 6, 4, 0, 1], &[1; 20]])),
        ethernet(0x0800, &ipv4(1, &joined(&[&[3, 1, 0, 0, 0, 0, 0, 0], &vm_packet()]))),
        ethernet(0x0800, &ipv4(132, &[0; 64])),
        ethernet(0x88cc, &super::lldp::tests::host()),
        ethernet(0x88cc, &joined(&[&[0x02, 1, 7, 4, 1, 7, 6, 2, 0, 9], &[0xff; 400]])),
        ethernet(70, &joined(&[&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0], &super::cdp::tests::switch()])),
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

/// `frame` in a segment that no other `n` has, by one kind of layer after the other.
fn in_segment(n: u32, frame: &[u8]) -> Vec<u8> {
    let id = n.to_be_bytes();
    let [_, _, i1, i0] = id;
    let own = &frame[12..];
    match n % 8 {
        0 => udp_frame(50000, 4789, &vxlan(n, frame)),
        1 => udp_frame(50000, 6081, &joined(&[&[0, 0, 0x65, 0x58], &(n << 8).to_be_bytes(), frame])),
        2 => ethernet(0x0800, &ipv4(47, &joined(&[&[0x20, 0, 0x65, 0x58], &id, frame]))),
        3 => ethernet(0x88e7, &joined(&[&id, frame])),
        4 => joined(&[&frame[..12], &[0x81, 0, i1 & 0x0f, i0, 0x88, 0xa8, 8, i1 >> 4], own]),
        5 => joined(&[&frame[..12], &[0x81, 0, 0, 1, 0x88, 0xa8, 8, i1 >> 4, 0x81, 0, i1 & 0x0f, i0], own]),
        6 => {
            let tenant = udp_frame(50000, 4789, &vxlan(n, frame));
            udp_frame(50000, 6081, &joined(&[&[0, 0, 0x65, 0x58, 0, 0, 7, 0], &tenant]))
        }
        _ => udp_frame(50000, 4790, &joined(&[&[0x0c, 0, 0, 3], &(n << 8).to_be_bytes(), frame])),
    }
}

#[test]
fn a_hundred_thousand_random_datagrams_are_no_tunnel() {
    let mut locator = Locator::new(DecodeConfig::default());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for n in 0..100_000 {
        let mut bytes: Vec<u8> = (0..8 + next() % 24).flat_map(|_| next().to_be_bytes()).collect();
        // Half of them begin as VXLAN does, some as Teredo, and go on at random, some with the type of IPv4.
        match n % 8 {
            0..4 => bytes[..8].copy_from_slice(&[8, 0, 0, 0, 0, 0, 7, 0]),
            4 => bytes[0] = 0x60,
            _ => {}
        }
        if n % 2 == 0 {
            bytes[20..23].copy_from_slice(&[8, 0, 0x45]);
        }
        let (src, dst) = (10_000 + (next() % 50_000) as u16, 10_000 + (next() % 20_000) as u16);
        let frame = udp_frame(src, dst, &bytes);
        let located = locator.locate(LinkType::ETHERNET, &frame, frame.len() as u32, NOW).unwrap().unwrap();
        assert_eq!((located.src, located.host_hint), (IpAddr::from(HOST_A), None), "{bytes:x?}");
    }
    assert_eq!(locator.counters.work.tunnels, 0);
}

#[test]
fn a_loop_of_tunnels_ends_at_sixteen() {
    // The mirror's own copies mirrored again and again.
    let mut frame = vm_frame();
    let mut seen = Vec::new();
    for _ in 0..20 {
        frame = udp_frame(50000, 4789, &vxlan(9, &frame));
        seen.push(see(&frame).is_ok());
    }
    assert_eq!(seen, [vec![true; 16], vec![false; 4]].concat());
}

#[test]
fn absurd_option_lengths_carry_nothing() {
    let stays = |frame: &[u8]| assert_eq!(see(frame), from_host(), "{frame:x?}");
    let frame = vm_frame();
    // Options longer than the datagram; extension headers that never end, or of no length; tags without an end.
    stays(&udp_frame(50000, 6081, &joined(&[&[63, 0, 0x65, 0x58, 0, 0, 7, 0], &frame])));
    stays(&udp_frame(2152, 2152, &joined(&[&[0x34, 255, 0, 100, 0, 0, 0, 9, 0, 0, 0, 1], &[1, 0, 0, 1].repeat(24)])));
    stays(&udp_frame(2152, 2152, &joined(&[&[0x34, 255, 0, 8, 0, 0, 0, 9, 0, 0, 0, 1], &[0, 0, 0, 1]])));
    stays(&udp_frame(50000, 37008, &joined(&[&[1, 0, 0, 1], &[0; 200]])));
    stays(&udp_frame(50000, 37008, &joined(&[&[1, 0, 0, 1], &[60, 255], &frame])));
    stays(&ethernet(0x0800, &ipv4(47, &joined(&[&[0x40, 0, 8, 0, 0, 0, 0, 0], &[8, 0, 0, 1, 0].repeat(40)]))));
    // And on the link, where nothing is left without them.
    assert!(see(&ethernet(0x894f, &joined(&[&[0, 63, 1, 3, 0, 0, 1, 255], &frame]))).is_err());
    assert!(see(&ethernet(0x8909, &joined(&[&[1, 255, 0, 1], &frame]))).is_err());
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
    fn one_flow_in_a_thousand_segments_never_merges(base in 1u32..60_000, deep in 0usize..6) {
        let mut locator = Locator::new(DecodeConfig::default());
        let mut keys: BTreeSet<(Segment, (IpAddr, IpAddr))> = BTreeSet::new();
        let mut shards = BTreeSet::new();
        for n in base..base + 1000 {
            // A tenant's own tags, some deeper than a segment keeps apart.
            let own: Vec<u16> = (0..deep as u16).map(|tag| 100 + tag).collect();
            let frame = in_segment(n, &tagged(&own, 0x0800, &vm_packet()));
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
