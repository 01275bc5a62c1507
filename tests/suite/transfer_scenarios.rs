//! A day of ports that are new and mean nothing: FTP's data, RPC endpoints that the mapper names, the media of calls, and
//! test runs that listen for some seconds.

use eastwatch::model::{Side, Timestamp};
use eastwatch::scenario::{Scenario, Vm, payload};

use super::scenarios::{Office, Parts, ftp, learned_with, v4};

const HOURS: i64 = 24;
/// The domain controller starts anew in the middle of the day, and its endpoints get other ports.
const RESTART_H: i64 = 12;

struct House {
    files: Vm,
    dc: Vm,
    pbx: Vm,
    phone: Vm,
    ci: Vm,
}

impl House {
    fn new() -> Self {
        let mut s = Scenario::new(0);
        let mut vm = |name: &str, n: u8| s.vm(name, &format!("52:54:00:00:00:{n:02x}"), &format!("10.0.0.{n}"));
        House {
            files: vm("files-01", 21),
            dc: vm("dc-01", 22),
            pbx: vm("pbx-01", 23),
            phone: vm("phone-7", 24),
            ci: vm("ci-01", 25),
        }
    }

    /// What each hour brings; `nth` is the hour's number, by which no port comes twice.
    fn hour(&self, s: &mut Scenario, o: &Office, at: Timestamp, nth: i64, rpc_port: u16) {
        let fresh = |from: u16, step: u16| from + nth as u16 * step;
        s.at(at.plus_s(2_000));
        for client in [&self.ci, &self.dc, &self.pbx] {
            s.arp(client, &o.dns).wait_s(1).dns(client, &o.dns, "app-01.dc.example", v4(&o.app)).wait_s(1);
        }
        for transfer in 0..2 {
            ftp(s, &o.app, &self.files, fresh(42_000, 8) + transfer * 3);
            s.wait_s(20);
        }
        endpoint(s, &o.app, &self.dc, rpc_port);
        for call in 0..2 {
            s.wait_s(20);
            self.call(s, fresh(12_000, 16) + call * 4);
        }
        for run in 0..3 {
            s.wait_s(60);
            // In the range that ci-01 takes its own ports from, as port 0 gives them.
            test_run(s, &o.app, &self.ci, fresh(49_300, 9) + run * 2);
        }
    }

