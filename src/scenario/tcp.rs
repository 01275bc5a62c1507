//! A TCP connection: each verb sends its segments and moves the conversation's own clock on.
//! Bound: a segment carries 1,448 bytes; longer payloads are several.

use crate::model::{Side, Stack, Timestamp};

use super::frame::{self, ACK, FIN, PSH, Path, RST, SYN};
use super::{Scenario, Vm, hop_ns};

const SEGMENT_BYTES: usize = 1_448;
/// MSS 1,460, SACK permitted, window scale 7: what Linux opens with.
const SYN_OPTIONS: [u8; 12] = [2, 4, 0x05, 0xb4, 4, 2, 1, 3, 3, 7, 0, 0];

/// MSS 1,460, window scale 8, SACK permitted: what Windows answers with.
const SYN_OPTIONS_OTHER: [u8; 12] = [2, 4, 0x05, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];

pub struct TcpTalk<'s> {
    scenario: &'s mut Scenario,
    ends: [(Vm, u16); 2],
    /// The next sequence number of each end.
    next: [u32; 2],
    clock: Timestamp,
    /// The server's.
    stack: Stack,
}

impl<'s> TcpTalk<'s> {
    pub(super) fn new(scenario: &'s mut Scenario, client: &Vm, server: &Vm, port: u16) -> Self {
        let from = scenario.ephemeral(client.ip);
        let next = [scenario.random(1 << 32) as u32, scenario.random(1 << 32) as u32];
        let clock = scenario.clock;
        let ends = [(client.clone(), from), (server.clone(), port)];
        TcpTalk { scenario, ends, next, clock, stack: Stack::Linux }
    }

    /// From another port than the next ephemeral one.
    pub fn from_port(&mut self, port: u16) -> &mut Self {
        let [client, _] = &mut self.ends;
        client.1 = port;
        self
    }

    /// The server answers as another system than Linux does.
    pub fn answered_by(&mut self, stack: Stack) -> &mut Self {
        self.stack = stack;
        self
    }

    /// SYN, SYN-ACK, ACK.
    pub fn handshake(&mut self) -> &mut Self {
        self.segment(Side::Orig, SYN, &[]);
        self.segment(Side::Resp, SYN | ACK, &[]);
        self.segment(Side::Orig, ACK, &[])
    }

    /// A SYN that is answered by RST: nobody listens.
    pub fn refused(&mut self) -> &mut Self {
        self.segment(Side::Orig, SYN, &[]);
        self.segment(Side::Resp, RST | ACK, &[])
    }

    /// A SYN and its two repetitions after 1 s and 3 s, to which nothing is answered.
    pub fn unanswered(&mut self) -> &mut Self {
        for wait_s in [1, 2, 0] {
            self.segment(Side::Orig, SYN, &[]);
            let [client, _] = &mut self.next;
            *client = client.wrapping_sub(1);
            self.clock = self.clock.plus_s(wait_s);
        }
        self
    }

    /// Data, and the other end's acknowledgement.
    pub fn send(&mut self, side: Side, bytes: impl AsRef<[u8]>) -> &mut Self {
        for piece in bytes.as_ref().chunks(SEGMENT_BYTES) {
            self.segment(side, PSH | ACK, piece);
        }
        self.segment(side.other(), ACK, &[])
    }

    /// Data in one frame, as segmentation offload leaves it on a vSwitch, and the other end's acknowledgement.
    pub fn whole(&mut self, side: Side, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.segment(side, PSH | ACK, bytes.as_ref());
        self.segment(side.other(), ACK, &[])
    }

    pub fn wait_ms(&mut self, milliseconds: i64) -> &mut Self {
        self.clock = self.clock.plus_ms(milliseconds);
        self
    }

    /// FIN from the client, FIN from the server, the last ACK.
    pub fn close(&mut self) -> &mut Self {
        self.segment(Side::Orig, FIN | ACK, &[]);
        self.segment(Side::Resp, FIN | ACK, &[]);
        self.segment(Side::Orig, ACK, &[])
    }

    pub fn reset(&mut self, side: Side) -> &mut Self {
        self.segment(side, RST | ACK, &[])
    }

    /// When its next segment will leave.
    pub fn now(&self) -> Timestamp {
        self.clock
    }

    fn segment(&mut self, side: Side, flags: u8, payload: &[u8]) -> &mut Self {
        let [client, server] = &self.ends;
        let [client_next, server_next] = &mut self.next;
        let (src, dst, seq, ack) = match side {
            Side::Orig => (client, server, client_next, *server_next),
            Side::Resp => (server, client, server_next, *client_next),
        };
        let ip_id = self.scenario.ip_id(src.0.ip);
        let path = Path { src: &src.0, dst_mac: dst.0.mac, dst_ip: dst.0.ip, ip_id };
        let syn = flags & SYN != 0;
        let segment = frame::Segment {
            src_port: src.1,
            dst_port: dst.1,
            // A reset that refuses has no sequence number of its own (RFC 9293 section 3.10.7.1).
            seq: if flags & RST != 0 && flags & ACK != 0 && side == Side::Resp { 0 } else { *seq },
            ack: if flags & ACK != 0 { ack } else { 0 },
            flags,
            options: match (syn, side, self.stack) {
                (false, ..) => &[],
                (true, Side::Orig, _) | (true, Side::Resp, Stack::Linux) => &SYN_OPTIONS,
                (true, ..) => &SYN_OPTIONS_OTHER,
            },
            payload,
            ttl: match (side, self.stack) {
                (Side::Resp, Stack::Windows) => 128,
                (Side::Resp, Stack::Device) => 255,
                _ => 64,
            },
        };
        let bytes = frame::tcp(&path, &segment);
        *seq = seq.wrapping_add(payload.len() as u32 + u32::from(syn || flags & FIN != 0));
        self.scenario.frame(self.clock, bytes);
        let hop = hop_ns(self.scenario);
        self.clock = Timestamp::from_ns(self.clock.ns().saturating_add(hop));
        self
    }
}
