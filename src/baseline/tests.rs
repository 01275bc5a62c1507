//! Learning, keeping and carrying of baselines, as a whole.
#![cfg(test)]

use std::net::IpAddr;

use super::*;
use crate::inventory::{Basis, Change, Sight, What};
use crate::model::{AppInfo, Segment, ServiceClass, ServiceKey, Timestamp, Transport, VmId};
use crate::store::{Batch, MemoryStore, Store};

pub(super) fn vm(n: u8) -> VmId {
    VmId::derive(&[&[n]], 0)
}

fn key(n: u8, port: u16) -> ServiceKey {
    ServiceKey { vm: vm(n), transport: Transport::Tcp, port }
}

fn start() -> Timestamp {
    Timestamp::from_parts(1_767_225_600, 0)
}

fn at(hour: f64, what: What) -> Change {
    Change { time: start().plus_ms((hour * 3.6e6) as i64), frame: 1, flow: None, what }
}

fn opens(n: u8, port: u16, level: u8) -> What {
    let (segment, ip) = (Segment::UNTAGGED, IpAddr::from([10, 0, 0, n]));
    let basis = Basis { level, closed_at: None, sight: Sight::Whole };
    What::ServiceNew { service: key(n, port), segment, ip, class: ServiceClass::Unicast, basis }
}

fn used(n: u8, port: u16) -> What {
    What::ServiceUsed { service: key(n, port), client: IpAddr::from([10, 0, 0, 9]), client_vm: None }
}

fn reached(client: u8, n: u8, port: u16) -> What {
    What::PeerUsed { client: vm(client), server: vm(n), service: key(n, port) }
}

fn app(proto: &'static str) -> Box<AppInfo> {
    Box::new(AppInfo::new(proto, None))
}

/// VM 1 serves 443 twice an hour for 30 hours; VM 2 is its client, and VM 3 met it once.
pub(super) fn learned() -> Baselines {
    let mut baselines = Baselines::new(BaselineConfig::default());
    for half in 0..60 {
        let hour = f64::from(half) / 2.0;
        baselines.learn(&at(hour, if half == 0 { opens(1, 443, 4) } else { used(1, 443) }), Lesson::Free);
        baselines.learn(&at(hour, reached(2, 1, 443)), Lesson::Free);
    }
    let now = app("tls");
    baselines.learn(&at(29.6, What::ServiceApp { service: key(1, 443), before: None, now }), Lesson::Free);
    baselines.learn(&at(29.7, reached(3, 1, 443)), Lesson::Free);
    baselines
}

pub(super) fn now() -> Timestamp {
    start().plus_s(30 * 3_600)
}

#[test]
fn a_vm_is_ripe_after_its_day_and_flows_and_not_before() {
    let mut baselines = Baselines::new(BaselineConfig::default());
    for half in 0..44 {
        let change = at(f64::from(half) / 2.0, if half == 0 { opens(1, 443, 4) } else { used(1, 443) });
        assert_eq!(baselines.phase(vm(1), change.time), Phase::Learning, "half hour {half}");
        baselines.learn(&change, Lesson::Free);
    }
    assert_eq!(baselines.phase(vm(1), start().plus_s(24 * 3_600)), Phase::Ripe);
    assert_eq!(baselines.phase(vm(7), start().plus_s(24 * 3_600)), Phase::Learning);
}

#[test]
fn once_ripe_an_approved_novelty_does_not_open_a_window() {
    let mut baselines = learned();
    baselines.learn(&at(30.0, opens(1, 8_080, 4)), Lesson::Free);
    assert!(baselines.judges(vm(1), Feature::Services, now()));
}

#[test]
fn what_is_barred_is_not_learned() {
    let mut baselines = learned();
    let before = baselines.export(now(), &Named);
    baselines.learn(&at(30.0, opens(1, 4_444, 4)), Lesson::Barred);
    baselines.learn(&at(30.0, reached(2, 1, 4_444)), Lesson::Barred);
    assert!(!baselines.is_learned(&key(1, 4_444)));
    assert!(diff(&before, &baselines.export(now(), &Named)).is_empty());
}

#[test]
fn a_probe_that_was_off_does_not_ripen() {
    let mut baselines = Baselines::new(BaselineConfig::default());
    baselines.learn(&at(0.0, opens(1, 443, 4)), Lesson::Free);
    for i in 0..40 {
        baselines.learn(&at(0.1 + f64::from(i) / 1_000.0, used(1, 443)), Lesson::Free);
    }
    assert_eq!(baselines.phase(vm(1), start().plus_s(30 * 86_400)), Phase::Learning);
}

#[test]
fn the_first_day_is_provisional_until_it_is_confirmed() {
    let mut baselines = learned();
    assert!(baselines.service(&key(1, 443)).expect("learned").provisional, "used for thirty hours only");
    for hour in 30..=7 * 24 {
        baselines.learn(&at(f64::from(hour), used(1, 443)), Lesson::Free);
    }
    assert!(!baselines.service(&key(1, 443)).expect("learned").provisional, "still used a week later");
    baselines.learn(&at(168.0, opens(5, 22, 4)), Lesson::Free);
    assert!(baselines.service(&key(5, 22)).expect("learned").provisional);
}

