//! One test an encapsulation, with a near miss where one exists: the VM's packet is seen, in its segment.

use std::net::IpAddr;

use super::test_frames::*;
use super::{Datagram, DecodeConfig, Decoder, Discard, LAYERS_MAX, Locator, Network, Payload};
use crate::model::{Carrier, LinkType, Segment};

#[test]
fn plain_ethernet_has_no_segment_and_no_host() {
    assert_eq!(see(&vm_frame()), from_vm_here("-"));
}

#[test]
fn tags_of_every_kind_stack_and_priority_tags_do_not_count() {
    assert_eq!(see(&tagged(&[10], 0x0800, &vm_packet())), from_vm_here("vlan:10"));
    assert_eq!(see(&tagged(&[100, 200], 0x0800, &vm_packet())), from_vm_here("vlan:100.200"));
    assert_eq!(see(&tagged(&[0x6000], 0x0800, &vm_packet())), from_vm_here("-"));
    for outer in [0x88a8, 0x9100] {
        let frame = ethernet(outer, &joined(&[&[0, 5, 0x81, 0, 0, 6, 8, 0], &vm_packet()]));
        assert_eq!(see(&frame), from_vm_here("vlan:5.6"));
    }
}

#[test]
fn sixteen_layers_are_seen_through() {
    let ids: Vec<u16> = (1..=u16::from(LAYERS_MAX)).collect();
    let seen = see(&tagged(&ids, 0x0800, &vm_packet())).unwrap();
    assert_eq!(seen.src, std::net::IpAddr::from(VM_A));
}

#[test]
fn seventeen_layers_are_refused_and_counted() {
    let ids: Vec<u16> = (1..=u16::from(LAYERS_MAX) + 1).collect();
    let frame = tagged(&ids, 0x0800, &vm_packet());
    let mut locator = Locator::new(DecodeConfig::default());
    assert_eq!(locator.locate(LinkType::ETHERNET, &frame, frame.len() as u32, NOW).err(), Some(Discard::TooDeep));
    assert_eq!(locator.counters.discards.too_deep, 1);
}

#[test]
fn tunnels_count_as_layers_too() {
    let nest = |count| (0..count).fold(vm_packet(), |inner, _| ipv4(4, &inner));
    assert_eq!(see(&ethernet(0x0800, &nest(16))), from_vm_without_mac("-"));
    assert_eq!(see(&ethernet(0x0800, &nest(17))), Err(Discard::TooDeep));
}

#[test]
fn provider_backbone_names_its_service() {
    let frame = ethernet(0x88e7, &joined(&[&[0, 0, 0x12, 0x34], &vm_frame()]));
    assert_eq!(see(&frame), from_vm_here("pbb:4660"));
}

#[test]
fn labels_are_no_segment_and_pseudo_wires_are_opened() {
    let labels = [0, 1, 0, 64, 0, 2, 1, 64];
    assert_eq!(see(&ethernet(0x8847, &joined(&[&labels, &vm_packet()]))), from_vm_here("-"));
    assert_eq!(see(&ethernet(0x8847, &joined(&[&labels, &vm_frame()]))), from_vm_here("-"));
    assert_eq!(see(&ethernet(0x8847, &joined(&[&labels, &[0; 4], &vm_frame()]))), from_vm_here("-"));
    assert_eq!(see(&ethernet(0x8847, &joined(&[&labels, &[0xff; 40]]))), Err(Discard::NotIp));
    assert_eq!(see(&ethernet(0x8847, &[0, 1, 0, 64].repeat(30))), Err(Discard::TooDeep));
}

#[test]
fn pppoe_sessions_are_opened_and_discovery_is_not_ip() {
    let session = |protocol: [u8; 2], inner: &[u8]| {
        let length = (inner.len() as u16 + 2).to_be_bytes();
        ethernet(0x8864, &joined(&[&[0x11, 0, 0, 9], &length, &protocol, inner, &[0; 6]]))
    };
    assert_eq!(see(&session([0, 0x21], &vm_packet())), from_vm_here("pppoe:9"));
    assert_eq!(see(&session([0xc0, 0x21], &[1, 1, 0, 4])), Err(Discard::NotIp));
    assert_eq!(see(&ethernet(0x8863, &[0x11, 9, 0, 0, 0, 0])), Err(Discard::NotIp));
}

