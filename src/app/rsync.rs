//! rsync's daemon: both ends greet with their protocol version.
//!
//! Read is the first line of each side.

use super::evidence::{Evidence, opener, weigh_sides};
use super::line::Lines;
use super::reading::begins;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Rsync;

const GREETING: &[u8] = b"@RSYNCD: ";
/// Since protocol 31 the line goes on with the names of digests.
const LINE_BYTES_MAX: usize = 128;

impl Protocol for Rsync {
    fn name(&self) -> &'static str {
        "rsync"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh_sides(opening, |side, bytes| match version(bytes) {
            Some(Some(_)) => Hint(opener(side)),
            Some(None) => No,
            None => Short,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        if let Some(Some(version)) = version(opening.side(Side::Resp)) {
            info.detail("version", version);
        }
        Described::Whole
    }
}

/// `@RSYNCD: 31.0 sha512 …`. `None`: too short to tell, `Some(None)`: another thing.
fn version(bytes: &[u8]) -> Option<Option<&[u8]>> {
    if !begins(bytes, GREETING)? {
        return Some(None);
    }
    let Some(line) = Lines::new(bytes).next() else {
        return if bytes.len() < LINE_BYTES_MAX { None } else { Some(None) };
    };
    let version = line.get(GREETING.len()..).unwrap_or_default().split(|b| *b == b' ').next().unwrap_or_default();
    let fits = version.first().is_some_and(u8::is_ascii_digit)
        && version.len() <= 6
        && version.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    Some(fits.then_some(version))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;

    const SERVER: &[u8] = b"@RSYNCD: 31.0 sha512 sha256 sha1 md5 md4\nbackup\n@RSYNCD: EXIT\n";
    const CLIENT: &[u8] = b"@RSYNCD: 31.0 md5 md4\n#list\n";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("rsync", CLIENT, SERVER, Some(Side::Resp)).server_first(),
            Example::tcp("rsync", b"@RSYNCD: 29\nmodule\n", b"@RSYNCD: 30.0\n", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_protocols_version_is_told() {
        assert_eq!(examples()[0].described(&Rsync).get("version"), Some("31.0"));
    }

    #[test]
    fn one_side_alone_and_other_words_are_no_proof() {
        assert_eq!(ask(&Rsync, Transport::Tcp, b"", SERVER), Probe::Unsure);
        assert_eq!(ask(&Rsync, Transport::Tcp, CLIENT, b"SSH-2.0-x\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Rsync, Transport::Tcp, b"", b"@RSYNCD: EXIT\n"), Probe::NotForUs);
        assert_eq!(ask(&Rsync, Transport::Tcp, b"", b"@RSYNC: 31.0\n"), Probe::NotForUs);
    }
}
