//! Collector: what other devices tell of traffic that we do not see (the Collecting Process of RFC 7011). Flow records
//! (NetFlow v5 and v9, IPFIX) become [`FlowFact::Record`](crate::model::FlowFact::Record)s, one for each conversation;
//! the packet headers in sFlow samples go to decoding as frames.
//!
//! One owner: the dispatcher. Bounds: those of templates and of pairing, each in its file. Nothing is kept of a
//! datagram; what contradicts itself is counted and given up where it does.

mod element;
mod half;
mod netflow5;
mod pairing;
mod reader;
mod sflow;
mod template;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use sflow::{Sample, Samples, SflowCounters};

use crate::counters;
use crate::model::{AwaitedTemplate, FlowRef, Record, RecordFormat, Timestamp};
use half::Half;
use pairing::{Origin, Pairing};
use template::{Templates, Version};

counters! {
    /// What became of export datagrams.
    pub struct CollectorCounters {
        datagrams => "collector.datagrams",
        records => "collector.records",
        templates => "collector.templates",
        /// Records of a direction in which nothing went.
        empty => "collector.records.empty",
        /// Records about the exporter itself.
        options => "collector.options",
        /// Datagrams (and sets) that contradict themselves.
        malformed => "collector.discard.malformed",
        /// A version other than NetFlow 5, 9 and IPFIX.
        version => "collector.discard.version",
        /// Sets of records whose template has not come (yet): exporters repeat it within minutes.
        no_template => "collector.discard.no_template",
        /// Templates too many, too long, of records without length, or under a reserved number.
        bad_template => "collector.discard.template",
        /// Records that name no two hosts.
        no_addresses => "collector.discard.no_addresses",
        /// Exporters that were silent longest, forgotten because there were too many.
        exporters_forgotten => "collector.exporters.evicted",
    }
}

#[derive(Debug, Default)]
pub struct Collector {
    templates: Templates,
    pairing: Pairing,
    counters: CollectorCounters,
    sflow: SflowCounters,
}

impl Collector {
    /// Takes in one NetFlow or IPFIX datagram; `tell` hears of every conversation that is now known from both sides.
    pub fn datagram(
        &mut self,
        from: IpAddr,
        datagram: &[u8],
        frame: u64,
        now: Timestamp,
        tell: &mut dyn FnMut(FlowRef, Record),
    ) {
        self.counters.datagrams += 1;
        let Self { templates, pairing, counters, .. } = self;
        let Some((version, body)) = datagram.split_first_chunk::<2>() else {
            counters.malformed += 1;
            return;
        };
        let version = u16::from_be_bytes(*version);
        let format = if version == 10 { RecordFormat::Ipfix } else { RecordFormat::NetFlow };
        let origin = Origin { exporter: from, format, frame, now };
        let (mut records, mut empty, mut without) = (0, 0, 0);
        let mut each = |half: Half| {
            if half.counts.is_empty() {
                empty += 1;
            } else if half.has_addresses() {
                records += 1;
                pairing.add(half, origin, tell);
            } else {
                without += 1;
            }
        };
        let read = match version {
            5 => netflow5::read(body, &mut each),
            9 => templates.read(Version::V9, from, body, now, counters, &mut each),
            10 => templates.read(Version::Ipfix, from, body, now, counters, &mut each),
            _ => {
                counters.version += 1;
                return;
            }
        };
        counters.records += records;
        counters.no_addresses += without;
        counters.empty += empty;
        if read.is_none() {
            counters.malformed += 1;
        }
    }

    /// What an iteration over [`Samples`] counted.
    pub fn sampled(&mut self, counted: SflowCounters) {
        let sum = &mut self.sflow;
        sum.datagrams += counted.datagrams;
        sum.samples += counted.samples;
        sum.counters += counted.counters;
        sum.other += counted.other;
        sum.malformed += counted.malformed;
    }

    /// Packet time has reached `now`: what waited too long for its other direction is told.
    pub fn tick(&mut self, now: Timestamp, tell: &mut dyn FnMut(FlowRef, Record)) {
        self.pairing.expire(now, tell);
    }

    /// The input is over.
    pub fn finish(&mut self, tell: &mut dyn FnMut(FlowRef, Record)) {
        self.pairing.finish(tell);
    }

    /// Templates that records wait for.
    pub fn awaited(&self) -> Vec<AwaitedTemplate> {
        self.templates.awaited()
    }

    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        self.counters.report(out);
        self.sflow.report(out);
        let pairing = [
            ("collector.paired", self.pairing.paired),
            ("collector.one_way", self.pairing.one_way),
            ("collector.waiting.evicted", self.pairing.evicted),
        ];
        out.extend(pairing.into_iter().filter(|(_, value)| *value > 0));
    }
}
