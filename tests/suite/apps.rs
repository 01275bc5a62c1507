//! Names of programs that are not our own: Recog's files and the user's applications, as a user meets them.

use std::path::Path;

use eastwatch::model::{Side, Timestamp};
use eastwatch::recog::Recog;
use eastwatch::scenario::{Scenario, payload};
use serde_json::Value;

use super::harness::{Folder, Ran, corpus, eastwatch, learned_from};

/// Of the corpus's examples so many in a hundred are read as they say.
const READ_PERCENT_MIN: usize = 99;

#[test]
fn recogs_own_examples_are_read_as_they_say() {
    let Some(corpus) = corpus() else {
        eprintln!("the corpus is not beside this checkout: no Recog file was read");
        return;
    };
    let mut recog = Recog::load(&corpus.join("fingerprints/recog")).unwrap();
    recog.compile_all();
    let results: Vec<(String, Result<(), String>)> = recog.examples().collect();
    let failed: Vec<String> =
        results.iter().filter_map(|(place, r)| r.as_ref().err().map(|why| format!("{place}: {why}"))).collect();
    let read = results.len() - failed.len();
    eprintln!("{}; {read} of {} examples", recog.told(), results.len());
    failed.iter().for_each(|line| eprintln!("  {line}"));
    assert!(results.len() > 3_000, "{}", results.len());
    assert!(read * 100 >= results.len() * READ_PERCENT_MIN, "{} of {}", failed.len(), results.len());
    let aside: Vec<String> = recog.faults().iter().map(ToString::to_string).collect();
    assert!(aside.len() * 100 <= recog.fingerprints(), "{aside:#?}");
}

const DAY: &str = "2026-03-02T09:00:00Z";

/// Eleven talks of a client with one server on one port, an hour and more from `from`.
fn talks(seed: u64, from: i64, port: u16, client: &[u8], server: &[u8], server_first: bool) -> Scenario {
    let mut s = Scenario::new(seed);
    let [app, mail] =
        [s.vm("app-01", "52:54:00:00:00:0c", "10.0.0.12"), s.vm("mail-01", "52:54:00:00:00:19", "10.0.0.25")];
    let day: Timestamp = DAY.parse().unwrap();
    s.at(day.plus_s(from)).arp(&app, &mail);
    for _ in 0..11 {
        s.wait_s(400);
        let mut talk = s.tcp(&app, &mail, port);
        talk.handshake();
        match server_first {
            true => talk.send(Side::Resp, server).send(Side::Orig, client),
            false => talk.send(Side::Orig, client).send(Side::Resp, server),
        };
        talk.close();
    }
    s
}

struct Probe {
    folder: Folder,
}

impl Probe {
    fn new(name: &str) -> Self {
        Probe { folder: Folder::new(name) }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        shown(&path)
    }

    /// `read` of a scenario with a configuration.
    fn read(&self, config: &str, mode: &str, scenario: &Scenario, more: &[&str]) -> Ran {
        let config = self.write("eastwatch.toml", config);
        let pcap = self.folder.file(&format!("{}-{}.pcap", scenario.frame_count(), scenario.now()));
        scenario.write_pcap(&pcap).unwrap();
        let state = shown(&self.folder.file("state"));
        let args = ["-c", &config, "read", "--mode", mode, "--state", &state, &shown(&pcap)];
        eastwatch(args.iter().copied().chain(more.iter().copied()))
    }

