//! Who is there and what they offer: endpoints → VMs, services, peer edges. Fed by observations, it reports
//! [`Change`]s; it judges nothing.

mod after_move;
mod bindings;
mod change;
mod clients;
mod closed;
mod config;
mod credit;
mod discovery;
mod expectation;
mod fan_in;
mod group;
mod home;
mod identity;
mod import;
mod lineage;
mod location;
mod moves;
mod outside;
mod peer;
mod records;
mod rival;
mod service;
mod station;
mod syn_proxy;
mod table;
mod vm;

#[cfg(test)]
mod scene;
#[cfg(test)]
mod tests;

pub use bindings::AddressBinding;
pub use change::{Basis, Change, What};
pub use config::InventoryConfig;
pub use home::Home;
pub use identity::EXPECTED_CAME;
pub use import::{ImportError, Imported, ImportedVm};
pub use location::{Doubled, Stay, Whereabouts};
pub use outside::Outside;
pub use peer::{Client, PeerEdge};
pub use service::Service;
pub use station::Source;
pub use table::Inventory;
pub use vm::{Declared, Name, NameSource, Nic, Vm};
