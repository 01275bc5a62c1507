//! What an operator may set of decoding. Limits of fragments are per virtual shard and per locator.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::host_os::{HostOs, HostOsTable, Urgent};
use super::mirror::MirrorConfig;

/// The `[decode]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeConfig {
    /// The `[[mirror]]` tables, which are no part of this section.
    #[serde(skip)]
    pub mirrors: Vec<MirrorConfig>,
    /// Unfinished datagrams kept by one shard; beyond it the oldest is forgotten and counted.
    pub fragmented_datagrams_max: usize,
    /// Bytes of fragments kept by one shard, bookkeeping included.
    pub fragment_bytes_max: usize,
    /// Systems and the networks that run them: `host_os = { windows = ["10.1.0.0/16"] }`. They decide whose bytes
    /// count where fragments or segments overlap.
    pub host_os: BTreeMap<HostOs, Vec<IpNet>>,
    /// The system of every other receiver.
    pub host_os_default: HostOs,
    /// Do applications read the byte that a TCP urgent pointer names in its place (`inline`) or apart (`oob`)?
    pub urgent: Urgent,
}

impl DecodeConfig {
    /// Receivers and their systems.
    pub fn hosts(&self) -> HostOsTable {
        let mut hosts = HostOsTable::new(&self.host_os, self.host_os_default);
        hosts.urgent = self.urgent;
        hosts
    }
}

impl Default for DecodeConfig {
    /// 256 datagrams and 512 KiB: 64 shards under a flood of fragments stay at 32 MiB, and eight datagrams of the
    /// largest size can be in flight in each.
    fn default() -> Self {
        DecodeConfig {
            mirrors: Vec::new(),
            fragmented_datagrams_max: 256,
            fragment_bytes_max: 512 * 1024,
            host_os: BTreeMap::new(),
            host_os_default: HostOs::default(),
            urgent: Urgent::default(),
        }
    }
}
