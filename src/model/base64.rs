//! Base64 (RFC 4648 section 4), as fingerprints, signatures, logons and tables of others write it. Output is as long as
//! the input allows; whoever reads from the wire cuts first.

use std::sync::LazyLock;

use data_encoding::{BASE64, BASE64_NOPAD, Encoding};

/// Bits that stand for nothing are passed over: what was cut anywhere ends in some.
static LENIENT: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = BASE64_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification.encoding().unwrap_or(BASE64_NOPAD)
});

pub fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// As OpenSSH writes it.
pub fn to_base64_unpadded(bytes: &[u8]) -> String {
    BASE64_NOPAD.encode(bytes)
}

/// Padding may be there or not. `None` where anything else is.
pub fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let text = text.get(..text.len() - padding)?;
    // One digit too many stands for no byte.
    let whole = text.len() - usize::from(text.len() % 4 == 1);
    let odd = text.get(whole..).is_some_and(|rest| rest.iter().all(|byte| is_digit(*byte)));
    odd.then(|| LENIENT.decode(text.get(..whole)?).ok())?
}

/// What the beginning of a text stands for, as far as it is base64.
pub fn from_base64_prefix(text: &[u8]) -> Vec<u8> {
    let digits = text.iter().position(|byte| !is_digit(*byte)).unwrap_or(text.len());
    text.get(..digits).and_then(from_base64).unwrap_or_default()
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc_go_both_ways() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
            let bare = text.trim_end_matches('=');
            assert_eq!(to_base64_unpadded(bytes.as_bytes()), bare);
            assert_eq!(from_base64(bare.as_bytes()).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn what_is_cut_is_read_as_far_as_it_goes_and_other_bytes_are_refused() {
        assert_eq!(from_base64(b"Zm9vYmFyX").as_deref(), Some(b"foobar".as_slice()));
        assert_eq!(from_base64(b"Zm9\xff"), None);
        assert_eq!(from_base64(b"Zm9v\x00"), None);
        assert_eq!(from_base64_prefix(b"Zm9vYmFy\r\nHost: x"), b"foobar");
        assert_eq!(from_base64_prefix(b"Zm9vYm"), b"foob");
        assert!(from_base64_prefix(b"").is_empty());
    }
}
