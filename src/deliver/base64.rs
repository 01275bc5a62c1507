//! Base64 as RFC 4648 section 4 has it, with padding. As long as four thirds of its input.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut padded = [0u8; 4];
        padded.iter_mut().skip(1).zip(group).for_each(|(to, from)| *to = *from);
        let bits = u32::from_be_bytes(padded);
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place)) as usize & 0x3f;
            // One byte fills two places, two bytes fill three.
            let filled = place <= group.len();
            out.push(ALPHABET.get(six).filter(|_| filled).map_or('=', |letter| char::from(*letter)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn the_vectors_of_rfc_4648_section_10() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in vectors {
            assert_eq!(encode(plain.as_bytes()), coded);
        }
        assert_eq!(encode(&[0xfb, 0xff]), "+/8=");
    }
}
