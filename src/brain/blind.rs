//! `blind`: eastwatch itself sees or keeps less than it should: the disk is full, or a mirror source went away, fell
//! silent, loses packets, or shows one direction only (alone, or all together). Told once when it begins and once when it
//! ends; of what was blind nothing is concluded ([`Blind::until`]). One entry for each cause; there are four a source,
//! and two.

use std::collections::BTreeMap;

use crate::model::{Detector, Severity, Timestamp};

pub static BLIND: Detector = Detector {
    signature_id: 19,
    name: "blind",
    signature: "eastwatch sees or keeps less than it should",
    techniques: &[],
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    Disk,
    /// The interface went away.
    Source(String),
    /// Longer than it ever was while it was well.
    Silent(String),
    Lossy(String),
    OneWay,
    /// Where there are several.
    SourceOneWay(String),
}

/// What people are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub time: Timestamp,
    pub cause: &'static str,
    pub severity: Severity,
    pub resolved: bool,
    pub title: String,
    pub reason: String,
}

/// What eastwatch is blind by, and since when.
#[derive(Debug, Default)]
pub struct Blind {
    since: BTreeMap<Cause, Timestamp>,
    /// When the last of what hides packets ended.
    over: Option<Timestamp>,
}

impl Blind {
    /// It began, or goes on, which is not told again.
    pub fn onset(&mut self, cause: Cause, why: &str, now: Timestamp) -> Option<Notice> {
        if self.since.contains_key(&cause) {
            return None;
        }
        let (severity, effect) = match cause {
            Cause::Disk => {
                (Severity::High, "; history, then evidence, then EVE events are held back, incidents are kept")
            }
            Cause::Source(_) | Cause::Silent(_) => (Severity::High, ""),
            Cause::Lossy(_) | Cause::OneWay | Cause::SourceOneWay(_) => (Severity::Medium, ""),
        };
        let notice = Notice {
            time: now,
            cause: cause.name(),
            severity,
            resolved: false,
            title: cause.title(),
            reason: format!("{why}{effect}"),
        };
        self.since.insert(cause, now);
        Some(notice)
    }

    /// All is well; told where it was not.
    pub fn sees(&mut self, cause: &Cause, now: Timestamp) -> Option<Notice> {
        let since = self.since.remove(cause)?;
        if cause.hides() {
            self.over = Some(now);
        }
        Some(Notice {
            time: now,
            cause: cause.name(),
            severity: Severity::Info,
            resolved: true,
            title: cause.title(),
            reason: format!("over after {:.0} s", now.since_s(since).max(0.0)),
        })
    }
}

impl Blind {
    /// Until when packets went by unseen: `now` while they still do.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        if self.since.keys().any(Cause::hides) { Some(now) } else { self.over }
    }
}

impl Cause {
    /// Packets go by unseen.
    fn hides(&self) -> bool {
        *self != Cause::Disk
    }

    fn name(&self) -> &'static str {
        match self {
            Cause::Disk => "disk",
            Cause::Source(_) => "source",
            Cause::Silent(_) => "silence",
            Cause::Lossy(_) => "loss",
            Cause::OneWay | Cause::SourceOneWay(_) => "one-way",
        }
    }

    fn title(&self) -> String {
        match self {
            Cause::Disk => "the disk of the state is full".to_owned(),
            Cause::Source(name) => format!("{name} is gone"),
            Cause::Silent(name) => format!("{name} is silent"),
            Cause::Lossy(name) => format!("{name} loses packets"),
            Cause::SourceOneWay(name) => format!("{name} shows most connections from one side"),
            Cause::OneWay => "most connections are seen from one side".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_once_and_its_end_once() {
        let mut blind = Blind::default();
        let at = |s| Timestamp::ZERO.plus_s(s);
        let notice = blind.onset(Cause::Disk, "4 KiB left", at(10));
        assert!(notice.is_some_and(|n| !n.resolved && n.reason.starts_with("4 KiB left") && n.cause == "disk"));
        assert_eq!(blind.onset(Cause::Disk, "3 KiB left", at(20)), None);
        let over = blind.sees(&Cause::Disk, at(70));
        assert!(over.is_some_and(|n| n.resolved && n.reason == "over after 60 s"));
    }

    #[test]
    fn what_never_failed_says_nothing() {
        let mut blind = Blind::default();
        assert_eq!(blind.sees(&Cause::Disk, Timestamp::ZERO), None);
        assert_eq!(blind.sees(&Cause::Source("span0".to_owned()), Timestamp::ZERO), None);
    }
}
