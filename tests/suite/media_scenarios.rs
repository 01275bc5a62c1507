//! Scenarios of media that another connection announces: a camera that app-01 looks at every hour by RTSP, a phone that
//! it calls by H.323.

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

/// Every call has ports of its own, which fast start tells; the last hour brings one more.
pub fn phone() -> Parts {
    called(|port| port)
}

/// In the last hour both talk on ports that no call named.
pub fn phone_elsewhere() -> Parts {
    called(|_| 9_990)
}

fn called(used: impl Fn(u16) -> u16) -> Parts {
    let phone = Scenario::new(0).vm("phone-01", "52:54:00:00:00:32", "10.0.0.32");
    let there = phone.clone();
    learned_with(
        move |s, o, at| {
            let port = 20_000 + (at.second() / 3_600 % 200) as u16 * 4;
            s.at(at.plus_s(2_400)).arp(&o.app, &phone).wait_s(1);
            call(s, &o.app, &phone, port, port);
        },
        move |s, o| call(s, &o.app, &there, 30_000, used(30_000)),
    )
}

/// H.225 with `fastStart`: of each end the addresses of RTP and RTCP, among octets that stand for the rest of it.
fn call(s: &mut Scenario, caller: &Vm, phone: &Vm, told: u16, used: u16) {
    let message = |kind: u8, flag: u8, from: &Vm, port: u16| {
        let ip = match from.ip {
            std::net::IpAddr::V4(v4) => v4.octets(),
            std::net::IpAddr::V6(_) => [0; 4],
        };
        let address = |port: u16| [&[0x80, 0x11, 0x1c][..], &ip, &port.to_be_bytes()].concat();
        let content = [&[0x20, 0x80, 0x06, 0, 8, 0x91, 0x4a, 0][..], &address(port), &address(port + 1)].concat();
        let element = [&[0x7e, 0, content.len() as u8 + 1, 5], &content[..]].concat();
        let length = (9 + element.len()) as u16;
        [&[3, 0][..], &length.to_be_bytes(), &[8, 2, flag | 0x12, 0x34, kind], &element].concat()
    };
    let mut control = s.tcp(caller, phone, 1_720);
    control.handshake();
    control.send(Side::Orig, message(0x05, 0, caller, told + 2)).send(Side::Resp, message(0x07, 0x80, phone, told));
    let begun = control.now();
    control.wait_ms(60_000);
    control.send(Side::Orig, message(0x5a, 0, caller, told + 2)).close();
    let ended = s.now();
    s.at(begun.plus_s(1));
    let mut media = s.udp_from(caller, used + 2, phone, used);
    for n in 0..40u16 {
        let packet =
            [&[0x80, 0][..], &n.to_be_bytes(), &(u32::from(n) * 160).to_be_bytes(), &[7; 4], &[0xff; 160]].concat();
        media.send(Side::Orig, &packet).send(Side::Resp, packet).wait_ms(500);
    }
    s.at(ended);
}
