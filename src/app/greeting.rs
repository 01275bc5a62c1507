//! Line protocols whose server greets first: FTP, SMTP, POP3 and IMAP. What the greeting says, and what the client
//! answers to it.
//!
//! Read are at most [`LINES_MAX`] lines of each side; a greeting line longer than 512 bytes is none.

use super::line::{LINE_BYTES_MAX, Lines, find, is_one_of, word};
use super::reading::begins;
use super::{Opening, Probe};
use crate::model::{AppInfo, Side};

/// Enough to pass over a few neutral commands (NOOP, HELP, QUIT).
const LINES_MAX: usize = 8;
/// The longest commands are `AUTHENTICATE` and an IMAP tag before it.
const COMMAND_BYTES_MAX: usize = 48;

/// A greeting that was found, and the two sides as it tells them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Greeting<'a> {
    pub server: Side,
    pub answer: &'a [u8],
    pub client: &'a [u8],
}

/// Looks for a greeting that begins with `prefix`. The responder greets; in mid-connection either end may be it.
/// `Err` is what to answer while there is none.
pub(super) fn greeting<'a>(opening: &Opening<'a>, prefix: &[u8], commands: &[&str]) -> Result<Greeting<'a>, Probe> {
    let mut undecided = false;
    for server in [Side::Resp, Side::Orig] {
        if server == Side::Orig && !opening.midstream {
            break;
        }
        let (answer, client) = (opening.side(server), opening.side(server.other()));
        let line_ended = answer.iter().take(LINE_BYTES_MAX).any(|b| *b == b'\n');
        match begins(answer, prefix) {
            Some(true) if line_ended => return Ok(Greeting { server, answer, client }),
            Some(true) => undecided |= answer.len() < LINE_BYTES_MAX,
            None => undecided |= may_command(client, commands),
            Some(false) => {}
        }
    }
    Err(if undecided { Probe::Unsure } else { Probe::NotForUs })
}

impl<'a> Greeting<'a> {
    /// Finished lines of the server.
    pub(super) fn answers(&self) -> impl Iterator<Item = &'a [u8]> {
        Lines::new(self.answer).take(LINES_MAX)
    }

    /// Is the client's command among these? Looked for in its first lines; `Err` is the answer without one.
    pub(super) fn commands(&self, commands: &[&str]) -> Result<(), Probe> {
        let mut lines = Lines::new(self.client);
        let mut count = 0;
        for line in lines.by_ref().take(LINES_MAX) {
            if is_one_of(word(line), commands) {
                return Ok(());
            }
            count += 1;
        }
        let goes_on = count < LINES_MAX
            && lines.rest().iter().take(COMMAND_BYTES_MAX).all(|b| b.is_ascii_graphic() || matches!(b, b' ' | b'\r'));
        Err(if goes_on { Probe::Unsure } else { Probe::NotForUs })
    }
}

/// Before the greeting was seen: silence, or the beginning of a command.
fn may_command(client: &[u8], commands: &[&str]) -> bool {
    let first = client.split(|b| matches!(b, b' ' | b'\r' | b'\n')).next().unwrap_or_default();
    first.len() == client.len()
        && commands.iter().any(|c| {
            c.len() >= first.len() && first.eq_ignore_ascii_case(c.as_bytes().get(..first.len()).unwrap_or_default())
        })
        || is_one_of(first, commands)
}

/// Three digits, then a space, a dash (more lines follow) or the end: RFC 959 section 4.2, RFC 5321 section 4.2.
pub(super) fn reply(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (code, rest) = line.split_at_checked(3)?;
    let fits = code.iter().all(u8::is_ascii_digit) && matches!(rest.first(), None | Some(b' ' | b'-'));
    fits.then(|| (code, rest.get(1..).unwrap_or_default()))
}

/// Does a word of the text hold `needle`? Host names (words with a dot inside) prove nothing, so they are passed over.
pub(super) fn says(text: &[u8], needle: &str) -> bool {
    text.split(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'@')))
        .map(|w| w.strip_suffix(b".").unwrap_or(w))
        .any(|w| !w.contains(&b'.') && !w.contains(&b'@') && find(w, needle).is_some())
}

/// Fills in the first of these products that the text names, and the version that follows it.
pub(super) fn describe_product(text: &[u8], products: &[&'static str], info: &mut AppInfo) {
    let Some((at, name)) = products.iter().find_map(|p| find(text, p).map(|at| (at, *p))) else { return };
    let after = text.get(at + name.len()..).unwrap_or_default();
    // "Server version", "MAIL Service, Version:" and the like may stand between the name and its version.
    let version = after
        .split(|b| matches!(b, b' ' | b'/' | b'(' | b')' | b',' | b';' | b'[' | b']' | b':' | b'-' | b'_' | b'"'))
        .filter(|w| !w.is_empty())
        .take(3)
        .take_while(|w| {
            is_one_of(w, &["server", "version", "ftp", "smtp", "esmtp", "service", "ready", "v"]) || starts_version(w)
        })
        .find(|w| starts_version(w))
        .map(|w| if matches!(w.first(), Some(b'v' | b'V')) { w.get(1..).unwrap_or(w) } else { w });
    info.product(name, version);
}

fn starts_version(word: &[u8]) -> bool {
    matches!(word, [b'0'..=b'9', ..] | [b'v' | b'V', b'0'..=b'9', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_not_a_word_of_the_text() {
        assert!(
            says(b"(vsFTPd 3.0.3)", "ftp") && says(b"mx ESMTP Postfix", "smtp") && says(b"FTP server ready.", "ftp")
        );
        assert!(!says(b"ftp.lab.example Sendmail ready", "ftp"));
    }

    #[test]
    fn the_version_after_a_product_is_found() {
        let read = |text: &str| {
            let mut info = AppInfo::new("x", None);
            describe_product(text.as_bytes(), &["vsFTPd", "ProFTPD", "FileZilla Server", "Exim", "Postfix"], &mut info);
            (info.product.unwrap_or_default(), info.version.unwrap_or_default())
        };
        assert_eq!(read("(vsFTPd 3.0.3)"), ("vsFTPd".into(), "3.0.3".into()));
        assert_eq!(read("FileZilla Server version 0.9.41 beta"), ("FileZilla Server".into(), "0.9.41".into()));
        assert_eq!(read("mx ESMTP Exim 4.96 Sat, 01 Jan"), ("Exim".into(), "4.96".into()));
        assert_eq!(read("mx ESMTP Postfix (Ubuntu)"), ("Postfix".into(), String::new()));
        assert_eq!(read("nothing known 1.2"), (String::new(), String::new()));
    }

    #[test]
    fn a_reply_has_three_digits_and_a_space() {
        assert_eq!(reply(b"220-hello"), Some((&b"220"[..], &b"hello"[..])));
        assert_eq!(reply(b"2200"), None);
        assert_eq!(reply(b"22"), None);
    }
}
