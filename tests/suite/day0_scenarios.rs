//! What is told before anything is ripe, what was planted before the probe came, and VMs that arrive or go.

use eastwatch::model::{Side, Timestamp};
use eastwatch::scenario::{Scenario, Vm, payload};

use super::scenarios::{Office, Parts, after_learning, page};

const START_S: u64 = 1_767_225_600;

fn bind_shell(s: &mut Scenario, client: &Vm, server: &Vm) {
    s.tcp(client, server, 4_444)
        .handshake()
        .send(Side::Resp, payload::shell_prompt())
        .wait_ms(19_000)
        .send(Side::Orig, b"id\n")
        .send(Side::Resp, payload::shell_output("uid=0(root) gid=0(root) groups=0(root)"))
        .close();
}

/// A shell used once, for twenty seconds, by one client, on a VM that is ripe.
pub fn shell_once() -> Parts {
    after_learning(|s, o| bind_shell(s, &o.app, &o.web))
}

/// A shell that was there before the probe: its first use is in the first hour.
pub fn planted_shell() -> Parts {
    let mut s = Scenario::new(1);
    let o = Office::new(&mut s);
    let start = Timestamp::from_parts(START_S, 0);
    s.at(start.plus_s(5));
    bind_shell(&mut s, &o.app, &o.web);
    o.hour(&mut s, start.plus_s(60));
    vec![("input", s)]
}

/// An ordinary first hour: pages, SSH, names, leases.
pub fn first_hour() -> Parts {
    let mut s = Scenario::new(1);
    let o = Office::new(&mut s);
    o.hour(&mut s, Timestamp::from_parts(START_S, 0));
    vec![("input", s)]
}

fn farm(odd: usize) -> Parts {
    let mut s = Scenario::new(1);
    let o = Office::new(&mut s);
    let webs: Vec<Vm> = (1..=6)
        .map(|n| s.vm(&format!("web-{n:02}"), &format!("52:54:00:00:01:{n:02x}"), &format!("10.0.1.{n}")))
        .collect();
    let start = Timestamp::from_parts(START_S, 0);
    for web in &webs {
        s.dhcp(web, &o.dns).wait_s(1);
    }
    for half_hour in 0..72 {
        s.at(start.plus_s(60 + half_hour * 1_800));
        for (n, web) in webs.iter().enumerate() {
            s.arp(&o.app, web).wait_s(1);
            page(&mut s, &o.app, web, "nginx/1.24.0");
            for port in [8_080, 9_100] {
                s.wait_s(1);
                page_on(&mut s, &o.app, web, port);
            }
            if n < odd {
                s.wait_s(1);
                page_on(&mut s, &o.mon, web, 8_081);
            }
            s.wait_s(1);
        }
    }
    vec![("input", s)]
}

fn page_on(s: &mut Scenario, client: &Vm, server: &Vm, port: u16) {
    s.tcp(client, server, port)
        .handshake()
        .send(Side::Orig, payload::http_get(&server.name, "/"))
        .send(Side::Resp, payload::http_ok("nginx/1.24.0", "hello"))
        .close();
}

/// One of six serves from the beginning what the others do not.
pub fn role_outlier() -> Parts {
    farm(1)
}

/// Two of six do.
pub fn role_of_two() -> Parts {
    farm(2)
}

/// A VM that answers nobody any more, on any port.
pub fn vm_gone() -> Parts {
    after_learning(|s, o| {
        let start = s.now();
        for quarter in 0..60 {
            s.at(start.plus_s(2_700 + quarter * 900));
            s.tcp(&o.app, &o.web, 80).unanswered();
            s.wait_s(10);
            s.tcp(&o.mon, &o.web, 22).unanswered();
            s.wait_s(10).dns(&o.app, &o.dns, "web-01.dc.example", [10, 0, 0, 11].into());
        }
    })
}

/// One that comes with its connections under way, from a host that is not mirrored.
pub fn arrived() -> Parts {
    after_learning(|s, o| {
        let come = s.vm("db-09", "52:54:00:00:00:2a", "10.0.0.42");
        s.arp(&come, &o.web);
        for port in [80, 80] {
            s.tcp(&come, &o.web, port)
                .send(Side::Orig, payload::http_get("web-01", "/"))
                .send(Side::Resp, payload::http_ok("nginx/1.24.0", "hello"));
        }
        s.wait_s(60);
        page_on(s, &o.app, &come, 8_080);
        s.wait_s(60).dns(&o.app, &o.dns, "web-01.dc.example", [10, 0, 0, 11].into());
    })
}
