//! Services that name themselves in the first bytes that the server sends: ManageSieve, VMware's authentication
//! daemon, munin and Checkmk.
//!
//! The server's first line proves it; a client that speaks before it is none of theirs. The line is within 512 bytes.

use super::line::{LINE_BYTES_MAX, Lines, find};
use super::reading::begins;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Side, Transport};

pub(super) struct Banner {
    name: &'static str,
    prefix: &'static [u8],
    describe: fn(&[u8], &mut AppInfo),
    /// Until this was said, more may be told.
    end: &'static [u8],
}

impl Banner {
    /// RFC 5804 section 1.7: capabilities, the implementation's name among them, quoted.
    pub(super) const MANAGESIEVE: Banner =
        Banner { name: "managesieve", prefix: b"\"IMPLEMENTATION\" \"", describe: managesieve, end: b"\nOK" };
    pub(super) const VMWARE: Banner =
        Banner { name: "vmware", prefix: b"220 VMware Authentication Daemon Version ", describe: vmware, end: b"\n" };
    pub(super) const MUNIN: Banner = Banner { name: "munin", prefix: b"# munin node at ", describe: munin, end: b"\n" };
    pub(super) const CHECKMK: Banner =
        Banner { name: "checkmk", prefix: b"<<<check_mk>>>", describe: checkmk, end: b"\n<<<" };
}

impl Protocol for Banner {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        // These clients wait to be greeted.
        if !opening.midstream && opening.first == Side::Orig {
            return Probe::NotForUs;
        }
        let mut short = false;
        for server in [Side::Resp, Side::Orig] {
            let said = opening.side(server);
            // In mid-connection either end may be the server.
            if said.is_empty() || (server == Side::Orig && !opening.midstream) {
                continue;
            }
            match begins(said, self.prefix) {
                Some(true) if Lines::new(said).next().is_some() => return Probe::Certain(Some(server)),
                Some(true) | None => short |= said.len() < LINE_BYTES_MAX,
                Some(false) => {}
            }
        }
        if short { Probe::Unsure } else { Probe::NotForUs }
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let said = opening.side(info.server.unwrap_or(Side::Resp));
        (self.describe)(said, info);
        if said.windows(self.end.len()).any(|w| w == self.end) { Described::Whole } else { Described::Partly }
    }
}

fn first_line<'a>(said: &'a [u8], prefix: &[u8]) -> &'a [u8] {
    Lines::new(said).next().and_then(|line| line.strip_prefix(prefix)).unwrap_or_default()
}

/// `"Dovecot Pigeonhole"`, `"Cyrus timsieved v2.4.17"`.
fn managesieve(said: &[u8], info: &mut AppInfo) {
    let name = first_line(said, Banner::MANAGESIEVE.prefix);
    let name = name.split(|b| *b == b'"').next().unwrap_or_default();
    match find(name, " v") {
        Some(at) => info.product(name.get(..at).unwrap_or_default(), name.get(at + 2..)),
        None => info.product(name, None),
    }
    info.detail("starttls", if find(said, "\"STARTTLS\"").is_some() { "yes" } else { "no" });
}

/// `1.10: SSL Required, ServerDaemonProtocol:SOAP, …`
fn vmware(said: &[u8], info: &mut AppInfo) {
    let rest = first_line(said, Banner::VMWARE.prefix);
    info.product("VMware Authentication Daemon", rest.split(|b| matches!(b, b':' | b' ' | b',')).next());
    info.detail("banner", rest);
}

fn munin(said: &[u8], info: &mut AppInfo) {
    info.product("munin-node", None);
    info.detail("host", first_line(said, Banner::MUNIN.prefix));
}

/// The agent's first section: `Version: 2.1.0p1`, `AgentOS: linux`, `Hostname: …`.
fn checkmk(said: &[u8], info: &mut AppInfo) {
    let lines = || Lines::new(said).skip(1).take(16).take_while(|line| !line.starts_with(b"<<<"));
    let value = |key: &[u8]| lines().find_map(|line| line.strip_prefix(key)).map(<[u8]>::trim_ascii);
    info.product("Checkmk agent", value(b"Version:"));
    for (name, key) in [("os", &b"AgentOS:"[..]), ("host", b"Hostname:")] {
        if let Some(text) = value(key) {
            info.detail(name, text);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask, refuses};
    use super::*;

    const SIEVE: &[u8] =
        b"\"IMPLEMENTATION\" \"Cyrus timsieved v2.4.17\"\r\n\"SASL\" \"PLAIN\"\r\n\"STARTTLS\"\r\nOK\r\n";
    const VMWARE: &[u8] = b"220 VMware Authentication Daemon Version 1.10: SSL Required, ServerDaemonProtocol:SOAP\r\n";
    const CHECKMK: &[u8] = b"<<<check_mk>>>\nVersion: 2.1.0p1\nAgentOS: linux\nHostname: db-7\n<<<df>>>\n";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("managesieve", b"", SIEVE, Some(Side::Resp)),
            Example::tcp("vmware", b"", VMWARE, Some(Side::Resp)),
            Example::tcp("munin", b"list\n", b"# munin node at db-7\n", Some(Side::Resp)).server_first(),
            Example::tcp("checkmk", b"", CHECKMK, Some(Side::Resp)),
        ]
    }

    #[test]
    fn a_banner_that_only_begins_alike_is_none_of_them() {
        let near: &[(&[u8], &[u8])] = &[
            (b"", b"\"IMPLEMENTER\" \"x\"\r\n"),
            (b"", b"220 VMware ESX ready\r\n"),
            (b"", b"# munin master\n"),
            (b"", b"<<<check_mq>>>\n"),
            (b"# munin node at db-7\n", b"SSH-2.0-x\r\n"),
        ];
        for protocol in [&Banner::MANAGESIEVE, &Banner::VMWARE, &Banner::MUNIN, &Banner::CHECKMK] {
            refuses(protocol, Transport::Tcp, near);
            // A client that says the banner serves nothing.
            assert_eq!(ask(protocol, Transport::Tcp, protocol.prefix, b""), Probe::NotForUs);
        }
    }

    #[test]
    fn products_and_versions_are_told() {
        let told: Vec<_> = [&Banner::MANAGESIEVE, &Banner::VMWARE, &Banner::MUNIN, &Banner::CHECKMK]
            .into_iter()
            .zip(examples())
            .map(|(protocol, example)| {
                let info = example.described(protocol);
                (info.product.unwrap_or_default(), info.version.unwrap_or_default())
            })
            .collect();
        let expected = [
            ("Cyrus timsieved", "2.4.17"),
            ("VMware Authentication Daemon", "1.10"),
            ("munin-node", ""),
            ("Checkmk agent", "2.1.0p1"),
        ];
        assert_eq!(told, expected.map(|(p, v)| (p.to_owned(), v.to_owned())));
    }
}
