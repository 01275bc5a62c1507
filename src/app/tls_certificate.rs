//! The server's certificate, where the handshake shows it (TLS 1.2 and older): who it names and who signed it.
//!
//! Only the first of the chain is read, and only when it is whole; one that does not parse is passed over.

use sha1::Digest;

use super::digest::hex;
use super::reader::Reader;
use super::tor;
use crate::model::{AppInfo, Timestamp};

/// Alternative names kept: enough to know the host, and the text is cut at 256 bytes anyway.
const NAMES_MAX: usize = 8;

/// From the body of a Certificate message (RFC 5246 section 7.4.2).
pub(super) fn describe(body: &[u8], info: &mut AppInfo) {
    let mut r = Reader::new(body);
    if r.skip(3).is_none() {
        return;
    }
    let Some(der) = r.u24().and_then(|length| r.take(length as usize)) else { return };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return };
    let (subject, issuer) = (certificate.subject().to_string(), certificate.issuer().to_string());
    info.detail("self_signed", if subject == issuer { "yes" } else { "no" });
    if tor::relay(&subject, &issuer) {
        info.detail("application", "tor");
    }
    info.detail("subject", subject);
    info.detail("issuer", issuer);
    info.detail("serial", hex(certificate.raw_serial()));
    let validity = certificate.validity();
    info.detail("not_before", time(validity.not_before.timestamp()));
    info.detail("not_after", time(validity.not_after.timestamp()));
    info.detail("fingerprint", hex(&sha1::Sha1::digest(der)));
    if let Ok(Some(names)) = certificate.subject_alternative_name() {
        let names: Vec<&str> = names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                x509_parser::extensions::GeneralName::DNSName(name) => Some(*name),
                _ => None,
            })
            .take(NAMES_MAX)
            .collect();
        info.detail("names", names.join(","));
    }
}

fn time(seconds: i64) -> String {
    Timestamp::from_parts(u64::try_from(seconds).unwrap_or(0), 0).to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut out = vec![tag];
        match content.len() {
            n @ 0..=127 => out.push(n as u8),
            n => out.extend([0x82, (n >> 8) as u8, n as u8]),
        }
        out.extend(content);
        out
    }

    fn name(common: &str) -> Vec<u8> {
        let attribute = der(0x30, &[&der(6, &[&[0x55, 4, 3]]), &der(0x0c, &[common.as_bytes()])]);
        der(0x30, &[&der(0x31, &[&attribute])])
    }

    /// A certificate message with one certificate (its signature is nonsense: nobody checks it here).
    fn message(subject: &str, issuer: &str) -> Vec<u8> {
        let algorithm = der(0x30, &[&der(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]]), &der(5, &[])]);
        let key = der(
            0x30,
            &[
                &der(0x30, &[&der(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]]), &der(5, &[])]),
                &der(3, &[&[0], &der(0x30, &[&der(2, &[&[0x55; 32]]), &der(2, &[&[1, 0, 1]])])]),
            ],
        );
        let validity = der(0x30, &[&der(0x17, &[b"260101000000Z"]), &der(0x17, &[b"270101000000Z"])]);
        let body = der(
            0x30,
            &[
                &der(0xa0, &[&der(2, &[&[2]])]),
                &der(2, &[&[0x12, 0x34]]),
                &algorithm,
                &name(issuer),
                &validity,
                &name(subject),
                &key,
            ],
        );
        let certificate = der(0x30, &[&body, &algorithm, &der(3, &[&[0; 33]])]);
        let u24 = |n: usize| [(n >> 16) as u8, (n >> 8) as u8, n as u8];
        [&u24(certificate.len() + 3)[..], &u24(certificate.len()), &certificate].concat()
    }

    pub(in crate::app) fn certificate_body() -> Vec<u8> {
        message("web-03.lab", "Lab CA")
    }

    #[test]
    fn subject_issuer_and_validity_are_read() {
        let mut info = AppInfo::new("tls", None);
        describe(&certificate_body(), &mut info);
        assert_eq!((info.get("subject"), info.get("issuer")), (Some("CN=web-03.lab"), Some("CN=Lab CA")));
        assert_eq!(info.get("self_signed"), Some("no"));
        assert_eq!(info.get("not_before"), Some("2026-01-01T00:00:00.000000Z"));
        assert_eq!(info.get("serial"), Some("1234"));
    }

    #[test]
    fn a_certificate_signed_by_itself_says_so() {
        let mut info = AppInfo::new("tls", None);
        describe(&message("box", "box"), &mut info);
        assert_eq!(info.get("self_signed"), Some("yes"));
    }

    #[test]
    fn a_cut_or_broken_certificate_says_nothing() {
        let body = certificate_body();
        for cut in 0..body.len() {
            let mut info = AppInfo::new("tls", None);
            describe(&body[..cut], &mut info);
            assert!(info.details.is_empty());
        }
    }
}
