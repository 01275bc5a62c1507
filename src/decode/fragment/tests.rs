//! Fragments by example: order, copies, overlaps, bounds.

use super::*;
use crate::decode::test_frames::{NOW, fragment, joined};
use crate::decode::{Datagram, Decoder, Network, Payload};

/// Protocol 253 is for experiments (RFC 3692): nothing reads its payload.
const OTHER: u8 = 253;

fn decoder() -> Decoder {
    Decoder::new(&DecodeConfig::default())
}

fn feed(decoder: &mut Decoder, packet: &[u8], time: Timestamp) -> Result<Option<(Vec<u8>, u32)>, Discard> {
    let network = if packet[0] >> 4 == 4 { Network::Ipv4 } else { Network::Ipv6 };
    let datagram = decoder.datagram(network, packet, 0, Segment::UNTAGGED, time)?;
    Ok(datagram.map(|Datagram { payload, ip_len, .. }| match payload {
        Payload::Other(_, bytes) => (bytes.to_vec(), ip_len),
        other => panic!("{other:?}"),
    }))
}

/// 32 bytes in four fragments.
fn four() -> (Vec<u8>, Vec<Vec<u8>>) {
    let data: Vec<u8> = (0..32).collect();
    let pieces = (0u16..4).map(|i| fragment(OTHER, 1, i * 8, i < 3, &data[usize::from(i) * 8..][..8])).collect();
    (data, pieces)
}

#[test]
fn fragments_in_any_order_make_the_datagram() {
    let (data, pieces) = four();
    for order in 0..24usize {
        let mut left: Vec<usize> = (0..4).collect();
        let mut decoder = decoder();
        let mut whole = None;
        for radix in (1..=4).rev() {
            assert_eq!(whole, None);
            let pick = left.remove(order % 24 / [1, 1, 2, 6][radix - 1] % radix);
            whole = feed(&mut decoder, &pieces[pick], NOW).unwrap();
        }
        assert_eq!(whole, Some((data.clone(), 52)), "order {order}");
        assert_eq!((decoder.counters.work.fragments, decoder.counters.work.reassembled), (4, 1));
    }
}

#[test]
fn a_missing_fragment_makes_nothing_and_expires() {
    let (_, pieces) = four();
    let mut decoder = decoder();
    for piece in [&pieces[0], &pieces[1], &pieces[3]] {
        assert_eq!(feed(&mut decoder, piece, NOW), Ok(None));
    }
    decoder.tick(NOW.plus_s(29));
    assert_eq!(decoder.counters.work.expired, 0);
    decoder.tick(NOW.plus_s(30));
    assert_eq!(decoder.counters.work.expired, 1);
    assert_eq!(feed(&mut decoder, &pieces[2], NOW.plus_s(31)), Ok(None));
}

#[test]
fn copies_are_counted_and_change_nothing() {
    let (data, pieces) = four();
    let mut decoder = decoder();
    for piece in [&pieces[0], &pieces[0], &pieces[2], &pieces[2], &pieces[1]] {
        assert_eq!(feed(&mut decoder, piece, NOW), Ok(None));
    }
    assert_eq!(feed(&mut decoder, &pieces[3], NOW), Ok(Some((data, 52))));
    assert_eq!((decoder.counters.work.duplicate, decoder.counters.work.overlap), (2, 0));
}

/// The fragments of Novak's paper: letter, offset and length; the second row overlaps the first.
const NOVAK: [(u8, u16, usize); 17] = [
    (b'A', 0, 24),
    (b'B', 32, 16),
    (b'C', 48, 24),
    (b'D', 80, 8),
    (b'E', 104, 16),
    (b'F', 120, 24),
    (b'G', 144, 16),
    (b'H', 160, 16),
    (b'I', 176, 8),
    (b'J', 8, 32),
    (b'K', 48, 24),
    (b'L', 72, 24),
    (b'M', 96, 24),
    (b'N', 128, 8),
    (b'O', 152, 8),
    (b'P', 160, 8),
    (b'Q', 176, 16),
];

