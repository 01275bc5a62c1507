//! A small data centre, written for the demo: `cargo run --example datacentre OUT_DIR` writes
//! `learn.pcap` (thirty hours of ordinary traffic between ten VMs), `incident.pcap` (the hour after, in which
//! web-02 opens a shell on tcp/4444 and web-01 talks to it) and `inventory.toml`.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use eastwatch::model::{Side, Timestamp};
use eastwatch::scenario::{Scenario, Vm, payload};

const LEARN_HOURS: i64 = 30;
const DOMAIN: &str = "dc.example";

/// VLAN 10 faces the users, VLAN 20 the data; app-01 and app-02 have a foot in each.
struct DataCentre {
    web: [Vm; 2],
    app: [Vm; 2],
    app_inside: [Vm; 2],
    db: Vm,
    cache: Vm,
    backup: Vm,
    dns: Vm,
    ntp: Vm,
    monitor: Vm,
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: datacentre OUT_DIR");
        return ExitCode::from(2);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}; give a folder that can be written", folder.display());
            ExitCode::FAILURE
        }
    }
}

pub fn write(folder: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut learn = Scenario::new(20_260_101);
    let dc = DataCentre::new(&mut learn);
    let start = learn.now();
    dc.boot(&mut learn);
    for hour in 0..LEARN_HOURS {
        dc.hour(&mut learn, start.plus_s(hour * 3_600), hour);
    }
    // An hour before the end web-01 looks whether web-02 listens on 4444: it does not yet.
    let [web_01, web_02] = &dc.web;
    learn.at(start.plus_s((LEARN_HOURS - 1) * 3_600 + 1_800)).arp(web_01, web_02);
    learn.tcp(web_01, web_02, 4_444).refused();
    learn.write_pcap(folder.join("learn.pcap"))?;

    let mut incident = Scenario::new(20_260_102);
    let after = start.plus_s(LEARN_HOURS * 3_600);
    dc.hour(&mut incident, after, LEARN_HOURS);
    dc.shell(&mut incident, after.plus_s(1_500));
    incident.write_pcap(folder.join("incident.pcap"))?;
    std::fs::write(folder.join("inventory.toml"), dc.inventory())
}

impl DataCentre {
    fn new(s: &mut Scenario) -> Self {
        let mut outside =
            |name: &str, n: u8| s.vm(name, &format!("52:54:00:10:00:{n:02x}"), &format!("10.10.0.{n}")).on_vlan(10);
        let web = [outside("web-01", 11), outside("web-02", 12)];
        let app = [outside("app-01", 21), outside("app-02", 22)];
        let (dns, ntp, monitor) = (outside("dns-01", 2), outside("ntp-01", 3), outside("mon-01", 5));
        let mut inside =
            |name: &str, n: u8| s.vm(name, &format!("52:54:00:20:00:{n:02x}"), &format!("10.20.0.{n}")).on_vlan(20);
        let app_inside = [inside("app-01", 21), inside("app-02", 22)];
        let (db, cache, backup) = (inside("db-01", 31), inside("cache-01", 32), inside("backup-01", 41));
        DataCentre { web, app, app_inside, db, cache, backup, dns, ntp, monitor }
    }

    fn outside(&self) -> impl Iterator<Item = &Vm> {
        self.web.iter().chain(&self.app).chain([&self.dns, &self.ntp, &self.monitor])
    }

    /// Addresses by DHCP; dns-01 serves that too.
    fn boot(&self, s: &mut Scenario) {
        for vm in self.outside().filter(|vm| **vm != self.dns) {
            s.dhcp(vm, &self.dns).wait_s(1);
        }
    }

