//! Twins and what only looks like them, one sentence a test, each with its quiet twin.

use super::*;
use crate::decode::test_frames::{ethernet, fragment, ipv4, ipv6, joined, tagged, udp, udp_frame, vm_frame, vxlan};
use crate::decode::{DecodeConfig, Locator};
use crate::model::LinkType;

/// A located and judged stream of frames.
struct Mirror {
    locator: Locator,
    twins: Twins,
    at: Timestamp,
}

impl Mirror {
    fn new() -> Self {
        let locator = Locator::new(DecodeConfig::default());
        Mirror { locator, twins: Twins::new(), at: Timestamp::from_parts(1_767_225_600, 0) }
    }

    /// Is it handed on? 100 µs after the frame before it.
    fn keeps(&mut self, source: u16, frame: &[u8]) -> bool {
        self.at = Timestamp::from_ns(self.at.ns() + 100_000);
        let located = self.locator.locate(LinkType::ETHERNET, frame, frame.len() as u32, self.at).unwrap().unwrap();
        let verdict = self.twins.take(source, self.at, self.at, &located);
        if matches!(verdict, Verdict::First(true) | Verdict::Instead(_)) {
            self.twins.placed(Place { flight: 0, lane: 0, entry: 0 });
        }
        !matches!(verdict, Verdict::Twin)
    }

    fn kept(&mut self, frames: &[(u16, &[u8])]) -> Vec<bool> {
        frames.iter().map(|(source, frame)| self.keeps(*source, frame)).collect()
    }
}

/// A TCP segment over IPv6, which numbers no packet.
fn segment(up: bool, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let ports = if up { [0x9c, 0x40, 0, 80] } else { [0, 80, 0x9c, 0x40] };
    let head: [&[u8]; 4] = [&ports, &seq.to_be_bytes(), &ack.to_be_bytes(), &[0x50, 0x10, 1, 0, 0, 0, 0, 0]];
    let mut packet = ipv6(6, &joined(&[&head.concat(), payload]));
    if !up {
        // `ipv6` knows one direction only.
        let (src, dst) = (packet[8..24].to_vec(), packet[24..40].to_vec());
        packet[8..24].copy_from_slice(&dst);
        packet[24..40].copy_from_slice(&src);
    }
    ethernet(0x86dd, &packet)
}

#[test]
fn the_second_point_that_shows_a_packet_shows_its_twin_once() {
    let frame = vm_frame();
    let frames: [(u16, &[u8]); 5] = [(1, &frame), (2, &frame), (2, &frame), (1, &frame), (3, &frame)];
    // The third is what the second point has shown already, and so is the fourth to the first: sent again. The first
    // point's own second packet is the second point's second; the third point's is a twin.
    assert_eq!(Mirror::new().kept(&frames), [true, false, true, false, false]);
}

#[test]
fn one_point_alone_shows_no_twins() {
    let frame = vm_frame();
    assert_eq!(Mirror::new().kept(&[(1, &frame), (1, &frame), (1, &frame)]), [true; 3]);
}

#[test]
fn a_packet_of_the_window_before_is_no_twin() {
    let mut mirror = Mirror::new();
    let frame = vm_frame();
    assert!(mirror.keeps(1, &frame));
    mirror.at = mirror.at.plus_ms(50);
    assert!(mirror.keeps(2, &frame));
}

#[test]
fn a_sender_of_a_tunnel_is_a_point_of_its_own() {
    let inner = vxlan(7, &vm_frame());
    let one = udp_frame(50_000, 4_789, &inner);
    let mut other = one.clone();
    other[29] = 9;
    let mut mirror = Mirror::new();
    assert_eq!(mirror.kept(&[(1, &one), (1, &other), (1, &other)]), [true, false, true]);
}

