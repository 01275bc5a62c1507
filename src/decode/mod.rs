//! From a frame to a datagram, in two halves: [`Locator`] peels link, VLAN and tunnel headers before the shard is
//! chosen; [`Decoder`] reassembles fragments and reads the transport header on the worker.
//!
//! Malformed input is data: every early return names a discard reason and is counted.

mod packet;

pub use packet::{Arp, Datagram, Icmp, Located, Nd, Network, Payload, Quoted, Sctp, SctpChunk, Tcp, TcpFlags, Udp};