#[test]
fn small_shims_are_skipped() {
    let nsh = [0, 0x42, 1, 3, 0, 0, 1, 255];
    for (ethertype, shim, inner) in [
        (0x8926, &[0, 0, 0, 1, 8, 0][..], vm_packet()),
        (0x894f, &nsh[..], vm_frame()),
        (0x8903, &[0, 1][..], vm_frame()),
        (0x8909, &[1, 1, 0, 1, 0, 2, 8, 0][..], vm_packet()),
    ] {
        assert_eq!(see(&ethernet(ethertype, &joined(&[shim, &inner]))), from_vm_here("-"), "{ethertype:#x}");
    }
}

#[test]
fn snap_carries_an_ethertype_and_spanning_tree_is_not_ip() {
    let packet = vm_packet();
    let snap = joined(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &packet]);
    assert_eq!(see(&ethernet(snap.len() as u16, &snap)), from_vm_here("-"));
    assert_eq!(see(&ethernet(7, &[0x42, 0x42, 3, 0, 0, 0, 0])), Err(Discard::NotIp));
}

#[test]
fn ip_in_ip_is_opened_in_all_four_combinations() {
    assert_eq!(see(&ethernet(0x0800, &ipv4(4, &vm_packet()))), from_vm_without_mac("-"));
    let six_in_four = see(&ethernet(0x0800, &ipv4(41, &vm_packet6()))).unwrap();
    assert_eq!((six_in_four.src, six_in_four.src_mac), (std::net::IpAddr::from([0xfd; 16]), false));
    let four_in_six = see(&ethernet(0x86dd, &ipv6(4, &vm_packet()))).unwrap();
    assert_eq!((four_in_six.src, four_in_six.host), (VM_A.into(), Some([0x20; 16].into())));
    assert_eq!(see(&ethernet(0x86dd, &ipv6(41, &vm_packet6()))).unwrap().src, std::net::IpAddr::from([0xfd; 16]));
    assert_eq!(see(&ethernet(0x0800, &ipv4(4, &[0xff; 40]))), from_host());
}

fn gre(flags: u16, kind: u16, rest: &[&[u8]]) -> Vec<u8> {
    ethernet(0x0800, &ipv4(47, &gre_bytes(flags, kind, rest)))
}

fn gre_bytes(flags: u16, kind: u16, rest: &[&[u8]]) -> Vec<u8> {
    joined(&[&flags.to_be_bytes(), &kind.to_be_bytes(), &rest.concat()])
}

#[test]
fn gre_with_every_option_is_opened_and_its_key_is_segment() {
    assert_eq!(see(&gre(0, 0x0800, &[&vm_packet()])), from_vm_without_mac("-"));
    assert_eq!(see(&gre(0x2000, 0x0800, &[&[0, 0, 0, 0x1f], &vm_packet()])), from_vm_without_mac("gre:0x1f"));
    let all = [&[0; 4][..], &[0, 0, 0, 0x1f], &[0, 0, 0, 1], &vm_packet()];
    assert_eq!(see(&gre(0xb000, 0x0800, &all)), from_vm_without_mac("gre:0x1f"));
    let routed = [&[0; 4][..], &[8, 0, 0, 4, 1, 2, 3, 4], &[0; 4], &vm_packet()];
    assert_eq!(see(&gre(0x4000, 0x0800, &routed)), from_vm_without_mac("-"));
    assert_eq!(see(&gre(0x2000, 0x6558, &[&[0, 0x13, 0x88, 0], &vm_frame()])), from_vm("gre:0x138800"));
}

#[test]
fn gre_that_carries_nothing_known_stays_gre() {
    assert_eq!(see(&gre(0, 0x0000, &[&[0; 20]])), from_host());
    assert_eq!(see(&gre(0x0002, 0x0800, &[&vm_packet()])), from_host());
    assert_eq!(see(&gre(0x4000, 0x0800, &[&[0; 4], &[8, 0, 0, 1].repeat(3)])), from_host());
}

#[test]
fn pptp_is_opened_and_its_call_is_no_segment() {
    let call = [0, 30, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2];
    let seen = see(&gre(0x3081, 0x880b, &[&call, &[0xff, 3, 0, 0x21], &vm_packet()]));
    assert_eq!(seen, from_vm_without_mac("-"));
    assert_eq!(see(&gre(0x3081, 0x880b, &[&call, &[0xff, 3, 0, 0xfd], &vm_packet()])), from_host());
}

