//! SSH binary packets before encryption, KEXINIT, and HASSH, its fingerprint.
//!
//! At most [`PACKETS_MAX`] packets of an opening are looked at; the first that does not fit ends the reading.

use super::digest::md5_hex;
use super::reader::Reader;

/// KEXINIT, the key exchange and NEWKEYS are within five; after NEWKEYS everything is encrypted.
const PACKETS_MAX: usize = 8;
const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;

/// Payloads of the clear packets (RFC 4253 section 6).
pub(super) struct Packets<'a> {
    rest: Reader<'a>,
    left: usize,
}

impl<'a> Packets<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Packets { rest: Reader::new(bytes), left: PACKETS_MAX }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let length = self.rest.u32()? as usize;
        let padding = usize::from(self.rest.u8()?);
        // Section 6.1: 35000 bytes in all.
        if length > 35_000 {
            self.left = 0;
            return None;
        }
        let payload = self.rest.take(length.checked_sub(1 + padding)?)?;
        self.rest.skip(padding)?;
        if payload.first() == Some(&NEWKEYS) {
            self.left = 0;
        }
        Some(payload)
    }
}

/// The name lists of RFC 4253 section 7.1.
pub(super) struct KexInit<'a> {
    kex: &'a [u8],
    host_key: &'a [u8],
    encryption: [&'a [u8]; 2],
    mac: [&'a [u8]; 2],
    compression: [&'a [u8]; 2],
}

impl<'a> KexInit<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(payload);
        if r.u8()? != KEXINIT {
            return None;
        }
        r.skip(16)?;
        let mut list = || string(&mut r).filter(|l| l.iter().all(|b| (b'!'..=b'~').contains(b)));
        Some(KexInit {
            kex: list()?,
            host_key: list()?,
            encryption: [list()?, list()?],
            mac: [list()?, list()?],
            compression: [list()?, list()?],
        })
    }

    /// HASSH: the client's algorithms towards the server.
    pub(super) fn hassh(&self) -> String {
        let ([encryption, _], [mac, _], [compression, _]) = (self.encryption, self.mac, self.compression);
        md5_hex(&[self.kex, encryption, mac, compression].join(&b';'))
    }

    /// HASSHServer: the server's algorithms towards the client.
    pub(super) fn hassh_server(&self) -> String {
        let ([_, encryption], [_, mac], [_, compression]) = (self.encryption, self.mac, self.compression);
        md5_hex(&[self.kex, encryption, mac, compression].join(&b';'))
    }

    /// The host key algorithm that both will use: the client's first that the server has (section 7.1).
    pub(super) fn host_key_chosen<'c>(&self, client: &KexInit<'c>) -> Option<&'c [u8]> {
        client.host_key.split(|b| *b == b',').find(|wanted| self.host_key.split(|b| *b == b',').any(|h| h == *wanted))
    }
}

/// A string of RFC 4251 section 5.
pub(super) fn string<'a>(r: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = r.u32()?;
    r.take(usize::try_from(length).ok()?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::app) fn packet(payload: &[u8]) -> Vec<u8> {
        let mut out = (payload.len() as u32 + 1 + 4).to_be_bytes().to_vec();
        out.push(4);
        out.extend(payload);
        out.extend([0; 4]);
        out
    }

    pub(in crate::app) fn kexinit() -> Vec<u8> {
        let mut payload = vec![KEXINIT];
        payload.extend([0x77; 16]);
        for list in [
            "curve25519-sha256",
            "ssh-ed25519",
            "aes128-ctr",
            "aes256-ctr",
            "hmac-sha1",
            "hmac-sha2-256",
            "none",
            "none",
        ] {
            payload.extend((list.len() as u32).to_be_bytes());
            payload.extend(list.as_bytes());
        }
        payload.extend([0; 13]);
        packet(&payload)
    }

    #[test]
    fn each_direction_has_its_own_algorithms() {
        let bytes = kexinit();
        let init = Packets::new(&bytes).next().and_then(KexInit::read).unwrap();
        assert_eq!(init.hassh(), md5_hex(b"curve25519-sha256;aes128-ctr;hmac-sha1;none"));
        assert_eq!(init.hassh_server(), md5_hex(b"curve25519-sha256;aes256-ctr;hmac-sha2-256;none"));
    }

    #[test]
    fn nothing_after_newkeys_is_read() {
        let bytes = [packet(&[NEWKEYS]), packet(&[30, 1])].concat();
        assert_eq!(Packets::new(&bytes).count(), 1);
    }

    #[test]
    fn a_length_that_lies_ends_the_reading() {
        assert_eq!(Packets::new(&[0xff; 64]).count(), 0);
        assert_eq!(Packets::new(&[0, 0, 0, 1, 9, 20]).count(), 0);
    }
}
