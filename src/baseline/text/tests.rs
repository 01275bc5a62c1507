//! Documents as text: both forms come back whole, and what is wrong is told by place.

use crate::baseline::collection::Baselines;
use crate::baseline::document::{Directory, Document};
use crate::baseline::tests::{learned, now, vm};
use crate::baseline::volume::{DAY, VolumeBulk, VolumeDay};
use crate::model::VmId;

struct Few;

impl Directory for Few {
    fn name(&self, id: VmId) -> Option<String> {
        (id == vm(1)).then(|| "web-01".to_owned())
    }

    fn is_known(&self, id: VmId) -> bool {
        (1..4).any(|n| vm(n) == id)
    }

    fn called(&self, name: &str) -> Vec<VmId> {
        (name == "web-01").then(|| vm(1)).into_iter().collect()
    }
}

fn document() -> Document {
    learned().export(now(), &Few)
}

fn faults(edit: impl Fn(String) -> String) -> Vec<String> {
    let text = document().to_toml();
    let edited = edit(text.clone());
    assert_ne!(text, edited, "the edit found nothing");
    Document::parse("b.toml", &edited).map(|_| ()).unwrap_err()
}

#[test]
fn both_forms_come_back_whole() {
    let whole = Document { vms: document().vms, ..document() };
    let mut toml = Document::parse("b.toml", &whole.to_toml()).expect("its own TOML");
    for peer in toml.vms.iter_mut().flat_map(|v| &mut v.peers) {
        assert!(peer.line > 0);
        peer.line = 0;
    }
    assert_eq!(toml.to_toml(), whole.to_toml());
    let json = Document::parse("b.json", &whole.to_json().to_string()).expect("its own JSON");
    assert_eq!(json.to_toml(), whole.to_toml());
}

/// `learned()` with two days of volumes.
fn with_volumes() -> Baselines {
    let mut baselines = learned();
    let page = |day, code| VolumeDay { day, sent: [Some(code); DAY], received: [Some(7); DAY] };
    let today = now().second() / 86_400;
    let mut days = [page(today - 9, 60), page(today - 1, 100)];
    days[0].sent[3] = None;
    let bulk = [
        VolumeBulk { to: 7, most: 1 << 30, silent_since: Some(today - 9) },
        VolumeBulk { to: 1 << 60, most: 1 << 31, silent_since: None },
    ];
    baselines.volumes.take_page(vm(1), &days, &bulk, now(), false);
    baselines
}

#[test]
fn volumes_come_back_from_both_forms_and_from_another_probe() {
    let document = with_volumes().export(now(), &Few);
    let page = |document: &Document| document.vms.iter().find(|page| page.vm == vm(1)).cloned().expect("exported");
    assert_eq!((page(&document).volumes.len(), page(&document).bulk.len()), (2, 2));
    let toml = Document::parse("b.toml", &document.to_toml()).expect("its own TOML");
    let json = Document::parse("b.json", &document.to_json().to_string()).expect("its own JSON");
    for read in [&toml, &json] {
        assert_eq!((page(read).volumes, page(read).bulk), (page(&document).volumes, page(&document).bulk));
    }
    let mut other = Baselines::new(crate::baseline::BaselineConfig::default());
    let told = other.import(&toml, now(), &Few).expect("taken");
    assert!(told.iter().any(|line| line.what.starts_with("sends up to ")), "{told:?}");
    assert!(told.iter().any(|line| line.what == "sends much to vm-000000000007"), "{told:?}");
    let again = page(&other.export(now(), &Few));
    assert_eq!((again.volumes, again.bulk), (page(&document).volumes, page(&document).bulk));
    assert!(other.import(&toml, now(), &Few).expect("taken").is_empty());
    assert!(crate::baseline::diff(&document, &other.export(now(), &Few)).is_empty());
}

#[test]
fn volumes_of_whole_days_are_the_same_text_an_hour_later() {
    let baselines = with_volumes();
    let (one, other) = (baselines.export(now(), &Few).to_toml(), baselines.export(now().plus_s(3_600), &Few).to_toml());
    let differ: Vec<_> = one.lines().zip(other.lines()).filter(|(a, b)| a != b).collect();
    assert_eq!(differ.len(), 2, "{differ:?}");
}

