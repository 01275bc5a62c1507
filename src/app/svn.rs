//! Subversion's own protocol (ra_svn): the server's greeting and the client's answer, in parentheses.
//!
//! Read is the first item of each side; addresses with credentials are not kept.

use super::evidence::{Evidence, Role, after, weigh};
use super::reading::begins;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, Short};

pub(super) struct Svn;

impl Protocol for Svn {
    fn name(&self) -> &'static str {
        "svn"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, judge)
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        // "15:SVN/1.14.2 (x86_64-pc-linux-gnu)": the client's; a server tells none.
        let client = after(opening.side(server.other()), b":SVN/");
        let version = client.and_then(|v| v.split(|b| matches!(b, b' ' | b')')).next());
        if let Some(version) = version {
            info.detail("client_software", [b"SVN/", version].concat());
        }
        Described::Whole
    }
}

/// `( success ( 2 2 ( …` (minimum and maximum version), or `( 2 ( …` (the version that the client chose).
fn judge(bytes: &[u8]) -> Evidence {
    match begins(bytes, b"( success ( ") {
        Some(true) => match bytes.get(12..) {
            Some([b'1' | b'2', b' ', b'2', b' ', b'(', b' ', ..]) => Hint(Role::Server),
            short => Short.only_if(short.is_none_or(|s| s.len() < 6)),
        },
        None => Short,
        Some(false) => Hint(Role::Client).if_begins(bytes, b"( 2 ( edit-pipeline "),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const SERVER: &[u8] = b"( success ( 2 2 ( ) ( edit-pipeline svndiff1 absent-entries ) ) ) ";
    const CLIENT: &[u8] = b"( 2 ( edit-pipeline svndiff1 ) 23:svn://joe:sesame@lab/r 1:SVN/1.14.2 (x86_64) ( ) ) ";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("svn", CLIENT, SERVER, Some(Side::Resp)).server_first()]
    }

    #[test]
    fn the_client_is_told_and_no_credentials() {
        let info = examples()[0].described(&Svn);
        assert_eq!(info.get("client_software"), Some("SVN/1.14.2"));
        assert!(!format!("{info:?}").contains("sesame"));
    }

    #[test]
    fn other_lists_and_one_side_alone_are_no_proof() {
        assert_eq!(ask(&Svn, Transport::Tcp, b"", SERVER), Probe::Unsure);
        assert_eq!(ask(&Svn, Transport::Tcp, b"", b"( failure ( ( 210005"), Probe::NotForUs);
        assert_eq!(ask(&Svn, Transport::Tcp, b"", b"( success ( 7 9 ( ) "), Probe::NotForUs);
        assert_eq!(ask(&Svn, Transport::Tcp, b"GET / HTTP/1.1\r\n", SERVER), Probe::NotForUs);
        assert_eq!(ask(&Svn, Transport::Tcp, b"( 2 ( get-file", SERVER), Probe::NotForUs);
    }
}
