//! Sanctions: what a person or an imported policy approved, with owner, reason, ticket and expiry. A sanctioned
//! service raises no finding. Learning never writes here, and a sanction never makes a thing learned.
//! At most [`SANCTIONS_MAX`]; beyond it adding is an error that tells the operator.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::profile::Port;
use crate::inventory::{Change, What};
use crate::model::{AppProto, ServiceKey, Timestamp, Transport, VmId};

pub const SANCTIONS_MAX: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sanction {
    pub vm: VmId,
    /// `None`: whatever this VM serves, and the VM itself.
    pub service: Option<Port>,
    /// Holds only while the proved application is this one; an application not proved yet is let pass.
    pub app: Option<AppProto>,
    pub owner: String,
    pub reason: String,
    pub ticket: Option<String>,
    /// Packet time from which it no longer holds.
    pub expires: Option<Timestamp>,
    pub added: Timestamp,
    pub source: SanctionSource,
    /// Flows it has covered, and the last of them.
    pub hits: u64,
    pub last_hit: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SanctionSource {
    Person,
    /// An inventory file, by name.
    Inventory(String),
    /// A policy, by name.
    Policy(String),
}

pub(crate) type SanctionKey = (VmId, Option<Port>, Option<AppProto>);

#[derive(Clone, Debug, Default)]
pub struct Sanctions {
    all: BTreeMap<SanctionKey, Sanction>,
    dirty: BTreeSet<SanctionKey>,
}

impl Sanctions {
    pub fn new() -> Self {
        Sanctions::default()
    }

    /// Adds one, or replaces the one of equal scope (its hits are kept).
    pub fn add(&mut self, mut sanction: Sanction) -> Result<(), String> {
        let key = key_of(&sanction);
        match self.all.get(&key) {
            Some(before) => (sanction.hits, sanction.last_hit) = (before.hits, before.last_hit),
            None if self.all.len() >= SANCTIONS_MAX => {
                return Err(format!("{SANCTIONS_MAX} sanctions are kept at most: remove some, or sanction whole VMs"));
            }
            None => {}
        }
        self.dirty.insert(key.clone());
        self.all.insert(key, sanction);
        Ok(())
    }

    /// # Errors
    /// So many more would be too many, if none of them were there already.
    pub fn has_room(&self, more: usize) -> Result<(), String> {
        match self.all.len() + more > SANCTIONS_MAX {
            true => Err(format!("{SANCTIONS_MAX} sanctions are kept at most: remove some, or sanction whole VMs")),
            false => Ok(()),
        }
    }

    /// Removes what has exactly this scope (whatever its application) and returns it.
    pub fn remove(&mut self, vm: VmId, service: Option<Port>) -> Vec<Sanction> {
        let keys: Vec<_> = self.all.keys().filter(|(v, s, _)| *v == vm && *s == service).cloned().collect();
        self.dirty.extend(keys.iter().cloned());
        keys.iter().filter_map(|key| self.all.remove(key)).collect()
    }

    /// Replaces everything of one source by this: an import is the whole truth of its file. A scope that a person
    /// sanctioned stays the person's.
    pub fn import(&mut self, source: &SanctionSource, sanctions: Vec<Sanction>) -> Result<usize, String> {
        let before: Vec<_> = self.all.iter().filter(|(_, s)| s.source == *source).map(|(k, _)| k.clone()).collect();
        let now: BTreeSet<_> = sanctions.iter().map(key_of).collect();
        for key in before.iter().filter(|key| !now.contains(*key)) {
            self.all.remove(key);
            self.dirty.insert(key.clone());
        }
        let mut added = 0;
        for sanction in sanctions {
            let other = self.all.get(&key_of(&sanction)).is_some_and(|s| s.source != *source);
            if !other {
                self.add(sanction)?;
                added += 1;
            }
        }
        Ok(added)
    }

    /// In order of VM, port and application.
    pub fn list(&self) -> impl Iterator<Item = &Sanction> {
        self.all.values()
    }

    /// The sanction that covers this service now, the narrowest first.
    pub fn covers(&self, service: &ServiceKey, app: Option<&AppProto>, now: Timestamp) -> Option<&Sanction> {
        let port = Some((service.transport, service.port));
        let exact = self.of(service.vm).filter(|s| s.service == port);
        let whole = self.of(service.vm).filter(|s| s.service.is_none());
        exact.chain(whole).find(|s| s.holds(app, now))
    }

    /// The sanction that covers the VM as a whole now.
    pub fn covers_vm(&self, vm: VmId, now: Timestamp) -> Option<&Sanction> {
        self.of(vm).find(|s| s.service.is_none() && s.app.is_none() && s.holds(None, now))
    }

    /// One that covered this service until it expired: a finding says so.
    pub fn expired(&self, service: &ServiceKey, now: Timestamp) -> Option<&Sanction> {
        let port = (service.transport, service.port);
        let fits = |s: &&Sanction| s.service.is_none_or(|p| p == port);
        self.of(service.vm).filter(fits).find(|s| s.expires.is_some_and(|at| at <= now))
    }

    /// Counts the use of a covered service. The brain calls it once a change.
    pub fn count(&mut self, change: &Change) {
        let (What::ServiceNew { service, .. } | What::ServiceUsed { service, .. }) = &change.what else { return };
        let Some(key) = self.covers(service, None, change.time).map(key_of) else { return };
        if let Some(sanction) = self.all.get_mut(&key) {
            sanction.hits = sanction.hits.saturating_add(1);
            sanction.last_hit = Some(change.time);
            self.dirty.insert(key);
        }
    }

    /// `gone` is an alias of `kept` from now on; where both have a scope, that of `kept` holds.
    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        let moved: Vec<_> = self.of(gone).map(key_of).collect();
        for key in moved {
            let Some(mut sanction) = self.all.remove(&key) else { continue };
            self.dirty.insert(key);
            sanction.vm = kept;
            let key = key_of(&sanction);
            self.dirty.insert(key.clone());
            self.all.entry(key).or_insert(sanction);
        }
    }

    pub(crate) fn get(&self, key: &SanctionKey) -> Option<&Sanction> {
        self.all.get(key)
    }

    pub(crate) fn take_dirty(&mut self) -> BTreeSet<SanctionKey> {
        std::mem::take(&mut self.dirty)
    }

    pub(crate) fn restore(&mut self, sanction: Sanction) {
        self.all.insert(key_of(&sanction), sanction);
    }

    fn of(&self, vm: VmId) -> impl Iterator<Item = &Sanction> {
        self.all.range((vm, None, None)..).take_while(move |((v, ..), _)| *v == vm).map(|(_, s)| s)
    }
}

