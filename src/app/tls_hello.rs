//! ClientHello and ServerHello messages (RFC 8446 section 4.1, RFC 5246 section 7.4.1), as fingerprints need them.
//!
//! A hello lies inside an opening, so its lists hold at most a few thousand entries. A malformed extension is passed
//! over; its number still counts.

use super::reader::Reader;

const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// SHA-256 of "HelloRetryRequest": a ServerHello with this random asks to try again (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; 8] = [0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11];

/// The lists are as sent, GREASE values (RFC 8701) included.
#[derive(Debug, Default)]
pub(super) struct ClientHello<'a> {
    pub version: u16,
    pub ciphers: Vec<u16>,
    pub extensions: Vec<u16>,
    pub groups: Vec<u16>,
    pub formats: &'a [u8],
    pub signatures: Vec<u16>,
    pub versions: Vec<u16>,
    pub sni: Option<&'a [u8]>,
    pub alpn: Vec<&'a [u8]>,
}

impl<'a> ClientHello<'a> {
    /// From the body of a whole message.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let mut hello = ClientHello { version: r.u16()?, ..ClientHello::default() };
        r.skip(32)?;
        vector8(&mut r)?;
        hello.ciphers = numbers(vector16(&mut r)?);
        vector8(&mut r)?;
        for (kind, mut data) in extensions(r) {
            hello.extensions.push(kind);
            match kind {
                SERVER_NAME => hello.sni = server_name(data).or(hello.sni),
                SUPPORTED_GROUPS => hello.groups = vector16(&mut data).map(numbers).unwrap_or_default(),
                POINT_FORMATS => hello.formats = vector8(&mut data).unwrap_or_default(),
                SIGNATURE_ALGORITHMS => hello.signatures = vector16(&mut data).map(numbers).unwrap_or_default(),
                SUPPORTED_VERSIONS => hello.versions = vector8(&mut data).map(numbers).unwrap_or_default(),
                ALPN => hello.alpn = alpn(data),
                _ => {}
            }
        }
        Some(hello)
    }
}

#[derive(Debug)]
pub(super) struct ServerHello<'a> {
    pub legacy_version: u16,
    pub cipher: u16,
    pub extensions: Vec<u16>,
    pub selected: Option<u16>,
    pub alpn: Option<&'a [u8]>,
    /// A HelloRetryRequest.
    pub retry: bool,
}

impl<'a> ServerHello<'a> {
    /// From the body of a whole message.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let legacy_version = r.u16()?;
        let retry = r.take(32)?.starts_with(&RETRY_RANDOM);
        vector8(&mut r)?;
        let cipher = r.u16()?;
        r.skip(1)?;
        let mut hello =
            ServerHello { legacy_version, cipher, extensions: Vec::new(), selected: None, alpn: None, retry };
        for (kind, mut data) in extensions(r) {
            hello.extensions.push(kind);
            match kind {
                SUPPORTED_VERSIONS => hello.selected = data.u16(),
                ALPN => hello.alpn = alpn(data).first().copied(),
                _ => {}
            }
        }
        Some(hello)
    }

    /// The version both will speak.
    pub(super) fn version(&self) -> u16 {
        match self.selected.unwrap_or(self.legacy_version) {
            // The drafts of TLS 1.3 chose 0x7fxx.
            draft if draft >> 8 == 0x7f => 0x0304,
            version => version,
        }
    }
}

/// RFC 8701: 0x0a0a, 0x1a1a … 0xfafa.
pub(super) fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

fn extensions<'a>(mut r: Reader<'a>) -> impl Iterator<Item = (u16, Reader<'a>)> {
    let mut list = Reader::new(vector16(&mut r).unwrap_or_default());
    std::iter::from_fn(move || Some((list.u16()?, Reader::new(vector16(&mut list)?))))
}

