//! Digests in the written forms that fingerprints have: lower-case hexadecimal, and SSH's unpadded base64.
//!
//! Inputs are parts of an opening, so at most a few kilobytes.

use md5::{Digest, Md5};

/// 32 hexadecimal digits.
pub(super) fn md5_hex(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

/// 64 hexadecimal digits.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

/// `SHA256:…`, as `ssh-keygen -l` prints a host key.
pub(super) fn ssh_fingerprint(key: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::from("SHA256:");
    for group in sha2::Sha256::digest(key).chunks(3) {
        let bits = group.iter().chain([0, 0].iter()).take(3).fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        for place in 0..=group.len() as u32 {
            let six = bits >> (18 - 6 * place) & 0x3f;
            out.extend(ALPHABET.get(six as usize).map(|c| *c as char));
        }
    }
    out
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).map_or('0', |c| *c as char);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_as_the_tools_write_them() {
        assert_eq!(md5_hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert!(sha256_hex(b"abc").starts_with("ba7816bf8f01cfea"));
        // `printf abc | openssl dgst -sha256 -binary | base64`, without the padding.
        assert_eq!(ssh_fingerprint(b"abc"), "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0");
    }
}
