//! DCE/RPC over TCP (C706 chapter 12, [MS-RPCE]): who offers which interface; and, on the endpoint mapper, which
//! port an interface was given.
//!
//! At most 8 interfaces are told of a connection; the endpoint mapper's follower carries over 128 bytes.
//! Named pipes over SMB are not read here.

use std::fmt::Write;

use super::evidence::{Evidence, Role, weigh};
use super::ntlm::Logon;
use super::reader::Reader;
use super::{Described, Ends, Follow, FollowOut, Opening, Probe, Protocol};
use crate::model::{AppInfo, AppProto, Expectation, Side, Transport};
use Evidence::{No, Proof, Short};

pub(super) struct Dcerpc;

/// Longer lists than this are scans of the mapper's whole content; eight say what the connection is for.
const INTERFACES_MAX: u8 = 8;
/// Dynamic endpoints live until the service restarts: a day covers clients that cache the mapping.
const ENDPOINT_TTL_S: u32 = 86_400;

/// e1af8308-5d1f-11c9-91a4-08002b14a0fa, as it travels in little-endian.
const ENDPOINT_MAPPER: [u8; 16] =
    [0x08, 0x83, 0xaf, 0xe1, 0x1f, 0x5d, 0xc9, 0x11, 0x91, 0xa4, 0x08, 0x00, 0x2b, 0x14, 0xa0, 0xfa];

impl Protocol for Dcerpc {
    fn name(&self) -> &'static str {
        "dcerpc"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| judge(bytes, opening.midstream))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        match bind(opening.side(server.other())) {
            Some(interfaces) => {
                let text = interfaces.iter().map(uuid).collect::<Vec<_>>().join(" ");
                info.detail("interfaces", text);
                Described::Whole
            }
            None if opening.side(server.other()).is_empty() || opening.midstream => Described::Whole,
            None => Described::Partly,
        }
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        Some(Box::new(Calls {
            mapper: EndpointMapper { state: State::Waiting, carry: Vec::new() },
            logon: Logon::default(),
        }))
    }
}

#[derive(Clone, Copy)]
struct Header {
    kind: u8,
    little_endian: bool,
    length: u16,
}

/// The common header (C706 section 12.6.3.1).
fn header(r: &mut Reader<'_>) -> Option<Header> {
    let [_version, _minor, kind, _flags, order, _float, _, _] = r.array()?;
    let little_endian = order & 0x10 != 0;
    let length = if little_endian { r.u16_le() } else { r.u16() }?;
    r.skip(6)?;
    Some(Header { kind, little_endian, length })
}

fn judge(bytes: &[u8], midstream: bool) -> Evidence {
    // Version 5.0 or 5.1; the kinds of PDU; character set ASCII; IEEE floats; two bytes reserved.
    let early = match bytes {
        [5] | [5, 0 | 1] => Short,
        [5, 0 | 1, kind, rest @ ..] if matches!(kind, 11..=15) || midstream && matches!(kind, 0 | 2 | 3) => {
            match rest {
                [] | [_] => Short,
                [_, 0x00 | 0x10, more @ ..] => Short.only_if(more.iter().take(3).all(|b| *b == 0)),
                _ => No,
            }
        }
        _ => No,
    };
    if early == No {
        return No;
    }
    let mut r = Reader::new(bytes);
    let Some(header) = header(&mut r) else { return Short };
    if header.length < 16 {
        return No;
    }
    match header.kind {
        // Bind and alter context: fragment sizes, group, number of contexts, then the first context itself.
        11 | 14 => match contexts(&mut r, header) {
            Some(0) => No,
            None if bytes.len() >= usize::from(header.length) => No,
            None => Short,
            Some(_) => Proof(Role::Client),
        },
        12 | 15 => Proof(Role::Server).only_if(header.length >= 24),
        13 => Proof(Role::Server).only_if((18..256).contains(&header.length)),
        // A connection begins with a bind; only in mid-connection may the rest come first.
        0 if midstream => Proof(Role::Client).only_if(header.length >= 24),
        2 | 3 if midstream => Proof(Role::Server).only_if(header.length >= 24),
        _ => No,
    }
}