#[test]
fn copies_of_what_was_sent_again_are_matched_in_their_order() {
    let mut mirror = Mirror::new();
    let frame = vm_frame();
    let mut at = |ms: i64, source: u16| {
        mirror.at = Timestamp::from_parts(1_767_225_600, 0).plus_ms(ms);
        mirror.keeps(source, &frame)
    };
    assert_eq!([at(0, 1), at(20, 1), at(30, 2), at(65, 2)], [true, true, false, false]);
}

/// In an ERSPAN II session, from one port of the switch.
fn erspan(session: u8, port: u8) -> Vec<u8> {
    let head = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, session, 0, 0, 0, port];
    ethernet(0x0800, &ipv4(47, &joined(&[&head, &vm_frame()])))
}

#[test]
fn each_session_and_port_of_one_switch_is_a_point_of_its_own() {
    let (one, other, port) = (erspan(1, 0), erspan(2, 0), erspan(1, 7));
    let frames: [(u16, &[u8]); 5] = [(1, &one), (1, &other), (1, &port), (1, &one), (1, &port)];
    assert_eq!(Mirror::new().kept(&frames), [true, false, false, true, false]);
}

#[test]
fn datagrams_of_one_length_are_told_apart_by_their_beginning() {
    let mut mirror = Mirror::new();
    let frames: Vec<_> = (0..200u8)
        .map(|n| ethernet(0x86dd, &ipv6(17, &udp(5_004, 5_004, &[&[0x80, 0, 0, n], &[7; 36][..]].concat()))))
        .collect();
    for frame in &frames {
        assert!(mirror.keeps(1, frame));
    }
    for frame in &frames {
        assert!(!mirror.keeps(2, frame));
    }
}

/// A packet before the router and behind it: VLAN 10 and 20, or one VLAN.
fn hop(vlans: [u16; 2], router: u8, ttl: u8, n: u16) -> [Vec<u8>; 2] {
    let packet = |ttl: u8| {
        let mut packet = fragment(17, n, 0, false, &udp(40_000, 53, b"query"));
        packet[8] = ttl;
        packet
    };
    let mut frames = [tagged(&[vlans[0]], 0x0800, &packet(64)), tagged(&[vlans[1]], 0x0800, &packet(ttl))];
    frames[0][..6].copy_from_slice(&[2, 0, 0, 0, 9, router]);
    frames[1][6..12].copy_from_slice(&[2, 0, 0, 0, 8, router]);
    frames
}

#[test]
fn a_router_between_two_segments_is_known_after_a_while_and_its_twins_removed() {
    for (points, vlans) in [([1, 2], [10, 20]), ([1, 1], [10, 20]), ([1, 1], [10, 10])] {
        let mut mirror = Mirror::new();
        let mut kept = |router: u8, ttl: u8, ids: std::ops::Range<u16>| -> usize {
            ids.flat_map(|n| hop(vlans, router, ttl, n).into_iter().zip(points))
                .filter(|(frame, point)| mirror.keeps(*point, frame))
                .count()
        };
        // One point is looked at in samples: 512 frames of 8,192.
        assert!(kept(1, 63, 1..9_000) >= 8_999 + 32, "{vlans:?}");
        // Of a pair where the second counts, both are handed on, and the first taken back.
        let twice = usize::from(vlans[0] != vlans[1]);
        assert_eq!(kept(1, 63, 9_000..10_000), 1_000 + twice * 1_000, "{vlans:?}");
        let routed = mirror.twins.counters.routed;
        assert!(routed >= 1_000);
        if vlans[0] == vlans[1] {
            continue;
        }
        let mut kept = |router: u8, ttl: u8, ids: std::ops::Range<u16>| -> usize {
            ids.flat_map(|n| hop(vlans, router, ttl, n).into_iter().zip(points))
                .filter(|(frame, point)| mirror.keeps(*point, frame))
                .count()
        };
        assert_eq!((kept(2, 63, 10_000..10_020), kept(1, 64, 11_000..11_100)), (40, 200), "{vlans:?}");
        assert_eq!(mirror.twins.counters.routed, routed, "another router's, or no hop less");
    }
}

