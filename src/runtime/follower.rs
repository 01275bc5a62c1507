//! The follower: the shelf on a thread of its own, so that a slow share never stops the brain. Its answers go the way of
//! packets ([`Handovers`]): they take a place in the order of things, and a recording holds them.
//!
//! At most [`JOBS_MAX`] jobs and [`ANSWERS_MAX`] answers wait. A job that finds no place is not done, and counted; the
//! thread waits where answers find none.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::record::{CLOCK_LINK, OWN_SOURCE};
use super::shelf::Shelf;
use crate::baseline::Sheet;
use crate::brain::{Asked, Folder, Put};
use crate::capture::{Batch, CaptureError, Filled, Progress, Source, SourceId};
use crate::model::{Handover, LinkType, SourceCounts, Timestamp, VmId};

const JOBS_MAX: usize = 4_096;
const ANSWERS_MAX: usize = 16;
const TOO_SLOW: &str = "the shared folder is too slow: what waits for it is more than it can take";

enum Job {
    Ask(VmId),
    Put(VmId, Sheet),
    Remove(VmId),
}

/// The shelf as the brain has it in `watch`.
pub struct Follower {
    dir: PathBuf,
    jobs: SyncSender<Job>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Follower {
    /// Also returns its answers, for [`Handovers`], and the thread, which ends some time after the brain.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(dir: &Path) -> std::io::Result<(Self, Receiver<Handover>, JoinHandle<()>)> {
        let (jobs, incoming) = sync_channel(JOBS_MAX);
        let (answers, outgoing) = sync_channel(ANSWERS_MAX);
        let trouble = Arc::new(Mutex::new(None));
        let (mut shelf, told) = (Shelf::new(dir), Arc::clone(&trouble));
        let work = move || {
            // At the end of the run nobody hears answers any more, and what was learned last is still written.
            for job in incoming {
                let answer = work(&mut shelf, job);
                if let Ok(mut told) = told.lock() {
                    *told = shelf.trouble();
                }
                if let Some(answer) = answer {
                    let _ = answers.send(answer);
                }
            }
        };
        let thread = std::thread::Builder::new().name("follower".to_owned()).spawn(work)?;
        Ok((Follower { dir: dir.to_owned(), jobs, trouble }, outgoing, thread))
    }

    fn hand(&self, job: Job) -> bool {
        let handed = self.jobs.try_send(job).is_ok();
        if !handed && let Ok(mut trouble) = self.trouble.lock() {
            *trouble = Some(TOO_SLOW.to_owned());
        }
        handed
    }
}

fn work(shelf: &mut Shelf, job: Job) -> Option<Handover> {
    match job {
        Job::Ask(vm) => match shelf.ask(vm) {
            Asked::Now(text) => Some(Handover::Page(vm, text)),
            Asked::Later | Asked::Busy => None,
        },
        Job::Put(vm, sheet) => match shelf.put(vm, &sheet) {
            // It is united with what is known, which is then written in its turn.
            Put::Theirs(text) => Some(Handover::Page(vm, Some(text))),
            Put::Done | Put::Failed => None,
        },
        Job::Remove(vm) => {
            shelf.remove(vm);
            None
        }
    }
}

impl Folder for Follower {
    fn ask(&mut self, vm: VmId) -> Asked {
        if self.hand(Job::Ask(vm)) { Asked::Later } else { Asked::Busy }
    }

    fn put(&mut self, vm: VmId, sheet: &Sheet) -> Put {
        if self.hand(Job::Put(vm, sheet.clone())) { Put::Done } else { Put::Failed }
    }

    fn remove(&mut self, vm: VmId) {
        self.hand(Job::Remove(vm));
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().ok().and_then(|trouble| trouble.clone())
    }
}

/// A source, with the follower's answers among its frames.
pub struct Handovers<S> {
    inner: S,
    answers: Option<Receiver<Handover>>,
    /// One that found no room in the batch.
    waiting: Option<Vec<u8>>,
    now: Timestamp,
}

impl<S: Source> Handovers<S> {
    pub fn new(inner: S, answers: Option<Receiver<Handover>>) -> Self {
        Handovers { inner, answers, waiting: None, now: Timestamp::ZERO }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(waiting) = self.waiting.take() {
            return Some(waiting);
        }
        match self.answers.as_ref()?.try_recv() {
            Ok(answer) => Some(answer.to_bytes()),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.answers = None;
                None
            }
        }
    }
}

impl<S: Source> Source for Handovers<S> {
    fn fill(&mut self, batch: &mut Batch) -> Result<Filled, CaptureError> {
        let filled = self.inner.fill(batch)?;
        for frame in &batch.frames {
            self.now = self.now.max(frame.time);
        }
        while let Some(answer) = self.next() {
            if !batch.push(self.now, 0, CLOCK_LINK, OWN_SOURCE, &answer) {
                self.waiting = Some(answer);
                break;
            }
        }
        Ok(filled)
    }

    fn stepped(&mut self, time: Timestamp) {
        self.now = self.now.max(time);
        self.inner.stepped(time);
    }

    fn counters(&self, out: &mut Vec<(&'static str, u64)>) {
        self.inner.counters(out);
    }

    fn progress(&self) -> Progress {
        self.inner.progress()
    }

    fn source_name(&self, id: SourceId) -> &str {
        self.inner.source_name(id)
    }

    fn told_as(&self, id: SourceId) -> Option<&str> {
        self.inner.told_as(id)
    }

    fn interface(&self, id: SourceId) -> Option<&str> {
        self.inner.interface(id)
    }

    fn link_types_seen(&self) -> Vec<(LinkType, SourceId)> {
        self.inner.link_types_seen()
    }

    fn losses(&mut self) -> Vec<SourceCounts> {
        self.inner.losses()
    }
}
