//! Citrix: ICA and, around it for session reliability, CGP.
//!
//! Unmeasured, so both ends must say its magic.

use super::evidence::{Evidence, Role, weigh};
use super::reading::begins;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Citrix;

const ICA: &[u8] = b"\x7f\x7fICA\0";
const CGP: &[u8] = b"\x1aCGP/01";

impl Protocol for Citrix {
    fn name(&self) -> &'static str {
        "citrix"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        match weigh(opening, |bytes| match (begins(bytes, ICA), begins(bytes, CGP)) {
            (Some(true), _) | (_, Some(true)) => Hint(Role::Peer),
            (Some(false), Some(false)) => No,
            _ => Short,
        }) {
            // ICA's server says it first, CGP's client does.
            Probe::Certain(_) if opening.midstream => Probe::Certain(None),
            Probe::Certain(_) if opening.side(opening.first).starts_with(ICA) => Probe::Certain(Some(opening.first)),
            Probe::Certain(_) => Probe::Certain(Some(opening.first.other())),
            other => other,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let cgp = opening.sides().iter().any(|(_, bytes)| bytes.starts_with(CGP));
        info.detail("layer", if cgp { "cgp" } else { "ica" });
        Described::Whole
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;
    use crate::model::Side;

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("citrix", ICA, ICA, Some(Side::Resp)).server_first(),
            Example::tcp("citrix", b"\x1aCGP/01\0\0\x01", b"\x1aCGP/01\0\0\x02", Some(Side::Resp)),
        ]
    }

    #[test]
    fn one_end_alone_proves_nothing() {
        assert_eq!(ask(&Citrix, Transport::Tcp, b"", ICA), Probe::Unsure);
        assert_eq!(ask(&Citrix, Transport::Tcp, CGP, b""), Probe::Unsure);
    }

    #[test]
    fn another_magic_is_not_citrix() {
        refuses(
            &Citrix,
            Transport::Tcp,
            &[(b"\x7f\x7fICB", b""), (b"\x7fELF", b""), (b"\x1aCGP/02", b""), (CGP, b"HTTP/1.1 400 Bad Request\r\n")],
        );
    }
}
