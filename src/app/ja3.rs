//! JA3 and JA3S: MD5 of the numbers of a TLS hello, as Salesforce published them and Suricata prints them.
//!
//! `version,ciphers,extensions,groups,point formats`, decimal, `-` within a list, GREASE left out; JA3S is
//! `version,cipher,extensions`.

use super::digest::md5_hex;
use super::tls_hello::{ClientHello, ServerHello, is_grease};

pub(super) fn client(hello: &ClientHello<'_>) -> String {
    md5_hex(client_text(hello).as_bytes())
}

pub(super) fn server(hello: &ServerHello<'_>) -> String {
    // GREASE from a server is a protocol error: unlike JA3, nothing is left out.
    let text = format!("{},{},{}", hello.legacy_version, hello.cipher, list(hello.extensions.iter().copied()));
    md5_hex(text.as_bytes())
}

fn client_text(hello: &ClientHello<'_>) -> String {
    let real = |numbers: &[u16]| list(numbers.iter().copied().filter(|n| !is_grease(*n)));
    format!(
        "{},{},{},{},{}",
        hello.version,
        real(&hello.ciphers),
        real(&hello.extensions),
        real(&hello.groups),
        list(hello.formats.iter().map(|f| u16::from(*f)))
    )
}

fn list(numbers: impl Iterator<Item = u16>) -> String {
    numbers.map(|n| n.to_string()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::tls_hello::tests::{client_body, client_hello_body, extension, server_hello_body};

    #[test]
    fn the_text_is_the_published_one() {
        let body = client_hello_body();
        assert_eq!(client_text(&ClientHello::read(&body).unwrap()), "771,4865-49199-47,0-10-11-13-16,23,0");
    }

    /// The example of the JA3 publication: 769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0.
    #[test]
    fn the_published_example_gives_the_published_digest() {
        let ciphers = [47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4];
        let extensions = [extension(0, &[]), extension(10, &[0, 6, 0, 23, 0, 24, 0, 25]), extension(11, &[1, 0])];
        let body = client_body(769, &ciphers, &extensions);
        assert_eq!(client(&ClientHello::read(&body).unwrap()), "ada70206e40642a3e4461f35503241d5");
    }

    #[test]
    fn a_hello_without_extensions_keeps_the_commas() {
        let body = client_body(769, &[4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99], &[]);
        assert_eq!(client(&ClientHello::read(&body).unwrap()), "de350869b8c85de67a350c8d186f11e6");
    }

    #[test]
    fn ja3s_is_of_version_cipher_and_extensions() {
        let body = server_hello_body();
        assert_eq!(server(&ServerHello::read(&body).unwrap()), md5_hex(b"771,49199,65281-16"));
    }
}
