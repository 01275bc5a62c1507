//! Flows told against nDPI's own expected results for its captures (`truth/ndpi/*.out`), flow by flow.
//!
//! Compared are the flows over TCP, UDP and SCTP whose protocol nDPI proved by payload (`Confidence: DPI`); what it
//! guessed by a port is not certain, and is counted only. Of a name like `TLS.Facebook` the master protocol is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::pipeline::{FlowEnds, Outcome, flow_ends};
use super::truth::{rows, table};

/// Flows of certain ones on which both must agree.
pub const NDPI_MIN: f64 = 0.95;

/// nDPI's name and ours. A name that stands nowhere here fails the measure; `-` are those that we do not name.
const NAMES: &[(&str, &str)] = &[
    ("AFP", "afp"),
    ("AJP", "ajp"),
    ("AliCloud", "alicloud"),
    ("CAPWAP", "-"),
    ("CHECKMK", "checkmk"),
    ("Cassandra", "cassandra"),
    ("DHCP", "dhcp"),
    ("DHCPV6", "dhcpv6"),
    ("DNP3", "dnp3"),
    ("DNS", "dns"),
    ("Diameter", "diameter"),
    ("Dropbox", "-"),
    ("FTP_CONTROL", "ftp"),
    ("FTP_DATA", "ftp-data"),
    ("FastCGI", "fastcgi"),
    ("HTTP", "http"),
    ("IEC60870", "iec60870"),
    ("IMAPS", "tls"),
    ("IPSec", "ike"),
    ("Kerberos", "krb5"),
    ("LDAP", "ldap"),
    ("LDP", "ldp"),
    ("MongoDB", "mongodb"),
    ("MsSQL-TDS", "mssql-tds"),
    ("MySQL", "mysql"),
    ("NFS", "nfs"),
    ("Nano", "-"),
    ("NetBIOS", "netbios"),
    ("NetFlow", "netflow"),
    ("OpenFlow", "openflow"),
    ("Oracle", "oracle"),
    ("POP3", "pop3"),
    ("PostgreSQL", "pgsql"),
    ("RSH", "rsh"),
    ("RSYNC", "rsync"),
    ("RTP", "rtp"),
    ("SIP", "sip"),
    ("SMBv1", "smb"),
    ("SMBv23", "smb"),
    ("SMTP", "smtp"),
    ("SSH", "ssh"),
    ("Service_Location_Protocol", "service_location_protocol"),
    ("TLS", "tls"),
    ("Telnet", "telnet"),
    ("Teredo", "-"),
    ("Usenet", "usenet"),
    ("VNC", "rfb"),
    ("XDMCP", "xdmcp"),
    ("Zabbix", "zabbix"),
    ("sFlow", "sflow"),
];

/// Whose a difference is, as the column `whose` has it: nDPI is wrong, or names otherwise what both see; we see it
/// otherwise or not at all, on purpose or for want of something.
const WHOSE: [&str; 3] = ["ndpi", "naming", "ours"];

/// One flow as nDPI has it.
#[derive(Debug, PartialEq, Eq)]
struct Flow {
    ends: FlowEnds,
    protocol: String,
    certain: bool,
}

#[derive(Default)]
pub struct Ndpi {
    /// By path; taken out when compared.
    wanted: BTreeMap<String, Vec<Flow>>,
    explained: Vec<Explained>,
    pub protocols: BTreeMap<String, Agreement>,
    pub differences: Vec<Difference>,
    pub captures: usize,
    /// Flows that nDPI guessed, and those of them that we name.
    pub guessed: (usize, usize),
    unknown: BTreeSet<String>,
}

/// Flows of one of nDPI's protocols.
#[derive(Default)]
pub struct Agreement {
    pub certain: usize,
    pub agreed: usize,
    /// By [`WHOSE`].
    pub explained: [usize; 3],
}

pub struct Difference {
    pub path: String,
    pub protocol: String,
    /// Our name, `-` for none, `no flow` where there is none of these ends.
    pub told: String,
    /// Whose, and why.
    pub explained: Option<(String, String)>,
    pub ends: Vec<FlowEnds>,
}

