//! Community ID v1 (corelight/community-id-spec): a name for a flow that other tools compute too.

use std::net::IpAddr;

use sha1::{Digest, Sha1};

use crate::model::{FlowRef, Transport, to_base64};

/// `1:` and the base64 of SHA-1 over seed 0 and the ordered 5-tuple. `None` for ICMP, whose type and code the flow
/// does not keep.
pub fn community_id(flow: &FlowRef) -> Option<String> {
    if matches!(flow.transport, Transport::Icmp | Transport::Icmp6) {
        return None;
    }
    let mut ends = [(flow.orig.ip, flow.orig.port), (flow.resp.ip, flow.resp.port)];
    ends.sort();
    let [(low, low_port), (high, high_port)] = ends;
    let mut hash = Sha1::new();
    hash.update([0, 0]);
    for ip in [low, high] {
        match ip {
            IpAddr::V4(v4) => hash.update(v4.octets()),
            IpAddr::V6(v6) => hash.update(v6.octets()),
        }
    }
    hash.update([flow.transport.number(), 0]);
    if matches!(flow.transport, Transport::Tcp | Transport::Udp | Transport::Sctp) {
        hash.update(low_port.to_be_bytes());
        hash.update(high_port.to_be_bytes());
    }
    Some(format!("1:{}", to_base64(&hash.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, Segment, Timestamp};

    fn flow(transport: Transport, orig: (&str, u16), resp: (&str, u16)) -> FlowRef {
        let end = |(ip, port): (&str, u16)| Endpoint {
            ip: ip.parse().unwrap(),
            port,
            mac: None,
            host_hint: None,
            path: Default::default(),
        };
        FlowRef {
            id: 1,
            segment: Segment::UNTAGGED,
            transport,
            orig: end(orig),
            resp: end(resp),
            first_seen: Timestamp::ZERO,
            first_frame: 1,
        }
    }

    /// Vectors of the specification's baseline (seed 0).
    #[test]
    fn the_specifications_vectors_hold() {
        for (transport, orig, resp, id) in [
            (Transport::Tcp, ("128.232.110.120", 34855), ("66.35.250.204", 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (Transport::Udp, ("192.168.1.52", 54585), ("8.8.8.8", 53), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        ] {
            assert_eq!(community_id(&flow(transport, orig, resp)).as_deref(), Some(id));
            assert_eq!(community_id(&flow(transport, resp, orig)).as_deref(), Some(id));
        }
    }
}
