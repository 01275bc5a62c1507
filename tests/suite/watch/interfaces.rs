//! What `watch` says of interfaces: no permission, no such name, a filter, one that goes away.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use super::lab::{Lab, binary, events, read, until};
use crate::suite::harness::ran;

const NOBODY: u32 = 65_534;

#[test]
fn faults_of_the_command_line_name_the_mend() {
    let Some(lab) = Lab::new("faults") else { return };
    let state = lab.path("state");
    let missing = lab.run(&["watch", "-i", "span9", "--state", &state]);
    assert_eq!(missing.status, 1);
    assert!(
        missing.stderr.contains("span9: no such interface") && missing.stderr.contains("did you mean `span"),
        "{missing:?}"
    );
    let filter = lab.run(&["watch", "-i", "span0", "--filter", "prot 80", "--state", &state]);
    assert!(filter.status == 1 && filter.stderr.contains("--filter `prot 80`"), "{filter:?}");
    let down = Command::new("ip").args(["-n", &lab.namespace("m"), "link", "set", "span1", "down"]).status().unwrap();
    assert!(down.success());
    let down = lab.run(&["watch", "-i", "span1", "--state", &state]);
    assert!(down.status == 1 && down.stderr.contains("ip link set span1 up"), "{down:?}");
    assert!(!lab.state().exists(), "a state was made although nothing could be watched");
}

#[test]
fn the_one_capability_is_named_and_is_enough() {
    let Some(lab) = Lab::new("capability") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    // Where nobody may go: the folder of the build may be closed to others.
    let program = lab.folder.file("eastwatch");
    std::fs::copy(binary(), &program).unwrap();
    for path in [lab.folder.path(), &program] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::create_dir(lab.state()).unwrap();
    std::fs::set_permissions(lab.state(), Permissions::from_mode(0o700)).unwrap();
    chown(lab.state(), Some(NOBODY), Some(NOBODY)).unwrap();
    let nobody = || {
        let mut by = Command::new("ip");
        by.args(["netns", "exec", &lab.namespace("m"), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        by.arg(&program);
        by
    };
    let refused = ran(nobody().args(["watch", "-i", "span0", "--state", &lab.path("state")]).output().unwrap());
    assert_eq!(refused.status, 1, "{refused:?}");
    let mend = format!("sudo setcap cap_net_raw+ep {}", program.display());
    assert!(refused.stderr.contains("CAP_NET_RAW") && refused.stderr.contains(&mend), "{refused:?}");

    assert!(Command::new("setcap").arg("cap_net_raw+ep").arg(&program).status().unwrap().success());
    let mut probe = lab.watch_by(&mut nobody(), &["-i", "span0", "--filter", "port 8000"]);
    // The filter lets 8000 through and nothing else.
    b.does("tcp 7000");
    b.does("http 8000");
    a.does("talk 10.77.0.2 7000");
    a.does("get 10.77.0.2 8000");
    assert!(until(5, || lab.has_service(8000)), "nothing was captured: {}", probe.log());
    assert!(!lab.has_service(7000), "the filter let it through");
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}

#[test]
fn an_interface_that_goes_away_is_told_and_the_others_go_on() {
    let Some(lab) = Lab::new("gone") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    let eve = lab.path("eve.json");
    let mut probe = lab.watch(&["-i", "span0", "-i", "span1", "--eve", &eve]);
    let delete = |span| Command::new("ip").args(["-n", &lab.namespace("m"), "link", "del", span]).status().unwrap();
    b.does("tcp 7000");
    a.does("talk 10.77.0.2 7000");
    assert!(until(5, || lab.has_service(7000)), "{}", probe.log());
    assert!(delete("span1").success());
    let blind = || {
        let all = events(&read(&lab.folder.file("eve.json")));
        all.into_iter().find(|event| event["eastwatch"]["detector"] == "blind")
    };
    assert!(until(6, || blind().is_some()), "nobody was told: {}", probe.log());
    let alert = blind().unwrap();
    assert_eq!(
        (alert["alert"]["signature_id"].as_u64(), alert["eastwatch"]["cause"].as_str()),
        (Some(19), Some("source"))
    );
    assert!(probe.log().contains("span1 is gone"), "{}", probe.log());
    let doctor = lab.ask(&["doctor", "--format", "json"]);
    assert!(doctor.status == 1 && doctor.stdout.contains("it went away"), "{doctor:?}");
    // The other goes on.
    b.does("tcp 7001");
    a.does("talk 10.77.0.2 7001");
    assert!(until(5, || lab.has_service(7001)), "{}", probe.log());
    // With the last one it ends, as a failure: the service manager shall try again.
    assert!(delete("span0").success());
    let ended = probe.ends().unwrap_or_else(|| panic!("it goes on without an interface: {}", probe.log()));
    assert_eq!(ended.code(), Some(1), "{}", probe.log());
    let last = probe.log().lines().last().unwrap_or_default().to_owned();
    assert!(last.contains("span0: the interface went away; bring it back"), "{}", probe.log());
    assert!(lab.has_service(7001), "what was seen is kept");
}

#[test]
fn what_the_kernel_drops_is_told_by_doctor_and_stats() {
    let Some(lab) = Lab::new("drops") else { return };
    let mut a = lab.agent("a");
    let (config, eve) = (lab.write("config.toml", "[capture]\nbuffer_mib = 1\n"), lab.path("eve.json"));
    let mut probe = lab.watch(&["-i", "span0", "--config", &config, "--eve", &eve]);
    let source = || lab.ask(&["doctor", "--format", "json"]).stdout;
    // The quiet twin: few packets, all seen.
    a.does("flood 10.77.0.2 6666 50");
    let all_seen = || source().contains("packets, 0 dropped by the kernel, 0 by the interface");
    assert!(until(5, all_seen), "{}", source());
    // A probe that does not come round to reading, and a ring that holds about a thousand frames.
    probe.signal("STOP");
    a.does("flood 10.77.0.2 6666 30000");
    probe.signal("CONT");
    let attention = || source().contains("raise [capture] buffer_mib");
    assert!(until(6, attention), "{}", source());
    let dropped = || {
        let all = events(&read(&lab.folder.file("eve.json")));
        let of = |event: &serde_json::Value| event["eastwatch"]["sources"][0]["kernel_drops"].as_u64().unwrap_or(0);
        all.iter().filter(|event| event["event_type"] == "stats").map(of).max().unwrap_or(0)
    };
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
    assert!(dropped() > 100, "{}", dropped());
}