struct Explained {
    path: String,
    protocol: String,
    told: String,
    flows: String,
    whose: String,
    why: String,
    used: bool,
}

impl Ndpi {
    /// # Errors
    /// A file of `truth/ndpi` or the explanations cannot be read.
    pub fn load(corpus: &Path) -> Result<Self, String> {
        let mut ndpi = Ndpi::default();
        for row in rows(&corpus.join("truth/ndpi_flows.tsv"), &["path"])? {
            let path = row.into_iter().next().unwrap_or_default();
            if ndpi.wanted.contains_key(&path) {
                continue;
            }
            let name = path.rsplit('/').next().unwrap_or_default();
            let file = corpus.join(format!("truth/ndpi/{name}.out"));
            let text = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            let flows = String::from_utf8_lossy(&text).lines().filter_map(flow).collect();
            ndpi.wanted.insert(path, flows);
        }
        let columns = ["path", "protocol", "told", "flows", "whose", "why"];
        for row in table("ndpi_explained.tsv", include_str!("ndpi_explained.tsv"), &columns)? {
            let Ok([path, protocol, told, flows, whose, why]) = <[String; 6]>::try_from(row) else { continue };
            if !WHOSE.contains(&whose.as_str()) || why.is_empty() {
                return Err(format!(
                    "ndpi_explained.tsv: {path} {protocol}: `{whose}` is nobody, or no reason is given"
                ));
            }
            ndpi.explained.push(Explained { path, protocol, told, flows, whose, why, used: false });
        }
        Ok(ndpi)
    }

    /// Captures that were not compared yet.
    pub fn left(&self) -> Vec<String> {
        self.wanted.keys().cloned().collect()
    }

    pub fn compare(&mut self, path: &str, found: &Outcome) {
        let Some(flows) = self.wanted.remove(path) else { return };
        self.captures += 1;
        let mut different: BTreeMap<(String, String), Vec<FlowEnds>> = BTreeMap::new();
        for flow in flows {
            let told = found.flows.get(&flow.ends);
            let Some((_, ours)) = NAMES.iter().find(|(ndpi, _)| *ndpi == flow.protocol) else {
                self.unknown.insert(flow.protocol);
                continue;
            };
            if !flow.certain {
                self.guessed.0 += 1;
                self.guessed.1 += usize::from(told.is_some_and(|t| t.iter().any(|name| name != "-")));
                continue;
            }
            let agreement = self.protocols.entry(flow.protocol.clone()).or_default();
            agreement.certain += 1;
            if *ours != "-" && told.is_some_and(|told| told.contains(*ours)) {
                agreement.agreed += 1;
                continue;
            }
            let told = told.map_or("no flow".to_owned(), |told| told.iter().cloned().collect::<Vec<_>>().join(","));
            different.entry((flow.protocol, told)).or_default().push(flow.ends);
        }
        for ((protocol, told), ends) in different {
            let flows = ends.len();
            let fits = |e: &&mut Explained| {
                e.path == path && e.protocol == protocol && e.told == told && e.flows == flows.to_string()
            };
            let explained = self.explained.iter_mut().find(fits).map(|e| {
                e.used = true;
                (e.whose.clone(), e.why.clone())
            });
            if let Some(agreement) = self.protocols.get_mut(&protocol)
                && let Some(whose) = explained.as_ref().and_then(|(w, _)| WHOSE.iter().position(|known| known == w))
            {
                agreement.explained[whose] += flows;
            }
            self.differences.push(Difference { path: path.to_owned(), protocol, told, explained, ends });
        }
    }

    /// Certain flows, those agreed on, and those left when nDPI's errors and names are taken out.
    pub fn total(&self) -> (usize, usize, usize) {
        let sum = |of: fn(&Agreement) -> usize| self.protocols.values().map(of).sum::<usize>();
        (sum(|a| a.certain), sum(|a| a.agreed), sum(Agreement::judged))
    }

