//! Who is there and what they offer: endpoints → VMs, services, peer edges. Fed by observations, it reports
//! [`Change`]s; it judges nothing.

mod advert;
mod after_move;
mod arrival;
mod bindings;
mod change;
mod client_id;
mod clients;
mod closed;
mod config;
mod contradiction;
mod credit;
mod discovery;
mod expectation;
mod fan_in;
mod group;
mod group_member;
mod holders;
mod home;
mod host_key;
mod identity;
mod import;
mod interfaces;
mod lineage;
mod listed;
mod location;
mod marks;
mod moves;
mod names;
mod outside;
mod peer;
mod ports;
mod records;
mod rival;
mod service;
mod station;
mod storage;
mod syn_proxy;
mod table;
mod tie;
mod transfer;
mod unasked;
mod vm;

#[cfg(test)]
mod scene;
#[cfg(test)]
mod tests;

pub use advert::Introduced;
pub use after_move::{Differs, Hourly};
pub use bindings::AddressBinding;
pub use change::{Basis, Change, Sight, What};
pub use config::InventoryConfig;
pub use contradiction::Contradiction;
pub use home::Home;
pub use import::{FILE_BYTES_MAX, Format, ImportError, Imported, ImportedVm, InventoryFile};
pub use listed::{Coverage, Listing};
pub use location::{Doubled, Stay, Whereabouts};
pub use names::Heard;
pub use outside::Outside;
pub use peer::{Client, PeerEdge};
pub use service::Service;
pub use station::Source;
pub use table::Inventory;
pub use transfer::{Announcer, Transfer};
pub use vm::{Declared, Name, NameSource, Nic, Vm};
