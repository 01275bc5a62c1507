//! Which texts of a service Recog's files are about: a banner, a header, a certificate's subject.
//!
//! At most two of one service, as the parsers keep them: 256 bytes, escaped. They are turned back into the bytes that
//! were sent before they are matched.

use std::borrow::Cow;

use crate::model::AppInfo;

/// Protocol, detail, and what Recog calls it. In this order they are tried.
const TEXTS: &[(&str, &str, &str)] = &[
    ("dns", "version_bind", "dns.versionbind"),
    ("ftp", "banner", "ftp.banner"),
    ("http", "server", "http_header.server"),
    ("mysql", "error", "mysql.error"),
    ("imap", "banner", "imap4.banner"),
    ("pop3", "banner", "pop3.banner"),
    ("rtsp", "server", "rtsp_header.server"),
    ("sip", "server", "sip_header.server"),
    ("sip", "server", "sip_header.user_agent"),
    ("smb", "native_os", "smb.native_os"),
    ("smb", "native_lm", "smb.native_lm"),
    ("smtp", "banner", "smtp.banner"),
    ("snmp", "sys_descr", "snmp.sys_description"),
    ("ssh", "software", "ssh.banner"),
    ("telnet", "banner", "telnet.banner"),
    ("tls", "subject", "x509.subject"),
    ("usenet", "banner", "nntp.banner"),
    ("x11", "product", "x11.vendor"),
];

/// Files whose `matches` has an older name, or none.
pub(super) fn kind(matches: &str, file: &str) -> String {
    match (matches, file) {
        ("", "telnet_banners.xml") => "telnet.banner".to_owned(),
        ("imap.banner", _) => "imap4.banner".to_owned(),
        ("pop.banner", _) => "pop3.banner".to_owned(),
        (matches, _) => matches.to_owned(),
    }
}

/// Is there a protocol whose parser keeps such a text?
pub(super) fn heard(kind: &str) -> bool {
    TEXTS.iter().any(|(_, _, name)| *name == kind)
}

/// The texts of a service, each with what Recog calls it.
pub(super) fn of(app: &AppInfo) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
    let proto = app.proto.as_str();
    let of_proto = TEXTS.iter().filter(move |(of, ..)| *of == proto);
    of_proto.filter_map(|(_, detail, kind)| {
        let text = if *detail == "product" { app.product.as_deref()? } else { app.get(detail)? };
        Some((
            *kind,
            match (*kind, app.get("comment")) {
                // What follows the software in the identification line.
                ("ssh.banner", Some(comment)) => Cow::Owned(format!("{text} {comment}")),
                ("x509.subject", _) => Cow::Owned(innermost_first(text)),
                _ => Cow::Borrowed(text),
            },
        ))
    })
}

/// `C=US, O=Lab, CN=a` as `CN=a,O=Lab,C=US`.
fn innermost_first(subject: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in subject.split(", ") {
        let name = part
            .split_once('=')
            .is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'));
        match parts.last_mut() {
            // A comma within a value.
            Some(last) if !name => {
                last.push_str(", ");
                last.push_str(part);
            }
            _ => parts.push(part.replace(" + ", "+")),
        }
    }
    parts.reverse();
    parts.join(",")
}

/// The bytes that were sent: `AppInfo::clean` undone.
pub(super) fn bytes(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('\\') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        rest = after;
        let (bytes, taken) = escape(after).unwrap_or((vec![b'\\'], 0));
        out.extend_from_slice(&bytes);
        rest = rest.get(taken..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
    Cow::Owned(out)
}

/// What an escape stands for, and its length after the backslash.
fn escape(text: &str) -> Option<(Vec<u8>, usize)> {
    let one = |byte| Some((vec![byte], 1));
    match text.bytes().next()? {
        b'r' => one(b'\r'),
        b'n' => one(b'\n'),
        b't' => one(b'\t'),
        b'x' => u8::from_str_radix(text.get(1..3)?, 16).ok().map(|byte| (vec![byte], 3)),
        b'u' => {
            let hex = text.get(1..)?.strip_prefix('{')?.split_once('}')?.0;
            let c = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
            Some((c.to_string().into_bytes(), hex.len() + 3))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        let sent: &[u8] = b"a\r\n\tb\x1b[0m\xff\\d \xe2\x80\xae";
        assert_eq!(&*bytes(&AppInfo::clean(sent)), sent);
        assert_eq!(&*bytes("a\\xZZ\\u{zz}\\"), b"a\\xZZ\\u{zz}\\");
    }

    #[test]
    fn a_subject_is_written_as_recog_writes_it() {
        let subject = "C=US, O=Acme, Inc., OU=a + OU=b, CN=x.example";
        assert_eq!(innermost_first(subject), "CN=x.example,OU=a+OU=b,O=Acme, Inc.,C=US");
    }

    #[test]
    fn an_ssh_banner_is_software_and_comment() {
        let mut app = AppInfo::new("ssh", None);
        app.detail("software", "OpenSSH_9.2p1");
        app.detail("comment", "Debian-2");
        assert_eq!(of(&app).collect::<Vec<_>>(), [("ssh.banner", Cow::Borrowed("OpenSSH_9.2p1 Debian-2"))]);
    }
}
