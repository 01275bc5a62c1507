//! SSH (RFC 4253): the identification line, then KEXINIT.
//!
//! A client's line alone proves nothing about the port it was sent to: the server's line is waited for, or, where a
//! mirror shows one direction only, the KEXINIT after it.

use super::digest::ssh_fingerprint;
use super::line::{Lines, argument, word};
use super::reader::Reader;
use super::reading::begins;
use super::ssh_kex::{KexInit, Packets, string};
use super::{Described, OPENING_BYTES_MAX, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Ssh;

/// RFC 4253 section 4.2.
const IDENTIFICATION_BYTES_MAX: usize = 255;

impl Protocol for Ssh {
    fn name(&self) -> &'static str {
        "ssh"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let read = |side: Side| {
            let bytes = opening.side(side);
            if bytes.is_empty() { None } else { identification(bytes) }
        };
        let (orig, resp) = (read(Side::Orig), read(Side::Resp));
        match (orig, resp) {
            // Whatever it was asked, this server speaks SSH.
            (_, Some(Some(_))) if !opening.midstream => Probe::Certain(Some(Side::Resp)),
            (Some(None), _) | (_, Some(None)) => Probe::NotForUs,
            (Some(Some(_)), Some(Some(_))) => Probe::Certain(role(opening)),
            (Some(Some(_)), None) if has_kexinit(opening.orig) => {
                Probe::Certain(if opening.midstream { role(opening) } else { Some(Side::Resp) })
            }
            (None, Some(Some(_))) if has_kexinit(opening.resp) => Probe::Certain(role(opening)),
            _ => Probe::Unsure,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server.or_else(|| role(opening)) else {
            return if opening.orig.len().max(opening.resp.len()) >= OPENING_BYTES_MAX {
                Described::Whole
            } else {
                Described::Partly
            };
        };
        info.server = Some(server);
        let (offer, answer) = (opening.side(server.other()), opening.side(server));
        if let Some(line) = line(answer) {
            let (protocol, software) = split(line);
            let (product, version) = product(word(software));
            info.product(product, version);
            info.detail("version", protocol);
            info.detail("software", word(software));
            info.detail("comment", argument(software));
        }
        if let Some(line) = line(offer) {
            info.detail("client_software", word(split(line).1));
        }
        let client = packets(offer).find_map(KexInit::read);
        let mut host_key = false;
        let mut kex = None;
        for packet in packets(answer) {
            if let Some(init) = KexInit::read(packet) {
                kex = Some(init);
            } else if let Some(key) = packet_host_key(packet) {
                info.detail("host_key", ssh_fingerprint(key));
                host_key = true;
            }
        }
        if let Some(client) = &client {
            info.detail("hassh", client.hassh());
        }
        if let Some(kex) = &kex {
            info.detail("hassh_server", kex.hassh_server());
        }
        if let (Some(client), Some(kex)) = (&client, &kex)
            && let Some(kind) = kex.host_key_chosen(client)
        {
            info.detail("host_key_type", kind);
        }
        let full = answer.len() >= OPENING_BYTES_MAX;
        // SSH 1 has no KEXINIT: its line is all there is.
        let old = info.get("version").is_some_and(|v| v != "2.0" && v != "1.99");
        if (client.is_some() && kex.is_some() && host_key) || full || old {
            Described::Whole
        } else {
            Described::Partly
        }
    }
}

/// `Some(None)`: not SSH. `Some(Some(line))`: the identification line, whole. `None`: too short to tell.
fn identification(bytes: &[u8]) -> Option<Option<&[u8]>> {
    if !begins(bytes, b"SSH-")? {
        return Some(None);
    }
    let Some(line) = line(bytes) else {
        return if bytes.len() > IDENTIFICATION_BYTES_MAX { Some(None) } else { None };
    };
    let fits = match line.get(4..).unwrap_or_default() {
        [b'1' | b'2', b'.', b'0'..=b'9', rest @ ..] => {
            let software = rest.strip_prefix(b"-").or_else(|| rest.get(1..).and_then(|r| r.strip_prefix(b"-")));
            software.is_some_and(|s| s.iter().all(|b| (b' '..=b'~').contains(b)))
        }
        _ => false,
    };
    Some(if fits { Some(line) } else { None })
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    Lines::new(bytes).next().filter(|l| l.starts_with(b"SSH-") && l.len() <= IDENTIFICATION_BYTES_MAX)
}

fn packets(bytes: &[u8]) -> Packets<'_> {
    let mut lines = Lines::new(bytes);
    let rest = if lines.next().is_some() { lines.rest() } else { &[] };
    Packets::new(rest)
}

fn has_kexinit(bytes: &[u8]) -> bool {
    packets(bytes).next().is_some_and(|p| KexInit::read(p).is_some())
}