#[test]
fn erspan_sessions_are_path_never_segment() {
    assert_eq!(see(&gre(0, 0x88be, &[&vm_frame()])), from_vm("-"));
    let two = |trunk: u8| see(&gre(0x1000, 0x88be, &[&[0; 4], &[0x10, 20, trunk, 77, 0, 0, 0, 1], &vm_frame()]));
    assert_eq!(two(0x00), from_vm("-"));
    assert_eq!(two(0x18), from_vm("-"));
    assert_eq!(two(0x10), from_vm("vlan:20"), "the tag was moved from the frame into the header");
    let header = [0x10, 20, 0x10, 77, 0, 0, 0, 1];
    let left = |id| see(&gre(0x1000, 0x88be, &[&[0; 4], &header, &tagged(&[id], 0x0800, &vm_packet())]));
    assert_eq!(left(20), from_vm("vlan:20"), "the tag was left in the frame, too");
    assert_eq!(left(30), from_vm("vlan:20.30"), "the tag within the one that was moved");
    let three = [0x20, 20, 0, 77, 0, 0, 0, 1, 0, 0, 0, 0];
    assert_eq!(see(&gre(0x1000, 0x22eb, &[&[0; 4], &three, &vm_frame()])), from_vm("-"));
    let mut with_platform = three;
    with_platform[11] = 1;
    assert_eq!(see(&gre(0x1000, 0x22eb, &[&[0; 4], &with_platform, &[0; 8], &vm_frame()])), from_vm("-"));
    let mut catalyst = three;
    catalyst[10] = 0x1e;
    assert_eq!(see(&gre(0x1000, 0x22eb, &[&[0; 4], &catalyst, &[0; 8], &vm_frame()])), from_vm("-"));
}

#[test]
fn vxlan_is_opened_on_its_ports_and_its_vni_is_segment() {
    for port in [4789, 8472, 4790] {
        assert_eq!(see(&udp_frame(50000, port, &vxlan(5001, &vm_frame()))), from_vm("vxlan:5001"), "{port}");
    }
    let tagged = tagged(&[10], 0x0800, &vm_packet());
    assert_eq!(see(&udp_frame(50000, 4789, &vxlan(5001, &tagged))).unwrap().segment, "vxlan:5001/vlan:10");
}

#[test]
fn vxlan_on_any_port_is_opened_where_everything_fits() {
    assert_eq!(see(&udp_frame(50000, 12345, &vxlan(7, &vm_frame()))), from_vm("vxlan:7"));
    let mut padded = vm_frame();
    padded.resize(60, 0);
    assert_eq!(see(&udp_frame(50000, 12345, &vxlan(7, &padded))), from_vm("vxlan:7"));
}

#[test]
fn near_misses_of_vxlan_stay_udp() {
    let good = vxlan(7, &vm_frame());
    // Byte and value that spoil it: flags, reserved fields, source MAC, type, IP version, checksum, total length.
    for (at, value) in [(0, 0x0c), (1, 1), (3, 1), (7, 1), (14, 0x53), (20, 0x77), (22, 0x55), (32, 0x11), (25, 200)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(see(&udp_frame(50000, 12345, &bad)), from_host(), "byte {at}");
    }
    assert_eq!(see(&udp_frame(50000, 12345, &good[..30])), from_host());
    assert_eq!(see(&udp_frame(50000, 4789, &[8, 0, 0, 0, 0, 0, 7, 0])), from_host());
    assert_eq!(see(&udp_frame(50000, 4789, b"not a tunnel at all, only text on its port")), from_host());
    // A DNS query whose id is 0x0800.
    assert_eq!(see(&udp_frame(50000, 53, b"\x08\0\0\0\0\x01\0\0\0\0\0\0\x03www\x04test\0\0\x01\0\x01")), from_host());
}

