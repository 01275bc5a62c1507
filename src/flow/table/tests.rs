//! The flow table by example: one sentence a test, each with its quiet twin; and by property.

use proptest::prelude::*;

use super::super::packets::*;
use super::*;
use crate::model::{FlowRef, FlowTotals};

/// A table, and what it told: flow, fact.
struct Run {
    table: FlowTable<u32>,
    told: Vec<(FlowRef, FlowFact)>,
    frame: u64,
}

impl Run {
    fn new(flows_max: usize) -> Self {
        Run { table: FlowTable::new(flows_max, Timeouts::default(), 1), told: Vec::new(), frame: 0 }
    }

    fn at(&mut self, ms: u64, datagram: &Datagram<'_>) -> Option<Seen> {
        self.frame += 1;
        let head = head(self.frame, ms, datagram.src == client());
        self.table.packet(&head, datagram, &mut |flow, fact| self.told.push((flow.reference(), fact)))
    }

    fn tick(&mut self, ms: u64) {
        self.table.tick(at(ms), &mut |flow, fact| self.told.push((flow.reference(), fact)));
    }

    fn unreachable(&mut self, ms: u64, quoted: &Quoted, code: u8) {
        let head = head(self.frame, ms, false);
        self.table.unreachable(&head, quoted, code, &mut |flow, fact| self.told.push((flow.reference(), fact)));
    }

    /// The facts in short, forgotten afterwards.
    fn facts(&mut self) -> Vec<String> {
        self.told
            .drain(..)
            .map(|(_, fact)| match fact {
                FlowFact::Attempt(opening) => format!("{opening:?}"),
                FlowFact::Refused(by) => format!("Refused {by:?}"),
                FlowFact::End(end, _) => format!("End {end:?}"),
                FlowFact::Progress(_) => "Progress".to_owned(),
                other => format!("{other:?}"),
            })
            .collect()
    }

    /// SYN, SYN-ACK, ACK, with initial sequence numbers 1000 and 5000.
    fn handshake(&mut self, ms: u64) {
        self.at(ms, &tcp(true, SYN, 1000, 0, b""));
        self.at(ms, &tcp(false, SYN | ACK, 5000, 1001, b""));
        self.at(ms, &tcp(true, ACK, 1001, 5001, b""));
    }
}

#[test]
fn a_connection_is_told_from_syn_to_fin() {
    let mut run = Run::new(16);
    run.handshake(0);
    run.at(1, &tcp(true, ACK, 1001, 5001, b"GET / HTTP/1.0\r\n\r\n"));
    run.at(2, &tcp(false, ACK, 5001, 1019, b"HTTP/1.0 200 OK\r\n\r\n"));
    run.at(3, &tcp(false, ACK | FIN, 5020, 1019, b""));
    run.at(4, &tcp(true, ACK | FIN, 1019, 5021, b""));
    run.at(5, &tcp(false, ACK, 5021, 1020, b""));
    run.tick(9_000);
    assert_eq!(run.table.len(), 1);
    run.tick(11_000);
    let end = run.told.last().cloned();
    assert_eq!(run.facts(), ["Syn", "Answer", "ServerData", "End Finished"]);
    let Some((flow, FlowFact::End(_, totals))) = end else { panic!("no end") };
    assert_eq!((flow.orig.ip, flow.orig.port, flow.orig.mac), (client(), 40000, Some(CLIENT_MAC)));
    assert_eq!((flow.resp.ip, flow.resp.port, flow.resp.mac), (server(), 80, Some(SERVER_MAC)));
    let expected = FlowTotals {
        orig_packets: 4,
        resp_packets: 4,
        orig_bytes: 178,
        resp_bytes: 179,
        last_seen: at(5),
        missed_bytes: 0,
        ..FlowTotals::default()
    };
    assert_eq!(totals, expected);
    assert!(run.table.is_empty());
}

#[test]
fn the_server_has_no_mac_before_it_sends() {
    let mut run = Run::new(16);
    run.at(0, &tcp(true, SYN, 1000, 0, b""));
    assert_eq!(run.told.first().map(|(flow, _)| flow.resp.mac), Some(None));
}

#[test]
fn a_reset_in_answer_to_the_syn_refuses() {
    let mut run = Run::new(16);
    run.at(0, &tcp(true, SYN, 1000, 0, b""));
    run.at(1, &tcp(false, RST | ACK, 0, 1001, b""));
    run.at(2, &tcp(false, RST | ACK, 0, 1001, b""));
    run.tick(20_000);
    assert_eq!(run.facts(), ["Syn", "Refused Reset", "End Reset"]);
}