impl Sanction {
    fn holds(&self, app: Option<&AppProto>, now: Timestamp) -> bool {
        let app_fits = match (&self.app, app) {
            (Some(approved), Some(proved)) => approved == proved,
            _ => true,
        };
        app_fits && self.expires.is_none_or(|at| now < at)
    }
}

fn key_of(sanction: &Sanction) -> SanctionKey {
    (sanction.vm, sanction.service, sanction.app.clone())
}

/// `tcp/443` or `udp/53`, as commands and inventories write it.
pub fn parse_port(text: &str) -> Result<Port, String> {
    let bad = || format!("`{text}` is not a service like tcp/443 or udp/53");
    let (transport, port) = text.rsplit_once('/').ok_or_else(bad)?;
    let transport: Transport = transport.trim().parse().map_err(|_| bad())?;
    Ok((transport, port.trim().parse().map_err(|_| bad())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::ZERO.plus_s(second)
    }

    fn vm(n: u8) -> VmId {
        VmId::derive(&[&[n]], 0)
    }

    fn sanction(n: u8, service: Option<&str>, source: SanctionSource) -> Sanction {
        Sanction {
            vm: vm(n),
            service: service.map(|s| parse_port(s).expect("a port")),
            app: None,
            owner: "ops".to_owned(),
            reason: "planned".to_owned(),
            ticket: None,
            expires: None,
            added: at(0),
            source,
            hits: 0,
            last_hit: None,
        }
    }

    fn key(n: u8, port: u16) -> ServiceKey {
        ServiceKey { vm: vm(n), transport: Transport::Tcp, port }
    }

    #[test]
    fn a_sanction_covers_its_service_and_no_other() {
        let mut sanctions = Sanctions::new();
        sanctions.add(sanction(1, Some("tcp/443"), SanctionSource::Person)).expect("room");
        assert!(sanctions.covers(&key(1, 443), None, at(NOW)).is_some());
        assert!(sanctions.covers(&key(1, 444), None, at(NOW)).is_none());
        assert!(sanctions.covers(&key(2, 443), None, at(NOW)).is_none());
        assert!(sanctions.covers_vm(vm(1), at(NOW)).is_none());
    }

    #[test]
    fn a_sanction_of_the_whole_vm_covers_every_port() {
        let mut sanctions = Sanctions::new();
        sanctions.add(sanction(1, None, SanctionSource::Person)).expect("room");
        assert!(sanctions.covers(&key(1, 4_444), None, at(NOW)).is_some());
        assert!(sanctions.covers_vm(vm(1), at(NOW)).is_some());
    }

    #[test]
    fn it_ends_at_its_expiry_and_with_another_application() {
        let mut sanctions = Sanctions::new();
        let mut limited = sanction(1, Some("tcp/22"), SanctionSource::Person);
        limited.expires = Some(at(500));
        limited.app = Some(AppProto::new("ssh"));
        sanctions.add(limited).expect("room");
        let (ssh, http) = (AppProto::new("ssh"), AppProto::new("http"));
        assert!(sanctions.covers(&key(1, 22), Some(&ssh), at(499)).is_some());
        assert!(sanctions.covers(&key(1, 22), None, at(499)).is_some());
        assert!(sanctions.covers(&key(1, 22), Some(&http), at(499)).is_none());
        assert!(sanctions.covers(&key(1, 22), Some(&ssh), at(500)).is_none());
        assert!(sanctions.expired(&key(1, 22), at(500)).is_some());
    }

    #[test]
    fn an_import_replaces_its_own_and_leaves_a_persons() {
        let file = SanctionSource::Inventory("inventory.toml".to_owned());
        let mut sanctions = Sanctions::new();
        sanctions.add(sanction(1, Some("tcp/22"), SanctionSource::Person)).expect("room");
        let first = vec![sanction(1, Some("tcp/80"), file.clone()), sanction(1, Some("tcp/22"), file.clone())];
        assert_eq!(sanctions.import(&file, first), Ok(1));
        assert_eq!(sanctions.import(&file, vec![sanction(1, Some("tcp/81"), file.clone())]), Ok(1));
        let ports: Vec<_> = sanctions.list().map(|s| s.service.map(|p| p.1)).collect();
        assert_eq!(ports, vec![Some(22), Some(81)]);
    }

    #[test]
    fn a_merge_moves_them_and_a_wrong_port_is_told() {
        let mut sanctions = Sanctions::new();
        sanctions.add(sanction(2, Some("tcp/22"), SanctionSource::Person)).expect("room");
        sanctions.merge(vm(1), vm(2));
        assert!(sanctions.covers(&key(1, 22), None, at(NOW)).is_some());
        assert!(sanctions.covers(&key(2, 22), None, at(NOW)).is_none());
        assert!(parse_port("tcp/99999").unwrap_err().contains("tcp/443"));
        assert!(parse_port("443").is_err());
    }
}
