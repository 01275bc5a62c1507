//! Habits: the members of a group each talk to servers once a period, in turn, within the hours they keep.
//! Most of a site is habits: tiers, polling, backups, updates, names and time.

use super::Behaviour;
use crate::site::event::{Id, Os};
use crate::site::world::{Cause, Group, Manner, World};
use crate::site::{DAY, HOUR, Micros, Rng};

/// When a habit is kept.
#[derive(Clone, Copy, Debug)]
pub enum When {
    Always,
    /// Weekdays from 8 to 18 h; a tenth of it at other times.
    Business,
    /// From this hour of the day for so many hours, every day.
    Daily(i64, i64),
    /// On this day of the week (0: Monday), from this hour for so many hours.
    Weekly(i64, i64, i64),
}

impl When {
    /// The share of it that is kept now, and when that may change.
    fn now(self, at: Micros) -> (f64, Micros) {
        let (day, hour) = (at.div_euclid(DAY), at.rem_euclid(DAY));
        let next_day = (day + 1) * DAY;
        let window = |today: bool, from: i64, hours: i64, again: Micros| {
            let (open, close) = (from * HOUR, (from + hours) * HOUR);
            match hour {
                _ if !today => (0.0, again),
                h if h < open => (0.0, day * DAY + open),
                h if h < close => (1.0, day * DAY + close),
                _ => (0.0, again),
            }
        };
        match self {
            When::Always => (1.0, Micros::MAX),
            When::Business if day.rem_euclid(7) < 5 && (8 * HOUR..18 * HOUR).contains(&hour) => (1.0, next_day),
            When::Business => (0.1, next_day),
            When::Daily(from, hours) => window(true, from, hours, next_day + from * HOUR),
            When::Weekly(on, from, hours) => window(day.rem_euclid(7) == on, from, hours, next_day),
        }
    }
}

/// Whom a member talks to.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    /// Any of them, another each time.
    Any,
    /// So many of them, always the same.
    Own(usize),
    /// Each of them in turn: the members are servers and the others reach out (backup, polling, health checks).
    FromAll,
}

#[derive(Clone)]
pub struct Habit {
    pub who: Group,
    pub to: Group,
    pub pick: Pick,
    pub manner: Manner,
    /// How often each member does it.
    pub every: Micros,
    pub when: When,
    pub rng: Rng,
    turn: usize,
    /// Acts of the present window, of habits that are kept in a window.
    done: usize,
}

impl Habit {
    pub fn new(who: Group, to: Group, pick: Pick, manner: Manner, every: Micros, when: When, rng: Rng) -> Self {
        Habit { who, to, pick, manner, every, when, rng, turn: 0, done: 0 }
    }

    fn server(&mut self, client: Id, world: &World) -> Option<Id> {
        let servers = world.members(self.to);
        match self.pick {
            Pick::Own(n) => {
                let first = (client as usize).wrapping_mul(0x9e37_79b9) >> 7;
                let nth = self.rng.below(n);
                servers.get((first + nth) % servers.len().max(1)).copied()
            }
            _ => self.rng.pick(servers).copied(),
        }
    }
}

impl Behaviour for Habit {
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros> {
        let (share, until) = self.when.now(now);
        if share == 0.0 {
            self.done = 0;
            return Some(until);
        }
        let members = world.members(self.who);
        let count = members.len().max(1);
        let windowed = matches!(self.when, When::Daily(..) | When::Weekly(..));
        if windowed && self.done >= count {
            self.done = 0;
            return Some(until);
        }
        self.turn = (self.turn + 1) % count;
        if let Some(member) = members.get(self.turn).copied()
            && self.rng.chance(share)
            && let Some(other) = self.server(member, world)
        {
            self.done += 1;
            let mut manner = self.manner;
            let factor = 0.5 + self.rng.unit();
            manner.up = (f64::from(manner.up) * factor) as u32;
            manner.down = (f64::from(manner.down) * factor) as u32;
            let (client, server) = if matches!(self.pick, Pick::FromAll) { (other, member) } else { (member, other) };
            // What is outside is behind the gateway, which is there for longer than any of us.
            if world.machine(client).os != Os::Outside || world.machine(server).os != Os::Outside {
                world.talk(now, Cause::default(), client, server, manner);
            }
        } else if windowed {
            self.done += 1;
        }
        let step = self.every / count as i64;
        Some(now + (step as f64 * (0.5 + self.rng.unit())) as Micros)
    }

    fn copy(&self) -> Box<dyn Behaviour> {
        Box::new(self.clone())
    }
}
