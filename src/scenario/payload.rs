//! What applications say: openings and answers as real clients and servers write them, short but well-formed.
//! Bound: each is one message, built from what is given.

use std::net::{IpAddr, Ipv4Addr};

use crate::model::Timestamp;

use super::Vm;

pub fn http_get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n").into_bytes()
}

pub fn http_ok(server: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!("HTTP/1.1 200 OK\r\nServer: {server}\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n{body}")
        .into_bytes()
}

/// An identification line (RFC 4253 section 4.2), `software` as in `OpenSSH_9.2p1`.
pub fn ssh_banner(software: &str) -> Vec<u8> {
    format!("SSH-2.0-{software}\r\n").into_bytes()
}

/// SSH_MSG_KEXINIT (RFC 4253 section 7.1).
pub fn ssh_kexinit() -> Vec<u8> {
    let lists = [
        "curve25519-sha256,ecdh-sha2-nistp256,diffie-hellman-group14-sha256",
        "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512",
        "chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-ctr",
        "chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-ctr",
        "hmac-sha2-256-etm@openssh.com,hmac-sha2-256",
        "hmac-sha2-256-etm@openssh.com,hmac-sha2-256",
        "none,zlib@openssh.com",
        "none,zlib@openssh.com",
        "",
        "",
    ];
    let mut body = vec![20];
    body.extend([0x5a; 16]); // cookie
    for list in lists {
        body.extend((list.len() as u32).to_be_bytes());
        body.extend(list.as_bytes());
    }
    body.extend([0; 5]); // no guess follows
    let padding = 4 + (8 - (body.len() + 9) % 8) % 8;
    let mut out = ((body.len() + padding + 1) as u32).to_be_bytes().to_vec();
    out.push(padding as u8);
    out.extend(body);
    out.resize(out.len() + padding, 0);
    out
}

/// What cannot be read any more: `len` bytes of a session's later part.
pub fn sealed(len: usize, seed: u8) -> Vec<u8> {
    (0..len as u64).map(|i| ((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ u64::from(seed) << 40) >> 56) as u8).collect()
}

/// A TLS 1.2 ClientHello naming its server (RFC 5246 section 7.4.1.2, RFC 6066 section 3).
pub fn tls_client_hello(server_name: &str) -> Vec<u8> {
    let name = server_name.as_bytes();
    let mut extensions = vec![0, 0];
    extensions.extend(u16s(&[name.len() + 5, name.len() + 3]));
    extensions.push(0);
    extensions.extend(u16s(&[name.len()]));
    extensions.extend(name);
    extensions.extend([0, 10, 0, 6, 0, 4, 0, 29, 0, 23]); // x25519, secp256r1
    extensions.extend([0, 11, 0, 2, 1, 0]); // uncompressed points
    extensions.extend([0, 13, 0, 6, 0, 4, 4, 3, 8, 4]); // ecdsa_secp256r1_sha256, rsa_pss_rsae_sha256
    extensions.extend([0, 16, 0, 11, 0, 9, 8]);
    extensions.extend(b"http/1.1");
    let mut hello = vec![3, 3];
    hello.extend([0x11; 32]);
    hello.push(0);
    hello.extend([0, 6, 0xc0, 0x2b, 0xc0, 0x2f, 0, 0xff, 1, 0]);
    hello.extend(u16s(&[extensions.len()]));
    hello.extend(extensions);
    tls_handshake(1, &hello)
}

/// ServerHello (TLS 1.2), Certificate and ServerHelloDone. The certificate is for `web-01.dc.example`, by itself.
pub fn tls_server_hello() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([0x22; 32]);
    hello.push(0);
    hello.extend([0xc0, 0x2b, 0, 0, 5, 0xff, 1, 0, 1, 0]);
    let certificate = certificate();
    let chain = [u24(certificate.len() + 3), u24(certificate.len()), certificate].concat();
    [tls_handshake(2, &hello), tls_handshake(11, &chain), tls_handshake(14, &[])].concat()
}

/// ChangeCipherSpec and a sealed Finished: what either side sends next.
pub fn tls_finished() -> Vec<u8> {
    [&[20, 3, 3, 0, 1, 1, 22, 3, 3, 0, 40][..], &sealed(40, 3)].concat()
}

/// Sealed application data.
pub fn tls_data(len: usize) -> Vec<u8> {
    let len = len.min(16_384);
    [&[23, 3, 3][..], &u16s(&[len]), &sealed(len, 5)].concat()
}

fn tls_handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[22, 3, 3][..], &u16s(&[body.len() + 4]), &[kind], &u24(body.len()), body].concat()
}

