//! Outliers: a service that a member of a ripe role learned provisionally and that no other member serves; and one that
//! nothing recognised, that one or two clients use, and that no other VM serves at all. What was planted before the
//! probe came, or while it learned, stands out here. Looked at every ten minutes in turn, [`LOOKED_AT`] VMs a tick; told
//! once for each service, of which `told_max` are remembered (the longest untouched is forgotten, counted).

use super::memory::Memory;
use super::new_service::DETECTOR;
use super::peering::POPULAR_CLIENTS;
use super::{Seen, World, frames, remote_access};
use crate::baseline::Mode;
use crate::inventory::{Change, Sight};
use crate::model::{Evidence, Finding, ServiceClass, ServiceKey, Severity, Timestamp, Transport, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

static TOLD: Kind = Kind { tag: 0x51, name: "role outlier told", version: 1 };

/// Some 50 µs a tick; ten thousand VMs are seen once in five minutes.
const LOOKED_AT: usize = 32;
/// What stands out was there for a day: some minutes more do not matter.
const ROUND_S: i64 = 600;

/// A service with more clients is one that people know.
const LONE_CLIENTS_MAX: u64 = 2;

/// In what it stands out.
enum Odd {
    /// Of a role of so many members.
    OfRole(usize),
    /// Of all VMs.
    Lone,
}

fn odd(key: &ServiceKey, seen: &Seen<'_>, change: &Change, world: &World<'_>) -> Option<Odd> {
    let app = seen.app.map(|app| app.proto.as_str());
    // What many use does its VM's job, whoever its likes are. Remote access is no job, save where it hands out files.
    let remote = app != Some("smb") && remote_access::is_remote_access(key.transport, key.port, app);
    let known = seen.clients >= POPULAR_CLIENTS && !remote;
    if let Some(members) = world.baselines.outlier_of(key).filter(|_| !known) {
        return Some(Odd::OfRole(members));
    }
    let opaque = app.is_none() && key.transport == Transport::Tcp && seen.basis.sight == Sight::Whole;
    let lone = opaque && seen.clients <= LONE_CLIENTS_MAX && world.baselines.is_lone(key, change.time);
    lone.then_some(Odd::Lone)
}

pub struct Outliers {
    told: Memory<ServiceKey, Timestamp>,
    /// Where the round goes on; `None` between rounds.
    cursor: Option<VmId>,
    round_at: Timestamp,
}

impl Outliers {
    pub fn new(told_max: usize) -> Self {
        Outliers { told: Memory::new(&TOLD, told_max), cursor: None, round_at: Timestamp::ZERO }
    }

    /// At a tick.
    pub fn look(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) {
        if world.mode() != Mode::Auto {
            return;
        }
        if self.cursor.is_none() {
            if change.time < self.round_at.plus_s(ROUND_S) {
                return;
            }
            self.round_at = change.time;
        }
        let next = world.baselines.profiles_after(self.cursor, LOOKED_AT);
        self.cursor = if next.len() < LOOKED_AT { None } else { next.last().copied() };
        for vm in next {
            let ports: Vec<_> = world.baselines.profile(vm).map_or(Vec::new(), |p| p.firm_services().collect());
            for (transport, port) in ports {
                self.judge(&ServiceKey { vm, transport, port }, change, world, out);
            }
        }
    }

    fn judge(&mut self, key: &ServiceKey, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) {
        let provisional = world.baselines.service(key).is_some_and(|learned| learned.provisional);
        if !provisional || self.told.get(key).is_some() {
            return;
        }
        let Some(seen) = world.known.service(key) else { return };
        let answered = seen.basis.level >= 4 || seen.app.is_some();
        let shared = seen.class != ServiceClass::Unicast || seen.joins_known_group || world.known.taken_over(key);
        if !answered || shared || seen.basis.sight == Sight::Record || world.sanctioned(key, change.time) {
            return;
        }
        let Some(odd) = odd(key, &seen, change, world) else { return };
        self.told.insert(*key, change.time, change.time);
        let mut finding = world.finding(&DETECTOR, Severity::Medium, change, key.vm);
        let port = format!("{}/{}", key.transport, key.port);
        let app = seen.app.map(|app| app.proto.clone());
        let speaks = app.as_ref().map(|app| format!(" ({app})")).unwrap_or_default();
        let label = &finding.vm_label;
        let (title, why) = match odd {
            Odd::OfRole(members) => {
                let role = world.baselines.roles().of(key.vm).map(|(_, role)| role.label()).unwrap_or_default();
                (
                    format!("{port}{speaks} of {label} is an outlier of its role"),
                    format!("none of the other {} VMs of its role {role} does", members.saturating_sub(1)),
                )
            }
            Odd::Lone => {
                // Of such there may be some in any network: one incident names them all.
                finding.fold = Some("unrecognised services".to_owned());
                (
                    format!("{port} of {label} is like nothing else here"),
                    format!(
                        "no other VM does, no known protocol was recognised, and {} use{} it",
                        super::count(seen.clients, "client"),
                        if seen.clients == 1 { "s" } else { "" },
                    ),
                )
            }
        };
        finding.reason = format!(
            "{label} serves {port}{speaks}; {why}; it was there when the VM was first learned, since {}, {} so far",
            seen.first_seen.short(),
            super::count(seen.flows, "flow"),
        );
        finding.title = title;
        finding.service = Some((key.transport, key.port, app));
        finding.evidence = Evidence { frames: frames(None, &[change.frame]), facts: Vec::new() };
        out.push(finding);
    }

    pub fn forget(&mut self, vm: VmId) {
        self.told.forget(|key| key.vm == vm);
    }

    pub fn save(&mut self, batch: &mut Batch) {
        self.told.save(batch);
    }

    pub fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.told.load(store)
    }

    pub fn evicted(&self) -> u64 {
        self.told.evicted()
    }
}

#[cfg(test)]
#[path = "outlier_tests.rs"]
mod tests;
