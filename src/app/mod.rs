//! Application protocols, proved by payload: one file each, one line each in the roster below.
//!
//! A flow keeps the first bytes of each direction (its [`Opening`]) until a protocol is certain and has described
//! itself, or all have declined, or the bound is reached; then they are freed. What must be read afterwards
//! (FTP's PASV, SIP's SDP…) is a [`Follow`].

mod afp;
mod ajp;
mod alicloud;
mod amqp;
mod bacnet;
mod banner;
mod ber;
mod bgp;
mod bitcoin;
mod bittorrent;
mod cassandra;
mod ceph;
mod citrix;
mod clickhouse;
mod client_id;
mod coap;
mod collectd;
mod dcerpc;
mod defined;
mod definition;
mod dhcp;
mod dhcpv6;
mod diameter;
mod dicom;
mod digest;
mod dnp3;
mod dns;
mod drda;
mod enip;
mod erlang;
mod evidence;
#[cfg(test)]
mod exam;
#[cfg(test)]
mod examples;
mod fastcgi;
mod firebird;
mod flow_export;
mod framed;
mod ftp;
mod ftp_data;
mod git;
mod greeting;
mod gtp;
mod h323_media;
mod hl7;
mod http;
mod http2;
mod http_application;
mod iec104;
mod ike;
mod imap;
mod irc;
mod iscsi;
mod ja3;
mod ja4;
mod jabber;
mod java;
mod kafka;
mod krb5;
mod l2tp;
mod ldap;
mod ldp;
mod line;
mod lpd;
mod memcached;
mod mgcp;
mod mining;
mod modbus;
mod mongodb;
mod mqtt;
mod msdo;
mod mysql;
mod nats;
mod nbd;
mod ndmp;
mod netbios;
mod nfs_export;
mod nntp;
mod notes;
mod nrpe;
mod ntlm;
mod ntp;
mod opcua;
mod openflow;
mod opening;
mod openvpn;
mod oracle;
mod own_names;
mod pgsql;
mod pop3;
mod pptp;
mod quic;
mod radius;
mod rdp;
mod rdpudp;
mod reader;
mod reading;
mod recognise;
mod redis;
mod rfb;
mod rmcp;
mod roster_index;
mod rpc;
mod rsh;
mod rsync;
mod rtcp;
mod rtmp;
mod rtp;
mod rtsp;
mod rtsp_media;
mod sap;
mod sdp;
mod shell;
mod sip;
mod slp;
mod smb;
mod smb_direct;
mod smb_share;
mod smpp;
mod smtp;
mod snmp;
mod socks;
mod spice;
mod ssdp;
mod ssh;
mod ssh_kex;
mod stun;
mod svn;
mod syslog;
mod tacacs;
mod tds;
mod teamviewer;
mod telnet;
mod tftp;
mod tls;
mod tls_certificate;
mod tls_hello;
mod tor;
mod tpkt;
mod whois;
mod wireguard;
mod wsd;
mod x11;
mod xdmcp;
mod zabbix;
mod zookeeper;

pub use definition::{DEFINITIONS_MAX, Definition, DefinitionError, Definitions, Pattern};
pub use opening::{OPENING_BYTES_MAX, Opening};
pub use recognise::{AppCounters, AppState, Heard};

use crate::model::{AppInfo, Expectation, Side, Transport};

/// What a protocol says of an opening. `Certain` only where the bytes prove it: a near miss must be `NotForUs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Proved; and which side serves, where the bytes tell.
    Certain(Option<Side>),
    /// It may be, with more bytes. Never returned for an opening that has already decided against it.
    Unsure,
    NotForUs,
}

/// Whether a description is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Described {
    /// Nothing more will be learnt from the opening.
    Whole,
    /// More bytes would tell more (a certificate, a server banner).
    Partly,
}

/// One application protocol. Stateless: it reads the same opening again as it grows, so it must be cheap to say no.
pub trait Protocol: Sync {
    /// Suricata 7's name, else nDPI's in lower case.
    fn name(&self) -> &'static str;
    fn runs_over(&self, transport: Transport) -> bool;
    /// May a datagram of it begin with this byte? One that does not is never shown to it. (Of streams the index of
    /// the roster learns it by asking `probe` about single bytes: say `NotForUs` as early as that where it is so.)
    fn datagram_begins(&self, _first: u8) -> bool {
        true
    }
    fn probe(&self, opening: &Opening<'_>) -> Probe;
    /// Fills in product, version, details. Called after `Certain`, again as the opening grows, until `Whole`.
    fn describe(&self, _opening: &Opening<'_>, _info: &mut AppInfo) -> Described {
        Described::Whole
    }
    /// A reader of everything after recognition (the opening is replayed to it first).
    fn follow(&self) -> Option<Box<dyn Follow>> {
        None
    }
}

/// Reads on after recognition. Bounded state: at most a few hundred bytes of carry-over.
pub trait Follow: Send {
    /// In-order bytes of one direction (TCP), or one datagram (UDP). `flow` gives the addresses.
    fn data(&mut self, side: Side, bytes: &[u8], flow: &Ends, out: &mut FollowOut);
    /// Bytes of this direction are missing: an unfinished message of it is to be forgotten.
    fn gap(&mut self, _side: Side) {}
    /// True when nothing further is of interest; the follower is then dropped and reassembly may stop.
    fn done(&self) -> bool {
        false
    }
}

/// The two ends of the flow that is followed.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub orig: (std::net::IpAddr, u16),
    pub resp: (std::net::IpAddr, u16),
    pub transport: Transport,
}

