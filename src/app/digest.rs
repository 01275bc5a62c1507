//! Digests in the written forms that fingerprints have: lower-case hexadecimal, and SSH's unpadded base64.
//!
//! Inputs are parts of an opening, so at most a few kilobytes.

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};

use crate::model::to_base64_unpadded;

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
    format!("SHA256:{}", to_base64_unpadded(&sha2::Sha256::digest(key)))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
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
