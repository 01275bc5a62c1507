//! Observations: facts from the wire, the only door between the packet side and the fact side.
//!
//! At most four steps a flow plus one a service change leave the packet side; per-packet facts are summed there
//! and sent at ticks. An observation is never dropped.

use std::fmt;
use std::net::IpAddr;

use super::addr::Mac;
use super::advert::LinkAdvert;
use super::app::{AppInfo, AppProto};
use super::flow::{FlowRef, Side, Transport};
use super::ids::VmId;
use super::interface::CaptureInterface;
use super::location::Sighting;
use super::mark::Mark;
use super::mirror::{MirrorPath, OneWayTunnel};
use super::order::Order;
use super::quality::{Shown, SourceQuality};
use super::segment::Segment;
use super::stack::Stack;
use super::time::Timestamp;

#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    pub order: Order,
    /// Running maximum of packet times when it was made.
    pub time: Timestamp,
    pub fact: Fact,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// One step in the life of a flow.
    Flow(FlowRef, FlowFact),
    /// An address claimed by a MAC in ARP, ND or DHCP.
    Claim(Claim),
    /// A host says that it listens to a group, or no longer.
    Membership(Membership),
    /// What a host of this segment calls itself. Untrusted: names a VM, identifies none.
    Name(Segment, Box<HeardName>),
    /// What a station says of itself to its neighbour on the link.
    Advert(Box<LinkAdvert>),
    /// Where the frames of this packet second were seen, in order of their first; sent at its end. Only a mirror that
    /// comes through a tunnel, or by several interfaces, has any.
    Sighted(Box<Vec<Sighting>>),
    /// The interfaces that count as locations, by number of their source, when that changed. Before what they showed.
    Interfaces(Vec<Option<CaptureInterface>>),
    /// A packet second has passed: everything before it has been seen. Sorts after what the tick caused on shards.
    Tick,
    /// Counters of one worker or of the dispatcher, as increments since its last report; sent at stats ticks.
    Counters(Box<Vec<(&'static str, u64)>>),
    /// Flow records that wait for their template, sent at ticks where it changed; empty when none does.
    Awaited(Vec<AwaitedTemplate>),
    /// State of one mirror source, sent at stats ticks (`watch` only: it does not depend on the input).
    Source(Box<SourceCounts>),
    /// What the frames of each mirror source look like, sent at stats ticks.
    Quality(Box<Vec<SourceQuality>>),
    /// What was shown of each pair of hosts since the last stats tick; sent at those.
    Shown(Box<Vec<Shown>>),
    /// Tunnels that look like a mirror's own and are taken for segments; sent at stats ticks while there are any.
    OneWayTunnels(Vec<OneWayTunnel>),
    /// What a folder that probes share holds of a VM's baseline.
    Handover(Box<Handover>),
}

/// An answer of the folder that `[baseline] follow` names. It takes a place in the order of things as a packet does, and
/// is recorded like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handover {
    /// From here on answers come with the recording: the folder itself is not asked.
    Recorded,
    /// The text of the VM's file; `None` where there is none, or none that was not handed over before.
    Page(VmId, Option<String>),
}

