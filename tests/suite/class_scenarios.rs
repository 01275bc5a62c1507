//! The office with what has no single server: senders to groups, gossip, and hosts that pass traffic on.

use eastwatch::model::{Side, Timestamp};
use eastwatch::scenario::{Scenario, Vm, payload};

use super::scenarios::{Office, Parts, after_learning, learned_with, page};

/// What one of the group protocols does in an hour, beginning at a time.
type Talk = fn(&mut Scenario, &Office, Timestamp);

const ALL: [Talk; 9] = [mdns, ssdp, vrrp, igmp, pim, ws_discovery, rtp_video, dhcp, feed];
const DAYS: i64 = 28;

pub fn quiet(talk: Talk) -> Parts {
    learned_with(talk, move |s, o| talk(s, o, s.now()))
}

/// Four weeks in short: an hour of each day, with all of them.
pub fn quiet_weeks() -> Parts {
    let mut s = Scenario::new(1);
    let office = Office::new(&mut s);
    let start = s.now();
    for day in 0..DAYS {
        let at = start.plus_s(day * 86_400 + 9 * 3_600);
        office.hour(&mut s, at);
        for (n, talk) in ALL.into_iter().enumerate() {
            talk(&mut s, &office, at.plus_s(2_000 + n as i64 * 120));
        }
        gossip(&mut s, &office, at.plus_s(3_400));
    }
    vec![("input", s)]
}

/// web-01 begins to feed a group that nobody of its segment ever sent to.
pub fn new_feed() -> Parts {
    after_learning(|s, o| feed(s, o, s.now()))
}

/// mon-01 joins those that send to a group: the feed's other half.
pub fn second_sender() -> Parts {
    learned_with(feed, |s, o| {
        for n in 0..60 {
            s.wait_ms(500);
            to_group(s, &o.mon, 40_000, &group("239.1.1.1"), 30_001, &payload::sealed(200, n));
        }
    })
}

pub fn mdns(s: &mut Scenario, o: &Office, at: Timestamp) {
    let group = group("224.0.0.251");
    let name = b"\x06web-01\x05local\x00";
    let question = [&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, &[0, 1, 0, 1]].concat();
    let answer =
        [&[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0][..], name, &[0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4, 10, 0, 0, 11]];
    s.at(at);
    to_group(s, &o.app, 5_353, &group, 5_353, &question);
    to_group(s, &o.web, 5_353, &group, 5_353, &answer.concat());
    s.wait_s(5);
    // web-01 asks, too: in a socket that had answered.
    to_group(s, &o.web, 5_353, &group, 5_353, &question);
}

pub fn ssdp(s: &mut Scenario, o: &Office, at: Timestamp) {
    let group = group("239.255.255.250");
    let notify = "NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nNT: upnp:rootdevice\r\nNTS: ssdp:alive\r\n\
                  SERVER: Linux/6 UPnP/1.1 minidlna/1.3\r\nUSN: uuid:1::upnp:rootdevice\r\n\r\n";
    s.at(at);
    let mut talk = s.udp(&o.web, &group, 1_900);
    for _ in 0..12 {
        talk.send(Side::Orig, notify).wait_ms(20);
    }
    let search =
        "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\nST: ssdp:all\r\n\r\n";
    let found = "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:1::upnp:rootdevice\r\nEXT:\r\n\r\n";
    s.wait_s(2);
    asked_and_answered(s, o, &group, 1_900, search.as_bytes(), found.as_bytes());
}

pub fn ws_discovery(s: &mut Scenario, o: &Office, at: Timestamp) {
    let group = group("239.255.255.250");
    let said = |action: &str| {
        format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Header>\
             <a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/{action}</a:Action></s:Header></s:Envelope>"
        )
        .into_bytes()
    };
    s.at(at);
    s.udp(&o.web, &group, 3_702).send(Side::Orig, said("Hello")).wait_ms(50).send(Side::Orig, said("Hello"));
    asked_and_answered(s, o, &group, 3_702, &said("Probe"), &said("ProbeMatches"));
}

