//! ONC RPC (RFC 5531): NFS, the port mapper (RFC 1833), and every other program under the name `rpc`.
//!
//! A call proves it and names the program (over TCP, with its reply); a reply alone does not. Of the port mapper's answers the follower keeps
//! 4 open calls and at most 4096 bytes of an unfinished record; a longer record is skipped.

use std::net::IpAddr;

use super::evidence::{Evidence, Role, weigh};
use super::nfs_export::{self, ExportReader};
use super::reader::Reader;
use super::{Described, Ends, Follow, FollowOut, Opening, Probe, Protocol};
use crate::model::{AppInfo, AppProto, Expectation, Side, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Rpc(Program);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Nfs,
    Portmap,
    Gluster,
    Other,
}

impl Rpc {
    pub(super) const NFS: Rpc = Rpc(Program::Nfs);
    pub(super) const PORTMAP: Rpc = Rpc(Program::Portmap);
    pub(super) const GLUSTER: Rpc = Rpc(Program::Gluster);
    pub(super) const OTHER: Rpc = Rpc(Program::Other);
}

const PORTMAP: u32 = 100_000;
const NFS: u32 = 100_003;
/// GlusterFS: management (daemon, friends, bricks, command line), its port mapper, handshake, files, callbacks, dump.
const GLUSTER: [u32; 10] =
    [1_238_433, 1_238_437, 1_238_463, 1_298_433, 1_298_437, 4_867_634, 14_398_633, 34_123_456, 52_743_234, 123_451_501];
/// GlusterFS has flavours of its own (AUTH_GLUSTERFS, versions 2 and 3; version 1 took 5).
const GLUSTER_FLAVORS: std::ops::RangeInclusive<u32> = 390_039..=390_040;
/// RPC services keep their port until they restart: a day covers clients that cache it.
const ENDPOINT_TTL_S: u32 = 86_400;
const CALLS_MAX: usize = 4;
const RECORD_BYTES_MAX: usize = 4096;
/// A list of every program of a host has tens of entries.
const ENTRIES_MAX: usize = 64;

fn program(number: u32) -> Program {
    match number {
        NFS => Program::Nfs,
        PORTMAP => Program::Portmap,
        number if GLUSTER.contains(&number) => Program::Gluster,
        _ => Program::Other,
    }
}

impl Protocol for Rpc {
    fn name(&self) -> &'static str {
        match self.0 {
            Program::Nfs => "nfs",
            Program::Portmap => "portmap",
            Program::Gluster => "glusterfs",
            Program::Other => "rpc",
        }
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| {
            let message = match (opening.transport, bytes) {
                (Transport::Tcp, [mark, ..]) if mark & 0x80 == 0 => return No,
                // The record mark: last fragment, and a length (RFC 5531 section 11).
                (Transport::Tcp, [_, high, _, _, message @ ..]) if *high < 0x40 => message,
                (Transport::Tcp, [_, high, ..]) if *high >= 0x40 => return No,
                (Transport::Tcp, _) => return Short,
                (_, message) => message,
            };
            match self.judge(message) {
                Short if opening.transport == Transport::Udp => No,
                // Scanners call the port mapper on every open port: over TCP a server has to answer in kind.
                Proof(role) if opening.transport == Transport::Tcp => Hint(role),
                said => said,
            }
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let skip = if opening.transport == Transport::Tcp { 4 } else { 0 };
        let call = opening.sides().into_iter().find_map(|(_, bytes)| Call::read(bytes.get(skip..)?));
        let Some(call) = call else { return Described::Whole };
        info.detail("program", call.program.to_string());
        if call.program != nfs_export::MOUNT {
            return Described::Whole;
        }
        // A client calls procedure 0 first, to see whether the server answers.
        let export = opening.sides().into_iter().find_map(|(_, bytes)| {
            messages(opening.transport, bytes).find_map(|m| Call::read(m).and_then(|call| nfs_export::mounted(&call)))
        });
        match export {
            Some(path) => {
                info.detail("export", path);
                Described::Whole
            }
            None => Described::Partly,
        }
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        let mapper = || Box::new(PortMapper { calls: Vec::new(), records: [Vec::new(), Vec::new()] });
        match self.0 {
            Program::Portmap => Some(mapper()),
            Program::Nfs => Some(Box::new(ExportReader::default())),
            _ => None,
        }
    }
}

