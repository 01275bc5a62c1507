//! The inventory's section of the configuration, `[networks]`, and the bounds of its tables.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::home::Home;

/// What the operator may say. Every bound counts records; at the bound new ones are refused and counted, except
/// where a table's own file says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InventoryConfig {
    /// Where VMs live.
    pub home: Home,
    /// VM inventory to load (TOML or CSV).
    pub inventory: Option<PathBuf>,
    /// VMs in all. 20,000 is twenty times the largest site the alert budget is written for.
    pub vms_max: usize,
    /// Service rows in all.
    pub services_max: usize,
    /// Service rows of one VM: more open ports than any real host has, fewer than a tarpit pretends.
    pub services_per_vm_max: usize,
    /// Peer edges in all.
    pub peers_max: usize,
    /// Peer edges to one VM.
    pub peers_per_vm_max: usize,
}

impl Default for InventoryConfig {
    fn default() -> Self {
        InventoryConfig {
            home: Home::Auto,
            inventory: None,
            vms_max: 20_000,
            services_max: 100_000,
            services_per_vm_max: 4_096,
            peers_max: 200_000,
            peers_per_vm_max: 20_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_optional_and_an_unknown_one_is_an_error() {
        assert_eq!(toml::from_str::<InventoryConfig>("").unwrap(), InventoryConfig::default());
        let config = toml::from_str::<InventoryConfig>("home = [\"10.0.0.0/8\"]\ninventory = \"vms.toml\"").unwrap();
        assert_eq!(config.home.to_string(), "10.0.0.0/8");
        assert!(toml::from_str::<InventoryConfig>("hoem = \"auto\"").is_err());
    }
}
