//! What differs an hour after a move, and that nothing does where the VM goes on as before.

use super::super::What;
use super::super::scene::End;
use super::moves::{Site, at, everyone};
use crate::model::{AppInfo, FlowEnd, FlowFact, FlowTotals, Mark, Side};

const WEB: End = ("10.0.0.1", 80, 1);

/// A conversation of so many bytes, in which the server's frames ask for this.
fn talks(site: &mut Site, client: End, server: End, bytes: u64, dscp: u8) {
    let flow = site.scene.handshake(client, server);
    let totals = FlowTotals {
        orig_packets: 9,
        resp_packets: 9,
        orig_bytes: 500,
        resp_bytes: bytes,
        last_seen: site.scene.time(),
        resp_mark: Mark { dscp, pcp: 0 },
        ..FlowTotals::default()
    };
    site.scene.tell(&flow, FlowFact::End(FlowEnd::Finished, totals));
}

fn mounts(site: &mut Site, export: &str) {
    let flow = site.scene.handshake(("10.0.0.1", 900, 1), ("10.0.0.4", 2_049, 4));
    let mut app = AppInfo::new("nfs", Some(Side::Resp));
    app.detail("export", export);
    site.scene.tell(&flow, FlowFact::App(Box::new(app)));
}

/// Two hours at work, a move, and the hour after it; what is told of both.
fn moved(before: impl Fn(&mut Site), after: impl Fn(&mut Site)) -> (Vec<(String, String)>, Vec<String>, Vec<String>) {
    let mut site = Site::new(&[1, 1, 2, 2]);
    site.seconds(20, everyone);
    for _ in 0..12 {
        before(&mut site);
        site.seconds(600, everyone);
    }
    site.told();
    site.hosts[1] = 2;
    site.seconds(20, everyone);
    let facts = site.scene.out.iter().find_map(|change| match &change.what {
        What::VmMoved { before, .. } => Some(before.clone()),
        _ => None,
    });
    for _ in 0..6 {
        after(&mut site);
        site.seconds(600, everyone);
    }
    let differs = site.scene.out.iter().find_map(|change| match &change.what {
        What::VmCompared { differs, .. } => Some((differs.lines.clone(), differs.exposed.clone())),
        _ => None,
    });
    let (lines, exposed) = differs.expect("an hour has passed");
    assert_eq!(site.stays(1), [at(1).to_string(), at(2).to_string()]);
    (facts.expect("it moved"), lines, exposed)
}

fn as_ever(site: &mut Site) {
    talks(site, ("10.0.0.2", 40_000, 2), WEB, 2_000_000, 46);
}

#[test]
fn exposure_storage_marks_peers_and_volume_are_told() {
    let (facts, lines, exposed) = moved(
        |site| {
            as_ever(site);
            mounts(site, "/export/home");
        },
        |site| {
            talks(site, ("10.0.0.2", 40_000, 2), WEB, 100_000, 0);
            talks(site, ("203.0.113.9", 40_000, 0), WEB, 1_000, 0);
            mounts(site, "/export/other");
        },
    );
    let fact = |name: &str| facts.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!(fact("storage before"), Some("nfs /export/home of 10.0.0.4"));
    assert_eq!(fact("marks before"), Some("tcp/80 DSCP 46"));
    assert!(fact("peers before").is_some_and(|peers| peers.starts_with("tcp/80 for 10.0.0.2 12.0 MB")), "{facts:?}");
    assert_eq!(exposed, ["external clients reach tcp/80"]);
    for line in [
        "external clients reach tcp/80",
        "new storage: nfs /export/other of 10.0.0.4",
        "marks: tcp/80 DSCP 0, before DSCP 46",
        "new peers: tcp/80 for external clients",
    ] {
        assert!(lines.iter().any(|told| told == line), "{line}: {lines:?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("volume: tcp/80 for 10.0.0.2 0.6 MB")), "{lines:?}");
}

#[test]
fn nothing_differs_where_it_goes_on_as_before() {
    let ordinary = |site: &mut Site| {
        as_ever(site);
        mounts(site, "/export/home");
    };
    let (_, lines, exposed) = moved(ordinary, ordinary);
    assert_eq!((lines, exposed), (vec![], vec![]));
}
