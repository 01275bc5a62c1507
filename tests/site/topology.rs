//! The topology of a site: which machines it has, and their habits (docs/scenarios.md lists them).
//! Of each kind there are as many as the size asks for; the infrastructure of a small site shares machines.

use std::net::Ipv4Addr;

use eastwatch::model::Mac;

use super::behaviour::autoscale::Autoscale;
use super::behaviour::ci::Runners;
use super::behaviour::failover::Shared;
use super::behaviour::gossip::Gossip;
use super::behaviour::habit::{Habit, Pick, When};
use super::behaviour::leases::Leases;
use super::behaviour::moves::Moves;
use super::behaviour::patch::PatchDay;
use super::behaviour::revert::Reverts;
use super::behaviour::rpc::Rpc;
use super::event::{Machine, Os};
use super::sizes::Size;
use super::world::{Cause, Manner, Site, World};
use super::{DAY, HOUR, MINUTE, Micros, Rng, SECOND};

/// What a site is made with.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub size: Size,
    pub seed: u64,
    /// Whatever changes by itself: runners, autoscaling, moves, patch days, failovers. Without it the site is still.
    pub changes: bool,
}

const LB_ADDRESS: [u8; 4] = [10, 0, 0, 2];
const DB_ADDRESS: [u8; 4] = [10, 0, 0, 3];

struct Builder {
    site: Site,
    plan: Plan,
    streams: u64,
}

pub fn site(plan: Plan) -> Site {
    let mut world = World::new(plan.seed, plan.size.hosts());
    // The first addresses are the gateway's and the shared ones.
    for _ in 0..3 {
        world.free_ip();
    }
    let mut builder = Builder { site: Site::new(world), plan, streams: 10 };
    builder.machines();
    builder.habits();
    builder.clusters();
    if plan.changes {
        builder.changes();
    }
    builder.site
}

impl Builder {
    fn rng(&mut self) -> Rng {
        self.streams += 1;
        Rng::new(self.plan.seed, self.streams)
    }

    /// So many per mille of the site, and at least `least`.
    fn share(&self, per_mille: usize, least: usize) -> usize {
        (self.plan.size.vms() * per_mille / 1_000).max(least)
    }

    fn make(&mut self, count: usize, stem: &str, os: Os, groups: &[&str]) {
        let small = self.plan.size == Size::S;
        for _ in 0..count {
            let world = &mut self.site.world;
            let name = format!("{stem}-{:03}", world.number(stem));
            let ip = world.free_ip();
            // They are switched on within the first seconds.
            let at = world.rng.between(0, 5 * SECOND);
            let id = world.boot(at, Cause::default(), name, stem, os, ip);
            for group in groups {
                world.join(id, group);
            }
            world.join(id, "all");
            world.join(id, if os == Os::Windows { "windows" } else { "linux" });
            if stem != "desktop" {
                world.join(id, "servers");
            }
            if os == Os::Windows && stem != "desktop" {
                // Some are worked on every day; most of a farm run by themselves.
                let daily = small || stem != "win" || id.is_multiple_of(3);
                world.join(id, if daily { "attended" } else { "unattended" });
            }
        }
    }

    fn machines(&mut self) {
        let outside = Mac([0x00, 0x1b, 0x21, 0x00, 0x00, 0x01]);
        for n in 0..6u8 {
            let ip = if n % 2 == 0 { Ipv4Addr::new(203, 0, 113, 10 + n) } else { Ipv4Addr::new(198, 51, 100, 10 + n) };
            let machine = Machine {
                id: 0,
                name: format!("outside-{n}"),
                role: "outside".to_owned(),
                mac: outside,
                ip,
                host: 0,
                os: Os::Outside,
            };
            let id = self.site.world.introduce(0, Cause::default(), machine);
            self.site.world.join(id, "outside");
        }
        let small = self.plan.size == Size::S;
        if small {
            self.make(1, "infra", Os::Linux, &["dns", "ntp", "dhcp", "log", "mail"]);
            self.make(1, "backup", Os::Linux, &["backup", "repo"]);
            self.make(1, "mon", Os::Linux, &["monitor", "config", "jump"]);
            self.make(1, "dc", Os::Windows, &["dc", "files"]);
        } else {
            self.make(2, "dns", Os::Linux, &["dns"]);
            self.make(1, "ntp", Os::Linux, &["ntp"]);
            self.make(1, "dhcp", Os::Linux, &["dhcp"]);
            self.make(1, "log", Os::Linux, &["log"]);
            self.make(self.share(2, 1), "backup", Os::Linux, &["backup"]);
            self.make(self.share(2, 1), "repo", Os::Linux, &["repo"]);
            self.make(self.share(2, 1), "mon", Os::Linux, &["monitor"]);
            self.make(1, "config", Os::Linux, &["config"]);
            self.make(1, "jump", Os::Linux, &["jump"]);
            self.make(self.share(4, 1), "mail", Os::Linux, &["mail"]);
            self.make(self.share(4, 1), "dc", Os::Windows, &["dc"]);
            self.make(self.share(4, 1), "files", Os::Windows, &["files"]);
        }
        self.make(1, "ci", Os::Linux, &["ci"]);
        self.make(2, "lb", Os::Linux, &["lb"]);
        self.make(2, "db", Os::Linux, &["db"]);
        self.make(self.share(60, 1), "cache", Os::Linux, &["redis"]);
        self.make(self.share(50, 3), "store", Os::Linux, &["cassandra"]);
        self.make(self.share(if small { 100 } else { 180 }, 2), "desktop", Os::Windows, &["desktop"]);
        self.make(self.share(if small { 50 } else { 100 }, 1), "win", Os::Windows, &[]);
        // Who administers sits at a desktop: one for fifty machines.
        let (admins, world) = (self.share(20, 1), &mut self.site.world);
        for id in world.of("desktop").into_iter().take(admins) {
            world.join(id, "admin");
        }
        let rest = self.plan.size.vms() + 6 - self.site.world.machines.len();
        self.make(rest / 2, "app", Os::Linux, &["app"]);
        self.make(rest - rest / 2, "web", Os::Linux, &["web"]);
    }