/// Self-signed, EC P-256, `O=Example, CN=web-01.dc.example`, 2025 to 2035; its signature is nobody's.
fn certificate() -> Vec<u8> {
    let hex = "\
     3082019e30820145a00302010202021234300a06082a8648ce3d040302302e3110300e060355040a0c074578616d706c65311a30 \
     1806035504030c117765622d30312e64632e6578616d706c65301e170d3235303130313030303030305a170d3335303130313030 \
     303030305a302e3110300e060355040a0c074578616d706c65311a301806035504030c117765622d30312e64632e6578616d706c \
     653059301306072a8648ce3d020106082a8648ce3d03010703420004729fd9db47c80aeec5bca234b22adabdee6e7e76364cb602 \
     ae7364fbc38493e30421dd6b83e4ecb5c21a9280c101101f5d32d9ed0d0e6536185c3bc6903aa9bba3533051301d0603551d0e04 \
     160414442c7ffb752342ddedee33facfd04ab7bc5fceb1301f0603551d23041830168014442c7ffb752342ddedee33facfd04ab7 \
     bc5fceb1300f0603551d130101ff040530030101ff300a06082a8648ce3d04030203470030440220240e515d873e8b43d04d472b \
     0475c11f9663eb90d9406fd1d44b94c6217ae07b02204050589275d31e3361596dda8f2c32aefca3134d07c5b0cd462dba603cdb \
     3f92";
    let digits: Vec<u8> = hex.bytes().filter_map(|c| char::from(c).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

/// StartupMessage of PostgreSQL's protocol 3.0.
pub fn postgres_startup(user: &str, database: &str) -> Vec<u8> {
    let body = format!("user\0{user}\0database\0{database}\0application_name\0psql\0\0");
    [&((body.len() + 8) as u32).to_be_bytes()[..], &[0, 3, 0, 0], body.as_bytes()].concat()
}

/// AuthenticationOk, the server's version, and ReadyForQuery.
pub fn postgres_ready(version: &str) -> Vec<u8> {
    let status = format!("server_version\0{version}\0");
    [
        postgres(b'R', &[0; 4]),
        postgres(b'S', status.as_bytes()),
        postgres(b'K', &[0, 0, 3, 9, 1, 2, 3, 4]),
        postgres(b'Z', b"I"),
    ]
    .concat()
}

pub fn postgres_query(sql: &str) -> Vec<u8> {
    postgres(b'Q', format!("{sql}\0").as_bytes())
}

/// CommandComplete and ReadyForQuery.
pub fn postgres_done(tag: &str) -> Vec<u8> {
    [postgres(b'C', format!("{tag}\0").as_bytes()), postgres(b'Z', b"I")].concat()
}

fn postgres(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &((body.len() + 4) as u32).to_be_bytes(), body].concat()
}

/// The greeting of MySQL's protocol 10.
pub fn mysql_greeting(version: &str) -> Vec<u8> {
    let mut body = vec![10];
    body.extend(version.as_bytes());
    body.extend([0, 8, 0, 0, 0]);
    body.extend(b"abcdefgh\0");
    body.extend([0xff, 0xf7, 0xff, 2, 0, 0xff, 0x81, 21]);
    body.extend([0; 10]);
    body.extend(b"ijklmnopqrst\0mysql_native_password\0");
    mysql(0, &body)
}

pub fn mysql_login(user: &str) -> Vec<u8> {
    let mut body = vec![0x85, 0xa6, 0x0f, 0, 0, 0, 0, 1, 33];
    body.extend([0; 23]);
    body.extend(user.as_bytes());
    body.extend([0, 20]);
    body.extend(sealed(20, 1));
    mysql(1, &body)
}

pub fn mysql_ok(sequence: u8) -> Vec<u8> {
    mysql(sequence, &[0, 0, 0, 2, 0, 0, 0])
}

pub fn mysql_query(sql: &str) -> Vec<u8> {
    mysql(0, &[&[3], sql.as_bytes()].concat())
}

fn mysql(sequence: u8, body: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = (body.len() as u32).to_le_bytes();
    [&[a, b, c, sequence], body].concat()
}

/// A command as Redis clients write it (RESP arrays of bulk strings).
pub fn redis_command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    out.into_bytes()
}

pub fn redis_bulk(value: &str) -> Vec<u8> {
    format!("${}\r\n{value}\r\n", value.len()).into_bytes()
}