#[test]
fn faulty_volumes_are_told_by_line() {
    let text = with_volumes().export(now(), &Few).to_toml();
    let faults = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Document::parse("b.toml", &text.replacen(from, to, 1)).map(|_| ()).unwrap_err()
    };
    assert!(faults("sent = \"64", "sent = \"6")[0].contains("24 times two hexadecimal digits"));
    assert!(faults("sent = \"64", "sent = \"ff")[0].contains("24 times two"));
    assert!(faults("{ day = \"2025-", "{ day = \"2035-")[0].contains("later than the export"));
    let row = text.lines().find(|line| line.contains("{ day = ")).expect("a day").to_owned();
    assert!(faults(&row, &format!("{row}\n{row}"))[0].contains("each once"));
    assert!(faults("to = \"0000000000000007\"", "to = \"x\"")[0].contains("no number"));
}

#[test]
fn two_exports_without_news_differ_in_their_header_only() {
    let baselines = learned();
    let (one, other) = (baselines.export(now(), &Few).to_toml(), baselines.export(now().plus_s(3_600), &Few).to_toml());
    let differ = one.lines().zip(other.lines()).filter(|(a, b)| a != b).count();
    assert_eq!((differ, one.lines().count()), (2, other.lines().count()), "exported and watched");
}

#[test]
fn an_unknown_key_is_told_with_its_place_and_the_nearest() {
    let told = faults(|text| text.replacen("provisional = true", "provisonal = true", 1));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("b.toml:") && told[0].contains("did you mean `provisional`?"), "{told:?}");
    assert!(faults(|text| format!("vmm = 1\n{text}"))[0].contains("b.toml:1:1: the document: unknown key `vmm`"));
}

#[test]
fn contradictions_are_told_by_line() {
    let twice = faults(|text| {
        let row = text.lines().find(|l| l.contains("port = \"tcp/443\"")).unwrap_or_default().to_owned();
        text.replacen(&row, &format!("{row}\n{row}"), 1)
    });
    assert!(twice[0].contains("tcp/443 is served twice, first in line"), "{twice:?}");
    let reversed = faults(|text| text.replacen("since = \"20", "since = \"21", 1));
    assert!(reversed[0].contains("`since` is later than the export"), "{reversed:?}");
    let never = faults(|text| {
        let at = text.find(", uses = ").unwrap_or_default() + 9;
        let end = at + text[at..].find(',').unwrap_or_default();
        format!("{}0{}", &text[..at], &text[end..])
    });
    assert!(never[0].contains("`uses` is at least 1"), "{never:?}");
    let again = faults(|text| {
        let first = text.find("[[vm]]").unwrap_or_default();
        format!("{text}\n{}", &text[first..])
    });
    assert!(again[0].contains("stands twice, first in line"), "{again:?}");
}

#[test]
fn another_version_another_format_and_no_toml_are_told() {
    assert!(faults(|text| text.replace("version = 2", "version = 3"))[0].contains("use a newer eastwatch"));
    assert!(faults(|text| text.replace("version = 2", "version = 1"))[0].contains("export it again"));
    assert!(faults(|text| text.replace("eastwatch-baseline\"\n", "other\"\n"))[0].contains("no exported baseline"));
    assert!(faults(|text| text.replace("[[vm]]", "[[vm]"))[0].contains("not TOML"));
    assert!(Document::parse("b", "{").unwrap_err()[0].contains("not JSON"));
}

#[test]
fn a_peer_with_a_mistyped_id_and_a_known_name_changes_nothing() {
    let text = document().to_toml();
    let row = text.lines().find(|l| l.contains(&format!("of = \"{}\"", vm(1)))).expect("an edge to web-01").to_owned();
    let edited = row.replace(&vm(1).to_string(), &vm(200).to_string());
    let document = Document::parse("b.toml", &text.replacen(&row, &edited, 1)).expect("it reads well");
    let mut baselines = learned();
    let before = baselines.export(now(), &Few);
    let faults = baselines.import(&document, now(), &Few).unwrap_err();
    assert!(faults[0].line > 1 && faults[0].text.contains("which is meant?"), "{faults:?}");
    assert_eq!(baselines.export(now(), &Few), before);
}

#[test]
fn cut_or_flipped_text_never_panics() {
    let text = document().to_toml();
    for at in (0..text.len()).step_by(7) {
        let _ = Document::parse("b", text.get(..at).unwrap_or_default());
        let mut bytes = text.clone().into_bytes();
        bytes[at] = b'"';
        let _ = Document::parse("b", &String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn ripeness_travels_to_a_probe_that_is_younger() {
    let mut other = Baselines::new(crate::baseline::BaselineConfig::default());
    other.import(&Document::parse("b", &document().to_toml()).expect("good"), now(), &Few).expect("taken");
    assert!(other.judges(vm(1), crate::baseline::Feature::Services, now()));
}
