//! `vms`, `services`, `peers`, `why`: what is known.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use crate::api::Request;
use crate::config::Config;

use super::Failure;
use super::args::{Format, Global, QueryArgs, ServicesArgs, VmsArgs, WhyArgs};
use super::output::{Column, bytes, column, print, text, time, wrapped, write_out};
use super::place::ask;

pub fn vms(global: &Global, config: &Config, args: VmsArgs) -> Result<(), Failure> {
    if args.roles {
        return roles(global, config, args.query.format);
    }
    if args.history {
        return history(global, config, args.query);
    }
    const COLUMNS: &[Column] = &[
        column("VM", |r| text(r, "vm")),
        column("NAME", |r| {
            let shared = r.get("same_name").and_then(Value::as_array).is_some_and(|others| !others.is_empty());
            text(r, "vm_name") + if shared { " (others too)" } else { "" }
        }),
        column("ADDRESSES", |r| nic_list(r, "ips")),
        column("MAC", |r| nic_list(r, "mac")),
        column("SEGMENT", |r| text(r, "segment")),
        column("HYPERVISOR", |r| text(r, "hypervisor")),
        column("BASELINE", phase),
        column("LAST SEEN", |r| time(r, "last_seen")),
    ];
    let rows = ask(global, config, Request::Vms { vm: args.query.vm })?;
    Ok(print(&rows, COLUMNS, args.query.format, global.color, "no VMs seen yet")?)
}

fn roles(global: &Global, config: &Config, format: Format) -> Result<(), Failure> {
    const COLUMNS: &[Column] = &[
        column("ROLE", |r| text(r, "label")),
        column("VMS", |r| text(r, "vms")),
        column("PHASE", |r| text(r, "phase")),
        column("SERVES", |r| list(r, "serves")),
        column("USES", |r| list(r, "uses")),
        column("MEMBERS", |r| list(r, "members")),
    ];
    let rows = ask(global, config, Request::Roles {})?;
    Ok(print(&rows, COLUMNS, format, global.color, "no three VMs have been found to do the same yet")?)
}

fn history(global: &Global, config: &Config, args: QueryArgs) -> Result<(), Failure> {
    const COLUMNS: &[Column] = &[
        column("VM", named),
        column("KIND", |r| text(r, "kind")),
        column("WHAT", held),
        column("SINCE", |r| time(r, "since")),
        column("UNTIL", |r| time(r, "until")),
        column("FRAMES", |r| text(r, "frames")),
        column("DIFFERS", |r| match r.get("differs").and_then(Value::as_array) {
            None => "-".to_owned(),
            Some(lines) if lines.is_empty() => "nothing".to_owned(),
            Some(lines) => lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
        }),
    ];
    let rows = ask(global, config, Request::VmsHistory { vm: args.vm })?;
    Ok(print(&rows, COLUMNS, args.format, global.color, "no VMs seen yet")?)
}

/// What a VM had or where it was, and what is to be said of that.
fn held(row: &Value) -> String {
    let says = |key: &str, value: bool| row.get(key).and_then(Value::as_bool) == Some(value);
    match row.get("kind").and_then(Value::as_str) {
        Some("address") => {
            let gone = if says("current", false) { " (no more)" } else { "" };
            format!("{}{gone}, by {}", text(row, "address"), text(row, "source"))
        }
        Some("name") => format!("{}, by {}", text(row, "name"), text(row, "source")),
        _ => text(row, "location") + if says("certain", false) { " (a guess)" } else { "" },
    }
}

pub fn services(global: &Global, config: &Config, args: ServicesArgs) -> Result<(), Failure> {
    let rows = ask(global, config, Request::Services { vm: args.query.vm, only: args.only })?;
    let rows = if args.query.format == Format::Table { together(rows) } else { rows };
    Ok(print(&rows, SERVICE_COLUMNS, args.query.format, global.color, "no services seen")?)
}

