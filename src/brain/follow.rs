//! Following: a VM that comes from where another probe looks brings its baseline, by a folder that the probes share
//! (`[baseline] follow`). What is asked for comes at once (`read`), or a moment later and in the order of things
//! ([`Handover`]): what happens to the VM meanwhile is held, at most [`HELD_MAX`] changes and [`HELD_S`], then judged
//! by what is known.
//!
//! A VM is asked for when it is first seen, when it is seen again after [`SILENT_S`], and when a hypervisor announces it;
//! at most once in [`ASK_EVERY_S`]. Each tick [`LOOKED_AT_A_TICK`] baselines are looked at; what was learned since the last
//! sheet is written, at most every [`WRITE_EVERY_S`], or when the VM has fallen silent.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use serde_json::{Value, json};

use super::Brain;
use crate::baseline::{Document, Followed, Sheet};
use crate::inventory::{Change, What};
use crate::model::{Claim, ClaimKind, Handover, ServiceKey, Timestamp, VmId};

/// So long it may have been elsewhere.
const SILENT_S: f64 = 300.0;
const ASK_EVERY_S: f64 = 60.0;
const HELD_S: f64 = 1.0;
const HELD_MAX: usize = 4_096;
const WRITE_EVERY_S: f64 = 300.0;
/// A VM that moves is not heard any more where it was.
const LEFT_S: f64 = 10.0;
const LOOKED_AT_A_TICK: usize = 32;
/// VMs that notes are kept of beyond those that have a baseline.
const NOTES_SPARE: usize = 4_096;

/// A folder with a file for each VM, as the brain sees it.
pub trait Folder: Send {
    /// Asks for a VM's file.
    fn ask(&mut self, vm: VmId) -> Asked;

    /// Writes a VM's file.
    fn put(&mut self, vm: VmId, sheet: &Sheet) -> Put;

    /// Its baseline was reset: what lies there is not to come back.
    fn remove(&mut self, vm: VmId);

    fn dir(&self) -> &Path;

    /// What is wrong with it, last.
    fn trouble(&self) -> Option<String>;
}

/// The answer of a [`Folder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The text, where there is one that was not handed over before.
    Now(Option<String>),
    /// It comes as a [`Handover`].
    Later,
    /// Too much is under way already.
    Busy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is written, or will be.
    Done,
    /// Another probe has written since: this first.
    Theirs(String),
    /// Not now; it is told in [`Folder::trouble`].
    Failed,
}

#[derive(Default)]
enum Source {
    #[default]
    Off,
    Folder(Box<dyn Folder>),
    /// A run is replayed: answers come with the recording.
    Recorded,
}

crate::counters! {
    struct FollowCounters {
        asked => "baseline.follow.asked",
        /// Baselines of VMs that were not known here.
        taken => "baseline.follow.taken",
        /// Rows that another probe knew of a VM that is known here, too.
        united => "baseline.follow.united",
        /// Files that are no baseline of their VM, or that there was no room for.
        refused => "baseline.follow.refused",
        written => "baseline.follow.written",
        /// Sheets that could not be written, and questions that could not be asked.
        failed => "baseline.follow.failed",
        /// Changes judged without an answer: it did not come in time, or too many waited.
        unanswered => "baseline.follow.unanswered",
    }
}

#[derive(Default)]
pub struct Follow {
    source: Source,
    asked: BTreeMap<VmId, Timestamp>,
    /// Asked for, not answered.
    waiting: BTreeMap<VmId, Timestamp>,
    held: VecDeque<(VmId, Change)>,
    notes: BTreeMap<VmId, Note>,
    cursor: Option<VmId>,
    counters: FollowCounters,
    /// What was wrong with the last file that was refused.
    fault: Option<String>,
}

/// Of a sheet that was handed on.
#[derive(Clone, Copy, Default)]
struct Note {
    looked: Timestamp,
    seen: Timestamp,
    digest: Option<u64>,
}

impl Follow {
    fn is_off(&self) -> bool {
        matches!(self.source, Source::Off)
    }

    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        if !self.is_off() {
            self.counters.report(out);
        }
    }

    fn refuse(&mut self, name: &str, why: &str) {
        self.counters.refused += 1;
        let fault = format!("{name}: {why}");
        if self.fault.as_ref() != Some(&fault) {
            tracing::warn!("[baseline] follow: {fault}");
            self.fault = Some(fault);
        }
    }
}

