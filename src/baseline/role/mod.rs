//! Roles: VMs with the same job, found by what they serve and use, by their names and tags (detection.md 4.4).
//!
//! A VM joins the role whose middle it is alike to by at least [`JOIN`], and leaves after [`LEAVE_S`] below [`STAY`]:
//! what lies between holds it where it is. A newcomer is seated at once where its name and its first services, or
//! three of its tokens, are a ripe role's. At most [`ROLES_MAX`] roles; beyond it nobody founds one, which is counted.

mod minhash;
mod records;
mod seating;
#[cfg(test)]
mod tests;
mod token;

pub use token::{Token, Tokens, stem};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::profile::{Port, Profile};
use crate::model::{RoleId, Timestamp, VmId};

/// Alike enough to join, and to stay (weighted Jaccard with the role's middle).
const JOIN: f64 = 0.6;
const STAY: f64 = 0.4;
/// Below [`STAY`] for a day: one odd night moves nobody.
const LEAVE_S: f64 = 86_400.0;
/// Everyone is looked at once an hour; so many a tick, some 2 ms.
const ROUND_S: i64 = 3_600;
const SEATED_A_TICK: usize = 64;
const ROLES_MAX: usize = 4_096;
/// A member's token belongs to the role when at least half of the members have it.
const COMMON: f64 = 0.5;
/// Fewer say nothing about what is usual.
pub const MEMBERS_MIN: usize = 3;
/// Answered flows of all members together, the share of those that brought a service of one use, and the hours that
/// some member was watched and nothing new became common, before a role is ripe.
const FLOWS_MIN: u64 = 60;
const MASS_MAX: f64 = 0.05;
const QUIET_H: f64 = 6.0;

crate::counters! {
    pub struct RoleCounters {
        joined => "role.joined",
        left => "role.left",
        refused => "role.refused",
    }
}

/// What people call a VM: the inventory knows.
pub trait Who {
    fn name(&self, vm: VmId) -> Option<String>;
    fn tags(&self, vm: VmId) -> Vec<String>;
}

/// One job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub founded: Timestamp,
    /// What at least half of the members have, with its usual weight: the middle.
    pub middle: Tokens,
    pub ripe_since: Option<Timestamp>,
    /// Reading of the watched clock when something last became common.
    common_ns: i64,
    #[serde(skip)]
    pub members: BTreeSet<VmId>,
    /// Members that serve, and that use, a port.
    #[serde(skip)]
    serves: BTreeMap<Port, u32>,
    #[serde(skip)]
    uses: BTreeMap<Port, u32>,
}

/// A VM's place in a role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seat {
    role: RoleId,
    since: Timestamp,
    /// Since when it is less alike than [`STAY`].
    strange_since: Option<Timestamp>,
    /// By its name and first services; the next round confirms it or does not.
    by_greeting: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Roles {
    roles: BTreeMap<RoleId, Role>,
    seats: BTreeMap<VmId, Seat>,
    /// What most servers of the site offer, as of the last round.
    everywhere: BTreeSet<Port>,
    /// Where the round goes on; `None` between rounds.
    cursor: Option<VmId>,
    round: Option<seating::Round>,
    round_at: Timestamp,
    dirty: BTreeSet<Dirty>,
    pub(crate) counters: RoleCounters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Dirty {
    Role(RoleId),
    Seat(VmId),
}

impl Roles {
    /// The role of a VM.
    pub fn of(&self, vm: VmId) -> Option<(RoleId, &Role)> {
        let id = self.seats.get(&vm)?.role;
        Some((id, self.roles.get(&id)?))
    }

    /// Was it seated by its name and first services, and is not confirmed yet?
    pub fn is_provisional(&self, vm: VmId) -> bool {
        self.seats.get(&vm).is_some_and(|seat| seat.by_greeting)
    }

    /// In order of id, those with enough members to be one.
    pub fn iter(&self) -> impl Iterator<Item = (RoleId, &Role)> {
        self.roles.iter().filter(|(_, role)| role.members.len() >= MEMBERS_MIN).map(|(id, role)| (*id, role))
    }

    /// The share of the other members of a VM's role that serve this port; `None` without a role of enough members.
    pub fn share_serving(&self, vm: VmId, port: Port) -> Option<f64> {
        let (_, role) = self.of(vm).filter(|(_, role)| role.members.len() >= MEMBERS_MIN)?;
        Some(role.share(&role.serves, port))
    }

    /// The same for a port that members use, whoever serves it.
    pub fn share_using(&self, vm: VmId, port: Port) -> Option<f64> {
        let (_, role) = self.of(vm).filter(|(_, role)| role.members.len() >= MEMBERS_MIN)?;
        Some(role.share(&role.uses, port))
    }

    /// Does what this VM's role knows hold for it?
    pub fn is_ripe(&self, vm: VmId) -> bool {
        self.of(vm).is_some_and(|(_, role)| role.ripe_since.is_some() && role.members.len() >= MEMBERS_MIN)
    }

    /// `gone` is an alias of `kept` from now on.
    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        if let Some(seat) = self.seats.remove(&gone) {
            self.dirty.insert(Dirty::Seat(gone));
            if let Some(role) = self.roles.get_mut(&seat.role) {
                role.members.remove(&gone);
                if !self.seats.contains_key(&kept) {
                    role.members.insert(kept);
                    self.dirty.insert(Dirty::Seat(kept));
                    self.seats.insert(kept, seat);
                }
            }
        }
    }

    /// A VM was forgotten.
    pub fn forget(&mut self, vm: VmId) {
        if let Some(seat) = self.seats.remove(&vm) {
            self.dirty.insert(Dirty::Seat(vm));
            if let Some(role) = self.roles.get_mut(&seat.role) {
                role.members.remove(&vm);
            }
        }
    }

    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        out.push(("role.kept", self.roles.len() as u64));
        self.counters.report(out);
    }
}

impl Role {
    fn share(&self, ports: &BTreeMap<Port, u32>, port: Port) -> f64 {
        f64::from(ports.get(&port).copied().unwrap_or(0)) / self.members.len().max(1) as f64
    }

    /// What people call it: the stem of its names, else its most telling services.
    pub fn label(&self) -> String {
        let stem = self.middle.keys().find_map(|token| match token {
            Token::Stem(stem) => Some(stem.clone()),
            _ => None,
        });
        stem.unwrap_or_else(|| {
            let serves: Vec<String> =
                self.middle.keys().filter_map(Token::serves).take(3).map(|(t, p)| format!("{t}/{p}")).collect();
            if serves.is_empty() { "clients".to_owned() } else { serves.join("+") }
        })
    }

    /// Do its members share a job: something that not every server of the site serves, a name, a tag? VMs that only have
    /// in common what all have are no likes.
    pub fn has_job(&self) -> bool {
        self.middle.iter().any(|(token, weight)| match token {
            Token::Serves(..) => *weight > token::EVERYWHERE_WEIGHT,
            Token::Stem(_) | Token::Tag(_) => true,
            Token::Uses(..) => false,
        })
    }

    /// Ports that at least half of the members use.
    pub fn uses(&self) -> impl Iterator<Item = Port> + '_ {
        self.middle.keys().filter_map(|token| match token {
            Token::Uses(transport, port) => Some((*transport, *port)),
            _ => None,
        })
    }

    /// Ports that at least half of the members serve.
    pub fn serves(&self) -> impl Iterator<Item = Port> + '_ {
        self.middle.keys().filter_map(Token::serves)
    }
}

/// Everyone that may have a role, with what tells it.
pub(super) type Profiles = BTreeMap<VmId, Profile>;