#[test]
fn vxlan_gpe_names_what_it_carries() {
    let gpe = |next, inner: &[u8]| udp_frame(50000, 4790, &joined(&[&[0x0c, 0, 0, next, 0, 0, 9, 0], inner]));
    assert_eq!(see(&gpe(1, &vm_packet())), from_vm_without_mac("vxlan:9"));
    assert_eq!(see(&gpe(3, &vm_frame())), from_vm("vxlan:9"));
    assert_eq!(see(&gpe(4, &joined(&[&[0, 0x42, 1, 3, 0, 0, 1, 255], &vm_frame()]))), from_vm("vxlan:9"));
    assert_eq!(see(&gpe(9, &vm_packet())), from_host());
}

#[test]
fn geneve_is_opened_whatever_its_options() {
    let geneve = |words: u8, options: &[u8], kind: u16, inner: &[u8]| {
        let head = joined(&[&[words, 0x40], &kind.to_be_bytes(), &[0, 0, 7, 0]]);
        udp_frame(50000, 6081, &joined(&[&head, options, inner]))
    };
    assert_eq!(see(&geneve(0, &[], 0x6558, &vm_frame())), from_vm("geneve:7"));
    assert_eq!(see(&geneve(3, &[0xee; 12], 0x0800, &vm_packet())), from_vm_without_mac("geneve:7"));
    assert_eq!(see(&geneve(63, &[0xee; 12], 0x0800, &vm_packet())), from_host());
}

#[test]
fn geneve_around_vxlan_has_both_layers() {
    let vxlan = udp_frame(50000, 4789, &vxlan(5, &vm_frame())).split_off(14);
    let gateway = joined(&[&[0, 0, 8, 0, 0, 0, 1, 0], &vxlan]);
    assert_eq!(see(&udp_frame(50000, 6081, &gateway)), from_vm("geneve:1/vxlan:5"));
}

#[test]
fn gtp_is_opened_and_its_one_way_tunnel_id_is_no_segment() {
    let gtp = |flags: u8, options: &[u8]| {
        let inner = joined(&[options, &vm_packet()]);
        let length = (inner.len() as u16).to_be_bytes();
        udp_frame(2152, 2152, &joined(&[&[flags, 255], &length, &[0, 0, 0, 9], &inner]))
    };
    assert_eq!(see(&gtp(0x30, &[])), from_vm_without_mac("-"));
    assert_eq!(see(&gtp(0x32, &[0, 1, 0, 0])), from_vm_without_mac("-"));
    assert_eq!(see(&gtp(0x34, &[0, 0, 0, 0x85, 1, 0x10, 9, 0])), from_vm_without_mac("-"));
    assert_eq!(see(&gtp(0x34, &[0, 0, 0, 0x85, 0, 0, 0, 0])), from_host());
}

#[test]
fn teredo_is_opened_on_its_port_and_by_its_addresses() {
    let mut teredo = vm_packet6();
    assert_eq!(see(&udp_frame(3544, 50000, &teredo)).unwrap().src, std::net::IpAddr::from([0xfd; 16]));
    let origin = joined(&[&[0, 0, 1, 2, 3, 4, 5, 6], &teredo]);
    assert_eq!(see(&udp_frame(3544, 50000, &origin)).unwrap().src, std::net::IpAddr::from([0xfd; 16]));
    assert_eq!(see(&udp_frame(40000, 50000, &teredo)), from_host());
    teredo[8..12].copy_from_slice(&[0x20, 1, 0, 0]);
    assert_ne!(see(&udp_frame(40000, 50000, &teredo)), from_host());
    teredo.push(0);
    assert_eq!(see(&udp_frame(40000, 50000, &teredo)), from_host());
}

#[test]
fn the_rest_of_the_udp_tunnels_are_opened() {
    let gre_head = [0x20, 0, 8, 0, 0, 0, 0, 3];
    for (port, head, inner, expected) in [
        (37008, &[1, 0, 0, 1, 10, 1, 0xc5, 0, 1][..], vm_frame(), from_vm("-")),
        (6635, &[0, 1, 1, 64][..], vm_packet(), from_vm_without_mac("-")),
        (4754, &gre_head[..], vm_packet(), from_vm_without_mac("gre:0x3")),
        (6080, &[0, 4, 0, 0][..], vm_packet(), from_vm_without_mac("-")),
        (1701, &[0, 2, 0, 1, 0, 2, 0xff, 3, 0, 0x21][..], vm_packet(), from_vm_without_mac("-")),
        (1701, &[0, 3, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4][..], vm_frame(), from_vm("-")),
        (5247, &[0, 0x10, 2, 0, 0, 0, 0, 0][..], vm_frame(), from_vm("-")),
    ] {
        assert_eq!(see(&udp_frame(50000, port, &joined(&[head, &inner]))), expected, "{port}");
        assert_eq!(see(&udp_frame(50000, port, &[0xa5; 80])), from_host(), "random bytes on {port}");
    }
}

