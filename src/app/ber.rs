//! ASN.1 BER elements as LDAP and Kerberos use them: one-byte tags, definite lengths of at most four bytes.
//!
//! Anything else (long tags, indefinite lengths) is refused: neither protocol sends it (RFC 4511 section 5.1, DER).

use super::reader::Reader;

/// Tag and length, the reader then stands at the content. `None`: ended, `Some(None)`: not such an element.
pub(super) fn header(r: &mut Reader<'_>) -> Option<Option<(u8, usize)>> {
    let tag = r.u8()?;
    if tag & 0x1f == 0x1f {
        return Some(None);
    }
    let first = r.u8()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return Some(None);
        }
        length = r.take(count)?.iter().fold(0, |n, b| n << 8 | usize::from(*b));
    }
    Some(Some((tag, length)))
}

/// The content of the next element, where it has this tag. May be cut short by the end of the bytes.
pub(super) fn open<'a>(r: &mut Reader<'a>, tag: u8) -> Option<Reader<'a>> {
    let (found, length) = header(r)??;
    if found != tag {
        return None;
    }
    let content = r.take(length.min(r.rest().len()))?;
    Some(Reader::new(content))
}

/// The next element, whole: tag and content.
pub(super) fn element<'a>(r: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let (tag, length) = header(r)??;
    Some((tag, r.take(length)?))
}

/// The content of the first whole element with this tag, others passed over.
pub(super) fn find<'a>(mut r: Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    loop {
        let (found, content) = element(&mut r)?;
        if found == tag {
            return Some(content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_lengths_are_read_and_indefinite_ones_refused() {
        assert_eq!(element(&mut Reader::new(&[2, 1, 5])), Some((2, &[5u8][..])));
        assert_eq!(element(&mut Reader::new(&[4, 0x82, 0, 2, 7, 8])), Some((4, &[7u8, 8][..])));
        assert_eq!(header(&mut Reader::new(&[0x30, 0x80, 0])), Some(None));
        assert_eq!(header(&mut Reader::new(&[0x30, 0x84, 0])), None);
        assert_eq!(element(&mut Reader::new(&[4, 0x84, 0xff, 0xff, 0xff, 0xff, 1])), None);
    }
}