impl Rpc {
    fn judge(&self, message: &[u8]) -> Evidence {
        let mut r = Reader::new(message);
        let (Some(_xid), Some(kind)) = (r.u32(), r.u32()) else { return Short };
        match kind {
            0 => match r.rest() {
                rest if rest.len() < 8 => Short.only_if([0, 0, 0, 2].starts_with(rest.get(..4).unwrap_or(rest))),
                [0, 0, 0, 2, ..] => match Call::read(message) {
                    Some(call) if program(call.program) == self.0 => Proof(Role::Client),
                    Some(_) => No,
                    // Credentials are at most 400 bytes: what is longer and unread is no call.
                    None if message.len() > 24 + 2 * 408 => No,
                    None => Short,
                },
                _ => No,
            },
            // Accepted or denied; an accepted reply has a verifier and one of six states.
            1 => match (r.u32(), r.u32(), r.u32()) {
                (Some(0), Some(flavor), Some(length))
                    if (flavor <= 6 || GLUSTER_FLAVORS.contains(&flavor)) && length <= 400 =>
                {
                    Hint(Role::Server)
                }
                (Some(1), Some(reason), _) if reason <= 1 => Hint(Role::Server),
                (Some(0 | 1), Some(_), Some(_)) => No,
                (Some(0 | 1) | None, ..) => Short,
                _ => No,
            },
            _ => No,
        }
    }
}

pub(super) struct Call<'a> {
    pub xid: u32,
    pub program: u32,
    pub version: u32,
    pub procedure: u32,
    pub arguments: &'a [u8],
}

impl<'a> Call<'a> {
    /// A whole call header, credentials and verifier included.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(message);
        let (xid, kind, rpc_version) = (r.u32()?, r.u32()?, r.u32()?);
        let (program, version, procedure) = (r.u32()?, r.u32()?, r.u32()?);
        // Program numbers begin at 100000 (RFC 5531 section 13); 0x40000000 and on is given out at run time.
        let plausible = (100_000..0x6000_0000).contains(&program) && version <= 64 && procedure <= 512;
        if kind != 0 || rpc_version != 2 || !plausible {
            return None;
        }
        opaque_auth(&mut r)?;
        opaque_auth(&mut r)?;
        Some(Call { xid, program, version, procedure, arguments: r.rest() })
    }
}

/// The whole messages of one side's opening.
fn messages(transport: Transport, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut r = Reader::new(bytes);
    std::iter::from_fn(move || {
        if r.is_empty() {
            return None;
        }
        let length = match transport {
            Transport::Tcp => usize::try_from(r.u32()? & 0x7fff_ffff).ok()?,
            _ => r.rest().len(),
        };
        r.take(length)
    })
}

/// Flavour (none, sys, short, DH, RPCSEC_GSS, TLS), and at most 400 bytes (RFC 5531 section 8.2).
fn opaque_auth(r: &mut Reader<'_>) -> Option<()> {
    let (flavor, length) = (r.u32()?, r.u32()?);
    let known = flavor <= 7 || GLUSTER_FLAVORS.contains(&flavor);
    let fits = known && length <= 400 && (flavor != 0 || length == 0);
    if !fits {
        return None;
    }
    r.skip(usize::try_from(length).ok()?.next_multiple_of(4))
}

/// Matches the port mapper's answers to its questions.
struct PortMapper {
    calls: Vec<Question>,
    /// Unfinished TCP records by side.
    records: [Vec<u8>; 2],
}