    /// An ordinary hour. By day there is three times as much of it.
    fn hour(&self, s: &mut Scenario, start: Timestamp, hour: i64) {
        let busy = if (8..20).contains(&(hour % 24)) { 3 } else { 1 };
        self.housekeeping(s, start);
        for _ in 0..20 * busy {
            self.page(s, start);
        }
        for minute in (0..60).step_by(5) {
            self.poll(s, start.plus_s(minute * 60 + 7));
        }
        for minute in [10, 40] {
            self.deploy(s, start.plus_s(minute * 60));
        }
        if hour % 6 == 2 {
            self.back_up(s, start.plus_s(900));
        }
    }

    /// ARP, time and names, by everyone.
    fn housekeeping(&self, s: &mut Scenario, start: Timestamp) {
        for (at, vm) in self.outside().enumerate() {
            s.at(start.plus_s(30 + at as i64 * 11));
            if *vm != self.dns {
                s.arp(vm, &self.dns).wait_s(1).dns(vm, &self.dns, &format!("ntp-01.{DOMAIN}"), v4(&self.ntp));
            }
            if *vm != self.ntp {
                s.arp(vm, &self.ntp).wait_s(1).ntp(vm, &self.ntp);
            }
        }
        for vm in &self.app_inside {
            s.arp(vm, &self.db).wait_s(1).arp(vm, &self.cache).wait_s(1);
        }
        s.arp(&self.backup, &self.db);
    }

    /// The front asks a web server, which asks an application server, which asks cache and database.
    fn page(&self, s: &mut Scenario, start: Timestamp) {
        let at = start.plus_s(s.random(3_590) as i64);
        let (front, back) = (s.random(2) as usize, s.random(2) as usize);
        let ([Some(web)], [Some(app)], [Some(app_inside)]) =
            ([self.web.get(front)], [self.app.get(back)], [self.app_inside.get(back)])
        else {
            return;
        };
        let item = format!("item:{}", s.random(500));
        s.at(at).dns(web, &self.dns, &format!("{}.{DOMAIN}", app.name), v4(app));
        s.wait_s(1)
            .tcp(web, app, 8_080)
            .handshake()
            .send(Side::Orig, payload::http_get(&app.name, &format!("/api/{item}")))
            .wait_ms(12)
            .send(Side::Resp, payload::http_ok("gunicorn/20.1.0", "{\"ok\": true}"))
            .close();
        s.tcp(app_inside, &self.cache, 6_379)
            .wait_ms(2)
            .handshake()
            .send(Side::Orig, payload::redis_command(&["GET", &item]))
            .send(Side::Resp, payload::redis_bulk("cached"))
            .close();
        s.tcp(app_inside, &self.db, 5_432)
            .wait_ms(5)
            .handshake()
            .send(Side::Orig, payload::postgres_startup("shop", "shop"))
            .send(Side::Resp, payload::postgres_ready("15.4"))
            .send(Side::Orig, payload::postgres_query("select name, price from item where id = 7"))
            .wait_ms(1)
            .send(Side::Resp, payload::postgres_done("SELECT 1"))
            .close();
    }

    /// Monitoring: ping everyone outside, and fetch a page of each web server by HTTP and HTTPS.
    fn poll(&self, s: &mut Scenario, at: Timestamp) {
        s.at(at);
        for vm in self.outside().filter(|vm| **vm != self.monitor) {
            s.ping(&self.monitor, vm).wait_s(1);
        }
        for web in &self.web {
            s.arp(&self.monitor, web).wait_s(1);
            s.tcp(&self.monitor, web, 80)
                .handshake()
                .send(Side::Orig, payload::http_get(&web.name, "/health"))
                .send(Side::Resp, payload::http_ok("nginx/1.24.0", "up"))
                .close();
            s.wait_s(1)
                .tcp(&self.monitor, web, 443)
                .handshake()
                .send(Side::Orig, payload::tls_client_hello(&format!("{}.{DOMAIN}", web.name)))
                .send(Side::Resp, payload::tls_server_hello())
                .send(Side::Orig, payload::tls_finished())
                .send(Side::Resp, payload::tls_finished())
                .send(Side::Orig, payload::tls_data(120))
                .send(Side::Resp, payload::tls_data(900))
                .close();
            s.wait_s(1);
        }
    }

