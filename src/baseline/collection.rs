//! Every VM's profile, and the site's: judged against first, learned from afterwards.
//!
//! At most `vms_max` profiles. When full, the sixteenth part that is unripe and was silent longest makes room;
//! where all are ripe the newcomer is refused. Both are counted.

use std::collections::{BTreeMap, BTreeSet};

use super::component::Components;
use super::forgotten::Forgotten;
use super::profile::{Entry, Moment, Port, Profile};
use super::ripeness::{Feature, Phase, Ripeness, Tally};
use super::role::{Roles, Who};
use super::volume::Volumes;
use super::watched::{Watched, hours};
use super::{BaselineConfig, BaselineCounters, LearnedService, Mode};
use crate::inventory::{Change, What};
use crate::model::{AppInfo, ServiceKey, Stack, Timestamp, Transport, VmId};

/// Members of a role that are asked whether a client knows them: bounds a look at a farm of thousands.
const KIN_LOOKED_AT: usize = 256;

/// The first of all ports in order: where a range over one server's edges begins.
const PORT_MIN: Port = (Transport::Tcp, 0);

#[derive(Clone, Debug, Default)]
pub struct Baselines {
    pub(crate) config: BaselineConfig,
    pub(crate) profiles: BTreeMap<VmId, Profile>,
    pub(crate) roles: Roles,
    pub(crate) site: Site,
    pub volumes: Volumes,
    pub(crate) components: Components,
    pub(crate) forgotten: Forgotten,
    /// What differs from the store.
    pub(crate) dirty: BTreeSet<Dirty>,
    pub(crate) counters: BaselineCounters,
    /// How what is new in the change at hand may enter.
    entry: Entry,
    /// Digests of the user's definitions of applications.
    definitions: Vec<String>,
}

/// The whole network as one learner: its novelties are VMs.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Site {
    pub watched: Watched,
    pub flows: u64,
    pub novelty_ns: i64,
    pub ripe_since: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dirty {
    Site,
    Head(VmId),
    Service(VmId, Port),
    Peer(VmId, VmId, Port),
}

/// May the baseline learn from a change?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// It raised a finding, or belongs to an incident.
    Barred,
    /// An incident of its VM is open: what is new is provisional.
    Cautious,
    Free,
}

impl Baselines {
    pub fn new(config: BaselineConfig) -> Self {
        Baselines { volumes: Volumes::new(config.vms_max), config, ..Baselines::default() }
    }

    pub fn mode(&self) -> Mode {
        self.config.mode
    }

    pub fn config(&self) -> &BaselineConfig {
        &self.config
    }

    /// Another configuration (reload); what was learned stays.
    pub fn configure(&mut self, config: BaselineConfig) {
        self.volumes.configure(config.vms_max);
        self.config = config;
    }

    /// The definitions of applications that this run reads by.
    pub fn define(&mut self, digests: Vec<String>) {
        self.definitions = digests;
    }

    pub fn definitions(&self) -> &[String] {
        &self.definitions
    }

    /// How long the probe has watched, without its absences.
    pub fn watched_ns(&self, now: Timestamp) -> i64 {
        self.site.watched.at(now)
    }

    pub fn known(&self, vm: VmId) -> bool {
        self.profiles.contains_key(&vm)
    }

    pub fn profile(&self, vm: VmId) -> Option<&Profile> {
        self.profiles.get(&vm)
    }

    /// VMs that have one.
    pub fn count(&self) -> usize {
        self.profiles.len()
    }

    /// Every profile in order of id.
    pub fn profiles(&self) -> impl Iterator<Item = (VmId, &Profile)> {
        self.profiles.iter().map(|(vm, profile)| (*vm, profile))
    }

    /// The phase that `vms` shows: that of the services offered.
    pub fn phase(&self, vm: VmId, now: Timestamp) -> Phase {
        self.ripeness(vm, Feature::Services, now).phase
    }

    /// How ripe one feature of a VM is, with its numbers; nothing at all for an unknown VM. What a VM offers is ripe
    /// by its role too: what its likes do is known. Whom it uses is its own: a role grants no rights.
    pub fn ripeness(&self, vm: VmId, feature: Feature, now: Timestamp) -> Ripeness {
        let own = match self.profiles.get(&vm) {
            Some(profile) => profile.ripeness(feature, self.site.watched.at(now), &self.config),
            None => Ripeness::of(Tally::default(), None, &self.config),
        };
        own.or_by_role(feature == Feature::Services && self.roles.is_ripe(vm))
    }

    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Do at least half of the likes of this VM serve the same, or half of those that are ripe by themselves? Then a member
    /// that begins to is no news.
    pub fn is_usual(&self, service: &ServiceKey) -> bool {
        let share = self.roles.share_serving(service.vm, (service.transport, service.port));
        (self.roles.is_ripe(service.vm) && share.is_some_and(|share| share >= 0.5)) || self.is_usual_of_old(service)
    }

