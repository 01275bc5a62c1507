//! FastCGI: a web server begins a request in sixteen octets of which few are free.

use super::evidence::{Evidence, Role, weigh};
use super::{Opening, Probe, Protocol};
use crate::model::Transport;
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Fastcgi;

impl Protocol for Fastcgi {
    fn name(&self) -> &'static str {
        "fastcgi"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| {
            // Version 1, kind; request; content's length; padding; reserved.
            match bytes {
                // Begin: eight octets, one of three roles, a flag to keep the connection.
                [1, 1, _, _, 0, 8, 0, _, 0, 1..=3, 0..=1, 0, 0, 0, 0, 0, ..] => Proof(Role::Client),
                [1, 1, ..] if bytes.len() < 16 => Short.only_if(fits_begin(bytes)),
                // Output, errors, the end, values.
                [1, 6 | 7 | 10, _, _, _, _, _, 0, ..] => Hint(Role::Server),
                [1, 3, _, _, 0, 8, 0, 0, ..] => Hint(Role::Server),
                // Asks for values, without a request.
                [1, 9, 0, 0, _, _, _, 0, ..] => Hint(Role::Client),
                [1, 3 | 6 | 7 | 9 | 10, ..] | [1] if bytes.len() < 8 => Short,
                _ => No,
            }
        })
    }
}

fn fits_begin(bytes: &[u8]) -> bool {
    let fixed = [(4, 0), (5, 8), (6, 0), (8, 0)];
    fixed.iter().all(|(at, value)| bytes.get(*at).is_none_or(|b| b == value))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    const BEGIN: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0\x01\x04\0\x01\0\x0f\x01\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("fastcgi", BEGIN, b"\x01\x06\0\x01\0\x04\x04\0Stat", Some(Side::Resp))]
    }

    #[test]
    fn output_alone_proves_nothing() {
        assert_eq!(ask(&Fastcgi, Transport::Tcp, b"", b"\x01\x06\0\x01\0\x04\x04\0Stat"), Probe::Unsure);
    }

    #[test]
    fn another_length_or_role_is_not_fastcgi() {
        refuses(
            &Fastcgi,
            Transport::Tcp,
            &[
                (b"\x01\x01\0\x01\0\x09", b""),
                (b"\x01\x01\0\x01\0\x08\0\0\0\x04\0\0\0\0\0\0", b""),
                (b"\x01\x02\0\x01", b""),
                (BEGIN, b"HTTP/1.1 400 Bad Request\r\n"),
            ],
        );
    }
}
