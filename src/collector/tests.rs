//! What exporters say and what is made of it, on datagrams made by hand; each claim has its quiet twin.

use std::net::IpAddr;

use super::half::{ACK, FIN, PSH, RST, SYN};
use super::{Collector, Samples};
use crate::model::{AwaitedTemplate, FlowRef, LinkType, Outcome, Record, RecordFormat, Side, Timestamp};
use crate::scenario::export::{Moment, OneWay, ipfix, netflow5, netflow9, sflow};

const AT: Moment = Moment { uptime_ms: 100_000, unix_s: 1_767_225_600 };
const WHOLE: u8 = SYN | ACK | PSH | FIN;
type End = (u8, u16);
const CLIENT: End = (12, 49_152);
const WEB: End = (11, 80);

fn exporter() -> IpAddr {
    IpAddr::from([192, 0, 2, 1])
}

fn now(second: i64) -> Timestamp {
    Timestamp::from_parts(u64::from(AT.unix_s), 0).plus_s(second)
}

fn one_way(src: End, dst: End, flags: u8, first_ms: u32) -> OneWay {
    let end = |(host, port): End| (IpAddr::from([10, 0, 0, host]), port);
    let (src, dst) = (end(src), end(dst));
    OneWay { src, dst, protocol: 6, flags, packets: 6, bytes: 600, first_ms, last_ms: first_ms + 50 }
}

fn both(client: End, server: End, flags: [u8; 2]) -> [OneWay; 2] {
    [one_way(client, server, flags[0], 90_000), one_way(server, client, flags[1], 90_001)]
}

fn udp(flows: [OneWay; 2]) -> [OneWay; 2] {
    flows.map(|flow| OneWay { protocol: 17, flags: 0, ..flow })
}

/// What one exporter's datagrams came to, one a second, and whatever was left waiting.
fn told(datagrams: &[Vec<u8>]) -> Vec<(FlowRef, Record)> {
    let mut collector = Collector::default();
    let mut out = Vec::new();
    for (at, datagram) in datagrams.iter().enumerate() {
        let (frame, now) = (at as u64 + 1, now(at as i64));
        collector.datagram(exporter(), datagram, frame, now, &mut |flow, record| out.push((flow, record)));
    }
    collector.finish(&mut |flow, record| out.push((flow, record)));
    out
}

/// The only conversation: who asked, who was asked, and how it went.
fn only(flows: &[OneWay]) -> (u16, u16, Outcome) {
    let told = told(&[netflow9(AT, true, flows)]);
    assert_eq!(told.len(), 1, "{told:#?}");
    (told[0].0.orig.port, told[0].0.resp.port, told[0].1.outcome)
}

fn count(collector: &Collector, name: &str) -> u64 {
    let mut report = Vec::new();
    collector.report(&mut report);
    report.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
}

#[test]
fn every_version_tells_the_same_conversation() {
    let flows = both(CLIENT, WEB, [WHOLE; 2]);
    let forms = [
        (netflow5(AT, &flows), "NetFlow"),
        (netflow9(AT, true, &flows), "NetFlow"),
        (ipfix(AT, true, &flows), "IPFIX"),
    ];
    for (datagram, format) in forms {
        let told = told(&[datagram]);
        let [(flow, record)] = told.as_slice() else { panic!("{told:#?}") };
        assert_eq!((flow.orig.port, flow.resp.port, record.outcome), (49_152, 80, Outcome::Answered));
        assert_eq!((flow.end(Side::Resp).ip, record.exporter), (IpAddr::from([10, 0, 0, 11]), exporter()));
        assert_eq!((record.totals.orig_packets, record.totals.resp_bytes, record.sampling), (6, 600, 1));
        assert_eq!(now(0).since_ns(flow.first_seen), 10_000_000_000, "ten seconds before the export");
        assert_eq!(record.format.to_string(), format);
    }
}

#[test]
fn ipv6_is_told_too() {
    let v6 = |flow: OneWay| {
        let over = |(ip, port): (IpAddr, u16)| match ip {
            IpAddr::V4(v4) => (IpAddr::V6(v4.to_ipv6_mapped()), port),
            v6 => (v6, port),
        };
        OneWay { src: over(flow.src), dst: over(flow.dst), ..flow }
    };
    assert_eq!(only(&both(CLIENT, WEB, [WHOLE; 2]).map(v6)), (49_152, 80, Outcome::Answered));
}

