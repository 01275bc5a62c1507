//! Remote access: the protocols and ports by which one takes over a machine, and what is usual on a port.
//! Short on purpose: a longer list makes more of a finding urgent and less of it true.

use crate::model::Transport;

/// Application (as the payload proved it) and its usual TCP ports.
const PROTOCOLS: &[(&str, &[u16])] = &[
    ("ssh", &[22]),
    ("telnet", &[23]),
    ("smb", &[139, 445]),
    ("rdp", &[3389]),
    ("rfb", &[5900, 5901, 5902]),
    ("shell", &[]),
];

/// WinRM speaks HTTP or TLS, so that only its ports tell.
const WINRM_PORTS: &[u16] = &[5985, 5986];

/// What is usual on ports that others also use to hide.
const USUAL: &[(u16, &[&str])] = &[
    (21, &["ftp"]),
    (25, &["smtp"]),
    (53, &["dns"]),
    (80, &["http", "http2", "websocket"]),
    (88, &["krb5"]),
    (110, &["pop3"]),
    (143, &["imap"]),
    (389, &["ldap", "tls"]),
    (443, &["tls", "http", "http2", "quic", "websocket"]),
    (3306, &["mysql", "tls"]),
    (3389, &["rdp", "tls"]),
    (5432, &["pgsql", "tls"]),
    (6379, &["redis", "tls"]),
];

/// Is this application one that gives control of the machine?
pub fn is_protocol(app: &str) -> bool {
    PROTOCOLS.iter().any(|(name, _)| *name == app)
}

/// Remote access by its port (TCP), or by what the payload proved.
pub fn is_remote_access(transport: Transport, port: u16, app: Option<&str>) -> bool {
    match app {
        Some(app) if is_protocol(app) => true,
        // Another protocol was proved on the port: then the port alone says nothing, save where WinRM hides in it.
        Some(_) => transport == Transport::Tcp && WINRM_PORTS.contains(&port),
        None => {
            transport == Transport::Tcp
                && (WINRM_PORTS.contains(&port) || PROTOCOLS.iter().any(|(_, ports)| ports.contains(&port)))
        }
    }
}

/// Does the proved application contradict the port (ATT&CK T1571)? Remote access off its own ports, or anything
/// else on a port with a usual application. HTTP on 8080 is nobody's mismatch.
pub fn mismatch(transport: Transport, port: u16, app: &str) -> bool {
    if transport != Transport::Tcp {
        return false;
    }
    // A shell is nowhere at home, which says less than that it is one.
    if app == "shell" {
        return false;
    }
    let own = PROTOCOLS.iter().find(|(name, _)| *name == app).map(|(_, ports)| *ports);
    let usual = USUAL.iter().find(|(p, _)| *p == port).map(|(_, apps)| *apps).or_else(|| {
        let (index, _) = PROTOCOLS.iter().enumerate().find(|(_, (_, ports))| ports.contains(&port))?;
        PROTOCOLS.get(index).map(|(name, _)| std::slice::from_ref(name))
    });
    own.is_some_and(|ports| !ports.contains(&port)) || (own.is_none() && usual.is_some_and(|apps| !apps.contains(&app)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_on_a_web_port_is_a_mismatch_and_http_on_8080_is_not() {
        assert!(mismatch(Transport::Tcp, 443, "ssh"));
        assert!(mismatch(Transport::Tcp, 4_444, "ssh"));
        assert!(mismatch(Transport::Tcp, 22, "http"));
        assert!(!mismatch(Transport::Tcp, 22, "ssh"));
        assert!(!mismatch(Transport::Tcp, 8_080, "http"));
        assert!(!mismatch(Transport::Tcp, 443, "tls"));
    }

    #[test]
    fn a_port_counts_as_remote_access_until_the_payload_says_otherwise() {
        assert!(is_remote_access(Transport::Tcp, 3_389, None));
        assert!(is_remote_access(Transport::Tcp, 4_444, Some("ssh")));
        assert!(is_remote_access(Transport::Tcp, 5_985, Some("http")));
        assert!(!is_remote_access(Transport::Tcp, 22, Some("http")));
        assert!(!is_remote_access(Transport::Tcp, 8_080, Some("http")));
        assert!(!is_remote_access(Transport::Udp, 22, None));
    }
}
