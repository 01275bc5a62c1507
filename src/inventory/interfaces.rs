//! Interfaces as locations: which capture interfaces may be the mirrors of different hosts.
//!
//! An interface need not be a host: it may be one direction of a tap, or carry part of the flows of a bond, or be the
//! second mirror of one switch. So a move between two is believed only where both have shown copies of what others
//! show, and not for an hour after [`SPLIT_MIN`] VMs showed at both with different receivers. As many interfaces as
//! the packet side names (64), for each pair of them at most [`SPLIT_MIN`] VMs, the latest.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{CaptureInterface, Interface, Location, MirrorPath, Timestamp, VmId};

/// A clone, a host whose own port is not mirrored: one or two VMs show at both for reasons of their own.
const SPLIT_MIN: usize = 3;
const SPLIT_S: f64 = 3_600.0;

#[derive(Debug, Default)]
pub(super) struct Interfaces {
    /// By number of the mirror source.
    known: Vec<Option<CaptureInterface>>,
    split: BTreeMap<(Interface, Interface), Vec<(VmId, Timestamp)>>,
}

pub(super) fn is_interface(location: Location) -> bool {
    location.interface.is_some()
}

impl Interfaces {
    pub fn told(&mut self, interfaces: &[Option<CaptureInterface>]) {
        self.known = interfaces.to_vec();
    }

    /// Where a frame was seen: by its tunnel, else by its interface.
    pub fn location(&self, host_hint: Option<IpAddr>, path: MirrorPath) -> Option<Location> {
        let by_source = || self.known.get(usize::from(path.source)).copied().flatten();
        Location::of(host_hint, path).or_else(|| by_source().map(|interface| Location::by(interface.name)))
    }

    /// Both interfaces showed frames of this VM that the other did not.
    pub fn split(&mut self, vm: VmId, a: Location, b: Location, now: Timestamp) {
        let Some(pair) = pair(a, b) else { return };
        let vms = self.split.entry(pair).or_default();
        vms.retain(|(other, _)| *other != vm);
        if vms.len() >= SPLIT_MIN {
            vms.remove(0);
        }
        vms.push((vm, now));
    }

    pub fn tell_hosts_apart(&self, a: Location, b: Location, now: Timestamp) -> bool {
        let shares = |location: Location| {
            let mut known = self.known.iter().flatten();
            known.any(|interface| Some(interface.name) == location.interface && interface.shares)
        };
        let lately = |vms: &Vec<(VmId, Timestamp)>| vms.iter().filter(|(_, time)| now.since_s(*time) < SPLIT_S).count();
        let split = pair(a, b).and_then(|pair| self.split.get(&pair)).map_or(0, lately);
        shares(a) && shares(b) && split < SPLIT_MIN
    }
}

fn pair(a: Location, b: Location) -> Option<(Interface, Interface)> {
    let (a, b) = (a.interface?, b.interface?);
    Some((a.min(b), a.max(b)))
}
