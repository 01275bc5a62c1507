//! Community ID v1 (github.com/corelight/community-id-spec): one text for both directions of a flow, the same in
//! Zeek, Suricata and here. Seed 0, as all of them have it unless told otherwise. 30 bytes of text each.

use std::net::IpAddr;

use sha1::{Digest, Sha1};

use super::base64;
use crate::model::Transport;

/// `orig` and `resp` as (address, port). For ICMP the ports are type and code where they are known, else 0.
pub fn community_id(orig: (IpAddr, u16), resp: (IpAddr, u16), transport: Transport) -> String {
    let (resp, one_way) = match transport {
        Transport::Icmp => counterpart(resp, orig.1, &ICMP),
        Transport::Icmp6 => counterpart(resp, orig.1, &ICMP6),
        _ => (resp, false),
    };
    // The smaller end first; a one-way ICMP message has no answer to be ordered with.
    let (low, high) = if one_way || key(orig) <= key(resp) { (orig, resp) } else { (resp, orig) };
    let ports =
        matches!(transport, Transport::Tcp | Transport::Udp | Transport::Sctp | Transport::Icmp | Transport::Icmp6);
    let mut hash = Sha1::new();
    hash.update(0u16.to_be_bytes());
    hash.update(octets(low.0));
    hash.update(octets(high.0));
    hash.update([transport.number(), 0]);
    if ports {
        hash.update(low.1.to_be_bytes());
        hash.update(high.1.to_be_bytes());
    }
    format!("1:{}", base64::encode(&hash.finalize()))
}

/// Types that ask and types that answer.
const ICMP: [(u16, u16); 5] = [(8, 0), (13, 14), (15, 16), (17, 18), (10, 9)];
const ICMP6: [(u16, u16); 6] = [(128, 129), (133, 134), (135, 136), (130, 131), (139, 140), (144, 145)];

/// The other end with the type that answers `kind` as its port; true where none does.
fn counterpart(resp: (IpAddr, u16), kind: u16, pairs: &[(u16, u16)]) -> ((IpAddr, u16), bool) {
    let answer = pairs.iter().find_map(|(ask, answer)| match kind {
        k if k == *ask => Some(*answer),
        k if k == *answer => Some(*ask),
        _ => None,
    });
    answer.map_or((resp, true), |answer| ((resp.0, answer), false))
}

fn key(end: (IpAddr, u16)) -> (Vec<u8>, u16) {
    (octets(end.0), end.1)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(from: &str, from_port: u16, to: &str, to_port: u16, transport: Transport) -> String {
        community_id((from.parse().unwrap(), from_port), (to.parse().unwrap(), to_port), transport)
    }

    /// The reference data of the specification, seed 0, each where it has two in both directions.
    #[test]
    fn the_vectors_of_the_specification() {
        use Transport::{Icmp, Icmp6, Ip, Sctp, Tcp, Udp};
        let both = [
            ("128.232.110.120", 34855, "66.35.250.204", 80, Tcp, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (
                "2001:470:e5bf:dead:4957:2174:e82c:4887",
                63943,
                "2607:f8b0:400c:c03::1a",
                25,
                Tcp,
                "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=",
            ),
            ("192.168.1.52", 54585, "8.8.8.8", 53, Udp, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            ("192.168.170.8", 7, "192.168.170.56", 7, Sctp, "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
            ("192.168.0.89", 8, "192.168.0.1", 0, Icmp, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            ("fe80::200:86ff:fe05:80da", 135, "fe80::260:97ff:fe07:69ea", 136, Icmp6, "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
            (
                "3ffe:507:0:1:200:86ff:fe05:80da",
                128,
                "3ffe:501:0:1001::2",
                129,
                Icmp6,
                "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=",
            ),
            ("10.1.12.1", 0, "10.1.12.2", 0, Ip(46), "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
        ];
        for (from, from_port, to, to_port, transport, expected) in both {
            assert_eq!(id(from, from_port, to, to_port, transport), expected, "{from} to {to}");
            assert_eq!(id(to, to_port, from, from_port, transport), expected, "{to} to {from}");
        }
        // ICMP types that nothing answers, and those sent to a group.
        let one_way = [
            ("10.0.0.1", 11, "10.0.0.2", 0, Icmp, "1:YHxtAirCG//0OzkcVAukqKQN9xM="),
            ("3ffe:501:1800:2345::2", 3, "3ffe:507:0:1:200:86ff:fe05:80da", 0, Icmp6, "1:2ObVBgIn28oZvibYZhZMBgh7WdQ="),
            (
                "3ffe:501:410:0:2c0:dfff:fe47:33e",
                1,
                "3ffe:507:0:1:200:86ff:fe05:80da",
                4,
                Icmp6,
                "1:hLZd0XGWojozrvxqE0dWB1iM6R0=",
            ),
            ("fe80::200:86ff:fe05:80da", 133, "ff02::2", 134, Icmp6, "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0="),
            ("fe80::260:97ff:fe07:69ea", 134, "ff02::1", 133, Icmp6, "1:pkvHqCL88/tg1k4cPigmZXUtL00="),
        ];
        for (from, kind, to, code, transport, expected) in one_way {
            assert_eq!(id(from, kind, to, code, transport), expected, "{from} to {to}");
        }
    }
}