#[test]
fn what_comes_while_an_incident_is_open_is_provisional() {
    let mut baselines = learned();
    baselines.learn(&at(30.0, opens(1, 8_080, 4)), Lesson::Cautious);
    assert!(baselines.service(&key(1, 8_080)).expect("learned").provisional);
    baselines.learn(&at(30.0, opens(1, 8_081, 4)), Lesson::Free);
    assert!(!baselines.service(&key(1, 8_081)).expect("learned").provisional);
}

#[test]
fn three_new_keys_a_day_enter_a_ripe_baseline_and_the_first_day_takes_all() {
    let mut baselines = learned();
    for port in 1..=40 {
        baselines.learn(&at(30.0, opens(9, port, 4)), Lesson::Free);
    }
    assert_eq!(baselines.profile(vm(9)).expect("known").services.len(), 40);
    for port in 8_000..8_010 {
        baselines.learn(&at(30.0, opens(1, port, 4)), Lesson::Free);
    }
    assert_eq!(baselines.profile(vm(1)).expect("known").services.len(), 1 + 3);
    for hour in 31..55 {
        baselines.learn(&at(f64::from(hour), used(1, 443)), Lesson::Free);
    }
    baselines.learn(&at(55.0, opens(1, 8_010, 4)), Lesson::Free);
    assert_eq!(baselines.profile(vm(1)).expect("known").services.len(), 1 + 4);
}

#[test]
fn what_is_saved_is_what_is_loaded_and_only_changes_are_written() {
    let mut baselines = learned();
    let mut batch = Batch::default();
    baselines.save(&mut batch);
    let mut shelf = MemoryStore::of(&batch).expect("memory");
    let loaded = Baselines::load(&shelf, BaselineConfig::default()).expect("a store");
    assert_eq!(loaded.profiles, baselines.profiles);
    assert_eq!(loaded.site, baselines.site);

    let mut batch = Batch::default();
    baselines.save(&mut batch);
    assert!(batch.is_empty());
    baselines.learn(&at(30.0, used(1, 443)), Lesson::Free);
    baselines.save(&mut batch);
    assert_eq!(batch.changes.len(), 3, "site, head and service");

    baselines.reset(Some(vm(2)));
    baselines.save(&mut batch);
    shelf.apply(&batch).expect("memory");
    let loaded = Baselines::load(&shelf, BaselineConfig::default()).expect("a store");
    assert!(!loaded.known(vm(2)));
    assert_eq!(loaded.profiles, baselines.profiles);
}

#[test]
fn sanctions_are_kept_too() {
    let mut sanctions = Sanctions::new();
    let sanction = Sanction {
        vm: vm(1),
        service: Some((Transport::Tcp, 22)),
        app: None,
        owner: "ops".to_owned(),
        reason: "jump host".to_owned(),
        ticket: Some("CHG-1".to_owned()),
        expires: None,
        added: start(),
        source: SanctionSource::Person,
        hits: 0,
        last_hit: None,
    };
    sanctions.add(sanction).expect("room");
    sanctions.count(&at(1.0, used(1, 22)));
    sanctions.count(&at(1.0, used(1, 23)));
    let mut batch = Batch::default();
    sanctions.save(&mut batch);
    let loaded = Sanctions::load(&MemoryStore::of(&batch).expect("memory")).expect("a store");
    assert_eq!(loaded.list().collect::<Vec<_>>(), sanctions.list().collect::<Vec<_>>());
    assert_eq!(loaded.list().next().map(|s| s.hits), Some(1));
}

/// VM 1 has a name, nobody else is known.
struct Named;

impl super::Directory for Named {
    fn name(&self, id: VmId) -> Option<String> {
        (id == vm(1)).then(|| "web-01".to_owned())
    }

    fn is_known(&self, _: VmId) -> bool {
        true
    }

    fn called(&self, _: &str) -> Vec<VmId> {
        Vec::new()
    }
}

#[test]
fn an_export_imported_elsewhere_differs_in_nothing() {
    let document = learned().export(now(), &Named);
    let mut other = Baselines::new(BaselineConfig::default());
    let preview = other.preview(&document, now(), &Named).expect("a document");
    assert!(!preview.is_empty());
    assert_eq!(other.import(&document, now(), &Named), Ok(preview));
    assert!(diff(&document, &other.export(now(), &Named)).is_empty());
    assert_eq!(other.phase(vm(1), now()), Phase::Ripe);
    assert_eq!(other.import(&document, now(), &Named), Ok(Vec::new()));
}