    fn habit(&mut self, who: &str, to: &str, pick: Pick, manner: Manner, every: Micros, when: When) {
        let rng = self.rng();
        let world = &mut self.site.world;
        let (who, to) = (world.group(who), world.group(to));
        let at = world.rng.between(10 * SECOND, 60 * SECOND);
        self.site.add(at, Habit::new(who, to, pick, manner, every, when, rng));
    }

    fn habits(&mut self) {
        use Pick::{Any, FromAll, Own};
        use When::{Always, Business, Daily, Weekly};
        let slow = match self.plan.size {
            Size::S => 1,
            Size::M => 2,
            Size::L => 3,
        };
        let (http, tls, smb) = (Manner::tcp(80, "http"), Manner::tcp(443, "tls"), Manner::tcp(445, "smb"));
        let unheard = super::event::Outcome::Unanswered;
        self.habit("all", "dns", Any, Manner::udp(53, "dns"), 30 * MINUTE, Always);
        self.habit("all", "ntp", Any, Manner::udp(123, "ntp"), 4 * HOUR, Always);
        self.habit("servers", "log", Any, Manner::udp(514, "").carrying(200, 0).ending(unheard), 2 * HOUR, Always);
        // Polling: an exporter on every server, and SNMP.
        let exporter = Manner::tcp(9_100, "http").carrying(150, 20_000);
        self.habit("linux", "monitor", FromAll, exporter, 5 * MINUTE * slow, Always);
        let exporter = Manner::tcp(9_182, "http").carrying(150, 20_000);
        self.habit("windows", "monitor", FromAll, exporter, 5 * MINUTE * slow, Always);
        // Tiers.
        self.habit("web", "lb", FromAll, Manner::tcp(8_080, "http"), 10 * MINUTE, Business);
        self.habit("web", "lb", FromAll, Manner::tcp(8_080, "http").carrying(100, 200), 20 * MINUTE, Always);
        self.habit("web", "app", Own(4), Manner::tcp(8_443, "tls"), 15 * MINUTE, Business);
        self.habit("app", "redis", Own(2), Manner::tcp(6_379, "redis"), 30 * MINUTE, Business);
        self.habit("app", "cassandra", Own(3), Manner::tcp(9_042, "cassandra"), 40 * MINUTE, Business);
        // A Windows domain and what its desktops use.
        self.habit("windows", "dc", Own(2), Manner::tcp(88, "krb5").carrying(1_400, 1_500), 2 * HOUR, Business);
        self.habit("windows", "dc", Own(2), Manner::tcp(389, "ldap").carrying(900, 6_000), 2 * HOUR, Business);
        self.habit("windows", "dc", Own(2), smb.carrying(4_000, 60_000), 3 * HOUR, Always);
        self.habit("desktop", "files", Own(2), smb.carrying(9_000, 600_000).lasting(45_000), HOUR, Business);
        self.habit("desktop", "mail", Own(1), tls.carrying(1_500, 20_000), 30 * MINUTE, Business);
        // Every page that somebody reads is on some web server: of two desktops and two servers it is asked more often.
        let every = if self.plan.size == Size::S { HOUR } else { 6 * HOUR };
        self.habit("desktop", "web", Any, http, every, Business);
        self.habit("servers", "mail", Own(1), Manner::tcp(25, "smtp").carrying(3_000, 400), 12 * HOUR, Always);
        // Administration: every night the configuration is compared, once a week packages are fetched.
        let ssh = Manner::tcp(22, "ssh").carrying(6_000, 9_000).lasting(20_000);
        self.habit("linux", "config", FromAll, ssh, HOUR, Daily(2, 2));
        self.habit("windows", "config", FromAll, Manner::tcp(5_985, "http"), HOUR, Daily(3, 2));
        // Lists of packages are fetched twice a day (apt-daily.timer), and Windows asks for updates every 22 hours.
        self.habit("linux", "repo", Any, Manner::tcp(3_142, "http").carrying(300, 9_000), 12 * HOUR, Always);
        self.habit("linux", "repo", Any, Manner::tcp(3_142, "http").carrying(900, 300_000), HOUR, Weekly(6, 4, 2));
        self.habit("windows", "repo", Any, Manner::tcp(8_530, "http").carrying(3_000, 20_000), 22 * HOUR, Always);
        // Every night everything is saved, by an agent that listens.
        let agent = Manner::tcp(9_102, "tls").carrying(20_000, 4_000_000).lasting(50_000);
        self.habit("servers", "backup", FromAll, agent, HOUR, Daily(1, 3));
        // Persons: seldom, on any machine; of some it is the first time after weeks. An administrator of Windows opens
        // four or five sessions a day, on servers that are worked on, and now and then on one that is not.
        self.habit("linux", "jump", FromAll, ssh.lasting(300_000), 10 * DAY, Business);
        let rdp = Manner::tcp(3_389, "rdp").carrying(90_000, 900_000).lasting(300_000);
        self.habit("attended", "admin", FromAll, rdp, 4 * HOUR, Business);
        self.habit("unattended", "admin", FromAll, rdp, 14 * DAY, Business);
        self.habit("ci", "repo", Any, tls.carrying(900, 200_000), 30 * MINUTE, Business);
        self.habit("ci", "app", Any, ssh, 6 * HOUR, Business);
    }

