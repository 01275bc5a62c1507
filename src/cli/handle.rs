//! `incidents`, `sanction`, `baseline`: what a person decides.

use std::path::Path;

use serde_json::Value;

use crate::api::{Request, SanctionRow};
use crate::config::{Config, Loaded};

use super::args::{
    BaselineCommand, Format, Global, HandleArgs, IncidentListArgs, IncidentsArgs, IncidentsCommand, SanctionAddArgs,
    SanctionCommand,
};
use super::output::{Column, column, print, text, time, wrapped, write_out};
use super::place::ask;
use super::query::{named, read_text};
use super::{Failure, user_name};
use super::{calibrate, carry};

pub const INCIDENT_COLUMNS: &[Column] = &[
    column("INCIDENT", |r| text(r, "id")),
    column("SEVERITY", |r| text(r, "severity")),
    column("RANK", |r| text(r, "rank")),
    column("STATE", |r| text(r, "state")),
    column("DETECTOR", |r| text(r, "detector")),
    column("VM", named),
    column("WHAT", |r| text(r, "title")),
    column("FINDINGS", |r| text(r, "findings")),
    column("LAST SEEN", |r| time(r, "last_seen")),
];

pub fn incidents(global: &Global, config: &Config, args: IncidentsArgs) -> Result<(), Failure> {
    match args.command {
        None => list(global, config, args.list),
        Some(IncidentsCommand::List(list_args)) => list(global, config, list_args),
        Some(IncidentsCommand::Show { id, format }) => {
            let incident = ask(global, config, Request::Incident { id })?;
            match format {
                Format::Table => Ok(write_out(&told(&incident))?),
                _ => Ok(print(&incident, &[], format, global.color, "")?),
            }
        }
        Some(IncidentsCommand::Export) => {
            let all = ask(global, config, Request::IncidentsExport {})?;
            Ok(print(&all, &[], Format::Json, global.color, "")?)
        }
        Some(IncidentsCommand::Ack(a)) => {
            handled(global, config, a, |id, by, message| Request::Ack { id, by, message })
        }
        Some(IncidentsCommand::Resolve(a)) => {
            handled(global, config, a, |id, by, message| Request::Resolve { id, by, message })
        }
        Some(IncidentsCommand::Comment(a)) => {
            if a.message.is_empty() {
                return Err(Failure::usage("a comment needs a text: -m TEXT"));
            }
            handled(global, config, a, |id, by, message| Request::Comment { id, by, message })
        }
    }
}

fn list(global: &Global, config: &Config, args: IncidentListArgs) -> Result<(), Failure> {
    const BY_DAY: &[Column] = &[
        column("DAY", |r| text(r, "day").chars().take(10).collect()),
        column("PAGES", |r| text(r, "page")),
        column("NOTICES", |r| text(r, "notice")),
        column("DIGEST", |r| text(r, "digest")),
        column("RAISED", |r| text(r, "raised")),
    ];
    if args.by_day {
        let rows = ask(global, config, Request::IncidentsByDay {})?;
        return Ok(print(&rows, BY_DAY, args.format, global.color, "no incidents")?);
    }
    let IncidentListArgs { vm, only, min_severity, rank, .. } = args;
    let request = Request::Incidents { vm, only, min_severity, rank };
    let rows = ask(global, config, request)?;
    Ok(print(&rows, INCIDENT_COLUMNS, args.format, global.color, "no incidents")?)
}

fn handled(
    global: &Global,
    config: &Config,
    args: HandleArgs,
    request: impl Fn(String, String, String) -> Request,
) -> Result<(), Failure> {
    let by = args.by.unwrap_or_else(user_name);
    let incident = ask(global, config, request(args.id, by, args.message))?;
    Ok(write_out(&format!("{} is {}\n", text(&incident, "id"), text(&incident, "state")))?)
}

