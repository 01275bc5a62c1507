//! One VM's baseline that goes from probe to probe as a text, and what a probe makes of one that it is handed.
//! A row is united with what is known here; at most `services_max` and `peers_max` rows, as everywhere.
//!
//! Several probes may know one VM, each a part of it: the one it runs at, and those of its clients. So the texts are not
//! put in place of each other: rows are united, and of a row that both have the newer one says which program it is.

use super::collection::Baselines;
use super::diff::lines;
use super::document::{Directory, Document, VmDocument};
use super::profile::Profile;
use super::ripeness::Feature;
use super::watched::STEP_MAX_NS;
use super::{BaselineConfig, BaselineCounters};
use crate::model::{NS_PER_S, Timestamp, VmId, stable_hash};

/// What became of a baseline that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Nothing was known here of the VM.
    Taken,
    /// So many rows were not known here.
    United(usize),
}

/// One VM's baseline as it lies in a folder that probes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    pub text: String,
    /// Of all but the header: equal where nothing was learned in between.
    pub digest: u64,
    /// As [`VmDocument::gist`].
    pub gist: u64,
}

impl VmDocument {
    /// Of what a person would call a difference: equal where two probes know the same.
    pub fn gist(&self) -> u64 {
        let lines = lines(self);
        stable_hash(&lines.iter().map(String::as_bytes).collect::<Vec<_>>())
    }
}

impl Baselines {
    /// What was learned of a VM, as of when it was last seen; `None` where that is nothing.
    pub fn sheet(&self, vm: VmId, who: &dyn Directory) -> Option<Sheet> {
        let profile = self.profile(vm).filter(|p| !(p.services.is_empty() && p.peers.is_empty()))?;
        let seen = to_second(profile.last_seen);
        let mut document = self.export_one(vm, seen, who)?;
        // Both clocks of the same moment.
        document.watched_s = profile.seen_ns.div_euclid(NS_PER_S);
        let (text, gist) = (document.to_toml(), document.vms.first()?.gist());
        let (_, body) = text.split_once("\n\n")?;
        let digest = stable_hash(&[body.as_bytes()]);
        Some(Sheet { text, digest, gist })
    }

    /// Takes up what another probe had learned of a VM, `page` of `document`. Into a ripe baseline only what is firm
    /// there enters: what is provisional has to prove itself here, too.
    ///
    /// # Errors
    /// There is no room for it; nothing is changed then.
    pub fn take_up(&mut self, document: &Document, page: &VmDocument, now: Timestamp) -> Result<Followed, String> {
        if page.services.len() > self.config.services_max || page.peers.len() > self.config.peers_max {
            return Err("it has more rows than baseline.services_max or baseline.peers_max allow".to_owned());
        }
        let ripe = self.ripeness(page.vm, Feature::Services, now).is_ripe();
        // What has passed since was watched by one of us, up to what an absence counts for.
        let since_ns = now.since_ns(document.exported).clamp(0, STEP_MAX_NS);
        let watched_ns = self.site.watched.at(now).saturating_sub(since_ns);
        let theirs = page.profile(document.watched_s, document.exported, watched_ns);
        let Some(mut mine) = self.profiles.get(&page.vm).cloned() else {
            if !self.has_room() {
                return Err("baseline.vms_max baselines are ripe already".to_owned());
            }
            self.soil(page.vm, &theirs);
            self.profiles.insert(page.vm, theirs);
            self.volumes.take_page(page.vm, &page.volumes, &page.bulk, now, false);
            return Ok(Followed::Taken);
        };
        let newer = document.exported > to_second(mine.last_seen);
        let added = mine.take_up(theirs, ripe, newer, &self.config, &mut self.counters);
        self.soil(page.vm, &mine);
        self.profiles.insert(page.vm, mine);
        self.volumes.take_page(page.vm, &page.volumes, &page.bulk, now, true);
        Ok(Followed::United(added))
    }
}

impl Profile {
    /// Unites this with what another probe knows; how many rows are new here. Counts are not added up: both may have
    /// seen the same flows, and what goes to and fro must not grow by it.
    fn take_up(
        &mut self,
        other: Profile,
        ripe: bool,
        newer: bool,
        config: &BaselineConfig,
        counters: &mut BaselineCounters,
    ) -> usize {
        self.first_seen = self.first_seen.min(other.first_seen);
        self.flows = self.flows.max(other.flows);
        self.born_ns = self.born_ns.min(other.born_ns);
        self.source_ports |= other.source_ports;
        if newer {
            self.last_seen = self.last_seen.max(other.last_seen);
        }
        for (mine, theirs) in
            [(&mut self.offered, other.offered), (&mut self.uses, other.uses), (&mut self.peered, other.peered)]
        {
            mine.novelty_ns = mine.novelty_ns.max(theirs.novelty_ns);
            mine.ripe_since = [mine.ripe_since, theirs.ripe_since].into_iter().flatten().min();
            if theirs.days.whole > mine.days.whole {
                mine.days = theirs.days;
            }
        }
        let mut added = 0;
        let full = |rows: usize, max: usize, refused: &mut u64| {
            let full = rows >= max;
            *refused += u64::from(full);
            full
        };
        for (port, theirs) in other.services {
            let rows = self.services.len();
            match self.services.get_mut(&port) {
                Some(mine) => {
                    mine.first_seen = mine.first_seen.min(theirs.first_seen);
                    mine.last_seen = mine.last_seen.max(theirs.last_seen);
                    mine.uses = mine.uses.max(theirs.uses);
                    mine.weak &= theirs.weak;
                    let firm = !theirs.provisional;
                    mine.provisional &= theirs.provisional;
                    if mine.identity.is_empty() || (newer && firm && !theirs.identity.is_empty()) {
                        mine.identity = theirs.identity;
                    } else if !ripe {
                        mine.identity.unite(theirs.identity);
                    }
                }
                None if ripe && theirs.provisional => {}
                None if full(rows, config.services_max, &mut counters.services_refused) => {}
                None => {
                    added += 1;
                    self.services.insert(port, theirs);
                }
            }
        }
        for (edge, theirs) in other.peers {
            let rows = self.peers.len();
            match self.peers.get_mut(&edge) {
                Some(mine) => {
                    mine.first_seen = mine.first_seen.min(theirs.first_seen);
                    mine.last_seen = mine.last_seen.max(theirs.last_seen);
                    mine.uses = mine.uses.max(theirs.uses);
                    mine.provisional &= theirs.provisional;
                }
                None if ripe && theirs.provisional => {}
                None if full(rows, config.peers_max, &mut counters.peers_refused) => {}
                None => {
                    added += 1;
                    self.peers.insert(edge, theirs);
                }
            }
        }
        self.recount();
        added
    }
}

