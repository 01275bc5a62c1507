//! Why a frame or a packet was not decoded, and the counters of this room.
//!
//! Every reason has one counter; nothing is dropped without one.

use std::fmt;

/// Declares the reasons, their names and a counter for each, so that none can be forgotten.
macro_rules! discards {
    ($($(#[$doc:meta])* $variant:ident, $field:ident => $name:literal;)*) => {
        /// Why a frame or packet was given up. Never an error that travels: the caller goes on with the next frame.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Discard { $($(#[$doc])* $variant),* }

        impl Discard {
            pub const ALL: &'static [Discard] = &[$(Discard::$variant),*];

            /// The dotted name under which `stats` shows it.
            pub fn name(self) -> &'static str {
                match self { $(Discard::$variant => $name),* }
            }
        }

        crate::counters! {
            /// Frames and packets given up, by reason.
            pub struct DiscardCounters { $($field => $name),* }
        }

        impl DiscardCounters {
            fn count(&mut self, reason: Discard) {
                match reason { $(Discard::$variant => self.$field += 1),* }
            }
        }
    };
}

discards! {
    /// The bytes end inside a header.
    Short, short => "decode.discard.short";
    /// A capture of a kind of link that is not known here.
    LinkType, link_type => "decode.discard.link_type";
    /// What came to a listener is not the tunnel that it listens for.
    NoTunnel, no_tunnel => "decode.discard.no_tunnel";
    /// A frame of a protocol that carries no IP, no ARP and no introduction (spanning tree, PPP negotiation…).
    NotIp, not_ip => "decode.discard.not_ip";
    /// More than 16 tags and tunnels, or fragmented tunnels within fragmented tunnels.
    TooDeep, too_deep => "decode.discard.too_deep";
    /// The version of the IP header is not the one that was announced.
    IpVersion, ip_version => "decode.discard.ip_version";
    /// The IPv4 header claims to be shorter than 20 bytes.
    IpHeader, ip_header => "decode.discard.ip_header";
    /// The IP length is shorter than the header.
    IpLength, ip_length => "decode.discard.ip_length";
    /// More than 16 extension headers in one packet.
    Extensions, extensions => "decode.discard.extensions";
    /// ARP or RARP for other links than Ethernet, or other addresses than IPv4.
    Arp, arp => "decode.discard.arp";
    /// LLDP without chassis, port and time to live in this order, with one of them twice, or with too many TLVs.
    Lldp, lldp => "decode.discard.lldp";
    /// CDP of an unknown version, without a device, with a TLV shorter than its head, or with too many.
    Cdp, cdp => "decode.discard.cdp";
    /// The TCP data offset is below 5 words or beyond the packet.
    TcpHeader, tcp_header => "decode.discard.tcp_header";
    /// The UDP length is shorter than its header.
    UdpLength, udp_length => "decode.discard.udp_length";
    /// A fragment that ends beyond 65,535 bytes ("ping of death").
    FragmentOversize, fragment_oversize => "decode.discard.fragment_oversize";
    /// A fragment that is empty, is not a multiple of 8 bytes, or contradicts where the datagram ends ("teardrop").
    FragmentMisfit, fragment_misfit => "decode.discard.fragment_misfit";
    /// A fragment of which the capture kept only the beginning, and which is not the first one.
    FragmentCut, fragment_cut => "decode.discard.fragment_cut";
    /// A datagram in more pieces than any path makes; it is forgotten whole.
    FragmentFlood, fragment_flood => "decode.discard.fragment_flood";
    /// A fragment that overlaps another where the receiver drops such datagrams (RFC 5722): it is forgotten whole.
    FragmentOverlap, fragment_overlap => "decode.discard.fragment_overlap";
}

impl fmt::Display for Discard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

crate::counters! {
    /// What was decoded, and what became of fragments.
    pub struct WorkCounters {
        frames => "decode.frames",
        datagrams => "decode.datagrams",
        tunnels => "decode.tunnels",
        /// Frames of tunnels of which one end found no place in the table of ends.
        unwatched => "decode.tunnel.unwatched",
        /// Numbered copies of mirror paths that found no place.
        unsequenced => "decode.sequence.unread",
        fragments => "decode.fragments",
        reassembled => "decode.fragment.reassembled",
        /// Bytes that had been received before, with the same content.
        duplicate => "decode.fragment.duplicate",
        /// A fragment that overlaps another without being its copy: only an attack or a broken stack sends it.
        overlap => "decode.fragment.overlap",
        expired => "decode.fragment.expired",
        evicted => "decode.fragment.evicted",
    }
}

/// Counters of one [`Locator`](super::Locator) or one [`Decoder`](super::Decoder), cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeCounters {
    pub work: WorkCounters,
    pub discards: DiscardCounters,
}

impl DecodeCounters {
    pub fn add(&mut self, other: &Self) {
        self.work.add(&other.work);
        self.discards.add(&other.discards);
    }

    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        self.work.report(out);
        self.discards.report(out);
    }

    #[cold]
    pub(super) fn discard(&mut self, reason: Discard) {
        self.discards.count(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_discard_has_its_own_counter_under_its_own_name() {
        for reason in Discard::ALL {
            let mut counters = DecodeCounters::default();
            counters.discard(*reason);
            let mut report = Vec::new();
            counters.report(&mut report);
            assert_eq!(report, vec![(reason.name(), 1)]);
            assert!(reason.name().starts_with("decode.discard."));
        }
    }
}