/// Reads up to the contexts; their number, which no client sends as 0.
fn contexts(r: &mut Reader<'_>, header: Header) -> Option<u8> {
    let (transmit, receive) = if header.little_endian { (r.u16_le()?, r.u16_le()?) } else { (r.u16()?, r.u16()?) };
    r.skip(4)?;
    let number = r.u8()?;
    r.skip(3)?;
    // Fragments shorter than 1432 bytes are not negotiable (C706 section 12.6.3.7), but tools offer less.
    Some(if transmit < 64 || receive < 64 { 0 } else { number })
}

/// The interfaces that a client's first PDU binds, in wire order.
fn bind(client: &[u8]) -> Option<Vec<[u8; 16]>> {
    let mut r = Reader::new(client);
    let header = header(&mut r)?;
    if header.kind != 11 {
        return None;
    }
    let number = contexts(&mut r, header)?;
    let mut interfaces = Vec::new();
    for _ in 0..number.min(INTERFACES_MAX) {
        r.skip(2)?;
        let transfers = usize::from(r.u8()?);
        r.skip(1)?;
        let mut id: [u8; 16] = r.array()?;
        if !header.little_endian {
            swap(&mut id);
        }
        r.skip(4 + transfers * 20)?;
        if !interfaces.contains(&id) {
            interfaces.push(id);
        }
    }
    Some(interfaces)
}

/// Big-endian to little-endian: the first three fields of a UUID are numbers.
fn swap(id: &mut [u8; 16]) {
    let [a, b, c, d, e, f, g, h, ..] = id;
    std::mem::swap(a, d);
    std::mem::swap(b, c);
    std::mem::swap(e, f);
    std::mem::swap(g, h);
}

fn uuid(id: &[u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    let [a, b, c, d, e, f, g, h, i, j, rest @ ..] = *id;
    let (first, second, third) =
        (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h]));
    // Writing to a String cannot fail.
    let _ = write!(out, "{first:08x}-{second:04x}-{third:04x}-{i:02x}{j:02x}-");
    for byte in rest {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// What is read on.
struct Calls {
    mapper: EndpointMapper,
    logon: Logon,
}

impl Follow for Calls {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        self.mapper.data(side, bytes, flow, out);
        self.logon.data(side, bytes, flow, out);
    }

    fn gap(&mut self, side: Side) {
        self.logon.gap(side);
    }

    fn done(&self) -> bool {
        self.mapper.done() && self.logon.done()
    }
}

/// Reads the towers in the endpoint mapper's answers.
struct EndpointMapper {
    state: State,
    /// The end of the server's bytes so far: a tower may lie across segments.
    carry: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// The client asked for the mapper, so this side's towers are answers (the client's have the port it asks for).
    Mapping(Side),
    Done,
}

/// A TCP tower is 75 bytes; 128 leave room for long right-hand sides.
const CARRY_MAX: usize = 128;

impl Follow for EndpointMapper {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        match self.state {
            State::Waiting => match bind(bytes) {
                Some(interfaces) if interfaces.contains(&ENDPOINT_MAPPER) => self.state = State::Mapping(side.other()),
                Some(_) => self.state = State::Done,
                // The server's answer to a bind that is not seen, or a bind across segments: the next may tell.
                None => {}
            },
            State::Mapping(server) if server == side => self.towers(bytes, side, flow, out),
            State::Mapping(_) | State::Done => {}
        }
    }

    fn done(&self) -> bool {
        self.state == State::Done
    }
}

