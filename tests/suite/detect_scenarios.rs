//! The office with what servers and clients do to each other: much sent at once, servers that turn clients.

use eastwatch::model::{Side, Timestamp};
use eastwatch::scenario::{Scenario, Vm, payload};

use super::scenarios::{Office, Parts, learned_with, page, v4};

/// app-01 sends six megabytes to an address outside that it never spoke to; the hour after is an ordinary one.
pub fn upload_to_a_stranger() -> Parts {
    learned_with(
        |_, _, _| (),
        |s, o| {
            let at = s.now();
            let outside = s.vm("outside", "52:54:00:00:00:fe", "203.0.113.9");
            upload(s, &o.app, &outside);
            upload(s, &o.app, &outside);
            o.hour(s, at.plus_s(3_600));
        },
    )
}

/// It sends three to web-01 every night; on the second day it does so in the morning.
pub fn uploads_as_every_night() -> Parts {
    learned_with(
        |s, o, at| {
            if at.second().rem_euclid(86_400) == 2 * 3_600 {
                s.at(at.plus_s(2_000));
                upload(s, &o.app, &o.web);
            }
        },
        |s, o| {
            let at = s.now();
            upload(s, &o.app, &o.web);
            upload(s, &o.app, &o.web);
            o.hour(s, at.plus_s(3_600));
        },
    )
}

/// files-01 and files-02 serve app-01 and never each other, until files-01 opens SMB on files-02.
pub fn file_server_as_client() -> Parts {
    learned_with(
        |s, o, at| shares(s, o, at, false),
        |s, _| {
            let [one, other] = files();
            s.arp(&one, &other).wait_s(1);
            smb(s, &one, &other);
        },
    )
}

/// The same two, that copy from each other every hour.
pub fn replicas() -> Parts {
    learned_with(
        |s, o, at| shares(s, o, at, true),
        |s, o| {
            let [one, other] = files();
            smb(s, &one, &other);
            s.wait_s(1).arp(&one, &o.mon).wait_s(1);
            s.tcp(&one, &o.mon, 445).refused();
        },
    )
}

/// Nine clients fetch pages of web-01; the tenth is long known, and does so for the first time.
pub fn one_more_of_many() -> Parts {
    let client = |n: u8| {
        Scenario::new(0).vm(&format!("desk-{n:02}"), &format!("52:54:00:00:01:{n:02x}"), &format!("10.0.0.{}", 50 + n))
    };
    learned_with(
        move |s, o, at| {
            s.at(at.plus_s(2_400));
            for n in 0..10 {
                let desk = client(n);
                s.arp(&desk, &o.dns).wait_s(1);
                for name in ["web-01.dc.example", "app-01.dc.example"] {
                    s.dns(&desk, &o.dns, name, v4(&o.web)).wait_s(1);
                }
                if n > 0 {
                    s.arp(&desk, &o.web).wait_s(1);
                    page(s, &desk, &o.web, "nginx/1.24.0");
                }
            }
        },
        move |s, o| {
            let desk = client(0);
            s.arp(&desk, &o.web).wait_s(1);
            page(s, &desk, &o.web, "nginx/1.24.0");
        },
    )
}

fn files() -> [Vm; 2] {
    let vm = |n: u8| {
        Scenario::new(0).vm(
            &format!("files-{n:02}"),
            &format!("52:54:00:00:00:{:02x}", 32 + n),
            &format!("10.0.0.{}", 20 + n),
        )
    };
    [vm(1), vm(2)]
}

fn shares(s: &mut Scenario, o: &Office, at: Timestamp, copies: bool) {
    let [one, other] = files();
    s.at(at.plus_s(2_400));
    for server in [&one, &other] {
        s.arp(server, &o.dns).wait_s(1).dns(server, &o.dns, "app-01.dc.example", v4(&o.app)).wait_s(1);
        s.arp(&o.app, server).wait_s(1);
        smb(s, &o.app, server);
        s.wait_s(1);
    }
    if copies {
        smb(s, &one, &other);
        s.wait_s(1);
        smb(s, &other, &one);
    }
}

fn smb(s: &mut Scenario, client: &Vm, server: &Vm) {
    s.tcp(client, server, 445)
        .handshake()
        .send(Side::Orig, payload::smb_negotiate())
        .send(Side::Resp, payload::smb_negotiated())
        .close();
}

/// Three megabytes, in frames as offload leaves them.
fn upload(s: &mut Scenario, client: &Vm, server: &Vm) {
    let mut talk = s.tcp(client, server, 80);
    talk.handshake().send(Side::Orig, b"PUT /copy HTTP/1.1\r\nHost: web-01\r\nContent-Length: 3000000\r\n\r\n");
    let piece = payload::sealed(60_000, 9);
    for _ in 0..50 {
        talk.whole(Side::Orig, &piece);
    }
    talk.send(Side::Resp, payload::http_ok("nginx/1.24.0", "kept")).close();
}
