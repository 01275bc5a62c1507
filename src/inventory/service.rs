//! Services: one row for each (VM, segment, address, transport, port) that was proved to serve.
//!
//! At most `services_max` rows and `services_per_vm_max` of one VM; at either bound a new row is refused and
//! counted (the table of a VM that opens thousands of ports tells enough).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::change::Basis;
use super::clients::Clients;
use super::config::InventoryConfig;
use super::records::Records;
use crate::counters;
use crate::model::{AppInfo, Segment, ServiceClass, ServiceKey, Timestamp, Transport, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

static SERVICE: Kind = Kind { tag: 0x13, name: "service", version: 2 };

counters! {
    pub(super) struct ServiceCounters {
        refused => "inventory.service.refused",
        refused_vm => "inventory.service.refused.vm_full",
        retracted => "inventory.service.retracted",
    }
}

/// In order of VM, transport, port, segment, address: the order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct RowKey {
    pub key: ServiceKey,
    pub segment: Segment,
    pub ip: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Of it only the VM is in the record: the rest, and where it is, stand in the record's key.
    #[serde(with = "vm_alone")]
    pub key: ServiceKey,
    #[serde(skip, default = "nowhere")]
    pub segment: Segment,
    #[serde(skip, default = "nobody")]
    pub ip: IpAddr,
    pub class: ServiceClass,
    /// What the payload proved, merged over its flows; what belongs to one client is the first one's.
    pub app: Option<AppInfo>,
    pub basis: Basis,
    /// What proved it first, e.g. `SYN-ACK in frame 1042`.
    pub evidence: String,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Distinct clients: VMs, and addresses outside home. Exact up to 32, then an estimate.
    pub clients: u64,
    /// Flows that it answered.
    pub flows: u64,
    pub bytes_to_server: u64,
    pub bytes_to_client: u64,
    pub(super) distinct: Clients,
}

fn nowhere() -> Segment {
    Segment::UNTAGGED
}

fn nobody() -> IpAddr {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}

mod vm_alone {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::{ServiceKey, Transport, VmId};

    pub fn serialize<S: Serializer>(key: &ServiceKey, s: S) -> Result<S::Ok, S::Error> {
        key.vm.serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<ServiceKey, D::Error> {
        Ok(ServiceKey { vm: VmId::deserialize(d)?, transport: Transport::Tcp, port: 0 })
    }
}

impl Service {
    /// Loaded from the record of this place.
    pub(super) fn placed(&mut self, segment: Segment, ip: IpAddr, transport: Transport, port: u16) {
        (self.segment, self.ip, self.key.transport, self.key.port) = (segment, ip, transport, port);
    }

    /// How sure it is that the service is there, 0..=1: 0.5 for a guess from mid-connection, 0.75, 0.9 and 0.99 for
    /// the levels above (our own scale: ordered, not a measured probability).
    pub fn confidence(&self) -> f64 {
        match self.basis.level {
            0 | 1 => 0.5,
            2 => 0.75,
            3 => 0.9,
            _ => 0.99,
        }
    }

    pub(super) fn row_key(&self) -> RowKey {
        RowKey { key: self.key, segment: self.segment, ip: self.ip }
    }

    pub(super) fn unite(&mut self, other: Service) {
        self.distinct.unite(&other.distinct);
        self.clients = self.distinct.count();
        self.flows += other.flows;
        self.bytes_to_server += other.bytes_to_server;
        self.bytes_to_client += other.bytes_to_client;
        self.last_seen = self.last_seen.max(other.last_seen);
        self.basis.level = self.basis.level.max(other.basis.level);
        self.app = self.app.take().or(other.app);
        self.basis.sight = self.basis.sight.min(other.basis.sight);
        if other.first_seen < self.first_seen {
            (self.first_seen, self.evidence) = (other.first_seen, other.evidence);
            self.basis.closed_at = other.basis.closed_at;
        }
    }
}

#[derive(Debug)]
pub(super) struct Services {
    pub rows: Records<RowKey, Service>,
    per_vm: BTreeMap<VmId, usize>,
    rows_max: usize,
    per_vm_max: usize,
    pub counters: ServiceCounters,
}

impl Services {
    pub fn new(config: &InventoryConfig) -> Self {
        Services {
            rows: Records::new(&SERVICE),
            per_vm: BTreeMap::new(),
            rows_max: config.services_max,
            per_vm_max: config.services_per_vm_max,
            counters: ServiceCounters::default(),
        }
    }

