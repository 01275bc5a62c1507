//! What is written reads back: by our own reader, and by an independent decoder of headers.

use std::path::PathBuf;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::*;
use crate::capture::{Batch, Files, Filled, Source};
use crate::model::Side;

fn office() -> (Scenario, Vm, Vm) {
    let mut s = Scenario::new(1);
    let client = s.vm("app-01", "52:54:00:00:00:02", "10.0.0.12");
    let server = s.vm("web-01", "52:54:00:00:00:01", "10.0.0.11");
    (s, client, server)
}

/// Time and bytes of every frame of a capture, with its source's name.
fn read(name: &str, bytes: &[u8]) -> Vec<(i64, Vec<u8>, String)> {
    let path = std::env::temp_dir().join(format!("eastwatch-scenario-{}-{name}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let mut files = Files::open(&[PathBuf::from(&path)], None).unwrap();
    let (mut batch, mut seen) = (Batch::new(), Vec::new());
    while files.fill(&mut batch).unwrap() != Filled::End {
        for frame in &batch.frames {
            seen.push((frame.time.ns(), batch.get(frame).to_vec(), files.source_name(frame.source).to_owned()));
        }
    }
    std::fs::remove_file(&path).unwrap();
    seen
}

#[test]
fn every_format_reads_back_with_its_times_and_bytes() {
    let (mut s, client, server) = office();
    s.arp(&client, &server).tcp(&client, &server, 80).handshake().send(Side::Orig, vec![7; 4_000]).close();
    let formats = [false, true].map(|big_endian| {
        [
            (Format::Pcap { nanoseconds: false, big_endian }, 1_000),
            (Format::Pcap { nanoseconds: true, big_endian }, 1),
            (Format::Pcapng { big_endian }, 1),
        ]
    });
    for (i, (format, unit)) in formats.as_flattened().iter().enumerate() {
        let seen = read(&format!("round-{i}"), &s.encode(*format));
        assert_eq!(seen.len(), s.frame_count(), "{format:?}");
        for (frame, (time, bytes, _)) in s.frames.iter().zip(&seen) {
            assert_eq!((frame.time.ns() / unit * unit, &frame.bytes), (*time, bytes), "{format:?}");
        }
    }
}

#[test]
fn interfaces_of_a_pcapng_keep_their_names() {
    let (mut s, client, server) = office();
    s.via("tap0").ping(&client, &server).wait_s(1).via("tap1").ping(&client, &server);
    let seen = read("names", &s.encode(Format::PCAPNG));
    let names: Vec<_> = seen.iter().filter_map(|(.., name)| name.rsplit(':').next()).collect();
    assert_eq!(names, ["tap0", "tap0", "tap1", "tap1"]);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let write = |seed| {
        let mut s = Scenario::new(seed);
        let a = s.vm("a", "52:54:00:00:00:0a", "10.0.0.1");
        let b = s.vm("b", "52:54:00:00:00:0b", "10.0.0.2");
        s.tcp(&a, &b, 22).handshake().close();
        s.encode(Format::PCAP)
    };
    assert!(write(1) == write(1) && write(1) != write(2));
}

#[test]
fn checksums_lengths_and_tags_are_right_in_both_ip_versions() {
    let (mut s, client, server) = office();
    let (client, server) = (client.on_vlan(20), server.on_vlan(20));
    let (client6, server6) = (client.by("fd00::12"), server.by("fd00::11"));
    s.tcp(&client, &server, 80).handshake().send(Side::Orig, b"odd").close();
    s.tcp(&client6, &server6, 80).handshake().send(Side::Orig, b"odd").close();
    s.dns(&client, &server, "web-01.dc.example", std::net::Ipv4Addr::new(10, 0, 0, 11)).ntp(&client6, &server6);
    let mut checked = 0;
    for frame in &s.frames {
        let packet = SlicedPacket::from_ethernet(&frame.bytes).unwrap();
        assert_eq!(packet.vlan_ids().first().map(|id| id.value()), Some(20));
        let right = match (&packet.net, &packet.transport) {
            (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) => {
                assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap() == tcp.checksum()
            }
            (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Tcp(tcp))) => {
                tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap() == tcp.checksum()
            }
            (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) => {
                let header = udp.to_header();
                header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap() == header.checksum
            }
            (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Udp(udp))) => {
                let header = udp.to_header();
                header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).unwrap() == header.checksum
            }
            other => panic!("{other:?}"),
        };
        assert!(right);
        checked += 1;
    }
    assert_eq!(checked, 8 + 8 + 2 + 2);
}

#[test]
fn sequence_numbers_add_up_over_a_whole_connection() {
    let (mut s, client, server) = office();
    s.tcp(&client, &server, 80).handshake().send(Side::Orig, vec![1; 3_000]).send(Side::Resp, b"ok").close();
    let (mut next, mut payload) = ([None::<u32>; 2], 0);
    for frame in &s.frames {
        let packet = SlicedPacket::from_ethernet(&frame.bytes).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("not TCP") };
        let side = usize::from(tcp.source_port() == 80);
        if let Some(expected) = next[side] {
            assert_eq!(tcp.sequence_number(), expected);
        }
        if tcp.ack() {
            assert_eq!(Some(tcp.acknowledgment_number()), next[1 - side]);
        }
        // Small frames are padded: the IP length says what is payload, and etherparse heeds it.
        payload += tcp.payload().len();
        let flags = u32::from(tcp.syn()) + u32::from(tcp.fin());
        next[side] = Some(tcp.sequence_number().wrapping_add(tcp.payload().len() as u32 + flags));
    }
    assert_eq!(payload, 3_002);
}

#[test]
fn a_refused_connection_is_a_syn_and_a_reset_an_unanswered_one_is_not() {
    let flags = |s: &Scenario| -> Vec<(bool, bool)> {
        let tcp = |bytes: &[u8]| {
            let Some(TransportSlice::Tcp(tcp)) = SlicedPacket::from_ethernet(bytes).unwrap().transport else {
                panic!()
            };
            (tcp.syn(), tcp.rst())
        };
        s.frames.iter().map(|f| tcp(&f.bytes)).collect()
    };
    let (mut s, client, server) = office();
    s.tcp(&client, &server, 4_444).refused();
    assert_eq!(flags(&s), [(true, false), (false, true)]);
    let (mut s, client, server) = office();
    s.tcp(&client, &server, 4_444).unanswered();
    assert_eq!(flags(&s), [(true, false); 3]);
}

#[test]
fn the_certificate_and_the_hellos_parse() {
    let mut rest = &payload::tls_server_hello()[..];
    let mut kinds = Vec::new();
    while let Ok((after, record)) = tls_parser::parse_tls_plaintext(rest) {
        for message in record.msg {
            match message {
                tls_parser::TlsMessage::Handshake(tls_parser::TlsMessageHandshake::Certificate(chain)) => {
                    let first = chain.cert_chain.first().unwrap();
                    let (_, certificate) = x509_parser::parse_x509_certificate(first.data).unwrap();
                    assert_eq!(certificate.subject().to_string(), "O=Example, CN=web-01.dc.example");
                    kinds.push("certificate");
                }
                tls_parser::TlsMessage::Handshake(_) => kinds.push("other"),
                _ => {}
            }
        }
        rest = after;
    }
    assert_eq!(kinds, ["other", "certificate", "other"]);
    assert!(tls_parser::parse_tls_plaintext(&payload::tls_client_hello("x")).is_ok());
}
