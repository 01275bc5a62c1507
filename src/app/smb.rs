//! SMB 1, 2 and 3 ([MS-SMB], [MS-SMB2]) behind the NetBIOS session header, on any port.
//!
//! The first 16 messages of each side are read for the dialect, signing, and what the server says of itself; what follows
//! them, for the workstation that a client logs on from and the first share it asks for (`smb_share.rs`). A file or a
//! user name is not kept.

use super::evidence::{Evidence, Role, weigh};
use super::ntlm::{self, Logon};
use super::reader::Reader;
use super::smb_share::ShareReader;
use super::{Described, Ends, Follow, FollowOut, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Smb;

const MESSAGES_MAX: usize = 16;

impl Protocol for Smb {
    fn name(&self) -> &'static str {
        "smb"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, judge)
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        let mut told = Described::Partly;
        for message in messages(opening.side(server)).take(MESSAGES_MAX) {
            if let Some(body) = message.strip_prefix(b"\xfeSMB") {
                if smb2(body, info) == Some(Described::Whole) {
                    told = Described::Whole;
                }
            } else if let Some(body) = message.strip_prefix(b"\xffSMB")
                && smb1(body, opening.side(server.other()), info) == Some(Described::Whole)
            {
                told = Described::Whole;
            }
        }
        told
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        Some(Box::new(Session::default()))
    }
}

fn judge(bytes: &[u8]) -> Evidence {
    match bytes {
        // Session request and its answers (RFC 1002 section 4.3): what is carried shows later.
        [0x81, rest @ ..] => match rest {
            [0, 0, length, ..] if !matches!(length, 0x44..=0xff) => No,
            _ => match bytes.get(4..).and_then(|b| b.split_at_checked(usize::from(*rest.get(2).unwrap_or(&0xff)))) {
                Some((_, [])) | None => Short,
                Some((_, carried)) => header(carried),
            },
        },
        [0x82, 0, 0, 0] | [0x82] | [0x82, 0] | [0x82, 0, 0] => Short,
        [0x82, 0, 0, 0, carried @ ..] => header(carried),
        _ => header(bytes),
    }
}

fn header(bytes: &[u8]) -> Evidence {
    match bytes {
        [0, _, _, _, 0xff, b'S', b'M', b'B', _, _, _, _, _, flags, ..] => Proof(sender(flags & 0x80 != 0)),
        [0, _, _, _, 0xfe, b'S', b'M', b'B', 64, 0, _, _, _, _, _, _, _, _, _, _, flags, ..] => {
            Proof(sender(flags & 1 != 0))
        }
        // The whole fixed header is needed to tell who speaks.
        [0, _, _, _, 0xff, b'S', b'M', b'B', ..] => Short,
        [0, _, _, _, 0xfe, b'S', b'M', b'B', rest @ ..] => Short.only_if(matches!(rest, [] | [64] | [64, 0, ..])),
        // Encrypted or compressed SMB 3: the header does not say who sent it.
        [0, _, _, _, 0xfd | 0xfc, b'S', b'M', b'B', ..] => Hint(Role::Peer),
        [0, _, _, _, mark, rest @ ..] => Short.only_if(*mark >= 0xfc && rest.len() < 3 && b"SMB".starts_with(rest)),
        [0] | [0, _] | [0, _, _] | [0, _, _, _] => Short,
        _ => No,
    }
}

fn sender(reply: bool) -> Role {
    if reply { Role::Server } else { Role::Client }
}

/// SMB messages without their session header; the last may be cut short.
fn messages(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut r = Reader::new(bytes);
    std::iter::from_fn(move || {
        let (_kind, length) = (r.u8()?, usize::try_from(r.u24()?).ok()?);
        let rest = r.rest();
        r.take(length).or_else(|| {
            r = Reader::new(&[]);
            Some(rest)
        })
    })
}

/// A server's SMB2 message, after the protocol id. `Whole` once the session setup was answered.
fn smb2(body: &[u8], info: &mut AppInfo) -> Option<Described> {
    let mut r = Reader::new(body);
    r.skip(8)?;
    let command = r.u16_le()?;
    r.skip(50)?;
    match command {
        0 => {
            let (_size, mode, dialect) = (r.u16_le()?, r.u16_le()?, r.u16_le()?);
            let name = match dialect {
                0x0202 => "SMB 2.0.2",
                0x0210 => "SMB 2.1",
                0x0300 => "SMB 3.0",
                0x0302 => "SMB 3.0.2",
                0x0311 => "SMB 3.1.1",
                // "Any SMB 2": the answer to an SMB1 negotiation; the true one follows.
                _ => return None,
            };
            info.detail("dialect", name);
            info.detail("signing", signing(mode & 1 != 0, mode & 2 != 0));
            None
        }
        1 => {
            ntlm::challenge(r.rest(), info);
            Some(Described::Whole)
        }
        _ => None,
    }
}