/// In VLAN 10 before the router, in VLAN 20 behind it.
fn side_of(behind: bool, up: bool, seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = segment(up, seq, 1, payload)[14..].to_vec();
    let mut frame = tagged(&[if behind == up { 20 } else { 10 }], 0x86dd, &{
        packet[7] -= u8::from(behind);
        packet
    });
    let router = [2, 0, 0, 0, 9, if behind == up { 2 } else { 1 }];
    let at = if behind { 6 } else { 0 };
    frame[at..at + 6].copy_from_slice(&router);
    frame
}

#[test]
fn a_frame_and_its_pieces_behind_a_router_are_one_and_what_is_sent_again_is_one_more() {
    let mut mirror = Mirror::new();
    // Looked for in samples until a router is known.
    for n in 0..400 {
        mirror.kept(&[(1, &side_of(false, true, n, b"")), (2, &side_of(true, true, n, b""))]);
    }
    // From the higher port to the lower one, what is behind the router counts.
    let up = |mirror: &mut Mirror, seq: u32| {
        let whole = mirror.keeps(1, &side_of(false, true, seq, &[7; 3_000]));
        let pieces = [0, 1_000, 2_000].map(|at| mirror.keeps(2, &side_of(true, true, seq + at, &[7; 1_000])));
        (whole, pieces, mirror.twins.taken_back())
    };
    let removed = mirror.twins.counters.removed;
    assert_eq!(up(&mut mirror, 1_000), (true, [true; 3], None));
    assert_eq!(mirror.twins.counters.removed, removed + 1, "the whole one, taken back");
    assert_eq!(up(&mut mirror, 1_000), (true, [true; 3], None), "sent again");
    assert_eq!(mirror.twins.counters.removed, removed + 2);
    // Bytes that only one side shows.
    assert!(mirror.keeps(2, &side_of(true, true, 9_000, &[7; 1_000])));
    // From the lower port to the higher one, what is before it counts.
    let down = |mirror: &mut Mirror| {
        let whole = mirror.keeps(2, &side_of(false, false, 500, &[7; 3_000]));
        let pieces = [0, 1_000, 2_000].map(|at| mirror.keeps(1, &side_of(true, false, 500 + at, &[7; 1_000])));
        (whole, pieces)
    };
    assert_eq!(down(&mut mirror), (true, [false; 3]));
    assert_eq!(down(&mut mirror), (true, [false; 3]), "sent again");
    assert!(mirror.keeps(1, &side_of(true, false, 1_500, &[7; 1_000])), "the third time on one side only");
    // Segments first, and then the frame they became: they are taken back.
    let pieces = [0, 1_000].map(|at| mirror.keeps(1, &side_of(false, true, 20_000 + at, &[7; 1_000])));
    let whole = mirror.keeps(2, &side_of(true, true, 20_000, &[7; 2_000]));
    assert_eq!((pieces, whole), ([true; 2], true));
    assert!(mirror.twins.taken_back().is_some() && mirror.twins.taken_back().is_none());
}

#[test]
fn frames_of_two_tenants_in_other_pieces_are_two() {
    let mut mirror = Mirror::new();
    for n in 0..400 {
        mirror.kept(&[(1, &side_of(false, true, n, b"")), (2, &side_of(true, true, n, b""))]);
    }
    let mut whole = side_of(false, true, 1_000, &[7; 3_000]);
    // Another gateway: nothing says that the two meet.
    whole[5] = 77;
    let mut piece = side_of(true, true, 1_000, &[7; 1_000]);
    piece[11] = 78;
    assert_eq!(mirror.kept(&[(1, &whole), (2, &piece)]), [true, true]);
    assert_eq!(mirror.twins.counters.segmented, 0);
}