fn to_second(time: Timestamp) -> Timestamp {
    Timestamp::from_ns(time.second().saturating_mul(NS_PER_S))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{learned, now, vm};
    use super::*;
    use crate::baseline::Lesson;
    use crate::inventory::{Basis, Change, Sight, What};
    use crate::model::{AppInfo, Segment, ServiceClass, ServiceKey, Transport};

    struct Nobody;

    impl Directory for Nobody {
        fn name(&self, _: VmId) -> Option<String> {
            None
        }

        fn is_known(&self, _: VmId) -> bool {
            true
        }

        fn called(&self, _: &str) -> Vec<VmId> {
            Vec::new()
        }
    }

    fn key(port: u16) -> ServiceKey {
        ServiceKey { vm: vm(1), transport: Transport::Tcp, port }
    }

    fn opens(baselines: &mut Baselines, port: u16, lesson: Lesson) {
        let basis = Basis { level: 4, closed_at: None, sight: Sight::Whole };
        let (segment, ip) = (Segment::UNTAGGED, [10, 0, 0, 1].into());
        let what = What::ServiceNew { service: key(port), segment, ip, class: ServiceClass::Unicast, basis };
        baselines.learn(&Change { time: now(), frame: 1, flow: None, what }, lesson);
    }

    fn handed(from: &Baselines, to: &mut Baselines) -> Followed {
        let sheet = from.sheet(vm(1), &Nobody).expect("learned");
        let document = Document::parse("vm.toml", &sheet.text).expect("its own text");
        to.take_up(&document, &document.vms[0], now()).expect("room")
    }

    #[test]
    fn a_vm_that_is_not_known_here_is_taken_whole_and_ripe() {
        let mut other = Baselines::new(BaselineConfig::default());
        assert_eq!(handed(&learned(), &mut other), Followed::Taken);
        assert!(other.judges(vm(1), Feature::Services, now()) && other.is_learned(&key(443)));
        assert_eq!(handed(&learned(), &mut other), Followed::United(0));
    }

    #[test]
    fn of_a_ripe_vm_only_what_is_firm_elsewhere_is_new_here() {
        let (mut there, mut here) = (learned(), learned());
        opens(&mut there, 8_080, Lesson::Free);
        opens(&mut there, 4_444, Lesson::Cautious);
        assert_eq!(handed(&there, &mut here), Followed::United(1));
        assert!(here.is_learned(&key(8_080)) && !here.is_learned(&key(4_444)));
    }

    #[test]
    fn what_goes_to_and_fro_grows_by_nothing() {
        let (mut one, mut other) = (learned(), learned());
        let before = one.sheet(vm(1), &Nobody);
        for _ in 0..5 {
            handed(&one, &mut other);
            handed(&other, &mut one);
        }
        assert_eq!(one.sheet(vm(1), &Nobody), before);
    }

    #[test]
    fn the_newer_says_which_program_it_is() {
        let (mut there, mut here) = (learned(), learned());
        let speaks = |who: &mut Baselines, proto: &'static str| {
            let now = Box::new(AppInfo::new(proto, None));
            let change = What::ServiceApp { service: key(443), before: None, now };
            who.learn(&Change { time: super::super::tests::now(), frame: 1, flow: None, what: change }, Lesson::Free);
        };
        // A service that is used for another week is firm, and this probe did not see that.
        for hour in 30..=8 * 24 {
            let what = What::ServiceUsed { service: key(443), client: [10, 0, 0, 9].into(), client_vm: None };
            let time = now().plus_s(i64::from(hour) * 3_600);
            there.learn(&Change { time, frame: 1, flow: None, what }, Lesson::Free);
        }
        speaks(&mut there, "http");
        handed(&there, &mut here);
        let apps: Vec<String> =
            here.service(&key(443)).expect("learned").identity.applications().map(str::to_owned).collect();
        assert_eq!(apps, ["http", "tls"]);
        // The older says nothing about it.
        speaks(&mut here, "ssh");
        handed(&here, &mut there);
        assert!(there.service(&key(443)).expect("learned").identity.applications().all(|app| app != "ssh"));
    }

    #[test]
    fn an_idle_hour_changes_no_sheet() {
        let mut baselines = learned();
        let before = baselines.sheet(vm(1), &Nobody).expect("learned");
        let what = What::ServiceUsed { service: key(443), client: [10, 0, 0, 9].into(), client_vm: None };
        baselines.learn(&Change { time: now().plus_s(3_600), frame: 1, flow: None, what }, Lesson::Free);
        let after = baselines.sheet(vm(1), &Nobody).expect("learned");
        assert_eq!(before.digest, after.digest);
        assert_ne!(before.text, after.text, "it says as of when");
    }
}