    pub fn failures(&self) -> Vec<String> {
        let mut failures: Vec<String> =
            self.unknown.iter().map(|name| format!("nDPI: no name of ours is known for its `{name}`")).collect();
        failures.extend(self.wanted.keys().map(|path| format!("nDPI: {path} was not compared")));
        let stale = self.explained.iter().filter(|e| !e.used);
        failures.extend(stale.map(|e| {
            format!("nDPI: explained, but it does not occur: {} {} {} in {} flows", e.path, e.protocol, e.told, e.flows)
        }));
        let (certain, agreed, _) = self.total();
        if (agreed as f64) < NDPI_MIN * certain as f64 || certain == 0 {
            failures.push(format!("nDPI: agreed on {agreed} of {certain} flows, not {NDPI_MIN}"));
        }
        for (name, agreement) in &self.protocols {
            if (agreement.agreed as f64) < NDPI_MIN * agreement.judged() as f64 {
                failures.push(format!("nDPI: {name}: agreed on {} of {} flows", agreement.agreed, agreement.judged()));
            }
        }
        failures
    }
}

impl Agreement {
    /// Flows that must agree: all but those where nDPI is wrong or only names otherwise, or ours that is explained.
    pub fn judged(&self) -> usize {
        self.certain - self.explained.iter().sum::<usize>()
    }

    pub fn unexplained(&self) -> usize {
        self.judged() - self.agreed
    }
}

/// Our name for one of nDPI's.
pub fn ours(protocol: &str) -> &'static str {
    NAMES.iter().find(|(ndpi, _)| *ndpi == protocol).map_or("?", |(_, ours)| ours)
}

/// `  1  TCP 10.0.0.1:1025 <-> 10.0.0.2:80 [proto: 7.119/HTTP.Facebook]…[Confidence: DPI]…`.
fn flow(line: &str) -> Option<Flow> {
    let mut words = line.split_whitespace();
    words.next()?.parse::<usize>().ok()?;
    let transport = words.next()?.to_lowercase();
    if !["tcp", "udp", "sctp"].contains(&transport.as_str()) {
        return None;
    }
    let one = words.next()?.parse().ok()?;
    words.next().filter(|arrow| ["<->", "->"].contains(arrow))?;
    let other = words.next()?.parse().ok()?;
    let (_, rest) = line.split_once("[proto: ")?;
    let (_, names) = rest.split(']').next()?.split_once('/')?;
    let protocol = names.split('.').next()?.to_owned();
    let (_, confidence) = rest.split_once("][Confidence: ")?;
    let certain = confidence.split(']').next()? == "DPI";
    (protocol != "Unknown").then(|| Flow { ends: flow_ends(transport, one, other), protocol, certain })
}

#[test]
fn lines_of_ndpi_are_read() {
    let line = "\t2\tTCP [2001:db8::1]:53234 <-> [2001:db8::2]:443 [VLAN: 2][proto: GTP:91.119/TLS.Facebook][IP: 119/Facebook][Encrypted][Confidence: DPI][FPC: 119/Facebook, Confidence: DNS]";
    let ends = |text: &str| text.parse().unwrap();
    let expected = Flow {
        ends: flow_ends("tcp".to_owned(), ends("[2001:db8::2]:443"), ends("[2001:db8::1]:53234")),
        protocol: "TLS".to_owned(),
        certain: true,
    };
    assert_eq!(flow(line), Some(expected));
    let guessed = "\t9\tUDP 10.0.0.1:53 -> 10.0.0.2:5 [proto: 5/DNS][IP: 0/Unknown][ClearText][Confidence: Match by port][FPC: 5/DNS, Confidence: DPI]";
    assert_eq!(flow(guessed).map(|f| f.certain), Some(false));
    for none in ["DNS\t289\t25588\t155", "\t1\tICMPV6 [::1]:0 <-> [::2]:0 [proto: 102/ICMPV6][Confidence: DPI]"] {
        assert_eq!(flow(none), None);
    }
}