#[test]
fn of_more_than_seven_equal_packets_as_many_are_kept_as_one_point_shows() {
    let mut mirror = Mirror::new();
    let probe = segment(true, 1, 1, b"");
    mirror.kept(&[(1, &vm_frame()), (2, &vm_frame())]);
    let kept = |mirror: &mut Mirror, point, n: usize| (0..n).filter(|_| mirror.keeps(point, &probe)).count();
    assert_eq!(kept(&mut mirror, 1, 100), 100);
    assert_eq!(kept(&mut mirror, 2, 100), 0);
    assert_eq!((kept(&mut mirror, 2, 5), kept(&mut mirror, 1, 7)), (5, 2), "sent again");
    // By turns, a copy behind each.
    let turns: Vec<_> = (0..100).map(|_| (kept(&mut mirror, 1, 1), kept(&mut mirror, 2, 1))).collect();
    assert!(turns.iter().all(|(one, two)| one + two == 1));
    assert!(mirror.twins.counters.flooded > 150);
}

#[test]
fn segments_of_a_frame_sent_again_and_of_one_before_a_hole_do_not_count() {
    let whole = |seq: u32| segment(true, seq, 1, &[7; 3_000]);
    let pieces = |seq: u32| [0, 1_000, 2_000].map(|at| segment(true, seq + at, 1, &[7; 1_000]));
    let mut mirror = Mirror::new();
    mirror.kept(&[(1, &segment(false, 1, 1_000, b"")), (2, &segment(false, 1, 1_000, b""))]);
    // Bytes 4,000 to 8,000 are not seen.
    assert_eq!(mirror.kept(&[(1, &whole(1_000)), (1, &whole(8_000)), (1, &whole(1_000))]), [true; 3]);
    for piece in pieces(1_000).iter().chain(&pieces(8_000)).chain(&pieces(1_000)) {
        assert!(!mirror.keeps(2, piece));
    }
    assert!(mirror.keeps(2, &pieces(1_000)[0]), "the third time only this point shows it");
}

#[test]
fn equal_packets_of_a_thousand_tenants_stay_a_thousand() {
    let mut mirror = Mirror::new();
    for vni in 0..1_000 {
        let frame = udp_frame(50_000, 4_789, &vxlan(vni, &vm_frame()));
        assert!(mirror.keeps(vni as u16 % 3, &frame), "{vni}");
    }
    for vlan in 1..1_000 {
        let frame = tagged(&[vlan], 0x0800, &vm_frame()[14..]);
        assert!(mirror.keeps(vlan % 3, &frame), "{vlan}");
    }
}

#[test]
fn what_differs_in_one_byte_is_another_packet() {
    let mut mirror = Mirror::new();
    for n in 0..100u8 {
        assert!(mirror.keeps(u16::from(n % 2), &udp_frame(5_004, 5_004, &[n; 40])));
    }
}

#[test]
fn a_checksum_ttl_or_tos_of_its_own_makes_no_other_packet() {
    let frame = udp_frame(1, 2, b"payload");
    let mut other = frame.clone();
    // TOS, TTL, the header's checksum, UDP's.
    for at in [15, 22, 24, 25, 40, 41] {
        other[at] ^= 0x15;
    }
    assert_eq!(Mirror::new().kept(&[(1, &frame), (2, &other)]), [true, false]);
    let mut numbered_anew = frame.clone();
    numbered_anew[19] ^= 1;
    assert_eq!(Mirror::new().kept(&[(1, &frame), (2, &numbered_anew)]), [true, true]);
}

#[test]
fn a_retransmission_and_its_twin_are_one_packet_more() {
    let data = segment(true, 100, 1, b"hello");
    let ack = segment(false, 1, 105, b"");
    let frames: [(u16, &[u8]); 6] = [(1, &data), (2, &data), (1, &ack), (2, &ack), (1, &data), (2, &data)];
    assert_eq!(Mirror::new().kept(&frames), [true, false, true, false, true, false]);
}

