//! The scenarios of the cases: a small office that is learned for thirty hours, and what happens in the hour after.
//! Each gives its parts in order of time: one capture each.

use std::net::{IpAddr, Ipv4Addr};

use eastwatch::model::{Side, Timestamp};
use eastwatch::scenario::{Scenario, Vm, payload};

use super::class_scenarios as classes;
use super::day0_scenarios as day0;
use super::{detect_scenarios, media_scenarios, mirror_scenarios, stack_scenarios, transfer_scenarios};

pub type Parts = Vec<(&'static str, Scenario)>;

/// How a scenario is written.
pub type Write = fn() -> Parts;

pub const ALL: &[(&str, Write)] = &[
    ("shell-port", shell_port),
    ("look-alikes", look_alikes),
    ("unknown-vm", unknown_vm),
    ("known-vm-renumbered", known_vm_renumbered),
    ("other-program", other_program),
    ("upgraded-program", upgraded_program),
    ("refusing-service", refusing_service),
    ("restarted-service", restarted_service),
    ("foreign-client", foreign_client),
    ("busy-client", busy_client),
    ("ftp-passive", ftp_passive),
    ("syn-scan", syn_scan),
    ("port-123-both-ways", port_123_both_ways),
    ("telnet-on-the-first-day", telnet_on_the_first_day),
    ("shell-port-comes-back", shell_port_comes_back),
    ("mdns", || classes::quiet(classes::mdns)),
    ("ssdp", || classes::quiet(classes::ssdp)),
    ("vrrp", || classes::quiet(classes::vrrp)),
    ("igmp", || classes::quiet(classes::igmp)),
    ("pim", || classes::quiet(classes::pim)),
    ("ws-discovery", || classes::quiet(classes::ws_discovery)),
    ("rtp-video", || classes::quiet(classes::rtp_video)),
    ("dhcp", || classes::quiet(classes::dhcp)),
    ("feed", || classes::quiet(classes::feed)),
    ("gossip", || classes::quiet(classes::gossip)),
    ("quiet-weeks", classes::quiet_weeks),
    ("new-feed", classes::new_feed),
    ("second-sender", classes::second_sender),
    ("nat", classes::nat),
    ("proxies", classes::proxies),
    ("mirrored-at-both-ends", mirror_scenarios::both_ends),
    ("other-mirror-session", mirror_scenarios::other_session),
    ("tagged-one-way", mirror_scenarios::tagged_one_way),
    ("two-tenants", mirror_scenarios::two_tenants),
    ("moved-to-another-host", mirror_scenarios::moved_to_another_host),
    ("stays-on-its-host", mirror_scenarios::stays_on_its_host),
    ("upload-to-a-stranger", detect_scenarios::upload_to_a_stranger),
    ("uploads-as-every-night", detect_scenarios::uploads_as_every_night),
    ("file-server-as-client", detect_scenarios::file_server_as_client),
    ("replicas", detect_scenarios::replicas),
    ("one-more-of-many", detect_scenarios::one_more_of_many),
    ("shell-once", day0::shell_once),
    ("planted-shell", day0::planted_shell),
    ("first-hour", day0::first_hour),
    ("role-outlier", day0::role_outlier),
    ("role-of-two", day0::role_of_two),
    ("vm-gone", day0::vm_gone),
    ("arrived", day0::arrived),
    ("camera", media_scenarios::camera),
    ("camera-elsewhere", media_scenarios::camera_elsewhere),
    ("moved-to-another-interface", mirror_scenarios::moved_to_another_interface),
    ("stays-at-its-interface", mirror_scenarios::stays_at_its_interface),
    ("phone", media_scenarios::phone),
    ("phone-elsewhere", media_scenarios::phone_elsewhere),
    ("moved-to-another-port", mirror_scenarios::moved_to_another_port),
    ("stays-behind-its-port", mirror_scenarios::stays_behind_its_port),
    ("moved-to-another-session", mirror_scenarios::moved_to_another_session),
    ("stays-in-its-session", mirror_scenarios::stays_in_its_session),
    ("other-system", stack_scenarios::other_system),
    ("systems-as-ever", stack_scenarios::systems_as_ever),
    ("transfers-all-day", transfer_scenarios::transfers_all_day),
];

const LEARN_HOURS: i64 = 30;

/// Four VMs: app-01 fetches pages of web-01, mon-01 reaches it by SSH too, dns-01 names and numbers everyone.
pub struct Office {
    pub web: Vm,
    pub app: Vm,
    pub mon: Vm,
    pub dns: Vm,
}

impl Office {
    pub fn new(s: &mut Scenario) -> Self {
        let mut vm = |name: &str, n: u8| s.vm(name, &format!("52:54:00:00:00:{n:02x}"), &format!("10.0.0.{n}"));
        Office { web: vm("web-01", 11), app: vm("app-01", 12), mon: vm("mon-01", 13), dns: vm("dns-01", 2) }
    }

    /// Leases and an ordinary thirty hours, with `more` in each.
    fn learn(&self, s: &mut Scenario, more: impl Fn(&mut Scenario, Timestamp)) {
        let start = s.now();
        for vm in [&self.web, &self.app, &self.mon] {
            s.dhcp(vm, &self.dns).wait_s(1);
        }
        for hour in 0..LEARN_HOURS {
            let at = start.plus_s(hour * 3_600);
            self.hour(s, at);
            more(s, at);
        }
    }

    pub fn hour(&self, s: &mut Scenario, at: Timestamp) {
        s.at(at.plus_s(30));
        for vm in [&self.web, &self.app, &self.mon] {
            s.arp(vm, &self.dns).wait_s(1).dns(vm, &self.dns, "web-01.dc.example", v4(&self.web)).wait_s(1);
            s.dns(vm, &self.dns, "app-01.dc.example", v4(&self.app)).wait_s(1);
        }
        for quarter in 0..4 {
            s.at(at.plus_s(120 + quarter * 900)).arp(&self.app, &self.web).wait_s(1);
            page(s, &self.app, &self.web, "nginx/1.24.0");
        }
        s.at(at.plus_s(1_800)).arp(&self.mon, &self.web).wait_s(1);
        page(s, &self.mon, &self.web, "nginx/1.24.0");
        s.wait_s(1);
        ssh(s, &self.mon, &self.web, "OpenSSH_9.2p1 Debian-2+deb12u3");
    }
}

/// The office learned, and what follows in the hour after, at its twentieth minute.
pub fn after_learning(then: impl Fn(&mut Scenario, &Office)) -> Parts {
    learned_with(|_, _, _| {}, then)
}

pub fn learned_with(
    each_hour: impl Fn(&mut Scenario, &Office, Timestamp),
    then: impl Fn(&mut Scenario, &Office),
) -> Parts {
    let mut learn = Scenario::new(1);
    let office = Office::new(&mut learn);
    let start = learn.now();
    office.learn(&mut learn, |s, at| each_hour(s, &office, at));
    let mut after = Scenario::new(2);
    let end = start.plus_s(LEARN_HOURS * 3_600);
    office.hour(&mut after, end);
    after.at(end.plus_s(1_200));
    then(&mut after, &office);
    vec![("learn", learn), ("after", after)]
}

// new-service

pub fn shell_port() -> Parts {
    after_learning(|s, o| {
        s.tcp(&o.app, &o.web, 4_444).refused();
        s.wait_s(300);
        shell(s, &o.app, &o.web);
    })
}

/// All that looks like a new service and is none: refusals, silence, a handshake that nobody uses, answers to the
/// ports that clients chose, a client that uses port 4444 itself, a reply that comes from nowhere.
fn look_alikes() -> Parts {
    after_learning(|s, o| {
        for port in [21, 23, 25, 445, 3_306, 3_389, 4_444, 8_080] {
            s.tcp(&o.mon, &o.web, port).refused();
            s.wait_s(1);
        }
        s.tcp(&o.mon, &o.web, 9_999).unanswered();
        s.wait_s(5);
        page_from(s, &o.app, 4_444, &o.web);
        s.wait_s(5);
        // A name server's late answer, twice: the asker serves nothing on the port it asked from.
        let (question, answer) = payload::dns(7, "web-01.dc.example", v4(&o.web));
        s.udp_from(&o.app, 40_000, &o.dns, 53)
            .send(Side::Orig, question)
            .send(Side::Resp, &answer)
            .wait_ms(1_500)
            .send(Side::Resp, &answer);
        s.wait_s(5);
        // Datagrams that nobody answers.
        s.udp(&o.app, &o.web, 514).send(Side::Orig, b"<34>Oct 11 22:14:15 app-01 su: failed");
        for _ in 0..5 {
            s.wait_s(60);
            page(s, &o.app, &o.web, "nginx/1.24.0");
        }
    })
}

/// web-01's shell is closed, forgotten, and opened again an hour later.
fn shell_port_comes_back() -> Parts {
    let mut parts = shell_port();
    let mut later = Scenario::new(3);
    let office = Office::new(&mut later);
    let at = later.now().plus_s((LEARN_HOURS + 2) * 3_600);
    office.hour(&mut later, at);
    later.at(at.plus_s(1_200));
    shell(&mut later, &office.app, &office.web);
    parts.push(("later", later));
    parts
}

/// A page on a port that nobody served before; nothing aggravates it.
pub fn new_page(s: &mut Scenario, office: &Office) {
    s.tcp(&office.app, &office.web, 8_080)
        .handshake()
        .send(Side::Orig, payload::http_get(&office.web.name, "/"))
        .send(Side::Resp, payload::http_ok("nginx/1.24.0", "hello"))
        .close();
}

// new-vm

fn unknown_vm() -> Parts {
    after_learning(|s, o| {
        let stranger = s.vm("db-09", "52:54:00:00:00:99", "10.0.0.99");
        s.arp(&stranger, &o.dns).wait_s(1).dns(&stranger, &o.dns, "web-01.dc.example", v4(&o.web)).wait_s(1);
        s.arp(&o.app, &stranger);
        postgres(s, &o.app, &stranger);
    })
}

/// app-01 gets another lease: a known MAC by another address is the same VM.
fn known_vm_renumbered() -> Parts {
    after_learning(|s, o| {
        let moved = o.app.by("10.0.0.112");
        s.dhcp(&moved, &o.dns).wait_s(1).arp(&moved, &o.web).wait_s(1);
        page(s, &moved, &o.web, "nginx/1.24.0");
        s.wait_s(1).dns(&moved, &o.dns, "web-01.dc.example", v4(&o.web));
    })
}

// service-replaced

fn other_program() -> Parts {
    after_learning(|s, o| {
        ssh_on(s, &o.app, &o.web, 80, "dropbear_2022.83");
    })
}

fn upgraded_program() -> Parts {
    after_learning(|s, o| {
        page(s, &o.app, &o.web, "nginx/1.26.1");
        s.wait_s(60);
        page(s, &o.mon, &o.web, "nginx/1.26.1");
        s.wait_s(60);
        ssh(s, &o.mon, &o.web, "OpenSSH_9.6p1 Debian-4");
    })
}

// service-gone

/// From the twentieth minute on web-01 refuses pages, for three hours.
fn refusing_service() -> Parts {
    after_learning(|s, o| {
        let at = s.now().plus_s(3_600);
        for attempt in 0..12 {
            s.at(at.plus_s(attempt * 900)).arp(&o.app, &o.web).wait_s(1);
            s.tcp(&o.app, &o.web, 80).refused();
        }
    })
}

/// Two refusals while it restarts; then SSH is asked for no more, which says nothing about it.
fn restarted_service() -> Parts {
    after_learning(|s, o| {
        for _ in 0..2 {
            s.tcp(&o.app, &o.web, 80).refused();
            s.wait_s(5);
        }
        let at = s.now();
        for attempt in 0..30 {
            s.at(at.plus_s(attempt * 900)).arp(&o.app, &o.web).wait_s(1);
            page(s, &o.app, &o.web, "nginx/1.24.0");
        }
    })
}

// new-peer

fn foreign_client() -> Parts {
    after_learning(|s, o| {
        ssh(s, &o.app, &o.web, "OpenSSH_9.2p1 Debian-2+deb12u3");
    })
}

/// app-01 asks much more of whom it knows, knocks in vain elsewhere, and pings: no edge of those is new.
fn busy_client() -> Parts {
    after_learning(|s, o| {
        for n in 0..60 {
            page(s, &o.app, &o.web, "nginx/1.24.0");
            s.wait_s(2).dns(&o.app, &o.dns, &format!("host-{n}.dc.example"), v4(&o.web)).wait_s(2);
        }
        s.arp(&o.app, &o.mon).wait_s(1).ping(&o.app, &o.mon).wait_s(1);
        s.tcp(&o.app, &o.mon, 22).refused();
        s.wait_s(1).tcp(&o.app, &o.mon, 8_080).unanswered();
    })
}

// What must not be taken for a service

/// files-01 serves FTP; every transfer has a data port of its own. The last hour brings one more.
fn ftp_passive() -> Parts {
    let files = Scenario::new(0).vm("files-01", "52:54:00:00:00:21", "10.0.0.21");
    let server = files.clone();
    learned_with(
        move |s, o, at| {
            let hour = (at.second() / 3_600) % 200;
            s.at(at.plus_s(2_400)).arp(&o.app, &files).wait_s(1);
            ftp(s, &o.app, &files, 42_000 + hour as u16 * 7);
            s.wait_s(60);
            ftp(s, &o.app, &files, 42_003 + hour as u16 * 7);
        },
        move |s, o| ftp(s, &o.app, &server, 51_515),
    )
}

/// Three passive transfers.
pub fn ftp_by_itself() -> Parts {
    let mut s = Scenario::new(0);
    let o = Office::new(&mut s);
    let files = s.vm("files-01", "52:54:00:00:00:21", "10.0.0.21");
    s.arp(&o.app, &files);
    for port in [50_001, 50_004, 50_007] {
        s.wait_s(60);
        ftp(&mut s, &o.app, &files, port);
    }
    vec![("input", s)]
}

/// mon-01 scans a VM that answers nothing, and one that refuses everything.
fn syn_scan() -> Parts {
    after_learning(|s, o| {
        let dark = s.vm("dark-01", "52:54:00:00:00:66", "10.0.0.12");
        for port in 1..200 {
            s.tcp(&o.mon, &o.web, 10_000 + port).refused();
            s.wait_ms(5);
            s.tcp(&o.mon, &dark, 20_000 + port).unanswered();
            s.wait_ms(5);
        }
    })
}

/// web-01 stands behind a SYN proxy that answers on every port, and serves a page; a day later it serves SSH, too.
pub fn syn_proxy() -> Parts {
    let mut parts = Vec::new();
    for part in ["first", "second"] {
        let mut s = Scenario::new(0);
        let (app, web) =
            (s.vm("app-01", "52:54:00:00:00:0c", "10.0.0.12"), s.vm("web-01", "52:54:00:00:00:0b", "10.0.0.11"));
        s.at(Timestamp::from_parts(1_767_225_600 + 86_400 * parts.len() as u64, 0)).arp(&app, &web);
        match part {
            "first" => {
                for port in 20_000..20_030 {
                    s.wait_ms(5).tcp(&app, &web, port).handshake().close();
                }
                page(&mut s, &app, &web, "nginx/1.24.0");
            }
            _ => ssh(&mut s, &app, &web, "OpenSSH_9.2p1 Debian-2+deb12u3"),
        }
        parts.push((part, s));
    }
    parts
}

/// Both ends of NTP use port 123, both ends of DHCP a port below 1024: only one of them serves.
fn port_123_both_ways() -> Parts {
    let mut s = Scenario::new(1);
    let o = Office::new(&mut s);
    for vm in [&o.web, &o.app, &o.mon] {
        s.dhcp(vm, &o.dns).wait_s(1).arp(vm, &o.dns).wait_s(1);
        for _ in 0..3 {
            s.ntp(vm, &o.dns).wait_s(64);
        }
    }
    vec![("input", s)]
}

fn telnet_on_the_first_day() -> Parts {
    let mut s = Scenario::new(1);
    let o = Office::new(&mut s);
    o.hour(&mut s, Timestamp::from_parts(1_767_225_600, 0));
    s.wait_s(60);
    s.tcp(&o.app, &o.web, 23)
        .handshake()
        .send(Side::Resp, [255, 253, 24, 255, 253, 32, 255, 253, 35, 255, 253, 39])
        .send(Side::Orig, [255, 251, 24, 255, 252, 32, 255, 252, 35, 255, 252, 39])
        .send(Side::Resp, b"\r\nweb-01 login: ")
        .send(Side::Orig, b"root\r\n")
        .send(Side::Resp, b"Password: ")
        .close();
    vec![("input", s)]
}

// Conversations

pub fn page(s: &mut Scenario, client: &Vm, server: &Vm, software: &str) {
    s.tcp(client, server, 80)
        .handshake()
        .send(Side::Orig, payload::http_get(&server.name, "/"))
        .send(Side::Resp, payload::http_ok(software, "hello"))
        .close();
}

fn page_from(s: &mut Scenario, client: &Vm, port: u16, server: &Vm) {
    s.tcp(client, server, 80)
        .from_port(port)
        .handshake()
        .send(Side::Orig, payload::http_get(&server.name, "/"))
        .send(Side::Resp, payload::http_ok("nginx/1.24.0", "hello"))
        .close();
}

fn ssh(s: &mut Scenario, client: &Vm, server: &Vm, software: &str) {
    ssh_on(s, client, server, 22, software);
}

fn ssh_on(s: &mut Scenario, client: &Vm, server: &Vm, port: u16, software: &str) {
    s.tcp(client, server, port)
        .handshake()
        .send(Side::Orig, payload::ssh_banner("OpenSSH_9.2p1"))
        .send(Side::Resp, payload::ssh_banner(software))
        .send(Side::Orig, payload::ssh_kexinit())
        .send(Side::Resp, payload::ssh_kexinit())
        .send(Side::Orig, payload::sealed(300, 1))
        .send(Side::Resp, payload::sealed(400, 2))
        .close();
}

fn postgres(s: &mut Scenario, client: &Vm, server: &Vm) {
    s.tcp(client, server, 5_432)
        .handshake()
        .send(Side::Orig, payload::postgres_startup("shop", "shop"))
        .send(Side::Resp, payload::postgres_ready("15.4"))
        .send(Side::Orig, payload::postgres_query("select 1"))
        .send(Side::Resp, payload::postgres_done("SELECT 1"))
        .close();
}

fn shell(s: &mut Scenario, client: &Vm, server: &Vm) {
    s.tcp(client, server, 4_444)
        .handshake()
        .send(Side::Resp, payload::shell_prompt())
        .wait_ms(2_500)
        .send(Side::Orig, b"id\n")
        .send(Side::Resp, payload::shell_output("uid=0(root) gid=0(root) groups=0(root)"))
        .close();
}

/// A file fetched in passive mode: the server names the port, the client connects to it.
pub fn ftp(s: &mut Scenario, client: &Vm, server: &Vm, data_port: u16) {
    let begun = s.now();
    let [high, low] = data_port.to_be_bytes();
    let named = format!("227 Entering Passive Mode (10,0,0,21,{high},{low}).\r\n");
    let mut control = s.tcp(client, server, 21);
    control.handshake().send(Side::Resp, b"220 (vsFTPd 3.0.3)\r\n");
    for (said, answered) in [
        ("USER backup", "331 Please specify the password."),
        ("PASS secret", "230 Login successful."),
        ("TYPE I", "200 Switching to Binary mode."),
    ] {
        control.send(Side::Orig, format!("{said}\r\n")).send(Side::Resp, format!("{answered}\r\n"));
    }
    control.send(Side::Orig, b"PASV\r\n").send(Side::Resp, named).send(Side::Orig, b"RETR dump.gz\r\n");
    let opened = control.now();
    control
        .wait_ms(10)
        .send(Side::Resp, b"150 Opening BINARY mode data connection for dump.gz (9000 bytes).\r\n")
        .wait_ms(400)
        .send(Side::Resp, b"226 Transfer complete.\r\n")
        .send(Side::Orig, b"QUIT\r\n")
        .send(Side::Resp, b"221 Goodbye.\r\n")
        .close();
    s.at(opened)
        .tcp(client, server, data_port)
        .handshake()
        .wait_ms(20)
        .send(Side::Resp, payload::sealed(9_000, 3))
        .close();
    s.at(begun);
}

pub fn v4(vm: &Vm) -> Ipv4Addr {
    match vm.ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}
