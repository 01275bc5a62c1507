//! Lines of text protocols: LF or CRLF ends them.
//!
//! [`Lines`] reads those of an opening. [`LineCarry`] puts lines together that arrive in pieces; it holds at most
//! [`LINE_BYTES_MAX`] of an unfinished one, and drops a longer one whole.

use super::reader::Reader;

/// RFC 5321 section 4.5.3.1 and RFC 959 habit: command and reply lines are within 512 bytes.
pub(super) const LINE_BYTES_MAX: usize = 512;

/// The finished lines of some bytes, without their ends. An unfinished last line is not yielded.
pub(super) struct Lines<'a>(Reader<'a>);

impl<'a> Lines<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Lines(Reader::new(bytes))
    }

    /// What follows the lines yielded so far.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0.rest()
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.until(b'\n').map(without_cr)
    }
}

/// An unfinished line of one direction.
#[derive(Debug, Default)]
pub(super) struct LineCarry {
    held: Vec<u8>,
    too_long: bool,
}

impl LineCarry {
    /// Calls `line` for each line that these bytes finish.
    pub(super) fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        let mut rest = Reader::new(bytes);
        while let Some(piece) = rest.until(b'\n') {
            if self.held.is_empty() && !self.too_long {
                line(without_cr(piece));
                continue;
            }
            self.hold(piece);
            if !self.too_long {
                line(without_cr(&self.held));
            }
            self.forget();
        }
        self.hold(rest.rest());
    }

    /// Bytes are missing: what is held is not the start of what comes.
    pub(super) fn forget(&mut self) {
        self.held.clear();
        self.too_long = false;
    }

    fn hold(&mut self, piece: &[u8]) {
        self.too_long |= self.held.len() + piece.len() > LINE_BYTES_MAX;
        if self.too_long {
            self.held.clear();
        } else {
            self.held.extend_from_slice(piece);
        }
    }
}

/// The first word, up to a space or tab.
pub(super) fn word(line: &[u8]) -> &[u8] {
    line.split(|b| matches!(b, b' ' | b'\t')).next().unwrap_or_default()
}

/// What follows the first word, trimmed.
pub(super) fn argument(line: &[u8]) -> &[u8] {
    line.get(word(line).len()..).unwrap_or_default().trim_ascii()
}

/// Is it one of these words, whatever the case?
pub(super) fn is_one_of(word: &[u8], words: &[&str]) -> bool {
    words.iter().any(|w| word.eq_ignore_ascii_case(w.as_bytes()))
}

/// Where `needle` begins in `hay`, whatever the case (ASCII).
pub(super) fn find(hay: &[u8], needle: &str) -> Option<usize> {
    hay.windows(needle.len().max(1)).position(|w| w.eq_ignore_ascii_case(needle.as_bytes()))
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_pieces_is_one_line() {
        let mut seen = Vec::new();
        let mut carry = LineCarry::default();
        for piece in [&b"PAS"[..], b"V\r", b"\nQUIT\r\nNO"] {
            carry.feed(piece, |line| seen.push(line.to_vec()));
        }
        assert_eq!(seen, [b"PASV".to_vec(), b"QUIT".to_vec()]);
    }

    #[test]
    fn a_line_without_end_is_dropped_and_the_next_is_read() {
        let mut seen = Vec::new();
        let mut carry = LineCarry::default();
        for _ in 0..100 {
            carry.feed(&[b'a'; 100], |line| seen.push(line.to_vec()));
        }
        assert!(carry.held.len() <= LINE_BYTES_MAX);
        carry.feed(b"aaa\r\nQUIT\r\n", |line| seen.push(line.to_vec()));
        assert_eq!(seen, [b"QUIT".to_vec()]);
    }
}
