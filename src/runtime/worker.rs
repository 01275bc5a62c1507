//! A worker: owns whole virtual shards and turns parcels into observations.
//!
//! The shards are [`SHARDS`] whatever the number of workers, and every limit is a shard's own, so who runs a shard
//! changes nothing of what it says.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender};

use crate::app::Definitions;
use crate::decode::{DecodeConfig, DecodeCounters, Decoder, SHARDS};
use crate::model::{Fact, Observation, Order};
use crate::telemetry::Increments;

use super::merge::Report;
use super::parcel::{Entry, Parcel};
use super::run::Mail;
use super::shard::{Counted, Shard, ShardLimits};

pub struct Worker {
    /// Shard i of this worker is global shard `first + i * step`.
    shards: Vec<(Decoder, Shard)>,
    first: u16,
    step: u16,
    increments: Increments,
    discarded: u64,
}

impl Worker {
    /// Worker `first` of `step` workers.
    pub fn new(first: u16, step: u16, decode: &DecodeConfig, limits: &ShardLimits, seed: u64) -> Self {
        let shards = (first..SHARDS)
            .step_by(usize::from(step.max(1)))
            .map(|index| (Decoder::new(decode), Shard::new(index, limits, decode.hosts(), seed)))
            .collect();
        Worker { shards, first, step: step.max(1), increments: Increments::default(), discarded: 0 }
    }

    /// Looks for what the user defined.
    pub fn define(mut self, definitions: &Arc<Definitions>) -> Self {
        self.shards.iter_mut().for_each(|(_, shard)| shard.define(definitions));
        self
    }

    /// Runs until the dispatcher hangs up. Emptied parcels go back through `spent`.
    pub fn run(
        mut self,
        stream: usize,
        parcels: &Receiver<Parcel>,
        reports: &SyncSender<Mail>,
        spent: &Sender<Parcel>,
    ) {
        while let Ok(mut parcel) = parcels.recv() {
            let mut observations = Vec::new();
            self.work(&parcel, &mut observations);
            let report = Report { stream, observations, watermark: parcel.watermark };
            parcel.clear();
            // Neither can matter when it fails: the receiver is gone because the run is over.
            let _ = spent.send(parcel);
            if reports.send(report.into()).is_err() {
                return;
            }
        }
    }

    pub fn work(&mut self, parcel: &Parcel, out: &mut Vec<Observation>) {
        for entry in &parcel.entries {
            match entry {
                Entry::Packet { head, network, shard, start, len, cut } => {
                    let slot = usize::from(shard.saturating_sub(self.first) / self.step);
                    let Some((decoder, flows)) = self.shards.get_mut(slot) else {
                        self.discarded += 1;
                        continue;
                    };
                    let bytes = parcel.bytes(*start, *len);
                    // A discard is counted where it is made; an incomplete fragment waits in the decoder.
                    if let Ok(Some(datagram)) = decoder.datagram(*network, bytes, *cut, head.segment, head.time) {
                        flows.datagram(head, &datagram, out);
                    }
                }
                Entry::Gone => {}
                Entry::Tick { frame, now, stats } => {
                    for (decoder, flows) in &mut self.shards {
                        decoder.tick(*now);
                        flows.tick(*frame, *now, out);
                    }
                    if *stats {
                        self.report(*frame, *now, out);
                    }
                }
                Entry::Finish { frame, now } => {
                    for (_, flows) in &mut self.shards {
                        flows.finish(*frame, *now, out);
                    }
                    out.sort_by_key(|o| o.order);
                    self.report(frame + 1, *now, out);
                }
            }
        }
    }

    /// Present sizes of each shard's tables.
    pub fn sizes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.shards.iter().flat_map(|(_, flows)| flows.sizes())
    }

    fn report(&mut self, frame: u64, now: crate::model::Timestamp, out: &mut Vec<Observation>) {
        let (mut decoded, mut counted) = (DecodeCounters::default(), Counted::default());
        for (decoder, flows) in &self.shards {
            decoded.add(&decoder.counters);
            counted.add(&flows.counters());
        }
        let mut report = Vec::new();
        decoded.report(&mut report);
        counted.report(&mut report);
        if self.discarded > 0 {
            report.push(("runtime.discard.no_shard", self.discarded));
        }
        let added = self.increments.since_last(&report);
        let order = Order { frame, packet: false, shard: SHARDS + self.first, ordinal: u32::MAX };
        out.push(Observation { order, time: now, fact: Fact::Counters(Box::new(added)) });
    }
}
