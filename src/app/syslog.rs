//! Syslog (RFC 5424, RFC 3164, and Cisco's numbered lines) over UDP and TCP (RFC 6587).
//!
//! The first 64 bytes of the sender are judged; the message itself is not kept.

use super::evidence::{Evidence, Role, weigh};
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{No, Proof, Short};

pub(super) struct Syslog;

const HEAD_BYTES_MAX: usize = 64;
const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

impl Protocol for Syslog {
    fn name(&self) -> &'static str {
        "syslog"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Udp | Transport::Tcp)
    }

    fn datagram_begins(&self, first: u8) -> bool {
        first == b'<'
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| {
            let head = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
            match opening.transport {
                Transport::Tcp => match octet_counted(head) {
                    Some(message) => judge(message),
                    None => judge(head),
                },
                _ => match judge(head) {
                    Short => No,
                    said => said,
                },
            }
        })
    }
}

/// `LENGTH <PRI>…` (RFC 6587 section 3.4.1): what stands behind the length.
fn octet_counted(bytes: &[u8]) -> Option<&[u8]> {
    let digits = bytes.iter().take(6).take_while(|b| b.is_ascii_digit()).count();
    match bytes.split_at_checked(digits)? {
        ([b'1'..=b'9', ..], [] | [b' ']) if digits <= 5 => Some(b"<"),
        ([b'1'..=b'9', ..], [b' ', message @ ..]) if digits <= 5 => Some(message),
        _ => None,
    }
}

fn judge(bytes: &[u8]) -> Evidence {
    let [b'<', rest @ ..] = bytes else { return No };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let Some((text, rest)) = rest.split_at_checked(digits) else { return No };
    let priority = text.iter().take(3).fold(0u32, |n, b| n * 10 + u32::from(b - b'0'));
    // Facility times eight plus severity: 0 to 191, without leading zeros.
    if digits > 3 || priority > 191 || digits > 1 && text.first() == Some(&b'0') {
        return No;
    }
    match rest {
        [] => Short,
        [b'>', header @ ..] if digits > 0 => header_of(header),
        _ => No,
    }
}

/// What follows the priority: a version and time, a month, Cisco's sequence number, or a tag with a colon.
fn header_of(header: &[u8]) -> Evidence {
    // Some senders end the text as C does.
    let header = header.strip_suffix(&[0]).unwrap_or(header);
    let sender = Proof(Role::Client);
    if header.iter().any(|b| *b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r') || *b == 0x7f) {
        return No;
    }
    match header {
        [b'1', b' ', b'-' | b'0'..=b'9', ..] => sender,
        [b'1'] | [b'1', b' '] | [] => Short,
        [a, b, c, b' ', b' ' | b'0'..=b'9', ..] if MONTHS.as_chunks::<3>().0.contains(&[*a, *b, *c]) => sender,
        [b'0'..=b'9', ..] => {
            let digits = header.iter().take_while(|b| b.is_ascii_digit()).count();
            match header.get(digits..) {
                Some([b':', b' ', ..]) => sender,
                Some([] | [b':']) => Short,
                _ => No,
            }
        }
        // "sshd[42]: …", "kernel: …": a tag as RFC 3164 section 4.1.3 has it, at most 32 letters and a process id.
        [b'a'..=b'z' | b'A'..=b'Z' | b'%' | b'/', ..] => {
            let tag = header.iter().take_while(|b| b.is_ascii_alphanumeric() || b"%-_./[]".contains(b)).count();
            match header.get(tag..) {
                Some([b':', b' ', ..]) if (2..=48).contains(&tag) => sender,
                Some([] | [b':']) if tag <= 48 => Short,
                _ => match header {
                    [_] | [_, _] | [_, _, _] | [_, _, _, b' '] => Short,
                    _ => No,
                },
            }
        }
        _ => No,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("syslog", b"<34>1 2003-10-11T22:14:15.003Z host su - ID47 - failed", b"", Some(Side::Resp)),
            Example::udp("syslog", b"<34>Oct 11 22:14:15 host su: failed", b"", Some(Side::Resp)),
            Example::udp("syslog", b"<189>29: *Mar  1 18:48:50.483: %SYS-5-CONFIG_I: done", b"", Some(Side::Resp)),
            Example::udp("syslog", b"<30>dockerd[812]: started\0", b"", Some(Side::Resp)),
            Example::tcp("syslog", b"54 <34>1 2003-10-11T22:14:15.003Z host su - ID47 - failed", b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn markup_and_large_priorities_are_not_syslog() {
        for text in
            [&b"<html>"[..], b"<192>Oct 11 22:14:15 host su: x", b"<034>Oct 11 22:14:15 x", b"<34 a>", b"<>Oct 11 "]
        {
            assert_eq!(ask(&Syslog, Transport::Udp, text, b""), Probe::NotForUs, "{text:?}");
        }
    }

    #[test]
    fn a_priority_before_something_else_is_not_syslog() {
        assert_eq!(ask(&Syslog, Transport::Udp, b"<34>\x01\x02\x03\x04\x05", b""), Probe::NotForUs);
        assert_eq!(ask(&Syslog, Transport::Udp, b"<34>hello world: x", b""), Probe::NotForUs);
        assert_eq!(ask(&Syslog, Transport::Tcp, b"54 bottles", b""), Probe::NotForUs);
    }
}
