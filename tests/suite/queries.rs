//! The query commands on a state with one incident: every format, the fields of docs/reference.md, what a person can
//! change, and errors that tell the mend.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::harness::{Folder, Ran, eastwatch, learned_from};
use super::scenarios;

const INVENTORY: &str = "name,macs,tags,sanctioned\nweb-01,52:54:00:00:00:0b,web;pci,tcp/80\napp-01,52:54:00:00:00:0c,,\n\
                         mon-01,52:54:00:00:00:0d,,\ndns-01,52:54:00:00:00:02,,\nspare-01,52:54:00:00:00:77,,\n";

/// A state in which web-01 opened a shell port that app-01 used.
struct Office {
    folder: Folder,
}

impl Office {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        std::fs::write(folder.file("inventory.csv"), INVENTORY).unwrap();
        let mut args = vec!["read".to_owned(), "--inventory".to_owned(), shown(&folder.file("inventory.csv"))];
        for (part, scenario) in scenarios::shell_port() {
            let file = folder.file(&format!("{part}.pcap"));
            scenario.write_pcap(&file).unwrap();
            args.push(shown(&file));
        }
        let office = Office { folder };
        let ran = office.run(args);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        office
    }

    fn state(&self) -> PathBuf {
        self.folder.file("state")
    }

    fn run<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        let args = args.into_iter().map(|a| a.as_ref().to_owned());
        eastwatch(args.chain(["--state".to_owned(), shown(&self.state())]))
    }

    fn good(&self, args: &str) -> String {
        let ran = self.run(args.split(' '));
        assert_eq!(ran.status, 0, "{args}: {}", ran.stderr);
        ran.stdout
    }

    /// The one line of an error and its exit status.
    fn bad(&self, args: &str) -> (i32, String) {
        let ran = self.run(args.split(' ').chain(["--quiet"]));
        assert_eq!(ran.stdout, "", "{args}");
        (ran.status, ran.stderr)
    }

    fn json(&self, query: &str) -> Value {
        learned_from(&self.state(), &query.split(' ').collect::<Vec<_>>())
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.file(name), text).unwrap();
        shown(&self.folder.file(name))
    }

    fn incident(&self) -> String {
        self.json("incidents")[0]["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn incidents_have_a_rank_that_lists_select_and_why_explains() {
    let office = Office::new("ranks");
    let all = office.json("incidents");
    assert_eq!((all[0]["rank"].as_str(), all[0]["ranked_by"].as_str()), (Some("page"), Some("above-threshold")));
    assert_eq!(office.json("incidents list --rank page"), all);
    assert_eq!(office.json("incidents list --rank digest"), serde_json::json!([]));
    let days = office.json("incidents --by-day");
    let ranks = ["page", "notice", "digest"].map(|rank| days[0][rank].as_u64().unwrap());
    assert_eq!((days.as_array().unwrap().len(), ranks), (1, [1, 0, 0]));
    let why = office.good("why web-01 tcp/4444");
    assert!(why.contains("page: ") && why.contains("nats") && why.contains("pages a day for"), "{why}");
    assert!(office.good("incidents").contains("RANK"));
    let (status, said) = office.bad("incidents list --rank loud");
    assert!(status == 2 && said.contains("page, notice or digest"), "{said}");
}

#[test]
fn calibrate_prints_rates_and_what_they_imply_and_keeps_nothing() {
    let folder = Folder::new("calibrate");
    let mut args = vec!["baseline".to_owned(), "calibrate".to_owned()];
    for (part, scenario) in scenarios::shell_port() {
        let file = folder.file(&format!("{part}.pcap"));
        scenario.write_pcap(&file).unwrap();
        args.push(shown(&file));
    }
    let state = folder.file("state");
    args.extend(["--state".to_owned(), shown(&state)]);
    let ran = eastwatch(args.clone());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    for word in ["the site", "NEW SERVICES", "budget: 2 a day for 1,000 VMs", "implied at first", "h watched"] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    assert!(!state.exists(), "it keeps nothing");
    let json = eastwatch(args.iter().cloned().chain(["--format".to_owned(), "json".to_owned()]));
    let told: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(told["site"]["vms"], 4, "{told}");
    // The refused connection to tcp/4444 is the one first contact that failed, the answered one after it is none.
    let contacts = told["site"]["first_contacts"].as_f64().unwrap();
    let failed = told["site"]["failed_share"].as_f64().unwrap() * contacts;
    assert!((failed - 1.0).abs() < 0.1, "{failed} of {contacts}");
    let rows = told["roles"].as_array().unwrap();
    let sum: u64 = rows.iter().map(|row| row["vms"].as_u64().unwrap()).sum();
    assert_eq!(sum, 4, "every VM is in one row");
    assert_eq!((told["pages_per_day"].as_f64(), told["first_day_only"].as_bool()), (Some(0.144), Some(false)));
    let began = &told["site"]["new_services"];
    assert_eq!(began["events"], 1, "what web-01 began after the first day: {began}");
    assert!(began["lower"].as_f64() < began["per_day"].as_f64() && began["per_day"].as_f64() < began["upper"].as_f64());
    assert!(told["at_first"]["page"].as_f64() > told["settled"]["page"].as_f64(), "{told}");
}

#[test]
fn every_list_has_the_fields_of_the_reference_and_no_other() {
    let office = Office::new("fields");
    for query in ["services", "vms", "peers", "incidents", "baseline status", "sanction list", "inventory list"] {
        let rows = office.json(query);
        let documented = documented(query);
        assert!(!rows.as_array().unwrap().is_empty(), "{query} is empty");
        for row in rows.as_array().unwrap() {
            assert_eq!(keys(row), documented, "{query}: {row}");
        }
    }
    let mut whole = documented("incidents");
    whole.extend(["samples", "timeline", "timeline_dropped"].map(str::to_owned));
    let shown = office.json(&format!("incidents show {}", office.incident()));
    assert_eq!(keys(&shown), whole);
    let exported: Value = serde_json::from_str(&office.good("incidents export --quiet")).unwrap();
    assert_eq!(exported[0], shown);
}

#[test]
fn the_summary_counts_what_is_new_and_still_there() {
    let folder = Folder::new("new-count");
    for ((part, scenario), told) in scenarios::syn_proxy().into_iter().zip(["1 (1 new)", "2 (1 new)"]) {
        let (file, state) = (folder.file(part), folder.file("state"));
        scenario.write_pcap(&file).unwrap();
        let ran = eastwatch(["read", "--state", &shown(&state), &shown(&file)]);
        let line = ran.stdout.lines().find(|line| line.starts_with("services ")).unwrap_or_default();
        assert_eq!(line.split_once(' ').map(|(_, count)| count.trim()), Some(told), "{part}: {}", ran.stdout);
    }
}

#[test]
fn announced_ports_are_listed_under_their_announcer_and_are_no_incident_of_their_own() {
    let folder = Folder::new("announced");
    let (file, state) = (folder.file("input.pcap"), shown(&folder.file("state")));
    scenarios::ftp_by_itself()[0].1.write_pcap(&file).unwrap();
    let read = eastwatch(["read", "--mode", "enforce", "--eve", "-", "--state", &state, &shown(&file)]);
    let events: Vec<&str> = read.stdout.lines().filter(|line| line.contains("\"event_type\":\"service\"")).collect();
    assert!(events.iter().any(|line| line.contains("\"port\":21,")), "{}", read.stdout);
    assert!(!events.iter().any(|line| line.contains("\"port\":5000")), "{events:?}");
    let ask = |args: &[&str]| eastwatch(args.iter().chain(&["--state", state.as_str()])).stdout;
    let rows: Value = serde_json::from_str(&ask(&["services", "--format", "json", "--vm", "10.0.0.21"])).unwrap();
    let rows: Vec<String> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {} {} {}", row["port"], row["app_proto"], row["announced_by"], row["state"]))
        .collect();
    let data = |port| format!("{port} \"ftp-data\" \"10.0.0.21 tcp/21\" \"unsanctioned\"");
    let expected = ["21 \"ftp\" null \"unsanctioned\"".to_owned(), data(50_001), data(50_004), data(50_007)];
    assert_eq!(rows, expected);
    let table = ask(&["services", "--vm", "10.0.0.21"]);
    assert!(table.contains("tcp/50001-50007") && table.lines().count() == 3, "{table}");
    let why = ask(&["why", "10.0.0.21", "tcp/50004"]);
    assert!(why.contains("announced by 10.0.0.21 tcp/21"), "{why}");
}

#[test]
fn csv_has_a_line_a_row_and_the_json_s_keys_for_a_header() {
    let office = Office::new("csv");
    for query in ["services", "vms", "peers", "incidents", "baseline status", "sanction list", "inventory list"] {
        let rows = office.json(query);
        let csv = office.good(&format!("{query} --format csv --quiet"));
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let header: BTreeSet<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(header, keys(&rows[0]), "{query}");
        assert_eq!(reader.records().filter(Result::is_ok).count(), rows.as_array().unwrap().len(), "{query}");
    }
}

#[test]
fn tables_have_a_line_a_row_and_say_on_stderr_where_they_come_from() {
    let office = Office::new("tables");
    for query in ["services", "vms", "peers", "incidents", "baseline status", "sanction list", "inventory list"] {
        let ran = office.run(query.split(' '));
        let rows = office.json(query).as_array().unwrap().len();
        assert_eq!(ran.stdout.lines().count(), rows + 1, "{query}:\n{}", ran.stdout);
        assert!(ran.stdout.lines().all(|l| l.trim_end() == l && !l.contains('\u{1b}')), "{query}:\n{}", ran.stdout);
        assert!(ran.stderr.contains("reading the state in "), "{query}: {}", ran.stderr);
        let quiet = office.run(query.split(' ').chain(["-q"]));
        assert_eq!((quiet.stdout, quiet.stderr), (ran.stdout, String::new()), "{query}");
    }
}

#[test]
fn lists_are_in_reading_order_and_can_be_narrowed() {
    let office = Office::new("narrow");
    let names = |rows: Value| -> Vec<String> {
        rows.as_array().unwrap().iter().map(|r| r["vm_name"].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(names(office.json("vms")), ["app-01", "dns-01", "mon-01", "web-01"]);
    assert_eq!(names(office.json("vms --vm WEB-01")), ["web-01"]);
    assert_eq!(names(office.json("services --vm 10.0.0.2")), ["dns-01", "dns-01"]);
    let id = office.json("vms --vm web-01")[0]["vm"].as_str().unwrap().to_owned();
    assert_eq!(office.json(&format!("services --vm {id}")).as_array().unwrap().len(), 3);
    let ports = |query: &str| -> Vec<u64> {
        office.json(query).as_array().unwrap().iter().map(|r| r["port"].as_u64().unwrap()).collect()
    };
    assert_eq!(ports("services --only unsanctioned"), [4_444]);
    assert_eq!(ports("services --only sanctioned"), [80]);
    assert_eq!(ports("services --only gone"), [0; 0]);
    // Whoever got a lease is a client, though it had no address when it was answered.
    let dhcp =
        office.json("services --vm dns-01").as_array().unwrap().iter().find(|r| r["port"] == 67).unwrap().clone();
    assert_eq!(dhcp["clients"], 3, "{dhcp}");
    assert_eq!(office.json("incidents --min-severity critical --only resolved"), Value::Array(vec![]));
    assert_eq!(office.good("incidents list --vm dns-01 -q"), "no incidents\n");
}

#[test]
fn an_incident_is_shown_taken_commented_and_closed() {
    let office = Office::new("incident");
    let id = office.incident();
    let shown = office.good(&format!("incidents show {id} -q"));
    for part in
        ["web-01 answers on tcp/4444", "a connection was refused", "T1571", "frames:", "timeline", "sanction add"]
    {
        assert!(shown.contains(part), "`{part}` is missing:\n{shown}");
    }
    assert!(shown.lines().all(|l| l.chars().count() <= 100), "{shown}");
    assert_eq!(office.good(&format!("incidents ack {id} --as ann -q")), format!("{id} is acknowledged\n"));
    let again = office.bad(&format!("incidents ack {id} --as bob"));
    assert_eq!(again.0, 1);
    assert!(again.1.contains("acknowledged already, by ann"), "{}", again.1);
    office.good(&format!("incidents comment {id} -m looking --as ann -q"));
    assert_eq!(office.good(&format!("incidents resolve {id} -m closed --as ann -q")), format!("{id} is resolved\n"));
    assert_eq!(office.json("incidents --only open"), Value::Array(vec![]));
    let timeline = office.json(&format!("incidents show {id}"))["timeline"].clone();
    let steps: Vec<_> = timeline.as_array().unwrap().iter().map(|s| s["what"].as_str().unwrap()).collect();
    assert_eq!(steps, ["opened", "grew", "acknowledged", "comment", "resolved"]);
    assert_eq!(timeline[4]["by"], "ann");
    assert_eq!(office.bad(&format!("incidents comment {id}")).0, 2);
}

#[test]
fn why_argues_for_an_incident_and_for_silence() {
    let office = Office::new("why");
    let incident = office.good("why web-01 tcp/4444 -q");
    assert!(incident.starts_with("an incident is open: "), "{incident}");
    assert!(office.good("why web-01 tcp/80 -q").starts_with("no incident: it is sanctioned"));
    assert!(office.good("why web-01 tcp/22 -q").starts_with("no incident: "));
    assert!(office.good("why web-01 -q").contains(&office.incident()));
    let answer = office.json("why web-01 tcp/4444");
    assert_eq!(keys(&answer), ["lines", "reason", "subject", "verdict", "vm"].map(str::to_owned).into());
    assert_eq!(answer["reason"]["code"], "incident-open");
    let (status, said) = office.bad("why web-01 4444");
    assert_eq!((status, said.as_str()), (1, "eastwatch: `4444` is not a service like tcp/443 or udp/53\n"));
    assert!(office.good("why web-01 tcp/9 -q").starts_with("no incident: "));
}

#[test]
fn an_approval_closes_its_incident_and_can_be_withdrawn() {
    let office = Office::new("sanction");
    let said = office.good("sanction add web-01 tcp/4444 --owner ann --reason drill --ticket T-1 --expires 30d -q");
    assert_eq!(said, "web-01 tcp/4444 is sanctioned; 1 incident resolved\n");
    assert_eq!(office.json("incidents")[0]["state"], "resolved");
    let list = office.json("sanction list");
    let row = list.as_array().unwrap().iter().find(|r| r["service"] == "tcp/4444").unwrap();
    assert_eq!((&row["owner"], &row["reason"], &row["ticket"]), (&"ann".into(), &"drill".into(), &"T-1".into()));
    assert!(row["expires"].as_str().unwrap().starts_with("2026-02-01T"), "{row}");
    assert_eq!(office.good("sanction remove web-01 tcp/4444 -q"), "web-01 tcp/4444 is no longer sanctioned\n");
    let (status, said) = office.bad("sanction remove web-01 tcp/4444");
    assert!(status == 1 && said.contains("was not sanctioned; `eastwatch sanction list`"), "{said}");
    for (args, part) in [
        ("sanction add web-01 tcp/99999 --owner a --reason b", "`tcp/99999` is not a service like tcp/443"),
        ("sanction add web-09 tcp/1 --owner a --reason b", "no VM is called `web-09`; `eastwatch vms` lists"),
        ("sanction add web-01 tcp/1 --owner a --reason b --expires soon", "`soon` is not a time: 90d, 12h"),
        ("sanction add web-01 tcp/1 --owner a --reason b --app posgres", "`posgres`: did you mean `postgres`?"),
        ("sanction add web-01 tcp/1 --owner a --reason b --app https", "`https`: did you mean `http`?"),
    ] {
        let (status, said) = office.bad(args);
        assert!(status == 1 && said.contains(part) && said.lines().count() == 1, "{args}: {said}");
    }
    assert_eq!(office.bad("sanction add web-01 tcp/1 --owner a").0, 2);
    // An application goes by any of its names, and is kept under its own.
    office.good("sanction add web-01 tcp/5433 --owner a --reason b --app PostgreSQL -q");
    let kept = office.file("kept.csv", "vm,service,app,owner,reason\nweb-01,tcp/5901,vnc,a,b\n");
    office.good(&format!("sanction import {kept} -q"));
    let list = office.json("sanction list");
    let app = |service: &str| list.as_array().unwrap().iter().find(|r| r["service"] == service).unwrap()["app"].clone();
    assert_eq!((app("tcp/5433"), app("tcp/5901")), ("pgsql".into(), "rfb".into()));
    let wrong = office.file("wrong.csv", "vm,service,app,owner,reason\nweb-01,tcp/5902,vcn,a,b\n");
    let (status, said) = office.bad(&format!("sanction import {wrong}"));
    assert!(status == 1 && said.contains("wrong.csv:2: unknown application `vcn`: did you mean `vnc`?"), "{said}");
}

#[test]
fn approvals_from_a_file_are_taken_all_or_none() {
    let office = Office::new("approvals");
    let before = office.json("sanction list");
    let broken = office.file(
        "broken.csv",
        "vm,service,owner,reason\nweb-01,tcp/4444,ann,drill\nweb-09,tcp/1,ann,x\napp-01,22,ann,x\n",
    );
    let (status, said) = office.bad(&format!("sanction import {broken}"));
    assert_eq!(status, 1);
    assert!(said.contains("broken.csv:3: no VM is called `web-09`"), "{said}");
    assert!(said.contains("broken.csv:4: `22` is not a service"), "{said}");
    assert_eq!(office.json("sanction list"), before, "a fault changes nothing");
    let empty = office.file("empty.csv", "vm,service,owner,reason\nweb-01,tcp/4444,,drill\n");
    assert!(
        office.bad(&format!("sanction import {empty}")).1.contains("empty.csv:2: `owner` is empty; it is required")
    );
    let foreign = office.file("foreign.csv", "vm,service,owner,reazon\n");
    assert!(office.bad(&format!("sanction import {foreign}")).1.contains("foreign.csv:1: unknown column `reazon`"));
    let good = office.file(
        "good.csv",
        "vm,service,owner,reason,expires\nweb-01,tcp/4444,ann,drill,90d\napp-01,tcp/22,ann,jump host,\n",
    );
    let said = office.good(&format!("sanction import {good} -q"));
    assert_eq!(said, "2 services are sanctioned; 1 incident resolved\n");
}

#[test]
fn a_baseline_is_exported_compared_reset_and_taken_back() {
    let office = Office::new("baseline");
    let file = shown(&office.folder.file("baseline.json"));
    office.good(&format!("baseline export --format json -o {file} -q"));
    let document: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(document.is_object());
    assert_eq!(office.good(&format!("baseline diff {file} -q")), "no difference\n");
    let phase = |name: &str| office.json(&format!("baseline status --vm {name}"))[0]["phase"].clone();
    assert_eq!(phase("web-01"), "ripe");
    assert_eq!(office.good("baseline reset web-01 -q"), "forgot the baseline of web-01; it learns anew\n");
    assert_eq!((phase("web-01"), phase("app-01")), ("learning".into(), "ripe".into()));
    assert!(office.json(&format!("baseline diff {file}")).as_array().unwrap().iter().any(|l| l["change"] == "-"));
    let dry = office.good(&format!("baseline import {file} --dry-run -q"));
    assert!(dry.contains('+') && phase("web-01") == "learning", "{dry}");
    office.good(&format!("baseline import {file} -q"));
    assert_eq!(phase("web-01"), "ripe");
    assert_eq!(office.good(&format!("baseline diff {file} -q")), "no difference\n");
    let broken = office.file("broken.json", "{\"vms\": 3,\n oops}");
    let (status, said) = office.bad(&format!("baseline import {broken}"));
    assert!(status == 1 && said.contains("broken.json:2:"), "{said}");
    assert_eq!(office.bad("baseline reset").0, 2);
    office.good("baseline reset --all -q");
    assert_eq!(phase("app-01"), "learning");
}

#[test]
fn an_inventory_names_vms_seen_and_unseen() {
    let office = Office::new("inventory");
    let rows = office.json("inventory list");
    let seen: Vec<(&str, bool)> =
        rows.as_array().unwrap().iter().map(|r| (r["name"].as_str().unwrap(), !r["vm"].is_null())).collect();
    assert_eq!(seen, [("app-01", true), ("dns-01", true), ("mon-01", true), ("web-01", true), ("spare-01", false)]);
    let more = office
        .file("more.toml", "[[vm]]\nname = \"front\"\nmacs = [\"52:54:00:00:00:0b\"]\nsanctioned = [\"tcp/4444\"]\n");
    let said = office.good(&format!("inventory import {more} -q"));
    assert!(said.starts_with("1 VM and 1 sanctioned service taken from "), "{said}");
    assert_eq!(office.json("incidents")[0]["state"], "resolved");
    let broken = office.file("broken.csv", "name,macs,tag\nx,52:54:00,\n");
    let (status, said) = office.bad(&format!("inventory import {broken}"));
    assert!(status == 1 && said.contains("broken.csv:1:11: ") && said.contains("did you mean `tags`"), "{said}");
    assert!(said.contains("broken.csv:2:3: "), "{said}");
}

#[test]
fn an_import_of_many_files_is_all_or_nothing_and_replaces_its_source() {
    let office = Office::new("import");
    let guests = office.folder.file("guests");
    std::fs::create_dir(&guests).unwrap();
    let guest = |id: &str, text: &str| std::fs::write(guests.join(id), text).unwrap();
    guest("100.conf", "name: web\nnet0: virtio=52:54:00:00:00:0b,bridge=vmbr0\ntags: edge\n");
    guest("101.conf", "name: idle\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n");
    let folder = shown(&guests);
    let xml = office.file("one.xml", "<domain type='kvm'><name>x</name><uuid>u-9</uuid></domain>");
    let cut = office.file("cut.xml", "<domain>\n<name>x");
    let before = office.json("inventory list");
    let (status, said) = office.bad(&format!("inventory import {folder} {xml} {cut}"));
    assert!(status == 1 && said.contains("cut.xml:2:8: ") && said.contains("it was cut"), "{said}");
    assert_eq!(office.json("inventory list"), before);

    let said = office.good(&format!("inventory import {folder} {xml} -q"));
    assert_eq!(said, "3 VMs and 0 sanctioned services taken from 2 sources\n");
    let of = |name: &str| office.json("inventory list").as_array().unwrap().iter().find(|r| r["name"] == name).cloned();
    // Two sources name it: the last in order of their names is shown.
    let web = of("web-01").unwrap();
    assert_eq!((web["coverage"].as_str(), web["sources"].as_array().unwrap().len()), (Some("seen"), 2));
    assert_eq!(web["tags"].to_string(), "[\"edge\",\"web\",\"pci\"]");
    assert_eq!(of("idle").unwrap()["coverage"], "unseen");
    assert_eq!(of("idle").unwrap()["sources"][0], folder.as_str());
    let rows: Value = serde_json::from_str(&office.good("doctor --format json -q")).unwrap();
    let row = rows.as_array().unwrap().iter().find(|r| r["check"] == "coverage").unwrap();
    let found = row["found"].to_string();
    assert!(row["mend"].to_string().contains("mirror every port of theirs"), "{row}");
    assert!(found.contains("4 are seen") && found.contains("3 unseen") && found.contains("idle"), "{found}");

    std::fs::remove_file(guests.join("101.conf")).unwrap();
    office.good(&format!("inventory import {folder} -q"));
    assert_eq!((of("idle"), of("x").is_some()), (None, true));
    let (status, said) = office.bad(&format!("inventory import {xml} --format netbox"));
    assert!(status == 1 && said.contains("one.xml:1:1: expected NetBox's answer"), "{said}");
    assert_eq!(office.bad(&format!("inventory import {xml} --format word")).0, 2);
}

#[test]
fn the_configuration_is_checked_and_shown_with_its_origins() {
    let office = Office::new("config");
    let file = office.file("eastwatch.toml", "[baseline]\nmode = \"learn\"\n");
    let said = office.good(&format!("config check -c {file}"));
    assert!(said.ends_with("eastwatch.toml: ok\n"), "{said}");
    let shown = office.good(&format!("config show -c {file}"));
    let line = |key: &str| shown.lines().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("no {key}:\n{shown}"));
    assert!(line("mode = ").contains("eastwatch.toml:2"), "{}", line("mode = "));
    assert!(line("dir = ").contains("--state"), "{}", line("dir = "));
    assert!(line("home = ").contains("default"), "{}", line("home = "));
}

#[test]
fn doctor_tells_what_is_sound_and_what_is_not() {
    let office = Office::new("doctor");
    let rows: Value = serde_json::from_str(&office.good("doctor --format json -q")).unwrap();
    assert!(rows.as_array().unwrap().iter().all(|r| r["status"] == "ok"), "{rows}");
    let ran = office.run(["doctor", "-i", "no-such-interface0", "-q"]);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.contains("interface no-such-interface0") && ran.stdout.contains("attention"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "eastwatch: 1 check needs attention\n");
}

#[test]
fn unknown_things_are_refused_in_one_line_that_mends() {
    let office = Office::new("unknown");
    for (args, status, part) in [
        ("vms --vm nobody", 1, "no VM is called `nobody`; `eastwatch vms` lists ids, names and addresses"),
        ("why nobody", 1, "no VM is called `nobody`"),
        (
            "incidents show inc-000000000000",
            1,
            "there is no incident inc-000000000000; `eastwatch incidents` lists them",
        ),
        ("incidents show 17", 1, "`17` is no incident id: inc- and 12 hex digits, as `eastwatch incidents` lists them"),
        ("baseline reset nobody", 1, "no VM is called `nobody`"),
        ("services --only new", 2, "invalid value 'new'"),
        ("incidents --min-severity big", 2, "invalid value 'big'"),
    ] {
        let (found, said) = office.bad(args);
        assert_eq!(found, status, "{args}: {said}");
        assert!(said.contains(part), "{args}: {said}");
        assert!(status == 2 || said.lines().count() == 1, "{args}: {said}");
    }
    let nowhere = Folder::new("nowhere");
    let ran = eastwatch(["vms", "--state", &shown(&nowhere.file("none"))]);
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("there is no state here yet; `eastwatch read FILE` makes"), "{}", ran.stderr);
    assert!(!nowhere.file("none").exists(), "asking makes nothing");
}

/// The keys of the example in docs/reference.md.
fn documented(query: &str) -> BTreeSet<String> {
    let text = include_str!("../../docs/reference.md");
    let heading = format!("### `{query} --format json`");
    let block: String = text
        .lines()
        .skip_while(|line| !line.starts_with(&heading))
        .skip(1)
        .take_while(|line| line.starts_with("    "))
        .collect();
    keys(&serde_json::from_str(&block).unwrap_or_else(|e| panic!("{query}: {e}: {block}")))
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
