//! Which export an NFS client uses: the path of MOUNT's MNT (RFC 1813 section 5.2.1), and with NFS 4, which has no
//! MOUNT, the first name that the client looks up in the server's root (RFC 7530 section 16.13 and 16.19).
//!
//! The follower knows one file handle, the root's, of at most 128 bytes. It reads until the first name, a gap, or
//! [`MESSAGES_MAX`] messages; of a compound at most [`OPERATIONS_MAX`] operations, up to the first it does not know.

use super::framed::Framed;
use super::reader::Reader;
use super::rpc::{Call, accepted, string};
use super::{Ends, Follow, FollowOut};
use crate::model::Side;

pub(super) const MOUNT: u32 = 100_005;
const MNT: u32 = 1;
const NFS: u32 = 100_003;
const COMPOUND: u32 = 1;
/// A mount takes some ten compounds.
const MESSAGES_MAX: u16 = 128;
const OPERATIONS_MAX: u32 = 16;
/// NFS4_FHSIZE.
const HANDLE_BYTES_MAX: usize = 128;
/// The record mark's highest bit says that the record ends (RFC 5531 section 11).
const LENGTH_BITS: u32 = 0x7fff_ffff;

/// The path that a MNT call asks for.
pub(super) fn mounted<'a>(call: &Call<'a>) -> Option<&'a [u8]> {
    if (call.program, call.procedure) != (MOUNT, MNT) {
        return None;
    }
    string(&mut Reader::new(call.arguments)).filter(|path| path.starts_with(b"/"))
}

#[derive(Debug, Default)]
pub(super) struct ExportReader {
    sides: [Framed; 2],
    root: Root,
    messages: u16,
    done: bool,
}

#[derive(Debug, Default)]
struct Root {
    /// Transaction in which its handle was asked for.
    asked: Option<u32>,
    handle: Vec<u8>,
}

impl Follow for ExportReader {
    fn data(&mut self, side: Side, bytes: &[u8], _flow: &Ends, out: &mut FollowOut) {
        let ExportReader { sides, root, messages, done } = self;
        let Some(framed) = sides.get_mut(side as usize) else { return };
        framed.take(bytes, LENGTH_BITS, |message| {
            *messages = messages.saturating_add(1);
            if let Some(name) = root.message(message).filter(|_| !*done) {
                out.details.push(("export", name));
                *done = true;
            }
            *done |= *messages >= MESSAGES_MAX;
        });
    }

    fn gap(&mut self, side: Side) {
        if let Some(framed) = self.sides.get_mut(side as usize) {
            framed.lose();
        }
    }

    fn done(&self) -> bool {
        // Without the client's side nothing is told, without the server's the root stays unknown.
        self.done || self.sides.iter().any(Framed::is_lost)
    }
}

impl Root {
    /// The name that a call looks up in the root.
    fn message(&mut self, message: &[u8]) -> Option<String> {
        if let Some(call) = Call::read(message) {
            let compound = (call.program, call.version, call.procedure) == (NFS, 4, COMPOUND);
            return if compound { self.call(&call) } else { None };
        }
        if let Some((xid, result)) = accepted(message)
            && self.asked == Some(xid)
        {
            self.asked = None;
            self.handle = handle(result).map(<[u8]>::to_vec).unwrap_or_default();
        }
        None
    }

    fn call(&mut self, call: &Call<'_>) -> Option<String> {
        let mut r = Reader::new(call.arguments);
        let (_tag, _minor, operations) = (string(&mut r)?, r.u32()?, r.u32()?);
        let mut at_root = false;
        for _ in 0..operations.min(OPERATIONS_MAX) {
            match r.u32()? {
                operation::PUTROOTFH => at_root = true,
                operation::PUTFH => {
                    let handle = string(&mut r)?;
                    at_root = !handle.is_empty() && handle == self.handle.as_slice();
                }
                operation::GETFH if at_root && self.handle.is_empty() => self.asked = Some(call.xid),
                operation::GETFH => {}
                operation::LOOKUP => {
                    let name = string(&mut r)?;
                    if at_root && !name.is_empty() {
                        return Some(format!("/{}", String::from_utf8_lossy(name)));
                    }
                }
                operation::GETATTR => bitmap(&mut r)?,
                operation::ACCESS | operation::SECINFO_NO_NAME => r.skip(4)?,
                operation::SEQUENCE => r.skip(32)?,
                _ => return None,
            }
        }
        None
    }
}

/// Operation numbers (RFC 7530 section 16, RFC 8881 section 18).
mod operation {
    pub const ACCESS: u32 = 3;
    pub const GETATTR: u32 = 9;
    pub const GETFH: u32 = 10;
    pub const LOOKUP: u32 = 15;
    pub const PUTFH: u32 = 22;
    pub const PUTROOTFH: u32 = 24;
    pub const SECINFO_NO_NAME: u32 = 52;
    pub const SEQUENCE: u32 = 53;
}