/// app-01 asks the group twelve times from one socket, and web-01 answers each time.
fn asked_and_answered(s: &mut Scenario, o: &Office, group: &Vm, port: u16, question: &[u8], answer: &[u8]) {
    for _ in 0..12 {
        to_group(s, &o.app, 51_000, group, port, question);
        s.wait_ms(40);
        s.udp_from(&o.web, port, &o.app, 51_000).send(Side::Orig, answer);
        s.wait_s(1);
    }
}

/// web-01 is the master of a virtual router (RFC 5798): a hello a second.
pub fn vrrp(s: &mut Scenario, o: &Office, at: Timestamp) {
    s.at(at);
    for _ in 0..20 {
        s.ip(&o.web, &group("224.0.0.18"), 112, &[0x31, 7, 100, 1, 0, 100, 0, 0, 10, 0, 0, 254]).wait_s(1);
    }
}

/// dns-01 queries; app-01 and mon-01 report (v2, v3) and mon-01 leaves.
pub fn igmp(s: &mut Scenario, o: &Office, at: Timestamp) {
    s.at(at);
    s.ip(&o.dns, &group("224.0.0.1"), 2, &[0x11, 100, 0, 0, 0, 0, 0, 0]).wait_s(1);
    for vm in [&o.app, &o.mon] {
        joins(s, vm, [239, 9, 9, 9]);
    }
    s.ip(&o.mon, &group("224.0.0.2"), 2, &[0x17, 0, 0, 0, 239, 9, 9, 9]).wait_s(1);
}

/// web-01 routes multicast: a hello each half minute (RFC 7761 section 4.3).
pub fn pim(s: &mut Scenario, o: &Office, at: Timestamp) {
    s.at(at);
    for _ in 0..3 {
        s.ip(&o.web, &group("224.0.0.13"), 103, &[0x20, 0, 0, 0, 0, 1, 0, 2, 0, 105]).wait_s(30);
    }
}

pub fn rtp_video(s: &mut Scenario, o: &Office, at: Timestamp) {
    s.at(at);
    joins(s, &o.app, [239, 2, 2, 2]);
    for n in 0..60u16 {
        let mut packet = vec![0x80, 96];
        packet.extend(n.to_be_bytes());
        packet.extend((u32::from(n) * 3_000).to_be_bytes());
        packet.extend([0x12, 0x34, 0x56, 0x78]);
        packet.extend(payload::sealed(900, n as u8));
        to_group(s, &o.web, 40_002, &group("239.2.2.2"), 5_004, &packet);
        s.wait_ms(33);
    }
}

/// A lease by broadcast: who has no address yet cannot be sent to.
pub fn dhcp(s: &mut Scenario, o: &Office, at: Timestamp) {
    s.at(at).dhcp(&o.app, &o.dns).wait_s(1);
    let offer = payload::dhcp(payload::Dhcp::Offer, 7, &o.mon, &o.dns);
    to_group(s, &o.dns, 67, &group("255.255.255.255"), 68, &offer);
}

/// Market data: a sequence that no parser knows, from another port every day, to two who joined.
pub fn feed(s: &mut Scenario, o: &Office, at: Timestamp) {
    s.at(at);
    for vm in [&o.app, &o.mon] {
        joins(s, vm, [239, 1, 1, 1]);
    }
    let from = 40_000 + (at.second() / 3_600 % 5_000) as u16;
    for n in 0..60 {
        to_group(s, &o.web, from, &group("239.1.1.1"), 30_001, &payload::sealed(200, n));
        s.wait_ms(500);
    }
}

/// Serf's probes on one port, and Cassandra's connections: each of three nodes with each other, both ways.
pub fn gossip(s: &mut Scenario, o: &Office, at: Timestamp) {
    s.at(at);
    let nodes = [&o.web, &o.app, &o.mon];
    for a in nodes {
        for b in nodes.into_iter().filter(|b| b.ip != a.ip) {
            s.udp_from(a, 7_946, b, 7_946).send(Side::Orig, [0xf4; 40]).send(Side::Resp, [0xf5; 20]);
            s.wait_s(70);
            s.tcp(a, b, 7_000)
                .handshake()
                .send(Side::Orig, payload::sealed(90, 4))
                .send(Side::Resp, payload::sealed(60, 5))
                .close();
            s.wait_s(1);
        }
    }
}