    fn call(&self, s: &mut Scenario, media: u16) {
        let name = format!("call-{media}@phone-7");
        let head = |first: &str, cseq: &str| {
            format!(
                "{first}\r\nVia: SIP/2.0/UDP 10.0.0.24:5060;branch=z9hG4bK{media}\r\nFrom: <sip:7@pbx>;tag=a{media}\r\n\
                 To: <sip:9@pbx>\r\nCall-ID: {name}\r\nCSeq: {cseq}\r\nMax-Forwards: 70\r\n"
            )
        };
        let described = |ip: &str, port: u16| {
            format!(
                "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
            )
        };
        let with = |head: String, body: String| {
            format!("{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let began = s.now();
        s.arp(&self.phone, &self.pbx);
        s.udp_from(&self.phone, 5_060, &self.pbx, 5_060)
            .send(Side::Orig, with(head("INVITE sip:9@pbx SIP/2.0", "1 INVITE"), described("10.0.0.24", media)))
            .send(Side::Resp, head("SIP/2.0 180 Ringing", "1 INVITE") + "Content-Length: 0\r\n\r\n")
            .send(Side::Resp, with(head("SIP/2.0 200 OK", "1 INVITE"), described("10.0.0.23", media + 2_000)))
            .send(Side::Orig, head("ACK sip:9@pbx SIP/2.0", "1 ACK") + "Content-Length: 0\r\n\r\n")
            .wait_ms(4_000)
            .send(Side::Orig, head("BYE sip:9@pbx SIP/2.0", "2 BYE") + "Content-Length: 0\r\n\r\n")
            .send(Side::Resp, head("SIP/2.0 200 OK", "2 BYE") + "Content-Length: 0\r\n\r\n");
        s.at(began.plus_s(1));
        let mut voice = s.udp_from(&self.phone, media, &self.pbx, media + 2_000);
        for n in 0..60u16 {
            let mut packet = vec![0x80, 0];
            packet.extend(n.to_be_bytes());
            packet.extend((u32::from(n) * 160).to_be_bytes());
            packet.extend([0x12, 0x34, 0x56, 0x78]);
            packet.extend(payload::sealed(160, n as u8));
            voice.send(if n % 2 == 0 { Side::Orig } else { Side::Resp }, packet).wait_ms(20);
        }
        s.at(began.plus_s(6));
    }
}

const MAPPER: [u8; 16] =
    [0x08, 0x83, 0xaf, 0xe1, 0x1f, 0x5d, 0xc9, 0x11, 0x91, 0xa4, 0x08, 0x00, 0x2b, 0x14, 0xa0, 0xfa];
/// 12345678-1234-abcd-ef00-01234567cffb, NETLOGON.
const NETLOGON: [u8; 16] =
    [0x78, 0x56, 0x34, 0x12, 0x34, 0x12, 0xcd, 0xab, 0xef, 0x00, 0x01, 0x23, 0x45, 0x67, 0xcf, 0xfb];
const NDR: [u8; 20] =
    [4, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 8, 0, 0x2b, 0x10, 0x48, 0x60, 2, 0, 0, 0];

/// C706 section 12.6.3.1, little-endian, one fragment.
fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![5, 0, kind, 3, 0x10, 0, 0, 0];
    bytes.extend((16 + body.len() as u16).to_le_bytes());
    bytes.extend([0, 0, 1, 0, 0, 0]);
    bytes.extend(body);
    bytes
}

fn bind(interface: [u8; 16]) -> Vec<u8> {
    let mut body = vec![0xd0, 0x16, 0xd0, 0x16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0];
    body.extend(interface);
    body.extend([1, 0, 0, 0]);
    body.extend(NDR);
    pdu(11, &body)
}

fn bind_ack() -> Vec<u8> {
    let mut body = vec![0xd0, 0x16, 0xd0, 0x16, 0x12, 0x34, 0, 0, 4, 0, b'1', b'3', b'5', 0, 0, 0];
    body.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    body.extend(NDR);
    pdu(12, &body)
}

/// ept_map's answer: one tower of five floors, the fourth of which is the TCP port.
fn mapped(port: u16) -> Vec<u8> {
    let mut body = vec![0; 28];
    body.extend([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 75, 0, 0, 0, 75, 0, 0, 0]);
    body.extend([5, 0, 19, 0, 0x0d]);
    body.extend(NETLOGON);
    body.extend([1, 0, 2, 0, 0, 0, 19, 0, 0x0d]);
    body.extend(&NDR[..18]);
    body.extend([2, 0, 0, 0, 1, 0, 0x0b, 2, 0, 0, 0, 1, 0, 0x07, 2, 0]);
    body.extend(port.to_be_bytes());
    body.extend([1, 0, 0x09, 4, 0, 10, 0, 0, 22, 0, 0, 0, 0, 0]);
    pdu(2, &body)
}

/// The mapper is asked, then the port that it names.
fn endpoint(s: &mut Scenario, client: &Vm, dc: &Vm, port: u16) {
    s.arp(client, dc).wait_s(1);
    s.tcp(client, dc, 135)
        .handshake()
        .send(Side::Orig, bind(MAPPER))
        .send(Side::Resp, bind_ack())
        .send(Side::Orig, pdu(0, &[0; 120]))
        .send(Side::Resp, mapped(port))
        .close();
    s.wait_s(1)
        .tcp(client, dc, port)
        .handshake()
        .send(Side::Orig, bind(NETLOGON))
        .send(Side::Resp, bind_ack())
        .send(Side::Orig, pdu(0, &[1; 200]))
        .send(Side::Resp, pdu(2, &[2; 300]))
        .close();
    s.wait_s(1);
}

/// A test listens on a port that the system gave it, is asked once, and ends.
fn test_run(s: &mut Scenario, client: &Vm, ci: &Vm, port: u16) {
    s.arp(client, ci).wait_s(1);
    s.tcp(client, ci, port)
        .handshake()
        .send(Side::Orig, payload::http_get("ci-01", "/health"))
        .send(Side::Resp, payload::http_ok("test/0.1", "ok"))
        .wait_ms(5_000)
        .close();
}

/// Thirty hours of it, then a whole day.
pub fn transfers_all_day() -> Parts {
    let (house, later) = (House::new(), House::new());
    let number = |at: Timestamp| at.second() / 3_600 % 24;
    learned_with(
        move |s, o, at| house.hour(s, o, at, number(at), 49_667),
        move |s, o| {
            let start = s.now();
            for hour in 0..HOURS {
                let at = start.plus_s(hour * 3_600);
                o.hour(s, at);
                // Ports that no hour before had.
                let port = if hour < RESTART_H { 49_667 } else { 49_671 };
                later.hour(s, o, at, 40 + hour, port);
            }
        },
    )
}