    fn clusters(&mut self) {
        let serf = vec![Manner::udp(8_301, "").carrying(200, 200), Manner::tcp(8_301, "").carrying(900, 900)];
        let (rng, among) = (self.rng(), self.site.world.group("app"));
        self.site.add(20 * SECOND, Gossip { among, manners: serf, every: 30 * MINUTE, rng });
        let (rng, among) = (self.rng(), self.site.world.group("cassandra"));
        let manners = vec![Manner::tcp(7_000, "").carrying(5_000, 5_000).lasting(2_000)];
        self.site.add(21 * SECOND, Gossip { among, manners, every: 10 * MINUTE, rng });
        let (rng, among) = (self.rng(), self.site.world.group("redis"));
        let manners = vec![Manner::tcp(16_379, "").carrying(900, 900)];
        self.site.add(22 * SECOND, Gossip { among, manners, every: 20 * MINUTE, rng });
        // The two that share an address.
        let failovers = |days: &[i64]| match self.plan.changes {
            true => days.iter().map(|day| day * DAY + 11 * HOUR).collect(),
            false => Vec::new(),
        };
        let (lb_fails, db_fails): (Vec<_>, Vec<_>) = (failovers(&[12, 13]), failovers(&[20]));
        let outside = self.site.world.group("outside");
        let apps = self.site.world.group("app");
        for (group, ip, clients, manner, every, fails) in [
            ("lb", LB_ADDRESS, outside, Manner::tcp(443, "tls"), 10 * MINUTE, lb_fails),
            ("db", DB_ADDRESS, apps, Manner::tcp(5_432, "pgsql").carrying(2_000, 20_000), 20 * MINUTE, db_fails),
        ] {
            let pair = self.site.world.of(group);
            let rng = self.rng();
            if let [first, second] = pair[..] {
                let shared = Shared::new(ip.into(), [first, second], clients, manner, every, fails, rng);
                self.site.add(15 * SECOND, shared);
            }
        }
        let (rng, clients) = (self.rng(), self.site.world.group("windows"));
        let servers = self.site.world.group("dc");
        let starts = if self.plan.changes { vec![8 * DAY + 4 * HOUR] } else { Vec::new() };
        self.site.add(25 * SECOND, Rpc::new(clients, servers, 3 * HOUR, starts, rng));
    }

    fn changes(&mut self) {
        let vms = self.plan.size.vms() as i64;
        let rng = self.rng();
        self.site.add(HOUR, Runners::new((400 * HOUR / vms).max(15 * MINUTE), rng));
        let (rng, desktops) = (self.rng(), self.site.world.group("desktop"));
        self.site.add(30 * SECOND, Leases::new(desktops, 12 * HOUR, 0.02, rng));
        if self.plan.size > Size::S {
            let rng = self.rng();
            self.site.add(2 * HOUR, Moves { every: 50 * DAY / vms, rng });
            let groups = ["web", "linux", "all", "servers"];
            let clones = Autoscale::new((vms / 50) as usize, "web", &groups, SECOND, Some(9 * HOUR));
            self.site.add(9 * HOUR, clones);
        }
        let rng = self.rng();
        self.site.add(3 * DAY, Reverts { every: 200 * DAY / vms, rng });
        let (rng, windows) = (self.rng(), self.site.world.group("windows"));
        self.site.add(8 * DAY + 2 * HOUR, PatchDay { of: windows, rng });
    }
}