/// The first host_name of the list (RFC 6066 section 3).
fn server_name<'a>(mut data: Reader<'a>) -> Option<&'a [u8]> {
    let mut list = Reader::new(vector16(&mut data)?);
    match list.u8()? {
        0 => vector16(&mut list),
        _ => None,
    }
}

fn alpn<'a>(mut data: Reader<'a>) -> Vec<&'a [u8]> {
    let mut list = Reader::new(vector16(&mut data).unwrap_or_default());
    std::iter::from_fn(|| vector8(&mut list)).collect()
}

fn vector8<'a>(r: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = r.u8()?;
    r.take(usize::from(length))
}

fn vector16<'a>(r: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = r.u16()?;
    r.take(usize::from(length))
}

fn numbers(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::app) fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
        let mut out = kind.to_be_bytes().to_vec();
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
        out
    }

    /// A ClientHello body: version, random, no session, these ciphers, null compression, these extensions.
    pub(in crate::app) fn client_body(version: u16, ciphers: &[u16], extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut out = version.to_be_bytes().to_vec();
        out.extend([0x5a; 32]);
        out.push(0);
        out.extend((ciphers.len() as u16 * 2).to_be_bytes());
        out.extend(ciphers.iter().flat_map(|c| c.to_be_bytes()));
        out.extend([1, 0]);
        let all = extensions.concat();
        out.extend((all.len() as u16).to_be_bytes());
        out.extend(all);
        out
    }

    pub(in crate::app) fn sni(name: &str) -> Vec<u8> {
        let n = name.len() as u8;
        extension(SERVER_NAME, &[&[0, n + 3, 0, 0, n][..], name.as_bytes()].concat())
    }

    pub(in crate::app) fn client_hello_body() -> Vec<u8> {
        client_body(
            0x0303,
            &[0x0a0a, 0x1301, 0xc02f, 0x002f],
            &[
                sni("web-03.lab"),
                extension(10, &[0, 4, 0x0a, 0x0a, 0, 23]),
                extension(11, &[1, 0]),
                extension(13, &[0, 4, 4, 3, 8, 4]),
                extension(16, b"\x00\x0c\x02h2\x08http/1.1"),
            ],
        )
    }

    pub(in crate::app) fn server_hello_body() -> Vec<u8> {
        let mut out = vec![3, 3];
        out.extend([0xa5; 32]);
        out.extend([0, 0xc0, 0x2f, 0]);
        let all = [extension(0xff01, &[0]), extension(16, b"\x00\x03\x02h2")].concat();
        out.extend((all.len() as u16).to_be_bytes());
        out.extend(all);
        out
    }

    #[test]
    fn both_hellos_are_read() {
        let body = client_hello_body();
        let hello = ClientHello::read(&body).unwrap();
        assert_eq!(hello.ciphers, [0x0a0a, 0x1301, 0xc02f, 0x002f]);
        assert_eq!(hello.extensions, [0, 10, 11, 13, 16]);
        assert_eq!((hello.sni, hello.groups.as_slice()), (Some(&b"web-03.lab"[..]), &[0x0a0a, 23][..]));
        assert_eq!(hello.alpn, [&b"h2"[..], b"http/1.1"]);
        let body = server_hello_body();
        let hello = ServerHello::read(&body).unwrap();
        assert_eq!((hello.version(), hello.cipher, hello.alpn), (0x0303, 0xc02f, Some(&b"h2"[..])));
    }

    #[test]
    fn grease_is_told_from_real_numbers() {
        assert!(is_grease(0x0a0a) && is_grease(0xfafa));
        assert!(!is_grease(0x0a1a) && !is_grease(0x1301) && !is_grease(0xc02f));
    }

    #[test]
    fn a_supported_version_outranks_the_legacy_one() {
        let mut body = vec![3, 3];
        body.extend([0xa5; 32]);
        body.extend([0, 0x13, 0x01, 0, 0, 6, 0, 43, 0, 2, 3, 4]);
        assert_eq!(ServerHello::read(&body).map(|h| h.version()), Some(0x0304));
    }
}
