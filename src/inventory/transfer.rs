//! Announced transfers: ports that a flow's payload announced to one client and that a handshake then proved (FTP
//! data by PASV, EPSV, PORT and EPRT). They are listed among the services, marked with who announced them, and are
//! nothing else: no change that a detector judges, nothing learned, no peer edge, no event.
//!
//! At most [`PER_ADDRESS_MAX`] of one address, the one used longest ago making room: a busy FTP server opens thousands
//! a day, and the last ones show which range is open and by whom. At most [`TRANSFERS_MAX`] in all; there the quarter
//! used longest ago makes room. Both are counted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::records::Records;
use super::service::Service;
use crate::counters;
use crate::model::{Endpoint, FlowRef, Segment, Timestamp, Transport};
use crate::store::{Batch, Kind, Store, StoreError};

const PER_ADDRESS_MAX: usize = 16;
const TRANSFERS_MAX: usize = 8_192;

static TRANSFER: Kind = Kind { tag: 0x19, name: "announced transfer", version: 2 };

counters! {
    pub(super) struct TransferCounters {
        forgotten => "inventory.transfer.forgotten",
    }
}

/// One port that was announced, as the row of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Its bytes count for the service that announced it, too.
    pub service: Service,
    pub announced_by: Announcer,
}

/// The service whose payload announced a port, in the same segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcer {
    pub ip: IpAddr,
    pub transport: Transport,
    pub port: u16,
}

impl std::fmt::Display for Announcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.ip, self.transport, self.port)
    }
}

impl Announcer {
    /// The server of the announcing flow: its responder.
    pub(super) fn of(flow: &FlowRef) -> Self {
        Announcer { ip: flow.resp.ip, transport: flow.transport, port: flow.resp.port }
    }
}

/// Not the VM: whose address it is, identity says when it is asked.
type Place = (Segment, IpAddr, Transport, u16);

#[derive(Debug)]
pub(super) struct Transfers {
    rows: Records<Place, Transfer>,
    max: usize,
    pub counters: TransferCounters,
}

impl Transfers {
    pub fn new() -> Self {
        Transfers { rows: Records::new(&TRANSFER), max: TRANSFERS_MAX, counters: TransferCounters::default() }
    }

    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let place = |(segment, ip, transport, port): &Place, transfer: &mut Transfer| {
            transfer.service.placed(*segment, *ip, *transport, *port);
        };
        Ok(Transfers { rows: Records::load_with(&TRANSFER, store, place)?, ..Transfers::new() })
    }

    /// Lists a transfer, or counts one more at a port that was announced before.
    pub fn add(&mut self, transfer: Transfer) {
        let service = &transfer.service;
        let place = (service.segment, service.ip, service.key.transport, service.key.port);
        if let Some(known) = self.rows.touch(&place) {
            known.service.unite(transfer.service);
            known.announced_by = transfer.announced_by;
            return;
        }
        self.make_room(place);
        self.rows.put(place, transfer);
    }

    /// Bytes to and from the end that listened.
    pub fn count(&mut self, flow: &FlowRef, (to_server, to_client): (u64, u64), last_seen: Timestamp) {
        if let Some(row) = self.rows.touch(&place(flow, &flow.resp)) {
            row.service.bytes_to_server += to_server;
            row.service.bytes_to_client += to_client;
            row.service.last_seen = row.service.last_seen.max(last_seen);
        }
    }

    /// A service of its own is there now.
    pub fn replaced(&mut self, segment: Segment, ip: IpAddr, transport: Transport, port: u16) {
        self.rows.remove(&(segment, ip, transport, port));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Transfer> {
        self.rows.iter().map(|(_, transfer)| transfer)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.rows.save(batch, all);
    }

    fn make_room(&mut self, (segment, ip, ..): Place) {
        let of_address =
            self.rows.range((segment, ip, Transport::Tcp, 0)..).take_while(|(p, _)| (p.0, p.1) == (segment, ip));
        let mut by_age: Vec<(Timestamp, Place)> = of_address.map(|(p, row)| (row.service.last_seen, *p)).collect();
        let mut too_many = (by_age.len() + 1).saturating_sub(PER_ADDRESS_MAX);
        if too_many == 0 && self.rows.len() >= self.max {
            by_age = self.rows.iter().map(|(p, row)| (row.service.last_seen, *p)).collect();
            too_many = self.max.div_ceil(4);
        }
        by_age.sort_unstable();
        for (_, place) in by_age.into_iter().take(too_many) {
            self.rows.remove(&place);
            self.counters.forgotten += 1;
        }
    }
}

fn place(flow: &FlowRef, end: &Endpoint) -> Place {
    (flow.segment, end.ip, flow.transport, end.port)
}
