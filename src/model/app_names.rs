//! The names of application protocols, what else people call them, and which were never measured on real traffic.
//!
//! One list for everything a user writes and reads: the roster of `app` and docs/protocols.md are held to it by tests.
//! What is not on it is an error with a suggestion, never a name that matches nothing.

use std::borrow::Cow;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::app::{AppInfo, AppProto};

/// A name, its synonyms, and whether a capture of a real server stands behind its recogniser.
pub struct AppName {
    pub name: &'static str,
    /// The same protocol by another name; never a port's or a product's that is not the protocol's own.
    pub aliases: &'static [&'static str],
    pub measured: bool,
}

const fn measured(name: &'static str, aliases: &'static [&'static str]) -> AppName {
    AppName { name, aliases, measured: true }
}

const fn unmeasured(name: &'static str, aliases: &'static [&'static str]) -> AppName {
    AppName { name, aliases, measured: false }
}

/// In order of name.
pub static APP_NAMES: &[AppName] = &[
    measured("afp", &[]),
    measured("ajp", &[]),
    measured("alicloud", &[]),
    measured("amqp", &[]),
    measured("bacnet", &[]),
    unmeasured("bgp", &[]),
    unmeasured("bitcoin", &[]),
    measured("bittorrent", &[]),
    measured("bittorrent-dht", &[]),
    measured("cassandra", &["cql"]),
    unmeasured("ceph", &[]),
    measured("checkmk", &["check_mk"]),
    unmeasured("citrix", &["ica", "cgp"]),
    measured("clickhouse", &[]),
    measured("coap", &[]),
    unmeasured("collectd", &[]),
    measured("dcerpc", &["msrpc"]),
    measured("dhcp", &["bootp"]),
    measured("dhcpv6", &[]),
    measured("diameter", &[]),
    measured("dicom", &[]),
    measured("dnp3", &[]),
    measured("dns", &[]),
    measured("drda", &["db2", "derby"]),
    unmeasured("enip", &["cip"]),
    measured("epmd", &[]),
    measured("erlang", &[]),
    measured("fastcgi", &[]),
    unmeasured("firebird", &["interbase"]),
    measured("ftp", &["ftp_control"]),
    measured("ftp-data", &["ftp_data"]),
    measured("git", &[]),
    measured("glusterfs", &["gluster"]),
    unmeasured("gtp_c", &["gtp-c"]),
    unmeasured("h323", &["h.323", "h.225"]),
    measured("hl7", &["mllp"]),
    measured("http", &[]),
    measured("http2", &["h2c"]),
    measured("iec60870", &["iec104", "iec-104"]),
    measured("ike", &["isakmp", "ikev2"]),
    measured("imap", &[]),
    measured("ipfix", &[]),
    measured("irc", &[]),
    measured("iscsi", &[]),
    measured("jabber", &["xmpp"]),
    unmeasured("java-rmi", &["rmi", "jrmp"]),
    unmeasured("jdwp", &[]),
    unmeasured("kafka", &[]),
    measured("krb5", &["kerberos"]),
    unmeasured("l2tp", &[]),
    measured("ldap", &["cldap"]),
    measured("ldp", &[]),
    measured("llmnr", &[]),
    unmeasured("lotusnotes", &["notes", "nrpc", "domino"]),
    unmeasured("lpd", &[]),
    unmeasured("managesieve", &["sieve"]),
    measured("mdns", &[]),
    measured("memcached", &["memcache"]),
    unmeasured("mgcp", &[]),
    unmeasured("mining", &["stratum"]),
    measured("modbus", &[]),
    measured("mongodb", &["mongo"]),
    measured("mqtt", &[]),
    unmeasured("msdo", &["delivery-optimization"]),
    measured("mssql-tds", &["mssql", "tds"]),
    unmeasured("munin", &[]),
    measured("mysql", &["mariadb"]),
    measured("nats", &[]),
    measured("nbd", &[]),
    unmeasured("ndmp", &[]),
    measured("netbios", &["nbns"]),
    measured("netflow", &[]),
    measured("nfs", &[]),
    measured("nrpe", &["nagios"]),
    measured("ntp", &[]),
    measured("opc-ua", &["opcua"]),
    measured("openflow", &[]),
    measured("openvpn", &[]),
    measured("oracle", &["tns"]),
    measured("pgsql", &["postgresql", "postgres"]),
    measured("pop3", &[]),
    measured("portmap", &["rpcbind", "portmapper"]),
    unmeasured("pptp", &[]),
    measured("quic", &[]),
    measured("radius", &[]),
    measured("rdp", &[]),
    measured("rdpudp", &[]),
    measured("redis", &["valkey"]),
    measured("rfb", &["vnc"]),
    measured("rlogin", &[]),
    measured("rmcp", &["ipmi", "asf"]),
    measured("rpc", &["oncrpc", "sunrpc"]),
    measured("rsh", &["rcmd"]),
    measured("rsync", &[]),
    measured("rtcp", &[]),
    measured("rtmp", &[]),
    measured("rtp", &[]),
    measured("rtsp", &[]),
    measured("s7comm", &[]),
    unmeasured("s7commplus", &["s7comm-plus"]),
    unmeasured("sap", &[]),
    measured("service_location_protocol", &["slp", "srvloc"]),
    measured("sflow", &[]),
    unmeasured("shell", &[]),
    measured("sip", &[]),
    measured("smb", &["cifs"]),
    unmeasured("smb-direct", &["smbdirect"]),
    unmeasured("smpp", &[]),
    measured("smtp", &[]),
    measured("snmp", &[]),
    measured("socks", &[]),
    unmeasured("spice", &[]),
    measured("ssdp", &["upnp"]),
    measured("ssh", &[]),
    measured("stun", &["turn"]),
    measured("svn", &["subversion"]),
    measured("syslog", &[]),
    unmeasured("tacacs_plus", &["tacacs+", "tacacs"]),
    unmeasured("teamviewer", &[]),
    measured("telnet", &[]),
    measured("tftp", &[]),
    measured("tls", &["ssl"]),
    measured("usenet", &["nntp"]),
    unmeasured("vmware", &["authd"]),
    unmeasured("whois-das", &["whois"]),
    unmeasured("wireguard", &[]),
    measured("wsd", &["ws-discovery"]),
    measured("x11", &[]),
    measured("xdmcp", &[]),
    measured("zabbix", &[]),
    measured("zookeeper", &[]),
];

/// A longer word is no slip of the finger.
const MEANT_BYTES_MAX: usize = 40;

impl AppProto {
    /// The application that a user named, by its name or by another that it goes by; capitals do not matter.
    ///
    /// # Errors
    /// There is none of that name: what is near it, where something is.
    pub fn named(text: &str) -> Result<AppProto, String> {
        let wanted = text.trim().to_ascii_lowercase();
        let same = |known: &&AppName| known.name == wanted || known.aliases.contains(&wanted.as_str());
        if let Some(known) = APP_NAMES.iter().find(same) {
            return Ok(AppProto(Cow::Borrowed(known.name)));
        }
        let shown = AppInfo::clean(text.as_bytes());
        let words = APP_NAMES.iter().flat_map(|known| known.aliases.iter().chain([&known.name]));
        let near = words.map(|word| (strsim::damerau_levenshtein(&wanted, word), *word)).min();
        // A third of its letters may differ, as in keys of the configuration.
        match near
            .filter(|(distance, word)| wanted.len() <= MEANT_BYTES_MAX && distance * 3 <= word.chars().count().max(3))
        {
            Some((_, near)) => Err(format!("unknown application `{shown}`: did you mean `{near}`?")),
            None => Err(format!("unknown application `{shown}`: docs/protocols.md lists the names")),
        }
    }

    /// Does a capture of a real server stand behind its recogniser?
    pub fn is_measured(&self) -> bool {
        let found = APP_NAMES.binary_search_by(|known| known.name.cmp(self.as_str()));
        found.ok().and_then(|at| APP_NAMES.get(at)).is_some_and(|known| known.measured)
    }

    /// How sure it is that a service is what it is told to be, 0..=1, on the scale of a service's own confidence: 0.99
    /// is certain; 0.9 where its recogniser follows a description and was never measured on a real server.
    pub fn confidence(&self) -> f64 {
        if self.is_measured() { 0.99 } else { 0.9 }
    }
}

/// A list of applications in a configuration.
pub fn app_names<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<AppProto>, D::Error> {
    struct Named(AppProto);

    impl<'de> Deserialize<'de> for Named {
        fn deserialize<D: Deserializer<'de>>(word: D) -> Result<Self, D::Error> {
            let word = String::deserialize(word)?;
            AppProto::named(&word).map(Named).map_err(D::Error::custom)
        }
    }

    Ok(Vec::<Named>::deserialize(list)?.into_iter().map(|named| named.0).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_word_names_two_and_the_list_is_in_order() {
        assert!(APP_NAMES.is_sorted_by(|a, b| a.name < b.name));
        let mut words = BTreeSet::new();
        for known in APP_NAMES {
            for word in known.aliases.iter().chain([&known.name]) {
                assert!(words.insert(*word), "{word} twice");
                assert_eq!(*word, word.to_ascii_lowercase());
                assert_eq!(AppProto::named(word), Ok(AppProto::new(known.name)));
            }
        }
    }

    #[test]
    fn synonyms_are_one_application_in_any_capitals() {
        for (said, meant) in [
            ("postgresql", "pgsql"),
            ("Kerberos", "krb5"),
            ("VNC", "rfb"),
            ("msrpc", "dcerpc"),
            (" mssql ", "mssql-tds"),
        ] {
            assert_eq!(AppProto::named(said), Ok(AppProto::new(meant)));
        }
    }

    #[test]
    fn a_name_that_is_none_is_an_error_with_what_is_near() {
        let error = |text: &str| AppProto::named(text).unwrap_err();
        assert_eq!(error("kerberso"), "unknown application `kerberso`: did you mean `kerberos`?");
        assert_eq!(error("pgsl"), "unknown application `pgsl`: did you mean `pgsql`?");
        // HTTP over TLS is not TLS: what it is said to be must be what is told.
        for none in ["https", "whatever-this-is", "", &"x".repeat(10_000), "\u{1b}[31m"] {
            assert!(!error(none).contains('\u{1b}'));
        }
        assert!(error("whatever-this-is").ends_with("docs/protocols.md lists the names"));
    }

    #[test]
    fn only_what_was_measured_is_certain() {
        assert!(AppProto::new("ssh").confidence() > 0.98);
        for unmeasured in APP_NAMES.iter().filter(|known| !known.measured) {
            assert!(AppProto::new(unmeasured.name).confidence() < 0.98, "{}", unmeasured.name);
        }
        // What an older state calls by a name that is none now.
        assert!(!AppProto(Cow::Borrowed("gopher")).is_measured());
    }
}
