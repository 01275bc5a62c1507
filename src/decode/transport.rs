//! Transport headers: TCP (RFC 9293), UDP (RFC 768) and SCTP (RFC 9260).
//!
//! A header that was captured only in part is discarded; a payload that was is kept with its length on the wire.
//! TCP is read by hand: etherparse refuses a segment whose options were cut by the snap length, which we keep.

use etherparse::UdpHeaderSlice;

use super::discard::Discard;
use super::ip::Ip;
use super::packet::{Payload, Sctp, SctpChunk, Tcp, TcpFlags, Udp};
use super::reader::Reader;

const TCP_HEADER: usize = 20;
const UDP_HEADER: u32 = 8;

#[inline(always)]
pub(super) fn tcp<'a>(ip: &Ip<'a>) -> Result<Payload<'a>, Discard> {
    let (head, rest) = ip.payload.split_first_chunk::<TCP_HEADER>().ok_or(Discard::Short)?;
    let [s1, s0, d1, d0, q3, q2, q1, q0, a3, a2, a1, a0, offset, flags, w1, w0, _, _, u1, u0] = *head;
    let header_len = usize::from(offset >> 4) * 4;
    let options_len = header_len.checked_sub(TCP_HEADER).ok_or(Discard::TcpHeader)?;
    let payload_len = ip.payload_len.checked_sub(header_len as u32).ok_or(Discard::TcpHeader)?;
    // Cut within the options: they are kept as far as they go.
    let (options, payload) = rest.split_at_checked(options_len).unwrap_or((rest, &[]));
    Ok(Payload::Tcp(Tcp {
        src_port: u16::from_be_bytes([s1, s0]),
        dst_port: u16::from_be_bytes([d1, d0]),
        seq: u32::from_be_bytes([q3, q2, q1, q0]),
        ack: u32::from_be_bytes([a3, a2, a1, a0]),
        flags: TcpFlags(flags),
        window: u16::from_be_bytes([w1, w0]),
        urgent: u16::from_be_bytes([u1, u0]),
        options,
        payload,
        payload_len,
    }))
}

impl Tcp<'_> {
    /// TSval and TSecr of the timestamps option (RFC 7323 section 3.2).
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        let mut options = self.options;
        loop {
            options = match options {
                [8, 10, v3, v2, v1, v0, e3, e2, e1, e0, ..] => {
                    return Some((u32::from_be_bytes([*v3, *v2, *v1, *v0]), u32::from_be_bytes([*e3, *e2, *e1, *e0])));
                }
                [1, rest @ ..] => rest,
                [0, ..] | [] => return None,
                [_, length, ..] if *length >= 2 => options.get(usize::from(*length)..)?,
                _ => return None,
            };
        }
    }
}

#[inline]
pub(super) fn udp<'a>(ip: &Ip<'a>) -> Result<Payload<'a>, Discard> {
    let header = UdpHeaderSlice::from_slice(ip.payload).map_err(|_| Discard::Short)?;
    let rest = ip.payload.get(header.slice().len()..).unwrap_or_default();
    let there = ip.payload_len.checked_sub(UDP_HEADER).ok_or(Discard::UdpLength)?;
    let payload_len = match u32::from(header.length()) {
        // RFC 2675 section 4: longer than the field can say; cards that segment leave it so, too.
        0 => there,
        length => length.checked_sub(UDP_HEADER).ok_or(Discard::UdpLength)?.min(there),
    };
    Ok(Payload::Udp(Udp {
        src_port: header.source_port(),
        dst_port: header.destination_port(),
        payload: rest.get(..payload_len as usize).unwrap_or(rest),
        payload_len,
    }))
}

pub(super) fn sctp<'a>(ip: &Ip<'a>) -> Result<Payload<'a>, Discard> {
    let mut reader = Reader::new(ip.payload);
    let [s1, s0, d1, d0] = reader.array().ok_or(Discard::Short)?;
    let verification_tag = reader.be32().ok_or(Discard::Short)?;
    reader.skip(4).ok_or(Discard::Short)?;
    let first = reader.rest().first().copied().ok_or(Discard::Short)?;
    Ok(Payload::Sctp(Sctp {
        src_port: u16::from_be_bytes([s1, s0]),
        dst_port: u16::from_be_bytes([d1, d0]),
        verification_tag,
        first: match first {
            0 | 64 => SctpChunk::Data,
            1 => SctpChunk::Init,
            2 => SctpChunk::InitAck,
            6 => SctpChunk::Abort,
            7 => SctpChunk::Shutdown,
            14 => SctpChunk::ShutdownComplete,
            other => SctpChunk::Other(other),
        },
        payload: first_user_data(reader).unwrap_or_default(),
    }))
}

