//! Framed: the beginnings of messages that stand behind a length of four bytes (NetBIOS session, ONC RPC record mark),
//! in a stream that comes in pieces.
//!
//! Of each message at most [`HEAD_BYTES_MAX`] bytes are kept, what follows is stepped over. After a gap the stream is
//! not read any further.

const HEAD_BYTES_MAX: usize = 512;
const MARK_BYTES: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Framed {
    /// Mark and beginning of the present message.
    head: Vec<u8>,
    /// Bytes of it to be stepped over.
    skip: usize,
    lost: bool,
}

impl Framed {
    /// Bytes are missing: where the next message begins is not known any more.
    pub fn lose(&mut self) {
        *self = Framed { lost: true, ..Framed::default() };
    }

    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Takes the next bytes and hands each message's beginning to `each` once. `length_bits` says which of the mark's
    /// bits are the length; the others are not looked at.
    pub fn take(&mut self, mut bytes: &[u8], length_bits: u32, mut each: impl FnMut(&[u8])) {
        while !self.lost && !bytes.is_empty() {
            let stepped = self.skip.min(bytes.len());
            self.skip -= stepped;
            bytes = bytes.get(stepped..).unwrap_or_default();
            let Some(mark) = self.mark(&mut bytes) else { return };
            let length = usize::try_from(u32::from_be_bytes(mark) & length_bits).unwrap_or(usize::MAX);
            let wanted = length.min(HEAD_BYTES_MAX);
            self.fill(&mut bytes, MARK_BYTES + wanted);
            if self.head.len() < MARK_BYTES + wanted {
                return;
            }
            each(self.head.get(MARK_BYTES..).unwrap_or_default());
            self.head.clear();
            self.skip = length - wanted;
        }
    }

    fn mark(&mut self, bytes: &mut &[u8]) -> Option<[u8; MARK_BYTES]> {
        self.fill(bytes, MARK_BYTES);
        self.head.first_chunk().copied()
    }

    /// Moves bytes over until so many are kept.
    fn fill(&mut self, bytes: &mut &[u8], wanted: usize) {
        let missing = wanted.saturating_sub(self.head.len()).min(bytes.len());
        if let Some((taken, rest)) = bytes.split_at_checked(missing) {
            self.head.extend_from_slice(taken);
            *bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        [&[0, 0, 0, 2, b'a', b'b', 0x81, 0, 3, 0][..], &[7; 768], &[0, 0, 0, 0, 0, 0, 0, 1, b'z']].concat()
    }

    #[test]
    fn messages_are_the_same_in_whatever_pieces_they_come() {
        for piece in [1, 3, 512, 4_096] {
            let (mut framed, mut heads) = (Framed::default(), Vec::new());
            for bytes in stream().chunks(piece) {
                framed.take(bytes, 0x00ff_ffff, |head| heads.push(head.to_vec()));
            }
            assert_eq!(heads, [b"ab".to_vec(), vec![7; 512], Vec::new(), b"z".to_vec()], "{piece}");
        }
    }

    #[test]
    fn nothing_is_read_after_a_gap() {
        let (mut framed, mut heads) = (Framed::default(), 0);
        framed.take(&stream(), 0x00ff_ffff, |_| heads += 1);
        framed.lose();
        framed.take(&stream(), 0x00ff_ffff, |_| heads += 1);
        assert_eq!((heads, framed.is_lost()), (4, true));
    }

    #[test]
    fn a_length_beyond_all_memory_costs_nothing() {
        let mut framed = Framed::default();
        framed.take(&[[0xff; 4].as_slice(), &[1; 4_000]].concat(), 0x7fff_ffff, |_| {});
        assert!(framed.head.capacity() <= 1_024);
    }
}
