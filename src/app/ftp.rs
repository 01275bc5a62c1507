//! FTP (RFC 959): the server's 220 with the word FTP, or with a client that sends a command which SMTP has not.
//!
//! The description is of the opening; [`ftp_data`](super::ftp_data) reads the control connection on.

use super::ftp_data::Control;
use super::greeting::{describe_product, greeting, reply, says};
use super::line::{Lines, is_one_of, word};
use super::{Described, Follow, OPENING_BYTES_MAX, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Ftp;

const COMMANDS: [&str; 24] = [
    "USER", "PASS", "AUTH", "FEAT", "SYST", "OPTS", "PASV", "EPSV", "PORT", "EPRT", "TYPE", "CWD", "PWD", "XPWD",
    "LIST", "NLST", "RETR", "STOR", "SIZE", "MDTM", "CLNT", "HOST", "PBSZ", "ACCT",
];
const PRODUCTS: [&str; 16] = [
    "vsFTPd",
    "ProFTPD",
    "Pure-FTPd",
    "FileZilla Server",
    "Microsoft FTP Service",
    "wu-",
    "Serv-U",
    "bftpd",
    "glFTPd",
    "pyftpdlib",
    "CrushFTP",
    "Titan FTP",
    "WS_FTP",
    "Twisted",
    "FTPD",
    "tnftpd",
];

impl Protocol for Ftp {
    fn name(&self) -> &'static str {
        "ftp"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        let greeting = match greeting(opening, b"220", &COMMANDS) {
            Ok(greeting) => greeting,
            Err(probe) => return probe,
        };
        let mut welcomes = 0;
        let mut named = false;
        for (_, text) in greeting.answers().map_while(reply).filter(|(code, _)| *code == b"220") {
            if says(text, "smtp") || says(text, "lmtp") {
                return Probe::NotForUs;
            }
            welcomes += 1;
            named |= says(text, "ftp");
        }
        if welcomes == 0 {
            return Probe::NotForUs;
        }
        match greeting.commands(&COMMANDS) {
            Ok(()) => Probe::Certain(Some(greeting.server)),
            Err(_) if named => Probe::Certain(Some(greeting.server)),
            Err(probe) => probe,
        }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let server = info.server.unwrap_or(Side::Resp);
        let answer = opening.side(server);
        for (_, text) in Lines::new(answer).map_while(reply).filter(|(code, _)| *code == b"220").take(4) {
            if info.get("banner").is_none() {
                info.detail("banner", text);
            }
            if info.product.is_none() {
                describe_product(text, &PRODUCTS, info);
            }
        }
        let mut past_hello = false;
        for line in Lines::new(opening.side(server.other())).take(8) {
            if is_one_of(word(line), &["AUTH"]) {
                info.detail("starttls", "used");
            }
            past_hello |= is_one_of(word(line), &["USER", "AUTH", "QUIT"]);
        }
        if past_hello || answer.len() >= OPENING_BYTES_MAX { Described::Whole } else { Described::Partly }
    }

    fn follow(&self) -> Option<Box<dyn Follow>> {
        Some(Box::<Control>::default())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::exam::{self, described, probed, tcp};

    pub(in crate::app) const SERVER: &[u8] = b"220 (vsFTPd 3.0.3)\r\n331 Please specify the password.\r\n";
    pub(in crate::app) const CLIENT: &[u8] = b"USER anonymous\r\nPASS hunter2\r\n";

    #[test]
    fn the_word_ftp_or_a_command_of_ftp_is_a_proof() {
        let proved = Probe::Certain(Some(Side::Resp));
        assert_eq!(probed(&Ftp, tcp(b"", b"220 (vsFTPd 3.0.3)\r\n")), proved);
        assert_eq!(probed(&Ftp, tcp(b"USER bob\r\n", b"220 box.lab.example ready\r\n")), proved);
        assert_eq!(probed(&Ftp, tcp(b"NOOP\r\nFEAT\r\n", b"220-Welcome\r\n220 to the box\r\n")), proved);
    }

    #[test]
    fn near_misses_are_not_ftp() {
        assert_eq!(probed(&Ftp, tcp(b"USER bob\r\n", b"220 mx ESMTP\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Ftp, tcp(b"USER bob\r\n", b"+OK POP3\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Ftp, tcp(b"USER bob 0 * :x\r\n", b":irc.lab NOTICE *\r\n")), Probe::NotForUs);
        assert_eq!(probed(&Ftp, tcp(b"", b"220 box.lab.example ready\r\n")), Probe::Unsure);
        assert_eq!(probed(&Ftp, tcp(b"USER bob\r\n", b"")), Probe::Unsure);
        assert_eq!(probed(&Ftp, tcp(b"\x00\x01", b"")), Probe::NotForUs);
    }

    #[test]
    fn the_product_is_described_and_no_secret_is() {
        let (info, whole) = described(&Ftp, tcp(CLIENT, SERVER));
        assert_eq!((info.product.as_deref(), info.version.as_deref()), (Some("vsFTPd"), Some("3.0.3")));
        assert_eq!(whole, Described::Whole);
        assert!(!format!("{info:?}").contains("hunter2"));
    }

    #[test]
    fn every_cut_is_survived() {
        exam::every_cut(&Ftp, tcp(CLIENT, SERVER).served_first());
    }
}