    pub fn load(store: &dyn Store, config: &InventoryConfig) -> Result<Self, StoreError> {
        let place = |row: &RowKey, service: &mut Service| {
            service.placed(row.segment, row.ip, row.key.transport, row.key.port);
        };
        let mut services = Services { rows: Records::load_with(&SERVICE, store, place)?, ..Services::new(config) };
        for (row, _) in services.rows.iter() {
            *services.per_vm.entry(row.key.vm).or_default() += 1;
        }
        Ok(services)
    }

    /// Adds a row. False: no room.
    pub fn add(&mut self, service: Service) -> bool {
        let of_vm = self.per_vm.entry(service.key.vm).or_default();
        if *of_vm >= self.per_vm_max {
            self.counters.refused_vm += 1;
            return false;
        }
        if self.rows.len() >= self.rows_max {
            self.counters.refused += 1;
            return false;
        }
        *of_vm += 1;
        self.rows.put(service.row_key(), service);
        true
    }

    pub fn remove(&mut self, row: &RowKey) -> Option<Service> {
        let service = self.rows.remove(row)?;
        if let Some(of_vm) = self.per_vm.get_mut(&row.key.vm) {
            *of_vm -= 1;
            if *of_vm == 0 {
                self.per_vm.remove(&row.key.vm);
            }
        }
        Some(service)
    }

    /// Every row of one service, in order of segment and address.
    pub fn of(&self, key: ServiceKey) -> impl Iterator<Item = &Service> {
        self.rows.range(first(key)..).take_while(move |(row, _)| row.key == key).map(|(_, service)| service)
    }

    pub fn of_vm(&self, vm: VmId) -> impl Iterator<Item = &Service> {
        let from = first(ServiceKey { vm, transport: Transport::Tcp, port: 0 });
        self.rows.range(from..).take_while(move |(row, _)| row.key.vm == vm).map(|(_, service)| service)
    }

    /// The highest evidence level of a service, 0 where it is none.
    pub fn level(&self, key: &ServiceKey) -> u8 {
        self.of(*key).map(|service| service.basis.level).max().unwrap_or(0)
    }

    /// Everything of `gone` becomes `kept`'s.
    pub fn merge(&mut self, kept: VmId, gone: VmId) {
        let rows: Vec<RowKey> = self.of_vm(gone).map(Service::row_key).collect();
        for row in rows {
            self.give(row, kept);
        }
    }

    /// What was at one address of `from` becomes `to`'s. Returns the keys as they were.
    pub fn split(&mut self, segment: Segment, ip: IpAddr, from: VmId, to: VmId) -> Vec<ServiceKey> {
        let there = |service: &&Service| service.segment == segment && service.ip == ip;
        let rows: Vec<RowKey> = self.of_vm(from).filter(there).map(Service::row_key).collect();
        for row in &rows {
            self.give(*row, to);
        }
        rows.into_iter().map(|row| row.key).collect()
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.rows.save(batch, all);
    }