#[test]
fn directions_that_come_apart_are_paired_in_either_order() {
    let [there, back] = both(CLIENT, WEB, [WHOLE; 2]);
    for order in [[there, back], [back, there]] {
        let datagrams = order.map(|flow| netflow9(AT, true, &[flow]));
        let told = told(&datagrams);
        let summary: Vec<_> = told.iter().map(|(flow, r)| (flow.orig.port, flow.resp.port, r.outcome)).collect();
        assert_eq!(summary, [(49_152, 80, Outcome::Answered)]);
    }
}

#[test]
fn a_direction_that_waits_too_long_is_told_alone() {
    let (mut collector, mut out) = (Collector::default(), Vec::new());
    let [there, back] = both(CLIENT, WEB, [WHOLE; 2]);
    let mut tell = |flow: FlowRef, record: Record| out.push((flow.orig.port, record.outcome));
    collector.datagram(exporter(), &netflow5(AT, &[there]), 1, now(0), &mut tell);
    collector.tick(now(89), &mut tell);
    collector.datagram(exporter(), &netflow5(AT, &[back]), 2, now(89), &mut tell);
    collector.datagram(exporter(), &netflow5(AT, &[there]), 3, now(100), &mut tell);
    collector.tick(now(190), &mut tell);
    collector.datagram(exporter(), &netflow5(AT, &[back]), 4, now(190), &mut tell);
    collector.finish(&mut tell);
    assert_eq!(out, [(49_152, Outcome::Answered), (49_152, Outcome::OneWay), (80, Outcome::OneWay)]);
}

#[test]
fn one_that_was_paired_does_not_hurry_the_next() {
    let (mut collector, mut out) = (Collector::default(), Vec::new());
    let [there, back] = both(CLIENT, WEB, [WHOLE; 2]);
    let [other, _] = both((12, 49_153), WEB, [WHOLE; 2]);
    let mut tell = |flow: FlowRef, record: Record| out.push((flow.orig.port, record.outcome));
    collector.datagram(exporter(), &netflow5(AT, &[there]), 1, now(0), &mut tell);
    collector.datagram(exporter(), &netflow5(AT, &[back]), 2, now(1), &mut tell);
    collector.datagram(exporter(), &netflow5(AT, &[other]), 3, now(80), &mut tell);
    collector.tick(now(169), &mut tell);
    assert_eq!(count(&collector, "collector.one_way"), 0);
    collector.tick(now(170), &mut tell);
    assert_eq!(out, [(49_152, Outcome::Answered), (49_153, Outcome::OneWay)]);
}

#[test]
fn a_refused_connection_is_no_service() {
    assert_eq!(only(&both(CLIENT, WEB, [SYN, RST | ACK])), (49_152, 80, Outcome::Refused));
}

#[test]
fn a_connection_that_began_before_its_record_proves_nobody() {
    let (.., outcome) = only(&both(CLIENT, WEB, [ACK | PSH; 2]));
    assert_eq!(outcome, Outcome::Unclear);
}

#[test]
fn the_earlier_asked_on_ports_that_say_nothing() {
    let (a, b) = ((12, 50_000), (11, 44_444));
    assert_eq!(only(&both(a, b, [WHOLE; 2])), (50_000, 44_444, Outcome::Answered));
    assert_eq!(only(&both(b, a, [WHOLE; 2])), (44_444, 50_000, Outcome::Answered));
}

#[test]
fn a_clients_ephemeral_port_is_never_the_service() {
    // The exporter's order contradicts the ports: nobody is believed.
    assert_eq!(only(&both(WEB, CLIENT, [WHOLE; 2])).2, Outcome::Unclear);
    // In the same millisecond the ports decide.
    let [mut there, back] = both(WEB, CLIENT, [WHOLE; 2]);
    there.first_ms = back.first_ms;
    assert_eq!(only(&[there, back]), (49_152, 80, Outcome::Answered));
    // In the same millisecond, and both ephemeral: nothing decides.
    let [mut there, back] = both((11, 50_001), CLIENT, [WHOLE; 2]);
    there.first_ms = back.first_ms;
    assert_eq!(only(&[there, back]).2, Outcome::Unclear);
}

#[test]
fn a_udp_reply_is_a_service_and_a_question_alone_is_not() {
    let [there, back] = udp(both(CLIENT, (11, 53), [0; 2]));
    assert_eq!(only(&[there, back]), (49_152, 53, Outcome::Answered));
    assert_eq!(only(&[there]).2, Outcome::OneWay);
}