impl Handover {
    /// As the payload of a frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Handover::Recorded => b"recorded".to_vec(),
            Handover::Page(vm, None) => vm.to_string().into_bytes(),
            Handover::Page(vm, Some(text)) => format!("{vm}\n{text}").into_bytes(),
        }
    }

    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        if text == "recorded" {
            return Some(Handover::Recorded);
        }
        let (vm, page) = text.split_once('\n').map_or((text, None), |(vm, page)| (vm, Some(page.to_owned())));
        Some(Handover::Page(vm.parse().ok()?, page))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum FlowFact {
    /// The first packet. Always the first fact of a flow.
    Attempt(Opening),
    /// The responder proved that it answers: SYN-ACK, SCTP INIT-ACK, or a reply datagram from the port asked.
    Answer,
    /// The first payload bytes from the responder (TCP, SCTP); or an answer of the responder (UDP) to a request that
    /// was not seen.
    ServerData,
    /// The attempt was refused.
    Refused(RefusedBy),
    /// The payload proved an application protocol; sent again when more details are known (version, certificate…).
    App(Box<AppInfo>),
    /// Two connections have shown that this family of TCP/IP stacks answers at the responder's end.
    Stack(Stack),
    /// Bytes of this side came in two copies that differ: someone shows a reader other bytes than the receiver, or
    /// answers in its stead. At most once a flow.
    Conflict(Side),
    /// This flow announced another one.
    Expect(Box<Expectation>),
    /// Running totals of a long flow, at ticks, at most once a minute.
    Progress(FlowTotals),
    /// A flow record told of a whole conversation. The only fact of its flow.
    Record(Box<Record>),
    /// The flow ended or was forgotten. Always the last fact of a flow.
    End(FlowEnd, FlowTotals),
}

/// What the first packet of a flow was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A SYN, or an SCTP INIT.
    Syn,
    /// A SYN-ACK whose SYN was not seen; `orig` is then the receiver of it.
    SynAck,
    /// TCP or SCTP in mid-connection; who serves is not known from the handshake.
    Midstream,
    /// A UDP datagram, an ICMP message, or any other IP protocol.
    Datagram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBy {
    /// RST (TCP) or ABORT (SCTP) in answer to the opening.
    Reset,
    /// ICMP destination unreachable; the code as in RFC 792 or RFC 4443.
    Unreachable(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEnd {
    /// FIN in both directions, or SCTP SHUTDOWN.
    Finished,
    Reset,
    /// Silent for longer than its state allows.
    Timeout,
    /// Forgotten because its shard's table was full.
    Evicted,
    /// The input ended.
    Shutdown,
}

/// Packets and bytes (IP length) by direction since the flow began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowTotals {
    pub orig_packets: u64,
    pub resp_packets: u64,
    pub orig_bytes: u64,
    pub resp_bytes: u64,
    pub last_seen: Timestamp,
    /// TCP bytes that were acknowledged but never seen: the mirror lost them.
    pub missed_bytes: u64,
    /// Of these, what `orig` had sent, as far as two sources tell the sides apart.
    pub missed_of_orig: u64,
    /// In mid-connection, and one direction was never seen: a one-way mirror.
    pub one_way: bool,
    /// Of the latest packet of each direction: what a host does to frames shows in a connection that a VM took along.
    pub orig_mark: Mark,
    pub resp_mark: Mark,
}

/// What another device's flow record (or two, one for each direction) says of a conversation that we did not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub format: RecordFormat,
    /// Who sent the record.
    pub exporter: IpAddr,
    pub outcome: Outcome,
    /// Packets and bytes as the exporter counted them.
    pub totals: FlowTotals,
    /// The exporter looked at one packet in so many; 1 where it said nothing. Nothing is scaled by it.
    pub sampling: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    NetFlow,
    Ipfix,
}

impl fmt::Display for RecordFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordFormat::NetFlow => "NetFlow",
            RecordFormat::Ipfix => "IPFIX",
        })
    }
}

/// How a recorded conversation went. Only [`Outcome::Answered`] says that `resp` serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both directions, the handshake in their flags (TCP) or a reply (UDP), and it is certain who asked.
    Answered,
    /// A SYN, and a reset in return.
    Refused,
    /// One direction only.
    OneWay,
    /// Both directions, and nothing that tells who serves: it began before the record, or order and ports disagree.
    Unclear,
}

/// A flow announced by another: FTP data, TFTP, portmap, endpoint mapper, SIP media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Who will connect; `None` where any client may.
    pub client: Option<IpAddr>,
    pub server: IpAddr,
    pub transport: Transport,
    pub port: u16,
    /// Packet-time seconds for which it is held.
    pub ttl_s: u32,
    /// What the announced flow is, e.g. `ftp-data`; part of the parent, not a service of its own, unless `serves`.
    pub app: AppProto,
    /// Which of its family has the port: an RPC interface's UUID.
    pub interface: Option<String>,
    /// True where the port is a lasting service of its own (portmap, endpoint mapper), false for one transfer.
    pub serves: bool,
}