// Hosts that pass traffic on

/// nat-01 hides app-01 and mon-01 behind its outer address, and forwards its port 8443 to web-01.
pub fn nat() -> Parts {
    let mut s = Scenario::new(1);
    let o = Office::new(&mut s);
    let inner = s.vm("nat-01", "52:54:00:00:00:20", "10.0.0.1");
    let outer = s.vm("nat-01", "52:54:00:00:01:20", "172.16.0.20").on_vlan(20);
    let shop = s.vm("shop-01", "52:54:00:00:01:05", "172.16.0.5").on_vlan(20);
    let guest = s.vm("guest-01", "52:54:00:00:01:06", "172.16.0.6").on_vlan(20);
    for _ in 0..4 {
        for vm in [&o.web, &o.app, &o.mon] {
            s.arp(vm, &inner).wait_s(1);
        }
        for vm in [&shop, &guest] {
            s.arp(vm, &outer).wait_s(1);
        }
        for client in [&o.app, &o.mon] {
            tls(&mut s, client, &inner.by("172.16.0.5"), 443);
            tls(&mut s, &outer, &shop, 443);
            s.wait_s(60);
        }
        tls(&mut s, &guest, &outer, 8_443);
        tls(&mut s, &inner.by("172.16.0.6"), &o.web, 443);
        s.wait_s(600);
    }
    vec![("input", s)]
}

/// app-01 and mon-01 use proxy-01's port 3128, which fetches of web-01; lb-01 shares out pages to web-01 and web-02.
pub fn proxies() -> Parts {
    let mut s = Scenario::new(1);
    let o = Office::new(&mut s);
    let proxy = s.vm("proxy-01", "52:54:00:00:00:21", "10.0.0.21");
    let balancer = s.vm("lb-01", "52:54:00:00:00:22", "10.0.0.22");
    let second = s.vm("web-02", "52:54:00:00:00:23", "10.0.0.23");
    for n in 0..4 {
        for client in [&o.app, &o.mon] {
            s.arp(client, &proxy).wait_s(1);
            s.tcp(client, &proxy, 3_128)
                .handshake()
                .send(Side::Orig, b"CONNECT web-01:443 HTTP/1.1\r\nHost: web-01:443\r\n\r\n")
                .send(Side::Resp, b"HTTP/1.1 200 Connection established\r\n\r\n")
                .close();
            s.arp(&proxy, &o.web).wait_s(1);
            tls(&mut s, &proxy, &o.web, 443);
            s.arp(client, &balancer).wait_s(1);
            page(&mut s, client, &balancer, "haproxy");
            let backend = if n % 2 == 0 { &o.web } else { &second };
            s.arp(&balancer, backend).wait_s(1);
            page(&mut s, &balancer, backend, "nginx/1.24.0");
            s.wait_s(60);
        }
    }
    vec![("input", s)]
}

fn tls(s: &mut Scenario, client: &Vm, server: &Vm, port: u16) {
    s.tcp(client, server, port)
        .handshake()
        .send(Side::Orig, payload::tls_client_hello("shop.example"))
        .send(Side::Resp, payload::tls_server_hello())
        .send(Side::Orig, payload::tls_finished())
        .send(Side::Resp, payload::tls_data(300))
        .close();
}

fn to_group(s: &mut Scenario, sender: &Vm, from: u16, group: &Vm, port: u16, bytes: &[u8]) {
    s.udp_from(sender, from, group, port).send(Side::Orig, bytes);
}

/// An IGMPv3 report: excludes no source.
fn joins(s: &mut Scenario, vm: &Vm, to: [u8; 4]) {
    let report = [&[0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0][..], &to].concat();
    s.ip(vm, &group("224.0.0.22"), 2, &report).wait_s(1);
}

/// A group (RFC 1112 section 6.4) or everyone, as the destination of frames.
pub fn group(ip: &str) -> Vm {
    let [a, b, c, d] = ip.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let mac = if a == 255 { [255; 6] } else { [1, 0, 0x5e, b & 0x7f, c, d] };
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    Scenario::new(0).vm("", &mac, ip)
}
