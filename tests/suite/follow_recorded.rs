//! A run that follows a shared folder, recorded: its replay tells the same without the folder.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use eastwatch::brain::{Brain, BrainConfig, Teller};
use eastwatch::capture::{Files, Source};
use eastwatch::deliver::Eve;
use eastwatch::model::Side;
use eastwatch::runtime::{Follower, Handovers, Plan, Recorder, Recording, Shelf, mailbox, run};
use eastwatch::scenario::{Scenario, payload};
use eastwatch::store::MemoryStore;

use super::harness::Folder;
use super::scenarios::{self, Office};

fn brain(eve: &Path) -> Brain {
    let mut brain = Brain::load(Box::new(MemoryStore::new()), BrainConfig::default()).unwrap();
    brain.tell(Teller::new(Some(Eve::open(eve).unwrap())));
    brain
}

/// With a pause between batches, in which answers may come.
fn through(source: &mut dyn Source, brain: Brain, pause: Duration) -> Brain {
    let plan = Plan {
        workers: 2,
        decode: Default::default(),
        limits: Default::default(),
        definitions: Default::default(),
        seed: 1,
        full_ends: true,
        disk_full: Default::default(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let outcome = run(&plan, source, brain, mailbox(), &stop, |_, _, _| {
        std::thread::sleep(pause);
        None
    });
    outcome.unwrap().brain
}

fn known(brain: &Brain) -> String {
    brain.baselines.export(brain.now(), &brain.inventory).to_toml()
}

#[test]
fn a_recorded_run_replays_what_was_handed_over_to_the_same_bytes() {
    let work = Folder::new("follow-recorded");
    let shared = work.file("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o750)).unwrap();
    let mut parts = scenarios::shell_port();
    let (_, learned) = parts.swap_remove(0);
    let capture = work.file("learned.pcap");
    learned.write_pcap(&capture).unwrap();
    let files = |file: &Path| Files::open(&[file.to_owned()], None).unwrap();

    // The same VMs two days later, at another probe: all of it within a second, so that answers come in time.
    let mut scenario = Scenario::new(9);
    let office = Office::new(&mut scenario);
    let start = scenario.now();
    scenario.at(start.plus_s(2 * 86_400)).arp(&office.app, &office.web);
    for _ in 0..250 {
        scenario
            .tcp(&office.app, &office.web, 80)
            .handshake()
            .send(Side::Orig, payload::http_get("web-01", "/"))
            .send(Side::Resp, payload::http_ok("nginx/1.24.0", "hello"))
            .close();
        scenario.wait_ms(1);
    }
    let later = work.file("later.pcap");
    scenario.write_pcap(&later).unwrap();

    // One probe has learned them.
    let mut first = brain(&work.file("first.json"));
    first.follow(Box::new(Shelf::new(&shared)));
    let first = through(&mut files(&capture), first, Duration::ZERO);
    assert!(first.baselines.count() >= 4);

    let (live_eve, replayed_eve) = (work.file("live.json"), work.file("replayed.json"));
    let recorded = work.file("recorded.pcapng");
    let (follower, answers, thread) = Follower::start(&shared).unwrap();
    let mut live = brain(&live_eve);
    live.follow(Box::new(follower));
    let recorder = Recorder::create(&recorded, true).unwrap();
    let mut source = Recording::new(Handovers::new(files(&later), Some(answers)), Some(recorder));
    let live = through(&mut source, live, Duration::from_millis(100));
    source.finish().unwrap();
    assert_eq!(live.status()["follow"]["taken"].as_u64(), Some(2), "{}", live.status()["follow"]);
    let (live_known, live_now) = (known(&live), live.now());
    drop(live);
    thread.join().unwrap();

    let mut again = Files::open(&[recorded], None).unwrap();
    let replayed = through(&mut again, brain(&replayed_eve), Duration::ZERO);
    assert_eq!((known(&replayed), replayed.now()), (live_known, live_now));
    let events = |path: &Path| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let stats = |line: &&str| !line.contains("\"event_type\":\"stats\"");
        text.lines().filter(stats).map(str::to_owned).collect()
    };
    assert_eq!(events(&replayed_eve), events(&live_eve));
    assert!(events(&live_eve).iter().any(|line| line.contains("its baseline has come")));
}
