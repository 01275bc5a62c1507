//! Git's own transport (gitprotocol-pack): a packet line that asks for a service, and the answer in packet lines.
//!
//! Read are the request, and of the first answer the server's agent.

use super::evidence::{Evidence, Role, after, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Git;

const SERVICES: [&[u8]; 3] = [b"git-upload-pack ", b"git-receive-pack ", b"git-upload-archive "];
/// A packet line is at most 65520 bytes; a path and a host are within the length of a path.
const REQUEST_BYTES_MAX: usize = 4096 + 512;

impl Protocol for Git {
    fn name(&self) -> &'static str {
        "git"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| packet(bytes).unwrap_or(Short))
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        let request = opening.side(server.other()).get(4..).unwrap_or_default();
        info.detail("command", request.split(|b| *b == b' ').next().unwrap_or_default());
        if let Some(host) = after(request, b"\0host=").and_then(|h| h.split(|b| *b == 0).next()) {
            info.detail("host", host);
        }
        let Some(agent) = after(opening.side(server), b"agent=git/") else { return Described::Partly };
        let end = agent.iter().position(|b| !(b.is_ascii_digit() || *b == b'.')).unwrap_or(agent.len());
        info.product("git", agent.get(..end));
        Described::Whole
    }
}

/// Four hexadecimal digits of length, themselves counted in, and what follows.
fn packet(bytes: &[u8]) -> Option<Evidence> {
    let mut r = Reader::new(bytes);
    if !bytes.iter().take(4).all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Some(No);
    }
    let length = usize::from_str_radix(std::str::from_utf8(r.take(4)?).ok()?, 16).ok()?;
    let line = r.rest().get(..length.saturating_sub(4)).unwrap_or(r.rest());
    if r.rest().first()? == &b'g' {
        let service = SERVICES.iter().map(|s| Proof(Role::Client).if_begins(line, s)).find(|e| *e != No);
        return Some(match service {
            // Its end is the zero behind the path, or behind the host.
            Some(Proof(_)) if length > REQUEST_BYTES_MAX => No,
            Some(Proof(_)) if line.len() + 4 < length => Short,
            Some(said) => said.only_if(said == Short || line.ends_with(b"\0") || !line.contains(&0)),
            None => No,
        });
    }
    // The list of refs begins with an object's name; version 2 and errors with a word.
    let words = [b"version ".as_slice(), b"ERR ", b"ACK"].map(|w| Hint(Role::Server).if_begins(line, w));
    if let Some(said) = words.into_iter().find(|e| *e != No) {
        return Some(said);
    }
    let name = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    Some(match line.get(name) {
        Some(b' ') => Hint(Role::Server).only_if(matches!(name, 40 | 64)),
        None => Short.only_if(name <= 64 && length > 44),
        Some(_) => No,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const ASKED: &[u8] = b"002fgit-upload-pack /web.git\0host=git.lab:9418\0";
    const REFS: &[u8] =
        b"006d2cb58b79488a98d2721cea644875a8dd0026b115 HEAD\0multi_ack symref=HEAD:refs/heads/main agent=git/2.39.5\n0000";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("git", ASKED, REFS, Some(Side::Resp)),
            Example::tcp("git", ASKED, b"000eversion 2\n", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_server_tells_its_version() {
        let info = examples()[0].described(&Git);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("git"), Some("2.39.5")));
        assert_eq!((info.get("command"), info.get("host")), (Some("git-upload-pack"), Some("git.lab:9418")));
    }

    #[test]
    fn other_services_and_answers_are_not_git() {
        assert_eq!(
            ask(&Git, Transport::Tcp, b"002fgit-remove-pack /web.git\0host=git.lab:9418\0", b""),
            Probe::NotForUs
        );
        assert_eq!(ask(&Git, Transport::Tcp, ASKED, b"HTTP/1.1 400\r\n"), Probe::NotForUs);
        assert_eq!(ask(&Git, Transport::Tcp, b"0005deadbeef", b""), Probe::NotForUs);
        assert_eq!(ask(&Git, Transport::Tcp, b"", REFS), Probe::Unsure);
    }
}
