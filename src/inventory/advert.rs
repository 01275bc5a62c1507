//! Adverts of LLDP and CDP: hosts and switches that name themselves on a link. One names the VM whose interface sent
//! it, and hints at the host of the VMs whose mirror copies come from its address; it is never part of a key.
//!
//! At most [`ADVERTS_MAX`] senders; when they are that many, those silent for an hour are forgotten, at most once a
//! minute, and where that frees nothing new ones are refused and counted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::identity::{At, Identity};
use super::records::Records;
use super::table::Inventory;
use super::vm::{NameSource, Vm};
use crate::counters;
use crate::model::{AdvertBy, LinkAdvert, Location, Mac, Segment, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

/// The uplinks of a thousand hosts, and their switch ports.
const ADVERTS_MAX: usize = 4_096;
/// LLDP repeats every 30 s, CDP every 60 s.
const SILENT_S: f64 = 3_600.0;
const FORGET_EVERY_S: f64 = 60.0;

static ADVERT: Kind = Kind { tag: 0x1c, name: "link advert", version: 1 };

counters! {
    pub(super) struct AdvertCounters {
        refused => "inventory.advert.refused",
        forgotten => "inventory.advert.forgotten",
    }
}

/// What a station says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduced {
    pub by: AdvertBy,
    /// As heard: may be empty.
    pub system: String,
    pub chassis: String,
    pub port: String,
    pub port_description: String,
    pub address: Option<IpAddr>,
    pub location: Option<Location>,
    pub first: Timestamp,
    pub last: Timestamp,
}

#[derive(Debug)]
pub(super) struct Introductions {
    heard: Records<(Mac, Segment), Introduced>,
    forgot_at: Timestamp,
    pub counters: AdvertCounters,
}

impl Introductions {
    pub fn new() -> Self {
        Introductions { heard: Records::new(&ADVERT), forgot_at: Timestamp::ZERO, counters: AdvertCounters::default() }
    }

    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Introductions { heard: Records::load(&ADVERT, store)?, ..Introductions::new() })
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.heard.save(batch, all);
    }

    pub fn len(&self) -> usize {
        self.heard.len()
    }

    fn hear(&mut self, said: &LinkAdvert, now: Timestamp) {
        let key = (said.mac, said.segment);
        if said.goodbye {
            self.heard.remove(&key);
            return;
        }
        let first = self.heard.get(&key).map(|known| known.first);
        let told = Introduced {
            by: said.by,
            system: said.system.clone(),
            chassis: said.chassis.clone(),
            port: said.port.clone(),
            port_description: said.port_description.clone(),
            address: said.address,
            location: said.location,
            first: first.unwrap_or(now),
            last: now,
        };
        if let Some(known) = self.heard.touch(&key) {
            let only_goes_on = *known == Introduced { last: known.last, ..told.clone() };
            if only_goes_on {
                known.last = now;
                return;
            }
        } else if self.heard.len() >= ADVERTS_MAX && !self.makes_room(now) {
            self.counters.refused += 1;
            return;
        }
        self.heard.put(key, told);
    }

    fn makes_room(&mut self, now: Timestamp) -> bool {
        if now.since_s(self.forgot_at) >= FORGET_EVERY_S {
            self.forgot_at = now;
            let silent = self.heard.iter().filter(|(_, said)| now.since_s(said.last) > SILENT_S);
            let silent: Vec<_> = silent.map(|(key, _)| *key).collect();
            self.counters.forgotten += silent.len() as u64;
            for key in silent {
                self.heard.remove(&key);
            }
        }
        self.heard.len() < ADVERTS_MAX
    }
}

impl Inventory {
    pub(super) fn introduced(&mut self, said: &LinkAdvert, at: At) {
        self.introductions.hear(said, at.time);
        let source = match said.by {
            AdvertBy::Lldp => NameSource::Lldp,
            AdvertBy::Cdp => NameSource::Cdp,
        };
        if !said.goodbye
            && let Some(vm) = self.identity.interface(said.mac, said.segment)
        {
            self.identity.name(vm, source, &said.system, at, &mut self.turns);
        }
    }

    /// What the VM's own interfaces say of themselves, in order of MAC.
    pub fn introduces(&self, vm: &Vm) -> Vec<&Introduced> {
        let own = |nic: &super::vm::Nic| nic.mac.and_then(|mac| self.introductions.heard.get(&(mac, nic.segment)));
        vm.nics.iter().filter_map(own).collect()
    }

    /// What calls itself by the address that the copies of this VM's frames come from: most likely its host. None
    /// where two disagree.
    pub fn host_name(&self, vm: &Vm) -> Option<&Introduced> {
        let host = vm.host_hint?;
        let mut found: Option<&Introduced> = None;
        for ((mac, segment), said) in self.introductions.heard.iter() {
            // What another VM says of the host's address is that VM's word.
            let is_other_vm =
                || self.identity.interface(*mac, *segment).is_some_and(|other| !self.has_address(other, host));
            if said.address != Some(host) || said.system.is_empty() || is_other_vm() {
                continue;
            }
            if found.is_some_and(|before| before.system != said.system) {
                return None;
            }
            found = Some(said);
        }
        found
    }

    /// What else was heard at the place where the VM is: the other end of the host's uplinks. In order of MAC.
    pub fn neighbours(&self, vm: &Vm) -> Vec<&Introduced> {
        let Some(here) = self.whereabouts(vm.id).and_then(super::location::Whereabouts::here) else {
            return Vec::new();
        };
        let (host, own) = (self.host_name(vm), self.introduces(vm));
        let same = |a: &Introduced, b: &Introduced| std::ptr::eq(a, b);
        let said = self.introductions.heard.iter().map(|(_, said)| said).filter(|said| said.location == Some(here));
        said.filter(|said| host.is_none_or(|h| !same(h, said)) && !own.iter().any(|o| same(o, said))).collect()
    }

    fn has_address(&self, vm: VmId, ip: IpAddr) -> bool {
        self.vm(vm).is_some_and(|vm| vm.ips().any(|own| own == ip))
    }
}

impl Identity {
    /// The VM that has this interface.
    pub(super) fn interface(&self, mac: Mac, segment: Segment) -> Option<VmId> {
        self.stations.get(&(mac, segment))?.vm
    }
}