    /// Before a change is judged: a newcomer is greeted by the role it looks like.
    pub fn greet(&mut self, change: &Change, who: &dyn Who) {
        let What::ServiceNew { service, .. } = &change.what else { return };
        let port = (service.transport, service.port);
        let watched_ns = self.site.watched.at(change.time);
        self.roles.greet(service.vm, self.profiles.get(&service.vm), port, who, change.time, watched_ns);
    }

    /// How ripe the set of VMs is: whether a new VM means something.
    pub fn site_ripeness(&self, now: Timestamp) -> Ripeness {
        let watched_ns = self.site.watched.at(now);
        let quiet_h = hours(self.site.novelty_ns, watched_ns);
        let observed_h = hours(0, watched_ns);
        let tally = Tally { observed_h, quiet_h, flows: self.site.flows, ..Tally::default() };
        Ripeness::of(tally, self.site.ripe_since, &self.config)
    }

    /// May what is new about this VM be judged now?
    pub fn judges(&self, vm: VmId, feature: Feature, now: Timestamp) -> bool {
        match self.config.mode {
            Mode::Learn => false,
            Mode::Enforce => true,
            Mode::Auto => self.ripeness(vm, feature, now).is_ripe(),
        }
    }

    pub fn is_learned(&self, service: &ServiceKey) -> bool {
        self.service(service).is_some()
    }

    pub fn service(&self, service: &ServiceKey) -> Option<&LearnedService> {
        self.profiles.get(&service.vm)?.services.get(&(service.transport, service.port))
    }

    pub fn is_learned_peer(&self, client: VmId, service: &ServiceKey) -> bool {
        let edge = (service.vm, (service.transport, service.port));
        self.profiles.get(&client).is_some_and(|p| p.peers.contains_key(&edge))
    }

    /// Has this client a learned edge to any other service of that server?
    pub fn has_spoken(&self, client: VmId, service: &ServiceKey) -> bool {
        let port = (service.transport, service.port);
        self.profiles.get(&client).is_some_and(|p| {
            p.peers
                .range((service.vm, PORT_MIN)..)
                .take_while(|((vm, _), _)| *vm == service.vm)
                .any(|((_, p), _)| *p != port)
        })
    }

    /// Has one of these VMs a learned edge to the other?
    pub fn are_acquainted(&self, one: VmId, other: VmId) -> bool {
        let knows = |client: VmId, server: VmId| {
            let from = self.profiles.get(&client).and_then(|p| p.peers.range((server, PORT_MIN)..).next());
            from.is_some_and(|((vm, _), _)| *vm == server)
        };
        knows(one, other) || knows(other, one)
    }

    /// Looks at roles and at what hangs together, once a packet second.
    pub fn tick(&mut self, who: &dyn Who, now: Timestamp) {
        self.roles.tick(&self.profiles, who, now, self.site.watched.at(now));
        self.components.tick(&self.profiles, now);
    }

    /// The hour is over: what VMs sent in it is learned, save of those that are `barred`.
    pub fn roll(&mut self, now: Timestamp, barred: &[VmId]) {
        self.volumes.roll(now, barred);
    }

    /// Would an edge between these VMs join two parts of the network that shared none in 28 days?
    pub fn joins_components(&self, client: VmId, server: VmId) -> bool {
        self.components.joins(client, server)
    }

    /// Does this client use the same port of another member of that server's role already? One more of a farm is
    /// nothing new in kind.
    pub fn is_kin(&self, client: VmId, service: &ServiceKey) -> bool {
        let (Some(profile), Some((_, role))) = (self.profiles.get(&client), self.roles.of(service.vm)) else {
            return false;
        };
        let port = (service.transport, service.port);
        profile.ports.contains_key(&port)
            && role.members.iter().take(KIN_LOOKED_AT).any(|vm| profile.peers.contains_key(&(*vm, port)))
    }

