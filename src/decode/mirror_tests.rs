//! The mirror's transport and the VMs' segment are told apart: by kind, by `[[mirror]]`, and by nothing else.

use std::net::IpAddr;

use super::test_frames::*;
use super::{DecodeConfig, Locator, MirrorConfig};
use crate::model::{Direction, LinkType, MirrorPath, PathKind};

fn table(text: &str) -> MirrorConfig {
    toml::from_str(text).unwrap()
}

fn locator(tables: &[&str]) -> Locator {
    let mirrors = tables.iter().map(|text| table(text)).collect();
    Locator::new(DecodeConfig { mirrors, ..DecodeConfig::default() })
}

fn place(locator: &mut Locator, frame: &[u8]) -> (String, MirrorPath) {
    let located = locator.locate(LinkType::ETHERNET, frame, frame.len() as u32, NOW).unwrap().unwrap();
    (located.segment.to_string(), located.path)
}

fn segment(tables: &[&str], frame: &[u8]) -> String {
    place(&mut locator(tables), frame).0
}

fn keyed(key: u32, inner: &[u8]) -> Vec<u8> {
    ethernet(0x0800, &ipv4(47, &joined(&[&[0x20, 0, 0x65, 0x58], &key.to_be_bytes(), inner])))
}

fn erspan(kind: u16, header: &[u8]) -> Vec<u8> {
    ethernet(0x0800, &ipv4(47, &joined(&[&[0x10, 0], &kind.to_be_bytes(), &[0; 4], header, &vm_frame()])))
}

#[test]
fn erspan_tells_its_session_its_port_and_its_direction() {
    let (segment, path) = place(&mut locator(&[]), &erspan(0x88be, &[0x10, 20, 0, 77, 0, 0x01, 0, 12]));
    assert_eq!((segment.as_str(), path.to_string().as_str()), ("-", "erspan:77 port 65548"));
    let three = |last: [u8; 2], platform: &[u8]| {
        let header = joined(&[&[0x20, 20, 2, 77, 0, 0, 0, 1, 0, 0], &last, platform]);
        place(&mut locator(&[]), &erspan(0x22eb, &header)).1
    };
    let plain = three([0x00, 0x58], &[]);
    assert_eq!((plain.id, plain.hardware(), plain.direction(), plain.port), (589, 5, Direction::Egress, 0));
    let port = |platform: [u8; 8]| three([0x00, 0x51], &platform).port;
    assert_eq!(port([0x04, 0, 0, 9, 0, 0, 0, 33]), 33);
    assert_eq!(port([0x0c, 0, 0, 9, 0, 0, 0, 33]), 9);
    assert_eq!(port([0x14, 0, 0, 9, 0, 0, 0, 33]), 9);
    assert_eq!(port([0xfc, 0, 0, 9, 0, 0, 0, 33]), 0, "a platform that nobody described");
}

#[test]
fn what_lies_around_a_mirrors_transport_is_no_segment() {
    let outer = erspan(0x88be, &[0x10, 20, 0, 77, 0, 0, 0, 0]);
    assert_eq!(segment(&[], &tagged(&[50], 0x0800, &outer[14..])), "-");
    let outer = udp_frame(50000, 4789, &vxlan(5001, &vm_frame()));
    assert_eq!(segment(&[], &tagged(&[50], 0x0800, &outer[14..])), "vlan:50/vxlan:5001");
    assert_eq!(segment(&["vni = 'path'"], &tagged(&[50], 0x0800, &outer[14..])), "-");
}

#[test]
fn identifiers_are_what_the_first_table_says_of_them() {
    let vxlan = |vni| udp_frame(50000, 4789, &vxlan(vni, &tagged(&[7], 0x0800, &vm_packet())));
    assert_eq!(segment(&["vni = 'path'"], &vxlan(9)), "vlan:7");
    assert_eq!(segment(&["vni = [9]"], &vxlan(9)), "vlan:7");
    assert_eq!(segment(&["vni = [9]"], &vxlan(8)), "vxlan:8/vlan:7");
    assert_eq!(segment(&["gre_key = 'path'"], &vxlan(9)), "vxlan:9/vlan:7");
    assert_eq!(segment(&["vni = 'segment'", "vni = 'path'"], &vxlan(9)), "vxlan:9/vlan:7");
    assert_eq!(segment(&["vni = [8]", "vni = 'path'"], &vxlan(9)), "vlan:7");
    assert_eq!(segment(&["gre_key = [3]"], &keyed(3, &vm_frame())), "-");
    assert_eq!(segment(&["gre_key = [3]"], &keyed(4, &vm_frame())), "gre:0x4");
    assert_eq!(place(&mut locator(&["vni = 'path'"]), &vxlan(9)).1, MirrorPath::new(PathKind::Vxlan, 9));
}

#[test]
fn a_table_may_ask_for_the_tunnels_ends() {
    let frame = udp_frame(50000, 4789, &vxlan(9, &vm_frame()));
    for (ends, expected) in [
        ("outer_dst = '192.0.2.2'", "-"),
        ("outer_dst = ['10.0.0.0/8', '192.0.2.0/24']", "-"),
        ("outer_src = '192.0.2.1'\nouter_dst = '192.0.2.2'", "-"),
        ("outer_src = '192.0.2.2'", "vxlan:9"),
        ("outer_src = '192.0.2.1'\nouter_dst = '192.0.2.1'", "vxlan:9"),
    ] {
        assert_eq!(segment(&[&format!("vni = 'path'\n{ends}")], &frame), expected, "{ends}");
    }
}

