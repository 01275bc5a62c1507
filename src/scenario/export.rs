//! What exporters would send of a scenario: NetFlow v5 and v9, IPFIX and sFlow datagrams, made by hand for tests.
//! Bound: one datagram a call; the caller keeps it below 64 KiB.

use std::net::IpAddr;

/// One direction of a conversation; times are milliseconds on the exporter's clock, which was started at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneWay {
    pub src: (IpAddr, u16),
    pub dst: (IpAddr, u16),
    pub protocol: u8,
    pub flags: u8,
    pub packets: u32,
    pub bytes: u32,
    pub first_ms: u32,
    pub last_ms: u32,
}

/// When the exporter sends: its clock, and the time of day in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub uptime_ms: u32,
    pub unix_s: u32,
}

const TEMPLATE: u16 = 256;
/// NetFlow v9 and IPFIX alike: protocol, ports, flags, packets, bytes.
const FIELDS: [(u16, u16); 6] = [(4, 1), (7, 2), (11, 2), (6, 1), (2, 4), (1, 4)];

/// # Panics
/// A flow is not of IPv4.
pub fn netflow5(at: Moment, flows: &[OneWay]) -> Vec<u8> {
    let mut out = Vec::new();
    put16(&mut out, &[5, flows.len() as u16]);
    put32(&mut out, &[at.uptime_ms, at.unix_s, 0, 0, 0]);
    for flow in flows {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (flow.src.0, flow.dst.0) else { panic!("version 5 knows no IPv6") };
        out.extend(src.octets().into_iter().chain(dst.octets()).chain([0; 8]));
        put32(&mut out, &[flow.packets, flow.bytes, flow.first_ms, flow.last_ms]);
        put16(&mut out, &[flow.src.1, flow.dst.1]);
        out.extend([0, flow.flags, flow.protocol, 0, 0, 0, 0, 0, 24, 24, 0, 0]);
    }
    out
}

/// The template, the flows, or both.
pub fn netflow9(at: Moment, template: bool, flows: &[OneWay]) -> Vec<u8> {
    let mut out = Vec::new();
    put16(&mut out, &[9, flows.len() as u16 + u16::from(template)]);
    put32(&mut out, &[at.uptime_ms, at.unix_s, 0, 7]);
    sets(&mut out, 0, template, flows, &[(22, 4), (21, 4)], |flow, body| {
        put32(body, &[flow.first_ms, flow.last_ms]);
    });
    out
}

/// The template, the flows, or both.
pub fn ipfix(at: Moment, template: bool, flows: &[OneWay]) -> Vec<u8> {
    let mut out = Vec::new();
    put16(&mut out, &[10, 0]);
    put32(&mut out, &[at.unix_s, 0, 7]);
    let started_ms = u64::from(at.unix_s) * 1_000 - u64::from(at.uptime_ms);
    sets(&mut out, 2, template, flows, &[(152, 8), (153, 8)], |flow, body| {
        body.extend((started_ms + u64::from(flow.first_ms)).to_be_bytes());
        body.extend((started_ms + u64::from(flow.last_ms)).to_be_bytes());
    });
    let length = (out.len() as u16).to_be_bytes();
    out.splice(2..4, length);
    out
}

/// The first `header_max` bytes of Ethernet frames, as an agent that takes one of `rate` tells them.
pub fn sflow(rate: u32, header_max: usize, frames: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    put32(&mut out, &[5, 1, 0x0a00_0001, 0, 1, 1_000, frames.len() as u32]);
    for frame in frames {
        let header = &frame[..frame.len().min(header_max)];
        let padded = header.len().next_multiple_of(4);
        let record = 16 + padded as u32;
        put32(&mut out, &[1, 32 + 8 + record, 1, 3, rate, rate, 0, 1, 2, 1]);
        // The agent stripped the frame check sequence.
        put32(&mut out, &[1, record, 1, frame.len() as u32 + 4, 4, header.len() as u32]);
        out.extend(header);
        out.resize(out.len() + padded - header.len(), 0);
    }
    out
}

fn sets(
    out: &mut Vec<u8>,
    template_set: u16,
    template: bool,
    flows: &[OneWay],
    times: &[(u16, u16)],
    put_times: impl Fn(&OneWay, &mut Vec<u8>),
) {
    let v6 = flows.iter().any(|flow| flow.src.0.is_ipv6());
    let addresses: [(u16, u16); 2] = if v6 { [(27, 16), (28, 16)] } else { [(8, 4), (12, 4)] };
    if template {
        let fields: Vec<(u16, u16)> = addresses.iter().chain(&FIELDS).chain(times).copied().collect();
        let mut body = Vec::new();
        put16(&mut body, &[TEMPLATE, fields.len() as u16]);
        fields.iter().for_each(|(element, length)| put16(&mut body, &[*element, *length]));
        set(out, template_set, &body);
    }
    if flows.is_empty() {
        return;
    }
    let mut body = Vec::new();
    for flow in flows {
        for ip in [flow.src.0, flow.dst.0] {
            match ip {
                IpAddr::V4(v4) => body.extend(v4.octets()),
                IpAddr::V6(v6) => body.extend(v6.octets()),
            }
        }
        body.push(flow.protocol);
        put16(&mut body, &[flow.src.1, flow.dst.1]);
        body.push(flow.flags);
        put32(&mut body, &[flow.packets, flow.bytes]);
        put_times(flow, &mut body);
    }
    body.resize(body.len().next_multiple_of(4), 0);
    set(out, TEMPLATE, &body);
}

fn set(out: &mut Vec<u8>, id: u16, body: &[u8]) {
    put16(out, &[id, body.len() as u16 + 4]);
    out.extend(body);
}

fn put16(out: &mut Vec<u8>, words: &[u16]) {
    words.iter().for_each(|word| out.extend(word.to_be_bytes()));
}

fn put32(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend(word.to_be_bytes()));
}
