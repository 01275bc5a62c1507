//! NTLM ([MS-NLMP]) inside whatever carries it: what a server says of itself in its challenge, and the workstation
//! that a client says it logs on from.
//!
//! A logon is looked for in the first [`LOOKED_AT_BYTES_MAX`] bytes after something of NTLM was seen, and at most
//! [`CARRY_BYTES_MAX`] bytes of an unfinished message are kept; what is longer names nobody. No user, no domain of a
//! user and no response is kept.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::reader::Reader;
use super::{Ends, Follow, FollowOut};
use crate::model::{AppInfo, HeardName, NameBy, Side, from_base64_prefix};

/// What is offered in words (RFC 4559), or begins a message, as it is and in base64.
const SIGNS: [&[u8]; 3] = [b"NTLM", b"Negotiate", b"TlRMTVNTUAA"];
static SIGNS_SOUGHT: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(SIGNS).ok());
const AUTHENTICATE: &[u8] = b"NTLMSSP\0\x03\0\0\0";
/// Nine bytes of it, so that the text ends on a whole group.
const AUTHENTICATE_BASE64: &[u8] = b"TlRMTVNTUAAD";
/// The answer of a client in SPNEGO (RFC 4178 4.2.2: tag 1, in base64 `o`), which wraps the message.
const WRAPPED: &[u8] = b"Negotiate o";
const SCHEME: usize = b"Negotiate ".len();
const CHALLENGE: &[u8] = b"NTLMSSP\0\x02\0\0\0";
/// The three messages of a logon, with certificates of nobody: under 4 KiB.
const LOOKED_AT_BYTES_MAX: usize = 16 * 1024;
/// Names stand before the responses in all but odd implementations.
const CARRY_BYTES_MAX: usize = 1024;
/// NTLMSSP_NEGOTIATE_UNICODE.
const UNICODE: u32 = 1;
/// A NetBIOS name has 15 characters, a DNS label 63.
const NAME_BYTES_MAX: usize = 126;

/// The server's challenge (section 2.2.1.2): its names and the version of Windows.
pub(super) fn challenge(blob: &[u8], info: &mut AppInfo) -> Option<()> {
    let at = blob.windows(CHALLENGE.len()).position(|window| window == CHALLENGE)?;
    let message = blob.get(at..)?;
    let mut r = Reader::new(message.get(CHALLENGE.len()..)?);
    r.skip(8)?;
    let flags = r.u32_le()?;
    r.skip(16)?;
    let (length, _allocated, offset) = (usize::from(r.u16_le()?), r.u16_le()?, usize::try_from(r.u32_le()?).ok()?);
    // NTLMSSP_NEGOTIATE_VERSION. Samba says 6.1 build 0, which is no Windows.
    if flags & 0x0200_0000 != 0
        && let (Some(major), Some(minor), Some(build)) = (r.u8(), r.u8(), r.u16_le())
        && build != 0
    {
        info.product("Windows", Some(format!("{major}.{minor}.{build}").as_bytes()));
    }
    let mut pairs = Reader::new(message.get(offset..)?.get(..length)?);
    // AvId 1 to 5: NetBIOS computer and domain, DNS computer, domain and tree.
    while let (Some(id @ 1..), Some(size)) = (pairs.u16_le(), pairs.u16_le()) {
        let value = pairs.take(usize::from(size))?;
        let name = match id {
            1 => "computer",
            2 => "domain",
            3 => "dns_computer",
            4 => "dns_domain",
            _ => continue,
        };
        info.detail(name, utf16(value).next().unwrap_or_default());
    }
    Some(())
}

/// NUL-terminated UTF-16LE strings.
pub(super) fn utf16(bytes: &[u8]) -> impl Iterator<Item = String> {
    let (units, _) = bytes.as_chunks::<2>();
    let mut rest = units.iter().map(|pair| u16::from_le_bytes(*pair)).peekable();
    std::iter::from_fn(move || {
        rest.peek()?;
        let text: Vec<u16> = rest.by_ref().take_while(|unit| *unit != 0).take(256).collect();
        Some(AppInfo::clean(String::from_utf16_lossy(&text).as_bytes()))
    })
}