#[test]
fn monitored_wireless_data_is_opened() {
    let head = [8, 1, 0, 0, 2, 0, 0, 0, 0, 9, 0x52, 0x54, 0, 0, 0, 0xa, 0x52, 0x54, 0, 0, 0, 0xb, 0, 0];
    let frame = joined(&[&head, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &vm_packet()]);
    assert_eq!(see_link(105, &frame), from_vm_here("-"));
    assert_eq!(see_link(127, &joined(&[&[0, 0, 8, 0, 0, 0, 0, 0], &frame])), from_vm_here("-"));
    let mut swapped = frame.clone();
    swapped.swap(0, 1);
    swapped[22..24].copy_from_slice(&[1, 0]);
    let capwap = joined(&[&[0, 0x10, 3, 0, 0, 0, 0, 0], &swapped]);
    assert_eq!(see(&udp_frame(5247, 5247, &capwap)), from_vm("-"));
    let mut encrypted = frame;
    encrypted[1] |= 0x40;
    assert_eq!(see_link(105, &encrypted), Err(Discard::NotIp));
}

#[test]
fn every_link_type_reaches_ip() {
    let cooked = [0, 0, 0, 1, 0, 6, 0x52, 0x54, 0, 0, 0, 0xa, 0, 0, 8, 0];
    let cooked2 = [8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0x52, 0x54, 0, 0, 0, 0xa, 0, 0];
    assert_eq!(see_link(113, &joined(&[&cooked, &vm_packet()])), from_vm_here("-"));
    assert_eq!(see_link(276, &joined(&[&cooked2, &vm_packet()])), from_vm_here("-"));
    let bare = from_vm_here("-").map(|seen| Seen { src_mac: false, ..seen });
    let packet = vm_packet();
    let nflog = joined(&[&[2, 0, 0, 0, 5, 0, 1, 0, 9, 0, 0, 0], &(packet.len() as u16 + 4).to_le_bytes(), &[9, 0]]);
    for (link, head) in [
        (101, &[][..]),
        (12, &[]),
        (14, &[]),
        (228, &[]),
        (0, &[2, 0, 0, 0]),
        (0, &[0, 0, 0, 2]),
        (108, &[0, 0, 0, 2]),
        (9, &[0xff, 3, 0, 0x21]),
        (9, &[0x21]),
        (50, &[0xff, 3, 0, 0x21]),
        (50, &[0x0f, 0, 8, 0]),
        (239, &nflog[..]),
    ] {
        assert_eq!(see_link(link, &joined(&[head, &packet])), bare, "link type {link}");
    }
    let session = see_link(51, &joined(&[&[0x11, 0, 0, 3, 0, 42, 0, 0x21], &packet]));
    assert_eq!(session.map(|seen| seen.segment), Ok("pppoe:3".to_owned()));
    for family in [10, 24, 28, 30] {
        let seen = see_link(0, &joined(&[&[family, 0, 0, 0], &vm_packet6()]));
        assert_eq!(seen.map(|seen| seen.src), Ok([0xfd; 16].into()), "family {family}");
    }
    assert_eq!(see_link(229, &packet), Err(Discard::IpVersion));
    assert_eq!(see_link(253, &packet), Err(Discard::LinkType));
}

#[test]
fn access_points_mirror_wireless_frames_by_tzsp() {
    let head = [8, 1, 0, 0, 2, 0, 0, 0, 0, 9, 0x52, 0x54, 0, 0, 0, 0xa, 0x52, 0x54, 0, 0, 0, 0xb, 0, 0];
    let frame = joined(&[&head, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &vm_packet()]);
    assert_eq!(see(&udp_frame(50000, 37008, &joined(&[&[1, 0, 0, 18, 0, 1], &frame]))), from_vm("-"));
    assert_eq!(see(&udp_frame(50000, 37008, &joined(&[&[1, 0, 0, 119, 0, 1], &frame]))), from_host());
}