fn signing(enabled: bool, required: bool) -> &'static str {
    match (enabled, required) {
        (_, true) => "required",
        (true, false) => "enabled",
        (false, false) => "disabled",
    }
}

/// A server's SMB1 message, after the protocol id.
fn smb1(body: &[u8], client: &[u8], info: &mut AppInfo) -> Option<Described> {
    let mut r = Reader::new(body);
    let command = r.u8()?;
    r.skip(5)?;
    let unicode = r.u16_le()? & 0x8000 != 0;
    r.skip(20)?;
    let words = usize::from(r.u8()?);
    match command {
        0x72 => {
            let mut fields = Reader::new(r.take(words.checked_mul(2)?)?);
            let (dialect, mode) = (fields.u16_le()?, fields.u8()?);
            if let Some(name) = offered_dialect(client, usize::from(dialect)) {
                info.detail("dialect", name);
            }
            info.detail("signing", signing(mode & 4 != 0, mode & 8 != 0));
            None
        }
        0x73 => {
            let mut fields = Reader::new(r.take(words.checked_mul(2)?)?);
            fields.skip(6)?;
            // With extended security (four words) a blob stands before the native names.
            let blob = if words == 4 { usize::from(fields.u16_le()?) } else { 0 };
            r.skip(2)?;
            let blob_bytes = r.take(blob)?;
            ntlm::challenge(blob_bytes, info);
            // Strings are aligned to the header's start: 32 + 1 + words + 2 + blob.
            native_names(r.rest(), unicode, (33 + 2 * words + 2 + blob) % 2 == 1, info);
            Some(Described::Whole)
        }
        _ => None,
    }
}

/// The dialect with this index in the client's negotiation: strings behind a 0x02 each.
fn offered_dialect(client: &[u8], index: usize) -> Option<&[u8]> {
    let negotiate = messages(client).take(MESSAGES_MAX).find(|m| m.starts_with(b"\xffSMB\x72"))?;
    let mut r = Reader::new(negotiate.get(35..)?);
    for _ in 0..index.min(64) {
        r.until(0)?;
    }
    r.until(0)?.strip_prefix(b"\x02")
}

fn native_names(bytes: &[u8], unicode: bool, odd: bool, info: &mut AppInfo) {
    let (os, lan_manager) = if unicode {
        let units = bytes.get(usize::from(odd)..).unwrap_or_default();
        let mut strings = ntlm::utf16(units);
        (strings.next(), strings.next())
    } else {
        let mut strings = bytes.split(|b| *b == 0).map(AppInfo::clean);
        (strings.next(), strings.next())
    };
    let (os, lan_manager) = (os.unwrap_or_default(), lan_manager.unwrap_or_default());
    info.detail("native_os", &os);
    info.detail("native_lm", &lan_manager);
    if let Some(version) = lan_manager.strip_prefix("Samba ") {
        info.product("Samba", Some(version.as_bytes()));
    } else if os.starts_with("Windows ") && info.product.is_none() {
        // The version is NTLM's, so that it is the same whichever dialect a client speaks.
        info.product("Windows", None);
    }
}

/// Who logs on, and to which share.
#[derive(Default)]
struct Session {
    logon: Logon,
    share: ShareReader,
}