impl Brain {
    /// Where baselines are handed over from now on.
    pub fn follow(&mut self, folder: Box<dyn Folder>) {
        self.follow.source = Source::Folder(folder);
    }

    /// A hypervisor announces a VM: it has just come.
    pub(super) fn announced(&mut self, claim: &Claim) {
        if self.follow.is_off() || claim.kind != ClaimKind::Announces || claim.ip.is_some() {
            return;
        }
        if let Some(vm) = self.inventory.of_station(claim.mac, claim.segment) {
            self.ask(vm);
        }
    }

    /// Judges a change, or holds it until its VM's baseline has come.
    pub(super) fn hear(&mut self, change: Change) {
        if self.follow.is_off() {
            return self.judge(&change);
        }
        if let What::Merged { kept, gone } = change.what {
            self.release(kept);
            self.release(gone);
        }
        let Some(vm) = change.subject() else { return self.judge(&change) };
        let silent = |seen: Timestamp| change.time.since_s(seen) >= SILENT_S;
        if self.baselines.profile(vm).is_none_or(|profile| silent(profile.last_seen)) {
            self.ask(vm);
        }
        if !self.follow.waiting.contains_key(&vm) {
            return self.judge(&change);
        }
        if self.follow.held.len() < HELD_MAX {
            return self.follow.held.push_back((vm, change));
        }
        self.follow.counters.unanswered += 1;
        self.release(vm);
        self.judge(&change);
    }

    fn ask(&mut self, vm: VmId) {
        let now = self.now;
        if self.follow.asked.get(&vm).is_some_and(|at| now.since_s(*at) < ASK_EVERY_S) {
            return;
        }
        if self.follow.asked.len() >= self.baselines.count() + NOTES_SPARE {
            self.follow.asked.retain(|_, at| now.since_s(*at) < ASK_EVERY_S);
        }
        self.follow.asked.insert(vm, now);
        let answer = match &mut self.follow.source {
            Source::Off => return,
            Source::Recorded => Asked::Later,
            Source::Folder(folder) => folder.ask(vm),
        };
        self.follow.counters.asked += 1;
        match answer {
            Asked::Now(None) => {}
            Asked::Now(Some(text)) => self.take_up(vm, &text),
            Asked::Later => drop(self.follow.waiting.insert(vm, now)),
            Asked::Busy => self.follow.counters.failed += 1,
        }
    }

    /// An answer came in its place.
    pub(super) fn handed_over(&mut self, handover: &Handover) {
        match handover {
            Handover::Recorded => self.follow.source = Source::Recorded,
            Handover::Page(vm, text) => {
                if let Some(text) = text {
                    self.take_up(*vm, text);
                }
                self.release(*vm);
            }
        }
    }

    fn take_up(&mut self, vm: VmId, text: &str) {
        let name = format!("{vm}.toml");
        let mut document = match Document::parse(&name, text) {
            Ok(document) => document,
            Err(faults) => {
                let first = faults.first().map_or("", String::as_str);
                return self.follow.refuse(&name, first.strip_prefix(&format!("{name}:")).unwrap_or(first).trim());
            }
        };
        if document.vms.len() != 1 || document.vms.first().is_none_or(|page| page.vm != vm) {
            return self.follow.refuse(&name, "it is not the baseline of this VM");
        }
        let vm = self.inventory.resolve(vm);
        let Some(mut page) = document.vms.pop() else { return };
        let theirs = page.gist();
        page.vm = vm;
        page.peers.iter_mut().for_each(|peer| peer.server = self.inventory.resolve(peer.server));
        // What is an incident here does not become normal by another's word.
        let incidents = &self.incidents;
        let concerns = |vm, (transport, port)| incidents.concern(&ServiceKey { vm, transport, port }).is_some();
        page.services.retain(|service| !concerns(vm, service.port));
        page.peers.retain(|peer| !concerns(peer.server, peer.port));
        let services = page.services.len();
        match self.baselines.take_up(&document, &page, self.now) {
            Err(why) => self.follow.refuse(&name, &why),
            Ok(Followed::United(rows)) => self.follow.counters.united += rows as u64,
            Ok(Followed::Taken) => {
                self.follow.counters.taken += 1;
                let text = format!("its baseline has come, as of {}: {services} services", document.exported.short());
                let change = Change { time: self.now, frame: 0, flow: None, what: What::Tick };
                self.teller.vm(&change, &text, vm, &self.inventory, &self.baselines);
            }
        }
        // Where both know the same nothing is written: two probes would never end to answer each other.
        let now = self.now;
        let same = self.baselines.sheet(vm, &self.inventory).filter(|mine| mine.gist == theirs);
        let seen = self.baselines.profile(vm).map_or(Timestamp::ZERO, |profile| profile.last_seen);
        match same {
            Some(mine) => {
                self.follow.notes.insert(vm, Note { looked: now, seen, digest: Some(mine.digest) });
            }
            None => drop(self.follow.notes.remove(&vm)),
        }
    }