#[test]
fn a_tenant_within_a_mirrors_tunnel_stays_a_tenant() {
    let tenant = udp_frame(50000, 4789, &vxlan(5001, &vm_frame()));
    let mirrored = udp_frame(50000, 4789, &vxlan(9, &tenant));
    assert_eq!(segment(&["vni = [9]"], &mirrored), "vxlan:5001");
    assert_eq!(segment(&["vni = [5001]"], &mirrored), "-", "the copy of a copy");
    let mut tenants_hosts = tenant.clone();
    tenants_hosts[30..34].copy_from_slice(&[192, 0, 2, 7]);
    let mirrored = udp_frame(50000, 4789, &vxlan(9, &tenants_hosts));
    assert_eq!(segment(&["vni = 'path'\nouter_dst = '192.0.2.2'"], &mirrored), "vxlan:5001");
}

#[test]
fn nvgre_flow_ids_are_left_out_where_the_operator_says_so() {
    let (one, other) = (keyed(0x0013_8801, &vm_frame()), keyed(0x0013_88fe, &vm_frame()));
    assert_eq!(segment(&["gre_key = 'vsid'"], &one), segment(&["gre_key = 'vsid'"], &other));
    assert_ne!(segment(&[], &one), segment(&[], &other), "nothing is guessed");
    assert_ne!(segment(&["gre_key = 'vsid'"], &one), segment(&["gre_key = 'vsid'"], &keyed(0x0013_8901, &vm_frame())));
}

#[test]
fn an_rspan_vlan_is_path_and_the_tag_inside_it_is_not() {
    let rspan = "vlan = [900]";
    let mut locator = locator(&[rspan]);
    let (both, path) = place(&mut locator, &tagged(&[900, 10], 0x0800, &vm_packet()));
    assert_eq!((both.as_str(), path), ("vlan:10", MirrorPath::new(PathKind::Vlan, 900)));
    assert_eq!(segment(&[rspan], &tagged(&[900], 0x0800, &vm_packet())), "-");
    assert_eq!(segment(&[rspan], &tagged(&[10, 900], 0x0800, &vm_packet())), "vlan:10.900");
    assert_eq!(segment(&["vlan = 'path'"], &tagged(&[10], 0x0800, &vm_packet())), "-");
}

#[test]
fn vlans_that_are_one_segment_are_written_as_one() {
    let same = "same_vlan = [[0, 10, 11], [20, 21]]";
    for (ids, expected) in [
        (&[][..], "vlan:10"),
        (&[10], "vlan:10"),
        (&[11], "vlan:10"),
        (&[21], "vlan:20"),
        (&[30], "vlan:30"),
        (&[30, 11], "vlan:30.10"),
    ] {
        assert_eq!(segment(&[same], &tagged(ids, 0x0800, &vm_packet())), expected, "{ids:?}");
    }
    let tenant = |inner: &[u8]| segment(&[same], &udp_frame(50000, 4789, &vxlan(5001, inner)));
    assert_eq!(tenant(&vm_frame()), tenant(&tagged(&[10], 0x0800, &vm_packet())));
}

#[test]
fn a_domain_stands_around_the_segment_of_its_source_only() {
    let frame = tagged(&[10], 0x0800, &vm_packet());
    let mut locator = locator(&["source = '*dc1*'\ndomain = 'dc1'", "source = 'eth?'\ndomain = 'lab'"]);
    for (number, name, expected) in [
        (0, "/captures/dc1-monday.pcap", "domain:dc1/vlan:10"),
        (1, "eth0", "domain:lab/vlan:10"),
        (2, "eth10", "vlan:10"),
        (0, "/captures/dc1-monday.pcap", "domain:dc1/vlan:10"),
    ] {
        locator.arrive(number, name);
        let (segment, path) = place(&mut locator, &frame);
        assert_eq!((segment.as_str(), path.source), (expected, number), "{name}");
    }
}

#[test]
fn the_outermost_sender_and_path_are_kept() {
    let inner = erspan(0x88be, &[0x10, 20, 0, 77, 0, 0, 0, 0]);
    let frame = udp_frame(50000, 37008, &joined(&[&[1, 0, 0, 1, 1], &inner]));
    let mut locator = locator(&[]);
    let located = locator.locate(LinkType::ETHERNET, &frame, frame.len() as u32, NOW).unwrap().unwrap();
    assert_eq!((located.path.kind, located.host_hint), (PathKind::Tzsp, Some(IpAddr::from(HOST_A))));
}

#[test]
fn tunnels_that_go_one_way_into_one_address_are_told_unless_they_are_path() {
    let frame = udp_frame(50000, 4789, &vxlan(9, &vm_frame()));
    let told = |tables: &[&str]| {
        let mut locator = locator(tables);
        (0..1_000).for_each(|_| drop(place(&mut locator, &frame)));
        locator.one_way_tunnels()
    };
    assert_eq!(told(&[]).iter().map(|tunnel| tunnel.frames).collect::<Vec<_>>(), [1_000]);
    assert_eq!(told(&["vni = 'path'"]), []);
    assert_eq!(told(&["vni = 'segment'"]), [], "the operator has decided");
}
