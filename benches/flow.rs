//! The flow table alone: decoded packets of many connections at once. `cargo bench --bench flow`.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use eastwatch::decode::{Datagram, Payload, Tcp, TcpFlags};
use eastwatch::flow::{FlowTable, Head, Timeouts};
use eastwatch::model::{Segment, Timestamp};

const SYN: u8 = 2;
const PSH_ACK: u8 = 24;

fn head(frame: u64) -> Head {
    let time = Timestamp::from_parts(1_767_225_600, frame * 1_000);
    Head {
        frame,
        time,
        segment: Segment::UNTAGGED,
        src_mac: None,
        dst_mac: None,
        host_hint: None,
        path: Default::default(),
        taken: Default::default(),
    }
}

fn packet(flow: u32, flags: u8, seq: u32) -> Datagram<'static> {
    let tcp = Tcp {
        src_port: 1_024 + (flow % 60_000) as u16,
        dst_port: 80,
        seq,
        ack: 0,
        flags: TcpFlags(flags),
        window: 64_240,
        urgent: 0,
        options: &[],
        payload: b"x",
        payload_len: u32::from(flags != SYN),
    };
    let src = IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + flow / 60_000));
    Datagram { src, dst: IpAddr::from([10, 1, 0, 1]), ttl: 64, tos: 0, ip_len: 41, payload: Payload::Tcp(tcp) }
}

fn flow(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow");
    group.throughput(Throughput::Elements(1));
    for flows in [100u32, 4_096, 262_144] {
        let mut table = FlowTable::<[usize; 2]>::new(1 << 19, Timeouts::default(), 7);
        let mut frame = 0;
        let mut tell = |_: &mut eastwatch::flow::Flow<[usize; 2]>, fact| drop(black_box(fact));
        for flow in 0..flows {
            frame += 1;
            table.packet(&head(frame), &packet(flow, SYN, 1), &mut tell);
        }
        let (mut at, mut seq) = (0, 2);
        group.bench_function(format!("a packet of one of {flows} flows"), |b| {
            b.iter(|| {
                frame += 1;
                // Not in order: neighbouring packets are seldom of neighbouring flows.
                at = (at + 7_919) % flows;
                seq += u32::from(at == 0);
                black_box(table.packet(&head(frame), &packet(at, PSH_ACK, seq), &mut tell))
            });
        });
    }
    group.throughput(Throughput::Elements(8_192));
    group.bench_function("8192 flows opened, of at most 4096", |b| {
        b.iter_batched_ref(
            || (FlowTable::<[usize; 2]>::new(4_096, Timeouts::default(), 7), 0u32),
            |(table, _)| {
                for flow in 0..8_192 {
                    let mut tell = |_: &mut eastwatch::flow::Flow<[usize; 2]>, fact| drop(black_box(fact));
                    black_box(table.packet(&head(u64::from(flow)), &packet(flow, SYN, 1), &mut tell));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, flow);
criterion_main!(benches);
