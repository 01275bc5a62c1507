//! What differs between two exported baselines, a line each, in order of VM: what a reviewer reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::document::{Document, VmDocument};
use super::profile::Port;
use super::ripeness::Feature;
use super::volume::VolumeDay;
use crate::model::VmId;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiffLine {
    pub sign: DiffSign,
    pub vm: VmId,
    pub name: Option<String>,
    /// `VM`, `serves tcp/443`, `uses tcp/5432 of vm-…`, `serves tcp/443: application tls`, `services: ripe`,
    /// `sends up to 64 MiB an hour`.
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiffSign {
    Removed,
    Added,
}

impl fmt::Display for DiffLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.sign == DiffSign::Added { '+' } else { '-' };
        match &self.name {
            Some(name) => write!(f, "{sign} {name} ({}) {}", self.vm, self.what),
            None => write!(f, "{sign} {} {}", self.vm, self.what),
        }
    }
}

/// What `after` has that `before` has not (`Added`), and the reverse. Counts and times are no difference.
pub fn diff(before: &Document, after: &Document) -> Vec<DiffLine> {
    let (old, new) = (by_vm(before), by_vm(after));
    let vms: BTreeSet<VmId> = old.keys().chain(new.keys()).copied().collect();
    let mut out = Vec::new();
    for vm in vms {
        let (was, is) = (old.get(&vm), new.get(&vm));
        let name = is.or(was).and_then(|d| d.name.clone());
        let (was, is) = (was.map(|d| lines(d)).unwrap_or_default(), is.map(|d| lines(d)).unwrap_or_default());
        let line = |sign, what: &String| DiffLine { sign, vm, name: name.clone(), what: what.clone() };
        out.extend(was.difference(&is).map(|what| line(DiffSign::Removed, what)));
        out.extend(is.difference(&was).map(|what| line(DiffSign::Added, what)));
    }
    out
}

fn by_vm(document: &Document) -> BTreeMap<VmId, &VmDocument> {
    document.vms.iter().map(|d| (d.vm, d)).collect()
}

/// Everything that a person would call a difference, as text.
pub(crate) fn lines(document: &VmDocument) -> BTreeSet<String> {
    let mut out = BTreeSet::from(["VM".to_owned()]);
    for (feature, track) in [Feature::Services, Feature::Uses, Feature::Peers].iter().zip(&document.tracks) {
        if track.ripe_since.is_some() {
            out.insert(format!("{feature}: ripe"));
        }
    }
    for service in &document.services {
        let shown = serves(service.port);
        out.extend(service.learned.identity.texts().map(|text| format!("{shown}: {text}")));
        if service.learned.provisional {
            out.insert(format!("{shown}: provisional"));
        }
        out.insert(shown);
    }
    if let Some(bytes) = VolumeDay::usual(&document.volumes) {
        out.insert(format!("sends up to {} an hour", in_units(bytes)));
    }
    out.extend(document.bulk.iter().map(|bulk| format!("sends much to {}", bulk.label())));
    for peer in &document.peers {
        let shown = uses(peer.server, peer.port);
        if peer.learned.provisional {
            out.insert(format!("{shown}: provisional"));
        }
        out.insert(shown);
    }
    out
}

/// A power of two bytes: `64 MiB`.
fn in_units(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let power = (bytes.max(1).ilog2() / 10).min(UNITS.len() as u32 - 1);
    format!("{} {}", bytes >> (power * 10), UNITS.get(power as usize).copied().unwrap_or("B"))
}

pub(crate) fn serves((transport, port): Port) -> String {
    format!("serves {transport}/{port}")
}

pub(crate) fn uses(server: VmId, (transport, port): Port) -> String {
    format!("uses {transport}/{port} of {server}")
}
