//! Events as packets: a capture of what a mirror of the whole site would show.
//!
//! For small sites and a day at most: a conversation is ten to twenty frames, and all are held in memory. Bulk is not
//! written (payloads.rs), and applications that cannot be written yet are opaque bytes. The hosts are not told apart.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use eastwatch::model::{Side, Transport};
use eastwatch::scenario::{Scenario, Vm, payload};

use super::event::{Event, Id, Machine, Outcome, Talk, What};
use super::{Micros, packet_time, payloads};

/// Can the packets prove this application?
pub fn writes(app: &str) -> bool {
    matches!(app, "dns" | "ntp" | "dhcp" | "dcerpc") || (!app.is_empty() && payloads::messages(app, "", 0, 0).is_some())
}

pub struct Packets {
    scenario: Scenario,
    machines: BTreeMap<Id, Machine>,
}

impl Packets {
    pub fn new(seed: u64) -> Self {
        Packets { scenario: Scenario::new(seed), machines: BTreeMap::new() }
    }

    /// A new capture; the machines that were introduced stay known.
    pub fn cut(&mut self) -> Scenario {
        std::mem::replace(&mut self.scenario, Scenario::new(1))
    }

    pub fn take(&mut self, event: &Event) {
        self.scenario.at(packet_time(event.at));
        match &event.what {
            What::Boot(machine) => {
                self.machines.insert(machine.id, (**machine).clone());
                if machine.host != 0 {
                    self.announce(machine.id, None);
                }
            }
            What::Talk(talk) => self.talk(event.at, talk),
            What::Lease { vm, server, ip } => {
                if let Some(machine) = self.machines.get_mut(vm)
                    && machine.ip != *ip
                {
                    machine.ip = *ip;
                    self.announce(*vm, None);
                }
                let (Some(client), Some(server)) = (self.nic(*vm, None), self.nic(*server, None)) else { return };
                let transaction = self.scenario.random(1 << 32) as u32;
                let message = |kind| payload::dhcp(kind, transaction, &client, &server);
                let (request, answer) = (message(payload::Dhcp::Request), message(payload::Dhcp::Acknowledge));
                let mut talk = self.scenario.udp_from(&client, 68, &server, 67);
                talk.send(Side::Orig, request).send(Side::Resp, answer);
            }
            What::Take { vm, ip } => self.announce(*vm, Some(*ip)),
            What::Move { vm, .. } | What::Announce { vm } => self.announce(*vm, None),
            What::Stop { .. } => {}
        }
    }

    /// Gratuitous ARP.
    fn announce(&mut self, id: Id, ip: Option<Ipv4Addr>) {
        if let Some(nic) = self.nic(id, ip) {
            self.scenario.who_has(&nic, nic.ip);
        }
    }

    fn nic(&self, id: Id, ip: Option<Ipv4Addr>) -> Option<Vm> {
        let machine = self.machines.get(&id)?;
        let ip = ip.unwrap_or(machine.ip).into();
        Some(Vm { name: machine.name.clone(), mac: machine.mac, ip, vlan: None })
    }

    fn talk(&mut self, at: Micros, talk: &Talk) {
        let (Some(client), Some(server)) = (self.nic(talk.client, None), self.nic(talk.server, talk.to)) else {
            return;
        };
        match talk.transport {
            Transport::Tcp => self.tcp(&client, &server, talk),
            _ => self.udp(at, &client, &server, talk),
        }
    }

    fn tcp(&mut self, client: &Vm, server: &Vm, talk: &Talk) {
        let mut conversation = self.scenario.tcp(client, server, talk.port);
        conversation.from_port(talk.from);
        match talk.outcome {
            Outcome::Refused => drop(conversation.refused()),
            Outcome::Unanswered => drop(conversation.unanswered()),
            Outcome::Answered => {
                conversation.handshake();
                let said = match talk.app {
                    "dcerpc" => Some(payloads::dcerpc(talk.maps)),
                    app => payloads::messages(app, &server.name, talk.up, talk.down),
                };
                let said = said.or_else(|| payloads::messages("", &server.name, talk.up, talk.down));
                for (side, bytes) in said.unwrap_or_default() {
                    conversation.send(side, bytes);
                }
                conversation.wait_ms(i64::from(talk.ms).saturating_sub(10).max(0)).close();
            }
        }
    }

    fn udp(&mut self, at: Micros, client: &Vm, server: &Vm, talk: &Talk) {
        let (asks, answers) = match (talk.app, client.ip) {
            ("dns", std::net::IpAddr::V4(ip)) => payload::dns(talk.from, &format!("{}.dc.example", client.name), ip),
            ("ntp", _) => (payload::ntp(3, packet_time(at)), payload::ntp(4, packet_time(at))),
            _ => (payloads::opaque(talk.up.clamp(8, 1_400)), payloads::opaque(talk.down.clamp(8, 1_400))),
        };
        let mut conversation = self.scenario.udp_from(client, talk.from, server, talk.port);
        conversation.send(Side::Orig, asks);
        if talk.outcome == Outcome::Answered {
            conversation.send(Side::Resp, answers);
        }
    }
}
