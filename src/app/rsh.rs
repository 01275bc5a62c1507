//! The Berkeley r-commands: rsh (rcmd) and rlogin (RFC 1282). Names of users and commands are not kept.
//!
//! The client's strings alone prove nothing: the server must answer with an octet of zero. Neither is known in mid-connection.

use super::reader::Reader;
use super::{Opening, Probe, Protocol};
use crate::model::{Side, Transport};

pub(super) struct RCommand {
    name: &'static str,
    /// Are these a client's first bytes? `None` while they may be.
    asks: fn(&[u8]) -> Option<bool>,
}

impl RCommand {
    pub(super) const RSH: RCommand = RCommand { name: "rsh", asks: command };
    pub(super) const RLOGIN: RCommand = RCommand { name: "rlogin", asks: login };
}

/// BSD's names are shorter; a command line may be long, and only its beginning is looked at.
const NAME_BYTES_MAX: usize = 32;
const COMMAND_BYTES_LOOKED_AT: usize = 256;

impl Protocol for RCommand {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        if opening.midstream || (opening.first == Side::Resp && opening.orig.is_empty()) {
            return Probe::NotForUs;
        }
        match ((self.asks)(opening.orig), opening.resp) {
            // 1 and a line is a refusal.
            (Some(false), _) | (_, [2..=255, ..] | [1, 0..=0x1f | 0x7f..=0xff, ..]) => Probe::NotForUs,
            (Some(true), [0, ..] | [1, _, ..]) => Probe::Certain(Some(Side::Resp)),
            _ => Probe::Unsure,
        }
    }
}

/// A port for the second stream (or none), local and remote name, command.
fn command(bytes: &[u8]) -> Option<bool> {
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits > 5 || bytes.get(digits).is_some_and(|end| *end != 0) {
        return Some(false);
    }
    let mut r = Reader::new(bytes.get(digits + 1..)?);
    for _ in 0..2 {
        if !text(&mut r, NAME_BYTES_MAX)? {
            return Some(false);
        }
    }
    let looked_at = r.rest().iter().take(COMMAND_BYTES_LOOKED_AT);
    let line = looked_at.clone().take_while(|b| **b != 0);
    if !line.clone().all(|b| (0x20..0x7f).contains(b)) {
        return Some(false);
    }
    match line.count() {
        0 if r.is_empty() => None,
        0 => Some(false),
        // A terminal and its speed is the other command.
        length => (length < r.rest().len()).then(|| login(bytes) != Some(true)),
    }
}

/// An empty string, local and remote name, then terminal and its speed: `xterm/38400`.
fn login(bytes: &[u8]) -> Option<bool> {
    let mut r = Reader::new(bytes);
    if r.u8()? != 0 {
        return Some(false);
    }
    for _ in 0..2 {
        if !text(&mut r, NAME_BYTES_MAX)? {
            return Some(false);
        }
    }
    let mut terminal = r;
    if !text(&mut r, NAME_BYTES_MAX)? {
        return Some(false);
    }
    let mut parts = terminal.until(0)?.splitn(2, |b| *b == b'/').skip(1);
    Some(parts.next().is_some_and(|speed| !speed.is_empty() && speed.iter().all(u8::is_ascii_digit)))
}

/// A printable string that ends in a zero octet and is not empty. `None` while it may become one.
fn text(r: &mut Reader<'_>, bytes_max: usize) -> Option<bool> {
    let rest = r.rest();
    let length = rest.iter().take(bytes_max + 1).take_while(|b| (0x20..0x7f).contains(*b)).count();
    match rest.get(length) {
        Some(0) if (1..=bytes_max).contains(&length) => {
            r.skip(length + 1)?;
            Some(true)
        }
        None if length <= bytes_max => None,
        _ => Some(false),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const COMMAND: &[u8] = b"1022\0bob\0root\0uptime\0";
    const LOGIN: &[u8] = b"\0bob\0root\0xterm/38400\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("rsh", COMMAND, b"\0 10:00 up 3 days\n", Some(Side::Resp)),
            Example::tcp("rsh", COMMAND, b"\x01Permission denied\n", Some(Side::Resp)),
            Example::tcp("rlogin", LOGIN, b"\0Last login\r\n", Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_clients_strings_alone_prove_nothing() {
        assert_eq!(ask(&RCommand::RSH, Transport::Tcp, COMMAND, b""), Probe::Unsure);
        assert_eq!(ask(&RCommand::RLOGIN, Transport::Tcp, LOGIN, b""), Probe::Unsure);
        assert_eq!(ask(&RCommand::RSH, Transport::Tcp, b"", b"\0"), Probe::NotForUs);
    }

    #[test]
    fn other_strings_and_answers_are_neither() {
        refuses(
            &RCommand::RSH,
            Transport::Tcp,
            &[
                (b"123456\0bob\0root\0x\0", b""),
                (b"1022\0b\x01b\0", b""),
                (b"1022\0\0root\0x\0", b""),
                (COMMAND, b"\x01\x02"),
                (LOGIN, b""),
            ],
        );
        refuses(
            &RCommand::RLOGIN,
            Transport::Tcp,
            &[
                (b"\0bob\0root\0xterm\0", b""),
                (b"\0bob\0root\0xterm/fast\0", b""),
                (b"\0\0\0\x0c", b""),
                (LOGIN, b"SSH-2.0-x\r\n"),
            ],
        );
    }
}