#[derive(Clone, Copy)]
struct Question {
    xid: u32,
    asked: Asked,
}

#[derive(Clone, Copy)]
enum Asked {
    /// GETPORT: program, transport.
    Port(u32, Transport),
    /// GETADDR: program, transport (from the netid).
    Address(u32, Transport),
    /// Version 2's DUMP, and version 3 and 4's.
    Dump,
    DumpAddresses,
}

impl Follow for PortMapper {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        let server = match side {
            Side::Orig => flow.orig.0,
            Side::Resp => flow.resp.0,
        };
        if flow.transport != Transport::Tcp {
            self.message(bytes, server, out);
            return;
        }
        let Some(slot) = self.records.get_mut(side as usize) else { return };
        let mut record = std::mem::take(slot);
        if record.len() + bytes.len() > RECORD_BYTES_MAX {
            return;
        }
        record.extend_from_slice(bytes);
        let mut r = Reader::new(&record);
        let mut unread = r;
        while let Some(mark) = r.u32() {
            let Some(message) = usize::try_from(mark & 0x7fff_ffff).ok().and_then(|n| r.take(n)) else { break };
            self.message(message, server, out);
            unread = r;
        }
        let unread = unread.rest().to_vec();
        if let Some(slot) = self.records.get_mut(side as usize) {
            *slot = unread;
        }
    }
}

impl PortMapper {
    fn message(&mut self, bytes: &[u8], server: IpAddr, out: &mut FollowOut) {
        if let Some(call) = Call::read(bytes) {
            if let Some(asked) = question(&call) {
                if self.calls.len() >= CALLS_MAX {
                    self.calls.remove(0);
                }
                self.calls.push(Question { xid: call.xid, asked });
            }
        } else if let Some((xid, result)) = accepted(bytes)
            && let Some(at) = self.calls.iter().position(|c| c.xid == xid)
        {
            let asked = self.calls.remove(at).asked;
            // Where the list is cut short, what stood before the cut still holds.
            let _ = answer(asked, result, server, out);
        }
    }
}

fn question(call: &Call<'_>) -> Option<Asked> {
    if call.program != PORTMAP {
        return None;
    }
    let mut r = Reader::new(call.arguments);
    match (call.version, call.procedure) {
        (2, 3) => {
            let (program, _version, protocol) = (r.u32()?, r.u32()?, r.u32()?);
            Some(Asked::Port(program, transport(protocol)?))
        }
        (2, 4) => Some(Asked::Dump),
        (3 | 4, 3) => {
            let (program, _version) = (r.u32()?, r.u32()?);
            Some(Asked::Address(program, netid(string(&mut r)?)?))
        }
        (3 | 4, 4) => Some(Asked::DumpAddresses),
        _ => None,
    }
}

/// Transaction id and result of an accepted, successful reply.
pub(super) fn accepted(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut r = Reader::new(bytes);
    let (xid, kind, denied) = (r.u32()?, r.u32()?, r.u32()?);
    if kind != 1 || denied != 0 {
        return None;
    }
    opaque_auth(&mut r)?;
    (r.u32()? == 0).then_some((xid, r.rest()))
}

fn answer(asked: Asked, result: &[u8], server: IpAddr, out: &mut FollowOut) -> Option<()> {
    let mut r = Reader::new(result);
    match asked {
        Asked::Port(program, transport) => announce(program, transport, u16::try_from(r.u32()?).ok()?, server, out),
        Asked::Address(program, transport) => {
            announce(program, transport, universal_port(string(&mut r)?)?, server, out);
        }
        // Both lists put a 1 before each entry and a 0 at the end.
        Asked::Dump => {
            for _ in 0..ENTRIES_MAX {
                if r.u32()? != 1 {
                    break;
                }
                let (program, _version, protocol, port) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
                if let (Some(transport), Ok(port)) = (transport(protocol), u16::try_from(port)) {
                    announce(program, transport, port, server, out);
                }
            }
        }
        Asked::DumpAddresses => {
            for _ in 0..ENTRIES_MAX {
                if r.u32()? != 1 {
                    break;
                }
                let (program, _version) = (r.u32()?, r.u32()?);
                let (transport, address, _owner) = (netid(string(&mut r)?), string(&mut r)?, string(&mut r)?);
                if let (Some(transport), Some(port)) = (transport, universal_port(address)) {
                    announce(program, transport, port, server, out);
                }
            }
        }
    }
    Some(())
}

