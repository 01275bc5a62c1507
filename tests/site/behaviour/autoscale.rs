//! Autoscaling: clones of a role come, do what their models do, and go again.

use super::Behaviour;
use crate::site::event::{Id, Os, Tag};
use crate::site::truth::{Done, Truth};
use crate::site::world::{Cause, World};
use crate::site::{DAY, HOUR, Micros};

#[derive(Clone)]
pub struct Autoscale {
    pub count: usize,
    /// What a clone joins: its role and all that its models are part of.
    pub groups: Vec<String>,
    pub stem: String,
    pub os: Os,
    /// One after the other at this distance.
    pub apart: Micros,
    /// They go again after so long, and come again the next weekday at nine; `None`: they stay.
    pub stay: Option<Micros>,
    clones: Vec<Id>,
    cause: Cause,
}

impl Autoscale {
    pub fn new(count: usize, stem: &str, groups: &[&str], apart: Micros, stay: Option<Micros>) -> Self {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let (clones, cause) = (Vec::new(), Cause::default());
        Autoscale { count, groups, stem: stem.to_owned(), os: Os::Linux, apart, stay, clones, cause }
    }

    fn clone_one(&mut self, now: Micros, world: &mut World) {
        let name = format!("{}-{:03}", self.stem, world.number(&self.stem));
        let ip = world.lease();
        let role = self.groups.first().cloned().unwrap_or_default();
        let id = world.boot(now, self.cause, name, &role, self.os, ip);
        for group in &self.groups {
            world.join(id, group);
        }
        self.clones.push(id);
    }
}

/// Nine o'clock of the next weekday after `now`.
fn next_morning(now: Micros) -> Micros {
    let day = (now / DAY + 1..).find(|day| day % 7 < 5).unwrap_or_default();
    day * DAY + 9 * HOUR
}

impl Behaviour for Autoscale {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        if self.clones.len() >= self.count {
            for id in std::mem::take(&mut self.clones) {
                let ip = world.machine(id).ip;
                world.stop(now, self.cause, id);
                world.release(ip);
            }
            return Some(next_morning(now));
        }
        if self.clones.is_empty() {
            self.cause = world.cause(Tag::Benign);
            world.truth.push(Truth::action(now, 0, Done::BenignAction, self.cause.id, "autoscale"));
        }
        self.clone_one(now, world);
        if self.clones.len() < self.count {
            return Some(now + self.apart);
        }
        self.stay.map(|stay| now + stay)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
