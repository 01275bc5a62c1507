//! What other people's captures of evasions read as: fragments that overlap, segments that contradict each other,
//! forged resets. The streams are those that the application parsers would be given.

use std::collections::BTreeMap;
use std::path::Path;

use eastwatch::capture::{Batch, Files, Filled, Source};
use eastwatch::decode::{DecodeConfig, Decoder, HostOs, HostOsTable, Locator, Payload, Tcp};
use eastwatch::flow::{FlowTable, Head, Timeouts};
use eastwatch::model::{Side, Timestamp};
use eastwatch::stream::{Budget, Piece, Reassembly, StreamCounters};

use super::evasions;
use super::harness::corpus;

/// A capture, the receivers' system, what its streams are to hold, what they are not, and why.
pub struct Row {
    pub capture: &'static str,
    pub os: HostOs,
    pub holds: &'static [&'static str],
    pub lacks: &'static [&'static str],
    pub conflict: bool,
    pub why: &'static str,
}

const OVERLAP: &str = "suricata-verify/_shared/df0a1bd4d7-tcp-overlap.pcap";

const STREAMS: &[Row] = &[
    Row {
        capture: OVERLAP,
        os: HostOs::Bsd,
        holds: &["GOOD"],
        lacks: &["EVIL"],
        conflict: true,
        why: "eve-payload-01: the first of two equal segments counts before either is acknowledged",
    },
    Row {
        capture: OVERLAP,
        os: HostOs::OldLinux,
        holds: &["EVIL"],
        lacks: &["GOOD"],
        conflict: true,
        why: "eve-payload-02: old Linux takes the second",
    },
    Row {
        capture: "suricata-verify/_shared/bfbfb3333a-tcp-simple-gap2.pcap",
        os: HostOs::Bsd,
        holds: &["VERY[4 bytes missing]DATA"],
        lacks: &[],
        conflict: false,
        why: "eve-payload-05: acknowledged but never seen is a gap",
    },
    Row {
        capture: "suricata-verify/eve-payload-06-tcp-data-leading-gap/tcp-leading-gap.pcap",
        os: HostOs::Bsd,
        holds: &["[4 bytes missing]GOODDATA"],
        lacks: &[],
        conflict: false,
        why: "eve-payload-06: so it is at the beginning",
    },
    Row {
        capture: "suricata-verify/_shared/0ee0995d83-with_evasion_linux.pcap",
        os: HostOs::Linux,
        holds: &["THIS_IS_A_TEST"],
        lacks: &[],
        conflict: false,
        why: "bug-3286: a forged reset and a forged FIN before the true answer end nothing",
    },
    Row {
        capture: "suricata-verify/bug-6244-tcp-rst-with-data/tcp-rst-with-data.pcap",
        os: HostOs::Bsd,
        holds: &["Please Let Me In!"],
        lacks: &["Access Denied"],
        conflict: false,
        why: "bug-6244: the text of a reset is not part of the stream (RFC 9293 section 3.5.3)",
    },
    Row {
        capture: "suricata-verify/tcp-rst-unacked-stream-03-gap/input.pcap",
        os: HostOs::Bsd,
        holds: &["Please "],
        lacks: &["Access Denied"],
        conflict: false,
        why: "tcp-rst-unacked-stream-03: what was never acknowledged is read all the same at the end",
    },
    Row {
        capture: "suricata-verify/_shared/14b9e17653-input.pcap",
        os: HostOs::Bsd,
        holds: &["GET / HTTP/1.0\r\n"],
        lacks: &[],
        conflict: false,
        why: "tcp-rst-unacked-stream-07: so it is behind a reset",
    },
    Row {
        capture: "suricata-verify/tcp-split-handshake-01-4whs/split-handshake-4whs.pcap",
        os: HostOs::Bsd,
        holds: &["EVIL"],
        lacks: &[],
        conflict: false,
        why: "tcp-split-handshake-01: both ends send a SYN, and the payload is read",
    },
    Row {
        capture: "pcap/reassembly/quantumins-qi_internet_SYNACK_curl_jsonip.pcap",
        os: HostOs::Bsd,
        holds: &["Content-Length: 5\r\n\r\nBANG!"],
        lacks: &[],
        conflict: true,
        why: "QuantumInsert: the forged answer came first, curl took it, and the true one contradicts it",
    },
    Row {
        capture: "suricata-verify/smb-eicar-overlap/input.pcap",
        os: HostOs::Bsd,
        holds: &["SMB"],
        lacks: &[],
        conflict: false,
        why: "smb-eicar-overlap: the overlap is within SMB, and TCP only repeats itself",
    },
    Row {
        capture: "pcap/reassembly/zeek-reassembly.pcap",
        os: HostOs::Bsd,
        holds: &["SEARCH /AAAA", "[8 bytes missing]", "Content-Type: text/xml"],
        lacks: &[],
        conflict: true,
        why: "an exploit: bytes 1715 to 1723 are acknowledged and in no segment, later ones overlap with other bytes",
    },
    Row {
        capture: "suricata-verify/defrag/bug-6887-defrag-eth-vlan-ipv6-tcp/frag-eth-vlan-ipv6-tcp.pcap",
        os: HostOs::Bsd,
        holds: &[],
        lacks: &["bytes missing"],
        conflict: false,
        why: "bug-6887: a segment in three fragments",
    },
];