    /// Learns from a change that was judged. Refused: it raised a finding or waits for more evidence; it makes time
    /// pass and nothing else (invariant 7).
    pub fn learn(&mut self, change: &Change, lesson: Lesson) {
        let now = change.time;
        self.site.watched.advance(now);
        let moment = Moment { now, watched_ns: self.site.watched.at(now) };
        self.entry = match lesson {
            Lesson::Barred => Entry::Refused,
            _ if self.config.mode == Mode::Enforce => Entry::Refused,
            Lesson::Cautious => Entry::Provisional,
            Lesson::Free => Entry::Free,
        };
        if lesson == Lesson::Barred {
            self.counters.withheld += 1;
            self.unlearn(change);
            return;
        }
        let source_port = change.flow.as_ref().map(|f| f.orig.port);
        match &change.what {
            What::VmNew { vm } => self.meet(*vm, moment),
            What::ServiceNew { service, basis, .. } => self.serve(service, basis.level < 3, moment),
            What::ServiceUsed { service, .. } => self.serve(service, false, moment),
            What::ServiceApp { service, now: app, .. } => self.identify(service, app, moment),
            What::ServiceStack { service, stack } => self.answers_as(service, *stack),
            What::PeerNew { client, service, .. } | What::PeerUsed { client, service, .. } => {
                self.reach(*client, service, source_port, moment);
            }
            What::ServiceRaised { service, basis } if basis.level >= 3 => self.strengthen(service, moment),
            What::ServiceRetracted { service } => self.disown(service),
            What::Merged { kept, gone } => self.merge(*kept, *gone),
            What::ServiceRaised { .. }
            | What::VmChanged { .. }
            | What::VmMoved { .. }
            | What::VmCompared { .. }
            | What::ServiceRefused { .. }
            | What::Tick => {}
        }
        self.dirty.insert(Dirty::Site);
    }

