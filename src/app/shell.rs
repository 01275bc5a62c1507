//! An interactive shell behind a port: what `nc -e`, `sh -i` and cmd.exe say to whoever connected.
//!
//! Proved by the server's bytes alone: a shell's own greeting or prompt, or `uid=0(root) gid=` in answer to a client
//! that typed `id`. A bare `$ ` or `# ` takes a typed line and the same prompt again. Only the first [`LOOKED_AT`]
//! bytes are read, and only text; a shell that connects out, or one picked up in mid-connection, is not told.

use super::{Opening, Probe, Protocol};
use crate::model::{Side, Transport};

pub(super) struct Shell;

/// A banner, a message of the day and a prompt fit in.
const LOOKED_AT: usize = 2_048;
/// Of a prompt: `user@host.example:/path/to/somewhere# `.
const PROMPT_BYTES_MAX: usize = 128;

/// What shells say of themselves when they begin, in lower case.
const GREETINGS: &[&[u8]] = &[
    b"microsoft windows [vers",
    b"windows powershell\r\ncopyright (c) microsoft",
    b"/bin/sh: 0: can't access tty; job control turned off",
    b"sh: 0: can't access tty; job control turned off",
    b"/bin/sh: can't access tty; job control turned off",
    b"bash: cannot set terminal process group (",
    b"bash: no job control in this shell",
    b"sh: cannot set terminal process group (",
    b"sh: no job control in this shell",
];

const SHELLS: &[&[u8]] = &[b"bash-", b"sh-", b"zsh-", b"ash-", b"dash-", b"ksh-"];

impl Protocol for Shell {
    fn name(&self) -> &'static str {
        "shell"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let (typed, said) = (opening.orig, opening.resp);
        // A command begins so; an upper-case greeting is another protocol's client.
        let command = |b: &u8| b.is_ascii_lowercase() || matches!(b, b'/' | b'\r' | b'\n');
        if opening.midstream || !typed.first().is_none_or(command) || !is_text(typed) || !is_text(said) {
            return Probe::NotForUs;
        }
        let begins = said.trim_ascii_start();
        if GREETINGS.iter().any(|greeting| starts_with(begins, greeting)) {
            return Probe::Certain(Some(Side::Resp));
        }
        let lines = || said.split(|b| *b == b'\n').map(|line| line.trim_ascii_end());
        let asked_id = lines_of(typed).any(|line| line == b"id" || line.ends_with(b"; id") || line.ends_with(b";id"));
        let last = lines_of_raw(said).last().unwrap_or_default();
        if asked_id && lines().any(is_identity) || is_prompt(last) || came_back(typed, said) {
            return Probe::Certain(Some(Side::Resp));
        }
        if said.len() > LOOKED_AT || typed.len() > LOOKED_AT { Probe::NotForUs } else { Probe::Unsure }
    }
}

fn lines_of_raw(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|b| *b == b'\n')
}

fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines_of_raw(bytes).map(<[u8]>::trim_ascii)
}

/// Letters of any language, line ends, and the escapes that colour a prompt.
fn is_text(bytes: &[u8]) -> bool {
    let control = |b: &u8| *b < 0x20 && !matches!(b, b'\t' | b'\r' | b'\n' | 0x07 | 0x08 | 0x1b) || *b == 0x7f;
    !bytes.iter().take(LOOKED_AT).any(control)
}

fn starts_with(bytes: &[u8], lower: &[u8]) -> bool {
    bytes.get(..lower.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(lower))
}

/// `uid=0(root) gid=0(root)`: what `id` prints.
fn is_identity(line: &[u8]) -> bool {
    let number = |bytes: &[u8]| {
        let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
        (1..=10).contains(&digits).then_some(digits)
    };
    let Some(rest) = line.strip_prefix(b"uid=") else { return false };
    let Some(named) = number(rest).and_then(|n| rest.get(n..)).and_then(|rest| rest.strip_prefix(b"(")) else {
        return false;
    };
    let Some(end) = named.iter().take(64).position(|b| *b == b')') else { return false };
    named.get(end..).and_then(|rest| rest.strip_prefix(b") gid=")).and_then(number).is_some()
}

