//! JA4, the TLS client fingerprint, by FoxIO's published description (BSD 3-Clause; the rest of JA4+ is not).
//!
//! `t13d1516h2_8daaf6152771_e5627efa2ab1`: transport, version, SNI, counts and ALPN; 12 digits of the SHA-256 of the
//! sorted ciphers; 12 of the sorted extensions and the signature algorithms. GREASE left out throughout.

use super::digest::sha256_hex;
use super::tls_hello::{ClientHello, is_grease};

/// Counts are two digits.
const COUNT_MAX: usize = 99;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// `transport` is `t` for TCP, `q` for QUIC.
pub(super) fn client(hello: &ClientHello<'_>, transport: char) -> String {
    let ciphers = real(&hello.ciphers);
    let extensions = real(&hello.extensions);
    let version = real(&hello.versions).into_iter().max().unwrap_or(hello.version);
    let mut hashed: Vec<u16> = extensions.iter().copied().filter(|e| !matches!(*e, SERVER_NAME | ALPN)).collect();
    hashed.sort_unstable();
    let mut text = list(&hashed);
    let signatures = real(&hello.signatures);
    if !hashed.is_empty() && !signatures.is_empty() {
        text.push('_');
        text.push_str(&list(&signatures));
    }
    let mut sorted = ciphers.clone();
    sorted.sort_unstable();
    format!(
        "{transport}{}{}{:02}{:02}{}_{}_{}",
        version_digits(version),
        if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' },
        ciphers.len().min(COUNT_MAX),
        extensions.len().min(COUNT_MAX),
        alpn_digits(hello.alpn.first().copied().unwrap_or_default()),
        digest(&list(&sorted)),
        digest(&text),
    )
}

fn version_digits(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// First and last character; where one is not alphanumeric, the first and last hexadecimal digit instead.
fn alpn_digits(alpn: &[u8]) -> String {
    let (Some(first), Some(last)) = (alpn.first(), alpn.last()) else { return "00".to_owned() };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [*first as char, *last as char].iter().collect();
    }
    format!("{:x}{:x}", first >> 4, last & 15)
}

fn digest(text: &str) -> String {
    if text.is_empty() { "0".repeat(12) } else { sha256_hex(text.as_bytes()).chars().take(12).collect() }
}

fn real(numbers: &[u16]) -> Vec<u16> {
    numbers.iter().copied().filter(|n| !is_grease(*n)).collect()
}

fn list(numbers: &[u16]) -> String {
    numbers.iter().map(|n| format!("{n:04x}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of FoxIO's technical description.
    #[test]
    fn the_published_example_gives_the_published_fingerprint() {
        let hello = ClientHello {
            version: 0x0303,
            ciphers: vec![
                0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d,
                0x002f, 0x0035,
            ],
            extensions: vec![
                0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01,
                0x000b, 0x000a, 0x0015, 0x0a0a,
            ],
            versions: vec![0x0304, 0x0303, 0xfafa],
            signatures: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            alpn: vec![b"h2", b"http/1.1"],
            ..ClientHello::default()
        };
        assert_eq!(client(&hello, 't'), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn an_empty_hello_has_zeros() {
        let hello = ClientHello { version: 0x0301, ..ClientHello::default() };
        assert_eq!(client(&hello, 't'), "t10i000000_000000000000_000000000000");
    }

    #[test]
    fn an_alpn_outside_ascii_is_shown_in_hexadecimal() {
        assert_eq!(alpn_digits(&[0xab]), "ab");
        assert_eq!(alpn_digits(&[0x30, 0xab, 0xcd, 0x31]), "01");
        assert_eq!(alpn_digits(&[0x30, 0xab]), "3b");
        assert_eq!(alpn_digits(b"http/1.1"), "h1");
    }
}
