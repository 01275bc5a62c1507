//! ClickHouse's native protocol: the hellos of both sides.
//!
//! A client's hello carries user and password: only its name is read.

use super::evidence::{Evidence, Role, weigh_sides};
use super::reader::Reader;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Clickhouse;

const NAME_BYTES_MAX: u8 = 100;

impl Protocol for Clickhouse {
    fn name(&self) -> &'static str {
        "clickhouse"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh_sides(opening, |side, bytes| {
            let hello = Hello::read(bytes);
            match (side == opening.first, hello) {
                (_, None) => Short,
                (true, Some(Some(_))) => Hint(Role::Client),
                // Servers call themselves ClickHouse; one that refuses says so in an exception, which proves nothing.
                (false, Some(Some(hello))) => Hint(Role::Server).only_if(hello.name.starts_with(b"ClickHouse")),
                (_, Some(None)) => No,
            }
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        if let Some(Some(hello)) = Hello::read(opening.side(server.other())) {
            info.detail("client_software", hello.name);
        }
        if let Some(Some(hello)) = Hello::read(opening.side(server)) {
            info.product("ClickHouse", Some(format!("{}.{}", hello.major, hello.minor).as_bytes()));
        }
        Described::Whole
    }
}

struct Hello<'a> {
    name: &'a [u8],
    major: u8,
    minor: u8,
}

impl<'a> Hello<'a> {
    /// Packet type 0, a name behind its length, major and minor version, revision: of variable length, seven bits a
    /// byte. `None`: too short to tell, `Some(None)`: another thing.
    fn read(bytes: &'a [u8]) -> Option<Option<Self>> {
        let mut r = Reader::new(bytes);
        if r.u8()? != 0 {
            return Some(None);
        }
        let length = r.u8()?;
        let given = r.rest().get(..usize::from(length)).unwrap_or(r.rest());
        let named = given.first().is_none_or(u8::is_ascii_alphabetic) && given.iter().all(|b| (0x20..0x7f).contains(b));
        if !(4..=NAME_BYTES_MAX).contains(&length) || !named {
            return Some(None);
        }
        let name = r.take(usize::from(length))?;
        let (major, minor, low, high) = (r.u8()?, r.u8()?, r.u8()?, r.u8()?);
        // Revisions are 54000 and on: three bytes, the third of which is 3.
        let revised = low & 0x80 != 0 && high & 0x80 != 0 && r.u8()? <= 7;
        Some((major < 0x80 && minor < 0x80 && revised).then_some(Hello { name, major, minor }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;

    const CLIENT: &[u8] = b"\0\x11ClickHouse client\x17\x08\xc6\xa9\x03\x07default\x07default\x06sesame";
    const SERVER: &[u8] = b"\0\x0aClickHouse\x17\x08\xc6\xa9\x03\x03UTC\x05web03";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("clickhouse", CLIENT, SERVER, Some(Side::Resp))]
    }

    #[test]
    fn the_server_tells_its_version_and_no_password_is_kept() {
        let info = examples()[0].described(&Clickhouse);
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("ClickHouse"), Some("23.8")));
        assert_eq!(info.get("client_software"), Some("ClickHouse client"));
        assert!(!format!("{info:?}").contains("sesame"));
    }

    #[test]
    fn one_side_alone_or_another_name_is_no_proof() {
        assert_eq!(ask(&Clickhouse, Transport::Tcp, CLIENT, b""), Probe::Unsure);
        assert_eq!(ask(&Clickhouse, Transport::Tcp, CLIENT, b"HTTP/1.0 400 Bad"), Probe::NotForUs);
        assert_eq!(ask(&Clickhouse, Transport::Tcp, CLIENT, b"\0\x0aClockHouse\x17\x08\xc6\xa9\x03"), Probe::NotForUs);
        assert_eq!(ask(&Clickhouse, Transport::Tcp, b"\0\x0cClick\0House client", b""), Probe::NotForUs);
    }
}
