//! Scenarios of media that another connection announces: a camera that app-01 looks at every hour by RTSP.

use eastwatch::model::Side;
use eastwatch::scenario::{Scenario, Vm, payload};

use super::scenarios::{Parts, learned_with};

/// Every session has ports of its own; the last hour brings one more.
pub fn camera() -> Parts {
    watched(|port| port)
}

/// In the last hour both talk on ports that no session named.
pub fn camera_elsewhere() -> Parts {
    watched(|_| 9_990)
}

/// `used`: the port of the media in the last hour, of the one that was agreed.
fn watched(used: impl Fn(u16) -> u16) -> Parts {
    let camera = Scenario::new(0).vm("camera-01", "52:54:00:00:00:31", "10.0.0.31");
    let there = camera.clone();
    learned_with(
        move |s, o, at| {
            let port = 20_000 + (at.second() / 3_600 % 200) as u16 * 4;
            s.at(at.plus_s(2_400)).arp(&o.app, &camera).wait_s(1);
            look(s, &o.app, &camera, port, port);
        },
        move |s, o| look(s, &o.app, &there, 30_000, used(30_000)),
    )
}

fn look(s: &mut Scenario, viewer: &Vm, camera: &Vm, agreed: u16, used: u16) {
    let transport = format!("RTP/AVP/UDP;unicast;client_port={}-{}", agreed + 2, agreed + 3);
    let mut control = s.tcp(viewer, camera, 554);
    control.handshake();
    let mut ask = |n: u8, method: &str, more: &str, answer: &str| {
        control
            .send(Side::Orig, format!("{method} rtsp://10.0.0.31/1 RTSP/1.0\r\nCSeq: {n}\r\n{more}\r\n"))
            .send(Side::Resp, format!("RTSP/1.0 200 OK\r\nCSeq: {n}\r\nServer: cam/1.0\r\n{answer}\r\n"));
    };
    ask(1, "OPTIONS", "", "Public: SETUP, PLAY, TEARDOWN\r\n");
    let answer = format!("Session: 7\r\nTransport: {transport};server_port={agreed}-{}\r\n", agreed + 1);
    ask(2, "SETUP", &format!("Transport: {transport}\r\n"), &answer);
    ask(3, "PLAY", "Session: 7\r\n", "Session: 7\r\n");
    let begun = control.now();
    control.wait_ms(60_000);
    control.send(Side::Orig, b"TEARDOWN rtsp://10.0.0.31/1 RTSP/1.0\r\nCSeq: 4\r\nSession: 7\r\n\r\n");
    control.send(Side::Resp, b"RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n").close();
    let ended = s.now();
    s.at(begun.plus_s(1));
    let mut media = s.udp_from(viewer, used + 2, camera, used);
    for n in 0..40u16 {
        let mut packet = vec![0x80, 96];
        packet.extend(n.to_be_bytes());
        packet.extend((u32::from(n) * 3_000).to_be_bytes());
        packet.extend([0x12, 0x34, 0x56, 0x78]);
        packet.extend(payload::sealed(700, n as u8));
        // Now and then the viewer keeps the way through a firewall open.
        if n % 10 == 0 {
            media.send(Side::Orig, [0xce, 0xfa, 0xed, 0xfe]);
        }
        media.send(Side::Resp, packet).wait_ms(500);
    }
    s.at(ended);
}