#[test]
fn a_reset_that_does_not_acknowledge_the_syn_refuses_nothing() {
    let mut run = Run::new(16);
    run.at(0, &tcp(true, SYN, 1000, 0, b""));
    run.at(1, &tcp(false, RST | ACK, 0, 7777, b""));
    run.at(2, &tcp(false, SYN | ACK, 5000, 1001, b""));
    assert_eq!(run.facts(), ["Syn", "Answer"]);
    assert_eq!(run.table.counters.reset_out_of_window, 1);
}

#[test]
fn a_forged_refusal_does_not_hide_the_true_answer() {
    let mut run = Run::new(16);
    run.at(0, &tcp(true, SYN, 1000, 0, b""));
    run.at(1, &tcp(false, RST | ACK, 0, 1001, b""));
    run.at(2, &tcp(false, SYN | ACK, 5000, 1001, b""));
    assert_eq!(run.facts(), ["Syn", "Refused Reset", "Answer"]);
}

#[test]
fn an_unreachable_refuses_the_syn_or_the_datagram_it_quotes_once() {
    let mut run = Run::new(16);
    run.at(0, &tcp(true, SYN, 1000, 0, b""));
    run.at(0, &udp(true, b"x"));
    run.unreachable(1, &quoted(Transport::Tcp, 80), 1);
    run.unreachable(1, &quoted(Transport::Udp, 53), 3);
    run.unreachable(2, &quoted(Transport::Udp, 53), 3);
    assert_eq!(run.facts(), ["Syn", "Datagram", "Refused Unreachable(1)", "Refused Unreachable(3)"]);
}

#[test]
fn an_unreachable_refuses_nothing_that_was_answered_or_is_unknown() {
    let mut run = Run::new(16);
    run.at(0, &udp(true, b"x"));
    run.at(1, &udp(false, b"y"));
    run.unreachable(2, &quoted(Transport::Udp, 53), 3);
    run.unreachable(2, &quoted(Transport::Udp, 99), 3);
    assert_eq!(run.facts(), ["Datagram", "Answer"]);
    assert_eq!(run.table.counters.error_without_flow, 2);
}

#[test]
fn a_half_open_scan_is_an_answer_and_a_reset() {
    let mut run = Run::new(16);
    run.at(0, &tcp(true, SYN, 1000, 0, b""));
    run.at(1, &tcp(false, SYN | ACK, 5000, 1001, b""));
    run.at(2, &tcp(true, RST, 1001, 0, b""));
    run.tick(20_000);
    assert_eq!(run.facts(), ["Syn", "Answer", "End Reset"]);
}

#[test]
fn a_syn_ack_to_another_syn_answers_nothing() {
    let mut run = Run::new(16);
    run.at(0, &tcp(true, SYN, 1000, 0, b""));
    run.at(1, &tcp(false, SYN | ACK, 5000, 9999, b""));
    assert_eq!(run.facts(), ["Syn"]);
    assert_eq!(run.table.counters.answer_mismatched, 1);
}

#[test]
fn a_syn_ack_first_is_told_of_its_sender() {
    let mut run = Run::new(16);
    run.at(0, &tcp(false, SYN | ACK, 5000, 1001, b""));
    run.at(1, &tcp(true, ACK, 1001, 5001, b""));
    assert_eq!(run.told.first().map(|(flow, _)| (flow.orig.ip, flow.resp.ip)), Some((client(), server())));
    assert_eq!(run.facts(), ["SynAck", "Answer"]);
}

#[test]
fn data_from_the_server_stands_for_a_lost_syn_ack() {
    let mut run = Run::new(16);
    run.at(0, &tcp(true, SYN, 1000, 0, b""));
    run.at(1, &tcp(false, ACK, 5001, 1001, b"220 ready\r\n"));
    assert_eq!(run.facts(), ["Syn", "Answer", "ServerData"]);
}

#[test]
fn a_simultaneous_open_is_one_flow() {
    let mut run = Run::new(16);
    run.at(0, &tcp(true, SYN, 1000, 0, b""));
    run.at(0, &tcp(false, SYN, 5000, 0, b""));
    run.at(1, &tcp(true, SYN | ACK, 1000, 5001, b""));
    run.at(1, &tcp(false, SYN | ACK, 5000, 1001, b""));
    run.at(2, &tcp(true, ACK, 1001, 5001, b"x"));
    assert_eq!(run.facts(), ["Syn", "Answer"]);
}