impl EndpointMapper {
    fn towers(&mut self, bytes: &[u8], side: Side, flow: &Ends, out: &mut FollowOut) {
        self.carry.extend_from_slice(bytes);
        // Not the address in the tower: a server may only speak for itself.
        let server = match side {
            Side::Orig => flow.orig.0,
            Side::Resp => flow.resp.0,
        };
        let mut seen = 0;
        while let Some((end, interface, port)) = next_tower(self.carry.get(seen..).unwrap_or_default()) {
            seen += end;
            let interface = uuid(&interface);
            if let Some(known) = out.expect.iter_mut().find(|e| e.port == port) {
                // One process offers several on its port.
                if let Some(known) = known.interface.as_mut().filter(|known| has_room(known, &interface)) {
                    known.push(' ');
                    known.push_str(&interface);
                }
            } else if port != 0 {
                out.expect.push(Expectation {
                    client: None,
                    server,
                    transport: Transport::Tcp,
                    port,
                    ttl_s: ENDPOINT_TTL_S,
                    app: AppProto::new("dcerpc"),
                    interface: Some(interface),
                    serves: true,
                });
            }
        }
        let read = self.carry.len().saturating_sub(CARRY_MAX).max(seen);
        self.carry.drain(..read.min(self.carry.len()));
    }
}

/// Is one more interface to be told, and for the first time?
fn has_room(known: &str, interface: &str) -> bool {
    !known.contains(interface) && known.split(' ').count() < usize::from(INTERFACES_MAX)
}

/// The next whole TCP tower: where it ends, its interface and its port. A tower describes itself (C706 appendix L), so that neither
/// NDR's pointers nor its two sizes need be followed: five floors, of which the first names the interface.
fn next_tower(bytes: &[u8]) -> Option<(usize, [u8; 16], u16)> {
    const START: &[u8] = &[5, 0, 19, 0, 0x0d];
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.windows(START.len()).position(|w| w == START) {
        from += at;
        let mut r = Reader::new(bytes.get(from..)?);
        if let Some((interface, port)) = tower(&mut r) {
            return Some((bytes.len() - r.rest().len(), interface, port));
        }
        from += 1;
    }
    None
}

