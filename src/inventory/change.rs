//! What an observation changed in the inventory: the input of detectors and baselines.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::after_move::Differs;
use super::location::Stay;
use crate::model::{AppInfo, FlowRef, Segment, ServiceClass, ServiceKey, Stack, Timestamp, VmId};

#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub time: Timestamp,
    /// Frame that caused it; 0 where a tick did.
    pub frame: u64,
    pub flow: Option<FlowRef>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A VM in a home network was seen for the first time (ever, as far as the state knows). One that an inventory
    /// file declared is not new: it is a `VmChanged` when it is first seen.
    VmNew { vm: VmId },
    /// A known VM got another address, MAC or name, or turned out to be a router.
    VmChanged { vm: VmId, text: String },
    /// A VM is on another host than it was. It is the VM it was.
    /// `before` says what the VM was before, by name and value.
    VmMoved { vm: VmId, from: Box<Stay>, to: Box<Stay>, before: Vec<(String, String)> },
    /// An hour has passed since its last move: what differs. Once a move, unless it moved again within the hour.
    VmCompared { vm: VmId, from: Box<Stay>, to: Box<Stay>, differs: Box<Differs> },
    /// A service was proved for the first time. Exactly once for each key (once more after a `ServiceRetracted`).
    ServiceNew { service: ServiceKey, segment: Segment, ip: IpAddr, class: ServiceClass, basis: Basis },
    /// The evidence for a known service grew: the level of `basis` is higher than any told before of this key.
    /// In the flow that proved the service first, payload comes after the SYN-ACK and is told by this.
    ServiceRaised { service: ServiceKey, basis: Basis },
    /// What was told as a service is none: a SYN proxy's port, the wrong side of a datagram flow, or the service
    /// of a host behind a router that was taken for the router (it is told anew as that host's).
    ServiceRetracted { service: ServiceKey },
    /// A known service was used again by a flow that it answered. Once a flow.
    ServiceUsed { service: ServiceKey, client: IpAddr, client_vm: Option<VmId> },
    /// The payload proved the application of a service, for the first time or again with other values.
    /// `before` is what was known until now (None: nothing). What belongs to one client (its fingerprint, the name
    /// it asked for) is not compared.
    ServiceApp { service: ServiceKey, before: Option<Box<AppInfo>>, now: Box<AppInfo> },
    /// Its SYN-ACKs are of this family of TCP/IP stacks, as two connections have shown. Told seldom, and again where many
    /// endpoints are seen.
    ServiceStack { service: ServiceKey, stack: Stack },
    /// An address of a home VM refused a connection that a learned service used to answer, or asked-for silence.
    ServiceRefused { service: ServiceKey, client: IpAddr },
    /// A client VM reached a service for the first time (successfully). Once for each edge.
    PeerNew { client: VmId, server: VmId, service: ServiceKey, server_ip: IpAddr },
    /// The known edge was used again. Once a flow.
    PeerUsed { client: VmId, server: VmId, service: ServiceKey },
    /// Two VMs turned out to be one; `gone` is from now on an alias of `kept`.
    Merged { kept: VmId, gone: VmId },
    /// A packet second passed.
    Tick,
}

impl Change {
    /// The VM that did what is new in it: the server of a service, the client of an edge.
    pub fn subject(&self) -> Option<VmId> {
        match &self.what {
            What::ServiceNew { service, .. }
            | What::ServiceRaised { service, .. }
            | What::ServiceRetracted { service }
            | What::ServiceUsed { service, .. }
            | What::ServiceApp { service, .. }
            | What::ServiceStack { service, .. }
            | What::ServiceRefused { service, .. } => Some(service.vm),
            What::PeerNew { client, .. } | What::PeerUsed { client, .. } => Some(*client),
            What::VmNew { vm }
            | What::VmChanged { vm, .. }
            | What::VmMoved { vm, .. }
            | What::VmCompared { vm, .. } => Some(*vm),
            What::Merged { .. } | What::Tick => None,
        }
    }
}

/// How sure it is that a service is there, and since when (detection.md 3.3, 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// Evidence level 1–4. From 3 on it qualifies for a finding; a row exists from 1 on.
    ///
    /// | level | TCP, SCTP | UDP |
    /// |---|---|---|
    /// | 4 | the handshake seen from its start, and payload from the server | answered, and the payload proved a protocol |
    /// | 3 | SYN-ACK to a SYN; or SYN-ACK without its SYN (one-way mirror), then payload | answered two clients, or on a well-known port; or proved by payload sent to a group |
    /// | 2 | SYN-ACK without its SYN, or the flags of a flow record | answered one client, protocol unknown, or so says a flow record |
    /// | 1 | mid-connection: the payload proved the side, or three remote endpoints used it | two answers, apart in time, that nobody was seen to ask for, whose payload proved the side |
    pub level: u8,
    /// An earlier refusal (RST, ICMP port unreachable) from this address and port: the service started since then.
    pub closed_at: Option<Timestamp>,
    pub sight: Sight,
}

impl Basis {
    /// Packets proved more than was known.
    pub(super) fn prove(&mut self, level: u8) {
        self.level = level;
        if self.sight == Sight::Record {
            self.sight = Sight::Whole;
        }
    }
}

/// How much was seen of the flows that proved a service, the best of them first. Stored by place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sight {
    /// Its packets, from the first.
    #[default]
    Whole,
    /// Only flows that began before the capture: the service may have been there all along. A handshake, or a request
    /// with its answer, ends that.
    Midstream,
    /// Nothing: another device's flow record tells of it.
    Record,
}
