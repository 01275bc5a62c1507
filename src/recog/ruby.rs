//! Ruby's regular expressions, as Recog files have them, in the words of the `regex` crate.
//!
//! What differs is rewritten: `(?m)` is Ruby's "dot matches a line's end", `^` and `$` are always those of lines, `\Z`
//! `\h` `\e` are Ruby's own, and a brace that counts nothing is a brace. A pattern of more than [`PATTERN_BYTES_MAX`]
//! bytes is refused.

pub(super) const PATTERN_BYTES_MAX: usize = 16 * 1024;

const HEX: &str = "0-9a-fA-F";

struct Translation<'a> {
    rest: &'a str,
    out: String,
    /// Open brackets of the class that is being read.
    class: usize,
    /// Something stands before that could be counted.
    countable: bool,
}

/// `ruby` as the `regex` crate reads it under `(?m-u)`.
pub(super) fn translate(ruby: &str) -> String {
    let mut t = Translation { rest: ruby, out: String::with_capacity(ruby.len() + 16), class: 0, countable: false };
    while let Some(c) = t.next() {
        match c {
            '\\' => t.escape(),
            _ if t.class > 0 => t.in_class(c),
            '[' => t.open_class(),
            '(' => t.open_group(),
            '{' => t.brace(),
            _ => t.plain(c),
        }
    }
    t.out
}

impl Translation<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        Some(c)
    }

    fn took(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn plain(&mut self, c: char) {
        self.countable = !matches!(c, '|' | '(' | '^');
        self.out.push(c);
    }

    fn escape(&mut self) {
        let Some(c) = self.next() else { return self.out.push('\\') };
        self.countable = true;
        match c {
            'Z' if self.class == 0 => self.out.push_str("(?:\\n?\\z)"),
            'h' if self.class == 0 => self.out.push_str(&format!("[{HEX}]")),
            'h' => self.out.push_str(HEX),
            'H' if self.class == 0 => self.out.push_str(&format!("[^{HEX}]")),
            'e' => self.out.push_str("\\x1B"),
            '0' => self.out.push_str("\\x00"),
            c if c.is_ascii_alphanumeric() || is_meta(c) => {
                self.out.push('\\');
                self.out.push(c);
            }
            // An escape that was not needed; `\<` would be another thing.
            c => self.out.push(c),
        }
    }

    fn open_class(&mut self) {
        self.class += 1;
        self.out.push('[');
        if self.took("^") {
            self.out.push('^');
        }
        if self.took("]") {
            self.out.push_str("\\]");
        }
    }

    fn in_class(&mut self, c: char) {
        let rest = self.rest;
        match c {
            '[' if rest.starts_with(':') && rest.contains(":]") => {
                let end = rest.find(":]").map_or(0, |at| at + 2);
                self.out.push('[');
                self.out.push_str(rest.get(..end).unwrap_or_default());
                self.rest = rest.get(end..).unwrap_or_default();
            }
            '[' => self.open_class(),
            ']' => {
                self.class -= 1;
                self.countable = true;
                self.out.push(']');
            }
            // Set operations of ours, and two characters of Ruby's.
            '-' | '~' if rest.starts_with(c) => {
                self.out.push('\\');
                self.out.push(c);
            }
            c => self.out.push(c),
        }
    }

    fn open_group(&mut self) {
        self.countable = false;
        self.out.push('(');
        if self.took("?#") {
            self.out.push_str("?:");
            self.rest = self.rest.find(')').and_then(|at| self.rest.get(at..)).unwrap_or_default();
            return;
        }
        let Some(flags) = self.rest.strip_prefix('?') else { return };
        let length = flags.find(|c| !matches!(c, 'm' | 'i' | 'x' | '-')).unwrap_or(flags.len());
        if length > 0 && matches!(flags.as_bytes().get(length), Some(b':' | b')')) {
            self.out.push('?');
            self.out.push_str(&flags.get(..length).unwrap_or_default().replace('m', "s"));
            self.rest = flags.get(length..).unwrap_or_default();
        }
    }

    fn brace(&mut self) {
        let count = self.rest.find('}').and_then(|end| self.rest.get(..end)).unwrap_or_default();
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let counts = match count.split_once(',') {
            Some((least, most)) => digits(least) && digits(most) && !(least.is_empty() && most.is_empty()),
            None => digits(count) && !count.is_empty(),
        };
        if !counts || !self.countable {
            self.out.push_str("\\{");
            return;
        }
        self.out.push('{');
        if count.starts_with(',') {
            self.out.push('0');
        }
    }
}

fn is_meta(c: char) -> bool {
    "\\.+*?()|[]{}^$#&-~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(ruby: &str, text: &str) -> bool {
        regex::bytes::Regex::new(&format!("(?m-u){}", translate(ruby))).unwrap().is_match(text.as_bytes())
    }

    #[test]
    fn rubys_multiline_is_dot_matches_newline() {
        assert!(matches("(?m)^a.*b$", "a\nb") && !matches("^a.*b$", "a\nb"));
        assert!(matches("(?i-m:A.)c", "abc") && !matches("(?i-m:A.)c", "a\nc"));
    }

    #[test]
    fn anchors_of_lines_and_of_the_whole() {
        assert!(matches("^b$", "a\nb\nc") && !matches("\\Ab", "a\nb"));
        assert!(matches("b\\Z", "b\n") && matches("b\\Z", "b") && !matches("b\\Z", "b\nc"));
    }

    #[test]
    fn rubys_own_escapes() {
        assert!(matches("\\A\\h+\\z", "00fFa") && !matches("\\A\\h+\\z", "g") && matches("\\A\\H\\z", "g"));
        assert!(matches("\\A[\\h:]+\\z", "a0:ff") && matches("\\<a\\>", "<a>") && matches("a\\/b\\ c", "a/b c"));
        assert!(matches("\\e\\[0m", "\u{1b}[0m"));
    }

    #[test]
    fn braces_that_count_nothing_are_braces() {
        assert!(matches("^{a}$", "{a}") && matches("a{2}", "aa") && matches("^ba{,2}$", "baa"));
        assert!(matches("x{y", "x{y") && matches("(?:{)", "{"));
    }

    #[test]
    fn classes_keep_their_meaning() {
        assert!(matches("^[\\w--.]+$", "a-.") && matches("^[[:digit:]x]+$", "1x") && matches("^[]a]+$", "]a"));
        assert!(matches("a(?#a note)b", "ab"));
    }
}