    fn good(&self, config: &str, mode: &str, scenario: &Scenario) {
        let ran = self.read(config, mode, scenario, &[]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
    }

    fn service(&self, port: u64) -> Value {
        let services = learned_from(&self.folder.file("state"), &["services"]);
        services.as_array().unwrap().iter().find(|s| s["port"] == port).unwrap_or(&Value::Null).clone()
    }

    fn incidents(&self) -> Vec<String> {
        let incidents = learned_from(&self.folder.file("state"), &["incidents"]);
        incidents.as_array().unwrap().iter().map(|i| i["title"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

const EHLO: &[u8] = b"EHLO app-01\r\nMAIL FROM:<a@dc.example>\r\n";
const GREETING: &[u8] = b"220 mail-01 Gadget ESMTP 1.2 (Linux)\r\n250 mail-01\r\n";

/// One fingerprint of SMTP greetings, and one that cannot be read.
fn recog_file(product: &str) -> String {
    format!(
        "<?xml version='1.0'?>\n<fingerprints matches=\"smtp.banner\" protocol=\"smtp\">\n\
         <fingerprint pattern=\"^(\\S+) Gadget ESMTP ([\\d.]+) \\((\\w+)\\)$\">\n<description>Gadget</description>\n\
         <param pos=\"0\" name=\"service.vendor\" value=\"Gadgeteers\"/>\n\
         <param pos=\"0\" name=\"service.product\" value=\"{product}\"/>\n<param pos=\"2\" name=\"service.version\"/>\n\
         <param pos=\"3\" name=\"os.product\"/>\n</fingerprint>\n<fingerprint pattern=\"(\"/>\n</fingerprints>\n"
    )
}

#[test]
fn recog_names_what_our_own_parser_leaves_open_and_other_files_replace_nothing() {
    let probe = Probe::new("recog");
    let file = probe.write("recog/smtp_banners.xml", &recog_file("Gadget Mail"));
    let config = format!("[apps]\nrecog = \"{}\"\n", shown(Path::new(&file).parent().unwrap()));
    let ran = probe.read(&config, "learn", &talks(1, 0, 25, EHLO, GREETING, true), &[]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("1 fingerprints of 1 files, 1 set aside"), "{}", ran.stderr);
    let service = probe.service(25);
    let told = |service: &Value| ["product", "version"].map(|key| service[key].as_str().unwrap_or_default().to_owned());
    assert_eq!(told(&service), ["Gadget Mail", "1.2"]);
    let detail = |key: &str| service["details"][key].as_str().unwrap_or_default().to_owned();
    assert_eq!(["product_by", "vendor", "os"].map(detail), ["smtp_banners.xml", "Gadgeteers", "Linux"]);

    // The same greeting, read by a newer file as another product.
    probe.write("recog/smtp_banners.xml", &recog_file("Widget Relay"));
    probe.good(&config, "enforce", &talks(2, 7_200, 25, EHLO, GREETING, true));
    assert_eq!(told(&probe.service(25)), ["Widget Relay", "1.2"]);
    assert_eq!(probe.incidents(), [""; 0]);
    // And by none.
    probe.good("", "enforce", &talks(3, 14_400, 25, EHLO, GREETING, true));
    assert_eq!(probe.incidents(), [""; 0]);
    // Another program is still one.
    let ssh = payload::ssh_banner("dropbear_2022.83");
    probe.good(&config, "enforce", &talks(4, 21_600, 25, &payload::ssh_banner("OpenSSH_9.2"), &ssh, true));
    let found = probe.incidents();
    assert!(found.len() == 1 && found[0].contains("another application on tcp/25"), "{found:?}");
}

#[test]
fn config_check_and_doctor_name_what_was_set_aside() {
    let probe = Probe::new("recog-check");
    let file = probe.write("recog/smtp_banners.xml", &recog_file("Gadget Mail"));
    let config = format!("[apps]\nrecog = \"{}\"\n", shown(Path::new(&file).parent().unwrap()));
    let config = probe.write("eastwatch.toml", &config);
    let ran = eastwatch(["-c", &config, "config", "check"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("smtp_banners.xml:10: unclosed group: set aside"), "{}", ran.stdout);
    let state = shown(&probe.folder.file("state"));
    let ran = eastwatch(["-c", &config, "--state", &state, "doctor"]);
    assert!(ran.status == 1 && ran.stdout.contains("1 set aside"), "{}", ran.stdout);
    let none = probe.write("none.toml", &format!("[apps]\nrecog = \"{}\"\n", shown(&probe.folder.file("nowhere"))));
    let ran = eastwatch(["-c", &none, "config", "check"]);
    assert!(ran.status == 1 && ran.stderr.contains("[apps] recog: "), "{}", ran.stderr);
}

const DEFINED: &str = "[[app]]\nname = \"acme-billing\"\nproduct = \"Acme Billing\"\nports = [7001]\n\
                       server = { regex = 'HTTP/1\\.1 200 OK\\r\\nServer: acme/(?P<version>[0-9.]+)' }\n";

#[test]
fn what_the_user_defined_wins_and_its_coming_and_going_replaces_nothing() {
    let probe = Probe::new("defined");
    let file = probe.write("apps.toml", DEFINED);
    let config = format!("[apps]\nfile = \"{file}\"\n");
    let (get, answer) = (payload::http_get("mail-01", "/"), payload::http_ok("acme/3.1", "hello"));
    let talk = |seed, from, port| talks(seed, from, port, &get, &answer, false);
    probe.good("", "learn", &talk(1, 0, 7001));
    assert_eq!(probe.service(7001)["app_proto"], "http");
    probe.good(&config, "enforce", &talk(2, 7_200, 7001));
    let service = probe.service(7001);
    let told = ["app_proto", "product", "version"].map(|key| service[key].as_str().unwrap_or_default());
    assert_eq!(told, ["acme-billing", "Acme Billing", "3.1"]);
    // Changed, then withdrawn.
    probe.write("apps.toml", &DEFINED.replace("acme-billing", "acme-ledger"));
    probe.good(&config, "enforce", &talk(3, 14_400, 7001));
    assert_eq!(probe.service(7001)["app_proto"], "acme-ledger");
    probe.good("", "enforce", &talk(4, 21_600, 7001));
    assert_eq!(probe.service(7001)["app_proto"], "http");
    assert_eq!(probe.incidents(), [""; 0]);
}

#[test]
fn another_program_behind_a_definition_that_stands_is_a_finding() {
    let probe = Probe::new("defined-replaced");
    let file = probe.write("apps.toml", DEFINED);
    let config = format!("[apps]\nfile = [\"{file}\"]\n");
    let (get, answer) = (payload::http_get("mail-01", "/"), payload::http_ok("acme/3.1", "hello"));
    probe.good(&config, "learn", &talks(1, 0, 7001, &get, &answer, false));
    let ssh = payload::ssh_banner("dropbear_2022.83");
    probe.good(&config, "enforce", &talks(2, 7_200, 7001, &payload::ssh_banner("OpenSSH_9.2"), &ssh, true));
    let found = probe.incidents();
    assert!(found.len() == 1 && found[0].contains("another application on tcp/7001"), "{found:?}");
}

#[test]
fn a_near_miss_is_what_it_is_and_events_do_not_depend_on_workers() {
    let probe = Probe::new("defined-near");
    let file = probe.write("apps.toml", DEFINED);
    let config = format!("[apps]\nfile = \"{file}\"\n");
    let (get, answer) = (payload::http_get("mail-01", "/"), payload::http_ok("acmf/3.1", "hello"));
    // Another product, and another port.
    let mut eve = Vec::new();
    for workers in ["1", "4"] {
        let path = shown(&probe.folder.file(&format!("eve-{workers}.json")));
        let more = ["--fresh", "--workers", workers, "--eve", &path];
        assert_eq!(probe.read(&config, "learn", &talks(1, 0, 7001, &get, &answer, false), &more).status, 0);
        assert_eq!(probe.service(7001)["app_proto"], "http");
        eve.push(std::fs::read(&path).unwrap());
    }
    assert!(!eve[0].is_empty() && eve[0] == eve[1]);
    let good = payload::http_ok("acme/3.1", "hello");
    probe.good(&config, "learn", &talks(2, 7_200, 7002, &get, &good, false));
    assert_eq!(probe.service(7002)["app_proto"], "http");
}

#[test]
fn a_wrong_file_stops_the_start_and_says_where() {
    let probe = Probe::new("defined-wrong");
    let file = probe.write("apps.toml", "[[app]]\nname = \"ssl\"\nserver = \"ACME\"\n");
    let config = format!("[apps]\nfile = \"{file}\"\n");
    let ran = probe.read(&config, "learn", &talks(1, 0, 7001, b"AB", b"ACME", false), &[]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.stderr.contains("apps.toml:2:8\n") && ran.stderr.contains(" 2 | name = \"ssl\"\n   |        ^^^^^"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("nothing was done") && !probe.folder.file("state").exists(), "{}", ran.stderr);
    let config = shown(&probe.folder.file("eastwatch.toml"));
    assert_eq!(eastwatch(["-c", &config, "config", "check"]).status, 1);
}
