//! Who sits where: the hourly round over all VMs, and the greeting of newcomers.

use std::collections::{BTreeMap, BTreeSet};

use super::minhash::{Bands, Buckets, bands};
use super::token::{EVERYWHERE_WEIGHT, everywhere, jaccard, stem, tokens};
use super::{
    COMMON, Dirty, FLOWS_MIN, JOIN, LEAVE_S, MASS_MAX, MEMBERS_MIN, Profiles, QUIET_H, ROLES_MAX, ROUND_S, Role, Roles,
    SEATED_A_TICK, STAY, Seat, Token, Tokens, Who,
};
use crate::baseline::profile::{Port, Profile};
use crate::baseline::watched::hours;
use crate::model::{RoleId, Timestamp, VmId};

/// A VM watched less than this is greeted, not seated by likeness: what it does is not yet what it is.
const SEATED_AFTER_H: f64 = 1.0;
/// A newcomer is greeted in its first day.
const GREETED_WITHIN_H: f64 = 24.0;
/// Without a name of theirs, so many tokens of a newcomer must all be the role's.
const GREETING_TOKENS: usize = 3;

/// One round over all VMs: who has been met that has no role, to found one with.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// Roles by the bands of their middles.
    roles: Buckets,
    /// A role's founder stands for it in the buckets.
    stands_for: BTreeMap<VmId, RoleId>,
    single: Buckets,
    tokens: BTreeMap<VmId, (Tokens, Bands)>,
}

impl Roles {
    /// Goes on with the round, or begins one where an hour has passed. The caller asks once a packet second.
    pub fn tick(&mut self, profiles: &Profiles, who: &dyn Who, now: Timestamp, watched_ns: i64) {
        if self.round.is_none() {
            if now < self.round_at.plus_s(ROUND_S) {
                return;
            }
            self.round_at = now;
            self.everywhere = everywhere(profiles.values());
            self.round = Some(self.begin());
            self.cursor = None;
        }
        let Some(mut round) = self.round.take() else { return };
        let after = self.cursor.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let next: Vec<VmId> =
            profiles.range((after, std::ops::Bound::Unbounded)).take(SEATED_A_TICK).map(|(vm, _)| *vm).collect();
        for vm in &next {
            if let Some(profile) = profiles.get(vm) {
                self.seat(*vm, profile, &mut round, who, now, watched_ns);
            }
        }
        if next.len() < SEATED_A_TICK {
            self.finish(profiles, now, watched_ns);
        } else {
            self.cursor = next.last().copied();
            self.round = Some(round);
        }
    }

    fn begin(&self) -> Round {
        let mut round = Round::default();
        for (id, role) in &self.roles {
            if let Some(founder) = role.members.first() {
                round.roles.add(*founder, &bands(&role.middle));
                round.stands_for.insert(*founder, *id);
            }
        }
        round
    }

    fn seat(&mut self, vm: VmId, profile: &Profile, round: &mut Round, who: &dyn Who, now: Timestamp, watched_ns: i64) {
        if hours(profile.born_ns, watched_ns) < SEATED_AFTER_H {
            return;
        }
        let own = tokens(profile, who.name(vm).as_deref(), &who.tags(vm), &self.everywhere);
        if self.stays(vm, &own, now) || own.is_empty() {
            return;
        }
        let bands = bands(&own);
        let near = round.roles.near(&bands).into_iter().filter_map(|founder| round.stands_for.get(&founder));
        let alike = |id: &RoleId| self.roles.get(id).map_or(0.0, |role| jaccard(&own, &role.middle));
        let best = near.map(|id| (alike(id), *id)).max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        if let Some((_, role)) = best.filter(|(alike, _)| *alike >= JOIN) {
            self.join(vm, role, false, now);
            return;
        }
        // In its first day it has shown a part of what it is.
        if hours(profile.born_ns, watched_ns) < GREETED_WITHIN_H
            && let Some(role) = self.holds(&own)
        {
            self.join(vm, role, true, now);
            return;
        }
        let twin = round.single.near(&bands).into_iter().find(|other| {
            !self.seats.contains_key(other)
                && round.tokens.get(other).is_some_and(|(tokens, _)| jaccard(&own, tokens) >= JOIN)
        });
        match twin {
            Some(twin) => self.found(twin, vm, own, bands, round, now, watched_ns),
            None => {
                round.single.add(vm, &bands);
                round.tokens.insert(vm, (own, bands));
            }
        }
    }