/// Port 0 says "not registered".
fn announce(number: u32, transport: Transport, port: u16, server: IpAddr, out: &mut FollowOut) {
    let known = |e: &Expectation| e.port == port && e.transport == transport;
    if port == 0 || out.expect.len() >= ENTRIES_MAX || out.expect.iter().any(known) {
        return;
    }
    let app = AppProto::new(Rpc(program(number)).name());
    let (client, interface) = (None, None);
    out.expect.push(Expectation {
        client,
        server,
        transport,
        port,
        ttl_s: ENDPOINT_TTL_S,
        app,
        interface,
        serves: true,
    });
}

fn transport(number: u32) -> Option<Transport> {
    match number {
        6 => Some(Transport::Tcp),
        17 => Some(Transport::Udp),
        _ => None,
    }
}

fn netid(name: &[u8]) -> Option<Transport> {
    match name {
        b"tcp" | b"tcp6" => Some(Transport::Tcp),
        b"udp" | b"udp6" => Some(Transport::Udp),
        _ => None,
    }
}

/// XDR string: length, bytes, padding to four.
pub(super) fn string<'a>(r: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = usize::try_from(r.u32()?).ok()?;
    let text = r.take(length)?;
    r.skip(length.next_multiple_of(4) - length)?;
    Some(text)
}