/// Waits for the message in which a client names its workstation.
#[derive(Default)]
pub(super) struct Logon {
    /// Something of NTLM was said or offered.
    expected: bool,
    over: bool,
    looked_at: usize,
    carry: [Vec<u8>; 2],
}

impl Follow for Logon {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        if self.over {
            return;
        }
        let Some(carry) = self.carry.get_mut(side as usize) else { return };
        let all = if carry.is_empty() {
            bytes
        } else {
            carry.extend_from_slice(bytes.get(..LOOKED_AT_BYTES_MAX.min(bytes.len())).unwrap_or(bytes));
            carry.as_slice()
        };
        let found = match signs(all, &mut self.expected) {
            Some((at, Form::Plain)) => (at, all.get(at..).and_then(workstation)),
            Some((at, Form::Text)) => (at, all.get(at..).map(base64).as_deref().and_then(workstation)),
            Some((at, Form::Wrapped)) => (at, all.get(at..).and_then(unwrapped).as_deref().and_then(workstation)),
            // Its beginning may lie across segments.
            None => (all.len().saturating_sub(AUTHENTICATE.len() - 1), None),
        };
        match found {
            (_, Some(name)) => {
                self.over = true;
                if !name.is_empty() {
                    let ip = if side == Side::Orig { flow.orig.0 } else { flow.resp.0 };
                    out.names.push(HeardName { ip, by: NameBy::Ntlm, name });
                }
            }
            (at, None) => {
                let rest = all.get(at..).filter(|rest| rest.len() <= CARRY_BYTES_MAX).unwrap_or_default().to_vec();
                *carry = rest;
            }
        }
        if self.expected {
            self.looked_at = self.looked_at.saturating_add(bytes.len());
            self.over |= self.looked_at > LOOKED_AT_BYTES_MAX;
        }
        if self.over {
            self.carry = Default::default();
        }
    }

    fn gap(&mut self, side: Side) {
        if let Some(carry) = self.carry.get_mut(side as usize) {
            carry.clear();
        }
    }

    fn done(&self) -> bool {
        self.over || !self.expected
    }
}

/// The workstation in an AUTHENTICATE message (section 2.2.1.3); empty where there is none to say. `None`: there is
/// more to come.
fn workstation(message: &[u8]) -> Option<String> {
    let mut r = Reader::new(message.get(44..)?);
    let (length, _allocated, offset) = (usize::from(r.u16_le()?), r.u16_le()?, usize::try_from(r.u32_le()?).ok()?);
    r.skip(8)?;
    let flags = r.u32_le()?;
    if length == 0 || length > NAME_BYTES_MAX || offset > CARRY_BYTES_MAX {
        return Some(String::new());
    }
    let text = message.get(offset..)?.get(..length)?;
    let name = match flags & UNICODE {
        0 => AppInfo::clean(text),
        _ => utf16(text).next().unwrap_or_default(),
    };
    Some(name.trim_start_matches('\\').to_owned())
}

/// How a message is written.
#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    /// In base64.
    Text,
    /// In base64, within SPNEGO.
    Wrapped,
}

/// Where the client's last message begins, and how it is written; and whether anything of NTLM was seen.
fn signs(bytes: &[u8], seen: &mut bool) -> Option<(usize, Form)> {
    let signs = SIGNS_SOUGHT.as_ref()?;
    for at in signs.find_iter(bytes).map(|sign| sign.start()) {
        let rest = bytes.get(at..).unwrap_or_default();
        *seen = true;
        if rest.starts_with(AUTHENTICATE) {
            return Some((at, Form::Plain));
        }
        if rest.starts_with(AUTHENTICATE_BASE64) {
            return Some((at, Form::Text));
        }
        // A challenge is wrapped in the same way, and a ticket of Kerberos; either is passed over once it has ended.
        if rest.starts_with(WRAPPED) && (is_open(rest) || unwrapped(rest).is_some()) {
            return Some((at, Form::Wrapped));
        }
    }
    None
}