    /// The role that has all that a newcomer serves, something of it that tells a job, and most of what it uses; of
    /// several the one that it is most alike to.
    fn holds(&self, own: &Tokens) -> Option<RoleId> {
        let job = |(token, weight): (&Token, &u16)| token.serves().is_some() && *weight > EVERYWHERE_WEIGHT;
        if own.len() < GREETING_TOKENS || !own.iter().any(job) {
            return None;
        }
        let fits = |role: &Role| {
            let served =
                own.keys().filter(|token| token.serves().is_some()).all(|token| role.middle.contains_key(token));
            let known = own.keys().filter(|token| role.middle.contains_key(*token)).count();
            role.members.len() > 1 && served && 5 * known >= 4 * own.len()
        };
        let alike =
            self.roles.iter().filter(|(_, role)| fits(role)).map(|(id, role)| (jaccard(own, &role.middle), *id));
        alike.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))).map(|(_, id)| id)
    }

    /// Does it keep the seat it has? One that was only greeted must be alike now.
    fn stays(&mut self, vm: VmId, own: &Tokens, now: Timestamp) -> bool {
        let Some(seat) = self.seats.get_mut(&vm) else { return false };
        let alike = self.roles.get(&seat.role).map_or(0.0, |role| jaccard(own, &role.middle));
        if alike >= STAY {
            let changed = seat.strange_since.is_some() || seat.by_greeting;
            (seat.strange_since, seat.by_greeting) = (None, false);
            if changed {
                self.dirty.insert(Dirty::Seat(vm));
            }
            return true;
        }
        let since = *seat.strange_since.get_or_insert(now);
        self.dirty.insert(Dirty::Seat(vm));
        if now.since_s(since) < LEAVE_S {
            return true;
        }
        self.counters.left += 1;
        self.forget(vm);
        false
    }

    #[allow(clippy::too_many_arguments)]
    fn found(
        &mut self,
        one: VmId,
        other: VmId,
        middle: Tokens,
        bands: Bands,
        round: &mut Round,
        now: Timestamp,
        watched_ns: i64,
    ) {
        if self.roles.len() >= ROLES_MAX {
            self.counters.refused += 1;
            return;
        }
        let evidence = [one.raw().to_be_bytes(), other.raw().to_be_bytes(), now.ns().to_be_bytes()];
        let evidence: Vec<&[u8]> = evidence.iter().map(|bytes| bytes.as_slice()).collect();
        let mut salt = 0;
        let id = loop {
            let id = RoleId::derive(&evidence, salt);
            if !self.roles.contains_key(&id) {
                break id;
            }
            salt += 1;
        };
        let role = Role { founded: now, middle, common_ns: watched_ns, ..Role::default() };
        self.roles.insert(id, role);
        round.roles.add(one, &bands);
        round.stands_for.insert(one, id);
        self.join(one, id, false, now);
        self.join(other, id, false, now);
    }

    fn join(&mut self, vm: VmId, role: RoleId, by_greeting: bool, now: Timestamp) {
        let Some(joined) = self.roles.get_mut(&role) else { return };
        joined.members.insert(vm);
        self.seats.insert(vm, Seat { role, since: now, strange_since: None, by_greeting });
        self.dirty.insert(Dirty::Seat(vm));
        self.dirty.insert(Dirty::Role(role));
        self.counters.joined += 1;
    }

    /// The round is over: each role's middle is taken anew, and what has become ripe stays ripe.
    fn finish(&mut self, profiles: &Profiles, now: Timestamp, watched_ns: i64) {
        self.roles.retain(|id, role| {
            let kept = role.members.len() > 1 || role.ripe_since.is_some();
            if !kept {
                for vm in &role.members {
                    self.seats.remove(vm);
                    self.dirty.insert(Dirty::Seat(*vm));
                }
                self.dirty.insert(Dirty::Role(*id));
            }
            kept
        });
        for (id, role) in &mut self.roles {
            if role.refresh(profiles, &self.everywhere, now, watched_ns) {
                self.dirty.insert(Dirty::Role(*id));
            }
        }
    }

    /// Counts members' ports again, after a load.
    pub(in crate::baseline) fn recount(&mut self, profiles: &Profiles) {
        for role in self.roles.values_mut() {
            role.count(profiles);
        }
    }

    /// A VM in its first day serves or uses `port`: whose likes does it look? Called before it is judged, so that what
    /// its likes do is no finding. Its own word (the name) counts only together with what it does.
    pub fn greet(
        &mut self,
        vm: VmId,
        profile: Option<&Profile>,
        port: Port,
        who: &dyn Who,
        now: Timestamp,
        watched_ns: i64,
    ) {
        let young = profile.is_none_or(|p| hours(p.born_ns, watched_ns) < GREETED_WITHIN_H);
        if self.seats.contains_key(&vm) || !young {
            return;
        }
        let serves: Vec<Port> = profile.map_or(Vec::new(), |p| p.firm_services().collect());
        let uses: Vec<Port> = profile.map_or(Vec::new(), |p| p.uses().collect());
        let name = who.name(vm).as_deref().and_then(stem);
        // What every server offers tells no job: it would seat a newcomer with whoever comes first.
        let job = !self.everywhere.contains(&port) || serves.iter().any(|port| !self.everywhere.contains(port));
        let fits = |role: &Role| {
            if role.ripe_since.is_none() || role.members.len() < MEMBERS_MIN {
                return false;
            }
            let common = |ports: &BTreeMap<Port, u32>, port: &Port| role.share(ports, *port) >= COMMON;
            if !common(&role.serves, &port) || !serves.iter().all(|port| common(&role.serves, port)) {
                return false;
            }
            let named = name.as_ref().is_some_and(|stem| role.middle.contains_key(&Token::Stem(stem.clone())));
            let known = uses.iter().filter(|port| common(&role.uses, port)).count();
            named || (job && 1 + serves.len() + known >= GREETING_TOKENS && known == uses.len())
        };
        let role = self.roles.iter().find(|(_, role)| fits(role)).map(|(id, _)| *id);
        if let Some(role) = role {
            self.join(vm, role, true, now);
        }
    }
}

