//! `doctor` on a mirror that shows the traffic badly.

use std::process::Command;

use eastwatch::model::Side;
use eastwatch::scenario::{Scenario, Tunnel, payload, sender};

use super::lab::{Lab, until};

fn doctor(lab: &Lab) -> String {
    lab.ask(&["doctor", "--format", "json"]).stdout
}

#[test]
fn a_mirror_of_one_direction_is_told_and_one_of_both_is_not() {
    let Some(lab) = Lab::new("one-way") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    // What a mirror of `ingress` alone would show.
    let mut probe = lab.watch(&["-i", "span0", "-i", "span1", "--filter", "src host 10.77.0.1 or net 10.77.1.0/24"]);
    b.does("http 8000");
    for _ in 0..4 {
        a.does("get 10.77.0.2 8000");
        a.does("get 10.77.1.2 8000");
    }
    let one_way = "of 4 TCP conversations 4 are seen in one direction only";
    assert!(until(6, || doctor(&lab).contains(one_way)), "{}", doctor(&lab));
    let said = doctor(&lab);
    assert!(said.contains("mirror span0") && said.contains("mirror both directions"), "{said}");
    assert!(!said.contains("mirror span1"), "both directions are seen there: {said}");
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}

#[test]
fn a_kernel_that_answers_on_the_mirror_is_told_with_the_rule_that_stops_it() {
    let Some(lab) = Lab::new("answers") else { return };
    let mut a = lab.agent("a");
    let addressed =
        Command::new("ip").args(["-n", &lab.namespace("m"), "addr", "add", "10.77.0.9/24", "dev", "span0"]).status();
    assert!(addressed.unwrap().success());
    let mut probe = lab.watch(&["-i", "span0", "-i", "span1"]);
    for _ in 0..12 {
        assert!(a.tries("talk 10.77.0.9 9").contains("Refused"), "the kernel did not answer: this proves nothing");
    }
    // Resets at least: the bridge, in the same namespace, may be whom the questions go to.
    let own = "packets are this machine's own (10.77.0.9)";
    assert!(until(6, || doctor(&lab).contains(own)), "{}", doctor(&lab));
    let said = doctor(&lab);
    assert!(said.contains("answered the mirror with 12 resets and ICMP errors (10.77.0.9)"), "{said}");
    // And by ICMP, to who asks a port where nothing listens.
    for _ in 0..3 {
        assert!(a.tries("ask 10.77.0.9 9").contains("Refused"), "the kernel did not answer: this proves nothing");
    }
    let more = "answered the mirror with 15 resets and ICMP errors (10.77.0.9)";
    assert!(until(6, || doctor(&lab).contains(more)), "{}", doctor(&lab));
    assert!(said.contains("iifname \\\"span0\\\" drop") && said.contains("not host 10.77.0.9"), "{said}");
    assert!(!said.contains("mirror span1"), "{said}");
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}

/// Four conversations on VLAN 10 as a mirror shows them that does this to each frame; the second argument says whether
/// the client sent it. A frame a line, for the agent to send.
fn shown(lab: &Lab, change: impl Fn(Vec<u8>, bool) -> Vec<u8>) -> String {
    let mut s = Scenario::new(5);
    let app = s.vm("app-01", "52:54:00:00:00:0c", "10.0.0.12").on_vlan(10);
    let web = s.vm("web-01", "52:54:00:00:00:0b", "10.0.0.11").on_vlan(10);
    for _ in 0..4 {
        s.tcp(&app, &web, 80)
            .handshake()
            .send(Side::Orig, payload::http_get("web-01", "/"))
            .send(Side::Resp, payload::http_ok("nginx/1.24.0", "hello"))
            .close();
    }
    let mut lines = String::new();
    s.mirrored(|_, frame| {
        let frame = change(frame.to_vec(), sender(frame) == Some(app.mac));
        lines.extend(frame.iter().map(|byte| format!("{byte:02x}")).chain(["\n".to_owned()]));
        Vec::new()
    });
    lab.write("frames", &lines)
}

#[test]
fn tags_on_one_side_only_are_told_with_the_mend() {
    let Some(lab) = Lab::new("tags") else { return };
    let mut a = lab.agent("a");
    let mut probe = lab.watch(&["-i", "span0", "-i", "span1"]);
    let untagged = |mut frame: Vec<u8>, by_client: bool| {
        if by_client {
            frame.drain(12..16);
        }
        frame
    };
    // The quiet twin: the other mirror port shows both tags.
    a.does(&format!("replay {} eth1", shown(&lab, |frame, _| frame)));
    a.does(&format!("replay {} eth0", shown(&lab, untagged)));
    let told = "4 conversations have a VLAN tag in one direction and none in the other";
    let both = || doctor(&lab).contains(told) && doctor(&lab).matches("40 packets, 0 dropped").count() == 2;
    assert!(until(6, both), "{}", doctor(&lab));
    let said = doctor(&lab);
    assert!(said.contains("mirror both directions at the same place"), "{said}");
    assert!(said.contains("mirror span0") && !said.contains("mirror span1"), "{said}");
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}

#[test]
fn a_mirror_that_mirrors_its_own_tunnel_is_told_with_the_mend() {
    let Some(lab) = Lab::new("loop") else { return };
    let mut a = lab.agent("a");
    let mut probe = lab.watch(&["-i", "span0"]);
    let mut s = Scenario::new(1);
    let [host, receiver] = [1, 9].map(|n| s.vm("host", &format!("02:00:00:00:01:{n:02x}"), &format!("192.0.2.{n}")));
    let tunnel = Tunnel::Vxlan { vni: 7, port: 4789 };
    let wrapped = |frame: Vec<u8>| tunnel.wrap(&host, &receiver, &frame).unwrap();
    a.does(&format!("replay {} eth0", shown(&lab, |frame, _| wrapped(frame))));
    assert!(until(6, || lab.rows(&["vms"]).len() == 2), "the frames were not seen: {}", probe.log());
    assert!(!doctor(&lab).contains("mirrored again"), "a tunnel is no loop: {}", doctor(&lab));
    a.does(&format!("replay {} eth0", shown(&lab, |frame, _| wrapped(wrapped(frame)))));
    assert!(until(6, || doctor(&lab).contains("lie in the same tunnel twice")), "{}", doctor(&lab));
    assert!(doctor(&lab).contains("leave the port that the tunnel leaves by out of the mirror"), "{}", doctor(&lab));
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}

#[test]
fn a_backup_in_merged_frames_is_told_twice_with_the_command_and_the_filter() {
    let Some(lab) = Lab::new("backup") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    let mut probe = lab.watch(&["-i", "span0", "-i", "span1"]);
    b.does("sink 6000");
    // The quiet twin, on the other mirror port: too little to be worth a word.
    a.does("pour 10.77.1.2 6000 1");
    a.does("pour 10.77.0.2 6000 100");
    let elephant = "of the bytes are between 10.77.0.1 and 10.77.0.2, port 6000";
    assert!(until(8, || doctor(&lab).contains(elephant)), "{}", doctor(&lab));
    let said = doctor(&lab);
    assert!(said.contains("--filter 'not (host 10.77.0.1 and host 10.77.0.2 and port 6000)'"), "{said}");
    assert!(
        said.contains("larger than any MTU: merged") && said.contains("ethtool -K span0 gro off lro off"),
        "{said}"
    );
    assert!(!said.contains("between 10.77.1.1"), "{said}");
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}