/// One row for all ports that one service announced at one address: a person reads a range, not its members.
fn together(rows: Value) -> Value {
    let Value::Array(rows) = rows else { return rows };
    let mut shown: Vec<Value> = Vec::with_capacity(rows.len());
    // Per group: where it stands, and how many ports it has.
    let mut groups: BTreeMap<[String; 4], (usize, usize)> = BTreeMap::new();
    for row in rows {
        if row["announced_by"].is_null() {
            shown.push(row);
            continue;
        }
        let (at, ports) = groups
            .entry(["vm", "segment", "ip", "announced_by"].map(|key| text(&row, key)))
            .and_modify(|(_, ports)| *ports += 1)
            .or_insert((shown.len(), 1));
        let Some(group) = shown.get_mut(*at) else {
            shown.push(row);
            continue;
        };
        let sum = |key: &str| group[key].as_u64().unwrap_or(0) + row[key].as_u64().unwrap_or(0);
        let (flows, first) = (sum("flows"), text(group, "port").split('-').next().unwrap_or_default().to_owned());
        group["flows"] = flows.into();
        // Ports come in order.
        group["port"] = format!("{first}-{}", text(&row, "port")).into();
        group["evidence"] = format!("{ports} ports announced by {}", text(&row, "announced_by")).into();
        if row["clients"].as_u64() > group["clients"].as_u64() {
            group["clients"] = row["clients"].clone();
        }
        if row["first_seen"].as_str() < group["first_seen"].as_str() {
            group["first_seen"] = row["first_seen"].clone();
        }
    }
    shown.into()
}

/// Columns of a service list; the summary of `read` shows the same.
pub const SERVICE_COLUMNS: &[Column] = &[
    column("VM", named),
    column("ADDRESS", |r| text(r, "ip")),
    column("SEGMENT", |r| text(r, "segment")),
    column("PORT", |r| format!("{}/{}", text(r, "proto"), text(r, "port"))),
    column("APPLICATION", |r| text(r, "app_proto")),
    column("PRODUCT", product),
    column("STATE", |r| text(r, "state")),
    column("CLIENTS", |r| text(r, "clients")),
    column("FLOWS", |r| text(r, "flows")),
    column("EVIDENCE", |r| text(r, "evidence")),
    column("FIRST SEEN", |r| time(r, "first_seen")),
];

pub fn peers(global: &Global, config: &Config, args: QueryArgs) -> Result<(), Failure> {
    const COLUMNS: &[Column] = &[
        column("CLIENT", |r| match text(r, "client_name").as_str() {
            "-" => text(r, "client"),
            name => name.to_owned(),
        }),
        column("SERVER", named),
        column("PORT", |r| format!("{}/{}", text(r, "proto"), text(r, "port"))),
        column("APPLICATION", |r| text(r, "app_proto")),
        column("STATE", |r| text(r, "state")),
        column("FLOWS", |r| text(r, "flows")),
        column("TO SERVER", |r| bytes(r, "bytes_to_server")),
        column("TO CLIENT", |r| bytes(r, "bytes_to_client")),
        column("LAST SEEN", |r| time(r, "last_seen")),
    ];
    let rows = ask(global, config, Request::Peers { vm: args.vm })?;
    Ok(print(&rows, COLUMNS, args.format, global.color, "no one has used a service yet")?)
}

pub fn why(global: &Global, config: &Config, args: WhyArgs) -> Result<(), Failure> {
    let answer = ask(global, config, Request::Why { vm: args.vm, service: args.service })?;
    if args.format != Format::Table {
        return Ok(print(&answer, &[], args.format, global.color, "")?);
    }
    let mut out = format!("{}\n", text(&answer, "verdict"));
    let lines: &[Value] = answer.get("lines").and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let width = lines.iter().map(|l| text(l, "label").chars().count()).max().unwrap_or(0);
    for line in lines {
        let value = wrapped(&text(line, "value"), width + 4);
        out.push_str(&format!("  {:width$}  {}", text(line, "label"), value.trim_start()));
    }
    Ok(write_out(&out)?)
}

