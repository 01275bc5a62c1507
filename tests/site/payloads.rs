//! What the two ends of a conversation say, where the packets are to prove an application: openings as real clients and
//! servers write them. Bound: some kilobytes each way, whatever an event says it carried.

use eastwatch::model::Side;
use eastwatch::scenario::payload;

/// One message after the other, and whose it is. `None`: this application cannot be written yet.
pub fn messages(app: &str, server: &str, up: u32, down: u32) -> Option<Vec<(Side, Vec<u8>)>> {
    use Side::{Orig, Resp};
    let sealed = |len: u32, seed| payload::sealed(len.clamp(1, BYTES_MAX) as usize, seed);
    let text = |text: &str| text.as_bytes().to_vec();
    Some(match app {
        "" => {
            let mut said = vec![(Orig, opaque(up.clamp(1, BYTES_MAX)))];
            if down > 0 {
                said.push((Resp, opaque(down.clamp(1, BYTES_MAX))));
            }
            said
        }
        "http" => vec![(Orig, payload::http_get(server, "/")), (Resp, payload::http_ok("nginx", "in order\n"))],
        "tls" => vec![
            (Orig, payload::tls_client_hello(server)),
            (Resp, payload::tls_server_hello()),
            (Orig, payload::tls_finished()),
            (Resp, payload::tls_finished()),
            (Orig, payload::tls_data(up.clamp(1, BYTES_MAX) as usize)),
            (Resp, payload::tls_data(down.clamp(1, BYTES_MAX) as usize)),
        ],
        "ssh" => vec![
            (Resp, payload::ssh_banner("OpenSSH_9.2p1")),
            (Orig, payload::ssh_banner("OpenSSH_9.2p1")),
            (Orig, payload::ssh_kexinit()),
            (Resp, payload::ssh_kexinit()),
            (Orig, sealed(up, 1)),
            (Resp, sealed(down, 2)),
        ],
        "pgsql" => vec![
            (Orig, payload::postgres_startup("shop", "shop")),
            (Resp, payload::postgres_ready("15.4")),
            (Orig, payload::postgres_query("select 1")),
            (Resp, payload::postgres_done("SELECT 1")),
        ],
        "redis" => vec![(Orig, payload::redis_command(&["GET", "basket"])), (Resp, payload::redis_bulk("empty"))],
        "smb" => vec![(Orig, payload::smb_negotiate()), (Resp, payload::smb_negotiated())],
        // A simple bind and its answer (RFC 4511 section 4.2).
        "ldap" => vec![
            (Orig, b"\x30\x1c\x02\x01\x01\x60\x17\x02\x01\x03\x04\x0bcn=site,o=x\x80\x05seven".to_vec()),
            (Resp, b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00".to_vec()),
        ],
        // Connection request and confirm with a negotiation of TLS (MS-RDPBCGR 2.2.1.1, 2.2.1.2).
        "rdp" => vec![
            (Orig, b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00".to_vec()),
            (Resp, b"\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00\x02\x1f\x08\x00\x02\x00\x00\x00".to_vec()),
        ],
        "rfb" => vec![(Resp, text("RFB 003.008\n")), (Orig, text("RFB 003.008\n")), (Resp, vec![1, 2])],
        // DO terminal type, DO window size; WILL and WONT (RFC 854).
        "telnet" => vec![
            (Resp, vec![255, 253, 24, 255, 253, 31]),
            (Orig, vec![255, 251, 24, 255, 252, 31]),
            (Resp, text("\r\nlogin: ")),
        ],
        // Two peers that hand out an update: handshakes, then the client asks for a piece and is given it.
        "msdo" => vec![
            (Orig, msdo(1)),
            (Resp, msdo(2)),
            (Orig, b"\0\0\0\x0d\x06\0\0\0\0\0\0\0\0\0\0\x04\0".to_vec()),
            (Resp, [&b"\0\0\x04\x09\x07\0\0\0\0\0\0\0\0"[..], &payload::sealed(1_024, 3)].concat()),
        ],
        // `nc -l -e /bin/sh`: whoever connects types, and reads what the shell prints.
        "shell" => vec![
            (Resp, payload::shell_prompt()),
            (Orig, text("id\n")),
            (Resp, payload::shell_output("uid=0(root) gid=0(root) groups=0(root)")),
        ],
        "smtp" => vec![
            (Resp, text("220 mail.dc.example ESMTP ready\r\n")),
            (Orig, text("EHLO app.dc.example\r\n")),
            (Resp, text("250-mail.dc.example\r\n250 SIZE 10240000\r\n")),
            (Orig, text("QUIT\r\n")),
            (Resp, text("221 2.0.0 Bye\r\n")),
        ],
        _ => return None,
    })
}

/// The interfaces of the endpoint mapper and of the local security authority (C706 appendix O, MS-LSAD 1.9).
pub const MAPPER: &str = "e1af8308-5d1f-11c9-91a4-08002b14a0fa";
pub const LSA: &str = "12345778-1234-abcd-ef00-0123456789ab";
const NDR: &str = "8a885d04-1ceb-11c9-9fe8-08002b104860";

/// DCE/RPC over TCP (C706 chapter 12): a bind and its answer; of the endpoint mapper (`maps` is the port that it names
/// for LSA) also the question and the tower that answers it.
pub fn dcerpc(maps: Option<u16>) -> Vec<(Side, Vec<u8>)> {
    use Side::{Orig, Resp};
    let fragments = [0xd0, 0x16, 0xd0, 0x16, 0x12, 0x34, 0, 0];
    let interface = uuid(if maps.is_some() { MAPPER } else { LSA });
    let mut bind = [&fragments[..], &[1, 0, 0, 0, 0, 0, 1, 0]].concat();
    bind.extend([&interface[..], &[3, 0, 0, 0], &uuid(NDR), &[2, 0, 0, 0]].concat());
    let mut acknowledged = [&fragments[..], &[4, 0, b'1', b'3', b'5', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]].concat();
    acknowledged.extend([&uuid(NDR)[..], &[2, 0, 0, 0]].concat());
    let mut said = vec![(Orig, pdu(11, &bind)), (Resp, pdu(12, &acknowledged))];
    if let Some(port) = maps {
        // A call of operation 3 (ept_map) and its answer, each with a tower of five floors.
        let call = [&[0; 4][..], &[0, 0, 3, 0], &tower(135)].concat();
        let answer = [&[0; 8 + 20][..], &[1, 0, 0, 0, 1, 0, 0, 0], &tower(port), &[0; 4]].concat();
        said.extend([(Orig, pdu(0, &call)), (Resp, pdu(2, &answer))]);
    }
    said
}

fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (16 + body.len() as u16).to_le_bytes();
    [&[5, 0, kind, 3, 0x10, 0, 0, 0][..], &length, &[0, 0, 1, 0, 0, 0], body].concat()
}

/// LSA and NDR over TCP at this port (C706 appendix L).
fn tower(port: u16) -> Vec<u8> {
    let floor = |id: &str| [&[19, 0, 0x0d][..], &uuid(id), &[0, 0, 2, 0, 0, 0]].concat();
    let transport = [1, 0, 0x0b, 2, 0, 0, 0, 1, 0, 0x07, 2, 0];
    let network = [1, 0, 0x09, 4, 0, 10, 0, 0, 5];
    [&[5, 0][..], &floor(LSA), &floor(NDR), &transport, &port.to_be_bytes(), &network].concat()
}

/// As it travels in little-endian.
fn uuid(text: &str) -> [u8; 16] {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let byte = |n: usize| u8::from_str_radix(std::str::from_utf8(&digits[2 * n..2 * n + 2]).unwrap_or("0"), 16);
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    order.map(|n| byte(n).expect("hexadecimal digits"))
}

/// At most so much of what an event carries is written.
const BYTES_MAX: u32 = 1_400;

/// A handshake of Delivery Optimization, of one peer or the other.
fn msdo(peer: u8) -> Vec<u8> {
    [&b"\x0eSwarm protocol"[..], &700_000u64.to_be_bytes(), &[0x5a; 32], &[peer; 20]].concat()
}

/// Bytes that begin like no protocol.
pub fn opaque(len: u32) -> Vec<u8> {
    let mut bytes = payload::sealed(len as usize, 77);
    for (at, byte) in [0xf7, 0x9b, 0xe1, 0xc5].into_iter().enumerate() {
        if let Some(slot) = bytes.get_mut(at) {
            *slot = byte;
        }
    }
    bytes
}