    /// app-01 reaches the web servers by SSH.
    fn deploy(&self, s: &mut Scenario, at: Timestamp) {
        let [from, _] = &self.app;
        for web in &self.web {
            s.at(at).arp(from, web).wait_s(1);
            ssh(s, from, web, 400);
        }
    }

    /// backup-01 fetches the database's dump by SSH.
    fn back_up(&self, s: &mut Scenario, at: Timestamp) {
        s.at(at);
        ssh(s, &self.backup, &self.db, 120_000);
    }

    /// What the demo is about: a shell on a port that was closed an hour ago.
    fn shell(&self, s: &mut Scenario, at: Timestamp) {
        let [client, server] = &self.web;
        s.at(at).arp(client, server).wait_s(1);
        s.tcp(client, server, 4_444)
            .handshake()
            .wait_ms(40)
            .send(Side::Resp, payload::shell_prompt())
            .wait_ms(2_500)
            .send(Side::Orig, b"id\n")
            .send(Side::Resp, payload::shell_output("uid=0(root) gid=0(root) groups=0(root)"))
            .wait_ms(4_000)
            .send(Side::Orig, b"cat /etc/hosts\n")
            .send(Side::Resp, payload::shell_output("127.0.0.1 localhost\n10.10.0.21 app-01\n10.10.0.22 app-02"))
            .wait_ms(6_000)
            .send(Side::Orig, b"exit\n")
            .close();
    }

    fn inventory(&self) -> String {
        let mut out = String::from("# The VMs of the demo; written by examples/datacentre.rs.\n");
        let mut vm = |nics: &[&Vm], tag: &str, sanctioned: &[&str]| {
            let quoted = |items: Vec<String>| format!("[{}]", items.join(", "));
            let name = nics.first().map_or("", |nic| nic.name.as_str());
            let macs = quoted(nics.iter().map(|nic| format!("\"{}\"", nic.mac)).collect());
            let ips = quoted(nics.iter().map(|nic| format!("\"{}\"", nic.ip)).collect());
            let sanctioned = quoted(sanctioned.iter().map(|s| format!("\"{s}\"")).collect());
            let _ = write!(
                out,
                "\n[[vm]]\nname = \"{name}\"\nmacs = {macs}\nips = {ips}\ntags = [\"{tag}\"]\nsanctioned = {sanctioned}\n"
            );
        };
        for web in &self.web {
            vm(&[web], "web", &["tcp/80", "tcp/443", "tcp/22"]);
        }
        for (app, inside) in self.app.iter().zip(&self.app_inside) {
            vm(&[app, inside], "app", &["tcp/8080"]);
        }
        vm(&[&self.db], "db", &["tcp/5432", "tcp/22"]);
        vm(&[&self.cache], "cache", &["tcp/6379"]);
        vm(&[&self.backup], "backup", &[]);
        vm(&[&self.dns], "dns", &["udp/53", "udp/67"]);
        vm(&[&self.ntp], "ntp", &["udp/123"]);
        vm(&[&self.monitor], "monitoring", &[]);
        out
    }
}

fn ssh(s: &mut Scenario, client: &Vm, server: &Vm, bytes: usize) {
    s.tcp(client, server, 22)
        .handshake()
        .send(Side::Orig, payload::ssh_banner("OpenSSH_9.2p1"))
        .send(Side::Resp, payload::ssh_banner("OpenSSH_9.2p1 Debian-2+deb12u3"))
        .send(Side::Orig, payload::ssh_kexinit())
        .send(Side::Resp, payload::ssh_kexinit())
        .wait_ms(30)
        .send(Side::Orig, payload::sealed(300, 1))
        .send(Side::Resp, payload::sealed(bytes, 2))
        .close();
}

fn v4(vm: &Vm) -> Ipv4Addr {
    match vm.ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}