impl Role {
    /// True where something that is kept changed.
    fn refresh(&mut self, profiles: &Profiles, everywhere: &BTreeSet<Port>, now: Timestamp, watched_ns: i64) -> bool {
        let before = (self.middle.len(), self.ripe_since);
        let (flows, once, observed_h) = self.count(profiles);
        let half = (self.members.len() as f64 * COMMON).ceil() as u32;
        let mut middle: Tokens = self
            .middle
            .iter()
            .filter(|(token, _)| matches!(token, Token::Stem(_) | Token::Tag(_)))
            .map(|(t, w)| (t.clone(), *w))
            .collect();
        let serves = self.serves.iter().filter(|(_, n)| **n >= half).map(|((t, p), _)| Token::Serves(*t, *p));
        let uses = self.uses.iter().filter(|(_, n)| **n >= half).map(|((t, p), _)| Token::Uses(*t, *p));
        for token in serves.chain(uses).take(super::token::TOKENS_MAX) {
            let weight = token.weight(everywhere);
            if !self.middle.contains_key(&token) {
                self.common_ns = watched_ns;
            }
            middle.insert(token, weight);
        }
        self.middle = middle;
        let ripe = self.members.len() >= MEMBERS_MIN
            && observed_h >= 22.0
            && flows >= FLOWS_MIN
            && once as f64 / flows as f64 <= MASS_MAX
            && hours(self.common_ns, watched_ns) >= QUIET_H;
        if ripe && self.ripe_since.is_none() {
            self.ripe_since = Some(now);
        }
        before != (self.middle.len(), self.ripe_since)
    }

    /// Members' ports; of all together the flows, the services that were used once in all, and the longest watched.
    fn count(&mut self, profiles: &Profiles) -> (u64, u64, f64) {
        (self.serves, self.uses) = (BTreeMap::new(), BTreeMap::new());
        let mut used: BTreeMap<Port, u64> = BTreeMap::new();
        let (mut flows, mut born, mut last) = (0u64, i64::MAX, i64::MIN);
        for profile in self.members.iter().filter_map(|vm| profiles.get(vm)) {
            flows = flows.saturating_add(profile.flows);
            born = born.min(profile.born_ns);
            last = last.max(profile.seen_ns);
            for port in profile.firm_services() {
                *self.serves.entry(port).or_default() += 1;
                *used.entry(port).or_default() += profile.services.get(&port).map_or(0, |s| s.uses);
            }
            for port in profile.uses() {
                *self.uses.entry(port).or_default() += 1;
            }
        }
        let once = used.values().filter(|uses| **uses == 1).count() as u64;
        (flows, once, hours(born, last))
    }
}
