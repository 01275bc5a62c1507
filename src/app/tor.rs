//! Tor's link, told by the certificate of a relay (tor-spec, section 2 "Connections").
//!
//! A relay names itself and its issuer at random for each certificate: `www.`, 8 to 20 letters of base 32, `.net` and
//! `.com`. Since TLS 1.3 certificates are encrypted: only relays that speak 1.2 or older show.

/// Is this the certificate of a relay? Both names as text: `CN=www.fcsyvnlemwxv5p.net`.
pub(super) fn relay(subject: &str, issuer: &str) -> bool {
    random(subject, ".net") && random(issuer, ".com")
}

fn random(name: &str, end: &str) -> bool {
    let letters = name.strip_prefix("CN=www.").and_then(|n| n.strip_suffix(end)).unwrap_or_default();
    (8..=20).contains(&letters.len()) && letters.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_random_names_are_a_relays() {
        assert!(relay("CN=www.fcsyvnlemwxv5p.net", "CN=www.gg562izcxdvqdk.com"));
    }

    #[test]
    fn a_web_servers_certificate_is_not() {
        assert!(!relay("CN=www.exampleshop.net", "C=US, O=Let's Encrypt, CN=R3"));
        assert!(!relay("CN=www.exampleshop.net", "CN=www.exampleshop.net"));
        assert!(!relay("CN=www.fcsyvnlemwxv5p.com", "CN=www.gg562izcxdvqdk.net"));
        assert!(!relay("CN=www.short.net", "CN=www.gg562izcxdvqdk.com"));
        assert!(!relay("CN=www.fcsyvnlemwxv5p.net, O=a", "CN=www.gg562izcxdvqdk.com"));
        assert!(!relay("CN=www.web-server-03.net", "CN=www.gg562izcxdvqdk.com"));
    }
}
