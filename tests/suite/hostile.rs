//! Hostile input: every capture of the corpus as it is, cut, snapped and with bits flipped, through the whole pipeline
//! in memory. Nothing panics, nothing goes on for ever, every table stays within its limit.
//!
//! Variants come from a fixed seed and the capture's name. `EASTWATCH_HOSTILE` says how many cuts and how many flips
//! each capture gets (20); a capture above [`WHOLE_BYTES_MAX`] gets fewer, and how many is printed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel, sync_channel};
use std::time::Duration;

use eastwatch::brain::{Brain, BrainConfig};
use eastwatch::capture::{Batch, CaptureError, Files, Filled, Progress, Source, SourceId};
use eastwatch::decode::DecodeConfig;
use eastwatch::inventory::InventoryConfig;
use eastwatch::model::{LinkType, Timestamp};
use eastwatch::runtime::shard::ShardLimits;
use eastwatch::runtime::{Dispatcher, Lane, Mail, Merge, Report, Worker};
use eastwatch::store::MemoryStore;

use super::harness::corpus;

const SEED: u64 = 0x6861_7264_656e_6564;
/// Bytes of one capture times its variants of one kind: what is larger gets fewer variants.
const WHOLE_BYTES_MAX: usize = 80 << 20;
const VARIANTS_MIN: usize = 3;
const THREADS: usize = 2;
/// A record is at least this long in any format, so a capture cannot hold more packets than this allows.
const RECORD_BYTES_MIN: u64 = 16;
/// Facts a packet may cause on top of what its second ends: told steps of its flow, its application, expectations.
const OBSERVATIONS_PER_PACKET_MAX: u64 = 64;
/// Nothing finished for this long: the test names what is under way and ends, so that a hang has an address.
const SILENCE: Duration = Duration::from_secs(120);
/// Small, so that the corpus reaches them.
const LIMITS_SMALL: ShardLimits =
    ShardLimits { flows_max: 16, reassembly_bytes_max: 16 << 10, opening_bytes_max: 16 << 10, timeouts: TIMEOUTS };
const TIMEOUTS: eastwatch::flow::Timeouts = eastwatch::flow::Timeouts {
    half_open_s: 30,
    one_way_s: 300,
    established_s: 3600,
    half_closed_s: 120,
    closed_s: 10,
    datagram_s: 60,
    datagram_unanswered_s: 30,
    icmp_s: 30,
};
const VMS_MAX: usize = 40;
const SERVICES_MAX: usize = 60;
const PEERS_MAX: usize = 60;
/// Memory of the whole test: two pipelines at their default limits, and the largest captures held a few times over.
const RESIDENT_MIB_MAX: u64 = 512;

/// xorshift64*, seeded.
struct Dice(u64);