/// The last two numbers of `h1.h2.h3.h4.p1.p2` (RFC 5665 section 5.2.3.3).
fn universal_port(address: &[u8]) -> Option<u16> {
    let mut parts = std::str::from_utf8(address).ok()?.rsplit('.');
    let (low, high): (u8, u8) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, ends, followed};
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_be_bytes()).collect()
    }

    fn call(program: u32, version: u32, procedure: u32, arguments: &[u32]) -> Vec<u8> {
        [words(&[0x1234, 0, 2, program, version, procedure, 0, 0, 0, 0]), words(arguments)].concat()
    }

    fn reply(result: &[u8]) -> Vec<u8> {
        [&words(&[0x1234, 1, 0, 0, 0, 0]), result].concat()
    }

    fn record(message: &[u8]) -> Vec<u8> {
        [&(0x8000_0000 | message.len() as u32).to_be_bytes(), message].concat()
    }

    pub(crate) fn examples() -> Vec<Example> {
        let done = reply(&[]);
        vec![
            Example::udp("nfs", &call(NFS, 3, 0, &[]), &done, Some(Side::Resp)),
            Example::tcp("nfs", &record(&call(NFS, 4, 1, &[0])), &record(&done), Some(Side::Resp)),
            Example::udp("portmap", &call(PORTMAP, 2, 3, &[NFS, 3, 17, 0]), b"", Some(Side::Resp)),
            Example::udp("rpc", &call(100_005, 3, 1, &[]), b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_mount_tells_the_export_after_the_call_that_only_knocks() {
        let asked = call(nfs_export::MOUNT, 3, 1, &[12, 0x2f65_7870, 0x6f72_742f, 0x6170_7073]);
        let knocks = record(&call(nfs_export::MOUNT, 3, 0, &[]));
        let done = record(&reply(&[]));
        let both = Example::tcp("rpc", &[knocks.clone(), record(&asked)].concat(), &done, Some(Side::Resp));
        assert_eq!(both.described(&Rpc::OTHER).get("export"), Some("/export/apps"));
        let udp = Example::udp("rpc", &asked, b"", Some(Side::Resp));
        assert_eq!(udp.described(&Rpc::OTHER).get("export"), Some("/export/apps"));
        let alone = Example::tcp("rpc", &knocks, &done, Some(Side::Resp));
        assert_eq!(alone.described(&Rpc::OTHER).get("export"), None);
    }

    #[test]
    fn a_reply_alone_proves_nothing() {
        assert_eq!(ask(&Rpc::NFS, Transport::Udp, b"", &reply(&[])), Probe::Unsure);
    }

    #[test]
    fn a_scanners_call_over_tcp_proves_nothing_without_a_reply() {
        let call = record(&call(PORTMAP, 2, 0, &[]));
        assert_eq!(ask(&Rpc::PORTMAP, Transport::Tcp, &call, b""), Probe::Unsure);
        assert_eq!(ask(&Rpc::PORTMAP, Transport::Tcp, &call, b"HTTP/1.1 400\r\n"), Probe::NotForUs);
    }

    #[test]
    fn another_rpc_version_or_a_small_program_is_not_rpc() {
        let mut bytes = call(NFS, 3, 0, &[]);
        bytes[11] = 3;
        assert_eq!(ask(&Rpc::NFS, Transport::Udp, &bytes, b""), Probe::NotForUs);
        assert_eq!(ask(&Rpc::OTHER, Transport::Udp, &call(7, 3, 0, &[]), b""), Probe::NotForUs);
    }

    #[test]
    fn getport_announces_the_port_for_everyone() {
        let (asked, told) = (call(PORTMAP, 2, 3, &[NFS, 3, 6, 0]), reply(&words(&[2049])));
        let out = followed(&Rpc::PORTMAP, &ends(Transport::Udp, 111), &[(Side::Orig, &asked), (Side::Resp, &told)]);
        let [e] = out.expect.as_slice() else { panic!("{:?}", out.expect) };
        assert_eq!((e.port, e.transport, e.app.as_str(), e.serves), (2049, Transport::Tcp, "nfs", true));
    }

    #[test]
    fn port_zero_and_an_unasked_answer_announce_nothing() {
        let (asked, told) = (call(PORTMAP, 2, 3, &[NFS, 3, 6, 0]), reply(&words(&[0])));
        let udp = ends(Transport::Udp, 111);
        assert!(followed(&Rpc::PORTMAP, &udp, &[(Side::Orig, &asked), (Side::Resp, &told)]).expect.is_empty());
        let unasked = reply(&words(&[2049]));
        assert!(followed(&Rpc::PORTMAP, &udp, &[(Side::Resp, &unasked)]).expect.is_empty());
    }

    #[test]
    fn a_dump_over_tcp_in_pieces_announces_each() {
        let list = words(&[1, PORTMAP, 2, 6, 111, 1, NFS, 3, 6, 2049, 1, 100_005, 3, 17, 20048, 0]);
        let (asked, told) = (record(&call(PORTMAP, 2, 4, &[])), record(&reply(&list)));
        let mut said: Vec<(Side, &[u8])> = vec![(Side::Orig, &asked)];
        said.extend(told.chunks(7).map(|piece| (Side::Resp, piece)));
        let out = followed(&Rpc::PORTMAP, &ends(Transport::Tcp, 111), &said);
        let ports: Vec<_> = out.expect.iter().map(|e| (e.port, e.app.as_str())).collect();
        assert_eq!(ports, [(111, "portmap"), (2049, "nfs"), (20048, "rpc")]);
    }

    #[test]
    fn a_universal_address_ends_in_the_port() {
        assert_eq!(universal_port(b"0.0.0.0.8.1"), Some(2049));
        assert_eq!(universal_port(b"::.0.111"), Some(111));
        assert_eq!(universal_port(b"8"), None);
    }
}
