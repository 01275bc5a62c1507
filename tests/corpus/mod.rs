//! The measure against real input: every capture that the truth of the corpus names goes through the real pipeline,
//! and what came out is compared with what is known of it. Shared by `make corpus` and the behaviour tests.
//!
//! One capture at a time, in the order of their paths; what is held is one capture's inventory and the differences.

pub mod apps;
mod explained;
mod ndpi;
mod pipeline;
mod report;
mod services;
mod truth;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use apps::Apps;
use explained::Explanations;
use ndpi::Ndpi;
use services::Services;
use truth::Truth;

/// What a service is in the truth: an address, a transport in lower case, a port.
pub type Key = (IpAddr, String, u16);

/// Both targets of the services, and the apps' two.
pub const SERVICES_MIN: f64 = 0.99;
pub const APP_RIGHT_MIN: f64 = 0.95;
pub const APP_WRONG_MAX: f64 = 0.005;

pub struct Measured {
    pub services: Services,
    pub apps: Apps,
    pub ndpi: Ndpi,
    /// Captures of the corpus, those recorded here, and what could not be read (with the reason).
    pub captures: usize,
    pub recorded: usize,
    pub unread: Vec<String>,
    /// Explanations of differences that do not occur.
    pub stale: Vec<String>,
}

/// Reads everything the truth under `corpus` names, and the captures recorded from real servers in `recorded` where
/// that folder is there.
///
/// # Errors
/// A truth file or the explanations cannot be read.
pub fn measure(corpus: &Path, recorded: &Path) -> Result<Measured, String> {
    let truth = Truth::load(corpus, recorded)?;
    let mut explanations = Explanations::load()?;
    let mut ndpi = Ndpi::load(corpus)?;
    let (mut services, mut apps) = (Services::default(), Apps::default());
    let mut unread = Vec::new();
    for capture in &truth.captures {
        let found = match pipeline::read(&capture.file) {
            Ok(found) => found,
            Err(why) => {
                unread.push(format!("{}: {why}", capture.path));
                continue;
            }
        };
        services.compare(capture, &found.services, &mut explanations);
        apps.compare(capture, &found, &mut explanations);
        ndpi.compare(&capture.path, &found);
    }
    for path in ndpi.left() {
        match pipeline::read(&corpus.join(&path)) {
            Ok(found) => ndpi.compare(&path, &found),
            Err(why) => unread.push(format!("{path}: {why}")),
        }
    }
    let recorded = truth.captures.iter().filter(|capture| capture.recorded).count();
    let captures = truth.captures.len() - recorded;
    Ok(Measured { services, apps, ndpi, captures, recorded, unread, stale: explanations.unused() })
}

impl Measured {
    /// What misses a target and is not explained; empty when all is well.
    pub fn failures(&self) -> Vec<String> {
        let mut failures: Vec<String> = self.unread.iter().map(|u| format!("not read: {u}")).collect();
        failures.extend(self.stale.iter().map(|s| format!("explained, but it does not occur: {s}")));
        failures.extend(self.services.failures());
        failures.extend(self.apps.failures());
        failures.extend(self.ndpi.failures());
        failures
    }
}

/// Which explained differences a figure leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    Nothing,
    /// Where the truth is wrong or incomplete.
    TruthErrors,
    Explained,
}

/// Counts of one capture or one protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub right: usize,
    pub missing: Gaps,
    pub extra: Gaps,
}

/// Differences of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    pub unexplained: usize,
    pub of_truth: usize,
    pub ours: usize,
}

impl Gaps {
    pub fn add(&mut self, why: Option<&explained::Why>) {
        match why {
            None => self.unexplained += 1,
            Some(why) if why.of_truth => self.of_truth += 1,
            Some(_) => self.ours += 1,
        }
    }

    pub fn counted(&self, without: Without) -> usize {
        match without {
            Without::Nothing => self.unexplained + self.ours + self.of_truth,
            Without::TruthErrors => self.unexplained + self.ours,
            Without::Explained => self.unexplained,
        }
    }
}

impl Tally {
    /// Of what there is, how much was found; `None` where there is nothing.
    pub fn recall(&self, without: Without) -> Option<f64> {
        share(self.right, self.missing.counted(without))
    }

    /// Of what was found, how much there is.
    pub fn precision(&self, without: Without) -> Option<f64> {
        share(self.right, self.extra.counted(without))
    }
}

fn share(right: usize, not: usize) -> Option<f64> {
    (right + not > 0).then(|| right as f64 / (right + not) as f64)
}

/// The mean of what there is; `None` of nothing.
pub fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Tallies by name, in order of name.
pub type Tallies = BTreeMap<String, Tally>;
