//! The dispatcher: frames from a source, located, sharded, and handed out in parcels; time made of packets.
//!
//! A packet that another observation point has shown already is left out ([`Twins`]); where several points show the
//! same, parcels wait for [`Twins::may_replace`], so that a copy that shows more can take the place of one that shows
//! less.
//!
//! Time is the running maximum of packet times. A packet more than [`LATE_NS`] older is analysed at that time and
//! counted `late`. A tick goes to every worker each time a packet second passes; `stats` are due every
//! [`STATS_S`] seconds. Parcels of all workers leave together, so no watermark lags.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use crate::capture::{Batch, CaptureError, Filled, Frame, Source, SourceId};
use crate::collector::{Collector, Samples};
use crate::counters;
use crate::decode::{DecodeConfig, Located, Locator, Mark, Pairs, Place, SHARDS, Sightings, Twins, Verdict};
use crate::model::{
    AwaitedTemplate, Carrier, Fact, FlowFact, FlowRef, Handover, Interface, LinkType, Observation, Order, Record,
    SourceQuality, Timestamp,
};
use crate::telemetry::Increments;

use super::merge::Report;
use super::parcel::{Entry, Parcel};
use super::record::{CLOCK_LINK, OWN_SOURCE};
use super::run::Mail;
use crate::flow::{Head, Taken};

/// Packets this much older than the newest are late: beyond what reordering on a mirror explains.
const LATE_NS: i64 = 1_000_000_000;
/// EVE `stats` interval, as Suricata's default order of magnitude and the contract's 10 s.
const STATS_S: i64 = 10;

/// What was seen reaches the brain within this time. When parcels leave changes nothing of what they say.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// A source that keeps failing is given up: each of the 1,024 files a run may open can fail once.
const FAULTS_MAX: usize = 1025;

counters! {
    /// What came in.
    pub struct Intake {
        packets => "intake.packets",
        bytes => "intake.bytes",
        late => "intake.late",
        unlocated => "decode.not_analysed",
    }
}

/// Set by a signal handler or a test; the dispatcher then drains and ends.
pub type Stop = Arc<AtomicBool>;

/// A mirror source.
struct SourceSeen {
    quality: SourceQuality,
    /// Time of its newest frame.
    newest: Timestamp,
    /// Frames when its quality was told.
    told: u64,
}

/// One worker as the dispatcher sees it.
pub struct Lane {
    pub parcels: SyncSender<Parcel>,
    pub spent: Receiver<Parcel>,
}

/// What leaves together: a parcel for each worker, and what the dispatcher itself observed.
struct Flight {
    parcels: Vec<Parcel>,
    own: Vec<Observation>,
    watermark: Order,
    mark: Mark,
}