#[test]
fn captures_of_overlaps_read_as_the_receiver_read_them() {
    let Some(corpus) = corpus() else {
        eprintln!("the corpus is not beside this checkout: nothing was read");
        return;
    };
    let mut wrong = Vec::new();
    for row in STREAMS.iter().chain(evasions::STREAMS) {
        let read = Read::of(&corpus.join(row.capture), row.os);
        let text = read.streams.values().cloned().collect::<Vec<_>>().join("\n--\n");
        let holds = row.holds.iter().all(|part| text.contains(part)) && !text.is_empty();
        let lacks = !row.lacks.iter().any(|part| text.contains(part));
        if !holds || !lacks || row.conflict != read.conflict {
            wrong.push(format!("{} ({:?}): {}\nconflict {}: {text}", row.capture, row.os, row.why, read.conflict));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A capture, counters that are to have exactly these values, and why.
pub type Counts = (&'static str, &'static [(&'static str, u64)], &'static str);

const DROPPED: &[(&str, u64)] =
    &[("decode.discard.fragment_overlap", 1), ("decode.fragment.overlap", 1), ("decode.fragments", 4)];
const OVERSIZE: &[(&str, u64)] =
    &[("decode.discard.fragment_misfit", 1), ("decode.discard.fragment_oversize", 1), ("decode.fragments", 48)];

const FRAGMENTS: &[Counts] = &[
    (
        "suricata-verify/ipv6-evasion/ipv6-malformed-fragments-1/frag-1.pcap",
        DROPPED,
        "a fragment that is repeated with other bytes: the host did not answer, either",
    ),
    (
        "suricata-verify/ipv6-evasion/ipv6-malformed-fragments-2/frag-2.pcap",
        DROPPED,
        "a fragment that is repeated with other bytes: the host did not answer, either",
    ),
    (
        "suricata-verify/ipv6-evasion/ipv6-malformed-fragments-4/frag-4.pcap",
        DROPPED,
        "a fragment that is repeated with other bytes: the host did not answer, either",
    ),
    (
        "suricata-verify/ipv6-evasion/ipv6-malformed-fragments-17/frag-17.pcap",
        DROPPED,
        "a fragment that is repeated with other bytes: the host did not answer, either",
    ),
    (
        "suricata-verify/ipv6-evasion/ipv6-malformed-fragments-32/frag-32.pcap",
        OVERSIZE,
        "the datagram would be longer than 65,535 bytes",
    ),
    (
        "suricata-verify/ipv6-evasion/ipv6-malformed-fragments-33/frag-33.pcap",
        OVERSIZE,
        "the datagram would be longer than 65,535 bytes",
    ),
    (
        "suricata-verify/ipv6-evasion/ipv6-malformed-fragments-9/frag-9.pcap",
        &[],
        "a packet that says it is a fragment and is whole",
    ),
    (
        "suricata-verify/ipv6-evasion/ipv6-malformed-fragments-11/frag-11.pcap",
        &[],
        "many fragment headers, all of whole packets",
    ),
    (
        "suricata-verify/ipv6-evasion/ipv6-malformed-fragments-26/frag-26.pcap",
        &[],
        "whole, and too short for its transport",
    ),
    (
        "suricata-verify/ipv6-evasion/ipv6-malformed-fragments-28/frag-28.pcap",
        &[("decode.fragments", 2)],
        "a whole packet with the id of two fragments has nothing to do with them (RFC 6946)",
    ),
    (
        "suricata-verify/defrag/bug-6887-defrag-eth-vlan-ipv4-tcp-syn/frag-eth-vlan-ip-tcp-syn.pcap",
        &[("decode.fragment.reassembled", 1), ("decode.fragments", 3)],
        "a SYN in three fragments",
    ),
    (
        "suricata-verify/defrag/bug-6942-6887-defrag-eth-ip-gre-ppp-ip-udp-data/eth-ip-gre-ppp-max-ip-packet.pcap",
        &[("decode.fragment.reassembled", 1), ("decode.fragments", 1024)],
        "the largest datagram there is, in a tunnel",
    ),
    (
        "pcap/reassembly/pcappluspl-ip6_fragments.pcap",
        &[("decode.fragment.reassembled", 4), ("decode.fragments", 36)],
        "mDNS",
    ),
    ("pcap/reassembly/zeek-fragmented-3.pcap", &[("decode.fragments", 5)], "the last fragment is missing"),
    (
        "pcap/badinput/ndpi-ip_fragmented_garbage.pcap",
        &[("decode.fragment.reassembled", 4), ("decode.fragments", 1252)],
        "garbage, of which four happen to fit",
    ),
];

#[test]
fn captures_of_fragments_are_joined_dropped_and_counted() {
    let Some(corpus) = corpus() else {
        eprintln!("the corpus is not beside this checkout: nothing was read");
        return;
    };
    let mut wrong = Vec::new();
    for (capture, counts, why) in FRAGMENTS.iter().chain(evasions::FRAGMENTS) {
        let read = Read::of(&corpus.join(capture), HostOs::Bsd);
        let fragments: Vec<_> =
            read.counters.iter().filter(|(name, _)| name.contains("fragment")).map(|(n, v)| (*n, *v)).collect();
        if fragments != *counts {
            wrong.push(format!("{capture}: {why}\n{fragments:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What one capture reads as.
#[derive(Default)]
struct Read {
    /// By first frame and side of the flow; a gap as Suricata prints it.
    streams: BTreeMap<(u64, Side), String>,
    conflict: bool,
    counters: BTreeMap<&'static str, u64>,
}

/// Reassembly as the runtime drives it.
struct Streams {
    flows: FlowTable<Option<Box<Reassembly>>>,
    hosts: HostOsTable,
    budget: Budget,
    counters: StreamCounters,
    slots: BTreeMap<u64, u32>,
    read: Read,
}

impl Read {
    fn of(file: &Path, os: HostOs) -> Read {
        let config = DecodeConfig { host_os_default: os, ..DecodeConfig::default() };
        let mut source = Files::open(&[file.to_owned()], None).unwrap();
        let (mut locator, mut decoder) = (Locator::new(config.clone()), Decoder::new(&config));
        let mut streams = Streams {
            flows: FlowTable::new(1 << 12, Timeouts::default(), 1),
            hosts: config.hosts(),
            budget: Budget::new(1 << 20),
            counters: StreamCounters::default(),
            slots: BTreeMap::new(),
            read: Read::default(),
        };
        let (mut batch, mut frame, mut now) = (Batch::new(), 0, Timestamp::ZERO);
        while !matches!(source.fill(&mut batch), Ok(Filled::End)) {
            for captured in &batch.frames {
                frame += 1;
                now = now.max(captured.time);
                let located = locator.locate(captured.link, batch.get(captured), captured.wire_len, now);
                let Ok(Some(located)) = located else { continue };
                let head = Head {
                    frame,
                    time: now,
                    segment: located.segment,
                    src_mac: located.src_mac,
                    dst_mac: located.dst_mac,
                    host_hint: located.host_hint,
                    path: Default::default(),
                    taken: Default::default(),
                };
                let datagram = decoder.datagram(located.network, located.bytes, located.cut, located.segment, now);
                let Ok(Some(datagram)) = datagram else { continue };
                let seen = streams.flows.packet(&head, &datagram, &mut |_, _| {});
                if let (Payload::Tcp(tcp), Some(seen)) = (&datagram.payload, seen)
                    && seen.usable
                {
                    streams.segment(seen.slot, seen.side, tcp, now);
                }
            }
        }
        streams.finish();
        let mut counters = Vec::new();
        decoder.counters.report(&mut counters);
        locator.counters.report(&mut counters);
        counters.into_iter().for_each(|(name, count)| *streams.read.counters.entry(name).or_default() += count);
        streams.read
    }
}

impl Streams {
    fn segment(&mut self, slot: u32, side: Side, tcp: &Tcp<'_>, now: Timestamp) {
        let Some(flow) = self.flows.flow_mut(slot) else { return };
        let first = flow.first_frame();
        self.slots.insert(first, slot);
        let next = flow.next_seq(side.other());
        let (orig, resp) = (self.hosts.of(flow.end(Side::Orig).0), self.hosts.of(flow.end(Side::Resp).0));
        let reassembly = flow.memory.get_or_insert_with(|| Box::new(Reassembly::new(orig, resp, self.hosts.urgent)));
        let seq = tcp.seq.wrapping_add(u32::from(tcp.flags.syn()));
        reassembly.begin(side, seq);
        if let Some(next) = next {
            reassembly.begin(side.other(), next);
        }
        let (budget, counters, mut sink) =
            (&mut self.budget, &mut self.counters, writer(&mut self.read.streams, first));
        reassembly.packet(side, tcp, now, budget, counters, &mut sink);
        self.read.conflict |= reassembly.take_conflict().is_some();
    }

    fn finish(&mut self) {
        for (first, slot) in &self.slots {
            let Some(reassembly) = self.flows.flow_mut(*slot).and_then(|flow| flow.memory.as_mut()) else { continue };
            let mut sink = writer(&mut self.read.streams, *first);
            reassembly.finish(&mut self.budget, &mut self.counters, &mut sink);
        }
    }
}

fn writer(streams: &mut BTreeMap<(u64, Side), String>, first: u64) -> impl FnMut(Side, Piece<'_>) {
    move |side, piece| {
        let stream = streams.entry((first, side)).or_default();
        match piece {
            Piece::Data(bytes) => stream.extend(bytes.iter().map(|byte| char::from(*byte))),
            Piece::Gap(len) => stream.push_str(&format!("[{len} bytes missing]")),
        }
    }
}
