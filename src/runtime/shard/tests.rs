//! The shard by example: what a packet, a tick and a proved payload add to the observations.

use std::net::IpAddr;

use super::listeners::{Listening, QUEUE_SLACK};
use super::*;
use crate::app::{AppState, Heard, Lease};
use crate::decode::{Arp, Nd, SctpChunk};
use crate::flow::packets::*;
use crate::model::{AppInfo, Claim, ClaimKind, FlowEnd, FlowFact, FlowRef, Mac, Opening, RefusedBy, Side, Transport};

struct Run {
    shard: Shard,
    out: Vec<Observation>,
    frame: u64,
}

impl Run {
    fn new() -> Self {
        Run { shard: Shard::new(7, &ShardLimits::default(), HostOsTable::default(), 1), out: Vec::new(), frame: 0 }
    }

    fn at(&mut self, ms: u64, datagram: &Datagram<'_>) {
        self.frame += 1;
        let head = head(self.frame, ms, datagram.src == client());
        self.shard.datagram(&head, datagram, &mut self.out);
    }

    fn tick(&mut self, ms: u64) {
        self.shard.tick(self.frame + 1, at(ms), &mut self.out);
    }

    /// The slot of the only flow, and a listener for it as if a protocol were listening.
    fn listening(&mut self) -> Listening {
        let flow = self.shard.flows.flow_mut(0).expect("one flow");
        let app = AppState::new(flow.transport(), false);
        Listening { app, reassembly: None, flipped: false, charged: 0, waiting: false }
    }

    /// The payload of the only flow told this.
    fn hear(&mut self, listening: &mut Listening, heard: Heard) {
        let mut teller = teller(&mut self.shard.order, self.frame, true, at(0), &mut self.out);
        self.shard.listeners.heard(&mut self.shard.flows, 0, listening, heard, &mut teller);
        self.shard.order = teller.order;
    }

    fn facts(&mut self) -> Vec<(FlowRef, FlowFact)> {
        self.out
            .drain(..)
            .filter_map(|o| match o.fact {
                Fact::Flow(flow, fact) => Some((flow, fact)),
                _ => None,
            })
            .collect()
    }

    fn claims(&self) -> Vec<&Claim> {
        self.out
            .iter()
            .filter_map(|o| match &o.fact {
                Fact::Claim(claim) => Some(claim),
                _ => None,
            })
            .collect()
    }
}

fn serving(proto: &'static str, server: Side) -> Heard {
    Heard { app: Some(AppInfo::new(proto, Some(server))), ..Heard::default() }
}

#[test]
fn a_reply_seen_first_turns_the_flow_round_once_the_payload_proves_who_serves() {
    let mut run = Run::new();
    run.at(0, &udp(false, b"a dns response"));
    let mut listening = run.listening();
    run.hear(&mut listening, serving("dns", Side::Orig));
    run.at(1, &udp(true, b"the next query"));
    run.shard.finish(9, at(2), &mut run.out);
    let facts = run.facts();
    let orig: Vec<_> = facts.iter().map(|(flow, _)| flow.orig.ip).collect();
    assert_eq!(orig, [server(), client(), client(), client()]);
    let [(before, attempt), (after, answer), (_, app), (_, end)] = facts.as_slice() else { panic!("{facts:?}") };
    assert_eq!((before.id, before.orig.mac), (after.id, after.resp.mac));
    // The request that it answers was not seen.
    assert_eq!((attempt, answer), (&FlowFact::Attempt(Opening::Datagram), &FlowFact::ServerData));
    assert!(matches!(app, FlowFact::App(info) if info.server == Some(Side::Resp)));
    let FlowFact::End(FlowEnd::Shutdown, totals) = end else { panic!("{end:?}") };
    assert_eq!((totals.orig_bytes, totals.resp_bytes), (42, 42));
    assert_eq!((totals.orig_packets, totals.resp_packets), (1, 1));
}

#[test]
fn later_details_of_a_turned_flow_stay_turned() {
    let mut run = Run::new();
    run.at(0, &udp(false, b"a dns response"));
    let mut listening = run.listening();
    run.hear(&mut listening, serving("dns", Side::Orig));
    run.hear(&mut listening, serving("dns", Side::Orig));
    assert!(run.facts().iter().skip(1).all(|(flow, _)| flow.resp.ip == server()));
    assert_eq!(run.shard.flows.counters.flipped, 1);
    let flow = run.shard.flows.flow_mut(0).expect("one flow");
    assert_eq!(listening.ends(flow).orig, (server(), 53), "a follower keeps its own sides");
}

#[test]
fn a_flow_whose_responder_serves_is_not_turned() {
    let mut run = Run::new();
    run.at(0, &udp(true, b"a query"));
    let mut listening = run.listening();
    run.hear(&mut listening, serving("dns", Side::Resp));
    let facts = run.facts();
    assert!(facts.iter().all(|(flow, _)| flow.orig.ip == client()) && facts.len() == 2);
}