/// Does the text go on?
fn is_open(header: &[u8]) -> bool {
    let is_text = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    header.len() < 2 * CARRY_BYTES_MAX && header.get(SCHEME..).is_some_and(|text| text.iter().all(is_text))
}

/// The message in the token of this header.
fn unwrapped(header: &[u8]) -> Option<Vec<u8>> {
    let token = base64(header.get(SCHEME..)?);
    let at = token.windows(AUTHENTICATE.len()).position(|window| window == AUTHENTICATE)?;
    token.get(at..).map(<[u8]>::to_vec)
}

/// What the base64 text at the beginning stands for, as far as it goes.
fn base64(text: &[u8]) -> Vec<u8> {
    from_base64_prefix(text.get(..2 * CARRY_BYTES_MAX).unwrap_or(text))
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::IpAddr;

    use super::super::examples::ends;
    use super::*;
    use crate::model::Transport;

    /// An AUTHENTICATE message from this workstation, with a response behind the names.
    pub(crate) fn authenticate(name: &[u8], unicode: bool) -> Vec<u8> {
        let mut message = AUTHENTICATE.to_vec();
        let field = |length: usize, offset: usize| {
            [&(length as u16).to_le_bytes()[..], &(length as u16).to_le_bytes(), &(offset as u32).to_le_bytes()]
                .concat()
        };
        for (length, offset) in
            [(24, 72 + name.len()), (24, 96 + name.len()), (0, 72), (0, 72), (name.len(), 72), (0, 72)]
        {
            message.extend(field(length, offset));
        }
        message.extend(u32::from(unicode).to_le_bytes());
        message.extend([10, 0, 0x63, 0x45, 0, 0, 0, 15]);
        message.extend(name);
        message.extend([0xaa; 48]);
        message
    }

    pub(crate) fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    pub(crate) fn to_base64(bytes: &[u8]) -> Vec<u8> {
        crate::model::to_base64_unpadded(bytes).into_bytes()
    }

    fn heard(said: &[(Side, &[u8])]) -> Vec<(IpAddr, String)> {
        let (mut logon, mut out) = (Logon::default(), FollowOut::default());
        for (side, bytes) in said {
            logon.data(*side, bytes, &ends(Transport::Tcp, 445), &mut out);
        }
        out.names.into_iter().map(|heard| (heard.ip, heard.name)).collect()
    }

    fn client(name: &str) -> Vec<(IpAddr, String)> {
        vec![(IpAddr::from([10, 0, 0, 9]), name.to_owned())]
    }

    #[test]
    fn a_logon_names_the_workstation_of_whoever_sends_it() {
        assert_eq!(heard(&[(Side::Orig, &authenticate(&wide("WS-17"), true))]), client("WS-17"));
        assert_eq!(heard(&[(Side::Orig, &authenticate(b"OLD-PC", false))]), client("OLD-PC"));
        assert_eq!(heard(&[(Side::Orig, &authenticate(&wide("\\\\WS-17"), true))]), client("WS-17"));
        let server = heard(&[(Side::Resp, &authenticate(&wide("WS-17"), true))]);
        assert_eq!(server, [(IpAddr::from([10, 0, 0, 5]), "WS-17".to_owned())]);
    }

    #[test]
    fn a_logon_in_http_is_read_through_its_base64() {
        let blob = to_base64(&authenticate(&wide("WS-17"), true));
        let request = [b"GET / HTTP/1.1\r\nAuthorization: NTLM ".as_slice(), &blob, b"\r\n\r\n"].concat();
        assert_eq!(heard(&[(Side::Orig, &request)]), client("WS-17"));
    }

    /// NegTokenResp with the message as its response token.
    fn wrapped(message: &[u8]) -> Vec<u8> {
        let of = |tag: u8, body: &[u8]| [&[tag, 0x82, (body.len() >> 8) as u8, body.len() as u8], body].concat();
        of(0xa1, &of(0x30, &of(0xa2, &of(0x04, message))))
    }

    #[test]
    fn a_logon_in_http_is_read_through_spnego_wherever_it_is_cut() {
        let token = to_base64(&wrapped(&authenticate(&wide("WS-17"), true)));
        let request = [b"GET / HTTP/1.1\r\nAuthorization: Negotiate ".as_slice(), &token, b"\r\n\r\n"].concat();
        assert_eq!(heard(&[(Side::Orig, &request)]), client("WS-17"));
        for cut in 1..request.len() {
            let (head, tail) = request.split_at(cut);
            assert_eq!(heard(&[(Side::Orig, head), (Side::Orig, tail)]), client("WS-17"), "{cut}");
        }
    }

    #[test]
    fn a_wrapped_challenge_or_ticket_names_nobody_and_hides_no_logon_behind_it() {
        let header = |token: &[u8]| [b"Authorization: Negotiate ".as_slice(), &to_base64(token), b"\r\n"].concat();
        let challenge = header(&wrapped(&[CHALLENGE, &[0; 60]].concat()));
        let ticket = header(&wrapped(&[0x6f; 300]));
        assert!(heard(&[(Side::Resp, &challenge), (Side::Orig, &ticket)]).is_empty());
        let logon = header(&wrapped(&authenticate(&wide("WS-17"), true)));
        let all = [ticket, challenge, logon].concat();
        assert_eq!(heard(&[(Side::Orig, &all)]), client("WS-17"));
    }

    #[test]
    fn a_logon_may_be_cut_into_pieces_anywhere() {
        let message = [b"some header".to_vec(), authenticate(&wide("WS-17"), true)].concat();
        for cut in 1..message.len() {
            let (head, tail) = message.split_at(cut);
            assert_eq!(heard(&[(Side::Orig, head), (Side::Orig, tail)]), client("WS-17"), "{cut}");
            if cut < message.len() - 48 {
                assert!(heard(&[(Side::Orig, head)]).is_empty(), "{cut}");
            }
        }
        let bytes: Vec<_> = message.chunks(1).map(|byte| (Side::Orig, byte)).collect();
        assert_eq!(heard(&bytes), client("WS-17"));
    }

    #[test]
    fn an_anonymous_logon_and_a_field_that_lies_name_nobody() {
        assert!(heard(&[(Side::Orig, &authenticate(b"", true))]).is_empty());
        for (at, value) in [(44, 0xff), (45, 0xff), (48, 0xff), (51, 0xff)] {
            let mut message = authenticate(&wide("WS-17"), true);
            message[at] = value;
            message[if at < 48 { 45 } else { 50 }] = 0x7f;
            assert!(heard(&[(Side::Orig, &message)]).is_empty(), "{at}");
        }
    }

    #[test]
    fn a_hostile_name_is_escaped() {
        assert_eq!(
            heard(&[(Side::Orig, &authenticate(&wide("a\u{202e}\u{1b}b"), true))]),
            client("a\\u{202e}\\u{1b}b")
        );
    }

    #[test]
    fn it_listens_only_where_ntlm_is_spoken_and_not_for_ever() {
        let (mut logon, mut out) = (Logon::default(), FollowOut::default());
        let ends = ends(Transport::Tcp, 445);
        logon.data(Side::Orig, b"GET / HTTP/1.1\r\n\r\n", &ends, &mut out);
        assert!(logon.done());
        logon.data(Side::Resp, b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\n\r\n", &ends, &mut out);
        assert!(!logon.done());
        for _ in 0..20 {
            logon.data(Side::Orig, &[b'x'; 1000], &ends, &mut out);
            assert!(logon.carry.iter().all(|carry| carry.len() <= CARRY_BYTES_MAX));
        }
        assert!(logon.done() && out.names.is_empty());
    }
}
