//! What the probe says of real servers: tests/record/record.py puts them on a wire, the command reads what was recorded.
//!
//! Needs root for its own network namespaces; `EASTWATCH_NO_NETNS=1` leaves it out where there are none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::harness::{Folder, eastwatch, ran};

/// Protocols of which the corpus has fewer than three services: their figure stands on these recordings.
const THIN: &[&str] = &[
    "imap",
    "krb5",
    "ldap",
    "memcached",
    "mongodb",
    "mssql-tds",
    "mysql",
    "nfs",
    "pgsql",
    "pop3",
    "portmap",
    "rdp",
    "redis",
    "rfb",
    "sip",
    "smtp",
    "snmp",
    "telnet",
    "tftp",
];

/// Services whose flows are named but that no list holds yet: a TFTP server answers from another port, and `inventory`
/// credits the port that was asked only by an answer from it. Strike the row when it does: the test then asks for it.
const NOT_CREDITED_YET: &[(&str, u64)] = &[];

/// A row of recorded.tsv: what a reader should say of one service.
#[derive(Debug)]
struct Expected {
    capture: String,
    ip: String,
    proto: String,
    port: u64,
    app: String,
    product: Option<String>,
    version: Option<String>,
}

#[test]
fn real_servers_are_recognised_and_nothing_beside_them_is_misnamed() {
    if std::env::var_os("EASTWATCH_NO_NETNS").is_some_and(|set| set == "1") {
        eprintln!("left out: EASTWATCH_NO_NETNS=1");
        return;
    }
    let folder = Folder::new("recorded");
    let expected = record(folder.path());
    let mut captures: BTreeMap<&str, Vec<&Expected>> = BTreeMap::new();
    let mut of_protocol: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in &expected {
        captures.entry(&row.capture).or_default().push(row);
        of_protocol.entry(&row.app).or_default().insert(&row.capture);
    }
    let thin: Vec<_> = THIN.iter().filter(|p| of_protocol.get(*p).is_none_or(|c| c.len() < 2)).collect();
    assert!(thin.is_empty(), "fewer than two captures of {thin:?}");
    let faults: Vec<String> =
        captures.iter().flat_map(|(capture, rows)| faults(&folder.file(capture), capture, rows)).collect();
    assert!(faults.is_empty(), "{} faults in {} captures:\n{}", faults.len(), captures.len(), faults.join("\n"));
}

/// Records everything and gives the table of what was recorded.
fn record(into: &Path) -> Vec<Expected> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/record/record.py");
    let recorder = ran(Command::new("/usr/bin/python3")
        .arg(script)
        .arg(into)
        .output()
        .expect("python3 is not there: sh packaging/setup.sh tests, or set EASTWATCH_NO_NETNS=1"));
    assert_eq!(
        recorder.status, 0,
        "recording needs root, network namespaces and the packages of `sh packaging/setup.sh tests`; \
         EASTWATCH_NO_NETNS=1 leaves it out:\n{}",
        recorder.stderr
    );
    let table = std::fs::read_to_string(into.join("recorded.tsv")).unwrap();
    table.lines().skip(1).map(expected).collect()
}

fn expected(line: &str) -> Expected {
    let fields: Vec<&str> = line.split('\t').collect();
    let [capture, _, _, ip, proto, port, app, product, version] = fields[..] else {
        panic!("recorded.tsv: not nine fields: {line:?}");
    };
    let told = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Expected {
        capture: capture.to_owned(),
        ip: ip.to_owned(),
        proto: proto.to_owned(),
        port: port.parse().unwrap(),
        app: app.to_owned(),
        product: told(product),
        version: told(version),
    }
}

/// Reads one capture from an empty state and compares.
fn faults(file: &Path, capture: &str, expected: &[&Expected]) -> Vec<String> {
    let state = Folder::new("recorded-state");
    let state_flag = [std::ffi::OsStr::new("--state"), state.path().as_os_str()];
    let read = eastwatch(
        ["read", "--fresh", "--quiet", "--no-progress", "--flows", "--eve", "-", "--home", "0.0.0.0/0,::/0"]
            .map(std::ffi::OsStr::new)
            .into_iter()
            .chain(state_flag)
            .chain([file.as_os_str()]),
    );
    if read.status != 0 {
        return vec![format!("{capture}: read ended with {}: {}", read.status, read.stderr)];
    }
    let listed = eastwatch(["services", "--format", "json"].map(std::ffi::OsStr::new).into_iter().chain(state_flag));
    let Ok(Value::Array(services)) = serde_json::from_str::<Value>(&listed.stdout) else {
        return vec![format!("{capture}: services printed no list: {}{}", listed.stdout, listed.stderr)];
    };
    let mut faults = Vec::new();
    for want in expected {
        let Some(found) = services.iter().find(|s| is(s, want)) else {
            if !(awaited(want) && flow_is_named(&read.stdout, want)) {
                faults.push(format!("{capture}: {} {}/{} was not found", want.ip, want.proto, want.port));
            }
            continue;
        };
        if awaited(want) {
            faults.push(format!("{capture}: {}/{} is found now: strike NOT_CREDITED_YET", want.proto, want.port));
        }
        let told = [
            ("app_proto", Some(want.app.clone())),
            ("product", want.product.clone()),
            ("version", want.version.clone()),
        ];
        for (key, want_value) in told {
            if found[key].as_str() != want_value.as_deref() {
                let place = format!("{capture}: {}/{}", want.proto, want.port);
                faults.push(format!("{place}: {key} is {}, not {want_value:?}", found[key]));
            }
        }
    }
    // Data connections and transfers have ports of their own (TFTP, a client's callback): unnamed, or by the same name.
    let names: BTreeSet<&str> = expected.iter().map(|e| e.app.as_str()).collect();
    for other in services.iter().filter(|s| !expected.iter().any(|e| is(s, e))) {
        if other["app_proto"].as_str().is_some_and(|app| !names.contains(app)) {
            faults.push(format!("{capture}: misnamed {other}"));
        }
    }
    faults
}

fn is(service: &Value, expected: &Expected) -> bool {
    service["ip"] == *expected.ip && service["proto"] == *expected.proto && service["port"] == expected.port
}

fn awaited(expected: &Expected) -> bool {
    NOT_CREDITED_YET.contains(&(expected.proto.as_str(), expected.port))
}

/// Is there a flow record to that service under the name that is expected?
fn flow_is_named(eve: &str, expected: &Expected) -> bool {
    eve.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).any(|event| {
        event["event_type"] == "flow"
            && event["dest_ip"] == *expected.ip
            && event["dest_port"] == expected.port
            && event["app_proto"] == *expected.app
    })
}