#[test]
fn a_repeated_syn_is_the_same_attempt() {
    let mut run = Run::new(16);
    for ms in [0, 1000, 3000, 7000, 15_000] {
        run.tick(ms);
        run.at(ms, &tcp(true, SYN, 1000, 0, b""));
    }
    assert_eq!(run.facts(), ["Syn"]);
    assert_eq!(run.table.counters.syn_repeated, 4);
    run.tick(46_000);
    assert_eq!(run.facts(), ["End Timeout"]);
}

#[test]
fn a_new_syn_after_the_end_is_another_flow() {
    let mut run = Run::new(16);
    run.handshake(0);
    run.at(1, &tcp(true, RST, 1001, 0, b""));
    run.at(2, &tcp(true, SYN, 90_000, 0, b""));
    let ids: Vec<u64> = run.told.iter().map(|(flow, _)| flow.id).collect();
    assert_eq!(run.facts(), ["Syn", "Answer", "End Reset", "Syn"]);
    assert_ne!(ids.first(), ids.last());
    assert_eq!(run.table.counters.reused, 1);
}

#[test]
fn the_old_syn_again_after_the_end_is_not() {
    let mut run = Run::new(16);
    run.handshake(0);
    run.at(1, &tcp(true, RST, 1001, 0, b""));
    run.at(2, &tcp(true, SYN, 1000, 0, b""));
    assert_eq!(run.facts(), ["Syn", "Answer"]);
}

#[test]
fn a_new_syn_inside_a_living_connection_changes_nothing() {
    let mut run = Run::new(16);
    run.handshake(0);
    run.at(1000, &tcp(true, SYN, 90_000, 0, b""));
    run.at(1001, &tcp(true, ACK, 1001, 5001, b"still here"));
    assert_eq!(run.facts(), ["Syn", "Answer"]);
    assert_eq!((run.table.counters.syn_inside, run.table.counters.reused), (1, 0));
}

#[test]
fn a_new_syn_after_silence_or_a_new_syn_ack_is_another_flow() {
    let mut run = Run::new(16);
    run.handshake(0);
    run.at(11_000, &tcp(true, SYN, 90_000, 0, b""));
    assert_eq!(run.facts(), ["Syn", "Answer", "End Timeout", "Syn"]);
    run.at(11_001, &tcp(false, SYN | ACK, 6000, 90_001, b""));
    run.at(11_001, &tcp(true, ACK, 90_001, 6001, b""));
    run.at(11_002, &tcp(false, SYN | ACK, 777, 4_000_000_000, b""));
    assert_eq!(run.facts(), ["Answer", "End Timeout", "SynAck", "Answer"]);
}

#[test]
fn a_reset_outside_the_window_ends_nothing() {
    let mut run = Run::new(16);
    run.handshake(0);
    run.at(1, &tcp(true, RST, 1001 + (1 << 31), 0, b""));
    run.at(1, &tcp(true, RST, 900, 0, b""));
    run.tick(60_000);
    assert!(!run.facts().iter().any(|f| f.starts_with("End")));
    assert_eq!(run.table.counters.reset_out_of_window, 2);
}

#[test]
fn who_goes_on_sending_after_its_reset_did_not_send_it() {
    let mut run = Run::new(16);
    run.handshake(0);
    run.at(1, &tcp(true, RST, 1001, 0, b""));
    run.at(2, &tcp(true, ACK, 1001, 5001, b"not me"));
    run.tick(60_000);
    assert_eq!(run.facts(), ["Syn", "Answer", "Progress"]);
    assert_eq!(run.table.counters.reset_disowned, 1);
}

#[test]
fn mid_connection_is_told_as_such_and_answers_nothing() {
    let mut run = Run::new(16);
    run.at(0, &tcp(false, ACK, 5001, 1001, b"data"));
    run.at(1, &tcp(true, ACK, 1001, 5005, b"more"));
    assert_eq!(run.told.first().map(|(flow, _)| flow.orig.ip), Some(server()));
    assert_eq!(run.facts(), ["Midstream", "ServerData"]);
}

#[test]
fn one_way_mid_connection_times_out_sooner_than_an_established_one() {
    let mut run = Run::new(16);
    run.at(0, &tcp(true, ACK, 1001, 5001, b"x"));
    (1..=299).for_each(|s| run.tick(s * 1000));
    assert_eq!(run.facts(), ["Midstream", "Progress"]);
    run.tick(301_000);
    assert_eq!(run.facts(), ["End Timeout"]);
    let mut run = Run::new(16);
    run.handshake(0);
    (1..=3599).step_by(7).for_each(|s| run.tick(s * 1000));
    assert!(run.table.len() == 1 && !run.facts().contains(&"End Timeout".to_owned()));
    run.tick(3_601_000);
    assert_eq!(run.facts(), ["End Timeout"]);
}