impl Dice {
    fn new(name: &str, variant: usize) -> Self {
        let named = name.bytes().fold(SEED, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Dice((named ^ (variant as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) as usize % bound.max(1)
    }
}

/// What is done to a capture.
#[derive(Clone, Copy, Debug)]
enum Harm {
    None,
    /// The file ends early.
    Cut(usize),
    /// Every frame is captured to a random length only.
    Snap(usize),
    /// Some bits are others.
    Flip(usize),
}

impl Harm {
    /// `count` cuts, half of them of the frames, and `count` flips.
    fn all(count: usize) -> impl Iterator<Item = Harm> {
        let cuts = (0..count).map(|i| if i % 2 == 0 { Harm::Cut(i) } else { Harm::Snap(i) });
        std::iter::once(Harm::None).chain(cuts).chain((count..2 * count).map(Harm::Flip))
    }

    fn of(self, name: &str, bytes: &[u8]) -> (Vec<u8>, Option<Dice>) {
        let mut harmed = bytes.to_vec();
        match self {
            Harm::None => {}
            Harm::Cut(i) => harmed.truncate(Dice::new(name, i).below(bytes.len())),
            Harm::Snap(i) => return (harmed, Some(Dice::new(name, i))),
            Harm::Flip(i) => {
                let mut dice = Dice::new(name, i);
                // From one bit in all to some thousands.
                let bits = dice.below(14).min(bytes.len().ilog2() as usize);
                let flips = 1 + dice.below(1 << bits);
                for _ in 0..flips {
                    let (at, bit) = (dice.below(bytes.len()), dice.below(8));
                    if let Some(byte) = harmed.get_mut(at) {
                        *byte ^= 1 << bit;
                    }
                }
            }
        }
        (harmed, None)
    }
}

/// A source whose frames are captured to a random length.
struct Snapped<'a> {
    from: &'a mut Files,
    dice: Option<Dice>,
    fills: u64,
}

impl Source for Snapped<'_> {
    fn fill(&mut self, batch: &mut Batch) -> Result<Filled, CaptureError> {
        self.fills += 1;
        let filled = self.from.fill(batch);
        if let Some(dice) = &mut self.dice {
            for frame in &mut batch.frames {
                frame.len = dice.below(frame.len as usize + 1) as u32;
            }
        }
        filled
    }

    fn counters(&self, out: &mut Vec<(&'static str, u64)>) {
        self.from.counters(out);
    }

    fn progress(&self) -> Progress {
        self.from.progress()
    }

    fn source_name(&self, id: SourceId) -> &str {
        self.from.source_name(id)
    }

    fn link_types_seen(&self) -> Vec<(LinkType, SourceId)> {
        self.from.link_types_seen()
    }
}

/// The largest of everything met.
#[derive(Debug, Default)]
struct Met {
    variants: u64,
    refused: u64,
    packets: u64,
    observations: u64,
    sizes: std::collections::BTreeMap<&'static str, u64>,
}

impl Met {
    fn size(&mut self, name: &'static str, size: u64) {
        let known = self.sizes.entry(name).or_default();
        *known = (*known).max(size);
    }

    fn add(&mut self, other: Met) {
        self.variants += other.variants;
        self.refused += other.refused;
        self.packets += other.packets;
        self.observations += other.observations;
        other.sizes.into_iter().for_each(|(name, size)| self.size(name, size));
    }
}

fn brain(small: bool, store: MemoryStore) -> Brain {
    let home = toml::from_str("home = [\"0.0.0.0/0\", \"::/0\"]").unwrap();
    let mut inventory: InventoryConfig = home;
    if small {
        inventory.vms_max = VMS_MAX;
        inventory.services_max = SERVICES_MAX;
        inventory.peers_max = PEERS_MAX;
    }
    Brain::load(Box::new(store), BrainConfig { inventory, ..BrainConfig::default() }).unwrap()
}

/// One capture through the pipeline; what it held to its limits is told, what did not fails.
fn through(name: &str, bytes: Vec<u8>, dice: Option<Dice>, small: bool, met: &mut Met) {
    met.variants += 1;
    let len = bytes.len() as u64;
    let Ok(mut files) = Files::in_memory(name, bytes) else {
        met.refused += 1;
        return;
    };
    let limits = if small { LIMITS_SMALL } else { ShardLimits { timeouts: TIMEOUTS, ..ShardLimits::default() } };
    let decode = DecodeConfig::default();
    // Room for everything: the stages run one after another on this thread.
    let room = (len / RECORD_BYTES_MIN) as usize / 128 + 64;
    let (parcels, incoming) = sync_channel(room);
    let (_spent, spent) = channel();
    let (mail, reports) = sync_channel(room);
    let dispatcher = Dispatcher::new(&decode, vec![Lane { parcels, spent }], mail, Timestamp::ZERO);
    let stop = eastwatch::runtime::Stop::default();
    let mut source = Snapped { from: &mut files, dice, fills: 0 };
    let (intake, faults) = dispatcher.run(&mut source, &stop, |_, _, _| None);
    assert!(intake.packets <= len / RECORD_BYTES_MIN, "{} packets from {len} bytes", intake.packets);
    let fills_max = intake.packets + faults.len() as u64 + len / 65_536 + 2;
    assert!(source.fills <= fills_max, "{} fills for {} packets", source.fills, intake.packets);
    let mut worker = Worker::new(0, 1, &decode, &limits, SEED);
    let mut merge = Merge::new(2);
    let mut brain = brain(small, MemoryStore::new());
    let mut told = 0u64;
    for parcel in incoming.try_iter() {
        let mut observations = Vec::new();
        worker.work(&parcel, &mut observations);
        told += observations.len() as u64;
        for (table, size) in worker.sizes() {
            met.size(table, size);
            let limit = match table {
                "flow.table.size" | "app.listening.size" => limits.flows_max,
                "app.opening.bytes" => limits.opening_bytes_max,
                _ => limits.reassembly_bytes_max,
            };
            assert!(size <= limit as u64, "{table} of a shard is {size}, its limit {limit}");
        }
        merge.take(Report { stream: 1, observations, watermark: parcel.watermark }, |o| brain.observe(o));
    }
    for letter in reports.try_iter() {
        if let Mail::Report(report) = letter {
            merge.take(report, |o| brain.observe(o));
        }
    }
    merge.drain(|o| brain.observe(o));
    brain.finish();
    let inventory = &brain.inventory;
    let rows = [
        ("vms", inventory.vms().count(), VMS_MAX),
        ("services", inventory.services().count(), SERVICES_MAX),
        ("peers", inventory.peers().count(), PEERS_MAX),
    ];
    for (table, rows, limit) in rows {
        met.size(table, rows as u64);
        assert!(!small || rows <= limit, "{rows} {table}, the limit is {limit}");
    }
    // Each packet second may end flows and tell totals; both are bounded by the packets that made them.
    let allowed = (intake.packets + 64) * OBSERVATIONS_PER_PACKET_MAX;
    assert!(told <= allowed, "{told} observations from {} packets", intake.packets);
    // What was learned can be kept and taken up again.
    brain.save().unwrap();
    let store = brain.take_store().unwrap();
    Brain::load(store, BrainConfig::default()).unwrap();
    met.packets += intake.packets;
    met.observations += told;
}

fn captures(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            captures(&path, out);
        } else if path.extension().is_some_and(|e| e == "pcap" || e == "pcapng" || e == "cap") {
            out.push(path);
        }
    }
}