    /// Its baseline was reset.
    pub fn unfollow(&mut self, vm: Option<VmId>) {
        let Follow { source: Source::Folder(folder), notes, .. } = &mut self.follow else { return };
        let vms: Vec<VmId> = vm.map_or_else(|| notes.keys().copied().collect(), |vm| vec![vm]);
        for vm in vms {
            notes.remove(&vm);
            folder.remove(vm);
        }
    }

    /// What was held of a VM is judged now, in its order.
    fn release(&mut self, vm: VmId) {
        if self.follow.waiting.remove(&vm).is_none() {
            return;
        }
        let (now, later): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.follow.held).into_iter().partition(|(of, _)| *of == vm);
        self.follow.held = later;
        for (_, change) in now {
            self.judge(&change);
        }
    }

    /// Once a packet second: who has waited too long is judged, and what was learned is handed on.
    pub(super) fn follow_on(&mut self, ended: bool) {
        if self.follow.is_off() {
            return;
        }
        let now = self.now;
        let late = |at: Timestamp| ended || now.since_s(at) > HELD_S;
        let due: Vec<VmId> = self.follow.waiting.iter().filter(|(_, at)| late(**at)).map(|(vm, _)| *vm).collect();
        for vm in due {
            self.follow.counters.unanswered += 1;
            self.release(vm);
        }
        if !matches!(self.follow.source, Source::Folder(_)) {
            return;
        }
        let count = if ended { usize::MAX } else { LOOKED_AT_A_TICK };
        let from = self.follow.cursor.filter(|_| !ended);
        let vms = self.baselines.profiles_after(from, count);
        self.follow.cursor = if vms.len() < count { None } else { vms.last().copied() };
        for vm in vms {
            self.hand_on(vm, ended, &mut false);
        }
    }

    fn hand_on(&mut self, vm: VmId, ended: bool, again: &mut bool) {
        let Some(seen) = self.baselines.profile(vm).map(|profile| profile.last_seen) else { return };
        let now = self.now;
        if self.follow.notes.len() > self.baselines.count() + NOTES_SPARE {
            let baselines = &self.baselines;
            self.follow.notes.retain(|vm, _| baselines.known(*vm));
        }
        let Follow { notes, source: Source::Folder(folder), .. } = &mut self.follow else { return };
        let note = notes.entry(vm).or_default();
        let left = now.since_s(seen) >= LEFT_S && now.since_s(note.looked) >= LEFT_S;
        if seen <= note.seen || !(ended || left || now.since_s(note.looked) >= WRITE_EVERY_S) {
            return;
        }
        note.looked = now;
        let Some(sheet) = self.baselines.sheet(vm, &self.inventory) else { return };
        if note.digest == Some(sheet.digest) {
            note.seen = seen;
            return;
        }
        match folder.put(vm, &sheet) {
            Put::Done => {
                *note = Note { looked: now, seen, digest: Some(sheet.digest) };
                self.follow.counters.written += 1;
            }
            Put::Failed => self.follow.counters.failed += 1,
            // Where what both know now is not what lies there, the next look writes it.
            Put::Theirs(text) => {
                self.take_up(vm, &text);
                if ended && !std::mem::replace(again, true) {
                    self.hand_on(vm, true, again);
                }
            }
        }
    }

    /// For `doctor`.
    pub(super) fn follow_status(&self) -> Value {
        let Source::Folder(folder) = &self.follow.source else { return Value::Null };
        let counters = &self.follow.counters;
        json!({
            "dir": folder.dir().display().to_string(),
            "taken": counters.taken,
            "united": counters.united,
            "refused": counters.refused,
            "written": counters.written,
            "failed": counters.failed,
            "unanswered": counters.unanswered,
            "fault": self.follow.fault,
            "trouble": folder.trouble(),
        })
    }
}
