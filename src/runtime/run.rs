//! One run: threads are started, the source is read to its end, everything in flight is drained, the brain comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::api::{self, Asked};
use crate::app::Definitions;
use crate::brain::Brain;
use crate::capture::{CaptureError, Source};
use crate::decode::DecodeConfig;
use crate::deliver::Eve;
use crate::model::{SourceCounts, Timestamp};
use crate::store::{Shed, StoreError};

use super::dispatcher::{Dispatcher, Idle, Intake, Lane, Stop};
use super::keeper::{Keeper, Kept, OnFull};
use super::merge::{Merge, Report};
use super::shard::ShardLimits;
use super::worker::Worker;

/// Parcels that may wait for a worker: with 512 packets each, 1,500 packets of head start.
const PARCELS_WAITING: usize = 3;
const MAIL_WAITING: usize = 16;
/// In `read` hours of packets pass in a second, so that a save a packet minute would be nearly all that the store
/// does: there this much real time must have passed too. What a crash loses is read again.
const BETWEEN_SAVES: Duration = Duration::from_secs(1);

/// What the brain's thread receives.
pub enum Mail {
    Report(Report),
    Ask(Asked),
    Sources(Vec<SourceCounts>),
    Reload(Box<crate::brain::BrainConfig>),
    /// Log rotation: EVE goes to the same path, opened anew.
    Reopen,
    /// Nothing more comes: every worker has ended.
    Done,
}

impl From<Asked> for Mail {
    fn from(asked: Asked) -> Self {
        Mail::Ask(asked)
    }
}

impl From<Report> for Mail {
    fn from(report: Report) -> Self {
        Mail::Report(report)
    }
}

pub struct Plan {
    pub workers: u16,
    pub decode: DecodeConfig,
    pub limits: ShardLimits,
    /// The user's own applications.
    pub definitions: Arc<Definitions>,
    /// Hash seed of the flow tables: fixed in `read`, random in `watch`.
    pub seed: u64,
    /// True where a full disk ends the run (`read`); false where it sheds (`watch`).
    pub full_ends: bool,
    /// Whether the disk of the state is full, for whoever asks.
    pub disk_full: Arc<AtomicBool>,
}

pub struct Outcome {
    pub brain: Brain,
    pub intake: Intake,
    /// What the source failed with, in order; empty for a clean end.
    pub faults: Vec<CaptureError>,
    pub kept: Kept,
}

/// The brain's mailbox, made before the run so that others (control socket, signals) can write to it.
pub fn mailbox() -> (SyncSender<Mail>, Receiver<Mail>) {
    sync_channel(MAIL_WAITING)
}

/// Runs to the end of `source`, or until `stop` is set.
///
/// # Errors
/// A thread could not be started or ended by a panic (a defect of ours).
pub fn run(
    plan: &Plan,
    source: &mut dyn Source,
    brain: Brain,
    mail: (SyncSender<Mail>, Receiver<Mail>),
    stop: &Stop,
    each_batch: impl FnMut(&mut dyn Source, &Intake, Idle) -> Option<Timestamp>,
) -> Result<Outcome, String> {
    let (sender, receiver) = mail;
    let workers = plan.workers.clamp(1, 64);
    let now = brain.now();
    let full_ends = plan.full_ends.then(|| stop.clone());
    let disk_full = Arc::clone(&plan.disk_full);
    let brain_thread =
        spawn("brain", move || think(brain, usize::from(workers) + 1, &receiver, full_ends, &disk_full))?;
    let mut lanes = Vec::new();
    let mut threads = Vec::new();
    for index in 0..workers {
        let (parcels, incoming) = sync_channel(PARCELS_WAITING);
        let (returned, spent) = channel();
        let worker = Worker::new(index, workers, &plan.decode, &plan.limits, plan.seed).define(&plan.definitions);
        let reports = sender.clone();
        let stream = usize::from(index) + 1;
        threads.push(spawn("worker", move || worker.run(stream, &incoming, &reports, &returned))?);
        lanes.push(Lane { parcels, spent });
    }
    let dispatcher = Dispatcher::new(&plan.decode, lanes, sender.clone(), now);
    let (intake, faults) = dispatcher.run(source, stop, each_batch);
    for thread in threads {
        thread.join().map_err(|_| "a worker ended by a defect; please report it".to_owned())?;
    }
    let _ = sender.send(Mail::Done);
    let thought = brain_thread.join().map_err(|_| "the brain ended by a defect; please report it".to_owned())?;
    let (brain, kept) = thought?;
    Ok(Outcome { brain, intake, faults, kept })
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<thread::JoinHandle<T>, String> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|e| format!("no thread for {name}: {e}"))
}

