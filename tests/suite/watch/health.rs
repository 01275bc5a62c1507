//! `[health] listen`: what a load balancer is told. The full disk is in `disk`.

use std::process::Command;

use super::lab::{Lab, until};

/// Status line and body, from the probe's own namespace; what went wrong where nothing answered.
pub(super) fn asks(lab: &Lab, request: &str) -> String {
    let script = "import socket, sys\n\
        with socket.create_connection(('127.0.0.1', 8080), timeout=5) as peer:\n\
        \x20   peer.sendall(sys.argv[1].encode())\n\
        \x20   text = b''\n\
        \x20   while part := peer.recv(4096): text += part\n\
        print(text.decode())";
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.namespace("m"), "python3", "-c", script, request]);
    let ran = command.output().unwrap();
    String::from_utf8_lossy(if ran.status.success() { &ran.stdout } else { &ran.stderr }).into_owned()
}

#[test]
fn a_load_balancer_hears_whether_the_probe_sees() {
    let Some(lab) = Lab::new("health") else { return };
    let config = lab.write("config.toml", "[health]\nlisten = \"127.0.0.1:8080\"\n");
    let mut probe = lab.watch(&["-i", "span0", "-i", "span1", "--config", &config]);
    for request in ["GET / HTTP/1.1\r\nHost: probe\r\n\r\n", "GET /healthz HTTP/1.0\r\n\r\n"] {
        let answer = asks(&lab, request);
        assert!(answer.contains(" 200 OK") && answer.contains("{\"status\":\"ok\"}"), "{answer}");
    }
    // A check that only connects, and one that sends nonsense, harm nobody.
    assert_eq!(asks(&lab, "").trim(), "", "the connection is closed after a while");
    assert!(asks(&lab, "\u{1}\u{2}\r\n\r\n").contains("400"));
    // A new port is told to wait for the next start.
    lab.write("config.toml", "[health]\nlisten = \"127.0.0.1:8081\"\n");
    probe.signal("HUP");
    assert!(until(5, || probe.log().contains("[health] changes only at the next start")), "{}", probe.log());

    let deleted = Command::new("ip").args(["-n", &lab.namespace("m"), "link", "del", "span1"]).status().unwrap();
    assert!(deleted.success());
    let ask = || asks(&lab, "GET / HTTP/1.1\r\nHost: probe\r\n\r\n");
    assert!(until(6, || ask().contains(" 503 ")), "{}", ask());
    assert!(ask().contains("{\"status\":\"blind\"}"), "{}", ask());
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}

#[test]
fn nothing_listens_unless_it_is_configured_and_a_taken_port_is_told() {
    let Some(lab) = Lab::new("unhealthy") else { return };
    let mut probe = lab.watch(&["-i", "span0"]);
    assert!(asks(&lab, "GET / HTTP/1.1\r\n\r\n").contains("ConnectionRefused"));
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
    let config = lab.write("config.toml", "[health]\nlisten = \"192.0.2.1:8080\"\n");
    let ran = lab.run(&["watch", "-i", "span0", "--state", &lab.path("other"), "--config", &config]);
    assert!(ran.status == 1 && ran.stderr.contains("[health] listen"), "{ran:?}");
}