/// The last line is a prompt that only a shell has: `bash-5.1$ `, `root@db:~# `, `[root@db ~]# `, `C:\Windows>`,
/// `PS C:\>`.
fn is_prompt(line: &[u8]) -> bool {
    let line = plain(line);
    if line.len() > PROMPT_BYTES_MAX {
        return false;
    }
    if let Some(path) = line.strip_suffix(b">").or_else(|| line.strip_suffix(b"> ")) {
        let path = path.strip_prefix(b"PS ").unwrap_or(path);
        return matches!(path, [drive, b':', b'\\', rest @ ..]
            if drive.is_ascii_uppercase() && !rest.iter().any(|b| b"<>|\"?*:".contains(b)));
    }
    let Some(body) = line.strip_suffix(b"$ ").or_else(|| line.strip_suffix(b"# ")) else { return false };
    let version = |rest: &[u8]| {
        rest.iter().all(|b| b.is_ascii_digit() || *b == b'.')
            && rest.first().is_some_and(u8::is_ascii_digit)
            && rest.contains(&b'.')
    };
    if SHELLS.iter().any(|shell| body.strip_prefix(*shell).is_some_and(version)) {
        return true;
    }
    let (body, gap) = match body.strip_prefix(b"[").and_then(|body| body.strip_suffix(b"]")) {
        Some(inner) => (inner, b' '),
        None => (body, b':'),
    };
    let word = |bytes: &[u8]| {
        !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let Some(at) = body.iter().position(|b| *b == b'@') else { return false };
    let (Some(user), Some(rest)) = (body.get(..at), body.get(at + 1..)) else { return false };
    let Some(sep) = rest.iter().position(|b| *b == gap) else { return false };
    let (Some(host), Some(path)) = (rest.get(..sep), rest.get(sep + 1..)) else { return false };
    let path_like = match gap {
        b' ' => !path.is_empty() && !path.contains(&b' '),
        _ => matches!(path.first(), Some(b'~' | b'/')) && !path.contains(&b' '),
    };
    word(user) && word(host) && path_like
}

/// Without colours and window titles.
fn plain(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = line;
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (0x1b, [b'[', after @ ..]) => {
                let end = after.iter().position(u8::is_ascii_alphabetic).map_or(after.len(), |end| end + 1);
                after.get(end..).unwrap_or_default()
            }
            (0x1b, [b']', after @ ..]) => {
                let end = after.iter().position(|b| *b == 0x07).map_or(after.len(), |end| end + 1);
                after.get(end..).unwrap_or_default()
            }
            (b'\r' | 0x1b, _) => after,
            _ => {
                out.push(*first);
                after
            }
        };
        if out.len() > PROMPT_BYTES_MAX {
            break;
        }
    }
    out
}

/// A bare prompt, a line typed at it, and the same prompt again at the beginning of a line.
fn came_back(typed: &[u8], said: &[u8]) -> bool {
    let begins = said.trim_ascii_start();
    let Some(prompt) = [&b"$ "[..], b"# "].into_iter().find(|prompt| begins.starts_with(prompt)) else { return false };
    let line_typed = lines_of(typed).next().is_some_and(|line| !line.is_empty()) && typed.contains(&b'\n');
    let mut lines = lines_of_raw(begins);
    lines.next();
    line_typed && lines.last() == Some(prompt)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const CMD: &[u8] = b"Microsoft Windows [Version 10.0.17763.737]\r\n(c) 2018 Microsoft Corporation. All rights reserved.\r\n\r\nC:\\Windows\\system32>";

    pub(crate) fn examples() -> Vec<Example> {
        let server_first = |said: &[u8]| Example::tcp("shell", b"", said, Some(Side::Resp)).server_first();
        vec![
            server_first(CMD),
            server_first(b"/bin/sh: 0: can't access tty; job control turned off\n# "),
            server_first(b"bash: no job control in this shell\nbash-5.1$ "),
            server_first(b"sh-4.2# "),
            server_first(b"Welcome\r\n\x1b]0;root@db: ~\x07\x1b[01;32mroot@db\x1b[00m:~# "),
            server_first(b"[root@db ~]# "),
            server_first(b"PS C:\\Users\\bob> "),
            Example::tcp("shell", b"id\n", b"uid=0(root) gid=0(root) groups=0(root)\n", Some(Side::Resp)),
            Example::tcp("shell", b"uname\n", b"$ Linux\n$ ", Some(Side::Resp)).server_first(),
        ]
    }

    #[test]
    fn near_misses_are_no_shell() {
        let never = |typed: &[u8], said: &[u8]| {
            let probe = ask(&Shell, Transport::Tcp, typed, said);
            assert!(!matches!(probe, Probe::Certain(_)), "{}", said.escape_ascii());
        };
        never(b"", b"$ ");
        never(b"", b"# HELP go_threads Number of threads\n# ");
        never(b"get log\n", b"uid=0(root) gid=0(root)\n");
        never(b"id\n", b"uid=0 gid=0\n");
        never(b"", b"mail bob@example.com: $ ");
        never(b"", b"price in US$ ");
        never(b"", b"bash-history# ");
        never(b"", b"<xml>");
        never(b"", b"D: >");
        never(b"$ uname\n", b"no such command\n");
        never(b"root@db:~# \n", b"");
    }

    #[test]
    fn what_is_not_text_is_refused_and_so_is_much_of_it() {
        refuses(&Shell, Transport::Tcp, &[(b"\0\x01", b""), (b"", b"\x16\x03\x01"), (b"", &[b'a'; 3_000])]);
    }

    #[test]
    fn a_shell_that_connected_out_is_not_told_as_a_service() {
        assert_eq!(ask(&Shell, Transport::Tcp, CMD, b""), Probe::NotForUs);
    }
}