pub struct Dispatcher {
    locator: Locator,
    twins: Twins,
    /// Parcels that wait, the oldest first; the newest is still being filled and stands in `lanes`.
    flights: VecDeque<Flight>,
    flights_gone: u64,
    collector: Collector,
    /// As last told.
    awaited: Vec<AwaitedTemplate>,
    sightings: Sightings,
    pairs: Pairs,
    /// The latest frame is older than one before it, of its source.
    disordered: bool,
    /// Where the latest frame came from.
    source: Option<SourceId>,
    /// Tunnels that go one way were told.
    one_way: bool,
    lanes: Vec<(Lane, Parcel)>,
    reports: SyncSender<Mail>,
    own: Vec<Observation>,
    increments: Increments,
    pub intake: Intake,
    frame: u64,
    now: Timestamp,
    stats_at: i64,
    /// The source's own counters, known at the end: what a live source drops on the way is told as losses.
    source_report: Vec<(&'static str, u64)>,
    sources: Vec<SourceSeen>,
}

impl Dispatcher {
    /// `now` is the newest time that the state knows; packets older than it are late.
    pub fn new(decode: &DecodeConfig, lanes: Vec<Lane>, reports: SyncSender<Mail>, now: Timestamp) -> Self {
        Dispatcher {
            locator: Locator::new(decode.clone()),
            twins: Twins::new(),
            flights: VecDeque::new(),
            flights_gone: 0,
            collector: Collector::default(),
            awaited: Vec::new(),
            sightings: Sightings::default(),
            pairs: Pairs::default(),
            disordered: false,
            source: None,
            one_way: false,
            lanes: lanes.into_iter().map(|lane| (lane, Parcel::default())).collect(),
            reports,
            own: Vec::new(),
            increments: Increments::default(),
            intake: Intake::default(),
            frame: 0,
            now,
            stats_at: 0,
            source_report: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// Runs until the source ends, fails, or `stop` is set; then everything in flight is drained. `each_batch` is
    /// called between batches (progress, idle clock); a time it returns moves the clock.
    ///
    /// Also returns what the source failed with; all that came before each fault, and after it where the source
    /// could go on, has been analysed.
    pub fn run(
        mut self,
        source: &mut dyn Source,
        stop: &Stop,
        mut each_batch: impl FnMut(&mut dyn Source, &Intake, Idle) -> Option<Timestamp>,
    ) -> (Intake, Vec<CaptureError>) {
        let mut batch = Batch::new();
        let mut faults = Vec::new();
        let mut last_flush = Instant::now();
        while !stop.load(Ordering::Relaxed) && faults.len() < FAULTS_MAX {
            let filled = match source.fill(&mut batch) {
                Ok(filled) => filled,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            if !self.batch(&batch, source) {
                break;
            }
            let idle = Idle(matches!(filled, Filled::Idle));
            if let Some(now) = each_batch(source, &self.intake, idle)
                && self.step(now)
            {
                source.stepped(now);
            }
            match filled {
                // A trickle never fills a parcel, and is never idle either.
                Filled::Frames if last_flush.elapsed() < FLUSH_EVERY => {}
                Filled::Frames | Filled::Idle => {
                    last_flush = Instant::now();
                    self.flush();
                }
                Filled::End => break,
            }
        }
        source.counters(&mut self.source_report);
        self.finish();
        (self.intake, faults)
    }

    /// False when the other side is gone.
    fn batch(&mut self, batch: &Batch, source: &dyn Source) -> bool {
        for frame in &batch.frames {
            if frame.link == CLOCK_LINK && (frame.source == OWN_SOURCE || source.replays()) {
                match frame.len {
                    0 => drop(self.step(frame.time)),
                    _ => self.handed_over(frame.time, batch.get(frame)),
                }
                continue;
            }
            self.frame += 1;
            self.intake.packets += 1;
            self.intake.bytes += u64::from(frame.wire_len);
            if self.now.since_ns(frame.time) > LATE_NS {
                self.intake.late += 1;
            }
            self.clock(frame.time);
            self.look(frame, source);
            match frame.link {
                LinkType::UPPER_PDU => self.received(frame, batch.get(frame)),
                link => self.packet(frame, link, batch.get(frame), frame.wire_len, false),
            }
            if self.lanes.iter().any(|(_, parcel)| parcel.is_full()) && !self.flush() {
                return false;
            }
        }
        true
    }

    /// Counts what the frame says of its source.
    fn look(&mut self, frame: &Frame, source: &dyn Source) {
        if self.source != Some(frame.source) {
            self.source = Some(frame.source);
            self.locator.arrive(frame.source.0, source.source_name(frame.source));
        }
        let at = usize::from(frame.source.0);
        while self.sources.len() <= at {
            let number = self.sources.len() as u16;
            let name = source.told_as(SourceId(number)).unwrap_or_default().to_owned();
            let quality = SourceQuality { number, name, ..SourceQuality::default() };
            self.sightings.arrive(number, source.interface(SourceId(number)).and_then(Interface::new));
            self.sources.push(SourceSeen { quality, newest: Timestamp::ZERO, told: 0 });
        }
        if let Some(SourceSeen { quality, newest, .. }) = self.sources.get_mut(at) {
            quality.frames += 1;
            quality.bytes += u64::from(frame.wire_len);
            quality.truncated += u64::from(frame.len < frame.wire_len);
            self.disordered = frame.time < *newest;
            quality.reordered += u64::from(self.disordered);
            *newest = (*newest).max(frame.time);
        }
    }

    /// What a listener received: a mirrored packet, flow records, or samples of packets.
    fn received(&mut self, frame: &Frame, bytes: &[u8]) {
        match Carrier::read(bytes) {
            Some((Carrier::Cflow, exporter, datagram)) => {
                let mut tell = recorded(&mut self.own, self.frame, true, self.now);
                self.collector.datagram(exporter, datagram, self.frame, self.now, &mut tell);
            }
            Some((Carrier::Sflow, _, datagram)) => {
                let mut samples = Samples::new(datagram);
                for sample in samples.by_ref() {
                    self.packet(frame, sample.link, sample.bytes, sample.wire_len, true);
                }
                self.collector.sampled(samples.counters);
            }
            _ => self.packet(frame, LinkType::UPPER_PDU, bytes, frame.wire_len, false),
        }
    }

    fn packet(&mut self, frame: &Frame, link: LinkType, bytes: &[u8], wire_len: u32, sampled: bool) {
        self.locator.want_marks(!sampled && self.twins.wants_marks());
        self.hand_on(frame, link, bytes, wire_len, sampled);
        for mark in self.locator.marks() {
            if let Some(place) = self.twins.came_whole(*mark, frame.time, self.now)
                && let Some(parcel) = parcel_of(&mut self.lanes, &mut self.flights, self.flights_gone, place)
            {
                parcel.take_back(place.entry);
            }
        }
    }

    fn hand_on(&mut self, frame: &Frame, link: LinkType, bytes: &[u8], wire_len: u32, sampled: bool) {
        let located = match self.locator.locate(link, bytes, wire_len, self.now) {
            Ok(Some(located)) => located,
            // A fragment of a tunnel waits for the others.
            Ok(None) => return,
            Err(_) => {
                self.intake.unlocated += 1;
                return;
            }
        };
        self.sightings.see(&located);
        let shard = Locator::shard(&located) % SHARDS;
        let lane = usize::from(shard) % self.lanes.len().max(1);
        let head = head_of(self.frame, self.now, &located, sampled);
        // Of samples none is left out: each is one of many.
        let verdict = match sampled {
            true => Verdict::First(false),
            false => self.twins.take(frame.source.0, frame.time, self.now, &located),
        };
        if !sampled && self.twins.of_another_point() {
            self.sightings.shared(&located);
        }
        let replaceable = match verdict {
            Verdict::First(replaceable) => replaceable,
            Verdict::Instead(_) => true,
            Verdict::Twin | Verdict::Better(_) => false,
        };
        let handed_on = matches!(verdict, Verdict::First(_) | Verdict::Instead(_));
        let twin = !matches!(verdict, Verdict::First(_));
        if let Some(seen) = self.sources.get_mut(usize::from(frame.source.0)) {
            seen.quality.twins += u64::from(twin);
            seen.quality.reordered += u64::from(located.late && !self.disordered);
        }
        // Samples are cut by design.
        if !sampled {
            self.pairs.see(&located, twin, self.disordered || located.late);
        }
        while let Some(place) = self.twins.taken_back() {
            if let Some(parcel) = parcel_of(&mut self.lanes, &mut self.flights, self.flights_gone, place) {
                parcel.take_back(place.entry);
            }
        }
        if let Verdict::Better(place) | Verdict::Instead(place) = verdict
            && let Some(parcel) = parcel_of(&mut self.lanes, &mut self.flights, self.flights_gone, place)
        {
            match handed_on {
                true => parcel.take_back(place.entry),
                false => parcel.replace(place.entry, head, &located, shard),
            }
        }
        if !handed_on {
            return;
        }
        let Some((_, parcel)) = self.lanes.get_mut(lane) else { return };
        if replaceable {
            let flight = self.flights_gone + self.flights.len() as u64;
            self.twins.placed(Place { flight, lane: lane as u16, entry: parcel.entries.len() as u32 });
        }
        parcel.push(head, &located, shard);
        if let Some(around) = self.locator.around(link, bytes, wire_len, self.now) {
            let shard = Locator::shard(&around) % SHARDS;
            let lane = usize::from(shard) % self.lanes.len().max(1);
            if let Some((_, parcel)) = self.lanes.get_mut(lane) {
                parcel.push(head_of(self.frame, self.now, &around, sampled), &around, shard);
            }
        }
    }

    /// Time passed without a packet. The step takes a frame number of its own, so that what it causes sorts after
    /// all that was released before it, and a recording of it replays to the same order.
    fn step(&mut self, now: Timestamp) -> bool {
        let passed = now.second() > self.now.second();
        if passed {
            self.frame += 1;
            self.clock(now);
        }
        passed
    }

    /// An answer of the folder that baselines are followed by; what is none is nobody's.
    fn handed_over(&mut self, time: Timestamp, bytes: &[u8]) {
        let Some(handover) = Handover::of_bytes(bytes) else {
            self.intake.unlocated += 1;
            return;
        };
        // Of its own frame number, like a step; the word that this is a recording stands before the first.
        let answer = handover != Handover::Recorded;
        if answer {
            self.frame += 1;
            self.clock(time);
        }
        let order = Order { frame: self.frame.max(1), packet: answer, shard: 0, ordinal: self.own.len() as u32 };
        self.own.push(Observation { order, time: self.now, fact: Fact::Handover(Box::new(handover)) });
    }

    /// Moves time forward; a new packet second is a tick for everyone.
    fn clock(&mut self, time: Timestamp) {
        let before = self.now;
        self.now = before.max(time);
        if self.now.second() == before.second() {
            return;
        }
        let stats = self.now.second() >= self.stats_at;
        if stats {
            self.stats_at = self.now.second().saturating_add(STATS_S);
        }
        let frame = self.frame.max(1);
        self.collector.tick(self.now, &mut recorded(&mut self.own, frame, false, self.now));
        self.awaited(frame);
        for (_, parcel) in &mut self.lanes {
            parcel.entries.push(Entry::Tick { frame, now: self.now, stats });
        }
        self.sighted(frame, before);
        if stats {
            self.counters(frame);
        }
        let order = Order { frame, packet: false, shard: u16::MAX, ordinal: self.own.len() as u32 };
        self.own.push(Observation { order, time: self.now, fact: Fact::Tick });
    }

    /// What the second that ended at `time` showed.
    fn sighted(&mut self, frame: u64, time: Timestamp) {
        if let Some(interfaces) = self.sightings.interfaces() {
            self.tell_at(frame, time, Fact::Interfaces(interfaces));
        }
        if let Some(sightings) = self.sightings.take() {
            self.tell_at(frame, time, Fact::Sighted(sightings));
        }
    }

    /// Tells which templates flow records wait for, when that changed.
    fn awaited(&mut self, frame: u64) {
        let awaited = self.collector.awaited();
        if awaited != self.awaited {
            self.awaited.clone_from(&awaited);
            self.tell(frame, Fact::Awaited(awaited));
        }
    }

    fn counters(&mut self, frame: u64) {
        let mut report = Vec::new();
        self.intake.report(&mut report);
        report.extend(self.source_report.iter().filter(|(name, _)| name.starts_with("capture.discard")));
        self.locator.counters.report(&mut report);
        self.twins.report(&mut report);
        self.collector.report(&mut report);
        self.sightings.counters.report(&mut report);
        self.pairs.counters.report(&mut report);
        let added = self.increments.since_last(&report);
        let mut sources = Vec::new();
        for seen in self.sources.iter_mut().filter(|seen| seen.told != seen.quality.frames) {
            seen.told = seen.quality.frames;
            let sequenced = self.locator.sequenced(seen.quality.number);
            (seen.quality.sequenced, seen.quality.sequence_gaps) = (sequenced.copies, sequenced.gaps);
            sources.push(seen.quality.clone());
        }
        self.tell(frame, Fact::Counters(Box::new(added)));
        self.tell(frame, Fact::Quality(Box::new(sources)));
        if let Some(shown) = self.pairs.take() {
            self.tell(frame, Fact::Shown(shown));
        }
        let tunnels = self.locator.one_way_tunnels();
        let some = !tunnels.is_empty();
        // Once more when an answer came after all.
        if some || self.one_way {
            self.tell(frame, Fact::OneWayTunnels(tunnels));
        }
        self.one_way = some;
    }

    fn tell(&mut self, frame: u64, fact: Fact) {
        self.tell_at(frame, self.now, fact);
    }

    fn tell_at(&mut self, frame: u64, time: Timestamp, fact: Fact) {
        let order = Order { frame, packet: false, shard: u16::MAX - 1, ordinal: self.own.len() as u32 };
        self.own.push(Observation { order, time, fact });
    }

    /// Closes every lane's parcel and sends those whose packets no better copy may replace any more; false when the
    /// other side is gone.
    fn flush(&mut self) -> bool {
        let nothing = self.own.is_empty() && self.lanes.iter().all(|(_, parcel)| parcel.entries.is_empty());
        if !(nothing && self.flights.len() > 1) {
            self.close();
        }
        while let Some(flight) = self.flights.front() {
            if self.twins.may_replace(&flight.mark, self.now) {
                break;
            }
            if !self.send() {
                return false;
            }
        }
        true
    }

    fn close(&mut self) {
        let watermark = Order::end_of(self.frame);
        let mut parcels = Vec::with_capacity(self.lanes.len());
        for (lane, parcel) in &mut self.lanes {
            let next = lane.spent.try_recv().unwrap_or_default();
            let mut full = std::mem::replace(parcel, next);
            full.watermark = watermark;
            parcels.push(full);
        }
        let (own, mark) = (std::mem::take(&mut self.own), self.twins.mark(self.now));
        self.flights.push_back(Flight { parcels, own, watermark, mark });
    }

    /// Sends the oldest flight.
    fn send(&mut self) -> bool {
        let Some(Flight { parcels, own, watermark, .. }) = self.flights.pop_front() else { return true };
        self.flights_gone += 1;
        let sent = self.lanes.iter().zip(parcels).all(|((lane, _), parcel)| lane.parcels.send(parcel).is_ok());
        sent && self.reports.send(Report { stream: 0, observations: own, watermark }.into()).is_ok()
    }

    fn finish(&mut self) {
        self.frame += 1;
        for (_, parcel) in &mut self.lanes {
            parcel.entries.push(Entry::Finish { frame: self.frame, now: self.now });
        }
        self.collector.finish(&mut recorded(&mut self.own, self.frame, false, self.now));
        self.sighted(self.frame, self.now);
        self.counters(self.frame);
        let order = Order { frame: self.frame, packet: false, shard: u16::MAX, ordinal: u32::MAX };
        self.own.push(Observation { order, time: self.now, fact: Fact::Tick });
        self.flush();
        while !self.flights.is_empty() && self.send() {}
    }
}

/// The parcel that a packet was put into, where it has not left.
fn parcel_of<'a>(
    lanes: &'a mut [(Lane, Parcel)],
    flights: &'a mut VecDeque<Flight>,
    flights_gone: u64,
    place: Place,
) -> Option<&'a mut Parcel> {
    let (waiting, lane) = (place.flight.checked_sub(flights_gone)? as usize, usize::from(place.lane));
    if waiting < flights.len() {
        return flights.get_mut(waiting)?.parcels.get_mut(lane);
    }
    lanes.get_mut(lane).map(|(_, parcel)| parcel)
}

/// Gives what the collector tells its place in the global order: after what the shards make of the same frame.
fn recorded(own: &mut Vec<Observation>, frame: u64, packet: bool, time: Timestamp) -> impl FnMut(FlowRef, Record) {
    move |flow, record| {
        let order = Order { frame, packet, shard: u16::MAX - 2, ordinal: own.len() as u32 };
        own.push(Observation { order, time, fact: Fact::Flow(flow, FlowFact::Record(Box::new(record))) });
    }
}

fn head_of(frame: u64, time: Timestamp, located: &Located<'_>, sampled: bool) -> Head {
    Head {
        frame,
        time,
        segment: located.segment,
        src_mac: located.src_mac,
        dst_mac: located.dst_mac,
        host_hint: located.host_hint,
        path: located.path,
        taken: Taken::new(sampled, located.pcp),
    }
}

/// Whether the source had nothing to give.
#[derive(Clone, Copy, Debug)]
pub struct Idle(pub bool);