    /// `gone` is an alias of `kept` from now on: their baselines are united, and edges to `gone` lead to `kept`.
    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        if kept == gone {
            return;
        }
        self.roles.merge(kept, gone);
        self.volumes.merge(kept, gone);
        if let Some(theirs) = self.profiles.remove(&gone) {
            self.soil(gone, &theirs);
            let mut mine = self.profiles.remove(&kept).unwrap_or_else(|| Profile {
                first_seen: theirs.first_seen,
                born_ns: theirs.born_ns,
                ..Profile::default()
            });
            mine.unite(theirs, &self.config, &mut self.counters);
            self.soil(kept, &mine);
            self.profiles.insert(kept, mine);
        }
        // Rare, so a walk over every profile is right: edges are not indexed by server.
        for (client, profile) in &mut self.profiles {
            let edges: Vec<_> = profile
                .peers
                .range((gone, PORT_MIN)..)
                .take_while(|((vm, _), _)| *vm == gone)
                .map(|(e, _)| *e)
                .collect();
            for (server, port) in edges {
                if let Some(peer) = profile.peers.remove(&(server, port)) {
                    self.dirty.insert(Dirty::Peer(*client, gone, port));
                    self.dirty.insert(Dirty::Peer(*client, kept, port));
                    profile.adopt_peer((kept, port), peer, &self.config, &mut self.counters);
                }
            }
            profile.recount();
        }
    }

    /// Forgets one VM's baseline, or all of it; it is learned anew from the next change on. Returns how many.
    pub fn reset(&mut self, vm: Option<VmId>) -> usize {
        let gone: Vec<VmId> = match vm {
            Some(vm) => self.profiles.contains_key(&vm).then_some(vm).into_iter().collect(),
            None => self.profiles.keys().copied().collect(),
        };
        for vm in &gone {
            self.forget(*vm);
        }
        if vm.is_none() {
            self.site = Site::default();
            self.dirty.insert(Dirty::Site);
        }
        gone.len()
    }

    /// Sizes and refusals, for `stats`.
    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        out.push(("baseline.vms", self.profiles.len() as u64));
        self.roles.report(out);
        self.volumes.report(out);
        if self.forgotten.dropped > 0 {
            out.push(("baseline.forgotten.dropped", self.forgotten.dropped));
        }
        self.counters.report(out);
    }

    fn meet(&mut self, vm: VmId, moment: Moment) {
        self.latch_site(moment);
        // Enforce learns nothing new: an unknown VM stays unknown until a person lets it learn.
        if self.config.mode == Mode::Enforce || self.profiles.contains_key(&vm) {
            return;
        }
        if !self.has_room() {
            self.counters.vms_refused += 1;
            return;
        }
        self.profiles.insert(vm, Profile::new(moment.now, moment.watched_ns));
        self.site.novelty_ns = moment.watched_ns;
        self.dirty.insert(Dirty::Head(vm));
    }

    fn serve(&mut self, service: &ServiceKey, weak: bool, moment: Moment) {
        self.meet(service.vm, moment);
        let Some(profile) = self.profiles.get_mut(&service.vm) else { return };
        profile.latch(moment.now, moment.watched_ns, &self.config);
        profile.flow(moment);
        self.site.flows = self.site.flows.saturating_add(1);
        self.dirty.insert(Dirty::Head(service.vm));
        let port = (service.transport, service.port);
        if profile.serve(port, moment, weak, self.entry, &self.config, &mut self.counters) {
            self.dirty.insert(Dirty::Service(service.vm, port));
        }
    }

    fn identify(&mut self, service: &ServiceKey, app: &AppInfo, moment: Moment) {
        let port = (service.transport, service.port);
        // It was not learned while nothing was known of it but the port.
        if self.profiles.get(&service.vm).is_some_and(|profile| !profile.services.contains_key(&port)) {
            self.serve(service, false, moment);
        }
        let Some(profile) = self.profiles.get_mut(&service.vm) else { return };
        let proved = profile.strengthen(port, moment);
        if profile.services.get_mut(&port).is_some_and(|s| s.identity.learn(app)) || proved {
            self.dirty.insert(Dirty::Service(service.vm, port));
        }
    }

    fn answers_as(&mut self, service: &ServiceKey, stack: Stack) {
        let port = (service.transport, service.port);
        let learned = self.profiles.get_mut(&service.vm).and_then(|profile| profile.services.get_mut(&port));
        if learned.is_some_and(|learned| learned.identity.learn_stack(stack)) {
            self.dirty.insert(Dirty::Service(service.vm, port));
        }
    }

    fn strengthen(&mut self, service: &ServiceKey, moment: Moment) {
        let port = (service.transport, service.port);
        if let Some(profile) = self.profiles.get_mut(&service.vm)
            && profile.strengthen(port, moment)
        {
            self.dirty.insert(Dirty::Service(service.vm, port));
        }
    }

    /// What was taken for a service is none.
    fn disown(&mut self, service: &ServiceKey) {
        let port = (service.transport, service.port);
        if let Some(profile) = self.profiles.get_mut(&service.vm)
            && let Some(learned) = profile.services.remove(&port)
        {
            profile.recount();
            self.forgotten.service(service.vm, port, learned.first_seen, self.site.watched.last());
            self.dirty.insert(Dirty::Service(service.vm, port));
        }
    }

    /// A service learned at its handshake whose first proof by payload raised a finding was never normal.
    fn unlearn(&mut self, change: &Change) {
        let (What::ServiceApp { service, .. } | What::ServiceRaised { service, .. }) = &change.what else { return };
        let port = (service.transport, service.port);
        let Some(profile) = self.profiles.get_mut(&service.vm) else { return };
        if let Some(learned) = profile.services.get(&port).filter(|s| s.identity.is_empty()) {
            self.forgotten.service(service.vm, port, learned.first_seen, self.site.watched.last());
            profile.services.remove(&port);
            profile.recount();
            self.dirty.insert(Dirty::Service(service.vm, port));
        }
    }

    fn reach(&mut self, client: VmId, service: &ServiceKey, source_port: Option<u16>, moment: Moment) {
        self.meet(client, moment);
        let kin = self.is_kin(client, service);
        let Some(profile) = self.profiles.get_mut(&client) else { return };
        profile.latch(moment.now, moment.watched_ns, &self.config);
        profile.flow(moment);
        if let Some(port) = source_port {
            profile.sourced(port);
        }
        self.dirty.insert(Dirty::Head(client));
        let port = (service.transport, service.port);
        if profile.reach((service.vm, port), moment, kin, self.entry, &self.config, &mut self.counters) {
            self.dirty.insert(Dirty::Peer(client, service.vm, port));
        }
    }

    /// The site's ripeness holds once reached, as a VM's does.
    fn latch_site(&mut self, moment: Moment) {
        if self.site.ripe_since.is_none() && self.site_ripeness(moment.now).is_ripe() {
            self.site.ripe_since = Some(moment.now);
        }
    }

    /// Is there room for one more, or can it be made?
    pub(super) fn has_room(&mut self) -> bool {
        self.profiles.len() < self.config.vms_max || self.make_room()
    }

    fn make_room(&mut self) -> bool {
        let watched_ns = self.site.watched.at(Timestamp::ZERO);
        let unripe = |p: &Profile| !p.ripeness(Feature::Services, watched_ns, &self.config).is_ripe();
        let mut silent: Vec<(Timestamp, VmId)> =
            self.profiles.iter().filter(|(_, p)| unripe(p)).map(|(vm, p)| (p.last_seen, *vm)).collect();
        silent.sort_unstable();
        silent.truncate((self.config.vms_max / 16).max(1));
        for (_, vm) in &silent {
            self.forget(*vm);
            self.counters.vms_evicted += 1;
        }
        !silent.is_empty()
    }

    fn forget(&mut self, vm: VmId) {
        self.roles.forget(vm);
        self.volumes.forget(vm);
        if let Some(profile) = self.profiles.remove(&vm) {
            self.soil(vm, &profile);
            self.forgotten.vm(vm, &profile, self.site.watched.last());
        }
    }

    /// Marks every record of a profile as differing from the store.
    pub(crate) fn soil(&mut self, vm: VmId, profile: &Profile) {
        self.dirty.insert(Dirty::Head(vm));
        self.dirty.extend(profile.services.keys().map(|port| Dirty::Service(vm, *port)));
        self.dirty.extend(profile.peers.keys().map(|(server, port)| Dirty::Peer(vm, *server, *port)));
    }
}