fn bitmap(r: &mut Reader<'_>) -> Option<()> {
    let words = usize::try_from(r.u32()?).ok().filter(|words| *words <= 8)?;
    r.skip(words * 4)
}

/// The handle that GETFH gives, where all operations before it went well.
fn handle(result: &[u8]) -> Option<&[u8]> {
    let mut r = Reader::new(result);
    let (_status, _tag, operations) = (r.u32()?, string(&mut r)?, r.u32()?);
    for _ in 0..operations.min(OPERATIONS_MAX) {
        let (operation, status) = (r.u32()?, r.u32()?);
        if status != 0 {
            return None;
        }
        match operation {
            operation::GETFH => return string(&mut r).filter(|handle| handle.len() <= HANDLE_BYTES_MAX),
            operation::SEQUENCE => r.skip(36)?,
            operation::PUTROOTFH | operation::PUTFH | operation::LOOKUP => {}
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::examples::ends;
    use super::*;
    use crate::model::Transport;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn text(text: &[u8]) -> Vec<u8> {
        let mut out = words(&[text.len() as u32]);
        out.extend(text);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn record(message: &[u8]) -> Vec<u8> {
        [&(0x8000_0000 | message.len() as u32).to_be_bytes(), message].concat()
    }

    fn sequence() -> Vec<u8> {
        [words(&[operation::SEQUENCE]), vec![7; 32]].concat()
    }

    fn compound(xid: u32, operations: &[Vec<u8>]) -> Vec<u8> {
        let head = words(&[xid, 0, 2, NFS, 4, COMPOUND, 0, 0, 0, 0, 0, 1, operations.len() as u32]);
        record(&[head, operations.concat()].concat())
    }

    /// What Linux sends to find the root's handle, and the answer.
    fn root_is(xid: u32, handle: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let attributes = words(&[operation::GETATTR, 1, 0x10]);
        let asked =
            compound(xid, &[sequence(), words(&[operation::PUTROOTFH]), words(&[operation::GETFH]), attributes]);
        let answer = [
            words(&[xid, 1, 0, 0, 0, 0, 0, 0, 4, operation::SEQUENCE, 0]),
            vec![7; 36],
            words(&[operation::PUTROOTFH, 0, operation::GETFH, 0]),
            text(handle),
        ];
        (asked, record(&answer.concat()))
    }

    fn look_up(handle: &[u8], name: &[u8]) -> Vec<u8> {
        let put = [words(&[operation::PUTFH]), text(handle)].concat();
        compound(9, &[sequence(), put, [words(&[operation::LOOKUP]), text(name)].concat()])
    }

    fn read(said: &[(Side, Vec<u8>)]) -> (Vec<String>, bool) {
        let (mut reader, mut out) = (ExportReader::default(), FollowOut::default());
        for (side, bytes) in said {
            for piece in bytes.chunks(13) {
                reader.data(*side, piece, &ends(Transport::Tcp, 2_049), &mut out);
            }
        }
        (out.details.into_iter().map(|(_, name)| name).collect(), reader.done())
    }

    #[test]
    fn the_first_name_in_the_root_is_the_export() {
        let (asked, answer) = root_is(5, b"root-handle");
        let said = [
            (Side::Orig, asked),
            (Side::Resp, answer),
            (Side::Orig, look_up(b"another", b"file")),
            (Side::Orig, look_up(b"root-handle", b"export")),
            (Side::Orig, look_up(b"root-handle", b"second")),
        ];
        assert_eq!(read(&said), (vec!["/export".to_owned()], true));
        let at_once =
            compound(1, &[words(&[operation::PUTROOTFH]), [words(&[operation::LOOKUP]), text(b"vol")].concat()]);
        assert_eq!(read(&[(Side::Orig, at_once)]).0, ["/vol"]);
    }

    #[test]
    fn names_in_other_directories_and_handles_that_nobody_asked_for_are_none() {
        let (_, answer) = root_is(5, b"root-handle");
        let said = [(Side::Resp, answer), (Side::Orig, look_up(b"root-handle", b"file"))];
        assert_eq!(read(&said), (vec![], false));
        assert_eq!(read(&[(Side::Orig, look_up(b"", b"file"))]).0, [""; 0]);
    }

    #[test]
    fn every_cut_of_a_compound_is_read_without_harm() {
        let whole = look_up(b"root-handle", b"export");
        for cut in 0..whole.len() {
            let mut root = Root { asked: None, handle: b"root-handle".to_vec() };
            assert_eq!(root.message(&whole[4..cut.max(4)]), None, "{cut}");
        }
    }

    #[test]
    fn reading_ends_after_so_many_messages_and_with_a_gap() {
        let said = vec![(Side::Orig, look_up(b"x", b"y")); usize::from(MESSAGES_MAX)];
        assert_eq!(read(&said), (vec![], true));
        let mut reader = ExportReader::default();
        reader.gap(Side::Resp);
        assert!(reader.done());
    }
}
