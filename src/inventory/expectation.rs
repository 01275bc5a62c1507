//! Expectations: flows that another flow announced (FTP data, TFTP, portmap, SIP media), so that the announced port
//! is not taken for a new service of its own.
//!
//! At most [`EXPECTATIONS_MAX`]; at the bound the one announced longest ago is forgotten and counted. One transfer
//! over TCP uses its expectation up: who announces a port once may not serve on it twice.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use super::service::RowKey;
use super::transfer::Announcer;
use crate::counters;
use crate::model::{AppProto, Expectation, FlowRef, Segment, Side, Timestamp, Transport};

const EXPECTATIONS_MAX: usize = 16_384;
/// No announcement is believed for longer, whatever it says: 1 day, as long as a portmapper's registrations matter.
const TTL_S_MAX: u32 = 86_400;
/// A wildcard announcement (TFTP) speaks of ports that the system hands out, never of one below this (RFC 6335).
const DYNAMIC_PORT_MIN: u16 = 1_024;

counters! {
    pub(super) struct ExpectationCounters {
        forgotten => "inventory.expectation.forgotten",
        met => "inventory.expectation.met",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Awaited {
    server: IpAddr,
    /// 0: any port between the two addresses.
    port: u16,
    transport: Transport,
    client: Option<IpAddr>,
    segment: Segment,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub app: AppProto,
    pub interface: Option<String>,
    /// A lasting service of its own; else part of the flow that announced it.
    pub serves: bool,
    /// The service of the flow that announced it, where that is one; and what that flow's server is in any case.
    pub parent: Option<RowKey>,
    pub by: Announcer,
    /// That flow, where it had none: a TFTP server answers from another port, so the transfer is the only answer.
    pub asked: Option<FlowRef>,
    until: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Expectations {
    awaited: BTreeMap<Awaited, Announced>,
    order: VecDeque<(Awaited, Timestamp)>,
    pub counters: ExpectationCounters,
}

impl Expectations {
    /// `parent` is the service that the announcing flow `by` uses.
    pub fn announce(&mut self, by: &FlowRef, expected: &Expectation, parent: Option<RowKey>, now: Timestamp) {
        let Expectation { client, server, transport, port, .. } = *expected;
        if port == 0 && client.is_none() {
            return; // "anything from anyone" announces nothing
        }
        let until = now.plus_s(i64::from(expected.ttl_s.min(TTL_S_MAX)));
        let key = Awaited { server, port, transport, client, segment: by.segment };
        let asked = (parent.is_none() && by.transport == Transport::Udp).then_some(*by);
        let (app, interface) = (expected.app.clone(), expected.interface.clone());
        let (serves, by) = (expected.serves, Announcer::of(by));
        let announced = Announced { app, interface, serves, parent, by, asked, until };
        self.awaited.insert(key, announced);
        self.order.push_back((key, until));
        while self.order.front().is_some_and(|(_, until)| *until < now) {
            self.drop_oldest();
        }
        while self.order.len() > EXPECTATIONS_MAX {
            self.counters.forgotten += 1;
            self.drop_oldest();
        }
    }

    /// Was this flow, whose `server` side answers, announced?
    pub fn meet(&mut self, flow: &FlowRef, server: Side) -> Option<Announced> {
        if self.awaited.is_empty() {
            return None;
        }
        let key = self.find(flow, server)?;
        self.counters.met += 1;
        let one_transfer = flow.transport == Transport::Tcp && key.port != 0;
        match self.awaited.get(&key) {
            Some(announced) if one_transfer && !announced.serves => self.awaited.remove(&key),
            announced => announced.cloned(),
        }
    }

    fn find(&self, flow: &FlowRef, server: Side) -> Option<Awaited> {
        let (serving, asking) = (flow.end(server), flow.end(server.other()));
        let exact = |at: (IpAddr, u16), client: Option<IpAddr>| Awaited {
            server: at.0,
            port: at.1,
            transport: flow.transport,
            client,
            segment: flow.segment,
        };
        let (here, there) = ((serving.ip, serving.port), (asking.ip, asking.port));
        // Media may be sent first by the end that was announced, so it is looked for at both ends.
        let certain =
            [exact(here, Some(asking.ip)), exact(here, None), exact(there, Some(serving.ip)), exact(there, None)];
        let dynamic = serving.port >= DYNAMIC_PORT_MIN;
        let wild = [exact((serving.ip, 0), Some(asking.ip)), exact((asking.ip, 0), Some(serving.ip))];
        certain
            .into_iter()
            .chain(wild.into_iter().filter(|_| dynamic))
            .find(|key| self.awaited.get(key).is_some_and(|announced| announced.until >= flow.first_seen))
    }

    fn drop_oldest(&mut self) {
        if let Some((key, until)) = self.order.pop_front()
            && self.awaited.get(&key).is_some_and(|announced| announced.until == until)
        {
            self.awaited.remove(&key);
        }
    }
}