#[test]
fn what_one_point_saw_acknowledged_is_no_twin_of_what_came_before() {
    let data = segment(true, 100, 1, b"hello");
    let ack = segment(false, 1, 105, b"");
    // The second point sees the retransmission only.
    let mut mirror = Mirror::new();
    assert!(mirror.kept(&[(2, &ack), (1, &data), (2, &ack), (2, &data)])[3]);
    assert_eq!(mirror.twins.counters.again, 1);
    let mut early = Mirror::new();
    assert!(!early.kept(&[(2, &segment(false, 1, 100, b"")), (1, &data), (2, &data)])[2]);
}

#[test]
fn segments_of_a_frame_that_another_point_showed_whole_do_not_count() {
    let whole = segment(true, 1_000, 1, &[7; 3_000]);
    let piece = |n: u32| segment(true, 1_000 + n * 1_000, 1, &[7; 1_000]);
    let mut mirror = Mirror::new();
    // So that both points are known.
    mirror.kept(&[(1, &segment(false, 1, 1_000, b"")), (2, &segment(false, 1, 1_000, b""))]);
    assert_eq!(
        mirror.kept(&[(1, &whole), (2, &piece(0)), (2, &piece(1)), (2, &piece(2))]),
        [true, false, false, false]
    );
    // The same bytes once more by the second point: sent again.
    assert!(mirror.keeps(2, &piece(1)));
    // And bytes that the frame did not hold.
    assert!(mirror.keeps(2, &piece(3)));
}

#[test]
fn a_point_that_doubles_is_found_out_and_one_that_repeats_half_is_not() {
    let mut mirror = Mirror::new();
    let frame = |n: u16| ethernet(0x0800, &crate::decode::test_frames::fragment(17, n, 0, false, &udp(1, 2, b"x")));
    let removed = |mirror: &mut Mirror, copies: &dyn Fn(u16) -> u16| {
        (0..1_000).map(|n| (0..copies(n)).filter(|_| !mirror.keeps(1, &frame(n))).count()).sum::<usize>()
    };
    assert!(removed(&mut mirror, &|_| 2) > 800);
    assert_eq!(removed(&mut Mirror::new(), &|n| 1 + n % 2), 0);
}

#[test]
fn one_point_is_looked_at_in_samples_and_two_always() {
    let mut mirror = Mirror::new();
    let mut keeps = |source, n: u64| mirror.keeps(source, &udp_frame(1, 2, &n.to_be_bytes()));
    assert!((0..u64::from(segments::SAMPLE_EVERY) * 2).all(|n| keeps(1, n)));
    assert!((0..100).all(|n| keeps(2, 1_000_000 + n)));
    let sampled = mirror.twins.examined - 100;
    assert!(sampled <= 2 * u64::from(segments::SAMPLE) + 2, "{sampled}");
}

#[test]
fn a_flood_fills_the_table_and_is_counted() {
    let mut mirror = Mirror::new();
    mirror.kept(&[(1, &vm_frame()), (2, &vm_frame())]);
    let time = mirror.at;
    for n in 0..70_000u32 {
        mirror.at = Timestamp::from_ns(time.ns() + i64::from(n / 100));
        mirror.keeps(1, &udp_frame(n as u16, (n >> 16) as u16, &n.to_be_bytes()));
    }
    let mut report = Vec::new();
    mirror.twins.report(&mut report);
    assert!(report.iter().any(|(name, value)| *name == "twin.full" && *value > 4_000), "{report:?}");
}

proptest::proptest! {
    /// Hostile bytes are looked at like any others.
    #[test]
    fn no_bytes_make_it_panic(frames in proptest::collection::vec(proptest::collection::vec(0u8.., 0..120), 0..40)) {
        let mut mirror = Mirror::new();
        for (n, bytes) in frames.iter().enumerate() {
            let network = if n % 3 == 0 { [0x86, 0xdd] } else { [8, 0] };
            let frame = joined(&[&[2; 12], &network, bytes]);
            if let Ok(Some(located)) = mirror.locator.locate(LinkType::ETHERNET, &frame, frame.len() as u32, mirror.at) {
                let _ = mirror.twins.take(n as u16 % 3, mirror.at, mirror.at, &located);
            }
        }
    }
}