#[test]
fn a_diff_names_what_came_and_went() {
    let before = learned();
    let mut after = before.clone();
    after.learn(&at(30.0, opens(1, 22, 4)), Lesson::Free);
    after.reset(Some(vm(3)));
    let (before, after) = (before.export(now(), &Named), after.export(now(), &Named));
    let text: Vec<String> = diff(&before, &after).iter().map(ToString::to_string).collect();
    assert!(text.contains(&format!("+ web-01 ({}) serves tcp/22", vm(1))), "{text:?}");
    assert!(text.contains(&format!("- {} VM", vm(3))), "{text:?}");
}

#[test]
fn a_diff_by_days_tells_what_was_learned_and_what_is_no_more() {
    let mut baselines = learned();
    baselines.learn(&at(30.0, opens(1, 22, 4)), Lesson::Free);
    let time = |hour: f64| at(hour, What::Tick).time;
    let told = |baselines: &Baselines, from: f64, to: f64| -> Vec<String> {
        baselines.between(time(from), time(to), &Named).iter().map(|l| format!("{l}")).collect()
    };
    let web = |text: &str| format!("{text} web-01 ({}) ", vm(1));
    assert_eq!(told(&baselines, 29.75, 31.0), [format!("{}serves tcp/22", web("+"))]);
    // At 40 h it is taken back, at 41 h another VM's baseline is reset, at 42 h that VM is learned anew.
    baselines.learn(&at(40.0, What::ServiceRetracted { service: key(1, 22) }), Lesson::Free);
    baselines.learn(&at(41.0, used(1, 443)), Lesson::Free);
    baselines.reset(Some(vm(3)));
    assert_eq!(told(&baselines, 35.0, 40.5), [format!("{}serves tcp/22", web("-"))]);
    let reset = told(&baselines, 40.5, 41.5);
    assert!(reset.contains(&format!("- {} VM", vm(3))) && reset.len() == 2, "{reset:?}");
    baselines.learn(&at(42.0, reached(3, 1, 443)), Lesson::Free);
    assert!(told(&baselines, 40.5, 43.0).is_empty(), "it is there again");
    assert!(told(&baselines, 29.75, 43.0).is_empty(), "it came and went in between");
    assert_eq!(told(&baselines, 29.75, 35.0), [format!("{}serves tcp/22", web("+"))], "so it was then");
    // What an edited import leaves out is removed, too; and all of it is still known after a restart.
    let mut document = baselines.export(time(50.0), &Named);
    document.vms.retain_mut(|page| {
        page.services.clear();
        page.vm == vm(1)
    });
    baselines.import(&document, time(50.0), &Named).expect("a document");
    let mut batch = Batch::default();
    baselines.save(&mut batch);
    let loaded =
        Baselines::load(&MemoryStore::of(&batch).expect("memory"), BaselineConfig::default()).expect("a store");
    assert_eq!(told(&loaded, 45.0, 51.0), [format!("{}serves tcp/443", web("-"))]);
}

#[test]
fn a_merge_unites_baselines_and_turns_edges() {
    let mut baselines = learned();
    baselines.learn(&at(30.0, opens(4, 22, 4)), Lesson::Free);
    baselines.learn(&at(30.0, What::Merged { kept: vm(4), gone: vm(1) }), Lesson::Free);
    assert!(!baselines.known(vm(1)));
    assert!(baselines.is_learned(&key(4, 443)) && baselines.is_learned(&key(4, 22)));
    assert!(baselines.is_learned_peer(vm(2), &key(4, 443)));
    assert!(!baselines.is_learned_peer(vm(2), &key(1, 443)));
    let mut batch = Batch::default();
    baselines.save(&mut batch);
    let loaded =
        Baselines::load(&MemoryStore::of(&batch).expect("memory"), BaselineConfig::default()).expect("a store");
    assert_eq!(loaded.profiles, baselines.profiles);
}

#[test]
fn a_full_house_forgets_the_unripe_and_keeps_the_ripe() {
    let mut baselines = learned();
    baselines.configure(BaselineConfig { vms_max: 16, ..BaselineConfig::default() });
    for n in 10..200 {
        baselines.learn(&at(29.9, What::VmNew { vm: vm(n) }), Lesson::Free);
    }
    assert!(baselines.profiles.len() <= 16);
    assert!(baselines.known(vm(1)));
    assert!(baselines.counters.vms_evicted > 0);
}

#[test]
fn enforce_learns_nothing_new_and_still_counts_what_it_knows() {
    let mut baselines = learned();
    baselines.configure(BaselineConfig { mode: Mode::Enforce, ..BaselineConfig::default() });
    let uses = baselines.service(&key(1, 443)).map(|s| s.uses);
    baselines.learn(&at(30.0, used(1, 443)), Lesson::Free);
    baselines.learn(&at(30.0, opens(1, 22, 4)), Lesson::Free);
    baselines.learn(&at(30.0, What::VmNew { vm: vm(8) }), Lesson::Free);
    assert_eq!(baselines.service(&key(1, 443)).map(|s| s.uses), uses.map(|n| n + 1));
    assert!(!baselines.is_learned(&key(1, 22)) && !baselines.known(vm(8)));
}
