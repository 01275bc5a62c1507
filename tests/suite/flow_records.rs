//! The flow exports of the corpus: every datagram of real exporters is read, as far as its templates came.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use eastwatch::capture::{Batch, Files, Filled, Source};
use eastwatch::collector::{Collector, Samples};
use eastwatch::decode::{DecodeConfig, Decoder, Locator, Payload};
use eastwatch::model::{FlowRef, Outcome, Record, Timestamp};

use super::harness::corpus;

const NOW_S: u64 = 1_767_225_600;

/// What one exporter's datagrams came to.
#[derive(Debug, Default)]
struct Came {
    counters: BTreeMap<&'static str, u64>,
    told: Vec<(FlowRef, Record)>,
    samples: u64,
}

impl Came {
    fn of<'a>(datagrams: impl IntoIterator<Item = &'a Vec<u8>>) -> Came {
        let (mut collector, mut came) = (Collector::default(), Came::default());
        let exporter = IpAddr::from([192, 0, 2, 1]);
        for (at, datagram) in datagrams.into_iter().enumerate() {
            let (frame, now) = (at as u64 + 1, Timestamp::from_parts(NOW_S, 0));
            if datagram.starts_with(&[0, 0, 0, 5]) {
                let mut samples = Samples::new(datagram);
                came.samples += samples.by_ref().filter(|sample| !sample.bytes.is_empty()).count() as u64;
                collector.sampled(samples.counters);
            } else {
                collector.datagram(exporter, datagram, frame, now, &mut |flow, r| came.told.push((flow, r)));
            }
        }
        collector.finish(&mut |flow, r| came.told.push((flow, r)));
        let mut report = Vec::new();
        collector.report(&mut report);
        came.counters = report.into_iter().collect();
        came
    }

    fn count(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    fn outcomes(&self, outcome: Outcome) -> usize {
        self.told.iter().filter(|(_, record)| record.outcome == outcome).count()
    }
}

/// The datagrams of each exporter, templates first.
fn exporters(folder: &Path) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (!name.contains("tpl"), name)
    });
    let mut exporters: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for path in files {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let cut = ["_tpl", "_data", "_opttpl"].iter().filter_map(|part| stem.find(part)).min().unwrap_or(stem.len());
        exporters.entry(stem[..cut].to_owned()).or_default().push(std::fs::read(&path).unwrap());
    }
    exporters
}

/// The UDP payloads of a capture.
fn payloads(capture: &Path) -> Vec<Vec<u8>> {
    let mut files = Files::open(&[capture.to_owned()], None).unwrap();
    let (mut locator, mut decoder) = (Locator::new(DecodeConfig::default()), Decoder::new(&DecodeConfig::default()));
    let (mut batch, mut out) = (Batch::new(), Vec::new());
    while files.fill(&mut batch).unwrap() != Filled::End {
        for frame in &batch.frames {
            let Ok(Some(l)) = locator.locate(frame.link, batch.get(frame), frame.wire_len, frame.time) else {
                continue;
            };
            if let Ok(Some(datagram)) = decoder.datagram(l.network, l.bytes, l.cut, l.segment, frame.time)
                && let Payload::Udp(udp) = datagram.payload
            {
                out.push(udp.payload.to_vec());
            }
        }
    }
    out
}

/// Of each exporter's datagrams: records of conversations, those of directions in which nothing went, and sets whose
/// template is not in the corpus.
const EXPORTERS: &[(&str, [u64; 3])] = &[
    ("ipfix_test_barracuda_extended_uniflow", [0, 2, 0]),
    ("ipfix_test_ixia", [2, 1, 0]),
    ("ipfix_test_netscaler", [3, 0, 1]),
    ("ipfix_test_nokia_bras", [1, 0, 0]),
    ("ipfix_test_openbsd_pflow", [26, 0, 0]),
    ("ipfix_test_procera", [8, 0, 0]),
    ("ipfix_test_viptela", [1, 0, 0]),
    ("ipfix_test_vmware_vds", [5, 0, 0]),
    ("netflow5", [2, 0, 0]),
    // It claims 163 records and holds 30.
    ("netflow5_test_invalid02", [0, 0, 0]),
    ("netflow5_test_juniper_mx80", [29, 0, 0]),
    ("netflow9_test_0length_fields", [2, 8, 0]),
    ("netflow9_test_cisco_asa_1", [14, 0, 0]),
    ("netflow9_test_cisco_asr9k", [21, 0, 0]),
    ("netflow9_test_cisco_nbar", [5, 0, 0]),
    ("netflow9_test_field_layer2segmentid", [1, 0, 0]),
    ("netflow9_test_fortigate_fortios_542_appid", [17, 0, 0]),
    ("netflow9_test_h3c", [16, 0, 0]),
    ("netflow9_test_h3c_netstream_varstring", [1, 0, 0]),
    ("netflow9_test_iptnetflow_reduced_size_encoding", [12, 0, 6]),
    ("netflow9_test_macaddr", [29, 0, 0]),
    ("netflow9_test_paloalto_panos", [8, 0, 0]),
    ("netflow9_test_streamcore", [4, 0, 0]),
    ("netflow9_test_ubnt_edgerouter", [16, 0, 0]),
];