/// A file of an operator's, at most 64 MiB.
pub fn read_text(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let told = |e: std::io::Error| {
        Failure::run(match e.kind() {
            ErrorKind::NotFound => format!("{shown}: no such file; check the path"),
            ErrorKind::PermissionDenied => format!("{shown}: permission denied; make it readable for this user"),
            ErrorKind::IsADirectory => format!("{shown}: is a directory; give a file"),
            ErrorKind::InvalidData => format!("{shown}: is not text in UTF-8; save it as that"),
            _ => format!("{shown}: cannot be read: {e}"),
        })
    };
    if std::fs::metadata(file).map_err(told)?.len() > 64 * 1024 * 1024 {
        return Err(Failure::run(format!("{shown}: larger than 64 MiB: not such a file")));
    }
    std::fs::read_to_string(file).map_err(told)
}

/// The VM's name, else its id.
pub fn named(row: &Value) -> String {
    match text(row, "vm_name").as_str() {
        "-" => text(row, "vm"),
        name => name.to_owned(),
    }
}

/// `OpenSSH 9.2p1`, or as much of it as was proved.
fn product(row: &Value) -> String {
    let known: Vec<&str> = ["product", "version"].iter().filter_map(|key| row.get(key)?.as_str()).collect();
    if known.is_empty() { "-".to_owned() } else { known.join(" ") }
}

fn phase(row: &Value) -> String {
    let baseline = row.get("baseline").unwrap_or(&Value::Null);
    let share = baseline.get("ripeness").and_then(Value::as_f64).unwrap_or(0.0);
    match text(baseline, "phase").as_str() {
        "learning" => format!("learning {:.0} %", share * 100.0),
        other => other.to_owned(),
    }
}

fn nic_list(row: &Value, key: &str) -> String {
    let nics: &[Value] = row.get("nics").and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let all: Vec<String> = nics.iter().map(|nic| if key == "ips" { list(nic, key) } else { text(nic, key) }).collect();
    shorten(all.into_iter().filter(|t| t != "-").collect())
}

/// A list of texts, its beginning.
pub fn list(row: &Value, key: &str) -> String {
    let items: &[Value] = row.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice);
    shorten(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Three of them and how many more: a router has thousands.
fn shorten(all: Vec<String>) -> String {
    match all.len() {
        0 => "-".to_owned(),
        1..=3 => all.join(" "),
        n => format!("{} +{} more", all.iter().take(3).cloned().collect::<Vec<_>>().join(" "), n - 3),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn port(port: u16, announced_by: Option<&str>) -> Value {
        json!({ "vm": "vm-1", "segment": "-", "ip": "10.0.0.9", "proto": "tcp", "port": port, "flows": 2, "clients": 1,
                "evidence": "SYN-ACK", "first_seen": format!("{port}"), "announced_by": announced_by })
    }

    #[test]
    fn ports_of_one_announcer_are_one_line_and_services_are_not() {
        let (ftp, other) = (Some("10.0.0.9 tcp/21"), Some("10.0.0.5 tcp/21"));
        let rows = [port(21, None), port(50_001, ftp), port(50_002, other), port(50_003, ftp), port(50_004, None)];
        let shown = together(rows.to_vec().into());
        let lines: Vec<_> = shown.as_array().unwrap().iter().map(|r| (text(r, "port"), text(r, "flows"))).collect();
        let lines: Vec<_> = lines.iter().map(|(port, flows)| (port.as_str(), flows.as_str())).collect();
        assert_eq!(lines, [("21", "2"), ("50001-50003", "4"), ("50002", "2"), ("50004", "2")]);
        assert_eq!(text(&shown[1], "evidence"), "2 ports announced by 10.0.0.9 tcp/21");
        assert_eq!(text(&shown[1], "first_seen"), "50001");
    }
}
