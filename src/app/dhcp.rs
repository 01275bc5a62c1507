//! DHCP (RFC 2131) and BOOTP (RFC 951): who serves, and which address it gave to which MAC.
//!
//! One datagram at a time; options past 64 are not read. A lease is told only from the server's own ACK.

use std::net::{IpAddr, Ipv4Addr};

use super::client_id;
use super::evidence::{Evidence, Role, weigh};
use super::reader::Reader;
use super::{Described, Ends, Follow, FollowOut, Lease, Opening, Probe, Protocol};
use crate::model::{AppInfo, Mac, Side, Transport};
use Evidence::{Hint, No, Proof};

pub(super) struct Dhcp;

const OPTIONS_MAX: usize = 64;
/// RFC 2132 section 2.
const MAGIC_COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const ACK: u8 = 5;

impl Protocol for Dhcp {
    fn name(&self) -> &'static str {
        "dhcp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Udp
    }

    fn datagram_begins(&self, first: u8) -> bool {
        matches!(first, 1 | 2)
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, judge)
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        let Some(message) = Message::read(opening.side(server)) else { return Described::Partly };
        for (code, value) in message.options() {
            let name = match code {
                3 => "router",
                6 => "dns_servers",
                54 => "server_id",
                15 => {
                    info.detail("domain", value.strip_suffix(&[0]).unwrap_or(value));
                    continue;
                }
                _ => continue,
            };
            let (addresses, _) = value.as_chunks::<4>();
            let text: Vec<String> = addresses.iter().take(4).map(|a| Ipv4Addr::from(*a).to_string()).collect();
            info.detail(name, text.join(" "));
        }
        Described::Whole
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        Some(Box::new(Leases { name: None, client_id: None }))
    }
}

fn judge(bytes: &[u8]) -> Evidence {
    let [operation @ 1..=2, hardware, length, hops, ..] = bytes else { return No };
    let role = if *operation == 1 { Role::Client } else { Role::Server };
    // InfiniBand (32) has no hardware address here (RFC 4390).
    if *hardware == 0 || *length > 16 || *hops > 16 {
        return No;
    }
    let cookie = bytes.get(236..240);
    if cookie == Some(&MAGIC_COOKIE) {
        return Proof(role);
    }
    // BOOTP is 300 bytes, its vendor area zeros where there is none; the other side must agree.
    let bootp = bytes.len() >= 300 && *hardware == 1 && *length == 6 && cookie == Some(&[0; 4]);
    Hint(role).only_if(bootp)
}

struct Message<'a> {
    reply: bool,
    given: Ipv4Addr,
    client: Option<Mac>,
    options: &'a [u8],
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(bytes);
        let [operation, hardware, length, _hops] = r.array()?;
        r.skip(12)?;
        let given = Ipv4Addr::from(r.array::<4>()?);
        r.skip(8)?;
        let mac = Mac(r.array()?);
        // The rest of chaddr, sname and file.
        r.skip(10 + 64 + 128)?;
        if r.array()? != MAGIC_COOKIE {
            return None;
        }
        let client = (hardware == 1 && length == 6 && mac.is_unicast()).then_some(mac);
        Some(Message { reply: operation == 2, given, client, options: r.rest() })
    }

    fn options(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut r = Reader::new(self.options);
        std::iter::from_fn(move || {
            loop {
                match r.u8()? {
                    0 => {}
                    255 => return None,
                    code => {
                        let length = r.u8()?;
                        return Some((code, r.take(usize::from(length))?));
                    }
                }
            }
        })
        .take(OPTIONS_MAX)
    }

    fn option(&self, wanted: u8) -> Option<&'a [u8]> {
        self.options().find(|(code, _)| *code == wanted).map(|(_, value)| value)
    }

    fn client_id(&self) -> Option<String> {
        client_id::of_option(self.option(61)?, self.client?)
    }

    /// Host name (12), else the first label that the client's FQDN (81) has, in its ASCII form.
    fn host_name(&self) -> Option<String> {
        let fqdn = || match self.option(81)? {
            [flags, _, _, name @ ..] if flags & 4 == 0 => Some(name),
            [_, _, _, length, wire @ ..] => wire.get(..usize::from(*length)),
            _ => None,
        };
        let name = AppInfo::clean(self.option(12).or_else(fqdn)?.trim_ascii_end());
        let name = name.trim_end_matches("\\u{0}");
        (!name.is_empty()).then(|| name.to_owned())
    }
}

/// Tells each lease. The client's own name and id are remembered where its request runs in the same flow.
struct Leases {
    name: Option<String>,
    client_id: Option<String>,
}