/// Records, sets without a template, and sFlow samples in the captures.
const CAPTURES: &[(&str, [u64; 3])] = &[
    ("pmacct-100-IPFIXv10-CISCO.pcap", [12, 0, 0]),
    ("pmacct-101-NFv9-CISCO-cust_primitives.pcap", [51, 0, 0]),
    ("scapy-ipfix.pcap", [1, 0, 0]),
    // No template is in it.
    ("ndpi-netflowv9.pcap", [0, 23, 0]),
    ("tcpdump-sflow_expanded.pcap", [0, 0, 1]),
    ("ndpi-sflow.pcap", [0, 0, 1]),
];

#[test]
fn every_exporter_of_the_corpus_is_understood() {
    let Some(corpus) = corpus() else {
        eprintln!("the corpus is not beside this checkout: nothing was measured");
        return;
    };
    let exporters = exporters(&corpus.join("flow-datagrams"));
    assert_eq!(exporters.len(), EXPORTERS.len(), "{:?}", exporters.keys());
    for (name, expected) in EXPORTERS {
        let came = Came::of(&exporters[*name]);
        let counted = ["collector.records", "collector.records.empty", "collector.discard.no_template"];
        assert_eq!(counted.map(|counter| came.count(counter)), *expected, "{name}: {:?}", came.counters);
        let malformed = u64::from(name.contains("invalid"));
        assert_eq!(came.count("collector.discard.malformed"), malformed, "{name}: {:?}", came.counters);
        assert_eq!(came.count("collector.discard.template"), 0, "{name}");
        // What is told lies in the past and names two hosts.
        for (flow, record) in &came.told {
            assert!(flow.first_seen.second() <= NOW_S as i64 && record.totals.last_seen.second() <= NOW_S as i64);
            assert!(!flow.orig.ip.is_unspecified() && !flow.resp.ip.is_unspecified(), "{name}: {flow:?}");
        }
    }
    // pflow tells flags and times of both directions.
    assert_eq!(Came::of(&exporters["ipfix_test_openbsd_pflow"]).outcomes(Outcome::Answered), 13);
    for (name, expected) in CAPTURES {
        let came = Came::of(&payloads(&corpus.join("pcap/flowexport").join(name)));
        let counted = ["collector.records", "collector.discard.no_template"].map(|counter| came.count(counter));
        assert_eq!([counted[0], counted[1], came.samples], *expected, "{name}: {:?}", came.counters);
        let broken = ["collector.discard.malformed", "collector.sflow.discard.malformed", "collector.discard.template"];
        assert_eq!(broken.map(|counter| came.count(counter)), [0; 3], "{name}: {:?}", came.counters);
    }
}

#[test]
fn the_exports_of_the_corpus_cut_and_bent_end_and_cost_no_memory() {
    let Some(corpus) = corpus() else { return };
    for datagrams in exporters(&corpus.join("flow-datagrams")).values() {
        let mut bent = Vec::new();
        for datagram in datagrams {
            bent.extend((0..20).map(|cut| datagram[..datagram.len() * cut / 20].to_vec()));
            bent.extend((0..60).map(|n| {
                let mut other = datagram.clone();
                let at = (n * 2_654_435_761_usize) % other.len();
                other[at] ^= 1 << (n % 8);
                other
            }));
        }
        let came = Came::of(&bent);
        assert!(came.told.len() <= bent.iter().map(Vec::len).sum());
    }
}
