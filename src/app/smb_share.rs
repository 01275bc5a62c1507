//! Which share an SMB client connects to: TREE_CONNECT of SMB 2 and 3 ([MS-SMB2] 2.2.9), TREE_CONNECT_ANDX of SMB 1
//! ([MS-CIFS] 2.2.4.55). `IPC$`, which every client opens first, is none.
//!
//! Read until the first share, an encrypted message, a gap on both sides, or [`MESSAGES_MAX`] messages.

use super::framed::Framed;
use super::reader::Reader;
use super::{Ends, Follow, FollowOut};
use crate::model::Side;

const MESSAGES_MAX: u16 = 64;
/// NetBIOS session header over TCP: a type, and 24 bits of length (RFC 1002 section 4.3.1; [MS-SMB2] 2.1).
const LENGTH_BITS: u32 = 0x00ff_ffff;
const HEADER_2: usize = 64;
const TREE_CONNECT_2: u16 = 3;
const TREE_CONNECT_1: u8 = 0x75;

#[derive(Debug, Default)]
pub(super) struct ShareReader {
    sides: [Framed; 2],
    messages: u16,
    done: bool,
}

impl Follow for ShareReader {
    fn data(&mut self, side: Side, bytes: &[u8], _flow: &Ends, out: &mut FollowOut) {
        let ShareReader { sides, messages, done } = self;
        let Some(framed) = sides.get_mut(side as usize) else { return };
        framed.take(bytes, LENGTH_BITS, |message| {
            *messages = messages.saturating_add(1);
            *done |= *messages >= MESSAGES_MAX || message.starts_with(b"\xfdSMB");
            if let Some(share) = path(message).and_then(|path| share(&path)).filter(|_| !*done) {
                out.details.push(("share", share));
                *done = true;
            }
        });
    }

    fn gap(&mut self, side: Side) {
        if let Some(framed) = self.sides.get_mut(side as usize) {
            framed.lose();
        }
    }

    fn done(&self) -> bool {
        self.done || self.sides.iter().all(Framed::is_lost)
    }
}

/// The path that a client asks for.
fn path(message: &[u8]) -> Option<String> {
    let mut r = Reader::new(message);
    match r.array()? {
        [0xfe, b'S', b'M', b'B'] => {
            r.skip(8)?;
            let command = r.u16_le()?;
            r.skip(2)?;
            let reply = r.u32_le()? & 1 != 0;
            if command != TREE_CONNECT_2 || reply {
                return None;
            }
            let mut body = Reader::new(message.get(HEADER_2..)?);
            let (size, _flags) = (body.u16_le()?, body.u16_le()?);
            let (offset, length) = (usize::from(body.u16_le()?), usize::from(body.u16_le()?));
            (size == 9 && length % 2 == 0).then_some(())?;
            wide(message.get(offset..)?.get(..length)?)
        }
        [0xff, b'S', b'M', b'B'] => {
            let command = r.u8()?;
            r.skip(4)?;
            let (flags, flags2) = (r.u8()?, r.u16_le()?);
            if command != TREE_CONNECT_1 || flags & 0x80 != 0 {
                return None;
            }
            r.skip(20)?;
            (r.u8()? == 4).then_some(())?;
            r.skip(6)?;
            let password = usize::from(r.u16_le()?);
            r.skip(2)?;
            r.skip(password)?;
            if flags2 & 0x8000 == 0 {
                return r.until(0).map(|path| String::from_utf8_lossy(path).into_owned());
            }
            // Strings are aligned to the header's start: 32 + 1 + 8 + 2 + password.
            r.skip((43 + password) % 2)?;
            wide(r.rest())
        }
        _ => None,
    }
}

/// UTF-16LE up to a NUL or the end.
fn wide(bytes: &[u8]) -> Option<String> {
    let units = bytes.chunks_exact(2).filter_map(|pair| pair.first_chunk().copied().map(u16::from_le_bytes));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16(&units).ok()
}

/// `share` of `\\server\share`; escaped where it becomes a detail.
fn share(path: &str) -> Option<String> {
    let share = path.strip_prefix(r"\\")?.split('\\').nth(1)?;
    (!share.is_empty() && !share.eq_ignore_ascii_case("IPC$")).then(|| share.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::examples::ends;
    use super::*;
    use crate::model::Transport;

    fn session(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u32).to_be_bytes(), message].concat()
    }

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn connect_2(path: &str, reply: bool) -> Vec<u8> {
        let mut message = b"\xfeSMB\x40\0\x01\0\0\0\0\0\x03\0\x01\0".to_vec();
        message.extend([u8::from(reply), 0, 0, 0]);
        message.resize(HEADER_2, 0);
        let path = utf16(path);
        message.extend([9, 0, 0, 0, 72, 0]);
        message.extend((path.len() as u16).to_le_bytes());
        message.extend(path);
        session(&message)
    }

    fn connect_1(path: &str) -> Vec<u8> {
        let mut message = b"\xffSMB\x75\0\0\0\0\x18\x01\xc8".to_vec();
        message.resize(32, 0);
        message.extend([4, 0xff, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0]);
        message.extend([utf16(path), vec![0, 0], b"?????\0".to_vec()].concat());
        session(&message)
    }

    fn read(messages: &[Vec<u8>]) -> (Vec<String>, bool) {
        let (mut reader, mut out) = (ShareReader::default(), FollowOut::default());
        for message in messages {
            for piece in message.chunks(11) {
                if !reader.done() {
                    reader.data(Side::Orig, piece, &ends(Transport::Tcp, 445), &mut out);
                }
            }
        }
        (out.details.into_iter().map(|(_, share)| share).collect(), reader.done())
    }

    #[test]
    fn the_first_share_after_ipc_is_told_by_either_dialect() {
        let (ipc, share) = (connect_2(r"\\fs01\IPC$", false), connect_2(r"\\fs01\home$", false));
        assert_eq!(read(&[ipc, share]), (vec!["home$".to_owned()], true));
        assert_eq!(read(&[connect_1(r"\\FS01\PUBLIC")]), (vec!["PUBLIC".to_owned()], true));
    }

    #[test]
    fn a_reply_a_path_without_a_server_and_an_encrypted_session_tell_none() {
        assert_eq!(read(&[connect_2(r"\\fs01\home", true), connect_2("home", false)]), (vec![], false));
        let encrypted = session(b"\xfdSMB0123456789");
        assert_eq!(read(&[encrypted, connect_2(r"\\fs01\home", false)]), (vec![], true));
    }

    #[test]
    fn offsets_outside_of_the_message_are_nothing() {
        let mut message = connect_2(r"\\fs01\home", false);
        for (at, value) in [(4 + HEADER_2 + 4, 0xff), (4 + HEADER_2 + 6, 0xfe)] {
            let before = std::mem::replace(&mut message[at], value);
            assert_eq!(read(std::slice::from_ref(&message)).0, [""; 0], "{at}");
            message[at] = before;
        }
        let whole = connect_2(r"\\fs01\home", false);
        for cut in 0..whole.len() {
            assert_eq!(path(&whole[4..cut.max(4)]), None, "{cut}");
        }
    }

    #[test]
    fn reading_ends_after_so_many_messages() {
        let messages = vec![connect_2(r"\\fs01\IPC$", false); usize::from(MESSAGES_MAX)];
        assert_eq!(read(&messages), (vec![], true));
    }
}