impl Follow for Leases {
    fn data(&mut self, _side: Side, bytes: &[u8], _flow: &Ends, out: &mut FollowOut) {
        let Some(message) = Message::read(bytes) else { return };
        if !message.reply {
            self.name = message.host_name();
            self.client_id = message.client_id();
            return;
        }
        // An ACK to an INFORM gives no address (RFC 2131 section 4.3.5).
        if message.option(53) == Some(&[ACK])
            && let Some(mac) = message.client
            && !message.given.is_unspecified()
        {
            let name = message.host_name().or_else(|| self.name.take());
            // A server says it again (RFC 6842); older ones do not.
            let client_id = message.client_id().or_else(|| self.client_id.take());
            out.leased.push(Lease { mac, ip: IpAddr::V4(message.given), name, client_id });
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, ends, followed};
    use super::*;

    fn message(operation: u8, kind: u8, given: [u8; 4], options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![operation, 1, 6, 0, 0x39, 3, 0xf3, 0x26, 0, 0, 0, 0];
        bytes.extend([0; 4]);
        bytes.extend(given);
        bytes.extend([0; 8]);
        bytes.extend([0x52, 0x54, 0, 0xaa, 0xbb, 0xcc]);
        bytes.resize(236, 0);
        bytes.extend(MAGIC_COOKIE);
        bytes.extend([53, 1, kind]);
        bytes.extend(options);
        bytes.push(255);
        bytes
    }

    const OFFER: &[u8] = &[54, 4, 10, 0, 0, 1, 3, 4, 10, 0, 0, 254, 6, 8, 10, 0, 0, 2, 10, 0, 0, 3];

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::udp("dhcp", &message(1, 1, [0; 4], b"\x0c\x04web1"), b"", Some(Side::Resp)),
            Example::udp("dhcp", &message(2, 5, [10, 0, 0, 9], OFFER), b"", Some(Side::Orig)),
        ]
    }

    #[test]
    fn a_server_tells_what_it_hands_out() {
        let info = examples()[1].described(&Dhcp);
        assert_eq!(info.get("server_id"), Some("10.0.0.1"));
        assert_eq!(info.get("router"), Some("10.0.0.254"));
        assert_eq!(info.get("dns_servers"), Some("10.0.0.2 10.0.0.3"));
    }

    #[test]
    fn an_ack_is_a_lease_with_the_name_of_the_request() {
        let request = message(1, 3, [0; 4], b"\x0c\x04web1");
        let ack = message(2, 5, [10, 0, 0, 9], OFFER);
        let out = followed(&Dhcp, &ends(Transport::Udp, 67), &[(Side::Orig, &request), (Side::Resp, &ack)]);
        let mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 0xcc]);
        let (ip, name) = (IpAddr::from([10, 0, 0, 9]), Some("web1".to_owned()));
        assert_eq!(out.leased, [Lease { mac, ip, name, client_id: None }]);
    }

    #[test]
    fn a_lease_has_the_client_id_of_the_answer_or_else_of_the_request() {
        let own = b"\x3d\x09\0client-7";
        let leased = |asked: &[u8], answered: &[u8]| {
            let (request, ack) = (message(1, 3, [0; 4], asked), message(2, 5, [10, 0, 0, 9], answered));
            let said = [(Side::Orig, &request[..]), (Side::Resp, &ack[..])];
            let out = followed(&Dhcp, &ends(Transport::Udp, 67), &said);
            out.leased.into_iter().next().and_then(|lease| lease.client_id)
        };
        let id = Some("id:00636c69656e742d37".to_owned());
        assert_eq!((leased(own, b""), leased(b"", own), leased(b"", b"")), (id.clone(), id, None));
        assert_eq!(leased(b"\x3d\x07\x01\x52\x54\0\xaa\xbb\xcc", b""), None, "its MAC says no more");
    }

    #[test]
    fn a_hostile_host_name_is_bounded_and_escaped() {
        let named = |code: u8, name: &[u8]| {
            let option = [&[code, name.len() as u8], name].concat();
            let (request, ack) = (message(1, 3, [0; 4], &option), message(2, 5, [10, 0, 0, 9], b""));
            let said = [(Side::Orig, &request[..]), (Side::Resp, &ack[..])];
            followed(&Dhcp, &ends(Transport::Udp, 67), &said).leased.remove(0).name
        };
        for byte in [0x1b, b'\n', 0x7f, 0x00, 0xff, b'a'] {
            for code in [12, 81] {
                let name = named(code, &[&[0, 0, 0], &[byte; 252][..]].concat()).unwrap_or_default();
                assert!(name.len() <= 256 && !name.chars().any(AppInfo::steers), "{code} {byte:x}: {name:?}");
            }
        }
        assert_eq!(named(12, "a\u{202e}b\u{2066}".as_bytes()).as_deref(), Some("a\\u{202e}b\\u{2066}"));
        assert_eq!(named(12, b"x\xff\xfey").as_deref(), Some("x\\xff\\xfey"));
        assert_eq!((named(12, b""), named(12, b"  "), named(81, b"\x04\0\0\xff")), (None, None, None));
    }

    #[test]
    fn an_offer_a_refusal_and_an_inform_are_no_lease() {
        for (kind, given) in [(2, [10, 0, 0, 9]), (6, [10, 0, 0, 9]), (5, [0; 4])] {
            let answer = message(2, kind, given, OFFER);
            let out = followed(&Dhcp, &ends(Transport::Udp, 67), &[(Side::Resp, &answer)]);
            assert!(out.leased.is_empty(), "kind {kind}");
        }
    }

    #[test]
    fn without_the_cookie_it_is_not_dhcp() {
        let mut bytes = message(1, 1, [0; 4], b"");
        bytes[236] = 0x64;
        assert_eq!(ask(&Dhcp, Transport::Udp, &bytes, b""), Probe::NotForUs);
    }

    #[test]
    fn bootp_without_a_vendor_area_needs_both_sides() {
        let bootp = |operation| {
            let mut bytes = message(operation, 0, [0; 4], b"");
            bytes.truncate(236);
            bytes.resize(300, 0);
            bytes
        };
        assert_eq!(ask(&Dhcp, Transport::Udp, &bootp(1), b""), Probe::Unsure);
        assert_eq!(ask(&Dhcp, Transport::Udp, &bootp(1), &bootp(2)), Probe::Certain(Some(Side::Resp)));
    }
}