#[test]
fn a_handshake_is_never_turned() {
    let mut run = Run::new();
    run.at(0, &tcp(true, SYN, 1000, 0, b""));
    let mut listening = run.listening();
    run.hear(&mut listening, serving("x11", Side::Orig));
    assert!(run.facts().iter().all(|(flow, _)| flow.orig.ip == client()));
}

#[test]
fn mid_connection_is_turned_and_tells_server_data_only_of_a_server_that_sent_some() {
    for (payload, told) in [(&b"HTTP/1.1 200 OK"[..], true), (b"", false)] {
        let mut run = Run::new();
        run.at(0, &tcp(false, ACK, 5001, 1001, payload));
        let mut listening = run.listening();
        run.hear(&mut listening, serving("http", Side::Orig));
        let facts = run.facts();
        assert_eq!(facts.iter().any(|(_, f)| *f == FlowFact::ServerData), told);
        assert_eq!(facts.last().map(|(flow, _)| flow.resp.ip), Some(server()));
    }
}

#[test]
fn an_icmp_unreachable_refuses_and_fragmentation_needed_does_not() {
    for (code, refused) in [(1, true), (4, false)] {
        let mut run = Run::new();
        run.at(0, &tcp(true, SYN, 1000, 0, b""));
        run.at(1, &icmp(false, 3, code, Some(quoted(Transport::Tcp, 80))));
        let told = run.facts().iter().any(|(_, f)| *f == FlowFact::Refused(RefusedBy::Unreachable(code)));
        assert_eq!(told, refused);
        assert_eq!(run.shard.flows.len(), 1, "the error is no flow of its own");
    }
}

#[test]
fn arp_and_neighbour_discovery_make_claims_and_no_flows() {
    let mut run = Run::new();
    let arp =
        Arp { operation: 1, sender_mac: CLIENT_MAC, sender_ip: client(), target_mac: Mac::ZERO, target_ip: server() };
    let mut packet = udp(true, b"");
    packet.payload = Payload::Arp(arp);
    run.at(0, &packet);
    let nd = Nd::RouterAdvertise { source_mac: None };
    packet.payload = Payload::Icmp(Icmp { v6: true, kind: 134, code: 0, quoted: None, nd: Some(nd), body: &[] });
    packet.src = IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]);
    packet.ttl = 255;
    run.at(0, &packet);
    let kinds: Vec<_> = run.claims().iter().map(|c| c.kind.clone()).collect();
    assert_eq!(kinds, [ClaimKind::Asks { target: server() }, ClaimKind::Routes]);
    assert!(run.shard.flows.is_empty());
}

#[test]
fn a_lease_is_a_claim_by_the_server_of_the_flow() {
    let mut run = Run::new();
    run.at(0, &udp(true, b"request"));
    let mut listening = run.listening();
    let mut heard = Heard::default();
    let (ip, name) = (IpAddr::from([10, 0, 0, 77]), Some("web-03".to_owned()));
    let client_id = Some("id:1".to_owned());
    heard.follow.leased.push(Lease { mac: CLIENT_MAC, ip, name: name.clone(), client_id: client_id.clone() });
    run.hear(&mut listening, heard);
    let claims = run.claims();
    let [claim] = claims.as_slice() else { panic!("{claims:?}") };
    assert_eq!((claim.mac, claim.ip), (CLIENT_MAC, Some(IpAddr::from([10, 0, 0, 77]))));
    assert_eq!(claim.kind, ClaimKind::Leased { server: server(), name, client_id });
}

#[test]
fn ordinals_count_within_a_frame_and_ticks_sort_before_their_packet() {
    let mut run = Run::new();
    run.at(0, &tcp(false, SYN | ACK, 5000, 1001, b""));
    run.at(1, &udp(true, b"?"));
    run.tick(40_000);
    run.at(40_001, &udp(true, b"?"));
    let orders: Vec<_> = run.out.iter().map(|o| (o.order.frame, o.order.packet, o.order.ordinal)).collect();
    let expected = [(1, true, 0), (1, true, 1), (2, true, 0), (3, false, 0), (3, false, 1), (3, true, 0)];
    assert_eq!(orders, expected);
    assert!(run.out.windows(2).all(|w| matches!(w, [a, b] if a.order < b.order)));
    assert!(run.out.iter().all(|o| o.order.shard == 7));
}

#[test]
fn server_data_is_told_once() {
    let mut run = Run::new();
    run.at(0, &sctp(true, SctpChunk::Init, b""));
    run.at(1, &sctp(false, SctpChunk::InitAck, b""));
    run.at(2, &sctp(false, SctpChunk::Data, b"a"));
    run.at(3, &sctp(false, SctpChunk::Data, b"b"));
    assert_eq!(run.facts().iter().filter(|(_, f)| *f == FlowFact::ServerData).count(), 1);
}