fn resident_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

#[test]
fn no_cut_and_no_flipped_bit_of_any_capture_breaks_anything() {
    let Some(corpus) = corpus() else {
        println!("hostile: no corpus beside this checkout; nothing was tried");
        return;
    };
    let wanted: usize = match std::env::var("EASTWATCH_HOSTILE") {
        Ok(text) => text.parse().expect("EASTWATCH_HOSTILE is the number of cuts, and of flips, a capture"),
        Err(_) => 20,
    };
    let mut paths = Vec::new();
    captures(&corpus, &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "a corpus without captures");
    let next = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let (met, failures, fewer) = (Mutex::new(Met::default()), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let under_way: [Mutex<String>; THREADS] = Default::default();
    let (heartbeat, heard) = channel::<()>();
    std::thread::scope(|scope| {
        let workers: Vec<_> = under_way
            .iter()
            .map(|mine| {
                let (next, paths, corpus, heartbeat) = (&next, &paths, &corpus, heartbeat.clone());
                let (met, failures, fewer) = (&met, &failures, &fewer);
                scope.spawn(move || {
                    while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let bytes = std::fs::read(path).unwrap();
                        let name = path.strip_prefix(corpus).unwrap_or(path).display().to_string();
                        let count = wanted.min((WHOLE_BYTES_MAX * wanted / 20 / bytes.len().max(1)).max(VARIANTS_MIN));
                        if count < wanted {
                            fewer.lock().unwrap().push(format!("{name}: {count} cuts, {count} flips"));
                        }
                        let mut own = Met::default();
                        for (number, harm) in Harm::all(count).enumerate().filter(|_| !bytes.is_empty()) {
                            *mine.lock().unwrap() = format!("{name} {harm:?}");
                            let (harmed, dice) = harm.of(&name, &bytes);
                            let small = number % 2 == 1;
                            let ran = catch_unwind(AssertUnwindSafe(|| through(&name, harmed, dice, small, &mut own)));
                            if ran.is_err() {
                                failures.lock().unwrap().push(format!("{name} {harm:?}"));
                            }
                            let _ = heartbeat.send(());
                        }
                        met.lock().unwrap().add(own);
                    }
                })
            })
            .collect();
        let (over, under_way) = (&over, &under_way);
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if heard.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                    eprintln!("hostile: hangs in {under_way:?}");
                    std::process::exit(101);
                }
            }
        });
        drop(heartbeat);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        over.store(true, Ordering::Relaxed);
    });
    let met = met.into_inner().unwrap();
    let failures = failures.into_inner().unwrap();
    let mut fewer = fewer.into_inner().unwrap();
    fewer.sort();
    println!(
        "hostile: {} captures, {wanted} cuts and {wanted} flips each: {} variants ({} refused as no capture), \
         {} packets, {} observations",
        paths.len(),
        met.variants,
        met.refused,
        met.packets,
        met.observations
    );
    println!("hostile: fewer variants of {} large captures: {fewer:?}", fewer.len());
    println!("hostile: largest of a shard, or of a brain: {:?}", met.sizes);
    let resident = resident_mib();
    println!("hostile: resident at most {resident:?} MiB");
    assert!(failures.is_empty(), "{} variants failed: {failures:#?}", failures.len());
    assert!(met.packets > met.variants, "the captures gave hardly a packet");
    assert!(resident.is_none_or(|mib| mib <= RESIDENT_MIB_MAX), "{resident:?} MiB resident");
}

#[test]
fn a_harmed_capture_is_the_same_each_time_and_another_than_the_whole() {
    let whole: Vec<u8> = (0..4_000u32).map(|i| i as u8).collect();
    for harm in Harm::all(20).skip(1).filter(|h| !matches!(h, Harm::Snap(_))) {
        let (harmed, _) = harm.of("name", &whole);
        assert_eq!(harmed, harm.of("name", &whole).0);
        assert_ne!(harmed, whole, "{harm:?}");
    }
}
