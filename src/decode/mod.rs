//! From a frame to a datagram, in two halves: [`Locator`] peels link, VLAN and tunnel headers before the shard is
//! chosen; [`Decoder`] reassembles fragments and reads the transport header on the worker.
//!
//! Malformed input is data: every early return names a discard reason and is counted. Checksums are not verified:
//! mirrors on a vSwitch copy frames before the card fills them in, so a bad one is normal.

mod arp;
mod cdp;
mod config;
mod datagram;
mod discard;
mod fragment;
mod host_os;
mod icmp;
mod ip;
mod link;
mod lldp;
mod locate;
mod marks;
mod mirror;
mod overlay;
mod packet;
mod pairs;
mod plausible;
mod reader;
mod sequence;
mod sighting;
mod transport;
mod tunnel;
mod tunnel_ends;
mod twin;
mod udp_tunnel;
mod wireless;

#[cfg(test)]
mod encapsulation_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod mirror_tests;
#[cfg(test)]
mod test_frames;

pub use config::DecodeConfig;
pub use datagram::Decoder;
pub use discard::{DecodeCounters, Discard};
pub use host_os::{HostOs, HostOsTable, Urgent};
pub use link::reads;
pub use locate::{LAYERS_MAX, Locator, SHARDS};
pub use mirror::{MIRRORS_MAX, Meaning, MirrorConfig, Part, SameVlan};
pub use packet::{
    Advert, Arp, Datagram, Icmp, Located, Nd, Network, Payload, Quoted, Sctp, SctpChunk, StationId, Tcp, TcpFlags, Udp,
};
pub use pairs::{PairCounters, Pairs};
pub use sequence::Sequenced;
pub use sighting::{SightingCounters, Sightings};
pub use twin::{Mark, Place, TwinCounters, Twins, Verdict};
