//! docs/deploy/bridge.md: its marked commands make a mirror, and take it away again.

use std::process::Command;

use super::lab::{Lab, Probe, binary, until};

const PAGE: &str = include_str!("../../../docs/deploy/bridge.md");

/// The block of the page that opens with "```sh run NAME".
fn block(name: &str) -> &'static str {
    let opening = format!("```sh run {name}\n");
    let (_, rest) = PAGE.split_once(&opening).unwrap_or_else(|| panic!("the page has no block `{name}`"));
    rest.split_once("\n```").expect("the block has an end").0
}

fn shell(namespace: &str, script: &str) {
    let ran = Command::new("ip")
        .args(["netns", "exec", namespace, "sh", "-ec", script])
        .env("BRIDGE", "br0")
        .env("PROBE", "10.78.0.2")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{script}\n{}", String::from_utf8_lossy(&ran.stderr));
}

/// A lab whose bridge learns, as bridges do, and has no mirror port.
fn plain(name: &str) -> Option<(Lab, String)> {
    let lab = Lab::new(name)?;
    let host = lab.namespace("m");
    shell(&host, "ip link del span0; ip link set br0 type bridge ageing_time 30000 mcast_snooping 1");
    Some((lab, host))
}

#[test]
fn a_flooding_bridge_is_a_mirror_and_a_learning_one_is_not() {
    let Some((lab, host)) = plain("flood") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    shell(&host, block("flood"));
    let mut probe = lab.watch(&["-i", "span0"]);
    b.does("http 8000");
    a.does("get 10.77.0.2 8000");
    assert!(until(5, || lab.has_service(8000)), "the page's commands made no mirror: {}", probe.log());
    // The quiet twin: the bridge learns again, and the port is there still.
    shell(&host, "ip link set br0 type bridge ageing_time 30000");
    a.does("get 10.77.0.2 8000");
    b.does("http 8001");
    a.does("get 10.77.0.2 8001");
    assert!(!until(2, || lab.has_service(8001)), "a learning bridge shows no unicast: this proves nothing");
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
    shell(&host, block("unflood"));
    a.does("get 10.77.0.2 8001");
}

#[test]
fn a_bridge_sends_its_mirror_to_another_machine_by_vxlan() {
    let Some((lab, host)) = plain("vxlan") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    let far = Far::new(&lab, &host);
    shell(&host, block("vxlan"));
    let mut by = Command::new("ip");
    by.args(["netns", "exec", &far.0]).arg(binary());
    let mut probe: Probe = lab.watch_by(&mut by, &["--listen", "vxlan:4789"]);
    b.does("http 8000");
    a.does("get 10.77.0.2 8000");
    assert!(until(5, || lab.has_service(8000)), "nothing came by VXLAN: {}", probe.log());
    let vms = lab.rows(&["vms"]);
    assert!(vms.iter().all(|vm| vm["host_hint"] == "10.78.0.1"), "{vms:?}");
    // After a restart of the host's side, the same commands again.
    shell(&host, block("unvxlan"));
    b.does("http 8001");
    a.does("get 10.77.0.2 8001");
    assert!(!until(2, || lab.has_service(8001)), "the mirror was taken away");
    shell(&host, block("vxlan"));
    a.does("get 10.77.0.2 8001");
    assert!(until(5, || lab.has_service(8001)), "it came not back: {}", probe.log());
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}

/// The probe's machine, 10.78.0.2, behind a link with room for a tunnel.
struct Far(String);

impl Far {
    fn new(lab: &Lab, host: &str) -> Self {
        let far = Far(lab.namespace("f"));
        let name = &far.0;
        let script = format!(
            "ip netns add {name}; ip -n {host} link add under type veth peer name eth0 netns {name}\n\
             ip -n {host} link set under up mtu 1600; ip -n {name} link set eth0 up mtu 1600\n\
             ip -n {host} addr add 10.78.0.1/24 dev under; ip -n {name} addr add 10.78.0.2/24 dev eth0"
        );
        let made = Command::new("sh").args(["-ec", &script]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        far
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}