/// False while the roster of protocols is empty: then nothing ever listens, and nothing below can be shown.
fn anything_listens() -> bool {
    AppState::new(Transport::Tcp, false).listening()
}

/// SYN and SYN-ACK of the client's port `n`, then `payload` from the server at `seq`.
fn serve(run: &mut Run, n: u16, seq: u32, payload: &[u8]) {
    for mut packet in
        [tcp(true, SYN, 1000, 0, b""), tcp(false, SYN | ACK, 5000, 1001, b""), tcp(false, ACK, seq, 1001, payload)]
    {
        if let Payload::Tcp(tcp) = &mut packet.payload {
            *(if packet.src == client() { &mut tcp.src_port } else { &mut tcp.dst_port }) = n;
        }
        run.at(0, &packet);
    }
}

fn recognised(run: &mut Run) -> usize {
    run.facts().iter().filter(|(_, f)| matches!(f, FlowFact::App(info) if info.proto.as_str() == "ssh")).count()
}

const BANNER: &[u8] = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";

#[test]
fn a_banner_out_of_order_is_recognised_once_the_hole_is_filled() {
    if !anything_listens() {
        return;
    }
    let mut run = Run::new();
    serve(&mut run, 40000, 5005, BANNER.get(4..).unwrap_or_default());
    assert_eq!(run.shard.sizes().last().map(|s| s.1 > 0), Some(true));
    run.at(1, &tcp(false, ACK, 5001, 1001, BANNER.get(..4).unwrap_or_default()));
    assert_eq!(recognised(&mut run), 1);
    assert_eq!(run.shard.sizes().last().map(|s| s.1), Some(0));
}

#[test]
fn a_hole_that_stays_becomes_a_gap_at_a_tick_and_frees_what_was_held() {
    if !anything_listens() {
        return;
    }
    let mut run = Run::new();
    serve(&mut run, 40000, 5005, BANNER.get(4..).unwrap_or_default());
    run.tick(1000);
    assert_eq!(run.shard.listeners.waiting.len(), 1);
    run.tick(2000);
    assert_eq!((run.shard.listeners.waiting.len(), run.shard.listeners.held_back.used()), (0, 0));
    assert_eq!(run.shard.listeners.stream_counters.gaps_aged, 1);
}

#[test]
fn unrecognisable_streams_do_not_keep_a_newer_one_from_being_recognised() {
    if !anything_listens() {
        return;
    }
    let limits = ShardLimits { opening_bytes_max: 4096, ..ShardLimits::default() };
    let mut run = Run::new();
    run.shard = Shard::new(0, &limits, HostOsTable::default(), 1);
    for n in 0..500 {
        // The beginning of a banner keeps the protocol unsure.
        serve(&mut run, n, 5001, b"SSH-2.0-and-never-an-end");
        assert!(run.shard.listeners.opening_bytes <= 4096);
        assert!(run.shard.listeners.oldest.len() <= 2 * run.shard.listeners.count + QUEUE_SLACK);
    }
    assert!(run.shard.listeners.count < 500);
    serve(&mut run, 600, 5001, BANNER);
    assert_eq!(recognised(&mut run), 1);
}

proptest::proptest! {
    /// Whatever comes, the books stay within their limits and are empty when all flows have ended.
    #[test]
    fn any_packets_keep_the_books(packets in proptest::collection::vec(
        (proptest::bool::ANY, 0u8..64, 0u32..6000, 0u32..6000, 0u16..20, 0u64..900, 0usize..40), 1..300)) {
        let limits = ShardLimits {
            flows_max: 10,
            reassembly_bytes_max: 2000,
            opening_bytes_max: 300,
            ..ShardLimits::default()
        };
        let mut run = Run::new();
        run.shard = Shard::new(0, &limits, HostOsTable::default(), 1);
        let mut ms = 0;
        for (from_client, flags, seq, ack, port, wait, len) in packets {
            ms += wait;
            run.tick(ms);
            let mut packet = tcp(from_client, flags, seq, ack, BANNER.get(..len).unwrap_or_default());
            if let Payload::Tcp(tcp) = &mut packet.payload {
                *(if from_client { &mut tcp.src_port } else { &mut tcp.dst_port }) = port;
            }
            run.at(ms, &packet);
            let [(_, flows), (_, listening), (_, opening), _] = run.shard.sizes();
            proptest::prop_assert!(flows <= 10 && listening <= flows && opening <= 300);
        }
        run.shard.finish(run.frame + 1, at(ms), &mut run.out);
        proptest::prop_assert_eq!(run.shard.sizes().map(|s| s.1), [0; 4]);
        proptest::prop_assert!(run.out.windows(2).all(|w| matches!(w, [a, b] if a.order < b.order)));
    }
}
