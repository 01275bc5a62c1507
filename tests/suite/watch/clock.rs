//! Time passes without packets, and a recorded run replays to the same bytes.

use super::lab::{Lab, events, read, until};
use crate::suite::harness::eastwatch;

/// Short enough for the test to wait for them.
const CONFIG: &str = "[flow]\ndatagram_s = 2\ndatagram_unanswered_s = 2\nclosed_s = 2\n";

#[test]
fn silence_moves_time_and_the_recording_replays_to_the_same_events() {
    let Some(lab) = Lab::new("clock") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    let (config, eve) = (lab.write("config.toml", CONFIG), lab.path("live.json"));
    let recording = lab.path("recording.pcapng");
    let shared = ["--config", &config, "--mode", "enforce", "--flows"];
    let args = [&["-i", "span0", "-i", "span1", "--eve", &eve, "--record", &recording][..], &shared].concat();
    let mut probe = lab.watch(&args);
    b.does("udp 9999");
    b.does("http 8000");
    a.does("ask 10.77.0.2 9999");
    a.does("get 10.77.0.2 8000");
    a.does("flood 10.77.1.2 6666 3");
    // From here on nobody sends. What waits for time happens all the same.
    let flows = || {
        let all = events(&read(&lab.folder.file("live.json")));
        all.into_iter().filter(|event| event["event_type"] == "flow").map(|event| event["dest_port"].clone()).collect()
    };
    let ended: Vec<serde_json::Value> = vec![9999.into(), 8000.into(), 6666.into()];
    assert!(
        until(12, || {
            let flows: Vec<serde_json::Value> = flows();
            ended.iter().all(|port| flows.contains(port))
        }),
        "flows did not end in silence: {:?}",
        flows()
    );
    assert!(lab.has_service(9999), "a UDP service needs its reply judged without a further packet");
    assert!(!lab.has_service(6666), "nobody answered there");
    // A second talk after the silence, so that steps lie between packets too.
    b.does("tcp 7000");
    a.does("talk 10.77.1.2 7000");
    assert!(until(5, || lab.has_service(7000)));
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());

    let live = events(&read(&lab.folder.file("live.json")));
    for kind in ["alert", "incident", "service", "vm", "flow", "stats"] {
        assert!(live.iter().any(|event| event["event_type"] == kind), "the run had no `{kind}` event");
    }
    for workers in ["1", "2"] {
        let (replayed, state) = (lab.path(&format!("replay{workers}.json")), lab.path(&format!("replay{workers}")));
        let args = ["read", "--fresh", "--state", &state, "--workers", workers, "--eve", &replayed, &recording];
        let ran = eastwatch([&args[..], &shared].concat());
        assert_eq!(ran.status, 0, "{ran:?}");
        let replay = read(&lab.folder.file(&format!("replay{workers}.json")));
        let live = read(&lab.folder.file("live.json"));
        let (live, replay) = (comparable(&live), comparable(&replay));
        for (number, (live, replay)) in live.iter().zip(&replay).enumerate() {
            assert_eq!(live, replay, "line {} differs with {workers} workers", number + 1);
        }
        assert_eq!(live.len(), replay.len());
    }
}

/// Every line byte for byte, but for `stats`: there without what interfaces count, which is no part of the input.
fn comparable(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| match line.contains(r#""event_type":"stats""#) {
        true => line.split(r#""sources":"#).next().unwrap_or_default().to_owned(),
        false => line.to_owned(),
    });
    lines.collect()
}

#[test]
fn a_trickle_that_never_fills_a_parcel_is_analysed_at_once() {
    let Some(lab) = Lab::new("trickle") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    let mut probe = lab.watch(&["-i", "span0"]);
    b.does("tcp 7000");
    // Thirty packets a second for eight seconds: never silent, and half a parcel in all.
    a.does("drip 10.77.0.2 6666 8");
    a.does("talk 10.77.0.2 7000");
    assert!(until(3, || lab.has_service(7000)), "nothing was analysed for three seconds");
    assert_eq!(a.tries("dripping"), "ok", "the trickle had ended: this proves nothing");
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}