/// What a follower learned.
#[derive(Debug, Default)]
pub struct FollowOut {
    pub expect: Vec<Expectation>,
    /// Addresses a DHCP server gave away.
    pub leased: Vec<Lease>,
    /// What a host calls itself.
    pub names: Vec<crate::model::HeardName>,
    /// Details to add to the flow's application; told again to the fact side.
    pub details: Vec<(&'static str, String)>,
}

/// An address that a DHCP server gave to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub mac: crate::model::Mac,
    pub ip: std::net::IpAddr,
    /// Host name of the client.
    pub name: Option<String>,
    /// What it calls itself to its servers, written as `client_id.rs` does.
    pub client_id: Option<String>,
}

/// Every protocol, in the order they are asked. The strict come before the lax.
pub(crate) static ROSTER: &[&dyn Protocol] = &[
    &tls::Tls,
    &http::Http,
    &ssh::Ssh,
    &smtp::Smtp,
    &ftp::Ftp,
    &pop3::Pop3,
    &imap::Imap,
    &rdp::Rdp,
    &rfb::Rfb,
    &ldap::Ldap,
    &krb5::Krb5,
    &sip::Sip,
    &telnet::Telnet,
    &socks::Socks,
    &quic::Quic,
    &ike::Ike,
    &smb::Smb,
    &dcerpc::Dcerpc,
    &netbios::Netbios,
    &dns::Dns::DNS,
    &dns::Dns::MDNS,
    &dns::Dns::LLMNR,
    &dhcp::Dhcp,
    &dhcpv6::Dhcpv6,
    &snmp::Snmp,
    &tftp::Tftp,
    &ntp::Ntp,
    &rpc::Rpc::NFS,
    &rpc::Rpc::PORTMAP,
    &rpc::Rpc::OTHER,
    &mysql::Mysql,
    &pgsql::Pgsql,
    &tds::Tds,
    &mongodb::Mongodb,
    &redis::Redis,
    &memcached::Memcached,
    &syslog::Syslog,
    &http2::Http2,
    &mqtt::Mqtt,
    &amqp::Amqp,
    &nats::Nats,
    &kafka::Kafka,
    &zookeeper::Zookeeper,
    &cassandra::Cassandra,
    &clickhouse::Clickhouse,
    &oracle::Oracle,
    &drda::Drda,
    &iscsi::Iscsi,
    &nbd::Nbd,
    &ceph::Ceph,
    &rpc::Rpc::GLUSTER,
    &rsync::Rsync,
    &smb_direct::SmbDirect,
    &rtmp::Rtmp,
    &rtsp::Rtsp,
    &jabber::Jabber,
    &irc::Irc,
    &mining::Mining,
    &git::Git,
    &svn::Svn,
    &lpd::Lpd,
    &bitcoin::Bitcoin,
    &bittorrent::Bittorrent,
    &bittorrent::BittorrentDht,
    &msdo::MsDo,
    // infrastructure, industry, remote, voice
    &modbus::Modbus,
    &dnp3::Dnp3,
    &iec104::Iec104,
    &tpkt::OverTpkt::S7COMM,
    &tpkt::OverTpkt::S7COMM_PLUS,
    &tpkt::OverTpkt::H323,
    &enip::Enip,
    &bacnet::Bacnet,
    &rmcp::Rmcp,
    &radius::Radius,
    &tacacs::Tacacs,
    &openvpn::Openvpn,
    &wireguard::Wireguard,
    &l2tp::L2tp,
    &stun::Stun,
    &mgcp::Mgcp,
    &coap::Coap,
    &ssdp::Ssdp,
    &wsd::Wsd,
    &flow_export::FlowExport::NETFLOW,
    &flow_export::FlowExport::IPFIX,
    &flow_export::FlowExport::SFLOW,
    &collectd::Collectd,
    &gtp::GtpC,
    &diameter::Diameter,
    &xdmcp::Xdmcp,
    &slp::Slp,
    &rtcp::Rtcp,
    &rtp::Rtp,
    &bgp::Bgp,
    &ldp::Ldp,
    &nntp::Nntp,
    &banner::Banner::MANAGESIEVE,
    &banner::Banner::VMWARE,
    &banner::Banner::MUNIN,
    &banner::Banner::CHECKMK,
    &whois::Whois,
    &zabbix::Zabbix,
    &nrpe::Nrpe,
    &ajp::Ajp,
    &java::Rmi,
    &java::Jdwp,
    &erlang::Epmd,
    &erlang::Distribution,
    &afp::Afp,
    &ndmp::Ndmp,
    &dicom::Dicom,
    &hl7::Hl7,
    &firebird::Firebird,
    &smpp::Smpp,
    &x11::X11,
    &spice::Spice,
    &rsh::RCommand::RSH,
    &rsh::RCommand::RLOGIN,
    &citrix::Citrix,
    &sap::Sap,
    &notes::Nrpc,
    &teamviewer::Teamviewer,
    &rdpudp::Rdpudp,
    &openflow::Openflow,
    &fastcgi::Fastcgi,
    &pptp::Pptp,
    &opcua::OpcUa,
    &alicloud::Alicloud,
    &shell::Shell,
];