/// One incident on one screen: what, why, evidence, what happened when, what to do.
pub fn told(incident: &Value) -> String {
    let service = incident.get("service").filter(|s| !s.is_null());
    let mut out = format!(
        "{} · {} · {}\n{}\n\n{}\n",
        text(incident, "id"),
        text(incident, "severity"),
        text(incident, "state"),
        text(incident, "title"),
        wrapped(&text(incident, "reason"), 2)
    );
    let techniques = incident
        .get("mitre")
        .and_then(Value::as_array)
        .map_or(String::new(), |list| list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
    let mut facts = vec![
        ("VM", format!("{} ({})", named(incident), text(incident, "vm"))),
        ("address", format!("{} in segment {}", text(incident, "ip"), text(incident, "segment"))),
        ("detector", format!("{}  ATT&CK {}", text(incident, "detector"), techniques)),
        ("seen", format!("{} to {}", time(incident, "first_seen"), time(incident, "last_seen"))),
        ("findings", text(incident, "findings")),
        (
            "rank",
            format!(
                "{} ({}), surprise {}, threshold {}",
                text(incident, "rank"),
                text(incident, "ranked_by"),
                text(incident, "surprise"),
                text(incident, "threshold")
            ),
        ),
    ];
    if let Some(service) = service {
        let app = text(service, "app_proto");
        let app = if app == "-" { "no known application".to_owned() } else { app };
        facts.insert(2, ("service", format!("{}/{}, {app}", text(service, "proto"), text(service, "port"))));
    }
    for (label, value) in facts {
        out.push_str(&format!("  {label:<9} {value}\n"));
    }
    for sample in items(incident, "samples") {
        out.push_str(&format!(
            "\n  {}  {}  {}\n",
            time(sample, "time"),
            text(sample, "detector"),
            text(sample, "title")
        ));
        // The first finding's reason stands at the top already.
        if text(sample, "reason") != text(incident, "reason") {
            out.push_str(&wrapped(&text(sample, "reason"), 4));
        }
        let evidence = sample.get("evidence").unwrap_or(&Value::Null);
        let frames: Vec<String> = items(evidence, "frames").iter().map(Value::to_string).collect();
        if !frames.is_empty() {
            out.push_str(&format!("    frames: {}\n", frames.join(", ")));
        }
        for fact in items(evidence, "facts") {
            let pair: Vec<&str> = fact.as_array().map_or(vec![], |p| p.iter().filter_map(Value::as_str).collect());
            out.push_str(&format!("    {}\n", pair.join(": ")));
        }
    }
    out.push_str("\n  timeline\n");
    for entry in items(incident, "timeline") {
        let line = [time(entry, "time"), text(entry, "what"), text(entry, "by"), text(entry, "text")].join("  ");
        out.push_str(&format!("    {}\n", line.trim_end_matches([' ', '-'])));
    }
    if let (Some(service), true) = (service, text(incident, "state") != "resolved") {
        out.push_str(&format!(
            "\n  to approve it: eastwatch sanction add {} {}/{} --owner WHO --reason WHY\n  to close it:   eastwatch incidents resolve {} -m WHY\n",
            named(incident),
            text(service, "proto"),
            text(service, "port"),
            text(incident, "id")
        ));
    }
    out
}

fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub fn sanction(global: &Global, config: &Config, command: SanctionCommand) -> Result<(), Failure> {
    const COLUMNS: &[Column] = &[
        column("VM", named),
        column("SERVICE", |r| text(r, "service")),
        column("APPLICATION", |r| text(r, "app")),
        column("OWNER", |r| text(r, "owner")),
        column("REASON", |r| text(r, "reason")),
        column("TICKET", |r| text(r, "ticket")),
        column("EXPIRES", |r| time(r, "expires")),
        column("HITS", |r| text(r, "hits")),
    ];
    match command {
        SanctionCommand::List { format } => {
            let rows = ask(global, config, Request::SanctionList {})?;
            Ok(print(&rows, COLUMNS, format, global.color, "nothing is sanctioned")?)
        }
        SanctionCommand::Add(args) => {
            let said = ask(global, config, add(args))?;
            Ok(write_out(&format!("{}\n", text(&said, "text")))?)
        }
        SanctionCommand::Remove { vm, service } => {
            let said = ask(global, config, Request::SanctionRemove { vm, service, by: user_name() })?;
            Ok(write_out(&format!("{}\n", text(&said, "text")))?)
        }
        SanctionCommand::Import { file } => import(global, config, &file),
    }
}

fn add(args: SanctionAddArgs) -> Request {
    Request::SanctionAdd {
        vm: args.vm,
        service: args.service,
        app: args.app,
        owner: args.owner,
        reason: args.reason,
        ticket: args.ticket,
        expires: args.expires,
        by: user_name(),
    }
}

/// All rows are one request: a fault in one changes nothing.
fn import(global: &Global, config: &Config, file: &Path) -> Result<(), Failure> {
    const HEADER: [&str; 7] = ["vm", "service", "app", "owner", "reason", "ticket", "expires"];
    let content = read_text(file)?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(content.as_bytes());
    let mut faults: Vec<String> = Vec::new();
    let header = reader.headers().map_err(|e| Failure::run(format!("{}:1: {e}", file.display())))?.clone();
    for unknown in header.iter().filter(|h| !HEADER.contains(h)) {
        faults.push(format!("{}:1: unknown column `{unknown}`; expected {}", file.display(), HEADER.join(",")));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(e) => {
                faults.push(format!("{}:{}: {e}", file.display(), e.position().map_or(0, csv::Position::line)));
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        let field = |name: &str| {
            let at = header.iter().position(|h| h == name)?;
            record.get(at).filter(|t| !t.is_empty()).map(str::to_owned)
        };
        let mut needed = |name: &str| {
            field(name).unwrap_or_else(|| {
                faults.push(format!("{}:{line}: `{name}` is empty; it is required", file.display()));
                String::new()
            })
        };
        rows.push(SanctionRow {
            line,
            vm: needed("vm"),
            service: needed("service"),
            owner: needed("owner"),
            reason: needed("reason"),
            app: field("app"),
            ticket: field("ticket"),
            expires: field("expires"),
        });
    }
    if !faults.is_empty() {
        return Err(Failure::run(faults.join("\n")));
    }
    let name = file.display().to_string();
    let said = ask(global, config, Request::SanctionImport { name, rows, by: user_name() })?;
    Ok(write_out(&format!("{}\n", text(&said, "text")))?)
}

pub fn baseline(global: &Global, loaded: Loaded, command: BaselineCommand) -> Result<(), Failure> {
    const STATUS: &[Column] = &[
        column("VM", named),
        column("ROLE", |r| text(r, "role")),
        column("SERVICES", |r| feature(r, "services")),
        column("USES", |r| feature(r, "uses")),
        column("PEERS", |r| feature(r, "peers")),
        column("HOURS", |r| feature(r, "hours")),
        column("VOLUMES", |r| feature(r, "volumes")),
        column("LEARNED", |r| text(r, "services")),
        column("UNSEEN", |r| r.get("unseen").and_then(Value::as_f64).map_or("-".to_owned(), |n| format!("~{n:.0}"))),
        column("FLOWS", |r| text(r, "flows")),
        column("OBSERVED", |r| text(r, "observed")),
        column("WAITS FOR", |r| text(r, "waits_for")),
        column("AT THE LATEST", |r| time(r, "latest")),
    ];
    const DIFF: &[Column] =
        &[column("CHANGE", |r| text(r, "change")), column("VM", named), column("WHAT", |r| text(r, "what"))];
    let config = &loaded.config;
    match command {
        BaselineCommand::Status(args) => {
            let rows = ask(global, config, Request::BaselineStatus { vm: args.vm })?;
            Ok(print(&rows, STATUS, args.format, global.color, "nothing learned yet")?)
        }
        BaselineCommand::Export { output, format, rules } => {
            let format = rules.or(format).unwrap_or_else(|| "toml".to_owned());
            carry::export(global, config, output.as_deref(), format)
        }
        BaselineCommand::Import { file, dry_run, verify } => {
            let rows = carry::import(global, config, &file, dry_run, verify.as_deref())?;
            Ok(print(&rows, DIFF, Format::Table, global.color, "nothing changes")?)
        }
        BaselineCommand::Diff { file, other, from, to, format } => {
            let rows = carry::compare(global, config, file.as_deref(), other.as_deref(), from, to)?;
            Ok(print(&rows, DIFF, format, global.color, "no difference")?)
        }
        BaselineCommand::Calibrate(args) => calibrate::run(global, loaded, args),
        BaselineCommand::Reset { vm, .. } => {
            let said = ask(global, config, Request::BaselineReset { vm, by: user_name() })?;
            Ok(write_out(&format!("{}\n", text(&said, "text")))?)
        }
    }
}

/// How ripe one feature of a baseline is: `ripe`, `87 %`.
fn feature(row: &Value, name: &str) -> String {
    let feature = row.get("features").and_then(|features| features.get(name)).unwrap_or(&Value::Null);
    match (feature.get("phase").and_then(Value::as_str), feature.get("ripeness").and_then(Value::as_f64)) {
        (Some("ripe"), _) => "ripe".to_owned(),
        (_, Some(share)) => format!("{:.0} %", (share * 100.0).floor()),
        _ => "-".to_owned(),
    }
}
