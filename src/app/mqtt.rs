//! MQTT 3.1, 3.1.1 and 5 (OASIS): a CONNECT packet that names the protocol, answered by CONNACK.
//!
//! Client ids, user names, topics and payloads are not kept.

use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::reading::begins;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Proof, Short};

pub(super) struct Mqtt;

impl Protocol for Mqtt {
    fn name(&self) -> &'static str {
        "mqtt"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [0x10, ..] => match connect(bytes) {
                Some(Some(_)) => Proof(Role::Client),
                Some(None) => No,
                None => Short,
            },
            // CONNACK: length, session present, and a reason: 0 to 5, or from 0x80 with version 5.
            [0x20, 2..=0xff, 0 | 1, 0..=5 | 0x80..=0x9f, ..] => Hint(Role::Server),
            [0x20] | [0x20, 2..=0xff] | [0x20, 2..=0xff, 0 | 1] => Short,
            _ => No,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        if let Some(Some(version)) = connect(opening.side(server.other())) {
            info.detail("version", version);
        }
        Described::Whole
    }
}

/// The version of a CONNECT packet. `None`: too short to tell, `Some(None)`: another thing.
fn connect(bytes: &[u8]) -> Option<Option<&'static str>> {
    let mut r = Reader::new(bytes);
    r.skip(1)?;
    // Remaining length: seven bits a byte, four bytes at most (section 2.2.3).
    for last in [false, false, false, true] {
        match (r.u8()?, last) {
            (0x80.., false) => {}
            (0x80.., true) => return Some(None),
            _ => break,
        }
    }
    for (name, levels) in
        [(b"\0\x04MQTT".as_slice(), [(4, "3.1.1"), (5, "5")].as_slice()), (b"\0\x06MQIsdp", &[(3, "3.1")])]
    {
        if begins(r.rest(), name)? {
            r.skip(name.len())?;
            // A bridge sets the high bit; the lowest flag is reserved and zero.
            let (level, flags) = (r.u8()? & 0x7f, r.u8()?);
            return Some(levels.iter().find(|(l, _)| *l == level && flags & 1 == 0).map(|(_, version)| *version));
        }
    }
    Some(None)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const CONNECT: &[u8] = b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04dev1";
    const CONNACK: &[u8] = b"\x20\x02\0\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("mqtt", CONNECT, CONNACK, Some(Side::Resp)),
            Example::tcp("mqtt", b"\x10\x12\0\x06MQIsdp\x03\x02\0\x3c\0\x04dev1", b"", Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_version_is_told() {
        assert_eq!(examples()[0].described(&Mqtt).get("version"), Some("3.1.1"));
        assert_eq!(examples()[1].described(&Mqtt).get("version"), Some("3.1"));
    }

    #[test]
    fn another_name_level_or_answer_is_not_mqtt() {
        assert_eq!(ask(&Mqtt, Transport::Tcp, b"\x10\x10\0\x04MQTX\x04\x02\0\x3c", b""), Probe::NotForUs);
        assert_eq!(ask(&Mqtt, Transport::Tcp, b"\x10\x10\0\x04MQTT\x07\x02\0\x3c", b""), Probe::NotForUs);
        assert_eq!(ask(&Mqtt, Transport::Tcp, b"\x10\x80\x80\x80\x80\x01", b""), Probe::NotForUs);
        assert_eq!(ask(&Mqtt, Transport::Tcp, CONNECT, b"HTTP/1.1 400\r\n"), Probe::NotForUs);
    }

    #[test]
    fn a_connack_alone_is_no_proof() {
        assert_eq!(ask(&Mqtt, Transport::Tcp, b"", CONNACK), Probe::Unsure);
    }
}
