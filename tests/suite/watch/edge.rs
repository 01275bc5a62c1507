//! The control socket at its bounds, and a probe that is killed.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use super::lab::{Lab, until};

#[test]
fn the_control_socket_holds_its_bounds_and_a_killed_probe_loses_nothing() {
    let Some(lab) = Lab::new("edge") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    let socket = lab.state().join("control.sock");
    // A socket that a killed probe left, in a folder that a careless hand made.
    std::fs::create_dir(lab.state()).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    let mut probe = lab.watch(&["-i", "span0", "--mode", "learn"]);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    b.does("tcp 7000");
    a.does("talk 10.77.0.2 7000");
    assert!(until(5, || lab.has_service(7000)), "{}", probe.log());

    let body = |bytes: usize| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
        let head =
            format!("POST /v1/sanctions HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // It may hang up before all of it is sent.
        let _ = stream.write_all(&vec![b' '; bytes]);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    assert!(body((1 << 20) + 1).contains("413"), "{}", body((1 << 20) + 1));
    assert!(body(1 << 20).contains("400"), "a body of just 1 MiB is read, and is no JSON: {}", body(1 << 20));

    // Eight that say nothing are hung up on after five seconds; a ninth is then served.
    let silent: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let began = Instant::now();
    assert!(lab.has_service(7000));
    assert!((1..9).contains(&began.elapsed().as_secs()), "the ninth waited {:?}", began.elapsed());
    drop(silent);
    // Eight at once are nothing special.
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| lab.rows(&["vms"]).len())).collect();
        assert!(asked.into_iter().all(|answer| answer.join().unwrap() == 2));
    });

    // The answer to a query comes before its save; a moment later all of it is on disk.
    let before = (lab.rows(&["vms"]), lab.rows(&["services"]));
    std::thread::sleep(Duration::from_millis(500));
    probe.ends_by("KILL");
    assert!(socket.exists(), "the kill left nothing to replace");
    let doctor = lab.ask(&["doctor", "--format", "json"]);
    assert!(doctor.stdout.contains("is sound"), "{doctor:?}");
    let column = |rows: &[serde_json::Value]| rows.iter().map(|row| row["vm"].clone()).collect::<Vec<_>>();
    assert_eq!(column(&lab.rows(&["vms"])), column(&before.0));
    assert_eq!(column(&lab.rows(&["services"])), column(&before.1));

    let mut probe = lab.watch(&["-i", "span0", "--mode", "enforce"]);
    a.does("talk 10.77.0.2 7000");
    b.does("tcp 7001");
    a.does("talk 10.77.0.2 7001");
    assert!(until(5, || !lab.rows(&["incidents"]).is_empty()), "the baseline did not survive: {}", probe.log());
    let incidents = lab.rows(&["incidents"]);
    assert!(incidents.len() == 1 && incidents[0]["service"]["port"] == 7001, "{incidents:?}");
    assert_eq!(probe.ends_by("TERM").code(), Some(0));
}
