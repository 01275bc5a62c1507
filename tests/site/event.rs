//! The one format of events: what happens in a site, a line of JSON each, in order of time (docs/scenarios.md).
//! A line names machines by number; a machine is introduced by its `boot` before anything else names it.

use std::net::Ipv4Addr;

use eastwatch::model::{Mac, Transport};
use serde::{Deserialize, Serialize};

use super::Micros;

/// A machine: its place in the order of introduction.
pub type Id = u32;

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: Micros,
    /// What it belongs to: a behaviour's run, an attack, a change. Truth names the same number.
    pub cause: u32,
    pub tag: Tag,
    pub what: What,
}

/// What a person who knew all would say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tag {
    /// What the site does by itself.
    #[default]
    Benign,
    /// A change that someone approved.
    Approved,
    Hostile,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A machine is there from now on, and announces its address.
    Boot(Box<Machine>),
    Talk(Talk),
    /// DHCP gave it this address, or renewed it.
    Lease {
        vm: Id,
        server: Id,
        ip: Ipv4Addr,
    },
    /// It has this address besides its own from now on, until another takes it (VRRP, keepalived): gratuitous ARP.
    Take {
        vm: Id,
        ip: Ipv4Addr,
    },
    /// It runs on another host from now on: RARP from there.
    Move {
        vm: Id,
        host: u16,
    },
    /// Gratuitous ARP of its own address: after a resume, a snapshot revert, a replaced card.
    Announce {
        vm: Id,
    },
    /// It is there no more.
    Stop {
        vm: Id,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub id: Id,
    pub name: String,
    pub role: String,
    pub mac: Mac,
    pub ip: Ipv4Addr,
    /// The hypervisor it runs on, from 1; 0 where it is not a VM of the site.
    pub host: u16,
    pub os: Os,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Os {
    Linux,
    Windows,
    /// An address on the other side of the gateway, with the gateway's MAC.
    Outside,
}

/// One conversation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Talk {
    pub client: Id,
    pub server: Id,
    /// The address that was asked, where it is not the server's own.
    pub to: Option<Ipv4Addr>,
    pub transport: Transport,
    /// The client's port.
    pub from: u16,
    pub port: u16,
    /// As eastwatch names it; empty where no payload proves anything.
    pub app: &'static str,
    /// Bytes of payload each way.
    pub up: u32,
    pub down: u32,
    pub ms: u32,
    pub outcome: Outcome,
    /// The endpoint mapper's answer: this port of the server is lasting and speaks `dcerpc`, of the interface LSA.
    pub maps: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    #[default]
    Answered,
    Refused,
    Unanswered,
}

/// Applications that events may name. A name that is not here reads as none.
pub const APPS: &[&str] = &[
    "http",
    "tls",
    "ssh",
    "pgsql",
    "mysql",
    "redis",
    "dns",
    "ntp",
    "dhcp",
    "smb",
    "ldap",
    "krb5",
    "dcerpc",
    "rdp",
    "rfb",
    "telnet",
    "smtp",
    "snmp",
    "cassandra",
    "kafka",
    "msdo",
    "shell",
];

pub fn app(name: &str) -> &'static str {
    APPS.iter().find(|known| **known == name).copied().unwrap_or_default()
}

/// A line as it is written: every kind has its own fields, the rest are left out.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Line {
    /// Seconds since the scenario began.
    t: f64,
    kind: String,
    #[serde(skip_serializing_if = "is_zero")]
    cause: u32,
    #[serde(skip_serializing_if = "is_benign")]
    tag: Tag,
    #[serde(skip_serializing_if = "Option::is_none")]
    vm: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<Os>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    up: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    down: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maps: Option<u16>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_benign(tag: &Tag) -> bool {
    *tag == Tag::Benign
}

impl Event {
    /// The line, without its end.
    pub fn write(&self) -> String {
        let mut line = Line { t: self.at as f64 / 1e6, cause: self.cause, tag: self.tag, ..Line::default() };
        let mut of = |kind: &str, vm: Option<Id>| (line.kind, line.vm) = (kind.to_owned(), vm);
        match &self.what {
            What::Boot(machine) => {
                of("boot", Some(machine.id));
                line.name = Some(machine.name.clone());
                line.role = Some(machine.role.clone());
                line.mac = Some(machine.mac.to_string());
                (line.ip, line.host, line.os) = (Some(machine.ip), Some(machine.host), Some(machine.os));
            }
            What::Talk(talk) => {
                of("talk", None);
                (line.client, line.server, line.ip) = (Some(talk.client), Some(talk.server), talk.to);
                line.transport = Some(talk.transport.to_string());
                (line.from, line.port) = (Some(talk.from), Some(talk.port));
                line.app = Some(talk.app.to_owned()).filter(|app| !app.is_empty());
                (line.up, line.down, line.ms) = (Some(talk.up), Some(talk.down), Some(talk.ms));
                line.outcome = Some(talk.outcome).filter(|outcome| *outcome != Outcome::Answered);
                line.maps = talk.maps;
            }
            What::Lease { vm, server, ip } => {
                of("lease", Some(*vm));
                (line.server, line.ip) = (Some(*server), Some(*ip));
            }
            What::Take { vm, ip } => {
                of("take", Some(*vm));
                line.ip = Some(*ip);
            }
            What::Move { vm, host } => {
                of("move", Some(*vm));
                line.host = Some(*host);
            }
            What::Announce { vm } => of("announce", Some(*vm)),
            What::Stop { vm } => of("stop", Some(*vm)),
        }
        serde_json::to_string(&line).expect("plain data")
    }

    /// # Errors
    /// The line is none of this format: what is wrong with it.
    pub fn read(text: &str) -> Result<Event, String> {
        let line: Line = serde_json::from_str(text).map_err(|e| e.to_string())?;
        fn need<T>(field: Option<T>, name: &str) -> Result<T, String> {
            field.ok_or_else(|| format!("`{name}` is missing"))
        }
        let vm = need(line.vm, "vm");
        let what = match line.kind.as_str() {
            "boot" => What::Boot(Box::new(Machine {
                id: vm?,
                name: line.name.unwrap_or_default(),
                role: line.role.unwrap_or_default(),
                mac: need(line.mac, "mac")?.parse()?,
                ip: need(line.ip, "ip")?,
                host: line.host.unwrap_or_default(),
                os: line.os.unwrap_or(Os::Linux),
            })),
            "talk" => What::Talk(Talk {
                client: need(line.client, "client")?,
                server: need(line.server, "server")?,
                to: line.ip,
                transport: need(line.transport, "transport")?.parse()?,
                from: need(line.from, "from")?,
                port: need(line.port, "port")?,
                app: app(line.app.as_deref().unwrap_or_default()),
                up: line.up.unwrap_or_default(),
                down: line.down.unwrap_or_default(),
                ms: line.ms.unwrap_or_default(),
                outcome: line.outcome.unwrap_or_default(),
                maps: line.maps,
            }),
            "lease" => What::Lease { vm: vm?, server: need(line.server, "server")?, ip: need(line.ip, "ip")? },
            "take" => What::Take { vm: vm?, ip: need(line.ip, "ip")? },
            "move" => What::Move { vm: vm?, host: need(line.host, "host")? },
            "announce" => What::Announce { vm: vm? },
            "stop" => What::Stop { vm: vm? },
            other => return Err(format!("`{other}` is no kind of event")),
        };
        Ok(Event { at: (line.t * 1e6).round() as Micros, cause: line.cause, tag: line.tag, what })
    }
}