#[test]
fn what_was_acknowledged_but_never_seen_is_missed() {
    let mut run = Run::new(16);
    run.handshake(0);
    run.at(1, &tcp(true, ACK, 1001, 5001, b"0123456789"));
    run.at(2, &tcp(true, ACK, 1111, 5001, b"0123456789"));
    run.at(3, &tcp(false, ACK, 5001, 1171, b""));
    run.table.finish(&mut |flow, fact| run.told.push((flow.reference(), fact)));
    let Some((_, FlowFact::End(_, totals))) = run.told.last() else { panic!("no end") };
    assert_eq!(totals.missed_bytes, 100 + 50);
}

#[test]
fn what_came_late_is_not_missed() {
    let mut run = Run::new(16);
    run.handshake(0);
    run.at(1, &tcp(true, ACK, 1011, 5001, b"0123456789"));
    run.at(2, &tcp(true, ACK, 1001, 5001, b"0123456789"));
    run.at(3, &tcp(true, ACK, 1001, 5001, b"0123456789"));
    run.table.finish(&mut |flow, fact| run.told.push((flow.reference(), fact)));
    let Some((_, FlowFact::End(_, totals))) = run.told.last() else { panic!("no end") };
    assert_eq!(totals.missed_bytes, 0);
    assert_eq!(run.table.counters.retransmitted, 2);
}

#[test]
fn a_datagram_is_answered_within_ten_seconds() {
    let mut run = Run::new(16);
    run.at(0, &udp(true, b"?"));
    run.at(10_000, &udp(false, b"!"));
    assert_eq!(run.facts(), ["Datagram", "Answer"]);
}

#[test]
fn a_later_datagram_is_no_answer() {
    let mut run = Run::new(16);
    run.at(0, &udp(true, b"?"));
    run.at(10_001, &udp(false, b"!"));
    run.at(10_002, &udp(false, b"!"));
    assert_eq!(run.facts(), ["Datagram"]);
    assert_eq!(run.table.counters.answered_late, 1);
    run.at(11_000, &udp(true, b"?"));
    run.at(11_001, &udp(false, b"!"));
    assert_eq!(run.facts(), ["Answer"]);
}

#[test]
fn echo_request_and_reply_are_one_flow_and_only_the_reply_answers() {
    let mut run = Run::new(16);
    run.at(0, &icmp(true, 8, 0, None));
    run.at(1, &icmp(false, 8, 0, None));
    assert_eq!(run.facts(), ["Datagram"]);
    run.at(2, &icmp(true, 8, 0, None));
    run.at(3, &icmp(false, 0, 0, None));
    run.tick(40_000);
    assert_eq!(run.facts(), ["Answer", "End Timeout"]);
}

#[test]
fn an_sctp_association_is_answered_refused_and_finished() {
    let mut run = Run::new(16);
    run.at(0, &sctp(true, SctpChunk::Init, b""));
    run.at(1, &sctp(false, SctpChunk::Abort, b""));
    assert_eq!(run.facts(), ["Syn", "Refused Reset"]);
    run.at(2, &sctp(true, SctpChunk::Init, b""));
    run.at(3, &sctp(false, SctpChunk::InitAck, b""));
    run.at(4, &sctp(true, SctpChunk::Other(10), b""));
    run.at(5, &sctp(false, SctpChunk::Data, b"x"));
    run.at(6, &sctp(true, SctpChunk::Shutdown, b""));
    run.at(7, &sctp(true, SctpChunk::ShutdownComplete, b""));
    run.tick(20_000);
    assert_eq!(run.facts(), ["End Reset", "Syn", "Answer", "ServerData", "End Finished"]);
}

#[test]
fn progress_is_told_once_a_minute_and_only_after_packets() {
    let mut run = Run::new(16);
    run.handshake(0);
    let mut seq = 1001;
    for second in 1..=200u64 {
        run.tick(second * 1000);
        if second < 100 {
            run.at(second * 1000, &tcp(true, ACK, seq, 5001, b"x"));
            seq += 1;
        }
    }
    let told = run.facts();
    assert_eq!(told, ["Syn", "Answer", "Progress", "Progress"]);
}