/// User data of the first DATA chunk (RFC 9260 3.3.1) or I-DATA chunk (RFC 8260 2.1).
fn first_user_data(mut reader: Reader<'_>) -> Option<&[u8]> {
    /// Control chunks that may be bundled before data; more than any stack does.
    const CHUNKS_MAX: usize = 16;
    for _ in 0..CHUNKS_MAX {
        let [kind, _flags] = reader.array()?;
        let length = usize::from(reader.be16()?).checked_sub(4)?;
        let header = match kind {
            0 => 12,
            64 => 16,
            _ => {
                reader.skip(length.next_multiple_of(4))?;
                continue;
            }
        };
        reader.skip(header)?;
        let user_len = length.checked_sub(header)?;
        return Some(reader.rest().get(..user_len).unwrap_or(reader.rest()));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn ip(protocol: u8, payload: &[u8], payload_len: u32) -> Ip<'_> {
        let address = IpAddr::from([10, 0, 0, 1]);
        let len = payload_len + 20;
        Ip { src: address, dst: address, ttl: 64, tos: 0, protocol, len, payload, payload_len, fragment: None }
    }

    fn segment(offset: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, offset << 4, 0x12, 0x10, 0, 0, 0, 0, 0];
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn a_tcp_segment_has_its_options_and_its_payload() {
        let bytes = segment(6, &[2, 4, 5, 0xb4, b'h', b'i']);
        let Ok(Payload::Tcp(tcp)) = tcp(&ip(6, &bytes, 26)) else { panic!("not TCP") };
        assert_eq!((tcp.src_port, tcp.dst_port, tcp.seq, tcp.ack), (40000, 80, 1, 2));
        assert!(tcp.flags.syn() && tcp.flags.ack() && !tcp.flags.rst());
        assert_eq!((tcp.options, tcp.payload, tcp.payload_len), (&[2u8, 4, 5, 0xb4][..], &b"hi"[..], 2));
    }

    #[test]
    fn timestamps_are_found_behind_other_options_and_not_in_broken_ones() {
        let read = |options: &[u8]| {
            let mut bytes = segment(5 + options.len() as u8 / 4, options);
            bytes[18..20].copy_from_slice(&[1, 2]);
            let Ok(Payload::Tcp(tcp)) = tcp(&ip(6, &bytes, bytes.len() as u32)) else { panic!("not TCP") };
            assert_eq!(tcp.urgent, 0x0102);
            tcp.timestamps()
        };
        assert_eq!(read(&[1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 1, 0]), Some((7, 256)));
        assert_eq!(read(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 1, 0]), Some((7, 256)));
        assert_eq!(read(&[5, 0, 8, 10, 0, 0, 0, 7, 0, 0, 1, 0]), None, "an option without a length");
        assert_eq!(read(&[0, 1, 8, 10, 0, 0, 0, 7, 0, 0, 1, 0]), None, "behind the end of the list");
        assert_eq!(read(&[1, 1, 8, 10, 0, 0, 0, 7]), None, "cut");
    }

    #[test]
    fn a_cut_tcp_segment_keeps_its_length_on_the_wire() {
        let bytes = segment(8, &[2, 4, 5, 0xb4]);
        let Ok(Payload::Tcp(tcp)) = tcp(&ip(6, &bytes, 1480)) else { panic!("not TCP") };
        assert_eq!((tcp.options.len(), tcp.payload.len(), tcp.payload_len), (4, 0, 1448));
    }

    #[test]
    fn a_data_offset_outside_the_segment_is_refused() {
        assert_eq!(tcp(&ip(6, &segment(4, &[]), 20)).err(), Some(Discard::TcpHeader));
        assert_eq!(tcp(&ip(6, &segment(15, &[]), 20)).err(), Some(Discard::TcpHeader));
        assert_eq!(tcp(&ip(6, &segment(5, &[])[..19], 20)).err(), Some(Discard::Short));
    }

    #[test]
    fn the_udp_length_trims_and_zero_means_the_rest() {
        let datagram = |length: u8| [0, 53, 0x9c, 0x40, 0, length, 0, 0, b'a', b'b', b'c', b'd'];
        let read = |length| match udp(&ip(17, &datagram(length), 12)) {
            Ok(Payload::Udp(udp)) => Ok((udp.src_port, udp.payload.len(), udp.payload_len)),
            Ok(_) => panic!("not UDP"),
            Err(reason) => Err(reason),
        };
        assert_eq!(read(10), Ok((53, 2, 2)));
        assert_eq!(read(0), Ok((53, 4, 4)));
        assert_eq!(read(200), Ok((53, 4, 4)));
        assert_eq!(read(7), Err(Discard::UdpLength));
    }

    #[test]
    fn sctp_names_its_first_chunk_and_finds_user_data_behind_a_bundled_one() {
        let mut bytes = vec![0x0b, 0x59, 0x0b, 0x5a, 0, 0, 0, 7, 0, 0, 0, 0];
        bytes.extend([10, 0, 0, 5, b'c', 0, 0, 0]); // COOKIE ECHO of one byte, padded
        bytes.extend([0, 3, 0, 18, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, b'm', b'3', 0, 0]);
        let Ok(Payload::Sctp(sctp)) = sctp(&ip(132, &bytes, bytes.len() as u32)) else { panic!("not SCTP") };
        assert_eq!((sctp.src_port, sctp.verification_tag, sctp.first), (2905, 7, SctpChunk::Other(10)));
        assert_eq!(sctp.payload, b"m3");
    }

    #[test]
    fn an_sctp_chunk_of_length_zero_ends_the_search() {
        let mut bytes = vec![0x0b, 0x59, 0x0b, 0x5a, 0, 0, 0, 7, 0, 0, 0, 0];
        bytes.extend([1, 0, 0, 0].repeat(100));
        let Ok(Payload::Sctp(sctp)) = sctp(&ip(132, &bytes, bytes.len() as u32)) else { panic!("not SCTP") };
        assert_eq!((sctp.first, sctp.payload.len()), (SctpChunk::Init, 0));
    }
}