/// SMB2 NEGOTIATE for dialects 2.0.2, 2.1 and 3.0.2 (MS-SMB2 2.2.3).
pub fn smb_negotiate() -> Vec<u8> {
    let mut body = vec![36, 0, 3, 0, 1, 0, 0, 0, 0x7f, 0, 0, 0];
    body.extend([0x33; 16]);
    body.extend([0; 8]);
    body.extend([2, 2, 0x10, 2, 2, 3]);
    smb(0, &body)
}

/// The answer: dialect 3.0.2 (MS-SMB2 2.2.4).
pub fn smb_negotiated() -> Vec<u8> {
    let mut body = vec![65, 0, 1, 0, 2, 3, 0, 0];
    body.extend([0x44; 16]);
    body.extend([0x2f, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x10, 0, 0, 0, 0x10, 0]);
    body.extend([0; 16]);
    body.extend([128, 0, 0, 0, 0, 0, 0, 0]);
    smb(1, &body)
}

fn smb(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(u24(64 + body.len()));
    out.extend(b"\xfeSMB\x40\0\0\0\0\0\0\0\0\0\x01\0");
    out.extend([flags, 0, 0, 0]);
    out.resize(4 + 64, 0);
    out.extend(body);
    out
}

/// What `sh -i` says to whoever connected.
pub fn shell_prompt() -> Vec<u8> {
    b"/bin/sh: 0: can't access tty; job control turned off\n# ".to_vec()
}

/// A command's output and the next prompt.
pub fn shell_output(text: &str) -> Vec<u8> {
    format!("{text}\n# ").into_bytes()
}

/// The messages of a DHCP exchange that gives an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dhcp {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Acknowledge = 5,
}

/// One DHCP message (RFC 2131), the client's host name (option 12) in its own.
pub fn dhcp(kind: Dhcp, transaction: u32, client: &Vm, server: &Vm) -> Vec<u8> {
    let answer = matches!(kind, Dhcp::Offer | Dhcp::Acknowledge);
    let mut out = vec![if answer { 2 } else { 1 }, 1, 6, 0];
    out.extend(transaction.to_be_bytes());
    out.extend([0; 8]);
    out.extend(if answer { v4(client.ip) } else { [0; 4] });
    out.extend(if answer { v4(server.ip) } else { [0; 4] });
    out.extend([0; 4]);
    out.extend(client.mac.0);
    out.resize(236, 0);
    out.extend([99, 130, 83, 99, 53, 1, kind as u8]);
    if answer {
        out.extend([54, 4]);
        out.extend(v4(server.ip));
        out.extend([51, 4, 0, 1, 0x51, 0x80, 1, 4, 255, 255, 255, 0]);
    } else {
        out.extend([12, client.name.len() as u8]);
        out.extend(client.name.as_bytes());
        if kind == Dhcp::Request {
            out.extend([50, 4]);
            out.extend(v4(client.ip));
        }
    }
    out.push(255);
    out.resize(out.len().max(300), 0); // BOOTP's least (RFC 1542 section 2.1)
    out
}

/// An A question and its answer (RFC 1035).
pub fn dns(id: u16, name: &str, ip: Ipv4Addr) -> (Vec<u8>, Vec<u8>) {
    let mut question = Vec::new();
    for label in name.split('.') {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let head = |flags: [u8; 2], answers: u8| [&id.to_be_bytes()[..], &flags, &[0, 1, 0, answers, 0, 0, 0, 0]].concat();
    let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4][..], &ip.octets()].concat();
    ([head([1, 0], 0), question.clone()].concat(), [head([0x81, 0x80], 1), question, record].concat())
}

/// NTPv4 (RFC 5905); `mode` 3 asks, 4 answers.
pub fn ntp(mode: u8, now: Timestamp) -> Vec<u8> {
    let seconds = (now.second() + 2_208_988_800) as u32; // since 1900
    let mut out = vec![0x20 | mode, if mode == 4 { 2 } else { 0 }, 6, 0xec];
    out.extend([0, 0, 0, 16, 0, 0, 0, 24]);
    out.extend(if mode == 4 { [10, 0, 0, 1] } else { [0; 4] });
    for _ in 0..4 {
        out.extend(seconds.to_be_bytes());
        out.extend([0x80, 0, 0, 0]);
    }
    out
}

fn v4(ip: IpAddr) -> [u8; 4] {
    match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => [0; 4],
    }
}

fn u16s(numbers: &[usize]) -> Vec<u8> {
    numbers.iter().flat_map(|n| (*n as u16).to_be_bytes()).collect()
}

fn u24(n: usize) -> Vec<u8> {
    let [_, a, b, c] = (n as u32).to_be_bytes();
    vec![a, b, c]
}
