//! Sections that belong to no room: where the state lies, and how much the packet side may hold.

use serde::{Deserialize, Serialize};

/// The `[limits]` section: the packet side's tables over all shards. What happens at a bound stands in each room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Flows remembered at once; 200 bytes each.
    pub flows_max: usize,
    /// Out-of-order TCP bytes held back, in MiB.
    pub reassembly_mib: usize,
    /// First bytes of flows that are being recognised, in MiB.
    pub openings_mib: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        LimitsConfig { flows_max: 1 << 18, reassembly_mib: 32, openings_mib: 32 }
    }
}