/// What IGMP and MLD report. Untrusted: any host may join any group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    pub segment: Segment,
    pub member: IpAddr,
    pub group: IpAddr,
    /// False: it leaves.
    pub joined: bool,
}

/// An address tied to a MAC by the protocol that ties them.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub segment: Segment,
    pub mac: Mac,
    /// `None` in a probe (ARP with a zero sender, DAD), where only the MAC is known.
    pub ip: Option<IpAddr>,
    pub kind: ClaimKind,
    pub host_hint: Option<IpAddr>,
    pub path: MirrorPath,
    /// Another MAC had said so of the address within a tenth of a second before.
    pub echo: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ClaimKind {
    /// who-has or neighbour solicitation, asking for `target`.
    Asks { target: IpAddr },
    /// is-at or neighbour advertisement in answer.
    Answers,
    /// Gratuitous ARP, unsolicited advertisement, RARP.
    Announces,
    /// Router advertisement (RFC 4861): the sender routes.
    Routes,
    /// A DHCP server gave this address to this client (RFC 2131 ACK).
    Leased { server: IpAddr, name: Option<String>, client_id: Option<String> },
}

/// A name that the host at this address says of itself, escaped, of at most 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardName {
    pub ip: IpAddr,
    pub by: NameBy,
    pub name: String,
}

/// The protocol that a name was heard in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameBy {
    Mdns,
    Nbns,
    Llmnr,
    /// A client's logon: the workstation that it says it sits at.
    Ntlm,
}

/// An exporter sent records before the template that describes them; they were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AwaitedTemplate {
    pub exporter: IpAddr,
    pub template: u16,
    /// Sets of records so far.
    pub sets: u64,
}

/// One mirror source's counters, cumulative since start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceCounts {
    pub name: String,
    pub packets: u64,
    pub bytes: u64,
    /// Dropped by the kernel because we were slow.
    pub kernel_drops: u64,
    /// Dropped by the interface or its driver.
    pub interface_drops: u64,
    /// The interface went away; nothing comes from it any more.
    pub gone: bool,
    /// What its packets say of the mirror itself; for `doctor` alone.
    pub survey: Option<SourceSurvey>,
}

/// How a mirror source looks, of a sample of at most a minute.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct SourceSurvey {
    pub name: String,
    pub packets: u64,
    /// As on the wire.
    pub bytes: u64,
    /// TCP conversations of at least four packets, and those of them seen in one direction only.
    pub conversations: u64,
    pub one_way: u64,
    /// Conversations that are tagged in one direction and not in the other.
    pub split_tags: u64,
    /// Packets larger than any MTU in use: segments merged or not yet cut.
    pub merged: u64,
    /// Packets that lie in the same tunnel twice.
    pub looped: u64,
    /// Packets to or from this machine's own address, and those of them that are resets or ICMP errors it sent.
    pub own: u64,
    pub answers: u64,
    pub own_address: Option<IpAddr>,
    /// The two hosts and the port with the most bytes.
    pub largest: Option<(IpAddr, IpAddr, u16)>,
    pub largest_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handover_comes_back_from_its_frame_and_what_is_none_is_none() {
        let vm = VmId::derive(&[b"mac"], 0);
        for handover in
            [Handover::Recorded, Handover::Page(vm, None), Handover::Page(vm, Some("a = 1\n\nb = 2".to_owned()))]
        {
            assert_eq!(Handover::of_bytes(&handover.to_bytes()), Some(handover));
        }
        for none in [&b""[..], b"vm-1", b"\xff\xfe", b"recorded\n"] {
            assert_eq!(Handover::of_bytes(none), None);
        }
    }
}
