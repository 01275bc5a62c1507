//! Decoding alone: from a frame to its place and shard, and on to the transport header. `cargo bench --bench decode`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eastwatch::capture::{Batch, Files, Source};
use eastwatch::decode::{DecodeConfig, Decoder, Locator};
use eastwatch::model::Side;
use eastwatch::scenario::{Format, Scenario, payload};

/// Frames of ordinary traffic: half of them on a VLAN, HTTP with full segments, DNS.
fn frames() -> Batch {
    let mut s = Scenario::new(1);
    for i in 0..10 {
        let client = s.vm("client", "52:54:00:00:00:02", &format!("10.0.0.{}", 10 + i));
        let mut web = s.vm("web", "52:54:00:00:00:01", "10.0.0.2");
        if i % 2 == 1 {
            web = web.on_vlan(10);
        }
        s.tcp(&client, &web, 80)
            .handshake()
            .send(Side::Orig, payload::http_get("web", "/"))
            .send(Side::Resp, payload::http_ok("nginx/1.24.0", &"x".repeat(8_000)))
            .close();
        let (query, answer) = payload::dns(i, "web.example", std::net::Ipv4Addr::new(10, 0, 0, 2));
        s.udp(&client, &web, 53).send(Side::Orig, query).send(Side::Resp, answer);
    }
    let mut batch = Batch::new();
    Files::in_memory("scenario", s.encode(Format::PCAP)).unwrap().fill(&mut batch).unwrap();
    batch
}

fn decode(c: &mut Criterion) {
    let batch = frames();
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(batch.frames.len() as u64));
    group.bench_function("locate and shard", |b| {
        let mut locator = Locator::new(DecodeConfig::default());
        b.iter(|| {
            for frame in &batch.frames {
                if let Ok(Some(located)) = locator.locate(frame.link, batch.get(frame), frame.wire_len, frame.time) {
                    black_box(Locator::shard(&located));
                }
            }
        });
    });
    group.bench_function("locate, shard and transport", |b| {
        let mut locator = Locator::new(DecodeConfig::default());
        let mut decoder = Decoder::new(&DecodeConfig::default());
        b.iter(|| {
            for frame in &batch.frames {
                let Ok(Some(located)) = locator.locate(frame.link, batch.get(frame), frame.wire_len, frame.time) else {
                    continue;
                };
                black_box(Locator::shard(&located));
                let at = (located.cut, located.segment, frame.time);
                let _ = black_box(decoder.datagram(located.network, located.bytes, at.0, at.1, at.2));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
