//! What a DHCP client calls itself to its servers: option 61 (RFC 2132 section 9.14, RFC 4361) and the DUID of DHCPv6
//! (RFC 8415 section 11), written alike where they are one.
//!
//! At most [`WRITTEN_BYTES_MAX`] bytes are written out; of a longer one its SHA-256. One that is only the interface's
//! MAC, or too short to be anybody's own, is none.

use super::digest::{hex, sha256_hex};
use crate::model::Mac;

const WRITTEN_BYTES_MAX: usize = 32;
/// A kind and six bytes, as a MAC has.
const BYTES_MIN: usize = 7;

/// Option 61 of a client with this MAC.
pub(super) fn of_option(value: &[u8], mac: Mac) -> Option<String> {
    match value {
        // RFC 4361: the interface within the client, then the client.
        [255, _, _, _, _, duid @ ..] => of_duid(duid),
        [1, own @ ..] if *own == mac.0 => None,
        _ => written("id", value),
    }
}

pub(super) fn of_duid(duid: &[u8]) -> Option<String> {
    written("duid", duid)
}

fn written(kind: &str, id: &[u8]) -> Option<String> {
    // Zeros and ones stand in for an id that somebody forgot to set.
    let says = |id: &[u8]| id.iter().any(|byte| !matches!(byte, 0 | 0xff));
    if id.len() < BYTES_MIN || !id.get(2..).is_some_and(says) {
        return None;
    }
    Some(match id.len() {
        ..=WRITTEN_BYTES_MAX => format!("{kind}:{}", hex(id)),
        _ => format!("{kind}:sha256:{}", sha256_hex(id)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 0xcc]);

    #[test]
    fn an_id_that_is_only_the_mac_or_nothing_of_its_own_is_none() {
        assert_eq!(of_option(&[1, 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc], MAC), None);
        for id in [&[][..], &[0], &[255], &[255, 0, 0, 0, 1], &[0, b'p', b'c'], &[0; 17], &[0xff; 64]] {
            assert_eq!(of_option(id, MAC), None, "{id:?}");
        }
    }

    #[test]
    fn a_duid_is_the_same_in_dhcp_and_dhcpv6_whatever_the_interface() {
        let duid = [0, 2, 0, 0, 0xab, 0x11, 1, 2, 3, 4, 5, 6, 7, 8];
        let [a, b] = [1, 2].map(|iaid| of_option(&[&[255, 0, 0, 0, iaid][..], &duid].concat(), MAC));
        assert_eq!(a, Some("duid:00020000ab110102030405060708".to_owned()));
        assert_eq!((&a, &a), (&b, &of_duid(&duid)));
    }

    #[test]
    fn anothers_mac_and_a_name_are_ids_and_a_long_one_is_bounded() {
        assert_eq!(of_option(&[1, 2, 0, 0, 0, 0, 9], MAC), Some("id:01020000000009".to_owned()));
        assert_eq!(of_option(b"\0web-03.example", MAC), of_option(b"\0web-03.example", Mac::ZERO));
        let long = of_option(&[7; 255], MAC).unwrap();
        assert_eq!(long.len(), "id:sha256:".len() + 64);
        assert_ne!(of_option(&[7; 254], MAC), Some(long));
    }
}
