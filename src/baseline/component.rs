//! Components: which VMs hang together by what they use of each other, over the edges of the last 28 days. Services of
//! many clients are left out: names, time and monitoring would make one component of any network (detection.md D8).
//!
//! Counted anew once an hour over all profiles, so many a tick; 20 bytes a VM that has an edge, twice while it is
//! counted. Bounded by the profiles there are.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::profile::{Port, Profile};
use crate::model::{Timestamp, VmId};

const ROUND_S: i64 = 3_600;
const PROFILES_A_TICK: usize = 256;
const EDGE_D: i64 = 28;
/// A service with at least so many clients joins nobody.
const POPULAR: u32 = 8;
/// Fewer hang together by chance.
const MEMBERS_MIN: u32 = 3;

#[derive(Clone, Debug, Default)]
pub(crate) struct Components {
    /// Component and its size, of the last whole round.
    of: BTreeMap<VmId, (u32, u32)>,
    round: Option<Round>,
    round_at: Timestamp,
}

#[derive(Clone, Debug)]
struct Round {
    /// Clients by service, until all were counted; then the edges are joined.
    clients: BTreeMap<(VmId, Port), u32>,
    joining: bool,
    after: Option<VmId>,
    numbers: BTreeMap<VmId, u32>,
    parents: Vec<u32>,
}

impl Components {
    pub fn tick(&mut self, profiles: &BTreeMap<VmId, Profile>, now: Timestamp) {
        if self.round.is_none() {
            if now < self.round_at.plus_s(ROUND_S) {
                return;
            }
            self.round_at = now;
        }
        let round = self.round.get_or_insert_with(Round::new);
        if round.step(profiles, now)
            && let Some(round) = self.round.take()
        {
            self.of = round.finish();
        }
    }

    /// Both belong to a component of some size, and not to the same.
    pub fn joins(&self, one: VmId, other: VmId) -> bool {
        let large = |vm| self.of.get(&vm).filter(|(_, members)| *members >= MEMBERS_MIN);
        large(one).zip(large(other)).is_some_and(|(one, other)| one.0 != other.0)
    }
}

impl Round {
    fn new() -> Self {
        Round { clients: BTreeMap::new(), joining: false, after: None, numbers: BTreeMap::new(), parents: Vec::new() }
    }

    /// Goes on; true where all is done.
    fn step(&mut self, profiles: &BTreeMap<VmId, Profile>, now: Timestamp) -> bool {
        let from = self.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut looked_at = 0;
        for (client, profile) in profiles.range((from, Bound::Unbounded)).take(PROFILES_A_TICK) {
            looked_at += 1;
            self.after = Some(*client);
            for (service, _) in profile.peers.iter().filter(|(_, p)| now <= p.last_seen.plus_s(EDGE_D * 86_400)) {
                if !self.joining {
                    let clients = self.clients.entry(*service).or_default();
                    *clients = clients.saturating_add(1);
                } else if self.clients.get(service).is_none_or(|clients| *clients < POPULAR) {
                    self.join(*client, service.0);
                }
            }
        }
        if looked_at == PROFILES_A_TICK {
            return false;
        }
        self.after = None;
        std::mem::replace(&mut self.joining, true)
    }

    fn number(&mut self, vm: VmId) -> u32 {
        let next = self.parents.len() as u32;
        let number = *self.numbers.entry(vm).or_insert(next);
        if number == next {
            self.parents.push(number);
        }
        number
    }

    fn root(&mut self, mut number: u32) -> u32 {
        while let Some(parent) = self.parents.get(number as usize).copied().filter(|parent| *parent != number) {
            // Path halving.
            let above = self.parents.get(parent as usize).copied().unwrap_or(parent);
            if let Some(own) = self.parents.get_mut(number as usize) {
                *own = above;
            }
            number = above;
        }
        number
    }

    fn join(&mut self, one: VmId, other: VmId) {
        let (one, other) = (self.number(one), self.number(other));
        let (one, other) = (self.root(one), self.root(other));
        if let Some(parent) = self.parents.get_mut(one.max(other) as usize) {
            *parent = one.min(other);
        }
    }

    fn finish(mut self) -> BTreeMap<VmId, (u32, u32)> {
        let numbers = std::mem::take(&mut self.numbers);
        let roots: Vec<(VmId, u32)> = numbers.into_iter().map(|(vm, number)| (vm, self.root(number))).collect();
        let mut members: BTreeMap<u32, u32> = BTreeMap::new();
        for (_, root) in &roots {
            *members.entry(*root).or_default() += 1;
        }
        let size = |root: &u32| members.get(root).copied().unwrap_or_default();
        roots.iter().map(|(vm, root)| (*vm, (*root, size(root)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::LearnedPeer;
    use crate::model::Transport;

    fn vm(n: u16) -> VmId {
        VmId::derive(&[&n.to_be_bytes()], 0)
    }

    fn counted(edges: &[(u16, u16)], now: Timestamp) -> Components {
        let mut profiles: BTreeMap<VmId, Profile> = BTreeMap::new();
        for (client, server) in edges {
            let peers = &mut profiles.entry(vm(*client)).or_default().peers;
            peers.insert((vm(*server), (Transport::Tcp, 80)), LearnedPeer::default());
        }
        let mut components = Components::default();
        for second in 0..20 {
            components.tick(&profiles, now.plus_s(second));
        }
        components
    }

    #[test]
    fn an_edge_between_two_parts_joins_them_and_one_within_does_not() {
        let components = counted(&[(1, 2), (3, 2), (4, 5), (6, 5)], Timestamp::ZERO.plus_s(7_200));
        assert!(components.joins(vm(1), vm(5)));
        assert!(!components.joins(vm(1), vm(3)));
        assert!(!components.joins(vm(1), vm(99)), "a newcomer has no part yet");
    }

    #[test]
    fn a_popular_service_makes_no_part_and_old_edges_count_no_more() {
        let mut edges: Vec<(u16, u16)> = (10..30).map(|client| (client, 9)).collect();
        edges.extend([(10, 2), (11, 2), (12, 3), (13, 3)]);
        let components = counted(&edges, Timestamp::ZERO.plus_s(7_200));
        assert!(components.joins(vm(10), vm(3)));
        assert!(!counted(&edges, Timestamp::ZERO.plus_s(29 * 86_400)).joins(vm(10), vm(3)));
    }

    #[test]
    fn thousands_are_counted_in_pieces() {
        let edges: Vec<(u16, u16)> = (0..2_000).map(|n| (n, n + 1)).collect();
        let components = counted(&edges, Timestamp::ZERO.plus_s(7_200));
        assert_eq!(components.of.values().map(|(root, size)| (*root, *size)).max(), Some((0, 2_001)));
    }
}