fn tower(r: &mut Reader<'_>) -> Option<([u8; 16], u16)> {
    let (mut interface, mut port) = (None, None);
    for floor in 0..r.u16_le()? {
        let left_length = r.u16_le()?;
        let left = r.take(usize::from(left_length))?;
        let right_length = r.u16_le()?;
        let right = r.take(usize::from(right_length))?;
        match (floor, left, right) {
            // A UUID as it travels, and its version.
            (0, [0x0d, id @ ..], [_, _]) if left.len() == 19 => interface = id.first_chunk::<16>().copied(),
            (1, [0x0d, ..], [_, _]) if left.len() == 19 => {}
            // Connection-oriented RPC, TCP, IP.
            (2, [0x0b], [_, _]) => {}
            (3, [0x07], [high, low]) => port = Some(u16::from_be_bytes([*high, *low])),
            (4, [0x09], [_, _, _, _]) => {}
            _ => return None,
        }
    }
    Some((interface?, port?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, ends, followed};
    use super::*;

    const NDR: [u8; 20] =
        [4, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 8, 0, 0x2b, 0x10, 0x48, 0x60, 2, 0, 0, 0];

    fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![5, 0, kind, 3, 0x10, 0, 0, 0];
        bytes.extend((16 + body.len() as u16).to_le_bytes());
        bytes.extend([0, 0, 1, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    fn bind_pdu(interface: [u8; 16]) -> Vec<u8> {
        let mut body = vec![0xd0, 0x16, 0xd0, 0x16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0];
        body.extend(interface);
        body.extend([3, 0, 0, 0]);
        body.extend(NDR);
        pdu(11, &body)
    }

    fn bind_ack() -> Vec<u8> {
        let mut body =
            vec![0xd0, 0x16, 0xd0, 0x16, 0x12, 0x34, 0, 0, 4, 0, b'1', b'3', b'5', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        body.extend(NDR);
        pdu(12, &body)
    }

    fn map_answer(port: u16) -> Vec<u8> {
        let mut body = vec![0; 8 + 20];
        body.extend([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 75, 0, 0, 0, 75, 0, 0, 0]);
        body.extend([5, 0, 19, 0, 0x0d]);
        body.extend([0x11; 18]);
        body.extend([2, 0, 0, 0, 19, 0, 0x0d]);
        body.extend([0x22; 18]);
        body.extend([2, 0, 0, 0, 1, 0, 0x0b, 2, 0, 0, 0, 1, 0, 0x07, 2, 0]);
        body.extend(port.to_be_bytes());
        body.extend([1, 0, 0x09, 4, 0, 10, 0, 0, 5, 0, 0, 0, 0, 0]);
        pdu(2, &body)
    }

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("dcerpc", &bind_pdu(ENDPOINT_MAPPER), &bind_ack(), Some(Side::Resp)),
            Example::tcp("dcerpc", b"", &bind_ack(), Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_bound_interface_is_told() {
        let info = Example::tcp("", &bind_pdu(ENDPOINT_MAPPER), b"", Some(Side::Resp)).described(&Dcerpc);
        assert_eq!(info.get("interfaces"), Some("e1af8308-5d1f-11c9-91a4-08002b14a0fa"));
    }

    #[test]
    fn socks_five_is_not_rpc() {
        assert_eq!(ask(&Dcerpc, Transport::Tcp, &[5, 1, 0], &[5, 0]), Probe::NotForUs);
        assert_eq!(ask(&Dcerpc, Transport::Tcp, &[5, 0, 11, 3, 0x10, 1, 0, 0], b""), Probe::NotForUs);
    }

    #[test]
    fn a_request_without_a_bind_counts_only_in_mid_connection() {
        let bytes = pdu(0, &[0; 16]);
        let mut example = Example::tcp("", &bytes, b"", None);
        assert_eq!(ask(&Dcerpc, Transport::Tcp, &bytes, b""), Probe::NotForUs);
        example.first = Side::Orig;
        let mut opening = example.opening();
        opening.midstream = true;
        assert_eq!(Dcerpc.probe(&opening), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn the_mapper_announces_the_port() {
        let (bind, answer, request) = (bind_pdu(ENDPOINT_MAPPER), map_answer(49670), pdu(0, &[0; 32]));
        let ack = bind_ack();
        let said: [(Side, &[u8]); 4] =
            [(Side::Orig, &bind), (Side::Resp, &ack), (Side::Orig, &request), (Side::Resp, &answer)];
        let out = followed(&Dcerpc, &ends(Transport::Tcp, 135), &said);
        let [expected] = out.expect.as_slice() else { panic!("{:?}", out.expect) };
        assert_eq!((expected.port, expected.serves, expected.client), (49670, true, None));
        assert_eq!(expected.interface.as_deref(), Some("11111111-1111-1111-1111-111111111111"));
        assert_eq!(expected.server.to_string(), "10.0.0.5");
    }

    #[test]
    fn an_answer_across_two_segments_is_still_read() {
        let (bind, answer) = (bind_pdu(ENDPOINT_MAPPER), map_answer(49670));
        for cut in 1..answer.len() {
            let (head, tail) = answer.split_at(cut);
            let out = followed(
                &Dcerpc,
                &ends(Transport::Tcp, 135),
                &[(Side::Orig, &bind), (Side::Resp, head), (Side::Resp, tail)],
            );
            assert_eq!(out.expect.len(), 1, "cut at {cut}");
        }
    }

    #[test]
    fn another_interface_announces_nothing() {
        let (bind, answer) = (bind_pdu([7; 16]), map_answer(49670));
        let out = followed(&Dcerpc, &ends(Transport::Tcp, 135), &[(Side::Orig, &bind), (Side::Resp, &answer)]);
        assert!(out.expect.is_empty());
    }
}