#[test]
fn a_full_table_forgets_the_unanswered_before_the_answered() {
    let mut run = Run::new(8);
    run.handshake(0);
    for port in 0..1000u16 {
        let mut scan = tcp(true, SYN, 1000, 0, b"");
        if let Payload::Tcp(tcp) = &mut scan.payload {
            tcp.dst_port = 1000 + port;
        }
        run.at(1 + u64::from(port), &scan);
        assert!(run.table.len() <= 8);
    }
    assert_eq!(run.table.counters.evicted_tentative, 993);
    assert_eq!(run.table.counters.evicted_settled, 0);
    run.at(2000, &tcp(true, ACK, 1001, 5001, b"still known"));
    assert_eq!(run.table.counters.opened, 1001);
}

#[test]
fn a_table_full_of_conversations_forgets_the_longest_silent() {
    let mut run = Run::new(4);
    for n in 0..6u16 {
        for from_client in [true, false] {
            let mut talk = udp(from_client, b"x");
            if let Payload::Udp(udp) = &mut talk.payload {
                *(if from_client { &mut udp.src_port } else { &mut udp.dst_port }) = 40000 + n;
            }
            run.at(u64::from(n) * 2000, &talk);
        }
    }
    let gone: Vec<u16> = run
        .told
        .iter()
        .filter(|(_, fact)| matches!(fact, FlowFact::End(FlowEnd::Evicted, _)))
        .map(|(flow, _)| flow.orig.port)
        .collect();
    assert_eq!(gone, [40000, 40001]);
    assert_eq!(run.table.counters.evicted_settled, 2);
}

#[test]
fn finishing_ends_flows_in_the_order_in_which_they_began() {
    let mut run = Run::new(100);
    for port in (1..60u16).rev() {
        let mut scan = tcp(true, SYN, 1000, 0, b"");
        if let Payload::Tcp(tcp) = &mut scan.payload {
            tcp.dst_port = port;
        }
        run.at(0, &scan);
    }
    run.told.clear();
    run.table.finish(&mut |flow, fact| run.told.push((flow.reference(), fact)));
    let frames: Vec<u64> = run.told.iter().map(|(flow, _)| flow.first_frame).collect();
    assert_eq!(frames, (1..60).collect::<Vec<_>>());
    assert!(run.table.is_empty());
}

#[test]
fn ids_fit_in_53_bits_and_depend_on_the_segment() {
    let mut run = Run::new(16);
    run.at(0, &udp(true, b"x"));
    let mut tagged = head(1, 0, true);
    tagged.segment = tagged.segment.with(crate::model::LayerKind::Vlan, 7);
    run.table.packet(&tagged, &udp(true, b"x"), &mut |flow, fact| run.told.push((flow.reference(), fact)));
    let ids: Vec<u64> = run.told.iter().map(|(flow, _)| flow.id).collect();
    assert!(ids.iter().all(|id| (1..1 << 53).contains(id)));
    assert_ne!(ids.first(), ids.last());
}

proptest! {
    /// Whatever the flags and numbers: no panic, a bounded table, every flow begun and ended exactly once, and the
    /// same facts again from the same packets, whatever the seed of the hash table.
    #[test]
    fn any_segments_keep_the_books(packets in prop::collection::vec(
        (any::<bool>(), any::<u8>(), any::<u32>(), any::<u32>(), 0u16..12, 0u64..2000, 0usize..3), 1..200)) {
        let once = |seed| {
            let mut run = Run::new(5);
            run.table = FlowTable::new(5, Timeouts::default(), seed);
            let mut ms = 0;
            for (from_client, flags, seq, ack, port, wait, len) in &packets {
                ms += wait;
                run.tick(ms);
                let mut packet = tcp(*from_client, *flags, *seq, *ack, b"ab".get(..*len).unwrap_or_default());
                if let Payload::Tcp(tcp) = &mut packet.payload {
                    *(if *from_client { &mut tcp.dst_port } else { &mut tcp.src_port }) = *port;
                }
                run.at(ms, &packet);
                prop_assert!(run.table.len() <= 5 && run.table.flows.len() <= 5);
            }
            run.table.finish(&mut |flow, fact| run.told.push((flow.reference(), fact)));
            Ok(run)
        };
        let (one, two) = (once(1)?, once(2)?);
        prop_assert_eq!(&one.told, &two.told);
        let begun = one.told.iter().filter(|(_, f)| matches!(f, FlowFact::Attempt(_))).count();
        let ended = one.told.iter().filter(|(_, f)| matches!(f, FlowFact::End(..))).count();
        prop_assert_eq!(begun, ended);
        prop_assert_eq!(begun as u64, one.table.counters.opened);
    }
}