#[test]
fn the_receivers_system_decides_whose_bytes_count_where_fragments_overlap() {
    let receiver = "192.0.2.2/32".parse().unwrap();
    for (os, expected) in [
        (HostOs::First, "AAAJBBCCCLDLMEEFFFGGHHIQ"),
        (HostOs::Last, "AJJJJBKKKLLLMMMFNFGOPHQQ"),
        (HostOs::Bsd, "AAAJJBCCCLLLMMMFFFGGHHIQ"),
        (HostOs::BsdRight, "AJJJBBKKKLDLMEEFNFGOPHQQ"),
        (HostOs::Linux, "AAAJJBKKKLLLMMMFFFGGPHQQ"),
        (HostOs::Windows, "AAAJBBCCCLLLMEEFFFGGHHIQ"),
        (HostOs::Solaris, "AAAJBBCCCLLLMMMFFFGGHHIQ"),
    ] {
        let config = DecodeConfig { host_os: [(os, vec![receiver])].into(), ..DecodeConfig::default() };
        let mut decoder = Decoder::new(&config);
        let mut last = Ok(None);
        for (letter, offset, len) in NOVAK {
            last = feed(&mut decoder, &fragment(OTHER, 1, offset, letter != b'Q', &vec![letter; len]), NOW);
        }
        let whole = last.unwrap().expect(expected).0;
        let letters: String = whole.iter().step_by(8).map(|letter| char::from(*letter)).collect();
        assert_eq!(letters, expected, "{os:?}");
        assert_eq!(decoder.counters.work.overlap, 8);
    }
}

#[test]
fn a_datagram_with_an_overlap_is_dropped_where_the_receiver_drops_it_and_one_with_copies_is_not() {
    let config = DecodeConfig { host_os_default: HostOs::ModernLinux, ..DecodeConfig::default() };
    let mut decoder = Decoder::new(&config);
    let (data, pieces) = four();
    for piece in [&pieces[0], &pieces[1], &pieces[1]] {
        assert_eq!(feed(&mut decoder, piece, NOW), Ok(None));
    }
    let overlap = fragment(OTHER, 1, 8, true, &[0xee; 8]);
    assert_eq!(feed(&mut decoder, &overlap, NOW), Err(Discard::FragmentOverlap));
    // Sent again as a whole, it is read.
    for piece in &pieces[..3] {
        assert_eq!(feed(&mut decoder, piece, NOW), Ok(None));
    }
    assert_eq!(feed(&mut decoder, &pieces[3], NOW), Ok(Some((data, 52))));
}

#[test]
fn a_teardrop_is_refused() {
    let mut decoder = decoder();
    // The last fragment ends before the first one does (CVE-1999-0015).
    assert_eq!(feed(&mut decoder, &fragment(OTHER, 1, 0, true, &[0; 40]), NOW), Ok(None));
    assert_eq!(feed(&mut decoder, &fragment(OTHER, 1, 24, false, &[0; 4]), NOW), Err(Discard::FragmentMisfit));
    // Two ends.
    assert_eq!(feed(&mut decoder, &fragment(OTHER, 2, 80, false, &[0; 8]), NOW), Ok(None));
    assert_eq!(feed(&mut decoder, &fragment(OTHER, 2, 96, false, &[0; 8]), NOW), Err(Discard::FragmentMisfit));
    assert_eq!(feed(&mut decoder, &fragment(OTHER, 2, 88, true, &[0; 8]), NOW), Err(Discard::FragmentMisfit));
    // Not a multiple of eight, and empty.
    assert_eq!(feed(&mut decoder, &fragment(OTHER, 3, 0, true, &[0; 9]), NOW), Err(Discard::FragmentMisfit));
    assert_eq!(feed(&mut decoder, &fragment(OTHER, 3, 8, true, &[]), NOW), Err(Discard::FragmentMisfit));
    assert_eq!(decoder.counters.discards.fragment_misfit, 5);
}

#[test]
fn a_ping_of_death_is_refused_and_the_largest_datagram_is_not() {
    let mut decoder = decoder();
    let death = fragment(OTHER, 1, 65_528, false, &[0; 8]);
    assert_eq!(feed(&mut decoder, &death, NOW), Err(Discard::FragmentOversize));
    let whole: Vec<u8> = (0..65_515u32).map(|i| i as u8).collect();
    let mut last = Ok(None);
    for (i, piece) in whole.chunks(1480).enumerate() {
        last = feed(&mut decoder, &fragment(OTHER, 2, i as u16 * 1480, i < 44, piece), NOW);
    }
    assert_eq!(last, Ok(Some((whole, 65_535))));
}