impl Follow for Session {
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut) {
        self.logon.data(side, bytes, flow, out);
        if !self.share.done() {
            self.share.data(side, bytes, flow, out);
        }
    }

    fn gap(&mut self, side: Side) {
        self.logon.gap(side);
        self.share.gap(side);
    }

    fn done(&self) -> bool {
        self.logon.done() && self.share.done()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    fn session(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u32).to_be_bytes(), message].concat()
    }

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn smb1(command: u8, flags: u8, body: &[u8]) -> Vec<u8> {
        let mut message = b"\xffSMB".to_vec();
        message.extend([command, 0, 0, 0, 0, flags, 0x01, 0xc8]);
        message.extend([0; 20]);
        message.extend(body);
        session(&message)
    }

    fn smb2(command: u8, reply: bool, body: &[u8]) -> Vec<u8> {
        let mut message = b"\xfeSMB\x40\0\x01\0\0\0\0\0".to_vec();
        message.extend([command, 0, 1, 0, u8::from(reply), 0, 0, 0]);
        message.resize(64, 0);
        message.extend(body);
        session(&message)
    }

    fn challenge() -> Vec<u8> {
        let mut pairs = Vec::new();
        for (id, text) in [(2u16, "CORP"), (1, "FS01"), (3, "fs01.corp.example"), (0, "")] {
            let text = wide(text);
            pairs.extend(id.to_le_bytes());
            pairs.extend((text.len() as u16).to_le_bytes());
            pairs.extend(text);
        }
        let mut blob = b"NTLMSSP\0\x02\0\0\0\0\0\0\0\x38\0\0\0".to_vec();
        blob.extend(0x0200_0000u32.to_le_bytes());
        blob.extend([0; 16]);
        blob.extend((pairs.len() as u16).to_le_bytes());
        blob.extend((pairs.len() as u16).to_le_bytes());
        blob.extend(56u32.to_le_bytes());
        blob.extend([10, 0, 0x63, 0x45, 0, 0, 0, 15]);
        blob.extend(pairs);
        blob
    }

    fn smb2_conversation() -> (Vec<u8>, Vec<u8>) {
        let negotiated = [&[65, 0, 3, 0, 0x11, 3][..], &[0; 58]].concat();
        let setup = [&[9, 0, 0, 0, 72, 0, 0, 1][..], &challenge()].concat();
        (smb2(0, false, &[36, 0, 1, 0]), [smb2(0, true, &negotiated), smb2(1, true, &setup)].concat())
    }

    fn smb1_conversation() -> (Vec<u8>, Vec<u8>) {
        let offer = [&[0, 24, 0][..], b"\x02LANMAN2.1\0\x02NT LM 0.12\0"].concat();
        let mut chosen = vec![17, 1, 0, 0x03];
        chosen.extend([0; 31]);
        chosen.extend([0, 0]);
        let names = [wide("Unix\0"), wide("Samba 3.0.20-Debian\0"), wide("WORKGROUP\0")].concat();
        let mut setup = vec![3, 0xff, 0, 0, 0, 0, 0];
        setup.extend((names.len() as u16 + 1).to_le_bytes());
        setup.push(0);
        setup.extend(names);
        (smb1(0x72, 0x18, &offer), [smb1(0x72, 0x98, &chosen), smb1(0x73, 0x98, &setup)].concat())
    }

    pub(crate) fn examples() -> Vec<Example> {
        let (ask2, answer2) = smb2_conversation();
        let (ask1, answer1) = smb1_conversation();
        let request = [&[0x81, 0, 0, 0x44][..], &[b'A'; 0x44], &ask1].concat();
        let granted = [&[0x82, 0, 0, 0][..], &answer1].concat();
        vec![
            Example::tcp("smb", &ask2, &answer2, Some(Side::Resp)),
            Example::tcp("smb", &ask1, &answer1, Some(Side::Resp)),
            Example::tcp("smb", &request, &granted, Some(Side::Resp)),
            Example::tcp("smb", &answer2, b"", Some(Side::Orig)),
        ]
    }

    #[test]
    fn an_smb3_server_tells_dialect_signing_and_names() {
        let (client, server) = smb2_conversation();
        let info = Example::tcp("smb", &client, &server, Some(Side::Resp)).described(&Smb);
        assert_eq!(info.get("dialect"), Some("SMB 3.1.1"));
        assert_eq!(info.get("signing"), Some("required"));
        assert_eq!(info.get("computer"), Some("FS01"));
        assert_eq!(info.get("dns_computer"), Some("fs01.corp.example"));
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("Windows"), Some("10.0.17763")));
    }

    #[test]
    fn a_session_setup_names_the_clients_workstation() {
        use super::super::examples::{ends, followed};
        use super::super::ntlm::tests::authenticate;
        let setup = smb2(1, false, &[&[25, 0, 0, 1][..], &[0; 20], &authenticate(&wide("WS-17"), true)].concat());
        let out = followed(&Smb, &ends(Transport::Tcp, 445), &[(Side::Orig, &setup)]);
        let named: Vec<_> = out.names.iter().map(|heard| (heard.ip.to_string(), heard.name.as_str())).collect();
        assert_eq!(named, [("10.0.0.9".to_owned(), "WS-17")]);
    }

    #[test]
    fn an_smb1_server_tells_its_native_names() {
        let (client, server) = smb1_conversation();
        let info = Example::tcp("smb", &client, &server, Some(Side::Resp)).described(&Smb);
        assert_eq!(info.get("dialect"), Some("NT LM 0.12"));
        assert_eq!(info.get("signing"), Some("disabled"));
        assert_eq!(info.get("native_os"), Some("Unix"));
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("Samba"), Some("3.0.20-Debian")));
    }

    #[test]
    fn a_session_header_with_something_else_inside_is_not_smb() {
        assert_eq!(ask(&Smb, Transport::Tcp, b"\0\0\0\x20\xffSMX aaaaaaaaaaaaaaaaaaaa", b""), Probe::NotForUs);
        assert_eq!(ask(&Smb, Transport::Tcp, b"\0\0\0\x20GET /", b""), Probe::NotForUs);
        assert_eq!(ask(&Smb, Transport::Tcp, b"\xffSMB\x72\0\0\0\0\x18", b""), Probe::NotForUs);
    }

    #[test]
    fn smb_answered_by_another_protocol_is_not_smb() {
        let (client, _) = smb2_conversation();
        assert_eq!(ask(&Smb, Transport::Tcp, &client, b"HTTP/1.1 400 Bad Request\r\n"), Probe::NotForUs);
    }
}
