//! What an observation changed in the inventory: the input of detectors and baselines.

use std::net::IpAddr;

use crate::model::{AppInfo, FlowRef, Segment, ServiceClass, ServiceKey, Timestamp, VmId};

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
    /// A VM in a home network was seen for the first time (ever, as far as the state knows).
    VmNew { vm: VmId },
    /// A known VM got another address, MAC or name.
    VmChanged { vm: VmId, text: String },
    /// A service was proved for the first time. Exactly once for each key.
    ServiceNew { service: ServiceKey, segment: Segment, ip: IpAddr, class: ServiceClass, basis: Basis },
    /// A known service was used again by a flow that it answered. Once a flow.
    ServiceUsed { service: ServiceKey, client: IpAddr, client_vm: Option<VmId> },
    /// The payload proved the application of a service, for the first time or again with other values.
    /// `before` is what was known until now (None: nothing).
    ServiceApp { service: ServiceKey, before: Option<Box<AppInfo>>, now: Box<AppInfo> },
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

/// How sure it is that a service is there, and since when (detection.md 3.3, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// Evidence level 0–4 of detection.md 3.3.
    pub level: u8,
    /// An earlier refusal (RST, ICMP unreachable) from this address and port: the service started since then.
    pub closed_at: Option<Timestamp>,
    /// True where the flow that proved it began before the capture: it may have been there all along.
    pub midstream: bool,
}