#[test]
fn records_before_their_template_are_counted_and_told_by_name() {
    let flows = both(CLIENT, WEB, [WHOLE; 2]);
    let (mut collector, mut out) = (Collector::default(), 0);
    let mut tell = |_: FlowRef, _: Record| out += 1;
    collector.datagram(exporter(), &ipfix(AT, false, &flows), 1, now(0), &mut tell);
    assert_eq!(collector.awaited(), [AwaitedTemplate { exporter: exporter(), template: 256, sets: 1 }]);
    assert_eq!(count(&collector, "collector.discard.no_template"), 1);
    // Another exporter's template of that number is not this one's.
    collector.datagram(IpAddr::from([192, 0, 2, 9]), &ipfix(AT, true, &[]), 2, now(1), &mut tell);
    collector.datagram(exporter(), &ipfix(AT, false, &flows), 3, now(1), &mut tell);
    assert_eq!(count(&collector, "collector.discard.no_template"), 2);
    collector.datagram(exporter(), &ipfix(AT, true, &flows), 4, now(2), &mut tell);
    assert_eq!((out, collector.awaited().len()), (1, 0));
}

#[test]
fn templates_stop_at_their_bounds_and_are_counted() {
    let template = |id: u16, fields: u16| {
        let mut set = [id.to_be_bytes(), fields.to_be_bytes()].concat();
        (0..fields).for_each(|_| set.extend([0, 8, 0, 4]));
        let mut out = [[0, 10], (set.len() as u16 + 20).to_be_bytes()].concat();
        out.extend([0; 12]);
        out.extend([[0, 2], (set.len() as u16 + 4).to_be_bytes()].concat());
        [out, set].concat()
    };
    let mut collector = Collector::default();
    let mut quiet = |_: FlowRef, _: Record| {};
    for id in 256..256 + 129 {
        collector.datagram(exporter(), &template(id, 1), 1, now(0), &mut quiet);
    }
    assert_eq!((count(&collector, "collector.templates"), count(&collector, "collector.discard.template")), (128, 1));
    collector.datagram(exporter(), &template(256, 257), 1, now(0), &mut quiet);
    assert_eq!(count(&collector, "collector.discard.template"), 2);
    // The last exporter is the 1,025th: the one that was silent longest goes.
    for host in 0..1_024u16 {
        let [a, b] = host.to_be_bytes();
        collector.datagram(IpAddr::from([10, 1, a, b]), &template(256, 1), 1, now(1), &mut quiet);
    }
    assert_eq!(count(&collector, "collector.exporters.evicted"), 1);
}

#[test]
fn a_sampled_flows_order_is_not_believed() {
    let flows = both((12, 50_000), (11, 44_444), [WHOLE; 2]);
    let mut datagram = netflow5(AT, &flows);
    datagram[22..24].copy_from_slice(&(0x4000u16 | 100).to_be_bytes());
    let told = told(&[datagram]);
    assert_eq!((told[0].1.outcome, told[0].1.sampling), (Outcome::Unclear, 100));
}

#[test]
fn samples_are_the_beginnings_of_packets() {
    let frames: [&[u8]; 2] = [&[7; 60], &[9; 1_514]];
    let datagram = sflow(512, 128, &frames);
    let mut samples = Samples::new(&datagram);
    let seen: Vec<_> = samples.by_ref().map(|s| (s.link, s.bytes.len(), s.wire_len, s.rate)).collect();
    assert_eq!(seen, [(LinkType::ETHERNET, 60, 60, 512), (LinkType::ETHERNET, 128, 1_514, 512)]);
    assert_eq!((samples.counters.samples, samples.counters.malformed), (2, 0));
}

#[test]
fn hostile_datagrams_end_and_are_counted() {
    let flows = both(CLIENT, WEB, [WHOLE; 2]);
    let all = [netflow5(AT, &flows), netflow9(AT, true, &flows), ipfix(AT, true, &flows), sflow(9, 128, &[&[7; 90]])];
    let mut collector = Collector::default();
    let mut quiet = |_: FlowRef, _: Record| {};
    let mut take = |bytes: &[u8]| {
        collector.datagram(exporter(), bytes, 1, now(0), &mut quiet);
        assert!(Samples::new(bytes).count() <= bytes.len());
    };
    for datagram in &all {
        for cut in 0..datagram.len() {
            take(&datagram[..cut]);
        }
        for at in 0..datagram.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bent = datagram.clone();
                bent[at] ^= flip;
                take(&bent);
            }
        }
    }
    assert!(count(&collector, "collector.discard.malformed") > 100);
    // What comes after is read as before.
    let before = count(&collector, "collector.paired");
    collector.datagram(IpAddr::from([192, 0, 2, 77]), &all[1], 1, now(0), &mut quiet);
    assert_eq!(count(&collector, "collector.paired"), before + 1);
}

#[test]
fn formats_are_named_as_people_name_them() {
    assert_eq!(RecordFormat::NetFlow.to_string(), "NetFlow");
    assert_eq!(RecordFormat::Ipfix.to_string(), "IPFIX");
}
