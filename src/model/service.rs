//! A service: what a VM offers. Application, product and version are attributes of it, not part of its identity.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::flow::Transport;
use super::ids::VmId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    pub vm: VmId,
    pub transport: Transport,
    pub port: u16,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.vm, self.transport, self.port)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceClass {
    /// A handshake or a unicast reply proved it.
    #[default]
    Unicast,
    /// Gossip: both ends answer on the port.
    Symmetric,
    /// Proved by sending to a multicast group.
    Multicast,
    /// Proved by sending to the broadcast address.
    Broadcast,
}

impl fmt::Display for ServiceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ServiceClass::Unicast => "unicast",
            ServiceClass::Symmetric => "symmetric",
            ServiceClass::Multicast => "multicast",
            ServiceClass::Broadcast => "broadcast",
        })
    }
}
