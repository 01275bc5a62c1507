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