#[test]
fn group_policy_of_vxlan_changes_no_segment() {
    let policy = joined(&[&[0x88, 0, 0x12, 0x34, 0, 0, 7, 0], &vm_frame()]);
    assert_eq!(see(&udp_frame(50000, 4789, &policy)), from_vm("vxlan:7"));
}

#[test]
fn a_tunnel_that_ends_at_a_listener_is_path_and_what_is_inside_is_not() {
    let host = IpAddr::from(HOST_A);
    let frame = tagged(&[10], 0x0800, &vm_packet());
    let erspan = gre_bytes(0x1000, 0x88be, &[&[0, 0, 0, 1, 0x10, 20, 0x10, 0, 0, 0, 0, 0], &vm_frame()]);
    for (carrier, datagram, segment) in [
        (Carrier::Vxlan, vxlan(5001, &frame), "vlan:10"),
        (Carrier::Vxlan, vxlan(5001, &udp_frame(1, 4789, &vxlan(9, &frame))), "vxlan:9/vlan:10"),
        (Carrier::Geneve, joined(&[&[1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 1, 0, 0], &frame]), "vlan:10"),
        (Carrier::Gre, gre_bytes(0x2000, 0x6558, &[&[0, 0, 0, 3], &frame]), "vlan:10"),
        // The tag that ERSPAN moved into its header is the VM's.
        (Carrier::Gre, erspan, "vlan:20"),
        (Carrier::Tzsp, joined(&[&[1, 0, 0, 1, 1], &frame]), "vlan:10"),
    ] {
        let received = joined(&[&carrier.tags(host), &datagram]);
        assert_eq!(see_link(252, &received), from_vm(segment), "{carrier:?}");
        for other in [b"nonsense".to_vec(), Vec::new()] {
            assert_eq!(see_link(252, &joined(&[&carrier.tags(host), &other])), Err(Discard::NoTunnel), "{carrier:?}");
        }
    }
    assert_eq!(see_link(252, b"no tags"), Err(Discard::LinkType));
}

#[test]
fn lldp_and_cdp_are_read_as_introductions_and_are_in_the_segment_of_their_tag() {
    let lldp = super::lldp::tests::host();
    let cdp = joined(&[&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0], &super::cdp::tests::switch()]);
    let (plain, in_vlan) = (ethernet(0x88cc, &lldp), tagged(&[7], 0x88cc, &lldp));
    let framed = ethernet(cdp.len() as u16, &joined(&[&cdp, &[0; 9]]));
    for (frame, segment, system) in
        [(plain, "-", "esx-07.example"), (in_vlan, "vlan:7", "esx-07.example"), (framed, "-", "sw1.example")]
    {
        let config = DecodeConfig::default();
        let mut locator = Locator::new(config.clone());
        let located = locator.locate(LinkType::ETHERNET, &frame, frame.len() as u32, NOW).unwrap().unwrap();
        assert_eq!((located.segment.to_string().as_str(), located.src_mac.is_some()), (segment, true));
        let mut decoder = Decoder::new(&config);
        let read = decoder.datagram(located.network, located.bytes, located.cut, located.segment, NOW);
        let Ok(Some(Datagram { payload: Payload::Advert(advert), .. })) = read else { panic!("{read:?}") };
        assert_eq!(advert.system, system.as_bytes());
    }
    // Another protocol of the same maker, and the same number under another's name.
    for other in [[0, 0, 0x0c, 0x20, 0x03], [0, 0, 0x0d, 0x20, 0]] {
        assert_eq!(see(&ethernet(60, &joined(&[&[0xaa, 0xaa, 3], &other, &[2; 52]]))), Err(Discard::NotIp));
    }
}

#[test]
fn a_malformed_introduction_has_discard_reasons_of_its_own() {
    for (network, bytes, reason, name) in [
        (Network::Lldp, &[0x04, 2, 7, 1][..], Discard::Lldp, "decode.discard.lldp"),
        (Network::Cdp, &[9, 1, 0, 0], Discard::Cdp, "decode.discard.cdp"),
    ] {
        let mut decoder = Decoder::new(&DecodeConfig::default());
        assert_eq!(decoder.datagram(network, bytes, 0, Segment::UNTAGGED, NOW).err(), Some(reason));
        let mut report = Vec::new();
        decoder.counters.report(&mut report);
        assert_eq!(report, [(name, 1)]);
    }
}