/// Who serves, by the key exchange: clients send even messages of 30–34, servers odd ones (RFC 4253 section 8,
/// RFC 4419 section 5, RFC 5656 section 7.1).
fn role(opening: &Opening<'_>) -> Option<Side> {
    opening.sides().into_iter().find_map(|(side, bytes)| {
        packets(bytes).find_map(|packet| match packet.first() {
            Some(30 | 32 | 34) => Some(side.other()),
            Some(31 | 33) => Some(side),
            _ => None,
        })
    })
}

/// K_S of KEXDH_REPLY, KEX_ECDH_REPLY (31) or KEX_DH_GEX_REPLY (33). A GEX group (31 too) begins with a number, not
/// with a key's name.
fn packet_host_key(packet: &[u8]) -> Option<&[u8]> {
    let [31 | 33, rest @ ..] = packet else { return None };
    let key = string(&mut Reader::new(rest))?;
    let name = string(&mut Reader::new(key))?;
    (name.starts_with(b"ssh-") || name.starts_with(b"ecdsa-") || name.starts_with(b"sk-") || name.starts_with(b"rsa-"))
        .then_some(key)
}

/// `SSH-2.0-OpenSSH_9.2p1 Debian-2` is `2.0`, `OpenSSH_9.2p1 Debian-2`.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let rest = line.get(4..).unwrap_or_default();
    let dash = rest.iter().position(|b| *b == b'-').unwrap_or(rest.len());
    (rest.get(..dash).unwrap_or_default(), rest.get(dash + 1..).unwrap_or_default())
}

/// `OpenSSH_9.2p1` is OpenSSH, 9.2p1; `Cisco-1.25`, `libssh_0.9.6`, `dropbear_2022.83` likewise.
fn product(software: &[u8]) -> (&[u8], Option<&[u8]>) {
    let cut = software
        .windows(2)
        .position(|pair| matches!(pair, [b'_' | b'-' | b'/', d] if d.is_ascii_digit()))
        .or_else(|| software.iter().position(|b| *b == b'_'));
    match cut {
        Some(at) => (software.get(..at).unwrap_or_default(), software.get(at + 1..)),
        None => (software, None),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, midstream, probed, tcp};
    use crate::app::ssh_kex::tests::{kexinit, packet};

    pub(in crate::app) fn client() -> Vec<u8> {
        let mut out = b"SSH-2.0-OpenSSH_8.9p1 Ubuntu-3\r\n".to_vec();
        out.extend(kexinit());
        out.extend(packet(&[30, 0, 0, 0, 1, 7]));
        out
    }

    pub(in crate::app) fn server() -> Vec<u8> {
        let mut out = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u2\r\n".to_vec();
        out.extend(kexinit());
        let key = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x02hi";
        let mut reply = vec![31, 0, 0, 0, key.len() as u8];
        reply.extend(key);
        out.extend(packet(&reply));
        out
    }

    #[test]
    fn the_servers_line_is_a_proof() {
        let proved = Probe::Certain(Some(Side::Resp));
        assert_eq!(probed(&Ssh, tcp(b"", b"SSH-2.0-OpenSSH_9.2p1\r\n")), proved);
        assert_eq!(probed(&Ssh, tcp(b"SSH-2.0-Go\r\n", b"SSH-1.99-Cisco-1.25\n")), proved);
    }

    #[test]
    fn the_clients_line_alone_is_none_but_with_kexinit_it_is() {
        assert_eq!(probed(&Ssh, tcp(b"SSH-2.0-Go\r\n", b"")), Probe::Unsure);
        assert_eq!(probed(&Ssh, tcp(b"SSH-2.0-Go\r\n", b"HTTP/1.1 400 Bad Request\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Ssh, tcp(&client(), b"")), Probe::Certain(Some(Side::Resp)));
    }

    #[test]
    fn near_misses_are_not_ssh() {
        for near in [&b"SSH-9.9-x\r\n"[..], b"SSH: refused\r\n", b"SSH-2.0-\x00\x01\r\n", b"SSl"] {
            assert_eq!(probed(&Ssh, tcp(b"", near)), Probe::NotForUs, "{}", near.escape_ascii());
        }
    }

    #[test]
    fn in_mid_connection_the_key_exchange_tells_who_serves() {
        let (client, server) = (client(), server());
        assert_eq!(probed(&Ssh, midstream(&server, &client)), Probe::Certain(Some(Side::Orig)));
        assert_eq!(probed(&Ssh, midstream(b"SSH-2.0-a\r\n", b"SSH-2.0-b\r\n")), Probe::Certain(None));
    }

    #[test]
    fn product_fingerprints_and_host_key_are_described() {
        let (info, whole) = described(&Ssh, tcp(&client(), &server()));
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("OpenSSH"), Some("9.2p1")));
        assert_eq!(info.get("client_software"), Some("OpenSSH_8.9p1"));
        assert_eq!(info.get("host_key_type"), Some("ssh-ed25519"));
        assert!(info.get("hassh").is_some() && info.get("hassh_server").is_some());
        assert!(info.get("host_key").is_some_and(|k| k.starts_with("SHA256:")));
        assert_eq!(whole, Described::Whole);
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Ssh, tcp(&client(), &server()));
    }
}
