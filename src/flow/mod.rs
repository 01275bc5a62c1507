//! Flows: both directions of one conversation, from its first packet to its end.
//!
//! [`FlowTable`] finds or makes the flow of a packet, follows the transport's state (TCP, SCTP, or request and reply),
//! and tells each step as a [`FlowFact`](crate::model::FlowFact). It does not know what a flow remembers: that is its
//! parameter `S`. [`Claims`] does the same for what has no flow: addresses tied to MACs by ARP and ND.
//!
//! One table a shard, at most `flows_max` flows. A full table forgets first what nobody answered or what has ended,
//! then the longest silent; each is told as [`FlowEnd::Evicted`](crate::model::FlowEnd) and counted.

mod advert;
mod membership;
mod neighbour;
#[cfg(test)]
pub(crate) mod packets;
mod record;
mod stack;
mod table;
mod tcp;
mod wheel;

use std::net::IpAddr;

pub use advert::{AdvertCounters, Adverts};
pub use membership::{MembershipCounters, reports};
pub use neighbour::{ClaimCounters, Claims};
pub use record::Flow;
use serde::{Deserialize, Serialize};
pub use stack::{Stacks, stack_of};
pub use table::{FlowTable, Seen, Tell};

use crate::counters;
use crate::model::{Mac, MirrorPath, Segment, Timestamp};

/// What is known of a packet besides its content.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Frame number over the whole input, from 1.
    pub frame: u64,
    /// Running maximum of packet times.
    pub time: Timestamp,
    pub segment: Segment,
    pub src_mac: Option<Mac>,
    pub dst_mac: Option<Mac>,
    /// Outer sender of the mirror copy.
    pub host_hint: Option<IpAddr>,
    /// What carried it.
    pub path: MirrorPath,
    pub taken: Taken,
}

/// How the frame was taken and tagged, in one byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken(u8);

impl Taken {
    const SAMPLED: u8 = 0x80;

    /// With the tag's 802.1p priority.
    pub fn new(sampled: bool, pcp: u8) -> Self {
        Taken(pcp & 7 | if sampled { Taken::SAMPLED } else { 0 })
    }

    /// One of many (sFlow): nothing is concluded from what was not seen, and no bytes are counted.
    pub fn sampled(self) -> bool {
        self.0 & Taken::SAMPLED != 0
    }

    /// 802.1p priority of the frame.
    pub fn pcp(self) -> u8 {
        self.0 & 7
    }
}

/// It is copied once for every packet.
const _: () = assert!(size_of::<Head>() <= 80);

/// Silence, in packet-time seconds, after which a flow is forgotten, by its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// A handshake that is not complete. Linux repeats a SYN after 1, 2, 4, 8 and 16 s of silence: all inside.
    pub half_open_s: u32,
    /// TCP in mid-connection of which one direction was never seen: a one-way mirror, or stray packets. Zeek's
    /// inactivity timeout; not an hour, because anyone can send stray packets.
    pub one_way_s: u32,
    /// Established TCP and SCTP. Suricata's default; keep-alives of two hours make a second flow.
    pub established_s: u32,
    /// One side sent FIN and the other is silent: its FIN was probably lost. 2 MSL are 60 to 240 s.
    pub half_closed_s: u32,
    /// After FIN in both directions, or a reset: time for stragglers and retransmissions only.
    pub closed_s: u32,
    /// UDP (and other datagram) flows that were answered.
    pub datagram_s: u32,
    /// UDP flows that nobody answered. Three times what a reply may take.
    pub datagram_unanswered_s: u32,
    pub icmp_s: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            half_open_s: 30,
            one_way_s: 300,
            established_s: 3600,
            half_closed_s: 120,
            closed_s: 10,
            datagram_s: 60,
            datagram_unanswered_s: 30,
            icmp_s: 30,
        }
    }
}

counters! {
    /// What became of flows, and what was odd about their packets.
    pub struct FlowCounters {
        opened => "flow.opened",
        ended_finished => "flow.ended.finished",
        ended_reset => "flow.ended.reset",
        ended_timeout => "flow.ended.timeout",
        ended_shutdown => "flow.ended.shutdown",
        /// TCP in mid-connection (or answered before its SYN) of which one direction was never seen: a one-way mirror.
        one_way => "flow.one_way",
        /// Forgotten while unanswered, half-open or ended, because the table was full.
        evicted_tentative => "flow.evicted.tentative",
        /// Forgotten in the middle of an answered conversation, because the table was full.
        evicted_settled => "flow.evicted.settled",
        /// Directions of flows turned round because the payload proved that the first sender serves.
        flipped => "flow.flipped",
        /// A new connection began on the addresses and ports of an old one.
        reused => "flow.tcp.ports_reused",
        syn_repeated => "flow.tcp.syn_repeated",
        /// SYN inside a living connection: ignored (RFC 5961 section 4 answers it with a challenge ACK).
        syn_inside => "flow.tcp.syn_inside",
        /// RST that the receiver would not have obeyed (RFC 5961 section 3).
        reset_out_of_window => "flow.tcp.reset_out_of_window",
        /// RST whose alleged sender went on sending data: it was forged.
        reset_disowned => "flow.tcp.reset_disowned",
        out_of_window => "flow.tcp.out_of_window",
        retransmitted => "flow.tcp.retransmitted",
        /// SYN-ACK that acknowledges something other than the SYN.
        answer_mismatched => "flow.tcp.answer_mismatched",
        /// ICMP error about a flow that is not (or no longer) known, or that had been answered.
        error_without_flow => "flow.icmp.error_unmatched",
        /// Requests answered too late to count as answered.
        answered_late => "flow.datagram.answered_late",
    }
}