/// A trouble that is told when it begins or changes, not each time it is met.
#[derive(Default)]
struct Word(Option<String>);

impl Word {
    fn is(&mut self, trouble: Option<String>) {
        if let Some(text) = trouble.as_ref().filter(|_| trouble != self.0) {
            tracing::error!("{text}");
        }
        self.0 = trouble;
    }
}

/// The brain's thread: merge, observe, answer, save.
fn think(
    mut brain: Brain,
    streams: usize,
    mail: &Receiver<Mail>,
    full_ends: Option<Stop>,
    disk_full: &AtomicBool,
) -> Result<(Brain, Kept), String> {
    let store = brain.take_store().ok_or("the brain has no store")?;
    let on_full = if full_ends.is_some() { OnFull::End } else { OnFull::Shed };
    let mut keeper =
        Keeper::start(store, on_full, Brain::shed_at).map_err(|e| format!("no thread for the store: {e}"))?;
    let mut merge = Merge::new(streams);
    let mut saved: Option<Instant> = None;
    let (mut store_word, mut eve_word) = (Word::default(), Word::default());
    loop {
        // A silent pipe must not leave unsaved what only had to wait its second.
        let letter = match mail.recv_timeout(BETWEEN_SAVES) {
            Ok(letter) => Some(letter),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let mut save_now = false;
        match letter {
            None => {}
            Some(Mail::Report(report)) => merge.take(report, |observation| brain.observe(observation)),
            Some(Mail::Ask(Asked { request, reply })) => {
                // A client that hung up does not need its answer.
                let _ = reply.send(api::answer(&mut brain, request));
                save_now = true;
            }
            Some(Mail::Sources(counts)) => brain.sources(counts),
            Some(Mail::Reload(config)) => brain.reconfigure(*config),
            Some(Mail::Reopen) => {
                brain.teller().reopen();
                eve_word = Word::default();
            }
            Some(Mail::Done) => break,
        }
        let may_wait =
            full_ends.is_some() && !brain.save_urgent() && saved.is_some_and(|at| at.elapsed() < BETWEEN_SAVES);
        if (save_now || (brain.save_due() && !may_wait)) && keeper.ready() {
            keeper.offer(brain.changes());
            saved = Some(Instant::now());
        }
        let kept = keeper.state().clone();
        disk_full.store(kept.level != Shed::Nothing, Ordering::Relaxed);
        if matches!(kept.trouble, Some(StoreError::Full(_)))
            && let Some(stop) = &full_ends
        {
            stop.store(true, Ordering::Relaxed);
        }
        let why = kept.trouble.as_ref().map(ToString::to_string);
        if full_ends.is_none() {
            brain.disk(kept.level, kept.shed, kept.lost, why.as_deref());
            // A full disk is told as `blind`; anything else here, once.
            store_word.is(kept.trouble.filter(|t| !matches!(t, StoreError::Full(_))).map(|t| t.to_string()));
        }
        brain.teller().flush();
        // `read` ends with it; `watch` says it now, because its end may be months away.
        if full_ends.is_none()
            && let Some(trouble) = brain.teller().eve().and_then(Eve::take_trouble)
        {
            eve_word.is(Some(trouble));
        }
    }
    merge.drain(|observation| brain.observe(observation));
    brain.finish();
    let (store, kept) = keeper.finish(brain.changes()).ok_or("the store keeper ended by a defect")?;
    brain.return_store(store);
    Ok((brain, kept))
}
