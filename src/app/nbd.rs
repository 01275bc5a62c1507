//! Network block device: the server's greeting, and the client's options.
//!
//! The name of the export is told where the client gives it in one of its first options.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Nbd;

const NEW_STYLE: &[u8] = b"NBDMAGICIHAVEOPT";
const OLD_STYLE: &[u8] = b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53";
/// Options that carry the export's name: at once, or behind its length.
const OPTION_EXPORT_NAME: u32 = 1;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;
/// Before it come TLS, structured replies, metadata contexts.
const OPTIONS_MAX: usize = 8;

impl Protocol for Nbd {
    fn name(&self) -> &'static str {
        "nbd"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [b'N', ..] => match Proof(Role::Server).if_begins(bytes, NEW_STYLE) {
                No => Hint(Role::Server).if_begins(bytes, OLD_STYLE),
                said => said,
            },
            // A request, of the old style.
            [0x25, ..] => Hint(Role::Client).if_begins(bytes, b"\x25\x60\x95\x13\0\0\0"),
            // Two flags, then an option.
            [0, ..] => match bytes {
                [0, 0, 0, 0..=3, option @ ..] => Hint(Role::Client).if_begins(option, b"IHAVEOPT"),
                _ => Short.only_if([0, 0, 0].starts_with(bytes)),
            },
            _ => No,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(client) = info.server.map(|side| opening.side(side.other())) else { return Described::Whole };
        let Some(export) = export(client) else { return Described::Partly };
        info.detail("export", export);
        Described::Whole
    }
}

/// The export's name, out of the first options: behind two flags each has `IHAVEOPT`, its number, the length of its data.
fn export(bytes: &[u8]) -> Option<&[u8]> {
    let mut r = Reader::new(bytes);
    r.skip(4)?;
    for _ in 0..OPTIONS_MAX {
        r.skip(8)?;
        let (option, length) = (r.u32()?, r.u32()?);
        let data = r.take(usize::try_from(length).ok()?)?;
        match option {
            OPTION_EXPORT_NAME => return Some(data),
            OPTION_INFO | OPTION_GO => {
                let mut data = Reader::new(data);
                let length = data.u32()?;
                return data.take(usize::try_from(length).ok()?);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const SERVER: &[u8] = b"NBDMAGICIHAVEOPT\0\x03";
    const CLIENT: &[u8] = b"\0\0\0\x03IHAVEOPT\0\0\0\x07\0\0\0\x0b\0\0\0\x05disk1\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("nbd", CLIENT, SERVER, Some(Side::Resp)).server_first(),
            Example::tcp("nbd", b"\x25\x60\x95\x13\0\0\0\0", OLD_STYLE, Some(Side::Resp)).server_first(),
        ]
    }

    #[test]
    fn the_export_is_told() {
        assert_eq!(examples()[0].described(&Nbd).get("export"), Some("disk1"));
        let later = [&CLIENT[..4], b"IHAVEOPT\0\0\0\x08\0\0\0\0", &CLIENT[4..]].concat();
        assert_eq!(Example::tcp("", &later, SERVER, Some(Side::Resp)).described(&Nbd).get("export"), Some("disk1"));
    }

    #[test]
    fn a_client_alone_and_other_magics_are_no_proof() {
        assert_eq!(ask(&Nbd, Transport::Tcp, CLIENT, b""), Probe::Unsure);
        assert_eq!(ask(&Nbd, Transport::Tcp, b"", b"NBDMAGICIHAVENOT"), Probe::NotForUs);
        assert_eq!(ask(&Nbd, Transport::Tcp, b"\0\0\0\x03IWANTOPT", b""), Probe::NotForUs);
        assert_eq!(ask(&Nbd, Transport::Tcp, b"GET / HTTP/1.1\r\n", SERVER), Probe::NotForUs);
    }
}