#[test]
fn small_fragments_in_order_are_joined_and_a_scattered_flood_is_forgotten() {
    let mut decoder = decoder();
    let mut last = Ok(None);
    for i in 0..1000 {
        last = feed(&mut decoder, &fragment(OTHER, 1, i * 8, i < 999, &[i as u8; 8]), NOW);
    }
    assert_eq!(last.map(|whole| whole.map(|(bytes, _)| bytes.len())), Ok(Some(8000)));
    let flood = (0..4000).filter_map(|i| feed(&mut decoder, &fragment(OTHER, 2, i * 16, true, &[0; 8]), NOW).err());
    assert_eq!(flood.collect::<Vec<_>>(), [Discard::FragmentFlood; 2]);
}

#[test]
fn a_full_table_forgets_its_oldest_datagram() {
    let config = DecodeConfig { fragmented_datagrams_max: 2, ..DecodeConfig::default() };
    let mut decoder = Decoder::new(&config);
    for id in 1..=3 {
        feed(&mut decoder, &fragment(OTHER, id, 0, true, &[0; 8]), NOW).unwrap();
    }
    assert_eq!(decoder.counters.work.evicted, 1);
    for (id, expected) in [(3, Some(36)), (2, Some(36)), (1, None)] {
        let last = feed(&mut decoder, &fragment(OTHER, id, 8, false, &[0; 8]), NOW).unwrap();
        assert_eq!(last.map(|(_, ip_len)| ip_len), expected, "datagram {id}");
    }
}

#[test]
fn bytes_are_bounded_too() {
    let mut decoder = decoder();
    for id in 0..200 {
        feed(&mut decoder, &fragment(OTHER, id, 0, true, &[0; 8192]), NOW).unwrap();
    }
    assert!(decoder.counters.work.evicted >= 200 - 512 * 1024 / 8192);
}

#[test]
fn other_segments_ids_and_protocols_are_other_datagrams() {
    let (_, pieces) = four();
    let mut decoder = decoder();
    for piece in &pieces[..3] {
        feed(&mut decoder, piece, NOW).unwrap();
    }
    let tenant = Segment::UNTAGGED.with(crate::model::LayerKind::Vlan, 9);
    let elsewhere = decoder.datagram(Network::Ipv4, &pieces[3], 0, tenant, NOW);
    assert!(matches!(elsewhere, Ok(None)));
    assert_eq!(feed(&mut decoder, &fragment(OTHER, 2, 24, false, &[0; 8]), NOW), Ok(None));
    assert_eq!(feed(&mut decoder, &fragment(254, 1, 24, false, &[0; 8]), NOW), Ok(None));
}

#[test]
fn ipv6_fragments_are_joined_behind_their_extension_headers() {
    let piece = |offset: u16, more: u16, bytes: &[u8]| {
        let flags = (offset | more).to_be_bytes();
        let hop_by_hop = [44, 0, 1, 4, 0, 0, 0, 0];
        let rest = joined(&[&hop_by_hop, &[OTHER, 0], &flags, &[0, 0, 0, 5], bytes]);
        crate::decode::test_frames::ipv6(0, &rest)
    };
    let mut decoder = decoder();
    assert_eq!(feed(&mut decoder, &piece(8, 0, b"tail"), NOW), Ok(None));
    assert_eq!(feed(&mut decoder, &piece(0, 1, b"the head"), NOW), Ok(Some((b"the headtail".to_vec(), 60))));
    // RFC 5722: an overlap ends the datagram.
    assert_eq!(feed(&mut decoder, &piece(8, 0, b"tail"), NOW), Ok(None));
    assert_eq!(feed(&mut decoder, &piece(0, 1, b"the head and"), NOW), Err(Discard::FragmentMisfit));
    assert_eq!(feed(&mut decoder, &piece(0, 1, b"the whole head.."), NOW), Err(Discard::FragmentMisfit));
    assert_eq!(feed(&mut decoder, &piece(8, 0, b"TAIL"), NOW), Err(Discard::FragmentOverlap));
    assert_eq!(feed(&mut decoder, &piece(0, 1, b"the head"), NOW), Ok(None));
}

#[test]
fn a_fragment_that_the_capture_cut_is_read_if_first_and_refused_if_not() {
    let mut decoder = decoder();
    let cut = |offset| fragment(OTHER, 1, offset, true, &[0; 64])[..40].to_vec();
    let datagram = decoder.datagram(Network::Ipv4, &cut(0), 44, Segment::UNTAGGED, NOW).map(|d| d.map(|d| d.ip_len));
    assert_eq!(datagram, Ok(Some(84)));
    assert_eq!(feed(&mut decoder, &cut(64), NOW), Err(Discard::FragmentCut));
}