    fn give(&mut self, row: RowKey, to: VmId) {
        let Some(mut service) = self.remove(&row) else { return };
        service.key.vm = to;
        match self.rows.change(&service.row_key()) {
            Some(own) => own.unite(service),
            // Nothing is refused here: the row was counted in before.
            None => {
                *self.per_vm.entry(to).or_default() += 1;
                self.rows.put(service.row_key(), service);
            }
        }
    }
}

/// Details that belong to one client or one exchange, not to the service: they differ from flow to flow.
const PER_CLIENT: &[&str] = &[
    "alpn",
    "cipher",
    "cookie",
    "export",
    "hassh",
    "host",
    "initiator",
    "ja3",
    "ja3s",
    "ja4",
    "method",
    "session",
    "share",
    "sni",
    "status",
    "target",
    "user",
    "user-agent",
];

/// Details kept of one service, from all its flows; further names are ignored.
const DETAILS_MAX: usize = 48;

/// What is known of an application after one more flow; `None` when nothing about the service changed.
pub(super) fn merge_app(before: Option<&AppInfo>, heard: &AppInfo) -> Option<AppInfo> {
    let Some(before) = before.filter(|b| b.proto == heard.proto) else { return Some(heard.clone()) };
    // What a parser of ours read stays; another's word gives way to it.
    let lent = |app: &AppInfo| app.get(AppInfo::PRODUCT_BY).is_some();
    if before.product.is_some() && !lent(before) && lent(heard) {
        return merge_app(Some(before), &own_words(heard));
    }
    let own_at_last = lent(before) && heard.product.is_some() && !lent(heard);
    if own_at_last {
        let mut own = own_words(before);
        (own.product, own.version) = (heard.product.clone(), heard.version.clone());
        return Some(merge_app(Some(&own), heard).unwrap_or(own));
    }
    let news = |(name, value): &&(std::borrow::Cow<'static, str>, String)| {
        before.get(name).is_none_or(|known| known != value && !PER_CLIENT.contains(&name.as_ref()))
    };
    let other = |now: &Option<String>, then: &Option<String>| now.is_some() && now != then;
    let changed = other(&heard.product, &before.product)
        || other(&heard.version, &before.version)
        || (before.server.is_none() && heard.server.is_some())
        || heard.details.iter().any(|detail| news(&detail));
    changed.then(|| {
        let mut now = before.clone();
        now.server = heard.server.or(now.server);
        if other(&heard.product, &before.product) {
            // Another product brings its own version, or none.
            (now.product, now.version) = (heard.product.clone(), heard.version.clone());
        } else if heard.version.is_some() {
            now.version = heard.version.clone();
        }
        for (name, value) in heard.details.iter().filter(news) {
            let room = now.details.len() < DETAILS_MAX;
            match now.details.iter_mut().find(|(known, _)| known == name) {
                Some(slot) => slot.1.clone_from(value),
                None if room => now.details.push((name.clone(), value.clone())),
                None => {}
            }
        }
        now
    })
}

/// Without what was lent by a file of names.
fn own_words(app: &AppInfo) -> AppInfo {
    const LENT: &[&str] = &[AppInfo::PRODUCT_BY, AppInfo::VERSION_BY, "vendor", "cpe"];
    let mut own = app.clone();
    (own.product, own.version) = (None, None);
    own.details.retain(|(name, _)| !LENT.contains(&name.as_ref()));
    own
}

fn first(key: ServiceKey) -> RowKey {
    RowKey { key, segment: Segment::UNTAGGED, ip: IpAddr::from([0, 0, 0, 0]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(product: &str, version: &str, details: &[(&'static str, &str)]) -> AppInfo {
        let mut info = AppInfo::new("ssh", Some(crate::model::Side::Resp));
        info.product(product, Some(version.as_bytes()));
        details.iter().for_each(|(name, value)| info.detail(name, value));
        info
    }

    #[test]
    fn another_clients_fingerprint_is_no_news_of_the_service() {
        let before = app("OpenSSH", "9.2", &[("hassh", "aaaa"), ("hassh-server", "bbbb")]);
        assert_eq!(merge_app(Some(&before), &app("OpenSSH", "9.2", &[("hassh", "cccc")])), None);
    }

    #[test]
    fn another_host_key_is_news_and_what_was_known_stays() {
        let before = app("OpenSSH", "9.2", &[("hassh", "aaaa"), ("hassh-server", "bbbb")]);
        let now = merge_app(Some(&before), &app("OpenSSH", "9.2", &[("hassh-server", "dddd")])).unwrap();
        assert_eq!((now.get("hassh-server"), now.get("hassh")), (Some("dddd"), Some("aaaa")));
    }

    #[test]
    fn a_product_that_was_lent_gives_way_to_our_own_and_not_the_other_way_round() {
        let own = app("OpenSSH", "9.2", &[("hassh", "aaaa")]);
        let lent = app("OpenBSD SSH", "9", &[("product_by", "x.xml"), ("vendor", "OpenBSD")]);
        assert_eq!(merge_app(Some(&own), &lent), None);
        let now = merge_app(Some(&lent), &own).unwrap();
        assert_eq!((now.product.as_deref(), now.version.as_deref()), (Some("OpenSSH"), Some("9.2")));
        assert_eq!((now.get("product_by"), now.get("vendor"), now.get("hassh")), (None, None, Some("aaaa")));
        assert_eq!(merge_app(Some(&lent), &lent), None);
        let again = app("Portable OpenSSH", "9.2", &[("product_by", "x.xml")]);
        assert_eq!(merge_app(Some(&lent), &again).unwrap().product.as_deref(), Some("Portable OpenSSH"));
    }

    #[test]
    fn a_flow_that_says_less_takes_nothing_away() {
        let before = app("OpenSSH", "9.2", &[("hassh-server", "bbbb")]);
        assert_eq!(merge_app(Some(&before), &AppInfo::new("ssh", None)), None);
        let other = merge_app(Some(&before), &AppInfo::new("http", None)).unwrap();
        assert_eq!((other.proto.as_str(), other.product), ("http", None));
    }
}
